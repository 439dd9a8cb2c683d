//! Renders diagnostics with the line of the file that they are about.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::{Palette, inert};
use crate::diagnostic::{Diagnostic, Severity};
use crate::spec::SourceFile;

/// Renders diagnostics, each with `file:line:column`, the line, an underline, and the help text.
#[must_use]
pub fn diagnostics(problems: &[Diagnostic], files: &[SourceFile], palette: Palette) -> String {
    problems.iter().map(|p| one(p, files, palette)).collect::<Vec<_>>().join("\n")
}

fn one(problem: &Diagnostic, files: &[SourceFile], palette: Palette) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let message = inert(&problem.message);
    let help = problem.help.as_deref().map(inert);
    let label = inert(&problem.label);
    let file = problem.source.as_ref().and_then(|s| files.iter().find(|f| f.name == s.file).map(|f| (s, f)));
    let title = level.primary_title(&message).id(problem.code.as_str());
    let mut group = match file {
        Some((source, file)) => {
            let (first, excerpt, span) = around(&file.text, source.line, source.span);
            let annotation = AnnotationKind::Primary.span(span).label(&label);
            let snippet = Snippet::source(excerpt).line_start(first).path(file.name.as_ref()).annotation(annotation);
            title.element(snippet)
        }
        None => annotate_snippets::Group::with_title(title),
    };
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if palette.color { Renderer::styled() } else { Renderer::plain() };
    renderer.term_width(100).render(&[group]) + "\n"
}

/// The line at a place, its number, and the marked part. Neighboring lines are omitted, because they may contain values
/// that should not be in a log.
fn around(text: &str, line: u32, (offset, length): (usize, usize)) -> (usize, String, std::ops::Range<usize>) {
    let number = usize::try_from(line).unwrap_or(1).max(1);
    let content = text.lines().nth(number - 1).unwrap_or_default();
    let start_of_line = line_start(text, number);
    let start = offset.saturating_sub(start_of_line).min(content.len());
    let end = (start + length.max(1)).min(content.len()).max(start);
    (number, inert_line(content), clamp(content, start)..clamp(content, end))
}

fn line_start(text: &str, number: usize) -> usize {
    text.split_inclusive('\n').take(number - 1).map(str::len).sum()
}

fn clamp(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0)
}

/// Replaces control characters of the line with spaces, so that offsets stay valid.
fn inert_line(line: &str) -> String {
    line.chars().map(|c| if c.is_ascii_control() && c != '\t' { ' ' } else { c }).collect()
}
