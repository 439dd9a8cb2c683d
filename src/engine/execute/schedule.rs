//! Decides which steps may start: those whose dependencies are done, in the order of the plan, one at a time in each
//! serialization group.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::plan::{Plan, Step, StepId};

/// The steps of a plan by their progress.
pub(super) struct Schedule<'p> {
    steps: BTreeMap<&'p StepId, &'p Step>,
    /// The position of each step in the plan.
    places: BTreeMap<&'p StepId, usize>,
    /// The dependents of each step.
    following: BTreeMap<&'p StepId, Vec<&'p StepId>>,
    /// The steps that have not started, each with its open dependencies.
    waiting: BTreeMap<&'p StepId, BTreeSet<&'p StepId>>,
    /// The steps without open dependencies, by their position in the plan.
    ready: BTreeMap<usize, &'p Step>,
    /// The running steps, each with its serialization group.
    running: BTreeMap<&'p StepId, Option<String>>,
    created: BTreeSet<&'p Address>,
}

impl<'p> Schedule<'p> {
    /// Creates a schedule in which no step has started. Dependencies on steps outside the plan are treated as done.
    pub(super) fn of(plan: &'p Plan) -> Self {
        let steps: BTreeMap<&StepId, &Step> = plan.steps.iter().map(|s| (s.id(), s)).collect();
        let open = |step: &'p Step| step.waits_for.iter().filter(|w| steps.contains_key(w)).collect();
        let waiting: BTreeMap<&StepId, BTreeSet<&StepId>> = plan.steps.iter().map(|s| (s.id(), open(s))).collect();
        let mut following: BTreeMap<&StepId, Vec<&StepId>> = BTreeMap::new();
        for (id, dependencies) in &waiting {
            for before in dependencies {
                following.entry(before).or_default().push(id);
            }
        }
        let numbered = plan.steps.iter().enumerate();
        let ready = numbered.filter(|(_, s)| waiting.get(s.id()).is_some_and(BTreeSet::is_empty)).collect();
        let places = plan.steps.iter().map(Step::id).zip(0..).collect();
        Self { steps, places, following, waiting, ready, running: BTreeMap::new(), created: BTreeSet::new() }
    }

    /// Starts the first step that may start, if any. `group` returns the serialization group of a step.
    pub(super) fn start(&mut self, group: impl Fn(&Step) -> Option<String>) -> Option<&'p Step> {
        let (place, group) = self.ready.iter().find_map(|(place, step)| {
            let group = group(step);
            let taken = group.is_some() && self.running.values().any(|other| *other == group);
            (!taken).then_some((*place, group))
        })?;
        let step = self.ready.remove(&place)?;
        self.waiting.remove(step.id());
        self.running.insert(step.id(), group);
        Some(step)
    }

    /// Whether a step creates a part of a resource that this run created, so that the part cannot have existed before.
    pub(super) fn is_fresh(&self, step: &Step) -> bool {
        step.creates() && step.references.iter().any(|r| r.part && self.created.contains(&r.to))
    }

    /// Records that a running step is done. Dependents without other open dependencies become ready.
    pub(super) fn done(&mut self, step: &'p Step) {
        self.running.remove(step.id());
        if step.creates() {
            self.created.insert(step.address());
        }
        for next in self.following.get(step.id()).into_iter().flatten() {
            let Some(open) = self.waiting.get_mut(next) else { continue };
            open.remove(step.id());
            if open.is_empty() {
                self.ready.extend(self.places.get(next).copied().zip(self.steps.get(next).copied()));
            }
        }
    }

    /// Records that a running step failed, and removes and returns every step that depends on it.
    pub(super) fn failed(&mut self, step: &'p Step) -> Vec<&'p Step> {
        self.running.remove(step.id());
        let (mut open, mut skipped) = (vec![step.id()], Vec::new());
        while let Some(id) = open.pop() {
            for next in self.following.get(id).into_iter().flatten() {
                if self.waiting.remove(next).is_some() {
                    skipped.extend(self.steps.get(next));
                    open.push(next);
                }
            }
        }
        skipped
    }

    /// Returns the steps that are still running and those that never started.
    pub(super) fn unfinished(self) -> (Vec<&'p Step>, Vec<&'p Step>) {
        let steps = &self.steps;
        let step = |id: &StepId| steps.get(id).copied();
        let running = self.running.into_keys().filter_map(step).collect();
        (running, self.waiting.into_keys().filter_map(step).collect())
    }
}
