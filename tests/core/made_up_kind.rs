//! A kind that the library does not know: a policy document owned by statement, in a store that is neither an account
//! nor a cluster. The core must do everything for it that it does for the kinds that it ships.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bailiwick::access::{
    AccessTarget, AccessVerdict, Carrier, Chains, Facet, Instance, PolicyText, ResourcePolicy, Who, sid_prefix,
};
use bailiwick::address::{Address, Family, Scope};
use bailiwick::diff::{Drift, DriftClass, Recovered};
use bailiwick::document::Document;
use bailiwick::engine::{Engine, Intent, Task};
use bailiwick::iam::{Policy, PolicyKind, PolicyPlace, Principal, Selector, Statement, Version};
use bailiwick::kind::{
    About, Api, BodyField, DesiredResource, DesiredResources, Erased, FieldClass, Home, Kind, NamedBy, OnLoss,
    OnSilence, OwnedBy, Release,
};
use bailiwick::live::Provider;
use bailiwick::render::{Palette, dot, json, markdown, mermaid, terminal};
use bailiwick::report;
use bailiwick::report::wire::PlanDetails;
use bailiwick::session::{Environment, Session};
use bailiwick::spec::{Facts, Spec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ledger_double;
use crate::memory::{Cloud, Id};
use crate::run::{Project, spec, steps};
use bailiwick::engine::Planned;

/// A row of the table from which the kind takes its desired resources, because the spec format is closed.
#[derive(Clone)]
struct Row {
    key: String,
    ledger: String,
    tier: &'static str,
    retention: Option<u32>,
    label: Option<String>,
    statements: Vec<Statement>,
}

thread_local! {
    /// The desired rows.
    static ROWS: RefCell<Vec<Row>> = const { RefCell::new(Vec::new()) };
    /// The ledgers that always exist, by key and name.
    static LEDGERS: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
}

/// A body of the kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Body {
    statements: Policy,
    tier: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    foreign: Option<Policy>,
}

struct LedgerPolicy;

const ACCOUNT: &str = "333333333333";
const READER: &str = "arn:aws:iam::333333333333:user/reader";
const OPERATOR: &str = "arn:aws:iam::333333333333:user/ops";
const ACTION: &str = "sqs:ReceiveMessage";

fn scope() -> Scope {
    Scope { family: Family::new("store"), key: "vault".into(), owner: Some("tenant-7".into()), location: None }
}

fn arn(ledger: &str) -> String {
    format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{ledger}")
}

fn has_none_of_ours(live: &Document) -> bool {
    live.tree().pointer("/statements/Statement").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

impl Kind for LedgerPolicy {
    const ABOUT: &'static About = &About {
        name: "store.ledger_policy",
        api: Api("ledgers"),
        home: Home::Account,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Statements {
            on: "store.ledger",
            unmanaged: |_| {
                LEDGERS.with_borrow(|all| all.iter().map(|(key, id)| (key.clone(), scope(), id.clone())).collect())
            },
        },
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::LeaveOut,
        release: Release::Delete,
        presence: FieldClass::Access,
        fields: &[
            BodyField::access("statements"),
            BodyField::access("foreign"),
            BodyField::setting("tier").fixed(),
            BodyField::setting("retention").resets(),
            BodyField::cosmetic("label"),
        ],
    };
    type Body = Body;

    fn scopes(_spec: &Spec) -> BTreeSet<Scope> {
        BTreeSet::from([scope()])
    }

    fn desire(_spec: &Spec, _facts: &Facts, _chains: &Chains, want: &mut DesiredResources<Body>) {
        for row in ROWS.with_borrow(Clone::clone) {
            let statements = Policy::new(Version::V2012, row.statements);
            let body =
                Body { statements, tier: row.tier.into(), retention: row.retention, label: row.label, foreign: None };
            want.add(DesiredResource::new(row.key, scope(), row.ledger, body));
        }
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        let arn = arn(object.physical_id);
        Facet::Resource(ResourcePolicy {
            on: Carrier::Other(arn.clone()),
            arn,
            account: ACCOUNT.into(),
            ours: PolicyText::of(object.body, "statements"),
            others: PolicyText::of(object.body, "foreign"),
            exclusive: false,
            place: PolicyPlace::QueuePolicy,
            kind: PolicyKind::Resource,
            must_keep: &["sqs:SetQueueAttributes"],
        })
    }

    fn managed_fields(live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
        if has_none_of_ours(live) {
            return Document::from(Value::Null);
        }
        let mut claimed = Document::managed_fields(live, desired, last).tree();
        claimed.as_object_mut().unwrap().remove("foreign");
        claimed.into()
    }

    fn remainder(live: &Document, _before: Option<&Document>) -> Option<Document> {
        live.field::<Value>("foreign").map(|foreign| Document::from(json!({ "foreign": foreign })))
    }
}

