//! Matches statements against requests: conditions, policy variables, resources.
//!
//! Sources: IAM User Guide, "IAM JSON policy elements: Condition operators", "Multivalued context keys", "Variables and
//! tags" and "Resource".

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::arn;
use super::condition::{Condition, Operator, Qualifier, Test};
use super::pattern::{self, Pattern, Token, glob};
use super::policy::Version;
use super::request::{ContextValue, KeyState, RequestContext};

/// Whether something holds, possibly depending on an unknown key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    Maybe,
    Yes,
}

impl Truth {
    pub fn of(holds: bool) -> Self {
        if holds { Truth::Yes } else { Truth::No }
    }

    pub fn not(self) -> Self {
        match self {
            Truth::No => Truth::Yes,
            Truth::Maybe => Truth::Maybe,
            Truth::Yes => Truth::No,
        }
    }

    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }

    /// Whether any of these holds.
    pub fn any(mut each: impl Iterator<Item = Truth>) -> Self {
        let mut best = Truth::No;
        while best != Truth::Yes
            && let Some(truth) = each.next()
        {
            best = best.max(truth);
        }
        best
    }

    /// Whether all of these hold.
    pub fn all(mut each: impl Iterator<Item = Truth>) -> Self {
        let mut worst = Truth::Yes;
        while worst != Truth::No
            && let Some(truth) = each.next()
        {
            worst = worst.min(truth);
        }
        worst
    }
}

/// A policy value that contains a variable without a known value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unresolved {
    NoValue,
    Varies,
}

impl Unresolved {
    fn truth(self) -> Truth {
        match self {
            Unresolved::NoValue => Truth::No,
            Unresolved::Varies => Truth::Maybe,
        }
    }
}

/// A piece of a policy value: as written, or literal.
enum Piece<'a> {
    Written(&'a str),
    Literal(&'a str),
}

/// Calls `each` for the pieces of a value in a Version 2012-10-17 policy, with variables replaced by their values.
///
/// Source: IAM User Guide, "IAM policy elements: Variables and tags": default values, `${*}`, variables with no value.
fn expand<'a>(text: &'a str, context: &'a RequestContext, mut each: impl FnMut(Piece<'a>)) -> Result<(), Unresolved> {
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        each(Piece::Written(before));
        if let Some((_, after)) = pattern::escape(from) {
            each(Piece::Literal(from.get(2..3).unwrap_or_default()));
            rest = after;
            continue;
        }
        let Some(end) = from.find('}') else {
            rest = from;
            break;
        };
        let inner = from.get(2..end).unwrap_or_default();
        rest = from.get(end + 1..).unwrap_or_default();
        let (name, default) = match inner.split_once(',') {
            Some((name, default)) => (name.trim(), default.trim().strip_prefix('\'')),
            None => (inner.trim(), None),
        };
        match (context.known(name), default.and_then(|text| text.strip_suffix('\''))) {
            (KeyState::One(value), _) => each(Piece::Literal(value)),
            (KeyState::Many([value]), _) => each(Piece::Literal(value)),
            (KeyState::Varies, _) => return Err(Unresolved::Varies),
            (KeyState::Absent, Some(default)) => each(Piece::Literal(default)),
            (KeyState::Absent | KeyState::Many(_), _) => return Err(Unresolved::NoValue),
        }
    }
    each(Piece::Written(rest));
    Ok(())
}

fn has_variables(text: &str, version: Version) -> bool {
    version == Version::V2012 && text.contains("${")
}

