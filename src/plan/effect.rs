//! The bodies that exist before and after a plan, by address.

use std::collections::BTreeMap;

use super::{Change, Operation, Plan, Removal};
use crate::access::{Facet, Instance};
use crate::address::{Address, Scope};
use crate::desired::Desired;
use crate::diff::{DeposedDiff, Diff};
use crate::document::Document;
use crate::kind::Kinds;
use crate::snapshot::{Seen, Snapshot};
use crate::state::{DeposedKey, Owned};

/// An existing object: its scope, its physical id, and its body.
type Existing = (Scope, String, Document);

/// The bodies of all existing objects that were read, by address, with deposed objects by their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bodies(BTreeMap<(Address, Option<DeposedKey>), Existing>);

impl Bodies {
    /// The bodies of all desired resources.
    #[must_use]
    pub fn desired(desired: &Desired) -> Self {
        let body = |r: &crate::kind::Resource| (r.scope.clone(), r.physical_id.clone(), r.body.clone());
        Self(desired.resources.iter().map(|(address, resource)| ((address.clone(), None), body(resource))).collect())
    }

    /// The observed bodies of all desired or owned resources. Deposed objects are not read, so their last applied
    /// bodies are used.
    #[must_use]
    pub fn seen(diff: &Diff) -> Self {
        let seen = diff.resources.values().filter_map(|resource| {
            let Seen::Present { body, .. } = &resource.seen else { return None };
            let (scope, physical_id) = resource.place()?;
            Some(((resource.address.clone(), None), (scope.clone(), physical_id.to_owned(), body.clone())))
        });
        let deposed = diff.deposed.iter().filter_map(|deposed| {
            let DeposedDiff { address, key, object, .. } = deposed;
            let existing = (object.scope.clone(), object.physical_id.clone(), object.body.clone()?);
            Some(((address.clone(), Some(key.clone())), existing))
        });
        Self(seen.chain(deposed).collect())
    }

    /// The observed bodies of these objects.
    #[must_use]
    pub fn observed(objects: &BTreeMap<Address, Owned>, snapshot: &Snapshot) -> Self {
        let body = |address: &Address, object: &Owned| match snapshot.seen.get(address)? {
            Seen::Present { body, .. } => Some((object.scope.clone(), object.physical_id.clone(), body.clone())),
            Seen::Absent | Seen::Unreadable { .. } => None,
        };
        let objects = objects.iter();
        Self(objects.filter_map(|(address, object)| Some(((address.clone(), None), body(address, object)?))).collect())
    }

    /// Splits into the observed bodies and those of deposed objects, which were not observed.
    #[must_use]
    pub fn divided(self) -> (Self, Self) {
        let (observed, deposed) = self.0.into_iter().partition(|((_, deposed), _)| deposed.is_none());
        (Self(observed), Self(deposed))
    }

    /// The bodies after the steps of a plan.
    #[must_use]
    pub fn after(&self, plan: &Plan, kinds: &Kinds<'_>) -> Self {
        let mut bodies = self.0.clone();
        for step in &plan.steps {
            let address = step.address();
            let deposed = (address.clone(), Some(DeposedKey::of(&step.scope, &step.physical_id)));
            let name = if bodies.contains_key(&deposed) { deposed } else { (address.clone(), None) };
            let same = |(scope, id, _): &&Existing| (scope, id) == (&step.scope, &step.physical_id);
            let live = bodies.get(&name).filter(same).map(|(.., body)| body);
            let (kind, before) = (kinds.get(address.kind()), step.before());
            let left = match step.operation() {
                Operation::Current(
                    Change::Create { after, .. } | Change::Update { after, .. } | Change::Adopt { after, .. },
                ) => Some(kind.map_or_else(|| after.clone(), |kind| kind.overlaid(live, before, after))),
                Operation::Current(Change::Remove(removal)) | Operation::Former { removal, .. } => match removal {
                    Removal::Delete { .. } => live.zip(kind).and_then(|(live, kind)| kind.remainder(live, before)),
                    Removal::Release { .. } => {
                        live.map(|live| kind.map_or_else(|| live.clone(), |k| k.released(live, before)))
                    }
                    Removal::Record { .. } => continue,
                },
            };
            match left {
                Some(body) => {
                    bodies.insert(name, (step.scope.clone(), step.physical_id.clone(), body));
                }
                None if live.is_some() => {
                    bodies.remove(&name);
                }
                None => {}
            }
        }
        Self(bodies)
    }

