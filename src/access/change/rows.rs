//! The rows of a difference of access, and what they consist of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::side::Side;
use crate::access::terms::{ChainStep, DataPlace, Exception, Grantee, PlaceKind, Requirement, StatementRef};
use crate::access::world::Who;
use crate::iam::catalogue::{AccessLevel, ServiceEntry};
use crate::iam::{Area, Pattern, Source};

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

/// Rows that differ in their actions alone are one.
type RowKey = (Grantee, Direction, DataPlace, Group, Vec<Exception>, Vec<Requirement>, Vec<ChainStep>, Vec<Crossing>);

#[derive(Default)]
pub(super) struct Changes {
    found: BTreeMap<RowKey, BTreeSet<String>>,
}

/// A row to be added: what is gained or lost, without the chain and its conditions.
pub(super) struct NewRow<'r> {
    pub direction: Direction,
    pub group: Group,
    pub place: PlaceKind,
    pub except: Vec<Exception>,
    pub conditions: BTreeSet<Requirement>,
    /// The statements behind.
    pub sources: &'r [Source],
    pub crosses: Vec<Crossing>,
    pub actions: BTreeSet<String>,
}

impl NewRow<'_> {
    /// A row without exceptions, conditions and statements.
    pub(super) fn new(direction: Direction, group: Group, place: PlaceKind) -> Self {
        let (except, conditions, actions) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Self { direction, group, place, except, conditions, sources: &[], crosses: Vec::new(), actions }
    }
}

impl Changes {
    pub(super) fn sorted(self) -> Vec<AccessChange> {
        self.found
            .into_iter()
            .map(|((who, change, place, group, except, conditions, via, crosses), actions)| AccessChange {
                change,
                who,
                access: [group].into(),
                actions: actions.into_iter().collect(),
                place,
                except,
                conditions,
                via,
                crosses,
            })
            .collect()
    }

    pub(super) fn add(&mut self, who: &Who, side: Side<'_>, row: NewRow<'_>) {
        let NewRow { direction, group, place, except, mut conditions, sources, crosses, actions } = row;
        let mut via = Vec::new();
        if let Some(chain) = side.chain {
            conditions.extend(chain.conditions.iter().cloned());
            via.extend(chain.steps.iter().cloned());
        }
        for source in sources {
            let statement = ChainStep::Statement { statement: StatementRef::source(source) };
            if !via.contains(&statement) {
                via.push(statement);
            }
        }
        let (who, conditions) = (side.world.grantee(who), conditions.into_iter().collect());
        let key = (who, direction, place.into(), group, except, conditions, via, crosses);
        self.found.entry(key).or_default().extend(actions);
    }
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
