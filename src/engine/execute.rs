//! Carries a plan out: follows its order, decides nothing.
//!
//! A step is journalled before and after its call, re-reads what it touches before writing, and reads back what it
//! wrote. A failed step skips what waits for it; the rest goes on.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Value;
use tokio::sync::watch;

use super::Engine;
use crate::address::{Address, Scope};
use crate::backend::{Backend, BackendError, Version};
use crate::document::{Digest, Document};
use crate::event::{Event, Outcome, Outcomes};
use crate::iam::{Arn, Policy, Principal, Selector, Statement};
use crate::kind::Action;
use crate::live::{AnyLive, Fields, Target, WriteError};
use crate::plan::{ActionKind, Phase, Plan, Step, StepName};
use crate::snapshot::Seen;
use crate::state::{Entry, Happening, Owned, State, fold};

/// A plan that was carried out, as far as it went.
#[derive(Debug)]
pub struct Executed {
    /// How every step ended.
    pub outcomes: Outcomes,
    /// The state afterwards, as saved.
    pub state: State,
}

/// How often a read that should show a write is repeated.
const READ_BACKS: u32 = 6;

/// What is there after a write: its fingerprint, and what of it is ours.
type ReadBack = (Option<Digest>, Option<Document>);

struct Run<'a> {
    engine: &'a Engine<'a>,
    backend: &'a dyn Backend,
    /// The lineage and serial that the journal continues.
    state: (&'a str, u64),
    /// The roles that the plan takes away, if only to make them anew: account id and name.
    gone: BTreeSet<(&'a str, &'a str)>,
    now: &'a (dyn Fn() -> String + Send + Sync),
    stop: watch::Receiver<bool>,
}

impl Engine<'_> {
    /// Carries the plan out and saves the state. `now` tells the time for the journal; `stop` turns true when nothing new
    /// shall be started.
    ///
    /// # Errors
    /// When the journal or the state cannot be written. The journal then tells the next run what was done.
    pub async fn execute(
        &self,
        plan: &Plan,
        state: State,
        version: &Version,
        backend: &dyn Backend,
        now: &(dyn Fn() -> String + Send + Sync),
        stop: watch::Receiver<bool>,
    ) -> Result<Executed, BackendError> {
        let lineage = state.lineage.0.clone();
        let run =
            Run { engine: self, backend, state: (&lineage, state.serial), gone: roles_taken_away(plan), now, stop };
        let (outcomes, entries, broken) = run.all(plan).await;
        let (mut after, _) = fold(state, &entries);
        for (address, owned) in &plan.refreshed {
            after.resources.insert(address.clone(), owned.clone());
        }
        after.serial += 1;
        env!("CARGO_PKG_VERSION").clone_into(&mut after.tool_version);
        if let Some(error) = broken {
            return Err(error);
        }
        backend.save(&after, version).await?;
        Ok(Executed { outcomes, state: after })
    }
}

