//! The difference on the buckets, keys, other resources with policies, and roles of both worlds.

use std::sync::LazyLock;

use super::changes::{Changes, NewRow};
use super::lists::{LISTS, ListedBucket};
use super::reaches::Data;
use super::rows::{Direction, Group};
use super::side::{Side, Sides, is_owner, may_touch};
use crate::access::terms::PlaceKind;
use crate::access::world::Who;
use crate::access::world::nodes::{PolicyHolder, WorldBucket, WorldKey, WorldRole};
use crate::iam::catalogue::ServiceEntry;
use crate::iam::{Area, Pattern};

static OBJECT_ACTIONS: LazyLock<Vec<String>> = LazyLock::new(|| actions_on("s3", "object", &[]));

/// Without the list actions, which are compared by prefix.
static BUCKET_ACTIONS: LazyLock<Vec<String>> = LazyLock::new(|| actions_on("s3", "bucket", &LISTS));

static KEY_ACTIONS: LazyLock<Vec<String>> = LazyLock::new(|| actions_on("kms", "key", &[]));

impl Changes {
    pub(super) fn bucket(&mut self, sides: Sides<'_>, old: Option<&WorldBucket>, new: Option<&WorldBucket>) {
        let Sides { who, before, after } = sides;
        let Some(bucket) = new.or(old) else { return };
        if is_owner(who, &bucket.account) {
            return;
        }
        let is_near = |side: Side, bucket: Option<&WorldBucket>| bucket.is_some_and(|b| may_touch(side, b));
        if !is_near(before, old) && !is_near(after, new) {
            return;
        }
        let objects = format!("{}/*", bucket.arn);
        let (old_reach, new_reach) = (before.bucket_reach(old, None), after.bucket_reach(new, None));
        let account = after.world.account(&bucket.account);
        let place = |pattern: &Pattern| {
            let arn = pattern.to_string();
            match arn.strip_prefix(&format!("{}/", bucket.arn)) {
                Some(key) => PlaceKind::objects(&bucket.name, account.clone(), key),
                None => PlaceKind::Resource { arn },
            }
        };
        let all = Area::on(Pattern::new(&objects));
        let (old_objects, new_objects) = (old_reach.within(&all), new_reach.within(&all));
        let owner = &bucket.account;
        let data = Data { owner, actions: &OBJECT_ACTIONS, place: &place, without: &[] };
        self.both_ways(sides, &old_objects, &new_objects, &data);
        let itself = Area::on(Pattern::literal(&bucket.arn));
        let (old_reach, new_reach) = (old_reach.within(&itself), new_reach.within(&itself));
        let whole = |_: &Pattern| PlaceKind::Bucket { bucket: bucket.name.clone(), account: account.clone() };
        let data = Data { owner, actions: &BUCKET_ACTIONS, place: &whole, without: &[] };
        self.both_ways(sides, &old_reach, &new_reach, &data);
        self.lists(
            sides,
            ListedBucket { bucket: old, reach: old_reach },
            ListedBucket { bucket: new, reach: new_reach },
        );
    }

    pub(super) fn key(&mut self, sides: Sides<'_>, old: Option<&WorldKey>, new: Option<&WorldKey>) {
        let Some(key) = new.or(old) else { return };
        if is_owner(sides.who, &key.account) {
            return;
        }
        let place = |_: &Pattern| PlaceKind::Key {
            alias: key.alias.clone(),
            arn: key.arn.clone(),
            account: sides.after.world.account(&key.account),
        };
        let (old_reach, new_reach) = (sides.before.key_reach(old), sides.after.key_reach(new));
        let data = Data { owner: &key.account, actions: &KEY_ACTIONS, place: &place, without: &[] };
        self.both_ways(sides, &old_reach, &new_reach, &data);
    }

    /// Compares access to any other resource that has a policy. Its service may be unknown, so the rows have the actions
    /// as the policies write them.
    pub(super) fn resource(&mut self, sides: Sides<'_>, resource: &PolicyHolder) {
        if is_owner(sides.who, &resource.account) {
            return;
        }
        let (old_reach, new_reach) = (sides.before.resource_reach(resource), sides.after.resource_reach(resource));
        self.as_written(sides, &old_reach, &new_reach, Some(&resource.account));
    }

    /// Adds roles that principals other than pods can assume.
    pub(super) fn assumed(&mut self, sides: Sides<'_>) {
        let Sides { who, before, after } = sides;
        if matches!(who, Who::Pod(_)) {
            return;
        }
        let (direction, role) = match (assumed_role(before), assumed_role(after)) {
            (None, Some(role)) => (Direction::Gain, role),
            (Some(role), None) => (Direction::Loss, role),
            _ => return,
        };
        let side = sides.of(direction);
        let account = side.world.account(&role.account);
        let place = PlaceKind::Role { role_arn: role.arn.clone(), name: role.name.clone(), account };
        let row = NewRow {
            crosses: side.crossings(who, &role.account),
            actions: ["sts:AssumeRole".to_owned()].into(),
            ..NewRow::new(direction, Group::Assume, place)
        };
        self.add(who, side, row);
    }

    /// Adds attached policies whose contents were not read.
    pub(super) fn unread(&mut self, sides: Sides<'_>) {
        let unknown = |side: Side| side.role().map(|role| role.unknown.clone()).unwrap_or_default();
        let (old, new) = (unknown(sides.before), unknown(sides.after));
        for (direction, policies) in [(Direction::Gain, &new - &old), (Direction::Loss, &old - &new)] {
            for unread in policies {
                let row = NewRow::new(direction, Group::Unknown, PlaceKind::Unread { unread });
                self.add(sides.who, sides.of(direction), row);
            }
        }
    }
}

/// The actions of a service on a type of resource.
fn actions_on(service: &str, kind: &str, without: &[&str]) -> Vec<String> {
    let Some(known) = ServiceEntry::of(service) else { return Vec::new() };
    known
        .actions()
        .iter()
        .filter(|action| known.types_of(action).any(|t| t.name == kind) && !without.contains(&action.name))
        .map(|action| format!("{}:{}", known.prefix, action.name))
        .collect()
}

/// The role at the end of a chain, unless it is the caller's own.
fn assumed_role(side: Side<'_>) -> Option<&WorldRole> {
    side.chain.filter(|chain| chain.slot != "own").and(side.role())
}
