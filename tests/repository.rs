//! What people and CI run in a checkout, wherever it lies.

use std::path::Path;
use std::process::Command;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A checkout may lie in a folder whose name holds spaces.
#[test]
fn recipes_quote_paths() {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).unwrap();
    let paths = ["$(VENV)", "$(EMULATORS)", "$(CARGO_TARGET_DIR)", "$(CURDIR)"];
    for line in makefile.lines().filter(|line| line.starts_with('\t')) {
        for (at, path) in paths.iter().flat_map(|path| line.match_indices(path)) {
            let quotes = line.get(..at).unwrap().matches('"').count();
            assert!(quotes % 2 == 1, "`{path}` stands outside quotes in `{}`", line.trim());
        }
    }
}

#[test]
fn installing_the_emulators_clears_no_folder_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    std::fs::write(&theirs, "").unwrap();
    let script = repository().join("tests/emulators/setup.sh");
    let ran = Command::new("sh").arg(script).arg(folder.path()).output().unwrap();
    assert!(!ran.status.success());
    assert!(String::from_utf8_lossy(&ran.stderr).contains("is not one of ours"), "{ran:?}");
    assert!(theirs.exists());
}
