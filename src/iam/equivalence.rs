//! Compares the access of two policies, regardless of their Sids, their Ids and their division into statements.
//!
//! Sources: IAM User Guide, "Policy evaluation logic" (a Deny always wins, the order of statements has no meaning) and
//! "Grammar of the IAM JSON policy language".

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::catalogue;
use super::condition::{Condition, Operator, Test};
use super::matching::{self, Number};
use super::name::{ActionPattern, ConditionKey};
use super::pattern::{self, Pattern, Token};
use super::policy::{Effect, Policy, Principal, Selector, Statement, Version, sorted};

/// Whether both policies decide every request the same way. Sids and Ids are ignored, and so are statements, actions
/// and resources that others cover.
///
/// `true` is proved: each statement of one policy is covered, piece by piece, by statements of the other. `false` means
/// that no such proof was found. Policies of which only the combined statements agree are treated as different.
#[must_use]
pub fn equivalent(a: &Policy, b: &Policy) -> bool {
    if a == b || bare(a) == bare(b) {
        return true;
    }
    let mut variables = Variables::default();
    let a = variables.policy(a);
    let b = variables.policy(b);
    uncovered(&b, &a).next().is_none() && uncovered(&a, &b).next().is_none()
}

/// The policy without Sids and Id. Most pairs with the same access are then equal.
fn bare(policy: &Policy) -> Policy {
    let statements = policy.statements.iter().map(|s| s.clone().with_sid("")).collect();
    Policy::from_parts(policy.version, None, statements)
}

/// A part of a statement that the other policy does not cover.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmatched {
    pub effect: Effect,
    /// The position of the statement in its document, from 1.
    pub position: usize,
    pub sid: Option<String>,
    /// The action; `None` for the whole `NotAction`.
    pub action: Option<String>,
    /// The resource; `None` for the whole `NotResource`, or if there is none.
    pub resource: Option<String>,
    /// The principal; `None` for the whole `NotPrincipal`, or if there is none.
    pub principal: Option<String>,
}

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement {}", self.position)?;
        if let Some(sid) = &self.sid {
            write!(f, " `{sid}`")?;
        }
        let action = self.action.as_deref().unwrap_or("its NotAction");
        write!(f, ": {} {action}", self.effect.as_str())?;
        if let Some(resource) = &self.resource {
            write!(f, " on {resource}")?;
        }
        if let Some(principal) = &self.principal {
            write!(f, " to {principal}")?;
        }
        Ok(())
    }
}

/// The reasons why two policies are not [`equivalent`]: the parts of each that the other does not cover. Both lists are
/// empty if the policies are equivalent.
#[must_use]
pub fn differences(a: &Policy, b: &Policy) -> (Vec<Unmatched>, Vec<Unmatched>) {
    let mut variables = Variables::default();
    let (first, second) = (variables.policy(a), variables.policy(b));
    let only_a = uncovered(&second, &first).map(|cell| cell.describe(a)).collect();
    let only_b = uncovered(&first, &second).map(|cell| cell.describe(b)).collect();
    (only_a, only_b)
}

/// For each statement, the position of another one that makes it redundant, if any.
pub(super) fn redundant_statements(statements: &[Statement], version: Version) -> Vec<Option<usize>> {
    let mut variables = Variables::default();
    let normal: Vec<Normal> = statements.iter().map(|s| variables.statement(s, version)).collect();
    let mut redundant: Vec<Option<usize>> = vec![None; normal.len()];
    for at in 0..normal.len() {
        let Some(statement) = normal.get(at) else {
            continue;
        };
        let by = normal.iter().enumerate().position(|(other, wide)| {
            // Of two statements that cover each other, keep the first.
            other != at
                && redundant.get(other).is_some_and(Option::is_none)
                && wide.effect == statement.effect
                && covers_all(wide, statement)
                && (other < at || !covers_all(statement, wide))
        });
        if let (Some(by), Some(place)) = (by, redundant.get_mut(at)) {
            *place = Some(by + 1);
        }
    }
    redundant
}

