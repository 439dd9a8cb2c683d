//! Converts SDK errors to read and write errors.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::live::{ReadError, WriteError};
use crate::session::{answer, is_throttle};

/// Returns the error code of a response, if there is one.
pub(super) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// Returns the HTTP status of the response, if there was one.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|r| r.status().as_u16())
}

/// Whether the service denied access. KMS does so with status 400.
fn is_denied<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match code(error) {
        Some("AccessDenied" | "AccessDeniedException") => true,
        code => status(error) == Some(403) && !code.is_some_and(is_throttle),
    }
}

/// Converts an error of a read. The caller has handled "not found" before.
pub(super) fn read_error<E>(what: impl Into<String>, error: &SdkError<E, HttpResponse>) -> ReadError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let (what, why) = (what.into(), answer(error));
    if is_denied(error) { ReadError::Denied { what, why } } else { ReadError::Failed { what, why } }
}

/// Converts an error of a write; `what` completes "cannot ...".
///
/// Overlapping writes to one object are worth a retry. An unknown principal may be new or not exist: the caller must
/// find out.
pub(super) fn write_error<E>(what: impl Into<String>, error: &SdkError<E, HttpResponse>) -> WriteError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let (what, why) = (what.into(), answer(error));
    let message = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default().to_lowercase();
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
                || message.contains("role") && (message.contains("not exist") || message.contains("trust policy")) =>
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
        // KMS rejects a policy that would prevent its writer from changing it again (KMS API Reference, PutKeyPolicy).
        Some("MalformedPolicyDocumentException") if message.contains("update the key policy in the future") => {
            WriteError::LockedOut { what, why, help: None }
        }
        Some(code) if QUOTAS.contains(&code) => WriteError::OverQuota { what, sent: true, why },
        _ if is_denied(error) => WriteError::Denied { what, why },
        _ => WriteError::Failed { what, why },
    }
}

/// The error codes for an exceeded quota.
///
/// Source: the lists of errors in the API references of IAM, KMS, EKS and S3.
const QUOTAS: [&str; 4] =
    ["LimitExceeded", "LimitExceededException", "ResourceLimitExceededException", "TooManyBuckets"];

/// Like [`write_error`], but one more code means that another object does not exist yet.
pub(super) fn write_error_awaiting<E>(
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

/// Converts the result of a removal. An error with one of these codes means that the object was already gone, which is
/// fine.
pub(super) fn removed<T, E>(
    what: impl Into<String>,
    gone: &[&str],
    sent: Result<T, SdkError<E, HttpResponse>>,
) -> Result<(), WriteError>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    match sent {
        Ok(_) => Ok(()),
        Err(error) if code(&error).is_some_and(|code| gone.contains(&code)) => Ok(()),
        Err(error) => Err(write_error(what, &error)),
    }
}
