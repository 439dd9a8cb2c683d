//! The paths and the single tokens of a source, in every way of writing them.

use std::str::FromStr as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::source::{Source, attribute, is_documentation, is_ident, is_path_separator, is_punct, line, text_of};

/// A path that a source mentions. A path into this crate begins with `crate`, in whichever way it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Mention {
    pub path: Vec<String>,
    pub line: usize,
    /// Whether `as` gives it another name.
    pub renamed: bool,
}

/// Every path that a source mentions: in `use` trees, in expressions and types, in the tokens of macros, and in the
/// strings of attributes (`#[serde(with = "...")]`).
pub fn mentions(source: &Source) -> Vec<Mention> {
    let mut walk = Walk { here: source.module.clone(), found: Vec::new() };
    walk.tokens(&source.tokens().into_iter().collect::<Vec<_>>(), None);
    walk.found
}

/// Calls `visit` with every token that is not a group, in order, except documentation.
pub fn each_token(tokens: TokenStream, visit: &mut impl FnMut(&TokenTree)) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(tree) = trees.get(at) {
        if is_documentation(&trees[at..]) {
            at += if is_punct(trees.get(at + 1), '!') { 3 } else { 2 };
            continue;
        }
        match tree {
            TokenTree::Group(group) => each_token(group.stream(), visit),
            other => visit(other),
        }
        at += 1;
    }
}

struct Walk {
    here: Vec<String>,
    found: Vec<Mention>,
}

impl Walk {
    /// Walks through tokens. `line` replaces the tokens' own lines, which count from the start of a literal.
    fn tokens(&mut self, trees: &[TokenTree], at_line: Option<usize>) {
        let mut at = 0;
        while let Some(tree) = trees.get(at) {
            if let Some((inside, length)) = attribute(&trees[at..]) {
                if !is_ident(inside.first(), "doc") {
                    self.tokens(&inside, at_line);
                    self.strings(&inside);
                }
                at += length;
                continue;
            }
            match tree {
                TokenTree::Group(group) => {
                    self.tokens(&group.stream().into_iter().collect::<Vec<_>>(), at_line);
                    at += 1;
                }
                TokenTree::Ident(ident) => at = self.ident(trees, at, &ident.to_string(), at_line),
                _ => at += 1,
            }
        }
    }

    fn strings(&mut self, trees: &[TokenTree]) {
        for tree in trees {
            if let TokenTree::Group(group) = tree {
                self.strings(&group.stream().into_iter().collect::<Vec<_>>());
            }
            let text = text_of(tree).filter(|t| t.contains("::"));
            if let Some(inside) = text.and_then(|t| TokenStream::from_str(&t).ok()) {
                self.tokens(&inside.into_iter().collect::<Vec<_>>(), Some(line(tree)));
            }
        }
    }

    /// Takes an identifier and the rest of its path; returns the index after it.
    fn ident(&mut self, trees: &[TokenTree], at: usize, name: &str, at_line: Option<usize>) -> usize {
        match (name, trees.get(at + 1), trees.get(at + 2)) {
            // `pub(crate)` and the like name no module.
            ("pub", Some(TokenTree::Group(group)), _) if group.stream().into_iter().count() == 1 => return at + 2,
            ("mod", Some(TokenTree::Ident(module)), Some(TokenTree::Group(group))) => {
                self.here.push(module.to_string());
                self.tokens(&group.stream().into_iter().collect::<Vec<_>>(), at_line);
                self.here.pop();
                return at + 3;
            }
            ("use", ..) if !is_punct(trees.get(at + 1), '<') => {
                let end = trees[at..].iter().position(|t| is_punct(Some(t), ';')).map_or(trees.len(), |n| at + n);
                self.trees(&trees[at + 1..end], None, at_line);
                return end;
            }
            ("extern", Some(TokenTree::Ident(krate)), Some(TokenTree::Ident(package))) if krate == "crate" => {
                let path = if package == "self" { "crate".to_owned() } else { package.to_string() };
                let renamed = is_ident(trees.get(at + 3), "as");
                self.found.push(Mention { path: vec![path], line: at_line.unwrap_or(line(&trees[at])), renamed });
                return at + 3;
            }
            _ => {}
        }
        let goes_on = is_path_separator(trees, at + 1);
        // After `<T as Trait>::` or a dot it belongs to something that begins elsewhere.
        let arrow = at >= 4 && (is_punct(trees.get(at - 4), '-') || is_punct(trees.get(at - 4), '='));
        let behind = at >= 3 && is_path_separator(trees, at - 2) && is_punct(trees.get(at - 3), '>') && !arrow;
        let method = at > 0 && is_punct(trees.get(at - 1), '.');
        if (goes_on && !behind && !method) || name == "crate" {
            return self.tree(&trees[at..], None, at_line) + at;
        }
        at + 1
    }

    /// Takes the trees of a `use`, which commas separate.
    fn trees(&mut self, trees: &[TokenTree], prefix: Option<&[String]>, at_line: Option<usize>) {
        for tree in trees.split(|t| is_punct(Some(t), ',')) {
            // A leading `::` marks a package, as its name does already; a macro writes `$crate`.
            let tree = if is_path_separator(tree, 0) { &tree[2..] } else { tree };
            let tree = if is_punct(tree.first(), '$') { &tree[1..] } else { tree };
            match tree.first() {
                Some(TokenTree::Group(group)) => {
                    self.trees(&group.stream().into_iter().collect::<Vec<_>>(), prefix, at_line);
                }
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                    let mut path = prefix.unwrap_or_default().to_vec();
                    path.push("*".to_owned());
                    self.found.push(Mention { path, line: at_line.unwrap_or(line(&tree[0])), renamed: false });
                }
                Some(_) => {
                    self.tree(tree, prefix, at_line);
                }
                None => {}
            }
        }
    }

    /// Takes one path; returns the number of its tokens.
    fn tree(&mut self, trees: &[TokenTree], prefix: Option<&[String]>, at_line: Option<usize>) -> usize {
        let mut path = prefix.map(<[String]>::to_vec);
        let line = at_line.unwrap_or_else(|| trees.first().map_or(0, line));
        let mut at = 0;
        loop {
            match trees.get(at) {
                Some(TokenTree::Ident(ident)) => {
                    let ident = ident.to_string();
                    path = Some(self.step(path, ident.trim_start_matches("r#")));
                    at += 1;
                }
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.trees(&inside, path.as_deref(), at_line);
                    return at + 1;
                }
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                    path.get_or_insert_default().push("*".to_owned());
                    at += 1;
                    break;
                }
                _ => break,
            }
            if !is_path_separator(trees, at) {
                break;
            }
            at += 2;
        }
        if let Some(path) = path {
            self.found.push(Mention { path, line, renamed: is_ident(trees.get(at), "as") });
        }
        at.max(1)
    }

    /// The path extended by one name.
    fn step(&self, path: Option<Vec<String>>, name: &str) -> Vec<String> {
        let own = |modules: &[String]| std::iter::once("crate".to_owned()).chain(modules.iter().cloned()).collect();
        match (name, path) {
            ("crate", _) => vec!["crate".to_owned()],
            ("self", None) => own(&self.here),
            ("self", Some(path)) => path,
            ("super", None) => own(&self.here[..self.here.len().saturating_sub(1)]),
            ("super", Some(mut path)) => {
                path.truncate(path.len().saturating_sub(1).max(1));
                path
            }
            (name, path) => {
                let mut path = path.unwrap_or_default();
                path.push(name.to_owned());
                path
            }
        }
    }
}
