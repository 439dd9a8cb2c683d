//! The rows of a difference of access, and what they consist of.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::terms::{ChainStep, DataPlace, Exception, Grantee, Requirement};
use crate::iam::catalogue::{AccessLevel, ServiceEntry};
use crate::iam::{Area, Pattern};

/// Whether access comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It comes.
    Gain,
    /// It goes.
    Loss,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gain => "gain",
            Self::Loss => "loss",
        })
    }
}

/// What actions do, as readers group them.
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
    /// Takes on a role.
    Assume,
    /// What a policy gives whose contents are not known.
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
    /// From one cluster to a role of another, or from outside of the clusters of the spec.
    Cluster,
    /// To everybody.
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
    /// Who.
    pub who: Grantee,
    /// What the actions do.
    pub access: BTreeSet<Group>,
    /// The actions behind.
    #[serde(default)]
    pub actions: Vec<String>,
    /// On what.
    #[serde(rename = "where")]
    pub place: DataPlace,
    /// What is left out.
    #[serde(default)]
    pub except: Vec<Exception>,
    /// What must hold besides.
    #[serde(default)]
    pub conditions: Vec<Requirement>,
    /// The chain: association or annotation, roles, statements.
    pub via: Vec<ChainStep>,
    /// The boundaries that it crosses.
    pub crosses: Vec<Crossing>,
}

pub(super) fn group_of(action: &str) -> Group {
    let (service, name) = action.split_once(':').unwrap_or((action, ""));
    let level = ServiceEntry::of(service).and_then(|s| s.action(name)).map(|a| a.level);
    match level {
        // AWS counts decryption as writing; whoever may decrypt reads.
        _ if action.eq_ignore_ascii_case("kms:Decrypt") => Group::Read,
        Some(AccessLevel::PermissionsManagement) => Group::Permissions,
        _ if name.starts_with("Delete") || name.starts_with("BatchDelete") => Group::Delete,
        Some(AccessLevel::List) => Group::List,
        Some(AccessLevel::Write | AccessLevel::Tagging) | None => Group::Write,
        Some(AccessLevel::Read) => Group::Read,
    }
}

/// The groups of the actions that a pattern matches, without those that are left out. `*` is all there is.
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

/// The open conditions of an area.
pub(super) fn requirements(area: &Area) -> BTreeSet<Requirement> {
    let when = area.when().iter().map(|atom| Requirement::of(atom, false));
    when.chain(area.unless().iter().map(|atom| Requirement::of(atom, true))).collect()
}
