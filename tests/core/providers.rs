//! A provider that is neither AWS nor Kubernetes: it identifies the caller and reads facts in its own way.

use bailiwick::address::{Family, Scope};
use bailiwick::diagnostic::{Code, Diagnostic};
use bailiwick::engine::{Engine, Limits};
use bailiwick::live::{Boxed, Provider};
use bailiwick::session::{Environment, Session, SessionError};
use bailiwick::spec::{Facts, Spec};

use crate::run::spec;

/// A store whose owners are tenants, with one fact or one problem.
struct Store {
    key: &'static str,
    /// The tenant of the credentials.
    caller: &'static str,
    fact: Result<&'static str, &'static str>,
}

impl Store {
    fn scope(&self) -> Scope {
        let owner = Some("tenant-7".to_owned());
        Scope { family: Family::new("store"), key: self.key.to_owned(), owner, location: None }
    }
}

impl Provider for Store {
    fn identify<'a>(&'a self, _cloud: &'a Session) -> Boxed<'a, Vec<SessionError>> {
        let scope = self.scope();
        let wrong = (scope.owner() != self.caller).then(|| SessionError::WrongOwner {
            scope: Box::new(scope),
            found: self.caller.to_owned(),
            caller: "ops".to_owned(),
        });
        Box::pin(std::future::ready(wrong.into_iter().collect()))
    }

    fn facts<'a>(&'a self, _cloud: &'a Session, _spec: &'a Spec) -> Boxed<'a, (Facts, Vec<Diagnostic>)> {
        let (mut facts, mut problems) = (Facts::default(), Vec::new());
        match self.fact {
            Ok(caller) => {
                facts.add_caller(&self.scope(), caller);
            }
            Err(why) => problems.push(Diagnostic::new(Code::KeyUnreadable, why)),
        }
        Box::pin(std::future::ready((facts, problems)))
    }
}

/// What the engine reports about the caller and the facts with these providers.
async fn asked(stores: Vec<Store>) -> (Vec<String>, Result<Vec<String>, Vec<String>>) {
    let spec = spec("version: 1\nproject: p\n");
    let session = Session::new(&spec, Environment::default());
    let scopes: Vec<Scope> = stores.iter().map(Store::scope).collect();
    let providers: Vec<Box<dyn Provider>> = stores.into_iter().map(|store| Box::new(store) as _).collect();
    let engine =
        Engine { register: &[], providers: &providers, session: &session, limits: Limits::default(), sink: &|_| {} };
    let wrong = engine.identify().await.err().unwrap_or_default();
    let facts = engine.facts(&spec).await;
    let facts =
        facts.map(|facts| scopes.iter().filter_map(|s| Some(format!("{}: {}", s.key, facts.caller(s)?))).collect());
    let problems = |problems: Vec<Diagnostic>| problems.into_iter().map(|problem| problem.message).collect();
    (wrong.iter().map(ToString::to_string).collect(), facts.map_err(problems))
}

#[tokio::test]
async fn a_provider_identifies_the_caller_in_its_own_way() {
    let ours = Store { key: "ours", caller: "tenant-7", fact: Ok("ops") };
    let (wrong, facts) = asked(vec![ours]).await;
    assert_eq!((wrong, facts), (vec![], Ok(vec!["ours: ops".to_owned()])));
    let stores = ["one", "two"].map(|key| Store { key, caller: "tenant-8", fact: Ok("ops") });
    let (wrong, _) = asked(stores.into()).await;
    assert_eq!(
        wrong,
        ["one", "two"].map(|key| format!(
            "store `{key}` is tenant-7 in the spec, but the credentials belong to tenant-8 (ops): nothing was read or \
             written"
        ))
    );
}

#[tokio::test]
async fn facts_and_problems_of_all_providers_are_combined() {
    let store = |key, fact| Store { key, caller: "tenant-7", fact };
    let (_, facts) = asked(vec![store("one", Ok("ann")), store("two", Ok("bob"))]).await;
    assert_eq!(facts, Ok(vec!["one: ann".to_owned(), "two: bob".to_owned()]));
    let (_, facts) =
        asked(vec![store("one", Err("no answer")), store("two", Ok("bob")), store("three", Err("no"))]).await;
    assert_eq!(facts, Err(vec!["no answer".to_owned(), "no".to_owned()]));
}
