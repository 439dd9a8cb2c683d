//! Commands that look nowhere: they read files only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::args::{ApplyFormat, Args, Format, GraphFormat, Schema, StateCommand};
use super::project::{Known, Project, forbidding};
use super::ui::Ui;
use super::{Ended, Exit, Failure, now, today};
use crate::access::World;
use crate::address::Address;
use crate::backend::{Backend, FileBackend, LockInfo};
use crate::diagnostic::{Diagnostic, Severity};
use crate::plan::{Bodies, PlanFile};
use crate::render;
use crate::report::{self, wire};
use crate::spec::{Facts, Spec};
use crate::state::State;

pub(super) fn validate(ui: &Ui, args: &Args, format: ApplyFormat) -> Ended {
    let project = Project::open(ui, &args.file, args.state.as_deref())?;
    let (compiled, findings) = project.check_offline(ui, &today())?;
    let wrong = forbidding(&findings, &[]);
    match format {
        ApplyFormat::Json => {
            let findings: Vec<_> = findings.iter().map(wire::finding).collect();
            let text = serde_json::json!({ "project": project.spec.project, "resources": compiled.desired.resources.len(), "findings": findings });
            ui.result(&render::json(&text));
        }
        ApplyFormat::Text => {
            let (errors, others): (Vec<_>, Vec<_>) =
                findings.into_iter().partition(|f| f.severity == Severity::Error && f.accepted.is_none());
            let problems: Vec<Diagnostic> = errors.iter().map(Diagnostic::from).collect();
            if !problems.is_empty() {
                ui.problems(&problems, &project.files);
            }
            let (resources, grants) = (compiled.desired.resources.len(), compiled.chains.all().len());
            let judged = match wrong {
                0 => "sound".to_owned(),
                1 => "1 error".to_owned(),
                n => format!("{n} errors"),
            };
            let report = report::Report {
                headline: format!("{}: {judged}, {resources} resources, {grants} grants", project.spec.project),
                sections: report::findings_section(&ui.shown(&others)).into_iter().collect(),
                footer: Vec::new(),
            };
            ui.result(&render::terminal(&report, ui.palette()));
        }
    }
    Ok(if wrong > 0 { Exit::Error } else { Exit::Ok })
}

/// The world that the spec alone would make.
pub(super) fn world(ui: &Ui, args: &Args) -> Result<World, Failure> {
    let project = Project::open(ui, &args.file, args.state.as_deref())?;
    let facts = Facts::placeholders(&project.spec);
    let compiled = project.compile(ui, &project.spec, &facts)?;
    Ok(World::new(&project.spec, &facts, Bodies::desired(&compiled.desired).things()))
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

/// Reads a saved plan.
pub(super) fn plan_file(path: &Path) -> Result<PlanFile, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|e| Failure::new(format!("cannot read `{}`: {e}", path.display())))?;
    PlanFile::parse(&text).map_err(|e| Failure::new(format!("`{}`: {e}", path.display())))
}

pub(super) fn show(ui: &Ui, args: &Args, plan: Option<&Path>, format: Format) -> Ended {
    let Some(path) = plan else {
        let project = Project::open(ui, &args.file, args.state.as_deref())?;
        let Known { state, .. } = stored(&project)?;
        let text = match format {
            Format::Json => state.to_text().map_err(|e| Failure::new(e.to_string()))?,
            _ => list(&state),
        };
        ui.result(&text);
        return Ok(Exit::Ok);
    };
    let file = plan_file(path)?;
    let text = match format {
        Format::Json => render::json(&file.report),
        Format::Text | Format::Markdown => {
            let mut report = report::plan(&file.plan, None, &[], &[], &[]);
            report.sections.splice(0..0, saved_access(&file));
            if format == Format::Text { render::terminal(&report, ui.palette()) } else { render::markdown(&report) }
        }
    };
    ui.result(&text);
    Ok(Exit::Ok)
}

/// The access section of a saved plan.
fn saved_access(file: &PlanFile) -> Option<report::Section> {
    let changes: Vec<wire::WireAccessChange> =
        serde_json::from_value(file.report.get("access_changes")?.clone()).ok()?;
    report::access_section(&changes, !file.plan.is_empty())
}

