//! Builds and caches clients per account, region, endpoint and cluster, and paces their requests.
//!
//! The first thing that happens in any account is a look at the caller's identity. A client for an account whose
//! caller is somebody else is never handed out, so that nothing can be read or written in the wrong account.

#[cfg(feature = "aws")]
mod aws;
#[cfg(all(feature = "aws", feature = "kubernetes"))]
mod eks_token;
#[cfg(feature = "aws")]
mod facts;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod pace;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;
#[cfg(feature = "aws")]
use tokio::sync::OnceCell;

#[cfg(feature = "aws")]
pub use aws::answer;
pub use pace::{Permit, Requests};

use crate::spec::{AccountSpec, ClusterSpec, Spec};

/// Why no client can be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The credentials belong to another account than the spec says.
    #[error(
        "account `{account}` is {expected} in the spec, but the credentials belong to {found} ({arn}): nothing was read or written"
    )]
    WrongAccount {
        /// The account's key.
        account: String,
        /// The id in the spec.
        expected: String,
        /// The id of the caller.
        found: String,
        /// The caller.
        arn: String,
    },
    /// The caller could not be identified.
    #[error("cannot tell who the caller is in account `{account}`: {why}")]
    NoIdentity {
        /// The account's key.
        account: String,
        /// What the SDK says.
        why: String,
    },
    /// The spec has no such account or cluster.
    #[error("`{name}` is not in the spec, but the state has things there: put it back until they are destroyed")]
    Unknown {
        /// The key that is missing.
        name: String,
    },
    /// A cluster cannot be reached.
    #[error("cannot reach cluster `{cluster}`: {why}")]
    Cluster {
        /// The cluster's key.
        cluster: String,
        /// What went wrong.
        why: String,
    },
    /// The account's requests cannot be sent at all.
    #[error("cannot look into account `{account}`: {why}")]
    Account {
        /// The account's key.
        account: String,
        /// What went wrong.
        why: String,
    },
    /// The program was built without the SDK that this needs.
    #[error("this build has no {0} support")]
    NotBuilt(&'static str),
}

/// What `cli` has read from the environment for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// An endpoint for S3 is set, so that buckets are addressed by path and not by host name.
    pub s3_endpoint: bool,
    /// How many requests may be under way at once in one account and service.
    pub concurrency: Option<usize>,
}

/// An account that is connected to once, however many ask for it at the same time.
#[cfg(feature = "aws")]
type Connecting = OnceCell<Result<aws::Account, SessionError>>;

/// Clients for everything that a spec names, made when they are first needed.
pub struct Session {
    project: String,
    accounts: BTreeMap<String, AccountSpec>,
    #[cfg_attr(not(any(feature = "aws", feature = "kubernetes")), allow(dead_code))] // only clients ask
    clusters: BTreeMap<String, (ClusterSpec, crate::address::Region)>,
    environment: Environment,
    requests: Arc<Requests>,
    paces: Mutex<BTreeMap<(String, &'static str), Arc<tokio::sync::Semaphore>>>,
    #[cfg(feature = "aws")]
    aws: Mutex<BTreeMap<String, Arc<Connecting>>>,
    #[cfg(feature = "kubernetes")]
    kubernetes: Mutex<BTreeMap<String, Arc<Mutex<Option<kubernetes::Cluster>>>>>,
}

impl Session {
    /// A session for the accounts and clusters of a spec. No request is made yet.
    #[must_use]
    pub fn new(spec: &Spec, environment: Environment) -> Self {
        Self {
            project: spec.project.clone(),
            accounts: spec.accounts.clone(),
            clusters: spec.clusters.iter().map(|(key, c)| (key.clone(), (c.clone(), spec.cluster_region(c)))).collect(),
            environment,
            requests: Arc::new(Requests::default()),
            paces: Mutex::default(),
            #[cfg(feature = "aws")]
            aws: Mutex::default(),
            #[cfg(feature = "kubernetes")]
            kubernetes: Mutex::default(),
        }
    }

    /// The project, which marks everything that it owns.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The keys of all accounts.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.accounts.keys().map(String::as_str)
    }

    /// How many requests have been sent, by service.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Waits for a place among the requests that may be under way at once in one scope and service.
    pub async fn pace(&self, scope: &str, service: &'static str) -> Permit {
        let pace = {
            let mut paces = self.paces.lock().await;
            let most = self.environment.concurrency.unwrap_or(pace::CONCURRENCY);
            paces
                .entry((scope.to_owned(), service))
                .or_insert_with(|| Arc::new(tokio::sync::Semaphore::new(most)))
                .clone()
        };
        Permit(pace.acquire_owned().await.ok())
    }
}
