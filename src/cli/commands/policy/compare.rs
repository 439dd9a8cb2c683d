//! `policy equal`, `policy diff`, `policy implies`, `policy grants` and `policy public`: what policies allow, compared
//! with others or asked by itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::answers::Compared;
use super::kinds::PolicyType;
use super::read::{accepted, placed, policy_text, statement_row};
use crate::access::{self, AccessChange, Direction, ExampleRequest};
use crate::cli::failure::{Ended, ErrorKind, Exit, Failure};
use crate::cli::options::TextOrJson;
use crate::cli::ui::Ui;
use crate::iam::{Policy, PolicyComparison, Statement, compare, grants, public};
use crate::render;
use crate::report::{Report, Section, access_section, words};

/// The type and the output that all these commands share.
#[derive(Debug, Args)]
pub struct How {
    /// The type of the policies, by default inferred from each document.
    #[arg(long = "type", value_name = "TYPE", value_parser = super::check::kind)]
    pub kind: Option<PolicyType>,
    /// Read JSON lines: one question in, one answer out.
    #[arg(long)]
    pub jsonl: bool,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
}

/// The arguments of `policy equal`.
#[derive(Debug, Args)]
pub struct EqualArgs {
    /// Two policy files. With --jsonl, one file of JSON lines; stdin by default.
    #[arg(required_unless_present = "jsonl")]
    pub file: Vec<PathBuf>,
    #[command(flatten)]
    pub how: How,
}

/// The arguments of `policy diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The policy before and after. With --jsonl, one file of JSON lines; stdin by default.
    #[arg(required_unless_present = "jsonl")]
    pub file: Vec<PathBuf>,
    /// Exit with 2 only if access is gained, or only if it is lost.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = FailOn::Any)]
    fail_on: FailOn,
    /// Show a request for each change.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    pub how: How,
}

/// The arguments of `policy implies`.
#[derive(Debug, Args)]
pub struct ImpliesArgs {
    /// The new policy and the reference. With --jsonl, one file of JSON lines; stdin by default.
    #[arg(required_unless_present = "jsonl")]
    pub file: Vec<PathBuf>,
    #[command(flatten)]
    pub how: How,
}

/// The arguments of `policy grants`.
#[derive(Debug, Args)]
pub struct GrantsArgs {
    /// A policy file. With --jsonl, a file of JSON lines; stdin by default.
    #[arg(required_unless_present = "jsonl")]
    pub file: Vec<PathBuf>,
    /// An action, or a pattern of actions; may be repeated. All actions by default.
    #[arg(long)]
    action: Vec<String>,
    /// The ARN of a resource, or a pattern of ARNs; may be repeated. All resources by default.
    #[arg(long, value_name = "ARN")]
    resource: Vec<String>,
    #[command(flatten)]
    pub how: How,
}

/// The arguments of `policy public`.
#[derive(Debug, Args)]
pub struct PublicArgs {
    /// A policy file. With --jsonl, a file of JSON lines; stdin by default.
    #[arg(required_unless_present = "jsonl")]
    pub file: Vec<PathBuf>,
    #[command(flatten)]
    pub how: How,
}

/// The changes of access that make `policy diff` exit with 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Gains.
    Gain,
    /// Losses.
    Loss,
    /// Gains and losses.
    Any,
}

impl FailOn {
    fn includes(self, direction: Direction) -> bool {
        match direction {
            Direction::Gain => self != Self::Loss,
            Direction::Loss => self != Self::Gain,
            Direction::Unknown => false,
        }
    }
}

/// Reads a policy that AWS would accept.
///
/// # Errors
/// Why it cannot be read, or all problems of the document.
pub(super) fn read(ui: &Ui, kind: Option<PolicyType>, path: &Path) -> Result<Policy, Failure> {
    let text = policy_text(ui, path).map_err(Failure::new)?;
    accepted(kind, &text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| placed(path, p)).collect();
        Failure::all(ErrorKind::Input, lines)
    })
}

