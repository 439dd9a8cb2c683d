//! Condition operators and single conditions.
//!
//! Source: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Multivalued context keys".

use std::fmt;
use std::str::FromStr;

use super::name::ConditionKey;
use super::policy::Version;

/// The comparison of an operator, without qualifier and `IfExists`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test {
    ArnEquals,
    ArnLike,
    ArnNotEquals,
    ArnNotLike,
    BinaryEquals,
    Bool,
    DateEquals,
    DateGreaterThan,
    DateGreaterThanEquals,
    DateLessThan,
    DateLessThanEquals,
    DateNotEquals,
    IpAddress,
    NotIpAddress,
    Null,
    NumericEquals,
    NumericGreaterThan,
    NumericGreaterThanEquals,
    NumericLessThan,
    NumericLessThanEquals,
    NumericNotEquals,
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    StringNotEquals,
    StringNotEqualsIgnoreCase,
    StringNotLike,
}

impl Test {
    /// All comparisons with their names in a policy, sorted by name.
    pub const ALL: &'static [(&'static str, Test)] = &[
        ("ArnEquals", Test::ArnEquals),
        ("ArnLike", Test::ArnLike),
        ("ArnNotEquals", Test::ArnNotEquals),
        ("ArnNotLike", Test::ArnNotLike),
        ("BinaryEquals", Test::BinaryEquals),
        ("Bool", Test::Bool),
        ("DateEquals", Test::DateEquals),
        ("DateGreaterThan", Test::DateGreaterThan),
        ("DateGreaterThanEquals", Test::DateGreaterThanEquals),
        ("DateLessThan", Test::DateLessThan),
        ("DateLessThanEquals", Test::DateLessThanEquals),
        ("DateNotEquals", Test::DateNotEquals),
        ("IpAddress", Test::IpAddress),
        ("NotIpAddress", Test::NotIpAddress),
        ("Null", Test::Null),
        ("NumericEquals", Test::NumericEquals),
        ("NumericGreaterThan", Test::NumericGreaterThan),
        ("NumericGreaterThanEquals", Test::NumericGreaterThanEquals),
        ("NumericLessThan", Test::NumericLessThan),
        ("NumericLessThanEquals", Test::NumericLessThanEquals),
        ("NumericNotEquals", Test::NumericNotEquals),
        ("StringEquals", Test::StringEquals),
        ("StringEqualsIgnoreCase", Test::StringEqualsIgnoreCase),
        ("StringLike", Test::StringLike),
        ("StringNotEquals", Test::StringNotEquals),
        ("StringNotEqualsIgnoreCase", Test::StringNotEqualsIgnoreCase),
        ("StringNotLike", Test::StringNotLike),
    ];

    /// The name in a policy.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, test)| *test == self).map_or("", |(name, _)| name)
    }

    /// Whether the operator is negated: it matches if none of its values does, and if the key is absent.
    #[must_use]
    pub fn is_negated(self) -> bool {
        matches!(
            self,
            Test::ArnNotEquals
                | Test::ArnNotLike
                | Test::DateNotEquals
                | Test::NotIpAddress
                | Test::NumericNotEquals
                | Test::StringNotEquals
                | Test::StringNotEqualsIgnoreCase
                | Test::StringNotLike
        )
    }
}

/// `ForAllValues:` or `ForAnyValue:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qualifier {
    ForAllValues,
    ForAnyValue,
}

/// A condition operator, for example `ForAnyValue:StringLikeIfExists`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operator {
    pub test: Test,
    pub qualifier: Option<Qualifier>,
    pub if_exists: bool,
}

/// A name that is not a condition operator. Case matters: IAM rejects `stringEquals` as "Invalid Condition type".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a condition operator")]
pub struct UnknownOperator(pub String);

impl FromStr for Operator {
    type Err = UnknownOperator;

    fn from_str(text: &str) -> Result<Self, UnknownOperator> {
        let (qualifier, rest) = if let Some(rest) = text.strip_prefix("ForAllValues:") {
            (Some(Qualifier::ForAllValues), rest)
        } else if let Some(rest) = text.strip_prefix("ForAnyValue:") {
            (Some(Qualifier::ForAnyValue), rest)
        } else {
            (None, text)
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let found = Test::ALL.binary_search_by(|(known, _)| known.cmp(&name));
        let Some((_, known)) = found.ok().and_then(|at| Test::ALL.get(at)) else {
            return Err(UnknownOperator(text.to_owned()));
        };
        Ok(Self { test: *known, qualifier, if_exists })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.qualifier {
            Some(Qualifier::ForAllValues) => f.write_str("ForAllValues:")?,
            Some(Qualifier::ForAnyValue) => f.write_str("ForAnyValue:")?,
            None => {}
        }
        f.write_str(self.test.name())?;
        if self.if_exists { f.write_str("IfExists") } else { Ok(()) }
    }
}

impl From<Test> for Operator {
    fn from(test: Test) -> Self {
        Self { test, qualifier: None, if_exists: false }
    }
}

/// One operator, one key, and the values. All conditions of a statement must hold; the values are alternatives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Condition {
    pub(super) operator: Operator,
    pub(super) key: ConditionKey,
    pub(super) values: Box<[Box<str>]>,
}

impl Condition {
    /// A condition. The values are sorted and duplicates removed.
    #[must_use]
    pub fn new<I>(operator: impl Into<Operator>, key: impl Into<ConditionKey>, values: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Box<str>>,
    {
        Self {
            operator: operator.into(),
            key: key.into(),
            values: super::policy::sorted(values.into_iter().map(Into::into).collect()),
        }
    }

    /// The condition as a policy of Version 2012-10-17 writes it: `${` is literal text in older ones.
    pub(super) fn in_version_2012(&self, version: Version) -> Self {
        let mut condition = self.clone();
        if version == Version::V2008 {
            for value in condition.values.iter_mut().filter(|value| value.contains("${")) {
                *value = value.replace("${", "${$}{").into();
            }
        }
        condition
    }

    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    #[must_use]
    pub fn key(&self) -> &ConditionKey {
        &self.key
    }

    /// The values as text, including numbers and booleans of the document.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.values.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_round_trips_through_its_text() {
        assert!(Test::ALL.is_sorted_by_key(|(name, _)| *name));
        for (name, test) in Test::ALL {
            for prefix in ["", "ForAllValues:", "ForAnyValue:"] {
                for suffix in ["", "IfExists"] {
                    let text = format!("{prefix}{name}{suffix}");
                    let operator: Operator = text.parse().unwrap();
                    assert_eq!(operator.to_string(), text);
                    assert_eq!(operator.test, *test);
                }
            }
        }
        for wrong in ["StringEqual", "stringEquals", "IfExists", "ForAllValues:", "x:StringEquals"] {
            assert_eq!(wrong.parse::<Operator>(), Err(UnknownOperator(wrong.to_owned())));
        }
    }
}
