//! Access to clusters from end to end: EKS access entries.

use serde_json::{Value, json};

use crate::emulators::{PLATFORM, World, access_entry};

/// The role that applies in these tests has access to the cluster, and so does a role of the spec.
const ACCESS: &str = r#"version: 1
project: access
accounts:
  platform: { id: "111111111111", region: us-west-2, assume_role: bailiwick }
clusters:
  prod:
    account: platform
    name: prod-eks
    context: prod
    access:
      - { principal_arn: "arn:aws:iam::111111111111:role/bailiwick", policies: [{ name: AmazonEKSEditPolicy }] }
      - { role: deployer, groups: [writers], policies: [{ name: AmazonEKSViewPolicy, namespaces: [apps] }] }
roles:
  deployer: { account: platform, name: deployer, path: /team/, trust: [{ service: ec2.amazonaws.com }] }
"#;

const DEPLOYER: &str = "arn:aws:iam::111111111111:role/team/deployer";
const OWN_ENTRY: &str = "      - { principal_arn: \"arn:aws:iam::111111111111:role/bailiwick\", policies: [{ name: AmazonEKSEditPolicy }] }\n";
const DEPLOYERS_ENTRY: &str =
    "      - { role: deployer, groups: [writers], policies: [{ name: AmazonEKSViewPolicy, namespaces: [apps] }] }\n";

/// A world with a cluster in this authentication mode and the role that applies in these tests.
fn access_world(mode: &str) -> World {
    let world = World::new();
    world.aws.seed(&json!({
        "roles": [{ "account": PLATFORM, "name": "bailiwick" }],
        "clusters": [{ "account": PLATFORM, "region": "us-west-2", "name": "prod-eks", "authentication_mode": mode }],
    }));
    world.spec(ACCESS);
    world
}

/// An entry of the cluster, and its policies with their scopes, if it exists.
fn entry(world: &World, principal: &str) -> Option<(Value, Value)> {
    let path = access_entry(principal);
    let found = world.aws.eks(PLATFORM, &format!("GET {path}"), &Value::Null);
    if found.status == 404 {
        return None;
    }
    let policies = world.aws.eks(PLATFORM, &format!("GET {path}/access-policies"), &Value::Null).json();
    let policy = |policy: &Value| {
        let arn = policy["policyArn"].as_str().unwrap();
        (arn.rsplit('/').next().unwrap().to_owned(), policy["accessScope"].clone())
    };
    let policies: serde_json::Map<String, Value> =
        policies["associatedAccessPolicies"].as_array().unwrap().iter().map(policy).collect();
    Some((found.json()["accessEntry"].clone(), policies.into()))
}

fn associate(world: &World, principal: &str, policy: &str) {
    let body = json!({
        "policyArn": format!("arn:aws:eks::aws:cluster-access-policy/{policy}"), "accessScope": { "type": "cluster" },
    });
    world.aws.eks(PLATFORM, &format!("POST {}/access-policies", access_entry(principal)), &body).ok();
}

#[test]
fn spec_grants_and_removes_cluster_access() {
    let world = access_world("API_AND_CONFIG_MAP");
    world.aws.pages_of(1);
    world.bailiwick(&["plan", "--detailed-exitcode"]).exits(2).shows(&[
        "access: 3 to create",
        "+ aws.eks.access_entry.prod/deployer",
        "+ aws.eks.access_entry.prod/111111111111/role/bailiwick",
    ]);
    world.apply();
    world.converged();
    let (found, policies) = entry(&world, DEPLOYER).unwrap();
    assert_eq!(found["kubernetesGroups"], json!(["writers"]));
    assert_eq!(found["username"], "arn:aws:sts::111111111111:assumed-role/deployer/{{SessionName}}");
    assert_eq!(found["tags"]["bailiwick:address"], "aws.eks.access_entry.prod/deployer");
    assert_eq!(policies, json!({ "AmazonEKSViewPolicy": { "type": "namespace", "namespaces": ["apps"] } }));

    associate(&world, DEPLOYER, "AmazonEKSClusterAdminPolicy");
    let drift = world.bailiwick(&["drift", "--format", "json"]).exits(2).json();
    let moved = &drift["drift"][0];
    assert_eq!(
        (moved["address"].as_str(), moved["class"].as_str(), moved["field"].as_str()),
        (Some("aws.eks.access_entry.prod/deployer"), Some("access"), Some("policies"))
    );
    world.apply();
    world.converged();
    assert_eq!(entry(&world, DEPLOYER).unwrap().1, policies);

    world.spec(&ACCESS.replace(DEPLOYERS_ENTRY, ""));
    world.apply();
    world.converged();
    assert_eq!(entry(&world, DEPLOYER), None);
}

