//! `aws.eks.addon`: the EKS Pod Identity Agent, which gives pods the credentials of a role.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bound_account::bound_accounts;
use crate::access::{Chains, Facet, Instance};
use crate::address::Scope;
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Release,
};
use crate::provider::aws::family::{EKS, regional_scopes};
use crate::provider::aws::tags::desired_tags;
use crate::spec::{Facts, Management, Spec};

/// The name of the agent's add-on.
///
/// Source: EKS User Guide, "Set up the Amazon EKS Pod Identity Agent".
const AGENT: &str = "eks-pod-identity-agent";

/// An add-on of an EKS cluster.
pub(crate) struct Addon;

/// The body of an add-on. Its version and configuration are not managed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AddonBody {
    /// The cluster's name in EKS.
    pub cluster: String,
    /// The add-on's name.
    pub name: String,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// Returns the name of a cluster's agent, if the spec manages it. It is desired if a service account of the cluster
/// needs it.
pub(super) fn managed_agent(spec: &Spec, cluster: &str) -> Option<String> {
    let managed = spec.clusters.get(cluster)?.pod_identity_agent == Management::Managed;
    managed.then(|| format!("{cluster}/{AGENT}"))
}

impl Kind for Addon {
    const ABOUT: &'static About = &About {
        name: "aws.eks.addon",
        api: EKS,
        home: Home::Location,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Tags,
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::Fail,
        release: Release::Forget,
        presence: FieldClass::Access,
        fields: &[BodyField::access("cluster").fixed(), BodyField::access("name").fixed(), BodyField::cosmetic("tags")],
    };
    type Body = AddonBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        regional_scopes(spec)
    }

    fn facet(_: Instance<'_>) -> Facet<'_> {
        Facet::None
    }

    fn desire(spec: &Spec, _facts: &Facts, chains: &Chains, resources: &mut DesiredResources<AddonBody>) {
        let needed: BTreeSet<String> =
            bound_accounts(spec, chains).into_iter().map(|a| a.spec.cluster.clone()).collect();
        for key in needed {
            let (Some(cluster), Some(name)) = (spec.clusters.get(&key), managed_agent(spec, &key)) else { continue };
            let scope = spec.regional_scope(&cluster.account, spec.cluster_region(cluster));
            let body = AddonBody {
                cluster: cluster.name.clone(),
                name: AGENT.to_owned(),
                tags: desired_tags(spec, Self::NAME, &name, &BTreeMap::new()),
            };
            let physical_id = format!("{}/{AGENT}", cluster.name);
            resources.add(DesiredResource::new(name, scope, physical_id, body).at(spec.source(&["clusters", &key])));
        }
    }
}

#[cfg(feature = "cloud")]
mod live {
    use std::future::Future;
    use std::time::Duration;

    use aws_sdk_eks::types::{Addon as Found, AddonHealth, AddonStatus};

