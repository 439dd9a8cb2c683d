//! The S3 and KMS actions behind `read`, `write`, `list` and `delete`. docs/grants.md lists the same actions with their
//! reasons.

use std::collections::BTreeSet;

use crate::spec::Access;

/// The actions of one access level, by the type of resource that they are authorized on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Actions {
    /// Actions on objects, whose resource is `bucket/prefix*`.
    pub object: BTreeSet<String>,
    /// Whether keys under the prefix may be listed (`s3:ListBucket` under a condition on `s3:prefix`).
    pub list: bool,
    /// Further actions on the bucket, without a condition.
    pub bucket: BTreeSet<String>,
    /// Actions on the KMS key of the bucket's objects.
    pub key: BTreeSet<String>,
}

/// The S3 actions that are authorized on the bucket instead of its objects, limited to those that a grant may sensibly
/// contain.
///
/// Source: Service Authorization Reference, "Actions defined by Amazon S3", resource type `bucket`.
const BUCKET_ACTIONS: [&str; 14] = [
    "s3:GetAccelerateConfiguration",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLocation",
    "s3:GetBucketLogging",
    "s3:GetBucketNotification",
    "s3:GetBucketPolicy",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
];

impl Actions {
    /// The actions of an access level.
    #[must_use]
    pub fn of(access: &Access) -> Self {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        let read = ["s3:GetObject"];
        let write = ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"];
        let location = set(&["s3:GetBucketLocation"]);
        match access {
            Access::List => Self { list: true, bucket: location, ..Self::default() },
            Access::Read => Self { object: set(&read), list: true, bucket: location, key: set(&["kms:Decrypt"]) },
            Access::Write => Self {
                object: set(&write),
                list: true,
                bucket: location,
                // Decrypt, because the parts of a multipart upload are decrypted when it is completed.
                key: set(&["kms:Decrypt", "kms:GenerateDataKey"]),
            },
            Access::ReadWrite => Self {
                object: set(&[read.as_slice(), write.as_slice()].concat()),
                list: true,
                bucket: location,
                key: set(&["kms:Decrypt", "kms:GenerateDataKey"]),
            },
            Access::Delete => {
                Self { object: set(&["s3:DeleteObject"]), list: true, bucket: location, ..Self::default() }
            }
            Access::Actions(actions) => {
                let mut found = Self::default();
                for action in actions {
                    if action == "s3:ListBucket" {
                        found.list = true;
                    } else if BUCKET_ACTIONS.contains(&action.as_str()) {
                        found.bucket.insert(action.clone());
                    } else {
                        found.object.insert(action.clone());
                    }
                    match action.as_str() {
                        "s3:GetObject" | "s3:GetObjectVersion" => {
                            found.key.insert("kms:Decrypt".into());
                        }
                        "s3:PutObject" => {
                            found.key.extend(set(&["kms:Decrypt", "kms:GenerateDataKey"]));
                        }
                        _ => {}
                    }
                }
                found
            }
        }
    }
}

/// Escapes text as an IAM pattern that matches only that text: `*`, `?` and `$` lose their special meaning.
///
/// Source: IAM User Guide, "IAM policy elements: Variables and tags", special characters.
#[must_use]
pub fn pattern_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' | '?' | '$' => {
                escaped.push_str("${");
                escaped.push(c);
                escaped.push('}');
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// The values of `s3:prefix` that allow listing the keys below a prefix. They include a folder without its trailing
/// slash, which is how `KServe` and the AWS CLI request it.
pub(super) fn list_prefixes(prefix: &str) -> Vec<String> {
    let pattern = pattern_text(prefix);
    match pattern.strip_suffix('/') {
        Some(folder) if !folder.is_empty() => vec![folder.to_owned(), format!("{pattern}*")],
        _ => vec![format!("{pattern}*")],
    }
}
