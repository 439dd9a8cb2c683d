//! Kinds of AWS, and what their I/O halves share: how answers of the SDK become our errors.

#[cfg(feature = "cloud")]
mod account;
pub(super) mod eks;
#[cfg(feature = "cloud")]
mod facts;
mod family;
pub(super) mod iam;
pub(super) mod kms;
#[cfg(all(test, feature = "cloud"))]
mod paged;
pub(super) mod s3;
mod shared_document;

#[cfg(feature = "cloud")]
pub(super) use eks::access as cluster_access;
pub(super) use family::S3;

#[cfg(feature = "cloud")]
use crate::diagnostic::Diagnostic;
#[cfg(feature = "cloud")]
use crate::live::{Boxed, Provider};
#[cfg(feature = "cloud")]
use crate::session::{Session, SessionError};
#[cfg(feature = "cloud")]
use crate::spec::{Facts, Spec};

/// The kind of the objects that hold a state in a bucket.
pub const STATE_BUCKET: &str = <s3::bucket::Bucket as crate::kind::Kind>::NAME;

/// Accounts of AWS.
#[cfg(feature = "cloud")]
pub(super) struct Aws;

#[cfg(feature = "cloud")]
impl Provider for Aws {
    fn identify<'a>(&'a self, cloud: &'a Session) -> Boxed<'a, Vec<SessionError>> {
        Box::pin(account::identify(cloud))
    }

    fn facts<'a>(&'a self, cloud: &'a Session, spec: &'a Spec) -> Boxed<'a, (Facts, Vec<Diagnostic>)> {
        Box::pin(facts::read(cloud, spec))
    }
}

