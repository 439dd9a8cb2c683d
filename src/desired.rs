//! Collects what every kind wants from the spec and checks that it hangs together.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::Chain;
use crate::address::{Address, Scope};
use crate::diagnostic::Diagnostic;
use crate::kind::{AnyKind, Resource};
use crate::spec::{Facts, Spec};

/// Everything that should exist, by address.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The wishes.
    pub resources: BTreeMap<Address, Resource>,
    /// Entries that the spec keeps with `managed: false`: what we once made of them stays.
    pub relinquished: BTreeSet<Address>,
}

/// The addresses of entries that exist elsewhere, as the spec says.
fn relinquished(spec: &Spec) -> BTreeSet<Address> {
    let buckets = spec.buckets.iter().filter(|(_, b)| !b.managed).flat_map(|(key, _)| {
        [Address::new("aws.s3.bucket", key.as_str()), Address::new("aws.s3.bucket_policy", key.as_str())]
    });
    let roles =
        spec.roles.iter().filter(|(_, r)| !r.managed).map(|(key, _)| Address::new("aws.iam.role", key.as_str()));
    let keys = spec.keys.iter().filter(|(_, k)| !k.managed).map(|(key, _)| Address::new("aws.kms.key", key.as_str()));
    buckets.chain(roles).chain(keys).collect()
}

/// Asks every kind, and reports two wishes for one real object and references that lead nowhere.
///
/// A namespace that several service accounts ask for is one wish: the same address with the same body counts once.
#[must_use]
pub fn build<'k>(
    spec: &Spec,
    facts: &Facts,
    chains: &[Chain],
    kinds: impl IntoIterator<Item = &'k dyn AnyKind>,
) -> (Desired, Vec<Diagnostic>) {
    let mut desired = Desired { relinquished: relinquished(spec), ..Desired::default() };
    let mut problems = Vec::new();
    let mut real: BTreeMap<(Address, Scope, String), Address> = BTreeMap::new();
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
            let identity = (
                Address::new(kind.name(), String::new()),
                resource.wish.scope.clone(),
                resource.wish.physical_id.to_lowercase(),
            );
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
            desired.resources.insert(resource.address.clone(), resource);
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
