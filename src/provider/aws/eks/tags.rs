//! Tags of EKS resources.

use std::collections::BTreeMap;

use aws_sdk_eks::Client;

use crate::live::WriteError;
use crate::provider::aws::errors::{removed, write_error};

/// Sets tags on a resource, if there are any to set. `what` completes "cannot ...".
pub(super) async fn tag(eks: &Client, arn: &str, tags: BTreeMap<String, String>, what: &str) -> Result<(), WriteError> {
    if tags.is_empty() {
        return Ok(());
    }
    let request = eks.tag_resource().resource_arn(arn).set_tags(Some(tags.into_iter().collect()));
    request.send().await.map(|_| ()).map_err(|error| write_error(what, &error))
}

/// Removes tags from a resource, if there are any to remove. A deleted resource is not an error.
pub(super) async fn untag(eks: &Client, arn: &str, keys: Vec<String>, what: &str) -> Result<(), WriteError> {
    if keys.is_empty() {
        return Ok(());
    }
    removed(
        what,
        &["NotFoundException", "ResourceNotFoundException"],
        eks.untag_resource().resource_arn(arn).set_tag_keys(Some(keys)).send().await,
    )
}
