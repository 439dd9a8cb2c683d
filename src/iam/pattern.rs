//! Wildcards in actions, resources and condition values: `*` is any run of characters, `?` exactly one.
//!
//! Sources: IAM User Guide, "IAM JSON policy elements: Action", "Resource" and "Variables and tags" (`${*}`, `${?}` and
//! `${$}` represent the characters themselves).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One element of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Many,
}

/// A parsed wildcard pattern. Equal patterns match the same texts: runs of wildcards have one order (`?` before `*`),
/// so `**` equals `*`, and `*?` equals `?*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    tokens: Box<[Token]>,
}

impl Pattern {
    /// Parses a pattern from a policy of Version 2012-10-17: wildcards, and the escapes `${*}`, `${?}`, `${$}`. Any
    /// other `${...}` is literal text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut tokens = Vec::with_capacity(text.len());
        push_pattern(text, true, &mut tokens);
        Self::from_tokens(tokens)
    }

    /// Parses a pattern from a policy of Version 2008-10-17, where `${` has no special meaning.
    #[must_use]
    pub fn without_escapes(text: &str) -> Self {
        let mut tokens = Vec::with_capacity(text.len());
        push_pattern(text, false, &mut tokens);
        Self::from_tokens(tokens)
    }

    /// The pattern that matches only this text.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self::from_tokens(text.chars().map(Token::Char).collect())
    }

    /// The pattern `*`.
    #[must_use]
    pub fn any() -> Self {
        Self::from_tokens(vec![Token::Many])
    }

    pub(super) fn from_tokens(mut tokens: Vec<Token>) -> Self {
        normalize_runs(&mut tokens);
        Self { tokens: tokens.into() }
    }

    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The only text that the pattern matches, if it has no wildcards.
    #[must_use]
    pub fn as_literal(&self) -> Option<String> {
        self.tokens
            .iter()
            .map(|token| match token {
                Token::Char(char) => Some(*char),
                Token::One | Token::Many => None,
            })
            .collect()
    }

    /// Whether the pattern matches the whole text. Takes time linear in the text for a given number of `*`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut chars = text.chars();
        let mut tokens = self.tokens.iter();
        let mut retry: Option<(std::slice::Iter<Token>, std::str::Chars)> = None;
        loop {
            let here = tokens.clone();
            let step = match tokens.next() {
                Some(Token::Many) => {
                    if tokens.as_slice().is_empty() {
                        return true;
                    }
                    retry = Some((tokens.clone(), chars.clone()));
                    continue;
                }
                Some(Token::One) => chars.next().is_some(),
                Some(Token::Char(wanted)) => chars.next() == Some(*wanted),
                None => {
                    if chars.as_str().is_empty() {
                        return true;
                    }
                    false
                }
            };
            if step {
                continue;
            }
            drop(here);
            // Only the last `*` may need to match one more character: earlier ones already match as little as possible.
            let Some((after, mut from)) = retry else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            tokens = after.clone();
            chars = from.clone();
            retry = Some((after, from));
        }
    }

    /// Patterns that together match exactly the texts that match both patterns. If there would be too many, the result
    /// is one of the two patterns.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Vec<Self> {
        if self.includes(other) {
            return vec![other.clone()];
        }
        if other.includes(self) {
            return vec![self.clone()];
        }
        if !self.overlaps(other) {
            return Vec::new();
        }
        let mut known = BTreeMap::new();
        let both = intersect(&self.tokens, &other.tokens, &mut known);
        if both.len() > MOST_MEETS {
            return vec![self.clone()];
        }
        super::reach::widest(both.into_iter().map(Self::from_tokens).collect())
    }

    /// Whether some text matches both patterns.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        overlap(&self.tokens, &other.tokens)
    }

    /// Whether this pattern matches every text that `other` matches.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        // Comparing tokens is fast and never wrongly true, but may be wrongly false for some patterns with `?`.
        includes(&self.tokens, &other.tokens)
            || (self.tokens.contains(&Token::One) && includes_exactly(&self.tokens, &other.tokens))
    }
}

