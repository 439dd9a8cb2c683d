//! Decides requests: which policies apply, in which order, and what each layer must allow.
//!
//! Sources: IAM User Guide, "Policy evaluation logic", "Cross-account policy evaluation logic", "Permissions boundaries
//! for IAM entities", "Session policies" and "AWS JSON policy elements: `NotPrincipal`"; AWS Organizations User Guide,
//! "SCP evaluation" and "Resource control policies"; KMS Developer Guide, "Key policies".

use std::fmt;

use super::catalogue::ServiceEntry;
use super::condition::Condition;
use super::matching::{self, Truth};
use super::name::ActionPattern;
use super::policy::{Effect, Policy, Principal, Selector, Statement};
use super::request::{Caller, ContextValue, KeyState, Request};

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

/// A layer of the evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// A resource control policy. The level counts from 0 at the root.
    Rcp {
        level: usize,
    },
    /// A service control policy. The level counts from 0 at the root.
    Scp {
        level: usize,
    },
    Endpoint,
    Resource,
    Identity,
    Boundary,
    Session,
}

impl Layer {
    /// A stable name: `identity`, `resource`, `permission_boundary`, `session`, `scp`, `rcp`, `endpoint`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Layer::Rcp { .. } => "rcp",
            Layer::Scp { .. } => "scp",
            Layer::Endpoint => "endpoint",
            Layer::Resource => "resource",
            Layer::Identity => "identity",
            Layer::Boundary => "permission_boundary",
            Layer::Session => "session",
        }
    }

    /// The level of an SCP or RCP, counted from 0 at the root.
    #[must_use]
    pub fn level(self) -> Option<usize> {
        match self {
            Layer::Rcp { level } | Layer::Scp { level } => Some(level),
            _ => None,
        }
    }
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecisionOutcome {
    Allowed,
    /// No statement allows the request in a layer that must allow it.
    ImplicitlyDenied,
    /// A statement denies the request.
    ExplicitlyDenied,
    /// The outcome depends on unknown values: see [`Decision::conditions`] and [`Decision::reason`].
    Conditional,
}

impl DecisionOutcome {
    /// The name: `Allowed`, `ImplicitlyDenied`, `ExplicitlyDenied`, `Conditional`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DecisionOutcome::Allowed => "Allowed",
            DecisionOutcome::ImplicitlyDenied => "ImplicitlyDenied",
            DecisionOutcome::ExplicitlyDenied => "ExplicitlyDenied",
            DecisionOutcome::Conditional => "Conditional",
        }
    }
}

/// A statement that applies to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<'a> {
    pub layer: Layer,
    /// The name of the statement's policy.
    pub policy: &'a str,
    pub statement: &'a Statement,
    /// Whether the statement certainly applies, and does not depend on unknown values.
    pub certain: bool,
    pub(super) grant: CallerMatch,
}

/// How a statement of a resource policy names the caller. Different layers limit an Allow for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CallerMatch {
    /// It does not name the caller, or it names no principal.
    Unnamed,
    /// It names the caller's account: the identity-based policies must allow the request too.
    Account,
    /// It names the role of a session or the user of a federated user: boundary and session policies must allow it too.
    Behind,
    /// It names the caller itself, or everyone.
    Direct,
}

/// The reason for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecisionReason {
    /// Every layer allows the request.
    Allowed,
    /// The resource policy names the caller itself, so that only SCPs and RCPs limit it further.
    AllowedByResource,
    /// A statement denies the request.
    Denied,
    /// No statement of the layer allows the request.
    NotAllowed,
    /// The resource belongs to another account and its policy does not allow it.
    ResourceOfOtherAccount,
    /// The policy of the key or role does not delegate to its account.
    NotDelegated,
    /// A federated user without a session policy gets only what resource policies grant to the session.
    FederatedWithoutSessionPolicy,
    /// The key policy or trust policy is missing from the input, although one always exists.
    PolicyUnknown,
    /// The outcome depends on unknown condition keys, or on a `NotPrincipal` with undefined behavior.
    Depends,
}

/// The decision about one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    pub outcome: DecisionOutcome,
    /// The layer that failed, unless the request is allowed.
    pub layer: Option<Layer>,
    pub why: DecisionReason,
    /// Every statement that applies, or may apply, to the request.
    pub matched: Vec<Applied<'a>>,
    /// The conditions on which a [`DecisionOutcome::Conditional`] depends.
    pub conditions: Vec<&'a Condition>,
}

