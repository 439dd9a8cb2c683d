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
    entry(
        name,
        Happening::Begin { action: ActionKind::Create, creates: Some(Box::new(owned(name))), deposes: Vec::new() },
    )
}

fn end(name: &str) -> Entry {
    entry(name, Happening::End { owned: Some(Box::new(owned(name))), deposes: Vec::new() })
}

#[test]
fn a_state_reads_back_and_refuses_others() {
    let mut state = State::new("p", Lineage("l".into()));
    state.resources.insert(address("x"), owned("x"));
    let text = state.to_text().unwrap();
    assert_eq!(State::parse(&text, "p"), Ok(state));
    assert_eq!(State::parse(&text, "q"), Err(StateError::OtherProject { found: "p".into(), expected: "q".into() }));
    assert_eq!(State::parse(&text.replace("\"format\": 2", "\"format\": 3"), "p"), Err(StateError::Newer { found: 3 }));
    assert!(matches!(State::parse(&text[..40], "p"), Err(StateError::Damaged(_))));
    assert!(matches!(State::parse("{}", "p"), Err(StateError::Damaged(_))));
    assert!(matches!(State::parse(" \n", "p"), Err(StateError::Damaged(why)) if why == "it is empty"));
}

#[test]
fn edits_are_detected_except_white_space_and_the_fencing_number() {
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
fn begin_without_an_end_is_unknown_and_owned() {
    let entries = [begin("x"), end("x"), begin("y")];
    let (state, unknown) = fold(State::new("p", Lineage::default()), &entries);
    assert_eq!(unknown, [address("y")]);
    assert!(state.resources[&address("x")].body.is_some());
    assert!(state.resources[&address("y")].body.is_none());
}

#[test]
fn unknown_creation_forgets_the_unique_id() {
    let mut state = State::new("p", Lineage::default());
    state.resources.insert(address("x"), Owned { unique_id: Some("1".into()), ..owned("x") });
    let update =
        Happening::Begin { action: ActionKind::Update, creates: Some(Box::new(owned("x"))), deposes: Vec::new() };
    let known = |entry| fold(state.clone(), &[entry]).0.resources[&address("x")].clone();
    assert_eq!(known(entry("x", update)).unique_id.as_deref(), Some("1"));
    let anew = known(begin("x"));
    assert_eq!((anew.unique_id, anew.body), (None, None));
}

#[test]
fn certain_failure_is_not_unknown_and_deletion_removes_the_resource() {
    let failed = |certain| entry("x", Happening::Failed { why: "no".into(), certain });
    let (state, unknown) = fold(State::new("p", Lineage::default()), &[begin("x"), failed(true)]);
    assert_eq!((state.resources.len(), unknown.len()), (0, 0));
    let (state, unknown) = fold(State::new("p", Lineage::default()), &[begin("x"), failed(false)]);
    assert_eq!((state.resources.len(), unknown.len()), (1, 1));
    let gone = entry("x", Happening::End { owned: None, deposes: Vec::new() });
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

/// An entry of format 1 for a role that was renamed twice, with nothing deleted yet.
const FORMER: &str = r#"{"scope":{"account":{"account":"a","id":"111111111111","region":"us-east-1"}},
    "physical_id":"third","body":{"name":"third"},"on_destroy":"delete",
    "former":{"scope":{"account":{"account":"a","id":"111111111111","region":"us-east-1"}},"physical_id":"second",
        "former":{"scope":{"cluster":{"cluster":"c"}},"physical_id":"first"}}}"#;

fn deposed(state: &State) -> Vec<&str> {
    let known = state.deposed.get(&address("x")).into_iter().flatten();
    known.map(|deposed| deposed.object.physical_id.as_str()).collect()
}

#[test]
fn a_state_of_format_1_is_read_and_written_in_this_format() {
    let text = format!(
        r#"{{"format":1,"project":"p","lineage":"l","serial":7,"tool_version":"0.1.0",
            "resources":{{"aws.iam.role.x":{FORMER}}}}}"#
    );
    let state = State::parse(&text, "p").unwrap();
    assert_eq!((state.serial, state.format), (7, 1));
    assert_eq!(state.resources[&address("x")], owned("third"));
    assert_eq!(deposed(&state), ["second", "first"]);
    let written = state.to_text().unwrap();
    assert!(written.contains("\"format\": 2") && !written.contains("former"), "{written}");
    assert_eq!(State::parse(&written, "p"), Ok(State { format: FORMAT, ..state }));
}

