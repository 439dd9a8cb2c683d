//! The state, which records what a project owns, and the journal of changes since it was saved.

mod format_1;
mod journal;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

pub use journal::{ActionKind, Entry, Happening, Journal, JournalError};

use crate::address::{Address, Scope};
use crate::document::{Digest, Document};
use crate::kind::Reference;
use crate::spec::OnDestroy;

/// The version of the state's format. A newer state is rejected and never overwritten.
pub const FORMAT: u32 = 2;

/// The identity of one history of states. Two states of one project with different lineages never mix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Lineage(pub String);

/// Everything that a project owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Bailiwick state")]
pub struct State {
    /// The version of the format that it was read from. It is written in the current one.
    #[serde(serialize_with = "current_format")]
    pub format: u32,
    /// The project.
    pub project: String,
    /// The history that the state belongs to.
    pub lineage: Lineage,
    /// The number of the state within its lineage.
    pub serial: u64,
    /// The version of the program that wrote the state.
    pub tool_version: String,
    /// The fencing number of the lock under which the state was written; 0 for locks without one.
    #[serde(default, skip_serializing)]
    pub fence: u64,
    /// The digest of everything except the fencing number, which reveals an edited file. Present only in the file.
    #[serde(default, skip_serializing)]
    pub digest: Option<Digest>,
    /// The owned resources, by address.
    #[schemars(with = "BTreeMap<String, Owned>")]
    pub resources: BTreeMap<Address, Owned>,
    /// Deposed objects that are still to be deleted, newest first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Vec<Deposed>>")]
    pub deposed: BTreeMap<Address, Vec<Deposed>>,
}

/// The key of a deposed object among those of its address: eight hex digits of the digest of its scope and physical
/// id, so that it is the same in every run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct DeposedKey(String);

impl DeposedKey {
    /// The key for the object with this scope and physical id.
    #[must_use]
    pub fn of(scope: &Scope, physical_id: &str) -> Self {
        let digest = Digest::of_value(&(scope, physical_id)).unwrap_or_else(|_| Digest::of(physical_id.as_bytes()));
        Self(digest.short(8).to_owned())
    }
}

impl std::fmt::Display for DeposedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for DeposedKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_key = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_key { Ok(Self(text.to_owned())) } else { Err(format!("`{text}` is not the key of a deposed object")) }
    }
}

/// A deposed object: its address now has another name or place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deposed {
    /// Its key among the deposed objects of its address.
    pub key: DeposedKey,
    /// Its entry from before it was deposed.
    pub object: Owned,
}

impl Deposed {
    /// A deposed object with its key.
    #[must_use]
    pub fn new(object: Owned) -> Self {
        Self { key: DeposedKey::of(&object.scope, &object.physical_id), object }
    }
}

/// A resource that the project owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Owned {
    /// The resource's account, region or cluster.
    #[schemars(with = "serde_json::Value")]
    pub scope: Scope,
    /// The physical id of the resource.
    pub physical_id: String,
    /// Whether the resource predates the project.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The last applied body. Absent after an interrupted creation, until the resource has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Document>,
    /// The digest of everything that was read after the last write, including other parties' parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// The unique id that the service gave the resource, if it has one. It distinguishes the resource from a later one
    /// with the same name, and policies refer to deleted roles by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// The resource's dependencies, which determine the order of deletions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What happens when the resource is no longer desired.
    #[serde(default)]
    pub on_destroy: OnDestroy,
    /// Whether plans that delete or replace the resource are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
}

impl Owned {
    /// A created resource without dependencies. Without a body it is one that has not been read yet.
    #[must_use]
    pub fn new(scope: Scope, physical_id: impl Into<String>, body: Option<Document>) -> Self {
        Self {
            scope,
            physical_id: physical_id.into(),
            adopted: false,
            body,
            fingerprint: None,
            unique_id: None,
            references: Vec::new(),
            on_destroy: OnDestroy::Delete,
            protect: false,
        }
    }
}

