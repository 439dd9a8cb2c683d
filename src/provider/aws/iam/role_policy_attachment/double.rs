//! The double of [`aws.iam.role_policy_attachment`](super).

use bailiwick::live::{ReadError, WriteError};
use serde_json::Value;

use crate::double::{Call, Double, Sight};
use crate::doubles::role_policy::has_role;
use crate::memory::{Id, World};

pub struct RolePolicyAttachment;

impl Double for RolePolicyAttachment {
    fn kind(&self) -> &'static str {
        "aws.iam.role_policy_attachment"
    }

    fn complete(&self, _id: &Id, _body: &mut Value) {}

    fn shown(&self, _world: &World, at: &Sight<'_>) -> Result<(Value, Option<String>), ReadError> {
        Ok((at.body.clone(), None))
    }

    fn takes(&self, _project: &str, _existing: &Value, _wanted: &Value) -> bool {
        true
    }

    fn check(&self, world: &mut World, call: &Call<'_>, body: &mut Value) -> Result<(), WriteError> {
        has_role(world, call)?;
        let arn = body.get("policy_arn").and_then(Value::as_str).unwrap_or_default();
        // Policies that AWS manages always exist.
        if arn.contains(&format!("::{}:", call.id.account())) {
            let exists = world.resolve(arn).is_some();
            world.must_have(call, &format!("policy {arn}"), exists)?;
        }
        Ok(())
    }

    fn delete(&self, world: &mut World, call: &Call<'_>) -> Result<(), WriteError> {
        world.remove(call.id);
        Ok(())
    }
}
