//! Shared by live commands: their inputs, and the handling of interrupts.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::environment::ProcessEnvironment;
use super::failure::{Ended, Exit, Failure};
use super::host::{Clouds, Interrupts, Meanwhile};
use super::options::{Allow, ProblemFormat, ReportFormat};
use super::project::Project;
use super::run::{Invocation, addresses, block_on, home, known, session, today};
use super::ui::Ui;
use crate::access::World;
use crate::address::Address;
use crate::backend::Backend;
use crate::diagnostic::{Code, Diagnostic};
use crate::diff::Drift;
use crate::engine::{Engine, Intent, Known, Limits, Planned, Stopped, Task, Terms};
use crate::live::{AnyLive, Provider};
use crate::plan::{Guard, Refusal};
use crate::provider;
use crate::render::{self, Palette};
use crate::report::{self, wire};
use crate::session::{Counts, Session};
use crate::spec::BackendSpec;

/// The settings of a live command.
pub struct LiveRun<'a> {
    /// The run of the program.
    pub invocation: &'a Invocation<'a>,
    /// The goal of the run.
    pub intent: Intent,
    /// The codes of findings that do not block the run.
    pub allowed: Vec<Code>,
    /// Whether the command holds the lock of the state while it works.
    pub keeps_lock: bool,
    /// The format of the problems that stop the command.
    pub problems: ProblemFormat,
}

impl LiveRun<'_> {
    /// Runs a command until it completes or is interrupted.
    pub fn run(self, command: impl AsyncFnOnce(&Work<'_>) -> Ended) -> Ended {
        let Self { invocation, intent, allowed, keeps_lock, problems } = self;
        let Invocation { ui, environment, .. } = *invocation;
        let host = ui.host();
        let Clouds { register, providers } = host.clouds().ok_or_else(Failure::without_cloud)?;
        let project = invocation.project(problems)?;
        let session = session(&project, environment);
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
            today: today(host),
            stop,
            executing: &executing,
        };
        let meanwhile = if keeps_lock { Meanwhile::LockIsKept } else { Meanwhile::Nothing };
        let until_interrupted = async {
            let running = Box::pin(command(&work));
            let running = async {
                // A command with a lock must reach its end to release it.
                if keeps_lock { running.await } else { work.unless_interrupted(running).await }
            };
            // Biased, so that an interrupt comes first.
            tokio::select! {
                biased;
                exit = interrupted(ui, host.interrupts(), sender, &executing) => Ok(exit),
                ended = running => ended,
            }
        };
        block_on(host, meanwhile, until_interrupted)
    }
}

/// The inputs of a live command.
pub struct Work<'a> {
    /// The goal of the run.
    pub intent: Intent,
    pub ui: &'a Ui,
    pub environment: &'a ProcessEnvironment,
    pub project: &'a Project,
    pub session: &'a Session,
    pub register: &'a [Box<dyn AnyLive>],
    pub providers: &'a [Box<dyn Provider>],
    /// The codes of findings that do not block the run.
    pub allowed: &'a [Code],
    pub today: String,
    /// Becomes true when no further step may start.
    pub stop: watch::Receiver<bool>,
    /// Whether the execution has started, so that there may be writes.
    pub executing: &'a Cell<bool>,
}