/// The redundant actions and resources of a statement, with the value that covers them: element, narrow value, wide
/// value.
pub(super) fn redundant_values(statement: &Statement, version: Version) -> Vec<(&'static str, String, String)> {
    let normal = Variables::default().statement(statement, version);
    let mut found = Vec::new();
    let element = if statement.action.inverted { "NotAction" } else { "Action" };
    let names: Vec<&str> = statement.action.values.iter().map(ActionPattern::as_str).collect();
    for (narrow, wide) in covered(&normal.action.values, Pattern::includes) {
        if let (Some(narrow), Some(wide)) = (names.get(narrow), names.get(wide)) {
            found.push((element, (*narrow).to_owned(), (*wide).to_owned()));
        }
    }
    if let (Some(resource), Some(written)) = (&normal.resource, &statement.resource) {
        let element = if resource.inverted { "NotResource" } else { "Resource" };
        for (narrow, wide) in covered(&resource.values, ResourcePattern::includes) {
            if let (Some(narrow), Some(wide)) = (written.values.get(narrow), written.values.get(wide)) {
                found.push((element, narrow.to_string(), wide.to_string()));
            }
        }
    }
    found
}

/// The number of values above which they are not compared with each other. AWS accepts fewer in a statement.
const MOST_VALUES: usize = 4_096;

/// Pairs of indices: a value, and the first other value that includes it. Of two equal values the first is kept.
fn covered<T>(values: &[T], includes: fn(&T, &T) -> bool) -> Vec<(usize, usize)> {
    if values.len() > MOST_VALUES {
        return Vec::new();
    }
    let covers = |wide: usize, narrow: usize| match (values.get(wide), values.get(narrow)) {
        (Some(wide), Some(narrow)) => includes(wide, narrow),
        _ => false,
    };
    (0..values.len())
        .filter_map(|narrow| {
            let by = (0..values.len())
                .find(|wide| *wide != narrow && covers(*wide, narrow) && (*wide < narrow || !covers(narrow, *wide)))?;
            Some((narrow, by))
        })
        .collect()
}

/// A resource pattern, whole and split into its ARN components.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ResourcePattern {
    whole: Pattern,
    /// The six components, if it has them.
    parts: Option<Vec<Pattern>>,
    has_variables: bool,
}

impl ResourcePattern {
    fn new(tokens: Vec<Token>, has_variables: bool) -> Self {
        let mut parts = tokens.splitn(6, |token| *token == Token::Char(':'));
        let mut part = || parts.next().map(|tokens| Pattern::from_tokens(tokens.to_vec()));
        let parts = [part(), part(), part(), part(), part(), part()];
        let parts = parts.into_iter().collect::<Option<Vec<_>>>();
        Self { whole: Pattern::from_tokens(tokens), parts, has_variables }
    }

    /// Whether this pattern matches everything that `other` matches. Components are matched one by one, as IAM does; a
    /// pattern with fewer than six is matched as one text.
    fn includes(&self, other: &Self) -> bool {
        if other.has_variables && self.whole.tokens().contains(&Token::One) {
            // A `?` is one character, and a variable may have any length.
            return self == other;
        }
        match (&self.parts, &other.parts) {
            (Some(wide), Some(narrow)) => wide.iter().zip(narrow).all(|(wide, narrow)| wide.includes(narrow)),
            (None, _) => self.whole.includes(&other.whole),
            (Some(_), None) => self == other,
        }
    }

    /// Whether no resource matches both patterns.
    fn is_apart_from(&self, other: &Self) -> bool {
        if self.has_variables || other.has_variables {
            return false;
        }
        match (&self.parts, &other.parts) {
            (Some(a), Some(b)) => a.iter().zip(b).any(|(a, b)| !a.overlaps(b)),
            _ => !self.whole.overlaps(&other.whole),
        }
    }
}

/// A statement in a form that can be compared.
#[derive(Debug, Clone)]
struct Normal {
    /// The index in the list of statements.
    index: usize,
    effect: Effect,
    principal: Option<Selector<Principal>>,
    action: Selector<Pattern>,
    resource: Option<Selector<ResourcePattern>>,
    condition: Vec<Condition>,
}

/// One piece of a statement: a principal, an action pattern and a resource pattern, each possibly a whole `Not...`
/// element.
#[derive(Clone, Copy)]
struct Cell<'a> {
    statement: &'a Normal,
    /// The indices of principal, action and resource; `None` if the element is absent or has the `Not...` form.
    at: [Option<usize>; 3],
    principal: Option<&'a Principal>,
    action: Option<&'a Pattern>,
    resource: Option<&'a ResourcePattern>,
}

impl Normal {
    fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        let (principals, resources) = (self.principal.as_ref(), self.resource.as_ref());
        indices(principals).flat_map(move |principal| {
            indices(Some(&self.action)).flat_map(move |action| {
                indices(resources).map(move |resource| Cell {
                    statement: self,
                    at: [principal, action, resource],
                    principal: value(principals, principal),
                    action: value(Some(&self.action), action),
                    resource: value(resources, resource),
                })
            })
        })
    }
}