#[cfg(feature = "cloud")]
mod sdk {
    use std::collections::BTreeMap;
    use std::future::Future;

    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_runtime_api::client::result::SdkError;
    use aws_smithy_types::error::metadata::ProvideErrorMetadata;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};

    use crate::address::{Address, Scope};
    use crate::iam::Policy;
    use crate::kind::Tagged;
    use crate::live::{Answers, Observed, ReadError, Target, WriteError};
    use crate::provider::{ADDRESS_TAG, PROJECT_TAG};
    use crate::session::{CONCURRENCY, answer, is_throttle};

    /// The error code of an answer, if the service gave one.
    pub(in crate::provider) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
        error.as_service_error().and_then(ProvideErrorMetadata::code)
    }

    /// The HTTP status of an answer, if there was one.
    pub(in crate::provider) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
        error.raw_response().map(|r| r.status().as_u16())
    }

    /// Whether an answer says that the caller may not. KMS says so with status 400.
    fn is_denied<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
        match code(error) {
            Some("AccessDenied" | "AccessDeniedException") => true,
            code => status(error) == Some(403) && !code.is_some_and(is_throttle),
        }
    }

    /// What an answer means for a reader. The caller has dealt with "not there" before.
    pub(in crate::provider) fn read_error<E>(what: impl Into<String>, error: &SdkError<E, HttpResponse>) -> ReadError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let (what, why) = (what.into(), answer(error));
        if is_denied(error) { ReadError::Denied { what, why } } else { ReadError::Failed { what, why } }
    }

    /// What an answer means for a writer; `what` completes "cannot ...".
    ///
    /// Two writes to one object may overlap, which is worth trying again. A principal that is not known may have been made
    /// a moment ago or not exist: that is for the caller to find out.
    pub(in crate::provider) fn write_error<E>(what: impl Into<String>, error: &SdkError<E, HttpResponse>) -> WriteError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let (what, why) = (what.into(), answer(error));
        let message =
            error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default().to_lowercase();
        if matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_)) {
            return WriteError::Unanswered { what, why };
        }
        match code(error) {
            Some("MalformedPolicy" | "MalformedPolicyDocument" | "MalformedPolicyDocumentException")
                if message.contains("invalid principal") || message.contains("principal in policy") =>
            {
                WriteError::UnknownPrincipal { what, why }
            }
            Some("InvalidParameterException")
                if message.contains("invalid principal")
                    || message.contains("role")
                        && (message.contains("not exist") || message.contains("trust policy")) =>
            {
                WriteError::UnknownPrincipal { what, why }
            }
            Some(
                "OperationAborted"
                | "ConcurrentModification"
                | "ConcurrentModificationException"
                | "ConditionalRequestConflict"
                | "DeleteConflict",
            ) => WriteError::NotYet { what, awaited: "another change of the same object to finish".into(), why },
            code if code.is_some_and(is_throttle) => {
                WriteError::NotYet { what, awaited: "the service to accept requests again".into(), why }
            }
            _ if is_denied(error) => WriteError::Denied { what, why },
            _ => WriteError::Failed { what, why },
        }
    }

    /// The same, where one more code only says that something else is not there yet.
    pub(in crate::provider) fn write_error_awaiting<E>(
        what: impl Into<String>,
        error: &SdkError<E, HttpResponse>,
        not_yet: &str,
        awaited: &str,
    ) -> WriteError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        match write_error(what, error) {
            WriteError::Failed { what, why } if code(error) == Some(not_yet) => {
                WriteError::NotYet { what, awaited: awaited.to_owned(), why }
            }
            other => other,
        }
    }

    /// A thing by its tags, if they mark it as this project's. What lost the tag of its address gets one of its name.
    pub(in crate::provider) fn marked_by(
        tags: &BTreeMap<String, String>,
        project: &str,
        kind: &'static str,
        scope: &Scope,
        physical_id: &str,
    ) -> Option<Tagged> {
        if tags.get(PROJECT_TAG).map(String::as_str) != Some(project) {
            return None;
        }
        let said = tags.get(ADDRESS_TAG).and_then(|text| text.parse::<Address>().ok());
        let address = said.filter(|address| address.kind().as_str() == kind);
        let address = address.unwrap_or_else(|| Address::new(kind, physical_id));
        Some(Tagged { scope: scope.clone(), address, physical_id: physical_id.to_owned() })
    }

    /// Asks for every target, many at once: as many as there are places for requests under way.
    pub(in crate::provider) async fn each<'a, B, F, Fut>(targets: &'a [Target], ask: F) -> Answers<B>
    where
        F: Fn(&'a Target) -> Fut,
        Fut: Future<Output = Result<Observed<B>, ReadError>>,
    {
        let mut asked = FuturesUnordered::new();
        let mut answers = Vec::with_capacity(targets.len());
        for (n, target) in targets.iter().enumerate() {
            if asked.len() >= CONCURRENCY {
                answers.extend(asked.next().await);
            }
            let answer = ask(target);
            asked.push(async move { (n, answer.await) });
        }
        while let Some(answer) = asked.next().await {
            answers.push(answer);
        }
        answers.sort_unstable_by_key(|(n, _)| *n);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// A policy document as IAM returns it: percent-encoded (RFC 3986), or plain as some emulators and stores return it.
    pub(in crate::provider) fn policy_text(text: &str) -> Result<Policy, String> {
        let decoded = if text.trim_start().starts_with('{') {
            std::borrow::Cow::Borrowed(text)
        } else {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .map_err(|e| format!("the policy is not text: {e}"))?
        };
        Policy::parse(&decoded)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    /// Tags to set and tag keys to remove, to get from one set to another.
    pub(in crate::provider) fn tag_changes(
        before: &BTreeMap<String, String>,
        after: &BTreeMap<String, String>,
    ) -> (BTreeMap<String, String>, Vec<String>) {
        let set =
            after.iter().filter(|(k, v)| before.get(*k) != Some(*v)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let remove = before.keys().filter(|k| !after.contains_key(*k)).cloned().collect();
        (set, remove)
    }

    /// Tags as IAM takes them.
    pub(in crate::provider) fn iam_tags(
        tags: &BTreeMap<String, String>,
    ) -> Result<Vec<aws_sdk_iam::types::Tag>, WriteError> {
        tags.iter()
            .map(|(key, value)| aws_sdk_iam::types::Tag::builder().key(key).value(value).build())
            .collect::<Result<_, _>>()
            .map_err(|error| WriteError::Failed { what: "tag".into(), why: error.to_string() })
    }

    /// Tags as IAM returns them.
    pub(in crate::provider) fn tag_map(tags: &[aws_sdk_iam::types::Tag]) -> BTreeMap<String, String> {
        tags.iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
    }
}
#[cfg(feature = "cloud")]
pub(super) use sdk::{
    code, each, iam_tags, marked_by, policy_text, read_error, status, tag_changes, tag_map, write_error,
    write_error_awaiting,
};
