//! Runs the pure stages against the services: reads facts, observes, executes.

mod execute;
pub mod pipeline;
mod principal;
mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};

pub use execute::Executed;
pub use pipeline::{
    Assumed, Cleared, Compiled, Intent, Known, ObservedWorld, Planned, Resolved, Stopped, Task, Terms, assume,
    fits_spec,
};

use crate::address::{Address, Scope};
use crate::desired::Desired;
use crate::diagnostic::Diagnostic;
use crate::diff::{self, Diff};
use crate::event::{Event, Sink};
use crate::kind::{Kinds, Tagged};
use crate::live::{AnyLive, Fields, Observed, Provider, ReadError, Target};
use crate::plan::{self, ChangedSince, Plan, StepId};
use crate::session::{Session, SessionError};
use crate::snapshot::{ReadFailure, Seen, Snapshot};
use crate::spec::{Facts, Spec};
use crate::state::State;

/// The targets by kind and scope.
type Batches<'b> = BTreeMap<(&'b str, &'b Scope), Vec<Target>>;

/// Limits of concurrency and of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of concurrent steps. Each service also has its own rate limit.
    pub steps: usize,
    /// The total time to wait until a new resource is known everywhere.
    pub patience: Duration,
    /// The time that pending calls have to complete after an interrupt.
    pub grace: Duration,
    /// The first pause while waiting for a new resource; each later one is twice as long, up to eight times this value.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 24,
            patience: Duration::from_mins(2),
            grace: Duration::from_secs(5),
            pause: Duration::from_secs(1),
        }
    }
}

/// The kinds, the clients, the limits, and the sink for events.
pub struct Engine<'a> {
    /// Both halves of every kind.
    pub register: &'a [Box<dyn AnyLive>],
    /// The providers, which identify callers and read facts.
    pub providers: &'a [Box<dyn Provider>],
    /// The clients and everything else that one run shares.
    pub session: &'a Session,
    /// Limits of concurrency and of waiting.
    pub limits: Limits,
    /// Receives the events.
    pub sink: &'a dyn Sink,
}

/// The input of a plan.
pub struct Prepared {
    /// The desired resources.
    pub desired: Desired,
    /// The observed resources.
    pub snapshot: Snapshot,
    /// The differences between them and the state.
    pub diff: Diff,
}

