//! A world: who can assume which role, and the contents of each policy, computed from documents alone.
//!
//! A world is built from bodies by address, whatever their source: a spec, live reads, or live reads with a plan
//! applied. It contains only what those bodies contain. Policies that were not read, such as an AWS managed policy, are
//! kept as unread and reported; they are never treated as empty.

mod build;
pub(super) mod chains;
pub(super) mod nodes;
mod pods;
pub(super) mod policies;

use std::collections::{BTreeMap, BTreeSet};

use self::nodes::{PolicyHolder, WorldBucket, WorldKey, WorldRole};
use super::cluster::ClusterRight;
use super::index::Index;
use super::terms::{AccountRef, Grantee};
use crate::iam::{Arn, Effect, Policy, Principal};

/// A service account of a cluster, whether or not its object exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pod {
    /// The cluster's key in the spec, or its name in EKS if the spec has none for it.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The service account's name.
    pub name: String,
}

/// A principal, or a group of principals, that may have access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The pods of a service account.
    Pod(Pod),
    /// A role of the world, by ARN.
    Role(String),
    /// A principal that a policy names and that is not a role of the world.
    Named(Principal),
    /// The identities of an OIDC or SAML provider that are not service accounts of the world: those whose subject
    /// matches, or all.
    Subject {
        /// The provider's ARN.
        provider: String,
        /// The subject, wildcards allowed; `None` for all identities.
        subject: Option<String>,
    },
    /// Any identity to which a policy without principals is attached.
    Attached,
}

/// The ways in which the pods of a service account get a role.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ways {
    annotation: Option<String>,
    /// Whether the annotation was not read. The manager of the service account is asked to write it.
    assumed: bool,
    association: Option<Association>,
}

#[derive(Clone, Debug, PartialEq)]
struct Association {
    role: String,
    target: Option<String>,
    tagged: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct WorldCluster {
    arn: String,
    account: String,
    host: Option<String>,
    /// Whether the cluster's OIDC providers exist without being managed by the project.
    provided: bool,
}

/// All policies and identities that decide about access.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// The spec keys of accounts, by account id.
    accounts: BTreeMap<String, String>,
    clusters: BTreeMap<String, WorldCluster>,
    pub(super) roles: BTreeMap<String, WorldRole>,
    pub(super) buckets: BTreeMap<String, WorldBucket>,
    pub(super) keys: BTreeMap<String, WorldKey>,
    /// Other resources that have a policy, by ARN.
    pub(super) resources: BTreeMap<String, PolicyHolder>,
    pods: BTreeMap<Pod, Ways>,
    /// The spec keys of service accounts.
    names: BTreeMap<Pod, String>,
    /// The account id and issuer of each OIDC provider.
    providers: BTreeSet<(String, String)>,
    /// The rights of principals in the Kubernetes APIs of clusters, by the cluster's name in EKS and the principal's ARN.
    pub(super) cluster_rights: BTreeMap<(String, String), BTreeSet<ClusterRight>>,
    pub(super) index: Index,
}

impl World {
    /// An account and its key in the spec.
    pub(super) fn account(&self, id: &str) -> AccountRef {
        let account = self.accounts.get(id).cloned();
        let foreign = account.is_none() && !id.is_empty() && !self.accounts.is_empty();
        AccountRef { account, account_id: (!id.is_empty()).then(|| id.to_owned()), foreign }
    }

    /// A principal with the details that the world has.
    #[must_use]
    pub fn grantee(&self, who: &Who) -> Grantee {
        match who {
            Who::Pod(Pod { cluster, namespace, name }) => Grantee::ServiceAccount {
                cluster: Some(cluster.clone()),
                issuer: None,
                namespace: namespace.clone(),
                name: name.clone(),
                foreign: false,
            },
            Who::Role(arn) => match self.roles.get(arn) {
                Some(role) => Grantee::Role {
                    role_arn: arn.clone(),
                    name: role.name.clone(),
                    account: self.account(&role.account),
                },
                None => Grantee::Principal { arn: arn.clone(), foreign: false },
            },
            Who::Named(Principal::Everyone | Principal::AnyAws) => Grantee::Anyone,
            Who::Named(Principal::Account(id)) => Grantee::Account { account: self.account(id) },
            Who::Named(Principal::Service(name)) => Grantee::Service { name: name.to_string() },
            Who::Named(Principal::CanonicalUser(id)) => Grantee::CanonicalUser { id: id.to_string() },
            Who::Named(Principal::Aws(arn) | Principal::Federated(arn)) => {
                Grantee::Principal { arn: arn.to_string(), foreign: !self.accounts.is_empty() }
            }
            Who::Attached => Grantee::Attached,
            Who::Subject { provider, subject } => self.subject(provider, subject.as_deref()),
        }
    }

