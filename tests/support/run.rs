//! A project on the in-memory cloud: loads specs, plans, applies and keeps its state.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick::access::{AccessChange, World};
use bailiwick::address::Address;
use bailiwick::backend::{Backend, BackendError, LockGuard, LockInfo, Stored, StoredVersion};
use bailiwick::check::Lints;
pub use bailiwick::diff::Drift;
use bailiwick::document::Digest;
use bailiwick::engine::{Cleared, Engine, Executed, Intent, Known, Limits, Planned, Stopped, Task, Terms};
use bailiwick::event::{Event, Outcome, Outcomes, Sink};
use bailiwick::live::Provider;
use bailiwick::plan::{ActionKind, Former, Guard, Plan, StepId, Which};
use bailiwick::session::{Environment, Session};
use bailiwick::spec::{SourceFile, Spec, load};
use bailiwick::state::{Entry, Journal, Lineage, State};
use serde_json::json;
use tokio::sync::watch;

use super::memory::{self, Cloud, Id};

/// Two accounts, IRSA, a managed key, and a bucket in the other account.
pub const SERVING: &str = r#"
version: 1
project: p
accounts:
  platform: { id: "111111111111", region: us-west-2 }
  models: { id: "222222222222", region: us-west-2 }
clusters:
  prod: { account: platform, name: prod-eks, identity: irsa }
keys:
  weights: { account: models, alias: model-weights, managed: true }
buckets:
  weights: { account: models, name: acme-weights, encryption: { kms_key: weights }, on_destroy: delete }
roles:
  loader: { account: platform, name: kserve-loader }
service_accounts:
  loader: { cluster: prod, namespace: kserve, name: loader, create_namespace: true, role: loader }
grants:
  - { to: loader, bucket: weights, prefix: m/, access: read }
"#;

/// The spec of some files, which must have no problems.
///
/// # Panics
/// If it has problems.
#[must_use]
pub fn spec_of(files: &[(&str, &str)]) -> Spec {
    let files: Vec<SourceFile> =
        files.iter().map(|(name, text)| SourceFile { name: (*name).into(), text: (*text).into() }).collect();
    let (spec, problems) = load(&files);
    let messages: Vec<String> = problems
        .iter()
        .map(|p| {
            format!("{} {}: {}", p.code, p.source.as_ref().map(ToString::to_string).unwrap_or_default(), p.message)
        })
        .collect();
    assert!(problems.is_empty(), "{}\n{}", messages.join("\n"), files.iter().map(|f| &*f.text).collect::<String>());
    spec.unwrap()
}

/// The spec of one file.
#[must_use]
pub fn spec(text: &str) -> Spec {
    spec_of(&[("bailiwick.yaml", text)])
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

#[derive(Default)]
struct Kept {
    state: Option<String>,
    journal: Vec<u8>,
    locked: Option<LockInfo>,
    trouble: Option<Trouble>,
    /// How often something was stored.
    stored: usize,
}

/// A fault of the backend.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Nothing can be stored after this many more times.
    Full(usize),
    /// The process dies at the n-th write to the backend from now.
    Dies(usize, Death, Arc<tokio::sync::Notify>),
}

/// The time at which a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Before anything is stored.
    Before,
    /// When half of it is stored.
    Half,
    /// When all of it is stored, and before the response arrives.
    After,
}

/// A backend in memory, in the form in which files would be on a disk.
#[derive(Clone)]
pub struct MemoryBackend {
    project: String,
    kept: Arc<Mutex<Kept>>,
}

struct MemoryLock(Arc<Mutex<Kept>>);

impl LockGuard for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).locked = None;
    }
}

impl MemoryBackend {
    #[must_use]
    pub fn new(project: &str) -> Self {
        Self { project: project.to_owned(), kept: Arc::default() }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the text of a state and the bytes of a journal as they are.
    pub fn hold(&self, state: Option<String>, journal: Vec<u8>) {
        let mut kept = self.kept();
        (kept.state, kept.journal) = (state, journal);
    }

    /// The text of the state and the bytes of the journal.
    #[must_use]
    pub fn held(&self) -> (Option<String>, Vec<u8>) {
        let kept = self.kept();
        (kept.state.clone(), kept.journal.clone())
    }

    /// Stores a state.
    pub fn store(&self, state: &State) {
        self.kept().state = Some(state.to_text().unwrap());
    }

    /// The physical ids of the exclusive policies in the state.
    #[must_use]
    pub fn exclusive(&self) -> BTreeSet<String> {
        let kept = self.kept();
        let state = kept.state.as_ref().map(|text| State::parse(text, &self.project).unwrap());
        let owned = state.into_iter().flat_map(|state| state.resources.into_values());
        owned
            .filter(|o| o.body.as_ref().is_some_and(|body| body.tree().get("exclusive").is_some()))
            .map(|o| o.physical_id)
            .collect()
    }

    /// Sets a fault from now on.
    pub fn trouble(&self, trouble: Trouble) {
        let mut kept = self.kept();
        let now = kept.stored;
        kept.trouble = Some(match trouble {
            Trouble::Full(after) => Trouble::Full(now + after),
            Trouble::Dies(at, death, notify) => Trouble::Dies(now + at, death, notify),
        });
    }

    /// Removes the fault.
    pub fn clear_faults(&self) {
        self.kept().trouble = None;
    }

    /// How often something was stored.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.kept().stored
    }

