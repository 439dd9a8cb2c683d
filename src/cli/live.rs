//! Live commands: what they work with, and how an interrupt ends them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::environment::ProcessEnvironment;
use super::failure::{Ended, Exit, Failure};
use super::host::{Clouds, Interrupts, Meanwhile};
use super::options::{Allow, ReportFormat};
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

/// How a live command runs.
pub struct LiveRun<'a> {
    /// The run that it is part of.
    pub invocation: &'a Invocation<'a>,
    /// What shall become of what the spec describes.
    pub intent: Intent,
    /// The codes of findings that do not forbid anything.
    pub allowed: Vec<Code>,
    /// Whether the command holds the lock of the state while it works.
    pub keeps_lock: bool,
}

impl LiveRun<'_> {
    /// Runs a command until it ends or is interrupted.
    pub fn run(self, command: impl AsyncFnOnce(&Work<'_>) -> Ended) -> Ended {
        let Self { invocation, intent, allowed, keeps_lock } = self;
        let Invocation { ui, environment, .. } = *invocation;
        let host = ui.host();
        let Clouds { register, providers } = host.clouds().ok_or_else(Failure::without_cloud)?;
        let project = invocation.project()?;
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
                // A lock is released before the run ends.
                if keeps_lock { running.await } else { work.unless_interrupted(running).await }
            };
            // An interrupt is heard before what else happened at the same time.
            tokio::select! {
                biased;
                exit = interrupted(ui, host.interrupts(), sender, &executing) => Ok(exit),
                ended = running => ended,
            }
        };
        block_on(host, meanwhile, until_interrupted)
    }
}

/// What a live command works with.
pub struct Work<'a> {
    /// What shall become of what the spec describes.
    pub intent: Intent,
    pub ui: &'a Ui,
    pub environment: &'a ProcessEnvironment,
    pub project: &'a Project,
    pub session: &'a Session,
    pub register: &'a [Box<dyn AnyLive>],
    pub providers: &'a [Box<dyn Provider>],
    /// The codes of findings that do not forbid anything.
    pub allowed: &'a [Code],
    pub today: String,
    /// Turns true when nothing new shall be started.
    pub stop: watch::Receiver<bool>,
    /// Whether anything may be written now.
    pub executing: &'a Cell<bool>,
}

impl Work<'_> {
    /// Ends with the work, or with an interrupt that comes before anything is written.
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

    /// Where the state is kept.
    pub async fn backend(&self) -> Result<Box<dyn Backend>, Failure> {
        home(self.ui, self.project, self.session).await
    }

    /// What the command line allows.
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

    /// The engine with the clients of this run.
    pub fn engine(&self) -> Engine<'_> {
        Engine {
            register: self.register,
            providers: self.providers,
            session: self.session,
            limits: Limits::default(),
            sink: self.ui,
        }
    }

    /// What the engine shall do.
    pub fn task(&self) -> Task<'_> {
        Task::new(&self.project.spec, self.intent, &self.today, &self.project.lints)
    }

    /// Why the engine stopped.
    pub fn stopped(&self, stopped: Stopped) -> Failure {
        self.ui.finish();
        Failure::stopped(stopped, self.ui, &self.project.files)
    }

    /// Shows what is wrong with the spec by itself, before anything is asked or locked.
    pub fn check(&self) -> Result<(), Failure> {
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
    pub async fn known(&self, backend: &dyn Backend) -> Result<Known, Failure> {
        known(backend, &self.project.spec.project).await
    }

    /// Reads everything and plans.
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

    /// The published form of a plan, of which every report is made.
    pub fn published(&self, planned: &Planned, refusals: &[Refusal]) -> wire::WirePlan {
        let learned = wire::PlanDetails {
            changes: planned.changes(),
            findings: planned.findings(),
            refusals,
            interrupted: planned.known().unknown.iter().map(ToString::to_string).collect(),
            lost: planned.lost().iter().map(ToString::to_string).collect(),
            requests: self.requests(),
        };
        wire::plan(planned.plan(), learned)
    }

    /// The report of a plan, with the file that it was saved to and how this run went.
    pub fn report(&self, plan: &wire::WirePlan, saved: Option<&Path>) -> report::Report {
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

    /// The notes about how resources were read, as verbosely as requested.
    pub fn notes(&self) -> Vec<String> {
        let notes = self.session.notes().into_iter().filter(|note| note.important || self.ui.verbose());
        notes.map(|note| note.text).collect()
    }

    /// The requests so far.
    pub fn requests(&self) -> wire::WireRequests {
        let counts = self.session.requests().read();
        let by_service: BTreeMap<String, u64> =
            counts.by_service().into_iter().map(|(service, n)| (service.to_owned(), n)).collect();
        wire::WireRequests { total: by_service.values().sum(), by_service, throttled: counts.throttles() }
    }

    /// What is live of all that is in the spec or the state.
    pub async fn world(&self) -> Result<World, Failure> {
        let known = self.known(&*self.backend().await?).await?;
        let world = self.engine().world(&self.task(), &known).await.map_err(|stopped| self.stopped(stopped));
        self.ui.finish();
        world
    }

    /// Tells a person of drift, where the result has no room for it.
    pub fn tell_drift(&self, drift: &[Drift], findings: &[Diagnostic]) {
        self.ui.tell(&render::terminal(&self.drift_report(drift, findings), Palette::default()));
    }

    fn drift_report(&self, drift: &[Drift], findings: &[Diagnostic]) -> report::Report {
        let published: Vec<_> = findings.iter().map(wire::finding).collect();
        report::drift(&self.project.spec.project, drift, &published, self.ui.verbose())
    }

    /// Shows drift with its findings.
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

/// How long the answers of each service took.
fn waits(counts: &Counts) -> String {
    let each = counts.waited.iter().map(|(service, waited)| {
        let throttled = counts.throttled.get(service).map(|n| format!(", {n} throttled")).unwrap_or_default();
        format!("{} {:.1} s{throttled}", service.0, waited.as_secs_f64())
    });
    format!("Total time waiting for responses: {}", each.collect::<Vec<_>>().join("; "))
}

/// How long an interrupted run may take to record where it stands. Those who interrupt wait 10 s and then kill.
const MOST_AFTER_INTERRUPT: Duration = Duration::from_millis(7_500);

/// The first interrupt starts nothing new; the second, and the end of the time that is left, end the run: the journal
/// holds what was under way.
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
