//! The program end to end with its state in a bucket: locked, lost, damaged or unreachable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::emulators::{Gate, PLATFORM, Ran, Verdict, World};

/// One service account with Pod Identity, and a bucket of the same account. The lease is short because a test waits
/// until it ends.
const SPEC: &str = r#"version: 1
project: pods
backend: { s3: { bucket: acme-state, prefix: team/prod, account: platform, lease_seconds: 4 } }
accounts:
  platform: { id: "111111111111", region: us-west-2, assume_role: bailiwick }
clusters:
  prod: { account: platform, name: prod-eks, context: prod, identity: pod_identity }
buckets:
  data: { account: platform, name: acme-data, on_destroy: delete }
service_accounts:
  job: { cluster: prod, namespace: NAMESPACE, name: job }
grants:
  - { to: job, bucket: data, prefix: "", access: read_write }
"#;

const STATE: &str = "/acme-state/team/prod/pods/state.json";
const LOCK: &str = "/acme-state/team/prod/pods/lock.json";

fn seeded(spec: &str) -> World {
    let world = World::new();
    world.aws.seed(&json!({
        "clusters": [{ "account": PLATFORM, "region": "us-west-2", "name": "prod-eks" }],
        "buckets": [{ "account": PLATFORM, "region": "us-west-2", "name": "acme-state" }],
    }));
    world.spec(spec);
    world
}

/// The same with the state in a folder.
fn in_folder() -> String {
    SPEC.lines().filter(|line| !line.starts_with("backend:")).map(|line| format!("{line}\n")).collect()
}

fn object(world: &World, key: &str) -> Value {
    world.aws.s3(PLATFORM, &format!("GET {key}"), "").json()
}

fn keys(world: &World) -> String {
    world.aws.s3(PLATFORM, "GET /acme-state?list-type=2", "").ok()
}

/// The number of writes to IAM and EKS, which leaves out those to the state.
fn writes(world: &World) -> u64 {
    let words = ["Create", "Put", "Delete", "Attach", "Update", "Tag"];
    ["iam", "eks"].iter().map(|service| world.aws.count(service, &words)).sum()
}

#[test]
fn everything_that_uses_the_state_works_with_a_bucket() {
    let world = seeded(SPEC);
    world.apply();
    world.converged();
    assert!(!world.folder().join("state").exists(), "nothing is left on this machine");
    let state = object(&world, STATE);
    assert_eq!((state["project"].as_str(), state["serial"].as_u64()), (Some("pods"), Some(1)));
    assert_eq!(object(&world, LOCK)["released"], true);
    assert!(!keys(&world).contains("/journal/"), "{}", keys(&world));

    world.bailiwick(&["state", "list"]).exits(0).shows(&["aws.iam.role.job", "aws.s3.bucket.data"]);
    world.bailiwick(&["state", "show", "aws.iam.role.job"]).exits(0).shows(&["pods-job"]);
    world.bailiwick(&["show"]).exits(0).shows(&["aws.iam.role.job"]);
    world.bailiwick(&["plan", "--out", "saved.plan"]).exits(0);
    world.bailiwick(&["apply", "saved.plan"]).exits(0);
    world.bailiwick(&["state", "mv", "aws.iam.role.job", "aws.iam.role.task"]).exits(0);
    world.bailiwick(&["state", "mv", "aws.iam.role.task", "aws.iam.role.job"]).exits(0);
    assert!(keys(&world).contains("team/prod/pods/earlier/0000000001-"), "{}", keys(&world));
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(object(&world, STATE)["resources"], json!({}));
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new());
}

#[test]
fn missing_state_bucket_is_reported_with_advice() {
    let world = seeded(&SPEC.replace("bucket: acme-state", "bucket: acme-gone"));
    for command in [&["plan"][..], &["apply", "--yes"], &["drift"], &["state", "rebuild", "--yes"]] {
        let ran = world.bailiwick(command).exits(1);
        ran.says(&["NoSuchBucket", "help: create `acme-gone`", "or set another bucket under `backend`"]);
    }
    assert_eq!(writes(&world), 0);
}

#[test]
fn second_apply_learns_who_holds_the_lock() {
    let mut world = seeded(SPEC);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut first = world.command(&["apply", "--yes"]);
    first.env("USER", "alice").env("GITHUB_SERVER_URL", "https://ci.example");
    first.env("GITHUB_REPOSITORY", "acme/access").env("GITHUB_RUN_ID", "42");
    let mut first = world.started(first);
    gate.wait(&mut first);
    let second = world.bailiwick(&["apply", "--yes"]).exits(1);
    second.says(&[
        "watching for up to 4 s whether it still runs",
        "s3://acme-state/team/prod/pods/lock.json is locked by bailiwick apply by alice on ",
        "https://ci.example/acme/access/actions/runs/42 help: wait until it is done",
    ]);
    assert_eq!(object(&world, LOCK)["holder"], "bailiwick apply by alice");
    gate.release();
    first.end().exits(0);
    world.converged();
}

