//! An in-memory cloud: AWS accounts and Kubernetes clusters as far as the kinds look at them.
//!
//! It stands in for the I/O half of every registered kind and behaves like the real services where that matters to
//! plans: things bring others along (a bucket its empty policy, a key its default one), settings have defaults that show
//! in every read, documents are shared with others, a role that is made anew is not the one that a policy named, and what
//! is in use cannot be deleted. Whatever the services would refuse because a step came before what it waits for is
//! recorded as a violation, besides being refused.
//!
//! It counts, and it can be told to fail: reads that are denied, writes that fail or are too early, somebody else's change
//! in between, a run that is stopped or killed after some writes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bailiwick::access;
use bailiwick::address::{Address, Region, Scope};
use bailiwick::diagnostic::Diagnostic;
use bailiwick::document::{Digest, Document, is_policy};
use bailiwick::iam::{Policy, Principal, Selector, Statement, Version};
use bailiwick::kind::{Action, AnyKind};
use bailiwick::live::{self, Answers, AnyLive, Observed, Provider, ReadError, Target, WriteError};
use bailiwick::provider::{self, PROJECT_TAG};
use bailiwick::session::{Session, SessionError};
use bailiwick::spec::{Facts, Spec};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};

const ROLE: &str = "aws.iam.role";
const ROLE_POLICY: &str = "aws.iam.role_policy";
const POLICY: &str = "aws.iam.policy";
const ATTACHMENT: &str = "aws.iam.role_policy_attachment";
const OIDC_PROVIDER: &str = "aws.iam.oidc_provider";
const BUCKET: &str = "aws.s3.bucket";
const BUCKET_POLICY: &str = "aws.s3.bucket_policy";
const KEY: &str = "aws.kms.key";
const KEY_POLICY: &str = "aws.kms.key_policy";
const ADDON: &str = "aws.eks.addon";
const ACCESS_ENTRY: &str = "aws.eks.access_entry";
const ASSOCIATION: &str = "aws.eks.pod_identity_association";
const NAMESPACE: &str = "kubernetes.namespace";
const SERVICE_ACCOUNT: &str = "kubernetes.service_account";

/// The label or annotation that names the owning project.
const MARK: &str = "bailiwick.dev/project";
/// What the tags that mark ownership begin with.
const TAGS: &str = "bailiwick:";

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What names a thing in the world: its kind, its place and the name by which its API knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub kind: String,
    /// The account for what is global there, account and region for what is not, the cluster.
    pub place: String,
    pub name: String,
}

impl Id {
    /// The thing that a target of a scope means.
    #[must_use]
    pub fn new(kind: &str, scope: &Scope, name: &str) -> Self {
        let place = match scope {
            Scope { location: Some(region), .. } if !kind.starts_with("aws.iam.") && !kind.starts_with("aws.s3.") => {
                format!("{}/{region}", scope.owner())
            }
            _ => scope.owner().to_owned(),
        };
        Self { kind: kind.to_owned(), place, name: name.to_owned() }
    }

    fn sibling(&self, kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), place: self.place.clone(), name: name.to_owned() }
    }

    fn account(&self) -> &str {
        self.place.split('/').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} in {}", self.kind, self.name, self.place)
    }
}

/// One thing that exists.
#[derive(Clone, Debug)]
struct Thing {
    /// What it is; of a bucket's or key's policy, the document with everybody's statements.
    body: Value,
    /// Which one it is: one that is made anew under the same name is another.
    uid: u64,
    /// The roles that its policy names, by ARN, as they were when it was written.
    named: BTreeMap<String, u64>,
    /// Of a Kubernetes object: the fields that we applied.
    applied: BTreeSet<String>,
}

/// How often the cloud was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that were read.
    pub reads: usize,
    /// Things that were looked at in them.
    pub looks: usize,
    /// Writes, failed ones included.
    pub writes: usize,
}

/// Something that came before what it waits for.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What was written.
    pub address: Address,
    /// What was wrong.
    pub what: String,
    /// What still needed it, where the services do not refuse: they let a role go that others name. Not wrong if nothing
    /// is to become of that.
    pub needed_by: Option<Id>,
}

/// When a run is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the call has an effect.
    BeforeCall,
    /// After the call had its effect, and before anybody learnt of it.
    AfterCall,
}

/// Faults by chance, each with its share of calls in a thousand.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    /// What the chance follows from.
    pub seed: u64,
    /// Writes that fail and do nothing.
    pub failed: u64,
    /// Writes that are done and never answered.
    pub lost: u64,
    /// Writes that the service has no time for.
    pub throttled: u64,
    /// Writes that the next one to three looks do not show yet.
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
}

/// Everything that exists, and what happened to it.
#[derive(Default)]
pub struct World {
    things: BTreeMap<Id, Thing>,
    before: BTreeMap<Id, Option<Thing>>,
    next: u64,
    counts: Counts,
    writes: Vec<String>,
    violations: Vec<Violation>,
    faults: Faults,
    full: BTreeSet<String>,
    /// At which write a role was made, by its unique number.
    births: BTreeMap<u64, usize>,
    /// The buckets and roles to which a write is under way.
    busy: BTreeSet<String>,
    /// What shows late, and how many looks more.
    late: BTreeMap<Id, usize>,
}

/// A handle on the world, which the kinds share.
#[derive(Clone, Default)]
pub struct Cloud {
    world: Arc<Mutex<World>>,
    /// Makes calls take their time, each another one, so that they end in another order than they began.
    seed: u64,
    /// What is to be known of the world, if not what it tells itself.
    pub facts: Option<Facts>,
    /// Who acts in each account, by the account's key.
    pub callers: BTreeMap<String, String>,
}

impl Cloud {
    /// An empty world whose calls return at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty world whose calls take up to some milliseconds, in an order that depends on the seed. For paused time.
    #[must_use]
    pub fn with_delays(seed: u64) -> Self {
        Self { seed: seed.max(1), ..Self::default() }
    }

