//! A kind that the library does not know: a policy document owned by statement, in a store that is neither an account
//! nor a cluster. The core must do everything for it that it does for the kinds that it ships.

use std::cell::RefCell;
use std::collections::BTreeSet;

use bailiwick::access::{
    AccessTarget, AccessVerdict, Carrier, Chains, Facet, Instance, PolicyText, ResourcePolicy, Who, sid_prefix,
};
use bailiwick::address::{Address, Family, Scope};
use bailiwick::backend::Backend as _;
use bailiwick::diagnostic::Code;
use bailiwick::diff::{Drift, DriftClass, Recovered};
use bailiwick::document::Document;
use bailiwick::engine::{Engine, Intent, Known, Planned, Stopped, Task, Terms};
use bailiwick::iam::{Check, Policy, PolicyKind, PolicyPlace, Principal, Selector, Statement, Version};
use bailiwick::kind::{
    About, Api, BodyField, DesiredResource, DesiredResources, Erased, FieldClass, Home, Kind, NamedBy, OnLoss,
    OnSilence, OwnedBy, Reference, Release,
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
use crate::made_up_access;
use crate::memory::{Cloud, Id};
use crate::run::{Project, spec, steps};

/// A row of the table from which the kind takes its desired resources, because the spec format is closed.
#[derive(Clone)]
pub struct Row {
    pub key: String,
    pub ledger: String,
    pub tier: &'static str,
    pub retention: Option<u32>,
    pub label: Option<String>,
    pub statements: Vec<Statement>,
    /// The resources that must exist first.
    pub needs: Vec<Address>,
}

thread_local! {
    /// The desired rows.
    static ROWS: RefCell<Vec<Row>> = const { RefCell::new(Vec::new()) };
    /// The ledgers that always exist, by key and name.
    pub static LEDGERS: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
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
pub const OPERATOR: &str = "arn:aws:iam::333333333333:user/ops";
const ACTION: &str = "sqs:ReceiveMessage";

fn scope() -> Scope {
    Scope { family: Family::new("store"), key: "vault".into(), owner: Some("tenant-7".into()), location: None }
}

pub fn arn(ledger: &str) -> String {
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
            let references = row.needs.into_iter().map(|to| Reference { to, part: false }).collect();
            want.add(DesiredResource { references, ..DesiredResource::new(row.key, scope(), row.ledger, body) });
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

pub fn sid(name: &str) -> String {
    format!("{}{name}", sid_prefix("p"))
}

fn reader() -> Statement {
    Statement::allow([ACTION], [arn("orders").as_str()])
        .with_sid(&sid("Read"))
        .to(Selector::of([Principal::aws(READER)]))
}

pub fn row() -> Row {
    Row {
        key: "orders".into(),
        ledger: "orders".into(),
        tier: "gold",
        retention: Some(30),
        label: Some("Orders".into()),
        statements: vec![reader()],
        needs: Vec::new(),
    }
}

pub fn want(rows: &[Row]) {
    ROWS.with_borrow_mut(|all| *all = rows.to_vec());
}

pub fn project() -> Project {
    let mut cloud = Cloud::new();
    cloud.callers.push((scope(), OPERATOR.into()));
    cloud.add(&Erased::<LedgerPolicy>::NEW, &ledger_double::LedgerPolicy);
    Project::new("p", cloud)
}

/// A foreign ledger, with a foreign statement in its policy.
pub fn ledger(project: &Project, name: &str) -> Id {
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

pub async fn planned(project: &Project, spec: &Spec) -> Planned {
    project.plan(spec).await.unwrap()
}

pub fn address(name: &str) -> Address {
    Address::new(LedgerPolicy::NAME, name)
}

/// Runs a closure with an engine on the project's cloud.
pub async fn with_engine<T>(project: &Project, spec: &Spec, work: impl AsyncFnOnce(Engine<'_>) -> T) -> T {
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

/// The errors among the findings about the kind: `code address: message`.
fn errors(planned: &Planned) -> Vec<String> {
    let errors = planned.findings().iter().filter(|finding| finding.forbids());
    errors.filter_map(|f| Some(format!("{} {}: {}", f.code, f.address.as_ref()?, f.message))).collect()
}

/// Asserts that one finding refuses a plan, and that the plan passes if its code is allowed.
async fn assert_refused_for(code: Code, project: &Project, spec: &Spec, planned: &Planned) {
    let allowed = Terms { allowed: vec![code], ..Terms::default() };
    let (refused, cleared) = with_engine(project, spec, async |engine| {
        (engine.check(planned, &Terms::default()), engine.check(planned, &allowed))
    })
    .await;
    assert!(matches!(&refused, Err(Stopped::Refused { refusals, findings: 1 }) if refusals.is_empty()), "{refused:?}");
    assert!(cleared.is_ok(), "{cleared:?}");
}

#[tokio::test]
async fn public_policy_is_refused() {
    let (project, _, spec) = applied().await;
    assert_eq!(errors(&planned(&project, &spec).await), Vec::<String>::new());
    want(&[Row { statements: vec![reader().to(Selector::of([Principal::Everyone]))], ..row() }]);
    let planned = planned(&project, &spec).await;
    assert_eq!(
        errors(&planned),
        ["resource-public store.ledger_policy.orders: store.ledger_policy.orders: everyone has access (statement \
             `Bailiwick148de9c5Read`)"]
    );
    assert_refused_for(Code::Policy(Check::ResourcePublic), &project, &spec, &planned).await;
}

#[tokio::test]
async fn policy_over_its_quota_is_refused() {
    let (project, _, spec) = applied().await;
    let many = (0..100).map(|n| reader().with_sid(&sid(&format!("Read{n}")))).collect();
    want(&[Row { statements: many, ..row() }]);
    let planned = planned(&project, &spec).await;
    assert_eq!(
        errors(&planned),
        ["policy-over-quota store.ledger_policy.orders: store.ledger_policy.orders: the policy, with the statements \
             of others, needs 19801 of 8192 characters"]
    );
    assert_refused_for(Code::PolicyOverQuota, &project, &spec, &planned).await;
}

#[tokio::test]
async fn policy_that_locks_out_its_writer_is_refused() {
    let (project, _, spec) = applied().await;
    let shut = Statement::deny(["sqs:*"], [arn("orders").as_str()]).with_sid(&sid("Shut"));
    want(&[Row { statements: vec![shut.to(Selector::of([Principal::Everyone]))], ..row() }]);
    let planned = planned(&project, &spec).await;
    assert_eq!(
        errors(&planned),
        ["lockout store.ledger_policy.orders: the policy of `orders` would lock out the identity that applies it: \
             it would deny sqs:SetQueueAttributes to `arn:aws:iam::333333333333:user/ops`: statement 1 \
             `Bailiwick148de9c5Shut` of `arn:aws:sqs:us-east-1:333333333333:orders` in the resource policy denies it"]
    );
    assert_refused_for(Code::Lockout, &project, &spec, &planned).await;
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

/// Rebuilds the state of a project and stores it, as `state rebuild --orphans` does.
async fn rebuild(project: &Project, spec: &Spec) -> Recovered {
    let lints = bailiwick::check::Lints::default();
    let task = Task::new(spec, Intent::Apply, "2026-01-01", &lints);
    let known = project.known().await;
    let found = with_engine(project, spec, async |engine| {
        let compiled = engine.compile(&task).await.unwrap();
        engine.recover(spec, &compiled, &known, &BTreeSet::new()).await
    })
    .await;
    let Known { mut state, version, .. } = known;
    state.resources.extend(found.ours.clone());
    state.resources.extend(found.orphans.clone());
    state.serial += 1;
    project.backend.save(&state, &version).await.unwrap();
    found
}

#[tokio::test]
async fn lost_state_is_rebuilt_from_its_statements() {
    let (project, id, spec) = applied().await;
    let (before, ..) = project.state().await;
    project.backend.hold(None, Vec::new());
    assert_eq!(planned(&project, &spec).await.lost(), [address("orders")]);
    let found = rebuild(&project, &spec).await;
    assert_eq!((found.ours.keys().collect::<Vec<_>>(), found.orphans.len()), (vec![&address("orders")], 0));
    assert_eq!(project.state().await.0.resources, before.resources);
    assert_eq!(planned(&project, &spec).await.lost(), []);
    project.assert_converged(&spec).await;
    want(&[]);
    let destroyed = project.destroy(&spec).await;
    assert_eq!(destroyed.steps(), ["delete store.ledger_policy.orders"]);
    assert_eq!(project.cloud.world().show(&id), json!({ "Version": "2012-10-17", "Statement": [theirs()] }));
    assert!(destroyed.state.resources.is_empty());
}

#[tokio::test]
async fn orphaned_statements_are_recovered_and_deleted() {
    let (project, id, spec) = applied().await;
    project.backend.hold(None, Vec::new());
    LEDGERS.with_borrow_mut(|all| all.push(("orders".into(), "orders".into())));
    want(&[]);
    let found = rebuild(&project, &spec).await;
    assert_eq!((found.ours.len(), found.orphans.keys().collect::<Vec<_>>()), (0, vec![&address("orders")]));
    let applied = project.apply_all(&spec).await;
    assert_eq!(applied.steps(), ["delete store.ledger_policy.orders"]);
    assert_eq!(project.cloud.world().show(&id), json!({ "Version": "2012-10-17", "Statement": [theirs()] }));
    project.assert_converged(&spec).await;
}

/// A key and a label with characters that have a meaning in every format.
const HOSTILE: &str = "evil\u{1b}[31m|`<b>\"\nkey";

/// A project with two ledgers, whose desired policies are a public one with a hostile name, and one that refers to it.
fn hostile() -> (Project, Spec) {
    let (project, spec) = (project(), nothing());
    for name in [HOSTILE, "copy"] {
        ledger(&project, name);
    }
    let public = reader().on(Selector::of(["*"])).to(Selector::of([Principal::Everyone]));
    let copy = Row { key: "copy".into(), ledger: "copy".into(), needs: vec![address(HOSTILE)], ..row() };
    let (key, ledger, label) = (HOSTILE.into(), HOSTILE.into(), Some(HOSTILE.into()));
    want(&[Row { key, ledger, label, statements: vec![public], ..row() }, copy]);
    (project, spec)
}

#[tokio::test]
async fn hostile_names_are_inert_in_a_plan() {
    let (project, spec) = hostile();
    let planned = planned(&project, &spec).await;
    let details = PlanDetails { changes: planned.changes(), findings: planned.findings(), ..PlanDetails::default() };
    let wire = report::wire::plan(planned.plan(), details);
    let value: Value = serde_json::from_str(&json(&wire)).unwrap();
    let step = &value["steps"][0];
    assert_eq!((&step["kind"], &step["physical_id"]), (&json!("store.ledger_policy"), &json!(HOSTILE)));
    assert_eq!((&step["account_id"], &step["cluster"]), (&json!("tenant-7"), &Value::Null));
    let report = report::plan(&wire, true);
    assert_contains(&terminal(&report, Palette::default()), &HOSTILE_IN_TEXT);
    assert_contains(&markdown(&report), &HOSTILE_IN_MARKDOWN);
    project.apply_all(&spec).await;
    project.assert_converged(&spec).await;
    want(&[]);
    project.destroy(&spec).await;
    assert_eq!(project.cloud.world().tagged(), BTreeSet::new());
}

#[track_caller]
fn assert_contains(printed: &str, parts: &[&str]) {
    assert!(!printed.contains('\u{1b}'), "{printed}");
    for part in parts {
        assert!(printed.contains(part), "{part}\nis missing in\n{printed}");
    }
}

/// The lines of a row, a step, a body and a finding.
const HOSTILE_IN_TEXT: [&str; 4] = [
    r#"
  ! anyone gains [PUBLIC]
      via statement `Bailiwick148de9c5Read` of the policy of
      arn:aws:sqs:us-east-1:333333333333:evil\u{1b}[31m|`<b>"
      key
      read (sqs:ReceiveMessage) on
      arn:aws:sqs:us-east-1:333333333333:evil\u{1b}[31m|`<b>"
      key
"#,
    r#"
  + store.ledger_policy.evil\u{1b}[31m|`<b>"                      vault tenant-7
      key
"#,
    r#"
        label: "evil\u001b[31m|`<b>\"\nkey"
"#,
    r#"
  ✗ store.ledger_policy.evil\u{1b}[31m|`<b>" [resource-public]
      key: everyone has access (statement `Bailiwick148de9c5Read`)
"#,
];

const HOSTILE_IN_MARKDOWN: [&str; 4] = [
    r#"
  read (sqs:ReceiveMessage) on arn:aws:sqs:us-east-1:333333333333:evil\\u{1b}\[31m\|\`&lt;b&gt;"<br>key
"#,
    r#"
- ➕ ``store.ledger_policy.evil\u{1b}[31m|`<b>"`` — vault tenant-7

  ```sh
  key
  ```
"#,
    r#"
  + label: "evil\u001b[31m|`<b>\"\nkey"
"#,
    r#"
- 🛑 store.ledger\_policy.evil\\u{1b}\[31m\|\`&lt;b&gt;" \[resource-public\]

  ```sh
  key: everyone has access (statement `Bailiwick148de9c5Read`)
  ```
"#,
];

#[tokio::test]
async fn hostile_names_are_inert_in_a_graph() {
    let (project, spec) = hostile();
    let edges = made_up_access::edges(&project, &spec).await;
    assert_eq!(
        dot(&edges),
        r#"digraph bailiwick {
  rankdir=LR;
  node [shape=box, fontname="sans-serif"];
  "store.ledger_policy.copy";
  "store.ledger_policy.evil\\u{1b}[31m|`<b>\"\\u{a}key";
  "store.ledger_policy.copy" -> "store.ledger_policy.evil\\u{1b}[31m|`<b>\"\\u{a}key";
}
"#
    );
    assert_eq!(
        mermaid(&edges),
        r#"flowchart LR
  n0["store.ledger_policy.copy"]
  n1["store.ledger_policy.evil\u{1b}[31m|`#lt;b#gt;#quot;\u{a}key"]
  n0 --> n1
"#
    );
}
