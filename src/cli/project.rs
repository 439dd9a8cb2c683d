//! From files to a plan: the stages in their order.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use super::ui::Ui;
use crate::access::{self, Chains};
use crate::address::Address;
use crate::backend::{Stored, StoredVersion};
use crate::check::{self, Lints};
use crate::desired::{self, Desired};
use crate::diagnostic::{Code, Diagnostic};
use crate::provider;
use crate::report::wire;
use crate::spec::node::MAX_FILE_BYTES;
use crate::spec::{Facts, SourceFile, Spec, load};
use crate::state::{Entry, Lineage, State, fold};

const DEFAULT_FILE: &str = "bailiwick.yaml";

/// A spec and where it came from.
pub struct Project {
    /// The spec.
    pub spec: Spec,
    /// Its files.
    pub files: Vec<SourceFile>,
    /// The folder of its state.
    pub state_folder: PathBuf,
    /// What was found in its policies.
    pub lints: Lints,
}

/// A spec compiled with some facts.
pub struct Compiled {
    /// The grants, resolved.
    pub chains: Chains,
    /// Everything that should exist.
    pub desired: Desired,
}

impl Project {
    /// Reads the spec's files and tells every problem.
    pub fn open(ui: &Ui, given: &[PathBuf], state: Option<&Path>) -> Result<Self, Failure> {
        let Loaded { files, spec, problems } = Loaded::from(given);
        if !problems.is_empty() {
            ui.problems(&problems, &files);
        }
        let wrong = problems.iter().filter(|p| p.forbids()).count();
        if wrong > 0 {
            return Err(Failure::told(wrong));
        }
        let spec = spec.ok_or_else(|| Failure::told(0))?;
        if let (Some(backend), Some(_)) = (&spec.backend, state) {
            return Err(Failure::new(format!(
                "the spec keeps its state in {backend}: omit --state, or remove `backend` from the spec"
            )));
        }
        let beside = or_default(given).first().map_or(Path::new(""), |first| {
            if first.is_dir() { first.as_path() } else { first.parent().unwrap_or(Path::new("")) }
        });
        let state_folder = state.map_or_else(|| beside.join("state"), Path::to_path_buf);
        Ok(Self { spec, files, state_folder, lints: Lints::default() })
    }

    /// Compiles with facts. Problems and unaccepted errors among the findings are told.
    pub fn compile(&self, ui: &Ui, spec: &Spec, facts: &Facts) -> Result<Compiled, Failure> {
        compiled(spec, facts).map_err(|problems| {
            ui.problems(&problems, &self.files);
            Failure::told(problems.len())
        })
    }

    /// Everything that should exist, whatever problems there are.
    #[must_use]
    #[expect(clippy::unused_self, reason = "callers ask the project, which chooses the kinds")]
    pub fn desired(&self, spec: &Spec, facts: &Facts) -> Desired {
        desired::build(spec, facts, &access::lower(spec), &provider::kinds()).0
    }

    /// Compiles with stand-ins for what only a look could tell, and tells every finding. Nothing is read or written.
    pub fn check_offline(&self, ui: &Ui, today: &str) -> Result<(Compiled, Vec<Diagnostic>), Failure> {
        let facts = Facts::placeholders(&self.spec);
        let compiled = self.compile(ui, &self.spec, &facts)?;
        let findings = judged(&self.spec, &facts, &compiled, &self.lints, today);
        Ok((compiled, findings))
    }
}

fn compiled(spec: &Spec, facts: &Facts) -> Result<Compiled, Vec<Diagnostic>> {
    let chains = access::lower(spec);
    let (desired, mut problems) = desired::build(spec, facts, &chains, &provider::kinds());
    problems.extend(cycle(&desired));
    problems.sort_by(|a, b| a.source.cmp(&b.source));
    if problems.is_empty() { Ok(Compiled { chains, desired }) } else { Err(problems) }
}

