//! No text makes the spec reader panic, and a refused spec comes with a reason.
#![no_main]

use bailiwick::spec::{SourceFile, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (spec, problems) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
    assert!(spec.is_some() || !problems.is_empty());
    assert!(problems.iter().all(|problem| !problem.message.is_empty()));
});
