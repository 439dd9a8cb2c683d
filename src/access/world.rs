//! A world: who can become which role, and what each policy says, from documents alone.
//!
//! A world is built from the bodies of things by address, wherever they come from: a spec, what was seen live, or what
//! was seen with a plan applied. It holds what those bodies hold. What nobody has read, such as the contents of an AWS
//! managed policy, is kept as unknown and told, and never taken for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facet::{Carrier, Facet, PodBinding, PolicyText, ResourcePolicy, RoleRef};
use super::index::Index;
use super::role_key;
use super::terms::{
    AccountRef, Break, Broken, ChainCaller, ChainRole, ChainStep, Denial, Grantee, PolicyOf, PolicyRef, Requirement,
    StatementRef, Trusted,
};
use crate::address::{Address, Region};
use crate::iam::{
    Arn, Attached, Check, Condition, ContextValue, Decision, DecisionOutcome, Effect, Layer, Policy, PolicyKind,
    PolicySet, Principal, Request, RequestContext, Selector, Statement, Subject, Version, evaluate, lint,
};
use crate::spec::{Encryption, Facts, Identity, Manage, Management, Spec};

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

/// Somebody who may have access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The pods of a service account.
    Pod(Pod),
    /// A role of the world, by ARN.
    Role(String),
    /// A principal that a policy names and that the world does not have.
    Named(Principal),
    /// Identities of an OIDC or SAML provider that are no service account of the world: those with a subject of this
    /// form, or all.
    Subject {
        /// The provider's ARN.
        provider: String,
        /// The subject, wildcards allowed.
        subject: Option<String>,
    },
    /// Whoever a policy without principals is attached to.
    Attached,
}

/// A policy and its name for the IAM engine: the label of a [`PolicyRef`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub label: String,
    pub policy: Policy,
}

/// A role.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Role {
    pub arn: String,
    pub account: String,
    pub name: String,
    /// Its key in the spec, by which commands name it.
    pub key: String,
    /// Its address, if the world has more of it than its name.
    pub address: Option<String>,
    /// Who may assume it; nothing if that is not known.
    pub trust: Option<Policy>,
    pub identity: Vec<Held>,
    pub boundary: Vec<Held>,
    /// What decides about the role's access and has not been read.
    pub unknown: BTreeSet<Unread>,
}

/// Something that decides about access and has not been read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Unread {
    /// The policy of a bucket.
    BucketPolicy {
        /// The bucket's name.
        bucket: String,
    },
    /// The statements of others in the policy of a KMS key.
    KeyPolicy {
        /// The key's alias.
        alias: String,
    },
    /// The policy of any other resource.
    ResourcePolicy {
        /// The resource.
        arn: String,
    },
    /// The trust policy of a role.
    TrustPolicy {
        /// The role's name or ARN.
        role: String,
    },
    /// All policies of a role.
    RolePolicies {
        /// The role's name.
        role: String,
    },
    /// A managed policy.
    ManagedPolicy {
        /// The policy.
        arn: String,
    },
    /// A permissions boundary.
    Boundary {
        /// The policy.
        arn: String,
    },
    /// The policies of a principal that is not in the world.
    CallerPolicies {
        /// The principal.
        principal: String,
    },
    /// The policies of the principals of an account.
    AccountPolicies {
        /// The account's id.
        account: String,
    },
    /// The OIDC issuer of a cluster.
    Issuer {
        /// The cluster's key in the spec.
        cluster: String,
    },
    /// The annotations of a service account.
    Annotations {
        /// The cluster's key in the spec.
        cluster: String,
        /// The namespace.
        namespace: String,
        /// The service account's name.
        name: String,
    },
}

impl Unread {
    /// Whether it may deny what other policies allow. Of a key policy, the statements of others count as not there: they
    /// are never part of a spec, and all of a policy is known where it was read.
    pub(super) fn may_deny(&self) -> bool {
        match self {
            // Services, identity providers and anonymous callers have no policies of their own.
            Self::CallerPolicies { principal } => {
                let arn = principal.parse::<Arn>();
                arn.is_ok_and(|arn| matches!(arn.resource_type(), Some(("user" | "role" | "assumed-role", _))))
            }
            Self::KeyPolicy { .. } => false,
            Self::BucketPolicy { .. }
            | Self::ResourcePolicy { .. }
            | Self::TrustPolicy { .. }
            | Self::RolePolicies { .. }
            | Self::ManagedPolicy { .. }
            | Self::Boundary { .. }
            | Self::AccountPolicies { .. }
            | Self::Issuer { .. }
            | Self::Annotations { .. } => true,
        }
    }
}

/// A bucket.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bucket {
    pub name: String,
    /// Its key in the spec.
    pub entry: String,
    pub arn: String,
    pub account: String,
    /// Its policy; nothing if it is not known.
    pub policy: Option<Policy>,
    /// The address of its policy, if its policy is a resource of its own.
    pub policy_address: Option<String>,
    /// Whether Block Public Access is on.
    pub blocked: bool,
    /// The spec's key for the KMS key that new objects are encrypted with.
    pub key: Option<String>,
    /// Whether the policy opens the bucket to everybody.
    pub public: bool,
}

/// A KMS key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub arn: String,
    pub alias: String,
    pub account: String,
    pub region: Region,
    pub policy: Policy,
    /// The address of its policy, if its policy is a resource of its own.
    pub policy_address: Option<String>,
    /// Whether all of the policy is known, and not only our statements.
    pub whole: bool,
}

/// Any other resource with a policy of its own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PolicyHolder {
    pub arn: String,
    pub account: String,
    /// Our statements and those of others, as far as they have been read.
    pub policy: Policy,
    /// The address of the policy.
    pub address: String,
}

/// How a service account's pods get a role.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ways {
    annotation: Option<String>,
    /// Whether the annotation was not read: whoever manages the service account is asked to write it.
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
struct Cluster {
    arn: String,
    account: String,
    host: Option<String>,
    /// Whether its OIDC providers exist without being ours.
    provided: bool,
}

/// Everything that decides about access.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Account ids with their keys in the spec.
    accounts: BTreeMap<String, String>,
    clusters: BTreeMap<String, Cluster>,
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) buckets: BTreeMap<String, Bucket>,
    pub(super) keys: BTreeMap<String, Key>,
    /// Other resources with a policy, by ARN.
    pub(super) resources: BTreeMap<String, PolicyHolder>,
    pods: BTreeMap<Pod, Ways>,
    /// The spec's keys of service accounts.
    names: BTreeMap<Pod, String>,
    /// Account id and issuer of each OIDC provider that exists.
    providers: BTreeSet<(String, String)>,
    pub(super) index: Index,
}

