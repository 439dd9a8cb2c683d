//! Whole scenarios, as a user would experience them: one script per file under `tests/scenarios`, with the output of
//! the program. `tests/support/scenario.rs` describes the language. `BLESS=1` rewrites the output: then read it as a
//! user.

use std::fs;
use std::path::PathBuf;

use crate::scenario::{check, play};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(&folder().join(stringify!($name).replace('_', "-") + ".txt"));
        })*

        #[test]
        fn every_script_is_a_test() {
            let mut known = vec![$(stringify!($name).replace('_', "-") + ".txt"),*];
            known.sort();
            let found = fs::read_dir(folder()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let mut found: Vec<String> = found.collect();
            found.sort();
            assert_eq!(found, known);
        }
    };
}

scenarios![
    adoption_and_release,
    allowed_finding,
    cluster_access,
    denied_read,
    drift_of_every_class,
    failed_write,
    first_apply,
    foreign_statements_survive,
    grant_added_and_removed,
    guard_refusal,
    hostile_names,
    interrupted_apply,
    key_renamed,
    lost_state,
    problems_as_json,
    replacement,
    role_created_and_renamed,
    saved_plan,
    unmanaged_bucket,
    unreachable_cluster,
    usage_errors,
];

/// The reason why a script cannot be played.
fn refused(script: &str) -> String {
    let played = std::panic::catch_unwind(|| play("script", script));
    *played.unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn invalid_script_lines_and_unused_faults_are_errors() {
    assert_eq!(refused("> aply\n"), "script:1: `aply`: there is no such command");
    assert_eq!(refused("# First.\n\n> spec\n"), "script:3: `spec`: it needs input: lines that begin with `| `");
    assert_eq!(refused("> plan\n| x\n"), "script:1: `plan`: it takes no input");
    assert_eq!(refused("> outside: paint it\n"), "script:1: `outside: paint it`: nobody can do this");
    assert_eq!(refused("> fault: none at all\n"), "script:1: `fault: none at all`: nothing fails like this");
    assert_eq!(refused("> can 'x\n"), "script:1: `can 'x`: a quote is not closed");
    let edit = "> spec\n| version: 1\n\n> edit\n| -version: 2\n| +version: 3\n";
    assert_eq!(refused(edit), "script:4: `edit`: 0 places of the spec fit the hunk:\n-version: 2\n+version: 3");
    let nobody = "> outside: delete aws.iam.role nobody\n";
    assert!(refused(nobody).contains("0 objects are called `nobody`"));
    assert_eq!(refused("> fault: crash after write 3\n"), "script: faults that never struck: the crash at write 3");
}

#[test]
fn a_script_is_played_with_the_output_of_the_program() {
    let played = play("script", "# No spec yet.\n\n\n> validate\nsurely valid\n");
    assert_eq!(
        played,
        "# No spec yet.\n\n> validate\nerror[unreadable-file]: cannot read `bailiwick.yaml`: No such file or directory (os \
         error 2)\n |\n = help: name the spec with -f, or write one with `bailiwick init`\nerror: 1 problem: nothing was \
         written\n[exit 1]\n"
    );
}
