//! The order of steps.

use std::collections::{BTreeSet, HashMap};

use super::PlanError;
use super::draft::known_references;
use super::step::{Former, Step, StepId, Which};
use crate::address::Address;
use crate::diff::Diff;
use crate::graph::Graph;

/// Orders steps, which are sorted by id. Returns their indices in that order and records in each step what it depends
/// on.
///
/// Steps that create follow references; steps that delete follow them backwards. A step that removes a reference comes
/// before the deletion of its target. If an object is renamed, the new object is created before the old one is deleted,
/// unless it depends on that deletion; then the old object is deleted first.
///
/// # Errors
/// A cycle.
pub(super) fn order(diff: &Diff, drafts: &mut [Step]) -> Result<Vec<usize>, PlanError> {
    let mut first = BTreeSet::new();
    let (graph, order) = loop {
        let graph = graph(diff, drafts, &first);
        let cycle: Vec<&Address> = match graph.order() {
            Ok(order) => break (graph, order),
            Err(cycle) => cycle.0.into_iter().filter_map(|place| Some(drafts.get(place)?.address())).collect(),
        };
        let known = first.len();
        first.extend(cycle.iter().filter(|address| diff.deposed_now(address).is_some()).copied().cloned());
        if first.len() == known {
            let path: Vec<String> = cycle.iter().map(ToString::to_string).collect();
            return Err(PlanError::Cycle(path.join(" -> ")));
        }
    };
    for step in drafts.iter_mut().filter(|step| first.contains(step.address())) {
        if let Some(now) = diff.deposed_now(step.address()) {
            step.goes_in_place(&now.key);
        }
    }
    let ids: Vec<StepId> = drafts.iter().map(|step| step.id().clone()).collect();
    for (place, step) in drafts.iter_mut().enumerate() {
        step.waits_for = graph.before(place).into_iter().filter_map(|before| ids.get(before).cloned()).collect();
    }
    Ok(order)
}

/// The indices of steps, by address.
struct StepPlaces<'s> {
    steps: &'s [Step],
    by_address: HashMap<&'s Address, Vec<usize>>,
}

impl<'s> StepPlaces<'s> {
    fn of(steps: &'s [Step]) -> Self {
        let mut by_address: HashMap<&Address, Vec<usize>> = HashMap::with_capacity(steps.len());
        for (place, step) in steps.iter().enumerate() {
            by_address.entry(step.address()).or_default().push(place);
        }
        Self { steps, by_address }
    }

    fn those(&self, address: &Address, which: impl Fn(&Step) -> bool) -> Vec<usize> {
        let own = self.by_address.get(address).into_iter().flatten().copied();
        own.filter(|place| self.steps.get(*place).is_some_and(&which)).collect()
    }

    /// The steps after which the address names an object.
    fn makes(&self, address: &Address) -> Vec<usize> {
        self.those(address, |step| !step.lets_go())
    }

    /// The steps that remove an object from the address.
    fn takes(&self, address: &Address) -> Vec<usize> {
        self.those(address, Step::lets_go)
    }
}

fn graph(diff: &Diff, steps: &[Step], first: &BTreeSet<Address>) -> Graph {
    let mut graph = Graph::new(steps.len());
    let places = StepPlaces::of(steps);
    // Objects that are deleted before their address names a new one.
    let in_place = |step: &Step| {
        let address = step.address();
        let now = diff.deposed_now(address).map(|deposed| &deposed.key);
        step.id().which == Which::Former(Former::Replaced)
            || (now.is_some() && step.id().deposed() == now && first.contains(address))
    };
    let is_in_place = |place: usize| steps.get(place).is_some_and(in_place);
    for resource in diff.resources.values() {
        let address = &resource.address;
        for reference in resource.desired.iter().flat_map(|d| &d.references) {
            for first in places.makes(&reference.to) {
                for then in places.makes(address) {
                    graph.edge(first, then);
                }
            }
        }
        // The state must have the object under its new key before it drops the old one.
        for old in resource.moved_from.iter().flat_map(|from| places.takes(from)) {
            for new in places.makes(address) {
                graph.edge(new, old);
            }
        }
        for old in places.those(address, |step| step.id().which != Which::Current) {
            for new in places.makes(address) {
                // A renamed object and its dependents are created before the old object is deleted.
                let (before, after) = if is_in_place(old) { (old, new) } else { (new, old) };
                graph.edge(before, after);
            }
        }
        for reference in known_references(resource, diff) {
            for gone in places.takes(&reference.to) {
                if !is_in_place(gone) {
                    for first in places.those(address, |step| !step.lets_go() && step.replaces().is_none()) {
                        graph.edge(first, gone);
                    }
                }
            }
        }
    }
    // An object is removed before the objects that it refers to.
    for (first, step) in steps.iter().enumerate().filter(|(_, step)| step.lets_go()) {
        for reference in &step.references {
            for gone in places.takes(&reference.to) {
                graph.edge(first, gone);
            }
        }
    }
    graph
}
