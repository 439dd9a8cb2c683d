//! What every home of states does, and what a lock in a store of objects does besides.
//!
//! The store is in memory, and with the feature `aws` also the AWS emulator's S3, or the one at `BAILIWICK_TEST_S3`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

#[cfg(all(feature = "aws", feature = "kubernetes"))]
#[path = "support/emulators.rs"]
mod emulators;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bailiwick::address::{AccountId, Address, Region, Scope};
use bailiwick::backend::{
    Backend, BackendError, Boxed, Condition, FileBackend, LockInfo, LockNews, MemoryObjects, Object, ObjectBackend,
    Objects, Settings, Version,
};
use bailiwick::document::Document;
use bailiwick::state::{Entry, Happening, Lineage, Owned, State};

/// Makes backends that share one place, as processes on several machines would.
type Make = Arc<dyn Fn() -> Box<dyn Backend> + Send + Sync>;

const LEASE: Duration = Duration::from_mins(1);

fn info(holder: &str) -> LockInfo {
    LockInfo {
        holder: holder.into(),
        host: "h".into(),
        pid: 7,
        since: "2026-01-01T00:00:00Z".into(),
        run: Some("https://ci.example/1".into()),
        id: format!("id-{holder}"),
    }
}

fn address(name: &str) -> Address {
    Address::new("aws.iam.role", name)
}

fn owned(name: &str) -> Owned {
    let (account, id) = ("a".to_owned(), AccountId("1".repeat(12)));
    Owned::new(
        Scope::account(account, id, Region("us-east-1".into())),
        name,
        Some(Document::from(serde_json::json!({ "name": name }))),
    )
}

fn entry(serial: u64, name: &str, happening: Happening) -> Entry {
    Entry::new(("l", serial), "2026-01-01T00:00:00Z".into(), address(name), happening)
}

fn begin(serial: u64, name: &str) -> Entry {
    entry(serial, name, Happening::Begin { action: "create".into(), creates: Some(Box::new(owned(name))) })
}

fn end(serial: u64, name: &str) -> Entry {
    entry(serial, name, Happening::End { owned: Some(Box::new(owned(name))) })
}

fn state(serial: u64, names: &[&str]) -> State {
    let mut state = State { serial, ..State::new("p", Lineage("l".into())) };
    state.resources.extend(names.iter().map(|name| (address(name), owned(name))));
    state
}

fn without_fence(state: State) -> State {
    State { fence: 0, ..state }
}

fn in_folder(folder: &tempfile::TempDir) -> Make {
    let folder = folder.path().join("state");
    Arc::new(move || Box::new(FileBackend::new(folder.clone(), "p")))
}

fn settings(lease: Duration, heard: &Heard) -> Settings {
    let heard = heard.clone();
    Settings { lease, keep: 10, listener: Arc::new(move |news| heard.lock().unwrap().push(news)) }
}

type Heard = Arc<Mutex<Vec<LockNews>>>;

fn in_store(objects: Arc<dyn Objects>, lease: Duration) -> Make {
    Arc::new(move || Box::new(ObjectBackend::new(objects.clone(), "p", settings(lease, &Heard::default()))))
}

// ---- What every backend does

async fn a_state_is_saved_over_the_version_that_was_read_only(make: &Make) {
    let (first, second) = (make(), make());
    let lock = first.lock(info("alice")).await.unwrap();
    let written = first.save(&state(1, &["x"]), &Version::None).await.unwrap();
    assert!(matches!(first.save(&state(1, &["y"]), &Version::None).await, Err(BackendError::Moved { .. })));
    let read = second.load().await.unwrap();
    assert_eq!((read.state.map(without_fence), &read.version), (Some(state(1, &["x"])), &written));
    first.save(&state(2, &["x", "y"]), &written).await.unwrap();
    assert!(matches!(first.save(&state(2, &[]), &written).await, Err(BackendError::Moved { .. })));
    assert_eq!(second.load().await.unwrap().state.map(without_fence), Some(state(2, &["x", "y"])));
    lock.release().await.unwrap();
}

