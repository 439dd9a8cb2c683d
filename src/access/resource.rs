//! The statements that bucket and key policies need so that the roles of grants get access.

use std::collections::{BTreeMap, BTreeSet};

use super::actions::{Actions, list_prefixes, pattern_text};
use super::chain::Chains;
use crate::document::Digest;
use crate::iam::{Condition, Effect, Operator, Policy, Principal, Selector, Statement, Test};
use crate::spec::Spec;

/// The prefix of the Sid of every statement that a project owns in shared documents.
#[must_use]
pub fn sid_prefix(project: &str) -> String {
    format!("Bailiwick{}", Digest::of(project.as_bytes()).short(8))
}

/// Whether the project owns a statement of a shared document.
#[must_use]
pub fn own_sid(project: &str, statement: &Statement) -> bool {
    let prefix = sid_prefix(project);
    statement.sid().is_some_and(|sid| sid.starts_with(&prefix))
}

/// A condition operator without `IfExists` and without a qualifier.
pub(super) fn plain(test: Test) -> Operator {
    Operator { test, qualifier: None, if_exists: false }
}

/// The letters and digits of a text in camel case, for a Sid.
fn camel(text: &str) -> String {
    let mut out = String::new();
    let mut start = true;
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            if start {
                out.push(c.to_ascii_uppercase());
            } else {
                out.push(c);
            }
            start = false;
        } else {
            start = true;
        }
    }
    out
}

/// A Sid that starts with the project's prefix and names its subject. If the words drop characters of the subject, a
/// digest makes the Sid unique.
fn sid(prefix: &str, what: &str, about: &str) -> String {
    let words = camel(about);
    let unique = if words == about { String::new() } else { Digest::of(about.as_bytes()).short(4).to_owned() };
    // The words are ASCII, so slicing by bytes is safe.
    format!("{prefix}{what}{}{unique}", words.get(..32).unwrap_or(&words))
}

/// The statements that a bucket's policy needs for its grants to roles of other accounts.
///
/// Principals with the same access to the same prefix share a statement.
#[must_use]
pub fn bucket_statements(spec: &Spec, chains: &Chains, bucket: &str) -> Vec<Statement> {
    let Some(bucket_spec) = spec.buckets.get(bucket) else { return Vec::new() };
    let arn = bucket_spec.arn(spec);
    let mut objects: BTreeMap<(&str, BTreeSet<String>), BTreeSet<&str>> = BTreeMap::new();
    let mut lists: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut whole: BTreeMap<BTreeSet<String>, BTreeSet<&str>> = BTreeMap::new();
    let mut heads: BTreeSet<&str> = BTreeSet::new();
    for chain in chains.to_bucket(bucket).filter(|c| c.bucket_statement) {
        let Some(role) = chains.roles().get(chain.data_role()) else { continue };
        let actions = Actions::of(&chain.access);
        if !actions.object.is_empty() {
            objects.entry((&chain.prefix, actions.object)).or_default().insert(&role.arn);
        }
        if actions.list {
            lists.entry(&chain.prefix).or_default().insert(&role.arn);
        }
        if !actions.bucket.is_empty() {
            whole.entry(actions.bucket).or_default().insert(&role.arn);
        }
        if chain.head_bucket {
            heads.insert(&role.arn);
        }
    }
    let to = |arns: &BTreeSet<&str>| Selector::of(arns.iter().map(|a| Principal::aws(a)));
    let ours = sid_prefix(&spec.project);
    let named = |statement: Statement, what: &str, about: &str| statement.with_sid(&sid(&ours, what, about));
    let mut statements = Vec::new();
    for ((prefix, actions), arns) in &objects {
        let resource = format!("{arn}/{}*", pattern_text(prefix));
        let statement = Statement::allow(actions.iter().map(String::as_str), [resource.as_str()]).to(to(arns));
        statements.push(named(statement, &object_word(actions), prefix));
    }
    for (prefix, arns) in &lists {
        let mut statement = Statement::allow(["s3:ListBucket"], [arn.as_str()]).to(to(arns));
        if !prefix.is_empty() {
            statement = statement.when(Condition::new(plain(Test::StringLike), "s3:prefix", list_prefixes(prefix)));
        }
        statements.push(named(statement, "List", prefix));
    }
    for (actions, arns) in &whole {
        let statement = Statement::allow(actions.iter().map(String::as_str), [arn.as_str()]).to(to(arns));
        statements.push(named(statement, &bucket_word(actions), ""));
    }
    if !heads.is_empty() {
        let null = Condition::new(plain(Test::Null), "s3:prefix", ["true"]);
        let statement = Statement::allow(["s3:ListBucket"], [arn.as_str()]).to(to(&heads)).when(null);
        statements.push(named(statement, "Head", ""));
    }
    statements
}

/// A word for a set of object actions: the name of the access level if there is one.
pub(super) fn object_word(actions: &BTreeSet<String>) -> String {
    use crate::spec::Access;
    [("Read", Access::Read), ("Write", Access::Write), ("ReadWrite", Access::ReadWrite), ("Delete", Access::Delete)]
        .iter()
        .find(|(_, access)| Actions::of(access).object == *actions)
        .map_or_else(|| format!("Objects{}", digest_of(actions)), |(word, _)| (*word).to_owned())
}

/// A word for a set of actions on buckets.
pub(super) fn bucket_word(actions: &BTreeSet<String>) -> String {
    if actions.iter().eq(["s3:GetBucketLocation"]) {
        "Locate".to_owned()
    } else {
        format!("Bucket{}", digest_of(actions))
    }
}

fn digest_of(actions: &BTreeSet<String>) -> String {
    let joined: Vec<&str> = actions.iter().map(String::as_str).collect();
    Digest::of(joined.join(",").as_bytes()).short(4).to_owned()
}

/// The statements that a key's policy needs for grants on the buckets that the key encrypts. They allow use through S3
/// only.
#[must_use]
pub fn key_statements(spec: &Spec, chains: &Chains, key: &str) -> Vec<Statement> {
    let Some(key_spec) = spec.keys.get(key) else { return Vec::new() };
    let region = key_spec.region(spec);
    let ours = sid_prefix(&spec.project);
    let mut uses: BTreeMap<BTreeSet<String>, BTreeSet<&str>> = BTreeMap::new();
    for chain in chains.with_key(key) {
        let actions = Actions::of(&chain.access).key;
        if let (Some(role), false) = (chains.roles().get(chain.data_role()), actions.is_empty()) {
            uses.entry(actions).or_default().insert(&role.arn);
        }
    }
    uses.iter()
        .map(|(actions, arns)| {
            let word = if actions.len() == 1 { "Decrypt" } else { "EncryptDecrypt" };
            Statement::new(Effect::Allow, Selector::of(actions.iter().map(String::as_str)))
                .on(Selector::of(["*"]))
                .to(Selector::of(arns.iter().map(|a| Principal::aws(a))))
                .when(Condition::new(
                    plain(Test::StringEquals),
                    "kms:ViaService",
                    [format!("s3.{region}.{}", region.dns_suffix())],
                ))
                .with_sid(&sid(&ours, word, ""))
        })
        .collect()
}

/// The statements as one policy.
pub(super) fn as_policy(statements: impl IntoIterator<Item = Statement>) -> Policy {
    Policy::new(crate::iam::Version::V2012, statements)
}
