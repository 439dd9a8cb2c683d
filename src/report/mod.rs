//! Reports: everything a reader may see, in its final form. Renderers only lay it out.

mod access;
pub mod applied;
mod model;
pub mod wire;
pub mod wire_1;
pub mod words;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

pub use access::{answer, answers, section as access_section};
pub use model::{Detail, Mark, Report, Row, Section};

use crate::address::{Address, Scope};
use crate::diagnostic::Severity;
use crate::diff::{Drift, DriftClass, Recovered};
use crate::document::is_policy;
use crate::event::{Outcome, Outcomes};
use crate::plan::{ActionKind, PLAN_FILE_FORMAT, Plan, Refusal};
use crate::spec::OnDestroy;
use crate::state::{Owned, State};
use wire::{WirePlan, WireProblem, WireStep};

/// The summary of a plan in words: `3 to create, 1 to update, 2 unchanged`.
fn counts(plan: &WirePlan) -> String {
    let summary = &plan.summary;
    let released = plan.steps.iter().filter(|step| step.action == ActionKind::Release).count();
    let parts: Vec<String> = [
        (summary.create, "to create"),
        (summary.update, "to update"),
        (summary.replace, "to replace"),
        (summary.delete, "to delete"),
        (summary.adopt, "to adopt"),
        (released, "to release"),
        (summary.forget.saturating_sub(released), "to forget"),
    ]
    .iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, word)| format!("{n} {word}"))
    .chain([format!("{} unchanged", summary.unchanged)])
    .collect();
    parts.join(", ")
}

/// The report of a plan, built from its published form alone, so that `plan`, `apply` and `show` print the same.
/// `verbose` adds findings of severity info.
#[must_use]
pub fn plan(plan: &WirePlan, verbose: bool) -> Report {
    let warning = |title: &str, note: &str| Row {
        mark: Mark::Warn,
        title: title.to_owned(),
        place: String::new(),
        notes: vec![note.to_owned()],
        details: Vec::new(),
    };
    let mut sections = Vec::new();
    if !plan.interrupted.is_empty() {
        let note = "the last run was interrupted while it changed this; it was read again";
        let rows = plan.interrupted.iter().map(|address| warning(address, note)).collect();
        sections.push(Section { title: "Left by an interrupted run".into(), rows });
    }
    let is_empty = plan.steps.is_empty();
    sections.extend(access::section(&plan.access_changes, !is_empty));
    // The step that creates the replacement also shows the deletion.
    let replaced: BTreeSet<&String> = plan.steps.iter().filter_map(|step| step.replaces.as_ref()).collect();
    let is_shown = |step: &&WireStep| step.action != ActionKind::Delete || !replaced.contains(&step.id);
    let rows: Vec<Row> = plan.steps.iter().filter(is_shown).map(step_row).collect();
    if !rows.is_empty() {
        sections.push(Section { title: "Changes".into(), rows });
    }
    if !plan.left_out.is_empty() {
        let row = |left_out: &wire::WireLeftOut| warning(&left_out.address, &words::left_out(&left_out.why));
        let rows = plan.left_out.iter().map(row).collect();
        sections.push(Section { title: "Left out: this plan is partial".into(), rows });
    }
    sections.extend(findings_section(&plan.findings, verbose));
    if !plan.refusals.is_empty() {
        let row = |refusal: &Refusal| {
            let notes = words::refusals_help(std::slice::from_ref(refusal));
            Row { mark: Mark::Bad, notes, ..warning(&words::refusal(refusal), "") }
        };
        sections.push(Section { title: "Refused".into(), rows: plan.refusals.iter().map(row).collect() });
    }
    let mut headline = if is_empty {
        format!("{}: nothing to do, {} unchanged", plan.project, plan.summary.unchanged)
    } else {
        format!("{}: {}", plan.project, counts(plan))
    };
    if !plan.left_out.is_empty() {
        headline = format!("{headline}, {} left out", plan.left_out.len());
    }
    let footer = lost(plan).into_iter().collect();
    Report { headline, sections, footer }
}

/// The digest of a plan, which `apply --expect-digest` checks. A plan without steps needs none.
#[must_use]
pub fn digest(plan: &WirePlan) -> Option<String> {
    (!plan.steps.is_empty()).then(|| format!("Plan digest {}", plan.plan_digest))
}

