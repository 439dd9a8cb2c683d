//! The trait of a kind's double, and what doubles have in common. The doubles themselves are beside their kinds, in
//! `double.rs`; `doubles.rs` registers them.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick::access::{Facet, PolicyText, principals};
use bailiwick::address::{Address, Scope};
use bailiwick::document::{Document, is_policy};
use bailiwick::iam::{Policy, Principal};
use bailiwick::kind::Action;
use bailiwick::live::{ReadError, WriteError};
use bailiwick::provider::PROJECT_TAG;
use bailiwick::spec::{Facts, Spec};
use serde_json::{Map, Value, json};

use crate::memory::{Id, Thing, World};

/// The label or annotation that names the owning project.
pub const MARK: &str = "bailiwick.dev/project";
/// The prefix of the ownership tags.
pub const TAGS: &str = "bailiwick:";

/// What a kind's API does beyond keeping a body under a name. Each kind has its own, in `double.rs` beside it.
pub trait Double: Sync {
    /// The kind's name.
    fn kind(&self) -> &'static str;

    /// The objects of the kind that exist although the spec does not manage them, if it names any.
    fn relied_on(&self, _spec: &Spec, _facts: &Facts) -> Vec<(Scope, String, Value)> {
        Vec::new()
    }

    /// Fills in the defaults that every read shows for unset fields. By default empty tags.
    fn complete(&self, _id: &Id, body: &mut Value) {
        fill(body, "tags", json!({}));
    }

    /// The content of a document that exists as soon as its carrier does.
    fn original(&self, carrier: &Id) -> Value {
        panic!("{} comes along with {carrier}, and its double does not say how", self.kind())
    }

    /// The names by which other bodies refer to it, the one that reads show first. By default those of its facet.
    fn names(&self, _id: &Id, facet: &Facet<'_>) -> Vec<String> {
        match facet {
            Facet::ManagedPolicy { arn, .. } => vec![(*arn).to_owned()],
            facet => facet.principal().map(ToOwned::to_owned).into_iter().collect(),
        }
    }

    /// The names of others that it refers to; of a shared document, only in own statements. By default those of its
    /// facet.
    fn uses(&self, _id: &Id, _body: &Value, facet: &Facet<'_>) -> Vec<String> {
        refers_to(facet)
    }

    /// The unique id that the service assigned and never reuses.
    fn unique_id(&self, _uid: u64) -> Option<String> {
        None
    }

    /// Whether it carries an ownership mark of any project. By default a tag.
    fn is_ours(&self, body: &Value) -> bool {
        has_mark(body, "tags")
    }

    /// What a read shows, and which project owns it. By default the body and the owner's tag.
    fn shown(&self, _world: &World, at: &Sight<'_>) -> Result<(Value, Option<String>), ReadError> {
        let owner = entry(&at.body, "tags", PROJECT_TAG);
        Ok((at.body.clone(), owner))
    }

    /// The fields in which others have entries too.
    fn shared_fields(&self) -> &'static [&'static str] {
        &["tags"]
    }

    /// Whether a creation may accept an existing object as its result. By default if it has the project's tag.
    fn takes(&self, project: &str, existing: &Value, _wanted: &Value) -> bool {
        entry(existing, "tags", PROJECT_TAG).as_deref() == Some(project)
    }

    /// Checks that the objects named in a body exist, and resolves what the service resolves. By default a body names
    /// none.
    fn check(&self, _world: &mut World, _call: &Call<'_>, _body: &mut Value) -> Result<(), WriteError> {
        Ok(())
    }

    /// Deletes the object.
    fn delete(&self, world: &mut World, call: &Call<'_>) -> Result<(), WriteError> {
        world.delete_needed(call);
        Ok(())
    }

    /// Performs a write.
    fn write(&self, world: &mut World, call: &Call<'_>, action: &Action<Document>) -> Result<(), WriteError> {
        world.write(self.kind(), call, action)
    }
}

/// The subject of a write.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub project: &'a str,
    pub id: &'a Id,
    pub address: &'a Address,
}

