//! An in-memory cloud: AWS accounts and Kubernetes clusters, as far as the kinds read them.
//!
//! It replaces the I/O half of every registered kind and behaves like the real services where that matters to plans:
//! some objects create others (a bucket its empty policy, a key its default one), settings have defaults that show in
//! every read, documents are shared with others, a recreated role is not the one that a policy named, and an object in
//! use cannot be deleted. A write that came before its dependencies is refused as the services would, and recorded as a
//! violation.
//!
//! The behavior of a single kind is in its [`Double`], beside the kind; here is what all services have in common,
//! including their faults.
//!
//! It counts calls, and it can fail on request: denied reads, writes that fail or are too early, an outside change in
//! between, a run that is stopped or killed after some writes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bailiwick::access::{Facet, Instance};
use bailiwick::address::{AccountId, Address, Region, Scope};
use bailiwick::diagnostic::Diagnostic;
use bailiwick::document::{Digest, Document, is_policy};
use bailiwick::iam::{Arn, is_account_id};
use bailiwick::kind::{Action, AnyKind, Home, OwnedBy, Tagged, UNIQUE_ID};
use bailiwick::live::{self, Answers, AnyLive, Observed, Provider, ReadError, Target, WriteError};
use bailiwick::provider::{self, ADDRESS_TAG};
use bailiwick::session::{Session, SessionError};
use bailiwick::spec::{Facts, KeySpec, Spec};
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

use crate::double::{
    Call, Double, MARK, Sight, TAGS, canonical, entry, object, rename_principals, roles_in, unique_id,
};
use crate::doubles;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Identifies an object in the world: its kind, its place and the name by which its API knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub kind: String,
    /// The account for global objects, account and region for regional ones, or the cluster.
    pub place: String,
    pub name: String,
}

impl Id {
    /// An object of another kind with a name in the same place.
    #[must_use]
    pub fn sibling(&self, kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), place: self.place.clone(), name: name.to_owned() }
    }

    /// The id of the account.
    #[must_use]
    pub fn account(&self) -> &str {
        self.place.split('/').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} in {}", self.kind, self.name, self.place)
    }
}

/// One object that exists.
#[derive(Clone, Debug)]
pub struct Thing {
    /// Its body; of a shared document, the whole document with all statements.
    pub body: Value,
    /// Its identity: an object recreated under the same name has another one.
    pub uid: u64,
    /// The roles that its policy names, by ARN, with the identity that each had when the policy was written.
    named: BTreeMap<String, u64>,
    /// Of a Kubernetes object: the fields that Bailiwick applied.
    pub applied: BTreeSet<String>,
}

/// How often the cloud was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches of reads.
    pub reads: usize,
    /// Objects read in them.
    pub looks: usize,
    /// Writes, including failed ones.
    pub writes: usize,
}

/// A write that came before its dependencies.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The resource that was written.
    pub address: Address,
    /// What was wrong.
    pub what: String,
    /// The object that still needed it, where the services do not refuse: they delete a role that others name. A
    /// violation only if the plan changes that object first.
    pub needed_by: Option<Id>,
}

/// The time of a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the call takes effect.
    BeforeCall,
    /// After the call took effect, and before the response arrives.
    AfterCall,
}

/// Random faults, each with its share of calls in a thousand.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    /// The seed of all randomness.
    pub seed: u64,
    /// Writes that fail and do nothing.
    pub failed: u64,
    /// Writes that are done without a response.
    pub lost: u64,
    /// Writes that are throttled.
    pub throttled: u64,
    /// Writes that the next one to three reads do not show yet.
    pub stale: u64,
    /// How often a fault was applied.
    pub applied: usize,
    pub calls: u64,
}

impl Storm {
    fn strikes(&mut self, share: u64) -> bool {
        self.calls += 1;
        let digest = Digest::of(format!("{} {}", self.seed, self.calls).as_bytes());
        let struck = u64::from_str_radix(digest.short(8), 16).unwrap_or_default() % 1000 < share;
        self.applied += usize::from(struck);
        struck
    }
}

type Change = Box<dyn FnOnce(&mut World) + Send>;

#[derive(Default)]
struct Faults {
    denied: BTreeSet<String>,
    /// The places whose requests get no response.
    silent: BTreeSet<String>,
    failing: BTreeMap<String, WriteError>,
    not_yet: BTreeMap<String, usize>,
    stale: BTreeMap<String, usize>,
    hidden: usize,
    hang: Option<String>,
    lost: BTreeSet<String>,
    storm: Option<Storm>,
    changes: BTreeMap<usize, Vec<Change>>,
    stop: Option<(usize, watch::Sender<bool>)>,
    kill: Option<(usize, Cut, Arc<Notify>)>,
    /// The addresses and places of denied requests.
    refused: BTreeSet<String>,
}

