//! `policy check`: what AWS would reject, what is dangerous, and how large each policy is.

use std::path::PathBuf;

use clap::Args;

use super::kinds::{PolicyType, kind_of, unit};
use super::read::policy_text;
use crate::access::AppliedRule;
use crate::cli::failure::Exit;
use crate::cli::options::ProblemFormat;
use crate::cli::ui::Ui;
use crate::diagnostic::{Code, Diagnostic, SourceRef};
use crate::iam::{AwsRule, Finding, LintSeverity, Subject, disagreements, lint, measure_text, validate};
use crate::render;
use crate::report::wire::{self, WirePolicy, WirePolicySize, WireProblem, WireProblems};
use crate::report::{Mark, Report, Row, Section};

/// The arguments of `policy check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Policy files; `-` is stdin. With --jsonl, one file of JSON lines; stdin by default.
    #[arg(required_unless_present = "jsonl")]
    pub file: Vec<PathBuf>,
    /// Read JSON lines: one case in, one answer out.
    #[arg(long)]
    pub jsonl: bool,
    /// The type of the policies, by default inferred from each document. With --jsonl, for lines without `policy_type`.
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    pub kind: Option<PolicyType>,
    /// The account that owns the policies. Other accounts count as foreign.
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The bucket that a bucket policy is attached to.
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = ProblemFormat::Text)]
    format: ProblemFormat,
}

/// Parses the name of a type.
pub(super) fn kind(text: &str) -> Result<PolicyType, String> {
    PolicyType::named(text)
        .ok_or_else(|| format!("the types are {}", PolicyType::names().collect::<Vec<_>>().join(", ")))
}

/// A checked document.
struct CheckedDocument {
    file: String,
    kind: PolicyType,
    guessed: bool,
    text: String,
    /// Whether AWS accepts it.
    valid: bool,
    findings: Vec<Finding>,
    disagreements: Vec<AwsRule>,
}

/// Checks policy files. A file that cannot be read is a problem among the others.
pub fn run(ui: &Ui, check: &CheckArgs) -> Exit {
    let (mut documents, mut unreadable) = (Vec::new(), Vec::new());
    for path in &check.file {
        let file = path.display().to_string();
        match policy_text(ui, path) {
            Ok(text) => documents.push(checked(check, file, text)),
            Err(why) => unreadable.push(
                Diagnostic::new(Code::UnreadableFile, why)
                    .at(Some(SourceRef::whole(file.into())))
                    .help("pass files with JSON policies"),
            ),
        }
    }
    match check.format {
        ProblemFormat::Sarif => {
            let file = check.file.first().map(|file| file.display().to_string()).unwrap_or_default();
            let found = documents.iter().flat_map(|d| d.findings.iter().map(|finding| diagnostic(d, finding)));
            let problems: Vec<_> = unreadable.iter().cloned().chain(found).collect();
            ui.sarif(&problems, &file);
        }
        ProblemFormat::Text => {
            if !unreadable.is_empty() {
                ui.problems(&unreadable, &[]);
            }
            if !documents.is_empty() {
                ui.result(&render::terminal(&report(&documents), ui.palette()));
            }
        }
        ProblemFormat::Json => ui.result(&render::json(&published(&documents, &unreadable))),
    }
    let refused = !unreadable.is_empty() || documents.iter().any(|d| !d.valid);
    let found = documents.iter().flat_map(|d| &d.findings).any(|f| f.severity > LintSeverity::Info);
    if refused {
        Exit::Error
    } else if found {
        Exit::Differs
    } else {
        Exit::Ok
    }
}

fn checked(check: &CheckArgs, file: String, text: String) -> CheckedDocument {
    let kind = check.kind.unwrap_or_else(|| kind_of(&text));
    let subject = Subject {
        account: check.account.as_deref(),
        bucket: check.bucket.as_deref(),
        place: kind.place,
        ..Subject::of(kind.kind)
    };
    let accepted = validate(kind.kind, &text).ok();
    CheckedDocument {
        file,
        kind,
        guessed: check.kind.is_none(),
        valid: accepted.is_some(),
        disagreements: accepted.map(|policy| disagreements(kind.kind, &policy)).unwrap_or_default(),
        findings: lint(&text, &subject),
        text,
    }
}