/// The index of every value, or a single `None` if the element is absent or has the `Not...` form.
fn indices<T>(selector: Option<&Selector<T>>) -> impl Iterator<Item = Option<usize>> {
    let count = selector.filter(|selector| !selector.inverted).map(|s| s.values.len());
    (0..count.unwrap_or(1)).map(move |at| count.map(|_| at))
}

fn value<T>(selector: Option<&Selector<T>>, at: Option<usize>) -> Option<&T> {
    selector?.values.get(at?)
}

impl Cell<'_> {
    /// Describes the piece with the texts of its policy.
    fn describe(&self, policy: &Policy) -> Unmatched {
        let statement = policy.statements.get(self.statement.index);
        let [principal, action, resource] = self.at;
        let action = statement.and_then(|s| value(Some(&s.action), action));
        let resource = statement.and_then(|s| value(s.resource.as_ref(), resource));
        let principal = statement.and_then(|s| value(s.principal.as_ref(), principal));
        Unmatched {
            effect: self.statement.effect,
            position: statement.map_or(0, Statement::position),
            sid: statement.and_then(Statement::sid).map(str::to_owned),
            action: action.map(|action| catalogue::spelling(action.as_str()).into_owned()),
            resource: resource.map(ToString::to_string),
            principal: principal.map(|principal| principal.entry().1.to_owned()),
        }
    }
}

/// The pieces of one policy that the other does not cover.
fn uncovered<'a>(wide: &'a [Normal], narrow: &'a [Normal]) -> impl Iterator<Item = Cell<'a>> {
    let mut left = MOST_COMPARISONS;
    narrow.iter().flat_map(Normal::cells).filter(move |cell| {
        let mut has = |list: &[Normal], effect| {
            list.iter().filter(|s| s.effect == effect).any(|statement| {
                left = left.saturating_sub(1 + statement.action.values.len());
                left > 0 && covers(statement, cell)
            })
        };
        // An Allow that the same policy denies anyway needs no match.
        let is_allow = cell.statement.effect == Effect::Allow;
        !(has(wide, cell.statement.effect) || is_allow && has(narrow, Effect::Deny))
    })
}

/// The maximum number of action comparisons; policies that AWS accepts need fewer. Beyond it nothing is proved.
const MOST_COMPARISONS: usize = 10_000_000;

/// Whether `wide` applies to every request to which any cell of `narrow` applies. Actions, resources and principals are
/// checked separately, which avoids checking every combination.
fn covers_all(wide: &Normal, narrow: &Normal) -> bool {
    let cell = Cell { statement: narrow, at: [None; 3], principal: None, action: None, resource: None };
    let (principals, resources) = (narrow.principal.as_ref(), narrow.resource.as_ref());
    covers_conditions(wide, narrow)
        && indices(Some(&narrow.action))
            .all(|at| covers_action(&wide.action, &Cell { action: value(Some(&narrow.action), at), ..cell }))
        && indices(resources)
            .all(|at| covers_resource(wide.resource.as_ref(), &Cell { resource: value(resources, at), ..cell }))
        && indices(principals).all(|at| covers_principal(wide, &Cell { principal: value(principals, at), ..cell }))
}

fn covers_conditions(wide: &Normal, narrow: &Normal) -> bool {
    wide.condition.iter().all(|weak| narrow.condition.iter().any(|strong| implies(strong, weak)))
}

/// Whether `wide` applies to every request to which the cell applies.
fn covers(wide: &Normal, cell: &Cell) -> bool {
    covers_action(&wide.action, cell)
        && covers_resource(wide.resource.as_ref(), cell)
        && covers_principal(wide, cell)
        && covers_conditions(wide, cell.statement)
}

fn covers_action(wide: &Selector<Pattern>, cell: &Cell) -> bool {
    let Some(action) = cell.action else {
        let narrow = &cell.statement.action;
        return if wide.inverted {
            covers_inverted(&wide.values, &narrow.values, Pattern::includes)
        } else {
            wide.values.iter().any(|value| value.includes(&Pattern::any()))
        };
    };
    if wide.inverted {
        wide.values.iter().all(|value| !value.overlaps(action))
    } else {
        wide.values.iter().any(|value| value.includes(action))
    }
}

