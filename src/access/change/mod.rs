//! The difference of access between two worlds: who gains or loses which access to which data, computed on patterns.
//!
//! For every principal that can get credentials in either world, the access that both worlds give to each bucket, key
//! and role is subtracted as areas of actions and resources ([`crate::iam::reach()`]), never as samples. Conditions
//! that depend on the circumstances remain in the result. `s3:prefix` is an exception: it selects the keys that can be
//! listed, so list access is compared by the prefixes in the policies of both worlds.

mod changes;
mod elsewhere;
mod lists;
mod reaches;
mod resources;
mod rows;
mod side;

use std::collections::{BTreeMap, BTreeSet};

pub use rows::{AccessChange, Crossing, Direction, ExampleRequest, ExampleValue, Group};

use self::changes::{Changes, NewRow};
use self::side::{Side, Sides};
use super::cluster::ClusterAccess;
use super::terms::{PlaceKind, PolicyOf, PolicyRef};
use super::world::chains::AccessChain;
use super::world::{Who, World};
use crate::iam::{Policy, Principal, RegionChange, gains};

/// Lists every gain and loss of access between two worlds.
#[must_use]
pub fn diff(before: &World, after: &World) -> Vec<AccessChange> {
    if before == after {
        return Vec::new();
    }
    let mut changes = Changes::default();
    let mut everybody = before.everybody();
    everybody.extend(after.everybody());
    for who in &everybody {
        // The access of a role is reported for the service accounts that use it.
        let told_elsewhere = matches!(who, Who::Role(arn) if before.is_behind_pods(arn) || after.is_behind_pods(arn));
        // A role that only one world has is a mere name in the other.
        let is_role = |arn: &str| before.roles.contains_key(arn) || after.roles.contains_key(arn);
        let is_name_of_role = matches!(who, Who::Named(Principal::Aws(arn)) if is_role(arn));
        if !told_elsewhere && !is_name_of_role {
            changes.of(who, before, after);
        }
    }
    changes.clusters(before, after);
    changes.sorted()
}

/// Lists the access that a policy change adds or removes, wherever the policy is attached.
///
/// The access of a policy without principals is reported for any identity to which it is attached. The access of one
/// with principals is reported for each principal, assuming that the principal's own policies allow it.
#[must_use]
pub fn between_policies(before: &Policy, after: &Policy) -> Vec<AccessChange> {
    rows(&regions_between(before, after))
}

/// The regions that a policy change adds and removes.
#[must_use]
pub fn regions_between(before: &Policy, after: &Policy) -> [(Direction, Vec<RegionChange>); 2] {
    let given = PolicyRef::from(PolicyOf::Given).label();
    [(Direction::Gain, gains(before, after, &given)), (Direction::Loss, gains(after, before, &given))]
}

/// The rows for regions in their directions. What a policy allows by itself is a gain.
#[must_use]
pub fn rows(all: &[(Direction, Vec<RegionChange>)]) -> Vec<AccessChange> {
    let mut changes = Changes::default();
    let world = World::default();
    let side = Side { world: &world, chain: None };
    for (direction, regions) in all {
        for change in regions {
            let who = change.who.clone().map_or(Who::Attached, Who::Named);
            let direction = if change.example.is_some() { *direction } else { Direction::Unknown };
            let example = change.example.as_ref().map(ExampleRequest::from);
            let sides = Sides { who: &who, before: side, after: side };
            changes.written_region(direction, sides, &change.region, None, example.as_ref());
        }
    }
    let mut rows: Vec<AccessChange> = Vec::new();
    let mut places: BTreeMap<AccessChange, usize> = BTreeMap::new();
    for row in changes.sorted() {
        let place = *places.entry(row.without_actions()).or_insert(rows.len());
        match rows.get_mut(place) {
            Some(known) => {
                known.access.extend(row.access);
                let actions: BTreeSet<String> = known.actions.drain(..).chain(row.actions).collect();
                known.actions.extend(actions);
                known.example = known.example.take().or(row.example);
            }
            None => rows.push(row),
        }
    }
    rows
}

impl Changes {
    /// Adds a principal's gains and losses between two worlds, chain by chain.
    fn of(&mut self, who: &Who, before: &World, after: &World) {
        // Access that only unread policies may give is not a gain or loss. It has rows of its own.
        let known = |world: &World| {
            // A role that only the other world has does not exist in this one.
            if matches!(who, Who::Role(arn) if !world.roles.contains_key(arn)) {
                return Vec::new();
            }
            let mut chains = world.chains(who).unwrap_or_default();
            chains.retain(|chain| !chain.open);
            chains
        };
        let (old, new) = (known(before), known(after));
        let slots: BTreeSet<&str> = old.iter().chain(&new).map(|chain| chain.slot.as_str()).collect();
        for slot in slots {
            let find = |chains: &'_ [AccessChain]| chains.iter().position(|chain| chain.slot == slot);
            let old = Side { world: before, chain: find(&old).and_then(|at| old.get(at)) };
            let new = Side { world: after, chain: find(&new).and_then(|at| new.get(at)) };
            // A change of conditions is reported as a loss and a gain.
            if let (Some(o), Some(n)) = (old.chain, new.chain)
                && o.conditions != n.conditions
            {
                self.between(Sides { who, before: old, after: Side { chain: None, ..new } });
                self.between(Sides { who, before: Side { chain: None, ..old }, after: new });
                continue;
            }
            self.between(Sides { who, before: old, after: new });
        }
    }

    /// Adds the rights in clusters that principals gain and lose.
    fn clusters(&mut self, before: &World, after: &World) {
        let entries: BTreeSet<_> = before.cluster_rights.keys().chain(after.cluster_rights.keys()).collect();
        for entry @ (cluster, principal) in entries {
            let of = |world: &World| ClusterAccess {
                cluster: cluster.clone(),
                principal: principal.clone(),
                rights: world.cluster_rights.get(entry).cloned().unwrap_or_default(),
            };
            let (old, new) = (of(before), of(after));
            for (direction, world, from, to) in
                [(Direction::Loss, before, &old, &new), (Direction::Gain, after, &new, &old)]
            {
                for right in from.lost(to) {
                    let place = PlaceKind::Cluster { cluster: cluster.clone(), right: right.clone() };
                    let side = Side { world, chain: None };
                    self.add(
                        &world.who(&Principal::aws(principal)),
                        side,
                        NewRow::new(direction, Group::Cluster, place),
                    );
                }
            }
        }
    }

    fn between(&mut self, sides: Sides<'_>) {
        let Sides { before, after, .. } = sides;
        let same = sides.have_same_policies();
        for name in before.buckets().chain(after.buckets()).collect::<BTreeSet<_>>() {
            let (old, new) = (before.world.buckets.get(name), after.world.buckets.get(name));
            if !(same && old == new) {
                self.bucket(sides, old, new);
            }
        }
        for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (before.world.keys.get(name), after.world.keys.get(name));
            if !(same && old == new) {
                self.key(sides, old, new);
            }
        }
        for arn in before.world.resources.keys().chain(after.world.resources.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (before.world.resources.get(arn), after.world.resources.get(arn));
            if let Some(resource) = new.or(old).filter(|_| !(same && old == new)) {
                self.resource(sides, resource);
            }
        }
        if !same {
            self.assumed(sides);
            self.elsewhere(sides, &before.identity_reach(), &after.identity_reach());
            self.unread(sides);
        }
    }
}
