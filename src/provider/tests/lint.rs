//! Tests of findings in the policies of real kinds.

use std::fmt::Write as _;

use crate::access::lower;
use crate::address::{AccountId, Address, Region, Scope};
use crate::check::{self, Context, Lints};
use crate::desired::Desired;
use crate::diagnostic::Diagnostic;
use crate::document::Document;
use crate::kind::Resource;
use crate::provider::kinds;
use crate::snapshot::{Seen, Snapshot};
use crate::spec::{Facts, SourceFile, Spec, load};

const HEAD: &str = "version: 1\nproject: p\naccounts:\n  a: { id: \"111111111111\", region: us-west-2 }\n  b: { id: \"222222222222\", region: us-west-2 }\n";

fn spec(text: &str) -> Spec {
    let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: format!("{HEAD}{text}").into() }]);
    assert_eq!(problems, []);
    spec.unwrap()
}

fn resource(address: &str, physical_id: &str, body: serde_json::Value) -> Resource {
    let address: Address = address.parse().unwrap();
    let scope = Scope::account("a", AccountId("111111111111".into()), Region("us-west-2".into()));
    Resource::new(address, scope, physical_id, Document::from(body))
}

fn reported(findings: &[Diagnostic]) -> String {
    let mut text = String::new();
    for finding in findings {
        let place = finding.source.as_ref().map(|s| format!("{}:{}", s.line, s.column)).unwrap_or_default();
        let accepted = finding.accepted.as_ref().map(|why| format!(" accepted: {why}")).unwrap_or_default();
        writeln!(text, "{} {} {place} {}{accepted}", finding.severity, finding.code, finding.message).unwrap();
    }
    text
}

fn check(spec: &Spec, resources: Vec<Resource>, snapshot: Option<&Snapshot>) -> Vec<Diagnostic> {
    let resources = resources.into_iter().map(|r| (r.address.clone(), std::sync::Arc::new(r))).collect();
    let desired = Desired { resources, ..Desired::default() };
    let facts = Facts::placeholders(spec);
    let chains = lower(spec);
    let lints = Lints::default();
    let context = Context {
        spec,
        facts: &facts,
        chains: &chains,
        desired: &desired,
        snapshot,
        diff: None,
        lints: &lints,
        kinds: &kinds(),
    };
    let findings = check::policies(&context, "2026-06-01");
    // Cached results are reported again without a new check.
    let known = lints.judged();
    assert_eq!(check::policies(&context, "2026-06-01"), findings);
    assert_eq!(lints.judged(), known);
    findings
}

/// A trust policy as many guides publish it: any service account of the cluster can assume the role.
const TRUST: &str = r#"roles:
  loader:
    account: a
    name: kserve-model-loader
    trust:
      - service: ec2.amazonaws.com
      - policy:
          Version: "2012-10-17"
          Statement:
            - Effect: Allow
              Principal:
                Federated: arn:aws:iam::111111111111:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/AAAA
              Action: sts:AssumeRoleWithWebIdentity
              Condition:
                StringEquals:
                  "oidc.eks.us-west-2.amazonaws.com/id/AAAA:aud": sts.amazonaws.com
"#;

fn role(spec: &Spec) -> Resource {
    let trust = crate::access::role_trust(spec, &Facts::placeholders(spec), &lower(spec), "loader");
    let mut role = resource("aws.iam.role.loader", "kserve-model-loader", serde_json::json!({ "trust": trust }));
    role.source = spec.source(&["roles", "loader"]);
    role
}

#[test]
fn a_trust_without_subject_is_an_error_where_it_is_written() {
    let spec = spec(TRUST);
    let findings = check(&spec, vec![role(&spec)], None);
    assert_eq!(
        reported(&findings),
        "error trust-oidc-no-sub 19:15 aws.iam.role.loader: every identity of the provider can assume the role: \
         no condition on `oidc.eks.us-west-2.amazonaws.com/id/AAAA:sub`\n\
         warning service-principal-no-source 11:9 aws.iam.role.loader: the service can act on behalf of anyone's resources: \
         `ec2.amazonaws.com`\n"
    );
}

