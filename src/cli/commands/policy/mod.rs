//! `policy`: questions about plain policy documents, without a spec.

mod answers;
mod check;
mod compare;
mod kinds;
mod read;
mod stream;

use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use self::check::CheckArgs;
use self::compare::{DiffArgs, EqualArgs, GrantsArgs, ImpliesArgs, PublicArgs};
use self::kinds::PolicyType;
use self::read::{placed, policy_text, statement_row, unreadable};
use self::stream::{Decided, NamedPolicy, Policies, Question, answer_all};
use crate::cli::failure::{Ended, ErrorKind, Exit, Failure};
use crate::cli::options::TextOrJson;
use crate::cli::run::Invocation;
use crate::cli::ui::Ui;
use crate::iam::{
    ContextValue, DecisionOutcome, Dependency, Policy, Request, RequestContext, Version, bucket_of, evaluate, simplify,
};
use crate::render;
use crate::report::{Mark, Report, Row, Section, words};

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
    /// Exits with 0 if they are equivalent, 2 if not, and 1 if that cannot be decided or one cannot be read.
    #[command(after_help = "\
Examples:
  bailiwick policy equal a.json b.json
  bailiwick policy equal --jsonl < pairs.jsonl")]
    Equal(EqualArgs),
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
    /// Exits with 0 if access stays the same, 2 if it changes, and 1 if that cannot be decided or a policy cannot be
    /// read.
    #[command(after_help = "\
Examples:
  bailiwick policy diff before.json after.json
  bailiwick policy diff before.json after.json --format json")]
    Diff(DiffArgs),
    /// Show whether a new policy allows anything that a reference does not allow.
    ///
    /// Exits with 0 if it allows nothing more, 2 if it does, and 1 if that cannot be decided or a policy is invalid.
    #[command(after_help = "\
Examples:
  bailiwick policy implies new.json reference.json
  bailiwick policy implies --jsonl < pairs.jsonl")]
    Implies(ImpliesArgs),
    /// Show whether a policy allows any of these actions on these resources.
    ///
    /// Exits with 0 if it allows none of it, 2 if it allows some, and 1 if that cannot be decided or the policy is
    /// invalid.
    #[command(after_help = "\
Examples:
  bailiwick policy grants role.json --action 's3:Delete*'
  bailiwick policy grants role.json --action iam:PassRole")]
    Grants(GrantsArgs),
    /// Show whether a policy lets strangers in.
    ///
    /// Exits with 0 if it does not, 2 if it does, and 1 if that cannot be decided or the policy is invalid.
    #[command(after_help = "\
Examples:
  bailiwick policy public bucket-policy.json
  bailiwick policy public trust.json --type trust")]
    Public(PublicArgs),
    /// Print a smaller policy with the same meaning.
    ///
    /// Exits with 0, and with 1 if the policy is invalid.
    #[command(after_help = "\
Examples:
  bailiwick policy simplify role.json > smaller.json
  aws s3api get-bucket-policy --bucket acme-data --query Policy \\
    --output text | bailiwick policy simplify -")]
    Simplify {
        /// The policy; `-` is stdin.
        #[arg(required_unless_present = "jsonl")]
        file: Option<PathBuf>,
        /// The type of the policy, by default inferred from the document.
        #[arg(long = "type", value_name = "TYPE", value_parser = check::kind)]
        kind: Option<PolicyType>,
        /// Read JSON lines: one policy in, one answer out.
        #[arg(long)]
        jsonl: bool,
        /// Print on one line.
        #[arg(long)]
        compact: bool,
    },
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
        PolicyCommand::Equal(EqualArgs { how, file }) if how.jsonl => stream(ui, Question::Equal, one(file)?),
        PolicyCommand::Diff(DiffArgs { how, file, .. }) if how.jsonl => {
            stream(ui, Question::Diff(how.kind), one(file)?)
        }
        PolicyCommand::Implies(ImpliesArgs { how, file }) if how.jsonl => {
            stream(ui, Question::Implies(how.kind), one(file)?)
        }
        PolicyCommand::Grants(GrantsArgs { how, file, .. }) if how.jsonl => {
            stream(ui, Question::Grants(how.kind), one(file)?)
        }
        PolicyCommand::Public(PublicArgs { how, file }) if how.jsonl => {
            stream(ui, Question::Public(how.kind), one(file)?)
        }
        PolicyCommand::Simplify { jsonl: true, kind, file, .. } => {
            stream(ui, Question::Simplify(*kind), file.as_deref())
        }
        PolicyCommand::Eval(eval) if eval.jsonl => stream(ui, Question::Eval, eval.file.as_deref()),
        PolicyCommand::Diff(diff) => compare::run_diff(ui, diff),
        PolicyCommand::Implies(implies) => compare::run_implies(ui, implies),
        PolicyCommand::Grants(asked) => compare::run_grants(ui, asked),
        PolicyCommand::Public(asked) => compare::run_public(ui, asked),
        PolicyCommand::Simplify { file, kind, compact, .. } => run_simplify(ui, file.as_deref(), *kind, *compact),
        PolicyCommand::Check(check) => Ok(check::run(ui, check)),
        PolicyCommand::Equal(equal) => compare::run_equal(ui, equal),
        PolicyCommand::Fmt { file, compact } => {
            let policy = read_policy(ui, file)?;
            ui.result(&if *compact { format!("{policy}\n") } else { format!("{policy:#}\n") });
            Ok(Exit::Ok)
        }
        PolicyCommand::Eval(eval) => run_eval(ui, eval),
    }
}

fn one(files: &[PathBuf]) -> Result<Option<&Path>, Failure> {
    match files {
        [] => Ok(None),
        [file] => Ok(Some(file)),
        _ => Err(Failure::usage("--jsonl takes one file, or stdin")),
    }
}

fn run_simplify(ui: &Ui, file: Option<&Path>, kind: Option<PolicyType>, compact: bool) -> Ended {
    let policy = compare::read(ui, kind, file.unwrap_or(Path::new("-")))?;
    let simple = simplify(&policy);
    ui.result(&if compact { format!("{simple}\n") } else { format!("{simple:#}\n") });
    let count = |policy: &Policy| policy.to_string().len();
    let (before, after) = (count(&policy), count(&simple));
    ui.tell(&format!("{before} characters before, {after} after; both policies are equivalent"));
    Ok(Exit::Ok)
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
