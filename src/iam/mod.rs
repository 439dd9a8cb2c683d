//! The meaning of IAM policies: parse, canonicalize, compare, evaluate, lint, measure. Pure: text in, values out.
//!
//! | question | answer |
//! |---|---|
//! | what is in a document? | [`Policy::parse`]; `==` compares, [`Policy::to_value`] serializes |
//! | would AWS accept it? | [`validate`], [`measure`] |
//! | do two give the same access? | [`compare`], with a request that they decide differently |
//! | is this request allowed? | [`evaluate`] |
//! | what can this caller do, and what does a change add or remove? | [`reach`], [`Reach::minus`], [`gains`] |
//! | is it dangerous, or does it do less than it seems to? | [`lint`] |
//! | which actions and condition keys exist? | [`catalogue`] |
//!
//! Where the AWS documentation is silent or contradicts itself, these are our choices:
//!
//! - `ForAnyValue:...IfExists` does not hold for an absent key: `IfExists` belongs to the comparison of each value.
//! - A key with several values under an operator without `ForAllValues` or `ForAnyValue` never matches, negated or not.
//! - An empty string is null for `Null`, `ForAllValues` and `ForAnyValue`, and an ordinary string elsewhere.
//! - `Bool` compares `true` and `false` in any case, and nothing else. Variables are substituted.
//! - An ARN pattern with fewer than six components is matched as one text; one with six is matched by component.
//! - A variable without a value in `NotResource` excludes nothing. A substituted value has no wildcards.
//! - `Principal: "*"` and `{"AWS": "*"}` name the caller itself: no boundary and no session policy limits the grant,
//!   only a Deny does. The first also names services and identity providers, the second does not; they are never equal.
//! - A `NotPrincipal` with `Deny` that lists a caller without its role or account may apply: the decision is
//!   conditional.
//! - A missing key policy or trust policy makes the decision conditional, and so does a missing policy of the bucket
//!   behind an access point.
//! - Variables are not substituted in `Null` and `BinaryEquals`.
//! - The root user needs no identity-based policy in its own account.
//!
//! [`AWS_RULES`] lists the rules of AWS beyond the policy language, and the points on which its pages contradict each
//! other: there, the answer says so.

mod arn;
pub mod catalogue;
mod compare;
mod condition;
mod decision;
mod evaluate;
mod json;
mod lint;
mod matching;
mod measure;
mod name;
mod parse;
mod pattern;
mod policy;
mod principals;
mod reach;
mod redundant;
mod request;
mod rules;
mod simplify;
mod space;
#[cfg(test)]
mod twin;
mod validate;
mod witness;

pub use arn::{Arn, ArnError, PARTITIONS, is_account_id, root_account};
pub use compare::{PolicyComparison, RegionChange, compare, equivalent, gains, grants, public};
pub use condition::{Condition, Operator, Qualifier, Test, UnknownOperator};
pub use evaluate::{
    AccessPointBucket, Applied, Attached, Decision, DecisionOutcome, DecisionReason, Dependency, DependsOn, Layer,
    PolicySet, evaluate,
};
pub use lint::{Check, Finding, LintSeverity, Subject, lint, lint_together};
pub use measure::{PolicyPlace, Size, measure, measure_text};
pub use name::{ActionPattern, ConditionKey};
pub use parse::ParseError;
pub use pattern::Pattern;
pub use policy::{Effect, Policy, Principal, Selector, Statement, Version};
pub use reach::{AccessRegion, Area, Atom, Reach, Source, reach};
pub use request::{ContextValue, Request, RequestContext};
pub use rules::{AWS_RULES, AwsRule, AwsRuleEntry, behind_access_point, bucket_of, is_without_resource_policy};
pub use simplify::simplify;
pub use validate::{PolicyKind, disagreements, validate, validate_value};
pub use witness::Example;
