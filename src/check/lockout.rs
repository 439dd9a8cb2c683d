//! `lockout`: a bucket or key policy that the identity which writes it could not change any more.

use super::{Context, Rule};
use crate::access::{Facet, PolicyText, ResourcePolicy, lockout};
use crate::diagnostic::{Code, Diagnostic};
use crate::iam::Policy;

/// Judges every document that is to change as it would be, the statements of others included.
pub(super) struct Lockout;

impl Rule for Lockout {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Diagnostic>) {
        for resource in context.desired.resources.values() {
            let account = &resource.wish.scope.key;
            let (Facet::Resource(wanted), Some(Facet::Resource(live))) =
                (context.facet(resource), context.seen(resource))
            else {
                continue;
            };
            let physical_id = resource.wish.physical_id.as_str();
            let becomes = becomes(&wanted, live);
            let told = context.facts.callers.get(account).zip(becomes);
            let Some(why) = told.and_then(|(caller, policy)| lockout(&wanted, caller, &policy)) else { continue };
            findings.push(
                Diagnostic::new(
                    Code::Lockout,
                    format!("the policy of `{physical_id}` would lock out whoever applies it: {why}"),
                )
                .about(&resource.address)
                .at(resource.wish.source.clone())
                .help(
                    "change that policy first, so that it leaves out the identity that applies: afterwards nobody but the \
                     account's root user could, and of a key nobody at all",
                ),
            );
        }
    }
}

/// What a document would be, if it is to change.
fn becomes(wanted: &ResourcePolicy<'_>, live: ResourcePolicy<'_>) -> Option<Policy> {
    let parsed = |policy: &ResourcePolicy<'_>| policy.ours.and_then(PolicyText::parse);
    let same = parsed(wanted) == parsed(&live) && (!wanted.exclusive || live.others.is_none());
    let others = live.others.filter(|_| !wanted.exclusive);
    (!same).then(|| ResourcePolicy { ours: wanted.ours, others, ..live }.whole())
}
