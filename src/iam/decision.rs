//! The decision about a request, as data and as a sentence.

use std::fmt;

use super::condition::Condition;
use super::policy::{Effect, Statement};
use super::rules::AwsRule;

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
    /// The policy of the bucket behind an access point, whose own policy is [`Layer::Resource`].
    Bucket,
    Identity,
    Boundary,
    Session,
}

impl Layer {
    /// A stable name: `identity`, `resource`, `bucket`, `permission_boundary`, `session`, `scp`, `rcp`, `endpoint`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Layer::Rcp { .. } => "rcp",
            Layer::Scp { .. } => "scp",
            Layer::Endpoint => "endpoint",
            Layer::Resource => "resource",
            Layer::Bucket => "bucket",
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
    /// A rule of AWS beyond the policy language decides, or the policy that it needs is missing from the input.
    Rule(AwsRule),
    /// The outcome depends on unknown values: see [`Decision::conditions`].
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
    /// What a [`DecisionOutcome::Conditional`] depends on.
    pub conditions: Vec<Dependency<'a>>,
    /// The rules of AWS beyond the policy language that took part.
    pub rules: Vec<AwsRule>,
}

/// An unknown on which a decision depends, and the statement that contains it.
///
/// A statement applies if all its unknowns hold. One that allows lets the request through if it applies, one that
/// denies if it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency<'a> {
    pub on: DependsOn<'a>,
    /// The statement; `None` for an unknown about the caller.
    pub of: Option<Applied<'a>>,
}

impl Dependency<'_> {
    /// Whether the request is allowed if the unknown does not hold: it belongs to a statement that denies.
    #[must_use]
    pub fn is_negated(&self) -> bool {
        self.of.is_some_and(|applied| applied.statement.effect() == Effect::Deny)
    }
}

/// The kinds of unknowns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependsOn<'a> {
    /// A condition on a key with an unknown value.
    Condition(&'a Condition),
    /// The resource matches a pattern with an unknown policy variable.
    Variable(&'a str),
    /// The key behind the alias in the request matches a pattern.
    Key(&'a str),
    /// The resource matches a pattern if its `*` also matches beyond a colon, about which AWS's pages disagree.
    Wildcard(&'a str),
    /// A `NotPrincipal` that lists the caller only in part applies to it.
    NotPrincipal,
    /// The caller is a service-linked role.
    ServiceLinked,
}

impl fmt::Display for DependsOn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition(condition) => {
                write!(f, "{} {}", condition.key(), condition.operator())?;
                for (at, value) in condition.values().enumerate() {
                    write!(f, "{} `{value}`", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Variable(pattern) => write!(f, "the resource matches `{pattern}`"),
            Self::Key(pattern) => write!(f, "the key behind the alias matches `{pattern}`"),
            Self::Wildcard(pattern) => {
                write!(f, "`*` in `{pattern}` also matches beyond the colon: {}", AwsRule::WildcardBeyondColon)
            }
            Self::NotPrincipal => f.write_str("`NotPrincipal` applies to the caller"),
            Self::ServiceLinked => f.write_str("the caller is a service-linked role"),
        }
    }
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
            _ if matches!(self.why, DecisionReason::Rule(_)) => None,
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
        self.write_reason(f)?;
        self.rules.iter().try_for_each(|rule| write!(f, "; {rule}"))
    }
}

impl Decision<'_> {
    fn write_reason(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            DecisionReason::Allowed => f.write_str("every layer allows it"),
            DecisionReason::AllowedByResource => f.write_str("the resource policy grants it to the caller directly"),
            DecisionReason::Denied => self.write_denial(f),
            DecisionReason::NotAllowed => write!(f, "nothing in {} allows it", layer_words(self.layer)),
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
            DecisionReason::Rule(AwsRule::AccessPoint) => {
                write!(f, "the policy of the bucket behind the access point is not known; {}", AwsRule::AccessPoint)
            }
            DecisionReason::Rule(rule) => write!(f, "{rule}"),
            DecisionReason::Depends => self.write_dependencies(f),
        }
    }

    /// `statement 1 `Sid` of `policy` in the resource policy denies it`.
    fn write_denial(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statement = self.deciding().next();
        let sid = statement.and_then(|s| s.statement.sid()).unwrap_or_default();
        let policy = statement.map_or("", |s| s.policy);
        let index = statement.map_or(0, |s| s.statement.position());
        write!(f, "statement {index}")?;
        if !sid.is_empty() {
            write!(f, " `{sid}`")?;
        }
        write!(f, " of `{policy}` in {} denies it", layer_words(self.layer))
    }

    /// `it depends on` with the condition keys, and then the other unknowns.
    fn write_dependencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it depends on")?;
        let keys = self.conditions.iter().filter_map(|dependency| match dependency.on {
            DependsOn::Condition(condition) => Some(format!("`{}`", condition.key())),
            _ => None,
        });
        let mut parts: Vec<String> = keys.collect();
        parts.sort_unstable();
        let mut others: Vec<String> = Vec::new();
        for dependency in &self.conditions {
            if !matches!(dependency.on, DependsOn::Condition(_)) {
                others.push(format!("whether {}", dependency.on));
            }
        }
        others.sort_unstable();
        parts.append(&mut others);
        parts.dedup();
        write!(f, " {}", parts.join(", "))
    }
}

fn layer_words(layer: Option<Layer>) -> String {
    layer.map_or(String::new(), |layer| match layer {
        Layer::Scp { level } => format!("the service control policies of level {level}"),
        Layer::Rcp { level } => format!("the resource control policies of level {level}"),
        Layer::Endpoint => "the VPC endpoint policy".to_owned(),
        Layer::Resource => "the resource policy".to_owned(),
        Layer::Bucket => "the policy of the bucket behind the access point".to_owned(),
        Layer::Identity => "the identity-based policies".to_owned(),
        Layer::Boundary => "the permissions boundary".to_owned(),
        Layer::Session => "the session policy".to_owned(),
    })
}
