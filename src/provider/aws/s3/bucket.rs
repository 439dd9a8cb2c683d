//! `aws.s3.bucket`: public access block, ownership, versioning, encryption, lifecycle, tags.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::access::{Chains, Facet, Instance};
use crate::address::Scope;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::{Difference, Document};
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, Mutability, NamedBy, OnLoss, OwnedBy,
    Release,
};
use crate::provider::aws::family::{S3, owner, regional_scopes};
use crate::provider::aws::kms::key::Key;
use crate::provider::aws::tags::desired_tags;
use crate::spec::{Encryption, Facts, LifecycleRule, Ownership, SimpleEncryption, Spec, Unmanaged};

/// An S3 bucket.
pub(crate) struct Bucket;

/// What a bucket is. A field that is absent is left as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BucketBody {
    /// The bucket's name.
    pub(super) name: String,
    /// The region that it is in.
    pub(super) region: String,
    /// Whether all four settings of Block Public Access are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) public_access_block: Option<bool>,
    /// Instance Ownership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ownership: Option<Ownership>,
    /// Whether versioning is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) versioning: Option<bool>,
    /// Default encryption, compared whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) encryption: Option<DefaultEncryption>,
    /// Lifecycle rules by id, compared whole: the rules of the spec are all rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lifecycle: Option<BTreeMap<String, Rule>>,
    /// Tags.
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

/// How new objects are encrypted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DefaultEncryption {
    /// `AES256`, `aws:kms` or whatever else S3 knows.
    pub(super) sse: String,
    /// The ARN of the KMS key, or of its alias as long as the key is still to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kms_key: Option<String>,
    /// Whether an S3 Bucket Key is used; absent without KMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bucket_key: Option<bool>,
}

/// A lifecycle rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rule {
    /// The keys that it applies to; empty means all.
    pub(super) prefix: String,
    /// Delete current versions after so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expire_days: Option<u32>,
    /// Delete noncurrent versions after so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expire_noncurrent_days: Option<u32>,
    /// Abort unfinished multipart uploads after so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) abort_multipart_days: Option<u32>,
    /// What else a live rule says, by its name in the S3 API, for which a spec has no words. Never desired.
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

    /// An alias is resolved to its key when it is written: the bucket then names the key.
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

    /// As usual by field, but encryption and lifecycle, which S3 replaces whole, are claimed whole or not at all.
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

/// The ARN of a key, or of its alias if the key is still to be made; nothing if nobody makes it.
fn desired_key(spec: &Spec, facts: &Facts, name: &str) -> Option<String> {
    let key = spec.keys.get(name)?;
    let to_be_made = || {
        let region = key.region(spec);
        let account = spec.account_id(&key.account);
        format!("arn:{}:kms:{region}:{account}:{}", region.partition(), key.alias_name())
    };
    facts.key_arns.get(name).cloned().or_else(|| key.managed.then(to_be_made))
}

#[cfg(feature = "cloud")]
mod live {
    use std::collections::BTreeMap;

    use aws_sdk_s3::Client;
    use aws_sdk_s3::types::{
        AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint, BucketVersioningStatus,
        CreateBucketConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleAndOperator,
        LifecycleRuleFilter, NoncurrentVersionExpiration, ObjectOwnership, OwnershipControls, OwnershipControlsRule,
        PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
        ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag, Tagging, VersioningConfiguration,
    };
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_runtime_api::client::result::SdkError;
    use aws_smithy_types::error::metadata::ProvideErrorMetadata;
    use aws_smithy_types::error::operation::BuildError;

    use super::{Bucket, BucketBody, DefaultEncryption, Rule};
    use crate::address::Scope;
    use crate::kind::Tagged;
    use crate::kind::{Action, Kind as _};
    use crate::live::{Answers, Fields, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::errors::{code, read_error, status, write_error};
    use crate::provider::aws::kms;
    use crate::provider::aws::s3::client::{client, expected_owner};
    use crate::provider::aws::tags::{PROJECT_TAG, is_ownership_tag, marked_by};
    use crate::session::Session;
    use crate::spec::Ownership;

    /// The header in which S3 tells where a bucket is, even to those who may not look into it.
    const REGION_HEADER: &str = "x-amz-bucket-region";
    /// The region whose name S3 does not accept as a location constraint.
    const FIRST_REGION: &str = "us-east-1";

    /// One bucket and the client that reaches it.
    struct Remote<'a> {
        s3: &'a Client,
        scope: &'a Scope,
        name: &'a str,
    }

    /// Why a bucket was not read to the end.
    enum Stop {
        /// It is gone.
        Gone,
        Error(ReadError),
    }

    /// Where a bucket is.
    enum Place {
        Here,
        Elsewhere(String),
    }

    /// From so many buckets on, a list of all that the account has saves a request for each.
    const MANY: usize = 10;
    /// The most entries of a page. Without a page size an account with a quota of more buckets is refused the list.
    ///
    /// Source: S3 API Reference, `ListBuckets`, `MaxBuckets`; S3 User Guide, "General purpose bucket quotas, limitations,
    /// and restrictions".
    const PAGE: i32 = 10_000;

    /// The regions of the account's buckets by name, as far as a list of them is cheaper than to ask for each. A bucket that
    /// is not in it may be there all the same: lists are late, and may not be allowed.
    async fn regions(s3: &Client, wanted: usize) -> BTreeMap<String, String> {
        let mut regions = BTreeMap::new();
        if wanted < MANY {
            return regions;
        }
        let mut pages = s3.list_buckets().max_buckets(PAGE).into_paginator().send();
        for _ in 0..wanted / 2 {
            let Some(Ok(page)) = pages.next().await else { break };
            let known =
                page.buckets().iter().filter_map(|b| Some((b.name()?.to_owned(), b.bucket_region()?.to_owned())));
            regions.extend(known);
        }
        regions
    }