impl Call<'_> {
    /// An error that says that nothing was done.
    #[must_use]
    pub fn refused(&self, verb: &str, why: impl Into<String>) -> WriteError {
        WriteError::Failed { what: format!("{verb} {}", self.address), why: why.into() }
    }
}

/// An object that is read.
pub struct Sight<'a> {
    /// The project that reads.
    pub project: &'a str,
    pub id: &'a Id,
    pub thing: &'a Thing,
    /// The body as it reads now, with the unique id.
    pub body: Value,
}

/// The names that a facet refers to; of a shared document, only in own statements.
#[must_use]
pub fn refers_to(facet: &Facet<'_>) -> Vec<String> {
    let named = match facet {
        Facet::Resource(policy) => policy.ours.and_then(PolicyText::parse).map(|p| principals(&p)).unwrap_or_default(),
        facet => facet.names(),
    };
    let mut names: Vec<String> = named
        .into_iter()
        .filter_map(|principal| match principal {
            Principal::Aws(name) | Principal::Federated(name) => Some(name.into()),
            _ => None,
        })
        .collect();
    match facet {
        Facet::Role { boundary, .. } => names.extend(boundary.clone()),
        Facet::Attachment { policy, .. } => names.push(policy.clone()),
        Facet::ServiceAccount { role, .. } => names.extend(role.clone()),
        _ => {}
    }
    names
}

/// Sets a field unless it is set.
pub fn fill(body: &mut Value, field: &str, value: impl Into<Value>) {
    object(body).entry(field).or_insert_with(|| value.into());
}

/// A text in a map of a body, such as a tag.
#[must_use]
pub fn entry(body: &Value, field: &str, key: &str) -> Option<String> {
    body.get(field)?.get(key)?.as_str().map(ToOwned::to_owned)
}

/// Whether one of the tags, labels or annotations in a field is an ownership mark.
#[must_use]
pub fn has_mark(body: &Value, field: &str) -> bool {
    let keys = body.get(field).and_then(Value::as_object).into_iter().flatten();
    keys.into_iter().any(|(key, _)| key == MARK || key.starts_with(TAGS))
}

/// The unique id of a role by its number.
#[must_use]
pub fn unique_id(uid: u64) -> String {
    format!("AROA{uid:0>17}")
}

/// A value as a map, which it becomes if it is not one.
pub fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object"),
    }
}

/// A policy as AWS writes it.
#[must_use]
pub fn canonical(policy: &Value) -> Value {
    Policy::from_value(policy).map_or_else(|_| policy.clone(), |p| p.to_value())
}

/// The policies in a body: itself, or a field of it.
fn policies(body: &mut Value) -> Vec<&mut Value> {
    if is_policy(body) {
        return vec![body];
    }
    match body {
        Value::Object(map) => map.iter_mut().filter(|(_, v)| is_policy(v)).map(|(_, v)| v).collect(),
        _ => Vec::new(),
    }
}

/// The `AWS` principals of every statement, to be read or changed.
fn each_principal(body: &mut Value, mut each: impl FnMut(&Value, &mut String)) {
    for policy in policies(body) {
        for statement in policy.get_mut("Statement").and_then(Value::as_array_mut).into_iter().flatten() {
            let sid = statement.get("Sid").cloned().unwrap_or_default();
            match statement.pointer_mut("/Principal/AWS") {
                Some(Value::String(one)) => each(&sid, one),
                Some(Value::Array(many)) => {
                    for value in many {
                        if let Value::String(one) = value {
                            each(&sid, one);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// The ARNs of the roles that the policies of a body name.
#[must_use]
pub fn roles_in(body: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    each_principal(&mut body.clone(), |_, arn| {
        if arn.contains(":role/") {
            found.insert(arn.clone());
        }
    });
    found
}

/// Replaces principals by other names.
pub fn rename_principals(body: &mut Value, names: &BTreeMap<&String, String>) {
    each_principal(body, |_, arn| {
        if let Some(name) = names.get(arn) {
            *arn = name.clone();
        }
    });
}