/// A kind in this world.
#[derive(Clone, Copy)]
struct Service {
    kind: &'static dyn AnyKind,
    double: &'static dyn Double,
}

/// Everything that exists, and its history.
#[derive(Default)]
pub struct World {
    services: BTreeMap<&'static str, Service>,
    /// The scope of each requested place.
    scopes: BTreeMap<String, Scope>,
    things: BTreeMap<Id, Thing>,
    before: BTreeMap<Id, Option<Thing>>,
    next: u64,
    counts: Counts,
    writes: Vec<String>,
    violations: Vec<Violation>,
    faults: Faults,
    full: BTreeSet<String>,
    /// The write at which each role was created, by its unique number.
    births: BTreeMap<u64, usize>,
    /// The buckets and roles with a write in progress.
    busy: BTreeSet<String>,
    /// Writes that show late, and the reads until then.
    late: BTreeMap<Id, usize>,
}

/// A handle on the world, which the kinds share.
#[derive(Clone)]
pub struct Cloud {
    world: Arc<Mutex<World>>,
    /// Delays calls by random durations, so that they end in another order than they began.
    seed: u64,
    /// The facts of the world, if not derived from it.
    pub facts: Option<Facts>,
    /// The caller in each place.
    pub callers: Vec<(Scope, String)>,
}

impl Default for Cloud {
    fn default() -> Self {
        Self::new()
    }
}

impl Cloud {
    /// An empty world whose calls return at once, with every registered kind.
    ///
    /// # Panics
    /// When a kind has no double.
    #[must_use]
    pub fn new() -> Self {
        let cloud = Self { world: Arc::default(), seed: 0, facts: None, callers: Vec::new() };
        for kind in provider::kinds().all() {
            let name = kind.about().name;
            let double = doubles::ALL.iter().find(|double| double.kind() == name);
            cloud.add(kind, *double.unwrap_or_else(|| panic!("{name} has no double in tests/support/doubles.rs")));
        }
        cloud
    }

    /// Adds a kind with its double.
    pub fn add(&self, kind: &'static dyn AnyKind, double: &'static dyn Double) {
        self.world().services.insert(double.kind(), Service { kind, double });
    }

    /// An empty world whose calls take up to some milliseconds, in an order that depends on the seed. For paused time.
    #[must_use]
    pub fn with_delays(seed: u64) -> Self {
        Self { seed: seed.max(1), ..Self::new() }
    }

    /// Both halves of every kind, on this world.
    #[must_use]
    pub fn register(&self) -> Vec<Box<dyn AnyLive>> {
        let services = self.world().services.clone();
        services
            .into_values()
            .map(|Service { kind, .. }| Box::new(Remembered { kind, cloud: self.clone() }) as Box<dyn AnyLive>)
            .collect()
    }

    /// The world, to read and change directly.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Denies reads at an address with 403 from now on.
    pub fn deny_read(&self, address: &str) {
        self.world().faults.denied.insert(address.to_owned());
    }

    /// Requests to a place, such as a cluster, get no response from now on.
    pub fn silence(&self, place: &str) {
        self.world().faults.silent.insert(place.to_owned());
    }

    /// Writes at an address fail from now on.
    pub fn fail_write(&self, address: &str, error: WriteError) {
        self.world().faults.failing.insert(address.to_owned(), error);
    }

    /// The next writes at an address are too early.
    pub fn not_yet(&self, address: &str, times: usize) {
        self.world().faults.not_yet.insert(address.to_owned(), times);
    }

    /// After each write at an address, this many reads still show the state before it.
    pub fn stale(&self, address: &str, reads: usize) {
        self.world().faults.stale.insert(address.to_owned(), reads);
    }

    /// A new role is unknown to other services for this many writes after its creation.
    pub fn hide_new_roles(&self, writes: usize) {
        self.world().faults.hidden = writes;
    }

    /// The next write at an address is done, and its response is lost.
    pub fn lose_answer(&self, address: &str) {
        self.world().faults.lost.insert(address.to_owned());
    }

    /// The next write at an address is done and never returns.
    pub fn hang(&self, address: &str) {
        self.world().faults.hang = Some(address.to_owned());
    }

    /// Calls fail randomly from now on.
    pub fn storm(&self, storm: Storm) {
        self.world().faults.storm = Some(storm);
    }

