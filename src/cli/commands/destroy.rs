//! `destroy`: deletes everything that the project created, and releases what it adopted.

use std::collections::BTreeSet;

use crate::cli::execute::Applying;
use crate::cli::failure::Ended;
use crate::cli::live::LiveRun;
use crate::cli::options::{Allow, TextOrJson};
use crate::cli::run::Invocation;
use crate::engine::Intent;

/// Delete everything that this project created, and release what it adopted.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick destroy
  bailiwick destroy --yes --format json")]
pub struct DestroyArgs {
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// How to print what was done.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    format: TextOrJson,
    #[command(flatten)]
    allow: Allow,
}

impl DestroyArgs {
    /// Plans the deletion and applies it.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        let allowed = self.allow.findings(invocation.ui);
        let problems = self.format.into();
        let live = LiveRun { invocation, intent: Intent::Destroy, allowed, keeps_lock: true, problems };
        live.run(async |work| {
            work.check()?;
            let how = Applying { command: "destroy", format: self.format };
            work.apply(&how, &BTreeSet::new(), self.yes, &work.terms(&self.allow, None)?).await
        })
    }
}
