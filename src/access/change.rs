//! The difference of access between two worlds: who gains and who loses what on which data, computed on patterns.
//!
//! For everybody who can get credentials in either world, what the policies of both worlds allow on each bucket, key and
//! role is subtracted from one another as areas of actions and resources ([`crate::iam::reach()`]), never as samples.
//! Conditions that the circumstances leave open stay in the answer. `s3:prefix` is no such condition: it says which keys
//! may be listed, so that lists are compared by the prefixes that the policies of both worlds speak of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::index::{Buckets, buckets_of};
use super::terms::{
    ChainStep, DataPlace, Exception, Grantee, PlaceKind, PolicyOf, PolicyRef, Requirement, StatementRef,
};
use super::unread::Unread;
use super::world::chains::AccessChain;
use super::world::nodes::{WorldBucket, WorldKey, WorldRole};
use super::world::policies::policies_at_most;
use super::world::{Who, World};
use crate::iam::catalogue::{self, AccessLevel, ServiceEntry};
use crate::iam::{
    AccessRegion, Area, Attached, ContextValue, Pattern, Policy, PolicySet, Principal, Reach, Request, RequestContext,
    Selector, Source, Statement, Test, Version, reach,
};

/// Whether access comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It comes.
    Gain,
    /// It goes.
    Loss,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gain => "gain",
            Self::Loss => "loss",
        })
    }
}

/// What actions do, as readers group them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Reads data or settings.
    Read,
    /// Lists names.
    List,
    /// Changes data, settings or tags.
    Write,
    /// Deletes.
    Delete,
    /// Changes who has access.
    Permissions,
    /// Takes on a role.
    Assume,
    /// What a policy gives whose contents are not known.
    Unknown,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Permissions => "permissions",
            Self::Assume => "assume",
            Self::Unknown => "unknown",
        })
    }
}

/// A boundary that access crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Crossing {
    /// From one account into another.
    Account,
    /// From one cluster to a role of another, or from outside of the clusters of the spec.
    Cluster,
    /// To everybody.
    Public,
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Cluster => "cluster",
            Self::Public => "public",
        })
    }
}

/// One gain or loss.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AccessChange {
    /// Whether access is gained or lost.
    pub change: Direction,
    /// Who.
    pub who: Grantee,
    /// What the actions do.
    pub access: BTreeSet<Group>,
    /// The actions behind.
    #[serde(default)]
    pub actions: Vec<String>,
    /// On what.
    #[serde(rename = "where")]
    pub place: DataPlace,
    /// What is left out.
    #[serde(default)]
    pub except: Vec<Exception>,
    /// What must hold besides.
    #[serde(default)]
    pub conditions: Vec<Requirement>,
    /// The chain: association or annotation, roles, statements.
    pub via: Vec<ChainStep>,
    /// The boundaries that it crosses.
    pub crosses: Vec<Crossing>,
}

/// Everything that is gained and lost between two worlds.
#[must_use]
pub fn diff(before: &World, after: &World) -> Vec<AccessChange> {
    if before == after {
        return Vec::new();
    }
    let mut changes = Changes { found: BTreeMap::new() };
    let mut everybody = before.everybody();
    everybody.extend(after.everybody());
    for who in &everybody {
        // What a role may do is told for those whose role it is.
        let told_elsewhere = matches!(who, Who::Role(arn) if before.is_behind_pods(arn) || after.is_behind_pods(arn));
        if !told_elsewhere {
            changes.of(who, before, after);
        }
    }
    changes.sorted()
}

/// What a policy gives after a change that it did not give before, and the other way round, wherever it is attached.
///
/// A policy without principals is told for whoever it is attached to; one with principals for each of them, as far as
/// their own policies allow it.
#[must_use]
pub fn between_policies(before: &Policy, after: &Policy) -> Vec<AccessChange> {
    let mut changes = Changes { found: BTreeMap::new() };
    let world = World::default();
    let unknown = Policy::new(Version::V2012, [Statement::allow(["*"], ["*"])]);
    let principals: BTreeSet<&Principal> = [before, after]
        .into_iter()
        .flat_map(Policy::statements)
        .filter_map(|statement| statement.principal())
        .flat_map(Selector::values)
        .collect();
    let side = Side { world: &world, route: None };
    let [given, callers] = [PolicyOf::Given, PolicyOf::Caller].map(|of| PolicyRef::from(of).label());
    if principals.is_empty() {
        let who = Who::Attached;
        let of = |policy| {
            let request = Request::new("arn:aws:iam::000000000000:role/x", "*", "*");
            let identity = vec![Attached { name: &given, policy }];
            reach(&open(request), &PolicySet { identity, ..PolicySet::default() })
        };
        changes.anywhere(&who, side, side, &of(before), &of(after));
    }
    for principal in principals {
        let (_, text) = principal.entry();
        let caller = match principal {
            Principal::Account(id) => format!("arn:aws:iam::{id}:root"),
            _ => text.to_owned(),
        };
        let of = |policy| {
            let mut set = PolicySet { resource: Some(Attached { name: &given, policy }), ..PolicySet::default() };
            // An account's administrators have everything of their own account; what counts is what they are given.
            set.identity = vec![Attached { name: &callers, policy: &unknown }];
            let mut request = Request::new(&caller, "*", "*");
            request.resource_account = Some("000000000000".into());
            reach(&open(request), &set)
        };
        changes.anywhere(&Who::Named(principal.clone()), side, side, &of(before), &of(after));
    }
    changes.sorted()
}

