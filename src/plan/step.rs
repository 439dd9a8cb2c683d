//! A step of a plan: the change of one object, and its preconditions.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::reason::Reason;
use crate::address::{Address, Scope};
use crate::diagnostic::SourceRef;
use crate::document::{Digest, Document, FieldPath};
use crate::kind::Reference;
use crate::spec::OnDestroy;
use crate::state::{ActionKind, DeposedKey, Owned};

/// An object that an address named before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Former {
    /// The object that a replacement deletes before it creates the new one.
    Replaced,
    /// A deposed object.
    Deposed(DeposedKey),
}

/// Selects one object of an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// An object that the address named before.
    Former(Former),
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

    /// The step on an object that an address named before.
    #[must_use]
    pub fn former(address: Address, former: Former) -> Self {
        Self { address, which: Which::Former(former) }
    }

    /// The key of the deposed object, if the step is about one.
    #[must_use]
    pub fn deposed(&self) -> Option<&DeposedKey> {
        match &self.which {
            Which::Former(Former::Deposed(key)) => Some(key),
            Which::Former(Former::Replaced) | Which::Current => None,
        }
    }
}

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.which {
            Which::Current => write!(f, "{}", self.address),
            Which::Former(Former::Replaced) => write!(f, "{}#delete", self.address),
            Which::Former(Former::Deposed(key)) => write!(f, "{}#{key}", self.address),
        }
    }
}

impl std::str::FromStr for StepId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, which) = match text.rsplit_once('#') {
            None => (text, Which::Current),
            Some((address, "delete")) => (address, Which::Former(Former::Replaced)),
            Some((address, key)) => (address, Which::Former(Former::Deposed(key.parse()?))),
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

/// Removes an object from what the project owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Removal {
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

/// The change of the object that an address names.
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
        /// The object of this address that this one replaces. A step of its own deletes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Former>,
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
    /// Removes the object from what the project owns.
    #[serde(untagged)]
    Remove(Removal),
}

/// What a step does to which object of its address. Every value is legal: an object that the address named before can
/// only be removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "object", rename_all = "snake_case")]
pub enum Operation {
    /// Changes the object that the address names.
    Current(Change),
    /// Removes an object that the address named before.
    Former {
        /// The object.
        former: Former,
        /// The change.
        #[serde(flatten)]
        removal: Removal,
    },
}

/// The id and the work of a step. The id follows from the address and the operation.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectOperation {
    id: StepId,
    operation: Operation,
}

impl ObjectOperation {
    /// An operation on an object of an address.
    #[must_use]
    pub fn new(address: Address, operation: Operation) -> Self {
        let which = match &operation {
            Operation::Current(_) => Which::Current,
            Operation::Former { former, .. } => Which::Former(former.clone()),
        };
        Self { id: StepId { address, which }, operation }
    }
}

