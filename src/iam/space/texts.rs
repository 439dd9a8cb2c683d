//! Sets of texts that wildcard patterns describe, and the search for a text that is in some and not in others.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::Budget;
use crate::iam::pattern::{Pattern, Token};

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::iam) enum Solution<T> {
    /// A solution.
    One(T),
    /// There is no solution. This is proved.
    Nothing,
    /// The search ended before it found a solution or proved that there is none.
    Unknown,
}

/// One step of a pattern. The wildcards of the first five parts of an ARN match no colon.
///
/// Source: IAM User Guide, "IAM JSON policy elements: Resource".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum GlobStep {
    Char(char),
    /// An ASCII letter in either case.
    Fold(char),
    One {
        within_part: bool,
    },
    Many {
        within_part: bool,
    },
}

impl GlobStep {
    fn accepts(self, char: char) -> bool {
        match self {
            GlobStep::Char(wanted) => wanted == char,
            GlobStep::Fold(wanted) => wanted.eq_ignore_ascii_case(&char),
            GlobStep::One { within_part } | GlobStep::Many { within_part } => !(within_part && char == ':'),
        }
    }

    fn may_be_colon(self) -> bool {
        self.accepts(':')
    }
}

/// Positions in the steps of a pattern that the characters so far may have led to, sorted.
type States = Vec<u16>;

/// A pattern that can be followed character by character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::iam) struct Glob {
    steps: Box<[GlobStep]>,
}

impl Glob {
    /// The texts that a pattern matches as a whole.
    pub fn whole(pattern: &Pattern) -> Self {
        Self::of_tokens(pattern.tokens(), false)
    }

    /// The texts that a pattern matches without regard to the case of ASCII letters.
    pub fn folded(pattern: &Pattern) -> Self {
        let fold = |step| match step {
            GlobStep::Char(char) if char.is_ascii_alphabetic() => GlobStep::Fold(char.to_ascii_lowercase()),
            step => step,
        };
        Self { steps: Self::whole(pattern).steps.into_iter().map(fold).collect() }
    }

    /// The ARNs that a pattern matches: part by part if it has six parts, as a whole otherwise.
    pub fn arn(pattern: &Pattern) -> Self {
        Self::of_tokens(pattern.tokens(), colons(pattern.tokens()) >= 5)
    }

    /// The texts with a prefix, a colon, and a name.
    pub fn any_action() -> Self {
        let part = [GlobStep::One { within_part: true }, GlobStep::Many { within_part: true }];
        Self { steps: part.into_iter().chain([GlobStep::Char(':')]).chain(part).collect() }
    }

    fn of_tokens(tokens: &[Token], by_part: bool) -> Self {
        let mut left = if by_part { 5 } else { 0 };
        let step = |token: &Token| {
            let within_part = left > 0;
            match token {
                Token::Char(char) => {
                    left -= i32::from(*char == ':' && left > 0);
                    GlobStep::Char(*char)
                }
                Token::One => GlobStep::One { within_part },
                Token::Many => GlobStep::Many { within_part },
            }
        };
        Self { steps: tokens.iter().map(step).collect() }
    }

