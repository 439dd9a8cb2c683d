//! Parses YAML into a tree in which every key and value records where it was written.
//!
//! Parsing is untyped and does not stop at the first problem: duplicate keys are kept, so that all of them can be
//! reported. The size to which a file may expand is limited before the tree is built.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

use super::syntax::{self, complaint};
use crate::diagnostic::{Code, Diagnostic, SourceRef};

/// The size above which a file is rejected without parsing.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
const MAX_NODES: usize = 2_000_000;
const MAX_EVENTS: usize = 5_000_000;
/// Specs need about ten levels. Each level uses stack, and threads may have only two megabytes.
const MAX_DEPTH: usize = 32;
/// The number of values that all anchors may contain. Specs share a few defaults; alias bombs repeat far more.
const MAX_ANCHORED: usize = 50_000;
/// Characters that are not text: NUL, and the replacement for bytes that are not UTF-8.
const NOT_TEXT: [char; 2] = ['\0', char::REPLACEMENT_CHARACTER];

/// A value and its place in a file.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place.
    pub source: SourceRef,
}

/// A key of a map and its place in a file.
#[derive(Clone, Debug)]
pub struct MapKey {
    /// The key.
    pub text: String,
    /// Its place.
    pub source: SourceRef,
}

/// A YAML value.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`, `~` or empty.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text. `plain` is true if it was written without quotes.
    Text {
        /// The text.
        text: String,
        /// Whether it was written without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file, duplicate keys included.
    Map(Vec<(MapKey, Node)>),
    /// A replacement for a value that is missing or cannot be used, so that the rest can still be checked. Its problem is
    /// reported already.
    StandIn,
}

/// The text that a stand-in has in the typed spec. No spec can contain it.
const STAND_IN: &str = "\u{1}stand-in";

impl Value {
    /// The kind of value in plain words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null | Self::StandIn => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a number",
            Self::Float(_) => "a fraction",
            Self::Text { .. } => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node {
    /// The child of a map by its key.
    #[cfg(test)]
    fn get(&self, key: &str) -> Option<(&MapKey, &Node)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(k, v)| (k, v)),
            _ => None,
        }
    }

    /// The node as JSON, for deserialization.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => i64::try_from(*n).map_or_else(|_| Json::String(n.to_string()), Json::from),
            Value::Float(n) => serde_json::Number::from_f64(*n).map_or(Json::Null, Json::Number),
            Value::Text { text, .. } => Json::String(text.clone()),
            Value::StandIn => Json::String(STAND_IN.to_owned()),
            Value::List(nodes) => nodes.iter().map(Node::to_json).collect(),
            Value::Map(entries) => Json::Object(entries.iter().map(|(k, v)| (k.text.clone(), v.to_json())).collect()),
        }
    }
}

/// Parses the text of one file.
///
/// # Errors
/// One diagnostic: a YAML syntax error, or a file that is too large or expands too far.
pub fn parse(file: &Arc<str>, text: &str) -> Result<Node, Diagnostic> {
    let start = || Some(SourceRef::start(file.clone(), 1, 1));
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Diagnostic::new(Code::FileTooLarge, format!("`{file}` has {} bytes", text.len()))
            .at(start())
            .help(format!("a spec file may have {MAX_FILE_BYTES} bytes; split it into several files")));
    }
    if let Some((offset, found)) = text.char_indices().find(|(_, c)| NOT_TEXT.contains(c)) {
        let what = if found == '\0' { "a NUL byte" } else { "bytes that are not UTF-8" };
        return Err(Diagnostic::new(Code::YamlSyntax, format!("`{file}` is not text: it contains {what}"))
            .at(Some(place(file, text, offset, found.len_utf8())))
            .help("save it as YAML text in UTF-8"));
    }
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
        strict_indentation: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: MAX_EVENTS,
            max_depth: MAX_DEPTH,
            max_recorded_anchor_events: MAX_ANCHORED,
            enforce_alias_anchor_ratio: false,
        },
    };
    match serde_saphyr::from_str_with_options::<Raw>(text, options) {
        Ok(raw) => Ok(raw.place(file, text)),
        Err(error) => {
            let place = syntax::span(&error, text).map(|(offset, length)| place(file, text, offset, length));
            let limits = syntax::ParserLimits { nodes: MAX_NODES, depth: MAX_DEPTH, anchored: MAX_ANCHORED };
            Err(Diagnostic::new(Code::YamlSyntax, complaint(&error, limits))
                .at(place.or_else(start))
                .help("fix the YAML here; the rest of the file was not checked"))
        }
    }
}

