use super::*;
use crate::access::{Chains, Facet, Instance};
use crate::address::{AccountId, Region, Scope};
use crate::kind::{About, DesiredResources, Erased, Kind, Reference};
use crate::snapshot::ReadFailure;
use crate::spec::{Facts, Spec};
use crate::state::Lineage;
use serde_json::json;

const KIND: &str = "aws.iam.role";

struct Role;

impl Kind for Role {
    const ABOUT: &'static About = &About { release: Release::Forget, ..About::plain("aws.iam.role") };
    type Body = serde_json::Value;

    fn scopes(_: &Spec) -> BTreeSet<Scope> {
        BTreeSet::new()
    }

    fn facet(_: Instance<'_>) -> Facet<'_> {
        Facet::None
    }

    fn desire(_: &Spec, _: &Facts, _: &Chains, _: &mut DesiredResources<Self::Body>) {}
}

fn kinds() -> Kinds<'static> {
    let kinds: [&'static dyn AnyKind; 3] = [&Erased::<Key>::NEW, &Erased::<KeyPolicy>::NEW, &Erased::<Role>::NEW];
    kinds.into_iter().collect()
}

fn scope() -> Scope {
    Scope::account("a", AccountId("1".repeat(12)), Region("us-east-1".into()))
}

fn body(trust: &str) -> Document {
    Document::from(json!({ "name": "r", "trust": trust, "tags": { "bailiwick:project": "p" } }))
}

fn owned(key: &str, trust: &str) -> (Address, Owned) {
    let owned = Owned::new(scope(), "r", Some(body(trust)));
    (Address::new(KIND, key), owned)
}

fn desired(key: &str, trust: &str) -> Desired {
    let address = Address::new(KIND, key);
    let resource = Resource::new(address.clone(), scope(), "r", body(trust));
    Desired { resources: [(address, Arc::new(resource))].into(), ..Desired::default() }
}

fn seen(key: &str, body: Option<Document>, owner: &str) -> Snapshot {
    let seen = body.map_or(Seen::Absent, |body| Seen::Present { body, owner: Some(owner.into()) });
    Snapshot { seen: [(Address::new(KIND, key), seen)].into() }
}

fn verdict(desired: &Desired, snapshot: &Snapshot, known: Option<(Address, Owned)>, key: &str) -> Verdict {
    let mut state = State::new("p", Lineage::default());
    state.resources.extend(known);
    let diff = compute(desired, snapshot, &state, &kinds());
    diff.resources[&Address::new(KIND, key)].verdict.clone()
}

#[test]
fn intent_and_drift_are_distinguished() {
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
fn resource_of_another_project_is_foreign() {
    for known in [None, Some(owned("x", "old"))] {
        let found = verdict(&desired("x", "old"), &seen("x", Some(body("old")), "q"), known, "x");
        assert_eq!(found, Verdict::Foreign { owner: "q".into() });
    }
}

#[test]
fn renamed_key_keeps_its_resource() {
    let snapshot = seen("y", Some(body("old")), "p");
    assert_eq!(verdict(&desired("y", "old"), &snapshot, Some(owned("x", "old")), "y"), Verdict::Keep);
    let old = verdict(&desired("y", "old"), &snapshot, Some(owned("x", "old")), "x");
    assert_eq!(old, Verdict::Forget { why: NotDeleted::NewKey, before: None });
}

#[test]
fn resource_that_became_unmanaged_is_not_deleted() {
    let (mut nothing, address) = (Desired::default(), Address::new(KIND, "x"));
    let found = |desired: &Desired| verdict(desired, &seen("x", Some(body("old")), "p"), Some(owned("x", "old")), "x");
    assert!(matches!(found(&nothing), Verdict::Delete { .. }));
    nothing.unmanaged.insert(ObjectIdentity::new(&kinds(), address.kind(), &scope(), "another").into_owned());
    assert!(matches!(found(&nothing), Verdict::Delete { .. }), "the entry names another thing now");
    nothing.unmanaged.insert(ObjectIdentity::new(&kinds(), address.kind(), &scope(), "r").into_owned());
    assert!(matches!(found(&nothing), Verdict::Forget { before: Some(_), .. }));
}

#[test]
fn unreadable_resource_is_not_absent() {
    let snapshot = Snapshot {
        seen: [(Address::new(KIND, "x"), Seen::Unreadable { why: "403".into(), cause: ReadFailure::Other })].into(),
    };
    for known in [None, Some(owned("x", "old"))] {
        assert_eq!(verdict(&desired("x", "old"), &snapshot, known, "x"), Verdict::Unreadable { why: "403".into() });
    }
}

/// A KMS key, found by alias.
struct Key;

impl Kind for Key {
    const ABOUT: &'static About = &About { named_by: NamedBy::Alias, ..About::plain("aws.kms.key") };
    type Body = serde_json::Value;

    fn scopes(_: &Spec) -> BTreeSet<Scope> {
        BTreeSet::new()
    }

    fn facet(_: Instance<'_>) -> Facet<'_> {
        Facet::None
    }

    fn desire(_: &Spec, _: &Facts, _: &Chains, _: &mut DesiredResources<Self::Body>) {}
}

/// The policy of a KMS key, found by alias.
struct KeyPolicy;

impl Kind for KeyPolicy {
    const ABOUT: &'static About = &About { named_by: NamedBy::Alias, ..About::plain("aws.kms.key_policy") };
    type Body = serde_json::Value;

    fn scopes(_: &Spec) -> BTreeSet<Scope> {
        BTreeSet::new()
    }

    fn facet(_: Instance<'_>) -> Facet<'_> {
        Facet::None
    }

    fn desire(_: &Spec, _: &Facts, _: &Chains, _: &mut DesiredResources<Self::Body>) {}
}

fn with_id(address: (Address, Owned), id: &str) -> (Address, Owned) {
    (address.0, Owned { unique_id: Some(id.into()), ..address.1 })
}

/// The verdicts on resources named `x`, with their known and their observed ids. `wanted` is whether the spec has them.
fn verdicts(kinds: &[(&'static str, Option<&str>, &str, Option<&str>)], wanted: bool) -> BTreeMap<String, Verdict> {
    let mut state = State::new("p", Lineage::default());
    let (mut all, mut snapshot) = (Desired::default(), Snapshot::default());
    let key = Address::new(Key::NAME, "x");
    let mut before: Vec<Reference> = Vec::new();
    for (kind, known, found, owner) in kinds {
        let address = Address::new(kind, "x");
        let references = if *kind == KeyPolicy::NAME { std::mem::take(&mut before) } else { Vec::new() };
        before.push(Reference { to: key.clone(), part: false });
        let owned = Owned { unique_id: known.map(Into::into), references: references.clone(), ..owned("x", "old").1 };
        state.resources.insert(address.clone(), owned);
        let mut live = body("old").tree();
        live["unique_id"] = (*found).into();
        let seen = Seen::Present { body: Document::from(live), owner: owner.map(Into::into) };
        snapshot.seen.insert(address.clone(), seen);
        let resource = Resource { references, ..Resource::new(address.clone(), scope(), "r", body("old")) };
        if wanted {
            all.resources.insert(address, Arc::new(resource));
        }
    }
    let diff = compute(&all, &snapshot, &state, &self::kinds());
    diff.resources.into_iter().map(|(address, resource)| (address.kind().to_string(), resource.verdict)).collect()
}

#[test]
fn alias_repointed_to_another_key_is_detected() {
    let another = Verdict::Another { known: "1".into(), found: "2".into() };
    for (wanted, owner) in [(true, None), (true, Some("p")), (true, Some("q")), (false, None), (false, Some("p"))] {
        let found = verdicts(&[(Key::NAME, Some("1"), "2", owner)], wanted);
        assert_eq!(found[Key::NAME], another, "{wanted} {owner:?}");
        let found = verdicts(&[(KeyPolicy::NAME, Some("1"), "2", owner)], wanted);
        assert_eq!(found[KeyPolicy::NAME], another, "{wanted} {owner:?}: of a key that is not managed");
    }
    assert_eq!(verdicts(&[(Key::NAME, Some("1"), "1", Some("p"))], true)[Key::NAME], Verdict::Keep);
    assert_eq!(verdicts(&[(Key::NAME, None, "2", Some("p"))], true)[Key::NAME], Verdict::Keep, "no id is known yet");
}

#[test]
fn key_policy_belongs_to_the_key_in_the_state() {
    let found = verdicts(&[(Key::NAME, Some("2"), "2", Some("p")), (KeyPolicy::NAME, Some("1"), "2", Some("p"))], true);
    assert_eq!(found[KeyPolicy::NAME], Verdict::Keep, "the key was recreated, and its policy is not written yet");
    let found = verdicts(&[(Key::NAME, Some("1"), "2", None), (KeyPolicy::NAME, None, "2", None)], true);
    assert_eq!(found[KeyPolicy::NAME], Verdict::Another { known: "1".into(), found: "2".into() });
}

#[test]
fn role_recreated_outside_without_our_tag_is_foreign() {
    let check = |owner, wanted| verdicts(&[(KIND, Some("1"), "2", owner)], wanted).remove(KIND).unwrap();
    assert_eq!(check(None, true), Verdict::Adopt);
    assert_eq!(check(None, false), Verdict::Forget { why: NotDeleted::Taken, before: None });
    assert_eq!(check(Some("p"), true), Verdict::Keep, "it was recreated with our ownership tag");
    assert!(matches!(check(Some("p"), false), Verdict::Delete { .. }));
}

#[test]
fn resource_recreated_outside_is_access_drift() {
    let mut state = State::new("p", Lineage::default());
    state.resources.extend([with_id(owned("x", "old"), "1")]);
    let mut live = body("old").tree();
    live["unique_id"] = "2".into();
    let diff = compute(&desired("x", "old"), &seen("x", Some(Document::from(live)), "p"), &state, &kinds());
    let [drift] = drift(&diff, &[], &kinds()).try_into().unwrap();
    assert_eq!(drift.class, DriftClass::Access);
    assert_eq!(drift.what, Drifted::RecreatedOutside { was: "1".into(), is: "2".into() });
}

fn unreadable(key: &str) -> Snapshot {
    let seen = Seen::Unreadable { why: "403".into(), cause: ReadFailure::Other };
    Snapshot { seen: [(Address::new(KIND, key), seen)].into() }
}

#[test]
fn unreadable_object_that_may_carry_our_tags_is_not_forgotten() {
    let mut elsewhere = Desired::default();
    let kind = Address::new(KIND, "x");
    elsewhere.unmanaged.insert(ObjectIdentity::new(&kinds(), kind.kind(), &scope(), "r").into_owned());
    let found = verdict(&elsewhere, &unreadable("x"), Some(owned("x", "old")), "x");
    assert_eq!(found, Verdict::Unreadable { why: "403".into() });
}

#[test]
fn an_interrupted_creation_without_our_tag_is_not_deleted() {
    let interrupted = || Some((Address::new(KIND, "x"), Owned { body: None, ..owned("x", "old").1 }));
    let live = |owner: Option<&str>| {
        let seen = Seen::Present { body: body("old"), owner: owner.map(Into::into) };
        Snapshot { seen: [(Address::new(KIND, "x"), seen)].into() }
    };
    let nothing = Desired::default();
    assert_eq!(verdict(&nothing, &live(None), interrupted(), "x"), Verdict::MaybeForeign);
    assert!(matches!(verdict(&nothing, &live(Some("p")), interrupted(), "x"), Verdict::Delete { .. }));
    assert!(matches!(verdict(&nothing, &live(None), Some(owned("x", "old")), "x"), Verdict::Delete { .. }));
}

#[test]
fn change_of_an_interrupted_run_is_incomplete_not_outside() {
    let mut state = State::new("p", Lineage::default());
    state.resources.extend([owned("x", "old")]);
    let diff = compute(&desired("x", "new"), &seen("x", Some(body("new")), "p"), &state, &kinds());
    let what =
        |unfinished: &[Address]| drift(&diff, unfinished, &kinds()).into_iter().map(|d| d.what).collect::<Vec<_>>();
    assert_eq!(what(&[]), [Drifted::ChangedOutside]);
    assert_eq!(what(&[Address::new(KIND, "x")]), [Drifted::Incomplete]);
}

#[test]
fn an_interrupted_creation_that_cannot_be_read_is_reported_as_unreadable() {
    let (address, known) = owned("x", "old");
    let mut state = State::new("p", Lineage::default());
    state.resources.insert(address, Owned { body: None, ..known });
    let diff = compute(&Desired::default(), &unreadable("x"), &state, &kinds());
    let [found] = drift(&diff, &[], &kinds()).try_into().unwrap();
    assert_eq!((found.class, found.what), (DriftClass::Unreadable, Drifted::Unreadable { why: "403".into() }));
}

#[test]
fn deposed_objects_are_found_by_their_address() {
    let deposed = |name: &str, id: &str, now| DeposedDiff {
        address: Address::new(KIND, name),
        key: DeposedKey::of(&scope(), id),
        object: Owned::new(scope(), id, None),
        now,
        released: false,
    };
    let all = [deposed("a", "1", false), deposed("b", "2", false), deposed("b", "3", true), deposed("c", "4", false)];
    let diff = Diff { deposed: all.to_vec(), ..Diff::default() };
    let at =
        |name| diff.deposed_at(&Address::new(KIND, name)).map(|d| d.object.physical_id.as_str()).collect::<Vec<_>>();
    assert_eq!((at("a"), at("b"), at("c"), at("d")), (vec!["1"], vec!["2", "3"], vec!["4"], vec![]));
    let now = |name| diff.deposed_now(&Address::new(KIND, name)).map(|d| d.object.physical_id.as_str());
    assert_eq!((now("a"), now("b")), (None, Some("3")));
}