/// The reason why a state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The text is not a state.
    #[error("the state is damaged: {0}")]
    Damaged(String),
    /// A later version of the program wrote the state.
    #[error(
        "the state has format {found}, and this version reads up to {FORMAT}: use the newer bailiwick that wrote it"
    )]
    Newer {
        /// The format of the state.
        found: u64,
    },
    /// The state does not match its digest.
    #[error("the state was edited or damaged: its digest is {found}, but it records {said}")]
    Edited {
        /// The digest of the contents.
        found: Digest,
        /// The recorded digest.
        said: Digest,
    },
    /// The state belongs to another project.
    #[error("the state belongs to project `{found}`, not to `{expected}`")]
    OtherProject {
        /// The project in the state.
        found: String,
        /// The project of the spec.
        expected: String,
    },
}

impl State {
    /// The initial state of a project.
    #[must_use]
    pub fn new(project: &str, lineage: Lineage) -> Self {
        Self {
            format: FORMAT,
            project: project.to_owned(),
            lineage,
            serial: 0,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            fence: 0,
            digest: None,
            resources: BTreeMap::new(),
            deposed: BTreeMap::new(),
        }
    }

    /// Parses the state of a project. A state of format 1 is accepted too, and saved in the current format.
    ///
    /// # Errors
    /// When it is damaged, edited, from a newer version, or of another project.
    pub fn parse(text: &str, project: &str) -> Result<Self, StateError> {
        if text.trim().is_empty() {
            return Err(StateError::Damaged("it is empty".into()));
        }
        let damaged = |e: serde_json::Error| StateError::Damaged(e.to_string());
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(damaged)?;
        let field = |name: &str| fields.get(name).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        match field("format").as_ref().and_then(Value::as_u64) {
            None => return Err(StateError::Damaged("it has no `format`".into())),
            Some(found) if found > u64::from(FORMAT) => return Err(StateError::Newer { found }),
            Some(_) => {}
        }
        let is_first = field("format") == Some(Value::from(1));
        if let Some(Value::String(found)) = field("project")
            && found != project
        {
            return Err(StateError::OtherProject { found, expected: project.to_owned() });
        }
        if let Some(said) = fields.remove("digest") {
            let said: Digest = serde_json::from_str(said.get()).map_err(damaged)?;
            let found = digest(&fields);
            if found != said {
                return Err(StateError::Edited { found, said });
            }
        }
        let state = if is_first {
            serde_json::from_str::<format_1::FirstState>(text).map(Self::from)
        } else {
            serde_json::from_str::<Self>(text)
        };
        state.map(|state| Self { digest: None, ..state }).map_err(damaged)
    }

    /// Makes it the next state of its lineage, written by this program.
    pub fn succeed(&mut self) {
        self.serial += 1;
        self.format = FORMAT;
        env!("CARGO_PKG_VERSION").clone_into(&mut self.tool_version);
    }

    /// Records a deposed object, unless it is already recorded.
    fn depose(&mut self, address: &Address, object: Owned) {
        let deposed = Deposed::new(object);
        let known = self.deposed.entry(address.clone()).or_default();
        if known.iter().all(|other| other.key != deposed.key) {
            known.insert(0, deposed);
        }
    }

    /// Whether an address has this object as a deposed one.
    fn has_deposed(&self, address: &Address, object: &Owned) -> bool {
        let key = DeposedKey::of(&object.scope, &object.physical_id);
        self.deposed.get(address).is_some_and(|known| known.iter().any(|other| other.key == key))
    }

    /// Removes the deposed objects of an address for which `gone` is true.
    fn forget_deposed(&mut self, address: &Address, gone: impl Fn(usize, &Deposed) -> bool) {
        if let Some(known) = self.deposed.get_mut(address) {
            let mut at = 0..;
            known.retain(|deposed| !at.next().is_some_and(|at| gone(at, deposed)));
            if known.is_empty() {
                self.deposed.remove(address);
            }
        }
    }

    /// Parses the bytes of a project's state.
    ///
    /// # Errors
    /// As for [`State::parse`], and when the bytes are not text.
    pub fn read(bytes: &[u8], project: &str) -> Result<Self, StateError> {
        let text = std::str::from_utf8(bytes).map_err(|e| StateError::Damaged(e.to_string()))?;
        Self::parse(text, project)
    }

