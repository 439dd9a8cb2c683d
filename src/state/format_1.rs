//! States and journal lines of format 1, which versions up to 0.1.0 wrote. They are read and never written.
//!
//! In this format a deposed object is nested in the object that replaced it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ActionKind, Deposed, Entry, Happening, Lineage};
use crate::address::{Address, Scope};
use crate::document::{Digest, Document};
use crate::kind::Reference;
use crate::spec::OnDestroy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstState {
    #[serde(rename = "format")]
    _format: u32,
    project: String,
    lineage: Lineage,
    serial: u64,
    tool_version: String,
    #[serde(default)]
    fence: u64,
    #[serde(default, rename = "digest")]
    _digest: Option<Digest>,
    resources: BTreeMap<Address, FirstOwned>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstOwned {
    scope: Scope,
    physical_id: String,
    #[serde(default)]
    adopted: bool,
    #[serde(default)]
    body: Option<Document>,
    #[serde(default)]
    fingerprint: Option<Digest>,
    #[serde(default)]
    unique_id: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
    #[serde(default)]
    on_destroy: OnDestroy,
    #[serde(default)]
    protect: bool,
    #[serde(default)]
    former: Option<Box<FirstOwned>>,
}

impl FirstOwned {
    /// Splits into the object and the objects that its address named before, newest first.
    fn apart(self) -> (super::Owned, Vec<super::Owned>) {
        let Self { scope, physical_id, adopted, body, fingerprint, unique_id, references, on_destroy, protect, former } =
            self;
        let mut before = Vec::new();
        if let Some(former) = former {
            let (newest, older) = former.apart();
            before.push(newest);
            before.extend(older);
        }
        let object =
            super::Owned { scope, physical_id, adopted, body, fingerprint, unique_id, references, on_destroy, protect };
        (object, before)
    }
}

impl From<FirstState> for super::State {
    fn from(state: FirstState) -> Self {
        let FirstState { _format: _, project, lineage, serial, tool_version, fence, _digest: _, resources } = state;
        let mut now = Self::new(&project, lineage);
        (now.format, now.serial, now.tool_version, now.fence) = (1, serial, tool_version, fence);
        for (address, owned) in resources {
            let (owned, before) = owned.apart();
            if !before.is_empty() {
                now.deposed.insert(address.clone(), before.into_iter().map(Deposed::new).collect());
            }
            now.resources.insert(address, owned);
        }
        now
    }
}

/// A journal line.
#[derive(Deserialize)]
pub(super) struct Line {
    state: (String, u64),
    at: String,
    address: Address,
    happening: Happened,
}

#[derive(Deserialize)]
#[serde(tag = "happening", rename_all = "snake_case")]
enum Happened {
    Begin {
        action: String,
        #[serde(default)]
        creates: Option<Box<FirstOwned>>,
    },
    End {
        owned: Option<Box<FirstOwned>>,
    },
    FormerGone,
    Failed {
        why: String,
        certain: bool,
    },
}

impl From<Line> for Entry {
    fn from(line: Line) -> Self {
        let Line { state, at, address, happening } = line;
        let apart = |owned: Option<Box<FirstOwned>>| {
            owned.map_or((None, Vec::new()), |owned| {
                let (object, before) = owned.apart();
                (Some(Box::new(object)), before)
            })
        };
        let happening = match happening {
            Happened::Begin { action, creates } => {
                let (creates, deposes) = apart(creates);
                let action = match action.as_str() {
                    "create" => ActionKind::Create,
                    "delete" => ActionKind::Delete,
                    "adopt" => ActionKind::Adopt,
                    "forget" => ActionKind::Release,
                    // A replacement was two steps with the same name. `creates` holds the new object.
                    _ => ActionKind::Update,
                };
                Happening::Begin { action, creates, deposes }
            }
            Happened::End { owned } => {
                let (owned, deposes) = apart(owned);
                Happening::End { owned, deposes }
            }
            Happened::FormerGone => Happening::NewestDeposedGone,
            Happened::Failed { why, certain } => Happening::Failed { why, certain },
        };
        Self { v: 1, state, at, address, deposed: None, happening }
    }
}
