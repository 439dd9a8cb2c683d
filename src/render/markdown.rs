//! Renders a report for a pull request comment.

use std::fmt::Write as _;

use similar::ChangeTag;

use super::inert;
use super::terminal::diff_lines;
use crate::report::{Detail, Mark, Report, Row};

/// The size limit of a report. Comments on large code forges hold 65,536 characters; this leaves room for text around
/// it.
const MOST: usize = 60_000;

/// Renders a report. Content that does not fit into a comment is counted instead.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut out = format!("### {}\n", prose(&report.headline));
    let mut left_out = 0;
    for section in &report.sections {
        let _ = write!(out, "\n**{}**\n\n", prose(&section.title));
        for row in &section.rows {
            let text = row_text(row);
            if out.len() + text.len() > MOST {
                left_out += 1;
            } else {
                out.push_str(&text);
            }
        }
    }
    if left_out > 0 {
        let _ = write!(out, "\n_{left_out} more, left out to fit into a comment: see the plan file._\n");
    }
    for line in &report.footer {
        let _ = write!(out, "\n{}\n", prose(line));
    }
    out
}

fn row_text(row: &Row) -> String {
    let sign = match row.mark {
        Mark::Add => "➕",
        Mark::Change => "🔧",
        Mark::Replace => "♻️",
        Mark::Remove => "❌",
        Mark::Adopt => "📥",
        Mark::Forget => "📤",
        Mark::Good => "✅",
        Mark::Bad => "🛑",
        Mark::Warn => "⚠️",
        Mark::Note => "ℹ️",
    };
    let place = if row.place.is_empty() { String::new() } else { format!(" — {}", prose(&row.place)) };
    let mut lines = row.title.lines();
    let first = lines.next().unwrap_or_default();
    let title = if first.contains(' ') { prose(first) } else { code(first) };
    let mut out = format!("- {sign} {title}{place}\n");
    let rest: Vec<&str> = lines.collect();
    if !rest.is_empty() {
        let language = if rest.first().is_some_and(|l| l.starts_with(['[', '{'])) { "json" } else { "sh" };
        let _ = write!(out, "\n{}", fenced(language, &rest.join("\n")));
    }
    for note in &row.notes {
        let _ = writeln!(out, "  {}", prose(note));
    }
    let body = details(&row.details);
    if !body.is_empty() {
        let _ = write!(out, "  <details><summary>details</summary>\n\n{}\n  </details>\n", fenced("diff", &body));
    }
    out
}

fn details(details: &[Detail]) -> String {
    let mut out = String::new();
    for detail in details {
        match detail {
            Detail::Value { path, before, after } => {
                if let Some(before) = before {
                    signed(&mut out, '-', &format!("{path}: {before}"));
                }
                if let Some(after) = after {
                    signed(&mut out, '+', &format!("{path}: {after}"));
                }
            }
            Detail::Lines { path, lines } => {
                signed(&mut out, '+', &format!("{path}:"));
                for line in lines {
                    signed(&mut out, '+', &format!("  {line}"));
                }
            }
            Detail::Diff { path, before, after } => {
                let _ = writeln!(out, "  {path}:");
                for (tag, line) in diff_lines(before, after) {
                    let sign = match tag {
                        ChangeTag::Delete => '-',
                        ChangeTag::Insert => '+',
                        ChangeTag::Equal => ' ',
                    };
                    let _ = writeln!(out, "{sign} {line}");
                }
            }
        }
    }
    out
}

/// A change in a diff. Each line of a value gets the sign, so that no line passes for a change of its own.
fn signed(out: &mut String, sign: char, text: &str) {
    for (n, line) in text.lines().enumerate() {
        let indent = if n == 0 { "" } else { "    " };
        let _ = writeln!(out, "{sign} {indent}{line}");
    }
}

/// Escapes text so that it contains no Markdown, no HTML and no mentions.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for c in inert(text).chars() {
        match c {
            '\n' => out.push_str("<br>"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// A code span with a fence that the text cannot close (`CommonMark`, "Code spans").
fn code(text: &str) -> String {
    let text = inert(text).replace('\n', " ");
    let fence = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn fenced(language: &str, text: &str) -> String {
    let text = inert(text);
    let fence = "`".repeat(longest_run(&text).max(2) + 1);
    let mut out = format!("  {fence}{language}\n");
    for line in text.lines() {
        let _ = writeln!(out, "  {line}");
    }
    let _ = writeln!(out, "  {fence}");
    out
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
