//! Checks of single policies: dangerous, ineffective and redundant parts.

mod checks;
mod conditions;
mod identity;
mod resource;
#[cfg(test)]
mod tests;
mod trust;
mod words;

use std::fmt;

use super::condition::Condition;
use super::measure::{self, PolicyPlace};
use super::parse::{self, ParsedDocument};
use super::policy::{Effect, Policy, Selector, Statement, Version};
use super::redundant;
use super::validate::{self, PolicyKind};

pub use checks::{Check, LintSeverity};

/// One finding in a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub check: Check,
    /// The severity of the check, or a lower one where the finding matters less.
    pub severity: LintSeverity,
    /// The statement, from 1; `None` for the whole document.
    pub statement: Option<usize>,
    pub sid: Option<String>,
    /// The element, such as `Action` or `Condition/StringEquals/aws:SourceIp`. Empty for the whole statement.
    pub element: String,
    /// Details, if there is more to report than the meaning of the check.
    pub detail: String,
    /// The index of the document, if several were checked together.
    pub document: usize,
    /// The line and column, from 1.
    pub place: Option<(usize, usize)>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.severity.as_str(), self.check.code())?;
        if let Some(statement) = self.statement {
            write!(f, "statement {statement}")?;
            if let Some(sid) = &self.sid {
                write!(f, " `{sid}`")?;
            }
            if !self.element.is_empty() {
                write!(f, ", {}", self.element)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(self.check.meaning())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// The policy to check, with its known circumstances.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub kind: PolicyKind,
    /// The account that owns the policy; without it, other accounts are not reported.
    pub account: Option<&'a str>,
    /// The name of the bucket to which the policy is attached.
    pub bucket: Option<&'a str>,
    /// The place where the policy is to be attached, for its quota; by default the place of its kind with the largest
    /// quota.
    pub place: Option<PolicyPlace>,
    /// The ARN of the role that manages the policy and must not lock itself out.
    pub applying: Option<&'a str>,
}

impl Subject<'_> {
    /// A policy of this kind with unknown circumstances.
    #[must_use]
    pub fn of(kind: PolicyKind) -> Self {
        Self { kind, account: None, bucket: None, place: None, applying: None }
    }

    fn place(&self) -> Option<PolicyPlace> {
        self.place.or(match self.kind {
            PolicyKind::Identity => Some(PolicyPlace::RoleInlineTotal),
            PolicyKind::Boundary => Some(PolicyPlace::ManagedPolicy),
            PolicyKind::Session => Some(PolicyPlace::SessionPolicy),
            PolicyKind::Bucket => Some(PolicyPlace::BucketPolicy),
            PolicyKind::Key => Some(PolicyPlace::KeyPolicy),
            PolicyKind::Trust => Some(PolicyPlace::RoleTrust),
            PolicyKind::Endpoint => Some(PolicyPlace::EndpointPolicy),
            PolicyKind::Scp => Some(PolicyPlace::Scp),
            PolicyKind::Rcp => Some(PolicyPlace::Rcp),
            PolicyKind::Resource => None,
        })
    }
}

/// The size in bytes above which a document is not parsed: AWS rejects it everywhere, and that is the finding.
const MOST_BYTES: usize = 128 << 10;

/// Checks one policy document and returns all findings, ordered by statement and check.
#[must_use]
pub fn lint(text: &str, subject: &Subject) -> Vec<Finding> {
    lint_together(&[text], subject)
}

/// Checks documents that apply together, such as all policies of a role. A Deny in one limits an Allow in another. Each
/// finding on a statement refers to the document that contains it.
#[must_use]
pub fn lint_together(texts: &[&str], subject: &Subject) -> Vec<Finding> {
    let mut findings = Findings { subject, document: 0, statement: None, found: Vec::new() };
    let mut documents = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        findings.document = at;
        findings.syntax(text);
        findings.size(text);
        for (number, element, value) in parse::repetitions(text) {
            findings.statement = Some((number, None));
            findings.add(Check::Redundant, element, format!("`{value}` is listed twice"));
            findings.statement = None;
        }
        if text.len() <= MOST_BYTES {
            documents.extend(parse::policy_text(text).map(|document| (at, document)));
        }
    }
    let all: Vec<Statement> = documents.iter().flat_map(|(_, document)| &document.statements).cloned().collect();
    for (at, document) in &documents {
        let version = document.version.unwrap_or(Version::V2008);
        findings.document = *at;
        findings.document(document, version, &all);
        findings.redundant(document, version);
    }
    if matches!(subject.kind, PolicyKind::Identity | PolicyKind::Boundary | PolicyKind::Session) {
        let places = documents.iter().flat_map(|(at, document)| document.statements.iter().map(|_| *at));
        let all: Vec<(usize, Statement)> = places.zip(all).collect();
        identity::escalation(&all, &mut findings);
    }
    let mut found = findings.found;
    for (at, text) in texts.iter().enumerate() {
        let mut open: Vec<&mut Finding> = found.iter_mut().filter(|f| f.document == at && f.place.is_none()).collect();
        let wanted: Vec<(Option<usize>, &str)> = open.iter().map(|f| (f.statement, f.element.as_str())).collect();
        let places = if wanted.is_empty() { Vec::new() } else { parse::places(text, &wanted) };
        for (finding, place) in open.iter_mut().zip(places) {
            finding.place = place;
        }
    }
    found.sort_by(|a, b| {
        (a.document, a.statement, a.check, &a.element, &a.detail).cmp(&(
            b.document,
            b.statement,
            b.check,
            &b.element,
            &b.detail,
        ))
    });
    found.dedup();
    found
}