impl fmt::Display for Pattern {
    /// Formats the pattern as in a policy of Version 2012-10-17.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tokens = self.tokens.iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                Token::Many => f.write_str("*")?,
                Token::One => f.write_str("?")?,
                Token::Char(char @ ('*' | '?')) => write!(f, "${{{char}}}")?,
                Token::Char('$') if tokens.peek() == Some(&&Token::Char('{')) => {
                    f.write_str("${$}")?;
                }
                Token::Char(char) => write!(f, "{char}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

/// Appends the tokens of `text`. With `escapes`, `${*}`, `${?}` and `${$}` represent the characters themselves.
pub(super) fn push_pattern(text: &str, escapes: bool, tokens: &mut Vec<Token>) {
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let special = if escapes && char == '$' { escape(rest) } else { None };
        if let Some((meant, after)) = special {
            tokens.push(Token::Char(meant));
            rest = after;
            continue;
        }
        tokens.push(match char {
            '*' => Token::Many,
            '?' => Token::One,
            other => Token::Char(other),
        });
        rest = rest.get(char.len_utf8()..).unwrap_or_default();
    }
}

/// The character of an escape at the start of `text`, and the text after it.
pub(super) fn escape(text: &str) -> Option<(char, &str)> {
    [("${*}", '*'), ("${?}", '?'), ("${$}", '$')]
        .into_iter()
        .find_map(|(written, meant)| Some((meant, text.strip_prefix(written)?)))
}

/// Orders every run of wildcards: all `?` first, then at most one `*`. The pattern matches the same texts.
fn normalize_runs(tokens: &mut Vec<Token>) {
    let mut out = Vec::with_capacity(tokens.len());
    let mut many = false;
    for token in tokens.iter().copied() {
        match token {
            Token::Many => many = true,
            Token::One => out.push(Token::One),
            Token::Char(_) => {
                if std::mem::take(&mut many) {
                    out.push(Token::Many);
                }
                out.push(token);
            }
        }
    }
    if many {
        out.push(Token::Many);
    }
    *tokens = out;
}

/// Glob match in which the text is itself a pattern: `*` in `wide` matches any tokens, `?` matches a character or a
/// `?`. Never wrongly true; exact if `wide` has no `?`.
fn includes(wide: &[Token], narrow: &[Token]) -> bool {
    let mut narrow_at = narrow.iter();
    let mut wide_at = wide.iter();
    let mut retry: Option<(std::slice::Iter<Token>, std::slice::Iter<Token>)> = None;
    loop {
        let step = match wide_at.next() {
            Some(Token::Many) => {
                if wide_at.as_slice().is_empty() {
                    return true;
                }
                retry = Some((wide_at.clone(), narrow_at.clone()));
                continue;
            }
            Some(Token::One) => {
                matches!(narrow_at.next(), Some(Token::One | Token::Char(_)))
            }
            Some(wanted) => narrow_at.next() == Some(wanted),
            None => {
                if narrow_at.as_slice().is_empty() {
                    return true;
                }
                false
            }
        };
        if step {
            continue;
        }
        let Some((after, mut from)) = retry else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        wide_at = after.clone();
        narrow_at = from.clone();
        retry = Some((after, from));
    }
}

/// The maximum number of state pairs; real policies need fewer. Beyond it the answer is "not included", which only
/// costs a finding.
const MOST_STATES: usize = 4_096;

/// Decides inclusion by running all texts of `narrow` through the states of `wide`.
fn includes_exactly(wide: &[Token], narrow: &[Token]) -> bool {
    if wide.len() >= 127 {
        return false;
    }
    let accepting: u128 = 1 << wide.len();
    let chars: BTreeSet<char> =
        wide.iter().filter_map(|token| if let Token::Char(char) = token { Some(*char) } else { None }).collect();
    // Every character that `wide` distinguishes, and `None` for all others.
    let alphabet: Vec<Option<char>> = chars.into_iter().map(Some).chain([None]).collect();
    let mut seen = BTreeSet::from([(0, closure(wide, 1))]);
    let mut open: Vec<(usize, u128)> = seen.iter().copied().collect();
    while let Some((at, states)) = open.pop() {
        let mut reached = Vec::new();
        match narrow.get(at) {
            None if states & accepting == 0 => return false,
            None => {}
            Some(Token::Char(char)) => reached.push((at + 1, step(wide, states, Some(*char)))),
            Some(token) => {
                let after = if *token == Token::One { at + 1 } else { at };
                reached.extend(alphabet.iter().map(|char| (after, step(wide, states, *char))));
                if *token == Token::Many {
                    reached.push((at + 1, states));
                }
            }
        }
        open.extend(reached.into_iter().filter(|pair| seen.insert(*pair)));
        if seen.len() > MOST_STATES {
            return false;
        }
    }
    true
}

/// The states after one character; `None` is a character that does not occur in the pattern.
fn step(pattern: &[Token], states: u128, char: Option<char>) -> u128 {
    let mut next = 0;
    for (at, token) in pattern.iter().enumerate() {
        if states & (1 << at) == 0 {
            continue;
        }
        match token {
            Token::Many => next |= 1 << at,
            Token::One => next |= 1 << (at + 1),
            Token::Char(wanted) if Some(*wanted) == char => next |= 1 << (at + 1),
            Token::Char(_) => {}
        }
    }
    closure(pattern, next)
}

/// A `*` may match nothing.
fn closure(pattern: &[Token], mut states: u128) -> u128 {
    for (at, token) in pattern.iter().enumerate() {
        if *token == Token::Many && states & (1 << at) != 0 {
            states |= 1 << (at + 1);
        }
    }
    states
}

/// The maximum number of patterns in an intersection; real ones need fewer.
const MOST_MEETS: usize = 24;

type Meets = BTreeMap<(usize, usize), BTreeSet<Vec<Token>>>;

/// The intersection of two patterns. `known` caches the results by the lengths of the remaining tokens.
fn intersect(a: &[Token], b: &[Token], known: &mut Meets) -> BTreeSet<Vec<Token>> {
    if let Some(meets) = known.get(&(a.len(), b.len())) {
        return meets.clone();
    }
    if !overlap(a, b) {
        return BTreeSet::new();
    }
    let mut meets = BTreeSet::new();
    let mut extend = |head: Option<Token>, tails: BTreeSet<Vec<Token>>| {
        for tail in tails {
            if meets.len() > MOST_MEETS {
                return;
            }
            let mut tokens: Vec<Token> = head.into_iter().chain(tail).collect();
            normalize_runs(&mut tokens);
            meets.insert(tokens);
        }
    };
    match (a.split_first(), b.split_first()) {
        (None, None) => extend(None, BTreeSet::from([Vec::new()])),
        (Some((Token::Many, rest)), None) => extend(None, intersect(rest, b, known)),
        (None, Some((Token::Many, rest))) => extend(None, intersect(a, rest, known)),
        (Some((Token::Many, a_rest)), Some((Token::Many, b_rest))) => {
            // One of the two stars ends first, or both end together.
            extend(Some(Token::Many), intersect(a_rest, b, known));
            extend(Some(Token::Many), intersect(a, b_rest, known));
        }
        (Some((Token::Many, a_rest)), Some((head, b_rest))) => {
            extend(None, intersect(a_rest, b, known));
            extend(Some(*head), intersect(a, b_rest, known));
        }
        (Some((head, a_rest)), Some((Token::Many, b_rest))) => {
            extend(None, intersect(a, b_rest, known));
            extend(Some(*head), intersect(a_rest, b, known));
        }
        (Some((one, a_rest)), Some((two, b_rest))) => {
            let head = if *one == Token::One { two } else { one };
            extend(Some(*head), intersect(a_rest, b_rest, known));
        }
        _ => {}
    }
    known.insert((a.len(), b.len()), meets.clone());
    meets
}

/// Whether some text matches both patterns.
pub(super) fn overlap(a: &[Token], b: &[Token]) -> bool {
    let Some((a, b)) = without_common_ends(a, b) else {
        return false;
    };
    // For the tokens of `a` read so far, `reach` holds whether the tokens of `b` before each index can match them.
    let mut reach = vec![false; b.len() + 1];
    if let Some(first) = reach.first_mut() {
        *first = true;
    }
    spread(&mut reach, b);
    for token in a {
        let mut next = vec![false; b.len() + 1];
        if *token == Token::Many {
            let mut any = false;
            for (to, from) in next.iter_mut().zip(&reach) {
                any |= from;
                *to = any;
            }
        } else {
            for (at, other) in b.iter().enumerate() {
                if !reach.get(at).copied().unwrap_or(false) {
                    continue;
                }
                let same = match (token, other) {
                    (_, Token::Many) => {
                        if let Some(stay) = next.get_mut(at) {
                            *stay = true;
                        }
                        continue;
                    }
                    (Token::Char(x), Token::Char(y)) => x == y,
                    _ => true,
                };
                if same && let Some(step) = next.get_mut(at + 1) {
                    *step = true;
                }
            }
        }
        spread(&mut next, b);
        reach = next;
    }
    reach.last().copied().unwrap_or(false)
}

/// Both patterns without their common first and last characters; `None` if those differ, as they do for most pairs.
fn without_common_ends<'t>(mut a: &'t [Token], mut b: &'t [Token]) -> Option<(&'t [Token], &'t [Token])> {
    while let ([Token::Char(x), a_rest @ ..], [Token::Char(y), b_rest @ ..]) = (a, b) {
        if x != y {
            return None;
        }
        (a, b) = (a_rest, b_rest);
    }
    while let ([a_rest @ .., Token::Char(x)], [b_rest @ .., Token::Char(y)]) = (a, b) {
        if x != y {
            return None;
        }
        (a, b) = (a_rest, b_rest);
    }
    Some((a, b))
}

