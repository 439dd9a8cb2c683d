//! Lookup of KMS keys by alias.

use aws_sdk_kms::Client;
use aws_sdk_kms::types::KeyMetadata;

use super::client::client;
use crate::address::Scope;
use crate::live::{ReadError, Target, WriteError};
use crate::provider::aws::errors::{code, read_error};
use crate::session::{Session, SessionError, answer};

/// Returns the ARN of the key of an alias; `None` if the alias does not exist. A denied read is an error.
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

/// Reads the key of an alias, given by name or ARN.
pub(in crate::provider::aws) async fn describe(kms: &Client, alias: &str) -> Result<Option<KeyMetadata>, ReadError> {
    match kms.describe_key().key_id(alias).send().await {
        Ok(answer) => Ok(answer.key_metadata),
        Err(error) if code(&error) == Some("NotFoundException") => Ok(None),
        Err(error) => Err(read_error(format!("key `{alias}`"), &error)),
    }
}

/// Fails if the alias now points to another key than the one that was read.
pub(in crate::provider::aws) fn refuse_another(
    target: &Target,
    key: &KeyMetadata,
    what: impl FnOnce() -> String,
) -> Result<(), WriteError> {
    match &target.unique_id {
        Some(known) if known != key.key_id() => Err(WriteError::Conflict {
            what: what(),
            holder: key.arn().unwrap_or(key.key_id()).to_owned(),
            why: format!("the alias points to it now, and not to `{known}` as before: nothing was written"),
            help: None,
        }),
        _ => Ok(()),
    }
}
