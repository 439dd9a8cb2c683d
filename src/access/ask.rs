//! Answers one question at a time: can a principal perform an action, through which chain, and where does the chain
//! break.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::broken::{Break, Broken, Denial, Fix, Grant, Missing};
use super::terms::{
    AllowedBy, AppliedRule, ChainCaller, ChainStep, Grantee, PolicyOf, PolicyRef, Requirement, StatementRef,
};
use super::unread::Unread;
use super::world::chains::AccessChain;
use super::world::nodes::{WorldBucket, WorldKey, WorldRole};
use super::world::policies::{NOTHING, anyone, at_most, caller_gaps, matters, policies, unsettled};
use super::world::{Who, World};
use crate::iam::catalogue::ServiceEntry;
use crate::iam::{
    Arn, Attached, AwsRule, Decision, DecisionOutcome, DecisionReason, Effect, Layer, Policy, Principal, Request,
    evaluate, is_without_resource_policy,
};

/// The target of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessTarget {
    /// A bucket, and a key or prefix in it.
    Data {
        /// The bucket's name.
        bucket: String,
        /// The key or prefix; empty for the bucket itself.
        key: String,
    },
    /// Any other resource, by ARN.
    Arn(String),
}

/// The reason why a question cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The place is neither an `s3://` URL nor an ARN.
    #[error("`{0}` is neither s3://bucket/key nor an ARN")]
    Place(String),
    /// The action does not exist.
    #[error("there is no action `{action}`")]
    Action {
        /// The action.
        action: String,
        /// A suggestion, such as the action with the closest name.
        help: String,
    },
    /// An object action on a target that names no object.
    #[error("`{0}` works on objects, and the target names no object")]
    NoObject(String),
}

impl AskError {
    /// The next action.
    #[must_use]
    pub fn help(&self) -> &str {
        match self {
            Self::Place(_) => "write s3://bucket/key, or an ARN such as arn:aws:s3:::bucket/key",
            Self::Action { help, .. } => help,
            Self::NoObject(_) => "name an object, as in s3://bucket/key",
        }
    }
}

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Verdict")]
pub enum AccessVerdict {
    /// The request is allowed.
    Allowed,
    /// The request is allowed if certain conditions hold, which are not known.
    Depends,
    /// A policy or an identity on which the answer depends has not been read.
    Unknown,
    /// The request is denied.
    Denied,
}

/// An answer and its chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The principal.
    pub who: Grantee,
    /// The verdict.
    pub verdict: AccessVerdict,
    /// The steps of the chain that hold.
    pub chain: Vec<ChainStep>,
    /// The break in the chain, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
    /// The conditions on which the verdict depends.
    pub conditions: BTreeSet<Requirement>,
    /// The unread policies and identities that leave the verdict unknown.
    pub unread: BTreeSet<Unread>,
    /// The rules of AWS beyond the policy language that took part.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rules: BTreeSet<AppliedRule>,
}

/// Every principal that is not denied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccessAnswers {
    /// The principals of the world that are allowed, depend on conditions, or are unknown.
    pub who: Vec<Answer>,
    /// Something unread that may also allow principals outside the world.
    pub others: Option<Unread>,
}

impl AccessAnswers {
    /// The combined verdict: allowed if it is allowed for one principal, else unknown if it is unknown for one.
    #[must_use]
    pub fn verdict(&self) -> AccessVerdict {
        let any = |verdict| self.who.iter().any(|answer| answer.verdict == verdict);
        if any(AccessVerdict::Allowed) {
            AccessVerdict::Allowed
        } else if any(AccessVerdict::Unknown) || self.others.is_some() {
            AccessVerdict::Unknown
        } else if any(AccessVerdict::Depends) {
            AccessVerdict::Depends
        } else {
            AccessVerdict::Denied
        }
    }
}

