//! The readers of state, journal, plan files and specs accept any text: they never panic, and never take a damaged file
//! for a valid one. The fuzz targets under `fuzz/` check the same.

use bailiwick::address::{AccountId, Address, Region, Scope};
use bailiwick::document::Document;
use bailiwick::plan::{Plan, PlanFile};
use bailiwick::spec::{OnDestroy, SourceFile, load};
use bailiwick::state::{ActionKind, Deposed, Entry, Happening, Journal, Lineage, Owned, State};
use proptest::prelude::*;

fn owned(name: &str) -> Owned {
    let (account, id) = ("a".to_owned(), AccountId("1".repeat(12)));
    Owned {
        scope: Scope::account(account, id, Region("us-east-1".into())),
        physical_id: name.into(),
        adopted: true,
        body: Some(Document::from(serde_json::json!({ "name": name, "n": 7, "list": [true, null, "ü\u{1}"] }))),
        fingerprint: None,
        unique_id: None,
        references: Vec::new(),
        on_destroy: OnDestroy::Keep,
        protect: true,
    }
}

fn owned_before() -> Owned {
    Owned::new(Scope::cluster("c"), "c/n/s", None)
}

fn state() -> State {
    let mut state = State { serial: 3, fence: 2, ..State::new("p", Lineage("l".into())) };
    state.resources.extend(["x", "y"].map(|name| (Address::new("aws.iam.role", name), owned(name))));
    state.deposed.insert(Address::new("aws.iam.role", "x"), vec![Deposed::new(owned_before())]);
    state
}

fn journal() -> Vec<Entry> {
    let entry = |name: &str, happening| Entry::new(("l", 3), "t".into(), Address::new("aws.iam.role", name), happening);
    vec![
        entry(
            "x",
            Happening::Begin { action: ActionKind::Create, creates: Some(Box::new(owned("x"))), deposes: vec![] },
        ),
        entry("x", Happening::End { owned: Some(Box::new(owned("x"))), deposes: vec![owned_before()] }),
        entry("y", Happening::Failed { why: "no".into(), certain: false }),
        entry("x", Happening::End { owned: None, deposes: vec![] }).about(Some(Deposed::new(owned_before()).key)),
    ]
}

fn lines(entries: &[Entry]) -> Vec<u8> {
    entries.iter().map(|entry| entry.line().unwrap()).collect::<String>().into_bytes()
}

fn plan_file() -> PlanFile {
    let mut plan = Plan { project: "p".into(), ..Plan::default() };
    plan.refreshed.insert(Address::new("aws.iam.role", "x"), owned("x"));
    PlanFile::new(plan, Document::from(serde_json::json!({ "steps": [], "project": "p" })))
}

/// One damage to a file: it is truncated, or some of its bytes are replaced by others.
fn damage(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let replaced = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        "[\\[\\]{}\":,0-9a-z\\\\ \n\t-]{0,3}".prop_map(String::into_bytes),
    ];
    (any::<prop::sample::Index>(), 0..40_usize, replaced, prop::bool::weighted(0.2)).prop_map(
        move |(at, n, new, cut)| {
            let at = at.index(bytes.len());
            let end = if cut { bytes.len() } else { bytes.len().min(at + n) };
            [&bytes[..at], &new, &bytes[end..]].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_state_is_never_taken_for_another(bytes in damage(state().to_text().unwrap().into_bytes())) {
        if let Ok(read) = State::read(&bytes, "p") {
            // A state without its digest is taken as it is; the digest does not cover the fencing number.
            let undigested = !bytes.windows(8).any(|w| w == b"\"digest\"");
            prop_assert!(undigested || State { fence: 2, ..read.clone() } == state(), "{}", String::from_utf8_lossy(&bytes));
            prop_assert_eq!(State::parse(&read.to_text().unwrap(), "p"), Ok(State { digest: None, ..read }));
        }
    }

    #[test]
    fn damaged_journal_yields_only_entries_that_were_written(bytes in damage(lines(&journal()))) {
        if let Ok(read) = Journal::parse(&bytes) {
            let mut left = journal().into_iter();
            for entry in &read.entries {
                prop_assert!(left.any(|happened| happened == *entry), "{:?}", entry);
            }
            prop_assert!(read.sound <= bytes.len());
            prop_assert_eq!(lines(&read.entries), bytes[..read.sound].to_vec());
        }
    }

    #[test]
    fn a_damaged_plan_is_never_taken_for_another(bytes in damage(serde_json::to_vec(&plan_file()).unwrap())) {
        if let Some(read) = std::str::from_utf8(&bytes).ok().and_then(|text| PlanFile::parse(text).ok()) {
            prop_assert_eq!((read.plan, read.report), (plan_file().plan, plan_file().report));
        }
    }

    #[test]
    fn damaged_spec_is_read_or_reported(bytes in damage(SPEC.as_bytes().to_vec())) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (spec, problems) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
        prop_assert!(spec.is_some() || !problems.is_empty());
        prop_assert!(problems.iter().all(|problem| !problem.message.is_empty()));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        prop_assert!(State::parse(&text, "p").is_err());
        prop_assert!(PlanFile::parse(&text).is_err());
        prop_assert!(Journal::parse(text.as_bytes()).is_ok_and(|read| read.entries.is_empty()) || text.contains('\n'));
        let _ = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
    }
}

const SPEC: &str = "version: 1
project: p
backend: { s3: { bucket: some-state, prefix: x, account: a, keep: 3 } }
accounts:
  a: { id: \"111111111111\", region: us-west-2 }
clusters:
  c: { account: a, name: c, context: c }
buckets:
  w: { account: a, name: some-bucket, encryption: { kms_key: k } }
keys: { k: { account: a, alias: k } }
service_accounts:
  s: { cluster: c, namespace: n, name: s }
grants:
  - { to: s, bucket: w, prefix: x/, access: read }
";
