//! The I/O half of buckets. S3 rejects overlapping changes of one bucket, so they are sent one after the other.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;

use super::remote::{Place, Remote, Stop};
use super::settings::SETTINGS;
use super::{Bucket, BucketBody};
use crate::address::Scope;
use crate::kind::{Action, Kind as _, Tagged};
use crate::live::{Answers, Fields, Live, Observed, ReadError, Target, WriteError};
use crate::provider::aws::batch::each;
use crate::provider::aws::errors::read_error;
use crate::provider::aws::kms;
use crate::provider::aws::s3::client::client;
use crate::provider::aws::tags::{PROJECT_TAG, is_ownership_tag, tagged_by};
use crate::session::Session;

/// From this many buckets on, a list of all buckets in the account saves a request for each.
const MANY: usize = 10;
/// The maximum number of entries in a page. Without a page size, S3 rejects the list for an account with a larger
/// bucket quota.
///
/// Source: S3 API Reference, `ListBuckets`, `MaxBuckets`; S3 User Guide, "General purpose bucket quotas, limitations,
/// and restrictions".
const PAGE: i32 = 10_000;

/// Lists the regions of the account's buckets by name, as long as that is cheaper than one read each. A bucket may
/// exist even if it is missing here: the list lags behind, and may be denied.
async fn regions(s3: &Client, wanted: usize) -> BTreeMap<String, String> {
    let mut regions = BTreeMap::new();
    if wanted < MANY {
        return regions;
    }
    let mut pages = s3.list_buckets().max_buckets(PAGE).into_paginator().send();
    for _ in 0..wanted / 2 {
        let Some(Ok(page)) = pages.next().await else { break };
        let known = page.buckets().iter().filter_map(|b| Some((b.name()?.to_owned(), b.bucket_region()?.to_owned())));
        regions.extend(known);
    }
    regions
}

impl Live for Bucket {
    /// Checks the buckets in the scope's region. A bucket whose tags cannot be read belongs to others.
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
                Ok(tags) => found.extend(tagged_by(&tags, cloud.project(), Self::NAME, scope, name)),
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
                // A new bucket has no tags of others to keep.
                let foreign = if bucket.create(&after.region).await? { Some(BTreeMap::new()) } else { None };
                bucket.put_all(None, after, &action, foreign).await
            }
            Action::Update { before, after, .. } => bucket.put_all(Some(before), after, &action, None).await,
            Action::Release { .. } => bucket.remove_marks().await,
            Action::Delete { .. } => bucket.delete().await,
        }
    }
}

/// Resolves the ARN of an alias to that of its key. S3 does not accept the ARN of an alias. It accepts an alias name,
/// but does not check it, and resolves it in the account of the identity that writes an object.
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

impl Remote<'_> {
    /// Reads the requested fields: each setting takes a request, and so does the region if it is not known.
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
            // Only the bucket's own region can answer further requests, and a wrong region is enough to refuse any
            // plan.
            body.region = region;
            return Ok(body);
        }
        body.tags = self.tags().await?;
        for setting in SETTINGS.iter().filter(|setting| fields.has(setting.field)) {
            (setting.read)(self, &mut body).await?;
        }
        Ok(body)
    }

    /// Writes every changed setting. Writes the ownership tags first, so that a bucket from an interrupted attempt is
    /// recognized.
    ///
    /// A setting that is no longer managed is reset to that of a new bucket.
    async fn put_all(
        &self,
        before: Option<&BucketBody>,
        after: &BucketBody,
        action: &Action<BucketBody>,
        live_tags: Option<BTreeMap<String, String>>,
    ) -> Result<(), WriteError> {
        if action.touches("tags") {
            let mut tags = match live_tags {
                Some(tags) => tags,
                None => self.tags_to_keep().await?,
            };
            tags.retain(|key, _| before.is_none_or(|ours| !ours.tags.contains_key(key)));
            tags.extend(after.tags.iter().map(|(key, value)| (key.clone(), value.clone())));
            self.put_tags(&tags).await?;
        }
        for setting in SETTINGS.iter().filter(|setting| action.touches(setting.field)) {
            if (setting.is_set)(after) {
                (setting.write)(self, after).await?;
            } else if before.is_some_and(setting.is_set) {
                (setting.reset)(self).await?;
            }
        }
        Ok(())
    }

    async fn remove_marks(&self) -> Result<(), WriteError> {
        let mut tags = match self.tags().await {
            Ok(tags) => tags,
            Err(Stop::Gone) => return Ok(()),
            Err(Stop::Error(error)) => return Err(error.into()),
        };
        let all = tags.len();
        tags.retain(|key, _| !is_ownership_tag(key));
        if tags.len() == all { Ok(()) } else { self.put_tags(&tags).await }
    }
}

#[cfg(test)]
mod tests;
