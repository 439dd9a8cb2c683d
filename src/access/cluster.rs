//! The rights of an IAM principal in a cluster's Kubernetes API, and the rights that a change removes.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::iam::Arn;

/// The rights of an IAM principal in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAccess {
    /// The cluster's name in EKS.
    pub cluster: String,
    /// The ARN of the role or user.
    pub principal: String,
    /// The rights.
    pub rights: BTreeSet<ClusterRight>,
}

/// One right of an IAM principal in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ClusterRight {
    /// A Kubernetes username, which role bindings may mention.
    Username {
        /// The username.
        username: String,
    },
    /// A Kubernetes group, which role bindings may mention.
    Group {
        /// The group's name.
        group: String,
    },
    /// An access policy in one namespace, or in the whole cluster.
    Policy {
        /// The policy's ARN.
        policy: String,
        /// The namespace; absent for the whole cluster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    },
}

impl fmt::Display for ClusterRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |arn: &str| arn.rsplit('/').next().unwrap_or(arn).to_owned();
        match self {
            Self::Username { username } => write!(f, "the username `{username}`"),
            Self::Group { group } => write!(f, "the group `{group}`"),
            Self::Policy { policy, namespace: None } => write!(f, "{} in the whole cluster", short(policy)),
            Self::Policy { policy, namespace: Some(namespace) } => write!(f, "{} in `{namespace}`", short(policy)),
        }
    }
}

impl ClusterAccess {
    /// The rights that the principal loses if it has `after` from then on. A policy for the whole cluster includes each
    /// namespace.
    #[must_use]
    pub fn lost(&self, after: &Self) -> Vec<&ClusterRight> {
        let is_kept = |right: &&ClusterRight| match right {
            ClusterRight::Policy { policy, namespace: Some(_) } => {
                let everywhere = ClusterRight::Policy { policy: policy.clone(), namespace: None };
                after.rights.contains(*right) || after.rights.contains(&everywhere)
            }
            _ => after.rights.contains(*right),
        };
        self.rights.iter().filter(|right| !is_kept(right)).collect()
    }
}

/// Whether a caller is the principal itself or a session of it. `arn:aws:sts::111111111111:assumed-role/deployer/ci` is
/// a session of `arn:aws:iam::111111111111:role/team/deployer`, whatever the path. Role names are unique within an
/// account, ignoring case.
#[must_use]
pub fn is_session_of(caller: &str, principal: &str) -> bool {
    let (Ok(caller_arn), Ok(principal_arn)) = (caller.parse::<Arn>(), principal.parse::<Arn>()) else { return false };
    match (caller_arn.resource_type(), principal_arn.resource_type()) {
        (Some(("assumed-role", session)), Some(("role", path))) => {
            let caller_role = session.split('/').next().unwrap_or_default();
            let role = path.rsplit('/').next().unwrap_or_default();
            caller_arn.account == principal_arn.account && caller_role.eq_ignore_ascii_case(role)
        }
        _ => caller.eq_ignore_ascii_case(principal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_matches_its_role_by_name_regardless_of_path() {
        let session = "arn:aws:sts::111111111111:assumed-role/deployer/ci";
        assert!(is_session_of(session, "arn:aws:iam::111111111111:role/deployer"));
        assert!(is_session_of(session, "arn:aws:iam::111111111111:role/team/Deployer"));
        assert!(!is_session_of(session, "arn:aws:iam::222222222222:role/deployer"));
        assert!(!is_session_of(session, "arn:aws:iam::111111111111:role/deployer/ci"));
        assert!(!is_session_of(session, "arn:aws:iam::111111111111:user/deployer"));
        let user = "arn:aws:iam::111111111111:user/ops/kim";
        assert!(is_session_of(user, user));
        assert!(!is_session_of(user, "arn:aws:iam::111111111111:user/kim"));
    }

    #[test]
    fn rights_covered_by_others_are_not_lost() {
        let policy = |name: &str, namespace: Option<&str>| ClusterRight::Policy {
            policy: format!("arn:aws:eks::aws:cluster-access-policy/{name}"),
            namespace: namespace.map(ToOwned::to_owned),
        };
        let access = |rights: &[ClusterRight]| ClusterAccess {
            cluster: "c".into(),
            principal: "p".into(),
            rights: rights.iter().cloned().collect(),
        };
        let check = |before: &[ClusterRight], after: &[ClusterRight], expected: &str| {
            let (before, after) = (access(before), access(after));
            let lost: Vec<String> = before.lost(&after).iter().map(ToString::to_string).collect();
            assert_eq!(lost.join(", "), expected);
        };
        check(&[policy("Edit", Some("a"))], &[policy("Edit", None)], "");
        check(&[policy("Edit", None)], &[policy("Edit", Some("a"))], "Edit in the whole cluster");
        check(
            &[policy("Edit", Some("a")), policy("Edit", Some("b"))],
            &[policy("Edit", Some("b")), policy("View", None)],
            "Edit in `a`",
        );
        check(&[ClusterRight::Group { group: "g".into() }], &[], "the group `g`");
        let username = |name: &str| ClusterRight::Username { username: name.into() };
        check(&[username("u")], &[username("v")], "the username `u`");
    }
}
