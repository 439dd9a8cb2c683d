//! How fast requests are sent, how many at once, and what was sent.
//!
//! An account's API (and a cluster's API server) has one [`Pace`], shared by everything that asks it: a token bucket
//! for reads, one for writes, and a number of places for requests under way. A bucket slows down when the service says
//! so and recovers when it no longer does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::kind::Api;

/// How many requests may be under way at once in one account and API.
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

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestIntent {
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

/// The pace of one account and API.
#[derive(Debug)]
pub struct Pace {
    reads: Lane,
    writes: Lane,
    places: Semaphore,
}

/// Requests of one intent, which wait for their tokens one after the other. Only the first of them is told how long, so that
/// a bucket that slows down or recovers meanwhile is heeded by all, and none of them has a place among those under way.
#[derive(Debug)]
struct Lane {
    turn: Turn<()>,
    bucket: Mutex<TokenBucket>,
}

impl Lane {
    fn new(rate: f64, now: Instant) -> Self {
        Self { turn: Turn::new(()), bucket: Mutex::new(TokenBucket::new(rate, now)) }
    }

    fn bucket(&self) -> MutexGuard<'_, TokenBucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the requests under way, which is released when it is dropped.
#[derive(Debug)]
pub struct Permit<'p>(#[expect(dead_code, reason = "held for its drop, never read")] Option<SemaphorePermit<'p>>);

impl Pace {
    pub(super) fn new(rates: Rates, places: usize, now: Instant) -> Self {
        Self {
            reads: Lane::new(rates.reads, now),
            writes: Lane::new(rates.writes, now),
            places: Semaphore::new(places),
        }
    }

    fn lane(&self, intent: RequestIntent) -> &Lane {
        match intent {
            RequestIntent::Read => &self.reads,
            RequestIntent::Write => &self.writes,
        }
    }

    /// Waits until a request may be sent.
    pub async fn enter(&self, intent: RequestIntent) -> Permit<'_> {
        let lane = self.lane(intent);
        let _turn = lane.turn.lock().await;
        loop {
            let place = Permit(self.places.acquire().await.ok());
            let Err(wait) = lane.bucket().take(Instant::now()) else { return place };
            drop(place);
            tokio::time::sleep(wait).await;
        }
    }

    /// The service said "slow down", and perhaps for how long to keep quiet.
    pub fn slow_down(&self, intent: RequestIntent, after: Option<Duration>) {
        self.lane(intent).bucket().slow_down(Instant::now(), after);
    }
}

/// A token bucket whose rate adapts.
#[derive(Debug)]
struct TokenBucket {
    most: f64,
    rate: f64,
    tokens: f64,
    /// When rate and tokens were last told; later than now as long as the service wants quiet, in which none come.
    at: Instant,
    slowed: Option<Instant>,
}

impl TokenBucket {
    fn new(most: f64, now: Instant) -> Self {
        let most = most.max(SLOWEST);
        Self { most, rate: most, tokens: Self::burst(most), at: now, slowed: None }
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

    /// Takes a token, or tells when there may be one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.pass(now);
        let quiet = self.at.saturating_duration_since(now);
        // What was waited for is there, whatever was lost in rounding.
        if quiet.is_zero() && self.tokens > 1.0 - 1e-6 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(quiet + Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / self.rate))
    }

    fn slow_down(&mut self, now: Instant, after: Option<Duration>) {
        self.pass(now);
        if let Some(after) = after {
            self.at = self.at.max(now + after.min(LONGEST_PAUSE));
            self.tokens = self.tokens.min(0.0);
        }
        if self.slowed.is_some_and(|slowed| now.saturating_duration_since(slowed) < GRACE) {
            return;
        }
        self.slowed = Some(now);
        self.rate = (self.rate * SLOWER).max(SLOWEST);
        self.tokens = self.tokens.min(0.0);
    }
}

/// Counts requests by API, the time that answers took, and answers that said "slow down".
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
    pub sent: BTreeMap<Api, u64>,
    /// How long their answers took, added up.
    pub waited: BTreeMap<Api, Duration>,
    /// The time from the first request to the last answer.
    pub elapsed: Duration,
    /// Throttled requests.
    pub throttled: BTreeMap<Api, u64>,
}

impl Requests {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one request.
    pub fn sent(&self, api: Api) {
        *self.counts().sent.entry(api).or_default() += 1;
    }

    /// Adds the time that an answer took which has just come.
    pub fn waited(&self, api: Api, time: Duration) {
        let now = Instant::now();
        let begun = *self.begun.get_or_init(|| now - time);
        let mut counts = self.counts();
        *counts.waited.entry(api).or_default() += time;
        counts.elapsed = counts.elapsed.max(now - begun);
    }

    /// Counts one answer that said "slow down".
    pub fn throttled(&self, api: Api) {
        *self.counts().throttled.entry(api).or_default() += 1;
    }

    /// The counters as they stand.
    #[must_use]
    pub fn read(&self) -> Counts {
        self.counts().clone()
    }
}

impl Counts {
    /// The number of requests by the name of the API.
    #[must_use]
    pub fn by_service(&self) -> BTreeMap<&'static str, u64> {
        self.sent.iter().map(|(api, n)| (api.0, *n)).collect()
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