    /// The identities of a provider, or the service account that the subject names.
    fn subject(&self, provider: &str, subject: Option<&str>) -> Grantee {
        let issuer = provider.split_once(":oidc-provider/").map_or(provider, |(_, host)| host);
        let cluster = self.clusters.iter().find(|(_, c)| c.host.as_deref() == Some(issuer)).map(|(key, _)| key.clone());
        let account = subject.and_then(|subject| subject.strip_prefix("system:serviceaccount:")?.split_once(':'));
        match account {
            Some((namespace, name)) => Grantee::ServiceAccount {
                issuer: cluster.is_none().then(|| issuer.to_owned()),
                cluster,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                foreign: true,
            },
            None => {
                Grantee::WebIdentity { provider: provider.to_owned(), cluster, subject: subject.map(str::to_owned) }
            }
        }
    }

    /// Finds a principal by a name as commands accept it.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Who> {
        if let Some((pod, _)) = self.names.iter().find(|(_, key)| *key == text) {
            return Some(Who::Pod(pod.clone()));
        }
        let pods: Vec<&Pod> = self
            .pods
            .keys()
            .filter(|pod| {
                let short = format!("{}/{}", pod.namespace, pod.name);
                text == short || text == format!("{}/{short}", pod.cluster)
            })
            .collect();
        if let [pod] = pods.as_slice() {
            return Some(Who::Pod((*pod).clone()));
        }
        let role = self.roles.values().find(|role| role.key == text || role.name == text || role.arn == text);
        if let Some(role) = role {
            return Some(Who::Role(role.arn.clone()));
        }
        match text {
            "*" | "anyone" => Some(Who::Named(Principal::Everyone)),
            text if text.starts_with("arn:") || crate::iam::is_account_id(text) => {
                Some(Who::Named(Principal::aws(text)))
            }
            text if text.ends_with(".amazonaws.com") => Some(Who::Named(Principal::Service(text.into()))),
            _ => None,
        }
    }

    /// The key of a service account in the spec.
    pub(super) fn key_of(&self, pod: &Pod) -> Option<&str> {
        self.names.get(pod).map(String::as_str)
    }

    /// The names that [`World::find`] accepts, for "did you mean".
    pub fn known_names(&self) -> impl Iterator<Item = &str> {
        let roles = self.roles.values().flat_map(|role| [role.key.as_str(), role.name.as_str()]);
        self.names.values().map(String::as_str).chain(roles)
    }

    /// Every principal that may have access to something: service accounts, roles, and the principals that policies
    /// name.
    pub(super) fn everybody(&self) -> BTreeSet<Who> {
        let mut all: BTreeSet<Who> = self.pods.keys().cloned().map(Who::Pod).collect();
        all.extend(self.roles.keys().cloned().map(Who::Role));
        for role in self.roles.values() {
            all.extend(self.assumers(role).into_iter().map(|(who, _)| who));
        }
        let documents =
            self.buckets.values().filter_map(|b| b.policy.as_ref()).chain(self.keys.values().map(|k| &k.policy));
        let documents = documents.chain(self.resources.values().map(|r| &r.policy));
        for statement in documents.flat_map(Policy::statements).filter(|s| s.effect() == Effect::Allow) {
            match statement.principal() {
                Some(principals) if principals.is_inverted() => {
                    all.insert(Who::Named(Principal::Everyone));
                }
                Some(principals) => all.extend(principals.values().iter().map(|p| self.who(p))),
                None => {}
            }
        }
        // An account's administrators have access to everything in their own account. That is not reported.
        all.retain(|who| !matches!(who, Who::Named(Principal::Account(id)) if self.accounts.contains_key(id.as_ref()) && !self.is_granted(id)));
        all
    }

    /// Whether a policy gives an account access to a resource of another account, or to a role.
    fn is_granted(&self, id: &str) -> bool {
        let names = |policy: &Policy| {
            policy.statements().iter().any(|s| {
                s.effect() == Effect::Allow
                    && s.principal().is_some_and(|p| {
                        p.values().iter().any(|p| matches!(p, Principal::Account(own) if own.as_ref() == id))
                    })
            })
        };
        self.buckets.values().any(|b| b.account != id && b.policy.as_ref().is_some_and(names))
            || self.keys.values().any(|k| k.account != id && names(&k.policy))
            || self.resources.values().any(|r| r.account != id && names(&r.policy))
            || self.roles.values().any(|r| r.trust.as_ref().is_some_and(names))
    }

    /// The principal of a policy, as a role if it is in the world.
    pub(super) fn who(&self, principal: &Principal) -> Who {
        match principal {
            Principal::Aws(arn) if self.roles.contains_key(arn.as_ref()) => Who::Role(arn.to_string()),
            Principal::AnyAws => Who::Named(Principal::Everyone),
            other => Who::Named(other.clone()),
        }
    }

    /// Whether the pods of a service account get this role. The role is then reported as the service account.
    pub(super) fn is_behind_pods(&self, arn: &str) -> bool {
        self.index.clusters_of(arn).is_some()
    }

    /// The account of a principal, if known.
    pub(super) fn account_of(&self, who: &Who) -> Option<String> {
        match who {
            Who::Pod(pod) => self.clusters.get(&pod.cluster).map(|c| c.account.clone()),
            Who::Role(arn) => arn.parse::<Arn>().ok().map(|arn| arn.account),
            Who::Named(principal) => principal.account().map(str::to_owned),
            Who::Subject { provider, .. } => provider.parse::<Arn>().ok().map(|arn| arn.account),
            Who::Attached => None,
        }
    }
}
