//! The first steps of chains: how pods get a role.

use std::collections::BTreeSet;

use super::chains::{AccessChain, AssumedStep, BrokenChain};
use super::nodes::WorldRole;
use super::policies::{anyone, caller_gaps, policies, statement_of, unsettled};
use super::{Association, Pod, World, WorldCluster};
use crate::access::broken::{Break, Broken, Denial, Fix};
use crate::access::terms::{ChainStep, Trusted};
use crate::access::unread::Unread;
use crate::iam::{Attached, ContextValue, Policy, Request, RequestContext, Statement, evaluate};

impl World {
    /// The credentials that a service account's pods get.
    ///
    /// The SDKs' credential chains try a web identity token before Pod Identity.
    /// Source: EKS User Guide, "Using a supported AWS SDK" of EKS Pod Identities.
    pub(super) fn pod(&self, pod: &Pod) -> Result<AccessChain, BrokenChain> {
        let ways = self.pods.get(pod);
        if let Some((arn, assumed)) = ways.and_then(|ways| Some((ways.annotation.as_deref()?, ways.assumed))) {
            let mut chain = self.annotated(pod, arn)?;
            if assumed {
                let Pod { cluster, namespace, name } = pod.clone();
                chain.unread.insert(Unread::Annotations { cluster, namespace, name });
            }
            return Ok(chain);
        }
        if let Some(association) = ways.and_then(|ways| ways.association.as_ref()) {
            return self.associated(pod, association);
        }
        let why = Break::NoRole { namespace: pod.namespace.clone(), name: pod.name.clone() };
        Err((Vec::new(), Broken { why, fix: Fix::GiveRole }))
    }

    fn annotated(&self, pod: &Pod, arn: &str) -> Result<AccessChain, BrokenChain> {
        let Pod { namespace, name, .. } = pod.clone();
        let mut steps = vec![ChainStep::Annotation { namespace, name, role_arn: arn.to_owned() }];
        let fail = |steps: Vec<ChainStep>, why: Break, fix: Fix| Err((steps, Broken { why, fix }));
        let Some(role) = self.roles.get(arn) else {
            let why = Break::RoleMissing { role_arn: arn.to_owned(), target: false };
            return fail(steps, why, Fix::CreateRole { role_arn: arn.to_owned() });
        };
        let subject = format!("system:serviceaccount:{}:{}", pod.namespace, pod.name);
        let host = self.clusters.get(&pod.cluster).and_then(|c| c.host.clone());
        let Some(host) = host.or_else(|| role.trust.as_ref().and_then(|trust| issuer_of(trust, &subject))) else {
            let mut chain = self.chain_to("pod", arn, steps);
            chain.unread.insert(Unread::Issuer { cluster: pod.cluster.clone() });
            chain.open = true;
            return Ok(chain);
        };
        let exists = self.clusters.get(&pod.cluster).is_some_and(|c| c.provided);
        if !exists && !self.providers.contains(&(role.account.clone(), host.clone())) {
            let why = Break::ProviderMissing { issuer: host.clone(), account: self.account(&role.account) };
            return fail(steps, why, Fix::CreateProvider { issuer: host, account: role.account.clone() });
        }
        let Some(trust) = &role.trust else {
            steps.push(ChainStep::TrustAssumed { role: role.link() });
            return Ok(self.chain_to("pod", arn, steps).on_trust(role));
        };
        let partition = arn.split(':').nth(1).unwrap_or("aws");
        let provider = format!("arn:{partition}:iam::{}:oidc-provider/{host}", role.account);
        let action = "sts:AssumeRoleWithWebIdentity";
        let mut request = Request::new(&provider, action, arn);
        request.context = RequestContext::open()
            .with(&format!("{host}:sub"), &subject)
            .with(&format!("{host}:aud"), "sts.amazonaws.com");
        let label = role.trust_label();
        let set = policies(None, Some(Attached { name: &label, policy: trust }));
        let decision = evaluate(&request, &set);
        let trusted = Trusted::ServiceAccount;
        if decision.is_denied() {
            let (role, action, denial) = (role.link(), action.to_owned(), Denial::of(&decision));
            let why = Break::NotTrusted { role, subject: subject.clone(), trusted, action, denial };
            return fail(steps, why, Fix::TrustSubject { provider, issuer: host, subject });
        }
        steps.push(ChainStep::Trusts { role: role.link(), trusted, statement: statement_of(&decision) });
        let mut chain = self.chain_to("pod", arn, steps);
        chain.conditions = unsettled(&decision);
        Ok(chain)
    }

