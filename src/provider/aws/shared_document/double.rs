//! Shared code of the doubles of shared documents.

use bailiwick::access::{own_sid, sid_prefix};
use bailiwick::document::Document;
use bailiwick::iam::{Policy, Statement, Version};
use bailiwick::kind::{Action, UNIQUE_ID};
use bailiwick::live::{ReadError, WriteError};
use serde_json::{Value, json};

use crate::double::{Call, Sight, roles_in};
use crate::memory::World;

/// The start of the Sid of every project's statements.
const OWN: &str = "Bailiwick";

/// Whether a document has statements of any project.
pub fn is_ours(document: &Value) -> bool {
    let statements = document.get("Statement").and_then(Value::as_array).into_iter().flatten();
    statements.filter_map(|s| s.get("Sid")?.as_str()).any(|sid| sid.starts_with(OWN))
}

/// Returns a document as its kind reads it, with own and foreign statements separated. Without a project, the
/// statements of every project are own.
pub fn shown(world: &World, at: &Sight<'_>) -> Result<(Value, Option<String>), ReadError> {
    let whole = if at.body["Statement"].as_array().is_none_or(Vec::is_empty) {
        Policy::new(Version::V2012, [])
    } else {
        let failed = |why| ReadError::Failed { what: at.id.to_string(), why: format!("{why:?}") };
        Policy::from_value(&at.body).map_err(failed)?
    };
    let own = |statement: &Statement| match at.project {
        "" => statement.sid().is_some_and(|sid| sid.starts_with(OWN)),
        project => own_sid(project, statement),
    };
    let (ours, foreign) = whole.split(own);
    let version = if ours.is_empty() { Version::V2012 } else { ours.version() };
    let statements = Policy::new(version, ours.statements().iter().cloned());
    let mut shown = json!({ "statements": statements.to_value() });
    if !foreign.is_empty() {
        shown["foreign"] = foreign.to_value();
    }
    if let Some(carrier) = world.carrier_id(at.id) {
        shown[UNIQUE_ID] = carrier.into();
    }
    Ok((shown, (!ours.is_empty()).then(|| at.project.to_owned())))
}

/// Writes the project's statements and keeps the foreign ones. `may_be_empty`: whether a document without statements is
/// valid.
pub fn write(
    world: &mut World,
    call: &Call<'_>,
    action: &Action<Document>,
    may_be_empty: bool,
) -> Result<(), WriteError> {
    let Some(mut thing) = world.get(call.id).cloned() else {
        return match action {
            Action::Delete { .. } | Action::Release { .. } => Ok(()),
            _ => Err(world.violation(call.address, "its policy is written before it exists")),
        };
    };
    let flag = |body: &Document| body.tree().get("exclusive").and_then(Value::as_bool).unwrap_or(false);
    let (ours, exclusive) = match action {
        Action::Create { after } | Action::Update { after, .. } => {
            let ours = after.tree().pointer("/statements/Statement").and_then(Value::as_array).cloned();
            (ours.unwrap_or_default(), flag(after))
        }
        Action::Delete { before } | Action::Release { before } => (Vec::new(), flag(before)),
    };
    let prefix = sid_prefix(call.project);
    let is_own = |s: &Value| s.get("Sid").and_then(Value::as_str).is_some_and(|sid| sid.starts_with(&prefix));
    let mut kept = thing.body["Statement"].as_array().cloned().unwrap_or_default();
    kept.retain(|statement| !exclusive && !is_own(statement));
    if !may_be_empty && kept.is_empty() {
        return Err(call.refused("write", "nobody could change the key any more"));
    }
    kept.extend(ours);
    let body = json!({ "Statement": kept });
    for arn in roles_in(&body) {
        world.must_know(call, &arn)?;
    }
    thing.body["Statement"] = body["Statement"].clone();
    world.put(call.id, thing);
    Ok(())
}
