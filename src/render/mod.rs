//! Renders reports for terminals and Markdown, and diagnostics as excerpts. External text is sanitized here.

mod codes;
mod excerpt;
mod graph;
mod markdown;
mod sarif;
mod terminal;

pub use codes::codes_page;
pub use excerpt::diagnostics;
pub use graph::{dot, mermaid};
pub use markdown::markdown;
pub use sarif::sarif;
pub use terminal::{Palette, terminal};

use std::fmt::Write as _;

/// Sanitizes external text for a terminal line: control characters are shown, not sent.
#[must_use]
pub fn inert(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\t') || !is_active(c) {
            out.push(c);
        } else {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
    out
}

/// Whether a character affects a terminal, or hides or reverses the text around it.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// A value as indented JSON in which characters that affect a terminal are escaped. JSON readers undo this (RFC 8259,
/// section 7).
#[must_use]
pub fn json<T: serde::Serialize>(value: &T) -> String {
    // Serializing these values cannot fail.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    if text.contains(|c| c != '\n' && is_active(c)) {
        text = escaped(&text);
    }
    text.push('\n');
    text
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || !is_active(c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
