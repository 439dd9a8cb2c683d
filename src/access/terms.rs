//! The terms of answers about access: who, on what data, under which conditions, through which chain. They are data;
//! the report puts them into words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::ClusterRight;
use super::unread::Unread;
use crate::iam::{Applied, Atom, AwsRule, Condition, Dependency, DependsOn, Source, Statement};

/// An AWS account.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AccountRef {
    /// The account's key in the spec, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The account's id, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Whether the account is not in the spec.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
}

/// A principal, or a group of principals, that has access.
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
    /// An IAM role in the world.
    Role {
        /// The role's ARN.
        role_arn: String,
        /// The role's name.
        name: String,
        /// The role's account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// The principals of an account that the account's own policies allow.
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
    /// An S3 user, identified as in access control lists.
    CanonicalUser {
        /// The canonical user id.
        id: String,
    },
    /// The identities of an OIDC or SAML provider.
    WebIdentity {
        /// The provider's ARN.
        provider: String,
        /// The key in the spec of the cluster that the provider belongs to, if it belongs to one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cluster: Option<String>,
        /// The subject, wildcards allowed; absent for all identities.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
    },
    /// Everyone.
    Anyone,
    /// Any identity to which the compared policy is attached.
    Attached,
    /// Text from a plan of format 1.0.
    Words {
        /// The text.
        text: String,
    },
}

impl Grantee {
    /// Whether the principal is not in the spec.
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

/// A place to which access is gained, lost or requested.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct DataPlace {
    /// The kind of place.
    #[serde(flatten)]
    pub on: PlaceKind,
    /// The service prefix of the actions, if they share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl From<PlaceKind> for DataPlace {
    fn from(on: PlaceKind) -> Self {
        Self { service: on.service().map(str::to_owned), on }
    }
}

/// A place, by its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PlaceKind {
    /// A bucket itself.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// The bucket's account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// The keys of objects in a bucket.
    Listing {
        /// The bucket's name.
        bucket: String,
        /// The prefixes that may be listed, wildcards allowed. Absent for `HeadBucket` and for lists without a prefix.
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
        /// The objects' keys, wildcards allowed.
        pattern: String,
        /// The prefix that the keys share, if the pattern is only a prefix.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
        /// The bucket's account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// A KMS key.
    Key {
        /// The key's alias.
        alias: String,
        /// The key's ARN.
        arn: String,
        /// The key's account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// An IAM role.
    Role {
        /// The role's ARN.
        role_arn: String,
        /// The role's name.
        name: String,
        /// The role's account.
        #[serde(flatten)]
        account: AccountRef,
    },
    /// The Kubernetes API of a cluster.
    Cluster {
        /// The cluster's name in EKS.
        cluster: String,
        /// The right there.
        right: ClusterRight,
    },
    /// Any other resource.
    Resource {
        /// The resource's ARN, wildcards allowed.
        arn: String,
    },
    /// The resources that a policy with unread contents covers.
    Unread {
        /// The policy.
        unread: Unread,
    },
    /// Text from a plan of format 1.0.
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
            Self::Cluster { .. } => Some("eks"),
            Self::Resource { arn } => {
                arn.split(':').nth(2).filter(|service| !service.is_empty() && !service.contains(['*', '?', '$']))
            }
            Self::Unread { .. } | Self::Words { .. } => None,
        }
    }

    /// The objects in a bucket whose keys match a pattern.
    pub(super) fn objects(bucket: &str, account: AccountRef, pattern: &str) -> Self {
        let start = pattern.strip_suffix('*').filter(|start| !start.contains(['*', '?', '$']));
        let prefix = start.map(str::to_owned);
        Self::Objects { bucket: bucket.to_owned(), pattern: pattern.to_owned(), prefix, account }
    }
}

