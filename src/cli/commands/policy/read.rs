//! Reads policy files.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use crate::cli::ui::Ui;
use crate::iam::ParseError;

/// The maximum size of a policy file, in bytes: more than AWS accepts for any policy.
const LARGEST: u64 = 16 << 20;

/// Reads the text of a policy; `-` is stdin.
///
/// # Errors
/// The reason why it cannot be read, with the name of the file.
pub fn policy_text(ui: &Ui, path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        if std::io::stdin().is_terminal() {
            return Err("stdin is a terminal: pass a file, or pipe a policy".to_owned());
        }
        std::io::stdin().lock().take(LARGEST).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(ui.host().at(path)).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
    };
    read.map_err(|e| unreadable(path, &e))?;
    if bytes.len() as u64 == LARGEST {
        return Err(format!("`{}` is not a policy: it has {LARGEST} bytes or more", path.display()));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| format!("`{}` is not a policy: it is not UTF-8 text", path.display()))?;
    Ok(text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text))
}

/// Returns the message for a file that cannot be read.
pub fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read `{}`: {error}", path.display())
}

/// Returns the message for a problem of a document, with its place.
pub fn placed(path: &Path, problem: &ParseError) -> String {
    let place = problem.place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
    let element = if problem.pointer.is_empty() { String::new() } else { format!("{}: ", problem.pointer) };
    format!("{}{place}: {element}{}", path.display(), problem.message)
}
