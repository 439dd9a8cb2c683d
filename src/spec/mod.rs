//! YAML text to a typed spec that remembers where each entry was written.
//!
//! [`load`] merges files, holds the tree against the schema of the types below, types it, and checks that it hangs
//! together. It reports every problem of all files in one run.

mod account;
mod backend;
mod bucket;
mod cluster;
mod facts;
mod grant;
mod key;
pub mod node;
mod places;
mod role;
mod service_account;
mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use account::{AccountSpec, AssumeRole, PaceSpec, RatesSpec, RoleStep};
pub use backend::{BackendSpec, S3BackendSpec};
pub use bucket::{BucketSpec, Encryption, KmsEncryption, LifecycleRule, Ownership, PolicyOwnership, SimpleEncryption};
pub use cluster::{ClusterSpec, Identity, Management};
pub use facts::Facts;
pub use grant::{Access, GrantSpec, Mode};
pub use key::KeySpec;
pub use role::{PolicySpec, RawPolicy, RoleSpec, TrustSpec};
pub use service_account::{Manage, ROLE_ANNOTATION, ServiceAccountSpec};

use crate::address::{AccountId, Region, Scope};
use crate::diagnostic::{Code, Diagnostic, SourceRef, did_you_mean};
use crate::document::Digest;
use node::{Node, Value};
use places::Places;

/// What a team wants: accounts, clusters, data, identities, and who may do what.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Bailiwick spec")]
pub struct Spec {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// The project, which marks everything that it owns.
    pub project: String,
    /// Where the state lives; a folder beside the spec if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendSpec>,
    /// AWS accounts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<String, AccountSpec>,
    /// EKS clusters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, ClusterSpec>,
    /// S3 buckets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub buckets: BTreeMap<String, BucketSpec>,
    /// KMS keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, KeySpec>,
    /// Customer managed IAM policies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, PolicySpec>,
    /// IAM roles.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, RoleSpec>,
    /// Kubernetes service accounts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_accounts: BTreeMap<String, ServiceAccountSpec>,
    /// Who may do what on which data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantSpec>,
    /// Findings that are accepted, with a reason and an end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<AcceptSpec>,
    /// Where each entry was written.
    #[serde(skip)]
    #[schemars(skip)]
    places: Places,
}

/// A finding that is accepted for some time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptSpec {
    /// The finding's code.
    pub code: String,
    /// The entry or address that it is about, such as `roles.loader`.
    pub at: String,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it is accepted (YYYY-MM-DD).
    pub until: String,
}

/// What `destroy`, or leaving the spec, does to a thing that holds data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDestroy {
    /// It stays and is no longer managed.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde's skip_serializing_if asks for
fn is_true(value: &bool) -> bool {
    *value
}

/// One file of a spec: its name as the user gave it, and its text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name.
    pub name: Arc<str>,
    /// The text.
    pub text: Arc<str>,
}

/// Merges the files in order (later ones win), types the result and checks that it hangs together.
///
/// Returns the spec unless its shape is wrong, and every problem found. The spec may be used only if none of the
/// problems is an error.
#[must_use]
pub fn load(files: &[SourceFile]) -> (Option<Spec>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut merged: Option<Node> = None;
    for file in files {
        match node::parse(&file.name, &file.text) {
            Ok(mut node) => {
                if matches!(node.value, Value::Null) {
                    node = node::empty(&file.name);
                }
                node::refuse_duplicates(&mut node, &mut problems);
                merged = Some(match merged {
                    Some(base) => node::merge(base, node),
                    None => node,
                });
            }
            Err(problem) => problems.push(problem),
        }
    }
    let Some(mut tree) = merged else { return (None, problems) };
    node::drop_nulls(&mut tree);
    let schema = schemars::schema_for!(Spec).to_value();
    if problems.iter().any(|p| p.code == "yaml-syntax" || p.code == "file-too-large") {
        // What is missing may stand in the file that could not be read; what is wrong is wrong all the same.
        problems.extend(shape::check(&mut tree, &schema).into_iter().filter(|p| p.code != "missing-key"));
        return (None, sorted(problems));
    }
    problems.extend(shape::check(&mut tree, &schema));
    match serde_json::from_value::<Spec>(tree.to_json()) {
        Ok(mut spec) => {
            spec.places = Places::of(tree);
            let mut found = Problems { spec: &spec, problems: Vec::new() };
            check(&spec, &mut found);
            problems.extend(found.problems);
            (Some(spec), sorted(problems))
        }
        Err(error) => {
            let place = Some(tree.source.clone());
            problems.push(Diagnostic::error("wrong-type", error.to_string()).at(place));
            (None, sorted(problems))
        }
    }
}

