//! Statements, actions and resources that another one covers.

use super::matching;
use super::name::ActionPattern;
use super::pattern::Pattern;
use super::policy::{Effect, Principal, Statement, Version};
use super::reach::Area;
use super::space::{Budget, Glob, Solution};
use super::witness::{Example, KnownKeys, decide};

/// The number of values above which they are not compared with each other. AWS accepts fewer in a statement.
const MOST_VALUES: usize = 4_096;

/// For each statement, the position of another one that makes it redundant, if any. Of two that cover each other, the
/// first is kept.
pub(super) fn redundant_statements(statements: &[Statement], version: Version) -> Vec<Option<usize>> {
    let known = KnownKeys::default();
    let areas: Vec<Vec<Area>> = statements.iter().map(|statement| Area::of_statement(statement, version)).collect();
    let example = |areas: &Vec<Area>| {
        areas.first().and_then(|area| match decide(&known, area, &[], &mut Budget::default()) {
            Solution::One(example) => Some(example),
            Solution::Nothing | Solution::Unknown => None,
        })
    };
    let examples: Vec<Option<Example>> = areas.iter().map(example).collect();
    let covers = |wide: usize, narrow: usize| {
        let (Some(one), Some(other)) = (statements.get(wide), statements.get(narrow)) else { return false };
        let (Some(areas), Some(inner), Some(Some(example))) =
            (areas.get(wide), areas.get(narrow), examples.get(narrow))
        else {
            return false;
        };
        one.effect == other.effect
            && covers_principal(one, other)
            && one.resource.is_some() == other.resource.is_some()
            && areas.iter().any(|area| area.contains(&example.action, &example.resource, |_| true))
            && inner.iter().all(|area| {
                decide(&known, area, &areas.iter().collect::<Vec<_>>(), &mut Budget::default()) == Solution::Nothing
            })
    };
    let mut redundant: Vec<Option<usize>> = Vec::with_capacity(statements.len());
    for narrow in 0..statements.len() {
        let is_kept = |wide: usize| wide > narrow || redundant.get(wide).is_some_and(Option::is_none);
        let by = (0..statements.len()).find(|wide| {
            *wide != narrow && is_kept(*wide) && covers(*wide, narrow) && (*wide < narrow || !covers(narrow, *wide))
        });
        redundant.push(by.map(|by| by + 1));
    }
    redundant
}

/// Whether a statement names every principal that another one names, judged by single principals. An Allow to everyone
/// is not one to a role: other layers limit them differently.
fn covers_principal(wide: &Statement, narrow: &Statement) -> bool {
    match (&wide.principal, &narrow.principal) {
        (None, None) => true,
        (Some(all), Some(some)) if all.inverted && some.inverted => all.values.iter().all(|p| some.values.contains(p)),
        (Some(all), Some(some)) if !all.inverted && !some.inverted => {
            let is_everyone = wide.effect == Effect::Deny && all.values.contains(&Principal::Everyone);
            is_everyone || some.values.iter().all(|principal| all.values.contains(principal))
        }
        _ => false,
    }
}

/// The redundant actions and resources of a statement, with the value that covers them: element, narrow value, wide
/// value.
pub(super) fn redundant_values(statement: &Statement, version: Version) -> Vec<(&'static str, String, String)> {
    let mut found = Vec::new();
    let names: Vec<&str> = statement.action.values.iter().map(ActionPattern::as_str).collect();
    let actions: Vec<Glob> =
        names.iter().map(|name| Glob::whole(&Pattern::without_escapes(&name.to_ascii_lowercase()))).collect();
    let element = if statement.action.inverted { "NotAction" } else { "Action" };
    for (narrow, wide) in covered(actions.len(), |wide, narrow| includes(&actions, wide, narrow)) {
        if let (Some(narrow), Some(wide)) = (names.get(narrow), names.get(wide)) {
            found.push((element, (*narrow).to_owned(), (*wide).to_owned()));
        }
    }
    let Some(resource) = &statement.resource else { return found };
    let texts: Vec<&str> = resource.values.iter().map(AsRef::as_ref).collect();
    let variables = |text: &str| if version == Version::V2012 { matching::variables(text) } else { Vec::new() };
    let all: Vec<String> = texts.iter().flat_map(|text| variables(text)).collect();
    let pattern = |text: &&str| match version {
        Version::V2012 => matching::with_symbols(text, &all),
        Version::V2008 => Pattern::without_escapes(text),
    };
    let globs: Vec<Glob> = texts.iter().map(|text| Glob::arn(&pattern(text))).collect();
    let element = if resource.inverted { "NotResource" } else { "Resource" };
    let is_wider = |wide: usize, narrow: usize| {
        let (Some(one), Some(other)) = (texts.get(wide), texts.get(narrow)) else { return false };
        // A variable may have any length, and a `?` stands for one character.
        one == other || (!one.contains('?') || variables(other).is_empty()) && includes(&globs, wide, narrow)
    };
    for (narrow, wide) in covered(globs.len(), is_wider) {
        if let (Some(narrow), Some(wide)) = (texts.get(narrow), texts.get(wide)) {
            found.push((element, (*narrow).to_owned(), (*wide).to_owned()));
        }
    }
    found
}

fn includes(globs: &[Glob], wide: usize, narrow: usize) -> bool {
    globs.get(wide).zip(globs.get(narrow)).is_some_and(|(wide, narrow)| wide.includes(narrow))
}

/// Pairs of indices: a value, and the first other value that includes it. Of two equal values the first is kept.
fn covered(count: usize, includes: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    if count > MOST_VALUES {
        return Vec::new();
    }
    (0..count)
        .filter_map(|narrow| {
            let by = (0..count).find(|wide| {
                *wide != narrow && includes(*wide, narrow) && (*wide < narrow || !includes(narrow, *wide))
            })?;
            Some((narrow, by))
        })
        .collect()
}
