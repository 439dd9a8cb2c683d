//! The tests that need no SDK: the core on an in-memory cloud, the program offline, and the rules for the sources.
//!
//! One test program holds them all, so that shared code is compiled and linked once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test ends where it fails, and prints figures on request"
)]

#[path = "../support/census.rs"]
mod census;
#[path = "../support/double.rs"]
mod double;
#[path = "../support/doubles.rs"]
mod doubles;
#[path = "../support/imports.rs"]
mod imports;
#[path = "../support/ledger_double.rs"]
mod ledger_double;
#[path = "../support/memory.rs"]
mod memory;
#[path = "../support/mentions.rs"]
mod mentions;
#[path = "../support/promises.rs"]
mod promises;
#[path = "../support/run.rs"]
mod run;
#[path = "../support/scenario.rs"]
mod scenario;
#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/seeds.rs"]
mod seeds;
#[path = "../support/source.rs"]
mod source;
#[path = "../support/specs.rs"]
mod specs;
#[path = "../support/texts.rs"]
mod texts;
#[path = "../support/words.rs"]
mod words;

mod access;
mod backends;
mod engine;
mod faults;
mod floors;
mod formats;
mod iam_cases;
mod made_up_access;
mod made_up_kind;
mod older_formats;
mod plan_cases;
mod problems;
mod providers;
mod ratchets;
mod repository;
mod scenarios;
mod schemas;
mod show;
