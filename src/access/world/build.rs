//! Builds worlds from facets.

use std::collections::{BTreeMap, BTreeSet};

use super::nodes::{Held, PolicyHolder, WorldBucket, WorldKey, WorldRole};
use super::{Association, Pod, World, WorldCluster};
use crate::access::chain::kms_key;
use crate::access::cluster::ClusterAccess;
use crate::access::facet::{Carrier, Facet, PodBinding, PolicyText, ResourcePolicy, RoleRef};
use crate::access::index::Index;
use crate::access::roles::{role_key, roles};
use crate::access::terms::{PolicyOf, PolicyRef};
use crate::access::unread::Unread;
use crate::address::Address;
use crate::iam::{Check, Policy, PolicyKind, Subject, Version, lint};
use crate::spec::{Encryption, Facts, Identity, Manage, Management, Spec};

impl World {
    /// Builds the world of these objects. The spec provides what facets do not contain: clusters and their issuers,
    /// unmanaged objects, and the names by which commands refer to objects.
    #[must_use]
    pub fn new<'a>(spec: &Spec, facts: &Facts, facets: impl IntoIterator<Item = (&'a Address, Facet<'a>)>) -> Self {
        let facets: Vec<(&Address, Facet)> = facets.into_iter().collect();
        let mut world = Self::default();
        world.unmanaged(spec, facts);
        let policies: BTreeMap<&str, Policy> = facets
            .iter()
            .filter_map(|(_, facet)| match facet {
                Facet::ManagedPolicy { arn, document } => Some((*arn, document.and_then(PolicyText::parse)?)),
                _ => None,
            })
            .collect();
        let arns = world.add_roles(&facets, &policies);
        let mut documents = Vec::new();
        for (address, facet) in facets {
            match facet {
                Facet::None | Facet::Role { .. } | Facet::ManagedPolicy { .. } => {}
                Facet::ClusterAccess(ClusterAccess { cluster, principal, rights }) => {
                    world.cluster_rights.entry((cluster, principal)).or_default().extend(rights);
                }
                Facet::InlinePolicy { role, name, document } => {
                    let role = arns.get(&role).and_then(|arn| world.roles.get_mut(arn));
                    if let Some(role) = role {
                        role.inline(address, name, document);
                    }
                }
                Facet::Attachment { role, policy: arn } => {
                    let role = arns.get(&role).and_then(|arn| world.roles.get_mut(arn));
                    if let Some(role) = role {
                        role.attach(address, &arn, policies.get(arn.as_str()));
                    }
                }
                Facet::Resource(policy) => documents.push((address, policy)),
                Facet::Provider { account, host, .. } => {
                    world.providers.insert((account, host));
                }
                Facet::PodBinding(binding) => world.bind(binding),
                Facet::ServiceAccount { cluster, namespace, name, role } => {
                    let pod = Pod { cluster: cluster.to_owned(), namespace, name };
                    let ways = world.pods.entry(pod).or_default();
                    (ways.annotation, ways.assumed) = (role, false);
                }
                Facet::Bucket { name, arn, account, blocked } => {
                    let entry = address.name();
                    let encryption = spec.buckets.get(entry).and_then(|bucket| bucket.encryption.as_ref());
                    let bucket = WorldBucket { blocked, ..WorldBucket::new(name, entry, arn, account, encryption) };
                    world.buckets.insert(name.to_owned(), bucket);
                }
            }
        }
        // The resources that carry the policies are complete now.
        for (address, policy) in documents {
            world.document(address, &policy);
        }
        world.index();
        world
    }

    /// Adds roles with their trust policies and boundaries, and returns their ARNs.
    fn add_roles(
        &mut self,
        facets: &[(&Address, Facet<'_>)],
        policies: &BTreeMap<&str, Policy>,
    ) -> BTreeMap<RoleRef, String> {
        let mut arns = BTreeMap::new();
        for (address, facet) in facets {
            if let Facet::Role { arn, role: name, trust, boundary } = facet {
                arns.insert(name.clone(), arn.clone());
                let role = WorldRole::new(address, arn, name, trust.and_then(PolicyText::parse));
                self.roles.insert(arn.clone(), role.bounded(boundary.as_deref(), policies));
            }
        }
        arns
    }

    /// Builds the live world. `read` are the objects just read. `stored` are objects from the state that were not read
    /// and may still exist. The documents of any object not in `read` are treated as unread.
    #[must_use]
    pub fn live<'a>(
        spec: &Spec,
        facts: &Facts,
        read: impl IntoIterator<Item = (&'a Address, Facet<'a>)>,
        stored: impl IntoIterator<Item = (&'a Address, Facet<'a>)>,
    ) -> Self {
        let read: Vec<(&Address, Facet)> = read.into_iter().collect();
        let (mut roles, mut carriers, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (address, facet) in &read {
            match facet {
                Facet::Role { arn, .. } => {
                    roles.insert(arn.clone());
                }
                Facet::Resource(policy) => {
                    carriers.insert((policy.account.clone(), policy.on.to_string()));
                    // An alias identifies a key within one region only, so the key's entry in the spec is needed too.
                    keys.insert((address.name().to_owned(), policy.account.clone(), policy.on.to_string()));
                }
                _ => {}
            }
        }
        // `read` comes last, so that it overrides `stored` for the same object.
        let mut world = Self::new(spec, facts, stored.into_iter().chain(read));
        for role in world.roles.values_mut().filter(|role| !roles.contains(&role.arn)) {
            // The stored policies may be out of date, and the live ones may deny what the stored ones allow.
            (role.trust, role.identity, role.boundary) = (None, Vec::new(), Vec::new());
            role.unknown.insert(Unread::RolePolicies { role: role.name.clone() });
        }
        let is_read = |account: &str, on: &Carrier| carriers.contains(&(account.to_owned(), on.to_string()));
        for bucket in world.buckets.values_mut().filter(|b| !is_read(&b.account, &Carrier::Bucket(&b.name))) {
            (bucket.policy, bucket.public) = (None, false);
        }
        for (name, key) in &mut world.keys {
            key.whole = keys.contains(&(name.clone(), key.account.clone(), Carrier::Key(&key.alias).to_string()));
            if !key.whole {
                key.policy = Policy::new(Version::V2012, []);
            }
        }
        world.resources.retain(|arn, resource| is_read(&resource.account, &Carrier::Other(arn.clone())));
        world.index();
        world
    }

    /// Rebuilds the index of the world.
    pub(super) fn index(&mut self) {
        self.index = Index::new(&self.roles, &self.buckets, &self.keys, &self.resources);
        for (pod, ways) in &self.pods {
            let association = ways.association.iter().flat_map(|a| std::iter::once(&a.role).chain(&a.target));
            for role in ways.annotation.iter().chain(association) {
                self.index.behind(role, &pod.cluster);
            }
        }
    }

    /// Records the policy of a resource.
    fn document(&mut self, address: &Address, policy: &ResourcePolicy<'_>) {
        match &policy.on {
            Carrier::Bucket(name) => {
                if let Some(bucket) = self.buckets.get_mut(*name) {
                    let policy = policy.whole();
                    bucket.public = is_public(&policy, bucket);
                    bucket.policy = Some(policy);
                    bucket.policy_address = Some(address.to_string());
                }
            }
            Carrier::Key(alias) => {
                // A deposed object at this address may have another alias.
                let key = self.keys.get_mut(address.name());
                if let Some(key) = key.filter(|key| key.alias == *alias && key.account == policy.account) {
                    key.policy = policy.whole();
                    key.whole = policy.others.is_some();
                    key.policy_address = Some(address.to_string());
                }
            }
            Carrier::Other(arn) => {
                let resource = PolicyHolder {
                    arn: arn.clone(),
                    account: policy.account.clone(),
                    policy: policy.whole(),
                    address: address.to_string(),
                };
                self.resources.insert(arn.clone(), resource);
            }
        }
    }

    /// Records an EKS Pod Identity association. The spec may have a key for its cluster.
    fn bind(&mut self, binding: PodBinding) {
        let PodBinding { account, cluster: name, namespace, service_account, role, target, tagged } = binding;
        let suffix = format!(":cluster/{name}");
        let cluster = self
            .clusters
            .iter()
            .find(|(_, c)| c.account == account && c.arn.ends_with(&suffix))
            .map_or(name, |(key, _)| key.clone());
        let pod = Pod { cluster, namespace, name: service_account };
        self.pods.entry(pod).or_default().association = Some(Association { role, target, tagged });
    }

    /// Adds what only the spec knows: accounts, clusters, and unmanaged objects.
    fn unmanaged(&mut self, spec: &Spec, facts: &Facts) {
        self.accounts = spec.accounts.iter().map(|(key, account)| (account.id.0.clone(), key.clone())).collect();
        for (key, cluster) in &spec.clusters {
            let cluster = WorldCluster {
                arn: spec.cluster_arn(cluster),
                account: spec.account_id(&cluster.account).0,
                host: facts.issuer_host(key).map(str::to_owned),
                provided: cluster.oidc_provider == Management::Existing,
            };
            self.clusters.insert(key.clone(), cluster);
        }
        for (key, bucket) in spec.buckets.iter().filter(|(_, b)| !b.managed) {
            let (arn, account) = (bucket.arn(spec), spec.account_id(&bucket.account).0);
            let entry = WorldBucket::new(&bucket.name, key, arn, account, bucket.encryption.as_ref());
            let entry = WorldBucket { policy: None, ..entry };
            self.buckets.insert(bucket.name.clone(), entry);
        }
        let roles = roles(spec);
        for (key, role) in roles.iter().filter(|(_, role)| !role.managed) {
            let entry = WorldRole {
                arn: role.arn.clone(),
                account: spec.account_id(&role.account).0,
                name: role.name.clone(),
                key: key.clone(),
                address: None,
                trust: None,
                identity: Vec::new(),
                boundary: Vec::new(),
                unknown: BTreeSet::from([Unread::RolePolicies { role: role.name.clone() }]),
            };
            self.roles.insert(role.arn.clone(), entry);
        }
        for (name, key) in &spec.keys {
            self.keys.insert(name.clone(), self::key(spec, facts, name, key));
        }
        for (key, account) in &spec.service_accounts {
            let pod = Pod {
                cluster: account.cluster.clone(),
                namespace: account.namespace.clone(),
                name: account.name.clone(),
            };
            // A finding asks the manager of the object to annotate it.
            let role = roles.get(role_key(spec, key));
            if let (Manage::None, Identity::Irsa, Some(role)) = (account.manage, account.identity(spec), role) {
                let ways = self.pods.entry(pod.clone()).or_default();
                (ways.annotation, ways.assumed) = (Some(role.arn.clone()), true);
            }
            self.names.insert(pod, key.clone());
        }
    }
}

fn key(spec: &Spec, facts: &Facts, name: &str, key: &crate::spec::KeySpec) -> WorldKey {
    let region = key.region(spec);
    let account = spec.account_id(&key.account).0;
    let made = || format!("arn:{}:kms:{region}:{account}:key/{name}", region.partition());
    WorldKey {
        arn: facts.key_arns.get(name).cloned().unwrap_or_else(made),
        alias: key.alias_name(),
        policy: Policy::new(Version::V2012, []),
        policy_address: None,
        whole: false,
        account,
        region,
    }
}

/// Whether S3 would classify the policy as public.
fn is_public(policy: &Policy, bucket: &WorldBucket) -> bool {
    if policy.is_empty() {
        return false;
    }
    let subject = Subject { bucket: Some(&bucket.name), ..Subject::of(PolicyKind::Bucket) };
    lint(&policy.to_string(), &subject).iter().any(|finding| finding.check == Check::ResourcePublic)
}

impl WorldBucket {
    /// A bucket without a policy. `entry` is its key in the spec.
    fn new(name: &str, entry: &str, arn: String, account: String, encryption: Option<&Encryption>) -> Self {
        Self {
            name: name.to_owned(),
            entry: entry.to_owned(),
            arn,
            account,
            policy: Some(Policy::new(Version::V2012, [])),
            policy_address: None,
            blocked: false,
            key: kms_key(encryption),
            public: false,
        }
    }
}

impl WorldRole {
    fn new(address: &Address, arn: &str, role: &RoleRef, trust: Option<Policy>) -> Self {
        let RoleRef { account, name } = role.clone();
        Self {
            arn: arn.to_owned(),
            account,
            name,
            key: address.name().to_owned(),
            address: Some(address.to_string()),
            trust,
            identity: Vec::new(),
            boundary: Vec::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// The same role under a permissions boundary.
    fn bounded(mut self, boundary: Option<&str>, policies: &BTreeMap<&str, Policy>) -> Self {
        let Some(arn) = boundary else { return self };
        match policies.get(arn) {
            Some(policy) => {
                let label = PolicyRef::from(PolicyOf::Boundary { arn: Some(arn.to_owned()) }).label();
                self.boundary = vec![Held { label, policy: policy.clone() }];
            }
            None => {
                self.unknown.insert(Unread::Boundary { arn: arn.to_owned() });
            }
        }
        self
    }

    /// Adds an inline policy to the role.
    fn inline(&mut self, address: &Address, name: String, document: Option<PolicyText<'_>>) {
        match document.and_then(PolicyText::parse) {
            Some(policy) => {
                let label = PolicyRef::from(PolicyOf::Inline { name }).at(Some(address.to_string())).label();
                self.identity.push(Held { label, policy });
            }
            None => {
                self.unknown.insert(Unread::RolePolicies { role: self.name.clone() });
            }
        }
    }

    /// Adds a managed policy to the role. Its contents may be unread.
    fn attach(&mut self, address: &Address, arn: &str, policy: Option<&Policy>) {
        match policy {
            Some(policy) => {
                let of = PolicyOf::Managed { arn: arn.to_owned() };
                let label = PolicyRef::from(of).at(Some(address.to_string())).label();
                self.identity.push(Held { label, policy: policy.clone() });
            }
            None => {
                self.unknown.insert(Unread::ManagedPolicy { arn: arn.to_owned() });
            }
        }
    }
}