/// The message that ownership tags were found without a state, if they were.
#[must_use]
pub fn lost(plan: &WirePlan) -> Option<String> {
    words::lost(&plan.project, &plan.lost)
}

/// The commands that apply a saved plan.
#[must_use]
pub fn how_to_apply(plan: &WirePlan, path: &Path) -> String {
    if plan.format_version != PLAN_FILE_FORMAT {
        let (format, path) = (&plan.format_version, path.display());
        return format!(
            "This plan has format {format} and cannot be applied: create a new plan with `bailiwick plan --out {path}`"
        );
    }
    let partial = if plan.left_out.is_empty() { "" } else { " --partial" };
    format!("Saved: apply exactly this with `bailiwick apply {}{partial}`", path.display())
}

/// The section of findings, if there are any. Without `verbose` it omits findings of severity info, and accepted ones in
/// statements of others.
#[must_use]
pub fn findings_section(findings: &[WireProblem], verbose: bool) -> Option<Section> {
    let rows: Vec<Row> = findings
        .iter()
        .filter(|f| verbose || f.severity > Severity::Info)
        .filter(|f| verbose || f.accepted.is_none() || f.statement_digest.is_none())
        .map(|f| {
            let mark = match (f.severity, &f.accepted) {
                (_, Some(_)) | (Severity::Info, _) => Mark::Note,
                (Severity::Warning, _) => Mark::Warn,
                (Severity::Error, _) => Mark::Bad,
            };
            let mut notes = Vec::new();
            notes.extend(f.help.clone());
            notes.extend(f.accepted.as_ref().map(|why| format!("accepted: {why}")));
            // The lines after the first are meant to be copied, so no code or note may follow them.
            let (first, rest) = f.message.split_at(f.message.find('\n').unwrap_or(f.message.len()));
            Row {
                mark,
                title: format!("{first} [{}]{rest}", f.code),
                place: f.source.as_ref().map(ToString::to_string).unwrap_or_default(),
                notes,
                details: Vec::new(),
            }
        })
        .collect();
    (!rows.is_empty()).then(|| Section { title: "Findings".into(), rows })
}

fn place(scope: &Scope) -> String {
    match (scope.as_cluster(), &scope.owner) {
        (Some(cluster), _) => format!("cluster {cluster}"),
        (None, Some(owner)) => format!("{} {owner}", scope.key),
        (None, None) => scope.key.clone(),
    }
}

/// The place of a step: an account with its id, or a cluster.
fn step_place(step: &WireStep) -> String {
    match (&step.account, &step.account_id, &step.cluster) {
        (Some(account), Some(id), _) => format!("{account} {id}"),
        (_, _, Some(cluster)) => format!("cluster {cluster}"),
        _ => String::new(),
    }
}

fn step_row(step: &WireStep) -> Row {
    let mark = match step.action {
        ActionKind::Create if step.replaces.is_some() => Mark::Replace,
        ActionKind::Create => Mark::Add,
        ActionKind::Update => Mark::Change,
        ActionKind::Delete => Mark::Remove,
        ActionKind::Adopt => Mark::Adopt,
        ActionKind::Release | ActionKind::Record => Mark::Forget,
    };
    let source = step.source.as_ref().map(|s| format!(" ({}:{})", s.file, s.line)).unwrap_or_default();
    let details = match (step.action, &step.before, &step.after) {
        (ActionKind::Create, _, Some(after)) => whole(&after.tree()),
        (ActionKind::Update | ActionKind::Adopt, Some(before), Some(after)) => {
            crate::document::Document::differences(before, after)
                .into_iter()
                .flat_map(|d| changed(d.path.as_str(), d.before.as_ref(), d.after.as_ref()))
                .collect()
        }
        _ => Vec::new(),
    };
    Row {
        mark,
        title: step.address.clone(),
        place: step_place(step),
        notes: vec![format!("{}{source}", words::reasons(&step.reasons))],
        details,
    }
}

