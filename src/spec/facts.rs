//! The facts needed to compile a spec: literal values that no name determines.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Spec;
use crate::address::Scope;
use crate::document::Digest;

/// Facts read before planning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Facts {
    /// The OIDC issuer URL of each cluster, by the cluster's key.
    #[serde(default)]
    pub issuers: BTreeMap<String, String>,
    /// The ARN of each existing KMS key, by the key's key. A managed key that does not exist yet is absent.
    #[serde(default)]
    pub key_arns: BTreeMap<String, String>,
    /// The name of the caller, by the scope without its location; unknown callers are absent.
    #[serde(skip)]
    pub callers: BTreeMap<Scope, String>,
}

impl Facts {
    /// Adds the facts that another provider read.
    pub fn extend(&mut self, more: Self) {
        let Self { issuers, key_arns, callers } = more;
        self.issuers.extend(issuers);
        self.key_arns.extend(key_arns);
        self.callers.extend(callers);
    }

    /// Records the caller of a scope: the name by which the store knows it, such as an ARN.
    pub fn add_caller(&mut self, scope: &Scope, caller: impl Into<String>) {
        self.callers.insert(scope.everywhere(), caller.into());
    }

    /// The caller of a scope, if it is known.
    #[must_use]
    pub fn caller(&self, scope: &Scope) -> Option<&str> {
        self.callers.get(&scope.everywhere()).map(String::as_str)
    }

    /// Placeholders with the form and length of real values, to compile a spec offline. Different clusters and keys get
    /// different values, as in reality.
    #[must_use]
    pub fn placeholders(spec: &Spec) -> Self {
        let issuers = spec
            .clusters
            .iter()
            .map(|(key, cluster)| {
                let region = spec.cluster_region(cluster);
                (
                    key.clone(),
                    format!(
                        "https://oidc.eks.{region}.{}/id/EXAMPLE{}",
                        region.dns_suffix(),
                        Digest::of(spec.cluster_arn(cluster).as_bytes()).short(25).to_uppercase()
                    ),
                )
            })
            .collect();
        let key_arns = spec
            .keys
            .iter()
            .map(|(name, key)| {
                let region = key.region(spec);
                let id = spec.account_id(&key.account);
                (
                    name.clone(),
                    format!(
                        "arn:{}:kms:{region}:{id}:key/00000000-0000-0000-0000-{}",
                        region.partition(),
                        Digest::of(key.alias_name().as_bytes()).short(12)
                    ),
                )
            })
            .collect();
        Self { issuers, key_arns, callers: BTreeMap::new() }
    }

    /// The issuer of a cluster without its scheme, as trust policies and provider ARNs spell it.
    #[must_use]
    pub fn issuer_host(&self, cluster: &str) -> Option<&str> {
        self.issuers.get(cluster).map(|url| url.strip_prefix("https://").unwrap_or(url))
    }
}
