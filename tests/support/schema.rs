//! The published schemas, and the Python that checks documents against them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The emulators' Python, installed by the first test that needs it.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let venv = target.join("emulators/venv");
        let setup = repository().join("tests/emulators/setup.sh");
        let status = Command::new("sh").arg(setup).arg(&venv).status().unwrap();
        assert!(status.success(), "the emulators cannot be set up");
        venv.join("bin/python")
    })
}

/// Asserts that a document follows one of the published schemas.
#[track_caller]
pub fn follows(schema: &str, document: &Value) {
    const CHECK: &str = "import json, sys, jsonschema\n\
        schema = json.load(open(sys.argv[1]))\n\
        kind = jsonschema.validators.validator_for(schema)\n\
        kind.check_schema(schema)\n\
        wrong = [f'{error.json_path}: {error.message}' for error in kind(schema).iter_errors(json.load(sys.stdin))]\n\
        sys.exit('\\n'.join(wrong) or None)";
    let path = repository().join(format!("schemas/{schema}.schema.json"));
    let mut check = Command::new(python())
        .args(["-c", CHECK])
        .arg(path)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(document.to_string().as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success(), "against the schema `{schema}`:\n{}", String::from_utf8_lossy(&output.stderr));
}
