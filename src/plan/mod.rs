//! Plans: ordered, explained, self-contained lists of steps.

mod changed;
mod draft;
mod effect;
mod file;
mod guard;
mod order;
mod reason;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

pub use changed::ChangedSince;
pub use effect::Bodies;
pub use file::{PLAN_FILE_FORMAT, PlanFile, PlanFileError, SHOWN_FORMAT, SavedReport, is_saved_plan, published};
pub use guard::{Guard, Refusal, guard};
pub use reason::Reason;
pub use step::{
    Change, Differs, Expect, Former, ObjectOperation, Observation, Operation, Removal, StateRecord, Step, StepId, Which,
};

pub use crate::state::ActionKind;

use crate::access::Instance;
use crate::address::Address;
use crate::diagnostic::Code;
use crate::diff::{Diff, ResourceDiff};
use crate::document::{Digest, Document};
use crate::iam::Principal;
use crate::kind::{Kinds, OnSilence};
use crate::snapshot::{ReadFailure, Seen};
use crate::state::{Owned, State};
use draft::{Drafted, Replacing};

/// The number of resources by action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// Resources to create.
    pub create: usize,
    /// Resources to update in place.
    pub update: usize,
    /// Resources to replace.
    pub replace: usize,
    /// Resources to delete.
    pub delete: usize,
    /// Resources to adopt.
    pub adopt: usize,
    /// Resources to release or to remove from the state.
    pub forget: usize,
    /// Unchanged resources.
    pub unchanged: usize,
}

/// The reason why a partial plan leaves a resource out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum LeftOut {
    /// Its cluster does not respond.
    Unreachable {
        /// The error of the request.
        why: String,
    },
    /// It depends on a resource that is left out, or such a resource depends on it.
    DependsOn {
        /// The resource.
        #[schemars(with = "String")]
        address: Address,
    },
}

/// The ordered list of steps. Every step comes after the steps that it depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The project.
    pub project: String,
    /// The digest of the spec from which the plan was made.
    pub spec_digest: Option<Digest>,
    /// The lineage and serial of the state from which the plan was made.
    pub state: (String, u64),
    /// The steps.
    pub steps: Vec<Step>,
    /// The number of resources by action.
    pub summary: Summary,
    /// Unchanged resources with a new entry in the state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refreshed: BTreeMap<Address, Owned>,
    /// The resources left out because their cluster does not respond. The plan is partial if this list is not empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<Address, LeftOut>,
}

/// Serializes steps without their places in the spec.
struct Unplaced<'a>(&'a [Step]);

impl Serialize for Unplaced<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|step| Step { source: None, ..step.clone() }))
    }
}

/// The reason why no plan can be made. A run reports all of them together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A resource could not be read.
    #[error("{address}: {why}")]
    Unreadable {
        /// The resource.
        address: Address,
        /// The reason.
        why: String,
    },
    /// Another project owns the resource.
    #[error("{address} exists and belongs to project `{owner}` (tag bailiwick:project)")]
    Foreign {
        /// The resource.
        address: Address,
        /// The name of that project.
        owner: String,
    },
    /// The resource is to be deleted, and nothing shows who owns it.
    #[error(
        "{address}: an interrupted run may have created `{physical_id}`, which carries no ownership tag of this project, \
         so that it may belong to others"
    )]
    MaybeForeign {
        /// The resource.
        address: Address,
        /// Its physical id.
        physical_id: String,
    },
    /// The resource's alias now points to another object.
    #[error(
        "{address}: `{physical_id}` now points to `{found}` instead of `{known}`, and Bailiwick writes nothing to `{found}`"
    )]
    Another {
        /// The resource.
        address: Address,
        /// The alias.
        physical_id: String,
        /// The id of the object that Bailiwick managed.
        known: String,
        /// The id of the object that was found.
        found: String,
    },
    /// The change needs a replacement, which this kind does not allow.
    #[error(
        "{address} cannot be replaced: {fields} of `{physical_id}` cannot be changed, and what it holds would be lost"
    )]
    Irreplaceable {
        /// The resource.
        address: Address,
        /// Its physical id.
        physical_id: String,
        /// The fields that differ.
        fields: String,
    },
    /// The project did not create the resource and would have to replace it.
    #[error(
        "{address} cannot be adopted: `{physical_id}` exists, is not managed by this project, and differs from the spec \
         in fields that cannot be changed ({fields})"
    )]
    NotOurs {
        /// The resource.
        address: Address,
        /// Its physical id.
        physical_id: String,
        /// The fields that differ.
        fields: String,
    },
    /// The steps depend on each other in a cycle.
    #[error("dependency cycle: {0}")]
    Cycle(String),
}

