//! Answers that rules of AWS beyond the policy language decide, and the conditions of answers.

use super::super::{AccessTarget, AccessVerdict, Answer, Break, Denial, Fix, World};
use super::unread::{A, B, Objects, POD_IDENTITY, allow, role_arn};
use super::*;

fn ask(world: &World, who: &str, action: &str, place: &str) -> Answer {
    world.can(&world.find(who).unwrap(), action, &AccessTarget::parse(place).unwrap()).unwrap()
}

/// The verdict, and the names of the rules that took part.
fn said(answer: &Answer) -> String {
    let rules: String = answer.rules.iter().map(|rule| format!(" {}", rule.rule)).collect();
    format!("{:?}{rules}", answer.verdict)
}

/// Role `r` of an account with all permissions, and bucket `data` of account A.
fn reader(account: &str) -> Objects {
    Objects::default().role(account, "r", Some(POD_IDENTITY)).inline(account, "r", &allow("*", "*")).bucket(A)
}

#[test]
fn condition_of_a_deny_is_negated_and_names_its_statement() {
    let deny = r#"{"Sid":"Vpce","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-x"}}}"#;
    let answer = ask(&reader(A).bucket_policy(A, deny).world(), "r", "s3:GetObject", "s3://data/x");
    assert_eq!(answer.verdict, AccessVerdict::Depends);
    let json = serde_json::to_value(&answer.conditions).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1, "{json}");
    assert_eq!(json[0]["key"], "aws:SourceVpce");
    assert_eq!(json[0]["negated"], true);
    assert_eq!(json[0]["statement"]["sid"], "Vpce");
    assert_eq!(json[0]["statement"]["policy"]["kind"], "bucket");
    // The condition of an Allow is not negated, and needs no statement: the chain has it.
    let allows = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:role/r"},"Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:SourceVpce":"vpce-x"}}}"#;
    let answer = ask(&reader(B).bucket_policy(A, allows).world(), "r", "s3:GetObject", "s3://data/x");
    assert_eq!(answer.verdict, AccessVerdict::Depends);
    let json = serde_json::to_value(&answer.conditions).unwrap();
    assert_eq!((json[0].get("negated"), json[0].get("statement")), (None, None), "{json}");
}

#[test]
fn bucket_policy_is_out_of_reach_of_other_accounts() {
    let open =
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:role/r"},"Action":"s3:*","Resource":"*"}"#;
    let world = reader(B).bucket_policy(A, open).world();
    let answer = ask(&world, "r", "s3:PutBucketPolicy", "s3://data");
    assert_eq!(said(&answer), "Denied");
    let broken = answer.broken.unwrap();
    assert!(
        matches!(broken.why, Break::Denied { denial: Denial::Rule { rule }, .. } if rule.rule == "bucket-policy-across-accounts")
    );
    assert_eq!(broken.fix, Fix::UseIdentity { account: Some(A.to_owned()) });
    assert_eq!(said(&ask(&world, "r", "s3:GetObject", "s3://data/x")), "Allowed");
}

#[test]
fn root_user_reads_the_policy_of_its_bucket() {
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}"#;
    let world = reader(A).bucket_policy(A, deny).world();
    let root = "arn:aws:iam::111111111111:root";
    assert_eq!(said(&ask(&world, root, "s3:GetBucketPolicy", "s3://data")), "Allowed bucket-policy-of-root");
    assert_eq!(said(&ask(&world, root, "s3:GetObject", "s3://data/x")), "Denied");
    assert_eq!(said(&ask(&world, "r", "s3:GetBucketPolicy", "s3://data")), "Denied");
}

#[test]
fn calls_without_permission_are_allowed_whatever_was_not_read() {
    let world = Objects::default().role(A, "r", Some(POD_IDENTITY)).attached(A, "r").world();
    let own = role_arn(A, "r");
    assert_eq!(said(&ask(&world, "r", "sts:GetCallerIdentity", &own)), "Allowed no-permission");
    assert_eq!(said(&ask(&world, "r", "sts:GetFederationToken", &own)), "Unknown");
}

#[test]
fn assume_root_needs_no_policy_of_the_member_account() {
    let member = "arn:aws:iam::222222222222:root";
    assert_eq!(said(&ask(&reader(A).world(), "r", "sts:AssumeRoot", member)), "Allowed assume-root");
    let none = Objects::default().role(A, "r", Some(POD_IDENTITY)).world();
    assert_eq!(said(&ask(&none, "r", "sts:AssumeRoot", member)), "Denied assume-root");
}

#[test]
fn alias_names_its_key() {
    let spec = spec("keys:\n  k: { account: a, alias: k, managed: false }\n");
    let world = reader(A).world_of(&spec, &Facts::placeholders(&spec));
    let of = |place: &str, action: &str| ask(&world, "r", action, place);
    let alias = "arn:aws:kms:us-west-2:111111111111:alias/k";
    let by_alias = of(alias, "kms:Decrypt");
    assert_eq!(said(&by_alias), "Unknown");
    assert_eq!(serde_json::to_value(&by_alias.unread).unwrap()[0]["kind"], "key_policy");
    let other = of("arn:aws:kms:us-west-2:111111111111:alias/other", "kms:Decrypt");
    assert_eq!(said(&other), "Unknown key-behind-alias");
}
