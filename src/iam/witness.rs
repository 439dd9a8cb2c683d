//! Decides whether an area without others is empty, and finds a request in it if it is not.
//!
//! The values of policy variables are chosen first, so that every pattern is a plain one: a value that no policy
//! mentions, no value, or one that another part of the policies names. If no choice leads to a request, the proof that
//! there is none treats whatever contains a variable as an unknown.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{self, ServiceEntry};
use super::condition::Condition;
use super::matching;
use super::pattern::Pattern;
use super::policy::Selector;
use super::reach::{Area, Atom};
use super::request::{ContextValue, RequestContext};
use super::space::{Budget, Glob, KeyDomain, Literal, Point, Solution, Space};

/// What is known about the caller of all requests: the keys that follow from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownKeys {
    /// Keys with their values; `None` is an absent key.
    pub fixed: Vec<(String, Option<ContextValue>)>,
    /// Keys of which the value matches a pattern, and none of others.
    pub within: Vec<(String, Pattern, Vec<Pattern>)>,
    /// Keys that are absent or have a value that matches none of these patterns.
    pub without: Vec<(String, Vec<Pattern>)>,
}

/// A request in a region: its action and resource, and the keys that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// The action, in lower case unless the catalogue knows it.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// The values of condition keys. All others are absent.
    pub context: Vec<(String, ContextValue)>,
    /// Whether the request is in the region only if a `NotPrincipal` applies as the region assumes.
    pub is_uncertain: bool,
}

/// Actions for examples of patterns that match many.
const LIKELY_ACTIONS: [&str; 6] =
    ["s3:GetObject", "s3:PutObject", "sts:AssumeRole", "kms:Decrypt", "iam:PassRole", "ec2:RunInstances"];

/// The maximum number of choices for the values of variables.
const MOST_CHOICES: usize = 200;

/// Searches for a request in `area` and in none of `except`.
pub(super) fn decide(known: &KnownKeys, area: &Area, except: &[&Area], work: &mut Budget) -> Solution<Example> {
    let all: Vec<&Area> = std::iter::once(area).chain(except.iter().copied()).collect();
    let mut fixed = RequestContext::new();
    for (key, value) in &known.fixed {
        fixed.set(key, value.clone().unwrap_or(ContextValue::Many(Vec::new())));
    }
    let mut variables = BTreeSet::new();
    for atom in all.iter().flat_map(|area| area.atoms()) {
        variables.extend(variables_of(atom).into_iter().filter(|name| fixed.get(name).is_none()));
    }
    let question = Emptiness { known, area, except, all: &all };
    if variables.is_empty() {
        return question.ask(&fixed, false, work);
    }
    for choice in question.choices(&variables) {
        let mut fixed = fixed.clone();
        for (name, value) in choice {
            fixed.set(name, value.unwrap_or(ContextValue::Many(Vec::new())));
        }
        if let Solution::One(example) = question.ask(&fixed, false, work) {
            return Solution::One(example);
        }
        if !work.is_left() {
            break;
        }
    }
    match question.ask(&fixed, true, work) {
        Solution::Nothing => Solution::Nothing,
        Solution::One(_) | Solution::Unknown => Solution::Unknown,
    }
}

fn is_known(action: &str) -> bool {
    let service = action.split_once(':').and_then(|(prefix, name)| ServiceEntry::of(prefix)?.action(name));
    service.is_some()
}

/// The names of the policy variables in an atom, in lower case.
fn variables_of(atom: &Atom) -> Vec<String> {
    let texts: Vec<&str> = match atom {
        Atom::Condition(condition) => condition.values().collect(),
        Atom::Resource(text) => vec![text],
        Atom::NotPrincipal(_) => Vec::new(),
    };
    texts.into_iter().flat_map(matching::variables).collect()
}

/// An area and those to leave out, as literals.
struct PreparedSearch {
    space: Space,
    inside: Vec<Literal>,
    outside: Vec<Vec<Literal>>,
    has_free: bool,
}

struct Emptiness<'q> {
    known: &'q KnownKeys,
    area: &'q Area,
    except: &'q [&'q Area],
    all: &'q [&'q Area],
}

