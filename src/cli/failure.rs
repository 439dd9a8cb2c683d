//! Why a command failed, with its exit code, messages and hints.

use std::collections::{BTreeMap, BTreeSet};

use super::ui::Ui;
use crate::access::AskError;
use crate::backend::BackendError;
use crate::diagnostic::{Code, Diagnostic};
use crate::engine::Stopped;
use crate::plan::{PlanError, Refusal};
use crate::report::words;

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Ok = 0,
    /// A problem, a failure, or a refusal.
    Error = 1,
    /// There is a difference, and the caller asked for its exit code.
    Differs = 2,
    /// The command line is invalid (`EX_USAGE` of sysexits).
    Usage = 64,
    /// The run was interrupted.
    Interrupted = 130,
}

/// The kind of error that ended a command. It alone decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line is wrong.
    Usage,
    /// The spec, or a file that the command line names, is invalid.
    Input,
    /// The guard, the checks or an option forbid to go on.
    Refused,
    /// The spec, the state, or a resource changed since the plan was created.
    Stale,
    /// The user did not confirm, or could not be asked.
    Unconfirmed,
    /// Something could not be read or written.
    Failed,
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => Self::Usage,
            ErrorKind::Input | ErrorKind::Refused | ErrorKind::Stale | ErrorKind::Unconfirmed | ErrorKind::Failed => {
                Self::Error
            }
        }
    }
}

/// How a command ended.
pub type Ended = Result<Exit, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    kind: ErrorKind,
    /// The errors; empty if they have been shown already.
    errors: Vec<ShownError>,
}

/// One error, as it is shown.
#[derive(Debug)]
struct ShownError {
    message: String,
    /// The next actions.
    help: Vec<String>,
}

impl ShownError {
    fn new(message: impl Into<String>, help: Option<&str>) -> Self {
        Self { message: message.into(), help: help.map(str::to_owned).into_iter().collect() }
    }
}

