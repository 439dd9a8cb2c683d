//! The managed policies for grants of a role that do not fit into its inline policy: their names and origins.

use crate::access::{self, Chains};
use crate::diagnostic::SourceRef;
use crate::spec::Spec;

/// A managed policy for grants that do not fit into the inline policy.
pub(super) struct Overflow {
    /// The part of its address after the kind.
    pub(super) name: String,
    /// Its name in IAM.
    pub(super) iam_name: String,
    /// Its ARN.
    pub(super) arn: String,
}

/// Returns an endless iterator of names for the overflow policies of a role.
pub(super) fn overflow(spec: &Spec, key: &str, role: &access::ResolvedRole) -> impl Iterator<Item = Overflow> {
    (1..).map(move |n: usize| {
        // A role name has at most 64 characters, so this stays within the 128 of a policy name.
        let iam_name = format!("{}-{}-{n}", role.name, access::INLINE_NAME);
        Overflow {
            name: format!("{key}/access-{n}"),
            arn: spec.iam_arn(&role.account, &format!("policy/{iam_name}")),
            iam_name,
        }
    })
}

/// Returns the part of an attachment's address after the kind: the role's key, and the policy's name from the end of
/// its ARN.
pub(super) fn attachment_name(role: &str, arn: &str) -> String {
    format!("{role}/{}", arn.rsplit('/').next().unwrap_or(arn))
}

/// Returns the place of the first grant that a role serves.
pub(super) fn first_grant(spec: &Spec, chains: &Chains, role: &str) -> Option<SourceRef> {
    let chain = chains.through(role).next()?;
    spec.source(&["grants", &chain.grant.to_string()])
}
