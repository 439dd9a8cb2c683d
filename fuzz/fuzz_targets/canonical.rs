//! The canonical document round-trips, and means the same as the policy.
#![no_main]

use bailiwick::iam::{Policy, equivalent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(policy) = Policy::parse(text) else { return };
    let shown = policy.to_string();
    let again = Policy::parse(&shown).unwrap_or_else(|problems| panic!("{shown} is refused: {problems:?}"));
    assert_eq!(again, policy, "{shown}");
    assert_eq!(again.to_string(), shown);
    assert!(equivalent(&again, &policy), "{shown}");
});