/// The findings about a compiled spec, as far as they need no look.
fn judged(spec: &Spec, facts: &Facts, compiled: &Compiled, lints: &Lints, today: &str) -> Vec<Diagnostic> {
    let Compiled { chains, desired } = compiled;
    let context =
        check::Context { spec, facts, chains, desired, snapshot: None, diff: None, lints, kinds: &provider::kinds() };
    let mut findings = check::unknown_places(spec, desired);
    findings.extend(check::run(&context, today));
    findings
}

/// The files of a spec, and what loading them gave.
struct Loaded {
    files: Vec<SourceFile>,
    spec: Option<Spec>,
    problems: Vec<Diagnostic>,
}

impl Loaded {
    fn from(given: &[PathBuf]) -> Self {
        let (files, mut problems) = read_files(or_default(given));
        let (spec, found) = load(&files);
        problems.extend(found);
        if let Some(spec) = spec.as_ref().filter(|_| problems.iter().any(Diagnostic::forbids)) {
            problems.extend(over_quota(spec));
        }
        Self { files, spec, problems }
    }
}

fn or_default(given: &[PathBuf]) -> &[PathBuf] {
    static DEFAULT: std::sync::LazyLock<[PathBuf; 1]> = std::sync::LazyLock::new(|| [PathBuf::from(DEFAULT_FILE)]);
    if given.is_empty() { &*DEFAULT } else { given }
}

/// Everything that can be found wrong with a spec offline.
pub struct Checked {
    /// The project, if the spec tells it.
    pub project: Option<String>,
    /// The number of resources and grants, if the spec compiles.
    pub counts: Option<(usize, usize)>,
    /// Problems and findings.
    pub problems: Vec<Diagnostic>,
}

impl Checked {
    /// Checks the spec of some files. `today` decides which acceptances still hold.
    #[must_use]
    pub fn of(given: &[PathBuf], today: &str) -> Self {
        let Loaded { spec, mut problems, .. } = Loaded::from(given);
        let Some(spec) = spec else { return Self { project: None, counts: None, problems } };
        let mut counts = None;
        if !problems.iter().any(Diagnostic::forbids) {
            let facts = Facts::placeholders(&spec);
            match compiled(&spec, &facts) {
                Ok(compiled) => {
                    counts = Some((compiled.desired.resources.len(), compiled.chains.all().len()));
                    problems.extend(judged(&spec, &facts, &compiled, &Lints::default(), today));
                }
                Err(found) => problems.extend(found),
            }
        }
        // A spec without a project has a stand-in that no text holds.
        let project = Some(spec.project).filter(|name| !name.chars().any(char::is_control));
        Self { project, counts, problems }
    }

    /// The published form.
    #[must_use]
    pub fn published(self) -> wire::WireProblems {
        let (resources, grants) = self.counts.unzip();
        wire::WireProblems { project: self.project, resources, grants, ..wire::problems(&self.problems) }
    }
}

/// The state as it is known: what was stored, and what the journal of a cut-off run tells.
pub struct Known {
    /// The state.
    pub state: State,
    /// The version that was stored.
    pub version: StoredVersion,
    /// The addresses whose last step may or may not have been done.
    pub unknown: Vec<String>,
    /// Whether a journal told anything that is not stored yet.
    pub recovered: bool,
}

impl Known {
    /// What is known from what is stored. A journal of an earlier state has been stored already and counts no more.
    ///
    /// # Errors
    /// When the journal continues another state than the one that is stored.
    pub fn of(stored: Stored, project: &str) -> Result<Self, Failure> {
        let entries = stored.journal.entries;
        let base = stored.state.unwrap_or_else(|| {
            let lineage = entries.first().map_or_else(super::lineage, |e| Lineage(e.state.0.clone()));
            State::new(project, lineage)
        });
        let current = (base.lineage.0.clone(), base.serial);
        if let Some(entry) = entries.iter().find(|e| e.state.0 != current.0 || e.state.1 > current.1) {
            return Err(Failure::new(format!(
                "the journal continues state {} of lineage {}, but what is stored is state {} of lineage {}; nothing was \
                 written\n  put back the state that the journal continues; or remove the journal, and find with `bailiwick \
                 state rebuild` what its run made",
                entry.state.1, entry.state.0, current.1, current.0
            )));
        }
        let entries: Vec<Entry> = entries.into_iter().filter(|e| e.state == current).collect();
        let recovered = !entries.is_empty();
        let (state, unknown) = fold(base, &entries);
        let unknown = unknown.iter().map(ToString::to_string).collect();
        Ok(Self { state, version: stored.version, unknown, recovered })
    }
}

