//! Policies and statements in canonical form: built once, compared by `==`, serialized in one order.
//!
//! Source: IAM User Guide, "IAM JSON policy element reference" and "Grammar of the IAM JSON policy language".

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::arn;
use super::catalogue;
use super::condition::Condition;
use super::name::ActionPattern;
use super::parse::{self, ParseError};

/// The version of the policy language. A document without one has version 2008-10-17.
///
/// Source: IAM User Guide, "IAM JSON policy elements: Version".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `${...}` is literal text.
    V2008,
    /// `${...}` is a policy variable.
    #[default]
    V2012,
}

impl Version {
    /// The text in a document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V2008 => "2008-10-17",
            Version::V2012 => "2012-10-17",
        }
    }
}

/// Whether a statement allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    Allow,
    Deny,
}

impl Effect {
    /// The text in a document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Allow => "Allow",
            Effect::Deny => "Deny",
        }
    }
}

/// One principal of a `Principal` or `NotPrincipal` element.
///
/// Source: IAM User Guide, "AWS JSON policy elements: Principal".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// `"Principal": "*"`.
    Everyone,
    /// `{"AWS": "*"}`. Kept apart from [`Principal::Everyone`], because AWS accepts only one of them in some places.
    AnyAws,
    /// An account, written as its ID or as the ARN of its root; both delegate to the account.
    Account(Box<str>),
    /// Any other `AWS` value: the ARN of a user, role or session, or the unique ID of a deleted one.
    Aws(Box<str>),
    /// The ARN of an OIDC or SAML provider, or the name of a built-in one.
    Federated(Box<str>),
    /// A service: `ec2.amazonaws.com`.
    Service(Box<str>),
    /// The canonical user ID of S3.
    CanonicalUser(Box<str>),
}

impl Principal {
    /// The prefixes of the unique ids of principals.
    ///
    /// Source: IAM User Guide, "IAM identifiers", unique ID prefixes.
    pub const ID_PREFIXES: [&'static str; 5] = ["AROA", "AIDA", "AGPA", "ANPA", "AIPA"];

    /// Parses one value of the `AWS` entry.
    #[must_use]
    pub fn aws(text: &str) -> Self {
        if text == "*" {
            Principal::AnyAws
        } else if arn::is_account_id(text) {
            Principal::Account(text.into())
        } else if let Some(account) = arn::root_account(text) {
            Principal::Account(account.into())
        } else {
            Principal::Aws(text.into())
        }
    }

    /// The principal's entry in the principal map, and its text there. [`Principal::Everyone`] has no entry.
    #[must_use]
    pub fn entry(&self) -> (Option<&'static str>, &str) {
        match self {
            Principal::Everyone => (None, "*"),
            Principal::AnyAws => (Some("AWS"), "*"),
            Principal::Account(text) | Principal::Aws(text) => (Some("AWS"), text),
            Principal::Federated(text) => (Some("Federated"), text),
            Principal::Service(text) => (Some("Service"), text),
            Principal::CanonicalUser(text) => (Some("CanonicalUser"), text),
        }
    }

    /// The account that this principal names or belongs to, if its text contains one.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Principal::Account(id) => Some(id),
            Principal::Aws(text) | Principal::Federated(text) => arn::account_of(text),
            _ => None,
        }
    }

    /// Whether this is the unique ID of a principal that no longer exists (`AROA...`, `AIDA...`).
    #[must_use]
    pub fn is_orphan_id(&self) -> bool {
        let Principal::Aws(text) = self else {
            return false;
        };
        Self::ID_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    }
}

/// An element with two forms: `Action` and `NotAction`, `Resource` and `NotResource`, `Principal` and `NotPrincipal`.
/// The values are sorted, without duplicates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector<T> {
    pub(super) inverted: bool,
    pub(super) values: Box<[T]>,
}

impl<T: Ord> Selector<T> {
    /// The plain form: matches any of these values.
    pub fn of(values: impl IntoIterator<Item = impl Into<T>>) -> Self {
        Self { inverted: false, values: sorted(values.into_iter().map(Into::into).collect()) }
    }
}