    /// Both halves of every registered kind, with this world behind them.
    #[must_use]
    pub fn register(&self) -> Vec<Box<dyn AnyLive>> {
        provider::kinds()
            .all()
            .map(|kind| Box::new(Remembered { kind, cloud: self.clone() }) as Box<dyn AnyLive>)
            .collect()
    }

    /// The world, for looking and changing by hand.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Reads at an address are answered with 403 from now on.
    pub fn deny_read(&self, address: &str) {
        self.world().faults.denied.insert(address.to_owned());
    }

    /// Writes at an address fail from now on.
    pub fn fail_write(&self, address: &str, error: WriteError) {
        self.world().faults.failing.insert(address.to_owned(), error);
    }

    /// The next writes at an address are too early.
    pub fn not_yet(&self, address: &str, times: usize) {
        self.world().faults.not_yet.insert(address.to_owned(), times);
    }

    /// So many reads at an address after each write still show what was there before it.
    pub fn stale(&self, address: &str, reads: usize) {
        self.world().faults.stale.insert(address.to_owned(), reads);
    }

    /// A role is unknown to other services for so many writes after the one that made it.
    pub fn hide_new_roles(&self, writes: usize) {
        self.world().faults.hidden = writes;
    }

    /// The next write at an address is done, and its answer lost.
    pub fn lose_answer(&self, address: &str) {
        self.world().faults.lost.insert(address.to_owned());
    }

    /// The next write at an address is done, and never answered.
    pub fn hang(&self, address: &str) {
        self.world().faults.hang = Some(address.to_owned());
    }

    /// Calls fail by chance from now on.
    pub fn storm(&self, storm: Storm) {
        self.world().faults.storm = Some(storm);
    }

    /// How many faults the storm had until now.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.world().faults.storm.as_ref().map_or(0, |storm| storm.applied)
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        let mut world = self.world();
        world.faults = Faults::default();
        world.late.clear();
    }

    /// Somebody else changes something just before the n-th write from now, counted from 1.
    pub fn before_write(&self, n: usize, change: impl FnOnce(&mut World) + Send + 'static) {
        let mut world = self.world();
        let at = world.counts.writes + n;
        world.faults.changes.entry(at).or_default().push(Box::new(change));
    }

    /// Turns true after so many writes from now.
    #[must_use]
    pub fn stop_after(&self, writes: usize) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(writes == 0);
        let mut world = self.world();
        world.faults.stop = Some((world.counts.writes + writes, sender));
        receiver
    }

    /// Tells when the n-th write from now is under way, which never returns: whoever waits for it is to be dropped.
    #[must_use]
    pub fn kill_at(&self, write: usize, cut: Cut) -> Arc<Notify> {
        let told = Arc::new(Notify::new());
        let mut world = self.world();
        world.faults.kill = Some((world.counts.writes + write, cut, told.clone()));
        told
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

    /// What must be known of this world before the spec can be compiled.
    #[must_use]
    pub fn facts(&self, spec: &Spec) -> Facts {
        if let Some(facts) = &self.facts {
            return facts.clone();
        }
        let world = self.world();
        let mut facts = Facts { callers: self.callers.clone(), ..Facts::placeholders(spec) };
        facts.key_arns = spec
            .keys
            .iter()
            .filter_map(|(name, key)| {
                let id = Id::new(KEY, &spec.regional_scope(&key.account, key.region(spec)), &key.alias_name());
                world.things.contains_key(&id).then(|| (name.clone(), key_arn(&id)))
            })
            .collect();
        facts
    }

    /// Makes what a spec relies on and does not make itself: buckets, roles and keys of others, namespaces, service
    /// accounts of which only the annotation is ours, and OIDC providers. What exists already is left alone.
    pub fn prepare(&self, spec: &Spec) {
        let mut world = self.world();
        for bucket in spec.buckets.values().filter(|b| !b.managed) {
            let scope = spec.regional_scope(&bucket.account, bucket.region(spec));
            world.have(Id::new(BUCKET, &scope, &bucket.name), &json!({ "region": bucket.region(spec).0 }));
        }
        for key in spec.keys.values().filter(|k| !k.managed) {
            let scope = spec.regional_scope(&key.account, key.region(spec));
            world.have(Id::new(KEY, &scope, &key.alias_name()), &json!({}));
        }
        for role in spec.roles.values().filter(|r| !r.managed) {
            let trust = json!({"Version": "2012-10-17", "Statement": []});
            let body = json!({"path": role.path, "trust": trust});
            world.have(Id::new(ROLE, &spec.account_scope(&role.account), &role.name), &body);
        }
        for account in spec.service_accounts.values() {
            let scope = Scope::cluster(account.cluster.as_str());
            if !account.create_namespace {
                world.have(Id::new(NAMESPACE, &scope, &account.namespace), &json!({}));
            }
            if account.manage != bailiwick::spec::Manage::Object {
                let name = format!("{}/{}", account.namespace, account.name);
                world.have(Id::new(NAMESPACE, &scope, &account.namespace), &json!({}));
                world.have(Id::new(SERVICE_ACCOUNT, &scope, &name), &json!({"labels": {"app": "theirs"}}));
            }
        }
        let facts = Facts::placeholders(spec);
        for (name, cluster) in &spec.clusters {
            if cluster.oidc_provider == bailiwick::spec::Management::Existing
                && let Some(host) = facts.issuer_host(name)
            {
                for account in spec.accounts.keys() {
                    let arn = spec.iam_arn(account, &format!("oidc-provider/{host}"));
                    let body = json!({"url": host, "client_ids": {"sts.amazonaws.com": true}});
                    world.have(Id::new(OIDC_PROVIDER, &spec.account_scope(account), &arn), &body);
                }
            }
        }
    }
}

