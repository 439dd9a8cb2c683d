//! The engine on an in-memory cloud.

#[path = "support/memory.rs"]
mod memory;
#[path = "support/run.rs"]
mod run;

use memory::Cloud;
use run::{Project, spec};

const SPEC: &str = r#"
version: 1
project: serving
accounts:
  platform: { id: "111111111111", region: us-west-2 }
  models: { id: "222222222222", region: us-west-2 }
clusters:
  prod: { account: platform, name: prod-eks, identity: irsa }
keys:
  weights: { account: models, alias: model-weights, managed: true }
buckets:
  weights: { account: models, name: acme-weights, encryption: { kms_key: weights }, versioning: true }
service_accounts:
  loader: { cluster: prod, namespace: kserve, name: loader, create_namespace: true }
  trainer: { cluster: prod, namespace: kserve, name: trainer, identity: pod_identity }
grants:
  - { to: loader, bucket: weights, prefix: m/, access: read }
  - { to: trainer, bucket: weights, prefix: t/, access: read_write, mode: assume_role }
"#;

#[tokio::test(start_paused = true)]
async fn a_spec_is_applied_once() {
    let spec = spec(SPEC);
    let project = Project::new("serving", Cloud::with_delays(1));
    let applied = project.apply_all(&spec).await;
    project.assert_order(&applied.plan);
    project.assert_settled(&spec).await;
    let gone = project.destroy(&spec).await;
    project.assert_order(&gone.plan);
    assert!(project.cloud.world().marked().is_empty());
}
