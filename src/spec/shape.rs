//! Holds a YAML tree against a JSON Schema and reports every deviation with its place.
//!
//! The schema is the one that editors get, generated from the spec's own types: there is one description of the
//! spec, and it is the types. Only the vocabulary that those types produce is understood.

use serde_json::Value as Json;

use super::node::{Node, Value};
use crate::diagnostic::{Diagnostic, did_you_mean};

/// Every deviation of `node` from `schema`, in the order of the file.
#[must_use]
pub fn check(node: &Node, schema: &Json) -> Vec<Diagnostic> {
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

    fn node(&mut self, node: &Node, schema: &'a Json, what: &str) {
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
        match &node.value {
            Value::Map(_) if types.contains(&"object") => self.map(node, schema, what),
            Value::List(nodes) if types.contains(&"array") => {
                if let Some(element) = schema.get("items") {
                    nodes.iter().for_each(|child| self.node(child, element, what));
                }
            }
            Value::Text { text, plain } if types.contains(&"string") => self.text(node, text, *plain, schema, what),
            Value::Bool(_) if types.contains(&"boolean") => {}
            Value::Int(n) if types.contains(&"integer") || types.contains(&"number") => {
                self.number(node, *n, schema, what)
            }
            Value::Float(_) if types.contains(&"number") => {}
            _ => self.wrong_type(node, &types, what),
        }
    }

    fn one_of(&mut self, node: &Node, alternatives: &'a [Json], what: &str) {
        let resolved: Vec<&'a Json> = alternatives
            .iter()
            .map(|a| self.resolve(a))
            .filter(|a| a.get("type") != Some(&Json::from("null")))
            .collect();
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
                match chosen {
                    Some(schema) => self.map(node, schema, what),
                    None if tags.is_empty() => self.wrong_type(node, &["string"], what),
                    None => {
                        let written = entries.first().map_or("", |(k, _)| k.text.as_str());
                        let place = entries.first().map_or(&node.source, |(k, _)| &k.source).clone();
                        let near = did_you_mean(written, tags.iter().copied());
                        self.problems.push(
                            Diagnostic::error("unknown-key", format!("{what} has no form called `{written}`"))
                                .at(Some(place))
                                .help(near.map_or_else(
                                    || format!("use one of {}", list(&tags)),
                                    |n| format!("did you mean `{n}`?"),
                                )),
                        );
                    }
                }
            }
            Value::Text { .. } if !words.is_empty() => self.choice(node, &words, what),
            value => {
                let fitting = resolved.iter().find(|a| {
                    let types = types(a);
                    matches!(
                        (value, types.as_slice()),
                        (Value::Text { .. }, ["string"])
                            | (Value::Bool(_), ["boolean"])
                            | (Value::List(_), ["array"])
                            | (Value::Int(_), ["integer"])
                    )
                });
                match fitting {
                    Some(schema) => self.node(node, schema, what),
                    None => {
                        let mut all: Vec<&str> = resolved.iter().flat_map(|a| types(a)).collect();
                        if all.is_empty() {
                            all.push("string");
                        }
                        self.wrong_type(node, &all, what);
                    }
                }
            }
        }
    }

    fn map(&mut self, node: &Node, schema: &'a Json, what: &str) {
        let Value::Map(entries) = &node.value else { return };
        let properties = schema.get("properties").and_then(Json::as_object);
        let additional = schema.get("additionalProperties");
        for (key, child) in entries {
            if let Some(property) = properties.and_then(|p| p.get(&key.text)) {
                self.node(child, property, &format!("`{}`", key.text));
            } else {
                match additional {
                    Some(Json::Bool(false)) => {
                        let known: Vec<&str> = properties.into_iter().flatten().map(|(k, _)| k.as_str()).collect();
                        let near = did_you_mean(&key.text, known.iter().copied());
                        self.problems.push(
                            Diagnostic::error("unknown-key", format!("{what} has no key `{}`", key.text))
                                .at(Some(key.source.clone()))
                                .help(near.map_or_else(
                                    || format!("known here: {}", known.join(", ")),
                                    |n| format!("did you mean `{n}`?"),
                                )),
                        );
                    }
                    Some(schema @ Json::Object(_)) => self.node(child, schema, &format!("`{}`", key.text)),
                    _ => {}
                }
            }
        }
        for missing in required(schema).iter().filter(|r| entries.iter().all(|(k, _)| k.text != **r)) {
            self.problems.push(
                Diagnostic::error("missing-key", format!("{what} needs the key `{missing}`"))
                    .at(Some(node.source.clone()))
                    .help(format!("add `{missing}: ...`")),
            );
        }
    }

    fn choice(&mut self, node: &Node, words: &[&str], what: &str) {
        let Value::Text { text, .. } = &node.value else { return self.wrong_type(node, &["string"], what) };
        if words.contains(&text.as_str()) {
            return;
        }
        let near = did_you_mean(text, words.iter().copied());
        self.problems.push(
            Diagnostic::error("wrong-value", format!("{what} cannot be `{text}`"))
                .at(Some(node.source.clone()))
                .help(near.map_or_else(|| format!("use one of {}", list(words)), |n| format!("did you mean `{n}`?"))),
        );
    }

    fn text(&mut self, node: &Node, text: &str, plain: bool, schema: &Json, what: &str) {
        let digits_only = schema.get("pattern").and_then(Json::as_str) == Some("^[0-9]{12}$");
        if !digits_only {
            return;
        }
        if plain {
            self.problems.push(unquoted(node, text, what));
        } else if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_digit()) {
            self.problems.push(
                Diagnostic::error("invalid-account-id", format!("{what} is `{text}`, which is no AWS account id"))
                    .at(Some(node.source.clone()))
                    .help("an account id has 12 digits, leading zeros included"),
            );
        }
    }

    fn number(&mut self, node: &Node, n: i128, schema: &Json, what: &str) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_i64).map(i128::from);
        let (low, high) = (bound("minimum"), bound("maximum"));
        if low.is_some_and(|l| n < l) || high.is_some_and(|h| n > h) {
            let range = match (low, high) {
                (Some(l), Some(h)) => format!("from {l} to {h}"),
                (Some(l), None) => format!("at least {l}"),
                (None, Some(h)) => format!("at most {h}"),
                (None, None) => String::new(),
            };
            self.problems.push(
                Diagnostic::error("wrong-value", format!("{what} cannot be `{n}`"))
                    .at(Some(node.source.clone()))
                    .help(format!("use a number {range}")),
            );
        }
    }

    fn wrong_type(&mut self, node: &Node, types: &[&str], what: &str) {
        if let (Value::Int(n), true) = (&node.value, types.contains(&"string")) {
            let problem = if what == "`id`" {
                unquoted(node, &n.to_string(), what)
            } else {
                Diagnostic::error("wrong-type", format!("{what} must be text, but is a number"))
                    .at(Some(node.source.clone()))
                    .help(format!("put it in quotes: \"{n}\""))
            };
            self.problems.push(problem);
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
            Diagnostic::error(
                "wrong-type",
                format!("{what} must be {}, but is {}", expected.join(" or "), node.value.kind()),
            )
            .at(Some(node.source.clone()))
            .help(format!("write {}", expected.join(" or "))),
        );
    }
}

fn unquoted(node: &Node, digits: &str, what: &str) -> Diagnostic {
    Diagnostic::error("invalid-account-id", format!("{what} must be quoted: an account id is text, not a number"))
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