fn covers_resource(wide: Option<&Selector<ResourcePattern>>, cell: &Cell) -> bool {
    let (wide, narrow) = match (wide, &cell.statement.resource) {
        (None, None) => return true,
        (Some(wide), Some(narrow)) => (wide, narrow),
        _ => return false,
    };
    let Some(resource) = cell.resource else {
        return if wide.inverted {
            covers_inverted(&wide.values, &narrow.values, ResourcePattern::includes)
        } else {
            wide.values.iter().any(|value| value.whole == Pattern::any())
        };
    };
    if wide.inverted {
        wide.values.iter().all(|value| value.is_apart_from(resource))
    } else {
        wide.values.iter().any(|value| value.includes(resource))
    }
}

/// `Not [wide]` covers `Not [narrow]` if the second excludes everything that the first excludes.
fn covers_inverted<T>(wide: &[T], narrow: &[T], includes: fn(&T, &T) -> bool) -> bool {
    wide.iter().all(|left_out| narrow.iter().any(|value| includes(value, left_out)))
}

/// Principals are compared as written. An Allow to an account, to a role and to everyone differ in the layers that
/// limit them too. Only a Deny to everyone covers a Deny to one principal.
fn covers_principal(wide: &Normal, cell: &Cell) -> bool {
    match (&wide.principal, &cell.statement.principal) {
        (None, None) => true,
        (Some(wide_principals), Some(narrow)) => {
            if wide_principals == narrow {
                return true;
            }
            let Some(principal) = cell.principal else {
                return false;
            };
            !wide_principals.inverted
                && (wide_principals.values.contains(principal)
                    || (wide.effect == Effect::Deny && wide_principals.values.contains(&Principal::Everyone)))
        }
        _ => false,
    }
}

/// Whether every request that fulfills `strong` fulfills `weak`.
fn implies(strong: &Condition, weak: &Condition) -> bool {
    if strong.operator != weak.operator || strong.key != weak.key {
        return false;
    }
    let subset = |a: &Condition, b: &Condition| a.values.iter().all(|v| b.values.contains(v));
    match strong.operator.test {
        Test::Null | Test::Bool => strong.values == weak.values,
        test if test.is_negated() => subset(weak, strong),
        _ => subset(strong, weak),
    }
}

/// The first address of a network with this prefix length.
fn network(address: IpAddr, length: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & !host).into()
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & !host).into()
        }
    }
}

/// Gives equal numbers, instants and networks the same spelling. Other texts are unchanged.
fn spelling(test: Test, value: &str) -> Option<String> {
    match test {
        Test::NumericEquals
        | Test::NumericNotEquals
        | Test::NumericLessThan
        | Test::NumericLessThanEquals
        | Test::NumericGreaterThan
        | Test::NumericGreaterThanEquals => Number::parse(value).map(|number| number.to_string()),
        Test::DateEquals
        | Test::DateNotEquals
        | Test::DateLessThan
        | Test::DateLessThanEquals
        | Test::DateGreaterThan
        | Test::DateGreaterThanEquals => matching::instant(value).map(|instant| format!("@{instant}")),
        Test::IpAddress | Test::NotIpAddress => {
            let (address, length) = matching::range_of(value)?;
            Some(format!("{}/{length}", network(address, length)))
        }
        _ => None,
    }
}

/// Replaces each policy variable with its own character from the private use planes, so that patterns can be compared.
#[derive(Default)]
pub(super) struct Variables {
    known: BTreeMap<String, char>,
}

impl Variables {
    fn policy(&mut self, policy: &Policy) -> Vec<Normal> {
        let mut normal: Vec<Normal> = policy.statements.iter().map(|s| self.statement(s, policy.version)).collect();
        for (index, statement) in normal.iter_mut().enumerate() {
            statement.index = index;
        }
        normal
    }

    fn statement(&mut self, statement: &Statement, version: Version) -> Normal {
        let fold = |action: &ActionPattern| Pattern::without_escapes(&action.as_str().to_ascii_lowercase());
        let action = Selector {
            inverted: statement.action.inverted,
            values: statement.action.values.iter().map(fold).collect(),
        };
        let resource = statement.resource.as_ref().map(|resource| Selector {
            inverted: resource.inverted,
            values: resource.values.iter().map(|text| self.resource(text, version)).collect(),
        });
        Normal {
            index: 0,
            effect: statement.effect,
            principal: statement.principal.clone(),
            action,
            resource,
            condition: statement.condition.iter().map(|c| normal_condition(c, version)).collect(),
        }
    }