    /// Whether the pattern matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        let mut chars = text.chars();
        let mut from = 0;
        // Most patterns already differ before their first wildcard.
        while let Some(step @ (GlobStep::Char(_) | GlobStep::Fold(_))) = self.steps.get(from) {
            if !chars.next().is_some_and(|char| step.accepts(char)) {
                return false;
            }
            from += 1;
        }
        let mut states = self.closed(vec![u16::try_from(from).unwrap_or(u16::MAX)]);
        for char in chars {
            states = self.advanced(&states, char);
            if states.is_empty() {
                return false;
            }
        }
        self.is_end(&states)
    }

    fn start(&self) -> States {
        self.closed(vec![0])
    }

    fn is_end(&self, states: &States) -> bool {
        states.last().is_some_and(|last| usize::from(*last) == self.steps.len())
    }

    /// Whether every continuation matches.
    fn is_sure(&self, states: &States) -> bool {
        let last = self.steps.len().checked_sub(1);
        last.and_then(|last| self.steps.get(last)) == Some(&GlobStep::Many { within_part: false })
            && self.is_end(states)
    }

    fn advanced(&self, states: &States, char: char) -> States {
        let mut next = Vec::with_capacity(states.len() + 1);
        for at in states {
            match self.steps.get(usize::from(*at)) {
                Some(step) if !step.accepts(char) => {}
                Some(GlobStep::Many { .. }) => next.push(*at),
                Some(_) => next.push(at + 1),
                None => {}
            }
        }
        self.closed(next)
    }

    /// Adds the positions after a `*`, which may match nothing, and drops positions that add no texts: whatever is
    /// matched from before a `*` is also matched from the `*` on.
    fn closed(&self, mut states: States) -> States {
        let mut at = 0;
        while let Some(state) = states.get(at).copied() {
            if matches!(self.steps.get(usize::from(state)), Some(GlobStep::Many { .. })) {
                states.push(state + 1);
            }
            at += 1;
        }
        states.sort_unstable();
        states.dedup();
        let absorbs = |star: u16| match self.steps.get(usize::from(star)) {
            Some(GlobStep::Many { within_part: false }) => Some(0),
            Some(GlobStep::Many { within_part: true }) => {
                let before = self.steps.get(..usize::from(star)).unwrap_or_default();
                let colon = before.iter().rposition(|step| step.may_be_colon()).map_or(0, |at| at + 1);
                u16::try_from(colon).ok()
            }
            _ => None,
        };
        if let Some((star, from)) = states.iter().rev().find_map(|state| Some((*state, absorbs(*state)?))) {
            states.retain(|state| *state >= star || *state < from);
        }
        states
    }

    /// Whether every text of `other` is one of this pattern, judged by following the steps of `other`. A false negative
    /// is possible where a text of `other` must be split into cases.
    pub fn includes(&self, other: &Self) -> bool {
        let mut states = self.start();
        for step in &other.steps {
            let mut next = Vec::with_capacity(states.len() + 1);
            for at in &states {
                match (self.steps.get(usize::from(*at)), step) {
                    (Some(GlobStep::Many { within_part }), step) if !(*within_part && step.may_be_colon()) => {
                        next.push(*at);
                    }
                    (Some(GlobStep::One { within_part }), step)
                        if !(matches!(step, GlobStep::Many { .. }) || *within_part && step.may_be_colon()) =>
                    {
                        next.push(at + 1);
                    }
                    (Some(GlobStep::Char(wanted)), GlobStep::Char(char)) if wanted == char => next.push(at + 1),
                    (Some(GlobStep::Fold(wanted)), GlobStep::Char(char) | GlobStep::Fold(char))
                        if wanted.eq_ignore_ascii_case(char) =>
                    {
                        next.push(at + 1);
                    }
                    _ => {}
                }
            }
            states = self.closed(next);
            if states.is_empty() {
                return false;
            }
        }
        self.is_end(&states)
    }

    /// Whether the pattern matches one text only.
    fn is_literal(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, GlobStep::Char(_)))
    }

    /// A text of the pattern, with `filler` for each `*` and `one` for each `?`.
    fn text(&self, filler: &str, one: char) -> String {
        let mut text = String::with_capacity(self.steps.len());
        for step in &self.steps {
            match step {
                GlobStep::Char(char) | GlobStep::Fold(char) => text.push(*char),
                GlobStep::One { .. } => text.push(one),
                GlobStep::Many { .. } => text.push_str(filler),
            }
        }
        text
    }

    fn chars(&self) -> impl Iterator<Item = char> {
        self.steps.iter().filter_map(|step| match step {
            GlobStep::Char(char) | GlobStep::Fold(char) => Some(*char),
            GlobStep::One { .. } | GlobStep::Many { .. } => None,
        })
    }
}

/// The number of colons outside wildcards.
pub(in crate::iam) fn colons(tokens: &[Token]) -> usize {
    tokens.iter().filter(|token| **token == Token::Char(':')).count()
}

