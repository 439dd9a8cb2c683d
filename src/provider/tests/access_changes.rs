//! Tests of access changes with real kinds.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::access::{
    self, AccessChange, AccessTarget, AccessVerdict, DataPlace, Direction, Instance, PlaceKind, World, diff,
};
use crate::address::{AccountId, Address, Region, Scope};
use crate::document::Document;
use crate::iam::{Pattern, Policy};
use crate::provider::kinds;
use crate::report::words;
use crate::spec::{Facts, Identity, ROLE_ANNOTATION, SourceFile, Spec, load};

const HEAD: &str = "version: 1
project: p
accounts:
  platform: { id: \"111111111111\", region: us-west-2 }
  models: { id: \"222222222222\", region: us-west-2 }
clusters:
  prod: { account: platform, name: prod-eks, identity: irsa }
  train: { account: platform, name: train-eks, identity: pod_identity }
";

fn spec(text: &str) -> Spec {
    let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: format!("{HEAD}{text}").into() }]);
    let errors: Vec<_> = problems.iter().filter(|p| p.severity == crate::diagnostic::Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    spec.unwrap()
}

/// Bodies by address, as kinds would create them.
#[derive(Clone, Default)]
struct Made(BTreeMap<Address, (Scope, String, Document)>);

impl Made {
    fn put(&mut self, address: &str, account: &str, physical_id: &str, body: Json) {
        let scope = match account {
            "" => Scope::cluster("prod"),
            id => Scope::account("x", AccountId(id.into()), Region("us-west-2".into())),
        };
        self.0.insert(address.parse().unwrap(), (scope, physical_id.to_owned(), Document::from(body)));
    }

    fn world(&self, spec: &Spec) -> World {
        let kinds = kinds();
        let facets = self.0.iter().map(|(address, (scope, physical_id, body))| {
            (address, kinds.facet(address.kind(), Instance { scope, physical_id, body }))
        });
        World::new(spec, &Facts::placeholders(spec), facets)
    }
}

fn made(spec: &Spec) -> Made {
    let (facts, chains) = (Facts::placeholders(spec), access::lower(spec));
    let roles = chains.roles();
    let mut made = Made::default();
    for (key, role) in roles.iter().filter(|(_, r)| r.managed) {
        let account = spec.account_id(&role.account).0;
        let trust = access::role_trust(spec, &facts, &chains, key);
        let body = json!({ "name": role.name, "path": role.path, "trust": trust });
        made.put(&format!("aws.iam.role.{key}"), &account, &role.name, body);
        let statements = access::identity_statements(spec, &facts, &chains, key);
        if !statements.is_empty() {
            let document = Policy::new(crate::iam::Version::V2012, statements);
            let body = json!({ "role": role.name, "name": "access", "document": document });
            made.put(&format!("aws.iam.role_policy.{key}/access"), &account, "", body);
        }
        for (name, raw) in spec.roles.get(key).into_iter().flat_map(|r| &r.inline) {
            let body = json!({ "role": role.name, "name": name, "document": raw.parse().unwrap() });
            made.put(&format!("aws.iam.role_policy.{key}/{name}"), &account, "", body);
        }
        for arn in spec.roles.get(key).into_iter().flat_map(|r| &r.policies) {
            let address = format!("aws.iam.role_policy_attachment.{key}/{}", arn.rsplit('/').next().unwrap());
            made.put(&address, &account, "", json!({ "role": role.name, "policy_arn": arn }));
        }
        let host = facts.issuer_host("prod").unwrap();
        made.put(&format!("aws.iam.oidc_provider.{account}"), &account, "", json!({ "url": host }));
    }
    for (key, bucket) in spec.buckets.iter().filter(|(_, b)| b.managed) {
        let account = spec.account_id(&bucket.account).0;
        let blocked = bucket.public_access_block.unwrap_or(true);
        let body = json!({ "name": bucket.name, "public_access_block": blocked });
        made.put(&format!("aws.s3.bucket.{key}"), &account, &bucket.name, body);
        let own = Policy::new(crate::iam::Version::V2012, access::bucket_statements(spec, &chains, key));
        made.put(&format!("aws.s3.bucket_policy.{key}"), &account, &bucket.name, json!({ "statements": own }));
    }
    for (name, key) in &spec.keys {
        let own = Policy::new(crate::iam::Version::V2012, access::key_statements(spec, &chains, name));
        let account = spec.account_id(&key.account).0;
        made.put(&format!("aws.kms.key_policy.{name}"), &account, &key.alias_name(), json!({ "statements": own }));
    }
    for (key, account) in &spec.service_accounts {
        let Some(role) = roles.get(access::role_key(spec, key)) else { continue };
        match account.identity(spec) {
            Identity::Irsa => {
                let body = json!({
                    "namespace": account.namespace, "name": account.name,
                    "annotations": { ROLE_ANNOTATION: role.arn },
                });
                made.put(&format!("kubernetes.service_account.{key}"), "", "", body);
            }
            Identity::PodIdentity => {
                let target = chains.all().iter().find(|c| c.service_account == *key).and_then(|c| c.target.as_ref());
                let body = json!({
                    "cluster": "train-eks", "namespace": account.namespace, "service_account": account.name,
                    "role_arn": role.arn, "target_role_arn": target.map(|t| roles[t].arn.clone()).unwrap_or_default(),
                    "disable_session_tags": account.disable_session_tags,
                });
                made.put(&format!("aws.eks.pod_identity_association.{key}"), "111111111111", "", body);
            }
        }
    }
    made
}

