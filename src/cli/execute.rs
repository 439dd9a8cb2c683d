//! Shared by `apply` and `destroy`: confirms a plan, and executes it.

use std::collections::BTreeSet;

use super::failure::{Ended, ErrorKind, Exit, Failure};
use super::live::Work;
use super::options::TextOrJson;
use super::run::{agrees, lock_info, locked, now};
use crate::address::Address;
use crate::backend::Backend;
use crate::engine::{Cleared, Terms};
use crate::event::{Outcome, Outcomes};
use crate::plan::Plan;
use crate::render;
use crate::report;

/// The command that applies, and the format of its report.
pub struct Applying<'a> {
    /// The command.
    pub command: &'a str,
    /// The format of the report.
    pub format: TextOrJson,
}

impl Work<'_> {
    /// Creates a plan, prompts for confirmation, and applies it.
    pub async fn apply(&self, how: &Applying<'_>, targets: &BTreeSet<Address>, yes: bool, terms: &Terms) -> Ended {
        let backend = &*self.backend().await?;
        let work = async {
            let planned = self.planned(backend, targets).await?;
            let engine = self.engine();
            let published = self.published(&planned, &engine.refusals(&planned, terms));
            let report = render::terminal(&self.report(&published, None), self.ui.palette());
            match how.format {
                TextOrJson::Text => self.ui.result(&report),
                TextOrJson::Json => self.ui.tell(&report),
            }
            let cleared = engine.clear(planned, terms).map_err(Failure::reported)?;
            if !cleared.plan().is_empty() {
                let instead = "pass --yes, or apply a saved plan";
                if !agrees(self.ui, yes, "Apply this plan?", instead).await? {
                    return Err(Failure::of(ErrorKind::Unconfirmed, "not applied: nothing was written"));
                }
            }
            self.execute(how, cleared, backend).await
        };
        let lock = lock_info(how.command, self.ui, self.environment);
        locked(self.ui, backend, lock, self.unless_interrupted(Box::pin(work))).await
    }

    /// Executes a cleared plan.
    pub async fn execute(&self, how: &Applying<'_>, cleared: Cleared, backend: &dyn Backend) -> Ended {
        if cleared.is_idle() {
            if how.format == TextOrJson::Json {
                self.ui.result(&applied_json(cleared.plan(), &Outcomes::new())?);
            }
            return Ok(Exit::Ok);
        }
        self.ui.applying(cleared.plan().steps.len());
        self.executing.set(true);
        let executed = self.engine().execute(cleared, backend, &|| now(self.ui.host()), self.stop.clone()).await;
        self.ui.finish();
        match how.format {
            TextOrJson::Json => self.ui.result(&applied_json(&executed.plan, &executed.outcomes)?),
            // A run that only rewrites the state has nothing more to report than its plan.
            TextOrJson::Text if executed.plan.is_empty() => {}
            TextOrJson::Text => {
                let report = report::applied(how.command, &executed.plan, &executed.outcomes);
                self.ui.result(&format!("\n{}", render::terminal(&report, self.ui.palette())));
            }
        }
        let all = executed.outcomes.values().all(|o| *o == Outcome::Done);
        if let Some(error) = executed.broken {
            let next = format!(
                "the journal records what was done: run `bailiwick {}` again to complete the remaining steps",
                how.command
            );
            return Err(Failure::from(error).hint(next));
        }
        Ok(match (*self.stop.borrow(), all) {
            (true, false) => Exit::Interrupted,
            (_, true) => Exit::Ok,
            (false, false) => Exit::Error,
        })
    }
}

fn applied_json(plan: &Plan, outcomes: &Outcomes) -> Result<String, Failure> {
    let value = serde_json::to_value(report::applied::applied(plan, outcomes));
    value.map(|value| render::json(&value)).map_err(|error| Failure::new(error.to_string()))
}