/// The id of the key behind an alias does not change, so that worlds can be compared.
fn key_arn(id: &Id) -> String {
    let (account, region) = id.place.split_once('/').unwrap_or_default();
    let digest = Digest::of(format!("{} {}", id.place, id.name).as_bytes());
    format!("arn:{}:kms:{region}:{account}:key/{}", Region(region.into()).partition(), digest.short(12))
}

/// What tells one key behind an alias from the next.
fn key_id(key: &Thing) -> String {
    format!("key-{}", key.uid)
}

fn unique_id(uid: u64) -> String {
    format!("AROA{uid:0>17}")
}

fn role_arn(id: &Id, thing: &Thing) -> String {
    let path = thing.body.get("path").and_then(Value::as_str).unwrap_or("/");
    format!("arn:aws:iam::{}:role{path}{}", id.account(), id.name)
}

fn own_prefix() -> &'static str {
    "Bailiwick"
}

/// Looking and changing by hand.
impl World {
    /// How often it was asked.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What was written, in order: `create aws.iam.role.loader`.
    #[must_use]
    pub fn writes(&self) -> &[String] {
        &self.writes
    }

    /// Everything that came before what it waits for.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Everything that exists.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.things.keys()
    }

    /// The only thing of a kind with a name, wherever it is.
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

    /// Whether there is a thing of a kind with a name.
    #[must_use]
    pub fn has(&self, kind: &str, name: &str) -> bool {
        self.things.keys().any(|id| id.kind == kind && id.name == name)
    }

    /// A thing as everybody sees it; of a policy the whole document.
    ///
    /// # Panics
    /// When it does not exist.
    #[must_use]
    pub fn show(&self, id: &Id) -> Value {
        let thing = self.things.get(id).unwrap_or_else(|| panic!("there is no {id}"));
        self.current(thing)
    }

    /// Changes a thing by hand, as somebody else would in the console.
    ///
    /// # Panics
    /// When it does not exist.
    pub fn edit(&mut self, id: &Id, change: impl FnOnce(&mut Value)) {
        let mut thing = self.things.get(id).unwrap_or_else(|| panic!("there is no {id}")).clone();
        change(&mut thing.body);
        thing.named = self.named(&thing.body);
        self.things.insert(id.clone(), thing);
    }

    /// Which one a thing is: one that is made anew is another.
    #[must_use]
    pub fn which(&self, id: &Id) -> Option<u64> {
        self.things.get(id).map(|thing| thing.uid)
    }

    /// Removes a thing by hand, with what cannot be without it.
    pub fn remove(&mut self, id: &Id) {
        self.things.remove(id);
        match id.kind.as_str() {
            BUCKET => drop(self.things.remove(&id.sibling(BUCKET_POLICY, &id.name))),
            KEY => drop(self.things.remove(&id.sibling(KEY_POLICY, &id.name))),
            ROLE => {
                let parts = format!("{}/", id.name);
                self.things.retain(|other, _| {
                    let part = [ROLE_POLICY, ATTACHMENT].contains(&other.kind.as_str());
                    !(part && other.place == id.place && other.name.starts_with(&parts))
                });
            }
            _ => {}
        }
    }

    /// A thing that somebody else made, with what it brings along. Settings that are not given have their defaults.
    pub fn have(&mut self, id: Id, body: &Value) {
        if !self.things.contains_key(&id) {
            self.insert(id, body.clone());
        }
    }

    /// Adds a statement of somebody else to a bucket's or key's policy.
    pub fn add_statement(&mut self, id: &Id, statement: Value) {
        self.edit(id, |policy| policy["Statement"].as_array_mut().unwrap().push(statement));
    }

    /// Puts an object into a bucket, so that it cannot be deleted.
    pub fn fill(&mut self, bucket: &str) {
        self.full.insert(bucket.to_owned());
    }

    /// Everything that bears a mark of ours, one line each.
    #[must_use]
    pub fn marked(&self) -> BTreeSet<String> {
        self.things
            .iter()
            .filter(|(id, thing)| is_marked(&id.kind, &thing.body))
            .map(|(id, _)| id.to_string())
            .collect()
    }

    /// Everything as text, for comparing worlds.
    #[must_use]
    pub fn dump(&self) -> BTreeMap<String, Value> {
        self.things.iter().map(|(id, thing)| (id.to_string(), self.current(thing))).collect()
    }

    fn insert(&mut self, id: Id, body: Value) {
        self.next += 1;
        self.births.insert(self.next, self.counts.writes);
        let body = whole(&id, body);
        let thing = Thing { named: self.named(&body), body, uid: self.next, applied: BTreeSet::new() };
        match id.kind.as_str() {
            BUCKET => {
                self.insert(id.sibling(BUCKET_POLICY, &id.name), json!({"Version": "2012-10-17", "Statement": []}));
            }
            KEY => {
                let root = json!({
                    "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Action": "kms:*", "Resource": "*",
                    "Principal": {"AWS": format!("arn:aws:iam::{}:root", id.account())},
                });
                self.insert(
                    id.sibling(KEY_POLICY, &id.name),
                    json!({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [root]}),
                );
            }
            _ => {}
        }
        self.things.insert(id, thing);
    }

    fn role_by_arn(&self, arn: &str) -> Option<&Thing> {
        let name = arn.rsplit('/').next()?;
        let account = arn.split(':').nth(4)?;
        let id = Id { kind: ROLE.into(), place: account.into(), name: name.into() };
        self.things.get_key_value(&id).filter(|(id, thing)| role_arn(id, thing) == arn).map(|(_, thing)| thing)
    }

    /// The roles that the policies of a body name, as they are now.
    fn named(&self, body: &Value) -> BTreeMap<String, u64> {
        principals(body).into_iter().filter_map(|arn| Some((arn.clone(), self.role_by_arn(&arn)?.uid))).collect()
    }

    /// A body as it reads now: a role that is gone, or was made anew, shows by the id that it had.
    ///
    /// Source: IAM User Guide, "AWS JSON policy elements: Principal", role principals.
    fn current(&self, thing: &Thing) -> Value {
        let gone: BTreeMap<&String, String> = thing
            .named
            .iter()
            .filter(|(arn, uid)| self.role_by_arn(arn).is_none_or(|role| role.uid != **uid))
            .map(|(arn, uid)| (arn, unique_id(*uid)))
            .collect();
        let mut body = thing.body.clone();
        if !gone.is_empty() {
            rename_principals(&mut body, &gone);
            if let Some(trust) = body.get_mut("trust") {
                *trust = canonical(trust);
            }
        }
        body
    }

    /// It goes while something of ours still needs it.
    fn still_needed(&mut self, address: &Address, user: Option<Id>) {
        if let Some(user) = user {
            let what = format!("it is deleted while {user} still needs it");
            self.violations.push(Violation { address: address.clone(), what, needed_by: Some(user) });
        }
    }

    /// What a service says that knows no role of this ARN, or not yet.
    fn unknown_principal(&mut self, address: &Address, arn: &str) -> Option<WriteError> {
        let (what, why) = (format!("write {address}"), "MalformedPolicy: Invalid principal in policy".to_owned());
        let Some(role) = self.role_by_arn(arn) else {
            self.violation(address, &format!("it names the role {arn}, which does not exist"));
            return Some(WriteError::UnknownPrincipal { what, why });
        };
        let age = self.counts.writes - self.births.get(&role.uid).copied().unwrap_or_default();
        (self.births.get(&role.uid).is_some_and(|born| *born > 0) && age <= self.faults.hidden)
            .then_some(WriteError::UnknownPrincipal { what, why })
    }

    fn violation(&mut self, address: &Address, what: &str) -> WriteError {
        self.violations.push(Violation { address: address.clone(), what: what.to_owned(), needed_by: None });
        WriteError::Failed { what: format!("write {address}"), why: what.to_owned() }
    }
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object"),
    }
}

