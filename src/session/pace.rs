//! How fast requests are sent, how many at once, and what was sent.
//!
//! An account's service (and a cluster's API server) has one [`Pace`], shared by everything that asks it: a token bucket
//! for reads, one for writes, and a number of places for requests under way. A bucket slows down when the service says
//! so and recovers when it no longer does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How many requests may be under way at once in one account and service.
pub const CONCURRENCY: usize = 16;

/// The rate below which a bucket does not slow down.
const SLOWEST: f64 = 1.0;
/// What is left of the rate after a throttle.
const SLOWER: f64 = 0.6;
/// The share of the full rate that comes back with each second without a throttle.
const RECOVERY: f64 = 0.1;
/// Requests that were sent before a bucket slowed down may still be throttled: they count once.
const GRACE: Duration = Duration::from_millis(500);
/// No service is waited for longer than this, whatever it asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// IAM.
    Iam,
    /// S3.
    S3,
    /// KMS.
    Kms,
    /// EKS.
    Eks,
    /// STS.
    Sts,
    /// The API server of a cluster.
    Kubernetes,
}

impl Service {
    /// The name under which its requests are counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::S3 => "s3",
            Self::Kms => "kms",
            Self::Eks => "eks",
            Self::Sts => "sts",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It changes nothing.
    Read,
    /// It changes something.
    Write,
}

/// Requests a second, at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of requests that change nothing.
    pub reads: f64,
    /// Of those that change something.
    pub writes: f64,
}

/// The pace of one account and service.
#[derive(Debug)]
pub struct Pace {
    reads: Mutex<Bucket>,
    writes: Mutex<Bucket>,
    places: Semaphore,
}

/// A place among the requests under way; given back when dropped.
#[derive(Debug)]
pub struct Place<'p>(#[allow(dead_code)] Option<SemaphorePermit<'p>>); // it is held, not read

impl Pace {
    pub(super) fn new(rates: Rates, places: usize, now: Instant) -> Self {
        Self {
            reads: Mutex::new(Bucket::new(rates.reads, now)),
            writes: Mutex::new(Bucket::new(rates.writes, now)),
            places: Semaphore::new(places),
        }
    }

    fn bucket(&self, intent: Intent) -> std::sync::MutexGuard<'_, Bucket> {
        let bucket = match intent {
            Intent::Read => &self.reads,
            Intent::Write => &self.writes,
        };
        bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent.
    pub async fn enter(&self, intent: Intent) -> Place<'_> {
        let place = Place(self.places.acquire().await.ok());
        let wait = self.bucket(intent).take(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        place
    }

    /// The service said "slow down", and perhaps for how long to keep quiet.
    pub fn slow_down(&self, intent: Intent, after: Option<Duration>) {
        self.bucket(intent).slow_down(Instant::now(), after);
    }
}

/// A token bucket whose rate adapts. Its tokens may be owed: who takes one that is not there yet waits for it, in order.
#[derive(Debug)]
struct Bucket {
    most: f64,
    rate: f64,
    tokens: f64,
    /// When rate and tokens were last told.
    at: Instant,
    slowed: Option<Instant>,
    quiet_until: Option<Instant>,
}

impl Bucket {
    fn new(most: f64, now: Instant) -> Self {
        let most = most.max(SLOWEST);
        Self { most, rate: most, tokens: Self::burst(most), at: now, slowed: None, quiet_until: None }
    }

    /// How many tokens are saved up at most: a quarter of a second, so that nothing begins with a storm.
    fn burst(rate: f64) -> f64 {
        (rate / 4.0).max(1.0)
    }

    /// Lets time pass.
    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.rate).min(Self::burst(self.rate));
        self.rate = (self.rate + passed * RECOVERY * self.most).min(self.most);
    }

    /// Takes a token, and tells how long to wait for it.
    fn take(&mut self, now: Instant) -> Duration {
        self.pass(now);
        self.tokens -= 1.0;
        let owed = Duration::from_secs_f64((-self.tokens).max(0.0) / self.rate);
        let quiet = self.quiet_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        owed.max(quiet)
    }

    fn slow_down(&mut self, now: Instant, after: Option<Duration>) {
        self.pass(now);
        if let Some(after) = after {
            let until = now + after.min(LONGEST_PAUSE);
            self.quiet_until = Some(self.quiet_until.map_or(until, |known| known.max(until)));
        }
        if self.slowed.is_some_and(|slowed| now.saturating_duration_since(slowed) < GRACE) {
            return;
        }
        self.slowed = Some(now);
        self.rate = (self.rate * SLOWER).max(SLOWEST);
        self.tokens = self.tokens.min(0.0);
    }
}

/// Counts requests by service, the time that answers took, and answers that said "slow down".
#[derive(Debug, Default)]
pub struct Requests {
    counts: Mutex<Counts>,
    /// When the first request was sent that has been answered.
    begun: OnceLock<Instant>,
}

/// A reading of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests sent, retries included.
    pub sent: BTreeMap<Service, u64>,
    /// How long their answers took, added up.
    pub waited: BTreeMap<Service, Duration>,
    /// The time from the first request to the last answer.
    pub elapsed: Duration,
    /// Answers that said "slow down".
    pub throttled: BTreeMap<Service, u64>,
}

impl Requests {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one request.
    pub fn sent(&self, service: Service) {
        *self.counts().sent.entry(service).or_default() += 1;
    }

