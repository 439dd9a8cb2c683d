//! Access for readers: what a plan changes, and answers with their chains.

use super::wire::WireAccessChange;
use super::{Mark, Report, Row, Section};
use crate::access::{Answer, Hop, Verdict};

/// The section of gains and losses. With steps and no change of access it says so.
#[must_use]
pub fn section(changes: &[WireAccessChange], has_steps: bool) -> Option<Section> {
    if changes.is_empty() {
        let row = note("no access changes".to_owned());
        return has_steps.then(|| Section { title: "Access".into(), rows: vec![row] });
    }
    Some(Section { title: "Access".into(), rows: rows(changes) })
}

fn note(title: String) -> Row {
    Row { mark: Mark::Note, title, place: String::new(), notes: Vec::new(), details: Vec::new() }
}

/// One row for everybody who gains and one for everybody who loses; under it what and where, and the hops of the chain
/// that all of it goes through. The statements behind each line are in the JSON.
fn rows(changes: &[WireAccessChange]) -> Vec<Row> {
    changes
        .chunk_by(|a, b| (&a.who, &a.change) == (&b.who, &b.change))
        .filter_map(|group| {
            let first = group.first()?;
            let (sign, verb) = if first.change == "gain" { (Mark::Add, "gains") } else { (Mark::Remove, "loses") };
            let crossed = loud(&first.crosses).filter(|_| group.iter().all(|c| c.crosses == first.crosses));
            let mut notes: Vec<String> = group
                .iter()
                .map(|change| line(change, loud(&change.crosses).filter(|_| crossed.is_none()).as_deref()))
                .collect();
            let common: Vec<&str> =
                first.via.iter().filter(|hop| group.iter().all(|c| c.via.contains(hop))).map(String::as_str).collect();
            if !common.is_empty() {
                notes.push(format!("via {}", common.join(", ")));
            }
            let loud_gain = sign == Mark::Add && group.iter().any(|c| !c.crosses.is_empty());
            let mark = if loud_gain { Mark::Warn } else { sign };
            let crossed = crossed.map(|words| format!(" {words}")).unwrap_or_default();
            Some(Row { mark, notes, ..note(format!("{} {verb}{crossed}", first.who)) })
        })
        .collect()
}

/// `read (s3:GetObject) on bucket/prefix*, except ..., if ...`.
fn line(change: &WireAccessChange, crossed: Option<&str>) -> String {
    let actions = if change.actions.is_empty() { String::new() } else { format!(" ({})", change.actions.join(", ")) };
    let mut text = format!("{}{actions} on {}", change.what, change.place);
    if !change.except.is_empty() {
        text.push_str(&format!(", except {}", change.except.join(", ")));
    }
    if !change.conditions.is_empty() {
        text.push_str(&format!(", if {}", change.conditions.join(" and ")));
    }
    match crossed {
        Some(crossed) => format!("{text} {crossed}"),
        None => text,
    }
}

fn loud(crosses: &[String]) -> Option<String> {
    let words: Vec<&str> = crosses
        .iter()
        .map(|crossing| match crossing.as_str() {
            "account" => "CROSSES ACCOUNTS",
            "cluster" => "CROSSES CLUSTERS",
            _ => "PUBLIC",
        })
        .collect();
    (!words.is_empty()).then(|| format!("[{}]", words.join(", ")))
}

fn hop_row(hop: &Hop) -> Row {
    let mut notes: Vec<String> = hop.statement.iter().cloned().collect();
    notes.extend(hop.mend.iter().map(|mend| format!("to mend it: {mend}")));
    Row { mark: if hop.holds { Mark::Good } else { Mark::Bad }, notes, ..note(hop.what.clone()) }
}

fn conditions_section(answer: &Answer) -> Option<Section> {
    let rows: Vec<Row> = answer.conditions.iter().map(|c| Row { mark: Mark::Warn, ..note(c.clone()) }).collect();
    (!rows.is_empty()).then(|| Section { title: "If".into(), rows })
}

fn verdict(answer: &Answer) -> &'static str {
    match answer.verdict {
        Verdict::Allowed => "may",
        Verdict::Depends => "may, if conditions hold,",
        Verdict::Unknown => "may or may not (not all is known)",
        Verdict::Denied => "may not",
    }
}

/// The report of one answer.
#[must_use]
pub fn answer(answer: &Answer, action: &str, place: &str) -> Report {
    let headline = format!("{} {} {action} on {place}", answer.who, verdict(answer));
    let mut sections = vec![Section { title: "Chain".into(), rows: answer.hops.iter().map(hop_row).collect() }];
    sections.extend(conditions_section(answer));
    Report { headline, sections, footer: Vec::new() }
}

/// The report of everybody who may do something.
#[must_use]
pub fn answers(answers: &[Answer], action: &str, place: &str) -> Report {
    let rows = answers
        .iter()
        .map(|answer| {
            let mark = if answer.foreign || answer.verdict != Verdict::Allowed { Mark::Warn } else { Mark::Good };
            let foreign = if answer.foreign { ", not in the spec" } else { "" };
            let mut notes: Vec<String> = answer
                .hops
                .iter()
                .map(|hop| match &hop.statement {
                    Some(statement) => format!("{} ({statement})", hop.what),
                    None => hop.what.clone(),
                })
                .collect();
            notes.extend(answer.conditions.iter().map(|condition| format!("if {condition}")));
            Row { mark, notes, ..note(format!("{}{foreign}", answer.who)) }
        })
        .collect::<Vec<_>>();
    let headline = match rows.len() {
        0 => format!("nobody may {action} on {place}"),
        1 => format!("1 may {action} on {place}"),
        n => format!("{n} may {action} on {place}"),
    };
    let sections = if rows.is_empty() { Vec::new() } else { vec![Section { title: "Who".into(), rows }] };
    let footer = vec!["Administrators of the accounts themselves are not listed.".to_owned()];
    Report { headline, sections, footer }
}
