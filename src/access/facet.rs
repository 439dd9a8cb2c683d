//! Facets: the part of a body that is about access, which is the only part that the core reads.
//!
//! A kind turns its bodies into facets. Worlds, lints, quotas, the lockout check and the search for principals read
//! facets and never a field by name. A new kind therefore only has to provide its facets, unless its bodies mean
//! something new for access: that needs a variant of [`Facet`] and code that reads it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::cluster::ClusterAccess;
use crate::address::Scope;
use crate::document::Document;
use crate::iam::{Policy, PolicyKind, PolicyPlace, Principal, Selector, Statement, Version};

/// An object as its API identifies it: its scope, its physical id, and its body.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'b> {
    /// Its scope.
    pub scope: &'b Scope,
    /// Its physical id.
    pub physical_id: &'b str,
    /// Its body, desired or live.
    pub body: &'b Document,
}

/// The canonical text of a policy in a body. It is parsed only when its meaning is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyText<'b>(&'b str);

impl<'b> PolicyText<'b> {
    /// The policy in a field of a body, if there is one.
    #[must_use]
    pub fn of(body: &'b Document, field: &str) -> Option<Self> {
        body.field_text(field).filter(|text| *text != "null").map(Self)
    }

    /// A policy with this text from a body.
    #[must_use]
    pub fn new(text: &'b RawValue) -> Self {
        Self(text.get())
    }

    /// The canonical text.
    #[must_use]
    pub const fn as_str(self) -> &'b str {
        self.0
    }

    /// Parses the policy. `None` if the text is not a policy.
    #[must_use]
    pub fn parse(self) -> Option<Policy> {
        serde_json::from_str(self.0).ok()
    }

    /// The text that would be sent, including the statements of other parties in the same document.
    #[must_use]
    pub fn sent(self, others: Option<&Policy>) -> Option<Cow<'b, str>> {
        // Serializing a policy writes all other characters differently.
        let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\');
        if others.is_none() && is_plain(self.0) {
            return Some(self.0.into());
        }
        let own = self.parse()?;
        Some(others.map_or_else(|| own.to_string(), |others| own.merge(others).to_string()).into())
    }
}

/// A role by its account's id and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleRef {
    /// The account's id.
    pub account: String,
    /// The role's name, without its path.
    pub name: String,
}

/// A resource that has its own policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier<'b> {
    /// An S3 bucket, by its name.
    Bucket(&'b str),
    /// A KMS key, by its alias.
    Key(&'b str),
    /// Any other resource, by its ARN.
    Other(String),
}

impl std::fmt::Display for Carrier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bucket(name) => write!(f, "bucket `{name}`"),
            Self::Key(alias) => write!(f, "key `{alias}`"),
            Self::Other(arn) => write!(f, "`{arn}`"),
        }
    }
}

/// The policy of a resource, which may be a shared document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourcePolicy<'b> {
    /// The resource.
    pub on: Carrier<'b>,
    /// The resource's ARN, or a stand-in where only an alias is known.
    pub arn: String,
    /// The id of the account that owns the resource.
    pub account: String,
    /// The project's own statements.
    pub ours: Option<PolicyText<'b>>,
    /// The statements of other parties. Only a live body has them.
    pub others: Option<PolicyText<'b>>,
    /// Whether the project owns the whole policy, without statements of other parties.
    pub exclusive: bool,
    /// The quota that applies to the policy's size.
    pub place: PolicyPlace,
    /// The rules that apply to the policy.
    pub kind: PolicyKind,
    /// The actions that the identity writing the policy must keep; without them it could not correct the policy.
    pub must_keep: &'static [&'static str],
}

impl ResourcePolicy<'_> {
    /// The project's statements merged with those of other parties.
    #[must_use]
    pub fn whole(&self) -> Policy {
        let own = self.ours.and_then(PolicyText::parse).unwrap_or_else(|| Policy::new(Version::V2012, []));
        match self.others.and_then(PolicyText::parse) {
            Some(others) => own.merge(&others),
            None => own,
        }
    }
}

