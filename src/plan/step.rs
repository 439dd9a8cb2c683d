//! A step of a plan: the change of one object, and its preconditions.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::reason::Reason;
use crate::address::{Address, Scope};
use crate::diagnostic::SourceRef;
use crate::document::{Digest, Document, FieldPath};
use crate::kind::Reference;
use crate::spec::OnDestroy;
use crate::state::{ActionKind, DeposedKey, Owned};

/// Selects one object of an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// The object that a replacement deletes before it creates the new one.
    Replaced,
    /// A deposed object.
    Deposed(DeposedKey),
    /// The object that the address names.
    Current,
}

/// The id of a step in its plan: an address, and one of its objects. As text: `kind.name`, `kind.name#delete` or
/// `kind.name#<key of a deposed object>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The address.
    pub address: Address,
    /// The object of the address.
    pub which: Which,
}

impl StepId {
    /// The step on the object that an address names.
    #[must_use]
    pub fn current(address: Address) -> Self {
        Self { address, which: Which::Current }
    }

    /// The key of the deposed object, if the step is about one.
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

/// An observation at planning time. It must still hold when the step runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The digest of everything that was read, including other parties' parts.
    pub digest: Digest,
    /// Everything that was read, if it is more than the managed part. It shows what changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Document>,
}

/// The known properties of an object that a step removes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// The object was read when the plan was made.
    Observed(Observation),
    /// The object was not read; only its last applied body is known.
    Unread {
        /// The object's id in the state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unique_id: Option<String>,
    },
}

/// The differences of an existing object from the desired one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Differs {
    /// The live values of its managed fields.
    pub before: Document,
    /// The paths of the fields that differ.
    pub changed: Vec<FieldPath>,
}

/// A change that affects only the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateRecord {
    /// Removes the entry of an object that no longer exists. The step fails if the object exists.
    Gone,
    /// Removes the entry of an object, whether or not it exists.
    Forget,
}

/// The change that a step makes. Every combination of values is valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Change {
    /// Creates an object, or the project's part of an existing document.
    Create {
        /// The desired body.
        after: Document,
        /// The existing document; `None` if the object must not exist.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<Observation>,
        /// The step that deletes the object that this one replaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<StepId>,
        /// The object that the address named before. It is deposed when the new one has been created.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deposes: Option<Box<Owned>>,
    },
    /// Updates an object in place.
    Update {
        /// The live values of its managed fields.
        before: Document,
        /// The desired body.
        after: Document,
        /// The paths of the fields that differ.
        changed: Vec<FieldPath>,
        /// The observation.
        found: Observation,
        /// Whether the object predates the project.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        adopted: bool,
    },
    /// Adopts an existing object, and updates the fields that differ.
    Adopt {
        /// The desired body.
        after: Document,
        /// The differences from the desired body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        differs: Option<Differs>,
        /// The observation.
        found: Observation,
        /// Whether the object predates the project. An interrupted run may have created it.
        adopted: bool,
        /// The object that the address named before. It is deposed from then on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deposes: Option<Box<Owned>>,
    },
    /// Deletes an object, or the project's part of a shared document.
    Delete {
        /// The live values of its managed fields. `None` if an interrupted run may have created it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Document>,
        /// The known properties of the object.
        expect: Expect,
    },
    /// Removes the ownership tags and keeps the object.
    Release {
        /// The live values of its managed fields. `None` if an interrupted run may have created it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Document>,
        /// The known properties of the object.
        expect: Expect,
    },
    /// Changes only the state.
    Record {
        /// The change of the state.
        record: StateRecord,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The step's id.
    pub id: StepId,
    /// The object's scope.
    pub scope: Scope,
    /// The object's physical id.
    pub physical_id: String,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// The reasons. They explain and decide nothing.
    pub reasons: Vec<Reason>,
    /// The steps that must be applied before.
    #[serde(default, rename = "after_steps", skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<StepId>,
    /// The object's references, for the state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// The object's `on_destroy` setting, for the state.
    #[serde(default)]
    pub on_destroy: OnDestroy,
    /// Whether the object is protected, for the state and the guard.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// The place in the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRef>,
}

impl Step {
    /// Whether the change fits the object that the id names: only what an address names now is created, changed or
    /// adopted, and a replacement deletes what the same address named.
    #[must_use]
    pub fn fits(&self) -> bool {
        match (&self.id.which, &self.change) {
            (Which::Current, Change::Create { replaces: Some(old), .. }) => {
                old.address == self.id.address && old.which != Which::Current
            }
            (Which::Current, _) => true,
            (Which::Replaced | Which::Deposed(_), change) => match change {
                Change::Delete { .. } | Change::Release { .. } | Change::Record { .. } => true,
                Change::Create { .. } | Change::Update { .. } | Change::Adopt { .. } => false,
            },
        }
    }

    /// The action.
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

    /// The known live values of the object's managed fields.
    #[must_use]
    pub fn before(&self) -> Option<&Document> {
        match &self.change {
            Change::Create { .. } | Change::Record { .. } => None,
            Change::Update { before, .. } | Change::Adopt { differs: Some(Differs { before, .. }), .. } => Some(before),
            Change::Adopt { after, differs: None, .. } => Some(after),
            Change::Delete { before, .. } | Change::Release { before, .. } => before.as_ref(),
        }
    }

    /// The desired body.
    #[must_use]
    pub fn after(&self) -> Option<&Document> {
        match &self.change {
            Change::Create { after, .. } | Change::Update { after, .. } | Change::Adopt { after, .. } => Some(after),
            Change::Delete { .. } | Change::Release { .. } | Change::Record { .. } => None,
        }
    }

    /// The paths of the fields that differ.
    #[must_use]
    pub fn changed(&self) -> &[FieldPath] {
        match &self.change {
            Change::Update { changed, .. } | Change::Adopt { differs: Some(Differs { changed, .. }), .. } => changed,
            _ => &[],
        }
    }

    /// The observation of the object when the plan was made.
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

    /// The step that deletes the object that this one replaces.
    #[must_use]
    pub fn replaces(&self) -> Option<&StepId> {
        match &self.change {
            Change::Create { replaces, .. } => replaces.as_ref(),
            _ => None,
        }
    }

    /// The object that this step deposes.
    #[must_use]
    pub fn deposes(&self) -> Option<&Owned> {
        match &self.change {
            Change::Create { deposes, .. } | Change::Adopt { deposes, .. } => deposes.as_deref(),
            _ => None,
        }
    }

    /// Whether the step deletes the object, or the project's part of it.
    #[must_use]
    pub fn deletes(&self) -> bool {
        matches!(self.change, Change::Delete { .. })
    }

    /// Whether the project no longer owns the object after the step.
    #[must_use]
    pub fn lets_go(&self) -> bool {
        matches!(self.change, Change::Delete { .. } | Change::Release { .. } | Change::Record { .. })
    }

    /// Whether the step creates an object that did not exist when the plan was made.
    #[must_use]
    pub fn creates(&self) -> bool {
        matches!(self.change, Change::Create { found: None, .. })
    }

    /// Whether the step calls an API, instead of only changing the state.
    #[must_use]
    pub fn writes(&self) -> bool {
        match &self.change {
            Change::Create { .. } | Change::Update { .. } | Change::Delete { .. } | Change::Release { .. } => true,
            Change::Adopt { differs, .. } => differs.is_some(),
            Change::Record { .. } => false,
        }
    }

    /// The state entry after the step.
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
