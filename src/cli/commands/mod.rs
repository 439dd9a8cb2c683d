//! The commands: one file each, with arguments, help and implementation.

mod apply;
mod can;
mod completions;
mod destroy;
mod drift;
mod graph;
mod init;
mod man;
mod plan;
mod policy;
mod schema;
mod show;
mod state;
mod validate;
mod who_can;

use clap::Subcommand;

use super::failure::Ended;
use super::run::Invocation;

// The doc comments of the arguments are the help texts.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::InitArgs),
    Validate(validate::ValidateArgs),
    Plan(plan::PlanArgs),
    Apply(apply::ApplyArgs),
    Drift(drift::DriftArgs),
    Destroy(destroy::DestroyArgs),
    Graph(graph::GraphArgs),
    Show(show::ShowArgs),
    State(state::StateArgs),
    Can(can::CanArgs),
    WhoCan(who_can::WhoCanArgs),
    Policy(policy::PolicyArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Command {
    /// Runs the command. `program` is the whole command line, for completions and the manual page.
    pub fn run(&self, invocation: &Invocation<'_>, program: clap::Command) -> Ended {
        match self {
            Self::Init(args) => args.run(invocation),
            Self::Validate(args) => args.run(invocation),
            Self::Plan(args) => args.run(invocation),
            Self::Apply(args) => args.run(invocation),
            Self::Drift(args) => args.run(invocation),
            Self::Destroy(args) => args.run(invocation),
            Self::Graph(args) => args.run(invocation),
            Self::Show(args) => args.run(invocation),
            Self::State(args) => args.run(invocation),
            Self::Can(args) => args.run(invocation),
            Self::WhoCan(args) => args.run(invocation),
            Self::Policy(args) => args.run(invocation),
            Self::Schema(args) => Ok(args.run(invocation)),
            Self::Completions(args) => Ok(args.run(invocation, program)),
            Self::Man(args) => args.run(invocation, program),
        }
    }
}
