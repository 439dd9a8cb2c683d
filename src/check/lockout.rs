//! `lockout`: a bucket or key policy that the identity which writes it could not change any more.

use super::{Context, Finding, Rule};
use crate::access::{Guarded, lockout, together};
use crate::address::Scope;
use crate::diagnostic::{Code, Severity};
use crate::iam::{Policy, Version};
use crate::kind::Resource;
use crate::snapshot::{Seen, Snapshot};

/// Judges every document that is to change as it would be, the statements of others included.
pub(super) struct Lockout;

impl Rule for Lockout {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let Some(snapshot) = context.snapshot else { return };
        for resource in context.desired.resources.values() {
            let Scope::Account { account, .. } = &resource.wish.scope else { continue };
            let physical_id = resource.wish.physical_id.as_str();
            let guarded = match resource.address.kind().as_str() {
                "aws.s3.bucket_policy" => Guarded::Bucket(physical_id),
                "aws.kms.key_policy" => Guarded::Key(physical_id),
                _ => continue,
            };
            let told = context.facts.callers.get(account).zip(becomes(resource, snapshot));
            let Some(why) = told.and_then(|(caller, policy)| lockout(guarded, caller, &policy)) else { continue };
            findings.push(Finding {
                code: Code::Lockout,
                severity: Severity::Error,
                message: format!("the policy of `{physical_id}` would lock out whoever applies it: {why}"),
                address: Some(resource.address.clone()),
                source: resource.wish.source.clone(),
                help: Some(
                    "change that policy first, so that it leaves out the identity that applies: afterwards nobody but the \
                     account's root user could, and of a key nobody at all"
                        .into(),
                ),
                accepted: None,
            });
        }
    }
}

/// What a document would be, if it exists and is to change.
fn becomes(resource: &Resource, snapshot: &Snapshot) -> Option<Policy> {
    let Seen::Present { body, .. } = snapshot.at(&resource.address) else { return None };
    let wanted = &resource.wish.body;
    let ours: Policy = wanted.field("statements").unwrap_or_else(|| Policy::new(Version::V2012, []));
    let exclusive = wanted.field("exclusive").unwrap_or(false);
    let foreign: Option<Policy> = body.field("foreign");
    let same = body.field("statements").is_some_and(|live: Policy| live == ours) && (!exclusive || foreign.is_none());
    (!same).then(|| together(foreign.as_ref().filter(|_| !exclusive), &ours))
}
