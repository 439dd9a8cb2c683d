//! Grants: which service account gets which access to which data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Spec;
use super::check::SpecProblems;
use crate::diagnostic::Code;
use crate::spec::cluster::Identity;

/// Access for a service account to a prefix of a bucket.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantSpec {
    /// The service account: a key under `service_accounts`.
    pub to: String,
    /// The bucket: a key under `buckets`.
    pub bucket: String,
    /// The prefix of the object keys. For the whole bucket, write `prefix: ""`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The access.
    pub access: Access,
    /// How pods access a bucket in another account.
    #[serde(default)]
    pub mode: Mode,
    /// Also grant `HeadBucket`, which `KServe` 0.17 and later calls first. S3 cannot distinguish it from listing the
    /// bucket without a prefix, so the names of all keys in the bucket become visible.
    #[serde(default)]
    pub head_bucket: bool,
}

/// The access to grant. docs/grants.md lists the exact actions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// List keys and read objects.
    Read,
    /// List keys and write objects.
    Write,
    /// List keys, read and write objects.
    ReadWrite,
    /// List keys only.
    List,
    /// List keys and delete objects.
    Delete,
    /// Exactly these S3 actions.
    Actions(Vec<String>),
}

/// How a role in one account accesses a bucket in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The bucket policy names the pod's role.
    #[default]
    Direct,
    /// The pod's role assumes a role in the bucket's account.
    AssumeRole,
}

impl GrantSpec {
    /// The prefix; empty for the whole bucket.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    pub(super) fn check(&self, index: usize, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self { to, bucket, prefix, access, mode, head_bucket: _ } = self;
        let n = index.to_string();
        problems.reference(&["grants", &n, "to"], to, &spec.service_accounts);
        problems.reference(&["grants", &n, "bucket"], bucket, &spec.buckets);
        match prefix {
            None => problems.error(
                Code::MissingPrefix,
                &["grants", &n],
                format!("the grant to `{to}` has no prefix"),
                "add the prefix, or grant the whole bucket with `prefix: \"\"`",
            ),
            Some(prefix) if prefix.starts_with('/') => problems.error(
                Code::LeadingSlash,
                &["grants", &n, "prefix"],
                format!("the prefix `{prefix}` begins with a slash, but S3 keys do not"),
                &format!("write `{}`", prefix.trim_start_matches('/')),
            ),
            Some(prefix) if prefix.len() > 1024 || prefix.chars().any(char::is_control) => problems.error(
                Code::WrongValue,
                &["grants", &n, "prefix"],
                "the prefix contains a control character or is too long".into(),
                "use at most 1,024 bytes without control characters, as in S3 keys",
            ),
            Some(_) => {}
        }
        if let Access::Actions(actions) = access {
            Self::check_actions(actions, &n, problems);
        }
        if *mode == Mode::AssumeRole {
            self.check_assume_role(&n, spec, problems);
        }
    }

    fn check_actions(actions: &[String], n: &str, problems: &mut SpecProblems<'_>) {
        if actions.is_empty() {
            problems.error(
                Code::WrongValue,
                &["grants", n, "access"],
                "the list of actions is empty".into(),
                "name at least one action",
            );
        }
        for action in actions {
            let name = action.strip_prefix("s3:").unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
                problems.error(
                    Code::WrongValue,
                    &["grants", n, "access", "actions"],
                    format!("`{action}` cannot be granted: only single S3 actions can"),
                    "write actions such as s3:GetObject, without wildcards",
                );
            }
        }
    }

    /// A pod has one set of credentials. With a target role, the Pod Identity agent provides only that role's
    /// credentials, so the service account cannot have direct grants too.
    fn check_assume_role(&self, n: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let (Some(account), Some(bucket)) = (spec.service_accounts.get(&self.to), spec.buckets.get(&self.bucket))
        else {
            return;
        };
        let Some(cluster) = spec.clusters.get(&account.cluster) else { return };
        if cluster.account == bucket.account {
            problems.error(
                Code::WrongValue,
                &["grants", n, "mode"],
                format!("`mode: assume_role` leads to another account, but `{}` is in the cluster's own", self.bucket),
                "use `mode: direct`",
            );
        }
        if account.identity(spec) != Identity::PodIdentity {
            return;
        }
        let other = spec.grants.iter().find(|g| {
            g.to == self.to
                && (g.mode != Mode::AssumeRole
                    || spec.buckets.get(&g.bucket).is_some_and(|b| b.account != bucket.account))
        });
        if let Some(other) = other {
            problems.error(
                Code::TwoIdentities,
                &["grants", n, "mode"],
                format!(
                    "pods of `{}` would need two identities: a target role in account `{}` and another for the grant on `{}`",
                    self.to, bucket.account, other.bucket
                ),
                "Pod Identity gives a pod the target role's credentials only: split the service account, or use one mode and one account",
            );
        }
    }
}
