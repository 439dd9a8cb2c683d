//! Where state lives.

mod file;

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

pub use file::FileBackend;

use crate::state::{Entry, Journal, JournalError, State, StateError};

/// Which version of the stored state was read; saving over another one is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// There was none.
    None,
    /// The digest of what was read.
    Digest(crate::document::Digest),
}

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    /// The user and command.
    pub holder: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Since when (RFC 3339).
    pub since: String,
}

/// Why the state's home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The file system failed.
    #[error("{path}: {why}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        why: std::io::Error,
    },
    /// The stored state is unusable.
    #[error("{path}: {why}")]
    State {
        /// Which file.
        path: String,
        /// Why.
        why: StateError,
    },
    /// The journal is unusable.
    #[error("{path}: {why}")]
    Journal {
        /// Which file.
        path: String,
        /// Why.
        why: JournalError,
    },
    /// Somebody else wrote the state since it was read.
    #[error("{path} was changed by somebody else since it was read: nothing was overwritten")]
    Moved {
        /// Which file.
        path: String,
    },
    /// Somebody else holds the lock.
    #[error("{path} is locked by {} on {} (process {}) since {}: wait until it is done", .by.holder, .by.host, .by.pid, .by.since)]
    Locked {
        /// Which file.
        path: String,
        /// Who.
        by: Box<LockInfo>,
    },
    /// The state or an entry has no text form.
    #[error("cannot write the state: {0}")]
    Form(#[from] serde_json::Error),
}

/// What is stored.
#[derive(Debug)]
pub struct Stored {
    /// The state, absent before the first apply.
    pub state: Option<State>,
    /// Its version.
    pub version: Version,
    /// The journal of a run that did not finish.
    pub journal: Journal,
}

/// Held while a run may change the state; given back when dropped.
pub trait LockGuard: Send + Sync {}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// A home of states.
pub trait Backend: Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;
    /// Reads the state and the journal.
    fn load(&self) -> Boxed<'_, Stored>;
    /// Takes the lock, or says who holds it.
    fn lock(&self, info: LockInfo) -> Boxed<'_, Box<dyn LockGuard>>;
    /// Writes entries to the journal. They are durable when it returns.
    fn append<'a>(&'a self, entries: &'a [Entry]) -> Boxed<'a, ()>;
    /// Replaces the state that has this version, durably, and then empties the journal.
    fn save<'a>(&'a self, state: &'a State, over: &'a Version) -> Boxed<'a, Version>;
}
