//! `kubernetes.service_account`: the service account of pods, with the annotation that gives them a role under IRSA.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::family::{KUBERNETES, PROJECT_MARK, cluster_scopes};
use super::namespace::{self, Namespace};
use crate::access::{self, Chains, Facet, Instance};
use crate::address::{Address, Scope};
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Document;
use crate::kind::{
    About, BodyField, DesiredResource, DesiredResources, FieldClass, Home, Kind, NamedBy, OnLoss, OnSilence, OwnedBy,
    Release,
};
use crate::provider::aws::eks::access_entry;
use crate::provider::aws::iam::role::Role;
use crate::spec::{Facts, Identity, Manage, ROLE_ANNOTATION, Spec};

/// A Kubernetes service account.
pub(crate) struct ServiceAccount;

/// The body of a service account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceAccountBody {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Annotations, without the ownership annotation.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether the project owns the object, and not only fields of it.
    #[serde(default)]
    pub object: bool,
}

impl Kind for ServiceAccount {
    const ABOUT: &'static About = &About {
        name: "kubernetes.service_account",
        api: KUBERNETES,
        home: Home::Location,
        named_by: NamedBy::Name,
        owned_by: OwnedBy::Tags,
        on_loss: OnLoss::Recreate,
        on_silence: OnSilence::LeaveOut,
        release: Release::Forget,
        presence: FieldClass::Access,
        fields: &[
            BodyField::access("namespace").fixed(),
            BodyField::access("name").fixed(),
            BodyField::access("annotations"),
            BodyField::cosmetic("labels"),
            BodyField::setting("object"),
        ],
    };
    type Body = ServiceAccountBody;

    fn scopes(spec: &Spec) -> BTreeSet<Scope> {
        cluster_scopes(spec)
    }

    /// Returns its namespace, so that the namespace is not deleted first.
    fn needs(scope: &Scope, physical_id: &str) -> Option<Address> {
        let (namespace, _) = physical_id.split_once('/')?;
        Some(Address::new(Namespace::NAME, namespace::name(scope.as_cluster()?, namespace)))
    }

    /// Returns the object without the project's annotations and labels.
    fn released(live: &Document, before: Option<&Document>) -> Document {
        let mut tree = live.tree();
        let ours = before.map(Document::tree).unwrap_or_default();
        for field in ["annotations", "labels"] {
            let keys = ours.get(field).and_then(Value::as_object).into_iter().flat_map(Map::keys);
            if let Some(live) = tree.get_mut(field).and_then(Value::as_object_mut) {
                for key in keys {
                    live.remove(key);
                }
            }
        }
        tree.into()
    }

    fn facet(object: Instance<'_>) -> Facet<'_> {
        let Some(cluster) = object.scope.as_cluster() else { return Facet::None };
        let annotations = object.body.field::<BTreeMap<String, String>>("annotations");
        Facet::ServiceAccount {
            cluster,
            namespace: object.body.field("namespace").unwrap_or_default(),
            name: object.body.field("name").unwrap_or_default(),
            role: annotations.and_then(|mut all| all.remove(ROLE_ANNOTATION)),
        }
    }

    fn desire(spec: &Spec, facts: &Facts, chains: &Chains, resources: &mut DesiredResources<ServiceAccountBody>) {
        let namespaces = namespace::desired(spec, chains);
        for (key, account) in spec.service_accounts.iter().filter(|(_, a)| a.manage != Manage::None) {
            let role_key = access::role_key(spec, key);
            let Some(role) = chains.roles().get(role_key) else { continue };
            if account.annotations.contains_key(PROJECT_MARK) {
                resources.problem(
                    Diagnostic::new(
                        Code::WrongValue,
                        format!("`{PROJECT_MARK}` is reserved: it records which project owns the object"),
                    )
                    .at(spec.source(&["service_accounts", key, "annotations", PROJECT_MARK]))
                    .help("remove it here"),
                );
                continue;
            }
            let body = ServiceAccountBody {
                namespace: account.namespace.clone(),
                name: account.name.clone(),
                annotations: access::annotations(spec, account, role),
                labels: account.labels.clone(),
                object: account.manage == Manage::Object,
            };
            if !body.object && body.annotations.is_empty() && body.labels.is_empty() {
                continue;
            }
            let scope = Scope::cluster(account.cluster.as_str());
            let physical_id = format!("{}/{}", account.namespace, account.name);
            let mut resource =
                DesiredResource::new(key, scope, physical_id, body).at(spec.source(&["service_accounts", key]));
            resource.protect = account.protect;
            if role.managed && account.identity(spec) == Identity::Irsa {
                resource = resource.after::<Role>(role_key);
            }
            if namespaces.contains_key(&(account.cluster.as_str(), account.namespace.as_str())) {
                resource = resource.after::<Namespace>(&namespace::name(&account.cluster, &account.namespace));
            }
            resources.add(access_entry::reached_through(resource, spec, facts, &account.cluster));
        }
    }
}

