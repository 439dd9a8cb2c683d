//! What the policies of a plan mean: every trust, identity, bucket and key policy that the spec asks for is looked at,
//! and with a snapshot the statements of others in documents that are shared with them.
//!
//! The codes are those of [`crate::iam::Check`]. What a single document cannot tell, the spec does: accounts that it
//! names are not foreign, a document of which only our part is known is not judged as a whole, a permissions boundary
//! gives nothing, and what others wrote cannot be mended by our spec.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::{Context, Finding, Rule, body_seen, foreign, sent};
use crate::address::{Address, Scope};
use crate::diagnostic::{Area, Code, Severity, SourceRef};
use crate::document::Digest;
use crate::iam::{self, Check, Policy, PolicyKind, Principal, Selector, Statement, Subject, lint_together};
use crate::kind::Resource;
use crate::spec::{RawPolicy, TrustSpec};

/// What was found in policies, so that those that are checked again when the world has been looked at are not judged again.
#[derive(Debug, Default)]
pub struct Lints(RefCell<HashMap<Digest, Rc<[iam::Finding]>>>);

impl Lints {
    /// As [`lint_together`].
    fn of(&self, texts: &[&str], subject: &Subject<'_>) -> Rc<[iam::Finding]> {
        let key = Digest::of(format!("{texts:?} {subject:?}").as_bytes());
        self.0.borrow_mut().entry(key).or_insert_with(|| lint_together(texts, subject).into()).clone()
    }
}

/// Looks at every policy.
pub(super) struct Lint;

impl Rule for Lint {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let mut seen = BTreeSet::new();
        for group in groups(context) {
            for finding in group.findings(context) {
                let key = (finding.code, finding.address.clone(), finding.source.clone(), finding.message.clone());
                if seen.insert(key) {
                    findings.push(finding);
                }
            }
        }
    }
}

/// One policy with what is known about it.
struct Looked<'a> {
    resource: &'a Resource,
    policy: Policy,
    /// The statements of others in it.
    foreign: Vec<Statement>,
    /// Where in the spec its statements may have been written.
    written: Vec<(Vec<String>, &'a RawPolicy)>,
}

/// Policies that are in force together.
struct Group<'a> {
    kind: PolicyKind,
    /// Whether all of the documents is known.
    whole: bool,
    /// Whose documents, and the field that each is in. They are read when their turn comes.
    documents: Vec<(&'a Resource, &'static str)>,
}

fn groups<'a>(context: &Context<'a>) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    let mut identity: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
    let policies: BTreeMap<&str, &Resource> =
        of_kind(context, "aws.iam.policy").map(|r| (r.wish.physical_id.as_str(), r)).collect();
    for policy in of_kind(context, "aws.iam.role_policy") {
        identity.entry(role_of(policy)).or_default().push(policy);
    }
    let mut attached: BTreeSet<String> = BTreeSet::new();
    for attachment in of_kind(context, "aws.iam.role_policy_attachment") {
        let arn = text(attachment, "policy_arn");
        if let Some(policy) = policies.get(arn.as_str()) {
            attached.insert(arn);
            identity.entry(role_of(attachment)).or_default().push(policy);
        }
    }
    let boundaries: BTreeSet<String> =
        of_kind(context, "aws.iam.role").map(|role| text(role, "permissions_boundary")).collect();
    let alone = |kind, resource, field| Group { kind, whole: true, documents: vec![(resource, field)] };
    for (arn, policy) in policies.iter().filter(|(arn, _)| !attached.contains(**arn)) {
        let kind = if boundaries.contains(*arn) { PolicyKind::Boundary } else { PolicyKind::Identity };
        groups.push(alone(kind, policy, "document"));
    }
    for resources in identity.into_values() {
        let documents = resources.into_iter().map(|r| (r, "document")).collect();
        groups.push(Group { kind: PolicyKind::Identity, whole: true, documents });
    }
    for role in of_kind(context, "aws.iam.role") {
        groups.push(alone(PolicyKind::Trust, role, "trust"));
    }
    for (kind, name) in [(PolicyKind::Bucket, "aws.s3.bucket_policy"), (PolicyKind::Key, "aws.kms.key_policy")] {
        for resource in of_kind(context, name) {
            let exclusive = resource.wish.body.field("exclusive").unwrap_or(false);
            let whole = exclusive || body_seen(context, &resource.address).is_some();
            groups.push(Group { whole, ..alone(kind, resource, "statements") });
        }
    }
    groups
}

fn of_kind<'a>(context: &Context<'a>, kind: &'static str) -> impl Iterator<Item = &'a Resource> + use<'a> {
    context.desired.resources.values().map(AsRef::as_ref).filter(move |r| r.address.kind().as_str() == kind)
}

