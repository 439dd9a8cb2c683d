//! The pipeline from a spec to an executable plan. Each stage is a type, and only the last one can be executed:
//! [`Compiled`], [`ObservedWorld`], [`Planned`], [`Cleared`]. A plan is cleared only by the guard and the checks.
//!
//! The commands and the tests share this code.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Engine, Prepared};
use crate::access::{self, AccessChange, Chains, World};
use crate::address::Address;
use crate::backend::{Backend, BackendError, Stored, StoredVersion};
use crate::check::{self, Lints};
use crate::desired::{self, Desired};
use crate::diagnostic::{Code, Diagnostic};
use crate::diff::{self, Drift};
use crate::document::Digest;
use crate::graph::Graph;
use crate::kind::{Kinds, OwnedBy, Resource};
use crate::plan::{
    self, Bodies, Change, ChangedSince, Guard, LeftOut, Operation, Plan, PlanError, Reason, Refusal, Step, StepId,
};
use crate::session::SessionError;
use crate::snapshot::Seen;
use crate::spec::{Facts, Spec};
use crate::state::{Entry, FORMAT, Lineage, State, replay};

/// The goal of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// The resources of the spec must exist.
    Apply,
    /// The project's resources must not exist.
    Destroy,
}

/// The input of a run: the spec, the goal, and what the checks need.
#[derive(Debug)]
pub struct Task<'a> {
    /// The spec as the user wrote it.
    pub spec: &'a Spec,
    /// The spec of what must exist afterwards: `spec` itself, or an emptied one to destroy.
    wanted: Spec,
    /// The goal of the run.
    pub intent: Intent,
    /// Today (YYYY-MM-DD), to decide which accepts have expired.
    pub today: &'a str,
    /// Cached lint results of policies.
    pub lints: &'a Lints,
}

impl<'a> Task<'a> {
    /// Creates the task of a run for a spec.
    #[must_use]
    pub fn new(spec: &'a Spec, intent: Intent, today: &'a str, lints: &'a Lints) -> Self {
        let wanted = match intent {
            Intent::Apply => spec.clone(),
            Intent::Destroy => spec.emptied(),
        };
        Self { spec, wanted, intent, today, lints }
    }
}

/// Why a run stopped. Nothing was written.
#[derive(Debug)]
pub enum Stopped {
    /// The spec has problems, or findings block the run.
    Spec(Vec<Diagnostic>),
    /// The caller is in the wrong account, or unknown, in these places.
    Callers(Vec<SessionError>),
    /// Facts that are needed to compile the spec could not be read.
    Facts(Vec<Diagnostic>),
    /// The state could not be read.
    Backend(BackendError),
    /// The journal does not belong to the stored state.
    OtherJournal {
        /// The location of the state and the journal.
        place: String,
        /// The lineage and serial that the journal continues.
        journal: (String, u64),
        /// The lineage and serial of the stored state.
        state: (String, u64),
    },
    /// No plan can be built.
    Unplannable(Vec<PlanError>),
    /// Targets that are neither in the spec nor in the state.
    UnknownTargets(Vec<Address>),
    /// There is no state, but these resources carry the project's ownership tag.
    Lost {
        /// The project.
        project: String,
        /// The resources that carry its tag.
        addresses: Vec<Address>,
    },
    /// The guard refused the plan, or findings block it.
    Refused {
        /// The refusals of the guard.
        refusals: Vec<Refusal>,
        /// The number of blocking findings.
        findings: usize,
    },
    /// The plan is partial, and the caller did not allow that.
    Partial(BTreeMap<Address, LeftOut>),
    /// The plan's digest is not the expected one.
    OtherDigest {
        /// The expected digest.
        expected: String,
        /// The digest of the plan.
        found: Digest,
    },
    /// The plan and the spec are for different projects.
    OtherProject {
        /// The project of the plan.
        plan: String,
        /// The project of the spec.
        spec: String,
    },
    /// The spec changed after the plan was created.
    SpecChanged,
    /// The plan was created from a state of another lineage.
    OtherLineage {
        /// The lineage that the plan was created from.
        plan: String,
        /// The lineage of the stored state.
        state: String,
        /// The location of the stored state.
        place: String,
    },
    /// The state changed after the plan was created.
    StateChanged,
    /// Resources of the plan changed after it was created, by step.
    Changed(BTreeMap<StepId, ChangedSince>),
    /// The answer depends on these resources, which could not be read, and why.
    Unread(BTreeMap<Address, String>),
}