impl AccessTarget {
    /// Parses `s3://bucket/key` or an ARN.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, AskError> {
        let data = |rest: &str| {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            Self::Data { bucket: bucket.to_owned(), key: key.to_owned() }
        };
        if let Some(rest) = text.strip_prefix("s3://") {
            return if rest.is_empty() { Err(AskError::Place(text.to_owned())) } else { Ok(data(rest)) };
        }
        let arn: Arn = text.parse().map_err(|_| AskError::Place(text.to_owned()))?;
        if arn.service == "s3" && arn.account.is_empty() && !arn.resource.contains(':') {
            return Ok(data(&arn.resource));
        }
        Ok(Self::Arn(text.to_owned()))
    }
}

/// The action in the spelling of AWS.
fn known_action(action: &str) -> Result<String, AskError> {
    let fail = |help: String| Err(AskError::Action { action: action.to_owned(), help });
    let Some((prefix, name)) = action.split_once(':') else {
        return fail(format!("write it with its service, as in `s3:{action}`"));
    };
    let Some(service) = ServiceEntry::of(prefix) else {
        return fail(format!("`{prefix}` is an unknown service: write an action such as `s3:GetObject`"));
    };
    match service.action(name) {
        Some(known) => Ok(format!("{}:{}", service.prefix, known.name)),
        None => {
            let names = service.actions().iter().map(|a| a.name);
            let near = crate::diagnostic::did_you_mean(name, names);
            fail(match near {
                Some(near) => format!("did you mean `{}:{near}`?", service.prefix),
                None => "the Service Authorization Reference of AWS lists the actions of each service".to_owned(),
            })
        }
    }
}

fn works_on(action: &str, kind: &str) -> bool {
    let (prefix, name) = action.split_once(':').unwrap_or_default();
    ServiceEntry::of(prefix)
        .and_then(|service| Some((service, service.action(name)?)))
        .is_some_and(|(service, action)| service.types_of(action).any(|t| t.name == kind))
}

/// The result of evaluating a request against one principal's policies and those of the resource.
struct Judged {
    chain: Vec<ChainStep>,
    broken: Option<Broken>,
    verdict: AccessVerdict,
    conditions: BTreeSet<Requirement>,
    unread: BTreeSet<Unread>,
    rules: BTreeSet<AppliedRule>,
}

/// A resource and the known part of its policy.
struct JudgedResource<'a> {
    of: PolicyRef,
    policy: &'a Policy,
    /// The account that owns the resource; empty if unknown.
    account: &'a str,
    /// The unread part of the policy, if any.
    unread: Option<Unread>,
}

/// Services whose resources have no policies of their own.
/// Source: IAM User Guide, "AWS services that work with IAM".
const WITHOUT_RESOURCE_POLICIES: [&str; 3] = ["ec2", "eks", "iam"];

impl World {
    /// Answers whether a principal can perform an action on a target.
    ///
    /// # Errors
    /// When the action does not exist, or when it is an object action and the target is a whole bucket.
    pub fn can(&self, who: &Who, action: &str, target: &AccessTarget) -> Result<Answer, AskError> {
        let action = known_action(action)?;
        self.answer(who, &action, target)
    }

    /// Lists every principal that is not denied. A role that pods get is listed as their service accounts.
    ///
    /// # Errors
    /// As [`World::can`].
    pub fn who_can(&self, action: &str, target: &AccessTarget) -> Result<AccessAnswers, AskError> {
        let action = known_action(action)?;
        let mut who = Vec::new();
        for one in self.everybody() {
            let is_owner =
                matches!(&one, Who::Named(Principal::Account(id)) if self.owner(target) == Some(id.as_ref()));
            if is_owner || matches!(&one, Who::Role(arn) if self.is_behind_pods(arn)) {
                continue;
            }
            let answer = self.answer(&one, &action, target)?;
            if answer.verdict != AccessVerdict::Denied {
                who.push(answer);
            }
        }
        Ok(AccessAnswers { who, others: self.others(&action, target) })
    }

