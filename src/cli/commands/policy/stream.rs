//! JSON lines of policy questions: one object per line in, one line out, in the same order.
//!
//! Memory does not grow with the number of lines. An unusable line gives `{"id": ..., "error": "..."}` in its place,
//! and the run continues. docs/iam.md describes the formats.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead, Write};

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _, Serialize};
use serde_json::value::RawValue;

use super::answers::{ChangedRows, Compared, FoundAccess, Granted, Implied, PublicAnswer, Simplified, undecided};
use super::kinds::{PolicyType, kind_of};
use super::read::accepted;
use crate::access::{AppliedRule, Direction, regions_between, rows};
use crate::iam::{
    AccessPointBucket, Applied, Attached, ContextValue, Decision, DecisionReason, Dependency, ParseError, Policy,
    PolicyPlace, PolicySet, Request, RequestContext, Subject, Version, behind_access_point, bucket_of, compare,
    disagreements, evaluate, gains, grants, lint_together, public, simplify, validate,
};

/// The byte order mark that some editors write before UTF-8 text.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// The maximum length of a line, in bytes: more than a hundred times that of any policy that AWS accepts.
const LONGEST: u64 = 64 << 20;

/// The question that each line asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Is the request allowed?
    Eval,
    /// Do two policies mean the same?
    Equal,
    /// Does a policy allow anything that a reference does not allow?
    Implies(Option<PolicyType>),
    /// Does a policy allow some of these actions on these resources?
    Grants(Option<PolicyType>),
    /// Does a policy let strangers in?
    Public(Option<PolicyType>),
    /// Which smaller policy means the same?
    Simplify(Option<PolicyType>),
    /// Does AWS accept the policy, and which findings does it have? Contains the type for lines that name none.
    Check(Option<PolicyType>),
    /// Which access does a change give and take? A line may have requests that are asked before and after.
    Diff(Option<PolicyType>),
}

/// The number of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// All lines.
    pub lines: u64,
    /// The unusable lines.
    pub unusable: u64,
}

/// Answers every line of `input`.
///
/// # Errors
/// When the input cannot be read, or the output cannot be written.
pub fn answer_all(question: Question, mut input: impl BufRead, mut output: impl Write) -> io::Result<Told> {
    let mut told = Told::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::Read::take(&mut input, LONGEST).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        told.lines += 1;
        let too_long = line.last() != Some(&b'\n') && line.len() as u64 == LONGEST;
        if too_long {
            input.skip_until(b'\n')?;
        }
        let is_first = told.lines == 1;
        let bytes = line.strip_prefix(BOM).filter(|_| is_first).unwrap_or(&line).trim_ascii_end();
        let answer = if too_long {
            Err(format!("the line has more than {LONGEST} bytes"))
        } else {
            std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8 text: {e}")).and_then(|l| answer(question, l))
        };
        if let Err(error) = &answer {
            told.unusable += 1;
            write_line(&mut output, &Unusable { id: id_of(bytes), error })?;
        } else if let Ok(answer) = &answer {
            output.write_all(answer)?;
        }
    }
    output.flush()?;
    Ok(told)
}

fn write_line(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    output.write_all(b"\n")
}

#[derive(Serialize)]
struct Unusable<'a> {
    id: Option<Box<RawValue>>,
    error: &'a str,
}

/// Returns the id of a line, even if the rest of the line is invalid.
fn id_of(line: &[u8]) -> Option<Box<RawValue>> {
    let mut found = None;
    let text = String::from_utf8_lossy(line);
    let mut reader = serde_json::Deserializer::from_str(&text);
    // The error of the line was already reported.
    let _ = reader.deserialize_map(FirstId(&mut found));
    found
}

/// Keeps the first `id` of an object.
struct FirstId<'f>(&'f mut Option<Box<RawValue>>);

