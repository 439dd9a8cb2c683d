//! No text makes the reader, the validation or the checks panic, and every refusal gives its reason and place.
#![no_main]

use bailiwick::iam::{Policy, PolicyKind, Subject, lint, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = Policy::parse(text) {
        assert!(!problems.is_empty());
        assert!(problems.iter().all(|problem| !problem.message.is_empty() && problem.place.is_some()));
    }
    for kind in [PolicyKind::Identity, PolicyKind::Bucket, PolicyKind::Trust, PolicyKind::Scp, PolicyKind::Rcp] {
        let _ = validate(kind, text);
        let _ = lint(text, &Subject::of(kind));
    }
});
