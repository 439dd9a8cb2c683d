//! The published JSON of an apply.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words;
use crate::address::Address;
use crate::document::Digest;
use crate::event::{FailureKind, Outcome, Outcomes};
use crate::plan::{ActionKind, Plan};

/// The version of the apply JSON.
pub const APPLIED_FORMAT: &str = "1.0";

/// The outcome of each step of an apply, as `apply --format json` and `destroy --format json` print it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Bailiwick apply")]
pub struct WireApplied {
    /// The version of this format.
    pub format_version: String,
    /// The project.
    pub project: String,
    /// The digest of the plan that was applied.
    #[schemars(with = "String")]
    pub plan_digest: Digest,
    /// The steps, in the order of the plan.
    pub steps: Vec<WireEnded>,
}

/// The outcome of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireEnded {
    /// The step's id in the plan.
    pub id: String,
    /// The resource.
    #[schemars(with = "String")]
    pub address: Address,
    /// The step's action.
    pub action: ActionKind,
    /// The outcome.
    pub outcome: WireOutcome,
    /// The kind of the failure, if the step failed.
    pub failure: Option<FailureKind>,
    /// The address on which a skipped step depends and that was not applied.
    #[schemars(with = "Option<String>")]
    pub depends_on: Option<Address>,
    /// Why the step was not applied, in words.
    pub why: Option<String>,
    /// What to do about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WireOutcome {
    /// The step was applied.
    Done,
    /// The step failed.
    Failed,
    /// The step started and its outcome is unknown. The next run reads the resource again.
    Unknown,
    /// Skipped: it depends on a step that was not applied.
    Skipped,
    /// Not started: the run could not record the step and started no more.
    NotStarted,
    /// Not started: the run was interrupted first.
    Interrupted,
}

/// The published form of an apply. A step without an outcome was not started.
#[must_use]
pub fn applied(plan: &Plan, outcomes: &Outcomes) -> WireApplied {
    let steps = plan.steps.iter().map(|step| {
        let (mut failure, mut depends_on, mut help) = (None, None, None);
        let (outcome, why) = match outcomes.get(step.id()) {
            Some(Outcome::Done) => (WireOutcome::Done, None),
            Some(Outcome::Failed { kind, why, help: advice, certain: _ }) => {
                (failure, help) = (Some(*kind), advice.clone());
                (WireOutcome::Failed, Some(why.clone()))
            }
            Some(Outcome::Unknown { why }) => (WireOutcome::Unknown, Some(why.clone())),
            Some(Outcome::Skipped { because }) => {
                depends_on = Some(because.clone());
                (WireOutcome::Skipped, Some(words::skipped(because)))
            }
            Some(Outcome::NotStarted { why }) => (WireOutcome::NotStarted, Some(why.clone())),
            Some(Outcome::Interrupted) | None => (WireOutcome::Interrupted, None),
        };
        let (id, address) = (step.id().to_string(), step.address().clone());
        WireEnded { id, address, action: step.action(), outcome, failure, depends_on, why, help }
    });
    WireApplied {
        format_version: APPLIED_FORMAT.into(),
        project: plan.project.clone(),
        plan_digest: plan.digest(),
        steps: steps.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{deleted, step};

    #[test]
    fn every_outcome_has_its_own_fields_in_json() {
        let plan =
            Plan { steps: ["a", "b", "c", "d"].map(|name| step(name, deleted(None, None))).into(), ..Plan::default() };
        let because = plan.steps[1].address().clone();
        let why = || "403".to_owned();
        let ended = [
            Outcome::Done,
            Outcome::Failed { kind: FailureKind::LockedOut, why: why(), help: Some("wait".into()), certain: true },
            Outcome::Skipped { because },
        ];
        let outcomes = plan.steps.iter().map(|step| step.id().clone()).zip(ended).collect();
        let json = serde_json::to_value(applied(&plan, &outcomes)).unwrap();
        let brief = json["steps"].as_array().unwrap().iter().map(|s| {
            let text = |field: &str| s[field].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", text("outcome"), text("failure"), text("depends_on"), text("help"))
        });
        let expected = ["done - - -", "failed locked_out - wait", "skipped - aws.iam.role.b -", "interrupted - - -"];
        assert_eq!(brief.collect::<Vec<_>>(), expected);
    }
}
