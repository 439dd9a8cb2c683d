//! `graph`: the dependency graph of the spec.

use std::collections::BTreeMap;

use clap::ValueEnum;

use crate::address::Address;
use crate::cli::failure::{Ended, Exit};
use crate::cli::options::ProblemFormat;
use crate::cli::run::{Invocation, today};
use crate::render;

/// Print the dependency graph of the spec.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick graph | dot -Tsvg > graph.svg
  bailiwick graph --format mermaid")]
pub struct GraphArgs {
    /// The language of the graph.
    #[arg(long, value_enum, default_value_t = GraphFormat::Dot)]
    format: GraphFormat,
}

/// How to print a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// For Graphviz.
    Dot,
    /// For markdown on forges.
    Mermaid,
    /// For programs.
    Json,
}

impl From<GraphFormat> for ProblemFormat {
    fn from(format: GraphFormat) -> Self {
        match format {
            GraphFormat::Json => Self::Json,
            GraphFormat::Dot | GraphFormat::Mermaid => Self::Text,
        }
    }
}

impl GraphArgs {
    /// Prints the graph.
    pub fn run(self, invocation: &Invocation<'_>) -> Ended {
        let project = invocation.project(self.format.into())?;
        let (compiled, _) = project.check_offline(invocation.ui, &today(invocation.ui.host()))?;
        let edges: BTreeMap<Address, Vec<Address>> = compiled
            .desired
            .resources
            .values()
            .map(|r| {
                let mut needs: Vec<Address> = r.references.iter().map(|x| x.to.clone()).collect();
                needs.sort();
                needs.dedup();
                (r.address.clone(), needs)
            })
            .collect();
        let text = match self.format {
            GraphFormat::Dot => render::dot(&edges),
            GraphFormat::Mermaid => render::mermaid(&edges),
            GraphFormat::Json => {
                let nodes: Vec<String> = edges.keys().map(ToString::to_string).collect();
                let lines: Vec<_> = edges
                    .iter()
                    .flat_map(|(from, needs)| needs.iter().map(move |to| serde_json::json!({ "from": from, "to": to })))
                    .collect();
                render::json(&serde_json::json!({ "nodes": nodes, "edges": lines }))
            }
        };
        invocation.ui.result(&text);
        Ok(Exit::Ok)
    }
}
