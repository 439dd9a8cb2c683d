//! Loads a spec from its files and checks it offline.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::Globals;
use super::failure::Failure;
use super::host::Host;
use super::options::ProblemFormat;
use super::ui::Ui;
use crate::access;
use crate::check::{self, Lints};
use crate::desired;
use crate::diagnostic::{Code, Diagnostic, SourceRef};
use crate::engine::{Assumed, Compiled, assume};
use crate::provider;
use crate::render;
use crate::report::wire;
use crate::spec::node::MAX_FILE_BYTES;
use crate::spec::{Facts, SourceFile, Spec, load};

const DEFAULT_FILE: &str = "bailiwick.yaml";

/// A spec with its files.
pub struct Project {
    /// The spec.
    pub spec: Spec,
    /// The files of the spec.
    pub files: Vec<SourceFile>,
    /// The folder of the state, if the spec has no `backend`.
    pub state_folder: PathBuf,
    /// Cached lint results of its policies.
    pub lints: Lints,
    /// The format of the problems that stop the command.
    pub format: ProblemFormat,
    /// Problems of the spec that do not stop the command. They have been shown.
    warnings: Vec<Diagnostic>,
}

impl Project {
    /// Loads the spec and shows every problem: in `format` if one of them stops the command, or else on stderr.
    pub fn open(ui: &Ui, globals: &Globals, format: ProblemFormat) -> Result<Self, Failure> {
        let (given, state) = (globals.file.as_slice(), globals.state.as_deref());
        let Loaded { files, spec, problems } = Loaded::from(ui.host(), given);
        let wrong = problems.iter().filter(|p| p.forbids()).count();
        let spec = match spec {
            Some(spec) if wrong == 0 => spec,
            spec => {
                let project = spec.as_ref().and_then(name);
                let first_file = first_file(&files, given);
                CheckedSpec { first_file, project, counts: None, problems }.show(ui, &files, format);
                return Err(Failure::shown(wrong));
            }
        };
        if !problems.is_empty() {
            ui.problems(&problems, &files);
        }
        if let (Some(backend), Some(_)) = (&spec.backend, state) {
            return Err(Failure::usage(format!("--state has no effect: the spec keeps its state in {backend}"))
                .hint("omit --state, or remove `backend` from the spec"));
        }
        let beside = or_default(given).first().map_or(Path::new(""), |first| {
            if ui.host().at(first).is_dir() { first.as_path() } else { first.parent().unwrap_or(Path::new("")) }
        });
        let state_folder = state.map_or_else(|| beside.join("state"), Path::to_path_buf);
        Ok(Self { spec, files, state_folder, lints: Lints::default(), format, warnings: problems })
    }

    /// The first file, which stands in for the place of problems that have none.
    #[must_use]
    pub fn first_file(&self) -> &str {
        self.files.first().map_or("", |file| &file.name)
    }

    /// Shows problems that stop the command, in its format. `counts` has the number of resources and grants, if the spec
    /// compiles.
    pub fn show_problems(&self, ui: &Ui, problems: Vec<Diagnostic>, counts: Option<(usize, usize)>) {
        let problems = match self.format {
            ProblemFormat::Text => problems,
            // A document contains all problems, as that of `validate` does.
            ProblemFormat::Json | ProblemFormat::Sarif => self.warnings.iter().cloned().chain(problems).collect(),
        };
        let (first_file, project) = (self.first_file().to_owned(), name(&self.spec));
        CheckedSpec { first_file, project, counts, problems }.show(ui, &self.files, self.format);
    }

    /// Compiles the spec with placeholder facts. Shows the problems.
    pub fn assume(&self, ui: &Ui) -> Result<Compiled<Assumed>, Failure> {
        assume(&self.spec, &provider::kinds()).map_err(|problems| {
            let wrong = problems.len();
            self.show_problems(ui, problems, None);
            Failure::shown(wrong)
        })
    }

    /// Compiles the spec and checks it without any request.
    pub fn check_offline(&self, ui: &Ui, today: &str) -> Result<(Compiled<Assumed>, Vec<Diagnostic>), Failure> {
        let compiled = self.assume(ui)?;
        let findings = compiled.findings(&self.spec, today, &self.lints, &provider::kinds());
        Ok((compiled, findings))
    }
}

/// The result of loading the files of a spec.
struct Loaded {
    files: Vec<SourceFile>,
    spec: Option<Spec>,
    problems: Vec<Diagnostic>,
}

