//! The snapshot: everything that one run observed.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::address::Address;
use crate::document::{Digest, Document};
#[cfg(doc)]
use crate::kind::UNIQUE_ID;

/// The result of observing one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The resource does not exist.
    Absent,
    /// The resource exists.
    Present {
        /// Everything that was read, including other parties' parts.
        body: Document,
        /// The project whose ownership tag it carries, if any.
        owner: Option<String>,
    },
    /// The resource could not be read. That is different from absent.
    Unreadable {
        /// The reason in words.
        why: String,
        /// The reason for programs.
        cause: ReadFailure,
    },
}

/// The reason why a read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// The API denied the read.
    Denied,
    /// The service did not respond, so nothing in that place can be read.
    Unreachable,
    /// Any other reason.
    Other,
}

impl Seen {
    /// The digest of everything read, by which a later read detects changes. `None` unless the resource exists.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Digest> {
        match self {
            Self::Present { body, .. } => Some(body.digest()),
            _ => None,
        }
    }

    /// The unique id of the resource, if it shows one.
    #[must_use]
    pub fn unique_id(&self) -> Option<String> {
        match self {
            Self::Present { body, .. } => unique_id(body),
            _ => None,
        }
    }
}

/// The unique id in a live body, if it shows one.
#[must_use]
pub fn unique_id(body: &Document) -> Option<String> {
    /// The field that every kind uses for the id ([`UNIQUE_ID`]).
    #[derive(Deserialize)]
    struct Identified {
        unique_id: Option<String>,
    }
    body.read::<Identified>().ok()?.unique_id
}

/// Everything that was observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The observed resources, by address.
    pub seen: BTreeMap<Address, Seen>,
}

impl Snapshot {
    /// The observation of an address. An address that was not requested is unreadable.
    #[must_use]
    pub fn at(&self, address: &Address) -> Seen {
        self.seen
            .get(address)
            .cloned()
            .unwrap_or_else(|| Seen::Unreadable { why: "it was not read".into(), cause: ReadFailure::Other })
    }
}