impl From<BackendError> for Stopped {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

/// The stored state, brought up to date with the journal of an interrupted run.
#[derive(Clone, Debug)]
pub struct Known {
    /// The state.
    pub state: State,
    /// The version of the stored state.
    pub version: StoredVersion,
    /// Whether the journal added entries that the stored state does not have yet.
    pub recovered: bool,
    /// Whether an older version of the program wrote the state or the journal: the next apply writes them again.
    pub outdated: bool,
    /// The beginnings of the steps with an unknown outcome, as the journal has them, ordered by address.
    pub unfinished: Vec<Entry>,
}

impl Known {
    /// Loads the state and the journal from a backend. `lineage` creates the lineage if no state exists yet.
    ///
    /// # Errors
    /// When either cannot be read, or the journal does not belong to the stored state.
    pub async fn load(
        backend: &dyn Backend,
        project: &str,
        lineage: impl FnOnce() -> Lineage,
    ) -> Result<Self, Stopped> {
        Self::of(backend.load().await?, project, lineage).map_err(|error| match error {
            Stopped::OtherJournal { journal, state, .. } => {
                Stopped::OtherJournal { place: backend.place(), journal, state }
            }
            other => other,
        })
    }

    /// Folds the journal into the stored state. Entries for an earlier serial are already part of the state and are
    /// ignored.
    ///
    /// # Errors
    /// When the journal does not belong to the stored state.
    pub fn of(stored: Stored, project: &str, lineage: impl FnOnce() -> Lineage) -> Result<Self, Stopped> {
        let entries = stored.journal.entries;
        let base = stored.state.unwrap_or_else(|| {
            let lineage = entries.first().map_or_else(lineage, |e| Lineage(e.state.0.clone()));
            State::new(project, lineage)
        });
        let current = (base.lineage.0.clone(), base.serial);
        if let Some(entry) = entries.iter().find(|e| e.state.0 != current.0 || e.state.1 > current.1) {
            let (place, journal) = (String::new(), entry.state.clone());
            return Err(Stopped::OtherJournal { place, journal, state: current });
        }
        let entries: Vec<Entry> = entries.into_iter().filter(|e| e.state == current).collect();
        let recovered = !entries.is_empty();
        let outdated = base.format < FORMAT || entries.iter().any(Entry::is_outdated);
        let (state, unfinished) = replay(base, &entries);
        let unfinished = unfinished.into_iter().cloned().collect();
        Ok(Self { state, version: stored.version, recovered, outdated, unfinished })
    }

    /// The addresses for which the outcome of the last step is unknown.
    #[must_use]
    pub fn unknown(&self) -> Vec<Address> {
        let mut addresses: Vec<Address> = self.unfinished.iter().map(|entry| entry.address.clone()).collect();
        addresses.dedup();
        addresses
    }

    /// Saves the state as the next one of its lineage, in the current format. What is unknown stays so: saving empties the
    /// journal, and the begins of unfinished steps are written again.
    ///
    /// # Errors
    /// When the state or the journal cannot be written.
    pub async fn save(&mut self, backend: &dyn Backend) -> Result<(), BackendError> {
        let Self { state, version, unfinished, .. } = self;
        state.succeed();
        *version = backend.save(state, version).await?;
        let now = (state.lineage.0.as_str(), state.serial);
        let entries: Vec<Entry> = unfinished.drain(..).map(|entry| entry.continuing(now)).collect();
        if entries.is_empty() { Ok(()) } else { backend.append(&entries).await }
    }

