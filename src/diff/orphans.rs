//! Orphaned resources: those with a project's ownership tag that are neither in its spec nor in the state.

use std::collections::{BTreeMap, BTreeSet};

use super::recover::{Recovered, is_part};
use crate::address::{Address, Scope};
use crate::desired::{Desired, ObjectIdentity};
use crate::kind::{About, AnyKind, Kinds, OnLoss, OwnedBy, Part, Reference, Tagged, Whole};
use crate::snapshot::{Seen, Snapshot, unique_id};
use crate::spec::{OnDestroy, Spec};
use crate::state::{Owned, State};

/// Candidates for orphaned resources, before they are read.
#[derive(Clone, Debug, Default)]
pub struct Orphans {
    /// Resources with our ownership tag, and their parts, which cannot be tagged.
    pub objects: BTreeMap<Address, Owned>,
    /// Resources with a tag that holds the address of another resource.
    pub clashing: Vec<Tagged>,
}

/// Finds the tagged objects that neither the spec nor the state contains. Adds shared documents and parts of objects
/// that may be ours and cannot be tagged.
#[must_use]
pub fn orphans(spec: &Spec, desired: &Desired, state: &State, marked: &[Tagged], kinds: &Kinds<'_>) -> Orphans {
    let desired_ids = desired.resources.values().map(|r| (&r.address, &r.scope, r.physical_id.as_str()));
    let stored = state.resources.iter();
    let deposed = state.deposed.iter().flat_map(|(address, all)| all.iter().map(move |d| (address, &d.object)));
    let owned = stored.chain(deposed).map(|(address, owned)| (address, &owned.scope, owned.physical_id.as_str()));
    let known = desired_ids.clone().chain(owned);
    let mut seen: BTreeSet<ObjectIdentity> =
        known.map(|(address, scope, id)| ObjectIdentity::new(kinds, address.kind(), scope, id)).collect();
    let mut wholes: Vec<Whole> =
        desired_ids.map(|(address, scope, physical_id)| Whole { address, scope, physical_id }).collect();
    let mut found = Orphans::default();
    let taken = |address: &Address| desired.resources.contains_key(address) || state.resources.contains_key(address);
    for tagged in marked {
        if !seen.insert(ObjectIdentity::new(kinds, tagged.address.kind(), &tagged.scope, &tagged.physical_id)) {
            continue;
        }
        if taken(&tagged.address) || found.objects.contains_key(&tagged.address) {
            found.clashing.push(tagged.clone());
            continue;
        }
        wholes.push(Whole { address: &tagged.address, scope: &tagged.scope, physical_id: &tagged.physical_id });
        let needs = kinds.get(tagged.address.kind()).and_then(|kind| kind.needs(&tagged.scope, &tagged.physical_id));
        let references = needs.map(|to| Reference { to, part: false }).into_iter().collect();
        let object = stub(tagged.scope.clone(), tagged.physical_id.clone(), references);
        found.objects.insert(tagged.address.clone(), object);
    }
    let unmanaged = unmanaged(spec, kinds);
    wholes.extend(unmanaged.iter().map(|(address, scope, id)| Whole { address, scope, physical_id: id }));
    for kind in kinds.all() {
        let about = kind.about();
        let (of, part) = match about.owned_by {
            OwnedBy::Tags => continue,
            OwnedBy::Statements { on, .. } => (on, false),
            OwnedBy::Whole { of, .. } => (of, true),
        };
        for whole in wholes.iter().filter(|whole| whole.address.kind().as_str() == of) {
            for candidate in candidates(about, *whole, marked) {
                let address = Address::new(about.name, candidate.name);
                let identity =
                    ObjectIdentity::new(kinds, address.kind(), whole.scope, &candidate.physical_id).into_owned();
                if taken(&address) || !seen.insert(identity) {
                    continue;
                }
                let of = Reference { to: whole.address.clone(), part };
                let needs = candidate.needs.map(|to| Reference { to, part: false });
                let references = std::iter::once(of).chain(needs).collect();
                found.objects.insert(address, stub(whole.scope.clone(), candidate.physical_id, references));
            }
        }
    }
    found
}

