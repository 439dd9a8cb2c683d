//! Access to ledgers for roles of the spec, whose policies are known: answers, and the access section of a plan.

use std::collections::BTreeMap;

use bailiwick::access::{AccessTarget, AccessVerdict};
use bailiwick::address::Address;
use bailiwick::engine::{Intent, Task};
use bailiwick::iam::{Principal, Selector, Statement};
use bailiwick::render::{Palette, dot, json, mermaid, terminal};
use bailiwick::report;
use bailiwick::report::wire::PlanDetails;
use bailiwick::spec::Spec;
use serde_json::{Value, json};

use crate::made_up_kind::{
    self, LEDGERS, OPERATOR, Row, address, arn, ledger, planned, project, row, sid, want, with_engine,
};
use crate::run::{Project, spec};

/// Two roles with policies of their own: one in the account of the ledgers, and one in another account.
const ROLES: &str = r#"
version: 1
project: p
accounts:
  vault: { id: "333333333333", region: us-east-1 }
  platform: { id: "111111111111", region: us-east-1 }
roles:
  auditor:
    account: vault
    name: auditor
    trust: [ { service: ec2.amazonaws.com } ]
    inline:
      ledgers:
        Version: "2012-10-17"
        Statement:
          - Sid: Own
            Effect: Allow
            Action: [ "sqs:SendMessage", "sqs:DeleteMessage" ]
            Resource: arn:aws:sqs:us-east-1:333333333333:orders
  loader:
    account: platform
    name: loader
    trust: [ { service: ec2.amazonaws.com } ]
    inline:
      ledgers:
        Version: "2012-10-17"
        Statement:
          - Sid: Own
            Effect: Allow
            Action: [ "sqs:ReceiveMessage", "sqs:SendMessage" ]
            Resource: arn:aws:sqs:us-east-1:333333333333:orders
"#;

const AUDITOR: &str = "arn:aws:iam::333333333333:role/auditor";
const LOADER: &str = "arn:aws:iam::111111111111:role/loader";

fn allow(name: &str, action: &str, roles: &[&str]) -> Statement {
    let principals = Selector::of(roles.iter().map(|role| Principal::aws(role)));
    Statement::allow([action], [arn("orders").as_str()]).with_sid(&sid(name)).to(principals)
}

fn deny(name: &str, action: &str, roles: &[&str]) -> Statement {
    let principals = Selector::of(roles.iter().map(|role| Principal::aws(role)));
    Statement::deny([action], [arn("orders").as_str()]).with_sid(&sid(name)).to(principals)
}

/// A ledger policy for the roles, which must exist first.
fn of_roles(statements: Vec<Statement>) -> Row {
    let needs = ["auditor", "loader"].map(|name| Address::new("aws.iam.role", name)).to_vec();
    Row { statements, needs, ..row() }
}

/// A project with the roles and an applied policy of the ledger.
async fn applied(statements: Vec<Statement>) -> (Project, Spec) {
    let (project, spec) = (project(), spec(ROLES));
    ledger(&project, "orders");
    want(&[of_roles(statements)]);
    project.apply_all(&spec).await;
    project.assert_converged(&spec).await;
    (project, spec)
}

fn both() -> Vec<Statement> {
    vec![allow("Read", "sqs:ReceiveMessage", &[AUDITOR, LOADER]), deny("Keep", "sqs:DeleteMessage", &[AUDITOR])]
}

fn target() -> AccessTarget {
    AccessTarget::parse(&arn("orders")).unwrap()
}

