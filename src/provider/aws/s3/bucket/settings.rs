//! The settings of a bucket, each with its own requests.

use aws_sdk_s3::operation::get_bucket_lifecycle_configuration::GetBucketLifecycleConfigurationOutput;
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, ObjectOwnership, OwnershipControls, OwnershipControlsRule,
    PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, VersioningConfiguration,
};

use super::lifecycle::{live_rule, sdk_rule};
use super::remote::{Remote, Stop, about};
use super::{BucketBody, DefaultEncryption};
use crate::live::{Boxed, ReadError, WriteError};
use crate::spec::Ownership;

/// One setting of a bucket.
pub(super) struct Setting {
    /// The field in the body.
    pub(super) field: &'static str,
    /// Whether a body sets a value to write. If not, a new bucket needs no write.
    pub(super) is_set: fn(&BucketBody) -> bool,
    /// Reads the setting into a body.
    pub(super) read: for<'a> fn(&'a Remote<'_>, &'a mut BucketBody) -> Boxed<'a, Result<(), Stop>>,
    /// Writes the value in a body.
    pub(super) write: for<'a> fn(&'a Remote<'_>, &'a BucketBody) -> Boxed<'a, Result<(), WriteError>>,
    /// Resets the setting to that of a new bucket.
    pub(super) reset: for<'a> fn(&'a Remote<'_>) -> Boxed<'a, Result<(), WriteError>>,
}

/// All settings, in the order of their writes: those that restrict access come before those that open it.
pub(super) const SETTINGS: [Setting; 5] = [PUBLIC_ACCESS_BLOCK, OWNERSHIP, ENCRYPTION, VERSIONING, LIFECYCLE];

const PUBLIC_ACCESS_BLOCK: Setting = Setting {
    field: "public_access_block",
    is_set: |body| body.public_access_block.is_some(),
    read: |bucket, body| {
        Box::pin(async move {
            body.public_access_block = Some(bucket.public_access_block().await?);
            Ok(())
        })
    },
    write: |bucket, body| Box::pin(bucket.put_public_access_block(body.public_access_block.unwrap_or(true))),
    // Every desired bucket sets this field, so it is never reset.
    reset: |_| Box::pin(std::future::ready(Ok(()))),
};

const OWNERSHIP: Setting = Setting {
    field: "ownership",
    is_set: |body| body.ownership.is_some(),
    read: |bucket, body| {
        Box::pin(async move {
            body.ownership = bucket.ownership().await?;
            Ok(())
        })
    },
    write: |bucket, body| Box::pin(bucket.put_ownership(body.ownership.unwrap_or(Ownership::BucketOwnerEnforced))),
    reset: |bucket| Box::pin(bucket.put_ownership(Ownership::BucketOwnerEnforced)),
};

const ENCRYPTION: Setting = Setting {
    field: "encryption",
    is_set: |body| body.encryption.is_some(),
    read: |bucket, body| {
        Box::pin(async move {
            body.encryption = bucket.encryption().await?;
            Ok(())
        })
    },
    write: |bucket, body| Box::pin(bucket.put_encryption(body)),
    reset: |bucket| {
        Box::pin(async { bucket.written("encryption", about!(bucket, delete_bucket_encryption).send().await) })
    },
};

/// Versioning can only be suspended, not unset; a new bucket needs neither.
const VERSIONING: Setting = Setting {
    field: "versioning",
    is_set: |body| body.versioning == Some(true),
    read: |bucket, body| {
        Box::pin(async move {
            body.versioning = Some(bucket.versioning().await?);
            Ok(())
        })
    },
    write: |bucket, _| Box::pin(bucket.put_versioning(BucketVersioningStatus::Enabled)),
    reset: |bucket| Box::pin(bucket.put_versioning(BucketVersioningStatus::Suspended)),
};

const LIFECYCLE: Setting = Setting {
    field: "lifecycle",
    is_set: |body| body.lifecycle.as_ref().is_some_and(|rules| !rules.is_empty()),
    read: |bucket, body| {
        Box::pin(async move {
            let sent = about!(bucket, get_bucket_lifecycle_configuration).send().await;
            let answer = bucket.answered("lifecycle", &["NoSuchLifecycleConfiguration"], sent)?;
            let rules = answer.iter().flat_map(GetBucketLifecycleConfigurationOutput::rules).zip(1..);
            let named = rules
                .map(|(rule, n)| (rule.id().map_or_else(|| format!("rule {n}"), ToOwned::to_owned), live_rule(rule)));
            body.lifecycle = Some(named.collect());
            Ok(())
        })
    },
    write: |bucket, body| {
        Box::pin(async {
            let rules = body.lifecycle.iter().flatten().map(|(id, rule)| sdk_rule(id, rule));
            let rules = bucket.built("lifecycle", rules.collect::<Result<Vec<_>, _>>())?;
            let configuration = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build();
            let configuration = bucket.built("lifecycle", configuration)?;
            let request = about!(bucket, put_bucket_lifecycle_configuration).lifecycle_configuration(configuration);
            bucket.written("lifecycle", request.send().await)
        })
    },
    reset: |bucket| {
        Box::pin(async { bucket.written("lifecycle", about!(bucket, delete_bucket_lifecycle).send().await) })
    },
};

