//! The double of [`aws.eks.access_entry`](super).

use bailiwick::live::WriteError;
use serde_json::{Value, json};

use crate::double::{Call, Double, fill};
use crate::memory::{Id, World};

pub struct AccessEntry;

impl Double for AccessEntry {
    fn kind(&self) -> &'static str {
        "aws.eks.access_entry"
    }

    fn complete(&self, id: &Id, body: &mut Value) {
        let (cluster, principal) = id.name.split_once('/').unwrap_or_default();
        fill(body, "cluster", cluster);
        fill(body, "principal_arn", principal);
        fill(body, "type", "STANDARD");
        fill(body, "username", principal);
        fill(body, "groups", json!([]));
        fill(body, "policies", json!([]));
        fill(body, "tags", json!({}));
    }

    fn unique_id(&self, uid: u64) -> Option<String> {
        Some(format!("entry-{uid}"))
    }

    fn check(&self, world: &mut World, call: &Call<'_>, body: &mut Value) -> Result<(), WriteError> {
        match body.get("principal_arn").and_then(Value::as_str) {
            Some(arn) if arn.contains(":role/") => world.must_know(call, arn),
            _ => Ok(()),
        }
    }
}