/// The value as plain text with variables substituted.
fn expand_text<'a>(text: &'a str, version: Version, context: &'a RequestContext) -> Result<Cow<'a, str>, Unresolved> {
    if !has_variables(text, version) {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::new();
    expand(text, context, |piece| match piece {
        Piece::Written(part) | Piece::Literal(part) => out.push_str(part),
    })?;
    Ok(Cow::Owned(out))
}

/// The value as wildcard patterns, split at its first colons into at most `most` parts. A colon from a variable does
/// not split.
fn expand_patterns(text: &str, context: &RequestContext, most: usize) -> Result<Vec<Pattern>, Unresolved> {
    let mut parts: Vec<Vec<Token>> = vec![Vec::new()];
    expand(text, context, |piece| {
        let cut = match piece {
            Piece::Literal(literal) => {
                if let Some(part) = parts.last_mut() {
                    part.extend(literal.chars().map(Token::Char));
                }
                return;
            }
            Piece::Written(written) => written.splitn((most + 1).saturating_sub(parts.len()), ':'),
        };
        for (at, written) in cut.enumerate() {
            if at > 0 {
                parts.push(Vec::new());
            }
            if let Some(part) = parts.last_mut() {
                pattern::push_pattern(written, false, part);
            }
        }
    })?;
    Ok(parts.into_iter().map(Pattern::from_tokens).collect())
}

/// The names of the variables in a value of a Version 2012-10-17 policy, in lower case.
pub(super) fn variables(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (_, from) = rest.split_at(start);
        if let Some((_, after)) = pattern::escape(from) {
            rest = after;
            continue;
        }
        let Some(end) = from.find('}') else { break };
        let inner = from.get(2..end).unwrap_or_default();
        names.push(inner.split(',').next().unwrap_or_default().trim().to_ascii_lowercase());
        rest = from.get(end + 1..).unwrap_or_default();
    }
    names
}

/// The pattern of a value in which each variable is a character of its own, which no text contains: `names` holds the
/// names of all variables.
pub(super) fn with_symbols(text: &str, names: &[String]) -> Pattern {
    let mut context = RequestContext::new();
    for (name, symbol) in names.iter().zip('\u{f0000}'..='\u{f1000}') {
        context.set(name, ContextValue::One(symbol.to_string()));
    }
    value_pattern(text, &context).unwrap_or_else(Pattern::any)
}

/// The text of a condition's value; `None` if a variable has no value.
pub(super) fn substituted<'a>(text: &'a str, context: &'a RequestContext) -> Option<Cow<'a, str>> {
    expand_text(text, Version::V2012, context).ok()
}

/// The pattern of a value with wildcards; `None` if a variable has no value.
pub(super) fn value_pattern(text: &str, context: &RequestContext) -> Option<Pattern> {
    resource_pattern(text, Version::V2012, context).ok()
}

/// Whether an ARN pattern matches: by component if the pattern has six, as one text otherwise.
///
/// Sources: IAM User Guide, "IAM JSON policy elements: Resource" and "Amazon Resource Name (ARN) condition operators".
fn arn_like(pattern: &str, version: Version, context: &RequestContext, text: &str) -> Truth {
    if pattern == "*" {
        return Truth::Yes;
    }
    if has_variables(pattern, version) {
        let parts = match expand_patterns(pattern, context, 6) {
            Ok(parts) => parts,
            Err(unresolved) => return unresolved.truth(),
        };
        if parts.len() == 6 {
            let texts = text.splitn(6, ':');
            return Truth::of(texts.clone().count() == 6 && parts.iter().zip(texts).all(|(p, t)| p.matches(t)));
        }
        let whole = expand_patterns(pattern, context, 1).unwrap_or_default();
        return Truth::of(whole.iter().all(|p| p.matches(text)));
    }
    // A fast path: most patterns already fail in the text before the first wildcard.
    let fixed = pattern.find(['*', '?']).unwrap_or(pattern.len());
    if pattern.as_bytes().get(..fixed) != text.as_bytes().get(..fixed) {
        return Truth::No;
    }
    if fixed == pattern.len() {
        return Truth::of(pattern.len() == text.len());
    }
    let mut patterns = pattern.splitn(6, ':');
    let mut texts = text.splitn(6, ':');
    if patterns.clone().count() < 6 {
        return Truth::of(glob(pattern, text, false));
    }
    let parts = patterns.by_ref().zip(texts.by_ref());
    let all = parts.take(6).try_fold(0, |count, (pattern, text)| glob(pattern, text, false).then_some(count + 1));
    Truth::of(all == Some(6))
}

/// Whether a value of `Resource` or `NotResource` matches the resource. `Maybe` if it matches only with a `*` at the end
/// of a segment that also matches beyond the colon: AWS's pages disagree whether it does.
///
/// Source: IAM User Guide, "IAM JSON policy elements: Resource", "Using wildcards in resource ARNs".
pub(super) fn resource(pattern: &str, version: Version, context: &RequestContext, text: &str) -> Truth {
    let truth = arn_like(pattern, version, context, text);
    if truth == Truth::No && pattern.contains("*:") && is_like_beyond_colons(pattern, version, context, text) {
        return Truth::Maybe;
    }
    truth
}