    fn associated(&self, pod: &Pod, association: &Association) -> Result<AccessChain, BrokenChain> {
        let Pod { namespace, name, .. } = pod.clone();
        let mut steps = vec![ChainStep::Association { namespace, name, role_arn: association.role.clone() }];
        let Some(role) = self.roles.get(&association.role) else {
            let role_arn = association.role.clone();
            let why = Break::RoleMissing { role_arn: role_arn.clone(), target: false };
            return Err((steps, Broken { why, fix: Fix::CreateRole { role_arn } }));
        };
        let sessions = PodSessions::new(self.clusters.get(&pod.cluster), pod, association.tagged);
        let mut conditions = BTreeSet::new();
        match &role.trust {
            None => steps.push(ChainStep::TrustAssumed { role: role.link() }),
            Some(trust) => match trusts_pod_identity(role, trust, &sessions) {
                Ok(step) => {
                    let (trusted, statement) = (Trusted::PodIdentity, step.statement);
                    steps.push(ChainStep::Trusts { role: role.link(), trusted, statement });
                    conditions = step.conditions;
                }
                Err((action, denial)) => {
                    let subject = format!("{}/{}", pod.namespace, pod.name);
                    let (link, trusted) = (role.link(), Trusted::PodIdentity);
                    let why = Break::NotTrusted { role: link, subject, trusted, action: action.to_owned(), denial };
                    let fix = Fix::TrustPodIdentity { role_arn: role.arn.clone() };
                    return Err((steps, Broken { why, fix }));
                }
            },
        }
        let mut first = self.chain_to("pod", &role.arn, steps);
        first.context = sessions.principal_tags();
        first.conditions = conditions;
        if role.trust.is_none() {
            first = first.on_trust(role);
        }
        match &association.target {
            Some(target) => self.targeted(first, role, target, &sessions),
            None => Ok(first),
        }
    }

    /// Extends a chain from the first role of an association to its target role.
    fn targeted(
        &self,
        first: AccessChain,
        role: &WorldRole,
        target_arn: &str,
        sessions: &PodSessions<'_>,
    ) -> Result<AccessChain, BrokenChain> {
        let Some(target) = self.roles.get(target_arn) else {
            let role_arn = target_arn.to_owned();
            let why = Break::RoleMissing { role_arn: role_arn.clone(), target: true };
            return Err((first.steps, Broken { why, fix: Fix::CreateRole { role_arn } }));
        };
        // An association implies that the target role trusts the first one.
        let trust = target.trust.clone().unwrap_or_else(anyone);
        let gaps = caller_gaps(Some(role), &role.arn);
        let (conditions, unread) = (first.conditions.clone(), first.unread.clone());
        let mut step = AssumedStep { statement: None, conditions, unread, open: first.open };
        for action in sessions.target_actions() {
            let request = sessions.request(&role.arn, action, target);
            match self.assumed(&first, target, &trust, &gaps, &request) {
                Ok(assumed) => {
                    step.statement = step.statement.or(assumed.statement);
                    step.conditions.extend(assumed.conditions);
                    step.unread.extend(assumed.unread);
                    step.open |= assumed.open;
                }
                Err(denial) => {
                    let fix = Fix::AllowTarget { role_arn: role.arn.clone(), target: target.arn.clone() };
                    let why = Break::TargetDenied { role: role.link(), target: target.link(), denial };
                    return Err((first.steps, Broken { why, fix }));
                }
            }
        }
        let mut steps = first.steps;
        steps.push(ChainStep::AssumesTarget { role: target.link(), statement: step.statement.take() });
        let chain = self.chain_to("pod", target_arn, steps);
        let AssumedStep { statement: _, conditions, unread, open } = step;
        Ok(AccessChain { conditions, context: first.context, unread, open, ..chain })
    }
}

