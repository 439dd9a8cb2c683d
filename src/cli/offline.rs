//! Commands that look at files and at the state only.

use std::collections::BTreeMap;
use std::path::Path;

use super::args::{Args, Format, GraphFormat, ProblemFormat, Schema};
use super::project::{Checked, Project, forbidding};
use super::ui::{Environment, Ui};
use super::{Ended, Exit, Failure, state, today};
use crate::access::World;
use crate::address::Address;
use crate::diagnostic::Diagnostic;
use crate::engine::Known;
use crate::plan::{self, Bodies, PlanFile, SavedReport};
use crate::render;
use crate::report::{self, wire};
use crate::spec::Spec;
use crate::state::State;

pub(super) fn validate(ui: &Ui, args: &Args, format: ProblemFormat) -> Ended {
    if format == ProblemFormat::Text {
        return validate_for_people(ui, args);
    }
    let checked = Checked::of(&args.file, &today());
    let wrong = forbidding(&checked.problems, &[]);
    if format == ProblemFormat::Sarif {
        ui.sarif(&checked.problems);
    } else {
        ui.result(&render::json(&checked.published()));
    }
    Ok(if wrong > 0 { Exit::Error } else { Exit::Ok })
}

fn validate_for_people(ui: &Ui, args: &Args) -> Ended {
    let project = Project::open(ui, &args.file, args.state.as_deref())?;
    let (compiled, findings) = project.check_offline(ui, &today())?;
    let (problems, others): (Vec<_>, Vec<_>) = findings.into_iter().partition(Diagnostic::forbids);
    if !problems.is_empty() {
        ui.problems(&problems, &project.files);
    }
    let others: Vec<_> = others.iter().map(wire::finding).collect();
    let (resources, grants) = (compiled.desired.resources.len(), compiled.chains.all().len());
    let judged = match problems.len() {
        0 => "sound".to_owned(),
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    };
    let report = report::Report {
        headline: format!("{}: {judged}, {resources} resources, {grants} grants", project.spec.project),
        sections: report::findings_section(&others, ui.verbose()).into_iter().collect(),
        footer: Vec::new(),
    };
    ui.result(&render::terminal(&report, ui.palette()));
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Error })
}

/// The world that the spec alone would make.
pub(super) fn world(ui: &Ui, args: &Args) -> Result<World, Failure> {
    let project = Project::open(ui, &args.file, args.state.as_deref())?;
    let compiled = project.assume(ui)?;
    Ok(World::new(&project.spec, &compiled.facts, Bodies::desired(&compiled.desired).facets(&crate::provider::kinds())))
}

pub(super) fn graph(ui: &Ui, args: &Args, format: GraphFormat) -> Ended {
    let project = Project::open(ui, &args.file, args.state.as_deref())?;
    let (compiled, _) = project.check_offline(ui, &today())?;
    let edges: BTreeMap<Address, Vec<Address>> = compiled
        .desired
        .resources
        .values()
        .map(|r| {
            let mut needs: Vec<Address> = r.wish.references.iter().map(|x| x.to.clone()).collect();
            needs.sort();
            needs.dedup();
            (r.address.clone(), needs)
        })
        .collect();
    let text = match format {
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
    ui.result(&text);
    Ok(Exit::Ok)
}

fn plan_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| {
        let path = path.display();
        Failure::new(format!(
            "cannot read the plan `{path}`: {e}; nothing was written\n  name a file that `bailiwick plan --out` has saved"
        ))
    })
}

/// Reads a saved plan, to apply it.
pub(super) fn plan_file(path: &Path) -> Result<PlanFile, Failure> {
    PlanFile::parse(&plan_text(path)?).map_err(|e| {
        let path = path.display();
        Failure::new(format!(
            "`{path}`: {e}; nothing was written\n  create a new plan with `bailiwick plan --out {path}`"
        ))
    })
}

pub(super) fn show(ui: &Ui, args: &Args, plan: Option<&Path>, format: Format, environment: &Environment) -> Ended {
    let Some(path) = plan else {
        let project = Project::open(ui, &args.file, args.state.as_deref())?;
        let session = state::session(&project, environment);
        let Known { state, .. } = state::block_on(state::Meanwhile::Nothing, async {
            let home = state::home(ui, &project, &session).await?;
            state::known(&*home, &project.spec.project).await
        })?;
        let text = match format {
            Format::Json => state.to_text().map_err(|e| Failure::new(e.to_string()))?,
            _ => state::list(&state),
        };
        ui.result(&text);
        return Ok(Exit::Ok);
    };
    let saved = plan::published(&plan_text(path)?).map_err(|e| {
        let path = path.display();
        Failure::new(format!("`{path}`: {e}\n  create a new plan with `bailiwick plan --out {path}`"))
    })?;
    let text = match format {
        Format::Json => render::json(&saved.report),
        Format::Text | Format::Markdown => {
            let plan = published(path, &saved)?;
            let mut report = report::plan(&plan, ui.verbose());
            report.footer.push(report::how_to_apply(&plan, path));
            if format == Format::Text { render::terminal(&report, ui.palette()) } else { render::markdown(&report) }
        }
    };
    ui.result(&text);
    Ok(Exit::Ok)
}

/// The published form of a saved plan.
fn published(path: &Path, saved: &SavedReport) -> Result<wire::WirePlan, Failure> {
    let plan = match saved.format_version.as_str() {
        plan::SHOWN_FORMAT => report::wire_1::read(&saved.report),
        _ => saved.report.read(),
    };
    plan.map_err(|e| {
        let path = path.display();
        Failure::new(format!("`{path}`: cannot read the report in it: {e}"))
    })
}

/// A JSON Schema by name.
#[must_use]
pub fn schema_of(schema: Schema) -> serde_json::Value {
    match schema {
        Schema::Spec => Spec::schema(),
        Schema::Plan => schemars::schema_for!(wire::WirePlan).to_value(),
        Schema::State => schemars::schema_for!(State).to_value(),
        Schema::Drift => schemars::schema_for!(wire::WireDrift).to_value(),
        Schema::Access => schemars::schema_for!(wire::WireAccess).to_value(),
        Schema::Problems => schemars::schema_for!(wire::WireProblems).to_value(),
    }
}

pub(super) fn schema(ui: &Ui, schema: Schema) -> Exit {
    ui.result(&render::json(&schema_of(schema)));
    Exit::Ok
}