    /// The fault of this attempt to store something, if any.
    fn befalls(&self) -> Result<Option<(Death, Arc<tokio::sync::Notify>)>, BackendError> {
        let mut kept = self.kept();
        kept.stored += 1;
        match &kept.trouble {
            Some(Trouble::Full(after)) if kept.stored > *after => {
                Err(BackendError::Io { path: "memory".into(), why: std::io::ErrorKind::StorageFull.into() })
            }
            Some(Trouble::Dies(at, death, notify)) if kept.stored == *at => Ok(Some((*death, notify.clone()))),
            _ => Ok(None),
        }
    }

    /// The journal as it is stored.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept().journal).into_owned()
    }

    /// The length of the journal.
    #[must_use]
    pub fn journalled(&self) -> usize {
        self.kept().journal.len()
    }

    /// Cuts the journal's last bytes off, as a crash would.
    pub fn tear(&self, bytes: usize) {
        let mut kept = self.kept();
        let left = kept.journal.len().saturating_sub(bytes);
        kept.journal.truncate(left);
    }
}

impl Backend for MemoryBackend {
    fn place(&self) -> String {
        "memory".into()
    }

    fn load(&self) -> Boxed<'_, Stored> {
        Box::pin(async {
            let kept = self.kept();
            let state = kept.state.as_ref().map(|text| State::parse(text, &self.project)).transpose();
            let state = state.map_err(|why| BackendError::State { path: self.place(), why })?;
            let version =
                kept.state.as_ref().map_or(StoredVersion::None, |t| StoredVersion::Digest(Digest::of(t.as_bytes())));
            let journal =
                Journal::parse(&kept.journal).map_err(|why| BackendError::Journal { path: self.place(), why })?;
            Ok(Stored { state, version, journal })
        })
    }

    fn lock(&self, info: LockInfo) -> Boxed<'_, Box<dyn LockGuard>> {
        Box::pin(async move {
            let mut kept = self.kept();
            match &kept.locked {
                Some(by) => Err(BackendError::Locked { path: self.place(), by: Box::new(by.clone()) }),
                None => {
                    kept.locked = Some(info);
                    Ok(Box::new(MemoryLock(self.kept.clone())) as Box<dyn LockGuard>)
                }
            }
        })
    }

    fn append<'a>(&'a self, entries: &'a [Entry]) -> Boxed<'a, ()> {
        Box::pin(async move {
            let death = self.befalls()?;
            let lines = entries.iter().map(Entry::line).collect::<Result<Vec<_>, _>>()?.concat();
            let written = match &death {
                None | Some((Death::After, _)) => lines.len(),
                Some((Death::Half, _)) => lines.len() / 2,
                Some((Death::Before, _)) => 0,
            };
            {
                let mut kept = self.kept();
                // A torn last line is dropped before new ones.
                let whole = kept.journal.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
                kept.journal.truncate(whole);
                kept.journal.extend_from_slice(&lines.as_bytes()[..written]);
            }
            die(death).await;
            Ok(())
        })
    }

    fn save<'a>(&'a self, state: &'a State, over: &'a StoredVersion) -> Boxed<'a, StoredVersion> {
        Box::pin(async move {
            let found = self.load().await?.version;
            if found != *over {
                return Err(BackendError::Moved { path: self.place() });
            }
            let text = state.to_text()?;
            let version = StoredVersion::Digest(Digest::of(text.as_bytes()));
            let death = self.befalls()?;
            {
                let mut kept = self.kept();
                // The state is stored first, and the journal is removed after it: a process may die in between.
                if death.as_ref().is_none_or(|(death, _)| *death != Death::Before) {
                    kept.state = Some(text);
                }
                if death.as_ref().is_none_or(|(death, _)| *death == Death::After) {
                    kept.journal.clear();
                }
            }
            die(death).await;
            Ok(version)
        })
    }
}

