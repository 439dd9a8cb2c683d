//! Lints every policy of a plan: the desired trust, identity, bucket and key policies, and, with a snapshot, the
//! statements of others in shared documents.
//!
//! The codes are those of [`crate::iam::Check`]. The spec adds context that a single document lacks: its accounts are
//! not foreign, a partly known document is not judged as a whole, a permissions boundary grants nothing, and the
//! statements of others cannot be fixed in the spec.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::context::{Context, PlanRule};
use crate::access::{Facet, PolicyText, ResourcePolicy, RoleRef, own_sid};
use crate::diagnostic::{Code, CodeGroup, Diagnostic, Severity, SourceRef};
use crate::document::Digest;
use crate::iam::{self, Check, Policy, PolicyKind, Statement, Subject};
use crate::kind::Resource;

/// Lints every policy.
pub(super) struct Lint;

impl PlanRule for Lint {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Diagnostic>) {
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

/// A parsed policy, with the statements of others apart.
struct Looked<'a> {
    resource: &'a Resource,
    policy: Policy,
    /// The statements of others in the policy.
    foreign: Vec<Statement>,
}

/// A document of a group as it would be sent. It is parsed only if something is found in it.
struct JudgedDocument<'a> {
    resource: &'a Resource,
    own: PolicyText<'a>,
    others: Option<Policy>,
}

/// Policies that apply together.
struct PolicyGroup<'a> {
    kind: PolicyKind,
    /// The id of the account that owns them, if known.
    account: Option<Cow<'a, str>>,
    /// Whether the documents are known completely.
    whole: bool,
    documents: Vec<JudgedDocument<'a>>,
}

fn groups<'a>(context: &Context<'a>) -> Vec<PolicyGroup<'a>> {
    let facets = context.desired.resources.values().map(|resource| (&**resource, context.facet(resource)));
    let facets: Vec<(&'a Resource, Facet<'a>)> = facets.collect();
    let policies = managed_policies(&facets);
    let (mut groups, mut trusts, mut resources) = (Vec::new(), Vec::new(), Vec::new());
    let mut identity: BTreeMap<RoleRef, (Vec<JudgedDocument>, Vec<JudgedDocument>)> = BTreeMap::new();
    let (mut attached, mut boundaries) = (BTreeSet::new(), BTreeSet::new());
    for (resource, facet) in facets {
        match facet {
            Facet::InlinePolicy { role, document: Some(own), .. } => {
                identity.entry(role).or_default().0.push(JudgedDocument { resource, own, others: None });
            }
            Facet::Attachment { role, policy } => {
                if let Some((resource, own)) = policies.get(policy.as_str()).copied() {
                    attached.insert(policy);
                    identity.entry(role).or_default().1.push(JudgedDocument { resource, own, others: None });
                }
            }
            Facet::Role { trust, boundary, .. } => {
                trusts.extend(trust.map(|trust| PolicyGroup::of_one(PolicyKind::Trust, resource, trust)));
                boundaries.extend(boundary);
            }
            Facet::Resource(policy) => resources.push(PolicyGroup::of_resource(context, resource, &policy)),
            Facet::None
            | Facet::InlinePolicy { document: None, .. }
            | Facet::ManagedPolicy { .. }
            | Facet::Provider { .. }
            | Facet::PodBinding(_)
            | Facet::ServiceAccount { .. }
            | Facet::ClusterAccess(_)
            | Facet::Bucket { .. } => {}
        }
    }
    for (arn, (policy, own)) in policies.iter().filter(|(arn, _)| !attached.contains(**arn)) {
        let kind = if boundaries.contains(*arn) { PolicyKind::Boundary } else { PolicyKind::Identity };
        groups.push(PolicyGroup::of_one(kind, policy, *own));
    }
    for (role, (inline, managed)) in identity {
        let documents = inline.into_iter().chain(managed).collect();
        let account = Some(role.account.into());
        groups.push(PolicyGroup { kind: PolicyKind::Identity, account, whole: true, documents });
    }
    groups.extend(trusts);
    groups.extend(resources);
    groups
}

/// The managed policies with known documents, by ARN.
fn managed_policies<'a>(facets: &[(&'a Resource, Facet<'a>)]) -> BTreeMap<&'a str, (&'a Resource, PolicyText<'a>)> {
    facets
        .iter()
        .filter_map(|(resource, facet)| match facet {
            Facet::ManagedPolicy { arn, document } => Some((*arn, (*resource, (*document)?))),
            _ => None,
        })
        .collect()
}

impl<'a> Looked<'a> {
    fn new(held: &JudgedDocument<'a>) -> Option<Self> {
        let own = held.own.parse()?;
        let policy = held.others.as_ref().map_or_else(|| own.clone(), |others| own.merge(others));
        let foreign = policy.statements().iter().filter(|s| !own.statements().contains(s)).cloned().collect();
        (!policy.is_empty()).then_some(Self { resource: held.resource, policy, foreign })
    }

    /// The place of an element of a statement: where it is written in the spec, or else the entry from which it
    /// derives.
    fn place(&self, context: &Context<'_>, statement: Option<&Statement>, element: &str) -> Option<SourceRef> {
        let address = &self.resource.address;
        let written = statement.zip(context.kinds.get(address.kind()));
        let written = written.and_then(|(s, kind)| kind.written(context.spec, address.name(), s, element));
        written.or_else(|| self.resource.source.clone())
    }
}

