//! State in a folder: `<project>.json`, `<project>.journal`, `<project>.lock`, and earlier states beside them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{
    Backend, BackendError, BackendFuture, LockGuard, LockInfo, Stored, StoredVersion, unusable, unusable_journal,
};
use crate::document::Digest;
use crate::state::{Entry, Journal, State};

/// The number of earlier states to keep.
const KEPT: usize = 10;

/// Stores a project's state in a folder.
pub struct FileBackend {
    folder: PathBuf,
    project: String,
    inner: Mutex<OpenFiles>,
}

#[derive(Default)]
struct OpenFiles {
    /// The locked file. If another file has its path, the lock was broken.
    locked: Option<FileId>,
    journal: Option<OpenJournal>,
}

struct OpenJournal {
    file: File,
    /// The length of its complete lines, in bytes.
    sound: u64,
    /// The file may end in an incomplete line, so nothing more may be written.
    broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl From<Metadata> for FileId {
    fn from(found: Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

struct FileLock {
    // The kernel releases the lock when the file is closed, also after a crash.
    file: File,
}

impl LockGuard for FileLock {}

impl Drop for FileLock {
    /// Unlocks explicitly: a child process that is just starting may hold a copy of the descriptor, so that closing
    /// ours does not release the lock.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl FileBackend {
    /// Creates the backend of a project. The folder is created with the first write.
    #[must_use]
    pub fn new(folder: PathBuf, project: &str) -> Self {
        Self { folder, project: project.to_owned(), inner: Mutex::default() }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.project))
    }

    fn inner(&self) -> MutexGuard<'_, OpenFiles> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the path of the state file. A symbolic link is followed, so that a save does not replace the link.
    fn state_file(&self) -> Result<PathBuf, BackendError> {
        let path = self.path("json");
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => fs::canonicalize(&path).map_err(|why| {
                io(&path, std::io::Error::new(why.kind(), format!("it is a broken symbolic link: {why}")))
            }),
            _ => Ok(path),
        }
    }

