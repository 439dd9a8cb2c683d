//! Conversion of tags to and from the IAM API.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag;

use crate::live::WriteError;

/// Converts tags for the IAM API.
pub(super) fn iam_tags(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>, WriteError> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(|error| WriteError::Failed { what: "tag".into(), why: error.to_string() })
}

/// Converts tags from the IAM API.
pub(super) fn tag_map(tags: &[Tag]) -> BTreeMap<String, String> {
    tags.iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}
