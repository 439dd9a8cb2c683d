//! Grants lowered to chains: who, through what, to which data.
//!
//! [`lower`] turns every grant into a [`Chain`]. The other functions answer, from [`Chains`] alone, what each side of them
//! must say: the trust of a role, its identity policies, the statements of a bucket or key policy. Kinds ask these
//! functions; nothing here knows how a side is stored.

mod actions;
mod ask;
mod broken;
mod change;
mod cluster;
mod facet;
mod identity;
mod index;
mod lockout;
mod pack;
mod resource;
mod terms;
mod trust;
mod unread;
mod world;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

pub use actions::{Actions, pattern_text};
pub use ask::{AccessAnswers, AccessTarget, AccessVerdict, Answer, AskError};
pub use broken::{Break, Broken, Denial, DeniedBy, Fix, Grant, Missing};
pub use change::{AccessChange, Crossing, Direction, Group, between_policies, diff};
pub use cluster::{ClusterAccess, ClusterRight, is_session_of};
pub use facet::{Carrier, Facet, Instance, PodBinding, PolicyText, ResourcePolicy, RoleRef, principals};
pub use identity::{identity_statements, render_for_owner};
pub use lockout::lockout;
pub use pack::{INLINE_NAME, PackError, Packed, pack, packed, spilled};
pub use resource::{bucket_statements, key_statements, own_sid, sid_prefix};
pub use terms::{
    AccountRef, AllowedBy, ChainCaller, ChainRole, ChainStep, DataPlace, Exception, Grantee, PlaceKind, PolicyOf,
    PolicyRef, Requirement, StatementRef, Trusted,
};
pub use trust::{role_trust, trusted_roles};
pub use unread::Unread;
pub use world::{Pod, Who, World};

use crate::diagnostic::{Code, Diagnostic, SourceRef};
use crate::document::Digest;
use crate::spec::{Access, Encryption, Facts, Identity, Manage, Mode, ROLE_ANNOTATION, ServiceAccountSpec, Spec};

/// One grant, resolved: the pod's identity, its role, and the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// The grant's place in the spec's list.
    pub grant: usize,
    /// The service account's key.
    pub service_account: String,
    /// How its pods get credentials.
    pub identity: Identity,
    /// The role that its pods get, by its key in [`Chains::roles`].
    pub role: String,
    /// The role in the bucket's account that the pod's role assumes, by its key in [`Chains::roles`].
    pub target: Option<String>,
    /// The bucket's key.
    pub bucket: String,
    /// The keys that are granted: all that start with this.
    pub prefix: String,
    /// What is granted.
    pub access: Access,
    /// Whether `HeadBucket` is granted too.
    pub head_bucket: bool,
    /// The KMS key that the bucket's objects are encrypted with, by its key.
    pub key: Option<String>,
    /// Whether the bucket policy must name the role.
    pub bucket_statement: bool,
}

impl Chain {
    /// The role that touches the data: the target if there is one.
    #[must_use]
    pub fn data_role(&self) -> &str {
        self.target.as_deref().unwrap_or(&self.role)
    }
}

/// Where a role comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An entry under `roles`.
    Spec,
    /// Derived for a service account that names no role.
    Derived,
    /// Derived in another account, as the target of role chaining from the named role.
    Target {
        /// The pod's role.
        source: String,
    },
}

/// A role that the spec speaks of, written out or derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The account's key.
    pub account: String,
    /// The role's name in IAM.
    pub name: String,
    /// The role's path.
    pub path: String,
    /// The role's ARN.
    pub arn: String,
    /// Whether the role is made and kept by this spec.
    pub managed: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// The service accounts whose pods get it, or whose role assumes it.
    pub service_accounts: Vec<String>,
}

/// The key of the role that a service account's pods get.
#[must_use]
pub fn role_key<'a>(spec: &'a Spec, service_account: &'a str) -> &'a str {
    spec.service_accounts.get(service_account).and_then(|s| s.role.as_deref()).unwrap_or(service_account)
}

