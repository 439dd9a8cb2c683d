//! Executes a plan: follows its order and makes no decisions of its own.
//!
//! Each step is journaled before and after its call, re-reads its resource before writing, and reads it back
//! afterwards. When a step fails, its dependents are skipped and the others continue. When the run is stopped, pending
//! calls have a few seconds to complete; those that do not are recorded as unknown.

mod changed;
mod schedule;
mod wait;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;

pub(super) use changed::moved;
use schedule::Schedule;

use super::Engine;
use super::pipeline::{Cleared, Known};
use super::principal::Made;
use crate::access::Instance;
use crate::address::Address;
use crate::backend::{Backend, BackendError};
use crate::document::{Digest, Document};
use crate::event::{Event, FailureKind, Outcome, Outcomes};
use crate::kind::{Action, AnyKind, NamedBy};
use crate::live::{AnyLive, Fields, NEW_PLAN, Target, WriteError};
use crate::plan::{Change, ChangedSince, Differs, Operation, Plan, Removal, StateRecord, Step};
use crate::snapshot::{ReadFailure, Seen, unique_id};
use crate::state::{DeposedKey, Entry, Happening, Owned, State, fold};

/// The result of executing a plan.
#[derive(Debug)]
pub struct Executed {
    /// The plan.
    pub plan: Plan,
    /// The outcome of each step.
    pub outcomes: Outcomes,
    /// The state after the run.
    pub state: State,
    /// The error if the journal or the state could not be written. The next run then recovers from the journal.
    pub broken: Option<BackendError>,
}

/// The maximum number of reads until one shows the write.
const READ_BACKS: u32 = 6;

/// A resource as read back after a write: its fingerprint, its managed fields, and its unique id.
#[derive(Default)]
struct ReadBack {
    fingerprint: Option<Digest>,
    body: Option<Document>,
    unique_id: Option<String>,
}

/// A checked action, and the body that was read before it.
struct Checked {
    action: Action<Document>,
    seen: Option<Document>,
}

struct Run<'a> {
    engine: &'a Engine<'a>,
    backend: &'a dyn Backend,
    /// The lineage and serial that the journal continues.
    state: (&'a str, u64),
    /// The ARNs of the principals that the plan deletes or replaces.
    gone: BTreeSet<String>,
    now: &'a (dyn Fn() -> String + Send + Sync),
    stop: watch::Receiver<bool>,
    /// All journal entries of this run, including those of steps that did not complete.
    entries: Mutex<Vec<Entry>>,
    made: Mutex<Made>,
}

impl Engine<'_> {
    /// Executes a cleared plan and saves the state. `now` returns the time for journal entries; when `stop` becomes
    /// true, no further step starts.
    pub async fn execute(
        &self,
        cleared: Cleared,
        backend: &dyn Backend,
        now: &(dyn Fn() -> String + Send + Sync),
        stop: watch::Receiver<bool>,
    ) -> Executed {
        let (plan, mut known) = cleared.into_parts();
        // An older version must reject the state before it reads a journal that it understands only in part.
        if known.outdated
            && !plan.is_empty()
            && let Err(error) = known.save(backend).await
        {
            return Executed { plan, outcomes: Outcomes::new(), state: known.state, broken: Some(error) };
        }
        let Known { state, version, .. } = known;
        let lineage = state.lineage.0.clone();
        let serial = state.serial;
        let run = Run {
            engine: self,
            backend,
            state: (&lineage, serial),
            gone: self.principals_taken_away(&plan),
            now,
            stop,
            entries: Mutex::default(),
            made: Mutex::default(),
        };
        let (outcomes, mut broken) = run.all(&plan).await;
        let entries = run.entries.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut state = state;
        // Refreshed entries come before the journal: a step may have deleted the old resource of a renamed entry since.
        for (address, owned) in &plan.refreshed {
            state.resources.insert(address.clone(), owned.clone());
        }
        let (mut after, _) = fold(state, &entries);
        after.succeed();
        if broken.is_none() {
            broken = backend.save(&after, &version).await.err();
        }
        let unknown = still_unknown(&outcomes, entries, (&lineage, after.serial));
        if broken.is_none() && !unknown.is_empty() {
            broken = backend.append(&unknown).await.err();
        }
        Executed { plan, outcomes, state: after, broken }
    }
}

