//! `aws.eks.access_entry`: the access of an IAM role or user to a cluster's Kubernetes API.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::access::{Chains, ClusterAccess, ClusterRight, Facet, Instance, is_session_of};
use crate::address::Scope;
use crate::iam::Arn;
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Release,
};
use crate::provider::aws::family::{EKS, regional_scopes};
use crate::provider::aws::iam::role::Role;
use crate::provider::aws::tags::desired_tags;
use crate::spec::{AccessPolicySpec, ClusterAccessSpec, Facts, Spec};

/// An EKS access entry. While it is desired, all its groups and policies are managed. An entry that predates the
/// project keeps them after it is removed from the spec, because its owner may need it to reach the cluster.
pub(crate) struct AccessEntry;

/// The entry type for people and programs. The other types are for nodes.
const STANDARD: &str = "STANDARD";

/// The body of an access entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccessEntryBody {
    /// The cluster's name in EKS.
    pub cluster: String,
    /// The ARN of the role or user.
    pub principal_arn: String,
    /// `STANDARD`, or a type for nodes.
    #[serde(rename = "type")]
    pub entry_type: String,
    /// The principal's username in Kubernetes, for role bindings and audit logs.
    pub username: String,
    /// Kubernetes groups, sorted by name.
    pub groups: Vec<String>,
    /// Access policies, sorted by ARN.
    pub policies: Vec<AccessPolicy>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The ARN of the entry, which is never reused. Never desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
}

/// An access policy of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AccessPolicy {
    /// The policy's ARN.
    pub policy_arn: String,
    /// The scope in which it applies.
    pub scope: AccessScope,
}

/// The scope of an access policy within a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccessScope {
    /// The whole cluster.
    Cluster,
    /// Some namespaces, sorted by name.
    Namespaces(BTreeSet<String>),
}

impl AccessPolicy {
    fn of(spec: &AccessPolicySpec, partition: &str) -> Self {
        let scope = match &spec.namespaces {
            None => AccessScope::Cluster,
            Some(namespaces) => AccessScope::Namespaces(namespaces.iter().cloned().collect()),
        };
        Self { policy_arn: spec.arn(partition), scope }
    }

    fn rights(self) -> Vec<ClusterRight> {
        let Self { policy_arn, scope } = self;
        let right = |namespace| ClusterRight::Policy { policy: policy_arn.clone(), namespace };
        match scope {
            AccessScope::Cluster => vec![right(None)],
            AccessScope::Namespaces(names) => names.into_iter().map(|name| right(Some(name))).collect(),
        }
    }
}

/// Returns the default username that EKS gives a principal in Kubernetes. It omits the path of a role.
///
/// Source: Amazon EKS User Guide, "Set a custom username for EKS access entries".
fn username(principal_arn: &str) -> String {
    let arn = principal_arn.parse::<Arn>().ok();
    let role = arn.as_ref().and_then(|arn| match arn.resource_type() {
        Some(("role", path)) => Some((arn, path.rsplit('/').next().unwrap_or(path))),
        _ => None,
    });
    role.map_or_else(
        || principal_arn.to_owned(),
        |(arn, role)| format!("arn:{}:sts::{}:assumed-role/{role}/{{{{SessionName}}}}", arn.partition, arn.account),
    )
}

/// Returns the key of an entry in its address: `prod/deployer`, or `prod/111111111111/role/deployer` for a principal
/// that is not under `roles`.
fn name(cluster: &str, entry: &ClusterAccessSpec, principal_arn: &str) -> String {
    match &entry.role {
        Some(role) => format!("{cluster}/{role}"),
        None => {
            let arn = principal_arn.parse::<Arn>().ok();
            let short = arn.map_or_else(|| principal_arn.to_owned(), |arn| format!("{}/{}", arn.account, arn.resource));
            format!("{cluster}/{short}")
        }
    }
}

/// Makes an object in a cluster depend on the access entry by which the caller reaches that cluster, if the spec has
/// one. The object is then created after the entry, and deleted before it.
pub(in crate::provider) fn reached_through<B>(
    resource: DesiredResource<B>,
    spec: &Spec,
    facts: &Facts,
    cluster: &str,
) -> DesiredResource<B> {
    match of_caller(spec, facts, cluster) {
        Some(name) => resource.after::<AccessEntry>(&name),
        None => resource,
    }
}

fn of_caller(spec: &Spec, facts: &Facts, cluster: &str) -> Option<String> {
    let entries = spec.clusters.get(cluster)?;
    let caller = facts.caller(&spec.account_scope(&entries.account))?;
    entries.access.iter().find_map(|entry| {
        let principal = entry.principal(spec)?;
        is_session_of(caller, &principal).then(|| name(cluster, entry, &principal))
    })
}

