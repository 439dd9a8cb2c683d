//! Shared by the I/O halves: requests to an API server, and the conversion of its errors.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::Status;
use kube::{Client, Error};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::client::client;
use super::family::KUBERNETES;
use crate::address::Scope;
use crate::live::{ReadError, WriteError};
use crate::session::{Rates, RequestIntent, Session, SessionError};

/// The field manager by which the API server tracks Bailiwick's fields.
///
/// Source: Kubernetes documentation, "Server-Side Apply", field managers.
pub(super) const FIELD_MANAGER: &str = "bailiwick";
const RATES: Rates = Rates { reads: 100.0, writes: 50.0 };
const ATTEMPTS: u32 = 6;
/// The longest wait before the second attempt. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const PAGE: u32 = 500;

/// A cluster and its client.
pub(super) struct ClusterApi<'a> {
    cloud: &'a Session,
    scope: String,
    client: Client,
}

impl<'a> ClusterApi<'a> {
    /// Connects to the cluster of a scope.
    pub(super) async fn reach(cloud: &'a Session, scope: &Scope) -> Result<Self, SessionError> {
        let Some(cluster) = scope.as_cluster() else {
            return Err(SessionError::Unknown { name: scope.to_string() });
        };
        Ok(Self { cloud, scope: scope.to_string(), client: Box::pin(client(cloud, cluster)).await? })
    }

    /// Returns a client to build an [`Api`].
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Sends one request at the cluster's rate, and counts it.
    async fn call<T>(&self, intent: RequestIntent, request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        let pace = self.cloud.pace(&self.scope, KUBERNETES, RATES);
        let _place = pace.enter(intent).await;
        let requests = self.cloud.requests();
        requests.sent(KUBERNETES);
        let begun = Instant::now();
        let answer = request.await;
        requests.waited(KUBERNETES, begun.elapsed());
        if let Err(Error::Api(status)) = &answer
            && status.code == 429
        {
            requests.throttled(KUBERNETES);
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            let after = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            pace.slow_down(intent, after);
        }
        answer
    }

    /// Sends a read, with a limited number of retries while the API server is overloaded.
    async fn read<T, Fut>(&self, mut request: impl FnMut() -> Fut) -> kube::Result<T>
    where
        Fut: Future<Output = kube::Result<T>>,
    {
        let mut most = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match self.call(RequestIntent::Read, request()).await {
                Err(Error::Api(status)) if matches!(status.code, 429 | 503 | 504) => {
                    tokio::time::sleep(most.mul_f64(fastrand::f64())).await;
                    most *= 2;
                }
                answer => return answer,
            }
        }
        self.call(RequestIntent::Read, request()).await
    }

    /// Reads an object, or `None` if it does not exist.
    pub(super) async fn get<K>(&self, api: &Api<K>, name: &str, what: &str) -> Result<Option<K>, ReadError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        match self.read(|| api.get(name)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error, name) => Ok(None),
            Err(error) => Err(read_error(what, &error)),
        }
    }

    /// Reads the objects of an [`Api`], page by page, until `enough` have been read. A page may be shorter than the
    /// limit, or empty: only the token shows whether it is the last one.
    pub(super) async fn list<K>(&self, api: &Api<K>, enough: Option<u32>, what: &str) -> Result<Vec<K>, ReadError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let mut found = Vec::new();
        let mut params = ListParams::default().limit(enough.unwrap_or(PAGE));
        loop {
            let page = match self.read(|| api.list(&params)).await {
                Ok(page) => page,
                // The token has expired. A list in one response cannot expire.
                Err(Error::Api(status)) if is_expired(&status) && params.limit.is_some() => {
                    found.clear();
                    params = ListParams::default();
                    continue;
                }
                Err(error) => return Err(read_error(what, &error)),
            };
            found.extend(page.items);
            let is_enough = enough.is_some_and(|enough| found.len() >= enough as usize);
            match page.metadata.continue_.filter(|token| !token.is_empty() && !is_enough) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }

    /// Server-side applies a configuration, never with force; `what` completes "cannot ...".
    pub(super) async fn apply<K>(
        &self,
        api: &Api<K>,
        name: &str,
        configuration: &Value,
        what: impl Into<String>,
    ) -> Result<K, WriteError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let params = PatchParams::apply(FIELD_MANAGER);
        let patch = Patch::Apply(configuration);
        self.call(RequestIntent::Write, api.patch(name, &params, &patch))
            .await
            .map_err(|error| write_error(what, &error))
    }

    /// Deletes an object if it is still the one that was read. A missing object is not an error.
    pub(super) async fn delete<K>(
        &self,
        api: &Api<K>,
        meta: &ObjectMeta,
        what: impl Into<String>,
    ) -> Result<(), WriteError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let name = meta.name.as_deref().unwrap_or_default();
        let same = Preconditions { uid: meta.uid.clone(), resource_version: None };
        let params = DeleteParams::default().preconditions(same);
        match self.call(RequestIntent::Write, api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error, name) => Ok(()),
            Err(error) => Err(write_error(what, &error)),
        }
    }
}

