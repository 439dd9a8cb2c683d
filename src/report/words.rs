//! What types say in English. Nothing else depends on these texts.

use crate::access::{Unread, Verdict};
use crate::plan::Refusal;

/// Why a plan cannot be applied, and what would allow it.
#[must_use]
pub fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Protected { address, action } => {
            format!("{address} is protected, and this plan would {action} it")
        }
        Refusal::Unnamed { address, loss } => {
            format!("this plan would delete {address}; afterwards {loss}: allow it with --allow-delete {address}")
        }
        Refusal::State { address } => format!(
            "{address} is the bucket that holds the state: move the state elsewhere before the bucket is deleted, or keep \
             the bucket"
        ),
        Refusal::TooMany { going, managed, most } => format!(
            "the plan deletes or replaces {going} of {managed} resources, more than {most}: allow it with --allow-deletes \
             {going}"
        ),
    }
}

/// That ownership tags were found without a state, if any were.
#[must_use]
pub fn lost(project: &str, addresses: &[String]) -> Option<String> {
    let (what, carry) = match addresses {
        [] => return None,
        [one] => (one.clone(), "carries"),
        [first, rest @ ..] => (format!("{first} and {} more", rest.len()), "carry"),
    };
    Some(format!(
        "there is no state, but {what} {carry} the ownership tag of project `{project}`: the state was lost, or is stored \
         elsewhere\n  restore it, or rebuild it with `bailiwick state rebuild`; until then nothing is written"
    ))
}

/// What has not been read, as a reason for not knowing.
#[must_use]
pub fn unread(unread: &Unread) -> String {
    match unread {
        Unread::BucketPolicy { bucket } => format!("the policy of bucket {bucket} is not known here"),
        Unread::KeyPolicy { alias } => format!("only part of the policy of key {alias} is known here"),
        Unread::ResourcePolicy { arn } => format!("the policy of {arn} is not known here"),
        Unread::TrustPolicy { role } => format!("the trust policy of role {role} is not known here"),
        Unread::RolePolicies { role } => {
            format!("the policies of role {role}, which is not managed here, are not known")
        }
        Unread::ManagedPolicy { arn } => format!("the contents of policy {arn} are not known here"),
        Unread::Boundary { arn } => format!("the contents of permissions boundary {arn} are not known here"),
        Unread::CallerPolicies { principal } => format!("the policies of {principal} are not known here"),
        Unread::AccountPolicies { account } => {
            format!("the policies of the principals of account {account} are not known here")
        }
    }
}

/// A verdict as the beginning of a headline.
#[must_use]
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::Depends => "depends on conditions",
        Verdict::Unknown => "unknown",
        Verdict::Denied => "denied",
    }
}