impl<'de> Visitor<'de> for FirstId<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<str>>()? {
            if name == "id" {
                *self.0 = Some(members.next_value()?);
                return Ok(());
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// The id of a line; other fields are ignored.
#[derive(Deserialize)]
struct LineId<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// Answers one line. The result ends with a newline.
fn answer(question: Question, line: &str) -> Result<Vec<u8>, String> {
    if !line.trim_start().starts_with('{') {
        return Err("a line is one JSON object".into());
    }
    let id = read::<LineId>(line)?.id;
    let mut out = Vec::with_capacity(128);
    let written = match question {
        Question::Eval => {
            let asked: RequestCase = read(line)?;
            let policies = Policies::read(&read(line)?)?;
            let request = asked.request.request()?;
            let set = policies.set_for(&request);
            write_line(&mut out, &Decided::new(id, &evaluate(&request, &set)))
        }
        Question::Equal => {
            let pair: Pair = read(line)?;
            // Documents with placeholders can be compared too.
            let a = policy(pair.a).map_err(|e| format!("`a`: {e}"))?;
            let b = policy(pair.b).map_err(|e| format!("`b`: {e}"))?;
            write_line(&mut out, &Compared::new(id, &compare(&a, &b)))
        }
        Question::Implies(kind) => {
            let pair: CandidatePair = read(line)?;
            let kind = kind_of_line(pair.kind.as_deref(), kind)?;
            let reference = document("reference", pair.reference, kind)?;
            let candidate = document("candidate", pair.candidate, kind)?;
            let found = FoundAccess::new(id, &gains(&reference, &candidate, ""));
            write_line(&mut out, &Implied { implied: found.some.map(|some| !some), asked: found })
        }
        Question::Grants(kind) => {
            let asked: AskedAccess = read(line)?;
            let kind = kind_of_line(asked.kind.as_deref(), kind)?;
            let policy = document("policy", asked.policy, kind)?;
            let found = FoundAccess::new(id, &grants(&policy, &asked.actions, &asked.resources));
            write_line(&mut out, &Granted { granted: found.some, asked: found })
        }
        Question::Public(kind) => {
            let asked: AskedPolicy = read(line)?;
            let kind = kind_of_line(asked.kind.as_deref(), kind)?;
            let found = FoundAccess::new(id, &public(&document("policy", asked.policy, kind)?));
            write_line(&mut out, &PublicAnswer { public: found.some, asked: found })
        }
        Question::Simplify(kind) => {
            let asked: AskedPolicy = read(line)?;
            let kind = kind_of_line(asked.kind.as_deref(), kind)?;
            let policy = simplify(&document("policy", asked.policy, kind)?).to_value();
            write_line(&mut out, &Simplified { id, policy })
        }
        Question::Check(kind) => write_line(&mut out, &checked(id, &read(line)?, kind)?),
        Question::Diff(kind) => return changed(id, line, kind),
    };
    written.map_err(|e| e.to_string())?;
    Ok(out)
}

fn read<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => format!("not a case: {e}"),
        _ => format!("not JSON: {e}"),
    })
}

/// Returns the text of a policy, which a line contains as an object or as a string.
fn text(raw: &RawValue) -> Result<Cow<'_, str>, String> {
    if raw.get().starts_with('"') {
        return serde_json::from_str(raw.get()).map(Cow::Owned).map_err(|e| e.to_string());
    }
    Ok(Cow::Borrowed(raw.get()))
}

fn policy(raw: &RawValue) -> Result<Policy, String> {
    Policy::parse(&text(raw)?).map_err(|problems| first(&problems))
}

fn first(problems: &[ParseError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The request of a case.
#[derive(Deserialize)]
struct RequestCase<'a> {
    #[serde(borrow)]
    request: RequestInput<'a>,
}

#[derive(Deserialize)]
struct RequestInput<'a> {
    #[serde(borrow)]
    principal: Cow<'a, str>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    resource: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_account: Option<Cow<'a, str>>,
    #[serde(default)]
    context: Option<BTreeMap<String, serde_json::Value>>,
    /// The condition keys that may have any value, or `"*"` for all that `context` does not set.
    #[serde(default)]
    varies: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl RequestInput<'_> {
    fn request(&self) -> Result<Request, String> {
        let mut request = Request::new(&self.principal, &self.action, &self.resource);
        request.resource_account = self.resource_account.as_deref().map(ToOwned::to_owned);
        let varies = match &self.varies {
            None => Vec::new(),
            Some(OneOrMany::One(all)) if all == "*" => {
                request.context = RequestContext::open();
                Vec::new()
            }
            Some(OneOrMany::One(key)) => vec![key.as_str()],
            Some(OneOrMany::Many(keys)) => keys.iter().map(String::as_str).collect(),
        };
        for key in varies {
            request.context.set(key, ContextValue::Varies);
        }
        for (key, value) in self.context.iter().flatten() {
            request.context.set(key, context_value(key, value)?);
        }
        Ok(request)
    }
}

