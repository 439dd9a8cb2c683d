//! What was seen live, at one moment.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::address::Address;
use crate::document::{Digest, Document};
#[cfg(doc)]
use crate::kind::UNIQUE_ID;

/// The result of observing one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It does not exist.
    Absent,
    /// It exists.
    Present {
        /// All that was read, other people's parts included.
        body: Document,
        /// The project whose ownership tag it carries, if any.
        owner: Option<String>,
    },
    /// It could not be read. That is not the same as absent.
    Unreadable {
        /// Why.
        why: String,
        /// What kept it from being read, for programs.
        cause: ReadFailure,
    },
}

/// What kept something from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// The API denied it.
    Denied,
    /// There was no response at all, so that nothing of that place can be known.
    Unreachable,
    /// Anything else.
    Other,
}

impl Seen {
    /// The digest of what was read, by which a later read detects changes. Nothing for an absent resource.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Digest> {
        match self {
            Self::Present { body, .. } => Some(body.digest()),
            _ => None,
        }
    }

    /// The id that the service gave the resource and never reuses, if it shows one.
    #[must_use]
    pub fn unique_id(&self) -> Option<String> {
        match self {
            Self::Present { body, .. } => unique_id(body),
            _ => None,
        }
    }
}

/// The id in a live body that the service gave the resource and never reuses, if it shows one.
#[must_use]
pub fn unique_id(body: &Document) -> Option<String> {
    /// What every kind calls the id ([`UNIQUE_ID`]).
    #[derive(Deserialize)]
    struct Identified {
        unique_id: Option<String>,
    }
    body.read::<Identified>().ok()?.unique_id
}

/// Everything that was observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// By address.
    pub seen: BTreeMap<Address, Seen>,
}

impl Snapshot {
    /// What was observed at an address. Addresses that were not requested count as not read.
    #[must_use]
    pub fn at(&self, address: &Address) -> Seen {
        self.seen
            .get(address)
            .cloned()
            .unwrap_or_else(|| Seen::Unreadable { why: "it was not read".into(), cause: ReadFailure::Other })
    }
}
