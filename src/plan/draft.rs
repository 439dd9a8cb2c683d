//! Drafts the steps of one resource, before they are ordered.

use std::collections::BTreeSet;

use super::step::{Change, Differs, Expect, Former, Observation, Operation, Removal, StateRecord, Step};
use super::{PlanError, Reason};
use crate::address::Address;
use crate::diff::{DeposedDiff, Diff, NotDeleted, ResourceDiff, Verdict};
use crate::document::{Document, FieldPath};
use crate::kind::{Kinds, Mutability, OnLoss, Reference};
use crate::snapshot::Seen;
use crate::state::Owned;

/// The draft for one resource.
pub(super) enum Drafted {
    Steps(Vec<Step>),
    /// The resource stays as it is. Holds a new state entry if its description changed.
    Unchanged(Option<Owned>),
    Nothing,
}

/// The addresses to replace, and those of their parts.
pub(super) struct Replacing {
    replaced: BTreeSet<Address>,
    parts: BTreeSet<Address>,
}

impl Replacing {
    pub(super) fn of(diff: &Diff) -> Self {
        let replaced: BTreeSet<Address> = diff
            .resources
            .values()
            .filter(|r| matches!(r.verdict, Verdict::Change { replace: true, .. }) && r.desired.is_some())
            .map(|r| r.address.clone())
            .collect();
        // A part must be deleted before its whole is, and created after it.
        let is_part = |r: &&ResourceDiff| references(r, diff).any(|r| r.part && replaced.contains(&r.to));
        let parts = diff.resources.values().filter(is_part).filter(|r| r.desired.is_some() && r.owned.is_some());
        let parts = parts.map(|r| r.address.clone()).collect();
        Self { replaced, parts }
    }
}

/// Resources that would have to be replaced and cannot be: they hold data, or the project did not create them.
pub(super) fn irreplaceable(diff: &Diff, kinds: &Kinds<'_>) -> Vec<PlanError> {
    let error = |resource: &ResourceDiff| {
        let Verdict::Change { replace: true, differences, adopt, .. } = &resource.verdict else { return None };
        let fields: Vec<&str> = differences.iter().map(|d| d.path.as_str()).collect();
        let (address, fields) = (resource.address.clone(), fields.join(", "));
        let physical_id = resource.desired.as_ref()?.physical_id.clone();
        match kinds.about(address.kind()).map(|about| about.on_loss) {
            Some(OnLoss::Irreplaceable) => Some(PlanError::Irreplaceable { address, physical_id, fields }),
            _ => adopt.then_some(PlanError::NotOurs { address, physical_id, fields }),
        }
    };
    diff.resources.values().filter_map(error).collect()
}

/// All references of a resource: the desired ones and the last applied ones.
fn references<'d>(resource: &'d ResourceDiff, diff: &'d Diff) -> impl Iterator<Item = &'d Reference> {
    let desired = resource.desired.iter().flat_map(|d| &d.references);
    desired.chain(known_references(resource, diff))
}

/// The last applied references of a resource and of its address's deposed objects.
pub(super) fn known_references<'d>(resource: &'d ResourceDiff, diff: &'d Diff) -> impl Iterator<Item = &'d Reference> {
    let owned = resource.owned.iter().flat_map(|o| &o.references);
    owned.chain(diff.deposed_at(&resource.address).flat_map(|deposed| &deposed.object.references))
}

/// The step that deletes a deposed object. Planning does not read the object; the last applied body is all that is
/// known.
pub(super) fn deposed(deposed: &DeposedDiff, diff: &Diff) -> Step {
    let DeposedDiff { address, key, object, now, released } = deposed;
    let desired = diff.resources.get(address).and_then(|r| r.desired.as_ref());
    let reason = match desired {
        Some(wanted) if *now => renamed(object, wanted),
        _ => Reason::StillDeposed { physical_id: object.physical_id.clone() },
    };
    let (before, expect) = (object.body.clone(), Expect::Unread { unique_id: object.unique_id.clone() });
    let removal = if *released { Removal::Release { before, expect } } else { Removal::Delete { before, expect } };
    let operation = Operation::Former { former: Former::Deposed(key.clone()), removal };
    Step {
        reasons: vec![reason],
        references: object.references.clone(),
        on_destroy: object.on_destroy,
        protect: object.protect,
        source: desired.and_then(|d| d.source.clone()),
        ..Step::new(address.clone(), operation, object.scope.clone(), &*object.physical_id)
    }
}

