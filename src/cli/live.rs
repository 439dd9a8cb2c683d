//! Commands that look at the world: plan, apply, drift, destroy.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::args::{Allow, AllowedCode, ApplyFormat, Args, Class, Command, Format, PlanFormat, StateCommand};
use super::offline::plan_file;
use super::project::{Checked, Compiled, Known, Project, forbidding};
use super::state::{Meanwhile, block_on, home, known, lock_info, locked};
use super::ui::{Environment, Ui};
use super::{Ended, Exit, Failure, now, today};
use crate::access::{self, Chains, World};
use crate::address::Address;
use crate::backend::{Backend, StoredVersion};
use crate::check;
use crate::diagnostic::{Code, Diagnostic};
use crate::diff::{self, Drift, DriftClass};
use crate::document::Document;
use crate::engine::{Engine, Limits, Prepared};
use crate::event::Outcome;
use crate::kind::{Resource, Wish};
use crate::live::{AnyLive, Provider};
use crate::plan::{Bodies, Guard, Plan, PlanError, PlanFile, Refusal, guard};
use crate::provider;
use crate::render;
use crate::report::{self, wire, words};
use crate::session::{Counts, Session};
use crate::snapshot::Seen;
use crate::spec::{BackendSpec, Spec};
use crate::state::State;

