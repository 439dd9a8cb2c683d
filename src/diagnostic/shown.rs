//! Formats diagnostics as text for unit tests.

use std::fmt::Write as _;

use super::Diagnostic;

/// Formats everything that users see of diagnostics: place, code, message, the underlined text and the help.
///
/// `files` are the names and texts of the files to which the places refer.
pub(crate) fn shown<'a>(problems: impl IntoIterator<Item = &'a Diagnostic>, files: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for problem in problems {
        let place = problem.source.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string);
        writeln!(text, "{place} {}: {}", problem.code, problem.message).unwrap();
        if let Some(source) = &problem.source {
            let (start, length) = source.span;
            let file = files.iter().find(|(name, _)| *name == &*source.file).map_or("", |(_, text)| text);
            match file.get(start..start + length) {
                Some(underlined) => writeln!(text, "  underlined: `{}`", underlined.replace('\n', "\\n")).unwrap(),
                None => writeln!(text, "  underlined: {start}..{} is not in the text", start + length).unwrap(),
            }
        }
        if let Some(help) = &problem.help {
            writeln!(text, "  help: {help}").unwrap();
        }
    }
    text
}
