//! No text makes the reader of saved plans panic, and a plan that is read has the digest in its file.
#![no_main]

use bailiwick::plan::PlanFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(file) = PlanFile::parse(text) {
        assert_eq!(file.plan.digest(), file.plan_digest);
    }
});
