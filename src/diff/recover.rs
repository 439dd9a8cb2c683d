//! Rebuilds a lost state: finds the desired resources that carry the project's ownership tag.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::{Address, KindName};
use crate::desired::Desired;
use crate::document::Document;
use crate::kind::{AnyKind, Kinds, OwnedBy, Resource, Tagged};
use crate::snapshot::{Seen, Snapshot, unique_id};
use crate::state::{Owned, State};

/// The result of a search for ownership tags. It contains nothing that the state already has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Resources with this project's ownership tag.
    pub ours: BTreeMap<Address, Owned>,
    /// Resources of other projects, with the project's name.
    pub foreign: BTreeMap<Address, String>,
    /// Resources that exist without an ownership tag.
    pub untagged: BTreeSet<Address>,
    /// Resources that could not be read, with the reason.
    pub unreadable: BTreeMap<Address, String>,
    /// Resources that do not exist.
    pub absent: BTreeSet<Address>,
    /// Resources with this project's ownership tag, and their parts, that are not in the spec.
    pub orphans: BTreeMap<Address, Owned>,
    /// Resources with a tag that holds the address of another resource.
    pub clashing: Vec<Tagged>,
    /// Searches and reads that failed, with the reason.
    pub unlisted: BTreeMap<String, String>,
}

/// Whether objects of a kind are parts of other objects, which cannot be tagged.
pub(super) fn is_part(kinds: &Kinds<'_>, kind: &KindName) -> bool {
    kinds.about(kind).is_some_and(|about| matches!(about.owned_by, OwnedBy::Whole { .. }))
}

/// Searches the desired resources for the ownership tag of the state's project. Tags do not record whether a resource
/// predates the project, so `adopted` lists those that do.
#[must_use]
pub fn recover(
    desired: &Desired,
    snapshot: &Snapshot,
    state: &State,
    adopted: &BTreeSet<Address>,
    kinds: &Kinds<'_>,
) -> Recovered {
    let mut found = Recovered::default();
    let unknown = || desired.resources.values().filter(|r| !state.resources.contains_key(&r.address));
    let is_part = |r: &&Arc<Resource>| is_part(kinds, r.address.kind());
    // Read parts after the objects that they belong to.
    for resource in unknown().filter(|r| !is_part(r)).chain(unknown().filter(is_part)) {
        let address = resource.address.clone();
        let (body, owner) = match snapshot.at(&address) {
            Seen::Unreadable { why, .. } => {
                found.unreadable.insert(address, why);
                continue;
            }
            Seen::Absent => {
                found.absent.insert(address);
                continue;
            }
            Seen::Present { body, owner } => (body, owner),
        };
        let Some(kind) = kinds.get(address.kind()) else { continue };
        let ours = match owner {
            Some(owner) if owner != state.project => {
                found.foreign.insert(address, owner);
                continue;
            }
            Some(_) => true,
            None => match kind.about().owned_by {
                OwnedBy::Tags => false,
                OwnedBy::Statements { .. } => !kind.managed_fields(&body, None, None).is_null(),
                OwnedBy::Whole { of, .. } => {
                    let mut whole = resource.references.iter().map(|r| &r.to).filter(|to| to.kind().as_str() == of);
                    whole.any(|to| state.resources.contains_key(to) || found.ours.contains_key(to))
                }
            },
        };
        if ours {
            let owned = as_desired(resource, &body, kind, adopted.contains(&address));
            found.ours.insert(address, owned);
        } else {
            found.untagged.insert(address);
        }
    }
    found
}

/// The state entry for a desired resource that the project owns, with its live body.
fn as_desired(resource: &Resource, live: &Document, kind: &dyn AnyKind, adopted: bool) -> Owned {
    Owned {
        scope: resource.scope.clone(),
        physical_id: resource.physical_id.clone(),
        adopted,
        body: Some(kind.managed_fields(live, Some(&resource.body), None)),
        fingerprint: Some(live.digest()),
        unique_id: unique_id(live),
        references: resource.references.clone(),
        on_destroy: resource.on_destroy,
        protect: resource.protect,
    }
}
