//! Arguments, prompts, exit codes, streams: the only place that prints or reads the environment.
#![cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "only plan, apply and drift use parts of it"))]

mod access;
mod args;
mod failure;
mod init;
#[cfg(feature = "cloud")]
mod live;
mod offline;
mod policy;
mod project;
mod state;
mod ui;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Args, Command, StateCommand};
pub use failure::Failure;
use ui::{Environment, Ui};

/// The exit codes of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Well.
    Ok = 0,
    /// Something is wrong, failed, or was refused.
    Error = 1,
    /// There is a difference, and the caller asked to be told so.
    Differs = 2,
    /// The command line is wrong (`EX_USAGE` of sysexits).
    Usage = 64,
    /// The run was interrupted.
    Interrupted = 130,
}

type Ended = Result<Exit, Failure>;

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
    let environment = Environment::read();
    logging(&environment);
    let ui = Ui::new(args.color, args.verbose, &environment);
    let exit = run(&ui, &args, &environment).unwrap_or_else(|failure| failure.show(&ui));
    let exit = if ui.lost() { Exit::Error } else { exit };
    ExitCode::from(exit as u8)
}

fn run(ui: &Ui, args: &Args, environment: &Environment) -> Ended {
    match &args.command {
        Command::Init(answers) => init::run(ui, answers),
        Command::Validate { format } => offline::validate(ui, args, *format),
        Command::Graph { format } => offline::graph(ui, args, *format),
        Command::Show { plan, format } => offline::show(ui, args, plan.as_deref(), *format, environment),
        Command::State { command } if !matches!(command, StateCommand::Rebuild { .. }) => {
            state::run(ui, args, command, environment)
        }
        Command::Can(asked) if !asked.world.live => access::can(ui, &offline::world(ui, args)?, asked),
        Command::WhoCan(asked) if !asked.world.live => access::who_can(ui, &offline::world(ui, args)?, asked),
        Command::Policy { command } => policy::run(ui, command),
        Command::Schema { schema } => Ok(offline::schema(ui, *schema)),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "bailiwick", &mut text);
            ui.result(&String::from_utf8_lossy(&text));
            Ok(Exit::Ok)
        }
        Command::Man => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut text).map_err(|e| Failure::new(e.to_string()))?;
            ui.result(&String::from_utf8_lossy(&text));
            Ok(Exit::Ok)
        }
        #[cfg(feature = "cloud")]
        live => live::run(ui, args, live, environment),
        #[cfg(not(feature = "cloud"))]
        _ => Err(Failure::new("this build has no AWS and Kubernetes support: it can validate, graph and show")),
    }
}

/// Logs go to stderr and only if asked for: at `trace` the SDK prints whole requests.
fn logging(environment: &Environment) {
    if let Some(filter) = &environment.log {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
}

/// Today as YYYY-MM-DD, and now as RFC 3339: the only clock.
fn today() -> String {
    jiff::Zoned::now().date().to_string()
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A new history of states.
fn lineage() -> crate::state::Lineage {
    crate::state::Lineage((0..32).map(|_| fastrand::digit(16)).collect())
}