impl Serialize for ObjectOperation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct SavedObject<'s> {
            address: &'s Address,
            #[serde(flatten)]
            operation: &'s Operation,
        }
        SavedObject { address: &self.id.address, operation: &self.operation }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ObjectOperation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct LoadedObject {
            address: Address,
            #[serde(flatten)]
            operation: Operation,
        }
        LoadedObject::deserialize(deserializer).map(|LoadedObject { address, operation }| Self::new(address, operation))
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The id and the operation.
    #[serde(flatten)]
    pub object: ObjectOperation,
    /// The object's scope.
    pub scope: Scope,
    /// The object's physical id.
    pub physical_id: String,
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
    /// A step on an object of an address, at its scope and with its physical id, that depends on no other step.
    #[must_use]
    pub fn new(address: Address, operation: Operation, scope: Scope, physical_id: impl Into<String>) -> Self {
        Self {
            object: ObjectOperation::new(address, operation),
            scope,
            physical_id: physical_id.into(),
            reasons: Vec::new(),
            waits_for: Vec::new(),
            references: Vec::new(),
            on_destroy: OnDestroy::default(),
            protect: false,
            source: None,
        }
    }

    /// The step's id.
    #[must_use]
    pub fn id(&self) -> &StepId {
        &self.object.id
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.object.id.address
    }

    /// What the step does.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.object.operation
    }

    /// The removal that the step makes.
    #[must_use]
    pub fn removal(&self) -> Option<&Removal> {
        match &self.object.operation {
            Operation::Current(Change::Remove(removal)) | Operation::Former { removal, .. } => Some(removal),
            Operation::Current(Change::Create { .. } | Change::Update { .. } | Change::Adopt { .. }) => None,
        }
    }

    /// Turns the deletion of a deposed object into one that a replacement does first: in the step that deletes the
    /// object, and in the step on the object that the address names afterwards.
    pub(super) fn goes_in_place(&mut self, deposed: &DeposedKey) {
        let ObjectOperation { id, operation } = &mut self.object;
        match operation {
            Operation::Former { former, .. } if *former == Former::Deposed(deposed.clone()) => {
                *former = Former::Replaced;
                id.which = Which::Former(Former::Replaced);
            }
            Operation::Current(Change::Create { replaces, deposes, .. }) => {
                (*replaces, *deposes) = (Some(Former::Replaced), None);
            }
            Operation::Current(Change::Adopt { deposes, .. }) => *deposes = None,
            Operation::Current(Change::Update { .. } | Change::Remove(_)) | Operation::Former { .. } => {}
        }
    }

    /// The action.
    #[must_use]
    pub fn action(&self) -> ActionKind {
        match &self.object.operation {
            Operation::Current(Change::Create { .. }) => ActionKind::Create,
            Operation::Current(Change::Update { .. }) => ActionKind::Update,
            Operation::Current(Change::Adopt { .. }) => ActionKind::Adopt,
            Operation::Current(Change::Remove(removal)) | Operation::Former { removal, .. } => match removal {
                Removal::Delete { .. } => ActionKind::Delete,
                Removal::Release { .. } => ActionKind::Release,
                Removal::Record { .. } => ActionKind::Record,
            },
        }
    }

    /// The known live values of the object's managed fields.
    #[must_use]
    pub fn before(&self) -> Option<&Document> {
        match &self.object.operation {
            Operation::Current(Change::Create { .. }) => None,
            Operation::Current(
                Change::Update { before, .. } | Change::Adopt { differs: Some(Differs { before, .. }), .. },
            ) => Some(before),
            Operation::Current(Change::Adopt { after, differs: None, .. }) => Some(after),
            Operation::Current(Change::Remove(removal)) | Operation::Former { removal, .. } => match removal {
                Removal::Delete { before, .. } | Removal::Release { before, .. } => before.as_ref(),
                Removal::Record { .. } => None,
            },
        }
    }

    /// The desired body.
    #[must_use]
    pub fn after(&self) -> Option<&Document> {
        match &self.object.operation {
            Operation::Current(
                Change::Create { after, .. } | Change::Update { after, .. } | Change::Adopt { after, .. },
            ) => Some(after),
            Operation::Current(Change::Remove(_)) | Operation::Former { .. } => None,
        }
    }

    /// The paths of the fields that differ.
    #[must_use]
    pub fn changed(&self) -> &[FieldPath] {
        match &self.object.operation {
            Operation::Current(
                Change::Update { changed, .. } | Change::Adopt { differs: Some(Differs { changed, .. }), .. },
            ) => changed,
            _ => &[],
        }
    }

    /// The observation of the object when the plan was made.
    #[must_use]
    pub fn observed(&self) -> Option<&Observation> {
        match &self.object.operation {
            Operation::Current(Change::Create { found, .. }) => found.as_ref(),
            Operation::Current(Change::Update { found, .. } | Change::Adopt { found, .. }) => Some(found),
            Operation::Current(Change::Remove(removal)) | Operation::Former { removal, .. } => match removal {
                Removal::Delete { expect, .. } | Removal::Release { expect, .. } => match expect {
                    Expect::Observed(observation) => Some(observation),
                    Expect::Unread { .. } => None,
                },
                Removal::Record { .. } => None,
            },
        }
    }

    /// The unique id that the state records, of an object that was not read when the plan was made.
    #[must_use]
    pub fn unread(&self) -> Option<Option<&str>> {
        match self.removal()? {
            Removal::Delete { expect: Expect::Unread { unique_id }, .. }
            | Removal::Release { expect: Expect::Unread { unique_id }, .. } => Some(unique_id.as_deref()),
            Removal::Delete { .. } | Removal::Release { .. } | Removal::Record { .. } => None,
        }
    }

    /// Whether the object was not read when the plan was made.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.unread().is_some()
    }

    /// The step that deletes the object that this one replaces.
    #[must_use]
    pub fn replaces(&self) -> Option<StepId> {
        match &self.object.operation {
            Operation::Current(Change::Create { replaces, .. }) => {
                Some(StepId::former(self.address().clone(), replaces.clone()?))
            }
            _ => None,
        }
    }

    /// The object that this step deposes.
    #[must_use]
    pub fn deposes(&self) -> Option<&Owned> {
        match &self.object.operation {
            Operation::Current(Change::Create { deposes, .. } | Change::Adopt { deposes, .. }) => deposes.as_deref(),
            _ => None,
        }
    }

    /// Whether the step deletes the object, or the project's part of it.
    #[must_use]
    pub fn deletes(&self) -> bool {
        matches!(self.removal(), Some(Removal::Delete { .. }))
    }

    /// Whether the step keeps the object and removes the ownership tags.
    #[must_use]
    pub fn releases(&self) -> bool {
        matches!(self.removal(), Some(Removal::Release { .. }))
    }

    /// The change of the state, if the step changes nothing else.
    #[must_use]
    pub fn record(&self) -> Option<StateRecord> {
        match self.removal()? {
            Removal::Record { record } => Some(*record),
            Removal::Delete { .. } | Removal::Release { .. } => None,
        }
    }

    /// Whether the project no longer owns the object after the step.
    #[must_use]
    pub fn lets_go(&self) -> bool {
        self.removal().is_some()
    }

    /// Whether the step creates an object that did not exist when the plan was made.
    #[must_use]
    pub fn creates(&self) -> bool {
        matches!(self.object.operation, Operation::Current(Change::Create { found: None, .. }))
    }

    /// Whether the step calls an API, instead of only changing the state.
    #[must_use]
    pub fn writes(&self) -> bool {
        match &self.object.operation {
            Operation::Current(Change::Create { .. } | Change::Update { .. }) => true,
            Operation::Current(Change::Adopt { differs, .. }) => differs.is_some(),
            Operation::Current(Change::Remove(removal)) | Operation::Former { removal, .. } => {
                !matches!(removal, Removal::Record { .. })
            }
        }
    }

    /// The state entry after the step.
    #[must_use]
    pub fn owned(&self, fingerprint: Option<Digest>) -> Option<Owned> {
        let (body, adopted) = match &self.object.operation {
            Operation::Current(Change::Create { after, .. }) => (after, false),
            Operation::Current(Change::Update { after, adopted, .. } | Change::Adopt { after, adopted, .. }) => {
                (after, *adopted)
            }
            Operation::Current(Change::Remove(_)) | Operation::Former { .. } => return None,
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