impl Engine<'_> {
    /// Returns the ARNs of the principals that a plan deletes.
    fn principals_taken_away(&self, plan: &Plan) -> BTreeSet<String> {
        let principal = |step: &Step| {
            let live = self.live(step.address().kind().as_str())?;
            principal(step, live.kind(), step.before()?)
        };
        plan.steps.iter().filter(|step| step.deletes()).filter_map(principal).collect()
    }
}

/// Returns the begin entries of steps with an unknown outcome, so that the next run treats them as after a crash.
fn still_unknown(outcomes: &Outcomes, entries: Vec<Entry>, state: (&str, u64)) -> Vec<Entry> {
    let unknown = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Unknown { .. }));
    let unknown: BTreeSet<(&Address, Option<&DeposedKey>)> =
        unknown.map(|(id, _)| (&id.address, id.deposed())).collect();
    let begun = entries.into_iter().filter(|e| matches!(e.happening, Happening::Begin { .. }));
    begun
        .filter(|entry| unknown.contains(&(&entry.address, entry.deposed.as_ref())))
        .map(|entry| entry.continuing(state))
        .collect()
}

impl Run<'_> {
    /// Runs all steps. Returns the outcome of each, and the error if the journal could not be written.
    async fn all(&self, plan: &Plan) -> (Outcomes, Option<BackendError>) {
        let (mut outcomes, mut broken) = (Outcomes::new(), None);
        let mut schedule = Schedule::of(plan);
        let mut running = FuturesUnordered::new();
        let out_of_time = self.out_of_time();
        tokio::pin!(out_of_time);
        loop {
            while broken.is_none() && !*self.stop.borrow() && running.len() < self.engine.limits.steps {
                let Some(step) = schedule.start(|step| self.serialization_group(step)) else { break };
                self.engine.sink.take(Event::Started { step: step.id().clone(), action: step.action() });
                let fresh = schedule.is_fresh(step);
                running.push(async move { (step, self.step(step, fresh).await) });
            }
            let ended = tokio::select! {
                biased;
                ended = running.next() => ended,
                () = &mut out_of_time, if !running.is_empty() => None,
            };
            let Some((step, (outcome, error))) = ended else { break };
            broken = broken.or(error);
            let done = outcome == Outcome::Done;
            self.end(step, outcome, &mut outcomes);
            if done {
                schedule.done(step);
            } else {
                for skipped in schedule.failed(step) {
                    let because = step.address().clone();
                    self.end(skipped, Outcome::Skipped { because }, &mut outcomes);
                }
            }
        }
        // Dropped first, so that no abandoned call is still running when its outcome is reported.
        drop(running);
        let (given_up, not_started) = schedule.unfinished();
        for step in given_up {
            let (outcome, error) = self.given_up(step).await;
            broken = broken.or(error);
            self.end(step, outcome, &mut outcomes);
        }
        for step in not_started {
            let outcome = match &broken {
                Some(error) if !*self.stop.borrow() => Outcome::NotStarted { why: error.to_string() },
                _ => Outcome::Interrupted,
            };
            self.end(step, outcome, &mut outcomes);
        }
        (outcomes, broken)
    }

    /// Returns the outcome of a step whose response the run no longer awaits, and the error if the journal could not be
    /// written.
    async fn given_up(&self, step: &Step) -> (Outcome, Option<BackendError>) {
        if !self.has_begun(step) {
            return (Outcome::Interrupted, None);
        }
        let why = "the run was interrupted before the response arrived".to_owned();
        let entry = Happening::Failed { why: why.clone(), certain: false };
        let error = self.journal(step, entry).await.err();
        (Outcome::Unknown { why }, error)
    }

    /// The steps of one group run one after the other: services refuse overlapping writes to one bucket or role.
    fn serialization_group(&self, step: &Step) -> Option<String> {
        let group = self.engine.live(step.address().kind().as_str())?.serialization_group(&step.physical_id)?;
        Some(format!("{} {group}", step.scope.owner()))
    }

    fn has_begun(&self, step: &Step) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let deposed = step.id().deposed();
        let last = entries.iter().rev().find(|e| e.address == *step.address() && e.deposed.as_ref() == deposed);
        last.is_some_and(|entry| matches!(entry.happening, Happening::Begin { .. }))
    }

    /// Completes after the grace period that follows a stop.
    async fn out_of_time(&self) {
        self.stopped().await;
        tokio::time::sleep(self.engine.limits.grace).await;
    }

    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // An error means that the sender was dropped, so the run can no longer be stopped.
        if stop.wait_for(|s| *s).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn end(&self, step: &Step, outcome: Outcome, outcomes: &mut Outcomes) {
        self.engine.sink.take(Event::Ended {
            step: step.id().clone(),
            action: step.action(),
            outcome: outcome.clone(),
        });
        outcomes.insert(step.id().clone(), outcome);
    }

    /// Runs one step. Returns its outcome, and the error if the journal could not be written. `fresh` means that the
    /// resource is part of another one that this run created, so it cannot have existed before.
    async fn step(&self, step: &Step, fresh: bool) -> (Outcome, Option<BackendError>) {
        let Some(live) = self.engine.live(step.address().kind().as_str()) else {
            let why = "this version of bailiwick does not know this kind".to_owned();
            return (NotChecked { kind: FailureKind::Other, why }.into(), None);
        };
        let target = target(step);
        let mut found = ReadBack {
            fingerprint: step.observed().map(|observed| observed.digest.clone()),
            body: step.after().cloned(),
            unique_id: step.observed().and_then(|observed| observed.whole.as_ref()).and_then(unique_id),
        };
        if step.record() == Some(StateRecord::Gone)
            && let Err(why) = self.still_gone(step, live, &target).await
        {
            return (why.into(), None);
        }
        if step.writes() {
            let checked = match (step.after(), fresh) {
                (Some(after), true) => {
                    Ok(Some(Checked { action: Action::Create { after: after.clone() }, seen: None }))
                }
                _ => self.checked(step, live, &target).await,
            };
            let checked = match checked {
                Ok(Some(checked)) => checked,
                // Already deleted, which is what the step would do.
                Ok(None) => return (Outcome::Done, self.journal(step, ended(step, None)).await.err()),
                Err(why) => return (why.into(), None),
            };
            let deposes = step.deposes().cloned().into_iter().collect();
            let begin = Happening::Begin { action: step.action(), creates: step.owned(None).map(Box::new), deposes };
            if let Err(error) = self.journal(step, begin).await {
                let why = format!("not attempted: {error}");
                return (NotChecked { kind: FailureKind::NotRecorded, why }.into(), Some(error));
            }
            let target = Target { unique_id: checked.seen.as_ref().and_then(unique_id), ..target };
            found = match self.written(step, live, &target, &checked).await {
                Ok(found) => found,
                Err(outcome) => {
                    let (Outcome::Failed { why, .. } | Outcome::Unknown { why }) = &outcome else {
                        return (outcome, None);
                    };
                    let certain = matches!(outcome, Outcome::Failed { certain: true, .. });
                    let error = self.journal(step, Happening::Failed { why: why.clone(), certain }).await.err();
                    return (outcome, error);
                }
            };
        }
        let made = step.after().and_then(|after| principal(step, live.kind(), after));
        self.made.lock().unwrap_or_else(PoisonError::into_inner).extend(made);
        let ReadBack { fingerprint, body, unique_id } = found;
        let owned = step.owned(fingerprint).map(|owned| Box::new(Owned { body, unique_id, ..owned }));
        match self.journal(step, ended(step, owned)).await {
            Ok(()) => (Outcome::Done, None),
            // The step is done but not recorded, so the next run must observe it.
            Err(error) => {
                (Outcome::Unknown { why: format!("done, but Bailiwick could not record it: {error}") }, Some(error))
            }
        }
    }

    /// Checks that a resource which did not exist when the plan was created still does not exist.
    async fn still_gone(&self, step: &Step, live: &dyn AnyLive, target: &Target) -> Result<(), NotChecked> {
        match self.look(step, target).await {
            Seen::Absent => Ok(()),
            Seen::Unreadable { why, cause } => Err(unread(&why, cause)),
            seen @ Seen::Present { .. } => Err(NotChecked::changed(&moved(step, live, &seen))),
        }
    }

    /// Writes the resource and reads it back.
    async fn written(
        &self,
        step: &Step,
        live: &dyn AnyLive,
        target: &Target,
        checked: &Checked,
    ) -> Result<ReadBack, Outcome> {
        let unknown = |why| Outcome::Unknown { why };
        match self.write(step, live, target, checked).await {
            Ok(()) => self.read_back(step, live, target, READ_BACKS).await.map_err(unknown),
            // The response was lost. Only a read can show whether the call succeeded.
            Err(error @ WriteError::Unanswered { .. }) => {
                self.read_back(step, live, target, 1).await.map_err(|_| unknown(error.to_string()))
            }
            Err(error) => {
                let (kind, certain) = (error.kind(), error.is_certain());
                let help = error.help().map(str::to_owned);
                Err(Outcome::Failed { kind, why: error.to_string(), help, certain })
            }
        }
    }

    async fn journal(&self, step: &Step, happening: Happening) -> Result<(), BackendError> {
        let entry = Entry::new(self.state, (self.now)(), step.address().clone(), happening);
        let entry = entry.about(step.id().deposed().cloned());
        self.backend.append(std::slice::from_ref(&entry)).await?;
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        Ok(())
    }

    async fn look(&self, step: &Step, target: &Target) -> Seen {
        let kind = step.address().kind().as_str();
        let seen = self.engine.look(self.engine.session, kind, &step.scope, std::slice::from_ref(target)).await;
        seen.into_iter()
            .next()
            .unwrap_or_else(|| Seen::Unreadable { why: "there was no response".into(), cause: ReadFailure::Other })
    }

    /// Reads the resource again before writing, and fails if it changed since the plan was created. `None` if there is
    /// nothing left to do.
    async fn checked(&self, step: &Step, live: &dyn AnyLive, target: &Target) -> Result<Option<Checked>, NotChecked> {
        let seen = self.look(step, target).await;
        if let Seen::Unreadable { why, cause } = &seen {
            return Err(unread(why, *cause));
        }
        // Already deleted, which is what the step would do.
        if seen == Seen::Absent && step.lets_go() {
            return Ok(None);
        }
        if let (Some(known), Some(found)) = (self.known_id(step, live), seen.unique_id())
            && known != found
        {
            // A new role of the same name is not the one to delete.
            if step.is_unread() && live.about().named_by == NamedBy::Name {
                return Ok(None);
            }
            let replaced = ChangedSince::Replaced { physical_id: step.physical_id.clone(), known, found };
            return Err(NotChecked::changed(&replaced));
        }
        // A deposed object was not read for the plan, so there is no fingerprint to compare.
        if !step.is_unread()
            && seen.fingerprint().as_ref() != step.observed().map(|observed| &observed.digest)
            && !brought_along(step, live, &seen)
            && !self.names_what_was_taken_away(step, live, &seen)
        {
            return Err(NotChecked::changed(&moved(step, live, &seen)));
        }
        let seen = match seen {
            Seen::Present { body, .. } => Some(body),
            _ => None,
        };
        // The live values of the fields that were managed when the body was last known.
        let shown = |body: &Document, before: Option<&Document>| match before {
            Some(known) => live.managed_fields(body, Some(known), Some(known)),
            None => body.clone(),
        };
        let action = match step.operation() {
            Operation::Current(Change::Create { after, .. }) => Action::Create { after: after.clone() },
            Operation::Current(
                Change::Update { before, after, changed, .. }
                | Change::Adopt { after, differs: Some(Differs { before, changed }), .. },
            ) => Action::Update { before: before.clone(), after: after.clone(), changed: changed.clone() },
            Operation::Current(Change::Adopt { differs: None, .. }) => return Ok(None),
            Operation::Current(Change::Remove(removal)) | Operation::Former { removal, .. } => match (removal, &seen) {
                (Removal::Delete { before, .. }, Some(body)) => Action::Delete { before: shown(body, before.as_ref()) },
                (Removal::Release { before, .. }, Some(body)) => {
                    Action::Release { before: shown(body, before.as_ref()) }
                }
                (Removal::Delete { .. } | Removal::Release { .. }, None) | (Removal::Record { .. }, _) => {
                    return Ok(None);
                }
            },
        };
        Ok(Some(Checked { action, seen }))
    }

    /// Returns the unique id that the step's resource must have: the observed one, the one in the state, or that of the
    /// resource which this run created and whose policy the step writes.
    fn known_id(&self, step: &Step, live: &dyn AnyLive) -> Option<String> {
        let seen = match step.unread() {
            Some(known) => known.map(str::to_owned),
            None => step.observed().and_then(|observed| observed.whole.as_ref()).and_then(unique_id),
        };
        if seen.is_some() || live.about().named_by == NamedBy::Name {
            return seen;
        }
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let made = entries.iter().rev().filter(|e| step.references.iter().any(|r| r.to == e.address));
        let owned = made.filter_map(|entry| match &entry.happening {
            Happening::End { owned, .. } => owned.as_deref(),
            _ => None,
        });
        let mut whole = owned.filter(|o| o.scope == step.scope && o.physical_id == step.physical_id);
        whole.next().and_then(|owned| owned.unique_id.clone())
    }

    /// Reads until the write shows, and returns the resource as read.
    async fn read_back(
        &self,
        step: &Step,
        live: &dyn AnyLive,
        target: &Target,
        times: u32,
    ) -> Result<ReadBack, String> {
        let mut pause = self.engine.limits.pause / 4;
        let mut problem = String::new();
        for attempt in 0..times {
            if attempt > 0 {
                // An interrupt does not shorten this pause, because pending steps are completed.
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            let seen = self.look(step, target).await;
            if let (Some(known), Some(found)) = (&target.unique_id, seen.unique_id())
                && *known != found
            {
                return Err(format!("`{}` is now `{found}`, but Bailiwick wrote to `{known}`", step.physical_id));
            }
            problem = match (&seen, step.after()) {
                (Seen::Unreadable { why, .. }, _) => {
                    return Err(format!("written, but cannot be read back: {why}"));
                }
                (Seen::Absent, _) if step.deletes() => return Ok(ReadBack::default()),
                (_, _) if step.releases() => return Ok(ReadBack::default()),
                (Seen::Present { body, .. }, _) if step.deletes() && nothing_of_ours(step, live, body) => {
                    return Ok(ReadBack::default());
                }
                (Seen::Present { .. }, _) if step.deletes() => "deleted, but it still exists".to_owned(),
                (Seen::Absent, _) => "written, but it does not exist".to_owned(),
                (Seen::Present { body, .. }, Some(after)) => {
                    let shown = live.managed_fields(body, Some(after), step.before());
                    if live.converged(after, &shown) {
                        let known = live.managed_fields(body, Some(after), None);
                        let fields = Fields::of([after]);
                        let (fingerprint, unique_id) = if fields == target.fields {
                            (seen.fingerprint(), seen.unique_id())
                        } else {
                            // Later runs do not read fields that the spec no longer names, so the fingerprint must not
                            // include them.
                            let seen = self.look(step, &Target { fields, ..target.clone() }).await;
                            (seen.fingerprint(), seen.unique_id())
                        };
                        return Ok(ReadBack { fingerprint, body: Some(known), unique_id });
                    }
                    let differences = Document::differences(&shown, after);
                    let paths: Vec<&str> = differences.iter().map(|d| d.path.as_str()).collect();
                    format!("written, but reads back differently: {}", paths.join(", "))
                }
                (Seen::Present { .. }, None) => {
                    return Ok(ReadBack { fingerprint: seen.fingerprint(), ..ReadBack::default() });
                }
            };
        }
        Err(problem)
    }
}

