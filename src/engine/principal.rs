//! Whether the principals that a service does not know exist: only then is waiting for them of use.
//!
//! A service that does not know a principal yet answers with the same words as one that is told of a principal that never
//! existed. So the words alone never cause a wait: a principal counts as there if this run made it or a look proves it.

use std::collections::BTreeSet;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::Engine;
use crate::access;
use crate::address::{Address, Scope};
use crate::document::Document;
use crate::iam::{Arn, Principal, is_account_id};
use crate::live::{Target, WriteError};
use crate::snapshot::Seen;

const ROLE: &str = "aws.iam.role";
const OIDC_PROVIDER: &str = "aws.iam.oidc_provider";

/// What is known of a principal that a service refused.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It exists, and will be known everywhere.
    There,
    /// This run made it.
    Made,
    /// It cannot be waited for, and why.
    Hopeless(String),
}

/// A role or provider that this run made: the kind, the account's id, and its name there.
pub(super) type Made = BTreeSet<(String, String, String)>;

/// What to remember of something that was just made.
pub(super) fn made(address: &Address, scope: &Scope, physical_id: &str) -> Option<(String, String, String)> {
    let kind = address.kind().as_str();
    match scope {
        Scope::Account { id, .. } if [ROLE, OIDC_PROVIDER].contains(&kind) => {
            Some((kind.to_owned(), id.0.clone(), physical_id.to_owned()))
        }
        _ => None,
    }
}

impl Engine<'_> {
    /// What a refusal of principals comes to: a wait if all of them exist, and otherwise an error that names those that
    /// do not. `wanted` is what was to be written, `live` what is there now. Whom a live document shows by an ARN exists: a
    /// principal that is deleted is shown by its id from then on.
    pub(super) async fn refused_principals(
        &self,
        what: String,
        why: String,
        wanted: Option<&Document>,
        live: Option<&Document>,
        made: &Made,
    ) -> WriteError {
        let mut named: BTreeSet<Principal> = wanted.into_iter().flat_map(|d| access::principals(&d.tree())).collect();
        let shown = live.into_iter().flat_map(|d| access::principals(&d.tree()));
        named.extend(shown.filter(Principal::is_orphan_id));
        // A service that says which one it means is believed.
        let meant: BTreeSet<Principal> = named.iter().filter(|p| why.contains(p.entry().1)).cloned().collect();
        if !meant.is_empty() {
            named = meant;
        }
        let mut looking: FuturesUnordered<_> =
            named.iter().map(|principal| async move { (principal, self.standing(principal, made).await) }).collect();
        let mut hopeless = Vec::new();
        let mut awaited = Vec::new();
        while let Some((principal, standing)) = looking.next().await {
            let text = principal.entry().1;
            match standing {
                Standing::Made => awaited.push(format!("`{text}`, which this run made,")),
                Standing::There => awaited.push(format!("`{text}`, which exists,")),
                Standing::Hopeless(reason) => hopeless.push(format!("`{text}`: {reason}")),
            }
        }
        hopeless.sort();
        awaited.sort();
        // Those that were just made are the ones that take time.
        if awaited.iter().any(|a| a.contains("this run made")) {
            awaited.retain(|a| a.contains("this run made"));
        }
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
                "whether it exists cannot be seen from here, because the spec has no account {account}: make sure that \
                 it does, and try again"
            ))
        };
        if principal.is_orphan_id() {
            return hopeless(
                "it is the id of a role or user that was deleted, and no service takes it back: take it out of the \
                 policy, or put an ARN in its place",
            );
        }
        match principal {
            Principal::Account(id) if self.session.account_scope(id).is_some() => Standing::There,
            Principal::Account(id) => nobody_to_ask(id),
            Principal::Aws(text) | Principal::Federated(text) => {
                let Ok(arn) = text.parse::<Arn>() else { return hopeless("it is not an ARN") };
                let account = arn.account.clone();
                let (kind, name) = match arn.resource_type() {
                    Some(("role", path)) => (ROLE, path.rsplit('/').next().unwrap_or(path).to_owned()),
                    Some(("oidc-provider", _)) => (OIDC_PROVIDER, text.to_string()),
                    _ => return hopeless("whether it exists cannot be seen from here: make sure that it does"),
                };
                if made.contains(&(kind.to_owned(), account.clone(), name.clone())) {
                    return Standing::Made;
                }
                if !is_account_id(&account) {
                    return hopeless("it names no account");
                }
                match self.session.account_scope(&account) {
                    Some(scope) => self.proved(kind, &scope, name, text).await,
                    None => nobody_to_ask(&account),
                }
            }
            Principal::Service(_) => hopeless("it is no service that may be named there"),
            Principal::CanonicalUser(_) => hopeless("whether it exists cannot be seen from here"),
            Principal::Everyone | Principal::AnyAws => Standing::There,
        }
    }

    /// Looks whether a role or provider exists.
    async fn proved(&self, kind: &'static str, scope: &Scope, name: String, arn: &str) -> Standing {
        let target = Target::new(Address::new(kind, name.clone()), name);
        let place = match scope {
            Scope::Account { account, id, .. } => format!("account `{account}` ({})", id.0),
            Scope::Cluster { cluster } => cluster.clone(),
        };
        match self.look(self.session, kind, scope, std::slice::from_ref(&target)).await.into_iter().next() {
            Some(Seen::Present { body, .. }) => match body.field::<String>("path") {
                Some(path) if !arn.ends_with(&format!(":role{path}{}", target.physical_id)) => {
                    Standing::Hopeless(format!("the role of that name in {place} has the path `{path}`"))
                }
                _ => Standing::There,
            },
            Some(Seen::Absent) => Standing::Hopeless(format!("it does not exist in {place}")),
            Some(Seen::Unreadable { why, .. }) => {
                Standing::Hopeless(format!("whether it exists in {place} cannot be told: {why}"))
            }
            None => Standing::Hopeless("there was no answer".to_owned()),
        }
    }
}
