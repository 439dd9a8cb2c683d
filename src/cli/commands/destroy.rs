//! `destroy`: deletes everything that the project created.

#[cfg(feature = "cloud")]
use std::collections::BTreeSet;

#[cfg(feature = "cloud")]
use crate::cli::execute::Applying;
use crate::cli::failure::Ended;
#[cfg(not(feature = "cloud"))]
use crate::cli::failure::Failure;
#[cfg(feature = "cloud")]
use crate::cli::live::LiveRun;
use crate::cli::options::{Allow, TextOrJson};
use crate::cli::run::Invocation;
#[cfg(feature = "cloud")]
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

#[cfg(not(feature = "cloud"))]
impl DestroyArgs {
    /// Only builds with clients destroy.
    #[expect(clippy::unused_self, reason = "has the signature of the function in builds with clients")]
    pub fn run(&self, _: &Invocation<'_>) -> Ended {
        Err(Failure::without_cloud())
    }
}

#[cfg(feature = "cloud")]
impl DestroyArgs {
    /// Destroys.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        let allowed = self.allow.findings(invocation.ui);
        let live = LiveRun { invocation, intent: Intent::Destroy, allowed, keeps_lock: true };
        live.run(async |work| {
            work.check()?;
            let how = Applying { command: "destroy", format: self.format };
            work.apply(&how, &BTreeSet::new(), self.yes, &work.terms(&self.allow, None)?).await
        })
    }
}
