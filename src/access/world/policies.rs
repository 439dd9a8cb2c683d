//! The policies that apply to a request: those that were read, optionally with the unread ones allowing everything.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::nodes::{Held, WorldRole};
use crate::access::terms::{PolicyOf, PolicyRef, Requirement, StatementRef};
use crate::access::unread::Unread;
use crate::iam::{
    Attached, Decision, Effect, Layer, Policy, PolicySet, Principal, Request, Selector, Statement, Version, evaluate,
};

/// The label of a caller's own policies when they have not been read.
pub(in crate::access) static CALLER: LazyLock<String> = LazyLock::new(|| PolicyRef::from(PolicyOf::Caller).label());

/// The label of a permissions boundary that has not been read.
static UNREAD_BOUNDARY: LazyLock<String> = LazyLock::new(|| PolicyRef::from(PolicyOf::Boundary { arn: None }).label());

/// The most that unread policies can allow.
pub(in crate::access) static EVERYTHING: LazyLock<Policy> =
    LazyLock::new(|| Policy::new(Version::V2012, [Statement::allow(["*"], ["*"])]));

/// The least that unread policies can allow.
pub(in crate::access) static NOTHING: LazyLock<Policy> = LazyLock::new(|| Policy::new(Version::V2012, []));

/// A policy of a caller or a resource that denies everything to everyone.
static DENIED: LazyLock<Policy> = LazyLock::new(|| {
    let text = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}"#;
    Policy::parse(text).unwrap_or_else(|_| NOTHING.clone())
});

/// The unread policies that decide about requests of a principal. `role` is its role in the world, if it has one.
pub(in crate::access) fn caller_gaps(role: Option<&WorldRole>, principal: &str) -> BTreeSet<Unread> {
    match role {
        Some(role) => role.unknown.clone(),
        None => [Unread::CallerPolicies { principal: principal.to_owned() }].into(),
    }
}

/// The policies that apply to requests of a role, or of any other caller. Unread policies allow nothing.
pub(in crate::access) fn policies<'a>(role: Option<&'a WorldRole>, resource: Option<Attached<'a>>) -> PolicySet<'a> {
    let held = |list: &'a [Held]| list.iter().map(|h| Attached { name: &h.label, policy: &h.policy }).collect();
    let mut set = PolicySet { resource, ..PolicySet::default() };
    if let Some(role) = role {
        set.identity = held(&role.identity);
        set.boundaries = held(&role.boundary);
        if role.unknown.iter().any(|unread| matches!(unread, Unread::Boundary { .. })) {
            set.boundaries.push(Attached { name: &UNREAD_BOUNDARY, policy: &NOTHING });
        }
    }
    set
}

/// Like [`policies`], but an unread boundary, and the policies of a caller that is not a role of the world, allow
/// everything.
pub(in crate::access) fn policies_at_most<'a>(
    role: Option<&'a WorldRole>,
    resource: Option<Attached<'a>>,
) -> PolicySet<'a> {
    let mut set = policies(role, resource);
    if role.is_none() {
        set.identity = vec![Attached { name: &CALLER, policy: &EVERYTHING }];
    }
    set.boundaries.retain(|boundary| boundary.name != UNREAD_BOUNDARY.as_str());
    set
}

/// The policies with these gaps allowing everything. `resource` replaces an unread policy of the resource.
pub(in crate::access) fn at_most<'a>(
    known: &PolicySet<'a>,
    gaps: &BTreeSet<Unread>,
    resource: Attached<'a>,
) -> PolicySet<'a> {
    let mut set = known.clone();
    for gap in gaps {
        match gap {
            Unread::Boundary { .. } => set.boundaries.retain(|b| b.name != UNREAD_BOUNDARY.as_str()),
            Unread::RolePolicies { .. } | Unread::ManagedPolicy { .. } | Unread::CallerPolicies { .. } => {
                set.identity.push(Attached { name: &CALLER, policy: &EVERYTHING });
            }
            Unread::BucketPolicy { .. }
            | Unread::KeyPolicy { .. }
            | Unread::ResourcePolicy { .. }
            | Unread::TrustPolicy { .. }
            | Unread::AccountPolicies { .. }
            | Unread::Issuer { .. }
            | Unread::Annotations { .. } => set.resource = Some(resource),
        }
    }
    set
}

/// Whether a policy with this gap could deny a request: whether the request is not allowed for certain if the unread
/// policy denies everything.
pub(in crate::access) fn matters(request: &Request, known: &PolicySet<'_>, gap: &Unread) -> bool {
    let denied = Attached { name: "", policy: &DENIED };
    let mut set = known.clone();
    match gap {
        Unread::Boundary { .. }
        | Unread::RolePolicies { .. }
        | Unread::ManagedPolicy { .. }
        | Unread::CallerPolicies { .. } => set.identity.push(denied),
        _ => set.resource = Some(denied),
    }
    !evaluate(request, &set).is_allowed()
}

/// A policy that allows anyone.
pub(in crate::access) fn anyone() -> Policy {
    Policy::new(Version::V2012, [Statement::allow(["*"], ["*"]).to(Selector::of([Principal::Everyone]))])
}

/// The statement of the resource policy that allows the request, or else one of the caller's.
pub(in crate::access) fn statement_of(decision: &Decision<'_>) -> Option<StatementRef> {
    let allows = || decision.matched.iter().filter(|a| a.statement.effect() == Effect::Allow);
    let applied = allows().find(|a| a.layer == Layer::Resource).or_else(|| allows().next())?;
    Some(StatementRef::applied(applied))
}

/// The conditions on which a decision depends.
pub(in crate::access) fn unsettled(decision: &Decision<'_>) -> BTreeSet<Requirement> {
    decision.conditions.iter().map(Requirement::depends_on).collect()
}
