//! Findings about a whole plan; one rule a file, stable codes.

mod accepted;
mod attachments;
mod lint;
mod lockout;
mod quota;

use crate::access::{self, Chains, Facet, Instance, PolicyText, ResourcePolicy};
use crate::address::Address;
use crate::desired::Desired;
use crate::diagnostic::{Code, Diagnostic, NamedCode};
use crate::diff::Diff;
use crate::document::Document;
use crate::iam::Policy;
use crate::kind::{Kinds, Resource};
use crate::snapshot::{Seen, Snapshot};
use crate::spec::{AcceptSpec, Facts, Spec};

pub use accepted::unknown_places;
pub use lint::Lints;

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
    fn facet(&self, resource: &'a Resource) -> Facet<'a> {
        self.kinds.facet(resource.address.kind(), resource.object())
    }

    /// What the same object says that was seen live, if it was.
    fn seen(&self, resource: &'a Resource) -> Option<Facet<'a>> {
        let body = body_seen(self, &resource.address)?;
        Some(self.kinds.facet(resource.address.kind(), Instance { body, ..resource.object() }))
    }

    /// The statements of others that stay in a resource's policy with ours, as far as they have been seen.
    fn others(&self, resource: &'a Resource, policy: &ResourcePolicy<'_>) -> Option<Policy> {
        match self.seen(resource)? {
            Facet::Resource(live) if !policy.exclusive => live.others.and_then(PolicyText::parse),
            _ => None,
        }
    }
}

/// One rule.
trait PlanRule {
    /// Looks, and says what it finds.
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Diagnostic>);
}

/// Runs every rule. `today` (YYYY-MM-DD) decides which acceptances still hold.
#[must_use]
pub fn run(context: &Context<'_>, today: &str) -> Vec<Diagnostic> {
    let rules: [&dyn PlanRule; 4] = [&quota::Quota, &attachments::Attachments, &lint::Lint, &lockout::Lockout];
    let findings = access::findings(context.spec, context.facts, context.chains);
    judged(context, &rules, findings, today)
}

/// Runs the rules about what policies mean, and no others: for documents that are live and that nobody is about to change.
#[must_use]
pub fn policies(context: &Context<'_>, today: &str) -> Vec<Diagnostic> {
    judged(context, &[&lint::Lint], Vec::new(), today)
}

fn judged(
    context: &Context<'_>,
    rules: &[&dyn PlanRule],
    mut findings: Vec<Diagnostic>,
    today: &str,
) -> Vec<Diagnostic> {
    for rule in rules {
        rule.check(context, &mut findings);
    }
    for finding in &mut findings {
        let accept = acceptance(context.spec, finding);
        if let Some(ended) = accept.filter(|a| a.until.as_str() < today) {
            let ended = format!("the `accept` entry expired on {}", ended.until);
            finding.help = Some(finding.help.take().map_or(ended.clone(), |help| format!("{help}; {ended}")));
        } else {
            finding.accepted = accept.map(|a| a.reason.clone());
        }
    }
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.source.cmp(&b.source)));
    findings
}

/// What was seen at an address, if something was.
fn body_seen<'a>(context: &Context<'a>, address: &Address) -> Option<&'a Document> {
    match context.snapshot?.seen.get(address)? {
        Seen::Present { body, .. } => Some(body),
        _ => None,
    }
}

/// What of the spec accepts a finding for the longest time. Dates of the form YYYY-MM-DD compare as text.
fn acceptance<'s>(spec: &'s Spec, finding: &Diagnostic) -> Option<&'s AcceptSpec> {
    spec.accept
        .iter()
        .filter(|a| match Code::named(&a.code) {
            NamedCode::Finding(code) | NamedCode::Retired(code) => code == finding.code,
            NamedCode::Problem(_) | NamedCode::Unknown(_) => false,
        })
        .filter(|a| {
            let by_address = finding.address.as_ref().is_some_and(|address| address.to_string() == a.at);
            let path: Vec<&str> = a.at.split('.').collect();
            let by_entry = path.len() > 1 && finding.source.as_ref().is_some_and(|s| spec.holds(&path, s));
            by_address || by_entry
        })
        .max_by(|a, b| a.until.cmp(&b.until))
}