    /// The account that owns the target, if known.
    fn owner<'t>(&'t self, target: &'t AccessTarget) -> Option<&'t str> {
        match target {
            AccessTarget::Data { bucket, .. } => self.buckets.get(bucket).map(|bucket| bucket.account.as_str()),
            AccessTarget::Arn(arn) => arn.split(':').nth(4).filter(|account| !account.is_empty()),
        }
    }

    /// Something unread that may allow principals outside the world.
    fn others(&self, action: &str, target: &AccessTarget) -> Option<Unread> {
        match target {
            AccessTarget::Data { bucket, .. } => {
                let known = self.buckets.get(bucket).is_some_and(|bucket| bucket.policy.is_some());
                (!known).then(|| Unread::BucketPolicy { bucket: bucket.clone() })
            }
            AccessTarget::Arn(arn) => match self.key_at(arn, action) {
                Some(key) => (!key.whole).then(|| Unread::KeyPolicy { alias: key.alias.clone() }),
                None if self.roles.get(arn).is_some_and(|role| role.trust.is_some())
                    || self.resources.contains_key(arn) =>
                {
                    None
                }
                None => Some(policy_of(action, arn).unwrap_or_else(|| {
                    let account = arn.parse::<Arn>().map(|arn| arn.account).unwrap_or_default();
                    Unread::AccountPolicies { account }
                })),
            },
        }
    }

    fn answer(&self, who: &Who, action: &str, target: &AccessTarget) -> Result<Answer, AskError> {
        if let AccessTarget::Data { key, .. } = target
            && key.is_empty()
            && works_on(action, "object")
            && !works_on(action, "bucket")
        {
            return Err(AskError::NoObject(action.to_owned()));
        }
        let (chains, broken) = match self.chains(who) {
            Ok(chains) => (chains, None),
            Err(broken) => (Vec::new(), Some(broken)),
        };
        let who_of = self.grantee(who);
        let mut best: Option<Answer> = None;
        for chain in &chains {
            let judged = self.judge(chain, action, target);
            let mut verdict = judged.verdict;
            if verdict == AccessVerdict::Allowed && !chain.conditions.is_empty() {
                verdict = AccessVerdict::Depends;
            }
            let mut unread = judged.unread;
            if verdict != AccessVerdict::Denied && !chain.unread.is_empty() {
                verdict = AccessVerdict::Unknown;
                unread.extend(chain.unread.iter().cloned());
            }
            let steps = chain.steps.iter().cloned().chain(judged.chain).collect();
            let conditions = &chain.conditions | &judged.conditions;
            let (who, broken) = (who_of.clone(), judged.broken);
            let answer = Answer { who, verdict, chain: steps, broken, conditions, unread, rules: judged.rules };
            let better = best.as_ref().is_none_or(|best| (answer.verdict as u8) < best.verdict as u8);
            if better {
                best = Some(answer);
            }
        }
        let mut answer = best.unwrap_or_else(|| {
            let (chain, broken) = broken.map_or((Vec::new(), None), |(chain, broken)| (chain, Some(broken)));
            let (conditions, unread, rules) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            Answer { who: who_of, verdict: AccessVerdict::Denied, chain, broken, conditions, unread, rules }
        });
        // A fix is a grant if the spec can express it. No grant overcomes an explicit deny or a permissions boundary.
        if let (Who::Pod(pod), AccessTarget::Data { bucket, key }) = (who, target)
            && let (Some(to), Some(bucket)) = (self.key_of(pod), self.buckets.get(bucket))
            && let Some(Fix::Allow { action: denied, missing, grant, .. }) =
                answer.broken.as_mut().map(|broken| &mut broken.fix)
            && denied == action
            && !missing.iter().any(|missing| matches!(missing, Missing::Boundary { .. }))
        {
            let prefix = key.rfind('/').map_or(key.as_str(), |at| key.get(..=at).unwrap_or(key));
            let (to, bucket, prefix) = (to.to_owned(), bucket.entry.clone(), prefix.to_owned());
            *grant = Some(Grant { to, bucket, prefix, action: action.to_owned() });
        }
        Ok(answer)
    }