impl Run<'_> {
    /// Runs all steps. Returns how each ended, what was journalled, and the error that broke the journal, if one did.
    async fn all(&self, plan: &Plan) -> (Outcomes, Vec<Entry>, Option<BackendError>) {
        let mut outcomes = Outcomes::new();
        let mut entries = Vec::new();
        let mut broken = None;
        let steps: BTreeMap<&StepName, &Step> = plan.steps.iter().map(|s| (&s.name, s)).collect();
        let mut waiting: BTreeMap<&StepName, BTreeSet<&StepName>> = plan
            .steps
            .iter()
            .map(|s| (&s.name, s.waits_for.iter().filter(|w| steps.contains_key(w)).collect()))
            .collect();
        let mut following: BTreeMap<&StepName, Vec<&StepName>> = BTreeMap::new();
        for (name, waits) in &waiting {
            for before in waits {
                following.entry(before).or_default().push(name);
            }
        }
        let places: BTreeMap<&StepName, usize> = plan.steps.iter().map(|s| &s.name).zip(0..).collect();
        // What may start, in the order of the plan.
        let mut ready: BTreeMap<usize, &Step> = plan
            .steps
            .iter()
            .enumerate()
            .filter(|(_, s)| waiting.get(&s.name).is_some_and(BTreeSet::is_empty))
            .collect();
        let mut made: BTreeSet<&Address> = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        loop {
            while broken.is_none() && !*self.stop.borrow() && running.len() < self.engine.limits.steps {
                let Some((_, step)) = ready.pop_first() else { break };
                waiting.remove(&step.name);
                self.engine.sink.take(Event::Started { step: step.name.clone(), action: step.action });
                let fresh = creates(step) && step.references.iter().any(|r| r.part && made.contains(&r.to));
                running.push(async move { (step, self.step(step, fresh).await) });
            }
            let Some((step, (outcome, written, error))) = running.next().await else { break };
            entries.extend(written);
            broken = broken.or(error);
            self.end(step, outcome.clone(), &mut outcomes);
            if outcome != Outcome::Done {
                self.skip(&step.name, &steps, &mut waiting, &mut outcomes);
                continue;
            }
            if creates(step) {
                made.insert(&step.name.address);
            }
            for next in following.get(&step.name).into_iter().flatten() {
                let Some(left) = waiting.get_mut(next) else { continue };
                left.remove(&step.name);
                if left.is_empty() {
                    ready.extend(places.get(next).copied().zip(steps.get(next).copied()));
                }
            }
        }
        for name in waiting.into_keys() {
            if let Some(step) = steps.get(name) {
                self.end(step, Outcome::Interrupted, &mut outcomes);
            }
        }
        (outcomes, entries, broken)
    }

    fn end(&self, step: &Step, outcome: Outcome, outcomes: &mut Outcomes) {
        self.engine.sink.take(Event::Ended { step: step.name.clone(), action: step.action, outcome: outcome.clone() });
        outcomes.insert(step.name.clone(), outcome);
    }

    /// Skips everything that waits for a step that was not done.
    fn skip<'p>(
        &self,
        failed: &StepName,
        steps: &BTreeMap<&'p StepName, &'p Step>,
        waiting: &mut BTreeMap<&'p StepName, BTreeSet<&'p StepName>>,
        outcomes: &mut Outcomes,
    ) {
        let mut open: Vec<(StepName, Address)> = vec![(failed.clone(), failed.address.clone())];
        while let Some((name, because)) = open.pop() {
            let skipped: Vec<&StepName> = waiting.iter().filter(|(_, w)| w.contains(&name)).map(|(n, _)| *n).collect();
            for next in skipped {
                waiting.remove(next);
                if let Some(step) = steps.get(next) {
                    self.end(step, Outcome::Skipped { because: because.clone() }, outcomes);
                }
                open.push((next.clone(), because.clone()));
            }
        }
    }

    /// One step. Returns how it ended, what was journalled, and the error of the journal, if it broke. `fresh`: it is a
    /// part of what this run has just made, so that it cannot have been there before.
    async fn step(&self, step: &Step, fresh: bool) -> (Outcome, Vec<Entry>, Option<BackendError>) {
        let mut entries = Vec::new();
        let failed = |why: String, certain| Outcome::Failed { why, certain };
        let Some(live) = self.engine.live(step.name.address.kind().as_str()) else {
            return (failed("this version of bailiwick does not know this kind".into(), true), entries, None);
        };
        let target = target(step);
        let mut fingerprint = step.fingerprint.clone();
        let mut body = step.after.clone();
        if step.writes() {
            let checked = match (&step.after, fresh) {
                (Some(after), true) => Ok(Some(Action::Create { after: after.clone() })),
                _ => self.checked(step, live, &target).await,
            };
            let action = match checked {
                Ok(Some(action)) => action,
                // It is gone already, as the step wanted.
                Ok(None) => {
                    let error = self.journal(step, ended(step, None), &mut entries).await.err();
                    return (Outcome::Done, entries, error);
                }
                Err(why) => return (failed(why, true), entries, None),
            };
            let creates = (!step.deletes() && step.action != ActionKind::Forget)
                .then(|| step.owned(None).map(Box::new))
                .flatten();
            let begin = Happening::Begin { action: step.action.to_string(), creates };
            if let Err(error) = self.journal(step, begin, &mut entries).await {
                return (failed(error.to_string(), true), entries, Some(error));
            }
            let written = match self.write(step, live, &target, &action).await {
                Ok(()) => self.read_back(step, live, &target).await.map_err(|why| (why, false)),
                Err(error) => {
                    // A kind may make several calls: that the last one was denied says nothing of those before it.
                    let certain = matches!(error, WriteError::Conflict { .. } | WriteError::Session(_));
                    Err((error.to_string(), certain))
                }
            };
            match written {
                Ok(seen) => (fingerprint, body) = seen,
                Err((why, certain)) => {
                    let happening = Happening::Failed { why: why.clone(), certain };
                    let error = self.journal(step, happening, &mut entries).await.err();
                    return (failed(why, certain), entries, error);
                }
            }
        }
        let owned = step.owned(fingerprint).map(|owned| Box::new(Owned { body, ..owned }));
        let error = self.journal(step, ended(step, owned), &mut entries).await.err();
        (Outcome::Done, entries, error)
    }

    async fn journal(&self, step: &Step, happening: Happening, entries: &mut Vec<Entry>) -> Result<(), BackendError> {
        let entry = Entry::new(self.state, (self.now)(), step.name.address.clone(), happening);
        self.backend.append(std::slice::from_ref(&entry)).await?;
        entries.push(entry);
        Ok(())
    }

    async fn look(&self, step: &Step, target: &Target) -> Seen {
        let kind = step.name.address.kind().as_str();
        let seen = self.engine.look(self.engine.session, kind, &step.scope, std::slice::from_ref(target)).await;
        seen.into_iter().next().unwrap_or_else(|| Seen::Unreadable { why: "there was no answer".into() })
    }

    /// Looks again before writing, and refuses if anything moved since the plan was made.
    async fn checked(
        &self,
        step: &Step,
        live: &dyn AnyLive,
        target: &Target,
    ) -> Result<Option<Action<Document>>, String> {
        let seen = self.look(step, target).await;
        if let Seen::Unreadable { why } = &seen {
            return Err(format!("it cannot be looked at again: {why}"));
        }
        // What the address named before was not looked at when the plan was made.
        if !step.superseded
            && seen.fingerprint() != step.fingerprint
            && !brought_along(step, live, &seen)
            && !self.names_what_was_taken_away(step, live, &seen)
        {
            return Err(moved(step, live, &seen));
        }
        let live_body = match &seen {
            Seen::Present { body, .. } => Some(body),
            _ => None,
        };
        let changed = || step.changed.clone();
        Ok(match (step.action, step.name.phase, &step.before, &step.after) {
            (_, _, before, _) if step.deletes() || step.action == ActionKind::Forget => {
                let Some(body) = live_body else { return Ok(None) };
                let before = match before {
                    Some(known) => live.claimed(body, Some(known), Some(known)),
                    None => body.clone(),
                };
                Some(Action::Delete { before, adopted: releases(step) })
            }
            (ActionKind::Create, _, _, Some(after)) | (ActionKind::Replace, Some(Phase::Create), _, Some(after)) => {
                Some(Action::Create { after: after.clone() })
            }
            (_, _, Some(before), Some(after)) => {
                Some(Action::Update { before: before.clone(), after: after.clone(), changed: changed() })
            }
            _ => return Err("the plan's step has no body".into()),
        })
    }

    /// Whether nothing moved but that the thing names roles which this run takes away, if only to make them anew: policies
    /// show a role that is gone by the unique id that it had.
    ///
    /// Source: IAM User Guide, "AWS JSON policy elements: Principal", role principals.
    fn names_what_was_taken_away(&self, step: &Step, live: &dyn AnyLive, seen: &Seen) -> bool {
        let (Seen::Present { body, .. }, Some(before)) = (seen, &step.before) else { return false };
        if step.action != ActionKind::Update || self.gone.is_empty() {
            return false;
        }
        let shown = live.claimed(body, Some(before), Some(before));
        let differences = Document::differences(before, &shown);
        !differences.is_empty()
            && differences.iter().all(|d| {
                let lost = d.before.as_ref().zip(d.after.as_ref()).and_then(|(before, shown)| orphaned(before, shown));
                lost.is_some_and(|lost| lost.iter().all(|principal| self.takes_away(principal)))
            })
    }

    fn takes_away(&self, principal: &Principal) -> bool {
        let Principal::Aws(arn) = principal else { return false };
        let Ok(arn) = arn.parse::<Arn>() else { return false };
        let name = arn.resource_type().and_then(|(kind, path)| (kind == "role").then_some(path)?.rsplit('/').next());
        name.is_some_and(|name| self.gone.contains(&(arn.account.as_str(), name)))
    }

    /// Calls the API, and again as long as something that was just made is not known everywhere.
    async fn write(
        &self,
        step: &Step,
        live: &dyn AnyLive,
        target: &Target,
        action: &Action<Document>,
    ) -> Result<(), WriteError> {
        let limits = self.engine.limits;
        let mut waited = std::time::Duration::ZERO;
        let mut pause = limits.pause;
        loop {
            match live.write(self.engine.session, &step.scope, target, action).await {
                Err(WriteError::NotYet { what, awaited, why }) => {
                    if waited >= limits.patience || *self.stop.borrow() {
                        let why = format!("{why} (waited {} s)", waited.as_secs());
                        return Err(WriteError::NotYet { what, awaited, why });
                    }
                    self.engine.sink.take(Event::Waiting { step: step.name.clone(), awaited, pause });
                    self.sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(limits.pause * 8);
                }
                other => return other,
            }
        }
    }

    /// Waits, but not longer than until the run is stopped.
    async fn sleep(&self, pause: std::time::Duration) {
        let mut stop = self.stop.clone();
        let stopped = async {
            // An error means that nobody can stop the run any more.
            if stop.wait_for(|s| *s).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped => {}
        }
    }

    /// Reads what was written until it shows, and returns the fingerprint of what is there now.
    async fn read_back(&self, step: &Step, live: &dyn AnyLive, target: &Target) -> Result<ReadBack, String> {
        let mut pause = self.engine.limits.pause / 4;
        let mut problem = String::new();
        for attempt in 0..READ_BACKS {
            if attempt > 0 {
                // Not cut short by an interrupt: what is under way is finished.
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            let seen = self.look(step, target).await;
            problem = match (&seen, &step.after) {
                (Seen::Unreadable { why }, _) => return Err(format!("it was written, but cannot be read back: {why}")),
                (Seen::Absent, _) if step.deletes() => return Ok((None, None)),
                (_, _) if releases(step) => return Ok((None, None)),
                (Seen::Present { body, .. }, _) if step.deletes() && nothing_of_ours(step, live, body) => {
                    return Ok((None, None));
                }
                (Seen::Present { .. }, _) if step.deletes() => "it was deleted, but is still there".to_owned(),
                (Seen::Absent, _) => "it was written, but is not there".to_owned(),
                (Seen::Present { body, .. }, Some(after)) => {
                    let shown = live.claimed(body, Some(after), step.before.as_ref());
                    if live.settled(after, &shown) {
                        let known = live.claimed(body, Some(after), None);
                        let fields = Fields::of([after]);
                        if fields == target.fields {
                            return Ok((seen.fingerprint(), Some(known)));
                        }
                        // From now on what the spec no longer names is not looked at.
                        let seen = self.look(step, &Target { fields, ..target.clone() }).await;
                        return Ok((seen.fingerprint(), Some(known)));
                    }
                    let differences = Document::differences(&shown, after);
                    let paths: Vec<&str> = differences.iter().map(|d| d.path.as_str()).collect();
                    format!("it was written, but reads back differently: {}", paths.join(", "))
                }
                (Seen::Present { .. }, None) => return Ok((seen.fingerprint(), None)),
            };
        }
        Err(problem)
    }
}