impl Kind for AccessEntry {
    const ABOUT: &'static About = &About {
        name: "aws.eks.access_entry",
        api: EKS,
        home: Home::Location,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Tags,
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::Fail,
        release: Release::Forget,
        presence: FieldClass::Access,
        fields: &[
            BodyField::access("cluster").fixed(),
            BodyField::access("principal_arn").fixed(),
            BodyField::access("type").fixed(),
            BodyField::access("username"),
            BodyField::access("groups"),
            BodyField::access("policies"),
            BodyField::cosmetic("tags"),
            BodyField::access("unique_id").read_only(),
        ],
    };
    type Body = AccessEntryBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        regional_scopes(spec)
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        let field = |name| object.body.field::<String>(name).unwrap_or_default();
        let groups: Vec<String> = object.body.field("groups").unwrap_or_default();
        let policies: Vec<AccessPolicy> = object.body.field("policies").unwrap_or_default();
        let rights = std::iter::once(ClusterRight::Username { username: field("username") })
            .chain(groups.into_iter().map(|group| ClusterRight::Group { group }))
            .chain(policies.into_iter().flat_map(AccessPolicy::rights));
        Facet::ClusterAccess(ClusterAccess {
            cluster: field("cluster"),
            principal: field("principal_arn"),
            rights: rights.collect(),
        })
    }

    fn desire(spec: &Spec, _facts: &Facts, _chains: &Chains, resources: &mut DesiredResources<AccessEntryBody>) {
        for (key, cluster) in &spec.clusters {
            let region = spec.cluster_region(cluster);
            for (n, entry) in cluster.access.iter().enumerate() {
                let Some(principal_arn) = entry.principal(spec) else { continue };
                let name = name(key, entry, &principal_arn);
                let groups: BTreeSet<&String> = entry.groups.iter().collect();
                let policies: BTreeSet<AccessPolicy> =
                    entry.policies.iter().map(|policy| AccessPolicy::of(policy, region.partition())).collect();
                let body = AccessEntryBody {
                    cluster: cluster.name.clone(),
                    entry_type: STANDARD.to_owned(),
                    username: username(&principal_arn),
                    groups: groups.into_iter().cloned().collect(),
                    policies: policies.into_iter().collect(),
                    tags: desired_tags(spec, Self::NAME, &name, &BTreeMap::new()),
                    unique_id: None,
                    principal_arn,
                };
                let physical_id = format!("{}/{}", body.cluster, body.principal_arn);
                let scope = spec.regional_scope(&cluster.account, region.clone());
                let mut resource = DesiredResource::new(name, scope, physical_id, body).at(spec.source(&[
                    "clusters",
                    key,
                    "access",
                    &n.to_string(),
                ]));
                if let Some(role) = entry.role.as_ref().filter(|role| spec.roles.get(*role).is_some_and(|r| r.managed))
                {
                    resource = resource.after::<Role>(role);
                }
                resources.add(resource);
            }
        }
    }
}

#[cfg(feature = "cloud")]
mod live {
    use std::collections::BTreeMap;

    use aws_sdk_eks::Client;
    use aws_sdk_eks::types::{
        AccessEntry as Found, AccessScope as FoundScope, AccessScopeType, AssociatedAccessPolicy, AuthenticationMode,
    };