fn context_value(key: &str, value: &serde_json::Value) -> Result<ContextValue, String> {
    let scalar = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Ok(text.clone()),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Ok(value.to_string()),
        _ => Err(format!("the value of `{key}` in `context` is neither text nor a list of texts")),
    };
    match value {
        serde_json::Value::Array(values) => values.iter().map(scalar).collect::<Result<_, _>>().map(ContextValue::Many),
        value => scalar(value).map(ContextValue::One),
    }
}

/// The policies of a case, not yet parsed.
#[derive(Deserialize)]
struct RawPolicies<'a> {
    #[serde(borrow, default)]
    identity_policies: Option<Vec<RawNamedPolicy<'a>>>,
    #[serde(borrow, default)]
    resource_policy: Option<RawNamedPolicy<'a>>,
    /// The policy of the bucket behind an access point.
    #[serde(borrow, default)]
    bucket_policy: Option<RawNamedPolicy<'a>>,
    #[serde(borrow, default)]
    permission_boundaries: Option<Vec<RawNamedPolicy<'a>>>,
    #[serde(borrow, default)]
    session_policies: Option<Vec<RawNamedPolicy<'a>>>,
    #[serde(borrow, default)]
    scps: Option<Vec<Vec<RawNamedPolicy<'a>>>>,
    #[serde(borrow, default)]
    rcps: Option<Vec<Vec<RawNamedPolicy<'a>>>>,
    #[serde(borrow, default)]
    endpoint_policies: Option<Vec<RawNamedPolicy<'a>>>,
}

#[derive(Deserialize)]
struct RawNamedPolicy<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    policy: &'a RawValue,
    /// The name of the bucket, for the policy of a bucket behind an access point.
    #[serde(borrow, default)]
    bucket: Option<Cow<'a, str>>,
}

/// A policy with its name for reports.
pub(super) struct NamedPolicy {
    pub name: String,
    pub policy: Policy,
}

/// The parsed policies of a request.
#[derive(Default)]
pub(super) struct Policies {
    pub identity: Vec<NamedPolicy>,
    pub resource: Option<NamedPolicy>,
    /// The policy of the bucket behind an access point, and the bucket's name.
    pub bucket: Option<(String, NamedPolicy)>,
    pub boundaries: Vec<NamedPolicy>,
    pub session: Vec<NamedPolicy>,
    pub scps: Vec<Vec<NamedPolicy>>,
    pub rcps: Vec<Vec<NamedPolicy>>,
    pub endpoint: Vec<NamedPolicy>,
}

impl NamedPolicy {
    fn read(raw: &RawNamedPolicy) -> Result<Self, String> {
        let policy = policy(raw.policy).map_err(|e| format!("policy `{}`: {e}", raw.name))?;
        Ok(Self { name: raw.name.clone().into_owned(), policy })
    }

    fn attached(&self) -> Attached<'_> {
        Attached { name: &self.name, policy: &self.policy }
    }
}

impl Policies {
    fn read(raw: &RawPolicies) -> Result<Self, String> {
        let list = |raw: &Option<Vec<RawNamedPolicy>>| -> Result<Vec<NamedPolicy>, String> {
            raw.iter().flatten().map(NamedPolicy::read).collect()
        };
        let levels = |raw: &Option<Vec<Vec<RawNamedPolicy>>>| -> Result<Vec<Vec<NamedPolicy>>, String> {
            raw.iter().flatten().map(|level| level.iter().map(NamedPolicy::read).collect()).collect()
        };
        Ok(Self {
            identity: list(&raw.identity_policies)?,
            resource: raw.resource_policy.as_ref().map(NamedPolicy::read).transpose()?,
            bucket: raw.bucket_policy.as_ref().map(bucket_policy).transpose()?,
            boundaries: list(&raw.permission_boundaries)?,
            session: list(&raw.session_policies)?,
            scps: levels(&raw.scps)?,
            rcps: levels(&raw.rcps)?,
            endpoint: list(&raw.endpoint_policies)?,
        })
    }