    pub(super) fn resource(&mut self, text: &str, version: Version) -> ResourcePattern {
        let mut tokens = Vec::with_capacity(text.len());
        let mut has_variables = false;
        if version == Version::V2008 {
            pattern::push_pattern(text, false, &mut tokens);
            return ResourcePattern::new(tokens, false);
        }
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, from) = rest.split_at(start);
            pattern::push_pattern(before, true, &mut tokens);
            let length = match (pattern::escape(from), from.find('}')) {
                (Some((meant, after)), _) => {
                    tokens.push(Token::Char(meant));
                    from.len() - after.len()
                }
                (None, Some(end)) => {
                    has_variables = true;
                    let name = from.get(..=end).unwrap_or(from);
                    tokens.push(Token::Char(self.variable(name)));
                    name.len()
                }
                (None, None) => break,
            };
            rest = from.get(length..).unwrap_or_default();
        }
        pattern::push_pattern(rest, true, &mut tokens);
        ResourcePattern::new(tokens, has_variables)
    }

    fn variable(&mut self, text: &str) -> char {
        // Names of variables ignore case, their default values do not.
        let name = match text.split_once(',') {
            Some((name, default)) => format!("{},{default}", name.to_ascii_lowercase()),
            None => text.to_ascii_lowercase(),
        };
        let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX).saturating_add(0xf_0000);
        *self.known.entry(name).or_insert_with(|| char::from_u32(next).unwrap_or('\u{10fffd}'))
    }
}