/// A request of which nothing is known but the caller.
fn open(mut request: Request) -> Request {
    request.context = RequestContext::open();
    request.with_own_keys()
}

/// Rows that differ in their actions alone are one.
type RowKey = (Grantee, Direction, DataPlace, Group, Vec<Exception>, Vec<Requirement>, Vec<ChainStep>, Vec<Crossing>);

/// A prefix that lists may ask for, or none, and what the two sides may list by it.
type Asked<'p> = (Option<&'p Pattern>, Reach, Reach);

struct Changes {
    found: BTreeMap<RowKey, BTreeSet<String>>,
}

/// A side of the difference: a world, and a route in it if there is one there.
#[derive(Clone, Copy)]
struct Side<'a> {
    world: &'a World,
    route: Option<&'a AccessChain>,
}

impl Changes {
    fn sorted(self) -> Vec<AccessChange> {
        self.found
            .into_iter()
            .map(|((who, change, place, group, except, conditions, via, crosses), actions)| AccessChange {
                change,
                who,
                access: [group].into(),
                actions: actions.into_iter().collect(),
                place,
                except,
                conditions,
                via,
                crosses,
            })
            .collect()
    }

    fn of(&mut self, who: &Who, before: &World, after: &World) {
        let (old, new) = (before.routes(who).unwrap_or_default(), after.routes(who).unwrap_or_default());
        let slots: BTreeSet<&str> = old.iter().chain(&new).map(|route| route.slot.as_str()).collect();
        for slot in slots {
            let find = |routes: &'_ [AccessChain]| routes.iter().position(|route| route.slot == slot);
            let old = find(&old).and_then(|at| old.get(at));
            let new = find(&new).and_then(|at| new.get(at));
            // Access on other terms goes and comes.
            if let (Some(o), Some(n)) = (old, new)
                && o.conditions != n.conditions
            {
                let (o, n) = (Side { world: before, route: Some(o) }, Side { world: after, route: Some(n) });
                self.between(who, o, Side { route: None, ..n });
                self.between(who, Side { route: None, ..o }, n);
                continue;
            }
            self.between(who, Side { world: before, route: old }, Side { world: after, route: new });
        }
    }

