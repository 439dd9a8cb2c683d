//! The keys that aliases name.

use super::client::client;
use crate::address::Scope;
use crate::session::{Session, SessionError, answer};

/// The ARN of the key that an alias names; nothing if there is no such alias. Not being allowed to look is not "not there".
pub(in crate::provider::aws) async fn key_arn(
    cloud: &Session,
    scope: &Scope,
    alias: &str,
) -> Result<Option<String>, SessionError> {
    match client(cloud, scope).await?.describe_key().key_id(alias).send().await {
        Ok(answer) => Ok(answer.key_metadata().and_then(|m| m.arn()).map(ToOwned::to_owned)),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(aws_sdk_kms::operation::describe_key::DescribeKeyError::is_not_found_exception) =>
        {
            Ok(None)
        }
        Err(error) => {
            Err(SessionError::unreadable(scope, format!("KMS does not describe `{alias}`: {}", answer(&error))))
        }
    }
}
