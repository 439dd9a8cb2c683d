//! What carries a project's mark and is not in its spec: what left the spec before the state was lost.

use std::collections::{BTreeMap, BTreeSet};

use super::reclaim::{Reclaimed, is_part, is_shared};
use crate::access::INLINE_NAME;
use crate::address::{Address, Scope};
use crate::desired::{Desired, Identity};
use crate::kind::{AnyKind, Reference};
use crate::snapshot::{Marked, Seen, Snapshot, unique_id};
use crate::spec::{OnDestroy, Spec};
use crate::state::{Owned, State};

const ROLE: &str = "aws.iam.role";
const POLICY: &str = "aws.iam.policy";
const BUCKET: &str = "aws.s3.bucket";
const KEY: &str = "aws.kms.key";

/// What was found beside the spec, before anybody has looked at it.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Things with our mark, and what they may have that cannot be marked.
    pub things: BTreeMap<Address, Owned>,
    /// Things whose mark gives the address of another one.
    pub clashing: Vec<Marked>,
}

/// Sorts out what neither the spec nor the state knows of the things that carry our mark, and adds what may have been left in
/// policies that others share and in roles.
#[must_use]
pub fn left(spec: &Spec, desired: &Desired, state: &State, marked: &[Marked]) -> Left {
    let wished = desired.resources.values().map(|r| (&r.address, &r.wish.scope, r.wish.physical_id.as_str()));
    let stored = state.resources.iter();
    let owned = stored.flat_map(|(address, owned)| {
        std::iter::successors(Some(owned), |o| o.former.as_deref())
            .map(move |o| (address, &o.scope, o.physical_id.as_str()))
    });
    let mut wholes: Vec<(Address, Scope, String)> =
        wished.clone().map(|(address, scope, id)| (address.clone(), scope.clone(), id.to_owned())).collect();
    let mut seen: BTreeSet<Identity> =
        wished.chain(owned).map(|(address, scope, id)| Identity::new(address.kind().as_str(), scope, id)).collect();
    let mut found = Left::default();
    let taken = |address: &Address| desired.resources.contains_key(address) || state.resources.contains_key(address);
    for thing in marked {
        if !seen.insert(Identity::new(thing.address.kind().as_str(), &thing.scope, &thing.physical_id)) {
            continue;
        }
        if taken(&thing.address) || found.things.contains_key(&thing.address) {
            found.clashing.push(thing.clone());
            continue;
        }
        wholes.push((thing.address.clone(), thing.scope.clone(), thing.physical_id.clone()));
        found.things.insert(thing.address.clone(), stub(thing.scope.clone(), thing.physical_id.clone(), Vec::new()));
    }
    // A key whose policy alone is ours is wished for nowhere.
    for (name, key) in &spec.keys {
        wholes.push((Address::new(KEY, name), spec.regional_scope(&key.account, key.region(spec)), key.alias_name()));
    }
    let policies: Vec<&Marked> = marked.iter().filter(|m| m.address.kind().as_str() == POLICY).collect();
    for (whole, scope, id) in &wholes {
        let mut add = |kind: &'static str, name: String, id: String, needs: Option<&Address>| {
            let address = Address::new(kind, name);
            if taken(&address) || !seen.insert(Identity::new(kind, scope, &id).into_owned()) {
                return;
            }
            let of = Reference { to: whole.clone(), part: is_part(kind) };
            let needs = needs.map(|to| Reference { to: to.clone(), part: false });
            found.things.insert(address, stub(scope.clone(), id, std::iter::once(of).chain(needs).collect()));
        };
        match whole.kind().as_str() {
            ROLE => {
                let (name, inline) = (format!("{}/{INLINE_NAME}", whole.name()), format!("{id}/{INLINE_NAME}"));
                add("aws.iam.role_policy", name, inline, None);
                // Our policies on our roles. What else a role has been given may be somebody else's doing.
                for policy in policies.iter().filter(|policy| policy.scope == *scope) {
                    let name = policy.physical_id.rsplit('/').next().unwrap_or_default();
                    let (name, id) = (format!("{}/{name}", whole.name()), format!("{id}/{}", policy.physical_id));
                    add("aws.iam.role_policy_attachment", name, id, Some(&policy.address));
                }
            }
            BUCKET => add("aws.s3.bucket_policy", whole.name().to_owned(), id.clone(), None),
            KEY => add("aws.kms.key_policy", whole.name().to_owned(), id.clone(), None),
            _ => {}
        }
    }
    found
}

/// What the state would know of a thing that it has never seen.
fn stub(scope: Scope, physical_id: String, references: Vec<Reference>) -> Owned {
    Owned { references, ..Owned::new(scope, physical_id, None) }
}