    fn between(&mut self, who: &Who, before: Side<'_>, after: Side<'_>) {
        let same = same_inputs(before, after);
        for name in before.buckets().chain(after.buckets()).collect::<BTreeSet<_>>() {
            let (old, new) = (before.world.buckets.get(name), after.world.buckets.get(name));
            if !(same && old == new) {
                self.bucket(who, before, after, old, new);
            }
        }
        for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (before.world.keys.get(name), after.world.keys.get(name));
            if !(same && old == new) {
                self.key(who, before, after, old, new);
            }
        }
        if !same {
            self.assumed(who, before, after);
            self.elsewhere(who, before, after);
            self.unread(who, before, after);
        }
    }

    fn bucket(&mut self, who: &Who, before: Side, after: Side, old: Option<&WorldBucket>, new: Option<&WorldBucket>) {
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
        let crosses = |side: Side| side.crossings(who, &bucket.account);
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
        self.regions(who, before, after, &old_objects, &new_objects, &OBJECT_ACTIONS, &place, &crosses);
        let itself = Area::on(Pattern::literal(&bucket.arn));
        let (old_reach, new_reach) = (old_reach.within(&itself), new_reach.within(&itself));
        let whole = |_: &Pattern| PlaceKind::Bucket { bucket: bucket.name.clone(), account: account.clone() };
        self.regions(who, before, after, &old_reach, &new_reach, &BUCKET_ACTIONS, &whole, &crosses);
        self.lists(who, (before, old, old_reach), (after, new, new_reach));
    }

    /// Which keys may be listed. Each prefix that a policy of either world speaks of is asked for with a text that
    /// matches it and nothing narrower; with no prefix at all, of which the reach on the bucket itself is known; and with one
    /// that nobody speaks of.
    fn lists(
        &mut self,
        who: &Who,
        (before, old, old_reach): (Side, Option<&WorldBucket>, Reach),
        (after, new, new_reach): (Side, Option<&WorldBucket>, Reach),
    ) {
        let Some(bucket) = new.or(old) else { return };
        let mut prefixes: Vec<Pattern> =
            [before.prefixes(old), after.prefixes(new)].concat().iter().map(|text| Pattern::new(text)).collect();
        prefixes.push(Pattern::any());
        prefixes.sort_unstable();
        prefixes.dedup();
        if prefixes.len() <= MOST_PREFIXES {
            // Where two overlap, both may hold or only one.
            let meets = prefixes.iter().flat_map(|a| prefixes.iter().flat_map(|b| a.intersection(b)));
            prefixes = meets.collect::<BTreeSet<_>>().into_iter().collect();
        }
        let itself = Area::on(Pattern::literal(&bucket.arn));
        let asked: Vec<Asked> = prefixes
            .iter()
            .map(|pattern| {
                let text = representative(pattern);
                let reach_of = |side: Side, bucket| side.bucket_reach(bucket, Some(&text)).within(&itself);
                (Some(pattern), reach_of(before, old), reach_of(after, new))
            })
            .chain([(None, old_reach, new_reach)])
            .collect();
        for action in LISTS {
            self.listed(who, before, after, bucket, &asked, &format!("s3:{action}"));
        }
    }

    /// The prefixes of one listing action.
    fn listed(&mut self, who: &Who, before: Side, after: Side, bucket: &WorldBucket, asked: &[Asked], action: &str) {
        let names = [action.to_owned()];
        let lists = Area::of_actions([action]);
        let asked: Vec<Asked> =
            asked.iter().map(|(pattern, old, new)| (*pattern, old.within(&lists), new.within(&lists))).collect();
        let prefixes = || asked.iter().filter_map(|(pattern, ..)| *pattern);
        let crosses = |side: Side| side.crossings(who, &bucket.account);
        let account = after.world.account(&bucket.account);
        for direction in [Direction::Gain, Direction::Loss] {
            let ordered = |(_, old, new): &'_ Asked| {
                let (one, other) = if direction == Direction::Gain { (new, old) } else { (old, new) };
                !one.minus(other).is_empty()
            };
            let moved: Vec<bool> = asked.iter().map(ordered).collect();
            let all = || asked.iter().zip(&moved);
            let without = all().find(|((pattern, ..), _)| pattern.is_none()).is_some_and(|(_, moved)| *moved);
            for ((pattern, old_reach, new_reach), moved) in all() {
                // The narrowest pattern around decides: told is what differs from it.
                let around = pattern.and_then(|pattern| {
                    all()
                        .filter_map(|((wide, ..), moved)| Some(((*wide)?, *moved)))
                        .filter(|(wide, _)| *wide != pattern && wide.includes(pattern))
                        .min_by_key(|(wide, _)| prefixes().filter(|p| wide.includes(p)).count())
                });
                let everything = all().any(|((p, ..), moved)| *moved && p.is_some_and(|p| *p == Pattern::any()));
                let told = if pattern.is_some() { around.is_some_and(|(_, moved)| moved) } else { everything };
                if !*moved || told {
                    continue;
                }
                let place = |pattern: Option<&Pattern>| PlaceKind::Listing {
                    bucket: bucket.name.clone(),
                    pattern: pattern.map(ToString::to_string),
                    account: account.clone(),
                };
                let mut left: Vec<&Pattern> = all()
                    .filter(|(_, moved)| !**moved)
                    .filter_map(|((inner, ..), _)| *inner)
                    .filter(|inner| pattern.is_some_and(|p| p.includes(inner)))
                    .collect();
                let inner = left.clone();
                left.retain(|p| !inner.iter().any(|wide| wide != p && wide.includes(p)));
                let mut except: Vec<Exception> = left.into_iter().map(|p| Exception::place(place(Some(p)))).collect();
                if pattern.is_some_and(|p| *p == Pattern::any()) && !without {
                    except.push(Exception::place(place(None)));
                }
                let (one, other) =
                    if direction == Direction::Gain { (new_reach, old_reach) } else { (old_reach, new_reach) };
                let here = |_: &Pattern| place(*pattern);
                self.one_way(direction, who, before, after, one, other, &names, &here, &except, &crosses);
            }
        }
    }

    fn key(&mut self, who: &Who, before: Side, after: Side, old: Option<&WorldKey>, new: Option<&WorldKey>) {
        let Some(key) = new.or(old) else { return };
        if is_owner(who, &key.account) {
            return;
        }
        let place = |_: &Pattern| PlaceKind::Key {
            alias: key.alias.clone(),
            arn: key.arn.clone(),
            account: after.world.account(&key.account),
        };
        let crosses = |side: Side| side.crossings(who, &key.account);
        let (old_reach, new_reach) = (before.key_reach(old), after.key_reach(new));
        self.regions(who, before, after, &old_reach, &new_reach, &KEY_ACTIONS, &place, &crosses);
    }

    /// Roles that somebody else than pods may take.
    fn assumed(&mut self, who: &Who, before: Side, after: Side) {
        if matches!(who, Who::Pod(_)) {
            return;
        }
        let role = |side: Side| -> Option<WorldRole> {
            let route = side.route.filter(|route| route.slot != "own")?;
            side.world.roles.get(route.role.as_ref()?).cloned()
        };
        let (direction, side, role) = match (role(before), role(after)) {
            (None, Some(role)) => (Direction::Gain, after, role),
            (Some(role), None) => (Direction::Loss, before, role),
            _ => return,
        };
        let account = side.world.account(&role.account);
        let place = PlaceKind::Role { role_arn: role.arn.clone(), name: role.name.clone(), account };
        let crosses = side.crossings(who, &role.account);
        self.add(
            direction,
            side,
            who,
            Group::Assume,
            place,
            Vec::new(),
            BTreeSet::new(),
            &[],
            crosses,
            ["sts:AssumeRole".to_owned()],
        );
    }

    /// What identity-based policies allow on anything else than the data of the worlds.
    fn elsewhere(&mut self, who: &Who, before: Side, after: Side) {
        self.anywhere(who, before, after, &before.identity_reach(), &after.identity_reach());
    }

    fn anywhere(&mut self, who: &Who, before: Side, after: Side, old: &Reach, new: &Reach) {
        for (direction, side, one, other) in [(Direction::Gain, after, new, old), (Direction::Loss, before, old, new)] {
            let mut cells = BTreeSet::new();
            for region in one.minus(other) {
                let (actions, resources) = (region.area.actions().0, region.area.resources().0);
                cells.extend(actions.iter().flat_map(|a| resources.iter().map(|r| (a.clone(), r.clone()))));
            }
            // Each action on each resource by itself, so that what others have makes no exceptions to it.
            for (action, resource) in cells {
                let (of, on) = (Area::of_actions([action.to_string().as_str()]), Area::on(resource));
                let cell = |reach: &Reach| reach.within(&of).within(&on);
                for region in widest(cell(one).minus(&cell(other))) {
                    self.elsewhere_region(direction, side, who, &region);
                }
            }
        }
    }

    fn elsewhere_region(&mut self, direction: Direction, side: Side, who: &Who, region: &AccessRegion) {
        let (actions, but) = region.area.actions();
        let (resources, left_out) = region.area.resources();
        let spelled: Vec<(String, BTreeSet<Group>)> = actions
            .iter()
            .map(|action| {
                let text = spelled_as(action);
                let groups = groups_of(&text, &but);
                (text, groups)
            })
            .collect();
        let mut except: Vec<Exception> = left_out.iter().map(|p| Exception::place(resource_of(p))).collect();
        except.extend(but.iter().map(|action| Exception { actions: vec![spelled_as(action)], ..Exception::default() }));
        except.extend(region.except.iter().map(|area| self::left_out(area, &actions, &resources)));
        except.sort();
        except.dedup();
        for resource in resources {
            if side.world.is_told(&resource, &spelled) {
                continue;
            }
            let groups: BTreeSet<Group> = spelled.iter().flat_map(|(_, groups)| groups.iter().copied()).collect();
            for group in groups {
                let of: BTreeSet<String> = spelled
                    .iter()
                    .filter(|(_, groups)| groups.contains(&group))
                    .map(|(text, _)| text.clone())
                    .collect();
                let place = resource_of(&resource);
                let conditions = requirements(&region.area);
                let crosses = Vec::new();
                self.add(
                    direction,
                    side,
                    who,
                    group,
                    place,
                    except.clone(),
                    conditions,
                    region.area.sources(),
                    crosses,
                    of,
                );
            }
        }
    }

    /// Policies that are attached and whose contents nobody has read.
    fn unread(&mut self, who: &Who, before: Side, after: Side) {
        let unknown = |side: Side| -> BTreeSet<Unread> {
            let role = side.route.and_then(|route| side.world.roles.get(route.role.as_ref()?));
            role.map(|role| role.unknown.clone()).unwrap_or_default()
        };
        let (old, new) = (unknown(before), unknown(after));
        for (direction, side, policies) in [
            (Direction::Gain, after, new.difference(&old).cloned().collect::<Vec<_>>()),
            (Direction::Loss, before, old.difference(&new).cloned().collect()),
        ] {
            for policy in policies {
                self.add(
                    direction,
                    side,
                    who,
                    Group::Unknown,
                    PlaceKind::Unread { unread: policy },
                    Vec::new(),
                    BTreeSet::new(),
                    &[],
                    Vec::new(),
                    [],
                );
            }
        }
    }

    /// Both directions of two reaches over the same data.
    #[expect(clippy::too_many_arguments, reason = "both sides of the comparison travel together with what names them")]
    fn regions<'s>(
        &mut self,
        who: &Who,
        before: Side<'s>,
        after: Side<'s>,
        old: &Reach,
        new: &Reach,
        actions: &[String],
        place: &dyn Fn(&Pattern) -> PlaceKind,
        crosses: &dyn Fn(Side<'s>) -> Vec<Crossing>,
    ) {
        self.one_way(Direction::Gain, who, before, after, new, old, actions, place, &[], crosses);
        self.one_way(Direction::Loss, who, before, after, old, new, actions, place, &[], crosses);
    }

    /// What `one` allows and `other` does not, action by action. Actions that no policy tells apart are asked for once.
    #[expect(clippy::too_many_arguments, reason = "both sides of the comparison travel together with what names them")]
    fn one_way<'s>(
        &mut self,
        direction: Direction,
        who: &Who,
        before: Side<'s>,
        after: Side<'s>,
        one: &Reach,
        other: &Reach,
        actions: &[String],
        place: &dyn Fn(&Pattern) -> PlaceKind,
        without: &[Exception],
        crosses: &dyn Fn(Side<'s>) -> Vec<Crossing>,
    ) {
        if one.minus(other).is_empty() {
            return;
        }
        let side = if direction == Direction::Gain { after } else { before };
        for class in classes(one, other, actions) {
            let Some(first) = class.first() else { continue };
            let only = Area::of_actions([first.as_str()]);
            let regions = one.within(&only).minus(&other.within(&only));
            for region in widest(regions) {
                let mut groups: BTreeMap<Group, BTreeSet<String>> = BTreeMap::new();
                for action in &class {
                    groups.entry(group_of(action)).or_default().insert(action.clone());
                }
                for plain in plain(&region) {
                    let mut except: Vec<Exception> =
                        plain.except.iter().map(|pattern| Exception::place(place(pattern))).collect();
                    except.extend(without.iter().cloned());
                    except.extend(plain.sometimes.iter().map(|area| {
                        let (of, but) = area.resources();
                        let all = |patterns: &[Pattern]| patterns.iter().map(|p| place(p).into()).collect();
                        let conditions = requirements(area).into_iter().collect();
                        Exception { places: all(&of), actions: Vec::new(), but: all(&but), conditions }
                    }));
                    except.sort();
                    except.dedup();
                    let mut places: Vec<PlaceKind> = plain.of.iter().map(place).collect();
                    places.dedup();
                    for place in places {
                        for (group, actions) in &groups {
                            let conditions = requirements(&region.area);
                            let (sources, crosses) = (region.area.sources(), crosses(side));
                            let (place, except, actions) = (place.clone(), except.clone(), actions.clone());
                            self.add(
                                direction, side, who, *group, place, except, conditions, sources, crosses, actions,
                            );
                        }
                    }
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "both sides of the comparison travel together with what names them")]
    fn add(
        &mut self,
        direction: Direction,
        side: Side,
        who: &Who,
        group: Group,
        place: PlaceKind,
        except: Vec<Exception>,
        mut conditions: BTreeSet<Requirement>,
        sources: &[Source],
        crosses: Vec<Crossing>,
        actions: impl IntoIterator<Item = String>,
    ) {
        let mut via = Vec::new();
        if let Some(route) = side.route {
            conditions.extend(route.conditions.iter().cloned());
            via.extend(route.chain.iter().cloned());
        }
        for source in sources {
            let statement = ChainStep::Statement { statement: StatementRef::source(source) };
            if !via.contains(&statement) {
                via.push(statement);
            }
        }
        let (who, conditions) = (side.world.grantee(who), conditions.into_iter().collect());
        let key = (who, direction, place.into(), group, except, conditions, via, crosses);
        self.found.entry(key).or_default().extend(actions);
    }
}

/// An account has what is its own; that is no grant.
fn is_owner(who: &Who, owner: &str) -> bool {
    matches!(who, Who::Named(Principal::Account(id)) if id.as_ref() == owner)
}

/// Whether the policies of the caller are the same on both sides.
fn same_inputs(before: Side, after: Side) -> bool {
    let (Some(old), Some(new)) = (before.route, after.route) else {
        return before.route.is_none() && after.route.is_none();
    };
    let same_policies = match (before.role(), after.role()) {
        (Some(old), Some(new)) => {
            old.identity == new.identity && old.boundary == new.boundary && old.unknown == new.unknown
        }
        (old, new) => old.is_none() && new.is_none(),
    };
    same_policies && old.principal == new.principal && old.context == new.context
}

/// Whether any policy of the caller's or of the bucket may be about the two of them.
fn may_touch(side: Side, bucket: &WorldBucket) -> bool {
    if side.route.is_none() {
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
    /// The role of the route, if it is one of the world.
    fn role(self) -> Option<&'a WorldRole> {
        self.world.roles.get(self.route?.role.as_ref()?)
    }

    /// The names of the buckets that the route may touch.
    fn buckets(self) -> impl Iterator<Item = &'a str> {
        let near = self.role().and_then(|role| self.world.index.buckets_of(role));
        let all = (near.is_none() && self.route.is_some()).then(|| self.world.buckets.keys().map(String::as_str));
        near.into_iter().flatten().chain(all.into_iter().flatten())
    }

    /// The names of the keys that the route may use.
    fn keys(self) -> impl Iterator<Item = &'a str> {
        let near = self.role().map(|role| self.world.index.keys_of(role));
        let all = (near.is_none() && self.route.is_some()).then(|| self.world.keys.keys().map(String::as_str));
        near.into_iter().flatten().chain(all.into_iter().flatten())
    }

    /// What the route gives on a bucket. `prefix` is the `s3:prefix` of a list; nothing where the request has none.
    fn bucket_reach(self, bucket: Option<&WorldBucket>, prefix: Option<&str>) -> Reach {
        let (Some(bucket), Some(route)) = (bucket, self.route) else { return Reach::default() };
        let foreign = !route.principal.contains(&format!("::{}:", bucket.account));
        // Source: S3 User Guide, "Blocking public access to your Amazon S3 storage", RestrictPublicBuckets.
        if bucket.blocked && bucket.public && foreign {
            return Reach::default();
        }
        let mut request = route.request("s3:GetObject", &bucket.arn, &bucket.account);
        let prefix = prefix.map_or(ContextValue::Many(Vec::new()), |prefix| ContextValue::One(prefix.to_owned()));
        request.context.set("s3:prefix", prefix);
        let assumed = bucket.assumed_policy(self.role());
        let label = bucket.policy_ref().label();
        let resource = Attached { name: &label, policy: bucket.policy.as_ref().unwrap_or(&assumed) };
        let set = policies_at_most(self.role(), Some(resource));
        reach(&request, &set)
    }

    /// What the route gives on a key, in requests by way of S3.
    fn key_reach(self, key: Option<&WorldKey>) -> Reach {
        let (Some(key), Some(route)) = (key, self.route) else { return Reach::default() };
        let mut request = route.request("kms:Decrypt", &key.arn, &key.account);
        request
            .context
            .set("kms:ViaService", ContextValue::One(format!("s3.{}.{}", key.region, key.region.dns_suffix())));
        request.context.set("kms:ResourceAliases", ContextValue::Many(vec![key.alias.clone()]));
        let label = key.policy_ref().label();
        let set = policies_at_most(self.role(), Some(Attached { name: &label, policy: &key.policy }));
        reach(&request, &set).within(&Area::on(Pattern::literal(&key.arn)))
    }

    /// What the caller's own policies allow, wherever it is.
    fn identity_reach(self) -> Reach {
        let Some((route, role)) = self.route.and_then(|r| Some((r, self.world.roles.get(r.role.as_ref()?)?))) else {
            return Reach::default();
        };
        let request = route.request("*", "*", &role.account);
        reach(&request, &policies_at_most(self.role(), None))
    }

    /// The values of conditions on `s3:prefix` in the policies that bear on a bucket.
    fn prefixes(self, bucket: Option<&WorldBucket>) -> Vec<String> {
        let role = self.route.and_then(|route| self.world.roles.get(route.role.as_ref()?));
        let own = role.into_iter().flat_map(|role| role.identity.iter().chain(&role.boundary).map(|held| &held.policy));
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

    fn crossings(self, who: &Who, owner: &str) -> Vec<Crossing> {
        let mut found = Vec::new();
        let account = match self.route {
            Some(route) if route.role.is_some() => {
                route.role.as_ref().and_then(|arn| self.world.roles.get(arn)).map(|role| role.account.clone())
            }
            _ => None,
        };
        let own = self.world.account_of(who);
        if [&account, &own].into_iter().flatten().any(|account| account != owner) {
            found.push(Crossing::Account);
        }
        let is_shared = self.route.and_then(|r| r.role.as_ref()).and_then(|arn| self.world.index.clusters_of(arn));
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

impl World {
    /// Whether access to resources of this form is told with the data of the world already.
    fn is_told(&self, resource: &Pattern, actions: &[(String, BTreeSet<Group>)]) -> bool {
        let only = |service: &str| {
            actions.iter().all(|(action, _)| {
                action.split_once(':').is_some_and(|(prefix, _)| prefix.eq_ignore_ascii_case(service))
            })
        };
        let bucket = || {
            let text = resource.to_string();
            let is_in = |bucket: &WorldBucket| {
                *resource == Pattern::literal(&bucket.arn)
                    || Pattern::new(&format!("{}/*", bucket.arn)).includes(resource)
            };
            match buckets_of(&text) {
                Buckets::None => false,
                Buckets::One(name) => self.buckets.get(name).is_some_and(is_in),
                Buckets::Any => self.buckets.values().any(is_in),
            }
        };
        let key = || {
            self.keys
                .values()
                .any(|key| Pattern::new(&format!("arn:*:kms:{}:{}:key/*", key.region, key.account)).includes(resource))
        };
        let role = || resource.as_literal().is_some_and(|arn| self.roles.contains_key(&arn));
        (only("s3") && bucket()) || (only("kms") && key()) || (only("sts") && role())
    }
}

/// Beyond this many prefixes, overlaps that are no inclusions are not looked for. People write none.
const MOST_PREFIXES: usize = 32;

/// The actions with which names are listed and whose requests may carry `s3:prefix`.
const LISTS: [&str; 2] = ["ListBucket", "ListBucketVersions"];

static OBJECT_ACTIONS: LazyLock<Vec<String>> = LazyLock::new(|| actions_on("s3", "object", &[]));
/// Without those that are told by their prefixes.
static BUCKET_ACTIONS: LazyLock<Vec<String>> = LazyLock::new(|| actions_on("s3", "bucket", &LISTS));
static KEY_ACTIONS: LazyLock<Vec<String>> = LazyLock::new(|| actions_on("kms", "key", &[]));

/// The actions of a service that work on a type of resource.
fn actions_on(service: &str, kind: &str, without: &[&str]) -> Vec<String> {
    let Some(known) = ServiceEntry::of(service) else { return Vec::new() };
    known
        .actions()
        .iter()
        .filter(|action| known.types_of(action).any(|t| t.name == kind) && !without.contains(&action.name))
        .map(|action| format!("{}:{}", known.prefix, action.name))
        .collect()
}

/// Actions that are in the same areas of both: what holds for one holds for all.
fn classes(one: &Reach, other: &Reach, actions: &[String]) -> Vec<Vec<String>> {
    let regions: Vec<AccessRegion> = one.regions().into_iter().chain(other.regions()).collect();
    let areas: Vec<&Area> = regions.iter().flat_map(|r| std::iter::once(&r.area).chain(&r.except)).collect();
    let patterns: Vec<(Vec<Pattern>, Vec<Pattern>)> = areas.iter().map(|area| area.actions()).collect();
    let mut classes: BTreeMap<Vec<bool>, Vec<String>> = BTreeMap::new();
    for action in actions {
        let folded = action.to_ascii_lowercase();
        let signature: Vec<bool> = patterns
            .iter()
            .map(|(of, but)| of.iter().any(|p| p.matches(&folded)) && !but.iter().any(|p| p.matches(&folded)))
            .collect();
        if signature.contains(&true) {
            classes.entry(signature).or_default().push(action.clone());
        }
    }
    classes.into_values().collect()
}

/// A region as resources that belong to it and resources that do not.
struct Plain<'a> {
    of: Vec<Pattern>,
    except: Vec<Pattern>,
    /// What is left out under conditions only.
    sometimes: Vec<&'a Area>,
}

/// Takes a region apart, so that nothing is left out of what is left out: all but (`a/*` less `a/b/*`) is all but `a/*`,
/// and `a/b/*` besides.
fn plain(region: &AccessRegion) -> Vec<Plain<'_>> {
    let (of, except) = region.area.resources();
    let (always, sometimes): (Vec<&Area>, Vec<&Area>) =
        region.except.iter().partition(|area| area.when().is_empty() && area.unless().is_empty());
    let mut parts = vec![Plain { of, except, sometimes }];
    for area in always {
        let (left_out, inner) = area.resources();
        let mut besides: Vec<Plain> = Vec::new();
        for part in &mut parts {
            let both = part.of.iter().flat_map(|p| inner.iter().flat_map(|i| p.intersection(i))).collect::<Vec<_>>();
            if !both.is_empty() {
                besides.push(Plain { of: both, except: part.except.clone(), sometimes: part.sometimes.clone() });
            }
            part.except.extend(left_out.iter().cloned());
        }
        parts.extend(besides);
    }
    parts.into_iter().flat_map(Plain::each).collect()
}

