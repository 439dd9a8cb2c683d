//! Breaks in chains: where, why, and the smallest change that makes the chain hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::terms::{AccountRef, AppliedRule, ChainCaller, ChainRole, PolicyRef, StatementRef, Trusted};
use crate::iam::{Decision, DecisionReason, Layer};

/// A break in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broken {
    /// The step that fails.
    pub why: Break,
    /// The smallest change that makes the chain hold.
    pub fix: Fix,
}

/// The reason why a step of a chain fails.
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
    /// The role's account has no OIDC provider for the cluster's issuer.
    ProviderMissing {
        /// The issuer's host.
        issuer: String,
        /// The account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// The role's trust policy does not admit the service account.
    NotTrusted {
        /// The role.
        #[serde(flatten)]
        role: ChainRole,
        /// The subject of the web identity, or the service account that EKS acts for.
        subject: String,
        /// The principal that the role would have to trust.
        trusted: Trusted,
        /// The action.
        action: String,
        /// The reason for the denial.
        denial: Denial,
    },
    /// The role of an association cannot assume the target role.
    TargetDenied {
        /// The role.
        role: ChainRole,
        /// The target role.
        target: ChainRole,
        /// The reason for the denial.
        denial: Denial,
    },
    /// The bucket's policy is public, and the bucket's Block Public Access restricts public policies.
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
        /// The reason for the denial.
        denial: Denial,
    },
}

/// The reason why policies deny a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Denial {
    /// A statement denies the request.
    Explicit {
        /// The statement.
        statement: Option<StatementRef>,
    },
    /// No statement of a layer allows the request.
    NotAllowed {
        /// The layer, if it is a single one.
        layer: Option<DeniedBy>,
    },
    /// The resource belongs to another account, and its policy does not allow the request.
    OtherAccount,
    /// The policy of the key or role neither names the caller nor delegates to the caller's account.
    NotDelegated,
    /// The caller is a federated user without a session policy, who gets only what resource policies grant to the
    /// session.
    FederatedUser,
    /// The policy of the key or role is not known.
    PolicyUnknown,
    /// A rule of AWS beyond the policy language denies the request.
    Rule {
        /// The rule.
        rule: AppliedRule,
    },
}

impl Denial {
    /// The reason of a decision that denies. Call it only for such decisions.
    pub(super) fn of(decision: &Decision<'_>) -> Self {
        match decision.why {
            DecisionReason::Denied => {
                Self::Explicit { statement: decision.deciding().next().map(StatementRef::applied) }
            }
            DecisionReason::ResourceOfOtherAccount => Self::OtherAccount,
            DecisionReason::NotDelegated => Self::NotDelegated,
            DecisionReason::FederatedWithoutSessionPolicy => Self::FederatedUser,
            DecisionReason::PolicyUnknown => Self::PolicyUnknown,
            DecisionReason::Rule(rule) => Self::Rule { rule: rule.into() },
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
            Layer::Resource | Layer::Bucket => Self::Resource,
            Layer::Boundary => Self::Boundary,
            Layer::Session => Self::Session,
            Layer::Scp { .. } => Self::ServiceControl,
            Layer::Rcp { .. } => Self::ResourceControl,
            Layer::Endpoint => Self::Endpoint,
        }
    }
}

/// The smallest change that would allow a denied request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fix {
    /// Give the service account a role, by an association or an annotation.
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
        /// The issuer's host, which prefixes the condition keys.
        issuer: String,
        /// The subject.
        subject: String,
    },
    /// Let the role trust EKS Pod Identity.
    TrustPodIdentity {
        /// The role.
        role_arn: String,
    },
    /// Allow one role to assume another, in both roles' policies.
    AllowTarget {
        /// The role that assumes the target.
        role_arn: String,
        /// The target role.
        target: String,
    },
    /// Name principals in a public bucket policy.
    NamePrincipals {
        /// The bucket's name.
        bucket: String,
    },
    /// Call the action as another identity, because no policy can allow it to this one.
    UseIdentity {
        /// The id of the account to which the identity must belong, if that is the reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<String>,
    },
    /// Narrow the statement that denies the request.
    Narrow {
        /// The statement, if known.
        statement: Option<StatementRef>,
    },
    /// Allow the action in each policy that lacks it.
    Allow {
        /// The action.
        action: String,
        /// The resource.
        resource: String,
        /// The policies that lack it.
        missing: Vec<Missing>,
        /// The equivalent grant, if the spec can express it.
        #[serde(skip_serializing_if = "Option::is_none")]
        grant: Option<Grant>,
    },
}

/// A policy that does not allow an action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Missing {
    /// The policy of the resource.
    Resource {
        /// The policy.
        of: PolicyRef,
        /// The principal to name in it.
        principal: String,
    },
    /// The caller's identity policies.
    Identity {
        /// The caller.
        caller: ChainCaller,
    },
    /// The caller's permissions boundary.
    Boundary {
        /// The caller.
        caller: ChainCaller,
    },
}

/// A grant as the spec would declare it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// The service account's key in the spec.
    pub to: String,
    /// The bucket's key in the spec.
    pub bucket: String,
    /// The prefix.
    pub prefix: String,
    /// The action, such as `s3:GetObject`. Reports show some actions as access levels.
    pub action: String,
}
