//! Shared by the providers in one run: the places that the spec names, rate limits, request counts, and a store for
//! clients and shared responses.
//!
//! A session knows accounts, clusters and doors, but no particular service. Each provider has its own clients, rates,
//! identity checks and shared reads.

#[cfg(feature = "cloud")]
mod answers;
#[cfg(feature = "cloud")]
mod door;
mod pace;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

#[cfg(feature = "cloud")]
pub use answers::is_throttle;
#[cfg(feature = "cloud")]
pub use door::{Door, OnlyIfRefused, answer, code_of};
pub use pace::{CONCURRENCY, Counts, Pace, Rates, RequestIntent, Requests};

use crate::address::Scope;
use crate::kind::Api;
use crate::spec::{RatesSpec, Spec};
use store::Store;

/// Why a scope cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The credentials belong to another owner than the one in the spec.
    #[error(
        "{} is {} in the spec, but the credentials belong to {found} ({caller}): nothing was read or written",
        scope.place(),
        scope.owner()
    )]
    WrongOwner {
        /// The place whose owner the spec names.
        scope: Box<Scope>,
        /// The id of the owner that the credentials belong to.
        found: String,
        /// The caller's name, as the provider reports it.
        caller: String,
    },
    /// The caller could not be identified.
    #[error("cannot identify the caller in {}: {why}; nothing was read or written", scope.place())]
    NoIdentity {
        /// The place.
        scope: Box<Scope>,
        /// The provider's message.
        why: String,
    },
    /// The spec has no such account or cluster.
    #[error("`{name}` is not in the spec, but the state has resources there")]
    Unknown {
        /// The missing key.
        name: String,
    },
    /// The place does not respond, so a partial plan may leave it out.
    #[error("cannot reach {}: {why}", scope.place())]
    Unreachable {
        /// The place.
        scope: Box<Scope>,
        /// The cause.
        why: String,
    },
    /// Requests cannot be sent, or one that all others need failed.
    #[error("cannot read {}: {why}", scope.place())]
    Unreadable {
        /// The place.
        scope: Box<Scope>,
        /// The cause.
        why: String,
    },
}

impl SessionError {
    /// The next action, if there is one to suggest.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::WrongOwner { .. } => Some("use other credentials, or correct the owner in the spec"),
            Self::NoIdentity { .. } => Some("check the credentials, the region and the endpoint"),
            Self::Unknown { .. } => Some("keep it in the spec until they are destroyed"),
            Self::Unreachable { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// Nothing answers in a scope.
    #[must_use]
    pub fn unreachable(scope: &Scope, why: impl Into<String>) -> Self {
        Self::Unreachable { scope: Box::new(scope.clone()), why: why.into() }
    }

    /// The error for a scope in which nothing can be read.
    #[must_use]
    pub fn unreadable(scope: &Scope, why: impl Into<String>) -> Self {
        Self::Unreadable { scope: Box::new(scope.clone()), why: why.into() }
    }
}

/// The settings for clients that `cli` read from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The APIs with a custom endpoint.
    pub endpoints: BTreeSet<Api>,
    /// The limit of concurrent requests for each account and API.
    pub concurrency: Option<usize>,
}

/// A note for the user about how resources are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text.
    pub text: String,
    /// Whether to show it without `--verbose`, because it slows down or limits reads.
    pub important: bool,
}

/// Everything that one run shares, for the places that a spec names.
pub struct Session {
    shared: Arc<Shared>,
    /// Responses that several kinds share within one observation.
    observed: Store,
}

struct Shared {
    spec: Spec,
    environment: Environment,
    requests: Arc<Requests>,
    notes: Mutex<Vec<Note>>,
    paces: Mutex<BTreeMap<(String, Api), Arc<Pace>>>,
    kept: Store,
}

impl Session {
    /// Creates a session for the accounts and clusters of a spec. Sends no request.
    #[must_use]
    pub fn new(spec: &Spec, environment: Environment) -> Self {
        let shared = Shared {
            spec: spec.emptied(),
            environment,
            requests: Arc::default(),
            notes: Mutex::default(),
            paces: Mutex::default(),
            kept: Store::default(),
        };
        Self { shared: Arc::new(shared), observed: Store::default() }
    }

    /// Returns a session for one observation. Responses that several kinds share are read once in it, and dropped with
    /// it.
    #[must_use]
    pub fn observation(&self) -> Self {
        Self { shared: self.shared.clone(), observed: Store::default() }
    }

