//! The chains through which a principal gets credentials.

use std::collections::BTreeSet;

use super::nodes::{WorldBucket, WorldKey, WorldRole};
use super::policies::{at_most, caller_gaps, policies, statement_of, unsettled};
use super::{Pod, Who, World};
use crate::access::broken::{Broken, Denial};
use crate::access::terms::{ChainStep, Requirement, StatementRef};
use crate::access::unread::Unread;
use crate::iam::{
    Arn, Attached, Condition, ContextValue, Effect, Policy, Principal, Request, RequestContext, Selector, Statement,
    Version, evaluate,
};

/// Credentials that a principal can get.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::access) struct AccessChain {
    /// Identifies the chain across worlds: a service account whose role changes keeps its slot.
    pub slot: String,
    /// The principal that makes requests.
    pub principal: String,
    /// The ARN of the role, if it is in the world.
    pub role: Option<String>,
    /// The steps by which the principal gets the credentials.
    pub steps: Vec<ChainStep>,
    /// The conditions on the steps.
    pub conditions: BTreeSet<Requirement>,
    /// Known context values of every request, in addition to the principal.
    pub context: Vec<(String, String)>,
    /// Unread policies and identities that decide about the steps.
    pub unread: BTreeSet<Unread>,
    /// Whether a step holds only if an unread policy allows it.
    pub open: bool,
}

/// A chain that breaks: the steps that hold, and the break.
pub(in crate::access) type BrokenChain = (Vec<ChainStep>, Broken);

impl World {
    /// Every chain through which a principal gets credentials, including role chaining; or the steps that hold and the
    /// break.
    pub(in crate::access) fn chains(&self, who: &Who) -> Result<Vec<AccessChain>, BrokenChain> {
        let mut chains = match who {
            Who::Attached => Vec::new(),
            Who::Pod(pod) => vec![self.pod(pod)?],
            Who::Role(arn) => vec![self.chain_to("own", arn, Vec::new())],
            Who::Named(principal) => vec![self.chain_to("own", &caller_of(principal), Vec::new())],
            Who::Subject { .. } => {
                let by_trust = |role: &WorldRole| {
                    let (_, statement) = self.assumers(role).into_iter().find(|(other, _)| other == who)?;
                    let mut chain = self.chain_to(&role.arn, &role.arn, vec![assumes(role, statement)]);
                    chain.conditions = conditions(statement, |key| key.ends_with(":sub"));
                    Some(chain)
                };
                self.roles.values().filter_map(by_trust).collect()
            }
        };
        let mut known: BTreeSet<String> = chains.iter().map(|r| r.principal.clone()).collect();
        let mut at = 0;
        while let Some(chain) = chains.get(at).cloned() {
            at += 1;
            // Users, services and sessions are few, so the index does not cover them.
            let candidates: Vec<&WorldRole> = match &chain.role {
                Some(arn) => self.index.trusting(arn).into_iter().filter_map(|arn| self.roles.get(arn)).collect(),
                None => self.roles.values().collect(),
            };
            for role in candidates {
                if known.contains(&role.arn) {
                    continue;
                }
                if let Some(next) = self.chained(who, &chain, role) {
                    known.insert(role.arn.clone());
                    chains.push(next);
                }
            }
        }
        Ok(chains)
    }

    /// The role at the end of a chain, if it is in the world.
    pub(in crate::access) fn role_of(&self, chain: &AccessChain) -> Option<&WorldRole> {
        self.roles.get(chain.role.as_ref()?)
    }

    /// A chain that ends at a principal.
    pub(super) fn chain_to(&self, slot: &str, principal: &str, steps: Vec<ChainStep>) -> AccessChain {
        AccessChain {
            slot: slot.to_owned(),
            principal: principal.to_owned(),
            role: self.roles.contains_key(principal).then(|| principal.to_owned()),
            steps,
            conditions: BTreeSet::new(),
            context: Vec::new(),
            unread: BTreeSet::new(),
            open: false,
        }
    }

    /// Extends a chain to a role that trusts its principal. If the role's trust policy is unread, the principal's own
    /// policies must allow it to assume the role.
    fn chained(&self, who: &Who, chain: &AccessChain, role: &WorldRole) -> Option<AccessChain> {
        if role.trust.as_ref().is_some_and(|trust| !may_name(trust, who, chain)) {
            return None;
        }
        let request = chain.request("sts:AssumeRole", &role.arn, &role.account);
        let (trust, gaps) = match &role.trust {
            Some(trust) => (trust.clone(), caller_gaps(self.role_of(chain), &chain.principal)),
            None => (delegating(&chain.principal)?, BTreeSet::new()),
        };
        let assumed = self.assumed(chain, role, &trust, &gaps, &request).ok()?;
        let mut steps = chain.steps.clone();
        steps.push(ChainStep::Assumes { role: role.link(), statement: assumed.statement });
        let mut next = self.chain_to(&role.arn, &role.arn, steps);
        next.conditions = &chain.conditions | &assumed.conditions;
        next.unread = &chain.unread | &assumed.unread;
        next.open = chain.open || assumed.open || role.trust.is_none();
        Some(next)
    }

