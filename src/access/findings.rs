//! Findings about chains: sides that another party manages, and patterns that lead to surprises.

use std::collections::BTreeSet;

use super::chain::{Chain, Chains};
use super::identity::{identity_statements, render_for_owner};
use super::resource::bucket_statements;
use super::roles::{ResolvedRole, annotations, role_key};
use super::trust::role_trust;
use crate::diagnostic::{Code, Diagnostic};
use crate::spec::{Access, Facts, Identity, Manage, ServiceAccountSpec, Spec};

/// The findings about the chains of a spec.
#[must_use]
pub fn findings(spec: &Spec, facts: &Facts, chains: &Chains) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let (mut buckets, mut roles) = (BTreeSet::new(), BTreeSet::new());
    for chain in chains.all() {
        // Report each bucket and role once, at its first grant.
        if !buckets.contains(&chain.bucket)
            && let Some(finding) = unmanaged_bucket(spec, chains, chain)
        {
            buckets.insert(&chain.bucket);
            found.push(finding);
        }
        if !roles.contains(chain.data_role())
            && let Some(finding) = unmanaged_role(spec, facts, chains, chain)
        {
            roles.insert(chain.data_role());
            found.push(finding);
        }
        found.extend(open_prefix(spec, chain));
        found.extend(client_chaining(spec, chains, chain));
    }
    let unmanaged = chains.roles().iter().filter(|(_, r)| !r.managed && !r.service_accounts.is_empty());
    found.extend(unmanaged.filter_map(|(key, role)| unmanaged_trust(spec, facts, chains, (key, role))));
    let others = spec.service_accounts.iter().filter(|(_, a)| a.manage == Manage::None);
    found.extend(others.filter_map(|(key, account)| unmanaged_account(spec, chains, (key, account))));
    found
}

/// The statements that the owner of a bucket must add.
fn unmanaged_bucket(spec: &Spec, chains: &Chains, chain: &Chain) -> Option<Diagnostic> {
    let bucket = spec.buckets.get(&chain.bucket).filter(|bucket| !bucket.managed && chain.bucket_statement)?;
    let statements = render_for_owner(&bucket_statements(spec, chains, &chain.bucket));
    let message =
        format!("the owner of bucket `{}` must add these statements to its policy:\n{statements}", bucket.name);
    let found = Diagnostic::new(Code::UnmanagedBucketPolicy, message)
        .at(spec.source(&["grants", &chain.grant.to_string()]))
        .help("until then the grant gives no access; with `managed: true` the statements are written here");
    Some(found)
}

/// The statements that the owner of the role of a chain must add.
fn unmanaged_role(spec: &Spec, facts: &Facts, chains: &Chains, chain: &Chain) -> Option<Diagnostic> {
    let role = chains.roles().get(chain.data_role()).filter(|role| !role.managed)?;
    let statements = render_for_owner(&identity_statements(spec, facts, chains, chain.data_role()));
    let message =
        format!("the owner of role `{}` must add these statements to a policy of the role:\n{statements}", role.name);
    let found = Diagnostic::new(Code::UnmanagedRole, message)
        .at(spec.source(&["grants", &chain.grant.to_string()]))
        .help("until then the grant gives no access; with `managed: true` the policy is written here");
    Some(found)
}

/// A prefix that does not end at a folder and so matches other keys too.
fn open_prefix(spec: &Spec, chain: &Chain) -> Option<Diagnostic> {
    let prefix = &chain.prefix;
    if prefix.is_empty() || prefix.ends_with('/') || matches!(chain.access, Access::Actions(_)) {
        return None;
    }
    let message = format!("the prefix `{prefix}` also covers keys such as `{prefix}2`: it does not end with a slash");
    let found = Diagnostic::new(Code::PrefixWithoutSlash, message)
        .at(spec.source(&["grants", &chain.grant.to_string(), "prefix"]))
        .help(format!("write `{prefix}/` if a folder is meant"));
    Some(found)
}

/// Pods that must assume the target role themselves.
fn client_chaining(spec: &Spec, chains: &Chains, chain: &Chain) -> Option<Diagnostic> {
    if chain.target.is_none() || chain.identity != Identity::Irsa {
        return None;
    }
    let target = chains.roles().get(chain.data_role()).map_or("", |r| r.arn.as_str());
    let message = format!(
        "pods of `{}` must assume {target} themselves: IRSA gives them the first role only",
        chain.service_account
    );
    let found = Diagnostic::new(Code::RoleChainingInClient, message)
        .at(spec.source(&["grants", &chain.grant.to_string()]))
        .help("KServe's storage initializer cannot; use `mode: direct`, or `identity: pod_identity`, which does the chaining");
    Some(found)
}

/// The trust policy that the owner of a role must add.
fn unmanaged_trust(
    spec: &Spec,
    facts: &Facts,
    chains: &Chains,
    (key, role): (&String, &ResolvedRole),
) -> Option<Diagnostic> {
    let trust = role_trust(spec, facts, chains, key);
    if trust.is_empty() {
        return None;
    }
    let statements = render_for_owner(trust.statements());
    let message = format!("the owner of role `{}` must trust its service accounts with:\n{statements}", role.name);
    let found = Diagnostic::new(Code::UnmanagedRoleTrust, message)
        .at(spec.source(&["roles", key]))
        .help("until then pods cannot take the role; with `managed: true` the trust is written here");
    Some(found)
}

/// The commands that the manager of a service account must run.
fn unmanaged_account(
    spec: &Spec,
    chains: &Chains,
    (key, account): (&String, &ServiceAccountSpec),
) -> Option<Diagnostic> {
    let commands = kubectl(spec, account, chains.roles().get(role_key(spec, key))?);
    if commands.is_empty() {
        return None;
    }
    let message = format!(
        "the owner of service account `{}/{}` in cluster `{}` must run:\n{commands}",
        account.namespace, account.name, account.cluster
    );
    let found = Diagnostic::new(Code::AnnotateServiceAccount, message)
        .at(spec.source(&["service_accounts", key, "manage"]))
        .help("until then its pods do not have the access that the spec grants; with `manage: annotation` Bailiwick writes the annotation");
    Some(found)
}

/// The `kubectl` commands that give a service account the annotations and labels of the spec, one per line; empty if
/// there are none.
fn kubectl(spec: &Spec, account: &ServiceAccountSpec, role: &ResolvedRole) -> String {
    let context = spec.clusters.get(&account.cluster).and_then(|c| c.context.as_deref());
    let context =
        context.filter(|c| *c != "in-cluster").map_or_else(String::new, |c| format!("--context {} ", shell(c)));
    [("annotate", &annotations(spec, account, role)), ("label", &account.labels)]
        .into_iter()
        .filter(|(_, pairs)| !pairs.is_empty())
        .map(|(verb, pairs)| {
            let pairs: Vec<String> = pairs.iter().map(|(key, value)| shell(&format!("{key}={value}"))).collect();
            let (namespace, name, pairs) = (&account.namespace, &account.name, pairs.join(" "));
            format!("kubectl {context}{verb} --overwrite --namespace {namespace} serviceaccount {name} {pairs}")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Quotes a word for a POSIX shell if necessary.
fn shell(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&b));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
