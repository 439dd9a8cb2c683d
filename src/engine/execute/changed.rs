//! Changes between the plan and the step, and those among them that this run itself caused.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Run;
use crate::access;
use crate::document::Document;
use crate::iam::{Policy, Principal, Selector};
use crate::live::AnyLive;
use crate::plan::{Change, ChangedSince, Operation, Step};
use crate::snapshot::Seen;

impl Run<'_> {
    /// Whether the only change is that the document shows roles deleted by this run (also those it recreates) by their
    /// unique ids: that is how policies show a deleted role.
    ///
    /// Source: IAM User Guide, "AWS JSON policy elements: Principal", role principals.
    pub(super) fn names_what_was_taken_away(&self, step: &Step, live: &dyn AnyLive, seen: &Seen) -> bool {
        let (Seen::Present { body, .. }, Operation::Current(Change::Update { before, .. })) = (seen, step.operation())
        else {
            return false;
        };
        if self.gone.is_empty() {
            return false;
        }
        let shown = live.managed_fields(body, Some(before), Some(before));
        let differences = Document::differences(before, &shown);
        !differences.is_empty()
            && differences.iter().all(|d| {
                let lost = d.before.as_ref().zip(d.after.as_ref()).and_then(|(before, shown)| orphaned(before, shown));
                lost.is_some_and(|lost| lost.iter().all(|principal| self.takes_away(principal)))
            })
    }

    fn takes_away(&self, principal: &Principal) -> bool {
        matches!(principal, Principal::Aws(arn) if self.gone.contains(arn.as_ref()))
    }
}

/// Returns the principals that `before` names and for which `shown` has only the unique ids of deleted principals.
/// `None` if the policies differ in anything else.
fn orphaned(before: &Value, shown: &Value) -> Option<BTreeSet<Principal>> {
    let (before, shown) = (Policy::from_value(before).ok()?, Policy::from_value(shown).ok()?);
    let principals = |policy| -> BTreeSet<Principal> { access::principals(policy).into_iter().collect() };
    let (known, found) = (principals(&before), principals(&shown));
    let others = |policy: &Policy| -> Vec<Value> {
        let mut statements: Vec<Value> = policy
            .statements()
            .iter()
            .map(|statement| statement.clone().to(Selector::of([Principal::Everyone])).to_value())
            .collect();
        statements.sort_by_key(ToString::to_string);
        statements
    };
    let same = others(&before) == others(&shown) && found.iter().all(|p| known.contains(p) || p.is_orphan_id());
    same.then(|| known.difference(&found).cloned().collect())
}

/// Describes what changed since the plan was created.
pub(in crate::engine) fn moved(step: &Step, live: &dyn AnyLive, seen: &Seen) -> ChangedSince {
    let observed = step.observed();
    match (seen, observed) {
        (Seen::Present { owner, .. }, None) => ChangedSince::Created { owner: owner.clone() },
        (Seen::Absent, _) => ChangedSince::Deleted,
        (Seen::Present { body, .. }, Some(_)) => {
            // With the whole body, changes in the parts of others can be shown too.
            let is_whole = |before: &&Document| observed.is_some_and(|observed| observed.digest == before.digest());
            let whole = step.before().filter(is_whole);
            let (known, now) = match observed.and_then(|observed| observed.whole.as_ref()).or(whole) {
                Some(known) => (known.clone(), body.clone()),
                None => {
                    let known = step.before().or(step.after()).cloned().unwrap_or_default();
                    let ours = live.managed_fields(body, Some(&known), Some(&known));
                    (known, ours)
                }
            };
            ChangedSince::Differs { differences: Document::differences(&known, &now) }
        }
        (Seen::Unreadable { why, .. }, _) => ChangedSince::Unread { why: why.clone() },
    }
}
