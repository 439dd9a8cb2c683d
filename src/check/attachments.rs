//! `too-many-attachments`: more managed policies on a role than IAM allows.

use std::collections::BTreeMap;

use super::context::{Context, PlanRule};
use crate::access::{Facet, RoleRef};
use crate::diagnostic::{Code, Diagnostic};
use crate::kind::Resource;

/// The default quota "Managed policies attached to an IAM role" (IAM User Guide, "IAM and AWS STS quotas").
const MOST: usize = 10;

/// Counts the managed policies that each role would have attached.
pub(super) struct Attachments;

impl PlanRule for Attachments {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Diagnostic>) {
        let mut roles: BTreeMap<RoleRef, Vec<&Resource>> = BTreeMap::new();
        for resource in context.desired.resources.values() {
            if let Facet::Attachment { role, .. } = context.facet(resource) {
                roles.entry(role).or_default().push(resource);
            }
        }
        for attached in roles.into_values().filter(|a| a.len() > MOST) {
            let Some(first) = attached.first() else { continue };
            findings.push(
                Diagnostic::new(
                    Code::TooManyAttachments,
                    format!("{} managed policies would be attached to one role; IAM allows {MOST}", attached.len()),
                )
                .about(&first.address)
                .at(first.source.clone())
                .help("attach fewer policies, or split the grants over several roles"),
            );
        }
    }
}