/// Searches for a text that is in each of the unions `any`, and that none of the patterns `none` matches.
pub(in crate::iam) fn find(any: &[&[Glob]], none: &[&Glob], work: &mut Budget) -> Solution<String> {
    let Some((first, rest)) = split_smallest(any) else { return Solution::Nothing };
    let fresh = fresh_char(first.iter().chain(rest.iter().copied().flatten()).chain(none.iter().copied()));
    let fits = |text: &str| {
        rest.iter().all(|union| union.iter().any(|glob| glob.matches(text)))
            && !none.iter().any(|glob| glob.matches(text))
    };
    let filler = fresh.to_string();
    let mut is_unknown = false;
    for glob in first {
        if none.iter().any(|wide| wide.includes(glob)) {
            continue;
        }
        for filler in [filler.as_str(), "", &filler.repeat(3)] {
            work.spend(1 + rest.len() + none.len());
            let text = glob.text(filler, fresh);
            if glob.matches(&text) && fits(&text) {
                return Solution::One(text);
            }
            if glob.is_literal() {
                break;
            }
        }
        if glob.is_literal() {
            continue;
        }
        match GlobWalk::new(glob, &rest, none, fresh).search(work) {
            Solution::One(text) => return Solution::One(text),
            Solution::Nothing => {}
            Solution::Unknown => is_unknown = true,
        }
    }
    if is_unknown { Solution::Unknown } else { Solution::Nothing }
}

/// Divides unions into the one whose patterns are the narrowest and the others. A union of all texts is left out.
fn split_smallest<'g>(any: &[&'g [Glob]]) -> Option<(&'g [Glob], Vec<&'g [Glob]>)> {
    let is_all = |union: &[Glob]| union.iter().any(|glob| *glob.steps == [GlobStep::Many { within_part: false }]);
    let width = |union: &[Glob]| {
        let least = union.iter().map(|glob| glob.chars().count()).min().unwrap_or_default();
        (is_all(union), union.len(), usize::MAX - least)
    };
    let (at, first) = any.iter().enumerate().min_by_key(|(_, union)| width(union))?;
    let rest = any.iter().enumerate().filter(|(other, union)| *other != at && *union != first && !is_all(union));
    Some((first, rest.map(|(_, union)| *union).collect()))
}

/// A character that no pattern contains, readable if possible.
fn fresh_char<'g>(globs: impl Iterator<Item = &'g Glob>) -> char {
    let used: BTreeSet<char> = globs.flat_map(Glob::chars).map(|char| char.to_ascii_lowercase()).collect();
    "xyzwkqjv0123456789".chars().chain('\u{e000}'..='\u{f8ff}').find(|char| !used.contains(char)).unwrap_or('\u{f8ff}')
}

/// A walk through the texts of one pattern.
struct GlobWalk<'g> {
    globs: Vec<&'g Glob>,
    /// For each union, the places of its patterns in `globs`. The first has only the pattern itself.
    unions: Vec<Vec<usize>>,
    /// The place of the first pattern that must not match.
    none: usize,
    fresh: char,
    has_colons: bool,
}

impl<'g> GlobWalk<'g> {
    fn new(glob: &'g Glob, rest: &[&'g [Glob]], none: &[&'g Glob], fresh: char) -> Self {
        let mut globs = vec![glob];
        let mut unions = vec![vec![0]];
        for union in rest {
            let from = globs.len();
            globs.extend(union.iter().filter(|other| overlap(glob, other)));
            unions.push((from..globs.len()).collect());
        }
        let from = globs.len();
        globs.extend(none.iter().filter(|other| overlap(glob, other)));
        let within = |step: &GlobStep| {
            matches!(step, GlobStep::One { within_part: true } | GlobStep::Many { within_part: true })
        };
        let has_colons = globs.iter().any(|glob| glob.steps.iter().any(within));
        Self { globs, unions, none: from, fresh, has_colons }
    }

    fn search(&self, work: &mut Budget) -> Solution<String> {
        let start: Vec<States> = self.globs.iter().map(|glob| glob.start()).collect();
        let mut seen: HashMap<Vec<States>, usize> = HashMap::new();
        let mut trail: Vec<(usize, char)> = vec![(0, ' ')];
        seen.insert(start.clone(), 0);
        let mut open = VecDeque::from([(start, 0)]);
        while let Some((states, place)) = open.pop_front() {
            if self.is_solution(&states) {
                return Solution::One(spelled(&trail, place));
            }
            for char in self.next_chars(&states) {
                if !work.spend(self.globs.len()) {
                    return Solution::Unknown;
                }
                let next: Vec<States> =
                    self.globs.iter().zip(&states).map(|(glob, states)| glob.advanced(states, char)).collect();
                if self.is_hopeless(&next) || seen.contains_key(&next) {
                    continue;
                }
                seen.insert(next.clone(), trail.len());
                open.push_back((next, trail.len()));
                trail.push((place, char));
            }
        }
        Solution::Nothing
    }

