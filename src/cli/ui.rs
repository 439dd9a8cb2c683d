//! The output: results on stdout, everything else on stderr, progress at a terminal.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Color;
use super::environment::ProcessEnvironment;
use super::host::{Host, Output};
use crate::diagnostic::Diagnostic;
use crate::event::{Event, Outcome, Sink};
use crate::render::{self, Palette};
use crate::report::words;
use crate::spec::SourceFile;

/// The maximum number of problems to print. The others are only counted.
const MOST_PROBLEMS: usize = 200;

/// The output streams, and how to print to them.
#[derive(Clone)]
pub struct Ui {
    host: Arc<dyn Host>,
    out: Palette,
    err: Palette,
    interactive: bool,
    verbose: bool,
    bar: Arc<Mutex<Option<ProgressBar>>>,
    lost: Arc<AtomicBool>,
}

impl Ui {
    /// Sets up the output from the command line and the environment.
    #[must_use]
    pub fn new(color: Color, verbose: bool, host: &Arc<dyn Host>, environment: &ProcessEnvironment) -> Self {
        let palette = |output| Palette {
            color: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => in_color(output, &**host, environment),
            },
        };
        let terminals = host.terminals();
        Self {
            host: host.clone(),
            out: palette(Output::Out),
            err: palette(Output::Err),
            interactive: terminals.err && terminals.input && !environment.ci,
            verbose,
            bar: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// The host of this run.
    #[must_use]
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The colors for stdout.
    #[must_use]
    pub fn palette(&self) -> Palette {
        self.out
    }

    /// Whether Bailiwick can prompt.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.interactive
    }

    /// Whether to show more detail.
    #[must_use]
    pub fn verbose(&self) -> bool {
        self.verbose
    }

    /// Prints a result. A closed pipe is not an error; a full disk is.
    pub fn result(&self, text: &str) {
        if let Err(error) = self.host.write(Output::Out, text.as_bytes())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            self.lost.store(true, Ordering::Relaxed);
            self.error(&format!("cannot write the result: {error}"));
        }
    }

    /// Prints problems as SARIF, with file names relative to the current folder. Problems without a place get `file`.
    pub fn sarif(&self, problems: &[Diagnostic], file: &str) {
        let here: Option<PathBuf> = std::env::current_dir().map(|current| current.join(self.host.folder())).ok();
        self.result(&render::sarif(problems, file, here.as_deref()));
    }

    /// Whether a result could not be written.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns a buffered stdout for streams of results.
    #[must_use]
    pub fn stream(&self) -> impl std::io::Write {
        std::io::BufWriter::with_capacity(1 << 16, Results(&*self.host))
    }

    /// Prints a message to stderr.
    pub fn tell(&self, text: &str) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let print = || {
            let _ = self.host.write(Output::Err, format!("{}\n", text.trim_end_matches('\n')).as_bytes());
        };
        match bar.as_ref() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Prints problems with their places.
    pub fn problems(&self, problems: &[Diagnostic], files: &[SourceFile]) {
        let shown = problems.get(..MOST_PROBLEMS).unwrap_or(problems);
        self.tell(&render::diagnostics(shown, files, self.err));
        if problems.len() > shown.len() {
            self.tell(&format!("... and {} more problems", problems.len() - shown.len()));
        }
    }

    /// Prints an error without a place in a file.
    pub fn error(&self, message: &str) {
        self.tell(&format!("error: {}", render::inert(message)));
    }

    /// Prompts, and returns the trimmed answer.
    #[must_use]
    pub fn ask(&self, question: &str) -> Option<String> {
        let _ = self.host.write(Output::Err, format!("{question} ").as_bytes());
        read_answer()
    }

    /// Prompts like [`Ui::ask`], but without blocking, so that an interrupt is handled.
    pub async fn ask_while_listening(&self, question: &str) -> Option<String> {
        let _ = self.host.write(Output::Err, format!("{question} ").as_bytes());
        tokio::task::spawn_blocking(read_answer).await.ok().flatten()
    }

    fn start(&self, total: usize, what: &'static str) {
        if !self.interactive {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    /// Starts the progress bar of an apply.
    pub fn applying(&self, total: usize) {
        self.start(total, "applying");
    }

    /// Removes the progress bar.
    pub fn finish(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    fn advance(&self, by: usize, message: String) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            bar.inc(by as u64);
            bar.set_message(message);
        }
    }
}

/// Stdout as a writer.
struct Results<'a>(&'a dyn Host);

impl std::io::Write for Results<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(Output::Out, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether a stream is colored by default.
pub fn in_color(output: Output, host: &dyn Host, environment: &ProcessEnvironment) -> bool {
    let terminals = host.terminals();
    let terminal = match output {
        Output::Out => terminals.out,
        Output::Err => terminals.err,
    };
    terminal && !environment.no_color
}

fn read_answer() -> Option<String> {
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(n) if n > 0 => Some(answer.trim().to_owned()),
        _ => None,
    }
}

impl Sink for Ui {
    fn take(&self, event: Event) {
        match event {
            Event::Observing { total } => self.start(total, "reading"),
            Event::Observed { count } => self.advance(count, String::new()),
            Event::Started { step, action } => {
                if self.verbose {
                    self.tell(&format!("  {action} {step} ..."));
                }
            }
            Event::Waiting { step, awaited, pause } => {
                let text = format!("  {}: waiting {} s for {awaited}", step, pause.as_secs_f32().ceil());
                self.tell(&render::inert(&text));
            }
            Event::Ended { step, action, outcome } => {
                let name = step;
                let line = match &outcome {
                    Outcome::Done => format!("  {action} {name}: done"),
                    Outcome::Failed { why, .. } => format!("  {action} {name}: failed: {why}"),
                    Outcome::Unknown { why } => format!("  {action} {name}: unknown: {why}"),
                    Outcome::Skipped { because } => format!("  {action} {name}: skipped: {}", words::skipped(because)),
                    Outcome::Interrupted | Outcome::NotStarted { .. } => format!("  {action} {name}: not started"),
                };
                self.tell(&render::inert(&line));
                self.advance(1, String::new());
            }
        }
    }
}