    impl Live for Bucket {
        /// The buckets of the scope's region. One whose tags may not be read is somebody else's.
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let s3 = client(cloud, scope).await?;
            let mut pages = s3.list_buckets().max_buckets(PAGE).into_paginator().send();
            let mut names = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| read_error("the buckets of the account", &error))?;
                names.extend(page.buckets().iter().filter_map(|bucket| bucket.name().map(ToOwned::to_owned)));
            }
            let mut found = Vec::new();
            for name in &names {
                let bucket = Remote { s3: &s3, scope, name };
                let tags = match bucket.head().await {
                    Ok(Place::Here) => bucket.tags().await,
                    Ok(Place::Elsewhere(_)) => continue,
                    Err(stop) => Err(stop),
                };
                match tags {
                    Ok(tags) => found.extend(marked_by(&tags, cloud.project(), Self::NAME, scope, name)),
                    Err(Stop::Gone | Stop::Error(ReadError::Denied { .. })) => {}
                    Err(Stop::Error(error)) => return Err(error),
                }
            }
            Ok(found)
        }

        async fn observe(cloud: &Session, scope: &Scope, targets: &[Target]) -> Result<Answers<BucketBody>, ReadError> {
            let s3 = client(cloud, scope).await?;
            let (s3, regions) = (&s3, &regions(&s3, targets.len()).await);
            Ok(each(targets, |target| async move {
                let region = regions.get(&target.physical_id).map(String::as_str);
                match (Remote { s3, scope, name: &target.physical_id }).read(&target.fields, region).await {
                    Ok(body) => Ok(Observed::Present { owner: body.tags.get(PROJECT_TAG).cloned(), body }),
                    Err(Stop::Gone) => Ok(Observed::Absent),
                    Err(Stop::Error(error)) => Err(error),
                }
            })
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<BucketBody>,
        ) -> Result<(), WriteError> {
            let s3 = client(cloud, scope).await?;
            let bucket = Remote { s3: &s3, scope, name: &target.physical_id };
            let mut action = action.clone();
            if action.touches("encryption")
                && let Action::Create { after } | Action::Update { after, .. } = &mut action
                && let Some(key) = after.encryption.as_mut().and_then(|e| e.kms_key.as_mut())
            {
                *key = key_arn(cloud, scope, key).await?;
            }
            match &action {
                Action::Create { after } => {
                    // A bucket that was made just now has no tags of others that would have to be put back.
                    let foreign = if bucket.create(after).await? { Some(BTreeMap::new()) } else { None };
                    bucket.put_all(None, after, &action, foreign).await
                }
                Action::Update { before, after, .. } => bucket.put_all(Some(before), after, &action, None).await,
                Action::Release { .. } => bucket.remove_marks().await,
                Action::Delete { .. } => bucket.delete().await,
            }
        }
    }

    /// The ARN of the key itself. S3 takes an alias too, but not its ARN, resolves it in the account of whoever writes
    /// an object, and checks nothing.
    ///
    /// Source: S3 API Reference, `ServerSideEncryptionByDefault`, `KMSMasterKeyID`.
    async fn key_arn(cloud: &Session, scope: &Scope, key: &str) -> Result<String, WriteError> {
        if !key.contains(":alias/") {
            return Ok(key.to_owned());
        }
        let kms = kms::client(cloud, scope).await?;
        match kms::describe(&kms, key).await?.and_then(|metadata| metadata.arn) {
            Some(arn) => Ok(arn),
            None => Err(WriteError::NotYet {
                what: "encrypt the bucket".into(),
                awaited: format!("key `{key}` to be known to KMS"),
                why: "the alias points to no key".into(),
            }),
        }
    }

    /// Reading.
    impl Remote<'_> {
        fn owner(&self) -> Option<String> {
            expected_owner(self.scope)
        }

        fn region(&self) -> &str {
            self.scope.as_aws().map_or("", |aws| aws.region)
        }

        fn stop<E>(&self, part: &str, error: &SdkError<E, HttpResponse>) -> Stop
        where
            E: std::error::Error + ProvideErrorMetadata + 'static,
        {
            if code(error) == Some("NoSuchBucket") {
                Stop::Gone
            } else {
                Stop::Error(read_error(format!("the {part} of bucket `{}`", self.name), error))
            }
        }

        /// Reads what is asked for: each setting of a bucket takes a request, and so does its region if it is not known.
        async fn read(&self, fields: &Fields, region: Option<&str>) -> Result<BucketBody, Stop> {
            let mut body = BucketBody {
                name: self.name.to_owned(),
                region: self.region().to_owned(),
                public_access_block: None,
                ownership: None,
                versioning: None,
                encryption: None,
                lifecycle: None,
                tags: BTreeMap::new(),
            };
            let place = match region {
                Some(region) if region == self.region() => Place::Here,
                Some(region) => Place::Elsewhere(region.to_owned()),
                None => self.head().await?,
            };
            if let Place::Elsewhere(region) = place {
                // Its own region alone answers the other questions, and this is enough to refuse every plan.
                body.region = region;
                return Ok(body);
            }
            body.tags = self.tags().await?;
            if fields.has("public_access_block") {
                body.public_access_block = Some(self.public_access_block().await?);
            }
            if fields.has("ownership") {
                body.ownership = self.ownership().await?;
            }
            if fields.has("versioning") {
                body.versioning = Some(self.versioning().await?);
            }
            if fields.has("encryption") {
                body.encryption = self.encryption().await?;
            }
            if fields.has("lifecycle") {
                body.lifecycle = Some(self.lifecycle().await?);
            }
            Ok(body)
        }

        async fn head(&self) -> Result<Place, Stop> {
            let elsewhere = |region: Option<&str>| region.filter(|r| *r != self.region()).map(ToOwned::to_owned);
            match self.s3.head_bucket().bucket(self.name).set_expected_bucket_owner(self.owner()).send().await {
                Ok(answer) => Ok(elsewhere(answer.bucket_region()).map_or(Place::Here, Place::Elsewhere)),
                Err(error) => {
                    let header = error.raw_response().and_then(|answer| answer.headers().get(REGION_HEADER));
                    let what = format!("bucket `{}`", self.name);
                    // An answer to HEAD has no body, and so no code or message.
                    match (status(&error), elsewhere(header)) {
                        (Some(404), _) => Err(Stop::Gone),
                        (Some(403), _) => Err(Stop::Error(ReadError::Denied {
                            what,
                            why: "403: the bucket belongs to another account, or s3:ListBucket is missing".into(),
                        })),
                        (Some(301 | 307 | 400), Some(region)) => Ok(Place::Elsewhere(region)),
                        _ => Err(Stop::Error(read_error(what, &error))),
                    }
                }
            }
        }

        async fn tags(&self) -> Result<BTreeMap<String, String>, Stop> {
            match self.s3.get_bucket_tagging().bucket(self.name).set_expected_bucket_owner(self.owner()).send().await {
                Ok(answer) => Ok(answer.tag_set().iter().map(|t| (t.key().to_owned(), t.value().to_owned())).collect()),
                Err(error) if matches!(code(&error), Some("NoSuchTagSet" | "NoSuchTagSetError")) => Ok(BTreeMap::new()),
                Err(error) => Err(self.stop("tags", &error)),
            }
        }

        async fn public_access_block(&self) -> Result<bool, Stop> {
            let request = self.s3.get_public_access_block().bucket(self.name).set_expected_bucket_owner(self.owner());
            match request.send().await {
                Ok(answer) => Ok(answer.public_access_block_configuration().is_some_and(|block| {
                    [
                        block.block_public_acls(),
                        block.ignore_public_acls(),
                        block.block_public_policy(),
                        block.restrict_public_buckets(),
                    ]
                    .iter()
                    .all(|setting| *setting == Some(true))
                })),
                Err(error) if code(&error) == Some("NoSuchPublicAccessBlockConfiguration") => Ok(false),
                Err(error) => Err(self.stop("public access block", &error)),
            }
        }

        async fn ownership(&self) -> Result<Option<Ownership>, Stop> {
            let request =
                self.s3.get_bucket_ownership_controls().bucket(self.name).set_expected_bucket_owner(self.owner());
            match request.send().await {
                Ok(answer) => {
                    let rule = answer.ownership_controls().and_then(|controls| controls.rules().first());
                    match rule.map(OwnershipControlsRule::object_ownership) {
                        None => Ok(None),
                        Some(ObjectOwnership::BucketOwnerEnforced) => Ok(Some(Ownership::BucketOwnerEnforced)),
                        Some(ObjectOwnership::BucketOwnerPreferred) => Ok(Some(Ownership::BucketOwnerPreferred)),
                        Some(ObjectOwnership::ObjectWriter) => Ok(Some(Ownership::ObjectWriter)),
                        Some(other) => Err(Stop::Error(ReadError::Failed {
                            what: format!("the ownership of bucket `{}`", self.name),
                            why: format!("`{}` is not known to this version", other.as_str()),
                        })),
                    }
                }
                Err(error) if code(&error) == Some("OwnershipControlsNotFoundError") => Ok(None),
                Err(error) => Err(self.stop("ownership", &error)),
            }
        }

        async fn versioning(&self) -> Result<bool, Stop> {
            match self.s3.get_bucket_versioning().bucket(self.name).set_expected_bucket_owner(self.owner()).send().await
            {
                Ok(answer) => Ok(answer.status() == Some(&BucketVersioningStatus::Enabled)),
                Err(error) => Err(self.stop("versioning", &error)),
            }
        }

        async fn encryption(&self) -> Result<Option<DefaultEncryption>, Stop> {
            let request = self.s3.get_bucket_encryption().bucket(self.name).set_expected_bucket_owner(self.owner());
            match request.send().await {
                Ok(answer) => {
                    let rules = answer
                        .server_side_encryption_configuration()
                        .map(ServerSideEncryptionConfiguration::rules)
                        .unwrap_or_default();
                    Ok(rules.iter().find_map(|rule| self.default_encryption(rule)))
                }
                Err(error) if code(&error) == Some("ServerSideEncryptionConfigurationNotFoundError") => Ok(None),
                Err(error) => Err(self.stop("encryption", &error)),
            }
        }

        fn default_encryption(&self, rule: &ServerSideEncryptionRule) -> Option<DefaultEncryption> {
            let default = rule.apply_server_side_encryption_by_default()?;
            let sse = default.sse_algorithm().as_str().to_owned();
            let kms = sse != "AES256";
            Some(DefaultEncryption {
                kms_key: default.kms_master_key_id().filter(|_| kms).map(|key| self.normal_key(key)),
                bucket_key: kms.then(|| rule.bucket_key_enabled().unwrap_or(false)),
                sse,
            })
        }

        /// A key as an ARN. S3 answers with what was put: an ARN, a key id or an alias.
        fn normal_key(&self, key: &str) -> String {
            let Some(aws) = self.scope.as_aws() else { return key.to_owned() };
            let prefix = format!("arn:{}:kms:{}:{}", aws.partition(), aws.region, aws.id);
            if key.starts_with("arn:") {
                key.to_owned()
            } else if key.starts_with("alias/") {
                format!("{prefix}:{key}")
            } else {
                format!("{prefix}:key/{key}")
            }
        }

        async fn lifecycle(&self) -> Result<BTreeMap<String, Rule>, Stop> {
            let request =
                self.s3.get_bucket_lifecycle_configuration().bucket(self.name).set_expected_bucket_owner(self.owner());
            match request.send().await {
                Ok(answer) => Ok(answer
                    .rules()
                    .iter()
                    .zip(1..)
                    .map(|(rule, n)| {
                        (rule.id().map_or_else(|| format!("rule {n}"), ToOwned::to_owned), live_rule(rule))
                    })
                    .collect()),
                Err(error) if code(&error) == Some("NoSuchLifecycleConfiguration") => Ok(BTreeMap::new()),
                Err(error) => Err(self.stop("lifecycle", &error)),
            }
        }
    }

    /// A live rule. What a spec cannot say goes into `other`, so that two different rules never look the same.
    fn live_rule(rule: &LifecycleRule) -> Rule {
        let days = |days: Option<i32>| days.and_then(|d| u32::try_from(d).ok());
        let mut other: BTreeMap<String, String> = BTreeMap::new();
        let mut note = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let text = other.entry(name.to_owned()).or_default();
                *text = if text.is_empty() { value } else { format!("{text}, {value}") };
            }
        };
        let on = |days: Option<i32>, date: Option<&aws_smithy_types::DateTime>| match (days, date) {
            (Some(days), _) => format!("{days} days"),
            (None, Some(date)) => date.to_string(),
            (None, None) => "0 days".to_owned(),
        };
        if rule.status() != &ExpirationStatus::Enabled {
            note("Status", Some(rule.status().as_str().to_owned()));
        }
        let filter = rule.filter();
        let and = filter.and_then(|f| f.and());
        let tags =
            filter.and_then(|f| f.tag()).into_iter().chain(and.map(LifecycleRuleAndOperator::tags).unwrap_or_default());
        for tag in tags {
            note("Tag", Some(format!("{}={}", tag.key(), tag.value())));
        }
        let greater = filter.and_then(LifecycleRuleFilter::object_size_greater_than);
        note(
            "ObjectSizeGreaterThan",
            greater.or(and.and_then(LifecycleRuleAndOperator::object_size_greater_than)).map(|n| n.to_string()),
        );
        let less = filter.and_then(LifecycleRuleFilter::object_size_less_than);
        note(
            "ObjectSizeLessThan",
            less.or(and.and_then(LifecycleRuleAndOperator::object_size_less_than)).map(|n| n.to_string()),
        );
        let expiration = rule.expiration();
        note("Expiration.Date", expiration.and_then(|e| e.date()).map(ToString::to_string));
        let marker = expiration.and_then(LifecycleExpiration::expired_object_delete_marker).filter(|marker| *marker);
        note("ExpiredObjectDeleteMarker", marker.map(|marker| marker.to_string()));
        for transition in rule.transitions() {
            let class = transition.storage_class().map_or("", |c| c.as_str());
            note("Transition", Some(format!("{} to {class}", on(transition.days(), transition.date()))));
        }
        for transition in rule.noncurrent_version_transitions() {
            let class = transition.storage_class().map_or("", |c| c.as_str());
            let kept =
                transition.newer_noncurrent_versions().map_or_else(String::new, |n| format!(" but {n} versions"));
            let on = on(transition.noncurrent_days(), None);
            note("NoncurrentVersionTransition", Some(format!("{on} to {class}{kept}")));
        }
        let noncurrent = rule.noncurrent_version_expiration();
        let kept = noncurrent.and_then(NoncurrentVersionExpiration::newer_noncurrent_versions);
        note("NewerNoncurrentVersions", kept.map(|n| n.to_string()));
        #[expect(deprecated, reason = "rules written before S3 had filters still carry their prefix here")]
        let old_prefix = rule.prefix();
        let prefix = filter.and_then(|f| f.prefix()).or(and.and_then(|a| a.prefix())).or(old_prefix);
        Rule {
            prefix: prefix.unwrap_or_default().to_owned(),
            expire_days: days(expiration.and_then(LifecycleExpiration::days)),
            expire_noncurrent_days: days(noncurrent.and_then(NoncurrentVersionExpiration::noncurrent_days)),
            abort_multipart_days: days(
                rule.abort_incomplete_multipart_upload()
                    .and_then(AbortIncompleteMultipartUpload::days_after_initiation),
            ),
            other,
        }
    }

    fn sdk_rule(id: &str, rule: &Rule) -> Result<LifecycleRule, BuildError> {
        let days = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
        LifecycleRule::builder()
            .id(id)
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix(&rule.prefix).build())
            .set_expiration(rule.expire_days.map(|n| LifecycleExpiration::builder().days(days(n)).build()))
            .set_noncurrent_version_expiration(
                rule.expire_noncurrent_days
                    .map(|n| NoncurrentVersionExpiration::builder().noncurrent_days(days(n)).build()),
            )
            .set_abort_incomplete_multipart_upload(
                rule.abort_multipart_days
                    .map(|n| AbortIncompleteMultipartUpload::builder().days_after_initiation(days(n)).build()),
            )
            .build()
    }

    /// Writing. S3 refuses overlapping changes of one bucket, so they go one after the other.
    impl Remote<'_> {
        fn what(&self, part: &str) -> String {
            format!("write the {part} of bucket `{}`", self.name)
        }

        fn failed<E>(&self, part: &str, error: &SdkError<E, HttpResponse>) -> WriteError
        where
            E: std::error::Error + ProvideErrorMetadata + 'static,
        {
            if code(error) == Some("NoSuchBucket") {
                return WriteError::NotYet {
                    what: self.what(part),
                    awaited: "the bucket to be known to S3".into(),
                    why: "NoSuchBucket".into(),
                };
            }
            write_error(self.what(part), error)
        }

        fn built<T>(&self, part: &str, built: Result<T, BuildError>) -> Result<T, WriteError> {
            built.map_err(|error| WriteError::Failed { what: self.what(part), why: error.to_string() })
        }

        /// Makes the bucket, and tells whether it was made now.
        async fn create(&self, body: &BucketBody) -> Result<bool, WriteError> {
            let elsewhere = (body.region != FIRST_REGION).then(|| {
                CreateBucketConfiguration::builder()
                    .location_constraint(BucketLocationConstraint::from(body.region.as_str()))
                    .build()
            });
            let request = self.s3.create_bucket().bucket(self.name).set_create_bucket_configuration(elsewhere);
            match request.send().await {
                // Source: S3 API Reference, `CreateBucket`: us-east-1 answers this for a bucket that was there, too.
                Ok(_) => Ok(body.region != FIRST_REGION),
                Err(error) if code(&error) == Some("BucketAlreadyOwnedByYou") => Ok(false),
                Err(error) if code(&error) == Some("BucketAlreadyExists") => Err(WriteError::Conflict {
                    what: format!("create bucket `{}`", self.name),
                    holder: "another account".into(),
                    why: "bucket names are global, and this one is taken: choose another".into(),
                }),
                Err(error) => Err(write_error(format!("create bucket `{}`", self.name), &error)),
            }
        }

        /// Puts every setting that changes. The mark of ownership comes first, so that a try that is cut off leaves a
        /// bucket that is known to be ours; what closes the bucket comes before what opens it.
        ///
        /// A setting that is no longer claimed goes back to what a new bucket has.
        async fn put_all(
            &self,
            before: Option<&BucketBody>,
            after: &BucketBody,
            action: &Action<BucketBody>,
            live_tags: Option<BTreeMap<String, String>>,
        ) -> Result<(), WriteError> {
            if action.touches("tags") {
                self.put_tags(before.map(|b| &b.tags), &after.tags, live_tags).await?;
            }
            if let Some(on) = after.public_access_block
                && action.touches("public_access_block")
            {
                self.put_public_access_block(on).await?;
            }
            let claimed_ownership = after.ownership.is_some() || before.is_some_and(|b| b.ownership.is_some());
            if claimed_ownership && action.touches("ownership") {
                self.put_ownership(after.ownership.unwrap_or(Ownership::BucketOwnerEnforced)).await?;
            }
            if action.touches("encryption") {
                match (&after.encryption, before.and_then(|b| b.encryption.as_ref())) {
                    (Some(encryption), _) => self.put_encryption(encryption).await?,
                    (None, Some(_)) => self.reset_encryption().await?,
                    (None, None) => {}
                }
            }
            // Versioning cannot be unset, only suspended, and a new bucket needs neither.
            let versioned = before.is_some_and(|b| b.versioning.is_some());
            if action.touches("versioning") && (after.versioning == Some(true) || versioned) {
                self.put_versioning(after.versioning.unwrap_or(false)).await?;
            }
            if action.touches("lifecycle") {
                let had_rules = before.and_then(|b| b.lifecycle.as_ref()).is_some_and(|rules| !rules.is_empty());
                match after.lifecycle.as_ref().filter(|rules| !rules.is_empty()) {
                    Some(rules) => self.put_lifecycle(rules).await?,
                    None if had_rules => self.remove_lifecycle().await?,
                    None => {}
                }
            }
            Ok(())
        }

        /// The live tags for a writer, who must put them all: tags of others are put back as they were.
        async fn live_tags(&self) -> Result<BTreeMap<String, String>, WriteError> {
            self.tags().await.map_err(|stop| match stop {
                Stop::Gone => WriteError::NotYet {
                    what: self.what("tags"),
                    awaited: "the bucket to be known to S3".into(),
                    why: "NoSuchBucket".into(),
                },
                Stop::Error(error) => error.into(),
            })
        }

        async fn put_tags(
            &self,
            before: Option<&BTreeMap<String, String>>,
            after: &BTreeMap<String, String>,
            live: Option<BTreeMap<String, String>>,
        ) -> Result<(), WriteError> {
            let mut tags = match live {
                Some(tags) => tags,
                None => self.live_tags().await?,
            };
            tags.retain(|key, _| before.is_none_or(|ours| !ours.contains_key(key)));
            tags.extend(after.iter().map(|(key, value)| (key.clone(), value.clone())));
            self.put_tag_set(&tags).await
        }

        async fn put_tag_set(&self, tags: &BTreeMap<String, String>) -> Result<(), WriteError> {
            if tags.is_empty() {
                let request = self.s3.delete_bucket_tagging().bucket(self.name).set_expected_bucket_owner(self.owner());
                return request.send().await.map(|_| ()).map_err(|error| self.failed("tags", &error));
            }
            let set = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
            let set = self.built("tags", set.collect::<Result<Vec<_>, _>>())?;
            let tagging = self.built("tags", Tagging::builder().set_tag_set(Some(set)).build())?;
            self.s3
                .put_bucket_tagging()
                .bucket(self.name)
                .set_expected_bucket_owner(self.owner())
                .tagging(tagging)
                .send()
                .await
                .map(|_| ())
                .map_err(|error| self.failed("tags", &error))
        }

        async fn remove_marks(&self) -> Result<(), WriteError> {
            let mut tags = match self.tags().await {
                Ok(tags) => tags,
                Err(Stop::Gone) => return Ok(()),
                Err(Stop::Error(error)) => return Err(error.into()),
            };
            let all = tags.len();
            tags.retain(|key, _| !is_ownership_tag(key));
            if tags.len() == all { Ok(()) } else { self.put_tag_set(&tags).await }
        }

        async fn put_public_access_block(&self, on: bool) -> Result<(), WriteError> {
            let block = PublicAccessBlockConfiguration::builder()
                .block_public_acls(on)
                .ignore_public_acls(on)
                .block_public_policy(on)
                .restrict_public_buckets(on)
                .build();
            self.s3
                .put_public_access_block()
                .bucket(self.name)
                .set_expected_bucket_owner(self.owner())
                .public_access_block_configuration(block)
                .send()
                .await
                .map(|_| ())
                .map_err(|error| self.failed("public access block", &error))
        }

        async fn put_ownership(&self, ownership: Ownership) -> Result<(), WriteError> {
            let ownership = match ownership {
                Ownership::BucketOwnerEnforced => ObjectOwnership::BucketOwnerEnforced,
                Ownership::BucketOwnerPreferred => ObjectOwnership::BucketOwnerPreferred,
                Ownership::ObjectWriter => ObjectOwnership::ObjectWriter,
            };
            let rule = self.built("ownership", OwnershipControlsRule::builder().object_ownership(ownership).build())?;
            let controls = self.built("ownership", OwnershipControls::builder().rules(rule).build())?;
            self.s3
                .put_bucket_ownership_controls()
                .bucket(self.name)
                .set_expected_bucket_owner(self.owner())
                .ownership_controls(controls)
                .send()
                .await
                .map(|_| ())
                .map_err(|error| self.failed("ownership", &error))
        }

        async fn put_versioning(&self, on: bool) -> Result<(), WriteError> {
            let status = if on { BucketVersioningStatus::Enabled } else { BucketVersioningStatus::Suspended };
            self.s3
                .put_bucket_versioning()
                .bucket(self.name)
                .set_expected_bucket_owner(self.owner())
                .versioning_configuration(VersioningConfiguration::builder().status(status).build())
                .send()
                .await
                .map(|_| ())
                .map_err(|error| self.failed("versioning", &error))
        }

        async fn put_encryption(&self, encryption: &DefaultEncryption) -> Result<(), WriteError> {
            let default = ServerSideEncryptionByDefault::builder()
                .sse_algorithm(ServerSideEncryption::from(encryption.sse.as_str()))
                .set_kms_master_key_id(encryption.kms_key.clone())
                .build();
            let rule = ServerSideEncryptionRule::builder()
                .apply_server_side_encryption_by_default(self.built("encryption", default)?)
                .set_bucket_key_enabled(encryption.bucket_key)
                .build();
            let configuration = ServerSideEncryptionConfiguration::builder().rules(rule).build();
            self.s3
                .put_bucket_encryption()
                .bucket(self.name)
                .set_expected_bucket_owner(self.owner())
                .server_side_encryption_configuration(self.built("encryption", configuration)?)
                .send()
                .await
                .map(|_| ())
                .map_err(|error| self.failed("encryption", &error))
        }

        async fn reset_encryption(&self) -> Result<(), WriteError> {
            self.s3
                .delete_bucket_encryption()
                .bucket(self.name)
                .set_expected_bucket_owner(self.owner())
                .send()
                .await
                .map(|_| ())
                .map_err(|error| self.failed("encryption", &error))
        }

        async fn put_lifecycle(&self, rules: &BTreeMap<String, Rule>) -> Result<(), WriteError> {
            let rules = rules.iter().map(|(id, rule)| sdk_rule(id, rule)).collect::<Result<Vec<_>, _>>();
            let rules = self.built("lifecycle", rules)?;
            let configuration = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build();
            self.s3
                .put_bucket_lifecycle_configuration()
                .bucket(self.name)
                .set_expected_bucket_owner(self.owner())
                .lifecycle_configuration(self.built("lifecycle", configuration)?)
                .send()
                .await
                .map(|_| ())
                .map_err(|error| self.failed("lifecycle", &error))
        }

        async fn remove_lifecycle(&self) -> Result<(), WriteError> {
            self.s3
                .delete_bucket_lifecycle()
                .bucket(self.name)
                .set_expected_bucket_owner(self.owner())
                .send()
                .await
                .map(|_| ())
                .map_err(|error| self.failed("lifecycle", &error))
        }

        async fn delete(&self) -> Result<(), WriteError> {
            let what = format!("delete bucket `{}`", self.name);
            match self.s3.delete_bucket().bucket(self.name).set_expected_bucket_owner(self.owner()).send().await {
                Ok(_) => Ok(()),
                Err(error) if code(&error) == Some("NoSuchBucket") => Ok(()),
                Err(error) if code(&error) == Some("BucketNotEmpty") => Err(WriteError::Failed {
                    what,
                    why: "it holds objects, or versions of them, and is kept: empty it, or set `on_destroy: keep`"
                        .into(),
                }),
                Err(error) => Err(write_error(what, &error)),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::super::tests::body;
        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::aws::tags::{ADDRESS_TAG, PROJECT_TAG};
        use crate::provider::recorded::{Recorded, scope};

        const HEAD: (&str, u16, &str) = ("HEAD /acme-weights/ ", 200, "");
        const NO_TAGS: (&str, u16, &str) =
            ("GET /acme-weights/?tagging ", 404, "<Error><Code>NoSuchTagSet</Code><Message>none</Message></Error>");
        const TAGS: (&str, u16, &str) = (
            "GET /acme-weights/?tagging ",
            200,
            "<Tagging><TagSet><Tag><Key>bailiwick:project</Key><Value>p</Value></Tag><Tag><Key>cost</Key><Value>7</Value></Tag>\
             <Tag><Key>team</Key><Value>old</Value></Tag></TagSet></Tagging>",
        );
        const NO_BLOCK: (&str, u16, &str) = (
            "GET /acme-weights/?publicAccessBlock ",
            404,
            "<Error><Code>NoSuchPublicAccessBlockConfiguration</Code></Error>",
        );
        const NO_OWNERSHIP: (&str, u16, &str) = (
            "GET /acme-weights/?ownershipControls ",
            404,
            "<Error><Code>OwnershipControlsNotFoundError</Code></Error>",
        );
        const NO_VERSIONING: (&str, u16, &str) = ("GET /acme-weights/?versioning ", 200, "<VersioningConfiguration/>");
        const NO_ENCRYPTION: (&str, u16, &str) = (
            "GET /acme-weights/?encryption ",
            404,
            "<Error><Code>ServerSideEncryptionConfigurationNotFoundError</Code></Error>",
        );
        const NO_LIFECYCLE: (&str, u16, &str) =
            ("GET /acme-weights/?lifecycle ", 404, "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>");
        const BARE: [(&str, u16, &str); 7] =
            [HEAD, NO_TAGS, NO_BLOCK, NO_OWNERSHIP, NO_VERSIONING, NO_ENCRYPTION, NO_LIFECYCLE];
        const KEY_ARN: &str = "arn:aws:kms:us-east-1:111111111111:key/k1";

        fn target() -> Target {
            Target::new(Address::new(Bucket::NAME, "weights"), "acme-weights")
        }

        /// Reads a bucket that answers as these say, and as one without any setting otherwise.
        async fn observe(exchanges: &[(&'static str, u16, &'static str)]) -> Result<Observed<BucketBody>, ReadError> {
            let server = Recorded::start(&[exchanges, &BARE].concat()).await;
            let answers = Bucket::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            assert!(server.requests().len() <= 8);
            answers.into_iter().next().unwrap()
        }

        async fn present(exchanges: &[(&'static str, u16, &'static str)]) -> BucketBody {
            match observe(exchanges).await {
                Ok(Observed::Present { body, .. }) => body,
                other => panic!("{other:?}"),
            }
        }

        /// The requests that a step sends, as `METHOD path body`, without those that only look.
        async fn check_write_in(
            scope: &Scope,
            exchanges: &[(&'static str, u16, &'static str)],
            action: Action<BucketBody>,
        ) -> (Result<(), WriteError>, Vec<String>) {
            let rest = [NO_TAGS, ("PUT ", 200, ""), ("DELETE ", 204, "")];
            let server = Recorded::start(&[exchanges, &rest].concat()).await;
            let done = Bucket::write(&server.session(), scope, &target(), &action).await;
            let short = |request: &String| {
                let (head, body) = request.split_once("\r\n\r\n").unwrap();
                let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
                let body = body.replace(r#" xmlns="http://s3.amazonaws.com/doc/2006-03-01/""#, "");
                (!line.starts_with("GET ")).then(|| format!("{line} {body}").trim_end().to_owned())
            };
            let guarded = |r: &&String| !r.contains("x-amz-expected-bucket-owner: 111111111111");
            let unguarded: Vec<String> = server.requests().iter().filter(guarded).filter_map(short).collect();
            let own = |line: &String| {
                line.starts_with("PUT /acme-weights/ ") || line == "PUT /acme-weights/" || line.starts_with("POST / ")
            };
            assert!(unguarded.iter().all(own), "{unguarded:?}");
            (done, server.requests().iter().filter_map(short).collect())
        }

        async fn check_write(
            exchanges: &[(&'static str, u16, &'static str)],
            action: Action<BucketBody>,
        ) -> (Result<(), WriteError>, Vec<String>) {
            check_write_in(&scope(), exchanges, action).await
        }

        fn update(before: BucketBody, after: BucketBody, changed: &[&str]) -> Action<BucketBody> {
            Action::Update { before, after, changed: changed.iter().map(|path| (*path).into()).collect() }
        }

        #[tokio::test]
        async fn a_bucket_without_settings_is_read() {
            let expected = BucketBody {
                public_access_block: Some(false),
                ownership: None,
                versioning: Some(false),
                encryption: None,
                lifecycle: Some(BTreeMap::new()),
                tags: BTreeMap::new(),
                ..body()
            };
            assert_eq!(observe(&[]).await, Ok(Observed::Present { body: expected, owner: None }));
        }

        #[tokio::test]
        async fn a_bucket_is_read_with_all_its_settings() {
            let found = observe(&[
                TAGS,
                ("?publicAccessBlock ", 200, "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"),
                ("?ownershipControls ", 200, "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>"),
                ("?versioning ", 200, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
                ("?encryption ", 200, "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k1</KMSMasterKeyID></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>"),
            ])
            .await;
            let Ok(Observed::Present { body, owner }) = found else { panic!("{found:?}") };
            assert_eq!((body.tags.len(), owner.as_deref()), (3, Some("p")));
            assert_eq!(
                (body.public_access_block, body.ownership, body.versioning),
                (Some(true), Some(Ownership::ObjectWriter), Some(true))
            );
            let encryption =
                DefaultEncryption { sse: "aws:kms".into(), kms_key: Some(KEY_ARN.into()), bucket_key: Some(true) };
            assert_eq!(body.encryption, Some(encryption));
        }

        #[tokio::test]
        async fn one_open_setting_is_no_public_access_block() {
            let block = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>false</RestrictPublicBuckets></PublicAccessBlockConfiguration>";
            assert_eq!(present(&[("?publicAccessBlock ", 200, block)]).await.public_access_block, Some(false));
        }

        #[tokio::test]
        async fn keys_are_read_as_arns() {
            for (answer, expected) in [
                ("alias/a", "arn:aws:kms:us-east-1:111111111111:alias/a"),
                ("k1", KEY_ARN),
                ("arn:aws:kms:us-east-1:222222222222:key/k2", "arn:aws:kms:us-east-1:222222222222:key/k2"),
            ] {
                let text = format!(
                    "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>{answer}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
                );
                let body = present(&[("?encryption ", 200, Box::leak(text.into_boxed_str()))]).await;
                let encryption = body.encryption.unwrap();
                assert_eq!((encryption.kms_key.as_deref(), encryption.bucket_key), (Some(expected), Some(false)));
            }
        }

        #[tokio::test]
        async fn rules_of_other_shapes_can_be_compared() {
            let text = "<LifecycleConfiguration>\
                <Rule><ID>plain</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>\
                <Rule><ID>old</ID><Prefix>logs/</Prefix><Status>Disabled</Status><NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>\
                <Rule><ID>rich</ID><Filter><And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>l</Key><Value>w</Value></Tag></And></Filter><Status>Enabled</Status>\
                <Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>\
                </LifecycleConfiguration>";
            let rules = present(&[("?lifecycle ", 200, text)]).await.lifecycle.unwrap();
            assert_eq!(
                serde_json::to_value(rules).unwrap(),
                serde_json::json!({
                    "plain": {"prefix": "tmp/", "expire_days": 7},
                    "old": {"prefix": "logs/", "expire_noncurrent_days": 3, "other": {"Status": "Disabled", "NewerNoncurrentVersions": "2"}},
                    "rich": {"prefix": "a/", "abort_multipart_days": 1, "other": {"Tag": "k=v, l=w", "Transition": "30 days to GLACIER"}},
                })
            );
        }

        /// What a look at so many buckets finds, and the requests that it takes beside those for tags.
        async fn look(buckets: usize, exchanges: &[(&'static str, u16, &'static str)]) -> (Vec<String>, Vec<String>) {
            let rest = [("?tagging ", 404, "<Error><Code>NoSuchTagSet</Code></Error>"), ("HEAD /b9/ ", 404, "")];
            let server = Recorded::start(&[exchanges, &rest, &[("HEAD ", 200, "")]].concat()).await;
            let of = |n| Target {
                fields: Fields::of([&crate::document::Document::from(serde_json::json!({}))]),
                ..Target::new(Address::new(Bucket::NAME, "x"), format!("b{n}"))
            };
            let targets: Vec<Target> = (0..buckets).map(of).collect();
            let answers = Bucket::observe(&server.session(), &scope(), &targets).await.unwrap();
            let found = answers.into_iter().map(|answer| match answer.unwrap() {
                Observed::Present { body, .. } => body.region,
                Observed::Absent => "-".to_owned(),
            });
            let line = |request: &String| request.split(" HTTP/1.1").next().unwrap_or_default().to_owned();
            let asked = server.requests().iter().map(line).filter(|line| !line.contains("?tagging")).collect();
            (found.collect(), asked)
        }

        #[tokio::test]
        async fn many_buckets_are_found_by_a_list_whatever_its_pages() {
            const FIRST: &str = "<ListAllMyBucketsResult><Buckets>\
                <Bucket><Name>b0</Name><BucketRegion>us-east-1</BucketRegion></Bucket>\
                <Bucket><Name>b1</Name><BucketRegion>us-west-2</BucketRegion></Bucket>\
                </Buckets><ContinuationToken>more</ContinuationToken></ListAllMyBucketsResult>";
            const SECOND: &str = "<ListAllMyBucketsResult><Buckets>\
                <Bucket><Name>b2</Name><BucketRegion>us-east-1</BucketRegion></Bucket>\
                <Bucket><Name>b3</Name></Bucket></Buckets></ListAllMyBucketsResult>";
            let lists = [("continuation-token=more", 200, SECOND), ("GET /?", 200, FIRST)];
            let (found, mut asked) = look(10, &lists).await;
            let here = |count| vec!["us-east-1"; count];
            assert_eq!(found, [here(1), vec!["us-west-2"], here(7), vec!["-"]].concat());
            asked.sort_unstable();
            // What the list does not tell is asked for by itself: b3 has no region there, and others may be new.
            let heads = (3..10).map(|n| format!("HEAD /b{n}/")).collect::<Vec<_>>();
            assert_eq!(asked.len(), 9, "{asked:?}");
            assert_eq!(asked.split_off(2), heads);
        }

        #[tokio::test]
        async fn few_buckets_and_those_of_a_refused_list_are_asked_for_one_by_one() {
            assert_eq!(look(9, &[]).await.1.len(), 9);
            let denied = [("GET /?", 403, "<Error><Code>AccessDenied</Code></Error>")];
            let (found, asked) = look(10, &denied).await;
            assert_eq!((found.iter().filter(|region| *region == "us-east-1").count(), asked.len()), (9, 11));
        }

        #[tokio::test]
        async fn no_bucket_is_absent() {
            assert_eq!(observe(&[("HEAD ", 404, "")]).await, Ok(Observed::Absent));
            let gone = "<Error><Code>NoSuchBucket</Code><Message>gone meanwhile</Message></Error>";
            assert_eq!(observe(&[("?versioning ", 404, gone)]).await, Ok(Observed::Absent));
        }

        #[tokio::test]
        async fn forbidden_is_not_absent() {
            let why = "403: the bucket belongs to another account, or s3:ListBucket is missing";
            let denied = |what: &str, why: &str| Err(ReadError::Denied { what: what.into(), why: why.into() });
            assert_eq!(observe(&[("HEAD ", 403, "")]).await, denied("bucket `acme-weights`", why));
            let forbidden = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
            for (part, query) in [
                ("tags", "?tagging "),
                ("public access block", "?publicAccessBlock "),
                ("ownership", "?ownershipControls "),
                ("versioning", "?versioning "),
                ("encryption", "?encryption "),
                ("lifecycle", "?lifecycle "),
            ] {
                let what = format!("the {part} of bucket `acme-weights`");
                assert_eq!(observe(&[(query, 403, forbidden)]).await, denied(&what, "AccessDenied: no"));
            }
        }

        #[tokio::test]
        async fn a_bucket_of_another_region_is_there_and_says_so() {
            for status in [200, 301, 400] {
                let body = present(&[("HEAD ", status, "x-amz-bucket-region: eu-west-1\r\n")]).await;
                assert_eq!((body.region.as_str(), body.versioning), ("eu-west-1", None));
            }
            let here = present(&[("HEAD ", 200, "x-amz-bucket-region: us-east-1\r\n")]).await;
            assert_eq!((here.region.as_str(), here.versioning), ("us-east-1", Some(false)));
        }

        #[tokio::test]
        async fn a_new_bucket_gets_its_settings_one_after_the_other() {
            let after = BucketBody {
                ownership: Some(Ownership::BucketOwnerEnforced),
                versioning: Some(true),
                lifecycle: Some(
                    [("tmp".to_owned(), Rule { prefix: "tmp/".into(), expire_days: Some(7), ..Rule::default() })]
                        .into(),
                ),
                ..body()
            };
            let (done, requests) = check_write(&[], Action::Create { after }).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    "PUT /acme-weights/",
                    "PUT /acme-weights/?tagging <Tagging><TagSet><Tag><Key>bailiwick:address</Key><Value>aws.s3.bucket.weights</Value></Tag><Tag><Key>bailiwick:project</Key><Value>p</Value></Tag></TagSet></Tagging>",
                    "PUT /acme-weights/?publicAccessBlock <PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>",
                    "PUT /acme-weights/?ownershipControls <OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
                    "PUT /acme-weights/?encryption <ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
                    "PUT /acme-weights/?versioning <VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
                    "PUT /acme-weights/?lifecycle <LifecycleConfiguration><Rule><Expiration><Days>7</Days></Expiration><ID>tmp</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled</Status></Rule></LifecycleConfiguration>",
                ]
            );
        }

        #[tokio::test]
        async fn a_bucket_is_made_in_its_region_and_made_once() {
            let region = |name: &str| Scope { location: Some(name.to_owned()), ..scope() };
            let after = BucketBody { region: "eu-west-1".into(), ..body() };
            let (done, requests) =
                check_write_in(&region("eu-west-1"), &[], Action::Create { after: after.clone() }).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests[0],
                "PUT /acme-weights/ <CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"
            );
            let again = ("PUT /acme-weights/ ", 409, "<Error><Code>BucketAlreadyOwnedByYou</Code></Error>");
            let (done, requests) =
                check_write_in(&region("eu-west-1"), &[again], Action::Create { after: after.clone() }).await;
            assert_eq!((done, requests.len()), (Ok(()), 4));
            let taken = ("PUT /acme-weights/ ", 409, "<Error><Code>BucketAlreadyExists</Code></Error>");
            let (done, requests) = check_write_in(&region("eu-west-1"), &[taken], Action::Create { after }).await;
            assert!(matches!(done, Err(WriteError::Conflict { .. })), "{done:?}");
            assert_eq!(requests.len(), 1);
        }

        #[tokio::test]
        async fn the_alias_of_a_new_key_is_resolved_before_it_is_put() {
            let alias = "arn:aws:kms:us-east-1:111111111111:alias/weights";
            let encryption =
                DefaultEncryption { sse: "aws:kms".into(), kms_key: Some(alias.into()), bucket_key: Some(true) };
            let after = BucketBody { encryption: Some(encryption), ..body() };
            let key = (
                "TrentService.DescribeKey",
                200,
                r#"{"KeyMetadata":{"KeyId":"k1","Arn":"arn:aws:kms:us-east-1:111111111111:key/k1","KeyState":"Enabled"}}"#,
            );
            let action = || update(body(), after.clone(), &["encryption.sse"]);
            let (done, requests) = check_write(&[key], action()).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    format!(r#"POST / {{"KeyId":"{alias}"}}"#),
                    format!(
                        "PUT /acme-weights/?encryption <ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>{KEY_ARN}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
                    ),
                ]
            );
            let unknown = ("TrentService.DescribeKey", 400, r#"{"__type":"NotFoundException","message":"no"}"#);
            let (done, requests) = check_write(&[unknown], action()).await;
            assert!(matches!(done, Err(WriteError::NotYet { .. })), "{done:?}");
            assert_eq!(requests.len(), 1);
        }

        #[tokio::test]
        async fn tags_of_others_are_put_back() {
            let mut before = body();
            before.tags = [("team", "old"), (PROJECT_TAG, "p")].map(|(k, v)| (k.into(), v.into())).into();
            let action = update(before, body(), &["tags.team", "tags.bailiwick:address"]);
            let (done, requests) = check_write(&[TAGS], action).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    "PUT /acme-weights/?tagging <Tagging><TagSet><Tag><Key>bailiwick:address</Key><Value>aws.s3.bucket.weights</Value></Tag><Tag><Key>bailiwick:project</Key><Value>p</Value></Tag><Tag><Key>cost</Key><Value>7</Value></Tag></TagSet></Tagging>"
                ]
            );
        }

        #[tokio::test]
        async fn what_is_no_longer_claimed_goes_back_to_what_a_new_bucket_has() {
            let before = BucketBody {
                ownership: Some(Ownership::ObjectWriter),
                versioning: Some(true),
                lifecycle: Some([("tmp".to_owned(), Rule::default())].into()),
                ..body()
            };
            let after = BucketBody { encryption: None, ..body() };
            let changed = ["encryption.sse", "lifecycle.tmp", "ownership", "versioning"];
            let (done, requests) = check_write(&[], update(before, after, &changed)).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    "PUT /acme-weights/?ownershipControls <OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
                    "DELETE /acme-weights/?encryption",
                    "PUT /acme-weights/?versioning <VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>",
                    "DELETE /acme-weights/?lifecycle",
                ]
            );
        }

        #[tokio::test]
        async fn a_bucket_with_objects_is_kept() {
            let full =
                ("DELETE /acme-weights/ ", 409, "<Error><Code>BucketNotEmpty</Code><Message>no</Message></Error>");
            let (done, _) = check_write(&[full], Action::Delete { before: body() }).await;
            assert_eq!(
                done.unwrap_err().to_string(),
                "cannot delete bucket `acme-weights`: it holds objects, or versions of them, and is kept: empty it, or set `on_destroy: keep`"
            );
        }

        #[tokio::test]
        async fn a_delete_deletes_ours_and_unmarks_the_adopted() {
            let (done, requests) = check_write(&[], Action::Delete { before: body() }).await;
            assert_eq!((done, requests), (Ok(()), vec!["DELETE /acme-weights/".to_owned()]));
            let gone = ("DELETE /acme-weights/ ", 404, "<Error><Code>NoSuchBucket</Code></Error>");
            let (done, _) = check_write(&[gone], Action::Delete { before: body() }).await;
            assert_eq!(done, Ok(()));
            let (done, requests) = check_write(&[TAGS], Action::Release { before: body() }).await;
            let kept = "PUT /acme-weights/?tagging <Tagging><TagSet><Tag><Key>cost</Key><Value>7</Value></Tag><Tag><Key>team</Key><Value>old</Value></Tag></TagSet></Tagging>";
            assert_eq!((done, requests), (Ok(()), vec![kept.to_owned()]));
            let (done, requests) = check_write(&[], Action::Release { before: body() }).await;
            assert_eq!((done, requests), (Ok(()), Vec::new()));
        }

        #[test]
        fn the_body_of_these_tests_carries_both_marks() {
            assert!([PROJECT_TAG, ADDRESS_TAG].iter().all(|tag| body().tags.contains_key(*tag)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Desires;
    use crate::kind::{AnyKind, Erased, Resource};
    use crate::spec::{OnDestroy, SourceFile, load};
    use serde_json::json;

    /// A desired bucket with the claims that every bucket has, and AES256.
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
    fn only_what_the_spec_sets_is_claimed() {
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
    fn a_key_is_desired_by_its_arn_or_as_long_as_it_is_to_be_made_by_its_alias() {
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
    fn a_key_that_was_applied_by_its_alias_is_no_change() {
        let with = |key: &str| json!({"encryption": {"sse": "aws:kms", "kms_key": key, "bucket_key": true}});
        let (alias, arn) = (with("arn:aws:kms:us-east-1:1:alias/a"), with("arn:aws:kms:us-east-1:1:key/k"));
        assert_eq!(check_claimed(arn.clone(), arn.clone(), alias), arn);
    }

    #[test]
    fn encryption_and_lifecycle_are_claimed_whole_or_not_at_all() {
        let live = json!({
            "encryption": {"sse": "aws:kms", "kms_key": "k", "bucket_key": true},
            "lifecycle": {"theirs": {"prefix": "", "other": {"Status": "Disabled"}}},
            "versioning": true, "tags": {"cost": "7"},
        });
        let desired = json!({"encryption": {"sse": "AES256"}, "lifecycle": {"ours": {"prefix": "a/"}}, "tags": {}});
        let claimed = check_claimed(live.clone(), desired, json!({}));
        assert_eq!(claimed, json!({"encryption": live["encryption"], "lifecycle": live["lifecycle"], "tags": {}}));
        assert_eq!(check_claimed(live.clone(), json!({"tags": {}}), json!({})), json!({"tags": {}}));
        // What was claimed last time and is no longer desired is still claimed, to be taken back.
        let last = json!({"lifecycle": {"ours": {"prefix": "a/"}}});
        assert_eq!(check_claimed(live.clone(), json!({}), last), json!({"lifecycle": live["lifecycle"]}));
    }
}