/// A `*` may match nothing: if the index before it is reached, so is the one after it.
fn spread(reach: &mut [bool], tokens: &[Token]) {
    let mut before = false;
    for (at, place) in reach.iter_mut().enumerate() {
        let after_star = at > 0 && tokens.get(at - 1) == Some(&Token::Many);
        *place |= before && after_star;
        before = *place;
    }
}

/// Whether a pattern without escapes or variables matches a whole text, byte by byte and without allocation. With
/// `fold`, ASCII letters match in either case.
pub(super) fn glob(pattern: &str, text: &str, fold: bool) -> bool {
    glob_bytes(pattern.as_bytes(), text.as_bytes(), fold)
}

fn glob_bytes(pattern: &[u8], text: &[u8], fold: bool) -> bool {
    let same = |a: u8, b: u8| a == b || (fold && a.eq_ignore_ascii_case(&b));
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                if p == pattern.len() {
                    return true;
                }
                retry = Some((p, t));
                continue;
            }
            Some(b'?') if t < text.len() => {
                p += 1;
                t = next_char(text, t);
                true
            }
            Some(wanted) if text.get(t).is_some_and(|byte| same(*byte, *wanted)) => {
                p += 1;
                t += 1;
                true
            }
            None if t == text.len() => return true,
            _ => false,
        };
        if step {
            continue;
        }
        let Some((after, from)) = retry else {
            return false;
        };
        if from >= text.len() {
            return false;
        }
        let from = next_char(text, from);
        retry = Some((after, from));
        (p, t) = (after, from);
    }
}

