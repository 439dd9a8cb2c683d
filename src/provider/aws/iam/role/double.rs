//! The double of [`aws.iam.role`](super).

use bailiwick::address::Scope;
use bailiwick::iam::{Policy, Principal, Selector, Statement};
use bailiwick::live::WriteError;
use bailiwick::provider::PROJECT_TAG;
use bailiwick::spec::{Facts, Spec};
use serde_json::{Value, json};

use crate::double::{Call, Double, canonical, entry, fill, roles_in, unique_id};
use crate::memory::{Id, World};

pub struct Role;

impl Double for Role {
    fn kind(&self) -> &'static str {
        "aws.iam.role"
    }

    fn relied_on(&self, spec: &Spec, _facts: &Facts) -> Vec<(Scope, String, Value)> {
        let roles = spec.roles.values().filter(|role| !role.managed);
        roles.map(|role| (spec.account_scope(&role.account), role.name.clone(), json!({ "path": role.path }))).collect()
    }

    fn complete(&self, id: &Id, body: &mut Value) {
        fill(body, "name", id.name.clone());
        fill(body, "path", "/");
        fill(body, "max_session_duration", 3600);
        fill(body, "tags", json!({}));
        fill(body, "trust", json!({ "Version": "2012-10-17", "Statement": [] }));
        body["trust"] = canonical(&body["trust"]);
    }

    fn unique_id(&self, uid: u64) -> Option<String> {
        Some(unique_id(uid))
    }

    /// A role with another path is a different role.
    fn takes(&self, project: &str, existing: &Value, wanted: &Value) -> bool {
        existing.get("path") == wanted.get("path") && entry(existing, "tags", PROJECT_TAG).as_deref() == Some(project)
    }

    fn check(&self, world: &mut World, call: &Call<'_>, body: &mut Value) -> Result<(), WriteError> {
        for arn in roles_in(body) {
            world.must_know(call, &arn)?;
        }
        let malformed = |e| call.refused("write", format!("MalformedPolicyDocument: {e:?}"));
        let trust = Policy::from_value(&body["trust"]).map_err(malformed)?;
        for principal in trust.statements().iter().filter_map(Statement::principal).flat_map(Selector::values) {
            if let Principal::Federated(arn) = principal {
                let exists = world.principal(arn).is_some();
                world.must_have(call, &format!("OIDC provider {arn}"), exists)?;
            }
        }
        let boundary = body.get("permissions_boundary").and_then(Value::as_str).unwrap_or_default();
        if boundary.contains(&format!("::{}:", call.id.account())) {
            let exists = world.resolve(boundary).is_some();
            world.must_have(call, &format!("boundary {boundary}"), exists)?;
        }
        Ok(())
    }

    fn delete(&self, world: &mut World, call: &Call<'_>) -> Result<(), WriteError> {
        if let Some(part) = world.parts_of(call.id).first() {
            return Err(world.violation(call.address, &format!("DeleteConflict: the role still has {part}")));
        }
        world.delete_needed(call);
        Ok(())
    }
}