/// The fields of a new resource. Ownership tags are omitted: every resource has them.
fn whole(body: &Value) -> Vec<Detail> {
    let mut details = Vec::new();
    for (key, value) in body.as_object().into_iter().flatten() {
        if is_policy(value) {
            details.push(Detail::Lines { path: key.clone(), lines: policy_lines(value) });
            continue;
        }
        match value {
            // A set.
            Value::Object(map) if !map.is_empty() && map.values().all(|v| *v == Value::Bool(true)) => {
                let names: Vec<&str> = map.keys().map(String::as_str).collect();
                details.push(Detail::Value { path: key.clone(), before: None, after: Some(names.join(", ")) });
            }
            Value::Object(map) => {
                for (name, inner) in map.iter().filter(|(name, _)| !name.starts_with("bailiwick:")) {
                    details.push(Detail::Value {
                        path: format!("{key}.{name}"),
                        before: None,
                        after: Some(short(inner)),
                    });
                }
            }
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            _ => details.push(Detail::Value { path: key.clone(), before: None, after: Some(short(value)) }),
        }
    }
    details
}

fn changed(path: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<Detail> {
    let structured = |v: Option<&Value>| v.is_some_and(|v| is_policy(v) || v.is_array() || v.is_object());
    if structured(before) || structured(after) {
        let text =
            |v: Option<&Value>| v.map(|v| serde_json::to_string_pretty(v).unwrap_or_default()).unwrap_or_default();
        return vec![Detail::Diff { path: path.to_owned(), before: text(before), after: text(after) }];
    }
    vec![Detail::Value { path: path.to_owned(), before: before.map(short), after: after.map(short) }]
}

/// A value on one line. Text with line breaks is quoted so that it cannot pass for lines of the report.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) if !text.contains('\n') => text.clone(),
        other => other.to_string(),
    }
}

/// A policy in words, a few lines per statement.
#[must_use]
pub fn policy_lines(policy: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for statement in policy.get("Statement").and_then(Value::as_array).into_iter().flatten() {
        let list = |key: &str| statement.get(key).map(words);
        let effect = statement.get("Effect").and_then(Value::as_str).unwrap_or("Allow").to_lowercase();
        let action = list("Action").or_else(|| list("NotAction").map(|a| format!("all but {a}"))).unwrap_or_default();
        lines.push(format!("{effect} {action}"));
        let resource = list("Resource").or_else(|| list("NotResource").map(|r| format!("all but {r}")));
        if let Some(resource) = resource {
            lines.push(format!("  on {resource}"));
        }
        match (statement.get("Principal"), statement.get("NotPrincipal")) {
            (Some(principal), _) => lines.push(format!("  to {}", principals(principal))),
            (_, Some(principal)) => lines.push(format!("  to all but {}", principals(principal))),
            _ => {}
        }
        for (operator, tests) in statement.get("Condition").and_then(Value::as_object).into_iter().flatten() {
            for (key, values) in tests.as_object().into_iter().flatten() {
                lines.push(format!("  if {operator} {key}: {}", words(values)));
            }
        }
    }
    lines
}

fn words(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(short).collect::<Vec<_>>().join(", "),
        other => short(other),
    }
}

fn principals(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            map.iter().map(|(kind, who)| format!("{kind} {}", words(who))).collect::<Vec<_>>().join(" and ")
        }
        other => short(other),
    }
}

/// The report of drift, with the findings on live policies.
#[must_use]
pub fn drift(project: &str, drift: &[Drift], findings: &[WireProblem], verbose: bool) -> Report {
    let mut sections = Vec::new();
    let classes =
        [DriftClass::Unreadable, DriftClass::Access, DriftClass::Managed, DriftClass::Cosmetic, DriftClass::Foreign];
    for class in classes {
        let rows: Vec<Row> = drift
            .iter()
            .filter(|d| d.class == class)
            .map(|d| Row {
                mark: match class {
                    DriftClass::Unreadable | DriftClass::Access => Mark::Bad,
                    DriftClass::Managed => Mark::Warn,
                    _ => Mark::Note,
                },
                title: d.address.to_string(),
                place: String::new(),
                notes: vec![words::drifted(&d.what)],
                details: d
                    .differences
                    .iter()
                    .flat_map(|x| changed(x.path.as_str(), x.before.as_ref(), x.after.as_ref()))
                    .collect(),
            })
            .collect();
        if !rows.is_empty() {
            sections.push(Section { title: words::drift_class(class).into(), rows });
        }
    }
    sections.extend(findings_section(findings, verbose));
    let unread = drift.iter().filter(|d| d.class == DriftClass::Unreadable).count();
    let resources = |n: usize| format!("{n} resource{}", if n == 1 { "" } else { "s" });
    let headline = match (drift.len() - unread, unread) {
        (0, 0) => format!("{project}: no drift since the last apply"),
        (n, 0) => format!("{project}: {} drifted since the last apply", resources(n)),
        (0, m) => format!("{project}: unknown whether anything drifted: {} cannot be compared", resources(m)),
        (n, m) => format!("{project}: {} drifted since the last apply, and {m} cannot be compared", resources(n)),
    };
    Report { headline, sections, footer: Vec::new() }
}

