//! Tests of all kinds together.

mod access_changes;
mod lint;

use std::fmt::Write as _;

use crate::access::lower;
use crate::address::{AccountId, Region, Scope};
use crate::desired::{self, Desired};
use crate::diff::{Orphans, orphans};
use crate::kind::{AnyKind, FieldClass, OwnedBy, Reference, Tagged};
use crate::spec::{Facts, SourceFile, load};
use crate::state::{Lineage, Owned, State};

fn tagged(address: &str, physical_id: &str) -> Tagged {
    let (account, region) = ("a".to_owned(), Region("us-west-2".into()));
    let scope = Scope::account(account, AccountId("1".repeat(12)), region);
    Tagged { scope, address: address.parse().unwrap(), physical_id: physical_id.into() }
}

/// Returns the orphaned resources among tagged objects. The state has a role `x` named `role-x`.
fn orphans_of(found: &[Tagged]) -> Orphans {
    let text = "version: 1\nproject: p\naccounts: { a: { id: \"111111111111\", region: us-west-2 } }\n";
    let (spec, problems) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
    assert_eq!(problems, []);
    let mut state = State::new("p", Lineage::default());
    let known = tagged("aws.iam.role.x", "role-x");
    state.resources.insert(known.address, Owned::new(known.scope, known.physical_id, None));
    orphans(&spec.unwrap(), &Desired::default(), &state, found, &super::kinds())
}

/// Formats the orphaned resources as text, and returns the ids of those with an address already in use.
fn found(tagged: &[Tagged]) -> (Vec<String>, Vec<String>) {
    let found = orphans_of(tagged);
    let ids = found.objects.iter().map(|(address, owned)| format!("{address} = {}", owned.physical_id)).collect();
    (ids, found.clashing.iter().map(|tagged| tagged.physical_id.clone()).collect())
}

#[test]
fn resource_known_under_any_address_is_not_orphaned_and_addresses_stay_unique() {
    assert_eq!(found(&[tagged("aws.iam.role.renamed", "Role-X")]), (vec![], vec![]));
    assert_eq!(found(&[tagged("aws.iam.role.x", "another")]), (vec![], vec!["another".to_owned()]));
    let (ids, clashing) = found(&[tagged("aws.s3.bucket.b", "one"), tagged("aws.s3.bucket.b", "two")]);
    assert_eq!(ids, ["aws.s3.bucket.b = one", "aws.s3.bucket_policy.b = one"]);
    assert_eq!(clashing, ["two"]);
}

#[test]
fn derived_policies_of_an_orphaned_role_are_found() {
    let policy = "arn:aws:iam::111111111111:policy/reports";
    assert_eq!(
        found(&[tagged("aws.iam.policy.reports", policy), tagged("aws.iam.role.r", "role-r")]).0,
        [
            format!("aws.iam.policy.reports = {policy}"),
            "aws.iam.role.r = role-r".into(),
            "aws.iam.role_policy.r/bailiwick-access = role-r/bailiwick-access".into(),
            format!("aws.iam.role_policy_attachment.r/reports = role-r/{policy}"),
        ]
    );
}

#[test]
fn an_orphaned_service_account_is_deleted_before_its_namespace() {
    let in_cluster = |address: &str, physical_id: &str| {
        let (scope, address) = (Scope::cluster("prod"), address.parse().unwrap());
        Tagged { scope, address, physical_id: physical_id.into() }
    };
    let namespace = in_cluster("kubernetes.namespace.prod/attic", "attic");
    let account = in_cluster("kubernetes.service_account.prod/attic/old", "attic/old");
    let found = orphans_of(&[namespace.clone(), account.clone()]).objects;
    let references = |tagged: &Tagged| found[&tagged.address].references.clone();
    assert_eq!(references(&account), [Reference { to: namespace.address.clone(), part: false }]);
    assert_eq!(references(&namespace), []);
}

/// A spec with resources of every kind, in which every field of a body is set.
const EVERYTHING: &str = r#"
version: 1
project: p
accounts: { a: { id: "111111111111", region: us-west-2 }, b: { id: "222222222222", region: us-west-2 } }
clusters:
  c: { account: a, name: c, access: [{ role: r, groups: [g], policies: [{ name: AmazonEKSViewPolicy }] }] }
keys:
  k: { account: b, alias: k, managed: true, description: d, rotation: true, tags: { t: "1" } }
buckets:
  b:
    account: b
    name: acme-models
    versioning: true
    ownership: bucket_owner_enforced
    encryption: { kms_key: k }
    lifecycle: [{ id: old, prefix: tmp/, expire_days: 7 }]
    tags: { t: "1" }
  x: { account: b, name: acme-exclusive, policy: exclusive }
policies:
  p:
    account: a
    name: p
    description: d
    document: { Version: "2012-10-17", Statement: [{ Effect: Allow, Action: "s3:ListAllMyBuckets", Resource: "*" }] }
