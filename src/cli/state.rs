//! Where a project's state lives, and the commands that look at it or mend it.

use std::fmt::Write as _;
use std::sync::Arc;

use super::args::{Args, StateCommand};
use super::project::Project;
use super::ui::{Environment, Ui};
use super::{Ended, Exit, Failure, now};
use crate::address::Address;
use crate::backend::{Backend, FileBackend, Listener, LockGuard, LockInfo};
use crate::engine::Known;
use crate::provider;
use crate::render;
use crate::session::{self, Session};
use crate::spec::{BackendSpec, S3BackendSpec};
use crate::state::State;

/// Clients for the accounts and clusters of a project.
pub(super) fn session(project: &Project, environment: &Environment) -> Session {
    let endpoints = environment.s3_endpoint.then_some(provider::S3).into_iter().collect();
    let settings = session::Environment { endpoints, concurrency: None };
    Session::new(&project.spec, settings)
}

/// The home of a project's state: a folder, or what the spec names.
pub(super) async fn home(ui: &Ui, project: &Project, session: &Session) -> Result<Box<dyn Backend>, Failure> {
    let Some(backend) = &project.spec.backend else {
        return Ok(Box::new(FileBackend::new(project.state_folder.clone(), &project.spec.project)));
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

/// Who we are, for those who find the lock taken.
pub(super) fn lock_info(command: &str, environment: &Environment) -> LockInfo {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "this machine".into());
    let by = environment.user.as_ref().map(|user| format!(" by {user}")).unwrap_or_default();
    LockInfo {
        holder: format!("bailiwick {command}{by}"),
        host: host.trim().to_owned(),
        pid: std::process::id(),
        since: now(),
        run: environment.run.clone(),
        id: super::lineage().0,
    }
}

/// Does something under the lock, and gives the lock back however it ends.
pub(super) async fn locked<T>(
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

/// What was done is done: that the lock stays until its lease ends is no failure of the run.
async fn give_back(ui: &Ui, lock: Box<dyn LockGuard>) {
    let given = tokio::time::timeout(GIVE_BACK, lock.release()).await;
    if let Ok(Err(why)) = given {
        ui.tell(&render::inert(&format!("the lock was not given back, and ends with its lease: {why}")));
    }
}

/// An interrupted run has little time left.
const GIVE_BACK: std::time::Duration = std::time::Duration::from_secs(3);

/// The state as it is known.
pub(super) async fn known(backend: &dyn Backend, project: &str) -> Result<Known, Failure> {
    Ok(Known::load(backend, project, super::lineage).await?)
}

/// What goes on while something is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// Nothing: all is done on one thread, which answers need not be handed over to.
    Nothing,
    /// A lock is kept, however long the computing takes.
    LockIsKept,
}

/// Runs something that waits.
pub(super) fn block_on<T>(
    meanwhile: Meanwhile,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut runtime = match meanwhile {
        Meanwhile::Nothing => tokio::runtime::Builder::new_current_thread(),
        Meanwhile::LockIsKept => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(e.to_string()))?;
    let done = runtime.block_on(future);
    // Whoever still waits for an answer at the prompt is not waited for.
    runtime.shutdown_background();
    done
}

pub(super) fn run(ui: &Ui, args: &Args, command: &StateCommand, environment: &Environment) -> Ended {
    let project = Project::open(ui, &args.file, args.state.as_deref())?;
    let session = session(&project, environment);
    block_on(Meanwhile::LockIsKept, async {
        let backend = home(ui, &project, &session).await?;
        Mending { ui, project: &project, backend: &*backend, environment }.run(command).await
    })
}

struct Mending<'a> {
    ui: &'a Ui,
    project: &'a Project,
    backend: &'a dyn Backend,
    environment: &'a Environment,
}

impl Mending<'_> {
    async fn run(&self, command: &StateCommand) -> Ended {
        match command {
            StateCommand::List => self.ui.result(&list(&self.known().await?.state)),
            StateCommand::Show { address: text } => {
                let Known { state, .. } = self.known().await?;
                let owned = state.resources.get(&address(text)?).ok_or_else(|| missing(text))?;
                let value = serde_json::to_value(owned).map_err(|e| Failure::new(e.to_string()))?;
                self.ui.result(&render::json(&value));
            }
            StateCommand::Rm { address: text } => {
                let wanted = address(text)?;
                let remove =
                    |state: &mut State| state.resources.remove(&wanted).map(|_| ()).ok_or_else(|| missing(text));
                self.edit("state rm", remove).await?;
                self.ui.tell(&format!("{wanted} is no longer in the state; the thing itself was not touched"));
            }
            StateCommand::Mv { from, to } => {
                let (old, new) = (address(from)?, address(to)?);
                if old.kind() != new.kind() {
                    return Err(Failure::new(format!("{old} and {new} are of different kinds")));
                }
                self.edit("state mv", |state| {
                    if state.resources.contains_key(&new) {
                        return Err(Failure::new(format!("the state has {new} already")));
                    }
                    let owned = state.resources.remove(&old).ok_or_else(|| missing(from))?;
                    state.resources.insert(new.clone(), owned);
                    for owned in state.resources.values_mut() {
                        for reference in owned.references.iter_mut().filter(|r| r.to == old) {
                            reference.to = new.clone();
                        }
                    }
                    Ok(())
                })
                .await?;
                self.ui.tell(&format!("{old} is now {new}"));
            }
            StateCommand::Unlock { yes } => return self.unlock(*yes).await,
            // Needs clients for everything.
            StateCommand::Rebuild { .. } => return Err(Failure::silent()),
        }
        Ok(Exit::Ok)
    }

    async fn known(&self) -> Result<Known, Failure> {
        known(self.backend, &self.project.spec.project).await
    }

    /// Changes the stored state under its lock.
    async fn edit(&self, command: &str, change: impl FnOnce(&mut State) -> Result<(), Failure>) -> Result<(), Failure> {
        locked(self.ui, self.backend, lock_info(command, self.environment), async {
            let Known { mut state, version, .. } = self.known().await?;
            change(&mut state)?;
            state.serial += 1;
            self.backend.save(&state, &version).await.map(|_| ()).map_err(Failure::from)
        })
        .await
    }

    async fn unlock(&self, yes: bool) -> Ended {
        let place = self.backend.place();
        let Some(holder) = self.backend.holder().await? else {
            self.ui.tell(&format!("nobody holds the lock of {place}"));
            return Ok(Exit::Ok);
        };
        self.ui.tell(&render::inert(&format!("the lock of {place} is held by {holder}")));
        self.ui.tell("if that run is still at work, it stops before its next write, and leaves the rest undone");
        if !self.ui.agrees(yes, "Break this lock?").await? {
            return Err(Failure::new("not broken"));
        }
        self.backend.unlock(&holder).await?;
        self.ui.tell(&render::inert(&format!("broke the lock of {holder}")));
        Ok(Exit::Ok)
    }
}

fn address(text: &str) -> Result<Address, Failure> {
    text.parse::<Address>().map_err(|e| Failure::new(e.to_string()))
}

fn missing(text: &str) -> Failure {
    Failure::new(format!("the state has no `{text}`: see `bailiwick state list`"))
}

/// One line for each thing.
pub(super) fn list(state: &State) -> String {
    let mut text = String::new();
    for (address, owned) in &state.resources {
        let mark = if owned.adopted { " (adopted)" } else { "" };
        let unknown = if owned.body.is_none() { " (unknown: a run was cut off)" } else { "" };
        let _ = writeln!(text, "{address}  {}{mark}{unknown}", owned.physical_id);
    }
    render::inert(&text)
}
