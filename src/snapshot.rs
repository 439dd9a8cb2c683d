//! What was seen live, at one moment.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::document::{Digest, Document};

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
        self.seen.get(address).cloned().unwrap_or_else(|| Seen::Unreadable { why: "it was not looked at".into() })
    }
}