fn canonical(policy: &Value) -> Value {
    Policy::from_value(policy).map_or_else(|_| policy.clone(), |p| p.to_value())
}

/// A body with the defaults that the service shows for whatever is not set.
fn whole(id: &Id, mut body: Value) -> Value {
    let default = |body: &mut Value, key: &str, value: Value| {
        object(body).entry(key).or_insert(value);
    };
    let leaf = id.name.rsplit('/').next().unwrap_or_default().to_owned();
    match id.kind.as_str() {
        ROLE => {
            default(&mut body, "name", id.name.clone().into());
            default(&mut body, "path", "/".into());
            default(&mut body, "max_session_duration", 3600.into());
            default(&mut body, "tags", json!({}));
            let trust = body.get("trust").map_or_else(|| json!({"Version": "2012-10-17", "Statement": []}), canonical);
            body["trust"] = trust;
        }
        POLICY => {
            default(&mut body, "name", leaf.into());
            default(&mut body, "path", "/".into());
            default(&mut body, "tags", json!({}));
        }
        OIDC_PROVIDER => {
            default(&mut body, "client_ids", json!({}));
            default(&mut body, "tags", json!({}));
        }
        BUCKET => {
            default(&mut body, "name", id.name.clone().into());
            default(&mut body, "public_access_block", true.into());
            default(&mut body, "ownership", "bucket_owner_enforced".into());
            default(&mut body, "versioning", false.into());
            default(&mut body, "encryption", json!({"sse": "AES256"}));
            default(&mut body, "lifecycle", json!({}));
            default(&mut body, "tags", json!({}));
        }
        KEY => {
            default(&mut body, "alias", id.name.clone().into());
            default(&mut body, "state", "Enabled".into());
            default(&mut body, "description", "".into());
            default(&mut body, "rotation", false.into());
            default(&mut body, "tags", json!({}));
        }
        ADDON => default(&mut body, "tags", json!({})),
        ASSOCIATION => {
            default(&mut body, "target_role_arn", "".into());
            default(&mut body, "disable_session_tags", false.into());
            default(&mut body, "tags", json!({}));
        }
        ACCESS_ENTRY => {
            let (cluster, principal) = id.name.split_once('/').unwrap_or_default();
            default(&mut body, "cluster", cluster.into());
            default(&mut body, "principal_arn", principal.into());
            default(&mut body, "type", "STANDARD".into());
            default(&mut body, "username", principal.into());
            default(&mut body, "groups", json!([]));
            default(&mut body, "policies", json!([]));
            default(&mut body, "tags", json!({}));
        }
        NAMESPACE => {
            default(&mut body, "name", id.name.clone().into());
            default(&mut body, "labels", json!({}));
        }
        SERVICE_ACCOUNT => {
            default(&mut body, "annotations", json!({}));
            default(&mut body, "labels", json!({}));
        }
        _ => {}
    }
    body
}

/// The policies in a body: itself, or a field of it.
fn policies(body: &mut Value) -> Vec<&mut Value> {
    if is_policy(body) {
        return vec![body];
    }
    match body {
        Value::Object(map) => map.iter_mut().filter(|(_, v)| is_policy(v)).map(|(_, v)| v).collect(),
        _ => Vec::new(),
    }
}

