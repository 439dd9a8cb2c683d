//! `aws.iam.oidc_provider`: lets IAM trust the tokens of a cluster's service accounts.

use crate::spec::{Management, Spec};

/// The name of the provider of a cluster in an account, if the spec manages it. A role of another account than the
/// cluster's needs a provider there.
pub(super) fn managed_name(spec: &Spec, cluster: &str, account: &str) -> Option<String> {
    let cluster_spec = spec.clusters.get(cluster)?;
    if cluster_spec.oidc_provider == Management::Existing {
        return None;
    }
    Some(if cluster_spec.account == account { cluster.to_owned() } else { format!("{cluster}/{account}") })
}
