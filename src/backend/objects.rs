//! State in an object store: the protocol, independent of the store.
//!
//! Objects below the prefix and the project's name:
//!
//! - `state.json`: the state, replaced only if it still has the version that was read;
//! - `earlier/<serial>-<version>.json`: the earlier states;
//! - `lock.json`: the lock, see [`super::lease`];
//! - `journal/<serial>-<lineage>/<fence>-<n>.jsonl`: journal lines, the batches of one holder numbered from 0.
//!
//! A run that takes the lock from a holder that may still be active first seals the state: it rewrites the state with
//! the new fencing number, so that the other run can no longer replace the version that it read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};

use super::lease::{Before, Kept, Lease, holder, unlock};
use super::object_store::{Object, Objects, Precondition};
use super::{
    Backend, BackendError, BackendFuture, Listener, LockGuard, LockInfo, Stored, StoredVersion, unusable,
    unusable_journal,
};
use crate::document::Digest;
use crate::state::{Entry, Happening, Journal, JournalError, Lineage, State};

const STATE: &str = "state.json";
const LOCK: &str = "lock.json";
const JOURNAL: &str = "journal/";
const EARLIER: &str = "earlier/";
/// The number of concurrent requests.
const AT_ONCE: usize = 16;
/// The number of attempts to load a state while other runs save it.
const LOADS: usize = 4;

/// Settings of an object backend.
#[derive(Clone)]
pub struct Settings {
    /// The time for which a lock holds without being renewed.
    pub lease: Duration,
    /// The number of earlier states to keep.
    pub keep: usize,
    /// Receives lock events.
    pub listener: Listener,
}

/// Stores a project's state in an object store.
pub struct ObjectBackend {
    objects: Arc<dyn Objects>,
    project: String,
    settings: Settings,
    lease: Mutex<Option<Arc<Lease>>>,
    queue: Mutex<Queue>,
    journal: tokio::sync::Mutex<Written>,
}

/// Journal lines for the next batch.
#[derive(Default)]
struct Queue {
    text: String,
    tickets: u64,
}

/// The progress of the journal.
#[derive(Default)]
struct Written {
    tickets: u64,
    folder: String,
    batches: u64,
    broken: Option<String>,
}

impl ObjectBackend {
    /// Creates the backend of a project in a store.
    #[must_use]
    pub fn new(objects: Arc<dyn Objects>, project: &str, settings: Settings) -> Self {
        Self {
            objects,
            project: project.to_owned(),
            settings,
            lease: Mutex::default(),
            queue: Mutex::default(),
            journal: tokio::sync::Mutex::default(),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.project)
    }

    fn locate(&self, name: &str) -> String {
        self.objects.place(&self.key(name))
    }

    fn lease(&self) -> Result<Arc<Lease>, BackendError> {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lease.ok_or_else(|| BackendError::Lost { path: self.locate(LOCK), why: "it was never taken".into() })
    }

    async fn read_state(&self) -> Result<(Option<State>, StoredVersion), BackendError> {
        let Some(object) = self.objects.get(&self.key(STATE)).await? else { return Ok((None, StoredVersion::None)) };
        match State::read(&object.bytes, &self.project) {
            Ok(state) => Ok((Some(state), StoredVersion::Tag(object.tag))),
            Err(why) => {
                let earlier = self.objects.list(&self.key(EARLIER)).await.unwrap_or_default();
                let last = earlier.last().map(|key| self.objects.place(key));
                Err(unusable(&self.locate(STATE), why, earlier.len(), last))
            }
        }
    }

    /// Lists the journal's objects for a serial and later ones, by folder.
    async fn journal_keys(&self, serial: u64) -> Result<BTreeMap<String, Vec<String>>, BackendError> {
        let prefix = self.key(JOURNAL);
        let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in self.objects.list(&prefix).await? {
            let Some((folder, _)) = key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')) else { continue };
            if serial_of(folder).is_some_and(|of| of >= serial) {
                folders.entry(folder.to_owned()).or_default().push(key);
            }
        }
        Ok(folders)
    }

    /// Reads the journal for a serial and later ones. `None` if an object was deleted in the meantime.
    async fn read_journal(&self, serial: u64) -> Result<Option<Journal>, BackendError> {
        let damaged = |why| unusable_journal(self.locate(JOURNAL), why);
        let keys: Vec<String> = self.journal_keys(serial).await?.into_values().flatten().collect();
        let reads: Vec<_> = keys.iter().map(|key| self.objects.get(key)).collect();
        let objects: Vec<Option<Object>> = futures_util::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let Some(objects) = objects.into_iter().collect::<Option<Vec<Object>>>() else { return Ok(None) };
        complete(&keys).map_err(damaged)?;
        let bytes: Vec<u8> = objects.into_iter().flat_map(|object| object.bytes).collect();
        Journal::parse(&bytes).map(Some).map_err(damaged)
    }