    fn is_solution(&self, states: &[States]) -> bool {
        let is_end = |at: usize| self.globs.get(at).zip(states.get(at)).is_some_and(|(glob, s)| glob.is_end(s));
        self.unions.iter().all(|union| union.iter().any(|at| is_end(*at))) && !(self.none..states.len()).any(is_end)
    }

    /// Whether no continuation can be a solution.
    fn is_hopeless(&self, states: &[States]) -> bool {
        let is_alive = |at: &usize| states.get(*at).is_some_and(|s| !s.is_empty());
        let is_sure = |at: usize| self.globs.get(at).zip(states.get(at)).is_some_and(|(glob, s)| glob.is_sure(s));
        !self.unions.iter().all(|union| union.iter().any(is_alive)) || (self.none..states.len()).any(is_sure)
    }

    /// The characters that lead to different states; one of them represents all that no pattern mentions.
    fn next_chars(&self, states: &[States]) -> BTreeSet<char> {
        let mut chars = BTreeSet::from([self.fresh]);
        if self.has_colons {
            chars.insert(':');
        }
        for (glob, states) in self.globs.iter().zip(states) {
            for at in states {
                match glob.steps.get(usize::from(*at)) {
                    Some(GlobStep::Char(char)) => {
                        chars.insert(*char);
                    }
                    Some(GlobStep::Fold(char)) => {
                        chars.extend([*char, char.to_ascii_uppercase()]);
                    }
                    _ => {}
                }
            }
        }
        let first = self.globs.first().zip(states.first());
        let moves = |char: &char| {
            let accepts =
                |(glob, at): (&&Glob, &u16)| glob.steps.get(usize::from(*at)).is_some_and(|s| s.accepts(*char));
            first.is_some_and(|(glob, states)| states.iter().any(|at| accepts((glob, at))))
        };
        chars.retain(moves);
        chars
    }
}

/// The text that leads to a place of a trail, in which each place has the one before it and a character.
fn spelled(trail: &[(usize, char)], mut place: usize) -> String {
    let mut chars = Vec::new();
    while place > 0
        && let Some((before, char)) = trail.get(place)
    {
        chars.push(*char);
        place = *before;
    }
    chars.iter().rev().collect()
}

/// Whether some text may match both patterns. `false` is certain.
fn overlap(a: &Glob, b: &Glob) -> bool {
    let fixed = |glob: &Glob| -> usize {
        glob.steps.iter().take_while(|step| matches!(step, GlobStep::Char(_) | GlobStep::Fold(_))).count()
    };
    let same = |x: &GlobStep, y: &GlobStep| match (x, y) {
        (GlobStep::Char(x), GlobStep::Char(y)) => x == y,
        (GlobStep::Char(x) | GlobStep::Fold(x), GlobStep::Char(y) | GlobStep::Fold(y)) => x.eq_ignore_ascii_case(y),
        _ => true,
    };
    let prefix = fixed(a).min(fixed(b));
    a.steps.iter().zip(&b.steps).take(prefix).all(|(x, y)| same(x, y)) && meets(a, b)
}

/// Whether some text matches both patterns: a walk through the pairs of their steps.
fn meets(a: &Glob, b: &Glob) -> bool {
    let mut seen = BTreeSet::from([(0, 0)]);
    let mut open = vec![(0, 0)];
    while let Some((x, y)) = open.pop() {
        let mut go = |to: (usize, usize)| {
            if seen.insert(to) {
                open.push(to);
            }
        };
        let (one, two) = (a.steps.get(x), b.steps.get(y));
        if one.is_none() && two.is_none() {
            return true;
        }
        if matches!(one, Some(GlobStep::Many { .. })) {
            go((x + 1, y));
        }
        if matches!(two, Some(GlobStep::Many { .. })) {
            go((x, y + 1));
        }
        if let (Some(one), Some(two)) = (one, two)
            && share(*one, *two)
        {
            let after = |step: &GlobStep, at: usize| if matches!(step, GlobStep::Many { .. }) { at } else { at + 1 };
            go((after(one, x), after(two, y)));
        }
    }
    false
}

