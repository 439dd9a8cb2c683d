//! A lock in an object store: an object that its holder rewrites at intervals.
//!
//! No two clocks are compared. A holder counts its lease on its own monotonic clock, from the moment at which it sent
//! the last successful renewal. Another run treats a lock as expired only after it has watched the same version of the
//! object for the whole lease, on its own clock. Every acquisition is a conditional write over the version that was
//! read, so that only one run wins. It raises the fencing number, which stays in the object after a release.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::object_store::{Objects, Precondition};
use super::{BackendError, BackendFuture, Listener, LockGuard, LockInfo, LockNews};

/// The version of the lock's format.
const FORMAT: u32 = 1;
/// The number of renewals in a lease.
const BEATS: u32 = 4;
/// The number of reads in a lease while another run watches the lock.
const LOOKS: u32 = 20;
/// The number of attempts to write a contested lock.
const TRIES: u32 = 5;

/// The content of the lock object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    format: u32,
    #[serde(flatten)]
    info: LockInfo,
    /// Rises with each holder.
    fence: u64,
    /// Rises with each renewal by the same holder.
    beat: u64,
    lease_seconds: u64,
    /// The lock is free.
    #[serde(default)]
    released: bool,
    /// `state unlock` released the lock; its holder may not have noticed yet.
    #[serde(default)]
    broken: bool,
}

impl Record {
    fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.max(1))
    }

    fn bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }
}

/// The result of reading the lock object.
enum Found {
    Nothing,
    Record(Record, String),
    /// Not a valid lock: the parse error, and the tag of the version.
    Damaged(String, String),
}

async fn look(objects: &dyn Objects, key: &str) -> Result<Found, BackendError> {
    let Some(object) = objects.get(key).await? else { return Ok(Found::Nothing) };
    match serde_json::from_slice::<Record>(&object.bytes) {
        Ok(record) if record.format > FORMAT => {
            let why = format!("the lock has format {}: use the newer bailiwick that wrote it", record.format);
            Err(BackendError::Store { what: format!("read {}", objects.place(key)), why })
        }
        Ok(record) => Ok(Found::Record(record, object.tag)),
        Err(why) => Ok(Found::Damaged(why.to_string(), object.tag)),
    }
}

/// Returns the holder of the lock, if any.
pub(super) async fn holder(objects: &dyn Objects, key: &str) -> Result<Option<LockInfo>, BackendError> {
    Ok(match look(objects, key).await? {
        Found::Record(record, _) if !record.released => Some(record.info),
        Found::Damaged(_, tag) => Some(unreadable(tag)),
        _ => None,
    })
}

/// A placeholder for the unknown holder of an unreadable lock.
fn unreadable(tag: String) -> LockInfo {
    LockInfo {
        holder: "an unknown holder (unreadable lock)".into(),
        host: "an unknown machine".into(),
        id: tag,
        ..LockInfo::default()
    }
}

/// Releases the lock of a holder. The record shows the next holder that this one may still be active.
pub(super) async fn unlock(objects: &dyn Objects, key: &str, from: &LockInfo) -> Result<(), BackendError> {
    for attempt in 0..TRIES {
        let (record, tag) = match look(objects, key).await? {
            Found::Record(record, tag) if record.info.id == from.id && !record.released => (record, tag),
            // The response of an earlier attempt was lost.
            Found::Record(record, _) if record.info.id == from.id && record.broken && attempt > 0 => return Ok(()),
            Found::Damaged(_, tag) if tag == from.id => {
                let record = Record {
                    format: FORMAT,
                    info: from.clone(),
                    fence: 0,
                    beat: 0,
                    lease_seconds: 0,
                    released: true,
                    broken: true,
                };
                (record, tag)
            }
            _ => return Err(BackendError::Lost { path: objects.place(key), why: format!("{from} does not hold it") }),
        };
        let broken = Record { released: true, broken: true, ..record };
        if objects.put(key, broken.bytes()?, Precondition::Tag(tag)).await?.is_some() {
            return Ok(());
        }
    }
    Err(BackendError::Moved { path: objects.place(key) })
}

/// The previous holder of a lock that was taken.
pub(super) enum Before {
    /// The previous holder released it.
    Free,
    /// The lock has no record of earlier holders, so the fencing number must be found elsewhere.
    Nothing,
    /// The previous holder may still be active.
    Somebody,
}

/// The condition under which the lock can be taken.
struct Opening {
    /// The fencing number of its last holder.
    fence: u64,
    condition: Precondition,
    before: Before,
    /// The holder of the expired lease, if there was one.
    from: Option<LockInfo>,
}

/// The result of preparing to take a lock.
enum Attempt {
    Open(Opening),
    /// The holder released it in the meantime.
    Again,
    /// An earlier write took the lock, but its response was lost.
    Written {
        record: Record,
        tag: String,
    },
}

