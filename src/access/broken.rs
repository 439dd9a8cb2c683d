//! Where a chain breaks, why, and the smallest change that would make it hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::terms::{AccountRef, ChainCaller, ChainRole, PolicyRef, StatementRef, Trusted};
use crate::iam::{Decision, DecisionReason, Layer};

/// Where a chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broken {
    /// What does not hold.
    pub why: Break,
    /// The smallest change that would make it hold.
    pub fix: Fix,
}

/// What does not hold of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Break {
    /// The service account has neither an association nor the annotation.
    NoRole {
        /// The namespace.
        namespace: String,
        /// The service account's name.
        name: String,
    },
    /// The role does not exist.
    RoleMissing {
        /// The role.
        role_arn: String,
        /// Whether it is the target role of an association.
        target: bool,
    },
    /// The role's account has no OIDC provider for the cluster.
    ProviderMissing {
        /// The issuer's host.
        issuer: String,
        /// The account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// The role's trust policy does not let the service account in.
    NotTrusted {
        /// The role.
        #[serde(flatten)]
        role: ChainRole,
        /// The subject of the web identity, or the service account for which EKS asks.
        subject: String,
        /// Whom the role would have to trust.
        trusted: Trusted,
        /// The action.
        action: String,
        /// Why it is denied.
        denial: Denial,
    },
    /// The role of an association cannot assume the target role.
    TargetDenied {
        /// The role.
        role: ChainRole,
        /// The target role.
        target: ChainRole,
        /// Why it is denied.
        denial: Denial,
    },
    /// The bucket's policy is public, and the bucket blocks public policies.
    PublicBlocked {
        /// The bucket's name.
        bucket: String,
    },
    /// The request is denied.
    Denied {
        /// The action.
        action: String,
        /// The resource.
        resource: String,
        /// Why.
        denial: Denial,
    },
}

/// Why policies deny a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Denial {
    /// A statement denies it.
    Explicit {
        /// The statement.
        statement: Option<StatementRef>,
    },
    /// No statement of a layer allows it.
    NotAllowed {
        /// The layer, if it is one.
        layer: Option<DeniedBy>,
    },
    /// The resource belongs to another account, and its policy does not allow it.
    OtherAccount,
    /// The policy of the key or role neither names the caller nor lets its account decide.
    NotDelegated,
    /// A federated user without session policy has only what policies of resources grant to the session.
    FederatedUser,
    /// The policy of the key or role is not known.
    PolicyUnknown,
}

impl Denial {
    /// Why a decision is not to allow. One that allows, or may, gives no reason to ask.
    pub(super) fn of(decision: &Decision<'_>) -> Self {
        match decision.why {
            DecisionReason::Denied => {
                Self::Explicit { statement: decision.deciding().next().map(StatementRef::applied) }
            }
            DecisionReason::ResourceOfOtherAccount => Self::OtherAccount,
            DecisionReason::NotDelegated => Self::NotDelegated,
            DecisionReason::FederatedWithoutSessionPolicy => Self::FederatedUser,
            DecisionReason::PolicyUnknown => Self::PolicyUnknown,
            DecisionReason::NotAllowed
            | DecisionReason::Allowed
            | DecisionReason::AllowedByResource
            | DecisionReason::Depends => Self::NotAllowed { layer: decision.layer.map(DeniedBy::from) },
        }
    }
}

/// A layer of policies that can deny a request by not allowing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeniedBy {
    /// The caller's own policies.
    Identity,
    /// The policy of the resource.
    Resource,
    /// The caller's permissions boundary.
    Boundary,
    /// The session policy.
    Session,
    /// The service control policies.
    ServiceControl,
    /// The resource control policies.
    ResourceControl,
    /// The policy of the VPC endpoint.
    Endpoint,
}

impl From<Layer> for DeniedBy {
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::Identity => Self::Identity,
            Layer::Resource => Self::Resource,
            Layer::Boundary => Self::Boundary,
            Layer::Session => Self::Session,
            Layer::Scp { .. } => Self::ServiceControl,
            Layer::Rcp { .. } => Self::ResourceControl,
            Layer::Endpoint => Self::Endpoint,
        }
    }
}

/// The smallest change that would let a denied request through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fix {
    /// Give the service account a role, by association or annotation.
    GiveRole,
    /// Create the role.
    CreateRole {
        /// The role.
        role_arn: String,
    },
    /// Create the OIDC provider of the cluster in an account.
    CreateProvider {
        /// The issuer's host.
        issuer: String,
        /// The account's id.
        account: String,
    },
    /// Let the role trust the subject of a web identity.
    TrustSubject {
        /// The OIDC provider.
        provider: String,
        /// The issuer's host, which begins the condition keys.
        issuer: String,
        /// The subject.
        subject: String,
    },
    /// Let the role trust EKS Pod Identity.
    TrustPodIdentity {
        /// The role.
        role_arn: String,
    },
    /// Let one role assume another, on both sides.
    AllowTarget {
        /// The role that assumes.
        role_arn: String,
        /// The role that is assumed.
        target: String,
    },
    /// Name principals in a bucket policy that is public.
    NamePrincipals {
        /// The bucket's name.
        bucket: String,
    },
    /// Narrow the statement that denies it.
    Narrow {
        /// The statement, if it is known.
        statement: Option<StatementRef>,
    },
    /// Allow the action wherever it is missing.
    Allow {
        /// The action.
        action: String,
        /// The resource.
        resource: String,
        /// Where it is missing.
        missing: Vec<Missing>,
        /// The grant that does it, if the spec has words for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        grant: Option<Grant>,
    },
}

/// Where an action is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Missing {
    /// In the policy of the resource.
    Resource {
        /// The policy.
        of: PolicyRef,
        /// Who is to be named in it.
        principal: String,
    },
    /// In the policies of the caller.
    Identity {
        /// The caller.
        caller: ChainCaller,
    },
    /// In the permissions boundary of the caller.
    Boundary {
        /// The caller.
        caller: ChainCaller,
    },
}

/// A grant as a spec has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// The service account's key in the spec.
    pub to: String,
    /// The bucket's key in the spec.
    pub bucket: String,
    /// The prefix.
    pub prefix: String,
    /// The action. The spec has words for some.
    pub action: String,
}
