//! Reads policy files.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use super::kinds::{PolicyType, kind_of};
use crate::cli::ui::Ui;
use crate::iam::{Effect, ParseError, Policy, Statement, validate};
use crate::report::{Detail, Mark, Row, policy_lines};

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

/// Parses a policy as AWS would accept it. Older versions and `NotPrincipal` are accepted everywhere, because stored
/// policies may have them.
///
/// # Errors
/// All problems of the document.
pub fn accepted(kind: Option<PolicyType>, text: &str) -> Result<Policy, Vec<ParseError>> {
    let kind = kind.unwrap_or_else(|| kind_of(text)).kind;
    match validate(kind, text) {
        Ok(policy) => Ok(policy),
        Err(mut problems) => {
            problems.retain(|p| p.pointer != "/Version" && !p.pointer.ends_with("/NotPrincipal"));
            if problems.is_empty() { Policy::parse(text) } else { Err(problems) }
        }
    }
}

/// Returns the row for a statement.
pub fn statement_row(statement: &Statement) -> Row {
    let sid = statement.sid().map(|sid| format!(" `{sid}`")).unwrap_or_default();
    let policy = serde_json::json!({ "Statement": [statement.to_value()] });
    Row {
        mark: if statement.effect() == Effect::Allow { Mark::Add } else { Mark::Remove },
        title: format!("statement {}{sid}", statement.position()),
        place: String::new(),
        notes: Vec::new(),
        details: vec![Detail::Lines { path: "says".into(), lines: policy_lines(&policy) }],
    }
}
