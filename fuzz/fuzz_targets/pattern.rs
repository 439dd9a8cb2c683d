//! Inclusion, overlap and intersection of patterns agree with matching of texts.
#![no_main]

use bailiwick::iam::Pattern;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str, &str)| {
    let (a, b, text) = texts;
    if a.len() + b.len() > 64 {
        return;
    }
    let (one, two) = (Pattern::new(a), Pattern::new(b));
    let (in_one, in_two) = (one.matches(text), two.matches(text));
    assert_eq!(Pattern::new(&one.to_string()), one);
    if one.includes(&two) {
        assert!(!in_two || in_one);
    }
    if in_one && in_two {
        assert!(one.overlaps(&two));
    }
    let meets = one.intersection(&two);
    assert_eq!(meets.iter().any(|meet| meet.matches(text)), in_one && in_two);
    assert_eq!(meets.is_empty(), !one.overlaps(&two));
    assert!(Pattern::literal(text).matches(text));
});
