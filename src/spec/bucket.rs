//! S3 buckets: their settings, and the ownership of the bucket policy.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{SectionEntry, SpecProblems};
use super::{OnDestroy, Spec, is_true, yes};
use crate::address::Region;
use crate::diagnostic::Code;

/// An S3 bucket. Bailiwick does not change a setting that is absent here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketSpec {
    /// The owner: a key under `accounts`.
    pub account: String,
    /// The bucket's name.
    pub name: String,
    /// The bucket's region, the account's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Whether Bailiwick manages the bucket and its policy. `false`: the bucket exists elsewhere, Bailiwick does not
    /// change it, and a finding shows the statements that its owner must add.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub managed: bool,
    /// Block Public Access: all four settings at once. `true` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_access_block: Option<bool>,
    /// Object Ownership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// Versioning on (`true`) or suspended (`false`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versioning: Option<bool>,
    /// Default encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Lifecycle rules, each with a unique id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Vec<LifecycleRule>>,
    /// Tags, in addition to the ownership tags. Tags set by others are kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// `statements`: policy statements of others are kept. `exclusive`: the policy contains only Bailiwick's
    /// statements.
    #[serde(default)]
    pub policy: PolicyOwnership,
    /// Also write bucket policy statements for roles in the bucket's own account. Statements for roles in other
    /// accounts are always written.
    #[serde(default)]
    pub same_account_statements: bool,
    /// What `destroy` does: `keep`, or `delete` (only if the bucket is empty).
    #[serde(default)]
    pub on_destroy: OnDestroy,
    /// Refuse every plan that would delete or replace the bucket.
    #[serde(default)]
    pub protect: bool,
}

/// Who owns objects; `bucket_owner_enforced` disables ACLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// ACLs are disabled; the bucket's owner owns every object.
    BucketOwnerEnforced,
    /// The bucket's owner owns objects written with the `bucket-owner-full-control` ACL.
    BucketOwnerPreferred,
    /// The writer owns objects.
    ObjectWriter,
}

/// The ownership of a bucket policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyOwnership {
    /// Bailiwick manages its own statements, by Sid; statements of others are kept.
    #[default]
    Statements,
    /// Bailiwick manages the whole policy.
    Exclusive,
}

/// Default encryption of new objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Encryption {
    /// `AES256`: keys that S3 manages.
    Simple(SimpleEncryption),
    /// A KMS key.
    Kms(KmsEncryption),
}

/// Encryption with keys that S3 manages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SimpleEncryption {
    /// SSE-S3.
    #[serde(rename = "AES256")]
    Aes256,
}

/// Encryption with a KMS key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KmsEncryption {
    /// A key under `keys`.
    pub kms_key: String,
    /// Use an S3 Bucket Key, which saves KMS requests.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub bucket_key: bool,
}

/// A lifecycle rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LifecycleRule {
    /// The rule's unique name.
    pub id: String,
    /// The prefix of the keys to which it applies; empty for all keys.
    #[serde(default)]
    pub prefix: String,
    /// Delete current versions after this many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub expire_days: Option<u32>,
    /// Delete noncurrent versions after this many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub expire_noncurrent_days: Option<u32>,
    /// Abort incomplete multipart uploads after this many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub abort_multipart_days: Option<u32>,
}

impl BucketSpec {
    /// The bucket's region.
    #[must_use]
    pub fn region(&self, spec: &Spec) -> Region {
        self.region
            .clone()
            .or_else(|| spec.accounts.get(&self.account).map(|a| a.region.clone()))
            .unwrap_or_else(|| Region("us-east-1".into()))
    }

    /// The bucket's ARN.
    #[must_use]
    pub fn arn(&self, spec: &Spec) -> String {
        format!("arn:{}:s3:::{}", self.region(spec).partition(), self.name)
    }

    fn check_encryption_key(&self, key: &str, kms: &KmsEncryption, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let KmsEncryption { kms_key, bucket_key: _ } = kms;
        problems.reference(&["buckets", key, "encryption", "kms_key"], kms_key, &spec.keys);
        if let Some(key_spec) = spec.keys.get(kms_key)
            && key_spec.region(spec) != self.region(spec)
        {
            problems.error(
                Code::KeyInOtherRegion,
                &["buckets", key, "encryption", "kms_key"],
                format!("the key `{kms_key}` is in {}, the bucket in {}", key_spec.region(spec), self.region(spec)),
                "use a key in the bucket's region",
            );
        }
    }

