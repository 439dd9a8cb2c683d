//! The double of [`aws.kms.key`](super).

use bailiwick::access::Facet;
use bailiwick::address::{Region, Scope};
use bailiwick::document::Digest;
use bailiwick::live::WriteError;
use bailiwick::spec::{Facts, Spec};
use serde_json::{Value, json};

use crate::double::{Call, Double, fill, has_mark};
use crate::memory::{Id, World};

pub struct Key;

impl Double for Key {
    fn kind(&self) -> &'static str {
        "aws.kms.key"
    }

    fn relied_on(&self, spec: &Spec, _facts: &Facts) -> Vec<(Scope, String, Value)> {
        let keys = spec.keys.values().filter(|key| !key.managed);
        keys.map(|key| (spec.regional_scope(&key.account, key.region(spec)), key.alias_name(), json!({}))).collect()
    }

    fn complete(&self, id: &Id, body: &mut Value) {
        fill(body, "alias", id.name.clone());
        fill(body, "state", "Enabled");
        fill(body, "description", "");
        fill(body, "rotation", false);
        fill(body, "tags", json!({}));
    }

    /// The ARN of the key, and that of its alias. The key id is the same in every world, so that worlds can be
    /// compared.
    fn names(&self, id: &Id, _facet: &Facet<'_>) -> Vec<String> {
        let (account, region) = id.place.split_once('/').unwrap_or_default();
        let digest = Digest::of(format!("{} {}", id.place, id.name).as_bytes());
        let prefix = format!("arn:{}:kms:{region}:{account}", Region(region.into()).partition());
        vec![format!("{prefix}:key/{}", digest.short(12)), format!("{prefix}:{}", id.name)]
    }

    /// Distinguishes a key from a later one with the same alias.
    fn unique_id(&self, uid: u64) -> Option<String> {
        Some(format!("key-{uid}"))
    }

    /// A key that is scheduled for deletion has no owner.
    fn is_ours(&self, body: &Value) -> bool {
        body["state"] != "PendingDeletion" && has_mark(body, "tags")
    }

    fn delete(&self, world: &mut World, call: &Call<'_>) -> Result<(), WriteError> {
        world.still_needed(call);
        world.edit(call.id, |key| key["state"] = "PendingDeletion".into());
        Ok(())
    }
}