    /// The policies for a request. Only one through an access point reaches a bucket.
    pub(super) fn set_for(&self, request: &Request) -> PolicySet<'_> {
        PolicySet { bucket: self.bucket_for(request), ..self.set() }
    }

    fn bucket_for(&self, request: &Request) -> Option<AccessPointBucket<'_>> {
        let (name, policy) = self.bucket.as_ref()?;
        Some(AccessPointBucket { resource: behind_access_point(request, name), policy: policy.attached() })
    }

    fn set(&self) -> PolicySet<'_> {
        PolicySet {
            bucket: None,
            identity: attached(&self.identity),
            resource: self.resource.as_ref().map(NamedPolicy::attached),
            boundaries: attached(&self.boundaries),
            session: attached(&self.session),
            scps: self.scps.iter().map(|level| attached(level)).collect(),
            rcps: self.rcps.iter().map(|level| attached(level)).collect(),
            endpoint: attached(&self.endpoint),
        }
    }
}

/// Reads the policy of the bucket behind an access point. The policy names its bucket, unless the case does. `null` is
/// a bucket without a policy.
fn bucket_policy(raw: &RawNamedPolicy) -> Result<(String, NamedPolicy), String> {
    let policy = match raw.policy.get() {
        "null" => NamedPolicy { name: raw.name.clone().into_owned(), policy: Policy::new(Version::V2012, []) },
        _ => NamedPolicy::read(raw)?,
    };
    let name = raw.bucket.as_deref().or_else(|| bucket_of(&policy.policy));
    let name = name.ok_or_else(|| format!("policy `{}` names no bucket: add `bucket`", raw.name))?.to_owned();
    Ok((name, policy))
}

fn attached(policies: &[NamedPolicy]) -> Vec<Attached<'_>> {
    policies.iter().map(NamedPolicy::attached).collect()
}

/// The published form of a decision.
#[derive(Serialize)]
pub(super) struct Decided<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    decision: &'static str,
    decisive: Vec<Decisive<'a>>,
    reason: String,
    /// The conditions of a `Conditional` decision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<String>,
    /// The same conditions, each with its statement.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<Depending<'a>>,
    /// The rules of AWS beyond the policy language that took part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<AppliedRule>,
}

#[derive(Serialize)]
struct Decisive<'a> {
    policy_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<usize>,
    policy: &'a str,
    index: usize,
    sid: Option<&'a str>,
}

/// A condition of a `Conditional` decision.
#[derive(Serialize)]
struct Depending<'a> {
    condition: String,
    /// Whether the request is allowed if the condition does not hold, because its statement denies.
    negated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<Decisive<'a>>,
}

impl<'a> Decisive<'a> {
    fn of(applied: &Applied<'a>) -> Self {
        Self {
            policy_type: applied.layer.as_str(),
            level: applied.layer.level(),
            policy: applied.policy,
            index: applied.statement.position(),
            sid: applied.statement.sid(),
        }
    }
}

impl<'a> Decided<'a> {
    pub(super) fn new(id: Option<&'a RawValue>, decision: &Decision<'a>) -> Self {
        let depending = |dependency: &Dependency<'a>| Depending {
            condition: dependency.on.to_string(),
            negated: dependency.is_negated(),
            statement: dependency.of.as_ref().map(Decisive::of),
        };
        let deciding = match decision.why {
            DecisionReason::Rule(rule) => Some(rule),
            _ => None,
        };
        Self {
            id,
            decision: decision.outcome.as_str(),
            decisive: decision.deciding().map(Decisive::of).collect(),
            reason: decision.reason(),
            conditions: decision.conditions.iter().map(condition).collect(),
            depends_on: decision.conditions.iter().map(depending).collect(),
            rules: decision.rules.iter().copied().chain(deciding).map(AppliedRule::from).collect(),
        }
    }
}

/// A condition as text. `not:` marks one that must not hold.
fn condition(dependency: &Dependency) -> String {
    if dependency.is_negated() { format!("not: {}", dependency.on) } else { dependency.on.to_string() }
}

/// Two policies to compare.
#[derive(Deserialize)]
struct Pair<'a> {
    #[serde(borrow)]
    a: &'a RawValue,
    #[serde(borrow)]
    b: &'a RawValue,
}

/// A policy and a reference.
#[derive(Deserialize)]
struct CandidatePair<'a> {
    #[serde(borrow)]
    reference: &'a RawValue,
    #[serde(borrow)]
    candidate: &'a RawValue,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

/// A policy to ask about.
#[derive(Deserialize)]
struct AskedPolicy<'a> {
    #[serde(borrow)]
    policy: &'a RawValue,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

