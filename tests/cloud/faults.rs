//! The built program against the emulators, killed at any request, with an AWS that is late, throttles and loses
//! responses.
//!
//! Every run follows from its seed. `FAULTS_EMULATED` sets the number of runs.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::emulators::{Gate, MODELS, PLATFORM, RESEARCH, Verdict, World};
use crate::seeds::{Table, for_each_seed, number};
use crate::specs::Chance;

const SPEC: &str = r#"version: 1
project: serving
accounts:
  platform: { id: "111111111111", region: us-west-2, assume_role: bailiwick }
  models: { id: "222222222222", region: us-west-2, assume_role: bailiwick }
clusters:
  prod: { account: platform, name: prod-eks, context: prod, identity: irsa }
keys:
  weights: { account: models, alias: weights, managed: true }
buckets:
  weights: { account: models, name: acme-weights, versioning: true, encryption: { kms_key: weights } }
roles:
  trainer: { account: platform, name: trainer, trust: [{ service: ec2.amazonaws.com }], policies: [reports] }
policies:
  reports:
    account: platform
    name: reports
    document: { Version: "2012-10-17", Statement: [{ Effect: Allow, Action: "s3:ListAllMyBuckets", Resource: "*" }] }
service_accounts:
  loader: { cluster: prod, namespace: NAMESPACE, name: loader }
  job: { cluster: prod, namespace: NAMESPACE, name: job, identity: pod_identity }
grants:
  - { to: loader, bucket: weights, prefix: mistral/, access: read }
  - { to: job, bucket: weights, prefix: mistral/, access: read_write }
"#;

fn foreign() -> Value {
    json!({
        "Sid": "AuditorsRead", "Effect": "Allow", "Action": "s3:GetObject",
        "Principal": { "AWS": "arn:aws:iam::333333333333:role/auditor" },
        "Resource": "arn:aws:s3:::acme-weights/reports/*"
    })
}

fn statements(world: &World) -> Vec<Value> {
    let policy = world.aws.bucket_policy(MODELS, "acme-weights").unwrap_or_default();
    policy["Statement"].as_array().cloned().unwrap_or_default()
}

/// One apply that is killed at some request, if it sends that many, while a second one runs concurrently.
fn killed(world: &mut World, chance: &mut Chance, table: &Table) {
    let at = chance.below(120);
    let sent = AtomicUsize::new(0);
    let gate =
        Gate::open(
            &world.aws,
            move |_| {
                if sent.fetch_add(1, Ordering::Relaxed) == at { Verdict::Hold } else { Verdict::Pass }
            },
        );
    world.through(&gate);
    let mut run = world.start(&["apply", "--yes"]);
    if gate.holds(&mut run) {
        if chance.below(3) == 0 {
            let second = world.bailiwick(&["apply", "--yes"]).exits(1);
            second.says(&["is locked by"]);
            table.locked.fetch_add(1, Ordering::Relaxed);
        }
        run.signal("KILL");
        table.kills.fetch_add(1, Ordering::Relaxed);
        run.end();
        // The request was sent, so it arrives.
        gate.release();
    } else {
        run.end();
    }
    world.without_gate();
}

fn run_of(seed: u64, table: &Table) {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World::new();
    world.aws.seed(&json!({
        "roles": [{ "account": RESEARCH, "name": "auditor" }],
        "clusters": [{ "account": PLATFORM, "region": "us-west-2", "name": "prod-eks" }],
        "buckets": [{
            "account": MODELS, "region": "us-west-2", "name": "acme-weights", "tags": { "owner": "models" },
            "policy": { "Version": "2012-10-17", "Statement": [foreign()] },
        }],
    }));
    world.spec(SPEC);
    for _ in 0..=chance.below(2) {
        world.aws.rules(&json!({
            "seed": seed, "new_principals": chance.below(30), "canonical": true, "page": 1, "overlap": true,
            "throttled": 0.02, "failed": 0.05, "lost": 0.02, "stale": 0.05,
        }));
        killed(&mut world, &mut chance, table);
        let counts = world.aws.rules_applied()["counts"].clone();
        let faults: u64 = counts.as_object().unwrap().values().filter_map(Value::as_u64).sum();
        table.faults.fetch_add(usize::try_from(faults).unwrap(), Ordering::Relaxed);
    }
    world.aws.rules(&json!({ "canonical": true, "page": 1, "overlap": true }));
    world.apply();
    world.converged();
    assert!(statements(&world).contains(&foreign()));
    assert_eq!(world.aws.roles(PLATFORM), ["serving-job", "serving-loader", "trainer"], "no more and no fewer");
    assert_eq!(world.aws.managed_policies(PLATFORM), ["reports"]);
    world.aws.rules(&json!({}));
    let keys = world.aws.kms(MODELS, "ListKeys", &json!({})).json();
    assert_eq!(keys["Keys"].as_array().map(Vec::len), Some(1), "no key exists twice: {keys}");
    world.bailiwick(&["destroy", "--yes"]).exits(0);
    assert_eq!(world.aws.roles(PLATFORM), Vec::<String>::new());
    assert_eq!(statements(&world), [foreign()]);
}

#[test]
fn the_program_killed_on_the_emulator_converges() {
    let table = Table::default();
    let from = number("FAULTS_FROM", 0);
    let seeds = from..from + number("FAULTS_EMULATED", 3);
    for_each_seed("on the emulator", &table, seeds, |seed| run_of(seed, &table));
}