/// Determines how the lock can be taken. Watches a held lock for a whole lease.
async fn opening(
    objects: &dyn Objects,
    key: &str,
    info: &LockInfo,
    listener: &Listener,
) -> Result<Attempt, BackendError> {
    let (fence, condition, before, from) = match look(objects, key).await? {
        Found::Nothing => (0, Precondition::Absent, Before::Nothing, None),
        Found::Damaged(why, tag) => {
            let path = objects.place(key);
            let why = format!("it is damaged: {why}");
            let by = Box::new(unreadable(tag));
            let help = format!("{why}; `bailiwick state unlock` removes it");
            return Err(BackendError::Locked { path, by }.advised(help));
        }
        Found::Record(record, tag) if record.info.id == info.id && !record.released => {
            return Ok(Attempt::Written { record, tag });
        }
        Found::Record(record, tag) if record.released => {
            let before = match (record.broken, record.fence) {
                (true, 0) => Before::Nothing,
                (true, _) => Before::Somebody,
                (false, _) => Before::Free,
            };
            (record.fence, Precondition::Tag(tag), before, None)
        }
        Found::Record(record, tag) => {
            listener(LockNews::Watched { by: record.info.clone(), at_most: record.lease() });
            match watch(objects, key, &record, &tag).await? {
                Watched::Silent => (record.fence, Precondition::Tag(tag), Before::Somebody, Some(record.info)),
                Watched::GivenBack => return Ok(Attempt::Again),
                Watched::Alive(by) => {
                    return Err(BackendError::Locked { path: objects.place(key), by: Box::new(by) });
                }
            }
        }
    };
    Ok(Attempt::Open(Opening { fence, condition, before, from }))
}

/// A lock that was taken.
pub(super) struct Lease {
    objects: Arc<dyn Objects>,
    key: String,
    info: LockInfo,
    lease: Duration,
    listener: Listener,
    now: Mutex<Now>,
}

struct Now {
    fence: u64,
    beat: u64,
    tag: String,
    until: Instant,
    lost: Option<String>,
}

