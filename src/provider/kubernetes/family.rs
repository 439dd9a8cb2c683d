//! The API of Kubernetes, where its objects may live, and which of them a spec desires.

use std::collections::BTreeSet;

use crate::access::{self, Chains};
use crate::address::Scope;
use crate::kind::Api;
use crate::spec::{Manage, Spec};

pub(super) const KUBERNETES: Api = Api("kubernetes");

/// Every cluster of the spec.
pub(super) fn cluster_scopes(spec: &Spec) -> BTreeSet<Scope> {
    spec.clusters.keys().map(|cluster| Scope::cluster(cluster.as_str())).collect()
}

/// The label or annotation that names the owning project.
pub(super) const PROJECT_MARK: &str = "bailiwick.dev/project";

/// Whether the spec wants the object of a service account to exist.
pub(super) fn is_object_desired(spec: &Spec, chains: &Chains, key: &str) -> bool {
    spec.service_accounts.get(key).is_some_and(|account| account.manage == Manage::Object)
        && chains.roles().contains_key(access::role_key(spec, key))
}
