//! The pipeline from a spec to a plan that may be executed. Every stage is a type, and only the last can be executed:
//! [`Compiled`], [`ObservedWorld`], [`Planned`], [`Cleared`]. Only the guard and the checks clear a plan.
//!
//! The commands and the tests run this very code.

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
use crate::plan::{self, Bodies, ChangedSince, Guard, LeftOut, Plan, PlanError, Refusal, StepId};
use crate::session::SessionError;
use crate::snapshot::Seen;
use crate::spec::{Facts, Spec};
use crate::state::{Entry, Lineage, State, fold};

/// What shall become of what a spec describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It shall exist.
    Apply,
    /// Nothing of it shall exist.
    Destroy,
}

/// What a run is about.
#[derive(Debug)]
pub struct Task<'a> {
    /// The spec as it is written.
    pub spec: &'a Spec,
    /// What of it shall exist.
    wanted: Spec,
    /// What shall become of it.
    pub intent: Intent,
    /// Today (YYYY-MM-DD), which decides which acceptances still hold.
    pub today: &'a str,
    /// What was found in policies before.
    pub lints: &'a Lints,
}

impl<'a> Task<'a> {
    /// A run about a spec.
    #[must_use]
    pub fn new(spec: &'a Spec, intent: Intent, today: &'a str, lints: &'a Lints) -> Self {
        let wanted = match intent {
            Intent::Apply => spec.clone(),
            Intent::Destroy => spec.emptied(),
        };
        Self { spec, wanted, intent, today, lints }
    }
}

/// Why a run does not go on. Nothing was written.
#[derive(Debug)]
pub enum Stopped {
    /// Problems of the spec, or findings that forbid going on.
    Spec(Vec<Diagnostic>),
    /// Accounts whose caller is somebody else or unknown.
    Callers(Vec<SessionError>),
    /// What the spec cannot be compiled without could not be read.
    Facts(Vec<Diagnostic>),
    /// The state could not be read.
    Backend(BackendError),
    /// The journal continues another state than the one that is stored.
    OtherJournal {
        /// Where they are stored.
        place: String,
        /// The lineage and serial that the journal continues.
        journal: (String, u64),
        /// Those of the state.
        state: (String, u64),
    },
    /// No plan can be made.
    Unplannable(Vec<PlanError>),
    /// Targets that are neither in the spec nor in the state.
    UnknownTargets(Vec<Address>),
    /// There is no state, but these carry the project's ownership tag.
    Lost {
        /// The project.
        project: String,
        /// What carries its tag.
        addresses: Vec<Address>,
    },
    /// Refusals of the guard, and how many findings forbid going on.
    Refused {
        /// What the guard refuses.
        refusals: Vec<Refusal>,
        /// How many findings forbid going on.
        findings: usize,
    },
    /// The plan leaves something out, and the caller did not ask for a partial plan.
    Partial(BTreeMap<Address, LeftOut>),
    /// The plan is not the one that the caller expects.
    OtherDigest {
        /// The digest that the caller expects.
        expected: String,
        /// The digest of the plan.
        found: Digest,
    },
    /// The plan is for another project than the spec.
    OtherProject {
        /// The project of the plan.
        plan: String,
        /// The project of the spec.
        spec: String,
    },
    /// The spec changed since the plan was made.
    SpecChanged,
    /// The plan was made from a state of another lineage.
    OtherLineage {
        /// The lineage that the plan was made from.
        plan: String,
        /// The lineage of the stored state.
        state: String,
        /// Where that is stored.
        place: String,
    },
    /// The state changed since the plan was made.
    StateChanged,
    /// The steps of which a resource changed since the plan was made, and how.
    Changed(BTreeMap<StepId, ChangedSince>),
    /// Something could not be read that the answer depends on, and why.
    Unread(BTreeMap<Address, String>),
}

impl From<BackendError> for Stopped {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

/// The state as it is known: what was stored, and what the journal of an interrupted run adds.
#[derive(Clone, Debug)]
pub struct Known {
    /// The state.
    pub state: State,
    /// The version that was stored.
    pub version: StoredVersion,
    /// The addresses whose last step may or may not have been done.
    pub unknown: Vec<Address>,
    /// Whether a journal added anything that is not stored yet.
    pub recovered: bool,
}

impl Known {
    /// Reads what is known from a backend. `lineage` names a new history of states, if there is none yet.
    ///
    /// # Errors
    /// When it cannot be read, or the journal continues another state than the one that is stored.
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

    /// What is known from what is stored. A journal of an earlier state has been stored already and counts no more.
    ///
    /// # Errors
    /// When the journal continues another state than the one that is stored.
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
        let (state, unknown) = fold(base, &entries);
        Ok(Self { state, version: stored.version, unknown, recovered })
    }
}

