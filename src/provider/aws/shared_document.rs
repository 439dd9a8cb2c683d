//! Shared documents: bucket and key policies that others edit too. The project owns single statements of them.
//!
//! The project owns the statements with its Sid prefix. All others are foreign: a write keeps them as the JSON that
//! they were.
//!
//! A shared document is never simply absent: a bucket or key always has one, even if it is empty. So the whole document
//! is observed, which makes its digest cover foreign statements too, and [`managed_fields`] selects the project's part.
//! Its result `null` means that the project owns no statement, and is treated as absent: a policy with only foreign
//! statements leads to a create that merges, not to an adoption. Under `exclusive`, foreign statements are managed too,
//! and show as a difference from the desired document, which has none. An exclusive document without any desired
//! statement must be empty, and exists as soon as the bucket exists.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[cfg(any(feature = "cloud", test))]
use crate::access;
use crate::access::{Chains, PolicyText, ResourcePolicy};
#[cfg(feature = "cloud")]
use crate::address::Scope;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Document;
#[cfg(feature = "cloud")]
use crate::iam::measure_text;
use crate::iam::{Policy, PolicyPlace, Principal, Selector, Statement, Version, measure};
use crate::kind::BodyField;
#[cfg(feature = "cloud")]
use crate::live::WriteError;
#[cfg(feature = "cloud")]
use crate::session::Session;

/// The fields of a shared document. All of them affect access.
pub(super) const FIELDS: &[BodyField] = &[
    BodyField::access("statements"),
    BodyField::access("exclusive"),
    BodyField::access("foreign"),
    BodyField::access("unique_id").read_only(),
];

/// The body of a shared document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SharedDocument {
    /// The project's statements.
    pub(super) statements: Policy,
    /// Whether the project owns every statement. A live document does not show this; [`managed_fields`] copies it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) exclusive: bool,
    /// The foreign statements. Never desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) foreign: Option<Policy>,
    /// The id of the KMS key, for a key policy. Never desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unique_id: Option<String>,
}

/// A shared document to write.
#[derive(Clone, Debug, PartialEq)]
#[cfg(any(feature = "cloud", test))]
pub(super) struct Rewritten {
    /// The text, or `None` if it has no statement.
    pub(super) text: Option<String>,
    /// The number of foreign statements in it.
    pub(super) foreign: usize,
    /// Whether its meaning differs from the live document.
    pub(super) changed: bool,
}

impl SharedDocument {
    /// Creates a desired document with these statements.
    pub(super) fn of(statements: Vec<Statement>, exclusive: bool) -> Self {
        Self { statements: Policy::new(Version::V2012, statements), exclusive, foreign: None, unique_id: None }
    }

    /// Parses a live document. `None` is an empty one, for APIs that report a missing policy.
    ///
    /// # Errors
    /// The problem of the text.
    #[cfg(any(feature = "cloud", test))]
    pub(super) fn read(project: &str, live: Option<&str>) -> Result<Self, String> {
        let Some(text) = live else { return Ok(Self::of(Vec::new(), false)) };
        let whole = parse(text)?;
        let (ours, foreign) = whole.split(|statement| access::own_sid(project, statement));
        // The document's Id is not compared. Its version is, because it decides what `${` means in the project's
        // statements.
        let version = if ours.is_empty() { Version::V2012 } else { ours.version() };
        Ok(Self {
            statements: Policy::new(version, ours.statements().iter().cloned()),
            exclusive: false,
            foreign: (!foreign.is_empty()).then_some(foreign),
            unique_id: None,
        })
    }

    /// Returns the project if it owns statements in the document.
    #[cfg(any(feature = "cloud", test))]
    pub(super) fn owner(&self, project: &str) -> Option<String> {
        (!self.statements.is_empty()).then(|| project.to_owned())
    }

    /// Replaces the project's statements in the live document with these.
    ///
    /// Foreign statements stay unchanged and in their order, before those of the project. The project's statements have
    /// version 2012-10-17. If that raises the version of the document, `${` in foreign statements is escaped, so that
    /// it remains literal text (IAM User Guide, "IAM JSON policy elements: Version").
    ///
    /// # Errors
    /// The problem of the live text.
    #[cfg(any(feature = "cloud", test))]
    pub(super) fn rewrite(&self, project: &str, live: Option<&str>) -> Result<Rewritten, String> {
        let before = live.map(parse).transpose()?;
        let document = live.map(serde_json::from_str::<Map<String, Value>>).transpose().map_err(|e| e.to_string())?;
        let mut document = document.unwrap_or_default();
        let statements = match document.remove("Statement") {
            Some(Value::Array(statements)) => statements,
            Some(single) => vec![single],
            None => Vec::new(),
        };
        let mut kept: Vec<Value> = if self.exclusive {
            document.clear();
            Vec::new()
        } else {
            statements.into_iter().filter(|statement| !is_own(project, statement)).collect()
        };
        let foreign = kept.len();
        if !self.statements.is_empty() {
            let literal = before.as_ref().is_some_and(|policy| policy.version() != Version::V2012);
            if literal {
                kept.iter_mut().for_each(escape_variables);
            }
            document.insert("Version".into(), Version::V2012.as_str().into());
            kept.extend(self.statements.statements().iter().map(Statement::to_value));
        }
        if kept.is_empty() {
            return Ok(Rewritten { text: None, foreign, changed: live.is_some() });
        }
        document.insert("Statement".into(), kept.into());
        let document = Value::Object(document);
        let changed = Policy::from_value(&document).ok() != before;
        Ok(Rewritten { text: Some(document.to_string()), foreign, changed })
    }
}