    /// How many of many takers, one after the other, need not wait longer than this.
    fn within(bucket: &mut TokenBucket, now: Instant, time: f64) -> usize {
        let (mut at, mut taken) = (now, 0);
        loop {
            match bucket.take(at) {
                Ok(()) => taken += 1,
                Err(wait) => at += wait,
            }
            if at > now + seconds(time) + seconds(1e-6) {
                return taken;
            }
        }
    }

    #[test]
    fn token_bucket_starts_with_a_small_burst_and_keeps_its_rate() {
        let now = Instant::now();
        assert_eq!(within(&mut TokenBucket::new(20.0, now), now, 0.0), 5);
        assert_eq!(within(&mut TokenBucket::new(20.0, now), now, 1.0), 25);
        assert_eq!(within(&mut TokenBucket::new(1.0, now), now, 0.0), 1);
    }

    #[test]
    fn tokens_are_not_saved_up() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(20.0, now);
        assert_eq!(within(&mut bucket, now + seconds(3600.0), 0.0), 5);
    }

    #[test]
    fn a_throttle_slows_down_once_and_the_rate_comes_back() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(20.0, now);
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
    fn requested_pause_is_respected_up_to_a_limit() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(20.0, now);
        bucket.slow_down(now, Some(seconds(3.0)));
        assert_eq!(within(&mut bucket, now, 3.0), 0);
        assert_eq!(within(&mut bucket, now + seconds(3.0), 1.0), 12, "no storm after it: 0.6 of 20 a second");
        bucket.slow_down(now, Some(seconds(86_400.0)));
        assert_eq!(within(&mut bucket, now, LONGEST_PAUSE.as_secs_f64()), 0);
        assert!(within(&mut bucket, now + LONGEST_PAUSE, 1.0) > 0);
    }

    /// Takers of one intent, all at once, and when each may send.
    async fn entered(pace: &Pace, intent: RequestIntent, takers: usize) -> Vec<f64> {
        let begun = Instant::now();
        let each = (0..takers).map(|_| async {
            let _place = pace.enter(intent).await;
            begun.elapsed().as_secs_f64()
        });
        futures_util::future::join_all(each).await
    }

    #[tokio::test(start_paused = true)]
    async fn queued_requests_respect_a_pause() {
        let pace = Pace::new(Rates { reads: 2.0, writes: 1.0 }, 16, Instant::now());
        let throttled = async {
            tokio::time::sleep(seconds(0.7)).await;
            pace.slow_down(RequestIntent::Read, Some(seconds(10.0)));
        };
        let (sent, ()) = futures_util::future::join(entered(&pace, RequestIntent::Read, 8), throttled).await;
        assert_eq!(sent.iter().filter(|at| **at < 0.7).count(), 2, "{sent:?}");
        assert_eq!(sent.iter().filter(|at| (0.7..10.7).contains(*at)).count(), 0, "{sent:?}");
        assert_eq!(sent.iter().filter(|at| (10.7..11.2).contains(*at)).count(), 0, "nothing was saved up: {sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn writes_do_not_wait_for_queued_reads() {
        let pace = Pace::new(Rates { reads: 1.0, writes: 1000.0 }, 4, Instant::now());
        pace.slow_down(RequestIntent::Read, Some(seconds(15.0)));
        let (reads, writes) =
            futures_util::future::join(entered(&pace, RequestIntent::Read, 8), entered(&pace, RequestIntent::Write, 8))
                .await;
        assert!(reads.iter().all(|at| *at > 15.0), "{reads:?}");
        assert!(writes.iter().all(|at| *at < 0.1), "{writes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_summarized_in_one_line() {
        const IAM: Api = Api("iam");
        const S3: Api = Api("s3");
        let requests = Requests::default();
        assert_eq!(requests.read().to_string(), "Requests: none (0.0 s, 0 throttled)");
        for api in [S3, IAM, IAM] {
            requests.sent(api);
        }
        tokio::time::advance(seconds(2.0)).await;
        requests.waited(S3, seconds(1.5));
        requests.throttled(S3);
        tokio::time::advance(seconds(2.0)).await;
        requests.waited(IAM, seconds(1.0));
        assert_eq!(requests.read().to_string(), "Requests: iam 2, s3 1 (3.5 s, 1 throttled)");
    }

    #[tokio::test(start_paused = true)]
    async fn reads_and_writes_have_buckets_of_their_own() {
        let begun = Instant::now();
        let pace = Pace::new(Rates { reads: 2.0, writes: 1000.0 }, 4, begun);
        for _ in 0..20 {
            pace.enter(RequestIntent::Write).await;
        }
        assert!(begun.elapsed() < seconds(0.1));
        for _ in 0..5 {
            pace.enter(RequestIntent::Read).await;
        }
        assert!(begun.elapsed() >= seconds(1.9));
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_requests_are_limited() {
        let pace = Pace::new(Rates { reads: 1000.0, writes: 1000.0 }, 2, Instant::now());
        let (one, _two) = (pace.enter(RequestIntent::Read).await, pace.enter(RequestIntent::Write).await);
        assert!(tokio::time::timeout(seconds(60.0), pace.enter(RequestIntent::Read)).await.is_err());
        drop(one);
        assert!(tokio::time::timeout(seconds(1.0), pace.enter(RequestIntent::Read)).await.is_ok());
    }
}
