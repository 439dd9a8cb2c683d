//! The published JSON, on which scripts rely. Changing it changes `format_version`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{AccessChange, Answer, AppliedRule, Unread};
use crate::address::Scope;
use crate::diagnostic::{Diagnostic, Severity, SourceRef};
use crate::diff::{Drift, DriftClass, Drifted};
use crate::document::{Digest, Document, FieldPath};
use crate::plan::{ActionKind, LeftOut, PLAN_FILE_FORMAT, Plan, Reason, Refusal, Step, Summary};

/// The version of the drift JSON.
pub const DRIFT_FORMAT: &str = "2.0";

/// The version of the JSON of `can` and `who-can`.
pub const ACCESS_FORMAT: &str = "1.0";

/// The version of the problems JSON.
pub const PROBLEMS_FORMAT: &str = "1.0";

/// A resource that a partial plan leaves out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireLeftOut {
    /// The resource.
    pub address: String,
    /// The reason.
    #[serde(flatten)]
    pub why: LeftOut,
}

/// A plan as `plan --format json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Bailiwick plan")]
pub struct WirePlan {
    /// The version of this format.
    pub format_version: String,
    /// The project.
    pub project: String,
    /// The version of the program.
    pub tool_version: String,
    /// The digest of the spec.
    pub spec_digest: Option<Digest>,
    /// The digest of the plan, for `apply --expect-digest`.
    pub plan_digest: Digest,
    /// The number of resources by action.
    pub summary: Summary,
    /// The steps, each after its dependencies.
    pub steps: Vec<WireStep>,
    /// Who gains and who loses which access.
    pub access_changes: Vec<AccessChange>,
    /// The findings.
    pub findings: Vec<WireProblem>,
    /// The reasons why the plan cannot be applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// The addresses that an interrupted run was changing. They have been read again since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupted: Vec<String>,
    /// The addresses that carry an ownership tag of the project although there is no state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// The resources left out because their cluster does not respond. The plan is partial if this list is not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<WireLeftOut>,
    /// The number of requests that planning took.
    pub requests: WireRequests,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireStep {
    /// The id of the step: the address, or the address with `#delete` or `#<key>` for the deletion that is part of a
    /// replacement and for a deposed object.
    pub id: String,
    /// The resource's address.
    pub address: String,
    /// The resource's kind.
    pub kind: String,
    /// The action.
    pub action: ActionKind,
    /// The id of the step that deletes the object that this one replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The reasons for the step. They explain it and decide nothing.
    pub reasons: Vec<Reason>,
    /// The account's key in the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The account's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The cluster's key in the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The name by which the API knows the resource.
    pub physical_id: String,
    /// The live values of the managed fields.
    pub before: Option<Document>,
    /// The desired body.
    pub after: Option<Document>,
    /// The paths of the fields that differ.
    pub changed: Vec<FieldPath>,
    /// The ids of the steps that this one depends on.
    pub after_steps: Vec<String>,
    /// The place in the spec that declares the resource.
    pub source: Option<SourceRef>,
}

/// Problems and findings, as `validate` and `policy check` print them, and every command that problems of the spec stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Bailiwick problems")]
pub struct WireProblems {
    /// The version of this format.
    pub format_version: String,
    /// Whether there are no errors, or the spec accepts them all. Bailiwick can plan from such a spec.
    pub valid: bool,
    /// The project; null for policies, and if the spec cannot be read far enough.
    pub project: Option<String>,
    /// The number of resources; null unless the spec compiles.
    pub resources: Option<usize>,
    /// The number of grants; null unless the spec compiles.
    pub grants: Option<usize>,
    /// The number of problems of each severity. Accepted ones count only as `accepted`.
    pub counts: WireCounts,
    /// The problems and findings in all files.
    pub problems: Vec<WireProblem>,
    /// The policies that `policy check` read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<WirePolicy>,
}

/// A policy that `policy check` read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WirePolicy {
    /// The file, as named on the command line.
    pub file: String,
    /// The type: the one that `--type` names, or else inferred from the document.
    #[serde(rename = "type")]
    pub policy_type: String,
    /// Whether AWS accepts the document.
    pub valid: bool,
    /// The size of the policy at each place where it can be attached.
    pub sizes: Vec<WirePolicySize>,
    /// The points on which AWS's pages disagree and that decide whether AWS accepts the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disagreements: Vec<AppliedRule>,
}

