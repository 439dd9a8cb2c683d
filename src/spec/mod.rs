//! Parses YAML into a typed spec that records where each entry was written.
//!
//! [`load`] merges files, validates the tree against the schema of the types below, deserializes it, and checks its
//! references. It reports every problem in all files in one run.

mod account;
mod backend;
mod bucket;
mod check;
mod cluster;
mod cluster_access;
mod facts;
mod grant;
mod key;
pub mod node;
mod places;
mod role;
mod service_account;
mod shape;
mod syntax;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use account::{AccountSpec, AssumeRole, PaceSpec, RatesSpec, RoleStep};
pub use backend::{BackendSpec, S3BackendSpec};
pub use bucket::{BucketSpec, Encryption, KmsEncryption, LifecycleRule, Ownership, PolicyOwnership, SimpleEncryption};
pub use cluster::{ClusterSpec, Identity, Management};
pub use cluster_access::{AccessPolicySpec, ClusterAccessSpec};
pub use facts::Facts;
pub use grant::{Access, GrantSpec, Mode};
pub use key::KeySpec;
pub use role::{PolicySpec, RawPolicy, RoleSpec, TrustSpec};
pub use service_account::{Manage, ROLE_ANNOTATION, ServiceAccountSpec};

use crate::address::{AccountId, Region, Scope};
use crate::diagnostic::{Code, Diagnostic, SourceRef};
use crate::document::Digest;
use node::{Node, Value};
use places::Places;

/// The spec of a project: accounts, clusters, data, identities, and who can do what.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Bailiwick spec")]
pub struct Spec {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// The name of the project, which all ownership tags carry.
    pub project: String,
    /// Where the state is stored; a folder next to the spec if absent.
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
    /// Which service account gets which access to which data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantSpec>,
    /// Accepted findings, with a reason and an end date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<AcceptSpec>,
    /// The place of each entry in the files.
    #[serde(skip)]
    #[schemars(skip)]
    places: Places,
}

/// A finding that is accepted until an end date.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptSpec {
    /// The code of the finding.
    pub code: String,
    /// The path of the entry or the address that the finding is about, such as `roles.loader`.
    pub at: String,
    /// The reason for accepting it.
    pub reason: String,
    /// The last day on which it is accepted (YYYY-MM-DD).
    pub until: String,
    /// For a finding in a statement that Bailiwick does not manage: the digest of the statement, as the finding shows it.
    /// The finding is accepted until the statement changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// What happens to a resource that holds data when `destroy` runs or the spec no longer has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDestroy {
    /// The resource is kept and no longer managed.
    #[default]
    Keep,
    /// The resource is deleted.
    Delete,
}

/// An entry with `managed: false`.
#[derive(Clone, Copy, Debug)]
pub enum Unmanaged<'a> {
    /// A bucket, including its policy.
    Bucket(&'a BucketSpec),
    /// A role.
    Role(&'a RoleSpec),
    /// A KMS key, without the statements in its policy.
    Key(&'a KeySpec),
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `skip_serializing_if` calls it with a reference")]
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

/// Merges the files in order (later ones win), deserializes the result and checks it.
///
/// Returns the spec, unless its shape is wrong, and every problem found. The spec must not be used if any of the
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
            Err(mut problem) => {
                if files.len() > 1 {
                    problem.help = problem.help.map(|help| format!("{help}; {OTHER_FILES}"));
                }
                problems.push(problem);
            }
        }
    }
    let Some(mut tree) = merged else { return (None, problems) };
    node::drop_nulls(&mut tree);
    let schema = schemars::schema_for!(Spec).to_value();
    if problems.iter().any(|p| matches!(p.code, Code::YamlSyntax | Code::FileTooLarge)) {
        // A missing key may be in the file that could not be parsed. Other deviations are problems in any case.
        problems.extend(shape::check(&mut tree, &schema).into_iter().filter(|p| p.code != Code::MissingKey));
        return (None, sorted(problems));
    }
    problems.extend(shape::check(&mut tree, &schema));
    match serde_json::from_value::<Spec>(tree.to_json()) {
        Ok(mut spec) => {
            spec.places = Places::of(tree);
            problems.extend(check::check(&spec));
            (Some(spec), sorted(problems))
        }
        Err(error) => {
            let place = Some(tree.source.clone());
            problems.push(Diagnostic::new(Code::WrongType, error.to_string()).at(place));
            (None, sorted(problems))
        }
    }
}

