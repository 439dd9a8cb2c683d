//! Many runs, each determined by its seed.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A number from the environment.
pub fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The faults of some runs.
#[derive(Default)]
pub struct Table {
    pub runs: AtomicUsize,
    pub kills: AtomicUsize,
    pub faults: AtomicUsize,
    pub locked: AtomicUsize,
    pub converged: AtomicUsize,
    pub lost: AtomicUsize,
}

impl Table {
    pub fn print(&self, title: &str) {
        let n = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        println!(
            "{title}: runs {}, kills {}, faults {}, kept out by the lock {}, converged {}, lost {}",
            n(&self.runs),
            n(&self.kills),
            n(&self.faults),
            n(&self.locked),
            n(&self.converged),
            n(&self.lost),
        );
    }
}

/// Does runs on all cores, prints their outcomes, and reports which seed failed.
pub fn for_each_seed(title: &str, table: &Table, seeds: std::ops::Range<u64>, case: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return failed;
                }
                table.runs.fetch_add(1, Ordering::Relaxed);
                if std::panic::catch_unwind(AssertUnwindSafe(|| case(seed))).is_ok() {
                    table.converged.fetch_add(1, Ordering::Relaxed);
                } else {
                    table.lost.fetch_add(1, Ordering::Relaxed);
                    println!(
                        "seed {seed} failed: FAULTS_FROM={seed} FAULTS_RUNS=1 FAULTS_EMULATED=1 cargo test faults::"
                    );
                    failed.push(seed);
                }
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    table.print(title);
    assert_eq!(failed, Vec::<u64>::new(), "these seeds failed");
}
