//! Why a command failed, with its exit code, messages and hints.

use std::collections::BTreeMap;

use super::ui::Ui;
use crate::backend::BackendError;
use crate::diagnostic::Diagnostic;
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

/// The result of a command.
pub type Ended = Result<Exit, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    /// The error messages; empty if they have been shown already.
    messages: Vec<String>,
    /// The next actions.
    hints: Vec<String>,
}

impl Failure {
    /// Creates a failure with one message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Error, messages: vec![message.into()], hints: Vec::new() }
    }

    /// Creates a failure for an invalid command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }

    /// Creates a failure with several messages.
    #[must_use]
    pub fn all(messages: Vec<String>) -> Self {
        Self { exit: Exit::Error, messages, hints: Vec::new() }
    }

    /// Creates a failure with a line for each affected object.
    fn listed(message: &str, lines: &[String]) -> Self {
        Self::new(format!("{message}:\n  {}", lines.join("\n  ")))
    }

    /// Creates a failure for problems that have been shown already. It only reports their number.
    #[must_use]
    pub fn shown(problems: usize) -> Self {
        match problems {
            0 => Self::silent(),
            1 => Self::new("1 problem: nothing was read or written remotely"),
            n => Self::new(format!("{n} problems: nothing was read or written remotely")),
        }
    }

    /// Creates a failure without a message, because everything has been shown already.
    #[must_use]
    pub fn silent() -> Self {
        Self::all(Vec::new())
    }

    /// Creates the failure of a live command in a build without clients.
    #[must_use]
    pub fn without_cloud() -> Self {
        Self::new("this build has no AWS and Kubernetes support: it can validate, graph and show")
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Shows the failure, and returns its exit code.
    #[must_use]
    pub fn show(self, ui: &Ui) -> Exit {
        let Self { exit, messages, hints } = self;
        let last = messages.len().saturating_sub(1);
        for (n, message) in messages.into_iter().enumerate() {
            let hints = if n == last { hints.as_slice() } else { &[] };
            let lines = std::iter::once(message).chain(hints.iter().map(|hint| format!("  help: {hint}")));
            ui.error(&lines.collect::<Vec<_>>().join("\n"));
        }
        exit
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
        Self::new(error.to_string())
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Spec(problems) | Stopped::Facts(problems) => Self::shown(problems.len()),
            Stopped::Callers(errors) => Self::all(errors.iter().map(ToString::to_string).collect()),
            Stopped::Backend(error) => Self::from(error),
            Stopped::OtherJournal { place, journal, state } => other_journal(&place, &journal, &state),
            Stopped::Unplannable(errors) => {
                Self::listed("cannot create a plan; nothing was written", &unplannable(&errors))
            }
            Stopped::UnknownTargets(targets) => {
                let unknown = targets.iter().map(|t| format!("`{t}` is neither in the spec nor in the state"));
                Self::new(unknown.collect::<Vec<_>>().join("; "))
            }
            Stopped::Lost { project, addresses } => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                Self::new(words::lost(&project, &addresses).unwrap_or_default())
            }
            Stopped::Refused { refusals, findings } => refused(&refusals, findings),
            Stopped::Partial(left_out) => {
                let lines = left_out.iter().map(|(address, why)| format!("{address}: {}", words::left_out(why)));
                Self::listed("a cluster does not respond, so the plan is partial; nothing was written", &lines.collect::<Vec<_>>())
                    .hint("pass --partial to continue without it")
            }
            Stopped::OtherDigest { expected, found } => {
                Self::new(format!("the plan has the digest {found}, not {expected}: nothing was written"))
            }
            Stopped::OtherProject { plan, spec } => Self::new(format!(
                "the plan is for project `{plan}`, and the spec is for `{spec}`; nothing was written"
            ))
            .hint(format!("pass the spec of `{plan}` with -f, or create a new plan")),
            Stopped::SpecChanged => {
                Self::new("the spec changed since the plan was created; nothing was written").hint(NEW_PLAN)
            }
            Stopped::OtherLineage { plan, state, place } => Self::new(format!(
                "the plan was created from a state of lineage {plan}, but the state in {place} has lineage {state}; nothing \
                 was written"
            ))
            .hint("set the location of that state (--state, or `backend` in the spec), or create a new plan"),
            Stopped::StateChanged => {
                Self::new("the state changed since the plan was created; nothing was written").hint(NEW_PLAN)
            }
            Stopped::Changed(changed) => {
                Self::listed("resources changed since the plan was created; nothing was written", &changed)
                    .hint(NEW_PLAN)
            }
            Stopped::Unread(unread) => {
                let lines = unread.iter().map(|(address, why)| format!("{address}: {why}"));
                Self::listed("cannot read everything that the answer depends on", &lines.collect::<Vec<_>>())
            }
        }
    }
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

/// The failure for a refused plan: the guard's refusals, or else the number of blocking findings.
fn refused(refusals: &[Refusal], findings: usize) -> Failure {
    let reasons: Vec<String> = refusals.iter().map(words::refusal).collect();
    let reasons = match (reasons.is_empty(), findings) {
        (false, _) => reasons.join("; "),
        (true, 1) => "a finding blocks it".to_owned(),
        (true, n) => format!("{n} findings block it"),
    };
    Failure::new(format!("this cannot be applied: {reasons}; nothing was written"))
}

/// The messages when no plan can be built. Resources that cannot be read for the same reason share one message.
fn unplannable(errors: &[PlanError]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut unreadable: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for error in errors {
        match error {
            PlanError::Unreadable { address, why } => unreadable.entry(why).or_default().push(address.to_string()),
            other => lines.push(other.to_string()),
        }
    }
    lines.extend(unreadable.into_iter().map(|(why, addresses)| match addresses.as_slice() {
        [one] => format!("{one}: {why}"),
        [first, rest @ ..] => format!("{first} and {} more: {why}", rest.len()),
        [] => why.to_owned(),
    }));
    lines
}
