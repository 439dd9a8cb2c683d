//! Counts of the sources that may only fall. A count above its ceiling fails, and so does one below it: then lower the
//! ceiling in the same commit. `cargo test --test core ratchets -- --nocapture` prints them all.

use bailiwick::provider;

use crate::census::{Census, Offender};
use crate::source::{Source, doubles, sources};
use crate::texts::{comments, documents, in_comments, in_test_names, offenders as offenders_of, test_names};
use crate::words::{IN_COMMENTS, Phrases, REJECTED};

/// A count, its ceiling, and its aim.
struct Ratchet {
    name: &'static str,
    /// What is counted.
    what: &'static str,
    ceiling: usize,
    aim: usize,
    line: u32,
}

const fn ratchet(name: &'static str, what: &'static str, ceiling: usize, aim: usize, line: u32) -> Ratchet {
    Ratchet { name, what, ceiling, aim, line }
}

// The last two numbers of each: the ceiling, which is the current count, and the aim.
const KIND_NAMES: Ratchet = ratchet("KIND_NAMES", "kind names as text outside provider/", 0, 0, line!());
const FIELD_READS: Ratchet = ratchet("FIELD_READS", "body fields read by name outside provider/", 0, 0, line!());
const LONG_FUNCTIONS: Ratchet = ratchet("LONG_FUNCTIONS", "functions of more than 60 lines", 0, 0, line!());
const MANY_PARAMETERS: Ratchet = ratchet("MANY_PARAMETERS", "functions with more than 6 parameters", 0, 0, line!());
const LONG_FILES: Ratchet = ratchet("LONG_FILES", "files of more than 800 lines", 0, 0, line!());
const SHARED_NAMES: Ratchet = ratchet("SHARED_NAMES", "type names with more than one definition", 0, 0, line!());
const PHRASES: Ratchet = ratchet("PHRASES", "rejected phrases in texts for people", 0, 0, line!());
const COMMENT_PHRASES: Ratchet = ratchet("COMMENT_PHRASES", "rejected phrases in comments", 0, 0, line!());
const TEST_NAMES: Ratchet = ratchet("TEST_NAMES", "rejected phrases in names of tests", 0, 0, line!());

impl Ratchet {
    /// The line that `--nocapture` prints, or an error with the fix.
    fn hold(&self, found: &[Offender]) -> Result<String, String> {
        let Self { name, what, ceiling, aim, line } = self;
        let count = found.len();
        let summary = format!("{count:>4} {what} (ceiling {ceiling}, aim {aim})");
        let place = format!("{}:{line}", file!());
        if count > *ceiling {
            let list: Vec<String> = found.iter().map(|o| format!("  {}: {}", o.place, o.what)).collect();
            let rule = format!("the count may not rise above the ceiling {ceiling} of {name} ({place}):");
            return Err(format!("{summary}\n{rule}\n{}", list.join("\n")));
        }
        if count < *ceiling {
            return Err(format!(
                "{summary}\nlower the ceiling to {count}: {place}, in {name}, {ceiling} becomes {count}"
            ));
        }
        Ok(summary)
    }
}

