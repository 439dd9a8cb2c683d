//! Checks the sources against the tables of floors and doors, and ARCHITECTURE.md against both: floors import downward
//! only, and each external package has its named doors.

use std::fs;

use proc_macro2::TokenTree;

use crate::imports::Imports;
use crate::mentions::{Mention, each_token, mentions};
use crate::source::{Source, doubles, line, root, sources};

/// Module, floor, and its row inside the floor. Inside floor 2 a module imports from earlier rows only; elsewhere what
/// a module may import of its own floor is in `SIDEWAYS`.
const FLOORS: [(&str, u8); 24] = [
    ("address", 0),
    ("document", 0),
    ("diagnostic", 0),
    ("iam", 0),
    ("spec", 1),
    ("access", 2),
    ("kind", 2),
    ("desired", 2),
    ("state", 2),
    ("graph", 2),
    ("snapshot", 2),
    ("diff", 2),
    ("plan", 2),
    ("check", 2),
    ("event", 2),
    ("report", 3),
    ("render", 3),
    ("session", 4),
    ("live", 4),
    ("provider", 4),
    ("backend", 4),
    ("engine", 5),
    ("cli", 6),
    ("main", 6),
];

const SIDEWAYS: [(&str, &str); 8] = [
    ("diagnostic", "address"),
    ("diagnostic", "iam"),
    ("render", "report"),
    ("live", "session"),
    ("provider", "live"),
    ("provider", "session"),
    ("backend", "session"),
    ("main", "cli"),
];

/// Imports that would be downward but are forbidden all the same.
const WALLS: [(&str, &str); 3] = [("engine", "provider"), ("engine", "report"), ("engine", "render")];

