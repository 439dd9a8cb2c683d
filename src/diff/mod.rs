//! The three-way comparison of desired, live and last applied.
//!
//! A drifted resource and a changed spec are different reasons, and both may apply at once.

mod orphans;
mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use orphans::{Orphans, orphans};
pub use recover::{Recovered, recover};

use crate::address::{Address, Scope};
use crate::desired::{Desired, ObjectIdentity};
use crate::document::{Difference, Document};
use crate::kind::{AnyKind, FieldClass, Kinds, Mutability, NamedBy, OwnedBy, Release, Resource};
use crate::snapshot::{Seen, Snapshot};
use crate::spec::OnDestroy;
use crate::state::{Deposed, DeposedKey, Owned, State};

/// The reason why an owned object leaves the state without being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDeleted {
    /// It no longer exists.
    Gone,
    /// It no longer exists, and another object without our ownership tag has its name now.
    Taken,
    /// Another project owns it.
    OwnedByAnother,
    /// The spec has it with `managed: false`.
    ManagedElsewhere,
    /// Its `on_destroy` is `keep`.
    Kept,
    /// The spec has it under another key.
    NewKey,
}

/// The result of comparing one resource, from which its steps follow.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The resource is as desired.
    Keep,
    /// The resource does not exist and must be created.
    Create {
        /// Whether it was applied before and has been deleted outside Bailiwick.
        removed_outside: bool,
    },
    /// The resource exists as desired and is not owned: it is adopted without a write.
    Adopt,
    /// The resource differs from the spec.
    Change {
        /// The live values of its managed fields.
        before: Document,
        /// The differences from the desired body.
        differences: Vec<Difference>,
        /// Whether it must be replaced.
        replace: bool,
        /// Whether the spec changed since the last apply.
        intent: bool,
        /// Whether it was changed outside Bailiwick.
        drift: bool,
        /// Whether it must be adopted.
        adopt: bool,
    },
    /// The resource must be deleted.
    Delete {
        /// The live values of its managed fields.
        before: Document,
        /// Whether only the project's part of it is removed, because the resource predates the project.
        adopted: bool,
    },
    /// The resource leaves the state and is not deleted.
    Forget {
        /// The reason.
        why: NotDeleted,
        /// The live values of its managed fields, if its ownership tags are to be removed.
        before: Option<Document>,
    },
    /// Another project owns the resource.
    Foreign {
        /// The name of that project.
        owner: String,
    },
    /// An interrupted run may have created the resource, which is no longer desired. It carries no ownership tag, so it
    /// may belong to another party.
    MaybeForeign,
    /// The resource's name is an alias, which points to another object now.
    Another {
        /// The id of the object that Bailiwick managed.
        known: String,
        /// The id of the object that was found.
        found: String,
    },
    /// The resource could not be read.
    Unreadable {
        /// The reason.
        why: String,
    },
}

/// One resource: desired, owned and observed, with the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceDiff {
    /// The resource's address.
    pub address: Address,
    /// The resource as the spec describes it.
    pub desired: Option<Arc<Resource>>,
    /// The state's entry for the resource. `None` if the address named another object before.
    pub owned: Option<Owned>,
    /// The object that the address named before. The spec gives the resource another name or place, so this object is
    /// deposed.
    pub deposes: Option<Box<Owned>>,
    /// The observed resource.
    pub seen: Seen,
    /// The verdict.
    pub verdict: Verdict,
    /// The resource's address in the state, if its key was renamed in the spec.
    pub moved_from: Option<Address>,
}

impl ResourceDiff {
    /// The scope and physical id of the observed object: the desired ones, or else those in the state. `None` if
    /// there are neither.
    #[must_use]
    pub fn place(&self) -> Option<(&Scope, &str)> {
        let desired = self.desired.as_ref().map(|desired| (&desired.scope, desired.physical_id.as_str()));
        desired.or_else(|| self.owned.as_ref().map(|owned| (&owned.scope, owned.physical_id.as_str())))
    }
}