/// A policy, and the access to ask about.
#[derive(Deserialize)]
struct AskedAccess<'a> {
    #[serde(borrow)]
    policy: &'a RawValue,
    #[serde(default)]
    actions: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

/// Returns the type with this name.
fn named(name: &str) -> Result<PolicyType, String> {
    PolicyType::named(name).ok_or_else(|| {
        format!("unknown policy type `{name}`; the types are {}", PolicyType::names().collect::<Vec<_>>().join(", "))
    })
}

/// Returns the type that a line names, or else the given one.
fn kind_of_line(name: Option<&str>, given: Option<PolicyType>) -> Result<Option<PolicyType>, String> {
    Ok(name.map(named).transpose()?.or(given))
}

/// Returns the policy in a field of a line, as AWS would accept it.
fn document(field: &str, raw: &RawValue, kind: Option<PolicyType>) -> Result<Policy, String> {
    accepted(kind, &text(raw)?).map_err(|problems| format!("`{field}`: {}", first(&problems)))
}

/// A document to check, or several that apply together.
#[derive(Deserialize)]
struct Submitted<'a> {
    #[serde(borrow, default)]
    policy_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    document: Option<&'a RawValue>,
    #[serde(borrow, default)]
    documents: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    parameters: Option<Parameters<'a>>,
}

/// Optional facts about the policy.
#[derive(Default, Deserialize)]
struct Parameters<'a> {
    #[serde(borrow, default)]
    account: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    bucket: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    applying: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct CheckAnswer<'a> {
    id: Option<&'a RawValue>,
    valid: bool,
    findings: Vec<&'static str>,
    /// The points on which AWS's pages disagree and that decide whether AWS accepts the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disagreements: Vec<AppliedRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn checked<'a>(
    id: Option<&'a RawValue>,
    asked: &Submitted<'a>,
    otherwise: Option<PolicyType>,
) -> Result<CheckAnswer<'a>, String> {
    let raws: Vec<&RawValue> = match (&asked.document, &asked.documents) {
        (Some(document), None) => vec![document],
        (None, Some(documents)) if !documents.is_empty() => documents.clone(),
        _ => return Err("the case has neither a `document` nor `documents`".into()),
    };
    let texts = raws.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let kind = match (asked.policy_type.as_deref(), otherwise) {
        (Some(name), _) => named(name)?,
        (None, Some(kind)) => kind,
        (None, None) => texts.first().map_or(PolicyType::of(crate::iam::PolicyKind::Identity), |text| kind_of(text)),
    };
    let parameters = asked.parameters.as_ref();
    let mut subject = Subject::of(kind.kind);
    subject.account = parameters.and_then(|p| p.account.as_deref());
    subject.bucket = parameters.and_then(|p| p.bucket.as_deref());
    subject.applying = parameters.and_then(|p| p.applying.as_deref());
    subject.place = kind.place;
    if parameters.and_then(|p| p.kind.as_deref()) == Some("managed") {
        subject.place = Some(PolicyPlace::ManagedPolicy);
    }
    let (mut problems, mut disputed) = (Vec::new(), BTreeSet::new());
    for text in &texts {
        match validate(kind.kind, text) {
            Ok(policy) => disputed.extend(disagreements(kind.kind, &policy)),
            Err(found) => problems.extend(found.into_iter().map(|problem| problem.to_string())),
        }
    }
    let disagreements = disputed.into_iter().map(AppliedRule::from).collect();
    let mut findings = Vec::new();
    for finding in lint_together(&texts, &subject) {
        if !findings.contains(&finding.check.code()) {
            findings.push(finding.check.code());
        }
    }
    let error = (!problems.is_empty()).then(|| problems.join("; "));
    Ok(CheckAnswer { id, valid: problems.is_empty(), findings, disagreements, error })
}

/// A change of one policy.
#[derive(Deserialize)]
struct DocumentChange<'a> {
    #[serde(borrow)]
    before: &'a RawValue,
    #[serde(borrow)]
    after: &'a RawValue,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

/// A change of all policies of requests, and the requests to ask before and after.
#[derive(Deserialize)]
struct PolicyChange<'a> {
    #[serde(borrow)]
    before: RawPolicies<'a>,
    #[serde(borrow)]
    after: RawPolicies<'a>,
    #[serde(borrow)]
    probes: Vec<Probe<'a>>,
}

