//! Runs the commands in the README of every example in order and compares their output. `BLESS=1` rewrites the READMEs.
//!
//! The READMEs show stdout, and stderr without the progress lines of an apply, whose order is random.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::emulators::{MODELS, PLATFORM, RESEARCH, Ran, World};

#[test]
fn skypilot_pod_identity() {
    check("skypilot-pod-identity", &[]);
}

#[test]
fn skypilot_irsa() {
    check("skypilot-irsa", &[]);
}

#[test]
fn kserve_cross_account() {
    check("kserve-cross-account", &["dev", "staging", "prod"]);
}

#[test]
fn many_teams() {
    check("many-teams", &["serving", "training"]);
}

#[test]
fn every_example_is_run() {
    let listed = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap();
    let folders = listed.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["kserve-cross-account", "many-teams", "skypilot-irsa", "skypilot-pod-identity"]);
}

/// Runs one example. Each of its contexts leads to its own cluster.
fn check(name: &str, contexts: &[&str]) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let world = World::with_clusters("unused", contexts);
    for file in fs::read_dir(&example).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        fs::copy(&file, world.folder().join(file.file_name().unwrap())).unwrap();
    }
    let mut seed: Value = serde_json::from_str(&world.read("seed.json")).unwrap();
    let namespaces = seed.as_object_mut().unwrap().remove("namespaces");
    for namespace in namespaces.as_ref().and_then(Value::as_array).into_iter().flatten() {
        world.kube.create_namespace(namespace.as_str().unwrap());
    }
    world.aws.seed(&seed);
    // A document that is read back has the form in which it was written.
    world.aws.rules(&json!({ "seed": 1 }));

    let written = world.read("README.md");
    let (shown, commands) = run_all(&world, &written);
    assert!(commands > 0, "the README of {name} has no commands");
    let same = without_chance(&written) == without_chance(&shown);
    if std::env::var_os("BLESS").is_some() && !same {
        fs::write(example.join("README.md"), &shown).unwrap();
        return;
    }
    let difference = similar::TextDiff::from_lines(&written, &shown);
    assert!(
        same,
        "examples/{name}/README.md shows other than what is printed (`BLESS=1 cargo test --test cloud examples` writes it \
         anew):\n{}",
        difference.unified_diff().context_radius(2).header("README.md", "printed")
    );
}

/// Replaces what differs between runs: the digests of plans, which cover the ids that AWS assigns, the durations, and
/// the order in which independent steps ended.
fn without_chance(text: &str) -> String {
    let line = |line: &str| match line.split_once(" (") {
        _ if line.starts_with("Plan digest sha256:") => "Plan digest".to_owned(),
        Some((requests, _)) if line.starts_with("Requests: ") => requests.to_owned(),
        _ => line.to_owned(),
    };
    let mut lines: Vec<String> = text.lines().map(line).collect();
    for ended in lines.chunk_by_mut(|a, b| a.ends_with(": done") && b.ends_with(": done")) {
        ended.sort_unstable();
    }
    lines.join("\n")
}

/// The text with the current output of each command, and the number of commands.
fn run_all(world: &World, text: &str) -> (String, usize) {
    let (mut out, mut commands, mut inside) = (String::new(), 0, false);
    let mut last = 0;
    for line in text.lines() {
        match (inside, line.strip_prefix("$ ")) {
            (false, _) => inside = line == "```console",
            (true, _) if line == "```" => inside = false,
            (true, Some(command)) => {
                commands += 1;
                let _ = writeln!(out, "{line}");
                if command == "echo $?" {
                    let _ = writeln!(out, "{last}");
                    continue;
                }
                let ran = run(world, command);
                last = ran.code;
                out.push_str(&printed(&ran));
                continue;
            }
            // Skip the previous output.
            (true, None) => continue,
        }
        let _ = writeln!(out, "{line}");
    }
    (out, commands)
}

/// Removes blank lines at both ends.
fn printed(ran: &Ran) -> String {
    let mut text = ran.stdout.trim_matches('\n').to_owned();
    for line in ran.stderr.lines().filter(|line| !is_progress(line)) {
        let _ = write!(text, "\n{line}");
    }
    let text = text.trim_matches('\n');
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// Whether a line reports a completed step.
fn is_progress(line: &str) -> bool {
    let actions = ["create ", "update ", "replace ", "delete ", "adopt ", "forget "];
    line.strip_prefix("  ").is_some_and(|rest| actions.iter().any(|a| rest.starts_with(a)) && rest.ends_with(": done"))
}

/// Runs a command of the program in the shell, or one of the few AWS CLI commands that are implemented here.
fn run(world: &World, command: &str) -> Ran {
    let words: Vec<&str> = command.split_whitespace().collect();
    let ["aws", "--profile", profile, "s3api", call, "--bucket", bucket, rest @ ..] = &words[..] else {
        return world.shell(command);
    };
    let account = match *profile {
        "platform" => PLATFORM,
        "models" => MODELS,
        "research" => RESEARCH,
        other => panic!("no account for the profile `{other}`"),
    };
    let line = |method: &str| format!("{method} /{bucket}?policy");
    let stdout = match (*call, rest) {
        ("put-bucket-policy", ["--policy", file]) => {
            let policy = world.read(file.strip_prefix("file://").unwrap());
            world.aws.s3(account, &line("PUT"), &policy).ok();
            String::new()
        }
        ("get-bucket-policy", ["--query", "Policy", "--output", "text"]) => {
            world.aws.s3(account, &line("GET"), "").ok()
        }
        other => panic!("not known here: {other:?}"),
    };
    Ran { code: 0, stdout, stderr: String::new() }
}