impl PlanError {
    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unreadable { .. } => Code::UnreadableResource,
            Self::Foreign { .. } => Code::OwnedByAnother,
            Self::MaybeForeign { .. } => Code::UnclearOwner,
            Self::Another { .. } => Code::MovedAlias,
            Self::Irreplaceable { .. } => Code::Irreplaceable,
            Self::NotOurs { .. } => Code::CannotAdopt,
            Self::Cycle(_) => Code::Cycle,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Unreadable { .. } => "fix these read errors, then run the command again".to_owned(),
            Self::Foreign { owner, .. } => {
                format!("choose another name in the spec, or release the resource in project `{owner}` first")
            }
            Self::MaybeForeign { address, physical_id } => format!(
                "delete `{physical_id}` yourself if it is yours, or run `bailiwick state rm {address}` if it is not"
            ),
            Self::Another { address, physical_id, known, found } => format!(
                "point `{physical_id}` back to `{known}`, or release `{known}` with `bailiwick state rm {address}`, so \
                 that the next plan adopts `{found}`"
            ),
            Self::Irreplaceable { fields, .. } => format!("change {fields} back in the spec"),
            Self::NotOurs { .. } => "change the spec to match it, or choose another name".to_owned(),
            Self::Cycle(_) => "remove one of the references".to_owned(),
        }
    }
}

impl Plan {
    /// Whether the plan has no steps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan digest. The same spec, state and live resources give the same digest, wherever the spec's entries are
    /// written.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Leave out the lineage: it is random in each run until the first apply.
        let all = (&self.project, &self.spec_digest, self.state.1, Unplaced(&self.steps), &self.refreshed);
        // Serializing these values cannot fail.
        Digest::of_value(&all).unwrap_or_else(|_| Digest::of(&[]))
    }

    /// Keeps the steps on `targets` and everything that they depend on.
    #[must_use]
    pub fn targeted(mut self, targets: &BTreeSet<Address>) -> Self {
        if targets.is_empty() {
            return self;
        }
        let waits: BTreeMap<&StepId, &[StepId]> = self.steps.iter().map(|s| (s.id(), s.waits_for.as_slice())).collect();
        // Half a replacement would only delete the resource.
        let halves: Vec<(&StepId, StepId)> = self.steps.iter().filter_map(|s| Some((s.id(), s.replaces()?))).collect();
        let mut kept: BTreeSet<StepId> = BTreeSet::new();
        let mut open: Vec<StepId> =
            self.steps.iter().filter(|s| targets.contains(s.address())).map(|s| s.id().clone()).collect();
        while let Some(id) = open.pop() {
            if !kept.insert(id.clone()) {
                continue;
            }
            open.extend(waits.get(&id).into_iter().flat_map(|w| w.iter().cloned()));
            let other = halves.iter().filter_map(|(new, old)| match (**new == id, *old == id) {
                (true, _) => Some(old.clone()),
                (_, true) => Some((*new).clone()),
                _ => None,
            });
            open.extend(other);
        }
        self.steps.retain(|s| kept.contains(s.id()));
        self.summary = summary(&self.steps, self.summary.unchanged);
        self.refreshed.clear();
        self
    }
}

