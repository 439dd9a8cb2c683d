//! `lockout`: a change that the applying identity could not correct afterwards, because it could no longer write a
//! bucket or key policy or reach a cluster.

use super::context::{Context, PlanRule};
use crate::access::{ClusterAccess, Facet, Instance, PolicyText, ResourcePolicy, is_session_of, lockout};
use crate::address::Address;
use crate::diagnostic::{Code, Diagnostic};
use crate::diff::{DeposedDiff, ResourceDiff, Verdict};
use crate::iam::Policy;
use crate::snapshot::Seen;
use crate::state::Owned;

/// Checks every document as it would be after the change, including the statements of others, and every loss of access
/// to a cluster.
pub(super) struct Lockout;

impl PlanRule for Lockout {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Diagnostic>) {
        policies(context, findings);
        if let Some(diff) = context.diff {
            findings.extend(diff.resources.values().filter_map(|change| lost_cluster(context, change)));
            findings.extend(diff.deposed.iter().filter_map(|deposed| lost_by_deposing(context, deposed)));
        }
    }
}

fn policies(context: &Context<'_>, findings: &mut Vec<Diagnostic>) {
    for resource in context.desired.resources.values() {
        let (Facet::Resource(wanted), Some(Facet::Resource(live))) = (context.facet(resource), context.seen(resource))
        else {
            continue;
        };
        let physical_id = resource.physical_id.as_str();
        let becomes = becomes(&wanted, live);
        let told = context.facts.caller(&resource.scope).zip(becomes);
        let Some(why) = told.and_then(|(caller, policy)| lockout(&wanted, caller, &policy)) else { continue };
        findings.push(
            Diagnostic::new(
                Code::Lockout,
                format!("the policy of `{physical_id}` would lock out the identity that applies it: {why}"),
            )
            .about(&resource.address)
            .at(resource.source.clone())
            .help(
                "exclude that identity from the policy first; otherwise only the account's root user can change a \
                 bucket policy afterwards, and a key policy cannot be changed at all",
            ),
        );
    }
}

/// A change that removes the applying identity's access to a cluster.
fn lost_cluster(context: &Context<'_>, change: &ResourceDiff) -> Option<Diagnostic> {
    let owned = change.owned.as_ref();
    let desired = change.desired.as_deref();
    let (scope, physical_id) = match (desired, owned) {
        (Some(desired), _) => (&desired.scope, &desired.physical_id),
        (None, owned) => owned.map(|owned| (&owned.scope, &owned.physical_id))?,
    };
    let Seen::Present { body, .. } = &change.seen else { return None };
    let live = own_access(context, &change.address, Instance { scope, physical_id, body })?;
    let lost = lost(context, change, &live)?;
    Some(cluster_lockout(&change.address, &live, &lost).at(desired.and_then(|desired| desired.source.clone())))
}

/// The deletion of an access entry of the identity that applies, whose address names another one from now on. It is known
/// from its last apply.
fn lost_by_deposing(context: &Context<'_>, deposed: &DeposedDiff) -> Option<Diagnostic> {
    let Owned { scope, physical_id, body, .. } = &deposed.object;
    let body = body.as_ref().filter(|_| !deposed.released)?;
    let live = own_access(context, &deposed.address, Instance { scope, physical_id, body })?;
    let source = context.desired.resources.get(&deposed.address).and_then(|desired| desired.source.clone());
    Some(cluster_lockout(&deposed.address, &live, DELETED).at(source))
}

/// The access of an access entry, if it is that of the identity that applies.
fn own_access(context: &Context<'_>, address: &Address, instance: Instance<'_>) -> Option<ClusterAccess> {
    let caller = context.facts.caller(instance.scope)?;
    match context.kinds.facet(address.kind(), instance) {
        Facet::ClusterAccess(access) => is_session_of(caller, &access.principal).then_some(access),
        _ => None,
    }
}

fn cluster_lockout(address: &Address, access: &ClusterAccess, lost: &str) -> Diagnostic {
    let ClusterAccess { principal, cluster, .. } = access;
    let message = format!("`{principal}`, which applies this plan, would lose access to cluster `{cluster}`: {lost}");
    Diagnostic::new(Code::Lockout, message).about(address).help(
        "apply this change with another identity, or pass --allow lockout if this one no longer needs the cluster",
    )
}

const DELETED: &str = "its access entry is deleted";

/// The access that an access entry loses, in words; `None` if it loses none.
fn lost(context: &Context<'_>, change: &ResourceDiff, live: &ClusterAccess) -> Option<String> {
    match (&change.verdict, change.desired.as_deref()) {
        (Verdict::Delete { adopted: false, .. }, _) => Some(DELETED.to_owned()),
        (Verdict::Change { .. }, Some(desired)) => {
            let Facet::ClusterAccess(wanted) = context.facet(desired) else { return None };
            let lost: Vec<String> = live.lost(&wanted).iter().map(ToString::to_string).collect();
            (!lost.is_empty()).then(|| format!("it loses {}", lost.join(", ")))
        }
        _ => None,
    }
}

/// The document after the change; `None` if it does not change.
fn becomes(wanted: &ResourcePolicy<'_>, live: ResourcePolicy<'_>) -> Option<Policy> {
    let parsed = |policy: &ResourcePolicy<'_>| policy.ours.and_then(PolicyText::parse);
    let same = parsed(wanted) == parsed(&live) && (!wanted.exclusive || live.others.is_none());
    let others = live.others.filter(|_| !wanted.exclusive);
    (!same).then(|| ResourcePolicy { ours: wanted.ours, others, ..live }.whole())
}