pub(super) fn run(ui: &Ui, args: &Args, command: &Command, environment: &Environment) -> Ended {
    let named = match command {
        Command::Plan { allow, .. } | Command::Apply { allow, .. } | Command::Destroy { allow, .. } => &allow.codes[..],
        _ => &[],
    };
    for AllowedCode { code, written } in named.iter().filter(|a| a.written != a.code.as_str()) {
        ui.tell(&format!("warning: `--allow {written}` is a retired code: write `{code}`"));
    }
    let allowed: Vec<Code> = named.iter().map(|a| a.code).collect();
    if matches!(command, Command::Plan { format: PlanFormat::Sarif, .. }) {
        let checked = Checked::of(&args.file, &today());
        let wrong = forbidding(&checked.problems, &allowed);
        if wrong > 0 {
            ui.sarif(&checked.problems);
            return Err(Failure::told(wrong));
        }
    }
    let project = Project::open(ui, &args.file, args.state.as_deref())?;
    let spec = match command {
        Command::Destroy { .. } => project.spec.emptied(),
        _ => project.spec.clone(),
    };
    let session = super::state::session(&project, environment);
    let register = provider::live();
    let providers = provider::providers();
    let partial = match command {
        Command::Apply { allow, .. } | Command::Destroy { allow, .. } => allow.partial,
        _ => false,
    };
    let destroying = matches!(command, Command::Destroy { .. });
    let (sender, stop) = watch::channel(false);
    let executing = Cell::new(false);
    let work = Work {
        destroying,
        ui,
        environment,
        project: &project,
        spec: &spec,
        session: &session,
        register: &register,
        providers: &providers,
        allowed: &allowed,
        partial,
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

/// Whether a command holds the lock of the state while it works.
fn locks(command: &Command) -> bool {
    matches!(command, Command::Apply { .. } | Command::Destroy { .. } | Command::State { .. })
}

struct Work<'a> {
    /// Nothing is desired; what the spec would give is no reason to keep it.
    destroying: bool,
    ui: &'a Ui,
    environment: &'a Environment,
    project: &'a Project,
    spec: &'a Spec,
    session: &'a Session,
    register: &'a [Box<dyn AnyLive>],
    providers: &'a [Box<dyn Provider>],
    /// The codes of findings that do not forbid anything.
    allowed: &'a [Code],
    /// Whether a plan may leave something out.
    partial: bool,
    /// Turns true when nothing new shall be started.
    stop: watch::Receiver<bool>,
    /// Whether anything may be written now.
    executing: &'a Cell<bool>,
}

/// A plan and all that was learnt on the way to it.
struct Planned {
    plan: Plan,
    findings: Vec<Diagnostic>,
    changes: Vec<wire::WireAccessChange>,
    refusals: Vec<Refusal>,
    unknown: Vec<String>,
    drift: Vec<Drift>,
    state: State,
    version: StoredVersion,
    recovered: bool,
    /// What carries our mark while there is no state.
    lost: Vec<Address>,
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
                if *refresh_only {
                    let planned =
                        self.look(&*self.backend().await?, &self.guard_of(allow, false)?, &BTreeSet::new()).await?;
                    let format = match format {
                        PlanFormat::Text => Format::Text,
                        PlanFormat::Json => Format::Json,
                        PlanFormat::Markdown => Format::Markdown,
                        PlanFormat::Sarif => {
                            self.ui.sarif(&planned.findings);
                            return Ok(Exit::Ok);
                        }
                    };
                    return self.tell_drift(&planned.drift, &planned.findings, format);
                }
                self.plan(out.as_deref(), *format, *detailed_exitcode, target, allow).await
            }
            Command::Apply { plan: Some(file), yes: _, expect_digest, format, allow, .. } => {
                self.apply_file(file, expect_digest.as_deref(), *format, allow).await
            }
            Command::Apply { yes, expect_digest, format, target, allow, .. } => {
                let targets = addresses(target)?;
                self.apply("apply", *yes, expect_digest.as_deref(), *format, &targets, &self.guard_of(allow, false)?)
                    .await
            }
            Command::Destroy { yes, format, allow } => {
                self.apply("destroy", *yes, None, *format, &BTreeSet::new(), &self.guard_of(allow, true)?).await
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

    fn guard_of(&self, allow: &Allow, destroying: bool) -> Result<Guard, Failure> {
        let holds_state = self.project.spec.backend.as_ref().map(|backend| match backend {
            BackendSpec::S3(s3) => (provider::STATE_BUCKET, s3.bucket.clone()),
        });
        let allow_delete = addresses(&allow.allow_delete)?;
        Ok(Guard { allow_deletes: allow.allow_deletes, allow_delete, destroying, holds_state })
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

    /// Tells what can be found wrong without looking, before anything is asked or locked.
    fn check(&self) -> Result<(), Failure> {
        let (_, findings) = self.project.check_offline(self.ui, &today())?;
        let wrong = forbidding(&findings, self.allowed);
        if wrong > 0 && !self.destroying {
            self.tell_findings(&findings);
            return Err(Failure::told(wrong));
        }
        Ok(())
    }

    /// Checks who we are everywhere, and compiles the spec with facts.
    async fn compile(&self) -> Result<(crate::spec::Facts, Compiled), Failure> {
        let engine = self.engine();
        if let Err(errors) = engine.identify().await {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(Failure::new(lines.join("\nerror: ")));
        }
        let facts = engine.facts(self.spec).await.map_err(|problems| {
            self.ui.problems(&problems, &self.project.files);
            Failure::new("the spec cannot be compiled without these: nothing was written")
        })?;
        let compiled = self.project.compile(self.ui, self.spec, &facts)?;
        Ok((facts, compiled))
    }

    /// Tells the findings that forbid going on, each with its line.
    fn tell_findings(&self, findings: &[Diagnostic]) {
        let problems: Vec<Diagnostic> = findings.iter().filter(|f| f.forbids()).cloned().collect();
        self.ui.problems(&problems, &self.project.files);
    }

    /// The state with what the journal of a cut-off run tells.
    async fn state(&self, backend: &dyn Backend) -> Result<Known, Failure> {
        known(backend, &self.spec.project).await
    }

    async fn look(
        &self,
        backend: &dyn Backend,
        allowed: &Guard,
        targets: &BTreeSet<Address>,
    ) -> Result<Planned, Failure> {
        let (facts, compiled) = self.compile().await?;
        let Known { state, version, unknown, recovered } = self.state(backend).await?;
        let engine = self.engine();
        if self.destroying && version == StoredVersion::None && state.resources.is_empty() {
            // Nothing is desired, and nothing is known: what the spec names may be ours all the same.
            let facts = engine.facts(&self.project.spec).await.unwrap_or_default();
            let wanted = self.project.desired(&self.project.spec, &facts);
            let snapshot = engine.observe(&wanted, &state).await;
            self.ui.finish();
            let lost = diff::reclaim(&wanted, &snapshot, &state, &BTreeSet::new(), &engine.kinds()).ours;
            not_lost(&state, &lost.into_keys().collect::<Vec<_>>())?;
        }
        let prepared: Prepared = engine.prepare(compiled.desired, &state).await;
        self.ui.finish();
        let context = check::Context {
            spec: self.spec,
            facts: &facts,
            chains: &compiled.chains,
            desired: &prepared.desired,
            snapshot: Some(&prepared.snapshot),
            diff: Some(&prepared.diff),
            lints: &self.project.lints,
            kinds: &engine.kinds(),
        };
        let findings = check::run(&context, &today());
        let lost = if state.resources.is_empty() {
            let none = BTreeSet::new();
            diff::reclaim(&prepared.desired, &prepared.snapshot, &state, &none, &engine.kinds()).ours
        } else {
            BTreeMap::new()
        };
        let plan = engine.plan(&prepared, &state, self.spec).map_err(|errors| {
            Failure::new(format!("no plan can be made; nothing was written:\n  {}", reasons(&errors).join("\n  ")))
        })?;
        let unknown_targets: Vec<String> = targets
            .iter()
            .filter(|t| !prepared.diff.resources.contains_key(*t))
            .map(|t| format!("`{t}` is neither in the spec nor in the state"))
            .collect();
        if !unknown_targets.is_empty() {
            return Err(Failure::new(unknown_targets.join("; ")));
        }
        let mut plan = plan.targeted(targets);
        if self.destroying {
            // What the spec protects now counts, applied or not.
            let wanted =
                self.project.desired(&self.project.spec, &crate::spec::Facts::placeholders(&self.project.spec));
            for step in &mut plan.steps {
                step.protect |= wanted.resources.get(&step.id.address).is_some_and(|r| r.wish.protect);
            }
        }
        let refusals = guard(&plan, state.resources.len(), allowed, &engine.kinds());
        // What is destroyed is told by what the spec knows of it.
        let facts = if self.destroying { engine.facts(&self.project.spec).await.unwrap_or(facts) } else { facts };
        let kinds = engine.kinds();
        // What is taken away is told by the names that the spec has for it.
        let world = |bodies: &Bodies| World::new(&self.project.spec, &facts, bodies.facets(&kinds));
        let changes = if plan.is_empty() {
            Vec::new()
        } else {
            let before = Bodies::seen(&prepared.diff);
            let changes = access::diff(&world(&before), &world(&before.after(&plan, &kinds)));
            changes.iter().map(wire::access_change).collect()
        };
        let drift = diff::drift(&prepared.diff, &engine.kinds());
        let lost = lost.into_keys().collect();
        Ok(Planned { plan, findings, changes, refusals, unknown, drift, state, version, recovered, lost })
    }

    async fn plan(
        &self,
        out: Option<&Path>,
        format: PlanFormat,
        detailed: bool,
        target: &[String],
        allow: &Allow,
    ) -> Ended {
        let mut planned =
            self.look(&*self.backend().await?, &self.guard_of(allow, false)?, &addresses(target)?).await?;
        let published = self.published(&planned);
        let document = || Document::of(&published).map_err(|e| Failure::new(e.to_string()));
        let applicable =
            self.applicable(&planned).and_then(|()| whole(&planned.plan, allow.partial, "it was not saved"));
        // What is told to be saved was saved.
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
                // What stands at the end of a report is told beside it.
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

    /// Refuses what the guard or a finding forbids.
    fn applicable(&self, planned: &Planned) -> Result<(), Failure> {
        if planned.refusals.is_empty() && forbidding(&planned.findings, self.allowed) == 0 {
            return Ok(());
        }
        let reasons: Vec<String> = planned.refusals.iter().map(words::refusal).collect();
        let reasons = if reasons.is_empty() { "the findings forbid it".to_owned() } else { reasons.join("; ") };
        Err(Failure::new(format!("this cannot be applied: {reasons}")))
    }

    /// The published form of a plan, of which every report is made.
    fn published(&self, planned: &Planned) -> wire::WirePlan {
        let learned = wire::Planned {
            changes: &planned.changes,
            findings: &planned.findings,
            refusals: &planned.refusals,
            interrupted: planned.unknown.clone(),
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

    async fn apply(
        &self,
        command: &str,
        yes: bool,
        expected: Option<&str>,
        format: ApplyFormat,
        targets: &BTreeSet<Address>,
        allowed: &Guard,
    ) -> Ended {
        let backend = &*self.backend().await?;
        let work = self.apply_under_lock(backend, command, yes, expected, format, targets, allowed);
        locked(self.ui, backend, lock_info(command, self.environment), self.unless_interrupted(Box::pin(work))).await
    }

    #[expect(clippy::too_many_arguments, reason = "one for each flag of the command")]
    async fn apply_under_lock(
        &self,
        backend: &dyn Backend,
        command: &str,
        yes: bool,
        expected: Option<&str>,
        format: ApplyFormat,
        targets: &BTreeSet<Address>,
        allowed: &Guard,
    ) -> Ended {
        let planned = self.look(backend, allowed, targets).await?;
        let report = render::terminal(&self.report(&self.published(&planned), None), self.ui.palette());
        match format {
            ApplyFormat::Text => self.ui.result(&report),
            ApplyFormat::Json => self.ui.tell(&report),
        }
        if !planned.refusals.is_empty() || forbidding(&planned.findings, self.allowed) > 0 {
            return Err(Failure::new("nothing was written"));
        }
        whole(&planned.plan, self.partial, "nothing was written")?;
        not_lost(&planned.state, &planned.lost)?;
        expect(expected, &planned.plan)?;
        if !planned.plan.is_empty() && !yes {
            if !self.ui.can_ask() {
                return Err(Failure::new(
                    "there is nobody to ask: say --yes, or apply a saved plan; nothing was written",
                ));
            }
            let answer = self.ui.ask_while_listening("\nApply this? Only `yes` is taken for an answer:").await;
            if answer.as_deref() != Some("yes") {
                return Err(Failure::new("not applied: nothing was written"));
            }
        }
        let known =
            Known { state: planned.state, version: planned.version, unknown: Vec::new(), recovered: planned.recovered };
        self.execute(command, &planned.plan, known, backend, format).await
    }

    async fn apply_file(&self, path: &Path, expected: Option<&str>, format: ApplyFormat, allow: &Allow) -> Ended {
        let file = plan_file(path)?;
        let plan = file.plan;
        expect(expected, &plan)?;
        if plan.project != self.spec.project {
            return Err(Failure::new(format!(
                "`{}` is a plan for project `{}`, and the spec is for `{}`; nothing was written\n  name the spec of `{1}` \
                 with -f, or make the plan anew",
                path.display(),
                plan.project,
                self.spec.project
            )));
        }
        if plan.spec_digest.as_ref() != Some(&self.spec.digest()) {
            return Err(Failure::new(
                "the spec changed since the plan was made: make the plan anew; nothing was written",
            ));
        }
        let backend = &*self.backend().await?;
        let work = self.apply_plan(backend, &plan, format, allow);
        locked(self.ui, backend, lock_info("apply", self.environment), self.unless_interrupted(Box::pin(work))).await
    }

    async fn apply_plan(&self, backend: &dyn Backend, plan: &Plan, format: ApplyFormat, allow: &Allow) -> Ended {
        let known = self.state(backend).await?;
        let state = &known.state;
        // A project that was never applied has no lineage yet, neither now nor when the plan was made.
        let same_lineage = plan.state.0 == state.lineage.0
            || (known.version == StoredVersion::None && state.serial == 0)
            || (plan.state.1 == 0 && state.serial > 0);
        if !same_lineage {
            return Err(Failure::new(format!(
                "the plan was made from a state of lineage {}, and that in {} has lineage {}; nothing was written\n  name \
                 the home of that state (--state, or `backend` in the spec), or make the plan anew",
                plan.state.0,
                backend.place(),
                state.lineage.0
            )));
        }
        if plan.state.1 != state.serial || !known.unknown.is_empty() {
            return Err(Failure::new(
                "the state changed since the plan was made: make the plan anew; nothing was written",
            ));
        }
        whole(plan, allow.partial, "nothing was written")?;
        let refusals = guard(plan, state.resources.len(), &self.guard_of(allow, false)?, &self.engine().kinds());
        if !refusals.is_empty() {
            let lines: Vec<String> = refusals.iter().map(words::refusal).collect();
            return Err(Failure::new(lines.join("\nerror: ")));
        }
        if let Err(errors) = self.engine().identify().await {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(Failure::new(lines.join("\nerror: ")));
        }
        self.unmoved(plan).await?;
        self.execute("apply", plan, known, backend, format).await
    }

    /// Refuses a saved plan as a whole if anything that it touches moved since.
    async fn unmoved(&self, plan: &Plan) -> Result<(), Failure> {
        let moved = self.engine().moved(plan).await;
        self.ui.finish();
        if moved.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the world changed since the plan was made; nothing was written:\n  {}",
            moved.join("\n  ")
        )))
    }

    async fn execute(
        &self,
        command: &str,
        plan: &Plan,
        known: Known,
        backend: &dyn Backend,
        format: ApplyFormat,
    ) -> Ended {
        if plan.is_empty() && plan.refreshed.is_empty() && !known.recovered {
            if format == ApplyFormat::Json {
                self.ui.result(&applied_json(plan, &crate::event::Outcomes::new()));
            }
            return Ok(Exit::Ok);
        }
        self.ui.applying(plan.steps.len());
        self.executing.set(true);
        let executed = self.engine().execute(plan, known.state, &known.version, backend, &now, self.stop.clone()).await;
        self.ui.finish();
        match format {
            ApplyFormat::Json => self.ui.result(&applied_json(plan, &executed.outcomes)),
            ApplyFormat::Text => {
                let report = report::applied(command, plan, &executed.outcomes);
                self.ui.result(&format!("\n{}", render::terminal(&report, self.ui.palette())));
            }
        }
        let all = executed.outcomes.values().all(|o| *o == Outcome::Done);
        if let Some(error) = executed.broken {
            return Err(Failure::new(format!(
                "{error}\n  what was done is in the journal: the next `bailiwick {command}` reads it and does the rest"
            )));
        }
        Ok(match (*self.stop.borrow(), all) {
            (true, false) => Exit::Interrupted,
            (_, true) => Exit::Ok,
            (false, false) => Exit::Error,
        })
    }

    /// Makes the state anew from the marks on what the spec names.
    async fn rebuild(&self, yes: bool, adopted: &BTreeSet<Address>, orphans: bool) -> Ended {
        let backend = &*self.backend().await?;
        let work = async {
            let (_, compiled) = self.compile().await?;
            let mut stored = backend.load().await?;
            if stored.state.is_none() && stored.journal.entries.iter().any(|e| e.state.1 > 0) {
                self.ui.tell("there is a journal without its state: what its run made is told by the marks alone");
                stored.journal = crate::state::Journal::default();
            }
            let Known { mut state, version, .. } = Known::of(stored, &self.spec.project)?;
            let engine = self.engine();
            let snapshot = engine.observe(&compiled.desired, &State::new(&state.project, state.lineage.clone())).await;
            let mut found = diff::reclaim(&compiled.desired, &snapshot, &state, adopted, &engine.kinds());
            let (marked, unlisted) = engine.marked(self.spec).await;
            let left = diff::left(self.spec, &compiled.desired, &state, &marked, &engine.kinds());
            let as_if_known =
                State { resources: left.things.clone(), ..State::new(&state.project, state.lineage.clone()) };
            let snapshot = engine.observe(&crate::desired::Desired::default(), &as_if_known).await;
            self.ui.finish();
            found.unlisted = unlisted;
            found.add_left(left, &snapshot, &state, adopted, &engine.kinds());
            let is_known = |a: &&Address| compiled.desired.resources.contains_key(*a) || found.left.contains_key(*a);
            if let Some(unknown) = adopted.iter().find(|a| !is_known(a)) {
                return Err(Failure::new(format!("`{unknown}` is not in the spec, and nothing carries its mark")));
            }
            let report = report::reclaimed(&state, &found, orphans);
            self.ui.result(&render::terminal(&report, self.ui.palette()));
            let unreadable = !found.unreadable.is_empty() || (orphans && !found.unlisted.is_empty());
            let orphans = if orphans { found.left } else { BTreeMap::new() };
            if found.ours.is_empty() && orphans.is_empty() {
                return Ok(if unreadable { Exit::Error } else { Exit::Ok });
            }
            if !self.ui.agrees(yes, "Write this state? Nothing else is written.").await? {
                return Err(Failure::new("not written"));
            }
            state.resources.extend(found.ours);
            state.resources.extend(orphans);
            state.serial += 1;
            self.executing.set(true);
            backend.save(&state, &version).await?;
            Ok(if unreadable { Exit::Error } else { Exit::Ok })
        };
        locked(self.ui, backend, lock_info("state rebuild", self.environment), self.unless_interrupted(Box::pin(work)))
            .await
    }

    /// What is live of all that is in the spec or the state.
    async fn world(&self) -> Result<World, Failure> {
        let (facts, compiled) = self.compile().await?;
        let Known { state, .. } = self.state(&*self.backend().await?).await?;
        let prepared = self.engine().prepare(compiled.desired, &state).await;
        self.ui.finish();
        let unread: Vec<String> = prepared
            .snapshot
            .seen
            .iter()
            .filter_map(|(address, seen)| match seen {
                Seen::Unreadable { why, .. } => Some(format!("{address}: {why}")),
                _ => None,
            })
            .collect();
        if !unread.is_empty() {
            return Err(Failure::new(format!("could not look everywhere:\n  {}", unread.join("\n  "))));
        }
        Ok(World::new(self.spec, &facts, Bodies::seen(&prepared.diff).facets(&self.engine().kinds())))
    }

    async fn drift(&self) -> Result<(Vec<Drift>, Vec<Diagnostic>), Failure> {
        if let Err(errors) = self.engine().identify().await {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(Failure::new(lines.join("\nerror: ")));
        }
        let backend = self.backend().await?;
        let Known { state, version, .. } = self.state(&*backend).await?;
        if version == StoredVersion::None && state.resources.is_empty() {
            let place = backend.place();
            self.ui.tell(&format!("there is no state at {place}: nothing was applied yet, or it was lost, and `bailiwick state rebuild` makes it anew"));
        }
        let engine = self.engine();
        // What was applied is held against what is live; the spec has no say.
        let prepared = engine.prepare(crate::desired::Desired::default(), &state).await;
        self.ui.finish();
        let findings = self.live_findings(&prepared);
        Ok((diff::drift(&prepared.diff, &engine.kinds()), findings))
    }

    /// What the policies mean that are live now, told at the entries of the spec that they come from.
    fn live_findings(&self, prepared: &Prepared) -> Vec<Diagnostic> {
        let facts = crate::spec::Facts::placeholders(self.spec);
        let sources = self.project.desired(self.spec, &facts);
        let mut desired = crate::desired::Desired::default();
        for resource in prepared.diff.resources.values() {
            let (Some(owned), Seen::Present { body, .. }) = (&resource.owned, &resource.seen) else { continue };
            let source = sources.resources.get(&resource.address).and_then(|r| r.wish.source.clone());
            let wish =
                Wish::new(resource.address.name(), owned.scope.clone(), &owned.physical_id, body.clone()).at(source);
            let address = resource.address.clone();
            desired.resources.insert(address.clone(), Arc::new(Resource { address, wish }));
        }
        let engine = self.engine();
        let context = check::Context {
            spec: self.spec,
            facts: &facts,
            chains: &Chains::default(),
            desired: &desired,
            snapshot: Some(&prepared.snapshot),
            diff: Some(&prepared.diff),
            lints: &self.project.lints,
            kinds: &engine.kinds(),
        };
        check::policies(&context, &today())
    }

    fn tell_drift(&self, drift: &[Drift], findings: &[Diagnostic], format: Format) -> Ended {
        let published: Vec<_> = findings.iter().map(wire::finding).collect();
        let report = report::drift(&self.spec.project, drift, &published, self.ui.verbose());
        self.ui.result(&match format {
            Format::Json => {
                let wire = wire::drift(&self.spec.project, drift, findings);
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

/// Why no plan can be made: what cannot be looked at for the same reason is told once.
fn reasons(errors: &[PlanError]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut unreadable: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for error in errors {
        match error {
            PlanError::Unreadable { address, why } => unreadable.entry(why).or_default().push(address.to_string()),
            other => lines.push(other.to_string()),
        }
    }
    lines.extend(unreadable.into_iter().map(|(why, addresses)| match addresses.as_slice() {
        [one] => format!("{one}: {why}"),
        [first, rest @ ..] => format!("{first} and {} more: {why}", rest.len()),
        [] => why.to_owned(),
    }));
    lines
}

/// Refuses a plan that leaves something out, unless that was asked for.
fn whole(plan: &Plan, partial: bool, consequence: &str) -> Result<(), Failure> {
    if partial || plan.left_out.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        plan.left_out.iter().map(|(address, why)| format!("{address}: {}", words::left_out(why))).collect();
    Err(Failure::new(format!(
        "a cluster does not answer, so the plan is partial; {consequence}: say --partial to go on without\n  {}",
        lines.join("\n  ")
    )))
}

fn expect(expected: Option<&str>, plan: &Plan) -> Result<(), Failure> {
    let digest = plan.digest();
    match expected {
        Some(expected) if expected != digest.as_str() => {
            Err(Failure::new(format!("the plan has the digest {digest}, not {expected}: nothing was written")))
        }
        _ => Ok(()),
    }
}

/// Refuses to take up what is ours already: adopted, it would never be deleted again.
fn not_lost(state: &State, lost: &[Address]) -> Result<(), Failure> {
    let addresses: Vec<String> = lost.iter().map(ToString::to_string).collect();
    words::lost(&state.project, &addresses).map_or(Ok(()), |hint| Err(Failure::new(hint)))
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
    texts.iter().map(|t| t.parse().map_err(|e: crate::address::AddressError| Failure::new(e.to_string()))).collect()
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
