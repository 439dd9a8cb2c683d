use super::*;
use crate::address::{AccountId, Region};

fn step(name: &str, phase: Option<Phase>, action: ActionKind, waits_for: &[(&str, Option<Phase>)]) -> Step {
    let named = |name: &str, phase| StepName { address: Address::new("aws.iam.role", name), phase };
    Step {
        name: named(name, phase),
        action,
        reason: "r".into(),
        scope: Scope::account("a", AccountId("1".repeat(12)), Region("us-east-1".into())),
        physical_id: name.into(),
        before: None,
        after: None,
        changed: Vec::new(),
        waits_for: waits_for.iter().map(|(name, phase)| named(name, *phase)).collect(),
        fingerprint: None,
        seen: None,
        unique_id: None,
        adopted: false,
        superseded: false,
        first: false,
        former: None,
        references: Vec::new(),
        on_destroy: OnDestroy::Delete,
        protect: false,
        source: None,
    }
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan { project: "p".into(), steps, ..Plan::default() }
}

#[test]
fn a_target_brings_what_it_waits_for_and_both_halves_of_a_replacement() {
    let (delete, create) = (Some(Phase::Delete), Some(Phase::Create));
    let all = plan(vec![
        step("part", delete, ActionKind::Replace, &[]),
        step("role", delete, ActionKind::Replace, &[("part", delete)]),
        step("role", create, ActionKind::Replace, &[("role", delete)]),
        step("part", create, ActionKind::Replace, &[("role", create)]),
        step("other", None, ActionKind::Create, &[]),
    ]);
    let kept = all.targeted(&[Address::new("aws.iam.role", "role")].into());
    let names: Vec<_> = kept.steps.iter().map(|s| (s.name.address.name().to_owned(), s.name.phase)).collect();
    let expected = [("part", delete), ("role", delete), ("role", create), ("part", create)];
    assert_eq!(names, expected.map(|(name, phase)| (name.to_owned(), phase)));
    assert_eq!(kept.summary.replace, 2);
}

#[test]
fn the_guard_refuses_what_is_protected_and_what_is_much() {
    let going = |n: usize| plan((0..n).map(|i| step(&i.to_string(), None, ActionKind::Delete, &[])).collect());
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
fn a_saved_plan_tells_when_anything_in_it_was_edited() {
    let saved = PlanFile::new(
        plan(vec![step("x", None, ActionKind::Create, &[])]),
        Document::from(serde_json::json!({ "said": 1 })),
    );
    let text = serde_json::to_string(&saved).unwrap();
    assert_eq!(PlanFile::parse(&text), Ok(saved));
    for (from, to) in [("\"physical_id\":\"x\"", "\"physical_id\":\"y\""), ("\"said\":1", "\"said\":2")] {
        assert!(text.contains(from));
        assert!(matches!(PlanFile::parse(&text.replace(from, to)), Err(PlanFileError::Edited { .. })), "{from}");
    }
    assert!(matches!(PlanFile::parse(&text[..text.len() / 2]), Err(PlanFileError::Damaged(_))));
}
