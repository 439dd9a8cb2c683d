//! The input of rules.

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

/// Everything that rules can read.
pub struct Context<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// The facts.
    pub facts: &'a Facts,
    /// The resolved grants.
    pub chains: &'a Chains,
    /// The desired resources.
    pub desired: &'a Desired,
    /// The snapshot; `None` for an offline check.
    pub snapshot: Option<&'a Snapshot>,
    /// The diff; `None` for an offline check.
    pub diff: Option<&'a Diff>,
    /// The cached results of policy lints.
    pub lints: &'a Lints,
    /// All kinds, which interpret bodies.
    pub kinds: &'a Kinds<'a>,
}

impl<'a> Context<'a> {
    /// The meaning of a desired resource for access.
    pub(super) fn facet(&self, resource: &'a Resource) -> Facet<'a> {
        self.kinds.facet(resource.address.kind(), resource.object())
    }

    /// The meaning of the same object as observed, if it was read.
    pub(super) fn seen(&self, resource: &'a Resource) -> Option<Facet<'a>> {
        let body = body_seen(self, &resource.address)?;
        Some(self.kinds.facet(resource.address.kind(), Instance { body, ..resource.object() }))
    }

    /// The statements of other parties that remain in a resource's policy, as far as they were read.
    pub(super) fn others(&self, resource: &'a Resource, policy: &ResourcePolicy<'_>) -> Option<Policy> {
        match self.seen(resource)? {
            Facet::Resource(live) if !policy.exclusive => live.others.and_then(PolicyText::parse),
            _ => None,
        }
    }
}

/// A rule.
pub(super) trait PlanRule {
    /// Adds the rule's findings.
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Diagnostic>);
}

/// The observed body at an address, if there is one.
fn body_seen<'a>(context: &Context<'a>, address: &Address) -> Option<&'a Document> {
    match context.snapshot?.seen.get(address)? {
        Seen::Present { body, .. } => Some(body),
        _ => None,
    }
}
