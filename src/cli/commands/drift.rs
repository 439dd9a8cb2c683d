//! `drift`: changes outside Bailiwick since the last apply.

use clap::ValueEnum;

use crate::backend::StoredVersion;
use crate::cli::failure::{Ended, Exit, Failure};
use crate::cli::live::{LiveRun, Work};
use crate::cli::options::ReportFormat;
use crate::cli::run::Invocation;
use crate::diagnostic::Diagnostic;
use crate::diff::{Drift, DriftClass};
use crate::engine::Intent;

/// Show drift since the last apply.
///
/// Exits with 0 without drift, 2 with drift (see --fail-on), and 1 if something cannot be read.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick drift
  bailiwick drift --fail-on access
  bailiwick drift --format json")]
pub struct DriftArgs {
    /// How to print drift.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
    /// Exit with 2 only for drift of this class, or of a more important one.
    #[arg(long, value_enum, value_name = "CLASS", default_value_t = Class::Cosmetic)]
    fail_on: Class,
}

/// The least class of drift that the exit code reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Class {
    /// Access.
    Access,
    /// Settings, and access.
    Managed,
    /// Names and tags, settings, and access.
    Cosmetic,
    /// Everything, including others' statements in shared documents.
    Foreign,
}

impl DriftArgs {
    /// Shows the drift.
    pub fn run(self, invocation: &Invocation<'_>) -> Ended {
        let problems = self.format.into();
        let live = LiveRun { invocation, intent: Intent::Apply, allowed: Vec::new(), keeps_lock: false, problems };
        live.run(async |work| {
            let (drift, findings) = read(work).await?;
            work.show_drift(&drift, &findings, self.format)?;
            let drifted = drift.iter().any(|d| d.class >= least(self.fail_on));
            Ok(if is_incomplete(&drift) {
                Exit::Error
            } else if drifted {
                Exit::Differs
            } else {
                Exit::Ok
            })
        })
    }
}

/// Reads the drift since the last apply, and the findings about the live policies.
///
/// # Errors
/// When there is no state to compare with, or a caller is in the wrong account or unknown.
pub async fn read(work: &Work<'_>) -> Result<(Vec<Drift>, Vec<Diagnostic>), Failure> {
    let backend = work.backend().await?;
    let known = work.known(&*backend).await?;
    let drift = work.engine().drift(&work.task(), &known).await.map_err(|stopped| work.stopped(stopped));
    work.ui.finish();
    if drift.is_ok() && known.version == StoredVersion::None && known.state.resources.is_empty() {
        let place = backend.place();
        return Err(Failure::new(format!("cannot tell what drifted: there is no state at {place}")).hint(
            "run `bailiwick apply` if nothing was applied yet, or `bailiwick state rebuild` if the state was lost",
        ));
    }
    drift
}

/// Whether a resource could not be read, so that there may be more drift.
pub fn is_incomplete(drift: &[Drift]) -> bool {
    drift.iter().any(|d| d.class == DriftClass::Unreadable)
}

fn least(class: Class) -> DriftClass {
    match class {
        Class::Access => DriftClass::Access,
        Class::Managed => DriftClass::Managed,
        Class::Cosmetic => DriftClass::Cosmetic,
        Class::Foreign => DriftClass::Foreign,
    }
}
