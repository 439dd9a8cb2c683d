//! Collects the rows of an access difference.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{AccessChange, Crossing, Direction, ExampleRequest, Group};
use super::side::Side;
use crate::access::terms::{ChainStep, DataPlace, Exception, Grantee, PlaceKind, Requirement, StatementRef};
use crate::access::world::Who;
use crate::iam::Source;

/// The key of a row. Rows that differ only in their actions are merged.
type RowKey = (Grantee, Direction, DataPlace, Group, Vec<Exception>, Vec<Requirement>, Vec<ChainStep>, Vec<Crossing>);

#[derive(Default)]
pub(super) struct Changes {
    found: BTreeMap<RowKey, (BTreeSet<String>, Option<ExampleRequest>)>,
}

/// A row to add: a gain or a loss, without the chain and the chain's conditions.
pub(super) struct NewRow<'r> {
    pub direction: Direction,
    pub group: Group,
    pub place: PlaceKind,
    pub except: Vec<Exception>,
    pub conditions: BTreeSet<Requirement>,
    /// The statements that grant the access.
    pub sources: &'r [Source],
    pub crosses: Vec<Crossing>,
    pub actions: BTreeSet<String>,
    pub example: Option<ExampleRequest>,
}

impl NewRow<'_> {
    /// A row without exceptions, conditions and statements.
    pub(super) fn new(direction: Direction, group: Group, place: PlaceKind) -> Self {
        let (except, conditions, actions) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Self { direction, group, place, except, conditions, sources: &[], crosses: Vec::new(), actions, example: None }
    }
}

impl Changes {
    pub(super) fn sorted(self) -> Vec<AccessChange> {
        self.found
            .into_iter()
            .map(|((who, change, place, group, except, conditions, via, crosses), (actions, example))| AccessChange {
                change,
                who,
                access: [group].into(),
                actions: actions.into_iter().collect(),
                place,
                except,
                conditions,
                via,
                crosses,
                example,
            })
            .collect()
    }

    pub(super) fn add(&mut self, who: &Who, side: Side<'_>, row: NewRow<'_>) {
        let NewRow { direction, group, place, except, mut conditions, sources, crosses, actions, example } = row;
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
        let (all, shown) = self.found.entry(key).or_default();
        all.extend(actions);
        *shown = shown.take().or(example);
    }
}
