//! What a run takes from outside: streams, clock, interrupts, and the clouds. Tests hand it an in-memory cloud.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use futures_util::stream::{self, Stream};

use super::environment::ProcessEnvironment;
use crate::live::{AnyLive, Provider};

/// Where text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Results, for programs and people.
    Out,
    /// Everything else.
    Err,
}

/// Which streams are a terminal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminals {
    /// A person types answers.
    pub input: bool,
    /// A person reads the results.
    pub out: bool,
    /// A person reads everything else.
    pub err: bool,
}

/// The kinds with their I/O halves, and the providers.
pub struct Clouds {
    /// Both halves of every kind.
    pub register: Vec<Box<dyn AnyLive>>,
    /// What answers for accounts and clusters.
    pub providers: Vec<Box<dyn Provider>>,
}

/// What goes on while something is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// Nothing: all is done on one thread, which answers need not be handed over to.
    Nothing,
    /// A lock is kept, however long the computing takes.
    LockIsKept,
}

/// Work of a command that waits for answers.
pub type BlockingWork<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Interrupts, as they come.
pub type Interrupts = Pin<Box<dyn Stream<Item = ()>>>;

/// What a run takes from outside.
pub trait Host: Send + Sync {
    /// What reads and writes remotely; nothing in a build without clients.
    fn clouds(&self) -> Option<Clouds>;

    /// The environment variables that the program reads.
    fn environment(&self) -> ProcessEnvironment;

    /// Which streams are a terminal.
    fn terminals(&self) -> Terminals;

    /// Writes to a stream, at once.
    ///
    /// # Errors
    /// When the stream does not take it.
    fn write(&self, output: Output, bytes: &[u8]) -> std::io::Result<()>;

    /// The time, in the zone of whoever runs the program.
    fn now(&self) -> jiff::Zoned;

    /// The folder that relative paths of the command line start from; empty for the current one.
    fn folder(&self) -> PathBuf;

    /// Interrupts from now on. Called where [`Host::block_on`] runs.
    fn interrupts(&self) -> Interrupts;

    /// Runs something that waits, to its end unless the process dies.
    ///
    /// # Errors
    /// When it cannot be run.
    fn block_on(&self, meanwhile: Meanwhile, work: BlockingWork<'_>) -> std::io::Result<()>;

    /// Where a path of the command line leads.
    fn at(&self, path: &Path) -> PathBuf {
        self.folder().join(path)
    }
}

/// The process: its streams, its signals, the system's clock, and the clients of the build.
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
        // Whoever still waits for an answer at the prompt is not waited for.
        runtime.shutdown_background();
        Ok(())
    }
}