impl<'a> PolicyGroup<'a> {
    /// A completely known policy that applies alone.
    fn of_one(kind: PolicyKind, resource: &'a Resource, own: PolicyText<'a>) -> Self {
        let account = resource.scope.owner.as_deref().map(Cow::Borrowed);
        Self { kind, account, whole: true, documents: vec![JudgedDocument { resource, own, others: None }] }
    }

    /// The policy of a resource, including the statements of others.
    fn of_resource(context: &Context<'a>, resource: &'a Resource, policy: &ResourcePolicy<'a>) -> Self {
        let whole = policy.exclusive || context.seen(resource).is_some();
        let others = context.others(resource, policy);
        let documents = policy.ours.into_iter().map(|own| JudgedDocument { resource, own, others: others.clone() });
        // The kind provides the owner, because a scope need not be an account.
        let account = Some(policy.account.clone().into());
        Self { kind: policy.kind, account, whole, documents: documents.collect() }
    }

    fn findings(&self, context: &Context<'_>) -> Vec<Diagnostic> {
        let Some(first) = self.documents.first().map(|held| held.resource) else { return Vec::new() };
        // The texts are parsed only if something is found in them.
        let texts = self.documents.iter().map(|held| held.own.sent(held.others.as_ref()));
        let texts: Vec<_> = texts.map(Option::unwrap_or_default).collect();
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let account = &first.scope.key;
        let applying = context.spec.accounts.get(account).and_then(|a| a.role_chain().pop()).map(|step| step.role);
        let subject = Subject {
            account: self.account.as_deref(),
            bucket: (self.kind == PolicyKind::Bucket).then_some(first.physical_id.as_str()),
            applying: applying.as_deref(),
            ..Subject::of(self.kind)
        };
        let found = context.lints.findings(&texts, &subject);
        if found.is_empty() {
            return Vec::new();
        }
        let documents: Vec<_> = self.documents.iter().map(Looked::new).collect();
        let looked = |found: &iam::Finding| documents.get(found.document).and_then(Option::as_ref);
        found.iter().filter_map(|found| self.told(context, looked(found)?, found)).collect()
    }

    /// The finding as a diagnostic of the plan, if it applies here.
    fn told(&self, context: &Context<'_>, looked: &Looked<'_>, found: &iam::Finding) -> Option<Diagnostic> {
        let statement = found.statement.and_then(|n| looked.policy.statements().get(n.checked_sub(1)?));
        let foreign = statement.is_some_and(|s| looked.foreign.contains(s));
        let severity = self.severity(context, found, statement)?;
        let severity = if foreign { severity.min(Severity::Warning) } else { severity };
        let detail = if found.detail.is_empty() { String::new() } else { format!(": {}", found.detail) };
        let whose = match (statement.and_then(Statement::sid), foreign) {
            (Some(sid), true) => format!(" (statement `{sid}`, not managed by Bailiwick)"),
            (None, true) => " (a statement that Bailiwick does not manage)".to_owned(),
            (Some(sid), false) => format!(" (statement `{sid}`)"),
            (None, false) => String::new(),
        };
        let message = format!("{}: {}{detail}{whose}", looked.resource.address, found.check.meaning());
        let mut finding = Diagnostic::new(found.check.into(), message)
            .severity(severity)
            .about(&looked.resource.address)
            .at(looked.place(context, statement.filter(|_| !foreign), &found.element))
            .help(found.check.hint());
        if let Some(statement) = statement.filter(|_| foreign) {
            let digest = digest(statement);
            finding = finding.help(format!(
                "{}; an `accept` entry with `statement: \"{digest}\"` hides this until the statement changes",
                found.check.hint()
            ));
            finding.foreign_statement = Some(digest);
        }
        Some(finding)
    }

    /// The severity of a finding in this context; `None` if it does not apply.
    fn severity(&self, context: &Context<'_>, found: &iam::Finding, statement: Option<&Statement>) -> Option<Severity> {
        let code = Code::from(found.check);
        match found.check {
            // Bailiwick writes one statement per grant, so that each grant can be removed by itself.
            Check::Redundant if statement.is_some_and(|s| own_sid(&context.spec.project, s)) => return None,
            // `policy-over-quota` adds up the documents of a role and suggests changes to the spec.
            Check::SizeQuota => return None,
            // Only the owner of the whole document can judge this.
            Check::S3NoTlsDeny | Check::ResourceLockout if statement.is_none() && !self.whole => return None,
            // Recommended, but not an obligation for a bucket to which the project only grants access.
            Check::S3NoTlsDeny => return Some(Severity::Info),
            Check::ResourceCrossAccount => {
                let account = found.detail.trim_matches('`');
                if context.spec.accounts.values().any(|a| a.id.0 == account) {
                    return None;
                }
            }
            Check::ServicePrincipalNoSource if statement.is_some_and(names_cluster) => return None,
            // A boundary limits access. Other policies give it.
            _ if self.kind == PolicyKind::Boundary && code.group() == CodeGroup::Identity => return None,
            _ => {}
        }
        Some(found.severity.into())
    }
}

/// A short digest of a statement's canonical form, by which users accept findings in statements of others.
fn digest(statement: &Statement) -> String {
    let digest = Digest::of(statement.to_value().to_string().as_bytes()).to_string();
    digest.rsplit(':').next().unwrap_or_default().chars().take(12).collect()
}

/// Whether a trust of EKS Pod Identity restricts the cluster, which is its source. Without session tags it cannot.
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
