//! Renders a dependency graph as text for Graphviz and Mermaid.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::inert;
use crate::address::Address;

/// The graph in the DOT language: each resource points to its dependencies.
#[must_use]
pub fn dot(edges: &BTreeMap<Address, Vec<Address>>) -> String {
    let mut out = String::from("digraph bailiwick {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for address in edges.keys() {
        let _ = writeln!(out, "  {};", quoted(address));
    }
    for (from, needs) in edges {
        for to in needs {
            let _ = writeln!(out, "  {} -> {};", quoted(from), quoted(to));
        }
    }
    out.push_str("}\n");
    out
}

/// The address on one line: a line break in a name would look like another element of the graph.
fn one_line(address: &Address) -> String {
    inert(&address.to_string()).replace('\n', "\\u{a}")
}

fn quoted(address: &Address) -> String {
    format!("\"{}\"", one_line(address).replace('\\', "\\\\").replace('"', "\\\""))
}

/// The graph for Mermaid, which code forges render in Markdown.
#[must_use]
pub fn mermaid(edges: &BTreeMap<Address, Vec<Address>>) -> String {
    let names: BTreeMap<&Address, String> = edges.keys().enumerate().map(|(n, a)| (a, format!("n{n}"))).collect();
    let mut out = String::from("flowchart LR\n");
    for (address, name) in &names {
        let text: String = one_line(address).replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;");
        let _ = writeln!(out, "  {name}[\"{text}\"]");
    }
    for (from, needs) in edges {
        for to in needs {
            if let (Some(from), Some(to)) = (names.get(from), names.get(to)) {
                let _ = writeln!(out, "  {from} --> {to}");
            }
        }
    }
    out
}