    /// The number of random faults until now.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.world().faults.storm.as_ref().map_or(0, |storm| storm.applied)
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        let mut world = self.world();
        world.faults = Faults::default();
        world.late.clear();
    }

    /// Makes an outside change just before the n-th write from now, counted from 1.
    pub fn before_write(&self, n: usize, change: impl FnOnce(&mut World) + Send + 'static) {
        let mut world = self.world();
        let at = world.counts.writes + n;
        world.faults.changes.entry(at).or_default().push(Box::new(change));
    }

    /// Turns true after this many writes from now.
    #[must_use]
    pub fn stop_after(&self, writes: usize) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(writes == 0);
        let mut world = self.world();
        world.faults.stop = Some((world.counts.writes + writes, sender));
        receiver
    }

    /// Signals that the n-th write from now is in progress. That write never returns: the caller must drop its future.
    #[must_use]
    pub fn kill_at(&self, write: usize, cut: Cut) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        let mut world = self.world();
        world.faults.kill = Some((world.counts.writes + write, cut, notify.clone()));
        notify
    }

    async fn delay(&self, salt: &str) {
        if self.seed == 0 {
            tokio::task::yield_now().await;
            return;
        }
        let digest = Digest::of(format!("{} {salt}", self.seed).as_bytes());
        let pause = u64::from_str_radix(digest.short(2), 16).unwrap_or_default() / 16;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// The facts that are needed to compile a spec for this world.
    #[must_use]
    pub fn facts(&self, spec: &Spec) -> Facts {
        if let Some(facts) = &self.facts {
            return facts.clone();
        }
        let world = self.world();
        let mut facts = Facts::placeholders(spec);
        for (scope, caller) in &self.callers {
            facts.add_caller(scope, caller);
        }
        let arn = |key: &KeySpec| {
            let scope = spec.regional_scope(&key.account, key.region(spec));
            let (account, region) = (scope.owner(), scope.location.as_deref().unwrap_or_default());
            let partition = Region(region.into()).partition();
            world.resolve(&format!("arn:{partition}:kms:{region}:{account}:{}", key.alias_name()))
        };
        facts.key_arns = spec.keys.iter().filter_map(|(name, key)| Some((name.clone(), arn(key)?))).collect();
        facts
    }

    /// Creates what a spec relies on and does not manage. Existing objects are kept.
    pub fn prepare(&self, spec: &Spec) {
        let facts = Facts::placeholders(spec);
        let mut world = self.world();
        let services: Vec<Service> = world.services.values().copied().collect();
        for Service { double, .. } in services {
            for (scope, name, body) in double.relied_on(spec, &facts) {
                let id = world.id(double.kind(), &scope, &name);
                world.have(id, &body);
            }
        }
    }
}

/// Direct access for tests.
impl World {
    /// The id of a kind's object by its name in a scope.
    #[must_use]
    pub fn id(&self, kind: &str, scope: &Scope, name: &str) -> Id {
        let home = self.services.get(kind).map(|service| service.kind.about().home);
        let place = match (&scope.location, home) {
            (Some(location), None | Some(Home::Location)) => format!("{}/{location}", scope.owner()),
            _ => scope.owner().to_owned(),
        };
        Id { kind: kind.to_owned(), place, name: name.to_owned() }
    }

