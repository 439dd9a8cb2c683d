//! `aws.eks.pod_identity_association`: the role that the pods of a service account get from EKS.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::addon::{self, Addon};
use super::bound_account::bound_accounts;
use crate::access::{Chains, Facet, Instance, PodBinding};
use crate::address::Scope;
use crate::document::lenient;
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Release,
};
use crate::provider::aws::family::{EKS, owner, regional_scopes};
use crate::provider::aws::iam::role::Role;
use crate::provider::aws::tags::desired_tags;
use crate::spec::{Facts, Spec};

/// An EKS Pod Identity association. All its fields decide about access, so all are managed.
pub(crate) struct PodIdentityAssociation;

/// The body of an association.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AssociationBody {
    /// The cluster's name in EKS.
    pub cluster: String,
    /// The service account's namespace.
    pub namespace: String,
    /// The service account's name.
    pub service_account: String,
    /// The ARN of the role that the pods get.
    pub role_arn: String,
    /// The ARN of the role that EKS assumes with it; empty for none.
    #[serde(default)]
    pub target_role_arn: String,
    /// Whether EKS omits its session tags.
    #[serde(default)]
    pub disable_session_tags: bool,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The id that EKS assigned. Never desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
}

impl Kind for PodIdentityAssociation {
    const ABOUT: &'static About = &About {
        name: "aws.eks.pod_identity_association",
        api: EKS,
        home: Home::Location,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Tags,
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::Fail,
        release: Release::Delete,
        presence: FieldClass::Access,
        fields: &[
            BodyField::access("cluster").fixed(),
            BodyField::access("namespace").fixed(),
            BodyField::access("service_account").fixed(),
            BodyField::access("role_arn"),
            BodyField::access("target_role_arn"),
            BodyField::access("disable_session_tags"),
            BodyField::cosmetic("tags"),
            BodyField::access("unique_id").read_only(),
        ],
    };
    type Body = AssociationBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        regional_scopes(spec)
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        #[derive(Default, Deserialize)]
        struct AssociationView {
            #[serde(default, deserialize_with = "lenient")]
            cluster: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            namespace: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            service_account: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            role_arn: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            target_role_arn: Option<String>,
            #[serde(default, deserialize_with = "lenient")]
            disable_session_tags: Option<bool>,
        }
        let view: AssociationView = object.body.view().unwrap_or_default();
        Facet::PodBinding(PodBinding {
            account: owner(object.scope).0.to_owned(),
            cluster: view.cluster.unwrap_or_default(),
            namespace: view.namespace.unwrap_or_default(),
            service_account: view.service_account.unwrap_or_default(),
            role: view.role_arn.unwrap_or_default(),
            target: view.target_role_arn.filter(|arn| !arn.is_empty()),
            tagged: !view.disable_session_tags.unwrap_or(false),
        })
    }

    fn desire(spec: &Spec, _facts: &Facts, chains: &Chains, resources: &mut DesiredResources<AssociationBody>) {
        for account in bound_accounts(spec, chains) {
            let Some(cluster) = spec.clusters.get(&account.spec.cluster) else { continue };
            // `spec::load` rejects grants that would need two targets.
            let target = chains
                .through(account.role_key)
                .filter(|chain| chain.service_account == account.key)
                .find_map(|chain| chain.target.as_deref())
                .and_then(|key| chains.roles().get_key_value(key));
            let body = AssociationBody {
                cluster: cluster.name.clone(),
                namespace: account.spec.namespace.clone(),
                service_account: account.spec.name.clone(),
                role_arn: account.role.arn.clone(),
                target_role_arn: target.map(|(_, role)| role.arn.clone()).unwrap_or_default(),
                disable_session_tags: account.spec.disable_session_tags,
                tags: desired_tags(spec, Self::NAME, account.key, &BTreeMap::new()),
                unique_id: None,
            };
            let scope = spec.regional_scope(&cluster.account, spec.cluster_region(cluster));
            let physical_id = format!("{}/{}/{}", body.cluster, body.namespace, body.service_account);
            let mut resource = DesiredResource::new(account.key, scope, physical_id, body)
                .at(spec.source(&["service_accounts", account.key]));
            if account.role.managed {
                resource = resource.after::<Role>(account.role_key);
            }
            if let Some((key, role)) = target
                && role.managed
            {
                resource = resource.after::<Role>(key);
            }
            if let Some(agent) = addon::managed_agent(spec, &account.spec.cluster) {
                resource = resource.after::<Addon>(&agent);
            }
            resources.add(resource);
        }
    }
}

