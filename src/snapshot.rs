//! What was seen live, at one moment.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::address::Address;
use crate::document::{Digest, Document};
#[cfg(doc)]
use crate::kind::UNIQUE_ID;

/// What looking at one thing gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It does not exist.
    Absent,
    /// It exists.
    Present {
        /// All that was read, other people's parts included.
        body: Document,
        /// The project that marks it as its own, if any does.
        owner: Option<String>,
    },
    /// It could not be looked at. That is not the same as absent.
    Unreadable {
        /// Why.
        why: String,
        /// Whether nobody answered at all, so that nothing of that place can be known.
        unreachable: bool,
    },
}

impl Seen {
    /// The digest of what was read, by which a later look tells whether anything moved. Nothing for an absent thing.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Digest> {
        match self {
            Self::Present { body, .. } => Some(body.digest()),
            _ => None,
        }
    }

    /// The id that the service gave the thing and never gives again, if it tells one.
    #[must_use]
    pub fn unique_id(&self) -> Option<String> {
        match self {
            Self::Present { body, .. } => unique_id(body),
            _ => None,
        }
    }
}

/// The id in a live body that the service gave the thing and never gives again, if it tells one.
#[must_use]
pub fn unique_id(body: &Document) -> Option<String> {
    /// What every kind calls the id ([`UNIQUE_ID`]).
    #[derive(Deserialize)]
    struct Identified {
        unique_id: Option<String>,
    }
    body.read::<Identified>().ok()?.unique_id
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// By address.
    pub seen: BTreeMap<Address, Seen>,
}

impl Snapshot {
    /// What was seen at an address. What was not asked for was not looked at.
    #[must_use]
    pub fn at(&self, address: &Address) -> Seen {
        self.seen
            .get(address)
            .cloned()
            .unwrap_or_else(|| Seen::Unreadable { why: "it was not read".into(), unreachable: false })
    }
}