/// What a step touches, and what of it the step or the plan has looked at.
pub(super) fn target(step: &Step) -> Target {
    let fields = Fields::of(step.before.iter().chain(&step.after));
    Target { fields, ..Target::new(step.name.address.clone(), &step.physical_id) }
}

/// Whether a step makes what was not there when the plan was made.
fn creates(step: &Step) -> bool {
    let anew = step.action == ActionKind::Create || step.name.phase == Some(Phase::Create);
    anew && step.fingerprint.is_none()
}

/// What the journal tells of a step that was done.
fn ended(step: &Step, owned: Option<Box<Owned>>) -> Happening {
    if step.superseded && !step.first { Happening::FormerGone } else { Happening::End { owned } }
}

/// Whether a step takes our marks away and leaves the thing.
fn releases(step: &Step) -> bool {
    step.action == ActionKind::Forget || (step.action == ActionKind::Delete && step.adopted)
}

/// Whether a document that others share holds nothing of ours.
fn nothing_of_ours(step: &Step, live: &dyn AnyLive, body: &Document) -> bool {
    live.claimed(body, step.after.as_ref(), step.before.as_ref()).0.is_null()
}

/// Whether something that was absent when the plan was made came along with an earlier step of this run: a new bucket or
/// key has a policy from the start. It must not hold anything of ours yet, unless nothing is what it shall hold.
fn brought_along(step: &Step, live: &dyn AnyLive, seen: &Seen) -> bool {
    let as_wanted = |body: &Document| {
        step.after.as_ref().is_some_and(|after| live.settled(after, &live.claimed(body, Some(after), None)))
    };
    creates(step)
        && match seen {
            Seen::Present { body, owner } => nothing_of_ours(step, live, body) || (owner.is_none() && as_wanted(body)),
            _ => false,
        }
}

