//! What exists before a plan and after it, as bodies by address.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ActionKind, Plan, Step};
use crate::access::Thing;
use crate::address::{Address, Scope};
use crate::desired::Desired;
use crate::diff::Diff;
use crate::document::{Document, is_policy};
use crate::snapshot::Seen;

/// The bodies of everything that exists, as far as it was looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bodies(BTreeMap<Address, (Scope, String, Document)>);

impl Bodies {
    /// Everything that a spec wants.
    #[must_use]
    pub fn desired(desired: &Desired) -> Self {
        let body = |r: &crate::kind::Resource| (r.wish.scope.clone(), r.wish.physical_id.clone(), r.wish.body.clone());
        Self(desired.resources.iter().map(|(address, resource)| (address.clone(), body(resource))).collect())
    }

    /// Everything that was seen of what is desired or owned. What an address named before was not looked at: it counts
    /// as it was applied last, until something else takes its place.
    #[must_use]
    pub fn seen(diff: &Diff) -> Self {
        let seen = diff.resources.values().filter_map(|resource| {
            let Seen::Present { body, .. } = &resource.seen else {
                let former = &resource.former.as_ref()?.owned;
                let place = (former.scope.clone(), former.physical_id.clone());
                return Some((resource.address.clone(), (place.0, place.1, former.body.clone()?)));
            };
            let place = match (&resource.owned, &resource.desired) {
                (Some(owned), _) => (owned.scope.clone(), owned.physical_id.clone()),
                (None, Some(desired)) => (desired.wish.scope.clone(), desired.wish.physical_id.clone()),
                (None, None) => return None,
            };
            Some((resource.address.clone(), (place.0, place.1, body.clone())))
        });
        Self(seen.collect())
    }

    /// The same after the steps of a plan.
    #[must_use]
    pub fn after(&self, plan: &Plan) -> Self {
        let mut bodies = self.0.clone();
        for step in &plan.steps {
            let address = &step.name.address;
            let known = bodies.get(address);
            let same = known.is_some_and(|(scope, id, _)| (scope, id) == (&step.scope, &step.physical_id));
            if step.superseded && !same {
                // Something else has taken its place.
                continue;
            }
            // What takes the place of another has nothing of it.
            let live = known.filter(|_| same || step.former.is_none()).map(|(.., body)| body.clone());
            match (step.deletes(), &step.after) {
                (true, _) => match live.as_ref().and_then(|live| left(step, live)) {
                    Some(body) => {
                        bodies.insert(address.clone(), (step.scope.clone(), step.physical_id.clone(), body));
                    }
                    None => {
                        bodies.remove(address);
                    }
                },
                (false, Some(after)) if step.action != ActionKind::Forget => {
                    let body = written(step, live.as_ref(), after);
                    bodies.insert(address.clone(), (step.scope.clone(), step.physical_id.clone(), body));
                }
                _ => {}
            }
        }
        Self(bodies)
    }

    /// The things of a world.
    pub fn things(&self) -> impl Iterator<Item = Thing<'_>> {
        self.0.iter().map(|(address, (scope, physical_id, body))| Thing { address, scope, physical_id, body })
    }
}

/// What is left of a thing of which only our part is deleted.
fn left(step: &Step, live: &Document) -> Option<Document> {
    let foreign = live.field::<Value>("foreign");
    if let (Some(foreign), Some(_)) = (foreign, live.field::<Value>("statements")) {
        let exclusive = step.before.as_ref().and_then(|b| b.field("exclusive")).unwrap_or(false);
        let body = Map::from_iter([("foreign".to_owned(), foreign)]);
        return (!exclusive).then(|| Document::from(Value::from(body)));
    }
    None
}

