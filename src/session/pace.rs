//! How many requests are sent, and how many at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

/// How many requests may be under way at once in one account and service.
pub(super) const CONCURRENCY: usize = 16;

/// A place among the requests under way; given back when dropped.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code)] pub(super) Option<OwnedSemaphorePermit>);

/// Counts requests by service and operation, and answers that said "slow down".
#[derive(Debug, Default)]
pub struct Requests(Mutex<Counts>);

/// A reading of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests sent, retries included, by service (lowercase) and operation.
    pub sent: BTreeMap<(String, String), u64>,
    /// Answers that said "slow down".
    pub throttled: u64,
}

impl Requests {
    /// Counts one request.
    pub fn sent(&self, service: &str, operation: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.sent.entry((service.to_lowercase(), operation.to_owned())).or_default() += 1;
    }

    /// Counts one answer that said "slow down".
    pub fn throttled(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).throttled += 1;
    }

    /// The counters as they stand.
    #[must_use]
    pub fn read(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