    fn judge(&self, chain: &AccessChain, action: &str, target: &AccessTarget) -> Judged {
        match target {
            AccessTarget::Data { bucket, key } => match self.buckets.get(bucket) {
                Some(bucket) => self.judge_data(chain, action, bucket, key),
                None => self.judge_unknown(chain, action, bucket, key),
            },
            AccessTarget::Arn(arn) => self.judge_arn(chain, action, arn),
        }
    }

    fn judge_data(&self, chain: &AccessChain, action: &str, bucket: &WorldBucket, key: &str) -> Judged {
        let on_object = works_on(action, "object") && !key.is_empty();
        let resource = if on_object { format!("{}/{key}", bucket.arn) } else { bucket.arn.clone() };
        let prefix = (!on_object && !key.is_empty()).then_some(key);
        let request = chain.bucket_request(action, &resource, bucket, prefix);
        if chain.is_blocked_from(bucket) {
            let fix = Fix::NamePrincipals { bucket: bucket.name.clone() };
            return Judged {
                chain: Vec::new(),
                broken: Some(Broken { why: Break::PublicBlocked { bucket: bucket.name.clone() }, fix }),
                verdict: AccessVerdict::Denied,
                conditions: BTreeSet::new(),
                unread: BTreeSet::new(),
                rules: BTreeSet::new(),
            };
        }
        let unread = bucket.policy.is_none().then(|| Unread::BucketPolicy { bucket: bucket.name.clone() });
        let policy = bucket.policy.as_ref().unwrap_or(&NOTHING);
        let of = PolicyRef::from(PolicyOf::Bucket { bucket: bucket.name.clone(), assumed: false });
        let of = of.at(bucket.policy_address.clone());
        let mut judged = self.decide(chain, &request, JudgedResource { of, policy, account: &bucket.account, unread });
        let key_actions: &[&str] = match action {
            "s3:GetObject" | "s3:GetObjectVersion" => &["kms:Decrypt"],
            "s3:PutObject" => &["kms:GenerateDataKey", "kms:Decrypt"],
            _ => &[],
        };
        if let (true, Some(key)) =
            (judged.verdict != AccessVerdict::Denied, bucket.key.as_ref().and_then(|k| self.keys.get(k)))
        {
            for action in key_actions {
                let used = self.judge_key(chain, action, key);
                judged.chain.extend(used.chain);
                judged.broken = used.broken;
                judged.conditions.extend(used.conditions);
                judged.unread.extend(used.unread);
                judged.rules.extend(used.rules);
                judged.verdict = worse(judged.verdict, used.verdict);
                if judged.verdict == AccessVerdict::Denied {
                    break;
                }
            }
        }
        judged
    }

    fn judge_key(&self, chain: &AccessChain, action: &str, key: &WorldKey) -> Judged {
        let request = chain.key_request(action, key);
        // The default key policy delegates to its account. Whether an unread one does so is unknown.
        let unread = (!key.whole).then(|| Unread::KeyPolicy { alias: key.alias.clone() });
        let of = key.policy_ref();
        self.decide(chain, &request, JudgedResource { of, policy: &key.policy, account: &key.account, unread })
    }

    fn judge_arn(&self, chain: &AccessChain, action: &str, arn: &str) -> Judged {
        if let Some(key) = self.key_at(arn, action) {
            return self.judge_key(chain, action, key);
        }
        let owner = arn.parse::<Arn>().map(|arn| arn.account).unwrap_or_default();
        let request = chain.request(action, arn, &owner);
        if let Some(role) = self.roles.get(arn)
            && let Some(trust) = &role.trust
        {
            let of = role.trust_ref();
            return self.decide(chain, &request, JudgedResource { of, policy: trust, account: &owner, unread: None });
        }
        if let Some(resource) = self.resources.get(arn) {
            let request = chain.request(action, arn, &resource.account);
            let of = resource.policy_ref();
            let account = &resource.account;
            return self.decide(
                chain,
                &request,
                JudgedResource { of, policy: &resource.policy, account, unread: None },
            );
        }
        let of = PolicyOf::Resource { arn: arn.to_owned() }.into();
        let unread = policy_of(action, arn);
        self.decide(chain, &request, JudgedResource { of, policy: &NOTHING, account: &owner, unread })
    }

