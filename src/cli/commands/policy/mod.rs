//! `policy`: questions about plain policy documents, without a spec.

mod check;
mod kinds;
mod read;
mod stream;

use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use self::check::CheckArgs;
use self::read::{policy_text, unreadable};
use self::stream::{Decided, NamedPolicy, Policies, Question, answer_all};
use crate::access;
use crate::cli::failure::{Ended, ErrorKind, Exit, Failure};
use crate::cli::options::TextOrJson;
use crate::cli::run::Invocation;
use crate::cli::ui::Ui;
use crate::iam::{
    ContextValue, DecisionOutcome, Dependency, Effect, ParseError, Policy, Request, RequestContext, Statement, Version,
    bucket_of, equivalent, evaluate,
};
use crate::render;
use crate::report::{Detail, Mark, Report, Row, Section, access_section, policy_lines, words};

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
    /// Exits with 0 without findings above info, 2 with such findings, and 1 if AWS would reject a document or a
    /// file cannot be read.
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
  aws s3api get-bucket-policy --bucket acme-data --query Policy \\
    --output text | bailiwick policy fmt -")]
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
  bailiwick policy eval --principal arn:aws:iam::111111111111:role/trainer \\
    --action s3:GetObject --resource arn:aws:s3:::acme-data/train/part-0 \\
    --identity role.json
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
    /// The policy of the bucket behind the access point that --resource names.
    #[arg(long, value_name = "FILE")]
    bucket_policy: Option<PathBuf>,
    /// The name of that bucket. Without --bucket-policy, the bucket has no policy.
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
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

fn run(ui: &Ui, command: &PolicyCommand) -> Ended {
    match command {
        PolicyCommand::Check(check) if check.jsonl => stream(ui, Question::Check(check.kind), one(&check.file)?),
        PolicyCommand::Equal(equal) if equal.jsonl => stream(ui, Question::Equal, one(&equal.file)?),
        PolicyCommand::Eval(eval) if eval.jsonl => stream(ui, Question::Eval, eval.file.as_deref()),
        PolicyCommand::Diff { file, jsonl: true, .. } => stream(ui, Question::Diff, one(file)?),
        PolicyCommand::Diff { file, format, .. } => run_diff(ui, file, *format),
        PolicyCommand::Check(check) => Ok(check::run(ui, check)),
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
            let file = std::fs::File::open(ui.host().at(path)).map_err(|e| Failure::new(unreadable(path, &e)))?;
            answer_all(question, BufReader::with_capacity(1 << 18, file), out)
        }
        None => answer_all(question, BufReader::with_capacity(1 << 18, std::io::stdin().lock()), out),
    };
    match told {
        Ok(told) if told.unusable > 0 => {
            let (lines, were) = if told.lines == 1 { ("line", "was") } else { ("lines", "were") };
            ui.tell(&format!("{} of {} {lines} {were} invalid", told.unusable, told.lines));
            Ok(Exit::Ok)
        }
        Ok(_) => Ok(Exit::Ok),
        // A closed pipe is not an error.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(Failure::new(format!("the stream ended early: {error}"))),
    }
}

fn read_policy(ui: &Ui, path: &Path) -> Result<Policy, Failure> {
    let text = policy_text(ui, path).map_err(Failure::new)?;
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

/// A condition of a decision with `if` or `unless`, and its statement.
fn dependency_row(dependency: &Dependency<'_>) -> Row {
    let word = if dependency.is_negated() { "unless" } else { "if" };
    let statement = dependency.of.as_ref().map(|applied| {
        let sid = applied.statement.sid().map(|sid| format!(" `{sid}`")).unwrap_or_default();
        let layer = applied.layer.as_str().replace('_', " ");
        format!("statement {}{sid} of {}, {layer}", applied.statement.position(), applied.policy)
    });
    Row {
        mark: Mark::Warn,
        title: format!("{word} {}", dependency.on),
        place: String::new(),
        notes: statement.into_iter().collect(),
        details: Vec::new(),
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
    let own = |path: &PathBuf| {
        let policy = named(path)?;
        let name = eval.bucket.as_deref().or_else(|| bucket_of(&policy.policy));
        let unnamed = || Failure::usage(format!("{} names no bucket", path.display())).hint("pass --bucket NAME");
        Ok::<_, Failure>((name.ok_or_else(unnamed)?.to_owned(), policy))
    };
    let none =
        |name: &String| (name.clone(), NamedPolicy { name: String::new(), policy: Policy::new(Version::V2012, []) });
    let bucket = match &eval.bucket_policy {
        Some(path) => Some(own(path)?),
        None => eval.bucket.as_ref().map(none),
    };
    Ok(Policies {
        identity: list(&eval.identity)?,
        bucket,
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
    let set = policies.set_for(&request);
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
            let conditions = decision.conditions.iter().map(dependency_row).collect();
            let sections = [("Decided by", rows.collect()), ("Conditions", conditions)]
                .into_iter()
                .filter(|(_, rows): &(_, Vec<Row>)| !rows.is_empty())
                .map(|(title, rows)| Section { title: title.into(), rows })
                .collect();
            let report = Report {
                headline: format!("{}: {}", words::verdict(decision.outcome.into()), decision.reason()),
                sections,
                footer: Vec::new(),
            };
            ui.result(&render::terminal(&report, ui.palette()));
        }
    }
    Ok(if decision.outcome == DecisionOutcome::Allowed { Exit::Ok } else { Exit::Differs })
}
