//! Says something to a person about a place in a file.

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

/// How severe a diagnostic or finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Probably a mistake.
    Warning,
    /// Must be fixed or accepted before anything is applied.
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
    /// The file as the user named it.
    #[schemars(with = "String")]
    pub file: Arc<str>,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// The line and column behind the marked text; the place itself if the text has no known end.
    #[serde(skip)]
    pub end: (u32, u32),
    /// The byte offset in the file and the length of the marked text, for drawing the excerpt.
    #[serde(skip)]
    pub span: (usize, usize),
}

impl SourceRef {
    /// A place of which only the start is known.
    #[must_use]
    pub fn start(file: Arc<str>, line: u32, column: u32) -> Self {
        Self { file, line, column, end: (line, column), span: (0, 0) }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A problem of a spec or a finding about it: what is wrong, where, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code.
    pub code: Code,
    /// The severity.
    pub severity: Severity,
    /// What is wrong, lowercase, input in backticks.
    pub message: String,
    /// Where, if it has a place in a file.
    pub source: Option<SourceRef>,
    /// A few words beside the marked text.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The resource that it is about, if it is about one.
    pub address: Option<Address>,
    /// Why it is accepted, if the spec accepts it.
    pub accepted: Option<String>,
}

impl Diagnostic {
    /// A problem with the severity that its code has.
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
        }
    }

    /// The same with a place.
    #[must_use]
    pub fn at(mut self, source: Option<SourceRef>) -> Self {
        self.source = source;
        self
    }

    /// The same with a few words beside the marked text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The same about a resource.
    #[must_use]
    pub fn about(mut self, address: &Address) -> Self {
        self.address = Some(address.clone());
        self
    }

    /// The same with a severity that the circumstances give it.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Whether it stops Bailiwick from going on: an error that the spec does not accept.
    #[must_use]
    pub fn forbids(&self) -> bool {
        self.severity == Severity::Error && self.accepted.is_none()
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The nearest of `known` to a mistyped word, if one is near enough to be meant; or else the shortest of which the word is
/// the beginning.
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
