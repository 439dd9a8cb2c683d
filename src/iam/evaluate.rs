//! Decides requests: which policies apply, in which order, and what each layer must allow.
//!
//! Sources: IAM User Guide, "Policy evaluation logic", "Cross-account policy evaluation logic", "Permissions boundaries
//! for IAM entities", "Session policies" and "AWS JSON policy elements: `NotPrincipal`"; AWS Organizations User Guide,
//! "SCP evaluation" and "Resource control policies"; KMS Developer Guide, "Key policies".

use super::catalogue::ServiceEntry;
pub(super) use super::decision::CallerMatch;
pub use super::decision::{Applied, Decision, DecisionOutcome, DecisionReason, Dependency, DependsOn, Layer};
use super::matching::{self, Truth};
use super::name::ActionPattern;
use super::policy::{Effect, Policy, Principal, Selector, Statement};
use super::request::{Caller, ContextValue, KeyState, Request};
pub(super) use super::rules::Rules;
use super::rules::{AwsRule, denied_across_accounts, is_service_linked};

/// A policy and its name in reports.
#[derive(Debug, Clone, Copy)]
pub struct Attached<'a> {
    pub name: &'a str,
    pub policy: &'a Policy,
}

/// All policies that apply to a request.
#[derive(Debug, Clone, Default)]
pub struct PolicySet<'a> {
    /// The caller's identity-based policies: managed, inline, and those of a user's groups.
    pub identity: Vec<Attached<'a>>,
    /// The policy of the resource: bucket, key, queue, or the trust policy of a role.
    pub resource: Option<Attached<'a>>,
    /// The policy of the bucket behind an access point, if the request goes through one; `None` if it is unknown. The
    /// policy of the access point is `resource`.
    pub bucket: Option<AccessPointBucket<'a>>,
    /// The caller's permissions boundary; empty if there is none.
    pub boundaries: Vec<Attached<'a>>,
    /// The session policies; empty if there are none.
    pub session: Vec<Attached<'a>>,
    /// The service control policies of the caller's account by level, root first; empty without an organization.
    pub scps: Vec<Vec<Attached<'a>>>,
    /// The resource control policies of the resource's account, by level. `RCPFullAWSAccess` is implied at each level.
    pub rcps: Vec<Vec<Attached<'a>>>,
    /// The policy of the VPC endpoint that the request uses; empty if there is none.
    pub endpoint: Vec<Attached<'a>>,
}

/// The bucket behind an access point.
#[derive(Debug, Clone)]
pub struct AccessPointBucket<'a> {
    /// The ARN of the bucket or object that the request reaches there: see
    /// [`behind_access_point`](super::behind_access_point).
    pub resource: String,
    pub policy: Attached<'a>,
}

/// Decides a request by all policies that apply to it.
///
/// It finds every statement that applies, even if an earlier layer has decided, so that the decision can name them. An
/// explicit Deny wins. Then come RCPs, SCPs, endpoint policy, resource policy, identity-based policies, permissions
/// boundary and session policy, as in the flow chart of the IAM User Guide.
#[must_use]
pub fn evaluate<'a>(request: &Request, policies: &PolicySet<'a>) -> Decision<'a> {
    let scene = Scene::new(request, policies);
    let mut matched = scene.matched(policies);
    let spared = scene.rules.is_exempt_by(AwsRule::BucketPolicyOfRoot) && spare_root(&mut matched);
    let (verdict, conditions) = scene.settle(policies, &matched);
    let LayerVerdict { outcome, layer, why } = scene.overrule(verdict);
    let conditions = if outcome == DecisionOutcome::Conditional { conditions } else { Vec::new() };
    let rules = if matches!(why, DecisionReason::Rule(_)) { Vec::new() } else { scene.notes(policies, spared) };
    Decision { outcome, layer, why, matched, conditions, rules }
}

/// Removes the statements that cannot keep the owner's root user from its bucket policy. The root user has neither
/// identity-based policies nor a boundary, so these are statements of the bucket policy. Returns whether there are any.
fn spare_root(matched: &mut Vec<Applied>) -> bool {
    let before = matched.len();
    matched.retain(|applied| applied.layer != Layer::Resource || applied.statement.effect == Effect::Allow);
    matched.len() < before
}

/// The verdict of the first layer that decides.
struct LayerVerdict {
    outcome: DecisionOutcome,
    layer: Option<Layer>,
    why: DecisionReason,
}

impl LayerVerdict {
    fn allowed(why: DecisionReason) -> Self {
        Self { outcome: DecisionOutcome::Allowed, layer: None, why }
    }

