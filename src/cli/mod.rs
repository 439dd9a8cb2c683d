//! Arguments, prompts, exit codes, streams: the only place that prints or reads the environment.
#![cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "only plan, apply and drift use parts of it"))]

mod args;
mod commands;
#[cfg(feature = "cloud")]
mod execute;
mod failure;
#[cfg(feature = "cloud")]
mod live;
mod options;
mod project;
mod run;
mod saved;
mod ui;
mod world;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

use args::Globals;
use commands::Command;
pub use failure::{Exit, Failure};
use run::Invocation;
use ui::{ProcessEnvironment, Ui};

/// Declarative plan and apply for access to data: who may read which prefix of which bucket, through which role.
#[derive(Debug, Parser)]
#[command(name = "bailiwick", version, about, propagate_version = false, max_term_width = 100)]
struct Args {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Runs the program on the process's own arguments.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return ExitCode::from(exit as u8);
        }
    };
    let environment = ProcessEnvironment::read();
    logging(&environment);
    let ui = Ui::new(args.globals.color, args.globals.verbose, &environment);
    let invocation = Invocation { ui: &ui, globals: &args.globals, environment: &environment };
    let exit = args.command.run(&invocation, Args::command()).unwrap_or_else(|failure| failure.show(&ui));
    let exit = if ui.lost() { Exit::Error } else { exit };
    ExitCode::from(exit as u8)
}

/// Logs go to stderr and only if asked for: at `trace` the SDK prints whole requests.
fn logging(environment: &ProcessEnvironment) {
    if let Some(filter) = &environment.log {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
}