#[cfg(feature = "cloud")]
mod live {
    use std::collections::BTreeMap;

    use futures_util::future::join_all;
    use k8s_openapi::api::core::v1::ServiceAccount as Object;
    use kube::Api;
    use kube::core::ObjectMeta;
    use serde_json::{Value, json};

    use super::super::api::{ClusterApi, is_leaving, is_managed, other_managers};
    use super::super::family::PROJECT_MARK;
    use super::{ServiceAccount, ServiceAccountBody};
    use crate::address::{Address, Scope};
    use crate::kind::Tagged;
    use crate::kind::{Action, Kind as _};
    use crate::live::{ADOPT, Answers, Live, Observed, ReadError, Target, WriteError};
    use crate::session::Session;

    /// With more targets than this in one namespace, one list is cheaper than single reads.
    const GETS: usize = 3;

    impl Live for ServiceAccount {
        /// The ownership annotation does not contain the key in the spec, so the address has the place instead.
        async fn tagged(cloud: &Session, scope: &Scope) -> Result<Vec<Tagged>, ReadError> {
            let Some(key) = scope.as_cluster() else { return Ok(Vec::new()) };
            let cluster = &ClusterApi::reach(cloud, scope).await?;
            let api: Api<Object> = Api::all(cluster.client());
            let all = cluster.list(&api, None, "the service accounts of the cluster").await?;
            let ours = all.into_iter().map(|object| object.metadata);
            let ours = ours.filter(|meta| !is_leaving(meta) && is_marked(cloud.project(), meta));
            let found = ours.filter_map(|meta| Some(format!("{}/{}", meta.namespace?, meta.name?)));
            let found = found.map(|physical_id| Tagged {
                scope: scope.clone(),
                address: Address::new(Self::NAME, format!("{key}/{physical_id}")),
                physical_id,
            });
            Ok(found.collect())
        }

        async fn observe(
            cloud: &Session,
            scope: &Scope,
            targets: &[Target],
        ) -> Result<Answers<ServiceAccountBody>, ReadError> {
            let cluster = &ClusterApi::reach(cloud, scope).await?;
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for target in targets {
                *counts.entry(parts(&target.physical_id).0).or_default() += 1;
            }
            let crowded = counts.into_iter().filter(|(_, count)| *count > GETS).map(|(namespace, _)| namespace);
            let lists = join_all(crowded.map(|namespace| async move {
                let api: Api<Object> = Api::namespaced(cluster.client(), namespace);
                let listed =
                    cluster.list(&api, None, &format!("the service accounts of namespace `{namespace}`")).await;
                (namespace, listed)
            }))
            .await;
            let lists: &BTreeMap<&str, Result<Vec<Object>, ReadError>> = &lists.into_iter().collect();
            Ok(join_all(targets.iter().map(|target| async move {
                let (namespace, name) = parts(&target.physical_id);
                let found = match lists.get(namespace) {
                    Some(Ok(all)) => all.iter().find(|object| object.metadata.name.as_deref() == Some(name)).cloned(),
                    // A caller who cannot list all may still be allowed to read single ones.
                    None | Some(Err(ReadError::Denied { .. })) => {
                        let api: Api<Object> = Api::namespaced(cluster.client(), namespace);
                        cluster.get(&api, name, &format!("service account `{}`", target.physical_id)).await?
                    }
                    Some(Err(error)) => return Err(error.clone()),
                };
                Ok(match found.filter(|object| !is_leaving(&object.metadata)) {
                    Some(object) => {
                        let owner = owner(cloud.project(), &object.metadata);
                        Observed::Present { body: body(cloud.project(), namespace, name, object.metadata), owner }
                    }
                    None => Observed::Absent,
                })
            }))
            .await)
        }