    /// The state as indented JSON, with its digest and a final newline.
    ///
    /// # Errors
    /// Never in practice: serializing a state cannot fail.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        self.to_text_under(self.fence)
    }

    /// The state as text with a fencing number.
    ///
    /// # Errors
    /// As [`State::to_text`].
    pub fn to_text_under(&self, fence: u64) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        let said = digest(&serde_json::from_str(&text)?);
        let fence = if fence > 0 { format!("\n  \"fence\": {fence},") } else { String::new() };
        text.insert_str(1, &format!("\n  \"digest\": \"{said}\",{fence}"));
        text.push('\n');
        Ok(text)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn current_format<S: serde::Serializer>(_read_from: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(FORMAT)
}

/// The digest of a state's contents, without the fencing number.
fn digest(fields: &BTreeMap<String, &RawValue>) -> Digest {
    let told = fields.iter().filter(|(name, _)| !["digest", "fence"].contains(&name.as_str()));
    Digest::of_json(told.flat_map(|(name, raw)| [name.as_str(), raw.get()]))
}

/// A step that has begun and has an unknown outcome.
struct Begun<'e> {
    entry: &'e Entry,
    action: ActionKind,
    creates: Option<&'e Owned>,
    deposes: &'e [Owned],
}

impl Begun<'_> {
    /// Records in the state the object that may have been created.
    fn apply(self, address: &Address, state: &mut State) {
        let Self { entry: _, action, creates: Some(owned), deposes } = self else { return };
        // An object that takes another one's place is recorded right away, even if it existed before.
        let replaces = deposes.iter().any(|object| !state.has_deposed(address, object));
        if action == ActionKind::Create || replaces || !state.resources.contains_key(address) {
            for object in deposes.iter().rev() {
                state.depose(address, object.clone());
            }
            let owned = Owned { body: None, fingerprint: None, unique_id: None, ..owned.clone() };
            state.resources.insert(address.clone(), owned);
        }
    }
}

/// Applies the entries of a journal to a state. Also returns the addresses with an unknown outcome.
///
/// An unknown creation counts as owned until it has been read, even if the address was owned before, because the object
/// may have a new id. The same applies to a step that was to depose another object. Unknown updates and deletions do
/// not change the state.
#[must_use]
pub fn fold(state: State, entries: &[Entry]) -> (State, Vec<Address>) {
    let (state, unfinished) = replay(state, entries);
    let mut unknown: Vec<Address> = unfinished.into_iter().map(|entry| entry.address.clone()).collect();
    unknown.dedup();
    (state, unknown)
}

/// As [`fold`], but returns the beginnings of the steps with an unknown outcome, ordered by address.
#[must_use]
pub fn replay(mut state: State, entries: &[Entry]) -> (State, Vec<&Entry>) {
    let mut unknown: BTreeMap<(&Address, Option<&DeposedKey>), Begun<'_>> = BTreeMap::new();
    for entry in entries {
        let (address, name) = (&entry.address, (&entry.address, entry.deposed.as_ref()));
        match &entry.happening {
            Happening::Begin { action, creates, deposes } => {
                let begun = Begun { entry, action: *action, creates: creates.as_deref(), deposes };
                // A later run may retry a step with an unknown outcome.
                if let Some(left) = unknown.insert(name, begun) {
                    left.apply(address, &mut state);
                }
            }
            Happening::End { owned, deposes } => {
                // A later run may find that an interrupted step was completed.
                let begun = unknown.remove(&name).map(|begun| begun.deposes).unwrap_or_default();
                if let Some(key) = &entry.deposed {
                    state.forget_deposed(address, |_, deposed| deposed.key == *key);
                    continue;
                }
                for object in begun.iter().rev().chain(deposes.iter().rev()) {
                    state.depose(address, object.clone());
                }
                match owned {
                    Some(owned) => {
                        // A deposed object that the address names again is no longer deposed.
                        let key = DeposedKey::of(&owned.scope, &owned.physical_id);
                        state.forget_deposed(address, |_, deposed| deposed.key == key);
                        state.resources.insert(address.clone(), (**owned).clone());
                    }
                    None => {
                        state.resources.remove(address);
                    }
                }
            }
            Happening::NewestDeposedGone => {
                unknown.remove(&name);
                state.forget_deposed(address, |at, _| at == 0);
            }
            Happening::Failed { certain, .. } => {
                if *certain {
                    unknown.remove(&name);
                }
            }
        }
    }
    let unfinished = unknown.values().map(|begun| begun.entry).collect();
    for ((address, _), begun) in unknown {
        begun.apply(address, &mut state);
    }
    (state, unfinished)
}

#[cfg(test)]
mod tests;
