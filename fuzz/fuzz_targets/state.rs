//! No bytes make the state reader panic, and a state that is read round-trips unchanged.
#![no_main]

use bailiwick::state::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = State::read(bytes, "p") {
        let text = read.to_text().expect("every state has a text");
        assert_eq!(State::parse(&text, "p"), Ok(State { digest: None, ..read }));
    }
});
