//! Holds the sources to the table of ARCHITECTURE.md: floors import downward only, and each external package has its
//! named doors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that cannot read its sources has failed

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, floor, and its row inside the floor. Inside floor 2 a module imports from earlier rows only; elsewhere what
/// a module may import of its own floor is in `SIDEWAYS`.
const FLOORS: [(&str, u8); 24] = [
    ("address", 0),
    ("document", 0),
    ("diagnostic", 0),
    ("iam", 0),
    ("spec", 1),
    ("access", 2),
    ("kind", 2),
    ("desired", 2),
    ("state", 2),
    ("graph", 2),
    ("snapshot", 2),
    ("diff", 2),
    ("plan", 2),
    ("check", 2),
    ("event", 2),
    ("report", 3),
    ("render", 3),
    ("session", 4),
    ("live", 4),
    ("provider", 4),
    ("backend", 4),
    ("engine", 5),
    ("cli", 6),
    ("main", 6),
];

const SIDEWAYS: [(&str, &str); 6] = [
    ("render", "report"),
    ("live", "session"),
    ("provider", "live"),
    ("provider", "session"),
    ("backend", "session"),
    ("main", "cli"),
];

/// Imports that would be downward but are walls all the same.
const WALLS: [(&str, &str); 3] = [("engine", "provider"), ("engine", "report"), ("engine", "render")];

