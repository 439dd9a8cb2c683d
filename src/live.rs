//! The I/O half of a kind, and its erased form.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::address::{Address, Scope};
use crate::diagnostic::Diagnostic;
use crate::document::{Document, is_policy};
use crate::event::FailureKind;
use crate::kind::{Action, AnyKind, Erased, Kind, Tagged};
use crate::session::{Session, SessionError};
use crate::snapshot::ReadFailure;
use crate::spec::{Facts, Spec};

/// One resource to observe or write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address in the project.
    pub address: Address,
    /// The physical id, by which the API knows the resource.
    pub physical_id: String,
    /// The fields to read.
    pub fields: Fields,
    /// The last applied body, if it equals the desired one and the kind uses it ([`Live::TAKES_LAST`]).
    pub last: Option<Document>,
    /// The unique id that a resource must have to be written to, for kinds whose name is only an alias.
    pub unique_id: Option<String>,
}

impl Target {
    /// Creates a target with all fields.
    #[must_use]
    pub fn new(address: Address, physical_id: impl Into<String>) -> Self {
        Self { address, physical_id: physical_id.into(), fields: Fields::All, last: None, unique_id: None }
    }
}

/// The fields of a resource that the spec names or the state owns, by their names in its body. A kind that needs a
/// request for a field reads only the fields listed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// All fields, because nothing is known about the resource.
    #[default]
    All,
    /// Only these fields, and the keys of map fields as `field.key`.
    Only(Arc<BTreeSet<String>>),
}

impl Fields {
    /// Collects the fields of some bodies; [`Fields::All`] without a body.
    #[must_use]
    pub fn of<'d>(bodies: impl IntoIterator<Item = &'d Document>) -> Self {
        let mut names = BTreeSet::new();
        let mut known = false;
        let bodies = bodies.into_iter().filter_map(|body| body.read::<serde_json::Map<_, _>>().ok());
        for (name, value) in bodies.inspect(|_| known = true).flatten() {
            names.insert(name.clone());
            let value = &value;
            let keys = value.as_object().filter(|_| !is_policy(value)).into_iter().flat_map(serde_json::Map::keys);
            names.extend(keys.map(|key| format!("{name}.{key}")));
        }
        if known { Self::Only(Arc::new(names)) } else { Self::All }
    }

    /// Whether a field, or `field.key` of a map field, must be read.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// Shares memory with `other` if both are equal: most resources of a kind have the same fields.
    #[must_use]
    pub fn shared(self, other: Option<&Self>) -> Self {
        match other {
            Some(other) if *other == self => other.clone(),
            _ => self,
        }
    }
}

/// The result of an observation. "Absent" is a value; "could not be read" is an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed<B> {
    /// It does not exist.
    Absent,
    /// It exists.
    Present {
        /// Its content.
        body: B,
        /// The project whose ownership tag it carries, if any.
        owner: Option<String>,
    },
}

/// Why a resource could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The API denied the read.
    #[error("not allowed to read {what}: {why}")]
    Denied {
        /// The resource to read, for the message.
        what: String,
        /// The API's message.
        why: String,
    },
    /// There is no client.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The request got no response.
    #[error("cannot read {what}: {why}")]
    Unreachable {
        /// The resource to read, for the message.
        what: String,
        /// Why there was no response.
        why: String,
    },
    /// Any other error.
    #[error("cannot read {what}: {why}")]
    Failed {
        /// The resource to read, for the message.
        what: String,
        /// The API's message.
        why: String,
    },
}

/// The advice if a resource changed after the plan.
pub const NEW_PLAN: &str = "create a new plan";