/// Why a step did not start.
struct NotChecked {
    kind: FailureKind,
    why: String,
}

impl NotChecked {
    /// The resource changed since the plan was created.
    fn changed(how: &ChangedSince) -> Self {
        Self { kind: FailureKind::Changed, why: format!("{how}; nothing was written") }
    }
}

impl From<NotChecked> for Outcome {
    fn from(NotChecked { kind, why }: NotChecked) -> Self {
        let help = (kind == FailureKind::Changed).then(|| NEW_PLAN.to_owned());
        Self::Failed { kind, why, help, certain: true }
    }
}

/// The reason not to start a step that could not read its resource again.
fn unread(why: &str, cause: ReadFailure) -> NotChecked {
    NotChecked { kind: cause.into(), why: format!("cannot read it again: {why}") }
}

/// The resource of a step, with the fields that the step or the plan reads.
pub(super) fn target(step: &Step) -> Target {
    let fields = Fields::of(step.before().into_iter().chain(step.after()));
    Target { fields, ..Target::new(step.address().clone(), &step.physical_id) }
}

/// The journal entry of a completed step.
fn ended(step: &Step, owned: Option<Box<Owned>>) -> Happening {
    Happening::End { owned, deposes: step.deposes().cloned().into_iter().collect() }
}

/// Whether the project owns no part of a shared document.
fn nothing_of_ours(step: &Step, live: &dyn AnyLive, body: &Document) -> bool {
    live.managed_fields(body, step.after(), step.before()).is_null()
}