    /// Evaluates whether the caller of a chain can assume a role with this trust policy. `gaps` are the caller's unread
    /// policies. Those that could decide are treated as allowing the request, and are reported.
    ///
    /// # Errors
    /// The denial that holds whatever the unread policies contain.
    pub(super) fn assumed(
        &self,
        chain: &AccessChain,
        role: &WorldRole,
        trust: &Policy,
        gaps: &BTreeSet<Unread>,
        request: &Request,
    ) -> Result<AssumedStep, Denial> {
        let label = role.trust_label();
        let trust = Attached { name: &label, policy: trust };
        let known = policies(self.role_of(chain), Some(trust));
        let mut decision = evaluate(request, &known);
        let is_known = !decision.is_denied();
        if !is_known {
            decision = evaluate(request, &at_most(&known, gaps, trust));
        }
        if decision.is_denied() {
            return Err(Denial::of(&decision));
        }
        let mut unread: BTreeSet<Unread> = gaps.iter().filter(|gap| !is_known || gap.may_deny()).cloned().collect();
        if role.trust.is_none() {
            unread.insert(Unread::TrustPolicy { role: role.name.clone() });
        }
        let statement = role.trust.is_some().then(|| statement_of(&decision)).flatten();
        Ok(AssumedStep { statement, conditions: unsettled(&decision), unread, open: !is_known })
    }

    /// The principals that can assume a role by its trust policy, with the statements. Pods of the world, and EKS on
    /// their behalf, are not included.
    pub(super) fn assumers<'r>(&self, role: &'r WorldRole) -> Vec<(Who, &'r Statement)> {
        let mut found = Vec::new();
        for statement in role.trust.iter().flat_map(Policy::statements).filter(|s| s.effect() == Effect::Allow) {
            for principal in statement.principal().into_iter().flat_map(Selector::values) {
                match principal {
                    Principal::Service(name) if name.as_ref() == "pods.eks.amazonaws.com" => {}
                    Principal::Federated(provider) => {
                        found.extend(self.subjects(provider, statement).into_iter().map(|who| (who, statement)));
                    }
                    other => found.push((self.who(other), statement)),
                }
            }
        }
        found
    }

    /// The identities of a provider that a trust statement admits, without the service accounts of the world.
    pub(super) fn subjects(&self, provider: &str, statement: &Statement) -> Vec<Who> {
        let issuer = provider.split_once(":oidc-provider/").map_or(provider, |(_, host)| host);
        let cluster = self.clusters.iter().find(|(_, c)| c.host.as_deref() == Some(issuer)).map(|(key, _)| key);
        let key = format!("{issuer}:sub");
        let subjects: Vec<&str> = statement
            .conditions()
            .iter()
            .filter(|c| c.key().as_str().eq_ignore_ascii_case(&key) && !c.operator().test.is_negated())
            .flat_map(Condition::values)
            .collect();
        let who =
            |subject: Option<&str>| Who::Subject { provider: provider.to_owned(), subject: subject.map(str::to_owned) };
        if subjects.is_empty() {
            return vec![who(None)];
        }
        let is_known = |subject: &str| {
            let parts = subject.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            parts.is_some_and(|(namespace, name)| {
                cluster.is_some_and(|cluster| {
                    let pod = Pod { cluster: cluster.clone(), namespace: namespace.to_owned(), name: name.to_owned() };
                    self.pods.contains_key(&pod) || self.names.contains_key(&pod)
                })
            })
        };
        subjects.into_iter().filter(|subject| !is_known(subject)).map(|subject| who(Some(subject))).collect()
    }
}

impl AccessChain {
    /// Extends the chain to a role with an unread trust policy.
    pub(super) fn on_trust(mut self, role: &WorldRole) -> Self {
        self.unread.insert(Unread::TrustPolicy { role: role.name.clone() });
        self
    }

    /// A request on a bucket or its objects. `prefix` is the `s3:prefix` of a list request; `None` if the request has
    /// none.
    pub(in crate::access) fn bucket_request(
        &self,
        action: &str,
        resource: &str,
        bucket: &WorldBucket,
        prefix: Option<&str>,
    ) -> Request {
        let mut request = self.request(action, resource, &bucket.account);
        let prefix = prefix.map_or(ContextValue::Many(Vec::new()), |prefix| ContextValue::One(prefix.to_owned()));
        request.context.set("s3:prefix", prefix);
        request
    }

