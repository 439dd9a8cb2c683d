//! Where state lives.

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

/// Which version of the stored state was read; saving over another one is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredVersion {
    /// There was none.
    None,
    /// The digest of what was read.
    Digest(crate::document::Digest),
    /// What the store calls it.
    Tag(String),
}

/// Who holds the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockInfo {
    /// The user and command.
    pub holder: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Since when (RFC 3339).
    pub since: String,
    /// The page of the CI run, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Tells this run from every other one.
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
    #[error("{path}: {why}; nothing was overwritten")]
    State {
        /// Which file.
        path: String,
        /// Why.
        why: StateError,
    },
    /// The journal is unusable.
    #[error("{path}: {why}; nothing was written")]
    Journal {
        /// Which file.
        path: String,
        /// Why.
        why: JournalError,
    },
    /// A store of objects failed.
    #[error("cannot {what}: {why}")]
    Store {
        /// What was to be done; completes "cannot ...".
        what: String,
        /// Why not.
        why: String,
    },
    /// The caller is not who the spec says.
    #[error(transparent)]
    Session(#[from] crate::session::SessionError),
    /// Another process wrote the state since it was read.
    #[error("another process changed {path} since it was read: nothing was overwritten")]
    Moved {
        /// Which file.
        path: String,
    },
    /// Another process holds the lock.
    #[error("{path} is locked by {by}")]
    Locked {
        /// Which file.
        path: String,
        /// Who.
        by: Box<LockInfo>,
    },
    /// This process lost the lock: another one took it over or released it, or its lease expired.
    #[error("lost the lock {path}: {why}; nothing more was started")]
    Lost {
        /// Which lock.
        path: String,
        /// What happened to it.
        why: String,
    },
    /// Another error, and how to get out of it.
    #[error("{why}")]
    Advised {
        /// The problem.
        why: Box<BackendError>,
        /// What to do.
        help: String,
    },
    /// The state or an entry has no text form.
    #[error("cannot write the state: {0}")]
    Form(#[from] serde_json::Error),
}

impl BackendError {
    /// What to do about it.
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

/// What is stored.
#[derive(Debug)]
pub struct Stored {
    /// The state, absent before the first apply.
    pub state: Option<State>,
    /// Its version.
    pub version: StoredVersion,
    /// The journal of a run that did not finish.
    pub journal: Journal,
}

/// Held while a run may change the state. Dropping it gives it back, or lets it run out where giving back needs a request.
pub trait LockGuard: Send + Sync + 'static {
    /// Gives it back.
    #[must_use]
    fn release(self: Box<Self>) -> BackendFuture<'static, ()> {
        Box::pin(async move {
            drop(self);
            Ok(())
        })
    }
}

/// What happens to a lock besides being taken and given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockNews {
    /// Somebody holds it; whether they still live is about to be seen.
    Watched {
        /// Who.
        by: LockInfo,
        /// How long it takes at most to see that they do not.
        at_most: Duration,
    },
    /// It was taken over: its holder did not renew it for a whole lease.
    TakenOver {
        /// From whom.
        from: LockInfo,
    },
    /// This process no longer holds it.
    Lost {
        /// What happened to it.
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

/// Hears news of a lock, also from the task that keeps it alive.
pub type Listener = Arc<dyn Fn(LockNews) + Send + Sync>;

/// What a backend's futures are.
pub type BackendFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// A home of states.
///
/// Once a lock was taken through a backend, the same backend writes nothing more when that lock is lost: [`Backend::append`]
/// and [`Backend::save`] then fail with [`BackendError::Lost`], so that no call is made for which they were to vouch.
pub trait Backend: Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;
    /// Reads the state and the journal.
    fn load(&self) -> BackendFuture<'_, Stored>;
    /// Takes the lock, or says who holds it.
    fn lock(&self, info: LockInfo) -> BackendFuture<'_, Box<dyn LockGuard>>;
    /// Who holds the lock now, if anybody does.
    fn holder(&self) -> BackendFuture<'_, Option<LockInfo>> {
        Box::pin(async { Ok(None) })
    }
    /// Releases the lock of exactly this holder, which notices before its next write.
    fn unlock<'a>(&'a self, _holder: &'a LockInfo) -> BackendFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    /// Whether the lock that was taken is still ours: asked before a call is repeated for which no new entry is written.
    fn vouch(&self) -> BackendFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    /// Writes entries to the journal. They are durable when it returns.
    fn append<'a>(&'a self, entries: &'a [Entry]) -> BackendFuture<'a, ()>;
    /// Replaces the state that has this version, durably, and then empties the journal.
    fn save<'a>(&'a self, state: &'a State, over: &'a StoredVersion) -> BackendFuture<'a, StoredVersion>;
}