    /// The body of an object, if it exists.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Thing> {
        self.things.get(id)
    }

    /// How often it was called.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The writes in order: `create aws.iam.role.loader`.
    #[must_use]
    pub fn writes(&self) -> &[String] {
        &self.writes
    }

    /// All writes that came before their dependencies.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The ids of everything that exists.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.things.keys()
    }

    /// The only object of a kind with a name, in any place.
    ///
    /// # Panics
    /// When there is none or more than one.
    #[must_use]
    pub fn find(&self, kind: &str, name: &str) -> Id {
        let found: Vec<&Id> = self.things.keys().filter(|id| id.kind == kind && id.name == name).collect();
        match found.as_slice() {
            [one] => (*one).clone(),
            _ => panic!("{} things of kind {kind} are called {name}: {:?}", found.len(), self.things.keys()),
        }
    }

    /// Whether an object of a kind with a name exists.
    #[must_use]
    pub fn has(&self, kind: &str, name: &str) -> bool {
        self.things.keys().any(|id| id.kind == kind && id.name == name)
    }

    /// An object as everyone sees it; of a policy the whole document.
    ///
    /// # Panics
    /// When it does not exist.
    #[must_use]
    pub fn show(&self, id: &Id) -> Value {
        let thing = self.things.get(id).unwrap_or_else(|| panic!("there is no {id}"));
        self.current(thing)
    }

    /// Changes an object directly, as a user of the console would.
    ///
    /// # Panics
    /// When it does not exist.
    pub fn edit(&mut self, id: &Id, change: impl FnOnce(&mut Value)) {
        let mut thing = self.things.get(id).unwrap_or_else(|| panic!("there is no {id}")).clone();
        change(&mut thing.body);
        thing.named = self.named(&thing.body);
        self.things.insert(id.clone(), thing);
    }

    /// The identity of an object: a recreated one has another.
    #[must_use]
    pub fn which(&self, id: &Id) -> Option<u64> {
        self.things.get(id).map(|thing| thing.uid)
    }

    /// Deletes an object directly, with everything that cannot exist without it.
    pub fn remove(&mut self, id: &Id) {
        self.things.remove(id);
        let inside = format!("{}/", id.name);
        for Service { kind, double } in self.services.values() {
            match kind.about().owned_by {
                OwnedBy::Statements { on, .. } if on == id.kind => {
                    self.things.remove(&id.sibling(double.kind(), &id.name));
                }
                OwnedBy::Whole { of, .. } if of == id.kind => self.things.retain(|part, _| {
                    part.kind != double.kind() || part.place != id.place || !part.name.starts_with(&inside)
                }),
                _ => {}
            }
        }
    }

    /// Creates a foreign object and what comes with it. Unset settings have their defaults.
    pub fn have(&mut self, id: Id, body: &Value) {
        if !self.things.contains_key(&id) {
            self.insert(id, body.clone());
        }
    }

    /// Adds a foreign statement to a bucket's or key's policy.
    pub fn add_statement(&mut self, id: &Id, statement: Value) {
        self.edit(id, |policy| policy["Statement"].as_array_mut().unwrap().push(statement));
    }

    /// Faults that have not occurred yet.
    #[must_use]
    pub fn idle_faults(&self) -> Vec<String> {
        let Faults { denied, silent, failing, hang, lost, changes, stop, kill, refused, .. } = &self.faults;
        let refusals = denied.iter().chain(silent).chain(failing.keys()).filter(|met| !refused.contains(*met));
        let refusals = refusals.map(|met| format!("that of {met}"));
        let hang = hang.iter().map(|address| format!("the write of {address} that hangs"));
        let lost = lost.iter().map(|address| format!("the lost answer to writing {address}"));
        let changes = changes.keys().map(|n| format!("a change before write {n}"));
        let stop = stop.iter().filter(|(at, _)| self.counts.writes < *at);
        let stop = stop.map(|(at, _)| format!("the interrupt after write {at}"));
        let kill = kill.iter().map(|(at, ..)| format!("the crash at write {at}"));
        refusals.chain(hang).chain(lost).chain(changes).chain(stop).chain(kill).collect()
    }

    /// Puts an object into a bucket, so that it cannot be deleted.
    pub fn fill(&mut self, bucket: &str) {
        self.full.insert(bucket.to_owned());
    }

    /// Everything with an ownership mark, one line each.
    #[must_use]
    pub fn tagged(&self) -> BTreeSet<String> {
        self.things.iter().filter(|(id, thing)| self.is_ours(id, thing)).map(|(id, _)| id.to_string()).collect()
    }

    /// Everything as text, to compare worlds.
    #[must_use]
    pub fn dump(&self) -> BTreeMap<String, Value> {
        self.things.iter().map(|(id, thing)| (id.to_string(), self.current(thing))).collect()
    }

    /// A new unique number.
    pub fn fresh(&mut self, id: &Id, body: Value) -> Thing {
        self.next += 1;
        let body = self.whole(id, body);
        Thing { named: self.named(&body), body, uid: self.next, applied: BTreeSet::new() }
    }

    /// Stores an object, with the current identities of the roles that it names.
    pub fn put(&mut self, id: &Id, thing: Thing) {
        let thing = Thing { named: self.named(&thing.body), ..thing };
        self.things.insert(id.clone(), thing);
    }

    fn insert(&mut self, id: Id, body: Value) {
        let thing = self.fresh(&id, body);
        self.births.insert(thing.uid, self.counts.writes);
        let services: Vec<Service> = self.services.values().copied().collect();
        for Service { kind, double } in services {
            if matches!(kind.about().owned_by, OwnedBy::Statements { on, .. } if on == id.kind) {
                self.insert(id.sibling(double.kind(), &id.name), double.original(&id));
            }
        }
        self.things.insert(id, thing);
    }

    fn service(&self, kind: &str) -> Service {
        *self.services.get(kind).unwrap_or_else(|| panic!("{kind} is not a kind of this world"))
    }

    /// A body with the service's defaults for unset fields.
    fn whole(&self, id: &Id, mut body: Value) -> Value {
        self.service(&id.kind).double.complete(id, &mut body);
        body
    }

    /// The scope of an object. The key of an account that was never requested is unknown.
    fn scope(&self, id: &Id) -> Scope {
        self.scopes.get(&id.place).cloned().unwrap_or_else(|| match id.place.split_once('/') {
            None if !is_account_id(&id.place) => Scope::cluster(id.place.as_str()),
            split => {
                let (account, region) = split.unwrap_or((&id.place, ""));
                Scope::account(account, AccountId(account.into()), Region(region.into()))
            }
        })
    }

    /// The facet of an object, as far as a read shows it.
    fn facet<T>(&self, id: &Id, thing: &Thing, read: impl FnOnce(&Facet<'_>) -> T) -> T {
        let Service { kind, double } = self.service(&id.kind);
        let sight = Sight { project: "", id, thing, body: thing.body.clone() };
        let shown = double.shown(self, &sight).map_or(Value::Null, |(shown, _)| shown);
        let (scope, body) = (self.scope(id), Document::from(shown));
        read(&kind.facet(Instance { scope: &scope, physical_id: &id.name, body: &body }))
    }

    /// The names by which others refer to an object.
    #[must_use]
    pub fn names(&self, id: &Id, thing: &Thing) -> Vec<String> {
        self.facet(id, thing, |facet| self.service(&id.kind).double.names(id, facet))
    }

    /// The first name, as reads show it, of the object with a name, if it exists.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<String> {
        self.things.iter().find_map(|(id, thing)| {
            let names = self.names(id, thing);
            names.iter().any(|known| known == name).then(|| names.first().cloned())?
        })
    }

    /// The object of a principal's ARN, if it exists.
    #[must_use]
    pub fn principal(&self, arn: &str) -> Option<&Thing> {
        let parsed: Arn = arn.parse().ok()?;
        let account = parsed.account.clone();
        self.services.values().find_map(|Service { kind, double }| {
            let id = Id { kind: double.kind().into(), place: account.clone(), name: kind.principal(&parsed)? };
            let thing = self.things.get(&id)?;
            self.names(&id, thing).iter().any(|name| name == arn).then_some(thing)
        })
    }

    /// The roles that the policies of a body name, with their current identities.
    fn named(&self, body: &Value) -> BTreeMap<String, u64> {
        roles_in(body).into_iter().filter_map(|arn| Some((arn.clone(), self.principal(&arn)?.uid))).collect()
    }

    fn is_ours(&self, id: &Id, thing: &Thing) -> bool {
        self.service(&id.kind).double.is_ours(&thing.body)
    }

    /// An object that refers to this one. A policy refers only to the role that existed when the policy was written.
    #[must_use]
    pub fn user_of(&self, id: &Id, ours_only: bool) -> Option<Id> {
        let thing = self.things.get(id)?;
        let names = self.names(id, thing);
        let refers = |other: &Id, user: &Thing| {
            let used = self.facet(other, user, |f| self.service(&other.kind).double.uses(other, &user.body, f));
            let means = |name: &String| user.named.get(name).is_none_or(|uid| *uid == thing.uid);
            used.iter().any(|name| names.contains(name) && means(name))
        };
        let mut users = self.things.iter().filter(|(_, user)| !names.is_empty() && user.uid != thing.uid);
        users
            .find(|(other, user)| (!ours_only || self.is_ours(other, user)) && refers(other, user))
            .map(|(user, _)| user.clone())
    }

    /// The parts of an object, which cannot have tags of their own.
    #[must_use]
    pub fn parts_of(&self, whole: &Id) -> Vec<Id> {
        let inside = format!("{}/", whole.name);
        let is_part = |kind: &str| {
            let owned_by = &self.service(kind).kind.about().owned_by;
            matches!(owned_by, OwnedBy::Whole { of, .. } if *of == whole.kind)
        };
        let parts = self.things.keys().filter(|id| id.place == whole.place && id.name.starts_with(&inside));
        parts.filter(|id| is_part(&id.kind)).cloned().collect()
    }

    /// The object that an untagged part belongs to, if it exists.
    #[must_use]
    pub fn whole_of(&self, part: &Id) -> Option<Id> {
        let OwnedBy::Whole { of, .. } = self.service(&part.kind).kind.about().owned_by else { return None };
        let whole = part.sibling(of, part.name.split('/').next().unwrap_or_default());
        self.things.contains_key(&whole).then_some(whole)
    }

    /// The shared documents of an object, and whether each has own statements.
    #[must_use]
    pub fn documents_of(&self, carrier: &Id) -> Vec<(Id, bool)> {
        let documents = self.services.values().filter_map(|Service { kind, double }| {
            let on = matches!(kind.about().owned_by, OwnedBy::Statements { on, .. } if on == carrier.kind);
            let id = carrier.sibling(double.kind(), &carrier.name);
            let thing = self.things.get(&id).filter(|_| on)?;
            Some((id.clone(), self.is_ours(&id, thing)))
        });
        documents.collect()
    }

    /// The unique id of a shared document's carrier, if the service assigns one.
    #[must_use]
    pub fn carrier_id(&self, document: &Id) -> Option<String> {
        let OwnedBy::Statements { on, .. } = self.service(&document.kind).kind.about().owned_by else { return None };
        let carrier = self.things.get(&document.sibling(on, &document.name))?;
        self.service(on).double.unique_id(carrier.uid)
    }

    /// Whether a bucket holds objects.
    #[must_use]
    pub fn is_full(&self, bucket: &str) -> bool {
        self.full.contains(bucket)
    }

    /// A body as it reads now: a role that was deleted or recreated shows by its old id.
    ///
    /// Source: IAM User Guide, "AWS JSON policy elements: Principal", role principals.
    fn current(&self, thing: &Thing) -> Value {
        let gone: BTreeMap<&String, String> = thing
            .named
            .iter()
            .filter(|(arn, uid)| self.principal(arn).is_none_or(|role| role.uid != **uid))
            .map(|(arn, uid)| (arn, unique_id(*uid)))
            .collect();
        let mut body = thing.body.clone();
        if !gone.is_empty() {
            rename_principals(&mut body, &gone);
            for policy in body.as_object_mut().into_iter().flat_map(Map::values_mut).filter(|field| is_policy(field)) {
                *policy = canonical(policy);
            }
        }
        body
    }

    /// Deletes an object, even if a managed one still needs it: that is a violation.
    pub fn delete_needed(&mut self, call: &Call<'_>) {
        self.still_needed(call);
        self.remove(call.id);
    }

    /// Records that a managed object still needs the deleted one.
    pub fn still_needed(&mut self, call: &Call<'_>) {
        if let Some(user) = self.user_of(call.id, true) {
            let what = format!("it is deleted while {user} still needs it");
            self.violations.push(Violation { address: call.address.clone(), what, needed_by: Some(user) });
        }
    }

    /// The service's error if it does not know a role of this ARN, or not yet.
    pub fn unknown_principal(&mut self, address: &Address, arn: &str) -> Option<WriteError> {
        let (what, why) = (format!("write {address}"), "MalformedPolicy: Invalid principal in policy".to_owned());
        let Some(role) = self.principal(arn).cloned() else {
            self.violation(address, &format!("it names the role {arn}, which does not exist"));
            return Some(WriteError::UnknownPrincipal { what, why });
        };
        let age = self.counts.writes - self.births.get(&role.uid).copied().unwrap_or_default();
        (self.births.get(&role.uid).is_some_and(|born| *born > 0) && age <= self.faults.hidden)
            .then_some(WriteError::UnknownPrincipal { what, why })
    }

    /// Records and refuses a write that came before its dependencies.
    pub fn violation(&mut self, address: &Address, what: &str) -> WriteError {
        self.violations.push(Violation { address: address.clone(), what: what.to_owned(), needed_by: None });
        WriteError::Failed { what: format!("write {address}"), why: what.to_owned() }
    }
}

