//! The double of [`kubernetes.namespace`](super).

use bailiwick::access::Facet;
use bailiwick::address::Scope;
use bailiwick::live::{ReadError, WriteError};
use bailiwick::spec::{Facts, Manage, Spec};
use serde_json::{Value, json};

use crate::double::{Call, Double, MARK, Sight, entry, fill, has_mark};
use crate::memory::{Id, World};

pub struct Namespace;

impl Double for Namespace {
    fn kind(&self) -> &'static str {
        "kubernetes.namespace"
    }

    fn relied_on(&self, spec: &Spec, _facts: &Facts) -> Vec<(Scope, String, Value)> {
        let existing = spec.service_accounts.values().filter(|a| !a.create_namespace || a.manage != Manage::Object);
        existing.map(|a| (Scope::cluster(a.cluster.as_str()), a.namespace.clone(), json!({}))).collect()
    }

    fn complete(&self, id: &Id, body: &mut Value) {
        fill(body, "name", id.name.clone());
        fill(body, "labels", json!({}));
    }

    fn names(&self, id: &Id, _facet: &Facet<'_>) -> Vec<String> {
        vec![named(&id.place, &id.name)]
    }

    fn is_ours(&self, body: &Value) -> bool {
        has_mark(body, "labels")
    }

    fn shown(&self, _world: &World, at: &Sight<'_>) -> Result<(Value, Option<String>), ReadError> {
        Ok((at.body.clone(), entry(&at.body, "labels", MARK)))
    }

    fn shared_fields(&self) -> &'static [&'static str] {
        &["labels"]
    }

    fn takes(&self, project: &str, existing: &Value, _wanted: &Value) -> bool {
        entry(existing, "labels", MARK).as_deref() == Some(project)
    }

    fn delete(&self, world: &mut World, call: &Call<'_>) -> Result<(), WriteError> {
        if let Some(user) = world.user_of(call.id, true) {
            return Err(world.violation(call.address, &format!("it is deleted while {user} is in it")));
        }
        if let Some(user) = world.user_of(call.id, false) {
            return Err(call.refused("delete", format!("it still holds {user}")));
        }
        world.remove(call.id);
        Ok(())
    }
}

/// Returns the reference by which objects in a namespace name it.
pub fn named(cluster: &str, namespace: &str) -> String {
    format!("namespace {namespace} of cluster {cluster}")
}
