//! Arguments, prompts, exit codes, streams: the only place that prints or reads the environment.

mod args;
mod commands;
mod environment;
mod execute;
mod failure;
pub mod host;
mod live;
mod options;
mod project;
mod run;
mod saved;
mod ui;
mod world;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser};

use args::Globals;
use commands::Command;
pub use environment::ProcessEnvironment;
pub use failure::{Exit, Failure};
use host::{Host, Output};
use run::Invocation;
use ui::Ui;

/// Declarative plan and apply for access to data: who may read which prefix of which bucket, through which role.
#[derive(Debug, Parser)]
#[command(name = "bailiwick", version, about, propagate_version = false, max_term_width = 100)]
struct Args {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    logging(&ProcessEnvironment::read());
    let host: Arc<dyn Host> = Arc::new(host::Process);
    ExitCode::from(run(std::env::args_os(), &host) as u8)
}

/// Runs the program with a command line, which starts with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, host: &Arc<dyn Host>) -> Exit {
    let environment = host.environment();
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => return misunderstood(&error, &**host, &environment),
    };
    let ui = Ui::new(args.globals.color, args.globals.verbose, host, &environment);
    let invocation = Invocation { ui: &ui, globals: &args.globals, environment: &environment };
    let exit = args.command.run(&invocation, Args::command()).unwrap_or_else(|failure| failure.show(&ui));
    if ui.lost() { Exit::Error } else { exit }
}

/// Shows the error of a command line, or the help if it was requested.
fn misunderstood(error: &clap::Error, host: &dyn Host, environment: &ProcessEnvironment) -> Exit {
    let (output, exit) = if error.use_stderr() { (Output::Err, Exit::Usage) } else { (Output::Out, Exit::Ok) };
    let text = error.render();
    let text = if ui::in_color(output, host, environment) { text.ansi().to_string() } else { text.to_string() };
    let _ = host.write(output, text.as_bytes());
    exit
}

/// Logs go to stderr, and only on request: at `trace` the SDK prints whole requests.
fn logging(environment: &ProcessEnvironment) {
    if let Some(filter) = &environment.log {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples are narrower than the smallest common terminal, so that clap does not break them.
    const EXAMPLE_WIDTH: usize = 76;

    fn check_examples(command: &clap::Command, name: &str) -> usize {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines() {
            assert!(line.chars().count() <= EXAMPLE_WIDTH, "`{name}`: shorten or break this line:\n{line}");
        }
        let nested = command.get_subcommands().map(|sub| check_examples(sub, &format!("{name} {}", sub.get_name())));
        nested.sum::<usize>() + usize::from(!help.is_empty())
    }

    #[test]
    fn no_example_of_a_help_text_is_broken_at_eighty_columns() {
        let checked = check_examples(&Args::command(), "bailiwick");
        assert!(checked > 20, "{checked} help texts have examples");
    }
}