/// The smallest change that would let a denied request through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fix {
    /// Give the service account a role, by association or annotation.
    GiveRole,
    /// Create the role.
    CreateRole {
        /// The role.
        role_arn: String,
    },
    /// Create the OIDC provider of the cluster in an account.
    CreateProvider {
        /// The issuer's host.
        issuer: String,
        /// The account's id.
        account: String,
    },
    /// Let the role trust the subject of a web identity.
    TrustSubject {
        /// The OIDC provider.
        provider: String,
        /// The issuer's host, which begins the condition keys.
        issuer: String,
        /// The subject.
        subject: String,
    },
    /// Let the role trust EKS Pod Identity.
    TrustPodIdentity {
        /// The role.
        role_arn: String,
    },
    /// Let one role assume another, on both sides.
    AllowTarget {
        /// The role that assumes.
        role_arn: String,
        /// The role that is assumed.
        target: String,
    },
    /// Name principals in a bucket policy that is public.
    NamePrincipals {
        /// The bucket's name.
        bucket: String,
    },
    /// Narrow the statement that denies it.
    Narrow {
        /// The statement, if it is known.
        statement: Option<StatementRef>,
    },
    /// Allow the action wherever it is missing.
    Allow {
        /// The action.
        action: String,
        /// The resource.
        resource: String,
        /// Where it is missing.
        missing: Vec<Missing>,
        /// The grant that does it, if the spec has words for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        grant: Option<Grant>,
    },
}

/// Where an action is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Missing {
    /// In the policy of the resource.
    Resource {
        /// The policy.
        of: PolicyRef,
        /// Who is to be named in it.
        principal: String,
    },
    /// In the policies of the caller.
    Identity {
        /// The caller.
        caller: ChainCaller,
    },
    /// In the permissions boundary of the caller.
    Boundary {
        /// The caller.
        caller: ChainCaller,
    },
}

/// A grant as a spec has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// The service account's key in the spec.
    pub to: String,
    /// The bucket's key in the spec.
    pub bucket: String,
    /// The prefix.
    pub prefix: String,
    /// The action. The spec has words for some.
    pub action: String,
}

/// Credentials that somebody can get.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    /// What the route is told apart by in another world: the same service account with another role is the same route.
    pub slot: String,
    /// The principal of requests.
    pub principal: String,
    /// The role, by ARN, if it is one of the world.
    pub role: Option<String>,
    pub chain: Vec<ChainStep>,
    /// What must hold on the way.
    pub conditions: BTreeSet<Requirement>,
    /// What is known of every request, besides the principal.
    pub context: Vec<(String, String)>,
    /// What decides on the way and has not been read.
    pub unread: BTreeSet<Unread>,
}

/// A chain that does not reach its end: what of it holds, and what does not.
pub(super) type BrokenChain = (Vec<ChainStep>, Broken);

/// How far role chaining is followed.
const MOST_ROLES: usize = 4;

