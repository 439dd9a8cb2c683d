use super::*;
use crate::report::{Detail, Mark, Report, Row, Section};

const HOSTILE: &str = "a\u{1b}[31m`|<b>@you\u{202e}\u{9b}x";

fn report(title: &str) -> Report {
    let row = Row {
        mark: Mark::Add,
        title: title.into(),
        place: String::new(),
        notes: vec![title.into(), "many words that have to be broken somewhere ".repeat(4)],
        details: vec![Detail::Value { path: "x".into(), before: None, after: Some(title.into()) }],
    };
    Report {
        headline: title.into(),
        sections: vec![Section { title: "Changes".into(), rows: vec![row] }],
        footer: vec![title.into()],
    }
}

#[test]
fn hostile_text_is_inert_on_a_terminal() {
    let text = terminal(&report(HOSTILE), Palette::default());
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{text:?}");
    assert!(text.contains("\\u{1b}[31m"), "{text}");
}

#[test]
fn hostile_text_is_inert_in_markdown() {
    let text = markdown(&report(HOSTILE));
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{text:?}");
    assert!(text.contains("&lt;b&gt;&#64;you"), "{text}");
    // Text in a code span or a fence is literal, and cannot close either.
    assert!(text.contains("``a\\u{1b}[31m`|<b>"), "{text}");
}

#[test]
fn hostile_text_is_inert_in_json_and_reads_back() {
    let value = serde_json::json!({ "x": HOSTILE });
    let text = json(&value);
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{text:?}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
}

#[test]
fn words_are_broken_at_eighty_columns_and_names_are_not() {
    let long = "n".repeat(100);
    let text = terminal(&report(&long), Palette::default());
    assert!(text.lines().all(|l| l.chars().count() <= 80 || l.contains(&long)), "{text}");
    assert!(text.lines().count() > 6);
}

#[test]
fn large_comment_is_shortened_to_fit() {
    let mut large = report("x");
    let row = large.sections[0].rows[0].clone();
    large.sections[0].rows = vec![row; 5_000];
    let text = markdown(&large);
    assert!(text.len() < 65_536 && text.contains("left out to fit"), "{}", text.len());
}
