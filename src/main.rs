//! The `bailiwick` program: hands the command line to the library and ends with its exit code.

use std::process::ExitCode;

/// A large project is millions of small pieces of text.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bailiwick::cli::main()
}