/// An exception to an access change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Exception {
    /// The excepted places; empty for all places of the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<DataPlace>,
    /// The excepted actions; empty for all actions of the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Places within `places` to which the exception does not apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub but: Vec<DataPlace>,
    /// Actions within `actions` to which the exception does not apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub but_actions: Vec<String>,
    /// The conditions under which the exception applies; empty if it always applies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Requirement>,
}

impl Exception {
    /// An unconditional exception for one place.
    pub(super) fn place(place: impl Into<DataPlace>) -> Self {
        Self { places: vec![place.into()], ..Self::default() }
    }
}

/// An unknown on which access depends. Of the negated requirements of one statement, one is enough.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Requirement {
    /// A condition of a statement.
    Condition {
        /// The operator, as in a policy.
        operator: String,
        /// The condition key.
        key: String,
        /// The values, one of which must match.
        values: Vec<String>,
        /// Whether the condition must not hold, because it is part of a Deny statement.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negated: bool,
        /// The statement that denies the request unless this requirement or another one of the statement is met.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementRef>,
    },
    /// The resource matches a pattern that contains a policy variable.
    Resource {
        /// The pattern.
        pattern: String,
        /// Whether the resource must not match.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negated: bool,
        /// The statement that denies the request unless this requirement or another one of the statement is met.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementRef>,
    },
    /// The key behind an alias matches a pattern.
    KeyBehindAlias {
        /// The pattern.
        pattern: String,
        /// Whether the key must not match.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negated: bool,
        /// The statement that denies the request unless this requirement or another one of the statement is met.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementRef>,
    },
    /// The resource matches a pattern if a `*` at the end of a segment also matches beyond the colon. AWS's pages
    /// disagree whether it does.
    WildcardBeyondColon {
        /// The pattern.
        pattern: String,
        /// Whether the resource must not match.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negated: bool,
        /// The statement that denies the request unless this requirement or another one of the statement is met.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementRef>,
    },
    /// A `NotPrincipal` element excludes the caller. AWS does not define whether it does.
    NotPrincipal {
        /// The policy with the element.
        policy: PolicyRef,
        /// Whether the element must not exclude the caller.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negated: bool,
        /// The statement that denies the request unless this requirement or another one of the statement is met.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementRef>,
    },
    /// The caller is a service-linked role.
    ServiceLinkedRole,
    /// Text from a plan of format 1.0.
    Words {
        /// The text.
        text: String,
    },
}

impl Requirement {
    /// The requirement that an atom of a reach expresses.
    pub(super) fn of(atom: &Atom, negated: bool) -> Self {
        match atom {
            Atom::Condition(condition) => Self::condition(condition, negated),
            Atom::Resource(pattern) => Self::Resource { pattern: pattern.to_string(), negated, statement: None },
            Atom::NotPrincipal(policy) => {
                Self::NotPrincipal { policy: PolicyRef::named(policy), negated, statement: None }
            }
        }
    }

    /// The requirement that a condition expresses.
    pub(super) fn condition(condition: &Condition, negated: bool) -> Self {
        Self::Condition {
            operator: condition.operator().to_string(),
            key: condition.key().to_string(),
            values: condition.values().map(str::to_owned).collect(),
            negated,
            statement: None,
        }
    }

    /// The requirement under which a conditional decision allows the request.
    pub(super) fn depends_on(dependency: &Dependency<'_>) -> Self {
        let negated = dependency.is_negated();
        let denying = dependency.of.as_ref().filter(|_| negated).map(StatementRef::applied);
        match dependency.on {
            DependsOn::Condition(condition) => match Self::condition(condition, negated) {
                Self::Condition { operator, key, values, negated, .. } => {
                    Self::Condition { operator, key, values, negated, statement: denying }
                }
                other => other,
            },
            DependsOn::Variable(pattern) => Self::Resource { pattern: pattern.to_owned(), negated, statement: denying },
            DependsOn::Key(pattern) => {
                Self::KeyBehindAlias { pattern: pattern.to_owned(), negated, statement: denying }
            }
            DependsOn::Wildcard(pattern) => {
                Self::WildcardBeyondColon { pattern: pattern.to_owned(), negated, statement: denying }
            }
            DependsOn::NotPrincipal => {
                let policy = PolicyRef::named(dependency.of.as_ref().map_or("", |applied| applied.policy));
                Self::NotPrincipal { policy, negated, statement: denying }
            }
            DependsOn::ServiceLinked => Self::ServiceLinkedRole,
        }
    }

