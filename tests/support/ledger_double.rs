//! The double of the made-up kind of `tests/core/made_up_kind.rs`: a document that others write too, with settings.

use bailiwick::document::Document;
use bailiwick::kind::Action;
use bailiwick::live::{ReadError, WriteError};
use serde_json::{Value, json};

use crate::double::{Call, Double, Sight, object};
use crate::doubles::shared_document;
use crate::memory::{Id, World};

/// The fields of the document beside its statements.
pub const SETTINGS: [&str; 3] = ["tier", "retention", "label"];

pub struct LedgerPolicy;

impl Double for LedgerPolicy {
    fn kind(&self) -> &'static str {
        "store.ledger_policy"
    }

    fn complete(&self, _id: &Id, _body: &mut Value) {}

    fn is_ours(&self, body: &Value) -> bool {
        shared_document::is_ours(body)
    }

    fn shown(&self, world: &World, at: &Sight<'_>) -> Result<(Value, Option<String>), ReadError> {
        let policy = json!({ "Version": "2012-10-17", "Statement": at.body["Statement"] });
        let sight = Sight { project: at.project, id: at.id, thing: at.thing, body: policy };
        let (mut shown, owner) = shared_document::shown(world, &sight)?;
        for name in SETTINGS {
            if let Some(value) = at.body.get(name) {
                shown[name] = value.clone();
            }
        }
        Ok((shown, owner))
    }

    fn write(&self, world: &mut World, call: &Call<'_>, action: &Action<Document>) -> Result<(), WriteError> {
        let settings = action.after().map(Document::tree).unwrap_or_default();
        if world.get(call.id).is_some() {
            let tier = world.show(call.id).get("tier").cloned();
            if settings.get("tier").is_some_and(|wanted| tier.is_some_and(|tier| tier != *wanted)) {
                return Err(call.refused("write", "the tier of a ledger never changes"));
            }
        }
        shared_document::write(world, call, action, true)?;
        if world.get(call.id).is_some() {
            world.edit(call.id, |body| {
                for name in SETTINGS {
                    object(body).remove(name);
                    if let Some(value) = settings.get(name) {
                        body[name] = value.clone();
                    }
                }
            });
        }
        Ok(())
    }
}
