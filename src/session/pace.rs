//! Limits the rate and concurrency of requests, and counts them.
//!
//! Each API of an account (and each cluster's API server) has one [`Pace`], shared by all its callers: a token bucket
//! for reads, one for writes, and a limit of concurrent requests. A bucket slows down when the service throttles, and
//! recovers afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::kind::Api;

/// The limit of concurrent requests for each account and API.
pub const CONCURRENCY: usize = 16;

/// The lowest rate of a bucket, in requests per second.
const SLOWEST: f64 = 1.0;
/// The factor by which a throttle reduces the rate.
const SLOWER: f64 = 0.6;
/// The share of the full rate that a bucket regains in each second without a throttle.
const RECOVERY: f64 = 0.1;
/// Requests sent before a bucket slowed down may still be throttled. Throttles within this time slow it down only once.
const GRACE: Duration = Duration::from_millis(500);
/// The longest pause, even if the service asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Whether a request reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestIntent {
    /// The request changes nothing.
    Read,
    /// The request may change something.
    Write,
}

/// The maximum rates, in requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The rate of reads.
    pub reads: f64,
    /// The rate of writes.
    pub writes: f64,
}

/// The rate and concurrency limits of one account and API.
#[derive(Debug)]
pub struct Pace {
    reads: Lane,
    writes: Lane,
    places: Semaphore,
}

/// The requests of one intent. They queue for tokens, and only the first computes its wait, so that a change of the
/// rate applies to all. A waiting request does not take up a slot for concurrent requests.
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

/// A slot for one concurrent request, released on drop.
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

    /// Slows down after a throttle, and pauses if the service gave a time.
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
    /// The time of the last update of rate and tokens. In the future during a pause, in which no tokens are added.
    at: Instant,
    slowed: Option<Instant>,
}

impl TokenBucket {
    fn new(most: f64, now: Instant) -> Self {
        let most = most.max(SLOWEST);
        Self { most, rate: most, tokens: Self::burst(most), at: now, slowed: None }
    }

    /// The maximum number of saved tokens: those of a quarter of a second, to avoid a burst at the start.
    fn burst(rate: f64) -> f64 {
        (rate / 4.0).max(1.0)
    }

    /// Updates rate and tokens to the current time.
    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.rate).min(Self::burst(self.rate));
        self.rate = (self.rate + passed * RECOVERY * self.most).min(self.most);
    }

    /// Takes a token, or returns the time to wait for one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.pass(now);
        let quiet = self.at.saturating_duration_since(now);
        // The tolerance allows for rounding of the wait.
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

/// Counts requests, response times and throttles by API.
#[derive(Debug, Default)]
pub struct Requests {
    counts: Mutex<Counts>,
    /// The time at which the first answered request was sent.
    begun: OnceLock<Instant>,
}

/// A snapshot of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests sent, retries included.
    pub sent: BTreeMap<Api, u64>,
    /// The sum of their response times.
    pub waited: BTreeMap<Api, Duration>,
    /// The time from the first request to the last response.
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

    /// Adds the time of a response that has just arrived.
    pub fn waited(&self, api: Api, time: Duration) {
        let now = Instant::now();
        let begun = *self.begun.get_or_init(|| now - time);
        let mut counts = self.counts();
        *counts.waited.entry(api).or_default() += time;
        counts.elapsed = counts.elapsed.max(now - begun);
    }

    /// Counts one throttle.
    pub fn throttled(&self, api: Api) {
        *self.counts().throttled.entry(api).or_default() += 1;
    }

    /// Returns a snapshot of the counters.
    #[must_use]
    pub fn read(&self) -> Counts {
        self.counts().clone()
    }
}

impl Counts {
    /// Returns the number of requests by the name of the API.
    #[must_use]
    pub fn by_service(&self) -> BTreeMap<&'static str, u64> {
        self.sent.iter().map(|(api, n)| (api.0, *n)).collect()
    }

    /// Returns the number of throttles.
    #[must_use]
    pub fn throttles(&self) -> u64 {
        self.throttled.values().sum()
    }
}

/// Shows the requests of each API, the elapsed seconds, and the number of throttles.
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

    /// Counts the takers of tokens, one after the other, that wait no longer than `time`.
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

    /// Starts takers of one intent concurrently, and returns the seconds after which each may send.
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