    /// The statement that denies the request unless one of its negated requirements is met.
    #[must_use]
    pub fn denying(&self) -> Option<&StatementRef> {
        match self {
            Self::Condition { statement, .. }
            | Self::Resource { statement, .. }
            | Self::KeyBehindAlias { statement, .. }
            | Self::WildcardBeyondColon { statement, .. }
            | Self::NotPrincipal { statement, .. } => statement.as_ref(),
            Self::ServiceLinkedRole | Self::Words { .. } => None,
        }
    }
}

/// A rule of AWS beyond the policy language that took part in an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AppliedRule {
    /// The stable name of the rule.
    pub rule: String,
    /// The rule in words.
    pub says: String,
    /// The documentation page, or pages.
    pub page: String,
}

impl From<AwsRule> for AppliedRule {
    fn from(rule: AwsRule) -> Self {
        Self { rule: rule.name().to_owned(), says: rule.statement().to_owned(), page: rule.page().to_owned() }
    }
}

/// A policy that decides about access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRef {
    /// The kind of policy and its owner.
    #[serde(flatten)]
    pub of: PolicyOf,
    /// The address of the resource that contains the policy, if Bailiwick knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A policy, by its kind and owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PolicyOf {
    /// An inline policy of a role.
    Inline {
        /// The policy's name.
        name: String,
    },
    /// A managed policy.
    Managed {
        /// The policy's ARN.
        arn: String,
    },
    /// A permissions boundary.
    Boundary {
        /// The policy's ARN; absent if the boundary has not been read.
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
    /// The policy being compared.
    Given,
}

impl From<PolicyOf> for PolicyRef {
    fn from(of: PolicyOf) -> Self {
        Self { of, address: None }
    }
}

impl PolicyRef {
    /// The same reference with the address of its resource.
    pub(super) fn at(self, address: Option<String>) -> Self {
        Self { address, ..self }
    }

    /// The policy's name in the IAM engine, which returns it with each statement. [`PolicyRef::named`] parses it.
    pub(super) fn label(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The policy for a name from [`PolicyRef::label`].
    pub(super) fn named(label: &str) -> Self {
        serde_json::from_str(label).unwrap_or_else(|_| PolicyOf::Given.into())
    }
}

/// A statement of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct StatementRef {
    /// The statement's Sid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The statement's position in the document, from 1.
    pub position: usize,
    /// The statement's policy.
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
    /// The role's ARN.
    pub role_arn: String,
    /// The role's name.
    pub role: String,
}

/// The caller that makes the requests: a role of the world, or any other principal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ChainCaller {
    /// The caller's ARN, or the name that a policy uses for it.
    pub principal: String,
    /// The role's name, if the caller is a role of the world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// One step of the chain from a principal to data. The step holds.
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
    /// The trust policy of a role admits the service account.
    Trusts {
        /// The role.
        #[serde(flatten)]
        role: ChainRole,
        /// The principal that the role trusts.
        trusted: Trusted,
        /// The statement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<StatementRef>,
    },
    /// The trust policy of a role is not managed here and is assumed to admit the service account.
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
    /// A layer of policies allows the requested action.
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
    /// A statement grants the access.
    Statement {
        /// The statement.
        statement: StatementRef,
    },
    /// Text from a plan of format 1.0.
    Words {
        /// The text.
        text: String,
    },
}

/// The principal that a role must trust to serve a service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trusted {
    /// The service account's subject, through its cluster's OIDC provider.
    ServiceAccount,
    /// The EKS Pod Identity service.
    PodIdentity,
}

/// A layer of policies that allows a request.
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