/// Converts a finding in a document to a problem of its file.
fn diagnostic(document: &CheckedDocument, finding: &Finding) -> Diagnostic {
    let detail = if finding.detail.is_empty() { String::new() } else { format!(": {}", finding.detail) };
    let statement = match (&finding.sid, finding.statement) {
        (Some(sid), _) => format!(" (statement `{sid}`)"),
        (None, Some(number)) => format!(" (statement {number})"),
        (None, None) => String::new(),
    };
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let file = document.file.as_str().into();
    let place = match finding.place {
        Some((line, column)) => SourceRef::start(file, number(line), number(column)),
        None => SourceRef::whole(file),
    };
    Diagnostic::new(finding.check.into(), format!("{}{detail}{statement}", finding.check.meaning()))
        .severity(finding.severity.into())
        .at(Some(place))
        .help(finding.check.hint())
}

/// Returns the published form, in which findings also name the statement and its element.
fn published(documents: &[CheckedDocument], unreadable: &[Diagnostic]) -> WireProblems {
    let found = documents.iter().flat_map(|document| {
        document.findings.iter().map(|finding| WireProblem {
            statement: finding.statement,
            sid: finding.sid.clone(),
            element: Some(finding.element.clone()).filter(|element| !element.is_empty()),
            ..wire::problem(&diagnostic(document, finding))
        })
    });
    let problems: Vec<_> = unreadable.iter().map(wire::problem).chain(found).collect();
    WireProblems { policies: documents.iter().map(published_policy).collect(), ..wire::problems(problems) }
}

fn published_policy(document: &CheckedDocument) -> WirePolicy {
    let sizes = document.kind.places().into_iter().map(|(place, name)| {
        let size = measure_text(place, &document.text);
        WirePolicySize {
            place: name.to_owned(),
            used: size.used,
            quota: size.quota,
            headroom: size.headroom(),
            over: size.is_over(),
        }
    });
    WirePolicy {
        file: document.file.clone(),
        policy_type: document.kind.name().to_owned(),
        valid: document.valid,
        sizes: sizes.collect(),
        disagreements: document.disagreements.iter().copied().map(AppliedRule::from).collect(),
    }
}

fn report(documents: &[CheckedDocument]) -> Report {
    let findings: usize = documents.iter().map(|d| d.findings.len()).sum();
    let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    let headline = if findings == 0 {
        format!("{}: no findings", plural(documents.len(), "policy").replace("policys", "policies"))
    } else {
        let of = plural(documents.len(), "policy").replace("policys", "policies");
        format!("{} in {of}", plural(findings, "finding"))
    };
    Report { headline, sections: documents.iter().map(section).collect(), footer: Vec::new() }
}

fn section(document: &CheckedDocument) -> Section {
    let guessed = if document.guessed { ", guessed: set it with --type" } else { "" };
    let mut rows: Vec<Row> = document.findings.iter().map(|f| finding_row(&document.file, f)).collect();
    rows.extend(document.disagreements.iter().map(|rule| Row {
        mark: Mark::Note,
        title: rule.to_string(),
        place: String::new(),
        notes: Vec::new(),
        details: Vec::new(),
    }));
    for (place, name) in document.kind.places() {
        let size = measure_text(place, &document.text);
        let unit = unit(place);
        let rest = if size.is_over() {
            format!("{} too many", size.used - size.quota)
        } else {
            format!("{} left", size.headroom())
        };
        rows.push(Row {
            mark: if size.is_over() { Mark::Warn } else { Mark::Note },
            title: format!("{} of {} {unit} for {name}: {rest}", size.used, size.quota),
            place: String::new(),
            notes: Vec::new(),
            details: Vec::new(),
        });
    }
    Section { title: format!("{} ({} policy{guessed})", document.file, document.kind.name()), rows }
}

fn finding_row(file: &str, finding: &Finding) -> Row {
    let severity = finding.severity;
    let mark = match severity {
        LintSeverity::Info | LintSeverity::Low => Mark::Note,
        LintSeverity::Warning | LintSeverity::Medium => Mark::Warn,
        LintSeverity::High | LintSeverity::Critical | LintSeverity::Error => Mark::Bad,
    };
    let detail = if finding.detail.is_empty() { String::new() } else { format!(": {}", finding.detail) };
    let mut notes = Vec::new();
    if let Some(statement) = finding.statement {
        let sid = finding.sid.as_ref().map(|sid| format!(" `{sid}`")).unwrap_or_default();
        let element = if finding.element.is_empty() { String::new() } else { format!(", {}", finding.element) };
        notes.push(format!("statement {statement}{sid}{element}"));
    }
    notes.push(finding.check.hint().to_owned());
    Row {
        mark,
        title: format!("{}: {}{detail} [{}]", severity.as_str(), finding.check.meaning(), finding.check.code()),
        place: match finding.place {
            Some((line, column)) => format!("{file}:{line}:{column}"),
            None => file.to_owned(),
        },
        notes,
        details: Vec::new(),
    }
}
