//! The options that every command takes.

use std::path::PathBuf;

use clap::ValueEnum;

/// The options that every command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Globals {
    /// When to color the output.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, help_heading = "Global options")]
    pub color: Color,
    /// Show more detail: informational findings, plan digests, requests by service, and waiting times.
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// A spec file, or a folder of *.yaml files; may be repeated. Later files override earlier ones.
    #[arg(long = "file", short, global = true, value_name = "SPEC", help_heading = "Global options")]
    pub file: Vec<PathBuf>,
    /// The folder of the state, if the spec has no `backend`. By default, `state` next to the spec.
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub state: Option<PathBuf>,
}

/// When to color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// At a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
