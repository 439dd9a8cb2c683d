//! `policy-over-quota`: documents that AWS would reject for their size, reported before anything is written.

use std::collections::BTreeMap;

use super::context::{Context, PlanRule};
use crate::access::{Facet, PolicyText, RoleRef};
use crate::address::Address;
use crate::diagnostic::{Code, Diagnostic, SourceRef};
use crate::iam::{Policy, PolicyPlace, measure_text};
use crate::kind::Resource;

/// Measures every document as AWS counts it in its place.
pub(super) struct Quota;

impl PlanRule for Quota {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Diagnostic>) {
        let mut inline: BTreeMap<RoleRef, (usize, &Resource)> = BTreeMap::new();
        for resource in context.desired.resources.values() {
            match context.facet(resource) {
                Facet::Role { trust, .. } => one(resource, trust, PolicyPlace::RoleTrust, None, findings),
                Facet::ManagedPolicy { document, .. } => {
                    one(resource, document, PolicyPlace::ManagedPolicy, None, findings);
                }
                Facet::InlinePolicy { role, document, .. } => {
                    let text = document.and_then(|document| document.sent(None)).unwrap_or_default();
                    let used = measure_text(PolicyPlace::RoleInlineTotal, &text).used;
                    inline.entry(role).or_insert((0, resource)).0 += used;
                }
                Facet::Resource(policy) => {
                    one(resource, policy.ours, policy.place, context.others(resource, &policy).as_ref(), findings);
                }
                Facet::None
                | Facet::Attachment { .. }
                | Facet::Provider { .. }
                | Facet::PodBinding(_)
                | Facet::ServiceAccount { .. }
                | Facet::ClusterAccess(_)
                | Facet::Bucket { .. } => {}
            }
        }
        for (used, resource) in inline.into_values() {
            let quota = PolicyPlace::RoleInlineTotal.quota();
            if used > quota {
                findings.push(over(
                    &resource.address,
                    resource.source.as_ref(),
                    "the role's inline policies together",
                    used,
                    quota,
                ));
            }
        }
    }
}

fn one(
    resource: &Resource,
    own: Option<PolicyText<'_>>,
    place: PolicyPlace,
    others: Option<&Policy>,
    findings: &mut Vec<Diagnostic>,
) {
    let Some(text) = own.and_then(|own| own.sent(others)) else { return };
    let size = measure_text(place, &text);
    if size.is_over() {
        let what = if others.is_some() { "the policy, with the statements of others," } else { "the policy" };
        findings.push(over(&resource.address, resource.source.as_ref(), what, size.used, size.quota));
    }
}

fn over(address: &Address, source: Option<&SourceRef>, what: &str, used: usize, quota: usize) -> Diagnostic {
    Diagnostic::new(Code::PolicyOverQuota, format!("{address}: {what} needs {used} of {quota} characters"))
        .about(address)
        .at(source.cloned())
        .help("grant shorter or fewer prefixes, or split the grants over several roles")
}
