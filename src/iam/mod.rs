//! The meaning of IAM policies: parse, canonicalise, compare, evaluate, lint, measure. Pure: text in, values out.

mod arn;
mod condition;
mod equivalence;
mod json;
mod measure;
mod name;
mod parse;
mod pattern;
mod policy;

pub use arn::{Arn, ArnError, PARTITIONS, is_account_id, root_account};
pub use condition::{Condition, Operator, Qualifier, Test, UnknownOperator};
pub use equivalence::equivalent;
pub use measure::{Place, Size, measure, measure_text};
pub use name::{ActionPattern, ConditionKey};
pub use parse::ParseError;
pub use pattern::Pattern;
pub use policy::{Effect, Policy, Principal, Selector, Statement, Version};
