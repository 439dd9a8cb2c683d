//! Parses statements from JSON and checks the rules that apply to every kind of policy document.
//!
//! Sources: IAM User Guide, "Grammar of the IAM JSON policy language" and the pages of the elements.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use super::condition::{Condition, Operator};
use super::json::{self, Json, JsonNode, Member};
use super::name::{ActionPattern, ConditionKey};
use super::policy::{Effect, Policy, Principal, Selector, Statement, Version, sorted};

/// A reason why a document is not a policy, and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// The problem and the correct form.
    pub message: String,
    /// The element as a JSON pointer (RFC 6901), such as `/Statement/0/Action`. Empty for the whole document.
    pub pointer: String,
    /// The line and column from 1, if the document was text.
    pub place: Option<(usize, usize)>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)
    }
}

/// A document as written: statements in the order of the text, repetitions included.
#[derive(Debug, Clone)]
pub(super) struct ParsedDocument {
    /// `None` if the document has no version.
    pub version: Option<Version>,
    pub id: Option<Box<str>>,
    pub statements: Vec<Statement>,
}

impl ParsedDocument {
    pub fn into_policy(self) -> Policy {
        // An absent Version is 2008-10-17: IAM User Guide, "IAM JSON policy elements: Version".
        Policy::from_parts(self.version.unwrap_or(Version::V2008), self.id, self.statements)
    }
}

pub(super) fn policy_text(text: &str) -> Result<ParsedDocument, Vec<ParseError>> {
    let node = root(text).map_err(|error| vec![error])?;
    policy_node(&node, Some(text))
}

pub(super) fn policy_value(value: &serde_json::Value) -> Result<ParsedDocument, Vec<ParseError>> {
    policy_node(&json::from_value(value), None)
}

pub(super) fn root(text: &str) -> Result<JsonNode<'_>, ParseError> {
    json::read(text).map_err(|malformed| ParseError {
        message: format!("not JSON: {}", malformed.message),
        pointer: String::new(),
        place: Some(json::line_and_column(text, malformed.offset)),
    })
}

pub(super) fn policy_node(node: &JsonNode<'_>, text: Option<&str>) -> Result<ParsedDocument, Vec<ParseError>> {
    let mut reader = PolicyReader { problems: Problems { text, found: Vec::new() } };
    let document = reader.document(node);
    match document {
        Some(document) if reader.problems.found.is_empty() => Ok(document),
        _ => Err(reader.problems.errors()),
    }
}

/// Values that occur twice in a list of a statement: the statement from 1, the element, the value. The canonical form
/// does not keep them.
pub(super) fn repetitions(text: &str) -> Vec<(usize, String, String)> {
    let Ok(root) = root(text) else {
        return Vec::new();
    };
    let Json::Object(members) = &root.value else {
        return Vec::new();
    };
    let statement = members.iter().find(|member| member.name == "Statement").map(|m| &m.node);
    let statements = match statement.map(|node| (node, &node.value)) {
        Some((_, Json::Array(list))) => list.as_slice(),
        Some((node, Json::Object(_))) => std::slice::from_ref(node),
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    for (number, node) in (1..).zip(statements) {
        let Json::Object(members) = &node.value else {
            continue;
        };
        for Member { name, node, .. } in members {
            let is_action = matches!(name.as_ref(), "Action" | "NotAction");
            let is_list = is_action || matches!(name.as_ref(), "Resource" | "NotResource");
            let Json::Array(list) = &node.value else {
                continue;
            };
            let mut seen = BTreeSet::new();
            for node in list {
                let Json::String(text) = &node.value else {
                    continue;
                };
                let folded = if is_action { text.to_ascii_lowercase() } else { text.to_string() };
                if is_list && !seen.insert(folded) {
                    found.push((number, name.to_string(), text.to_string()));
                }
            }
        }
    }
    found
}

/// The lines and columns of elements of statements, which are counted from 1, or the closest places in the text.
pub(super) fn places(text: &str, wanted: &[(Option<usize>, &str)]) -> Vec<Option<(usize, usize)>> {
    let Ok(root) = root(text) else {
        return vec![None; wanted.len()];
    };
    let offsets: Vec<Option<usize>> =
        wanted.iter().map(|(statement, element)| offset_of(&root, *statement, element)).collect();
    let known: Vec<usize> = offsets.iter().copied().flatten().collect();
    let mut places = json::lines_and_columns(text, &known).into_iter();
    offsets.into_iter().map(|offset| offset.and_then(|_| places.next())).collect()
}

fn offset_of(root: &JsonNode, statement: Option<usize>, element: &str) -> Option<usize> {
    let mut node = root;
    let mut offset = node.offset;
    let mut step = |name: &str| {
        let Json::Object(members) = &node.value else {
            return;
        };
        if let Some(member) = members.iter().find(|m| m.name.eq_ignore_ascii_case(name)) {
            node = &member.node;
            offset = member.offset;
        }
    };
    if let Some(number) = statement {
        step("Statement");
        if let Json::Array(list) = &node.value {
            node = list.get(number.checked_sub(1)?)?;
            offset = node.offset;
        }
        // A condition key may contain slashes.
        let mut names = element.splitn(3, '/');
        for name in names.by_ref().filter(|name| !name.is_empty()) {
            let Json::Object(members) = &node.value else {
                break;
            };
            let Some(member) = members.iter().find(|m| m.name.eq_ignore_ascii_case(name)) else {
                break;
            };
            node = &member.node;
            offset = member.offset;
        }
    } else if !element.is_empty() {
        step(element);
    }
    offset
}

/// The path from the root to an element, as a linked list that is formatted only if there is a problem.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: PathStep<'a>,
}

