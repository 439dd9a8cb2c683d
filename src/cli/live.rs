//! Commands that look at the world: plan, apply, drift, destroy.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::args::{Allow, AllowedCode, ApplyFormat, Args, Class, Command, Format, PlanFormat, StateCommand};
use super::offline::plan_file;
use super::project::{Checked, Project, forbidding};
use super::state::{Meanwhile, block_on, home, known, lock_info, locked};
use super::ui::{Environment, Ui};
use super::{Ended, Exit, Failure, now, today};
use crate::access::World;
use crate::address::Address;
use crate::backend::{Backend, StoredVersion};
use crate::diagnostic::{Code, Diagnostic};
use crate::diff::{Drift, DriftClass};
use crate::document::Document;
use crate::engine::{Cleared, Engine, Intent, Known, Limits, Planned, Stopped, Task, Terms, fits_spec};
use crate::event::Outcome;
use crate::live::{AnyLive, Provider};
use crate::plan::{Guard, Plan, PlanFile, Refusal};
use crate::provider;
use crate::render;
use crate::report::{self, wire, words};
use crate::session::{Counts, Session};
use crate::spec::BackendSpec;

pub(super) fn run(ui: &Ui, args: &Args, command: &Command, environment: &Environment) -> Ended {
    let allowed = allowed_codes(ui, command);
    if matches!(command, Command::Plan { format: PlanFormat::Sarif, .. }) {
        let checked = Checked::of(&args.file, &today());
        let wrong = forbidding(&checked.problems, &allowed);
        if wrong > 0 {
            ui.sarif(&checked.problems);
            return Err(Failure::shown(wrong));
        }
    }
    let project = Project::open(ui, &args.file, args.state.as_deref())?;
    let intent = if matches!(command, Command::Destroy { .. }) { Intent::Destroy } else { Intent::Apply };
    let session = super::state::session(&project, environment);
    let (register, providers) = (provider::live(), provider::providers());
    let (sender, stop) = watch::channel(false);
    let executing = Cell::new(false);
    let work = Work {
        intent,
        ui,
        environment,
        project: &project,
        session: &session,
        register: &register,
        providers: &providers,
        allowed: &allowed,
        today: today(),
        stop,
        executing: &executing,
    };
    let meanwhile = if locks(command) { Meanwhile::LockIsKept } else { Meanwhile::Nothing };
    block_on(meanwhile, async {
        tokio::select! {
            ended = work.run(command) => ended,
            exit = interrupts(ui, sender, &executing) => Ok(exit),
        }
    })
}

/// The codes of findings that the command line allows. Retired ones are warned about.
fn allowed_codes(ui: &Ui, command: &Command) -> Vec<Code> {
    let named = match command {
        Command::Plan { allow, .. } | Command::Apply { allow, .. } | Command::Destroy { allow, .. } => &allow.codes[..],
        _ => &[],
    };
    for AllowedCode { code, written } in named.iter().filter(|a| a.written != a.code.as_str()) {
        ui.tell(&format!("warning: `--allow {written}` is a retired code: write `{code}`"));
    }
    named.iter().map(|a| a.code).collect()
}

/// Whether a command holds the lock of the state while it works.
fn locks(command: &Command) -> bool {
    matches!(command, Command::Apply { .. } | Command::Destroy { .. } | Command::State { .. })
}

struct Work<'a> {
    /// What shall become of what the spec describes.
    intent: Intent,
    ui: &'a Ui,
    environment: &'a Environment,
    project: &'a Project,
    session: &'a Session,
    register: &'a [Box<dyn AnyLive>],
    providers: &'a [Box<dyn Provider>],
    /// The codes of findings that do not forbid anything.
    allowed: &'a [Code],
    today: String,
    /// Turns true when nothing new shall be started.
    stop: watch::Receiver<bool>,
    /// Whether anything may be written now.
    executing: &'a Cell<bool>,
}

/// Which command applies, and how it prints what was done.
struct Applying<'a> {
    command: &'a str,
    format: ApplyFormat,
}