        async fn write(
            cloud: &Session,
            scope: &Scope,
            target: &Target,
            action: &Action<ServiceAccountBody>,
        ) -> Result<(), WriteError> {
            let cluster = ClusterApi::reach(cloud, scope).await?;
            let (namespace, name) = parts(&target.physical_id);
            let api: Api<Object> = Api::namespaced(cluster.client(), namespace);
            let account = RemoteAccount { cluster, api, project: cloud.project(), namespace, name };
            match (action, account.read().await?) {
                (Action::Create { .. } | Action::Update { .. }, Some(live)) if is_leaving(&live) => {
                    Err(WriteError::NotYet {
                        what: account.what("create"),
                        awaited: "the old one to be deleted".into(),
                        why: "it is being deleted".into(),
                    })
                }
                (Action::Create { after }, live) => account.create(after, live.as_ref()).await,
                (Action::Update { before, after, .. }, live) => account.update(before, after, live.as_ref()).await,
                (Action::Delete { .. } | Action::Release { .. }, None) => Ok(()),
                (Action::Delete { .. } | Action::Release { .. }, Some(live)) if is_leaving(&live) => Ok(()),
                (Action::Delete { before }, Some(live)) if before.object => account.delete(&live).await,
                (Action::Delete { .. } | Action::Release { .. }, Some(live)) => account.release(&live).await,
            }
        }
    }

