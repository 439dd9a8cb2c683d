//! Collects what every kind wants from the spec and checks that it hangs together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::access::Chains;
use crate::address::{Address, Region, Scope};
use crate::diagnostic::Diagnostic;
use crate::kind::{AnyKind, Resource};
use crate::spec::{Facts, Spec};

/// Everything that should exist, by address.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The wishes.
    pub resources: BTreeMap<Address, Arc<Resource>>,
    /// What exists elsewhere, as entries with `managed: false` say: what we once made of it stays.
    pub relinquished: BTreeSet<Identity>,
}

/// What tells one real thing from another, whatever the spec calls it and its account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    kind: String,
    /// The account's id or the cluster's key.
    home: String,
    region: Option<Region>,
    name: String,
}

impl Identity {
    /// The identity of what the API of a kind knows by a name in a scope.
    ///
    /// IAM and bucket names are global, so that a new region of the account means nothing to them. No API that we write to
    /// tells names by case alone (IAM User Guide, "IAM and AWS STS quotas").
    #[must_use]
    pub fn new(kind: &str, scope: &Scope, physical_id: &str) -> Self {
        let global = kind.starts_with("aws.iam.") || kind.starts_with("aws.s3.");
        let (home, region) = match scope {
            Scope::Account { id, region, .. } => (id.to_string(), (!global).then(|| region.clone())),
            Scope::Cluster { cluster } => (cluster.clone(), None),
        };
        Self { kind: kind.to_owned(), home, region, name: physical_id.to_lowercase() }
    }
}

/// The things that exist elsewhere, as the spec says. An entry that names another thing than before says nothing of that one.
fn relinquished(spec: &Spec) -> BTreeSet<Identity> {
    let buckets = spec.buckets.values().filter(|b| !b.managed).flat_map(|b| {
        let scope = spec.regional_scope(&b.account, b.region(spec));
        ["aws.s3.bucket", "aws.s3.bucket_policy"].map(|kind| Identity::new(kind, &scope, &b.name))
    });
    let roles = spec.roles.values().filter(|r| !r.managed);
    let roles = roles.map(|r| Identity::new("aws.iam.role", &spec.account_scope(&r.account), &r.name));
    let keys = spec.keys.values().filter(|k| !k.managed);
    let keys =
        keys.map(|k| Identity::new("aws.kms.key", &spec.regional_scope(&k.account, k.region(spec)), &k.alias_name()));
    buckets.chain(roles).chain(keys).collect()
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
    let mut real: HashMap<Identity, Address> = HashMap::new();
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
            let identity = Identity::new(kind.name(), &resource.wish.scope, &resource.wish.physical_id);
            if let Some(other) = real.insert(identity, resource.address.clone()) {
                problems.push(
                    Diagnostic::error(
                        "same-object",
                        format!(
                            "{other} and {} are the same object: `{}`",
                            resource.address, resource.wish.physical_id
                        ),
                    )
                    .at(resource.wish.source.clone())
                    .help("one real object has one entry"),
                );
            }
            desired.resources.insert(resource.address.clone(), Arc::new(resource));
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