fn reader() -> Statement {
    let sid = format!("{}Read", sid_prefix("p"));
    Statement::allow([ACTION], [arn("orders").as_str()]).with_sid(&sid).to(Selector::of([Principal::aws(READER)]))
}

fn row() -> Row {
    Row {
        key: "orders".into(),
        ledger: "orders".into(),
        tier: "gold",
        retention: Some(30),
        label: Some("Orders".into()),
        statements: vec![reader()],
    }
}

fn want(rows: &[Row]) {
    ROWS.with_borrow_mut(|all| *all = rows.to_vec());
}

fn project() -> Project {
    let mut cloud = Cloud::new();
    cloud.callers.push((scope(), OPERATOR.into()));
    cloud.add(&Erased::<LedgerPolicy>::NEW, &ledger_double::LedgerPolicy);
    Project::new("p", cloud)
}

/// A foreign ledger, with a foreign statement in its policy.
fn ledger(project: &Project, name: &str) -> Id {
    let mut world = project.cloud.world();
    let id = world.id(LedgerPolicy::NAME, &scope(), name);
    world.have(id.clone(), &json!({ "Version": "2012-10-17", "Statement": [theirs()] }));
    id
}

fn theirs() -> Value {
    json!({ "Sid": "Theirs", "Effect": "Allow", "Principal": { "AWS": OPERATOR }, "Action": "sqs:SendMessage",
        "Resource": arn("orders") })
}

fn nothing() -> Spec {
    spec("version: 1\nproject: p\n")
}

/// A project with the ledger and an applied row.
async fn applied() -> (Project, Id, Spec) {
    let (project, spec) = (project(), nothing());
    let id = ledger(&project, "orders");
    want(&[row()]);
    project.apply_all(&spec).await;
    (project, id, spec)
}

async fn planned(project: &Project, spec: &Spec) -> Planned {
    project.plan(spec).await.unwrap()
}

/// The codes of the findings about the kind.
fn codes(planned: &Planned) -> BTreeSet<String> {
    planned.findings().iter().filter(|f| f.address.is_some()).map(|f| f.code.to_string()).collect()
}

fn address(name: &str) -> Address {
    Address::new(LedgerPolicy::NAME, name)
}

