//! Builds and caches clients per account, region, endpoint and cluster, and paces their requests.
//!
//! The first thing that happens in any account is a look at the caller's identity. A client for an account whose
//! caller is somebody else is never handed out, so that nothing can be read or written in the wrong account.

#[cfg(feature = "cloud")]
mod answers;
#[cfg(feature = "cloud")]
mod aws;
#[cfg(feature = "cloud")]
mod eks_token;
#[cfg(feature = "cloud")]
mod facts;
#[cfg(feature = "cloud")]
mod iam_index;
#[cfg(feature = "cloud")]
mod kubernetes;
mod pace;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

#[cfg(feature = "cloud")]
use tokio::sync::Mutex;
#[cfg(feature = "cloud")]
use tokio::sync::OnceCell;
use tokio::time::Instant;

#[cfg(feature = "cloud")]
pub use answers::is_throttle;
#[cfg(feature = "cloud")]
pub use aws::{OnlyIfRefused, answer};
#[cfg(feature = "cloud")]
pub use iam_index::{Described, IamIndex, IamWants, Known};
pub use pace::{CONCURRENCY, Counts, Intent, Pace, Rates, Requests, Service};

use crate::address::Scope;
use crate::spec::{AccountSpec, ClusterSpec, PaceSpec, RatesSpec, Spec};

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
    #[error(
        "cannot tell who the caller is in account `{account}`: {why}\n  nothing was read or written: check the account's \
         credentials, region and endpoint"
    )]
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
#[cfg(feature = "cloud")]
type Connecting = OnceCell<Result<aws::Account, SessionError>>;

/// Something about how things are read that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub text: String,
    /// Whether it stands in the way of reading well, and is worth saying without being asked.
    pub important: bool,
}

/// Clients for everything that a spec names, made when they are first needed.
pub struct Session {
    shared: Arc<Shared>,
    /// What one observation has read of each account at once.
    #[cfg(feature = "cloud")]
    index: iam_index::Indexes,
}

struct Shared {
    project: String,
    accounts: BTreeMap<String, AccountSpec>,
    #[cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "only clients read it"))]
    clusters: BTreeMap<String, (ClusterSpec, crate::address::Region)>,
    environment: Environment,
    requests: Arc<Requests>,
    notes: std::sync::Mutex<Vec<Note>>,
    paces: std::sync::Mutex<BTreeMap<(String, Service), Arc<Pace>>>,
    #[cfg(feature = "cloud")]
    aws: Mutex<BTreeMap<String, Arc<Connecting>>>,
    #[cfg(feature = "cloud")]
    kubernetes: Mutex<BTreeMap<String, Arc<Mutex<Option<kubernetes::Cluster>>>>>,
}

impl Session {
    /// A session for the accounts and clusters of a spec. No request is made yet.
    #[must_use]
    pub fn new(spec: &Spec, environment: Environment) -> Self {
        let clusters = spec.clusters.iter().map(|(key, c)| (key.clone(), (c.clone(), spec.cluster_region(c))));
        let shared = Shared {
            project: spec.project.clone(),
            accounts: spec.accounts.clone(),
            clusters: clusters.collect(),
            environment,
            requests: Arc::new(Requests::default()),
            notes: std::sync::Mutex::default(),
            paces: std::sync::Mutex::default(),
            #[cfg(feature = "cloud")]
            aws: Mutex::default(),
            #[cfg(feature = "cloud")]
            kubernetes: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            #[cfg(feature = "cloud")]
            index: iam_index::Indexes::default(),
        }
    }

    /// The names of the spec's clusters in a region of an account.
    #[cfg(feature = "cloud")]
    #[must_use]
    pub fn clusters_of(&self, scope: &Scope) -> Vec<String> {
        let Some(aws) = scope.as_aws() else { return Vec::new() };
        let here = self.shared.clusters.values().filter(|(c, at)| c.account == aws.account && at.0 == aws.region);
        here.map(|(cluster, _)| cluster.name.clone()).collect()
    }