/// The `AWS` principals of every statement, to be read or changed.
fn each_principal(body: &mut Value, mut each: impl FnMut(&Value, &mut String)) {
    for policy in policies(body) {
        for statement in policy.get_mut("Statement").and_then(Value::as_array_mut).into_iter().flatten() {
            let sid = statement.get("Sid").cloned().unwrap_or_default();
            match statement.pointer_mut("/Principal/AWS") {
                Some(Value::String(one)) => each(&sid, one),
                Some(Value::Array(many)) => {
                    for value in many {
                        if let Value::String(one) = value {
                            each(&sid, one);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn principals(body: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    each_principal(&mut body.clone(), |_, arn| {
        if arn.contains(":role/") {
            found.insert(arn.clone());
        }
    });
    found
}

fn rename_principals(body: &mut Value, names: &BTreeMap<&String, String>) {
    each_principal(body, |_, arn| {
        if let Some(name) = names.get(arn) {
            *arn = name.clone();
        }
    });
}

fn is_marked(kind: &str, body: &Value) -> bool {
    let keys = |field: &str| body.get(field).and_then(Value::as_object).into_iter().flatten().map(|(k, _)| k.as_str());
    match kind {
        BUCKET_POLICY | KEY_POLICY => body
            .get("Statement")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|s| s.get("Sid").and_then(Value::as_str).is_some_and(|sid| sid.starts_with(own_prefix()))),
        ROLE_POLICY => body.get("name").and_then(Value::as_str) == Some(access::INLINE_NAME),
        NAMESPACE | SERVICE_ACCOUNT => keys("labels").chain(keys("annotations")).any(|k| k == MARK),
        // What will be gone in some days is nobody's any more.
        KEY if body.get("state").is_some_and(|state| state == "PendingDeletion") => false,
        _ => keys("tags").any(|k| k.starts_with(TAGS)),
    }
}

/// A write to a bucket or role that is under way. Services refuse another one meanwhile.
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

/// A registered kind with this world behind it.
struct Remembered {
    kind: &'static dyn AnyKind,
    cloud: Cloud,
}

impl AnyLive for Remembered {
    fn kind(&self) -> &'static dyn AnyKind {
        self.kind
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
            let turn = self.kind.turn(&target.physical_id).map(|turn| format!("{scope} {turn}"));
            let _busy = match Busy::begin(&self.cloud, turn, &target.address) {
                Ok(busy) => busy,
                Err(error) => return Err(error),
            };
            self.cloud.delay(&target.address.to_string()).await;
            let (result, cut) = {
                let mut world = self.cloud.world();
                let id = Id::new(self.kind.about().name, scope, &target.physical_id);
                let hangs = world.faults.hang.take_if(|address| *address == target.address.to_string()).is_some();
                let (result, cut) = world.call(cloud.project(), &id, target, action);
                (result, if hangs { Some(Arc::default()) } else { cut })
            };
            if let Some(told) = cut {
                told.notify_one();
                std::future::pending::<()>().await;
            }
            result
        })
    }
}

/// What the services do.
impl World {
    fn look(
        &mut self,
        project: &str,
        kind: &str,
        scope: &Scope,
        target: &Target,
    ) -> Result<Observed<Document>, ReadError> {
        if self.faults.denied.contains(&target.address.to_string()) {
            return Err(ReadError::Denied { what: target.address.to_string(), why: "403: AccessDenied".into() });
        }
        let id = Id::new(kind, scope, &target.physical_id);
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
        let mut body = self.current(thing);
        match kind {
            ROLE => body["unique_id"] = unique_id(thing.uid).into(),
            KEY => body["unique_id"] = key_id(thing).into(),
            ACCESS_ENTRY => body["unique_id"] = format!("entry-{}", thing.uid).into(),
            _ => {}
        }
        let tag = |field: &str, name: &str| {
            body.get(field).and_then(|tags| tags.get(name)).and_then(Value::as_str).map(ToOwned::to_owned)
        };
        let (body, owner) = match kind {
            BUCKET_POLICY | KEY_POLICY => {
                let empty = body["Statement"].as_array().is_none_or(Vec::is_empty);
                let whole = if empty {
                    Policy::new(Version::V2012, [])
                } else {
                    Policy::from_value(&body)
                        .map_err(|why| ReadError::Failed { what: id.to_string(), why: format!("{why:?}") })?
                };
                let (ours, foreign) = whole.split(|statement| access::own_sid(project, statement));
                let version = if ours.is_empty() { Version::V2012 } else { ours.version() };
                let statements = Policy::new(version, ours.statements().iter().cloned());
                let mut shown = json!({ "statements": statements.to_value() });
                if !foreign.is_empty() {
                    shown["foreign"] = foreign.to_value();
                }
                if let Some(key) = self.things.get(&id.sibling(KEY, &id.name)).filter(|_| kind == KEY_POLICY) {
                    shown["unique_id"] = key_id(key).into();
                }
                (shown, (!ours.is_empty()).then(|| project.to_owned()))
            }
            ROLE_POLICY | ATTACHMENT => (body, None),
            NAMESPACE => {
                let owner = tag("labels", MARK);
                (body, owner)
            }
            SERVICE_ACCOUNT => {
                let mark = tag("annotations", MARK);
                let (namespace, name) = id.name.split_once('/').unwrap_or_default();
                let mut annotations = body.get("annotations").cloned().unwrap_or_default();
                object(&mut annotations).remove(MARK);
                let shown = json!({
                    "namespace": namespace, "name": name, "annotations": annotations, "labels": body["labels"],
                    "object": mark.as_deref() == Some(project),
                });
                let ours = !thing.applied.is_empty();
                (shown, mark.or_else(|| ours.then(|| project.to_owned())))
            }
            _ => {
                let owner = tag("tags", PROJECT_TAG);
                (body, owner)
            }
        };
        Ok(Observed::Present { body: Document::from(body), owner })
    }

    /// One call, with the faults that are set for it. Tells whom to notify if it never returns.
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
        if let Some((_, Cut::BeforeCall, told)) = cut {
            return (Ok(()), Some(told));
        }
        let address = target.address.to_string();
        let verb = match action {
            Action::Create { .. } => "create",
            Action::Update { .. } => "update",
            Action::Release { .. } => "release",
            Action::Delete { .. } => "delete",
        };
        let result = if let Some(error) = self.faults.failing.get(&address) {
            Err(error.clone())
        } else if let Some(left) = self.faults.not_yet.get_mut(&address).filter(|left| **left > 0) {
            *left -= 1;
            let awaited = "what was just made to be known".to_owned();
            Err(WriteError::NotYet { what: format!("write {address}"), awaited, why: "NoSuchEntity".into() })
        } else if self.faults.storm.as_mut().is_some_and(|storm| storm.strikes(storm.failed)) {
            Err(WriteError::Failed { what: format!("write {address}"), why: "InternalError".into() })
        } else if self.faults.storm.as_mut().is_some_and(|storm| storm.strikes(storm.throttled)) {
            let awaited = "the service to take requests again".to_owned();
            Err(WriteError::NotYet { what: format!("write {address}"), awaited, why: "Throttling".into() })
        } else {
            self.writes.push(format!("{verb} {address}"));
            let before = self.things.get(id).cloned();
            let done = self.perform(project, id, &target.address, action);
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
        (result, cut.map(|(.., told)| told))
    }

    fn perform(
        &mut self,
        project: &str,
        id: &Id,
        address: &Address,
        action: &Action<Document>,
    ) -> Result<(), WriteError> {
        match (id.kind.as_str(), action) {
            (BUCKET_POLICY | KEY_POLICY, _) => self.write_shared(project, id, address, action),
            (SERVICE_ACCOUNT, _) => self.write_service_account(project, id, address, action),
            (_, Action::Create { after }) => self.create(project, id, address, &after.tree()),
            (_, Action::Update { before, after, .. }) => {
                let Some(thing) = self.things.get(id).cloned() else {
                    return Err(self.violation(address, "it is updated and does not exist"));
                };
                self.update(id, address, thing, &before.tree(), &after.tree())
            }
            (_, Action::Release { .. }) => {
                if let Some(thing) = self.things.get_mut(id) {
                    for field in ["tags", "labels"] {
                        if let Some(Value::Object(tags)) = thing.body.get_mut(field) {
                            tags.retain(|key, _| !key.starts_with(TAGS) && key != MARK);
                        }
                    }
                }
                Ok(())
            }
            (_, Action::Delete { .. }) => self.delete(id, address),
        }
    }

    fn create(&mut self, project: &str, id: &Id, address: &Address, after: &Value) -> Result<(), WriteError> {
        if let Some(thing) = self.things.get(id).cloned() {
            let owner = thing.body.pointer("/tags/bailiwick:project").and_then(Value::as_str);
            let labelled = thing.body.get("labels").and_then(|l| l.get(MARK)).and_then(Value::as_str);
            let untagged = [ROLE_POLICY, ATTACHMENT].contains(&id.kind.as_str());
            let elsewhere = id.kind == ROLE && thing.body.get("path") != after.get("path");
            if elsewhere || !(untagged || owner.or(labelled) == Some(project)) {
                return Err(WriteError::Conflict {
                    what: format!("create {address}"),
                    holder: "somebody else".into(),
                    why: "it exists already".into(),
                });
            }
            let before =
                Document::claimed(&Document::from(thing.body.clone()), Some(&Document::from(after.clone())), None);
            return self.update(id, address, thing, &before.tree(), after);
        }
        if id.kind == BUCKET && self.things.keys().any(|other| other.kind == BUCKET && other.name == id.name) {
            return Err(WriteError::Failed {
                what: format!("create {address}"),
                why: "BucketAlreadyExists: in another account".into(),
            });
        }
        let body = self.checked(id, address, after)?;
        self.insert(id.clone(), body);
        Ok(())
    }

    fn update(
        &mut self,
        id: &Id,
        address: &Address,
        mut thing: Thing,
        before: &Value,
        after: &Value,
    ) -> Result<(), WriteError> {
        let after = self.checked(id, address, after)?;
        let empty = Map::new();
        let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
        let live = object(&mut thing.body);
        for key in before.keys().chain(after.keys()) {
            match (after.get(key), live.get_mut(key)) {
                // Others have entries there too.
                (Some(Value::Object(new)), Some(Value::Object(old)))
                    if ["tags", "labels", "client_ids"].contains(&key.as_str()) =>
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
        thing.body = whole(id, thing.body);
        thing.named = self.named(&thing.body);
        self.things.insert(id.clone(), thing);
        Ok(())
    }

    /// Whether everything that a body names exists; a key's alias is resolved to the key.
    fn checked(&mut self, id: &Id, address: &Address, after: &Value) -> Result<Value, WriteError> {
        let mut body = after.clone();
        let text = |name: &str| after.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut needs: Vec<(String, bool)> = Vec::new();
        let mut has = |what: String, there: bool| needs.push((what, there));
        match id.kind.as_str() {
            ROLE => {
                for arn in principals(after) {
                    if let Some(error) = self.unknown_principal(address, &arn) {
                        return Err(error);
                    }
                }
                let trust = Policy::from_value(&after["trust"]).map_err(|e| WriteError::Failed {
                    what: format!("write {address}"),
                    why: format!("MalformedPolicyDocument: {e:?}"),
                })?;
                let federated = trust.statements().iter().filter_map(Statement::principal).flat_map(Selector::values);
                for principal in federated {
                    if let Principal::Federated(arn) = principal {
                        let there = self.things.contains_key(&id.sibling(OIDC_PROVIDER, arn));
                        has(format!("OIDC provider {arn}"), there);
                    }
                }
                let boundary = text("permissions_boundary");
                if boundary.contains(&format!("::{}:", id.account())) {
                    has(format!("boundary {boundary}"), self.things.contains_key(&id.sibling(POLICY, &boundary)));
                }
            }
            ROLE_POLICY | ATTACHMENT => {
                let role = id.name.split('/').next().unwrap_or_default();
                has(format!("role {role}"), self.things.contains_key(&id.sibling(ROLE, role)));
                let arn = text("policy_arn");
                if arn.contains(&format!("::{}:", id.account())) {
                    has(format!("policy {arn}"), self.things.contains_key(&id.sibling(POLICY, &arn)));
                }
            }
            ACCESS_ENTRY => {
                let arn = text("principal_arn");
                if arn.contains(":role/")
                    && let Some(error) = self.unknown_principal(address, &arn)
                {
                    return Err(error);
                }
            }
            ASSOCIATION => {
                for arn in [text("role_arn"), text("target_role_arn")].iter().filter(|arn| !arn.is_empty()) {
                    if let Some(error) = self.unknown_principal(address, arn) {
                        return Err(error);
                    }
                }
            }
            BUCKET => {
                if let Some(Value::String(key)) = body.pointer_mut("/encryption/kms_key")
                    && let Some((place, alias)) = key.split_once(":alias/")
                {
                    let parts: Vec<&str> = place.split(':').collect();
                    let alias = Id {
                        kind: KEY.into(),
                        place: format!("{}/{}", parts.get(4).unwrap_or(&""), parts.get(3).unwrap_or(&"")),
                        name: format!("alias/{alias}"),
                    };
                    has(format!("{alias}"), self.things.contains_key(&alias));
                    *key = key_arn(&alias);
                }
            }
            _ => {}
        }
        for (what, there) in needs {
            if !there {
                return Err(self.violation(address, &format!("it is written before there is the {what}")));
            }
        }
        Ok(body)
    }

    fn delete(&mut self, id: &Id, address: &Address) -> Result<(), WriteError> {
        let Some(thing) = self.things.get(id).cloned() else { return Ok(()) };
        let refused = |why: &str| WriteError::Failed { what: format!("delete {address}"), why: why.to_owned() };
        match id.kind.as_str() {
            ROLE => {
                if let Some(part) = self.parts_of(id).first() {
                    let what = format!("DeleteConflict: the role still has {part}");
                    return Err(self.violation(address, &what));
                }
                let arn = role_arn(id, &thing);
                let user = self.named_by_us(&arn, &thing);
                self.still_needed(address, user);
            }
            POLICY => {
                let user = self.things.iter().find(|(other, attached)| {
                    (other.kind == ATTACHMENT
                        && other.place == id.place
                        && other.name.ends_with(&format!("/{}", id.name)))
                        || attached.body.get("permissions_boundary").and_then(Value::as_str) == Some(&id.name)
                });
                if let Some((user, _)) = user {
                    let what = format!("DeleteConflict: {user} still uses the policy");
                    return Err(self.violation(address, &what));
                }
            }
            OIDC_PROVIDER => {
                let user = self.ours(ROLE, |_, role| role.body["trust"].to_string().contains(&id.name));
                self.still_needed(address, user);
            }
            BUCKET => {
                if self.full.contains(&id.name) {
                    return Err(refused("BucketNotEmpty"));
                }
                let policy = id.sibling(BUCKET_POLICY, &id.name);
                if self.things.get(&policy).is_some_and(|p| is_marked(BUCKET_POLICY, &p.body)) {
                    return Err(self.violation(address, "it is deleted before our part of its policy"));
                }
            }
            KEY => {
                let arn = key_arn(id);
                let key = |bucket: &Thing| bucket.body.pointer("/encryption/kms_key").cloned();
                let user = self.ours(BUCKET, |_, bucket| key(bucket) == Some(Value::from(arn.as_str())));
                self.still_needed(address, user);
                if let Some(key) = self.things.get_mut(id) {
                    key.body["state"] = "PendingDeletion".into();
                }
                return Ok(());
            }
            ADDON => {
                let cluster = format!("{}/", id.name.split('/').next().unwrap_or_default());
                let user = self.ours(ASSOCIATION, |a, _| a.place == id.place && a.name.starts_with(&cluster));
                self.still_needed(address, user);
            }
            NAMESPACE => {
                let inside = format!("{}/", id.name);
                let user = self
                    .things
                    .iter()
                    .find(|(other, _)| {
                        other.kind == SERVICE_ACCOUNT && other.place == id.place && other.name.starts_with(&inside)
                    })
                    .map(|(other, thing)| (other.to_string(), is_marked(SERVICE_ACCOUNT, &thing.body)));
                match user {
                    Some((user, true)) => {
                        return Err(self.violation(address, &format!("it is deleted while {user} is in it")));
                    }
                    Some((user, false)) => return Err(refused(&format!("it still holds {user}"))),
                    None => {}
                }
            }
            _ => {}
        }
        self.remove(id);
        Ok(())
    }

    fn parts_of(&self, role: &Id) -> Vec<String> {
        let inside = format!("{}/", role.name);
        self.things
            .keys()
            .filter(|id| [ROLE_POLICY, ATTACHMENT].contains(&id.kind.as_str()))
            .filter(|id| id.place == role.place && id.name.starts_with(&inside))
            .map(ToString::to_string)
            .collect()
    }

    /// Something of ours of a kind.
    fn ours(&self, kind: &str, which: impl Fn(&Id, &Thing) -> bool) -> Option<Id> {
        let mut ours = self.things.iter().filter(|(id, thing)| id.kind == kind && is_marked(kind, &thing.body));
        ours.find(|(id, thing)| which(id, thing)).map(|(id, _)| id.clone())
    }

    /// Something of ours that names a role.
    fn named_by_us(&self, arn: &str, role: &Thing) -> Option<Id> {
        self.things
            .iter()
            .filter(|(id, thing)| is_marked(&id.kind, &thing.body))
            .find(|(id, thing)| match id.kind.as_str() {
                BUCKET_POLICY | KEY_POLICY => {
                    let mut found = false;
                    each_principal(&mut thing.body.clone(), |sid, principal| {
                        found |= sid.as_str().is_some_and(|s| s.starts_with(own_prefix())) && principal == arn;
                    });
                    found && thing.named.get(arn) == Some(&role.uid)
                }
                ROLE => thing.named.get(arn) == Some(&role.uid),
                ACCESS_ENTRY => thing.body["principal_arn"].as_str() == Some(arn),
                ASSOCIATION => ["role_arn", "target_role_arn"].iter().any(|f| thing.body[*f].as_str() == Some(arn)),
                SERVICE_ACCOUNT => thing.body["annotations"].to_string().contains(&format!("\"{arn}\"")),
                _ => false,
            })
            .map(|(id, _)| id.clone())
    }

    fn write_shared(
        &mut self,
        project: &str,
        id: &Id,
        address: &Address,
        action: &Action<Document>,
    ) -> Result<(), WriteError> {
        let Some(mut thing) = self.things.get(id).cloned() else {
            return match action {
                Action::Delete { .. } | Action::Release { .. } => Ok(()),
                _ => Err(self.violation(address, "its policy is written before it exists")),
            };
        };
        let flag = |body: &Document| body.tree().get("exclusive").and_then(Value::as_bool).unwrap_or(false);
        let (ours, exclusive) = match action {
            Action::Create { after } | Action::Update { after, .. } => {
                let ours = after.tree().pointer("/statements/Statement").and_then(Value::as_array).cloned();
                (ours.unwrap_or_default(), flag(after))
            }
            Action::Delete { before } | Action::Release { before } => (Vec::new(), flag(before)),
        };
        let prefix = access::sid_prefix(project);
        let is_own = |s: &Value| s.get("Sid").and_then(Value::as_str).is_some_and(|sid| sid.starts_with(&prefix));
        let mut kept = thing.body["Statement"].as_array().cloned().unwrap_or_default();
        kept.retain(|statement| !exclusive && !is_own(statement));
        if id.kind == KEY_POLICY && kept.is_empty() {
            let why = "nobody could change the key any more".to_owned();
            return Err(WriteError::Failed { what: format!("write {address}"), why });
        }
        kept.extend(ours);
        let body = json!({ "Statement": kept });
        for arn in principals(&body) {
            if let Some(error) = self.unknown_principal(address, &arn) {
                return Err(error);
            }
        }
        thing.body["Statement"] = body["Statement"].clone();
        thing.named = self.named(&thing.body);
        self.things.insert(id.clone(), thing);
        Ok(())
    }

    /// Server-side apply under our name, never by force.
    fn write_service_account(
        &mut self,
        project: &str,
        id: &Id,
        address: &Address,
        action: &Action<Document>,
    ) -> Result<(), WriteError> {
        let (namespace, _) = id.name.split_once('/').unwrap_or_default();
        let mark = |thing: &Thing| thing.body["annotations"].get(MARK).and_then(Value::as_str).map(ToOwned::to_owned);
        let live = self.things.get(id).cloned();
        let wanted = match (action, &live) {
            (Action::Create { after }, None) if after.tree()["object"] == json!(false) => {
                return Err(WriteError::Failed {
                    what: format!("annotate {address}"),
                    why: "it does not exist".into(),
                });
            }
            (Action::Update { .. }, None) => return Err(self.violation(address, "it is updated and does not exist")),
            (Action::Create { after }, Some(thing))
                if after.tree()["object"] == json!(true) && mark(thing).as_deref() != Some(project) =>
            {
                return Err(WriteError::Conflict {
                    what: format!("create {address}"),
                    holder: "somebody else".into(),
                    why: "it was made after the plan was made".into(),
                });
            }
            (Action::Create { after } | Action::Update { after, .. }, _) => Some(&after.tree()),
            (Action::Delete { .. } | Action::Release { .. }, None) => return Ok(()),
            (Action::Release { .. }, Some(_)) => None,
            (Action::Delete { before }, Some(thing)) => {
                let others = ["annotations", "labels"].iter().any(|field| {
                    let keys = thing.body[*field].as_object().into_iter().flatten();
                    keys.map(|(key, _)| format!("{field}/{key}")).any(|key| !thing.applied.contains(&key))
                });
                let ours = before.tree()["object"] == json!(true) && mark(thing).as_deref() == Some(project);
                if ours && !others {
                    self.things.remove(id);
                    return Ok(());
                }
                None
            }
        };
        let mut fields: BTreeMap<String, Value> = BTreeMap::new();
        if let Some(wanted) = wanted {
            for field in ["annotations", "labels"] {
                for (key, value) in wanted[field].as_object().into_iter().flatten() {
                    if key == "eks.amazonaws.com/role-arn"
                        && value.as_str().is_some_and(|arn| self.role_by_arn(arn).is_none())
                    {
                        return Err(
                            self.violation(address, &format!("it names the role {value}, which does not exist"))
                        );
                    }
                    fields.insert(format!("{field}/{key}"), value.clone());
                }
            }
            if wanted["object"] == json!(true) {
                fields.insert(format!("annotations/{MARK}"), project.into());
            }
            let home = Id { kind: NAMESPACE.into(), place: id.place.clone(), name: namespace.to_owned() };
            if live.is_none() && !self.things.contains_key(&home) {
                return Err(self.violation(address, &format!("its namespace `{namespace}` does not exist")));
            }
        }
        let mut thing = live.unwrap_or_else(|| {
            self.next += 1;
            Thing { body: whole(id, json!({})), uid: self.next, named: BTreeMap::new(), applied: BTreeSet::new() }
        });
        for (field, value) in &fields {
            let (map, key) = field.split_once('/').unwrap_or_default();
            let held = thing.body[map].get(key).filter(|held| *held != value);
            if held.is_some() && !thing.applied.contains(field) {
                return Err(WriteError::Conflict {
                    what: format!("apply {address}"),
                    holder: "kubectl-edit".into(),
                    why: format!(".metadata.{map}.{key}"),
                });
            }
        }
        for field in thing.applied.iter().filter(|field| !fields.contains_key(*field)) {
            let (map, key) = field.split_once('/').unwrap_or_default();
            object(&mut thing.body[map]).remove(key);
        }
        for (field, value) in &fields {
            let (map, key) = field.split_once('/').unwrap_or_default();
            object(&mut thing.body[map]).insert(key.to_owned(), value.clone());
        }
        thing.applied = fields.into_keys().collect();
        self.things.insert(id.clone(), thing);
        Ok(())
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
