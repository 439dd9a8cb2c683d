//! The answers to comparisons of policies, in their published form.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::access::{AccessChange, ExampleRequest};
use crate::iam::{PolicyComparison, RegionChange};

/// The answer to a comparison.
#[derive(Serialize)]
pub struct Compared<'a> {
    pub id: Option<&'a RawValue>,
    /// `None` if neither a request that both decide differently nor a proof was found.
    pub equivalent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<ExampleRequest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<String>,
}

impl<'a> Compared<'a> {
    pub fn new(id: Option<&'a RawValue>, comparison: &PolicyComparison) -> Self {
        let (equivalent, example, undecided) = match comparison {
            PolicyComparison::Equal => (Some(true), None, Vec::new()),
            PolicyComparison::Differ(request) => (Some(false), Some(ExampleRequest::from(&**request)), Vec::new()),
            PolicyComparison::Undecided(changes) => (None, None, undecided(changes)),
        };
        Self { id, equivalent, example, undecided }
    }
}

/// The regions in which it cannot be decided whether access changes.
pub fn undecided(changes: &[RegionChange]) -> Vec<String> {
    let open = changes.iter().filter(|change| change.example.is_none());
    open.map(|change| change.region.to_string()).collect()
}

/// What was found: access, none, or neither.
#[derive(Serialize)]
pub struct FoundAccess<'a> {
    pub id: Option<&'a RawValue>,
    #[serde(skip)]
    pub some: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<ExampleRequest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<String>,
}

impl<'a> FoundAccess<'a> {
    pub fn new(id: Option<&'a RawValue>, found: &[RegionChange]) -> Self {
        let example = found.iter().find_map(|change| change.example.as_ref()).map(ExampleRequest::from);
        let undecided = undecided(found);
        let some = if example.is_some() { Some(true) } else { undecided.is_empty().then_some(false) };
        Self { id, some, example, undecided }
    }
}

#[derive(Serialize)]
pub struct Implied<'a> {
    #[serde(flatten)]
    pub asked: FoundAccess<'a>,
    /// Whether the reference allows everything that the candidate allows.
    pub implied: Option<bool>,
}

#[derive(Serialize)]
pub struct Granted<'a> {
    #[serde(flatten)]
    pub asked: FoundAccess<'a>,
    pub granted: Option<bool>,
}

#[derive(Serialize)]
pub struct PublicAnswer<'a> {
    #[serde(flatten)]
    pub asked: FoundAccess<'a>,
    pub public: Option<bool>,
}

#[derive(Serialize)]
pub struct Simplified<'a> {
    pub id: Option<&'a RawValue>,
    pub policy: serde_json::Value,
}

#[derive(Serialize)]
pub struct ChangedRows<'a> {
    pub id: Option<&'a RawValue>,
    pub rows: Vec<AccessChange>,
    /// The regions in which it cannot be decided whether access changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<String>,
}