/// A deposed object that is still to be deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct DeposedDiff {
    /// The address.
    pub address: Address,
    /// Its key among the deposed objects of the address.
    pub key: DeposedKey,
    /// Its entry in the state.
    pub object: Owned,
    /// Whether this plan deposes it, and not an earlier run that was interrupted.
    pub now: bool,
    /// Whether it is only released and not deleted.
    pub released: bool,
}

/// The drift of a resource since the last apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// The resource.
    pub address: Address,
    /// The class of drift.
    pub class: DriftClass,
    /// The differences: `before` is the last applied value, `after` the live one.
    pub differences: Vec<Difference>,
    /// The kind of drift.
    pub what: Drifted,
}

/// The kind of drift.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Drifted {
    /// It no longer exists.
    DeletedOutside,
    /// It exists, but the part that Bailiwick manages was deleted.
    PartDeleted,
    /// Managed fields differ.
    ChangedOutside,
    /// It was deleted and recreated under the same name.
    RecreatedOutside {
        /// The id of the object that Bailiwick managed.
        was: String,
        /// The id of the current object.
        is: String,
    },
    /// A part that Bailiwick does not manage changed.
    ForeignChange,
    /// It cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
    /// A run did not complete its change, so there is nothing to compare it with.
    Incomplete,
}

/// The class of a drifted field.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum DriftClass {
    /// A part of a shared document that Bailiwick does not manage.
    Foreign,
    /// Names, descriptions and tags.
    Cosmetic,
    /// A managed setting.
    Managed,
    /// Access.
    Access,
    /// Unknown: the resource could not be read, or a run did not complete its change.
    Unreadable,
}

/// The comparison of every desired or owned resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// The resources, by address.
    pub resources: BTreeMap<Address, ResourceDiff>,
    /// The deposed objects, ordered by address.
    pub deposed: Vec<DeposedDiff>,
}

impl Diff {
    /// The deposed objects of an address.
    pub fn deposed_at<'d>(&'d self, address: &Address) -> impl Iterator<Item = &'d DeposedDiff> + use<'d> {
        let start = self.deposed.partition_point(|deposed| deposed.address < *address);
        let from = self.deposed.get(start..).unwrap_or_default();
        let length = from.partition_point(|deposed| deposed.address == *address);
        from.iter().take(length)
    }

    /// The object that the spec deposes now by giving its address another name or place.
    #[must_use]
    pub fn deposed_now(&self, address: &Address) -> Option<&DeposedDiff> {
        self.deposed_at(address).find(|deposed| deposed.now)
    }
}

/// Compares every resource. `kinds` are looked up by name.
#[must_use]
pub fn compute(desired: &Desired, snapshot: &Snapshot, state: &State, kinds: &Kinds<'_>) -> Diff {
    let renamed = renamed(desired, state, kinds);
    let old_keys: BTreeSet<&Address> = renamed.values().copied().collect();
    let addresses: BTreeSet<&Address> = desired.resources.keys().chain(state.resources.keys()).collect();
    let compared = addresses.into_iter().map(|address| {
        let moved_from = renamed.get(address).copied().filter(|_| !state.resources.contains_key(address));
        let comparison = Comparison {
            desired,
            snapshot,
            state,
            kinds,
            address,
            wanted: desired.resources.get(address),
            known: state.resources.get(moved_from.unwrap_or(address)),
        };
        let diff = if comparison.wanted.is_none() && old_keys.contains(address) {
            comparison.under_another_key()
        } else {
            comparison.resource(moved_from)
        };
        (address.clone(), diff)
    });
    let resources = compared.collect();
    let deposed = deposed(&resources, state, kinds);
    Diff { resources, deposed }
}

/// The inputs of a comparison, and one address.
struct Comparison<'a> {
    desired: &'a Desired,
    snapshot: &'a Snapshot,
    state: &'a State,
    kinds: &'a Kinds<'a>,
    address: &'a Address,
    /// The desired resource at the address.
    wanted: Option<&'a Arc<Resource>>,
    /// The state's entry, possibly under the key that the resource had before.
    known: Option<&'a Owned>,
}

