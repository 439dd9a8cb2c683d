use super::*;
use crate::access::Chains;
use crate::address::{AccountId, Region, Scope};
use crate::kind::{Erased, Kind, Wanted, Wish};
use crate::spec::{Facts, Spec};
use crate::state::Lineage;
use serde_json::json;

const KIND: &str = "aws.iam.role";

struct Role;

impl Kind for Role {
    const NAME: &'static str = KIND;
    const RELEASE: Release = Release::Forget;
    type Body = serde_json::Value;

    fn desire(_: &Spec, _: &Facts, _: &Chains, _: &mut Wanted<Self::Body>) {}
}

fn scope() -> Scope {
    Scope::Account { account: "a".into(), id: AccountId("1".repeat(12)), region: Region("us-east-1".into()) }
}

fn body(trust: &str) -> Document {
    Document::from(json!({ "name": "r", "trust": trust, "tags": { "bailiwick:project": "p" } }))
}

fn owned(key: &str, trust: &str) -> (Address, Owned) {
    let owned = Owned {
        scope: scope(),
        physical_id: "r".into(),
        adopted: false,
        body: Some(body(trust)),
        fingerprint: None,
        unique_id: None,
        references: Vec::new(),
        on_destroy: OnDestroy::Delete,
        protect: false,
        former: None,
    };
    (Address::new(KIND, key), owned)
}

fn desired(key: &str, trust: &str) -> Desired {
    let address = Address::new(KIND, key);
    let wish = Wish::new(key, scope(), "r", body(trust));
    Desired { resources: [(address.clone(), Resource { address, wish })].into(), ..Desired::default() }
}

fn seen(key: &str, body: Option<Document>, owner: &str) -> Snapshot {
    let seen = body.map_or(Seen::Absent, |body| Seen::Present { body, owner: Some(owner.into()) });
    Snapshot { seen: [(Address::new(KIND, key), seen)].into() }
}

fn verdict(desired: &Desired, snapshot: &Snapshot, known: Option<(Address, Owned)>, key: &str) -> Verdict {
    let mut state = State::new("p", Lineage::default());
    state.resources.extend(known);
    let role: &dyn AnyKind = &Erased::<Role>::default();
    let diff = compute(desired, snapshot, &state, |name| (name == KIND).then_some(role));
    diff.resources[&Address::new(KIND, key)].verdict.clone()
}

#[test]
fn reasons_are_told_apart() {
    let reasons = |wanted: &str, live: &str, last: &str| match verdict(
        &desired("x", wanted),
        &seen("x", Some(body(live)), "p"),
        Some(owned("x", last)),
        "x",
    ) {
        Verdict::Change { intent, drift, .. } => (intent, drift),
        other => panic!("{other:?}"),
    };
    assert_eq!(reasons("new", "old", "old"), (true, false));
    assert_eq!(reasons("old", "hand", "old"), (false, true));
    assert_eq!(reasons("new", "hand", "old"), (true, true));
}

#[test]
fn another_projects_thing_is_never_taken() {
    for known in [None, Some(owned("x", "old"))] {
        let found = verdict(&desired("x", "old"), &seen("x", Some(body("old")), "q"), known, "x");
        assert_eq!(found, Verdict::Foreign { owner: "q".into() });
    }
}

#[test]
fn a_key_renamed_in_the_spec_keeps_its_thing() {
    let snapshot = seen("y", Some(body("old")), "p");
    assert_eq!(verdict(&desired("y", "old"), &snapshot, Some(owned("x", "old")), "y"), Verdict::Keep);
    let old = verdict(&desired("y", "old"), &snapshot, Some(owned("x", "old")), "x");
    assert_eq!(old, Verdict::Forget { why: "it is managed under its new key", before: None });
}

#[test]
fn what_the_spec_says_is_managed_elsewhere_is_not_deleted() {
    let mut nothing = Desired::default();
    let found = |desired: &Desired| verdict(desired, &seen("x", Some(body("old")), "p"), Some(owned("x", "old")), "x");
    assert!(matches!(found(&nothing), Verdict::Delete { .. }));
    nothing.relinquished.insert(Identity::new(KIND, &scope(), "another"));
    assert!(matches!(found(&nothing), Verdict::Delete { .. }), "the entry names another thing now");
    nothing.relinquished.insert(Identity::new(KIND, &scope(), "r"));
    assert!(matches!(found(&nothing), Verdict::Forget { before: Some(_), .. }));
}

#[test]
fn what_cannot_be_looked_at_is_not_absent() {
    let snapshot = Snapshot {
        seen: [(Address::new(KIND, "x"), Seen::Unreadable { why: "403".into(), unreachable: false })].into(),
    };
    for known in [None, Some(owned("x", "old"))] {
        assert_eq!(verdict(&desired("x", "old"), &snapshot, known, "x"), Verdict::Unreadable { why: "403".into() });
    }
}