impl Work<'_> {
    async fn run(&self, command: &Command) -> Ended {
        let work = Box::pin(self.do_it(command));
        // A lock is given back.
        if locks(command) { work.await } else { self.unless_interrupted(work).await }
    }

    /// Ends with the work, or with an interrupt that comes before anything is written.
    async fn unless_interrupted(&self, work: impl Future<Output = Ended>) -> Ended {
        let mut stop = self.stop.clone();
        let interrupted = async {
            if stop.wait_for(|stop| *stop).await.is_err() || self.executing.get() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = interrupted => {
                self.ui.finish();
                self.ui.tell("interrupted: nothing was written");
                Ok(Exit::Interrupted)
            }
            ended = work => ended,
        }
    }

    async fn do_it(&self, command: &Command) -> Ended {
        if !matches!(command, Command::Drift { .. } | Command::Apply { plan: Some(_), .. }) {
            self.check()?;
        }
        match command {
            Command::Plan { out, format, detailed_exitcode, target, refresh_only, allow } => {
                let terms = self.terms(allow, None)?;
                if *refresh_only {
                    return self.refresh_only(*format).await;
                }
                self.plan(out.as_deref(), *format, *detailed_exitcode, target, &terms).await
            }
            Command::Apply { plan, yes, expect_digest, format, target, allow } => {
                let terms = self.terms(allow, expect_digest.as_deref())?;
                let how = Applying { command: "apply", format: *format };
                match plan {
                    Some(file) => self.apply_file(&how, file, &terms).await,
                    None => self.apply(&how, &addresses(target)?, *yes, &terms).await,
                }
            }
            Command::Destroy { yes, format, allow } => {
                let how = Applying { command: "destroy", format: *format };
                self.apply(&how, &BTreeSet::new(), *yes, &self.terms(allow, None)?).await
            }
            Command::State { command: StateCommand::Rebuild { yes, adopted, orphans } } => {
                self.rebuild(*yes, &addresses(adopted)?, *orphans).await
            }
            Command::Can(asked) => super::access::can(self.ui, &self.world().await?, asked),
            Command::WhoCan(asked) => super::access::who_can(self.ui, &self.world().await?, asked),
            Command::Drift { format, fail_on } => {
                let (drift, findings) = self.drift().await?;
                self.tell_drift(&drift, &findings, *format)?;
                let unreadable = drift.iter().any(|d| d.class == DriftClass::Unreadable);
                let moved = drift.iter().any(|d| d.class >= least(*fail_on));
                Ok(if unreadable {
                    Exit::Error
                } else if moved {
                    Exit::Differs
                } else {
                    Exit::Ok
                })
            }
            _ => Err(Failure::silent()),
        }
    }

    async fn backend(&self) -> Result<Box<dyn Backend>, Failure> {
        home(self.ui, self.project, self.session).await
    }

    /// What the command line allows.
    fn terms(&self, allow: &Allow, digest: Option<&str>) -> Result<Terms, Failure> {
        let holds_state = self.project.spec.backend.as_ref().map(|backend| match backend {
            BackendSpec::S3(s3) => (provider::STATE_BUCKET, s3.bucket.clone()),
        });
        let allow_delete = addresses(&allow.allow_delete)?;
        let destroying = self.intent == Intent::Destroy;
        Ok(Terms {
            guard: Guard { allow_deletes: allow.allow_deletes, allow_delete, destroying, holds_state },
            allowed: self.allowed.to_vec(),
            partial: allow.partial,
            digest: digest.map(str::to_owned),
        })
    }

    fn engine(&self) -> Engine<'_> {
        Engine {
            register: self.register,
            providers: self.providers,
            session: self.session,
            limits: Limits::default(),
            sink: self.ui,
        }
    }

    fn task(&self) -> Task<'_> {
        Task::new(&self.project.spec, self.intent, &self.today, &self.project.lints)
    }

    fn stopped(&self, stopped: Stopped) -> Failure {
        self.ui.finish();
        Failure::stopped(stopped, self.ui, &self.project.files)
    }

    /// Shows what is wrong with the spec by itself, before anything is asked or locked.
    fn check(&self) -> Result<(), Failure> {
        let (_, findings) = self.project.check_offline(self.ui, &self.today)?;
        let terms = Terms { allowed: self.allowed.to_vec(), ..Terms::default() };
        let wrong = terms.forbidding(&findings);
        if wrong > 0 && self.intent == Intent::Apply {
            let problems: Vec<Diagnostic> = findings.into_iter().filter(Diagnostic::forbids).collect();
            self.ui.problems(&problems, &self.project.files);
            return Err(Failure::shown(wrong));
        }
        Ok(())
    }

    /// The state with what the journal of an interrupted run adds.
    async fn known(&self, backend: &dyn Backend) -> Result<Known, Failure> {
        known(backend, &self.project.spec.project).await
    }

    async fn planned(&self, backend: &dyn Backend, targets: &BTreeSet<Address>) -> Result<Planned, Failure> {
        let (engine, task) = (self.engine(), self.task());
        let stopped = |stopped| self.stopped(stopped);
        let compiled = engine.compile(&task).await.map_err(stopped)?;
        let known = self.known(backend).await?;
        let observed = engine.observe_all(&task, compiled, known).await.map_err(stopped)?;
        let planned = engine.plan(&task, observed, targets).await.map_err(stopped);
        self.ui.finish();
        planned
    }

    async fn plan(
        &self,
        out: Option<&Path>,
        format: PlanFormat,
        detailed: bool,
        target: &[String],
        terms: &Terms,
    ) -> Ended {
        let mut planned = self.planned(&*self.backend().await?, &addresses(target)?).await?;
        let engine = self.engine();
        let kinds = engine.kinds();
        let published = self.published(&planned, &planned.refusals(terms, &kinds));
        let document = || Document::of(&published).map_err(|e| Failure::new(e.to_string()));
        let applicable = planned.check(terms, &kinds).map_err(Failure::from);
        // What is reported as saved was saved.
        let saved = match (out, &applicable) {
            (Some(path), Ok(())) => {
                let file = PlanFile::new(planned.plan, document()?);
                let saved = save_plan(path, &file);
                planned.plan = file.plan;
                saved
            }
            _ => Ok(()),
        };
        let report = || self.report(&published, out.filter(|_| applicable.is_ok() && saved.is_ok()));
        match format {
            PlanFormat::Json => {
                // What is at the end of a report is shown beside it.
                let hint = words::lost(&published.project, &published.lost);
                hint.into_iter().chain(self.notes()).for_each(|line| self.ui.tell(&line));
                self.ui.result(&render::json(&document()?));
            }
            PlanFormat::Text => self.ui.result(&render::terminal(&report(), self.ui.palette())),
            PlanFormat::Markdown => self.ui.result(&render::markdown(&report())),
            PlanFormat::Sarif => self.ui.sarif(&planned.findings),
        }
        applicable?;
        saved?;
        Ok(if detailed && !planned.plan.is_empty() { Exit::Differs } else { Exit::Ok })
    }

    /// Shows what drifted, and proposes nothing.
    async fn refresh_only(&self, format: PlanFormat) -> Ended {
        let planned = self.planned(&*self.backend().await?, &BTreeSet::new()).await?;
        let format = match format {
            PlanFormat::Text => Format::Text,
            PlanFormat::Json => Format::Json,
            PlanFormat::Markdown => Format::Markdown,
            PlanFormat::Sarif => {
                self.ui.sarif(&planned.findings);
                return Ok(Exit::Ok);
            }
        };
        self.tell_drift(&planned.drift, &planned.findings, format)
    }

    /// The published form of a plan, of which every report is made.
    fn published(&self, planned: &Planned, refusals: &[Refusal]) -> wire::WirePlan {
        let learned = wire::PlanDetails {
            changes: &planned.changes,
            findings: &planned.findings,
            refusals,
            interrupted: planned.known.unknown.iter().map(ToString::to_string).collect(),
            lost: planned.lost.iter().map(ToString::to_string).collect(),
            requests: self.requests(),
        };
        wire::plan(&planned.plan, learned)
    }

    /// The report of a plan, with the file that it was saved to and how this run went.
    fn report(&self, plan: &wire::WirePlan, saved: Option<&Path>) -> report::Report {
        let mut report = report::plan(plan, self.ui.verbose());
        report.footer.extend(saved.map(|path| report::how_to_apply(plan, path)));
        report.footer.extend(self.notes());
        let counts = self.session.requests().read();
        report.footer.push(counts.to_string());
        if self.ui.verbose() {
            report.footer.push(waits(&counts));
        }
        report
    }

    /// How things were read, as far as somebody wants to know.
    fn notes(&self) -> Vec<String> {
        let notes = self.session.notes().into_iter().filter(|note| note.important || self.ui.verbose());
        notes.map(|note| note.text).collect()
    }

    fn requests(&self) -> wire::WireRequests {
        let counts = self.session.requests().read();
        let by_service: BTreeMap<String, u64> =
            counts.by_service().into_iter().map(|(service, n)| (service.to_owned(), n)).collect();
        wire::WireRequests { total: by_service.values().sum(), by_service, throttled: counts.throttles() }
    }

    async fn apply(&self, how: &Applying<'_>, targets: &BTreeSet<Address>, yes: bool, terms: &Terms) -> Ended {
        let backend = &*self.backend().await?;
        let work = async {
            let planned = self.planned(backend, targets).await?;
            let engine = self.engine();
            let kinds = engine.kinds();
            let published = self.published(&planned, &planned.refusals(terms, &kinds));
            let report = render::terminal(&self.report(&published, None), self.ui.palette());
            match how.format {
                ApplyFormat::Text => self.ui.result(&report),
                ApplyFormat::Json => self.ui.tell(&report),
            }
            let cleared = planned.clear(terms, &kinds)?;
            if !cleared.plan().is_empty() {
                self.confirm(yes).await?;
            }
            self.execute(how, cleared, backend).await
        };
        let lock = lock_info(how.command, self.environment);
        locked(self.ui, backend, lock, self.unless_interrupted(Box::pin(work))).await
    }

    async fn confirm(&self, yes: bool) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !self.ui.can_ask() {
            return Err(Failure::new("cannot prompt for confirmation; nothing was written")
                .hint("pass --yes, or apply a saved plan"));
        }
        let answer = self.ui.ask_while_listening("\nApply this plan? Type `yes` to confirm:").await;
        if answer.as_deref() == Some("yes") { Ok(()) } else { Err(Failure::new("not applied: nothing was written")) }
    }

    async fn apply_file(&self, how: &Applying<'_>, path: &Path, terms: &Terms) -> Ended {
        let plan = plan_file(path)?.plan;
        let task = self.task();
        terms.expects(&plan)?;
        fits_spec(&task, &plan)?;
        let backend = &*self.backend().await?;
        let work = async {
            let known = self.known(backend).await?;
            let cleared = self.engine().clear_saved(&task, plan, known, terms, &backend.place()).await;
            let cleared = cleared.map_err(|stopped| self.stopped(stopped))?;
            self.ui.finish();
            self.execute(how, cleared, backend).await
        };
        let lock = lock_info(how.command, self.environment);
        locked(self.ui, backend, lock, self.unless_interrupted(Box::pin(work))).await
    }

    async fn execute(&self, how: &Applying<'_>, cleared: Cleared, backend: &dyn Backend) -> Ended {
        if cleared.is_idle() {
            if how.format == ApplyFormat::Json {
                self.ui.result(&applied_json(cleared.plan(), &crate::event::Outcomes::new()));
            }
            return Ok(Exit::Ok);
        }
        self.ui.applying(cleared.plan().steps.len());
        self.executing.set(true);
        let executed = self.engine().execute(cleared, backend, &now, self.stop.clone()).await;
        self.ui.finish();
        match how.format {
            ApplyFormat::Json => self.ui.result(&applied_json(&executed.plan, &executed.outcomes)),
            ApplyFormat::Text => {
                let report = report::applied(how.command, &executed.plan, &executed.outcomes);
                self.ui.result(&format!("\n{}", render::terminal(&report, self.ui.palette())));
            }
        }
        let all = executed.outcomes.values().all(|o| *o == Outcome::Done);
        if let Some(error) = executed.broken {
            let next = format!(
                "the journal records what was done: run `bailiwick {}` again to complete the remaining steps",
                how.command
            );
            return Err(Failure::new(error.to_string()).hint(next));
        }
        Ok(match (*self.stop.borrow(), all) {
            (true, false) => Exit::Interrupted,
            (_, true) => Exit::Ok,
            (false, false) => Exit::Error,
        })
    }

    /// Rebuilds the state from the ownership tags of what the spec names.
    async fn rebuild(&self, yes: bool, adopted: &BTreeSet<Address>, orphans: bool) -> Ended {
        let backend = &*self.backend().await?;
        let work = async {
            let (engine, task) = (self.engine(), self.task());
            let compiled = engine.compile(&task).await.map_err(|stopped| self.stopped(stopped))?;
            let mut stored = backend.load().await?;
            if stored.state.is_none() && stored.journal.entries.iter().any(|e| e.state.1 > 0) {
                self.ui.tell("there is a journal without its state: only tags tell what its run created");
                stored.journal = crate::state::Journal::default();
            }
            let known = Known::of(stored, &self.project.spec.project, super::lineage)?;
            let found = engine.recover(&self.project.spec, &compiled, &known, adopted).await;
            self.ui.finish();
            let is_known = |a: &&Address| compiled.desired.resources.contains_key(*a) || found.left.contains_key(*a);
            if let Some(unknown) = adopted.iter().find(|a| !is_known(a)) {
                return Err(Failure::new(format!("`{unknown}` is not in the spec, and nothing carries its tag")));
            }
            let report = report::reclaimed(&known.state, &found, orphans);
            self.ui.result(&render::terminal(&report, self.ui.palette()));
            let unreadable = !found.unreadable.is_empty() || (orphans && !found.unlisted.is_empty());
            let orphans = if orphans { found.left } else { BTreeMap::new() };
            if found.ours.is_empty() && orphans.is_empty() {
                return Ok(if unreadable { Exit::Error } else { Exit::Ok });
            }
            if !self.ui.agrees(yes, "Write this state? Nothing else is written.").await? {
                return Err(Failure::new("not written"));
            }
            let Known { mut state, version, .. } = known;
            state.resources.extend(found.ours);
            state.resources.extend(orphans);
            state.serial += 1;
            self.executing.set(true);
            backend.save(&state, &version).await?;
            Ok(if unreadable { Exit::Error } else { Exit::Ok })
        };
        let lock = lock_info("state rebuild", self.environment);
        locked(self.ui, backend, lock, self.unless_interrupted(Box::pin(work))).await
    }

    /// What is live of all that is in the spec or the state.
    async fn world(&self) -> Result<World, Failure> {
        let known = self.known(&*self.backend().await?).await?;
        let world = self.engine().world(&self.task(), &known).await.map_err(|stopped| self.stopped(stopped));
        self.ui.finish();
        world
    }

    async fn drift(&self) -> Result<(Vec<Drift>, Vec<Diagnostic>), Failure> {
        let backend = self.backend().await?;
        let known = self.known(&*backend).await?;
        if known.version == StoredVersion::None && known.state.resources.is_empty() {
            let place = backend.place();
            self.ui.tell(&format!(
                "there is no state at {place}: nothing was applied yet, or the state was lost; `bailiwick state rebuild` \
                 restores it"
            ));
        }
        let drift = self.engine().drift(&self.task(), &known).await.map_err(|stopped| self.stopped(stopped));
        self.ui.finish();
        drift
    }

    fn tell_drift(&self, drift: &[Drift], findings: &[Diagnostic], format: Format) -> Ended {
        let published: Vec<_> = findings.iter().map(wire::finding).collect();
        let report = report::drift(&self.project.spec.project, drift, &published, self.ui.verbose());
        self.ui.result(&match format {
            Format::Json => {
                let wire = wire::drift(&self.project.spec.project, drift, findings);
                render::json(&serde_json::to_value(wire).map_err(|e| Failure::new(e.to_string()))?)
            }
            Format::Text => render::terminal(&report, self.ui.palette()),
            Format::Markdown => render::markdown(&report),
        });
        Ok(Exit::Ok)
    }
}

