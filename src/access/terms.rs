//! The terms of answers about access: who, on what, under which conditions, through which chain. They are data; the report
//! puts them into words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unread::Unread;
use crate::iam::{Applied, Atom, Condition, Source, Statement};

/// An AWS account.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AccountRef {
    /// Its key in the spec, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Its id, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Whether the account is not in the spec.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
}

/// Who has access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Grantee {
    /// The pods of a Kubernetes service account.
    ServiceAccount {
        /// The cluster's key in the spec, or its name in EKS if the spec has none for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cluster: Option<String>,
        /// The host of the OIDC issuer, if the spec does not have its cluster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<String>,
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
        /// Whether the service account is not in the spec.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        foreign: bool,
    },
    /// An IAM role that Bailiwick knows.
    Role {
        /// The role's ARN.
        role_arn: String,
        /// The role's name.
        name: String,
        /// Its account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// The principals of an account, as far as the account lets them.
    Account {
        /// The account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// A principal that a policy names by ARN.
    Principal {
        /// The ARN, or a unique id.
        arn: String,
        /// Whether the principal is not in the spec.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        foreign: bool,
    },
    /// An AWS service.
    Service {
        /// The service principal.
        name: String,
    },
    /// A user of S3 in the form that access control lists have.
    CanonicalUser {
        /// The id.
        id: String,
    },
    /// The identities of an OIDC or SAML provider.
    WebIdentity {
        /// The provider's ARN.
        provider: String,
        /// The cluster's key in the spec, if the provider is that of a cluster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cluster: Option<String>,
        /// The subject, wildcards allowed; all identities if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
    },
    /// Everyone.
    Anyone,
    /// Whoever the policy that is compared is attached to.
    Attached,
    /// What a plan of format 1.0 has: text.
    Words {
        /// The text.
        text: String,
    },
}

impl Grantee {
    /// Whether the spec does not have them.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        match self {
            Self::ServiceAccount { foreign, .. } => *foreign,
            Self::Account { account } => account.foreign,
            Self::Role { .. } | Self::Attached | Self::Words { .. } => false,
            Self::Principal { .. }
            | Self::Service { .. }
            | Self::CanonicalUser { .. }
            | Self::WebIdentity { .. }
            | Self::Anyone => true,
        }
    }
}

/// What access is to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct DataPlace {
    /// What it is.
    #[serde(flatten)]
    pub on: PlaceKind,
    /// The prefix of the service's actions, where there is one service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl From<PlaceKind> for DataPlace {
    fn from(on: PlaceKind) -> Self {
        Self { service: on.service().map(str::to_owned), on }
    }
}