/// A write to a bucket or role in progress. Services refuse another one meanwhile.
struct Busy(Cloud, Option<String>);

impl Busy {
    fn begin(cloud: &Cloud, turn: Option<String>, address: &Address) -> Result<Self, WriteError> {
        let mut world = cloud.world();
        if let Some(turn) = &turn
            && !world.busy.insert(turn.clone())
        {
            let what = format!("OperationAborted: another write to {turn} is under way");
            world.violations.push(Violation { address: address.clone(), what: what.clone(), needed_by: None });
            return Err(WriteError::NotYet {
                what: format!("write {address}"),
                awaited: "the other one".into(),
                why: what,
            });
        }
        Ok(Self(cloud.clone(), turn))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(turn) = &self.1 {
            self.0.world().busy.remove(turn);
        }
    }
}

/// A registered kind on this world.
struct Remembered {
    kind: &'static dyn AnyKind,
    cloud: Cloud,
}

impl AnyLive for Remembered {
    fn kind(&self) -> &'static dyn AnyKind {
        self.kind
    }

    fn tagged<'a>(&'a self, cloud: &'a Session, scope: &'a Scope) -> Boxed<'a, Result<Vec<Tagged>, ReadError>> {
        let found = self.cloud.world().owned(cloud.project(), self.kind.about().name, scope);
        Box::pin(std::future::ready(found))
    }

    fn observe<'a>(
        &'a self,
        cloud: &'a Session,
        scope: &'a Scope,
        targets: &'a [Target],
    ) -> Boxed<'a, Result<Answers<Document>, ReadError>> {
        Box::pin(async move {
            self.cloud.delay(targets.first().map_or("", |t| t.physical_id.as_str())).await;
            let mut world = self.cloud.world();
            world.counts.reads += 1;
            world.counts.looks += targets.len();
            Ok(targets
                .iter()
                .map(|target| world.look(cloud.project(), self.kind.about().name, scope, target))
                .collect())
        })
    }

    fn write<'a>(
        &'a self,
        cloud: &'a Session,
        scope: &'a Scope,
        target: &'a Target,
        action: &'a Action<Document>,
    ) -> Boxed<'a, Result<(), WriteError>> {
        Box::pin(async move {
            let turn = self.kind.serialization_group(&target.physical_id).map(|turn| format!("{scope} {turn}"));
            let _busy = match Busy::begin(&self.cloud, turn, &target.address) {
                Ok(busy) => busy,
                Err(error) => return Err(error),
            };
            self.cloud.delay(&target.address.to_string()).await;
            let (result, cut) = {
                let mut world = self.cloud.world();
                let id = world.id(self.kind.about().name, scope, &target.physical_id);
                world.scopes.insert(id.place.clone(), scope.clone());
                let hangs = world.faults.hang.take_if(|address| *address == target.address.to_string()).is_some();
                let (result, cut) = world.call(cloud.project(), &id, target, action);
                (result, if hangs { Some(Arc::default()) } else { cut })
            };
            if let Some(notify) = cut {
                notify.notify_one();
                std::future::pending::<()>().await;
            }
            result
        })
    }
}