/// Never returns if the process dies here: the caller must drop its future.
async fn die(death: Option<(Death, Arc<tokio::sync::Notify>)>) {
    if let Some((_, notify)) = death {
        notify.notify_one();
        std::future::pending::<()>().await;
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Sink for Heard {
    fn take(&self, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// A project: a cloud, a backend, and the events of its runs.
pub struct Project {
    pub cloud: Cloud,
    pub backend: MemoryBackend,
    pub limits: Limits,
    /// The findings about policies that were already known.
    lints: Lints,
    /// Returns the time for the journal.
    pub clock: Arc<dyn Fn() -> String + Send + Sync>,
    heard: Arc<Heard>,
}

/// The published access changes of a plan.
#[must_use]
pub fn changes(planned: &Planned) -> Vec<AccessChange> {
    planned.changes().to_vec()
}

/// An applied plan.
pub struct Applied {
    pub plan: Plan,
    pub outcomes: Outcomes,
    pub state: State,
}

impl Applied {
    /// The steps that were not done, each with its outcome.
    #[must_use]
    pub fn undone(&self) -> BTreeMap<String, &Outcome> {
        let undone = self.outcomes.iter().filter(|(_, outcome)| **outcome != Outcome::Done);
        undone.map(|(name, outcome)| (name_of(name), outcome)).collect()
    }

    /// The steps in the plan's order: `create aws.iam.role.loader`.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        steps(&self.plan)
    }
}

/// A step's id as text, without the key of a deposed object.
#[must_use]
pub fn name_of(id: &StepId) -> String {
    if id.deposed().is_some() { format!("{}#deposed", id.address) } else { id.to_string() }
}

/// The steps of a plan in its order: `create aws.iam.role.loader`.
#[must_use]
pub fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|s| format!("{} {}", s.action(), name_of(s.id()))).collect()
}

/// A guard that allows everything that a plan does.
fn anything(planned: &Planned) -> Terms {
    let allow_delete = planned.plan().steps.iter().map(|step| step.address().clone()).collect();
    let guard = Guard { allow_deletes: Some(usize::MAX), allow_delete, ..Guard::default() };
    let allowed = planned.findings().iter().map(|finding| finding.code).collect();
    Terms { guard, allowed, partial: true, digest: None }
}

fn noon() -> String {
    "2026-01-01T12:00:00Z".to_owned()
}

/// A run without interrupts.
fn unstoppable() -> watch::Receiver<bool> {
    watch::channel(false).1
}

impl Project {
    /// A project on a cloud, with its own state.
    #[must_use]
    pub fn new(name: &str, cloud: Cloud) -> Self {
        let limits = Limits {
            steps: 4,
            patience: Duration::from_mins(1),
            grace: Duration::from_secs(5),
            pause: Duration::from_secs(1),
        };
        let backend = MemoryBackend::new(name);
        let (clock, lints) = (Arc::new(noon), Lints::default());
        Self { cloud, backend, limits, lints, clock, heard: Arc::default() }
    }

    /// The same project, as a concurrent second run sees it.
    #[must_use]
    pub fn beside(&self) -> Self {
        let (cloud, backend, clock) = (self.cloud.clone(), self.backend.clone(), self.clock.clone());
        Self { cloud, backend, limits: self.limits, lints: Lints::default(), clock, heard: Arc::default() }
    }

    /// The events since the last call.
    #[must_use]
    pub fn heard(&self) -> Vec<Event> {
        std::mem::take(&mut self.heard.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn session(spec: &Spec) -> Session {
        Session::new(spec, Environment::default())
    }

    /// Runs a closure with an engine on the in-memory cloud.
    async fn with_engine<T>(&self, spec: &Spec, work: impl AsyncFnOnce(Engine<'_>) -> T) -> T {
        let (register, session) = (self.cloud.register(), Self::session(spec));
        let providers: [Box<dyn Provider>; 1] = [Box::new(self.cloud.clone())];
        let (limits, sink) = (self.limits, self.heard.as_ref());
        work(Engine { register: &register, providers: &providers, session: &session, limits, sink }).await
    }

    /// What is known of the project before a run.
    pub async fn known(&self) -> Known {
        Known::load(&self.backend, &self.backend.project, || Lineage("lineage".into())).await.unwrap()
    }

    /// The state with the journal of an interrupted run, as every command reads it.
    pub async fn state(&self) -> (State, StoredVersion, Vec<Address>) {
        let known = self.known().await;
        let unknown = known.unknown();
        (known.state, known.version, unknown)
    }

    /// Reads and plans.
    ///
    /// # Errors
    /// The problems that prevent a plan.
    pub async fn plan(&self, spec: &Spec) -> Result<Planned, Vec<String>> {
        self.plan_to(spec, Intent::Apply).await
    }

    async fn plan_to(&self, spec: &Spec, intent: Intent) -> Result<Planned, Vec<String>> {
        let task = Task::new(spec, intent, "2026-01-01", &self.lints);
        let planned = self
            .with_engine(spec, async |engine| {
                let compiled = engine.compile(&task).await?;
                let observed = engine.observe_all(&task, compiled, self.known().await).await?;
                engine.plan(&task, observed, &BTreeSet::new()).await
            })
            .await;
        planned.map_err(|stopped| match stopped {
            Stopped::Spec(problems) => problems.iter().map(|p| format!("{}: {}", p.code, p.message)).collect(),
            Stopped::Unplannable(errors) => errors.iter().map(ToString::to_string).collect(),
            other => vec![format!("{other:?}")],
        })
    }

    /// What drifted since the last apply.
    ///
    /// # Panics
    /// If a caller is unknown.
    pub async fn drift(&self, spec: &Spec) -> Vec<Drift> {
        let task = Task::new(spec, Intent::Apply, "2026-01-01", &self.lints);
        let known = self.known().await;
        self.with_engine(spec, async |engine| engine.drift(&task, &known).await.unwrap().0).await
    }

    /// The live world.
    ///
    /// # Panics
    /// If an object of the spec or the state cannot be read.
    pub async fn live_world(&self, spec: &Spec) -> World {
        let task = Task::new(spec, Intent::Apply, "2026-01-01", &self.lints);
        let known = self.known().await;
        self.with_engine(spec, async |engine| engine.world(&task, &known).await.unwrap()).await
    }

    /// Applies a plan, regardless of deletions and findings.
    ///
    /// # Errors
    /// If the journal or the state could not be written.
    pub async fn execute(
        &self,
        spec: &Spec,
        planned: Planned,
        stop: watch::Receiver<bool>,
    ) -> Result<Applied, BackendError> {
        let _ = self.heard();
        let terms = anything(&planned);
        let executed = self.with_engine(spec, async |engine| {
            let cleared = engine.clear(planned, &terms).unwrap_or_else(|why| panic!("{why:?}"));
            engine.execute(cleared, &self.backend, &*self.clock, stop).await
        });
        let Executed { plan, outcomes, state, broken } = executed.await;
        broken.map_or(Ok(Applied { plan, outcomes, state }), Err)
    }

    /// Clears a saved plan for execution.
    ///
    /// # Errors
    /// Why it may not be executed.
    pub async fn clear_saved(&self, spec: &Spec, plan: Plan) -> Result<Cleared, Stopped> {
        let task = Task::new(spec, Intent::Apply, "2026-01-01", &self.lints);
        let known = self.known().await;
        self.with_engine(spec, async |engine| {
            engine.clear_saved(&task, plan, known, &Terms::default(), "the memory of the test").await
        })
        .await
    }

    /// The changes to the resources of a plan since it was created.
    pub async fn moved(&self, spec: &Spec, plan: &Plan) -> Vec<String> {
        let moved = self.with_engine(spec, async |engine| engine.moved(plan).await).await;
        moved.iter().map(|(step, how)| format!("{step}: {how}")).collect()
    }

    /// Plans and applies.
    ///
    /// # Panics
    /// If there is no plan.
    pub async fn apply(&self, spec: &Spec) -> Applied {
        self.apply_until(spec, unstoppable()).await
    }

    /// Plans and applies until it is interrupted.
    ///
    /// # Panics
    /// If there is no plan.
    pub async fn apply_until(&self, spec: &Spec, stop: watch::Receiver<bool>) -> Applied {
        let planned = self.plan(spec).await.unwrap_or_else(|errors| panic!("no plan: {}", errors.join("\n")));
        self.execute(spec, planned, stop).await.unwrap()
    }

    /// Plans and applies, and drops the run on a kill: only the journal remains.
    pub async fn apply_until_killed(&self, spec: &Spec, killed: &tokio::sync::Notify) -> bool {
        tokio::select! {
            biased;
            () = killed.notified() => true,
            _ = self.apply(spec) => false,
        }
    }

    /// Plans and applies, and everything is done.
    ///
    /// # Panics
    /// If a step is not done.
    pub async fn apply_all(&self, spec: &Spec) -> Applied {
        let applied = self.apply(spec).await;
        assert_eq!(applied.undone(), BTreeMap::new());
        applied
    }

    /// Destroys everything; every step must be done.
    ///
    /// # Panics
    /// If a step is not done.
    pub async fn destroy(&self, spec: &Spec) -> Applied {
        let planned = self.plan_to(spec, Intent::Destroy).await.unwrap_or_else(|why| panic!("{}", why.join("\n")));
        let applied = self.execute(spec, planned, unstoppable()).await.unwrap();
        assert_eq!(applied.undone(), BTreeMap::new());
        applied
    }

    /// Asserts that there is nothing to do.
    ///
    /// # Panics
    /// If there is.
    pub async fn assert_converged(&self, spec: &Spec) {
        let planned = self.plan(spec).await.unwrap_or_else(|errors| panic!("no plan: {}", errors.join("\n")));
        let remaining: Vec<String> = planned
            .plan()
            .steps
            .iter()
            .map(|s| format!("{} {}: {:?}", s.action(), name_of(s.id()), s.reasons))
            .collect();
        assert_eq!(remaining, Vec::<String>::new(), "a second plan is not empty");
        assert_eq!(self.drift(spec).await, Vec::new());
        assert_eq!(planned.known().unknown(), Vec::<Address>::new());
    }

    /// Asserts that no step came before its dependencies, by the events and by the cloud.
    ///
    /// # Panics
    /// If one did.
    pub fn assert_order(&self, plan: &Plan) {
        let mut done: Vec<StepId> = Vec::new();
        let mut done_before: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
        for event in self.heard() {
            match event {
                Event::Started { step, .. } => {
                    let waits = plan.steps.iter().find(|s| *s.id() == step).map(|s| s.waits_for.clone());
                    for first in waits.unwrap_or_default() {
                        assert!(done.contains(&first), "{} began before {} was done", name_of(&step), name_of(&first));
                    }
                    done_before.insert(step, done.clone());
                }
                Event::Ended { step, outcome: Outcome::Done, .. } => done.push(step),
                _ => {}
            }
        }
        let world = self.cloud.world();
        let wrong: Vec<String> = world
            .violations()
            .iter()
            .filter(|v| v.needed_by.as_ref().is_none_or(|user| too_early(&world, plan, &v.address, user, &done_before)))
            .map(|v| format!("{}: {}", v.address, v.what))
            .collect();
        assert_eq!(wrong, Vec::<String>::new());
    }
}

/// Whether a resource was deleted before the step that changes or deletes an object that still needs it. A resource
/// that is replaced in place must be deleted before anything can name the new one.
fn too_early(
    world: &memory::World,
    plan: &Plan,
    address: &Address,
    user: &Id,
    done_before: &BTreeMap<StepId, Vec<StepId>>,
) -> bool {
    plan.steps.iter().filter(|s| s.address() == address && s.deletes()).any(|gone| {
        let in_place = gone.id().which == Which::Former(Former::Replaced);
        let done = done_before.get(gone.id());
        let users = plan.steps.iter().filter(|s| s.action() != ActionKind::Create);
        let mut users = users.filter(|s| world.id(s.address().kind().as_str(), &s.scope, &s.physical_id) == *user);
        !in_place && users.any(|s| done.is_some_and(|done| !done.contains(s.id())))
    })
}

/// Adds foreign entries wherever others may write.
#[must_use]
pub fn plant(project: &Project) -> Vec<(Id, &'static str)> {
    let mut world = project.cloud.world();
    let ids: Vec<Id> = world.ids().cloned().collect();
    let exclusive = project.backend.exclusive();
    let mut planted = Vec::new();
    for id in ids {
        let name = id.name.clone();
        match id.kind.as_str() {
            "aws.s3.bucket_policy" | "aws.kms.key_policy" if !exclusive.contains(&name) => {
                let statement = json!({"Sid": "Planted", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
                    "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}});
                world.add_statement(&id, statement);
            }
            "aws.iam.role" | "aws.iam.policy" | "aws.s3.bucket" | "aws.kms.key" => {
                world.edit(&id, |body| body["tags"]["planted"] = "Planted".into());
            }
            "aws.iam.oidc_provider" => {
                world.edit(&id, |body| body["client_ids"]["Planted"] = true.into());
            }
            _ => continue,
        }
        planted.push((id, "Planted"));
    }
    planted
}
