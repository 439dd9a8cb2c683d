//! The facts from AWS: the OIDC issuers of clusters that use IRSA, and the ARNs of KMS keys.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};

use super::{account, eks, family, kms};
use crate::diagnostic::{Code, Diagnostic};
use crate::session::{Session, SessionError};
use crate::spec::{Encryption, Facts, Identity, KeySpec, Spec};

/// Reads the facts and the callers. Also returns problems: facts that could not be read, and KMS keys that should exist
/// and do not.
pub(super) async fn read(cloud: &Session, spec: &Spec) -> (Facts, Vec<Diagnostic>) {
    let clusters: BTreeSet<&String> =
        spec.service_accounts.values().filter(|s| s.identity(spec) == Identity::Irsa).map(|s| &s.cluster).collect();
    let keys: BTreeSet<&String> = spec.buckets.values().filter_map(|b| b.encryption.as_ref()).filter_map(key).collect();
    let issuers = join_all(clusters.into_iter().map(async |cluster| (cluster, eks::issuer(cloud, cluster).await)));
    let arns = keys.into_iter().filter_map(|name| Some((name, spec.keys.get(name)?))).map(async |(name, key)| {
        let scope = spec.regional_scope(&key.account, key.region(spec));
        (name, key, kms::key_arn(cloud, &scope, &key.alias_name()).await)
    });
    let (issuers, arns) = join(issuers, join_all(arns)).await;
    let mut facts = Facts::default();
    let mut problems = Vec::new();
    for scope in family::account_scopes(spec) {
        // An account without a caller has been reported before.
        if let Ok(caller) = account::caller(cloud, &scope).await {
            facts.add_caller(&scope, caller);
        }
    }
    for (cluster, issuer) in issuers {
        match issuer {
            Ok(issuer) => {
                facts.issuers.insert(cluster.clone(), issuer);
            }
            Err(error) => problems.push(
                Diagnostic::new(Code::ClusterUnreadable, error.to_string()).at(spec.source(&["clusters", cluster])),
            ),
        }
    }
    for (name, key, arn) in arns {
        match arn {
            Ok(Some(arn)) => {
                facts.key_arns.insert(name.clone(), arn);
            }
            answer => problems.extend(missing(key, answer).map(|problem| problem.at(spec.source(&["keys", name])))),
        }
    }
    (facts, problems)
}

/// Returns the KMS key that encrypts a bucket.
fn key(encryption: &Encryption) -> Option<&String> {
    match encryption {
        Encryption::Kms(kms) => Some(&kms.kms_key),
        Encryption::Simple(_) => None,
    }
}

/// Returns the problem of a KMS key that was not found. A managed one is not a problem, because Bailiwick creates it.
fn missing(key: &KeySpec, answer: Result<Option<String>, SessionError>) -> Option<Diagnostic> {
    match answer {
        Ok(_) if key.managed => None,
        Ok(_) => Some(
            Diagnostic::new(
                Code::KeyNotFound,
                format!("there is no key `{}` in account `{}`", key.alias_name(), key.account),
            )
            .help("use an existing alias, or add `managed: true` so that Bailiwick creates the key"),
        ),
        Err(error) => Some(Diagnostic::new(Code::KeyUnreadable, error.to_string())),
    }
}