/// Whether a pattern with six components matches as one text.
fn is_like_beyond_colons(pattern: &str, version: Version, context: &RequestContext, text: &str) -> bool {
    // A `*` in the last component matches every colon after it anyway.
    let in_front = pattern.splitn(6, ':').take(5).any(|part| part.ends_with('*'));
    in_front
        && if has_variables(pattern, version) {
            expand_patterns(pattern, context, 1).is_ok_and(|whole| whole.iter().all(|p| p.matches(text)))
        } else {
            glob(pattern, text, false)
        }
}

/// Whether a value of `Resource` or `NotResource` matches the key behind an alias: any key of the alias's account and
/// Region.
///
/// Source: KMS Developer Guide, "Specifying KMS keys in IAM policy statements".
pub(super) fn key_behind_alias(pattern: &str, version: Version, context: &RequestContext, alias: &str) -> Truth {
    let keys = alias.split_once(":alias/").map_or("*".to_owned(), |(front, _)| format!("{front}:key/*"));
    let keys = Pattern::new(&keys);
    match resource_pattern(pattern, version, context) {
        Ok(pattern) if pattern.includes(&keys) => Truth::Yes,
        Ok(pattern) => {
            if pattern.overlaps(&keys) {
                Truth::Maybe
            } else {
                Truth::No
            }
        }
        Err(unresolved) => unresolved.truth(),
    }
}

/// Whether a value contains a policy variable with an unknown value.
pub(super) fn is_open(pattern: &str, version: Version, context: &RequestContext) -> bool {
    resource_pattern(pattern, version, context) == Err(Unresolved::Varies)
}

/// The pattern for a `Resource` value, with variables substituted.
pub(super) fn resource_pattern(text: &str, version: Version, context: &RequestContext) -> Result<Pattern, Unresolved> {
    if !has_variables(text, version) {
        return Ok(Pattern::without_escapes(text));
    }
    let mut patterns = expand_patterns(text, context, 1)?;
    Ok(patterns.pop().unwrap_or_else(|| Pattern::literal("")))
}

/// The pattern for a `Resource` value, with `*` for every variable.
pub(super) fn widened(text: &str) -> Pattern {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        pattern::push_pattern(before, false, &mut tokens);
        if let Some((meant, after)) = pattern::escape(from) {
            tokens.push(Token::Char(meant));
            rest = after;
        } else if let Some(end) = from.find('}') {
            tokens.push(Token::Many);
            rest = from.get(end + 1..).unwrap_or_default();
        } else {
            rest = from;
            break;
        }
    }
    pattern::push_pattern(rest, false, &mut tokens);
    Pattern::from_tokens(tokens)
}

/// Whether a condition holds for the request.
pub(super) fn condition(condition: &Condition, version: Version, context: &RequestContext) -> Truth {
    let Operator { test, qualifier, if_exists } = condition.operator;
    let known = context.known(condition.key.as_str());
    if test == Test::Null {
        return null(condition, &known);
    }
    let absent = |qualifier: Option<Qualifier>| match qualifier {
        // Without values, `ForAllValues` holds and `ForAnyValue` does not.
        Some(Qualifier::ForAllValues) => Truth::Yes,
        Some(Qualifier::ForAnyValue) => Truth::No,
        None => Truth::of(test.is_negated() || if_exists),
    };
    let value = |value: &str| holds(condition, version, context, value);
    match (known, qualifier) {
        (KeyState::Varies, _) => Truth::Maybe,
        (KeyState::One(one), None) => value(one),
        (KeyState::Many([one]), None) => value(one),
        // Several values under an operator for a single value never match, even if it is negated.
        (KeyState::Many(_), None) => Truth::No,
        // The set operators treat an empty string as null.
        (KeyState::Absent | KeyState::One(""), qualifier) => absent(qualifier),
        (KeyState::One(one), Some(_)) => value(one),
        (KeyState::Many(many), Some(qualifier)) => {
            let mut values = many.iter().filter(|text| !text.is_empty()).peekable();
            if values.peek().is_none() {
                return absent(Some(qualifier));
            }
            let truths = values.map(|text| value(text));
            match qualifier {
                Qualifier::ForAllValues => Truth::all(truths),
                Qualifier::ForAnyValue => Truth::any(truths),
            }
        }
    }
}

