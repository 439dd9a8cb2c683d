//! The tests that need the SDKs: the program and its backends against emulators, or against the servers that the
//! environment names.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test ends where it fails, and prints figures on request"
)]

#[path = "../support/emulators.rs"]
mod emulators;
#[path = "../support/promises.rs"]
#[expect(dead_code, reason = "the tests of leases in memory use the rest")]
mod promises;
#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/seeds.rs"]
mod seeds;
#[path = "../support/specs.rs"]
#[expect(dead_code, reason = "only the source of chance is needed here")]
mod specs;

mod access_entries;
mod backends;
mod e2e;
mod e2e_state;
mod examples;
mod faults;