impl Failure {
    /// An error.
    pub fn of(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, errors: vec![ShownError::new(message, None)] }
    }

    /// Something could not be read or written.
    pub fn new(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Failed, message)
    }

    /// Creates a failure for an invalid command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Usage, message)
    }

    /// Several errors of one kind.
    #[must_use]
    pub fn all(kind: ErrorKind, messages: Vec<String>) -> Self {
        let errors = messages.into_iter().map(|message| ShownError::new(message, None));
        Self { kind, errors: errors.collect() }
    }

    /// This failure with the errors of another one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.errors.extend(other.errors);
        self
    }

    /// An error with a line for each object that it is about.
    fn listed(kind: ErrorKind, message: &str, lines: &[String]) -> Self {
        Self::of(kind, format!("{message}:\n  {}", lines.join("\n  ")))
    }

    /// Creates a failure for problems that have been shown already. It only reports their number.
    #[must_use]
    pub fn shown(problems: usize) -> Self {
        match problems {
            0 => Self::silent(),
            1 => Self::of(ErrorKind::Input, "1 problem: nothing was written"),
            n => Self::of(ErrorKind::Input, format!("{n} problems: nothing was written")),
        }
    }

    /// Creates a failure without a message, because everything has been shown already.
    #[must_use]
    pub fn silent() -> Self {
        Self::all(ErrorKind::Failed, Vec::new())
    }

    /// Creates the failure of a live command in a build without clients.
    #[must_use]
    pub fn without_cloud() -> Self {
        Self::new("this build has no AWS and Kubernetes support: it can validate, graph and show")
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(error) = self.errors.last_mut() {
            error.help.push(hint.into());
        }
        self
    }

    /// The same with all that can be done about it, each once.
    fn hints(self, hints: impl IntoIterator<Item = String>) -> Self {
        let mut seen = BTreeSet::new();
        hints.into_iter().filter(|hint| seen.insert(hint.clone())).fold(self, Self::hint)
    }

    /// Shows it, and returns the exit code.
    #[must_use]
    pub fn show(self, ui: &Ui) -> Exit {
        let Self { kind, errors } = self;
        let mut errors = errors.into_iter().peekable();
        while let Some(ShownError { message, help }) = errors.next() {
            // Several errors in a row with the same advice show it once.
            let help = if errors.peek().is_some_and(|next| next.help == help) { Vec::new() } else { help };
            let help = help.iter().map(|advice| format!("  {}", words::help(advice)));
            ui.error(&std::iter::once(message).chain(help).collect::<Vec<_>>().join("\n"));
        }
        kind.into()
    }

    /// Why a run did not go on whose plan has been reported, with its refusals and what it leaves out.
    #[must_use]
    pub fn reported(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Refused { refusals, findings } => refused(&refusals, findings, true),
            Stopped::Partial(_) => Self::of(ErrorKind::Refused, PARTIAL).hint(PARTIAL_HELP),
            Stopped::Lost { .. } => Self::of(ErrorKind::Refused, words::LOST_SHORT).hint(words::LOST_HELP),
            other => Self::from(other),
        }
    }

    /// Converts the reason why a run stopped. `show` shows problems of the spec.
    #[must_use]
    pub fn stopped(stopped: Stopped, show: impl FnOnce(Vec<Diagnostic>)) -> Self {
        match stopped {
            Stopped::Spec(problems) => {
                let wrong = problems.len();
                show(problems);
                Self::shown(wrong)
            }
            Stopped::Facts(problems) => {
                show(problems);
                Self::new("the spec cannot be compiled without these facts; nothing was written")
            }
            other => Self::from(other),
        }
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self { kind: ErrorKind::Failed, errors: vec![ShownError::new(error.to_string(), error.help())] }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        Self::usage(error.to_string()).hint(error.help())
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Spec(problems) | Stopped::Facts(problems) => Self::shown(problems.len()),
            Stopped::Callers(errors) => {
                let errors = errors.iter().map(|error| ShownError::new(error.to_string(), error.help()));
                Self { kind: ErrorKind::Failed, errors: errors.collect() }
            }
            Stopped::Backend(error) => Self::from(error),
            Stopped::OtherJournal { place, journal, state } => other_journal(&place, &journal, &state),
            Stopped::Unplannable(errors) => {
                Self::listed(ErrorKind::Failed, "cannot create a plan; nothing was written", &unplannable(&errors))
                    .hints(errors.iter().map(PlanError::help))
            }
            Stopped::UnknownTargets(targets) => {
                let unknown = targets.iter().map(|t| format!("`{t}` is neither in the spec nor in the state"));
                Self::all(ErrorKind::Input, unknown.collect()).hint(ADDRESSES)
            }
            Stopped::Lost { project, addresses } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let message = words::lost(&project, &addresses).unwrap_or_default();
                Self::of(ErrorKind::Refused, message).hint(words::LOST_HELP)
            }
            Stopped::Refused { refusals, findings } => refused(&refusals, findings, false),
            Stopped::Partial(left_out) => {
                let lines = left_out.iter().map(|(address, why)| format!("{address}: {}", words::left_out(why)));
                Self::listed(ErrorKind::Refused, PARTIAL, &lines.collect::<Vec<_>>()).hint(PARTIAL_HELP)
            }
            Stopped::OtherDigest { expected, found } => Self::of(
                ErrorKind::Refused,
                format!("the plan has the digest {found}, not {expected}; nothing was written"),
            )
            .hint("review the plan, and pass its digest to --expect-digest"),
            Stopped::OtherProject { plan, spec } => other_project(&plan, &spec),
            Stopped::SpecChanged => stale("the spec changed since the plan was created; nothing was written"),
            Stopped::OtherLineage { plan, state, place } => other_lineage(&plan, &state, &place),
            Stopped::StateChanged => stale("the state changed since the plan was created; nothing was written"),
            Stopped::Changed(changed) => {
                let lines = changed.iter().map(|(step, how)| words::changed(step, how));
                let message = "resources changed since the plan was created; nothing was written";
                Self::listed(ErrorKind::Stale, message, &lines.collect::<Vec<_>>()).hint(NEW_PLAN)
            }
            Stopped::Unread(unread) => {
                let lines = unread.iter().map(|(address, why)| format!("{address}: {why}"));
                let message = "cannot read everything that the answer depends on";
                Self::listed(ErrorKind::Failed, message, &lines.collect::<Vec<_>>())
                    .hint("fix these read errors, then run the command again")
            }
        }
    }
}

