//! No bytes make the reader of journals panic, and what counts as sound is exactly the lines that were read.
#![no_main]

use bailiwick::state::{Entry, Journal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = Journal::parse(bytes) {
        let lines: Result<String, _> = read.entries.iter().map(Entry::line).collect();
        let lines = lines.expect("every entry has a line");
        assert_eq!(Some(lines.as_bytes()), bytes.get(..read.sound));
    }
});