/// The start of the UTF-8 character after the one at `at`.
fn next_char(text: &[u8], at: usize) -> usize {
    let mut next = at + 1;
    while text.get(next).is_some_and(|byte| byte & 0xc0 == 0x80) {
        next += 1;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The slow, obvious version: plain recursion over both strings.
    fn slow(pattern: &[Token], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((Token::Many, rest)), tail) => slow(rest, text) || tail.is_some_and(|(_, tail)| slow(pattern, tail)),
            (None, Some(_)) | (Some(_), None) => false,
            (Some((Token::One, rest)), Some((_, tail))) => slow(rest, tail),
            (Some((Token::Char(wanted), rest)), Some((char, tail))) => wanted == char && slow(rest, tail),
        }
    }

    fn twin(pattern: &Pattern, text: &str) -> bool {
        slow(pattern.tokens(), &text.chars().collect::<Vec<_>>())
    }

    #[test]
    fn escapes_are_the_characters_themselves() {
        assert!(Pattern::new("a${*}${?}${$}{").matches("a*?${"));
        assert!(!Pattern::new("${*}").matches("x"));
        assert!(Pattern::without_escapes("${*}").matches("${anything}"));
        assert_eq!(Pattern::literal("a*${x}").to_string(), "a${*}${$}{x}");
    }

    #[test]
    fn an_intersection_of_too_many_is_one_of_the_two() {
        let (one, two) = (Pattern::new(&"*a".repeat(24)), Pattern::new(&"*b".repeat(24)));
        assert!(one.intersection(&two).is_empty());
        let (one, two) = (Pattern::new(&"*a*".repeat(24)), Pattern::new(&"*b*".repeat(24)));
        assert_eq!(one.intersection(&two), [one]);
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = Pattern::new(&"a*".repeat(200));
        assert!(!pattern.matches(&"a".repeat(199)));
        assert!(!Pattern::new(&format!("{}b", "*a".repeat(100))).matches(&"a".repeat(5000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn matches_as_the_twin_does(pattern in "[abé*?]{0,9}", text in "[abé]{0,9}") {
            let parsed = Pattern::new(&pattern);
            prop_assert_eq!(parsed.matches(&text), twin(&parsed, &text));
            prop_assert_eq!(glob(&pattern, &text, false), twin(&parsed, &text));
            prop_assert_eq!(
                glob(&pattern.to_uppercase().replace('É', "é"), &text, true),
                twin(&parsed, &text)
            );
        }

        #[test]
        fn pattern_round_trips_through_its_text(text in r"[a*?$\{\}]{0,9}") {
            let literal = Pattern::literal(&text);
            prop_assert_eq!(&Pattern::new(&literal.to_string()), &literal);
            let pattern = Pattern::new(&text);
            prop_assert_eq!(&Pattern::new(&pattern.to_string()), &pattern);
        }

        #[test]
        fn inclusion_is_right_on_samples(
            wide in "[ab*?]{0,5}", narrow in "[ab*?]{0,5}", text in "[abc]{0,6}",
        ) {
            let (wide, narrow) = (Pattern::new(&wide), Pattern::new(&narrow));
            if wide.includes(&narrow) && narrow.matches(&text) {
                prop_assert!(wide.matches(&text));
            }
        }

        /// Exactness: if inclusion is denied, some short text proves it. `x` represents every character that neither
        /// pattern contains.
        #[test]
        fn denied_inclusion_has_a_witness(wide in "[ab*?]{0,3}", narrow in "[ab*?]{0,3}") {
            let (wide, narrow) = (Pattern::new(&wide), Pattern::new(&narrow));
            let mut texts = vec![String::new()];
            let mut witness = false;
            for _ in 0..=7 {
                witness |= texts.iter().any(|text| narrow.matches(text) && !wide.matches(text));
                texts = texts.iter().flat_map(|t| ["a", "b", "x"].map(|c| format!("{t}{c}"))).collect();
            }
            prop_assert_eq!(wide.includes(&narrow), !witness);
        }

        #[test]
        fn intersection_matches_exactly_the_texts_that_both_match(
            one in "[ab*?]{0,5}", two in "[ab*?]{0,5}", text in "[abc]{0,7}",
        ) {
            let (one, two) = (Pattern::new(&one), Pattern::new(&two));
            let both = one.intersection(&two);
            prop_assert_eq!(
                both.iter().any(|p| p.matches(&text)),
                one.matches(&text) && two.matches(&text),
                "{:?}", both
            );
        }

        #[test]
        fn overlap_has_a_witness(one in "[ab*?]{0,3}", two in "[ab*?]{0,3}") {
            let (one, two) = (Pattern::new(&one), Pattern::new(&two));
            let mut texts = vec![String::new()];
            let mut witness = false;
            for _ in 0..=6 {
                witness |= texts.iter().any(|text| one.matches(text) && two.matches(text));
                texts = texts.iter().flat_map(|t| ["a", "b"].map(|c| format!("{t}{c}"))).collect();
            }
            prop_assert_eq!(one.overlaps(&two), witness);
        }
    }
}