/// The reason for a step on a renamed or moved object.
fn renamed(before: &Owned, wanted: &crate::kind::Resource) -> Reason {
    if before.physical_id == wanted.physical_id {
        Reason::Moved { from: before.scope.clone() }
    } else {
        Reason::Renamed { from: before.physical_id.clone() }
    }
}

/// The steps of one resource.
///
/// # Errors
/// The reason why the resource cannot be planned.
pub(super) fn draft(
    resource: &ResourceDiff,
    diff: &Diff,
    replacing: &Replacing,
    kinds: &Kinds<'_>,
) -> Result<Drafted, PlanError> {
    let address = || resource.address.clone();
    let physical_id = || resource.place().map(|(_, id)| id.to_owned()).unwrap_or_default();
    let is_part = replacing.parts.contains(&resource.address);
    let one = |change: Change, reasons: Vec<Reason>| Ok(Drafted::Steps(step(resource, change, reasons)));
    match &resource.verdict {
        Verdict::Unreadable { why } => Err(PlanError::Unreadable { address: address(), why: why.clone() }),
        Verdict::Foreign { owner } => Err(PlanError::Foreign { address: address(), owner: owner.clone() }),
        Verdict::MaybeForeign => Err(PlanError::MaybeForeign { address: address(), physical_id: physical_id() }),
        Verdict::Another { known, found } => {
            let (physical_id, known, found) = (physical_id(), known.clone(), found.clone());
            Err(PlanError::Another { address: address(), physical_id, known, found })
        }
        Verdict::Keep | Verdict::Change { replace: false, .. } if is_part => {
            Ok(replacement(resource, Reason::WholeReplaced))
        }
        Verdict::Keep if references(resource, diff).any(|r| !r.part && replacing.replaced.contains(&r.to)) => {
            match rewritten(resource) {
                Some(change) => one(change, vec![Reason::ReferenceReplaced]),
                None => Ok(Drafted::Nothing),
            }
        }
        // A deposed object that the spec names again, in place of the object that is deposed now.
        Verdict::Keep if resource.deposes.is_some() => match adopted(resource) {
            Some(change) => one(change, vec![Reason::ExistsAsDesired]),
            None => Ok(Drafted::Nothing),
        },
        Verdict::Keep => Ok(Drafted::Unchanged(described_anew(resource))),
        Verdict::Create { removed_outside } => Ok(created(resource, diff, *removed_outside)),
        Verdict::Adopt => match adopted(resource) {
            Some(change) => one(change, vec![Reason::ExistsAsDesired]),
            None => Ok(Drafted::Nothing),
        },
        Verdict::Change { replace: true, differences, .. } => {
            let about = kinds.about(resource.address.kind());
            let is_fixed = |path: &FieldPath| about.is_none_or(|about| about.is(path.field(), Mutability::Fixed));
            let fields = differences.iter().map(|d| d.path.clone()).filter(is_fixed).collect();
            Ok(replacement(resource, Reason::Fixed { fields }))
        }
        Verdict::Change { before, differences, intent, drift, adopt, .. } => {
            let differs =
                Differs { before: before.clone(), changed: differences.iter().map(|d| d.path.clone()).collect() };
            Ok(changed(resource, differs, *adopt, (*intent, *drift)))
        }
        Verdict::Delete { before, adopted } => Ok(deleted(resource, before, *adopted)),
        Verdict::Forget { why, before } => Ok(forgotten(resource, why, before.as_ref())),
    }
}

/// The step that deletes an object, or releases one that predates the project.
fn deleted(resource: &ResourceDiff, before: &Document, adopted: bool) -> Drafted {
    let Some(found) = observed(resource, Some(before)) else { return Drafted::Nothing };
    let (before, expect) = (Some(before.clone()), Expect::Observed(found));
    let (removal, reasons) = if adopted {
        (Removal::Release { before, expect }, vec![Reason::RemovedFromSpec, Reason::ExistedBefore])
    } else {
        (Removal::Delete { before, expect }, vec![Reason::RemovedFromSpec])
    };
    Drafted::Steps(step(resource, Change::Remove(removal), reasons))
}

