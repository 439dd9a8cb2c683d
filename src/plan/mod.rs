//! The ordered, explained, self-contained list of steps.

mod effect;
mod file;
mod guard;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize, Serializer};

pub use effect::Bodies;
pub use file::{PLAN_FILE_FORMAT, PlanFile, PlanFileError};
pub use guard::{Guard, Refusal, guard};

use crate::access::Instance;
use crate::address::{Address, Scope};
use crate::diagnostic::SourceRef;
use crate::diff::{Diff, ResourceDiff, Verdict};
use crate::document::{Digest, Document, FieldPath};
use crate::graph::Graph;
use crate::iam::Principal;
use crate::kind::{Kinds, OnLoss, Reference};
use crate::spec::OnDestroy;
use crate::state::{Owned, State};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// Makes it.
    Create,
    /// Changes it in place.
    Update,
    /// Makes it anew: one step deletes, another creates.
    Replace,
    /// Deletes it, or our part of it.
    Delete,
    /// Takes what exists into the state, changing it where it differs.
    Adopt,
    /// Takes it out of the state and leaves it.
    Forget,
}

impl std::fmt::Display for ActionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::Adopt => "adopt",
            Self::Forget => "forget",
        })
    }
}

/// The half of a replacement that a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The old one goes.
    Delete,
    /// The new one comes.
    Create,
}

/// The name of a step: an address, and for a replacement which half of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepName {
    /// What it is about.
    pub address: Address,
    /// Which half of a replacement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
}

/// One step.
#[expect(clippy::struct_excessive_bools, reason = "plan format 1.0 has each of them as a field")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    #[serde(flatten)]
    pub name: StepName,
    /// What it does.
    pub action: ActionKind,
    /// Why, in words.
    pub reason: String,
    /// Where it is done.
    pub scope: Scope,
    /// The name by which its API knows the thing.
    pub physical_id: String,
    /// What it is, as far as it is ours to judge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Document>,
    /// What it shall be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Document>,
    /// The paths that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<FieldPath>,
    /// The steps that must be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<StepName>,
    /// The digest of all that was seen, other people's parts included; absent if it did not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// All that was seen, if that is more than what is ours: what moves later is told by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Document>,
    /// The id by which the state knows what is not looked at before the step is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// Whether the thing existed before it was managed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Whether it is about what the address named before, and not about what it names now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
    /// Whether it goes before the new one comes, so that the address names nothing meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// What the address named before and is still to go, for the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Box<Owned>>,
    /// What the thing depends on, for the state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What happens when it is no longer desired, for the state.
    #[serde(default)]
    pub on_destroy: OnDestroy,
    /// Whether it is protected, for the state and the guard.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// Where the spec asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRef>,
}

impl Step {
    /// Whether the step calls an API. The others only change the state.
    #[must_use]
    pub fn writes(&self) -> bool {
        match self.action {
            // What stays loses our marks.
            ActionKind::Forget => self.before.is_some(),
            ActionKind::Adopt => !self.changed.is_empty(),
            _ => true,
        }
    }

    /// Whether the step takes something away.
    #[must_use]
    pub fn deletes(&self) -> bool {
        self.action == ActionKind::Delete
            || (self.action == ActionKind::Replace && self.name.phase == Some(Phase::Delete))
    }

    /// What will be owned once the step is done.
    #[must_use]
    pub fn owned(&self, fingerprint: Option<Digest>) -> Option<Owned> {
        if self.deletes() || self.action == ActionKind::Forget {
            return None;
        }
        Some(Owned {
            scope: self.scope.clone(),
            physical_id: self.physical_id.clone(),
            adopted: self.adopted,
            body: self.after.clone(),
            fingerprint,
            unique_id: None,
            references: self.references.clone(),
            on_destroy: self.on_destroy,
            protect: self.protect,
            former: self.former.clone(),
        })
    }
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// Things to be made.
    pub create: usize,
    /// Things to be changed in place.
    pub update: usize,
    /// Things to be made anew.
    pub replace: usize,
    /// Things to be deleted.
    pub delete: usize,
    /// Things that exist and become ours.
    pub adopt: usize,
    /// Things that are no longer ours.
    pub forget: usize,
    /// Things that stay as they are.
    pub unchanged: usize,
}

