//! What the program says about the access that specs give: run as users run it, offline.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Every example, as the files that make its spec.
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
fn what_is_made_from_grants_gives_no_finding_to_act_on() {
    for files in EXAMPLES {
        let files: Vec<PathBuf> = files.iter().map(|name| example(name)).collect();
        let output = run(&files, &["validate", "--format", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Vec<String> = json(&output)["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|f| f["severity"] != "info")
            .map(|f| format!("{} {}", f["code"], f["message"]))
            .collect();
        assert_eq!(told, Vec::<String>::new(), "{files:?}");
    }
}

/// The trust policy of a published guide on KServe with models in another account: whoever has a token of the cluster may
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
    let findings = json(&output)["findings"].clone();
    assert_eq!(findings[0]["code"], "trust-oidc-no-sub");
    assert_eq!(findings[0]["severity"], "error");
    assert_eq!((&findings[0]["source"]["line"], &findings[0]["source"]["column"]), (&17.into(), &15.into()));
    let accepted = format!(
        "{GUIDE}accept: [ {{ code: trust-oidc-no-sub, at: roles.loader, reason: \"to be mended\", until: 2999-12-31 }} ]\n"
    );
    let file = written(&accepted);
    assert_eq!(run(&[file.path().to_owned()], &["validate"]).status.code(), Some(0));
}