/// The step that removes an object from the state, and the ownership tags from the object if it has any.
fn forgotten(resource: &ResourceDiff, why: &NotDeleted, before: Option<&Document>) -> Drafted {
    let reason = match why {
        NotDeleted::Gone => Reason::Gone,
        NotDeleted::Taken => Reason::Taken,
        NotDeleted::OwnedByAnother => Reason::OwnedByAnother,
        NotDeleted::ManagedElsewhere => Reason::ManagedElsewhere,
        NotDeleted::Kept => Reason::Kept,
        NotDeleted::NewKey => Reason::NewKey,
    };
    let removal = match (before, observed(resource, before)) {
        (Some(before), Some(found)) => {
            Removal::Release { before: Some(before.clone()), expect: Expect::Observed(found) }
        }
        _ if *why == NotDeleted::Gone && resource.seen == Seen::Absent => Removal::Record { record: StateRecord::Gone },
        _ => Removal::Record { record: StateRecord::Forget },
    };
    Drafted::Steps(step(resource, Change::Remove(removal), vec![reason]))
}

/// The step about the object at an address. Empty if neither the spec nor the state names one.
fn step(resource: &ResourceDiff, change: Change, reasons: Vec<Reason>) -> Vec<Step> {
    on_object(resource, Operation::Current(change), reasons)
}

/// The step about an object of an address. Empty if neither the spec nor the state names one.
fn on_object(resource: &ResourceDiff, operation: Operation, reasons: Vec<Reason>) -> Vec<Step> {
    let (wanted, owned) = (resource.desired.as_ref().map(AsRef::as_ref), resource.owned.as_ref());
    let Some((scope, physical_id)) = resource.place() else { return Vec::new() };
    let references = wanted.map(|w| &w.references).or(owned.map(|o| &o.references));
    vec![Step {
        reasons,
        references: references.cloned().unwrap_or_default(),
        on_destroy: wanted.map(|w| w.on_destroy).or(owned.map(|o| o.on_destroy)).unwrap_or_default(),
        protect: wanted.map(|w| w.protect).or(owned.map(|o| o.protect)).unwrap_or_default(),
        source: wanted.and_then(|w| w.source.clone()),
        ..Step::new(resource.address.clone(), operation, scope.clone(), physical_id)
    }]
}

/// The observation of a resource. `ours` is the managed part of its body.
fn observed(resource: &ResourceDiff, ours: Option<&Document>) -> Option<Observation> {
    let Seen::Present { body, .. } = &resource.seen else { return None };
    Some(Observation { digest: body.digest(), whole: (ours != Some(body)).then(|| body.clone()) })
}

/// The draft for a resource that does not exist, or of which no managed part exists.
fn created(resource: &ResourceDiff, diff: &Diff, removed_outside: bool) -> Drafted {
    let Some(wanted) = &resource.desired else { return Drafted::Nothing };
    let replaced = diff.deposed_now(&resource.address);
    let reason = match replaced {
        Some(deposed) => renamed(&deposed.object, wanted),
        None if removed_outside => Reason::DeletedOutside,
        None => Reason::NewInSpec,
    };
    let replaces = replaced.map(|deposed| Former::Deposed(deposed.key.clone()));
    let (after, found, deposes) = (wanted.body.clone(), observed(resource, None), resource.deposes.clone());
    Drafted::Steps(step(resource, Change::Create { after, found, replaces, deposes }, vec![reason]))
}

/// The change that writes the same body again, so that it refers to the replacement.
fn rewritten(resource: &ResourceDiff) -> Option<Change> {
    let after = &resource.desired.as_ref()?.body;
    Some(Change::Update {
        before: after.clone(),
        after: after.clone(),
        changed: vec![FieldPath::default()],
        found: observed(resource, Some(after))?,
        adopted: resource.owned.as_ref().is_some_and(|o| o.adopted),
    })
}