/// The sessions that EKS Pod Identity creates for the pods of a service account.
struct PodSessions<'w> {
    cluster: Option<&'w WorldCluster>,
    pod: &'w Pod,
    /// Session tags, by key.
    tags: Vec<(&'static str, String)>,
}

impl<'w> PodSessions<'w> {
    fn new(cluster: Option<&'w WorldCluster>, pod: &'w Pod, tagged: bool) -> Self {
        let mut tags = Vec::new();
        if tagged {
            let name = cluster.map_or(pod.cluster.as_str(), |c| c.arn.rsplit('/').next().unwrap_or_default());
            tags = vec![
                ("eks-cluster-arn", cluster.map(|c| c.arn.clone()).unwrap_or_default()),
                ("eks-cluster-name", name.to_owned()),
                ("kubernetes-namespace", pod.namespace.clone()),
                ("kubernetes-service-account", pod.name.clone()),
            ];
        }
        Self { cluster, pod, tags }
    }

    /// The actions that the target role's trust policy must allow. EKS passes the session tags on to the target role.
    ///
    /// Source: EKS User Guide, "Access AWS resources using EKS Pod Identity target IAM roles".
    fn target_actions(&self) -> &'static [&'static str] {
        if self.tags.is_empty() { &["sts:AssumeRole"] } else { &["sts:AssumeRole", "sts:TagSession"] }
    }

    /// The session tags as the condition keys under which policies find them in requests of the session.
    fn principal_tags(&self) -> Vec<(String, String)> {
        self.tags.iter().map(|(key, value)| (format!("aws:PrincipalTag/{key}"), value.clone())).collect()
    }

    /// The request with which EKS assumes a role.
    fn request(&self, principal: &str, action: &str, role: &WorldRole) -> Request {
        let mut request = Request::new(principal, action, &role.arn);
        request.context = RequestContext::open();
        if let Some(cluster) = self.cluster {
            request.context.set("aws:SourceAccount", ContextValue::One(cluster.account.clone()));
            request.context.set("aws:SourceArn", ContextValue::One(cluster.arn.clone()));
            let region = cluster.arn.split(':').nth(3).unwrap_or_default();
            let name = cluster.arn.rsplit('/').next().unwrap_or_default();
            let Pod { namespace, name: service_account, .. } = self.pod;
            let external_id = format!("{region}/{}/{name}/{namespace}/{service_account}", cluster.account);
            request.context.set("sts:ExternalId", ContextValue::One(external_id));
        }
        for (key, value) in &self.tags {
            request.context.set(&format!("aws:RequestTag/{key}"), ContextValue::One(value.clone()));
        }
        if self.tags.is_empty() {
            for key in ["eks-cluster-arn", "kubernetes-namespace", "kubernetes-service-account"] {
                request.context.set(&format!("aws:RequestTag/{key}"), ContextValue::Many(Vec::new()));
            }
        }
        request
    }
}

/// The statement by which a role trusts EKS Pod Identity, and its conditions.
///
/// # Errors
/// The denied action and the reason.
fn trusts_pod_identity(
    role: &WorldRole,
    trust: &Policy,
    sessions: &PodSessions<'_>,
) -> Result<AssumedStep, (&'static str, Denial)> {
    let label = role.trust_label();
    let set = policies(None, Some(Attached { name: &label, policy: trust }));
    let mut step = AssumedStep::default();
    for action in ["sts:AssumeRole", "sts:TagSession"] {
        let request = sessions.request("pods.eks.amazonaws.com", action, role);
        let decision = evaluate(&request, &set);
        if decision.is_denied() {
            return Err((action, Denial::of(&decision)));
        }
        step.conditions.extend(unsettled(&decision));
        step.statement = step.statement.or_else(|| statement_of(&decision));
    }
    Ok(step)
}

/// The issuer of a trusted subject, which belongs to a cluster that is no longer in the spec.
fn issuer_of(trust: &Policy, subject: &str) -> Option<String> {
    let conditions = trust.statements().iter().flat_map(Statement::conditions);
    let mut named = conditions.filter(|c| c.values().any(|value| value == subject));
    named.find_map(|c| c.key().as_str().strip_suffix(":sub").map(str::to_owned))
}
