//! Rust sources as tokens and as trees, for the tests that check the rules for `src/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One file of Rust text.
pub struct Source {
    /// The path that a reader opens, such as `src/plan/guard.rs`.
    pub place: String,
    /// Its place in the module tree: `["plan", "guard"]`; the library's root is empty, `main.rs` is `["main"]`.
    pub module: Vec<String>,
    pub text: String,
}

impl Source {
    /// A source from its path below the package's root and its text.
    pub fn new(place: &str, text: impl Into<String>) -> Self {
        let inside = place.strip_prefix("src/").unwrap_or(place).trim_end_matches(".rs");
        let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        Self { place: place.to_owned(), module, text: text.into() }
    }

    /// The module's name in the floor table: the first part of its path.
    pub fn top(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    pub fn tokens(&self) -> TokenStream {
        TokenStream::from_str(&self.text).unwrap_or_else(|e| panic!("{} is not Rust: {e}", self.place))
    }

    pub fn tree(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|e| panic!("{} is not Rust: {e}", self.place))
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder of the package, sorted. Under `src/` without the doubles, which belong to the tests.
pub fn sources(folder: &str) -> Vec<Source> {
    files(folder).into_iter().filter(|source| !is_double(source)).collect()
}

/// The doubles of kinds, which are beside their kinds.
pub fn doubles() -> Vec<Source> {
    files("src").into_iter().filter(is_double).collect()
}

fn is_double(source: &Source) -> bool {
    source.place.starts_with("src/provider/") && source.place.ends_with("/double.rs")
}

fn files(folder: &str) -> Vec<Source> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    files.sort();
    let place = |file: &Path| file.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
    files.iter().map(|file| Source::new(&place(file), fs::read_to_string(file).unwrap())).collect()
}

/// Whether the tokens begin with `#[doc ...]` or `#![doc ...]`, which documentation comments become too.
pub fn is_documentation(trees: &[TokenTree]) -> bool {
    attribute(trees).is_some_and(|(group, _)| is_ident(group.first(), "doc"))
}

pub fn is_punct(tree: Option<&TokenTree>, sign: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(p)) if p.as_char() == sign)
}

pub fn is_ident(tree: Option<&TokenTree>, name: &str) -> bool {
    matches!(tree, Some(TokenTree::Ident(i)) if i == name)
}

pub fn line(tree: &TokenTree) -> usize {
    tree.span().start().line
}

/// Whether `::` begins at an index.
pub fn is_path_separator(trees: &[TokenTree], at: usize) -> bool {
    is_punct(trees.get(at), ':') && is_punct(trees.get(at + 1), ':')
}

/// The text of a string literal.
pub fn text_of(tree: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = tree else { return None };
    match syn::Lit::new(literal.clone()) {
        syn::Lit::Str(text) => Some(text.value()),
        syn::Lit::ByteStr(text) => String::from_utf8(text.value()).ok(),
        _ => None,
    }
}

/// The contents of the attribute with which the tokens begin, and the number of its tokens.
pub fn attribute(trees: &[TokenTree]) -> Option<(Vec<TokenTree>, usize)> {
    if !is_punct(trees.first(), '#') {
        return None;
    }
    let at = if is_punct(trees.get(1), '!') { 2 } else { 1 };
    match trees.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            Some((group.stream().into_iter().collect(), at + 1))
        }
        _ => None,
    }
}