/// Reads two policies. The problems of both are reported together.
fn read_two(ui: &Ui, how: &How, files: &[PathBuf], usage: &str) -> Result<(Policy, Policy), Failure> {
    let [one, other] = files else {
        let found = files.len();
        return Err(Failure::usage(format!("this command compares two policies, and the command line names {found}"))
            .hint(format!("write `bailiwick policy {usage}`")));
    };
    match (read(ui, how.kind, one), read(ui, how.kind, other)) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err(one.and(other)),
        (Err(one), Ok(_)) | (Ok(_), Err(one)) => Err(one),
    }
}

fn read_one(ui: &Ui, how: &How, files: &[PathBuf], usage: &str) -> Result<Policy, Failure> {
    let [file] = files else {
        let found = files.len();
        return Err(Failure::usage(format!("this command takes one policy, and the command line names {found}"))
            .hint(format!("write `bailiwick policy {usage}`")));
    };
    read(ui, how.kind, file)
}

pub(super) fn run_equal(ui: &Ui, equal: &EqualArgs) -> Ended {
    let (a, b) = read_two(ui, &equal.how, &equal.file, "equal A B")?;
    let comparison = compare(&a, &b);
    if equal.how.format == TextOrJson::Json {
        let value = serde_json::to_value(Compared::new(None, &comparison)).map_err(|e| Failure::new(e.to_string()))?;
        ui.result(&render::json(&value));
    }
    let (exit, headline) = match &comparison {
        PolicyComparison::Equal => (Exit::Ok, "the policies are equivalent"),
        PolicyComparison::Differ(_) => (Exit::Differs, "the policies differ"),
        PolicyComparison::Undecided(_) => (Exit::Error, "it cannot be decided whether the policies are equivalent"),
    };
    if equal.how.format == TextOrJson::Json {
        return Ok(exit);
    }
    let mut report = Report { headline: headline.into(), sections: Vec::new(), footer: Vec::new() };
    match comparison {
        PolicyComparison::Equal => {}
        PolicyComparison::Differ(request) => {
            let pairs = equal.file.iter().zip([(&a, &b), (&b, &a)]);
            let only = pairs.map(|(path, (own, other))| (path, alone(own, other)));
            let only = only.filter(|(_, statements)| !statements.is_empty());
            report.sections.extend(only.map(|(path, statements)| Section {
                title: format!("Only in {}", path.display()),
                rows: statements.into_iter().map(statement_row).collect(),
            }));
            report.footer.push(format!("They decide this differently: {}.", words::request(&(&*request).into())));
            if a.version() != b.version() {
                report.footer.push(format!(
                    "The versions are {} and {}: `${{...}}` is a variable only since 2012-10-17.",
                    a.version().as_str(),
                    b.version().as_str()
                ));
            }
        }
        PolicyComparison::Undecided(changes) => {
            let regions: BTreeSet<String> = changes.iter().map(|change| change.region.to_string()).collect();
            report.footer.extend(regions.into_iter().map(|region| format!("In question: {region}.")));
        }
    }
    ui.result(&render::terminal(&report, ui.palette()));
    Ok(exit)
}

/// Returns the statements of a policy that another policy does not cover.
fn alone<'a>(policy: &'a Policy, other: &Policy) -> Vec<&'a Statement> {
    let adds = |statement: &&Statement| {
        let own = Policy::new(policy.version(), [(*statement).clone()]);
        compare(&other.merge(&own), other) != PolicyComparison::Equal
    };
    policy.statements().iter().filter(adds).collect()
}

pub(super) fn run_diff(ui: &Ui, diff: &DiffArgs) -> Ended {
    let (old, new) = read_two(ui, &diff.how, &diff.file, "diff BEFORE AFTER")?;
    let changes = access::between_policies(&old, &new);
    let title = match changes.iter().filter(|change| change.change != Direction::Unknown).count() {
        0 => "no access changes".to_owned(),
        1 => "1 access change".to_owned(),
        n => format!("{n} access changes"),
    };
    show(ui, &diff.how, title, &changes, diff.verbose);
    if changes.iter().any(|change| change.change == Direction::Unknown) {
        return Ok(Exit::Error);
    }
    Ok(exit(&changes, |change| diff.fail_on.includes(change)))
}