impl Emptiness<'_> {
    /// Searches with these values of variables. If `opaque`, whatever contains a variable is an unknown.
    fn ask(&self, fixed: &RequestContext, opaque: bool, work: &mut Budget) -> Solution<Example> {
        let PreparedSearch { space, inside, outside, has_free } = self.prepared(fixed, opaque);
        match space.search(&inside, &outside, work) {
            Solution::One(point) => {
                let point = self.with_known_action(&space, &inside, &outside, point);
                Solution::One(example(point, fixed, has_free))
            }
            Solution::Nothing => Solution::Nothing,
            Solution::Unknown => Solution::Unknown,
        }
    }

    fn prepared(&self, fixed: &RequestContext, opaque: bool) -> PreparedSearch {
        let mut conditions: BTreeMap<String, Vec<&Condition>> = BTreeMap::new();
        for atom in self.all.iter().flat_map(|area| area.atoms()) {
            if let Atom::Condition(condition) = atom {
                conditions.entry(condition.key().as_str().to_ascii_lowercase()).or_default().push(condition);
            }
        }
        let domain = |(key, tests): (&String, &Vec<&Condition>)| {
            let mut domain = KeyDomain::new(key, tests);
            for (_, within, without) in self.known.within.iter().filter(|(name, ..)| name.eq_ignore_ascii_case(key)) {
                domain.within.push(Glob::arn(within));
                domain.without.extend(without.iter().map(Glob::arn));
                domain.may_be_absent = false;
            }
            for (_, without) in self.known.without.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key)) {
                domain.without.extend(without.iter().map(Glob::arn));
            }
            (key.clone(), domain)
        };
        let domains = conditions.iter().map(domain).collect();
        let mut space = Space::new(fixed.clone(), domains);
        let mut unknowns: Vec<&Atom> = Vec::new();
        let inside = literals(&mut space, self.area, fixed, opaque, &mut unknowns);
        let mut outside: Vec<Vec<Literal>> =
            self.except.iter().map(|a| literals(&mut space, a, fixed, opaque, &mut unknowns)).collect();
        // Whatever the values of variables are, an unknown cannot be true without those that it implies.
        for (one, narrow) in unknowns.iter().enumerate() {
            for (other, _) in unknowns.iter().enumerate().filter(|(at, wide)| *at != one && implies(narrow, wide)) {
                outside.push(vec![space.free(one, true), space.free(other, false)]);
            }
        }
        let has_free = !unknowns.is_empty();
        PreparedSearch { space, inside, outside, has_free }
    }

    /// The point with an action that AWS has, if one is found in the same place.
    fn with_known_action(&self, space: &Space, inside: &[Literal], outside: &[Vec<Literal>], point: Point) -> Point {
        let spelled = catalogue::spelling(&point.action).into_owned();
        if spelled != point.action || is_known(&spelled) {
            return Point { action: spelled, ..point };
        }
        let (patterns, _) = self.area.actions();
        let likely = LIKELY_ACTIONS.iter().map(|name| (*name).to_owned());
        let named = patterns.iter().flat_map(|pattern| {
            let text = pattern.to_string();
            let (prefix, name) = text.split_once(':').unwrap_or(("", ""));
            let service = ServiceEntry::of(prefix);
            let matching = service.iter().flat_map(|service| service.matching(name)).map(|action| action.name);
            matching.take(MOST_CHOICES).map(|name| format!("{prefix}:{name}")).collect::<Vec<_>>()
        });
        for name in likely.chain(named) {
            let other = Point { action: name.to_ascii_lowercase(), ..point.clone() };
            if space.contains(&other, inside, outside) {
                return Point { action: name, ..other };
            }
        }
        point
    }

    /// The values to try for policy variables.
    fn choices<'v>(&self, variables: &'v BTreeSet<String>) -> Vec<Vec<(&'v str, Option<ContextValue>)>> {
        let one = |text: String| Some(ContextValue::One(text));
        let unused = |at: usize| one(format!("user-{at}"));
        let strange = |at: usize| one("\u{e000}\u{e001}".chars().cycle().skip(at).take(5 + at).collect());
        let each = |value: &dyn Fn(usize) -> Option<ContextValue>| -> Vec<(&'v str, Option<ContextValue>)> {
            variables.iter().enumerate().map(|(at, name)| (name.as_str(), value(at))).collect()
        };
        let mut choices = vec![each(&unused), each(&strange), each(&|_| None)];
        let mut values = self.named_values();
        values.truncate(MOST_CHOICES / (1 + variables.len()));
        for name in variables {
            for value in std::iter::once(None).chain(values.iter().cloned().map(one)) {
                let mut choice = each(&unused);
                for entry in choice.iter_mut().filter(|(other, _)| other == name) {
                    entry.1.clone_from(&value);
                }
                choices.push(choice);
            }
        }
        choices
    }

    /// The texts that the policies name where a variable may be: values of conditions and parts of resources.
    fn named_values(&self) -> Vec<String> {
        let mut values = BTreeSet::new();
        for (_, value) in &self.known.fixed {
            values.extend(value.iter().filter_map(|value| match value {
                ContextValue::One(text) => Some(text.clone()),
                ContextValue::Many(_) | ContextValue::Varies => None,
            }));
        }
        for area in self.all {
            for atom in area.atoms() {
                if let Atom::Condition(condition) = atom {
                    values.extend(condition.values().filter(|value| !value.contains("${")).map(plain));
                }
            }
            for pattern in area.resource_selectors().iter().flat_map(Selector::values) {
                values.extend(pattern.to_string().split(['/', ':']).map(plain));
            }
        }
        values.remove("");
        values.into_iter().collect()
    }
}

