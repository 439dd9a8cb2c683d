//! Every check detects its own problem and ignores similar policies without it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Check, Finding, Subject, lint, lint_together};
use crate::iam::catalogue::ServiceEntry;
use crate::iam::{PolicyKind, PolicyPlace};

const OIDC: &str = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC";
const SUB: &str = "oidc.eks.eu-west-1.amazonaws.com/id/ABC:sub";
const AUD: &str = "oidc.eks.eu-west-1.amazonaws.com/id/ABC:aud";
const GITHUB: &str = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com";

fn findings(kind: PolicyKind, statements: &Value) -> Vec<Finding> {
    let mut subject = Subject::of(kind);
    subject.account = Some("111122223333");
    subject.bucket = (kind == PolicyKind::Bucket).then_some("b");
    let document = json!({"Version": "2012-10-17", "Statement": statements});
    lint(&document.to_string(), &subject)
}

/// The codes found, separated by spaces, without duplicates.
fn codes(kind: PolicyKind, statements: &Value) -> String {
    let codes: BTreeSet<&str> = findings(kind, statements).iter().map(|f| f.check.code()).collect();
    codes.into_iter().collect::<Vec<_>>().join(" ")
}

fn identity(more: &Value) -> String {
    codes(PolicyKind::Identity, &merged(&json!({"Effect": "Allow", "Resource": "arn:aws:s3:::b/*"}), more))
}

fn bucket(more: &Value) -> String {
    let base = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", "Principal": "*"});
    let secure = json!({
        "Effect": "Deny", "Action": "s3:*", "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"], "Principal": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    });
    codes(PolicyKind::Bucket, &json!([merged(&base, more), secure]))
}

fn web_identity(provider: &str, condition: &Value) -> String {
    codes(
        PolicyKind::Trust,
        &json!({
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": provider}, "Condition": condition,
        }),
    )
}

fn trust(principal: &Value, more: &Value) -> String {
    let base = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal});
    codes(PolicyKind::Trust, &merged(&base, more))
}

/// Merges two objects: members of the second replace those of the first, and `null` removes one.
fn merged(base: &Value, more: &Value) -> Value {
    let mut merged = base.clone();
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            merged.as_object_mut().unwrap().remove(name);
        } else {
            merged[name] = value.clone();
        }
    }
    merged
}

#[test]
fn the_table_is_in_the_order_of_the_checks() {
    for (at, check) in Check::all().enumerate() {
        assert_eq!(check as usize, at, "{}", check.code());
        assert!(!check.meaning().is_empty() && !check.hint().is_empty());
    }
    assert_eq!(Check::all().map(Check::code).collect::<BTreeSet<_>>().len(), Check::all().count());
}

#[test]
fn web_identity_of_kubernetes() {
    let exact = json!({SUB: "system:serviceaccount:prod:web", AUD: "sts.amazonaws.com"});
    assert_eq!(web_identity(OIDC, &json!({"StringEquals": exact})), "");
    assert_eq!(web_identity(OIDC, &json!({"StringEquals": {AUD: "sts.amazonaws.com"}})), "trust-oidc-no-sub");
    assert_eq!(
        web_identity(OIDC, &json!({"StringEquals": {SUB: "system:serviceaccount:prod:web"}})),
        "trust-oidc-no-aud"
    );
    let like =
        |sub: &str| web_identity(OIDC, &json!({"StringLike": {SUB: sub}, "StringEquals": {AUD: "sts.amazonaws.com"}}));
    assert_eq!(like("system:serviceaccount:*:web"), "trust-oidc-sub-wildcard");
    assert_eq!(like("system:serviceaccount:prod:*"), "trust-oidc-sub-wildcard");
    let severity = |sub: &str| {
        let condition = json!({"StringLike": {SUB: sub}, "StringEquals": {AUD: "sts.amazonaws.com"}});
        let statement = json!({"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": OIDC}, "Condition": condition});
        findings(PolicyKind::Trust, &statement).iter().map(|f| f.severity.as_str()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(severity("system:serviceaccount:prod:*"), "info");
    for wide in
        ["system:serviceaccount:pr*:*", "system:serviceaccount:*:web", "system:serviceaccount:*", "system:*", "*"]
    {
        assert_eq!(severity(wide), "high", "{wide}");
    }
    assert_eq!(like("*"), "trust-oidc-sub-wildcard");
    assert_eq!(like("system:serviceaccount:prod:web-*"), "");
    assert_eq!(like("system:serviceaccount:prod/web"), "trust-oidc-sub-form");
    for operator in ["ForAllValues:StringEquals", "StringEqualsIfExists", "StringNotEquals"] {
        let condition = json!({operator: {SUB: "system:serviceaccount:prod:web"}, "StringEquals": {AUD: "a"}});
        assert!(web_identity(OIDC, &condition).contains("trust-oidc-weak-operator"), "{operator}");
    }
    // A literal wildcard that does not match, and the provider's ARN in place of the issuer.
    assert_eq!(
        web_identity(OIDC, &json!({"StringEquals": {SUB: "system:serviceaccount:*:web", AUD: "a"}})),
        "condition-wildcard-without-like"
    );
    let by_arn = findings(
        PolicyKind::Trust,
        &json!({"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": OIDC},
            "Condition": {"StringEquals": {format!("{OIDC}:sub"): "x", AUD: "a"}}}),
    );
    assert_eq!(by_arn.len(), 1, "{by_arn:?}");
    assert!(by_arn[0].to_string().ends_with("not the ARN of the provider"), "{}", by_arn[0]);
}