/// External packages and the modules that may use them. Those with an empty list may be used everywhere.
const DOORS: [(&str, &[&str]); 38] = [
    ("serde", &[]),
    ("serde_json", &[]),
    ("thiserror", &[]),
    ("schemars", &[]),
    ("serde_transcode", &["document"]),
    ("sha2", &["document"]),
    ("strsim", &["diagnostic"]),
    ("serde_saphyr", &["spec"]),
    ("jiff", &["spec", "cli"]),
    ("petgraph", &["graph"]),
    ("similar", &["render"]),
    ("annotate_snippets", &["render"]),
    ("anstyle", &["render"]),
    ("aws_config", &["provider"]),
    ("aws_credential_types", &["provider"]),
    ("aws_sdk_sts", &["provider"]),
    ("aws_sigv4", &["provider"]),
    ("aws_smithy_http_client", &["provider"]),
    ("base64", &["provider"]),
    ("aws_sdk_eks", &["provider"]),
    ("aws_sdk_kms", &["provider"]),
    ("aws_sdk_iam", &["provider"]),
    ("aws_sdk_s3", &["provider", "backend"]),
    ("aws_smithy_runtime_api", &["session", "provider"]),
    ("aws_smithy_types", &["session", "provider"]),
    ("percent_encoding", &["provider"]),
    ("kube", &["provider"]),
    ("k8s_openapi", &["provider"]),
    ("tempfile", &["backend", "cli"]),
    ("tokio", &["session", "provider", "backend", "engine", "cli"]),
    ("futures_util", &["session", "provider", "backend", "engine", "cli"]),
    ("fastrand", &["provider", "cli"]),
    ("mimalloc", &["main"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("indicatif", &["cli"]),
    ("tracing_subscriber", &["cli"]),
];

fn floor_of(module: &str) -> Option<(u8, usize)> {
    FLOORS.iter().position(|(m, _)| *m == module).map(|row| (FLOORS[row].1, row))
}

/// The names that follow the crate's own in the paths of a source, with the place of each. A path that names the whole
/// crate has no such name: a rename or a glob of the root gives access to every module.
fn own(source: &Source) -> Vec<(Option<String>, String)> {
    mentions(source)
        .into_iter()
        .filter(|m| m.path[0] == "crate" || (source.top() == "main" && m.path[0] == "bailiwick"))
        .map(|m| (m.path.get(1).filter(|name| *name != "*").cloned(), format!("{}:{}", source.place, m.line)))
        .collect()
}

/// The imports of a source that its floor does not allow.
fn upward(source: &Source) -> Vec<String> {
    let module = source.top();
    if module == "lib" {
        return Vec::new();
    }
    let Some((floor, row)) = floor_of(module) else {
        return vec![format!("{}: the module `{module}` has no floor", source.place)];
    };
    let mut wrong = Vec::new();
    for (other, place) in own(source) {
        let Some(other) = other else {
            wrong.push(format!("{place}: `{module}` names the whole crate, which hides what it imports"));
            continue;
        };
        let Some((target, target_row)) = floor_of(&other) else {
            wrong.push(format!("{place}: `{module}` imports `{other}`, which has no floor"));
            continue;
        };
        let sideways = SIDEWAYS.contains(&(module, other.as_str()));
        let walled = WALLS.contains(&(module, other.as_str()));
        let inside_two = floor == 2 && target == 2 && target_row < row;
        let downward = target < floor && !walled;
        if other != module && !downward && !sideways && !inside_two {
            wrong.push(format!("{place}: `{module}` (floor {floor}) imports `{other}` (floor {target})"));
        }
    }
    wrong
}

/// The external packages that a source uses, and those that it uses outside their doors.
fn through_doors(source: &Source, packages: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut used, mut wrong) = (Vec::new(), Vec::new());
    for Mention { path, line, .. } in mentions(source) {
        let package = &path[0];
        if !packages.contains(package) {
            continue;
        }
        used.push(package.clone());
        let allowed = DOORS.iter().find(|(p, _)| p == package).map_or(&[][..], |(_, modules)| modules);
        if !allowed.is_empty() && !allowed.contains(&source.top()) {
            let place = format!("{}:{line}", source.place);
            wrong.push(format!("{place}: `{package}` is used outside its door ({})", allowed.join(", ")));
        }
    }
    (used, wrong)
}

/// Where a source awaits.
fn waits(source: &Source) -> Vec<String> {
    let mut places = Vec::new();
    each_token(source.tokens(), &mut |token| {
        if matches!(token, TokenTree::Ident(i) if i == "await" || i == "async") {
            places.push(format!("{}:{}", source.place, line(token)));
        }
    });
    places
}

/// Where a source reads the environment or the clock, or imports the means to do so under another name.
fn surroundings(source: &Source) -> Vec<String> {
    const CLOCKS: [&str; 3] = ["SystemTime", "Timestamp", "Zoned"];
    // A signature contains the time of signing.
    let signs = source.place == "src/provider/aws/eks/token.rs";
    mentions(source)
        .into_iter()
        .filter(|m| {
            let path: Vec<&str> = m.path.iter().map(String::as_str).collect();
            let last = path[path.len() - 1];
            let clock = path.iter().rev().find(|name| CLOCKS.contains(name));
            let reads = clock.is_some_and(|clock| {
                (last == "now" || (m.renamed && last == *clock)) && !(signs && *clock == "SystemTime")
            });
            let environment = matches!(path[..], ["std", "env", ..] | ["env", _, ..]);
            reads || environment || matches!(path[..], ["std"] | ["std", "*"])
        })
        .map(|m| format!("{}:{}", source.place, m.line))
        .collect()
}

/// Where a source includes text that is checked as part of another module, or not at all.
fn smuggled(source: &Source) -> Vec<String> {
    let mut places = Vec::new();
    let mut before = (String::new(), String::new());
    each_token(source.tokens(), &mut |token| {
        let text = token.to_string();
        // `#[path = "..."]` and `include!("...")`.
        if (before.0 == "#" && before.1 == "path" && text == "=") || (before.1 == "include" && text == "!") {
            places.push(format!("{}:{}", source.place, line(token)));
        }
        before = (std::mem::take(&mut before.1), text);
    });
    places
}

fn packages() -> Vec<String> {
    fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .lines()
        .skip_while(|l| *l != "[dependencies]")
        .skip(1)
        .take_while(|l| !l.starts_with('['))
        .filter_map(|l| l.split_once('=').map(|(name, _)| name.trim().replace('-', "_")))
        .collect()
}

#[test]
fn floors_import_downward_only() {
    let wrong: Vec<String> = sources("src").iter().flat_map(upward).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn iam_imports_no_other_module() {
    let wrong: Vec<String> = sources("src")
        .iter()
        .filter(|source| source.top() == "iam")
        .flat_map(own)
        .filter(|(other, _)| other.as_deref() != Some("iam"))
        .map(|(_, place)| place)
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn external_packages_come_in_through_their_doors() {
    let packages = packages();
    let mut wrong: Vec<String> = packages
        .iter()
        .filter(|p| !DOORS.iter().any(|(door, _)| door == p))
        .map(|p| format!("Cargo.toml: `{p}` has no door"))
        .collect();
    let mut used: Vec<String> = Vec::new();
    for source in sources("src") {
        let (uses, past) = through_doors(&source, &packages);
        used.extend(uses);
        wrong.extend(past);
    }
    let unused = packages.iter().filter(|p| !used.contains(p));
    wrong.extend(unused.map(|p| format!("Cargo.toml: `{p}` is used nowhere")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_waits_below_floor_four() {
    let low = |source: &&Source| floor_of(source.top()).is_some_and(|(floor, _)| floor < 4);
    let wrong: Vec<String> = sources("src").iter().filter(low).flat_map(waits).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn only_the_command_line_reads_the_environment_and_the_clock() {
    let wrong: Vec<String> = sources("src").iter().filter(|s| s.top() != "cli").flat_map(surroundings).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

/// The modules whose files import each other, and the reason for each.
const CIRCLES: [(&str, &str); 5] = [
    ("engine", "`mod.rs` defines `Engine` and calls functions of files that add methods to it"),
    (
        "iam",
        "`policy.rs` calls the parser, which builds policies; `lint/mod.rs` calls the lints, which add to its findings",
    ),
    ("plan", "`mod.rs` defines `PlanError` and calls the drafting and the ordering, which return it"),
    ("spec", "`Spec` consists of its sections, and the checks of a section read the whole `Spec`"),
    ("state", "`mod.rs` and `journal.rs` read format 1 through `format_1.rs`, which converts it to their types"),
];

#[test]
fn no_file_imports_one_of_its_module_that_imports_it_back() {
    let imports = Imports::of(sources("src"));
    let circles = imports.circles();
    let is_named = |circle: &[&str]| CIRCLES.iter().any(|(module, _)| circle[0].starts_with(&format!("src/{module}/")));
    let wrong: Vec<String> =
        circles.iter().filter(|circle| !is_named(circle)).map(|circle| circle.join(", ")).collect();
    assert!(wrong.is_empty(), "these import each other:\n{}", wrong.join("\n"));
    for (module, _) in CIRCLES {
        let has = circles.iter().any(|circle| circle[0].starts_with(&format!("src/{module}/")));
        assert!(has, "`{module}` has no circle any more: take it out of CIRCLES");
    }
}

/// The names in backticks.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn architecture_lists_the_floors_the_doors_and_the_circles() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .map(|line| line.split('|').map(str::trim).collect())
        .filter(|cells: &Vec<&str>| cells.len() == 6 && cells[1].parse::<u8>().is_ok())
        .collect();
    let floors: Vec<(&str, u8)> =
        rows.iter().map(|cells| (cells[2].trim_matches(['`', '/']), cells[1].parse().unwrap())).collect();
    assert_eq!(floors, FLOORS);
    for ((module, _), cells) in floors.iter().zip(&rows) {
        let mut listed: Vec<String> = cells[4]
            .split(", ")
            .filter(|package| !package.is_empty())
            .map(|package| package.replace('-', "_"))
            .collect();
        listed.sort();
        let doors = DOORS.iter().filter(|(_, modules)| modules.contains(module));
        let mut expected: Vec<&str> = doors.map(|(package, _)| *package).collect();
        expected.sort_unstable();
        assert_eq!(listed, expected, "the packages of `{module}`");
    }
    let everywhere = page.lines().find(|line| line.contains("may be used everywhere")).unwrap();
    let free: Vec<&str> = DOORS.iter().filter(|(_, modules)| modules.is_empty()).map(|(package, _)| *package).collect();
    assert_eq!(names(everywhere), free);
    let circles = page.split_once("## Files that import each other\n").unwrap().1.split("\n#").next().unwrap();
    let listed: Vec<&str> = circles.lines().filter(|line| line.starts_with("- ")).collect();
    let expected: Vec<String> = CIRCLES.iter().map(|(module, why)| format!("- `{module}`: {why}.")).collect();
    assert_eq!(listed, expected);
}

#[test]
fn cycle_is_found_through_re_exports_and_module_names() {
    let circles = |sources: &[(&str, &str)]| -> Vec<String> {
        let sources = sources.iter().map(|(place, text)| Source::new(place, *text)).collect();
        Imports::of(sources).circles().into_iter().map(|circle| circle.join(" ")).collect()
    };
    let face = ("src/plan/mod.rs", "mod a; mod b; pub use a::A; pub(crate) use b::{B as C};");
    let (a, b) = ("src/plan/a.rs", "src/plan/b.rs");
    let both = ["src/plan/a.rs src/plan/b.rs"];
    for (one, other) in [
        ("use super::b::B;", "use super::a::A;"),
        ("use crate::plan::C;", "fn f() { super::A::new() }"),
        ("use super::b; fn f() { b::B::new() }", "use crate::{plan::{a as x}}; fn f(x: super::a::A) {}"),
        ("mod live { use super::super::b::B; }", "use super::A;"),
    ] {
        assert_eq!(circles(&[face, (a, one), (b, other)]), both, "{one} {other}");
    }
    for (one, other) in [
        ("use super::b::B;", ""),
        ("use super::b::B;", "#[cfg(test)] mod tests { use super::super::a::A; }"),
        ("use super::b::B;", "pub(in crate::plan::a) fn f() {} /// [`super::a::A`]\nfn g() {}"),
        ("use crate::plan; fn f() { plan::C }", "use crate::state::a::A;"),
    ] {
        assert_eq!(circles(&[face, (a, one), (b, other)]), [""; 0], "{one} {other}");
    }
    let parent = ("src/plan/mod.rs", "mod a; pub struct Plan; fn f() { a::A::new() }");
    assert_eq!(circles(&[parent, (a, "use super::Plan;")]), ["src/plan/mod.rs src/plan/a.rs"]);
    assert_eq!(
        circles(&[("src/plan/mod.rs", "mod a; pub struct Plan; pub use a::A;"), (a, "use super::Plan;")]),
        [""; 0]
    );
}

#[test]
fn every_file_is_the_module_of_its_path() {
    let all = sources("src");
    assert_eq!(all.iter().flat_map(smuggled).collect::<Vec<_>>(), Vec::<String>::new());
    let library = all.iter().find(|s| s.place == "src/lib.rs").unwrap().tree();
    let modules = |item: &syn::Item| matches!(item, syn::Item::Mod(module) if module.content.is_none());
    assert!(
        library.items.iter().all(modules),
        "src/lib.rs declares modules and nothing else: other items would have no floor"
    );
}

/// The violations of a made-up source, by the table of floors.
#[track_caller]
fn refuses(place: &str, text: &str, expected: &[&str]) {
    assert_eq!(upward(&Source::new(place, text)), expected, "{text}");
}

#[test]
fn an_import_upward_is_found_however_it_is_written() {
    let expected = &["src/graph.rs:1: `graph` (floor 2) imports `render` (floor 3)"];
    for text in [
        "use crate::render;",
        "use crate::render::inert;",
        "pub(crate) use crate::render::*;",
        "use crate::{render::inert as _b};",
        "use crate::{address::{Address, AccountId}, kind::{self, Kind}, render as shown};",
        "use {crate::address, crate::render::{inert}};",
        "use super::render::inert;",
        "use super::{super::render::inert};",
        "mod inner { use super::super::render::inert; }",
        "mod inner { use super::super::{render}; }",
        "use self::super::render::inert;",
        "fn shown(text: &str) -> String { crate::render::inert(text) }",
        "fn shown(text: crate::render::Inert) {}",
        "fn shown(text: &str) -> Vec<crate::render::Inert<'_>> { vec![] }",
        "type Shown = <crate::render::Terminal as std::any::Any>::Shown;",
        "fn shown() { let _ = Vec::<crate::render::Inert>::new(); }",
        "fn shown() { use crate::{render::inert}; }",
        "fn shown() { println!(\"{}\", crate::render::inert(\"a\")); }",
        "fn shown() { assert!(matches!(1, x if super::render::inert(x))); }",
        "macro_rules! shown { () => { $crate::render::inert(1) }; }",
        "macro_rules! shown { () => { use $crate::{render::inert}; }; }",
        "#[cfg(test)] mod tests { use crate::render::inert; }",
        "#[serde(with = \"crate::render::inert\")] struct Shown;",
        "#[derive(crate::render::Shown)] struct Shown;",
        "impl crate::render::Renderer for u8 {}",
        "pub(in crate::render) fn shown() {}",
        "use crate::r#render;",
    ] {
        refuses("src/graph.rs", text, expected);
    }
    refuses(
        "src/graph.rs",
        "use crate::{\n    cli::main as _a,\n    provider::kinds as _,\n    render::inert as _b,\n};",
        &[
            "src/graph.rs:2: `graph` (floor 2) imports `cli` (floor 6)",
            "src/graph.rs:3: `graph` (floor 2) imports `provider` (floor 4)",
            "src/graph.rs:4: `graph` (floor 2) imports `render` (floor 3)",
        ],
    );
    refuses(
        "src/plan/guard.rs",
        "use super::super::engine;\nuse super::engine;",
        &["src/plan/guard.rs:1: `plan` (floor 2) imports `engine` (floor 5)"],
    );
    refuses(
        "src/engine/mod.rs",
        "use crate::{address, live, plan, provider};",
        &["src/engine/mod.rs:1: `engine` (floor 5) imports `provider` (floor 4)"],
    );
    refuses(
        "src/graph.rs",
        "use crate::kind;\nuse crate::plan;",
        &["src/graph.rs:2: `graph` (floor 2) imports `plan` (floor 2)"],
    );
    refuses("src/main.rs", "fn main() { bailiwick::engine::run() }", &[]);
    refuses("src/new.rs", "", &["src/new.rs: the module `new` has no floor"]);
}

#[test]
fn import_of_the_whole_crate_is_refused() {
    for text in [
        "use crate as c;",
        "use crate::{self as c};",
        "use {crate as c};",
        "use crate::*;",
        "use super::*;",
        "use super as up;",
        "extern crate self as c;",
        "macro_rules! through { ($c:tt) => { $c::render::inert() }; } fn f() { through!(crate) }",
    ] {
        refuses("src/graph.rs", text, &["src/graph.rs:1: `graph` names the whole crate, which hides what it imports"]);
    }
    refuses("src/graph.rs", "use crate::inert;", &["src/graph.rs:1: `graph` imports `inert`, which has no floor"]);
}

#[test]
fn legal_imports_and_mere_text_pass() {
    for text in [
        "use crate::{address::Address, kind::Kind as _, graph::Graph};",
        "// use crate::render;\n/// See `crate::render::inert`.\nfn f() {}",
        "#![doc = \"crate::render\"]",
        "fn f() -> &'static str { \"crate::render::inert\" }",
        "pub(crate) fn f() {}\npub(super) struct A(pub(crate) u8);",
        "mod inner { use super::*; pub fn f() { super::super::address::f(); self::g() } }",
        "use std::render;\nfn f() { other::render::inert(); value.render::<u8>() }",
        "fn f() -> impl Iterator<Item = u8> + use<'_> { render }",
    ] {
        refuses("src/graph.rs", text, &[]);
    }
}

#[test]
fn a_package_past_its_door_is_found_however_it_is_written() {
    let packages = ["tokio".to_owned(), "serde".to_owned()];
    let expected = vec!["src/graph.rs:1: `tokio` is used outside its door (session, provider, backend, engine, cli)"];
    for text in [
        "use tokio::sync;",
        "use tokio;",
        "use tokio as t;",
        "use tokio::{self as t};",
        "use ::tokio::sync;",
        "use {serde::Serialize, tokio::sync as _};",
        "extern crate tokio as t;",
        "fn f() -> tokio::sync::Notify { loop {} }",
        "fn f() -> ::tokio::sync::Notify { loop {} }",
        "fn f() { let _ = <tokio::sync::Notify as Default>::default; }",
        "fn f() { assert!(tokio::sync::f()); }",
        "#[tokio::test] fn f() {}",
        "#[serde(with = \"tokio::sync\")] struct S;",
    ] {
        let (used, wrong) = through_doors(&Source::new("src/graph.rs", text), &packages);
        assert_eq!(wrong, expected, "{text}");
        assert!(used.contains(&"tokio".to_owned()), "{text}");
        assert_eq!(through_doors(&Source::new("src/engine/mod.rs", text), &packages).1, Vec::<String>::new(), "{text}");
    }
    for text in ["fn f() { other::tokio::sync::f(); tokio.sync() }", "// tokio::sync", "use crate::{kind::tokio};"] {
        let (used, wrong) = through_doors(&Source::new("src/graph.rs", text), &packages);
        assert_eq!((used, wrong), (vec![], vec![]), "{text}");
    }
}

#[test]
fn waiting_and_the_surroundings_are_found_however_they_are_written() {
    let at = |text: &str| Source::new("src/graph.rs", text);
    for text in ["async fn f() {}", "fn f() { spawn(async move { 1 }) }", "fn f() { m!(x\n.await) }"] {
        assert_eq!(waits(&at(text)).len(), 1, "{text}");
    }
    assert_eq!(waits(&at("/// An async fn, .await\nfn f() { \"async\"; }")), Vec::<String>::new());
    for text in [
        "fn f() { std::env::var(\"A\"); }",
        "use std::{collections::BTreeMap, env};",
        "use std::env as e;",
        "use std as s;",
        "use std::time::SystemTime as T;",
        "fn f() { std::time::SystemTime::now(); }",
        "fn f() { m!(jiff::Zoned::now()); }",
        "fn f() { let _ = Timestamp::now; }",
    ] {
        assert_eq!(surroundings(&at(text)), ["src/graph.rs:1"], "{text}");
    }
    for text in ["use std::time::SystemTime;", "fn f() { env!(\"A\"); }", "fn f(now: SystemTime) { now.env() }"] {
        assert_eq!(surroundings(&at(text)), Vec::<String>::new(), "{text}");
    }
    let signature = Source::new("src/provider/aws/eks/token.rs", "fn f() { SystemTime::now(); Timestamp::now(); }");
    assert_eq!(surroundings(&signature).len(), 1);
    for text in ["#[path = \"render/inert.rs\"]\nmod inert;", "include!(\"render/inert.rs\");"] {
        assert_eq!(smuggled(&at(text)), ["src/graph.rs:1"], "{text}");
    }
    assert_eq!(smuggled(&at("fn f(path: u8) { include_str!(\"a\"); }")), Vec::<String>::new());
}

#[test]
fn every_kind_is_one_file_and_one_line() {
    let register = fs::read_to_string(root().join("src/provider/mod.rs")).unwrap();
    let mut kinds = 0;
    for source in sources("src/provider") {
        let defined = source.text.matches("const ABOUT: &'static About").count();
        kinds += defined;
        assert!(defined <= 1, "{} defines {defined} kinds", source.place);
        if defined == 1 {
            let stem = source.module.last().unwrap();
            assert_eq!(register.matches(&format!("::{stem}::")).count(), 1, "{} is registered once", source.place);
        }
    }
    assert!(kinds > 0);
}

/// Whether a source declares a module of this name, at any depth.
fn declares(source: &Source, name: &str) -> bool {
    let mut before = String::new();
    let mut found = false;
    each_token(source.tokens(), &mut |token| {
        let text = token.to_string();
        found |= before == "mod" && text == name;
        before = text;
    });
    found
}

#[test]
fn every_kind_has_its_double_beside_it_outside_the_library() {
    let register = fs::read_to_string(root().join("tests/support/doubles.rs")).unwrap();
    let doubles: Vec<String> = doubles().into_iter().map(|double| double.place).collect();
    let all = sources("src");
    let beside = |source: &Source| {
        let stem = source.place.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        format!("{stem}/double.rs")
    };
    let kinds =
        sources("src/provider").into_iter().filter(|source| source.text.contains("const ABOUT: &'static About"));
    for kind in kinds {
        assert!(doubles.contains(&beside(&kind)), "{} has no double", kind.place);
    }
    for double in &doubles {
        assert!(all.iter().any(|source| beside(source) == *double), "{double} is beside no module");
        assert_eq!(register.matches(&format!("\"../../{double}\"")).count(), 1, "{double} is registered once");
    }
    let compiled = all.iter().filter(|source| declares(source, "double")).map(|source| &source.place);
    assert_eq!(compiled.collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(declares(&Source::new("src/a.rs", "mod b { #[cfg(x)] pub(crate) mod double; }"), "double"));
}
