//! Renders a report for a terminal with 80 columns, with or without color.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use similar::{ChangeTag, TextDiff};

use super::inert;
use crate::report::{Detail, Mark, Report, Row};

/// Terminal styles, or none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Palette {
    /// Whether to use color.
    pub color: bool,
}

impl Palette {
    fn paint(self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn mark(self, mark: Mark) -> String {
        let (sign, color) = match mark {
            Mark::Add => ("+", AnsiColor::Green),
            Mark::Change => ("~", AnsiColor::Yellow),
            Mark::Replace => ("±", AnsiColor::Red),
            Mark::Remove => ("-", AnsiColor::Red),
            Mark::Adopt => (">", AnsiColor::Cyan),
            Mark::Forget => ("<", AnsiColor::Cyan),
            Mark::Good => ("✓", AnsiColor::Green),
            Mark::Bad => ("✗", AnsiColor::Red),
            Mark::Warn => ("!", AnsiColor::Yellow),
            Mark::Note => ("·", AnsiColor::Blue),
        };
        self.paint(color.on_default().bold(), sign)
    }
}

const WIDTH: usize = 80;
const INDENT: usize = 6;

/// Renders a report.
#[must_use]
pub fn terminal(report: &Report, palette: Palette) -> String {
    let mut out = String::new();
    let bold = Style::new().bold();
    let _ = writeln!(out, "{}", palette.paint(bold, &inert(&report.headline)));
    for section in &report.sections {
        let _ = writeln!(out, "\n{}", palette.paint(bold, &section.title));
        for row in &section.rows {
            write_row(&mut out, row, palette);
        }
    }
    if !report.footer.is_empty() {
        out.push('\n');
    }
    for line in &report.footer {
        let _ = writeln!(out, "{}", inert(line));
    }
    out
}

fn write_row(out: &mut String, row: &Row, palette: Palette) {
    let dim = Style::new().dimmed();
    let title = inert(&row.title);
    let mut lines = title.lines();
    let first = lines.next().unwrap_or_default();
    let place = inert(&row.place);
    let used = 4 + first.chars().count();
    if place.is_empty() {
        wrapped(out, &format!("  {} ", palette.mark(row.mark)), first, 4);
    } else if used + 2 + place.chars().count() <= WIDTH {
        let gap = " ".repeat(WIDTH - used - place.chars().count());
        let _ = writeln!(out, "  {} {first}{gap}{}", palette.mark(row.mark), palette.paint(dim, &place));
    } else {
        wrapped(out, &format!("  {} ", palette.mark(row.mark)), first, 4);
        let _ = writeln!(out, "      {}", palette.paint(dim, &place));
    }
    for line in lines {
        let _ = writeln!(out, "      {line}");
    }
    for note in &row.notes {
        wrapped(out, "      ", &inert(note), INDENT);
    }
    for detail in &row.details {
        write_detail(out, detail, palette);
    }
}

fn write_detail(out: &mut String, detail: &Detail, palette: Palette) {
    match detail {
        Detail::Value { path, before, after } => {
            let path = inert(path);
            let value = match (before, after) {
                (None, Some(after)) => inert(after),
                (Some(before), Some(after)) => format!("{} -> {}", inert(before), inert(after)),
                (Some(before), None) => format!("{} -> (removed)", inert(before)),
                (None, None) => String::new(),
            };
            wrapped(out, "        ", &format!("{path}: {value}"), 10);
        }
        Detail::Lines { path, lines } => {
            let _ = writeln!(out, "        {}:", inert(path));
            for line in lines {
                let indent = 10 + line.len() - line.trim_start().len();
                wrapped(out, &" ".repeat(indent), inert(line.trim_start()).as_str(), indent + 2);
            }
        }
        Detail::Diff { path, before, after } => {
            let _ = writeln!(out, "        {}:", inert(path));
            for (tag, line) in diff_lines(before, after) {
                let line = inert(&line);
                let (sign, style) = match tag {
                    ChangeTag::Delete => ("-", AnsiColor::Red.on_default()),
                    ChangeTag::Insert => ("+", AnsiColor::Green.on_default()),
                    ChangeTag::Equal => (" ", Style::new()),
                };
                let _ = writeln!(out, "        {}", palette.paint(style, &format!("{sign} {line}")));
            }
        }
    }
}

/// The changed lines of two texts, with three lines of context; gaps are shown.
pub(super) fn diff_lines(before: &str, after: &str) -> Vec<(ChangeTag, String)> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for (n, group) in diff.grouped_ops(3).iter().enumerate() {
        if n > 0 {
            lines.push((ChangeTag::Equal, "...".to_owned()));
        }
        for op in group {
            for change in diff.iter_changes(op) {
                lines.push((change.tag(), change.value().trim_end_matches('\n').to_owned()));
            }
        }
    }
    lines
}

/// Writes text in lines of at most 80 columns. Names are never broken.
fn wrapped(out: &mut String, first: &str, text: &str, indent: usize) {
    for (n, paragraph) in text.lines().enumerate() {
        let mut column = if n == 0 {
            out.push_str(first);
            indent
        } else {
            out.push_str(&" ".repeat(indent));
            indent
        };
        let mut start = true;
        for word in paragraph.split(' ') {
            let length = word.chars().count();
            if !start && column + 1 + length > WIDTH {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                column = indent;
                start = true;
            }
            if !start {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += length;
            start = false;
        }
        out.push('\n');
    }
}
