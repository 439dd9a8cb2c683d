//! `show` of saved plans that this version no longer applies, run as users run it.

use std::process::{Command, Output};

use bailiwick::document::Document;
use serde_json::{Value, json};

fn run(arguments: &[&str], folder: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
    command.current_dir(folder).args(["--color", "never"]).args(arguments).output().unwrap()
}

/// The published JSON of a plan in format 1.0: a replacement, a forgotten resource, and English text about access.
fn report() -> Value {
    let step = |address: &str, action: &str, reason: &str| {
        json!({
            "address": address, "kind": "aws.iam.role", "action": action, "reason": reason, "account": "platform",
            "account_id": "111111111111", "region": "us-west-2", "physical_id": "loader", "before": null, "after": null,
            "changed": [], "after_steps": [], "source": { "file": "spec.yaml", "line": 14, "column": 3 },
        })
    };
    let mut steps = [
        step("aws.iam.role.loader", "replace", "name: cannot be changed in place"),
        step("aws.iam.role.loader", "replace", "name: cannot be changed in place"),
        step("aws.iam.role.old", "forget", "it is gone already"),
    ];
    steps[0]["phase"] = "delete".into();
    steps[1]["phase"] = "create".into();
    steps[1]["after_steps"] = json!(["aws.iam.role.loader#delete"]);
    json!({
        "format_version": "1.0",
        "project": "serving",
        "tool_version": "0.1.0",
        "spec_digest": null,
        "plan_digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "summary": {
            "create": 0, "update": 0, "replace": 1, "delete": 0, "adopt": 0, "forget": 1, "unchanged": 3,
        },
        "steps": steps,
        "access_changes": [{
            "who": "service account kserve/model-loader-sa of cluster prod",
            "what": "read",
            "actions": ["s3:GetObject"],
            "where": "acme-model-weights/adapters/*",
            "except": ["acme-model-weights/adapters/x"],
            "conditions": ["aws:SourceIp IpAddress `203.0.113.0/24`"],
            "change": "loss",
            "via": [
                "role kserve-model-loader trusts it (statement 1 of trust)",
                "statement `ReadWrite` of inline policy bailiwick-access",
            ],
            "crosses": ["account"],
        }],
        "findings": [{
            "code": "s3-no-tls-deny", "severity": "warning", "message": "requests without TLS are not denied",
            "address": "aws.s3.bucket_policy.weights", "source": null, "help": "deny s3:* to everybody",
        }],
        "left_out": [{ "address": "kubernetes.service_account.a", "why": "cluster `b` does not answer" }],
        "requests": { "total": 7, "by_service": { "iam": 7 }, "throttled": 0 },
    })
}

fn saved(folder: &std::path::Path, report: &Value, said: &Document) {
    let file = json!({
        "format_version": "1.0", "tool_version": "0.1.0", "plan_digest": report["plan_digest"],
        "plan": { "project": "serving", "steps": [] }, "report": report, "report_digest": said.digest(),
    });
    std::fs::write(folder.join("a.plan"), file.to_string()).unwrap();
}

#[test]
fn a_plan_of_format_1_is_shown_and_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), &report(), &Document::from(report()));
    let output = run(&["show", "a.plan"], folder.path());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "serving: 1 to replace, 1 to forget, 3 unchanged, 1 left out

Access
  - service account kserve/model-loader-sa of cluster prod loses [CROSSES
    ACCOUNTS]
      via role kserve-model-loader trusts it (statement 1 of trust), statement
      `ReadWrite` of inline policy bailiwick-access
      read (s3:GetObject) on acme-model-weights/adapters/*, except
      acme-model-weights/adapters/x, if aws:SourceIp IpAddress `203.0.113.0/24`

Changes
  ± aws.iam.role.loader                                    platform 111111111111
      name: cannot be changed in place (spec.yaml:14)
  < aws.iam.role.old                                       platform 111111111111
      it is gone already (spec.yaml:14)

Left out: this plan is partial
  ! kubernetes.service_account.a
      cluster `b` does not answer

Findings
  ! requests without TLS are not denied [s3-no-tls-deny]
      deny s3:* to everybody

Plan digest sha256:0000000000000000000000000000000000000000000000000000000000000000
This plan has format 1.0 and cannot be applied: create a new plan with `bailiwick plan --out a.plan`
"
    );
    let markdown = String::from_utf8(run(&["show", "a.plan", "--format", "markdown"], folder.path()).stdout).unwrap();
    assert!(markdown.contains("service account kserve/model-loader-sa of cluster prod loses"), "{markdown}");
    let json = run(&["show", "a.plan", "--format", "json"], folder.path());
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap(), report());
}

#[test]
fn a_plan_of_format_1_that_was_edited_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut edited = report();
    edited["project"] = "other".into();
    saved(folder.path(), &edited, &Document::from(report()));
    let output = run(&["show", "a.plan"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("`a.plan`: the plan was edited"), "{errors}");
}

#[test]
fn a_plan_that_format_1_wrote_is_shown_with_its_access() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/1/plan.json");
    let output = run(&["show", file.to_str().unwrap()], &std::env::temp_dir());
    let shown = String::from_utf8(output.stdout).unwrap();
    let first: Vec<&str> = shown.lines().take(4).collect();
    assert_eq!(
        first,
        [
            "serving: 16 to create, 1 to adopt, 0 unchanged",
            "",
            "Access",
            "  ! service account serving/loader of cluster prod gains [CROSSES ACCOUNTS]",
        ]
    );
}
