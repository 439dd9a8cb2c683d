//! `aws.s3.bucket`: public access block, ownership, versioning, encryption, lifecycle, tags.

#[cfg(feature = "cloud")]
mod lifecycle;
#[cfg(feature = "cloud")]
mod live;
#[cfg(feature = "cloud")]
mod remote;
#[cfg(feature = "cloud")]
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::access::{Chains, Facet, Instance};
use crate::address::Scope;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::{Difference, Document};
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, Mutability, NamedBy, OnLoss,
    OnSilence, OwnedBy, Release,
};
use crate::provider::aws::family::{S3, owner, regional_scopes};
use crate::provider::aws::kms::key::Key;
use crate::provider::aws::tags::desired_tags;
use crate::spec::{Encryption, Facts, LifecycleRule, Ownership, SimpleEncryption, Spec, Unmanaged};

/// An S3 bucket.
pub(crate) struct Bucket;

/// The body of a bucket. An absent field is not changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BucketBody {
    /// The bucket's name.
    pub(super) name: String,
    /// The bucket's region.
    pub(super) region: String,
    /// Whether all four settings of Block Public Access are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) public_access_block: Option<bool>,
    /// The Object Ownership setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ownership: Option<Ownership>,
    /// Whether versioning is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) versioning: Option<bool>,
    /// Default encryption, compared as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) encryption: Option<DefaultEncryption>,
    /// Lifecycle rules by id, compared as a whole: the spec lists all rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lifecycle: Option<BTreeMap<String, Rule>>,
    /// Tags.
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

/// The default encryption of new objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DefaultEncryption {
    /// `AES256`, `aws:kms`, or another value that S3 supports.
    pub(super) sse: String,
    /// The ARN of the KMS key, or of its alias if the key does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kms_key: Option<String>,
    /// Whether an S3 Bucket Key is used; absent without KMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bucket_key: Option<bool>,
}

/// A lifecycle rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rule {
    /// The prefix of the objects that it applies to; empty means all.
    pub(super) prefix: String,
    /// Delete current versions after this many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expire_days: Option<u32>,
    /// Delete noncurrent versions after this many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expire_noncurrent_days: Option<u32>,
    /// Abort incomplete multipart uploads after this many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) abort_multipart_days: Option<u32>,
    /// Parts of a live rule that a spec cannot express, by their name in the S3 API. Never desired.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) other: BTreeMap<String, String>,
}

impl From<&LifecycleRule> for Rule {
    fn from(rule: &LifecycleRule) -> Self {
        Self {
            prefix: rule.prefix.clone(),
            expire_days: rule.expire_days,
            expire_noncurrent_days: rule.expire_noncurrent_days,
            abort_multipart_days: rule.abort_multipart_days,
            other: BTreeMap::new(),
        }
    }
}

impl DefaultEncryption {
    fn aes256() -> Self {
        Self { sse: "AES256".into(), kms_key: None, bucket_key: None }
    }
}

