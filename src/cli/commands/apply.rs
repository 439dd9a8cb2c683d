//! `apply`: applies a saved plan, or creates a plan, prompts, and applies it.

use std::path::PathBuf;

use crate::cli::execute::Applying;
use crate::cli::failure::Ended;
use crate::cli::live::{LiveRun, Work};
use crate::cli::options::{Allow, TextOrJson};
use crate::cli::run::{Invocation, addresses, lock_info, locked};
use crate::cli::saved::plan_file;
use crate::engine::{Intent, Terms, fits_spec};

/// Apply a saved plan, or create a plan, prompt for confirmation, and apply it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick apply
  bailiwick apply plan.json
  bailiwick apply --yes --allow-deletes 2")]
pub struct ApplyArgs {
    /// A plan saved with `plan --out`.
    plan: Option<PathBuf>,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// Apply only if the plan has this digest.
    #[arg(long, value_name = "DIGEST")]
    expect_digest: Option<String>,
    /// How to print what was done.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    format: TextOrJson,
    /// Apply only this address and its dependencies; may be repeated.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "plan")]
    target: Vec<String>,
    #[command(flatten)]
    allow: Allow,
}

impl ApplyArgs {
    /// Applies the plan.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        let allowed = self.allow.findings(invocation.ui);
        let problems = self.format.into();
        let live = LiveRun { invocation, intent: Intent::Apply, allowed, keeps_lock: true, problems };
        live.run(async |work| {
            if self.plan.is_none() {
                work.check()?;
            }
            let terms = work.terms(&self.allow, self.expect_digest.as_deref())?;
            let how = Applying { command: "apply", format: self.format };
            match &self.plan {
                Some(file) => apply_file(work, &how, file, &terms).await,
                None => work.apply(&how, &addresses(&self.target)?, self.yes, &terms).await,
            }
        })
    }
}

async fn apply_file(work: &Work<'_>, how: &Applying<'_>, path: &std::path::Path, terms: &Terms) -> Ended {
    let plan = plan_file(work.ui.host(), path)?.plan;
    let task = work.task();
    terms.expects(&plan)?;
    fits_spec(&task, &plan)?;
    let backend = &*work.backend().await?;
    let applying = async {
        let known = work.known(backend).await?;
        let cleared = work.engine().clear_saved(&task, plan, known, terms, &backend.place()).await;
        let cleared = cleared.map_err(|stopped| work.stopped(stopped))?;
        work.ui.finish();
        work.execute(how, cleared, backend).await
    };
    let lock = lock_info(how.command, work.ui, work.environment);
    locked(work.ui, backend, lock, work.unless_interrupted(Box::pin(applying))).await
}
