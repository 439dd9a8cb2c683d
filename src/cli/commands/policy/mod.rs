//! `policy`: questions about plain policy documents, without a spec.

mod kinds;
mod stream;

use std::io::{BufReader, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use self::kinds::{PolicyType, kind_of, unit};
use self::stream::{Decided, NamedPolicy, Policies, Question, answer_all};
use crate::access;
use crate::cli::failure::{Ended, ErrorKind, Exit, Failure};
use crate::cli::options::{ProblemFormat, TextOrJson};
use crate::cli::run::Invocation;
use crate::cli::ui::Ui;
use crate::diagnostic::{Diagnostic, SourceRef};
use crate::iam::{
    ContextValue, DecisionOutcome, Effect, Finding, LintSeverity, ParseError, Policy, Request, RequestContext,
    Statement, Subject, equivalent, evaluate, lint, measure_text, validate,
};
use crate::render;
use crate::report::{Detail, Mark, Report, Row, Section, access_section, policy_lines};

/// The maximum size of a policy file, in bytes: more than AWS accepts for any policy.
const LARGEST: u64 = 16 << 20;

/// Check, compare, print and evaluate plain policy documents.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bailiwick policy check bucket-policy.json --type bucket
  bailiwick policy diff before.json after.json
  bailiwick policy equal a.json b.json")]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

impl PolicyArgs {
    /// Runs the command.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        run(invocation.ui, &self.command)
    }
}

/// The subcommands of `policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show what AWS would reject, what is dangerous, and how large each policy is.
    ///
    /// Exits with 0 without findings above info, 2 with such findings, and 1 if AWS would reject a document.
    #[command(after_help = "\
