//! Validates a YAML tree against a JSON Schema and reports every deviation with its place.
//!
//! Editors use the same schema, which is generated from the types of the spec. Only the vocabulary that those types
//! produce is supported.

use serde_json::Value as Json;

use super::node::{MapKey, Node, Value};
use crate::diagnostic::{Code, Diagnostic, SourceRef, did_you_mean};

/// Finds every deviation of `node` from `schema`. It removes deviating values or replaces them with stand-ins, so that
/// the tree fits the schema afterwards.
#[must_use]
pub fn check(node: &mut Node, schema: &Json) -> Vec<Diagnostic> {
    let mut walk = Walk { root: schema, problems: Vec::new() };
    walk.node(node, schema, "the spec");
    walk.problems
}

struct Walk<'a> {
    root: &'a Json,
    problems: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    fn resolve(&self, schema: &'a Json) -> &'a Json {
        let mut schema = schema;
        while let Some(pointer) = schema.get("$ref").and_then(Json::as_str).and_then(|r| r.strip_prefix('#')) {
            match self.root.pointer(pointer) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn node(&mut self, node: &mut Node, schema: &'a Json, what: &str) {
        let schema = self.resolve(schema);
        if let Some(alternatives) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Json::as_array) {
            return self.one_of(node, alternatives, what);
        }
        if let Some(constant) = schema.get("const") {
            return self.choice(node, &[constant.as_str().unwrap_or_default()], what);
        }
        if let Some(words) = schema.get("enum").and_then(Json::as_array) {
            let words: Vec<&str> = words.iter().filter_map(Json::as_str).collect();
            return self.choice(node, &words, what);
        }
        let types = types(schema);
        if types.is_empty() {
            return;
        }
        let fits = match &node.value {
            Value::Map(_) => types.contains(&"object"),
            Value::List(_) => types.contains(&"array"),
            Value::Text { .. } => types.contains(&"string"),
            Value::Bool(_) => types.contains(&"boolean"),
            Value::Int(_) => types.contains(&"integer") || types.contains(&"number"),
            Value::Float(_) => types.contains(&"number"),
            Value::Null => false,
            Value::StandIn => true,
        };
        if !fits {
            return self.wrong_type(node, &types, Some(schema), what);
        }
        match &mut node.value {
            Value::Map(_) => self.map(node, schema, what),
            Value::List(nodes) => {
                if let Some(element) = schema.get("items") {
                    for child in nodes {
                        self.node(child, element, what);
                    }
                }
            }
            Value::Text { text, plain } => {
                let (text, plain) = (text.clone(), *plain);
                self.text(node, &text, plain, schema, what);
            }
            Value::Int(n) => {
                let n = *n;
                self.number(node, n, schema, what);
            }
            _ => {}
        }
    }

    fn one_of(&mut self, node: &mut Node, alternatives: &'a [Json], what: &str) {
        let resolved = self.flattened(alternatives);
        if let [only] = resolved.as_slice() {
            return self.node(node, only, what);
        }
        let words: Vec<&str> = resolved.iter().flat_map(|a| words(a)).collect();
        match &node.value {
            Value::Map(entries) => {
                let objects: Vec<&'a Json> =
                    resolved.iter().copied().filter(|a| types(a).contains(&"object")).collect();
                let tags: Vec<&str> = objects.iter().flat_map(|a| required(a)).collect();
                let chosen = objects
                    .iter()
                    .find(|a| entries.iter().any(|(k, _)| required(a).contains(&k.text.as_str())))
                    .or(if objects.len() == 1 { objects.first() } else { None });
                match (chosen, entries.first()) {
                    (Some(schema), _) => self.map(node, schema, what),
                    (None, Some((key, _))) if !tags.is_empty() => {
                        let near = did_you_mean(&key.text, tags.iter().copied());
                        self.problems.push(
                            Diagnostic::new(Code::UnknownKey, format!("{what} has no form called `{}`", key.text))
                                .at(Some(key.source.clone()))
                                .help(near.map_or_else(
                                    || format!("use one of {}", list(&tags)),
                                    |n| format!("did you mean `{n}`?"),
                                )),
                        );
                        node.value = self.stand_in(resolved.first().copied());
                    }
                    _ => self.wrong_type(node, &["string"], resolved.first().copied(), what),
                }
            }
            Value::Text { .. } if !words.is_empty() => self.choice(node, &words, what),
            value => {
                let fitting = resolved.iter().find(|a| {
                    matches!(
                        (value, types(a).as_slice()),
                        (Value::Text { .. }, ["string"])
                            | (Value::Bool(_), ["boolean"])
                            | (Value::List(_), ["array"])
                            | (Value::Int(_), ["integer"])
                    )
                });
                if let Some(schema) = fitting {
                    self.node(node, schema, what);
                } else {
                    let mut all: Vec<&str> = resolved.iter().flat_map(|a| types(a)).collect();
                    if all.is_empty() {
                        all.push("string");
                    }
                    self.wrong_type(node, &all, resolved.first().copied(), what);
                }
            }
        }
    }

    /// The alternatives for a value, without `null` and with nested alternatives flattened.
    fn flattened(&self, alternatives: &'a [Json]) -> Vec<&'a Json> {
        let mut found = Vec::new();
        for schema in alternatives.iter().map(|a| self.resolve(a)) {
            match schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Json::as_array) {
                Some(inner) => found.extend(self.flattened(inner)),
                None if schema.get("type") == Some(&Json::from("null")) => {}
                None => found.push(schema),
            }
        }
        found
    }

    fn map(&mut self, node: &mut Node, schema: &'a Json, what: &str) {
        let source = node.source.clone();
        let Value::Map(entries) = &mut node.value else { return };
        let properties = schema.get("properties").and_then(Json::as_object);
        let additional = schema.get("additionalProperties");
        entries.retain_mut(|(key, child)| {
            if let Some(property) = properties.and_then(|p| p.get(&key.text)) {
                self.node(child, property, &format!("`{}`", key.text));
                return true;
            }
            match additional {
                Some(Json::Bool(false)) => {
                    let known: Vec<&str> = properties.into_iter().flatten().map(|(k, _)| k.as_str()).collect();
                    let near = did_you_mean(&key.text, known.iter().copied());
                    self.problems.push(
                        Diagnostic::new(Code::UnknownKey, format!("{what} has no key `{}`", key.text))
                            .at(Some(key.source.clone()))
                            .help(near.map_or_else(
                                || format!("known here: {}", known.join(", ")),
                                |n| format!("did you mean `{n}`?"),
                            )),
                    );
                    false
                }
                Some(schema @ Json::Object(_)) => {
                    self.node(child, schema, &format!("`{}`", key.text));
                    true
                }
                _ => true,
            }
        });
        let missing: Vec<&str> =
            required(schema).into_iter().filter(|r| entries.iter().all(|(k, _)| k.text != *r)).collect();
        for name in missing {
            self.problems.push(
                Diagnostic::new(Code::MissingKey, format!("{what} needs the key `{name}`"))
                    .at(Some(source.clone()))
                    .help(format!("add `{name}: ...`")),
            );
            let value = self.stand_in(properties.and_then(|p| p.get(name)));
            let key = MapKey { text: name.to_owned(), source: source.clone() };
            entries.push((key, Node { value, source: source.clone() }));
        }
    }

    /// A stand-in value that fits the schema.
    fn stand_in(&self, schema: Option<&'a Json>) -> Value {
        let Some(schema) = schema.map(|s| self.resolve(s)) else { return Value::StandIn };
        if let Some(word) = words(schema).first() {
            return Value::Text { text: (*word).to_owned(), plain: false };
        }
        if let Some(alternatives) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Json::as_array) {
            return self.stand_in(alternatives.first());
        }
        match types(schema).first() {
            Some(&"object") => {
                let source = SourceRef::start("".into(), 0, 0);
                let properties = schema.get("properties").and_then(Json::as_object);
                let entries = required(schema).into_iter().map(|name| {
                    let value = self.stand_in(properties.and_then(|p| p.get(name)));
                    (MapKey { text: name.to_owned(), source: source.clone() }, Node { value, source: source.clone() })
                });
                Value::Map(entries.collect())
            }
            Some(&"array") => Value::List(Vec::new()),
            Some(&"boolean") => Value::Bool(false),
            Some(&("integer" | "number")) => {
                Value::Int(schema.get("minimum").and_then(Json::as_i64).unwrap_or_default().into())
            }
            _ => Value::StandIn,
        }
    }

    fn choice(&mut self, node: &mut Node, words: &[&str], what: &str) {
        let first = words.first().copied().unwrap_or_default().to_owned();
        let Value::Text { text, .. } = &node.value else {
            self.wrong_type(node, &["string"], None, what);
            node.value = Value::Text { text: first, plain: false };
            return;
        };
        if words.contains(&text.as_str()) {
            return;
        }
        let text = text.clone();
        let near = did_you_mean(&text, words.iter().copied());
        self.problems.push(
            Diagnostic::new(Code::WrongValue, format!("{what} cannot be `{text}`"))
                .at(Some(node.source.clone()))
                .help(near.map_or_else(|| format!("use one of {}", list(words)), |n| format!("did you mean `{n}`?"))),
        );
        node.value = Value::Text { text: first, plain: false };
    }

    fn text(&mut self, node: &mut Node, text: &str, plain: bool, schema: &Json, what: &str) {
        if !is_account_id(schema) {
            return;
        }
        if plain {
            self.problems.push(unquoted(node, text, what));
        } else if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_digit()) {
            self.problems.push(
                Diagnostic::new(Code::InvalidAccountId, format!("{what} is `{text}`, which is not an AWS account id"))
                    .at(Some(node.source.clone()))
                    .help("an account id has 12 digits, leading zeros included"),
            );
        }
    }

    fn number(&mut self, node: &mut Node, n: i128, schema: &Json, what: &str) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_i64).map(i128::from);
        let (low, high) = (bound("minimum"), bound("maximum"));
        if low.is_some_and(|l| n < l) || high.is_some_and(|h| n > h) {
            let help = match (low, high) {
                (Some(l), Some(h)) if l == h => format!("write {l}: it is all that this version of bailiwick reads"),
                (Some(l), Some(h)) => format!("use a number from {l} to {h}"),
                (Some(l), None) => format!("use a number of at least {l}"),
                (None, Some(h)) => format!("use a number of at most {h}"),
                (None, None) => "use another number".to_owned(),
            };
            self.problems.push(
                Diagnostic::new(Code::WrongValue, format!("{what} cannot be `{n}`"))
                    .at(Some(node.source.clone()))
                    .help(help),
            );
            node.value = Value::Int(low.or(high).unwrap_or_default());
        }
    }

    fn wrong_type(&mut self, node: &mut Node, types: &[&str], schema: Option<&'a Json>, what: &str) {
        let free_text = schema.is_none_or(|s| words(s).is_empty());
        if let (Value::Int(n), true, true) = (&node.value, types.contains(&"string"), free_text) {
            let problem = if schema.is_some_and(is_account_id) {
                unquoted(node, &n.to_string(), what)
            } else {
                Diagnostic::new(Code::WrongType, format!("{what} must be text, but is a number"))
                    .at(Some(node.source.clone()))
                    .help(format!("put it in quotes: \"{n}\""))
            };
            self.problems.push(problem);
            node.value = Value::Text { text: n.to_string(), plain: false };
            return;
        }
        let expected: Vec<&str> = types
            .iter()
            .filter(|t| **t != "null")
            .map(|t| match *t {
                "object" => "a map",
                "array" => "a list",
                "boolean" => "true or false",
                "integer" => "a whole number",
                "number" => "a number",
                _ => "text",
            })
            .collect();
        self.problems.push(
            Diagnostic::new(
                Code::WrongType,
                format!("{what} must be {}, but is {}", expected.join(" or "), node.value.kind()),
            )
            .at(Some(node.source.clone()))
            .help(format!("write {}", expected.join(" or "))),
        );
        node.value = self.stand_in(schema);
    }
}

fn is_account_id(schema: &Json) -> bool {
    schema.get("pattern").and_then(Json::as_str) == Some("^[0-9]{12}$")
}

fn unquoted(node: &Node, digits: &str, what: &str) -> Diagnostic {
    Diagnostic::new(Code::InvalidAccountId, format!("{what} must be quoted: an account id is text, not a number"))
        .at(Some(node.source.clone()))
        .label("a number loses its leading zeros")
        .help(format!("write \"{digits:0>12}\""))
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).filter(|t| *t != "null").collect(),
        _ => Vec::new(),
    }
}

fn words(schema: &Json) -> Vec<&str> {
    match (schema.get("enum"), schema.get("const")) {
        (Some(Json::Array(many)), _) => many.iter().filter_map(Json::as_str).collect(),
        (_, Some(Json::String(one))) => vec![one],
        _ => Vec::new(),
    }
}

fn required(schema: &Json) -> Vec<&str> {
    schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect()
}

fn list(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}
