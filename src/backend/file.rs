//! State in a folder: `<project>.json`, `<project>.journal`, `<project>.lock`, and earlier states beside them.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Backend, BackendError, Boxed, LockGuard, LockInfo, Stored, Version};
use crate::document::Digest;
use crate::state::{Entry, Journal, State};

/// How many earlier states are kept.
const KEPT: usize = 10;

/// A folder.
pub struct FileBackend {
    folder: PathBuf,
    project: String,
    journal: Mutex<Option<File>>,
}

struct FileLock {
    // The kernel gives the lock back when the file is closed, also after a crash.
    _file: File,
}

impl LockGuard for FileLock {}

impl FileBackend {
    /// The state of a project in a folder, which is made when something is first written.
    #[must_use]
    pub fn new(folder: PathBuf, project: &str) -> Self {
        Self { folder, project: project.to_owned(), journal: Mutex::new(None) }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.project))
    }

    fn read(&self) -> Result<Stored, BackendError> {
        let path = self.path("json");
        let (state, version) = match fs::read_to_string(&path) {
            Ok(text) => {
                let state = State::parse(&text, &self.project)
                    .map_err(|why| BackendError::State { path: path.display().to_string(), why })?;
                (Some(state), Version::Digest(Digest::of(text.as_bytes())))
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => (None, Version::None),
            Err(why) => return Err(io(&path, why)),
        };
        let path = self.path("journal");
        let journal = match fs::read(&path) {
            Ok(bytes) => {
                Journal::parse(&bytes).map_err(|why| BackendError::Journal { path: path.display().to_string(), why })?
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Journal::default(),
            Err(why) => return Err(io(&path, why)),
        };
        Ok(Stored { state, version, journal })
    }

    fn take_lock(&self, info: &LockInfo) -> Result<Box<dyn LockGuard>, BackendError> {
        fs::create_dir_all(&self.folder).map_err(|why| io(&self.folder, why))?;
        let path = self.path("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|why| io(&path, why))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                let by = serde_json::from_str(&text).unwrap_or(LockInfo {
                    holder: "somebody".into(),
                    host: "this machine".into(),
                    pid: 0,
                    since: "a moment ago".into(),
                });
                return Err(BackendError::Locked { path: path.display().to_string(), by: Box::new(by) });
            }
            Err(fs::TryLockError::Error(why)) => return Err(io(&path, why)),
        }
        let text = serde_json::to_string(info)?;
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.as_bytes()))
            .map_err(|why| io(&path, why))?;
        Ok(Box::new(FileLock { _file: file }))
    }

    fn write_journal(&self, entries: &[Entry]) -> Result<(), BackendError> {
        let path = self.path("journal");
        let mut text = String::new();
        for entry in entries {
            text.push_str(&entry.line()?);
        }
        let mut slot = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let file = if let Some(file) = slot.as_mut() {
            file
        } else {
            fs::create_dir_all(&self.folder).map_err(|why| io(&self.folder, why))?;
            let mut file =
                OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(|why| io(&path, why))?;
            drop_torn_line(&mut file).map_err(|why| io(&path, why))?;
            sync_folder(&self.folder)?;
            slot.insert(file)
        };
        file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(|why| io(&path, why))
    }

    fn write_state(&self, state: &State, over: &Version) -> Result<Version, BackendError> {
        let path = self.path("json");
        fs::create_dir_all(&self.folder).map_err(|why| io(&self.folder, why))?;
        let found = match fs::read(&path) {
            Ok(bytes) => Version::Digest(Digest::of(&bytes)),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Version::None,
            Err(why) => return Err(io(&path, why)),
        };
        if found != *over {
            return Err(BackendError::Moved { path: path.display().to_string() });
        }
        let text = state.to_text()?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(|why| io(&self.folder, why))?;
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(|why| io(file.path(), why))?;
        self.keep_earlier(&path)?;
        file.persist(&path).map_err(|error| io(&path, error.error))?;
        sync_folder(&self.folder)?;
        let mut slot = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        let journal = self.path("journal");
        match fs::remove_file(&journal) {
            Ok(()) => sync_folder(&self.folder)?,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => return Err(io(&journal, why)),
        }
        Ok(Version::Digest(Digest::of(text.as_bytes())))
    }

    /// Keeps a copy of the state that is about to be replaced, and removes the oldest copy.
    fn keep_earlier(&self, path: &Path) -> Result<(), BackendError> {
        if !path.exists() {
            return Ok(());
        }
        let name = |n: usize| self.path(&format!("json.{n}"));
        for n in (1..KEPT).rev() {
            if name(n).exists() {
                fs::rename(name(n), name(n + 1)).map_err(|why| io(&name(n), why))?;
            }
        }
        fs::copy(path, name(1)).map(|_| ()).map_err(|why| io(&name(1), why))
    }
}