#[test]
fn counts_only_fall() {
    let kinds = provider::kinds();
    let names: Vec<&str> = kinds.all().map(|kind| kind.about().name).collect();
    assert!(!names.is_empty());
    let census = Census::of(sources("src"));
    let mut phrases = census.phrases(REJECTED);
    for (place, (first, text)) in documents() {
        phrases.append(&mut offenders_of(REJECTED, &place, first, &text));
    }
    let comments = in_comments(IN_COMMENTS, &["src", "tests", "benches", "fuzz/fuzz_targets", "tools"]);
    let rust: Vec<Source> = sources("src").into_iter().chain(doubles()).chain(sources("tests")).collect();
    let held = [
        KIND_NAMES.hold(&census.kind_names(&names)),
        FIELD_READS.hold(&census.field_reads()),
        LONG_FUNCTIONS.hold(&census.long_functions()),
        MANY_PARAMETERS.hold(&census.many_parameters()),
        LONG_FILES.hold(&census.long_files()),
        SHARED_NAMES.hold(&census.shared_names()),
        PHRASES.hold(&phrases),
        COMMENT_PHRASES.hold(&comments),
        TEST_NAMES.hold(&in_test_names(REJECTED, &rust)),
    ];
    for line in &held {
        println!("{}", line.as_ref().unwrap_or_else(|e| e));
    }
    let wrong: Vec<String> = held.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

#[test]
fn count_off_its_ceiling_fails_with_advice() {
    let ratchet = Ratchet { name: "EGGS", what: "eggs", ceiling: 1, aim: 0, line: 7 };
    let egg = |line: u8| Offender { place: format!("src/nest.rs:{line}"), what: "an egg".into() };
    assert_eq!(ratchet.hold(&[egg(1)]).unwrap(), "   1 eggs (ceiling 1, aim 0)");
    assert_eq!(
        ratchet.hold(&[egg(1), egg(2)]).unwrap_err(),
        format!(
            "   2 eggs (ceiling 1, aim 0)\nthe count may not rise above the ceiling 1 of EGGS ({}:7):\n  \
             src/nest.rs:1: an egg\n  src/nest.rs:2: an egg",
            file!()
        )
    );
    assert_eq!(
        ratchet.hold(&[]).unwrap_err(),
        format!("   0 eggs (ceiling 1, aim 0)\nlower the ceiling to 0: {}:7, in EGGS, 1 becomes 0", file!())
    );
}

/// The offenders of made-up sources, each as `file:line: what`.
fn offenders(sources: &[(&str, &str)], count: impl Fn(&Census) -> Vec<Offender>) -> Vec<String> {
    let census = Census::of(sources.iter().map(|(place, text)| Source::new(place, *text)).collect());
    count(&census).into_iter().map(|o| format!("{}: {}", o.place.trim_start_matches("src/"), o.what)).collect()
}

#[test]
fn kind_names_are_counted() {
    let count = |census: &Census| census.kind_names(&["aws.iam.role", "aws.s3.bucket", "kubernetes.namespace"]);
    let text = r#"
const ROLE: &str = "aws.iam.role";
fn f(kind: &str) -> bool {
    matches!(kind, "aws.iam.role" | r"aws.s3.bucket") || kind.starts_with("aws.iam.") || kind.starts_with("kubernetes.")
}
/// Of "aws.iam.role".
#[error("no aws.s3.bucket:x in `aws.iam.role`.")]
struct E; // "aws.iam.role"
fn g() { format!("aws.iam.role.{}", 1); ["aws.iam"]; kind.ends_with("iam.role"); ["aws.iam.roles", "my.aws.iam.role", "aws", "aws.iam.role_policy"]; }
#[cfg(test)]
mod tests { const ROLE: &str = "aws.iam.role"; }
"#;
    let expected = [
        r#"a.rs:2: "aws.iam.role""#,
        r#"a.rs:4: "aws.iam.role""#,
        r#"a.rs:4: "aws.s3.bucket""#,
        r#"a.rs:4: "aws.iam.""#,
        r#"a.rs:4: "kubernetes.""#,
        r#"a.rs:7: "aws.s3.bucket""#,
        r#"a.rs:7: "aws.iam.role""#,
        r#"a.rs:9: "aws.iam.role.""#,
        r#"a.rs:9: "aws.iam""#,
        r#"a.rs:9: "iam.role""#,
    ];
    assert_eq!(offenders(&[("src/a.rs", text), ("src/provider/aws/role.rs", text)], count), expected);
}

#[test]
fn fields_read_by_name_are_counted() {
    let text = r#"
pub fn text(body: &Document, field: &str) -> String { body.field(field).unwrap_or_default() }
fn policy(body: &Document, name: &str) -> Option<Policy> { let found = body.field::<Policy>(name); found }
fn either(body: &Document, a: &str) -> String { text(body, a) }
fn f(body: &Document) {
    text(body, "arn");
    policy(body, "trust");
    either(body, ARN);
    body.field::<BTreeMap<String, Vec<u8>>>("tags");
    assert!(matches!(body.field("blocked"), Some(true)));
    body.field(UNIQUE_ID);
    for field in ["a", "b"] { body.field::<bool>(field); }
    Document::field(body, "arn");
    body.field_text("trust"); body.tree()["url"]; body.tree().get("url"); let whole = body.tree();
}
fn compared(path: &FieldPath, name: &str) -> bool { path.field() == "tags" || path.field() != TAGS || path.field() == name }
impl Site {
    fn new(body: &Document, field: &str) -> Self { Self(body.field(field)) }
    fn get(&self, field: &str) -> String { self.body.field(field) }
    fn all(&self) { Self::new(self.body, "own"); self.get("got"); Other::new(body, "none"); get("none"); Self::text(body, "none"); }
}
fn g(path: &FieldPath, f: &mut DebugStruct) { path.field(); f.field("name", &1); self.text("one"); either("one") }
#[cfg(test)]
mod tests { fn f(body: &Document) { body.field::<bool>("arn"); text(body, "arn"); } }
"#;
    let other = "fn f(body: &Document) { a::text(body, \"url\"); policy(body, \"url\"); }";
    let expected = [
        r#"a.rs:6: text(body, "arn")"#,
        r#"a.rs:7: policy(body, "trust")"#,
        r"a.rs:8: either(body, ARN)",
        r#"a.rs:9: field("tags")"#,
        r#"a.rs:10: field("blocked")"#,
        r"a.rs:11: field(UNIQUE_ID)",
        r"a.rs:12: field(field)",
        r"a.rs:13: Document::field(..)",
        r#"a.rs:14: field_text("trust")"#,
        r"a.rs:14: tree(..)",
        r"a.rs:14: tree(..)",
        r#"a.rs:14: get("url")"#,
        r"a.rs:16: field(..)",
        r"a.rs:16: field(..)",
        r#"a.rs:20: new(self.body, "own")"#,
        r#"a.rs:20: get("got")"#,
        r#"b.rs:1: text(body, "url")"#,
    ];
    let sources = [("src/a.rs", text), ("src/b.rs", other), ("src/provider/c.rs", text)];
    assert_eq!(offenders(&sources, Census::field_reads), expected);
}

#[test]
fn long_functions_are_counted() {
    let lines = |n: usize| "\n".repeat(n);
    let text = format!(
        "fn fits() {{{}}}\nfn long() {{{}}}\nimpl A {{\n    /// Long.\n    pub async fn method(\n        &self,\n    ) {{{}}}\n}}\n\
         trait T {{ fn given() {{{}}} fn asked(); }}\n#[cfg(test)]\nfn test() {{{}}}\n\
         impl A {{ #[cfg(test)]\nfn test() {{{}}} }}\n#[cfg(all(test, feature = \"cloud\"))]\nmod tests {{ fn f() {{{}}} }}\n\
         #[cfg(any(test, feature = \"cloud\"))]\nfn mixed() {{{}}}",
        lines(59),
        lines(60),
        lines(58),
        lines(60),
        lines(60),
        lines(60),
        lines(60),
        lines(60)
    );
    let expected = [
        "a.rs:61: `long` has 61 lines",
        "a.rs:124: `method` has 61 lines",
        "a.rs:186: `given` has 61 lines",
        "a.rs:434: `mixed` has 61 lines",
    ];
    assert_eq!(offenders(&[("src/a.rs", &text)], Census::long_functions), expected);
}

#[test]
fn many_parameters_are_counted() {
    let text = "fn six(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}
fn seven(a: u8, b: u8, c: u8, d: u8, e: u8, (f, g): (u8, u8), h: u8) {}
impl A { fn six(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {} }
impl A { fn eight(&mut self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) {} }
trait T { fn asked(self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8); }
fn outer() { fn inner(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) {} }
#[cfg(test)] fn test(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) {}
";
    let expected = [
        "a.rs:2: `seven` has 7 parameters",
        "a.rs:4: `eight` has 8 parameters",
        "a.rs:5: `asked` has 7 parameters",
        "a.rs:6: `inner` has 7 parameters",
    ];
    assert_eq!(offenders(&[("src/a.rs", text)], Census::many_parameters), expected);
}

#[test]
fn long_files_are_counted_without_their_tests() {
    let long = "//\n".repeat(801);
    let tested = format!("{}/// Tests.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(800), "//\n".repeat(9));
    let sources = [
        ("src/a.rs", long.as_str()),
        ("src/b.rs", &tested),
        ("src/c.rs", &"//\n".repeat(800)),
        ("src/d/mod.rs", "#[cfg(test)]\nmod twin;\nmod other;"),
        ("src/d/twin.rs", &long),
        ("src/d/twin/inner.rs", &long),
        ("src/d/tests.rs", &long),
        ("src/d/tests/more.rs", &long),
        ("src/d/other.rs", &long),
    ];
    assert_eq!(offenders(&sources, Census::long_files), ["a.rs:1: 801 lines", "d/other.rs:1: 801 lines"]);
}

#[test]
fn shared_names_are_counted() {
    let sources = [
        (
            "src/a.rs",
            "struct Key;\nenum Role {}\ntrait Once {}\n#[cfg(test)] struct Once;\nimpl T for Key { type Role = u8; }",
        ),
        ("src/b/c.rs", "fn f() { struct Key; }\nmod inner { type Role = u8; }\nuse crate::a::Once;"),
        ("src/b/tests.rs", "struct Once;"),
        ("src/provider/d.rs", "trait Key {}"),
    ];
    let expected = ["a.rs:1: `Key`, also src/b/c.rs:1, src/provider/d.rs:1", "a.rs:2: `Role`, also src/b/c.rs:2"];
    assert_eq!(offenders(&sources, Census::shared_names), expected);
}

#[test]
fn rejected_phrases_are_counted() {
    const PHRASES: Phrases = Phrases { rejected: &["is no", "anew"], allowed: [&["there is no"], &[]] };
    let text = r#"
/// It is no name.
#[error("`{0}` is no name: make it Anew, there is no other")]
struct E; // anew
fn f() { format!("it is \
    no number"); ["renew", "anewer", "this is. No", "is `no`"]; }
#[cfg(test)]
mod tests { const TEXT: &str = "anew"; }
"#;
    let expected = [r#"a.rs:3: "is no""#, r#"a.rs:3: "anew""#, r#"a.rs:5: "is no""#];
    assert_eq!(offenders(&[("src/a.rs", text)], |census| census.phrases(PHRASES)), expected);
    let help = r"
/// It is
/// no comment that clap prints.
#[derive(Debug, clap::Args)]
struct A {
    /// Asks anew.
    field: u8,
}
/// It is no help.
#[derive(Debug)]
struct B;
";
    let expected = [r#"a.rs:2: "is no""#, r#"a.rs:6: "anew""#];
    assert_eq!(offenders(&[("src/a.rs", help)], |census| census.phrases(PHRASES)), expected);
    assert_eq!(PHRASES.find("It *is\n  no* name,\n\n(anew)."), [(1, "is no"), (4, "anew")]);
    assert_eq!(PHRASES.find("This_is_no name, [anew-ish](#x), Anew's."), [(1, "is no"), (1, "anew"), (1, "anew")]);
    assert_eq!(PHRASES.find("is `no`, is/no, 'is' no, is — no"), []);
}

#[test]
fn comments_are_found_in_every_language() {
    let rust = r##"
//! One
//! two. // Three.
fn f<'a>(c: &'a str) -> char { '"'; '\''; "// \" no"; r#" // "no" "#; b"//"; '\u{2f}' } // Four.
/* Five /* six
 * seven */ eight */ fn g() {}
"##;
    let found = [(2, " One\n two. // Three."), (4, " Four."), (5, " Five /* six\n seven */ eight ")];
    let owned =
        |blocks: &[(usize, &str)]| blocks.iter().map(|(at, text)| (*at, (*text).to_owned())).collect::<Vec<_>>();
    // The comment of line 4 has its line not to itself, the one of line 5 does, and continues it.
    assert_eq!(comments("a.rs", rust), owned(&[found[0], (4, &format!("{}\n{}", found[1].1, found[2].1))]));
    let python = "'''One.'''\nx = f'''no\n'''\ndef f():\n    '''Two\n    three.\n    '''\n    y = 1  # Four.\n";
    let python = &python.replace("'''", "\"\"\"");
    assert_eq!(comments("a.py", python), owned(&[(1, "One."), (5, "Two\nthree.\n"), (8, " Four.")]));
    assert_eq!(comments("a.sh", "# One.\necho a#b # Two."), owned(&[(1, " One."), (2, " Two.")]));
    assert_eq!(comments("tests/scenarios/a.txt", "# One.\n\n> x\n| y # no\n"), owned(&[(1, " One.")]));
    assert_eq!(comments("a.json", "# no"), []);
}

#[test]
fn names_of_tests_are_found() {
    let text = "
#[test] fn one() {}
fn no() { #[cfg(test)] fn no() {} }
mod tests { #[tokio::test(start_paused = true)] #[ignore] async fn two() {} }
proptest! { #![proptest_config(x)] #[test] fn three(a in 0..1) {} }
macro_rules! m { () => { #[test] fn $name() {} } }
";
    let names: Vec<String> = test_names(Source::new("a.rs", text).tokens()).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["one", "two", "three"]);
}
