//! A step of a plan: what is done to one object, and what must hold for it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::reason::Reason;
use crate::address::{Address, Scope};
use crate::diagnostic::SourceRef;
use crate::document::{Digest, Document, FieldPath};
use crate::kind::Reference;
use crate::spec::OnDestroy;
use crate::state::{ActionKind, DeposedKey, Owned};

/// Which object of an address a step is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// The one that a replacement deletes, before it creates what the address names from then on.
    Replaced,
    /// One that the address named before.
    Deposed(DeposedKey),
    /// The one that the address names.
    Current,
}

/// The name of a step in its plan: an address, and which of its objects. As text: `kind.name`, `kind.name#delete` or
/// `kind.name#<key of a deposed object>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The address.
    pub address: Address,
    /// Which of its objects.
    pub which: Which,
}

impl StepId {
    /// A step about what an address names.
    #[must_use]
    pub fn current(address: Address) -> Self {
        Self { address, which: Which::Current }
    }

    /// The key of the deposed object that the step is about.
    #[must_use]
    pub fn deposed(&self) -> Option<&DeposedKey> {
        match &self.which {
            Which::Deposed(key) => Some(key),
            Which::Current | Which::Replaced => None,
        }
    }
}

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.which {
            Which::Current => write!(f, "{}", self.address),
            Which::Replaced => write!(f, "{}#delete", self.address),
            Which::Deposed(key) => write!(f, "{}#{key}", self.address),
        }
    }
}

impl std::str::FromStr for StepId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, which) = match text.rsplit_once('#') {
            None => (text, Which::Current),
            Some((address, "delete")) => (address, Which::Replaced),
            Some((address, key)) => (address, Which::Deposed(key.parse()?)),
        };
        Ok(Self { address: address.parse().map_err(|e: crate::address::AddressError| e.to_string())?, which })
    }
}

impl Serialize for StepId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What was observed of an object when the plan was made: it must be the same when the step runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The digest of all that was read, other people's parts included.
    pub digest: Digest,
    /// All that was read, if that is more than what is ours: it tells what changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Document>,
}

/// What is known of an object that a step takes away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It was read when the plan was made.
    Observed(Observation),
    /// It was not read: what was applied last is known of it.
    Unread {
        /// The id by which the state knows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unique_id: Option<String>,
    },
}

/// How an existing object differs from what is desired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Differs {
    /// What it is, as far as it is ours to judge.
    pub before: Document,
    /// The paths that differ.
    pub changed: Vec<FieldPath>,
}

/// A change of the state alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateRecord {
    /// Forget an object that is gone. The step fails if it is there.
    Gone,
    /// Forget an object, whether it is there or not.
    Forget,
}

/// What a step does. Every value is legal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Change {
    /// Creates what does not exist, or our part of a document that exists without it.
    Create {
        /// The desired body.
        after: Document,
        /// The document that exists already; nothing if the object must not exist.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<Observation>,
        /// The step that deletes what this one replaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<StepId>,
        /// What the address named before, which is deposed once this is created.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deposes: Option<Box<Owned>>,
    },
    /// Changes an object in place.
    Update {
        /// What it is, as far as it is ours to judge.
        before: Document,
        /// The desired body.
        after: Document,
        /// The paths that differ.
        changed: Vec<FieldPath>,
        /// What was observed.
        found: Observation,
        /// Whether it predates the project.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        adopted: bool,
    },
    /// Takes an existing object into the state, and changes it where it differs.
    Adopt {
        /// The desired body.
        after: Document,
        /// How it differs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        differs: Option<Differs>,
        /// What was observed.
        found: Observation,
        /// Whether it existed before it was managed: a run that was interrupted may have created it.
        adopted: bool,
        /// What the address named before, which is deposed from then on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deposes: Option<Box<Owned>>,
    },
    /// Deletes an object, or our part of a document that others share.
    Delete {
        /// What it is. Nothing if an interrupted run may have created it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Document>,
        /// What is known of it.
        expect: Expect,
    },
    /// Removes our ownership tags and leaves the object.
    Release {
        /// What it is. Nothing if an interrupted run may have created it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Document>,
        /// What is known of it.
        expect: Expect,
    },
    /// Changes the state alone.
    Record {
        /// How.
        record: StateRecord,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub id: StepId,
    /// Where it is done.
    pub scope: Scope,
    /// The name by which its API knows the object.
    pub physical_id: String,
    /// What it does.
    #[serde(flatten)]
    pub change: Change,
    /// Why. Explanations only: nothing that is done depends on them.
    pub reasons: Vec<Reason>,
    /// The steps that must be done before.
    #[serde(default, rename = "after_steps", skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<StepId>,
    /// What the object depends on, for the state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What happens when it is no longer desired, for the state.
    #[serde(default)]
    pub on_destroy: OnDestroy,
    /// Whether it is protected, for the state and the guard.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// The place in the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRef>,
}

