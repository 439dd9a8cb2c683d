//! The roles of a spec: declared or derived.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::Digest;
use crate::spec::{Identity, Mode, ROLE_ANNOTATION, RoleSpec, ServiceAccountSpec, Spec, TrustSpec};

/// The origin of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An entry under `roles`.
    Spec,
    /// Derived for a service account that declares no role.
    Derived,
    /// Derived in another account as the target role of the given source role.
    Target {
        /// The pod's role.
        source: String,
    },
}

/// A role of a spec, declared or derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRole {
    /// The account's key.
    pub account: String,
    /// The role's name in IAM.
    pub name: String,
    /// The role's path.
    pub path: String,
    /// The role's ARN.
    pub arn: String,
    /// Whether the spec manages the role.
    pub managed: bool,
    /// The role's origin.
    pub origin: Origin,
    /// The service accounts that use the role, directly or as their target role.
    pub service_accounts: Vec<String>,
}

/// The key of the role of a service account.
#[must_use]
pub fn role_key<'a>(spec: &'a Spec, service_account: &'a str) -> &'a str {
    spec.service_accounts.get(service_account).and_then(|s| s.role.as_deref()).unwrap_or(service_account)
}

/// The annotations of a service account: those in the spec, and the role's ARN under IRSA.
#[must_use]
pub fn annotations(spec: &Spec, account: &ServiceAccountSpec, role: &ResolvedRole) -> BTreeMap<String, String> {
    let mut annotations = account.annotations.clone();
    if account.identity(spec) == Identity::Irsa {
        annotations.insert(ROLE_ANNOTATION.to_owned(), role.arn.clone());
    }
    annotations
}

pub(super) fn target_key(service_account: &str, account: &str) -> String {
    format!("{service_account}/{account}")
}

impl ResolvedRole {
    /// A role declared under `roles`.
    fn written(spec: &Spec, role: &RoleSpec) -> Self {
        Self {
            account: role.account.clone(),
            name: role.name.clone(),
            path: role.path.clone(),
            arn: role.arn(spec),
            managed: role.managed,
            origin: Origin::Spec,
            service_accounts: Vec::new(),
        }
    }

    /// A role that the spec does not declare. `account` is the account's key.
    fn derived(spec: &Spec, account: &str, name: String, origin: Origin) -> Self {
        Self {
            account: account.to_owned(),
            arn: spec.iam_arn(account, &format!("role/{name}")),
            name,
            path: "/".into(),
            managed: true,
            origin,
            service_accounts: Vec::new(),
        }
    }

    /// Adds a service account once.
    fn add(&mut self, service_account: &str) {
        if !self.service_accounts.iter().any(|known| known == service_account) {
            self.service_accounts.push(service_account.to_owned());
        }
    }
}

/// Every role of the spec, by key. Roles are derived for service accounts that have grants or trust.
pub(super) fn roles(spec: &Spec) -> BTreeMap<String, ResolvedRole> {
    let written = spec.roles.iter().map(|(key, role)| (key.clone(), ResolvedRole::written(spec, role)));
    let mut roles: BTreeMap<String, ResolvedRole> = written.collect();
    let granted: BTreeSet<&str> = spec.grants.iter().map(|g| g.to.as_str()).collect();
    for (key, account) in &spec.service_accounts {
        let Some(cluster) = spec.clusters.get(&account.cluster) else { continue };
        if account.role.is_none() && !granted.contains(key.as_str()) {
            continue;
        }
        let name = || derived_name(&spec.project, key);
        let derived = || ResolvedRole::derived(spec, &cluster.account, name(), Origin::Derived);
        roles.entry(role_key(spec, key).to_owned()).or_insert_with(derived).add(key);
    }
    for (key, role) in &spec.roles {
        for trust in &role.trust {
            if let (TrustSpec::ServiceAccount(name), Some(resolved)) = (trust, roles.get_mut(key)) {
                resolved.add(name);
            }
        }
    }
    for grant in spec.grants.iter().filter(|g| g.mode == Mode::AssumeRole) {
        let Some(bucket) = spec.buckets.get(&grant.bucket) else { continue };
        let source = role_key(spec, &grant.to).to_owned();
        let name = derived_name(&spec.project, &format!("{}-{}", grant.to, bucket.account));
        let derived = || ResolvedRole::derived(spec, &bucket.account, name, Origin::Target { source });
        roles.entry(target_key(&grant.to, &bucket.account)).or_insert_with(derived).add(&grant.to);
    }
    roles
}

/// `project-name`, shortened to the 64 characters of an IAM role name. A digest keeps a shortened name unique.
fn derived_name(project: &str, name: &str) -> String {
    let full = format!("{project}-{name}");
    if full.len() <= 64 {
        return full;
    }
    let kept: String = full.chars().take(55).collect();
    format!("{kept}-{}", Digest::of(full.as_bytes()).short(8))
}