/// Reports statements of the project that alone exceed the quota of a document. `need` starts the message.
pub(super) fn over_quota(place: PolicyPlace, document: &SharedDocument, need: &str) -> Option<Diagnostic> {
    let size = measure(place, &document.statements);
    let message = format!("{need} of {} bytes: at most {} are allowed", size.used, size.quota);
    size.is_over().then(|| Diagnostic::new(Code::PolicyOverQuota, message))
}

/// Refuses to write a document that is too large with the statements of others, or that would lock out the applying
/// identity.
///
/// # Errors
/// The size, or what that identity could no longer do.
#[cfg(feature = "cloud")]
pub(super) async fn refuse_unsafe(
    cloud: &Session,
    scope: &Scope,
    resource: &ResourcePolicy<'_>,
    what: &str,
    (text, foreign): (&str, usize),
) -> Result<(), WriteError> {
    let size = measure_text(resource.place, text);
    if size.is_over() {
        let why = format!(
            "it would have {} bytes with the {foreign} statements of others, and at most {} are allowed: nothing was \
             written",
            size.used, size.quota
        );
        return Err(WriteError::OverQuota { what: what.to_owned(), sent: false, why });
    }
    let locked_out = |why: String| WriteError::LockedOut {
        what: what.to_owned(),
        why: format!("{why}: nothing was written"),
        help: Some("change that policy first, so that it excludes the caller".to_owned()),
    };
    let caller = super::account::caller(cloud, scope).await?;
    let unreadable = |why: String| WriteError::Refused {
        what: what.to_owned(),
        why: format!("{why}: nothing was written"),
        help: None,
    };
    let policy = parse(text).map_err(unreadable)?;
    access::lockout(resource, &caller, &policy).map_or(Ok(()), |why| Err(locked_out(why)))
}

/// Returns the meaning of a shared document for access.
pub(super) fn facet<'b>(body: &'b Document, carrier: ResourcePolicy<'b>) -> ResourcePolicy<'b> {
    ResourcePolicy {
        ours: PolicyText::of(body, "statements"),
        others: PolicyText::of(body, "foreign"),
        exclusive: body.field("exclusive").unwrap_or(false),
        ..carrier
    }
}

/// Returns the document after a write. An exclusive one has no foreign statements.
pub(super) fn overlaid(live: Option<&Document>, before: Option<&Document>, after: &Document) -> Document {
    let written = Document::overlaid(live, before, after);
    if !written.field("exclusive").unwrap_or(false) {
        return written;
    }
    let mut tree = written.tree();
    tree.as_object_mut().and_then(|fields| fields.remove("foreign"));
    tree.into()
}

/// Returns the document after the project's statements are removed: the foreign ones, unless it was exclusive.
pub(super) fn remainder(live: &Document, before: Option<&Document>) -> Option<Document> {
    let foreign: Value = live.field("foreign")?;
    let exclusive = before.and_then(|before| before.field("exclusive")).unwrap_or(false);
    let rest = Map::from_iter([("foreign".to_owned(), foreign)]);
    (!exclusive).then(|| Document::from(Value::from(rest)))
}

/// Returns the managed fields of a live document; `null` if there are none.
pub(super) fn managed_fields(live: &Document, desired: Option<&Document>, last: Option<&Document>) -> Document {
    let member = |document: &Document, name: &str| document.field::<Value>(name);
    let exclusive = desired.or(last).and_then(|d| member(d, "exclusive")) == Some(Value::Bool(true));
    let foreign = member(live, "foreign").filter(|_| exclusive);
    let must_be_empty = exclusive && desired.is_some_and(has_no_statements);
    if has_no_statements(live) && foreign.is_none() && !must_be_empty {
        return Document::from(Value::Null);
    }
    let mut claimed = Map::new();
    claimed.extend(member(live, "statements").map(|statements| ("statements".to_owned(), statements)));
    if exclusive {
        claimed.insert("exclusive".into(), true.into());
    }
    claimed.extend(foreign.map(|foreign| ("foreign".to_owned(), foreign)));
    Document::from(Value::Object(claimed))
}