/// How long the answers of each service took.
fn waits(counts: &Counts) -> String {
    let each = counts.waited.iter().map(|(service, waited)| {
        let throttled = counts.throttled.get(service).map(|n| format!(", {n} throttled")).unwrap_or_default();
        format!("{} {:.1} s{throttled}", service.0, waited.as_secs_f64())
    });
    format!("Waited for answers, added up: {}", each.collect::<Vec<_>>().join("; "))
}

fn least(class: Class) -> DriftClass {
    match class {
        Class::Access => DriftClass::Access,
        Class::Managed => DriftClass::Managed,
        Class::Cosmetic => DriftClass::Cosmetic,
        Class::Foreign => DriftClass::Foreign,
    }
}

fn addresses(texts: &[String]) -> Result<BTreeSet<Address>, Failure> {
    texts.iter().map(|t| t.parse().map_err(|e: crate::address::AddressError| Failure::usage(e.to_string()))).collect()
}

fn applied_json(plan: &Plan, outcomes: &crate::event::Outcomes) -> String {
    let steps: Vec<_> = plan
        .steps
        .iter()
        .map(|step| {
            let (outcome, why) = match outcomes.get(&step.id) {
                Some(Outcome::Done) => ("done", None),
                Some(Outcome::Failed { why, .. }) => ("failed", Some(why.clone())),
                Some(Outcome::Unknown { why }) => ("unknown", Some(why.clone())),
                Some(Outcome::Skipped { because }) => ("skipped", Some(format!("it waits for {because}"))),
                Some(Outcome::NotStarted { why }) => ("not_started", Some(why.clone())),
                Some(Outcome::Interrupted) | None => ("interrupted", None),
            };
            serde_json::json!({ "id": step.id, "address": step.id.address, "action": step.action(), "outcome": outcome, "why": why })
        })
        .collect();
    let value = serde_json::json!({
        "format_version": "1.0", "project": plan.project, "plan_digest": plan.digest(), "steps": steps,
    });
    render::json(&value)
}