    /// One service account, and the API to access it.
    struct RemoteAccount<'a> {
        cluster: ClusterApi<'a>,
        api: Api<Object>,
        project: &'a str,
        namespace: &'a str,
        name: &'a str,
    }

    impl RemoteAccount<'_> {
        fn what(&self, verb: &str) -> String {
            format!("{verb} service account `{}/{}`", self.namespace, self.name)
        }

        fn configuration(&self, live: Option<&ObjectMeta>, body: Option<&ServiceAccountBody>) -> Value {
            configuration(self.project, self.namespace, self.name, live, body)
        }

        async fn read(&self) -> Result<Option<ObjectMeta>, ReadError> {
            let what = format!("service account `{}/{}`", self.namespace, self.name);
            Ok(self.cluster.get(&self.api, self.name, &what).await?.map(|object| object.metadata))
        }

        async fn create(&self, after: &ServiceAccountBody, live: Option<&ObjectMeta>) -> Result<(), WriteError> {
            match live {
                None if !after.object => {
                    return Err(WriteError::Failed {
                        what: self.what("annotate"),
                        why: "it does not exist, and `manage: annotation` does not create it: create it with the tool \
                              that owns it, or write `manage: object`"
                            .into(),
                    });
                }
                Some(live) if after.object && owner(self.project, live).as_deref() != Some(self.project) => {
                    return Err(WriteError::Conflict {
                        what: self.what("create"),
                        holder: owner(self.project, live)
                            .map_or_else(|| "another owner".into(), |project| format!("project `{project}`")),
                        why: "it was created after the plan".into(),
                        help: Some(ADOPT),
                    });
                }
                _ => {}
            }
            let configuration = self.configuration(live, Some(after));
            let done = self.cluster.apply(&self.api, self.name, &configuration, self.what("create")).await;
            done.map(|_| ())
        }

        async fn update(
            &self,
            before: &ServiceAccountBody,
            after: &ServiceAccountBody,
            live: Option<&ObjectMeta>,
        ) -> Result<(), WriteError> {
            let failed = |why: String| WriteError::Failed { what: self.what("update"), why };
            if live.is_none() {
                let (what, why) = (self.what("update"), "it was deleted after the plan was created".to_owned());
                return Err(WriteError::Changed { what, why });
            }
            let configuration = self.configuration(live, Some(after));
            let done = self.cluster.apply(&self.api, self.name, &configuration, self.what("update")).await?;
            left_over(&done.metadata, before, after).map_or(Ok(()), |why| Err(failed(why)))
        }

        /// Deletes an owned object. If others manage fields of it by now, it is only released.
        async fn delete(&self, live: &ObjectMeta) -> Result<(), WriteError> {
            if is_marked(self.project, live) && other_managers(live, &[]).is_empty() {
                return self.cluster.delete(&self.api, live, self.what("delete")).await;
            }
            self.release(live).await
        }

        async fn release(&self, live: &ObjectMeta) -> Result<(), WriteError> {
            let configuration = self.configuration(Some(live), None);
            self.cluster.apply(&self.api, self.name, &configuration, self.what("release")).await.map(|_| ())
        }
    }

    fn parts(id: &str) -> (&str, &str) {
        id.split_once('/').unwrap_or(("", id))
    }

    fn mark(meta: &ObjectMeta) -> Option<&String> {
        meta.annotations.as_ref()?.get(PROJECT_MARK)
    }

    fn is_marked(project: &str, meta: &ObjectMeta) -> bool {
        mark(meta).is_some_and(|mark| mark == project)
    }

    /// Returns the project in the ownership annotation. Without one, this project if it manages fields of the object.
    fn owner(project: &str, meta: &ObjectMeta) -> Option<String> {
        mark(meta).cloned().or_else(|| is_managed(meta).then(|| project.to_owned()))
    }

    fn body(project: &str, namespace: &str, name: &str, meta: ObjectMeta) -> ServiceAccountBody {
        let object = is_marked(project, &meta);
        let mut annotations = meta.annotations.unwrap_or_default();
        annotations.remove(PROJECT_MARK);
        let labels = meta.labels.unwrap_or_default();
        ServiceAccountBody { namespace: namespace.to_owned(), name: name.to_owned(), annotations, labels, object }
    }

    /// Builds the configuration to apply. Without a body, it releases all managed fields. The uid prevents an apply
    /// from recreating a deleted object.
    fn configuration(
        project: &str,
        namespace: &str,
        name: &str,
        live: Option<&ObjectMeta>,
        body: Option<&ServiceAccountBody>,
    ) -> Value {
        let mut annotations = body.map(|body| body.annotations.clone()).unwrap_or_default();
        if body.is_some_and(|body| body.object) {
            annotations.insert(PROJECT_MARK.to_owned(), project.to_owned());
        }
        let labels = body.map(|body| body.labels.clone()).unwrap_or_default();
        let meta = ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: live.and_then(|meta| meta.uid.clone()),
            annotations: Some(annotations).filter(|map| !map.is_empty()),
            labels: Some(labels).filter(|map| !map.is_empty()),
            ..ObjectMeta::default()
        };
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    }

    /// Reports fields that Bailiwick released, but that still exist because others manage them too.
    fn left_over(done: &ObjectMeta, before: &ServiceAccountBody, after: &ServiceAccountBody) -> Option<String> {
        let maps = [
            ("annotations", &before.annotations, &after.annotations, &done.annotations),
            ("labels", &before.labels, &after.labels, &done.labels),
        ];
        let (field, key) = maps.into_iter().find_map(|(field, before, after, done)| {
            let done = done.as_ref()?;
            before.keys().find(|key| !after.contains_key(*key) && done.contains_key(*key)).map(|key| (field, key))
        })?;
        let managers = other_managers(done, &["f:metadata", &format!("f:{field}"), &format!("f:{key}")]);
        let holder = if managers.is_empty() { "another field manager".to_owned() } else { managers.join(" and ") };
        Some(format!(
            ".metadata.{field}.{key} was removed from the spec, but stays, because {holder} wrote it too: remove it \
             there"
        ))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::address::Address;
        use crate::kind::Kind;
        use crate::provider::recorded::{Recorded, lines};
        use crate::spec::ROLE_ANNOTATION;

        type Exchange = (&'static str, u16, &'static str);

        const PATH: &str = "/api/v1/namespaces/kserve/serviceaccounts/loader";
        const GET: &str = "GET /api/v1/namespaces/kserve/serviceaccounts/loader HTTP";
        const PATCH: &str = "PATCH /api/v1/namespaces/kserve/serviceaccounts/loader?";
        const DELETE: &str = "DELETE /api/v1/namespaces/kserve/serviceaccounts/loader";
        const ABSENT: Exchange = (
            GET,
            404,
            r#"{"kind":"Status","reason":"NotFound","code":404,"message":"serviceaccounts \"loader\" not found","details":{"name":"loader","kind":"serviceaccounts"}}"#,
        );
        const OURS: Exchange = (
            GET,
            200,
            r#"{"metadata":{"name":"loader","uid":"u-1","annotations":{"bailiwick.dev/project":"p","eks.amazonaws.com/role-arn":"arn:r","x":"y"},
            "managedFields":[{"manager":"bailiwick","operation":"Apply","fieldsV1":{"f:metadata":{"f:annotations":{"f:bailiwick.dev/project":{}}}}},
            {"manager":"kube-controller-manager","operation":"Update","fieldsV1":{"f:secrets":{}}}]}}"#,
        );
        const SHARED: Exchange = (
            GET,
            200,
            r#"{"metadata":{"name":"loader","uid":"u-1","annotations":{"bailiwick.dev/project":"p"},
            "managedFields":[{"manager":"bailiwick","operation":"Apply","fieldsV1":{"f:metadata":{}}},
            {"manager":"kubectl-edit","operation":"Update","fieldsV1":{"f:imagePullSecrets":{}}}]}}"#,
        );
        const THEIRS: Exchange = (GET, 200, r#"{"metadata":{"name":"loader","uid":"u-1","labels":{"app":"x"}}}"#);
        const PATCHED: Exchange = (PATCH, 200, r#"{"metadata":{"name":"loader"}}"#);
        const DELETED: Exchange = (DELETE, 200, r#"{"kind":"Status","status":"Success"}"#);

        fn scope() -> Scope {
            Scope::cluster("prod")
        }

        fn target(name: &str) -> Target {
            Target::new(Address::new(ServiceAccount::NAME, name), format!("kserve/{name}"))
        }

        fn wanted(annotations: &[(&str, &str)], object: bool) -> ServiceAccountBody {
            let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            ServiceAccountBody {
                namespace: "kserve".into(),
                name: "loader".into(),
                annotations,
                labels: BTreeMap::new(),
                object,
            }
        }

        fn irsa(object: bool) -> ServiceAccountBody {
            wanted(&[(ROLE_ANNOTATION, "arn:r")], object)
        }

        async fn observe(exchanges: &[Exchange]) -> Result<Observed<ServiceAccountBody>, ReadError> {
            let server = Recorded::start(exchanges).await;
            let answers = ServiceAccount::observe(&server.cluster_session(), &scope(), &[target("loader")]).await;
            let mut answers = answers.unwrap();
            assert_eq!(answers.len(), 1);
            answers.remove(0)
        }

        async fn write(
            exchanges: &[Exchange],
            action: Action<ServiceAccountBody>,
        ) -> (Result<(), WriteError>, Vec<String>) {
            let server = Recorded::start(exchanges).await;
            let done = ServiceAccount::write(&server.cluster_session(), &scope(), &target("loader"), &action).await;
            (done, lines(&server.requests()))
        }

        fn applied(meta: &str) -> String {
            format!(
                r#"PATCH {PATH}?fieldManager=bailiwick {{"apiVersion":"v1","kind":"ServiceAccount","metadata":{meta}}}"#
            )
        }

        #[tokio::test]
        async fn ownership_annotation_gives_the_owner_and_is_not_in_the_body() {
            assert_eq!(
                observe(&[OURS]).await,
                Ok(Observed::Present {
                    body: wanted(&[(ROLE_ANNOTATION, "arn:r"), ("x", "y")], true),
                    owner: Some("p".into())
                })
            );
            let other = (GET, 200, r#"{"metadata":{"name":"loader","annotations":{"bailiwick.dev/project":"q"}}}"#);
            assert_eq!(
                observe(&[other]).await,
                Ok(Observed::Present { body: wanted(&[], false), owner: Some("q".into()) })
            );
            let annotated = (
                GET,
                200,
                r#"{"metadata":{"name":"loader","annotations":{"eks.amazonaws.com/role-arn":"arn:r"},
                "managedFields":[{"manager":"bailiwick","operation":"Apply","fieldsV1":{"f:metadata":{}}}]}}"#,
            );
            assert_eq!(
                observe(&[annotated]).await,
                Ok(Observed::Present { body: irsa(false), owner: Some("p".into()) })
            );
            assert!(matches!(observe(&[THEIRS]).await, Ok(Observed::Present { owner: None, .. })));
        }

        #[tokio::test]
        async fn absent_and_forbidden_are_distinguished() {
            assert_eq!(observe(&[ABSENT]).await, Ok(Observed::Absent));
            let denied =
                (GET, 403, r#"{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"no"}"#);
            assert_eq!(
                observe(&[denied]).await,
                Err(ReadError::Denied { what: "service account `kserve/loader`".into(), why: "no (403)".into() })
            );
        }

        #[tokio::test]
        async fn many_in_one_namespace_are_read_from_one_paged_list() {
            let second =
                ("continue=2", 200, r#"{"metadata":{},"items":[{"metadata":{"name":"d"}},{"metadata":{"name":"a"}}]}"#);
            let first = (
                "GET /api/v1/namespaces/kserve/serviceaccounts?",
                200,
                r#"{"metadata":{"continue":"2"},"items":[{"metadata":{"name":"b"}}]}"#,
            );
            let targets: Vec<Target> = ["a", "b", "c", "d"].map(target).into();
            let server = Recorded::start(&[second, first]).await;
            let answers = ServiceAccount::observe(&server.cluster_session(), &scope(), &targets).await.unwrap();
            let present: Vec<bool> = answers.iter().map(|a| matches!(a, Ok(Observed::Present { .. }))).collect();
            assert_eq!(present, [true, true, false, true]);
            assert_eq!(answers[2], Ok(Observed::Absent));
            assert_eq!(
                lines(&server.requests()),
                [
                    "GET /api/v1/namespaces/kserve/serviceaccounts?limit=500",
                    "GET /api/v1/namespaces/kserve/serviceaccounts?limit=500&continue=2"
                ]
            );
        }

        #[tokio::test]
        async fn denied_list_falls_back_to_single_reads() {
            let denied = (
                "GET /api/v1/namespaces/kserve/serviceaccounts?",
                403,
                r#"{"kind":"Status","status":"Failure","reason":"Forbidden","code":403,"message":"no"}"#,
            );
            let each = ("GET /api/v1/namespaces/kserve/serviceaccounts/", 200, r#"{"metadata":{"name":"x"}}"#);
            let targets: Vec<Target> = ["a", "b", "c", "d"].map(target).into();
            let server = Recorded::start(&[denied, each]).await;
            let answers = ServiceAccount::observe(&server.cluster_session(), &scope(), &targets).await.unwrap();
            assert!(answers.iter().all(|a| matches!(a, Ok(Observed::Present { .. }))), "{answers:?}");
            assert_eq!(server.requests().len(), 5);
        }

        #[tokio::test]
        async fn create_applies_annotations_and_ownership_without_force() {
            let (done, requests) = write(&[ABSENT, PATCHED], Action::Create { after: irsa(true) }).await;
            assert_eq!(done, Ok(()));
            let meta = r#"{"annotations":{"bailiwick.dev/project":"p","eks.amazonaws.com/role-arn":"arn:r"},"name":"loader","namespace":"kserve"}"#;
            assert_eq!(requests, [format!("GET {PATH}"), applied(meta)]);
        }

        #[tokio::test]
        async fn repeated_create_accepts_our_object_and_refuses_a_foreign_one() {
            assert_eq!(write(&[OURS, PATCHED], Action::Create { after: irsa(true) }).await.0, Ok(()));
            let (done, requests) = write(&[THEIRS, PATCHED], Action::Create { after: irsa(true) }).await;
            assert!(matches!(done, Err(WriteError::Conflict { .. })), "{done:?}");
            assert_eq!(requests.len(), 1);
        }

        #[tokio::test]
        async fn annotation_mode_never_creates_or_writes_an_ownership_annotation() {
            let (done, requests) = write(&[ABSENT, PATCHED], Action::Create { after: irsa(false) }).await;
            assert_eq!(
                done.unwrap_err().to_string(),
                "cannot annotate service account `kserve/loader`: it does not exist, and `manage: annotation` does not create it: \
                 create it with the tool that owns it, or write `manage: object`"
            );
            assert_eq!(requests.len(), 1);
            let changed = vec!["annotations.eks.amazonaws.com/role-arn".into()];
            let action = Action::Update { before: wanted(&[], false), after: irsa(false), changed };
            let (done, requests) = write(&[THEIRS, PATCHED], action).await;
            assert_eq!(done, Ok(()));
            let meta = r#"{"annotations":{"eks.amazonaws.com/role-arn":"arn:r"},"name":"loader","namespace":"kserve","uid":"u-1"}"#;
            assert_eq!(requests[1], applied(meta));
        }

        #[tokio::test]
        async fn field_of_another_manager_is_a_conflict() {
            let conflict = (
                PATCH,
                409,
                r#"{"kind":"Status","status":"Failure","reason":"Conflict","code":409,"message":"Apply failed with 1 conflict",
                "details":{"causes":[{"reason":"FieldManagerConflict","message":"conflict with \"kubectl-edit\" using v1",
                "field":".metadata.annotations.eks.amazonaws.com/role-arn"}]}}"#,
            );
            let action = Action::Update { before: wanted(&[], false), after: irsa(false), changed: Vec::new() };
            let error = write(&[THEIRS, conflict], action).await.0.unwrap_err();
            assert_eq!(
                error.to_string(),
                "cannot update service account `kserve/loader`: it conflicts with \"kubectl-edit\" using v1: \
                 .metadata.annotations.eks.amazonaws.com/role-arn"
            );
            assert!(error.help().is_some_and(|help| help.starts_with("remove it there")), "{error:?}");
        }

        #[tokio::test]
        async fn released_field_disappears_or_its_other_manager_is_named() {
            let update =
                || Action::Update { before: irsa(true), after: wanted(&[], true), changed: vec!["annotations".into()] };
            let (done, requests) = write(&[OURS, PATCHED], update()).await;
            assert_eq!(done, Ok(()));
            let meta =
                r#"{"annotations":{"bailiwick.dev/project":"p"},"name":"loader","namespace":"kserve","uid":"u-1"}"#;
            assert_eq!(requests[1], applied(meta));
            let held = (
                PATCH,
                200,
                r#"{"metadata":{"name":"loader","annotations":{"eks.amazonaws.com/role-arn":"arn:r"},"managedFields":
                [{"manager":"kubectl-annotate","operation":"Update","fieldsV1":{"f:metadata":{"f:annotations":{"f:eks.amazonaws.com/role-arn":{}}}}},
                {"manager":"helm","operation":"Update","fieldsV1":{"f:metadata":{"f:labels":{}}}}]}}"#,
            );
            assert_eq!(
                write(&[OURS, held], update()).await.0.unwrap_err().to_string(),
                "cannot update service account `kserve/loader`: .metadata.annotations.eks.amazonaws.com/role-arn was \
                 removed from the spec, but stays, because kubectl-annotate wrote it too: remove it there"
            );
        }

        #[tokio::test]
        async fn missing_namespace_is_reported_with_advice() {
            let no_namespace = (
                PATCH,
                404,
                r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404,"message":"namespaces \"kserve\" not found","details":{"name":"kserve","kind":"namespaces"}}"#,
            );
            assert_eq!(
                write(&[ABSENT, no_namespace], Action::Create { after: irsa(true) }).await.0.unwrap_err().to_string(),
                "cannot create service account `kserve/loader`: namespaces \"kserve\" not found (404)"
            );
        }

        #[tokio::test]
        async fn delete_uses_the_uid_and_accepts_a_missing_object() {
            let delete = || Action::Delete { before: irsa(true) };
            let (done, requests) = write(&[OURS, DELETED], delete()).await;
            assert_eq!(done, Ok(()));
            assert!(requests[1].starts_with(&format!("DELETE {PATH}")), "{requests:?}");
            assert!(requests[1].contains(r#""preconditions":{"uid":"u-1"}"#), "{requests:?}");
            assert_eq!(write(&[ABSENT], delete()).await.0, Ok(()));
        }

        #[tokio::test]
        async fn shared_or_foreign_object_is_released_instead_of_deleted() {
            let released = applied(r#"{"name":"loader","namespace":"kserve","uid":"u-1"}"#);
            let delete = |object| Action::Delete { before: irsa(object) };
            for (live, action) in [
                (OURS, Action::Release { before: irsa(true) }),
                (THEIRS, delete(false)),
                (THEIRS, delete(true)),
                (SHARED, delete(true)),
            ] {
                let (done, requests) = write(&[live, PATCHED, DELETED], action).await;
                assert_eq!(done, Ok(()));
                assert_eq!(requests[1..], [released.as_str()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{desired, spec};
    use super::*;

    const ACCOUNTS: &str = concat!(
        "  agent: { cluster: prod, namespace: kserve, name: agent-sa, labels: { team: ml }, create_namespace: true }\n",
        "  irsa: { cluster: prod, namespace: kserve, name: irsa-sa, identity: irsa, protect: true }\n",
        "  shared: { cluster: prod, namespace: theirs, name: shared-sa, identity: irsa, manage: annotation }\n",
        "  bare: { cluster: prod, namespace: theirs, name: bare-sa, manage: annotation }\n",
        "  manual: { cluster: prod, namespace: theirs, name: manual-sa, identity: irsa, manage: none, labels: { note: x }, annotations: { note: \"it's\" } }\n",
        "  silent: { cluster: prod, namespace: theirs, name: silent-sa, manage: none }\n",
        "  idle: { cluster: prod, namespace: kserve, name: idle-sa }\n",
    );

    #[test]
    fn objects_and_annotations_are_desired_only_where_needed() {
        let (found, problems) = desired::<ServiceAccount>(ACCOUNTS);
        assert_eq!(problems, []);
        let seen: Vec<_> = found.iter().map(|r| (r.address.name(), r.physical_id.as_str())).collect();
        assert_eq!(seen, [("agent", "kserve/agent-sa"), ("irsa", "kserve/irsa-sa"), ("shared", "theirs/shared-sa")]);
        let bodies: Vec<_> = found.iter().map(|r| r.body.tree()).collect();
        let role =
            |name: &str| json!({"eks.amazonaws.com/role-arn": format!("arn:aws:iam::111111111111:role/p-{name}")});
        assert_eq!(
            bodies,
            [
                json!({"namespace": "kserve", "name": "agent-sa", "annotations": {}, "labels": {"team": "ml"}, "object": true}),
                json!({"namespace": "kserve", "name": "irsa-sa", "annotations": role("irsa"), "labels": {}, "object": true}),
                json!({"namespace": "theirs", "name": "shared-sa", "annotations": role("shared"), "labels": {}, "object": false}),
            ]
        );
        assert_eq!(found.iter().map(|r| r.protect).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn a_service_account_comes_after_its_namespace_and_the_role_that_it_names() {
        let (found, _) = desired::<ServiceAccount>(ACCOUNTS);
        let after = |n: usize| -> Vec<String> { found[n].references.iter().map(|r| r.to.to_string()).collect() };
        assert_eq!(after(0), ["kubernetes.namespace.prod/kserve"]);
        assert_eq!(after(1), ["aws.iam.role.irsa", "kubernetes.namespace.prod/kserve"]);
        assert_eq!(after(2), ["aws.iam.role.shared"]);
    }

    #[test]
    fn spec_cannot_set_the_ownership_annotation() {
        let (found, problems) = desired::<ServiceAccount>(
            "  one: { cluster: prod, namespace: kserve, name: one, annotations: { bailiwick.dev/project: x } }\n",
        );
        assert!(found.is_empty());
        assert_eq!(problems.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(), ["wrong-value"]);
    }

    #[test]
    fn unmanaged_service_account_gets_a_finding_with_the_command_to_run() {
        let spec = spec(ACCOUNTS);
        let facts = Facts::placeholders(&spec);
        let found: Vec<String> = access::findings(&spec, &facts, &access::lower(&spec))
            .into_iter()
            .filter(|d| d.code == Code::AnnotateServiceAccount)
            .map(|d| d.message)
            .collect();
        assert_eq!(
            found,
            [concat!(
                "the owner of service account `theirs/manual-sa` in cluster `prod` must run:\n",
                "kubectl --context prod annotate --overwrite --namespace theirs serviceaccount manual-sa ",
                "eks.amazonaws.com/role-arn=arn:aws:iam::111111111111:role/p-manual 'note=it'\\''s'\n",
                "kubectl --context prod label --overwrite --namespace theirs serviceaccount manual-sa note=x"
            )]
        );
    }
}