impl<T> Selector<T> {
    /// Whether this is the `Not...` form.
    #[must_use]
    pub fn is_inverted(&self) -> bool {
        self.inverted
    }

    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Whether the element selects a value, given the test for one value.
    pub(super) fn selects(&self, test: impl FnMut(&T) -> bool) -> bool {
        self.values.iter().any(test) != self.inverted
    }
}

/// The position of a statement in its document, from 1. Comparisons ignore it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position(usize);

impl PartialEq for Position {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Position {}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl Hash for Position {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// One statement of a policy. Every list is sorted without duplicates, and a list of one equals the single value, so
/// that `==` compares content and not notation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    pub(super) sid: Option<Box<str>>,
    pub(super) effect: Effect,
    pub(super) principal: Option<Selector<Principal>>,
    pub(super) action: Selector<ActionPattern>,
    pub(super) resource: Option<Selector<Box<str>>>,
    pub(super) condition: Vec<Condition>,
    pub(super) position: Position,
}

impl Statement {
    /// A statement with these actions and no other elements.
    #[must_use]
    pub fn new(effect: Effect, action: Selector<ActionPattern>) -> Self {
        Self {
            sid: None,
            effect,
            principal: None,
            action,
            resource: None,
            condition: Vec::new(),
            position: Position(0),
        }
    }

    /// `Allow` of these actions on these resources.
    #[must_use]
    pub fn allow<'a>(actions: impl IntoIterator<Item = &'a str>, resources: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Effect::Allow, Selector::of(actions)).on(Selector::of(resources))
    }

    /// `Deny` of these actions on these resources.
    #[must_use]
    pub fn deny<'a>(actions: impl IntoIterator<Item = &'a str>, resources: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Effect::Deny, Selector::of(actions)).on(Selector::of(resources))
    }

    /// Sets the Sid; an empty one removes it.
    #[must_use]
    pub fn with_sid(mut self, sid: &str) -> Self {
        self.sid = (!sid.is_empty()).then(|| sid.into());
        self
    }

    /// Sets `Resource` or `NotResource`.
    #[must_use]
    pub fn on(mut self, resource: Selector<Box<str>>) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Sets `Principal` or `NotPrincipal`.
    #[must_use]
    pub fn to(mut self, principal: Selector<Principal>) -> Self {
        self.principal = Some(principal);
        self
    }

    /// Adds a condition. It replaces an existing one with the same operator and key.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.condition.retain(|old| (old.operator, &old.key) != (condition.operator, &condition.key));
        self.condition.push(condition);
        self.condition.sort();
        self
    }

    pub(super) fn at(mut self, position: usize) -> Self {
        self.position = Position(position);
        self
    }

    #[must_use]
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    #[must_use]
    pub fn principal(&self) -> Option<&Selector<Principal>> {
        self.principal.as_ref()
    }

    #[must_use]
    pub fn action(&self) -> &Selector<ActionPattern> {
        &self.action
    }

    /// `Resource` or `NotResource`; `None` in a trust policy.
    #[must_use]
    pub fn resource(&self) -> Option<&Selector<Box<str>>> {
        self.resource.as_ref()
    }

    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.condition
    }

    /// The position in the parsed document, from 1; 0 for a statement that is not part of a policy yet.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position.0
    }

    /// Converts the statement to a later version: `${` remains literal text.
    fn in_version(&self, from: Version, to: Version) -> Self {
        let mut statement = self.clone();
        if from == to {
            return statement;
        }
        let escaped = |text: &str| Box::<str>::from(text.replace("${", "${$}{"));
        if let Some(resource) = &mut statement.resource {
            resource.values = sorted(resource.values.iter().map(|text| escaped(text)).collect());
        }
        for condition in &mut statement.condition {
            condition.values = sorted(condition.values().map(escaped).collect());
        }
        statement
    }

    /// The statement as canonical JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // Serializing cannot fail: all keys are strings.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// A list of texts, or a single text.