    /// Removes an address from the state, with what is unknown of it. Returns whether the state had it.
    pub fn remove(&mut self, address: &Address) -> bool {
        self.unfinished.retain(|entry| entry.address != *address || entry.deposed.is_some());
        self.state.resources.remove(address).is_some()
    }

    /// Gives a resource of the state another address, also where others refer to it. Returns whether the state had it.
    pub fn rename(&mut self, from: &Address, to: &Address) -> bool {
        let Some(owned) = self.state.resources.remove(from) else { return false };
        self.state.resources.insert(to.clone(), owned);
        for reference in self.state.resources.values_mut().flat_map(|owned| &mut owned.references) {
            if reference.to == *from {
                reference.to = to.clone();
            }
        }
        for entry in self.unfinished.iter_mut().filter(|entry| entry.address == *from && entry.deposed.is_none()) {
            entry.address = to.clone();
        }
        true
    }
}

/// Compiled with placeholder facts. None of its names may be sent to a service.
#[derive(Debug)]
pub struct Assumed;

/// Compiled with facts that were read from the services.
#[derive(Debug)]
pub struct Resolved;

/// A compiled spec: its resolved grants, and every desired resource.
#[derive(Debug)]
pub struct Compiled<K> {
    /// The facts that the spec was compiled with.
    pub facts: Facts,
    /// The resolved grants.
    pub chains: Chains,
    /// Every desired resource.
    pub desired: Desired,
    how: PhantomData<K>,
}

/// Compiles a spec with facts.
///
/// # Errors
/// Every problem of the spec, including a cycle of references.
fn compile<K>(spec: &Spec, facts: Facts, kinds: &Kinds<'_>) -> Result<Compiled<K>, Vec<Diagnostic>> {
    let chains = access::lower(spec);
    let (desired, mut problems) = desired::build(spec, &facts, &chains, kinds);
    problems.extend(cycle(&desired));
    if problems.is_empty() {
        return Ok(Compiled { facts, chains, desired, how: PhantomData });
    }
    problems.sort_by(|a, b| a.source.cmp(&b.source));
    Err(problems)
}

/// Compiles a spec with placeholder facts, without any request.
///
/// # Errors
/// Every problem of the spec.
pub fn assume(spec: &Spec, kinds: &Kinds<'_>) -> Result<Compiled<Assumed>, Vec<Diagnostic>> {
    compile(spec, Facts::placeholders(spec), kinds)
}

/// Reports a cycle of references, with its path.
fn cycle(desired: &Desired) -> Option<Diagnostic> {
    let places: HashMap<&Address, usize> = desired.resources.keys().zip(0..).collect();
    let mut graph = Graph::new(places.len());
    for (then, resource) in desired.resources.values().enumerate() {
        for first in resource.references.iter().filter_map(|r| places.get(&r.to)) {
            graph.edge(*first, then);
        }
    }
    let cycle = graph.order().err()?.0;
    let cycle: Vec<&Address> = cycle.into_iter().filter_map(|place| desired.resources.keys().nth(place)).collect();
    let mut path: Vec<String> = cycle.iter().map(ToString::to_string).collect();
    // Edges lead from a resource to its dependents; people expect the opposite direction.
    path.reverse();
    let source = cycle.first().and_then(|a| desired.resources.get(*a)).and_then(|r| r.source.clone());
    let message = format!("dependency cycle: {}", path.join(" -> "));
    Some(Diagnostic::new(Code::Cycle, message).at(source).help("remove one of the references"))
}

impl Compiled<Assumed> {
    /// Returns the findings that need no request. `today` decides which accepts have expired.
    #[must_use]
    pub fn findings(&self, spec: &Spec, today: &str, lints: &Lints, kinds: &Kinds<'_>) -> Vec<Diagnostic> {
        let Self { facts, chains, desired, how: _ } = self;
        let context = check::Context { spec, facts, chains, desired, snapshot: None, diff: None, lints, kinds };
        let mut findings = check::unknown_places(spec, desired);
        findings.extend(check::run(&context, today));
        findings
    }
}

/// A compiled spec, the state, and the live resources of both.
pub struct ObservedWorld {
    facts: Facts,
    chains: Chains,
    prepared: Prepared,
    known: Known,
    lost: Vec<Address>,
}

/// A plan with its findings and access changes. It cannot be executed yet.
#[derive(Debug)]
pub struct Planned {
    plan: Plan,
    findings: Vec<Diagnostic>,
    changes: Vec<AccessChange>,
    known: Known,
    lost: Vec<Address>,
}

/// What the caller permits a run to do.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The deletions that the guard permits.
    pub guard: Guard,
    /// The codes of findings that do not block the run.
    pub allowed: Vec<Code>,
    /// Whether a partial plan is permitted.
    pub partial: bool,
    /// The digest that the plan must have.
    pub digest: Option<String>,
}

