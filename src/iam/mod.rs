//! The meaning of IAM policies: parse, canonicalise, compare, evaluate, lint, measure. Pure: text in, values out.
//!
//! | question | answer |
//! |---|---|
//! | what does a document say? | [`Policy::parse`]; `==` compares, [`Policy::to_value`] shows |
//! | would AWS take it? | [`validate`], [`measure`] |
//! | do two say the same? | [`equivalent`], and why not: [`differences`] |
//! | may this request go through? | [`evaluate`] |
//! | what may this caller do at all, and what changes? | [`reach`], [`Reach::minus`] |
//! | is it dangerous, or does it not do what it seems to? | [`lint`] |
//! | which actions and keys are there? | [`catalogue`] |
//!
//! Where the documentation of AWS is silent or contradicts itself, the choices are these:
//!
//! - `ForAnyValue:...IfExists` does not hold for an absent key: `IfExists` belongs to the comparison of each value.
//! - A key with several values under an operator without `ForAllValues` or `ForAnyValue` never matches, inverted or not.
//! - An empty text is null for `Null`, `ForAllValues` and `ForAnyValue`, and a text like any other elsewhere.
//! - `Bool` compares `true` and `false` in any case, and nothing else. A variable is filled in.
//! - An ARN pattern with fewer than six components is matched as one text; one with six, component by component.
//! - A variable without value in `NotResource` leaves nothing out. A value that fills in a variable has no wildcards.
//! - `Principal: "*"` and `{"AWS": "*"}` name the caller itself: no boundary and no session policy limits the grant, only a
//!   Deny does. The first also names services and identity providers, the second does not; they are never equal.
//! - A `NotPrincipal` with `Deny` that lists a caller without its role or account may apply: the decision is conditional.
//! - A key policy or trust policy that is not given makes the decision conditional.
//! - The root user needs no identity-based policy in its own account.

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
pub use equivalence::{Unmatched, differences, equivalent};
pub use evaluate::{Applied, Attached, Decision, DecisionOutcome, DecisionReason, Layer, PolicySet, evaluate};
pub use lint::{Check, Finding, LintSeverity, Subject, lint, lint_together};
pub use measure::{PolicyPlace, Size, measure, measure_text};
pub use name::{ActionPattern, ConditionKey};
pub use parse::ParseError;
pub use pattern::Pattern;
pub use policy::{Effect, Policy, Principal, Selector, Statement, Version};
pub use reach::{AccessRegion, Area, Atom, Reach, Source, reach};
pub use request::{ContextValue, Request, RequestContext};
pub use validate::{PolicyKind, validate, validate_value};