/// What apply will do, in an order in which every step comes after those that it waits for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The project.
    pub project: String,
    /// The digest of the spec that it was made from.
    pub spec_digest: Option<Digest>,
    /// The lineage and serial of the state that it was made from.
    pub state: (String, u64),
    /// The steps.
    pub steps: Vec<Step>,
    /// How many of what.
    pub summary: Summary,
    /// What stays as it is, but is described anew in the state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refreshed: BTreeMap<Address, Owned>,
    /// What is left out because a cluster does not answer, and why: the plan is partial if there is any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<Address, String>,
}

/// Steps without their places in the spec.
struct Unplaced<'a>(&'a [Step]);

impl Serialize for Unplaced<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|step| Step { source: None, ..step.clone() }))
    }
}

/// Why no plan could be made. All reasons of a run are told together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Something could not be looked at.
    #[error("{address}: {why}")]
    Unreadable {
        /// What.
        address: Address,
        /// Why.
        why: String,
    },
    /// Another project owns it.
    #[error("{address} exists and belongs to project `{owner}` (tag bailiwick:project)")]
    Foreign {
        /// What.
        address: Address,
        /// Whose.
        owner: String,
    },
    /// Somebody pointed its alias at another thing.
    #[error(
        "{address}: `{physical_id}` points to `{found}` now, and what is ours is `{known}`: nothing is written to `{found}`. Point `{physical_id}` back to `{known}`; or, if `{found}` shall be managed from now on, let go of `{known}` with `bailiwick state rm {address}`, so that the next plan adopts `{found}`"
    )]
    Another {
        /// What.
        address: Address,
        /// The alias.
        physical_id: String,
        /// The id of ours.
        known: String,
        /// The id of the other.
        found: String,
    },
    /// A thing that is never replaced would have to be.
    #[error(
        "{address} cannot be replaced: {fields} of `{physical_id}` cannot be changed, and what it holds would be lost"
    )]
    Irreplaceable {
        /// What.
        address: Address,
        /// Its name.
        physical_id: String,
        /// What differs.
        fields: String,
    },
    /// What somebody else made would have to go to make room.
    #[error(
        "{address} cannot be adopted: `{physical_id}` exists, is not ours, and differs from the spec in what cannot be changed ({fields}): make the spec agree with it, or choose another name"
    )]
    NotOurs {
        /// What.
        address: Address,
        /// Its name.
        physical_id: String,
        /// What differs.
        fields: String,
    },
    /// Steps wait for each other.
    #[error("these wait for each other in a circle: {0}")]
    Cycle(String),
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The digest of what would be done: the same for the same spec, state and world, wherever the spec's lines stand.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // The lineage of a project that was never applied is made up anew in every run.
        let all = (&self.project, &self.spec_digest, self.state.1, Unplaced(&self.steps), &self.refreshed);
        // Every part has a JSON form.
        Digest::of_value(&all).unwrap_or_else(|_| Digest::of(&[]))
    }

    /// Keeps the steps about `targets` and all that they wait for.
    #[must_use]
    pub fn targeted(mut self, targets: &BTreeSet<Address>) -> Self {
        if targets.is_empty() {
            return self;
        }
        let waits: BTreeMap<&StepName, &[StepName]> =
            self.steps.iter().map(|s| (&s.name, s.waits_for.as_slice())).collect();
        let mut kept: BTreeSet<StepName> = BTreeSet::new();
        let mut open: Vec<StepName> =
            self.steps.iter().filter(|s| targets.contains(&s.name.address)).map(|s| s.name.clone()).collect();
        while let Some(name) = open.pop() {
            if !kept.insert(name.clone()) {
                continue;
            }
            open.extend(waits.get(&name).into_iter().flat_map(|w| w.iter().cloned()));
            // Half a replacement would leave nothing behind.
            open.extend(
                [Phase::Delete, Phase::Create]
                    .into_iter()
                    .filter(|_| name.phase.is_some())
                    .map(|phase| StepName { address: name.address.clone(), phase: Some(phase) }),
            );
        }
        self.steps.retain(|s| kept.contains(&s.name));
        self.summary = summary(&self.steps, self.summary.unchanged);
        self.refreshed.clear();
        self
    }
}

