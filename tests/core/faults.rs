//! Whatever happens during an apply, the next run recovers: kills, failing calls, lost responses, throttling,
//! two runs at once, a full disk, a clock that jumps.
//!
//! Every run follows from its seed, which a failure prints. `FAULTS_FROM` and `FAULTS_RUNS` choose others, and
//! `FAULTS_TRACE` shows the plans of a run. Runs of the built program against the emulators are in
//! `tests/cloud/faults.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bailiwick::backend::{Backend as _, LockInfo};
use bailiwick::spec::Spec;

use crate::memory::{Cloud, Cut, Id, Storm};
use crate::run::{Death, Project, SERVING, Trouble, plant, spec};
use crate::seeds::{Table, for_each_seed, number};
use crate::specs::{Chance, PROJECT, draft_of};

/// Runs a case on paused time, which advances only when every task waits.
fn with_paused_time<T>(case: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(case)
}

fn me(holder: &str) -> LockInfo {
    LockInfo { holder: holder.into(), ..LockInfo::default() }
}

/// One apply, as the program does it: only with the lock, and with any outcome.
async fn apply(project: &Project, spec: &Spec, table: &Table) {
    let Ok(_lock) = project.backend.lock(me("somebody")).await else {
        table.locked.fetch_add(1, Ordering::Relaxed);
        return;
    };
    // There is no plan while a resource is unreadable, and a failed save is reported.
    if let Ok(planned) = project.plan(spec).await {
        let traced = std::env::var_os("FAULTS_TRACE").is_some();
        if traced {
            println!("--- {:#?}", crate::run::steps(planned.plan()));
        }
        let ended = project.execute(spec, planned, tokio::sync::watch::channel(false).1).await;
        if traced {
            println!("--- {:#?}", ended.map(|applied| format!("{:?}", applied.undone())));
        }
    }
}

/// Applies without faults until everything is done. Then a plan must be empty.
async fn recover(project: &Project, spec: &Spec) {
    project.cloud.clear_faults();
    project.backend.clear_faults();
    if std::env::var_os("FAULTS_TRACE").is_some() {
        println!("--- journal\n{}", project.backend.text());
    }
    let _lock = project.backend.lock(me("the next run")).await.expect("a dead run holds no lock");
    project.apply_all(spec).await;
    project.assert_converged(spec).await;
    let (state, ..) = project.state().await;
    let twice: BTreeMap<String, usize> =
        state.resources.iter().fold(BTreeMap::new(), |mut counts, (address, owned)| {
            *counts.entry(format!("{} {} {}", address.kind(), owned.scope, owned.physical_id)).or_default() += 1;
            counts
        });
    assert!(twice.values().all(|n| *n == 1), "the state has something twice: {twice:?}");
}

/// The clock of a machine that is adjusted while the program runs.
fn jumping_clock(seed: u64) -> Arc<dyn Fn() -> String + Send + Sync> {
    let calls = AtomicU64::new(seed);
    Arc::new(move || {
        let n = calls.fetch_add(7919, Ordering::Relaxed);
        format!("20{:02}-0{}-1{}T0{}:00:00Z", n % 60, 1 + n % 9, n % 10, n % 10)
    })
}

/// One apply that fails in a random way.
async fn disturbed(project: &Project, spec: &Spec, chance: &mut Chance, table: &Table) {
    let storm = Storm {
        seed: u64::try_from(chance.below(1 << 30)).unwrap(),
        failed: 50,
        lost: 20,
        throttled: 50,
        stale: 50,
        ..Storm::default()
    };
    project.cloud.hide_new_roles(chance.below(6));
    if chance.below(3) > 0 {
        project.cloud.storm(storm);
    }
    let at = 1 + chance.below(24);
    let killed = match chance.below(8) {
        0 => Some(project.cloud.kill_at(at, Cut::BeforeCall)),
        1 => Some(project.cloud.kill_at(at, Cut::AfterCall)),
        n @ 2..=4 => {
            let notify = Arc::new(tokio::sync::Notify::new());
            let death = [Death::Before, Death::Half, Death::After][n - 2];
            project.backend.trouble(Trouble::Dies(at, death, notify.clone()));
            Some(notify)
        }
        5 => {
            project.backend.trouble(Trouble::Full(at - 1));
            table.faults.fetch_add(1, Ordering::Relaxed);
            None
        }
        _ => None,
    };
    let other = project.beside();
    let both = async {
        if chance.below(4) == 0 {
            tokio::join!(apply(project, spec, table), apply(&other, spec, table));
        } else {
            apply(project, spec, table).await;
        }
    };
    match killed {
        None => both.await,
        Some(killed) => tokio::select! {
            biased;
            () = killed.notified() => { table.kills.fetch_add(1, Ordering::Relaxed); }
            () = both => {}
        },
    }
    table.faults.fetch_add(project.cloud.struck(), Ordering::Relaxed);
    project.cloud.clear_faults();
    project.backend.clear_faults();
}

fn project(seed: u64, specs: &[&Spec]) -> Project {
    let cloud = Cloud::with_delays(seed + 1);
    for spec in specs {
        cloud.prepare(spec);
    }
    let mut project = Project::new(PROJECT, cloud);
    project.limits.steps = 1 + usize::try_from(seed % 8).unwrap();
    project.clock = jumping_clock(seed);
    project
}

