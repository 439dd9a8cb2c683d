//! The two sides of a difference: a world, and a chain in it.

use super::rows::{Crossing, Direction};
use crate::access::world::chains::AccessChain;
use crate::access::world::nodes::{PolicyHolder, WorldBucket, WorldKey, WorldRole};
use crate::access::world::policies::{NOTHING, policies_at_most};
use crate::access::world::{Who, World};
use crate::iam::{Area, Attached, Pattern, Policy, Principal, Reach, Statement, Test, reach};

/// One side of the difference: a world, and a chain in it, if there is one.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub world: &'a World,
    pub chain: Option<&'a AccessChain>,
}

/// Whether the principal is the owner of the data. An account's access to its own data is not a grant.
pub(super) fn is_owner(who: &Who, owner: &str) -> bool {
    matches!(who, Who::Named(Principal::Account(id)) if id.as_ref() == owner)
}

/// Both sides of the difference for one principal.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    pub who: &'a Who,
    pub before: Side<'a>,
    pub after: Side<'a>,
}

impl<'a> Sides<'a> {
    /// The side that has the gained or lost access.
    pub(super) fn of(self, direction: Direction) -> Side<'a> {
        match direction {
            Direction::Gain => self.after,
            Direction::Loss | Direction::Unknown => self.before,
        }
    }

    /// Whether a pattern is the ARN of a resource whose policy is compared.
    pub(super) fn compares(self, pattern: &Pattern) -> bool {
        let has = |side: Side<'_>, arn: &str| side.world.resources.contains_key(arn);
        pattern.as_literal().is_some_and(|arn| has(self.before, &arn) || has(self.after, &arn))
    }

    /// Whether the caller has the same policies on both sides.
    pub(super) fn have_same_policies(self) -> bool {
        let Self { before, after, .. } = self;
        let (Some(old), Some(new)) = (before.chain, after.chain) else {
            return before.chain.is_none() && after.chain.is_none();
        };
        let same_policies = match (before.role(), after.role()) {
            (Some(old), Some(new)) => {
                old.identity == new.identity && old.boundary == new.boundary && old.unknown == new.unknown
            }
            (old, new) => old.is_none() && new.is_none(),
        };
        same_policies && old.principal == new.principal && old.context == new.context
    }
}

/// Whether any policy of the caller or the bucket may give the caller access to the bucket.
pub(super) fn may_touch(side: Side, bucket: &WorldBucket) -> bool {
    if side.chain.is_none() {
        return false;
    }
    let objects = Pattern::new(&format!("{}/*", bucket.arn));
    let itself = Pattern::literal(&bucket.arn);
    let about = |policy: &Policy| {
        policy.statements().iter().any(|s| {
            s.resource().is_none_or(|r| {
                r.is_inverted()
                    || r.values().iter().any(|text| {
                        text.contains("${") || {
                            let pattern = Pattern::new(text);
                            pattern.overlaps(&objects) || pattern.overlaps(&itself)
                        }
                    })
            })
        })
    };
    match side.role() {
        Some(role) => {
            role.identity.iter().any(|held| about(&held.policy))
                || bucket.policy.as_ref().is_some_and(|policy| names(policy, role))
        }
        None => true,
    }
}

fn names(policy: &Policy, role: &WorldRole) -> bool {
    policy.statements().iter().filter_map(|s| s.principal()).any(|principals| {
        principals.is_inverted()
            || principals.values().iter().any(|principal| match principal {
                Principal::Everyone | Principal::AnyAws => true,
                Principal::Account(id) => *id.as_ref() == role.account,
                Principal::Aws(arn) => *arn.as_ref() == role.arn,
                _ => false,
            })
    })
}