impl Kind for Bucket {
    const ABOUT: &'static About = &About {
        name: "aws.s3.bucket",
        api: S3,
        home: Home::Account,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Tags,
        on_loss: OnLoss::Irreplaceable,
        on_silence: OnSilence::Fail,
        release: Release::Forget,
        presence: FieldClass::Setting,
        fields: &[
            BodyField::access("name").fixed(),
            BodyField::access("region").fixed(),
            BodyField::access("public_access_block"),
            BodyField::access("ownership").resets(),
            BodyField::setting("versioning").resets(),
            BodyField::access("encryption").resets(),
            BodyField::setting("lifecycle").resets(),
            BodyField::cosmetic("tags"),
        ],
    };
    type Body = BucketBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        regional_scopes(spec)
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        let (account, partition) = owner(object.scope);
        Facet::Bucket {
            name: object.physical_id,
            arn: format!("arn:{partition}:s3:::{}", object.physical_id),
            account: account.to_owned(),
            blocked: object.body.field("public_access_block").unwrap_or(false),
        }
    }

    /// A write resolves an alias to its key, so the bucket then shows the key.
    fn converged(written: &Document, shown: &Document) -> bool {
        let key = |d: &Document| d.tree().pointer("/encryption/kms_key").and_then(|k| k.as_str()).map(str::to_owned);
        let resolved =
            key(written).is_some_and(|w| w.contains(":alias/")) && key(shown).is_some_and(|s| s.contains(":key/"));
        let reset = |d: &Difference| d.before.is_none() && Self::ABOUT.is(d.path.as_str(), Mutability::Resets);
        let differences = Document::differences(written, shown);
        differences.iter().all(|d| reset(d) || (resolved && d.path.field() == "encryption"))
    }

    fn serialization_group(physical_id: &str) -> Option<String> {
        Some(format!("bucket/{physical_id}"))
    }

    fn desire(spec: &Spec, facts: &Facts, _chains: &Chains, resources: &mut DesiredResources<BucketBody>) {
        for entry in spec.unmanaged() {
            let Unmanaged::Bucket(bucket) = entry else { continue };
            resources.unmanaged(spec.regional_scope(&bucket.account, bucket.region(spec)), &bucket.name);
        }
        for (key, bucket) in spec.buckets.iter().filter(|(_, b)| b.managed) {
            let encryption = match &bucket.encryption {
                None => None,
                Some(Encryption::Simple(SimpleEncryption::Aes256)) => Some(DefaultEncryption::aes256()),
                Some(Encryption::Kms(kms)) => {
                    let Some(arn) = desired_key(spec, facts, &kms.kms_key) else {
                        resources.problem(
                            Diagnostic::new(
                                Code::KeyNotFound,
                                format!(
                                    "cannot encrypt bucket `{}` with KMS key `{}`, which does not exist",
                                    bucket.name, kms.kms_key
                                ),
                            )
                            .at(spec.source(&["buckets", key, "encryption"]))
                            .help("create the key and its alias first, or add `managed: true` to it"),
                        );
                        continue;
                    };
                    let bucket_key = Some(kms.bucket_key);
                    Some(DefaultEncryption { sse: "aws:kms".into(), kms_key: Some(arn), bucket_key })
                }
            };
            let region = bucket.region(spec);
            let body = BucketBody {
                name: bucket.name.clone(),
                region: region.0.clone(),
                public_access_block: Some(bucket.public_access_block.unwrap_or(true)),
                ownership: bucket.ownership,
                versioning: bucket.versioning,
                encryption,
                lifecycle: bucket
                    .lifecycle
                    .as_ref()
                    .map(|rules| rules.iter().map(|rule| (rule.id.clone(), Rule::from(rule))).collect()),
                tags: desired_tags(spec, Self::NAME, key, &bucket.tags),
            };
            let mut resource =
                DesiredResource::new(key, spec.regional_scope(&bucket.account, region), &bucket.name, body)
                    .at(spec.source(&["buckets", key]));
            resource.on_destroy = bucket.on_destroy;
            resource.protect = bucket.protect;
            if let Some(Encryption::Kms(kms)) = &bucket.encryption
                && spec.keys.get(&kms.kms_key).is_some_and(|k| k.managed)
            {
                resource = resource.after::<Key>(&kms.kms_key);
            }
            resources.add(resource);
        }
    }

    /// Selects managed fields as usual, but encryption and lifecycle, which S3 replaces as a whole, are managed as a
    /// whole or not at all.
    fn managed_fields(live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        let claimed = Document::managed_fields(live, desired, last);
        if claimed == *live {
            return claimed;
        }
        let mut tree = claimed.tree();
        for name in ["encryption", "lifecycle"] {
            if let (Some(field), Some(whole)) = (tree.get_mut(name), live.field(name)) {
                *field = whole;
            }
        }
        tree.into()
    }
}