    /// The facets of the bodies, from which a world is built.
    pub fn facets<'b>(&'b self, kinds: &'b Kinds<'_>) -> impl Iterator<Item = (&'b Address, Facet<'b>)> {
        self.0.iter().map(|((address, _), (scope, physical_id, body))| {
            (address, kinds.facet(address.kind(), Instance { scope, physical_id, body }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{deleted, deletion, step};
    use crate::plan::{Former, Observation, Step};
    use serde_json::{Value, json};

    fn scope() -> Scope {
        Scope::cluster("c")
    }

    fn document(value: Value) -> Document {
        Document::from(value)
    }

    fn check(live: Value, change: Change, expected: &Value) {
        let address: Address = "aws.iam.role.r".parse().unwrap();
        let mut bodies = Bodies::default();
        let name = (address, None);
        if !live.is_null() {
            bodies.0.insert(name.clone(), (scope(), "x".into(), document(live)));
        }
        let step = Step { scope: scope(), physical_id: "x".into(), ..step("r", change) };
        let plan = Plan { steps: vec![step], ..Plan::default() };
        let after = bodies.after(&plan, &Kinds::default());
        let body = after.0.get(&name).map_or(Value::Null, |(.., body)| body.tree());
        assert_eq!(body, *expected);
    }

    #[test]
    fn effect_of_create_delete_and_release() {
        let (found, live) = (Observation { digest: document(json!(1)).digest(), whole: None }, json!({"a": 1}));
        let create = Change::Create { after: document(live.clone()), found: None, replaces: None, deposes: None };
        check(json!(null), create, &live);
        check(live.clone(), deleted(Some(document(live.clone())), Some(&found)), &json!(null));
        let expect = crate::plan::Expect::Observed(found);
        let release = Removal::Release { before: Some(document(live.clone())), expect };
        check(live.clone(), Change::Remove(release), &live);
    }

    #[test]
    fn replacement_exists_beside_the_deposed_object_until_its_deletion() {
        let old = Owned::new(scope(), "x", Some(document(json!({"a": 1, "b": 1}))));
        let key = DeposedKey::of(&old.scope, &old.physical_id);
        let after = document(json!({"a": 2}));
        let create = Change::Create { after, found: None, replaces: None, deposes: Some(Box::new(old.clone())) };
        let new = Step { scope: scope(), physical_id: "y".into(), ..step("r", create) };
        let address = new.address().clone();
        let operation =
            Operation::Former { former: Former::Deposed(key.clone()), removal: deletion(old.body.clone(), None) };
        let gone = Step::new(address.clone(), operation, scope(), "x");
        let mut bodies = Bodies::default();
        let before = (address.clone(), Some(key));
        bodies.0.insert(before.clone(), (scope(), "x".into(), old.body.unwrap()));
        let created = bodies.after(&Plan { steps: vec![new.clone()], ..Plan::default() }, &Kinds::default());
        assert!(created.0.contains_key(&before), "the old one still gives access");
        for steps in [vec![new.clone(), gone.clone()], vec![gone, new]] {
            let plan = Plan { steps, ..Plan::default() };
            let left: Vec<_> = bodies.after(&plan, &Kinds::default()).0.into_iter().collect();
            assert_eq!(left, [((address.clone(), None), (scope(), "y".into(), document(json!({"a": 2}))))]);
        }
    }
}