impl Comparison<'_> {
    /// The entry at the old address of a resource whose key was renamed.
    fn under_another_key(&self) -> ResourceDiff {
        ResourceDiff {
            address: self.address.clone(),
            desired: None,
            owned: self.known.cloned(),
            deposes: None,
            seen: Seen::Absent,
            verdict: Verdict::Forget { why: NotDeleted::NewKey, before: None },
            moved_from: None,
        }
    }

    fn resource(&self, moved_from: Option<&Address>) -> ResourceDiff {
        let Self { snapshot, state, kinds, address, wanted, known, .. } = *self;
        let seen = snapshot.at(address);
        let now = matches!((wanted, known), (Some(wanted), Some(known)) if moved(wanted, known, kinds));
        // A deposed object that the spec names again is no longer deposed.
        let named_again = || wanted.and_then(|wanted| deposed_as(state, wanted));
        let mut owned = known.filter(|_| !now).or_else(named_again).cloned();
        let expected_id = known_id(state, wanted.map(AsRef::as_ref), known.filter(|_| !now));
        let verdict = self.verdict(owned.as_mut(), &seen, another(expected_id, &seen));
        ResourceDiff {
            address: address.clone(),
            desired: wanted.cloned(),
            owned,
            deposes: known.filter(|_| now).cloned().map(Box::new),
            seen,
            verdict,
            moved_from: moved_from.cloned(),
        }
    }

    /// Decides about one resource. `another` are the known id and the found id, if they differ.
    fn verdict(&self, owned: Option<&mut Owned>, seen: &Seen, another: Option<(String, String)>) -> Verdict {
        let Self { desired, snapshot, state, kinds, address, wanted, .. } = *self;
        let wanted = wanted.map(AsRef::as_ref);
        let kind = kinds.get(address.kind());
        let about = kind.map(AnyKind::about);
        match (owned, another) {
            (_, Some((known, found))) if about.is_some_and(|about| about.named_by == NamedBy::Alias) => {
                Verdict::Another { known, found }
            }
            // Treated like an adoption: the existing object predates the project.
            (Some(owned), _) if is_taken(desired, snapshot, state, (address, owned), kinds) => {
                owned.adopted = true;
                let unknown = Owned { body: None, ..owned.clone() };
                match (wanted, seen) {
                    (None, Seen::Present { .. }) => Verdict::Forget { why: NotDeleted::Taken, before: None },
                    _ => judge(wanted, Some(&unknown), seen, kind, &state.project),
                }
            }
            (Some(owned), _) if wanted.is_none() && is_unmanaged(desired, state, (address, owned), kinds) => {
                self.unmanaged(owned, seen, kind)
            }
            (owned, _) => judge(wanted, owned.as_deref(), seen, kind, &state.project),
        }
    }

    /// Decides about an object that the spec has with `managed: false`: its ownership tags are removed.
    fn unmanaged(&self, owned: &Owned, seen: &Seen, kind: Option<&dyn AnyKind>) -> Verdict {
        let tagged = |kind: &&dyn AnyKind| matches!(kind.about().owned_by, OwnedBy::Tags);
        let may_be_tagged = exists_elsewhere(self.desired, self.address, owned, self.kinds);
        let last = owned.body.as_ref();
        let before = match (seen, kind.filter(tagged).filter(|_| may_be_tagged)) {
            (Seen::Unreadable { why, .. }, Some(_)) => return Verdict::Unreadable { why: why.clone() },
            (Seen::Present { body, .. }, Some(kind)) => Some(kind.managed_fields(body, last, last)),
            _ => None,
        };
        Verdict::Forget { why: NotDeleted::ManagedElsewhere, before }
    }
}

/// The deposed object that the spec names again.
fn deposed_as<'s>(state: &'s State, wanted: &Resource) -> Option<&'s Owned> {
    let key = DeposedKey::of(&wanted.scope, &wanted.physical_id);
    let known = state.deposed.get(&wanted.address)?;
    known.iter().find(|deposed| deposed.key == key).map(|deposed| &deposed.object)
}

