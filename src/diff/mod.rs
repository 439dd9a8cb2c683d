//! Three-way difference of desired, live and last applied.
//!
//! "Somebody changed it" and "you changed the spec" are different reasons, and both may be true at once.

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

/// Why an object that we own is no longer managed, and not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDeleted {
    /// It no longer exists.
    Gone,
    /// It is gone already, and another one was created under its name, without our ownership tags.
    Taken,
    /// Another project owns it now.
    OwnedByAnother,
    /// The spec says that it is managed elsewhere (`managed: false`).
    ManagedElsewhere,
    /// Its `on_destroy` is `keep`.
    Kept,
    /// The spec knows it under another key.
    NewKey,
}

/// What must become of one thing, and why.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is as it should be.
    Keep,
    /// It must be made.
    Create {
        /// Whether we had made it before and somebody removed it.
        removed_outside: bool,
    },
    /// It exists, nobody owns it, and it is as it should be: it becomes ours without a write.
    Adopt,
    /// It must change.
    Change {
        /// What it is, as far as it is ours to judge.
        before: Document,
        /// Where it differs.
        differences: Vec<Difference>,
        /// Whether it must be replaced.
        replace: bool,
        /// Whether the spec changed since the last apply.
        intent: bool,
        /// Whether somebody changed it outside.
        drift: bool,
        /// Whether it predates the project.
        adopt: bool,
    },
    /// It must go.
    Delete {
        /// What it is.
        before: Document,
        /// Whether only our part of it goes.
        adopted: bool,
    },
    /// It stays, or is gone already, and is no longer managed.
    Forget {
        /// Why nothing is deleted.
        why: NotDeleted,
        /// What it is, if our ownership tags on it are to be removed.
        before: Option<Document>,
    },
    /// Another project owns it.
    Foreign {
        /// The other project.
        owner: String,
    },
    /// It is to go, but only an interrupted creation names it, and it carries no ownership tag: it may belong to others.
    MaybeForeign,
    /// Its name is an alias that points to another thing now.
    Another {
        /// The id of the object that Bailiwick managed.
        known: String,
        /// The id of the other.
        found: String,
    },
    /// It could not be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// One thing with all that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceDiff {
    /// Its name.
    pub address: Address,
    /// What the spec wants.
    pub desired: Option<Arc<Resource>>,
    /// What we know of it from before. Nothing, if the address named something else before.
    pub owned: Option<Owned>,
    /// What the address named until now: the spec gives it another name or place, so that it is deposed.
    pub deposes: Option<Box<Owned>>,
    /// What was seen.
    pub seen: Seen,
    /// What must become of it.
    pub verdict: Verdict,
    /// The address under which the state knows it, if its key was renamed in the spec.
    pub moved_from: Option<Address>,
}

impl ResourceDiff {
    /// Where the object that was observed is, and the name by which its API knows it: what the spec names there, or what the
    /// state knows. Nothing if neither names it.
    #[must_use]
    pub fn place(&self) -> Option<(&Scope, &str)> {
        let desired = self.desired.as_ref().map(|desired| (&desired.scope, desired.physical_id.as_str()));
        desired.or_else(|| self.owned.as_ref().map(|owned| (&owned.scope, owned.physical_id.as_str())))
    }
}

/// An object that an address named before, and that is still to go.
#[derive(Clone, Debug, PartialEq)]
pub struct DeposedDiff {
    /// The address.
    pub address: Address,
    /// Its name among the deposed objects of the address.
    pub key: DeposedKey,
    /// What is known of it.
    pub object: Owned,
    /// Whether it is deposed by this very plan, and not by an earlier run that did not get to the end.
    pub now: bool,
    /// Whether it stays and only our ownership tags go.
    pub released: bool,
}

/// What drifted since the last apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// The resource.
    pub address: Address,
    /// The class of the drift.
    pub class: DriftClass,
    /// Where, and from what to what: `before` is what was applied, `after` what is live.
    pub differences: Vec<Difference>,
    /// What happened.
    pub what: Drifted,
}

/// How a resource drifted.
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
    /// A run did not complete its change, so that there is nothing to compare it with.
    Incomplete,
}

/// How important drift is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum DriftClass {
    /// A part of a shared document that Bailiwick does not manage drifted.
    Foreign,
    /// Names, descriptions and tags.
    Cosmetic,
    /// A managed setting.
    Managed,
    /// Access.
    Access,
    /// It could not be read, or an interrupted run left nothing to compare it with.
    Unreadable,
}

