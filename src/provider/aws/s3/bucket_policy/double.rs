//! The double of [`aws.s3.bucket_policy`](super).

use bailiwick::document::Document;
use bailiwick::kind::Action;
use bailiwick::live::{ReadError, WriteError};
use serde_json::{Value, json};

use crate::double::{Call, Double, Sight};
use crate::doubles::shared_document;
use crate::memory::{Id, World};

pub struct BucketPolicy;

impl Double for BucketPolicy {
    fn kind(&self) -> &'static str {
        "aws.s3.bucket_policy"
    }

    fn complete(&self, _id: &Id, _body: &mut Value) {}

    fn original(&self, _bucket: &Id) -> Value {
        json!({ "Version": "2012-10-17", "Statement": [] })
    }

    fn is_ours(&self, body: &Value) -> bool {
        shared_document::is_ours(body)
    }

    fn shown(&self, world: &World, at: &Sight<'_>) -> Result<(Value, Option<String>), ReadError> {
        shared_document::shown(world, at)
    }

    fn write(&self, world: &mut World, call: &Call<'_>, action: &Action<Document>) -> Result<(), WriteError> {
        shared_document::write(world, call, action, true)
    }
}
