//! Kubernetes service accounts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Spec;
use super::check::{SectionEntry, SpecProblems};
use super::cluster::Identity;
use crate::diagnostic::Code;

/// A Kubernetes service account and the role that its pods get.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccountSpec {
    /// The cluster: a key under `clusters`.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The role: a key under `roles`. If absent, a role is derived in the cluster's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How its pods get credentials, if different from the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The part of the Kubernetes object that Bailiwick manages.
    #[serde(default)]
    pub manage: Manage,
    /// Create the namespace if it does not exist.
    #[serde(default)]
    pub create_namespace: bool,
    /// Labels to manage on the object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations to manage on the object, in addition to the role's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Omit the session tags that EKS adds under Pod Identity.
    #[serde(default)]
    pub disable_session_tags: bool,
    /// Refuse every plan that would delete the object.
    #[serde(default)]
    pub protect: bool,
}

/// The part of a Kubernetes object that Bailiwick manages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Manage {
    /// The whole object. Bailiwick creates it if it is missing, and later deletes it only if it created it.
    #[default]
    Object,
    /// Annotations only: the object already exists, and Bailiwick manages only its own annotations on it.
    Annotation,
    /// Nothing: Bailiwick does not access the cluster, and a finding shows what to annotate.
    None,
}

impl ServiceAccountSpec {
    /// How the pods get credentials.
    #[must_use]
    pub fn identity(&self, spec: &Spec) -> Identity {
        self.identity.or_else(|| spec.clusters.get(&self.cluster).map(|c| c.identity)).unwrap_or_default()
    }

    /// The subject of the tokens: `system:serviceaccount:<namespace>:<name>`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    fn check_role(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Some(role) = &self.role else {
            if spec.roles.contains_key(key) {
                problems.error(
                    Code::AmbiguousRole,
                    &["service_accounts", key],
                    format!("the role derived for `{key}` has the name of an entry under `roles`"),
                    &format!("write `role: {key}`, or rename one of the two"),
                );
            }
            return;
        };
        let path = ["service_accounts", key, "role"];
        problems.reference(&path, role, &spec.roles);
        if let (Some(role_spec), Some(cluster)) = (spec.roles.get(role), spec.clusters.get(&self.cluster))
            && role_spec.account != cluster.account
            && spec.accounts.contains_key(&cluster.account)
            && self.identity(spec) == Identity::PodIdentity
        {
            problems.error(
                Code::WrongAccount,
                &path,
                format!("the role `{role}` is in account `{}`, the cluster in `{}`", role_spec.account, cluster.account),
                "Pod Identity needs a role in the cluster's account; reach another account with `mode: assume_role` grants",
            );
        }
    }

    fn check_metadata(&self, key: &str, problems: &mut SpecProblems<'_>) {
        if self.annotations.contains_key(ROLE_ANNOTATION) {
            problems.error(
                Code::WrongValue,
                &["service_accounts", key, "annotations", ROLE_ANNOTATION],
                format!("`{ROLE_ANNOTATION}` is set from `role`"),
                "remove it here",
            );
        }
        for (map, entries) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            for name in entries.keys().filter(|k| !is_qualified_name(k)) {
                problems.error(
                    Code::WrongValue,
                    &["service_accounts", key, map, name],
                    format!("invalid Kubernetes key `{name}`"),
                    "write name or prefix/name",
                );
            }
        }
        for (label, value) in &self.labels {
            let is_valid = value.len() <= 63 && (value.is_empty() || is_name_part(value));
            if !is_valid {
                problems.error(
                    Code::WrongValue,
                    &["service_accounts", key, "labels", label],
                    format!("invalid label value `{value}`"),
                    "use at most 63 letters, digits and -_., starting and ending with a letter or digit",
                );
            }
        }
    }
}

impl SectionEntry for ServiceAccountSpec {
    const SECTION: &'static str = "service_accounts";
    const NOUN: &'static str = "service account";
    const IDENTIFIED_AT: &'static [&'static str] = &[];
    const ONE_ENTRY: &'static str = "keep one entry for each service account: it can have one role only";
    /// Cluster, namespace and name.
    type Identity = (String, String, String);

    fn identity(&self, _spec: &Spec) -> Self::Identity {
        (self.cluster.clone(), self.namespace.clone(), self.name.clone())
    }

    fn check(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self {
            cluster,
            namespace,
            name,
            role: _,
            identity: _,
            manage: _,
            create_namespace: _,
            labels: _,
            annotations: _,
            disable_session_tags: _,
            protect: _,
        } = self;
        let at = |field: &'static str| ["service_accounts", key, field];
        problems.reference(&at("cluster"), cluster, &spec.clusters);
        if !is_dns_label(namespace) {
            problems.error(
                Code::InvalidNamespace,
                &at("namespace"),
                format!("invalid namespace name `{namespace}`"),
                "use 1 to 63 lowercase letters, digits and hyphens (RFC 1123 label)",
            );
        }
        if name.len() > 253 || !name.split('.').all(is_dns_label) {
            problems.error(
                Code::InvalidServiceAccountName,
                &at("name"),
                format!("invalid service account name `{name}`"),
                "use lowercase letters, digits, hyphens and dots (RFC 1123 subdomain)",
            );
        }
        self.check_role(key, spec, problems);
        self.check_metadata(key, problems);
    }
}

/// The annotation by which the EKS webhook finds a pod's role.
///
/// Source: EKS User Guide, "Assign IAM roles to Kubernetes service accounts".
pub const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

pub(super) fn is_dns_label(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

fn is_name_part(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => prefix.len() <= 253 && prefix.split('.').all(is_dns_label) && is_name_part(name),
        None => is_name_part(text),
    }
}
