//! Backends: where the state, the journal and the lock are stored.

mod file;
mod lease;
mod memory;
mod object_store;
mod objects;
#[cfg(feature = "cloud")]
mod s3;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use file::FileBackend;
pub use memory::MemoryObjects;
pub use object_store::{Object, Objects, Precondition};
pub use objects::{ObjectBackend, Settings};
#[cfg(feature = "cloud")]
pub use s3::S3Objects;

use crate::state::{Entry, Journal, JournalError, State, StateError};

/// The version of the stored state that was read. A save over any other version is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredVersion {
    /// There was no state.
    None,
    /// The digest of the bytes that were read.
    Digest(crate::document::Digest),
    /// The store's tag of the version.
    Tag(String),
}

/// The holder of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockInfo {
    /// The user and command.
    pub holder: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The time at which the lock was taken (RFC 3339).
    pub since: String,
    /// The URL of the CI run, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The unique id of this run.
    pub id: String,
}

impl fmt::Display for LockInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} (process {}) since {}", self.holder, self.host, self.pid, self.since)?;
        match &self.run {
            Some(run) => write!(f, ", {run}"),
            None => Ok(()),
        }
    }
}

/// Why the backend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// An operation on the file system failed.
    #[error("{path}: {why}")]
    Io {
        /// The location.
        path: String,
        /// The cause.
        why: std::io::Error,
    },
    /// The stored state is unusable.
    #[error("{path}: {why}; nothing was overwritten")]
    State {
        /// The location.
        path: String,
        /// The cause.
        why: StateError,
    },
    /// The journal is unusable.
    #[error("{path}: {why}; nothing was written")]
    Journal {
        /// The location.
        path: String,
        /// The cause.
        why: JournalError,
    },
    /// An object store failed.
    #[error("cannot {what}: {why}")]
    Store {
        /// The operation; completes "cannot ...".
        what: String,
        /// The cause.
        why: String,
    },
    /// The caller could not be verified.
    #[error(transparent)]
    Session(#[from] crate::session::SessionError),
    /// Another process wrote the state since it was read.
    #[error("another process changed {path} since it was read: nothing was overwritten")]
    Moved {
        /// The location.
        path: String,
    },
    /// Another process holds the lock.
    #[error("{path} is locked by {by}")]
    Locked {
        /// The location.
        path: String,
        /// The holder.
        by: Box<LockInfo>,
    },
    /// This process lost the lock: another one took it over or released it, or its lease expired.
    #[error("lost the lock {path}: {why}; nothing more was started")]
    Lost {
        /// The location.
        path: String,
        /// What happened to the lock.
        why: String,
    },
    /// Another error, and how to get out of it.
    #[error("{why}")]
    Advised {
        /// The problem.
        why: Box<BackendError>,
        /// The next action.
        help: String,
    },
    /// The state or an entry cannot be serialized.
    #[error("cannot write the state: {0}")]
    Form(#[from] serde_json::Error),
}

impl BackendError {
    /// The next action, if there is one to suggest.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Advised { help, .. } => Some(help),
            Self::Session(error) => error.help(),
            Self::Locked { .. } => Some("wait until it is done, or release a stale lock with `bailiwick state unlock`"),
            Self::Io { .. }
            | Self::State { .. }
            | Self::Journal { .. }
            | Self::Store { .. }
            | Self::Moved { .. }
            | Self::Lost { .. }
            | Self::Form(_) => None,
        }
    }

    /// The same with what to do about it.
    fn advised(self, help: impl Into<String>) -> Self {
        Self::Advised { why: Box::new(self), help: help.into() }
    }
}