    /// The key at an ARN. The ARN of an alias names its key, except in actions on the alias itself.
    fn key_at(&self, arn: &str, action: &str) -> Option<&WorldKey> {
        let is_on_alias = action.ends_with("Alias");
        self.keys.values().find(|key| key.arn == arn || (!is_on_alias && key.is_alias(arn)))
    }

    /// Judges access to a bucket outside the world. Only the caller's own policies are known.
    fn judge_unknown(&self, chain: &AccessChain, action: &str, bucket: &str, key: &str) -> Judged {
        let partition = chain.principal.split(':').nth(1).unwrap_or("aws");
        let unread = WorldBucket {
            name: bucket.to_owned(),
            entry: bucket.to_owned(),
            arn: format!("arn:{partition}:s3:::{bucket}"),
            account: String::new(),
            policy: None,
            policy_address: None,
            blocked: false,
            key: None,
            public: false,
        };
        let mut judged = self.judge_data(chain, action, &unread, key);
        if judged.verdict != AccessVerdict::Denied {
            // The bucket's owner is unknown. It decides whether the bucket's policy must allow the request too.
            judged.verdict = AccessVerdict::Unknown;
            judged.unread.insert(Unread::BucketPolicy { bucket: bucket.to_owned() });
        }
        judged
    }

    /// Decides twice: from the known policies, and as if the unread ones allowed everything. If the outcomes differ,
    /// the answer is unknown.
    fn decide(&self, chain: &AccessChain, request: &Request, resource: JudgedResource<'_>) -> Judged {
        let JudgedResource { of, policy, account: owner, unread } = resource;
        let label = of.label();
        let name = label.as_str();
        let role = self.role_of(chain);
        let mut gaps = caller_gaps(role, &chain.principal);
        gaps.extend(unread);
        let known = policies(role, Some(Attached { name, policy }));
        let decision = evaluate(request, &known);
        let verdict = AccessVerdict::from(decision.outcome);
        let caller = caller(chain, role);
        let steps = allowing(&caller, request, &decision);
        let rules = rules(&decision);
        let unknown = |unread| {
            let (verdict, conditions) = (AccessVerdict::Unknown, BTreeSet::new());
            Judged { chain: steps.clone(), broken: None, verdict, conditions, unread, rules: rules.clone() }
        };
        if verdict != AccessVerdict::Denied {
            let decides = |gap: &Unread| gap.may_deny() && matters(request, &known, gap);
            let deciding: BTreeSet<Unread> = gaps.into_iter().filter(decides).collect();
            if !deciding.is_empty() {
                return unknown(deciding);
            }
            let conditions = unsettled(&decision);
            return Judged { chain: steps, broken: None, verdict, conditions, unread: BTreeSet::new(), rules };
        }
        let open = policy.merge(&anyone());
        let best =
            |gaps: &BTreeSet<Unread>| evaluate(request, &at_most(&known, gaps, Attached { name, policy: &open }));
        let denial = best(&gaps);
        if !denial.is_denied() {
            // Name the gaps that could each change the answer on its own, or else all gaps that could together.
            let alone: BTreeSet<Unread> =
                gaps.iter().filter(|gap| !best(&[(*gap).clone()].into()).is_denied()).cloned().collect();
            return unknown(if alone.is_empty() { gaps } else { alone });
        }
        // Report the denial that holds whatever the unread policies contain.
        let (action, resource) = (request.action.clone(), request.resource.clone());
        let why = Break::Denied { action, resource, denial: Denial::of(&denial) };
        let broken = Some(Broken { why, fix: fix(&denial, &caller, request, &of, owner) });
        let conditions = unsettled(&decision);
        Judged { chain: steps, broken, verdict, conditions, unread: BTreeSet::new(), rules }
    }
}

