//! The `bailiwick` binary: passes the command line to the library and exits with its exit code.

use std::process::ExitCode;

/// A large project allocates millions of small strings.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bailiwick::cli::main()
}
