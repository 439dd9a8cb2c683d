//! The journal: one line per event, written before and after every call that changes something.
//!
//! A line is a JSON object, a tab, and the first 16 hex digits of the SHA-256 of the JSON. A crash may leave the last
//! line incomplete, which is then ignored. Damage anywhere else is an error.

use serde::{Deserialize, Serialize};

use super::{DeposedKey, Owned};
use crate::address::Address;
use crate::document::Digest;

/// The version of the line format.
const FORMAT: u32 = 2;
const CHECKSUM: usize = 16;

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of the line format that it was read from. New entries have the current one.
    pub v: u32,
    /// The lineage and serial of the state that the journal continues.
    pub state: (String, u64),
    /// The time of the entry, as given by the caller (RFC 3339).
    pub at: String,
    /// The address that the entry is about.
    pub address: Address,
    /// The key of the deposed object that the entry is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deposed: Option<DeposedKey>,
    /// The event.
    pub happening: Happening,
}

/// The action of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// Creates the object.
    Create,
    /// Updates the object in place.
    Update,
    /// Deletes the object, or the project's part of it.
    Delete,
    /// Adopts an existing object, and updates the fields that differ from the spec.
    Adopt,
    /// Removes the ownership tags and keeps the object.
    Release,
    /// Changes only the state.
    Record,
}

impl std::fmt::Display for ActionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Adopt => "adopt",
            Self::Release => "release",
            Self::Record => "record",
        })
    }
}

/// An event of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "happening", rename_all = "snake_case")]
pub enum Happening {
    /// The step is about to call the API.
    Begin {
        /// The step's action.
        action: ActionKind,
        /// The object that will be owned after the step, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        creates: Option<Box<Owned>>,
        /// The objects that this step deposes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        deposes: Vec<Owned>,
    },
    /// The call succeeded, and the object was read back.
    End {
        /// The object that is owned now; `None` after a deletion, and for a deposed object.
        owned: Option<Box<Owned>>,
        /// The objects that are deposed now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        deposes: Vec<Owned>,
    },
    /// The newest deposed object of the address was deleted. Only journals of format 1 have this event.
    NewestDeposedGone,
    /// The call failed.
    Failed {
        /// The reason.
        why: String,
        /// Whether it is certain that nothing was changed.
        certain: bool,
    },
}

/// A parsed journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether the last line was incomplete and ignored.
    pub torn: bool,
    /// The number of bytes in complete lines. New entries are written at this offset.
    pub sound: usize,
}

/// The reason why a journal cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A line that is not the last is damaged.
    #[error("line {line} of the journal is damaged: {why}")]
    Damaged {
        /// The line, from 1.
        line: usize,
        /// The reason.
        why: String,
    },
    /// A part of the journal is missing.
    #[error("a part of the journal is missing before {before}")]
    Missing {
        /// The entry after the missing part.
        before: String,
    },
    /// A later version of the program wrote the journal.
    #[error(
        "the journal has format {found}, and this version reads up to {FORMAT}: use the newer bailiwick that wrote it"
    )]
    Newer {
        /// The format of the journal.
        found: u32,
    },
}

impl Entry {
    /// An entry in the current format.
    #[must_use]
    pub fn new(state: (&str, u64), at: String, address: Address, happening: Happening) -> Self {
        Self { v: FORMAT, state: (state.0.to_owned(), state.1), at, address, deposed: None, happening }
    }

    /// The same entry for a deposed object of the address.
    #[must_use]
    pub fn about(self, deposed: Option<DeposedKey>) -> Self {
        Self { deposed, ..self }
    }

    /// Whether an older version of the program wrote it.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.v < FORMAT
    }

    /// The same entry in the current format, about another state.
    #[must_use]
    pub fn continuing(self, state: (&str, u64)) -> Self {
        Self { v: FORMAT, state: (state.0.to_owned(), state.1), ..self }
    }

    /// The entry as a line with its checksum and a newline.
    ///
    /// # Errors
    /// Never in practice: serializing an entry cannot fail.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        let json = serde_json::to_string(self)?;
        let checksum = Digest::of(json.as_bytes());
        Ok(format!("{json}\t{}\n", checksum.short(CHECKSUM)))
    }
}

impl Journal {
    /// Parses a journal.
    ///
    /// # Errors
    /// When a line before the last is damaged, or a newer version of the program wrote one.
    pub fn parse(bytes: &[u8]) -> Result<Self, JournalError> {
        let mut journal = Self::default();
        let mut lines = bytes.split_inclusive(|b| *b == b'\n').enumerate().peekable();
        while let Some((n, line)) = lines.next() {
            let last = lines.peek().is_none();
            match read_line(line) {
                Ok(entry) => {
                    journal.entries.push(entry);
                    journal.sound += line.len();
                }
                Err(BadLine::Newer(found)) => return Err(JournalError::Newer { found }),
                Err(BadLine::Damaged(_)) if last => journal.torn = true,
                Err(BadLine::Damaged(why)) => return Err(JournalError::Damaged { line: n + 1, why }),
            }
        }
        Ok(journal)
    }
}

/// The reason why a line is not an entry.
enum BadLine {
    /// The line does not match its checksum or is not an entry.
    Damaged(String),
    /// A later version of the program wrote the line.
    Newer(u32),
}

impl From<String> for BadLine {
    fn from(why: String) -> Self {
        Self::Damaged(why)
    }
}

impl From<&str> for BadLine {
    fn from(why: &str) -> Self {
        Self::Damaged(why.to_owned())
    }
}

/// The field that every version writes.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

fn read_line(line: &[u8]) -> Result<Entry, BadLine> {
    let text = std::str::from_utf8(line).map_err(|e| e.to_string())?;
    let text = text.strip_suffix('\n').ok_or("it has no end")?;
    let (json, checksum) = text.rsplit_once('\t').ok_or("it has no checksum")?;
    if Digest::of(json.as_bytes()).short(CHECKSUM) != checksum {
        return Err("its checksum is wrong".into());
    }
    let Versioned { v } = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let entry = match v {
        0 | 1 => serde_json::from_str::<super::format_1::Line>(json).map(Entry::from),
        FORMAT => serde_json::from_str(json),
        newer => return Err(BadLine::Newer(newer)),
    };
    entry.map_err(|e| BadLine::Damaged(e.to_string()))
}
