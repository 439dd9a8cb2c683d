//! IAM roles, their trust, and customer managed policies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Problems, Spec, is_true, yes};
use crate::address::AccountId;
use crate::iam::Policy;

/// An IAM role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    /// The account: a key under `accounts`.
    pub account: String,
    /// The role's name.
    pub name: String,
    /// The role's path.
    #[serde(default = "root_path", skip_serializing_if = "is_root_path")]
    pub path: String,
    /// `false`: the role exists elsewhere, nothing of it is written, and findings print what its owner must add.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub managed: bool,
    /// What the role is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The longest session in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3600, max = 43200))]
    pub max_session_duration: Option<i32>,
    /// The permissions boundary: a policy ARN, or a key under `policies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
    /// Who may assume the role, besides the service accounts that name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<TrustSpec>,
    /// Managed policies to attach: policy ARNs, or keys under `policies`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Inline policies by name, as raw documents.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inline: BTreeMap<String, RawPolicy>,
    /// Tags, besides those that mark ownership.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Refuse every plan that would delete or replace the role.
    #[serde(default)]
    pub protect: bool,
}

/// Somebody who may assume a role.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrustSpec {
    /// A key under `service_accounts`.
    ServiceAccount(String),
    /// A key under `roles`, or a role ARN.
    Role(String),
    /// A whole account: a key under `accounts`, or an account id.
    Account(String),
    /// An AWS service such as `ec2.amazonaws.com`.
    Service(String),
    /// A raw trust policy document, whose statements are added.
    Policy(RawPolicy),
}

/// An IAM policy document as IAM's JSON, written in YAML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RawPolicy(pub serde_json::Map<String, serde_json::Value>);

impl RawPolicy {
    /// The document, canonical.
    ///
    /// # Errors
    /// What IAM would refuse, one line for each problem.
    pub fn parse(&self) -> Result<Policy, Vec<String>> {
        Policy::from_value(&serde_json::Value::Object(self.0.clone()))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }
}

/// A customer managed policy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// The account: a key under `accounts`.
    pub account: String,
    /// The policy's name.
    pub name: String,
    /// The policy's path.
    #[serde(default = "root_path", skip_serializing_if = "is_root_path")]
    pub path: String,
    /// What the policy is for; it cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The raw document.
    pub document: RawPolicy,
    /// Tags, besides those that mark ownership.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

fn root_path() -> String {
    "/".into()
}

fn is_root_path(path: &str) -> bool {
    path == "/"
}

impl RoleSpec {
    /// The role's ARN.
    #[must_use]
    pub fn arn(&self, spec: &Spec) -> String {
        spec.iam_arn(&self.account, &format!("role{}{}", self.path, self.name))
    }

    pub(super) fn check(&self, key: &str, spec: &Spec, problems: &mut Problems<'_>) {
        let at = |field: &'static str| ["roles", key, field];
        problems.reference(&at("account"), "account", &self.account, &spec.accounts);
        check_name(problems, &at("name"), &self.name, 64);
        check_path(problems, &at("path"), &self.path);
        if let Some(boundary) = &self.permissions_boundary {
            check_policy_reference(problems, &at("permissions_boundary"), boundary, &self.account, spec);
        }
        for (n, policy) in self.policies.iter().enumerate() {
            let n = n.to_string();
            check_policy_reference(problems, &["roles", key, "policies", &n], policy, &self.account, spec);
            if self.policies.iter().filter(|p| *p == policy).count() > 1 {
                problems.error(
                    "duplicate-entry",
                    &["roles", key, "policies", &n],
                    format!("`{policy}` is attached twice"),
                    "name it once",
                );
            }
        }
        for (name, document) in &self.inline {
            check_name(problems, &["roles", key, "inline", name], name, 128);
            check_document(problems, &["roles", key, "inline", name], document);
            if name.starts_with("bailiwick-") {
                problems.error(
                    "wrong-value",
                    &["roles", key, "inline", name],
                    format!("the name `{name}` is kept for grants"),
                    "choose a name that does not start with `bailiwick-`",
                );
            }
        }
        for (n, trust) in self.trust.iter().enumerate() {
            let n = n.to_string();
            trust.check(&["roles", key, "trust", &n], spec, problems);
        }
        problems.tags(&at("tags"), &self.tags);
        if self.managed {
            return;
        }
        let unused = [
            ("trust", !self.trust.is_empty()),
            ("policies", !self.policies.is_empty()),
            ("inline", !self.inline.is_empty()),
            ("tags", !self.tags.is_empty()),
            ("description", self.description.is_some()),
            ("max_session_duration", self.max_session_duration.is_some()),
            ("permissions_boundary", self.permissions_boundary.is_some()),
        ];
        for (field, _) in unused.iter().filter(|(_, set)| *set) {
            problems.error(
                "wrong-value",
                &["roles", key, field],
                format!("`{field}` has no effect on a role with `managed: false`"),
                "remove it, or manage the role",
            );
        }
    }
}

