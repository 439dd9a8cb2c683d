//! The meaning of IAM policies: parse, canonicalise, compare, evaluate, lint, measure. Pure: text in, values out.

mod arn;
pub mod catalogue;
mod condition;
mod equivalence;
mod evaluate;
mod json;
mod lint;
mod matching;
mod measure;
mod name;
mod parse;
mod pattern;
mod policy;
mod reach;
mod request;
#[cfg(test)]
mod twin;
mod validate;

pub use arn::{Arn, ArnError, PARTITIONS, is_account_id, root_account};
pub use condition::{Condition, Operator, Qualifier, Test, UnknownOperator};
pub use equivalence::equivalent;
pub use evaluate::{Applied, Attached, Decision, Layer, Outcome, PolicySet, Reason, evaluate};
pub use lint::{Check, Finding, Severity, Subject, lint, lint_together};
pub use measure::{Place, Size, measure, measure_text};
pub use name::{ActionPattern, ConditionKey};
pub use parse::ParseError;
pub use pattern::Pattern;
pub use policy::{Effect, Policy, Principal, Selector, Statement, Version};
pub use reach::{Area, Atom, Reach, Region, Source, reach};
pub use request::{Context, Request, Value};
pub use validate::{PolicyKind, validate, validate_value};