impl Lease {
    /// Takes the lock: at once if it is free, and after a whole lease without renewal if it is held.
    pub(super) async fn take(
        objects: Arc<dyn Objects>,
        key: String,
        info: LockInfo,
        lease: Duration,
        listener: Listener,
    ) -> Result<(Arc<Self>, Before), BackendError> {
        let mut contested = 0;
        let mut sent = Instant::now();
        let (now, before) = loop {
            let Opening { fence, condition, before, from } = match opening(&*objects, &key, &info, &listener).await? {
                Attempt::Open(opening) => opening,
                Attempt::Again => continue,
                Attempt::Written { record, tag } => {
                    let now = Now { fence: record.fence, beat: record.beat, tag, until: sent + lease, lost: None };
                    break (now, if record.fence == 1 { Before::Nothing } else { Before::Somebody });
                }
            };
            sent = Instant::now();
            let record = Record {
                format: FORMAT,
                info: info.clone(),
                fence: fence + 1,
                beat: 0,
                lease_seconds: lease.as_secs(),
                released: false,
                broken: false,
            };
            if let Some(tag) = objects.put(&key, record.bytes()?, condition).await? {
                if let Some(from) = from {
                    listener(LockNews::TakenOver { from });
                }
                break (Now { fence: record.fence, beat: 0, tag, until: sent + lease, lost: None }, before);
            }
            contested += 1;
            if contested >= TRIES {
                return Err(BackendError::Moved { path: objects.place(&key) });
            }
        };
        Ok((Arc::new(Self { objects, key, info, lease, listener, now: Mutex::new(now) }), before))
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fence(&self) -> u64 {
        self.now().fence
    }

    fn record(&self, beat: u64, released: bool) -> Record {
        let (info, fence) = (self.info.clone(), self.fence());
        let lease_seconds = self.lease.as_secs();
        Record { format: FORMAT, info, fence, beat, lease_seconds, released, broken: false }
    }

    fn error(&self, why: String) -> BackendError {
        BackendError::Lost { path: self.objects.place(&self.key), why }
    }

    fn lose(&self, why: String) -> BackendError {
        let first = self.now().lost.replace(why.clone()).is_none();
        if first {
            (self.listener)(LockNews::Lost { why: why.clone() });
        }
        self.error(why)
    }

    /// Checks that this process still holds the lock, without a request.
    pub(super) fn held(&self) -> Result<(), BackendError> {
        let (until, lost) = {
            let now = self.now();
            (now.until, now.lost.clone())
        };
        match lost {
            Some(why) => Err(self.error(why)),
            None if Instant::now() >= until => Err(self.lose(self.ran_out())),
            None => Ok(()),
        }
    }

    fn ran_out(&self) -> String {
        format!("it could not be renewed for {} s", self.lease.as_secs())
    }

    /// Checks in the store that this process still holds the lock. The local clock is not enough: it may stop while a
    /// machine sleeps.
    pub(super) async fn confirm(&self) -> Result<(), BackendError> {
        self.held()?;
        match look(&*self.objects, &self.key).await? {
            Found::Record(record, _) if self.is_ours(&record) => Ok(()),
            other => Err(self.lose(taken(&other))),
        }
    }

    fn is_ours(&self, record: &Record) -> bool {
        record.info.id == self.info.id && !record.released && record.fence == self.fence()
    }

    /// Raises the fencing number above `other`.
    pub(super) async fn fence_above(&self, other: u64) -> Result<(), BackendError> {
        if other < self.fence() {
            return Ok(());
        }
        let (tag, sent) = (self.now().tag.clone(), Instant::now());
        let record = Record { fence: other + 1, ..self.record(0, false) };
        let written = self.objects.put(&self.key, record.bytes()?, Precondition::Tag(tag)).await?;
        let tag = match (written, look(&*self.objects, &self.key).await?) {
            (Some(tag), _) => tag,
            // The write succeeded, but its response was lost.
            (None, Found::Record(found, tag)) if found == record => tag,
            (None, other) => return Err(self.lose(taken(&other))),
        };
        let mut now = self.now();
        (now.fence, now.tag, now.until) = (record.fence, tag, sent + self.lease);
        Ok(())
    }

    /// Renews the lock at intervals until it is lost.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.lease / BEATS).await;
            self.renew().await;
            if self.held().is_err() {
                return;
            }
        }
    }

    async fn renew(&self) {
        let sent = Instant::now();
        let (tag, beat) = {
            let now = self.now();
            (now.tag.clone(), now.beat + 1)
        };
        let Ok(bytes) = self.record(beat, false).bytes() else { return };
        let renewed =
            tokio::time::timeout(self.lease / BEATS, self.objects.put(&self.key, bytes, Precondition::Tag(tag)));
        match renewed.await {
            Ok(Ok(Some(tag))) => self.renewed(tag, beat, sent),
            // Another process wrote the lock, or an earlier renewal succeeded and its response was lost.
            Ok(Ok(None)) => match look(&*self.objects, &self.key).await {
                Ok(Found::Record(record, tag)) if self.is_ours(&record) => self.renewed(tag, record.beat, sent),
                Ok(other) => {
                    self.lose(taken(&other));
                }
                Err(_) => {}
            },
            // No response: the lock holds for the rest of the lease.
            Ok(Err(_)) | Err(_) => {}
        }
    }

    fn renewed(&self, tag: String, beat: u64, sent: Instant) {
        let mut now = self.now();
        (now.tag, now.beat, now.until) = (tag, beat, sent + self.lease);
    }

    async fn give_back(&self) -> Result<(), BackendError> {
        for _ in 0..TRIES {
            match look(&*self.objects, &self.key).await? {
                Found::Record(record, tag) if self.is_ours(&record) => {
                    let released = self.record(record.beat, true).bytes()?;
                    if self.objects.put(&self.key, released, Precondition::Tag(tag)).await?.is_some() {
                        return Ok(());
                    }
                }
                // Already lost, or released by a write whose response was lost.
                _ => return Ok(()),
            }
        }
        Err(BackendError::Moved { path: self.objects.place(&self.key) })
    }
}

fn taken(found: &Found) -> String {
    match found {
        Found::Record(record, _) if record.broken => "`state unlock` released it".to_owned(),
        Found::Record(record, _) if record.released => "it was released".to_owned(),
        Found::Record(record, _) => format!("it was taken over by {}", record.info),
        Found::Nothing => "another process deleted it".to_owned(),
        Found::Damaged(..) => "another process overwrote it".to_owned(),
    }
}

enum Watched {
    Silent,
    GivenBack,
    Alive(LockInfo),
}

/// Watches another holder's lock until it changes, for at most its lease.
async fn watch(objects: &dyn Objects, key: &str, record: &Record, tag: &str) -> Result<Watched, BackendError> {
    let since = Instant::now();
    while since.elapsed() < record.lease() {
        tokio::time::sleep(record.lease() / LOOKS).await;
        match look(objects, key).await? {
            Found::Record(_, found) if found == tag => {}
            Found::Record(other, _) if !other.released => return Ok(Watched::Alive(other.info)),
            _ => return Ok(Watched::GivenBack),
        }
    }
    Ok(Watched::Silent)
}

/// Renews a lease until it is dropped.
pub(super) struct Kept {
    pub(super) lease: Arc<Lease>,
    pub(super) keeping: tokio::task::JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl LockGuard for Kept {
    fn release(self: Box<Self>) -> BackendFuture<'static, ()> {
        Box::pin(async move {
            self.keeping.abort();
            self.lease.give_back().await
        })
    }
}