impl Step {
    /// What the step does, in a word.
    #[must_use]
    pub fn action(&self) -> ActionKind {
        match &self.change {
            Change::Create { .. } => ActionKind::Create,
            Change::Update { .. } => ActionKind::Update,
            Change::Adopt { .. } => ActionKind::Adopt,
            Change::Delete { .. } => ActionKind::Delete,
            Change::Release { .. } => ActionKind::Release,
            Change::Record { .. } => ActionKind::Record,
        }
    }

    /// What the object is, as far as it is ours to judge and is known.
    #[must_use]
    pub fn before(&self) -> Option<&Document> {
        match &self.change {
            Change::Create { .. } | Change::Record { .. } => None,
            Change::Update { before, .. } | Change::Adopt { differs: Some(Differs { before, .. }), .. } => Some(before),
            Change::Adopt { after, differs: None, .. } => Some(after),
            Change::Delete { before, .. } | Change::Release { before, .. } => before.as_ref(),
        }
    }

    /// What the object shall be.
    #[must_use]
    pub fn after(&self) -> Option<&Document> {
        match &self.change {
            Change::Create { after, .. } | Change::Update { after, .. } | Change::Adopt { after, .. } => Some(after),
            Change::Delete { .. } | Change::Release { .. } | Change::Record { .. } => None,
        }
    }

    /// The paths that differ.
    #[must_use]
    pub fn changed(&self) -> &[FieldPath] {
        match &self.change {
            Change::Update { changed, .. } | Change::Adopt { differs: Some(Differs { changed, .. }), .. } => changed,
            _ => &[],
        }
    }

    /// What was observed of the object when the plan was made.
    #[must_use]
    pub fn observed(&self) -> Option<&Observation> {
        match &self.change {
            Change::Create { found, .. } => found.as_ref(),
            Change::Update { found, .. } | Change::Adopt { found, .. } => Some(found),
            Change::Delete { expect, .. } | Change::Release { expect, .. } => match expect {
                Expect::Observed(observation) => Some(observation),
                Expect::Unread { .. } => None,
            },
            Change::Record { .. } => None,
        }
    }

    /// Whether the object was not read when the plan was made.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        matches!(
            &self.change,
            Change::Delete { expect: Expect::Unread { .. }, .. }
                | Change::Release { expect: Expect::Unread { .. }, .. }
        )
    }

    /// The step that deletes what this one replaces.
    #[must_use]
    pub fn replaces(&self) -> Option<&StepId> {
        match &self.change {
            Change::Create { replaces, .. } => replaces.as_ref(),
            _ => None,
        }
    }

    /// What the address named before, which the step deposes.
    #[must_use]
    pub fn deposes(&self) -> Option<&Owned> {
        match &self.change {
            Change::Create { deposes, .. } | Change::Adopt { deposes, .. } => deposes.as_deref(),
            _ => None,
        }
    }

    /// Whether the step deletes the object, or our part of it.
    #[must_use]
    pub fn deletes(&self) -> bool {
        matches!(self.change, Change::Delete { .. })
    }

    /// Whether the object is not ours any more once the step is done.
    #[must_use]
    pub fn lets_go(&self) -> bool {
        matches!(self.change, Change::Delete { .. } | Change::Release { .. } | Change::Record { .. })
    }

    /// Whether the step creates what did not exist when the plan was made.
    #[must_use]
    pub fn creates(&self) -> bool {
        matches!(self.change, Change::Create { found: None, .. })
    }

    /// Whether the step calls an API. The others only change the state.
    #[must_use]
    pub fn writes(&self) -> bool {
        match &self.change {
            Change::Create { .. } | Change::Update { .. } | Change::Delete { .. } | Change::Release { .. } => true,
            Change::Adopt { differs, .. } => differs.is_some(),
            Change::Record { .. } => false,
        }
    }

    /// What will be owned once the step is done.
    #[must_use]
    pub fn owned(&self, fingerprint: Option<Digest>) -> Option<Owned> {
        let (body, adopted) = match &self.change {
            Change::Create { after, .. } => (after, false),
            Change::Update { after, adopted, .. } | Change::Adopt { after, adopted, .. } => (after, *adopted),
            Change::Delete { .. } | Change::Release { .. } | Change::Record { .. } => return None,
        };
        Some(Owned {
            scope: self.scope.clone(),
            physical_id: self.physical_id.clone(),
            adopted,
            body: Some(body.clone()),
            fingerprint,
            unique_id: None,
            references: self.references.clone(),
            on_destroy: self.on_destroy,
            protect: self.protect,
        })
    }
}