/// The annotations that a service account needs so that its pods get a role: the spec's, and under IRSA the role's.
#[must_use]
pub fn annotations(spec: &Spec, account: &ServiceAccountSpec, role: &Role) -> BTreeMap<String, String> {
    let mut annotations = account.annotations.clone();
    if account.identity(spec) == Identity::Irsa {
        annotations.insert(ROLE_ANNOTATION.to_owned(), role.arn.clone());
    }
    annotations
}

/// The `kubectl` commands that write to a service account what the spec wants there, one a line; empty if it wants
/// nothing.
fn kubectl(spec: &Spec, account: &ServiceAccountSpec, role: &Role) -> String {
    let context = spec.clusters.get(&account.cluster).and_then(|c| c.context.as_deref());
    let context =
        context.filter(|c| *c != "in-cluster").map_or_else(String::new, |c| format!("--context {} ", shell(c)));
    [("annotate", &annotations(spec, account, role)), ("label", &account.labels)]
        .into_iter()
        .filter(|(_, pairs)| !pairs.is_empty())
        .map(|(verb, pairs)| {
            let pairs: Vec<String> = pairs.iter().map(|(key, value)| shell(&format!("{key}={value}"))).collect();
            let (namespace, name, pairs) = (&account.namespace, &account.name, pairs.join(" "));
            format!("kubectl {context}{verb} --overwrite --namespace {namespace} serviceaccount {name} {pairs}")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// A word of a POSIX shell command, quoted if it must be.
fn shell(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&b));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn target_key(service_account: &str, account: &str) -> String {
    format!("{service_account}/{account}")
}

/// Every role that the spec speaks of, by key. Derived roles exist for service accounts that have grants or trust.
fn roles(spec: &Spec) -> BTreeMap<String, Role> {
    let mut roles: BTreeMap<String, Role> = spec
        .roles
        .iter()
        .map(|(key, role)| {
            let resolved = Role {
                account: role.account.clone(),
                name: role.name.clone(),
                path: role.path.clone(),
                arn: role.arn(spec),
                managed: role.managed,
                origin: Origin::Spec,
                service_accounts: Vec::new(),
            };
            (key.clone(), resolved)
        })
        .collect();
    let derive = |account: &str, name: String, origin: Origin| Role {
        account: account.to_owned(),
        arn: spec.iam_arn(account, &format!("role/{name}")),
        name,
        path: "/".into(),
        managed: true,
        origin,
        service_accounts: Vec::new(),
    };
    let granted: std::collections::BTreeSet<&str> = spec.grants.iter().map(|g| g.to.as_str()).collect();
    for (key, account) in &spec.service_accounts {
        let Some(cluster) = spec.clusters.get(&account.cluster) else { continue };
        let role = role_key(spec, key).to_owned();
        if account.role.is_none() && !granted.contains(key.as_str()) {
            continue;
        }
        roles
            .entry(role)
            .or_insert_with(|| derive(&cluster.account, derived_name(&spec.project, key), Origin::Derived))
            .service_accounts
            .push(key.clone());
    }
    for (key, role) in &spec.roles {
        for trust in &role.trust {
            if let (crate::spec::TrustSpec::ServiceAccount(name), Some(resolved)) = (trust, roles.get_mut(key))
                && !resolved.service_accounts.contains(name)
            {
                resolved.service_accounts.push(name.clone());
            }
        }
    }
    for grant in spec.grants.iter().filter(|g| g.mode == Mode::AssumeRole) {
        let Some(bucket) = spec.buckets.get(&grant.bucket) else { continue };
        let source = role_key(spec, &grant.to).to_owned();
        let name = derived_name(&spec.project, &format!("{}-{}", grant.to, bucket.account));
        let target = roles
            .entry(target_key(&grant.to, &bucket.account))
            .or_insert_with(|| derive(&bucket.account, name, Origin::Target { source }));
        if !target.service_accounts.contains(&grant.to) {
            target.service_accounts.push(grant.to.clone());
        }
    }
    roles
}

/// `project-name`, cut to the 64 characters of an IAM role name with a digest that keeps it unique.
fn derived_name(project: &str, name: &str) -> String {
    let full = format!("{project}-{name}");
    if full.len() <= 64 {
        return full;
    }
    let kept: String = full.chars().take(55).collect();
    format!("{kept}-{}", Digest::of(full.as_bytes()).short(8))
}

/// The grants of a spec, resolved, and the roles that they go through. What one side of a chain must say is answered
/// without a look at the chains of others, so that the work for a project grows with its size.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    chains: Vec<Chain>,
    roles: BTreeMap<String, Role>,
    /// The keys of roles by their ARNs.
    arns: HashMap<String, String>,
    by_role: HashMap<String, Vec<usize>>,
    by_bucket: HashMap<String, Vec<usize>>,
    by_key: HashMap<String, Vec<usize>>,
}

impl Chains {
    fn new(roles: BTreeMap<String, Role>, chains: Vec<Chain>) -> Self {
        let mut found = Self {
            arns: roles.iter().map(|(key, role)| (role.arn.clone(), key.clone())).collect(),
            roles,
            ..Self::default()
        };
        for (n, chain) in chains.iter().enumerate() {
            found.by_role.entry(chain.role.clone()).or_default().push(n);
            if let Some(target) = &chain.target {
                found.by_role.entry(target.clone()).or_default().push(n);
            }
            found.by_bucket.entry(chain.bucket.clone()).or_default().push(n);
            if let Some(key) = &chain.key {
                found.by_key.entry(key.clone()).or_default().push(n);
            }
        }
        Self { chains, ..found }
    }

    fn pick<'a>(&'a self, index: &'a HashMap<String, Vec<usize>>, key: &str) -> impl Iterator<Item = &'a Chain> {
        index.get(key).into_iter().flatten().filter_map(|n| self.chains.get(*n))
    }

    /// Every chain, in the order of the grants.
    #[must_use]
    pub fn all(&self) -> &[Chain] {
        &self.chains
    }

    /// The chains that go through a role, by its key.
    pub fn through(&self, role: &str) -> impl Iterator<Item = &Chain> {
        self.pick(&self.by_role, role)
    }

    /// The chains that lead to a bucket, by its key.
    pub fn to_bucket(&self, bucket: &str) -> impl Iterator<Item = &Chain> {
        self.pick(&self.by_bucket, bucket)
    }

    /// The chains that need a KMS key, by its key in the spec.
    pub fn with_key(&self, key: &str) -> impl Iterator<Item = &Chain> {
        self.pick(&self.by_key, key)
    }

    /// Every role that the spec speaks of, by key.
    #[must_use]
    pub fn roles(&self) -> &BTreeMap<String, Role> {
        &self.roles
    }

    /// The role with an ARN, and its key.
    #[must_use]
    pub fn role_named(&self, arn: &str) -> Option<(&str, &Role)> {
        self.roles.get_key_value(self.arns.get(arn)?).map(|(key, role)| (key.as_str(), role))
    }
}

/// Resolves every grant. A grant with a dangling reference is left out: `spec::load` has reported it.
#[must_use]
pub fn lower(spec: &Spec) -> Chains {
    let roles = roles(spec);
    let chains = spec
        .grants
        .iter()
        .enumerate()
        .filter_map(|(index, grant)| {
            let account = spec.service_accounts.get(&grant.to)?;
            let bucket = spec.buckets.get(&grant.bucket)?;
            let role = role_key(spec, &grant.to).to_owned();
            let target = (grant.mode == Mode::AssumeRole).then(|| target_key(&grant.to, &bucket.account));
            let data_role = roles.get(target.as_ref().unwrap_or(&role))?;
            let key = match &bucket.encryption {
                Some(Encryption::Kms(kms)) => Some(kms.kms_key.clone()),
                _ => None,
            };
            Some(Chain {
                grant: index,
                service_account: grant.to.clone(),
                identity: account.identity(spec),
                bucket_statement: data_role.account != bucket.account || bucket.same_account_statements,
                role,
                target,
                bucket: grant.bucket.clone(),
                prefix: grant.prefix().to_owned(),
                access: grant.access.clone(),
                head_bucket: grant.head_bucket,
                key,
            })
        })
        .collect();
    Chains::new(roles, chains)
}

/// What must be said about the chains themselves: sides that nobody manages, and habits that lead to surprises.
#[must_use]
pub fn findings(spec: &Spec, facts: &Facts, chains: &Chains) -> Vec<Diagnostic> {
    let roles = chains.roles();
    let mut found = Vec::new();
    let place = |n: usize| -> Option<SourceRef> { spec.source(&["grants", &n.to_string()]) };
    let mut buckets = std::collections::BTreeSet::new();
    let mut strangers = std::collections::BTreeSet::new();
    for chain in chains.all() {
        let at = place(chain.grant);
        if let Some(bucket) = spec.buckets.get(&chain.bucket)
            && !bucket.managed
            && chain.bucket_statement
            && buckets.insert(&chain.bucket)
        {
            let statements = bucket_statements(spec, chains, &chain.bucket);
            found.push(
                Diagnostic::new(
                    Code::UnmanagedBucketPolicy,
                    format!(
                        "the owner of bucket `{}` must add these statements to its policy:\n{}",
                        bucket.name,
                        render_for_owner(&statements)
                    ),
                )
                .at(at.clone())
                .help("until then the grant gives no access; with `managed: true` the statements are written here"),
            );
        }
        if let Some(role) = roles.get(chain.data_role())
            && !role.managed
            && strangers.insert(chain.data_role())
        {
            let statements = identity_statements(spec, facts, chains, chain.data_role());
            found.push(
                Diagnostic::new(
                    Code::UnmanagedRole,
                    format!(
                        "the owner of role `{}` must add these statements to a policy of the role:\n{}",
                        role.name,
                        render_for_owner(&statements)
                    ),
                )
                .at(at.clone())
                .help("until then the grant gives no access; with `managed: true` the policy is written here"),
            );
        }
        if !chain.prefix.is_empty() && !chain.prefix.ends_with('/') && !matches!(chain.access, Access::Actions(_)) {
            found.push(
                Diagnostic::new(
                    Code::PrefixWithoutSlash,
                    format!(
                        "the prefix `{}` also covers keys such as `{}2`: it does not end with a slash",
                        chain.prefix, chain.prefix
                    ),
                )
                .at(spec.source(&["grants", &chain.grant.to_string(), "prefix"]))
                .help(format!("write `{}/` if a folder is meant", chain.prefix)),
            );
        }
        if chain.target.is_some() && chain.identity == Identity::Irsa {
            let target = roles.get(chain.data_role()).map_or("", |r| r.arn.as_str());
            found.push(
                Diagnostic::new(
                    Code::RoleChainingInClient,
                    format!("pods of `{}` must assume {target} themselves: IRSA gives them the first role only", chain.service_account),
                )
                .at(at)
                .help("KServe's storage initializer cannot; use `mode: direct`, or `identity: pod_identity`, which does the chaining"),
            );
        }
    }
    for (key, role) in roles.iter().filter(|(_, r)| !r.managed && !r.service_accounts.is_empty()) {
        let trust = role_trust(spec, facts, chains, key);
        if !trust.is_empty() {
            found.push(
                Diagnostic::new(
                    Code::UnmanagedRoleTrust,
                    format!(
                        "the owner of role `{}` must trust its service accounts with:\n{}",
                        role.name,
                        render_for_owner(trust.statements())
                    ),
                )
                .at(spec.source(&["roles", key]))
                .help("until then pods cannot take the role; with `managed: true` the trust is written here"),
            );
        }
    }
    for (key, account) in spec.service_accounts.iter().filter(|(_, a)| a.manage == Manage::None) {
        let Some(role) = roles.get(role_key(spec, key)) else { continue };
        let commands = kubectl(spec, account, role);
        if !commands.is_empty() {
            found.push(
                Diagnostic::new(
                    Code::AnnotateServiceAccount,
                    format!(
                        "whoever manages the service account `{}/{}` of cluster `{}` must run:\n{commands}",
                        account.namespace, account.name, account.cluster
                    ),
                )
                .at(spec.source(&["service_accounts", key, "manage"]))
                .help(
                    "until then its pods do not get what the spec says; with `manage: annotation` it is written here",
                ),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests;
