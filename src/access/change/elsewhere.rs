//! The difference in what identity policies allow outside the data of the worlds.

use std::collections::BTreeSet;

use super::changes::{Changes, NewRow};
use super::reaches::widest;
use super::rows::{Direction, ExampleRequest, Group, groups_of, requirements};
use super::side::Sides;
use crate::access::index::{Buckets, buckets_of};
use crate::access::terms::{Exception, PlaceKind};
use crate::access::world::World;
use crate::access::world::nodes::WorldBucket;
use crate::iam::{AccessRegion, Area, Pattern, Reach, catalogue};

impl Changes {
    /// Adds the difference in what identity policies allow outside the data of the worlds.
    pub(super) fn elsewhere(&mut self, sides: Sides<'_>, old: &Reach, new: &Reach) {
        self.as_written(sides, old, new, None);
    }

    /// Adds the differences between two reaches, with actions and resources as the policies write them. `owner` is the
    /// account of the resource that they are limited to, if any.
    pub(super) fn as_written(&mut self, sides: Sides<'_>, old: &Reach, new: &Reach, owner: Option<&str>) {
        for (direction, one, other) in [(Direction::Gain, new, old), (Direction::Loss, old, new)] {
            let mut cells = BTreeSet::new();
            for region in one.minus(other) {
                let (actions, resources) = (region.area.actions().0, region.area.resources().0);
                cells.extend(actions.iter().flat_map(|a| resources.iter().map(|r| (a.clone(), r.clone()))));
            }
            // Compare each action on each resource separately, so that exceptions of others do not apply to it.
            for (action, resource) in cells {
                let (of, on) = (Area::of_actions([action.to_string().as_str()]), Area::on(resource));
                let cell = |reach: &Reach| reach.within(&of).within(&on);
                for region in widest(cell(one).minus(&cell(other))) {
                    self.written_region(direction, sides, &region, owner, None);
                }
            }
        }
    }

    /// Adds the rows of a region, with actions and resources as the policies write them.
    pub(super) fn written_region(
        &mut self,
        direction: Direction,
        sides: Sides<'_>,
        region: &AccessRegion,
        owner: Option<&str>,
        example: Option<&ExampleRequest>,
    ) {
        let side = sides.of(direction);
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
            if owner.is_none() && (sides.compares(&resource) || side.world.is_told(&resource, &spelled)) {
                continue;
            }
            let groups: BTreeSet<Group> = spelled.iter().flat_map(|(_, groups)| groups.iter().copied()).collect();
            for group in groups {
                let of = spelled.iter().filter(|(_, groups)| groups.contains(&group));
                let row = NewRow {
                    except: except.clone(),
                    conditions: requirements(&region.area),
                    sources: region.area.sources(),
                    crosses: owner.map(|owner| side.crossings(sides.who, owner)).unwrap_or_default(),
                    actions: of.map(|(text, _)| text.clone()).collect(),
                    example: example.cloned(),
                    ..NewRow::new(direction, group, resource_of(&resource))
                };
                self.add(sides.who, side, row);
            }
        }
    }
}

impl World {
    /// Whether the rows on the world's own data already report access to these resources.
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

fn resource_of(pattern: &Pattern) -> PlaceKind {
    PlaceKind::Resource { arn: pattern.to_string() }
}

/// An action, or a pattern of actions, in the spelling of AWS.
fn spelled_as(action: &Pattern) -> String {
    catalogue::spelling(&action.to_string()).into_owned()
}

/// The exception for an area: its resources, and its actions unless it covers all of them.
fn left_out(area: &Area, actions: &[Pattern], resources: &[Pattern]) -> Exception {
    let (own, own_but) = area.actions();
    let (of, but) = area.resources();
    let all_actions = own_but.is_empty() && actions.iter().all(|a| own.iter().any(|wide| wide.includes(a)));
    let all_resources = resources.iter().all(|resource| of.iter().any(|wide| wide.includes(resource)));
    let places = |patterns: &[Pattern]| patterns.iter().map(|p| resource_of(p).into()).collect();
    Exception {
        places: if all_resources && !all_actions { Vec::new() } else { places(&of) },
        actions: if all_actions { Vec::new() } else { own.iter().map(spelled_as).collect() },
        but: places(&but),
        but_actions: own_but.iter().map(spelled_as).collect(),
        conditions: requirements(area).into_iter().collect(),
    }
}
