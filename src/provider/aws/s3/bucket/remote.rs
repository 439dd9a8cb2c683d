//! Requests for one bucket, and the conversion of their errors.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_bucket_tagging::GetBucketTaggingOutput;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration, Tag, Tagging};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::error::operation::BuildError;

use crate::address::Scope;
use crate::live::{ReadError, WriteError};
use crate::provider::aws::errors::{code, read_error, status, write_error};
use crate::provider::aws::s3::client::expected_owner;

/// The header with the region of a bucket, which S3 sends even to callers who cannot read it.
const REGION_HEADER: &str = "x-amz-bucket-region";
/// The region that S3 does not accept as a location constraint.
const FIRST_REGION: &str = "us-east-1";

/// One bucket, and the client to access it.
pub(super) struct Remote<'a> {
    pub(super) s3: &'a Client,
    pub(super) scope: &'a Scope,
    pub(super) name: &'a str,
}

/// Why the read of a bucket stopped.
pub(super) enum Stop {
    /// The bucket does not exist.
    Gone,
    Error(ReadError),
}

/// The location of a bucket.
pub(super) enum Place {
    Here,
    Elsewhere(String),
}

/// Starts a request for a bucket, which S3 rejects if another account owns the bucket.
macro_rules! about {
    ($bucket:expr, $operation:ident) => {
        $bucket.s3.$operation().bucket($bucket.name).set_expected_bucket_owner($bucket.owner())
    };
}
pub(super) use about;

impl Remote<'_> {
    pub(super) fn owner(&self) -> Option<String> {
        expected_owner(self.scope)
    }

    pub(super) fn region(&self) -> &str {
        self.scope.as_aws().map_or("", |aws| aws.region)
    }

    /// Converts the result of reading a part of the bucket; `None` if the error code is in `none`.
    pub(super) fn answered<T, E>(
        &self,
        part: &str,
        none: &[&str],
        sent: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<Option<T>, Stop>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        match sent {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => match code(&error) {
                Some(code) if none.contains(&code) => Ok(None),
                Some("NoSuchBucket") => Err(Stop::Gone),
                _ => Err(Stop::Error(read_error(format!("the {part} of bucket `{}`", self.name), &error))),
            },
        }
    }

    /// Converts the result of writing a part of the bucket.
    pub(super) fn written<T, E>(&self, part: &str, sent: Result<T, SdkError<E, HttpResponse>>) -> Result<(), WriteError>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        match sent {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some("NoSuchBucket") => Err(self.unknown(part)),
            Err(error) => Err(write_error(self.what(part), &error)),
        }
    }

    /// Converts the result of building a request for a part of the bucket.
    pub(super) fn built<T>(&self, part: &str, built: Result<T, BuildError>) -> Result<T, WriteError> {
        built.map_err(|error| WriteError::Failed { what: self.what(part), why: error.to_string() })
    }

    fn what(&self, part: &str) -> String {
        format!("write the {part} of bucket `{}`", self.name)
    }

    fn unknown(&self, part: &str) -> WriteError {
        WriteError::NotYet {
            what: self.what(part),
            awaited: "the bucket to be known to S3".into(),
            why: "NoSuchBucket".into(),
        }
    }

    /// Reads the location of the bucket.
    pub(super) async fn head(&self) -> Result<Place, Stop> {
        let elsewhere = |region: Option<&str>| region.filter(|r| *r != self.region()).map(ToOwned::to_owned);
        match about!(self, head_bucket).send().await {
            Ok(answer) => Ok(elsewhere(answer.bucket_region()).map_or(Place::Here, Place::Elsewhere)),
            Err(error) => {
                let header = error.raw_response().and_then(|answer| answer.headers().get(REGION_HEADER));
                let what = format!("bucket `{}`", self.name);
                // A response to HEAD has no body, and so neither code nor message.
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

    /// Creates the bucket, and returns whether it is new.
    pub(super) async fn create(&self, region: &str) -> Result<bool, WriteError> {
        let elsewhere = (region != FIRST_REGION).then(|| {
            CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region)).build()
        });
        let request = self.s3.create_bucket().bucket(self.name).set_create_bucket_configuration(elsewhere);
        match request.send().await {
            // In us-east-1, S3 also returns success for an existing bucket. Source: S3 API Reference, `CreateBucket`.
            Ok(_) => Ok(region != FIRST_REGION),
            Err(error) if code(&error) == Some("BucketAlreadyOwnedByYou") => Ok(false),
            Err(error) if code(&error) == Some("BucketAlreadyExists") => Err(WriteError::Conflict {
                what: format!("create bucket `{}`", self.name),
                holder: "another account".into(),
                why: "bucket names are global, and this one is taken: choose another".into(),
                help: None,
            }),
            Err(error) => Err(write_error(format!("create bucket `{}`", self.name), &error)),
        }
    }

    pub(super) async fn delete(&self) -> Result<(), WriteError> {
        let what = format!("delete bucket `{}`", self.name);
        match about!(self, delete_bucket).send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some("NoSuchBucket") => Ok(()),
            Err(error) if code(&error) == Some("BucketNotEmpty") => Err(WriteError::Failed {
                what,
                why: "it holds objects, or versions of them, and is kept: empty it, or set `on_destroy: keep`".into(),
            }),
            Err(error) => Err(write_error(what, &error)),
        }
    }

    pub(super) async fn tags(&self) -> Result<BTreeMap<String, String>, Stop> {
        let sent = about!(self, get_bucket_tagging).send().await;
        let answer = self.answered("tags", &["NoSuchTagSet", "NoSuchTagSetError"], sent)?;
        let tags = answer.iter().flat_map(GetBucketTaggingOutput::tag_set);
        Ok(tags.map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    /// Reads the live tags before a write, which replaces all of them, so that tags of others are kept.
    pub(super) async fn tags_to_keep(&self) -> Result<BTreeMap<String, String>, WriteError> {
        self.tags().await.map_err(|stop| match stop {
            Stop::Gone => self.unknown("tags"),
            Stop::Error(error) => error.into(),
        })
    }

    /// Replaces all tags of the bucket.
    pub(super) async fn put_tags(&self, tags: &BTreeMap<String, String>) -> Result<(), WriteError> {
        if tags.is_empty() {
            return self.written("tags", about!(self, delete_bucket_tagging).send().await);
        }
        let set = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let set = self.built("tags", set.collect::<Result<Vec<_>, _>>())?;
        let tagging = self.built("tags", Tagging::builder().set_tag_set(Some(set)).build())?;
        self.written("tags", about!(self, put_bucket_tagging).tagging(tagging).send().await)
    }
}
