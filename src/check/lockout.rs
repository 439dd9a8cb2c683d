//! `lockout`: a change that the applying identity could not correct afterwards, because it could no longer write a
//! bucket or key policy or reach a cluster.

use super::context::{Context, PlanRule};
use crate::access::{ClusterAccess, Facet, Instance, PolicyText, ResourcePolicy, is_session_of, lockout};
use crate::diagnostic::{Code, Diagnostic};
use crate::diff::{ResourceDiff, Verdict};
use crate::iam::Policy;
use crate::snapshot::Seen;

/// Checks every document as it would be after the change, including the statements of others, and every loss of access
/// to a cluster.
pub(super) struct Lockout;

impl PlanRule for Lockout {
    fn check(&self, context: &Context<'_>, findings: &mut Vec<Diagnostic>) {
        policies(context, findings);
        let changes = context.diff.into_iter().flat_map(|diff| diff.resources.values());
        findings.extend(changes.filter_map(|change| lost_cluster(context, change)));
    }
}

fn policies(context: &Context<'_>, findings: &mut Vec<Diagnostic>) {
    for resource in context.desired.resources.values() {
        let account = &resource.scope.key;
        let (Facet::Resource(wanted), Some(Facet::Resource(live))) = (context.facet(resource), context.seen(resource))
        else {
            continue;
        };
        let physical_id = resource.physical_id.as_str();
        let becomes = becomes(&wanted, live);
        let told = context.facts.callers.get(account).zip(becomes);
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
    let caller = context.facts.callers.get(&scope.key)?;
    let Seen::Present { body, .. } = &change.seen else { return None };
    let live = context.kinds.facet(change.address.kind(), Instance { scope, physical_id, body });
    let Facet::ClusterAccess(live) = live else { return None };
    if !is_session_of(caller, &live.principal) {
        return None;
    }
    let lost = lost(context, change, &live)?;
    let cluster = &live.cluster;
    let message =
        format!("`{}`, which applies this plan, would lose access to cluster `{cluster}`: {lost}", live.principal);
    let source = desired.and_then(|desired| desired.source.clone());
    Some(Diagnostic::new(Code::Lockout, message).about(&change.address).at(source).help(
        "apply this change with another identity, or pass --allow lockout if this one no longer needs the cluster",
    ))
}

/// The access that an access entry loses, in words; `None` if it loses none.
fn lost(context: &Context<'_>, change: &ResourceDiff, live: &ClusterAccess) -> Option<String> {
    match (&change.verdict, change.desired.as_deref()) {
        (Verdict::Delete { adopted: false, .. }, _) => Some("its access entry is deleted".to_owned()),
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