/// What access is to, by its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PlaceKind {
    /// A bucket itself.
    Bucket {
        /// Its name.
        bucket: String,
        /// Its account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// The names of objects in a bucket.
    Listing {
        /// The bucket's name.
        bucket: String,
        /// Which prefixes may be asked for, wildcards allowed. Without it: `HeadBucket`, and lists that ask for no prefix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
        /// The bucket's account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// Objects in a bucket.
    Objects {
        /// The bucket's name.
        bucket: String,
        /// Their keys, wildcards allowed.
        pattern: String,
        /// The prefix that they have in common, if the pattern is a prefix and nothing else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
        /// The bucket's account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// A KMS key.
    Key {
        /// Its alias.
        alias: String,
        /// Its ARN.
        arn: String,
        /// Its account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// An IAM role.
    Role {
        /// Its ARN.
        role_arn: String,
        /// Its name.
        name: String,
        /// Its account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// Any other resource.
    Resource {
        /// Its ARN, wildcards allowed.
        arn: String,
    },
    /// What a policy decides whose contents have not been read.
    Unread {
        /// The policy.
        unread: Unread,
    },
    /// What a plan of format 1.0 has: text.
    Words {
        /// The text.
        text: String,
    },
}

impl PlaceKind {
    fn service(&self) -> Option<&str> {
        match self {
            Self::Bucket { .. } | Self::Listing { .. } | Self::Objects { .. } => Some("s3"),
            Self::Key { .. } => Some("kms"),
            Self::Role { .. } => Some("sts"),
            Self::Resource { arn } => {
                arn.split(':').nth(2).filter(|service| !service.is_empty() && !service.contains(['*', '?', '$']))
            }
            Self::Unread { .. } | Self::Words { .. } => None,
        }
    }

    /// Objects in a bucket by a pattern of their keys.
    pub(super) fn objects(bucket: &str, account: AccountRef, pattern: &str) -> Self {
        let start = pattern.strip_suffix('*').filter(|start| !start.contains(['*', '?', '$']));
        let prefix = start.map(str::to_owned);
        Self::Objects { bucket: bucket.to_owned(), pattern: pattern.to_owned(), prefix, account }
    }
}

/// What is left out of a change of access.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Exception {
    /// These places; all places of the change if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<DataPlace>,
    /// These actions; all actions of the change if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Places that are not left out after all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub but: Vec<DataPlace>,
    /// When it is left out; always if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Requirement>,
}

impl Exception {
    /// One place, always.
    pub(super) fn place(place: impl Into<DataPlace>) -> Self {
        Self { places: vec![place.into()], ..Self::default() }
    }
}

/// Something that access depends on and that is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Requirement {
    /// A condition of a statement.
    Condition {
        /// The operator, as in a policy.
        operator: String,
        /// The condition key.
        key: String,
        /// The values, one of which must do.
        values: Vec<String>,
        /// Whether the condition must not hold: it is that of a Deny.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negated: bool,
    },
    /// That the resource matches a pattern in which a policy variable varies.
    Resource {
        /// The pattern.
        pattern: String,
        /// Whether it must not match.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negated: bool,
    },
    /// That a `NotPrincipal`, of which AWS does not define whether it means the caller, leaves the caller out.
    NotPrincipal {
        /// Its policy.
        policy: PolicyRef,
        /// Whether it must not.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negated: bool,
    },
    /// What a plan of format 1.0 has: text.
    Words {
        /// The text.
        text: String,
    },
}

impl Requirement {
    /// What an atom of a reach asks for.
    pub(super) fn of(atom: &Atom, negated: bool) -> Self {
        match atom {
            Atom::Condition(condition) => Self::condition(condition, negated),
            Atom::Resource(pattern) => Self::Resource { pattern: pattern.to_string(), negated },
            Atom::NotPrincipal(policy) => Self::NotPrincipal { policy: PolicyRef::named(policy), negated },
        }
    }

    /// What a condition asks for.
    pub(super) fn condition(condition: &Condition, negated: bool) -> Self {
        Self::Condition {
            operator: condition.operator().to_string(),
            key: condition.key().to_string(),
            values: condition.values().map(str::to_owned).collect(),
            negated,
        }
    }
}

/// A policy that decides about access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRef {
    /// What it is the policy of.
    #[serde(flatten)]
    pub of: PolicyOf,
    /// The address of the resource that the policy is a part of, if Bailiwick knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// What a policy is the policy of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PolicyOf {
    /// An inline policy of a role.
    Inline {
        /// Its name.
        name: String,
    },
    /// A managed policy.
    Managed {
        /// Its ARN.
        arn: String,
    },
    /// A permissions boundary.
    Boundary {
        /// Its ARN; absent for one that has not been read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arn: Option<String>,
    },
    /// The policy of a bucket.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// Whether the policy is managed elsewhere and assumed to allow what is necessary.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        assumed: bool,
    },
    /// The policy of a KMS key.
    Key {
        /// The key's alias.
        alias: String,
    },
    /// The trust policy of a role.
    Trust {
        /// The role's name.
        role: String,
    },
    /// The policy of any other resource.
    Resource {
        /// The resource.
        arn: String,
    },
    /// The caller's own policies, which have not been read.
    Caller,
    /// The policy that is compared.
    Given,
}

