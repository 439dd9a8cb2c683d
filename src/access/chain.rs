//! Lowers grants to chains: the pod's identity, its role, and the data.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::roles::{ResolvedRole, role_key, roles, target_key};
use crate::spec::{Access, Encryption, Identity, Mode, Spec};

/// One grant, resolved: the pod's identity, its role, and the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// The grant's index in the spec's list.
    pub grant: usize,
    /// The service account's key.
    pub service_account: String,
    /// How the pods get credentials.
    pub identity: Identity,
    /// The role that the pods get, by its key in [`Chains::roles`].
    pub role: String,
    /// The role in the bucket's account that the pod's role assumes, by its key in [`Chains::roles`].
    pub target: Option<String>,
    /// The bucket's key.
    pub bucket: String,
    /// The granted prefix: all keys that start with it.
    pub prefix: String,
    /// The granted access.
    pub access: Access,
    /// Whether `HeadBucket` is granted too.
    pub head_bucket: bool,
    /// The KMS key that the bucket's objects are encrypted with, by its key.
    pub key: Option<String>,
    /// Whether the bucket policy must name the role.
    pub bucket_statement: bool,
}

impl Chain {
    /// The role that accesses the data: the target if there is one.
    #[must_use]
    pub fn data_role(&self) -> &str {
        self.target.as_deref().unwrap_or(&self.role)
    }
}

/// The resolved grants of a spec, and the roles that they use. Each side of a chain is derived without scanning other
/// chains, so that the work for a project grows linearly with its size.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    chains: Vec<Chain>,
    roles: BTreeMap<String, ResolvedRole>,
    /// Role keys by ARN.
    arns: HashMap<String, String>,
    by_role: HashMap<String, Vec<usize>>,
    by_bucket: HashMap<String, Vec<usize>>,
    by_key: HashMap<String, Vec<usize>>,
}

impl Chains {
    fn new(roles: BTreeMap<String, ResolvedRole>, chains: Vec<Chain>) -> Self {
        let mut found = Self {
            arns: roles.iter().map(|(key, role)| (role.arn.clone(), key.clone())).collect(),
            roles,
            ..Self::default()
        };
        for (n, chain) in chains.iter().enumerate() {
            found.by_role.entry(chain.role.clone()).or_default().push(n);
            if let Some(target) = &chain.target {
                found.by_role.entry(target.clone()).or_default().push(n);
            }
            found.by_bucket.entry(chain.bucket.clone()).or_default().push(n);
            if let Some(key) = &chain.key {
                found.by_key.entry(key.clone()).or_default().push(n);
            }
        }
        Self { chains, ..found }
    }

    fn pick<'a>(&'a self, index: &'a HashMap<String, Vec<usize>>, key: &str) -> impl Iterator<Item = &'a Chain> {
        index.get(key).into_iter().flatten().filter_map(|n| self.chains.get(*n))
    }

    /// Every chain, in the order of the grants.
    #[must_use]
    pub fn all(&self) -> &[Chain] {
        &self.chains
    }

    /// The chains that use a role, by its key.
    pub fn through(&self, role: &str) -> impl Iterator<Item = &Chain> {
        self.pick(&self.by_role, role)
    }

    /// The chains that lead to a bucket, by its key.
    pub fn to_bucket(&self, bucket: &str) -> impl Iterator<Item = &Chain> {
        self.pick(&self.by_bucket, bucket)
    }

    /// The chains that need a KMS key, by its key in the spec.
    pub fn with_key(&self, key: &str) -> impl Iterator<Item = &Chain> {
        self.pick(&self.by_key, key)
    }

    /// Every role that the spec refers to, by key.
    #[must_use]
    pub fn roles(&self) -> &BTreeMap<String, ResolvedRole> {
        &self.roles
    }

    /// The role with this ARN, and its key.
    #[must_use]
    pub fn role_named(&self, arn: &str) -> Option<(&str, &ResolvedRole)> {
        self.roles.get_key_value(self.arns.get(arn)?).map(|(key, role)| (key.as_str(), role))
    }
}

/// Resolves every grant. It skips a grant with a dangling reference, which `spec::load` has reported.
#[must_use]
pub fn lower(spec: &Spec) -> Chains {
    let roles = roles(spec);
    let chains = spec
        .grants
        .iter()
        .enumerate()
        .filter_map(|(index, grant)| {
            let account = spec.service_accounts.get(&grant.to)?;
            let bucket = spec.buckets.get(&grant.bucket)?;
            let role = role_key(spec, &grant.to).to_owned();
            let target = (grant.mode == Mode::AssumeRole).then(|| target_key(&grant.to, &bucket.account));
            let data_role = roles.get(target.as_ref().unwrap_or(&role))?;
            let key = kms_key(bucket.encryption.as_ref());
            Some(Chain {
                grant: index,
                service_account: grant.to.clone(),
                identity: account.identity(spec),
                bucket_statement: data_role.account != bucket.account || bucket.same_account_statements,
                role,
                target,
                bucket: grant.bucket.clone(),
                prefix: grant.prefix().to_owned(),
                access: grant.access.clone(),
                head_bucket: grant.head_bucket,
                key,
            })
        })
        .collect();
    Chains::new(roles, chains)
}

/// The spec key of the KMS key that encrypts a bucket's new objects.
pub(super) fn kms_key(encryption: Option<&Encryption>) -> Option<String> {
    match encryption {
        Some(Encryption::Kms(kms)) => Some(kms.kms_key.clone()),
        _ => None,
    }
}
