//! The comments and the names of tests in a checkout, for the counts of rejected phrases.

use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use crate::census::Offender;
use crate::source::{Source, attribute, is_ident, line, root};
use crate::words::Phrases;

/// A comment: its first line, and its text without the signs that begin its lines.
type Block = (usize, String);

/// The rejected phrases of a text whose first line has this number in its file, one offender for each.
pub fn offenders(phrases: Phrases, place: &str, first: usize, text: &str) -> Vec<Offender> {
    let found = phrases.find(text).into_iter();
    found
        .map(|(line, what)| Offender { place: format!("{place}:{}", first + line - 1), what: format!("{what:?}") })
        .collect()
}

/// Rejected phrases in the comments and docstrings of files below folders, except scenarios, which are documents.
pub fn in_comments(phrases: Phrases, folders: &[&str]) -> Vec<Offender> {
    let files = folders.iter().flat_map(|folder| paths(folder)).filter(|place| extension(place) != Some("txt"));
    let found = files.flat_map(|place| {
        let blocks = comments(&place, &read(&place));
        blocks.into_iter().flat_map(|(first, text)| offenders(phrases, &place, first, &text)).collect::<Vec<_>>()
    });
    found.collect()
}

/// Rejected phrases in the names of tests: Rust functions, methods of Python's `unittest`, and the files of cases.
pub fn in_test_names(phrases: Phrases, rust: &[Source]) -> Vec<Offender> {
    let mut names: Vec<(String, usize, String)> = Vec::new();
    for source in rust {
        names.extend(test_names(source.tokens()).into_iter().map(|(line, name)| (source.place.clone(), line, name)));
    }
    for place in paths("tests").into_iter().filter(|place| extension(place) == Some("py")) {
        for (line, text) in (1..).zip(read(&place).lines()) {
            let name = text.trim_start().strip_prefix("def test_").and_then(|rest| rest.split('(').next());
            names.extend(name.map(|name| (place.clone(), line, name.to_owned())));
        }
    }
    for place in ["tests/plans", "tests/scenarios"].into_iter().flat_map(paths) {
        names.push((place.clone(), 1, place));
    }
    let spaced = |name: &str| name.replace(|c: char| !c.is_alphanumeric(), " ");
    names.iter().flat_map(|(place, line, name)| offenders(phrases, place, *line, &spaced(name))).collect()
}

/// The texts for people outside of Rust sources, in blocks, each with its file: the pages at the root and below
/// `docs/`, `examples/` and `state/`, the READMEs below `tests/`, the schemas, whose descriptions editors show, the
/// demo, and the comments of examples, scenarios, the Makefile and `.ci/run`. Of the changelog only the newest section;
/// the others are history.
pub fn documents() -> Vec<(String, Block)> {
    let roots = ["ARCHITECTURE.md", "CHANGELOG.md", "README.md", "Makefile", ".ci/run"];
    let folders = ["docs", "examples", "schemas", "state", "tests/scenarios"];
    let readmes = paths("tests").into_iter().filter(|place| place.ends_with("/README.md"));
    let mut found = Vec::new();
    for place in roots.into_iter().chain(folders).flat_map(paths).chain(readmes) {
        let text = read(&place);
        let blocks = match (place.split('/').next().unwrap_or_default(), extension(&place)) {
            ("CHANGELOG.md", _) => vec![(1, text.split("\n## ").take(2).collect::<Vec<_>>().join("\n## "))],
            (_, Some("md")) | ("schemas", Some("json")) | ("examples", Some("py")) => vec![(1, text)],
            _ => comments(&place, &text),
        };
        found.extend(blocks.into_iter().map(|block| (place.clone(), block)));
    }
    found
}

/// The comments of a file, by what its name says it is; a file of another kind has none.
pub fn comments(place: &str, text: &str) -> Vec<Block> {
    match extension(place) {
        Some("rs") => rust_comments(text),
        Some("py") => [python_docstrings(text), sign_comments(text, |_| true)].concat(),
        Some("sh" | "toml" | "yaml") => sign_comments(text, |_| true),
        // Only a line that begins with the sign is a comment of a scenario.
        Some("txt") if place.starts_with("tests/scenarios/") => sign_comments(text, |line| line.starts_with('#')),
        None if place == "Makefile" || place == ".ci/run" => sign_comments(text, |_| true),
        _ => Vec::new(),
    }
}

