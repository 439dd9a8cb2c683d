//! The double of [`aws.iam.policy`](super).

use bailiwick::live::WriteError;
use serde_json::{Value, json};

use crate::double::{Call, Double, fill};
use crate::memory::{Id, World};

pub struct ManagedPolicy;

impl Double for ManagedPolicy {
    fn kind(&self) -> &'static str {
        "aws.iam.policy"
    }

    fn complete(&self, id: &Id, body: &mut Value) {
        fill(body, "name", id.name.rsplit('/').next().unwrap_or_default());
        fill(body, "path", "/");
        fill(body, "tags", json!({}));
    }

    fn delete(&self, world: &mut World, call: &Call<'_>) -> Result<(), WriteError> {
        if let Some(user) = world.user_of(call.id, false) {
            return Err(world.violation(call.address, &format!("DeleteConflict: {user} still uses the policy")));
        }
        world.remove(call.id);
        Ok(())
    }
}