impl Plain<'_> {
    /// One part for each pattern, with what of the rest lies in it.
    fn each(self) -> impl Iterator<Item = Self> {
        let Self { of, except, sometimes } = self;
        of.into_iter().filter_map(move |pattern| {
            if except.iter().any(|left_out| left_out.includes(&pattern)) {
                return None;
            }
            let within: Vec<Pattern> = except.iter().flat_map(|left_out| pattern.intersection(left_out)).collect();
            let mut except = within.clone();
            except.retain(|narrow| !within.iter().any(|wide| wide != narrow && wide.includes(narrow)));
            Some(Self { of: vec![pattern], except, sometimes: sometimes.clone() })
        })
    }
}

/// Regions less those that another one includes.
fn widest(regions: Vec<AccessRegion>) -> Vec<AccessRegion> {
    let mut kept: Vec<AccessRegion> = Vec::new();
    for region in regions {
        if kept.iter().any(|wide| includes(wide, &region)) {
            continue;
        }
        kept.retain(|narrow| !includes(&region, narrow));
        kept.push(region);
    }
    kept
}

/// Whether a region surely includes another. `false` costs a row, no more.
fn includes(wide: &AccessRegion, narrow: &AccessRegion) -> bool {
    let ((of, but), (inner, inner_but)) = (wide.area.resources(), narrow.area.resources());
    inner.iter().all(|p| of.iter().any(|w| w.includes(p)))
        && but.iter().all(|b| inner_but.iter().any(|i| i.includes(b)) || !inner.iter().any(|p| p.overlaps(b)))
        && wide.area.when().is_subset(narrow.area.when())
        && wide.area.unless().is_subset(narrow.area.unless())
        && wide.except.iter().all(|e| {
            let (excepted, _) = e.resources();
            narrow.except.iter().any(|other| other == e)
                || !excepted.iter().any(|x| inner.iter().any(|p| p.overlaps(x)))
        })
}

