//! Tests of all Kubernetes lists with pages of one, two and no entries, and with expired tokens.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use serde_json::{Value, json};

use super::namespace::Namespace;
use super::service_account::ServiceAccount;
use crate::address::{Address, Scope};
use crate::document::Document;
use crate::kind::{Action, Erased, Kind as _};
use crate::live::{AnyLive as _, Live, Observed, Target};
use crate::provider::recorded::{Exchange, Recorded, lines, paged};

const ACCOUNTS: &str = "GET /api/v1/namespaces/n/serviceaccounts?";
const EXPIRED: &str = r#"{"kind":"Status","status":"Failure","reason":"Expired","code":410,"message":"too old",
    "metadata":{"continue":"go-on"}}"#;

/// Splits entries into pages of one and of two, each time after an empty page.
fn sizes<'a>(entries: &'a [&'a str]) -> [Vec<&'a [&'a str]>; 2] {
    [1, 2].map(|size| std::iter::once([].as_slice()).chain(entries.chunks(size)).collect())
}

/// Builds a page of objects with the ownership label of namespaces and the ownership annotation of service accounts.
fn page(names: &[&str], next: Option<&str>) -> String {
    let mark = json!({ "bailiwick.dev/project": "p" });
    let items: Vec<Value> = names
        .iter()
        .map(|name| json!({ "metadata": { "name": name, "namespace": "n", "labels": mark, "annotations": mark } }))
        .collect();
    json!({ "metadata": { "continue": next.unwrap_or_default() }, "items": items }).to_string()
}

fn list(asked: &'static str, pages: &[&[&str]]) -> Vec<Exchange> {
    paged(asked, asked.rsplit('/').next().unwrap().trim_end_matches('?'), pages, page)
}

fn scope() -> Scope {
    Scope::cluster("prod")
}

/// Returns the names of the objects that the project owns.
async fn tagged<K: Live>(exchanges: &[Exchange]) -> Vec<String> {
    let server = Recorded::start(exchanges).await;
    let found = K::tagged(&server.cluster_session(), &scope()).await.unwrap();
    found.into_iter().map(|tagged| tagged.physical_id).collect()
}

/// Observes four service accounts of one namespace.
async fn seen(server: &Recorded) -> Vec<String> {
    let targets = ["a", "b", "c", "d"]
        .map(|name| Target::new(Address::new(ServiceAccount::NAME, format!("prod/n/{name}")), format!("n/{name}")));
    let answers = ServiceAccount::observe(&server.cluster_session(), &scope(), &targets).await.unwrap();
    let said = answers.into_iter().map(|answer| match answer {
        Ok(Observed::Present { .. }) => "present".to_owned(),
        Ok(Observed::Absent) => "absent".to_owned(),
        Err(error) => error.to_string(),
    });
    said.collect()
}

#[tokio::test]
async fn tagged_objects_are_found_on_every_page() {
    for pages in sizes(&["a", "b", "c"]) {
        assert_eq!(tagged::<Namespace>(&list("GET /api/v1/namespaces?", &pages)).await, ["a", "b", "c"]);
        let accounts = list("GET /api/v1/serviceaccounts?", &pages);
        assert_eq!(tagged::<ServiceAccount>(&accounts).await, ["n/a", "n/b", "n/c"]);
    }
}

#[tokio::test]
async fn service_accounts_are_found_on_every_page() {
    for pages in sizes(&["a", "b", "d"]) {
        let server = Recorded::start(&list(ACCOUNTS, &pages)).await;
        assert_eq!(seen(&server).await, ["present", "present", "absent", "present"]);
        assert_eq!(server.requests().len(), pages.len());
    }
}

#[tokio::test]
async fn expired_list_is_read_again_without_pages() {
    for size in [1, 2] {
        // In the meantime, `a` was deleted and `d` created.
        let whole = page(&["b", "c", "d"], None).leak();
        let before = ["a", "b", "c"];
        let pages: Vec<&[&str]> = before.chunks(size).collect();
        let mut exchanges = list(ACCOUNTS, &pages);
        // The last page of the list.
        exchanges[0] = (exchanges[0].0, 410, EXPIRED);
        exchanges.insert(0, ("GET /api/v1/namespaces/n/serviceaccounts? HTTP", 200, whole));
        let server = Recorded::start(&exchanges).await;
        assert_eq!(seen(&server).await, ["absent", "present", "present", "present"]);
        let last = lines(&server.requests()).pop();
        assert_eq!(last.as_deref(), Some("GET /api/v1/namespaces/n/serviceaccounts?"));
    }
}

#[tokio::test]
async fn list_that_expires_twice_is_an_error() {
    let server = Recorded::start(&[("GET ", 410, EXPIRED)]).await;
    let why = "cannot read the service accounts of namespace `n`: too old (410)";
    assert_eq!(seen(&server).await, [why; 4]);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn object_on_any_page_keeps_the_namespace() {
    for pages in sizes(&["kube-root-ca.crt", "settings"]) {
        for is_expired in [false, true] {
            let mut exchanges: Vec<Exchange> = vec![(
                "GET /api/v1/namespaces/n HTTP",
                200,
                r#"{"metadata":{"name":"n","uid":"u-1","labels":{"bailiwick.dev/project":"p"}}}"#,
            )];
            let maps = list("GET /api/v1/namespaces/n/configmaps?", &pages);
            if is_expired {
                exchanges.push((maps[0].0, 410, EXPIRED));
                exchanges.push(("/configmaps? HTTP", 200, page(&["kube-root-ca.crt", "settings"], None).leak()));
            }
            exchanges.extend(maps);
            exchanges.push(("limit=4", 200, r#"{"metadata":{},"items":[]}"#));
            let server = Recorded::start(&exchanges).await;
            let target = Target::new(Address::new(Namespace::NAME, "prod/n"), "n");
            let before = Document::from(json!({ "name": "n", "labels": {} }));
            let action = Action::Delete { before };
            let done = Erased::<Namespace>::NEW.write(&server.cluster_session(), &scope(), &target, &action).await;
            assert_eq!(
                done.unwrap_err().to_string(),
                "cannot delete namespace `n`: it is kept, because it still holds config map `settings`: remove what is in it first"
            );
        }
    }
}
