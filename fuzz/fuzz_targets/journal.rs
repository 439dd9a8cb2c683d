//! No bytes make the journal reader panic, the valid part ends with a whole line, and entries round-trip through their
//! text.
#![no_main]

use bailiwick::state::{Entry, Journal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = Journal::parse(bytes) {
        let sound = bytes.get(..read.sound).expect("no more than there is");
        assert_eq!(sound.iter().filter(|b| **b == b'\n').count(), read.entries.len());
        let lines: Result<String, _> = read.entries.iter().map(Entry::line).collect();
        let again =
            Journal::parse(lines.expect("every entry has a line").as_bytes()).expect("what was written is read");
        assert_eq!(again.entries.len(), read.entries.len());
    }
});