roles:
  r:
    account: a
    name: r
    description: d
    max_session_duration: 3600
    permissions_boundary: p
    policies: [p]
    tags: { t: "1" }
service_accounts:
  irsa: { cluster: c, namespace: n, create_namespace: true, name: irsa, identity: irsa, labels: { l: "1" }, role: r }
  pods: { cluster: c, namespace: n, name: pods, identity: pod_identity, disable_session_tags: true }
grants:
  - { to: irsa, bucket: b, prefix: m/, access: read }
  - { to: pods, bucket: b, prefix: m/, access: read }
"#;

#[test]
fn every_field_of_every_body_is_declared_by_its_kind() {
    let (spec, problems) = load(&[SourceFile { name: "s.yaml".into(), text: EVERYTHING.into() }]);
    assert_eq!(problems, []);
    let spec = spec.unwrap();
    let kinds = super::kinds();
    let (desired, problems) = desired::build(&spec, &Facts::placeholders(&spec), &lower(&spec), &kinds);
    assert_eq!(problems, []);
    for about in kinds.all().map(AnyKind::about) {
        let bodies = desired.resources.values().filter(|r| r.address.kind().as_str() == about.name);
        let bodies: Vec<_> = bodies.map(|r| r.body.tree()).collect();
        assert!(!bodies.is_empty(), "the spec has no {}", about.name);
        for field in bodies.iter().flat_map(|body| body.as_object().unwrap().keys()) {
            assert!(about.declared(field).is_some(), "{} does not declare `{field}`", about.name);
        }
        let found: Vec<&str> = about.fields.iter().map(|f| f.name).collect();
        let written = |name: &&str| bodies.iter().any(|body| body.get(name).is_some());
        let read = ["unique_id", "foreign", "target_role_arn", "exclusive"];
        let unwritten: Vec<_> = found.into_iter().filter(|name| !written(name) && !read.contains(name)).collect();
        assert_eq!(unwritten, [""; 0], "{} declares fields that no body has", about.name);
    }
}

#[test]
fn owner_of_every_kind_is_a_kind() {
    let kinds = super::kinds();
    for about in kinds.all().map(AnyKind::about) {
        let (OwnedBy::Statements { on: of, .. } | OwnedBy::Whole { of, .. }) = about.owned_by else { continue };
        assert!(kinds.all().any(|kind| kind.about().name == of), "{} belongs to `{of}`", about.name);
    }
}

#[test]
fn field_classes_of_every_kind() {
    let kinds = super::kinds();
    let mut text = String::new();
    for about in kinds.all().map(AnyKind::about) {
        let of =
            |class: FieldClass| about.fields.iter().filter(|f| f.class == class).map(|f| f.name).collect::<Vec<_>>();
        let (access, setting, cosmetic) = (of(FieldClass::Access), of(FieldClass::Setting), of(FieldClass::Cosmetic));
        writeln!(text, "{} ({:?} when deleted outside)", about.name, about.presence).unwrap();
        for (class, fields) in [("access", access), ("setting", setting), ("cosmetic", cosmetic)] {
            if !fields.is_empty() {
                writeln!(text, "  {class}: {}", fields.join(" ")).unwrap();
            }
        }
    }
    assert_eq!(
        text,
        "\
aws.eks.access_entry (Access when deleted outside)
  access: cluster principal_arn type username groups policies unique_id
  cosmetic: tags
aws.eks.addon (Access when deleted outside)
  access: cluster name
  cosmetic: tags
aws.eks.pod_identity_association (Access when deleted outside)
  access: cluster namespace service_account role_arn target_role_arn disable_session_tags unique_id
  cosmetic: tags
aws.iam.oidc_provider (Access when deleted outside)
  access: url client_ids
  cosmetic: tags
aws.iam.policy (Access when deleted outside)
  access: name path document
  cosmetic: description tags
aws.iam.role (Access when deleted outside)
  access: name path trust permissions_boundary tags unique_id
  setting: max_session_duration
  cosmetic: description
aws.iam.role_policy (Access when deleted outside)
  access: role name document
aws.iam.role_policy_attachment (Access when deleted outside)
  access: role policy_arn
aws.kms.key (Setting when deleted outside)
  access: alias state tags unique_id
  setting: rotation
  cosmetic: description
aws.kms.key_policy (Access when deleted outside)
  access: statements exclusive foreign unique_id
aws.s3.bucket (Setting when deleted outside)
  access: name region public_access_block ownership encryption
  setting: versioning lifecycle
  cosmetic: tags
aws.s3.bucket_policy (Access when deleted outside)
  access: statements exclusive foreign unique_id
kubernetes.namespace (Setting when deleted outside)
  access: name
  cosmetic: labels
kubernetes.service_account (Access when deleted outside)
  access: namespace name annotations
  setting: object
  cosmetic: labels
"
    );
}
