//! `man`: the manual page.

use crate::cli::failure::{Ended, Exit, Failure};
use crate::cli::run::Invocation;

/// Print the manual page.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick man > bailiwick.1
  bailiwick man | man -l -")]
pub struct ManArgs {}

impl ManArgs {
    /// Prints the manual page of the program.
    #[expect(clippy::unused_self, reason = "is called as every command is")]
    pub fn run(self, invocation: &Invocation<'_>, program: clap::Command) -> Ended {
        let mut text = Vec::new();
        clap_mangen::Man::new(program).render(&mut text).map_err(|e| Failure::new(e.to_string()))?;
        invocation.ui.result(&String::from_utf8_lossy(&text));
        Ok(Exit::Ok)
    }
}
