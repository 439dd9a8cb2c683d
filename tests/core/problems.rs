//! What users read about problems: docs/findings.md, and the output of `validate`. `BLESS=1` writes the page.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bailiwick::render;
use serde_json::{Value, json};

use crate::schema::follows;

#[test]
fn docs_findings_matches_the_registry() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md");
    let page = render::codes_page();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == page, "docs/findings.md is stale: run `BLESS=1 cargo test --test core problems`");
}

/// Runs the program in a folder with one file.
fn run(file: &str, text: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(file), text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_bailiwick")).args(arguments).current_dir(folder.path()).output().unwrap()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

const WRONG: &str = "version: 1
project: a b
accounts:
  a: { id: \"111111111111\", region: us-west-2 }
bukets: {}
grants:
  - { to: loader, bucket: w, prefix: x/, access: reed }
accept:
  - { code: trust-oidc-no-sup, at: roles.loader, reason: known, until: 2030-01-01 }
";

#[test]
fn validate_prints_all_problems_of_an_invalid_spec_as_one_document() {
    let output = run("bailiwick.yaml", WRONG, &["validate", "--format", "json"]);
    assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(1), true));
    let document = parsed(&output);
    follows("problems", &document);
    let problems = document["problems"].as_array().unwrap();
    let places: Vec<String> = problems
        .iter()
        .map(|p| {
            format!(
                "{}:{}:{} to {}:{} {}",
                p["file"], p["line"], p["column"], p["end"]["line"], p["end"]["column"], p["code"]
            )
        })
        .collect();
    assert_eq!(
        places.join("\n").replace('"', ""),
        "bailiwick.yaml:2:10 to 2:13 invalid-name
bailiwick.yaml:5:1 to 5:7 unknown-key
bailiwick.yaml:7:11 to 7:17 dangling-reference
bailiwick.yaml:7:27 to 7:28 dangling-reference
bailiwick.yaml:7:50 to 7:54 wrong-value
bailiwick.yaml:9:13 to 9:30 unknown-code
bailiwick.yaml:9:36 to 9:48 unknown-place"
    );
    assert_eq!(problems[1]["help"], "did you mean `buckets`?");
    assert_eq!(document["valid"], json!(false));
    assert_eq!((&document["project"], &document["resources"]), (&json!("a b"), &Value::Null));
    assert_eq!(document["counts"], json!({ "errors": 7, "warnings": 0, "infos": 0, "accepted": 0 }));
    let gone = run("other.yaml", "", &["validate", "--format", "json"]);
    assert_eq!(gone.status.code(), Some(1));
    let gone = parsed(&gone);
    follows("problems", &gone);
    let problem = &gone["problems"][0];
    assert_eq!((&problem["code"], &problem["file"]), (&json!("unreadable-file"), &json!("bailiwick.yaml")));
    assert_eq!((&problem["line"], &problem["source"]), (&Value::Null, &Value::Null), "the whole file is meant");
}