    /// The name of the project, which all ownership tags carry.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.shared.spec.project
    }

    /// The places of the spec, such as accounts and clusters, without its resources.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.shared.spec
    }

    /// Returns the scope of the account with this id, if the spec has one.
    #[must_use]
    pub fn account_scope(&self, id: &str) -> Option<Scope> {
        let (key, _) = self.spec().accounts.iter().find(|(_, account)| account.id.0 == id)?;
        Some(self.spec().account_scope(key))
    }

    /// Returns a value that lives as long as the session, such as a client. There is one for each type and scope,
    /// shared by all callers.
    #[must_use]
    pub fn kept<T: Default + Send + Sync + 'static>(&self, scope: &Scope) -> Arc<T> {
        self.shared.kept.get(scope)
    }

    /// Returns a value that lives as long as the observation, such as a response that several kinds use. There is one
    /// for each type and scope, shared by all callers.
    #[must_use]
    pub fn observed<T: Default + Send + Sync + 'static>(&self, scope: &Scope) -> Arc<T> {
        self.observed.get(scope)
    }

    /// The counters of requests.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.shared.requests
    }

    /// Returns the notes about how resources were read.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a note about how a resource was read.
    pub fn note(&self, text: String, important: bool) {
        self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner).push(Note { text, important });
    }

    /// Whether an API has a custom endpoint.
    #[must_use]
    pub fn has_endpoint(&self, api: Api) -> bool {
        self.shared.environment.endpoints.contains(&api)
    }

    /// Returns the pace of an API for an owner: an account id, or a cluster. Rates in the spec take precedence over
    /// `usual`.
    pub fn pace(&self, owner: &str, api: Api, usual: Rates) -> Arc<Pace> {
        let mut paces = self.shared.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paces.entry((owner.to_owned(), api)).or_insert_with(|| {
            let places = self.shared.environment.concurrency.unwrap_or(CONCURRENCY);
            Arc::new(Pace::new(self.rates(owner, api, usual), places, Instant::now()))
        });
        pace.clone()
    }

    /// Returns the door to an API for an owner.
    #[cfg(feature = "cloud")]
    #[must_use]
    pub fn door(&self, owner: &str, api: Api, usual: Rates) -> Door {
        Door::new(api, self.pace(owner, api, usual), self.shared.requests.clone())
    }

    /// Returns the rates of an API: those in the spec for the account, or `usual`.
    pub(crate) fn rates(&self, owner: &str, api: Api, usual: Rates) -> Rates {
        let account = self.spec().accounts.values().find(|account| account.id.0 == owner);
        let given = account.and_then(|account| account.pace.as_ref()?.of(api.0));
        let RatesSpec { reads, writes } = given.unwrap_or_default();
        Rates { reads: reads.map_or(usual.reads, f64::from), writes: writes.map_or(usual.writes, f64::from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Family;
    use crate::spec::{SourceFile, load};

    const IAM: Api = Api("iam");
    const S3: Api = Api("s3");
    const USUAL: Rates = Rates { reads: 40.0, writes: 20.0 };

    fn session() -> Session {
        let text = "version: 1\nproject: p\naccounts:\n\
            \x20 a: { id: \"111111111111\", region: us-east-1, pace: { iam: { reads: 7 }, s3: { reads: 9, writes: 3 } } }\n\
            \x20 b: { id: \"222222222222\", region: us-west-2 }\n";
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        Session::new(&spec.unwrap(), Environment::default())
    }

    #[test]
    fn rates_are_those_of_the_account_or_the_usual_ones() {
        let session = session();
        let (one, other) = ("111111111111", "222222222222");
        assert_eq!(session.rates(one, IAM, USUAL), Rates { reads: 7.0, writes: 20.0 });
        assert_eq!(session.rates(one, S3, USUAL), Rates { reads: 9.0, writes: 3.0 });
        assert_eq!(session.rates(one, Api("new"), USUAL), USUAL);
        assert_eq!(session.rates(other, S3, USUAL), USUAL);
        let pace = |session: &Session, owner| session.pace(owner, IAM, USUAL);
        assert!(Arc::ptr_eq(&pace(&session, one), &pace(&session.observation(), one)));
        assert!(!Arc::ptr_eq(&pace(&session, one), &pace(&session, other)));
    }

    #[test]
    fn observation_shares_clients_but_not_responses() {
        let (session, scope) = (session(), Scope::cluster("c"));
        let observation = session.observation();
        assert!(Arc::ptr_eq(&session.kept::<u8>(&scope), &observation.kept::<u8>(&scope)));
        assert!(Arc::ptr_eq(&observation.observed::<u8>(&scope), &observation.observed::<u8>(&scope)));
        assert!(!Arc::ptr_eq(&session.observed::<u8>(&scope), &observation.observed::<u8>(&scope)));
    }

    #[test]
    fn errors_name_the_scope_of_any_provider() {
        let owner = Some("tenant-7".to_owned());
        let store = Scope { family: Family::new("store"), key: "s".into(), owner, location: None };
        let wrong =
            SessionError::WrongOwner { scope: Box::new(store.clone()), found: "tenant-8".into(), caller: "ops".into() };
        assert_eq!(
            wrong.to_string(),
            "store `s` is tenant-7 in the spec, but the credentials belong to tenant-8 (ops): nothing was read or written"
        );
        assert_eq!(wrong.help(), Some("use other credentials, or correct the owner in the spec"));
        assert_eq!(SessionError::unreadable(&store, "no route").to_string(), "cannot read store `s`: no route");
        assert_eq!(
            SessionError::unreachable(&Scope::cluster("c"), "no route").to_string(),
            "cannot reach cluster `c`: no route"
        );
    }
}
