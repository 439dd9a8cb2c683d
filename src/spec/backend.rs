//! The location of the state, if it is not a folder next to the spec.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bucket::bucket_name_problem;
use super::check::SpecProblems;
use super::{OnDestroy, Spec};
use crate::address::Region;
use crate::diagnostic::Code;

/// The location of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendSpec {
    /// In a bucket, for teams and CI.
    S3(S3BackendSpec),
}

impl BackendSpec {
    pub(super) fn check(&self, spec: &Spec, problems: &mut SpecProblems<'_>) {
        match self {
            Self::S3(s3) => s3.check(spec, problems),
        }
    }
}

/// Formats the location for people: "the bucket `acme-state`".
impl fmt::Display for BackendSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3(s3) => write!(f, "the bucket `{}`", s3.bucket),
        }
    }
}

/// A bucket that holds the state, the journal and the lock. It must exist, and the spec must not delete it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3BackendSpec {
    /// The bucket's name.
    pub bucket: String,
    /// The prefix of all object keys; the project's name follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The bucket's owner, with the credentials to access it: a key under `accounts`.
    pub account: String,
    /// The bucket's region, the account's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The number of seconds without renewal after which a lock expires; 60 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 3600))]
    pub lease_seconds: Option<u32>,
    /// The number of earlier states to keep; 10 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep: Option<u32>,
}

impl S3BackendSpec {
    /// The bucket's region.
    #[must_use]
    pub fn region(&self, spec: &Spec) -> Region {
        let of_account = || spec.accounts.get(&self.account).map(|a| a.region.clone());
        self.region.clone().or_else(of_account).unwrap_or_else(|| Region("us-east-1".into()))
    }

    /// The prefix, empty if there is none.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    /// The time for which a lock holds without being renewed.
    #[must_use]
    pub fn lease(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.lease_seconds.unwrap_or(60).into())
    }

    /// The number of earlier states to keep.
    #[must_use]
    pub fn keep(&self) -> usize {
        self.keep.unwrap_or(10) as usize
    }

    fn check(&self, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self { bucket, prefix: _, account, region: _, lease_seconds: _, keep: _ } = self;
        let at = |field| ["backend", "s3", field];
        problems.reference(&at("account"), account, &spec.accounts);
        if let Some(why) = bucket_name_problem(bucket) {
            problems.error(
                Code::InvalidBucketName,
                &at("bucket"),
                format!("invalid bucket name `{bucket}`: {why}"),
                "use the name of an existing bucket",
            );
        }
        let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let prefix = self.prefix();
        // Clients remove such segments from a path (RFC 3986, 5.2.4); S3 treats them as part of the key.
        let stepping = prefix.split('/').any(|step| step == "." || step == "..");
        let slashes = prefix.starts_with('/') || prefix.contains("//");
        if slashes || stepping || prefix.len() > 512 || !prefix.chars().all(is_valid) {
            problems.error(
                Code::WrongValue,
                &at("prefix"),
                format!("invalid state prefix `{prefix}`"),
                "use letters, digits and -_./ without a leading slash and without `.` or `..` as a step, such as bailiwick/prod",
            );
        }
        let doomed =
            spec.buckets.iter().find(|(_, b)| b.name == *bucket && b.managed && b.on_destroy == OnDestroy::Delete);
        if let Some((key, _)) = doomed {
            problems.error(
                Code::StateInDoomedBucket,
                &["buckets", key, "on_destroy"],
                format!("`{bucket}` holds the state, and `buckets.{key}` would delete it on destroy"),
                "set `on_destroy: keep`, or keep the state in a bucket that this spec does not delete",
            );
        }
    }
}