/// What is true of the other files if one of several cannot be parsed.
const OTHER_FILES: &str = "other files were checked only for unknown keys and wrong types of values";

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

    /// The spec that `destroy` plans with: it has no resources and still connects to the accounts and clusters.
    ///
    /// It destructures every section, so that a new one does not compile until it is clear whether `destroy` keeps its
    /// resources.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let Self {
            version,
            project,
            backend,
            accounts,
            clusters,
            buckets: _,
            keys: _,
            policies: _,
            roles: _,
            service_accounts: _,
            grants: _,
            accept,
            places,
        } = self;
        Self {
            version: *version,
            project: project.clone(),
            backend: backend.clone(),
            accounts: accounts.clone(),
            clusters: clusters.iter().map(|(key, cluster)| (key.clone(), cluster.emptied())).collect(),
            buckets: BTreeMap::new(),
            keys: BTreeMap::new(),
            policies: BTreeMap::new(),
            roles: BTreeMap::new(),
            service_accounts: BTreeMap::new(),
            grants: Vec::new(),
            accept: accept.clone(),
            places: places.clone(),
        }
    }

    /// The entries with `managed: false`. Resources that this project once created for them are not deleted.
    #[must_use]
    pub fn unmanaged(&self) -> Vec<Unmanaged<'_>> {
        let Self {
            version: _,
            project: _,
            backend: _,
            accounts: _,
            clusters: _,
            buckets,
            keys,
            policies: _,
            roles,
            service_accounts: _,
            grants: _,
            accept: _,
            places: _,
        } = self;
        let buckets = buckets.values().filter(|b| !b.managed).map(Unmanaged::Bucket);
        let roles = roles.values().filter(|r| !r.managed).map(Unmanaged::Role);
        let keys = keys.values().filter(|k| !k.managed).map(Unmanaged::Key);
        buckets.chain(roles).chain(keys).collect()
    }

    /// The digest of the spec's content, independent of files, order and comments.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(serde_json::to_string(self).unwrap_or_default().as_bytes())
    }

    /// The place of an entry: the key of the deepest part of the path that is in a file.
    #[must_use]
    pub fn source(&self, path: &[&str]) -> Option<SourceRef> {
        self.places.find(path, false)
    }

    /// Like [`Spec::source`], but with the place of the value if it is a scalar.
    #[must_use]
    pub fn value_source(&self, path: &[&str]) -> Option<SourceRef> {
        self.places.find(path, true)
    }

    /// Whether a text is a path into a section, such as `roles.loader`, and not an address.
    #[must_use]
    pub fn is_path(text: &str) -> bool {
        check::SECTIONS.contains(&text.split('.').next().unwrap_or_default())
    }

    /// Whether a place is in an entry or below it.
    #[must_use]
    pub fn holds(&self, path: &[&str], source: &SourceRef) -> bool {
        self.places.holds(path, source)
    }

    /// The id of an account by its key; empty for an unknown key, which `load` has reported.
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

    /// The scope of a global service in an account, such as IAM.
    #[must_use]
    pub fn account_scope(&self, account: &str) -> Scope {
        let region = self.accounts.get(account).map_or_else(|| Region("us-east-1".into()), |a| a.region.clone());
        self.regional_scope(account, region)
    }

    /// The scope of a region in an account.
    #[must_use]
    pub fn regional_scope(&self, account: &str, region: Region) -> Scope {
        Scope::account(account, self.account_id(account), region)
    }
}

#[cfg(test)]
mod tests;