/// Whether one atom is true whenever another is, for all values of the variables in them.
fn implies(narrow: &Atom, wide: &Atom) -> bool {
    match (narrow, wide) {
        (Atom::Resource(narrow), Atom::Resource(wide)) => {
            let names = [matching::variables(narrow), matching::variables(wide)].concat();
            let symbolic = |text: &str| Glob::arn(&matching::with_symbols(text, &names));
            // A variable may have any length, and a `?` stands for one character. Default values are left aside.
            !wide.contains('?')
                && !wide.contains(',')
                && !narrow.contains(',')
                && symbolic(wide).includes(&symbolic(narrow))
        }
        (Atom::Condition(narrow), Atom::Condition(wide)) => {
            let includes =
                |all: &Condition, some: &Condition| some.values().all(|value| all.values().any(|v| v == value));
            (narrow.operator(), narrow.key()) == (wide.operator(), wide.key())
                && if narrow.operator().test.is_negated() { includes(narrow, wide) } else { includes(wide, narrow) }
        }
        _ => false,
    }
}

/// A text without wildcards.
fn plain(text: &str) -> String {
    text.replace(['*', '?'], "")
}

/// The literals of an area.
fn literals<'a>(
    space: &mut Space,
    area: &'a Area,
    fixed: &RequestContext,
    opaque: bool,
    unknowns: &mut Vec<&'a Atom>,
) -> Vec<Literal> {
    let mut literals = Vec::new();
    for selector in area.action_selectors() {
        let globs = selector.values().iter().map(Glob::whole).collect();
        literals.push(space.action(globs, !selector.is_inverted()));
    }
    for selector in area.resource_selectors() {
        let globs = selector.values().iter().map(Glob::arn).collect();
        literals.push(space.resource(globs, !selector.is_inverted()));
    }
    let when = area.when().iter().map(|atom| (atom, true));
    for (atom, holds) in when.chain(area.unless().iter().map(|atom| (atom, false))) {
        let is_opaque = opaque && !variables_of(atom).is_empty();
        literals.push(match atom {
            Atom::Condition(condition) if !is_opaque => space.condition(condition, holds),
            Atom::Resource(text) if !is_opaque => {
                let globs = matching::value_pattern(text, fixed).iter().map(Glob::arn).collect();
                space.resource(globs, holds)
            }
            _ => {
                let number = unknowns.iter().position(|known| *known == atom).unwrap_or_else(|| {
                    unknowns.push(atom);
                    unknowns.len() - 1
                });
                space.free(number, holds)
            }
        });
    }
    literals
}

fn example(point: Point, fixed: &RequestContext, is_uncertain: bool) -> Example {
    let Point { action, resource, keys, free: _ } = point;
    let mut context: Vec<(String, ContextValue)> = fixed
        .keys()
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), fixed.get(key)?.clone())))
        .filter(|(_, value)| *value != ContextValue::Many(Vec::new()))
        .collect();
    context.extend(keys.into_iter().filter_map(|(key, value)| Some((key, value?))));
    for (key, _) in &mut context {
        *key = catalogue::key_spelling(key).into_owned();
    }
    context.sort_by(|(a, _), (b, _)| a.cmp(b));
    Example { action, resource, context, is_uncertain }
}
