//! Checks whether principals exist that a service rejected as unknown. Waiting for them helps only if they do.
//!
//! A service answers in the same words for a principal that it does not know yet and for one that never existed. So the
//! error alone never causes a wait: this run must have created the principal, or a read must confirm it.

use std::collections::BTreeSet;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::Engine;
use crate::access::Instance;
use crate::address::{Address, Scope};
use crate::iam::{Arn, Principal, is_account_id};
use crate::live::{AnyLive, Target, WriteError};
use crate::snapshot::Seen;

/// The result of the check of a rejected principal.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It exists, and will be known everywhere.
    There,
    /// This run created it.
    Made,
    /// Waiting does not help, for this reason.
    Hopeless(String),
}

/// The ARNs of the roles and providers that this run created.
pub(super) type Made = BTreeSet<String>;

impl Engine<'_> {
    /// Turns a rejection of principals into [`WriteError::NotYet`] if all of them exist, or else into an error that
    /// names those that do not. `wanted` are the principals of the body to write, `live` those of the current body. A
    /// live document that shows an ARN proves that the principal exists: AWS shows a deleted principal by its id.
    pub(super) async fn refused_principals(
        &self,
        what: String,
        why: String,
        wanted: Vec<Principal>,
        live: Vec<Principal>,
        made: &Made,
    ) -> WriteError {
        let mut named: BTreeSet<Principal> = wanted.into_iter().collect();
        named.extend(live.into_iter().filter(Principal::is_orphan_id));
        // If the service names the principal, only that one is checked.
        let meant: BTreeSet<Principal> = named.iter().filter(|p| why.contains(p.entry().1)).cloned().collect();
        if !meant.is_empty() {
            named = meant;
        }
        let mut looking: FuturesUnordered<_> =
            named.iter().map(|principal| async move { (principal, self.standing(principal, made).await) }).collect();
        let mut hopeless = Vec::new();
        let (mut awaited, mut made) = (Vec::new(), Vec::new());
        while let Some((principal, standing)) = looking.next().await {
            let text = principal.entry().1;
            match standing {
                Standing::Made => made.push(format!("`{text}`, which this run made,")),
                Standing::There => awaited.push(format!("`{text}`, which exists,")),
                Standing::Hopeless(reason) => hopeless.push(format!("`{text}`: {reason}")),
            }
        }
        hopeless.sort();
        // New principals are the ones that need time.
        let mut awaited = if made.is_empty() { awaited } else { made };
        awaited.sort();
        if hopeless.is_empty() && !awaited.is_empty() {
            let awaited = format!("{} to be known everywhere", awaited.join(" and "));
            return WriteError::NotYet { what, awaited, why };
        }
        let why = if hopeless.is_empty() { why } else { format!("{why}; {}", hopeless.join("; ")) };
        WriteError::Failed { what, why }
    }

    async fn standing(&self, principal: &Principal, made: &Made) -> Standing {
        let hopeless = |why: &str| Standing::Hopeless(why.to_owned());
        let nobody_to_ask = |account: &str| {
            Standing::Hopeless(format!(
                "Bailiwick cannot check whether it exists, because account {account} is not in the spec: make sure \
                 that it exists, and try again"
            ))
        };
        if principal.is_orphan_id() {
            return hopeless(
                "it is the id of a deleted role or user, which no service accepts: remove it from the policy, or \
                 replace it with an ARN",
            );
        }
        match principal {
            Principal::Account(id) if self.session.account_scope(id).is_some() => Standing::There,
            Principal::Account(id) => nobody_to_ask(id),
            Principal::Aws(text) | Principal::Federated(text) => {
                let Ok(arn) = text.parse::<Arn>() else { return hopeless("it is not an ARN") };
                let kind = self.register.iter().find_map(|live| Some((live.as_ref(), live.principal(&arn)?)));
                let Some((live, physical_id)) = kind else {
                    return hopeless("Bailiwick cannot check whether it exists: make sure that it does");
                };
                if made.contains(text.as_ref()) {
                    return Standing::Made;
                }
                if !is_account_id(&arn.account) {
                    return hopeless("it names no account");
                }
                match self.session.account_scope(&arn.account) {
                    Some(scope) => self.proved(live, &scope, physical_id, text).await,
                    None => nobody_to_ask(&arn.account),
                }
            }
            Principal::Service(_) => hopeless("the policy cannot name this service"),
            Principal::CanonicalUser(_) => hopeless("Bailiwick cannot check whether it exists"),
            Principal::Everyone | Principal::AnyAws => Standing::There,
        }
    }

    /// Reads the object that an ARN names, to check that it exists and has this very ARN.
    async fn proved(&self, live: &dyn AnyLive, scope: &Scope, name: String, arn: &str) -> Standing {
        let kind = live.about().name;
        let target = Target::new(Address::new(kind, name.clone()), name);
        let place = format!("account `{}` ({})", scope.key, scope.owner());
        match self.look(self.session, kind, scope, std::slice::from_ref(&target)).await.into_iter().next() {
            Some(Seen::Present { body, .. }) => {
                let object = Instance { scope, physical_id: &target.physical_id, body: &body };
                match live.facet(object).principal() {
                    Some(other) if other != arn => {
                        Standing::Hopeless(format!("in {place}, that name belongs to `{other}`"))
                    }
                    _ => Standing::There,
                }
            }
            Some(Seen::Absent) => Standing::Hopeless(format!("it does not exist in {place}")),
            Some(Seen::Unreadable { why, .. }) => {
                Standing::Hopeless(format!("cannot check whether it exists in {place}: {why}"))
            }
            None => Standing::Hopeless("there was no response".to_owned()),
        }
    }
}