/// The change that adopts a resource that is as desired.
fn adopted(resource: &ResourceDiff) -> Option<Change> {
    let after = resource.desired.as_ref()?.body.clone();
    // An interrupted adoption leaves our ownership tag on an object that the project did not create.
    let adopted = resource.owned.as_ref().map_or(!has_owner(resource), |owned| owned.adopted);
    let found = observed(resource, Some(&after))?;
    Some(Change::Adopt { after, differs: None, found, adopted, deposes: resource.deposes.clone() })
}

/// The step that updates a resource in place, or adopts and updates it.
fn changed(resource: &ResourceDiff, differs: Differs, adopt: bool, (intent, drift): (bool, bool)) -> Drafted {
    let Some(wanted) = &resource.desired else { return Drafted::Nothing };
    let Some(found) = observed(resource, Some(&differs.before)) else { return Drafted::Nothing };
    let after = wanted.body.clone();
    let was_adopted = resource.owned.as_ref().is_some_and(|o| o.adopted);
    if adopt || resource.deposes.is_some() {
        let (adopted, deposes) = (adopt || was_adopted, resource.deposes.clone());
        let change = Change::Adopt { after, differs: Some(differs), found, adopted, deposes };
        return Drafted::Steps(step(resource, change, vec![Reason::ExistsDifferently]));
    }
    let reasons = match (drift, intent) {
        (true, true) => vec![Reason::SpecChanged, Reason::ChangedOutside],
        (true, false) => vec![Reason::ChangedOutside],
        (false, _) => vec![Reason::SpecChanged],
    };
    let Differs { before, changed } = differs;
    let change = Change::Update { before, after, changed, found, adopted: was_adopted };
    Drafted::Steps(step(resource, change, reasons))
}

/// Whether a resource that is not in the state carries an ownership tag.
fn has_owner(resource: &ResourceDiff) -> bool {
    matches!(&resource.seen, Seen::Present { owner: Some(_), .. })
}

/// The two steps that delete an object and recreate it.
fn replacement(resource: &ResourceDiff, reason: Reason) -> Drafted {
    let Some(wanted) = &resource.desired else { return Drafted::Nothing };
    let (after, replaces) = (wanted.body.clone(), Some(Former::Replaced));
    let create = Change::Create { after, found: None, replaces, deposes: resource.deposes.clone() };
    let mut steps = step(resource, create, vec![reason.clone()]);
    let live = match &resource.seen {
        Seen::Present { body, .. } => Some(body),
        _ => None,
    };
    let owned = resource.owned.as_ref();
    if owned.is_some() || live.is_some() {
        let before = owned.map_or(live, |owned| owned.body.as_ref()).cloned();
        let unique_id = owned.and_then(|owned| owned.unique_id.clone());
        let expect = observed(resource, before.as_ref()).map_or(Expect::Unread { unique_id }, Expect::Observed);
        let delete = Operation::Former { former: Former::Replaced, removal: Removal::Delete { before, expect } };
        steps.extend(on_object(resource, delete, vec![reason]).into_iter().map(|step| Step {
            references: owned.map(|owned| owned.references.clone()).unwrap_or_default(),
            protect: step.protect || owned.is_some_and(|owned| owned.protect),
            ..step
        }));
    }
    Drafted::Steps(steps)
}

/// The new state entry of an unchanged object, if its description changed: its address, its dependencies, or a part of
/// it that is not managed.
fn described_anew(resource: &ResourceDiff) -> Option<Owned> {
    let (wanted, owned) = (&resource.desired.as_ref()?, resource.owned.as_ref()?);
    let anew = Owned {
        scope: wanted.scope.clone(),
        physical_id: wanted.physical_id.clone(),
        body: Some(wanted.body.clone()),
        fingerprint: resource.seen.fingerprint(),
        unique_id: resource.seen.unique_id(),
        references: wanted.references.clone(),
        on_destroy: wanted.on_destroy,
        protect: wanted.protect,
        adopted: owned.adopted,
    };
    (resource.moved_from.is_some() || anew != *owned).then_some(anew)
}
