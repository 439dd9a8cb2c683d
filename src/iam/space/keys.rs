//! The values of one condition key, and the search for one under which conditions hold or do not.
//!
//! A key is absent, has one value, or, if it is multivalued, several. Texts and ARNs are sets of patterns. Numbers,
//! dates and networks are divided at the values that the conditions name, so that trying one value of each part is
//! exact.
//!
//! Sources: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Multivalued context keys".

use std::net::IpAddr;

use super::Budget;
use super::texts::{Glob, Solution, find};
use crate::iam::catalogue::{self, KeyEntry, KeyType, ServiceEntry};
use crate::iam::condition::{Condition, Qualifier, Test};
use crate::iam::matching::{self, Number, Truth};
use crate::iam::pattern::Pattern;
use crate::iam::policy::Version;
use crate::iam::request::{ContextValue, RequestContext};

/// A condition, and whether it must hold.
pub(super) type Wanted<'c> = (&'c Condition, bool);

/// What is known about the values of a key.
#[derive(Clone, Debug, Default)]
pub(in crate::iam) struct KeyDomain {
    of: Option<KeyType>,
    pub multivalued: bool,
    /// Patterns of which one must match the value, if there are any.
    pub within: Vec<Glob>,
    /// Texts that are not the value.
    pub without: Vec<Glob>,
    /// Whether a policy names the empty text as a value. Otherwise a key without text is absent.
    may_be_empty: bool,
    pub may_be_absent: bool,
}

impl KeyDomain {
    /// The domain of a key that these conditions test, after the catalogue, or after the operators if it does not know
    /// the key.
    pub fn new(key: &str, conditions: &[&Condition]) -> Self {
        let entry = entry_of(key);
        let is_set = conditions.iter().any(|c| c.operator().qualifier.is_some());
        let of = entry.map(|entry| entry.of).or_else(|| {
            let mut types = conditions.iter().filter_map(|c| type_of(c.operator().test));
            types.next().filter(|first| types.all(|other| other == *first))
        });
        Self {
            of,
            multivalued: entry.map_or(is_set, |entry| entry.multivalued),
            within: Vec::new(),
            without: Vec::new(),
            may_be_empty: conditions.iter().any(|c| c.operator().test != Test::Null && c.values().any(str::is_empty)),
            may_be_absent: true,
        }
    }
}

fn entry_of(key: &str) -> Option<&'static KeyEntry> {
    match key.split_once(':') {
        Some((prefix, _)) if prefix.eq_ignore_ascii_case("aws") => catalogue::global_key(key),
        Some((prefix, _)) => ServiceEntry::of(&prefix.to_ascii_lowercase()).and_then(|service| service.key(key)),
        None => None,
    }
}

fn type_of(test: Test) -> Option<KeyType> {
    match test {
        Test::Null => None,
        Test::ArnEquals | Test::ArnLike | Test::ArnNotEquals | Test::ArnNotLike => Some(KeyType::Arn),
        Test::Bool => Some(KeyType::Bool),
        Test::DateEquals
        | Test::DateGreaterThan
        | Test::DateGreaterThanEquals
        | Test::DateLessThan
        | Test::DateLessThanEquals
        | Test::DateNotEquals => Some(KeyType::Date),
        Test::IpAddress | Test::NotIpAddress => Some(KeyType::Ip),
        Test::NumericEquals
        | Test::NumericGreaterThan
        | Test::NumericGreaterThanEquals
        | Test::NumericLessThan
        | Test::NumericLessThanEquals
        | Test::NumericNotEquals => Some(KeyType::Numeric),
        Test::BinaryEquals
        | Test::StringEquals
        | Test::StringEqualsIgnoreCase
        | Test::StringLike
        | Test::StringNotEquals
        | Test::StringNotEqualsIgnoreCase
        | Test::StringNotLike => Some(KeyType::String),
    }
}

/// A condition on a single value: whether one of its values must match, or none may.
#[derive(Clone, Copy)]
struct ValueTest<'c> {
    condition: &'c Condition,
    matches: bool,
}

impl<'c> ValueTest<'c> {
    fn of((condition, holds): Wanted<'c>) -> Self {
        Self { condition, matches: holds != condition.operator().test.is_negated() }
    }
}