impl<'a> Decision<'a> {
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.outcome == DecisionOutcome::Allowed
    }

    /// Whether the request is denied, whatever the unknown conditions turn out to be.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self.outcome {
            DecisionOutcome::ExplicitlyDenied | DecisionOutcome::ImplicitlyDenied => true,
            DecisionOutcome::Allowed | DecisionOutcome::Conditional => false,
        }
    }

    /// The statements that decided: those that deny, or those that allow where an Allow was needed. Empty for an
    /// implicit deny.
    pub fn deciding(&self) -> impl Iterator<Item = &Applied<'a>> {
        let wanted = match self.outcome {
            DecisionOutcome::Allowed => Some(Effect::Allow),
            DecisionOutcome::ExplicitlyDenied => Some(Effect::Deny),
            DecisionOutcome::ImplicitlyDenied | DecisionOutcome::Conditional => None,
        };
        let only_resource = self.why == DecisionReason::AllowedByResource;
        self.matched.iter().filter(move |applied| {
            applied.certain
                && Some(applied.statement.effect()) == wanted
                && !(only_resource && matches!(applied.layer, Layer::Identity | Layer::Boundary | Layer::Session))
        })
    }

    /// The reason as one sentence.
    #[must_use]
    pub fn reason(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layer = self.layer.map_or(String::new(), |layer| match layer {
            Layer::Scp { level } => format!("the service control policies of level {level}"),
            Layer::Rcp { level } => format!("the resource control policies of level {level}"),
            Layer::Endpoint => "the VPC endpoint policy".to_owned(),
            Layer::Resource => "the resource policy".to_owned(),
            Layer::Identity => "the identity-based policies".to_owned(),
            Layer::Boundary => "the permissions boundary".to_owned(),
            Layer::Session => "the session policy".to_owned(),
        });
        match self.why {
            DecisionReason::Allowed => f.write_str("every layer allows it"),
            DecisionReason::AllowedByResource => f.write_str("the resource policy grants it to the caller directly"),
            DecisionReason::Denied => {
                let statement = self.deciding().next();
                let sid = statement.and_then(|s| s.statement.sid()).unwrap_or_default();
                let policy = statement.map_or("", |s| s.policy);
                let index = statement.map_or(0, |s| s.statement.position());
                write!(f, "statement {index}")?;
                if !sid.is_empty() {
                    write!(f, " `{sid}`")?;
                }
                write!(f, " of `{policy}` in {layer} denies it")
            }
            DecisionReason::NotAllowed => write!(f, "nothing in {layer} allows it"),
            DecisionReason::ResourceOfOtherAccount => {
                f.write_str("the resource belongs to another account, and its policy does not allow it")
            }
            DecisionReason::NotDelegated => {
                f.write_str("the policy of the key or role neither names the caller nor lets its account decide")
            }
            DecisionReason::FederatedWithoutSessionPolicy => f.write_str(
                "a federated user without session policy has only what resource policies grant to the session",
            ),
            DecisionReason::PolicyUnknown => f.write_str("the policy of the key or role is not known"),
            DecisionReason::Depends => {
                f.write_str("it depends on")?;
                let mut keys: Vec<&str> = self.conditions.iter().map(|condition| condition.key().as_str()).collect();
                keys.sort_unstable();
                keys.dedup();
                if keys.is_empty() {
                    return f.write_str(" who `NotPrincipal` leaves out, or on a policy variable");
                }
                for (at, key) in keys.iter().enumerate() {
                    write!(f, "{} `{key}`", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

/// Decides a request by all policies that apply to it.
///
/// It finds every statement that applies, even if an earlier layer has decided, so that the decision can name them. An
/// explicit Deny wins. Then come RCPs, SCPs, endpoint policy, resource policy, identity-based policies, permissions
/// boundary and session policy, as in the flow chart of the IAM User Guide.
#[must_use]
pub fn evaluate<'a>(request: &Request, policies: &PolicySet<'a>) -> Decision<'a> {
    let scene = Scene::new(request, policies);
    let matched = scene.matched(policies);
    let sure = scene.decide(policies, &Counted { matched: &matched, hopeful: false });
    if matched.iter().all(|applied| applied.certain) {
        let LayerVerdict { outcome, layer, why } = sure;
        return Decision { outcome, layer, why, matched, conditions: Vec::new() };
    }
    // Decide a worst case and a best case for the caller. Every real case is between the two.
    let best = scene.decide(policies, &Counted { matched: &matched, hopeful: true });
    let (verdict, conditions) = if best.outcome == sure.outcome {
        (best, Vec::new())
    } else {
        let unsettled = scene.unsettled(policies, &matched);
        (
            LayerVerdict { outcome: DecisionOutcome::Conditional, layer: sure.layer, why: DecisionReason::Depends },
            unsettled,
        )
    };
    let LayerVerdict { outcome, layer, why } = verdict;
    Decision { outcome, layer, why, matched, conditions }
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
    fn grant(&self) -> Option<CallerMatch> {
        self.iter().filter(|applied| applied.layer == Layer::Resource).map(|applied| applied.grant).max()
    }
}

/// The request with derived values.
pub(super) struct Scene<'r> {
    pub request: &'r Request,
    pub caller: Caller<'r>,
    pub has_boundary: bool,
}

impl<'r> Scene<'r> {
    pub fn new(request: &'r Request, policies: &PolicySet) -> Self {
        let caller = Caller::of(&request.principal);
        Self { request, caller, has_boundary: !policies.boundaries.is_empty() }
    }
    fn matched<'a>(&self, policies: &PolicySet<'a>) -> Vec<Applied<'a>> {
        let mut matched = Vec::new();
        self.each(policies, |layer, attached| {
            self.collect(layer, attached, &mut matched);
        });
        matched
    }

    /// Calls `each` for every policy that applies to the request, with its layer.
    pub fn each<'a>(&self, policies: &PolicySet<'a>, mut each: impl FnMut(Layer, Attached<'a>)) {
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
        self.caller.account().is_some() && !self.request.principal.contains(":role/aws-service-role/")
    }

    /// RCPs apply to the services that support them, and not to service-linked roles.
    ///
    /// Source: AWS Organizations User Guide, "Resource control policies (RCPs)".
    fn has_rcps(&self) -> bool {
        let prefix = self.request.action.split(':').next().unwrap_or_default();
        ServiceEntry::of(prefix).is_none_or(|service| service.has_rcps)
            && !self.request.principal.contains(":role/aws-service-role/")
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
                let certain = truth == Truth::Yes;
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
            return Truth::of(layer == Layer::Resource);
        };
        let Request { resource: text, context, .. } = self.request;
        let any = Truth::any(resource.values.iter().map(|p| matching::resource(p, policy.version, context, text)));
        if resource.inverted { any.not() } else { any }
    }

    fn conditions(&self, policy: &Policy, statement: &Statement) -> Truth {
        let context = &self.request.context;
        Truth::all(statement.condition.iter().map(|c| matching::condition(c, policy.version, context)))
    }

    /// Whether a statement applies to the caller. Identity-based policies name no principal: they belong to the caller.
    pub fn principal(&self, layer: Layer, statement: &Statement) -> (Truth, CallerMatch) {
        match (&statement.principal, layer) {
            (Some(selector), Layer::Resource | Layer::Rcp { .. } | Layer::Endpoint) => {
                if selector.inverted {
                    self.not_principal(selector, statement.effect)
                } else {
                    let best = selector.values.iter().filter_map(|p| self.names(p)).max();
                    best.map_or((Truth::No, CallerMatch::Unnamed), |grant| (Truth::Yes, grant))
                }
            }
            // A resource policy's statement without a principal applies to no caller.
            (None, Layer::Resource) => (Truth::No, CallerMatch::Unnamed),
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
        self.missing_around(policies, counted)
            .or_else(|| self.decide_by_resource(policies, counted))
            .or_else(|| self.missing_at_caller(policies, counted))
            .unwrap_or(LayerVerdict::allowed(DecisionReason::Allowed))
    }

    /// The layer outside caller and resource that does not allow the request: an organization's or an endpoint's.
    fn missing_around(&self, policies: &PolicySet, counted: &Counted) -> Option<LayerVerdict> {
        if self.has_scps()
            && let Some(level) = (0..policies.scps.len()).find(|level| !counted.allows(Layer::Scp { level: *level }))
        {
            return Some(LayerVerdict::missing(Layer::Scp { level }, DecisionReason::NotAllowed));
        }
        (!policies.endpoint.is_empty() && !counted.allows(Layer::Endpoint))
            .then_some(LayerVerdict::missing(Layer::Endpoint, DecisionReason::NotAllowed))
    }

    /// The verdict of the resource policy, if it does not depend on the caller's own policies.
    fn decide_by_resource(&self, policies: &PolicySet, counted: &Counted) -> Option<LayerVerdict> {
        let missing = |why| Some(LayerVerdict::missing(Layer::Resource, why));
        let by_resource = LayerVerdict::allowed(DecisionReason::AllowedByResource);
        let rules = Rules::of(self.request);
        if rules.policy_rules && policies.resource.is_none() {
            let (outcome, why) = (DecisionOutcome::Conditional, DecisionReason::PolicyUnknown);
            return Some(LayerVerdict { outcome, layer: Some(Layer::Resource), why });
        }
        let grant = counted.grant();
        if self.caller.account().is_none() {
            // Services, providers and anonymous callers have no identity-based policies.
            return if grant.is_some() { Some(by_resource) } else { missing(DecisionReason::NotAllowed) };
        }
        match (self.is_same_account(), grant.unwrap_or(CallerMatch::Unnamed)) {
            (true, CallerMatch::Direct) => Some(by_resource),
            (true, CallerMatch::Unnamed) if rules.policy_rules => missing(DecisionReason::NotDelegated),
            (false, CallerMatch::Unnamed) => missing(DecisionReason::ResourceOfOtherAccount),
            _ => None,
        }
    }

    /// The layer of the caller's own policies that does not allow the request.
    fn missing_at_caller(&self, policies: &PolicySet, counted: &Counted) -> Option<LayerVerdict> {
        let missing = |layer, why| Some(LayerVerdict::missing(layer, why));
        if self.is_federated_without_session(policies) {
            return missing(Layer::Session, DecisionReason::FederatedWithoutSessionPolicy);
        }
        let root = matches!(self.caller, Caller::Root { .. });
        let by_grant = self.is_same_account() && counted.grant() == Some(CallerMatch::Behind);
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
    fn is_same_account(&self) -> bool {
        self.caller.account().is_some_and(|account| self.request.owner().is_none_or(|owner| owner == account))
    }

    /// The uncertain conditions of the uncertain statements.
    fn unsettled<'a>(&self, policies: &PolicySet<'a>, matched: &[Applied<'a>]) -> Vec<&'a Condition> {
        let mut unsettled = Vec::new();
        self.each(policies, |_, attached| {
            let version = attached.policy.version;
            for statement in &attached.policy.statements {
                let is_uncertain = |a: &Applied| !a.certain && std::ptr::eq(a.statement, statement);
                if matched.iter().any(is_uncertain) {
                    let varies =
                        |c: &&Condition| matching::condition(c, version, &self.request.context) == Truth::Maybe;
                    unsettled.extend(statement.condition.iter().filter(varies));
                }
            }
        });
        unsettled.sort_unstable();
        unsettled.dedup();
        unsettled
    }
}

/// Special rules of the resource.
pub(super) struct Rules {
    /// Whether the resource policy alone decides, and identity-based policies matter only if it delegates to the
    /// account. This is true of KMS keys and of trust policies of roles.
    pub policy_rules: bool,
}

impl Rules {
    pub fn of(request: &Request) -> Self {
        let action = request.action.as_str();
        let of_key = super::arn::split(&request.resource)
            .is_some_and(|[_, service, _, _, resource]| service == "kms" && resource.starts_with("key/"));
        let kms = of_key && action.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("kms:"));
        let trust = [
            "sts:AssumeRole",
            "sts:AssumeRoleWithWebIdentity",
            "sts:AssumeRoleWithSAML",
            "sts:TagSession",
            "sts:SetSourceIdentity",
        ]
        .iter()
        .any(|name| action.eq_ignore_ascii_case(name))
            && super::arn::split(&request.resource)
                .is_some_and(|[_, service, _, _, resource]| service == "iam" && resource.starts_with("role/"));
        Self { policy_rules: kms || trust }
    }
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
        let keys: Vec<&str> = decision.conditions.iter().map(|c| c.key().as_str()).collect();
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