impl Reclaimed {
    /// Adds what a look at the things that were left shows to be ours.
    pub fn add_left<'k>(
        &mut self,
        left: Left,
        snapshot: &Snapshot,
        state: &State,
        adopted: &BTreeSet<Address>,
        kinds: impl Fn(&str) -> Option<&'k dyn AnyKind>,
    ) {
        self.clashing.extend(left.clashing);
        let (parts, wholes): (Vec<_>, Vec<_>) =
            left.things.into_iter().partition(|(address, _)| is_part(address.kind().as_str()));
        for (address, stub) in wholes.into_iter().chain(parts) {
            let kind_name = address.kind().as_str();
            let (body, owner) = match snapshot.at(&address) {
                Seen::Absent => continue,
                Seen::Unreadable { why, .. } => {
                    self.unlisted.insert(address.to_string(), why);
                    continue;
                }
                Seen::Present { body, owner } => (body, owner),
            };
            let Some(kind) = kinds(kind_name) else { continue };
            let of_ours = |to: &Address| {
                state.resources.contains_key(to) || self.ours.contains_key(to) || self.left.contains_key(to)
            };
            let ours = match owner {
                Some(owner) => owner == state.project,
                None if is_shared(kind_name) => true,
                None => is_part(kind_name) && stub.references.iter().any(|r| of_ours(&r.to)),
            };
            let body_of_ours = kind.claimed(&body, None, None);
            if !ours || body_of_ours.is_null() {
                continue;
            }
            // What holds data stays: marks do not tell what the spec said.
            let keeps = [BUCKET, KEY].contains(&kind_name);
            let owned = Owned {
                adopted: adopted.contains(&address),
                fingerprint: Some(body.digest()),
                unique_id: unique_id(&body),
                on_destroy: if keeps { OnDestroy::Keep } else { OnDestroy::Delete },
                body: Some(body_of_ours),
                ..stub
            };
            self.left.insert(address, owned);
        }
        // What a thing is ordered after must be known too.
        let known: BTreeSet<Address> =
            state.resources.keys().chain(self.ours.keys()).chain(self.left.keys()).cloned().collect();
        for owned in self.left.values_mut() {
            owned.references.retain(|r| known.contains(&r.to));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{AccountId, Region};
    use crate::spec::{SourceFile, load};
    use crate::state::Lineage;

    fn marked(address: &str, physical_id: &str) -> Marked {
        let (account, region) = ("a".to_owned(), Region("us-west-2".into()));
        let scope = Scope::Account { account, id: AccountId("1".repeat(12)), region };
        Marked { scope, address: address.parse().unwrap(), physical_id: physical_id.into() }
    }

    /// What is taken for left beside a role `x` that the state knows as `role-x`.
    fn found(things: &[Marked]) -> (Vec<String>, Vec<String>) {
        let text = "version: 1\nproject: p\naccounts: { a: { id: \"111111111111\", region: us-west-2 } }\n";
        let (spec, problems) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        let mut state = State::new("p", Lineage::default());
        let known = marked("aws.iam.role.x", "role-x");
        state.resources.insert(known.address, stub(known.scope, known.physical_id, Vec::new()));
        let left = left(&spec.unwrap(), &Desired::default(), &state, things);
        let ids = left.things.iter().map(|(address, owned)| format!("{address} = {}", owned.physical_id)).collect();
        (ids, left.clashing.iter().map(|thing| thing.physical_id.clone()).collect())
    }

    #[test]
    fn what_is_known_under_whatever_name_is_not_left_and_no_address_is_given_twice() {
        assert_eq!(found(&[marked("aws.iam.role.renamed", "Role-X")]), (vec![], vec![]));
        assert_eq!(found(&[marked("aws.iam.role.x", "another")]), (vec![], vec!["another".to_owned()]));
        let (ids, clashing) = found(&[marked("aws.s3.bucket.b", "one"), marked("aws.s3.bucket.b", "two")]);
        assert_eq!(ids, ["aws.s3.bucket.b = one", "aws.s3.bucket_policy.b = one"]);
        assert_eq!(clashing, ["two"]);
    }

    #[test]
    fn a_role_may_have_our_inline_policy_and_our_managed_ones() {
        let policy = "arn:aws:iam::111111111111:policy/reports";
        assert_eq!(
            found(&[marked("aws.iam.policy.reports", policy), marked("aws.iam.role.r", "role-r")]).0,
            [
                format!("aws.iam.policy.reports = {policy}"),
                "aws.iam.role.r = role-r".into(),
                "aws.iam.role_policy.r/bailiwick-access = role-r/bailiwick-access".into(),
                format!("aws.iam.role_policy_attachment.r/reports = role-r/{policy}"),
            ]
        );
    }
}