/// The roles that a plan takes away: account id and name.
fn roles_taken_away(plan: &Plan) -> BTreeSet<(&str, &str)> {
    let gone = plan.steps.iter().filter(|s| s.deletes() && s.name.address.kind().as_str() == "aws.iam.role");
    gone.filter_map(|s| match &s.scope {
        Scope::Account { id, .. } => Some((id.0.as_str(), s.physical_id.as_str())),
        Scope::Cluster { .. } => None,
    })
    .collect()
}

/// The principals of which one policy shows nothing but unique ids that belong to nobody any more, where another names
/// them. Nothing if the policies differ in anything else.
fn orphaned(before: &Value, shown: &Value) -> Option<BTreeSet<Principal>> {
    let (before, shown) = (Policy::from_value(before).ok()?, Policy::from_value(shown).ok()?);
    let principals = |policy: &Policy| -> BTreeSet<Principal> {
        let statements = policy.statements().iter().filter_map(Statement::principal);
        statements.flat_map(|selector| selector.values().iter().cloned()).collect()
    };
    let others = |policy: &Policy| -> Vec<Value> {
        let mut statements: Vec<Value> = policy
            .statements()
            .iter()
            .map(|statement| statement.clone().to(Selector::of([Principal::Everyone])).to_value())
            .collect();
        statements.sort_by_key(ToString::to_string);
        statements
    };
    let (known, found) = (principals(&before), principals(&shown));
    let same = others(&before) == others(&shown) && found.iter().all(|p| known.contains(p) || p.is_orphan_id());
    same.then(|| known.difference(&found).cloned().collect())
}

/// Says what moved since the plan was made.
pub(super) fn moved(step: &Step, live: &dyn AnyLive, seen: &Seen) -> String {
    let advice = "nothing was written: make the plan anew";
    match (seen, &step.fingerprint) {
        (Seen::Present { owner: Some(owner), .. }, None) => {
            format!("it exists now, and belongs to `{owner}`; {advice}")
        }
        (Seen::Present { .. }, None) => format!("it exists now, and did not when the plan was made; {advice}"),
        (Seen::Absent, _) => format!("it is gone since the plan was made; {advice}"),
        (Seen::Present { body, .. }, Some(_)) => {
            let known = step.before.clone().or_else(|| step.after.clone()).unwrap_or_default();
            let ours = live.claimed(body, Some(&known), Some(&known));
            let paths: Vec<String> = Document::differences(&known, &ours)
                .iter()
                .map(|d| d.path.to_string())
                .filter(|p| !p.is_empty())
                .collect();
            let what = if paths.is_empty() { "a part of it that is not ours".to_owned() } else { paths.join(", ") };
            format!("it changed since the plan was made ({what}); {advice}")
        }
        (Seen::Unreadable { why }, _) => why.clone(),
    }
}