impl Engine<'_> {
    /// Returns the pure halves of all kinds.
    #[must_use]
    pub fn kinds(&self) -> Kinds<'_> {
        self.register.iter().map(|live| live.kind()).collect()
    }

    fn live(&self, name: &str) -> Option<&dyn AnyLive> {
        self.register.iter().find(|live| live.about().name == name).map(AsRef::as_ref)
    }

    /// Checks the caller's identity in every place that the spec names, before any other request is sent there.
    ///
    /// # Errors
    /// Every place where the caller is in the wrong account or unknown.
    pub async fn identify(&self) -> Result<(), Vec<SessionError>> {
        let checks = self.providers.iter().map(|provider| provider.identify(self.session));
        let failed = futures_util::future::join_all(checks).await.concat();
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// Reads the facts that are needed to compile the spec, such as the OIDC issuers of clusters and the ARNs of KMS
    /// keys.
    ///
    /// # Errors
    /// Every fact that could not be read, or whose object should exist and does not.
    pub async fn facts(&self, spec: &Spec) -> Result<Facts, Vec<Diagnostic>> {
        let reads = self.providers.iter().map(|provider| provider.facts(self.session, spec));
        let (mut facts, mut problems) = (Facts::default(), Vec::new());
        for (more, wrong) in futures_util::future::join_all(reads).await {
            facts.extend(more);
            problems.extend(wrong);
        }
        if problems.is_empty() { Ok(facts) } else { Err(problems) }
    }

    /// Observes every desired or owned resource, in concurrent batches.
    pub async fn observe(&self, desired: &Desired, state: &State) -> Snapshot {
        let mut batches = Batches::new();
        let addresses: BTreeSet<&Address> = desired.resources.keys().chain(state.resources.keys()).collect();
        for address in addresses {
            let (wanted, owned) = (desired.resources.get(address), state.resources.get(address));
            let (scope, physical_id) = match (wanted, owned) {
                (Some(wanted), _) => (&wanted.scope, &wanted.physical_id),
                (None, Some(owned)) => (&owned.scope, &owned.physical_id),
                (None, None) => continue,
            };
            let kind = address.kind().as_str();
            let (body, last) = (wanted.map(|w| &w.body), owned.and_then(|o| o.body.as_ref()));
            let batch = batches.entry((kind, scope)).or_default();
            let fields = Fields::of(body.into_iter().chain(last)).shared(batch.last().map(|t: &Target| &t.fields));
            // A body that was applied under another name does not describe this resource.
            let same = owned.is_some_and(|o| o.physical_id == *physical_id) && body == last;
            let last = last.filter(|_| same && self.live(kind).is_some_and(AnyLive::takes_last)).cloned();
            batch.push(Target { fields, last, ..Target::new(address.clone(), physical_id) });
        }
        let total = batches.values().map(Vec::len).sum();
        self.sink.take(Event::Observing { total });
        let mut looking = self.look_at(&batches);
        let mut snapshot = Snapshot::default();
        while let Some((targets, seen)) = looking.next().await {
            self.sink.take(Event::Observed { count: targets.len() });
            snapshot.seen.extend(targets.iter().map(|t| t.address.clone()).zip(seen));
        }
        snapshot
    }

    /// Observes batches concurrently and yields each as it completes. Batches that can share a response request it
    /// once.
    fn look_at<'b>(&'b self, batches: &'b Batches<'b>) -> impl Stream<Item = (&'b [Target], Vec<Seen>)> {
        let cloud = Arc::new(self.session.observation());
        for ((kind, scope), targets) in batches {
            if let Some(live) = self.live(kind) {
                live.announce(&cloud, scope, targets);
            }
        }
        let look = |((kind, scope), targets): (&'b (&'b str, &'b Scope), &'b Vec<Target>)| {
            let cloud = cloud.clone();
            async move { (targets.as_slice(), self.look(&cloud, kind, scope, targets).await) }
        };
        batches.iter().map(look).collect::<FuturesUnordered<_>>()
    }

    /// Lists the resources that carry the project's ownership tag in the accounts, regions and clusters that the spec
    /// names. The map holds what could not be listed, and why.
    pub async fn tagged(&self, spec: &Spec) -> (Vec<Tagged>, BTreeMap<String, String>) {
        let lists = self.register.iter().flat_map(|live| {
            let list = async move |scope: Scope| {
                let listed = live.tagged(self.session, &scope).await;
                (live.about().name, scope, listed)
            };
            live.scopes(spec).into_iter().map(list)
        });
        let mut found = Vec::new();
        let mut unlisted = BTreeMap::new();
        for (kind, scope, listed) in futures_util::future::join_all(lists).await {
            match listed {
                Ok(tagged) => found.extend(tagged),
                Err(error) => {
                    unlisted.insert(format!("{kind} in {scope}"), error.to_string());
                }
            }
        }
        (found, unlisted)
    }

    /// Observes one batch. Returns one answer for each target.
    async fn look(&self, cloud: &Session, kind: &str, scope: &Scope, targets: &[Target]) -> Vec<Seen> {
        let unreadable = |why: String| vec![Seen::Unreadable { why, cause: ReadFailure::Other }; targets.len()];
        let Some(live) = self.live(kind) else {
            return unreadable(format!("this version of bailiwick does not know the kind `{kind}`"));
        };
        match live.observe(cloud, scope, targets).await {
            Ok(answers) if answers.len() == targets.len() => answers
                .into_iter()
                .map(|answer| match answer {
                    Ok(Observed::Absent) => Seen::Absent,
                    Ok(Observed::Present { body, owner }) => Seen::Present { body, owner },
                    Err(error) => unread(&error),
                })
                .collect(),
            Ok(answers) => unreadable(format!("{} answers to {} questions", answers.len(), targets.len())),
            Err(error) => vec![unread(&error); targets.len()],
        }
    }

    /// Reads every resource of a plan again and returns the changes since the plan was created, by step. Resources that
    /// cannot be read are reported as changed.
    pub async fn moved(&self, plan: &Plan) -> BTreeMap<StepId, ChangedSince> {
        let mut batches = Batches::new();
        let mut steps: BTreeMap<(&Address, &str), &plan::Step> = BTreeMap::new();
        for step in &plan.steps {
            // The old resource of a replacement still exists; the delete step checks whether it changed.
            let is_second_half =
                step.replaces().is_some_and(|old| old.which == plan::Which::Former(plan::Former::Replaced));
            let forgets = step.record() == Some(plan::StateRecord::Forget);
            if step.is_unread() || forgets || is_second_half {
                continue;
            }
            let batch = batches.entry((step.address().kind().as_str(), &step.scope)).or_default();
            batch.push(execute::target(step));
            steps.insert((step.address(), &step.physical_id), step);
        }
        let mut moved = BTreeMap::new();
        let mut looking = self.look_at(&batches);
        while let Some((targets, seen)) = looking.next().await {
            for (target, seen) in targets.iter().zip(seen) {
                let Some(step) = steps.get(&(&target.address, target.physical_id.as_str())) else { continue };
                let Some(live) = self.live(step.address().kind().as_str()) else { continue };
                let unread = matches!(seen, Seen::Unreadable { .. });
                if unread || seen.fingerprint().as_ref() != step.observed().map(|observed| &observed.digest) {
                    moved.insert(step.id().clone(), execute::moved(step, live, &seen));
                }
            }
        }
        moved
    }

    /// Observes every resource and computes the diff.
    pub async fn prepare(&self, desired: Desired, state: &State) -> Prepared {
        let snapshot = self.observe(&desired, state).await;
        let diff = diff::compute(&desired, &snapshot, state, &self.kinds());
        Prepared { desired, snapshot, diff }
    }
}

fn unread(error: &ReadError) -> Seen {
    Seen::Unreadable { why: error.to_string(), cause: error.cause() }
}
