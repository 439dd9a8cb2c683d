//! Saved plans: apply executes exactly the plan that was reviewed.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Plan;
use crate::document::{Digest, Document};

/// The version of the format of plan files and plan JSON.
pub const PLAN_FILE_FORMAT: &str = "2.0";

/// The older version whose files can still be shown but not applied.
pub const SHOWN_FORMAT: &str = "1.0";

/// A saved plan: everything that apply needs, and the published JSON for readers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanFile {
    /// The version of this format.
    pub format_version: String,
    /// The version of the program that wrote the file.
    pub tool_version: String,
    /// The digest of the plan.
    pub plan_digest: Digest,
    /// The plan.
    pub plan: Plan,
    /// The plan as `plan --format json` prints it.
    pub report: Document,
    /// The digest of the report, which reviewers read.
    pub report_digest: Digest,
}

/// The reason why a plan file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFileError {
    /// The text is not a plan file.
    #[error("not a saved plan")]
    NotAPlan,
    /// The text begins as a plan file does, and cannot be read to its end.
    #[error("the saved plan is damaged: {0}")]
    Damaged(String),
    /// Another version of the program wrote the file.
    #[error("the plan has format {0}, but this version of Bailiwick applies format {PLAN_FILE_FORMAT}")]
    OtherFormat(String),
    /// The plan does not match its digest.
    #[error("the plan was edited: its digest is {found}, but the file records {said}")]
    Edited {
        /// The digest of the plan in the file.
        found: Digest,
        /// The digest recorded in the file.
        said: Digest,
    },
}

impl PlanFileError {
    /// The next action.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotAPlan => "pass a file that `bailiwick plan --out FILE` wrote",
            Self::Damaged(_) | Self::OtherFormat(_) | Self::Edited { .. } => {
                "create a new plan with `bailiwick plan --out FILE`"
            }
        }
    }
}

impl PlanFile {
    /// A file for a plan and its published JSON.
    #[must_use]
    pub fn new(plan: Plan, report: Document) -> Self {
        Self {
            format_version: PLAN_FILE_FORMAT.to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            plan_digest: plan.digest(),
            plan,
            report_digest: report.digest(),
            report,
        }
    }

    /// Parses a plan file.
    ///
    /// # Errors
    /// When it is not a plan, is damaged, of another format, or was edited.
    pub fn parse(text: &str) -> Result<Self, PlanFileError> {
        let format = format_of(text)?;
        if format != PLAN_FILE_FORMAT {
            return Err(PlanFileError::OtherFormat(format));
        }
        let file: Self = serde_json::from_str(text).map_err(|e| PlanFileError::Damaged(e.to_string()))?;
        let found = file.plan.digest();
        if found != file.plan_digest {
            return Err(PlanFileError::Edited { found, said: file.plan_digest });
        }
        let found = file.report.digest();
        if found != file.report_digest {
            return Err(PlanFileError::Edited { found, said: file.report_digest });
        }
        Ok(file)
    }
}

/// The format of a plan file.
fn format_of(text: &str) -> Result<String, PlanFileError> {
    /// The fields that plan files of all formats have, and no other JSON of Bailiwick has.
    #[derive(Deserialize)]
    struct Head {
        format_version: String,
        #[serde(rename = "plan")]
        _plan: IgnoredAny,
    }
    match serde_json::from_str(text) {
        Ok(Head { format_version, .. }) => Ok(format_version),
        Err(error) if begins_as_plan(text) => Err(PlanFileError::Damaged(error.to_string())),
        Err(_) => Err(PlanFileError::NotAPlan),
    }
}

/// Whether a text begins as every plan file does, whatever comes after.
fn begins_as_plan(text: &str) -> bool {
    let head: String = text.chars().filter(|c| !c.is_whitespace()).take(100).collect();
    let version = head.strip_prefix("{\"format_version\":\"").and_then(|rest| rest.split_once('"'));
    version.is_some_and(|(_, rest)| rest.starts_with(",\"tool_version\":"))
}

/// Whether a text is a saved plan: of any format, and also a damaged one.
#[must_use]
pub fn is_saved_plan(text: &str) -> bool {
    !matches!(format_of(text), Err(PlanFileError::NotAPlan))
}

/// The published JSON of a saved plan.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedReport {
    /// The version of the plan file.
    pub format_version: String,
    /// The published JSON.
    pub report: Document,
}

/// Extracts the published JSON from a plan file, for readers. This also works for format 1.0.
///
/// # Errors
/// As [`PlanFile::parse`].
pub fn published(text: &str) -> Result<SavedReport, PlanFileError> {
    #[derive(Deserialize)]
    struct Published {
        report: Document,
        report_digest: Digest,
    }
    let format_version = format_of(text)?;
    if format_version != SHOWN_FORMAT {
        return PlanFile::parse(text).map(|file| SavedReport { format_version, report: file.report });
    }
    let Published { report, report_digest: said } =
        serde_json::from_str(text).map_err(|e| PlanFileError::Damaged(e.to_string()))?;
    let found = report.digest();
    if found == said { Ok(SavedReport { format_version, report }) } else { Err(PlanFileError::Edited { found, said }) }
}