#[test]
fn web_identity_of_github() {
    let key = "token.actions.githubusercontent.com:sub";
    let aud = json!({"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"});
    let of = |operator: &str, sub: &str| {
        let mut condition = json!({"StringEquals": aud});
        condition[operator][key] = json!(sub);
        web_identity(GITHUB, &condition)
    };
    assert_eq!(of("StringEquals", "repo:acme/app:ref:refs/heads/main"), "");
    assert_eq!(of("StringLike", "repo:acme/app:*"), "");
    assert_eq!(of("StringLike", "repo:acme/*"), "trust-oidc-sub-wildcard");
    assert_eq!(of("StringLike", "repo:*"), "trust-oidc-sub-wildcard");
    assert_eq!(web_identity(GITHUB, &json!({"StringEquals": aud})), "trust-github-no-sub trust-oidc-no-sub");
}

#[test]
fn subjects_of_github_that_outsiders_can_forge_are_found() {
    let key = |claim: &str| format!("token.actions.githubusercontent.com:{claim}");
    let of = |sub: &str, more: Value| {
        let mut equals = merged(&json!({key("aud"): "sts.amazonaws.com"}), &more);
        equals[key("sub")] = json!(sub);
        web_identity(GITHUB, &json!({"StringEquals": equals}))
    };
    for claim in ["workflow", "environment", "ref", "context", "head_ref", "base_ref"] {
        let sub = format!("{claim}:x:repo:acme/app:ref:refs/heads/main");
        assert_eq!(of(&sub, json!({})), "trust-github-forgeable-sub", "{claim}");
        let like = json!({"StringLike": {key("sub"): format!("{claim}:x:repo:acme/app:*")}, "StringEquals": {key("aud"): "a"}});
        assert_eq!(web_identity(GITHUB, &like), "trust-github-forgeable-sub", "{claim}");
        assert_eq!(of(&sub, json!({key("repository"): "acme/app"})), "", "{claim}");
        assert_eq!(of(&sub, json!({key("actor"): "jane"})), "trust-github-forgeable-sub", "{claim}");
    }
    for sub in [
        "repo:acme/app:environment:prod",
        "repository_owner:acme:workflow:x",
        "job_workflow_ref:acme/ci/.github/x.yml@main",
    ] {
        assert_eq!(of(sub, json!({})), "", "{sub}");
    }
    let any = json!({"StringLike": {key("sub"): "repository_owner:*"}, "StringEquals": {key("aud"): "a"}});
    assert_eq!(web_identity(GITHUB, &any), "trust-oidc-sub-wildcard");
}