#[test]
fn finding_is_accepted_at_its_entry_or_above_until_the_date() {
    for (at, until, accepted) in [
        ("roles.loader", "2026-06-01", true),
        ("roles.loader.trust.1", "2026-06-01", true),
        ("roles.loader.trust.0", "2026-06-01", false),
        ("aws.iam.role.loader", "2026-06-01", true),
        ("roles.loader", "2026-05-31", false),
        ("accounts.b", "2026-06-01", false),
    ] {
        let text =
            format!("{TRUST}accept: [ {{ code: trust-oidc-no-sub, at: {at}, reason: known, until: {until} }} ]\n");
        let spec = spec(&text);
        let findings = check(&spec, vec![role(&spec)], None);
        let reasons: Vec<Option<&str>> =
            findings.iter().filter(|f| f.code.as_str() == "trust-oidc-no-sub").map(|f| f.accepted.as_deref()).collect();
        assert_eq!(reasons, [accepted.then_some("known")], "{at} {until}");
        let help = findings.iter().find(|f| f.code.as_str() == "trust-oidc-no-sub").and_then(|f| f.help.clone());
        let ended = help.unwrap_or_default().ends_with("; the `accept` entry expired on 2026-05-31");
        assert_eq!(ended, until == "2026-05-31", "{at} {until}");
    }
}

#[test]
fn trust_findings_point_to_the_entries_of_the_trust() {
    let spec = spec(
        "roles:\n  loader:\n    account: a\n    name: n\n    trust:\n      - account: b\n      - account: \"999999999999\"\n      - service: lambda.amazonaws.com\n",
    );
    assert_eq!(
        reported(&check(&spec, vec![role(&spec)], None)),
        "warning trust-cross-account-root 11:9 aws.iam.role.loader: every principal that a foreign account chooses can assume the role: `222222222222`
warning trust-cross-account-root 12:9 aws.iam.role.loader: every principal that a foreign account chooses can assume the role: `999999999999`
warning service-principal-no-source 13:9 aws.iam.role.loader: the service can act on behalf of anyone's resources: `lambda.amazonaws.com`
"
    );
}

#[test]
fn policies_of_a_role_are_checked_together() {
    let spec = spec("");
    let policy = |action: &str, effect: &str| {
        serde_json::json!({ "role": "r", "document": { "Version": "2012-10-17", "Statement": [
            { "Effect": effect, "Action": action, "Resource": "*" },
        ] } })
    };
    let wide = || resource("aws.iam.role_policy.r/wide", "r/wide", policy("s3:*", "Allow"));
    let found = |resources| check(&spec, resources, None).iter().map(|f| f.code.as_str()).collect::<Vec<_>>();
    assert!(found(vec![wide()]).contains(&"identity-service-wildcard"));
    let boundary = resource("aws.iam.policy.limit", "arn:limit", policy("s3:*", "Allow"));
    let limited = resource("aws.iam.role.r", "r", serde_json::json!({ "permissions_boundary": "arn:limit" }));
    assert_eq!(found(vec![boundary, limited]), Vec::<&str>::new());
}