/// The deposed objects that are still to be deleted.
fn deposed(resources: &BTreeMap<Address, ResourceDiff>, state: &State, kinds: &Kinds<'_>) -> Vec<DeposedDiff> {
    let earlier = state.deposed.iter().flat_map(|(address, known)| known.iter().map(move |d| (address, d, false)));
    let now: Vec<(&Address, Deposed)> =
        resources.values().filter_map(|r| Some((&r.address, Deposed::new((**r.deposes.as_ref()?).clone())))).collect();
    let now = now.iter().map(|(address, deposed)| (*address, deposed, true));
    let named_again = |address: &Address, deposed: &Deposed| {
        let wanted = resources.get(address).and_then(|r| r.desired.as_ref());
        wanted.is_some_and(|w| DeposedKey::of(&w.scope, &w.physical_id) == deposed.key)
    };
    let mut all: Vec<DeposedDiff> = earlier
        .chain(now)
        .filter(|(address, deposed, _)| !named_again(address, deposed))
        .map(|(address, Deposed { key, object }, now)| {
            let release = kinds.about(address.kind()).map_or(Release::Forget, |about| about.release);
            let released = object.on_destroy == OnDestroy::Keep || (object.adopted && release == Release::Forget);
            DeposedDiff { address: address.clone(), key: key.clone(), object: object.clone(), now, released }
        })
        .collect();
    all.sort_by(|a, b| (&a.address, &a.key).cmp(&(&b.address, &b.key)));
    all
}

/// The known id of the object that a name refers to. A resource with the same name that this one refers to is the whole
/// of which it is a part, as a key is for its policy. The whole may have been recreated since.
fn known_id<'a>(state: &'a State, wanted: Option<&Resource>, owned: Option<&'a Owned>) -> Option<&'a str> {
    let (scope, physical_id) = match wanted {
        Some(wanted) => (&wanted.scope, &wanted.physical_id),
        None => owned.map(|o| (&o.scope, &o.physical_id))?,
    };
    let references = wanted.iter().flat_map(|w| &w.references).chain(owned.iter().flat_map(|o| &o.references));
    let whole = references
        .filter_map(|r| state.resources.get(&r.to))
        .find(|whole| whole.scope == *scope && whole.physical_id == *physical_id);
    whole.or(owned)?.unique_id.as_deref()
}

/// The known id and the found id, if they differ.
fn another(known: Option<&str>, seen: &Seen) -> Option<(String, String)> {
    let (known, found) = (known?, seen.unique_id()?);
    (known != found).then(|| (known.to_owned(), found))
}

/// Whether the object, or the whole of which it is a part, was recreated outside Bailiwick without our ownership tag.
fn is_taken(
    desired: &Desired,
    snapshot: &Snapshot,
    state: &State,
    (address, owned): (&Address, &Owned),
    kinds: &Kinds<'_>,
) -> bool {
    let taken = |address: &Address, owned: &Owned| {
        let renamed = desired.resources.get(address).is_some_and(|wanted| moved(wanted, owned, kinds));
        let seen = snapshot.seen.get(address).filter(|seen| matches!(seen, Seen::Present { owner: None, .. }));
        !renamed && seen.is_some_and(|seen| another(owned.unique_id.as_deref(), seen).is_some())
    };
    let mut wholes = owned.references.iter().filter(|r| r.part).map(|r| &r.to);
    taken(address, owned) || wholes.any(|whole| state.resources.get(whole).is_some_and(|owned| taken(whole, owned)))
}

/// Whether the spec has an object, or the whole of which it is a part, with `managed: false`.
fn is_unmanaged(desired: &Desired, state: &State, (address, owned): (&Address, &Owned), kinds: &Kinds<'_>) -> bool {
    exists_elsewhere(desired, address, owned, kinds)
        || owned.references.iter().filter(|r| r.part).any(|r| {
            let whole = state.resources.get(&r.to);
            whole.is_some_and(|whole| exists_elsewhere(desired, &r.to, whole, kinds))
        })
}

