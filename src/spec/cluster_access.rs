//! EKS access entries: who can use a cluster's Kubernetes API.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::SpecProblems;
use super::service_account::is_dns_label;
use super::{ClusterSpec, Spec};
use crate::diagnostic::Code;
use crate::iam::{Arn, is_account_id};

/// An IAM role or user with access to a cluster, whose authentication mode must be `API` or `API_AND_CONFIG_MAP`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterAccessSpec {
    /// The role: a key under `roles`. Either this or `principal_arn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The ARN of an IAM role or user. Either this or `role`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_arn: Option<String>,
    /// Kubernetes groups, to which role bindings in the cluster grant permissions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// EKS access policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AccessPolicySpec>,
}

/// An EKS access policy and where in the cluster it applies.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessPolicySpec {
    /// The policy's name, such as `AmazonEKSViewPolicy`, or its ARN.
    pub name: String,
    /// The namespaces to which it applies, `*` being a wildcard; absent for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
}

impl ClusterAccessSpec {
    /// The ARN of the role or user; `None` if the entry names none, which `load` has reported.
    #[must_use]
    pub fn principal(&self, spec: &Spec) -> Option<String> {
        match &self.role {
            Some(role) => spec.roles.get(role).map(|role| role.arn(spec)),
            None => self.principal_arn.clone(),
        }
    }

    /// Checks one entry under `access`, at its path in the spec.
    fn check(&self, path: &[&str], spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self { role, principal_arn, groups, policies } = self;
        match (role, principal_arn) {
            (Some(role), None) => problems.reference(&[path, &["role"]].concat(), role, &spec.roles),
            (None, Some(arn)) => check_principal(arn, &[path, &["principal_arn"]].concat(), problems),
            (None, None) => problems.error(
                Code::MissingKey,
                path,
                "an entry under `access` needs `role` or `principal_arn`".into(),
                "add `role: <key under roles>` or `principal_arn: <ARN of a role or user>`",
            ),
            (Some(_), Some(_)) => problems.error(
                Code::WrongValue,
                path,
                "an entry under `access` has both `role` and `principal_arn`".into(),
                "keep one of them",
            ),
        }
        let mut seen = BTreeSet::new();
        for (n, group) in groups.iter().enumerate() {
            let n = n.to_string();
            let path = [path, &["groups", n.as_str()]].concat();
            if !seen.insert(group) {
                problems.error(Code::DuplicateEntry, &path, format!("duplicate group `{group}`"), "name it once");
            }
            check_group(group, &path, problems);
        }
        let mut seen = BTreeSet::new();
        for (n, policy) in policies.iter().enumerate() {
            let n = n.to_string();
            let path = [path, &["policies", n.as_str()]].concat();
            if !seen.insert(policy.short_name()) {
                let what = format!("duplicate access policy `{}`", policy.short_name());
                problems.error(Code::DuplicateEntry, &path, what, "name it once, with all its namespaces");
            }
            policy.check(&path, problems);
        }
    }
}

impl AccessPolicySpec {
    /// The name without the ARN prefix.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.name.rsplit_once(":cluster-access-policy/").map_or(&self.name, |(_, name)| name)
    }

    /// The policy's ARN in a partition.
    ///
    /// Source: Amazon EKS User Guide, "Review access policy permissions".
    #[must_use]
    pub fn arn(&self, partition: &str) -> String {
        format!("arn:{partition}:eks::aws:cluster-access-policy/{}", self.short_name())
    }

    fn check(&self, path: &[&str], problems: &mut SpecProblems<'_>) {
        let Self { name, namespaces } = self;
        let is_arn = name.starts_with("arn:") && name.contains(":eks::aws:cluster-access-policy/");
        let short = self.short_name();
        let is_name = !short.is_empty() && short.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_name || (name != short && !is_arn) {
            problems.error(
                Code::WrongValue,
                &[path, &["name"]].concat(),
                format!("invalid access policy `{name}`"),
                "write a name such as AmazonEKSViewPolicy; `aws eks list-access-policies` lists all of them",
            );
        }
        let Some(namespaces) = namespaces else { return };
        if namespaces.is_empty() {
            problems.error(
                Code::WrongValue,
                &[path, &["namespaces"]].concat(),
                "the list of namespaces is empty".into(),
                "name the namespaces, or remove `namespaces` for access to the whole cluster",
            );
        }
        for (n, namespace) in namespaces.iter().enumerate() {
            if !is_dns_label(&namespace.replace('*', "x")) {
                problems.error(
                    Code::InvalidNamespace,
                    &[path, &["namespaces", &n.to_string()]].concat(),
                    format!("invalid namespace name `{namespace}`"),
                    "use 1 to 63 lowercase letters, digits, hyphens and `*`",
                );
            }
        }
    }
}

impl ClusterSpec {
    /// Checks the entries under `access`, and that each principal has only one.
    pub(super) fn check_access(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let mut known = BTreeSet::new();
        for (n, entry) in self.access.iter().enumerate() {
            let n = n.to_string();
            let path = ["clusters", key, "access", n.as_str()];
            entry.check(&path, spec, problems);
            // IAM names ignore case.
            let Some(principal) = entry.principal(spec) else { continue };
            if !known.insert(principal.to_lowercase()) {
                problems.error(
                    Code::SameObject,
                    &path,
                    format!("`{principal}` has two entries in the cluster `{key}`"),
                    "keep one entry for each principal: EKS has one for each",
                );
            }
        }
    }
}

/// Rejects sessions: the principal of an access entry is the session's role.
fn check_principal(text: &str, path: &[&str], problems: &mut SpecProblems<'_>) {
    let arn = text.parse::<Arn>().ok();
    let is_valid = arn.as_ref().is_some_and(|arn| {
        let kind = arn.resource_type();
        let named = kind.is_some_and(|(kind, name)| ["role", "user"].contains(&kind) && !name.is_empty());
        arn.service == "iam" && arn.region.is_empty() && is_account_id(&arn.account) && named && !text.contains('*')
    });
    if is_valid {
        return;
    }
    let help = if arn.is_some_and(|arn| arn.service == "sts") {
        "name the role instead of its session: arn:aws:iam::<account>:role/<path/name>"
    } else {
        "write arn:aws:iam::<account>:role/<path/name> or arn:aws:iam::<account>:user/<path/name>"
    };
    problems.error(Code::WrongValue, path, format!("invalid ARN of an IAM role or user `{text}`"), help);
}

/// The prefixes that are reserved for EKS and Kubernetes.
///
/// Source: Amazon EKS User Guide, "Set a custom username for EKS access entries"; the API applies the same rule to
/// groups.
const RESERVED: [&str; 5] = ["system:", "eks:", "aws:", "amazon:", "iam:"];

fn check_group(group: &str, path: &[&str], problems: &mut SpecProblems<'_>) {
    if let Some(prefix) = RESERVED.iter().find(|prefix| group.starts_with(**prefix)) {
        problems.error(
            Code::WrongValue,
            path,
            format!("the group `{group}` begins with `{prefix}`, which EKS reserves"),
            "use a group of your own and bind it to a role; for administrators, use the access policy AmazonEKSClusterAdminPolicy",
        );
    } else if group.is_empty() || group.len() > 255 || group.chars().any(|c| c.is_control() || c.is_whitespace()) {
        problems.error(
            Code::WrongValue,
            path,
            format!("invalid group name `{group}`"),
            "use the name of the group in your role bindings, without white space",
        );
    }
}