async fn the_journal_is_there_until_the_state_is_saved(make: &Make) {
    let ours = make();
    let lock = ours.lock(info("alice")).await.unwrap();
    let version = ours.load().await.unwrap().version;
    let serial = ours.load().await.unwrap().state.map_or(0, |s| s.serial);
    ours.append(&[begin(serial, "x")]).await.unwrap();
    ours.append(&[end(serial, "x"), begin(serial, "y")]).await.unwrap();
    let journal = make().load().await.unwrap().journal;
    assert_eq!(journal.entries, [begin(serial, "x"), end(serial, "x"), begin(serial, "y")]);
    assert!(!journal.torn);
    ours.save(&state(serial + 1, &["x"]), &version).await.unwrap();
    assert_eq!(make().load().await.unwrap().journal.entries, []);
    ours.append(&[begin(serial + 1, "z")]).await.unwrap();
    assert_eq!(make().load().await.unwrap().journal.entries, [begin(serial + 1, "z")]);
    let saved = make().load().await.unwrap();
    ours.save(&state(serial + 2, &["x"]), &saved.version).await.unwrap();
    lock.release().await.unwrap();
}

async fn entries_of_many_steps_at_once_are_all_kept(make: &Make) {
    let ours: Arc<dyn Backend> = make().into();
    let lock = ours.lock(info("alice")).await.unwrap();
    let stored = ours.load().await.unwrap();
    let serial = stored.state.map_or(0, |s| s.serial);
    let mut steps = Vec::new();
    for n in 0..20 {
        let ours = ours.clone();
        steps.push(tokio::spawn(async move {
            ours.append(&[begin(serial, &format!("s{n}"))]).await.unwrap();
            ours.append(&[end(serial, &format!("s{n}"))]).await.unwrap();
        }));
    }
    for step in steps {
        step.await.unwrap();
    }
    let entries = make().load().await.unwrap().journal.entries;
    assert_eq!(entries.len(), 40);
    for n in 0..20 {
        let of_step: Vec<&Entry> = entries.iter().filter(|e| e.address == address(&format!("s{n}"))).collect();
        assert_eq!(of_step, [&begin(serial, &format!("s{n}")), &end(serial, &format!("s{n}"))]);
    }
    ours.save(&state(serial + 1, &[]), &stored.version).await.unwrap();
    lock.release().await.unwrap();
}

async fn a_released_lock_is_free(make: &Make) {
    let (first, second) = (make(), make());
    let lock = first.lock(info("alice")).await.unwrap();
    assert_eq!(second.holder().await.unwrap().map(|by| by.holder).as_deref(), Some("alice"));
    lock.release().await.unwrap();
    assert_eq!(second.holder().await.unwrap(), None);
    second.lock(info("bob")).await.unwrap().release().await.unwrap();
}

async fn a_broken_lock_stops_its_holder(make: &Make) {
    let (first, second) = (make(), make());
    let _lock = first.lock(info("alice")).await.unwrap();
    let stored = first.load().await.unwrap();
    let serial = stored.state.map_or(0, |s| s.serial);
    first.append(&[begin(serial, "x")]).await.unwrap();

    let wrong = second.unlock(&info("carol")).await;
    assert!(wrong.is_err(), "only the lock that was shown is broken");
    let holder = second.holder().await.unwrap().unwrap();
    second.unlock(&holder).await.unwrap();

    let lost = first.append(&[begin(serial, "y")]).await.err().unwrap();
    assert!(matches!(lost, BackendError::Lost { .. }), "{lost}");
    assert!(matches!(first.save(&state(serial + 1, &[]), &stored.version).await, Err(BackendError::Lost { .. })));
    let lock = second.lock(info("bob")).await.unwrap();
    let found = second.load().await.unwrap();
    assert!(found.journal.entries.contains(&begin(serial, "x")), "what the first one did is not forgotten");
    second.save(&state(serial + 1, &[]), &found.version).await.unwrap();
    lock.release().await.unwrap();
}

