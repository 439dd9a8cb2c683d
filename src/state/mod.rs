//! What we made and own, and the journal that proves it.

mod journal;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

pub use journal::{Entry, Happening, Journal, JournalError};

use crate::address::{Address, Scope};
use crate::document::{Digest, Document};
use crate::kind::Reference;
use crate::spec::OnDestroy;

/// The version of the state's format. A newer one is refused, never overwritten.
pub const FORMAT: u32 = 1;

/// The identity of one history of states: two states of one project with different lineages never mix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Lineage(pub String);

/// Everything that a project owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Bailiwick state")]
pub struct State {
    /// The version of this format.
    pub format: u32,
    /// The project.
    pub project: String,
    /// Which history this belongs to.
    pub lineage: Lineage,
    /// Counts the states of a lineage.
    pub serial: u64,
    /// The version of the program that wrote it.
    pub tool_version: String,
    /// The fencing number of the lock under which it was written; 0 where locks have none.
    #[serde(default, skip_serializing)]
    pub fence: u64,
    /// The digest of everything else but the fencing number, by which an edited file is recognised. Only in the text.
    #[serde(default, skip_serializing)]
    pub digest: Option<Digest>,
    /// What is owned, by address.
    #[schemars(with = "BTreeMap<String, Owned>")]
    pub resources: BTreeMap<Address, Owned>,
}

/// One thing that is owned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Owned {
    /// Where it lives.
    #[schemars(with = "serde_json::Value")]
    pub scope: Scope,
    /// The name by which its API knows it.
    pub physical_id: String,
    /// Whether it existed before it was managed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The last applied body. Absent after an interrupted creation, until it is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Document>,
    /// The digest of all that was seen after the last write, other people's parts included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// The id that the service gave it and never gives again, if it has one: it is told by it from
    /// another one of that name, and a policy shows a role that is gone by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// What it depends on, for deleting in the right order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What happens when it is no longer desired.
    #[serde(default)]
    pub on_destroy: OnDestroy,
    /// Whether plans that delete or replace it are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// What the address named before, as long as it is still to go: a thing under another name or in another place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Box<Owned>>,
}

impl Owned {
    /// What was made as described and depends on nothing; without a description, what nobody has looked at yet.
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
            former: None,
        }
    }
}

/// Why a state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The text is not a state.
    #[error("the state is damaged: {0}")]
    Damaged(String),
    /// A later version of the program wrote it.
    #[error(
        "the state has format {found}, and this version reads up to {FORMAT}: use the newer bailiwick that wrote it"
    )]
    Newer {
        /// The format that was found.
        found: u64,
    },
    /// Its text is not what was written.
    #[error("the state was edited or damaged: what it holds has the digest {found}, and it says {said}")]
    Edited {
        /// The digest of what it holds.
        found: Digest,
        /// The digest that it gives.
        said: Digest,
    },
    /// It belongs to somebody else.
    #[error("the state belongs to project `{found}`, not to `{expected}`")]
    OtherProject {
        /// The project in the state.
        found: String,
        /// The project of the spec.
        expected: String,
    },
}

impl State {
    /// The first state of a project.
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
        }
    }

    /// Reads a state's text for a project.
    ///
    /// # Errors
    /// When it is damaged, edited, newer than this program, or another project's.
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
        serde_json::from_str(text).map(|state| Self { digest: None, ..state }).map_err(damaged)
    }

    /// Reads a state's bytes for a project.
    ///
    /// # Errors
    /// As [`State::parse`], and when it is not text.
    pub fn read(bytes: &[u8], project: &str) -> Result<Self, StateError> {
        let text = std::str::from_utf8(bytes).map_err(|e| StateError::Damaged(e.to_string()))?;
        Self::parse(text, project)
    }

    /// The state's text: pretty, with its digest, with a newline at the end.
    ///
    /// # Errors
    /// Never in practice: every part has a JSON form.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        self.to_text_under(self.fence)
    }

    /// The state's text under a fencing number.
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

/// The digest of what a state says, without the fencing number.
fn digest(fields: &BTreeMap<String, &RawValue>) -> Digest {
    let told = fields.iter().filter(|(name, _)| !["digest", "fence"].contains(&name.as_str()));
    Digest::of_json(told.flat_map(|(name, raw)| [name.as_str(), raw.get()]))
}

/// The state after what a journal tells, and the addresses of which it is unknown whether the last step was done.
///
/// An unknown creation counts as ours until it has been looked at, also of what we had made before: its id is another one
/// now. So does what was to take the place of another thing. Unknown updates and deletions leave what was there.
#[must_use]
pub fn fold(mut state: State, entries: &[Entry]) -> (State, Vec<Address>) {
    let mut unknown: BTreeMap<&Address, (bool, Option<&Owned>)> = BTreeMap::new();
    for entry in entries {
        match &entry.happening {
            Happening::Begin { action, creates } => {
                unknown.insert(&entry.address, (action == "create", creates.as_deref()));
            }
            Happening::End { owned } => {
                unknown.remove(&entry.address);
                match owned {
                    Some(owned) => state.resources.insert(entry.address.clone(), (**owned).clone()),
                    None => state.resources.remove(&entry.address),
                };
            }
            Happening::FormerGone => {
                unknown.remove(&entry.address);
                if let Some(owned) = state.resources.get_mut(&entry.address) {
                    owned.former = owned.former.take().and_then(|former| former.former);
                }
            }
            Happening::Failed { certain, .. } => {
                if *certain {
                    unknown.remove(&entry.address);
                }
            }
        }
    }
    let addresses: Vec<Address> = unknown.keys().map(|a| (*a).clone()).collect();
    for (address, (anew, creates)) in unknown {
        // What takes the place of another thing is known as such from then on, also whether it existed before.
        let replaces = |known: &Owned, owned: &Owned| owned.former.is_some() && owned.former != known.former;
        if let Some(owned) = creates
            && (anew || state.resources.get(address).is_none_or(|known| replaces(known, owned)))
        {
            state
                .resources
                .insert(address.clone(), Owned { body: None, fingerprint: None, unique_id: None, ..owned.clone() });
        }
    }
    (state, addresses)
}

#[cfg(test)]
mod tests;
