//! The program end to end, against an AWS of two and three accounts and a Kubernetes API.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::emulators::{FORBIDDEN, Gate, MODELS, PLATFORM, RESEARCH, Ran, UNREACHABLE, Verdict, World};
use crate::schema::follows;

const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// One service account with IRSA, and one bucket of another account whose policy has foreign statements too.
const SERVING: &str = r#"version: 1
project: serving
accounts:
  platform: { id: "111111111111", region: us-west-2, assume_role: bailiwick }
  models: { id: "222222222222", region: us-west-2, assume_role: bailiwick }
clusters:
  prod: { account: platform, name: prod-eks, context: prod, identity: irsa }
buckets:
  weights: { account: models, name: acme-weights, versioning: true }
service_accounts:
  loader: { cluster: prod, namespace: NAMESPACE, name: loader }
grants:
  - { to: loader, bucket: weights, prefix: mistral/, access: read }
"#;

const LOADER_ROLE: &str = "arn:aws:iam::111111111111:role/serving-loader";

/// One service account with Pod Identity, and a bucket of the same account.
const POD: &str = r#"version: 1
project: pods
accounts:
  platform: { id: "111111111111", region: us-west-2, assume_role: bailiwick }
clusters:
  prod: { account: platform, name: prod-eks, context: prod, identity: pod_identity }
buckets:
  data: { account: platform, name: acme-data }
service_accounts:
  job: { cluster: prod, namespace: NAMESPACE, name: job }
grants:
  - { to: job, bucket: data, prefix: "", access: read_write }
"#;

fn foreign() -> Value {
    json!({
        "Sid": "AuditorsRead", "Effect": "Allow", "Action": "s3:GetObject",
        "Principal": { "AWS": "arn:aws:iam::333333333333:role/auditor" },
        "Resource": "arn:aws:s3:::acme-weights/reports/*"
    })
}

/// A cluster, and a bucket of the other account with a foreign statement and tag.
fn seed(world: &World) {
    world.aws.seed(&json!({
        "roles": [{ "account": RESEARCH, "name": "auditor" }],
        "clusters": [{ "account": PLATFORM, "region": "us-west-2", "name": "prod-eks" }],
        "buckets": [{
            "account": MODELS, "region": "us-west-2", "name": "acme-weights", "tags": { "owner": "models" },
            "policy": { "Version": "2012-10-17", "Statement": [foreign()] },
        }],
    }));
}

/// A world in which `spec` is about to be applied.
fn world(spec: &str) -> World {
    let world = World::new();
    seed(&world);
    world.spec(spec);
    world
}

/// A world in which `spec` has been applied.
fn applied(spec: &str) -> World {
    let world = world(spec);
    world.apply();
    world
}

fn statements(policy: &Value) -> Vec<Value> {
    let mut statements = policy["Statement"].as_array().cloned().unwrap_or_default();
    statements.iter_mut().for_each(in_order);
    statements
}

/// Sorts a list: AWS returns them in any order.
fn in_order(value: &mut Value) {
    match value {
        Value::Array(values) => values.sort_by_key(ToString::to_string),
        Value::Object(members) => members.values_mut().for_each(in_order),
        _ => {}
    }
}

/// The statements of the bucket that both specs with two accounts share.
fn bucket_statements(world: &World) -> Vec<Value> {
    world.aws.bucket_policy(MODELS, "acme-weights").map(|policy| statements(&policy)).unwrap_or_default()
}

fn addresses(plan: &Value) -> Vec<&str> {
    plan["steps"].as_array().unwrap().iter().map(|step| step["address"].as_str().unwrap()).collect()
}

// ---- Plan, apply and destroy

#[test]
fn apply_creates_the_spec_and_destroy_keeps_foreign_resources() {
    let world = world(SERVING);
    let plan = world.bailiwick(&["plan", "--detailed-exitcode"]).exits(2);
    plan.shows(&["serving: 5 to create, 1 to adopt, 0 unchanged", "+ aws.iam.role.loader"]);
    assert_eq!(world.aws.writes(), 0, "a plan writes nothing");

    world.apply().shows(&["serving: 6 done"]);
    world.bailiwick(&["plan", "--detailed-exitcode"]).exits(0).shows(&["serving: nothing to do, 6 unchanged"]);
    world.converged();

    assert_eq!(world.kube.annotations(&world.namespace, "loader")[ROLE_ANNOTATION], LOADER_ROLE);
    let trust = world.aws.trust(PLATFORM, "serving-loader").to_string();
    assert!(trust.contains(&format!("system:serviceaccount:{}:loader", world.namespace)), "{trust}");
    assert!(trust.contains("sts.amazonaws.com"), "{trust}");
    assert_eq!(world.aws.inline_policies(PLATFORM, "serving-loader").len(), 1);
    let live = bucket_statements(&world);
    assert!(live.contains(&foreign()), "{live:?}");
    let ours: Vec<&Value> = live.iter().filter(|s| **s != foreign()).collect();
    assert!(ours.iter().all(|s| s["Principal"]["AWS"] == LOADER_ROLE), "{ours:?}");
    assert!(
        ours.iter().any(|s| s["Action"] == "s3:GetObject" && s["Resource"] == "arn:aws:s3:::acme-weights/mistral/*")
    );

    world.bailiwick(&["destroy", "--yes"]).exits(0).shows(&["serving: 6 done"]);
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new());
    assert_eq!(bucket_statements(&world), [foreign()]);
    let tags = world.aws.s3(MODELS, "GET /acme-weights?tagging", "").ok();
    assert!(tags.contains("<Key>owner</Key>") && !tags.contains("bailiwick:"), "{tags}");
    let providers = world.aws.iam(PLATFORM, "ListOpenIDConnectProviders", &[]).ok();
    assert!(!providers.contains("<Arn>"), "{providers}");
    assert!(world.kube.service_account(&world.namespace, "loader").is_none());
    assert_eq!(world.state("serving")["resources"], json!({}));
    world.bailiwick(&["destroy", "--yes"]).exits(0).shows(&["nothing to do"]);
}

#[test]
fn ten_service_accounts_in_three_accounts_and_two_clusters() {
    let world = World::bare("chat");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/many-teams");
    world.write("accounts.yaml", &std::fs::read_to_string(format!("{folder}/accounts.yaml")).unwrap());
    let mut teams = std::fs::read_to_string(format!("{folder}/teams.yaml")).unwrap();
    for name in ["gateway", "chat", "search", "audit", "chat-training", "search-training", "evaluation", "datasets"] {
        let own = world.kube.own_name(name);
        teams = teams.replace(&format!("namespace: {name},"), &format!("namespace: {own},"));
    }
    world.write("teams.yaml", &teams);
    world.aws.seed(&json!({ "clusters": [
        { "account": PLATFORM, "region": "us-west-2", "name": "serving-eks" },
        { "account": PLATFORM, "region": "us-east-1", "name": "training-eks" },
    ]}));
    let run = |arguments: &[&str]| world.bailiwick(&[&["-f", "."], arguments].concat());
    run(&["apply", "--yes"]).exits(0).shows(&["many-teams: 60 done"]);
    run(&["plan", "--detailed-exitcode"]).exits(0).shows(&["nothing to do, 60 unchanged"]);
    run(&["drift", "--fail-on", "foreign"]).exits(0);
    assert_eq!(world.aws.roles(RESEARCH), ["many-teams-importer-research"]);
    assert_eq!(world.aws.roles(PLATFORM).len(), 10);

    run(&["destroy", "--yes"]).exits(0);
    for account in [PLATFORM, MODELS, RESEARCH] {
        assert_eq!(world.aws.roles(account), Vec::<String>::new());
    }
    let buckets = world.aws.s3(RESEARCH, "GET /", "").ok();
    assert!(buckets.contains("acme-datasets"), "buckets are kept: {buckets}");
    assert!(!buckets.contains("acme-scratch"), "unless they are empty and may go: {buckets}");
}