/// Collects findings on the current statement.
struct Findings<'s> {
    subject: &'s Subject<'s>,
    document: usize,
    statement: Option<(usize, Option<String>)>,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, check: Check, element: impl Into<String>, detail: impl Into<String>) {
        self.add_as(check.severity(), check, element, detail);
    }

    fn add_as(&mut self, severity: LintSeverity, check: Check, element: impl Into<String>, detail: impl Into<String>) {
        let (statement, sid) = self.statement.clone().unzip();
        self.found.push(Finding {
            check,
            severity,
            statement,
            sid: sid.flatten(),
            element: element.into(),
            detail: detail.into(),
            document: self.document,
            place: None,
        });
    }

    fn at(&mut self, statement: &Statement) {
        self.statement = Some((statement.position(), statement.sid().map(str::to_owned)));
    }

    fn syntax(&mut self, text: &str) {
        let Err(errors) = validate::document(self.subject.kind, text) else {
            return;
        };
        for error in errors {
            let mut parts = error.pointer.split('/').skip(1);
            let (statement, element) = match (parts.next(), parts.next()) {
                (Some("Statement"), Some(index)) => match index.parse::<usize>() {
                    Ok(index) => (Some(index + 1), parts.collect::<Vec<_>>().join("/")),
                    Err(_) => (Some(1), index.to_owned()),
                },
                (first, _) => (None, first.unwrap_or_default().to_owned()),
            };
            let forbidden = self.subject.kind == PolicyKind::Trust
                && matches!(element.as_str(), "Resource" | "NotResource" | "NotPrincipal");
            let check = if forbidden { Check::TrustForbiddenElement } else { Check::SyntaxError };
            self.found.push(Finding {
                check,
                severity: check.severity(),
                statement,
                sid: None,
                element,
                detail: error.message,
                document: self.document,
                place: error.place,
            });
        }
    }

    fn size(&mut self, text: &str) {
        if text.len() > MOST_BYTES {
            self.add(
                Check::SizeQuota,
                "",
                format!("{} bytes, but no policy may be larger than {MOST_BYTES}", text.len()),
            );
            return;
        }
        let Some(place) = self.subject.place() else {
            return;
        };
        let size = measure::measure_text(place, text);
        if size.is_over() {
            let over = size.used - size.quota;
            self.add(Check::SizeQuota, "", format!("{} of {}, {over} too many", size.used, size.quota));
        }
    }

    /// Checks a document. `all` are the statements of all documents that apply together.
    fn document(&mut self, document: &ParsedDocument, version: Version, all: &[Statement]) {
        for statement in &document.statements {
            self.at(statement);
            conditions::check(statement, self);
            words::check(statement, version, self);
            match self.subject.kind {
                PolicyKind::Trust => trust::check(statement, self),
                PolicyKind::Resource | PolicyKind::Bucket | PolicyKind::Key => {
                    resource::check(statement, self);
                }
                PolicyKind::Identity | PolicyKind::Boundary | PolicyKind::Session => {
                    identity::check(statement, all, self);
                }
                PolicyKind::Endpoint => resource::incomplete_exception(statement, self),
                PolicyKind::Scp | PolicyKind::Rcp => {}
            }
            self.statement = None;
        }
        if self.subject.kind.is_of_resource() {
            let policy = Policy::from_parts(version, None, document.statements.clone());
            resource::check_policy(&policy, self);
        }
    }

    fn redundant(&mut self, document: &ParsedDocument, version: Version) {
        let statements = &document.statements;
        for (statement, by) in statements.iter().zip(redundant::redundant_statements(statements, version)) {
            self.at(statement);
            if let Some(by) = by {
                self.add(Check::Redundant, "", format!("statement {by} covers it"));
            }
            for (element, narrow, wide) in redundant::redundant_values(statement, version) {
                self.add(Check::Redundant, element, format!("`{wide}` covers `{narrow}`"));
            }
        }
        self.statement = None;
    }
}