fn text(resource: &Resource, field: &str) -> String {
    resource.wish.body.field(field).unwrap_or_default()
}

/// A role's name with its account, for one body names the role and another is the role.
fn role_of(resource: &Resource) -> String {
    format!("{} {}", account_of(resource).unwrap_or_default(), text(resource, "role"))
}

fn account_of(resource: &Resource) -> Option<&str> {
    match &resource.wish.scope {
        Scope::Account { id, .. } => Some(&id.0),
        Scope::Cluster { .. } => None,
    }
}

impl<'a> Looked<'a> {
    fn new(context: &Context<'a>, resource: &'a Resource, field: &str) -> Option<Self> {
        let own: Policy = resource.wish.body.field(field)?;
        let foreign = foreign(context, resource);
        let policy = foreign.as_ref().map_or_else(|| own.clone(), |foreign| own.merge(foreign));
        let foreign = policy.statements().iter().filter(|s| !own.statements().contains(s)).cloned().collect();
        (!policy.is_empty()).then(|| Self { resource, policy, foreign, written: written(context, &resource.address) })
    }

    /// The place of an element of a statement in the spec: where it was written in a raw document, or else the entry
    /// that leads to it.
    fn place(&self, context: &Context<'_>, statement: Option<&Statement>, element: &str) -> Option<SourceRef> {
        let entry = || self.resource.wish.source.clone();
        let Some(statement) = statement else { return entry() };
        for (path, raw) in &self.written {
            let Ok(policy) = raw.parse() else { continue };
            let Some(same) = policy.statements().iter().find(|s| *s == statement) else { continue };
            let mut path: Vec<&str> = path.iter().map(String::as_str).collect();
            path.push("Statement");
            let index = (same.position().saturating_sub(1)).to_string();
            if raw.0.get("Statement").is_some_and(serde_json::Value::is_array) {
                path.push(&index);
            }
            // A condition key may have slashes of its own.
            path.extend(element.splitn(3, '/').filter(|step| !step.is_empty()));
            return context.spec.source(&path);
        }
        self.trusted(context, statement).or_else(entry)
    }

    /// The entry of a role's `trust` that a statement was made from.
    fn trusted(&self, context: &Context<'_>, statement: &Statement) -> Option<SourceRef> {
        let key = self.resource.address.name();
        let role = context.spec.roles.get(key).filter(|_| self.resource.address.kind().as_str() == "aws.iam.role")?;
        let names = |wanted: &str| {
            statement.principal().into_iter().flat_map(Selector::values).any(|principal| match principal {
                Principal::Account(text) | Principal::Aws(text) | Principal::Service(text) => text.as_ref() == wanted,
                _ => false,
            })
        };
        let n = role.trust.iter().position(|trust| match trust {
            TrustSpec::Account(name) => {
                names(context.spec.accounts.get(name).map_or(name.as_str(), |account| account.id.0.as_str()))
            }
            TrustSpec::Role(name) => {
                names(&context.spec.roles.get(name).map_or_else(|| name.clone(), |role| role.arn(context.spec)))
            }
            TrustSpec::Service(name) => names(name),
            TrustSpec::ServiceAccount(_) | TrustSpec::Policy(_) => false,
        })?;
        context.spec.source(&["roles", key, "trust", &n.to_string()])
    }
}