impl TrustSpec {
    fn check(&self, path: &[&str], spec: &Spec, problems: &mut Problems<'_>) {
        match self {
            Self::ServiceAccount(name) => {
                problems.reference(
                    &[path, &["service_account"]].concat(),
                    "service account",
                    name,
                    &spec.service_accounts,
                );
            }
            Self::Role(name) if name.starts_with("arn:") => {}
            Self::Role(name) => problems.reference(&[path, &["role"]].concat(), "role", name, &spec.roles),
            Self::Account(name) if AccountId(name.clone()).is_valid() => {}
            Self::Account(name) => problems.reference(&[path, &["account"]].concat(), "account", name, &spec.accounts),
            Self::Service(name) => {
                if !name.contains('.') || name.contains('*') {
                    problems.error(
                        "wrong-value",
                        &[path, &["service"]].concat(),
                        format!("`{name}` is no service principal"),
                        "write the full name, such as ec2.amazonaws.com",
                    );
                }
            }
            Self::Policy(document) => check_document(problems, &[path, &["policy"]].concat(), document),
        }
    }
}

impl PolicySpec {
    /// The policy's ARN.
    #[must_use]
    pub fn arn(&self, spec: &Spec) -> String {
        spec.iam_arn(&self.account, &format!("policy{}{}", self.path, self.name))
    }

    pub(super) fn check(&self, key: &str, spec: &Spec, problems: &mut Problems<'_>) {
        problems.reference(&["policies", key, "account"], "account", &self.account, &spec.accounts);
        check_name(problems, &["policies", key, "name"], &self.name, 128);
        check_path(problems, &["policies", key, "path"], &self.path);
        check_document(problems, &["policies", key, "document"], &self.document);
        problems.tags(&["policies", key, "tags"], &self.tags);
    }
}

/// Source: IAM API Reference, `CreateRole` and `CreatePolicy`, parameter patterns.
fn check_name(problems: &mut Problems<'_>, path: &[&str], name: &str, longest: usize) {
    let sound = (1..=longest).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !sound {
        problems.error(
            "invalid-iam-name",
            path,
            format!("`{name}` is no IAM name"),
            &format!("1 to {longest} letters, digits and _+=,.@-"),
        );
    }
}

fn check_path(problems: &mut Problems<'_>, path: &[&str], text: &str) {
    let sound = text.starts_with('/')
        && text.ends_with('/')
        && text.len() <= 512
        && text.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if !sound {
        problems.error(
            "invalid-iam-path",
            path,
            format!("`{text}` is no IAM path"),
            "begin and end it with a slash: /team/",
        );
    }
}

fn check_document(problems: &mut Problems<'_>, path: &[&str], document: &RawPolicy) {
    for problem in document.parse().err().into_iter().flatten() {
        problems.error("invalid-policy", path, format!("AWS would refuse this policy: {problem}"), "mend the document");
    }
}

fn check_policy_reference(problems: &mut Problems<'_>, path: &[&str], text: &str, account: &str, spec: &Spec) {
    if text.starts_with("arn:") {
        if !text.contains(":iam::") || !text.contains(":policy/") {
            problems.error(
                "wrong-value",
                path,
                format!("`{text}` is no policy ARN"),
                "write arn:aws:iam::aws:policy/Name or arn:aws:iam::<account>:policy/Name",
            );
        }
        return;
    }
    problems.reference(path, "policy", text, &spec.policies);
    if let Some(policy) = spec.policies.get(text)
        && policy.account != account
    {
        problems.error(
            "wrong-account",
            path,
            format!("the policy `{text}` is in account `{}`, the role in `{account}`", policy.account),
            "a role attaches policies of its own account only",
        );
    }
}
