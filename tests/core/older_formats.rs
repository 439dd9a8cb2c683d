//! States, journals and plans that an older version wrote can still be read. `tests/formats/README.md` describes how
//! the files were made.

use std::collections::BTreeSet;
use std::fs;

use bailiwick::address::Address;
use bailiwick::plan::{PlanFile, PlanFileError};
use bailiwick::spec::{OnDestroy, Spec};
use bailiwick::state::{Entry, FORMAT, Happening, Journal, Lineage, Owned, State, StateError, fold};
use serde_json::Value;

use crate::memory::{Cloud, Cut};
use crate::run::{Project, spec};
use crate::source::root;

const PROJECT: &str = "serving";

fn text(name: &str) -> String {
    fs::read_to_string(root().join("tests/formats/1").join(name)).unwrap()
}

fn state(name: &str) -> State {
    State::parse(&text(name), PROJECT).unwrap()
}

fn journal(name: &str) -> Vec<Entry> {
    let journal = Journal::parse(text(name).as_bytes()).unwrap();
    assert_eq!((journal.torn, journal.sound), (false, text(name).len()));
    journal.entries
}

fn line(title: &str, owned: &Owned) -> String {
    let notes = [
        ("adopted", owned.adopted),
        ("protected", owned.protect),
        ("kept", owned.on_destroy == OnDestroy::Keep),
        ("not read yet", owned.body.is_none()),
    ];
    let notes: String = notes.iter().filter(|(_, is)| *is).map(|(note, _)| format!(", {note}")).collect();
    format!("{title}: {}{notes}\n", owned.physical_id)
}

/// A state as text, one line per object, deposed ones last.
fn listed(state: &State) -> String {
    let current = state.resources.iter().map(|(address, owned)| line(&address.to_string(), owned));
    let deposed = state.deposed.iter().flat_map(|(address, objects)| {
        objects.iter().map(move |deposed| line(&format!("deposed {address}"), &deposed.object))
    });
    current.chain(deposed).collect()
}

/// A state survives a round trip through format 2.
fn survives(state: &State) {
    let written = state.to_text().unwrap();
    let json: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(json["format"], 2);
    assert!(!written.contains("\"former\""), "{written}");
    assert_eq!(State::parse(&written, PROJECT).unwrap(), State { format: FORMAT, ..state.clone() });
}