/// A line that a crash tore is removed before anything is written after it.
fn drop_torn_line(file: &mut File) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    match Journal::parse(&bytes) {
        Ok(journal) if journal.torn => file.set_len(journal.sound as u64),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<(), BackendError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|why| io(folder, why))
}

fn io(path: &Path, why: std::io::Error) -> BackendError {
    BackendError::Io { path: path.display().to_string(), why }
}

impl Backend for FileBackend {
    fn place(&self) -> String {
        self.path("json").display().to_string()
    }

    fn load(&self) -> Boxed<'_, Stored> {
        Box::pin(async { self.read() })
    }

    fn lock(&self, info: LockInfo) -> Boxed<'_, Box<dyn LockGuard>> {
        Box::pin(async move { self.take_lock(&info) })
    }

    fn append<'a>(&'a self, entries: &'a [Entry]) -> Boxed<'a, ()> {
        Box::pin(async move { self.write_journal(entries) })
    }

    fn save<'a>(&'a self, state: &'a State, over: &'a Version) -> Boxed<'a, Version> {
        Box::pin(async move { self.write_state(state, over) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::state::{Happening, Lineage};

    fn info(holder: &str) -> LockInfo {
        LockInfo { holder: holder.into(), host: "h".into(), pid: 1, since: "2026-01-01T00:00:00Z".into() }
    }

    fn backend(folder: &tempfile::TempDir) -> FileBackend {
        FileBackend::new(folder.path().join("state"), "p")
    }

    fn begin() -> Entry {
        let happening = Happening::Begin { action: "create".into(), creates: None };
        Entry::new(("l", 0), "2026-01-01T00:00:00Z".into(), Address::new("aws.iam.role", "x"), happening)
    }

    #[tokio::test]
    async fn a_state_is_saved_over_the_version_that_was_read_only() {
        let folder = tempfile::tempdir().unwrap();
        let ours = backend(&folder);
        let state = State::new("p", Lineage("l".into()));
        let first = ours.save(&state, &Version::None).await.unwrap();
        assert!(matches!(ours.save(&state, &Version::None).await, Err(BackendError::Moved { .. })));
        let changed = State { serial: 1, ..state.clone() };
        ours.save(&changed, &first).await.unwrap();
        let stored = ours.load().await.unwrap();
        assert_eq!(stored.state, Some(changed));
        let earlier = fs::read_to_string(folder.path().join("state/p.json.1")).unwrap();
        assert_eq!(State::parse(&earlier, "p"), Ok(state));
    }

    #[tokio::test]
    async fn the_journal_survives_until_the_state_is_saved_and_a_torn_line_is_not_built_upon() {
        let folder = tempfile::tempdir().unwrap();
        let ours = backend(&folder);
        ours.append(&[begin()]).await.unwrap();
        let path = folder.path().join("state/p.journal");
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"torn".to_vec()].concat()).unwrap();
        let later = backend(&folder);
        assert!(later.load().await.unwrap().journal.torn);
        later.append(&[begin()]).await.unwrap();
        let journal = later.load().await.unwrap().journal;
        assert_eq!((journal.entries.len(), journal.torn), (2, false));
        later.save(&State::new("p", Lineage::default()), &Version::None).await.unwrap();
        assert_eq!(later.load().await.unwrap().journal, Journal::default());
    }

    #[tokio::test]
    async fn the_second_one_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let held = backend(&folder).lock(info("alice")).await.unwrap();
        let refused = backend(&folder).lock(info("bob")).await.err().unwrap().to_string();
        assert!(refused.contains("locked by alice on h"), "{refused}");
        drop(held);
        assert!(backend(&folder).lock(info("bob")).await.is_ok());
    }

    #[tokio::test]
    async fn a_damaged_state_is_refused_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        fs::write(folder.path().join("state/p.json"), "{\"format\": 1, ").unwrap();
        assert!(matches!(backend(&folder).load().await, Err(BackendError::State { .. })));
        let saved = backend(&folder).save(&State::new("p", Lineage::default()), &Version::None).await;
        assert!(matches!(saved, Err(BackendError::Moved { .. })));
    }
}