impl Terms {
    /// Counts the findings that block the run: errors that neither the spec accepts nor the caller allows.
    #[must_use]
    pub fn forbidding(&self, findings: &[Diagnostic]) -> usize {
        findings.iter().filter(|f| f.forbids() && !self.allowed.contains(&f.code)).count()
    }

    fn hold(&self, plan: &Plan) -> Result<(), Stopped> {
        if !self.partial && !plan.left_out.is_empty() {
            return Err(Stopped::Partial(plan.left_out.clone()));
        }
        self.expects(plan)
    }

    /// Checks that the plan has the expected digest, if one is given.
    ///
    /// # Errors
    /// When the digest differs.
    pub fn expects(&self, plan: &Plan) -> Result<(), Stopped> {
        match &self.digest {
            Some(expected) if *expected != plan.digest().as_str() => {
                Err(Stopped::OtherDigest { expected: expected.clone(), found: plan.digest() })
            }
            _ => Ok(()),
        }
    }
}

impl Planned {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan alone, to be saved or shown.
    #[must_use]
    pub fn into_plan(self) -> Plan {
        self.plan
    }

    /// The findings.
    #[must_use]
    pub fn findings(&self) -> &[Diagnostic] {
        &self.findings
    }

    /// Who gains and who loses which access.
    #[must_use]
    pub fn changes(&self) -> &[AccessChange] {
        &self.changes
    }

    /// The state that the plan was made from.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The addresses whose objects carry the project's ownership tag although there is no state.
    #[must_use]
    pub fn lost(&self) -> &[Address] {
        &self.lost
    }
}

fn not_lost(state: &State, lost: Vec<Address>) -> Result<(), Stopped> {
    if lost.is_empty() {
        return Ok(());
    }
    Err(Stopped::Lost { project: state.project.clone(), addresses: lost })
}

/// The addresses that a plan made without a state takes over as the project's own: the state was lost.
fn taken_over(plan: &Plan) -> Vec<Address> {
    let is_ours = |step: &&Step| matches!(step.operation(), Operation::Current(Change::Adopt { adopted: false, .. }));
    plan.steps.iter().filter(is_ours).map(|step| step.address().clone()).collect()
}

/// A plan that the guard and the checks have cleared. Nothing else can be executed, and nothing else makes one.
#[derive(Debug)]
pub struct Cleared {
    plan: Plan,
    known: Known,
}

impl Cleared {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether executing the plan would change neither a resource nor the state.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.plan.is_empty() && self.plan.refreshed.is_empty() && !self.known.recovered && !self.known.outdated
    }

    pub(super) fn into_parts(self) -> (Plan, Known) {
        (self.plan, self.known)
    }
}