const PARTIAL: &str = "a cluster does not respond, so the plan is partial; nothing was written";

const PARTIAL_HELP: &str = "pass --partial to continue without it";

const ADDRESSES: &str = "`bailiwick state list` and `bailiwick plan` show addresses";

/// A saved plan that does not fit what it was created from.
fn stale(message: impl Into<String>) -> Failure {
    Failure::of(ErrorKind::Stale, message).hint(NEW_PLAN)
}

/// A saved plan of another project than the spec.
fn other_project(plan: &str, spec: &str) -> Failure {
    let message = format!("the plan is for project `{plan}`, and the spec is for `{spec}`; nothing was written");
    Failure::of(ErrorKind::Stale, message).hint(format!("pass the spec of `{plan}` with -f, or create a new plan"))
}

/// A saved plan of another history of states than the stored one.
fn other_lineage(plan: &str, state: &str, place: &str) -> Failure {
    let message = format!(
        "the plan was created from a state of lineage {plan}, but the state in {place} has lineage {state}; nothing was \
         written"
    );
    Failure::of(ErrorKind::Stale, message)
        .hint("set the location of that state (--state, or `backend` in the spec), or create a new plan")
}

const NEW_PLAN: &str = "create a new plan with `bailiwick plan --out FILE`";

/// The failure for a journal that does not belong to the stored state. Takes the lineage and serial of each.
fn other_journal(place: &str, journal: &(String, u64), state: &(String, u64)) -> Failure {
    Failure::new(format!(
        "{place}: the journal continues state {} of lineage {}, but state {} of lineage {} is stored; nothing was written",
        journal.1, journal.0, state.1, state.0
    ))
    .hint(
        "restore the state that the journal continues, or remove the journal and run `bailiwick state rebuild` to find \
         what its run created",
    )
}

/// The refusals of the guard and the blocking findings of a plan. Refusals are listed unless a report has shown them.
fn refused(refusals: &[Refusal], findings: usize, is_reported: bool) -> Failure {
    let mut failure = Failure::all(ErrorKind::Refused, Vec::new());
    if !refusals.is_empty() {
        let message = "the guard refuses this plan; nothing was written";
        let lines: Vec<String> = refusals.iter().map(words::refusal).collect();
        let guard = if is_reported {
            Failure::of(ErrorKind::Refused, message)
        } else {
            Failure::listed(ErrorKind::Refused, message, &lines)
        };
        failure = guard.hints(words::refusals_help(refusals));
    }
    let message = match findings {
        0 => return failure,
        1 => "1 finding blocks this plan; nothing was written".to_owned(),
        n => format!("{n} findings block this plan; nothing was written"),
    };
    failure.errors.push(ShownError::new(message, Some(FINDINGS)));
    failure
}

const FINDINGS: &str = "fix what the findings report, accept them under `accept`, or pass --allow CODE";

/// Why no plan can be made: what cannot be read for the same reason is shown once.
fn unplannable(errors: &[PlanError]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut unreadable: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for error in errors {
        match error {
            PlanError::Unreadable { address, why } => unreadable.entry(why).or_default().push(address.to_string()),
            other => lines.push(format!("{other} [{}]", other.code())),
        }
    }
    let code = Code::UnreadableResource;
    lines.extend(unreadable.into_iter().map(|(why, addresses)| match addresses.as_slice() {
        [one] => format!("{one}: {why} [{code}]"),
        [first, rest @ ..] => format!("{first} and {} more: {why} [{code}]", rest.len()),
        [] => why.to_owned(),
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_error_decides_the_exit_code() {
        let exit = |failure: Failure| Exit::from(failure.kind) as u8;
        assert_eq!(exit(Failure::usage("x")), 64);
        assert_eq!(exit(Failure::new("x")), 1);
        assert_eq!(exit(Stopped::SpecChanged.into()), 1);
        assert_eq!(exit(Failure::shown(2)), 1);
    }
}