/// A question about a ledger, and what the program prints.
type Question = (&'static str, &'static str, AccessVerdict, &'static str);

const ANSWERS: [Question; 6] = [
    (
        "auditor",
        "sqs:ReceiveMessage",
        AccessVerdict::Allowed,
        "allowed: sqs:ReceiveMessage on arn:aws:sqs:us-east-1:333333333333:orders for role auditor in account vault (333333333333)

Chain
  ✓ the policy of arn:aws:sqs:us-east-1:333333333333:orders allows it
    sqs:ReceiveMessage
      statement `Bailiwick148de9c5Read` of the policy of
      arn:aws:sqs:us-east-1:333333333333:orders
",
    ),
    (
        "auditor",
        "sqs:SendMessage",
        AccessVerdict::Allowed,
        "allowed: sqs:SendMessage on arn:aws:sqs:us-east-1:333333333333:orders for role auditor in account vault (333333333333)

Chain
  ✓ the policies of role auditor allow sqs:SendMessage
      statement `Own` of inline policy ledgers
",
    ),
    (
        "auditor",
        "sqs:DeleteMessage",
        AccessVerdict::Denied,
        "denied: sqs:DeleteMessage on arn:aws:sqs:us-east-1:333333333333:orders for role auditor in account vault (333333333333)

Chain
  ✓ the policies of role auditor allow sqs:DeleteMessage
      statement `Own` of inline policy ledgers
  ✗ sqs:DeleteMessage on arn:aws:sqs:us-east-1:333333333333:orders is denied:
    statement `Bailiwick148de9c5Keep` of the policy of
    arn:aws:sqs:us-east-1:333333333333:orders denies it
      to fix: narrow statement `Bailiwick148de9c5Keep` of the policy of
      arn:aws:sqs:us-east-1:333333333333:orders so that it excludes the request
",
    ),
    (
        "auditor",
        "sqs:PurgeQueue",
        AccessVerdict::Denied,
        "denied: sqs:PurgeQueue on arn:aws:sqs:us-east-1:333333333333:orders for role auditor in account vault (333333333333)

Chain
  ✗ sqs:PurgeQueue on arn:aws:sqs:us-east-1:333333333333:orders is denied:
    nothing in the identity-based policies allows it
      to fix: allow sqs:PurgeQueue on arn:aws:sqs:us-east-1:333333333333:orders
      in the policies of role auditor
",
    ),
    (
        "loader",
        "sqs:ReceiveMessage",
        AccessVerdict::Allowed,
        "allowed: sqs:ReceiveMessage on arn:aws:sqs:us-east-1:333333333333:orders for role loader in account platform (111111111111)

Chain
  ✓ the policies of role loader allow sqs:ReceiveMessage
      statement `Own` of inline policy ledgers
  ✓ the policy of arn:aws:sqs:us-east-1:333333333333:orders allows it
    sqs:ReceiveMessage
      statement `Bailiwick148de9c5Read` of the policy of
      arn:aws:sqs:us-east-1:333333333333:orders
",
    ),
    (
        "loader",
        "sqs:SendMessage",
        AccessVerdict::Denied,
        "denied: sqs:SendMessage on arn:aws:sqs:us-east-1:333333333333:orders for role loader in account platform (111111111111)

Chain
  ✓ the policies of role loader allow sqs:SendMessage
      statement `Own` of inline policy ledgers
  ✗ sqs:SendMessage on arn:aws:sqs:us-east-1:333333333333:orders is denied: the
    resource belongs to another account, and its policy does not allow it
      to fix: allow sqs:SendMessage on arn:aws:sqs:us-east-1:333333333333:orders
      to arn:aws:iam::111111111111:role/loader in the policy of
      arn:aws:sqs:us-east-1:333333333333:orders
",
    ),
];

#[tokio::test]
async fn can_judges_roles_by_their_policies_and_the_ledger_policy() {
    let (project, spec) = applied(both()).await;
    let world = project.live_world(&spec).await;
    for (who, action, verdict, text) in ANSWERS {
        let answer = world.can(&world.find(who).unwrap(), action, &target()).unwrap();
        let printed = terminal(&report::answer(&answer, action, &arn("orders")), Palette::default());
        assert_eq!((answer.verdict, printed.as_str()), (verdict, text));
    }
}

#[tokio::test]
async fn denial_names_the_statement_and_the_address_of_the_ledger_policy() {
    let (project, spec) = applied(both()).await;
    let world = project.live_world(&spec).await;
    let answer = world.can(&world.find("auditor").unwrap(), "sqs:DeleteMessage", &target()).unwrap();
    let broken = serde_json::to_value(answer.broken).unwrap();
    let policy = json!({ "kind": "resource", "arn": arn("orders"), "address": "store.ledger_policy.orders" });
    let statement = json!({ "sid": sid("Keep"), "position": 1, "policy": policy });
    assert_eq!(broken["why"]["denial"], json!({ "code": "explicit", "statement": statement }));
    assert_eq!(broken["fix"], json!({ "kind": "narrow", "statement": statement }));
}

/// The principals of an answer to `who-can`, by name, each with its verdict.
async fn who_can(project: &Project, spec: &Spec, action: &str) -> Vec<(String, AccessVerdict)> {
    let answers = project.live_world(spec).await.who_can(action, &target()).unwrap();
    assert_eq!(answers.others, None);
    let name = |who: Value| ["role_arn", "arn", "name"].iter().find_map(|key| Some(who.get(key)?.as_str()?.to_owned()));
    let named = |who| name(serde_json::to_value(who).unwrap()).unwrap();
    answers.who.into_iter().map(|answer| (named(answer.who), answer.verdict)).collect()
}

fn list(who: &[(&str, AccessVerdict)]) -> Vec<(String, AccessVerdict)> {
    who.iter().map(|(name, verdict)| ((*name).to_owned(), *verdict)).collect()
}

#[tokio::test]
async fn who_can_lists_the_roles_that_the_policies_allow() {
    let (project, spec) = applied(both()).await;
    // The policies of the user in the ledger policy were not read. The service can assume both roles.
    let (service, user) = (("ec2.amazonaws.com", AccessVerdict::Allowed), (OPERATOR, AccessVerdict::Unknown));
    let (auditor, loader) = ((AUDITOR, AccessVerdict::Allowed), (LOADER, AccessVerdict::Allowed));
    assert_eq!(who_can(&project, &spec, "sqs:ReceiveMessage").await, list(&[loader, auditor, user, service]));
    assert_eq!(who_can(&project, &spec, "sqs:SendMessage").await, list(&[auditor, user, service]));
    assert_eq!(who_can(&project, &spec, "sqs:DeleteMessage").await, list(&[user]));
}

#[tokio::test]
async fn foreign_statements_decide_without_any_of_the_project() {
    let (project, spec) = (project(), spec(ROLES));
    let id = ledger(&project, "orders");
    LEDGERS.with_borrow_mut(|all| all.push(("orders".into(), "orders".into())));
    project.apply_all(&spec).await;
    project.cloud.world().edit(&id, |policy| {
        policy["Statement"] = json!([allow("Read", "sqs:ReceiveMessage", &[AUDITOR]).with_sid("Theirs").to_value()]);
    });
    let allowed = list(&[(AUDITOR, AccessVerdict::Allowed), ("ec2.amazonaws.com", AccessVerdict::Allowed)]);
    assert_eq!(who_can(&project, &spec, "sqs:ReceiveMessage").await, allowed);
}

/// The gains and losses of roles in the published plan: who, what, where, by which statement, across which boundary.
fn of_the_roles(published: &Value) -> Vec<Value> {
    let rows = published["access_changes"].as_array().unwrap().iter().filter(|row| row["who"]["kind"] == "role");
    let sids = |via: &Value| -> Vec<Value> {
        via.as_array().unwrap().iter().map(|step| step["statement"]["sid"].clone()).collect()
    };
    rows.map(|row| {
        json!([
            row["change"],
            row["who"],
            row["access"],
            row["actions"],
            row["where"],
            sids(&row["via"]),
            row["crosses"]
        ])
    })
    .collect()
}

#[tokio::test]
async fn plan_shows_who_gains_and_loses_access_to_a_ledger() {
    let (project, spec) = applied(both()).await;
    want(&[of_roles(vec![
        allow("Read", "sqs:ReceiveMessage", &[AUDITOR]),
        allow("Purge", "sqs:PurgeQueue", &[AUDITOR]),
    ])]);
    let planned = planned(&project, &spec).await;
    let wire = report::wire::plan(planned.plan(), PlanDetails { changes: planned.changes(), ..PlanDetails::default() });
    let role = |arn: &str, name: &str, account: &str, id: &str| json!({ "kind": "role", "role_arn": arn, "name": name, "account": account, "account_id": id });
    let (auditor, loader) =
        (role(AUDITOR, "auditor", "vault", "333333333333"), role(LOADER, "loader", "platform", "111111111111"));
    let place = json!({ "kind": "resource", "arn": arn("orders"), "service": "sqs" });
    assert_eq!(
        of_the_roles(&serde_json::from_str(&json(&wire)).unwrap()),
        [
            json!(["loss", loader, ["read"], ["sqs:ReceiveMessage"], place, [sid("Read"), "Own"], ["account"]]),
            json!(["gain", auditor, ["write"], ["sqs:PurgeQueue"], place, [sid("Purge")], []]),
            json!(["gain", auditor, ["delete"], ["sqs:DeleteMessage"], place, ["Own"], []]),
        ]
    );
    let text = terminal(&report::plan(&wire, true), Palette::default());
    let (access, _) = text.split_once("\n  + service ec2.amazonaws.com gains\n").unwrap();
    assert_eq!(
        access,
        "p: 1 to update, 4 unchanged

Access
  - role loader in account platform (111111111111) loses [CROSSES ACCOUNTS]
      via statement `Bailiwick148de9c5Read` of the policy of
      arn:aws:sqs:us-east-1:333333333333:orders, statement `Own` of inline
      policy ledgers
      read (sqs:ReceiveMessage) on arn:aws:sqs:us-east-1:333333333333:orders
  + role auditor in account vault (333333333333) gains
      write (sqs:PurgeQueue) on arn:aws:sqs:us-east-1:333333333333:orders:
      statement `Bailiwick148de9c5Purge` of the policy of
      arn:aws:sqs:us-east-1:333333333333:orders
      delete (sqs:DeleteMessage) on arn:aws:sqs:us-east-1:333333333333:orders:
      statement `Own` of inline policy ledgers"
    );
    project.apply_all(&spec).await;
    assert_eq!(made_up_kind::planned(&project, &spec).await.changes(), []);
}

#[tokio::test]
async fn changes_of_a_role_and_a_ledger_are_shown_once() {
    let (project, spec) = (project(), spec(ROLES));
    ledger(&project, "orders");
    want(&[of_roles(vec![allow("Read", "sqs:ReceiveMessage", &[LOADER])])]);
    let planned = planned(&project, &spec).await;
    let wire = report::wire::plan(planned.plan(), PlanDetails { changes: planned.changes(), ..PlanDetails::default() });
    let rows = of_the_roles(&serde_json::from_str(&json(&wire)).unwrap());
    let short: Vec<Value> = rows.iter().map(|row| json!([row[0], row[1]["name"], row[3], row[5]])).collect();
    // The policies of the loader allow it to send messages too, but the ledger of the other account does not.
    assert_eq!(
        short,
        [
            json!(["gain", "loader", ["sqs:ReceiveMessage"], [sid("Read"), "Own"]]),
            json!(["gain", "auditor", ["sqs:SendMessage"], ["Own"]]),
            json!(["gain", "auditor", ["sqs:DeleteMessage"], ["Own"]]),
        ]
    );
}

/// The dependencies of the desired resources, as `graph` draws them.
pub async fn edges(project: &Project, spec: &Spec) -> BTreeMap<Address, Vec<Address>> {
    let lints = bailiwick::check::Lints::default();
    let task = Task::new(spec, Intent::Apply, "2026-01-01", &lints);
    let compiled = with_engine(project, spec, async |engine| engine.compile(&task).await).await.unwrap();
    let resources = compiled.desired.resources.into_values();
    resources.map(|r| (r.address.clone(), r.references.iter().map(|r| r.to.clone()).collect())).collect()
}

#[tokio::test]
async fn graph_shows_what_a_ledger_policy_depends_on() {
    let (project, spec) = (project(), spec(ROLES));
    let copy = Row { key: "copy".into(), ledger: "copy".into(), needs: vec![address("orders")], ..row() };
    want(&[copy, of_roles(both())]);
    let edges = edges(&project, &spec).await;
    assert_eq!(
        dot(&edges),
        r#"digraph bailiwick {
  rankdir=LR;
  node [shape=box, fontname="sans-serif"];
  "aws.iam.role.auditor";
  "aws.iam.role.loader";
  "aws.iam.role_policy.auditor/ledgers";
  "aws.iam.role_policy.loader/ledgers";
  "store.ledger_policy.copy";
  "store.ledger_policy.orders";
  "aws.iam.role_policy.auditor/ledgers" -> "aws.iam.role.auditor";
  "aws.iam.role_policy.loader/ledgers" -> "aws.iam.role.loader";
  "store.ledger_policy.copy" -> "store.ledger_policy.orders";
  "store.ledger_policy.orders" -> "aws.iam.role.auditor";
  "store.ledger_policy.orders" -> "aws.iam.role.loader";
}
"#
    );
    assert_eq!(
        mermaid(&edges),
        r#"flowchart LR
  n0["aws.iam.role.auditor"]
  n1["aws.iam.role.loader"]
  n2["aws.iam.role_policy.auditor/ledgers"]
  n3["aws.iam.role_policy.loader/ledgers"]
  n4["store.ledger_policy.copy"]
  n5["store.ledger_policy.orders"]
  n2 --> n0
  n3 --> n1
  n4 --> n5
  n5 --> n0
  n5 --> n1
"#
    );
    ledger(&project, "copy");
    ledger(&project, "orders");
    let applied = project.apply_all(&spec).await;
    project.assert_order(&applied.plan);
    project.assert_converged(&spec).await;
}