/// The advice if a resource was created outside Bailiwick after the plan.
pub const ADOPT: &str = "create a new plan to adopt it";

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The API denied the write.
    #[error("not allowed to {what}: {why}")]
    Denied {
        /// The operation, for the message "cannot ...".
        what: String,
        /// The API's message.
        why: String,
    },
    /// A new resource is not known everywhere yet, so a retry may succeed.
    #[error("cannot {what} yet: waiting for {awaited}: {why}")]
    NotYet {
        /// The operation, for the message "cannot ...".
        what: String,
        /// The awaited change.
        awaited: String,
        /// The API's message.
        why: String,
    },
    /// The service does not know a principal of the document. It may be new, or not exist at all: the error is the
    /// same.
    #[error("cannot {what}: {why}")]
    UnknownPrincipal {
        /// The operation, for the message "cannot ...".
        what: String,
        /// The API's message.
        why: String,
    },
    /// The write would do harm or cannot succeed. Nothing was changed.
    #[error("cannot {what}: {why}")]
    Refused {
        /// The operation, for the message "cannot ...".
        what: String,
        /// The reason.
        why: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// There was no response, so it is unknown whether anything changed.
    #[error("no response to the request to {what}, so its result is unknown: {why}")]
    Unanswered {
        /// The operation, for the message "cannot ...".
        what: String,
        /// Why there was no response.
        why: String,
    },
    /// The write would lock out the applying identity. Nothing was changed.
    #[error("cannot {what}: {why}")]
    LockedOut {
        /// The operation, for the message "cannot ...".
        what: String,
        /// What that identity could no longer do.
        why: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// A quota of the service is exceeded, or would be.
    #[error("cannot {what}: {why}")]
    OverQuota {
        /// The operation, for the message "cannot ...".
        what: String,
        /// Whether the service reported it. If not, nothing was sent.
        sent: bool,
        /// The exceeded quota.
        why: String,
    },
    /// Another process changed the resource while the step waited.
    #[error("cannot {what}: {why}")]
    Changed {
        /// The operation, for the message "cannot ...".
        what: String,
        /// What changed.
        why: String,
    },
    /// The resource could not be read again while the step waited, so it may have changed.
    #[error("cannot {what}: {why}")]
    Unread {
        /// The operation, for the message "cannot ...".
        what: String,
        /// The reason, and what could not be read.
        why: String,
        /// The cause, for programs.
        cause: ReadFailure,
    },
    /// The step conflicts with another owner or field manager.
    #[error("cannot {what}: it conflicts with {holder}: {why}")]
    Conflict {
        /// The operation, for the message "cannot ...".
        what: String,
        /// The other owner or field manager.
        holder: String,
        /// The fields that it owns or manages, or the API's message.
        why: String,
        /// The next action, if there is one to suggest.
        help: Option<&'static str>,
    },
    /// There is no client.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A read that the write needs failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Any other error.
    #[error("cannot {what}: {why}")]
    Failed {
        /// The operation, for the message "cannot ...".
        what: String,
        /// The API's message.
        why: String,
    },
}

impl ReadError {
    /// The cause of a failed read, for programs.
    #[must_use]
    pub fn cause(&self) -> ReadFailure {
        match self {
            Self::Denied { .. } => ReadFailure::Denied,
            Self::Unreachable { .. } | Self::Session(SessionError::Unreachable { .. }) => ReadFailure::Unreachable,
            Self::Session(_) | Self::Failed { .. } => ReadFailure::Other,
        }
    }
}

impl WriteError {
    /// The next action, if there is one to suggest.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Refused { help, .. } | Self::LockedOut { help, .. } => help.as_deref(),
            Self::Changed { .. } => Some(NEW_PLAN),
            Self::Conflict { help, .. } => *help,
            Self::Session(error) | Self::Read(ReadError::Session(error)) => error.help(),
            Self::Denied { .. }
            | Self::NotYet { .. }
            | Self::UnknownPrincipal { .. }
            | Self::Unanswered { .. }
            | Self::OverQuota { .. }
            | Self::Unread { .. }
            | Self::Read(_)
            | Self::Failed { .. } => None,
        }
    }

    /// The kind of failure, for programs.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Denied { .. } => FailureKind::Denied,
            Self::NotYet { .. } => FailureKind::NotYet,
            Self::UnknownPrincipal { .. } => FailureKind::UnknownPrincipal,
            Self::Refused { .. } => FailureKind::Refused,
            Self::LockedOut { .. } => FailureKind::LockedOut,
            Self::OverQuota { .. } => FailureKind::OverQuota,
            Self::Changed { .. } => FailureKind::Changed,
            Self::Unanswered { .. } | Self::Session(_) => FailureKind::Unreachable,
            Self::Conflict { .. } => FailureKind::Conflict,
            Self::Read(error) => error.cause().into(),
            Self::Unread { cause, .. } => (*cause).into(),
            Self::Failed { .. } => FailureKind::Other,
        }
    }

    /// Whether certainly nothing was changed. A kind may make several calls for one write: if the last one was denied,
    /// those before it may have succeeded.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Session(_) | Self::Refused { .. } | Self::LockedOut { .. } => true,
            Self::OverQuota { sent, .. } => !sent,
            Self::Denied { .. }
            | Self::NotYet { .. }
            | Self::UnknownPrincipal { .. }
            | Self::Changed { .. }
            | Self::Unread { .. }
            | Self::Unanswered { .. }
            | Self::Read(_)
            | Self::Failed { .. } => false,
        }
    }

    /// Makes [`WriteError::NotYet`] wait for others to remove `held`. Other errors and an empty `held` change nothing.
    #[must_use]
    pub fn awaiting_others(self, held: &[String]) -> Self {
        match self {
            Self::NotYet { what, why, .. } if !held.is_empty() => {
                Self::NotYet { what, awaited: format!("others to remove {}", held.join(", ")), why }
            }
            other => other,
        }
    }
}