/// Every thing that is desired or owned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// By address.
    pub resources: BTreeMap<Address, ResourceDiff>,
    /// What addresses named before, in the order of addresses.
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

    /// The object that the spec deposes now, because it gives its address another name or place.
    #[must_use]
    pub fn deposed_now(&self, address: &Address) -> Option<&DeposedDiff> {
        self.deposed_at(address).find(|deposed| deposed.now)
    }
}

/// Compares everything. `kinds` are looked up by name.
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

/// What is compared, and one address of it.
struct Comparison<'a> {
    desired: &'a Desired,
    snapshot: &'a Snapshot,
    state: &'a State,
    kinds: &'a Kinds<'a>,
    address: &'a Address,
    /// What the spec names there.
    wanted: Option<&'a Arc<Resource>>,
    /// What the state knows of it, if only under the key that it had in the spec before.
    known: Option<&'a Owned>,
}

impl Comparison<'_> {
    /// The old address of an object that the spec knows under another key now.
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
        // What is named again is not deposed any more.
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

    /// What must become of an object. `another` are the id that is known of it and the one that was found, if they differ.
    fn verdict(&self, owned: Option<&mut Owned>, seen: &Seen, another: Option<(String, String)>) -> Verdict {
        let Self { desired, snapshot, state, kinds, address, wanted, .. } = *self;
        let wanted = wanted.map(AsRef::as_ref);
        let kind = kinds.get(address.kind());
        let about = kind.map(AnyKind::about);
        match (owned, another) {
            (_, Some((known, found))) if about.is_some_and(|about| about.named_by == NamedBy::Alias) => {
                Verdict::Another { known, found }
            }
            // By the rules of adoption: what is there was there before.
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

    /// What becomes of an object that the spec says is managed elsewhere: our tags on it go.
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

/// The deposed object that is what the spec names at its address.
fn deposed_as<'s>(state: &'s State, wanted: &Resource) -> Option<&'s Owned> {
    let key = DeposedKey::of(&wanted.scope, &wanted.physical_id);
    let known = state.deposed.get(&wanted.address)?;
    known.iter().find(|deposed| deposed.key == key).map(|deposed| &deposed.object)
}

/// What is still to go of what addresses named before.
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

/// The id that the state knows of what a name means. What is in the state under the same name and is referred to is the
/// whole of which this is a part: a key, of which this is the policy. It may have been recreated since.
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

/// The id that is known and the one that was found, if they differ.
fn another(known: Option<&str>, seen: &Seen) -> Option<(String, String)> {
    let (known, found) = (known?, seen.unique_id()?);
    (known != found).then(|| (known.to_owned(), found))
}

/// Whether an object of that name, or of what this is a part of, was recreated outside and lacks our ownership tag.
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

/// Whether the spec keeps an object, or what it is a part of, with `managed: false`.
fn is_unmanaged(desired: &Desired, state: &State, (address, owned): (&Address, &Owned), kinds: &Kinds<'_>) -> bool {
    exists_elsewhere(desired, address, owned, kinds)
        || owned.references.iter().filter(|r| r.part).any(|r| {
            let whole = state.resources.get(&r.to);
            whole.is_some_and(|whole| exists_elsewhere(desired, &r.to, whole, kinds))
        })
}

/// Whether the spec names this very object with `managed: false`, under whatever key.
fn exists_elsewhere(desired: &Desired, address: &Address, owned: &Owned, kinds: &Kinds<'_>) -> bool {
    desired.unmanaged.contains(&identity_of(address, owned, kinds))
}

fn identity_of<'a>(address: &'a Address, owned: &'a Owned, kinds: &Kinds<'_>) -> ObjectIdentity<'a> {
    ObjectIdentity::new(kinds, address.kind(), &owned.scope, &owned.physical_id)
}

fn identity_of_desired<'a>(wanted: &'a Resource, kinds: &Kinds<'_>) -> ObjectIdentity<'a> {
    ObjectIdentity::new(kinds, wanted.address.kind(), &wanted.scope, &wanted.physical_id)
}

/// Objects whose key was renamed in the spec: the new address, and the old one under which the state knows the same object.
/// Deleting the old one would delete what the new one means.
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

/// Whether the spec now means another object under the same address: another name, account or cluster.
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
    // A document that others share may be there without anything of ours in it: for us that is "not there".
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
            // What an interrupted run created counts as ours if it carries our ownership tag.
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
                // What somebody else made is not taken away to make room for what the spec wants.
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

/// What becomes of an object of ours that the spec no longer names.
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

/// What changed outside since the last apply, in the order of addresses. `unfinished` are the addresses whose last step an
/// interrupted run may or may not have done: there is nothing to compare them with.
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
    // What this version does not know may decide about access.
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
