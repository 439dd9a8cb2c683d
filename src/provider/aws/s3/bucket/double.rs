//! The double of [`aws.s3.bucket`](super).

use bailiwick::access::Facet;
use bailiwick::address::Scope;
use bailiwick::live::WriteError;
use bailiwick::spec::{Facts, Spec};
use serde_json::{Value, json};

use crate::double::{Call, Double, fill};
use crate::memory::{Id, World};

pub struct Bucket;

impl Double for Bucket {
    fn kind(&self) -> &'static str {
        "aws.s3.bucket"
    }

    fn relied_on(&self, spec: &Spec, _facts: &Facts) -> Vec<(Scope, String, Value)> {
        let buckets = spec.buckets.values().filter(|bucket| !bucket.managed);
        buckets
            .map(|bucket| {
                let region = bucket.region(spec);
                let body = json!({ "region": region.0 });
                (spec.regional_scope(&bucket.account, region), bucket.name.clone(), body)
            })
            .collect()
    }

    fn complete(&self, id: &Id, body: &mut Value) {
        fill(body, "name", id.name.clone());
        fill(body, "public_access_block", true);
        fill(body, "ownership", "bucket_owner_enforced");
        fill(body, "versioning", false);
        fill(body, "encryption", json!({ "sse": "AES256" }));
        fill(body, "lifecycle", json!({}));
        fill(body, "tags", json!({}));
    }

    fn uses(&self, _id: &Id, body: &Value, _facet: &Facet<'_>) -> Vec<String> {
        let key = body.pointer("/encryption/kms_key").and_then(Value::as_str);
        key.map(ToOwned::to_owned).into_iter().collect()
    }

    fn check(&self, world: &mut World, call: &Call<'_>, body: &mut Value) -> Result<(), WriteError> {
        let namesake =
            |other: &Id| other.kind == call.id.kind && other.name == call.id.name && other.place != call.id.place;
        if world.ids().any(namesake) {
            return Err(call.refused("create", "BucketAlreadyExists: in another account"));
        }
        if let Some(Value::String(key)) = body.pointer_mut("/encryption/kms_key")
            && key.contains(":alias/")
        {
            let known = world.resolve(key);
            world.must_have(call, key, known.is_some())?;
            *key = known.unwrap_or_default();
        }
        Ok(())
    }

    fn delete(&self, world: &mut World, call: &Call<'_>) -> Result<(), WriteError> {
        if world.is_full(&call.id.name) {
            return Err(call.refused("delete", "BucketNotEmpty"));
        }
        if world.documents_of(call.id).iter().any(|(_, ours)| *ours) {
            return Err(world.violation(call.address, "it is deleted before our part of its policy"));
        }
        world.remove(call.id);
        Ok(())
    }
}
