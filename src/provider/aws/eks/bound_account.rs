//! The service accounts that use EKS Pod Identity.

use crate::access::{self, Chains};
use crate::spec::{Identity, ServiceAccountSpec, Spec};

/// A service account whose pods get their role from EKS Pod Identity.
pub(super) struct BoundAccount<'a> {
    pub(super) key: &'a str,
    pub(super) spec: &'a ServiceAccountSpec,
    pub(super) role_key: &'a str,
    pub(super) role: &'a access::ResolvedRole,
}

/// Returns the service accounts with Pod Identity and a role.
pub(super) fn bound_accounts<'a>(spec: &'a Spec, chains: &'a Chains) -> Vec<BoundAccount<'a>> {
    spec.service_accounts
        .iter()
        .filter(|(_, account)| account.identity(spec) == Identity::PodIdentity)
        .filter_map(|(key, account)| {
            let role_key = access::role_key(spec, key);
            Some(BoundAccount { key, spec: account, role_key, role: chains.roles().get(role_key)? })
        })
        .collect()
}