/// The raw documents of the spec that go into a resource, each with its path.
fn written<'a>(context: &Context<'a>, address: &Address) -> Vec<(Vec<String>, &'a RawPolicy)> {
    let path = |steps: &[&str]| steps.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let name = address.name();
    match address.kind().as_str() {
        "aws.iam.policy" => {
            let policy = context.spec.policies.get(name);
            policy.map(|p| (path(&["policies", name, "document"]), &p.document)).into_iter().collect()
        }
        "aws.iam.role_policy" => name
            .split_once('/')
            .and_then(|(role, inline)| {
                let raw = context.spec.roles.get(role)?.inline.get(inline)?;
                Some((path(&["roles", role, "inline", inline]), raw))
            })
            .into_iter()
            .collect(),
        "aws.iam.role" => context
            .spec
            .roles
            .get(name)
            .into_iter()
            .flat_map(|role| role.trust.iter().enumerate())
            .filter_map(|(n, trust)| match trust {
                TrustSpec::Policy(raw) => Some((path(&["roles", name, "trust", &n.to_string(), "policy"]), raw)),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

impl Group<'_> {
    fn findings(&self, context: &Context<'_>) -> Vec<Finding> {
        let Some((first, _)) = self.documents.first() else { return Vec::new() };
        // They are read as policies only when something is found in them.
        let texts = self.documents.iter().map(|(r, field)| sent(r, field, foreign(context, r).as_ref()));
        let texts: Vec<_> = texts.map(Option::unwrap_or_default).collect();
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let applying = match &first.wish.scope {
            Scope::Account { account, .. } => {
                context.spec.accounts.get(account).and_then(|a| a.role_chain().pop()).map(|step| step.role)
            }
            Scope::Cluster { .. } => None,
        };
        let subject = Subject {
            account: account_of(first),
            bucket: (self.kind == PolicyKind::Bucket).then_some(first.wish.physical_id.as_str()),
            applying: applying.as_deref(),
            ..Subject::of(self.kind)
        };
        let found = context.lints.of(&texts, &subject);
        if found.is_empty() {
            return Vec::new();
        }
        let documents: Vec<_> = self.documents.iter().map(|(r, field)| Looked::new(context, r, field)).collect();
        let looked = |found: &iam::Finding| documents.get(found.document).and_then(Option::as_ref);
        found.iter().filter_map(|found| self.told(context, looked(found)?, found)).collect()
    }

    /// A finding as it is told about the plan, if it says anything there.
    fn told(&self, context: &Context<'_>, looked: &Looked<'_>, found: &iam::Finding) -> Option<Finding> {
        let statement = found.statement.and_then(|n| looked.policy.statements().get(n.checked_sub(1)?));
        let foreign = statement.is_some_and(|s| looked.foreign.contains(s));
        let severity = self.severity(context, found, statement)?;
        let severity = if foreign { severity.min(Severity::Warning) } else { severity };
        let detail = if found.detail.is_empty() { String::new() } else { format!(": {}", found.detail) };
        let whose = match (statement.and_then(Statement::sid), foreign) {
            (Some(sid), true) => format!(" (statement `{sid}` of others)"),
            (None, true) => " (a statement of others)".to_owned(),
            (Some(sid), false) => format!(" (statement `{sid}`)"),
            (None, false) => String::new(),
        };
        Some(Finding {
            code: found.check.into(),
            severity,
            message: format!("{}: {}{detail}{whose}", looked.resource.address, found.check.meaning()),
            address: Some(looked.resource.address.clone()),
            source: looked.place(context, statement.filter(|_| !foreign), &found.element),
            help: Some(found.check.hint().to_owned()),
            accepted: None,
        })
    }

    /// How much a finding matters here; nothing if it does not apply.
    fn severity(&self, context: &Context<'_>, found: &iam::Finding, statement: Option<&Statement>) -> Option<Severity> {
        let code = Code::from(found.check);
        match found.check {
            // `policy-over-quota` counts the documents of a role together, and says what to do in words of the spec.
            Check::SizeQuota => return None,
            // Only the owners of the whole document can say.
            Check::S3NoTlsDeny | Check::ResourceLockout if statement.is_none() && !self.whole => return None,
            // Worth having, and not ours to demand of a bucket that we only grant access to.
            Check::S3NoTlsDeny => return Some(Severity::Info),
            Check::ResourceCrossAccount => {
                let account = found.detail.trim_matches('`');
                if context.spec.accounts.values().any(|a| a.id.0 == account) {
                    return None;
                }
            }
            Check::ConditionUnknownKey if OF_KEYS.iter().any(|key| found.element.ends_with(key)) => return None,
            Check::ServicePrincipalNoSource if statement.is_some_and(names_cluster) => return None,
            // A boundary limits; what it names is given by others.
            _ if self.kind == PolicyKind::Boundary && code.area() == Area::Identity => return None,
            _ => {}
        }
        Some(Code::from(found.check).severity())
    }
}

/// Condition keys that every action on a KMS key has by its resource type and not by itself.
///
/// Source: Service Authorization Reference, "Resource types defined by AWS Key Management Service".
const OF_KEYS: [&str; 6] = [
    "kms:KeyOrigin",
    "kms:KeySpec",
    "kms:KeyUsage",
    "kms:MultiRegion",
    "kms:MultiRegionKeyType",
    "kms:ResourceAliases",
];

/// Whether a trust of EKS Pod Identity names the cluster, which is its source. Without session tags it cannot.
///
/// Source: EKS User Guide, "Grant pods access to AWS resources based on tags".
fn names_cluster(statement: &Statement) -> bool {
    statement.conditions().iter().any(|condition| {
        let operator = condition.operator();
        condition.key().as_str().eq_ignore_ascii_case("aws:RequestTag/eks-cluster-arn")
            && operator.test == iam::Test::StringEquals
            && operator.qualifier.is_none()
            && !operator.if_exists
    })
}

#[cfg(test)]
mod tests;
