//! The world that `can` and `who-can` query: from the spec alone, or live.

use super::failure::{Ended, Exit, Failure};
use super::live::LiveRun;
use super::options::{ProblemFormat, TextOrJson};
use super::run::Invocation;
use crate::access::{AccessVerdict, World};
use crate::engine::Intent;
use crate::plan::Bodies;
use crate::provider;

/// The choice of the world to query, and the output format.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WorldArgs {
    /// Use the spec alone and read nothing remotely (the default).
    #[arg(long, conflicts_with = "live")]
    pub spec: bool,
    /// Use the live resources of the spec and the state.
    #[arg(long)]
    pub live: bool,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = TextOrJson::Text)]
    pub format: TextOrJson,
}

impl WorldArgs {
    /// Builds the chosen world and answers a question about it.
    pub fn answer(self, invocation: &Invocation<'_>, question: impl Fn(&World) -> Ended) -> Ended {
        let problems = self.format.into();
        if self.live { live(invocation, problems, question) } else { question(&planned(invocation, problems)?) }
    }
}

/// Builds the world from the spec alone.
fn planned(invocation: &Invocation<'_>, problems: ProblemFormat) -> Result<World, Failure> {
    let project = invocation.project(problems)?;
    let compiled = project.assume(invocation.ui)?;
    Ok(World::new(&project.spec, &compiled.facts, Bodies::desired(&compiled.desired).facets(&provider::kinds())))
}

fn live(invocation: &Invocation<'_>, problems: ProblemFormat, question: impl Fn(&World) -> Ended) -> Ended {
    let live = LiveRun { invocation, intent: Intent::Apply, allowed: Vec::new(), keeps_lock: false, problems };
    live.run(async |work| {
        // Findings do not matter to a question about what exists.
        work.project.assume(work.ui)?;
        question(&work.world().await?)
    })
}

/// Returns the exit code of a verdict. "Depends on conditions" has the code of "denied".
pub fn exit(verdict: AccessVerdict) -> Exit {
    match verdict {
        AccessVerdict::Allowed => Exit::Ok,
        AccessVerdict::Depends | AccessVerdict::Denied => Exit::Differs,
        AccessVerdict::Unknown => Exit::Error,
    }
}
