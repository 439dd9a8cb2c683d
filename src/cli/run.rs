//! Shared by all commands: the clock, the session, and the state under its lock.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::args::Globals;
use super::environment::ProcessEnvironment;
use super::failure::{Ended, ErrorKind, Failure};
use super::host::{Host, Meanwhile};
use super::options::ProblemFormat;
use super::project::Project;
use super::ui::Ui;
use crate::address::Address;
use crate::backend::{Backend, FileBackend, Listener, LockGuard, LockInfo};
use crate::engine::Known;
use crate::provider;
use crate::render;
use crate::session::{self, Session};
use crate::spec::{BackendSpec, S3BackendSpec};
use crate::state::{Lineage, State};

/// One run of the program, which each command receives.
#[derive(Clone, Copy)]
pub struct Invocation<'a> {
    /// The output.
    pub ui: &'a Ui,
    /// The options that every command takes.
    pub globals: &'a Globals,
    /// The environment variables.
    pub environment: &'a ProcessEnvironment,
}

impl Invocation<'_> {
    /// Loads the project. Shows the problems of the spec, in `format` if they stop the command.
    pub fn project(&self, format: ProblemFormat) -> Result<Project, Failure> {
        Project::open(self.ui, self.globals, format)
    }
}

/// Today as YYYY-MM-DD.
pub fn today(host: &dyn Host) -> String {
    host.now().date().to_string()
}

/// Now as RFC 3339.
pub fn now(host: &dyn Host) -> String {
    host.now().timestamp().to_string()
}

/// Creates a new lineage.
pub fn lineage() -> Lineage {
    Lineage((0..32).map(|_| fastrand::digit(16)).collect())
}

/// Parses the addresses of a command line.
pub fn addresses(texts: &[String]) -> Result<BTreeSet<Address>, Failure> {
    texts.iter().map(|t| t.parse().map_err(|e: crate::address::AddressError| Failure::usage(e.to_string()))).collect()
}

/// Prompts for confirmation, unless `yes` is set. If prompting is impossible, fails with the alternative in `instead`.
pub async fn agrees(ui: &Ui, yes: bool, question: &str, instead: &str) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !ui.can_ask() {
        return Err(
            Failure::of(ErrorKind::Unconfirmed, "cannot prompt for confirmation; nothing was written").hint(instead)
        );
    }
    let answer = ui.ask_while_listening(&format!("\n{question} Type `yes` to confirm:")).await;
    Ok(answer.as_deref() == Some("yes"))
}

/// Creates the session of a project.
pub fn session(project: &Project, environment: &ProcessEnvironment) -> Session {
    let endpoints = environment.s3_endpoint.then_some(provider::S3).into_iter().collect();
    let settings = session::Environment { endpoints, concurrency: None };
    Session::new(&project.spec, settings)
}

/// Opens the backend of a project: the one in the spec, or else a folder.
pub async fn home(ui: &Ui, project: &Project, session: &Session) -> Result<Box<dyn Backend>, Failure> {
    let Some(backend) = &project.spec.backend else {
        return Ok(Box::new(FileBackend::new(ui.host().at(&project.state_folder), &project.spec.project)));
    };
    let ui = ui.clone();
    let listener: Listener = Arc::new(move |news| ui.tell(&render::inert(&news.to_string())));
    match backend {
        BackendSpec::S3(s3) => bucket(project, session, s3, listener).await,
    }
}

#[cfg(feature = "cloud")]
async fn bucket(
    project: &Project,
    session: &Session,
    s3: &S3BackendSpec,
    listener: Listener,
) -> Result<Box<dyn Backend>, Failure> {
    use crate::backend::{BackendError, ObjectBackend, S3Objects, Settings};
    let scope = project.spec.regional_scope(&s3.account, s3.region(&project.spec));
    let client = provider::s3_client(session, &scope).await.map_err(BackendError::from)?;
    let objects = S3Objects::open(&client, &project.spec, s3);
    let settings = Settings { lease: s3.lease(), keep: s3.keep(), listener };
    Ok(Box::new(ObjectBackend::new(Arc::new(objects), &project.spec.project, settings)))
}

#[cfg(not(feature = "cloud"))]
#[expect(clippy::unused_async, reason = "has the signature of the function in builds with clients")]
async fn bucket(
    _project: &Project,
    _session: &Session,
    s3: &S3BackendSpec,
    _listener: Listener,
) -> Result<Box<dyn Backend>, Failure> {
    Err(Failure::new(format!("this build has no AWS support: it cannot reach the state in `{}`", s3.bucket)))
}

/// Describes this run to others that find the state locked.
pub fn lock_info(command: &str, ui: &Ui, environment: &ProcessEnvironment) -> LockInfo {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "this machine".into());
    let by = environment.user.as_ref().map(|user| format!(" by {user}")).unwrap_or_default();
    LockInfo {
        holder: format!("bailiwick {command}{by}"),
        host: host.trim().to_owned(),
        pid: std::process::id(),
        since: now(ui.host()),
        run: environment.run.clone(),
        id: lineage().0,
    }
}

/// Runs work under the lock, and releases the lock even if the work fails.
pub async fn locked<T>(
    ui: &Ui,
    backend: &dyn Backend,
    info: LockInfo,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let lock = backend.lock(info).await?;
    let done = work.await;
    give_back(ui, lock).await;
    done
}

/// Releases the lock. A failure is only reported: the work is done, and the lock expires with its lease.
async fn give_back(ui: &Ui, lock: Box<dyn LockGuard>) {
    let given = tokio::time::timeout(GIVE_BACK, lock.release()).await;
    if let Ok(Err(why)) = given {
        ui.tell(&render::inert(&format!("the lock was not released and expires with its lease: {why}")));
    }
}

/// Short, because an interrupted run has little time left.
const GIVE_BACK: std::time::Duration = std::time::Duration::from_secs(3);

/// Loads the state and the journal.
pub async fn known(backend: &dyn Backend, project: &str) -> Result<Known, Failure> {
    Ok(Known::load(backend, project, lineage).await?)
}

/// Runs async work to completion.
pub fn block_on(host: &dyn Host, meanwhile: Meanwhile, work: impl Future<Output = Ended>) -> Ended {
    let mut ended = None;
    let run = async { ended = Some(work.await) };
    host.block_on(meanwhile, Box::pin(run)).map_err(|e| Failure::new(e.to_string()))?;
    ended.unwrap_or_else(|| Err(Failure::silent()))
}

/// Lists the resources of a state, one line each.
pub fn list(state: &State) -> String {
    let mut text = String::new();
    for (address, owned) in &state.resources {
        let mark = if owned.adopted { " (adopted)" } else { "" };
        let unknown = if owned.body.is_none() { " (unknown: a run did not complete its change)" } else { "" };
        let _ = writeln!(text, "{address}  {}{mark}{unknown}", owned.physical_id);
    }
    render::inert(&text)
}