/// Whether the API server has no object of this name. A 404 of a proxy, or of a server without the resource type, does
/// not name an object.
fn is_missing(error: &Error, name: &str) -> bool {
    let Error::Api(status) = error else { return false };
    status.reason == "NotFound" && status.details.as_ref().is_some_and(|details| details.name == name)
}

/// Whether the token of a list has expired.
///
/// Source: Kubernetes documentation, "Kubernetes API Concepts", retrieving large results sets in chunks.
fn is_expired(status: &Status) -> bool {
    status.code == 410
}

fn words(error: &Error) -> String {
    if let Error::Api(status) = error {
        let text = if status.message.is_empty() { &status.reason } else { &status.message };
        return format!("{} ({})", text, status.code);
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Whether the API server denied access. EKS answers 401 to a principal without an access entry.
fn is_denied(status: &Status) -> bool {
    status.is_forbidden() || status.code == 401
}

/// Converts an error of a read. The caller has handled "not found" before.
pub(super) fn read_error(what: impl Into<String>, error: &Error) -> ReadError {
    let (what, why) = (what.into(), words(error));
    match error {
        Error::Api(status) if is_denied(status) => ReadError::Denied { what, why },
        Error::Service(_) | Error::HyperError(_) => ReadError::Unreachable { what, why },
        _ => ReadError::Failed { what, why },
    }
}

/// Converts an error of a write; `what` completes "cannot ...".
pub(super) fn write_error(what: impl Into<String>, error: &Error) -> WriteError {
    let (what, why) = (what.into(), words(error));
    let Error::Api(status) = error else { return WriteError::Unanswered { what, why } };
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    if causes.iter().any(|cause| cause.reason == "FieldManagerConflict") {
        return field_conflict(what, status);
    }
    if causes.iter().any(|cause| cause.reason == "NamespaceTerminating") {
        return WriteError::NotYet { what, awaited: "the old namespace to be deleted".into(), why };
    }
    if status.reason == "NotFound" && status.details.as_ref().is_some_and(|details| details.kind == "namespaces") {
        let help = Some("create the namespace, or write `create_namespace: true`".to_owned());
        return WriteError::Refused { what, why, help };
    }
    match status.code {
        409 => WriteError::Conflict { what, holder: "another change of the same object".into(), why, help: None },
        429 | 503 | 504 => WriteError::NotYet { what, awaited: "the API server to accept requests again".into(), why },
        _ if is_denied(status) => WriteError::Denied { what, why },
        _ => WriteError::Failed { what, why },
    }
}

/// Converts a field conflict. Names the other managers and their fields as the API server does.
fn field_conflict(what: String, status: &Status) -> WriteError {
    let mut fields: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for cause in status.details.iter().flat_map(|details| &details.causes) {
        let manager = cause.message.strip_prefix("conflict with ").unwrap_or(&cause.message);
        fields.entry(manager).or_default().push(&cause.field);
    }
    let holder = fields.keys().copied().collect::<Vec<_>>().join(" and ");
    let held = if let [held] = fields.values().collect::<Vec<_>>().as_slice() {
        held.join(", ")
    } else {
        fields.iter().map(|(manager, held)| format!("{} ({manager})", held.join(", "))).collect::<Vec<_>>().join(", ")
    };
    WriteError::Conflict { what, holder, why: held, help: Some(ADVICE) }
}

/// The advice for a field with another manager.
const ADVICE: &str = "remove it there, or write the value with that tool and leave it out of this spec";

/// Returns the field managers of a field, except Bailiwick's and those of Kubernetes itself.
///
/// `path` has the names of the field sets in the API (`f:metadata`, `f:annotations`, ...); empty for any field.
pub(super) fn other_managers(meta: &ObjectMeta, path: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = meta
        .managed_fields
        .iter()
        .flatten()
        .filter(|entry| {
            entry.fields_v1.as_ref().is_some_and(|fields| {
                let held = path.iter().try_fold(&fields.0, |set, step| set.get(step));
                held.is_some_and(|set| !path.is_empty() || set.as_object().is_some_and(|map| !map.is_empty()))
            })
        })
        .filter_map(|entry| entry.manager.clone())
        .filter(|manager| manager != FIELD_MANAGER && !CONTROLLERS.contains(&manager.as_str()))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Whether Bailiwick manages any field.
pub(super) fn is_managed(meta: &ObjectMeta) -> bool {
    meta.managed_fields.iter().flatten().any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
}

const CONTROLLERS: &[&str] = &[
    "cloud-controller-manager",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "openshift-controller-manager",
];

/// Whether the object is being deleted.
pub(super) fn is_leaving(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: Value) -> Error {
        Error::Api(Box::new(serde_json::from_value(status).unwrap()))
    }

    fn check(status: Value, expected: &str) {
        assert_eq!(write_error("apply x", &answer(status)).to_string(), expected);
    }

    #[test]
    fn a_conflict_names_the_manager_and_the_field() {
        let cause = |manager: &str, field: &str| {
            json!({"reason": "FieldManagerConflict", "field": field,
                "message": format!("conflict with \"{manager}\" using v1")})
        };
        let role = ".metadata.annotations.eks.amazonaws.com/role-arn";
        check(
            json!({"code": 409, "reason": "Conflict", "message": "Apply failed", "details": {"causes": [cause("kubectl-edit", role)]}}),
            &format!("cannot apply x: it conflicts with \"kubectl-edit\" using v1: {role}"),
        );
        let causes = [cause("kubectl-edit", role), cause("helm", ".metadata.labels.a")];
        check(
            json!({"code": 409, "reason": "Conflict", "details": {"causes": causes}}),
            &format!(
                "cannot apply x: it conflicts with \"helm\" using v1 and \"kubectl-edit\" using v1: .metadata.labels.a (\"helm\" using v1), {role} (\"kubectl-edit\" using v1)"
            ),
        );
    }

    #[test]
    fn api_errors_are_classified_by_remedy() {
        check(json!({"code": 403, "reason": "Forbidden", "message": "no"}), "not allowed to apply x: no (403)");
        check(
            json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"}),
            "not allowed to apply x: Unauthorized (401)",
        );
        check(
            json!({"code": 403, "reason": "Forbidden", "message": "being terminated",
                "details": {"causes": [{"reason": "NamespaceTerminating", "message": "m", "field": "metadata.namespace"}]}}),
            "cannot apply x yet: waiting for the old namespace to be deleted: being terminated (403)",
        );
        check(
            json!({"code": 429, "reason": "TooManyRequests", "message": "slow down"}),
            "cannot apply x yet: waiting for the API server to accept requests again: slow down (429)",
        );
        check(
            json!({"code": 409, "reason": "Conflict", "message": "uid differs"}),
            "cannot apply x: it conflicts with another change of the same object: uid differs (409)",
        );
    }

    #[test]
    fn only_a_missing_object_is_missing() {
        let missing = |status: Value| is_missing(&answer(status), "x");
        assert!(missing(
            json!({"code": 404, "reason": "NotFound", "details": {"name": "x", "kind": "serviceaccounts"}})
        ));
        assert!(!missing(json!({"code": 404, "reason": "NotFound", "details": {}})));
        assert!(!missing(
            json!({"code": 404, "reason": "NotFound", "details": {"name": "kserve", "kind": "namespaces"}})
        ));
        assert!(!missing(json!({"code": 404, "reason": "Failed to parse error data", "message": "<html>"})));
        assert!(!missing(json!({"code": 403, "reason": "Forbidden", "details": {"name": "x"}})));
    }
}
