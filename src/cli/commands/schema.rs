//! `schema`: the JSON Schema of every format.

use clap::ValueEnum;

use crate::cli::failure::Exit;
use crate::cli::run::Invocation;
use crate::render;
use crate::report::{self, wire};
use crate::spec::Spec;
use crate::state::State;

/// Print the JSON Schema of a format.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick schema spec > bailiwick.schema.json
  bailiwick schema plan")]
pub struct SchemaArgs {
    /// The format.
    #[arg(value_enum)]
    schema: Schema,
}

/// Which schema to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Schema {
    /// Of specs.
    Spec,
    /// Of `plan --format json`.
    Plan,
    /// Of state files.
    State,
    /// Of `drift --format json`.
    Drift,
    /// Of `can --format json` and `who-can --format json`.
    Access,
    /// Of `validate --format json`, `policy check --format json`, and every command that problems of the spec stop.
    Problems,
    /// Of `apply --format json` and `destroy --format json`.
    Apply,
}

impl SchemaArgs {
    /// Prints the schema.
    pub fn run(self, invocation: &Invocation<'_>) -> Exit {
        invocation.ui.result(&render::json(&schema_of(self.schema)));
        Exit::Ok
    }
}

/// Returns a JSON Schema.
fn schema_of(schema: Schema) -> serde_json::Value {
    match schema {
        Schema::Spec => Spec::schema(),
        Schema::Plan => schemars::schema_for!(wire::WirePlan).to_value(),
        Schema::State => schemars::schema_for!(State).to_value(),
        Schema::Drift => schemars::schema_for!(wire::WireDrift).to_value(),
        Schema::Access => schemars::schema_for!(wire::WireAccess).to_value(),
        Schema::Apply => schemars::schema_for!(report::applied::WireApplied).to_value(),
        Schema::Problems => schemars::schema_for!(wire::WireProblems).to_value(),
    }
}