/// Compiled with stand-ins for what only a read could tell: no name of it is sent anywhere.
#[derive(Debug)]
pub struct Assumed;

/// Compiled with facts that were read.
#[derive(Debug)]
pub struct Resolved;

/// A spec compiled: its grants resolved, and everything that should exist.
#[derive(Debug)]
pub struct Compiled<K> {
    /// What is known of the outside.
    pub facts: Facts,
    /// The grants, resolved.
    pub chains: Chains,
    /// Everything that should exist.
    pub desired: Desired,
    how: PhantomData<K>,
}

/// Compiles a spec with facts.
///
/// # Errors
/// Every problem, a cycle of references among them.
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

/// Compiles a spec with stand-ins for what only a read could tell.
///
/// # Errors
/// Every problem of the spec.
pub fn assume(spec: &Spec, kinds: &Kinds<'_>) -> Result<Compiled<Assumed>, Vec<Diagnostic>> {
    compile(spec, Facts::placeholders(spec), kinds)
}

/// A cycle of references, with its path.
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
    // An edge leads from what is needed to what needs it; people read it the other way round.
    path.reverse();
    let source = cycle.first().and_then(|a| desired.resources.get(*a)).and_then(|r| r.source.clone());
    let message = format!("dependency cycle: {}", path.join(" -> "));
    Some(Diagnostic::new(Code::Cycle, message).at(source).help("remove one of the references"))
}

impl Compiled<Assumed> {
    /// The findings that need no read. `today` decides which acceptances still hold.
    #[must_use]
    pub fn findings(&self, spec: &Spec, today: &str, lints: &Lints, kinds: &Kinds<'_>) -> Vec<Diagnostic> {
        let Self { facts, chains, desired, how: _ } = self;
        let context = check::Context { spec, facts, chains, desired, snapshot: None, diff: None, lints, kinds };
        let mut findings = check::unknown_places(spec, desired);
        findings.extend(check::run(&context, today));
        findings
    }
}

/// A compiled spec, the state, and everything that was observed of both.
pub struct ObservedWorld {
    /// What is known of the outside.
    pub facts: Facts,
    /// The grants, resolved.
    pub chains: Chains,
    /// What should exist, what was observed, and what must become of it.
    pub prepared: Prepared,
    /// The state.
    pub known: Known,
    /// What carries the project's ownership tag although there is no state.
    pub lost: Vec<Address>,
}

/// A plan, and all that was learned on the way to it. It cannot be executed.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The findings.
    pub findings: Vec<Diagnostic>,
    /// Who gains and who loses which access.
    pub changes: Vec<AccessChange>,
    /// The state.
    pub known: Known,
    /// What carries the project's ownership tag although there is no state.
    pub lost: Vec<Address>,
}

/// What the caller allows.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What may be deleted.
    pub guard: Guard,
    /// The codes of findings that do not forbid going on.
    pub allowed: Vec<Code>,
    /// Whether a plan may leave something out.
    pub partial: bool,
    /// The digest that the plan must have.
    pub digest: Option<String>,
}

impl Terms {
    /// How many findings forbid going on: errors that neither the spec accepts nor the caller allows.
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

    /// Whether a plan is the one that the caller expects.
    ///
    /// # Errors
    /// When its digest is another one.
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
    /// Everything that must be named before the plan may be executed.
    #[must_use]
    pub fn refusals(&self, terms: &Terms, kinds: &Kinds<'_>) -> Vec<Refusal> {
        plan::guard(&self.plan, self.known.state.resources.len(), &terms.guard, kinds)
    }

    /// Whether the guard and the checks let the plan be executed.
    ///
    /// # Errors
    /// The first of the reasons why not.
    pub fn check(&self, terms: &Terms, kinds: &Kinds<'_>) -> Result<(), Stopped> {
        let (refusals, findings) = (self.refusals(terms, kinds), terms.forbidding(&self.findings));
        if !refusals.is_empty() || findings > 0 {
            return Err(Stopped::Refused { refusals, findings });
        }
        terms.hold(&self.plan)
    }

    /// The plan, to be executed.
    ///
    /// # Errors
    /// What stands in the way. What carries the project's tag without a state is never taken up: adopted, it would never
    /// be deleted again.
    pub fn clear(self, terms: &Terms, kinds: &Kinds<'_>) -> Result<Cleared, Stopped> {
        self.check(terms, kinds)?;
        not_lost(&self.known.state, self.lost)?;
        Ok(Cleared { plan: self.plan, known: self.known })
    }
}

fn not_lost(state: &State, lost: Vec<Address>) -> Result<(), Stopped> {
    if lost.is_empty() {
        return Ok(());
    }
    Err(Stopped::Lost { project: state.project.clone(), addresses: lost })
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

    /// Whether executing it would change neither anything nor the state.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.plan.is_empty() && self.plan.refreshed.is_empty() && !self.known.recovered
    }

    pub(super) fn into_parts(self) -> (Plan, Known) {
        (self.plan, self.known)
    }
}