#[cfg(feature = "cloud")]
mod live {
    use std::collections::BTreeMap;

    use aws_sdk_eks::types::{PodIdentityAssociation as Found, PodIdentityAssociationSummary as Summary};
    use futures_util::future::join_all;

    use super::{AssociationBody, PodIdentityAssociation};
    use crate::address::Scope;
    use crate::kind::Tagged;
    use crate::kind::{Action, Kind as _};
    use crate::live::{Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::eks::client::client;
    use crate::provider::aws::eks::cluster::clusters_of;
    use crate::provider::aws::eks::tags::{tag, untag};
    use crate::provider::aws::errors::{code, read_error, removed, write_error};
    use crate::provider::aws::tags::{PROJECT_TAG, tag_changes, tagged_by};
    use crate::session::Session;

    impl Live for PodIdentityAssociation {
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let eks = client(cloud, scope).await?;
            let mut found = Vec::new();
            for cluster in &clusters_of(cloud, scope) {
                for ((namespace, name), id) in ids(&eks, cluster, None).await?.unwrap_or_default().ids {
                    let physical_id = format!("{cluster}/{namespace}/{name}");
                    let Some(there) = describe(&eks, cluster, &id, &physical_id).await? else { continue };
                    let Observed::Present { body, .. } = body(&there) else { continue };
                    found.extend(tagged_by(&body.tags, cloud.project(), Self::NAME, scope, &physical_id));
                }
            }
            Ok(found)
        }

        /// Lists the ids once for each cluster (of one service account if there is only one target), and describes only
        /// the associations among the targets.
        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<AssociationBody>, ReadError> {
            let eks = client(cloud, scope).await?;
            let mut clusters: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
            for target in targets {
                let (cluster, namespace, name) = parts(&target.physical_id);
                clusters.entry(cluster).or_default().push((namespace, name));
            }
            let eks = &eks;
            let lists = clusters
                .into_iter()
                .map(|(cluster, accounts)| async move { (cluster, ids_of(eks, cluster, &accounts).await) });
            let listed: BTreeMap<_, _> = join_all(lists).await.into_iter().collect();
            let listed = &listed;
            Ok(each(targets, |target| async move {
                let (cluster, namespace, name) = parts(&target.physical_id);
                let ids = match listed.get(cluster) {
                    Some(Ok(Some(ids))) => ids,
                    Some(Err(error)) => return Err(error.clone()),
                    Some(Ok(None)) | None => return Err(no_cluster(cluster)),
                };
                let Some(id) = ids.get(&(namespace.to_owned(), name.to_owned())) else { return Ok(Observed::Absent) };
                let found = match describe(eks, cluster, id, &target.physical_id).await? {
                    // It was deleted after the list, and another one may have replaced it.
                    None => find(eks, &target.physical_id).await?,
                    found => found,
                };
                Ok(found.map_or(Observed::Absent, |found| body(&found)))
            })
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<AssociationBody>,
        ) -> Result<(), WriteError> {
            let eks = client(cloud, scope).await?;
            let what = |verb: &str| format!("{verb} pod identity association `{}`", target.physical_id);
            match action {
                Action::Create { after } => create(&eks, &target.physical_id, after).await,
                Action::Update { before, after, .. } => {
                    let found = find(&eks, &target.physical_id).await?.ok_or_else(|| WriteError::Changed {
                        what: what("update"),
                        why: "it was deleted after the plan was created".into(),
                    })?;
                    update(&eks, &target.physical_id, &found, before, after).await
                }
                Action::Delete { .. } | Action::Release { .. } => {
                    let (cluster, namespace, name) = parts(&target.physical_id);
                    let Some(listed) = ids(&eks, cluster, Some((namespace, name))).await? else { return Ok(()) };
                    let Some(id) = listed.ids.get(&(namespace.to_owned(), name.to_owned())) else { return Ok(()) };
                    removed(
                        what("delete"),
                        &["ResourceNotFoundException"],
                        eks.delete_pod_identity_association().cluster_name(cluster).association_id(id).send().await,
                    )
                }
            }
        }
    }

    /// Splits a physical id into cluster, namespace and service account.
    fn parts(id: &str) -> (&str, &str, &str) {
        let (cluster, rest) = id.split_once('/').unwrap_or((id, ""));
        let (namespace, name) = rest.split_once('/').unwrap_or((rest, ""));
        (cluster, namespace, name)
    }

    fn no_cluster(cluster: &str) -> ReadError {
        ReadError::Failed {
            what: format!("pod identity associations of cluster `{cluster}`"),
            why: "the cluster does not exist in this account and region".into(),
        }
    }

    type Ids = BTreeMap<(String, String), String>;

    /// The ids of associations by namespace and service account, and the number of pages that were read.
    #[derive(Default)]
    struct Listed {
        ids: Ids,
        pages: usize,
    }

    /// Reads the ids of the associations of some service accounts. The result may contain others too. `None` if the
    /// cluster does not exist.
    async fn ids_of(
        eks: &aws_sdk_eks::Client,
        cluster: &str,
        accounts: &[(&str, &str)],
    ) -> Result<Option<Ids>, ReadError> {
        let only = if let [one] = accounts { Some(*one) } else { None };
        let Some(Listed { ids: mut found, pages }) = ids(eks, cluster, only).await? else { return Ok(None) };
        let is_missing =
            |(namespace, name): &(&str, &str)| !found.contains_key(&((*namespace).to_owned(), (*name).to_owned()));
        let missing: Vec<(&str, &str)> = accounts.iter().copied().filter(is_missing).collect();
        if pages < 2 || missing.is_empty() {
            return Ok(Some(found));
        }
        // An entry may move to another page between two requests, so missing ones are read again.
        let again: Vec<_> = if missing.len() < pages { missing.into_iter().map(Some).collect() } else { vec![None] };
        for only in again {
            found.extend(ids(eks, cluster, only).await?.unwrap_or_default().ids);
        }
        Ok(Some(found))
    }

    /// Lists the ids of a cluster's associations, or `None` if the cluster does not exist.
    async fn ids(
        eks: &aws_sdk_eks::Client,
        cluster: &str,
        only: Option<(&str, &str)>,
    ) -> Result<Option<Listed>, ReadError> {
        let mut pages = eks
            .list_pod_identity_associations()
            .cluster_name(cluster)
            .set_namespace(only.map(|(namespace, _)| namespace.to_owned()))
            .set_service_account(only.map(|(_, name)| name.to_owned()))
            .into_paginator()
            .send();
        let mut listed = Listed::default();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => {
                    listed.pages += 1;
                    listed.ids.extend(page.associations().iter().filter_map(entry));
                }
                Err(error) if code(&error) == Some("ResourceNotFoundException") => return Ok(None),
                Err(error) => {
                    return Err(read_error(format!("pod identity associations of cluster `{cluster}`"), &error));
                }
            }
        }
        Ok(Some(listed))
    }

    fn entry(summary: &Summary) -> Option<((String, String), String)> {
        let at = (summary.namespace()?.to_owned(), summary.service_account()?.to_owned());
        Some((at, summary.association_id()?.to_owned()))
    }

    async fn describe(
        eks: &aws_sdk_eks::Client,
        cluster: &str,
        id: &str,
        physical_id: &str,
    ) -> Result<Option<Found>, ReadError> {
        match eks.describe_pod_identity_association().cluster_name(cluster).association_id(id).send().await {
            Ok(answer) => Ok(answer.association),
            // Deleted after the list.
            Err(error) if code(&error) == Some("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(read_error(format!("pod identity association `{physical_id}`"), &error)),
        }
    }

    async fn find(eks: &aws_sdk_eks::Client, physical_id: &str) -> Result<Option<Found>, ReadError> {
        let (cluster, namespace, name) = parts(physical_id);
        let listed = ids(eks, cluster, Some((namespace, name))).await?.ok_or_else(|| no_cluster(cluster))?;
        match listed.ids.get(&(namespace.to_owned(), name.to_owned())) {
            Some(id) => describe(eks, cluster, id, physical_id).await,
            None => Ok(None),
        }
    }

    fn body(found: &Found) -> Observed<AssociationBody> {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let tags = found.tags().into_iter().flatten();
        let body = AssociationBody {
            cluster: text(found.cluster_name()),
            namespace: text(found.namespace()),
            service_account: text(found.service_account()),
            role_arn: text(found.role_arn()),
            target_role_arn: text(found.target_role_arn()),
            disable_session_tags: found.disable_session_tags().unwrap_or_default(),
            tags: tags.map(|(key, value)| (key.clone(), value.clone())).collect(),
            unique_id: found.association_id().map(ToOwned::to_owned),
        };
        Observed::Present { owner: body.tags.get(PROJECT_TAG).cloned(), body }
    }

    /// Creates the association. An existing one of the service account is updated, because there can be only one.
    async fn create(
        eks: &aws_sdk_eks::Client,
        physical_id: &str,
        association: &AssociationBody,
    ) -> Result<(), WriteError> {
        let what = || format!("create pod identity association `{physical_id}`");
        let asked = eks
            .create_pod_identity_association()
            .cluster_name(&association.cluster)
            .namespace(&association.namespace)
            .service_account(&association.service_account)
            .role_arn(&association.role_arn)
            .set_target_role_arn(Some(association.target_role_arn.clone()).filter(|arn| !arn.is_empty()))
            .disable_session_tags(association.disable_session_tags)
            .set_tags(Some(association.tags.clone().into_iter().collect()))
            .send()
            .await;
        let Err(error) = asked else { return Ok(()) };
        if code(&error) != Some("ResourceInUseException") {
            return Err(write_error(what(), &error));
        }
        let Some(found) = find(eks, physical_id).await? else { return Err(write_error(what(), &error)) };
        let Observed::Present { body: before, owner } = body(&found) else { return Ok(()) };
        if let Some(project) = owner.filter(|owner| Some(owner) != association.tags.get(PROJECT_TAG)) {
            return Err(WriteError::Conflict {
                what: what(),
                holder: format!("project `{project}`"),
                why: "it made one for the same service account".into(),
                help: None,
            });
        }
        // Keep the tags of others.
        let before = AssociationBody {
            tags: before.tags.into_iter().filter(|(key, _)| association.tags.contains_key(key)).collect(),
            ..before
        };
        update(eks, physical_id, &found, &before, association).await
    }

    /// Writes the differences. An empty target role ARN removes the target.
    async fn update(
        eks: &aws_sdk_eks::Client,
        physical_id: &str,
        found: &Found,
        before: &AssociationBody,
        after: &AssociationBody,
    ) -> Result<(), WriteError> {
        let what = |part: &str| format!("update the {part} of pod identity association `{physical_id}`");
        if let Some(addon) = found.owner_arn() {
            return Err(WriteError::Conflict {
                what: what("role"),
                holder: format!("add-on {addon}"),
                why: "the association belongs to it: change it through the add-on".into(),
                help: None,
            });
        }
        let role = (before.role_arn != after.role_arn).then(|| after.role_arn.clone());
        let target = (before.target_role_arn != after.target_role_arn).then(|| after.target_role_arn.clone());
        let untagged =
            (before.disable_session_tags != after.disable_session_tags).then_some(after.disable_session_tags);
        if role.is_some() || target.is_some() || untagged.is_some() {
            eks.update_pod_identity_association()
                .cluster_name(&after.cluster)
                .set_association_id(found.association_id.clone())
                .set_role_arn(role)
                .set_target_role_arn(target)
                .set_disable_session_tags(untagged)
                .send()
                .await
                .map_err(|e| write_error(what("role"), &e))?;
        }
        let (set, remove) = tag_changes(&before.tags, &after.tags);
        let arn = found.association_arn().unwrap_or_default();
        tag(eks, arn, set, &what("tags")).await?;
        untag(eks, arn, remove, &what("tags")).await
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::recorded::{Recorded, lines, scope};

        type Exchange = (&'static str, u16, &'static str);

        const LIST: &str = "GET /clusters/prod-eks/pod-identity-associations?namespace=kserve&serviceAccount=loader";
        const ONE: Exchange = (
            LIST,
            200,
            r#"{"associations":[{"clusterName":"prod-eks","namespace":"kserve","serviceAccount":"loader","associationId":"a-1"}]}"#,
        );
        const NONE: Exchange = (LIST, 200, r#"{"associations":[]}"#);
        const DESCRIBED: Exchange = (
            "GET /clusters/prod-eks/pod-identity-associations/a-1",
            200,
            r#"{"association":{"clusterName":"prod-eks","namespace":"kserve","serviceAccount":"loader","associationId":"a-1",
            "associationArn":"arn:aws:eks:us-east-1:111111111111:podidentityassociation/prod-eks/a-1",
            "roleArn":"arn:aws:iam::111111111111:role/r","targetRoleArn":"arn:aws:iam::222222222222:role/t",
            "disableSessionTags":false,"tags":{"bailiwick:project":"p","team":"ml"}}}"#,
        );
        const UPDATED: Exchange =
            ("POST /clusters/prod-eks/pod-identity-associations/a-1", 200, r#"{"association":{}}"#);

        fn target(name: &str) -> Target {
            Target::new(Address::new(PodIdentityAssociation::NAME, name), format!("prod-eks/kserve/{name}"))
        }

        fn wanted() -> AssociationBody {
            AssociationBody {
                cluster: "prod-eks".into(),
                namespace: "kserve".into(),
                service_account: "loader".into(),
                role_arn: "arn:aws:iam::111111111111:role/r".into(),
                target_role_arn: "arn:aws:iam::222222222222:role/t".into(),
                disable_session_tags: false,
                tags: [(PROJECT_TAG.to_owned(), "p".to_owned())].into(),
                unique_id: None,
            }
        }

        async fn write(
            exchanges: &[Exchange],
            action: Action<AssociationBody>,
        ) -> (Result<(), WriteError>, Vec<String>) {
            let server = Recorded::start(exchanges).await;
            let done = PodIdentityAssociation::write(&server.session(), &scope(), &target("loader"), &action).await;
            (done, lines(&server.requests()))
        }

        #[tokio::test]
        async fn all_pages_are_listed_and_only_targets_are_described() {
            let second = (
                "GET /clusters/prod-eks/pod-identity-associations?nextToken=2",
                200,
                r#"{"associations":[{"namespace":"kserve","serviceAccount":"loader","associationId":"a-1"}]}"#,
            );
            let first = (
                "GET /clusters/prod-eks/pod-identity-associations HTTP",
                200,
                r#"{"associations":[{"namespace":"logs","serviceAccount":"loader","associationId":"a-2"}],"nextToken":"2"}"#,
            );
            let other = (
                "GET /clusters/prod-eks/pod-identity-associations?namespace=kserve&serviceAccount=other",
                200,
                r#"{"associations":[]}"#,
            );
            let server = Recorded::start(&[other, second, first, DESCRIBED]).await;
            let answers =
                PodIdentityAssociation::observe(&server.session(), &scope(), &[target("other"), target("loader")])
                    .await
                    .unwrap();
            let mut body = AssociationBody { unique_id: Some("a-1".into()), ..wanted() };
            body.tags.insert("team".into(), "ml".into());
            assert_eq!(answers, [Ok(Observed::Absent), Ok(Observed::Present { body, owner: Some("p".into()) })]);
            assert_eq!(
                lines(&server.requests()),
                [
                    "GET /clusters/prod-eks/pod-identity-associations",
                    "GET /clusters/prod-eks/pod-identity-associations?nextToken=2",
                    "GET /clusters/prod-eks/pod-identity-associations?namespace=kserve&serviceAccount=other",
                    "GET /clusters/prod-eks/pod-identity-associations/a-1",
                ]
            );
        }

        #[tokio::test]
        async fn single_target_is_listed_by_its_service_account() {
            let server = Recorded::start(&[ONE, DESCRIBED]).await;
            let answers =
                PodIdentityAssociation::observe(&server.session(), &scope(), &[target("loader")]).await.unwrap();
            assert!(matches!(answers.as_slice(), [Ok(Observed::Present { .. })]), "{answers:?}");
            assert_eq!(lines(&server.requests()), [LIST, "GET /clusters/prod-eks/pod-identity-associations/a-1"]);
        }

        #[tokio::test]
        async fn forbidden_and_a_missing_cluster_are_not_absent() {
            let denied = ("GET /clusters/", 403, r#"{"__type":"AccessDeniedException","message":"no"}"#);
            let server = Recorded::start(&[denied]).await;
            let answers =
                PodIdentityAssociation::observe(&server.session(), &scope(), &[target("loader")]).await.unwrap();
            let what = "pod identity associations of cluster `prod-eks`".to_owned();
            assert_eq!(
                answers,
                [Err(ReadError::Denied { what: what.clone(), why: "AccessDeniedException: no".into() })]
            );
            let missing = ("GET /clusters/", 404, r#"{"__type":"ResourceNotFoundException","message":"No cluster"}"#);
            let server = Recorded::start(&[missing]).await;
            let answers =
                PodIdentityAssociation::observe(&server.session(), &scope(), &[target("loader")]).await.unwrap();
            let why = "the cluster does not exist in this account and region".to_owned();
            assert_eq!(answers, [Err(ReadError::Failed { what, why })]);
        }

        #[tokio::test]
        async fn create_sends_the_whole_association() {
            let created = ("POST /clusters/prod-eks/pod-identity-associations HTTP", 200, r#"{"association":{}}"#);
            let (done, requests) = write(&[created], Action::Create { after: wanted() }).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [concat!(
                    r#"POST /clusters/prod-eks/pod-identity-associations {"clientRequestToken":"T","disableSessionTags":false,"#,
                    r#""namespace":"kserve","roleArn":"arn:aws:iam::111111111111:role/r","serviceAccount":"loader","#,
                    r#""tags":{"bailiwick:project":"p"},"targetRoleArn":"arn:aws:iam::222222222222:role/t"}"#
                )]
            );
        }

        #[tokio::test]
        async fn an_existing_association_becomes_the_desired_one() {
            let exists = (
                "POST /clusters/prod-eks/pod-identity-associations HTTP",
                409,
                r#"{"__type":"ResourceInUseException","message":"Association already exists: a-1"}"#,
            );
            let mut after = wanted();
            after.role_arn = "arn:aws:iam::111111111111:role/new".into();
            after.target_role_arn = String::new();
            let (done, requests) = write(&[exists, ONE, DESCRIBED, UPDATED], Action::Create { after }).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests[3..],
                [concat!(
                    "POST /clusters/prod-eks/pod-identity-associations/a-1 ",
                    r#"{"clientRequestToken":"T","roleArn":"arn:aws:iam::111111111111:role/new","targetRoleArn":""}"#
                )]
            );
            let mut foreign = wanted();
            foreign.tags.insert(PROJECT_TAG.into(), "q".into());
            let (done, _) = write(&[exists, ONE, DESCRIBED], Action::Create { after: foreign }).await;
            assert_eq!(
                done.unwrap_err().to_string(),
                "cannot create pod identity association `prod-eks/kserve/loader`: it conflicts with project `p`: it made one for the same service account"
            );
        }

        #[tokio::test]
        async fn role_unknown_to_eks_is_retried() {
            let invalid = (
                "POST /clusters/prod-eks/pod-identity-associations HTTP",
                400,
                r#"{"__type":"InvalidParameterException","message":"Trust policy of the role provided is invalid"}"#,
            );
            let (done, _) = write(&[invalid], Action::Create { after: wanted() }).await;
            assert!(matches!(done, Err(WriteError::UnknownPrincipal { .. })), "{done:?}");
        }

        #[tokio::test]
        async fn update_sends_only_changed_fields() {
            let mut after = wanted();
            after.disable_session_tags = true;
            after.tags.insert("team".into(), "web".into());
            let mut before = wanted();
            before.tags.insert("old".into(), "1".into());
            let changed = vec!["disable_session_tags".into(), "tags.old".into(), "tags.team".into()];
            let tagged = ("POST /tags/", 200, "{}");
            let untagged = ("DELETE /tags/", 200, "{}");
            let action = Action::Update { before, after, changed };
            let (done, requests) = write(&[ONE, DESCRIBED, UPDATED, tagged, untagged], action).await;
            assert_eq!(done, Ok(()));
            let arn = "arn%3Aaws%3Aeks%3Aus-east-1%3A111111111111%3Apodidentityassociation%2Fprod-eks%2Fa-1";
            assert_eq!(
                requests[2..],
                [
                    concat!(
                        "POST /clusters/prod-eks/pod-identity-associations/a-1 ",
                        r#"{"clientRequestToken":"T","disableSessionTags":true}"#
                    )
                    .to_owned(),
                    format!(r#"POST /tags/{arn} {{"tags":{{"team":"web"}}}}"#),
                    format!("DELETE /tags/{arn}?tagKeys=old"),
                ]
            );
        }

        #[tokio::test]
        async fn association_owned_by_an_addon_is_not_changed() {
            let owned = (
                "GET /clusters/prod-eks/pod-identity-associations/a-1",
                200,
                r#"{"association":{"associationId":"a-1","ownerArn":"arn:aws:eks:us-east-1:111111111111:addon/prod-eks/csi/1"}}"#,
            );
            let action = Action::Update { before: wanted(), after: wanted(), changed: Vec::new() };
            let (done, requests) = write(&[ONE, owned], action).await;
            assert!(matches!(done, Err(WriteError::Conflict { .. })), "{done:?}");
            assert_eq!(requests.len(), 2);
        }

        #[tokio::test]
        async fn delete_uses_the_id_and_accepts_a_missing_association() {
            let deleted = ("DELETE /clusters/prod-eks/pod-identity-associations/a-1", 200, r#"{"association":{}}"#);
            let delete = || Action::Delete { before: wanted() };
            for action in [delete(), Action::Release { before: wanted() }] {
                let (done, requests) = write(&[ONE, deleted], action).await;
                assert_eq!(done, Ok(()));
                assert_eq!(requests, [LIST, "DELETE /clusters/prod-eks/pod-identity-associations/a-1"]);
            }
            let (done, requests) = write(&[NONE], delete()).await;
            assert_eq!((done, requests), (Ok(()), vec![LIST.to_owned()]));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::access;
    use crate::diagnostic::Diagnostic;
    use crate::kind::{AnyKind, Erased, Resource};
    use crate::spec::{SourceFile, load};

    pub(in crate::provider::aws) const SPEC: &str = r#"
version: 1
project: p
accounts:
  platform: { id: "111111111111", region: us-west-2 }
  models: { id: "222222222222", region: us-east-1 }
clusters:
  prod: { account: platform, region: eu-west-1, name: prod-eks, identity: pod_identity, pod_identity_agent: managed }
buckets:
  weights: { account: models, name: weights }
roles:
  shared: { account: platform, name: shared, managed: false }
service_accounts:
  chained: { cluster: prod, namespace: kserve, name: chained-sa }
  named: { cluster: prod, namespace: kserve, name: named-sa, role: shared, disable_session_tags: true }
  idle: { cluster: prod, namespace: kserve, name: idle-sa }
  federated: { cluster: prod, namespace: kserve, name: federated-sa, role: shared, identity: irsa }
grants:
  - { to: chained, bucket: weights, prefix: "m/", access: read, mode: assume_role }
"#;

    /// Returns the desired resources and problems of a kind for a spec.
    pub(in crate::provider::aws) fn desired<K: Kind>(text: &str) -> (Vec<Resource>, Vec<Diagnostic>) {
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        let spec = spec.unwrap();
        let facts = Facts::placeholders(&spec);
        let asked = Erased::<K>::NEW.desire(&spec, &facts, &access::lower(&spec));
        (asked.resources, asked.problems)
    }

    #[test]
    fn service_accounts_with_pod_identity_and_a_role_are_associated() {
        let (found, problems) = desired::<PodIdentityAssociation>(SPEC);
        assert_eq!(problems, []);
        let names: Vec<_> = found.iter().map(|r| (r.address.name(), r.physical_id.as_str())).collect();
        assert_eq!(names, [("chained", "prod-eks/kserve/chained-sa"), ("named", "prod-eks/kserve/named-sa")]);
        assert_eq!(
            found[0].body.tree(),
            json!({
                "cluster": "prod-eks", "namespace": "kserve", "service_account": "chained-sa",
                "role_arn": "arn:aws:iam::111111111111:role/p-chained",
                "target_role_arn": "arn:aws:iam::222222222222:role/p-chained-models",
                "disable_session_tags": false,
                "tags": {"bailiwick:project": "p", "bailiwick:address": "aws.eks.pod_identity_association.chained"},
            })
        );
        assert_eq!(found[1].body.tree()["target_role_arn"], "");
        assert_eq!(found[1].body.tree()["disable_session_tags"], true);
    }

    #[test]
    fn an_association_comes_after_the_roles_and_the_agent_that_are_managed() {
        let (found, _) = desired::<PodIdentityAssociation>(SPEC);
        let after = |n: usize| -> Vec<String> { found[n].references.iter().map(|r| r.to.to_string()).collect() };
        assert_eq!(
            after(0),
            ["aws.iam.role.chained", "aws.iam.role.chained/models", "aws.eks.addon.prod/eks-pod-identity-agent"]
        );
        assert_eq!(after(1), ["aws.eks.addon.prod/eks-pod-identity-agent"]);
        let (found, _) = desired::<PodIdentityAssociation>(
            &SPEC.replace("pod_identity_agent: managed", "pod_identity_agent: existing"),
        );
        assert_eq!(found[1].references, []);
    }
}