/// Everything with our ownership mark.
fn ours(project: &Project) -> BTreeSet<String> {
    project.cloud.world().tagged()
}

/// A run: some disturbed applies, a change of the spec, more of them, and the end.
fn run_of(seed: u64, table: &Table) {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let first = spec(&draft_of(seed).text());
    let second = (chance.below(3) == 0).then(|| spec(&draft_of(seed ^ (1 << 40)).text()));
    let specs: Vec<&Spec> = [Some(&first), second.as_ref()].into_iter().flatten().collect();
    with_paused_time(async {
        let project = project(seed, &specs);
        let before = project.cloud.world().dump();
        let mut planted = Vec::new();
        let mut exclusive = BTreeSet::new();
        for spec in &specs {
            for _ in 0..=chance.below(2) {
                disturbed(&project, spec, &mut chance, table).await;
            }
            recover(&project, spec).await;
            exclusive.extend(project.backend.exclusive());
            if planted.is_empty() {
                let world = |id: &Id| project.cloud.world().which(id);
                planted = plant(&project).into_iter().map(|(id, what)| (world(&id), id, what)).collect();
            }
        }
        // The result equals that of a run without faults.
        let calm = self::project(seed, &specs);
        for spec in &specs {
            calm.apply_all(spec).await;
        }
        let (ours, expected) = (ours(&project), ours(&calm));
        let (more, less) = (ours.difference(&expected).collect::<Vec<_>>(), expected.difference(&ours).collect());
        assert_eq!((more, less), (Vec::new(), Vec::<&String>::new()), "what is there too much, and what is missing");
        let overlaps: Vec<String> = {
            let world = project.cloud.world();
            let violations = world.violations().iter().filter(|v| v.what.contains("is under way"));
            violations.map(|v| format!("{}: {}", v.address, v.what)).collect()
        };
        assert_eq!(overlaps, Vec::<String>::new(), "writes to one bucket or role overlapped");
        if chance.below(4) == 0 {
            let last = specs.last().unwrap().emptied();
            disturbed(&project, &last, &mut chance, table).await;
            recover(&project, &last).await;
        }
        let after = project.cloud.world().dump();
        for (id, body) in &before {
            assert!(after.contains_key(id), "{id} is gone, and was {body}");
        }
        for (which, id, what) in planted {
            let still = project.cloud.world().which(&id) == which && !exclusive.contains(&id.name);
            if let Some(body) = after.get(&id.to_string()).filter(|_| still) {
                assert!(body.to_string().contains(what), "{id} lost what is foreign: {body}");
            }
        }
    });
}

#[test]
fn a_thousand_disturbed_runs_converge() {
    let table = Table::default();
    let from = number("FAULTS_FROM", 0);
    for_each_seed("in memory", &table, from..from + number("FAULTS_RUNS", 1000), |seed| run_of(seed, &table));
}

/// Dies at every write to the backend, before it, halfway and after it, while one spec replaces another.
fn dies_at_every_boundary(table: &Table, before: Option<&Spec>, after: &Spec) {
    let boundaries = with_paused_time(async {
        let project = prepared(before).await;
        let stored = project.backend.stored();
        project.apply_all(after).await;
        project.backend.stored() - stored
    });
    assert!(boundaries > 10, "{boundaries}");
    let deaths = [Death::Before, Death::Half, Death::After];
    let cases = deaths.iter().flat_map(|death| (1..=boundaries).map(move |at| (*death, at)));
    for (death, at) in cases {
        table.runs.fetch_add(1, Ordering::Relaxed);
        with_paused_time(async {
            let project = prepared(before).await;
            let notify = Arc::new(tokio::sync::Notify::new());
            project.backend.trouble(Trouble::Dies(at, death, notify.clone()));
            assert!(project.apply_until_killed(after, &notify).await, "it dies at {at}");
            table.kills.fetch_add(1, Ordering::Relaxed);
            recover(&project, after).await;
            table.converged.fetch_add(1, Ordering::Relaxed);
        });
    }
}

async fn prepared(spec: Option<&Spec>) -> Project {
    let mut project = Project::new(PROJECT, Cloud::new());
    project.limits.steps = 2;
    if let Some(spec) = spec {
        project.apply_all(spec).await;
    }
    project
}

#[test]
fn kill_at_every_journal_boundary_is_recovered() {
    let table = Table::default();
    let serving = spec(SERVING);
    let renamed = spec(&SERVING.replace("name: kserve-loader", "name: model-loader"));
    dies_at_every_boundary(&table, None, &serving);
    dies_at_every_boundary(&table, Some(&serving), &renamed);
    dies_at_every_boundary(&table, Some(&serving), &serving.emptied());
    table.print("at every boundary");
}

#[test]
fn a_state_that_cannot_be_stored_stops_the_run_before_the_next_call() {
    let serving = spec(SERVING);
    with_paused_time(async {
        let project = prepared(None).await;
        project.backend.trouble(Trouble::Full(0));
        let planned = project.plan(&serving).await.unwrap();
        let error = project.execute(&serving, planned, tokio::sync::watch::channel(false).1).await.err().unwrap();
        assert!(error.to_string().contains("no storage space"), "{error}");
        assert_eq!(project.cloud.world().counts().writes, 0, "what cannot be recorded is not done");
        recover(&project, &serving).await;
    });
}