/// Returns the ARN of a KMS key, or of its alias if Bailiwick still has to create the key; `None` if the key neither
/// exists nor is managed.
fn desired_key(spec: &Spec, facts: &Facts, name: &str) -> Option<String> {
    let key = spec.keys.get(name)?;
    let to_be_made = || {
        let region = key.region(spec);
        let account = spec.account_id(&key.account);
        format!("arn:{}:kms:{region}:{account}:{}", region.partition(), key.alias_name())
    };
    facts.key_arns.get(name).cloned().or_else(|| key.managed.then(to_be_made))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Desires;
    use crate::kind::{AnyKind, Erased, Resource};
    use crate::spec::{OnDestroy, SourceFile, load};
    use serde_json::json;

    /// Returns a desired bucket with the fields that every bucket manages, and AES256.
    #[cfg(feature = "cloud")]
    pub(super) fn body() -> BucketBody {
        BucketBody {
            name: "acme-weights".into(),
            region: "us-east-1".into(),
            public_access_block: Some(true),
            ownership: None,
            versioning: None,
            encryption: Some(DefaultEncryption::aes256()),
            lifecycle: None,
            tags: [("bailiwick:project", "p"), ("bailiwick:address", "aws.s3.bucket.weights")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
        }
    }

    fn desire(bucket: &str, managed_key: bool, key_arn: Option<&str>) -> (Vec<Resource>, Vec<String>) {
        let text = format!(
            "version: 1\nproject: p\naccounts:\n  a: {{ id: \"111111111111\", region: us-east-1 }}\n\
             keys:\n  weights: {{ account: a, alias: weights, managed: {managed_key} }}\n\
             buckets:\n  weights: {{ account: a, name: acme-weights, {bucket} }}\n  theirs: {{ account: a, name: acme-logs, managed: false }}\n"
        );
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        let facts = Facts {
            key_arns: key_arn.map(|arn| ("weights".to_owned(), arn.to_owned())).into_iter().collect(),
            ..Facts::default()
        };
        let Desires { resources: found, problems, .. } =
            Erased::<Bucket>::NEW.desire(&spec.unwrap(), &facts, &Chains::default());
        (found, problems.iter().map(|p| format!("{}: {}", p.code, p.message)).collect())
    }

    fn check_encryption(managed_key: bool, key_arn: Option<&str>) -> (serde_json::Value, Vec<String>) {
        let (found, problems) = desire("encryption: { kms_key: weights }", managed_key, key_arn);
        assert_eq!(problems, [""; 0]);
        let resource = &found[0];
        (
            resource.body.tree()["encryption"]["kms_key"].clone(),
            resource.references.iter().map(|r| r.to.to_string()).collect(),
        )
    }

    #[test]
    fn only_fields_that_the_spec_sets_are_desired() {
        let (found, _) = desire("on_destroy: delete, protect: true", false, None);
        let [bucket] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            bucket.body.tree(),
            json!({"name": "acme-weights", "region": "us-east-1", "public_access_block": true, "tags": {
                "bailiwick:project": "p", "bailiwick:address": "aws.s3.bucket.weights"
            }})
        );
        assert_eq!((bucket.on_destroy, bucket.protect), (OnDestroy::Delete, true));
    }

    #[test]
    fn key_is_referenced_by_its_arn_or_before_its_creation_by_its_alias() {
        let arn = "arn:aws:kms:us-east-1:111111111111:key/k1";
        let after = vec!["aws.kms.key.weights".to_owned()];
        assert_eq!(check_encryption(true, Some(arn)), (json!(arn), after.clone()));
        assert_eq!(check_encryption(true, None), (json!("arn:aws:kms:us-east-1:111111111111:alias/weights"), after));
        assert_eq!(check_encryption(false, Some(arn)), (json!(arn), Vec::new()));
        let (found, problems) = desire("encryption: { kms_key: weights }", false, None);
        assert_eq!(found, []);
        assert_eq!(
            problems,
            ["key-not-found: cannot encrypt bucket `acme-weights` with KMS key `weights`, which does not exist"]
        );
    }

    fn check_claimed(
        live: serde_json::Value,
        desired: serde_json::Value,
        last: serde_json::Value,
    ) -> serde_json::Value {
        let claimed =
            Bucket::managed_fields(&Document::from(live), Some(&Document::from(desired)), Some(&Document::from(last)));
        claimed.tree()
    }

    #[test]
    fn key_applied_by_its_alias_causes_no_change() {
        let with = |key: &str| json!({"encryption": {"sse": "aws:kms", "kms_key": key, "bucket_key": true}});
        let (alias, arn) = (with("arn:aws:kms:us-east-1:1:alias/a"), with("arn:aws:kms:us-east-1:1:key/k"));
        assert_eq!(check_claimed(arn.clone(), arn.clone(), alias), arn);
    }

    #[test]
    fn encryption_and_lifecycle_are_managed_whole_or_not_at_all() {
        let live = json!({
            "encryption": {"sse": "aws:kms", "kms_key": "k", "bucket_key": true},
            "lifecycle": {"theirs": {"prefix": "", "other": {"Status": "Disabled"}}},
            "versioning": true, "tags": {"cost": "7"},
        });
        let desired = json!({"encryption": {"sse": "AES256"}, "lifecycle": {"ours": {"prefix": "a/"}}, "tags": {}});
        let claimed = check_claimed(live.clone(), desired, json!({}));
        assert_eq!(claimed, json!({"encryption": live["encryption"], "lifecycle": live["lifecycle"], "tags": {}}));
        assert_eq!(check_claimed(live.clone(), json!({"tags": {}}), json!({})), json!({"tags": {}}));
        // A field of the last applied body that is no longer desired is still managed, so that it can be reset.
        let last = json!({"lifecycle": {"ours": {"prefix": "a/"}}});
        assert_eq!(check_claimed(live.clone(), json!({}), last), json!({"lifecycle": live["lifecycle"]}));
    }
}