impl Engine<'_> {
    async fn callers(&self) -> Result<(), Stopped> {
        self.identify().await.map_err(Stopped::Callers)
    }

    /// Checks who the caller is everywhere, reads the facts, and compiles what shall exist.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn compile(&self, task: &Task<'_>) -> Result<Compiled<Resolved>, Stopped> {
        self.callers().await?;
        let facts = self.facts(&task.wanted).await.map_err(Stopped::Facts)?;
        compile(&task.wanted, facts, &self.kinds()).map_err(Stopped::Spec)
    }

    /// Observes everything that is desired or owned.
    ///
    /// # Errors
    /// When the state was lost and everything shall be destroyed.
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
            // Nothing is desired, and nothing is known: what the spec names may be ours all the same.
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

    /// Plans what was observed. Without `targets` everything is planned, or else these and what they wait for.
    ///
    /// # Errors
    /// What stands in the way of a plan.
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
        // What is destroyed is described by what the spec knows of it.
        let facts = match task.intent {
            Intent::Apply => facts,
            Intent::Destroy => {
                protect(&mut plan, task.spec, &kinds);
                self.facts(task.spec).await.unwrap_or(facts)
            }
        };
        let changes = changes(task.spec, &facts, &prepared, &plan, &kinds);
        Ok(Planned { plan, findings, changes, known, lost })
    }

    /// Clears a saved plan again: it must fit the spec and the state, and nothing that it touches may have changed since.
    ///
    /// # Errors
    /// What stands in the way.
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
        // A project that was never applied has no lineage yet, neither now nor when the plan was made.
        let same_lineage = plan.state.0 == state.lineage.0
            || (known.version == StoredVersion::None && state.serial == 0)
            || (plan.state.1 == 0 && state.serial > 0);
        if !same_lineage {
            let (plan, state) = (plan.state.0, state.lineage.0.clone());
            return Err(Stopped::OtherLineage { plan, state, place: place.to_owned() });
        }
        if plan.state.1 != state.serial || !known.unknown.is_empty() {
            return Err(Stopped::StateChanged);
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

    /// What drifted since the last apply, and what the policies mean that are live. What was applied is compared with what
    /// is live: the spec has no say.
    ///
    /// # Errors
    /// When a caller is somebody else or unknown.
    pub async fn drift(&self, task: &Task<'_>, known: &Known) -> Result<(Vec<Drift>, Vec<Diagnostic>), Stopped> {
        self.callers().await?;
        let prepared = self.prepare(Desired::default(), &known.state).await;
        let kinds = self.kinds();
        Ok((diff::drift(&prepared.diff, &known.unknown, &kinds), live_findings(task, &prepared, &kinds)))
    }

    /// The world of what is live of all that is in the spec or the state.
    ///
    /// # Errors
    /// What stands in the way, or could not be read.
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

    /// The documents of what is desired in which nothing of ours is: they decide about access all the same. What cannot
    /// be read of them is left out.
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

/// Whether a saved plan is for a spec, before anything is read.
///
/// # Errors
/// When it is for another project, or the spec changed since.
pub fn fits_spec(task: &Task<'_>, plan: &Plan) -> Result<(), Stopped> {
    if plan.project != task.spec.project {
        return Err(Stopped::OtherProject { plan: plan.project.clone(), spec: task.spec.project.clone() });
    }
    if plan.spec_digest.as_ref() != Some(&task.spec.digest()) {
        return Err(Stopped::SpecChanged);
    }
    Ok(())
}

/// Everything that a spec names, whatever problems there are.
fn named(spec: &Spec, facts: &Facts, kinds: &Kinds<'_>) -> Desired {
    desired::build(spec, facts, &access::lower(spec), kinds).0
}

/// What the spec protects now counts, applied or not.
fn protect(plan: &mut Plan, spec: &Spec, kinds: &Kinds<'_>) {
    let named = named(spec, &Facts::placeholders(spec), kinds);
    for step in &mut plan.steps {
        step.protect |= named.resources.get(&step.id.address).is_some_and(|r| r.protect);
    }
}

/// Who gains and who loses which access by a plan.
fn changes(spec: &Spec, facts: &Facts, prepared: &Prepared, plan: &Plan, kinds: &Kinds<'_>) -> Vec<AccessChange> {
    if plan.is_empty() {
        return Vec::new();
    }
    // What is taken away is called by the names that the spec has for it.
    let world = |bodies: &Bodies| World::new(spec, facts, bodies.facets(kinds));
    let before = Bodies::seen(&prepared.diff);
    access::diff(&world(&before), &world(&before.after(plan, kinds)))
}

/// What the policies mean that are live now, reported at the entries of the spec that they come from.
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
