use super::*;
use crate::address::{AccountId, Region, Scope};

/// A step on the role with this name.
pub(crate) fn step(name: &str, change: Change) -> Step {
    on(name, Operation::Current(change))
}

fn on(name: &str, operation: Operation) -> Step {
    let scope = Scope::account("a", AccountId("1".repeat(12)), Region("us-east-1".into()));
    Step::new(Address::new("aws.iam.role", name), operation, scope, name)
}

/// The deletion of an object: observed, or unread if `found` is `None`.
pub(crate) fn deletion(before: Option<Document>, found: Option<&Observation>) -> Removal {
    let expect = found.cloned().map_or(Expect::Unread { unique_id: None }, Expect::Observed);
    Removal::Delete { before, expect }
}

/// The deletion of the object that an address names.
pub(crate) fn deleted(before: Option<Document>, found: Option<&Observation>) -> Change {
    Change::Remove(deletion(before, found))
}

fn created(replaces: Option<Former>) -> Change {
    Change::Create { after: Document::default(), found: None, replaces, deposes: None }
}

fn replaced(name: &str) -> StepId {
    StepId::former(Address::new("aws.iam.role", name), Former::Replaced)
}

/// The two steps of a replacement.
fn replacement(name: &str, after_delete: &[StepId], after_create: &[StepId]) -> (Step, Step) {
    let delete = on(name, Operation::Former { former: Former::Replaced, removal: deletion(None, None) });
    let delete = Step { waits_for: after_delete.to_vec(), ..delete };
    let create = step(name, created(Some(Former::Replaced)));
    (delete, Step { waits_for: after_create.to_vec(), ..create })
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan { project: "p".into(), steps, ..Plan::default() }
}

#[test]
fn target_includes_its_dependencies_and_both_halves_of_a_replacement() {
    let current = |name: &str| StepId::current(Address::new("aws.iam.role", name));
    let (part_goes, part_comes) = replacement("part", &[], &[current("role")]);
    let (role_goes, role_comes) = replacement("role", &[replaced("part")], &[replaced("role")]);
    let other = step("other", created(None));
    let all = plan(vec![part_goes, role_goes, role_comes, part_comes, other]);
    let kept = all.targeted(&[Address::new("aws.iam.role", "role")].into());
    let ids: Vec<_> = kept.steps.iter().map(|s| s.id().to_string()).collect();
    assert_eq!(ids, ["aws.iam.role.part#delete", "aws.iam.role.role#delete", "aws.iam.role.role", "aws.iam.role.part"]);
    assert_eq!(kept.summary.replace, 2);
}

#[test]
fn the_id_of_a_step_reads_back() {
    for text in ["aws.iam.role.x", "aws.iam.role.x#delete", "aws.iam.role_policy.x/y#0123abcd"] {
        assert_eq!(text.parse::<StepId>().map(|id| id.to_string()), Ok(text.to_owned()));
    }
    assert!("aws.iam.role.x#old".parse::<StepId>().is_err());
}

#[test]
fn guard_refuses_protected_and_too_many_deletions() {
    let going = |n: usize| plan((0..n).map(|i| step(&i.to_string(), deleted(None, None))).collect());
    assert_eq!(guard(&going(3), 5, &Guard::default(), &Kinds::default()), []);
    assert_eq!(
        guard(&going(4), 5, &Guard::default(), &Kinds::default()),
        [Refusal::TooMany { going: 4, managed: 5, most: 3 }]
    );
    let named = Guard { allow_deletes: Some(4), ..Guard::default() };
    assert_eq!(guard(&going(4), 5, &named, &Kinds::default()), []);
    let mut protected = going(1);
    protected.steps[0].protect = true;
    let destroying = Guard { destroying: true, ..Guard::default() };
    assert!(matches!(guard(&protected, 5, &destroying, &Kinds::default()).as_slice(), [Refusal::Protected { .. }]));
}