/// Whether a resource that was absent when the plan was created came with an earlier step of this run: a new bucket or
/// KMS key has a policy from the start. The project must not own any part of it yet, unless it already has the desired
/// content.
fn brought_along(step: &Step, live: &dyn AnyLive, seen: &Seen) -> bool {
    let as_wanted = |body: &Document| {
        step.after().is_some_and(|after| live.converged(after, &live.managed_fields(body, Some(after), None)))
    };
    step.creates()
        && match seen {
            Seen::Present { body, owner } => nothing_of_ours(step, live, body) || (owner.is_none() && as_wanted(body)),
            _ => false,
        }
}

/// The resource of a step, with one of its bodies.
fn object<'b>(step: &'b Step, body: &'b Document) -> Instance<'b> {
    Instance { scope: &step.scope, physical_id: &step.physical_id, body }
}

/// Returns the ARN by which policies name the step's resource, if it can be a principal.
fn principal(step: &Step, kind: &dyn AnyKind, body: &Document) -> Option<String> {
    kind.facet(object(step, body)).principal().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Scope;
    use crate::plan::{Former, StepId};
    use crate::state::ActionKind;

    #[test]
    fn only_steps_with_unknown_outcome_are_open_for_the_next_run() {
        let address: Address = "aws.iam.role.r".parse().unwrap();
        let key = DeposedKey::of(&Scope::cluster("c"), "old");
        let begun = |deposed: Option<&DeposedKey>| {
            let begin = Happening::Begin { action: ActionKind::Delete, creates: None, deposes: Vec::new() };
            Entry::new(("l", 1), "now".into(), address.clone(), begin).about(deposed.cloned())
        };
        let outcomes: Outcomes = [
            (StepId::current(address.clone()), Outcome::Done),
            (
                StepId::former(address.clone(), Former::Deposed(key.clone())),
                Outcome::Unknown { why: "no answer".into() },
            ),
        ]
        .into();
        let open = still_unknown(&outcomes, vec![begun(None), begun(Some(&key))], ("l", 2));
        let open: Vec<_> = open.into_iter().map(|entry| (entry.deposed, entry.state)).collect();
        assert_eq!(open, [(Some(key), ("l".to_owned(), 2))]);
    }
}