/// What a write leaves: what others have in the live body, with ours over it.
fn written(step: &Step, live: Option<&Document>, after: &Document) -> Document {
    let object = |document: Option<&Document>| document.and_then(|d| d.read::<Map<_, _>>().ok()).unwrap_or_default();
    let (mut body, ours, before) = (object(live), object(Some(after)), object(step.before.as_ref()));
    body.retain(|field, _| !before.contains_key(field) || ours.contains_key(field));
    for (field, value) in ours {
        let merged = match (body.remove(&field), &value) {
            (Some(Value::Object(mut old)), Value::Object(new)) if !is_policy(&value) => {
                let gone = before.get(&field).and_then(Value::as_object);
                old.retain(|key, _| gone.is_none_or(|gone| !gone.contains_key(key)));
                old.extend(new.clone());
                Value::Object(old)
            }
            _ => value,
        };
        body.insert(field, merged);
    }
    if body.get("exclusive") == Some(&Value::Bool(true)) {
        body.remove("foreign");
    }
    Document::from(Value::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Phase, StepName};
    use crate::spec::OnDestroy;
    use serde_json::json;

    fn scope() -> Scope {
        Scope::Cluster { cluster: "c".into() }
    }

    fn step(address: &str, action: ActionKind, before: Value, after: Value) -> Step {
        let document = |value: Value| (!value.is_null()).then_some(Document::from(value));
        Step {
            name: StepName { address: address.parse().unwrap(), phase: None },
            action,
            reason: String::new(),
            scope: scope(),
            physical_id: "x".into(),
            before: document(before),
            after: document(after),
            changed: Vec::new(),
            waits_for: Vec::new(),
            fingerprint: None,
            seen: None,
            unique_id: None,
            adopted: false,
            superseded: false,
            first: false,
            former: None,
            references: Vec::new(),
            on_destroy: OnDestroy::Delete,
            protect: false,
            source: None,
        }
    }

    fn check(live: Value, action: ActionKind, before: Value, after: Value, expected: &Value) {
        let address: Address = "aws.iam.role.r".parse().unwrap();
        let mut bodies = Bodies::default();
        if !live.is_null() {
            bodies.0.insert(address.clone(), (scope(), "x".into(), Document::from(live)));
        }
        let plan = Plan { steps: vec![step("aws.iam.role.r", action, before, after)], ..Plan::default() };
        let body = bodies.after(&plan).0.get(&address).map_or(Value::Null, |(.., body)| body.tree());
        assert_eq!(body, *expected);
    }

    #[test]
    fn what_is_made_is_there_and_what_is_deleted_is_gone() {
        check(json!(null), ActionKind::Create, json!(null), json!({"a": 1}), &json!({"a": 1}));
        check(json!({"a": 1}), ActionKind::Delete, json!({"a": 1}), json!(null), &json!(null));
        check(json!({"a": 1}), ActionKind::Forget, json!({"a": 1}), json!(null), &json!({"a": 1}));
    }

    #[test]
    fn what_takes_the_place_of_another_stays_when_that_goes() {
        let new = step("aws.iam.role.r", ActionKind::Replace, json!(null), json!({"a": 2}));
        let old = step("aws.iam.role.r", ActionKind::Replace, json!({"a": 1, "b": 1}), json!(null));
        let old = Step { name: StepName { phase: Some(Phase::Delete), ..old.name }, superseded: true, ..old };
        let phase = Some(Phase::Create);
        let former = new.owned(None).map(Box::new);
        let new = Step { name: StepName { phase, ..new.name }, physical_id: "y".into(), former, ..new };
        let address = new.name.address.clone();
        let mut bodies = Bodies::default();
        bodies.0.insert(address.clone(), (scope(), "x".into(), Document::from(json!({"a": 1, "b": 1}))));
        for steps in [vec![new.clone(), old.clone()], vec![old, new]] {
            let plan = Plan { steps, ..Plan::default() };
            assert_eq!(bodies.after(&plan).0[&address], (scope(), "y".into(), Document::from(json!({"a": 2}))));
        }
    }

    #[test]
    fn what_others_have_stays() {
        check(
            json!({"annotations": {"ours": "1", "old": "1", "theirs": "1"}, "boundary": "b", "seen": true}),
            ActionKind::Update,
            json!({"annotations": {"ours": "1", "old": "1"}, "boundary": "b"}),
            json!({"annotations": {"ours": "2"}}),
            &json!({"annotations": {"ours": "2", "theirs": "1"}, "seen": true}),
        );
        let (own, foreign) = (json!({"Statement": [1]}), json!({"Statement": [2]}));
        check(
            json!({"statements": own, "foreign": foreign}),
            ActionKind::Delete,
            json!({"statements": own}),
            json!(null),
            &json!({"foreign": foreign}),
        );
        check(
            json!({"statements": own, "foreign": foreign}),
            ActionKind::Update,
            json!({"statements": own, "exclusive": true, "foreign": foreign}),
            json!({"statements": own, "exclusive": true}),
            &json!({"statements": own, "exclusive": true}),
        );
    }
}