#[test]
fn other_commands_print_the_same_document_instead_of_their_result() {
    let validated = run("bailiwick.yaml", WRONG, &["validate", "--format", "json"]).stdout;
    let commands: [&[&str]; 4] = [
        &["can", "loader", "s3:GetObject", "s3://b/k", "--format", "json"],
        &["who-can", "s3:GetObject", "s3://b/k", "--format", "json"],
        &["graph", "--format", "json"],
        &["show", "--format", "json"],
    ];
    for command in commands {
        let output = run("bailiwick.yaml", WRONG, command);
        assert_eq!((output.status.code(), &output.stdout), (Some(1), &validated), "{command:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr, "error: 7 problems: nothing was written\n", "{command:?}");
    }
    let text = run("bailiwick.yaml", WRONG, &["graph"]);
    assert_eq!((text.status.code(), text.stdout.is_empty()), (Some(1), true));
}

const VALID: &str = "version: 1
project: p
accounts:
  a: { id: \"111111111111\", region: us-west-2 }
roles:
  loader: { account: a, name: loader, trust: [{ account: \"222222222222\" }] }
accept:
  - { code: trust-cross-account-root, at: aws.iam.role.loader, reason: a partner, until: 2999-01-01 }
  - { code: policy-too-large, at: roles.loader, reason: small, until: 2999-01-01 }
";

#[test]
fn validate_prints_the_findings_of_a_valid_spec_with_their_acceptance() {
    let output = run("bailiwick.yaml", VALID, &["validate", "--format", "json"]);
    assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(0), true));
    let document = parsed(&output);
    follows("problems", &document);
    assert_eq!(
        (&document["valid"], &document["project"], &document["resources"], &document["grants"]),
        (&json!(true), &json!("p"), &json!(1), &json!(0))
    );
    assert_eq!(document["counts"], json!({ "errors": 0, "warnings": 1, "infos": 0, "accepted": 1 }));
    let found: Vec<String> = document["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| format!("{} {} {} {}", p["severity"], p["code"], p["address"], p["accepted"]).replace('"', ""))
        .collect();
    assert_eq!(
        found,
        ["warning retired-code null null", "warning trust-cross-account-root aws.iam.role.loader a partner"]
    );
}

/// Checks a SARIF log for what its consumers rely on, and returns its results.
fn sarif(output: &Output) -> Vec<Value> {
    let log = parsed(output);
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for rule in rules {
        for text in ["shortDescription", "fullDescription", "help"] {
            assert!(!rule[text]["text"].as_str().unwrap().is_empty(), "{rule}");
        }
    }
    let results = run["results"].as_array().unwrap();
    for result in results {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()), "{result}");
        assert!(!result["message"]["text"].as_str().unwrap().is_empty(), "{result}");
        for location in result["locations"].as_array().into_iter().flatten() {
            let place = &location["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(!uri.starts_with('/') && uri.is_ascii(), "{uri}");
            assert!(place["region"]["startLine"].as_u64().unwrap() > 0, "{place}");
        }
    }
    results.clone()
}

#[test]
fn validate_prints_sarif_for_valid_and_invalid_specs() {
    let output = run("bailiwick.yaml", WRONG, &["validate", "--format", "sarif"]);
    assert_eq!(output.status.code(), Some(1));
    let results = sarif(&output);
    assert_eq!(results.len(), 7);
    assert_eq!(
        results[1]["locations"][0]["physicalLocation"],
        json!({
            "artifactLocation": { "uri": "bailiwick.yaml" },
            "region": { "startLine": 5, "startColumn": 1, "endLine": 5, "endColumn": 7 },
        })
    );
    let output = run("bailiwick.yaml", VALID, &["validate", "--format", "sarif"]);
    assert_eq!(output.status.code(), Some(0));
    let results = sarif(&output);
    assert_eq!(results[1]["ruleId"], "trust-cross-account-root");
    assert_eq!(results[1]["suppressions"][0]["justification"], "a partner");
}

#[test]
fn sarif_names_files_and_not_folders() {
    let text = VALID.replace("version: 1\n", "");
    let results = sarif(&run("a.yaml", &text, &["validate", "--format", "sarif", "-f", "."]));
    for result in results {
        assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "a.yaml", "{result}");
    }
}

const ADMIN: &str = r#"{ "Version": "2012-10-17",
  "Statement": [{ "Sid": "Open", "Effect": "Allow", "Action": "*", "Resource": "*" }] }"#;

#[test]
fn policy_check_prints_the_problems_of_all_files_as_one_document() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("admin.json", ADMIN.as_bytes());
    write("latin.json", b"{ \"Version\": \"\xe4\" }");
    write("text.json", b"no JSON");
    let check = |format: &str| {
        Command::new(env!("CARGO_BIN_EXE_bailiwick"))
            .args(["policy", "check", "--type", "identity", "--format", format])
            .args(["gone.json", "admin.json", "latin.json", "text.json"])
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    let output = check("json");
    assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(1), true));
    let document = parsed(&output);
    follows("problems", &document);
    let problems = document["problems"].as_array().unwrap();
    let shown: Vec<String> = problems
        .iter()
        .filter(|p| p["severity"] == "error")
        .map(|p| format!("{} {} {}:{} {}", p["severity"], p["code"], p["file"], p["line"], p["sid"]).replace('"', ""))
        .collect();
    assert_eq!(
        shown,
        [
            "error unreadable-file gone.json:null null",
            "error unreadable-file latin.json:null null",
            "error identity-admin admin.json:2 Open",
            "error syntax-error text.json:1 null",
        ]
    );
    assert_eq!((&problems[2]["statement"], &problems[2]["address"]), (&json!(1), &Value::Null));
    assert_eq!(problems[1]["message"], "`latin.json` is not a policy: it is not UTF-8 text");
    let policies: Vec<String> = document["policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| format!("{} {} {} {}", p["file"], p["type"], p["valid"], p["sizes"][0]["quota"]).replace('"', ""))
        .collect();
    assert_eq!(policies, ["admin.json identity true 6144", "text.json identity false 6144"]);

    let output = check("sarif");
    assert_eq!(output.status.code(), Some(1));
    let errors = sarif(&output).into_iter().filter(|result| result["level"] == "error");
    let codes: Vec<Value> = errors.map(|result| result["ruleId"].clone()).collect();
    assert_eq!(codes, ["unreadable-file", "unreadable-file", "identity-admin", "syntax-error"]);

    let output = check("text");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("[identity-admin]"), "the readable files are reported");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read `gone.json`"));
}

#[test]
fn policy_check_prints_sarif_with_the_place_in_the_document() {
    let output =
        run("admin.json", ADMIN, &["policy", "check", "--type", "identity", "--format", "sarif", "admin.json"]);
    assert_eq!(output.status.code(), Some(2));
    let results = sarif(&output);
    assert_eq!((&results[0]["ruleId"], &results[0]["level"]), (&json!("identity-admin"), &json!("error")));
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!((&place["artifactLocation"]["uri"], &place["region"]["startLine"]), (&json!("admin.json"), &json!(2)));
}

#[test]
fn hostile_names_are_inert_in_json_and_sarif() {
    let text = "version: 1\nproject: \"a\\e[31m\\u202E[x](y)\"\n\"\\u202Ekey\\x9b\": 1\n";
    for format in ["json", "sarif"] {
        let output = run("bailiwick.yaml", text, &["validate", "--format", format]);
        assert_eq!(output.status.code(), Some(1));
        let shown = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{shown}");
    }
    let json = parsed(&run("bailiwick.yaml", text, &["validate", "--format", "json"]));
    assert_eq!(
        json["problems"][1]["message"], "the spec has no key `\u{202e}key\u{9b}`",
        "programs get the text itself"
    );
    let results = sarif(&run("bailiwick.yaml", text, &["validate", "--format", "sarif"]));
    assert_eq!(
        results[1]["message"]["text"].as_str().unwrap().lines().next(),
        Some("the spec has no key `\\u{202e}key\\u{9b}`")
    );
    assert!(!results[0]["message"]["text"].as_str().unwrap().contains("[x](y)"), "it is no link: {}", results[0]);
}