    async fn read(&self) -> Result<Stored, BackendError> {
        let mut last = None;
        for _ in 0..LOADS {
            let (state, version) = self.read_state().await?;
            match self.read_journal(state.as_ref().map_or(0, |s| s.serial)).await {
                Ok(Some(journal)) => return Ok(Stored { state, version, journal }),
                // A save also deletes the folded journal, but then the version differs. With the same version, the
                // error is real.
                Err(error) if last.as_ref() == Some(&version) => return Err(error),
                Ok(None) | Err(_) => {}
            }
            last = Some(version);
        }
        let why = "other runs keep writing it: try again when they are done".to_owned();
        Err(BackendError::Store { what: format!("read {}", self.locate(STATE)), why })
    }

    async fn take_lock(&self, info: LockInfo) -> Result<Box<dyn LockGuard>, BackendError> {
        let (key, settings) = (self.key(LOCK), &self.settings);
        let lineage = Lineage(info.id.clone());
        let taken = Lease::take(self.objects.clone(), key, info, settings.lease, settings.listener.clone()).await?;
        let (lease, before) = taken;
        // Sealing a large state takes long, so the lease is renewed from here on.
        let keeping = tokio::spawn(lease.clone().keep());
        let kept = Kept { lease: lease.clone(), keeping };
        if let Err(error) = self.succeed(&lease, before, lineage).await {
            let _ = Box::new(kept).release().await;
            return Err(error);
        }
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
        *self.journal.lock().await = Written::default();
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = Queue::default();
        Ok(Box::new(kept))
    }

    /// Prevents earlier holders of the lock from writing.
    async fn succeed(&self, lease: &Lease, before: Before, lineage: Lineage) -> Result<(), BackendError> {
        match before {
            Before::Free => return Ok(()),
            Before::Somebody => {}
            Before::Nothing => match self.last_fence().await? {
                0 => return Ok(()),
                earlier => lease.fence_above(earlier).await?,
            },
        }
        self.seal(lease, lineage).await
    }

    /// Returns the highest fencing number in the state and the journal.
    async fn last_fence(&self) -> Result<u64, BackendError> {
        let written = self.objects.get(&self.key(STATE)).await?.and_then(|o| State::read(&o.bytes, &self.project).ok());
        let keys = self.journal_keys(0).await?.into_values().flatten();
        let fences = keys.filter_map(|key| numbers(&key).map(|(fence, _)| fence));
        Ok(fences.chain(written.map(|s| s.fence)).max().unwrap_or(0))
    }

    /// Rewrites the state with the current fencing number, so that no other holder can replace the version that it
    /// read.
    async fn seal(&self, lease: &Lease, lineage: Lineage) -> Result<(), BackendError> {
        for _ in 0..LOADS {
            let (state, condition) = match self.objects.get(&self.key(STATE)).await? {
                // An unreadable state is not overwritten.
                Some(object) => match State::read(&object.bytes, &self.project) {
                    // An earlier attempt succeeded, but its response was lost.
                    Ok(state) if state.fence == lease.fence() => return Ok(()),
                    Ok(state) => (state, Precondition::Tag(object.tag)),
                    Err(_) => return Ok(()),
                },
                None => {
                    let journal = self.read_journal(0).await?.unwrap_or_default();
                    let lineage = journal.entries.first().map_or(lineage.clone(), |e| Lineage(e.state.0.clone()));
                    (State::new(&self.project, lineage), Precondition::Absent)
                }
            };
            lease.confirm().await?;
            let sealed = state.to_text_under(lease.fence())?;
            if self.objects.put(&self.key(STATE), sealed.into_bytes(), condition).await?.is_some() {
                return Ok(());
            }
        }
        Err(BackendError::Moved { path: self.locate(STATE) })
    }

