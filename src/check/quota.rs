//! `policy-over-quota`: documents that AWS would refuse for their size, told before anything is written.

use std::collections::BTreeMap;

use super::{Context, Finding, Rule, foreign, sent};
use crate::address::Address;
use crate::diagnostic::{Code, Severity, SourceRef};
use crate::iam::{Place, Policy, measure_text};
use crate::kind::Resource;

/// Measures every document as AWS counts it at its place.
pub(super) struct Quota;

impl Rule for Quota {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let mut inline: BTreeMap<String, (usize, &Resource)> = BTreeMap::new();
        for resource in context.desired.resources.values() {
            let kind = resource.address.kind().as_str();
            match kind {
                "aws.iam.role" => one(resource, "trust", Place::RoleTrust, None, findings),
                "aws.iam.policy" => one(resource, "document", Place::ManagedPolicy, None, findings),
                "aws.iam.role_policy" => {
                    let role = resource.wish.body.field::<String>("role").unwrap_or_default();
                    let key = format!("{} {role}", resource.wish.scope);
                    let text = sent(resource, "document", None).unwrap_or_default();
                    let used = measure_text(Place::RoleInlineTotal, &text).used;
                    inline.entry(key).or_insert((0, resource)).0 += used;
                }
                "aws.s3.bucket_policy" => {
                    one(resource, "statements", Place::BucketPolicy, foreign(context, resource).as_ref(), findings);
                }
                "aws.kms.key_policy" => {
                    one(resource, "statements", Place::KeyPolicy, foreign(context, resource).as_ref(), findings);
                }
                _ => {}
            }
        }
        for (used, resource) in inline.into_values() {
            let quota = Place::RoleInlineTotal.quota();
            if used > quota {
                findings.push(over(
                    &resource.address,
                    resource.wish.source.as_ref(),
                    "the role's inline policies together",
                    used,
                    quota,
                ));
            }
        }
    }
}

fn one(resource: &Resource, field: &str, place: Place, others: Option<&Policy>, findings: &mut Vec<Finding>) {
    let Some(text) = sent(resource, field, others) else { return };
    let size = measure_text(place, &text);
    if size.is_over() {
        let what = if others.is_some() { "the policy, with the statements of others," } else { "the policy" };
        findings.push(over(&resource.address, resource.wish.source.as_ref(), what, size.used, size.quota));
    }
}

fn over(address: &Address, source: Option<&SourceRef>, what: &str, used: usize, quota: usize) -> Finding {
    Finding {
        code: Code::PolicyOverQuota,
        severity: Severity::Error,
        message: format!("{address}: {what} needs {used} of {quota} characters"),
        address: Some(address.clone()),
        source: source.cloned(),
        help: Some("grant shorter or fewer prefixes, or divide the grants over several roles".into()),
        accepted: None,
    }
}