/// The report of `state rebuild`: the recovered entries, those that the state still has, and, with `orphans`, orphaned
/// resources.
#[must_use]
pub fn recovered(state: &State, found: &Recovered, orphans: bool) -> Report {
    Report {
        headline: recovered_headline(state, found),
        sections: recovered_sections(found, orphans),
        footer: recovered_footer(found, orphans),
    }
}

fn recovered_sections(found: &Recovered, orphans: bool) -> Vec<Section> {
    let row = |mark, address: &Address, place: String, notes: Vec<String>| Row {
        mark,
        title: address.to_string(),
        place,
        notes,
        details: Vec::new(),
    };
    let ours = found.ours.iter().map(|(address, owned)| {
        let stays = if owned.adopted {
            vec!["it existed before this project: destroy releases it and does not delete it".into()]
        } else {
            Vec::new()
        };
        row(Mark::Adopt, address, place(&owned.scope), stays)
    });
    let foreign = found.foreign.iter().map(|(address, owner)| {
        row(Mark::Bad, address, String::new(), vec![format!("it belongs to project `{owner}`")])
    });
    let untagged = found.untagged.iter().map(|address| {
        row(
            Mark::Note,
            address,
            String::new(),
            vec!["it exists without an ownership tag: the next plan shows whether it can be adopted".into()],
        )
    });
    let unreadable =
        found.unreadable.iter().map(|(address, why)| row(Mark::Warn, address, String::new(), vec![why.clone()]));
    let fate = |owned: &Owned| match (orphans, owned.on_destroy, owned.adopted) {
        (false, _, _) => "not added to the state",
        (true, OnDestroy::Keep, _) => "the next plan keeps it, and removes only its ownership tags",
        (true, OnDestroy::Delete, true) => "it existed before this project: the next plan releases it",
        (true, OnDestroy::Delete, false) => "the next plan deletes it",
    };
    let left = found.orphans.iter().map(|(address, owned)| {
        row(Mark::Warn, address, place(&owned.scope), vec![format!("`{}`: {}", owned.physical_id, fate(owned))])
    });
    let clashing = found.clashing.iter().map(|resource| {
        let why = format!("`{}`: its tag names another resource: delete it or the tag", resource.physical_id);
        row(Mark::Warn, &resource.address, place(&resource.scope), vec![why])
    });
    let unlisted = found.unlisted.iter().map(|(what, why)| Row {
        mark: Mark::Warn,
        title: what.clone(),
        place: String::new(),
        notes: vec![why.clone()],
        details: Vec::new(),
    });
    let sections: [(&str, Vec<Row>); 5] = [
        ("Carries the ownership tag of this project", ours.collect()),
        ("Cannot be read", unreadable.collect()),
        ("Not added to the state", foreign.chain(untagged).collect()),
        ("Orphaned: carries the ownership tag of this project, but is not in the spec", left.chain(clashing).collect()),
        ("Cannot be searched for orphaned resources", unlisted.collect()),
    ];
    let sections = sections.into_iter().filter(|(_, rows)| !rows.is_empty());
    sections.map(|(title, rows)| Section { title: title.into(), rows }).collect()
}

fn recovered_headline(state: &State, found: &Recovered) -> String {
    let (n, unread, absent) = (found.ours.len(), found.unreadable.len(), found.absent.len());
    // An interrupted run leaves entries that may or may not exist.
    let known = state.resources.values().filter(|owned| owned.body.is_some()).count();
    let interrupted = state.resources.len() - known;
    let project = &state.project;
    let mut headline = format!("{project}: {n} to add to the state, {known} already in it, {absent} absent");
    if interrupted > 0 {
        headline = format!("{headline}, {interrupted} of an interrupted run, which the next plan reads again");
    }
    if unread > 0 {
        headline = format!("{headline}, {unread} unreadable");
    }
    headline
}