    /// Adds the time that an answer took which has just come.
    pub fn waited(&self, service: Service, time: Duration) {
        let now = Instant::now();
        let begun = *self.begun.get_or_init(|| now - time);
        let mut counts = self.counts();
        *counts.waited.entry(service).or_default() += time;
        counts.elapsed = counts.elapsed.max(now - begun);
    }

    /// Counts one answer that said "slow down".
    pub fn throttled(&self, service: Service) {
        *self.counts().throttled.entry(service).or_default() += 1;
    }

    /// The counters as they stand.
    #[must_use]
    pub fn read(&self) -> Counts {
        self.counts().clone()
    }
}

impl Counts {
    /// The number of requests by service.
    #[must_use]
    pub fn by_service(&self) -> BTreeMap<&'static str, u64> {
        self.sent.iter().map(|(service, n)| (service.name(), *n)).collect()
    }

    /// The number of answers that said "slow down".
    #[must_use]
    pub fn throttles(&self) -> u64 {
        self.throttled.values().sum()
    }
}

/// What was asked of whom, in how many seconds, and how many answers said "slow down".
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent: Vec<String> = self.by_service().iter().map(|(service, n)| format!("{service} {n}")).collect();
        let sent = if sent.is_empty() { "none".to_owned() } else { sent.join(", ") };
        write!(f, "Requests: {sent} ({:.1} s, {} throttled)", self.elapsed.as_secs_f64(), self.throttles())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    /// How many of many takers at once need not wait longer than this.
    fn within(bucket: &mut Bucket, now: Instant, time: f64) -> usize {
        let most = seconds(time);
        std::iter::repeat_with(|| bucket.take(now)).take_while(|wait| *wait <= most).count()
    }

    #[test]
    fn a_bucket_begins_without_a_storm_and_keeps_its_rate() {
        let now = Instant::now();
        assert_eq!(within(&mut Bucket::new(20.0, now), now, 0.0), 5);
        assert_eq!(within(&mut Bucket::new(20.0, now), now, 1.0), 25);
        assert_eq!(within(&mut Bucket::new(1.0, now), now, 0.0), 1);
    }

    #[test]
    fn tokens_are_not_saved_up() {
        let now = Instant::now();
        let mut bucket = Bucket::new(20.0, now);
        assert_eq!(within(&mut bucket, now + seconds(3600.0), 0.0), 5);
    }

    #[test]
    fn a_throttle_slows_down_once_and_the_rate_comes_back() {
        let now = Instant::now();
        let mut bucket = Bucket::new(20.0, now);
        for late in [0.0, 0.1, 0.4] {
            bucket.slow_down(now + seconds(late), None);
        }
        assert!((12.0..13.0).contains(&bucket.rate), "{}", bucket.rate);
        bucket.slow_down(now + seconds(0.6), None);
        assert!((7.0..9.0).contains(&bucket.rate), "{}", bucket.rate);
        for more in 1..100 {
            bucket.slow_down(now + seconds(0.6 + f64::from(more) * 0.51), None);
        }
        assert!((SLOWEST..5.0).contains(&bucket.rate), "{}", bucket.rate);
        bucket.pass(now + seconds(3600.0));
        assert!((bucket.rate - 20.0).abs() < f64::EPSILON, "{}", bucket.rate);
    }

    #[test]
    fn what_a_service_asks_for_is_waited_but_not_without_end() {
        let now = Instant::now();
        let mut bucket = Bucket::new(20.0, now);
        bucket.slow_down(now, Some(seconds(3.0)));
        assert_eq!(bucket.take(now), seconds(3.0));
        assert!(bucket.take(now + seconds(3.0)) < seconds(1.0));
        bucket.slow_down(now, Some(seconds(86_400.0)));
        assert_eq!(bucket.take(now), LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_is_told_in_a_line() {
        let requests = Requests::default();
        assert_eq!(requests.read().to_string(), "Requests: none (0.0 s, 0 throttled)");
        for service in [Service::S3, Service::Iam, Service::Iam] {
            requests.sent(service);
        }
        tokio::time::advance(seconds(2.0)).await;
        requests.waited(Service::S3, seconds(1.5));
        requests.throttled(Service::S3);
        tokio::time::advance(seconds(2.0)).await;
        requests.waited(Service::Iam, seconds(1.0));
        assert_eq!(requests.read().to_string(), "Requests: iam 2, s3 1 (3.5 s, 1 throttled)");
    }

    #[tokio::test(start_paused = true)]
    async fn reads_and_writes_have_buckets_of_their_own() {
        let begun = Instant::now();
        let pace = Pace::new(Rates { reads: 2.0, writes: 1000.0 }, 4, begun);
        for _ in 0..20 {
            pace.enter(Intent::Write).await;
        }
        assert!(begun.elapsed() < seconds(0.1));
        for _ in 0..5 {
            pace.enter(Intent::Read).await;
        }
        assert!(begun.elapsed() >= seconds(1.9));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_only_so_many_places() {
        let pace = Pace::new(Rates { reads: 1000.0, writes: 1000.0 }, 2, Instant::now());
        let (one, _two) = (pace.enter(Intent::Read).await, pace.enter(Intent::Write).await);
        assert!(tokio::time::timeout(seconds(60.0), pace.enter(Intent::Read)).await.is_err());
        drop(one);
        assert!(tokio::time::timeout(seconds(1.0), pace.enter(Intent::Read)).await.is_ok());
    }
}
