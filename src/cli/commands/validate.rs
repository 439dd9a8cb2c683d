//! `validate`: checks the spec offline.

use crate::cli::failure::{Ended, Exit};
use crate::cli::options::ProblemFormat;
use crate::cli::project::CheckedSpec;
use crate::cli::run::{Invocation, today};
use crate::diagnostic::Diagnostic;
use crate::engine::Terms;
use crate::render;
use crate::report::{self, wire};

/// Check the spec offline.
///
/// Exits with 0 if the spec is valid, 1 if not.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick validate
  bailiwick validate -f base.yaml -f prod.yaml
  bailiwick validate --format sarif > findings.sarif")]
pub struct ValidateArgs {
    /// How to print problems.
    #[arg(long, value_enum, default_value_t = ProblemFormat::Text)]
    format: ProblemFormat,
}

impl ValidateArgs {
    /// Checks the spec.
    pub fn run(self, invocation: &Invocation<'_>) -> Ended {
        if self.format == ProblemFormat::Text {
            return for_people(invocation);
        }
        let host = invocation.ui.host();
        let checked = CheckedSpec::of(host, &invocation.globals.file, &today(host));
        let wrong = Terms::default().forbidding(&checked.problems);
        checked.show(invocation.ui, &[], self.format);
        Ok(if wrong > 0 { Exit::Error } else { Exit::Ok })
    }
}

fn for_people(invocation: &Invocation<'_>) -> Ended {
    let ui = invocation.ui;
    let project = invocation.project(ProblemFormat::Text)?;
    let (compiled, findings) = project.check_offline(ui, &today(ui.host()))?;
    let (problems, others): (Vec<_>, Vec<_>) = findings.into_iter().partition(Diagnostic::forbids);
    if !problems.is_empty() {
        ui.problems(&problems, &project.files);
    }
    let others: Vec<_> = others.iter().map(wire::problem).collect();
    let (resources, grants) = (compiled.desired.resources.len(), compiled.chains.all().len());
    let verdict = match problems.len() {
        0 => "valid".to_owned(),
        errors => counted(errors, "error"),
    };
    let (resources, grants) = (counted(resources, "resource"), counted(grants, "grant"));
    let report = report::Report {
        headline: format!("{}: {verdict} ({resources}, {grants})", project.spec.project),
        sections: report::findings_section(&others, ui.verbose()).into_iter().collect(),
        footer: Vec::new(),
    };
    ui.result(&render::terminal(&report, ui.palette()));
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Error })
}

/// Formats a count with its noun: `1 grant`, `2 grants`.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn counts_have_the_right_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "grant")), ["0 grants", "1 grant", "2 grants"]);
    }
}
