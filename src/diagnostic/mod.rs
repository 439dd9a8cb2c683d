//! Diagnostics: problems and findings with a place in a file.

mod codes;
#[cfg(test)]
mod shown;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use codes::{Code, CodeGroup, NamedCode};
#[cfg(test)]
pub(crate) use shown::shown;

use crate::address::Address;

/// The severity of a problem or finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For information.
    Info,
    /// Probably a mistake.
    Warning,
    /// An error, which must be fixed or accepted before anything is applied.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SourceRef {
    /// The file, as the user named it.
    #[schemars(with = "String")]
    pub file: Arc<str>,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// The line and column just after the marked text; the place itself if the end is unknown.
    #[serde(skip)]
    pub end: (u32, u32),
    /// The byte offset in the file and the length of the marked text, for the excerpt.
    #[serde(skip)]
    pub span: (usize, usize),
}

impl SourceRef {
    /// A place with a known start only.
    #[must_use]
    pub fn start(file: Arc<str>, line: u32, column: u32) -> Self {
        Self { file, line, column, end: (line, column), span: (0, 0) }
    }

    /// A whole file, for example one that cannot be read: it has neither a line nor a column.
    #[must_use]
    pub fn whole(file: Arc<str>) -> Self {
        Self::start(file, 0, 0)
    }

    /// Whether it is a whole file.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.line == 0
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A problem in a spec or a finding about it: a message, a place, and a fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code.
    pub code: Code,
    /// The severity.
    pub severity: Severity,
    /// The message: lower case, with input in backticks.
    pub message: String,
    /// The place, if there is one in a file.
    pub source: Option<SourceRef>,
    /// A label for the marked text.
    pub label: String,
    /// How to fix it.
    pub help: Option<String>,
    /// The resource concerned, if there is one.
    pub address: Option<Address>,
    /// The reason given under `accept`, if the spec accepts it.
    pub accepted: Option<String>,
    /// The digest of the statement concerned, if Bailiwick does not manage it.
    pub foreign_statement: Option<String>,
}

impl Diagnostic {
    /// A diagnostic with the severity of its code.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            message: message.into(),
            source: None,
            label: String::new(),
            help: None,
            address: None,
            accepted: None,
            foreign_statement: None,
        }
    }

    /// Sets the place.
    #[must_use]
    pub fn at(mut self, source: Option<SourceRef>) -> Self {
        self.source = source;
        self
    }

    /// Sets the label for the marked text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the resource.
    #[must_use]
    pub fn about(mut self, address: &Address) -> Self {
        self.address = Some(address.clone());
        self
    }

    /// Sets a severity that depends on the circumstances.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Whether it prevents Bailiwick from continuing: an error that the spec does not accept.
    #[must_use]
    pub fn forbids(&self) -> bool {
        self.severity == Severity::Error && self.accepted.is_none()
    }

    /// Sets the help text.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The closest of the `known` words to a mistyped one, if one is close enough; or else the shortest that begins with it.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let distances = known.iter().map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate));
    let nearest = distances.filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4).min();
    let longer =
        || known.iter().filter(|c| word.len() >= LEAST_BEGINNING && c.starts_with(word)).min_by_key(|c| c.len());
    nearest.map(|(_, candidate)| candidate).or_else(|| longer().copied())
}

/// The length from which the beginning of a word is enough to suggest the word.
const LEAST_BEGINNING: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["versioning", "encryption", "tags"];
        assert_eq!(did_you_mean("versionning", known), Some("versioning"));
        assert_eq!(did_you_mean("tgas", known), Some("tags"));
        assert_eq!(did_you_mean("lifecycle", known), None);
        assert_eq!(did_you_mean("encr", known), Some("encryption"), "its beginning is enough");
        assert_eq!(did_you_mean("en", known), None, "a beginning of two letters says too little");
    }
}