/// A journal line of format 1 about `aws.iam.role.x`.
fn line_1(happening: &str) -> String {
    let json = format!(r#"{{"v":1,"state":["l",7],"at":"t","address":"aws.iam.role.x","happening":{happening}}}"#);
    let json = json.replace('\n', " ");
    let checksum = Digest::of(json.as_bytes());
    format!("{json}\t{}\n", checksum.short(16))
}

#[test]
fn journal_of_format_1_is_read_and_continued_in_this_format() {
    let begin = format!(r#"{{"happening":"begin","action":"replace","creates":{FORMER}}}"#);
    let end = format!(r#"{{"happening":"end","owned":{FORMER}}}"#);
    let folded = |lines: &[&str], more: &[Entry]| {
        let text: String = lines.iter().map(|line| line_1(line)).collect();
        let mut journal = Journal::parse(text.as_bytes()).unwrap().entries;
        assert_eq!(journal.len(), lines.len());
        journal.extend(more.iter().cloned());
        let mut state = State::new("p", Lineage("l".into()));
        state.resources.insert(address("x"), owned("second"));
        fold(state, &journal)
    };
    let (state, unknown) = folded(&[&begin], &[]);
    assert_eq!((unknown, deposed(&state)), (vec![address("x")], vec!["second", "first"]));
    assert_eq!(
        (state.resources[&address("x")].physical_id.as_str(), &state.resources[&address("x")].body),
        ("third", &None)
    );
    let (state, unknown) = folded(&[&begin, &end, r#"{"happening":"former_gone"}"#], &[]);
    assert_eq!((unknown, deposed(&state)), (vec![], vec!["first"]));
    assert!(state.resources[&address("x")].body.is_some());
    let key = DeposedKey::of(&Scope::cluster("c"), "first");
    let gone = entry("x", Happening::End { owned: None, deposes: Vec::new() }).about(Some(key));
    let (state, _) = folded(&[&begin, &end, r#"{"happening":"former_gone"}"#], &[gone]);
    assert!(state.deposed.is_empty() && state.resources.contains_key(&address("x")));
    let failed = r#"{"happening":"failed","why":"no","certain":true}"#;
    assert_eq!(folded(&[&begin, failed], &[]).0.resources[&address("x")], owned("second"));
}

#[test]
fn replaced_object_of_an_address_is_deposed() {
    let mut state = State::new("p", Lineage::default());
    state.resources.insert(address("x"), owned("old"));
    let (new, old) = (owned("new"), owned("old"));
    let begin = Happening::Begin {
        action: ActionKind::Create,
        creates: Some(Box::new(new.clone())),
        deposes: vec![old.clone()],
    };
    let end = Happening::End { owned: Some(Box::new(new.clone())), deposes: vec![old.clone()] };
    let (unknown, _) = fold(state.clone(), &[entry("x", begin.clone())]);
    assert_eq!(deposed(&unknown), ["old"], "the creation may have been done");
    // The next run knows the deposed object and does not depose it again.
    let create = Some(Box::new(new.clone()));
    let again = Happening::Begin { action: ActionKind::Create, creates: create.clone(), deposes: Vec::new() };
    let created = Happening::End { owned: create, deposes: Vec::new() };
    for happenings in [vec![begin.clone(), again, created.clone()], vec![begin.clone(), created]] {
        let entries: Vec<Entry> = happenings.into_iter().map(|happening| entry("x", happening)).collect();
        assert_eq!(deposed(&fold(state.clone(), &entries).0), ["old"]);
    }
    let (done, _) = fold(state, &[entry("x", begin), entry("x", end)]);
    assert_eq!((deposed(&done), done.resources[&address("x")].physical_id.as_str()), (vec!["old"], "new"));
    let again = Happening::End { owned: Some(Box::new(old)), deposes: vec![owned("new")] };
    let (again, _) = fold(done, &[entry("x", again)]);
    assert_eq!(deposed(&again), ["new"], "what is named again is not deposed any more");
}

#[test]
fn unfinished_entries_are_those_of_the_last_attempts_only() {
    let begin = |action, name: &str| {
        let creates = Some(Box::new(owned(name)));
        entry(name, Happening::Begin { action, creates, deposes: Vec::new() })
    };
    let end = |name: &str| entry(name, Happening::End { owned: Some(Box::new(owned(name))), deposes: Vec::new() });
    let journal = [
        begin(ActionKind::Create, "x"),
        end("x"),
        begin(ActionKind::Update, "x"),
        begin(ActionKind::Create, "y"),
        end("y"),
    ];
    let (state, unfinished) = replay(State::new("p", Lineage::default()), &journal);
    assert_eq!(unfinished, [&journal[2]]);
    // Written again after the state was saved, they change nothing of it.
    let again: Vec<Entry> = unfinished.into_iter().cloned().collect();
    let (same, unknown) = fold(state.clone(), &again);
    assert_eq!((same, unknown), (state, vec![address("x")]));
}
