//! Finds the parts of a world that may affect a principal, without scanning the whole world.
//!
//! Each result is a superset: whatever it leaves out cannot affect the principal, and callers examine the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::world::nodes::{PolicyHolder, WorldBucket, WorldKey, WorldRole};
use crate::iam::{Arn, Policy, Principal, Statement};

/// Names of resources, by the principals that their policies name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Named {
    by: BTreeMap<Principal, BTreeSet<String>>,
    /// Resources with a policy for everyone, or for everyone except some.
    open: BTreeSet<String>,
}

impl Named {
    fn add(&mut self, name: &str, policy: &Policy) {
        for principals in policy.statements().iter().filter_map(Statement::principal) {
            if principals.is_inverted() {
                self.open.insert(name.to_owned());
            }
            for principal in principals.values() {
                if matches!(principal, Principal::Everyone | Principal::AnyAws) {
                    self.open.insert(name.to_owned());
                } else {
                    self.by.entry(principal.clone()).or_default().insert(name.to_owned());
                }
            }
        }
    }

    /// The names of the resources whose policies may apply to a role, by its ARN.
    fn meaning(&self, arn: &str) -> impl Iterator<Item = &str> {
        let account = arn.parse::<Arn>().ok().map(|arn| Principal::Account(arn.account.into()));
        let named = [Some(Principal::aws(arn)), account].into_iter().flatten();
        let named = named.filter_map(|principal| self.by.get(&principal)).flatten();
        named.chain(&self.open).map(String::as_str)
    }
}

/// The index of a world.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    /// The clusters with service accounts that get a role, by the role's ARN.
    behind: BTreeMap<String, BTreeSet<String>>,
    roles: Named,
    buckets: Named,
    keys: Named,
    resources: Named,
}

impl Index {
    /// Builds the index of these roles (by ARN), buckets, keys and other resources.
    pub(super) fn new(
        roles: &BTreeMap<String, WorldRole>,
        buckets: &BTreeMap<String, WorldBucket>,
        keys: &BTreeMap<String, WorldKey>,
        resources: &BTreeMap<String, PolicyHolder>,
    ) -> Self {
        let mut index = Self::default();
        for (arn, role) in roles {
            match &role.trust {
                Some(trust) => index.roles.add(arn, trust),
                // An unread trust policy may admit anyone.
                None => {
                    index.roles.open.insert(arn.clone());
                }
            }
        }
        for (name, bucket) in buckets {
            if let Some(policy) = &bucket.policy {
                index.buckets.add(name, policy);
            }
        }
        for (name, key) in keys {
            index.keys.add(name, &key.policy);
        }
        for (arn, resource) in resources {
            index.resources.add(arn, &resource.policy);
        }
        index
    }

    /// Records that service accounts of a cluster get a role.
    pub(super) fn behind(&mut self, role: &str, cluster: &str) {
        self.behind.entry(role.to_owned()).or_default().insert(cluster.to_owned());
    }

    /// The clusters with service accounts that get a role.
    pub(super) fn clusters_of(&self, role: &str) -> Option<&BTreeSet<String>> {
        self.behind.get(role)
    }

    /// The ARNs of the roles whose trust policies may admit a role.
    pub(super) fn trusting<'a>(&'a self, role: &str) -> BTreeSet<&'a str> {
        self.roles.meaning(role).collect()
    }

    /// The buckets to which a role's own policies or bucket policies may give access; `None` if that may be any bucket.
    pub(super) fn buckets_of<'a>(&'a self, role: &'a WorldRole) -> Option<BTreeSet<&'a str>> {
        let mut found: BTreeSet<&str> = self.buckets.meaning(&role.arn).collect();
        for statement in role.identity.iter().flat_map(|held| held.policy.statements()) {
            let resources = statement.resource().filter(|resources| !resources.is_inverted())?;
            for text in resources.values() {
                match buckets_of(text) {
                    Buckets::None => {}
                    Buckets::One(name) => {
                        found.insert(name);
                    }
                    Buckets::Any => return None,
                }
            }
        }
        Some(found)
    }

    /// The keys whose policies may allow a role or delegate to its account. No other policy alone gives access to a
    /// key.
    ///
    /// Source: KMS Developer Guide, "Key policies in AWS KMS".
    pub(super) fn keys_of<'a>(&'a self, role: &WorldRole) -> BTreeSet<&'a str> {
        self.keys.meaning(&role.arn).collect()
    }
}

/// The buckets that a resource of a policy may match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buckets<'a> {
    /// None.
    None,
    /// The bucket with this name, or its objects.
    One(&'a str),
    /// Any.
    Any,
}

/// Determines the buckets that a resource of a policy may match.
pub(super) fn buckets_of(resource: &str) -> Buckets<'_> {
    let mut parts = resource.splitn(6, ':');
    let (Some("arn"), Some(_), Some(service), Some(_), Some(_), Some(rest)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Buckets::Any;
    };
    let is_open = |text: &str| text.contains(['*', '?', '$']);
    let name = rest.split('/').next().unwrap_or(rest);
    match service {
        "s3" if is_open(name) => Buckets::Any,
        "s3" => Buckets::One(name),
        other if is_open(other) => Buckets::Any,
        _ => Buckets::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_pattern_refers_to_one_bucket_none_or_any() {
        for (resource, expected) in [
            ("arn:aws:s3:::weights", Buckets::One("weights")),
            ("arn:aws:s3:::weights/a/*", Buckets::One("weights")),
            ("arn:aws:s3:::weights-*/a", Buckets::Any),
            ("arn:aws:s3:::${aws:PrincipalTag/team}", Buckets::Any),
            ("arn:aws:s3:::w?ights/*", Buckets::Any),
            ("arn:*:s3:::weights", Buckets::One("weights")),
            ("arn:aws:kms:us-east-1:111111111111:key/*", Buckets::None),
            ("arn:aws:*:::weights", Buckets::Any),
            ("arn:aws:s*:::weights", Buckets::Any),
            ("arn:aws:s3*", Buckets::Any),
            ("*", Buckets::Any),
        ] {
            assert_eq!(buckets_of(resource), expected, "{resource}");
        }
    }
}
