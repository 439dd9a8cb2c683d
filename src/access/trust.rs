//! Trust policies: who may assume a role.

use std::collections::BTreeMap;

use super::chain::Chains;
use super::resource::{as_policy, plain};
use super::roles::{Origin, ResolvedRole};
use crate::iam::{Condition, Effect, Policy, Principal, Selector, Statement, Test};
use crate::spec::{Facts, Identity, ServiceAccountSpec, Spec, TrustSpec};

fn equals(key: &str, value: &str) -> Condition {
    Condition::new(plain(Test::StringEquals), key, [value])
}

fn statement(actions: &[&str], principal: Principal) -> Statement {
    Statement::new(Effect::Allow, Selector::of(actions.iter().copied())).to(Selector::of([principal]))
}

/// The trust policy of a role; empty if it names no principal.
#[must_use]
pub fn role_trust(spec: &Spec, facts: &Facts, chains: &Chains, key: &str) -> Policy {
    let all = chains.roles();
    let Some(role) = all.get(key) else { return as_policy([]) };
    if let Origin::Target { source } = &role.origin {
        return target_trust(spec, role, all.get(source));
    }
    let mut statements = Vec::new();
    let mut subjects: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for account in role.service_accounts.iter().filter_map(|name| spec.service_accounts.get(name)) {
        match account.identity(spec) {
            Identity::Irsa => subjects.entry(&account.cluster).or_default().push(account.subject()),
            Identity::PodIdentity => statements.push(pod_identity(spec, account)),
        }
    }
    for (cluster, subjects) in subjects {
        statements.extend(web_identity(spec, facts, &role.account, cluster, &subjects));
    }
    let mut policy = as_policy(statements);
    for trust in spec.roles.get(key).map(|r| r.trust.as_slice()).unwrap_or_default() {
        let named = match trust {
            TrustSpec::ServiceAccount(_) => continue,
            TrustSpec::Role(name) => {
                let arn = all.get(name).map_or(name.as_str(), |r| r.arn.as_str());
                as_policy([statement(&["sts:AssumeRole"], Principal::aws(arn))])
            }
            TrustSpec::Account(name) => {
                let id = spec.accounts.get(name).map_or(name.as_str(), |a| a.id.0.as_str());
                let partition = spec.accounts.get(&role.account).map_or("aws", |a| a.partition());
                let root = format!("arn:{partition}:iam::{id}:root");
                as_policy([statement(&["sts:AssumeRole"], Principal::aws(&root))])
            }
            TrustSpec::Service(name) => {
                as_policy([statement(&["sts:AssumeRole"], Principal::Service(name.as_str().into()))])
            }
            TrustSpec::Policy(document) => document.parse().unwrap_or_else(|_| as_policy([])),
        };
        policy = policy.merge(&named);
    }
    policy
}

/// The keys of the roles that a role's trust policy names. They must exist before the role.
#[must_use]
pub fn trusted_roles(spec: &Spec, key: &str, role: &ResolvedRole) -> Vec<String> {
    let mut found: Vec<String> = spec
        .roles
        .get(key)
        .into_iter()
        .flat_map(|r| &r.trust)
        .filter_map(|t| match t {
            TrustSpec::Role(name) if spec.roles.contains_key(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    if let Origin::Target { source } = &role.origin {
        found.push(source.clone());
    }
    found
}

/// IRSA: both `sub` and `aud`, so that no other service account of the cluster can assume the role.
///
/// Source: EKS User Guide, "Assign IAM roles to Kubernetes service accounts".
fn web_identity(spec: &Spec, facts: &Facts, account: &str, cluster: &str, subjects: &[String]) -> Option<Statement> {
    let host = facts.issuer_host(cluster)?;
    let provider = spec.iam_arn(account, &format!("oidc-provider/{host}"));
    Some(
        statement(&["sts:AssumeRoleWithWebIdentity"], Principal::Federated(provider.as_str().into()))
            .when(Condition::new(
                plain(Test::StringEquals),
                format!("{host}:sub").as_str(),
                subjects.iter().map(String::as_str),
            ))
            .when(equals(&format!("{host}:aud"), "sts.amazonaws.com")),
    )
}

/// Pod Identity: the session tags that EKS adds restrict the statement to the cluster, namespace and service account,
/// unless the spec turns the tags off.
///
/// Source: EKS User Guide, "Create IAM role with trust policy required by EKS Pod Identity".
fn pod_identity(spec: &Spec, account: &ServiceAccountSpec) -> Statement {
    let base = statement(&["sts:AssumeRole", "sts:TagSession"], Principal::Service("pods.eks.amazonaws.com".into()));
    if account.disable_session_tags {
        base
    } else {
        session_tags(spec, account).into_iter().fold(base, Statement::when)
    }
}

fn session_tags(spec: &Spec, account: &ServiceAccountSpec) -> Vec<Condition> {
    let cluster = spec.clusters.get(&account.cluster).map(|c| spec.cluster_arn(c)).unwrap_or_default();
    vec![
        equals("aws:RequestTag/eks-cluster-arn", &cluster),
        equals("aws:RequestTag/kubernetes-namespace", &account.namespace),
        equals("aws:RequestTag/kubernetes-service-account", &account.name),
    ]
}

/// The trust policy of a target role: the source role alone, and under Pod Identity only for sessions of the service
/// account.
///
/// Source: EKS User Guide, "Access AWS resources using EKS Pod Identity target IAM roles".
fn target_trust(spec: &Spec, role: &ResolvedRole, source: Option<&ResolvedRole>) -> Policy {
    let Some(source) = source else { return as_policy([]) };
    let mut statements = Vec::new();
    for account in role.service_accounts.iter().filter_map(|name| spec.service_accounts.get(name)) {
        let to_source = |actions: &[&str]| statement(actions, Principal::aws(&source.arn));
        match account.identity(spec) {
            Identity::Irsa => statements.push(to_source(&["sts:AssumeRole", "sts:TagSession"])),
            Identity::PodIdentity if account.disable_session_tags => {
                let Some(cluster) = spec.clusters.get(&account.cluster) else { continue };
                let external_id = format!(
                    "{}/{}/{}/{}/{}",
                    spec.cluster_region(cluster),
                    spec.account_id(&cluster.account),
                    cluster.name,
                    account.namespace,
                    account.name
                );
                statements.push(to_source(&["sts:AssumeRole"]).when(equals("sts:ExternalId", &external_id)));
                statements.push(to_source(&["sts:TagSession"]));
            }
            Identity::PodIdentity => statements.push(
                session_tags(spec, account)
                    .into_iter()
                    .fold(to_source(&["sts:AssumeRole", "sts:TagSession"]), Statement::when),
            ),
        }
    }
    as_policy(statements)
}
