//! Renders problems as SARIF 2.1.0, for code scanning on forges and in editors.
//!
//! Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::codes::sentence;
use super::{inert, json as text_of};
use crate::diagnostic::{Code, Diagnostic, Severity, SourceRef};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The name of stdin on the command line.
const STDIN: &str = "-";

/// The problems as one run. Files below `root` get relative names. Problems without a place are shown at the start of
/// `file`, because code scanning on GitHub rejects a whole log if one result has no physical location.
#[must_use]
pub fn sarif(problems: &[Diagnostic], file: &str, root: Option<&Path>) -> String {
    let used: BTreeSet<Code> = problems.iter().map(|p| p.code).collect();
    let used: Vec<Code> = used.into_iter().collect();
    let rules: Vec<Value> = used.iter().map(|code| rule(*code)).collect();
    let results: Vec<Value> = problems.iter().map(|p| result(p, &used, file, root)).collect();
    text_of(&json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "Bailiwick",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.as_str(),
        "shortDescription": { "text": message(code.title()) },
        "fullDescription": { "text": message(&sentence(code.meaning())) },
        "help": { "text": message(&sentence(code.fix())) },
        "defaultConfiguration": { "level": level(code.severity()) },
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

fn result(problem: &Diagnostic, rules: &[Code], file: &str, root: Option<&Path>) -> Value {
    let help = problem.help.as_ref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    let start = || SourceRef::start(file.into(), 1, 1);
    let source = problem.source.clone().unwrap_or_else(start);
    let mut location = serde_json::Map::new();
    location.insert("physicalLocation".into(), physical(&source, root));
    if let Some(address) = &problem.address {
        let name = inert(&address.to_string());
        location.insert("logicalLocations".into(), json!([{ "fullyQualifiedName": name, "kind": "resource" }]));
    }
    // If the field is absent, viewers cannot distinguish "not suppressed" from "unknown".
    let suppressions = match &problem.accepted {
        Some(why) => json!([{ "kind": "inSource", "status": "accepted", "justification": message(why) }]),
        None => json!([]),
    };
    json!({
        "ruleId": problem.code.as_str(),
        "ruleIndex": rules.iter().position(|code| *code == problem.code),
        "level": level(problem.severity),
        "message": { "text": message(&format!("{}{help}", problem.message)) },
        "locations": [location],
        "suppressions": suppressions,
    })
}

fn physical(source: &SourceRef, root: Option<&Path>) -> Value {
    let mut region = serde_json::Map::new();
    region.insert("startLine".into(), source.line.max(1).into());
    region.insert("startColumn".into(), source.column.max(1).into());
    if source.end > (source.line, source.column) {
        region.insert("endLine".into(), source.end.0.into());
        region.insert("endColumn".into(), source.end.1.into());
    }
    json!({ "artifactLocation": { "uri": uri(&source.file, root) }, "region": region })
}

/// The URI reference of a file, relative to `root` if the file is below it. A relative path that leads out of `root` stays
/// as it is, because viewers resolve it from the folder where the program ran. `-`, which means stdin, becomes `stdin`.
///
/// Source: RFC 3986, sections 2.1, 3.3 and 4.2.
fn uri(file: &str, root: Option<&Path>) -> String {
    if file == STDIN {
        return "stdin".to_owned();
    }
    let path = Path::new(file);
    let inside = root.and_then(|root| back_inside(path, root));
    let path = inside.as_deref().unwrap_or(path);
    let below = root.and_then(|root| path.strip_prefix(root).ok()).unwrap_or(path);
    let below = below.strip_prefix(".").unwrap_or(below);
    let mut uri = if below.is_absolute() { "file://".to_owned() } else { String::new() };
    for byte in below.to_string_lossy().bytes() {
        // A colon in the first segment would pass for a scheme.
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// The part below `root` of a path such as `../root/a.yaml`, which leads out of it and back.
fn back_inside(path: &Path, root: &Path) -> Option<PathBuf> {
    let (mut rest, mut folder) = (path, root);
    while let Ok(outside) = rest.strip_prefix("..") {
        (rest, folder) = (outside, folder.parent()?);
    }
    let is_plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && rest != path).then(|| folder.join(rest))?.strip_prefix(root).map(Path::to_path_buf).ok()
}

/// Text without active characters and embedded links (SARIF, section 3.11.6).
fn message(text: &str) -> String {
    let text = inert(text);
    if text.contains("](") { text.replace('[', "\\[").replace(']', "\\]") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(problems: &[Diagnostic], root: &str) -> Value {
        serde_json::from_str(&sarif(problems, "specs/base.yaml", Some(Path::new(root)))).unwrap()
    }

    #[test]
    fn a_result_names_its_rule_its_place_and_why_it_is_accepted() {
        let mut accepted = Diagnostic::new(Code::PrefixWithoutSlash, "the prefix `m` also covers `m2`")
            .at(Some(SourceRef {
                file: "/work tree/specs/a b.yaml".into(),
                line: 3,
                column: 5,
                end: (3, 9),
                span: (0, 4),
            }))
            .about(&"aws.iam.role.loader".parse().unwrap())
            .help("write `m/`");
        accepted.accepted = Some("one folder".into());
        let plain = Diagnostic::new(Code::YamlSyntax, "x").at(Some(SourceRef::start("./s.yaml".into(), 1, 2)));
        let log = parsed(&[plain, accepted, Diagnostic::new(Code::UnreadableFile, "gone")], "/work tree");
        assert_eq!((&log["version"], &log["runs"][0]["columnKind"]), (&json!("2.1.0"), &json!("unicodeCodePoints")));
        let rules: Vec<&str> = log["runs"][0]["tool"]["driver"]["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| rule["id"].as_str().unwrap())
            .collect();
        assert_eq!(rules, ["unreadable-file", "yaml-syntax", "prefix-without-slash"]);
        assert_eq!(
            log["runs"][0]["tool"]["driver"]["rules"][1],
            json!({
                "id": "yaml-syntax",
                "shortDescription": { "text": "Invalid YAML" },
                "fullDescription": { "text": sentence(Code::YamlSyntax.meaning()) },
                "help": { "text": sentence(Code::YamlSyntax.fix()) },
                "defaultConfiguration": { "level": "error" },
            })
        );
        assert_eq!(
            log["runs"][0]["results"],
            json!([
                {
                    "ruleId": "yaml-syntax", "ruleIndex": 1, "level": "error", "message": { "text": "x" },
                    "locations": [{ "physicalLocation": {
                        "artifactLocation": { "uri": "s.yaml" }, "region": { "startLine": 1, "startColumn": 2 },
                    } }],
                    "suppressions": [],
                },
                {
                    "ruleId": "prefix-without-slash", "ruleIndex": 2, "level": "warning",
                    "message": { "text": "the prefix `m` also covers `m2`\nhelp: write `m/`" },
                    "locations": [{
                        "physicalLocation": {
                            "artifactLocation": { "uri": "specs/a%20b.yaml" },
                            "region": { "startLine": 3, "startColumn": 5, "endLine": 3, "endColumn": 9 },
                        },
                        "logicalLocations": [{ "fullyQualifiedName": "aws.iam.role.loader", "kind": "resource" }],
                    }],
                    "suppressions": [{ "kind": "inSource", "status": "accepted", "justification": "one folder" }],
                },
                {
                    "ruleId": "unreadable-file", "ruleIndex": 0, "level": "error", "message": { "text": "gone" },
                    "locations": [{ "physicalLocation": {
                        "artifactLocation": { "uri": "specs/base.yaml" }, "region": { "startLine": 1, "startColumn": 1 },
                    } }],
                    "suppressions": [],
                },
            ])
        );
    }

    #[test]
    fn every_file_has_a_valid_relative_reference() {
        let uri = |file: &str| uri(file, Some(Path::new("/srv/repo")));
        assert_eq!(uri("-"), "stdin");
        assert_eq!(uri("./-"), "-");
        assert_eq!(uri("../repo/specs/a.yaml"), "specs/a.yaml");
        assert_eq!(uri("../../srv/repo/a.yaml"), "a.yaml");
        assert_eq!(uri("../other/a b.yaml"), "../other/a%20b.yaml");
        assert_eq!(uri("../../../../a.yaml"), "../../../../a.yaml");
        assert_eq!(uri("/srv/other/a.yaml"), "file:///srv/other/a.yaml");
    }

    #[test]
    fn hostile_text_is_inert_in_sarif() {
        let hostile = "a\u{1b}[31m\u{202e}b [x](http://evil)\u{9b}";
        let mut problem = Diagnostic::new(Code::WrongValue, hostile).help(hostile).at(Some(SourceRef::start(
            "a\u{202e}\n:b.yaml".into(),
            1,
            1,
        )));
        problem.accepted = Some(hostile.into());
        let text = sarif(std::slice::from_ref(&problem), "s.yaml", None);
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{text}");
        let result = &parsed(&[problem], "/")["runs"][0]["results"][0];
        let shown = r"a\u{1b}\[31m\u{202e}b \[x\](http://evil)\u{9b}";
        assert_eq!(result["message"]["text"], format!("{shown}\nhelp: {shown}"));
        let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(uri, "a%E2%80%AE%0A%3Ab.yaml");
    }
}