impl World {
    /// The world of these objects. The spec tells what facets cannot: clusters and their issuers, what exists without
    /// being managed, and the names by which commands refer to objects.
    #[must_use]
    pub fn new<'a>(spec: &Spec, facts: &Facts, facets: impl IntoIterator<Item = (&'a Address, Facet<'a>)>) -> Self {
        let facets: Vec<(&Address, Facet)> = facets.into_iter().collect();
        let mut world = Self::default();
        world.unmanaged(spec, facts);
        let policies: BTreeMap<&str, Policy> = facets
            .iter()
            .filter_map(|(_, facet)| match facet {
                Facet::ManagedPolicy { arn, document } => Some((*arn, document.and_then(PolicyText::parse)?)),
                _ => None,
            })
            .collect();
        let mut arns: BTreeMap<RoleRef, String> = BTreeMap::new();
        for (address, facet) in &facets {
            if let Facet::Role { arn, role: name, trust, boundary } = facet {
                arns.insert(name.clone(), arn.clone());
                let trust = trust.and_then(PolicyText::parse);
                let role = Role::new(address, arn, name, trust);
                world.roles.insert(arn.clone(), role.bounded(boundary.as_deref(), &policies));
            }
        }
        let mut documents = Vec::new();
        for (address, facet) in facets {
            match facet {
                // What a principal may do inside a cluster is a matter of Kubernetes.
                Facet::None | Facet::Role { .. } | Facet::ManagedPolicy { .. } | Facet::ClusterAccess(_) => {}
                Facet::InlinePolicy { role, name, document } => {
                    let role = arns.get(&role).and_then(|arn| world.roles.get_mut(arn));
                    if let Some(role) = role {
                        role.inline(address, name, document);
                    }
                }
                Facet::Attachment { role, policy: arn } => {
                    let role = arns.get(&role).and_then(|arn| world.roles.get_mut(arn));
                    if let Some(role) = role {
                        role.attach(address, &arn, policies.get(arn.as_str()));
                    }
                }
                Facet::Resource(policy) => documents.push((address, policy)),
                Facet::Provider { account, host, .. } => {
                    world.providers.insert((account, host));
                }
                Facet::PodBinding(binding) => world.bind(binding),
                Facet::ServiceAccount { cluster, namespace, name, role } => {
                    let pod = Pod { cluster: cluster.to_owned(), namespace, name };
                    let ways = world.pods.entry(pod).or_default();
                    (ways.annotation, ways.assumed) = (role, false);
                }
                Facet::Bucket { name, arn, account, blocked } => {
                    let key = spec.buckets.get(address.name()).and_then(|b| kms_key(b.encryption.as_ref()));
                    let policy = Some(Policy::new(Version::V2012, []));
                    let (name, entry) = (name.to_owned(), address.name().to_owned());
                    let bucket = Bucket {
                        name: name.clone(),
                        entry,
                        arn,
                        account,
                        policy,
                        policy_address: None,
                        blocked,
                        key,
                        public: false,
                    };
                    world.buckets.insert(name, bucket);
                }
            }
        }
        // What carries them is known by now.
        for (address, policy) in documents {
            world.document(address, &policy);
        }
        world.index();
        world
    }

    /// The world of what is live. `read` are the objects that were read just now, and `stored` those that may exist and
    /// were not: their documents, and all others that are not among `read`, count as not read.
    #[must_use]
    pub fn live<'a>(
        spec: &Spec,
        facts: &Facts,
        read: impl IntoIterator<Item = (&'a Address, Facet<'a>)>,
        stored: impl IntoIterator<Item = (&'a Address, Facet<'a>)>,
    ) -> Self {
        let read: Vec<(&Address, Facet)> = read.into_iter().collect();
        let (mut roles, mut carriers) = (BTreeSet::new(), BTreeSet::new());
        for (_, facet) in &read {
            match facet {
                Facet::Role { arn, .. } => {
                    roles.insert(arn.clone());
                }
                Facet::Resource(policy) => {
                    carriers.insert((policy.account.clone(), policy.on.to_string()));
                }
                _ => {}
            }
        }
        // What was read is last, so that it counts where both name one object.
        let mut world = Self::new(spec, facts, stored.into_iter().chain(read));
        for role in world.roles.values_mut().filter(|role| !roles.contains(&role.arn)) {
            role.trust = None;
            role.unknown.insert(Unread::RolePolicies { role: role.name.clone() });
        }
        let is_read = |account: &str, on: &Carrier| carriers.contains(&(account.to_owned(), on.to_string()));
        for bucket in world.buckets.values_mut().filter(|b| !is_read(&b.account, &Carrier::Bucket(&b.name))) {
            (bucket.policy, bucket.public) = (None, false);
        }
        for key in world.keys.values_mut() {
            key.whole = is_read(&key.account, &Carrier::Key(&key.alias));
            if !key.whole {
                key.policy = Policy::new(Version::V2012, []);
            }
        }
        world.resources.retain(|arn, resource| is_read(&resource.account, &Carrier::Other(arn.clone())));
        world.index();
        world
    }

    /// Indexes the world as it is now.
    fn index(&mut self) {
        self.index = Index::new(&self.roles, &self.buckets, &self.keys, &self.resources);
        for (pod, ways) in &self.pods {
            let association = ways.association.iter().flat_map(|a| std::iter::once(&a.role).chain(&a.target));
            for role in ways.annotation.iter().chain(association) {
                self.index.behind(role, &pod.cluster);
            }
        }
    }

    /// What the policy of a resource says.
    fn document(&mut self, address: &Address, policy: &ResourcePolicy<'_>) {
        match &policy.on {
            Carrier::Bucket(name) => {
                if let Some(bucket) = self.buckets.get_mut(*name) {
                    let policy = policy.whole();
                    bucket.public = is_public(&policy, bucket);
                    bucket.policy = Some(policy);
                    bucket.policy_address = Some(address.to_string());
                }
            }
            Carrier::Key(alias) => {
                // What an address named before may have had another alias.
                let key = self.keys.get_mut(address.name());
                if let Some(key) = key.filter(|key| key.alias == *alias && key.account == policy.account) {
                    key.policy = policy.whole();
                    key.whole = policy.others.is_some();
                    key.policy_address = Some(address.to_string());
                }
            }
            Carrier::Other(arn) => {
                let resource = PolicyHolder {
                    arn: arn.clone(),
                    account: policy.account.clone(),
                    policy: policy.whole(),
                    address: address.to_string(),
                };
                self.resources.insert(arn.clone(), resource);
            }
        }
    }

    /// How pods of a service account get a role from EKS Pod Identity. The spec may have a key for the cluster.
    fn bind(&mut self, binding: PodBinding) {
        let PodBinding { account, cluster: name, namespace, service_account, role, target, tagged } = binding;
        let suffix = format!(":cluster/{name}");
        let cluster = self
            .clusters
            .iter()
            .find(|(_, c)| c.account == account && c.arn.ends_with(&suffix))
            .map_or(name, |(key, _)| key.clone());
        let pod = Pod { cluster, namespace, name: service_account };
        self.pods.entry(pod).or_default().association = Some(Association { role, target, tagged });
    }

    /// What the spec says of the outside.
    fn unmanaged(&mut self, spec: &Spec, facts: &Facts) {
        self.accounts = spec.accounts.iter().map(|(key, account)| (account.id.0.clone(), key.clone())).collect();
        for (key, cluster) in &spec.clusters {
            let cluster = Cluster {
                arn: spec.cluster_arn(cluster),
                account: spec.account_id(&cluster.account).0,
                host: facts.issuer_host(key).map(str::to_owned),
                provided: cluster.oidc_provider == Management::Existing,
            };
            self.clusters.insert(key.clone(), cluster);
        }
        for (key, bucket) in spec.buckets.iter().filter(|(_, b)| !b.managed) {
            let entry = Bucket {
                name: bucket.name.clone(),
                entry: key.clone(),
                arn: bucket.arn(spec),
                account: spec.account_id(&bucket.account).0,
                policy: None,
                policy_address: None,
                blocked: false,
                key: kms_key(bucket.encryption.as_ref()),
                public: false,
            };
            self.buckets.insert(bucket.name.clone(), entry);
        }
        let roles = super::roles(spec);
        for (key, role) in roles.iter().filter(|(_, role)| !role.managed) {
            let entry = Role {
                arn: role.arn.clone(),
                account: spec.account_id(&role.account).0,
                name: role.name.clone(),
                key: key.clone(),
                address: None,
                trust: None,
                identity: Vec::new(),
                boundary: Vec::new(),
                unknown: BTreeSet::from([Unread::RolePolicies { role: role.name.clone() }]),
            };
            self.roles.insert(role.arn.clone(), entry);
        }
        for (name, key) in &spec.keys {
            self.keys.insert(name.clone(), self::key(spec, facts, name, key));
        }
        for (key, account) in &spec.service_accounts {
            let pod = Pod {
                cluster: account.cluster.clone(),
                namespace: account.namespace.clone(),
                name: account.name.clone(),
            };
            // Whoever manages the object is told to annotate it.
            let role = roles.get(role_key(spec, key));
            if let (Manage::None, Identity::Irsa, Some(role)) = (account.manage, account.identity(spec), role) {
                let ways = self.pods.entry(pod.clone()).or_default();
                (ways.annotation, ways.assumed) = (Some(role.arn.clone()), true);
            }
            self.names.insert(pod, key.clone());
        }
    }

    /// An account with its key in the spec.
    pub(super) fn account(&self, id: &str) -> AccountRef {
        let account = self.accounts.get(id).cloned();
        let foreign = account.is_none() && !id.is_empty() && !self.accounts.is_empty();
        AccountRef { account, account_id: (!id.is_empty()).then(|| id.to_owned()), foreign }
    }

    /// Somebody, with what the world knows of them.
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

    /// The identities of a provider. A subject may be that of a service account.
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

    /// What commands may call somebody by.
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

    /// The names that [`World::find`] knows, for "did you mean".
    pub fn known_names(&self) -> impl Iterator<Item = &str> {
        let roles = self.roles.values().flat_map(|role| [role.key.as_str(), role.name.as_str()]);
        self.names.values().map(String::as_str).chain(roles)
    }

    /// Everybody who may have access to something: service accounts, roles, and whom policies name.
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
        // An account's own administrators have access to what is its own; that is not told as a grant.
        all.retain(|who| !matches!(who, Who::Named(Principal::Account(id)) if self.accounts.contains_key(id.as_ref()) && !self.is_granted(id)));
        all
    }

    /// Whether some policy gives an account access to what another account has.
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

    /// A principal of a policy as somebody of the world.
    pub(super) fn who(&self, principal: &Principal) -> Who {
        match principal {
            Principal::Aws(arn) if self.roles.contains_key(arn.as_ref()) => Who::Role(arn.to_string()),
            Principal::AnyAws => Who::Named(Principal::Everyone),
            other => Who::Named(other.clone()),
        }
    }

    /// Whether the pods of a service account get this role. Then the role is told through them.
    pub(super) fn is_behind_pods(&self, arn: &str) -> bool {
        self.index.clusters_of(arn).is_some()
    }

    /// The account that somebody belongs to, where that is known.
    pub(super) fn account_of(&self, who: &Who) -> Option<String> {
        match who {
            Who::Pod(pod) => self.clusters.get(&pod.cluster).map(|c| c.account.clone()),
            Who::Role(arn) => arn.parse::<Arn>().ok().map(|arn| arn.account),
            Who::Named(principal) => principal.account().map(str::to_owned),
            Who::Subject { provider, .. } => provider.parse::<Arn>().ok().map(|arn| arn.account),
            Who::Attached => None,
        }
    }

    /// Every way in which somebody gets credentials, role chaining included; or how far the chain goes and where it breaks.
    pub(super) fn routes(&self, who: &Who) -> Result<Vec<Route>, BrokenChain> {
        let mut routes = match who {
            Who::Attached => Vec::new(),
            Who::Pod(pod) => vec![self.pod(pod)?],
            Who::Role(arn) => vec![self.route("own", arn, Vec::new())],
            Who::Named(principal) => vec![self.route("own", &caller_of(principal), Vec::new())],
            Who::Subject { .. } => {
                let by_trust = |role: &Role| {
                    let (_, statement) = self.assumers(role).into_iter().find(|(other, _)| other == who)?;
                    let mut route = self.route(&role.arn, &role.arn, vec![assumes(role, statement)]);
                    route.conditions = conditions(statement, |key| key.ends_with(":sub"));
                    Some(route)
                };
                self.roles.values().filter_map(by_trust).collect()
            }
        };
        let mut known: BTreeSet<String> = routes.iter().map(|r| r.principal.clone()).collect();
        let mut at = 0;
        while let Some(route) = routes.get(at).cloned() {
            at += 1;
            if route.chain.len() > MOST_ROLES + 2 {
                continue;
            }
            // Users, services and sessions are few; what may mean them is not looked up.
            let candidates: Vec<&Role> = match &route.role {
                Some(arn) => self.index.trusting(arn).into_iter().filter_map(|arn| self.roles.get(arn)).collect(),
                None => self.roles.values().collect(),
            };
            for role in candidates {
                if known.contains(&role.arn) {
                    continue;
                }
                if let Some(next) = self.chained(who, &route, role) {
                    known.insert(role.arn.clone());
                    routes.push(next);
                }
            }
        }
        Ok(routes)
    }

    /// A route that ends as a principal.
    fn route(&self, slot: &str, principal: &str, chain: Vec<ChainStep>) -> Route {
        Route {
            slot: slot.to_owned(),
            principal: principal.to_owned(),
            role: self.roles.contains_key(principal).then(|| principal.to_owned()),
            chain,
            conditions: BTreeSet::new(),
            context: Vec::new(),
            unread: BTreeSet::new(),
        }
    }

    /// The route that goes on to a role which trusts the principal of this one, or whose trust was not read and which the
    /// principal's own policies let it assume.
    fn chained(&self, who: &Who, route: &Route, role: &Role) -> Option<Route> {
        if role.trust.as_ref().is_some_and(|trust| !may_name(trust, who, route)) {
            return None;
        }
        let request = route.request("sts:AssumeRole", &role.arn, &role.account);
        let (trust, gaps) = match &role.trust {
            Some(trust) => (trust.clone(), self.caller_gaps(route)),
            None => (delegating(&route.principal)?, BTreeSet::new()),
        };
        let assumed = self.assumed(route, role, &trust, &gaps, &request).ok()?;
        let mut chain = route.chain.clone();
        chain.push(ChainStep::Assumes { role: role.link(), statement: assumed.statement });
        let mut next = self.route(&role.arn, &role.arn, chain);
        next.conditions = &route.conditions | &assumed.conditions;
        next.unread = &route.unread | &assumed.unread;
        Some(next)
    }

    /// How the caller of a route assumes a role with this trust policy, if it does. `gaps` are the caller's policies that
    /// were not read: where they decide, they count as allowing it, and are reported.
    ///
    /// # Errors
    /// Why it is denied, whatever the policies say that were not read.
    fn assumed(
        &self,
        route: &Route,
        role: &Role,
        trust: &Policy,
        gaps: &BTreeSet<Unread>,
        request: &Request,
    ) -> Result<RoleStep, Denial> {
        let is_allowed =
            |decision: &Decision| matches!(decision.outcome, DecisionOutcome::Allowed | DecisionOutcome::Conditional);
        let label = role.trust_label();
        let trust = Attached { name: &label, policy: trust };
        let known = self.policies(route, Some(trust));
        let mut decision = evaluate(request, &known);
        let is_known = is_allowed(&decision);
        if !is_known {
            decision = evaluate(request, &at_most(&known, gaps, trust));
        }
        if !is_allowed(&decision) {
            return Err(Denial::of(&decision));
        }
        let mut unread: BTreeSet<Unread> = gaps.iter().filter(|gap| !is_known || gap.may_deny()).cloned().collect();
        if role.trust.is_none() {
            unread.insert(Unread::TrustPolicy { role: role.name.clone() });
        }
        let statement = role.trust.is_some().then(|| statement_of(&decision)).flatten();
        Ok(RoleStep { statement, conditions: unsettled(&decision), unread })
    }

    /// What decides about requests of a route's principal and has not been read.
    pub(super) fn caller_gaps(&self, route: &Route) -> BTreeSet<Unread> {
        match route.role.as_ref().and_then(|arn| self.roles.get(arn)) {
            Some(role) => role.unknown.clone(),
            None => [Unread::CallerPolicies { principal: route.principal.clone() }].into(),
        }
    }

    /// The credentials of a service account's pods.
    ///
    /// A web identity token comes before Pod Identity in the credential chains of the SDKs.
    /// Source: EKS User Guide, "Using a supported AWS SDK" of EKS Pod Identities.
    fn pod(&self, pod: &Pod) -> Result<Route, BrokenChain> {
        let ways = self.pods.get(pod);
        if let Some((arn, assumed)) = ways.and_then(|ways| Some((ways.annotation.as_deref()?, ways.assumed))) {
            let mut route = self.annotated(pod, arn)?;
            if assumed {
                let Pod { cluster, namespace, name } = pod.clone();
                route.unread.insert(Unread::Annotations { cluster, namespace, name });
            }
            return Ok(route);
        }
        if let Some(association) = ways.and_then(|ways| ways.association.as_ref()) {
            return self.associated(pod, association);
        }
        let why = Break::NoRole { namespace: pod.namespace.clone(), name: pod.name.clone() };
        Err((Vec::new(), Broken { why, fix: Fix::GiveRole }))
    }

    fn annotated(&self, pod: &Pod, arn: &str) -> Result<Route, BrokenChain> {
        let Pod { namespace, name, .. } = pod.clone();
        let mut chain = vec![ChainStep::Annotation { namespace, name, role_arn: arn.to_owned() }];
        let fail = |chain: Vec<ChainStep>, why: Break, fix: Fix| Err((chain, Broken { why, fix }));
        let Some(role) = self.roles.get(arn) else {
            let why = Break::RoleMissing { role_arn: arn.to_owned(), target: false };
            return fail(chain, why, Fix::CreateRole { role_arn: arn.to_owned() });
        };
        let subject = format!("system:serviceaccount:{}:{}", pod.namespace, pod.name);
        let host = self.clusters.get(&pod.cluster).and_then(|c| c.host.clone());
        let Some(host) = host.or_else(|| role.trust.as_ref().and_then(|trust| issuer_of(trust, &subject))) else {
            let mut route = self.route("pod", arn, chain);
            route.unread.insert(Unread::Issuer { cluster: pod.cluster.clone() });
            return Ok(route);
        };
        let exists = self.clusters.get(&pod.cluster).is_some_and(|c| c.provided);
        if !exists && !self.providers.contains(&(role.account.clone(), host.clone())) {
            let why = Break::ProviderMissing { issuer: host.clone(), account: self.account(&role.account) };
            return fail(chain, why, Fix::CreateProvider { issuer: host, account: role.account.clone() });
        }
        let Some(trust) = &role.trust else {
            chain.push(ChainStep::TrustAssumed { role: role.link() });
            return Ok(self.route("pod", arn, chain).on_trust(role));
        };
        let partition = arn.split(':').nth(1).unwrap_or("aws");
        let provider = format!("arn:{partition}:iam::{}:oidc-provider/{host}", role.account);
        let action = "sts:AssumeRoleWithWebIdentity";
        let mut request = Request::new(&provider, action, arn);
        request.context = RequestContext::open()
            .with(&format!("{host}:sub"), &subject)
            .with(&format!("{host}:aud"), "sts.amazonaws.com");
        let label = role.trust_label();
        let set = PolicySet { resource: Some(Attached { name: &label, policy: trust }), ..PolicySet::default() };
        let decision = evaluate(&request, &set);
        let trusted = Trusted::ServiceAccount;
        if !matches!(decision.outcome, DecisionOutcome::Allowed | DecisionOutcome::Conditional) {
            let (role, action, denial) = (role.link(), action.to_owned(), Denial::of(&decision));
            let why = Break::NotTrusted { role, subject: subject.clone(), trusted, action, denial };
            return fail(chain, why, Fix::TrustSubject { provider, issuer: host, subject });
        }
        chain.push(ChainStep::Trusts { role: role.link(), trusted, statement: statement_of(&decision) });
        let mut route = self.route("pod", arn, chain);
        route.conditions = unsettled(&decision);
        Ok(route)
    }

    fn associated(&self, pod: &Pod, association: &Association) -> Result<Route, BrokenChain> {
        let Pod { namespace, name, .. } = pod.clone();
        let mut chain = vec![ChainStep::Association { namespace, name, role_arn: association.role.clone() }];
        let Some(role) = self.roles.get(&association.role) else {
            let role_arn = association.role.clone();
            let why = Break::RoleMissing { role_arn: role_arn.clone(), target: false };
            return Err((chain, Broken { why, fix: Fix::CreateRole { role_arn } }));
        };
        let sessions = PodSessions::new(self.clusters.get(&pod.cluster), pod, association.tagged);
        let mut conditions = BTreeSet::new();
        match &role.trust {
            None => chain.push(ChainStep::TrustAssumed { role: role.link() }),
            Some(trust) => match trusts_pod_identity(role, trust, &sessions) {
                Ok(step) => {
                    let (trusted, statement) = (Trusted::PodIdentity, step.statement);
                    chain.push(ChainStep::Trusts { role: role.link(), trusted, statement });
                    conditions = step.conditions;
                }
                Err((action, denial)) => {
                    let subject = format!("{}/{}", pod.namespace, pod.name);
                    let (link, trusted) = (role.link(), Trusted::PodIdentity);
                    let why = Break::NotTrusted { role: link, subject, trusted, action: action.to_owned(), denial };
                    let fix = Fix::TrustPodIdentity { role_arn: role.arn.clone() };
                    return Err((chain, Broken { why, fix }));
                }
            },
        }
        let mut first = self.route("pod", &role.arn, chain);
        first.context = sessions.principal_tags();
        first.conditions = conditions;
        if role.trust.is_none() {
            first = first.on_trust(role);
        }
        match &association.target {
            Some(target) => self.targeted(first, role, target, &sessions),
            None => Ok(first),
        }
    }

    /// The route that EKS takes from the first role of an association on to its target role.
    fn targeted(
        &self,
        first: Route,
        role: &Role,
        target_arn: &str,
        sessions: &PodSessions<'_>,
    ) -> Result<Route, BrokenChain> {
        let Some(target) = self.roles.get(target_arn) else {
            let role_arn = target_arn.to_owned();
            let why = Break::RoleMissing { role_arn: role_arn.clone(), target: true };
            return Err((first.chain, Broken { why, fix: Fix::CreateRole { role_arn } }));
        };
        // Whoever made the association expects the target role to trust the first one.
        let trust = target.trust.clone().unwrap_or_else(anyone);
        let gaps = self.caller_gaps(&first);
        let (conditions, unread) = (first.conditions.clone(), first.unread.clone());
        let mut step = RoleStep { statement: None, conditions, unread };
        for action in sessions.target_actions() {
            let request = sessions.request(&role.arn, action, target);
            match self.assumed(&first, target, &trust, &gaps, &request) {
                Ok(assumed) => {
                    step.statement = step.statement.or(assumed.statement);
                    step.conditions.extend(assumed.conditions);
                    step.unread.extend(assumed.unread);
                }
                Err(denial) => {
                    let fix = Fix::AllowTarget { role_arn: role.arn.clone(), target: target.arn.clone() };
                    let why = Break::TargetDenied { role: role.link(), target: target.link(), denial };
                    return Err((first.chain, Broken { why, fix }));
                }
            }
        }
        let mut chain = first.chain;
        chain.push(ChainStep::AssumesTarget { role: target.link(), statement: step.statement });
        let route = self.route("pod", target_arn, chain);
        Ok(Route { conditions: step.conditions, context: first.context, unread: step.unread, ..route })
    }

    /// Who may assume a role by its trust, each with the statement, other than pods of the world and EKS for them.
    fn assumers<'r>(&self, role: &'r Role) -> Vec<(Who, &'r Statement)> {
        let mut found = Vec::new();
        for statement in role.trust.iter().flat_map(Policy::statements).filter(|s| s.effect() == Effect::Allow) {
            for principal in statement.principal().into_iter().flat_map(Selector::values) {
                match principal {
                    Principal::Service(name) if name.as_ref() == "pods.eks.amazonaws.com" => {}
                    Principal::Federated(provider) => {
                        found.extend(self.subjects(provider, statement).into_iter().map(|who| (who, statement)));
                    }
                    other => found.push((self.who(other), statement)),
                }
            }
        }
        found
    }

    /// The identities of a provider that a trust statement lets in, without the service accounts of the world.
    fn subjects(&self, provider: &str, statement: &Statement) -> Vec<Who> {
        let issuer = provider.split_once(":oidc-provider/").map_or(provider, |(_, host)| host);
        let cluster = self.clusters.iter().find(|(_, c)| c.host.as_deref() == Some(issuer)).map(|(key, _)| key);
        let key = format!("{issuer}:sub");
        let subjects: Vec<&str> = statement
            .conditions()
            .iter()
            .filter(|c| c.key().as_str().eq_ignore_ascii_case(&key) && !c.operator().test.is_negated())
            .flat_map(Condition::values)
            .collect();
        let who =
            |subject: Option<&str>| Who::Subject { provider: provider.to_owned(), subject: subject.map(str::to_owned) };
        if subjects.is_empty() {
            return vec![who(None)];
        }
        let is_known = |subject: &str| {
            let parts = subject.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            parts.is_some_and(|(namespace, name)| {
                cluster.is_some_and(|cluster| {
                    let pod = Pod { cluster: cluster.clone(), namespace: namespace.to_owned(), name: name.to_owned() };
                    self.pods.contains_key(&pod) || self.names.contains_key(&pod)
                })
            })
        };
        subjects.into_iter().filter(|subject| !is_known(subject)).map(|subject| who(Some(subject))).collect()
    }

    /// The policies that bear on requests of a route, as far as they have been read: what was not read allows nothing.
    pub(super) fn policies<'a>(&'a self, route: &Route, resource: Option<Attached<'a>>) -> PolicySet<'a> {
        let held = |list: &'a [Held]| list.iter().map(|h| Attached { name: &h.label, policy: &h.policy }).collect();
        let role = route.role.as_ref().and_then(|arn| self.roles.get(arn));
        let mut set = PolicySet { resource, ..PolicySet::default() };
        if let Some(role) = role {
            set.identity = held(&role.identity);
            set.boundaries = held(&role.boundary);
            if role.unknown.iter().any(|unread| matches!(unread, Unread::Boundary { .. })) {
                set.boundaries.push(Attached { name: &UNREAD_BOUNDARY, policy: &NOTHING });
            }
        }
        set
    }

    /// The same policies as if the caller's that were not read allowed everything.
    pub(super) fn policies_at_most<'a>(&'a self, route: &Route, resource: Option<Attached<'a>>) -> PolicySet<'a> {
        let mut set = self.policies(route, resource);
        if route.role.is_none() {
            set.identity = vec![Attached { name: &CALLER, policy: &EVERYTHING }];
        } else {
            set.boundaries.retain(|boundary| boundary.name != UNREAD_BOUNDARY.as_str());
        }
        set
    }
}

