//! Report to terminal and markdown; diagnostics to excerpts. Whatever comes from outside is made inert here.

mod excerpt;
mod graph;
mod markdown;
mod terminal;

pub use excerpt::diagnostics;
pub use graph::{dot, mermaid};
pub use markdown::markdown;
pub use terminal::{Palette, terminal};

/// Text from outside that cannot do anything to a terminal or a line: control characters are shown, not sent.
#[must_use]
pub fn inert(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c.to_string(),
            // Besides controls: marks that turn the direction of text or are invisible.
            c if c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') => {
                format!("\\u{{{:x}}}", u32::from(c))
            }
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
