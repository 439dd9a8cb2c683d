//! `kubernetes.namespace`: the namespace of service accounts that set it to be created.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::family::{KUBERNETES, PROJECT_MARK, cluster_scopes, is_object_desired};
use crate::access::{Chains, Facet, Instance};
use crate::address::Scope;
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Release,
};
use crate::provider::aws::eks::access_entry;
use crate::spec::{Facts, Spec};

/// A Kubernetes namespace.
pub(crate) struct Namespace;

/// The body of a namespace. Only the ownership label is managed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NamespaceBody {
    /// Its name.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Returns the desired namespaces by cluster, each with the place of the first service account that needs it.
pub(super) fn desired<'a>(spec: &'a Spec, chains: &Chains) -> BTreeMap<(&'a str, &'a str), &'a str> {
    let mut found = BTreeMap::new();
    for (key, account) in &spec.service_accounts {
        if account.create_namespace && is_object_desired(spec, chains, key) {
            found.entry((account.cluster.as_str(), account.namespace.as_str())).or_insert(key.as_str());
        }
    }
    found
}

/// Returns the part of a namespace's address after the kind.
pub(super) fn name(cluster: &str, namespace: &str) -> String {
    format!("{cluster}/{namespace}")
}

/// Returns a project's name as a label value, which must end with a letter or digit.
///
/// Source: Kubernetes documentation, "Labels and Selectors".
fn label_value(project: &str) -> &str {
    project.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
}

impl Kind for Namespace {
    const ABOUT: &'static About = &About {
        name: "kubernetes.namespace",
        api: KUBERNETES,
        home: Home::Location,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Tags,
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::LeaveOut,
        release: Release::Forget,
        presence: FieldClass::Setting,
        fields: &[BodyField::access("name").fixed(), BodyField::cosmetic("labels")],
    };
    type Body = NamespaceBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        cluster_scopes(spec)
    }

    fn facet(_: Instance<'_>) -> Facet<'_> {
        Facet::None
    }

    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, resources: &mut DesiredResources<NamespaceBody>) {
        for ((cluster, namespace), key) in desired(spec, chains) {
            let body = NamespaceBody {
                name: namespace.to_owned(),
                labels: [(PROJECT_MARK.to_owned(), label_value(&spec.project).to_owned())].into(),
            };
            let scope = Scope::cluster(cluster);
            let source = spec.source(&["service_accounts", key, "create_namespace"]);
            let resource = DesiredResource::new(name(cluster, namespace), scope, namespace, body).at(source);
            resources.add(access_entry::reached_through(resource, spec, facts, cluster));
        }
    }
}