/// Policies as if these, which were not read, allowed everything. `resource` stands for the policy of the resource.
pub(super) fn at_most<'a>(known: &PolicySet<'a>, gaps: &BTreeSet<Unread>, resource: Attached<'a>) -> PolicySet<'a> {
    let mut set = known.clone();
    for gap in gaps {
        match gap {
            Unread::Boundary { .. } => set.boundaries.retain(|b| b.name != UNREAD_BOUNDARY.as_str()),
            Unread::RolePolicies { .. } | Unread::ManagedPolicy { .. } | Unread::CallerPolicies { .. } => {
                set.identity.push(Attached { name: &CALLER, policy: &EVERYTHING });
            }
            Unread::BucketPolicy { .. }
            | Unread::KeyPolicy { .. }
            | Unread::ResourcePolicy { .. }
            | Unread::TrustPolicy { .. }
            | Unread::AccountPolicies { .. }
            | Unread::Issuer { .. }
            | Unread::Annotations { .. } => set.resource = Some(resource),
        }
    }
    set
}

/// A policy that lets in anyone.
pub(super) fn anyone() -> Policy {
    Policy::new(Version::V2012, [Statement::allow(["*"], ["*"]).to(Selector::of([Principal::Everyone]))])
}

/// A trust policy that leaves it to the account of a principal whether the principal may assume the role.
fn delegating(principal: &str) -> Option<Policy> {
    let account = principal.parse::<Arn>().ok()?.account;
    let statement = Statement::allow(["*"], ["*"]).to(Selector::of([Principal::Account(account.into())]));
    Some(Policy::new(Version::V2012, [statement]))
}

