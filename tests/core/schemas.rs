//! The files under schemas/ match the types, and every example follows them. `BLESS=1` rewrites them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::schema::follows;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn bailiwick(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bailiwick")).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn schemas_are_fresh() {
    for name in ["spec", "plan", "state", "drift", "access", "problems", "apply"] {
        let generated = bailiwick(&["schema", name], repository());
        let path = repository().join(format!("schemas/{name}.schema.json"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &generated).unwrap();
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == generated,
            "schemas/{name}.schema.json is stale: run `BLESS=1 cargo test --test core schemas`"
        );
    }
}

/// The specs of an example, each as its files.
fn specs(example: &Path) -> Vec<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(example).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    let Some(base) = files.iter().position(|path| path.ends_with("base.yaml")) else { return vec![files] };
    let base = files.remove(base);
    files.into_iter().map(|overlay| vec![base.clone(), overlay]).collect()
}

/// Merges by key: later ones win, lists are replaced, null removes.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over,
    }
}

fn merged(files: &[PathBuf]) -> Value {
    let mut spec = Value::Null;
    for file in files {
        merge(&mut spec, serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap());
    }
    spec
}

#[test]
fn every_example_follows_the_schema_of_specs_and_is_valid() {
    let mut seen = 0;
    let listed = fs::read_dir(repository().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    for example in listed.filter(|path| path.is_dir()) {
        for files in specs(&example) {
            follows("spec", &merged(&files));
            let named: Vec<&str> = files.iter().flat_map(|file| ["-f", file.to_str().unwrap()]).collect();
            let output = bailiwick(&[&named[..], &["validate"]].concat(), &example);
            assert!(output.contains(": valid ("), "{output}");
            seen += 1;
        }
    }
    assert_eq!(seen, 6);
}

#[test]
fn the_starter_spec_follows_the_schema_of_specs() {
    let folder = tempfile::tempdir().unwrap();
    bailiwick(&["init"], folder.path());
    follows("spec", &merged(&[folder.path().join("bailiwick.yaml")]));
}