/// Saves through a temporary file, so that nobody reads half a plan.
fn save_plan(path: &Path, file: &PlanFile) -> Result<(), Failure> {
    let failed = |why: String| Failure::new(format!("cannot write `{}`: {why}", path.display()));
    let folder =
        path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    let mut temporary =
        std::io::BufWriter::new(tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(e.to_string()))?);
    serde_json::to_writer(&mut temporary, file).map_err(|e| failed(e.to_string()))?;
    let temporary = temporary.into_inner().map_err(|e| failed(e.to_string()))?;
    temporary.persist(path).map(|_| ()).map_err(|e| failed(e.to_string()))
}

/// How long an interrupted run may take to record where it stands. Those who interrupt wait 10 s and then kill.
const MOST_AFTER_INTERRUPT: Duration = Duration::from_millis(7_500);

/// The first interrupt starts nothing new; the second, and the end of the time that is left, end the process: the journal
/// holds what was under way.
async fn interrupts(ui: &Ui, stop: watch::Sender<bool>, executing: &Cell<bool>) -> Exit {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    next().await;
    let _ = stop.send(true);
    if executing.get() {
        ui.tell("interrupted: what is under way is finished, nothing more is started; once more ends at once");
    }
    tokio::select! {
        () = next() => {}
        () = tokio::time::sleep(MOST_AFTER_INTERRUPT) => {
            ui.tell("it could not be recorded in time how the run ended; what was done is in the journal");
        }
    }
    std::process::exit(Exit::Interrupted as i32);
}
