//! The space of requests, and the search for one that is in an area and in none of others.
//!
//! An area is a conjunction of literals: the action and the resource match one of some patterns, or none of them; a
//! condition holds or does not; an unknown is true or false. The search proposes a request, looks for an excluded area
//! that contains it, and leaves that area through each of its literals in turn. It ends with a request, with the proof
//! that there is none, or with neither when its work is used up.

mod keys;
mod texts;

use std::collections::{BTreeMap, BTreeSet, HashSet};

pub(super) use self::keys::KeyDomain;
pub(super) use self::texts::{Glob, Solution};
use super::condition::Condition;
use super::matching::{self, Truth};
use super::policy::Version;
use super::request::{ContextValue, RequestContext};

/// The work that a search may still do, in steps of patterns.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    left: usize,
}

/// About a second of one core.
const MOST_WORK: usize = 6_000_000;

impl Default for Budget {
    fn default() -> Self {
        Self { left: MOST_WORK }
    }
}

impl Budget {
    /// Counts steps. Returns whether more may be done.
    pub fn spend(&mut self, steps: usize) -> bool {
        self.left = self.left.saturating_sub(steps);
        self.left > 0
    }

    pub fn is_left(&self) -> bool {
        self.left > 0
    }
}

/// A part of a request that literals restrict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Variable {
    Action,
    Resource,
    /// A condition key, in lower case.
    Key(String),
    /// An unknown without values, by its number.
    Free(usize),
}

/// A restriction of one variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Literal {
    variable: usize,
    /// The patterns, or the condition.
    what: usize,
    holds: bool,
}

/// A request that a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    pub action: String,
    pub resource: String,
    /// The values of the condition keys that were chosen; `None` is an absent key.
    pub keys: BTreeMap<String, Option<ContextValue>>,
    /// The unknowns that were chosen to be true, by their numbers.
    pub free: BTreeSet<usize>,
}

/// All literals of some areas.
pub(super) struct Space {
    variables: Vec<Variable>,
    globs: Vec<Vec<Glob>>,
    conditions: Vec<Condition>,
    /// Values that the search may not choose: of the caller, and of policy variables.
    fixed: RequestContext,
    domains: BTreeMap<String, KeyDomain>,
}

impl Space {
    pub fn new(fixed: RequestContext, domains: BTreeMap<String, KeyDomain>) -> Self {
        let variables = vec![Variable::Action, Variable::Resource];
        Self { variables, globs: Vec::new(), conditions: Vec::new(), fixed, domains }
    }

    /// The literal that the action is one of these patterns, or none of them.
    pub fn action(&mut self, globs: Vec<Glob>, holds: bool) -> Literal {
        Literal { variable: 0, what: self.globs(globs), holds }
    }

    /// The literal that the resource is one of these patterns, or none of them.
    pub fn resource(&mut self, globs: Vec<Glob>, holds: bool) -> Literal {
        Literal { variable: 1, what: self.globs(globs), holds }
    }

    /// The literal that a condition holds or does not.
    pub fn condition(&mut self, condition: &Condition, holds: bool) -> Literal {
        let variable = self.variable(Variable::Key(condition.key().as_str().to_ascii_lowercase()));
        let what = self.conditions.iter().position(|known| known == condition).unwrap_or_else(|| {
            self.conditions.push(condition.clone());
            self.conditions.len() - 1
        });
        Literal { variable, what, holds }
    }

    /// The literal that an unknown is true or false.
    pub fn free(&mut self, number: usize, holds: bool) -> Literal {
        Literal { variable: self.variable(Variable::Free(number)), what: 0, holds }
    }

    fn globs(&mut self, globs: Vec<Glob>) -> usize {
        self.globs.iter().position(|known| *known == globs).unwrap_or_else(|| {
            self.globs.push(globs);
            self.globs.len() - 1
        })
    }

    fn variable(&mut self, variable: Variable) -> usize {
        self.variables.iter().position(|known| *known == variable).unwrap_or_else(|| {
            self.variables.push(variable);
            self.variables.len() - 1
        })
    }