/// A state that cannot be used, of which earlier versions may be kept.
fn unusable(path: &str, why: StateError, kept: usize, last: Option<String>) -> BackendError {
    let is_edited = matches!(why, StateError::Edited { .. });
    let mut help = match (&why, last) {
        (StateError::Newer { .. }, _) => return BackendError::State { path: path.to_owned(), why },
        (StateError::OtherProject { found, .. }, _) => format!(
            "set the location of this project's state (--state, or `backend` in the spec), or pass the spec of `{found}` \
             with -f"
        ),
        (_, Some(last)) => {
            let kept = if kept == 1 { "1 earlier state is".to_owned() } else { format!("{kept} earlier states are") };
            format!("{kept} kept, the latest in {last}: copy it over {path} to restore it")
        }
        (_, None) => "no earlier state is kept: move it aside and run `bailiwick state rebuild`".to_owned(),
    };
    if is_edited {
        help.push_str("; if the edit was intentional, remove its `digest` line");
    }
    BackendError::State { path: path.to_owned(), why }.advised(help)
}

/// A journal that cannot be used: only it records those calls.
fn unusable_journal(path: String, why: JournalError) -> BackendError {
    let is_newer = matches!(why, JournalError::Newer { .. });
    let error = BackendError::Journal { path, why };
    if is_newer {
        return error;
    }
    error.advised("restore it, or move it aside and run `bailiwick state rebuild` to find what its run created")
}

/// The stored state and journal.
#[derive(Debug)]
pub struct Stored {
    /// The state, absent before the first apply.
    pub state: Option<State>,
    /// The version of the state.
    pub version: StoredVersion,
    /// The journal of a run that did not finish.
    pub journal: Journal,
}

/// Held while a run may change the state. Dropping it releases the lock, or lets the lease expire if a release needs a
/// request.
pub trait LockGuard: Send + Sync + 'static {
    /// Releases the lock.
    #[must_use]
    fn release(self: Box<Self>) -> BackendFuture<'static, ()> {
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}

/// An event of a lock, other than taking and releasing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockNews {
    /// Another run holds the lock; this one watches whether it still renews it.
    Watched {
        /// The holder.
        by: LockInfo,
        /// The longest time until an expired lease is detected.
        at_most: Duration,
    },
    /// The lock was taken over, because its holder did not renew it for a whole lease.
    TakenOver {
        /// The previous holder.
        from: LockInfo,
    },
    /// This process no longer holds the lock.
    Lost {
        /// What happened to the lock.
        why: String,
    },
}

impl fmt::Display for LockNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watched { by, at_most } => {
                write!(
                    f,
                    "the state is locked by {by}: watching for up to {} s whether it still runs",
                    at_most.as_secs()
                )
            }
            Self::TakenOver { from } => {
                write!(f, "took over the expired lock held by {from}")
            }
            Self::Lost { why } => write!(f, "lost the lock of the state: {why}; nothing more is started"),
        }
    }
}

/// Receives lock events, also from the task that renews the lease.
pub type Listener = Arc<dyn Fn(LockNews) + Send + Sync>;

/// The future of a backend call.
pub type BackendFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// Stores the state, the journal and the lock of a project.
///
/// After a lock taken through a backend is lost, that backend refuses to write: [`Backend::append`] and
/// [`Backend::save`] fail with [`BackendError::Lost`]. So no call is made without a journal entry.
pub trait Backend: Send + Sync {
    /// The location of the state, for people.
    fn place(&self) -> String;
    /// Reads the state and the journal.
    fn load(&self) -> BackendFuture<'_, Stored>;
    /// Takes the lock, or fails with its holder.
    fn lock(&self, info: LockInfo) -> BackendFuture<'_, Box<dyn LockGuard>>;
    /// Returns the current holder of the lock, if any.
    fn holder(&self) -> BackendFuture<'_, Option<LockInfo>> {
        Box::pin(async { Ok(None) })
    }
    /// Releases the lock if exactly this holder has it. The holder notices before its next write.
    fn unlock<'a>(&'a self, _holder: &'a LockInfo) -> BackendFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    /// Checks that this process still holds the lock it took. Needed before a call is retried without a new journal
    /// entry.
    fn vouch(&self) -> BackendFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    /// Writes entries to the journal. They are durable when it returns.
    fn append<'a>(&'a self, entries: &'a [Entry]) -> BackendFuture<'a, ()>;
    /// Durably replaces the state if it still has the version `over`, and then empties the journal.
    fn save<'a>(&'a self, state: &'a State, over: &'a StoredVersion) -> BackendFuture<'a, StoredVersion>;
}
