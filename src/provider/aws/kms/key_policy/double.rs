//! The double of [`aws.kms.key_policy`](super).

use bailiwick::document::Document;
use bailiwick::kind::Action;
use bailiwick::live::{ReadError, WriteError};
use serde_json::{Value, json};

use crate::double::{Call, Double, Sight};
use crate::doubles::shared_document;
use crate::memory::{Id, World};

pub struct KeyPolicy;

impl Double for KeyPolicy {
    fn kind(&self) -> &'static str {
        "aws.kms.key_policy"
    }

    fn complete(&self, _id: &Id, _body: &mut Value) {}

    fn original(&self, key: &Id) -> Value {
        let root = json!({
            "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Action": "kms:*", "Resource": "*",
            "Principal": { "AWS": format!("arn:aws:iam::{}:root", key.account()) },
        });
        json!({ "Version": "2012-10-17", "Id": "key-default-1", "Statement": [root] })
    }

    fn is_ours(&self, body: &Value) -> bool {
        shared_document::is_ours(body)
    }

    fn shown(&self, world: &World, at: &Sight<'_>) -> Result<(Value, Option<String>), ReadError> {
        shared_document::shown(world, at)
    }

    fn write(&self, world: &mut World, call: &Call<'_>, action: &Action<Document>) -> Result<(), WriteError> {
        shared_document::write(world, call, action, false)
    }
}