/// What requests of a principal that a policy names come from.
pub(super) fn caller_of(principal: &Principal) -> String {
    match principal {
        Principal::Account(id) => format!("arn:aws:iam::{id}:root"),
        other => other.entry().1.to_owned(),
    }
}

/// Whether a trust policy may mean the principal of a route.
fn may_name(trust: &Policy, who: &Who, route: &Route) -> bool {
    let principals = || trust.statements().iter().filter_map(Statement::principal).flat_map(Selector::values);
    let is_named = principals().any(|principal| match principal {
        Principal::Service(_) | Principal::Federated(_) => {
            matches!(who, Who::Named(own) if own == principal) && route.role.is_none()
        }
        Principal::CanonicalUser(_) => false,
        _ => true,
    });
    // Everyone is listed as "anyone", and not once for each principal.
    let is_open = principals().any(|principal| matches!(principal, Principal::Everyone | Principal::AnyAws));
    is_named && (!is_open || matches!(who, Who::Named(Principal::Everyone)))
}

/// A step of a chain by which a caller assumes a role.
#[derive(Default)]
struct RoleStep {
    statement: Option<StatementRef>,
    conditions: BTreeSet<Requirement>,
    unread: BTreeSet<Unread>,
}

/// The sessions that EKS Pod Identity creates for the pods of a service account.
struct PodSessions<'w> {
    cluster: Option<&'w Cluster>,
    pod: &'w Pod,
    /// Session tags by key.
    tags: Vec<(&'static str, String)>,
}