#[test]
fn conditions_on_keys_of_another_issuer_never_match() {
    let other = |claim: &str| format!("oidc.eks.eu-west-1.amazonaws.com/id/OTHER:{claim}");
    let sub = "system:serviceaccount:prod:web";
    let dead = "trust-never-matches";
    for condition in [
        json!({"StringEquals": {other("sub"): sub, other("aud"): "sts.amazonaws.com"}}),
        json!({"StringLike": {other("sub"): "system:serviceaccount:*:*"}}),
        json!({"StringEquals": {SUB: sub, AUD: "sts.amazonaws.com", other("sub"): sub, other("aud"): "sts.amazonaws.com"}}),
        json!({"StringEquals": {SUB: sub, AUD: "sts.amazonaws.com"}, "StringLike": {other("aud"): "*"}}),
        json!({"StringEquals": {SUB: sub, AUD: "sts.amazonaws.com"}, "Null": {other("sub"): "false"}}),
        json!({"ForAnyValue:StringNotEquals": {other("sub"): "x"}}),
        json!({"StringEquals": {"token.actions.githubusercontent.com:sub": "repo:acme/app:ref:refs/heads/main"}}),
        json!({"StringEquals": {"SAML:aud": "https://signin.aws.amazon.com/saml"}}),
    ] {
        assert_eq!(web_identity(OIDC, &condition), dead, "{condition}");
    }
    // A condition that a missing key meets does not exclude the provider.
    let own = json!({"StringEquals": {SUB: sub, AUD: "sts.amazonaws.com"}});
    for (operator, value) in
        [("StringNotEquals", "x"), ("StringEqualsIfExists", "x"), ("ForAllValues:StringEquals", "x"), ("Null", "true")]
    {
        let mut condition = own.clone();
        condition[operator] = json!({other("sub"): value});
        assert!(!web_identity(OIDC, &condition).contains(dead), "{condition}");
    }
    assert_eq!(
        web_identity(OIDC, &json!({"StringEqualsIfExists": {SUB: sub, other("sub"): sub}, "StringEquals": {AUD: "a"}})),
        "trust-oidc-weak-operator"
    );
    // Of two providers, the keys exclude the other one.
    let both = json!([OIDC, "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/OTHER"]);
    let of_both = |condition: &Value| {
        let found = findings(
            PolicyKind::Trust,
            &json!({"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": both}, "Condition": condition}),
        );
        found.iter().map(|f| format!("{} {}", f.check.code(), f.detail)).collect::<Vec<_>>()
    };
    let no_key = |issuer: &str, key: &str| {
        format!("trust-never-matches no token of `oidc.eks.eu-west-1.amazonaws.com/id/{issuer}` has `{key}`")
    };
    assert_eq!(of_both(&own), [no_key("OTHER", AUD)]);
    let all = json!({"StringEquals": {SUB: sub, AUD: "a", other("sub"): sub, other("aud"): "a"}});
    assert_eq!(of_both(&all), [no_key("OTHER", AUD), no_key("ABC", &other("aud"))]);
    // Built-in providers, SAML, and Deny.
    assert_eq!(web_identity("accounts.google.com", &json!({"StringEquals": {"graph.facebook.com:app_id": "1"}})), dead);
    assert_eq!(web_identity("accounts.google.com", &json!({"StringEquals": {"accounts.google.com:aud": "1"}})), "");
    let saml = json!({"Federated": "arn:aws:iam::111122223333:saml-provider/x"});
    let of_saml = |key: &str| json!({"Action": "sts:AssumeRoleWithSAML", "Condition": {"StringEquals": {key: "x"}}});
    assert_eq!(trust(&saml, &of_saml("saml:aud")), "");
    assert_eq!(trust(&saml, &of_saml("accounts.google.com:aud")), dead);
    let deny = json!({"Effect": "Deny", "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {"StringEquals": {other("sub"): sub}}});
    assert_eq!(trust(&json!({"Federated": OIDC}), &deny), dead);
}

#[test]
fn any_identity_provider_is_a_wildcard_principal() {
    let any = json!({"Federated": "*"});
    for action in ["sts:AssumeRoleWithWebIdentity", "sts:AssumeRoleWithSAML"] {
        assert_eq!(trust(&any, &json!({"Action": action})), "trust-wildcard-principal");
    }
    let with = |condition: Value| json!({"Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition});
    assert_eq!(trust(&any, &with(json!({"StringEquals": {AUD: "sts.amazonaws.com"}}))), "trust-wildcard-principal");
    assert_eq!(trust(&any, &with(json!({"StringEquals": {SUB: "system:serviceaccount:prod:web"}}))), "");
    let two = json!({"StringEquals": {SUB: "system:serviceaccount:prod:web", "accounts.google.com:sub": "1"}});
    assert_eq!(trust(&any, &with(two)), "trust-never-matches");
    assert_eq!(trust(&any, &json!({"Effect": "Deny", "Action": "sts:AssumeRoleWithWebIdentity"})), "");
}

#[test]
fn accounts_that_only_conditions_name_are_foreign_access() {
    let when = |condition: Value| bucket(&json!({"Condition": condition}));
    let foreign = "resource-cross-account";
    for condition in [
        json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::444455556666:role/*"}}),
        json!({"ArnEquals": {"aws:PrincipalArn": ["arn:aws:iam::111122223333:role/x", "arn:aws:iam::444455556666:role/x"]}}),
        json!({"ArnLike": {"aws:SourceArn": "arn:aws:sns:eu-west-1:444455556666:topic"}}),
        json!({"StringEquals": {"aws:SourceAccount": "444455556666"}}),
        json!({"StringEquals": {"AWS:principalaccount": "444455556666"}}),
        json!({"StringEquals": {"s3:DataAccessPointAccount": "444455556666"}}),
    ] {
        assert_eq!(when(condition.clone()), foreign, "{condition}");
    }
    assert_eq!(when(json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/*"}})), "");
    assert_eq!(
        when(json!({"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"},
        "ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::444455556666:role/x"}})),
        ""
    );
    let service = |account: &str| {
        let source = json!({"ArnLike": {"aws:SourceArn": format!("arn:aws:cloudtrail:eu-west-1:{account}:trail/t")}});
        bucket(&json!({"Principal": {"Service": "cloudtrail.amazonaws.com"}, "Condition": source}))
    };
    assert_eq!((service("444455556666").as_str(), service("111122223333").as_str()), (foreign, ""));
    let everyone = |condition: Value| trust(&json!({"AWS": "*"}), &json!({"Condition": condition}));
    assert_eq!(everyone(json!({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::444455556666:role/x"}})), foreign);
    assert_eq!(
        everyone(json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::444455556666:role/*"}})),
        "trust-cross-account-root"
    );
    assert_eq!(everyone(json!({"StringEquals": {"aws:PrincipalAccount": "111122223333"}})), "");
}

#[test]
fn a_deny_with_an_incomplete_not_principal_is_found() {
    let deny = |principals: Value| {
        let statement = json!({"Effect": "Deny", "Action": "s3:PutBucketPolicy", "Resource": "arn:aws:s3:::b",
            "Principal": null, "NotPrincipal": principals});
        bucket(&statement)
    };
    let (role, account) = ("arn:aws:iam::111122223333:role/team/admin", "arn:aws:iam::111122223333:root");
    let session = "arn:aws:sts::111122223333:assumed-role/admin/s";
    let incomplete = "resource-deny-notprincipal";
    for principals in [
        json!({"AWS": role}),
        json!({"AWS": [role, account]}),
        json!({"AWS": [role, session]}),
        json!({"AWS": [session, account]}),
        json!({"AWS": [role, account, "arn:aws:sts::111122223333:assumed-role/other/s"]}),
        json!({"AWS": [role, session, "444455556666"]}),
        json!({"AWS": "arn:aws:iam::111122223333:user/jane"}),
        json!({"AWS": [role], "Service": "ec2.amazonaws.com"}),
    ] {
        assert_eq!(deny(principals.clone()), incomplete, "{principals}");
    }
    for principals in [
        json!({"AWS": [role, session, "111122223333"]}),
        json!({"AWS": account}),
        json!({"AWS": ["arn:aws:iam::111122223333:user/jane", account]}),
        json!({"Service": "ec2.amazonaws.com"}),
    ] {
        assert_eq!(deny(principals.clone()), "", "{principals}");
    }
    let endpoint = json!({"Effect": "Deny", "Action": "s3:*", "Resource": "*", "NotPrincipal": {"AWS": role}});
    assert_eq!(codes(PolicyKind::Endpoint, &endpoint), incomplete);
}

#[test]
fn a_session_beside_its_role_is_redundant() {
    let (role, session) = ("arn:aws:iam::111122223333:role/r", "arn:aws:sts::111122223333:assumed-role/r/s");
    assert_eq!(trust(&json!({"AWS": [role, session]}), &json!({})), "redundant");
    assert_eq!(trust(&json!({"AWS": [role, "arn:aws:sts::111122223333:assumed-role/q/s"]}), &json!({})), "");
}

#[test]
fn the_key_policy_of_cloudwatch_logs_names_its_source() {
    let with = |arn: &str| {
        let condition = json!({"ArnLike": {"kms:EncryptionContext:aws:logs:arn": arn}});
        codes(
            PolicyKind::Key,
            &json!([
                {"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "kms:*", "Resource": "*"},
                {"Effect": "Allow", "Principal": {"Service": "logs.eu-west-1.amazonaws.com"}, "Action": ["kms:Encrypt*", "kms:Decrypt*"],
                    "Resource": "*", "Condition": condition},
            ]),
        )
    };
    assert_eq!(with("arn:aws:logs:eu-west-1:111122223333:*"), "");
    assert_eq!(with("arn:aws:logs:eu-west-1:111122223333:log-group:g"), "");
    assert_eq!(with("arn:aws:logs:*:*:*"), "service-principal-no-source");
}

#[test]
fn any_federated_principal_makes_a_bucket_public() {
    assert_eq!(bucket(&json!({"Principal": {"Federated": "*"}})), "resource-public");
    assert_eq!(
        bucket(&json!({"Principal": {"Federated": "arn:aws:iam::*:saml-provider/x"}})),
        "resource-public syntax-error"
    );
    assert_eq!(bucket(&json!({"Principal": {"Federated": "arn:aws:iam::111122223333:saml-provider/x"}})), "");
    // All accounts share this provider.
    let shared = json!({"Federated": "cognito-identity.amazonaws.com"});
    let pool = json!({"StringEquals": {"cognito-identity.amazonaws.com:aud": "eu-west-1:12345678-abcd"}});
    assert_eq!(bucket(&json!({"Principal": shared})), "resource-public");
    assert_eq!(bucket(&json!({"Principal": shared, "Condition": pool})), "");
    let organization = json!({"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}});
    assert_eq!(bucket(&json!({"Principal": {"Federated": "*"}, "Condition": organization})), "");
}

#[test]
fn trust_policies_open_to_others_are_found() {
    let other = json!({"AWS": "arn:aws:iam::444455556666:root"});
    assert_eq!(trust(&json!({"AWS": "111122223333"}), &json!({})), "");
    assert_eq!(trust(&other, &json!({})), "trust-cross-account-root");
    let external = json!({"Condition": {"StringEquals": {"sts:ExternalId": "x"}}});
    assert_eq!(trust(&other, &external), "");
    assert_eq!(trust(&json!({"AWS": "*"}), &external), "trust-wildcard-principal");
    let any_id = json!({"Condition": {"StringLike": {"sts:ExternalId": "*"}}});
    assert_eq!(trust(&other, &any_id), "trust-cross-account-root");
    let without_mfa = json!({"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}});
    assert_eq!(trust(&other, &without_mfa), "condition-bad-mfa trust-cross-account-root");
    let with_mfa = json!({"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}});
    assert_eq!(trust(&other, &with_mfa), "");
    let organisation = json!({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}});
    assert_eq!(trust(&json!("*"), &organisation), "");
    assert_eq!(trust(&json!({"AWS": "AROAEXAMPLEID12345678"}), &json!({})), "principal-orphan-id");
    assert_eq!(trust(&json!({"Service": "lambda.amazonaws.com"}), &json!({})), "service-principal-no-source");
    let source = json!({"Condition": {"StringEquals": {"aws:SourceAccount": "111122223333"}}});
    assert_eq!(trust(&json!({"Service": "pods.eks.amazonaws.com"}), &source), "");
    assert_eq!(trust(&json!({"Federated": OIDC}), &json!({})), "trust-mismatched-action");
    let saml = json!({"Federated": "arn:aws:iam::111122223333:saml-provider/x"});
    assert_eq!(trust(&saml, &json!({"Action": "sts:AssumeRoleWithSAML"})), "");
    assert_eq!(trust(&json!("*"), &merged(&organisation, &json!({"Resource": "*"}))), "trust-forbidden-element");
    assert_eq!(
        trust(&json!("*"), &json!({"Principal": null, "NotPrincipal": {"AWS": "*"}})),
        "trust-forbidden-element"
    );
}

#[test]
fn bucket_policies_open_to_others_are_found() {
    assert_eq!(bucket(&json!({"Principal": {"AWS": "111122223333"}})), "");
    assert_eq!(bucket(&json!({})), "resource-public");
    assert_eq!(bucket(&json!({"Action": ["s3:GetObject", "s3:Put*"]})), "resource-public resource-public-write");
    assert_eq!(bucket(&json!({"Principal": {"AWS": "444455556666"}})), "resource-cross-account");
    assert_eq!(
        bucket(&json!({"Principal": null, "NotPrincipal": {"AWS": "444455556666"}})),
        "resource-allow-notprincipal resource-public syntax-error"
    );
    assert_eq!(
        bucket(&json!({"Principal": {"AWS": "111122223333"}, "Resource": "arn:aws:s3:::other/*"})),
        "resource-other-arn"
    );
    assert_eq!(
        codes(
            PolicyKind::Bucket,
            &json!({"Effect": "Allow", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::b/*", "Principal": {"AWS": "111122223333"}})
        ),
        "s3-no-tls-deny"
    );
    let deny = json!({"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::b"});
    assert_eq!(bucket(&deny), "resource-lockout");
    assert_eq!(bucket(&merged(&deny, &json!({"Resource": "arn:aws:s3:::b/*"}))), "");
}

/// Source: S3 User Guide, "The meaning of public".
#[test]
fn conditions_that_keep_a_bucket_from_being_public() {
    let when = |operator: &str, key: &str, value: &str| {
        !bucket(&json!({"Condition": {operator: {key: value}}})).contains("resource-public")
    };
    assert!(when("IpAddress", "aws:SourceIp", "203.0.113.0/24"));
    assert!(when("IpAddress", "aws:SourceIp", "12.0.0.0/8"));
    assert!(!when("IpAddress", "aws:SourceIp", "0.0.0.0/1"));
    assert!(!when("NotIpAddress", "aws:SourceIp", "203.0.113.0/24"));
    assert!(when("StringEquals", "aws:SourceVpce", "vpce-1"));
    assert!(!when("StringEqualsIfExists", "aws:SourceVpce", "vpce-1"));
    assert!(!when("StringLike", "aws:SourceVpc", "vpc-*"));
    assert!(!when("StringEquals", "aws:PrincipalOrgID", "${aws:PrincipalOrgID}"));
    assert!(!when("StringNotEquals", "aws:PrincipalOrgID", "o-a1b2c3d4e5"));
    assert!(when("StringLike", "aws:userid", "AROAEXAMPLE:me"));
    assert!(!when("StringLike", "aws:userid", "AROAEXAMPLE:*"));
    assert!(when("ArnLike", "s3:DataAccessPointArn", "arn:aws:s3:eu-west-1:111122223333:accesspoint/*"));
    assert!(when("ArnLike", "aws:PrincipalArn", "arn:aws:iam::111122223333:role/*"));
    assert!(!when("StringLike", "aws:Referer", "https://example.com/*"));
    assert!(!when("Bool", "aws:SecureTransport", "true"));
}

#[test]
fn key_policies() {
    let key = |statement: Value| codes(PolicyKind::Key, &json!([statement]));
    let allow = |principal: Value, action: &str| json!({"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"});
    assert_eq!(key(allow(json!({"AWS": "111122223333"}), "kms:*")), "");
    assert_eq!(key(allow(json!({"AWS": "111122223333"}), "kms:Decrypt")), "resource-lockout");
    assert_eq!(
        key(allow(json!({"AWS": "*"}), "kms:*")),
        "kms-wildcard-principal resource-public resource-public-write"
    );
}

#[test]
fn the_role_that_applies_must_not_lock_itself_out() {
    let mut subject = Subject::of(PolicyKind::Bucket);
    subject.bucket = Some("b");
    subject.applying = Some("arn:aws:iam::111122223333:role/deployer");
    let document = |exempt: &str| {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::b",
            "Condition": {"ArnNotEquals": {"aws:PrincipalArn": format!("arn:aws:iam::111122223333:role/{exempt}")}},
        }]})
        .to_string()
    };
    let locked = |exempt: &str| lint(&document(exempt), &subject).iter().any(|f| f.check == Check::ResourceLockout);
    assert!(locked("admin") && !locked("deployer"));
}

#[test]
fn broad_identity_policies_are_found() {
    assert_eq!(identity(&json!({"Action": "s3:GetObject"})), "");
    assert!(identity(&json!({"Action": "*", "Resource": "*"})).contains("identity-admin"));
    assert!(
        identity(&json!({"NotAction": "iam:*", "Resource": "*"})).contains("identity-admin identity-allow-not-element")
    );
    assert!(identity(&json!({"Action": "s3:*", "Resource": "*"})).contains("identity-service-wildcard"));
    assert_eq!(identity(&json!({"Action": "s3:*", "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]})), "");
    assert_eq!(
        identity(
            &json!({"Action": ["iam:PassRole", "lambda:CreateFunction", "lambda:InvokeFunction"], "Resource": "*"})
        ),
        "identity-passrole-wildcard identity-privilege-escalation"
    );
    let passed = json!({"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}});
    assert_eq!(identity(&json!({"Action": "iam:PassRole", "Resource": "*", "Condition": passed})), "");
    assert_eq!(
        identity(&json!({"Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/*"})),
        "identity-assume-role-wildcard identity-credentials-exposure"
    );
    assert_eq!(identity(&json!({"Action": "sts:AssumeRole", "Resource": "arn:aws:iam::444455556666:role/x"})), "");
    assert_eq!(
        identity(&json!({"Action": "secretsmanager:GetSecretValue", "Resource": "*"})),
        "identity-data-exfiltration"
    );
    assert_eq!(identity(&json!({"Action": "kms:PutKeyPolicy", "Resource": "*"})), "identity-permissions-management");
    assert_eq!(
        identity(&json!({"Action": "s3:PutObject", "NotResource": "arn:aws:s3:::b/*", "Resource": null})),
        "identity-allow-not-element"
    );
}

#[test]
fn an_allow_that_is_wholly_denied_gives_nothing() {
    let admin = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let with = |allow: &Value, deny: Value| {
        codes(PolicyKind::Identity, &json!([allow, merged(&json!({"Effect": "Deny", "Resource": "*"}), &deny)]))
    };
    assert_eq!(with(&admin, json!({"Action": "*"})), "");
    assert_eq!(with(&admin, json!({"NotAction": "s3:GetBucketLocation"})), "");
    let limited = json!({"Bool": {"aws:ViaAWSService": "false"}});
    assert_eq!(with(&merged(&admin, &json!({"Condition": limited})), json!({"Action": "*", "Condition": limited})), "");
    let by_exception = json!({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"});
    assert_eq!(with(&by_exception, json!({"Action": "*"})), "identity-allow-not-element");
    assert_eq!(with(&merged(&admin, &json!({"Action": "s3:*"})), json!({"Action": "s3:*"})), "");
    for (deny, admin_left) in [
        (json!({"Action": "iam:*"}), true),
        (json!({"Action": "*", "Resource": "arn:aws:s3:::*"}), true),
        (json!({"Action": "*", "Condition": limited}), true),
        (json!({"Action": "*", "Resource": null, "NotResource": "arn:aws:s3:::b"}), true),
        (json!({"Action": "*:*"}), false),
    ] {
        assert_eq!(with(&admin, deny.clone()).contains("identity-admin"), admin_left, "{deny}");
    }
    // A Deny in another document counts too.
    let document = |effect: &str| {
        json!({"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": "*", "Resource": "*"}}).to_string()
    };
    let (allow, deny) = (document("Allow"), document("Deny"));
    assert_eq!(lint_together(&[&allow, &deny], &Subject::of(PolicyKind::Identity)), []);
}

#[test]
fn tokens_without_more_rights_are_not_credentials() {
    for action in ["ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken", "sts:GetSessionToken"] {
        assert_eq!(identity(&json!({"Action": action, "Resource": "*"})), "", "{action}");
    }
    assert_eq!(
        identity(&json!({"Action": "sts:GetFederationToken", "Resource": "*"})),
        "identity-credentials-exposure"
    );
}

#[test]
fn tags_on_create_need_no_null_condition() {
    let of = |action: &str, condition: Value| {
        let statement = json!({"Effect": "Allow", "Action": action, "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": condition});
        findings(PolicyKind::Identity, &statement)
            .iter()
            .filter(|f| f.check == Check::ConditionForallvalues)
            .map(|f| f.severity.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let only = json!({"aws:TagKeys": ["team", "environment"]});
    let tag = json!({"ForAllValues:StringEquals": only, "StringEquals": {"aws:RequestTag/team": "a"}});
    assert_eq!(of("ec2:RunInstances", tag), "");
    let any_tag = json!({"ForAllValues:StringEquals": only, "StringLike": {"aws:RequestTag/team": "*"}});
    assert_eq!(of("ec2:RunInstances", any_tag), "");
    let created = json!({"ForAllValues:StringEquals": only, "StringEquals": {"ec2:CreateAction": "RunInstances"}});
    assert_eq!(of("ec2:CreateTags", created), "");
    let present = json!({"ForAllValues:StringEquals": only, "Null": {"aws:RequestTag/team": "false"}});
    assert_eq!(of("ec2:RunInstances", present), "");
    assert_eq!(of("ec2:RunInstances", json!({"ForAllValues:StringEquals": only})), "low");
    let optional = json!({"ForAllValues:StringEquals": only, "StringEqualsIfExists": {"aws:RequestTag/team": "a"}});
    assert_eq!(of("ec2:RunInstances", optional), "low");
    assert_eq!(
        of("ec2:RunInstances", json!({"ForAllValues:StringEquals": {"aws:PrincipalOrgPaths": "o-a/*"}})),
        "high"
    );
}

#[test]
fn conditions_that_requests_without_mfa_meet_are_found() {
    let with = |effect: &str, condition: Value| {
        let statement =
            json!({"Effect": effect, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", "Condition": condition});
        codes(PolicyKind::Identity, &statement)
    };
    let key = "aws:MultiFactorAuthPresent";
    for condition in [
        json!({"Null": {key: "false"}}),
        json!({"Null": {key: false}}),
        json!({"Null": {"aws:multifactorauthpresent": "true"}}),
        json!({"Null": {key: "false"}, "BoolIfExists": {key: "true"}}),
        json!({"Bool": {key: "false"}}),
        json!({"Bool": {key: ["true", "false"]}}),
        json!({"BoolIfExists": {key: "true"}}),
    ] {
        assert_eq!(with("Allow", condition.clone()), "condition-bad-mfa", "{condition}");
    }
    assert_eq!(with("Allow", json!({"Bool": {key: "true"}})), "");
    assert_eq!(with("Allow", json!({"Null": {key: "false"}, "Bool": {key: "true"}})), "");
    assert_eq!(with("Deny", json!({"Bool": {key: "false"}})), "condition-bad-mfa");
    assert_eq!(with("Deny", json!({"BoolIfExists": {key: "false"}})), "");
    assert_eq!(with("Deny", json!({"Null": {key: "true"}})), "");
}

#[test]
fn takeover_of_running_compute_is_privilege_escalation() {
    for actions in [
        json!(["bedrock-agentcore:StartCodeInterpreterSession", "bedrock-agentcore:InvokeCodeInterpreter"]),
        json!(["ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate"]),
        json!("ecs:ExecuteCommand"),
        json!("codebuild:StartBuild"),
        json!("codebuild:StartBuildBatch"),
        json!("apprunner:UpdateService"),
    ] {
        assert_eq!(
            identity(&json!({"Action": actions, "Resource": "*"})),
            "identity-privilege-escalation",
            "{actions}"
        );
    }
    let stacks = identity(&json!({"Action": ["iam:PassRole", "cloudformation:UpdateStackSet"], "Resource": "*"}));
    assert_eq!(stacks, "identity-passrole-wildcard identity-privilege-escalation");
}

#[test]
fn every_action_of_the_lists_exists() {
    let lists = super::identity::lists();
    for action in lists {
        let (prefix, name) = action.split_once(':').unwrap();
        assert!(ServiceEntry::of(prefix).and_then(|s| s.action(name)).is_some(), "{action}");
    }
}

#[test]
fn deny_in_another_document_prevents_escalation() {
    let document = |effect: &str, action: &str| {
        json!({"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": action, "Resource": "*"}}).to_string()
    };
    let (allow, deny) = (document("Allow", "iam:CreateAccessKey"), document("Deny", "iam:*"));
    let escalates = |texts: &[&str]| {
        lint_together(texts, &Subject::of(PolicyKind::Identity))
            .iter()
            .any(|f| f.check == Check::IdentityPrivilegeEscalation)
    };
    assert!(escalates(&[&allow]) && !escalates(&[&allow, &deny]));
}

#[test]
fn ineffective_conditions_are_found() {
    let when = |condition: Value| {
        identity(
            &json!({"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"], "Condition": condition}),
        )
    };
    assert_eq!(when(json!({"ForAllValues:StringEquals": {"aws:TagKeys": "a"}})), "condition-forallvalues");
    assert_eq!(when(json!({"ForAllValues:StringEquals": {"aws:TagKeys": "a"}, "Null": {"aws:TagKeys": "false"}})), "");
    assert_eq!(when(json!({"StringEquals": {"s3:prefix": "a*"}})), "condition-wildcard-without-like");
    assert_eq!(when(json!({"StringEquals": {"s3:prefix": "a${*}"}})), "");
    assert_eq!(when(json!({"IpAddress": {"aws:SourceIp": "192.168.0.0/16"}})), "condition-private-source-ip");
    assert_eq!(when(json!({"IpAddress": {"aws:VpcSourceIp": "192.168.0.0/16"}})), "");
    assert_eq!(when(json!({"NumericEquals": {"s3:max-keys": "ten"}})), "condition-type-mismatch");
    assert_eq!(when(json!({"StringEquals": {"aws:SecureTransport": "true"}})), "condition-type-mismatch");
    assert_eq!(when(json!({"StringLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/x"}})), "");
    assert_eq!(when(json!({"StringEquals": {"aws:NoSuchKey": "x"}})), "condition-unknown-key");
    assert_eq!(when(json!({"StringEquals": {"s3:LocationConstraint": "x"}})), "condition-unknown-key");
    assert_eq!(when(json!({"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}})), "condition-bad-mfa");
    assert_eq!(when(json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}})), "");
}

/// Keys that the data list by resource type, under a prefix of their own, or for no action at all.
#[test]
fn condition_keys_that_services_carry_are_known() {
    let unknown = |action: &str, key: &str| {
        let statement =
            json!({"Effect": "Deny", "Action": action, "Resource": "*", "Condition": {"StringLike": {key: "*"}}});
        codes(PolicyKind::Identity, &statement) == "condition-unknown-key"
    };
    for (action, key) in [
        ("s3:GetObject", "s3:DataAccessPointAccount"),
        ("s3:PutObject", "s3:DataAccessPointAccount"),
        ("s3:DeleteObjectVersion", "s3:DataAccessPointArn"),
        ("s3:ListBucket", "s3:AccessPointNetworkOrigin"),
        ("s3:ListBucketMultipartUploads", "s3:DataAccessPointAccount"),
        ("states:InvokeHTTPEndpoint", "states:HTTPEndpoint"),
        ("states:InvokeHTTPEndpoint", "states:HTTPMethod"),
        ("cognito-identity:GetId", "cognito-identity-unauth:IdentityPoolArn"),
        ("cognito-identity:GetCredentialsForIdentity", "cognito-identity-auth:AccountId"),
        ("aws-marketplace:StartChangeSet", "catalog:ChangeType"),
        ("iam:CreateServiceSpecificCredential", "iam:ResourceTag/Allowed"),
        ("iam:PassRole", "iam:ResourceTag/team"),
        ("kms:Decrypt", "kms:ResourceAliases"),
        ("ecs:RunTask", "ecs:ResourceTag/team"),
        ("dynamodb:GetItem", "dynamodb:FirstPartitionKeyValues"),
        ("xray:PutTraceSegments", "logs:LogGeneratingResourceArns"),
        ("elasticloadbalancing:AddTags", "elasticloadbalancing:ResourceTag/team"),
    ] {
        assert!(!unknown(action, key), "{action} {key}");
    }
    for (action, key) in [
        ("s3:GetObject", "s3:LocationConstraint"),
        ("s3:GetObject", "s3:DataAccessPointOwner"),
        ("states:StartExecution", "states:HTTPEndpoint"),
        ("kms:ListKeys", "kms:ResourceAliases"),
        ("cognito-identity:GetId", "cognito-identity-unauth:NoSuchKey"),
        ("s3:GetObject", "cognito-identity-unauth:IdentityPoolArn"),
        ("s3:GetObject", "cognito:sub"),
    ] {
        assert!(unknown(action, key), "{action} {key}");
    }
    let tag = |resource: &str| {
        identity(
            &json!({"Action": ["elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags"], "Resource": resource}),
        )
    };
    for resource in ["listener/net/*/*/*", "listener-rule/app/*/*/*", "loadbalancer/app/*/*", "targetgroup/*/*"] {
        assert_eq!(tag(&format!("arn:aws:elasticloadbalancing:*:*:{resource}")), "", "{resource}");
    }
}

#[test]
fn unknown_mismatched_and_redundant_names_are_found() {
    assert_eq!(identity(&json!({"Action": "s3:GetObjekt"})), "action-unknown");
    assert_eq!(identity(&json!({"Action": "nosuchservice:Get"})), "action-unknown");
    assert_eq!(identity(&json!({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::b"})), "resource-mismatch");
    assert_eq!(identity(&json!({"Action": "s3:ListBucket"})), "resource-mismatch");
    assert_eq!(identity(&json!({"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b*"})), "");
    assert_eq!(identity(&json!({"Action": "sqs:SendMessage"})), "resource-mismatch");
    assert_eq!(identity(&json!({"Action": ["s3:Get*", "s3:GetObject"]})), "redundant");
    assert_eq!(
        identity(&json!({"Action": "s3:GetObject", "Resource": ["arn:aws:s3:::b/*", "arn:aws:s3:::b/x"]})),
        "redundant"
    );
    assert_eq!(identity(&json!({"Action": ["s3:GetObject", "S3:getobject"]})), "redundant");
    assert_eq!(identity(&json!({"Action": "GetObject"})), "syntax-error");
}

#[test]
fn document_wide_problems_are_found() {
    let subject = |kind| Subject::of(kind);
    let old = json!({"Version": "2008-10-17", "Statement": {"Sid": "x", "Effect": "Allow", "Principal": {"AWS": "111122223333"},
        "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/${aws:username}/*"}})
    .to_string();
    let found = lint(&old, &subject(PolicyKind::Resource));
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["error variable-without-version: statement 1 `x`, Resource: this policy version treats variables as plain \
             text: \
          `arn:aws:s3:::b/${aws:username}/*`"]
    );
    assert_eq!(lint("{", &subject(PolicyKind::Identity))[0].check, Check::SyntaxError);
    let long = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:GetObject",
        "Resource": format!("arn:aws:s3:::b/{}", "x".repeat(2_000))}})
    .to_string();
    let mut weka = subject(PolicyKind::Identity);
    weka.place = Some(PolicyPlace::WekaPolicy);
    assert!(lint(&long, &weka).iter().any(|f| f.check == Check::SizeQuota));
    assert!(lint(&long, &subject(PolicyKind::Identity)).is_empty());
}

#[test]
fn findings_know_their_line() {
    let text = "{\"Version\": \"2012-10-17\",\n \"Statement\": [\n  {\"Effect\": \"Allow\",\n   \"Action\": \"s3:GetObject\",\n   \"Resource\": \"arn:aws:s3:::b/*\",\n   \"Condition\": {\"StringEquals\":\n     {\"aws:PrincipalTag/a/b\": \"x*\"}}}]}";
    let found = lint(text, &Subject::of(PolicyKind::Identity));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].check, found[0].place), (Check::ConditionWildcardWithoutLike, Some((7, 7))));
}
