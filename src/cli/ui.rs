//! The streams: results on stdout, everything else on stderr, progress where people look.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::Colour;
use crate::diagnostic::Diagnostic;
use crate::event::{Event, Outcome, Sink};
use crate::render::{self, Palette};
use crate::spec::SourceFile;

/// What this program reads of its environment.
#[derive(Clone, Debug)]
pub struct ProcessEnvironment {
    /// No prompts, plain progress.
    pub ci: bool,
    no_color: bool,
    /// An endpoint for S3 is set.
    pub s3_endpoint: bool,
    /// The filter for logs.
    pub log: Option<String>,
    /// Who runs it, for those who find the state locked.
    pub user: Option<String>,
    /// The page of the CI run, likewise.
    pub run: Option<String>,
}

impl ProcessEnvironment {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let value = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self {
            ci: set("CI"),
            no_color: set("NO_COLOR"),
            s3_endpoint: set("AWS_ENDPOINT_URL") || set("AWS_ENDPOINT_URL_S3"),
            log: std::env::var("BAILIWICK_LOG").ok(),
            user: value("USER"),
            run: run_page(value),
        }
    }
}

/// The page of the CI run: GitHub's, GitLab's, or Jenkins's.
fn run_page(value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let github = || {
        let [server, repository, id] = ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"].map(&value);
        Some(format!("{}/{}/actions/runs/{}", server?, repository?, id?))
    };
    github().or_else(|| value("CI_JOB_URL")).or_else(|| value("BUILD_URL"))
}

/// More problems than anybody reads are counted, not printed.
const MOST_PROBLEMS: usize = 200;

/// The streams.
#[derive(Clone)]
pub struct Ui {
    out: Palette,
    err: Palette,
    interactive: bool,
    verbose: bool,
    bar: Arc<Mutex<Option<ProgressBar>>>,
    lost: Arc<AtomicBool>,
}

impl Ui {
    /// The streams as the command line and the environment want them.
    #[must_use]
    pub fn new(colour: Colour, verbose: bool, environment: &ProcessEnvironment) -> Self {
        let palette = |terminal: bool| Palette {
            colour: match colour {
                Colour::Always => true,
                Colour::Never => false,
                Colour::Auto => terminal && !environment.no_color,
            },
        };
        Self {
            out: palette(std::io::stdout().is_terminal()),
            err: palette(std::io::stderr().is_terminal()),
            interactive: std::io::stderr().is_terminal() && std::io::stdin().is_terminal() && !environment.ci,
            verbose,
            bar: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// How stdout is coloured.
    #[must_use]
    pub fn palette(&self) -> Palette {
        self.out
    }

    /// Whether somebody can be asked.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.interactive
    }

    /// Whether more is to be told.
    #[must_use]
    pub fn verbose(&self) -> bool {
        self.verbose
    }

    /// A result. A reader that went away is no error; a disk that is full is one.
    pub fn result(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            self.lost.store(true, Ordering::Relaxed);
            self.error(&format!("cannot write the result: {error}"));
        }
    }

    /// Problems as a SARIF result, with files named relative to the current folder.
    pub fn sarif(&self, problems: &[Diagnostic]) {
        let here = std::env::current_dir().ok();
        self.result(&render::sarif(problems, here.as_deref()));
    }

    /// Whether a result could not be written.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Stdout for results that come one after the other.
    #[must_use]
    #[expect(clippy::unused_self, reason = "whoever prints needs the `Ui`")]
    pub fn stream(&self) -> impl std::io::Write {
        std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock())
    }

    /// Something for a person.
    pub fn tell(&self, text: &str) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let print = || {
            let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
        };
        match bar.as_ref() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Problems with their places.
    pub fn problems(&self, problems: &[Diagnostic], files: &[SourceFile]) {
        let shown = problems.get(..MOST_PROBLEMS).unwrap_or(problems);
        self.tell(&render::diagnostics(shown, files, self.err));
        if problems.len() > shown.len() {
            self.tell(&format!("... and {} more problems", problems.len() - shown.len()));
        }
    }

    /// An error that has no place in a file.
    pub fn error(&self, message: &str) {
        self.tell(&format!("error: {}", render::inert(message)));
    }

    /// Asks, and returns the answer without spaces around.
    #[must_use]
    #[expect(clippy::unused_self, reason = "whoever prompts needs the `Ui`")]
    pub fn ask(&self, question: &str) -> Option<String> {
        let _ = write!(std::io::stderr().lock(), "{question} ");
        read_answer()
    }

    /// Asks as [`Ui::ask`] does, and lets an interrupt be heard meanwhile.
    pub async fn ask_while_listening(&self, question: &str) -> Option<String> {
        let _ = write!(std::io::stderr().lock(), "{question} ");
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

    /// Starts showing how many steps are done.
    pub fn applying(&self, total: usize) {
        self.start(total, "applying");
    }

    /// Ends progress.
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
                    Outcome::Skipped { because } => {
                        format!("  {action} {name}: skipped: depends on {because}, which was not applied")
                    }
                    Outcome::Interrupted | Outcome::NotStarted { .. } => format!("  {action} {name}: not started"),
                };
                self.tell(&render::inert(&line));
                self.advance(1, String::new());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::run_page;

    #[test]
    fn the_page_of_a_ci_run_is_known_on_three_systems() {
        let page = |set: &[(&str, &str)]| {
            run_page(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        let github = [
            ("GITHUB_SERVER_URL", "https://github.example"),
            ("GITHUB_REPOSITORY", "acme/access"),
            ("GITHUB_RUN_ID", "7"),
        ];
        assert_eq!(page(&github).as_deref(), Some("https://github.example/acme/access/actions/runs/7"));
        assert_eq!(page(&github[..2]), None);
        assert_eq!(
            page(&[("CI_JOB_URL", "https://gitlab.example/j/1")]).as_deref(),
            Some("https://gitlab.example/j/1")
        );
        assert_eq!(page(&[("BUILD_URL", "https://jenkins.example/1")]).as_deref(), Some("https://jenkins.example/1"));
        assert_eq!(page(&[]), None);
    }
}