struct OneOrList<I>(I);

impl<I> Serialize for OneOrList<I>
where
    I: ExactSizeIterator + Clone,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.clone().next() {
            Some(only) if self.0.len() == 1 => only.serialize(serializer),
            _ => serializer.collect_seq(self.0.clone()),
        }
    }
}

struct Principals<'a>(&'a [Principal]);

impl Serialize for Principals<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == [Principal::Everyone] {
            return serializer.serialize_str("*");
        }
        let mut map = serializer.serialize_map(None)?;
        for name in ["AWS", "CanonicalUser", "Federated", "Service"] {
            let entries = self.0.iter().map(Principal::entry).filter(|(entry, _)| *entry == Some(name));
            let texts: Vec<&str> = entries.map(|(_, text)| text).collect();
            if !texts.is_empty() {
                map.serialize_entry(name, &OneOrList(texts.iter()))?;
            }
        }
        map.end()
    }
}

struct Conditions<'a>(&'a [Condition]);

impl Serialize for Conditions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut operators: BTreeMap<String, BTreeMap<Cow<'_, str>, _>> = BTreeMap::new();
        for condition in self.0 {
            let keys = operators.entry(condition.operator.to_string()).or_default();
            keys.insert(catalogue::key_spelling(condition.key.as_str()), OneOrList(condition.values()));
        }
        operators.serialize(serializer)
    }
}

/// Sorts the values and removes duplicates.
pub(super) fn sorted<T: Ord>(mut values: Vec<T>) -> Box<[T]> {
    if values.len() > 1 {
        values.sort_unstable();
        values.dedup();
    }
    values.into_boxed_slice()
}

/// A policy document in canonical form.
///
/// Statements are sorted, lists are sorted without duplicates, a single value equals a list of one, an account ID
/// equals the ARN of the account's root, the names of actions and condition keys are compared ignoring case, numbers
/// and booleans in conditions equal their text, an absent Version is 2008-10-17, and an empty Sid is none. Known names
/// are shown in the spelling of AWS, others as written. `==` compares the whole document, including Sid and Id;
/// [`equivalent`](super::equivalent) compares only the access that it gives.
///
/// Sources: IAM User Guide, "Grammar of the IAM JSON policy language" and the pages of the elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    pub(super) version: Version,
    pub(super) id: Option<Box<str>>,
    pub(super) statements: Vec<Statement>,
}

impl Policy {
    /// A policy with these statements. Their positions are those in this list.
    #[must_use]
    pub fn new(version: Version, statements: impl IntoIterator<Item = Statement>) -> Self {
        let numbered = statements.into_iter().zip(1..).map(|(statement, n)| statement.at(n));
        Self::from_parts(version, None, numbered.collect())
    }

    /// Sorts statements with positions and drops exact repetitions.
    pub(super) fn from_parts(version: Version, id: Option<Box<str>>, mut statements: Vec<Statement>) -> Self {
        // The sort is stable, so that the first of equal statements remains.
        statements.sort();
        statements.dedup();
        Self { version, id, statements }
    }

    /// Parses a policy document. It checks the structure that all kinds of policy share, not the form of the texts and
    /// not the rules of one kind.
    ///
    /// # Errors
    /// All problems in the document, each with its element and, for text, its line and column.
    pub fn parse(text: &str) -> Result<Self, Vec<ParseError>> {
        parse::policy_text(text).map(parse::ParsedDocument::into_policy)
    }

    /// Parses a policy document that is already JSON. Duplicate members can no longer be detected.
    ///
    /// # Errors
    /// Like [`Policy::parse`], without line and column.
    pub fn from_value(value: &Value) -> Result<Self, Vec<ParseError>> {
        parse::policy_value(value).map(parse::ParsedDocument::into_policy)
    }

    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The statements in canonical order; [`Statement::position`] gives the order in the document.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Whether there are no statements. AWS does not accept such a policy; delete it instead.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Splits a policy into the statements for which `belongs` is true and the others. Both keep the version and Id.
    #[must_use]
    pub fn split(&self, mut belongs: impl FnMut(&Statement) -> bool) -> (Self, Self) {
        let (ours, others) = self.statements.iter().cloned().partition(|s| belongs(s));
        let half = |statements| Self { version: self.version, id: self.id.clone(), statements };
        (half(ours), half(others))
    }