/// Turns a diff into steps.
///
/// # Errors
/// Everything that stands in the way: what could not be looked at, what belongs to others, circles.
pub fn build(
    diff: &Diff,
    state: &State,
    spec_digest: Option<Digest>,
    kinds: &Kinds<'_>,
) -> Result<Plan, Vec<PlanError>> {
    let mut errors = Vec::new();
    // In the order of their names, as the diff is.
    let mut drafts: Vec<Step> = Vec::new();
    let mut refreshed = BTreeMap::new();
    let mut left_out = BTreeMap::new();
    let mut unchanged = 0;
    let mut replaced: BTreeSet<Address> = BTreeSet::new();
    for resource in diff.resources.values() {
        if let (Verdict::Change { replace: true, differences, adopt, .. }, Some(wanted)) =
            (&resource.verdict, &resource.desired)
        {
            let fields: Vec<&str> = differences.iter().map(|d| d.path.as_str()).collect();
            let (address, fields) = (resource.address.clone(), fields.join(", "));
            let physical_id = wanted.wish.physical_id.clone();
            let on_loss = kinds.about(address.kind()).map(|about| about.on_loss);
            if on_loss == Some(OnLoss::Irreplaceable) {
                errors.push(PlanError::Irreplaceable { address, physical_id, fields });
            } else if *adopt {
                errors.push(PlanError::NotOurs { address, physical_id, fields });
            }
            replaced.insert(resource.address.clone());
        }
    }
    // A part cannot outlive what it is a part of, if that is deleted before it is made anew.
    let mut parts: BTreeSet<Address> = BTreeSet::new();
    for resource in diff.resources.values() {
        let part_of_replaced = references(resource).any(|r| r.part && replaced.contains(&r.to));
        if part_of_replaced && resource.desired.is_some() && resource.owned.is_some() {
            parts.insert(resource.address.clone());
        }
    }
    for resource in diff.resources.values() {
        let mut steps = Vec::new();
        match draft(resource, &replaced, &parts) {
            Ok(Drafted::Steps(own)) => steps = own,
            Ok(Drafted::Unchanged(owned)) => {
                unchanged += 1;
                if let Some(owned) = owned {
                    refreshed.insert(resource.address.clone(), owned);
                }
            }
            Ok(Drafted::Nothing) => {}
            Err(PlanError::Unreadable { address, why }) if is_unreachable(resource) => {
                left_out.insert(address, why);
            }
            Err(error) => errors.push(error),
        }
        if let Some(former) = superseded(resource).filter(|former| steps.iter().all(|s| s.name != former.name)) {
            steps.push(former);
        }
        steps.sort_by(|a, b| a.name.cmp(&b.name));
        drafts.append(&mut steps);
    }
    let mut first = BTreeSet::new();
    let (graph, order) = loop {
        let graph = order(diff, &drafts, &first);
        let circle = match graph.order() {
            Ok(order) => break (graph, order),
            Err(circle) => circle.0.into_iter().filter_map(|place| drafts.get(place)).map(|step| &step.name.address),
        };
        let circle: Vec<&Address> = circle.collect();
        // A new one that waits for the old one to go, by whatever way, cannot come first.
        let known = first.len();
        first.extend(circle.iter().filter(|address| is_renamed_at(diff, address)).copied().cloned());
        if first.len() == known {
            let path: Vec<String> = circle.iter().map(ToString::to_string).collect();
            errors.push(PlanError::Cycle(path.join(" -> ")));
            break (graph, Vec::new());
        }
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let former_ids = former_ids(state);
    for step in drafts.iter_mut().filter(|s| !s.superseded) {
        if let Some(crate::snapshot::Seen::Present { body, .. }) =
            diff.resources.get(&step.name.address).map(|r| &r.seen)
            && step.fingerprint.is_some()
            && step.before.as_ref() != Some(body)
        {
            step.seen = Some(body.clone());
        }
        if let Some(told) = orphans(step, &former_ids, kinds) {
            step.reason = format!("{}: {told}", step.reason);
        }
    }
    for step in drafts.iter_mut().filter(|s| first.contains(&s.name.address)) {
        step.first = step.superseded;
        step.former = step.former.take().and_then(|former| former.former);
    }
    let named = |place: usize| drafts.get(place).map(|step| step.name.clone());
    let waits: Vec<Vec<StepName>> =
        (0..drafts.len()).map(|place| graph.before(place).into_iter().filter_map(named).collect()).collect();
    for (step, waits) in drafts.iter_mut().zip(waits) {
        step.waits_for = waits;
    }
    let steps = without_left_out(in_order(drafts, &order), diff, &mut left_out);
    Ok(Plan {
        project: state.project.clone(),
        spec_digest,
        state: (state.lineage.0.clone(), state.serial),
        summary: summary(&steps, unchanged),
        steps,
        refreshed,
        left_out,
    })
}

fn summary(steps: &[Step], unchanged: usize) -> Summary {
    let mut summary = Summary { unchanged, ..Summary::default() };
    for step in steps {
        match step.action {
            ActionKind::Create => summary.create += 1,
            ActionKind::Update => summary.update += 1,
            // A replacement is counted once, by its second half.
            ActionKind::Replace => summary.replace += usize::from(step.name.phase == Some(Phase::Create)),
            ActionKind::Delete => summary.delete += 1,
            ActionKind::Adopt => summary.adopt += 1,
            ActionKind::Forget => summary.forget += 1,
        }
    }
    summary
}

enum Drafted {
    Steps(Vec<Step>),
    Unchanged(Option<Owned>),
    Nothing,
}

/// All references of a thing: those that are wanted, and those that it had when it was last applied.
fn references(resource: &ResourceDiff) -> impl Iterator<Item = &Reference> {
    let wanted = resource.desired.iter().flat_map(|d| &d.wish.references);
    wanted.chain(known_references(resource))
}

/// The references that a thing, and what its address named before, had when they were last applied.
fn known_references(resource: &ResourceDiff) -> impl Iterator<Item = &Reference> {
    let owned = resource.owned.iter().flat_map(|o| &o.references);
    owned.chain(resource.former.iter().flat_map(|f| &f.owned.references))
}

/// Whether a new thing takes the place of another under the same address.
fn is_renamed(resource: &ResourceDiff) -> bool {
    matches!(resource.verdict, Verdict::Create { .. }) && resource.former.as_ref().is_some_and(|f| f.now)
}

fn is_renamed_at(diff: &Diff, address: &Address) -> bool {
    diff.resources.get(address).and_then(|r| r.former.as_ref()).is_some_and(|f| f.now)
}

/// The step that takes away what an address named before. It is not looked at before the step is done: what was applied
/// last is what is known of it.
fn superseded(resource: &ResourceDiff) -> Option<Step> {
    let former = resource.former.as_ref()?;
    let owned = &former.owned;
    let reason = if is_renamed(resource) {
        renamed(resource).unwrap_or_default()
    } else {
        format!("{} took the place of `{}`, which is still to go", resource.address, owned.physical_id)
    };
    Some(Step {
        name: StepName { address: resource.address.clone(), phase: Some(Phase::Delete) },
        action: match (former.released, is_renamed(resource)) {
            (true, _) => ActionKind::Forget,
            (false, true) => ActionKind::Replace,
            (false, false) => ActionKind::Delete,
        },
        reason,
        scope: owned.scope.clone(),
        physical_id: owned.physical_id.clone(),
        before: owned.body.clone(),
        after: None,
        changed: Vec::new(),
        waits_for: Vec::new(),
        fingerprint: None,
        seen: None,
        unique_id: owned.unique_id.clone(),
        adopted: former.released,
        superseded: true,
        first: false,
        former: None,
        references: owned.references.clone(),
        on_destroy: owned.on_destroy,
        protect: owned.protect,
        source: resource.desired.as_ref().and_then(|d| d.wish.source.clone()),
    })
}

/// How a thing differs from what its address named before.
fn renamed(resource: &ResourceDiff) -> Option<String> {
    let (former, wanted) = (&resource.former.as_ref()?.owned, &resource.desired.as_ref()?.wish);
    Some(if former.physical_id == wanted.physical_id {
        format!("it moved here from {}", former.scope)
    } else {
        format!("its name changed: it was `{}`", former.physical_id)
    })
}

fn draft(
    resource: &ResourceDiff,
    replaced: &BTreeSet<Address>,
    parts: &BTreeSet<Address>,
) -> Result<Drafted, PlanError> {
    let name = |phase| StepName { address: resource.address.clone(), phase };
    let wish = resource.desired.as_ref().map(|d| &d.wish);
    let base = |action, reason: String, phase| {
        let owned = resource.owned.as_ref();
        Some(Step {
            name: name(phase),
            action,
            reason,
            scope: wish.map(|w| &w.scope).or(owned.map(|o| &o.scope))?.clone(),
            physical_id: wish.map(|w| &w.physical_id).or(owned.map(|o| &o.physical_id))?.clone(),
            before: None,
            after: wish.map(|w| w.body.clone()),
            changed: Vec::new(),
            waits_for: Vec::new(),
            fingerprint: resource.seen.fingerprint(),
            seen: None,
            unique_id: None,
            adopted: owned.is_some_and(|o| o.adopted),
            superseded: false,
            first: false,
            former: match &resource.former {
                Some(former) if former.now => Some(Box::new(former.owned.clone())),
                _ => owned.and_then(|o| o.former.clone()),
            },
            references: wish.map(|w| w.references.clone()).unwrap_or_default(),
            on_destroy: wish.map(|w| w.on_destroy).or(owned.map(|o| o.on_destroy)).unwrap_or_default(),
            protect: wish.is_some_and(|w| w.protect) || (wish.is_none() && owned.is_some_and(|o| o.protect)),
            source: wish.and_then(|w| w.source.clone()),
        })
    };
    let one = |step: Option<Step>| Ok(step.map_or(Drafted::Nothing, |s| Drafted::Steps(vec![s])));
    match &resource.verdict {
        Verdict::Unreadable { why } => {
            Err(PlanError::Unreadable { address: resource.address.clone(), why: why.clone() })
        }
        Verdict::Foreign { owner } => {
            Err(PlanError::Foreign { address: resource.address.clone(), owner: owner.clone() })
        }
        Verdict::Another { known, found } => {
            let physical_id = wish.map(|w| &w.physical_id).or(resource.owned.as_ref().map(|o| &o.physical_id));
            Err(PlanError::Another {
                address: resource.address.clone(),
                physical_id: physical_id.cloned().unwrap_or_default(),
                known: known.clone(),
                found: found.clone(),
            })
        }
        Verdict::Keep if parts.contains(&resource.address) => {
            Ok(one_replacement(resource, base, "it is a part of what is made anew".into()))
        }
        Verdict::Keep if references(resource).any(|r| !r.part && replaced.contains(&r.to)) => {
            let reason = "what it names is made anew".to_owned();
            one(base(ActionKind::Update, reason, None).map(|mut step| {
                step.before.clone_from(&step.after);
                step.changed = vec![FieldPath::default()];
                step
            }))
        }
        Verdict::Keep => Ok(Drafted::Unchanged(described_anew(resource))),
        Verdict::Create { .. } if is_renamed(resource) => {
            let reason = renamed(resource).unwrap_or_default();
            one(base(ActionKind::Replace, reason, Some(Phase::Create)).map(|s| Step { adopted: false, ..s }))
        }
        Verdict::Create { removed_outside } => {
            let reason = if *removed_outside { "it was removed outside" } else { "the spec asks for it" };
            one(base(ActionKind::Create, reason.into(), None).map(|s| Step { adopted: false, ..s }))
        }
        Verdict::Adopt => {
            one(base(ActionKind::Adopt, "it exists already, as the spec asks for it".into(), None).map(|mut s| {
                // A run that was cut off while it adopted has left our mark on what is somebody else's.
                s.adopted = resource.owned.as_ref().map_or(!ours(resource), |owned| owned.adopted);
                s.before.clone_from(&s.after);
                s
            }))
        }
        Verdict::Change { replace: true, differences, .. } => {
            let fields: Vec<&str> = differences.iter().map(|d| d.path.as_str()).collect();
            let reason = if fields.is_empty() {
                "its name changed".to_owned()
            } else {
                format!("{} cannot be changed in place", fields.join(", "))
            };
            Ok(one_replacement(resource, base, reason))
        }
        Verdict::Change { .. } if parts.contains(&resource.address) => {
            Ok(one_replacement(resource, base, "it is a part of what is made anew".into()))
        }
        Verdict::Change { before, differences, intent, drift, adopt, .. } => {
            let reason = match (adopt, drift, intent) {
                (true, ..) => "it exists already and differs from the spec",
                (_, true, true) => "the spec changed, and it was changed outside",
                (_, true, false) => "it was changed outside",
                _ => "the spec changed",
            };
            let action = if *adopt { ActionKind::Adopt } else { ActionKind::Update };
            one(base(action, reason.into(), None).map(|mut step| {
                step.before = Some(before.clone());
                step.changed = differences.iter().map(|d| d.path.clone()).collect();
                step.adopted |= *adopt;
                step
            }))
        }
        Verdict::Delete { before, adopted } => {
            let reason = if *adopted {
                "the spec no longer asks for it; it existed before, so only our marks go"
            } else {
                "the spec no longer asks for it"
            };
            one(base(ActionKind::Delete, reason.into(), None).map(|mut step| {
                step.before = Some(before.clone());
                step.adopted = *adopted;
                step
            }))
        }
        Verdict::Forget { why, before } => one(base(ActionKind::Forget, (*why).into(), None).map(|s| Step {
            after: None,
            before: before.clone(),
            ..s
        })),
    }
}

/// Whether nobody answers where a thing lives. An account that does not answer stops everything; a cluster only what is in it.
fn is_unreachable(resource: &ResourceDiff) -> bool {
    let scope = resource.desired.as_ref().map(|d| &d.wish.scope).or(resource.owned.as_ref().map(|o| &o.scope));
    scope.is_some_and(|scope| scope.as_cluster().is_some())
        && matches!(resource.seen, crate::snapshot::Seen::Unreadable { unreachable: true, .. })
}

/// The steps that neither need what is left out nor take away what that still needs.
fn without_left_out(steps: Vec<Step>, diff: &Diff, left_out: &mut BTreeMap<Address, String>) -> Vec<Step> {
    if left_out.is_empty() {
        return steps;
    }
    let needed: BTreeMap<&Address, &Address> = diff
        .resources
        .values()
        .filter(|r| left_out.contains_key(&r.address))
        .flat_map(|r| known_references(r).map(move |reference| (&reference.to, &r.address)))
        .collect();
    let mut dropped: BTreeMap<StepName, Address> = BTreeMap::new();
    for step in &steps {
        let needs = step.references.iter().map(|r| &r.to).find(|to| left_out.contains_key(*to));
        let user = needed.get(&step.name.address).filter(|_| step.deletes() || step.action == ActionKind::Forget);
        let behind = step.waits_for.iter().find_map(|name| dropped.get(name));
        if let Some(because) = needs.or(user.copied()).or(behind).cloned() {
            dropped.insert(step.name.clone(), because);
        }
    }
    for (name, because) in &dropped {
        left_out.entry(name.address.clone()).or_insert_with(|| format!("it depends on {because}"));
    }
    steps.into_iter().filter(|step| !dropped.contains_key(&step.name)).collect()
}

/// The addresses of what has a unique id, as the state knows it.
fn former_ids(state: &State) -> BTreeMap<&str, &Address> {
    state.resources.iter().filter_map(|(address, owned)| Some((owned.unique_id.as_deref()?, address))).collect()
}

/// The ids of roles that are gone, which a policy shows in the place of their ARNs and which a step takes out.
///
/// Source: IAM User Guide, "AWS JSON policy elements: Principal", role principals.
fn orphans(step: &Step, known: &BTreeMap<&str, &Address>, kinds: &Kinds<'_>) -> Option<String> {
    // Most documents name nobody by an id, and few texts look as if they did.
    if !step.before.as_ref().is_some_and(|before| Principal::ID_PREFIXES.iter().any(|p| before.as_str().contains(p))) {
        return None;
    }
    let named = |body: &Option<Document>| {
        let object = body.as_ref().map(|body| Instance { scope: &step.scope, physical_id: &step.physical_id, body });
        object.into_iter().flat_map(|object| kinds.facet(step.name.address.kind(), object).names()).collect()
    };
    let (before, after): (BTreeSet<Principal>, BTreeSet<Principal>) = (named(&step.before), named(&step.after));
    let told: Vec<String> = before
        .difference(&after)
        .filter(|principal| principal.is_orphan_id())
        .map(|principal| match known.get(principal.entry().1) {
            Some(address) => format!("`{}`, which was {address} before it was made anew", principal.entry().1),
            None => format!("`{}`, a role or user that is gone", principal.entry().1),
        })
        .collect();
    (!told.is_empty()).then(|| format!("it names {}", told.join(" and ")))
}

/// Whether a thing that is not in the state carries our mark all the same.
fn ours(resource: &ResourceDiff) -> bool {
    matches!(&resource.seen, crate::snapshot::Seen::Present { owner: Some(_), .. })
}

fn one_replacement(
    resource: &ResourceDiff,
    base: impl Fn(ActionKind, String, Option<Phase>) -> Option<Step>,
    reason: String,
) -> Drafted {
    let mut steps = Vec::new();
    if let Some(owned) = &resource.owned
        && let Some(step) = base(ActionKind::Replace, reason.clone(), Some(Phase::Delete))
    {
        steps.push(Step {
            before: owned.body.clone(),
            after: None,
            references: owned.references.clone(),
            protect: owned.protect || step.protect,
            ..step
        });
    } else if let crate::snapshot::Seen::Present { body, .. } = &resource.seen
        && let Some(step) = base(ActionKind::Replace, reason.clone(), Some(Phase::Delete))
    {
        steps.push(Step { before: Some(body.clone()), after: None, ..step });
    }
    if let Some(step) = base(ActionKind::Replace, reason, Some(Phase::Create)) {
        steps.push(Step { adopted: false, fingerprint: None, ..step });
    }
    Drafted::Steps(steps)
}

/// The state's entry for a thing that stays, if it is described differently now: under another address, with other
/// dependencies, or after somebody changed a part of it that is not ours.
fn described_anew(resource: &ResourceDiff) -> Option<Owned> {
    let (wish, owned) = (&resource.desired.as_ref()?.wish, resource.owned.as_ref()?);
    let anew = Owned {
        scope: wish.scope.clone(),
        physical_id: wish.physical_id.clone(),
        body: Some(wish.body.clone()),
        fingerprint: resource.seen.fingerprint(),
        unique_id: resource.seen.unique_id(),
        references: wish.references.clone(),
        on_destroy: wish.on_destroy,
        protect: wish.protect,
        adopted: owned.adopted,
        former: owned.former.clone(),
    };
    (resource.moved_from.is_some() || anew != *owned).then_some(anew)
}

/// The same things in another order, which names the place of each. They are moved in place: steps are large.
fn in_order<T>(mut things: Vec<T>, order: &[usize]) -> Vec<T> {
    let mut goes_to = vec![0; things.len()];
    for (to, place) in order.iter().enumerate() {
        if let Some(goes) = goes_to.get_mut(*place) {
            *goes = to;
        }
    }
    for place in 0..goes_to.len() {
        while let Some(to) = goes_to.get(place).copied().filter(|to| *to != place && *to < things.len()) {
            things.swap(place, to);
            goes_to.swap(place, to);
        }
    }
    things
}

/// The order of steps, which stand in the order of their names.
///
/// Making follows references; taking away follows them backwards; what is rewritten because it no longer names a thing
/// comes before that thing goes.
///
/// A new thing under another name comes before the old one goes, unless its address is among those of which the old one
/// goes `first`.
fn order(diff: &Diff, steps: &[Step], first: &BTreeSet<Address>) -> Graph {
    let mut graph = Graph::new(steps.len());
    let mut places: HashMap<&Address, Vec<usize>> = HashMap::with_capacity(steps.len());
    for (place, step) in steps.iter().enumerate() {
        places.entry(&step.name.address).or_default().push(place);
    }
    let goes = |step: &Step| step.deletes() || step.action == ActionKind::Forget;
    let those = |address: &Address, which: &dyn Fn(&Step) -> bool| -> Vec<usize> {
        let own = places.get(address).into_iter().flatten().copied();
        own.filter(|place| steps.get(*place).is_some_and(which)).collect()
    };
    let makes = |address: &Address| those(address, &|s| s.name.phase != Some(Phase::Delete) && !goes(s));
    let takes = |address: &Address| those(address, &|s| s.name.phase != Some(Phase::Create) && goes(s));
    let phase = |place: usize| steps.get(place).and_then(|step| step.name.phase);
    for resource in diff.resources.values() {
        let address = &resource.address;
        for reference in resource.desired.iter().flat_map(|d| &d.wish.references) {
            for first in makes(&reference.to) {
                for then in makes(address) {
                    graph.edge(first, then);
                }
            }
        }
        // The state knows a thing under its new key before it forgets the old one.
        for old in resource.moved_from.iter().flat_map(&takes) {
            for new in makes(address) {
                graph.edge(new, old);
            }
        }
        let old = those(address, &|step| step.name.phase == Some(Phase::Delete));
        let goes_last = |resource: &ResourceDiff| resource.former.is_some() && !first.contains(&resource.address);
        if goes_last(resource) {
            // The new one has another name: it is made, and what depends on it follows, before the old one goes.
            for new in makes(address) {
                for old in &old {
                    graph.edge(new, *old);
                }
            }
            // The state tells of the old one only as long as it tells of the new one.
            for gone in takes(address).into_iter().filter(|gone| !old.contains(gone)) {
                for old in &old {
                    graph.edge(*old, gone);
                }
            }
        } else {
            for new in makes(address) {
                for old in &old {
                    graph.edge(*old, new);
                }
            }
        }
        for reference in known_references(resource) {
            for gone in takes(&reference.to) {
                for first in takes(address) {
                    graph.edge(first, gone);
                }
                let in_place = phase(gone) == Some(Phase::Delete)
                    && diff.resources.get(&reference.to).is_some_and(|r| !goes_last(r));
                if !in_place {
                    for first in makes(address).into_iter().filter(|place| phase(*place).is_none()) {
                        graph.edge(first, gone);
                    }
                }
            }
        }
    }
    graph
}

#[cfg(test)]
mod tests;