#[test]
fn a_broken_lock_stops_the_run_that_held_it() {
    let mut world = seeded(SPEC);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut first = world.start(&["apply", "--yes"]);
    gate.wait(&mut first);
    world
        .bailiwick(&["state", "unlock"])
        .exits(1)
        .says(&["is locked by bailiwick apply on ", "cannot prompt for confirmation"]);
    assert_ne!(object(&world, LOCK)["released"], true);
    world.bailiwick(&["state", "unlock", "--yes"]).exits(0).says(&["released the lock of bailiwick apply on "]);
    first.wait_for("lost the lock of the state: `state unlock` released it");
    gate.release();
    let stopped = first.end().exits(1);
    let stopped = stopped.says(&[
        "lost the lock ",
        "`state unlock` released it",
        "the journal records what was done: run `bailiwick apply` again to complete the remaining steps",
    ]);
    stopped.shows(&[
        "pods: ",
        " done, ",
        "1 unknown, ",
        "create aws.iam.role.job",
        "unknown: done, but Bailiwick could not record it: lost the lock",
        "skipped: depends on aws.iam.role.job, which was not applied",
        "Run `bailiwick apply` again to complete the remaining steps.",
    ]);

    world.without_gate();
    world.apply();
    world.converged();
    assert_eq!(world.aws.roles(PLATFORM), ["pods-job"]);
    world.bailiwick(&["state", "unlock", "--yes"]).exits(0).says(&["is not locked"]);
}

#[test]
fn call_is_not_retried_after_the_lock_is_lost() {
    let mut world = seeded(SPEC);
    let broken = Arc::new(AtomicBool::new(false));
    let rule = broken.clone();
    let unknown =
        "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>no such role</Message></Error></ErrorResponse>";
    let gate = Gate::open(&world.aws, move |request| {
        let late = request.contains("Action=PutRolePolicy&") && !rule.load(Ordering::Relaxed);
        if late { Verdict::Answer(404, unknown.into()) } else { Verdict::Pass }
    });
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    run.wait_for("waiting 2 s for");
    world.bailiwick(&["state", "unlock", "--yes"]).exits(0);
    broken.store(true, Ordering::Relaxed);
    let stopped = run.end().exits(1).says(&["lost the lock "]);
    stopped.shows(&[
        "create aws.iam.role_policy.job/bailiwick-access",
        "and Bailiwick did not retry: lost the lock",
        "`state unlock` released it",
        "Run `bailiwick apply` again to complete the remaining steps.",
    ]);
    assert_eq!(world.aws.inline_policies(PLATFORM, "pods-job").len(), 0, "nothing is written without the lock");
    world.without_gate();
    world.apply();
    world.converged();
}