/// A text that matches a pattern, and none of the narrower ones that people write: its wildcards stand for characters
/// that no key has.
fn representative(pattern: &Pattern) -> String {
    pattern.as_literal().unwrap_or_else(|| {
        let text = pattern.to_string();
        text.replace("${*}", "\u{2}")
            .replace("${?}", "\u{3}")
            .replace(['*', '?'], "\u{1}")
            .replace('\u{2}', "*")
            .replace('\u{3}', "?")
            .replace("${$}", "$")
    })
}

fn group_of(action: &str) -> Group {
    let (service, name) = action.split_once(':').unwrap_or((action, ""));
    let level = ServiceEntry::of(service).and_then(|s| s.action(name)).map(|a| a.level);
    match level {
        // AWS counts decryption as writing; whoever may decrypt reads.
        _ if action.eq_ignore_ascii_case("kms:Decrypt") => Group::Read,
        Some(AccessLevel::PermissionsManagement) => Group::Permissions,
        _ if name.starts_with("Delete") || name.starts_with("BatchDelete") => Group::Delete,
        Some(AccessLevel::List) => Group::List,
        Some(AccessLevel::Write | AccessLevel::Tagging) | None => Group::Write,
        Some(AccessLevel::Read) => Group::Read,
    }
}

/// The groups of the actions that a pattern matches, without those that are left out. `*` is all there is.
fn groups_of(action: &str, but: &[Pattern]) -> BTreeSet<Group> {
    let Some((service, name)) = action.split_once(':') else {
        return [Group::Read, Group::List, Group::Write, Group::Delete, Group::Permissions].into();
    };
    let Some(known) = ServiceEntry::of(service) else { return [Group::Write].into() };
    let groups: BTreeSet<Group> = known
        .matching(name)
        .map(|action| format!("{}:{}", known.prefix, action.name))
        .filter(|action| !but.iter().any(|p| p.matches(&action.to_ascii_lowercase())))
        .map(|action| group_of(&action))
        .collect();
    if groups.is_empty() { [Group::Write].into() } else { groups }
}

