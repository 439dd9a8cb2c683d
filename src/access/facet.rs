//! What a body says about access: the only thing that the core reads of it.
//!
//! A kind turns its bodies into facets; worlds, lints, quotas, lock-outs and the search for principals read facets and
//! no field by name. So a new kind that bears on access says so in its own file, and is seen by all of them.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::cluster::ClusterAccess;
use crate::address::Scope;
use crate::document::Document;
use crate::iam::{Policy, PolicyKind, PolicyPlace, Principal, Selector, Statement, Version};

/// An object as its API knows it: where it lives, its name there, and its body.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'b> {
    /// Where it lives.
    pub scope: &'b Scope,
    /// The name by which its API knows it.
    pub physical_id: &'b str,
    /// What it is, desired or live.
    pub body: &'b Document,
}

/// A policy in a body, as canonical text. It is parsed only where somebody asks for its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyText<'b>(&'b str);

impl<'b> PolicyText<'b> {
    /// The policy in a field of a body, if there is one.
    #[must_use]
    pub fn of(body: &'b Document, field: &str) -> Option<Self> {
        body.field_text(field).filter(|text| *text != "null").map(Self)
    }

    /// The policy with this text, which a body holds.
    #[must_use]
    pub fn new(text: &'b RawValue) -> Self {
        Self(text.get())
    }

    /// The canonical text.
    #[must_use]
    pub const fn as_str(self) -> &'b str {
        self.0
    }

    /// The policy. Nothing if the text is something else.
    #[must_use]
    pub fn parse(self) -> Option<Policy> {
        serde_json::from_str(self.0).ok()
    }

    /// The policy as it would be sent, with the statements of others that share the document.
    #[must_use]
    pub fn sent(self, others: Option<&Policy>) -> Option<Cow<'b, str>> {
        // A policy writes all other characters in a way of its own.
        let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\');
        if others.is_none() && is_plain(self.0) {
            return Some(self.0.into());
        }
        let own = self.parse()?;
        Some(others.map_or_else(|| own.to_string(), |others| own.merge(others).to_string()).into())
    }
}

/// A role by the id of its account and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleRef {
    /// The account's id.
    pub account: String,
    /// The role's name, without its path.
    pub name: String,
}

/// What carries a policy of its own.
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

/// The policy of a resource, which may be shared with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourcePolicy<'b> {
    /// What carries it.
    pub on: Carrier<'b>,
    /// The resource's ARN, or one like it where only an alias is known.
    pub arn: String,
    /// The id of the account that owns the resource.
    pub account: String,
    /// Our statements.
    pub ours: Option<PolicyText<'b>>,
    /// The statements of others. Only a live body has them.
    pub others: Option<PolicyText<'b>>,
    /// Whether nobody else may have statements there.
    pub exclusive: bool,
    /// How its size counts.
    pub place: PolicyPlace,
    /// By which rules it is judged.
    pub kind: PolicyKind,
    /// What whoever writes it must still be allowed to do afterwards: without that, nobody could correct it.
    pub must_keep: &'static [&'static str],
}

impl ResourcePolicy<'_> {
    /// Our statements and, unless it is exclusive, those of others, as one policy.
    #[must_use]
    pub fn whole(&self) -> Policy {
        let own = self.ours.and_then(PolicyText::parse).unwrap_or_else(|| Policy::new(Version::V2012, []));
        match self.others.and_then(PolicyText::parse) {
            Some(others) => own.merge(&others),
            None => own,
        }
    }
}

/// How pods of a service account get a role from EKS Pod Identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodBinding {
    /// The id of the account of the cluster.
    pub account: String,
    /// The cluster's name in EKS.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The service account's name.
    pub service_account: String,
    /// The ARN of the role.
    pub role: String,
    /// The ARN of the role that EKS assumes with it, if any.
    pub target: Option<String>,
    /// Whether sessions carry tags.
    pub tagged: bool,
}

/// What a body says about access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facet<'b> {
    /// Nothing.
    None,
    /// A role.
    Role {
        /// Its ARN.
        arn: String,
        /// Its account and name.
        role: RoleRef,
        /// Who may assume it. Nothing if that is not known.
        trust: Option<PolicyText<'b>>,
        /// The ARN of its permissions boundary.
        boundary: Option<String>,
    },
    /// A managed policy, which roles get by attachments.
    ManagedPolicy {
        /// Its ARN.
        arn: &'b str,
        /// What it says.
        document: Option<PolicyText<'b>>,
    },
    /// An inline policy of a role.
    InlinePolicy {
        /// Whose.
        role: RoleRef,
        /// Its name.
        name: String,
        /// What it says.
        document: Option<PolicyText<'b>>,
    },
    /// The attachment of a managed policy to a role.
    Attachment {
        /// Whose.
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
        /// Its ARN.
        arn: &'b str,
        /// The issuer, without its scheme.
        host: String,
    },
    /// How pods get a role from EKS Pod Identity.
    PodBinding(PodBinding),
    /// A Kubernetes service account.
    ServiceAccount {
        /// The cluster's key in the spec.
        cluster: &'b str,
        /// The namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The ARN of the role that it is annotated with.
        role: Option<String>,
    },
    /// What an IAM principal may do in a cluster.
    ClusterAccess(ClusterAccess),
    /// A bucket.
    Bucket {
        /// Its name.
        name: &'b str,
        /// Its ARN.
        arn: String,
        /// The id of its account.
        account: String,
        /// Whether Block Public Access is on.
        blocked: bool,
    },
}

impl Facet<'_> {
    /// The ARN by which policies may name the object as a principal.
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

    /// The principals that the object names, and that its API may refuse while they are not known everywhere.
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
