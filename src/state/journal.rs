//! The journal: one line a happening, written down before and after every call that changes something.
//!
//! A line is a JSON object, a tab, and the first 16 hex digits of the SHA-256 of the JSON. The last line may be torn by
//! a crash and is then left out; damage anywhere else is an error.

use serde::{Deserialize, Serialize};

use super::Owned;
use crate::address::Address;
use crate::document::Digest;

/// The version of the line format.
const FORMAT: u32 = 1;
const CHECKSUM: usize = 16;

/// One happening.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The version of the line format.
    pub v: u32,
    /// The lineage of the state that the journal continues, and its serial.
    pub state: (String, u64),
    /// When, as the caller says (RFC 3339).
    pub at: String,
    /// What it is about.
    pub address: Address,
    /// What happened.
    pub happening: Happening,
}

/// What happened to a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "happening", rename_all = "snake_case")]
pub enum Happening {
    /// The call is about to be made.
    Begin {
        /// `create`, `update`, `delete`, ...
        action: String,
        /// For a creation: what will be owned if it succeeds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        creates: Option<Box<Owned>>,
    },
    /// The call succeeded and was read back.
    End {
        /// What is owned now; nothing after a deletion.
        owned: Option<Box<Owned>>,
    },
    /// What the address named before is gone; what it names now is not touched.
    FormerGone,
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
        /// What is wrong.
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
        Self { v: FORMAT, state: (state.0.to_owned(), state.1), at, address, happening }
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
                Ok(entry) if entry.v > FORMAT => return Err(JournalError::Newer { found: entry.v }),
                Ok(entry) => {
                    journal.entries.push(entry);
                    journal.sound += line.len();
                }
                Err(_) if last => journal.torn = true,
                Err(why) => return Err(JournalError::Damaged { line: n + 1, why }),
            }
        }
        Ok(journal)
    }
}

fn read_line(line: &[u8]) -> Result<Entry, String> {
    let text = std::str::from_utf8(line).map_err(|e| e.to_string())?;
    let text = text.strip_suffix('\n').ok_or("it has no end")?;
    let (json, checksum) = text.rsplit_once('\t').ok_or("it has no checksum")?;
    if Digest::of(json.as_bytes()).short(CHECKSUM) != checksum {
        return Err("its checksum is wrong".into());
    }
    serde_json::from_str(json).map_err(|e| e.to_string())
}