#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow)]
    rid: &'a RawValue,
    #[serde(borrow)]
    request: RequestInput<'a>,
}

#[derive(Serialize)]
struct Changed<'a> {
    id: Option<&'a RawValue>,
    gained: Vec<&'a RawValue>,
    lost: Vec<&'a RawValue>,
}

/// Whether a line has probes.
#[derive(Deserialize)]
struct WithProbes {
    #[serde(default)]
    probes: Option<IgnoredAny>,
}

/// Answers a line of `policy diff`.
fn changed(id: Option<&RawValue>, line: &str, kind: Option<PolicyType>) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(256);
    let written = if read::<WithProbes>(line)?.probes.is_some() {
        write_line(&mut out, &probed(id, &read(line)?)?)
    } else {
        let change: DocumentChange = read(line)?;
        let kind = kind_of_line(change.kind.as_deref(), kind)?;
        let (before, after) = (document("before", change.before, kind)?, document("after", change.after, kind)?);
        let regions = regions_between(&before, &after);
        let open = regions.iter().flat_map(|(_, changes)| undecided(changes)).collect();
        let mut rows = rows(&regions);
        rows.retain(|row| row.change != Direction::Unknown);
        write_line(&mut out, &ChangedRows { id, rows, undecided: open })
    };
    written.map_err(|e| e.to_string())?;
    Ok(out)
}