    /// A request on a key through S3.
    pub(in crate::access) fn key_request(&self, action: &str, key: &WorldKey) -> Request {
        let mut request = self.request(action, &key.arn, &key.account);
        let service = format!("s3.{}.{}", key.region, key.region.dns_suffix());
        request.context.set("kms:ViaService", ContextValue::One(service));
        request.context.set("kms:ResourceAliases", ContextValue::Many(vec![key.alias.clone()]));
        request
    }

    /// Whether Block Public Access keeps the caller out. A public bucket then admits only AWS services and callers in
    /// the bucket's own account.
    ///
    /// Source: S3 User Guide, "Blocking public access to your Amazon S3 storage", `RestrictPublicBuckets`.
    pub(in crate::access) fn is_blocked_from(&self, bucket: &WorldBucket) -> bool {
        let is_own = self.principal.contains(&format!("::{}:", bucket.account));
        let is_service = [".amazonaws.com", ".amazonaws.com.cn"].iter().any(|suffix| self.principal.ends_with(suffix));
        bucket.blocked && bucket.public && !is_own && !is_service
    }

    /// A request of a chain in which unknown context values may vary. AWS clients use TLS.
    pub(in crate::access) fn request(&self, action: &str, resource: &str, owner: &str) -> Request {
        let mut request = Request::new(&self.principal, action, resource);
        request.resource_account = (!owner.is_empty()).then(|| owner.to_owned());
        request.context =
            RequestContext::open().with("aws:SecureTransport", "true").with("aws:PrincipalIsAWSService", "false");
        for key in self.open_keys() {
            request.context.set(key, ContextValue::Varies);
        }
        for (key, value) in &self.context {
            request.context.set(key, ContextValue::One(value.clone()));
        }
        request.with_own_keys()
    }

    /// The keys that follow from the caller, for principals that represent many callers: an account, or everyone.
    fn open_keys(&self) -> &'static [&'static str] {
        if self.principal == "*" {
            &["aws:PrincipalArn", "aws:PrincipalType", "aws:username", "aws:PrincipalAccount"]
        } else if self.principal.ends_with(":root") {
            &["aws:PrincipalArn", "aws:PrincipalType", "aws:username"]
        } else {
            &[]
        }
    }
}

/// A trust policy that delegates the decision to the principal's account.
fn delegating(principal: &str) -> Option<Policy> {
    let account = principal.parse::<Arn>().ok()?.account;
    let statement = Statement::allow(["*"], ["*"]).to(Selector::of([Principal::Account(account.into())]));
    Some(Policy::new(Version::V2012, [statement]))
}

/// The ARN or name that makes the requests of a principal in a policy.
pub(in crate::access) fn caller_of(principal: &Principal) -> String {
    match principal {
        Principal::Account(id) => format!("arn:aws:iam::{id}:root"),
        other => other.entry().1.to_owned(),
    }
}

/// Whether a trust policy may apply to the principal of a chain.
fn may_name(trust: &Policy, who: &Who, chain: &AccessChain) -> bool {
    let principals = || trust.statements().iter().filter_map(Statement::principal).flat_map(Selector::values);
    let is_named = principals().any(|principal| match principal {
        Principal::Service(_) | Principal::Federated(_) => {
            matches!(who, Who::Named(own) if own == principal) && chain.role.is_none()
        }
        Principal::CanonicalUser(_) => false,
        _ => true,
    });
    // Report a role that everyone can assume once, for "anyone", and not for each principal.
    let is_open = principals().any(|principal| matches!(principal, Principal::Everyone | Principal::AnyAws));
    is_named && (!is_open || matches!(who, Who::Named(Principal::Everyone)))
}

/// A caller assumes a role.
#[derive(Default)]
pub(super) struct AssumedStep {
    pub statement: Option<StatementRef>,
    pub conditions: BTreeSet<Requirement>,
    pub unread: BTreeSet<Unread>,
    /// Whether the step holds only if an unread policy allows it.
    pub open: bool,
}

/// The conditions of a statement, without those on certain keys.
fn conditions(statement: &Statement, without: impl Fn(&str) -> bool) -> BTreeSet<Requirement> {
    statement
        .conditions()
        .iter()
        .filter(|c| !without(&c.key().as_str().to_ascii_lowercase()))
        .map(|condition| Requirement::condition(condition, false))
        .collect()
}

fn assumes(role: &WorldRole, statement: &Statement) -> ChainStep {
    ChainStep::Assumes { role: role.link(), statement: Some(StatementRef::new(role.trust_ref(), statement)) }
}
