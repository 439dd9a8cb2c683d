//! The Kubernetes API, the scopes of its objects, and which objects a spec desires.

use std::collections::BTreeSet;

use crate::access::{self, Chains};
use crate::address::Scope;
use crate::kind::Api;
use crate::spec::{Manage, Spec};

pub(super) const KUBERNETES: Api = Api("kubernetes");

/// Returns every cluster of the spec.
pub(super) fn cluster_scopes(spec: &Spec) -> BTreeSet<Scope> {
    spec.clusters.keys().map(|cluster| Scope::cluster(cluster.as_str())).collect()
}

/// The label or annotation that names the owning project.
pub(super) const PROJECT_MARK: &str = "bailiwick.dev/project";

/// Whether the spec desires the object of a service account.
pub(super) fn is_object_desired(spec: &Spec, chains: &Chains, key: &str) -> bool {
    spec.service_accounts.get(key).is_some_and(|account| account.manage == Manage::Object)
        && chains.roles().contains_key(access::role_key(spec, key))
}