    /// Merges the statements of both policies into one document with the later version and this policy's Id, or else
    /// the other's. If that raises the version of one policy, its `${` is escaped, so that it remains literal text.
    /// Positions continue: the other's statements come after this policy's.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let version = self.version.max(other.version);
        let last = self.statements.iter().map(Statement::position).max().unwrap_or(0);
        let ours = self.statements.iter().map(|s| s.in_version(self.version, version));
        let theirs = other.statements.iter().map(|s| s.in_version(other.version, version).at(last + s.position()));
        Self::from_parts(version, self.id.clone().or_else(|| other.id.clone()), ours.chain(theirs).collect())
    }

    /// The policy as canonical JSON. `Statement` is always a list; a list of one value is written as that value.
    /// `Display` gives text with `Version` first.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // Serializing cannot fail: all keys are strings.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl fmt::Display for Policy {
    /// Compact JSON; `{:#}` gives indented JSON. Characters above U+00FF are escaped, because IAM accepts no others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() { serde_json::to_string_pretty(self) } else { serde_json::to_string(self) };
        let text = text.map_err(|_| fmt::Error)?;
        if text.is_ascii() {
            return f.write_str(&text);
        }
        let mut rest = text.as_str();
        while let Some(char) = rest.chars().find(|char| *char > '\u{ff}') {
            let (before, after) = rest.split_once(char).unwrap_or((rest, ""));
            f.write_str(before)?;
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(f, "\\u{unit:04x}")?;
            }
            rest = after;
        }
        f.write_str(rest)
    }
}