/// The rules of AWS beyond the policy language that took part in a decision. The break of the chain names one that
/// denies.
fn rules(decision: &Decision<'_>) -> BTreeSet<AppliedRule> {
    let deciding = match decision.why {
        DecisionReason::Rule(rule) if !decision.is_denied() => Some(rule),
        _ => None,
    };
    decision.rules.iter().copied().chain(deciding).map(AppliedRule::from).collect()
}

/// The caller that makes the requests of a chain.
fn caller(chain: &AccessChain, role: Option<&WorldRole>) -> ChainCaller {
    ChainCaller { principal: chain.principal.clone(), role: role.map(|role| role.name.clone()) }
}

/// The statements that allow a request, one step per layer.
fn allowing(caller: &ChainCaller, request: &Request, decision: &Decision<'_>) -> Vec<ChainStep> {
    let step = |(layer, by): (Layer, AllowedBy)| {
        let allows = decision.matched.iter().find(|a| a.layer == layer && a.statement.effect() == Effect::Allow)?;
        let (caller, action, statement) = (caller.clone(), request.action.clone(), StatementRef::applied(allows));
        Some(ChainStep::Allows { layer: by, caller, action, statement })
    };
    let layers = [
        (Layer::Identity, AllowedBy::Identity),
        (Layer::Boundary, AllowedBy::Boundary),
        (Layer::Resource, AllowedBy::Resource),
    ];
    layers.into_iter().filter_map(step).collect()
}

impl From<DecisionOutcome> for AccessVerdict {
    fn from(outcome: DecisionOutcome) -> Self {
        match outcome {
            DecisionOutcome::Allowed => Self::Allowed,
            DecisionOutcome::Conditional => Self::Depends,
            DecisionOutcome::ImplicitlyDenied | DecisionOutcome::ExplicitlyDenied => Self::Denied,
        }
    }
}

/// The unread policy of a resource outside the world, if resources of its service have policies.
fn policy_of(action: &str, arn: &str) -> Option<Unread> {
    match action.split_once(':').map_or(action, |(service, _)| service) {
        _ if is_without_resource_policy(action) => None,
        "sts" => Some(Unread::TrustPolicy { role: arn.to_owned() }),
        service if WITHOUT_RESOURCE_POLICIES.contains(&service) => None,
        _ => Some(Unread::ResourcePolicy { arn: arn.to_owned() }),
    }
}

fn worse(a: AccessVerdict, b: AccessVerdict) -> AccessVerdict {
    if (a as u8) < (b as u8) { b } else { a }
}

/// The smallest change that would let a denied request through.
fn fix(decision: &Decision<'_>, caller: &ChainCaller, request: &Request, resource: &PolicyRef, owner: &str) -> Fix {
    if let DecisionReason::Rule(rule) = decision.why {
        let by_account = rule != AwsRule::AssumeRootByRoot && !owner.is_empty();
        return Fix::UseIdentity { account: by_account.then(|| owner.to_owned()) };
    }
    if decision.outcome == DecisionOutcome::ExplicitlyDenied {
        let statement = decision.deciding().next().map(StatementRef::applied);
        return Fix::Narrow { statement };
    }
    let allows =
        |layer: Layer| decision.matched.iter().any(|a| a.layer == layer && a.statement.effect() == Effect::Allow);
    let foreign = !owner.is_empty() && !caller.principal.contains(&format!("::{owner}:"));
    let resource_decides = foreign || decision.layer == Some(Layer::Resource);
    let mut missing = Vec::new();
    if decision.layer == Some(Layer::Boundary) {
        missing.push(Missing::Boundary { caller: caller.clone() });
    } else {
        if resource_decides && !allows(Layer::Resource) {
            missing.push(Missing::Resource { of: resource.clone(), principal: caller.principal.clone() });
        }
        if (foreign || !resource_decides) && !allows(Layer::Identity) {
            missing.push(Missing::Identity { caller: caller.clone() });
        }
    }
    Fix::Allow { action: request.action.clone(), resource: request.resource.clone(), missing, grant: None }
}