#[test]
fn namespace_is_created_on_request_and_deleted_only_when_empty() {
    let world = World::bare("made-here");
    seed(&world);
    world.spec(&SERVING.replace("name: loader }", "name: loader, create_namespace: true }"));
    world.apply();
    assert!(world.kube.has_namespace(&world.namespace));
    world.kube.annotate(&world.namespace, "somebody-elses", "kubectl", &json!({}));
    let kept = world.bailiwick(&["destroy", "--yes"]).exits(1);
    kept.shows(&[
        "it still holds service account `somebody-elses`",
        "Run `bailiwick destroy` again to complete the remaining steps.",
    ]);
    assert!(world.kube.has_namespace(&world.namespace));
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new(), "the rest goes on");
}

// ---- Drift

#[test]
fn deleted_statement_is_access_drift_and_apply_restores_it() {
    let world = applied(SERVING);
    let before = bucket_statements(&world);
    world.aws.put_bucket_policy(MODELS, "acme-weights", &json!({ "Version": "2012-10-17", "Statement": [foreign()] }));

    let drift = world.bailiwick(&["drift", "--format", "json"]).exits(2).json();
    follows("drift", &drift);
    assert_eq!(drift["summary"], json!({ "access": 1 }));
    assert_eq!(drift["drift"][0]["address"], "aws.s3.bucket_policy.weights");
    world.bailiwick(&["drift"]).exits(2).shows(&["Access drifted", "aws.s3.bucket_policy.weights", "deleted outside"]);

    let plan = world.bailiwick(&["plan", "--format", "json"]).exits(0).json();
    assert_eq!(addresses(&plan), ["aws.s3.bucket_policy.weights"]);
    world.apply();
    assert_eq!(sorted(bucket_statements(&world)), sorted(before));
    world.converged();
}

#[test]
fn changed_statement_is_shown_against_the_last_applied_one() {
    let world = applied(SERVING);
    let wider: Vec<Value> = bucket_statements(&world)
        .into_iter()
        .map(|mut statement| {
            if statement["Resource"] == "arn:aws:s3:::acme-weights/mistral/*" {
                statement["Resource"] = json!("arn:aws:s3:::acme-weights/*");
            }
            statement
        })
        .collect();
    world.aws.put_bucket_policy(MODELS, "acme-weights", &json!({ "Version": "2012-10-17", "Statement": wider }));
    let drift = world.bailiwick(&["drift", "--format", "json"]).exits(2).json();
    let moved = &drift["drift"][0];
    assert_eq!((moved["class"].as_str(), moved["field"].as_str()), (Some("access"), Some("statements")));
    let narrow = "arn:aws:s3:::acme-weights/mistral/*";
    assert!(moved["expected"].to_string().contains(narrow) && !moved["live"].to_string().contains(narrow), "{moved:#}");
    world.apply();
    world.converged();
}