/// Evaluates `Null`: `true` requires the key to be absent, `false` requires it to be present with a value.
///
/// Sources: IAM User Guide, "Condition operator to check existence of condition keys"; "IAM policy elements: Variables
/// and tags" (no variables with `Null` and `BinaryEquals`).
fn null(condition: &Condition, known: &KeyState) -> Truth {
    let absent = match known {
        KeyState::Varies => return Truth::Maybe,
        KeyState::Absent => true,
        KeyState::One(value) => value.is_empty(),
        KeyState::Many(values) => values.iter().all(String::is_empty),
    };
    // `Null` and `BinaryEquals` do not substitute variables.
    Truth::any(condition.values().map(|value| {
        let wanted = ["false", "true"].iter().position(|word| value.eq_ignore_ascii_case(word));
        Truth::of(wanted == Some(usize::from(absent)))
    }))
}

/// Whether one value of the request fulfills the condition: it matches one of the policy's values, or none of them
/// under a negated operator.
fn holds(condition: &Condition, version: Version, context: &RequestContext, actual: &str) -> Truth {
    let test = condition.operator.test;
    let any = Truth::any(condition.values().map(|wanted| compare_one(test, wanted, version, context, actual)));
    if test.is_negated() { any.not() } else { any }
}

/// Whether one value of the request matches one value of the policy, ignoring negation.
fn compare_one(test: Test, wanted: &str, version: Version, context: &RequestContext, actual: &str) -> Truth {
    let as_text = |same: fn(&str, &str) -> bool| match expand_text(wanted, version, context) {
        Ok(wanted) => Truth::of(same(&wanted, actual)),
        Err(unresolved) => unresolved.truth(),
    };
    match test {
        Test::StringEquals | Test::StringNotEquals => as_text(|a, b| a == b),
        Test::BinaryEquals => Truth::of(wanted == actual),
        Test::StringEqualsIgnoreCase | Test::StringNotEqualsIgnoreCase => as_text(same_ignoring_case),
        Test::StringLike | Test::StringNotLike => {
            if !has_variables(wanted, version) {
                return Truth::of(glob(wanted, actual, false));
            }
            match expand_patterns(wanted, context, 1) {
                Ok(patterns) => Truth::of(patterns.iter().all(|p| p.matches(actual))),
                Err(unresolved) => unresolved.truth(),
            }
        }
        Test::ArnEquals | Test::ArnLike | Test::ArnNotEquals | Test::ArnNotLike => {
            if arn::split(actual).is_none() {
                return Truth::No;
            }
            arn_like(wanted, version, context, actual)
        }
        Test::Bool => as_text(|wanted, actual| {
            wanted.eq_ignore_ascii_case(actual)
                && ["true", "false"].iter().any(|word| word.eq_ignore_ascii_case(actual))
        }),
        Test::NumericEquals | Test::NumericNotEquals => number(wanted, actual, |a, b| a == b),
        Test::NumericLessThan => number(wanted, actual, |wanted, actual| actual < wanted),
        Test::NumericLessThanEquals => number(wanted, actual, |wanted, actual| actual <= wanted),
        Test::NumericGreaterThan => number(wanted, actual, |wanted, actual| actual > wanted),
        Test::NumericGreaterThanEquals => number(wanted, actual, |wanted, actual| actual >= wanted),
        Test::DateEquals | Test::DateNotEquals => date(wanted, actual, |a, b| a == b),
        Test::DateLessThan => date(wanted, actual, |wanted, actual| actual < wanted),
        Test::DateLessThanEquals => date(wanted, actual, |wanted, actual| actual <= wanted),
        Test::DateGreaterThan => date(wanted, actual, |wanted, actual| actual > wanted),
        Test::DateGreaterThanEquals => date(wanted, actual, |wanted, actual| actual >= wanted),
        Test::IpAddress | Test::NotIpAddress => Truth::of(in_range(wanted, actual)),
        Test::Null => Truth::No,
    }
}

