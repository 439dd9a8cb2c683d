//! Collects the desired resources of every kind and checks their references.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::access::Chains;
use crate::address::{Address, KindName, Scope};
use crate::diagnostic::{Code, Diagnostic};
use crate::kind::{Desires, Home, Kinds, Resource};
use crate::spec::{Facts, Spec};

/// Everything that should exist, by address.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The resources.
    pub resources: BTreeMap<Address, Arc<Resource>>,
    /// The objects that the spec has with `managed: false`. Bailiwick does not delete them even if it created them.
    pub unmanaged: BTreeSet<ObjectIdentity<'static>>,
}

/// Identifies a real object, independent of the keys of its entry and its account in the spec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectIdentity<'a> {
    kind: Cow<'a, str>,
    /// The account's id, or the cluster's or store's key.
    owner: Cow<'a, str>,
    location: Option<Cow<'a, str>>,
    name: Cow<'a, str>,
}

impl<'a> ObjectIdentity<'a> {
    /// The identity of an object by its kind, scope and physical id. Names of a kind that this version does not know
    /// are treated as unique within a location only.
    ///
    /// Letter case is ignored: no API that Bailiwick writes to distinguishes names by case alone (IAM User Guide, "IAM
    /// and AWS STS quotas").
    #[must_use]
    pub fn new(kinds: &Kinds<'_>, kind: &'a KindName, scope: &'a Scope, physical_id: &'a str) -> Self {
        let home = kinds.about(kind).map_or(Home::Location, |about| about.home);
        Self::at_home(home, kind.as_str(), scope, physical_id)
    }

    fn at_home(reach: Home, kind: &'a str, scope: &'a Scope, physical_id: &'a str) -> Self {
        let location = scope.location.as_deref().filter(|_| reach == Home::Location).map(Cow::Borrowed);
        // Avoid copying: most names are lower case already.
        let is_lower = physical_id.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase());
        let name = if is_lower { Cow::Borrowed(physical_id) } else { Cow::Owned(physical_id.to_lowercase()) };
        let owner = Cow::Borrowed(scope.owner());
        Self { kind: Cow::Borrowed(kind), owner, location, name }
    }

    /// The same identity with owned text.
    #[must_use]
    pub fn into_owned(self) -> ObjectIdentity<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let location = self.location.map(own);
        ObjectIdentity { kind: own(self.kind), owner: own(self.owner), location, name: own(self.name) }
    }
}

/// Collects the resources of every kind. Reports two resources that are one real object, and dangling references.
///
/// A namespace that several service accounts request is one resource: the same address with the same body is not an
/// error.
#[must_use]
pub fn build(spec: &Spec, facts: &Facts, chains: &Chains, kinds: &Kinds<'_>) -> (Desired, Vec<Diagnostic>) {
    let mut desired = Desired::default();
    let mut problems = Vec::new();
    for kind in kinds.all() {
        let Desires { resources, unmanaged, problems: found } = kind.desire(spec, facts, chains);
        problems.extend(found);
        let about = kind.about();
        let identity =
            |(scope, id): &(Scope, String)| ObjectIdentity::at_home(about.home, about.name, scope, id).into_owned();
        desired.unmanaged.extend(unmanaged.iter().map(identity));
        for resource in resources {
            if let Some(other) = desired.resources.get(&resource.address) {
                if other.body != resource.body {
                    problems.push(
                        Diagnostic::new(Code::SameAddress, format!("conflicting definitions of {}", resource.address))
                            .at(resource.source.clone())
                            .help("make the entries agree"),
                    );
                }
                continue;
            }
            desired.resources.insert(resource.address.clone(), Arc::new(resource));
        }
    }
    let mut real: HashMap<ObjectIdentity<'_>, &Address> = HashMap::with_capacity(desired.resources.len());
    for resource in desired.resources.values() {
        let address = &resource.address;
        let identity = ObjectIdentity::new(kinds, address.kind(), &resource.scope, &resource.physical_id);
        if let Some(other) = real.insert(identity, address) {
            problems.push(
                Diagnostic::new(
                    Code::SameObject,
                    format!("{other} and {address} are the same object: `{}`", resource.physical_id),
                )
                .at(resource.source.clone())
                .help("keep one entry for each object"),
            );
        }
    }
    for resource in desired.resources.values() {
        for reference in resource.references.iter().filter(|r| !desired.resources.contains_key(&r.to)) {
            problems.push(
                Diagnostic::new(
                    Code::DanglingReference,
                    format!("{} depends on {}, which the spec does not declare", resource.address, reference.to),
                )
                .at(resource.source.clone()),
            );
        }
    }
    (desired, problems)
}