#[test]
fn findings_on_foreign_statements_are_not_errors() {
    let spec = spec("");
    let own = serde_json::json!({ "Version": "2012-10-17", "Statement": [{
        "Sid": "Ours", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::222222222222:role/r" },
        "Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/a/*",
    }] });
    let foreign = serde_json::json!({ "Version": "2012-10-17", "Statement": [{
        "Sid": "Open", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/*",
    }] });
    let policy = || resource("aws.s3.bucket_policy.data", "data", serde_json::json!({ "statements": own }));
    assert_eq!(reported(&check(&spec, vec![policy()], None)), "");
    let body = serde_json::json!({ "statements": own, "foreign": foreign });
    let seen = Seen::Present { body: Document::from(body), owner: None };
    let snapshot = Snapshot { seen: [(policy().address, seen)].into() };
    assert_eq!(
        reported(&check(&spec, vec![policy()], Some(&snapshot))),
        "warning resource-public  aws.s3.bucket_policy.data: everyone has access (statement `Open`, not managed by Bailiwick)
info s3-no-tls-deny  aws.s3.bucket_policy.data: requests without TLS are not denied
"
    );
    let exclusive = serde_json::json!({ "statements": own, "exclusive": true });
    let exclusive = resource("aws.s3.bucket_policy.data", "data", exclusive);
    assert_eq!(
        reported(&check(&spec, vec![exclusive], Some(&snapshot))),
        "info s3-no-tls-deny  aws.s3.bucket_policy.data: requests without TLS are not denied\n",
        "they go"
    );
}

#[test]
fn findings_on_foreign_statements_are_accepted_until_they_change() {
    let statement = |action: &str| {
        serde_json::json!({ "Sid": "Open", "Effect": "Allow", "Principal": "*", "Action": action,
            "Resource": "arn:aws:s3:::data/*" })
    };
    let findings = |accept: &str, foreign: serde_json::Value| {
        let spec = spec(accept);
        let own = serde_json::json!({ "Version": "2012-10-17", "Statement": [{
            "Sid": "Ours", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::222222222222:role/r" },
            "Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/a/*",
        }] });
        let foreign = serde_json::json!({ "Version": "2012-10-17", "Statement": [foreign] });
        let body = serde_json::json!({ "statements": own, "foreign": foreign });
        let policy = resource("aws.s3.bucket_policy.data", "data", serde_json::json!({ "statements": own }));
        let seen = Seen::Present { body: Document::from(body), owner: None };
        let snapshot = Snapshot { seen: [(policy.address.clone(), seen)].into() };
        check(&spec, vec![policy], Some(&snapshot))
    };
    let public = |accept: &str, foreign: serde_json::Value| {
        findings(accept, foreign).into_iter().find(|f| f.code.as_str() == "resource-public").unwrap()
    };
    let found = public("", statement("s3:GetObject"));
    let digest = found.foreign_statement.clone().unwrap();
    let advice = format!("; an `accept` entry with `statement: \"{digest}\"` hides this until the statement changes");
    let help = found.help.unwrap();
    assert!(help.ends_with(&advice), "{help}");
    let accept = |pin: &str| {
        format!(
            "accept: [{{ code: resource-public, at: aws.s3.bucket_policy.data, {pin}reason: known, until: 2026-06-01 }}]\n"
        )
    };
    let pinned = accept(&format!("statement: \"{digest}\", "));
    assert_eq!(public(&pinned, statement("s3:GetObject")).accepted.as_deref(), Some("known"));
    assert_eq!(public(&pinned, statement("s3:Get*")).accepted, None);
    for action in ["s3:GetObject", "s3:Get*"] {
        assert_eq!(public(&accept(""), statement(action)).accepted.as_deref(), Some("known"));
    }
    // An accepted finding of ours stays in the report, and one of others does not.
    let section = |accept: &str, verbose: bool| {
        let found: Vec<_> =
            findings(accept, statement("s3:GetObject")).iter().map(crate::report::wire::problem).collect();
        crate::report::findings_section(&found, verbose).map_or(0, |section| section.rows.len())
    };
    assert_eq!((section("", false), section(&pinned, false), section(&pinned, true)), (1, 0, 2));
    let (_, problems) =
        load(&[SourceFile { name: "t.yaml".into(), text: format!("{HEAD}{}", accept("statement: x, ")).into() }]);
    assert!(problems.iter().any(|p| p.message == "invalid digest `x` of a statement"), "{problems:?}");
}