impl Engine<'_> {
    async fn callers(&self) -> Result<(), Stopped> {
        self.identify().await.map_err(Stopped::Callers)
    }

    /// Checks the caller's identity everywhere, reads the facts, and compiles the spec.
    ///
    /// # Errors
    /// The reason why the spec cannot be compiled.
    pub async fn compile(&self, task: &Task<'_>) -> Result<Compiled<Resolved>, Stopped> {
        self.callers().await?;
        let facts = self.facts(&task.wanted).await.map_err(Stopped::Facts)?;
        compile(&task.wanted, facts, &self.kinds()).map_err(Stopped::Spec)
    }

    /// Observes every desired or owned resource.
    ///
    /// # Errors
    /// [`Stopped::Lost`] when a destroy finds tagged resources although there is no state.
    pub async fn observe_all(
        &self,
        task: &Task<'_>,
        compiled: Compiled<Resolved>,
        known: Known,
    ) -> Result<ObservedWorld, Stopped> {
        let Compiled { facts, chains, desired, how: _ } = compiled;
        let kinds = self.kinds();
        let is_new = known.version == StoredVersion::None && known.state.resources.is_empty();
        if task.intent == Intent::Destroy && is_new {
            // Nothing is desired and there is no state, but resources that the spec names may carry the project's tag.
            let facts = self.facts(task.spec).await.unwrap_or_default();
            let named = named(task.spec, &facts, &kinds);
            let snapshot = self.observe(&named, &known.state).await;
            let found = diff::recover(&named, &snapshot, &known.state, &BTreeSet::new(), &kinds);
            not_lost(&known.state, found.ours.into_keys().collect())?;
        }
        let prepared = self.prepare(desired, &known.state).await;
        let lost = if known.state.resources.is_empty() {
            let Prepared { desired, snapshot, .. } = &prepared;
            diff::recover(desired, snapshot, &known.state, &BTreeSet::new(), &kinds).ours
        } else {
            BTreeMap::new()
        };
        Ok(ObservedWorld { facts, chains, prepared, known, lost: lost.into_keys().collect() })
    }

    /// Builds a plan from the observed resources. If `targets` is not empty, the plan is limited to them and their
    /// dependencies.
    ///
    /// # Errors
    /// When no plan can be built, or a target is neither in the spec nor in the state.
    pub async fn plan(
        &self,
        task: &Task<'_>,
        observed: ObservedWorld,
        targets: &BTreeSet<Address>,
    ) -> Result<Planned, Stopped> {
        let ObservedWorld { facts, chains, prepared, known, lost } = observed;
        let kinds = self.kinds();
        let context = check::Context {
            spec: &task.wanted,
            facts: &facts,
            chains: &chains,
            desired: &prepared.desired,
            snapshot: Some(&prepared.snapshot),
            diff: Some(&prepared.diff),
            lints: task.lints,
            kinds: &kinds,
        };
        let findings = check::run(&context, task.today);
        let plan = plan::build(&prepared.diff, &known.state, Some(task.wanted.digest()), &kinds);
        let plan = plan.map_err(Stopped::Unplannable)?;
        let is_known = |target: &&Address| {
            let diff = &prepared.diff;
            diff.resources.contains_key(*target) || diff.deposed_at(target).next().is_some()
        };
        let unknown: Vec<Address> = targets.iter().filter(|target| !is_known(target)).cloned().collect();
        if !unknown.is_empty() {
            return Err(Stopped::UnknownTargets(unknown));
        }
        let mut plan = plan.targeted(targets);
        // The original spec still describes the resources to destroy; the emptied one does not.
        let facts = match task.intent {
            Intent::Apply => facts,
            Intent::Destroy => {
                destroys(&mut plan, task.spec, &kinds);
                self.facts(task.spec).await.unwrap_or(facts)
            }
        };
        let changes = changes(task.spec, &facts, &prepared, &plan, &kinds);
        Ok(Planned { plan, findings, changes, known, lost })
    }

    /// Lists what the command line must name before a plan may be executed.
    #[must_use]
    pub fn refusals(&self, planned: &Planned, terms: &Terms) -> Vec<Refusal> {
        let Planned { plan, known, .. } = planned;
        plan::guard(plan, known.state.resources.len(), &terms.guard, &self.kinds())
    }

    /// Checks whether a plan may be executed.
    ///
    /// # Errors
    /// The first reason why not. An object with the project's tag is never adopted without a state: Bailiwick would never
    /// delete it again.
    pub fn check(&self, planned: &Planned, terms: &Terms) -> Result<(), Stopped> {
        let (refusals, findings) = (self.refusals(planned, terms), terms.forbidding(&planned.findings));
        if !refusals.is_empty() || findings > 0 {
            return Err(Stopped::Refused { refusals, findings });
        }
        terms.hold(&planned.plan)?;
        not_lost(&planned.known.state, planned.lost.clone())
    }

    /// Clears a plan for execution.
    ///
    /// # Errors
    /// As [`Engine::check`].
    pub fn clear(&self, planned: Planned, terms: &Terms) -> Result<Cleared, Stopped> {
        self.check(&planned, terms)?;
        let Planned { plan, known, .. } = planned;
        Ok(Cleared { plan, known })
    }

    /// Clears a saved plan again: it must fit the spec and the state, and nothing that it touches may have changed since.
    ///
    /// # Errors
    /// The reason why the saved plan can no longer be applied.
    pub async fn clear_saved(
        &self,
        task: &Task<'_>,
        plan: Plan,
        known: Known,
        terms: &Terms,
        place: &str,
    ) -> Result<Cleared, Stopped> {
        fits_spec(task, &plan)?;
        let state = &known.state;
        // A project that was never applied has no lineage yet, neither now nor when the plan was created.
        let same_lineage = plan.state.0 == state.lineage.0
            || (known.version == StoredVersion::None && state.serial == 0)
            || (plan.state.1 == 0 && state.serial > 0);
        if !same_lineage {
            let (plan, state) = (plan.state.0, state.lineage.0.clone());
            return Err(Stopped::OtherLineage { plan, state, place: place.to_owned() });
        }
        if plan.state.1 != state.serial || !known.unfinished.is_empty() {
            return Err(Stopped::StateChanged);
        }
        if state.resources.is_empty() {
            not_lost(state, taken_over(&plan))?;
        }
        terms.hold(&plan)?;
        let refusals = plan::guard(&plan, state.resources.len(), &terms.guard, &self.kinds());
        if !refusals.is_empty() {
            return Err(Stopped::Refused { refusals, findings: 0 });
        }
        self.callers().await?;
        let changed = self.moved(&plan).await;
        if !changed.is_empty() {
            return Err(Stopped::Changed(changed));
        }
        Ok(Cleared { plan, known })
    }

    /// Returns the drift since the last apply and the findings about the live policies. Drift compares live with last
    /// applied; the spec is not involved.
    ///
    /// # Errors
    /// When a caller is in the wrong account or unknown.
    pub async fn drift(&self, task: &Task<'_>, known: &Known) -> Result<(Vec<Drift>, Vec<Diagnostic>), Stopped> {
        self.callers().await?;
        let prepared = self.prepare(Desired::default(), &known.state).await;
        let kinds = self.kinds();
        Ok((diff::drift(&prepared.diff, &known.unknown(), &kinds), live_findings(task, &prepared, &kinds)))
    }

    /// Builds the world from the live resources of the spec and the state.
    ///
    /// # Errors
    /// When the spec cannot be compiled, or a resource could not be read.
    pub async fn world(&self, task: &Task<'_>, known: &Known) -> Result<World, Stopped> {
        let Compiled { facts, desired, .. } = self.compile(task).await?;
        let prepared = self.prepare(desired, &known.state).await;
        let why = |seen: &Seen| match seen {
            Seen::Unreadable { why, .. } => Some(why.clone()),
            Seen::Absent | Seen::Present { .. } => None,
        };
        let seen = prepared.snapshot.seen.iter();
        let unread: BTreeMap<Address, String> = seen.filter_map(|(a, s)| Some((a.clone(), why(s)?))).collect();
        if !unread.is_empty() {
            return Err(Stopped::Unread(unread));
        }
        let kinds = self.kinds();
        let others = self.documents_of_others(task.spec, &prepared.desired, &known.state).await;
        let (read, stored) = Bodies::seen(&prepared.diff).divided();
        let read = read.facets(&kinds).chain(others.facets(&kinds));
        Ok(World::live(task.spec, &facts, read, stored.facets(&kinds)))
    }

    /// Reads the documents of desired resources in which this project owns no statement: they decide about access too.
    /// Unreadable ones are left out.
    async fn documents_of_others(&self, spec: &Spec, desired: &Desired, state: &State) -> Bodies {
        let kinds = self.kinds();
        let mut objects = diff::orphans(spec, desired, state, &[], &kinds).objects;
        objects.retain(|address, _| {
            let about = kinds.about(address.kind());
            about.is_some_and(|about| matches!(about.owned_by, OwnedBy::Statements { .. }))
        });
        let known = State { resources: objects, ..State::new(&state.project, state.lineage.clone()) };
        let snapshot = self.observe(&Desired::default(), &known).await;
        Bodies::observed(&known.resources, &snapshot)
    }
}

