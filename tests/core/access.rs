//! What the program reports about the access that specs give, run as users run it, offline.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::schema::follows;

/// Every example, as the files of its spec.
const EXAMPLES: [&[&str]; 6] = [
    &["kserve-cross-account/base.yaml", "kserve-cross-account/dev.yaml"],
    &["kserve-cross-account/base.yaml", "kserve-cross-account/staging.yaml"],
    &["kserve-cross-account/base.yaml", "kserve-cross-account/prod.yaml"],
    &["many-teams"],
    &["skypilot-irsa/bailiwick.yaml"],
    &["skypilot-pod-identity/bailiwick.yaml"],
];

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn run(files: &[PathBuf], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
    command.args(["--color", "never"]);
    for file in files {
        command.arg("-f").arg(file);
    }
    command.args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn written(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn examples_give_only_info_findings() {
    for files in EXAMPLES {
        let files: Vec<PathBuf> = files.iter().map(|name| example(name)).collect();
        let output = run(&files, &["validate", "--format", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Vec<String> = json(&output)["problems"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|f| f["severity"] != "info")
            .map(|f| format!("{} {}", f["code"], f["message"]))
            .collect();
        assert_eq!(found, Vec::<String>::new(), "{files:?}");
    }
}

/// The trust policy of a published guide on `KServe` with models in another account: any token of the cluster may
/// assume the role.
const GUIDE: &str = r#"version: 1
project: guide
accounts:
  platform: { id: "111111111111", region: us-west-2 }
roles:
  loader:
    account: platform
    name: kserve-model-loader
    trust:
      - policy:
          Version: "2012-10-17"
          Statement:
            - Effect: Allow
              Principal:
                Federated: arn:aws:iam::111111111111:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/AAAA
              Action: sts:AssumeRoleWithWebIdentity
              Condition:
                StringEquals:
                  oidc.eks.us-west-2.amazonaws.com/id/AAAA:aud: sts.amazonaws.com
"#;

#[test]
fn a_trust_without_subject_fails_validation_at_its_place() {
    let file = written(GUIDE);
    let output = run(&[file.path().to_owned()], &["validate", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let findings = json(&output)["problems"].clone();
    assert_eq!(findings[0]["code"], "trust-oidc-no-sub");
    assert_eq!(findings[0]["severity"], "error");
    assert_eq!((&findings[0]["line"], &findings[0]["column"]), (&17.into(), &15.into()));
    let accepted = format!(
        "{GUIDE}accept: [ {{ code: trust-oidc-no-sub, at: roles.loader, reason: \"to be mended\", until: 2999-12-31 }} ]\n"
    );
    let file = written(&accepted);
    assert_eq!(run(&[file.path().to_owned()], &["validate"]).status.code(), Some(0));
}

fn kserve() -> [PathBuf; 2] {
    ["base.yaml", "prod.yaml"].map(|name| example("kserve-cross-account").join(name))
}

#[test]
fn can_answers_by_exit_code_and_shows_the_chain() {
    let inside = "s3://acme-model-weights-prod/Mistral-7B-v0.1/config.json";
    for (who, action, place, code) in [
        ("model-loader", "s3:GetObject", inside, 0),
        ("kserve/model-loader-sa", "s3:GetObject", inside, 0),
        ("loader", "s3:GetObject", inside, 0),
        ("model-loader", "s3:ListBucket", "s3://acme-model-weights-prod/Mistral-7B-v0.1/", 0),
        ("model-loader", "s3:ListBucket", "s3://acme-model-weights-prod/other/", 2),
        ("model-loader", "s3:GetObject", "s3://acme-model-weights-prod/other", 2),
        ("model-loader", "s3:PutObject", inside, 2),
        ("arn:aws:iam::999999999999:role/stranger", "s3:GetObject", inside, 2),
        ("anyone", "s3:GetObject", inside, 2),
        // The policy of the bucket is unknown and may allow anyone.
        ("model-loader", "s3:GetObject", "s3://somebody-elses/key", 1),
        ("arn:aws:iam::999999999999:role/stranger", "s3:GetObject", "s3://somebody-elses/key", 1),
        ("anyone", "s3:GetObject", "s3://somebody-elses/key", 1),
        // The policies of the role are unknown, and the bucket delegates to its account.
        ("arn:aws:iam::222222222222:role/local", "s3:GetObject", inside, 1),
        ("model-loder", "s3:GetObject", inside, 1),
        ("model-loader", "s3:GetObjct", inside, 64),
        ("model-loader", "s3:GetObject", "s3://acme-model-weights-prod", 64),
        ("model-loader", "s3:GetObject", "acme-model-weights-prod", 64),
    ] {
        let output = run(&kserve(), &["can", who, action, place]);
        assert_eq!(output.status.code(), Some(code), "{who} {action} {place}: {output:?}");
    }
    let output = run(&kserve(), &["can", "model-loader", "s3:GetObject", inside, "--format", "json"]);
    let document = json(&output);
    assert_eq!(document["format_version"], "1.0");
    follows("access", &document);
    let steps: Vec<String> = document["answer"]["chain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            let (statement, policy) = (&step["statement"], &step["statement"]["policy"]);
            let name = statement["sid"].as_str().map_or_else(|| statement["position"].to_string(), str::to_owned);
            format!("{} {name} {} {}", step["kind"], policy["kind"], policy["address"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        steps,
        [
            "annotation null null null",
            "trusts 1 trust aws.iam.role.loader",
            "allows Read inline aws.iam.role_policy.loader/bailiwick-access",
            "allows Bailiwick90fdef02ReadMistral7BV01433d bucket aws.s3.bucket_policy.weights",
            "allows Keys inline aws.iam.role_policy.loader/bailiwick-access",
            "allows Bailiwick90fdef02Decrypt key aws.kms.key_policy.weights",
        ]
    );
    assert_eq!(
        document["answer"]["who"],
        serde_json::json!({
            "kind": "service_account", "cluster": "serving", "namespace": "kserve", "name": "model-loader-sa",
        })
    );
}

#[test]
fn a_denial_shows_its_fix() {
    let place = "s3://acme-model-weights-prod/other/model.bin";
    let output = run(&kserve(), &["can", "model-loader", "s3:GetObject", place, "--format", "json"]);
    let document = json(&output);
    follows("access", &document);
    let broken = &document["answer"]["broken"];
    assert_eq!(
        broken["why"],
        serde_json::json!({
            "code": "denied",
            "action": "s3:GetObject",
            "resource": "arn:aws:s3:::acme-model-weights-prod/other/model.bin",
            "denial": { "code": "other_account" },
        })
    );
    assert_eq!(
        broken["fix"],
        serde_json::json!({
            "kind": "allow",
            "action": "s3:GetObject",
            "resource": "arn:aws:s3:::acme-model-weights-prod/other/model.bin",
            "missing": [
                {
                    "policy": "resource",
                    "of": {
                        "kind": "bucket", "bucket": "acme-model-weights-prod", "address": "aws.s3.bucket_policy.weights",
                    },
                    "principal": "arn:aws:iam::111111111111:role/kserve-model-loader-prod",
                },
                {
                    "policy": "identity",
                    "caller": {
                        "principal": "arn:aws:iam::111111111111:role/kserve-model-loader-prod",
                        "role": "kserve-model-loader-prod",
                    },
                },
            ],
            "grant": { "to": "model-loader", "bucket": "weights", "prefix": "other/", "action": "s3:GetObject" },
        })
    );
    let output = run(&kserve(), &["can", "model-loader", "s3:GetObject", place]);
    let text = String::from_utf8(output.stdout).unwrap();
    let fix = text.split_once("to fix: ").map(|(_, fix)| fix.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(
        fix.unwrap(),
        "add under `grants`: { to: model-loader, bucket: weights, prefix: \"other/\", access: read }; or \
         allow s3:GetObject on arn:aws:s3:::acme-model-weights-prod/other/model.bin \
         to arn:aws:iam::111111111111:role/kserve-model-loader-prod in the policy of bucket acme-model-weights-prod, \
         and in the policies of role kserve-model-loader-prod"
    );
}

#[test]
fn the_suggested_grant_fixes_the_denial() {
    let grant = written("grants: [ { to: model-loader, bucket: weights, prefix: \"other/\", access: read } ]\n");
    let files: Vec<PathBuf> = kserve().into_iter().chain([grant.path().to_owned()]).collect();
    let place = "s3://acme-model-weights-prod/other/model.bin";
    assert_eq!(run(&files, &["can", "model-loader", "s3:GetObject", place]).status.code(), Some(0));
}

#[test]
fn who_can_lists_principals_with_their_chains() {
    let files = [example("many-teams")];
    let names = |action: &str, place: &str| -> Vec<String> {
        let output = run(&files, &["who-can", action, place, "--format", "json"]);
        let document = json(&output);
        follows("access", &document);
        let who = document["who"].as_array().unwrap().clone();
        let names = who.iter().map(|answer| {
            let who = &answer["who"];
            assert_eq!((&who["kind"], &who["cluster"]), (&"service_account".into(), &"training".into()));
            assert_eq!(who.get("foreign"), None);
            assert!(answer["chain"].as_array().unwrap().len() >= 3);
            format!("{}/{}", who["namespace"].as_str().unwrap(), who["name"].as_str().unwrap())
        });
        assert_eq!(output.status.code(), Some(if who.is_empty() { 2 } else { 0 }));
        names.collect()
    };
    assert_eq!(names("s3:GetObject", "s3://acme-datasets/chat/a"), ["chat-training/trainer"]);
    assert_eq!(
        names("s3:GetObject", "s3://acme-checkpoints/chat/a"),
        ["chat-training/trainer", "evaluation/evaluator"]
    );
    assert_eq!(names("s3:DeleteObject", "s3://acme-weights/chat/a"), Vec::<String>::new());
}

/// Two buckets, one of which is managed elsewhere, and a role with a policy whose contents only AWS can show.
const MIXED: &str = r#"version: 1
project: mixed
accounts:
  platform: { id: "111111111111", region: us-west-2 }
  models: { id: "222222222222", region: us-west-2 }
clusters:
  c: { account: platform, name: c, identity: pod_identity }
buckets:
  own: { account: platform, name: acme-own }
  theirs: { account: models, name: acme-theirs, managed: false }
service_accounts:
  a: { cluster: c, namespace: n, name: a }
  b: { cluster: c, namespace: n, name: b }
roles:
  ops: { account: platform, name: ops, trust: [ { account: platform } ], policies: [ "arn:aws:iam::aws:policy/AmazonS3FullAccess" ] }
grants:
  - { to: a, bucket: own, prefix: x/, access: read }
  - { to: b, bucket: theirs, prefix: x/, access: read }
"#;

/// The exit code and the text of `who-can`, without the chains of the allowed principals.
fn who_can(spec: &str, action: &str, place: &str) -> (Option<i32>, String) {
    let file = written(spec);
    let output = run(&[file.path().to_owned()], &["who-can", action, place]);
    let text = String::from_utf8(output.stdout).unwrap();
    let from = text.find("Unknown\n").unwrap_or(text.len());
    let (head, unknown) = (text.lines().next().unwrap(), &text[from..]);
    (
        output.status.code(),
        format!("{head}\n{unknown}").replace("\nAdministrators of the accounts themselves are not listed.\n", ""),
    )
}

#[test]
fn who_can_names_unknown_principals_with_reasons() {
    assert_eq!(
        who_can(MIXED, "s3:GetObject", "s3://acme-own/x/1"),
        (
            Some(0),
            "allowed for 1 principal, unknown for 1 principal: s3:GetObject on s3://acme-own/x/1
Unknown
  ! role ops in account platform (111111111111)
      the contents of policy arn:aws:iam::aws:policy/AmazonS3FullAccess were not
      read
"
            .to_owned()
        )
    );
    assert_eq!(
        who_can(MIXED, "s3:GetObject", "s3://acme-own/y").1.lines().next().unwrap(),
        "unknown for 1 principal: s3:GetObject on s3://acme-own/y"
    );
    assert_eq!(who_can(MIXED, "s3:GetObject", "s3://acme-own/y").0, Some(1));
    assert_eq!(
        who_can(MIXED, "s3:GetObject", "s3://acme-theirs/x/1"),
        (
            Some(1),
            "unknown for 3 principals and everyone else: s3:GetObject on s3://acme-theirs/x/1
Unknown
  ! service account n/b in cluster c, account platform (111111111111), everyone
    else
      the policy of bucket acme-theirs was not read
  ! role ops in account platform (111111111111)
      the policy of bucket acme-theirs was not read
      the contents of policy arn:aws:iam::aws:policy/AmazonS3FullAccess were not
      read
"
            .to_owned()
        )
    );
}

#[test]
fn access_to_resources_outside_the_spec_is_unknown_for_anyone_else() {
    let plain =
        MIXED.lines().filter(|line| !line.contains("ops:")).collect::<Vec<_>>().join("\n").replace("roles:", "");
    for (action, place, reason) in [
        ("s3:GetObject", "s3://elsewhere/x", "the policy of bucket elsewhere was not read"),
        (
            "sqs:SendMessage",
            "arn:aws:sqs:us-west-2:333333333333:q",
            "the policy of arn:aws:sqs:us-west-2:333333333333:q was not",
        ),
        (
            "kms:Decrypt",
            "arn:aws:kms:us-west-2:333333333333:key/k",
            "the policy of arn:aws:kms:us-west-2:333333333333:key/k was",
        ),
        (
            "iam:PassRole",
            "arn:aws:iam::333333333333:role/x",
            "the policies of the principals of account 333333333333 were not",
        ),
    ] {
        let (code, text) = who_can(&plain, action, place);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("everyone") && text.contains(reason), "{text}");
    }
    // Everything that decides is in the spec.
    let denied = (Some(2), "denied for everyone: s3:GetObject on s3://acme-own/y\n".to_owned());
    assert_eq!(who_can(&plain, "s3:GetObject", "s3://acme-own/y"), denied);
}

#[test]
fn who_can_exits_with_2_if_all_access_is_conditional() {
    let on_condition = MIXED.replace("trust: [ { account: platform } ], policies: [ \"arn:aws:iam::aws:policy/AmazonS3FullAccess\" ]",
        "trust: [ { service: ec2.amazonaws.com } ], inline: { x: { Version: \"2012-10-17\", Statement: [ { Effect: Allow, \
         Action: \"s3:GetObject\", Resource: \"arn:aws:s3:::acme-own/*\", Condition: { IpAddress: { \"aws:SourceIp\": 203.0.113.0/24 } } } ] } }");
    let file = written(&on_condition);
    let output = run(&[file.path().to_owned()], &["who-can", "s3:GetObject", "s3://acme-own/y"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.starts_with("depends on conditions for 2 principals: s3:GetObject on s3://acme-own/y\n"), "{text}");
    assert!(text.contains("if aws:SourceIp IpAddress `203.0.113.0/24`"), "{text}");
}

const READ: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}]}"#;

fn policy(arguments: &[&str], documents: &[&str]) -> (Option<i32>, String) {
    let files: Vec<_> = documents.iter().map(|text| written(text)).collect();
    let paths: Vec<String> = files.iter().map(|file| file.path().display().to_string()).collect();
    let arguments: Vec<&str> =
        [&["policy"], arguments].concat().into_iter().chain(paths.iter().map(String::as_str)).collect();
    let output = run(&[], &arguments);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn plain_policies_are_checked_compared_and_shown() {
    let twice = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["S3:getobject","s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]}}"#;
    let wide = READ.replace("s3:GetObject", "s3:*").replace("arn:aws:s3:::b/*", "*");
    let refused = READ.replace("Allow", "allow");
    assert_eq!(policy(&["equal"], &[READ, twice]), (Some(0), "the policies are equivalent\n".to_owned()));
    let (code, shown) = policy(&["equal"], &[READ, &wide]);
    assert_eq!((code, shown.contains("allow s3:*")), (Some(2), true), "{shown}");
    assert_eq!(policy(&["equal"], &[READ, &refused]).0, Some(1));
    let (code, shown) = policy(&["fmt", "--compact"], &[twice]);
    assert_eq!((code, shown.trim_end()), (Some(0), READ));
    assert_eq!(policy(&["check", "--type", "identity"], &[READ]).0, Some(0));
    let (code, shown) = policy(&["check"], &[&wide]);
    assert_eq!((code, shown.contains("[identity-service-wildcard]")), (Some(2), true), "{shown}");
    assert!(shown.contains("of 6144 characters for a managed policy"), "{shown}");
    assert_eq!(policy(&["check"], &[&refused]).0, Some(1));
}

#[test]
fn policy_diff_shows_changes_as_patterns() {
    let narrow = READ.replace("b/*", "b/a/*");
    let (code, shown) = policy(&["diff", "--format", "json"], &[READ, &narrow]);
    let changes: Value = serde_json::from_str(&shown).unwrap();
    let rows: Vec<[&Value; 4]> = changes["access_changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| [&row["who"], &row["change"], &row["where"], &row["except"]])
        .collect();
    assert_eq!(code, Some(2));
    let place = |arn: &str| serde_json::json!({ "kind": "resource", "arn": arn, "service": "s3" });
    let expected = [
        serde_json::json!({ "kind": "attached" }),
        "loss".into(),
        place("arn:aws:s3:::b/*"),
        serde_json::json!([{ "places": [place("arn:aws:s3:::b/a/*")] }]),
    ];
    assert_eq!(rows, [expected.each_ref()]);
    assert_eq!(policy(&["diff"], &[READ, READ]), (Some(0), "no access changes\n".to_owned()));
    assert_eq!(policy(&["diff"], &[READ]).0, Some(64));
}
