//! The I/O half of the central trait, and its erased form.

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

/// One resource to observe: its address, and the name by which its API knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Our name.
    pub address: Address,
    /// The API's name.
    pub physical_id: String,
    /// The fields to read.
    pub fields: Fields,
    /// What was applied last, if the spec desires the same and the kind uses it ([`Live::TAKES_LAST`]).
    pub last: Option<Document>,
    /// The id that it must have if it is written to, where the name is only an alias.
    pub unique_id: Option<String>,
}

impl Target {
    /// A target of which everything is asked for.
    #[must_use]
    pub fn new(address: Address, physical_id: impl Into<String>) -> Self {
        Self { address, physical_id: physical_id.into(), fields: Fields::All, last: None, unique_id: None }
    }
}

/// The fields of a resource that the spec names or the state owns, by their names in its body. A kind for which a field
/// costs a request reads only those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// Nothing is known of the resource: all of them.
    #[default]
    All,
    /// These, and of a field that holds a map its keys as `field.key`.
    Only(Arc<BTreeSet<String>>),
}

impl Fields {
    /// The fields of some bodies; all if there are none.
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

    /// Whether a field, or `field.key` of a field that holds a map, is asked for.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// The same, in the memory of another that is equal: most resources of a kind have the same fields.
    #[must_use]
    pub fn shared(self, other: Option<&Self>) -> Self {
        match other {
            Some(other) if *other == self => other.clone(),
            _ => self,
        }
    }
}

/// What was found when looking. "Not there" is a value; "could not look" is an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed<B> {
    /// It does not exist.
    Absent,
    /// It exists.
    Present {
        /// What it is.
        body: B,
        /// The project whose ownership tag it carries, if any.
        owner: Option<String>,
    },
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The API denied the read.
    #[error("not allowed to read {what}: {why}")]
    Denied {
        /// What was to be read.
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
        /// What was to be read.
        what: String,
        /// Why there was no response.
        why: String,
    },
    /// Anything else.
    #[error("cannot read {what}: {why}")]
    Failed {
        /// What was to be read.
        what: String,
        /// The API's message.
        why: String,
    },
}

/// What to do about a resource that changed after the plan.
pub const NEW_PLAN: &str = "create a new plan";

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The API denied the write.
    #[error("not allowed to {what}: {why}")]
    Denied {
        /// What was to be done.
        what: String,
        /// The API's message.
        why: String,
    },
    /// Something that was just made is not known everywhere yet: worth trying again.
    #[error("cannot {what} yet: waiting for {awaited}: {why}")]
    NotYet {
        /// What was to be done.
        what: String,
        /// What is awaited.
        awaited: String,
        /// The API's message.
        why: String,
    },
    /// The service does not know a principal that the document names. It may have been made a moment ago, or not exist at
    /// all: the service says the same.
    #[error("cannot {what}: {why}")]
    UnknownPrincipal {
        /// What was to be done.
        what: String,
        /// The API's message.
        why: String,
    },
    /// It would do harm, or cannot succeed: nothing was changed.
    #[error("cannot {what}: {why}")]
    Refused {
        /// What was to be done.
        what: String,
        /// Why not.
        why: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// There was no response: whether anything was changed is unknown.
    #[error("no response to the request to {what}, so its result is unknown: {why}")]
    Unanswered {
        /// What was to be done.
        what: String,
        /// Why there was no response.
        why: String,
    },
    /// It would take access from the identity that writes: nothing was changed.
    #[error("cannot {what}: {why}")]
    LockedOut {
        /// What was to be done.
        what: String,
        /// What that identity could not do any more.
        why: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// A quota of the service is exceeded, or would be.
    #[error("cannot {what}: {why}")]
    OverQuota {
        /// What was to be done.
        what: String,
        /// Whether the service said so. Otherwise nothing was sent.
        sent: bool,
        /// Which quota.
        why: String,
    },
    /// Another process changed it while the step waited.
    #[error("cannot {what}: {why}")]
    Changed {
        /// What was to be done.
        what: String,
        /// What changed.
        why: String,
    },
    /// It could not be read again while the step waited, so that it may have changed.
    #[error("cannot {what}: {why}")]
    Unread {
        /// What was to be done.
        what: String,
        /// Why, and what could not be read.
        why: String,
        /// What kept it from being read.
        cause: ReadFailure,
    },
    /// Another owner or field manager holds what the step changes.
    #[error("cannot {what}: it conflicts with {holder}: {why}")]
    Conflict {
        /// What was to be done.
        what: String,
        /// Who holds it.
        holder: String,
        /// What they hold.
        why: String,
    },
    /// There is no client.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What had to be read before writing could not be.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Anything else.
    #[error("cannot {what}: {why}")]
    Failed {
        /// What was to be done.
        what: String,
        /// The API's message.
        why: String,
    },
}

impl ReadError {
    /// What kept it from being read, for programs.
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
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Refused { help, .. } | Self::LockedOut { help, .. } => help.as_deref(),
            Self::Changed { .. } => Some(NEW_PLAN),
            Self::Session(error) | Self::Read(ReadError::Session(error)) => error.help(),
            Self::Denied { .. }
            | Self::NotYet { .. }
            | Self::UnknownPrincipal { .. }
            | Self::Unanswered { .. }
            | Self::OverQuota { .. }
            | Self::Unread { .. }
            | Self::Conflict { .. }
            | Self::Read(_)
            | Self::Failed { .. } => None,
        }
    }

    /// What kind of failure it is.
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

    /// Whether it is certain that nothing was changed. A kind may make several calls: that the last one was denied says
    /// nothing of those before it.
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

    /// The same, where what is waited for is that others take something away. Nothing changes if nothing is known of it.
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

/// I/O half: what exists, and how to change it.
pub trait Live: Kind {
    /// Whether some of it is in no list, so that a resource that all lists show as it was applied last counts
    /// as unchanged.
    const TAKES_LAST: bool = false;

    /// Lists what carries the ownership tag of the session's project in a scope, whatever the spec says; nothing for kinds
    /// that cannot be marked.
    #[must_use]
    fn tagged(_cloud: &Session, _scope: &Scope) -> impl Future<Output = Result<Vec<Tagged>, ReadError>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Tells the session, before anything is read, what a batch will ask for, so that kinds which one answer serves can
    /// share it.
    fn announce(_cloud: &Session, _scope: &Scope, _targets: &[Target]) {}

    /// Reads a batch of one scope, so that a kind can answer many targets from a few list calls.
    ///
    /// # Errors
    /// When nothing of the batch could be read; otherwise each target has its own answer.
    fn observe(
        cloud: &Session,
        scope: &Scope,
        targets: &[Target],
    ) -> impl Future<Output = Result<Answers<Self::Body>, ReadError>> + Send;

    /// Does one step. Safe to repeat.
    ///
    /// # Errors
    /// What the API answered, sorted by what can be done about it.
    fn write(
        cloud: &Session,
        scope: &Scope,
        target: &Target,
        action: &Action<Self::Body>,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// The future of an erased call.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a provider answers for beside its kinds: who the caller is, and what no name in the spec determines.
pub trait Provider: Send + Sync {
    /// Checks the caller's identity wherever the spec names something of this provider. Every check that failed is an error.
    fn identify<'a>(&'a self, cloud: &'a Session) -> Boxed<'a, Vec<SessionError>>;

    /// Reads what the spec cannot be compiled without; and the problems of everything that could not be read, or should
    /// exist and does not.
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
