//! The host of a run: streams, clock, interrupts, and clients. Tests use an in-memory cloud.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use futures_util::stream::{self, Stream};

use super::environment::ProcessEnvironment;
use crate::live::{AnyLive, Provider};

/// An output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Stdout, for results.
    Out,
    /// Stderr, for everything else.
    Err,
}

/// The streams that are terminals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminals {
    /// Stdin is a terminal.
    pub input: bool,
    /// Stdout is a terminal.
    pub out: bool,
    /// Stderr is a terminal.
    pub err: bool,
}

/// The kinds with their I/O halves, and the providers.
pub struct Clouds {
    /// Both halves of every kind.
    pub register: Vec<Box<dyn AnyLive>>,
    /// The providers, which identify callers and read facts.
    pub providers: Vec<Box<dyn Provider>>,
}

/// What must continue in the background while a command computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// Nothing, so one thread is enough and saves handing responses to another.
    Nothing,
    /// The renewal of a lock, however long the computation takes.
    LockIsKept,
}

/// The async work of a command.
pub type BlockingWork<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A stream of interrupts.
pub type Interrupts = Pin<Box<dyn Stream<Item = ()>>>;

/// The environment of a run.
pub trait Host: Send + Sync {
    /// The kinds and providers; `None` in a build without clients.
    fn clouds(&self) -> Option<Clouds>;

    /// The environment variables that the program reads.
    fn environment(&self) -> ProcessEnvironment;

    /// The streams that are terminals.
    fn terminals(&self) -> Terminals;

    /// Writes to a stream and flushes it.
    ///
    /// # Errors
    /// When the stream cannot be written.
    fn write(&self, output: Output, bytes: &[u8]) -> std::io::Result<()>;

    /// The current time, in the user's time zone.
    fn now(&self) -> jiff::Zoned;

    /// The folder that relative paths on the command line refer to; empty for the current one.
    fn folder(&self) -> PathBuf;

    /// Returns the interrupts from now on. Must be called inside [`Host::block_on`].
    fn interrupts(&self) -> Interrupts;

    /// Runs async work to completion.
    ///
    /// # Errors
    /// When the runtime cannot be started.
    fn block_on(&self, meanwhile: Meanwhile, work: BlockingWork<'_>) -> std::io::Result<()>;

    /// Resolves a path of the command line.
    fn at(&self, path: &Path) -> PathBuf {
        self.folder().join(path)
    }
}

/// The real host: the process's streams and signals, the system clock, and the clients of the build.
pub struct Process;

impl Host for Process {
    #[cfg(feature = "cloud")]
    fn clouds(&self) -> Option<Clouds> {
        Some(Clouds { register: crate::provider::live(), providers: crate::provider::providers() })
    }

    #[cfg(not(feature = "cloud"))]
    fn clouds(&self) -> Option<Clouds> {
        None
    }

    fn environment(&self) -> ProcessEnvironment {
        ProcessEnvironment::read()
    }

    fn terminals(&self) -> Terminals {
        Terminals {
            input: std::io::stdin().is_terminal(),
            out: std::io::stdout().is_terminal(),
            err: std::io::stderr().is_terminal(),
        }
    }

    fn write(&self, output: Output, bytes: &[u8]) -> std::io::Result<()> {
        match output {
            Output::Out => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Output::Err => std::io::stderr().lock().write_all(bytes),
        }
    }

    fn now(&self) -> jiff::Zoned {
        jiff::Zoned::now()
    }

    fn folder(&self) -> PathBuf {
        PathBuf::new()
    }

    fn interrupts(&self) -> Interrupts {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return Box::pin(stream::pending());
        };
        Box::pin(stream::poll_fn(move |context| {
            let interrupted = interrupt.poll_recv(context);
            if interrupted.is_ready() { interrupted } else { terminate.poll_recv(context) }
        }))
    }

    fn block_on(&self, meanwhile: Meanwhile, work: BlockingWork<'_>) -> std::io::Result<()> {
        let mut runtime = match meanwhile {
            Meanwhile::Nothing => tokio::runtime::Builder::new_current_thread(),
            Meanwhile::LockIsKept => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = runtime.worker_threads(1).enable_all().build()?;
        runtime.block_on(work);
        // A read from the prompt may still block a thread; do not wait for it.
        runtime.shutdown_background();
        Ok(())
    }
}