fn recovered_footer(found: &Recovered, orphans: bool) -> Vec<String> {
    let mut footer = Vec::new();
    let (n, left) = (found.ours.len(), found.orphans.len());
    if left > 0 && !orphans {
        footer.push(format!(
            "{left} orphaned: removed from the spec before the state was lost, or described by another spec of this project. \
             If nothing needs them, --orphans adds them to the state, and the next plan shows what becomes of each."
        ));
    }
    if n > 0 || (left > 0 && orphans) {
        footer.push(
            "Ownership tags do not record which resources existed before this project: name each with --adopted ADDRESS, or \
             destroy deletes it."
                .into(),
        );
    }
    footer
}

/// The final report of an apply. `command` completes the remaining steps.
#[must_use]
pub fn applied(command: &str, plan: &Plan, outcomes: &Outcomes) -> Report {
    let (mut done, mut failed, mut unknown, mut skipped, mut left) = (0, 0, 0, 0, 0);
    let mut rows = Vec::new();
    for step in &plan.steps {
        let row = |mark, note: String| Row {
            mark,
            title: format!("{} {}", step.action(), step.id()),
            place: place(&step.scope),
            notes: vec![note],
            details: Vec::new(),
        };
        match outcomes.get(step.id()) {
            Some(Outcome::Done) => done += 1,
            Some(Outcome::Failed { kind: _, why, help, certain }) => {
                failed += 1;
                let doubt = if *certain { "" } else { " (the next run checks it again)" };
                let mut row = row(Mark::Bad, format!("failed: {why}{doubt}"));
                row.notes.extend(help.as_deref().map(words::help));
                rows.push(row);
            }
            Some(Outcome::Unknown { why }) => {
                unknown += 1;
                rows.push(row(Mark::Warn, format!("unknown: {why} (the next run checks it again)")));
            }
            Some(Outcome::Skipped { because }) => {
                skipped += 1;
                rows.push(row(Mark::Warn, format!("skipped: {}", words::skipped(because))));
            }
            Some(Outcome::NotStarted { why }) => {
                left += 1;
                rows.push(row(Mark::Warn, format!("not started: {why}")));
            }
            Some(Outcome::Interrupted) | None => {
                left += 1;
                rows.push(row(Mark::Warn, "not started: the run was interrupted".into()));
            }
        }
    }
    let mut headline = format!("{}: {done} done", plan.project);
    for (n, word) in [(failed, "failed"), (unknown, "unknown"), (skipped, "skipped"), (left, "not started")] {
        if n > 0 {
            headline = format!("{headline}, {n} {word}");
        }
    }
    let mut footer = Vec::new();
    if failed + unknown + skipped + left > 0 {
        footer.push(format!("Run `bailiwick {command}` again to complete the remaining steps."));
    }
    let sections = if rows.is_empty() { Vec::new() } else { vec![Section { title: "Not done".into(), rows }] };
    Report { headline, sections, footer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use crate::event::FailureKind;
    use crate::state::Lineage;

    #[test]
    fn what_to_do_about_a_failed_step_is_a_line_of_its_own() {
        let step = crate::plan::tests::step("x", crate::plan::tests::deleted(None, None));
        let (kind, help) = (FailureKind::LockedOut, Some("exclude the caller".to_owned()));
        let failed = Outcome::Failed { kind, why: "it would lock out the caller".into(), help, certain: true };
        let outcomes = [(step.id().clone(), failed)].into();
        let report = applied("apply", &Plan { steps: vec![step], ..Plan::default() }, &outcomes);
        assert_eq!(
            report.sections[0].rows[0].notes,
            ["failed: it would lock out the caller", "help: exclude the caller"]
        );
    }

    #[test]
    fn resources_of_an_interrupted_run_are_not_reported_as_known() {
        let mut state = State::new("p", Lineage("l".into()));
        for (name, body) in [("done", Some(Document::default())), ("open", None)] {
            let owned = Owned::new(Scope::cluster("c"), name, body);
            state.resources.insert(Address::new("aws.iam.role", name), owned);
        }
        assert_eq!(
            recovered(&state, &Recovered::default(), false).headline,
            "p: 0 to add to the state, 1 already in it, 0 absent, 1 of an interrupted run, which the next plan reads again"
        );
    }
}
