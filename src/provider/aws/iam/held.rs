//! Deletions that IAM rejects while other objects use the object.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::live::WriteError;
use crate::provider::aws::errors::{code, removed};

/// Converts the result of a deletion. An object that is already gone is fine. `held` lists the users of the object, and
/// is only called if IAM reports that there are some.
pub(super) async fn deleted_unless_held<T, E>(
    what: String,
    sent: Result<T, SdkError<E, HttpResponse>>,
    held: impl Future<Output = Vec<String>>,
) -> Result<(), WriteError>
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let is_held = sent.as_ref().is_err_and(|error| code(error) == Some("DeleteConflict"));
    match removed(what, &["NoSuchEntity"], sent) {
        Err(error) if is_held => Err(error.awaiting_others(&held.await)),
        done => done,
    }
}