/// Whether the spec has this very object with `managed: false`, under any key.
fn exists_elsewhere(desired: &Desired, address: &Address, owned: &Owned, kinds: &Kinds<'_>) -> bool {
    desired.unmanaged.contains(&identity_of(address, owned, kinds))
}

fn identity_of<'a>(address: &'a Address, owned: &'a Owned, kinds: &Kinds<'_>) -> ObjectIdentity<'a> {
    ObjectIdentity::new(kinds, address.kind(), &owned.scope, &owned.physical_id)
}

fn identity_of_desired<'a>(wanted: &'a Resource, kinds: &Kinds<'_>) -> ObjectIdentity<'a> {
    ObjectIdentity::new(kinds, wanted.address.kind(), &wanted.scope, &wanted.physical_id)
}

/// Resources whose key was renamed in the spec: the new address with the old one. Deleting the object at the old
/// address would delete the desired resource.
fn renamed<'a>(desired: &'a Desired, state: &'a State, kinds: &Kinds<'_>) -> BTreeMap<&'a Address, &'a Address> {
    let orphans: BTreeMap<ObjectIdentity<'_>, &Address> = state
        .resources
        .iter()
        .filter(|(address, _)| !desired.resources.contains_key(*address))
        .map(|(address, owned)| (identity_of(address, owned, kinds), address))
        .collect();
    if orphans.is_empty() {
        return BTreeMap::new();
    }
    desired
        .resources
        .values()
        .filter_map(|r| {
            let old = orphans.get(&identity_of_desired(r, kinds))?;
            Some((&r.address, *old))
        })
        .collect()
}

/// Whether the address now names another object: another name, account or cluster.
fn moved(wanted: &Resource, owned: &Owned, kinds: &Kinds<'_>) -> bool {
    identity_of_desired(wanted, kinds) != identity_of(&wanted.address, owned, kinds)
        || wanted.physical_id != owned.physical_id
}

fn judge(
    wanted: Option<&Resource>,
    owned: Option<&Owned>,
    seen: &Seen,
    kind: Option<&dyn AnyKind>,
    project: &str,
) -> Verdict {
    let Some(kind) = kind else {
        return Verdict::Unreadable { why: "this version of bailiwick does not know this kind".into() };
    };
    let last = owned.and_then(|o| o.body.as_ref());
    let shared_only = matches!(seen, Seen::Present { body, .. }
        if kind.managed_fields(body, wanted.map(|w| &w.body), last).is_null());
    // A shared document without any part of ours is absent as far as Bailiwick is concerned.
    let seen = if shared_only { &Seen::Absent } else { seen };
    match (wanted, owned, seen) {
        (_, _, Seen::Unreadable { why, .. }) => Verdict::Unreadable { why: why.clone() },
        (Some(_), _, Seen::Absent) => Verdict::Create { removed_outside: owned.is_some_and(|o| o.body.is_some()) },
        (None, _, Seen::Absent) => Verdict::Forget { why: NotDeleted::Gone, before: None },
        (Some(_), _, Seen::Present { owner: Some(other), .. }) if other != project => {
            Verdict::Foreign { owner: other.clone() }
        }
        (Some(wanted), _, Seen::Present { body, owner }) => {
            let before = kind.managed_fields(body, Some(&wanted.body), last);
            let differences = Document::differences(&before, &wanted.body);
            // An object that an interrupted run created belongs to the project if it carries our ownership tag.
            let ours = owned.is_some_and(|o| o.body.is_some()) || owner.as_deref() == Some(project);
            if differences.is_empty() {
                return if owned.is_some_and(|o| o.body.is_some()) { Verdict::Keep } else { Verdict::Adopt };
            }
            let about = kind.about();
            let replace = differences.iter().any(|d| about.is(d.path.field(), Mutability::Fixed));
            Verdict::Change {
                drift: last
                    .is_some_and(|l| !Document::differences(&kind.managed_fields(body, Some(l), None), l).is_empty()),
                intent: last.is_none_or(|l| l != &wanted.body),
                // An object that the project did not create is never replaced to suit the spec.
                adopt: !ours
                    || (replace && owned.is_some_and(|o| o.adopted) && kind.about().release == Release::Forget),
                replace,
                differences,
                before,
            }
        }
        (None, Some(owned), Seen::Present { body, owner }) => {
            no_longer_desired(kind, owned, body, owner.as_deref(), project)
        }
        (None, None, Seen::Present { .. }) => Verdict::Keep,
    }
}