#[test]
fn run_that_cannot_renew_its_lock_stops_and_reports_every_step() {
    let mut world = seeded(SPEC);
    let held = AtomicBool::new(false);
    let hangs = AtomicBool::new(false);
    let gate = Gate::open(&world.aws, move |request| {
        if request.contains("Action=CreateRole&") && !held.swap(true, Ordering::Relaxed) {
            hangs.store(true, Ordering::Relaxed);
            return Verdict::Hold;
        }
        let lock = request.starts_with("PUT ") && request.contains("/lock.json");
        if lock && hangs.load(Ordering::Relaxed) { Verdict::Answer(500, String::new()) } else { Verdict::Pass }
    });
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes", "--format", "json"]);
    gate.wait(&mut run);
    run.wait_for("lost the lock of the state: it could not be renewed for 4 s");
    gate.release();
    let stopped = run.end().exits(1).says(&["lost the lock ", ": it could not be renewed for 4 s"]);
    let report = stopped.json();
    let ended = |outcome: &str| {
        let steps = report["steps"].as_array().unwrap().iter();
        steps.filter(|s| s["outcome"] == outcome).map(|s| s["address"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ended("unknown"), ["aws.iam.role.job"], "{report:#}");
    assert!(ended("skipped").contains(&"aws.iam.role_policy.job/bailiwick-access".to_owned()), "{report:#}");
    assert!(ended("done").contains(&"aws.s3.bucket.data".to_owned()), "{report:#}");
    world.without_gate();
    world.apply();
    world.converged();
}

/// Holds the first request that creates a role and all later ones except those for the lock: AWS hangs, and so does the
/// state's bucket.
fn gate_from_the_role(world: &World) -> Gate {
    let hangs = AtomicBool::new(false);
    Gate::open(&world.aws, move |request| {
        let from_now = request.contains("Action=CreateRole&");
        hangs.fetch_or(from_now, Ordering::Relaxed);
        if hangs.load(Ordering::Relaxed) && !request.contains("/lock.json") { Verdict::Hold } else { Verdict::Pass }
    })
}

/// Releases the held requests, which then arrive. The next run recovers and does the rest.
fn recovers(mut world: World, gate: Gate, is_locked: bool) {
    drop(gate);
    world.without_gate();
    while world.aws.roles(PLATFORM).is_empty() {
        std::thread::yield_now();
    }
    world.bailiwick(&["plan"]).exits(0).shows(&["Left by an interrupted run", "aws.iam.role.job"]);
    let next = world.apply();
    assert_eq!(
        next.stderr.contains("took over the expired lock held by bailiwick apply on "),
        is_locked,
        "{}",
        next.stderr
    );
    world.converged();
    assert_eq!(world.aws.roles(PLATFORM), ["pods-job"]);
    let associations = world.aws.eks(PLATFORM, "GET /clusters/prod-eks/pod-identity-associations", &json!({})).json();
    assert_eq!(
        associations["associations"].as_array().map(Vec::len),
        Some(1),
        "nothing is there twice: {associations}"
    );
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new());
}

#[test]
fn run_canceled_while_aws_hangs_ends_before_the_kill_and_saves() {
    let mut world = seeded(&in_folder());
    let gate = gate_from_the_role(&world);
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    gate.wait(&mut run);
    let ran = run.cancel().exits(130);
    ran.shows(&[
        "unknown: the run was interrupted before the response arrived",
        "Run `bailiwick apply` again to complete the remaining steps.",
    ]);
    recovers(world, gate, false);
}

#[test]
fn run_canceled_while_its_state_hangs_ends_before_the_kill_and_keeps_the_journal() {
    let mut world = seeded(SPEC);
    let gate = gate_from_the_role(&world);
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    gate.wait(&mut run);
    run.cancel().exits(130).says(&["interrupted: finishing the calls in progress"]);
    assert!(keys(&world).contains("/journal/"), "what was under way is written down: {}", keys(&world));
    recovers(world, gate, true);
}

#[test]
fn stopped_run_is_killed_and_the_next_one_takes_over() {
    let mut world = seeded(SPEC);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    gate.wait(&mut run);
    // The operating system gives it no CPU time.
    run.signal("STOP");
    run.cancel().exits(-1);
    recovers(world, gate, true);
}

#[test]
fn lock_of_a_killed_run_is_taken_over_after_its_lease() {
    let mut world = seeded(SPEC);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut first = world.start(&["apply", "--yes"]);
    gate.wait(&mut first);
    first.signal("KILL");
    first.end();
    gate.release();
    world.without_gate();
    let next = world.apply();
    next.says(&["watching for up to 4 s", "took over the expired lock held by bailiwick apply on "]);
    world.converged();
    assert_eq!(object(&world, LOCK)["fence"], 2);
}

#[test]
fn interrupted_run_saves_and_releases_the_lock() {
    let mut world = seeded(SPEC);
    let gate = Gate::before_the_role(&world.aws);
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    gate.wait(&mut run);
    run.signal("INT");
    run.wait_for("interrupted");
    gate.release();
    run.end().exits(130);
    assert_eq!(object(&world, LOCK)["released"], true);
    assert!(object(&world, STATE)["resources"].get("aws.iam.role.job").is_some());
    world.without_gate();
    world.apply();
    world.converged();
}

#[test]
fn lost_state_is_rebuilt_from_ownership_tags() {
    for spec in [SPEC.to_owned(), in_folder()] {
        let world = seeded(&spec);
        world.apply();
        let lose = || {
            if spec == SPEC {
                world.aws.s3(PLATFORM, &format!("DELETE {STATE}"), "").ok();
            } else {
                std::fs::remove_dir_all(world.folder().join("state")).unwrap();
            }
        };
        lose();
        let hint = "there is no state, but aws.eks.addon.prod/eks-pod-identity-agent and 5 more carry the ownership tag of project `pods`";
        world.bailiwick(&["plan"]).exits(1).shows(&[hint]).says(&["`bailiwick state rebuild`"]);
        world.bailiwick(&["plan", "--format", "json"]).exits(1).says(&[hint]);
        for command in [&["drift"][..], &["plan", "--refresh-only"]] {
            let drift = world.bailiwick(command).exits(1);
            drift.says(&["cannot tell what drifted: there is no state at", "`bailiwick state rebuild`"]);
        }
        let sent = writes(&world);
        let rebuild = "rebuild it with `bailiwick state rebuild`";
        world.bailiwick(&["apply", "--yes"]).exits(1).shows(&[hint]).says(&[rebuild]);
        world.bailiwick(&["destroy", "--yes"]).exits(1).says(&[hint, rebuild]);
        world.bailiwick(&["state", "rebuild"]).exits(1).says(&["cannot prompt for confirmation"]);
        let rebuilt = world.bailiwick(&["state", "rebuild", "--yes"]).exits(0);
        rebuilt.shows(&["to add to the state, 0 already in it, 0 absent", "aws.iam.role.job", "aws.s3.bucket.data"]);
        assert_eq!(writes(&world), sent, "nothing but the state is written");

        world.bailiwick(&["plan", "--detailed-exitcode"]).exits(0).shows(&["nothing to do"]);
        world.converged();
        world.bailiwick(&["state", "rebuild", "--yes"]).exits(0).shows(&["0 to add to the state"]);
        world.bailiwick(&["destroy", "--yes"]).exits(0);
        assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new());
        assert!(world.kube.service_account(&world.namespace, "job").is_none());
        assert!(!world.aws.s3(PLATFORM, "GET /", "").ok().contains("acme-data"), "what it made goes");
    }
}

