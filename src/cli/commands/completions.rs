//! `completions`: completions for a shell.

use crate::cli::failure::Exit;
use crate::cli::run::Invocation;

/// Print completions for a shell.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick completions bash > /etc/bash_completion.d/bailiwick
  bailiwick completions zsh > ~/.zfunc/_bailiwick")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl CompletionsArgs {
    /// Prints the completions of the program.
    pub fn run(self, invocation: &Invocation<'_>, mut program: clap::Command) -> Exit {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut program, "bailiwick", &mut text);
        invocation.ui.result(&String::from_utf8_lossy(&text));
        Exit::Ok
    }
}