fn list(state: &State) -> String {
    let mut text = String::new();
    for (address, owned) in &state.resources {
        let mark = if owned.adopted { " (adopted)" } else { "" };
        let unknown = if owned.body.is_none() { " (unknown: a run was cut off)" } else { "" };
        let _ = writeln!(text, "{address}  {}{mark}{unknown}", owned.physical_id);
    }
    render::inert(&text)
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|e| Failure::new(e.to_string()))?.block_on(future))
}

/// The state as it is known.
fn stored(project: &Project) -> Result<Known, Failure> {
    let backend = FileBackend::new(project.state_folder.clone(), &project.spec.project);
    let stored = block_on(backend.load())?.map_err(|e| Failure::new(e.to_string()))?;
    Ok(Known::of(stored, &project.spec.project))
}

pub(super) fn state(ui: &Ui, args: &Args, command: &StateCommand) -> Ended {
    let project = Project::open(ui, &args.file, args.state.as_deref())?;
    let address = |text: &str| text.parse::<Address>().map_err(|e| Failure::new(e.to_string()));
    let missing = |text: &str| Failure::new(format!("the state has no `{text}`: see `bailiwick state list`"));
    match command {
        StateCommand::List => {
            let Known { state, .. } = stored(&project)?;
            ui.result(&list(&state));
        }
        StateCommand::Show { address: text } => {
            let Known { state, .. } = stored(&project)?;
            let owned = state.resources.get(&address(text)?).ok_or_else(|| missing(text))?;
            let value = serde_json::to_value(owned).map_err(|e| Failure::new(e.to_string()))?;
            ui.result(&render::json(&value));
        }
        StateCommand::Rm { address: text } => {
            let wanted = address(text)?;
            edit(&project, |state| state.resources.remove(&wanted).map(|_| ()).ok_or_else(|| missing(text)))?;
            ui.tell(&format!("{wanted} is no longer in the state; the thing itself was not touched"));
        }
        StateCommand::Mv { from, to } => {
            let (old, new) = (address(from)?, address(to)?);
            if old.kind() != new.kind() {
                return Err(Failure::new(format!("{old} and {new} are of different kinds")));
            }
            edit(&project, |state| {
                if state.resources.contains_key(&new) {
                    return Err(Failure::new(format!("the state has {new} already")));
                }
                let owned = state.resources.remove(&old).ok_or_else(|| missing(from))?;
                state.resources.insert(new.clone(), owned);
                for owned in state.resources.values_mut() {
                    for reference in owned.references.iter_mut().filter(|r| r.to == old) {
                        reference.to = new.clone();
                    }
                }
                Ok(())
            })?;
            ui.tell(&format!("{old} is now {new}"));
        }
    }
    Ok(Exit::Ok)
}

/// Changes the stored state under its lock.
fn edit(project: &Project, change: impl FnOnce(&mut State) -> Result<(), Failure>) -> Result<(), Failure> {
    let backend = FileBackend::new(project.state_folder.clone(), &project.spec.project);
    let told = |e: crate::backend::BackendError| Failure::new(e.to_string());
    let _lock = block_on(backend.lock(lock_info("bailiwick state")))?.map_err(told)?;
    let Known { mut state, version, .. } = stored(project)?;
    change(&mut state)?;
    state.serial += 1;
    block_on(backend.save(&state, &version))?.map_err(told)?;
    Ok(())
}

/// Who we are, for those who find the lock taken.
pub(super) fn lock_info(holder: &str) -> LockInfo {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "this machine".into());
    LockInfo { holder: holder.to_owned(), host: host.trim().to_owned(), pid: std::process::id(), since: now() }
}

/// A JSON Schema by name.
#[must_use]
pub fn schema_of(schema: Schema) -> serde_json::Value {
    match schema {
        Schema::Spec => Spec::schema(),
        Schema::Plan => schemars::schema_for!(wire::WirePlan).to_value(),
        Schema::State => schemars::schema_for!(State).to_value(),
        Schema::Drift => schemars::schema_for!(wire::WireDrift).to_value(),
    }
}

pub(super) fn schema(ui: &Ui, schema: Schema) -> Exit {
    ui.result(&render::json(&schema_of(schema)));
    Exit::Ok
}