/// The open conditions of an area.
fn requirements(area: &Area) -> BTreeSet<Requirement> {
    let when = area.when().iter().map(|atom| Requirement::of(atom, false));
    when.chain(area.unless().iter().map(|atom| Requirement::of(atom, true))).collect()
}

fn resource_of(pattern: &Pattern) -> PlaceKind {
    PlaceKind::Resource { arn: pattern.to_string() }
}

/// An action, or a pattern of actions, as AWS spells it.
fn spelled_as(action: &Pattern) -> String {
    catalogue::spelling(&action.to_string()).into_owned()
}

/// An area that is left out: its resources, and its actions unless it has all of them.
fn left_out(area: &Area, actions: &[Pattern], resources: &[Pattern]) -> Exception {
    let (own, _) = area.actions();
    let (of, but) = area.resources();
    let all_actions = actions.iter().all(|action| own.iter().any(|wide| wide.includes(action)));
    let all_resources = resources.iter().all(|resource| of.iter().any(|wide| wide.includes(resource)));
    let places = |patterns: &[Pattern]| patterns.iter().map(|p| resource_of(p).into()).collect();
    Exception {
        places: if all_resources && !all_actions { Vec::new() } else { places(&of) },
        actions: if all_actions { Vec::new() } else { own.iter().map(spelled_as).collect() },
        but: places(&but),
        conditions: requirements(area).into_iter().collect(),
    }
}