/// The spec before the state is lost: with the entries that stay and those that leave.
fn with_what_leaves() -> String {
    in_folder()
        .replace("\nbuckets:\n", "\nbuckets:\n  attic: { account: platform, name: acme-attic, on_destroy: delete }\n")
        .replace(
            "\nservice_accounts:\n",
            "\nservice_accounts:\n  old: { cluster: prod, namespace: attic, name: old, create_namespace: true }\n",
        )
        + "  - { to: old, bucket: data, prefix: \"\", access: read }\n\
           keys: { attic: { account: platform, alias: attic, managed: true } }\n\
           policies:\n  reports:\n    account: platform\n    name: reports\n    document: { Version: \"2012-10-17\", Statement: [{ Effect: Allow, Action: \"s3:ListAllMyBuckets\", Resource: \"*\" }] }\n\
           roles:\n  trainer: { account: platform, name: trainer, trust: [{ service: ec2.amazonaws.com }], policies: [reports] }\n"
}

#[test]
fn orphaned_resources_are_listed_and_recovered_only_on_request() {
    let world = seeded(&with_what_leaves());
    world.apply();
    let theirs = json!({ "bailiwick:project": "other", "bailiwick:address": "aws.iam.role.theirs" });
    world.aws.seed(&json!({ "roles": [
        { "account": PLATFORM, "name": "theirs", "tags": theirs }, { "account": PLATFORM, "name": "unmarked" },
    ] }));
    std::fs::remove_dir_all(world.folder().join("state")).unwrap();
    world.spec(&in_folder());
    world.aws.pages_of(1);
    world.kube.pages_of(1, false);
    let names = [
        "aws.eks.pod_identity_association.old",
        "aws.iam.policy.reports",
        "aws.iam.role.old",
        "aws.iam.role.trainer",
        "aws.iam.role_policy.old/bailiwick-access",
        "aws.iam.role_policy_attachment.trainer/reports",
        "aws.kms.key.attic",
        "aws.s3.bucket.attic",
        "kubernetes.namespace.prod/attic",
        "kubernetes.service_account.prod/attic/old",
    ];
    let rebuilt = world.bailiwick(&["state", "rebuild", "--yes"]).exits(0);
    assert!(!rebuilt.stdout.contains("theirs") && !rebuilt.stdout.contains("unmarked"), "{}", rebuilt.stdout);
    rebuilt.shows(&["Orphaned: carries the ownership tag", "--orphans", "10 orphaned: "]).shows(&names);
    world.converged();
    let sent = writes(&world);
    world.bailiwick(&["state", "rebuild", "--yes", "--orphans"]).exits(0).shows(&["the next plan deletes it"]);
    assert_eq!(writes(&world), sent, "nothing but the state is written");
    let plan = world.bailiwick(&["plan", "--allow-deletes", "20"]).exits(0);
    plan.shows(&["- aws.iam.role.old", "- aws.iam.role.trainer", "- kubernetes.service_account.prod/attic/old"]);
    world.bailiwick(&["apply", "--yes", "--allow-deletes", "20"]).exits(0);
    world.converged();
    let mut roles = world.aws.roles(PLATFORM);
    roles.sort();
    assert_eq!(roles, ["pods-job", "theirs", "unmarked"]);
    assert_eq!(world.aws.managed_policies(PLATFORM), Vec::<String>::new());
    assert!(!world.kube.has_namespace("attic"));
    assert!(world.aws.s3(PLATFORM, "GET /", "").ok().contains("acme-attic"), "what holds data stays");
    world.bailiwick(&["state", "rebuild", "--yes", "--orphans"]).exits(0).shows(&["0 to add to the state"]);
}