/// Findings that forbid going on: errors that neither the spec accepts nor the command line allows.
#[must_use]
pub fn forbidding(findings: &[Diagnostic], allowed: &[Code]) -> usize {
    findings.iter().filter(|f| f.forbids() && !allowed.contains(&f.code)).count()
}

/// What is too large for AWS, as far as a spec with other problems lets it be told: all problems belong into one run.
fn over_quota(spec: &Spec) -> Vec<Diagnostic> {
    let facts = Facts::placeholders(spec);
    let chains = access::lower(spec);
    let (desired, problems) = desired::build(spec, &facts, &chains, &provider::kinds());
    let context = check::Context {
        spec,
        facts: &facts,
        chains: &chains,
        desired: &desired,
        snapshot: None,
        diff: None,
        lints: &Lints::default(),
        kinds: &provider::kinds(),
    };
    let findings = check::run(&context, "");
    problems.into_iter().chain(findings).filter(|p| p.code.is_judged_early()).collect()
}

/// A circle of references, with its path.
fn cycle(desired: &Desired) -> Option<Diagnostic> {
    let places: HashMap<&Address, usize> = desired.resources.keys().zip(0..).collect();
    let mut graph = crate::graph::Graph::new(places.len());
    for (then, resource) in desired.resources.values().enumerate() {
        for first in resource.wish.references.iter().filter_map(|r| places.get(&r.to)) {
            graph.edge(*first, then);
        }
    }
    let circle = graph.order().err()?.0;
    let circle: Vec<&Address> = circle.into_iter().filter_map(|place| desired.resources.keys().nth(place)).collect();
    let mut path: Vec<String> = circle.iter().map(ToString::to_string).collect();
    // An edge leads from what is needed to what needs it; people read it the other way round.
    path.reverse();
    let source = circle.first().and_then(|a| desired.resources.get(*a)).and_then(|r| r.wish.source.clone());
    Some(
        Diagnostic::new(Code::Cycle, format!("these need each other in a circle: {}", path.join(" -> ")))
            .at(source)
            .help("take one of the references out"),
    )
}

/// Reads files and folders in order. What cannot be read is a problem like any other.
fn read_files(given: &[PathBuf]) -> (Vec<SourceFile>, Vec<Diagnostic>) {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in given {
        match expand(path) {
            Ok(found) => {
                for path in found {
                    match read_file(&path) {
                        Ok(file) => files.push(file),
                        Err(problem) => problems.push(problem),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    (files, problems)
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let failed = |why: std::io::Error| {
        Diagnostic::new(Code::UnreadableFile, format!("cannot read the folder `{}`: {why}", path.display()))
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let entry = entry.strip_prefix(".").map(Path::to_path_buf).unwrap_or(entry);
        if entry.extension().is_some_and(|e| e == "yaml") && entry.is_file() {
            found.push(entry);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Diagnostic::new(Code::UnreadableFile, format!("there is no *.yaml file in `{}`", path.display())));
    }
    Ok(found)
}

fn read_file(path: &Path) -> Result<SourceFile, Diagnostic> {
    let name: Arc<str> = path.display().to_string().into();
    let failed = |why: String| {
        Diagnostic::new(Code::UnreadableFile, format!("cannot read `{name}`: {why}"))
            .help("name the spec with -f, or write one with `bailiwick init`")
    };
    // A pipe that nobody writes to would be waited for, for ever.
    let found = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
    if !found.is_file() {
        return Err(failed("it is not a regular file".into()));
    }
    let file = std::fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Diagnostic::new(Code::FileTooLarge, format!("`{name}` has more than {MAX_FILE_BYTES} bytes"))
            .help("a spec is text that people read; split it into several files"));
    }
    // Bytes that are not UTF-8 are told with their place, like everything else that is wrong with the text.
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    Ok(SourceFile { name, text: text.into() })
}
