//! Measures how fast policies are parsed, compared, evaluated and subtracted:
//! `cargo bench --no-default-features --target-dir target/bench --bench iam`.
//!
//! The cases are those of `tests/iam`, or of the folder in `IAM_CASES`. Each figure is the best of five rounds on one
//! core; nothing is asserted, because machines differ.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "prints figures for people, and ends where it fails")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bailiwick::access::{self, World};
use bailiwick::iam::{
    Attached, ContextValue, Pattern, Policy, PolicyKind, PolicySet, Request, RequestContext, Subject, equivalent,
    evaluate, lint, reach,
};
use bailiwick::plan::Bodies;
use bailiwick::spec::{Facts, SourceFile, load};

type Json = serde_json::Value;

fn cases(family: &str) -> Vec<Json> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/iam");
    let root = std::env::var_os("IAM_CASES").map_or(own, PathBuf::from).join(family);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let lines = files.iter().flat_map(|path| read(path).lines().map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
}

/// The time of one round: the best of five, each long enough to be measured.
fn best(mut round: impl FnMut()) -> Duration {
    let mut rounds = 1;
    loop {
        let start = Instant::now();
        (0..rounds).for_each(|_| round());
        if start.elapsed() > Duration::from_millis(200) {
            break;
        }
        rounds *= 2;
    }
    let timed = || {
        let start = Instant::now();
        (0..rounds).for_each(|_| round());
        start.elapsed() / rounds
    };
    std::iter::repeat_with(timed).take(5).min().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn tell(what: &str, figure: &str) {
    println!("{what:<52} {figure}");
}

struct Case {
    request: Request,
    identity: Vec<Policy>,
    resource: Option<Policy>,
    boundaries: Vec<Policy>,
    session: Vec<Policy>,
    scps: Vec<Vec<Policy>>,
    rcps: Vec<Vec<Policy>>,
    endpoint: Vec<Policy>,
}

fn policies(value: &Json) -> Vec<Policy> {
    let one = |entry: &Json| Policy::from_value(&entry["policy"]).unwrap();
    match value {
        Json::Array(list) => list.iter().map(one).collect(),
        Json::Null => Vec::new(),
        entry => vec![one(entry)],
    }
}

impl Case {
    fn read(case: &Json) -> Self {
        let asked = &case["request"];
        let text = |name: &str| asked[name].as_str().unwrap_or_default();
        let mut request = Request::new(text("principal"), text("action"), text("resource"));
        request.resource_account = asked["resource_account"].as_str().map(str::to_owned);
        request.context = RequestContext::new();
        for (key, value) in asked["context"].as_object().into_iter().flatten() {
            let texts = |list: &[Json]| list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
            let value = match value {
                Json::Array(list) => ContextValue::Many(texts(list)),
                one => ContextValue::One(one.as_str().unwrap_or_default().to_owned()),
            };
            request.context.set(key, value);
        }
        let levels = |value: &Json| value.as_array().map_or(Vec::new(), |list| list.iter().map(policies).collect());
        Self {
            request,
            identity: policies(&case["identity_policies"]),
            resource: policies(&case["resource_policy"]).pop(),
            boundaries: policies(&case["permission_boundaries"]),
            session: policies(&case["session_policies"]),
            scps: levels(&case["scps"]),
            rcps: levels(&case["rcps"]),
            endpoint: policies(&case["endpoint_policies"]),
        }
    }

    fn set(&self) -> PolicySet<'_> {
        PolicySet {
            identity: attached(&self.identity),
            resource: self.resource.as_ref().map(|policy| Attached { name: "", policy }),
            boundaries: attached(&self.boundaries),
            session: attached(&self.session),
            scps: self.scps.iter().map(|level| attached(level)).collect(),
            rcps: self.rcps.iter().map(|level| attached(level)).collect(),
            endpoint: attached(&self.endpoint),
            bucket: None,
        }
    }
}

fn attached(policies: &[Policy]) -> Vec<Attached<'_>> {
    policies.iter().map(|policy| Attached { name: "", policy }).collect()
}

fn evaluation() {
    let cases: Vec<Case> = cases("evaluation").iter().map(Case::read).collect();
    let sets: Vec<(&Request, PolicySet)> = cases.iter().map(|case| (&case.request, case.set())).collect();
    let time = best(|| {
        for (request, set) in &sets {
            black_box(evaluate(black_box(request), set));
        }
    });
    tell(&format!("evaluate, {} cases", sets.len()), &format!("{:.0} evaluations/s", per_second(sets.len(), time)));
    let time = best(|| {
        for (request, set) in &sets {
            black_box(reach(black_box(request), set));
        }
    });
    tell("reach: all that a caller may do", &format!("{:.0} callers/s", per_second(sets.len(), time)));
}