/// Turns a zero-based index into a number that counts from 1.
fn count(n: usize) -> u32 {
    u32::try_from(n + 1).unwrap_or(u32::MAX)
}

/// The line and column just after a span of text.
fn end(text: &str, (line, column): (u32, u32), (offset, length): (usize, usize)) -> (u32, u32) {
    let marked = text.get(offset..offset.saturating_add(length)).unwrap_or_default().trim_end();
    match marked.rsplit_once('\n') {
        Some((before, last)) => (line + count(before.matches('\n').count()), count(last.chars().count())),
        None => (line, column + count(marked.chars().count()) - 1),
    }
}

/// The place of a span.
fn place(file: &Arc<str>, text: &str, offset: usize, length: usize) -> SourceRef {
    let before = text.get(..offset).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = count(before.matches('\n').count());
    let column = count(before.get(start..).unwrap_or_default().chars().count());
    let span = (offset, length);
    SourceRef { file: file.clone(), line, column, end: end(text, (line, column), span), span }
}

/// An empty map at the start of a file, for an empty file.
#[must_use]
pub fn empty(file: &Arc<str>) -> Node {
    Node { value: Value::Map(Vec::new()), source: SourceRef::start(file.clone(), 1, 1) }
}

/// Merges `over` into `base`: maps merge by key, other values are replaced, and `null` removes.
///
/// Duplicate keys inside one file are reported, and the last one is kept.
#[must_use]
pub fn merge(base: Node, over: Node) -> Node {
    match (base.value, over.value) {
        (Value::Map(entries), Value::Map(overlay)) => {
            let mut entries: Vec<Option<(MapKey, Node)>> = entries.into_iter().map(Some).collect();
            let known = entries.iter().flatten().enumerate().map(|(n, (key, _))| (key.text.clone(), n));
            let mut known: HashMap<String, usize> = known.collect();
            for (key, node) in overlay {
                match known.get(&key.text).and_then(|n| entries.get_mut(*n)) {
                    Some(slot) => {
                        let old = slot.take();
                        *slot = match (old, node.value) {
                            (_, Value::Null) => None,
                            (Some((old_key, old)), value @ Value::Map(_)) => {
                                Some((old_key, merge(old, Node { value, source: node.source })))
                            }
                            (_, value) => Some((key, Node { value, source: node.source })),
                        };
                    }
                    None => {
                        known.insert(key.text.clone(), entries.len());
                        entries.push(Some((key, node)));
                    }
                }
            }
            let entries = entries.into_iter().flatten().collect();
            Node { value: Value::Map(entries), source: base.source }
        }
        (_, value) => Node { value, source: over.source },
    }
}

