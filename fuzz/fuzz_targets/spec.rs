//! No text makes the reader of specs panic, and a spec that is refused says why.
#![no_main]

use bailiwick::spec::{SourceFile, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (spec, problems) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
    assert!(spec.is_some() || !problems.is_empty());
    assert!(problems.iter().all(|problem| !problem.message.is_empty()));
});