/// The size of a policy at one place, in the unit of the place's quota: bytes or characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WirePolicySize {
    /// The place.
    pub place: String,
    /// The size.
    pub used: usize,
    /// The quota.
    pub quota: usize,
    /// The remaining room; 0 if the policy exceeds the quota.
    pub headroom: usize,
    /// Whether the policy exceeds the quota.
    pub over: bool,
}

/// The number of problems of each severity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireCounts {
    /// Errors.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// Notes.
    pub infos: usize,
    /// Findings that the spec accepts.
    pub accepted: usize,
}

/// A problem or a finding. Values that are not known are null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireProblem {
    /// The stable code; docs/findings.md describes it.
    pub code: String,
    /// The severity.
    pub severity: Severity,
    /// A description of the problem.
    pub message: String,
    /// The file, as named on the command line; `-` is stdin.
    pub file: Option<String>,
    /// The line, counted from 1.
    pub line: Option<u32>,
    /// The column, counted from 1 in characters.
    pub column: Option<u32>,
    /// The position just after the end of the text.
    pub end: Option<WireEnd>,
    /// How to fix it.
    pub help: Option<String>,
    /// The address of the resource concerned.
    pub address: Option<String>,
    /// The reason given under `accept`, if the spec accepts the finding.
    pub accepted: Option<String>,
    /// The file, line and column in one object, as steps of plans have them; null without a line.
    pub source: Option<SourceRef>,
    /// The statement of the policy, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<usize>,
    /// The `Sid` of the statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The element of the statement, such as `Action` or `Condition/StringEquals/aws:SourceIp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
    /// The digest of the statement, if Bailiwick does not manage it; an `accept` entry names it as `statement`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_digest: Option<String>,
}

/// The position just after the end of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireEnd {
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1 in characters.
    pub column: u32,
}

/// The number of requests sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireRequests {
    /// All requests, including retries.
    pub total: u64,
    /// Requests by service.
    pub by_service: BTreeMap<String, u64>,
    /// Throttled requests.
    pub throttled: u64,
}

/// The drift of a project, as `drift --format json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Bailiwick drift")]
pub struct WireDrift {
    /// The version of this format.
    pub format_version: String,
    /// The project.
    pub project: String,
    /// One entry for each drifted field.
    pub drift: Vec<WireMoved>,
    /// The number of entries of each class.
    pub summary: BTreeMap<String, usize>,
    /// Findings about the live policies.
    #[serde(default)]
    pub findings: Vec<WireProblem>,
}

/// One drifted field, or one drifted resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireMoved {
    /// The resource.
    pub address: String,
    /// The class of drift.
    pub class: DriftClass,
    /// The path of the field; null for a whole resource.
    pub field: Option<FieldPath>,
    /// The value that was applied last.
    pub expected: Option<serde_json::Value>,
    /// The live value.
    pub live: Option<serde_json::Value>,
    /// The kind of drift.
    #[serde(flatten)]
    pub what: Drifted,
}

/// The answer to `can` or `who-can`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(title = "Bailiwick access")]
pub enum WireAccess {
    /// The answer to `can`.
    Can(Box<WireCan>),
    /// The answer to `who-can`.
    WhoCan(WireWhoCan),
}

/// Whether a principal can do something, as `can --format json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireCan {
    /// The version of this format.
    pub format_version: String,
    /// The requested action.
    pub action: String,
    /// The requested place.
    #[serde(rename = "where")]
    pub place: String,
    /// The answer.
    pub answer: Answer,
}

/// Who can do something, as `who-can --format json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireWhoCan {
    /// The version of this format.
    pub format_version: String,
    /// The requested action.
    pub action: String,
    /// The requested place.
    #[serde(rename = "where")]
    pub place: String,
    /// Every principal that is not denied.
    pub who: Vec<Answer>,
    /// Something unread that may also allow principals not in `who`.
    pub others: Option<Unread>,
}

/// A plan, with the observations made while planning.
#[derive(Debug, Default)]
pub struct PlanDetails<'a> {
    /// The access changes.
    pub changes: &'a [AccessChange],
    /// The findings.
    pub findings: &'a [Diagnostic],
    /// The reasons why the plan cannot be applied.
    pub refusals: &'a [Refusal],
    /// The addresses that an interrupted run was changing.
    pub interrupted: Vec<String>,
    /// The addresses that carry an ownership tag of the project although there is no state.
    pub lost: Vec<String>,
    /// The number of requests sent.
    pub requests: WireRequests,
}