    fn missing(layer: Layer, why: DecisionReason) -> Self {
        Self { outcome: DecisionOutcome::ImplicitlyDenied, layer: Some(layer), why }
    }

    fn is_denied(&self) -> bool {
        matches!(self.outcome, DecisionOutcome::ExplicitlyDenied | DecisionOutcome::ImplicitlyDenied)
    }
}

/// A resource of the request: the one that it names, or the bucket behind it.
struct ResourceSide<'r> {
    /// The layer of its policy.
    layer: Layer,
    /// The account that owns it, if known.
    owner: Option<&'r str>,
    has_policy: bool,
}

/// The statements that apply in one case. An uncertain Allow applies in the best case (`hopeful`), an uncertain Deny in
/// the worst case.
struct Counted<'m, 'a> {
    matched: &'m [Applied<'a>],
    hopeful: bool,
}

impl<'m, 'a> Counted<'m, 'a> {
    fn iter(&self) -> impl Iterator<Item = &'m Applied<'a>> {
        let hopeful = self.hopeful;
        self.matched.iter().filter(move |a| a.certain || hopeful == (a.statement.effect == Effect::Allow))
    }

    /// The first layer with a statement that denies the request.
    fn denying_layer(&self) -> Option<Layer> {
        self.iter().filter(|applied| applied.statement.effect == Effect::Deny).map(|applied| applied.layer).min()
    }

    /// Whether a layer allows the request. Only meaningful if no statement denies it.
    fn allows(&self, layer: Layer) -> bool {
        self.iter().any(|applied| applied.layer == layer)
    }

    /// How the resource policy names the caller, if it allows the request.
    fn grant(&self, layer: Layer) -> Option<CallerMatch> {
        self.iter().filter(|applied| applied.layer == layer).map(|applied| applied.grant).max()
    }
}

/// The request with derived values.
pub(super) struct Scene<'r> {
    pub request: &'r Request,
    pub caller: Caller<'r>,
    pub has_boundary: bool,
    rules: Rules,
    /// Whether the caller is a service-linked role, which SCPs and RCPs do not restrict. Only known if there are any.
    service_linked: Truth,
    /// The ARN of the bucket or object behind an access point.
    behind: &'r str,
}

impl<'r> Scene<'r> {
    pub fn new(request: &'r Request, policies: &'r PolicySet<'_>) -> Self {
        let caller = Caller::of(&request.principal);
        let rules = Rules::for_caller(request, &caller);
        let has_limits = !policies.scps.is_empty() || !policies.rcps.is_empty();
        let service_linked = if has_limits { is_service_linked(request, &caller) } else { Truth::No };
        let behind = policies.bucket.as_ref().map_or("", |bucket| &bucket.resource);
        Self { request, caller, has_boundary: !policies.boundaries.is_empty(), rules, service_linked, behind }
    }

    /// The verdict of the policies, and what it depends on if it is conditional.
    fn settle<'a>(&self, policies: &PolicySet<'a>, matched: &[Applied<'a>]) -> (LayerVerdict, Vec<Dependency<'a>>) {
        let sure = self.decide(policies, &Counted { matched, hopeful: false });
        if self.service_linked != Truth::Maybe && matched.iter().all(|applied| applied.certain) {
            return (sure, Vec::new());
        }
        // Decide a worst case and a best case for the caller. Every real case is between the two.
        let best = self.decide(policies, &Counted { matched, hopeful: true });
        if best.outcome == sure.outcome {
            return (best, Vec::new());
        }
        let (outcome, why) = (DecisionOutcome::Conditional, DecisionReason::Depends);
        (LayerVerdict { outcome, layer: sure.layer, why }, self.unsettled(policies, matched))
    }

    /// The verdict after the rules that decide whatever the policies contain.
    fn overrule(&self, verdict: LayerVerdict) -> LayerVerdict {
        let by_rule = |outcome, rule| LayerVerdict { outcome, layer: None, why: DecisionReason::Rule(rule) };
        match (self.rules.allows, self.rules.denies) {
            (Some(rule), _) if verdict.outcome != DecisionOutcome::Allowed => by_rule(DecisionOutcome::Allowed, rule),
            (_, Some(rule)) if verdict.outcome != DecisionOutcome::ExplicitlyDenied => {
                by_rule(DecisionOutcome::ImplicitlyDenied, rule)
            }
            _ => verdict,
        }
    }

