//! The elements of a world with their policies.

use std::collections::BTreeSet;

use crate::access::terms::{ChainRole, PolicyOf, PolicyRef};
use crate::access::unread::Unread;
use crate::address::Region;
use crate::iam::{Policy, Principal, Selector, Statement, Version};

/// A policy and its name in the IAM engine: the label of a [`PolicyRef`].
#[derive(Clone, Debug, PartialEq)]
pub(in crate::access) struct Held {
    pub label: String,
    pub policy: Policy,
}

/// A role.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::access) struct WorldRole {
    pub arn: String,
    pub account: String,
    pub name: String,
    /// The role's key in the spec, which commands accept.
    pub key: String,
    /// The role's address; `None` if only its name is known.
    pub address: Option<String>,
    /// The trust policy; `None` if unknown.
    pub trust: Option<Policy>,
    pub identity: Vec<Held>,
    pub boundary: Vec<Held>,
    /// The unread policies that decide about the role's access.
    pub unknown: BTreeSet<Unread>,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::access) struct WorldBucket {
    pub name: String,
    /// The bucket's key in the spec.
    pub entry: String,
    pub arn: String,
    pub account: String,
    /// The bucket policy; `None` if unknown.
    pub policy: Option<Policy>,
    /// The address of the bucket policy, if it is a resource of its own.
    pub policy_address: Option<String>,
    /// Whether Block Public Access is on.
    pub blocked: bool,
    /// The spec key of the KMS key that encrypts new objects.
    pub key: Option<String>,
    /// Whether the policy is public.
    pub public: bool,
}

/// A KMS key.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::access) struct WorldKey {
    pub arn: String,
    pub alias: String,
    pub account: String,
    pub region: Region,
    pub policy: Policy,
    /// The address of the key policy, if it is a resource of its own.
    pub policy_address: Option<String>,
    /// Whether the whole policy is known, and not only the project's statements.
    pub whole: bool,
}

/// Any other resource with a policy of its own.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::access) struct PolicyHolder {
    pub arn: String,
    pub account: String,
    /// The statements of the project and of other parties that have been read.
    pub policy: Policy,
    /// The address of the policy resource.
    pub address: String,
}

impl WorldBucket {
    /// A stand-in for an unread bucket policy: the owner is assumed to allow the roles of the spec. A role in the
    /// bucket's own account needs no statement.
    pub(in crate::access) fn assumed_policy(&self, role: Option<&WorldRole>) -> Policy {
        let role = role.filter(|role| !self.account.is_empty() && !role.arn.contains(&format!("::{}:", self.account)));
        let to = |role: &WorldRole| Statement::allow(["*"], ["*"]).to(Selector::of([Principal::aws(&role.arn)]));
        Policy::new(Version::V2012, role.map(to))
    }

    /// A reference to the bucket's policy.
    pub(in crate::access) fn policy_ref(&self) -> PolicyRef {
        let of = PolicyOf::Bucket { bucket: self.name.clone(), assumed: self.policy.is_none() };
        PolicyRef::from(of).at(self.policy_address.clone())
    }
}

impl WorldKey {
    /// Whether an ARN is that of the key's alias.
    pub(in crate::access) fn is_alias(&self, arn: &str) -> bool {
        let (region, account, alias) = (&self.region, &self.account, &self.alias);
        arn == format!("arn:{}:kms:{region}:{account}:{alias}", region.partition())
    }

    /// A reference to the key's policy.
    pub(in crate::access) fn policy_ref(&self) -> PolicyRef {
        PolicyRef::from(PolicyOf::Key { alias: self.alias.clone() }).at(self.policy_address.clone())
    }
}

impl PolicyHolder {
    /// A reference to the resource's policy.
    pub(in crate::access) fn policy_ref(&self) -> PolicyRef {
        PolicyRef::from(PolicyOf::Resource { arn: self.arn.clone() }).at(Some(self.address.clone()))
    }
}

impl WorldRole {
    /// A reference to the role's trust policy.
    pub(in crate::access) fn trust_ref(&self) -> PolicyRef {
        PolicyRef::from(PolicyOf::Trust { role: self.name.clone() }).at(self.address.clone())
    }

    pub(super) fn trust_label(&self) -> String {
        self.trust_ref().label()
    }

    /// The role as a step of a chain names it.
    pub(super) fn link(&self) -> ChainRole {
        ChainRole { role_arn: self.arn.clone(), role: self.name.clone() }
    }
}