impl<'w> PodSessions<'w> {
    fn new(cluster: Option<&'w Cluster>, pod: &'w Pod, tagged: bool) -> Self {
        let mut tags = Vec::new();
        if tagged {
            let name = cluster.map_or(pod.cluster.as_str(), |c| c.arn.rsplit('/').next().unwrap_or_default());
            tags = vec![
                ("eks-cluster-arn", cluster.map(|c| c.arn.clone()).unwrap_or_default()),
                ("eks-cluster-name", name.to_owned()),
                ("kubernetes-namespace", pod.namespace.clone()),
                ("kubernetes-service-account", pod.name.clone()),
            ];
        }
        Self { cluster, pod, tags }
    }

    /// What the trust of the target role must allow. Session tags are passed on to it.
    ///
    /// Source: EKS User Guide, "Access AWS resources using EKS Pod Identity target IAM roles".
    fn target_actions(&self) -> &'static [&'static str] {
        if self.tags.is_empty() { &["sts:AssumeRole"] } else { &["sts:AssumeRole", "sts:TagSession"] }
    }

    /// The session tags as the keys that policies know them by in requests of the session.
    fn principal_tags(&self) -> Vec<(String, String)> {
        self.tags.iter().map(|(key, value)| (format!("aws:PrincipalTag/{key}"), value.clone())).collect()
    }

    /// The request with which EKS takes a role.
    fn request(&self, principal: &str, action: &str, role: &Role) -> Request {
        let mut request = Request::new(principal, action, &role.arn);
        request.context = RequestContext::open();
        if let Some(cluster) = self.cluster {
            request.context.set("aws:SourceAccount", ContextValue::One(cluster.account.clone()));
            request.context.set("aws:SourceArn", ContextValue::One(cluster.arn.clone()));
            let region = cluster.arn.split(':').nth(3).unwrap_or_default();
            let name = cluster.arn.rsplit('/').next().unwrap_or_default();
            let Pod { namespace, name: service_account, .. } = self.pod;
            let external_id = format!("{region}/{}/{name}/{namespace}/{service_account}", cluster.account);
            request.context.set("sts:ExternalId", ContextValue::One(external_id));
        }
        for (key, value) in &self.tags {
            request.context.set(&format!("aws:RequestTag/{key}"), ContextValue::One(value.clone()));
        }
        if self.tags.is_empty() {
            for key in ["eks-cluster-arn", "kubernetes-namespace", "kubernetes-service-account"] {
                request.context.set(&format!("aws:RequestTag/{key}"), ContextValue::Many(Vec::new()));
            }
        }
        request
    }
}

