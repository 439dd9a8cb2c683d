//! `state`: shows or repairs the state.

use std::collections::{BTreeMap, BTreeSet};

use clap::Subcommand;

use crate::address::Address;
use crate::backend::Backend;
use crate::cli::environment::ProcessEnvironment;
use crate::cli::failure::{Ended, ErrorKind, Exit, Failure};
use crate::cli::host::Meanwhile;
use crate::cli::live::{LiveRun, Work};
use crate::cli::options::ProblemFormat;
use crate::cli::project::Project;
use crate::cli::run::{
    Invocation, addresses, agrees, block_on, home, known, lineage, list, lock_info, locked, session,
};
use crate::cli::ui::Ui;
use crate::engine::{Intent, Known};
use crate::render;
use crate::report;

/// Show, change, unlock or rebuild the state.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick state list
  bailiwick state unlock
  bailiwick state rebuild --orphans")]
pub struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

/// The subcommands of `state`.
#[derive(Clone, Debug, Subcommand)]
pub enum StateCommand {
    /// List the resources in the state.
    #[command(after_help = "\
Examples:
  bailiwick state list
  bailiwick state list -f prod/")]
    List,
    /// Show one resource as the state records it.
    #[command(after_help = "\
Examples:
  bailiwick state show aws.iam.role.loader
  bailiwick state show aws.s3.bucket.weights -f prod/")]
    Show {
        /// The address of the resource.
        address: String,
    },
    /// Remove a resource from the state. The resource itself stays.
    #[command(after_help = "\
Examples:
  bailiwick state rm aws.iam.role.loader
  bailiwick state rm aws.kms.key.weights")]
    Rm {
        /// The address of the resource.
        address: String,
    },
    /// Change the address of a resource after you renamed its key in the spec.
    #[command(after_help = "\
Examples:
  bailiwick state mv aws.iam.role.loader aws.iam.role.model-loader
  bailiwick state mv aws.s3.bucket.data aws.s3.bucket.datasets")]
    Mv {
        /// The old address.
        from: String,
        /// The new address.
        to: String,
    },
    /// Release a stale lock and show who held it.
    #[command(after_help = "\
Examples:
  bailiwick state unlock
  bailiwick state unlock --yes")]
    Unlock {
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// Rebuild a lost state from ownership tags. Writes nothing but the state.
    #[command(after_help = "\
Examples:
  bailiwick state rebuild
  bailiwick state rebuild --adopted aws.s3.bucket.weights
  bailiwick state rebuild --orphans")]
    Rebuild {
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
        /// This resource predates the project: release it later instead of deleting it; may be repeated.
        #[arg(long, value_name = "ADDRESS")]
        adopted: Vec<String>,
        /// Also recover resources that carry this project's tag but are not in the spec: the next plan deletes them.
        #[arg(long)]
        orphans: bool,
    },
}

impl StateArgs {
    /// Shows or changes the state.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        if let StateCommand::Rebuild { yes, adopted, orphans } = &self.command {
            return rebuild(invocation, *yes, adopted, *orphans);
        }
        let Invocation { ui, environment, .. } = *invocation;
        let project = invocation.project(ProblemFormat::Text)?;
        let session = session(&project, environment);
        let mending = async {
            let backend = home(ui, &project, &session).await?;
            Mending { ui, project: &project, backend: &*backend, environment }.run(&self.command).await
        };
        block_on(ui.host(), Meanwhile::LockIsKept, mending)
    }
}

fn rebuild(invocation: &Invocation<'_>, yes: bool, adopted: &[String], orphans: bool) -> Ended {
    let problems = ProblemFormat::Text;
    let live = LiveRun { invocation, intent: Intent::Apply, allowed: Vec::new(), keeps_lock: true, problems };
    live.run(async |work| {
        work.project.assume(work.ui)?;
        rebuild_live(work, yes, &addresses(adopted)?, orphans).await
    })
}