/// Checks that a saved plan fits the spec. Needs no request.
///
/// # Errors
/// When the plan is for another project, or the spec changed since.
pub fn fits_spec(task: &Task<'_>, plan: &Plan) -> Result<(), Stopped> {
    if plan.project != task.spec.project {
        return Err(Stopped::OtherProject { plan: plan.project.clone(), spec: task.spec.project.clone() });
    }
    if plan.spec_digest.as_ref() != Some(&task.spec.digest()) {
        return Err(Stopped::SpecChanged);
    }
    Ok(())
}

/// Returns every resource that a spec names, ignoring its problems.
fn named(spec: &Spec, facts: &Facts, kinds: &Kinds<'_>) -> Desired {
    desired::build(spec, facts, &access::lower(spec), kinds).0
}

/// Makes a plan one of a destroy: it protects what the spec protects now, even if that was never applied, and gives the
/// destroy as the reason where the spec still has the resource.
fn destroys(plan: &mut Plan, spec: &Spec, kinds: &Kinds<'_>) {
    let named = named(spec, &Facts::placeholders(spec), kinds);
    for step in &mut plan.steps {
        let Some(resource) = named.resources.get(step.address()) else { continue };
        step.protect |= resource.protect;
        for reason in &mut step.reasons {
            if *reason == Reason::RemovedFromSpec {
                *reason = Reason::Destroyed;
            }
        }
    }
}

