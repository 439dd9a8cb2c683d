//! What a role's own policies must allow so that its grants work.

use std::collections::{BTreeMap, BTreeSet};

use super::Chains;
use super::actions::{Actions, list_prefixes, pattern_text};
use super::resource::{as_policy, digest_of, object_word};
use crate::iam::{Condition, Operator, Qualifier, Statement, Test};
use crate::spec::{Facts, Spec};

fn plain(test: Test) -> Operator {
    Operator { test, qualifier: None, if_exists: false }
}

/// The statements of one role: data of all its grants merged, keys, and the roles that it assumes.
#[must_use]
pub fn identity_statements(spec: &Spec, facts: &Facts, chains: &Chains, role: &str) -> Vec<Statement> {
    let mut objects: BTreeMap<BTreeSet<String>, BTreeSet<String>> = BTreeMap::new();
    let mut lists: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
    let mut whole: BTreeMap<BTreeSet<String>, BTreeSet<String>> = BTreeMap::new();
    let mut heads: BTreeSet<String> = BTreeSet::new();
    let mut prefixes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for chain in chains.through(role).filter(|c| c.data_role() == role) {
        let Some(bucket) = spec.buckets.get(&chain.bucket) else { continue };
        let arn = bucket.arn(spec);
        let actions = Actions::of(&chain.access);
        if !actions.object.is_empty() {
            let resource = format!("{arn}/{}*", pattern_text(&chain.prefix));
            objects.entry(actions.object).or_default().insert(resource);
        }
        if actions.list {
            prefixes.entry(arn.clone()).or_default().extend(list_prefixes(&chain.prefix));
        }
        if !actions.bucket.is_empty() {
            whole.entry(actions.bucket).or_default().insert(arn.clone());
        }
        if chain.head_bucket {
            heads.insert(arn);
        }
    }
    for (bucket, patterns) in prefixes {
        // Listing everything needs no condition, and makes those beside it pointless.
        let patterns = if patterns.contains("*") { Vec::new() } else { patterns.into_iter().collect() };
        lists.entry(patterns).or_default().insert(bucket);
    }
    let mut statements = Vec::new();
    for (actions, resources) in &objects {
        let statement = Statement::allow(actions.iter().map(String::as_str), resources.iter().map(String::as_str));
        statements.push(statement.with_sid(&object_word(actions)));
    }
    for (n, (patterns, buckets)) in lists.iter().enumerate() {
        let mut statement = Statement::allow(["s3:ListBucket"], buckets.iter().map(String::as_str));
        if !patterns.is_empty() {
            statement = statement.when(Condition::new(
                plain(Test::StringLike),
                "s3:prefix",
                patterns.iter().map(String::as_str),
            ));
        }
        statements.push(statement.with_sid(&numbered("List", n)));
    }
    for (actions, buckets) in &whole {
        let statement = Statement::allow(actions.iter().map(String::as_str), buckets.iter().map(String::as_str));
        let sid = if actions.iter().eq(["s3:GetBucketLocation"]) {
            "Locate".to_owned()
        } else {
            format!("Bucket{}", digest_of(actions))
        };
        statements.push(statement.with_sid(&sid));
    }
    if !heads.is_empty() {
        let null = Condition::new(plain(Test::Null), "s3:prefix", ["true"]);
        statements
            .push(Statement::allow(["s3:ListBucket"], heads.iter().map(String::as_str)).when(null).with_sid("Head"));
    }
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

/// KMS keys are named by ARN. A key that the spec makes has no ARN before it exists, so that it is named by its alias,
/// which is a condition that only identity policies may hold.
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

/// Statements as the JSON that somebody else must add to a document of theirs.
#[must_use]
pub fn render_for_owner(statements: &[Statement]) -> String {
    let policy = as_policy(statements.iter().cloned());
    let value = policy.to_value();
    let list = value.get("Statement").cloned().unwrap_or_default();
    serde_json::to_string_pretty(&list).unwrap_or_default()
}