impl<'a> Side<'a> {
    /// The role at the end of the chain, if it is in the world.
    pub(super) fn role(self) -> Option<&'a WorldRole> {
        self.world.role_of(self.chain?)
    }

    /// The names of the buckets that the chain may access.
    pub(super) fn buckets(self) -> impl Iterator<Item = &'a str> {
        let near = self.role().and_then(|role| self.world.index.buckets_of(role));
        let all = (near.is_none() && self.chain.is_some()).then(|| self.world.buckets.keys().map(String::as_str));
        near.into_iter().flatten().chain(all.into_iter().flatten())
    }

    /// The names of the keys that the chain may use.
    pub(super) fn keys(self) -> impl Iterator<Item = &'a str> {
        let near = self.role().map(|role| self.world.index.keys_of(role));
        let all = (near.is_none() && self.chain.is_some()).then(|| self.world.keys.keys().map(String::as_str));
        near.into_iter().flatten().chain(all.into_iter().flatten())
    }

    /// The access of the chain to a bucket. `prefix` is the `s3:prefix` of a list request; `None` if the request has
    /// none.
    pub(super) fn bucket_reach(self, bucket: Option<&WorldBucket>, prefix: Option<&str>) -> Reach {
        let (Some(bucket), Some(chain)) = (bucket, self.chain) else { return Reach::default() };
        if chain.is_blocked_from(bucket) {
            return Reach::default();
        }
        let request = chain.bucket_request("s3:GetObject", &bucket.arn, bucket, prefix);
        let assumed = bucket.assumed_policy(self.role());
        let label = bucket.policy_ref().label();
        let resource = Attached { name: &label, policy: bucket.policy.as_ref().unwrap_or(&assumed) };
        let set = policies_at_most(self.role(), Some(resource));
        reach(&request, &set)
    }

    /// The access of the chain to a key, for requests through S3.
    pub(super) fn key_reach(self, key: Option<&WorldKey>) -> Reach {
        let (Some(key), Some(chain)) = (key, self.chain) else { return Reach::default() };
        let request = chain.key_request("kms:Decrypt", key);
        let label = key.policy_ref().label();
        let set = policies_at_most(self.role(), Some(Attached { name: &label, policy: &key.policy }));
        reach(&request, &set).within(&Area::on(Pattern::literal(&key.arn)))
    }

    /// The access of the chain to any other resource. The resource may exist without a policy in this world.
    pub(super) fn resource_reach(self, resource: &PolicyHolder) -> Reach {
        let Some(chain) = self.chain else { return Reach::default() };
        let request = chain.request("*", &resource.arn, &resource.account);
        let label = resource.policy_ref().label();
        let policy = self.world.resources.get(&resource.arn).map_or(&*NOTHING, |own| &own.policy);
        let set = policies_at_most(self.role(), Some(Attached { name: &label, policy }));
        reach(&request, &set).within(&Area::on(Pattern::literal(&resource.arn)))
    }

    /// The access that the caller's own policies allow, on any resource.
    pub(super) fn identity_reach(self) -> Reach {
        let (Some(chain), Some(role)) = (self.chain, self.role()) else { return Reach::default() };
        let request = chain.request("*", "*", &role.account);
        reach(&request, &policies_at_most(self.role(), None))
    }

    /// The values of conditions on `s3:prefix` in the policies that apply to a bucket.
    pub(super) fn prefixes(self, bucket: Option<&WorldBucket>) -> Vec<String> {
        let own = self
            .role()
            .into_iter()
            .flat_map(|role| role.identity.iter().chain(&role.boundary).map(|held| &held.policy));
        let theirs = bucket.and_then(|bucket| bucket.policy.as_ref());
        let conditions = own.chain(theirs).flat_map(Policy::statements).flat_map(Statement::conditions);
        conditions
            .filter(|c| c.key().as_str().eq_ignore_ascii_case("s3:prefix") && c.operator().test != Test::Null)
            .flat_map(|c| {
                let like = matches!(c.operator().test, Test::StringLike | Test::StringNotLike);
                c.values().map(move |value| if like { value.to_owned() } else { Pattern::literal(value).to_string() })
            })
            .collect()
    }

    pub(super) fn crossings(self, who: &Who, owner: &str) -> Vec<Crossing> {
        let mut found = Vec::new();
        let account = self.role().map(|role| role.account.clone());
        let own = self.world.account_of(who);
        if [&account, &own].into_iter().flatten().any(|account| account != owner) {
            found.push(Crossing::Account);
        }
        let is_shared = self.chain.and_then(|r| r.role.as_ref()).and_then(|arn| self.world.index.clusters_of(arn));
        let is_shared = is_shared.is_some_and(|clusters| clusters.len() > 1);
        if matches!(who, Who::Subject { .. }) || (matches!(who, Who::Pod(_)) && is_shared) {
            found.push(Crossing::Cluster);
        }
        if matches!(who, Who::Named(Principal::Everyone | Principal::AnyAws)) {
            found.push(Crossing::Public);
        }
        found
    }
}
