use super::*;
use crate::diagnostic::shown;

/// The problems in some files, one per line: `file:line:column code`.
fn problems(files: &[(&str, &str)]) -> String {
    let files: Vec<SourceFile> =
        files.iter().map(|(name, text)| SourceFile { name: (*name).into(), text: (*text).into() }).collect();
    let (_, problems) = load(&files);
    let lines = problems.iter().map(|p| match &p.source {
        Some(source) => format!("{source} {}\n", p.code),
        None => format!("nowhere {}\n", p.code),
    });
    lines.collect()
}

fn check(text: &str, expected: &str) {
    assert_eq!(problems(&[("s.yaml", text)]), expected);
}

const BASE: &str = "version: 1
project: p
accounts:
  a: { id: \"111111111111\", region: us-west-2 }
  b: { id: \"222222222222\", region: us-west-2 }
clusters:
  c: { account: a, name: c, context: c }
buckets:
  w: { account: b, name: some-bucket }
service_accounts:
  s: { cluster: c, namespace: n, name: s }
grants:
  - { to: s, bucket: w, prefix: x/, access: read }
";

#[test]
fn valid_spec_has_no_problems() {
    check(BASE, "");
}

#[test]
fn every_problem_is_reported_in_one_run() {
    let text = BASE
        .replace("project: p", "project: a b")
        .replace("id: \"111111111111\"", "id: 111111111111")
        .replace("name: c,", "nmae: c,")
        .replace("name: some-bucket", "name: Some_Bucket, versioning: \"yes\"")
        .replace("to: s,", "to: t,")
        .replace("prefix: x/", "prefix: /x/")
        .replace("access: read", "access: reed");
    check(
        &text,
        "s.yaml:2:10 invalid-name
s.yaml:4:12 invalid-account-id
s.yaml:7:6 missing-key
s.yaml:7:20 unknown-key
s.yaml:9:26 invalid-bucket-name
s.yaml:9:51 wrong-type
s.yaml:13:11 dangling-reference
s.yaml:13:33 leading-slash
s.yaml:13:46 wrong-value
",
    );
}

#[test]
fn wrong_type_does_not_hide_other_problems() {
    let text = BASE.replace("access: read", "access: 7").replace("bucket: w", "bucket: v");
    check(&text, "s.yaml:13:22 dangling-reference\ns.yaml:13:45 wrong-type\n");
}

#[test]
fn trust_cycle_is_reported_with_its_path() {
    let text = format!(
        "{BASE}roles:\n  x: {{ account: a, name: x, trust: [{{ role: y }}] }}\n  y: {{ account: a, name: y, trust: [{{ role: x }}] }}\n"
    );
    let (_, found) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
    let told: Vec<&str> = found.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(told, ["these roles trust each other in a cycle: roles.x -> roles.y -> roles.x"]);
}

/// The problems in a spec, as the CLI shows them.
fn reported(text: &str) -> String {
    let (_, found) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
    shown(&found, &[("s.yaml", text)])
}

#[test]
fn one_real_object_has_one_entry_in_every_section() {
    let text = r#"version: 1
project: p
accounts:
  a: { id: "111111111111", region: us-west-2 }
  z: { id: "111111111111", region: us-east-1 }
clusters:
  c: { account: a, name: c, context: c }
  d: { account: a, name: c, region: us-west-2 }
  e: { account: a, name: c, region: us-east-1 }
buckets:
  v: { account: a, name: some-bucket }
  w: { account: a, name: some-bucket }
keys:
  k: { account: a, alias: k }
  l: { account: a, alias: alias/k }
  m: { account: a, alias: k, region: us-east-1 }
policies:
  p: { account: a, name: Same, document: { Version: "2012-10-17", Statement: [] } }
  q: { account: a, name: same, document: { Version: "2012-10-17", Statement: [] } }
roles:
  x: { account: a, name: Same }
  y: { account: a, name: same, path: /team/ }
service_accounts:
  s: { cluster: c, namespace: n, name: s }
  t: { cluster: c, namespace: n, name: s }
  u: { cluster: c, namespace: o, name: s }
"#;
    let (_, found) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
    let same = found.iter().filter(|problem| problem.code == Code::SameObject);
    assert_eq!(
        shown(same, &[("s.yaml", text)]),
        r#"s.yaml:5:12 same-object: `accounts.a` and `accounts.z` are the same account
  underlined: `"111111111111"`
  help: keep one entry for each account
s.yaml:8:3 same-object: `clusters.c` and `clusters.d` are the same cluster
  underlined: `d`
  help: keep one entry for each cluster
s.yaml:12:26 same-object: `buckets.v` and `buckets.w` are the same bucket
  underlined: `some-bucket`
  help: keep one entry for each bucket: bucket names are global
s.yaml:15:3 same-object: `keys.k` and `keys.l` are the same key
  underlined: `l`
  help: keep one entry for each alias
s.yaml:19:26 same-object: `policies.p` and `policies.q` are the same policy
  underlined: `same`
  help: keep one entry for each policy: policy names ignore case
s.yaml:22:26 same-object: `roles.x` and `roles.y` are the same role
  underlined: `same`
  help: keep one entry for each role: role names ignore case
s.yaml:25:3 same-object: `service_accounts.s` and `service_accounts.t` are the same service account
  underlined: `t`
  help: keep one entry for each service account: it can have one role only
"#
    );
}

#[test]
fn emptied_spec_keeps_its_clusters_and_desires_nothing() {
    let text = BASE.replace(
        "name: c,",
        "name: c, identity: irsa, access: [{ principal_arn: \"arn:aws:iam::111111111111:role/r\" }],",
    ) + "backend: { s3: { bucket: acme-state, account: a } }\n";
    let (spec, problems) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
    assert_eq!(problems, []);
    assert_eq!(
        serde_json::to_value(spec.unwrap().emptied()).unwrap(),
        serde_json::json!({
            "version": 1,
            "project": "p",
            "backend": { "s3": { "bucket": "acme-state", "account": "a" } },
            "accounts": {
                "a": { "id": "111111111111", "region": "us-west-2" },
                "b": { "id": "222222222222", "region": "us-west-2" },
            },
            "clusters": { "c": {
                "account": "a", "name": "c", "context": "c", "identity": "irsa",
                "oidc_provider": "existing", "pod_identity_agent": "existing",
            } },
        })
    );
}

#[test]
fn grant_on_a_whole_bucket_needs_an_empty_prefix() {
    check(&BASE.replace("prefix: x/, ", ""), "s.yaml:13:5 missing-prefix\n");
    check(&BASE.replace("prefix: x/", "prefix: \"\""), "");
}

#[test]
fn overlay_overrides_base_and_a_broken_file_does_not_hide_others() {
    assert_eq!(problems(&[("base.yaml", BASE), ("prod.yaml", "buckets: { w: { name: other-bucket } }\n")]), "");
    assert_eq!(
        problems(&[("base.yaml", BASE), ("x.yaml", "bukets: {}\n"), ("y.yaml", "a: [\n")]),
        "x.yaml:1:1 unknown-key\ny.yaml:1:4 yaml-syntax\n"
    );
    let broken = |name: &str| SourceFile { name: name.into(), text: "a: [\n".into() };
    let help = |files: &[SourceFile]| load(files).1.into_iter().find_map(|p| p.help).unwrap_or_default();
    assert_eq!(help(&[broken("y.yaml")]), "fix the YAML here; the rest of the file was not checked");
    assert_eq!(
        help(&[broken("y.yaml"), broken("z.yaml")]),
        "fix the YAML here; the rest of the file was not checked; other files were checked only for unknown keys and \
         wrong types of values"
    );
}

#[test]
fn a_file_that_is_too_large_is_not_parsed() {
    let text = "#".repeat(usize::try_from(node::MAX_FILE_BYTES).unwrap() + 1);
    check(&text, "s.yaml:1:1 file-too-large\n");
}

#[test]
fn state_bucket_is_checked_and_may_not_be_deleted_by_the_spec() {
    let with = |backend: &str| format!("{BASE}{backend}\n");
    check(&with("backend: { s3: { bucket: acme-state, prefix: bailiwick/prod, account: a } }"), "");
    check(&with("backend: { s3: { bucket: some-bucket, account: b, keep: 3, lease_seconds: 30 } }"), "");
    let wrong = "backend: { s3: { bucket: Acme, prefix: /x, account: z, lease_seconds: 0, lock: yes } }";
    check(
        &with(wrong),
        "s.yaml:14:26 invalid-bucket-name
s.yaml:14:40 wrong-value
s.yaml:14:53 dangling-reference
s.yaml:14:71 wrong-value
s.yaml:14:74 unknown-key
",
    );
    for (prefix, told) in
        [("../x", "s.yaml:14:46 wrong-value\n"), ("a/./b", "s.yaml:14:46 wrong-value\n"), ("a..b/.c", "")]
    {
        check(&with(&format!("backend: {{ s3: {{ bucket: acme-state, prefix: {prefix}, account: a }} }}")), told);
    }
    assert_eq!(
        reported(&with("backend: {}")),
        "s.yaml:14:10 missing-key: `backend` needs the key `s3`\n  underlined: `{`\n  help: add `s3: ...`\n"
    );
    assert_eq!(
        reported(&with("backend: { s3: { bucket: acme-state, account: a }, gcs: {} }")),
        "s.yaml:14:52 unknown-key: `backend` has no key `gcs`\n  underlined: `gcs`\n  help: known here: s3\n"
    );
    let deleted = BASE.replace("name: some-bucket", "name: some-bucket, on_destroy: delete");
    let backend = "backend: { s3: { bucket: some-bucket, account: b } }\n";
    check(&format!("{deleted}{backend}"), "s.yaml:9:51 state-in-doomed-bucket\n");
    let elsewhere = "buckets: { w: { managed: false } }\n";
    assert_eq!(problems(&[("s.yaml", &format!("{deleted}{backend}")), ("t.yaml", elsewhere)]), "");
    assert_eq!(problems(&[("s.yaml", &with(wrong)), ("t.yaml", "backend: null\n")]), "", "an overlay takes it away");
}

#[test]
fn pace_needs_a_known_service_and_valid_rates() {
    let with = |pace: &str| {
        BASE.replace(
            "  a: { id: \"111111111111\", region: us-west-2 }",
            &format!("  a:\n    id: \"111111111111\"\n    region: us-west-2\n    pace:\n{pace}"),
        )
    };
    check(&with("      iam: { reads: 1, writes: 10000 }\n      s3: { reads: 200 }\n      sts: {}"), "");
    let wrong = with(
        "      iam: { reads: 0, writes: -1 }
      s3: { reads: fast, writes: \"5\" }
      kms: { reads: 2.5, writes: 10001 }
      eks: 20
      sts: { reads: ~, read: 5 }
      ec2: { reads: 5 }",
    );
    assert_eq!(
        reported(&wrong),
        r#"s.yaml:8:21 wrong-value: `reads` cannot be `0`
  underlined: `0`
  help: use a number from 1 to 10000
s.yaml:8:32 wrong-value: `writes` cannot be `-1`
  underlined: `-1`
  help: use a number from 1 to 10000
s.yaml:9:20 wrong-type: `reads` must be a whole number, but is text
  underlined: `fast`
  help: write a whole number
s.yaml:9:34 wrong-type: `writes` must be a whole number, but is text
  underlined: `"5"`
  help: write a whole number
s.yaml:10:21 wrong-type: `reads` must be a whole number, but is a fraction
  underlined: `2.5`
  help: write a whole number
s.yaml:10:34 wrong-value: `writes` cannot be `10001`
  underlined: `10001`
  help: use a number from 1 to 10000
s.yaml:11:12 wrong-type: `eks` must be a map, but is a number
  underlined: `20`
  help: write a map
s.yaml:12:24 unknown-key: `sts` has no key `read`
  underlined: `read`
  help: did you mean `reads`?
s.yaml:13:7 unknown-key: `pace` has no key `ec2`
  underlined: `ec2`
  help: known here: eks, iam, kms, s3, sts
"#
    );
}

#[test]
fn access_to_a_cluster_names_a_principal_once_and_policies_that_exist() {
    let with = |access: &str| {
        let roles = "roles:\n  r: { account: a, name: deployer, path: /team/ }\n";
        format!("{BASE}{roles}").replace("name: c, context: c }", &format!("name: c, access: [{access}] }}"))
    };
    check(
        &with(
            "{ role: r, groups: [readers], policies: [{ name: AmazonEKSViewPolicy, namespaces: [kserve, team-*] }] }, \
             { principal_arn: \"arn:aws:iam::333333333333:user/kim\" }",
        ),
        "",
    );
    let wrong = [
        ("{ groups: [g] }", "missing-key: an entry under `access` needs `role` or `principal_arn`"),
        (
            "{ role: r, principal_arn: \"arn:aws:iam::111111111111:role/x\" }",
            "wrong-value: an entry under `access` has both `role` and `principal_arn`",
        ),
        ("{ role: s }", "dangling-reference: there is no role called `s`"),
        (
            "{ principal_arn: \"arn:aws:sts::111111111111:assumed-role/x/ci\" }",
            "wrong-value: invalid ARN of an IAM role or user `arn:aws:sts::111111111111:assumed-role/x/ci`",
        ),
        (
            "{ principal_arn: \"arn:aws:iam::111111111111:root\" }",
            "wrong-value: invalid ARN of an IAM role or user `arn:aws:iam::111111111111:root`",
        ),
        (
            "{ role: r }, { principal_arn: \"arn:aws:iam::111111111111:role/team/deployer\" }",
            "same-object: `arn:aws:iam::111111111111:role/team/deployer` has two entries in the cluster `c`",
        ),
        (
            "{ role: r, groups: [\"system:masters\"] }",
            "wrong-value: the group `system:masters` begins with `system:`, which EKS reserves",
        ),
        ("{ role: r, groups: [\"eks:x\"] }", "wrong-value: the group `eks:x` begins with `eks:`, which EKS reserves"),
        ("{ role: r, groups: [a b] }", "wrong-value: invalid group name `a b`"),
        ("{ role: r, groups: [a, a] }", "duplicate-entry: duplicate group `a`"),
        (
            "{ role: r, policies: [{ name: \"arn:aws:iam::aws:policy/X\" }] }",
            "wrong-value: invalid access policy `arn:aws:iam::aws:policy/X`",
        ),
        (
            "{ role: r, policies: [{ name: A }, { name: \"arn:aws:eks::aws:cluster-access-policy/A\" }] }",
            "duplicate-entry: duplicate access policy `A`",
        ),
        ("{ role: r, policies: [{ name: A, namespaces: [] }] }", "wrong-value: the list of namespaces is empty"),
        ("{ role: r, policies: [{ name: A, namespaces: [A_] }] }", "invalid-namespace: invalid namespace name `A_`"),
    ];
    for (access, expected) in wrong {
        let told = reported(&with(access));
        let lines: Vec<&str> = told.lines().collect();
        let [problem, _underlined, help] = lines[..] else { panic!("{access}: {told}") };
        let (_place, problem) = problem.split_once(' ').unwrap();
        assert_eq!(problem, expected, "{access}");
        assert!(help.starts_with("  help: "), "{access}: {told}");
    }
}

/// Every spec with one value replaced by a value of a wrong type.
fn with_one_wrong_value(spec: &serde_json::Value) -> Vec<serde_json::Value> {
    fn pointers(value: &serde_json::Value, at: String, found: &mut Vec<String>) {
        let mut child = |key: &str, child: &serde_json::Value| {
            pointers(child, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        };
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| child(key, value)),
            serde_json::Value::Array(list) => {
                list.iter().enumerate().for_each(|(n, value)| child(&n.to_string(), value));
            }
            _ => {}
        }
        found.push(at);
    }
    let mut found = Vec::new();
    pointers(spec, String::new(), &mut found);
    found
        .iter()
        .map(|pointer| {
            let mut wrong = spec.clone();
            let value = wrong.pointer_mut(pointer).unwrap();
            *value = if value.is_array() { true.into() } else { serde_json::json!([[1.5]]) };
            wrong
        })
        .collect()
}

#[test]
fn stand_ins_for_wrong_values_are_never_reported() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let specs: [&[&str]; 5] = [
        &["examples/kserve-cross-account/base.yaml", "examples/kserve-cross-account/prod.yaml"],
        &["examples/many-teams/accounts.yaml", "examples/many-teams/teams.yaml"],
        &["examples/skypilot-irsa/bailiwick.yaml"],
        &["examples/skypilot-pod-identity/bailiwick.yaml"],
        &["tests/formats/spec.yaml"],
    ];
    let mut wrong = 0;
    for files in specs {
        let tree =
            |name: &&str| node::parse(&(*name).into(), &std::fs::read_to_string(root.join(name)).unwrap()).unwrap();
        let merged = files.iter().map(tree).reduce(node::merge).unwrap();
        for spec in with_one_wrong_value(&merged.to_json()) {
            let (_, problems) = load(&[SourceFile { name: "s.yaml".into(), text: spec.to_string().into() }]);
            let reported = format!("{problems:?}");
            assert!(!problems.is_empty() && !reported.contains("stand-in"), "{reported}\n{spec}");
            wrong += 1;
        }
    }
    assert!(wrong > 300, "{wrong}");
}

#[test]
fn every_key_of_the_spec_is_a_section_or_known_to_be_none() {
    let schema = Spec::schema();
    let keys: std::collections::BTreeSet<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let known = check::SECTIONS.into_iter().chain(["version", "project", "backend", "accept"]).collect();
    assert_eq!(keys, known);
}