/// Computes the access changes of a plan.
fn changes(spec: &Spec, facts: &Facts, prepared: &Prepared, plan: &Plan, kinds: &Kinds<'_>) -> Vec<AccessChange> {
    if plan.is_empty() {
        return Vec::new();
    }
    // Both worlds use the full spec, so that lost access has the names of the spec.
    let world = |bodies: &Bodies| World::new(spec, facts, bodies.facets(kinds));
    let before = Bodies::seen(&prepared.diff);
    access::diff(&world(&before), &world(&before.after(plan, kinds)))
}

/// Checks the live policies, and reports each finding at the spec entry that the policy comes from.
fn live_findings(task: &Task<'_>, prepared: &Prepared, kinds: &Kinds<'_>) -> Vec<Diagnostic> {
    let facts = Facts::placeholders(task.spec);
    let sources = named(task.spec, &facts, kinds);
    let mut desired = Desired::default();
    for resource in prepared.diff.resources.values() {
        let (Some(owned), Seen::Present { body, .. }) = (&resource.owned, &resource.seen) else { continue };
        let source = sources.resources.get(&resource.address).and_then(|r| r.source.clone());
        let address = resource.address.clone();
        let live = Resource::new(address.clone(), owned.scope.clone(), &owned.physical_id, body.clone());
        desired.resources.insert(address, Arc::new(Resource { source, ..live }));
    }
    let context = check::Context {
        spec: task.spec,
        facts: &facts,
        chains: &Chains::default(),
        desired: &desired,
        snapshot: Some(&prepared.snapshot),
        diff: Some(&prepared.diff),
        lints: task.lints,
        kinds,
    };
    check::policies(&context, task.today)
}