/// The operations of the services.
impl World {
    /// Lists the objects of a kind with a project's ownership mark. If the mark does not contain the address, place and
    /// name give it.
    fn owned(&self, project: &str, kind: &str, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
        let Service { kind: pure, double } = self.service(kind);
        if !matches!(pure.about().owned_by, OwnedBy::Tags) {
            return Ok(Vec::new());
        }
        let place = self.id(kind, scope, "").place;
        if self.faults.silent.contains(&place) {
            return Err(ReadError::Unreachable {
                what: format!("the list of {kind}"),
                why: "connection timed out".into(),
            });
        }
        let mut found = Vec::new();
        for (id, thing) in self.things.iter().filter(|(id, _)| id.kind == kind && id.place == place) {
            let sight = Sight { project, id, thing, body: self.current(thing) };
            let (body, owner) = double.shown(self, &sight)?;
            if owner.as_deref() == Some(project) {
                let tagged = entry(&body, "tags", ADDRESS_TAG).and_then(|address| address.parse().ok());
                let address = tagged.unwrap_or_else(|| Address::new(double.kind(), format!("{place}/{}", id.name)));
                found.push(Tagged { scope: scope.clone(), address, physical_id: id.name.clone() });
            }
        }
        Ok(found)
    }

    fn look(
        &mut self,
        project: &str,
        kind: &str,
        scope: &Scope,
        target: &Target,
    ) -> Result<Observed<Document>, ReadError> {
        if self.faults.denied.contains(&target.address.to_string()) {
            self.faults.refused.insert(target.address.to_string());
            return Err(ReadError::Denied { what: target.address.to_string(), why: "403: AccessDenied".into() });
        }
        let id = self.id(kind, scope, &target.physical_id);
        if self.faults.silent.contains(&id.place) {
            self.faults.refused.insert(id.place.clone());
            return Err(ReadError::Unreachable {
                what: target.address.to_string(),
                why: "connection timed out".into(),
            });
        }
        self.scopes.insert(id.place.clone(), scope.clone());
        let stale = match self.faults.stale.get_mut(&target.address.to_string()) {
            Some(left) if *left > 0 && self.before.contains_key(&id) => {
                *left -= 1;
                true
            }
            _ => match self.late.get_mut(&id) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            },
        };
        let thing = if stale { self.before.get(&id).and_then(Option::as_ref) } else { self.things.get(&id) };
        let Some(thing) = thing else { return Ok(Observed::Absent) };
        let double = self.service(kind).double;
        let mut body = self.current(thing);
        if let Some(unique) = double.unique_id(thing.uid) {
            body[UNIQUE_ID] = unique.into();
        }
        let (body, owner) = double.shown(self, &Sight { project, id: &id, thing, body })?;
        Ok(Observed::Present { body: Document::from(body), owner })
    }

    /// One call, with the faults that are set for it. Returns whom to notify if it never returns.
    fn call(
        &mut self,
        project: &str,
        id: &Id,
        target: &Target,
        action: &Action<Document>,
    ) -> (Result<(), WriteError>, Option<Arc<Notify>>) {
        self.counts.writes += 1;
        let n = self.counts.writes;
        for change in self.faults.changes.remove(&n).into_iter().flatten() {
            change(self);
        }
        let cut = self.faults.kill.take_if(|(at, ..)| *at == n);
        if let Some((_, Cut::BeforeCall, notify)) = cut {
            return (Ok(()), Some(notify));
        }
        let address = target.address.to_string();
        let verb = match action {
            Action::Create { .. } => "create",
            Action::Update { .. } => "update",
            Action::Release { .. } => "release",
            Action::Delete { .. } => "delete",
        };
        let result = if let Some(error) = self.faults.failing.get(&address) {
            self.faults.refused.insert(address.clone());
            Err(error.clone())
        } else if let Some(left) = self.faults.not_yet.get_mut(&address).filter(|left| **left > 0) {
            *left -= 1;
            let awaited = "what was just made to be known".to_owned();
            Err(WriteError::NotYet { what: format!("write {address}"), awaited, why: "NoSuchEntity".into() })
        } else if self.faults.storm.as_mut().is_some_and(|storm| storm.strikes(storm.failed)) {
            Err(WriteError::Failed { what: format!("write {address}"), why: "InternalError".into() })
        } else if self.faults.storm.as_mut().is_some_and(|storm| storm.strikes(storm.throttled)) {
            let awaited = "the service to accept requests again".to_owned();
            Err(WriteError::NotYet { what: format!("write {address}"), awaited, why: "Throttling".into() })
        } else {
            self.writes.push(format!("{verb} {address}"));
            let before = self.things.get(id).cloned();
            let call = Call { project, id, address: &target.address };
            let done = self.service(&id.kind).double.write(self, &call, action);
            self.before.insert(id.clone(), before);
            if done.is_ok() && self.faults.storm.as_mut().is_some_and(|storm| storm.strikes(storm.stale)) {
                self.late.insert(id.clone(), 1 + n % 3);
            } else {
                self.late.remove(id);
            }
            let struck = self.faults.storm.as_mut().is_some_and(|storm| storm.strikes(storm.lost));
            if done.is_ok() && (struck || self.faults.lost.remove(&address)) {
                Err(WriteError::Unanswered { what: format!("write {address}"), why: "connection reset".into() })
            } else {
                done
            }
        };
        if let Some((at, sender)) = &self.faults.stop
            && n >= *at
        {
            let _ = sender.send(true);
        }
        (result, cut.map(|(.., notify)| notify))
    }

    /// Creates, updates, releases or deletes a body under a name.
    pub fn write(&mut self, kind: &str, call: &Call<'_>, action: &Action<Document>) -> Result<(), WriteError> {
        match action {
            Action::Create { after } => self.create(call, &after.tree()),
            Action::Update { before, after, .. } => {
                let Some(thing) = self.things.get(call.id).cloned() else {
                    return Err(self.violation(call.address, "it is updated and does not exist"));
                };
                self.update(call, thing, &before.tree(), &after.tree())
            }
            Action::Release { .. } => {
                if let Some(thing) = self.things.get_mut(call.id) {
                    for field in self.services[kind].double.shared_fields() {
                        if let Some(Value::Object(entries)) = thing.body.get_mut(*field) {
                            entries.retain(|key, _| !key.starts_with(TAGS) && key != MARK);
                        }
                    }
                }
                Ok(())
            }
            Action::Delete { .. } if !self.things.contains_key(call.id) => Ok(()),
            Action::Delete { .. } => self.services[kind].double.delete(self, call),
        }
    }

    fn create(&mut self, call: &Call<'_>, after: &Value) -> Result<(), WriteError> {
        let double = self.service(&call.id.kind).double;
        if let Some(thing) = self.things.get(call.id).cloned() {
            if !double.takes(call.project, &thing.body, after) {
                return Err(WriteError::Conflict {
                    what: format!("create {}", call.address),
                    holder: "somebody else".into(),
                    why: "it exists already".into(),
                    help: None,
                });
            }
            let before = Document::managed_fields(
                &Document::from(thing.body.clone()),
                Some(&Document::from(after.clone())),
                None,
            );
            return self.update(call, thing, &before.tree(), after);
        }
        let mut body = after.clone();
        double.check(self, call, &mut body)?;
        self.insert(call.id.clone(), body);
        Ok(())
    }

    fn update(&mut self, call: &Call<'_>, mut thing: Thing, before: &Value, after: &Value) -> Result<(), WriteError> {
        let double = self.service(&call.id.kind).double;
        let mut after = after.clone();
        double.check(self, call, &mut after)?;
        let empty = Map::new();
        let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
        let live = object(&mut thing.body);
        for key in before.keys().chain(after.keys()) {
            match (after.get(key), live.get_mut(key)) {
                // Others have entries in these fields too.
                (Some(Value::Object(new)), Some(Value::Object(old)))
                    if double.shared_fields().contains(&key.as_str()) =>
                {
                    let gone = before.get(key).and_then(Value::as_object).unwrap_or(&empty);
                    old.retain(|name, _| !gone.contains_key(name) || new.contains_key(name));
                    old.extend(new.clone());
                }
                (Some(new), _) => {
                    live.insert(key.clone(), new.clone());
                }
                (None, _) => {
                    live.remove(key);
                }
            }
        }
        thing.body = self.whole(call.id, thing.body);
        self.put(call.id, thing);
        Ok(())
    }

    /// Refuses a write whose body names an object that does not exist.
    pub fn must_have(&mut self, call: &Call<'_>, what: &str, exists: bool) -> Result<(), WriteError> {
        if exists {
            Ok(())
        } else {
            Err(self.violation(call.address, &format!("it is written before there is the {what}")))
        }
    }

    /// Refuses a write that names a role which its service does not know, or not yet.
    pub fn must_know(&mut self, call: &Call<'_>, arn: &str) -> Result<(), WriteError> {
        self.unknown_principal(call.address, arn).map_or(Ok(()), Err)
    }
}

impl Provider for Cloud {
    fn identify<'a>(&'a self, _cloud: &'a Session) -> live::Boxed<'a, Vec<SessionError>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn facts<'a>(&'a self, _cloud: &'a Session, spec: &'a Spec) -> live::Boxed<'a, (Facts, Vec<Diagnostic>)> {
        Box::pin(std::future::ready((Cloud::facts(self, spec), Vec::new())))
    }
}