    use super::{AccessEntry, AccessEntryBody, AccessPolicy, AccessScope};
    use crate::address::Scope;
    use crate::kind::{Action, Kind as _, Tagged};
    use crate::live::{ADOPT, Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::eks::client::client;
    use crate::provider::aws::eks::cluster::clusters_of;
    use crate::provider::aws::eks::tags::{tag, untag};
    use crate::provider::aws::errors::{code, read_error, removed, write_error};
    use crate::provider::aws::tags::{PROJECT_TAG, ownership_tags, tag_changes, tagged_by};
    use crate::session::Session;

    const NOT_FOUND: Option<&str> = Some("ResourceNotFoundException");

    impl Live for AccessEntry {
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let eks = client(cloud, scope).await?;
            let mut found = Vec::new();
            for cluster in &clusters_of(cloud, scope) {
                for principal in principals(&eks, cluster).await? {
                    let id = format!("{cluster}/{principal}");
                    let Some(entry) = describe(&eks, &id).await? else { continue };
                    let tags = tags_of(&entry);
                    found.extend(tagged_by(&tags, cloud.project(), Self::NAME, scope, &id));
                }
            }
            Ok(found)
        }

        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<AccessEntryBody>, ReadError> {
            let eks = client(cloud, scope).await?;
            let eks = &eks;
            Ok(each(targets, |target| async move {
                Ok(find(eks, &target.physical_id).await?.map_or(Observed::Absent, present))
            })
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<AccessEntryBody>,
        ) -> Result<(), WriteError> {
            let eks = client(cloud, scope).await?;
            let id = target.physical_id.as_str();
            match action {
                Action::Create { after } => create(&eks, id, after).await,
                // EKS stores the unique id of the role in the entry. After the role is recreated, its entry no longer
                // works, although no field differs.
                Action::Update { after, changed, .. } if changed.iter().any(|path| path.field().is_empty()) => {
                    delete(&eks, id).await?;
                    create(&eks, id, after).await
                }
                Action::Update { before, after, .. } => update(&eks, id, before, after).await,
                Action::Release { before } => remove_tags(&eks, id, ownership_tags(&before.tags)).await,
                Action::Delete { .. } => delete(&eks, id).await,
            }
        }
    }

    /// Splits a physical id into cluster and principal.
    fn parts(id: &str) -> (&str, &str) {
        id.split_once('/').unwrap_or((id, ""))
    }

    /// Lists the principals that have an entry in a cluster.
    async fn principals(eks: &Client, cluster: &str) -> Result<Vec<String>, ReadError> {
        let mut pages = eks.list_access_entries().cluster_name(cluster).into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(principal) = pages.next().await {
            match principal {
                Ok(principal) => found.push(principal),
                // The project has no entries in a cluster that does not exist or does not support them.
                Err(error) if code(&error) == NOT_FOUND => return Ok(Vec::new()),
                Err(error) if code(&error) == Some("InvalidRequestException") && !has_entries(eks, cluster).await? => {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(read_error(format!("access entries of cluster `{cluster}`"), &error)),
            }
        }
        Ok(found)
    }

    /// Whether a cluster supports access entries.
    async fn has_entries(eks: &Client, cluster: &str) -> Result<bool, ReadError> {
        let what = || format!("cluster `{cluster}`");
        let answer = eks.describe_cluster().name(cluster).send().await.map_err(|error| match code(&error) {
            NOT_FOUND => {
                ReadError::Failed { what: what(), why: "the cluster does not exist in this account and region".into() }
            }
            _ => read_error(what(), &error),
        })?;
        let config = answer.cluster().and_then(|cluster| cluster.access_config());
        let mode = config.and_then(|config| config.authentication_mode());
        Ok(mode != Some(&AuthenticationMode::ConfigMap))
    }

    /// Reads the entry, or `None` if the cluster has none for the principal. A cluster that does not exist, or does not
    /// support access entries, is an error.
    async fn describe(eks: &Client, id: &str) -> Result<Option<Found>, ReadError> {
        let what = || format!("access entry `{id}`");
        let (cluster, principal) = parts(id);
        let error = match eks.describe_access_entry().cluster_name(cluster).principal_arn(principal).send().await {
            Ok(answer) => return Ok(answer.access_entry),
            Err(error) => error,
        };
        // EKS uses one code for a missing entry and a missing cluster, and one for all invalid states of a cluster.
        if !matches!(code(&error), NOT_FOUND | Some("InvalidRequestException")) {
            return Err(read_error(what(), &error));
        }
        match has_entries(eks, cluster).await? {
            true if code(&error) == NOT_FOUND => Ok(None),
            true => Err(read_error(what(), &error)),
            false => Err(ReadError::Failed {
                what: what(),
                why: format!(
                    "the authentication mode of cluster `{cluster}` is CONFIG_MAP, which has no access entries: run `aws eks \
                     update-cluster-config --name {cluster} --access-config authenticationMode=API_AND_CONFIG_MAP`, or \
                     remove `access` from the cluster in the spec"
                ),
            }),
        }
    }

    /// Reads the entry with its policies, or `None` if there is none.
    async fn find(eks: &Client, id: &str) -> Result<Option<(Found, Vec<AccessPolicy>)>, ReadError> {
        let Some(entry) = describe(eks, id).await? else { return Ok(None) };
        let (cluster, principal) = parts(id);
        let request = eks.list_associated_access_policies().cluster_name(cluster).principal_arn(principal);
        let mut pages = request.into_paginator().items().send();
        let mut policies = Vec::new();
        while let Some(policy) = pages.next().await {
            match policy {
                Ok(policy) => policies.push(access_policy(&policy)),
                // The entry was deleted between the two calls.
                Err(error) if code(&error) == NOT_FOUND => return Ok(None),
                Err(error) => return Err(read_error(format!("access policies of access entry `{id}`"), &error)),
            }
        }
        policies.sort();
        Ok(Some((entry, policies)))
    }

    fn access_policy(found: &AssociatedAccessPolicy) -> AccessPolicy {
        let scope = match found.access_scope() {
            Some(scope) if scope.r#type() == Some(&AccessScopeType::Namespace) => {
                AccessScope::Namespaces(scope.namespaces().iter().cloned().collect())
            }
            _ => AccessScope::Cluster,
        };
        AccessPolicy { policy_arn: found.policy_arn().unwrap_or_default().to_owned(), scope }
    }

    fn tags_of(entry: &Found) -> BTreeMap<String, String> {
        entry.tags().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn present((entry, policies): (Found, Vec<AccessPolicy>)) -> Observed<AccessEntryBody> {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let mut groups = entry.kubernetes_groups().to_vec();
        groups.sort();
        let body = AccessEntryBody {
            cluster: text(entry.cluster_name()),
            principal_arn: text(entry.principal_arn()),
            entry_type: text(entry.r#type()),
            username: text(entry.username()),
            groups,
            policies,
            tags: tags_of(&entry),
            unique_id: entry.access_entry_arn().map(ToOwned::to_owned),
        };
        Observed::Present { owner: body.tags.get(PROJECT_TAG).cloned(), body }
    }

    /// Creates the entry and associates its policies. An existing entry with the project's ownership tags comes from an
    /// earlier attempt.
    async fn create(eks: &Client, id: &str, entry: &AccessEntryBody) -> Result<(), WriteError> {
        let what = || format!("create access entry `{id}`");
        let sent = eks
            .create_access_entry()
            .cluster_name(&entry.cluster)
            .principal_arn(&entry.principal_arn)
            .r#type(&entry.entry_type)
            .username(&entry.username)
            .set_kubernetes_groups(Some(entry.groups.clone()))
            .set_tags(Some(entry.tags.clone().into_iter().collect()))
            .send()
            .await;
        let Err(error) = sent else { return associate(eks, id, &[], &entry.policies).await };
        if code(&error) != Some("ResourceInUseException") {
            return Err(write_error(what(), &error));
        }
        let Some((found, policies)) = find(eks, id).await? else { return Err(write_error(what(), &error)) };
        let Observed::Present { body: found, owner } = present((found, policies)) else { return Ok(()) };
        if owner.as_ref() != entry.tags.get(PROJECT_TAG) {
            return Err(WriteError::Conflict {
                what: what(),
                holder: owner.map_or_else(|| "an entry of others".into(), |project| format!("project `{project}`")),
                why: "it was created after the plan".into(),
                help: Some(ADOPT),
            });
        }
        // Keep the tags of others.
        let tags = found.tags.into_iter().filter(|(key, _)| entry.tags.contains_key(key)).collect();
        update(eks, id, &AccessEntryBody { tags, ..found }, entry).await
    }

    /// Writes the differences: additions first, then removals.
    async fn update(
        eks: &Client,
        id: &str,
        before: &AccessEntryBody,
        after: &AccessEntryBody,
    ) -> Result<(), WriteError> {
        let (cluster, principal) = parts(id);
        if before.username != after.username || before.groups != after.groups {
            eks.update_access_entry()
                .cluster_name(cluster)
                .principal_arn(principal)
                .username(&after.username)
                .set_kubernetes_groups(Some(after.groups.clone()))
                .send()
                .await
                .map_err(|e| write_error(format!("update access entry `{id}`"), &e))?;
        }
        associate(eks, id, &before.policies, &after.policies).await?;
        let (set, remove) = tag_changes(&before.tags, &after.tags);
        if !set.is_empty() {
            let arn = arn(eks, id).await?.ok_or_else(|| WriteError::Changed {
                what: format!("tag access entry `{id}`"),
                why: "it was deleted after the plan was created".into(),
            })?;
            tag(eks, &arn, set, &format!("tag access entry `{id}`")).await?;
        }
        remove_tags(eks, id, remove).await
    }

    /// Associates policies that are new or have another scope, and then removes those that are not desired. Associating
    /// a policy again changes its scope.
    async fn associate(
        eks: &Client,
        id: &str,
        before: &[AccessPolicy],
        after: &[AccessPolicy],
    ) -> Result<(), WriteError> {
        let (cluster, principal) = parts(id);
        for policy in after.iter().filter(|policy| !before.contains(policy)) {
            let scope = match &policy.scope {
                AccessScope::Cluster => FoundScope::builder().r#type(AccessScopeType::Cluster),
                AccessScope::Namespaces(names) => FoundScope::builder()
                    .r#type(AccessScopeType::Namespace)
                    .set_namespaces(Some(names.iter().cloned().collect())),
            };
            eks.associate_access_policy()
                .cluster_name(cluster)
                .principal_arn(principal)
                .policy_arn(&policy.policy_arn)
                .access_scope(scope.build())
                .send()
                .await
                .map_err(|e| write_error(format!("associate `{}` with access entry `{id}`", policy.policy_arn), &e))?;
        }
        let is_kept = |policy: &&AccessPolicy| after.iter().any(|kept| kept.policy_arn == policy.policy_arn);
        for policy in before.iter().filter(|policy| !is_kept(policy)) {
            let request = eks.disassociate_access_policy().cluster_name(cluster).principal_arn(principal);
            let what = format!("remove `{}` from access entry `{id}`", policy.policy_arn);
            removed(what, &["ResourceNotFoundException"], request.policy_arn(&policy.policy_arn).send().await)?;
        }
        Ok(())
    }

    async fn arn(eks: &Client, id: &str) -> Result<Option<String>, ReadError> {
        Ok(describe(eks, id).await?.and_then(|entry| entry.access_entry_arn))
    }

    async fn remove_tags(eks: &Client, id: &str, keys: Vec<String>) -> Result<(), WriteError> {
        if keys.is_empty() {
            return Ok(());
        }
        let Some(arn) = arn(eks, id).await? else { return Ok(()) };
        untag(eks, &arn, keys, &format!("untag access entry `{id}`")).await
    }

    async fn delete(eks: &Client, id: &str) -> Result<(), WriteError> {
        let (cluster, principal) = parts(id);
        removed(
            format!("delete access entry `{id}`"),
            &["ResourceNotFoundException"],
            eks.delete_access_entry().cluster_name(cluster).principal_arn(principal).send().await,
        )
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::address::Address;
        use crate::provider::recorded::{Exchange, Recorded, paged, scope};

        const ENTRY: &str = "/clusters/prod-eks/access-entries/arn%3Aaws%3Aiam%3A%3A111111111111%3Arole%2Fdeployer";
        const ID: &str = "prod-eks/arn:aws:iam::111111111111:role/deployer";
        const DESCRIBED: Exchange = (
            "GET /clusters/prod-eks/access-entries/arn%3Aaws%3Aiam%3A%3A111111111111%3Arole%2Fdeployer HTTP",
            200,
            r#"{"accessEntry":{"clusterName":"prod-eks","principalArn":"arn:aws:iam::111111111111:role/deployer",
            "kubernetesGroups":["writers","readers"],"username":"u","type":"STANDARD",
            "accessEntryArn":"arn:aws:eks:us-east-1:111111111111:access-entry/prod-eks/role/111111111111/deployer/e1",
            "tags":{"bailiwick:project":"p","team":"ml"}}}"#,
        );
        const POLICIES: Exchange = (
            "/access-policies HTTP",
            200,
            r#"{"associatedAccessPolicies":[{"policyArn":"arn:aws:eks::aws:cluster-access-policy/B","accessScope":{"type":"cluster"}},
            {"policyArn":"arn:aws:eks::aws:cluster-access-policy/A","accessScope":{"type":"namespace","namespaces":["n2","n1"]}}]}"#,
        );
        const MISSING: (u16, &str) = (404, r#"{"__type":"ResourceNotFoundException","message":"not found"}"#);
        const CLUSTER: Exchange = (
            "GET /clusters/prod-eks HTTP",
            200,
            r#"{"cluster":{"name":"prod-eks","accessConfig":{"authenticationMode":"API"}}}"#,
        );
        const DONE: &str = r#"{"accessEntry":{}}"#;

        fn policy(name: &str, namespaces: &[&str]) -> AccessPolicy {
            let scope = if namespaces.is_empty() {
                AccessScope::Cluster
            } else {
                AccessScope::Namespaces(namespaces.iter().map(|n| (*n).to_owned()).collect())
            };
            AccessPolicy { policy_arn: format!("arn:aws:eks::aws:cluster-access-policy/{name}"), scope }
        }

        fn wanted() -> AccessEntryBody {
            AccessEntryBody {
                cluster: "prod-eks".into(),
                principal_arn: "arn:aws:iam::111111111111:role/deployer".into(),
                entry_type: "STANDARD".into(),
                username: "u".into(),
                groups: vec!["readers".into(), "writers".into()],
                policies: vec![policy("A", &["n1", "n2"]), policy("B", &[])],
                tags: [(PROJECT_TAG.to_owned(), "p".to_owned())].into(),
                unique_id: None,
            }
        }

        fn target() -> Target {
            Target::new(Address::new(AccessEntry::NAME, "prod/deployer"), ID)
        }

        /// Formats method, path and body of each request, with ENTRY in place of the path of the entry.
        fn lines(server: &Recorded) -> Vec<String> {
            crate::provider::recorded::lines(&server.requests())
                .iter()
                .map(|line| line.replacen(ENTRY, "ENTRY", 1))
                .collect()
        }

        async fn observe(exchanges: &[Exchange]) -> (Result<Observed<AccessEntryBody>, ReadError>, Vec<String>) {
            let server = Recorded::start(exchanges).await;
            let mut answers = AccessEntry::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            (answers.pop().unwrap(), lines(&server))
        }

        async fn write(
            exchanges: &[Exchange],
            action: Action<AccessEntryBody>,
        ) -> (Result<(), WriteError>, Vec<String>) {
            let server = Recorded::start(exchanges).await;
            let done = AccessEntry::write(&server.session(), &scope(), &target(), &action).await;
            (done, lines(&server))
        }

        #[tokio::test]
        async fn an_entry_is_read_with_all_pages_of_its_policies_in_order() {
            let mut body = wanted();
            body.tags.insert("team".into(), "ml".into());
            body.unique_id =
                Some("arn:aws:eks:us-east-1:111111111111:access-entry/prod-eks/role/111111111111/deployer/e1".into());
            let present = Ok(Observed::Present { body, owner: Some("p".into()) });
            assert_eq!(observe(&[DESCRIBED, POLICIES]).await.0, present);
            let pages: [&[&str]; 3] = [&["B"], &[], &["A"]];
            let mut list = paged("/access-policies HTTP", "policies", &pages, |names, next| {
                let scope = |name: &str| match name {
                    "A" => r#"{"type":"namespace","namespaces":["n2","n1"]}"#,
                    _ => r#"{"type":"cluster"}"#,
                };
                let entry = |name: &&str| {
                    let arn = format!("arn:aws:eks::aws:cluster-access-policy/{name}");
                    format!(r#"{{"policyArn":"{arn}","accessScope":{}}}"#, scope(name))
                };
                let entries: Vec<String> = names.iter().map(entry).collect();
                let next = next.map(|token| format!(r#","nextToken":"{token}""#)).unwrap_or_default();
                format!(r#"{{"associatedAccessPolicies":[{}]{next}}}"#, entries.join(","))
            });
            list.push(DESCRIBED);
            assert_eq!(observe(&list).await.0, present);
        }

        #[tokio::test]
        async fn tagged_entries_are_found_on_every_page() {
            let pages: [&[&str]; 3] = [&["a"], &[], &["b", "gone"]];
            let mut list = paged("GET /clusters/prod-eks/access-entries HTTP", "entries", &pages, |names, next| {
                let arns: Vec<String> =
                    names.iter().map(|name| format!(r#""arn:aws:iam::111111111111:role/{name}""#)).collect();
                let next = next.map(|token| format!(r#","nextToken":"{token}""#)).unwrap_or_default();
                format!(r#"{{"accessEntries":[{}]{next}}}"#, arns.join(","))
            });
            let tagged = r#"{"accessEntry":{"tags":{"bailiwick:project":"p"}}}"#;
            list.extend([("role%2Fgone HTTP", MISSING.0, MISSING.1), CLUSTER, ("access-entries/arn", 200, tagged)]);
            let server = Recorded::start(&list).await;
            let session = server.session();
            let mut found = principals(&client(&session, &scope()).await.unwrap(), "prod-eks").await.unwrap();
            found.sort();
            assert_eq!(found, ["a", "b", "gone"].map(|name| format!("arn:aws:iam::111111111111:role/{name}")));
        }

        #[tokio::test]
        async fn a_missing_entry_is_absent_and_everything_else_is_not() {
            let absent = ("access-entries/arn", MISSING.0, MISSING.1);
            assert_eq!(observe(&[absent, CLUSTER]).await.0, Ok(Observed::Absent));
            let no_cluster = ("GET /clusters/prod-eks HTTP", MISSING.0, MISSING.1);
            let (seen, _) = observe(&[absent, no_cluster]).await;
            assert_eq!(
                seen,
                Err(ReadError::Failed {
                    what: "cluster `prod-eks`".into(),
                    why: "the cluster does not exist in this account and region".into()
                })
            );
            let denied = ("GET /clusters/", 403, r#"{"__type":"AccessDeniedException","message":"no"}"#);
            let what = || format!("access entry `{ID}`");
            let why = "AccessDeniedException: no".to_owned();
            assert_eq!(observe(&[denied]).await.0, Err(ReadError::Denied { what: what(), why: why.clone() }));
            let no_policies = ("/access-policies", 403, r#"{"__type":"AccessDeniedException","message":"no"}"#);
            let what = format!("access policies of access entry `{ID}`");
            assert_eq!(observe(&[no_policies, DESCRIBED]).await.0, Err(ReadError::Denied { what, why }));
        }

        #[tokio::test]
        async fn cluster_without_access_entry_support_is_an_error_with_advice() {
            let refused = (
                "access-entries/arn",
                400,
                r#"{"__type":"InvalidRequestException","message":"The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation."}"#,
            );
            let old = (
                "GET /clusters/prod-eks HTTP",
                200,
                r#"{"cluster":{"accessConfig":{"authenticationMode":"CONFIG_MAP"}}}"#,
            );
            let (seen, _) = observe(&[refused, old]).await;
            assert_eq!(
                seen.unwrap_err().to_string(),
                format!(
                    "cannot read access entry `{ID}`: the authentication mode of cluster `prod-eks` is CONFIG_MAP, which has no access \
                     entries: run `aws eks update-cluster-config --name prod-eks --access-config \
                     authenticationMode=API_AND_CONFIG_MAP`, or remove `access` from the cluster in the spec"
                )
            );
        }

        #[tokio::test]
        async fn create_makes_the_entry_and_then_associates_its_policies() {
            let created = ("POST /clusters/prod-eks/access-entries HTTP", 200, DONE);
            let (done, requests) =
                write(&[created, ("/access-policies HTTP", 200, "{}")], Action::Create { after: wanted() }).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    concat!(
                        r#"POST /clusters/prod-eks/access-entries {"clientRequestToken":"T","kubernetesGroups":["readers","writers"],"#,
                        r#""principalArn":"arn:aws:iam::111111111111:role/deployer","tags":{"bailiwick:project":"p"},"#,
                        r#""type":"STANDARD","username":"u"}"#
                    ),
                    concat!(
                        r#"POST ENTRY/access-policies {"accessScope":{"type":"namespace","namespaces":["n1","n2"]},"#,
                        r#""policyArn":"arn:aws:eks::aws:cluster-access-policy/A"}"#
                    ),
                    concat!(
                        r#"POST ENTRY/access-policies {"accessScope":{"type":"cluster"},"#,
                        r#""policyArn":"arn:aws:eks::aws:cluster-access-policy/B"}"#
                    ),
                ]
            );
        }

        #[tokio::test]
        async fn create_completes_an_earlier_attempt_and_refuses_a_foreign_entry() {
            let exists = (
                "POST /clusters/prod-eks/access-entries HTTP",
                409,
                r#"{"__type":"ResourceInUseException","message":"The specified access entry resource is already in use on this cluster."}"#,
            );
            let mut after = wanted();
            after.policies = vec![policy("A", &[]), policy("C", &[])];
            let changed = ("access-policies", 200, "{}");
            let removed = ("DELETE /clusters", 200, "{}");
            let (done, requests) = write(
                &[exists, DESCRIBED, removed, ("GET", POLICIES.1, POLICIES.2), changed],
                Action::Create { after },
            )
            .await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests[3..],
                [
                    r#"POST ENTRY/access-policies {"accessScope":{"type":"cluster"},"policyArn":"arn:aws:eks::aws:cluster-access-policy/A"}"#,
                    r#"POST ENTRY/access-policies {"accessScope":{"type":"cluster"},"policyArn":"arn:aws:eks::aws:cluster-access-policy/C"}"#,
                    "DELETE ENTRY/access-policies/arn%3Aaws%3Aeks%3A%3Aaws%3Acluster-access-policy%2FB",
                ]
            );
            let mut foreign = wanted();
            foreign.tags.insert(PROJECT_TAG.into(), "q".into());
            let (done, _) = write(&[exists, DESCRIBED, POLICIES], Action::Create { after: foreign }).await;
            assert!(matches!(done, Err(WriteError::Conflict { .. })), "{done:?}");
        }

        #[tokio::test]
        async fn role_unknown_to_eks_is_retried() {
            let invalid = (
                "POST /clusters/prod-eks/access-entries HTTP",
                400,
                r#"{"__type":"InvalidParameterException","message":"The specified principalArn is invalid: invalid principal."}"#,
            );
            let (done, _) = write(&[invalid], Action::Create { after: wanted() }).await;
            assert!(matches!(done, Err(WriteError::UnknownPrincipal { .. })), "{done:?}");
        }

        #[tokio::test]
        async fn update_writes_changed_fields_and_recreates_the_entry_of_a_recreated_role() {
            let mut before = wanted();
            before.groups = vec!["readers".into()];
            before.tags.insert("old".into(), "1".into());
            let changed = vec!["groups".into(), "tags.old".into()];
            let updated = ("POST /clusters/prod-eks/access-entries/arn", 200, DONE);
            let action = Action::Update { before, after: wanted(), changed };
            let (done, requests) = write(&[updated, DESCRIBED, ("DELETE /tags/", 200, "{}")], action).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests[0],
                r#"POST ENTRY {"clientRequestToken":"T","kubernetesGroups":["readers","writers"],"username":"u"}"#
            );
            assert!(requests.last().is_some_and(|last| last.ends_with("?tagKeys=old")), "{requests:?}");
            let action = Action::Update {
                before: wanted(),
                after: wanted(),
                changed: vec![crate::document::FieldPath::default()],
            };
            let (done, requests) =
                write(&[("DELETE /clusters", 200, "{}"), ("POST /clusters", 200, DONE)], action).await;
            assert_eq!(done, Ok(()));
            assert_eq!(requests[0], "DELETE ENTRY");
            assert!(requests[1].starts_with("POST /clusters/prod-eks/access-entries {"), "{requests:?}");
            assert_eq!(requests.len(), 4);
        }

        #[tokio::test]
        async fn release_removes_our_tags_and_delete_accepts_a_missing_entry() {
            let mut before = wanted();
            before.tags.insert("bailiwick:address".into(), "x".into());
            let (release, delete) = (Action::Release { before: before.clone() }, Action::Delete { before });
            let (done, requests) = write(&[DESCRIBED, ("DELETE /tags/", 200, "{}")], release).await;
            assert_eq!(done, Ok(()));
            let (arn, keys) = requests[1].split_once('?').unwrap();
            assert!(arn.starts_with("DELETE /tags/arn%3Aaws%3Aeks"), "{arn}");
            assert_eq!(keys, "tagKeys=bailiwick%3Aaddress&tagKeys=bailiwick%3Aproject");
            let (done, requests) = write(&[("DELETE /clusters", 200, "{}")], delete.clone()).await;
            assert_eq!((done, requests), (Ok(()), vec!["DELETE ENTRY".to_owned()]));
            let (done, _) = write(&[("DELETE /clusters", MISSING.0, MISSING.1)], delete).await;
            assert_eq!(done, Ok(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::desired::{desired, spec};

    const SPEC: &str = r#"
clusters:
  prod:
    account: a
    name: prod-eks
    access:
      - role: deployer
        groups: [writers, readers]
        policies:
          - { name: AmazonEKSViewPolicy }
          - { name: "arn:aws:eks::aws:cluster-access-policy/AmazonEKSAdminPolicy", namespaces: [serving, batch] }
      - { principal_arn: "arn:aws:iam::333333333333:user/ops/kim" }
  test: { account: b, name: test-eks, region: eu-west-1, access: [{ role: known }] }
roles:
  deployer: { account: a, name: deployer, path: /team/ }
  known: { account: b, name: known, managed: false }
"#;

    #[test]
    fn each_entry_of_a_cluster_is_desired_with_its_groups_and_policies_in_order() {
        let spec = spec(SPEC);
        assert_eq!(
            desired::<AccessEntry>(&spec, &Facts::placeholders(&spec)),
            concat!(
                "prod/deployer in a: prod-eks/arn:aws:iam::111111111111:role/team/deployer\n",
                r#"  {"cluster":"prod-eks","groups":["readers","writers"],"policies":["#,
                r#"{"policy_arn":"arn:aws:eks::aws:cluster-access-policy/AmazonEKSAdminPolicy","scope":{"namespaces":["batch","serving"]}},"#,
                r#"{"policy_arn":"arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy","scope":"cluster"}],"#,
                r#""principal_arn":"arn:aws:iam::111111111111:role/team/deployer","#,
                r#""tags":{"bailiwick:address":"aws.eks.access_entry.prod/deployer","bailiwick:project":"p"},"#,
                r#""type":"STANDARD","username":"arn:aws:sts::111111111111:assumed-role/deployer/{{SessionName}}"}"#,
                "\n  after aws.iam.role.deployer\n",
                "prod/333333333333/user/ops/kim in a: prod-eks/arn:aws:iam::333333333333:user/ops/kim\n",
                r#"  {"cluster":"prod-eks","groups":[],"policies":[],"principal_arn":"arn:aws:iam::333333333333:user/ops/kim","#,
                r#""tags":{"bailiwick:address":"aws.eks.access_entry.prod/333333333333/user/ops/kim","bailiwick:project":"p"},"#,
                r#""type":"STANDARD","username":"arn:aws:iam::333333333333:user/ops/kim"}"#,
                "\ntest/known in b: test-eks/arn:aws:iam::222222222222:role/known\n",
                r#"  {"cluster":"test-eks","groups":[],"policies":[],"principal_arn":"arn:aws:iam::222222222222:role/known","#,
                r#""tags":{"bailiwick:address":"aws.eks.access_entry.test/known","bailiwick:project":"p"},"#,
                r#""type":"STANDARD","username":"arn:aws:sts::222222222222:assumed-role/known/{{SessionName}}"}"#,
                "\n",
            )
        );
    }

    #[test]
    fn cluster_resources_depend_on_the_access_entry_of_the_caller() {
        let text = format!(
            "{SPEC}service_accounts:\n  one: {{ cluster: prod, namespace: serving, name: one, role: deployer, create_namespace: true }}\n"
        );
        let spec = spec(&text);
        let after = |caller: &str| {
            let mut facts = Facts::placeholders(&spec);
            facts.add_caller(&spec.account_scope("a"), caller);
            let both = desired::<crate::provider::kubernetes::namespace::Namespace>(&spec, &facts)
                + &desired::<crate::provider::kubernetes::service_account::ServiceAccount>(&spec, &facts);
            both.lines().filter(|line| line.starts_with("  after aws.eks")).map(str::to_owned).collect::<Vec<_>>()
        };
        let deployer = "  after aws.eks.access_entry.prod/deployer";
        assert_eq!(after("arn:aws:sts::111111111111:assumed-role/deployer/ci"), [deployer, deployer]);
        assert_eq!(after("arn:aws:sts::111111111111:assumed-role/other/ci"), Vec::<String>::new());
    }
}