#[test]
fn an_entry_of_others_is_adopted_and_released() {
    let world = access_world("API");
    let own = "arn:aws:iam::111111111111:role/bailiwick";
    let body = json!({ "principalArn": own, "kubernetesGroups": ["theirs"], "tags": { "owner": "them" } });
    world.aws.eks(PLATFORM, "POST /clusters/prod-eks/access-entries", &body).ok();
    associate(&world, own, "AmazonEKSClusterAdminPolicy");
    // Narrowing the access of the caller is a lockout, unless a wider policy beside it remains.
    let same = OWN_ENTRY.replace(
        "policies: [{ name: AmazonEKSEditPolicy }]",
        "groups: [theirs], policies: [{ name: AmazonEKSEditPolicy }, { name: AmazonEKSClusterAdminPolicy }]",
    );
    world.spec(&ACCESS.replace(OWN_ENTRY, &same));
    let plan = world.bailiwick(&["plan", "--format", "json"]).exits(0).json();
    assert_eq!(plan["summary"]["adopt"], 1);
    world.apply();
    world.converged();
    world.aws.pages_of(1000);
    let (found, policies) = entry(&world, own).unwrap();
    assert_eq!(policies.as_object().unwrap().len(), 2);
    assert_eq!(found["tags"]["bailiwick:project"], "access");

    world.spec(&ACCESS.replace(OWN_ENTRY, ""));
    world.apply();
    world.converged();
    let (found, after) = entry(&world, own).unwrap();
    assert_eq!((found["tags"].clone(), after), (json!({ "owner": "them" }), policies));
}

#[test]
fn a_cluster_without_access_entries_is_an_error_before_anything_is_written() {
    let world = access_world("CONFIG_MAP");
    for arguments in [&["plan"][..], &["apply", "--yes"]] {
        world.bailiwick(arguments).exits(1).says(&[
            "the authentication mode of cluster `prod-eks` is CONFIG_MAP",
            "aws eks update-cluster-config --name prod-eks --access-config authenticationMode=API_AND_CONFIG_MAP",
        ]);
    }
    assert_eq!(world.aws.writes(), 0);
    let mode = json!({ "accessConfig": { "authenticationMode": "API_AND_CONFIG_MAP" } });
    world.aws.eks(PLATFORM, "POST /clusters/prod-eks/update-config", &mode).ok();
    world.apply();
    world.converged();
}

#[test]
fn removing_own_cluster_access_needs_allow_lockout() {
    let world = access_world("API");
    world.apply();
    let narrower = OWN_ENTRY.replace("AmazonEKSEditPolicy", "AmazonEKSEditPolicy, namespaces: [apps]");
    for without in [ACCESS.replace(OWN_ENTRY, ""), ACCESS.replace(OWN_ENTRY, &narrower)] {
        world.spec(&without);
        let refused = world.bailiwick(&["apply", "--yes"]).exits(1);
        refused.shows(&["`arn:aws:iam::111111111111:role/bailiwick`, which applies this plan", "[lockout]"]);
    }
    world.spec(&ACCESS.replace(DEPLOYERS_ENTRY, ""));
    world.apply();
    world.spec(&ACCESS.replace(OWN_ENTRY, ""));
    world.bailiwick(&["apply", "--yes", "--allow", "lockout"]).exits(0);
    assert_eq!(entry(&world, "arn:aws:iam::111111111111:role/bailiwick"), None);
}
