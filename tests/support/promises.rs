//! The contract of every backend, as one list of checks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bailiwick::address::{AccountId, Address, Region, Scope};
use bailiwick::backend::{
    Backend, BackendError, FileBackend, LockInfo, LockNews, ObjectBackend, Objects, Settings, StoredVersion,
};
use bailiwick::document::Document;
use bailiwick::state::{ActionKind, Entry, Happening, Lineage, Owned, State};

/// Makes backends that share one place, as processes on several machines would.
pub type Make = Arc<dyn Fn() -> Box<dyn Backend> + Send + Sync>;

pub const LEASE: Duration = Duration::from_mins(1);

pub fn info(holder: &str) -> LockInfo {
    LockInfo {
        holder: holder.into(),
        host: "h".into(),
        pid: 7,
        since: "2026-01-01T00:00:00Z".into(),
        run: Some("https://ci.example/1".into()),
        id: format!("id-{holder}"),
    }
}

pub fn address(name: &str) -> Address {
    Address::new("aws.iam.role", name)
}

pub fn owned(name: &str) -> Owned {
    let (account, id) = ("a".to_owned(), AccountId("1".repeat(12)));
    Owned::new(
        Scope::account(account, id, Region("us-east-1".into())),
        name,
        Some(Document::from(serde_json::json!({ "name": name }))),
    )
}

pub fn entry(serial: u64, name: &str, happening: Happening) -> Entry {
    Entry::new(("l", serial), "2026-01-01T00:00:00Z".into(), address(name), happening)
}

pub fn begin(serial: u64, name: &str) -> Entry {
    entry(
        serial,
        name,
        Happening::Begin { action: ActionKind::Create, creates: Some(Box::new(owned(name))), deposes: Vec::new() },
    )
}

pub fn end(serial: u64, name: &str) -> Entry {
    entry(serial, name, Happening::End { owned: Some(Box::new(owned(name))), deposes: Vec::new() })
}

pub fn state(serial: u64, names: &[&str]) -> State {
    let mut state = State { serial, ..State::new("p", Lineage("l".into())) };
    state.resources.extend(names.iter().map(|name| (address(name), owned(name))));
    state
}

pub fn without_fence(state: State) -> State {
    State { fence: 0, ..state }
}

pub fn in_folder(folder: &tempfile::TempDir) -> Make {
    let folder = folder.path().join("state");
    Arc::new(move || Box::new(FileBackend::new(folder.clone(), "p")))
}

pub fn settings(lease: Duration, heard: &Heard) -> Settings {
    let heard = heard.clone();
    Settings { lease, keep: 10, listener: Arc::new(move |news| heard.lock().unwrap().push(news)) }
}

pub type Heard = Arc<Mutex<Vec<LockNews>>>;

pub fn in_store(objects: Arc<dyn Objects>, lease: Duration) -> Make {
    Arc::new(move || Box::new(ObjectBackend::new(objects.clone(), "p", settings(lease, &Heard::default()))))
}

// ---- The contract

pub async fn a_state_is_saved_over_the_version_that_was_read_only(make: &Make) {
    let (first, second) = (make(), make());
    let lock = first.lock(info("alice")).await.unwrap();
    let written = first.save(&state(1, &["x"]), &StoredVersion::None).await.unwrap();
    assert!(matches!(first.save(&state(1, &["y"]), &StoredVersion::None).await, Err(BackendError::Moved { .. })));
    let read = second.load().await.unwrap();
    assert_eq!((read.state.map(without_fence), &read.version), (Some(state(1, &["x"])), &written));
    first.save(&state(2, &["x", "y"]), &written).await.unwrap();
    assert!(matches!(first.save(&state(2, &[]), &written).await, Err(BackendError::Moved { .. })));
    assert_eq!(second.load().await.unwrap().state.map(without_fence), Some(state(2, &["x", "y"])));
    lock.release().await.unwrap();
}

pub async fn the_journal_is_there_until_the_state_is_saved(make: &Make) {
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

pub async fn entries_of_many_steps_at_once_are_all_kept(make: &Make) {
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

pub async fn a_released_lock_is_free(make: &Make) {
    let (first, second) = (make(), make());
    let lock = first.lock(info("alice")).await.unwrap();
    assert_eq!(second.holder().await.unwrap().map(|by| by.holder).as_deref(), Some("alice"));
    lock.release().await.unwrap();
    assert_eq!(second.holder().await.unwrap(), None);
    second.lock(info("bob")).await.unwrap().release().await.unwrap();
}

pub async fn a_broken_lock_stops_its_holder(make: &Make) {
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

/// Many writers, each with its own resource, and each until it is saved.
pub async fn many_writers_lose_nothing(make: &Make, writers: usize) {
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

pub async fn every_backend(make: Make, writers: usize) {
    a_state_is_saved_over_the_version_that_was_read_only(&make).await;
    the_journal_is_there_until_the_state_is_saved(&make).await;
    entries_of_many_steps_at_once_are_all_kept(&make).await;
    a_released_lock_is_free(&make).await;
    a_broken_lock_stops_its_holder(&make).await;
    many_writers_lose_nothing(&make, writers).await;
}