/// Removes null map entries: they have no content.
pub fn drop_nulls(node: &mut Node) {
    match &mut node.value {
        Value::Map(entries) => {
            entries.retain(|(_, child)| !matches!(child.value, Value::Null));
            for (_, child) in entries {
                drop_nulls(child);
            }
        }
        Value::List(nodes) => nodes.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Reports every duplicate key in a map, and keeps the last one.
pub fn refuse_duplicates(node: &mut Node, problems: &mut Vec<Diagnostic>) {
    match &mut node.value {
        Value::Map(entries) => {
            let mut seen: HashMap<String, SourceRef> = HashMap::new();
            for (key, _) in entries.iter() {
                if let Some(first) = seen.get(&key.text) {
                    problems.push(
                        Diagnostic::new(Code::DuplicateKey, format!("duplicate key `{}`", key.text))
                            .at(Some(key.source.clone()))
                            .label(format!("first defined on line {}", first.line))
                            .help("remove one of the two"),
                    );
                } else {
                    seen.insert(key.text.clone(), key.source.clone());
                }
            }
            if seen.len() < entries.len() {
                let mut later = std::collections::HashSet::new();
                let mut kept: Vec<_> = std::mem::take(entries)
                    .into_iter()
                    .rev()
                    .filter(|(key, _)| later.insert(key.text.clone()))
                    .collect();
                kept.reverse();
                *entries = kept;
            }
            for (_, child) in entries {
                refuse_duplicates(child, problems);
            }
        }
        Value::List(nodes) => nodes.iter_mut().for_each(|child| refuse_duplicates(child, problems)),
        _ => {}
    }
}

fn source(file: &Arc<str>, text: &str, location: &serde_saphyr::Location) -> Option<SourceRef> {
    let line = u32::try_from(location.line()).ok().filter(|n| *n > 0)?;
    let span = location.span();
    let offset = span.byte_offset().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let length = span.byte_len().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let column = u32::try_from(location.column()).unwrap_or(1);
    let span = (offset, length);
    Some(SourceRef { file: file.clone(), line, column, end: end(text, (line, column), span), span })
}

/// The deserialized form, before places refer to the file.
struct Raw(Spanned<RawValue>);

enum RawValue {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

impl Raw {
    fn place(self, file: &Arc<str>, text: &str) -> Node {
        let unknown = || SourceRef::start(file.clone(), 1, 1);
        let at = source(file, text, &self.0.referenced).unwrap_or_else(unknown);
        let value = match self.0.value {
            RawValue::Null => Value::Null,
            RawValue::Bool(b) => Value::Bool(b),
            RawValue::Int(n) => Value::Int(n),
            RawValue::Float(n) => Value::Float(n),
            RawValue::Text(s) => {
                // Check a value that came through an alias where it was written.
                let defined = source(file, text, &self.0.defined).unwrap_or_else(unknown);
                let plain = text.as_bytes().get(defined.span.0).is_none_or(|b| !matches!(b, b'"' | b'\''));
                Value::Text { text: s, plain }
            }
            RawValue::List(nodes) => Value::List(nodes.into_iter().map(|n| n.place(file, text)).collect()),
            RawValue::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, node)| {
                        let key_at = source(file, text, &key.referenced).unwrap_or_else(unknown);
                        (MapKey { text: key.value, source: key_at }, node.place(file, text))
                    })
                    .collect(),
            ),
        };
        Node { value, source: at }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Raw)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_bool<E>(self, b: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool(b))
    }
    fn visit_i64<E>(self, n: i64) -> Result<RawValue, E> {
        Ok(RawValue::Int(n.into()))
    }
    fn visit_u64<E>(self, n: u64) -> Result<RawValue, E> {
        Ok(RawValue::Int(n.into()))
    }
    fn visit_i128<E>(self, n: i128) -> Result<RawValue, E> {
        Ok(RawValue::Int(n))
    }
    fn visit_f64<E>(self, n: f64) -> Result<RawValue, E> {
        Ok(RawValue::Float(n))
    }
    fn visit_str<E>(self, s: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(s.to_owned()))
    }
    fn visit_string<E>(self, s: String) -> Result<RawValue, E> {
        Ok(RawValue::Text(s))
    }
    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }
    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(deserializer)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element()? {
            nodes.push(node);
        }
        Ok(RawValue::List(nodes))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key()? {
            entries.push((key, access.next_value()?));
        }
        Ok(RawValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::shown;

    fn read(text: &str) -> Node {
        parse(&"t.yaml".into(), text).unwrap()
    }

    fn check_merge(base: &str, over: &str, expected: &str) {
        let mut merged = merge(read(base), read(over));
        drop_nulls(&mut merged);
        assert_eq!(merged.to_json().to_string(), expected);
    }

    #[test]
    fn overlays_merge_maps_replace_lists_and_null_removes() {
        check_merge("a: {x: 1, y: [1, 2]}\nb: 1", "a: {y: [3], z: 4}\nb: null", r#"{"a":{"x":1,"y":[3],"z":4}}"#);
        check_merge("a: {x: 1}", "a: text", r#"{"a":"text"}"#);
    }

    #[test]
    fn every_value_knows_its_place_and_whether_it_was_quoted() {
        let node = read("a:\n  id: \"012\"\n  no: 012\n");
        let (key, value) = node.get("a").and_then(|(_, a)| a.get("id")).unwrap();
        assert_eq!((key.source.line, key.source.column, value.source.column), (2, 3, 7));
        assert!(matches!(&value.value, Value::Text { plain: false, .. }));
        let (_, bare) = node.get("a").and_then(|(_, a)| a.get("no")).unwrap();
        assert!(matches!(&bare.value, Value::Text { plain: true, text } if text == "012"));
    }

    #[test]
    fn all_duplicates_are_reported() {
        let mut node = read("a: 1\nb: {c: 1, c: 2}\na: 2\n");
        let mut problems = Vec::new();
        refuse_duplicates(&mut node, &mut problems);
        let places: Vec<String> = problems.iter().map(|p| p.source.as_ref().unwrap().to_string()).collect();
        assert_eq!(places, ["t.yaml:3:1", "t.yaml:2:11"]);
        assert_eq!(node.to_json().to_string(), r#"{"a":2,"b":{"c":2}}"#);
    }

    #[test]
    fn alias_bomb_is_an_error_before_it_expands() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let previous = format!("*a{}", n - 1);
            let aliases = vec![previous; 10].join(", ");
            text = format!("{text}a{n}: &a{n} [{aliases}]\n");
        }
        let problem = parse(&"bomb.yaml".into(), &text).unwrap_err();
        assert_eq!(problem.code, Code::YamlSyntax);
        assert_eq!(problem.message, "the aliases of the anchors expand to more than 50000 values");
    }

    fn refused(text: &str) -> String {
        shown([&parse(&"s.yaml".into(), text).unwrap_err()], &[("s.yaml", text)])
    }

    #[test]
    fn yaml_errors_are_explained_with_their_place() {
        let deep: String = (0..40).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        let brackets = "[".repeat(1000);
        let texts =
            ["a: 1\n---\nb: 1\n", "a: &a { b: *a }\n", &deep, &brackets, "a: 1\nb: x\0y\n", "\u{e4}: \u{fffd}\n"];
        assert_eq!(
            texts.map(refused).concat(),
            "s.yaml:3:1 yaml-syntax: a second document begins here: a spec file contains one
  underlined: `b`
  help: fix the YAML here; the rest of the file was not checked
s.yaml:1:12 yaml-syntax: an anchor contains an alias of itself
  underlined: `*a`
  help: fix the YAML here; the rest of the file was not checked
s.yaml:33:33 yaml-syntax: this is nested deeper than 32 levels
  underlined: `a`
  help: fix the YAML here; the rest of the file was not checked
s.yaml:1:256 yaml-syntax: this is nested deeper than 32 levels
  underlined: `[`
  help: fix the YAML here; the rest of the file was not checked
s.yaml:2:5 yaml-syntax: `s.yaml` is not text: it contains a NUL byte
  underlined: `\0`
  help: save it as YAML text in UTF-8
s.yaml:1:4 yaml-syntax: `s.yaml` is not text: it contains bytes that are not UTF-8
  underlined: `\u{fffd}`
  help: save it as YAML text in UTF-8
"
        );
    }
}
