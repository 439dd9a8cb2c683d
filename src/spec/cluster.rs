//! EKS clusters: where service accounts live and how their pods get credentials.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Problems, Spec};
use crate::address::Region;

/// An EKS cluster.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    /// The account that the cluster runs in: a key under `accounts`.
    pub account: String,
    /// The cluster's region, the account's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The cluster's name in EKS.
    pub name: String,
    /// A kubeconfig context. Without it the EKS API gives the endpoint and a token is made in process;
    /// `in-cluster` takes the pod's own service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// How pods get credentials unless their service account says otherwise.
    #[serde(default)]
    pub identity: Identity,
    /// Whether the IAM OIDC provider (for IRSA) is made by this spec.
    #[serde(default)]
    pub oidc_provider: Management,
    /// Whether the EKS Pod Identity Agent add-on is installed by this spec.
    #[serde(default)]
    pub pod_identity_agent: Management,
}

/// How a pod gets AWS credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// EKS Pod Identity: an association names the role, the agent injects credentials.
    #[default]
    PodIdentity,
    /// IAM roles for service accounts: an annotation names the role, OIDC federation gives credentials.
    Irsa,
}

/// Whether something is made by this spec or exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Management {
    /// Made and kept by this spec.
    #[default]
    Managed,
    /// Exists elsewhere; only relied upon.
    Existing,
}

impl ClusterSpec {
    pub(super) fn check(&self, key: &str, spec: &Spec, problems: &mut Problems<'_>) {
        problems.reference(&["clusters", key, "account"], "account", &self.account, &spec.accounts);
        let sound = (1..=100).contains(&self.name.len())
            && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && self.name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !sound {
            problems.error(
                "invalid-cluster-name",
                &["clusters", key, "name"],
                format!("`{}` is no EKS cluster name", self.name),
                "1 to 100 letters, digits, hyphens and underscores, starting with a letter or digit",
            );
        }
    }
}