    fn holds(&self, point: &Point, literal: Literal) -> bool {
        let Literal { variable, what, holds } = literal;
        let matches =
            |text: &str| self.globs.get(what).is_some_and(|globs| globs.iter().any(|glob| glob.matches(text)));
        let is = match self.variables.get(variable) {
            Some(Variable::Action) => matches(&point.action),
            Some(Variable::Resource) => matches(&point.resource),
            Some(Variable::Key(key)) => {
                let Some(condition) = self.conditions.get(what) else { return false };
                let value = match point.keys.get(key) {
                    Some(Some(value)) => Some(value.clone()),
                    Some(None) => Some(ContextValue::Many(Vec::new())),
                    None => None,
                };
                let mut context = self.fixed.clone();
                if let Some(value) = value
                    && context.get(key).is_none()
                {
                    context.set(key, value);
                }
                matching::condition(condition, Version::V2012, &context) == Truth::Yes
            }
            Some(Variable::Free(number)) => point.free.contains(number),
            None => false,
        };
        is == holds
    }

    /// Whether a point is within all literals of `inside` and outside of each of `outside`.
    pub fn contains(&self, point: &Point, inside: &[Literal], outside: &[Vec<Literal>]) -> bool {
        inside.iter().all(|literal| self.holds(point, *literal))
            && !outside.iter().any(|area| area.iter().all(|literal| self.holds(point, *literal)))
    }

    /// Searches for a point within all literals of `inside` and outside of each of `outside`.
    pub fn search(&self, inside: &[Literal], outside: &[Vec<Literal>], work: &mut Budget) -> Solution<Point> {
        let mut search = Search {
            space: self,
            outside,
            wanted: vec![Vec::new(); self.variables.len()],
            point: Point::default(),
            asserted: BTreeSet::new(),
            seen: HashSet::new(),
        };
        for literal in inside {
            if let Some(wanted) = search.wanted.get_mut(literal.variable) {
                wanted.push((literal.what, literal.holds));
            }
        }
        let mut is_unknown = false;
        for variable in 0..self.variables.len() {
            match search.choose(variable, work) {
                Solution::One(()) => {}
                Solution::Nothing => return Solution::Nothing,
                Solution::Unknown => is_unknown = true,
            }
        }
        if is_unknown {
            return Solution::Unknown;
        }
        match search.leave(work) {
            Solution::One(()) => Solution::One(search.point),
            Solution::Nothing => Solution::Nothing,
            Solution::Unknown => Solution::Unknown,
        }
    }
}

struct Search<'s> {
    space: &'s Space,
    outside: &'s [Vec<Literal>],
    /// The literals of each variable that must hold, or must not.
    wanted: Vec<Vec<(usize, bool)>>,
    point: Point,
    /// What was asserted to leave areas.
    asserted: BTreeSet<Literal>,
    /// All sets of assertions that were already tried.
    seen: HashSet<Vec<Literal>>,
}