/// Rebuilds the state from ownership tags.
async fn rebuild_live(work: &Work<'_>, yes: bool, adopted: &BTreeSet<Address>, orphans: bool) -> Ended {
    let backend = &*work.backend().await?;
    let rebuilding = async {
        let (engine, task) = (work.engine(), work.task());
        let compiled = engine.compile(&task).await.map_err(|stopped| work.stopped(stopped))?;
        let mut stored = backend.load().await?;
        if stored.state.is_none() && stored.journal.entries.iter().any(|e| e.state.1 > 0) {
            work.ui.tell("found a journal without its state: only ownership tags show what its run created");
            stored.journal = crate::state::Journal::default();
        }
        let known = Known::of(stored, &work.project.spec.project, lineage)?;
        let found = engine.recover(&work.project.spec, &compiled, &known, adopted).await;
        work.ui.finish();
        let is_known = |a: &&Address| compiled.desired.resources.contains_key(*a) || found.orphans.contains_key(*a);
        if let Some(unknown) = adopted.iter().find(|a| !is_known(a)) {
            let message = format!("`{unknown}` is not in the spec, and no resource carries its ownership tag");
            return Err(
                Failure::of(ErrorKind::Input, message).hint("pass to --adopted only addresses that the report lists")
            );
        }
        let report = report::recovered(&known.state, &found, orphans);
        work.ui.result(&render::terminal(&report, work.ui.palette()));
        let unreadable = !found.unreadable.is_empty() || (orphans && !found.unlisted.is_empty());
        let orphans = if orphans { found.orphans } else { BTreeMap::new() };
        if found.ours.is_empty() && orphans.is_empty() {
            return Ok(if unreadable { Exit::Error } else { Exit::Ok });
        }
        if !agrees(work.ui, yes, "Write this state? Nothing else is written.", "pass --yes").await? {
            return Err(Failure::of(ErrorKind::Unconfirmed, "not written"));
        }
        let mut known = known;
        known.state.resources.extend(found.ours);
        known.state.resources.extend(orphans);
        work.executing.set(true);
        known.save(backend).await?;
        Ok(if unreadable { Exit::Error } else { Exit::Ok })
    };
    let lock = lock_info("state rebuild", work.ui, work.environment);
    locked(work.ui, backend, lock, work.unless_interrupted(Box::pin(rebuilding))).await
}

struct Mending<'a> {
    ui: &'a Ui,
    project: &'a Project,
    backend: &'a dyn Backend,
    environment: &'a ProcessEnvironment,
}

impl Mending<'_> {
    async fn run(&self, command: &StateCommand) -> Ended {
        match command {
            StateCommand::List => self.ui.result(&list(&self.known().await?.state)),
            StateCommand::Show { address: text } => {
                let Known { state, .. } = self.known().await?;
                let owned = state.resources.get(&address(text)?).ok_or_else(|| missing(text))?;
                let value = serde_json::to_value(owned).map_err(|e| Failure::new(e.to_string()))?;
                self.ui.result(&render::json(&value));
            }
            StateCommand::Rm { address: text } => {
                let wanted = address(text)?;
                let remove = |known: &mut Known| if known.remove(&wanted) { Ok(()) } else { Err(missing(text)) };
                self.edit("state rm", remove).await?;
                self.ui.tell(&format!("removed {wanted} from the state; the resource itself was not changed"));
            }
            StateCommand::Mv { from, to } => {
                let (old, new) = (address(from)?, address(to)?);
                if old.kind() != new.kind() {
                    return Err(Failure::usage(format!("{old} and {new} are of different kinds")));
                }
                self.edit("state mv", |known| {
                    if known.state.resources.contains_key(&new) {
                        return Err(Failure::of(ErrorKind::Input, format!("the state already has {new}"))
                            .hint(format!("choose another address, or remove {new} with `bailiwick state rm`")));
                    }
                    if known.rename(&old, &new) { Ok(()) } else { Err(missing(from)) }
                })
                .await?;
                self.ui.tell(&format!("moved {old} to {new}"));
            }
            StateCommand::Unlock { yes } => return self.unlock(*yes).await,
            // Handled before, because it works on live resources.
            StateCommand::Rebuild { .. } => return Err(Failure::silent()),
        }
        Ok(Exit::Ok)
    }

    async fn known(&self) -> Result<Known, Failure> {
        known(self.backend, &self.project.spec.project).await
    }

    /// Changes the stored state under its lock.
    async fn edit(&self, command: &str, change: impl FnOnce(&mut Known) -> Result<(), Failure>) -> Result<(), Failure> {
        locked(self.ui, self.backend, lock_info(command, self.ui, self.environment), async {
            let mut known = self.known().await?;
            change(&mut known)?;
            known.save(self.backend).await.map_err(Failure::from)
        })
        .await
    }

    async fn unlock(&self, yes: bool) -> Ended {
        let place = self.backend.place();
        let Some(holder) = self.backend.holder().await? else {
            self.ui.tell(&format!("{place} is not locked"));
            return Ok(Exit::Ok);
        };
        self.ui.tell(&render::inert(&format!("{place} is locked by {holder}")));
        self.ui.tell("if that run is still active, it stops before its next write");
        if !agrees(self.ui, yes, "Release this lock?", "pass --yes").await? {
            return Err(Failure::of(ErrorKind::Unconfirmed, "not released"));
        }
        self.backend.unlock(&holder).await?;
        self.ui.tell(&render::inert(&format!("released the lock of {holder}")));
        Ok(Exit::Ok)
    }
}

fn address(text: &str) -> Result<Address, Failure> {
    text.parse::<Address>().map_err(|e| Failure::usage(e.to_string()))
}

fn missing(text: &str) -> Failure {
    Failure::of(ErrorKind::Input, format!("the state has no `{text}`"))
        .hint("`bailiwick state list` shows the addresses in it")
}