/// Whether a statement covers the action, by `Action` or `NotAction`.
fn takes(statement: &Statement, action: &str) -> bool {
    statement.action.selects(|pattern| pattern.matches(action))
}

fn is_allow(statement: &Statement) -> bool {
    statement.effect == Effect::Allow
}

/// Whether the statement applies to all resources of some type or service.
fn is_open(resource: Option<&Selector<Box<str>>>) -> bool {
    resource.is_some_and(|resource| resource.inverted || resource.values.iter().any(|text| is_open_arn(text)))
}

/// Whether a resource is `*`, or an ARN with only wildcards as its name: `arn:aws:s3:::*`,
/// `arn:aws:iam::111122223333:role/*`.
fn is_open_arn(text: &str) -> bool {
    let Some([_, service, _, _, resource]) = super::arn::split(text) else {
        return !text.is_empty() && text.bytes().all(|byte| byte == b'*');
    };
    let mut names = resource.split(['/', ':']);
    let first = names.next().unwrap_or_default();
    let is_star = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte == b'*');
    let rest: Vec<&str> = names.collect();
    let typed = service != "s3" && !rest.is_empty();
    (typed || is_star(first)) && rest.iter().all(|name| is_star(name))
}

/// Whether a condition restricts the request to fixed values of a key that callers cannot choose.
///
/// Source: S3 User Guide, "The meaning of public".
fn is_fixed(condition: &Condition) -> bool {
    use super::condition::{Operator, Qualifier, Test};
    let Operator { test, qualifier, if_exists } = condition.operator;
    let key = condition.key.as_str().to_ascii_lowercase();
    if if_exists || qualifier == Some(Qualifier::ForAllValues) || condition.values.is_empty() {
        return false;
    }
    let no_variable = condition.values().all(|value| !value.contains("${"));
    if test == Test::IpAddress {
        return key == "aws:sourceip"
            && condition.values().all(|value| {
                super::matching::range_of(value)
                    .is_some_and(|(network, length)| length >= if network.is_ipv4() { 8 } else { 32 })
            });
    }
    let like = matches!(test, Test::StringLike | Test::ArnLike | Test::ArnEquals);
    let equal = matches!(test, Test::StringEquals | Test::StringEqualsIgnoreCase);
    if !(like || equal) || !no_variable {
        return false;
    }
    let wild = |value: &str| like && value.contains(['*', '?']);
    match key.as_str() {
        "aws:sourcearn"
        | "aws:sourcevpc"
        | "aws:sourcevpce"
        | "aws:sourceowner"
        | "aws:sourceaccount"
        | "aws:sourceorgid"
        | "aws:principalorgid"
        | "aws:principalaccount"
        | "aws:vpceaccount"
        | "aws:vpceorgid"
        | "s3:x-amz-server-side-encryption-aws-kms-key-id"
        | "s3:dataaccesspointaccount"
        | "kms:calleraccount" => condition.values().all(|value| !wild(value)),
        // Any principal in a part of the organization: the organization is fixed.
        "aws:principalorgpaths" | "aws:sourceorgpaths" => {
            condition.values().all(|value| value.starts_with("o-") && !value.starts_with("o-*"))
        }
        // The caller chooses the session name after the colon, but not the role's ID.
        "aws:userid" => condition.values().all(|value| {
            let id = value.split(':').next().unwrap_or_default();
            !wild(value) || (!id.contains(['*', '?']) && value.strip_prefix(id) != Some(":*"))
        }),
        "aws:principalarn" => condition.values().all(|value| {
            super::arn::split(value).is_some_and(|[_, _, _, account, _]| super::arn::is_account_id(account))
        }),
        // A wildcard in the name is acceptable if the account is fixed.
        "s3:dataaccesspointarn" => condition.values().all(|value| {
            super::arn::split(value).is_some_and(|[partition, service, region, account, _]| {
                ![partition, service, region, account].iter().any(|part| wild(part))
            })
        }),
        _ => false,
    }
}

/// Whether any of the statement's conditions limits the request to fixed values.
fn is_limited(statement: &Statement) -> bool {
    statement.condition.iter().any(is_fixed)
}