impl Work<'_> {
    /// Runs work until it completes, or until an interrupt before anything is written.
    pub async fn unless_interrupted(&self, work: impl Future<Output = Ended>) -> Ended {
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

    /// Opens the backend of the state.
    pub async fn backend(&self) -> Result<Box<dyn Backend>, Failure> {
        home(self.ui, self.project, self.session).await
    }

    /// Returns what the command line allows.
    pub fn terms(&self, allow: &Allow, digest: Option<&str>) -> Result<Terms, Failure> {
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

    /// Returns an engine with the clients of this run.
    pub fn engine(&self) -> Engine<'_> {
        Engine {
            register: self.register,
            providers: self.providers,
            session: self.session,
            limits: Limits::default(),
            sink: self.ui,
        }
    }

    /// Returns the task for the engine.
    pub fn task(&self) -> Task<'_> {
        Task::new(&self.project.spec, self.intent, &self.today, &self.project.lints)
    }

    /// Converts the reason why the engine stopped.
    pub fn stopped(&self, stopped: Stopped) -> Failure {
        self.ui.finish();
        Failure::stopped(stopped, |problems| self.project.show_problems(self.ui, problems, None))
    }

    /// Checks the spec offline and shows its problems, before any request or lock.
    pub fn check(&self) -> Result<(), Failure> {
        let (compiled, mut findings) = self.project.check_offline(self.ui, &self.today)?;
        let terms = Terms { allowed: self.allowed.to_vec(), ..Terms::default() };
        let wrong = terms.forbidding(&findings);
        if wrong > 0 && self.intent == Intent::Apply {
            if self.project.format == ProblemFormat::Text {
                findings.retain(Diagnostic::forbids);
            }
            let counts = (compiled.desired.resources.len(), compiled.chains.all().len());
            self.project.show_problems(self.ui, findings, Some(counts));
            return Err(Failure::shown(wrong));
        }
        Ok(())
    }

    /// Loads the state and the journal of an interrupted run.
    pub async fn known(&self, backend: &dyn Backend) -> Result<Known, Failure> {
        known(backend, &self.project.spec.project).await
    }

    /// Observes all resources and builds a plan.
    pub async fn planned(&self, backend: &dyn Backend, targets: &BTreeSet<Address>) -> Result<Planned, Failure> {
        let (engine, task) = (self.engine(), self.task());
        let stopped = |stopped| self.stopped(stopped);
        let compiled = engine.compile(&task).await.map_err(stopped)?;
        let known = self.known(backend).await?;
        let observed = engine.observe_all(&task, compiled, known).await.map_err(stopped)?;
        let planned = engine.plan(&task, observed, targets).await.map_err(stopped);
        self.ui.finish();
        planned
    }

    /// Returns the published form of a plan, from which every report is built.
    pub fn published(&self, planned: &Planned, refusals: &[Refusal]) -> wire::WirePlan {
        let learned = wire::PlanDetails {
            changes: planned.changes(),
            findings: planned.findings(),
            refusals,
            interrupted: planned.known().unknown().iter().map(ToString::to_string).collect(),
            lost: planned.lost().iter().map(ToString::to_string).collect(),
            requests: self.requests(),
        };
        wire::plan(planned.plan(), learned)
    }

    /// Builds the report of a plan, with the file it was saved to, and the requests of this run.
    pub fn report(&self, plan: &wire::WirePlan, saved: Option<&Path>) -> report::Report {
        let mut report = report::plan(plan, self.ui.verbose());
        if saved.is_some() || self.ui.verbose() {
            report.footer.extend(report::digest(plan));
        }
        report.footer.extend(saved.map(|path| report::how_to_apply(plan, path)));
        report.footer.extend(self.notes());
        let counts = self.session.requests().read();
        if self.ui.verbose() {
            report.footer.extend([counts.to_string(), waits(&counts)]);
        } else if counts.throttles() > 0 {
            report.footer.push(counts.to_string());
        }
        report
    }

    /// Returns the notes about how resources were read; unimportant ones only with `--verbose`.
    pub fn notes(&self) -> Vec<String> {
        let notes = self.session.notes().into_iter().filter(|note| note.important || self.ui.verbose());
        notes.map(|note| note.text).collect()
    }

    /// Returns the counts of requests so far.
    pub fn requests(&self) -> wire::WireRequests {
        let counts = self.session.requests().read();
        let by_service: BTreeMap<String, u64> =
            counts.by_service().into_iter().map(|(service, n)| (service.to_owned(), n)).collect();
        wire::WireRequests { total: by_service.values().sum(), by_service, throttled: counts.throttles() }
    }

    /// Builds the world from the live resources of the spec and the state.
    pub async fn world(&self) -> Result<World, Failure> {
        let known = self.known(&*self.backend().await?).await?;
        let world = self.engine().world(&self.task(), &known).await.map_err(|stopped| self.stopped(stopped));
        self.ui.finish();
        world
    }

    /// Reports drift on stderr, for formats that cannot contain it.
    pub fn tell_drift(&self, drift: &[Drift], findings: &[Diagnostic]) {
        self.ui.tell(&render::terminal(&self.drift_report(drift, findings), Palette::default()));
    }

    fn drift_report(&self, drift: &[Drift], findings: &[Diagnostic]) -> report::Report {
        let published: Vec<_> = findings.iter().map(wire::problem).collect();
        report::drift(&self.project.spec.project, drift, &published, self.ui.verbose())
    }

    /// Prints drift and findings as the result.
    pub fn show_drift(&self, drift: &[Drift], findings: &[Diagnostic], format: ReportFormat) -> Ended {
        let report = self.drift_report(drift, findings);
        self.ui.result(&match format {
            ReportFormat::Json => {
                let wire = wire::drift(&self.project.spec.project, drift, findings);
                render::json(&serde_json::to_value(wire).map_err(|e| Failure::new(e.to_string()))?)
            }
            ReportFormat::Text => render::terminal(&report, self.ui.palette()),
            ReportFormat::Markdown => render::markdown(&report),
        });
        Ok(Exit::Ok)
    }
}

/// Formats the response times of each service.
fn waits(counts: &Counts) -> String {
    let each = counts.waited.iter().map(|(service, waited)| {
        let throttled = counts.throttled.get(service).map(|n| format!(", {n} throttled")).unwrap_or_default();
        format!("{} {:.1} s{throttled}", service.0, waited.as_secs_f64())
    });
    format!("Total time waiting for responses: {}", each.collect::<Vec<_>>().join("; "))
}

/// How long an interrupted run may take to record its progress. Supervisors typically kill a process 10 s after the
/// interrupt.
const MOST_AFTER_INTERRUPT: Duration = Duration::from_millis(7_500);

/// Handles interrupts. After the first, no further step starts. A second one, or the end of the time limit, ends the
/// run; the journal then contains the steps in progress.
async fn interrupted(ui: &Ui, mut next: Interrupts, stop: watch::Sender<bool>, executing: &Cell<bool>) -> Exit {
    if next.next().await.is_none() {
        return std::future::pending().await;
    }
    let _ = stop.send(true);
    if executing.get() {
        ui.tell("interrupted: finishing the calls in progress, starting no more; interrupt again to exit immediately");
    }
    let again = async {
        if next.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = again => {}
        () = tokio::time::sleep(MOST_AFTER_INTERRUPT) => {
            ui.tell("could not record the end of the run in time; the journal contains what was done");
        }
    }
    Exit::Interrupted
}