/// Returns the keys of the managed roles that statements name as principals. They must exist first, because services
/// reject a policy with an unknown principal.
pub(super) fn managed_principals<'a>(chains: &'a Chains, statements: &[Statement]) -> BTreeSet<&'a str> {
    let principals = statements.iter().filter_map(Statement::principal).flat_map(Selector::values);
    principals
        .filter_map(|principal| match principal {
            Principal::Aws(arn) => chains.role_named(arn).filter(|(_, role)| role.managed).map(|(key, _)| key),
            _ => None,
        })
        .collect()
}

fn has_no_statements(document: &Document) -> bool {
    document.tree().pointer("/statements/Statement").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

#[cfg(any(feature = "cloud", test))]
fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(text).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[cfg(any(feature = "cloud", test))]
fn is_own(project: &str, statement: &Value) -> bool {
    let sid = statement.get("Sid").and_then(Value::as_str).unwrap_or_default();
    sid.starts_with(&access::sid_prefix(project))
}

#[cfg(any(feature = "cloud", test))]
fn escape_variables(statement: &mut Value) {
    for element in ["Resource", "NotResource", "Condition"] {
        if let Some(value) = statement.get_mut(element) {
            escape_texts(value);
        }
    }
}

#[cfg(any(feature = "cloud", test))]
fn escape_texts(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace("${", "${$}{"),
        Value::Array(values) => values.iter_mut().for_each(escape_texts),
        Value::Object(members) => members.values_mut().for_each(escape_texts),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PROJECT: &str = "p";

    fn ours(resource: &str) -> Statement {
        let sid = format!("{}Read", access::sid_prefix(PROJECT));
        Statement::allow(["s3:GetObject"], [resource]).with_sid(&sid)
    }

    fn live(version: &str, more: &[Value]) -> String {
        let mut statements = vec![
            json!({"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": ["s3:*"], "Resource": "b/${aws:username}",
                "Condition": {"Bool": {"aws:SecureTransport": false}}}),
        ];
        statements.extend(more.iter().cloned());
        json!({"Version": version, "Id": "theirs", "Statement": statements}).to_string()
    }

    fn value(rewritten: &Rewritten) -> Value {
        rewritten.text.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
    }

    #[test]
    fn foreign_statements_stay_as_they_were_written() {
        let text = live("2012-10-17", &[ours("old").to_value()]);
        let written = SharedDocument::of(vec![ours("new")], false).rewrite(PROJECT, Some(&text)).unwrap();
        let mut expected: Value = serde_json::from_str(&text).unwrap();
        expected["Statement"][1] = ours("new").to_value();
        assert_eq!((value(&written), written.foreign, written.changed), (expected, 1, true));
    }

    #[test]
    fn rewriting_the_same_statements_changes_nothing() {
        let text = live("2012-10-17", &[ours("new").to_value()]);
        let document = SharedDocument::of(vec![ours("new")], false);
        assert!(!document.rewrite(PROJECT, Some(&text)).unwrap().changed);
        assert!(!SharedDocument::of(Vec::new(), true).rewrite(PROJECT, None).unwrap().changed);
    }

    #[test]
    fn raised_version_keeps_foreign_text_literal() {
        let written =
            SharedDocument::of(vec![ours("new")], false).rewrite(PROJECT, Some(&live("2008-10-17", &[]))).unwrap();
        let document = value(&written);
        assert_eq!(document["Version"], "2012-10-17");
        assert_eq!(document["Statement"][0]["Resource"], "b/${$}{aws:username}");
        assert_eq!(document["Statement"][0]["Action"], json!(["s3:*"]));
        let without = SharedDocument::of(Vec::new(), false).rewrite(PROJECT, Some(&live("2008-10-17", &[]))).unwrap();
        assert_eq!(value(&without), serde_json::from_str::<Value>(&live("2008-10-17", &[])).unwrap());
        assert!(!without.changed);
    }

    #[test]
    fn exclusive_document_has_only_own_statements() {
        let text = live("2012-10-17", &[]);
        let written = SharedDocument::of(vec![ours("new")], true).rewrite(PROJECT, Some(&text)).unwrap();
        assert_eq!(value(&written), json!({"Version": "2012-10-17", "Statement": [ours("new").to_value()]}));
        let emptied = SharedDocument::of(Vec::new(), true).rewrite(PROJECT, Some(&text)).unwrap();
        assert_eq!(emptied, Rewritten { text: None, foreign: 0, changed: true });
    }

    #[test]
    fn a_single_foreign_statement_need_not_be_a_list() {
        let text =
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"b"}}"#;
        let written = SharedDocument::of(vec![ours("new")], false).rewrite(PROJECT, Some(text)).unwrap();
        assert_eq!(value(&written)["Statement"].as_array().unwrap().len(), 2);
    }

    /// Returns the managed fields of a live document, as the planner gets them; `null` is "absent".
    fn check_claimed(live: Option<&str>, desired: Option<&SharedDocument>, last: Option<&SharedDocument>) -> Value {
        let live = Document::of(&SharedDocument::read(PROJECT, live).unwrap()).unwrap();
        let (desired, last) = (desired.map(|d| Document::of(d).unwrap()), last.map(|d| Document::of(d).unwrap()));
        managed_fields(&live, desired.as_ref(), last.as_ref()).tree()
    }

    #[test]
    fn document_without_own_statements_counts_as_absent() {
        let resource = SharedDocument::of(vec![ours("b")], false);
        assert_eq!(check_claimed(Some(&live("2012-10-17", &[])), Some(&resource), None), Value::Null);
        assert_eq!(check_claimed(None, Some(&resource), None), Value::Null);
        assert_eq!(check_claimed(Some(&live("2012-10-17", &[])), None, Some(&resource)), Value::Null);
        let exclusive = SharedDocument::of(vec![ours("b")], true);
        assert_eq!(check_claimed(None, Some(&exclusive), None), Value::Null);
    }

    #[test]
    fn only_an_exclusive_document_manages_foreign_statements() {
        let text = live("2012-10-17", &[ours("b").to_value()]);
        let (shared, exclusive) =
            (SharedDocument::of(vec![ours("b")], false), SharedDocument::of(vec![ours("b")], true));
        assert_eq!(check_claimed(Some(&text), Some(&shared), None), Document::of(&shared).unwrap().tree());
        let before = check_claimed(Some(&text), Some(&exclusive), None);
        assert_eq!(before["exclusive"], true);
        assert_eq!(before["foreign"]["Statement"][0]["Sid"], "Tls");
        // The last applied body keeps the mode for a delete.
        assert_eq!(check_claimed(Some(&text), None, Some(&exclusive)), before);
    }

    #[test]
    fn exclusive_document_without_own_statements_exists_when_empty() {
        let nothing = SharedDocument::of(Vec::new(), true);
        assert_eq!(check_claimed(None, Some(&nothing), None), Document::of(&nothing).unwrap().tree());
        assert_eq!(check_claimed(None, None, Some(&nothing)), Value::Null);
        let before = check_claimed(Some(&live("2012-10-17", &[])), Some(&nothing), Some(&nothing));
        assert_eq!(before["foreign"]["Id"], "theirs");
    }

    #[test]
    fn the_observed_document_covers_foreign_statements() {
        let read = |text: &str| SharedDocument::read(PROJECT, Some(text)).unwrap();
        let (with, without) = (read(&live("2012-10-17", &[ours("b").to_value()])), read(&live("2012-10-17", &[])));
        assert_eq!((with.owner(PROJECT), without.owner(PROJECT)), (Some(PROJECT.to_owned()), None));
        assert_eq!(with.foreign, without.foreign);
        let text = Document::of(&with).unwrap();
        assert_eq!(text.read::<SharedDocument>().unwrap(), with);
        let old = read(&live("2008-10-17", &[ours("b").to_value()]));
        assert_ne!(old.statements, with.statements, "`${{` means something else there");
    }

    #[test]
    fn statements_of_another_project_are_foreign() {
        let theirs = Statement::allow(["s3:GetObject"], ["b"]).with_sid(&format!("{}Read", access::sid_prefix("q")));
        let read = SharedDocument::read(PROJECT, Some(&live("2012-10-17", &[theirs.to_value()]))).unwrap();
        assert_eq!((read.statements.is_empty(), read.foreign.unwrap().statements().len()), (true, 2));
    }

    #[test]
    fn a_deletion_leaves_the_statements_of_others_unless_the_document_was_exclusive() {
        let (own, foreign) = (json!({"Statement": [1]}), json!({"Statement": [2]}));
        let live = Document::from(json!({"statements": own, "foreign": foreign}));
        let ours = Document::from(json!({"statements": own}));
        assert_eq!(remainder(&live, Some(&ours)).unwrap().tree(), json!({"foreign": foreign}));
        let exclusive = Document::from(json!({"statements": own, "exclusive": true, "foreign": foreign}));
        assert_eq!(remainder(&live, Some(&exclusive)), None);
        assert_eq!(remainder(&ours, Some(&ours)), None, "nobody else has a statement there");
        let after = Document::from(json!({"statements": own, "exclusive": true}));
        assert_eq!(overlaid(Some(&live), Some(&exclusive), &after), after);
        assert_eq!(overlaid(Some(&live), Some(&ours), &ours), live);
    }
}