#[cfg(feature = "cloud")]
mod live {
    use futures_util::future::join_all;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace as Object, PersistentVolumeClaim, Pod, ServiceAccount};
    use k8s_openapi::{Metadata, NamespaceResourceScope};
    use kube::Api;
    use kube::core::ObjectMeta;
    use serde_json::{Value, json};

    use super::super::api::{ClusterApi, is_leaving};
    use super::super::family::PROJECT_MARK;
    use super::{Namespace, NamespaceBody, label_value};
    use crate::address::{Address, Scope};
    use crate::kind::Tagged;
    use crate::kind::{Action, Kind as _};
    use crate::live::{ADOPT, Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::session::Session;

    impl Live for Namespace {
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let cluster = &ClusterApi::reach(cloud, scope).await?;
            let api: Api<Object> = Api::all(cluster.client());
            let all = cluster.list(&api, None, "the namespaces of the cluster").await?;
            let ours = all
                .into_iter()
                .map(|object| object.metadata)
                .filter(|meta| !is_leaving(meta) && owner(cloud, meta).as_deref() == Some(cloud.project()));
            let place = scope.as_cluster().unwrap_or_default();
            let found = ours.filter_map(|meta| meta.name).map(|name| Tagged {
                scope: scope.clone(),
                address: Address::new(Self::NAME, super::name(place, &name)),
                physical_id: name,
            });
            Ok(found.collect())
        }

        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<NamespaceBody>, ReadError> {
            let cluster = &ClusterApi::reach(cloud, scope).await?;
            let api: &Api<Object> = &Api::all(cluster.client());
            Ok(join_all(targets.iter().map(|target| async move {
                let name = target.physical_id.as_str();
                let found = cluster.get(api, name, &format!("namespace `{name}`")).await?;
                // A namespace that is being deleted is treated as absent: nothing can be created in it any more.
                Ok(match found.filter(|object| !is_leaving(&object.metadata)) {
                    Some(object) => Observed::Present {
                        owner: owner(cloud, &object.metadata),
                        body: NamespaceBody {
                            name: name.to_owned(),
                            labels: object.metadata.labels.unwrap_or_default(),
                        },
                    },
                    None => Observed::Absent,
                })
            }))
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<NamespaceBody>,
        ) -> Result<(), WriteError> {
            let cluster = ClusterApi::reach(cloud, scope).await?;
            let api: Api<Object> = Api::all(cluster.client());
            let name = target.physical_id.as_str();
            let what = |verb: &str| format!("{verb} namespace `{name}`");
            let live = cluster.get(&api, name, &format!("namespace `{name}`")).await?;
            let ours = |meta: &ObjectMeta| owner(cloud, meta).as_deref() == Some(cloud.project());
            match (action, live) {
                (Action::Create { .. } | Action::Update { .. }, Some(live)) if is_leaving(&live.metadata) => {
                    Err(WriteError::NotYet {
                        what: what("create"),
                        awaited: "the old namespace to be deleted".into(),
                        why: "it is being deleted".into(),
                    })
                }
                (Action::Create { .. }, Some(live)) if !ours(&live.metadata) => Err(WriteError::Conflict {
                    what: what("create"),
                    holder: owner(cloud, &live.metadata)
                        .map_or_else(|| "another owner".into(), |project| format!("project `{project}`")),
                    why: "it was created after the plan".into(),
                    help: Some(ADOPT),
                }),
                (Action::Update { .. }, None) => Err(WriteError::Changed {
                    what: what("label"),
                    why: "it was deleted after the plan was created".into(),
                }),
                (Action::Create { after }, live) => {
                    let configuration = configuration(name, live.as_ref().map(|l| &l.metadata), Some(after));
                    cluster.apply(&api, name, &configuration, what("create")).await.map(|_| ())
                }
                (Action::Update { after, .. }, Some(live)) => {
                    let configuration = configuration(name, Some(&live.metadata), Some(after));
                    cluster.apply(&api, name, &configuration, what("label")).await.map(|_| ())
                }
                (Action::Delete { .. } | Action::Release { .. }, None) => Ok(()),
                (Action::Delete { .. } | Action::Release { .. }, Some(live)) if is_leaving(&live.metadata) => Ok(()),
                (Action::Release { .. }, Some(live)) => {
                    let configuration = configuration(name, Some(&live.metadata), None);
                    cluster.apply(&api, name, &configuration, what("unlabel")).await.map(|_| ())
                }
                (Action::Delete { .. }, Some(live)) if !ours(&live.metadata) => Err(WriteError::Failed {
                    what: what("delete"),
                    why: format!(
                        "it is kept, because it lost its label `{PROJECT_MARK}` and may belong to another owner now: \
                         delete it with kubectl, or forget it with `bailiwick state rm {}`",
                        target.address
                    ),
                }),
                (Action::Delete { .. }, Some(live)) => {
                    keep_if_used(&cluster, name).await?;
                    cluster.delete(&api, &live.metadata, what("delete")).await
                }
            }
        }
    }

    fn owner(cloud: &Session, meta: &ObjectMeta) -> Option<String> {
        let mark = meta.labels.as_ref()?.get(PROJECT_MARK)?;
        let ours = label_value(cloud.project()) == mark;
        Some(if ours { cloud.project().to_owned() } else { mark.clone() })
    }

    /// Builds the configuration to apply. Without a body, it releases all managed fields. The uid prevents an apply
    /// from recreating a deleted object.
    fn configuration(name: &str, live: Option<&ObjectMeta>, body: Option<&NamespaceBody>) -> Value {
        let meta = ObjectMeta {
            name: Some(name.to_owned()),
            uid: live.and_then(|meta| meta.uid.clone()),
            labels: body.map(|body| body.labels.clone()),
            ..ObjectMeta::default()
        };
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    }

    /// Refuses to delete a namespace that still contains objects, because they would be deleted too.
    async fn keep_if_used(cluster: &ClusterApi<'_>, namespace: &str) -> Result<(), WriteError> {
        let found = [
            others::<Pod>(cluster, namespace, "pod", &[]).await?,
            others::<Deployment>(cluster, namespace, "deployment", &[]).await?,
            others::<PersistentVolumeClaim>(cluster, namespace, "persistent volume claim", &[]).await?,
            others::<ServiceAccount>(cluster, namespace, "service account", &["default"]).await?,
            others::<ConfigMap>(cluster, namespace, "config map", &["kube-root-ca.crt"]).await?,
        ]
        .concat();
        if found.is_empty() {
            return Ok(());
        }
        Err(WriteError::Failed {
            what: format!("delete namespace `{namespace}`"),
            why: format!("it is kept, because it still holds {}: remove what is in it first", found.join(", ")),
        })
    }

    /// Lists some objects of a type in a namespace, except those that Kubernetes creates in every namespace.
    async fn others<K>(
        cluster: &ClusterApi<'_>,
        namespace: &str,
        what: &str,
        expected: &[&str],
    ) -> Result<Vec<String>, ReadError>
    where
        K: k8s_openapi::Resource<Scope = NamespaceResourceScope> + Metadata<Ty = ObjectMeta>,
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(cluster.client(), namespace);
        let found = cluster.list(&api, Some(4), &format!("the {what}s of namespace `{namespace}`")).await?;
        Ok(found
            .iter()
            .filter_map(|object| object.metadata().name.as_deref())
            .filter(|name| !expected.contains(name))
            .map(|name| format!("{what} `{name}`"))
            .collect())
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::recorded::{Recorded, lines};

        type Exchange = (&'static str, u16, &'static str);

        const GET: &str = "GET /api/v1/namespaces/kserve";
        const ABSENT: Exchange = (
            "GET /api/v1/namespaces/kserve HTTP",
            404,
            r#"{"kind":"Status","reason":"NotFound","code":404,"message":"namespaces \"kserve\" not found","details":{"name":"kserve","kind":"namespaces"}}"#,
        );
        const OURS: Exchange = (
            "GET /api/v1/namespaces/kserve HTTP",
            200,
            r#"{"metadata":{"name":"kserve","uid":"u-1","labels":{"bailiwick.dev/project":"p","team":"ml"}}}"#,
        );
        const THEIRS: Exchange =
            ("GET /api/v1/namespaces/kserve HTTP", 200, r#"{"metadata":{"name":"kserve","uid":"u-1"}}"#);
        const LEAVING: Exchange = (
            "GET /api/v1/namespaces/kserve HTTP",
            200,
            r#"{"metadata":{"name":"kserve","uid":"u-1","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#,
        );
        const PATCHED: Exchange = ("PATCH /api/v1/namespaces/kserve?", 200, r#"{"metadata":{"name":"kserve"}}"#);
        const DELETED: Exchange = ("DELETE /api/v1/namespaces/kserve", 200, r#"{"metadata":{"name":"kserve"}}"#);
        const EMPTY: &str = r#"{"metadata":{},"items":[]}"#;
        const NO_PODS: Exchange = ("/pods?", 200, EMPTY);
        const NO_DEPLOYMENTS: Exchange = ("/deployments?", 200, EMPTY);
        const NO_CLAIMS: Exchange = ("/persistentvolumeclaims?", 200, EMPTY);
        const NO_ACCOUNTS: Exchange =
            ("/serviceaccounts?", 200, r#"{"metadata":{},"items":[{"metadata":{"name":"default"}}]}"#);
        const NO_MAPS: Exchange =
            ("/configmaps?", 200, r#"{"metadata":{},"items":[{"metadata":{"name":"kube-root-ca.crt"}}]}"#);

        fn scope() -> Scope {
            Scope::cluster("prod")
        }

        fn target() -> Target {
            Target::new(Address::new(Namespace::NAME, "prod/kserve"), "kserve")
        }

        fn wanted() -> NamespaceBody {
            NamespaceBody { name: "kserve".into(), labels: [(PROJECT_MARK.to_owned(), "p".to_owned())].into() }
        }

        async fn observe(exchanges: &[Exchange]) -> Result<Observed<NamespaceBody>, ReadError> {
            let server = Recorded::start(exchanges).await;
            let mut answers = Namespace::observe(&server.cluster_session(), &scope(), &[target()]).await.unwrap();
            assert_eq!(answers.len(), 1);
            answers.remove(0)
        }

        async fn write(exchanges: &[Exchange], action: Action<NamespaceBody>) -> (Result<(), WriteError>, Vec<String>) {
            let server = Recorded::start(exchanges).await;
            let done = Namespace::write(&server.cluster_session(), &scope(), &target(), &action).await;
            (done, lines(&server.requests()))
        }

        #[tokio::test]
        async fn present_absent_and_forbidden_are_distinguished() {
            let mut body = wanted();
            body.labels.insert("team".into(), "ml".into());
            assert_eq!(observe(&[OURS]).await, Ok(Observed::Present { body, owner: Some("p".into()) }));
            assert_eq!(observe(&[ABSENT]).await, Ok(Observed::Absent));
            assert_eq!(observe(&[LEAVING]).await, Ok(Observed::Absent));
            let denied =
                (GET, 403, r#"{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"no"}"#);
            assert_eq!(
                observe(&[denied]).await,
                Err(ReadError::Denied { what: "namespace `kserve`".into(), why: "no (403)".into() })
            );
            assert!(matches!(observe(&[(GET, 404, "<html>")]).await, Err(ReadError::Failed { .. })));
        }

        #[tokio::test]
        async fn create_applies_our_label() {
            let (done, requests) = write(&[ABSENT, PATCHED], Action::Create { after: wanted() }).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests,
                [
                    GET,
                    r#"PATCH /api/v1/namespaces/kserve?fieldManager=bailiwick {"apiVersion":"v1","kind":"Namespace","metadata":{"labels":{"bailiwick.dev/project":"p"},"name":"kserve"}}"#
                ]
            );
        }

        #[tokio::test]
        async fn create_accepts_our_namespace_retries_a_terminating_one_and_refuses_a_foreign_one() {
            let create = || Action::Create { after: wanted() };
            assert_eq!(write(&[OURS, PATCHED], create()).await.0, Ok(()));
            assert!(matches!(write(&[LEAVING], create()).await.0, Err(WriteError::NotYet { .. })));
            assert_eq!(
                write(&[THEIRS], create()).await.0.unwrap_err().to_string(),
                "cannot create namespace `kserve`: it conflicts with another owner: it was created after the plan"
            );
        }

        #[tokio::test]
        async fn adopt_and_release_change_only_our_label_on_that_object() {
            let update = Action::Update {
                before: NamespaceBody { name: "kserve".into(), labels: [].into() },
                after: wanted(),
                changed: vec!["labels.bailiwick.dev/project".into()],
            };
            let (done, requests) = write(&[THEIRS, PATCHED], update).await;
            assert_eq!(done, Ok(()));
            let path = "PATCH /api/v1/namespaces/kserve?fieldManager=bailiwick";
            assert_eq!(
                requests[1],
                format!(
                    r#"{path} {{"apiVersion":"v1","kind":"Namespace","metadata":{{"labels":{{"bailiwick.dev/project":"p"}},"name":"kserve","uid":"u-1"}}}}"#
                )
            );
            let (done, requests) = write(&[OURS, PATCHED], Action::Release { before: wanted() }).await;
            assert_eq!(done, Ok(()));
            assert_eq!(
                requests[1],
                format!(
                    r#"{path} {{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"kserve","uid":"u-1"}}}}"#
                )
            );
        }

        #[tokio::test]
        async fn delete_removes_an_empty_namespace_by_uid() {
            let all = [NO_PODS, NO_DEPLOYMENTS, NO_CLAIMS, NO_ACCOUNTS, NO_MAPS, OURS, DELETED];
            let delete = || Action::Delete { before: wanted() };
            let (done, requests) = write(&all, delete()).await;
            assert_eq!(done, Ok(()));
            assert_eq!(requests.len(), 7, "{requests:?}");
            let last = requests.last().unwrap();
            assert!(last.starts_with("DELETE /api/v1/namespaces/kserve"), "{last}");
            assert!(last.contains(r#""preconditions":{"uid":"u-1"}"#), "{last}");
            for gone in [ABSENT, LEAVING] {
                let (done, requests) = write(&[gone], delete()).await;
                assert_eq!((done, requests.len()), (Ok(()), 1));
            }
        }

        #[tokio::test]
        async fn a_namespace_that_is_used_is_kept() {
            let pods = ("/pods?", 200, r#"{"metadata":{},"items":[{"metadata":{"name":"llama-0"}}]}"#);
            let maps = (
                "/configmaps?",
                200,
                r#"{"metadata":{},"items":[{"metadata":{"name":"kube-root-ca.crt"}},{"metadata":{"name":"settings"}}]}"#,
            );
            let all = [pods, NO_DEPLOYMENTS, NO_CLAIMS, NO_ACCOUNTS, maps, OURS, DELETED];
            let delete = || Action::Delete { before: wanted() };
            let (done, requests) = write(&all, delete()).await;
            assert_eq!(
                done.unwrap_err().to_string(),
                "cannot delete namespace `kserve`: it is kept, because it still holds pod `llama-0`, config map `settings`: remove what is in it first"
            );
            assert!(requests.iter().all(|r| r.starts_with("GET ")), "{requests:?}");
            let hidden = (
                "/pods?",
                403,
                r#"{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"no"}"#,
            );
            let (done, _) = write(&[hidden, OURS, DELETED], delete()).await;
            assert!(matches!(done, Err(WriteError::Read(ReadError::Denied { .. }))), "{done:?}");
        }

        #[tokio::test]
        async fn namespace_without_our_label_is_kept() {
            let (done, requests) = write(&[THEIRS, PATCHED], Action::Delete { before: wanted() }).await;
            assert_eq!(
                done.unwrap_err().to_string(),
                "cannot delete namespace `kserve`: it is kept, because it lost its label `bailiwick.dev/project` and \
                 may belong to another owner now: delete it with kubectl, or forget it with `bailiwick state rm \
                 kubernetes.namespace.prod/kserve`"
            );
            assert_eq!(requests, [GET]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::desired;
    use super::*;

    #[test]
    fn one_namespace_for_all_service_accounts_that_ask_for_it() {
        let (found, problems) = desired::<Namespace>(
            "  one: { cluster: prod, namespace: kserve, name: one, create_namespace: true }\n  \
             two: { cluster: prod, namespace: kserve, name: two, create_namespace: true }\n  \
             three: { cluster: prod, namespace: other, name: three }\n  \
             four: { cluster: prod, namespace: theirs, name: four, create_namespace: true, manage: annotation }\n  \
             idle: { cluster: prod, namespace: empty, name: idle, create_namespace: true }\n",
        );
        assert_eq!(problems, []);
        let seen: Vec<_> = found.iter().map(|r| (r.address.to_string(), r.physical_id.as_str())).collect();
        assert_eq!(seen, [("kubernetes.namespace.prod/kserve".to_owned(), "kserve")]);
        assert_eq!(
            found[0].body.tree(),
            serde_json::json!({"name": "kserve", "labels": {"bailiwick.dev/project": "p"}})
        );
    }

    #[test]
    fn project_is_shortened_to_a_label_value() {
        assert_eq!([label_value("p"), label_value("team-"), label_value("a_b-_")], ["p", "team", "a_b"]);
    }
}