    fn read(&self) -> Result<Stored, BackendError> {
        let path = self.state_file()?;
        let (state, version) = match fs::read(&path) {
            Ok(bytes) => {
                let state = State::read(&bytes, &self.project).map_err(|why| self.unusable(&path, why))?;
                (Some(state), StoredVersion::Digest(Digest::of(&bytes)))
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => (None, StoredVersion::None),
            Err(why) => return Err(io(&path, why)),
        };
        let path = self.path("journal");
        let journal = match fs::read(&path) {
            Ok(bytes) => Journal::parse(&bytes).map_err(|why| unusable_journal(path.display().to_string(), why))?,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Journal::default(),
            Err(why) => return Err(io(&path, why)),
        };
        Ok(Stored { state, version, journal })
    }

    fn unusable(&self, path: &Path, why: crate::state::StateError) -> BackendError {
        let kept: Vec<PathBuf> = (1..=KEPT).map(|n| self.earlier(n)).filter(|path| path.exists()).collect();
        let last = kept.first().map(|path| path.display().to_string());
        unusable(&path.display().to_string(), why, kept.len(), last)
    }

    fn take_lock(&self, info: &LockInfo) -> Result<Box<dyn LockGuard>, BackendError> {
        self.writable()?;
        let path = self.path("lock");
        let text = serde_json::to_string(info)?;
        loop {
            let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = opened.map_err(|why| io(&path, why))?;
            if let Some(by) = locked_by(&mut file).map_err(|why| io(&path, why))? {
                return Err(BackendError::Locked { path: path.display().to_string(), by: Box::new(by) });
            }
            let ours: FileId = file.metadata().map_err(|why| io(&path, why))?.into();
            if self.lock_id() != Some(ours) {
                // `state unlock` removed the file after this process opened it and before it locked it.
                continue;
            }
            file.set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .and_then(|_| file.write_all(text.as_bytes()))
                .map_err(|why| io(&path, why))?;
            *self.inner() = OpenFiles { locked: Some(ours), journal: None };
            return Ok(Box::new(FileLock { file }));
        }
    }

    /// Checks up front that the state and the journal can be written.
    fn writable(&self) -> Result<(), BackendError> {
        let tried = fs::create_dir_all(&self.folder).and_then(|()| tempfile::tempfile_in(&self.folder));
        tried.map(|_| ()).map_err(|why| {
            io(&self.folder, why).advised(
                "make the folder of the state and its journal writable for this user, or choose another one with --state",
            )
        })
    }

    fn lock_id(&self) -> Option<FileId> {
        fs::metadata(self.path("lock")).ok().map(FileId::from)
    }

    /// Fails if the lock that this process took has been broken.
    fn still_locked(&self, inner: &OpenFiles) -> Result<(), BackendError> {
        if inner.locked.is_some() && inner.locked != self.lock_id() {
            let (path, why) = (self.path("lock").display().to_string(), "`state unlock` released it".to_owned());
            return Err(BackendError::Lost { path, why });
        }
        Ok(())
    }

    fn find_holder(&self) -> Result<Option<LockInfo>, BackendError> {
        let path = self.path("lock");
        match OpenOptions::new().read(true).open(&path) {
            Ok(mut file) => {
                let holder = locked_by(&mut file).map_err(|why| io(&path, why))?;
                if holder.is_none() {
                    let _ = file.unlock();
                }
                Ok(holder)
            }
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(io(&path, why)),
        }
    }

    /// Removes the lock file: the next holder locks a new file, and the current one finds that its file is missing or
    /// replaced.
    fn break_lock(&self, from: &LockInfo) -> Result<(), BackendError> {
        let path = self.path("lock");
        if self.find_holder()?.as_ref() != Some(from) {
            return Err(BackendError::Lost {
                path: path.display().to_string(),
                why: format!("{from} does not hold it"),
            });
        }
        fs::remove_file(&path).map_err(|why| io(&path, why))
    }

    fn write_journal(&self, entries: &[Entry]) -> Result<(), BackendError> {
        let path = self.path("journal");
        let text = entries.iter().map(Entry::line).collect::<Result<String, _>>()?;
        let mut inner = self.inner();
        self.still_locked(&inner)?;
        let journal = match inner.journal.as_mut() {
            Some(journal) => journal,
            None => {
                fs::create_dir_all(&self.folder).map_err(|why| io(&self.folder, why))?;
                let opened = OpenOptions::new().create(true).read(true).append(true).open(&path);
                let mut file = opened.map_err(|why| io(&path, why))?;
                let sound = drop_torn_line(&mut file).map_err(|why| io(&path, why))?;
                sync_folder(&self.folder)?;
                inner.journal.insert(OpenJournal { file, sound, broken: false })
            }
        };
        journal.write(&text).map_err(|why| io(&path, why))
    }

    fn write_state(&self, state: &State, over: &StoredVersion) -> Result<StoredVersion, BackendError> {
        let path = self.state_file()?;
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(|why| io(folder, why))?;
        let mut inner = self.inner();
        self.still_locked(&inner)?;
        let found = match fs::read(&path) {
            Ok(bytes) => StoredVersion::Digest(Digest::of(&bytes)),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => StoredVersion::None,
            Err(why) => return Err(io(&path, why)),
        };
        if found != *over {
            return Err(BackendError::Moved { path: path.display().to_string() });
        }
        let text = state.to_text()?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|why| io(folder, why))?;
        if let Ok(before) = fs::metadata(&path) {
            file.as_file().set_permissions(before.permissions()).map_err(|why| io(file.path(), why))?;
        }
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(|why| io(file.path(), why))?;
        self.keep_earlier(&path)?;
        file.persist(&path).map_err(|error| io(&path, error.error))?;
        sync_folder(folder)?;
        inner.journal = None;
        let journal = self.path("journal");
        match fs::remove_file(&journal) {
            Ok(()) => sync_folder(&self.folder)?,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => return Err(io(&journal, why)),
        }
        Ok(StoredVersion::Digest(Digest::of(text.as_bytes())))
    }

    fn earlier(&self, n: usize) -> PathBuf {
        self.path(&format!("json.{n}"))
    }

    /// Copies the state before it is replaced, and drops the oldest copy.
    fn keep_earlier(&self, path: &Path) -> Result<(), BackendError> {
        if !path.exists() {
            return Ok(());
        }
        for n in (1..KEPT).rev() {
            if self.earlier(n).exists() {
                fs::rename(self.earlier(n), self.earlier(n + 1)).map_err(|why| io(&self.earlier(n), why))?;
            }
        }
        fs::copy(path, self.earlier(1)).map(|_| ()).map_err(|why| io(&self.earlier(1), why))
    }
}