impl Loaded {
    fn from(host: &dyn Host, given: &[PathBuf]) -> Self {
        let (files, mut problems) = read_files(host, or_default(given));
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

/// The result of the offline check of a spec.
pub struct CheckedSpec {
    /// The first file that was read, or else named. It stands in for the place of problems that have none.
    pub first_file: String,
    /// The project, if the spec names it.
    pub project: Option<String>,
    /// The number of resources and grants, if the spec compiles.
    pub counts: Option<(usize, usize)>,
    /// Problems and findings.
    pub problems: Vec<Diagnostic>,
}

impl CheckedSpec {
    /// Checks the spec in some files. `today` decides which accepts have expired.
    #[must_use]
    pub fn of(host: &dyn Host, given: &[PathBuf], today: &str) -> Self {
        let Loaded { files, spec, mut problems } = Loaded::from(host, given);
        let first_file = first_file(&files, given);
        let Some(spec) = spec else { return Self { first_file, project: None, counts: None, problems } };
        let mut counts = None;
        if !problems.iter().any(Diagnostic::forbids) {
            let kinds = provider::kinds();
            match assume(&spec, &kinds) {
                Ok(compiled) => {
                    counts = Some((compiled.desired.resources.len(), compiled.chains.all().len()));
                    problems.extend(compiled.findings(&spec, today, &Lints::default(), &kinds));
                }
                Err(found) => problems.extend(found),
            }
        }
        Self { first_file, project: name(&spec), counts, problems }
    }

    /// Prints the problems and findings: as the result in a format for programs, or else on stderr with lines of `files`.
    pub fn show(self, ui: &Ui, files: &[SourceFile], format: ProblemFormat) {
        match format {
            ProblemFormat::Text => ui.problems(&self.problems, files),
            ProblemFormat::Json => ui.result(&render::json(&self.published())),
            ProblemFormat::Sarif => ui.sarif(&self.problems, &self.first_file),
        }
    }

    /// Returns the published form.
    fn published(self) -> wire::WireProblems {
        let (resources, grants) = self.counts.unzip();
        let problems = self.problems.iter().map(wire::problem).collect();
        wire::WireProblems { project: self.project, resources, grants, ..wire::problems(problems) }
    }
}

/// Returns the first file that was read, or else named.
fn first_file(files: &[SourceFile], given: &[PathBuf]) -> String {
    let named = || or_default(given).first().map(|path| path.display().to_string());
    files.first().map(|file| file.name.to_string()).or_else(named).unwrap_or_default()
}

/// Returns the project name. The placeholder for a missing one contains a control character.
fn name(spec: &Spec) -> Option<String> {
    Some(spec.project.clone()).filter(|name| !name.chars().any(char::is_control))
}

/// Finds documents that are too large for AWS even if the spec has other problems, so that one run reports all of them.
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

/// Reads files and folders in order. Returns a problem for each that cannot be read.
fn read_files(host: &dyn Host, given: &[PathBuf]) -> (Vec<SourceFile>, Vec<Diagnostic>) {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in given {
        match expand(host, path) {
            Ok(found) => {
                for path in found {
                    match read_file(host, &path) {
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

const NAME_SPEC: &str = "name the spec with -f, or write one with `bailiwick init`";

fn expand(host: &dyn Host, path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if !host.at(path).is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let problem = |message: String| {
        let source = SourceRef::whole(path.display().to_string().into());
        Diagnostic::new(Code::UnreadableFile, message).at(Some(source)).help(NAME_SPEC)
    };
    let failed = |why: std::io::Error| problem(format!("cannot read the folder `{}`: {why}", path.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(host.at(path)).map_err(failed)? {
        let entry = path.join(entry.map_err(failed)?.file_name());
        let entry = entry.strip_prefix(".").map(Path::to_path_buf).unwrap_or(entry);
        if entry.extension().is_some_and(|e| e == "yaml") && host.at(&entry).is_file() {
            found.push(entry);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(problem(format!("there is no *.yaml file in `{}`", path.display())));
    }
    Ok(found)
}

fn read_file(host: &dyn Host, path: &Path) -> Result<SourceFile, Diagnostic> {
    let name: Arc<str> = path.display().to_string().into();
    let path = host.at(path);
    let failed = |why: String| {
        Diagnostic::new(Code::UnreadableFile, format!("cannot read `{name}`: {why}"))
            .at(Some(SourceRef::whole(name.clone())))
            .help(NAME_SPEC)
    };
    // Reading a pipe without a writer would block forever.
    let found = std::fs::metadata(&path).map_err(|e| failed(e.to_string()))?;
    if !found.is_file() {
        return Err(failed("it is not a regular file".into()));
    }
    let file = std::fs::File::open(&path).map_err(|e| failed(e.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Diagnostic::new(Code::FileTooLarge, format!("`{name}` has more than {MAX_FILE_BYTES} bytes"))
            .at(Some(SourceRef::whole(name)))
            .help("split the spec into several files"));
    }
    // The parser reports bytes that are not UTF-8, with their place.
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    Ok(SourceFile { name, text: text.into() })
}
