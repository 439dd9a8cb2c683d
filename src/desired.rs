//! Collects what every kind wants from the spec and checks that it hangs together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::access::Chains;
use crate::address::{Address, Scope};
use crate::diagnostic::Diagnostic;
use crate::kind::{AnyKind, Resource};
use crate::spec::{Facts, Spec, Unmanaged};

/// Everything that should exist, by address.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The wishes.
    pub resources: BTreeMap<Address, Arc<Resource>>,
    /// What exists elsewhere, as entries with `managed: false` say: what we once made of it stays.
    pub relinquished: BTreeSet<Identity<'static>>,
}

/// What tells one real thing from another, whatever the spec calls it and its account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity<'a> {
    kind: Cow<'a, str>,
    /// The account's id or the cluster's key.
    home: Cow<'a, str>,
    region: Option<Cow<'a, str>>,
    name: Cow<'a, str>,
}

impl<'a> Identity<'a> {
    /// The identity of what the API of a kind knows by a name in a scope.
    ///
    /// IAM and bucket names are global, so that a new region of the account means nothing to them. No API that we write to
    /// tells names by case alone (IAM User Guide, "IAM and AWS STS quotas").
    #[must_use]
    pub fn new(kind: &'a str, scope: &'a Scope, physical_id: &'a str) -> Self {
        let global = kind.starts_with("aws.iam.") || kind.starts_with("aws.s3.");
        let (home, region) = match scope {
            Scope::Account { id, region, .. } => (&id.0, (!global).then_some(Cow::Borrowed(region.0.as_str()))),
            Scope::Cluster { cluster } => (cluster, None),
        };
        // Most names have no capital letters.
        let is_lower = physical_id.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase());
        let name = if is_lower { Cow::Borrowed(physical_id) } else { Cow::Owned(physical_id.to_lowercase()) };
        Self { kind: Cow::Borrowed(kind), home: Cow::Borrowed(home), region, name }
    }

    /// The same with its own texts.
    #[must_use]
    pub fn into_owned(self) -> Identity<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Identity { kind: own(self.kind), home: own(self.home), region: self.region.map(own), name: own(self.name) }
    }
}

/// The things that exist elsewhere, as the spec says. An entry that names another thing than before says nothing of that one.
fn relinquished(spec: &Spec) -> BTreeSet<Identity<'static>> {
    let released = spec.unmanaged().into_iter().flat_map(|entry| match entry {
        Unmanaged::Bucket(bucket) => {
            let scope = spec.regional_scope(&bucket.account, bucket.region(spec));
            let id = bucket.name.clone();
            vec![("aws.s3.bucket", scope.clone(), id.clone()), ("aws.s3.bucket_policy", scope, id)]
        }
        Unmanaged::Role(role) => vec![("aws.iam.role", spec.account_scope(&role.account), role.name.clone())],
        Unmanaged::Key(key) => {
            vec![("aws.kms.key", spec.regional_scope(&key.account, key.region(spec)), key.alias_name())]
        }
    });
    released.map(|(kind, scope, id)| Identity::new(kind, &scope, &id).into_owned()).collect()
}

/// Asks every kind, and reports two wishes for one real object and references that lead nowhere.
///
/// A namespace that several service accounts ask for is one wish: the same address with the same body counts once.
#[must_use]
pub fn build<'k>(
    spec: &Spec,
    facts: &Facts,
    chains: &Chains,
    kinds: impl IntoIterator<Item = &'k dyn AnyKind>,
) -> (Desired, Vec<Diagnostic>) {
    let mut desired = Desired { relinquished: relinquished(spec), ..Desired::default() };
    let mut problems = Vec::new();
    for kind in kinds {
        let (resources, found) = kind.desire(spec, facts, chains);
        problems.extend(found);
        for resource in resources {
            if let Some(other) = desired.resources.get(&resource.address) {
                if other.wish.body != resource.wish.body {
                    problems.push(
                        Diagnostic::error(
                            "same-address",
                            format!("{} is asked for twice, differently", resource.address),
                        )
                        .at(resource.wish.source.clone())
                        .help("make the entries agree"),
                    );
                }
                continue;
            }
            desired.resources.insert(resource.address.clone(), Arc::new(resource));
        }
    }
    let mut real: HashMap<Identity<'_>, &Address> = HashMap::with_capacity(desired.resources.len());
    for resource in desired.resources.values() {
        let (address, wish) = (&resource.address, &resource.wish);
        let identity = Identity::new(address.kind().as_str(), &wish.scope, &wish.physical_id);
        if let Some(other) = real.insert(identity, address) {
            problems.push(
                Diagnostic::error(
                    "same-object",
                    format!("{other} and {address} are the same object: `{}`", wish.physical_id),
                )
                .at(wish.source.clone())
                .help("one real object has one entry"),
            );
        }
    }
    for resource in desired.resources.values() {
        for reference in resource.wish.references.iter().filter(|r| !desired.resources.contains_key(&r.to)) {
            problems.push(
                Diagnostic::error(
                    "dangling-reference",
                    format!("{} needs {}, which nothing asks for", resource.address, reference.to),
                )
                .at(resource.wish.source.clone()),
            );
        }
    }
    (desired, problems)
}
