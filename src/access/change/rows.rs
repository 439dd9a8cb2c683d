//! The rows of an access difference, and their parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::terms::{ChainStep, DataPlace, Exception, Grantee, Requirement};
use crate::iam::catalogue::{AccessLevel, ServiceEntry};
use crate::iam::{Area, ContextValue, Pattern, Request};

/// Whether access is gained or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Access is gained.
    Gain,
    /// Access is lost.
    Loss,
    /// It cannot be decided whether access changes.
    Unknown,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gain => "gain",
            Self::Loss => "loss",
            Self::Unknown => "unknown",
        })
    }
}

/// A group of actions, as reports show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Reads data or settings.
    Read,
    /// Lists names.
    List,
    /// Changes data, settings or tags.
    Write,
    /// Deletes.
    Delete,
    /// Changes who has access.
    Permissions,
    /// Assumes a role.
    Assume,
    /// Uses the Kubernetes API of a cluster.
    Cluster,
    /// Unknown: the policy has not been read.
    Unknown,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Permissions => "permissions",
            Self::Assume => "assume",
            Self::Cluster => "cluster",
            Self::Unknown => "unknown",
        })
    }
}

/// A boundary that access crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Crossing {
    /// From one account into another.
    Account,
    /// From one cluster to a role of another cluster, or from outside the clusters of the spec.
    Cluster,
    /// To everyone.
    Public,
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Cluster => "cluster",
            Self::Public => "public",
        })
    }
}

/// One gain or loss.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct AccessChange {
    /// Whether access is gained or lost.
    pub change: Direction,
    /// The principal.
    pub who: Grantee,
    /// The groups of the actions.
    pub access: BTreeSet<Group>,
    /// The actions.
    #[serde(default)]
    pub actions: Vec<String>,
    /// The place.
    #[serde(rename = "where")]
    pub place: DataPlace,
    /// The exceptions.
    #[serde(default)]
    pub except: Vec<Exception>,
    /// The conditions under which the change applies.
    #[serde(default)]
    pub conditions: Vec<Requirement>,
    /// The chain: associations or annotations, roles, statements.
    pub via: Vec<ChainStep>,
    /// The boundaries that the access crosses.
    pub crosses: Vec<Crossing>,
    /// A request that shows the change: one side allows it and the other denies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<ExampleRequest>,
}

impl AccessChange {
    /// The change without its actions and its example, for comparison.
    pub(super) fn without_actions(&self) -> Self {
        Self { access: BTreeSet::new(), actions: Vec::new(), example: None, ..self.clone() }
    }
}

/// A request, in the form that `policy eval --jsonl` reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ExampleRequest {
    /// The caller.
    pub principal: String,
    /// The action.
    pub action: String,
    /// The ARN of the resource.
    pub resource: String,
    /// The account that owns the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_account: Option<String>,
    /// The condition keys of the request. All others are absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, ExampleValue>,
}

/// The value of a condition key in an example.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ExampleValue {
    /// One value.
    One(String),
    /// The values of a multivalued key.
    Many(Vec<String>),
}

impl From<&Request> for ExampleRequest {
    fn from(request: &Request) -> Self {
        let value = |key: &str| match request.context.get(key)? {
            ContextValue::One(text) => Some(ExampleValue::One(text.clone())),
            ContextValue::Many(texts) => Some(ExampleValue::Many(texts.clone())),
            ContextValue::Varies => None,
        };
        let keys = request.context.keys().into_iter();
        Self {
            principal: request.principal.clone(),
            action: request.action.clone(),
            resource: request.resource.clone(),
            resource_account: request.resource_account.clone(),
            context: keys.filter_map(|key| Some((key.to_owned(), value(key)?))).collect(),
        }
    }
}

pub(super) fn group_of(action: &str) -> Group {
    let (service, name) = action.split_once(':').unwrap_or((action, ""));
    let level = ServiceEntry::of(service).and_then(|s| s.action(name)).map(|a| a.level);
    match level {
        // AWS classifies decryption as a write action, but it serves reading.
        _ if action.eq_ignore_ascii_case("kms:Decrypt") => Group::Read,
        Some(AccessLevel::PermissionsManagement) => Group::Permissions,
        _ if name.starts_with("Delete") || name.starts_with("BatchDelete") => Group::Delete,
        Some(AccessLevel::List) => Group::List,
        Some(AccessLevel::Write | AccessLevel::Tagging) | None => Group::Write,
        Some(AccessLevel::Read) => Group::Read,
    }
}

/// The groups of the actions that match a pattern, without the excluded ones. `*` belongs to all groups.
pub(super) fn groups_of(action: &str, but: &[Pattern]) -> BTreeSet<Group> {
    let Some((service, name)) = action.split_once(':') else {
        return [Group::Read, Group::List, Group::Write, Group::Delete, Group::Permissions].into();
    };
    let Some(known) = ServiceEntry::of(service) else { return [Group::Write].into() };
    let groups: BTreeSet<Group> = known
        .matching(name)
        .map(|action| format!("{}:{}", known.prefix, action.name))
        .filter(|action| !but.iter().any(|p| p.matches(&action.to_ascii_lowercase())))
        .map(|action| group_of(&action))
        .collect();
    if groups.is_empty() { [Group::Write].into() } else { groups }
}

/// The unknown conditions of an area.
pub(super) fn requirements(area: &Area) -> BTreeSet<Requirement> {
    let when = area.when().iter().map(|atom| Requirement::of(atom, false));
    when.chain(area.unless().iter().map(|atom| Requirement::of(atom, true))).collect()
}