fn sorted(mut problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    problems.sort_by(|a, b| a.source.cmp(&b.source));
    problems
}

impl Spec {
    /// The JSON Schema of the spec, for editors.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Spec).to_value()
    }

    /// A spec that wants nothing but can still reach the accounts and clusters of this one: what `destroy` plans with.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self {
            buckets: BTreeMap::new(),
            keys: BTreeMap::new(),
            policies: BTreeMap::new(),
            roles: BTreeMap::new(),
            service_accounts: BTreeMap::new(),
            grants: Vec::new(),
            clusters: self
                .clusters
                .iter()
                .map(|(key, cluster)| {
                    let mut cluster = cluster.clone();
                    cluster.oidc_provider = Management::Existing;
                    cluster.pod_identity_agent = Management::Existing;
                    (key.clone(), cluster)
                })
                .collect(),
            ..self.clone()
        }
    }

    /// The digest of what the spec says, whatever files, order and comments it was written with.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(serde_json::to_string(self).unwrap_or_default().as_bytes())
    }

    /// Where an entry was written: the key of the deepest part of the path that is in a file.
    #[must_use]
    pub fn source(&self, path: &[&str]) -> Option<SourceRef> {
        self.places.find(path, false)
    }

    /// Whether something was written in an entry or below it.
    #[must_use]
    pub fn holds(&self, path: &[&str], source: &SourceRef) -> bool {
        self.places.holds(path, source)
    }

    /// The id of an account by its key; empty if there is none, which `load` has reported.
    #[must_use]
    pub fn account_id(&self, account: &str) -> AccountId {
        self.accounts.get(account).map_or_else(|| AccountId(String::new()), |a| a.id.clone())
    }

    /// The region of a cluster.
    #[must_use]
    pub fn cluster_region(&self, cluster: &ClusterSpec) -> Region {
        cluster
            .region
            .clone()
            .or_else(|| self.accounts.get(&cluster.account).map(|a| a.region.clone()))
            .unwrap_or_else(|| Region("us-east-1".into()))
    }

    /// The ARN of a cluster.
    #[must_use]
    pub fn cluster_arn(&self, cluster: &ClusterSpec) -> String {
        let region = self.cluster_region(cluster);
        format!(
            "arn:{}:eks:{region}:{}:cluster/{}",
            region.partition(),
            self.account_id(&cluster.account),
            cluster.name
        )
    }

    /// An IAM ARN in an account: `role/name`, `policy/name`, `oidc-provider/host`.
    #[must_use]
    pub fn iam_arn(&self, account: &str, resource: &str) -> String {
        let partition = self.accounts.get(account).map_or("aws", AccountSpec::partition);
        format!("arn:{partition}:iam::{}:{resource}", self.account_id(account))
    }

    /// The scope of something global in an account, such as IAM.
    #[must_use]
    pub fn account_scope(&self, account: &str) -> Scope {
        let region = self.accounts.get(account).map_or_else(|| Region("us-east-1".into()), |a| a.region.clone());
        self.regional_scope(account, region)
    }

    /// The scope of something in a region of an account.
    #[must_use]
    pub fn regional_scope(&self, account: &str, region: Region) -> Scope {
        Scope::Account { account: account.to_owned(), id: self.account_id(account), region }
    }
}

/// Collects problems with their places while the spec is checked.
struct Problems<'a> {
    spec: &'a Spec,
    problems: Vec<Diagnostic>,
}