/// Decides about an owned object that the spec no longer has.
fn no_longer_desired(
    kind: &dyn AnyKind,
    owned: &Owned,
    live: &Document,
    owner: Option<&str>,
    project: &str,
) -> Verdict {
    if owner.is_some_and(|owner| owner != project) {
        return Verdict::Forget { why: NotDeleted::OwnedByAnother, before: None };
    }
    let last = owned.body.as_ref();
    let before = kind.managed_fields(live, last, last);
    if owned.on_destroy == OnDestroy::Keep {
        return Verdict::Forget { why: NotDeleted::Kept, before: Some(before) };
    }
    let about = kind.about();
    let adopted = owned.adopted && about.release == Release::Forget;
    let is_ours = last.is_some() || owner.is_some() || !matches!(about.owned_by, OwnedBy::Tags);
    if is_ours || adopted { Verdict::Delete { before, adopted } } else { Verdict::MaybeForeign }
}

/// The drift since the last apply, ordered by address. `unfinished` are addresses with an unknown outcome from an
/// interrupted run, for which there is nothing to compare with.
#[must_use]
pub fn drift(diff: &Diff, unfinished: &[Address], kinds: &Kinds<'_>) -> Vec<Drift> {
    let drifted =
        |(address, resource): (&Address, &ResourceDiff)| drifted(resource, unfinished.contains(address), kinds);
    diff.resources.iter().filter_map(drifted).collect()
}

fn drifted(resource: &ResourceDiff, unfinished: bool, kinds: &Kinds<'_>) -> Option<Drift> {
    let made = |class, differences, what| Some(Drift { address: resource.address.clone(), class, differences, what });
    let owned = resource.owned.as_ref()?;
    if let Seen::Unreadable { why, .. } = &resource.seen {
        return made(DriftClass::Unreadable, Vec::new(), Drifted::Unreadable { why: why.clone() });
    }
    let Some(last) = owned.body.as_ref().filter(|_| !unfinished) else {
        return made(DriftClass::Unreadable, Vec::new(), Drifted::Incomplete);
    };
    let kind = kinds.get(resource.address.kind());
    // A kind that this version does not know may decide about access.
    let class_of = |field: &str| DriftClass::from(kind.map_or(FieldClass::Access, |kind| kind.about().class(field)));
    match &resource.seen {
        Seen::Unreadable { .. } => None,
        Seen::Absent => {
            let class = kind.map_or(FieldClass::Access, |kind| kind.about().presence);
            made(class.into(), Vec::new(), Drifted::DeletedOutside)
        }
        Seen::Present { body, .. } => {
            let live = kind?.managed_fields(body, Some(last), Some(last));
            if live.is_null() {
                return made(DriftClass::Access, Vec::new(), Drifted::PartDeleted);
            }
            let differences = Document::differences(last, &live);
            if let Some((was, is)) = another(owned.unique_id.as_deref(), &resource.seen) {
                return made(DriftClass::Access, differences, Drifted::RecreatedOutside { was, is });
            }
            if differences.is_empty() {
                let same = owned.fingerprint.as_ref().is_none_or(|f| *f == body.digest());
                return if same { None } else { made(DriftClass::Foreign, Vec::new(), Drifted::ForeignChange) };
            }
            let class = differences.iter().map(|d| class_of(d.path.field())).max().unwrap_or(DriftClass::Managed);
            made(class, differences, Drifted::ChangedOutside)
        }
    }
}

impl From<FieldClass> for DriftClass {
    fn from(class: FieldClass) -> Self {
        match class {
            FieldClass::Cosmetic => Self::Cosmetic,
            FieldClass::Setting => Self::Managed,
            FieldClass::Access => Self::Access,
        }
    }
}

#[cfg(test)]
mod tests;