fn parsing() {
    let pairs = cases("equivalence");
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let texts: Vec<String> = pairs.iter().flat_map(|pair| [text(&pair["a"]), text(&pair["b"])]).collect();
    let bytes: usize = texts.iter().map(String::len).sum();
    let megabytes = |time| format!("{:.0} MB/s", per_second(bytes, time) / 1e6);
    let time = best(|| {
        for text in &texts {
            let _ = black_box(Policy::parse(black_box(text)));
        }
    });
    tell(&format!("parse and canonicalize, {} documents", texts.len()), &megabytes(time));
    let read: Vec<(Policy, Policy)> = pairs
        .iter()
        .filter_map(|pair| Some((Policy::parse(&text(&pair["a"])).ok()?, Policy::parse(&text(&pair["b"])).ok()?)))
        .collect();
    let time = best(|| {
        for (a, b) in &read {
            black_box(equivalent(black_box(a), black_box(b)));
        }
    });
    tell("equivalent", &format!("{:.0} pairs/s", per_second(read.len(), time)));
    let subject = Subject::of(PolicyKind::Identity);
    let time = best(|| {
        for text in &texts {
            black_box(lint(black_box(text), &subject));
        }
    });
    tell("lint", &format!("{:.0} documents/s", per_second(texts.len(), time)));
}

fn patterns() {
    let texts = ["arn:aws:s3:::a*/b*/*", "arn:aws:s3:::*/*.bin", "arn:aws:s3:::acme-?/models/*", "arn:aws:s3:::*"];
    let patterns: Vec<Pattern> = texts.iter().map(|text| Pattern::new(text)).collect();
    let key = "arn:aws:s3:::acme-1/models/llama/weights.bin";
    let time = best(|| {
        for pattern in &patterns {
            black_box(pattern.matches(black_box(key)));
        }
    });
    tell("pattern against text", &format!("{:.0} matches/s", per_second(patterns.len(), time)));
    let time = best(|| {
        for (a, b) in patterns.iter().zip(patterns.iter().rev()) {
            black_box((a.includes(black_box(b)), a.intersection(black_box(b))));
        }
    });
    tell("inclusion and intersection of patterns", &format!("{:.0} pairs/s", per_second(patterns.len(), time)));
}

/// The difference of access from nothing to a project of 100 service accounts, 20 buckets and 500 grants.
fn project() {
    let mut text = "version: 1\nproject: bench\naccounts:\n  a: { id: \"111111111111\", region: us-east-1 }\n  \
                    b: { id: \"222222222222\", region: us-east-1 }\nclusters:\n  c: { account: a, name: c }\nbuckets:\n"
        .to_owned();
    for bucket in 0..20 {
        let account = if bucket % 2 == 0 { "a" } else { "b" };
        let _ = writeln!(text, "  b{bucket}: {{ account: {account}, name: acme-{bucket} }}");
    }
    text.push_str("service_accounts:\n");
    for account in 0..100 {
        let _ = writeln!(text, "  s{account}: {{ cluster: c, namespace: n{}, name: s{account} }}", account % 10);
    }
    text.push_str("grants:\n");
    for grant in 0..500 {
        let (account, bucket) = (grant % 100, (grant / 100 + grant) % 20);
        let _ = writeln!(text, "  - {{ to: s{account}, bucket: b{bucket}, prefix: models/{grant}/, access: read }}");
    }
    let (spec, problems) = load(&[SourceFile { name: "bench.yaml".into(), text: text.into() }]);
    assert!(problems.is_empty(), "{problems:?}");
    let Some(spec) = spec else { return };
    let (facts, chains) = (Facts::placeholders(&spec), access::lower(&spec));
    let kinds = bailiwick::provider::kinds();
    let (desired, _) = bailiwick::desired::build(&spec, &facts, &chains, &kinds);
    let nothing = World::new(&spec, &facts, []);
    let all = World::new(&spec, &facts, Bodies::desired(&desired).facets(&kinds));
    let mut rows = 0;
    let time = best(|| rows = black_box(access::diff(&nothing, &all)).len());
    tell(&format!("access diff of 500 new grants, {rows} changes"), &format!("{} ms", time.as_millis()));
    let time = best(|| rows = black_box(access::diff(&all, &all)).len());
    tell("access diff of nothing", &format!("{} ms", time.as_millis()));
}

fn main() {
    evaluation();
    parsing();
    patterns();
    project();
}