/// External packages and the modules that may use them. Those with an empty list are welcome everywhere.
const DOORS: [(&str, &[&str]); 38] = [
    ("serde", &[]),
    ("serde_json", &[]),
    ("thiserror", &[]),
    ("schemars", &[]),
    ("serde_transcode", &["document"]),
    ("sha2", &["document"]),
    ("strsim", &["diagnostic"]),
    ("serde_saphyr", &["spec"]),
    ("jiff", &["spec", "cli"]),
    ("petgraph", &["graph"]),
    ("similar", &["render"]),
    ("annotate_snippets", &["render"]),
    ("anstyle", &["render"]),
    ("aws_config", &["session"]),
    ("aws_credential_types", &["session"]),
    ("aws_sdk_sts", &["session"]),
    ("aws_sigv4", &["session"]),
    ("aws_smithy_http_client", &["session"]),
    ("base64", &["session"]),
    ("aws_sdk_eks", &["session", "provider"]),
    ("aws_sdk_kms", &["session", "provider"]),
    ("aws_sdk_iam", &["session", "provider"]),
    ("aws_sdk_s3", &["session", "provider", "backend"]),
    ("aws_smithy_runtime_api", &["session", "provider"]),
    ("aws_smithy_types", &["session", "provider"]),
    ("percent_encoding", &["session", "provider"]),
    ("kube", &["session", "provider"]),
    ("k8s_openapi", &["provider"]),
    ("tempfile", &["backend", "cli"]),
    ("tokio", &["session", "provider", "backend", "engine", "cli"]),
    ("futures_util", &["session", "provider", "backend", "engine"]),
    ("fastrand", &["provider", "cli"]),
    ("mimalloc", &["main"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("indicatif", &["cli"]),
    ("tracing_subscriber", &["cli"]),
];

/// Packages of which the table need not speak: the language's own, and ours.
const OWN: [&str; 7] = ["std", "core", "alloc", "crate", "self", "super", "bailiwick"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources by module, each line without comments, with its place.
fn lines() -> Vec<(String, String, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut lines = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        for (n, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default().to_owned();
            lines.push((module.clone(), code, format!("src/{}:{}", inside.display(), n + 1)));
        }
    }
    lines
}

/// The names that follow a prefix such as `crate::` in a line.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).map(move |(at, _)| {
        let rest = &line[at + prefix.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

fn floor_of(module: &str) -> Option<(u8, usize)> {
    FLOORS.iter().position(|(m, _)| *m == module).map(|row| (FLOORS[row].1, row))
}

#[test]
fn floors_import_downward_only() {
    let mut wrong = Vec::new();
    for (module, code, place) in lines() {
        if module == "lib" {
            continue;
        }
        let Some((floor, row)) = floor_of(&module) else {
            wrong.push(format!("{place}: the module `{module}` has no floor"));
            continue;
        };
        let prefix = if module == "main" { "bailiwick::" } else { "crate::" };
        for other in names_after(&code, prefix) {
            let Some((target, target_row)) = floor_of(other) else { continue };
            let sideways = SIDEWAYS.contains(&(module.as_str(), other));
            let walled = WALLS.contains(&(module.as_str(), other));
            let inside_two = floor == 2 && target == 2 && target_row < row;
            let downward = target < floor && !walled;
            if other != module && !downward && !sideways && !inside_two {
                wrong.push(format!("{place}: `{module}` (floor {floor}) imports `{other}` (floor {target})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_floor_of_policies_imports_nothing_of_ours() {
    let wrong: Vec<String> = lines()
        .into_iter()
        .filter(|(module, ..)| module == "iam")
        .filter(|(_, code, _)| names_after(code, "crate::").any(|other| other != "iam"))
        .map(|(.., place)| place)
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn external_packages_come_in_through_their_doors() {
    let doors: BTreeMap<&str, &[&str]> = DOORS.into_iter().collect();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let packages: Vec<String> = manifest
        .lines()
        .skip_while(|l| *l != "[dependencies]")
        .skip(1)
        .take_while(|l| !l.starts_with('['))
        .filter_map(|l| l.split_once('=').map(|(name, _)| name.trim().replace('-', "_")))
        .collect();
    let mut wrong: Vec<String> = packages
        .iter()
        .filter(|p| !doors.contains_key(p.as_str()) && !OWN.contains(&p.as_str()))
        .map(|p| format!("Cargo.toml: `{p}` has no door"))
        .collect();
    let mut used: Vec<String> = Vec::new();
    for (module, code, place) in lines() {
        for package in &packages {
            let mentions = code.match_indices(&format!("{package}::")).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            });
            if !mentions {
                continue;
            }
            used.push(package.clone());
            let allowed = doors.get(package.as_str()).copied().unwrap_or_default();
            if !allowed.is_empty() && !allowed.contains(&module.as_str()) {
                wrong.push(format!("{place}: `{package}` is used outside its door ({})", allowed.join(", ")));
            }
        }
    }
    let unused = packages.iter().filter(|p| !used.contains(p) && !["serde", "thiserror"].contains(&p.as_str()));
    wrong.extend(unused.map(|p| format!("Cargo.toml: `{p}` is used nowhere")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_waits_below_floor_four() {
    let wrong: Vec<String> = lines()
        .into_iter()
        .filter(|(module, code, _)| {
            floor_of(module).is_some_and(|(floor, _)| floor < 4)
                && (code.contains(".await") || code.contains("async fn") || code.contains("async move"))
        })
        .map(|(.., place)| place)
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn only_the_command_line_reads_the_environment_and_the_clock() {
    let wrong: Vec<String> = lines()
        .into_iter()
        .filter(|(module, code, _)| {
            let environment = code.contains("std::env::") || code.contains("env::var");
            let clock = code.contains("Zoned::now") || code.contains("Timestamp::now");
            // A signature carries the time at which it is made.
            let signs = module == "session";
            (environment || clock || (code.contains("SystemTime::now") && !signs)) && module != "cli"
        })
        .map(|(.., place)| place)
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_kind_is_one_file_and_one_line() {
    let register = fs::read_to_string(root().join("src/provider/mod.rs")).unwrap();
    let mut kinds = 0;
    let mut files = Vec::new();
    sources(&root().join("src/provider"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let defined = text.matches("const NAME: &'static str").count();
        kinds += defined;
        assert!(defined <= 1, "{} defines {defined} kinds", file.display());
        if defined == 1 {
            let stem = file.file_stem().unwrap().to_str().unwrap();
            assert_eq!(register.matches(&format!("::{stem}::")).count(), 1, "{} is registered once", file.display());
        }
    }
    assert!(kinds > 0);
}