/// Builds the plan from a diff.
///
/// # Errors
/// All reasons why no plan can be made: unreadable resources, resources of other owners, dependency cycles.
pub fn build(
    diff: &Diff,
    state: &State,
    spec_digest: Option<Digest>,
    kinds: &Kinds<'_>,
) -> Result<Plan, Vec<PlanError>> {
    let mut errors = draft::irreplaceable(diff, kinds);
    let replacing = Replacing::of(diff);
    let mut drafts: Vec<Step> = Vec::new();
    let (mut refreshed, mut left_out, mut unchanged) = (BTreeMap::new(), BTreeMap::new(), 0);
    for resource in diff.resources.values() {
        match draft::draft(resource, diff, &replacing, kinds) {
            Ok(Drafted::Steps(own)) => drafts.extend(own),
            Ok(Drafted::Unchanged(owned)) => {
                unchanged += 1;
                refreshed.extend(owned.map(|owned| (resource.address.clone(), owned)));
            }
            Ok(Drafted::Nothing) => {}
            Err(PlanError::Unreadable { address, why }) if is_unreachable(resource, kinds) => {
                left_out.insert(address, LeftOut::Unreachable { why });
            }
            Err(error) => errors.push(error),
        }
    }
    drafts.extend(diff.deposed.iter().map(|deposed| draft::deposed(deposed, diff)));
    drafts.sort_by(|a, b| a.id().cmp(b.id()));
    let ordered = order::order(diff, &mut drafts);
    let order = ordered.unwrap_or_else(|cycle| {
        errors.push(cycle);
        Vec::new()
    });
    if !errors.is_empty() {
        return Err(errors);
    }
    let former_ids = former_ids(state);
    for step in drafts.iter_mut().filter(|step| !step.is_unread()) {
        let gone = gone_principals(step, &former_ids, kinds);
        step.reasons.extend(gone);
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
    let replaced: BTreeSet<StepId> = steps.iter().filter_map(Step::replaces).collect();
    let mut summary = Summary { unchanged, ..Summary::default() };
    for step in steps {
        match step.action() {
            // Count a replacement once, by its creating step.
            ActionKind::Create if step.replaces().is_some() => summary.replace += 1,
            ActionKind::Create => summary.create += 1,
            ActionKind::Update => summary.update += 1,
            ActionKind::Delete => summary.delete += usize::from(!replaced.contains(step.id())),
            ActionKind::Adopt => summary.adopt += 1,
            ActionKind::Release | ActionKind::Record => summary.forget += 1,
        }
    }
    summary
}

/// Whether the resource is in a place that does not respond, and its kind can be left out of a plan for that.
fn is_unreachable(resource: &ResourceDiff, kinds: &Kinds<'_>) -> bool {
    kinds.about(resource.address.kind()).is_some_and(|about| about.on_silence == OnSilence::LeaveOut)
        && matches!(resource.seen, Seen::Unreadable { cause: ReadFailure::Unreachable, .. })
}

/// Drops the steps that depend on a resource left out, and those that delete something that such a resource still uses.
fn without_left_out(steps: Vec<Step>, diff: &Diff, left_out: &mut BTreeMap<Address, LeftOut>) -> Vec<Step> {
    if left_out.is_empty() {
        return steps;
    }
    let needed: BTreeMap<&Address, &Address> = diff
        .resources
        .values()
        .filter(|r| left_out.contains_key(&r.address))
        .flat_map(|r| draft::known_references(r, diff).map(move |reference| (&reference.to, &r.address)))
        .collect();
    let mut dropped: BTreeMap<StepId, Address> = BTreeMap::new();
    for step in &steps {
        let keeps = !step.lets_go() || step.id().which == Which::Former(Former::Replaced);
        let needs = step.references.iter().map(|r| &r.to).find(|to| keeps && left_out.contains_key(*to));
        let user = needed.get(step.address()).filter(|_| step.lets_go());
        let behind = step.waits_for.iter().find_map(|id| dropped.get(id));
        if let Some(because) = needs.or(user.copied()).or(behind).cloned() {
            dropped.insert(step.id().clone(), because);
        }
    }
    for (id, because) in &dropped {
        let depends = || LeftOut::DependsOn { address: because.clone() };
        left_out.entry(id.address.clone()).or_insert_with(depends);
    }
    steps.into_iter().filter(|step| !dropped.contains_key(step.id())).collect()
}

/// The addresses in the state by unique id.
fn former_ids(state: &State) -> BTreeMap<&str, &Address> {
    state.resources.iter().filter_map(|(address, owned)| Some((owned.unique_id.as_deref()?, address))).collect()
}

/// The ids of deleted principals that a step removes from a policy. IAM shows such an id in place of the principal's
/// ARN.
///
/// Source: IAM User Guide, "AWS JSON policy elements: Principal", role principals.
fn gone_principals(step: &Step, known: &BTreeMap<&str, &Address>, kinds: &Kinds<'_>) -> Vec<Reason> {
    // A cheap check first: most documents name no principal by id.
    let may_name = |before: &&Document| Principal::ID_PREFIXES.iter().any(|p| before.as_str().contains(p));
    let Some(before) = step.before().filter(may_name) else { return Vec::new() };
    let named = |body: &Document| -> BTreeSet<Principal> {
        let instance = Instance { scope: &step.scope, physical_id: &step.physical_id, body };
        kinds.facet(step.address().kind(), instance).names().into_iter().collect()
    };
    let (before, after) = (named(before), step.after().map(named).unwrap_or_default());
    let gone = before.difference(&after).filter(|principal| principal.is_orphan_id());
    gone.map(|principal| {
        let id = principal.entry().1;
        Reason::NamesGone { id: id.to_owned(), was: known.get(id).map(|address| (*address).clone()) }
    })
    .collect()
}

/// Reorders a list by the given indices. It swaps in place because steps are large.
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

#[cfg(test)]
pub(crate) mod tests;