/// Whether some character fits both steps.
fn share(one: GlobStep, two: GlobStep) -> bool {
    match (one, two) {
        (GlobStep::Char(char), other) | (other, GlobStep::Char(char)) => other.accepts(char),
        (GlobStep::Fold(char), other) | (other, GlobStep::Fold(char)) => {
            other.accepts(char) || other.accepts(char.to_ascii_uppercase())
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn globs(texts: &[&str]) -> Vec<Glob> {
        texts.iter().map(|text| Glob::whole(&Pattern::new(text))).collect()
    }

    fn found(any: &[&[&str]], none: &[&str]) -> Solution<String> {
        let any: Vec<Vec<Glob>> = any.iter().map(|union| globs(union)).collect();
        let unions: Vec<&[Glob]> = any.iter().map(Vec::as_slice).collect();
        let none = globs(none);
        find(&unions, &none.iter().collect::<Vec<_>>(), &mut Budget::default())
    }

    #[test]
    fn star_is_the_empty_text_or_a_longer_one() {
        assert_eq!(found(&[&["d/*"]], &["d/", "d/?*"]), Solution::Nothing);
        assert_eq!(found(&[&["b/*a*"]], &["b/*a", "b/*a?*"]), Solution::Nothing);
        assert_eq!(found(&[&["d/*"]], &["d/?*"]), Solution::One("d/".into()));
        assert_eq!(found(&[&["d/*"]], &["d/", "d/?"]), Solution::One("d/xxx".into()));
    }

    #[test]
    fn patterns_of_many_stars_are_decided_at_once() {
        let bomb = |letter: &str| format!("{}z", format!("*{letter}").repeat(20));
        let (a, b, c) = (bomb("a"), bomb("b"), bomb("c"));
        assert!(matches!(found(&[&[&a, &b, &c]], &[&b, &c]), Solution::One(_)));
        assert_eq!(found(&[&[&a, &b, &c]], &[&c, &b, &a]), Solution::Nothing);
    }

    #[test]
    fn letters_in_either_case_are_several_texts() {
        let folded = [Glob::folded(&Pattern::literal("red"))];
        let exact = Glob::whole(&Pattern::literal("red"));
        assert!(matches!(find(&[&folded], &[&exact], &mut Budget::default()), Solution::One(_)));
        assert_eq!(find(&[&[exact]], &[&folded[0]], &mut Budget::default()), Solution::Nothing);
    }

    #[test]
    fn arns_are_matched_part_by_part() {
        let arn = |text: &str| Glob::arn(&Pattern::new(text));
        let mut work = Budget::default();
        let (task, other) = (arn("arn:aws:ecs:*:*:task/a"), arn("arn:aws:s3:::*"));
        assert_eq!(
            find(&[&[arn("arn:aws:*:eu-west-1:*:*")], std::slice::from_ref(&other)], &[], &mut work),
            Solution::Nothing
        );
        assert!(!task.matches("arn:aws:ecs:x:y:z:task/a") && other.matches("arn:aws:s3:::b:c"));
        assert!(arn("*").includes(&task) && !task.includes(&arn("*")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// The twin tries every short text over the characters of the patterns and one more.
        #[test]
        fn search_agrees_with_trying_all_texts(
            first in proptest::collection::vec("[ab:*?]{0,4}", 1..3),
            second in proptest::collection::vec("[ab:*?]{0,4}", 1..3),
            none in proptest::collection::vec("[ab:*?]{0,3}", 0..4),
        ) {
            fn all(list: &[String]) -> Vec<&str> { list.iter().map(String::as_str).collect() }
            let is_in = |list: &[String], text: &str| list.iter().any(|p| Pattern::new(p).matches(text));
            let fits = |text: &str| is_in(&first, text) && is_in(&second, text) && !is_in(&none, text);
            let result = found(&[&all(&first), &all(&second)], &all(&none));
            if let Solution::One(text) = &result {
                prop_assert!(fits(text), "{text}");
            } else {
                let mut texts = vec![String::new()];
                for _ in 0..=6 {
                    prop_assert!(!texts.iter().any(|text| fits(text)), "{:?}", texts.iter().find(|t| fits(t)));
                    texts = texts.iter().flat_map(|t| ["a", "b", ":", "x"].map(|c| format!("{t}{c}"))).collect();
                }
                prop_assert_eq!(result, Solution::Nothing);
            }
        }
    }
}