#[derive(Clone, Copy)]
enum PathStep<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub const ROOT: Path<'static> = Path { parent: None, step: PathStep::Root };

    pub fn name(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: PathStep::Name(name) }
    }

    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: PathStep::Index(index) }
    }

    fn write(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(out);
        }
        match self.step {
            PathStep::Root => {}
            PathStep::Name(name) => {
                out.push('/');
                out.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            PathStep::Index(index) => {
                out.push('/');
                out.push_str(&index.to_string());
            }
        }
    }
}

/// Collects problems with their offsets, and converts those to lines at the end.
pub(super) struct Problems<'t> {
    pub text: Option<&'t str>,
    pub found: Vec<(ParseError, Option<usize>)>,
}

impl Problems<'_> {
    pub fn add(&mut self, path: &Path, offset: Option<usize>, message: impl Into<String>) {
        let mut pointer = String::new();
        path.write(&mut pointer);
        self.found.push((ParseError { message: message.into(), pointer, place: None }, offset));
    }

    /// The problems in the order in which they were found.
    pub fn errors(self) -> Vec<ParseError> {
        let offsets: Vec<usize> = self.found.iter().filter_map(|(_, offset)| *offset).collect();
        let mut places = self.text.map_or_else(Vec::new, |text| json::lines_and_columns(text, &offsets)).into_iter();
        let place = |(error, offset): (ParseError, Option<usize>)| ParseError {
            place: offset.and_then(|_| places.next()),
            ..error
        };
        self.found.into_iter().map(place).collect()
    }

    /// Reports Sids that are used twice, among the statements with principals or among those without. IAM rejects them;
    /// services with resource policies have their own rules. An empty Sid is ignored.
    ///
    /// Sources: IAM User Guide, "IAM JSON policy elements: Sid" ("In IAM, the Sid value must be unique") and "IAM
    /// Access Analyzer policy check reference", "Unique Sids required" ("for this policy type").
    pub fn sids(&mut self, path: &Path, statements: &[JsonNode], with_principal: bool) {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for (index, node) in statements.iter().enumerate() {
            let Json::Object(members) = &node.value else {
                continue;
            };
            let has_principal = members.iter().any(|m| matches!(m.name.as_ref(), "Principal" | "NotPrincipal"));
            let sid = members.iter().find(|member| member.name == "Sid");
            let Some(JsonNode { value: Json::String(sid), offset }) = sid.map(|m| &m.node) else {
                continue;
            };
            if !sid.is_empty() && has_principal == with_principal && !seen.insert(sid) {
                let message = format!("the Sid `{sid}` is used twice; a Sid is unique in its policy");
                self.add(&path.index(index).name("Sid"), *offset, message);
            }
        }
    }
}

struct PolicyReader<'t> {
    problems: Problems<'t>,
}