/// Serializes the members in the usual order.
impl Serialize for Statement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(sid) = &self.sid {
            map.serialize_entry("Sid", sid)?;
        }
        map.serialize_entry("Effect", self.effect.as_str())?;
        if let Some(principal) = &self.principal {
            let name = if principal.inverted { "NotPrincipal" } else { "Principal" };
            map.serialize_entry(name, &Principals(&principal.values))?;
        }
        let name = if self.action.inverted { "NotAction" } else { "Action" };
        let actions = self.action.values.iter().map(|action| catalogue::spelling(action.as_str()));
        map.serialize_entry(name, &OneOrList(actions))?;
        if let Some(resource) = &self.resource {
            let name = if resource.inverted { "NotResource" } else { "Resource" };
            map.serialize_entry(name, &OneOrList(resource.values.iter()))?;
        }
        if !self.condition.is_empty() {
            map.serialize_entry("Condition", &Conditions(&self.condition))?;
        }
        map.end()
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("Version", self.version.as_str())?;
        if let Some(id) = &self.id {
            map.serialize_entry("Id", id)?;
        }
        map.serialize_entry("Statement", &self.statements)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(|errors| {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            serde::de::Error::custom(texts.join("; "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::condition::Test;
    use serde_json::json;

    fn policy(value: &Value) -> Policy {
        Policy::from_value(value).unwrap()
    }

    fn statement(more: &Value) -> Value {
        let mut statement = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"});
        for (name, value) in more.as_object().unwrap() {
            statement[name] = value.clone();
        }
        json!({"Version": "2012-10-17", "Statement": [statement]})
    }

    #[test]
    fn spelling_variants_have_one_canonical_form() {
        let written = policy(&json!({
            "Statement": {
                "Resource": ["b", "a", "b"], "Action": ["S3:getobject"], "Effect": "Allow", "Sid": "",
                "Principal": {"Service": ["x.amazonaws.com"], "AWS": ["arn:aws:iam::111122223333:root", "111122223333"]},
                "Condition": {
                    "NumericEquals": {"S3:Max-Keys": [5]}, "Bool": {"aws:SecureTransport": false},
                },
            },
        }));
        let canonical = json!({
            "Version": "2008-10-17",
            "Statement": [{
                "Effect": "Allow", "Action": "s3:GetObject", "Resource": ["a", "b"],
                "Principal": {"AWS": "111122223333", "Service": "x.amazonaws.com"},
                "Condition": {
                    "Bool": {"aws:SecureTransport": "false"}, "NumericEquals": {"s3:max-keys": "5"},
                },
            }],
        });
        assert_eq!(written.to_value(), canonical);
        assert_eq!(policy(&canonical), written);
        let text = serde_json::to_string(&written).unwrap();
        assert!(text.starts_with(r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"#));
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), written);
    }

    #[test]
    fn policy_text_has_only_characters_that_iam_accepts() {
        let written = Policy::new(Version::V2012, [Statement::allow(["s3:GetObject"], ["arn:aws:s3:::b/é漢/😀"])]);
        let text = written.to_string();
        assert!(text.contains(r#""arn:aws:s3:::b/é\u6f22/\ud83d\ude00""#), "{text}");
        assert_eq!(Policy::parse(&text).unwrap(), written);
    }

    #[test]
    fn policies_with_different_meaning_differ() {
        let base = policy(&statement(&json!({"Principal": {"AWS": "*"}})));
        for other in [
            json!({"Principal": "*"}),
            json!({"Principal": {"AWS": "*"}, "Effect": "Deny"}),
            json!({"Principal": {"AWS": "*"}, "Sid": "a"}),
            json!({"Principal": {"AWS": "*"}, "Resource": "?"}),
            json!({"Principal": {"AWS": "*"}, "Condition": {"Bool": {"a:b": "true"}}}),
        ] {
            assert_ne!(policy(&statement(&other)), base, "{other}");
        }
    }

    #[test]
    fn statements_keep_their_place_in_the_document() {
        let two = |one: &str, two: &str| {
            policy(&json!({"Statement": [
                {"Sid": one, "Effect": "Allow", "Action": "*"}, {"Sid": two, "Effect": "Allow", "Action": "*"},
            ]}))
        };
        let (straight, turned) = (two("A", "B"), two("B", "A"));
        assert_eq!(straight, turned);
        let places = |policy: &Policy| policy.statements().iter().map(Statement::position).collect::<Vec<_>>();
        assert_eq!((places(&straight), places(&turned)), (vec![1, 2], vec![2, 1]));
    }

    #[test]
    fn split_and_merge_are_inverse() {
        let all = Policy::new(
            Version::V2012,
            [
                Statement::allow(["s3:GetObject"], ["arn:aws:s3:::b/*"]).with_sid("BailiwickRead"),
                Statement::deny(["s3:*"], ["*"]).to(Selector::of([Principal::Everyone])).when(Condition::new(
                    Test::Bool,
                    "aws:SecureTransport",
                    ["false"],
                )),
            ],
        );
        let (ours, theirs) = all.split(|s| s.sid().is_some_and(|sid| sid.starts_with("Bailiwick")));
        assert_eq!((ours.statements().len(), theirs.statements().len()), (1, 1));
        assert_eq!(ours.merge(&theirs), all);
        assert!(all.split(|_| true).1.is_empty());
    }

    #[test]
    fn merging_keeps_literal_text_of_the_old_version() {
        let old = Policy::new(Version::V2008, [Statement::allow(["s3:*"], ["arn:aws:s3:::${aws:username}"])]);
        let new = Policy::new(Version::V2012, [Statement::deny(["s3:*"], ["arn:aws:s3:::${aws:username}"])]);
        let merged = old.merge(&new);
        assert_eq!(merged.version(), Version::V2012);
        let resources: Vec<&str> =
            merged.statements().iter().map(|s| s.resource().unwrap().values()[0].as_ref()).collect();
        assert_eq!(resources, ["arn:aws:s3:::${$}{aws:username}", "arn:aws:s3:::${aws:username}"]);
    }
}