impl OpenJournal {
    /// Writes lines durably, or leaves the journal unchanged.
    fn write(&mut self, text: &str) -> std::io::Result<()> {
        if self.broken {
            return Err(std::io::Error::other("an earlier write failed, and may have left half a line"));
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.sound += text.len() as u64,
            Err(_) => self.broken = self.file.set_len(self.sound).is_err(),
        }
        written
    }
}

/// Locks a file. Returns `None` if this process took the lock, which it keeps until the file is closed, or else the
/// holder.
fn locked_by(file: &mut File) -> std::io::Result<Option<LockInfo>> {
    match file.try_lock() {
        Ok(()) => Ok(None),
        Err(fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            let unknown = || LockInfo {
                holder: "an unknown process".into(),
                host: "this machine".into(),
                since: "a moment ago".into(),
                ..LockInfo::default()
            };
            Ok(Some(serde_json::from_str(&text).unwrap_or_else(|_| unknown())))
        }
        Err(fs::TryLockError::Error(why)) => Err(why),
    }
}

/// Removes an incomplete last line, which a crash can cause. Returns the remaining length in bytes.
fn drop_torn_line(file: &mut File) -> std::io::Result<u64> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    match Journal::parse(&bytes) {
        Ok(journal) if journal.torn => file.set_len(journal.sound as u64).map(|()| journal.sound as u64),
        _ => Ok(bytes.len() as u64),
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

    fn load(&self) -> BackendFuture<'_, Stored> {
        Box::pin(async { self.read() })
    }

    fn lock(&self, info: LockInfo) -> BackendFuture<'_, Box<dyn LockGuard>> {
        Box::pin(async move { self.take_lock(&info) })
    }

    fn holder(&self) -> BackendFuture<'_, Option<LockInfo>> {
        Box::pin(async { self.find_holder() })
    }

    fn unlock<'a>(&'a self, from: &'a LockInfo) -> BackendFuture<'a, ()> {
        Box::pin(async move { self.break_lock(from) })
    }

    fn append<'a>(&'a self, entries: &'a [Entry]) -> BackendFuture<'a, ()> {
        Box::pin(async move { self.write_journal(entries) })
    }

    fn save<'a>(&'a self, state: &'a State, over: &'a StoredVersion) -> BackendFuture<'a, StoredVersion> {
        Box::pin(async move { self.write_state(state, over) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::state::{ActionKind, Happening, Lineage};

    fn info(holder: &str) -> LockInfo {
        LockInfo {
            holder: holder.into(),
            host: "h".into(),
            pid: 1,
            since: "2026-01-01T00:00:00Z".into(),
            ..LockInfo::default()
        }
    }

    fn backend(folder: &tempfile::TempDir) -> FileBackend {
        FileBackend::new(folder.path().join("state"), "p")
    }

    fn begin() -> Entry {
        let happening = Happening::Begin { action: ActionKind::Create, creates: None, deposes: Vec::new() };
        Entry::new(("l", 0), "2026-01-01T00:00:00Z".into(), Address::new("aws.iam.role", "x"), happening)
    }

    #[tokio::test]
    async fn state_is_saved_only_over_the_version_that_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let ours = backend(&folder);
        let state = State::new("p", Lineage("l".into()));
        let first = ours.save(&state, &StoredVersion::None).await.unwrap();
        assert!(matches!(ours.save(&state, &StoredVersion::None).await, Err(BackendError::Moved { .. })));
        let changed = State { serial: 1, ..state.clone() };
        ours.save(&changed, &first).await.unwrap();
        let stored = ours.load().await.unwrap();
        assert_eq!(stored.state, Some(changed));
        let earlier = fs::read_to_string(folder.path().join("state/p.json.1")).unwrap();
        assert_eq!(State::parse(&earlier, "p"), Ok(state));
    }

    #[tokio::test]
    async fn journal_survives_until_the_state_is_saved_and_its_torn_line_is_dropped() {
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
        later.save(&State::new("p", Lineage::default()), &StoredVersion::None).await.unwrap();
        assert_eq!(later.load().await.unwrap().journal, Journal::default());
    }

    #[tokio::test]
    async fn second_run_learns_who_holds_the_lock() {
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
        let refused = backend(&folder).load().await.err().unwrap().to_string();
        assert!(refused.contains("the state is damaged: EOF"), "{refused}");
        let saved = backend(&folder).save(&State::new("p", Lineage::default()), &StoredVersion::None).await;
        assert!(matches!(saved, Err(BackendError::Moved { .. })));
    }

    fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
        let path = folder.path().join("state").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn refused(folder: &tempfile::TempDir) -> String {
        let before = fs::read(folder.path().join("state/p.json")).ok();
        let error = backend(folder).load().await.err().unwrap();
        let why = format!("{error}\nhelp: {}", error.help().unwrap_or("none"));
        let saved = backend(folder).save(&State::new("p", Lineage::default()), &StoredVersion::None).await;
        assert!(saved.is_err(), "nothing is written over it");
        assert_eq!(fs::read(folder.path().join("state/p.json")).ok(), before);
        why
    }

    #[tokio::test]
    async fn invalid_or_foreign_state_is_refused_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let ours = State::new("p", Lineage("l".into()));
        let cases = [
            (String::new(), "it is empty"),
            ("{\"format\": 1, ".to_owned(), "the state is damaged"),
            (ours.to_text().unwrap().replace("\"serial\": 0", "\"serial\": 9"), "was edited or damaged"),
            (ours.to_text().unwrap().replace("\"format\": 2", "\"format\": 3"), "use the newer bailiwick"),
            (State::new("q", Lineage::default()).to_text().unwrap(), "belongs to project `q`, not to `p`"),
        ];
        for (text, expected) in cases {
            write(&folder, "p.json", &text);
            let why = refused(&folder).await;
            assert!(why.contains(expected), "{why}");
        }
        write(&folder, "p.json", "");
        write(&folder, "p.json.1", &ours.to_text().unwrap());
        write(&folder, "p.json.2", &ours.to_text().unwrap());
        let why = refused(&folder).await;
        assert!(why.contains("2 earlier states are kept, the latest in") && why.contains("p.json.1: copy"), "{why}");
    }

    #[tokio::test]
    async fn a_folder_in_place_of_the_state_and_a_broken_symbolic_link_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("state/p.json")).unwrap();
        let why = refused(&folder).await;
        assert!(why.contains("Is a directory"), "{why}");
        fs::remove_dir(folder.path().join("state/p.json")).unwrap();
        std::os::unix::fs::symlink("gone.json", folder.path().join("state/p.json")).unwrap();
        let why = refused(&folder).await;
        assert!(why.contains("it is a broken symbolic link"), "{why}");
    }

    #[tokio::test]
    async fn symbolic_link_stays_and_its_target_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new("p", Lineage("l".into()));
        write(&folder, "p.json", &state.to_text().unwrap());
        let (link, target) = (folder.path().join("state/p.json"), folder.path().join("elsewhere.json"));
        fs::rename(&link, &target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let ours = backend(&folder);
        let version = ours.load().await.unwrap().version;
        let changed = State { serial: 1, ..state };
        ours.save(&changed, &version).await.unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(State::parse(&fs::read_to_string(&target).unwrap(), "p"), Ok(changed));
    }

    #[tokio::test]
    async fn failed_journal_write_leaves_no_journal_and_no_half_line() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, "x", "");
        let ours = FileBackend::new(folder.path().join("state/x"), "p");
        assert!(matches!(ours.append(&[begin()]).await, Err(BackendError::Io { .. })));
        assert!(matches!(ours.lock(info("alice")).await, Err(BackendError::Advised { .. })));
        // A device on which every write fails because it is full.
        let full = File::options().append(true).open("/dev/full").unwrap();
        let mut journal = OpenJournal { file: full, sound: 0, broken: false };
        assert!(journal.write("line\n").is_err());
        assert!(journal.broken, "it cannot be cut back, so nothing is written after it");
        assert!(journal.write("line\n").unwrap_err().to_string().contains("half a line"));
    }

    #[tokio::test]
    async fn the_permissions_of_the_state_stay() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let ours = backend(&folder);
        let path = folder.path().join("state/p.json");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let state = State::new("p", Lineage("l".into()));
        let version = ours.save(&state, &StoredVersion::None).await.unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        ours.save(&State { serial: 1, ..state }, &version).await.unwrap();
        assert_eq!(mode(), 0o640);
    }
}
