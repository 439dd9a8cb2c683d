//! `show`: a saved plan, or the state.

use std::path::{Path, PathBuf};

use crate::cli::failure::{Ended, Exit, Failure};
use crate::cli::host::Meanwhile;
use crate::cli::options::ReportFormat;
use crate::cli::run::{Invocation, block_on, home, known, list, session};
use crate::cli::saved::{plan_text, unusable};
use crate::engine::Known;
use crate::plan::{self, SavedReport};
use crate::render;
use crate::report::{self, wire};

/// Show a saved plan, or the state.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick show
  bailiwick show plan.json --format markdown")]
pub struct ShowArgs {
    /// A plan saved with `plan --out`.
    plan: Option<PathBuf>,
    /// How to print a plan.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

impl ShowArgs {
    /// Shows the plan or the state.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        let Invocation { ui, environment, .. } = *invocation;
        let Some(path) = &self.plan else {
            let project = invocation.project(self.format.into())?;
            let session = session(&project, environment);
            let shown = async {
                let backend = home(ui, &project, &session).await?;
                let Known { state, .. } = known(&*backend, &project.spec.project).await?;
                ui.result(&match self.format {
                    ReportFormat::Json => state.to_text().map_err(|e| Failure::new(e.to_string()))?,
                    _ => list(&state),
                });
                Ok(Exit::Ok)
            };
            return block_on(ui.host(), Meanwhile::Nothing, shown);
        };
        let saved = plan::published(&plan_text(ui.host(), path)?).map_err(|e| unusable(path, &e))?;
        let text = match self.format {
            ReportFormat::Json => render::json(&saved.report),
            ReportFormat::Text | ReportFormat::Markdown => {
                let plan = published(path, &saved)?;
                let mut report = report::plan(&plan, ui.verbose());
                report.footer.extend(report::digest(&plan));
                report.footer.push(report::how_to_apply(&plan, path));
                if self.format == ReportFormat::Text {
                    render::terminal(&report, ui.palette())
                } else {
                    render::markdown(&report)
                }
            }
        };
        ui.result(&text);
        Ok(Exit::Ok)
    }
}

/// Returns the published form of a saved plan.
fn published(path: &Path, saved: &SavedReport) -> Result<wire::WirePlan, Failure> {
    let plan = match saved.format_version.as_str() {
        plan::SHOWN_FORMAT => report::wire_1::read(&saved.report),
        _ => saved.report.read(),
    };
    plan.map_err(|e| {
        let path = path.display();
        Failure::new(format!("`{path}`: cannot read the report in it: {e}"))
    })
}
