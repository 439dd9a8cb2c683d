//! Tags as IAM takes and returns them.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag;

use crate::live::WriteError;

/// Tags as IAM takes them.
pub(super) fn iam_tags(tags: &BTreeMap<String, String>) -> Result<Vec<Tag>, WriteError> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(|error| WriteError::Failed { what: "tag".into(), why: error.to_string() })
}

/// Tags as IAM returns them.
pub(super) fn tag_map(tags: &[Tag]) -> BTreeMap<String, String> {
    tags.iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}
