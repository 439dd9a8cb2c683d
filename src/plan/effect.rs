//! What exists before a plan and after it, as bodies by address.

use std::collections::BTreeMap;

use super::{ActionKind, Plan};
use crate::access::{Facet, Instance};
use crate::address::{Address, Scope};
use crate::desired::Desired;
use crate::diff::Diff;
use crate::document::Document;
use crate::kind::Kinds;
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
    pub fn after(&self, plan: &Plan, kinds: &Kinds<'_>) -> Self {
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
            let kind = kinds.get(address.kind());
            let before = step.before.as_ref();
            match (step.deletes(), &step.after) {
                (true, _) => match live.as_ref().zip(kind).and_then(|(live, kind)| kind.remainder(live, before)) {
                    Some(body) => {
                        bodies.insert(address.clone(), (step.scope.clone(), step.physical_id.clone(), body));
                    }
                    None => {
                        bodies.remove(address);
                    }
                },
                (false, Some(after)) if step.action != ActionKind::Forget => {
                    let body = kind.map_or_else(|| after.clone(), |kind| kind.overlaid(live.as_ref(), before, after));
                    bodies.insert(address.clone(), (step.scope.clone(), step.physical_id.clone(), body));
                }
                _ => {}
            }
        }
        Self(bodies)
    }

    /// What the bodies say about access, for a world.
    pub fn facets<'b>(&'b self, kinds: &'b Kinds<'_>) -> impl Iterator<Item = (&'b Address, Facet<'b>)> {
        self.0.iter().map(|(address, (scope, physical_id, body))| {
            (address, kinds.facet(address.kind(), Instance { scope, physical_id, body }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Phase, Step, StepName};
    use crate::spec::OnDestroy;
    use serde_json::{Value, json};

    fn scope() -> Scope {
        Scope::cluster("c")
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
        let body = bodies.after(&plan, &Kinds::default()).0.get(&address).map_or(Value::Null, |(.., body)| body.tree());
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
            assert_eq!(
                bodies.after(&plan, &Kinds::default()).0[&address],
                (scope(), "y".into(), Document::from(json!({"a": 2})))
            );
        }
    }
}