/// By which statement a role trusts EKS Pod Identity, and under which conditions.
///
/// # Errors
/// The action that is denied, and why.
fn trusts_pod_identity(
    role: &Role,
    trust: &Policy,
    sessions: &PodSessions<'_>,
) -> Result<RoleStep, (&'static str, Denial)> {
    let label = role.trust_label();
    let set = PolicySet { resource: Some(Attached { name: &label, policy: trust }), ..PolicySet::default() };
    let mut step = RoleStep::default();
    for action in ["sts:AssumeRole", "sts:TagSession"] {
        let request = sessions.request("pods.eks.amazonaws.com", action, role);
        let decision = evaluate(&request, &set);
        if !matches!(decision.outcome, DecisionOutcome::Allowed | DecisionOutcome::Conditional) {
            return Err((action, Denial::of(&decision)));
        }
        step.conditions.extend(unsettled(&decision));
        step.statement = step.statement.or_else(|| statement_of(&decision));
    }
    Ok(step)
}

impl Bucket {
    /// What stands for the policy of a bucket that nobody has read: its owner is taken to let in the roles that the
    /// spec has. In the bucket's own account a role needs no statement.
    pub(super) fn assumed_policy(&self, route: &Route) -> Policy {
        let foreign = !self.account.is_empty() && !route.principal.contains(&format!("::{}:", self.account));
        let statement = Statement::allow(["*"], ["*"]).to(Selector::of([Principal::aws(&route.principal)]));
        Policy::new(Version::V2012, (foreign && route.role.is_some()).then_some(statement))
    }

    /// Its policy.
    pub(super) fn policy_ref(&self) -> PolicyRef {
        let of = PolicyOf::Bucket { bucket: self.name.clone(), assumed: self.policy.is_none() };
        PolicyRef::from(of).at(self.policy_address.clone())
    }
}

impl Key {
    /// Its policy.
    pub(super) fn policy_ref(&self) -> PolicyRef {
        PolicyRef::from(PolicyOf::Key { alias: self.alias.clone() }).at(self.policy_address.clone())
    }
}

impl Route {
    /// The same route through a role whose trust policy has not been read.
    fn on_trust(mut self, role: &Role) -> Self {
        self.unread.insert(Unread::TrustPolicy { role: role.name.clone() });
        self
    }