    fn check_lifecycle(key: &str, rules: &[LifecycleRule], problems: &mut SpecProblems<'_>) {
        let mut ids = std::collections::BTreeSet::new();
        for (n, rule) in rules.iter().enumerate() {
            let LifecycleRule { id, prefix: _, expire_days, expire_noncurrent_days, abort_multipart_days } = rule;
            let n = n.to_string();
            let path = ["buckets", key, "lifecycle", n.as_str()];
            if id.is_empty() || id.len() > 255 || !ids.insert(id.as_str()) {
                problems.error(
                    Code::WrongValue,
                    &path,
                    format!("the rule id `{id}` must be unique and have 1 to 255 characters"),
                    "give every rule an id of its own",
                );
            }
            if [expire_days, expire_noncurrent_days, abort_multipart_days].iter().all(|days| days.is_none()) {
                problems.error(
                    Code::WrongValue,
                    &path,
                    format!("the rule `{id}` does nothing"),
                    "add expire_days, expire_noncurrent_days or abort_multipart_days",
                );
            }
        }
    }
}

impl SectionEntry for BucketSpec {
    const SECTION: &'static str = "buckets";
    const NOUN: &'static str = "bucket";
    const IDENTIFIED_AT: &'static [&'static str] = &["name"];
    const ONE_ENTRY: &'static str = "keep one entry for each bucket: bucket names are global";
    type Identity = String;

    fn identity(&self, _spec: &Spec) -> String {
        self.name.clone()
    }

    fn check(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self {
            account,
            name,
            region: _,
            managed: _,
            public_access_block: _,
            ownership: _,
            versioning: _,
            encryption,
            lifecycle,
            tags,
            policy: _,
            same_account_statements: _,
            on_destroy: _,
            protect: _,
        } = self;
        problems.reference(&["buckets", key, "account"], account, &spec.accounts);
        if let Some(why) = bucket_name_problem(name) {
            problems.error(
                Code::InvalidBucketName,
                &["buckets", key, "name"],
                format!("invalid bucket name `{name}`: {why}"),
                "use 3 to 63 lowercase letters, digits, hyphens and dots, starting and ending with a letter or digit",
            );
        }
        match encryption {
            Some(Encryption::Kms(kms)) => self.check_encryption_key(key, kms, spec, problems),
            Some(Encryption::Simple(_)) | None => {}
        }
        Self::check_lifecycle(key, lifecycle.as_deref().unwrap_or_default(), problems);
        problems.tags(&["buckets", key, "tags"], tags);
    }
}

/// The reason why a text is not a valid name for a general purpose bucket.
///
/// Source: S3 User Guide, "General purpose buckets naming rules".
pub(super) fn bucket_name_problem(name: &str) -> Option<&'static str> {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !(3..=63).contains(&name.len()) {
        Some("it has fewer than 3 or more than 63 characters")
    } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.') {
        Some("it holds a character that is not allowed")
    } else if !edge(name.bytes().next()) || !edge(name.bytes().last()) {
        Some("it starts or ends with a hyphen or dot")
    } else if name.contains("..") {
        Some("it holds two dots in a row")
    } else if name.split('.').count() == 4 && name.split('.').all(|p| p.parse::<u8>().is_ok()) {
        Some("it looks like an IP address")
    } else if ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|p| name.starts_with(p)) {
        Some("its prefix is reserved")
    } else if ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|s| name.ends_with(s)) {
        Some("its suffix is reserved")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::bucket_name_problem;

    #[test]
    fn bucket_names_follow_the_rules_of_s3() {
        for good in ["acme-model-weights", "a.b.c", "123", "1.2.3.four"] {
            assert_eq!(bucket_name_problem(good), None, "{good}");
        }
        for bad in ["ab", "Bad", "a_b", "-ab", "ab.", "a..b", "192.168.5.4", "xn--a", "a-s3alias", &"a".repeat(64)] {
            assert!(bucket_name_problem(bad).is_some(), "{bad}");
        }
    }
}