/// The answers to a batch, in the order of its targets.
pub type Answers<B> = Vec<Result<Observed<B>, ReadError>>;

/// The I/O half of a kind: reads and writes its resources.
pub trait Live: Kind {
    /// Whether list calls omit part of a resource. One that all lists show as it was applied last is then treated as
    /// unchanged.
    const TAKES_LAST: bool = false;

    /// Lists the resources in a scope that carry the ownership tag of the session's project, whether the spec names
    /// them or not. Empty for kinds that cannot carry one.
    #[must_use]
    fn tagged(_cloud: &Session, _scope: &Scope) -> impl Future<Output = Result<Vec<Tagged>, ReadError>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Announces a batch to the session before anything is read, so that kinds can share responses.
    fn announce(_cloud: &Session, _scope: &Scope, _targets: &[Target]) {}

    /// Reads a batch of targets in one scope. A batch lets a kind answer many targets from a few list calls.
    ///
    /// # Errors
    /// When no target of the batch could be read. Otherwise each target has its own result.
    fn observe(
        cloud: &Session,
        scope: &Scope,
        targets: &[Target],
    ) -> impl Future<Output = Result<Answers<Self::Body>, ReadError>> + Send;

    /// Performs the action of one step. Idempotent.
    ///
    /// # Errors
    /// The API's error, classified by what can be done about it.
    fn write(
        cloud: &Session,
        scope: &Scope,
        target: &Target,
        action: &Action<Self::Body>,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// The future of an erased call.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The part of a provider outside its kinds: the caller's identity, and the facts.
pub trait Provider: Send + Sync {
    /// Checks the caller's identity in every place of this provider that the spec names. Returns the checks that
    /// failed.
    fn identify<'a>(&'a self, cloud: &'a Session) -> Boxed<'a, Vec<SessionError>>;

    /// Reads the facts that are needed to compile the spec. Also returns a problem for every fact that could not be
    /// read, or whose object should exist and does not.
    fn facts<'a>(&'a self, cloud: &'a Session, spec: &'a Spec) -> Boxed<'a, (Facts, Vec<Diagnostic>)>;
}

/// The erased form of both halves.
pub trait AnyLive: Send + Sync {
    /// The kind's pure half.
    fn kind(&self) -> &'static dyn AnyKind;
    /// As [`Live::TAKES_LAST`].
    fn takes_last(&self) -> bool {
        false
    }
    /// As [`Live::tagged`].
    fn tagged<'a>(&'a self, _cloud: &'a Session, _scope: &'a Scope) -> Boxed<'a, Result<Vec<Tagged>, ReadError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// As [`Live::announce`].
    fn announce(&self, _cloud: &Session, _scope: &Scope, _targets: &[Target]) {}
    /// As [`Live::observe`].
    fn observe<'a>(
        &'a self,
        cloud: &'a Session,
        scope: &'a Scope,
        targets: &'a [Target],
    ) -> Boxed<'a, Result<Answers<Document>, ReadError>>;
    /// As [`Live::write`].
    fn write<'a>(
        &'a self,
        cloud: &'a Session,
        scope: &'a Scope,
        target: &'a Target,
        action: &'a Action<Document>,
    ) -> Boxed<'a, Result<(), WriteError>>;
}