    /// The rules that took part in a decision of the policies.
    fn notes(&self, policies: &PolicySet, spared: bool) -> Vec<AwsRule> {
        let mut notes = Vec::new();
        if self.service_linked == Truth::Yes {
            notes.push(AwsRule::ServiceLinkedRole);
        }
        if spared {
            notes.push(AwsRule::BucketPolicyOfRoot);
        }
        if self.rules.is_exempt_by(AwsRule::RetireGrant) && !policies.rcps.is_empty() {
            notes.push(AwsRule::RetireGrant);
        }
        if self.rules.is_exempt_by(AwsRule::AssumeRoot) {
            notes.push(AwsRule::AssumeRoot);
        }
        notes.extend(self.rules.leads);
        notes
    }

    fn matched<'a>(&self, policies: &PolicySet<'a>) -> Vec<Applied<'a>> {
        let mut matched = Vec::new();
        self.each_given(policies, |layer, attached| {
            self.collect(layer, attached, &mut matched);
        });
        matched
    }

    /// Calls `each` for every policy that applies to requests like this one, with its layer. The actions that never work
    /// across accounts are a policy too.
    pub fn each<'a>(&self, policies: &PolicySet<'a>, mut each: impl FnMut(Layer, Attached<'a>)) {
        self.each_given(policies, &mut each);
        if let Some(policy) = denied_across_accounts(self.request, &self.caller) {
            each(Layer::Resource, Attached { name: "", policy });
        }
    }

    /// Calls `each` for every given policy that applies to the request, with its layer.
    fn each_given<'a>(&self, policies: &PolicySet<'a>, mut each: impl FnMut(Layer, Attached<'a>)) {
        let plain = [
            (Layer::Identity, policies.identity.as_slice()),
            (Layer::Resource, policies.resource.as_slice()),
            (Layer::Boundary, policies.boundaries.as_slice()),
            (Layer::Session, policies.session.as_slice()),
            (Layer::Endpoint, policies.endpoint.as_slice()),
        ];
        for (layer, list) in plain {
            for attached in list {
                each(layer, *attached);
            }
        }
        if let Some(bucket) = policies.bucket.as_ref().filter(|_| self.rules.is_led_by(AwsRule::AccessPoint)) {
            each(Layer::Bucket, bucket.policy);
        }
        if self.has_scps() {
            for (level, list) in policies.scps.iter().enumerate() {
                for attached in list {
                    each(Layer::Scp { level }, *attached);
                }
            }
        }
        if !policies.rcps.is_empty() && self.has_rcps() {
            for (level, list) in policies.rcps.iter().enumerate() {
                for attached in list {
                    each(Layer::Rcp { level }, *attached);
                }
            }
        }
    }

    /// Source: IAM User Guide, "Session policies", `GetFederationToken`.
    pub fn is_federated_without_session(&self, policies: &PolicySet) -> bool {
        matches!(self.caller, Caller::FederatedUser { .. }) && policies.session.is_empty()
    }

    /// SCPs apply to the principals of the account, except service-linked roles.
    ///
    /// Source: AWS Organizations User Guide, "Service control policies (SCPs)".
    pub fn has_scps(&self) -> bool {
        self.caller.account().is_some() && self.service_linked != Truth::Yes
    }

    /// RCPs apply to the services that support them, and not to service-linked roles and `kms:RetireGrant`.
    ///
    /// Source: AWS Organizations User Guide, "Resource control policies (RCPs)".
    fn has_rcps(&self) -> bool {
        let prefix = self.request.action.split(':').next().unwrap_or_default();
        self.service_linked != Truth::Yes
            && !self.rules.is_exempt_by(AwsRule::RetireGrant)
            && ServiceEntry::of(prefix).is_none_or(|service| service.has_rcps)
    }

    fn collect<'a>(&self, layer: Layer, attached: Attached<'a>, matched: &mut Vec<Applied<'a>>) {
        let Attached { name, policy } = attached;
        for statement in &policy.statements {
            if !self.selects_action(&statement.action) {
                continue;
            }
            let (truth, grant) = self.principal(layer, statement);
            if truth == Truth::No {
                continue;
            }
            let truth = truth.and(self.resource(layer, policy, statement));
            if truth == Truth::No {
                continue;
            }
            let truth = truth.and(self.conditions(policy, statement));
            if truth != Truth::No {
                // SCPs and RCPs deny nothing to a caller that turns out to be a service-linked role.
                let is_exempt =
                    self.service_linked == Truth::Maybe && layer.level().is_some() && statement.effect == Effect::Deny;
                let certain = truth == Truth::Yes && !is_exempt;
                matched.push(Applied { layer, policy: name, statement, certain, grant });
            }
        }
    }

    fn selects_action(&self, action: &Selector<ActionPattern>) -> bool {
        action.selects(|pattern| pattern.matches(&self.request.action))
    }

    /// A statement without `Resource` applies to the resource to which its policy is attached.
    fn resource(&self, layer: Layer, policy: &Policy, statement: &Statement) -> Truth {
        let Some(resource) = &statement.resource else {
            return Truth::of(matches!(layer, Layer::Resource | Layer::Bucket));
        };
        let any = Truth::any(resource.values.iter().map(|pattern| self.resource_value(layer, policy, pattern)));
        if resource.inverted { any.not() } else { any }
    }

    /// Whether one value of `Resource` or `NotResource` matches the resource of the request.
    fn resource_value(&self, layer: Layer, policy: &Policy, pattern: &str) -> Truth {
        let Request { resource, context, .. } = self.request;
        if self.rules.is_led_by(AwsRule::KeyBehindAlias) {
            return matching::key_behind_alias(pattern, policy.version, context, resource);
        }
        let resource = if layer == Layer::Bucket { self.behind } else { resource };
        matching::resource(pattern, policy.version, context, resource)
    }

    fn conditions(&self, policy: &Policy, statement: &Statement) -> Truth {
        let context = &self.request.context;
        Truth::all(statement.condition.iter().map(|c| matching::condition(c, policy.version, context)))
    }

    /// Whether a statement applies to the caller. Identity-based policies name no principal: they belong to the caller.
    pub fn principal(&self, layer: Layer, statement: &Statement) -> (Truth, CallerMatch) {
        match (&statement.principal, layer) {
            (Some(selector), Layer::Resource | Layer::Bucket | Layer::Rcp { .. } | Layer::Endpoint) => {
                if selector.inverted {
                    self.not_principal(selector, statement.effect)
                } else {
                    let best = selector.values.iter().filter_map(|p| self.names(p)).max();
                    best.map_or((Truth::No, CallerMatch::Unnamed), |grant| (Truth::Yes, grant))
                }
            }
            // A resource policy's statement without a principal applies to no caller.
            (None, Layer::Resource | Layer::Bucket) => (Truth::No, CallerMatch::Unnamed),
            (_, _) => (Truth::Yes, CallerMatch::Unnamed),
        }
    }

    /// Whether a principal in a policy is the caller, and how it names the caller.
    ///
    /// Source: IAM User Guide, "AWS JSON policy elements: Principal".
    fn names(&self, principal: &Principal) -> Option<CallerMatch> {
        let caller = &self.caller;
        match principal {
            Principal::Everyone => Some(CallerMatch::Direct),
            Principal::AnyAws => {
                let aws = !matches!(caller, Caller::Service(_) | Caller::Provider(_));
                aws.then_some(CallerMatch::Direct)
            }
            Principal::Account(id) => (caller.account() == Some(id)).then_some(CallerMatch::Account),
            Principal::Aws(text) if text.as_ref() == self.request.principal => {
                // A role named without a session has the same limits as its sessions.
                let role = matches!(caller, Caller::Role { .. });
                Some(if role { CallerMatch::Behind } else { CallerMatch::Direct })
            }
            Principal::Aws(text) => self.is_behind(text).then_some(CallerMatch::Behind),
            Principal::Service(name) => (*caller == Caller::Service(name)).then_some(CallerMatch::Direct),
            Principal::Federated(name) => {
                let is_provider = matches!(caller, Caller::Provider(_) | Caller::Service(_));
                let is_named = name.as_ref() == "*" || name.as_ref() == self.request.principal;
                (is_provider && is_named).then_some(CallerMatch::Direct)
            }
            Principal::CanonicalUser(id) => match self.request.context.known("aws:CanonicalUser") {
                KeyState::One(own) if own == id.as_ref() => Some(CallerMatch::Account),
                _ => None,
            },
        }
    }

    /// Whether this ARN is the role of the session or the user of the federated user. A session's ARN has no path;
    /// `aws:PrincipalArn` has the role's ARN with its path.
    fn is_behind(&self, text: &str) -> bool {
        let (account, kind, name) = match &self.caller {
            Caller::Session { account, role } => (account, "role", role),
            Caller::FederatedUser { account, name } => (account, "user", name),
            _ => return false,
        };
        if kind == "role"
            && let Some(ContextValue::One(arn)) = self.request.context.get("aws:PrincipalArn")
        {
            return arn == text;
        }
        let Some([_, "iam", _, owner, resource]) = super::arn::split(text) else {
            return false;
        };
        let Some((own_kind, path)) = resource.split_once('/') else {
            return false;
        };
        owner == *account && own_kind == kind && path.rsplit('/').next() == Some(*name)
    }

    /// Evaluates `NotPrincipal`. With `Deny`, it excludes a caller only if it lists everything that the caller belongs
    /// to: the role and account of a role session, the account of a user. AWS does not define the behavior for less
    /// ("might deny"), and with a permissions boundary it always denies.
    ///
    /// Sources: IAM User Guide, "AWS JSON policy elements: `NotPrincipal`"; "Permissions boundaries for IAM entities".
    fn not_principal(&self, selector: &Selector<Principal>, effect: Effect) -> (Truth, CallerMatch) {
        let applies = (Truth::Yes, CallerMatch::Direct);
        let names = || selector.values.iter().filter(|p| self.names(p).is_some());
        if effect == Effect::Allow {
            return if names().next().is_some() { (Truth::No, CallerMatch::Unnamed) } else { applies };
        }
        if self.has_boundary {
            return applies;
        }
        let lists = |wanted: &dyn Fn(&Principal) -> bool| names().any(wanted);
        let own = |p: &Principal| matches!(p, Principal::Aws(text) if text.as_ref() == self.request.principal);
        let behind = |p: &Principal| matches!(p, Principal::Aws(text) if self.is_behind(text));
        let account = |p: &Principal| matches!(p, Principal::Account(_));
        let complete = match &self.caller {
            _ if lists(&|p| matches!(p, Principal::Everyone | Principal::AnyAws)) => true,
            Caller::Session { .. } => lists(&own) && lists(&behind) && lists(&account),
            Caller::User { .. } | Caller::Role { .. } | Caller::FederatedUser { .. } => lists(&own) && lists(&account),
            _ => names().next().is_some(),
        };
        // An account in the list exempts the account itself, and others of it only if they are listed too.
        let is_listed = match &self.caller {
            Caller::Session { .. } => lists(&own) || lists(&behind),
            Caller::User { .. } | Caller::Role { .. } | Caller::FederatedUser { .. } => lists(&own),
            _ => names().next().is_some(),
        };
        if complete {
            (Truth::No, CallerMatch::Unnamed)
        } else if is_listed {
            (Truth::Maybe, CallerMatch::Direct)
        } else {
            applies
        }
    }

    /// Evaluates the layers in order.
    fn decide(&self, policies: &PolicySet, counted: &Counted) -> LayerVerdict {
        if let Some(layer) = counted.denying_layer() {
            let (outcome, why) = (DecisionOutcome::ExplicitlyDenied, DecisionReason::Denied);
            return LayerVerdict { outcome, layer: Some(layer), why };
        }
        // Only Allow statements remain.
        if let Some(missing) = self.missing_around(policies, counted) {
            return missing;
        }
        let point = self.decide_for(policies, counted, &self.side(policies));
        if !self.rules.is_led_by(AwsRule::AccessPoint) || point.is_denied() {
            return point;
        }
        // Both the access point and its bucket must permit the request.
        match &policies.bucket {
            Some(_) => {
                let bucket = self.decide_for(policies, counted, &self.bucket_side());
                if point.why == DecisionReason::Allowed || bucket.outcome != DecisionOutcome::Allowed {
                    bucket
                } else {
                    point
                }
            }
            None => {
                let (outcome, why) = (DecisionOutcome::Conditional, DecisionReason::Rule(AwsRule::AccessPoint));
                LayerVerdict { outcome, layer: Some(Layer::Bucket), why }
            }
        }
    }

    /// The resource of the request and its policy.
    fn side(&self, policies: &PolicySet) -> ResourceSide<'_> {
        let point = self.rules.leads.filter(|rule| *rule == AwsRule::AccessPoint);
        let owner = point.and_then(|_| super::arn::account_of(&self.request.resource)).or(self.request.owner());
        ResourceSide { layer: Layer::Resource, owner, has_policy: policies.resource.is_some() }
    }

    /// The bucket behind the access point and its policy.
    fn bucket_side(&self) -> ResourceSide<'_> {
        ResourceSide { layer: Layer::Bucket, owner: self.request.owner(), has_policy: true }
    }

    /// The verdict of a resource's policy and of the caller's own.
    fn decide_for(&self, policies: &PolicySet, counted: &Counted, side: &ResourceSide) -> LayerVerdict {
        self.decide_by_resource(counted, side)
            .or_else(|| self.missing_at_caller(policies, counted, side))
            .unwrap_or(LayerVerdict::allowed(DecisionReason::Allowed))
    }

    /// The layer outside caller and resource that does not allow the request: an organization's or an endpoint's.
    fn missing_around(&self, policies: &PolicySet, counted: &Counted) -> Option<LayerVerdict> {
        let has_scps = self.has_scps() && !(counted.hopeful && self.service_linked == Truth::Maybe);
        if has_scps
            && let Some(level) = (0..policies.scps.len()).find(|level| !counted.allows(Layer::Scp { level: *level }))
        {
            return Some(LayerVerdict::missing(Layer::Scp { level }, DecisionReason::NotAllowed));
        }
        (!policies.endpoint.is_empty() && !counted.allows(Layer::Endpoint))
            .then_some(LayerVerdict::missing(Layer::Endpoint, DecisionReason::NotAllowed))
    }

    /// The verdict of the resource policy, if it does not depend on the caller's own policies.
    fn decide_by_resource(&self, counted: &Counted, side: &ResourceSide) -> Option<LayerVerdict> {
        let missing = |why| Some(LayerVerdict::missing(side.layer, why));
        let by_resource = LayerVerdict::allowed(DecisionReason::AllowedByResource);
        if self.rules.is_exempt_by(AwsRule::AssumeRoot) {
            return None;
        }
        if self.rules.policy_rules && !side.has_policy {
            let (outcome, why) = (DecisionOutcome::Conditional, DecisionReason::PolicyUnknown);
            return Some(LayerVerdict { outcome, layer: Some(side.layer), why });
        }
        let grant = counted.grant(side.layer);
        if self.caller.account().is_none() {
            // Services, providers and anonymous callers have no identity-based policies.
            return if grant.is_some() { Some(by_resource) } else { missing(DecisionReason::NotAllowed) };
        }
        match (self.is_same_account(side), grant.unwrap_or(CallerMatch::Unnamed)) {
            (true, CallerMatch::Direct) => Some(by_resource),
            (true, CallerMatch::Unnamed) if self.rules.policy_rules => missing(DecisionReason::NotDelegated),
            (false, CallerMatch::Unnamed) => missing(DecisionReason::ResourceOfOtherAccount),
            _ => None,
        }
    }

    /// The layer of the caller's own policies that does not allow the request.
    fn missing_at_caller(&self, policies: &PolicySet, counted: &Counted, side: &ResourceSide) -> Option<LayerVerdict> {
        let missing = |layer, why| Some(LayerVerdict::missing(layer, why));
        if self.is_federated_without_session(policies) {
            return missing(Layer::Session, DecisionReason::FederatedWithoutSessionPolicy);
        }
        let root = matches!(self.caller, Caller::Root { .. });
        let by_grant = self.is_same_account(side) && counted.grant(side.layer) == Some(CallerMatch::Behind);
        if !root && !by_grant && !counted.allows(Layer::Identity) {
            return missing(Layer::Identity, DecisionReason::NotAllowed);
        }
        if self.has_boundary && !counted.allows(Layer::Boundary) {
            return missing(Layer::Boundary, DecisionReason::NotAllowed);
        }
        if !policies.session.is_empty() && !counted.allows(Layer::Session) {
            return missing(Layer::Session, DecisionReason::NotAllowed);
        }
        None
    }

    /// Whether the resource belongs to the caller's account, as far as is known.
    fn is_same_account(&self, side: &ResourceSide) -> bool {
        self.caller.account().is_some_and(|account| side.owner.is_none_or(|owner| owner == account))
    }

    /// The unknowns of the uncertain statements that can change the decision.
    fn unsettled<'a>(&self, policies: &PolicySet<'a>, matched: &[Applied<'a>]) -> Vec<Dependency<'a>> {
        let mut unsettled = Vec::new();
        self.each_given(policies, |layer, attached| {
            for statement in &attached.policy.statements {
                let is_this = |a: &&Applied<'a>| a.layer == layer && !a.certain && std::ptr::eq(a.statement, statement);
                if let Some(applied) = matched.iter().find(is_this).filter(|a| !is_redundant(a, matched)) {
                    self.unknowns(attached.policy, *applied, |on| {
                        unsettled.push(Dependency { on, of: Some(*applied) });
                    });
                }
            }
        });
        if self.service_linked == Truth::Maybe && is_limited(policies, matched) {
            unsettled.push(Dependency { on: DependsOn::ServiceLinked, of: None });
        }
        unsettled.sort_by_key(|dependency| dependency.on);
        unsettled.dedup();
        unsettled
    }

    /// Calls `each` for every unknown of a statement.
    fn unknowns<'a>(&self, policy: &'a Policy, applied: Applied<'a>, mut each: impl FnMut(DependsOn<'a>)) {
        let Applied { layer, statement, .. } = applied;
        if self.principal(layer, statement).0 == Truth::Maybe {
            each(DependsOn::NotPrincipal);
        }
        if self.resource(layer, policy, statement) == Truth::Maybe {
            for pattern in statement.resource.iter().flat_map(|resource| &resource.values) {
                if self.resource_value(layer, policy, pattern) != Truth::Maybe {
                    continue;
                }
                each(if matching::is_open(pattern, policy.version, &self.request.context) {
                    DependsOn::Variable(pattern)
                } else if self.rules.is_led_by(AwsRule::KeyBehindAlias) {
                    DependsOn::Key(pattern)
                } else {
                    DependsOn::Wildcard(pattern)
                });
            }
        }
        let varies =
            |c: &&'a super::Condition| matching::condition(c, policy.version, &self.request.context) == Truth::Maybe;
        statement.condition.iter().filter(varies).for_each(|condition| each(DependsOn::Condition(condition)));
    }
}

