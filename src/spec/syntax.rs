//! Says what is wrong with a file that the YAML parser rejects, and where.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::localizer::ExternalMessageSource;
use serde_saphyr::{Error, UserMessageFormatter};

/// The limits of the parser that its errors mention.
#[derive(Clone, Copy, Debug)]
pub struct ParserLimits {
    /// The number of values to which aliases may expand.
    pub nodes: usize,
    /// The number of levels.
    pub depth: usize,
    /// The number of values that all anchors may contain.
    pub anchored: usize,
}

/// The parser's error, reworded for people who write YAML instead of calling the parser.
pub fn complaint(error: &Error, limits: ParserLimits) -> String {
    let ParserLimits { nodes, depth, anchored } = limits;
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => complaint(error, limits),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => too_deep(depth),
        Error::Budget { breach: BudgetBreach::RecordedAnchorEvents { .. }, .. } => {
            format!("the aliases of the anchors expand to more than {anchored} values")
        }
        Error::Budget { .. } => format!("the aliases of the file expand to more than {nodes} values"),
        Error::RecursiveReferencesRequireWeakTypes { .. } => "an anchor contains an alias of itself".to_owned(),
        Error::MultipleDocuments { .. } => "a second document begins here: a spec file contains one".to_owned(),
        Error::UnknownAnchor { .. } => {
            "no anchor with this name comes before: put text that begins with `*` in quotes".to_owned()
        }
        other => match kind(other) {
            // The scanner has a limit of its own, above ours, for brackets.
            Some(ErrorKind::RecursionLimitExceeded) => too_deep(depth),
            Some(kind) => scanned(kind).unwrap_or_else(|| in_its_words(other)),
            None => in_its_words(other),
        },
    }
}

fn too_deep(depth: usize) -> String {
    format!("this is nested deeper than {depth} levels")
}

fn in_its_words(error: &Error) -> String {
    let message = error.render_with_formatter(&UserMessageFormatter);
    message.rsplit_once(" at line ").map_or(message.as_str(), |(m, _)| m).trim().to_owned()
}

/// The kind of an error of the scanner.
fn kind(error: &Error) -> Option<&ErrorKind> {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => kind(error),
        Error::ExternalMessage { source, .. } => match &**source {
            ExternalMessageSource::Parser(scan) => Some(scan.kind()),
            _ => None,
        },
        _ => None,
    }
}

/// The frequent errors of the scanner in plain words.
fn scanned(kind: &ErrorKind) -> Option<String> {
    let text = match kind {
        kind if is_tab(kind) => "YAML does not allow tabs for indentation: use spaces",
        ErrorKind::UnclosedFlowCollection { open } => return Some(format!("this `{open}` is never closed")),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return Some(format!("this `{open}` is closed by `{close}`"));
        }
        ErrorKind::MisplacedFlowCollectionEnd => "no bracket is open here",
        ErrorKind::UnclosedQuotedScalar => "this quote is never closed",
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            "something follows a closing quote"
        }
        ErrorKind::UnknownQuotedScalarEscape | ErrorKind::InvalidQuotedScalarHexEscape => {
            "unknown escape in double quotes: write `\\\\` for a backslash, or use single quotes"
        }
        ErrorKind::ExpectedFlowSequenceSeparator => "a `,` or `]` is missing before this",
        ErrorKind::ExpectedFlowMappingSeparator => "a `,` or `}` is missing before this",
        ErrorKind::SimpleKeyExpected => "this key has no colon: write `key: value`",
        ErrorKind::MappingValueNotAllowed => {
            "a second `:` in one value: put the text in quotes, or indent the key on a line of its own"
        }
        ErrorKind::MissingAnchorOrAliasName => "`*` and `&` have a meaning in YAML: put this text in quotes",
        ErrorKind::UnexpectedCharacter { character } => {
            return Some(format!("no value can begin with `{character}`: put the text in quotes"));
        }
        ErrorKind::InvalidIndentation | ErrorKind::InvalidFlowScalarIndent | ErrorKind::InvalidQuotedScalarIndent => {
            "a bracket or quote before this line is not closed, or the line needs more indentation"
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::MappingKeyNotAllowed
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::InvalidBlockScalarIndent => "the indentation of this line fits nothing above it",
        _ => return None,
    };
    Some(text.to_owned())
}

fn is_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
    )
}