#[test]
fn rebuild_skips_foreign_and_untagged_resources() {
    let world = World::new();
    let theirs = json!({ "bailiwick:project": "other" });
    world.aws.seed(&json!({
        "clusters": [{ "account": PLATFORM, "region": "us-west-2", "name": "prod-eks" }],
        "roles": [{ "account": PLATFORM, "name": "pods-job", "tags": theirs, "inline": { "bailiwick-access": {
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme-data/*" }]
        } } }],
        "buckets": [{ "account": PLATFORM, "region": "us-west-2", "name": "acme-data" }],
    }));
    world.spec(&in_folder());
    let rebuilt = world.bailiwick(&["state", "rebuild", "--yes"]).exits(0);
    rebuilt.shows(&[
        "pods: 0 to add to the state",
        "aws.iam.role.job",
        "it belongs to project `other`",
        "aws.s3.bucket.data",
        "it exists without an ownership tag",
    ]);
    assert!(!world.folder().join("state/pods.json").exists());
}

#[test]
fn adopted_resource_is_named_to_state_rebuild() {
    let world = seeded(&in_folder());
    world.apply();
    std::fs::remove_dir_all(world.folder().join("state")).unwrap();
    let unknown = world.bailiwick(&["state", "rebuild", "--yes", "--adopted", "aws.iam.role.nobody"]).exits(1);
    unknown.says(&["`aws.iam.role.nobody` is not in the spec"]);
    world.bailiwick(&["state", "rebuild", "--yes", "--adopted", "aws.iam.role.job"]).exits(0);
    world.converged();
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(world.aws.roles(PLATFORM), ["pods-job"], "it is released, not deleted");
}

#[test]
fn unreadable_resource_is_reported_and_not_added_by_rebuild() {
    let mut world = seeded(&in_folder());
    world.apply();
    std::fs::remove_dir_all(world.folder().join("state")).unwrap();
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    let gate = Gate::open(&world.aws, move |request| {
        if request.contains("/acme-data") { Verdict::Answer(403, denied.into()) } else { Verdict::Pass }
    });
    world.through(&gate);
    let partly = world.bailiwick(&["state", "rebuild", "--yes"]).exits(1);
    partly.shows(&["unreadable", "aws.s3.bucket.data"]);
    let state = world.state("pods");
    assert!(state["resources"].get("aws.iam.role.job").is_some(), "{state:#}");
    assert!(state["resources"].get("aws.s3.bucket.data").is_none(), "{state:#}");
    world.without_gate();
    world.bailiwick(&["state", "rebuild", "--yes"]).exits(0).shows(&["1 to add to the state"]);
    world.converged();
}

#[test]
fn denied_orphan_search_is_reported_and_fails_only_with_orphans() {
    let mut world = seeded(&in_folder());
    world.apply();
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
    let gate = Gate::open(&world.aws, move |request| {
        let details = request.contains("Action=GetAccountAuthorizationDetails");
        if details { Verdict::Answer(403, denied.into()) } else { Verdict::Pass }
    });
    world.through(&gate);
    let expected = ["Cannot be searched for orphaned resources", "aws.iam.role in account `platform`", "AccessDenied"];
    world.bailiwick(&["state", "rebuild", "--yes"]).exits(0).shows(&expected);
    world.bailiwick(&["state", "rebuild", "--yes", "--orphans"]).exits(1).shows(&expected);
}

/// Runs every command that writes. Each must refuse.
fn refused(world: &World, texts: &[&str]) {
    let refused = |ran: Ran| ran.exits(1).says(texts);
    refused(world.bailiwick(&["plan"]));
    refused(world.bailiwick(&["apply", "--yes"]));
    refused(world.bailiwick(&["destroy", "--yes"]));
    refused(world.bailiwick(&["drift"]));
    refused(world.bailiwick(&["state", "list"]));
}

#[test]
fn unusable_state_stops_every_command_and_is_not_overwritten() {
    let world = seeded(SPEC);
    world.apply();
    world.bailiwick(&["state", "rm", "aws.s3.bucket.data"]).exits(0);
    let good = world.aws.s3(PLATFORM, &format!("GET {STATE}"), "").ok();
    let sent = writes(&world);
    let cases = [
        (good.replace("pods-job", "pods-jobs"), "was edited or damaged"),
        (good[..good.len() / 2].to_owned(), "the state is damaged"),
        (String::new(), "the state is damaged: it is empty"),
        (good.replace("\"format\": 2", "\"format\": 9"), "use the newer bailiwick that wrote it"),
        (good.replace("\"project\": \"pods\"", "\"project\": \"other\""), "belongs to project `other`, not to `pods`"),
    ];
    for (text, expected) in cases {
        world.aws.s3(PLATFORM, &format!("PUT {STATE}"), &text).ok();
        refused(&world, &[expected]);
        assert_eq!(world.aws.s3(PLATFORM, &format!("GET {STATE}"), "").ok(), text);
    }
    assert_eq!(writes(&world), sent);
    world.aws.s3(PLATFORM, &format!("PUT {STATE}"), "{").ok();
    refused(&world, &["1 earlier state is kept, the latest in s3://acme-state/team/prod/pods/earlier/0000000001-"]);
    world.aws.s3(PLATFORM, &format!("PUT {STATE}"), &good).ok();
    world.bailiwick(&["state", "rebuild", "--yes"]).exits(0).shows(&["1 to add to the state"]);
    world.converged();
}

#[test]
fn journal_of_another_state_is_refused() {
    let world = seeded(&in_folder());
    world.apply();
    let first = world.read("state/pods.json");
    world.spec(&in_folder().replace("access: read_write", "access: read"));
    world.apply();
    // A journal of the second state beside the restored first state.
    let second = world.read("state/pods.json");
    let serial: Value = serde_json::from_str(&second).unwrap();
    let (lineage, serial) = (serial["lineage"].as_str().unwrap(), serial["serial"].as_u64().unwrap());
    let entry = bailiwick::state::Entry::new(
        (lineage, serial),
        "2026-01-01T00:00:00Z".into(),
        bailiwick::address::Address::new("aws.iam.role", "x"),
        bailiwick::state::Happening::Begin {
            action: bailiwick::plan::ActionKind::Create,
            creates: None,
            deposes: Vec::new(),
        },
    );
    world.write("state/pods.journal", &entry.line().unwrap());
    world.bailiwick(&["state", "list"]).exits(0);
    world.write("state/pods.json", &first);
    refused(&world, &["the journal continues state 2 of lineage", "but state 1", "nothing was written"]);
}

#[test]
fn no_call_is_made_if_the_journal_cannot_be_written() {
    let world = seeded(&in_folder());
    world.write("state", "");
    world.bailiwick(&["apply", "--yes"]).exits(1).says(&["state: "]);
    assert_eq!(world.aws.writes(), 0);
    let mut world = seeded(SPEC);
    let gate = Gate::open(&world.aws, |request| {
        let journal = request.starts_with("PUT ") && request.contains("/journal/");
        if journal { Verdict::Answer(403, "<Error><Code>AccessDenied</Code></Error>".into()) } else { Verdict::Pass }
    });
    world.through(&gate);
    world.bailiwick(&["apply", "--yes"]).exits(1).says(&["cannot write s3://acme-state/team/prod/pods/journal/"]);
    assert_eq!(writes(&world), 0);
    world.without_gate();
    world.apply();
    world.converged();
}

#[test]
fn identity_of_the_state_account_is_checked_first() {
    let world = seeded(
        &SPEC.replace("111111111111\", region: us-west-2, assume_role: bailiwick", "111111111111\", region: us-west-2"),
    );
    refused(&world, &["account `platform` is 111111111111 in the spec, but the credentials belong to"]);
    assert_eq!(world.aws.count("s3", &[""]), 0, "{}", world.aws.requests());
}

#[test]
fn missing_or_foreign_state_bucket_is_reported() {
    let world = seeded(&SPEC.replace("acme-state", "acme-nowhere"));
    refused(&world, &["s3://acme-nowhere/team/prod/pods/", "NoSuchBucket"]);
    world
        .aws
        .seed(&json!({ "buckets": [{ "account": "333333333333", "region": "us-west-2", "name": "acme-theirs" }] }));
    world.spec(&SPEC.replace("acme-state", "acme-theirs"));
    refused(&world, &["s3://acme-theirs/team/prod/pods/", "AccessDenied"]);
}

#[test]
fn the_bucket_of_the_state_is_never_deleted() {
    // The bucket was created while the state was in a folder, and then chosen for the state.
    let world = seeded(&in_folder());
    world.apply();
    let moved = SPEC.replace("bucket: acme-state", "bucket: acme-data");
    world.spec(&moved);
    world.bailiwick(&["validate"]).exits(1).says(&["state-in-doomed-bucket", "would delete it on destroy"]);
    // The state moves into a bucket that it marks for deletion and that the spec no longer has.
    world.aws.s3(PLATFORM, "PUT /acme-data/team/prod/pods/state.json", &world.read("state/pods.json")).ok();
    let named = ["buckets:", "  data:", "grants:", "  - {"];
    let left = moved.lines().filter(|line| !named.iter().any(|name| line.starts_with(name)));
    world.spec(&left.map(|line| format!("{line}\n")).collect::<String>());
    let refused = world.bailiwick(&["apply", "--yes", "--allow-deletes", "9"]).exits(1);
    refused.shows(&["this plan would delete aws.s3.bucket.data, the bucket that holds the state"]);
    world.bailiwick(&["destroy", "--yes"]).exits(1);
    assert!(world.aws.s3(PLATFORM, "GET /", "").ok().contains("acme-data"));
    world.bailiwick(&["--state", "elsewhere", "plan"]).exits(64).says(&["omit --state"]);
}
/// Runs a command without the capability that lets root ignore permission bits.
fn bound_by_permissions(world: &World, arguments: &str) -> Ran {
    let root = "setpriv --bounding-set=-dac_override,-dac_read_search bailiwick";
    world.shell(&format!("if [ $(id -u) = 0 ]; then exec {root} {arguments}; else exec bailiwick {arguments}; fi"))
}

#[test]
fn read_only_state_folder_stops_before_any_write() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = seeded(&in_folder());
    let folder = world.folder().join("state");
    std::fs::create_dir(&folder).unwrap();
    let mode = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    let refused = |command: &str| {
        let sent = world.aws.writes();
        let ran = bound_by_permissions(&world, &format!("{command} --yes")).exits(1);
        assert_eq!(errors(&ran), 1, "one error:\n{}", ran.stderr);
        assert_eq!(world.aws.writes(), sent);
        ran.says(&["state: Permission denied", "make the folder of the state and its journal writable", "--state"]);
    };
    refused("apply");
    mode(0o755);
    world.apply();
    world.spec(&in_folder().replace("access: read_write", "access: read"));
    let state = world.read("state/pods.json");
    mode(0o555);
    refused("apply");
    refused("destroy");
    refused("state rebuild");
    assert_eq!(world.read("state/pods.json"), state);
    bound_by_permissions(&world, "plan").exits(0);
    mode(0o755);
    world.apply();
    world.converged();
}

fn errors(ran: &Ran) -> usize {
    ran.stderr.lines().filter(|line| line.starts_with("error: ")).count()
}

/// Runs a command that must fail with one error and without any write.
#[track_caller]
fn one_error(world: &World, arguments: &[&str], texts: &[&str]) {
    let sent = world.aws.writes();
    let ran = world.bailiwick(arguments).exits(1).says(texts);
    assert_eq!(errors(&ran), 1, "one error:\n{}", ran.stderr);
    assert_eq!(world.aws.writes(), sent, "nothing is written");
}

#[test]
fn invalid_or_foreign_plan_is_refused_with_advice() {
    let world = seeded(&in_folder());
    world.bailiwick(&["plan", "--out", "a.plan"]).exits(0);
    let good = world.read("a.plan");
    let refused = |text: &str, texts: &[&str]| {
        world.write("b.plan", text);
        one_error(&world, &["apply", "b.plan"], texts);
    };
    let other = "`b.plan` is not a saved plan help: pass a file that `bailiwick plan --out FILE` wrote";
    refused("", &[other]);
    refused(&in_folder(), &[other]);
    let anew = "help: create a new plan with `bailiwick plan --out FILE`";
    refused(&good[..good.len() - 20], &["`b.plan`: the saved plan is damaged: EOF", anew]);
    refused(&good.replace("pods-job", "pods-jobs"), &["the plan was edited", anew]);
    refused(&good.replace("\"format_version\":\"2.0\"", "\"format_version\":\"3.0\""), &["has format 3.0", anew]);
    one_error(
        &world,
        &["apply", "nowhere.plan"],
        &["cannot read the plan `nowhere.plan`: No such file", "help: pass a file that"],
    );
    one_error(&world, &["apply", "."], &["cannot read the plan `.`: Is a directory"]);

    world.spec(&in_folder().replace("project: pods", "project: other"));
    let texts = ["the plan is for project `pods`, and the spec is for `other`; nothing was written", "with -f"];
    one_error(&world, &["apply", "a.plan"], &texts);
    world.spec(&in_folder());

    // A plan of the same project, from the state in another folder.
    world.apply();
    world.spec(&in_folder().replace("access: read_write", "access: read"));
    world.bailiwick(&["plan", "--out", "a.plan"]).exits(0);
    std::fs::rename(world.folder().join("state"), world.folder().join("first")).unwrap();
    world.bailiwick(&["state", "rebuild", "--yes"]).exits(0);
    let texts =
        ["the plan was created from a state of lineage ", "the state in state/pods.json has lineage ", "--state"];
    one_error(&world, &["apply", "a.plan"], &texts);
    world.bailiwick(&["--state", "first", "apply", "a.plan"]).exits(0);
}

#[test]
fn invalid_or_foreign_state_or_journal_is_refused_with_advice() {
    let world = seeded(&in_folder());
    world.apply();
    let good = world.read("state/pods.json");
    let all =
        [&["plan"][..], &["apply", "--yes"], &["destroy", "--yes"], &["drift"], &["state", "rm", "aws.iam.role.job"]];
    let refused = |file: &str, text: &str, texts: &[&str]| {
        world.write(file, text);
        for arguments in all {
            one_error(&world, arguments, texts);
            assert_eq!(world.read(file), text, "nothing is overwritten");
        }
    };
    let state = "state/pods.json";
    let other = good.replace("\"project\": \"pods\"", "\"project\": \"other\"");
    refused(state, &other, &["state/pods.json: the state belongs to project `other`, not to `pods`", "--state", "-f"]);
    let newer = good.replace("\"format\": 2", "\"format\": 3");
    refused(
        state,
        &newer,
        &["state/pods.json: the state has format 3", "use the newer bailiwick", "nothing was overwritten"],
    );
    refused(state, &good[..good.len() / 2], &["state/pods.json: the state is damaged", "`bailiwick state rebuild`"]);
    refused(state, &good.replace("pods-job", "x"), &["was edited or damaged", "remove its `digest` line"]);
    world.write(state, &good);

    let lineage = serde_json::from_str::<Value>(&good).unwrap()["lineage"].as_str().unwrap().to_owned();
    let line = |lineage: &str| {
        let happening = bailiwick::state::Happening::Begin {
            action: bailiwick::plan::ActionKind::Create,
            creates: None,
            deposes: Vec::new(),
        };
        let address = bailiwick::address::Address::new("aws.iam.role", "x");
        bailiwick::state::Entry::new((lineage, 1), "2026-01-01T00:00:00Z".into(), address, happening).line().unwrap()
    };
    let journal = "state/pods.journal";
    let rebuild = "`bailiwick state rebuild`";
    let (ours, another) = (line(&lineage), line("another"));
    refused(journal, &another, &["the journal continues state 1 of lineage another", "nothing was written", rebuild]);
    let damaged = format!("{}{ours}", ours.replace("create", "delete"));
    refused(
        journal,
        &damaged,
        &["state/pods.journal: line 1 of the journal is damaged", "nothing was written", rebuild],
    );
    std::fs::remove_file(world.folder().join(journal)).unwrap();
    world.converged();
}

#[test]
fn an_account_or_cluster_that_cannot_be_reached_is_one_error() {
    let world = seeded(&in_folder());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for arguments in [&["plan"][..], &["apply", "--yes"], &["destroy", "--yes"], &["drift"]] {
        let mut command = world.command(arguments);
        command.env("AWS_ENDPOINT_URL", format!("http://{nobody}"));
        let ran = world.started(command).end().exits(1);
        assert_eq!(errors(&ran), 1, "one error:\n{}", ran.stderr);
        ran.says(&[
            "cannot identify the caller in account `platform`: ",
            "Connection refused",
            "nothing was read or written help: check the credentials, the region and the endpoint",
        ]);
    }
    world.spec(&in_folder().replace("context: prod", "context: unreachable"));
    one_error(&world, &["apply", "--yes"], &["a cluster does not respond", "nothing was written", "pass --partial"]);
    one_error(&world, &["plan", "--out", "a.plan"], &["the plan is partial; nothing was written", "pass --partial"]);
    world.bailiwick(&["plan", "--out", "a.plan", "--partial"]).exits(0);
    one_error(&world, &["apply", "a.plan"], &["a cluster does not respond", "pass --partial"]);
}

#[test]
fn saved_plan_of_format_1_is_refused_with_advice() {
    let world = seeded(include_str!("../formats/spec.yaml"));
    world.write("plan.json", include_str!("../formats/1/plan.json"));
    let ran = world.bailiwick(&["apply", "plan.json", "--yes"]).exits(1);
    ran.says(&["`plan.json`", "format 1.0", "bailiwick plan --out FILE"]);
    assert_eq!(world.aws.writes(), 0);
    assert!(!world.folder().join("state/serving.json").exists());
}