/// Gives equivalent conditions the same spelling.
fn normal_condition(condition: &Condition, version: Version) -> Condition {
    let Operator { test, qualifier, if_exists } = condition.operator;
    let has = |marks: &[char]| condition.values.iter().any(|value| value.contains(marks));
    let test = match test {
        // "ArnEquals and ArnLike behave identically": IAM User Guide, ARN condition operators.
        Test::ArnEquals => Test::ArnLike,
        Test::ArnNotEquals => Test::ArnNotLike,
        Test::StringLike if !has(&['*', '?']) => Test::StringEquals,
        Test::StringNotLike if !has(&['*', '?']) => Test::StringNotEquals,
        other => other,
    };
    let fold = matches!(test, Test::Bool | Test::Null | Test::StringEqualsIgnoreCase | Test::StringNotEqualsIgnoreCase);
    let value = |value: &str| -> Box<str> {
        let literal = version == Version::V2008 && value.contains("${");
        let value = if literal { value.replace("${", "${$}{") } else { value.to_owned() };
        match spelling(test, &value) {
            Some(spelling) => spelling.into(),
            None if fold => value.to_ascii_lowercase().into(),
            None => value.into(),
        }
    };
    Condition {
        operator: Operator { test, qualifier, if_exists },
        key: ConditionKey::new(condition.key.as_str()),
        values: sorted(condition.values().map(value).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn same(a: &Value, b: &Value) -> bool {
        let read = |statements: &Value| {
            Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
        };
        let (a, b) = (read(a), read(b));
        assert_eq!(equivalent(&a, &b), equivalent(&b, &a));
        equivalent(&a, &b)
    }

    #[test]
    fn covered_entries_do_not_count() {
        let one = json!([{"Sid": "a", "Effect": "Allow", "Action": ["s3:Get*", "s3:GetObject"],
            "Resource": ["arn:aws:s3:::b/*", "arn:aws:s3:::b/x"]}]);
        assert!(same(&one, &json!([{"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/*"}])));
        assert!(!same(&one, &json!([{"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b*"}])));
        let split = json!([
            {"Effect": "Allow", "Action": ["s3:A", "s3:B"], "Resource": ["a:b", "c:d"]},
        ]);
        assert!(same(
            &split,
            &json!([
                {"Effect": "Allow", "Action": "s3:A", "Resource": ["a:b", "c:d"]},
                {"Effect": "Allow", "Action": "s3:b", "Resource": ["a:b", "c:d"]},
            ])
        ));
    }

    #[test]
    fn an_allow_that_is_denied_does_not_count() {
        let deny = json!({"Effect": "Deny", "Action": "s3:*", "Resource": "*"});
        let allow = json!({"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"});
        assert!(same(&json!([deny, allow]), &json!([deny])));
        let narrow = json!({"Effect": "Deny", "Action": "s3:*", "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}});
        assert!(!same(&json!([narrow, allow]), &json!([narrow])));
    }

    #[test]
    fn differences_are_shown_as_the_policy_spells_them() {
        let read =
            |statement: Value| Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statement})).unwrap();
        let a = read(json!([{"Sid": "A", "Effect": "Allow", "Action": ["s3:getobject", "s3:PutObject"],
            "Resource": "arn:aws:s3:::${aws:username}/*"}]));
        let b =
            read(json!([{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::${aws:username}/*"},
            {"Effect": "Deny", "NotAction": "s3:*", "Resource": "*"}]));
        let (only_a, only_b) = differences(&a, &b);
        let shown = |list: Vec<Unmatched>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(only_a), ["statement 1 `A`: Allow s3:PutObject on arn:aws:s3:::${aws:username}/*"]);
        assert_eq!(shown(only_b), ["statement 2: Deny its NotAction on *"]);
        assert_eq!(differences(&a, &a), (Vec::new(), Vec::new()));
    }

    #[test]
    fn grants_to_different_principals_differ() {
        let to = |principal: Value| {
            json!([
                {"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "s3:*", "Resource": "*"},
                {"Effect": "Allow", "Principal": principal, "Action": "s3:*", "Resource": "*"},
            ])
        };
        let account = to(json!({"AWS": "arn:aws:iam::111122223333:root"}));
        assert!(!same(&account, &to(json!({"AWS": "arn:aws:iam::111122223333:role/x"}))));
        assert!(!same(&account, &to(json!("*"))));
    }

    #[test]
    fn variables_differ_from_literal_text() {
        let on = |resource: &str| json!([{"Effect": "Allow", "Action": "s3:*", "Resource": [resource, "arn:aws:s3:::b/???*a*"]}]);
        let base = on("arn:aws:s3:::b/aaaaa");
        assert!(!same(&base, &on("arn:aws:s3:::b/${aws:a}")));
        assert!(same(&on("arn:aws:s3:::${aws:UserName}"), &on("arn:aws:s3:::${AWS:username}")));
    }

    #[test]
    fn conditions_may_be_spelled_differently() {
        let when =
            |condition: Value| json!([{"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": condition}]);
        assert!(same(
            &when(json!({"StringLike": {"a:b": "x"}, "ArnEquals": {"a:c": "arn:*"}})),
            &when(json!({"StringEquals": {"a:b": "x"}, "ArnLike": {"a:c": "arn:*"}})),
        ));
        for (a, b) in [
            (json!({"IpAddress": {"a:b": "10.0.0.5/8"}}), json!({"IpAddress": {"a:b": ["10.0.0.0/8", "10.1.0.0/8"]}})),
            (json!({"IpAddress": {"a:b": "10.0.0.1"}}), json!({"IpAddress": {"a:b": "10.0.0.1/32"}})),
            (json!({"IpAddress": {"a:b": "2001:DB8::/32"}}), json!({"IpAddress": {"a:b": "2001:db8:0:0::1/32"}})),
            (json!({"NumericLessThan": {"a:b": 10}}), json!({"NumericLessThan": {"a:b": "10.0"}})),
            (json!({"NumericLessThan": {"a:b": "0.50"}}), json!({"NumericLessThan": {"a:b": 0.5}})),
            (json!({"DateLessThan": {"a:b": "2026-04-01"}}), json!({"DateLessThan": {"a:b": "1775001600"}})),
        ] {
            assert!(same(&when(a.clone()), &when(b.clone())), "{a} {b}");
        }
        for (a, b) in [
            (json!({"IpAddress": {"a:b": "10.0.0.0/8"}}), json!({"IpAddress": {"a:b": "10.0.0.0/9"}})),
            (json!({"IpAddress": {"a:b": "0.0.0.0/0"}}), json!({"IpAddress": {"a:b": "::/0"}})),
            (
                json!({"NumericEquals": {"a:b": "9007199254740993"}}),
                json!({"NumericEquals": {"a:b": "9007199254740992"}}),
            ),
            (json!({"NumericEquals": {"a:b": "ten"}}), json!({"NumericEquals": {"a:b": "10"}})),
            (json!({"DateLessThan": {"a:b": "2026-04-01"}}), json!({"DateLessThan": {"a:b": "2026-04-02"}})),
            (json!({"StringLike": {"a:b": ["x*", "y"]}}), json!({"StringLike": {"a:b": "x*"}})),
        ] {
            assert!(!same(&when(a.clone()), &when(b.clone())), "{a} {b}");
        }
        assert!(!same(
            &when(json!({"StringEquals": {"a:b": "x"}})),
            &when(json!({"StringEquals": {"a:b": ["x", "y"]}})),
        ));
    }
}