impl PolicyReader<'_> {
    fn add(&mut self, path: &Path, offset: Option<usize>, message: impl Into<String>) {
        self.problems.add(path, offset, message);
    }

    fn expected(&mut self, path: &Path, node: &JsonNode, wanted: &str) {
        let message = format!("expected {wanted}, found {}", node.value.kind());
        self.add(path, node.offset, message);
    }

    fn members<'n, 'a>(&mut self, path: &Path, node: &'n JsonNode<'a>) -> Option<&'n [Member<'a>]> {
        let Json::Object(members) = &node.value else {
            self.expected(path, node, "an object");
            return None;
        };
        let mut seen = BTreeSet::new();
        let mut is_new = |at: usize, name: &'n str| {
            // Most objects have few members, for which a linear search is faster than a set.
            if members.len() <= 12 {
                !members.iter().take(at).any(|before| before.name == name)
            } else {
                seen.insert(name)
            }
        };
        for (at, member) in members.iter().enumerate() {
            if !is_new(at, &member.name) {
                let message = format!("`{}` is written twice", member.name);
                self.add(&path.name(&member.name), member.offset, message);
            }
        }
        Some(members)
    }

    fn text<'n>(&mut self, path: &Path, node: &'n JsonNode<'_>) -> Option<&'n str> {
        if let Json::String(text) = &node.value {
            Some(text)
        } else {
            self.expected(path, node, "a string");
            None
        }
    }

    fn document(&mut self, node: &JsonNode) -> Option<ParsedDocument> {
        let path = Path::ROOT;
        let members = self.members(&path, node)?;
        let mut document = ParsedDocument { version: None, id: None, statements: Vec::new() };
        let mut has_statement = false;
        for member in members {
            let here = path.name(&member.name);
            match member.name.as_ref() {
                "Version" => document.version = self.version(&here, &member.node),
                "Id" => document.id = self.text(&here, &member.node).map(Into::into),
                "Statement" => {
                    has_statement = true;
                    self.statements(&here, &member.node, &mut document.statements);
                }
                other => {
                    let message =
                        format!("`{other}` is not an element of a policy; they are `Version`, `Id` and `Statement`");
                    self.add(&here, member.offset, message);
                }
            }
        }
        if !has_statement {
            self.add(&path, node.offset, "the policy has no `Statement`");
        }
        Some(document)
    }

    fn version(&mut self, path: &Path, node: &JsonNode) -> Option<Version> {
        match self.text(path, node)? {
            "2012-10-17" => Some(Version::V2012),
            "2008-10-17" => Some(Version::V2008),
            other => {
                let message = format!("`{other}` is not a version of the policy language; write `2012-10-17`");
                self.add(path, node.offset, message);
                None
            }
        }
    }

    fn statements(&mut self, path: &Path, node: &JsonNode, out: &mut Vec<Statement>) {
        match &node.value {
            Json::Array(list) => {
                if list.is_empty() {
                    self.add(path, node.offset, "the policy has no statement");
                }
                out.reserve_exact(list.len());
                for (index, node) in list.iter().enumerate() {
                    if let Some(statement) = self.statement(&path.index(index), node) {
                        out.push(statement.at(index + 1));
                    }
                }
                self.problems.sids(path, list, false);
            }
            Json::Object(_) => out.extend(self.statement(path, node).map(|s| s.at(1))),
            _ => self.expected(path, node, "a list of statements"),
        }
    }

    fn statement(&mut self, path: &Path, node: &JsonNode) -> Option<Statement> {
        let members = self.members(path, node)?;
        let before = self.problems.found.len();
        let mut sid = None;
        let mut effect = None;
        let mut principal = None;
        let mut action = None;
        let mut resource = None;
        let mut condition = Vec::new();
        for Member { offset, name, node } in members {
            let here = path.name(name);
            let mut twice = None;
            match name.as_ref() {
                "Sid" => sid = self.text(&here, node).filter(|text| !text.is_empty()),
                "Effect" => effect = self.effect(&here, node),
                "Principal" | "NotPrincipal" => {
                    let values = self.principals(&here, node);
                    let selector = Selector { inverted: name.starts_with("Not"), values };
                    twice = principal.replace(selector).map(|_| "Principal");
                }
                "Action" | "NotAction" => {
                    let values = self.actions(&here, node);
                    let selector = Selector { inverted: name.starts_with("Not"), values };
                    twice = action.replace(selector).map(|_| "Action");
                }
                "Resource" | "NotResource" => {
                    let values = self.resources(&here, node);
                    let selector = Selector { inverted: name.starts_with("Not"), values };
                    twice = resource.replace(selector).map(|_| "Resource");
                }
                "Condition" => condition = self.conditions(&here, node),
                other => {
                    let message = format!("`{other}` is not an element of a statement");
                    self.add(&here, *offset, message);
                }
            }
            if let Some(element) = twice.filter(|_| members.iter().filter(|m| m.name == *name).count() == 1) {
                let message = format!("a statement has `{element}` or `Not{element}` once, not both");
                self.add(&here, *offset, message);
            }
        }
        if !members.iter().any(|member| member.name == "Effect") {
            self.add(path, node.offset, "the statement has no `Effect`; write `Allow` or `Deny`");
        }
        if action.is_none() {
            self.add(path, node.offset, "the statement has neither `Action` nor `NotAction`");
        }
        if self.problems.found.len() > before {
            return None;
        }
        let mut statement = Statement::new(effect?, action?);
        statement.sid = sid.map(Into::into);
        statement.principal = principal;
        statement.resource = resource;
        statement.condition = condition;
        Some(statement)
    }

    fn effect(&mut self, path: &Path, node: &JsonNode) -> Option<Effect> {
        match self.text(path, node)? {
            "Allow" => Some(Effect::Allow),
            "Deny" => Some(Effect::Deny),
            other => {
                let message = format!("`{other}` is not an effect; write `Allow` or `Deny`");
                self.add(path, node.offset, message);
                None
            }
        }
    }

    /// Calls `each` for the single string, or for every string of the list.
    fn strings(&mut self, path: &Path, node: &JsonNode, mut each: impl FnMut(&mut Self, &Path, &JsonNode, &str)) {
        match &node.value {
            Json::String(text) => each(self, path, node, text),
            Json::Array(list) => {
                for (index, node) in list.iter().enumerate() {
                    let here = path.index(index);
                    if node.value == Json::Null && list.len() > 1 {
                        // CreatePolicy ignores a null among other values.
                        continue;
                    }
                    if let Some(text) = self.text(&here, node) {
                        each(self, &here, node, text);
                    }
                }
            }
            _ => self.expected(path, node, "a string or a list of strings"),
        }
    }

    fn actions(&mut self, path: &Path, node: &JsonNode) -> Box<[ActionPattern]> {
        let mut values = Vec::with_capacity(capacity(node));
        self.strings(path, node, |_, _, _, text| {
            values.push(ActionPattern::new(text));
        });
        if is_empty_list(node) {
            self.add(path, node.offset, "the statement names no action");
        }
        sorted(values)
    }

    fn resources(&mut self, path: &Path, node: &JsonNode) -> Box<[Box<str>]> {
        let mut values = Vec::with_capacity(capacity(node));
        self.strings(path, node, |reader, here, node, text| {
            if text.is_empty() {
                reader.add(here, node.offset, "a resource is an ARN or `*`, not an empty string");
            }
            values.push(Box::from(text));
        });
        if is_empty_list(node) {
            self.add(path, node.offset, "the statement names no resource");
        }
        sorted(values)
    }

    /// Source: IAM User Guide, "AWS JSON policy elements: Principal".
    fn principals(&mut self, path: &Path, node: &JsonNode) -> Box<[Principal]> {
        if let Json::String(text) = &node.value {
            if text != "*" {
                let message = format!(
                    "`{text}` is not a principal; write `\"*\"` or an object such as `{{\"AWS\": \"{text}\"}}`"
                );
                self.add(path, node.offset, message);
            }
            return Box::new([Principal::Everyone]);
        }
        let Some(members) = self.members(path, node) else {
            return Box::default();
        };
        let mut values = Vec::new();
        for Member { offset, name, node } in members {
            let read: fn(&str) -> Principal = match name.as_ref() {
                "AWS" => Principal::aws,
                "Federated" => |text| Principal::Federated(text.into()),
                "Service" => |text| Principal::Service(text.into()),
                "CanonicalUser" => |text| Principal::CanonicalUser(text.into()),
                other => {
                    let message = format!(
                        "`{other}` is not a kind of principal; they are `AWS`, `Federated`, `Service` and `CanonicalUser`"
                    );
                    self.add(&path.name(name), *offset, message);
                    continue;
                }
            };
            self.strings(&path.name(name), node, |reader, here, node, text| {
                if text.is_empty() {
                    reader.add(here, node.offset, "a principal is not an empty string");
                }
                values.push(read(text));
            });
        }
        if values.is_empty() {
            self.add(path, node.offset, "the element names no principal");
        }
        sorted(values)
    }

    fn conditions(&mut self, path: &Path, node: &JsonNode) -> Vec<Condition> {
        let Some(operators) = self.members(path, node) else {
            return Vec::new();
        };
        let mut conditions: Vec<Condition> = Vec::new();
        for operator in operators {
            let here = path.name(&operator.name);
            let parsed = match operator.name.parse::<Operator>() {
                Ok(parsed) => parsed,
                // IAM accepts an unknown operator if it has no conditions.
                Err(_) if matches!(&operator.node.value, Json::Object(keys) if keys.is_empty()) => {
                    continue;
                }
                Err(unknown) => {
                    self.add(&here, operator.offset, unknown.to_string());
                    continue;
                }
            };
            let Some(keys) = self.members(&here, &operator.node) else {
                continue;
            };
            for member in keys {
                let here = here.name(&member.name);
                let key = ConditionKey::new(&member.name);
                let values = self.condition_values(&here, &member.node);
                conditions.push(Condition { operator: parsed, key, values });
            }
        }
        conditions.sort();
        for pair in conditions.windows(2) {
            let [one, two] = pair else { continue };
            if (one.operator, &one.key) == (two.operator, &two.key) && one.key.as_str() != two.key.as_str() {
                let message = format!(
                    "`{}` and `{}` are the same condition key: case makes no difference in its name",
                    one.key, two.key
                );
                self.add(path, node.offset, message);
            }
        }
        conditions
    }

    /// Numbers and booleans mean the same with and without quotes.
    ///
    /// Source: IAM User Guide, "Grammar of the IAM JSON policy language".
    fn condition_values(&mut self, path: &Path, node: &JsonNode) -> Box<[Box<str>]> {
        let mut values = Vec::with_capacity(capacity(node));
        if let Json::Array(list) = &node.value {
            for (index, node) in list.iter().enumerate() {
                match scalar(node) {
                    Some(text) => values.push(text.into()),
                    None => self.expected(&path.index(index), node, "a string, number or boolean"),
                }
            }
        } else {
            match scalar(node) {
                Some(text) => values.push(text.into()),
                None => self.expected(path, node, "a value or a list of values"),
            }
        }
        sorted(values)
    }
}