impl std::ops::Deref for dyn AnyLive + '_ {
    type Target = dyn AnyKind;

    fn deref(&self) -> &Self::Target {
        self.kind()
    }
}

impl<K: Live> AnyLive for Erased<K> {
    fn kind(&self) -> &'static dyn AnyKind {
        &Self::NEW
    }

    fn takes_last(&self) -> bool {
        K::TAKES_LAST
    }

    fn tagged<'a>(&'a self, cloud: &'a Session, scope: &'a Scope) -> Boxed<'a, Result<Vec<Tagged>, ReadError>> {
        Box::pin(K::tagged(cloud, scope))
    }

    fn announce(&self, cloud: &Session, scope: &Scope, targets: &[Target]) {
        K::announce(cloud, scope, targets);
    }

    fn observe<'a>(
        &'a self,
        cloud: &'a Session,
        scope: &'a Scope,
        targets: &'a [Target],
    ) -> Boxed<'a, Result<Answers<Document>, ReadError>> {
        Box::pin(async move {
            let answers = K::observe(cloud, scope, targets).await?;
            Ok(answers
                .into_iter()
                .map(|answer| match answer? {
                    Observed::Absent => Ok(Observed::Absent),
                    Observed::Present { body, owner } => match Document::of(&body) {
                        Ok(body) => Ok(Observed::Present { body, owner }),
                        Err(error) => Err(ReadError::Failed { what: K::NAME.to_owned(), why: error.to_string() }),
                    },
                })
                .collect())
        })
    }

    fn write<'a>(
        &'a self,
        cloud: &'a Session,
        scope: &'a Scope,
        target: &'a Target,
        action: &'a Action<Document>,
    ) -> Boxed<'a, Result<(), WriteError>> {
        Box::pin(async move {
            let typed = typed::<K>(action).map_err(|error| WriteError::Failed {
                what: format!("apply {}", target.address),
                why: format!("the plan's body is not one of {}: {error}", K::NAME),
            })?;
            K::write(cloud, scope, target, &typed).await
        })
    }
}

fn typed<K: Kind>(action: &Action<Document>) -> Result<Action<K::Body>, serde_json::Error> {
    let body = |document: &Document| document.read::<K::Body>();
    Ok(match action {
        Action::Create { after } => Action::Create { after: body(after)? },
        Action::Update { before, after, changed } => {
            Action::Update { before: body(before)?, after: body(after)?, changed: changed.clone() }
        }
        Action::Delete { before } => Action::Delete { before: body(before)? },
        Action::Release { before } => Action::Release { before: body(before)? },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_are_those_of_all_bodies_and_the_keys_of_their_maps() {
        let desired = Document::from(json!({"name": "r", "tags": {"team": "ml"}, "trust": {"Statement": []}}));
        let last = Document::from(json!({"name": "r", "description": "x", "tags": {"cost": "7"}}));
        let fields = Fields::of([&desired, &last]);
        let Fields::Only(names) = &fields else { panic!("all") };
        assert_eq!(
            names.iter().collect::<Vec<_>>(),
            ["description", "name", "tags", "tags.cost", "tags.team", "trust"]
        );
        assert!(fields.has("description") && !fields.has("max_session_duration"));
        assert!(Fields::of([]).has("max_session_duration"));
    }
}
