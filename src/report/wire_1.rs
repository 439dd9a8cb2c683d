//! Reads the published JSON of plans of format 1.0, which has English where format 2.0 has data. It is read and never
//! written.

use serde::Deserialize;

use super::wire::{WireLeftOut, WirePlan, WireProblem, WireRequests, WireStep};
use crate::access::{AccessChange, ChainStep, Crossing, Direction, Exception, Grantee, Group, PlaceKind, Requirement};
use crate::diagnostic::SourceRef;
use crate::document::{Digest, Document, FieldPath};
use crate::plan::{ActionKind, LeftOut, Reason, Summary};

/// Reads a plan of format 1.0, as far as reports show it.
///
/// # Errors
/// When the JSON is not a plan of format 1.0.
pub fn read(report: &Document) -> Result<WirePlan, serde_json::Error> {
    report.read::<PlanV1>().map(WirePlan::from)
}

#[derive(Deserialize)]
struct PlanV1 {
    format_version: String,
    project: String,
    tool_version: String,
    spec_digest: Option<Digest>,
    plan_digest: Digest,
    summary: Summary,
    steps: Vec<StepV1>,
    access_changes: Vec<AccessChangeV1>,
    findings: Vec<WireProblem>,
    #[serde(default)]
    left_out: Vec<LeftOutV1>,
    requests: WireRequests,
}

#[derive(Deserialize)]
struct LeftOutV1 {
    address: String,
    why: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionV1 {
    Create,
    Update,
    Replace,
    Delete,
    Adopt,
    Forget,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PhaseV1 {
    Delete,
    Create,
}

#[derive(Deserialize)]
struct StepV1 {
    address: String,
    kind: String,
    action: ActionV1,
    phase: Option<PhaseV1>,
    reason: String,
    account: Option<String>,
    account_id: Option<String>,
    region: Option<String>,
    cluster: Option<String>,
    physical_id: String,
    before: Option<Document>,
    after: Option<Document>,
    changed: Vec<FieldPath>,
    after_steps: Vec<String>,
    source: Option<SourceRef>,
}

#[derive(Deserialize)]
struct AccessChangeV1 {
    who: String,
    what: Group,
    #[serde(default)]
    actions: Vec<String>,
    #[serde(rename = "where")]
    place: String,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    conditions: Vec<String>,
    change: Direction,
    via: Vec<String>,
    crosses: Vec<Crossing>,
}

impl From<PlanV1> for WirePlan {
    fn from(plan: PlanV1) -> Self {
        Self {
            format_version: plan.format_version,
            project: plan.project,
            tool_version: plan.tool_version,
            spec_digest: plan.spec_digest,
            plan_digest: plan.plan_digest,
            summary: plan.summary,
            steps: plan.steps.into_iter().map(WireStep::from).collect(),
            access_changes: plan.access_changes.into_iter().map(AccessChange::from).collect(),
            findings: plan.findings,
            refusals: Vec::new(),
            interrupted: Vec::new(),
            lost: Vec::new(),
            left_out: plan.left_out.into_iter().map(WireLeftOut::from).collect(),
            requests: plan.requests,
        }
    }
}

impl From<LeftOutV1> for WireLeftOut {
    fn from(LeftOutV1 { address, why }: LeftOutV1) -> Self {
        Self { address, why: LeftOut::Unreachable { why } }
    }
}

impl From<StepV1> for WireStep {
    fn from(step: StepV1) -> Self {
        let deletes = format!("{}#delete", step.address);
        let (id, action, replaces) = match (step.action, step.phase) {
            (ActionV1::Replace | ActionV1::Delete, Some(PhaseV1::Delete)) => (deletes, ActionKind::Delete, None),
            (ActionV1::Replace, _) => (step.address.clone(), ActionKind::Create, Some(deletes)),
            (ActionV1::Create, _) => (step.address.clone(), ActionKind::Create, None),
            (ActionV1::Update, _) => (step.address.clone(), ActionKind::Update, None),
            (ActionV1::Delete, _) => (step.address.clone(), ActionKind::Delete, None),
            (ActionV1::Adopt, _) => (step.address.clone(), ActionKind::Adopt, None),
            (ActionV1::Forget, _) if step.before.is_some() => (step.address.clone(), ActionKind::Release, None),
            (ActionV1::Forget, _) => (step.address.clone(), ActionKind::Record, None),
        };
        Self {
            id,
            address: step.address,
            kind: step.kind,
            action,
            replaces,
            reasons: vec![Reason::Words { text: step.reason }],
            account: step.account,
            account_id: step.account_id,
            region: step.region,
            cluster: step.cluster,
            physical_id: step.physical_id,
            before: step.before,
            after: step.after,
            changed: step.changed,
            after_steps: step.after_steps,
            source: step.source,
        }
    }
}

impl From<AccessChangeV1> for AccessChange {
    fn from(change: AccessChangeV1) -> Self {
        let place = |text| PlaceKind::Words { text }.into();
        let except =
            change.except.into_iter().map(|text| Exception { places: vec![place(text)], ..Exception::default() });
        Self {
            change: change.change,
            who: Grantee::Words { text: change.who },
            access: [change.what].into(),
            actions: change.actions,
            place: place(change.place),
            except: except.collect(),
            conditions: change.conditions.into_iter().map(|text| Requirement::Words { text }).collect(),
            via: change.via.into_iter().map(|text| ChainStep::Words { text }).collect(),
            crosses: change.crosses,
            example: None,
        }
    }
}
