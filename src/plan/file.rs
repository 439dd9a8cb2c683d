//! Saved plans: apply executes exactly the plan that was reviewed.

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
    #[error("this is not a saved plan: {0}")]
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
    /// When the file is damaged, has another format, or was edited.
    pub fn parse(text: &str) -> Result<Self, PlanFileError> {
        let format = format_of(text)?;
        if format != PLAN_FILE_FORMAT {
            return Err(PlanFileError::OtherFormat(format));
        }
        let damaged = |e: serde_json::Error| PlanFileError::Damaged(e.to_string());
        let file: Self = serde_json::from_str(text).map_err(damaged)?;
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

fn format_of(text: &str) -> Result<String, PlanFileError> {
    #[derive(Deserialize)]
    struct Format {
        format_version: Option<String>,
    }
    let Format { format_version } = serde_json::from_str(text).map_err(|e| PlanFileError::Damaged(e.to_string()))?;
    format_version.ok_or_else(|| PlanFileError::Damaged("it has no `format_version`".into()))
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