#[test]
fn the_json_of_a_refusal_carries_its_code() {
    let address = Address::new("aws.kms.key", "x");
    let refusals = [
        Refusal::Protected { address: address.clone(), action: guard::Taken::Delete },
        Refusal::Unnamed { address: address.clone(), loss: "what it encrypted is lost".into() },
        Refusal::State { address },
        Refusal::TooMany { going: 4, managed: 5, most: 3 },
    ];
    for refusal in refusals {
        assert_eq!(serde_json::to_value(&refusal).unwrap()["code"], refusal.code().as_str());
        assert!(refusal.code().is_refusal());
    }
}

#[test]
fn a_plan_error_keeps_what_to_do_apart_from_what_is_wrong() {
    let (physical_id, known, found) = ("alias/x".to_owned(), "key-1".to_owned(), "key-2".to_owned());
    let error = PlanError::Another { address: Address::new("aws.kms.key", "x"), physical_id, known, found };
    let message = "aws.kms.key.x: `alias/x` now points to `key-2` instead of `key-1`, and Bailiwick writes nothing to \
                   `key-2`";
    assert_eq!(error.to_string(), message);
    assert_eq!(
        error.help(),
        "point `alias/x` back to `key-1`, or release `key-1` with `bailiwick state rm aws.kms.key.x`, so that the next \
         plan adopts `key-2`"
    );
}

#[test]
fn every_edit_of_a_saved_plan_is_detected() {
    let saved = PlanFile::new(plan(vec![step("x", created(None))]), Document::from(serde_json::json!({ "said": 1 })));
    let text = serde_json::to_string(&saved).unwrap();
    assert_eq!(PlanFile::parse(&text), Ok(saved));
    for (from, to) in [("\"physical_id\":\"x\"", "\"physical_id\":\"y\""), ("\"said\":1", "\"said\":2")] {
        assert!(text.contains(from));
        assert!(matches!(PlanFile::parse(&text.replace(from, to)), Err(PlanFileError::Edited { .. })), "{from}");
    }
    assert!(matches!(PlanFile::parse(&text[..text.len() / 2]), Err(PlanFileError::Damaged(_))));
}

#[test]
fn saved_step_that_would_write_a_former_object_is_rejected() {
    let deposed = Operation::Former { former: Former::Replaced, removal: deletion(None, None) };
    let text = serde_json::to_string(&PlanFile::new(plan(vec![on("x", deposed)]), Document::default())).unwrap();
    let created = serde_json::to_string(&created(None)).unwrap();
    let deleted = r#""action":"delete","expect":{"unread":{}}"#;
    assert!(text.contains(deleted), "{text}");
    let text = text.replace(deleted, created.trim_matches(['{', '}']));
    assert!(matches!(PlanFile::parse(&text), Err(PlanFileError::Damaged(_))), "{text}");
}

#[test]
fn a_file_that_is_not_a_saved_plan_differs_from_one_that_is_damaged() {
    let file = PlanFile::new(plan(Vec::new()), Document::default());
    let (text, pretty) = (serde_json::to_string(&file).unwrap(), serde_json::to_string_pretty(&file).unwrap());
    for saved in
        [&text, &pretty, &text[..text.len() / 2], &pretty[..pretty.len() / 2], &text.replace("\"2.0\"", "\"9.0\"")]
    {
        assert!(is_saved_plan(saved), "{saved}");
    }
    let report = r#"{"format_version": "2.0", "project": "p", "steps": [], "tool_version": "0.1.0"}"#;
    for other in
        ["", "version: 1\nproject: p\n", "{}", "[]", report, &report[..40], r#"{"format": 2, "resources": {}}"#]
    {
        assert!(!is_saved_plan(other), "{other}");
        assert_eq!(PlanFile::parse(other), Err(PlanFileError::NotAPlan), "{other}");
        assert_eq!(published(other), Err(PlanFileError::NotAPlan), "{other}");
    }
}
