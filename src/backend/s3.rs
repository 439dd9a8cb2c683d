//! An object store in a bucket of S3, or of a compatible store with conditional writes.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;

use super::{BackendError, BackendFuture, Object, Objects, Precondition};
use crate::session::answer;
use crate::spec::{S3BackendSpec, Spec};

/// A large state takes time on a slow connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_mins(2);
const OPERATION_TIMEOUT: Duration = Duration::from_mins(8);
/// The number of retries of a write that overlapped another one.
const CONFLICTS: u32 = 5;
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

/// The objects below a prefix of a bucket.
pub struct S3Objects {
    client: Client,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    /// The account that must own the bucket.
    owner: Option<String>,
}

impl S3Objects {
    /// Opens the bucket that a spec names. It must belong to the account of the client.
    #[must_use]
    pub fn open(client: &Client, spec: &Spec, s3: &S3BackendSpec) -> Self {
        let owner = spec.account_id(&s3.account).0;
        Self::new(client, &s3.bucket, s3.prefix(), Some(owner))
    }

    /// Creates a store from a client and a bucket. With `owner`, the bucket must belong to that account.
    #[must_use]
    pub fn new(client: &Client, bucket: &str, prefix: &str, owner: Option<String>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let client = Client::from_conf(client.config().to_builder().timeout_config(timeouts).build());
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Self { client, bucket: bucket.to_owned(), prefix, owner }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn failed<E>(&self, verb: &str, key: &str, error: &SdkError<E>) -> BackendError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let store = BackendError::Store { what: format!("{verb} {}", self.place(key)), why: answer(error) };
        let bucket = &self.bucket;
        let help = match code(error) {
            Some("NoSuchBucket") => format!(
                "create `{bucket}`, which Bailiwick does not do for its own state, or set another bucket under `backend`"
            ),
            Some("AccessDenied") => format!(
                "`{bucket}` must belong to the account under `backend`, and the caller needs s3:ListBucket on it, and \
                 s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix"
            ),
            _ => return store,
        };
        store.advised(help)
    }

    async fn read(&self, key: &str) -> Result<Option<Object>, BackendError> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.full(key));
        match request.set_expected_bucket_owner(self.owner.clone()).send().await {
            Ok(found) => {
                let tag = tag(found.e_tag.as_deref());
                let bytes = found.body.collect().await.map_err(|error| BackendError::Store {
                    what: format!("read {}", self.place(key)),
                    why: error.to_string(),
                })?;
                Ok(Some(Object { bytes: bytes.to_vec(), tag }))
            }
            Err(error) if code(&error) == Some("NoSuchKey") => Ok(None),
            Err(error) => Err(self.failed("read", key, &error)),
        }
    }

    async fn write(&self, key: &str, bytes: Vec<u8>, condition: &Precondition) -> Result<Option<String>, BackendError> {
        let bytes = aws_sdk_s3::primitives::SdkBody::from(bytes);
        let mut conflicts = 0;
        loop {
            let Some(body) = bytes.try_clone() else { return Ok(None) };
            let mut request = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(self.full(key))
                .content_type("application/json")
                .set_expected_bucket_owner(self.owner.clone())
                .body(ByteStream::new(body));
            request = match condition {
                Precondition::Always => request,
                Precondition::Absent => request.if_none_match("*"),
                // Without quotes: Ceph compares the text literally, and S3 accepts both forms.
                Precondition::Tag(tag) => request.if_match(tag),
            };
            let error = match request.send().await {
                Ok(written) => return Ok(Some(tag(written.e_tag()))),
                Err(error) => error,
            };
            match (error.raw_response().map(|r| r.status().as_u16()), code(&error)) {
                // `NoSuchKey` means that the object to match was deleted.
                (Some(412), _) | (_, Some("PreconditionFailed" | "NoSuchKey")) => return Ok(None),
                (Some(409), _) if conflicts < CONFLICTS => {
                    conflicts += 1;
                    tokio::time::sleep(CONFLICT_PAUSE * conflicts).await;
                }
                _ => return Err(self.failed("write", key, &error)),
            }
        }
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        let mut keys = Vec::new();
        let mut from: Option<String> = None;
        loop {
            let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.full(prefix));
            let request = request.set_expected_bucket_owner(self.owner.clone()).set_continuation_token(from);
            let page = request.send().await.map_err(|error| self.failed("list", prefix, &error))?;
            let found = page.contents().iter().filter_map(|object| object.key());
            keys.extend(found.filter_map(|key| key.strip_prefix(&self.prefix)).map(str::to_owned));
            match page.next_continuation_token() {
                Some(token) => from = Some(token.to_owned()),
                None => break,
            }
        }
        keys.sort();
        Ok(keys)
    }

    async fn duplicate(&self, from: &str, to: &str) -> Result<(), BackendError> {
        let source = format!("{}/{}", self.bucket, self.full(from));
        let request = self.client.copy_object().bucket(&self.bucket).key(self.full(to)).copy_source(source);
        let request =
            request.set_expected_bucket_owner(self.owner.clone()).set_expected_source_bucket_owner(self.owner.clone());
        request.send().await.map(|_| ()).map_err(|error| self.failed("keep the earlier state", from, &error))
    }

    async fn remove(&self, key: &str) -> Result<(), BackendError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(self.full(key));
        let request = request.set_expected_bucket_owner(self.owner.clone());
        request.send().await.map(|_| ()).map_err(|error| self.failed("remove", key, &error))
    }
}

/// Returns an `ETag` without its quotes.
fn tag(text: Option<&str>) -> String {
    text.unwrap_or_default().trim_matches('"').to_owned()
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

impl Objects for S3Objects {
    fn place(&self, key: &str) -> String {
        format!("s3://{}/{}", self.bucket, self.full(key))
    }

    fn get<'a>(&'a self, key: &'a str) -> BackendFuture<'a, Option<Object>> {
        Box::pin(self.read(key))
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, condition: Precondition) -> BackendFuture<'a, Option<String>> {
        Box::pin(async move { self.write(key, bytes, &condition).await })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(self.duplicate(from, to))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BackendFuture<'a, Vec<String>> {
        Box::pin(self.keys(prefix))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(self.remove(key))
    }
}