/// Formats the rows without the chain.
fn reported(changes: &[AccessChange]) -> String {
    let mut text = String::new();
    for c in changes {
        let mut more = String::new();
        if !c.except.is_empty() {
            let except: Vec<String> = c.except.iter().map(words::exception).collect();
            write!(more, " except {}", except.join(", ")).unwrap();
        }
        if !c.conditions.is_empty() {
            let conditions: Vec<String> = c.conditions.iter().map(words::requirement).collect();
            write!(more, " if {}", conditions.join(" and ")).unwrap();
        }
        if !c.crosses.is_empty() {
            write!(more, " crosses {}", c.crosses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                .unwrap();
        }
        let access: Vec<String> = c.access.iter().map(ToString::to_string).collect();
        let (who, place) = (words::grantee(&c.who), words::place(&c.place));
        writeln!(text, "{who} {} {} [{}] on {place}{more}", c.change, access.join(" "), c.actions.join(" ")).unwrap();
    }
    text
}

fn changed(before: &str, after: &str) -> String {
    let (before, after) = (spec(before), spec(after));
    // Names come from the later spec, as in a plan.
    reported(&diff(&made(&before).world(&after), &made(&after).world(&after)))
}

const DATA: &str = "buckets:
  weights: { account: models, name: acme-weights, encryption: { kms_key: weights } }
  logs: { account: platform, name: acme-logs }
keys:
  weights: { account: models, alias: weights }
service_accounts:
  loader: { cluster: prod, namespace: kserve, name: loader-sa }
  trainer: { cluster: train, namespace: train, name: trainer-sa }
";

fn granted(grants: &str) -> String {
    format!("{DATA}{grants}")
}

#[test]
fn first_grant_is_a_gain_of_its_access() {
    let grants = granted("grants:\n  - { to: loader, bucket: weights, prefix: llama/, access: read }\n");
    assert_eq!(
        changed(DATA, &grants),
        "service account kserve/loader-sa in cluster prod gain read [s3:GetBucketLocation] on acme-weights crosses account
service account kserve/loader-sa in cluster prod gain list [s3:ListBucket] on acme-weights/llama crosses account
service account kserve/loader-sa in cluster prod gain list [s3:ListBucket] on acme-weights/llama/* crosses account
service account kserve/loader-sa in cluster prod gain read [s3:GetObject] on acme-weights/llama/* crosses account
service account kserve/loader-sa in cluster prod gain read [kms:Decrypt] on key alias/weights crosses account
"
    );
}

#[test]
fn redundant_grant_causes_no_access_change() {
    let one = granted("grants:\n  - { to: loader, bucket: weights, prefix: a/, access: read }\n");
    let two = granted(
        "grants:\n  - { to: loader, bucket: weights, prefix: a/, access: read }\n  - { to: loader, bucket: weights, prefix: a/b/, access: read }\n",
    );
    assert_eq!(changed(&one, &two), "");
}

#[test]
fn narrower_prefix_loses_all_access_outside_it() {
    let wide = granted("grants:\n  - { to: trainer, bucket: logs, prefix: \"\", access: read }\n");
    let narrow = granted("grants:\n  - { to: trainer, bucket: logs, prefix: a/, access: read }\n");
    assert_eq!(
        changed(&wide, &narrow),
        "service account train/trainer-sa in cluster train loss list [s3:ListBucket] on acme-logs/* except acme-logs/a, acme-logs/a/*
service account train/trainer-sa in cluster train loss read [s3:GetObject] on acme-logs/* except acme-logs/a/*
"
    );
    assert_eq!(
        changed(&narrow, &wide),
        "service account train/trainer-sa in cluster train gain list [s3:ListBucket] on acme-logs/* except acme-logs/a, acme-logs/a/*
service account train/trainer-sa in cluster train gain read [s3:GetObject] on acme-logs/* except acme-logs/a/*
"
    );
}

#[test]
fn another_role_with_the_same_access_changes_nothing() {
    let one = granted("grants:\n  - { to: trainer, bucket: logs, prefix: a/, access: read }\n");
    let two = one.replace("name: trainer-sa }", "name: trainer-sa, role: own }")
        + "roles:\n  own: { account: platform, name: another }\n";
    assert_eq!(changed(&one, &two), "");
}

#[test]
fn chain_through_a_target_role_is_shown_from_the_pods() {
    let direct = granted("grants:\n  - { to: trainer, bucket: weights, prefix: a/, access: list }\n");
    let chained = direct.replace("access: list", "access: list, mode: assume_role");
    assert_eq!(changed(&direct, &chained), "");
    let rows = {
        let (none, some) = (spec(DATA), spec(&chained));
        diff(&made(&none).world(&some), &made(&some).world(&some))
    };
    let step = |step| match words::step(step) {
        (what, Some(statement)) => format!("{what} ({statement})"),
        (what, None) => what,
    };
    let via: Vec<String> = rows[0].via.iter().map(step).collect();
    assert_eq!(
        via,
        [
            "EKS Pod Identity associates service account train/trainer-sa with role arn:aws:iam::111111111111:role/p-trainer",
            "role p-trainer trusts EKS Pod Identity (statement 1 of its trust policy)",
            "EKS Pod Identity assumes target role p-trainer-models with it (statement 1 of its trust policy)",
            "statement `Locate` of inline policy access",
        ]
    );
}

#[test]
fn widened_trust_shows_all_access_that_it_opens() {
    let closed = granted(
        "roles:\n  own: { account: platform, name: own, trust: [ { service: ec2.amazonaws.com } ], inline: { x: { Version: \"2012-10-17\", Statement: [ { Effect: Allow, Action: \"s3:GetObject\", Resource: \"arn:aws:s3:::acme-logs/a/*\" } ] } } }\n",
    );
    let open = closed.replace(
        "[ { service: ec2.amazonaws.com } ]",
        "[ { service: ec2.amazonaws.com }, { account: \"999999999999\" } ]",
    );
    assert_eq!(
        changed(&closed, &open),
        "account 999999999999 (not in the spec) gain read [s3:GetObject] on acme-logs/a/* crosses account
account 999999999999 (not in the spec) gain assume [sts:AssumeRole] on role own in account platform (111111111111) crosses account
"
    );
}

#[test]
fn unread_policy_does_not_hide_a_gained_or_lost_chain() {
    let without = granted(
        "roles:
  first: { account: platform, name: first, trust: [ { service: ec2.amazonaws.com } ], policies: [ \"arn:aws:iam::aws:policy/ReadOnlyAccess\" ] }
  second: { account: models, name: second, trust: [ { role: first } ], inline: { x: { Version: \"2012-10-17\", Statement: [ { Effect: Allow, Action: \"s3:GetObject\", Resource: \"arn:aws:s3:::acme-weights/a/*\" } ] } } }
",
    );
    let with = without.replace(
        "policies: [ \"arn:aws:iam::aws:policy/ReadOnlyAccess\" ]",
        "policies: [ \"arn:aws:iam::aws:policy/ReadOnlyAccess\" ], inline: { x: { Version: \"2012-10-17\", Statement: [ { Effect: Allow, Action: \"sts:AssumeRole\", Resource: \"arn:aws:iam::222222222222:role/second\" } ] } }",
    );
    let rows = |change: &str| {
        format!(
            "role first in account platform (111111111111) {change} read [s3:GetObject] on acme-weights/a/* crosses account
role first in account platform (111111111111) {change} assume [sts:AssumeRole] on role second in account models (222222222222) crosses account
service ec2.amazonaws.com {change} read [s3:GetObject] on acme-weights/a/*
service ec2.amazonaws.com {change} assume [sts:AssumeRole] on role second in account models (222222222222)
"
        )
    };
    assert_eq!(changed(&without, &with), rows("gain"));
    assert_eq!(changed(&with, &without), rows("loss"));
}

#[test]
fn contents_of_an_unread_policy_are_an_unknown_change() {
    let one = granted("roles:\n  own: { account: platform, name: own, trust: [ { service: ec2.amazonaws.com } ] }\n");
    let two = one.replace("name: own,", "name: own, policies: [ \"arn:aws:iam::aws:policy/AmazonS3FullAccess\" ],");
    assert_eq!(
        changed(&one, &two),
        "role own in account platform (111111111111) gain unknown [] on what policy arn:aws:iam::aws:policy/AmazonS3FullAccess allows; its contents were not read
service ec2.amazonaws.com gain unknown [] on what policy arn:aws:iam::aws:policy/AmazonS3FullAccess allows; its contents were not read
"
    );
}

#[test]
fn public_bucket_is_shown_as_public_unless_it_is_blocked() {
    let spec = spec(DATA);
    let before = made(&spec);
    let open = |blocked: bool| {
        let mut after = before.clone();
        let body = json!({ "name": "acme-logs", "public_access_block": blocked });
        after.put("aws.s3.bucket.logs", "111111111111", "acme-logs", body);
        let statement = json!({ "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme-logs/*" });
        let foreign = json!({ "Version": "2012-10-17", "Statement": [statement] });
        after.put("aws.s3.bucket_policy.logs", "111111111111", "acme-logs", json!({ "foreign": foreign }));
        reported(&diff(&before.world(&spec), &after.world(&spec)))
    };
    assert_eq!(open(false), "anyone gain read [s3:GetObject] on acme-logs/* crosses public\n");
    assert_eq!(open(true), "");
}

#[test]
fn changes_to_other_services_are_shown_as_patterns() {
    let one = granted("roles:\n  own: { account: platform, name: own, trust: [ { account: platform } ] }\n");
    let two = one.replace("name: own,", "name: own, inline: { x: { Version: \"2012-10-17\", Statement: [ { Effect: Allow, Action: [ \"dynamodb:getitem\", \"iam:PassRole\", \"s3:GetObject\" ], Resource: \"*\" } ] } },");
    assert_eq!(
        changed(&one, &two),
        "role own in account platform (111111111111) gain read [s3:GetObject] on acme-logs/*
role own in account platform (111111111111) gain read [dynamodb:GetItem s3:GetObject] on *
role own in account platform (111111111111) gain write [iam:PassRole] on *
account platform (111111111111) gain read [dynamodb:GetItem s3:GetObject] on *
account platform (111111111111) gain write [iam:PassRole] on *
"
    );
}

#[test]
fn conditions_stay_in_the_answer() {
    let one = granted("roles:\n  own: { account: platform, name: own, trust: [ { service: ec2.amazonaws.com } ] }\n");
    let two = one.replace("name: own,", "name: own, inline: { x: { Version: \"2012-10-17\", Statement: [ { Effect: Allow, Action: \"s3:GetObject\", Resource: \"arn:aws:s3:::acme-logs/*\", Condition: { IpAddress: { \"aws:SourceIp\": 203.0.113.0/24 } } }, { Effect: Deny, Action: \"s3:*\", Resource: \"arn:aws:s3:::acme-logs/secret/*\" } ] } },");
    assert_eq!(
        changed(&one, &two).lines().next().unwrap(),
        "role own in account platform (111111111111) gain read [s3:GetObject] on acme-logs/* except acme-logs/secret/* if aws:SourceIp IpAddress `203.0.113.0/24`"
    );
}

/// Whether the rows of one direction cover a request on the bucket.
fn covered(changes: &[AccessChange], direction: Direction, action: &str, key: Option<&str>) -> bool {
    let is_list = action == "s3:ListBucket";
    let pattern = |place: &DataPlace| match &place.on {
        PlaceKind::Objects { pattern, .. } | PlaceKind::Listing { pattern: Some(pattern), .. } => Some(pattern.clone()),
        _ => None,
    };
    let matches = |place: &DataPlace| match (pattern(place), key) {
        (Some(pattern), Some(key)) => Pattern::new(&pattern).matches(key),
        // A list without a prefix covers everything.
        (Some(pattern), None) => is_list && pattern == "*",
        (None, None) => true,
        (None, Some(_)) => false,
    };
    changes.iter().filter(|c| c.change == direction && c.actions.iter().any(|a| a == action)).any(|c| {
        assert_eq!(c.conditions, []);
        matches(&c.place)
            && !c.except.iter().flat_map(|exception| &exception.places).any(|place| match (pattern(place), key) {
                (Some(pattern), Some(key)) => Pattern::new(&pattern).matches(key),
                (None, None) => true,
                _ => false,
            })
    })
}

/// Evaluates every request in both worlds, and compares the answers with the rows.
fn check_rows(spec: &Spec, before: &World, after: &World) {
    let changes = diff(before, after);
    let who = after.find("trainer").unwrap();
    let is_in = |place: &DataPlace| words::place(place).starts_with("acme-logs");
    let rows: Vec<AccessChange> =
        changes.into_iter().filter(|c| c.who == after.grantee(&who) && is_in(&c.place)).collect();
    let keys = ["a", "a/", "a/x", "a/b", "a/b/", "a/b/c", "a/bc", "b", "b/", "b/x", "x/a/", "c*d", "c-d"];
    let bucket = |key: &str| AccessTarget::Data { bucket: "acme-logs".into(), key: key.into() };
    let mut asked: Vec<(&str, Option<&str>)> = Vec::new();
    for action in ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectTagging", "s3:ListBucket"] {
        asked.extend(keys.iter().map(|key| (action, Some(*key))));
    }
    asked.extend([("s3:ListBucket", None), ("s3:GetBucketLocation", None), ("s3:PutBucketPolicy", None)]);
    for (action, key) in asked {
        let allowed = |world: &World| {
            world.can(&who, action, &bucket(key.unwrap_or_default())).unwrap().verdict == AccessVerdict::Allowed
        };
        let (old, new) = (allowed(before), allowed(after));
        for (direction, moved) in [(Direction::Gain, !old && new), (Direction::Loss, old && !new)] {
            assert_eq!(
                covered(&rows, direction, action, key),
                moved,
                "{direction} {action} {key:?}: {old} -> {new}\n{}\n{:#}",
                reported(&rows),
                serde_json::to_string(&spec.project).unwrap(),
            );
        }
    }
}

mod at_random {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    fn statement() -> impl Strategy<Value = Json> {
        let actions = subsequence(
            vec![
                "s3:GetObject",
                "s3:Get*",
                "s3:*",
                "s3:PutObject",
                "s3:ListBucket",
                "s3:*Instance",
                "*",
                "s3:GetBucketLocation",
            ],
            1..=2,
        );
        let resources = subsequence(
            vec![
                "arn:aws:s3:::acme-logs",
                "arn:aws:s3:::acme-logs/*",
                "arn:aws:s3:::acme-logs/a/*",
                "arn:aws:s3:::acme-logs/a/b*",
                "arn:aws:s3:::acme-logs/?/*",
                "*",
                "arn:aws:s3:::acme-*/b/*",
                "arn:aws:s3:::acme-logs/c${*}d",
                "arn:aws:s3:::*/a/*",
            ],
            1..=3,
        );
        let prefixes = subsequence(vec!["a/*", "a", "a/", "a/b/*", "*", "b/*", "?/"], 1..=3);
        let condition = prop_oneof![
            5 => Just(None),
            3 => (select(vec!["StringLike", "StringNotLike", "StringLikeIfExists"]), prefixes)
                .prop_map(|(operator, prefixes)| Some(json!({ operator: { "s3:prefix": prefixes } }))),
            1 => select(vec!["true", "false"]).prop_map(|v| Some(json!({ "Null": { "s3:prefix": v } }))),
        ];
        (select(vec!["Allow", "Allow", "Allow", "Deny"]), any::<[bool; 2]>(), actions, resources, condition).prop_map(
            |(effect, [rare, inverted], actions, resources, condition)| {
                let inverted = rare && inverted;
                let mut statement = json!({ "Effect": effect, "Action": actions });
                statement[if inverted { "NotResource" } else { "Resource" }] = json!(resources);
                if let Some(condition) = condition {
                    statement["Condition"] = condition;
                }
                statement
            },
        )
    }

    fn policy() -> impl Strategy<Value = Json> {
        proptest::collection::vec(statement(), 1..4)
            .prop_map(|statements| json!({ "Version": "2012-10-17", "Statement": statements }))
    }

    /// Builds a world with an identity policy on the trainer's role, and a bucket policy for that role.
    fn world(spec: &Spec, identity: &Json, bucket: Option<&Json>) -> World {
        let mut made = made(spec);
        let document = serde_json::from_value::<Policy>(identity.clone()).unwrap();
        let body = json!({ "role": "p-trainer", "name": "x", "document": document });
        made.put("aws.iam.role_policy.trainer/x", "111111111111", "", body);
        if let Some(bucket) = bucket {
            let mut bucket = bucket.clone();
            for statement in bucket["Statement"].as_array_mut().unwrap() {
                statement["Principal"] = json!({ "AWS": "arn:aws:iam::111111111111:role/p-trainer" });
            }
            let body = json!({ "foreign": bucket });
            made.put("aws.s3.bucket_policy.logs", "111111111111", "acme-logs", body);
        }
        made.world(spec)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn rows_equal_the_gains_and_losses_of_single_requests(
            before in (policy(), proptest::option::of(policy())),
            after in (policy(), proptest::option::of(policy())),
            foreign in any::<bool>(),
        ) {
            let owner = if foreign { "models" } else { "platform" };
            let text = granted("grants:\n  - { to: trainer, bucket: weights, prefix: a/, access: list }\n");
            let spec = spec(&text.replace("logs: { account: platform", &format!("logs: {{ account: {owner}")));
            let (before, after) = (world(&spec, &before.0, before.1.as_ref()), world(&spec, &after.0, after.1.as_ref()));
            check_rows(&spec, &before, &after);
        }
    }

    #[test]
    fn prefix_lost_inside_a_kept_prefix_has_its_own_row() {
        let spec = spec(&granted("grants:\n  - { to: trainer, bucket: weights, prefix: a/, access: list }\n"));
        let list = |effect: &str, condition: Option<&str>| {
            let mut statement =
                json!({ "Effect": effect, "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::acme-logs" });
            if let Some(prefix) = condition {
                statement["Condition"] = json!({ "StringLike": { "s3:prefix": prefix } });
            }
            statement
        };
        let policy = |statements: &[Json]| json!({ "Version": "2012-10-17", "Statement": statements });
        let before = world(&spec, &policy(&[list("Allow", None)]), None);
        let after = world(&spec, &policy(&[list("Allow", Some("?/")), list("Deny", Some("b/*"))]), None);
        check_rows(&spec, &before, &after);
        let rows = reported(&diff(&before, &after));
        assert!(rows.lines().any(|row| row.ends_with("loss list [s3:ListBucket] on acme-logs/b/")), "{rows}");
    }

    #[test]
    fn worlds_that_are_alike_have_no_difference() {
        let spec = spec(&granted("grants:\n  - { to: trainer, bucket: weights, prefix: a/, access: list }\n"));
        let policy = |order: [&str; 2]| {
            let statements = order
                .map(|action| json!({ "Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::acme-logs/*" }));
            json!({ "Version": "2012-10-17", "Statement": statements })
        };
        let (one, two) = (policy(["s3:GetObject", "s3:PutObject"]), policy(["s3:PutObject", "s3:GetObject"]));
        assert_eq!(reported(&diff(&world(&spec, &one, None), &world(&spec, &two, None))), "");
    }
}
