//! The rows for the difference between two reaches.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::{Changes, NewRow};
use super::rows::{Direction, Group, group_of, requirements};
use super::side::Sides;
use crate::access::terms::{Exception, PlaceKind};
use crate::iam::{AccessRegion, Area, Pattern, Reach};

/// The data on which two reaches are compared.
pub(super) struct Data<'d> {
    /// The account that owns it.
    pub owner: &'d str,
    /// The actions to compare.
    pub actions: &'d [String],
    /// Turns a pattern of resources into a place.
    pub place: &'d dyn Fn(&Pattern) -> PlaceKind,
    /// Exceptions that apply to each row.
    pub without: &'d [Exception],
}

impl Data<'_> {
    /// The exceptions of a part of a region.
    fn exceptions(&self, part: &Plain<'_>) -> Vec<Exception> {
        let place = self.place;
        let mut except: Vec<Exception> = part.except.iter().map(|pattern| Exception::place(place(pattern))).collect();
        except.extend(self.without.iter().cloned());
        except.extend(part.sometimes.iter().map(|area| {
            let (of, but) = area.resources();
            let all = |patterns: &[Pattern]| patterns.iter().map(|p| place(p).into()).collect();
            let conditions = requirements(area).into_iter().collect();
            Exception { places: all(&of), but: all(&but), conditions, ..Exception::default() }
        }));
        except.sort();
        except.dedup();
        except
    }
}

impl Changes {
    /// Adds the differences between two reaches on the same data, in both directions.
    pub(super) fn both_ways(&mut self, sides: Sides<'_>, old: &Reach, new: &Reach, data: &Data<'_>) {
        self.one_way(Direction::Gain, sides, new, old, data);
        self.one_way(Direction::Loss, sides, old, new, data);
    }

    /// Adds what `one` allows and `other` does not, action by action. Actions that all policies treat alike are
    /// compared once.
    pub(super) fn one_way(
        &mut self,
        direction: Direction,
        sides: Sides<'_>,
        one: &Reach,
        other: &Reach,
        data: &Data<'_>,
    ) {
        if other.includes(one) {
            return;
        }
        for class in classes(one, other, data.actions) {
            let Some(first) = class.first() else { continue };
            let only = Area::of_actions([first.as_str()]);
            let mut groups: BTreeMap<Group, BTreeSet<String>> = BTreeMap::new();
            for action in &class {
                groups.entry(group_of(action)).or_default().insert(action.clone());
            }
            for region in widest(one.within(&only).minus(&other.within(&only))) {
                self.region(direction, sides, &region, &groups, data);
            }
        }
    }

    fn region(
        &mut self,
        direction: Direction,
        sides: Sides<'_>,
        region: &AccessRegion,
        groups: &BTreeMap<Group, BTreeSet<String>>,
        data: &Data<'_>,
    ) {
        let side = sides.of(direction);
        for plain in plain(region) {
            let except = data.exceptions(&plain);
            let mut places: Vec<PlaceKind> = plain.of.iter().map(data.place).collect();
            places.dedup();
            for place in places {
                for (group, actions) in groups {
                    let row = NewRow {
                        except: except.clone(),
                        conditions: requirements(&region.area),
                        sources: region.area.sources(),
                        crosses: side.crossings(sides.who, data.owner),
                        actions: actions.clone(),
                        ..NewRow::new(direction, *group, place.clone())
                    };
                    self.add(sides.who, side, row);
                }
            }
        }
    }
}

/// Groups actions that are in the same areas of both reaches: what holds for one holds for all.
fn classes(one: &Reach, other: &Reach, actions: &[String]) -> Vec<Vec<String>> {
    let areas: Vec<&Area> = one.areas().chain(other.areas()).collect();
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

/// A region as included and excluded resources.
struct Plain<'a> {
    of: Vec<Pattern>,
    except: Vec<Pattern>,
    /// Areas that are excluded only under conditions.
    sometimes: Vec<&'a Area>,
}

/// Splits a region so that exclusions have no exceptions of their own: everything except (`a/*` without `a/b/*`)
/// becomes everything except `a/*`, plus `a/b/*`.
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
    /// Splits the part by pattern. Each gets the exclusions that overlap it.
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

/// Drops regions that another region includes.
pub(super) fn widest(regions: Vec<AccessRegion>) -> Vec<AccessRegion> {
    let mut kept: Vec<AccessRegion> = Vec::new();
    for region in regions {
        if kept.iter().any(|wide| wide.includes(&region)) {
            continue;
        }
        kept.retain(|narrow| !region.includes(narrow));
        kept.push(region);
    }
    kept
}