fn probed<'a>(id: Option<&'a RawValue>, change: &PolicyChange<'a>) -> Result<Changed<'a>, String> {
    let before = Policies::read(&change.before).map_err(|e| format!("`before`: {e}"))?;
    let after = Policies::read(&change.after).map_err(|e| format!("`after`: {e}"))?;
    let (mut before, mut after) = ((&before, before.set()), (&after, after.set()));
    let (mut gained, mut lost) = (Vec::new(), Vec::new());
    for probe in &change.probes {
        let request = probe.request.request().map_err(|e| format!("probe {}: {e}", probe.rid))?;
        before.1.bucket = before.0.bucket_for(&request);
        after.1.bucket = after.0.bucket_for(&request);
        let allowed = |set: &PolicySet| evaluate(&request, set).is_allowed();
        match (allowed(&before.1), allowed(&after.1)) {
            (false, true) => gained.push(probe.rid),
            (true, false) => lost.push(probe.rid),
            _ => {}
        }
    }
    Ok(Changed { id, gained, lost })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(question: Question, input: &str) -> (String, Told) {
        let mut output = Vec::new();
        let told = answer_all(question, input.as_bytes(), &mut output).unwrap();
        (String::from_utf8(output).unwrap(), told)
    }

    const POLICY: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}"#;

    #[test]
    fn a_line_that_cannot_be_used_does_not_end_the_run() {
        let input = format!(
            "{{\"id\":1,\"a\":{POLICY},\"b\":{POLICY}}}\nrubbish\n\n{{\"id\":\"x\",\"a\":{POLICY}}}\n\
             {{\"id\":4,\"a\":{POLICY},\"b\":{{\"Statement\":[{{\"Effect\":\"allow\"}}]}}}}\n\
             {{\"id\":5,\"a\":{text},\"b\":{POLICY},\"equivalent\":true}}",
            text = serde_json::to_string(POLICY).unwrap(),
        );
        let (output, told) = answers(Question::Equal, &input);
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines.len(), 6, "{output}");
        assert_eq!(lines[0], r#"{"id":1,"equivalent":true}"#);
        assert_eq!(lines[1], r#"{"id":null,"error":"a line is one JSON object"}"#);
        assert!(lines[2].starts_with(r#"{"id":null,"error":"#), "{}", lines[2]);
        assert!(lines[3].starts_with(r#"{"id":"x","error":"not a case: missing field `b`"#), "{}", lines[3]);
        assert!(lines[4].starts_with(r#"{"id":4,"error":"`b`: "#), "{}", lines[4]);
        assert_eq!(lines[5], r#"{"id":5,"equivalent":true}"#);
        assert_eq!(told, Told { lines: 6, unusable: 4 });
    }

    #[test]
    fn a_line_is_named_by_its_id_even_if_it_is_broken() {
        let error = |line: &[u8]| {
            let mut output = Vec::new();
            answer_all(Question::Equal, line, &mut output).unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&output).unwrap();
            format!("{} {}", answer["id"], answer["error"].as_str().unwrap())
        };
        assert!(error(br#"{"id":"t","a":{"Version""#).starts_with(r#""t" not JSON: EOF"#));
        assert!(error(b"{\"a\":1,\"id\":7,\"b\":\"\xff\"}").starts_with("7 not UTF-8 text"));
        assert!(error(br#"{"id":1,"id":2}"#).starts_with("1 not a case: duplicate field `id`"));
        assert_eq!(error(b"[1]"), "null a line is one JSON object");
        let (output, _) = answers(Question::Equal, &format!("\u{feff}{{\"id\":1,\"a\":{POLICY},\"b\":{POLICY}}}\r\n"));
        assert_eq!(output, "{\"id\":1,\"equivalent\":true}\n");
    }

    #[test]
    fn a_decision_names_its_statement() {
        let case = |policy: &str, more: &str| {
            format!(
                "{{\"id\":\"a\",\"request\":{{\"principal\":\"arn:aws:iam::111111111111:role/r\",\"action\":\"s3:GetObject\",\
                 \"resource\":\"arn:aws:s3:::b/k\",\"resource_account\":\"111111111111\",\"context\":{{}}{more}}},\
                 \"identity_policies\":[{{\"name\":\"p\",\"policy\":{policy}}}],\"resource_policy\":null}}\n"
            )
        };
        let (output, _) = answers(Question::Eval, &case(POLICY, ""));
        assert_eq!(
            output,
            "{\"id\":\"a\",\"decision\":\"Allowed\",\"decisive\":[{\"policy_type\":\"identity\",\"policy\":\"p\",\"index\":1,\"sid\":null}],\
             \"reason\":\"every layer allows it\"}\n"
        );
        let when = r#"{"Version":"2012-10-17","Statement":[{"Sid":"S","Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}"#;
        let (output, _) = answers(Question::Eval, &case(when, ""));
        assert!(output.contains(r#""decision":"ImplicitlyDenied","decisive":[]"#), "{output}");
        let (output, _) = answers(Question::Eval, &case(when, r#","varies":["aws:SecureTransport"]"#));
        assert!(output.contains(r#""decision":"Conditional""#), "{output}");
        assert!(output.contains(r#""conditions":["aws:SecureTransport Bool `true`"]"#), "{output}");
    }

    #[test]
    fn a_decision_names_its_rules_and_the_statement_of_a_condition() {
        let case = |action: &str, resource: &str, more: &str| {
            format!(
                "{{\"id\":1,\"request\":{{\"principal\":\"arn:aws:iam::111111111111:user/ana\",\"action\":\"{action}\",\
                 \"resource\":\"{resource}\"}},\"identity_policies\":[{{\"name\":\"p\",\"policy\":{POLICY}}}]{more}}}\n"
            )
        };
        let decided =
            |line: &str| -> serde_json::Value { serde_json::from_str(&answers(Question::Eval, line).0).unwrap() };
        let answer = decided(&case("sts:GetCallerIdentity", "*", ""));
        assert_eq!((&answer["decision"], &answer["decisive"]), (&"Allowed".into(), &serde_json::json!([])));
        assert_eq!(answer["rules"][0]["rule"], "no-permission");
        assert!(answer["rules"][0]["page"].as_str().unwrap().contains("GetCallerIdentity"), "{answer}");
        let deny = r#"{"Version":"2012-10-17","Statement":{"Sid":"Vpce","Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-x"}}}}"#;
        let varies = case(
            "s3:GetObject",
            "arn:aws:s3:::b/k",
            &format!(",\"resource_policy\":{{\"name\":\"b\",\"policy\":{deny}}}"),
        )
        .replace("b/k\"", "b/k\",\"varies\":\"*\"");
        let answer = decided(&varies);
        assert_eq!(answer["conditions"], serde_json::json!(["not: aws:SourceVpce StringNotEquals `vpce-x`"]));
        assert_eq!(
            answer["depends_on"],
            serde_json::json!([{
                "condition": "aws:SourceVpce StringNotEquals `vpce-x`",
                "negated": true,
                "statement": {"policy_type": "resource", "policy": "b", "index": 1, "sid": "Vpce"},
            }])
        );
    }

    #[test]
    fn bucket_behind_an_access_point_is_asked_too() {
        let point = "arn:aws:s3:eu-west-1:111111111111:accesspoint/p/object/k";
        let all = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
        let decision = |bucket: &str| {
            let line = format!(
                "{{\"request\":{{\"principal\":\"arn:aws:iam::111111111111:user/ana\",\"action\":\"s3:GetObject\",\
                 \"resource\":\"{point}\"}},\"identity_policies\":[{{\"policy\":{all}}}]{bucket}}}\n"
            );
            let answer: serde_json::Value = serde_json::from_str(&answers(Question::Eval, &line).0).unwrap();
            answer["decision"].as_str().or(answer["error"].as_str()).unwrap().to_owned()
        };
        let deny = all.replace("Allow", "Deny").replace("\"Action\"", "\"Principal\":\"*\",\"Action\"");
        let on = deny.replace("\"Resource\":\"*\"", "\"Resource\":\"arn:aws:s3:::b/*\"");
        assert_eq!(decision(""), "Conditional");
        assert_eq!(decision(r#","bucket_policy":{"bucket":"b","policy":null}"#), "Allowed");
        assert_eq!(decision(&format!(",\"bucket_policy\":{{\"policy\":{on}}}")), "ExplicitlyDenied");
        assert_eq!(decision(&format!(",\"bucket_policy\":{{\"bucket\":\"c\",\"policy\":{on}}}")), "Allowed");
        assert_eq!(
            decision(&format!(",\"bucket_policy\":{{\"policy\":{deny}}}")),
            "policy `` names no bucket: add `bucket`"
        );
    }

    #[test]
    fn a_check_names_the_points_on_which_the_documentation_disagrees() {
        let line = r#"{"policy_type":"identity","document":{"Version":"2012-10-17","Statement":{"Sid":"read_only","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}}"#;
        let (output, _) = answers(Question::Check(None), &format!("{line}\n"));
        assert!(output.contains(r#""valid":true"#) && output.contains(r#""rule":"underscore-in-sid""#), "{output}");
    }

    #[test]
    fn a_check_finds_errors_that_only_the_text_shows() {
        let twice = r#"{"id":1,"policy_type":"identity","document":{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}}"#;
        let unknown = r#"{"id":2,"policy_type":"poem","document":{}}"#;
        let (output, told) = answers(Question::Check(None), &format!("{twice}\n{unknown}\n"));
        let lines: Vec<&str> = output.lines().collect();
        assert!(lines[0].starts_with(r#"{"id":1,"valid":false,"findings":["syntax-error"],"error":"#), "{output}");
        assert!(lines[1].starts_with(r#"{"id":2,"error":"unknown policy type `poem`"#), "{output}");
        assert_eq!(told.unusable, 1);
    }

    #[test]
    fn line_without_a_type_uses_the_given_one() {
        let document = r#""document":{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}"#;
        let lines = format!("{{\"id\":1,{document}}}\n{{\"id\":2,\"policy_type\":\"identity\",{document}}}\n");
        let valid = |kind: Option<&str>| -> Vec<bool> {
            let (output, _) = answers(Question::Check(kind.and_then(PolicyType::named)), &lines);
            output.lines().map(|line| line.contains(r#""valid":true"#)).collect()
        };
        assert_eq!(valid(None), [true, true]);
        assert_eq!(valid(Some("trust")), [false, true], "a trust policy needs a principal");
    }

    #[test]
    fn probes_show_which_requests_a_change_gains_and_loses() {
        let probe = |rid: &str, key: &str| {
            format!(
                "{{\"rid\":\"{rid}\",\"request\":{{\"principal\":\"arn:aws:iam::111111111111:role/r\",\"action\":\"s3:GetObject\",\
                 \"resource\":\"arn:aws:s3:::{key}\",\"resource_account\":\"111111111111\"}}}}"
            )
        };
        let side = |bucket: &str| {
            format!("{{\"identity_policies\":[{{\"name\":\"p\",\"policy\":{}}}]}}", POLICY.replace(":::b/", bucket))
        };
        let line = format!(
            "{{\"id\":7,\"before\":{},\"after\":{},\"probes\":[{},{},{}]}}\n",
            side(":::a/"),
            side(":::b/"),
            probe("r0", "a/k"),
            probe("r1", "b/k"),
            probe("r2", "c/k"),
        );
        assert_eq!(answers(Question::Diff(None), &line).0, "{\"id\":7,\"gained\":[\"r1\"],\"lost\":[\"r0\"]}\n");
    }
}
