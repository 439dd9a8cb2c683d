//! The contract of every backend, and of locks in an object store, in a folder and in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bailiwick::backend::{
    Backend, BackendError, BackendFuture, MemoryObjects, Object, ObjectBackend, Objects, Precondition, StoredVersion,
};
use bailiwick::state::State;

use crate::promises::{
    Heard, LEASE, begin, end, every_backend, in_folder, in_store, info, settings, state, without_fence,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder() {
    let folder = tempfile::tempdir().unwrap();
    every_backend(in_folder(&folder), 8).await;
}

#[tokio::test(start_paused = true)]
async fn objects_in_memory() {
    let objects = Arc::new(MemoryObjects::default());
    every_backend(in_store(objects, LEASE), 16).await;
}

// ---- Leases, in an in-memory store and on a clock that the test advances

/// A store, and the lock news of each listener.
struct Store {
    objects: Arc<MemoryObjects>,
    heard: Heard,
}

impl Store {
    fn new() -> Self {
        Self { objects: Arc::default(), heard: Heard::default() }
    }

    fn backend(&self) -> ObjectBackend {
        ObjectBackend::new(self.objects.clone(), "p", settings(LEASE, &self.heard))
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    async fn lock_object(&self) -> serde_json::Value {
        serde_json::from_slice(&self.objects.get("p/lock.json").await.unwrap().unwrap().bytes).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn active_lock_is_refused_and_an_expired_one_is_taken_over() {
    let store = Store::new();
    let held = store.backend().lock(info("alice")).await.unwrap();
    let refused = store.backend().lock(info("bob")).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        "memory:p/lock.json is locked by alice on h (process 7) since 2026-01-01T00:00:00Z, https://ci.example/1"
    );
    assert!(refused.help().unwrap().starts_with("wait until it is done"), "{refused:?}");
    // Dropped without a release, as after a crash: the lock is free when its lease ends, and not before.
    drop(held);
    let started = tokio::time::Instant::now();
    let second = store.backend();
    let lock = second.lock(info("bob")).await.unwrap();
    assert!(started.elapsed() >= LEASE, "{:?}", started.elapsed());
    assert!(
        store.heard().contains(
            &"took over the expired lock held by alice on h (process 7) since 2026-01-01T00:00:00Z, https://ci.example/1"
                .to_owned()
        ),
        "{:?}",
        store.heard()
    );
    assert_eq!(store.lock_object().await["fence"], 2);
    lock.release().await.unwrap();
    store.backend().lock(info("carol")).await.unwrap();
    assert_eq!(store.lock_object().await["fence"], 3, "fencing numbers go on after a lock was given back");
}

#[tokio::test(start_paused = true)]
async fn lease_is_renewed_for_the_whole_run() {
    let store = Store::new();
    let ours = store.backend();
    let lock = ours.lock(info("alice")).await.unwrap();
    tokio::time::sleep(LEASE * 20).await;
    ours.append(&[begin(0, "x")]).await.unwrap();
    assert!(store.lock_object().await["beat"].as_u64().unwrap() >= 20);
    lock.release().await.unwrap();
    assert_eq!(store.heard(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn run_that_lost_its_lock_cannot_write() {
    let store = Store::new();
    let first = store.backend();
    let lock = first.lock(info("alice")).await.unwrap();
    let stored = first.load().await.unwrap();
    first.append(&[begin(0, "x")]).await.unwrap();
    // The first run stops for an unknown time, as on a machine that sleeps.
    drop(lock);
    let second = store.backend();
    let taken = second.lock(info("bob")).await.unwrap();
    let found = second.load().await.unwrap();
    assert_eq!(found.journal.entries, [begin(0, "x")]);

    let lost = first.append(&[begin(0, "y")]).await.err().unwrap().to_string();
    assert!(lost.contains("lost the lock "), "{lost}");
    assert!(matches!(first.save(&state(1, &["x"]), &stored.version).await, Err(BackendError::Lost { .. })));
    second.append(&[end(0, "x")]).await.unwrap();
    second.save(&state(1, &["x", "z"]), &found.version).await.unwrap();
    taken.release().await.unwrap();
    assert_eq!(without_fence(store.backend().load().await.unwrap().state.unwrap()), state(1, &["x", "z"]));
}

#[tokio::test(start_paused = true)]
async fn state_is_fenced_against_the_previous_lock_holder() {
    let store = Store::new();
    let first = store.backend();
    let lock = first.lock(info("alice")).await.unwrap();
    let written = first.save(&state(1, &["x"]), &StoredVersion::None).await.unwrap();
    drop(lock);
    let second = store.backend();
    let _taken = second.lock(info("bob")).await.unwrap();
    let found = second.load().await.unwrap();
    assert_ne!(found.version, written, "what the first one read can no longer be written over");
    let sealed = found.state.unwrap();
    assert_eq!((sealed.fence, without_fence(sealed)), (2, state(1, &["x"])));
}

#[tokio::test(start_paused = true)]
async fn missing_state_is_created_to_fence_the_previous_lock_holder() {
    let store = Store::new();
    let first = store.backend();
    let lock = first.lock(info("alice")).await.unwrap();
    first.append(&[begin(0, "x")]).await.unwrap();
    drop(lock);
    let second = store.backend();
    let _taken = second.lock(info("bob")).await.unwrap();
    let found = second.load().await.unwrap();
    assert_eq!(found.state.map(|s| (s.lineage.0, s.serial, s.fence)), Some(("l".to_owned(), 0, 2)));
    assert_eq!(found.journal.entries, [begin(0, "x")]);
}

#[tokio::test(start_paused = true)]
async fn fencing_numbers_continue_after_the_lock_is_deleted() {
    let store = Store::new();
    for holder in ["alice", "bob"] {
        let ours = store.backend();
        let lock = ours.lock(info(holder)).await.unwrap();
        let stored = ours.load().await.unwrap();
        let serial = stored.state.map_or(0, |s| s.serial);
        ours.save(&state(serial + 1, &[]), &stored.version).await.unwrap();
        lock.release().await.unwrap();
    }
    store.objects.delete("p/lock.json").await.unwrap();
    let _lock = store.backend().lock(info("carol")).await.unwrap();
    assert_eq!(store.lock_object().await["fence"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_read_is_not_taken_and_can_be_broken() {
    let store = Store::new();
    store.objects.put("p/lock.json", b"{".to_vec(), Precondition::Always).await.unwrap();
    let ours = store.backend();
    let refused = ours.lock(info("alice")).await.err().unwrap();
    assert!(refused.help().unwrap().contains("`bailiwick state unlock` removes it"), "{refused:?}");
    let holder = ours.holder().await.unwrap().unwrap();
    ours.unlock(&holder).await.unwrap();
    ours.lock(info("alice")).await.unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn missing_part_of_the_journal_is_detected() {
    let store = Store::new();
    let ours = store.backend();
    let _lock = ours.lock(info("alice")).await.unwrap();
    for name in ["x", "y", "z"] {
        ours.append(&[begin(0, name)]).await.unwrap();
    }
    let keys: Vec<String> = store.objects.keys().into_iter().filter(|k| k.contains("journal")).collect();
    assert_eq!(keys.len(), 3);
    store.objects.delete(&keys[1]).await.unwrap();
    let error = store.backend().load().await.err().unwrap().to_string();
    assert!(error.contains("a part of the journal is missing before p/journal/0000000000-"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn ten_earlier_states_are_kept_and_named_when_the_state_is_damaged() {
    let store = Store::new();
    let ours = store.backend();
    let lock = ours.lock(info("alice")).await.unwrap();
    let mut version = StoredVersion::None;
    for serial in 1..=14 {
        version = ours.save(&state(serial, &[&format!("s{serial}")]), &version).await.unwrap();
    }
    lock.release().await.unwrap();
    let earlier: Vec<String> = store.objects.keys().into_iter().filter(|k| k.contains("/earlier/")).collect();
    assert_eq!(earlier.len(), 10);
    let last = store.objects.get(earlier.last().unwrap()).await.unwrap().unwrap();
    let last = State::parse(std::str::from_utf8(&last.bytes).unwrap(), "p").unwrap();
    assert_eq!(without_fence(last), state(13, &["s13"]));

    store.objects.put("p/state.json", b"{\"format\": 1".to_vec(), Precondition::Always).await.unwrap();
    let refused = store.backend().load().await.err().unwrap();
    let named = format!("10 earlier states are kept, the latest in memory:{}", earlier.last().unwrap());
    assert!(refused.to_string().contains("the state is damaged"), "{refused}");
    assert!(refused.help().unwrap().contains(&named), "{refused:?}");
}

/// A store whose connection can fail, before a write arrives or before its response does.
#[derive(Default)]
struct Cut {
    store: MemoryObjects,
    requests: AtomicBool,
    answers: AtomicBool,
}

impl Cut {
    fn line(cut: &AtomicBool) -> Result<(), BackendError> {
        let why = || BackendError::Store { what: "reach the store".into(), why: "no route".into() };
        if cut.load(Ordering::Relaxed) { Err(why()) } else { Ok(()) }
    }
}

impl Objects for Cut {
    fn place(&self, key: &str) -> String {
        self.store.place(key)
    }

    fn get<'a>(&'a self, key: &'a str) -> BackendFuture<'a, Option<Object>> {
        Box::pin(async move {
            Self::line(&self.requests)?;
            self.store.get(key).await
        })
    }

    /// Tries twice, as clients do: the second attempt finds what the first one wrote.
    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, condition: Precondition) -> BackendFuture<'a, Option<String>> {
        Box::pin(async move {
            Self::line(&self.requests)?;
            let answer = self.store.put(key, bytes.clone(), condition.clone()).await;
            if self.answers.load(Ordering::Relaxed) { self.store.put(key, bytes, condition).await } else { answer }
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> BackendFuture<'a, ()> {
        self.store.copy(from, to)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BackendFuture<'a, Vec<String>> {
        self.store.list(prefix)
    }

    fn delete<'a>(&'a self, key: &'a str) -> BackendFuture<'a, ()> {
        self.store.delete(key)
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_runs_out() {
    let store = Arc::new(Cut::default());
    let heard = Heard::default();
    let ours = ObjectBackend::new(store.clone(), "p", settings(LEASE, &heard));
    let lock = ours.lock(info("alice")).await.unwrap();
    let cut = |cut| store.requests.store(cut, Ordering::Relaxed);
    cut(true);
    tokio::time::sleep(LEASE / 2).await;
    cut(false);
    tokio::time::sleep(LEASE).await;
    ours.append(&[begin(0, "x")]).await.expect("half a lease without an answer is no loss");
    cut(true);
    tokio::time::sleep(LEASE + LEASE / 4).await;
    cut(false);
    let lost = ours.append(&[begin(0, "y")]).await.err().unwrap().to_string();
    assert!(lost.contains("it could not be renewed for 60 s; nothing more was started"), "{lost}");
    assert_eq!(heard.lock().unwrap().len(), 1);
    lock.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn write_with_a_lost_response_counts_as_done() {
    let store = Arc::new(Cut::default());
    store.answers.store(true, Ordering::Relaxed);
    every_backend(in_store(store, LEASE), 8).await;
}

#[tokio::test(start_paused = true)]
async fn no_entry_is_written_after_a_failed_one() {
    let store = Arc::new(Cut::default());
    let ours = ObjectBackend::new(store.clone(), "p", settings(LEASE, &Heard::default()));
    let _lock = ours.lock(info("alice")).await.unwrap();
    ours.append(&[begin(0, "x")]).await.unwrap();
    store.requests.store(true, Ordering::Relaxed);
    assert!(ours.append(&[begin(0, "y")]).await.is_err());
    store.requests.store(false, Ordering::Relaxed);
    assert!(ours.append(&[end(0, "y")]).await.is_err(), "its beginning would be missing");
    let read = ObjectBackend::new(store, "p", settings(LEASE, &Heard::default())).load().await.unwrap();
    assert_eq!(read.journal.entries, [begin(0, "x")]);
}