/// Searches for a value of a key under which all conditions are as wanted. `None` is an absent key. `context` holds the
/// values of policy variables.
pub(super) fn solve(
    domain: &KeyDomain,
    wanted: &[Wanted<'_>],
    context: &RequestContext,
    work: &mut Budget,
) -> Solution<Option<ContextValue>> {
    work.spend(wanted.len());
    if domain.may_be_absent && fits(wanted, None, context) {
        return Solution::One(None);
    }
    let mut is_unknown = false;
    for attempt in [one_value, several_values] {
        match attempt(domain, wanted, context, work) {
            Solution::One(value) => return Solution::One(Some(value)),
            Solution::Nothing => {}
            Solution::Unknown => is_unknown = true,
        }
    }
    if is_unknown { Solution::Unknown } else { Solution::Nothing }
}

/// Whether a condition is as wanted under a value of its key.
fn has(condition: &Condition, holds: bool, value: Option<&ContextValue>, context: &RequestContext) -> bool {
    let mut context = context.clone();
    let absent = ContextValue::Many(Vec::new());
    context.set(condition.key().as_str(), value.cloned().unwrap_or(absent));
    matching::condition(condition, Version::V2012, &context) == Truth::of(holds)
}

/// Whether all conditions are as wanted under a value of their key.
fn fits(wanted: &[Wanted<'_>], value: Option<&ContextValue>, context: &RequestContext) -> bool {
    wanted.iter().all(|(condition, holds)| has(condition, *holds, value, context))
}

fn one_value(
    domain: &KeyDomain,
    wanted: &[Wanted<'_>],
    context: &RequestContext,
    work: &mut Budget,
) -> Solution<ContextValue> {
    let empty = ContextValue::One(String::new());
    if domain.may_be_empty && fits(wanted, Some(&empty), context) {
        return Solution::One(empty);
    }
    let present = ContextValue::One("x".to_owned());
    let (nulls, others): (Vec<Wanted>, Vec<Wanted>) =
        wanted.iter().copied().partition(|(condition, _)| condition.operator().test == Test::Null);
    if !fits(&nulls, Some(&present), context) {
        return Solution::Nothing;
    }
    let literals: Vec<ValueTest> = others.into_iter().map(ValueTest::of).collect();
    match scalar(domain, &literals, &[], context, work) {
        Solution::One(text) => {
            let value = ContextValue::One(text);
            if fits(wanted, Some(&value), context) { Solution::One(value) } else { Solution::Unknown }
        }
        Solution::Nothing => Solution::Nothing,
        Solution::Unknown => Solution::Unknown,
    }
}

/// At least two different values of a multivalued key.
fn several_values(
    domain: &KeyDomain,
    wanted: &[Wanted<'_>],
    context: &RequestContext,
    work: &mut Budget,
) -> Solution<ContextValue> {
    if !domain.multivalued {
        return Solution::Nothing;
    }
    let (mut all, mut some) = (Vec::new(), Vec::new());
    for (condition, holds) in wanted {
        let literal = ValueTest::of((condition, *holds));
        match (condition.operator().test, condition.operator().qualifier, holds) {
            (Test::Null, ..) => {
                let present = ContextValue::One("x".to_owned());
                if !has(condition, *holds, Some(&present), context) {
                    return Solution::Nothing;
                }
            }
            // Several values never match an operator for one value.
            (_, None, true) => return Solution::Nothing,
            (_, None, false) => {}
            (_, Some(Qualifier::ForAllValues), true) | (_, Some(Qualifier::ForAnyValue), false) => all.push(literal),
            (_, Some(Qualifier::ForAllValues), false) | (_, Some(Qualifier::ForAnyValue), true) => some.push(literal),
        }
    }
    let mut values: Vec<String> = Vec::new();
    // The second value may be any that all conditions allow.
    for needed in some.iter().map(Some).chain([None, None]) {
        if needed.is_none() && values.len() >= 2 {
            break;
        }
        let literals: Vec<ValueTest> = all.iter().chain(needed).copied().collect();
        let other: &[String] = if needed.is_none() { &values } else { &[] };
        match scalar(domain, &literals, other, context, work) {
            Solution::One(value) if values.contains(&value) => {}
            Solution::One(value) => values.push(value),
            Solution::Nothing => return Solution::Nothing,
            Solution::Unknown => return Solution::Unknown,
        }
    }
    let value = ContextValue::Many(values);
    if fits(wanted, Some(&value), context) { Solution::One(value) } else { Solution::Unknown }
}

/// Searches for one value that is as the literals want it, and none of `other`.
fn scalar(
    domain: &KeyDomain,
    literals: &[ValueTest<'_>],
    other: &[String],
    context: &RequestContext,
    work: &mut Budget,
) -> Solution<String> {
    let is_text = |test: Test| matches!(type_of(test), Some(KeyType::String | KeyType::Arn | KeyType::Bool));
    if literals.iter().all(|literal| is_text(literal.condition.operator().test)) {
        return match domain.of {
            Some(KeyType::Numeric | KeyType::Date | KeyType::Ip) if literals.is_empty() => {
                sampled(domain, literals, other, context, work)
            }
            _ => of_texts(domain, literals, other, context, work),
        };
    }
    sampled(domain, literals, other, context, work)
}

/// Searches among texts.
fn of_texts(
    domain: &KeyDomain,
    literals: &[ValueTest<'_>],
    other: &[String],
    context: &RequestContext,
    work: &mut Budget,
) -> Solution<String> {
    let mut any: Vec<Vec<Glob>> = Vec::new();
    let mut none: Vec<Glob> = domain.without.clone();
    if !domain.within.is_empty() {
        any.push(domain.within.clone());
    }
    match domain.of {
        Some(KeyType::Bool) => any.push(["true", "false"].map(|word| Glob::folded(&Pattern::literal(word))).into()),
        Some(KeyType::Arn) => any.push(vec![Glob::arn(&Pattern::new("arn:?*:?*:*:*:?*"))]),
        _ => any.push(vec![Glob::whole(&Pattern::new("?*"))]),
    }
    for literal in literals {
        let is_arn = type_of(literal.condition.operator().test) == Some(KeyType::Arn);
        if is_arn && domain.of != Some(KeyType::Arn) {
            if !literal.matches {
                return sampled(domain, literals, other, context, work);
            }
            any.push(vec![Glob::arn(&Pattern::new("arn:*:*:*:*:*"))]);
        }
        let globs = globs(literal.condition, context);
        if literal.matches {
            any.push(globs);
        } else {
            none.extend(globs);
        }
    }
    none.extend(other.iter().map(|text| Glob::whole(&Pattern::literal(text))));
    let unions: Vec<&[Glob]> = any.iter().map(Vec::as_slice).collect();
    find(&unions, &none.iter().collect::<Vec<_>>(), work)
}

/// The texts that match a value of a condition.
fn globs(condition: &Condition, context: &RequestContext) -> Vec<Glob> {
    let test = condition.operator().test;
    let texts = || condition.values().filter_map(|value| matching::substituted(value, context));
    let literal = |value: &str| Pattern::literal(value);
    match test {
        Test::StringEqualsIgnoreCase | Test::StringNotEqualsIgnoreCase | Test::Bool => {
            texts().map(|value| Glob::folded(&literal(&value))).collect()
        }
        Test::StringLike | Test::StringNotLike => {
            let patterns = condition.values().filter_map(|value| matching::value_pattern(value, context));
            patterns.map(|pattern| Glob::whole(&pattern)).collect()
        }
        Test::ArnEquals | Test::ArnLike | Test::ArnNotEquals | Test::ArnNotLike => {
            let patterns = condition.values().filter_map(|value| matching::value_pattern(value, context));
            patterns.map(|pattern| Glob::arn(&pattern)).collect()
        }
        _ => texts().map(|value| Glob::whole(&literal(&value))).collect(),
    }
}

/// Tries one value of each part into which the conditions divide the values. Exact unless texts and numbers are mixed.
fn sampled(
    domain: &KeyDomain,
    literals: &[ValueTest<'_>],
    other: &[String],
    context: &RequestContext,
    work: &mut Budget,
) -> Solution<String> {
    let mut samples = Vec::new();
    let mut is_exact = true;
    for literal in literals {
        let values = literal.condition.values().filter_map(|value| matching::substituted(value, context));
        let of = type_of(literal.condition.operator().test);
        is_exact &= of == domain.of && matches!(of, Some(KeyType::Numeric | KeyType::Date | KeyType::Ip));
        samples.extend(values.map(std::borrow::Cow::into_owned));
    }
    let mut tried = match domain.of {
        Some(KeyType::Numeric) => numbers(&samples),
        Some(KeyType::Date) => dates(&samples),
        Some(KeyType::Ip) => addresses(&samples),
        _ => {
            is_exact = false;
            [samples.clone(), numbers(&samples), dates(&samples), addresses(&samples), vec!["x".into()]].concat()
        }
    };
    tried.retain(|value| !other.contains(value));
    let is_right = |value: &String| {
        let one = ContextValue::One(value.clone());
        literals
            .iter()
            .all(|l| has(l.condition, l.matches != l.condition.operator().test.is_negated(), Some(&one), context))
    };
    work.spend(tried.len() * (1 + literals.len()));
    match tried.into_iter().find(is_right) {
        Some(value) => Solution::One(value),
        None if is_exact => Solution::Nothing,
        None => Solution::Unknown,
    }
}

/// The numbers that texts name, and one between each two, below and above all.
fn numbers(texts: &[String]) -> Vec<String> {
    let mut known: Vec<Number> = texts.iter().filter_map(|text| Number::parse(text)).collect();
    known.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let mut all: Vec<String> = known.iter().map(ToString::to_string).collect();
    let middle = |a: &Number, b: &Number| format!("{}", f64::midpoint(a.float(), b.float()));
    all.extend(known.windows(2).filter_map(|pair| Some(middle(pair.first()?, pair.last()?))));
    all.extend(known.first().map(|least| format!("{}", least.float() - 1.0)));
    all.extend(known.last().map(|most| format!("{}", most.float() + 1.0)));
    all.push("1".to_owned());
    all
}

/// The instants that texts name, and one between each two, before and after all, in seconds since 1970.
fn dates(texts: &[String]) -> Vec<String> {
    const SECOND: i128 = 1_000_000_000;
    let mut known: Vec<i128> = texts.iter().filter_map(|text| matching::instant(text)).collect();
    known.sort_unstable();
    let mut all = known.clone();
    all.extend(known.windows(2).filter_map(|pair| Some(i128::midpoint(*pair.first()?, *pair.last()?))));
    all.extend(known.first().map(|first| first - SECOND));
    all.extend(known.last().map(|last| last + SECOND));
    all.push(1_767_225_600 * SECOND);
    let spelled = |instant: &i128| {
        let (seconds, nanos) = (instant.div_euclid(SECOND), instant.rem_euclid(SECOND));
        if nanos == 0 { seconds.to_string() } else { format!("{seconds}.{nanos:09}") }
    };
    all.iter().filter(|instant| **instant >= 0).map(spelled).collect()
}

/// The first and last addresses of the networks that texts name, their neighbors, and one address of each family.
fn addresses(texts: &[String]) -> Vec<String> {
    let mut all: Vec<IpAddr> = Vec::new();
    for (address, length) in texts.iter().filter_map(|text| matching::range_of(text)) {
        match address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(length).unwrap_or(0);
                let (first, last) = (address.to_bits() & !host, address.to_bits() | host);
                let ends = [Some(first), first.checked_sub(1), Some(last), last.checked_add(1)];
                all.extend(ends.into_iter().flatten().map(|bits| IpAddr::V4(bits.into())));
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(length).unwrap_or(0);
                let (first, last) = (address.to_bits() & !host, address.to_bits() | host);
                let ends = [Some(first), first.checked_sub(1), Some(last), last.checked_add(1)];
                all.extend(ends.into_iter().flatten().map(|bits| IpAddr::V6(bits.into())));
            }
        }
    }
    let mut spelled = vec!["192.0.2.1".to_owned()];
    spelled.extend(all.iter().map(ToString::to_string));
    spelled.push("2001:db8::1".to_owned());
    spelled
}
