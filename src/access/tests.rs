use super::*;
use crate::spec::{Facts, SourceFile, Spec, load};

mod rules;
mod unread;

fn spec(rest: &str) -> Spec {
    let text = format!(
        "version: 1
project: p
accounts:
  a: {{ id: \"111111111111\", region: us-west-2 }}
  b: {{ id: \"222222222222\", region: us-west-2 }}
clusters:
  c: {{ account: a, name: c, context: c }}
{rest}"
    );
    let (spec, problems) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
    assert_eq!(problems, []);
    spec.unwrap()
}

/// The statements as JSON, one per line.
fn words(statements: &[crate::iam::Statement]) -> String {
    statements.iter().map(|s| format!("{}\n", s.to_value())).collect()
}

const DIRECT: &str = "buckets:
  w: { account: b, name: some-bucket }
service_accounts:
  s: { cluster: c, namespace: n, name: s }
grants:
  - { to: s, bucket: w, prefix: x/, access: read }
";

#[test]
fn both_sides_of_a_cross_account_grant_allow_the_same() {
    let spec = spec(DIRECT);
    let (facts, chains) = (Facts::placeholders(&spec), lower(&spec));
    let sid = sid_prefix("p");
    assert_eq!(
        words(&identity_statements(&spec, &facts, &chains, "s")),
        r#"{"Action":"s3:GetObject","Effect":"Allow","Resource":"arn:aws:s3:::some-bucket/x/*","Sid":"Read"}
{"Action":"s3:ListBucket","Condition":{"StringLike":{"s3:prefix":["x","x/*"]}},"Effect":"Allow","Resource":"arn:aws:s3:::some-bucket","Sid":"List"}
{"Action":"s3:GetBucketLocation","Effect":"Allow","Resource":"arn:aws:s3:::some-bucket","Sid":"Locate"}
"#
    );
    let bucket = bucket_statements(&spec, &chains, "w");
    assert!(bucket.iter().all(|s| s.sid().is_some_and(|s| s.starts_with(&sid))));
    let principal = r#""Principal":{"AWS":"arn:aws:iam::111111111111:role/p-s"}"#;
    assert!(bucket.iter().all(|s| s.to_value().to_string().contains(principal)), "{}", words(&bucket));
    assert_eq!(bucket.len(), 3);
}

#[test]
fn same_account_bucket_gets_statements_only_on_request() {
    let count = |text: &str| {
        let spec = spec(text);
        bucket_statements(&spec, &lower(&spec), "w").len()
    };
    let same = DIRECT.replace("account: b, name: some-bucket", "account: a, name: some-bucket");
    assert_eq!(count(&same), 0);
    assert_eq!(count(&same.replace("some-bucket }", "some-bucket, same_account_statements: true }")), 3);
}

#[test]
fn irsa_trusts_one_subject_and_one_audience() {
    let spec = spec(&DIRECT.replace("name: s }", "name: s, identity: irsa }"));
    let trust = role_trust(&spec, &Facts::placeholders(&spec), &lower(&spec), "s").to_value().to_string();
    assert!(trust.contains(r#":sub":"system:serviceaccount:n:s""#), "{trust}");
    assert!(trust.contains(r#":aud":"sts.amazonaws.com""#), "{trust}");
    assert!(trust.contains("sts:AssumeRoleWithWebIdentity"), "{trust}");
}

#[test]
fn pod_identity_is_narrowed_by_session_tags_unless_they_are_off() {
    let trust = |text: &str| {
        let spec = spec(text);
        role_trust(&spec, &Facts::placeholders(&spec), &lower(&spec), "s").to_value().to_string()
    };
    let narrowed = trust(DIRECT);
    assert!(narrowed.contains("aws:RequestTag/kubernetes-service-account"), "{narrowed}");
    let open = trust(&DIRECT.replace("name: s }", "name: s, disable_session_tags: true }"));
    assert!(open.contains("pods.eks.amazonaws.com") && !open.contains("RequestTag"), "{open}");
}

#[test]
fn source_role_of_a_chain_may_only_assume_the_target() {
    let spec = spec(&DIRECT.replace("access: read }", "access: read, mode: assume_role }"));
    let (facts, chains) = (Facts::placeholders(&spec), lower(&spec));
    assert_eq!(
        words(&identity_statements(&spec, &facts, &chains, "s")),
        "{\"Action\":[\"sts:AssumeRole\",\"sts:TagSession\"],\"Effect\":\"Allow\",\
         \"Resource\":\"arn:aws:iam::222222222222:role/p-s-b\",\"Sid\":\"AssumeTarget\"}\n"
    );
    let trust = role_trust(&spec, &facts, &chains, "s/b").to_value().to_string();
    assert!(trust.contains(r#""AWS":"arn:aws:iam::111111111111:role/p-s""#), "{trust}");
}

#[test]
fn pattern_characters_in_a_prefix_are_literal() {
    let spec = spec(&DIRECT.replace("prefix: x/", "prefix: \"a*b?c$/\""));
    let said = words(&identity_statements(&spec, &Facts::placeholders(&spec), &lower(&spec), "s"));
    assert!(said.contains("arn:aws:s3:::some-bucket/a${*}b${?}c${$}/*"), "{said}");
}

#[test]
fn managed_key_is_referenced_by_its_alias() {
    let text = DIRECT.replace("name: some-bucket }", "name: some-bucket, encryption: { kms_key: k } }");
    let with = |managed: &str| {
        let spec = spec(&format!("keys:\n  k: {{ account: b, alias: k, managed: {managed} }}\n{text}"));
        words(&identity_statements(&spec, &Facts::placeholders(&spec), &lower(&spec), "s"))
    };
    assert!(with("true").contains(r#""ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/k"}"#));
    assert!(!with("false").contains("kms:ResourceAliases"));
}