/// Many writers, each with a thing of its own, and each until it is in.
async fn many_writers_lose_nothing(make: &Make, writers: usize) {
    let mut tasks = Vec::new();
    for n in 0..writers {
        let backend = make();
        tasks.push(tokio::spawn(async move {
            let mut refused = 0;
            loop {
                let lock = match backend.lock(info(&format!("w{n}"))).await {
                    Ok(lock) => lock,
                    Err(BackendError::Locked { .. } | BackendError::Moved { .. }) => {
                        refused += 1;
                        assert!(refused < 1000, "writer {n} never gets the lock");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                let stored = backend.load().await.unwrap();
                let mut state = stored.state.unwrap_or_else(|| state(0, &[]));
                state.resources.insert(address(&format!("w{n}")), owned("w"));
                state.serial += 1;
                backend.save(&state, &stored.version).await.unwrap();
                lock.release().await.unwrap();
                return;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let state = make().load().await.unwrap().state.unwrap();
    for n in 0..writers {
        assert!(state.resources.contains_key(&address(&format!("w{n}"))), "the thing of writer {n} is lost");
    }
}

async fn every_backend(make: Make, writers: usize) {
    a_state_is_saved_over_the_version_that_was_read_only(&make).await;
    the_journal_is_there_until_the_state_is_saved(&make).await;
    entries_of_many_steps_at_once_are_all_kept(&make).await;
    a_released_lock_is_free(&make).await;
    a_broken_lock_stops_its_holder(&make).await;
    many_writers_lose_nothing(&make, writers).await;
}

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

// ---- Leases, in a store in memory and on a clock that the test moves

/// A store, and who heard what of its lock.
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
async fn a_living_holder_is_told_from_an_abandoned_lock() {
    let store = Store::new();
    let held = store.backend().lock(info("alice")).await.unwrap();
    let refused = store.backend().lock(info("bob")).await.err().unwrap().to_string();
    assert_eq!(
        refused,
        "memory:p/lock.json is locked by alice on h (process 7) since 2026-01-01T00:00:00Z, https://ci.example/1: wait \
         until it is done"
    );
    // Dropped and not given back, as after a crash: its lease ends, not before.
    drop(held);
    let started = tokio::time::Instant::now();
    let second = store.backend();
    let lock = second.lock(info("bob")).await.unwrap();
    assert!(started.elapsed() >= LEASE, "{:?}", started.elapsed());
    assert!(
        store.heard().contains(
            &"took the lock over from alice on h (process 7) since 2026-01-01T00:00:00Z, https://ci.example/1: it gave no \
              sign of life for its whole lease"
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
async fn a_lease_is_kept_for_as_long_as_the_run_takes() {
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
async fn whoever_lost_the_lock_writes_nothing_more() {
    let store = Store::new();
    let first = store.backend();
    let lock = first.lock(info("alice")).await.unwrap();
    let stored = first.load().await.unwrap();
    first.append(&[begin(0, "x")]).await.unwrap();
    // The first one stops for a while: a machine that sleeps. Nobody knows how long.
    drop(lock);
    let second = store.backend();
    let taken = second.lock(info("bob")).await.unwrap();
    let found = second.load().await.unwrap();
    assert_eq!(found.journal.entries, [begin(0, "x")]);

    let lost = first.append(&[begin(0, "y")]).await.err().unwrap().to_string();
    assert!(lost.contains("is no longer ours"), "{lost}");
    assert!(matches!(first.save(&state(1, &["x"]), &stored.version).await, Err(BackendError::Lost { .. })));
    second.append(&[end(0, "x")]).await.unwrap();
    second.save(&state(1, &["x", "z"]), &found.version).await.unwrap();
    taken.release().await.unwrap();
    assert_eq!(without_fence(store.backend().load().await.unwrap().state.unwrap()), state(1, &["x", "z"]));
}

#[tokio::test(start_paused = true)]
async fn a_state_is_sealed_against_whoever_held_the_lock_before() {
    let store = Store::new();
    let first = store.backend();
    let lock = first.lock(info("alice")).await.unwrap();
    let written = first.save(&state(1, &["x"]), &Version::None).await.unwrap();
    drop(lock);
    let second = store.backend();
    let _taken = second.lock(info("bob")).await.unwrap();
    let found = second.load().await.unwrap();
    assert_ne!(found.version, written, "what the first one read can no longer be written over");
    let sealed = found.state.unwrap();
    assert_eq!((sealed.fence, without_fence(sealed)), (2, state(1, &["x"])));
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_state_yet_one_is_made_against_whoever_held_the_lock_before() {
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
async fn fencing_numbers_go_on_when_the_lock_was_removed() {
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
    store.objects.put("p/lock.json", b"{".to_vec(), Condition::Always).await.unwrap();
    let ours = store.backend();
    let refused = ours.lock(info("alice")).await.err().unwrap().to_string();
    assert!(refused.contains("`bailiwick state unlock` removes it"), "{refused}");
    let holder = ours.holder().await.unwrap().unwrap();
    ours.unlock(&holder).await.unwrap();
    ours.lock(info("alice")).await.unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_journal_that_is_missing_is_noticed() {
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
    let mut version = Version::None;
    for serial in 1..=14 {
        version = ours.save(&state(serial, &[&format!("s{serial}")]), &version).await.unwrap();
    }
    lock.release().await.unwrap();
    let earlier: Vec<String> = store.objects.keys().into_iter().filter(|k| k.contains("/earlier/")).collect();
    assert_eq!(earlier.len(), 10);
    let last = store.objects.get(earlier.last().unwrap()).await.unwrap().unwrap();
    let last = State::parse(std::str::from_utf8(&last.bytes).unwrap(), "p").unwrap();
    assert_eq!(without_fence(last), state(13, &["s13"]));

    store.objects.put("p/state.json", b"{\"format\": 1".to_vec(), Condition::Always).await.unwrap();
    let refused = store.backend().load().await.err().unwrap().to_string();
    let named = format!("10 earlier states are kept, the last of them in memory:{}", earlier.last().unwrap());
    assert!(refused.contains("the state is damaged") && refused.contains(&named), "{refused}");
}

/// A store whose line can be cut, before a write arrives or before its answer does.
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

    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Object>> {
        Box::pin(async move {
            Self::line(&self.requests)?;
            self.store.get(key).await
        })
    }

    /// Tries twice, as clients do: the second try finds what the first one wrote.
    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, condition: Condition) -> Boxed<'a, Option<String>> {
        Box::pin(async move {
            Self::line(&self.requests)?;
            let answer = self.store.put(key, bytes.clone(), condition.clone()).await;
            if self.answers.load(Ordering::Relaxed) { self.store.put(key, bytes, condition).await } else { answer }
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> Boxed<'a, ()> {
        self.store.copy(from, to)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Boxed<'a, Vec<String>> {
        self.store.list(prefix)
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, ()> {
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
async fn a_write_whose_answer_was_lost_was_done() {
    let store = Arc::new(Cut::default());
    store.answers.store(true, Ordering::Relaxed);
    every_backend(in_store(store, LEASE), 8).await;
}

#[tokio::test(start_paused = true)]
async fn after_an_entry_that_could_not_be_written_none_is() {
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

// ---- S3

#[cfg(all(feature = "aws", feature = "kubernetes"))]
mod s3 {
    use super::{Arc, Duration, every_backend, in_store};
    use super::{AtomicBool, Ordering};
    use crate::emulators::{self, Aws, Gate, Ran, Verdict, World};
    use aws_sdk_s3::Client;
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    use bailiwick::backend::{Condition, Objects, S3Objects};

    /// The store that the tests are to use instead of the emulator.
    fn store() -> Option<String> {
        std::env::var("BAILIWICK_TEST_S3").ok()
    }

    /// A bucket that nobody else uses, and what must live as long.
    async fn bucket(name: &str) -> (Client, String, Option<Aws>) {
        match store() {
            Some(endpoint) => {
                let (client, name) = bucket_at(endpoint, name).await;
                (client, name, None)
            }
            None => {
                let aws = Aws::start();
                let (client, name) = bucket_at(format!("http://{}", aws.address()), name).await;
                (client, name, Some(aws))
            }
        }
    }

    fn client_at(endpoint: String) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .force_path_style(true);
        Client::from_conf(config.build())
    }

    async fn bucket_at(endpoint: String, name: &str) -> (Client, String) {
        let client = client_at(endpoint);
        let name = format!("state-{name}-{}", std::process::id());
        client.create_bucket().bucket(&name).send().await.unwrap();
        (client, name)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bucket() {
        let (client, name, _emulator) = bucket("contract").await;
        let objects = Arc::new(S3Objects::new(&client, &name, "team/prod", None));
        every_backend(in_store(objects, Duration::from_secs(4)), 6).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_conditional_writes_one_wins() {
        let (client, name, _emulator) = bucket("race").await;
        let objects = Arc::new(S3Objects::new(&client, &name, "", None));
        let mut condition = Condition::Absent;
        for round in 0..5 {
            let key = "p/contested";
            let writers: Vec<_> = (0..8)
                .map(|n| {
                    let (objects, condition) = (objects.clone(), condition.clone());
                    let bytes = format!("{round}-{n}").into_bytes();
                    tokio::spawn(async move { objects.put(key, bytes, condition).await.unwrap() })
                })
                .collect();
            let mut winners = Vec::new();
            for writer in writers {
                winners.extend(writer.await.unwrap());
            }
            assert_eq!(winners.len(), 1, "round {round}");
            let found = objects.get(key).await.unwrap().unwrap();
            assert_eq!(found.tag, winners[0]);
            condition = Condition::Tag(found.tag);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_objects_than_a_page_holds_are_all_listed() {
        let (client, name, _emulator) = bucket("pages").await;
        let objects = Arc::new(S3Objects::new(&client, &name, "deep/er/", None));
        let writes = (0..1010).map(|n| {
            let objects = objects.clone();
            async move { objects.put(&format!("p/{n:04}"), Vec::new(), Condition::Always).await.unwrap() }
        });
        futures_util::future::join_all(writes).await;
        let keys = objects.list("p/").await.unwrap();
        assert_eq!((keys.len(), keys.first().map(String::as_str)), (1010, Some("p/0000")));
        assert_eq!(objects.get("p/none").await.unwrap(), None);
        objects.delete("p/0000").await.unwrap();
        objects.delete("p/0000").await.unwrap();
        objects.copy("p/0001", "q/1").await.unwrap();
        assert_eq!(objects.list("q/").await.unwrap(), ["q/1"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pages_of_every_size_hold_the_same_objects_and_lose_none_when_others_go() {
        for most in [1, 2] {
            let aws = Aws::start();
            let (_, name) = bucket_at(format!("http://{}", aws.address()), "short-pages").await;
            let (address, bucket) = (aws.address().to_owned(), name.clone());
            let is_done = AtomicBool::new(false);
            // Before the second page what was on the first goes, and something comes that will be on the last.
            let gate = Gate::open(&aws, move |request| {
                if request.contains("continuation-token=") && !is_done.swap(true, Ordering::Relaxed) {
                    emulators::s3_at(&address, &format!("DELETE /{bucket}/team/p/0")).ok();
                    emulators::s3_at(&address, &format!("PUT /{bucket}/team/p/9")).ok();
                }
                Verdict::Pass
            });
            let objects =
                Arc::new(S3Objects::new(&client_at(format!("http://{}", gate.address())), &name, "team", None));
            for n in 0..5 {
                objects.put(&format!("p/{n}"), Vec::new(), Condition::Always).await.unwrap();
            }
            aws.pages_of(most);
            assert_eq!(objects.list("p/").await.unwrap(), ["p/0", "p/1", "p/2", "p/3", "p/4", "p/9"]);
            assert_eq!(objects.list("p/").await.unwrap(), ["p/1", "p/2", "p/3", "p/4", "p/9"]);
            assert_eq!(objects.list("none/").await.unwrap(), [""; 0]);
            every_backend(in_store(objects, Duration::from_secs(4)), 2).await;
        }
    }

    /// Runs a command in several processes at once, each again for as long as another one holds the lock.
    fn at_once(world: &World, s3: &str, commands: &[Vec<String>]) {
        let run = |command: &[String]| -> Ran {
            let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
            let mut command = world.command(&arguments);
            command.env("AWS_ENDPOINT_URL_S3", s3);
            world.started(command).end()
        };
        std::thread::scope(|scope| {
            for command in commands {
                scope.spawn(move || {
                    for _ in 0..200 {
                        let ran = run(command);
                        if ran.code == 0 {
                            return;
                        }
                        let contended = ["is locked by", "was changed by somebody else"];
                        assert!(contended.iter().any(|why| ran.stderr.contains(why)), "{}{}", ran.stdout, ran.stderr);
                    }
                    panic!("{command:?} never gets the lock");
                });
            }
        });
    }

    #[test]
    fn of_many_processes_at_once_each_does_its_work_once_and_nothing_is_lost() {
        let world = World::bare("unused");
        let s3 = store().unwrap_or_else(|| format!("http://{}", world.aws.address()));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (_client, bucket) = runtime.block_on(bucket_at(s3.clone(), "processes"));
        let names: Vec<String> = (0..6).map(|n| format!("r{n}")).collect();
        let roles: String = names
            .iter()
            .map(|name| {
                format!("  {name}: {{ account: own, name: {name}, trust: [ {{ service: ec2.amazonaws.com }} ] }}\n")
            })
            .collect();
        let spec = format!(
            "version: 1\nproject: race\nbackend: {{ s3: {{ bucket: {bucket}, account: own, lease_seconds: 8 }} }}\n\
             accounts:\n  own: {{ id: \"123456789012\", region: us-east-1 }}\nroles:\n{roles}"
        );
        world.spec(&spec);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let addresses = || names.iter().map(|name| format!("aws.iam.role.{name}"));
        at_once(&world, &s3, &vec![words(&["apply", "--yes"]); 5]);
        assert_eq!(world.aws.roles("123456789012"), names);
        assert_eq!(world.aws.count("iam", &["CreateRole"]), 6, "nothing is made twice");

        let moves = addresses().map(|a| words(&["state", "mv", &a, &format!("{a}-moved")]));
        at_once(&world, &s3, &moves.collect::<Vec<_>>());
        let mut list = world.command(&["state", "list"]);
        list.env("AWS_ENDPOINT_URL_S3", &s3);
        let moved = world.started(list).end().exits(0);
        let moved: Vec<&str> = moved.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(moved, addresses().map(|a| format!("{a}-moved")).collect::<Vec<_>>());
    }
}
