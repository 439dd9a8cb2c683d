//! The options that every command takes.

use std::path::PathBuf;

use clap::ValueEnum;

/// The options that every command takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Globals {
    /// When to color the output.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
    /// Show more: requests by service, and how long they waited.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// A spec file, or a folder of *.yaml files. Later files override earlier ones; may be repeated.
    #[arg(long = "file", short, global = true, value_name = "SPEC")]
    pub file: Vec<PathBuf>,
    /// The folder of the state, unless the spec has a `backend`; `state` beside the spec by default.
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// When to color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// At a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
