//! Policies and identities that decide about access and were not read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::iam::Arn;

/// A policy or an identity that decides about access and has not been read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Unread {
    /// The policy of a bucket.
    BucketPolicy {
        /// The bucket's name.
        bucket: String,
    },
    /// The statements of other parties in the policy of a KMS key.
    KeyPolicy {
        /// The key's alias.
        alias: String,
    },
    /// The policy of any other resource.
    ResourcePolicy {
        /// The resource's ARN.
        arn: String,
    },
    /// The trust policy of a role.
    TrustPolicy {
        /// The role's name or ARN.
        role: String,
    },
    /// All policies of a role.
    RolePolicies {
        /// The role's name.
        role: String,
    },
    /// A managed policy.
    ManagedPolicy {
        /// The policy's ARN.
        arn: String,
    },
    /// A permissions boundary.
    Boundary {
        /// The policy's ARN.
        arn: String,
    },
    /// The policies of a principal that is not in the world.
    CallerPolicies {
        /// The principal's ARN or name.
        principal: String,
    },
    /// The policies of the principals of an account.
    AccountPolicies {
        /// The account's id.
        account: String,
    },
    /// The OIDC issuer of a cluster.
    Issuer {
        /// The cluster's key in the spec.
        cluster: String,
    },
    /// The annotations of a service account.
    Annotations {
        /// The cluster's key in the spec.
        cluster: String,
        /// The namespace.
        namespace: String,
        /// The service account's name.
        name: String,
    },
}

impl Unread {
    /// Whether it could deny requests that other policies allow. Statements of other parties in a key policy are
    /// ignored: a spec never contains them, and reading a key policy always reads the whole policy.
    pub(super) fn may_deny(&self) -> bool {
        match self {
            // Services, identity providers and anonymous callers have no policies of their own.
            Self::CallerPolicies { principal } => {
                let arn = principal.parse::<Arn>();
                arn.is_ok_and(|arn| {
                    matches!(arn.resource_type(), Some(("user" | "role" | "assumed-role" | "federated-user", _)))
                })
            }
            Self::KeyPolicy { .. } => false,
            Self::BucketPolicy { .. }
            | Self::ResourcePolicy { .. }
            | Self::TrustPolicy { .. }
            | Self::RolePolicies { .. }
            | Self::ManagedPolicy { .. }
            | Self::Boundary { .. }
            | Self::AccountPolicies { .. }
            | Self::Issuer { .. }
            | Self::Annotations { .. } => true,
        }
    }
}
