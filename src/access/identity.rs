//! The identity policies that a role needs so that its grants work.

use std::collections::{BTreeMap, BTreeSet};

use super::actions::{Actions, list_prefixes, pattern_text};
use super::chain::Chains;
use super::resource::{as_policy, bucket_word, object_word, plain};
use crate::iam::{Condition, Operator, Qualifier, Statement, Test};
use crate::spec::{Facts, Spec};

/// The merged data access of all grants of one role.
#[derive(Default)]
struct GrantedData {
    /// Resources by their object actions.
    objects: BTreeMap<BTreeSet<String>, BTreeSet<String>>,
    /// Buckets by the prefixes that may be listed; an empty list means all prefixes.
    lists: BTreeMap<Vec<String>, BTreeSet<String>>,
    /// Buckets by their bucket actions.
    whole: BTreeMap<BTreeSet<String>, BTreeSet<String>>,
    /// Buckets on which `HeadBucket` is granted.
    heads: BTreeSet<String>,
}

impl GrantedData {
    fn of(spec: &Spec, chains: &Chains, role: &str) -> Self {
        let mut data = Self::default();
        let mut prefixes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for chain in chains.through(role).filter(|c| c.data_role() == role) {
            let Some(bucket) = spec.buckets.get(&chain.bucket) else { continue };
            let arn = bucket.arn(spec);
            let actions = Actions::of(&chain.access);
            if !actions.object.is_empty() {
                let resource = format!("{arn}/{}*", pattern_text(&chain.prefix));
                data.objects.entry(actions.object).or_default().insert(resource);
            }
            if actions.list {
                prefixes.entry(arn.clone()).or_default().extend(list_prefixes(&chain.prefix));
            }
            if !actions.bucket.is_empty() {
                data.whole.entry(actions.bucket).or_default().insert(arn.clone());
            }
            if chain.head_bucket {
                data.heads.insert(arn);
            }
        }
        for (bucket, patterns) in prefixes {
            // Listing everything needs no condition and makes other prefixes redundant.
            let patterns = if patterns.contains("*") { Vec::new() } else { patterns.into_iter().collect() };
            data.lists.entry(patterns).or_default().insert(bucket);
        }
        data
    }

    fn statements(&self) -> Vec<Statement> {
        let allow = |actions: &BTreeSet<String>, resources: &BTreeSet<String>| {
            Statement::allow(actions.iter().map(String::as_str), resources.iter().map(String::as_str))
        };
        let list = |buckets: &BTreeSet<String>| Statement::allow(["s3:ListBucket"], buckets.iter().map(String::as_str));
        let mut statements = Vec::new();
        for (actions, resources) in &self.objects {
            statements.push(allow(actions, resources).with_sid(&object_word(actions)));
        }
        for (n, (patterns, buckets)) in self.lists.iter().enumerate() {
            let mut statement = list(buckets);
            if !patterns.is_empty() {
                let patterns = patterns.iter().map(String::as_str);
                statement = statement.when(Condition::new(plain(Test::StringLike), "s3:prefix", patterns));
            }
            statements.push(statement.with_sid(&numbered("List", n)));
        }
        for (actions, buckets) in &self.whole {
            statements.push(allow(actions, buckets).with_sid(&bucket_word(actions)));
        }
        if !self.heads.is_empty() {
            let null = Condition::new(plain(Test::Null), "s3:prefix", ["true"]);
            statements.push(list(&self.heads).when(null).with_sid("Head"));
        }
        statements
    }
}

/// The statements of one role: the merged data access of its grants, their KMS keys, and the roles that it assumes.
#[must_use]
pub fn identity_statements(spec: &Spec, facts: &Facts, chains: &Chains, role: &str) -> Vec<Statement> {
    let mut statements = GrantedData::of(spec, chains, role).statements();
    statements.extend(key_use(spec, facts, chains, role));
    let targets: BTreeSet<&str> = chains
        .through(role)
        .filter(|c| c.role == role)
        .filter_map(|c| chains.roles().get(c.target.as_ref()?).map(|r| r.arn.as_str()))
        .collect();
    if !targets.is_empty() {
        statements.push(Statement::allow(["sts:AssumeRole", "sts:TagSession"], targets).with_sid("AssumeTarget"));
    }
    statements
}

fn numbered(word: &str, n: usize) -> String {
    if n == 0 { word.to_owned() } else { format!("{word}{}", n + 1) }
}

/// The statements on KMS keys. They name a key by ARN, or by a condition on its alias if the spec creates the key,
/// which then has no ARN yet. Only identity policies may use that condition.
///
/// Source: KMS Developer Guide, "kms:ResourceAliases".
fn key_use(spec: &Spec, facts: &Facts, chains: &Chains, role: &str) -> Vec<Statement> {
    let mut uses: BTreeMap<(&str, String), BTreeSet<String>> = BTreeMap::new();
    for chain in chains.through(role).filter(|c| c.data_role() == role) {
        let Some((key, key_spec)) = chain.key.as_ref().and_then(|k| spec.keys.get_key_value(k)) else { continue };
        let region = key_spec.region(spec);
        uses.entry((key, format!("s3.{region}.{}", region.dns_suffix())))
            .or_default()
            .extend(Actions::of(&chain.access).key);
    }
    let mut merged: BTreeMap<(String, Option<String>, Vec<String>), BTreeSet<String>> = BTreeMap::new();
    for ((key, via), actions) in uses {
        let Some(key_spec) = spec.keys.get(key) else { continue };
        if actions.is_empty() {
            continue;
        }
        let region = key_spec.region(spec);
        let (resource, alias) = match facts.key_arns.get(key) {
            Some(arn) if !key_spec.managed => (arn.clone(), None),
            _ => {
                let account = spec.account_id(&key_spec.account);
                (format!("arn:{}:kms:{region}:{account}:key/*", region.partition()), Some(key_spec.alias_name()))
            }
        };
        merged.entry((via, alias, actions.into_iter().collect())).or_default().insert(resource);
    }
    merged
        .into_iter()
        .enumerate()
        .map(|(n, ((via, alias, actions), resources))| {
            let mut statement =
                Statement::allow(actions.iter().map(String::as_str), resources.iter().map(String::as_str))
                    .when(Condition::new(plain(Test::StringEquals), "kms:ViaService", [via]))
                    .with_sid(&numbered("Keys", n));
            if let Some(alias) = alias {
                let any =
                    Operator { test: Test::StringEquals, qualifier: Some(Qualifier::ForAnyValue), if_exists: false };
                statement = statement.when(Condition::new(any, "kms:ResourceAliases", [alias]));
            }
            statement
        })
        .collect()
}

/// Statements as JSON for the owner of a document to add to it.
#[must_use]
pub fn render_for_owner(statements: &[Statement]) -> String {
    let policy = as_policy(statements.iter().cloned());
    let value = policy.to_value();
    let list = value.get("Statement").cloned().unwrap_or_default();
    serde_json::to_string_pretty(&list).unwrap_or_default()
}