Examples:
  bailiwick policy check bucket-policy.json --type bucket
  bailiwick policy check --format sarif policies/*.json > findings.sarif
  bailiwick policy check --jsonl < cases.jsonl")]
    Check(CheckArgs),
    /// Compare the meaning of two policies, and show why they differ.
    ///
    /// Exits with 0 if they are equivalent, 2 if not, and 1 if one cannot be read.
    #[command(after_help = "\
Examples:
  bailiwick policy equal a.json b.json
  bailiwick policy equal --jsonl < pairs.jsonl")]
    Equal(Equal),
    /// Print a policy in canonical form.
    #[command(after_help = "\
Examples:
  bailiwick policy fmt policy.json
  aws s3api get-bucket-policy --bucket acme-data --query Policy --output text | bailiwick policy fmt -")]
    Fmt {
        /// The policy; `-` is stdin.
        file: PathBuf,
        /// Print on one line.
        #[arg(long)]
        compact: bool,
    },
    /// Evaluate a request against the policies that apply to it.
    ///
    /// Exits with 0 if it is allowed, 2 if not, and 1 if something cannot be read.
    #[command(after_help = "\
Examples:
  bailiwick policy eval --principal arn:aws:iam::111111111111:role/trainer --action s3:GetObject \\
    --resource arn:aws:s3:::acme-data/train/part-0 --identity role.json
  bailiwick policy eval --jsonl < requests.jsonl")]
    Eval(Box<Eval>),
    /// Show exactly what access a change of a policy grants and removes.
    ///
    /// Exits with 0 if access stays the same, 2 if it changes, and 1 if a policy cannot be read.
    #[command(after_help = "\
Examples:
  bailiwick policy diff before.json after.json
  bailiwick policy diff before.json after.json --format json")]
    Diff {
        /// The policy before and after. With --jsonl, one file of JSON lines; stdin by default.
        #[arg(required_unless_present = "jsonl")]
        file: Vec<PathBuf>,
        /// Read JSON lines with policies before and after, and requests; report which requests are gained and lost.
        #[arg(long)]
        jsonl: bool,
        /// How to print the result.
        #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
        format: TextOrJson,
    },
}

/// The arguments of `policy check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Policy files; `-` is stdin. With --jsonl, one file of JSON lines; stdin by default.
    #[arg(required_unless_present = "jsonl")]
    file: Vec<PathBuf>,
    /// Read JSON lines: one case in, one answer out.
    #[arg(long)]
    jsonl: bool,
    /// The type of the policies, by default inferred from each document. With --jsonl, for lines without `policy_type`.
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    kind: Option<PolicyType>,
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

/// The arguments of `policy equal`.
#[derive(Debug, Args)]
pub struct Equal {
    /// Two policy files. With --jsonl, one file of JSON lines; stdin by default.
    #[arg(required_unless_present = "jsonl")]
    file: Vec<PathBuf>,
    /// Read JSON lines: one pair in, one answer out.
    #[arg(long)]
    jsonl: bool,
}

/// The arguments of `policy eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// A file of JSON lines; stdin by default.
    #[arg(requires = "jsonl")]
    file: Option<PathBuf>,
    /// Read JSON lines: one case in, one decision out.
    #[arg(long)]
    jsonl: bool,
    /// The caller: an ARN, a service such as `ec2.amazonaws.com`, or `*` for anyone.
    #[arg(long, value_name = "ARN", required_unless_present = "jsonl")]
    principal: Option<String>,
    /// The action, for example `s3:GetObject`.
    #[arg(long, required_unless_present = "jsonl")]
    action: Option<String>,
    /// The ARN of the resource.
    #[arg(long, value_name = "ARN", required_unless_present = "jsonl")]
    resource: Option<String>,
    /// The account that owns the resource, if its ARN does not contain it.
    #[arg(long, value_name = "ID")]
    resource_account: Option<String>,
    /// A condition key and its value; may be repeated, also for several values of one key.
    #[arg(long, value_name = "KEY=VALUE")]
    context: Vec<String>,
    /// A condition key that may have any value, or `*` for all keys that --context does not set.
    #[arg(long, value_name = "KEY")]
    varies: Vec<String>,
    /// An identity-based policy of the caller; may be repeated.
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// The policy of the bucket, key or other resource, or the trust policy of the role.
    #[arg(long, value_name = "FILE")]
    resource_policy: Option<PathBuf>,
    /// The caller's permissions boundary.
    #[arg(long, value_name = "FILE")]
    boundary: Vec<PathBuf>,
    /// A session policy; may be repeated.
    #[arg(long, value_name = "FILE")]
    session: Vec<PathBuf>,
    /// A service control policy; repeat it for each level, from the root down.
    #[arg(long, value_name = "FILE")]
    scp: Vec<PathBuf>,
    /// A resource control policy; repeat it for each level, from the root down.
    #[arg(long, value_name = "FILE")]
    rcp: Vec<PathBuf>,
    /// A VPC endpoint policy; may be repeated.
    #[arg(long, value_name = "FILE")]
    endpoint: Vec<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    format: TextOrJson,
}

fn kind(text: &str) -> Result<PolicyType, String> {
    PolicyType::named(text)
        .ok_or_else(|| format!("the types are {}", PolicyType::names().collect::<Vec<_>>().join(", ")))
}

fn run(ui: &Ui, command: &PolicyCommand) -> Ended {
    match command {
        PolicyCommand::Check(check) if check.jsonl => stream(ui, Question::Check(check.kind), one(&check.file)?),
        PolicyCommand::Equal(equal) if equal.jsonl => stream(ui, Question::Equal, one(&equal.file)?),
        PolicyCommand::Eval(eval) if eval.jsonl => stream(ui, Question::Eval, eval.file.as_deref()),
        PolicyCommand::Diff { file, jsonl: true, .. } => stream(ui, Question::Diff, one(file)?),
        PolicyCommand::Diff { file, format, .. } => run_diff(ui, file, *format),
        PolicyCommand::Check(check) => run_check(ui, check),
        PolicyCommand::Equal(equal) => run_equal(ui, equal),
        PolicyCommand::Fmt { file, compact } => {
            let policy = read_policy(ui, file)?;
            ui.result(&if *compact { format!("{policy}\n") } else { format!("{policy:#}\n") });
            Ok(Exit::Ok)
        }
        PolicyCommand::Eval(eval) => run_eval(ui, eval),
    }
}

/// A comparison of another number of policies than two.
fn two_files(found: usize) -> Failure {
    Failure::usage(format!("this command compares two policies, and the command line names {found}"))
}

fn one(files: &[PathBuf]) -> Result<Option<&Path>, Failure> {
    match files {
        [] => Ok(None),
        [file] => Ok(Some(file)),
        _ => Err(Failure::usage("--jsonl takes one file, or stdin")),
    }
}

fn stream(ui: &Ui, question: Question, file: Option<&Path>) -> Ended {
    let out = ui.stream();
    let told = match file.filter(|f| *f != Path::new("-")) {
        Some(path) => {
            let file = std::fs::File::open(ui.host().at(path)).map_err(|e| unreadable(path, &e))?;
            answer_all(question, BufReader::with_capacity(1 << 18, file), out)
        }
        None => answer_all(question, BufReader::with_capacity(1 << 18, std::io::stdin().lock()), out),
    };
    match told {
        Ok(told) if told.unusable > 0 => {
            ui.tell(&format!("{} of {} lines were invalid", told.unusable, told.lines));
            Ok(Exit::Ok)
        }
        Ok(_) => Ok(Exit::Ok),
        // A closed pipe is not an error.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(Failure::new(format!("the stream ended early: {error}"))),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot read `{}`: {error}", path.display()))
}

fn read_text(ui: &Ui, path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        if std::io::stdin().is_terminal() {
            return Err(Failure::usage("stdin is a terminal").hint("pass a file, or pipe a policy"));
        }
        std::io::stdin().lock().take(LARGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(ui.host().at(path)).and_then(|file| file.take(LARGEST).read_to_string(&mut text))
    };
    read.map_err(|e| unreadable(path, &e))?;
    if text.len() as u64 == LARGEST {
        return Err(Failure::new(format!("`{}` is not a policy: it has {LARGEST} bytes or more", path.display())));
    }
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), ToOwned::to_owned))
}

fn read_policy(ui: &Ui, path: &Path) -> Result<Policy, Failure> {
    let text = read_text(ui, path)?;
    Policy::parse(&text).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| placed(path, p)).collect();
        Failure::all(ErrorKind::Input, lines)
    })
}

fn placed(path: &Path, problem: &ParseError) -> String {
    let place = problem.place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
    let element = if problem.pointer.is_empty() { String::new() } else { format!("{}: ", problem.pointer) };
    format!("{}{place}: {element}{}", path.display(), problem.message)
}

/// A checked document.
struct CheckedDocument {
    file: String,
    kind: PolicyType,
    guessed: bool,
    text: String,
    problems: Vec<ParseError>,
    findings: Vec<Finding>,
}

fn run_check(ui: &Ui, check: &CheckArgs) -> Ended {
    let mut documents = Vec::new();
    for path in &check.file {
        let text = read_text(ui, path)?;
        let kind = check.kind.unwrap_or_else(|| kind_of(&text));
        let subject = Subject {
            account: check.account.as_deref(),
            bucket: check.bucket.as_deref(),
            place: kind.place,
            ..Subject::of(kind.kind)
        };
        documents.push(CheckedDocument {
            file: path.display().to_string(),
            kind,
            guessed: check.kind.is_none(),
            problems: validate(kind.kind, &text).err().unwrap_or_default(),
            findings: lint(&text, &subject),
            text,
        });
    }
    match check.format {
        ProblemFormat::Sarif => {
            let file = documents.first().map_or("-", |document| document.file.as_str());
            ui.sarif(&documents.iter().flat_map(diagnostics).collect::<Vec<_>>(), file);
        }
        ProblemFormat::Text => ui.result(&render::terminal(&checked_report(&documents), ui.palette())),
        ProblemFormat::Json => {
            let files: Vec<_> = documents.iter().map(checked_json).collect();
            ui.result(&crate::render::json(&serde_json::json!({ "format_version": "1.0", "files": files })));
        }
    }
    let refused = documents.iter().any(|d| !d.problems.is_empty());
    let found = documents.iter().flat_map(|d| &d.findings).any(|f| f.check.severity() > LintSeverity::Info);
    Ok(if refused {
        Exit::Error
    } else if found {
        Exit::Differs
    } else {
        Exit::Ok
    })
}

/// Converts the findings in a document to problems of its file.
fn diagnostics(document: &CheckedDocument) -> impl Iterator<Item = Diagnostic> + '_ {
    document.findings.iter().map(|finding| {
        let detail = if finding.detail.is_empty() { String::new() } else { format!(": {}", finding.detail) };
        let statement = match (&finding.sid, finding.statement) {
            (Some(sid), _) => format!(" (statement `{sid}`)"),
            (None, Some(number)) => format!(" (statement {number})"),
            (None, None) => String::new(),
        };
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (line, column) = finding.place.map_or((1, 1), |(line, column)| (number(line), number(column)));
        Diagnostic::new(finding.check.into(), format!("{}{detail}{statement}", finding.check.meaning()))
            .at(Some(SourceRef::start(document.file.as_str().into(), line, column)))
            .help(finding.check.hint())
    })
}

fn checked_report(documents: &[CheckedDocument]) -> Report {
    let findings: usize = documents.iter().map(|d| d.findings.len()).sum();
    let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    let headline = if findings == 0 {
        format!("{}: no findings", plural(documents.len(), "policy").replace("policys", "policies"))
    } else {
        let of = plural(documents.len(), "policy").replace("policys", "policies");
        format!("{} in {of}", plural(findings, "finding"))
    };
    Report { headline, sections: documents.iter().map(checked_section).collect(), footer: Vec::new() }
}

fn checked_section(document: &CheckedDocument) -> Section {
    let guessed = if document.guessed { ", guessed: set it with --type" } else { "" };
    let mut rows: Vec<Row> = document.findings.iter().map(|f| finding_row(&document.file, f)).collect();
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
    let severity = finding.check.severity();
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

fn checked_json(document: &CheckedDocument) -> serde_json::Value {
    let findings: Vec<_> = document
        .findings
        .iter()
        .map(|f| {
            serde_json::json!({
                "code": f.check.code(), "severity": f.check.severity().as_str(), "message": f.check.meaning(),
                "detail": f.detail, "help": f.check.hint(), "statement": f.statement, "sid": f.sid,
                "element": f.element, "line": f.place.map(|p| p.0), "column": f.place.map(|p| p.1),
            })
        })
        .collect();
    let sizes: Vec<_> = document
        .kind
        .places()
        .into_iter()
        .map(|(place, name)| {
            let size = measure_text(place, &document.text);
            serde_json::json!({
                "place": name, "used": size.used, "quota": size.quota, "headroom": size.headroom(), "over": size.is_over(),
            })
        })
        .collect();
    let errors: Vec<String> = document.problems.iter().map(ToString::to_string).collect();
    serde_json::json!({
        "file": document.file, "type": document.kind.name(), "valid": document.problems.is_empty(), "errors": errors,
        "findings": findings, "sizes": sizes,
    })
}

fn run_equal(ui: &Ui, equal: &Equal) -> Ended {
    let [left, right] = equal.file.as_slice() else {
        return Err(two_files(equal.file.len()).hint("write `bailiwick policy equal A B`"));
    };
    let (a, b) = (read_policy(ui, left)?, read_policy(ui, right)?);
    if equivalent(&a, &b) {
        ui.result("the policies are equivalent\n");
        return Ok(Exit::Ok);
    }
    let sections = [(left, &a, &b), (right, &b, &a)]
        .into_iter()
        .map(|(path, own, other)| (path, alone(own, other)))
        .filter(|(_, statements)| !statements.is_empty())
        .map(|(path, statements)| Section {
            title: format!("Only in {}", path.display()),
            rows: statements.into_iter().map(statement_row).collect(),
        })
        .collect();
    let mut footer = Vec::new();
    if a.version() != b.version() {
        footer.push(format!(
            "The versions are {} and {}: `${{...}}` is a variable only since 2012-10-17.",
            a.version().as_str(),
            b.version().as_str()
        ));
    }
    let report = Report { headline: "the policies differ".into(), sections, footer };
    ui.result(&render::terminal(&report, ui.palette()));
    Ok(Exit::Differs)
}

fn run_diff(ui: &Ui, files: &[PathBuf], format: TextOrJson) -> Ended {
    let [before, after] = files else {
        return Err(two_files(files.len()).hint("write `bailiwick policy diff BEFORE AFTER`"));
    };
    let (old, new) = (read_policy(ui, before)?, read_policy(ui, after)?);
    let changes = access::between_policies(&old, &new);
    match format {
        TextOrJson::Json => ui.result(&format!("{:#}\n", serde_json::json!({ "access_changes": changes }))),
        TextOrJson::Text => {
            let headline = match changes.len() {
                0 => "no access changes".to_owned(),
                1 => "1 access change".to_owned(),
                n => format!("{n} access changes"),
            };
            let sections = access_section(&changes, false).into_iter().collect();
            ui.result(&render::terminal(&Report { headline, sections, footer: Vec::new() }, ui.palette()));
        }
    }
    Ok(if changes.is_empty() { Exit::Ok } else { Exit::Differs })
}

/// Returns the statements of a policy that another policy does not cover.
fn alone<'a>(policy: &'a Policy, other: &Policy) -> Vec<&'a Statement> {
    policy
        .statements()
        .iter()
        .filter(|statement| {
            let own = Policy::new(policy.version(), [(*statement).clone()]);
            !equivalent(&other.merge(&own), other)
        })
        .collect()
}

fn statement_row(statement: &Statement) -> Row {
    let sid = statement.sid().map(|sid| format!(" `{sid}`")).unwrap_or_default();
    let policy = serde_json::json!({ "Statement": [statement.to_value()] });
    Row {
        mark: if statement.effect() == Effect::Allow { Mark::Add } else { Mark::Remove },
        title: format!("statement {}{sid}", statement.position()),
        place: String::new(),
        notes: Vec::new(),
        details: vec![Detail::Lines { path: "says".into(), lines: policy_lines(&policy) }],
    }
}

/// Builds the request from the options.
fn request_of(eval: &Eval) -> Result<Request, Failure> {
    let (Some(principal), Some(action), Some(resource)) = (&eval.principal, &eval.action, &eval.resource) else {
        return Err(Failure::usage("no request to decide")
            .hint("pass --principal, --action and --resource for one request, or --jsonl for many"));
    };
    let mut request = Request::new(principal, action, resource);
    request.resource_account.clone_from(&eval.resource_account);
    if eval.varies.iter().any(|key| key == "*") {
        request.context = RequestContext::open();
    }
    for key in eval.varies.iter().filter(|key| *key != "*") {
        request.context.set(key, ContextValue::Varies);
    }
    for pair in &eval.context {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| Failure::usage(format!("`{pair}` is not KEY=VALUE (--context)")))?;
        let value = match request.context.get(key) {
            Some(ContextValue::One(first)) => ContextValue::Many(vec![first.clone(), value.to_owned()]),
            Some(ContextValue::Many(values)) => {
                ContextValue::Many(values.iter().cloned().chain([value.to_owned()]).collect())
            }
            _ => ContextValue::One(value.to_owned()),
        };
        request.context.set(key, value);
    }
    Ok(request.with_own_keys())
}

/// Reads the policies that the options name.
fn policies_of(ui: &Ui, eval: &Eval) -> Result<Policies, Failure> {
    let named =
        |path: &PathBuf| read_policy(ui, path).map(|policy| NamedPolicy { name: path.display().to_string(), policy });
    let list = |paths: &[PathBuf]| paths.iter().map(named).collect::<Result<Vec<_>, _>>();
    let levels = |paths: &[PathBuf]| paths.iter().map(|p| named(p).map(|p| vec![p])).collect::<Result<Vec<_>, _>>();
    Ok(Policies {
        identity: list(&eval.identity)?,
        resource: eval.resource_policy.as_ref().map(named).transpose()?,
        boundaries: list(&eval.boundary)?,
        session: list(&eval.session)?,
        scps: levels(&eval.scp)?,
        rcps: levels(&eval.rcp)?,
        endpoint: list(&eval.endpoint)?,
    })
}

fn run_eval(ui: &Ui, eval: &Eval) -> Ended {
    let request = request_of(eval)?;
    let policies = policies_of(ui, eval)?;
    let set = policies.set();
    let decision = evaluate(&request, &set);
    match eval.format {
        TextOrJson::Json => {
            let value = serde_json::to_value(Decided::new(None, &decision)).map_err(|e| Failure::new(e.to_string()))?;
            ui.result(&crate::render::json(&value));
        }
        TextOrJson::Text => {
            let rows = decision.deciding().map(|applied| Row {
                place: format!("{}, {}", applied.policy, applied.layer.as_str().replace('_', " ")),
                ..statement_row(applied.statement)
            });
            let rows: Vec<Row> = rows.collect();
            let sections =
                if rows.is_empty() { Vec::new() } else { vec![Section { title: "Decided by".into(), rows }] };
            let report = Report {
                headline: format!("{}: {}", decision.outcome.as_str(), decision.reason()),
                sections,
                footer: Vec::new(),
            };
            ui.result(&render::terminal(&report, ui.palette()));
        }
    }
    Ok(if decision.outcome == DecisionOutcome::Allowed { Exit::Ok } else { Exit::Differs })
}