pub(super) fn run_implies(ui: &Ui, implies: &ImpliesArgs) -> Ended {
    let (new, reference) = read_two(ui, &implies.how, &implies.file, "implies NEW REFERENCE")?;
    let mut changes = access::between_policies(&reference, &new);
    changes.retain(|change| change.change != Direction::Loss);
    let nothing = "the new policy allows nothing that the reference does not allow";
    Ok(answered(ui, &implies.how, &changes, [nothing, "the new policy allows more than the reference"]))
}

pub(super) fn run_grants(ui: &Ui, asked: &GrantsArgs) -> Ended {
    let policy = read_one(ui, &asked.how, &asked.file, "grants FILE --action ACTION --resource ARN")?;
    check_question(&asked.action, &asked.resource).map_err(Failure::usage)?;
    let changes = access::rows(&[(Direction::Gain, grants(&policy, &asked.action, &asked.resource))]);
    Ok(answered(ui, &asked.how, &changes, ["the policy allows none of it", "the policy allows some of it"]))
}

/// Checks that actions and resources can be asked about.
///
/// # Errors
/// The first that cannot.
pub(super) fn check_question(actions: &[String], resources: &[String]) -> Result<(), String> {
    if let Some(action) = actions.iter().find(|action| *action != "*" && !action.contains(':')) {
        return Err(format!("`{action}` is not an action: write `service:Action`, or `*`"));
    }
    let is_resource = |text: &str| text == "*" || text.starts_with("arn:") || text.starts_with("arn*");
    match resources.iter().find(|resource| !is_resource(resource)) {
        Some(resource) => Err(format!("`{resource}` is not a resource: write an ARN, or `*`")),
        None => Ok(()),
    }
}

pub(super) fn run_public(ui: &Ui, asked: &PublicArgs) -> Ended {
    let policy = read_one(ui, &asked.how, &asked.file, "public FILE")?;
    let changes = access::rows(&[(Direction::Gain, public(&policy))]);
    Ok(answered(ui, &asked.how, &changes, ["the policy is not public", "the policy is public"]))
}

/// Prints the answer to whether there is a gain, as a sentence for no and one for yes, and returns the exit code.
fn answered(ui: &Ui, how: &How, changes: &[AccessChange], [no, yes]: [&str; 2]) -> Exit {
    let exit = exit(changes, |change| change == Direction::Gain);
    let title = match exit {
        Exit::Ok => no.to_owned(),
        Exit::Differs => yes.to_owned(),
        _ => format!("it cannot be decided whether {yes}"),
    };
    show(ui, how, title, changes, true);
    exit
}

/// The exit code: 2 if a change counts, 1 if one cannot be decided, 0 otherwise.
fn exit(changes: &[AccessChange], counts: impl Fn(Direction) -> bool) -> Exit {
    if changes.iter().any(|change| counts(change.change)) {
        Exit::Differs
    } else if changes.iter().any(|change| change.change == Direction::Unknown) {
        Exit::Error
    } else {
        Exit::Ok
    }
}

/// Prints rows of access. `verbose` adds their requests.
fn show(ui: &Ui, how: &How, headline: String, changes: &[AccessChange], verbose: bool) {
    if how.format == TextOrJson::Json {
        ui.result(&format!("{:#}\n", serde_json::json!({ "access_changes": changes })));
        return;
    }
    let mut footer: Vec<String> = Vec::new();
    if verbose {
        let examples: BTreeSet<&ExampleRequest> = changes.iter().filter_map(|c| c.example.as_ref()).collect();
        footer.extend(examples.into_iter().map(|example| format!("For example: {}.", words::request(example))));
    }
    if changes.iter().any(|change| change.change == Direction::Unknown) {
        footer.push(
            "For rows with \"may gain or lose\", neither a request that shows a change nor a proof was found."
                .to_owned(),
        );
    }
    let sections = access_section(changes, false).into_iter().collect();
    ui.result(&render::terminal(&Report { headline, sections, footer }, ui.palette()));
}