/// An EKS Pod Identity association: the role that the pods of a service account get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodBinding {
    /// The id of the cluster's account.
    pub account: String,
    /// The cluster's name in EKS.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The service account's name.
    pub service_account: String,
    /// The ARN of the role.
    pub role: String,
    /// The ARN of the target role, if any.
    pub target: Option<String>,
    /// Whether sessions carry session tags.
    pub tagged: bool,
}

/// The meaning of a body for access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facet<'b> {
    /// The body does not affect access.
    None,
    /// A role.
    Role {
        /// The role's ARN.
        arn: String,
        /// The role's account and name.
        role: RoleRef,
        /// The trust policy; `None` if unknown.
        trust: Option<PolicyText<'b>>,
        /// The ARN of the role's permissions boundary.
        boundary: Option<String>,
    },
    /// A managed policy. Attachments give it to roles.
    ManagedPolicy {
        /// The policy's ARN.
        arn: &'b str,
        /// The policy document.
        document: Option<PolicyText<'b>>,
    },
    /// An inline policy of a role.
    InlinePolicy {
        /// The role.
        role: RoleRef,
        /// The policy's name.
        name: String,
        /// The policy document.
        document: Option<PolicyText<'b>>,
    },
    /// The attachment of a managed policy to a role.
    Attachment {
        /// The role.
        role: RoleRef,
        /// The policy's ARN.
        policy: String,
    },
    /// The policy of a resource.
    Resource(ResourcePolicy<'b>),
    /// An OIDC provider of an account.
    Provider {
        /// The account's id.
        account: String,
        /// The provider's ARN.
        arn: &'b str,
        /// The issuer without its scheme.
        host: String,
    },
    /// An EKS Pod Identity association.
    PodBinding(PodBinding),
    /// A Kubernetes service account.
    ServiceAccount {
        /// The cluster's key in the spec.
        cluster: &'b str,
        /// The namespace.
        namespace: String,
        /// The service account's name.
        name: String,
        /// The ARN of the annotated role.
        role: Option<String>,
    },
    /// The rights of an IAM principal in a cluster.
    ClusterAccess(ClusterAccess),
    /// A bucket.
    Bucket {
        /// The bucket's name.
        name: &'b str,
        /// The bucket's ARN.
        arn: String,
        /// The id of the bucket's account.
        account: String,
        /// Whether Block Public Access is on.
        blocked: bool,
    },
}

impl Facet<'_> {
    /// The ARN by which policies can name the object as a principal.
    #[must_use]
    pub fn principal(&self) -> Option<&str> {
        match self {
            Self::Role { arn, .. } => Some(arn),
            Self::Provider { arn, .. } => Some(arn),
            Self::None
            | Self::ManagedPolicy { .. }
            | Self::InlinePolicy { .. }
            | Self::Attachment { .. }
            | Self::Resource(_)
            | Self::PodBinding(_)
            | Self::ServiceAccount { .. }
            | Self::ClusterAccess(_)
            | Self::Bucket { .. } => None,
        }
    }

    /// The principals that the object names. Its API may reject them until they have propagated.
    #[must_use]
    pub fn names(&self) -> Vec<Principal> {
        let named = |text: Option<PolicyText<'_>>| text.and_then(PolicyText::parse).map(|p| principals(&p));
        match self {
            Self::Role { trust, .. } => named(*trust).unwrap_or_default(),
            Self::Resource(policy) => {
                let all = [policy.ours, policy.others].into_iter().filter_map(named);
                all.flatten().collect()
            }
            Self::PodBinding(PodBinding { role, target, .. }) => {
                let roles = std::iter::once(role).chain(target).filter(|arn| !arn.is_empty());
                roles.map(|arn| Principal::aws(arn)).collect()
            }
            Self::ClusterAccess(access) => vec![Principal::aws(&access.principal)],
            Self::None
            | Self::ManagedPolicy { .. }
            | Self::InlinePolicy { .. }
            | Self::Attachment { .. }
            | Self::Provider { .. }
            | Self::ServiceAccount { .. }
            | Self::Bucket { .. } => Vec::new(),
        }
    }
}

/// The principals that a policy names.
#[must_use]
pub fn principals(policy: &Policy) -> Vec<Principal> {
    policy.statements().iter().filter_map(Statement::principal).flat_map(Selector::values).cloned().collect()
}
