//! Sends cases through the program's own streams and prints, per family, how many passed.
//!
//! The cases of `tests/iam` always run. `IAM_CASES` names another folder of the same layout to run as well; files that
//! it lacks are skipped, and families are files.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Whether the answer to a case is right.
type Rule = fn(&Value, &Value) -> bool;

/// The folders of a set, with the question that each asks and the rule that checks its answers.
const FOLDERS: [(&str, &str, Rule); 5] = [
    ("evaluation", "eval", decided),
    ("equivalence", "equal", compared),
    ("validation", "check", valid),
    ("lint", "check", found),
    ("access_diff", "diff", changed),
];

/// The sets: our own, and the one in the environment.
fn sets() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/iam");
    [Some(own), std::env::var_os("IAM_CASES").map(PathBuf::from)].into_iter().flatten().collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    files
}

/// The answers to a stream, in order.
fn ask(question: &str, input: &str) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
        .args(["policy", question, "--jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "policy {question} --jsonl ends with {}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The decision is the expected one, every statement that decided applies, and a decision that needs a statement names
/// one.
fn decided(case: &Value, answer: &Value) -> bool {
    let name = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        (text("policy_type"), entry["level"].as_u64(), text("policy"), entry["index"].as_u64(), text("sid"))
    };
    let Some(decisive) = answer["decisive"].as_array() else { return false };
    let expected = &case["expected"];
    if answer["decision"] != expected["decision"] || answer["reason"].as_str().is_none_or(str::is_empty) {
        return false;
    }
    let Some(matched) = expected["matched"].as_array() else { return true };
    let matched: Vec<_> = matched.iter().map(name).collect();
    let wanted = match answer["decision"].as_str() {
        Some("Allowed") => "Allow",
        Some("ExplicitlyDenied") => "Deny",
        _ => return decisive.is_empty(),
    };
    let is_there = expected["matched"].as_array().is_some_and(|all| all.iter().any(|m| m["effect"] == wanted));
    decisive.iter().all(|entry| matched.contains(&name(entry))) && (!is_there || !decisive.is_empty())
}

fn compared(case: &Value, answer: &Value) -> bool {
    answer["equivalent"] == case["equivalent"]
}

fn valid(case: &Value, answer: &Value) -> bool {
    answer["valid"] == case["valid"] && (answer["valid"] == true) == answer.get("error").is_none()
}

/// Every required check is found, and no forbidden one. Sets with another vocabulary are skipped.
fn found(case: &Value, answer: &Value) -> bool {
    let Some(found) = answer["findings"].as_array() else { return false };
    let list = |name: &str| case["expected"][name].as_array().cloned().unwrap_or_default();
    list("must").iter().all(|check| found.contains(check)) && !list("must_not").iter().any(|c| found.contains(c))
}

fn changed(case: &Value, answer: &Value) -> bool {
    answer["gained"] == case["expected"]["gained"] && answer["lost"] == case["expected"]["lost"]
}

/// The name of a family in the score: file, and basis and family of the case where it has them.
fn family(file: &str, case: &Value) -> String {
    let more = ["basis", "family"].iter().filter_map(|field| case[*field].as_str());
    std::iter::once(file).chain(more).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_case_is_answered_as_expected() {
    let mut scores: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for set in sets() {
        let mut cases = 0;
        for (folder, question, is_right) in FOLDERS {
            for path in files(&set.join(folder)) {
                let input = std::fs::read_to_string(&path).unwrap();
                let rows: Vec<Value> = input.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                if folder == "lint" && rows.iter().any(|row| row["expected"]["vocabulary"] != "checks40") {
                    continue;
                }
                let file = format!("{folder}/{}", path.file_stem().unwrap().to_str().unwrap());
                let answers = ask(question, &input);
                assert_eq!(answers.len(), rows.len(), "one answer for each line of {file}");
                for (case, answer) in rows.iter().zip(&answers) {
                    assert_eq!(answer["id"], case["id"], "answers come in order");
                    let score = scores.entry(family(&file, case)).or_default();
                    score.1 += 1;
                    cases += 1;
                    if is_right(case, answer) {
                        score.0 += 1;
                    } else {
                        wrong.push(format!("{file}: {answer}\n  expected {}", case["expected"]));
                    }
                }
            }
        }
        assert!(cases > 0, "{} has no cases", set.display());
    }
    println!("cases of IAM policies, passed/total:");
    for (family, (passed, total)) in scores {
        println!("  {family}: {passed}/{total}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_names_its_source() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/iam");
    for (folder, ..) in FOLDERS {
        for path in files(&own.join(folder)) {
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let case: Value = serde_json::from_str(line).unwrap();
                let licence = case["source"]["licence"].as_str();
                assert!(
                    licence.is_some_and(|l| !l.contains("AGPL") && !l.contains("GPL")),
                    "{} {licence:?}",
                    case["id"]
                );
            }
        }
    }
}