#[test]
fn changes_of_foreign_statements_are_kept() {
    let world = applied(SERVING);
    let mut statements = bucket_statements(&world);
    statements.retain(|statement| *statement != foreign());
    let another = json!({
        "Sid": "Another", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::acme-weights/*",
        "Condition": { "Bool": { "aws:SecureTransport": "false" } }
    });
    statements.push(another.clone());
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    world.aws.put_bucket_policy(MODELS, "acme-weights", &policy);

    world.bailiwick(&["drift"]).exits(0).shows(&["Changed by others"]);
    world.bailiwick(&["drift", "--fail-on", "foreign"]).exits(2);
    world.bailiwick(&["plan", "--detailed-exitcode"]).exits(0);
    world.apply();
    world.converged();
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(bucket_statements(&world), [another]);
}

#[test]
fn resource_deleted_outside_is_recreated() {
    let world = applied(SERVING);
    let role = [("RoleName", "serving-loader")];
    let policy = [role[0], ("PolicyName", "bailiwick-access")];
    world.aws.iam(PLATFORM, "DeleteRolePolicy", &policy).ok();
    world.aws.iam(PLATFORM, "DeleteRole", &role).ok();
    let drift = world.bailiwick(&["drift", "--format", "json"]).exits(2).json();
    let moved: Vec<&str> = drift["drift"].as_array().unwrap().iter().map(|d| d["address"].as_str().unwrap()).collect();
    // The role's ARN in resource policies became the id of the deleted role.
    let expected =
        ["aws.iam.role.loader", "aws.iam.role_policy.loader/bailiwick-access", "aws.s3.bucket_policy.weights"];
    assert_eq!(moved, expected);
    world.apply();
    assert_eq!(world.aws.roles(PLATFORM), ["serving-loader"]);
    world.converged();
}

fn sorted(mut statements: Vec<Value>) -> Vec<Value> {
    statements.sort_by_key(Value::to_string);
    statements
}

// ---- Resources of others

#[test]
fn field_of_another_manager_is_not_overwritten() {
    let world = world(SERVING);
    world.kube.annotate(&world.namespace, "loader", "helm", &json!({ ROLE_ANNOTATION: "arn:aws:iam::1:role/helms" }));
    let refused = world.bailiwick(&["apply", "--yes"]).exits(1);
    refused.shows(&["kubernetes.service_account.loader", "conflicts with \"helm\"", ROLE_ANNOTATION]);
    assert_eq!(world.kube.annotations(&world.namespace, "loader")[ROLE_ANNOTATION], "arn:aws:iam::1:role/helms");
}

#[test]
fn a_service_account_of_others_is_adopted_and_not_deleted() {
    let world = world(SERVING);
    world.kube.annotate(&world.namespace, "loader", "helm", &json!({ "helm.sh/chart": "loader" }));
    let plan = world.bailiwick(&["plan", "--format", "json"]).exits(0).json();
    assert_eq!(plan["summary"]["adopt"], 2, "the bucket and the service account");
    world.apply();
    world.converged();
    assert_eq!(world.kube.annotations(&world.namespace, "loader")[ROLE_ANNOTATION], LOADER_ROLE);
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    let left = world.kube.annotations(&world.namespace, "loader");
    assert_eq!(left.into_iter().collect::<Vec<_>>(), [("helm.sh/chart".to_owned(), "loader".to_owned())]);
}

#[test]
fn annotation_mode_manages_only_the_annotation() {
    let spec = SERVING.replace("name: loader }", "name: loader, manage: annotation }");
    let world = world(&spec);
    world.bailiwick(&["apply", "--yes"]).exits(1).shows(&["does not exist", "manage: object"]);
    world.kube.annotate(&world.namespace, "loader", "helm", &json!({ "helm.sh/chart": "loader" }));
    world.apply();
    world.converged();
    assert_eq!(world.kube.annotations(&world.namespace, "loader").len(), 2);
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(world.kube.annotations(&world.namespace, "loader").len(), 1);
}

#[test]
fn an_association_of_others_is_adopted() {
    let world = world(POD);
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "Service": "pods.eks.amazonaws.com" }, "Action": ["sts:AssumeRole", "sts:TagSession"]
    }] });
    world.aws.seed(&json!({ "roles": [{ "account": PLATFORM, "name": "by-hand", "trust": trust }] }));
    let at = "/clusters/prod-eks/pod-identity-associations";
    let made = world.aws.eks(
        PLATFORM,
        &format!("POST {at}"),
        &json!({
            "namespace": world.namespace, "serviceAccount": "job", "roleArn": "arn:aws:iam::111111111111:role/by-hand"
        }),
    );
    let id = made.json()["association"]["associationId"].as_str().unwrap().to_owned();
    let plan = world.bailiwick(&["plan", "--format", "json"]).exits(0).json();
    let steps = plan["steps"].as_array().unwrap();
    let step = steps.iter().find(|s| s["kind"] == "aws.eks.pod_identity_association").unwrap();
    assert_eq!((step["action"].as_str(), step["changed"][0].as_str()), (Some("adopt"), Some("role_arn")));
    world.apply();
    world.converged();
    let now = world.aws.eks(PLATFORM, &format!("GET {at}/{id}"), &Value::Null).json();
    assert_eq!(now["association"]["roleArn"], "arn:aws:iam::111111111111:role/pods-job");
}

#[test]
fn resource_of_another_project_is_refused() {
    let world = applied(SERVING);
    world.write("other.yaml", &SERVING.replace("project: serving", "project: other").replace("NAMESPACE", "default"));
    let refused = world.bailiwick(&["-f", "other.yaml", "plan"]).exits(1);
    refused.says(&["aws.s3.bucket.weights exists and belongs to project `serving`"]);
}

// ---- Kinds of access

#[test]
fn target_role_gives_access_to_another_account() {
    let spec = POD
        .replace(
            "clusters:",
            "  models: { id: \"222222222222\", region: us-west-2, assume_role: bailiwick }\nclusters:",
        )
        .replace("data: { account: platform,", "data: { account: models,")
        .replace("access: read_write }", "access: read_write, mode: assume_role }");
    let world = applied(&spec);
    world.converged();
    let [role] = &world.aws.roles(MODELS)[..] else { panic!("{:?}", world.aws.roles(MODELS)) };
    let target = format!("arn:aws:iam::{MODELS}:role/{role}");
    let at = "/clusters/prod-eks/pod-identity-associations";
    let listed = world.aws.eks(PLATFORM, &format!("GET {at}"), &Value::Null).json();
    let id = listed["associations"][0]["associationId"].as_str().unwrap();
    let association = world.aws.eks(PLATFORM, &format!("GET {at}/{id}"), &Value::Null).json()["association"].clone();
    assert_eq!(association["roleArn"], "arn:aws:iam::111111111111:role/pods-job");
    assert_eq!(association["targetRoleArn"], target.as_str());
    let trust = world.aws.trust(MODELS, role).to_string();
    assert!(trust.contains("arn:aws:iam::111111111111:role/pods-job"), "{trust}");
    let hop = world.aws.inline_policies(PLATFORM, "pods-job");
    assert!(
        hop.values().any(|p| p.to_string().contains("sts:AssumeRole") && p.to_string().contains(&target)),
        "{hop:?}"
    );
    assert_eq!(world.aws.bucket_policy(MODELS, "acme-data"), None, "the role is of the bucket's account");
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!([world.aws.roles(PLATFORM), world.aws.roles(MODELS)], [Vec::<String>::new(), vec![]]);
}

#[test]
fn key_is_created_and_kept_by_destroy() {
    let spec = SERVING.replace("versioning: true }", "encryption: { kms_key: weights, bucket_key: true } }").replace(
        "service_accounts:",
        "keys:\n  weights: { account: models, alias: weights, managed: true, rotation: true }\nservice_accounts:",
    );
    let world = applied(&spec);
    world.converged();
    let alias = json!({ "KeyId": "alias/weights" });
    let key = world.aws.kms(MODELS, "DescribeKey", &alias).json()["KeyMetadata"].clone();
    let arn = key["Arn"].as_str().unwrap();
    let by_id = json!({ "KeyId": key["KeyId"] });
    assert_eq!(world.aws.kms(MODELS, "GetKeyRotationStatus", &by_id).json()["KeyRotationEnabled"], true);
    let encryption = world.aws.s3(MODELS, "GET /acme-weights?encryption", "").ok();
    assert!(encryption.contains(arn), "the bucket names the key's ARN: {encryption}");
    let policy =
        world.aws.kms(MODELS, "GetKeyPolicy", &json!({ "KeyId": key["KeyId"], "PolicyName": "default" })).json();
    assert!(policy["Policy"].as_str().unwrap().contains(LOADER_ROLE), "{policy}");

    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(world.aws.kms(MODELS, "DescribeKey", &alias).json()["KeyMetadata"]["KeyState"], "Enabled");
    let policy =
        world.aws.kms(MODELS, "GetKeyPolicy", &json!({ "KeyId": key["KeyId"], "PolicyName": "default" })).json();
    assert!(!policy["Policy"].as_str().unwrap().contains(LOADER_ROLE), "{policy}");
}

#[test]
fn key_is_deleted_only_if_named() {
    let spec = SERVING.replace(
        "service_accounts:",
        "keys:\n  weights: { account: models, alias: weights, managed: true, on_destroy: delete }\nservice_accounts:",
    );
    let world = applied(&spec);
    let state = || {
        world.aws.kms(MODELS, "DescribeKey", &json!({ "KeyId": "alias/weights" })).json()["KeyMetadata"]["KeyState"]
            .clone()
    };
    let refused = world.bailiwick(&["destroy", "--yes"]).exits(1);
    refused.shows(&["--allow-delete aws.kms.key.weights"]).says(&["nothing was written"]);
    assert_eq!(state(), "Enabled");
    assert_eq!(world.aws.roles(PLATFORM), ["serving-loader"]);
    world.bailiwick(&["destroy", "--yes", "--allow-delete", "aws.kms.key.weights"]).exits(0);
    assert_eq!(state(), "PendingDeletion");
}

#[test]
fn key_behind_a_repointed_alias_is_never_changed() {
    let spec = SERVING.replace(
        "service_accounts:",
        "keys:\n  weights: { account: models, alias: weights, managed: true, on_destroy: delete }\nservice_accounts:",
    );
    let world = applied(&spec);
    let kms = |operation: &str, body: &Value| world.aws.kms(MODELS, operation, body);
    let ours = kms("DescribeKey", &json!({ "KeyId": "alias/weights" })).json()["KeyMetadata"]["KeyId"].clone();
    let theirs = kms("CreateKey", &json!({})).json()["KeyMetadata"]["KeyId"].clone();
    let point_to = |key: &Value| kms("UpdateAlias", &json!({ "AliasName": "alias/weights", "TargetKeyId": key })).ok();
    point_to(&theirs);
    let (ours_id, theirs_id) = (ours.as_str().unwrap(), theirs.as_str().unwrap());
    let expected = format!("`alias/weights` now points to `{theirs_id}` instead of `{ours_id}`");
    world.bailiwick(&["plan"]).exits(1).says(&[&expected, "bailiwick state rm aws.kms.key.weights"]);
    world.bailiwick(&["destroy", "--yes", "--allow-delete", "aws.kms.key.weights"]).exits(1).says(&[&expected]);
    let key = kms("DescribeKey", &json!({ "KeyId": theirs })).json()["KeyMetadata"].clone();
    assert_eq!(key["KeyState"], "Enabled");
    assert_eq!(kms("ListResourceTags", &json!({ "KeyId": theirs })).json()["Tags"], json!([]));
    point_to(&ours);
    world.converged();
}

#[test]
fn statements_that_do_not_fit_inline_overflow_into_managed_policies() {
    let prefix = |n| format!("a-rather-long-prefix-for-team-number-{n:04}-of-the-spec/{n}/");
    let grant = |n: usize| {
        let access = ["read", "delete"][n % 2];
        format!("  - {{ to: job, bucket: data, prefix: {}, access: {access} }}\n", prefix(n))
    };
    let spec = [POD.to_owned()].into_iter().chain((0..60).map(grant)).collect::<String>();
    // The grant for the whole bucket would make the others redundant.
    let world = world(&spec.replace("  - { to: job, bucket: data, prefix: \"\", access: read_write }\n", ""));
    world.apply();
    world.converged();
    let managed = world.aws.managed_policies(PLATFORM);
    assert!(!managed.is_empty(), "everything fits");
    let attached = world.aws.iam(PLATFORM, "ListAttachedRolePolicies", &[("RoleName", "pods-job")]).ok();
    assert!(managed.iter().all(|name| attached.contains(name.as_str())), "{managed:?} {attached}");

    world.spec(POD);
    world.bailiwick(&["apply", "--yes", "--allow-deletes", "20"]).exits(0);
    assert_eq!(world.aws.managed_policies(PLATFORM), Vec::<String>::new());
    world.converged();
}

#[test]
fn bucket_is_deleted_only_when_empty() {
    let world = applied(&POD.replace("name: acme-data }", "name: acme-data, on_destroy: delete }"));
    world.aws.s3(PLATFORM, "PUT /acme-data/weights.bin", "bytes").ok();
    world.bailiwick(&["destroy", "--yes"]).exits(1).shows(&["aws.s3.bucket.data", "it holds objects"]);
    assert_eq!(world.aws.s3(PLATFORM, "HEAD /acme-data", "").status, 200);
    world.aws.s3(PLATFORM, "DELETE /acme-data/weights.bin", "").ok();
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(world.aws.s3(PLATFORM, "HEAD /acme-data", "").status, 404);
}

#[test]
fn large_deletion_needs_allow_deletes() {
    let world = applied(SERVING);
    let (without, _) = SERVING.split_once("service_accounts:").unwrap();
    world.spec(without);
    let refused = world.bailiwick(&["apply", "--yes"]).exits(1);
    refused.shows(&["--allow-deletes 5"]).says(&["nothing was written"]);
    assert_eq!(world.aws.roles(PLATFORM), ["serving-loader"]);
    world.bailiwick(&["apply", "--yes", "--allow-deletes", "5"]).exits(0);
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new());
}

// ---- Large projects

/// Units of a role with a managed policy and a bucket of the other account; every second one uses Pod Identity.
fn estate(units: usize) -> String {
    let mut spec = json!({
        "version": 1,
        "project": "estate",
        "accounts": {
            "platform": { "id": PLATFORM, "region": "us-west-2", "assume_role": "bailiwick" },
            "models": { "id": MODELS, "region": "us-west-2", "assume_role": "bailiwick" },
        },
        "clusters": { "prod": { "account": "platform", "name": "prod-eks", "pod_identity_agent": "existing" } },
        "grants": [],
    });
    for n in 0..units {
        let name = format!("u{n}");
        let document = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::estate-{name}/*") },
        ]});
        spec["policies"][&name] = json!({ "account": "platform", "name": name, "document": document });
        spec["roles"][&name] = json!({ "account": "platform", "name": name, "policies": [name] });
        spec["buckets"][&name] = json!({
            "account": "models", "name": format!("estate-{name}"), "ownership": "bucket_owner_enforced",
            "versioning": true, "encryption": "AES256", "on_destroy": "delete",
        });
        let identity = if n % 2 == 1 { "pod_identity" } else { "irsa" };
        spec["service_accounts"][&name] = json!({
            "cluster": "prod", "namespace": "n", "name": name, "role": name, "identity": identity, "manage": "none",
        });
        let grant = json!({ "to": name, "bucket": name, "prefix": "m/", "access": "read" });
        spec["grants"].as_array_mut().unwrap().push(grant);
    }
    spec.to_string()
}

#[test]
fn large_plan_reads_lists_and_only_the_fields_of_the_spec() {
    const UNITS: u64 = 12;
    let world = applied(&estate(12));
    world.aws.pages_of(1000);
    // Each write is preceded and followed by a read, except before a write to a part of a new resource.
    let looks = [
        ("GetRole", 2 * UNITS),
        ("GetPolicy", 2 * UNITS),
        ("GetRolePolicy", UNITS),
        ("ListAttachedRolePolicies", UNITS),
    ];
    let asked = world.aws.asked("iam");
    for (operation, most) in looks {
        assert!(asked[operation] <= most, "{operation}: {asked:?}");
    }
    world.aws.forget_requests();
    let plan = world.bailiwick(&["--verbose", "plan", "--detailed-exitcode"]).exits(0);
    plan.shows(&["IAM of account `platform`: reading the details of the account (requests: about 1 instead of 60)"]);
    let counts = |expected: &[(&str, u64)]| expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    let iam: std::collections::BTreeMap<String, u64> =
        counts(&[("GetAccountAuthorizationDetails", 1), ("GetAccountSummary", 1), ("GetOpenIDConnectProvider", 1)]);
    assert_eq!(world.aws.asked("iam"), iam);
    let each = ["GetBucketTagging", "GetPublicAccessBlock", "GetBucketOwnershipControls"];
    let more = ["GetBucketVersioning", "GetBucketEncryption", "GetBucketPolicy"];
    let s3: Vec<(&str, u64)> =
        each.into_iter().chain(more).map(|name| (name, UNITS)).chain([("ListBuckets", 1)]).collect();
    assert_eq!(world.aws.asked("s3"), counts(&s3));
    let eks = counts(&[
        ("DescribeCluster", 1),
        ("ListPodIdentityAssociations", 1),
        ("DescribePodIdentityAssociation", UNITS / 2),
    ]);
    assert_eq!(world.aws.asked("eks"), eks);
    // Last applied and live are compared down to the last tag.
    world.aws.forget_requests();
    world.bailiwick(&["drift", "--fail-on", "cosmetic"]).exits(0);
    assert_eq!(world.aws.count("iam", &["GetPolicy"]), UNITS);
}

#[test]
fn aws_pages_of_any_size_give_the_same_result() {
    for most in [1, 2] {
        let world = world(&estate(3));
        world.aws.pages_of(most);
        world.apply();
        world.converged();
        assert!(world.aws.count("iam", &["GetAccountAuthorizationDetails"]) > 1);
        world.bailiwick(&["destroy", "--yes"]).exits(0);
        assert_eq!(world.aws.roles(PLATFORM).iter().filter(|name| name.starts_with('u')).count(), 0);
        assert_eq!(world.aws.managed_policies(PLATFORM), Vec::<String>::new());
    }
}

#[test]
fn cluster_pages_of_any_size_and_expired_lists_give_the_same_result() {
    let names = ["a", "b", "c", "d", "e"];
    let account = |name| format!("  {name}: {{ cluster: prod, namespace: NAMESPACE, name: {name} }}\n");
    let grant = |name| format!("  - {{ to: {name}, bucket: weights, prefix: {name}/, access: read }}\n");
    let spec = SERVING
        .replace(
            "service_accounts:\n",
            &format!(
                "service_accounts:\n{}  old: {{ cluster: prod, namespace: NAMESPACE-attic, name: old, create_namespace: true }}\n",
                names.map(account).concat()
            ),
        )
        .replace("grants:\n", &format!("grants:\n{}{}", names.map(grant).concat(), grant("old")));
    for (most, expire) in [(1, false), (2, false), (1, true)] {
        let world = world(&spec);
        if !world.kube.pages_of(most, expire) {
            return;
        }
        world.apply();
        world.converged();
        // The foreign service account is on the second page, after the one that every namespace has.
        let attic = format!("{}-attic", world.namespace);
        world.kube.annotate(&attic, "theirs", "kubectl", &json!({ "a": "1" }));
        let held =
            format!("cannot delete namespace `{attic}`: it is kept, because it still holds service account `theirs`");
        world.bailiwick(&["destroy", "--yes"]).exits(1).says(&[&held]);
        assert!(world.kube.service_account(&attic, "theirs").is_some());
        assert!(names.iter().all(|name| world.kube.service_account(&world.namespace, name).is_none()));
    }
}

#[test]
fn change_between_two_pages_is_observed() {
    let mut world = applied(&estate(4));
    world.aws.pages_of(1);
    let address = world.aws.address().to_owned();
    let taken = AtomicBool::new(false);
    // Before the second page is read, a role of the first is deleted outside.
    let gate = Gate::open(&world.aws, move |request| {
        let second = request.contains("Action=GetAccountAuthorizationDetails") && request.contains("&Marker=");
        if second && !taken.swap(true, Ordering::Relaxed) {
            for (action, more) in [
                ("DetachRolePolicy", "&PolicyArn=arn%3Aaws%3Aiam%3A%3A111111111111%3Apolicy%2Fu0"),
                ("DeleteRolePolicy", "&PolicyName=bailiwick-access"),
                ("DeleteRole", ""),
            ] {
                crate::emulators::iam_at(
                    &address,
                    PLATFORM,
                    &format!("Action={action}&Version=2010-05-08&RoleName=u0{more}"),
                );
            }
        }
        Verdict::Pass
    });
    world.through(&gate);
    world.bailiwick(&["plan", "--format", "json"]).exits(0);
    world.without_gate();
    let plan = world.bailiwick(&["plan", "--format", "json"]).exits(0).json();
    let mut expected = vec!["aws.iam.role.u0", "aws.iam.role_policy.u0/bailiwick-access"];
    expected.extend(["aws.iam.role_policy_attachment.u0/u0", "aws.s3.bucket_policy.u0"]);
    let mut steps = addresses(&plan);
    steps.sort_unstable();
    assert_eq!(steps, expected);
}

#[test]
fn denied_bulk_read_still_plans_and_says_so() {
    let mut world = applied(&estate(2));
    let gate = Gate::open(&world.aws, |request| {
        if request.contains("Action=GetAccountAuthorizationDetails") {
            let denied = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
            return Verdict::Answer(403, denied.to_owned());
        }
        Verdict::Pass
    });
    world.through(&gate);
    let plan = world.bailiwick(&["plan", "--detailed-exitcode"]).exits(0);
    let expected = "reading roles and policies one by one, because iam:GetAccountAuthorizationDetails was refused";
    plan.shows(&[expected]);
    let plan = world.bailiwick(&["plan", "--format", "json"]).exits(0).says(&[expected]);
    assert_eq!(plan.json()["requests"]["by_service"]["sts"], 4, "two accounts, whose roles are assumed");
}

#[test]
fn throttling_slows_a_plan_down_and_is_reported() {
    let mut world = applied(&estate(2));
    let count = std::sync::atomic::AtomicUsize::new(0);
    let gate = Gate::open(&world.aws, move |request| {
        let third = request.contains("/s3/aws4_request") && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
        if third {
            let slow = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
            return Verdict::Answer(503, slow.to_owned());
        }
        Verdict::Pass
    });
    world.through(&gate);
    let plan = world.bailiwick(&["--verbose", "plan", "--detailed-exitcode"]).exits(0);
    assert!(!plan.stdout.contains(" 0 throttled"), "{}", plan.stdout);
    plan.shows(&["s3 ", " throttled"]);
}

// ---- Failed reads

#[test]
fn credentials_of_another_account_stop_everything() {
    // The emulator's default account instead of the one in the spec.
    let world = world(&SERVING.replace(
        "id: \"222222222222\", region: us-west-2, assume_role: bailiwick",
        "id: \"222222222222\", region: us-west-2",
    ));
    world.aws.forget_requests();
    for command in [&["plan"][..], &["apply", "--yes"], &["drift"], &["destroy", "--yes"]] {
        let refused = world.bailiwick(command).exits(1);
        refused.says(&["account `models` is 222222222222 in the spec, but the credentials belong to 123456789012"]);
    }
    let services = world.aws.requests()["services"].clone();
    assert_eq!(services.as_object().unwrap().keys().collect::<Vec<_>>(), ["sts"], "only callers were asked for");
}

#[test]
fn profile_of_the_spec_overrides_the_environment() {
    let world = world(&SERVING.replace(
        "id: \"222222222222\", region: us-west-2, assume_role: bailiwick",
        "id: \"222222222222\", region: us-west-2, profile: models",
    ));
    world.bailiwick(&["plan"]).exits(1).says(&["in account `models`: with profile `models`"]);
    world.credentials("[models]\naws_access_key_id = 222222222222\naws_secret_access_key = test\n");
    world.bailiwick(&["plan"]).exits(0);
    world.credentials("[models]\naws_access_key_id = 333333333333\naws_secret_access_key = test\n");
    world.bailiwick(&["plan"]).exits(1).says(&["the credentials belong to 333333333333"]);
}

#[test]
fn cluster_that_refuses_or_does_not_respond_is_not_empty() {
    for context in [FORBIDDEN, UNREACHABLE] {
        let world = world(&SERVING.replace("context: prod", &format!("context: {context}")));
        for command in [&["plan"][..], &["apply", "--yes"]] {
            let ran = world.bailiwick(command).exits(1);
            // A plan without what does not answer is reported; a refusal leaves none.
            if context == FORBIDDEN {
                ran.says(&["kubernetes.service_account.loader", "403"]);
            } else {
                ran.shows(&["kubernetes.service_account.loader", "Connection refused"]);
            }
        }
        assert_eq!(world.aws.writes(), 0);
    }
}

#[test]
fn unreachable_cluster_leaves_the_rest_of_the_plan() {
    let world = world(&SERVING.replace("context: prod", &format!("context: {UNREACHABLE}")));
    let plan = world.bailiwick(&["plan", "--out", "p.plan"]).exits(1);
    plan.shows(&[
        "4 to create, 1 to adopt, 0 unchanged, 1 left out",
        "Left out: this plan is partial",
        "kubernetes.service_account.loader",
    ])
    .says(&["--partial", "nothing was written"]);
    world.bailiwick(&["apply", "--yes"]).exits(1).says(&["nothing was written", "--partial"]);
    assert_eq!(world.aws.writes(), 0);
    let json = world.bailiwick(&["plan", "--partial", "--out", "p.plan", "--format", "json"]).exits(0).json();
    follows("plan", &json);
    assert_eq!(json["left_out"][0]["address"], "kubernetes.service_account.loader");
    world.bailiwick(&["apply", "p.plan"]).exits(1).says(&["--partial"]);
    world.bailiwick(&["apply", "p.plan", "--partial"]).exits(0).shows(&["5 done"]);
    // Once the cluster responds, the next run does the rest; until then, nothing that it may still need is deleted.
    world.spec(SERVING);
    world.apply().shows(&["1 done"]);
    world.spec(&SERVING.replace("context: prod", &format!("context: {UNREACHABLE}")));
    world
        .bailiwick(&["destroy", "--yes", "--partial"])
        .shows(&["left out", "depends on kubernetes.service_account.loader"]);
    assert_eq!(world.aws.roles(PLATFORM), ["serving-loader"]);
    world.spec(SERVING);
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new());
}

#[test]
fn unreadable_resource_is_an_error_of_drift() {
    let world = applied(SERVING);
    world.spec(&SERVING.replace("context: prod", &format!("context: {FORBIDDEN}")));
    let drift = world.bailiwick(&["drift", "--format", "json"]).exits(1).json();
    assert_eq!(drift["summary"], json!({ "unreadable": 1 }));
}

#[test]
fn account_that_refuses_is_not_empty() {
    let mut world = world(SERVING);
    let gate = refusing(&world, "Action=GetRole&");
    world.through(&gate);
    world.bailiwick(&["apply", "--yes"]).exits(1).says(&["aws.iam.role.loader", "AccessDenied"]);
    assert_eq!(world.aws.writes(), 0);
}

/// Denies requests to IAM that contain a text.
fn refusing(world: &World, text: &'static str) -> Gate {
    Gate::open(&world.aws, move |request| {
        if !request.contains(text) {
            return Verdict::Pass;
        }
        let error = "<Type>Sender</Type><Code>AccessDenied</Code><Message>not today</Message>";
        Verdict::Answer(403, format!("<ErrorResponse><Error>{error}</Error></ErrorResponse>"))
    })
}

#[test]
fn failed_step_skips_only_its_dependents() {
    let mut world = world(SERVING);
    let gate = refusing(&world, "Action=CreateRole&");
    world.through(&gate);
    let ran = world.bailiwick(&["apply", "--yes"]).exits(1);
    let ran = ran.shows(&[
        "2 done, 1 failed, 3 skipped",
        "not today",
        "skipped: depends on aws.iam.role.loader, which was not applied",
    ]);
    ran.says(&["create aws.iam.oidc_provider.serving: done".replace("serving", "prod").as_str()]);
    assert_eq!(bucket_statements(&world), [foreign()], "the role that it would name does not exist");
    world.without_gate();
    world.apply().shows(&["4 done"]);
    world.converged();
}

#[test]
fn apply_waits_until_a_new_role_is_known() {
    let mut world = world(SERVING);
    let refused = AtomicBool::new(false);
    let gate = Gate::open(&world.aws, move |request| {
        let asked = request.starts_with("PUT /acme-weights/?policy");
        if !asked || refused.swap(true, Ordering::Relaxed) {
            return Verdict::Pass;
        }
        let why = "<Code>MalformedPolicy</Code><Message>Invalid principal in policy</Message>";
        Verdict::Answer(400, format!("<Error>{why}</Error>"))
    });
    world.through(&gate);
    world.apply().says(&["aws.s3.bucket_policy.weights: waiting"]);
    world.converged();
}

// ---- Saved plans

/// A saved plan of the first apply.
fn saved() -> World {
    let world = world(SERVING);
    for format in ["markdown", "text"] {
        let plan = world.bailiwick(&["plan", "--out", "plan.json", "--format", format]).exits(0);
        let plan = plan.shows(&["bailiwick apply plan.json"]);
        let shown = world.bailiwick(&["show", "plan.json", "--format", format]).exits(0);
        assert_eq!(shown.stdout.trim_end(), plan.stdout.trim_end());
        assert!(shown.stdout.contains("Plan digest sha256:"), "{}", shown.stdout);
    }
    world
}

#[track_caller]
fn refused(world: &World, why: &str) {
    let writes = world.aws.writes();
    world.bailiwick(&["apply", "plan.json"]).exits(1).says(&[why]);
    assert_eq!(world.aws.writes(), writes);
}

#[test]
fn a_saved_plan_is_applied_exactly() {
    let world = saved();
    let report = world.bailiwick(&["show", "plan.json", "--format", "json"]).exits(0).json();
    follows("plan", &report);
    assert_eq!(report["plan_digest"], world.bailiwick(&["plan", "--format", "json"]).exits(0).json()["plan_digest"]);
    world.bailiwick(&["show", "plan.json"]).exits(0).shows(&["5 to create, 1 to adopt", "aws.iam.role.loader"]);
    let done = world.bailiwick(&["apply", "plan.json", "--format", "json"]).exits(0).json();
    follows("apply", &done);
    let outcomes: Vec<&str> =
        done["steps"].as_array().unwrap().iter().map(|s| s["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done"; 6]);
    assert_eq!(done["plan_digest"], report["plan_digest"]);
    let in_order: Vec<&Value> = done["steps"].as_array().unwrap().iter().map(|s| &s["address"]).collect();
    let planned: Vec<&Value> = report["steps"].as_array().unwrap().iter().map(|s| &s["address"]).collect();
    assert_eq!(in_order, planned);
    world.converged();
    refused(&world, "the state changed since the plan was created");
}

#[test]
fn a_saved_plan_is_refused_after_a_change_of_the_spec() {
    let world = saved();
    world.spec(&SERVING.replace("mistral/", "llama/"));
    refused(&world, "the spec changed since the plan was created");
    world.spec(&format!("# Only a comment.\n{SERVING}"));
    world.bailiwick(&["apply", "plan.json"]).exits(0);
}

#[test]
fn a_saved_plan_is_refused_after_a_change_of_the_world() {
    let world = saved();
    world.aws.seed(&json!({ "roles": [{ "account": PLATFORM, "name": "serving-loader" }] }));
    refused(&world, "aws.iam.role.loader: it now exists");
    world.aws.iam(PLATFORM, "DeleteRole", &[("RoleName", "serving-loader")]).ok();
    let policy = json!({ "Version": "2012-10-17", "Statement": [] });
    world.aws.s3(MODELS, "DELETE /acme-weights?policy", &policy.to_string()).ok();
    refused(&world, "aws.s3.bucket_policy.weights");
}

#[test]
fn a_saved_plan_is_refused_when_it_was_edited() {
    let world = saved();
    let text = world.read("plan.json");
    world.write("plan.json", &text.replace("mistral/", "llama/"));
    refused(&world, "the plan was edited");
    world.write("plan.json", &text[..text.len() / 2]);
    refused(&world, "the saved plan is damaged");
    world.write("plan.json", &text.replace("\"format_version\":\"2.0\"", "\"format_version\":\"9.0\""));
    refused(&world, "the plan has format 9.0");
}

#[test]
fn only_the_expected_digest_is_applied() {
    let world = world(SERVING);
    let digest =
        world.bailiwick(&["plan", "--format", "json"]).exits(0).json()["plan_digest"].as_str().unwrap().to_owned();
    let wrong = format!("sha256:{}", "0".repeat(64));
    world.bailiwick(&["apply", "--yes", "--expect-digest", &wrong]).exits(1).says(&["nothing was written", &digest]);
    assert_eq!(world.aws.writes(), 0);
    world.bailiwick(&["apply", "--yes", "--expect-digest", &digest]).exits(0);
}

#[test]
fn target_includes_only_its_dependencies() {
    let world = world(SERVING);
    let target = ["--target", "aws.iam.role_policy.loader/bailiwick-access"];
    let plan = world.bailiwick(&[&["plan", "--format", "json"], &target[..]].concat()).exits(0).json();
    let needed = ["aws.iam.oidc_provider.prod", "aws.iam.role.loader", "aws.iam.role_policy.loader/bailiwick-access"];
    assert_eq!(addresses(&plan), needed);
    world.bailiwick(&[&["apply", "--yes"], &target[..]].concat()).exits(0).shows(&["3 done"]);
    assert_eq!(bucket_statements(&world), [foreign()]);
    let unknown = world.bailiwick(&["plan", "--target", "aws.iam.role.nobody"]).exits(1);
    unknown.says(&["`aws.iam.role.nobody` is neither in the spec nor in the state"]);
    world.apply();
    world.converged();
}

// ---- Concurrent and interrupted runs

#[test]
fn apply_and_destroy_without_terminal_need_yes() {
    let world = world(SERVING);
    world.bailiwick(&["apply"]).exits(1).says(&["cannot prompt for confirmation", "--yes"]);
    assert_eq!(world.aws.writes(), 0);
    world.apply();
    world.bailiwick(&["destroy"]).exits(1).says(&["cannot prompt for confirmation"]);
    world.bailiwick(&["apply"]).exits(0).shows(&["nothing to do"]);
}

#[test]
fn second_apply_learns_who_holds_the_lock() {
    let mut world = world(SERVING);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut first = world.start(&["apply", "--yes"]);
    gate.wait(&mut first);
    let second = world.bailiwick(&["apply", "--yes"]).exits(1);
    second.says(&["is locked by bailiwick apply on ", "help: wait until it is done"]);
    world.bailiwick(&["state", "rm", "aws.s3.bucket.weights"]).exits(1).says(&["is locked by"]);
    gate.release();
    first.end().exits(0);
    world.converged();
}

#[test]
fn interrupt_finishes_running_calls_and_starts_no_more() {
    let mut world = world(SERVING);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    gate.wait(&mut run);
    run.signal("INT");
    run.wait_for("interrupted: finishing the calls in progress");
    gate.release();
    let ran = run.end().exits(130);
    ran.shows(&["not started"]).says(&["create aws.iam.role.loader: done"]);
    assert_eq!(world.aws.roles(PLATFORM), ["serving-loader"]);
    assert_eq!(bucket_statements(&world), [foreign()]);

    let next = world.apply();
    assert!(!next.stdout.contains("+ aws.iam.role.loader"), "it is known:\n{}", next.stdout);
    world.converged();
}

#[test]
fn interrupt_is_handled_while_a_credential_plugin_runs() {
    let world = world(SERVING);
    let [runs, ends, kubeconfig] = ["runs", "ends", "plugin.json"].map(|name| world.folder().join(name));
    assert!(Command::new("mkfifo").args([&runs, &ends]).status().unwrap().success());
    let line = format!("echo > '{}'; cat '{}'", runs.display(), ends.display());
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
        "command": "sh", "args": ["-c", line],
    });
    let config = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": "http://127.0.0.1:1" } }],
        "users": [{ "name": "u", "user": { "exec": exec } }],
        "contexts": [{ "name": "prod", "context": { "cluster": "c", "user": "u" } }],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut command = world.command(&["plan"]);
    command.env("KUBECONFIG", &kubeconfig);
    let mut run = world.started(command);
    std::fs::read(&runs).unwrap();
    run.signal("INT");
    run.wait_for("interrupted: nothing was written");
    std::fs::write(&ends, "").unwrap();
    run.end().exits(130);
}

#[test]
fn killed_run_is_recovered_by_the_next() {
    let mut world = world(SERVING);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    gate.wait(&mut run);
    run.signal("KILL");
    run.end().exits(-1);
    // The request was sent, so it arrives.
    gate.release();
    world.without_gate();
    while world.aws.roles(PLATFORM).is_empty() {
        std::thread::yield_now();
    }
    let plan = world.bailiwick(&["plan"]).exits(0);
    plan.shows(&["Left by an interrupted run", "aws.iam.role.loader"]);
    world.apply();
    world.converged();
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new());
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let mut world = world(SERVING);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    gate.wait(&mut run);
    run.signal("INT");
    run.wait_for("interrupted:");
    run.signal("INT");
    run.end().exits(130);
    world.without_gate();
    world.bailiwick(&["plan"]).exits(0).shows(&["Left by an interrupted run"]);
    world.apply();
    world.converged();
}

#[test]
fn hanging_call_does_not_block_an_interrupt_and_the_next_run_recovers_it() {
    let mut world = world(SERVING);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    gate.wait(&mut run);
    run.signal("INT");
    let ran = run.end().exits(130);
    ran.shows(&["1 unknown,", "unknown: the run was interrupted before the response arrived", "not started"]);
    assert!(world.state("serving")["resources"]["aws.iam.role.loader"].is_object(), "it is saved that it may be there");
    // The request was sent, so it arrives.
    gate.release();
    world.without_gate();
    while world.aws.roles(PLATFORM).is_empty() {
        std::thread::yield_now();
    }
    world.bailiwick(&["plan"]).exits(0).shows(&["Left by an interrupted run", "aws.iam.role.loader"]);
    world.apply();
    world.converged();
}

#[test]
fn an_interrupt_before_anything_is_written_ends_at_once_and_leaves_no_lock() {
    let mut world = world(SERVING);
    let gate = Gate::open(&world.aws, |request| {
        if request.starts_with("GET /acme-weights/?policy") { Verdict::Hold } else { Verdict::Pass }
    });
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    gate.wait(&mut run);
    run.signal("TERM");
    run.end().exits(130).says(&["interrupted: nothing was written"]);
    gate.release();
    world.without_gate();
    assert_eq!(world.aws.writes(), 0);
    world.apply();
    world.converged();
}

#[test]
fn full_disk_stops_the_run_before_the_next_call_and_loses_nothing() {
    let world = world(SERVING);
    world.bailiwick(&["plan"]).exits(0);
    // No file may grow beyond two blocks of 512 bytes: the journal holds one entry, perhaps two.
    let full = world.shell("trap '' XFSZ; ulimit -f 2; exec bailiwick apply --yes").exits(1);
    full.says(&["serving.journal", "File too large", "the journal records what was done: run `bailiwick apply` again"]);
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new(), "what cannot be recorded is not done");
    world.apply();
    world.converged();
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(bucket_statements(&world), [foreign()]);
}

// ---- Refusals by AWS

#[test]
fn deleted_principal_is_reported_without_waiting() {
    let world = world(SERVING);
    // The role in the foreign statement is deleted: the policy now shows its id, which S3 does not accept in a write.
    world.aws.iam(RESEARCH, "DeleteRole", &[("RoleName", "auditor")]).ok();
    let shown = bucket_statements(&world)[0]["Principal"]["AWS"].as_str().unwrap().to_owned();
    assert!(shown.starts_with("AROA"), "{shown}");
    let ran = world.bailiwick(&["apply", "--yes"]).exits(1);
    let ran = ran.shows(&[
        "1 failed",
        &format!("`{shown}`: it is the id of a deleted role or user, which no service accepts"),
        "Run `bailiwick apply` again to complete the remaining steps.",
    ]);
    assert!(!ran.stderr.contains(": waiting "), "{}", ran.stderr);
    let writes = world.aws.count("s3", &["PutBucketPolicy"]);
    assert_eq!(writes, 1, "it is not tried again");
    // The owner of the statement fixes it, and the next run does the rest.
    world.aws.put_bucket_policy(
        MODELS,
        "acme-weights",
        &json!({ "Version": "2012-10-17", "Statement": [{
        "Sid": "Kept", "Effect": "Allow", "Action": "s3:GetObject", "Principal": { "AWS": MODELS },
        "Resource": "arn:aws:s3:::acme-weights/*",
    }] }),
    );
    world.apply().shows(&["1 done"]);
    world.converged();
}

#[test]
fn policy_that_locks_out_its_writer_is_refused_before_any_write() {
    let world = world(SERVING);
    let closed = json!({
        "Sid": "Closed", "Effect": "Deny", "Principal": "*", "Action": "s3:PutBucketPolicy",
        "Resource": "arn:aws:s3:::acme-weights",
        "Condition": { "ArnNotLike": { "aws:PrincipalArn": "arn:aws:iam::222222222222:role/admin" } },
    });
    world.aws.put_bucket_policy(MODELS, "acme-weights", &json!({ "Version": "2012-10-17", "Statement": [closed] }));
    world.aws.forget_requests();
    for command in [["plan"].as_slice(), &["apply", "--yes"]] {
        let ran = world.bailiwick(command).exits(1);
        ran.shows(&[
            "would lock out the identity that applies it",
            "assumed-role/bailiwick",
            "s3:PutBucketPolicy",
            "`Closed`",
        ]);
    }
    assert_eq!(world.aws.writes(), 0);
}

#[test]
fn apply_converges_on_slow_throttled_and_unreliable_aws() {
    let world = world(SERVING);
    world.aws.rules(&json!({
        "seed": 7, "new_principals": 25, "canonical": true, "page": 1, "overlap": true,
        "throttled": 0.05, "failed": 0.05, "lost": 0.05, "stale": 0.1,
    }));
    let mut runs = 0;
    while world.bailiwick(&["apply", "--yes"]).code != 0 {
        runs += 1;
        assert!(runs < 5, "it does not converge: {:#}", world.aws.rules_applied());
    }
    let applied = world.aws.rules_applied()["counts"].clone();
    assert!(applied["new_principals"].as_u64() > Some(0), "{applied}");
    world.aws.rules(&json!({ "canonical": true, "page": 1 }));
    world.converged();
    assert!(bucket_statements(&world).contains(&foreign()));
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new());
    assert_eq!(bucket_statements(&world), [foreign()]);
}

// ---- The command line

#[test]
fn streams_and_documents() {
    let world = world(SERVING);
    let plan = world.bailiwick(&["plan", "--format", "json"]).exits(0);
    assert_eq!(plan.stderr, "");
    follows("plan", &plan.json());
    let steps = plan.json()["steps"].clone();
    let role = steps.as_array().unwrap().iter().find(|s| s["address"] == "aws.iam.role.loader").unwrap().clone();
    assert_eq!(role["account_id"], PLATFORM);
    assert_eq!(role["after_steps"], json!(["aws.iam.oidc_provider.prod"]));

    let applied = world.bailiwick(&["apply", "--yes", "--format", "json"]).exits(0);
    assert!(applied.stderr.contains("5 to create, 1 to adopt"), "the plan is for people:\n{}", applied.stderr);
    assert_eq!(applied.json()["steps"].as_array().unwrap().len(), 6);
    let nothing = world.bailiwick(&["apply", "--yes", "--format", "json"]).exits(0).json();
    assert_eq!(nothing["steps"], json!([]));

    follows("state", &world.bailiwick(&["show", "--format", "json"]).exits(0).json());
    follows("state", &world.state("serving"));
    let drift = world.bailiwick(&["drift", "--format", "json"]).exits(0);
    assert_eq!(drift.stderr, "");
    follows("drift", &drift.json());
    let markdown = world.bailiwick(&["plan", "--format", "markdown"]).exits(0);
    assert_eq!(markdown.stdout.lines().next(), Some("### serving: nothing to do, 6 unchanged"));
    let sound = world.bailiwick(&["validate", "--format", "json"]).exits(0).json();
    assert_eq!(sound["project"], "serving");

    world.spec("version: 1\nproject: serving\nbuckit: {}\n");
    let wrong = world.bailiwick(&["plan", "--format", "json"]).exits(1);
    follows("problems", &wrong.json());
    wrong.shows(&["bailiwick.yaml", "buckit", "buckets"]).says(&["1 problem: nothing was written"]);
}

#[test]
fn unwritable_output_is_an_error_but_a_closed_pipe_is_not() {
    let world = World::bare("unused");
    world.shell("bailiwick schema spec > /dev/full").exits(1).says(&["cannot write the result"]);
    world.shell("bailiwick schema spec | head -n 1").exits(0);
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    let world = world(SERVING);
    let usage = |arguments: &[&str]| {
        let ran = world.bailiwick(arguments).exits(64);
        assert_eq!(ran.stdout, "");
        assert!(!ran.stderr.is_empty());
    };
    usage(&[]);
    usage(&["plam"]);
    usage(&["plan", "--format", "yaml"]);
    usage(&["apply", "--allow-deletes", "many"]);
    usage(&["state", "show"]);
    // A saved plan can only be applied as a whole.
    usage(&["apply", "saved.plan", "--target", "aws.iam.role.loader"]);
    for arguments in [["--help"], ["--version"]] {
        let ran = world.bailiwick(&arguments).exits(0);
        assert_eq!(ran.stderr, "");
        assert!(ran.stdout.contains("bailiwick"));
    }
    world.bailiwick(&["plan", "--target", "nonsense"]).exits(64).says(&["`nonsense`"]);
    world.bailiwick(&["-f", "nowhere.yaml", "plan"]).exits(1).says(&["nowhere.yaml"]);
}

#[test]
fn state_commands_list_show_remove_and_rename() {
    let world = applied(SERVING);
    let listed = world.bailiwick(&["state", "list"]).exits(0);
    assert_eq!(listed.stdout.lines().count(), 6);
    let listed = listed.shows(&["aws.iam.role.loader serving-loader", "aws.s3.bucket.weights acme-weights (adopted)"]);
    assert_eq!(world.bailiwick(&["show"]).exits(0).stdout, listed.stdout);
    let role = world.bailiwick(&["state", "show", "aws.iam.role.loader"]).exits(0).json();
    assert_eq!(role["physical_id"], "serving-loader");
    world
        .bailiwick(&["state", "show", "aws.iam.role.nobody"])
        .exits(1)
        .says(&["the state has no `aws.iam.role.nobody`"]);

    world
        .bailiwick(&["state", "rm", "aws.iam.role.loader"])
        .exits(0)
        .says(&["removed aws.iam.role.loader from the state"]);
    assert_eq!(world.aws.roles(PLATFORM), ["serving-loader"]);
    let plan = world.bailiwick(&["plan", "--format", "json"]).exits(0).json();
    assert_eq!((addresses(&plan), plan["summary"]["adopt"].as_u64()), (vec!["aws.iam.role.loader"], Some(1)));
    world.apply();
    world.converged();
    let role = world.bailiwick(&["state", "show", "aws.iam.role.loader"]).exits(0).json();
    assert_eq!(role["adopted"], Value::Null, "it carries our mark: it goes with destroy");

    world.bailiwick(&["state", "mv", "aws.s3.bucket.weights", "aws.s3.bucket.models"]).exits(0);
    world
        .bailiwick(&["state", "mv", "aws.s3.bucket.models", "aws.iam.role.models"])
        .exits(64)
        .says(&["different kinds"]);
    world.bailiwick(&["state", "list"]).exits(0).shows(&["aws.s3.bucket.models"]);
    world.spec(&SERVING.replace("weights: {", "models: {").replace("bucket: weights", "bucket: models"));
    world.apply();
    world.converged();
    assert!(bucket_statements(&world).len() > 1, "the grants are still there");
}

#[test]
fn renamed_entry_keeps_its_resources() {
    let world = applied(SERVING);
    let before = bucket_statements(&world);
    let spec = SERVING.replace("weights: {", "models: {").replace("bucket: weights", "bucket: models");
    world.spec(&spec);
    world.apply();
    world.converged();
    assert_eq!(sorted(bucket_statements(&world)), sorted(before));
    // A derived role is named after its key, so this is another role for the same service account.
    world.spec(&spec.replace("loader: {", "model-loader: {").replace("to: loader", "to: model-loader"));
    world.apply();
    world.converged();
    assert_eq!(world.aws.roles(PLATFORM), ["serving-model-loader"]);
    assert!(world.kube.annotations(&world.namespace, "loader")[ROLE_ANNOTATION].ends_with("/serving-model-loader"));
}

#[test]
fn graphs_are_text_for_their_tools() {
    let world = world(SERVING);
    let dot = world.bailiwick(&["graph"]).exits(0).stdout;
    assert!(dot.starts_with("digraph bailiwick {\n") && dot.ends_with("}\n"), "{dot}");
    assert!(dot.contains("\"aws.iam.role_policy.loader/bailiwick-access\" -> \"aws.iam.role.loader\";"), "{dot}");
    let mermaid = world.bailiwick(&["graph", "--format", "mermaid"]).exits(0).stdout;
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("[\"aws.iam.role.loader\"]"), "{mermaid}");
    let graph = world.bailiwick(&["graph", "--format", "json"]).exits(0).json();
    assert_eq!(graph["nodes"].as_array().unwrap().len(), 6);
    assert!(
        graph["edges"]
            .as_array()
            .unwrap()
            .contains(&json!({ "from": "aws.iam.role.loader", "to": "aws.iam.oidc_provider.prod" }))
    );
    assert_eq!(world.aws.requests()["total"], 0, "a graph needs nobody");
}

#[test]
fn starter_spec_is_valid_and_does_not_overwrite() {
    let world = World::new();
    let init = |arguments: &[&str]| world.bailiwick(&[&["init"], arguments].concat());
    init(&[]).exits(0).says(&["wrote bailiwick.yaml"]);
    world.bailiwick(&["validate"]).exits(0).shows(&["model-serving: valid"]);
    let written = world.read("bailiwick.yaml");
    init(&["--project", "other"]).exits(1).says(&["`bailiwick.yaml` already exists", "--force"]);
    assert_eq!(world.read("bailiwick.yaml"), written);
    let answers = [
        "--project",
        "chat",
        "--account",
        PLATFORM,
        "--region",
        "eu-central-1",
        "--cluster",
        "eks-1",
        "--bucket",
        "acme-chat",
        "--bucket-account",
        MODELS,
        "--prefix",
        "v1/",
        "--namespace",
        "chat",
        "--service-account",
        "vllm",
        "--force",
    ];
    init(&answers).exits(0);
    world.bailiwick(&["validate"]).exits(0).shows(&["chat: valid"]);
    let spec = world.read("bailiwick.yaml");
    assert!(
        ["\"222222222222\"", "eu-central-1", "\"acme-chat\"", "\"v1/\"", "\"vllm\""].iter().all(|t| spec.contains(t)),
        "{spec}"
    );
    init(&["--account", "12", "--out", "other.yaml"]).exits(1).says(&["12", "nothing was written"]);
    assert!(!world.folder().join("other.yaml").exists());
}

#[test]
fn completions_and_manual() {
    let world = World::new();
    for (shell, word) in [("bash", "complete"), ("zsh", "#compdef bailiwick"), ("fish", "complete -c bailiwick")] {
        world.bailiwick(&["completions", shell]).exits(0).shows(&[word, "drift"]);
    }
    world.bailiwick(&["man"]).exits(0).shows(&[".TH bailiwick", "drift"]);
    let syntax = Command::new("bash").args(["-n", "-c", &world.bailiwick(&["completions", "bash"]).stdout]).status();
    assert!(syntax.unwrap().success());
}

#[test]
fn color_is_used_only_on_request() {
    let world = world(SERVING);
    let colored = |arguments: &[&str]| world.bailiwick(arguments).exits(0).stdout.contains('\u{1b}');
    assert!(!colored(&["validate"]));
    assert!(colored(&["--color", "always", "validate"]));
    let ran: Ran = world.bailiwick(&["--verbose", "plan"]).exits(0);
    ran.shows(&["Requests: ", "0 throttled"]);
}
