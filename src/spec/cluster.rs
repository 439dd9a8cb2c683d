//! EKS clusters, and how the pods in them get credentials.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{SectionEntry, SpecProblems, is_key};
use super::{ClusterAccessSpec, Spec};
use crate::address::Region;
use crate::diagnostic::Code;

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
    /// A kubeconfig context, or `in-cluster` for the pod's own service account. If absent, Bailiwick gets the endpoint
    /// from EKS and creates a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// How pods get credentials, unless their service account sets `identity`.
    #[serde(default)]
    pub identity: Identity,
    /// Whether this spec creates the IAM OIDC provider (for IRSA).
    #[serde(default)]
    pub oidc_provider: Management,
    /// Whether this spec installs the EKS Pod Identity Agent add-on.
    #[serde(default)]
    pub pod_identity_agent: Management,
    /// IAM roles and users with access to the cluster's Kubernetes API. Access entries of others are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<ClusterAccessSpec>,
}

/// How a pod gets AWS credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// EKS Pod Identity: an association names the role, and the agent injects credentials.
    #[default]
    PodIdentity,
    /// IAM roles for service accounts: an annotation names the role, and OIDC federation provides credentials.
    Irsa,
}

/// Whether this spec creates a resource, or it already exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Management {
    /// Created and managed by this spec.
    #[default]
    Managed,
    /// Already exists; Bailiwick only uses it.
    Existing,
}

impl ClusterSpec {
    /// The same cluster with the same connection, without anything that this spec creates for it.
    pub(super) fn emptied(&self) -> Self {
        let Self { account, region, name, context, identity, oidc_provider: _, pod_identity_agent: _, access: _ } =
            self;
        Self {
            account: account.clone(),
            region: region.clone(),
            name: name.clone(),
            context: context.clone(),
            identity: *identity,
            oidc_provider: Management::Existing,
            pod_identity_agent: Management::Existing,
            access: Vec::new(),
        }
    }
}

impl SectionEntry for ClusterSpec {
    const SECTION: &'static str = "clusters";
    const NOUN: &'static str = "cluster";
    const IDENTIFIED_AT: &'static [&'static str] = &[];
    const ONE_ENTRY: &'static str = "keep one entry for each cluster";
    type Identity = String;

    fn identity(&self, spec: &Spec) -> String {
        spec.cluster_arn(self)
    }

    fn check(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>) {
        let Self {
            account,
            region: _,
            name,
            context: _,
            identity: _,
            oidc_provider: _,
            pod_identity_agent: _,
            access: _,
        } = self;
        problems.reference(&["clusters", key, "account"], account, &spec.accounts);
        if !is_key(name, 100) {
            problems.error(
                Code::InvalidClusterName,
                &["clusters", key, "name"],
                format!("invalid EKS cluster name `{name}`"),
                "use 1 to 100 letters, digits, hyphens and underscores, starting with a letter or digit",
            );
        }
        self.check_access(key, spec, problems);
    }
}
