use super::*;
use crate::address::{AccountId, Region};
use serde_json::json;

fn owned(name: &str) -> Owned {
    Owned::new(
        Scope::account("a", AccountId("1".repeat(12)), Region("us-east-1".into())),
        name,
        Some(Document::from(json!({ "name": name }))),
    )
}

fn address(name: &str) -> Address {
    Address::new("aws.iam.role", name)
}

fn entry(name: &str, happening: Happening) -> Entry {
    Entry::new(("lineage", 3), "2026-01-01T00:00:00Z".into(), address(name), happening)
}

fn begin(name: &str) -> Entry {
    entry(name, Happening::Begin { action: "create".into(), creates: Some(Box::new(owned(name))) })
}

fn end(name: &str) -> Entry {
    entry(name, Happening::End { owned: Some(Box::new(owned(name))) })
}

#[test]
fn a_state_reads_back_and_refuses_others() {
    let mut state = State::new("p", Lineage("l".into()));
    state.resources.insert(address("x"), owned("x"));
    let text = state.to_text().unwrap();
    assert_eq!(State::parse(&text, "p"), Ok(state));
    assert_eq!(State::parse(&text, "q"), Err(StateError::OtherProject { found: "p".into(), expected: "q".into() }));
    assert_eq!(State::parse(&text.replace("\"format\": 1", "\"format\": 2"), "p"), Err(StateError::Newer { found: 2 }));
    assert!(matches!(State::parse(&text[..40], "p"), Err(StateError::Damaged(_))));
    assert!(matches!(State::parse("{}", "p"), Err(StateError::Damaged(_))));
    assert!(matches!(State::parse(" \n", "p"), Err(StateError::Damaged(why)) if why == "it is empty"));
}

#[test]
fn an_edit_is_recognised_and_white_space_and_the_fencing_number_are_none() {
    let mut state = State { serial: 4, ..State::new("p", Lineage("l".into())) };
    state.resources.insert(address("x"), owned("x"));
    let text = state.to_text_under(7).unwrap();
    assert_eq!(State::parse(&text, "p"), Ok(State { fence: 7, ..state.clone() }));
    assert!(State::parse(&text.replace("\n  ", "\n"), "p").is_ok());
    assert!(State::parse(&text.replace("\"fence\": 7", "\"fence\": 8"), "p").is_ok());
    for (from, to) in [("\"serial\": 4", "\"serial\": 5"), ("\"name\": \"x\"", "\"name\": \"x \"")] {
        let edited = text.replace(from, to);
        assert!(edited != text && matches!(State::parse(&edited, "p"), Err(StateError::Edited { .. })), "{edited}");
    }
    let meant = text.replace("\"serial\": 4", "\"serial\": 5");
    let meant: String = meant.lines().filter(|line| !line.contains("\"digest\"")).collect();
    assert_eq!(State::parse(&meant, "p").map(|s| s.serial), Ok(5), "without its digest a state is what it says");
}

#[test]
fn a_begin_without_an_end_is_unknown_and_ours_until_looked_at() {
    let entries = [begin("x"), end("x"), begin("y")];
    let (state, unknown) = fold(State::new("p", Lineage::default()), &entries);
    assert_eq!(unknown, [address("y")]);
    assert!(state.resources[&address("x")].body.is_some());
    assert!(state.resources[&address("y")].body.is_none());
}

#[test]
fn an_unknown_creation_of_what_was_gone_makes_another_one() {
    let mut state = State::new("p", Lineage::default());
    state.resources.insert(address("x"), Owned { unique_id: Some("1".into()), ..owned("x") });
    let update = Happening::Begin { action: "update".into(), creates: Some(Box::new(owned("x"))) };
    let known = |entry| fold(state.clone(), &[entry]).0.resources[&address("x")].clone();
    assert_eq!(known(entry("x", update)).unique_id.as_deref(), Some("1"));
    let anew = known(begin("x"));
    assert_eq!((anew.unique_id, anew.body), (None, None));
}

#[test]
fn a_certain_failure_leaves_nothing_unknown_and_a_deletion_removes() {
    let failed = |certain| entry("x", Happening::Failed { why: "no".into(), certain });
    let (state, unknown) = fold(State::new("p", Lineage::default()), &[begin("x"), failed(true)]);
    assert_eq!((state.resources.len(), unknown.len()), (0, 0));
    let (state, unknown) = fold(State::new("p", Lineage::default()), &[begin("x"), failed(false)]);
    assert_eq!((state.resources.len(), unknown.len()), (1, 1));
    let gone = entry("x", Happening::End { owned: None });
    let (state, _) = fold(State::new("p", Lineage::default()), &[begin("x"), end("x"), gone]);
    assert!(state.resources.is_empty());
}

#[test]
fn a_torn_last_line_is_dropped_at_every_byte() {
    let whole = [begin("x"), end("x"), begin("y")].map(|e| e.line().unwrap()).concat();
    let complete = Journal::parse(whole.as_bytes()).unwrap();
    assert_eq!((complete.entries.len(), complete.torn), (3, false));
    let third = whole[..whole.len() - 1].rfind('\n').unwrap() + 1;
    for cut in third + 1..whole.len() {
        let journal = Journal::parse(&whole.as_bytes()[..cut]).unwrap();
        assert_eq!((journal.entries.len(), journal.torn, journal.sound), (2, true, third), "cut at {cut}");
    }
}

#[test]
fn damage_in_the_middle_is_an_error_and_never_skipped() {
    let lines = [begin("x"), end("x"), begin("y")].map(|e| e.line().unwrap());
    let damaged =
        [lines[0].clone(), lines[1].replace("End", "end").replace("physical", "phisical"), lines[2].clone()].concat();
    assert!(matches!(Journal::parse(damaged.as_bytes()), Err(JournalError::Damaged { line: 2, .. })));
}