/// Whether SCPs or RCPs would limit a caller that is not a service-linked role.
fn is_limited(policies: &PolicySet, matched: &[Applied]) -> bool {
    let allows = |level| {
        let layer = Layer::Scp { level };
        matched.iter().any(|a| a.layer == layer && a.certain && a.statement.effect == Effect::Allow)
    };
    let denies = |a: &Applied| a.layer.level().is_some() && a.statement.effect == Effect::Deny;
    (0..policies.scps.len()).any(|level| !allows(level)) || matched.iter().any(denies)
}

/// Whether a statement that allows for certain makes an uncertain one of the same layer unnecessary.
fn is_redundant(applied: &Applied, matched: &[Applied]) -> bool {
    let is_as_good = |other: &Applied| {
        other.certain
            && other.layer == applied.layer
            && other.statement.effect == Effect::Allow
            && other.grant >= applied.grant
    };
    applied.statement.effect == Effect::Allow && matched.iter().any(is_as_good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::request::RequestContext;
    use serde_json::{Value, json};

    const USER: &str = "arn:aws:iam::111122223333:user/ana";
    const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/app/s1";
    const ROLE: &str = "arn:aws:iam::111122223333:role/team/app";

    fn policy(statements: &Value) -> Policy {
        Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
    }

    fn allow(principal: &Value) -> Policy {
        policy(&json!({"Sid": "Give", "Effect": "Allow", "Principal": principal, "Action": "*", "Resource": "*"}))
    }

    fn identity() -> Policy {
        policy(&json!({"Effect": "Allow", "Action": "*", "Resource": "*"}))
    }

    fn ask(principal: &str, owner: &str) -> Request {
        let mut request = Request::new(principal, "s3:GetObject", "arn:aws:s3:::b/k");
        request.resource_account = Some(owner.to_owned());
        request
    }

    fn named(policy: &Policy) -> Attached<'_> {
        Attached { name: "p", policy }
    }

    /// The outcome and failed layer of a request with at most one identity and one resource policy.
    fn decide(request: &Request, own: Option<&Policy>, theirs: Option<&Policy>) -> String {
        let set = PolicySet {
            identity: own.map(named).into_iter().collect(),
            resource: theirs.map(named),
            ..PolicySet::default()
        };
        let decision = evaluate(request, &set);
        let layer = decision.layer.map_or("-", Layer::as_str);
        format!("{} {layer}", decision.outcome.as_str())
    }

    fn key_of<'a>(dependency: &Dependency<'a>) -> &'a str {
        match dependency.on {
            DependsOn::Condition(condition) => condition.key().as_str(),
            _ => "",
        }
    }

    #[test]
    fn grants_within_an_account() {
        let home = |principal: &str| ask(principal, "111122223333");
        let account = allow(&json!({"AWS": "111122223333"}));
        assert_eq!(decide(&home(USER), None, Some(&allow(&json!({"AWS": USER})))), "Allowed -");
        assert_eq!(decide(&home(USER), None, Some(&account)), "ImplicitlyDenied identity");
        assert_eq!(decide(&home(USER), Some(&identity()), None), "Allowed -");
        let mut session = home(SESSION);
        session.context = RequestContext::new().with("aws:PrincipalArn", ROLE);
        assert_eq!(decide(&session, None, Some(&allow(&json!({"AWS": ROLE})))), "Allowed -");
        session.context = RequestContext::new().with("aws:PrincipalArn", "arn:aws:iam::111122223333:role/app");
        assert_eq!(decide(&session, None, Some(&allow(&json!({"AWS": ROLE})))), "ImplicitlyDenied identity");
    }

    #[test]
    fn grants_to_another_account_need_both_sides() {
        let away = |principal: &str| ask(principal, "444455556666");
        let grant = allow(&json!({"AWS": USER}));
        assert_eq!(decide(&away(USER), Some(&identity()), Some(&grant)), "Allowed -");
        assert_eq!(decide(&away(USER), None, Some(&grant)), "ImplicitlyDenied identity");
        assert_eq!(decide(&away(USER), Some(&identity()), None), "ImplicitlyDenied resource");
        assert_eq!(decide(&away("*"), None, Some(&allow(&json!("*")))), "Allowed -");
        assert_eq!(decide(&away("*"), None, Some(&grant)), "ImplicitlyDenied resource");
        let service = allow(&json!({"Service": "logging.s3.amazonaws.com"}));
        assert_eq!(decide(&away("logging.s3.amazonaws.com"), None, Some(&service)), "Allowed -");
    }

    #[test]
    fn a_key_decides_for_itself() {
        let mut request = ask(USER, "111122223333");
        request.action = "kms:Decrypt".to_owned();
        request.resource = "arn:aws:kms:eu-west-1:111122223333:key/k".to_owned();
        assert_eq!(decide(&request, Some(&identity()), None), "Conditional resource");
        let other = allow(&json!({"AWS": "444455556666"}));
        assert_eq!(decide(&request, Some(&identity()), Some(&other)), "ImplicitlyDenied resource");
        let account = allow(&json!({"AWS": "111122223333"}));
        assert_eq!(decide(&request, Some(&identity()), Some(&account)), "Allowed -");
    }

    #[test]
    fn limits_and_reasons() {
        let (all, none) = (identity(), policy(&json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"})));
        let set = PolicySet { identity: vec![named(&all)], boundaries: vec![named(&none)], ..PolicySet::default() };
        let request = ask(USER, "111122223333");
        let decision = evaluate(&request, &set);
        assert_eq!((decision.layer, decision.why), (Some(Layer::Boundary), DecisionReason::NotAllowed));
        assert_eq!(decision.reason(), "nothing in the permissions boundary allows it");
        let deny = policy(&json!({"Sid": "No", "Effect": "Deny", "Action": "s3:*", "Resource": "*"}));
        let scps = vec![vec![named(&all)], vec![named(&all), named(&deny)]];
        let set = PolicySet { identity: vec![named(&all)], scps, ..PolicySet::default() };
        let decision = evaluate(&request, &set);
        assert_eq!(decision.layer, Some(Layer::Scp { level: 1 }));
        assert_eq!(decision.reason(), "statement 1 `No` of `p` in the service control policies of level 1 denies it");
        assert_eq!(decision.deciding().count(), 1);
    }

    #[test]
    fn conditional_decision_names_its_condition_keys() {
        let tagged = policy(&json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*",
            "Condition": {"StringEquals": {"aws:PrincipalTag/team": "red"}, "Bool": {"aws:SecureTransport": "true"}}}));
        let mut request = ask(USER, "111122223333");
        request.context = RequestContext::open().with("aws:SecureTransport", "true");
        let set = PolicySet { identity: vec![named(&tagged)], ..PolicySet::default() };
        let decision = evaluate(&request, &set);
        assert_eq!((decision.outcome, decision.why), (DecisionOutcome::Conditional, DecisionReason::Depends));
        let keys: Vec<&str> = decision.conditions.iter().map(key_of).collect();
        assert_eq!(keys, ["aws:PrincipalTag/team"]);
        assert_eq!(decision.reason(), "it depends on `aws:PrincipalTag/team`");
        // An unconditional Deny makes the decision certain.
        let deny = policy(&json!({"Effect": "Deny", "Action": "s3:*", "Resource": "*"}));
        let set = PolicySet { identity: vec![named(&tagged), named(&deny)], ..PolicySet::default() };
        assert_eq!(evaluate(&request, &set).outcome, DecisionOutcome::ExplicitlyDenied);
    }

    #[test]
    fn not_principal_exempts_only_principals_listed_with_their_account() {
        let request = ask(USER, "111122223333");
        let deny = |principals: &Value| {
            let value = json!([
                {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"},
                {"Effect": "Deny", "NotPrincipal": {"AWS": principals}, "Action": "*", "Resource": "*"},
            ]);
            decide(&request, None, Some(&policy(&value)))
        };
        assert_eq!(deny(&json!([USER, "111122223333"])), "Allowed -");
        assert_eq!(deny(&json!([USER])), "Conditional resource");
        assert_eq!(deny(&json!(["111122223333"])), "ExplicitlyDenied resource");
        assert_eq!(deny(&json!(["444455556666"])), "ExplicitlyDenied resource");
    }
}