    /// A request of a route, in which what is not known may vary. Clients of AWS use TLS.
    pub(super) fn request(&self, action: &str, resource: &str, owner: &str) -> Request {
        let mut request = Request::new(&self.principal, action, resource);
        request.resource_account = (!owner.is_empty()).then(|| owner.to_owned());
        request.context =
            RequestContext::open().with("aws:SecureTransport", "true").with("aws:PrincipalIsAWSService", "false");
        for (key, value) in &self.context {
            request.context.set(key, ContextValue::One(value.clone()));
        }
        request.with_own_keys()
    }
}

/// The name of the caller's own policies where they have not been read.
static CALLER: LazyLock<String> = LazyLock::new(|| PolicyRef::from(PolicyOf::Caller).label());

/// The name of a permissions boundary that has not been read.
static UNREAD_BOUNDARY: LazyLock<String> = LazyLock::new(|| PolicyRef::from(PolicyOf::Boundary { arn: None }).label());

/// What policies that have not been read allow at most.
static EVERYTHING: LazyLock<Policy> = LazyLock::new(|| Policy::new(Version::V2012, [Statement::allow(["*"], ["*"])]));

/// What policies that have not been read allow at least.
static NOTHING: LazyLock<Policy> = LazyLock::new(|| Policy::new(Version::V2012, []));

impl Role {
    fn new(address: &Address, arn: &str, role: &RoleRef, trust: Option<Policy>) -> Self {
        let RoleRef { account, name } = role.clone();
        Self {
            arn: arn.to_owned(),
            account,
            name,
            key: address.name().to_owned(),
            address: Some(address.to_string()),
            trust,
            identity: Vec::new(),
            boundary: Vec::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// Its trust policy.
    pub(super) fn trust_ref(&self) -> PolicyRef {
        PolicyRef::from(PolicyOf::Trust { role: self.name.clone() }).at(self.address.clone())
    }

    fn trust_label(&self) -> String {
        self.trust_ref().label()
    }

    /// As a step of a chain names it.
    fn link(&self) -> ChainRole {
        ChainRole { role_arn: self.arn.clone(), role: self.name.clone() }
    }

    /// The same role under a permissions boundary.
    fn bounded(mut self, boundary: Option<&str>, policies: &BTreeMap<&str, Policy>) -> Self {
        let Some(arn) = boundary else { return self };
        match policies.get(arn) {
            Some(policy) => {
                let label = PolicyRef::from(PolicyOf::Boundary { arn: Some(arn.to_owned()) }).label();
                self.boundary = vec![Held { label, policy: policy.clone() }];
            }
            None => {
                self.unknown.insert(Unread::Boundary { arn: arn.to_owned() });
            }
        }
        self
    }

    /// Gives the role an inline policy.
    fn inline(&mut self, address: &Address, name: String, document: Option<PolicyText<'_>>) {
        match document.and_then(PolicyText::parse) {
            Some(policy) => {
                let label = PolicyRef::from(PolicyOf::Inline { name }).at(Some(address.to_string())).label();
                self.identity.push(Held { label, policy });
            }
            None => {
                self.unknown.insert(Unread::RolePolicies { role: self.name.clone() });
            }
        }
    }

    /// Gives the role a managed policy, which the world may not have.
    fn attach(&mut self, address: &Address, arn: &str, policy: Option<&Policy>) {
        match policy {
            Some(policy) => {
                let of = PolicyOf::Managed { arn: arn.to_owned() };
                let label = PolicyRef::from(of).at(Some(address.to_string())).label();
                self.identity.push(Held { label, policy: policy.clone() });
            }
            None => {
                self.unknown.insert(Unread::ManagedPolicy { arn: arn.to_owned() });
            }
        }
    }
}

fn kms_key(encryption: Option<&Encryption>) -> Option<String> {
    match encryption {
        Some(Encryption::Kms(kms)) => Some(kms.kms_key.clone()),
        _ => None,
    }
}

fn key(spec: &Spec, facts: &Facts, name: &str, key: &crate::spec::KeySpec) -> Key {
    let region = key.region(spec);
    let account = spec.account_id(&key.account).0;
    let made = || format!("arn:{}:kms:{region}:{account}:key/{name}", region.partition());
    Key {
        arn: facts.key_arns.get(name).cloned().unwrap_or_else(made),
        alias: key.alias_name(),
        policy: Policy::new(Version::V2012, []),
        policy_address: None,
        whole: false,
        account,
        region,
    }
}

/// Whether S3 would call the policy public.
fn is_public(policy: &Policy, bucket: &Bucket) -> bool {
    if policy.is_empty() {
        return false;
    }
    let subject = Subject { bucket: Some(&bucket.name), ..Subject::of(PolicyKind::Bucket) };
    lint(&policy.to_string(), &subject).iter().any(|finding| finding.check == Check::ResourcePublic)
}

/// The conditions of a statement, without those on some keys.
fn conditions(statement: &Statement, without: impl Fn(&str) -> bool) -> BTreeSet<Requirement> {
    statement
        .conditions()
        .iter()
        .filter(|c| !without(&c.key().as_str().to_ascii_lowercase()))
        .map(|condition| Requirement::condition(condition, false))
        .collect()
}

/// The issuer whose subject a trust names: of a cluster that the spec does not have any more.
fn issuer_of(trust: &Policy, subject: &str) -> Option<String> {
    let conditions = trust.statements().iter().flat_map(Statement::conditions);
    let mut named = conditions.filter(|c| c.values().any(|value| value == subject));
    named.find_map(|c| c.key().as_str().strip_suffix(":sub").map(str::to_owned))
}

fn assumes(role: &Role, statement: &Statement) -> ChainStep {
    ChainStep::Assumes { role: role.link(), statement: Some(StatementRef::new(role.trust_ref(), statement)) }
}

/// The statement by which a resource lets somebody in, or else one of the caller's.
pub(super) fn statement_of(decision: &Decision<'_>) -> Option<StatementRef> {
    let allows = || decision.matched.iter().filter(|a| a.statement.effect() == Effect::Allow);
    let applied = allows().find(|a| a.layer == Layer::Resource).or_else(|| allows().next())?;
    Some(StatementRef::applied(applied))
}

/// What a decision depends on.
pub(super) fn unsettled(decision: &Decision<'_>) -> BTreeSet<Requirement> {
    decision.conditions.iter().map(|condition| Requirement::condition(condition, false)).collect()
}