impl From<PolicyOf> for PolicyRef {
    fn from(of: PolicyOf) -> Self {
        Self { of, address: None }
    }
}

impl PolicyRef {
    /// The same with the address of its resource.
    pub(super) fn at(self, address: Option<String>) -> Self {
        Self { address, ..self }
    }

    /// The name that the IAM engine gets for it and hands back with each statement. [`PolicyRef::named`] reads it.
    pub(super) fn label(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The policy of a name that [`PolicyRef::label`] made.
    pub(super) fn named(label: &str) -> Self {
        serde_json::from_str(label).unwrap_or_else(|_| PolicyOf::Given.into())
    }
}

/// A statement of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct StatementRef {
    /// Its Sid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Its place in the document, from 1.
    pub position: usize,
    /// The policy.
    pub policy: PolicyRef,
}

impl StatementRef {
    pub(super) fn new(policy: PolicyRef, statement: &Statement) -> Self {
        Self { sid: statement.sid().map(str::to_owned), position: statement.position(), policy }
    }

    pub(super) fn applied(applied: &Applied<'_>) -> Self {
        Self::new(PolicyRef::named(applied.policy), applied.statement)
    }

    pub(super) fn source(source: &Source) -> Self {
        Self { sid: source.sid.clone(), position: source.position, policy: PolicyRef::named(&source.policy) }
    }
}

/// A role by its ARN and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ChainRole {
    /// Its ARN.
    pub role_arn: String,
    /// Its name.
    pub role: String,
}

/// Whose requests policies are about: a role of the world, or any other principal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ChainCaller {
    /// The ARN, or what a policy names it by.
    pub principal: String,
    /// The name, if it is a role of the world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// One step of the chain from a principal to data. It holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChainStep {
    /// A service account is annotated with a role.
    Annotation {
        /// The namespace.
        namespace: String,
        /// The service account's name.
        name: String,
        /// The role.
        role_arn: String,
    },
    /// EKS Pod Identity associates a service account with a role.
    Association {
        /// The namespace.
        namespace: String,
        /// The service account's name.
        name: String,
        /// The role.
        role_arn: String,
    },
    /// The trust policy of a role lets the service account in.
    Trusts {
        /// The role.
        #[serde(flatten)]
        role: ChainRole,
        /// Whom it trusts for that.
        trusted: Trusted,
        /// The statement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementRef>,
    },
    /// The trust policy of a role is not managed here, and it is taken to let the service account in.
    TrustAssumed {
        /// The role.
        #[serde(flatten)]
        role: ChainRole,
    },
    /// EKS assumes the target role of an association.
    AssumesTarget {
        /// The target role.
        #[serde(flatten)]
        role: ChainRole,
        /// The statement that trusts the first role.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementRef>,
    },
    /// A principal can assume a role.
    Assumes {
        /// The role.
        #[serde(flatten)]
        role: ChainRole,
        /// The statement that trusts the principal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementRef>,
    },
    /// A layer of policies allows the action that is asked about.
    Allows {
        /// The layer.
        layer: AllowedBy,
        /// The caller.
        caller: ChainCaller,
        /// The action.
        action: String,
        /// The statement.
        statement: StatementRef,
    },
    /// A statement that gives the access.
    Statement {
        /// The statement.
        statement: StatementRef,
    },
    /// What a plan of format 1.0 has: text.
    Words {
        /// The text.
        text: String,
    },
}

/// Whom a role trusts so that a service account gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trusted {
    /// The subject of the service account, through the OIDC provider of its cluster.
    ServiceAccount,
    /// The service of EKS Pod Identity.
    PodIdentity,
}

/// A layer of policies that allows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllowedBy {
    /// The caller's own policies.
    Identity,
    /// The caller's permissions boundary.
    Boundary,
    /// The policy of the resource.
    Resource,
}