impl Search<'_> {
    /// Chooses a value of a variable that is as wanted.
    fn choose(&mut self, variable: usize, work: &mut Budget) -> Solution<()> {
        if !work.is_left() {
            return Solution::Unknown;
        }
        let Some((what, wanted)) = self.space.variables.get(variable).zip(self.wanted.get(variable)) else {
            return Solution::Nothing;
        };
        match what {
            Variable::Action => {
                let found = self.choose_text(&[Glob::any_action()], wanted, work);
                taken(found, |text| self.point.action = text)
            }
            Variable::Resource => {
                let found = self.choose_resource(wanted, work);
                taken(found, |text| self.point.resource = text)
            }
            Variable::Key(key) => self.choose_value(key, &wanted.clone(), work),
            Variable::Free(number) => {
                let is = |holds: bool| wanted.iter().all(|(_, wanted)| *wanted == holds);
                match (is(false), is(true)) {
                    (true, _) => self.point.free.remove(number),
                    (_, true) => self.point.free.insert(*number),
                    (false, false) => return Solution::Nothing,
                };
                Solution::One(())
            }
        }
    }

    fn choose_text(&self, any: &[Glob], wanted: &[(usize, bool)], work: &mut Budget) -> Solution<String> {
        let globs = |(what, _): &(usize, bool)| self.space.globs.get(*what).map(Vec::as_slice);
        let (of, but): (Vec<_>, Vec<_>) = wanted.iter().partition(|(_, holds)| *holds);
        let unions: Vec<&[Glob]> = of.iter().filter_map(globs).chain([any]).collect();
        let none: Vec<&Glob> = but.iter().filter_map(globs).flatten().collect();
        texts::find(&unions, &none, work)
    }

    /// A resource is an ARN, or `*` for actions without resources. One with likely parts is preferred.
    fn choose_resource(&self, wanted: &[(usize, bool)], work: &mut Budget) -> Solution<String> {
        let arn = |text: &str| Glob::arn(&super::Pattern::new(text));
        let any = [Glob::whole(&super::Pattern::literal("*")), arn("arn:?*:?*:*:*:?*")];
        let found = self.choose_text(&any, wanted, work);
        let is_likely = |text: &str| text == "*" || text.starts_with("arn:aws:s3:::") || !text.contains("xx");
        if matches!(&found, Solution::One(text) if !is_likely(text)) {
            for likely in ["arn:aws:s3:::example/key", "arn:aws:?*:*:*:?*"] {
                if let Solution::One(text) = self.choose_text(&[arn(likely)], wanted, work) {
                    return Solution::One(text);
                }
            }
        }
        found
    }

    fn choose_value(&mut self, key: &String, wanted: &[(usize, bool)], work: &mut Budget) -> Solution<()> {
        let wanted: Vec<(&Condition, bool)> =
            wanted.iter().filter_map(|(what, holds)| Some((self.space.conditions.get(*what)?, *holds))).collect();
        if self.space.fixed.get(key).is_some() {
            let is = |(condition, holds): &(&Condition, bool)| {
                matching::condition(condition, Version::V2012, &self.space.fixed) == Truth::of(*holds)
            };
            return if wanted.iter().all(is) { Solution::One(()) } else { Solution::Nothing };
        }
        if wanted.is_empty() {
            self.point.keys.remove(key);
            return Solution::One(());
        }
        let domain = self.space.domains.get(key).cloned().unwrap_or_default();
        let found = keys::solve(&domain, &wanted, &self.space.fixed, work);
        taken(found, |value| {
            self.point.keys.insert(key.clone(), value);
        })
    }

    /// Leaves every excluded area that contains the point.
    fn leave(&mut self, work: &mut Budget) -> Solution<()> {
        let containing =
            self.outside.iter().find(|area| area.iter().all(|literal| self.space.holds(&self.point, *literal)));
        let Some(area) = containing else { return Solution::One(()) };
        if !work.spend(self.outside.len()) {
            return Solution::Unknown;
        }
        let before = self.point.clone();
        let mut is_unknown = false;
        let mut kept = Vec::new();
        for literal in area {
            let out = Literal { holds: !literal.holds, ..*literal };
            let is_new = self.asserted.insert(out);
            if self.seen.insert(self.asserted.iter().copied().collect()) {
                self.want(out);
                let found = match self.choose(literal.variable, work) {
                    Solution::One(()) => self.leave(work),
                    other => other,
                };
                match found {
                    Solution::One(()) => return Solution::One(()),
                    Solution::Nothing => {}
                    Solution::Unknown => is_unknown = true,
                }
                self.unwant(out);
                self.point.clone_from(&before);
            }
            if is_new {
                self.asserted.remove(&out);
            }
            // The other literals are left only where this one holds. Patterns would make the search slower.
            if literal.variable > 1 {
                self.want(*literal);
                kept.push((*literal, self.asserted.insert(*literal)));
            }
        }
        for (literal, is_new) in kept {
            self.unwant(literal);
            if is_new {
                self.asserted.remove(&literal);
            }
        }
        if is_unknown { Solution::Unknown } else { Solution::Nothing }
    }

    fn want(&mut self, literal: Literal) {
        if let Some(wanted) = self.wanted.get_mut(literal.variable) {
            wanted.push((literal.what, literal.holds));
        }
    }

    fn unwant(&mut self, literal: Literal) {
        if let Some(wanted) = self.wanted.get_mut(literal.variable)
            && let Some(at) = wanted.iter().rposition(|known| *known == (literal.what, literal.holds))
        {
            wanted.remove(at);
        }
    }
}

fn taken<T>(found: Solution<T>, take: impl FnOnce(T)) -> Solution<()> {
    match found {
        Solution::One(value) => {
            take(value);
            Solution::One(())
        }
        Solution::Nothing => Solution::Nothing,
        Solution::Unknown => Solution::Unknown,
    }
}
