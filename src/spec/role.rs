//! IAM roles with their trust, and customer managed policies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{SectionEntry, SpecProblems};
use super::{Spec, is_true, yes};
use crate::address::AccountId;
use crate::diagnostic::{Code, SourceRef};
use crate::iam::{Policy, Statement};

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
    /// `false`: the role exists elsewhere, Bailiwick does not change it, and findings show what its owner must add.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub managed: bool,
    /// The description of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The maximum session duration in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3600, max = 43200))]
    pub max_session_duration: Option<i32>,
    /// The permissions boundary: a policy ARN, or a key under `policies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
    /// Who can assume the role, in addition to the service accounts that name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<TrustSpec>,
    /// Managed policies to attach: policy ARNs, or keys under `policies`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Inline policies by name, as raw documents.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inline: BTreeMap<String, RawPolicy>,
    /// Tags, in addition to the ownership tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Refuse every plan that would delete or replace the role.
    #[serde(default)]
    pub protect: bool,
}

/// A principal that can assume a role.
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
    /// A raw trust policy document. Its statements are added.
    Policy(RawPolicy),
}

/// An IAM policy document: IAM's JSON, written in YAML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RawPolicy(pub serde_json::Map<String, serde_json::Value>);

impl RawPolicy {
    /// Parses the document into its canonical form.
    ///
    /// # Errors
    /// The reasons why IAM would reject it, one line per problem.
    pub fn parse(&self) -> Result<Policy, Vec<String>> {
        Policy::from_value(&serde_json::Value::Object(self.0.clone()))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    /// The place of an element of a statement, if the statement is in this document, which is at `path`. `element` is a
    /// path with slashes, such as `Condition/StringEquals`.
    #[must_use]
    pub fn place(&self, spec: &Spec, path: &[&str], statement: &Statement, element: &str) -> Option<SourceRef> {
        let policy = self.parse().ok()?;
        let same = policy.statements().iter().find(|own| *own == statement)?;
        let index = (same.position().saturating_sub(1)).to_string();
        let is_list = self.0.get("Statement").is_some_and(serde_json::Value::is_array);
        let statement = ["Statement"].into_iter().chain(is_list.then_some(index.as_str()));
        // A condition key may contain slashes.
        let element = element.splitn(3, '/').filter(|step| !step.is_empty());
        let path: Vec<&str> = path.iter().copied().chain(statement).chain(element).collect();
        spec.source(&path)
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
    /// The description of the policy, which IAM cannot change later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The policy document.
    pub document: RawPolicy,
    /// Tags, in addition to the ownership tags.
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

    fn check_policies(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        for (n, policy) in self.policies.iter().enumerate() {
            let n = n.to_string();
            check_policy_reference(problems, &["roles", key, "policies", &n], policy, &self.account, spec);
            if self.policies.iter().filter(|p| *p == policy).count() > 1 {
                problems.error(
                    Code::DuplicateEntry,
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
                    Code::WrongValue,
                    &["roles", key, "inline", name],
                    format!("the name `{name}` is reserved for grants"),
                    "choose a name that does not start with `bailiwick-`",
                );
            }
        }
    }
}

impl SectionEntry for RoleSpec {
    const SECTION: &'static str = "roles";
    const NOUN: &'static str = "role";
    const IDENTIFIED_AT: &'static [&'static str] = &["name"];
    const ONE_ENTRY: &'static str = "keep one entry for each role: role names ignore case";
    /// Account and name.
    type Identity = (String, String);

    fn identity(&self, _spec: &Spec) -> Self::Identity {
        (self.account.clone(), self.name.to_lowercase())
    }

    fn check(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self {
            account,
            name,
            path,
            managed,
            description,
            max_session_duration,
            permissions_boundary,
            trust,
            policies,
            inline,
            tags,
            protect: _,
        } = self;
        let at = |field: &'static str| ["roles", key, field];
        problems.reference(&at("account"), account, &spec.accounts);
        check_name(problems, &at("name"), name, 64);
        check_path(problems, &at("path"), path);
        if let Some(boundary) = permissions_boundary {
            check_policy_reference(problems, &at("permissions_boundary"), boundary, account, spec);
        }
        self.check_policies(key, spec, problems);
        for (n, trust) in trust.iter().enumerate() {
            trust.check(&["roles", key, "trust", &n.to_string()], spec, problems);
        }
        problems.tags(&at("tags"), tags);
        if *managed {
            return;
        }
        let unused = [
            ("trust", !trust.is_empty()),
            ("policies", !policies.is_empty()),
            ("inline", !inline.is_empty()),
            ("tags", !tags.is_empty()),
            ("description", description.is_some()),
            ("max_session_duration", max_session_duration.is_some()),
            ("permissions_boundary", permissions_boundary.is_some()),
        ];
        for (field, _) in unused.iter().filter(|(_, set)| *set) {
            problems.error(
                Code::WrongValue,
                &["roles", key, field],
                format!("`{field}` has no effect on a role with `managed: false`"),
                "remove it, or manage the role",
            );
        }
    }
}

impl TrustSpec {
    fn check(&self, path: &[&str], spec: &Spec, problems: &mut SpecProblems<'_>) {
        match self {
            Self::ServiceAccount(name) => {
                problems.reference(&[path, &["service_account"]].concat(), name, &spec.service_accounts);
            }
            Self::Role(name) if name.starts_with("arn:") => {}
            Self::Role(name) => problems.reference(&[path, &["role"]].concat(), name, &spec.roles),
            Self::Account(name) if AccountId(name.clone()).is_valid() => {}
            Self::Account(name) => problems.reference(&[path, &["account"]].concat(), name, &spec.accounts),
            Self::Service(name) => {
                if !name.contains('.') || name.contains('*') {
                    problems.error(
                        Code::WrongValue,
                        &[path, &["service"]].concat(),
                        format!("invalid service principal `{name}`"),
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
}

impl SectionEntry for PolicySpec {
    const SECTION: &'static str = "policies";
    const NOUN: &'static str = "policy";
    const IDENTIFIED_AT: &'static [&'static str] = &["name"];
    const ONE_ENTRY: &'static str = "keep one entry for each policy: policy names ignore case";
    /// Account and name.
    type Identity = (String, String);

    fn identity(&self, _spec: &Spec) -> Self::Identity {
        (self.account.clone(), self.name.to_lowercase())
    }

    fn check(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self { account, name, path, description: _, document, tags } = self;
        let at = |field: &'static str| ["policies", key, field];
        problems.reference(&at("account"), account, &spec.accounts);
        check_name(problems, &at("name"), name, 128);
        check_path(problems, &at("path"), path);
        check_document(problems, &at("document"), document);
        problems.tags(&at("tags"), tags);
    }
}

/// Source: IAM API Reference, `CreateRole` and `CreatePolicy`, parameter patterns.
fn check_name(problems: &mut SpecProblems<'_>, path: &[&str], name: &str, longest: usize) {
    let is_valid = (1..=longest).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !is_valid {
        problems.error(
            Code::InvalidIamName,
            path,
            format!("invalid IAM name `{name}`"),
            &format!("use 1 to {longest} letters, digits and _+=,.@-"),
        );
    }
}

fn check_path(problems: &mut SpecProblems<'_>, path: &[&str], text: &str) {
    let is_valid = text.starts_with('/')
        && text.ends_with('/')
        && text.len() <= 512
        && text.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if !is_valid {
        problems.error(
            Code::InvalidIamPath,
            path,
            format!("invalid IAM path `{text}`"),
            "begin and end the path with a slash, such as /team/",
        );
    }
}

fn check_document(problems: &mut SpecProblems<'_>, path: &[&str], document: &RawPolicy) {
    for problem in document.parse().err().into_iter().flatten() {
        problems.error(
            Code::InvalidPolicy,
            path,
            format!("AWS would reject this policy: {problem}"),
            "fix the document",
        );
    }
}

fn check_policy_reference(problems: &mut SpecProblems<'_>, path: &[&str], text: &str, account: &str, spec: &Spec) {
    if text.starts_with("arn:") {
        if !text.contains(":iam::") || !text.contains(":policy/") {
            problems.error(
                Code::WrongValue,
                path,
                format!("invalid policy ARN `{text}`"),
                "write arn:aws:iam::aws:policy/Name or arn:aws:iam::<account>:policy/Name",
            );
        }
        return;
    }
    problems.reference(path, text, &spec.policies);
    if let Some(policy) = spec.policies.get(text)
        && policy.account != account
    {
        problems.error(
            Code::WrongAccount,
            path,
            format!("the policy `{text}` is in account `{}`, the role in `{account}`", policy.account),
            "attach a policy in the role's own account",
        );
    }
}
