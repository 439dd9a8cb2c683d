//! What a world consists of, each with its policies.

use std::collections::BTreeSet;

use crate::access::terms::{ChainRole, PolicyOf, PolicyRef};
use crate::access::unread::Unread;
use crate::address::Region;
use crate::iam::{Policy, Principal, Selector, Statement, Version};

/// A policy and its name for the IAM engine: the label of a [`PolicyRef`].
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
    /// Its key in the spec, by which commands name it.
    pub key: String,
    /// Its address, if the world has more of it than its name.
    pub address: Option<String>,
    /// Who may assume it; nothing if that is not known.
    pub trust: Option<Policy>,
    pub identity: Vec<Held>,
    pub boundary: Vec<Held>,
    /// What decides about the role's access and has not been read.
    pub unknown: BTreeSet<Unread>,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::access) struct WorldBucket {
    pub name: String,
    /// Its key in the spec.
    pub entry: String,
    pub arn: String,
    pub account: String,
    /// Its policy; nothing if it is not known.
    pub policy: Option<Policy>,
    /// The address of its policy, if its policy is a resource of its own.
    pub policy_address: Option<String>,
    /// Whether Block Public Access is on.
    pub blocked: bool,
    /// The spec's key for the KMS key that new objects are encrypted with.
    pub key: Option<String>,
    /// Whether the policy opens the bucket to everybody.
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
    /// The address of its policy, if its policy is a resource of its own.
    pub policy_address: Option<String>,
    /// Whether all of the policy is known, and not only our statements.
    pub whole: bool,
}

/// Any other resource with a policy of its own.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::access) struct PolicyHolder {
    pub arn: String,
    pub account: String,
    /// Our statements and those of others, as far as they have been read.
    pub policy: Policy,
    /// The address of the policy.
    pub address: String,
}

impl WorldBucket {
    /// What stands for the policy of a bucket that was not read: its owner is taken to let in the roles that the spec has.
    /// In the bucket's own account a role needs no statement.
    pub(in crate::access) fn assumed_policy(&self, role: Option<&WorldRole>) -> Policy {
        let role = role.filter(|role| !self.account.is_empty() && !role.arn.contains(&format!("::{}:", self.account)));
        let to = |role: &WorldRole| Statement::allow(["*"], ["*"]).to(Selector::of([Principal::aws(&role.arn)]));
        Policy::new(Version::V2012, role.map(to))
    }

    /// Its policy.
    pub(in crate::access) fn policy_ref(&self) -> PolicyRef {
        let of = PolicyOf::Bucket { bucket: self.name.clone(), assumed: self.policy.is_none() };
        PolicyRef::from(of).at(self.policy_address.clone())
    }
}

impl WorldKey {
    /// Its policy.
    pub(in crate::access) fn policy_ref(&self) -> PolicyRef {
        PolicyRef::from(PolicyOf::Key { alias: self.alias.clone() }).at(self.policy_address.clone())
    }
}

impl WorldRole {
    /// Its trust policy.
    pub(in crate::access) fn trust_ref(&self) -> PolicyRef {
        PolicyRef::from(PolicyOf::Trust { role: self.name.clone() }).at(self.address.clone())
    }

    pub(super) fn trust_label(&self) -> String {
        self.trust_ref().label()
    }

    /// As a step of a chain names it.
    pub(super) fn link(&self) -> ChainRole {
        ChainRole { role_arn: self.arn.clone(), role: self.name.clone() }
    }
}