impl Remote<'_> {
    async fn public_access_block(&self) -> Result<bool, Stop> {
        let sent = about!(self, get_public_access_block).send().await;
        let answer = self.answered("public access block", &["NoSuchPublicAccessBlockConfiguration"], sent)?;
        let block = answer.as_ref().and_then(|answer| answer.public_access_block_configuration());
        Ok(block.is_some_and(|block| {
            [
                block.block_public_acls(),
                block.ignore_public_acls(),
                block.block_public_policy(),
                block.restrict_public_buckets(),
            ]
            .iter()
            .all(|setting| *setting == Some(true))
        }))
    }

    async fn put_public_access_block(&self, on: bool) -> Result<(), WriteError> {
        let block = PublicAccessBlockConfiguration::builder()
            .block_public_acls(on)
            .ignore_public_acls(on)
            .block_public_policy(on)
            .restrict_public_buckets(on)
            .build();
        let request = about!(self, put_public_access_block).public_access_block_configuration(block);
        self.written("public access block", request.send().await)
    }

    async fn ownership(&self) -> Result<Option<Ownership>, Stop> {
        let sent = about!(self, get_bucket_ownership_controls).send().await;
        let answer = self.answered("ownership", &["OwnershipControlsNotFoundError"], sent)?;
        let controls = answer.as_ref().and_then(|answer| answer.ownership_controls());
        let rule = controls.and_then(|controls| controls.rules().first());
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

    async fn put_ownership(&self, ownership: Ownership) -> Result<(), WriteError> {
        let ownership = match ownership {
            Ownership::BucketOwnerEnforced => ObjectOwnership::BucketOwnerEnforced,
            Ownership::BucketOwnerPreferred => ObjectOwnership::BucketOwnerPreferred,
            Ownership::ObjectWriter => ObjectOwnership::ObjectWriter,
        };
        let rule = self.built("ownership", OwnershipControlsRule::builder().object_ownership(ownership).build())?;
        let controls = self.built("ownership", OwnershipControls::builder().rules(rule).build())?;
        let request = about!(self, put_bucket_ownership_controls).ownership_controls(controls);
        self.written("ownership", request.send().await)
    }

    async fn encryption(&self) -> Result<Option<DefaultEncryption>, Stop> {
        let sent = about!(self, get_bucket_encryption).send().await;
        let answer = self.answered("encryption", &["ServerSideEncryptionConfigurationNotFoundError"], sent)?;
        let configuration = answer.as_ref().and_then(|answer| answer.server_side_encryption_configuration());
        let mut rules = configuration.into_iter().flat_map(ServerSideEncryptionConfiguration::rules);
        Ok(rules.find_map(|rule| self.default_encryption(rule)))
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

    /// Returns the ARN of a KMS key. S3 returns the text that was written: an ARN, a key id or an alias.
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

    async fn put_encryption(&self, body: &BucketBody) -> Result<(), WriteError> {
        let Some(encryption) = &body.encryption else { return Ok(()) };
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(ServerSideEncryption::from(encryption.sse.as_str()))
            .set_kms_master_key_id(encryption.kms_key.clone())
            .build();
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(self.built("encryption", default)?)
            .set_bucket_key_enabled(encryption.bucket_key)
            .build();
        let configuration = ServerSideEncryptionConfiguration::builder().rules(rule).build();
        let configuration = self.built("encryption", configuration)?;
        let request = about!(self, put_bucket_encryption).server_side_encryption_configuration(configuration);
        self.written("encryption", request.send().await)
    }

    async fn versioning(&self) -> Result<bool, Stop> {
        let answer = self.answered("versioning", &[], about!(self, get_bucket_versioning).send().await)?;
        Ok(answer.is_some_and(|answer| answer.status() == Some(&BucketVersioningStatus::Enabled)))
    }

    async fn put_versioning(&self, status: BucketVersioningStatus) -> Result<(), WriteError> {
        let configuration = VersioningConfiguration::builder().status(status).build();
        let request = about!(self, put_bucket_versioning).versioning_configuration(configuration);
        self.written("versioning", request.send().await)
    }
}
