//! The double of [`kubernetes.service_account`](super).

use std::collections::BTreeMap;

use bailiwick::access::Facet;
use bailiwick::address::Scope;
use bailiwick::document::Document;
use bailiwick::kind::Action;
use bailiwick::live::{ReadError, WriteError};
use bailiwick::spec::{Facts, Manage, Spec};
use serde_json::{Value, json};

use crate::double::{Call, Double, MARK, Sight, entry, fill, has_mark, object, refers_to};
use crate::doubles::namespace;
use crate::memory::{Id, Thing, World};

const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

pub struct ServiceAccount;

impl Double for ServiceAccount {
    fn kind(&self) -> &'static str {
        "kubernetes.service_account"
    }

    fn relied_on(&self, spec: &Spec, _facts: &Facts) -> Vec<(Scope, String, Value)> {
        let existing = spec.service_accounts.values().filter(|account| account.manage != Manage::Object);
        existing
            .map(|account| {
                let name = format!("{}/{}", account.namespace, account.name);
                (Scope::cluster(account.cluster.as_str()), name, json!({ "labels": { "app": "theirs" } }))
            })
            .collect()
    }

    fn complete(&self, _id: &Id, body: &mut Value) {
        fill(body, "annotations", json!({}));
        fill(body, "labels", json!({}));
    }

    fn uses(&self, id: &Id, _body: &Value, facet: &Facet<'_>) -> Vec<String> {
        let mut used = refers_to(facet);
        used.push(namespace::named(&id.place, id.name.split('/').next().unwrap_or_default()));
        used
    }

    fn is_ours(&self, body: &Value) -> bool {
        has_mark(body, "labels") || has_mark(body, "annotations")
    }

    fn shown(&self, _world: &World, at: &Sight<'_>) -> Result<(Value, Option<String>), ReadError> {
        let mark = entry(&at.body, "annotations", MARK);
        let (namespace, name) = at.id.name.split_once('/').unwrap_or_default();
        let mut annotations = at.body.get("annotations").cloned().unwrap_or_default();
        object(&mut annotations).remove(MARK);
        let shown = json!({
            "namespace": namespace, "name": name, "annotations": annotations, "labels": at.body["labels"],
            "object": mark.as_deref() == Some(at.project),
        });
        let ours = !at.thing.applied.is_empty();
        Ok((shown, mark.or_else(|| ours.then(|| at.project.to_owned()))))
    }

    /// Server-side apply with Bailiwick's field manager, never with force.
    fn write(&self, world: &mut World, call: &Call<'_>, action: &Action<Document>) -> Result<(), WriteError> {
        let live = world.get(call.id).cloned();
        let Some(wanted) = wanted(world, call, action, live.as_ref())? else { return Ok(()) };
        let fields = fields(world, call, &wanted)?;
        if !wanted.is_null() && live.is_none() {
            let (namespace, _) = call.id.name.split_once('/').unwrap_or_default();
            if world.get(&call.id.sibling(namespace::Namespace.kind(), namespace)).is_none() {
                return Err(world.violation(call.address, &format!("its namespace `{namespace}` does not exist")));
            }
        }
        let mut thing = live.unwrap_or_else(|| world.fresh(call.id, json!({})));
        for (field, value) in &fields {
            let (map, key) = field.split_once('/').unwrap_or_default();
            let held = thing.body[map].get(key).filter(|held| *held != value);
            if held.is_some() && !thing.applied.contains(field) {
                return Err(WriteError::Conflict {
                    what: format!("apply {}", call.address),
                    holder: "kubectl-edit".into(),
                    why: format!(".metadata.{map}.{key}"),
                    help: None,
                });
            }
        }
        for field in thing.applied.iter().filter(|field| !fields.contains_key(*field)) {
            let (map, key) = field.split_once('/').unwrap_or_default();
            object(&mut thing.body[map]).remove(key);
        }
        for (field, value) in &fields {
            let (map, key) = field.split_once('/').unwrap_or_default();
            object(&mut thing.body[map]).insert(key.to_owned(), value.clone());
        }
        thing.applied = fields.into_keys().collect();
        world.put(call.id, thing);
        Ok(())
    }
}

/// Returns the configuration to apply, `null` to release all managed fields. `None` if the write is already done.
fn wanted(
    world: &mut World,
    call: &Call<'_>,
    action: &Action<Document>,
    live: Option<&Thing>,
) -> Result<Option<Value>, WriteError> {
    let is_whole = |body: &Document| body.tree()["object"] == json!(true);
    let is_marked = |thing: &Thing| entry(&thing.body, "annotations", MARK).as_deref() == Some(call.project);
    match (action, live) {
        (Action::Create { after }, None) if !is_whole(after) => Err(call.refused("annotate", "it does not exist")),
        (Action::Update { .. }, None) => Err(world.violation(call.address, "it is updated and does not exist")),
        (Action::Create { after }, Some(thing)) if is_whole(after) && !is_marked(thing) => Err(WriteError::Conflict {
            what: format!("create {}", call.address),
            holder: "another owner".into(),
            why: "it was made after the plan was made".into(),
            help: None,
        }),
        (Action::Create { after } | Action::Update { after, .. }, _) => Ok(Some(after.tree().clone())),
        (Action::Delete { .. } | Action::Release { .. }, None) => Ok(None),
        (Action::Release { .. }, Some(_)) => Ok(Some(Value::Null)),
        (Action::Delete { before }, Some(thing)) => {
            let others = ["annotations", "labels"].iter().any(|field| {
                let keys = thing.body[*field].as_object().into_iter().flatten();
                keys.map(|(key, _)| format!("{field}/{key}")).any(|key| !thing.applied.contains(&key))
            });
            if is_whole(before) && is_marked(thing) && !others {
                world.remove(call.id);
                return Ok(None);
            }
            Ok(Some(Value::Null))
        }
    }
}

/// Returns the fields to apply, by `annotations/KEY` and `labels/KEY`.
fn fields(world: &mut World, call: &Call<'_>, wanted: &Value) -> Result<BTreeMap<String, Value>, WriteError> {
    let mut fields: BTreeMap<String, Value> = BTreeMap::new();
    for field in ["annotations", "labels"] {
        for (key, value) in wanted[field].as_object().into_iter().flatten() {
            if key == ROLE_ANNOTATION && value.as_str().is_some_and(|arn| world.principal(arn).is_none()) {
                let what = format!("it names the role {value}, which does not exist");
                return Err(world.violation(call.address, &what));
            }
            fields.insert(format!("{field}/{key}"), value.clone());
        }
    }
    if wanted["object"] == json!(true) {
        fields.insert(format!("annotations/{MARK}"), call.project.into());
    }
    Ok(fields)
}
