//! What a rule looks at.

use super::lints::Lints;
use crate::access::{Chains, Facet, Instance, PolicyText, ResourcePolicy};
use crate::address::Address;
use crate::desired::Desired;
use crate::diagnostic::Diagnostic;
use crate::diff::Diff;
use crate::document::Document;
use crate::iam::Policy;
use crate::kind::{Kinds, Resource};
use crate::snapshot::{Seen, Snapshot};
use crate::spec::{Facts, Spec};

/// All that a rule may look at.
pub struct Context<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// What is known of the outside.
    pub facts: &'a Facts,
    /// The grants, resolved.
    pub chains: &'a Chains,
    /// Everything that should exist.
    pub desired: &'a Desired,
    /// What was seen; nothing when the check is made without looking.
    pub snapshot: Option<&'a Snapshot>,
    /// What is to become of everything; nothing when the check is made without looking.
    pub diff: Option<&'a Diff>,
    /// What has been said before of the same policies.
    pub lints: &'a Lints,
    /// All kinds, which tell what bodies mean.
    pub kinds: &'a Kinds<'a>,
}

impl<'a> Context<'a> {
    /// What a desired resource says about access.
    pub(super) fn facet(&self, resource: &'a Resource) -> Facet<'a> {
        self.kinds.facet(resource.address.kind(), resource.object())
    }

    /// What the same object says that was seen live, if it was.
    pub(super) fn seen(&self, resource: &'a Resource) -> Option<Facet<'a>> {
        let body = body_seen(self, &resource.address)?;
        Some(self.kinds.facet(resource.address.kind(), Instance { body, ..resource.object() }))
    }

    /// The statements of others that stay in a resource's policy with ours, as far as they have been seen.
    pub(super) fn others(&self, resource: &'a Resource, policy: &ResourcePolicy<'_>) -> Option<Policy> {
        match self.seen(resource)? {
            Facet::Resource(live) if !policy.exclusive => live.others.and_then(PolicyText::parse),
            _ => None,
        }
    }
}

/// One rule.
pub(super) trait PlanRule {
    /// Looks, and says what it finds.
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Diagnostic>);
}

/// What was seen at an address, if something was.
fn body_seen<'a>(context: &Context<'a>, address: &Address) -> Option<&'a Document> {
    match context.snapshot?.seen.get(address)? {
        Seen::Present { body, .. } => Some(body),
        _ => None,
    }
}