impl Problems<'_> {
    fn error(&mut self, code: Code, path: &[&str], message: String, help: &str) {
        if message.contains(shape::MENDED) {
            return;
        }
        let place = self.spec.places.find(path, true);
        self.problems.push(Diagnostic::error(code, message).at(place).help(help));
    }

    fn reference<T>(&mut self, path: &[&str], what: &str, name: &str, entries: &BTreeMap<String, T>) {
        if entries.contains_key(name) || name == shape::MENDED {
            return;
        }
        let near = did_you_mean(name, entries.keys().map(String::as_str));
        let section = format!("{}s", what.replace(' ', "_").replace("policy", "policie"));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it under `{section}`"),
        };
        let place = self.spec.places.find(path, true);
        self.problems.push(
            Diagnostic::error("dangling-reference", format!("there is no {what} called `{name}`"))
                .at(place)
                .label(format!("not under `{section}`"))
                .help(help),
        );
    }

    /// Source: IAM User Guide, "Tag naming limits"; S3 and EKS allow the same characters.
    fn tags(&mut self, path: &[&str], tags: &BTreeMap<String, String>) {
        let sound = |text: &str, most: usize| {
            text.chars().count() <= most
                && text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c))
        };
        for (key, value) in tags {
            let path = [path, &[key.as_str()]].concat();
            let reserved = key.starts_with("aws:") || key.starts_with("bailiwick:");
            if reserved || key.is_empty() || !sound(key, 128) {
                self.error(
                    "invalid-tag",
                    &path,
                    format!("`{key}` is no tag key for a spec"),
                    "1 to 128 letters, digits, spaces and _.:/=+-@; the prefixes aws: and bailiwick: are taken",
                );
            } else if !sound(value, 256) {
                self.error(
                    "invalid-tag",
                    &path,
                    format!("the value of tag `{key}` is not allowed"),
                    "at most 256 letters, digits, spaces and _.:/=+-@",
                );
            }
        }
    }
}