/// The names of functions with an attribute such as `#[test]` or `#[tokio::test(..)]`, also in the arguments of macros.
pub fn test_names(tokens: TokenStream) -> Vec<(usize, String)> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    let mut is_test = false;
    let mut at = 0;
    while let Some(tree) = trees.get(at) {
        if let Some((inside, length)) = attribute(&trees[at..]) {
            let path = inside.split(|tree| matches!(tree, TokenTree::Group(_))).next().unwrap_or_default();
            is_test |= is_ident(path.last(), "test");
            at += length;
            continue;
        }
        if is_ident(Some(tree), "fn") {
            if let (true, Some(name @ TokenTree::Ident(_))) = (is_test, trees.get(at + 1)) {
                found.push((line(name), name.to_string()));
            }
            is_test = false;
        }
        if let TokenTree::Group(group) = tree {
            found.append(&mut test_names(group.stream()));
        }
        at += 1;
    }
    found
}

/// Adds a comment. One that has its lines to itself continues the one that ends in the line above.
fn add(found: &mut Vec<Block>, line: usize, text: &str, is_alone: bool) {
    match found.last_mut() {
        Some((first, before)) if is_alone && *first + before.split('\n').count() == line => {
            before.push('\n');
            before.push_str(text);
        }
        _ => found.push((line, text.to_owned())),
    }
}

fn rust_comments(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let (mut rest, mut line, mut before, mut is_alone) = (text, 1, ' ', true);
    while let Some(next) = rest.chars().next() {
        let is_word = before.is_alphanumeric() || before == '_';
        let (length, is_comment) = match next {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), true),
            '/' if rest.starts_with("/*") => (block_length(rest), true),
            '"' => (string_length(rest), false),
            'r' | 'b' | 'c' if !is_word => (raw_string_length(rest).unwrap_or(1), false),
            '\'' => (character_length(rest), false),
            _ => (next.len_utf8(), false),
        };
        let (piece, after) = rest.split_at(length);
        if is_comment {
            let signs = |c: char| matches!(c, '/' | '!' | '*');
            let text: Vec<&str> = piece.split('\n').map(|line| line.trim().trim_start_matches(signs)).collect();
            add(&mut found, line, text.join("\n").trim_end_matches(signs), is_alone);
        }
        line += piece.matches('\n').count();
        is_alone = next == '\n' || is_alone && next.is_whitespace();
        before = piece.chars().last().unwrap_or(next);
        rest = after;
    }
    found
}

/// The length of a block comment, which may contain others.
fn block_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw string such as `br#".."#`, if one begins here.
fn raw_string_length(text: &str) -> Option<usize> {
    let inside = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let signs = inside.len() - inside.trim_start_matches('#').len();
    let content = inside[signs..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(signs));
    let length = content.find(&end).map_or(content.len(), |at| at + end.len());
    Some(text.len() - content.len() + length)
}

/// The length of a character literal; a lifetime counts as its sign alone.
fn character_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let after = at + c.len_utf8();
            text[after..].find('\'').map_or(1, |end| after + end + 1)
        }
        (_, Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// Comments from `#` to the end of their line.
fn sign_comments(text: &str, is_read: impl Fn(&str) -> bool) -> Vec<Block> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| is_read(line)) {
        let signs = line.match_indices('#').map(|(at, _)| at);
        let mut begins = signs.filter(|at| *at == 0 || line[..*at].ends_with(char::is_whitespace));
        if let Some(at) = begins.next() {
            add(&mut found, number, line[at..].trim_start_matches('#'), line[..at].trim().is_empty());
        }
    }
    found
}

/// Texts in three quotes that begin a line, whatever they document.
fn python_docstrings(text: &str) -> Vec<Block> {
    const QUOTES: &str = "\"\"\"";
    let mut found = Vec::new();
    // Whether a text in three quotes is open, and whether it is a docstring.
    let mut open = None;
    for (number, line) in (1..).zip(text.lines()) {
        let begins = open.is_none().then(|| line.trim_start().starts_with(QUOTES));
        if open.or(begins) == Some(true) {
            add(&mut found, number, line.trim().trim_matches('"'), true);
        }
        if line.matches(QUOTES).count() % 2 == 1 {
            open = if open.is_some() { None } else { begins };
        }
    }
    found
}

fn extension(place: &str) -> Option<&str> {
    Path::new(place).extension().and_then(|extension| extension.to_str())
}

fn read(place: &str) -> String {
    fs::read_to_string(root().join(place)).unwrap()
}

/// The files with text below a folder, or the file itself, as paths from the root, sorted.
pub fn paths(place: &str) -> Vec<String> {
    const KINDS: [&str; 8] = ["json", "md", "py", "rs", "sh", "toml", "txt", "yaml"];
    let path = root().join(place);
    if path.is_file() {
        return vec![place.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let inner = format!("{place}/{}", entry.file_name().to_str().unwrap());
        let is_text = extension(&inner).is_some_and(|extension| KINDS.contains(&extension));
        if is_text || entry.path().is_dir() {
            found.append(&mut paths(&inner));
        }
    }
    found.sort();
    found
}