/// The published form of a plan.
#[must_use]
pub fn plan(plan: &Plan, planned: PlanDetails<'_>) -> WirePlan {
    let PlanDetails { changes, findings, refusals, interrupted, lost, requests } = planned;
    WirePlan {
        format_version: PLAN_FILE_FORMAT.to_owned(),
        project: plan.project.clone(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        spec_digest: plan.spec_digest.clone(),
        plan_digest: plan.digest(),
        summary: plan.summary,
        steps: plan.steps.iter().map(step).collect(),
        access_changes: changes.to_vec(),
        findings: findings.iter().map(problem).collect(),
        refusals: refusals.to_vec(),
        interrupted,
        lost,
        left_out: plan
            .left_out
            .iter()
            .map(|(address, why)| WireLeftOut { address: address.to_string(), why: why.clone() })
            .collect(),
        requests,
    }
}

/// The published form of a step.
fn step(step: &Step) -> WireStep {
    let Scope { family: _, key, owner, location } = step.scope.clone();
    let cluster = step.scope.as_cluster().map(str::to_owned);
    WireStep {
        id: step.id().to_string(),
        address: step.address().to_string(),
        kind: step.address().kind().to_string(),
        action: step.action(),
        replaces: step.replaces().map(|old| old.to_string()),
        reasons: step.reasons.clone(),
        account: cluster.is_none().then_some(key),
        account_id: owner,
        region: location,
        cluster,
        physical_id: step.physical_id.clone(),
        before: step.before().cloned(),
        after: step.after().cloned(),
        changed: step.changed().to_vec(),
        after_steps: step.waits_for.iter().map(ToString::to_string).collect(),
        source: step.source.clone(),
    }
}

/// The published form of problems, without the project, resources and grants of a spec that compiles.
#[must_use]
pub fn problems(problems: Vec<WireProblem>) -> WireProblems {
    let mut counts = WireCounts::default();
    for problem in &problems {
        *match (problem.severity, &problem.accepted) {
            (_, Some(_)) => &mut counts.accepted,
            (Severity::Error, None) => &mut counts.errors,
            (Severity::Warning, None) => &mut counts.warnings,
            (Severity::Info, None) => &mut counts.infos,
        } += 1;
    }
    WireProblems {
        format_version: PROBLEMS_FORMAT.to_owned(),
        valid: counts.errors == 0,
        project: None,
        resources: None,
        grants: None,
        counts,
        problems,
        policies: Vec::new(),
    }
}

/// The published form of a problem or finding.
#[must_use]
pub fn problem(problem: &Diagnostic) -> WireProblem {
    let source = problem.source.as_ref().filter(|s| !s.is_whole());
    let end = source.map(|s| s.end).filter(|end| source.is_some_and(|s| *end > (s.line, s.column)));
    WireProblem {
        code: problem.code.to_string(),
        severity: problem.severity,
        message: problem.message.clone(),
        file: problem.source.as_ref().map(|s| s.file.to_string()),
        line: source.map(|s| s.line),
        column: source.map(|s| s.column),
        end: end.map(|(line, column)| WireEnd { line, column }),
        help: problem.help.clone(),
        address: problem.address.as_ref().map(ToString::to_string),
        accepted: problem.accepted.clone(),
        source: source.cloned(),
        statement: None,
        sid: None,
        element: None,
        statement_digest: problem.foreign_statement.clone(),
    }
}

/// The published form of drift.
#[must_use]
pub fn drift(project: &str, drift: &[Drift], findings: &[Diagnostic]) -> WireDrift {
    let mut moved = Vec::new();
    let mut summary: BTreeMap<String, usize> = BTreeMap::new();
    for entry in drift {
        *summary.entry(class_word(entry.class).to_owned()).or_default() += 1;
        let one = |field, expected, live| WireMoved {
            address: entry.address.to_string(),
            class: entry.class,
            field,
            expected,
            live,
            what: entry.what.clone(),
        };
        if entry.differences.is_empty() {
            moved.push(one(None, None, None));
        }
        for difference in &entry.differences {
            moved.push(one(Some(difference.path.clone()), difference.before.clone(), difference.after.clone()));
        }
    }
    WireDrift {
        format_version: DRIFT_FORMAT.to_owned(),
        project: project.to_owned(),
        drift: moved,
        summary,
        findings: findings.iter().map(problem).collect(),
    }
}

/// A class as one word.
#[must_use]
pub fn class_word(class: DriftClass) -> &'static str {
    match class {
        DriftClass::Access => "access",
        DriftClass::Managed => "managed",
        DriftClass::Foreign => "foreign",
        DriftClass::Cosmetic => "cosmetic",
        DriftClass::Unreadable => "unreadable",
    }
}