fn check(spec: &Spec, problems: &mut Problems<'_>) {
    let sound = |name: &str, longest: usize| {
        (1..=longest).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
    };
    if !sound(&spec.project, 40) {
        problems.error(
            "invalid-name",
            &["project"],
            format!("`{}` cannot name a project", spec.project),
            "1 to 40 letters, digits, hyphens and underscores, starting with a letter or digit",
        );
    }
    let sections: [(&str, Vec<&String>); 7] = [
        ("accounts", spec.accounts.keys().collect()),
        ("clusters", spec.clusters.keys().collect()),
        ("buckets", spec.buckets.keys().collect()),
        ("keys", spec.keys.keys().collect()),
        ("policies", spec.policies.keys().collect()),
        ("roles", spec.roles.keys().collect()),
        ("service_accounts", spec.service_accounts.keys().collect()),
    ];
    for (section, keys) in sections {
        for key in keys.into_iter().filter(|k| !sound(k, 64)) {
            problems.error(
                "invalid-name",
                &[section, key],
                format!("`{key}` cannot be a key under `{section}`"),
                "1 to 64 letters, digits, hyphens and underscores, starting with a letter or digit",
            );
        }
    }
    let mut ids: BTreeMap<&AccountId, &str> = BTreeMap::new();
    for (key, account) in &spec.accounts {
        account.check(key, problems);
        if let Some(other) = ids.insert(&account.id, key) {
            problems.error(
                "same-object",
                &["accounts", key, "id"],
                format!("the accounts `{other}` and `{key}` have the same id"),
                "give an account one entry",
            );
        }
    }
    let mut clusters: BTreeMap<String, &str> = BTreeMap::new();
    for (key, cluster) in &spec.clusters {
        cluster.check(key, spec, problems);
        if let Some(other) = clusters.insert(spec.cluster_arn(cluster), key) {
            problems.error(
                "same-object",
                &["clusters", key],
                format!("the clusters `{other}` and `{key}` are the same cluster"),
                "give a cluster one entry",
            );
        }
    }
    if let Some(backend) = &spec.backend {
        backend.s3.check(spec, problems);
    }
    let mut buckets: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, bucket) in &spec.buckets {
        bucket.check(key, spec, problems);
        if let Some(other) = buckets.insert(&bucket.name, key) {
            problems.error(
                "same-object",
                &["buckets", key, "name"],
                format!("the buckets `{other}` and `{key}` are the same bucket: `{}`", bucket.name),
                "give a bucket one entry",
            );
        }
    }
    let mut aliases: BTreeMap<(&str, Region, String), &str> = BTreeMap::new();
    for (key, kms) in &spec.keys {
        kms.check(key, spec, problems);
        if let Some(other) = aliases.insert((&kms.account, kms.region(spec), kms.alias_name()), key) {
            problems.error(
                "same-object",
                &["keys", key],
                format!("the keys `{other}` and `{key}` have the same alias"),
                "give a key one entry",
            );
        }
    }
    let mut policies: BTreeMap<(&str, String), &str> = BTreeMap::new();
    for (key, policy) in &spec.policies {
        policy.check(key, spec, problems);
        if let Some(other) = policies.insert((&policy.account, policy.name.to_lowercase()), key) {
            problems.error(
                "same-object",
                &["policies", key, "name"],
                format!("the policies `{other}` and `{key}` are the same policy: names ignore case"),
                "give a policy one entry",
            );
        }
    }
    let mut roles: BTreeMap<(&str, String), &str> = BTreeMap::new();
    for (key, role) in &spec.roles {
        role.check(key, spec, problems);
        if let Some(other) = roles.insert((&role.account, role.name.to_lowercase()), key) {
            problems.error(
                "same-object",
                &["roles", key, "name"],
                format!("the roles `{other}` and `{key}` are the same role: names ignore case"),
                "give a role one entry",
            );
        }
    }
    role_circles(spec, problems);
    let mut objects: BTreeMap<(&str, &str, &str), &str> = BTreeMap::new();
    for (key, account) in &spec.service_accounts {
        account.check(key, spec, problems);
        if let Some(other) = objects.insert((&account.cluster, &account.namespace, &account.name), key) {
            problems.error(
                "same-object",
                &["service_accounts", key],
                format!("the service accounts `{other}` and `{key}` are the same object"),
                "one service account has one role: give it one entry",
            );
        }
    }
    for (index, grant) in spec.grants.iter().enumerate() {
        grant.check(index, spec, problems);
    }
    for (index, accept) in spec.accept.iter().enumerate() {
        let n = index.to_string();
        if accept.until.parse::<jiff::civil::Date>().is_err() {
            problems.error(
                "wrong-value",
                &["accept", &n, "until"],
                format!("`{}` is no date", accept.until),
                "write YYYY-MM-DD",
            );
        }
        if accept.reason.trim().is_empty() {
            problems.error(
                "wrong-value",
                &["accept", &n, "reason"],
                "an accepted finding needs a reason".into(),
                "say why it is acceptable",
            );
        }
    }
}

/// Roles that trust each other in a circle: none of them could be made first.
fn role_circles(spec: &Spec, problems: &mut Problems<'_>) {
    let trusts = |key: &str| -> Vec<&str> {
        let entries = spec.roles.get(key).map(|r| r.trust.as_slice()).unwrap_or_default();
        entries
            .iter()
            .filter_map(|t| match t {
                TrustSpec::Role(name) => spec.roles.get_key_value(name).map(|(k, _)| k.as_str()),
                _ => None,
            })
            .collect()
    };
    for start in spec.roles.keys() {
        let mut paths: std::collections::VecDeque<Vec<&str>> = [vec![start.as_str()]].into();
        let mut seen: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
        while let Some(path) = paths.pop_front() {
            let next = path.last().map(|last| trusts(last)).unwrap_or_default();
            if next.contains(&start.as_str()) {
                // Each circle is told once, by its first member.
                if path.iter().min() == path.first() {
                    let circle: Vec<String> =
                        path.iter().chain([&start.as_str()]).map(|k| format!("roles.{k}")).collect();
                    problems.error(
                        "cycle",
                        &["roles", start, "trust"],
                        format!("these roles trust each other in a circle: {}", circle.join(" -> ")),
                        "take one of the `trust` entries out: none of the roles could be made first",
                    );
                }
                break;
            }
            paths.extend(next.into_iter().filter(|n| seen.insert(n)).map(|n| [path.as_slice(), &[n]].concat()));
        }
    }
}

#[cfg(test)]
mod tests;
