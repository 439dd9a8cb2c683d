//! What happens while reading and applying; the only link to reporting.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::plan::{ActionKind, StepId};
use crate::snapshot::ReadFailure;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Looking has begun.
    Observing {
        /// How many resources will be observed.
        total: usize,
    },
    /// A batch has been observed.
    Observed {
        /// How many resources.
        count: usize,
    },
    /// A step has begun.
    Started {
        /// The step.
        step: StepId,
        /// What it does.
        action: ActionKind,
    },
    /// A step waits for something outside before it tries again.
    Waiting {
        /// The step.
        step: StepId,
        /// What it waits for.
        awaited: String,
        /// For how long before the next try.
        pause: Duration,
    },
    /// A step has ended.
    Ended {
        /// The step.
        step: StepId,
        /// What it did.
        action: ActionKind,
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It failed, and why.
    Failed {
        /// What kind of failure it is.
        kind: FailureKind,
        /// Why.
        why: String,
        /// What to do about it.
        help: Option<String>,
        /// Whether it is certain that nothing was changed.
        certain: bool,
    },
    /// It was begun, and whether it was done is unknown.
    Unknown {
        /// Why it is unknown.
        why: String,
    },
    /// It was not tried, because what it waits for was not done.
    Skipped {
        /// What was not done.
        because: Address,
    },
    /// It was not tried, because the run was interrupted.
    Interrupted,
    /// It was not tried, because the run could not record it any more.
    NotStarted {
        /// What kept the run from going on.
        why: String,
    },
}

/// What kept a step from being done, for programs: the reason in words is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The API denied it.
    Denied,
    /// It would take access from the identity that applies.
    LockedOut,
    /// A quota of the service would be exceeded.
    OverQuota,
    /// No response, or no client for the place.
    Unreachable,
    /// Another owner or field manager holds what the step changes.
    Conflict,
    /// The resource changed after the plan was made.
    Changed,
    /// Something that was just created did not become known in time.
    NotYet,
    /// The document names a principal that does not exist.
    UnknownPrincipal,
    /// What must be known before the write could not be read.
    Unreadable,
    /// It cannot succeed or would do harm, so that nothing was sent.
    Refused,
    /// The start of the step could not be recorded, so that nothing was sent.
    NotRecorded,
    /// Anything else.
    Other,
}

impl From<ReadFailure> for FailureKind {
    fn from(cause: ReadFailure) -> Self {
        match cause {
            ReadFailure::Denied => Self::Denied,
            ReadFailure::Unreachable => Self::Unreachable,
            ReadFailure::Other => Self::Unreadable,
        }
    }
}

/// How every step ended.
pub type Outcomes = BTreeMap<StepId, Outcome>;

/// Takes events as they happen. Called from several tasks.
pub trait Sink: Send + Sync {
    /// Takes one.
    fn take(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Sink for F {
    fn take(&self, event: Event) {
        self(event);
    }
}