fn scalar<'n>(node: &'n JsonNode<'_>) -> Option<Cow<'n, str>> {
    match &node.value {
        Json::String(text) | Json::Number(text) => Some(Cow::Borrowed(text)),
        Json::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        _ => None,
    }
}

fn capacity(node: &JsonNode) -> usize {
    if let Json::Array(list) = &node.value { list.len() } else { 1 }
}

fn is_empty_list(node: &JsonNode) -> bool {
    matches!(&node.value, Json::Array(list) if list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let Err(errors) = policy_text(text) else {
            return Vec::new();
        };
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_problem_is_reported_with_its_place() {
        let text = r#"{
  "Version": "2012-10-16",
  "Statement": [
    {"Sid": "a", "Effect": "allow", "Action": "GetObject", "Resource": "*", "Resource": "*"},
    {"Sid": "a", "Effect": "Deny", "NotAction": [], "Condition": {"StringEqual": {"a": "b"}}},
    {"Effect": "Deny", "Action": "*", "NotAction": "s3:*", "Principal": "me"},
    7
  ],
  "Extra": 1
}"#;
        let expected = [
            "2:14: /Version: `2012-10-16` is not a version of the policy language; write `2012-10-17`",
            "4:77: /Statement/0/Resource: `Resource` is written twice",
            "4:28: /Statement/0/Effect: `allow` is not an effect; write `Allow` or `Deny`",
            "5:49: /Statement/1/NotAction: the statement names no action",
            "5:67: /Statement/1/Condition/StringEqual: `StringEqual` is not a condition operator",
            "6:39: /Statement/2/NotAction: a statement has `Action` or `NotAction` once, not both",
            "6:73: /Statement/2/Principal: `me` is not a principal; write `\"*\"` or an object such as `{\"AWS\": \"me\"}`",
            "7:5: /Statement/3: expected an object, found a number",
            "5:13: /Statement/1/Sid: the Sid `a` is used twice; a Sid is unique in its policy",
            "9:3: /Extra: `Extra` is not an element of a policy; they are `Version`, `Id` and `Statement`",
        ];
        assert_eq!(errors(text), expected);
    }

    #[test]
    fn invalid_documents_are_rejected() {
        assert_eq!(errors("[]"), ["1:1: expected an object, found a list"]);
        assert_eq!(errors("{}"), ["1:1: the policy has no `Statement`"]);
        assert_eq!(errors("{"), ["1:2: not JSON: expected a member name in quotes"]);
        assert_eq!(
            errors(r#"{"Statement":{"Effect":"Allow","Action":"*","Condition":{"Bool":{"a:B":true,"A:b":true}}}}"#),
            [
                "1:57: /Statement/Condition: `a:B` and `A:b` are the same condition key: case makes no difference in its name"
            ],
        );
    }
}
