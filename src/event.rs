//! Events of reading and applying, from which progress and results are reported.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::plan::{ActionKind, StepId};
use crate::snapshot::ReadFailure;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Observing has started.
    Observing {
        /// The number of resources to observe.
        total: usize,
    },
    /// A batch has been observed.
    Observed {
        /// The number of resources in the batch.
        count: usize,
    },
    /// A step has started.
    Started {
        /// The step.
        step: StepId,
        /// The step's action.
        action: ActionKind,
    },
    /// A step pauses until an external condition holds, and then retries.
    Waiting {
        /// The step.
        step: StepId,
        /// The condition.
        awaited: String,
        /// The time until the next attempt.
        pause: Duration,
    },
    /// A step has ended.
    Ended {
        /// The step.
        step: StepId,
        /// The step's action.
        action: ActionKind,
        /// The outcome.
        outcome: Outcome,
    },
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The step was applied.
    Done,
    /// The step failed.
    Failed {
        /// The kind of failure.
        kind: FailureKind,
        /// The reason.
        why: String,
        /// The next action, if there is one to suggest.
        help: Option<String>,
        /// Whether it is certain that nothing was changed.
        certain: bool,
    },
    /// The step started, and whether it took effect is unknown.
    Unknown {
        /// The reason.
        why: String,
    },
    /// The step was skipped because it depends on one that was not applied.
    Skipped {
        /// The address that was not applied.
        because: Address,
    },
    /// The step was not started because the run was interrupted.
    Interrupted,
    /// The step was not started because the run could no longer record it.
    NotStarted {
        /// The reason.
        why: String,
    },
}

/// The kind of a failure, for programs. The reason in words is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The API denied the request.
    Denied,
    /// The step would lock out the applying identity.
    LockedOut,
    /// The step would exceed a quota of the service.
    OverQuota,
    /// The service did not respond, or no client for it could be built.
    Unreachable,
    /// Another owner or field manager holds the fields that the step changes.
    Conflict,
    /// The resource changed after the plan was made.
    Changed,
    /// A dependency that was just created did not propagate in time.
    NotYet,
    /// The document names a principal that does not exist.
    UnknownPrincipal,
    /// Something that must be known before the write could not be read.
    Unreadable,
    /// The write cannot succeed or would do harm, so it was not sent.
    Refused,
    /// The start of the step could not be recorded, so nothing was sent.
    NotRecorded,
    /// Any other failure.
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

/// The outcomes of all steps.
pub type Outcomes = BTreeMap<StepId, Outcome>;

/// Receives events as they happen. Several tasks call it.
pub trait Sink: Send + Sync {
    /// Receives an event.
    fn take(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Sink for F {
    fn take(&self, event: Event) {
        self(event);
    }
}
