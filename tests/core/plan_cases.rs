//! Plans as a reader sees them: one folder per case under `tests/plans`.
//!
//! A folder holds the spec (`spec.yaml`, or `spec-1.yaml`, `spec-2.yaml` as overlays) and the situation before:
//!
//! - `before.yaml`: a spec that has been applied,
//! - `live.json`: objects that were created or changed outside since: a list of `kind`, `place`, `name` and `body`. The
//!   body is applied to the existing object as a JSON merge patch (RFC 7396); a null body deletes the object,
//! - `state.json`: the state, if not that of `before.yaml`,
//! - `facts.json`: facts, if not those of the world.
//!
//! Expected are `plan.txt` (the terminal without color), `plan.json`, and `plan.md` if it exists. If there is no plan,
//! `plan.txt` has the errors. `BLESS=1` rewrites the expectations: then review the diff.

use std::fs;
use std::path::{Path, PathBuf};

use bailiwick::document::Document;
use bailiwick::plan::PlanFile;
use bailiwick::render::{self, Palette};
use bailiwick::report::wire::WirePlan;
use bailiwick::report::{self, Report, wire};
use bailiwick::spec::{Facts, Spec};
use bailiwick::state::State;
use serde::Deserialize;
use serde_json::Value;

use crate::memory::{Cloud, Id};
use crate::run::{Project, spec_of};
use crate::scenario::merge;
use bailiwick::engine::Planned;

/// An outside change to an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    kind: String,
    place: String,
    name: String,
    body: Value,
}

fn read(path: &Path) -> Option<String> {
    path.exists().then(|| fs::read_to_string(path).unwrap())
}

fn spec(folder: &Path) -> Spec {
    let names = ["spec.yaml", "spec-1.yaml", "spec-2.yaml"];
    let files: Vec<(&str, String)> = names.iter().filter_map(|name| Some((*name, read(&folder.join(name))?))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    spec_of(&files)
}

/// The current output of a case.
struct Seen {
    text: String,
    json: Option<String>,
    markdown: Option<String>,
}

fn seen(planned: &Planned) -> Seen {
    let changes = crate::run::changes(planned);
    let learned = wire::PlanDetails {
        changes: &changes,
        findings: planned.findings(),
        interrupted: planned.known().unknown().iter().map(ToString::to_string).collect(),
        ..wire::PlanDetails::default()
    };
    let wire = wire::plan(planned.plan(), learned);
    let mut report = report::plan(&wire, true);
    shows_the_same(planned, &wire, &report);
    // Digests and the version do not help a reviewer.
    report.footer.clear();
    let mut json = serde_json::to_value(wire).unwrap();
    for field in ["plan_digest", "spec_digest", "tool_version"] {
        json[field] = "-".into();
    }
    Seen {
        text: render::terminal(&report, Palette::default()),
        json: Some(render::json(&json)),
        markdown: Some(render::markdown(&report)),
    }
}

/// For a saved plan, `show` prints what `plan` printed, in every format.
fn shows_the_same(planned: &Planned, published: &WirePlan, report: &Report) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.plan");
    let file = PlanFile::new(planned.plan().clone(), Document::of(published).unwrap());
    fs::write(&path, serde_json::to_string(&file).unwrap()).unwrap();
    let mut report = report.clone();
    report.footer.extend(report::digest(published));
    report.footer.push(report::how_to_apply(published, &path));
    for (format, expected) in [
        ("text", render::terminal(&report, Palette::default())),
        ("markdown", render::markdown(&report)),
        ("json", render::json(&file.report)),
    ] {
        let mut show = std::process::Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        let output = show.args(["--verbose", "show", "--format", format]).arg(&path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{format}");
    }
}

async fn case(folder: &Path) -> Seen {
    let spec = spec(folder);
    let mut cloud = Cloud::new();
    cloud.prepare(&spec);
    if let Some(facts) = read(&folder.join("facts.json")) {
        cloud.facts = Some(serde_json::from_str::<Facts>(&facts).unwrap());
    }
    let project = Project::new(&spec.project, cloud);
    if let Some(before) = read(&folder.join("before.yaml")) {
        let before = spec_of(&[("before.yaml", &before)]);
        project.cloud.prepare(&before);
        project.apply_all(&before).await;
    }
    if let Some(state) = read(&folder.join("state.json")) {
        project.backend.store(&State::parse(&state, &spec.project).unwrap());
    }
    let live: Vec<Done> =
        read(&folder.join("live.json")).map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default();
    for Done { kind, place, name, body } in live {
        let mut world = project.cloud.world();
        let id = Id { kind, place, name };
        if body.is_null() {
            world.remove(&id);
        } else {
            world.have(id.clone(), &Value::Object(serde_json::Map::new()));
            world.edit(&id, |live| merge(live, &body));
        }
    }
    match project.plan(&spec).await {
        Ok(planned) => seen(&planned),
        Err(errors) => Seen { text: errors.join("\n") + "\n", json: None, markdown: None },
    }
}

/// Runs one case and compares its output, or rewrites the expectations.
fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let seen = runtime.block_on(case(&folder));
    let compare = |file: &str, now: Option<String>| {
        let path: PathBuf = folder.join(file);
        let expected = read(&path);
        if std::env::var_os("BLESS").is_some() {
            if let Some(now) = now.filter(|_| file != "plan.md" || expected.is_some()) {
                fs::write(&path, now).unwrap();
            }
        } else if file != "plan.md" || expected.is_some() {
            assert_eq!(now.unwrap_or_default(), expected.unwrap_or_default(), "{name}/{file} is another: see BLESS=1");
        }
    };
    compare("plan.txt", Some(seen.text));
    compare("plan.json", seen.json);
    compare("plan.md", seen.markdown);
}

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(&stringify!($name).replace('_', "-"));
        })*

        /// Every folder is a case.
        #[test]
        fn every_folder_is_a_case() {
            let mut known = vec![$(stringify!($name).replace('_', "-")),*];
            known.sort();
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
            let mut found: Vec<String> =
                fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            found.sort();
            assert_eq!(found, known);
        }
    };
}

cases![
    adopted,
    assume_role,
    cross_account_irsa,
    drift_healed,
    forgotten_resource,
    grant_removed,
    hostile_names,
    kept_bucket,
    key_existing,
    key_managed,
    many_grants_merged,
    new_path,
    new_prefix,
    overflow,
    pod_identity,
    refused,
    renamed,
    unmanaged_bucket,
    unmanaged_role,
];