fn same_ignoring_case(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

fn number(wanted: &str, actual: &str, test: fn(&Number, &Number) -> bool) -> Truth {
    match (Number::parse(wanted), Number::parse(actual)) {
        (Some(wanted), Some(actual)) => Truth::of(test(&wanted, &actual)),
        _ => Truth::No,
    }
}

fn date(wanted: &str, actual: &str, test: fn(i128, i128) -> bool) -> Truth {
    match (instant(wanted), instant(actual)) {
        (Some(wanted), Some(actual)) => Truth::of(test(wanted, actual)),
        _ => Truth::No,
    }
}

/// A decimal number, compared exactly if it is an integer, and as binary floating point otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(integer) = text.parse() {
            return Some(Number::Integer(integer));
        }
        let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
        text.parse().ok().filter(|_| plain).map(Number::Float)
    }

    #[expect(clippy::cast_precision_loss, reason = "IAM compares a number with a fraction as a float")]
    pub fn float(self) -> f64 {
        match self {
            Number::Integer(integer) => integer as f64,
            Number::Float(float) => float,
        }
    }
}

impl fmt::Display for Number {
    /// Formats equal numbers in the same way.
    #[expect(clippy::cast_possible_truncation, reason = "the guard limits the float to 1e15")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Number::Integer(integer) => write!(f, "{integer}"),
            // Below this limit a float represents its integer exactly.
            Number::Float(float) if float.fract() == 0.0 && float.abs() < 1e15 => write!(f, "{}", float as i128),
            Number::Float(float) => write!(f, "{float:e}"),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(std::cmp::Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => Some(a.cmp(b)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }
}

/// The years that AWS accepts in a date: `CreatePolicy` rejects others.
const YEARS: RangeInclusive<i128> = -292_275_054..=292_278_993;

/// The instant of a date in nanoseconds since 1970. The date has a W3C profile of ISO 8601, or is in seconds since the
/// UNIX epoch.
///
/// Source: IAM User Guide, "Date condition operators"; the limits are those that `CreatePolicy` accepts.
pub(super) fn instant(text: &str) -> Option<i128> {
    const SECOND: i128 = 1_000_000_000;
    let text = text.trim();
    let upper = text.to_ascii_uppercase();
    if !upper.contains('T') && !upper.contains('-') {
        let (whole, fraction) = upper.split_once('.').unwrap_or((&upper, ""));
        let whole = digits(whole).filter(|seconds| i64::try_from(*seconds).is_ok())?;
        return Some(whole * SECOND + nanoseconds(fraction)?);
    }
    let (date, time) = upper.split_once('T').unwrap_or((&upper, ""));
    let (sign, date) = date.strip_prefix('-').map_or((1, date), |rest| (-1, rest));
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next().unwrap_or("1"), parts.next().unwrap_or("1"));
    let (year, month, day) = (sign * digits(year)?, digits(month)?, digits(day)?);
    if parts.next().is_some() || !YEARS.contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    let (clock, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => (time.get(..at)?, offset_seconds(time.get(at..)?)?),
        None => (time, 0),
    };
    let mut seconds = 0;
    let mut nanos = 0;
    if !clock.is_empty() {
        let mut parts = clock.split(':');
        let (hour, minute, second) = (parts.next()?, parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
        let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
        let (hour, minute, second) = (digits(hour)?, digits(minute)?, digits(second)?);
        if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        seconds = hour * 3600 + minute * 60 + second;
        nanos = nanoseconds(fraction)?;
    }
    Some((days * 86_400 + seconds - offset) * SECOND + nanos)
}

/// Parses a number that has no more digits than the largest 64-bit number.
fn digits(text: &str) -> Option<i128> {
    if text.is_empty() || text.len() > 19 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Parses a fraction of a second, to at most nanoseconds.
fn nanoseconds(fraction: &str) -> Option<i128> {
    if fraction.is_empty() {
        return Some(0);
    }
    digits(&format!("{fraction:0<9}")).filter(|_| fraction.len() <= 9)
}

/// `Z`, `+02:00`, `-0500` or `+02`.
fn offset_seconds(text: &str) -> Option<i128> {
    let (sign, rest) = match text.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => return (text == "Z").then_some(0),
        },
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(pair) => pair,
        None if rest.len() == 4 => (rest.get(..2)?, rest.get(2..)?),
        None => (rest, "0"),
    };
    if hours.len() != 2 {
        return None;
    }
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The days since 1970-01-01 in the Gregorian calendar, counted in eras of 400 years that start in March.
fn days_since_epoch(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Whether an address is in a range in CIDR notation; a single address is a range of one.
///
/// Source: IAM User Guide, "IP address condition operators".
fn in_range(range: &str, address: &str) -> bool {
    let Ok(address) = address.trim().parse::<IpAddr>() else {
        return false;
    };
    range_of(range).is_some_and(|(network, length)| match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differs = network.to_bits() ^ address.to_bits();
            differs.checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differs = network.to_bits() ^ address.to_bits();
            differs.checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    })
}

/// Parses a network and its prefix length.
pub(super) fn range_of(text: &str) -> Option<(IpAddr, u32)> {
    let (network, length) = match text.trim().split_once('/') {
        Some((network, length)) => (network, Some(length)),
        None => (text.trim(), None),
    };
    let network: IpAddr = network.parse().ok()?;
    let most = if network.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => u32::try_from(digits(length)?).ok()?,
        None => most,
    };
    (length <= most).then_some((network, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::request::ContextValue;

    /// The outcome of one condition on the key `k:k`.
    fn check(operator: &str, wanted: &[&str], actual: Option<&str>) -> Truth {
        let context = actual.map_or(RequestContext::new(), |text| RequestContext::new().with("K:K", text));
        let operator: Operator = operator.parse().unwrap();
        condition(&Condition::new(operator, "k:k", wanted.iter().copied()), Version::V2012, &context)
    }

    fn holds(operator: &str, wanted: &str, actual: &str) -> bool {
        check(operator, &[wanted], Some(actual)) == Truth::Yes
    }

    #[test]
    fn instants_are_equal_however_they_are_written() {
        for same in [
            "2026-04-01T00:00:00Z",
            "2026-04-01",
            "2026-04-01T02:00:00+02:00",
            "2026-03-31T19:00:00-0500",
            "2026-04-01T00:00Z",
            "2026-04-01T00:00:00.000Z",
            "1775001600",
            "2026-04",
        ] {
            assert_eq!(instant(same), Some(1_775_001_600_000_000_000), "{same}");
        }
        assert_eq!(instant("1970-01-01T00:00:00.5Z"), Some(500_000_000));
        assert_eq!(instant("9223372036854775807"), Some(i128::from(i64::MAX) * 1_000_000_000));
        assert!(instant("-292275054") < instant("-0001-02-03T04:05:06Z"));
        assert_eq!(instant("2024-03-01").unwrap() - instant("2024-02-28").unwrap(), 2 * 86_400_000_000_000);
        for wrong in [
            "",
            "-",
            "--01",
            "tomorrow",
            "2026-13-01",
            "2026-01-32",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00+1",
            "2026-01-01T00:00:00.1999999999Z",
            "9223372036854775808",
            "-292275055",
            "292278994-01",
            "01/02/2026",
        ] {
            assert_eq!(instant(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_and_addresses() {
        assert!(holds("NumericEquals", "10", "10.0") && holds("NumericLessThan", "1e3", "999"));
        assert!(holds("NumericGreaterThan", "9223372036854775807", "9223372036854775808"));
        assert!(!holds("NumericEquals", "ten", "ten") && holds("NumericNotEquals", "ten", "10"));
        assert!(holds("IpAddress", "0.0.0.0/0", "203.0.113.7") && !holds("IpAddress", "0.0.0.0/0", "2001:db8::1"));
        assert!(holds("IpAddress", "2001:DB8:1234:5678::/64", "2001:db8:1234:5678::9"));
        assert!(
            holds("NotIpAddress", "203.0.113.7", "2001:db8::1") && !holds("NotIpAddress", "203.0.113.7", "203.0.113.7")
        );
        assert!(!holds("IpAddress", "203.0.113.0/33", "203.0.113.7"));
    }

    #[test]
    fn arns_component_by_component() {
        assert!(holds("ArnLike", "arn:aws:sns:*:111122223333:*", "arn:aws:sns:eu-west-1:111122223333:a:b"));
        assert!(!holds(
            "ArnLike",
            "arn:aws:x:*:111122223333:finance/*",
            "arn:aws:x:eu:999999999999:store:111122223333:finance/a"
        ));
        assert!(holds(
            "StringLike",
            "arn:aws:x:*:111122223333:finance/*",
            "arn:aws:x:eu:999999999999:s:111122223333:finance/a"
        ));
        assert!(!holds("ArnLike", "*", "no ARN") && holds("ArnNotLike", "arn:aws:s3:::b", "no ARN"));
    }

    #[test]
    fn absent_keys() {
        let absent = |operator: &str| check(operator, &["x"], None) == Truth::Yes;
        assert!(!absent("StringEquals") && absent("StringNotEquals") && absent("StringEqualsIfExists"));
        assert!(absent("ForAllValues:StringEquals") && !absent("ForAnyValue:StringEquals"));
        assert!(!absent("ForAnyValue:StringNotEquals") && !absent("ForAnyValue:StringEqualsIfExists"));
        assert_eq!(check("Null", &["true"], None), Truth::Yes);
        assert_eq!(check("Null", &["false"], Some("x")), Truth::Yes);
        assert_eq!(check("Null", &["true"], Some("")), Truth::Yes);
        let tagged = RequestContext::new().with("aws:PrincipalTag/b", "true");
        let variable = Condition::new("Null".parse::<Operator>().unwrap(), "k:k", ["${aws:PrincipalTag/b}"]);
        assert_eq!(condition(&variable, Version::V2012, &tagged), Truth::No, "a variable is not substituted");
    }

    #[test]
    fn several_values() {
        let many = |operator: &str, wanted: &[&str], actual: &[&str]| {
            let mut context = RequestContext::new();
            context.set("k:k", ContextValue::Many(actual.iter().map(|text| (*text).to_owned()).collect()));
            let operator: Operator = operator.parse().unwrap();
            condition(&Condition::new(operator, "k:k", wanted.iter().copied()), Version::V2012, &context) == Truth::Yes
        };
        assert!(many("ForAllValues:StringEquals", &["a", "b"], &["a", "b"]));
        assert!(!many("ForAllValues:StringEquals", &["a"], &["a", "b"]));
        assert!(many("ForAnyValue:StringEquals", &["a"], &["a", "b"]));
        assert!(many("ForAnyValue:StringNotEquals", &["a"], &["a", "b"]));
        assert!(!many("ForAllValues:StringNotEquals", &["a"], &["a", "b"]));
        assert!(many("ForAllValues:StringEquals", &["a"], &[]) && many("ForAllValues:StringEquals", &["a"], &[""]));
        assert!(!many("StringEquals", &["a"], &["a", "b"]) && many("StringEquals", &["a"], &["a"]));
    }

    #[test]
    fn variables() {
        let context = RequestContext::new().with("aws:username", "a*b").with("aws:PrincipalTag/t", "x:y");
        let matches = |pattern: &str, version, text: &str| resource(pattern, version, &context, text) == Truth::Yes;
        let home = "arn:aws:s3:::home/${AWS:UserName}/*";
        assert!(matches(home, Version::V2012, "arn:aws:s3:::home/a*b/x"));
        assert!(!matches(home, Version::V2012, "arn:aws:s3:::home/acb/x"), "a value has no wildcards");
        assert!(matches(home, Version::V2008, "arn:aws:s3:::home/${AWS:UserName}/x"));
        assert!(matches("arn:aws:s3:::${aws:PrincipalTag/t}/*", Version::V2012, "arn:aws:s3:::x:y/z"));
        assert!(!matches("arn:aws:s3:::${aws:PrincipalTag/none}", Version::V2012, "arn:aws:s3:::"));
        assert!(matches("arn:aws:s3:::${aws:PrincipalTag/none, 'd'}", Version::V2012, "arn:aws:s3:::d"));
        assert!(matches("arn:aws:s3:::${*}${?}${$}", Version::V2012, "arn:aws:s3:::*?$"));
        // Negated operators also match an absent value.
        assert!(holds("StringNotEquals", "${aws:PrincipalTag/none}", "x"));
        assert!(holds("StringEquals", "a${*}", "a*"));
    }
}
