//! Measures the pure core on a large project:
//! `cargo bench --no-default-features --target-dir target/bench --bench core`, or with `-- 1000 10000` for other sizes.
//!
//! Each project has service accounts with a role, an association, and a bucket in another account with its policy. The
//! bench reads and compiles it, compares it with nothing and with everything, and plans it. Each size runs in its own
//! process. The output gives the peak memory and the CPU time of each stage; nothing is asserted, because machines
//! differ.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "prints figures for people, and ends where it fails")]

use std::fmt::Write as _;

use bailiwick::access::{self, World};
use bailiwick::desired::{self, Desired};
use bailiwick::diff::{self, Diff};
use bailiwick::document::Document;
use bailiwick::plan::{self, Bodies, Plan, PlanFile};
use bailiwick::render::{self, Palette};
use bailiwick::report::{self, wire};
use bailiwick::snapshot::{Seen, Snapshot};
use bailiwick::spec::{Facts, SourceFile, Spec, load};
use bailiwick::state::{Lineage, Owned, State};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Resources per unit of the project.
const PER_UNIT: usize = 6;

/// The spec text of a project with this many units.
fn project(units: usize) -> String {
    let mut text = "version: 1\nproject: bench\naccounts:\n  a: { id: \"111111111111\", region: us-east-1 }\n  \
                    b: { id: \"222222222222\", region: us-east-1 }\nclusters:\n  c: { account: a, name: c }\nbuckets:\n"
        .to_owned();
    for n in 0..units {
        let _ = writeln!(text, "  b{n}: {{ account: b, name: acme-{n}, versioning: true, tags: {{ team: t{n} }} }}");
    }
    text.push_str("service_accounts:\n");
    for n in 0..units {
        let _ = writeln!(text, "  s{n}: {{ cluster: c, namespace: n{}, name: s{n} }}", n % 50);
    }
    text.push_str("grants:\n");
    for n in 0..units {
        let _ = writeln!(text, "  - {{ to: s{n}, bucket: b{n}, prefix: models/{n}/, access: read }}");
    }
    text
}

/// The peak memory of this process, in MB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|kb| kb.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// The CPU time of this process in seconds. Other processes do not affect it.
fn processor() -> f64 {
    let nanoseconds = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    nanoseconds.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

/// When the stage began, and how long the earlier stages took.
struct Clock(f64, f64);

impl Clock {
    fn stage<T>(&mut self, what: &str, result: T) -> T {
        let took = processor() - self.0;
        self.1 += took;
        println!("  {what:<44} {took:>7.3} s {:>6} MB", peak());
        self.0 = processor();
        result
    }
}

/// The world and the state after everything has been applied.
fn applied(desired: &Desired) -> (Snapshot, State) {
    let mut snapshot = Snapshot::default();
    let mut state = State::new("bench", Lineage("l".into()));
    for (address, resource) in &desired.resources {
        let wanted = &resource;
        let seen = Seen::Present { body: wanted.body.clone(), owner: Some("bench".into()) };
        let owned = Owned {
            scope: wanted.scope.clone(),
            physical_id: wanted.physical_id.clone(),
            adopted: false,
            body: Some(wanted.body.clone()),
            fingerprint: seen.fingerprint(),
            unique_id: None,
            references: wanted.references.clone(),
            on_destroy: wanted.on_destroy,
            protect: wanted.protect,
        };
        snapshot.seen.insert(address.clone(), seen);
        state.resources.insert(address.clone(), owned);
    }
    (snapshot, state)
}

fn measure(resources: usize) {
    let kinds = bailiwick::provider::kinds();
    let text = project(resources / PER_UNIT);
    let mut clock = Clock(processor(), 0.0);
    let (spec, problems) = load(&[SourceFile { name: "bench.yaml".into(), text: text.into() }]);
    assert!(problems.is_empty(), "{problems:?}");
    let spec: Spec = clock.stage("read the spec", spec.unwrap());
    let facts = Facts::placeholders(&spec);
    clock.1 = 0.0;
    let chains = clock.stage("lower the grants", access::lower(&spec));
    let (desired, problems) = desired::build(&spec, &facts, &chains, &kinds);
    assert!(problems.is_empty(), "{problems:?}");
    clock.stage("compile what is desired", ());
    println!("  = {} resources", desired.resources.len());
    let compile = clock.1;
    let absent = desired.resources.keys().map(|address| (address.clone(), Seen::Absent)).collect();
    let (nothing, empty) = (Snapshot { seen: absent }, State::new("bench", Lineage("l".into())));
    clock = Clock(processor(), compile);
    let diff: Diff = clock.stage("diff with nothing", diff::compute(&desired, &nothing, &empty, &kinds));
    let plan: Plan = clock.stage("plan everything", plan::build(&diff, &empty, Some(spec.digest()), &kinds).unwrap());
    println!("  = {} steps: compiled, compared and planned in {:.2} s", plan.steps.len(), clock.1);
    drop((nothing, empty));
    clock.0 = processor();
    let before = Bodies::seen(&diff);
    let after = before.after(&plan, &kinds);
    let (before, after) =
        (World::new(&spec, &facts, before.facets(&kinds)), World::new(&spec, &facts, after.facets(&kinds)));
    let changes = access::diff(&before, &after);
    clock.stage("access that everything gives", ());
    println!("  = {} access changes", changes.len());
    drop((diff, before, after));
    let published = wire::plan(&plan, wire::PlanDetails { changes: &changes, ..wire::PlanDetails::default() });
    let report = report::plan(&published, false);
    let text = clock.stage("report and render as text", render::terminal(&report, Palette::default()));
    let markdown = clock.stage("render as markdown", render::markdown(&report));
    drop(report);
    let wire = Document::of(&published).unwrap();
    let json = clock.stage("render as JSON", render::json(&wire));
    println!("  = {} KB of text, {} of markdown, {} of JSON", text.len() >> 10, markdown.len() >> 10, json.len() >> 10);
    drop((text, markdown, json));
    let file = serde_json::to_string(&PlanFile::new(plan, wire)).unwrap();
    clock.stage("save the plan", ());
    clock.stage("read the saved plan", PlanFile::parse(&file).unwrap());
    drop((file, published, changes));
    let (snapshot, state) = applied(&desired);
    let mut clock = Clock(processor(), compile);
    let diff = clock.stage("diff with all of it", diff::compute(&desired, &snapshot, &state, &kinds));
    let plan = clock.stage("plan nothing", plan::build(&diff, &state, Some(spec.digest()), &kinds).unwrap());
    println!("  = {} steps: compiled, compared and planned in {:.2} s", plan.steps.len(), clock.1);
    let text = clock.stage("write the state", state.to_text().unwrap());
    clock.stage("read the state", State::parse(&text, "bench").unwrap());
    println!("  = {} MB of state", text.len() >> 20);
}

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    match sizes.as_slice() {
        [one] => {
            println!("{one} resources");
            measure(*one);
        }
        sizes => {
            let sizes = if sizes.is_empty() { &[1_000, 10_000, 100_000] } else { sizes };
            for size in sizes {
                let program = std::env::current_exe().unwrap();
                let status = std::process::Command::new(program).arg(size.to_string()).status().unwrap();
                assert!(status.success());
            }
        }
    }
}