    async fn write_journal(&self, entries: &[Entry]) -> Result<(), BackendError> {
        let Some(first) = entries.first() else { return Ok(()) };
        let lease = self.lease()?;
        lease.held()?;
        let folder = folder(&first.state.0, first.state.1);
        let lines = entries.iter().map(Entry::line).collect::<Result<String, _>>()?;
        let ticket = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.text.push_str(&lines);
            queue.tickets += 1;
            queue.tickets
        };
        let mut written = self.journal.lock().await;
        // Another task may have written these lines in its batch during the wait.
        if written.tickets < ticket {
            self.write_batch(&lease, folder, &mut written).await?;
        }
        drop(written);
        if entries.iter().any(|e| matches!(e.happening, Happening::Begin { .. })) {
            lease.confirm().await?;
        }
        Ok(())
    }

    /// Writes all queued lines as one object. After a failure nothing more is written: a missing line in the middle
    /// would make the rest worthless.
    async fn write_batch(&self, lease: &Lease, folder: String, written: &mut Written) -> Result<(), BackendError> {
        let what = || format!("write {}", self.locate(JOURNAL));
        if let Some(why) = &written.broken {
            return Err(BackendError::Store { what: what(), why: why.clone() });
        }
        let (text, tickets) = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut queue.text), queue.tickets)
        };
        if written.folder != folder {
            *written = Written { folder, tickets: written.tickets, ..Written::default() };
        }
        let name = format!("{JOURNAL}{}/{:08}-{:08}.jsonl", written.folder, lease.fence(), written.batches);
        match self.objects.put(&self.key(&name), text.into_bytes(), Precondition::Always).await {
            Ok(_) => {
                written.batches += 1;
                written.tickets = tickets;
                Ok(())
            }
            Err(error) => {
                written.broken = Some(error.to_string());
                Err(error)
            }
        }
    }

    async fn write_state(&self, state: &State, over: &StoredVersion) -> Result<StoredVersion, BackendError> {
        let lease = self.lease()?;
        lease.confirm().await?;
        let text = state.to_text_under(lease.fence())?;
        let digest = Digest::of(text.as_bytes());
        let key = self.key(STATE);
        let condition = match over {
            StoredVersion::Tag(tag) => {
                let version = Digest::of(tag.as_bytes());
                let name = format!("{EARLIER}{:010}-{}.json", state.serial.saturating_sub(1), version.short(12));
                self.objects.copy(&key, &self.key(&name)).await?;
                Precondition::Tag(tag.clone())
            }
            StoredVersion::None => Precondition::Absent,
            StoredVersion::Digest(_) => return Err(BackendError::Moved { path: self.locate(STATE) }),
        };
        let tag = match self.objects.put(&key, text.into_bytes(), condition).await? {
            Some(tag) => tag,
            // If the state has the new content, the write succeeded and only its response was lost.
            None => match self.objects.get(&key).await? {
                Some(object) if Digest::of(&object.bytes) == digest => object.tag,
                _ => return Err(BackendError::Moved { path: self.locate(STATE) }),
            },
        };
        // The state is saved. Objects that cannot be removed now are ignored and removed by the next save.
        let _ = self.clear(state.serial).await;
        Ok(StoredVersion::Tag(tag))
    }

    /// Removes the journals of serials before this one, and the oldest earlier states.
    async fn clear(&self, serial: u64) -> Result<(), BackendError> {
        let journals = self.journal_keys(0).await?.into_iter();
        let old = journals.filter(|(folder, _)| serial_of(folder).is_some_and(|of| of < serial));
        let mut going: Vec<String> = old.flat_map(|(_, keys)| keys).collect();
        let mut earlier = self.objects.list(&self.key(EARLIER)).await?;
        earlier.truncate(earlier.len().saturating_sub(self.settings.keep));
        going.extend(earlier);
        let deletes: Vec<_> = going.iter().map(|key| self.objects.delete(key)).collect();
        futures_util::stream::iter(deletes).buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// Returns the journal folder of a state.
fn folder(lineage: &str, serial: u64) -> String {
    format!("{serial:010}-{}", Digest::of(lineage.as_bytes()).short(12))
}

fn serial_of(folder: &str) -> Option<u64> {
    folder.split_once('-')?.0.parse().ok()
}

/// Parses the fencing number and the batch number from a journal object's key.
fn numbers(key: &str) -> Option<(u64, u64)> {
    let (fence, batch) = key.rsplit_once('/')?.1.strip_suffix(".jsonl")?.split_once('-')?;
    Some((fence.parse().ok()?, batch.parse().ok()?))
}

/// Checks that no batch is missing. Batches are written in order, so a gap means that one was lost.
fn complete(keys: &[String]) -> Result<(), JournalError> {
    let mut next: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    for key in keys {
        let missing = || JournalError::Missing { before: key.clone() };
        let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
        let (fence, batch) = numbers(key).ok_or_else(missing)?;
        let expected = next.entry((folder, fence)).or_default();
        if batch != *expected {
            return Err(missing());
        }
        *expected += 1;
    }
    Ok(())
}

impl Backend for ObjectBackend {
    fn place(&self) -> String {
        self.locate(STATE)
    }

    fn load(&self) -> BackendFuture<'_, Stored> {
        Box::pin(self.read())
    }

    fn lock(&self, info: LockInfo) -> BackendFuture<'_, Box<dyn LockGuard>> {
        Box::pin(self.take_lock(info))
    }

    fn holder(&self) -> BackendFuture<'_, Option<LockInfo>> {
        Box::pin(async move { holder(&*self.objects, &self.key(LOCK)).await })
    }

    fn unlock<'a>(&'a self, from: &'a LockInfo) -> BackendFuture<'a, ()> {
        Box::pin(async move { unlock(&*self.objects, &self.key(LOCK), from).await })
    }

    fn vouch(&self) -> BackendFuture<'_, ()> {
        Box::pin(async move { self.lease()?.confirm().await })
    }

    fn append<'a>(&'a self, entries: &'a [Entry]) -> BackendFuture<'a, ()> {
        Box::pin(self.write_journal(entries))
    }

    fn save<'a>(&'a self, state: &'a State, over: &'a StoredVersion) -> BackendFuture<'a, StoredVersion> {
        Box::pin(self.write_state(state, over))
    }
}