/// An object equals the one in the file, field by field.
fn is_as_written(owned: &Owned, said: &Value) {
    let field = |name: &str| said.get(name).cloned().unwrap_or_default();
    let text = |name: &str| field(name).as_str().map(ToOwned::to_owned);
    let scope = said["scope"].get("account").or_else(|| said["scope"].get("cluster")).unwrap();
    let key = scope.get("account").or_else(|| scope.get("cluster")).unwrap();
    assert_eq!(owned.scope.key, key.as_str().unwrap(), "{said}");
    assert_eq!(owned.scope.location.as_deref(), scope["region"].as_str());
    assert_eq!(Some(&owned.physical_id), text("physical_id").as_ref());
    assert_eq!(owned.body.as_ref().map(|body| body.tree().clone()).unwrap_or_default(), field("body"));
    assert_eq!(owned.fingerprint.as_ref().map(ToString::to_string), text("fingerprint"));
    assert_eq!(owned.unique_id, text("unique_id"));
    let needs: Vec<String> = owned.references.iter().map(|reference| reference.to.to_string()).collect();
    let said: Vec<String> = (field("references").as_array().into_iter().flatten())
        .map(|reference| reference["to"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(needs, said);
}

const APPLIED: &str = "\
aws.eks.addon.prod/eks-pod-identity-agent: prod-eks/eks-pod-identity-agent
aws.eks.pod_identity_association.trainer: prod-eks/serving/trainer
aws.iam.oidc_provider.prod: arn:aws:iam::111111111111:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/47C8F324A653C4C203F932C2CB4B4B96
aws.iam.role.loader: model-loader
aws.iam.role.trainer: serving-trainer
aws.iam.role_policy.loader/bailiwick-access: model-loader/bailiwick-access
aws.iam.role_policy.trainer/bailiwick-access: serving-trainer/bailiwick-access
aws.iam.role_policy_attachment.loader/CloudWatchAgentServerPolicy: model-loader/arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy
aws.kms.key.made: alias/made, kept
aws.kms.key_policy.made: alias/made
aws.s3.bucket.found: found-weights, adopted, kept
aws.s3.bucket.made: made-weights, protected
aws.s3.bucket_policy.found: found-weights
aws.s3.bucket_policy.made: made-weights
kubernetes.namespace.prod/serving: serving
kubernetes.service_account.loader: serving/loader
kubernetes.service_account.trainer: serving/trainer
";

/// The same after the rename of the role `loader`: its parts have the new name too, and the old role still exists.
fn renamed() -> String {
    APPLIED.replace(": model-loader", ": weights-reader") + "deposed aws.iam.role.loader: model-loader\n"
}

#[test]
fn a_state_of_format_1_is_read_as_it_was_written() {
    let applied = state("applied.state.json");
    assert_eq!((applied.serial, applied.fence, applied.tool_version.as_str()), (1, 0, "0.1.0"));
    assert_eq!(listed(&applied), APPLIED);
    let deposed = state("deposed.state.json");
    assert_eq!(deposed.lineage, applied.lineage);
    assert_eq!(listed(&deposed), renamed());
    for (name, state) in [("applied.state.json", &applied), ("deposed.state.json", &deposed)] {
        let said: Value = serde_json::from_str(&text(name)).unwrap();
        let said = said["resources"].as_object().unwrap();
        assert_eq!(said.len(), state.resources.len());
        for (address, said) in said {
            let address: Address = address.parse().unwrap();
            is_as_written(&state.resources[&address], said);
            let before = state.deposed.get(&address).map_or(&[][..], Vec::as_slice);
            assert_eq!(before.len(), usize::from(said.get("former").is_some()));
            for deposed in before {
                is_as_written(&deposed.object, &said["former"]);
            }
        }
        survives(state);
    }
}

#[test]
fn an_edited_state_of_format_1_is_rejected() {
    let edited = text("applied.state.json").replace("found-weights", "other-weights");
    assert!(matches!(State::parse(&edited, PROJECT), Err(StateError::Edited { .. })));
    let other = State::parse(&text("applied.state.json"), "training");
    assert!(matches!(other, Err(StateError::OtherProject { found, .. }) if found == PROJECT));
}

#[test]
fn journal_of_format_1_recovers_an_interrupted_apply() {
    let (created, unknown) = fold(State::new(PROJECT, Lineage::default()), &journal("created.journal"));
    // The policies of the key and the bucket depend on the bucket, whose creation was interrupted.
    let expected: String = APPLIED
        .split_inclusive('\n')
        .filter(|line| !line.contains("key_policy.made") && !line.contains("bucket_policy.made"))
        .map(|line| line.replace("made-weights, protected", "made-weights, protected, not read yet"))
        .collect();
    assert_eq!(listed(&created), expected);
    assert_eq!(unknown, [Address::new("aws.s3.bucket", "made")]);
    survives(&created);

    let (after, unknown) = fold(state("applied.state.json"), &journal("renamed.journal"));
    assert_eq!(listed(&after), renamed());
    assert_eq!(unknown, [Address::new("aws.iam.role", "loader")]);
    survives(&after);
}

#[test]
fn torn_journal_of_format_1_loses_only_its_last_line() {
    let whole = text("renamed.journal");
    let last = whole.trim_end().rfind('\n').unwrap() + 1;
    let torn = Journal::parse(&whole.as_bytes()[..whole.len() - 9]).unwrap();
    assert_eq!((torn.torn, torn.sound), (true, last));
    let entries = journal("renamed.journal");
    assert_eq!(torn.entries, entries[..entries.len() - 1]);
    let (state, unknown) = fold(state("applied.state.json"), &torn.entries);
    assert_eq!((listed(&state), unknown), (renamed(), vec![]));
}

/// What the next run appends to the lines of an older one.
#[test]
fn journal_of_format_1_continues_in_format_2() {
    let older = journal("renamed.journal");
    let before = state("applied.state.json");
    let (known, _) = fold(before.clone(), &older);
    let role = Address::new("aws.iam.role", "loader");
    let [deposed] = known.deposed[&role].as_slice() else { panic!("one role is deposed") };
    let entry = |happening, about| {
        let state = (before.lineage.0.as_str(), before.serial);
        Entry::new(state, "2030-01-01T00:00:00Z".into(), role.clone(), happening).about(about)
    };
    let begin = Happening::Begin { action: bailiwick::state::ActionKind::Delete, creates: None, deposes: vec![] };
    let end = Happening::End { owned: None, deposes: vec![] };
    let newer =
        [entry(begin, Some(deposed.key.clone())), entry(end, Some(deposed.key.clone()))].map(|e| e.line().unwrap());
    let both = Journal::parse((text("renamed.journal") + &newer.concat()).as_bytes()).unwrap();
    assert_eq!(both.entries.len(), older.len() + 2);
    assert_eq!(both.entries.iter().filter(|entry| entry.is_outdated()).count(), older.len());
    let (state, _) = fold(before, &both.entries);
    assert_eq!(listed(&state), APPLIED.replace(": model-loader", ": weights-reader"));
    survives(&state);
}

/// A project with files of format 1, of which nothing exists any more.
fn project(state: Option<&str>, journal: Option<&str>) -> (Project, Spec) {
    let spec = spec(&fs::read_to_string(root().join("tests/formats/spec.yaml")).unwrap());
    let project = Project::new(PROJECT, Cloud::new());
    project.cloud.prepare(&spec);
    project.backend.hold(state.map(text), journal.map(text).unwrap_or_default().into_bytes());
    (project, spec)
}

/// Nothing that an older version would read is in its format, so that it rejects the state before it reads the journal.
fn is_rewritten(project: &Project) {
    let (state, journal) = project.backend.held();
    let state: Value = serde_json::from_str(&state.unwrap()).unwrap();
    assert_eq!(state["format"], FORMAT);
    assert!(Journal::parse(&journal).unwrap().entries.iter().all(|entry| !entry.is_outdated()));
}

#[tokio::test(start_paused = true)]
async fn next_apply_rewrites_files_of_format_1() {
    for (state, journal) in [
        (Some("applied.state.json"), None),
        (Some("deposed.state.json"), None),
        (Some("applied.state.json"), Some("renamed.journal")),
        (None, Some("created.journal")),
    ] {
        let (project, spec) = project(state, journal);
        project.apply_all(&spec).await;
        is_rewritten(&project);
        project.assert_converged(&spec).await;
    }
}

#[tokio::test(start_paused = true)]
async fn files_of_format_1_are_rewritten_before_a_run_adds_to_them() {
    for (state, journal, unknown) in [
        (Some("applied.state.json"), None, None),
        (Some("applied.state.json"), Some("renamed.journal"), Some("aws.iam.role.loader")),
        (None, Some("created.journal"), Some("aws.s3.bucket.made")),
    ] {
        let (project, spec) = project(state, journal);
        let killed = project.cloud.kill_at(1, Cut::BeforeCall);
        assert!(project.apply_until_killed(&spec, &killed).await);
        is_rewritten(&project);
        let found: BTreeSet<String> = project.known().await.unknown().iter().map(ToString::to_string).collect();
        assert!(unknown.is_none_or(|address| found.contains(address)), "{found:?}");
        project.cloud.clear_faults();
        project.apply_all(&spec).await;
        project.assert_converged(&spec).await;
    }
}

#[tokio::test(start_paused = true)]
async fn apply_without_changes_rewrites_a_state_of_format_1() {
    let (project, spec) = project(None, None);
    project.apply_all(&spec).await;
    let written = project.backend.held().0.unwrap();
    let mut state: Value = serde_json::from_str(&written).unwrap();
    state["format"] = 1.into();
    state.as_object_mut().unwrap().remove("digest");
    project.backend.hold(Some(state.to_string()), Vec::new());
    assert!(project.known().await.outdated);
    assert_eq!(project.apply_all(&spec).await.steps(), Vec::<String>::new());
    is_rewritten(&project);
}

#[test]
fn plan_of_format_1_is_recognized() {
    assert_eq!(PlanFile::parse(&text("plan.json")), Err(PlanFileError::OtherFormat("1.0".into())));
}
