//! The double of [`aws.iam.role_policy`](super).

use bailiwick::access::INLINE_NAME;
use bailiwick::live::{ReadError, WriteError};
use serde_json::Value;

use crate::double::{Call, Double, Sight};
use crate::memory::{Id, World};

pub struct RolePolicy;

impl Double for RolePolicy {
    fn kind(&self) -> &'static str {
        "aws.iam.role_policy"
    }

    fn complete(&self, _id: &Id, _body: &mut Value) {}

    /// Inline policies have no tags.
    fn is_ours(&self, body: &Value) -> bool {
        body.get("name").and_then(Value::as_str) == Some(INLINE_NAME)
    }

    fn shown(&self, _world: &World, at: &Sight<'_>) -> Result<(Value, Option<String>), ReadError> {
        Ok((at.body.clone(), None))
    }

    fn takes(&self, _project: &str, _existing: &Value, _wanted: &Value) -> bool {
        true
    }

    fn check(&self, world: &mut World, call: &Call<'_>, _body: &mut Value) -> Result<(), WriteError> {
        has_role(world, call)
    }

    fn delete(&self, world: &mut World, call: &Call<'_>) -> Result<(), WriteError> {
        world.remove(call.id);
        Ok(())
    }
}

/// Fails if the role of a part does not exist.
pub fn has_role(world: &mut World, call: &Call<'_>) -> Result<(), WriteError> {
    let role = call.id.name.split('/').next().unwrap_or_default();
    let exists = world.whole_of(call.id).is_some();
    world.must_have(call, &format!("role {role}"), exists)
}