    /// The same clients for one observation: what several kinds can learn from one answer is read once in it, and
    /// forgotten with it.
    #[must_use]
    pub fn observation(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            #[cfg(feature = "cloud")]
            index: iam_index::Indexes::default(),
        }
    }

    /// The project, which marks everything that it owns.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.shared.project
    }

    /// The keys of all accounts.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.shared.accounts.keys().map(String::as_str)
    }

    /// The scope of the account with this id, if the spec has one.
    #[must_use]
    pub fn account_scope(&self, id: &str) -> Option<Scope> {
        self.shared
            .accounts
            .iter()
            .find(|(_, account)| account.id.0 == id)
            .map(|(key, account)| Scope::account(key.as_str(), account.id.clone(), account.region.clone()))
    }

    /// How many requests have been sent, by service.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.shared.requests
    }

    /// What was noted about how things were read.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(feature = "cloud")]
    fn note(&self, text: String, important: bool) {
        self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner).push(Note { text, important });
    }

    /// The pace of a service for whatever is paced together: an account's id, or a cluster.
    pub fn pace(&self, whose: &str, service: Service) -> Arc<Pace> {
        let mut paces = self.shared.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paces.entry((whose.to_owned(), service)).or_insert_with(|| {
            let places = self.shared.environment.concurrency.unwrap_or(CONCURRENCY);
            Arc::new(Pace::new(self.rates(whose, service), places, Instant::now()))
        });
        pace.clone()
    }

    /// The rates of a service: those that the spec gives for the account, or what is usual.
    fn rates(&self, whose: &str, service: Service) -> Rates {
        let usual = usual(service);
        let account = self.shared.accounts.values().find(|account| account.id.0 == whose);
        let given = account.and_then(|account| given_rates(account, service)).unwrap_or_default();
        Rates {
            reads: given.reads.map_or(usual.reads, f64::from),
            writes: given.writes.map_or(usual.writes, f64::from),
        }
    }
}

fn given_rates(account: &AccountSpec, service: Service) -> Option<RatesSpec> {
    let PaceSpec { iam, s3, kms, eks, sts } = account.pace.as_ref()?;
    match service {
        Service::Iam => *iam,
        Service::S3 => *s3,
        Service::Kms => *kms,
        Service::Eks => *eks,
        Service::Sts => *sts,
        Service::Kubernetes => None,
    }
}

/// Rates that leave room for everybody else in an account. A bucket that is throttled all the same slows down.
fn usual(service: Service) -> Rates {
    let (reads, writes) = match service {
        Service::Iam => (40.0, 20.0),
        Service::S3 => (400.0, 100.0),
        Service::Kms => (50.0, 10.0),
        Service::Eks => (30.0, 10.0),
        Service::Sts => (10.0, 10.0),
        Service::Kubernetes => (100.0, 50.0),
    };
    Rates { reads, writes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{SourceFile, load};

    #[test]
    fn rates_are_those_of_the_account_or_the_usual_ones() {
        let text = "version: 1\nproject: p\naccounts:\n\
            \x20 a: { id: \"111111111111\", region: us-east-1, pace: { iam: { reads: 7 }, s3: { reads: 9, writes: 3 } } }\n\
            \x20 b: { id: \"222222222222\", region: us-west-2 }\n";
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        let session = Session::new(&spec.unwrap(), Environment::default());
        let (one, other) = ("111111111111", "222222222222");
        let usual_writes = usual(Service::Iam).writes;
        assert_eq!(session.rates(one, Service::Iam), Rates { reads: 7.0, writes: usual_writes });
        assert_eq!(session.rates(one, Service::S3), Rates { reads: 9.0, writes: 3.0 });
        assert_eq!(session.rates(other, Service::S3), usual(Service::S3));
        assert!(Arc::ptr_eq(&session.pace(one, Service::Iam), &session.observation().pace(one, Service::Iam)));
        assert!(!Arc::ptr_eq(&session.pace(one, Service::Iam), &session.pace(other, Service::Iam)));
    }
}