/// The resources of a kind that an object may carry. A shared document has the name and id of its carrier.
fn candidates(about: &About, whole: Whole<'_>, marked: &[Tagged]) -> Vec<Part> {
    match about.owned_by {
        OwnedBy::Tags => Vec::new(),
        OwnedBy::Statements { .. } => {
            let (name, physical_id) = (whole.address.name().to_owned(), whole.physical_id.to_owned());
            vec![Part { name, physical_id, needs: None }]
        }
        OwnedBy::Whole { parts, .. } => parts(whole, marked),
    }
}

/// The unmanaged objects of the spec whose documents may contain our statements.
fn unmanaged(spec: &Spec, kinds: &Kinds<'_>) -> Vec<(Address, Scope, String)> {
    let of = |about: &'static About| match about.owned_by {
        OwnedBy::Statements { on, unmanaged } => {
            unmanaged(spec).into_iter().map(|(name, scope, id)| (Address::new(on, name), scope, id)).collect()
        }
        OwnedBy::Tags | OwnedBy::Whole { .. } => Vec::new(),
    };
    kinds.all().map(AnyKind::about).flat_map(of).collect()
}

/// A state entry for a resource that was never in the state.
fn stub(scope: Scope, physical_id: String, references: Vec<Reference>) -> Owned {
    Owned { references, ..Owned::new(scope, physical_id, None) }
}

impl Recovered {
    /// Adds the candidates that turn out to be ours when read.
    pub fn add_orphans(
        &mut self,
        orphans: Orphans,
        snapshot: &Snapshot,
        state: &State,
        adopted: &BTreeSet<Address>,
        kinds: &Kinds<'_>,
    ) {
        self.clashing.extend(orphans.clashing);
        let (parts, wholes): (Vec<_>, Vec<_>) =
            orphans.objects.into_iter().partition(|(address, _)| is_part(kinds, address.kind()));
        for (address, stub) in wholes.into_iter().chain(parts) {
            let (body, owner) = match snapshot.at(&address) {
                Seen::Absent => continue,
                Seen::Unreadable { why, .. } => {
                    self.unlisted.insert(address.to_string(), why);
                    continue;
                }
                Seen::Present { body, owner } => (body, owner),
            };
            let Some(kind) = kinds.get(address.kind()) else { continue };
            let about = kind.about();
            let of_ours = |to: &Address| {
                state.resources.contains_key(to) || self.ours.contains_key(to) || self.orphans.contains_key(to)
            };
            let ours = match owner {
                Some(owner) => owner == state.project,
                None => match about.owned_by {
                    OwnedBy::Tags => false,
                    OwnedBy::Statements { .. } => true,
                    OwnedBy::Whole { .. } => stub.references.iter().any(|r| of_ours(&r.to)),
                },
            };
            let body_of_ours = kind.managed_fields(&body, None, None);
            if !ours || body_of_ours.is_null() {
                continue;
            }
            // Keep resources that hold data: tags do not record `on_destroy`.
            let keeps = about.on_loss != OnLoss::Recreate;
            let owned = Owned {
                adopted: adopted.contains(&address),
                fingerprint: Some(body.digest()),
                unique_id: unique_id(&body),
                on_destroy: if keeps { OnDestroy::Keep } else { OnDestroy::Delete },
                body: Some(body_of_ours),
                ..stub
            };
            self.orphans.insert(address, owned);
        }
        // The state accepts a reference only to an entry that it contains.
        let known: BTreeSet<Address> =
            state.resources.keys().chain(self.ours.keys()).chain(self.orphans.keys()).cloned().collect();
        for owned in self.orphans.values_mut() {
            owned.references.retain(|r| known.contains(&r.to));
        }
    }
}