/// The offset of an error in the text, and the length of the marked part in bytes. `None` if the error has no place.
pub fn span(error: &Error, text: &str) -> Option<(usize, usize)> {
    let location = error.location()?;
    let bytes = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
    let (offset, length) = (bytes(location.span().byte_offset()), bytes(location.span().byte_len()));
    if let Some(known) = offset.zip(length.filter(|length| *length > 0)) {
        return Some(known);
    }
    let line = usize::try_from(location.line()).ok().filter(|line| *line > 0)?;
    let column = usize::try_from(location.column()).unwrap_or(1).max(1);
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    // The scanner reports some tabs where the text before them begins.
    let tab = kind(error).filter(|kind| is_tab(kind)).and_then(|_| indenting_tab(rest));
    let within = tab.or_else(|| rest.char_indices().nth(column - 1).map(|(offset, _)| offset)).unwrap_or(rest.len());
    let marked = rest.get(within..).and_then(|rest| rest.chars().next()).filter(|c| !matches!(c, '\r' | '\n'));
    Some((start + within, marked.map_or(0, char::len_utf8)))
}

/// The offset of the first tab in the indentation of a line.
fn indenting_tab(text: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        let is_blank = line.trim().is_empty();
        if let Some(tab) = line.get(..indentation).and_then(|i| i.find('\t')).filter(|_| !is_blank) {
            return Some(start + tab);
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::shown;
    use crate::spec::node::parse;

    /// The place of each problem, its message and the marked text.
    fn rejected(texts: &[&str]) -> String {
        let problem = |text: &&str| shown([&parse(&"s.yaml".into(), text).unwrap_err()], &[("s.yaml", text)]);
        let text: String = texts.iter().map(problem).collect();
        text.lines().filter(|line| !line.contains("  help: ")).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn syntax_errors_have_plain_words_and_the_right_place() {
        let texts = [
            "a: [\n",
            "b: 1\na: { x: 1\n",
            "a: [1 }\n",
            "a: [1, 2\nb: 3\n",
            "a: \"x\nb: 1\n",
            "a: b: c\n",
            "a: 1\nb\nc: 2\n",
            "a: *\n",
            "a: *b\n",
            "a: %x\n",
            "a: \"\\q\"\n",
            "a: 'x' y\n",
            "a:\n  b: 1\n c: 2\n",
            "a:\n  - 1\n b: 2\n",
            "a: { b: 1 c: 2 }\n",
        ];
        assert_eq!(
            rejected(&texts),
            "\
s.yaml:1:4 yaml-syntax: this `[` is never closed
  underlined: `[`
s.yaml:2:4 yaml-syntax: this `{` is never closed
  underlined: `{`
s.yaml:1:4 yaml-syntax: this `[` is closed by `}`
  underlined: `[`
s.yaml:2:1 yaml-syntax: a bracket or quote before this line is not closed, or the line needs more indentation
  underlined: `b`
s.yaml:2:1 yaml-syntax: a bracket or quote before this line is not closed, or the line needs more indentation
  underlined: `b`
s.yaml:1:5 yaml-syntax: a second `:` in one value: put the text in quotes, or indent the key on a line of its own
  underlined: `:`
s.yaml:2:1 yaml-syntax: this key has no colon: write `key: value`
  underlined: `b`
s.yaml:1:4 yaml-syntax: `*` and `&` have a meaning in YAML: put this text in quotes
  underlined: `*`
s.yaml:1:4 yaml-syntax: no anchor with this name comes before: put text that begins with `*` in quotes
  underlined: `*`
s.yaml:1:4 yaml-syntax: no value can begin with `%`: put the text in quotes
  underlined: `%`
s.yaml:1:4 yaml-syntax: unknown escape in double quotes: write `\\\\` for a backslash, or use single quotes
  underlined: `\"`
s.yaml:1:8 yaml-syntax: something follows a closing quote
  underlined: `y`
s.yaml:3:2 yaml-syntax: the indentation of this line fits nothing above it
  underlined: `c`
s.yaml:3:2 yaml-syntax: the indentation of this line fits nothing above it
  underlined: `b`
s.yaml:1:12 yaml-syntax: a `,` or `}` is missing before this
  underlined: `:`
"
        );
    }

    #[test]
    fn a_tab_in_the_indentation_is_found() {
        let texts = ["a:\n  b: 1\n\tc: 2\n", "a:\n\tb: 1\n", "a:\n  x\n\ty\n", "a: |\n\tx\n", "a: \"x\n\ty\"\n"];
        let words = "yaml-syntax: YAML does not allow tabs for indentation: use spaces\n  underlined: `\t`\n";
        let places = ["3:1", "2:1", "3:1", "2:1", "2:1"];
        assert_eq!(rejected(&texts), places.map(|place| format!("s.yaml:{place} {words}")).concat());
    }
}