/// Runs a closure with an engine on the project's cloud.
async fn with_engine<T>(project: &Project, spec: &Spec, work: impl AsyncFnOnce(Engine<'_>) -> T) -> T {
    let (register, session) = (project.cloud.register(), Session::new(spec, Environment::default()));
    let providers: [Box<dyn Provider>; 1] = [Box::new(project.cloud.clone())];
    let engine =
        Engine { register: &register, providers: &providers, session: &session, limits: project.limits, sink: &|_| {} };
    work(engine).await
}

#[tokio::test]
async fn new_kind_is_planned_applied_converged_and_destroyed() {
    let (project, spec) = (project(), nothing());
    let id = ledger(&project, "orders");
    want(&[row()]);
    assert_eq!(steps(planned(&project, &spec).await.plan()), ["create store.ledger_policy.orders"]);
    project.apply_all(&spec).await;
    project.assert_converged(&spec).await;
    let live = project.cloud.world().show(&id);
    assert_eq!(live["Statement"], json!([theirs(), reader().to_value()]));
    assert_eq!((&live["tier"], &live["retention"], &live["label"]), (&json!("gold"), &json!(30), &json!("Orders")));
    want(&[]);
    let destroyed = project.destroy(&spec).await;
    assert_eq!(destroyed.steps(), ["delete store.ledger_policy.orders"]);
    assert_eq!(project.cloud.world().show(&id), json!({ "Version": "2012-10-17", "Statement": [theirs()] }));
    assert_eq!(project.cloud.world().tagged(), BTreeSet::new());
    assert!(destroyed.state.resources.is_empty());
}

/// A field, an outside change to it, and its drift class.
type Case = (&'static str, fn(&mut Value), DriftClass);

#[tokio::test]
async fn a_drift_has_the_class_that_its_field_declares() {
    let cases: [Case; 4] = [
        ("label", |body| body["label"] = "Other".into(), DriftClass::Cosmetic),
        ("retention", |body| body["retention"] = 1.into(), DriftClass::Managed),
        ("statements", |body| body["Statement"][1]["Action"] = "sqs:*".into(), DriftClass::Access),
        ("foreign", |body| body["Statement"][0]["Action"] = "sqs:*".into(), DriftClass::Foreign),
    ];
    for (field, change, class) in cases {
        let (project, id, spec) = applied().await;
        project.cloud.world().edit(&id, change);
        let drift = project.drift(&spec).await;
        let found: Vec<_> = drift.iter().map(|Drift { address, class, .. }| (address.to_string(), *class)).collect();
        assert_eq!(found, [("store.ledger_policy.orders".to_owned(), class)], "{field}");
        if class != DriftClass::Foreign {
            project.apply_all(&spec).await;
        }
    }
}

#[tokio::test]
async fn new_key_changes_only_the_address_and_a_fixed_field_replaces() {
    let (project, id, spec) = applied().await;
    want(&[Row { key: "sales".into(), ..row() }]);
    let before = project.cloud.world().writes().len();
    let moved = project.apply_all(&spec).await;
    assert_eq!(
        moved.state.resources.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["store.ledger_policy.sales"]
    );
    assert_eq!(project.cloud.world().writes().len(), before, "a new key is no write");
    project.assert_converged(&spec).await;
    want(&[Row { key: "sales".into(), tier: "silver", ..row() }]);
    let replaced = project.apply_all(&spec).await;
    assert_eq!(replaced.steps().len(), 2, "{:?}", replaced.steps());
    assert!(replaced.plan.steps.iter().any(|step| step.replaces().is_some()));
    let live = project.cloud.world().show(&id);
    assert_eq!((&live["tier"], &live["Statement"][0]), (&json!("silver"), &theirs()));
    project.assert_converged(&spec).await;
}

#[tokio::test]
async fn store_that_does_not_respond_is_left_out() {
    let (project, _, spec) = applied().await;
    project.cloud.silence("tenant-7");
    let planned = planned(&project, &spec).await;
    assert_eq!(steps(planned.plan()), Vec::<String>::new());
    let left_out: Vec<String> = planned.plan().left_out.keys().map(ToString::to_string).collect();
    assert_eq!(left_out, ["store.ledger_policy.orders"]);
    let drift = project.drift(&spec).await;
    assert_eq!(drift.iter().map(|d| d.class).collect::<Vec<_>>(), [DriftClass::Unreadable]);
}

#[tokio::test]
async fn field_no_longer_desired_is_reset() {
    let (project, id, spec) = applied().await;
    want(&[Row { retention: None, ..row() }]);
    assert_eq!(project.apply_all(&spec).await.steps(), ["update store.ledger_policy.orders"]);
    assert_eq!(project.cloud.world().show(&id).get("retention"), None);
    project.assert_converged(&spec).await;
}

#[tokio::test]
async fn policy_of_a_new_kind_is_checked() {
    let (project, _, spec) = applied().await;
    let sid = |name: &str| format!("{}{name}", sid_prefix("p"));
    assert_eq!(codes(&planned(&project, &spec).await), BTreeSet::new());
    let public = reader().to(Selector::of([Principal::Everyone]));
    want(&[Row { statements: vec![public], ..row() }]);
    let found = codes(&planned(&project, &spec).await);
    assert!(found.contains("resource-public"), "{found:?}");
    let many = (0..100).map(|n| reader().with_sid(&sid(&format!("Read{n}")))).collect();
    want(&[Row { statements: many, ..row() }]);
    let found = codes(&planned(&project, &spec).await);
    assert!(found.contains("policy-over-quota"), "{found:?}");
    let shut = Statement::deny(["sqs:*"], [arn("orders").as_str()]).with_sid(&sid("Shut"));
    want(&[Row { statements: vec![shut.to(Selector::of([Principal::Everyone]))], ..row() }]);
    let found = codes(&planned(&project, &spec).await);
    assert!(found.contains("lockout"), "{found:?}");
}

#[tokio::test]
async fn access_questions_cover_a_new_kind() {
    let (project, _, spec) = applied().await;
    let lints = bailiwick::check::Lints::default();
    let task = Task::new(&spec, Intent::Apply, "2026-01-01", &lints);
    let known = project.known().await;
    let world = with_engine(&project, &spec, async |engine| engine.world(&task, &known).await).await.unwrap();
    let target = AccessTarget::parse(&arn("orders")).unwrap();
    // The policy allows users whose own policies were not read, and may deny it.
    let can = |who: &str, action: &str| {
        let answer = world.can(&Who::Named(Principal::aws(who)), action, &target).unwrap();
        (answer.verdict, answer.chain.len())
    };
    assert_eq!(can(READER, ACTION), (AccessVerdict::Unknown, 1));
    assert_eq!(can(READER, "sqs:DeleteQueue"), (AccessVerdict::Unknown, 0));
    assert_eq!(can(OPERATOR, "sqs:SendMessage"), (AccessVerdict::Unknown, 1));
    let answers = world.who_can(ACTION, &target).unwrap();
    assert_eq!(answers.verdict(), AccessVerdict::Unknown);
    assert!(json(&answers).contains("user/reader"), "{}", json(&answers));
    assert_eq!(answers.others, None);
}

/// What `rebuild` finds in a project whose state is lost.
async fn rebuilt(project: &Project, spec: &Spec) -> Recovered {
    let lints = bailiwick::check::Lints::default();
    let task = Task::new(spec, Intent::Apply, "2026-01-01", &lints);
    let known = self::project().known().await;
    with_engine(project, spec, async |engine| {
        let compiled = engine.compile(&task).await.unwrap();
        engine.recover(spec, &compiled, &known, &BTreeSet::new()).await
    })
    .await
}

#[tokio::test]
async fn a_lost_state_is_rebuilt_from_its_statements() {
    let (project, _, spec) = applied().await;
    let found = rebuilt(&project, &spec).await;
    assert_eq!(found.ours.keys().collect::<Vec<_>>(), [&address("orders")]);
    assert_eq!(found.ours[&address("orders")].scope, scope());
    LEDGERS.with_borrow_mut(|all| all.push(("orders".into(), "orders".into())));
    want(&[]);
    let found = rebuilt(&project, &spec).await;
    assert_eq!((found.ours.len(), found.orphans.keys().collect::<Vec<_>>()), (0, vec![&address("orders")]));
}

#[tokio::test]
async fn new_kind_is_printed_in_every_format_with_inert_names() {
    let hostile = "evil\u{1b}[31m|`<b>\"\nkey";
    let (project, spec) = (project(), nothing());
    ledger(&project, hostile);
    want(&[Row { key: hostile.into(), ledger: hostile.into(), label: Some(hostile.into()), ..row() }]);
    let planned = planned(&project, &spec).await;
    let wire = report::wire::plan(planned.plan(), PlanDetails { changes: planned.changes(), ..PlanDetails::default() });
    let value: Value = serde_json::from_str(&json(&wire)).unwrap();
    assert_eq!(value["steps"][0]["kind"], "store.ledger_policy");
    assert_eq!(value["steps"][0]["physical_id"], hostile);
    assert_eq!((&value["steps"][0]["account_id"], &value["steps"][0]["cluster"]), (&json!("tenant-7"), &Value::Null));
    let report = report::plan(&wire, true);
    let (text, page) = (terminal(&report, Palette { color: false }), markdown(&report));
    for printed in [&text, &page] {
        assert!(printed.contains("store.ledger"), "{printed}");
        assert!(!printed.contains('\u{1b}'), "{printed}");
        assert!(!printed.lines().any(|line| line == "key" || line.starts_with("key ")), "{printed}");
    }
    assert!(text.contains("vault"), "{text}");
    let edges = BTreeMap::from([(address(hostile), vec![])]);
    for graph in [dot(&edges), mermaid(&edges)] {
        assert!(graph.contains("store.ledger_policy") && !graph.contains('\u{1b}'), "{graph}");
    }
    project.apply_all(&spec).await;
    project.assert_converged(&spec).await;
    want(&[]);
    project.destroy(&spec).await;
    assert_eq!(project.cloud.world().tagged(), BTreeSet::new());
}