    use super::{AGENT, Addon, AddonBody};
    use crate::address::Scope;
    use crate::kind::Tagged;
    use crate::kind::{Action, Kind as _};
    use crate::live::{ADOPT, Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::provider::aws::batch::each;
    use crate::provider::aws::eks::client::client;
    use crate::provider::aws::eks::cluster::clusters_of;
    use crate::provider::aws::eks::tags::{tag, untag};
    use crate::provider::aws::errors::{code, read_error, removed, write_error};
    use crate::provider::aws::tags::{PROJECT_TAG, ownership_tags, tag_changes, tagged_by};
    use crate::session::Session;

    /// The pauses between two reads of an add-on that is being installed or removed: less than two minutes in total.
    fn pauses() -> impl Iterator<Item = Duration> {
        [1, 2, 4, 8].into_iter().chain([10; 10]).map(Duration::from_secs)
    }

    impl Live for Addon {
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let eks = client(cloud, scope).await?;
            let mut found = Vec::new();
            for cluster in clusters_of(cloud, scope) {
                let physical_id = format!("{cluster}/{AGENT}");
                if let Some(Observed::Present { body, .. }) = find(&eks, &physical_id).await?.as_ref().map(body) {
                    found.extend(tagged_by(&body.tags, cloud.project(), Self::NAME, scope, &physical_id));
                }
            }
            Ok(found)
        }

        async fn observe(cloud: &Session, scope: &Scope, targets: &[Target]) -> Result<Answers<AddonBody>, ReadError> {
            let eks = client(cloud, scope).await?;
            let eks = &eks;
            Ok(each(targets, |target| async move {
                let found = find(eks, &target.physical_id).await?;
                // An add-on that is being deleted is treated as absent: it cannot be changed any more.
                Ok(match found.filter(|addon| addon.status() != Some(&AddonStatus::Deleting)) {
                    Some(addon) => body(&addon),
                    None => Observed::Absent,
                })
            })
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<AddonBody>,
        ) -> Result<(), WriteError> {
            let eks = client(cloud, scope).await?;
            let id = target.physical_id.as_str();
            match action {
                Action::Create { after } => {
                    create(&eks, id, after).await?;
                    settle(pauses(), id, || find(&eks, id)).await
                }
                Action::Update { before, after, .. } => {
                    let (set, remove) = tag_changes(&before.tags, &after.tags);
                    let arn = arn(&eks, id).await?.ok_or_else(|| WriteError::Changed {
                        what: format!("tag add-on `{id}`"),
                        why: "it was deleted after the plan was created".into(),
                    })?;
                    tag(&eks, &arn, set, &format!("tag add-on `{id}`")).await?;
                    untag(&eks, &arn, remove, &format!("untag add-on `{id}`")).await
                }
                Action::Release { before } => match arn(&eks, id).await? {
                    Some(arn) => untag(&eks, &arn, ownership_tags(&before.tags), &format!("untag add-on `{id}`")).await,
                    None => Ok(()),
                },
                Action::Delete { .. } => {
                    delete(&eks, id, [1, 2, 4].map(Duration::from_secs).into_iter()).await?;
                    gone(pauses(), id, || find(&eks, id)).await
                }
            }
        }
    }

    fn names(id: &str) -> (&str, &str) {
        id.split_once('/').unwrap_or((id, ""))
    }

    /// Reads the add-on, or `None` if the cluster has none of that name. A cluster that does not exist is an error.
    async fn find(eks: &aws_sdk_eks::Client, id: &str) -> Result<Option<Found>, ReadError> {
        let what = || format!("add-on `{id}`");
        let (cluster, name) = names(id);
        let error = match eks.describe_addon().cluster_name(cluster).addon_name(name).send().await {
            Ok(answer) => return Ok(answer.addon),
            Err(error) => error,
        };
        if code(&error) != Some("ResourceNotFoundException") {
            return Err(read_error(what(), &error));
        }
        // EKS uses one code for a missing add-on and a missing cluster.
        match eks.describe_cluster().name(cluster).send().await {
            Ok(_) => Ok(None),
            Err(error) if code(&error) == Some("ResourceNotFoundException") => Err(ReadError::Failed {
                what: what(),
                why: format!("cluster `{cluster}` does not exist in this account and region"),
            }),
            Err(error) => Err(read_error(format!("cluster `{cluster}`"), &error)),
        }
    }

    async fn arn(eks: &aws_sdk_eks::Client, id: &str) -> Result<Option<String>, ReadError> {
        Ok(find(eks, id).await?.and_then(|addon| addon.addon_arn))
    }

    fn body(addon: &Found) -> Observed<AddonBody> {
        let tags = addon.tags().into_iter().flatten();
        let body = AddonBody {
            cluster: addon.cluster_name().unwrap_or_default().to_owned(),
            name: addon.addon_name().unwrap_or_default().to_owned(),
            tags: tags.map(|(key, value)| (key.clone(), value.clone())).collect(),
        };
        Observed::Present { owner: body.tags.get(PROJECT_TAG).cloned(), body }
    }

    /// Creates the add-on. An existing one with the project's ownership tag comes from an earlier attempt.
    async fn create(eks: &aws_sdk_eks::Client, id: &str, addon: &AddonBody) -> Result<(), WriteError> {
        let what = || format!("create add-on `{id}`");
        let asked = eks
            .create_addon()
            .cluster_name(&addon.cluster)
            .addon_name(&addon.name)
            .set_tags(Some(addon.tags.clone().into_iter().collect()))
            .send()
            .await;
        let Err(error) = asked else { return Ok(()) };
        if code(&error) != Some("ResourceInUseException") {
            return Err(write_error(what(), &error));
        }
        let Some(found) = find(eks, id).await? else {
            return Err(WriteError::NotYet {
                what: what(),
                awaited: "another change of the cluster to finish".into(),
                why: error.to_string(),
            });
        };
        let owner = found.tags().and_then(|tags| tags.get(PROJECT_TAG));
        if owner == addon.tags.get(PROJECT_TAG) {
            return Ok(());
        }
        Err(WriteError::Conflict {
            what: what(),
            holder: owner.map_or_else(|| "another owner".into(), |project| format!("project `{project}`")),
            why: "it was installed after the plan".into(),
            help: Some(ADOPT),
        })
    }

    /// Removes the agent, unless other pods still get their credentials from it.
    async fn delete(
        eks: &aws_sdk_eks::Client,
        id: &str,
        pauses: impl Iterator<Item = Duration>,
    ) -> Result<(), WriteError> {
        let what = || format!("delete add-on `{id}`");
        let (cluster, name) = names(id);
        // A deleted association may still be listed for a short time.
        let mut left = Vec::new();
        for pause in std::iter::once(Duration::ZERO).chain(pauses) {
            tokio::time::sleep(pause).await;
            left = users(eks, cluster).await?;
            if left.is_empty() {
                break;
            }
        }
        if !left.is_empty() {
            return Err(WriteError::Failed {
                what: what(),
                why: format!(
                    "it is kept, because pods of {} get their credentials from it: remove these associations first",
                    left.join(", ")
                ),
            });
        }
        removed(
            what(),
            &["ResourceNotFoundException"],
            eks.delete_addon().cluster_name(cluster).addon_name(name).send().await,
        )
    }

    /// The number of service accounts to name in the error.
    const SOME: i32 = 3;

    /// Lists some of the service accounts of a cluster whose pods need the agent.
    async fn users(eks: &aws_sdk_eks::Client, cluster: &str) -> Result<Vec<String>, ReadError> {
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let mut pages =
            eks.list_pod_identity_associations().cluster_name(cluster).max_results(SOME).into_paginator().send();
        let mut found = Vec::new();
        // An empty page is not necessarily the last one.
        while found.is_empty()
            && let Some(page) = pages.next().await
        {
            match page {
                Ok(page) => found.extend(
                    page.associations()
                        .iter()
                        .map(|a| format!("`{}/{}`", text(a.namespace()), text(a.service_account()))),
                ),
                Err(error) if code(&error) == Some("ResourceNotFoundException") => break,
                Err(error) => {
                    return Err(read_error(format!("pod identity associations of cluster `{cluster}`"), &error));
                }
            }
        }
        Ok(found)
    }

    /// Calls `look` until it returns a value, with these pauses in between. `None` if the pauses run out.
    async fn until<T, F, Fut>(pauses: impl Iterator<Item = Duration>, mut look: F) -> Result<Option<T>, WriteError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Option<T>, WriteError>>,
    {
        for pause in pauses {
            if let Some(found) = look().await? {
                return Ok(Some(found));
            }
            tokio::time::sleep(pause).await;
        }
        look().await
    }

    /// Waits until an add-on is active.
    async fn settle<F, Fut>(pauses: impl Iterator<Item = Duration>, id: &str, find: F) -> Result<(), WriteError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Option<Found>, ReadError>>,
    {
        let what = || format!("create add-on `{id}`");
        let find = &find;
        let look = || async move {
            let found = find().await?;
            match found.as_ref().and_then(Found::status) {
                Some(AddonStatus::Active) => Ok(Some(())),
                Some(AddonStatus::Creating | AddonStatus::Updating) | None => Ok(None),
                Some(AddonStatus::Deleting) => Err(WriteError::NotYet {
                    what: what(),
                    awaited: "the deletion of the old one".into(),
                    why: "it is DELETING".into(),
                }),
                Some(status) => Err(WriteError::Failed {
                    what: what(),
                    why: format!("it is {}{}", status.as_str(), found.as_ref().map(issues).unwrap_or_default()),
                }),
            }
        };
        until(pauses, look).await?.ok_or_else(|| WriteError::Failed {
            what: what(),
            why: "EKS is still installing it after two minutes: apply again later".into(),
        })
    }

    /// Waits until an add-on is deleted.
    async fn gone<F, Fut>(pauses: impl Iterator<Item = Duration>, id: &str, find: F) -> Result<(), WriteError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Option<Found>, ReadError>>,
    {
        let what = || format!("delete add-on `{id}`");
        let find = &find;
        let look = || async move {
            match find().await? {
                None => Ok(Some(())),
                Some(addon) if addon.status() == Some(&AddonStatus::DeleteFailed) => {
                    Err(WriteError::Failed { what: what(), why: format!("it is DELETE_FAILED{}", issues(&addon)) })
                }
                Some(_) => Ok(None),
            }
        };
        until(pauses, look).await?.ok_or_else(|| WriteError::Failed {
            what: what(),
            why: "EKS is still removing it after two minutes: apply again later".into(),
        })
    }

    fn issues(addon: &Found) -> String {
        let issues = addon.health().map(AddonHealth::issues).unwrap_or_default();
        let texts: Vec<String> = issues
            .iter()
            .map(|issue| {
                let code = issue.code().map_or("issue", |c| c.as_str());
                format!("; {code}: {}", issue.message().unwrap_or_default())
            })
            .collect();
        texts.concat()
    }

    #[cfg(test)]
    mod tests {
        use std::sync::Mutex;

        use aws_sdk_eks::types::{AddonIssue, AddonIssueCode};

        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::recorded::{Recorded, lines, scope};

        const DESCRIBE: &str = "GET /clusters/prod-eks/addons/eks-pod-identity-agent";
        const CLUSTER: (&str, u16, &str) =
            ("GET /clusters/prod-eks HTTP", 200, r#"{"cluster":{"name":"prod-eks","status":"ACTIVE"}}"#);
        const ABSENT: (&str, u16, &str) = (
            DESCRIBE,
            404,
            r#"{"__type":"ResourceNotFoundException","message":"No addon: eks-pod-identity-agent found in cluster: prod-eks"}"#,
        );
        const ACTIVE: (&str, u16, &str) = (
            DESCRIBE,
            200,
            r#"{"addon":{"addonName":"eks-pod-identity-agent","clusterName":"prod-eks","status":"ACTIVE","addonVersion":"v1",
            "addonArn":"arn:aws:eks:us-east-1:111111111111:addon/prod-eks/eks-pod-identity-agent/1","tags":{"bailiwick:project":"p"}}}"#,
        );
        const NO_ASSOCIATIONS: (&str, u16, &str) =
            ("GET /clusters/prod-eks/pod-identity-associations", 200, r#"{"associations":[]}"#);

        fn target() -> Target {
            Target::new(Address::new(Addon::NAME, "prod/eks-pod-identity-agent"), "prod-eks/eks-pod-identity-agent")
        }

        fn wanted() -> AddonBody {
            AddonBody {
                cluster: "prod-eks".into(),
                name: "eks-pod-identity-agent".into(),
                tags: [(PROJECT_TAG.to_owned(), "p".to_owned())].into(),
            }
        }

        async fn observe(exchanges: &[(&'static str, u16, &'static str)]) -> Result<Observed<AddonBody>, ReadError> {
            let server = Recorded::start(exchanges).await;
            let mut answers = Addon::observe(&server.session(), &scope(), &[target()]).await.unwrap();
            assert_eq!(answers.len(), 1);
            answers.remove(0)
        }

        async fn write(
            exchanges: &[(&'static str, u16, &'static str)],
            action: Action<AddonBody>,
        ) -> (Result<(), WriteError>, Vec<String>) {
            let server = Recorded::start(exchanges).await;
            let done = Addon::write(&server.session(), &scope(), &target(), &action).await;
            (done, lines(&server.requests()))
        }

        #[tokio::test]
        async fn an_addon_is_read_with_its_owner() {
            assert_eq!(observe(&[ACTIVE]).await, Ok(Observed::Present { body: wanted(), owner: Some("p".into()) }));
        }

        #[tokio::test]
        async fn addon_is_absent_only_if_its_cluster_exists() {
            assert_eq!(observe(&[ABSENT, CLUSTER]).await, Ok(Observed::Absent));
            let no_cluster = (
                "GET /clusters/prod-eks",
                404,
                r#"{"__type":"ResourceNotFoundException","message":"No cluster found for name: prod-eks."}"#,
            );
            assert_eq!(
                observe(&[no_cluster]).await.unwrap_err().to_string(),
                "cannot read add-on `prod-eks/eks-pod-identity-agent`: cluster `prod-eks` does not exist in this account and region"
            );
        }

        #[tokio::test]
        async fn forbidden_is_not_absent() {
            let denied = (DESCRIBE, 403, r#"{"__type":"AccessDeniedException","message":"no"}"#);
            assert_eq!(
                observe(&[denied]).await,
                Err(ReadError::Denied {
                    what: "add-on `prod-eks/eks-pod-identity-agent`".into(),
                    why: "AccessDeniedException: no".into()
                })
            );
            let hidden = ("GET /clusters/prod-eks HTTP", 403, r#"{"__type":"AccessDeniedException","message":"no"}"#);
            assert!(matches!(observe(&[ABSENT, hidden]).await, Err(ReadError::Denied { .. })));
        }

        #[tokio::test]
        async fn create_names_cluster_addon_and_tags_and_no_version() {
            let created = ("POST /clusters/prod-eks/addons", 200, r#"{"addon":{"status":"CREATING"}}"#);
            let (done, requests) = write(&[created, ACTIVE], Action::Create { after: wanted() }).await;
            assert_eq!(done, Ok(()));
            let token = requests[0].split("\"clientRequestToken\":\"").nth(1).unwrap().split('"').next().unwrap();
            assert_eq!(
                requests[0].replace(token, "T"),
                r#"POST /clusters/prod-eks/addons {"addonName":"eks-pod-identity-agent","clientRequestToken":"T","tags":{"bailiwick:project":"p"}}"#
            );
            assert_eq!(requests[1..], [DESCRIBE]);
        }

        #[tokio::test]
        async fn repeated_create_accepts_our_addon_and_refuses_a_foreign_one() {
            let exists = (
                "POST /clusters/prod-eks/addons",
                409,
                r#"{"__type":"ResourceInUseException","message":"Addon already exists."}"#,
            );
            let (done, _) = write(&[exists, ACTIVE], Action::Create { after: wanted() }).await;
            assert_eq!(done, Ok(()));
            let foreign = (DESCRIBE, 200, r#"{"addon":{"status":"ACTIVE","tags":{}}}"#);
            let (done, _) = write(&[exists, foreign], Action::Create { after: wanted() }).await;
            assert_eq!(
                done.unwrap_err().to_string(),
                "cannot create add-on `prod-eks/eks-pod-identity-agent`: it conflicts with another owner: it was \
                 installed after the plan"
            );
        }

        #[tokio::test]
        async fn tags_are_set_and_removed_by_arn() {
            let mut before = wanted();
            before.tags.insert("old".into(), "1".into());
            let mut after = wanted();
            after.tags.insert("new".into(), "2".into());
            let tagged = ("POST /tags/", 200, "{}");
            let untagged = ("DELETE /tags/", 200, "{}");
            let action = Action::Update { before, after, changed: vec!["tags.new".into(), "tags.old".into()] };
            let (done, requests) = write(&[ACTIVE, tagged, untagged], action).await;
            assert_eq!(done, Ok(()));
            let arn = "arn%3Aaws%3Aeks%3Aus-east-1%3A111111111111%3Aaddon%2Fprod-eks%2Feks-pod-identity-agent%2F1";
            assert_eq!(
                requests,
                [
                    DESCRIBE.to_owned(),
                    format!(r#"POST /tags/{arn} {{"tags":{{"new":"2"}}}}"#),
                    format!("DELETE /tags/{arn}?tagKeys=old"),
                ]
            );
        }

        #[tokio::test]
        async fn release_only_removes_our_tags() {
            let untagged = ("DELETE /tags/", 200, "{}");
            let action = Action::Release { before: wanted() };
            let (done, requests) = write(&[ACTIVE, untagged], action).await;
            assert_eq!(done, Ok(()));
            assert!(requests[1].starts_with("DELETE /tags/"), "{requests:?}");
            assert!(requests[1].ends_with("?tagKeys=bailiwick%3Aproject"), "{requests:?}");
            assert_eq!(requests.len(), 2);
        }

        #[tokio::test]
        async fn delete_waits_until_the_addon_is_gone() {
            let deleted = ("DELETE /clusters/prod-eks/addons/eks-pod-identity-agent", 200, r#"{"addon":{}}"#);
            let action = || Action::Delete { before: wanted() };
            let (done, requests) = write(&[NO_ASSOCIATIONS, deleted, ABSENT, CLUSTER], action()).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    "GET /clusters/prod-eks/pod-identity-associations?maxResults=3",
                    "DELETE /clusters/prod-eks/addons/eks-pod-identity-agent",
                    DESCRIBE,
                    "GET /clusters/prod-eks",
                ]
            );
            let missing =
                ("DELETE /clusters/", 404, r#"{"__type":"ResourceNotFoundException","message":"No addon: x found"}"#);
            let (done, _) = write(&[NO_ASSOCIATIONS, missing, ABSENT, CLUSTER], action()).await;
            assert_eq!(done, Ok(()));
        }

        #[tokio::test]
        async fn an_agent_that_others_need_is_kept() {
            let others = (
                "GET /clusters/prod-eks/pod-identity-associations",
                200,
                r#"{"associations":[{"namespace":"logs","serviceAccount":"shipper","associationId":"a-1"}]}"#,
            );
            let server = Recorded::start(&[others]).await;
            let eks = client(&server.session(), &scope()).await.unwrap();
            let pauses = std::iter::repeat_n(Duration::ZERO, 1);
            assert_eq!(
                delete(&eks, &target().physical_id, pauses).await.unwrap_err().to_string(),
                "cannot delete add-on `prod-eks/eks-pod-identity-agent`: it is kept, because pods of `logs/shipper` get \
                 their credentials from it: remove these associations first"
            );
            let list = "GET /clusters/prod-eks/pod-identity-associations?maxResults=3";
            assert_eq!(lines(&server.requests()), [list, list]);
        }

        async fn settled(sequence: &[AddonStatus]) -> Result<(), WriteError> {
            let issue = AddonIssue::builder().code(AddonIssueCode::ConfigurationConflict).message("taken").build();
            let health = AddonHealth::builder().issues(issue).build();
            let left = Mutex::new(sequence.iter().cloned());
            settle(std::iter::repeat_n(Duration::ZERO, 2), "c/a", || async {
                let status = left.lock().unwrap().next();
                Ok(Some(Found::builder().set_status(status).health(health.clone()).build()))
            })
            .await
        }

        #[tokio::test]
        async fn waiting_ends_with_active_failure_or_timeout() {
            use AddonStatus::{Active, CreateFailed, Creating, Degraded};
            assert_eq!(settled(&[Creating, Creating, Active]).await, Ok(()));
            for (state, word) in [(CreateFailed, "CREATE_FAILED"), (Degraded, "DEGRADED")] {
                assert_eq!(
                    settled(&[Creating, state]).await.unwrap_err().to_string(),
                    format!("cannot create add-on `c/a`: it is {word}; ConfigurationConflict: taken")
                );
            }
            assert_eq!(
                settled(&[Creating, Creating, Creating, Active]).await.unwrap_err().to_string(),
                "cannot create add-on `c/a`: EKS is still installing it after two minutes: apply again later"
            );
            assert!(pauses().sum::<Duration>() <= Duration::from_mins(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod_identity_association::tests::{SPEC, desired};
    use super::*;

    #[test]
    fn agent_is_desired_once_where_pod_identity_is_used() {
        let (agents, problems) = desired::<Addon>(SPEC);
        assert_eq!(problems, []);
        let seen: Vec<_> = agents.iter().map(|r| (r.address.to_string(), r.physical_id.as_str())).collect();
        assert_eq!(seen, [("aws.eks.addon.prod/eks-pod-identity-agent".to_owned(), "prod-eks/eks-pod-identity-agent")]);
        assert_eq!(
            agents[0].body.tree(),
            serde_json::json!({"cluster": "prod-eks", "name": "eks-pod-identity-agent", "tags": {
                "bailiwick:project": "p", "bailiwick:address": "aws.eks.addon.prod/eks-pod-identity-agent"}})
        );
        assert!(agents[0].scope.to_string().contains("eu-west-1"), "{}", agents[0].scope);
    }

    #[test]
    fn existing_agent_or_unused_pod_identity_needs_no_addon() {
        assert!(
            desired::<Addon>(&SPEC.replace("pod_identity_agent: managed", "pod_identity_agent: existing")).0.is_empty()
        );
        assert!(desired::<Addon>(&SPEC.replace("identity: pod_identity", "identity: irsa")).0.is_empty());
    }
}
