//! Deletions that IAM refuses while something else holds the object.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::live::WriteError;
use crate::provider::aws::errors::{code, removed};

/// Whether something was deleted, or was gone already. `held` names what keeps it, and is only asked if something does.
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
