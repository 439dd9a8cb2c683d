//! The journal: one line a happening, written down before and after every call that changes something.
//!
//! A line is a JSON object, a tab, and the first 16 hex digits of the SHA-256 of the JSON. The last line may be torn by
//! a crash and is then left out; damage anywhere else is an error.

use serde::{Deserialize, Serialize};

use super::{DeposedKey, Owned};
use crate::address::Address;
use crate::document::Digest;

/// The version of the line format.
const FORMAT: u32 = 2;
const CHECKSUM: usize = 16;

/// One happening.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of the line format that it was read from. New entries have the current one.
    pub v: u32,
    /// The lineage of the state that the journal continues, and its serial.
    pub state: (String, u64),
    /// When, as the caller says (RFC 3339).
    pub at: String,
    /// The resource that it is about.
    pub address: Address,
    /// Which of the objects that the address named before, if it is about one of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deposed: Option<DeposedKey>,
    /// What happened.
    pub happening: Happening,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// It creates the object.
    Create,
    /// It changes the object in place.
    Update,
    /// It deletes the object, or our part of it.
    Delete,
    /// It adopts an existing object into the state, and changes it where it differs from the spec.
    Adopt,
    /// It removes our ownership tags and leaves the object.
    Release,
    /// It changes the state only.
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

/// What happened to a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "happening", rename_all = "snake_case")]
pub enum Happening {
    /// The call is about to be made.
    Begin {
        /// What the step does.
        action: ActionKind,
        /// For a step after which something is owned: what.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        creates: Option<Box<Owned>>,
        /// What the address named before, which this step deposes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        deposes: Vec<Owned>,
    },
    /// The call succeeded and was read back.
    End {
        /// What is owned now; nothing after a deletion, and nothing of a deposed object.
        owned: Option<Box<Owned>>,
        /// What the address named before, and is deposed now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        deposes: Vec<Owned>,
    },
    /// The newest deposed object of the address is gone. Only journals of format 1 say so.
    NewestDeposedGone,
    /// The call failed.
    Failed {
        /// Why.
        why: String,
        /// Whether it is certain that nothing was changed.
        certain: bool,
    },
}

/// A journal as read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal {
    /// What it tells.
    pub entries: Vec<Entry>,
    /// Whether the last line was torn and is left out.
    pub torn: bool,
    /// How many bytes of it are whole lines: what is written next goes there.
    pub sound: usize,
}

/// Why a journal cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A line that is not the last is damaged.
    #[error("line {line} of the journal is damaged: {why}")]
    Damaged {
        /// The line, from 1.
        line: usize,
        /// The problem.
        why: String,
    },
    /// A part of it is not there.
    #[error("a part of the journal is missing before {before}")]
    Missing {
        /// What comes after it.
        before: String,
    },
    /// A later version of the program wrote it.
    #[error(
        "the journal has format {found}, and this version reads up to {FORMAT}: use the newer bailiwick that wrote it"
    )]
    Newer {
        /// The format that was found.
        found: u32,
    },
}

impl Entry {
    /// An entry of this version.
    #[must_use]
    pub fn new(state: (&str, u64), at: String, address: Address, happening: Happening) -> Self {
        Self { v: FORMAT, state: (state.0.to_owned(), state.1), at, address, deposed: None, happening }
    }

    /// The same about a deposed object of the address.
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

    /// The entry's line with its checksum and newline.
    ///
    /// # Errors
    /// Never in practice: every part has a JSON form.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        let json = serde_json::to_string(self)?;
        let checksum = Digest::of(json.as_bytes());
        Ok(format!("{json}\t{}\n", checksum.short(CHECKSUM)))
    }
}

impl Journal {
    /// Reads a journal's bytes.
    ///
    /// # Errors
    /// When a line before the last is damaged, or a newer program wrote one.
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

/// Why a line is no entry.
enum BadLine {
    /// It is not what was written.
    Damaged(String),
    /// A later version of the program wrote it.
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

/// What every version writes.
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
