//! Counts of flaws in the sources. Each is a function of sources, so that tests can try it on made-up ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::source::{Source, is_documentation, is_ident, is_path_separator, is_punct, line, text_of};
use crate::words::Phrases;

const LONGEST_FUNCTION: usize = 60;
const MOST_PARAMETERS: usize = 6;
const LONGEST_FILE: usize = 800;

/// One place that a count includes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offender {
    /// File and line.
    pub place: String,
    pub what: String,
}

/// Sources without their tests, and their parsed items.
pub struct Census {
    files: Vec<File>,
}

struct File {
    source: Source,
    tests: Vec<RangeInclusive<usize>>,
    functions: Vec<Function>,
    types: Vec<(String, usize)>,
    /// The paragraphs of help, each with its line.
    help: Vec<(usize, String)>,
}

struct Function {
    name: String,
    lines: RangeInclusive<usize>,
    /// The names of the parameters except `self`; a pattern has none.
    parameters: Vec<Option<String>>,
    /// The type or trait that it belongs to.
    owner: Option<String>,
    private: bool,
}

impl Census {
    /// Reads sources. Code that is compiled only for tests does not count: items under `#[cfg(test)]`, the files of
    /// modules that are declared so, files `tests.rs`, and folders `tests/`.
    pub fn of(sources: Vec<Source>) -> Self {
        let mut files = Vec::new();
        let mut only_for_tests = Vec::new();
        for source in sources {
            let mut reader = Reader { module: source.module.clone(), ..Reader::default() };
            reader.visit_file(&source.tree());
            only_for_tests.append(&mut reader.modules);
            let Reader { tests, functions, types, help, .. } = reader;
            files.push(File { source, tests, functions, types, help });
        }
        files.retain(|file| {
            let module = &file.source.module;
            !module.iter().any(|part| part == "tests") && !only_for_tests.iter().any(|path| module.starts_with(path))
        });
        Self { files }
    }

    /// The sources, with blank lines where their tests were.
    pub fn into_sources_without_tests(self) -> Vec<Source> {
        let without = |file: File| {
            let lines = file.source.text.lines().zip(1..);
            let text = lines.map(|(line, n)| if file.is_test(n) { "\n".to_owned() } else { format!("{line}\n") });
            Source { text: text.collect(), ..file.source }
        };
        self.files.into_iter().map(without).collect()
    }

    fn outside_providers(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.source.top() != "provider")
    }

    /// String literals outside `provider/` in which a word is the name of a registered kind, a beginning of such names
    /// with two parts or a trailing dot (`aws.iam`, `kubernetes.`), or an end of two parts (`iam.role`); one for each such
    /// word.
    pub fn kind_names(&self, kinds: &[&str]) -> Vec<Offender> {
        let mut parts = BTreeSet::new();
        for kind in kinds {
            for (at, _) in kind.match_indices('.') {
                parts.insert(&kind[..=at]);
                if kind[..at].contains('.') {
                    parts.insert(&kind[..at]);
                }
                if kind[at + 1..].contains('.') {
                    parts.insert(&kind[at + 1..]);
                }
            }
        }
        let tells = |word: &&str| kinds.contains(&word.trim_end_matches('.')) || parts.contains(word);
        let mut found = Vec::new();
        for file in self.outside_providers() {
            file.each(&mut |trees, at| {
                let Some(text) = text_of(&trees[at]) else { return };
                for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).filter(tells) {
                    found.push(file.offender(line(&trees[at]), format!("{word:?}")));
                }
            });
        }
        found
    }

    /// Calls outside `provider/` of `.field(x)`, `.field::<T>(x)`, `.field_text(x)` or `Document::field(..)`, except where
    /// `x` is a parameter of the function around it: then each call counts instead that passes that function a literal,
    /// or anything except a parameter of its caller (a private function is searched for in its own file only). Also
    /// `.tree()` if one of its keys is read at once, and a comparison of `.field()` with a literal or constant.
    pub fn field_reads(&self) -> Vec<Offender> {
        let mut readers: Vec<Forwards> = Vec::new();
        // One round for each call from forwarder to forwarder, and a last one that finds no new forwarder.
        loop {
            let known = readers.len();
            let mut found = Vec::new();
            for file in self.outside_providers() {
                file.each(&mut |trees, at| {
                    let Some((name, parameter, shown)) = file.reads(trees, at, &readers) else { return };
                    let number = line(&trees[at]);
                    let around = file.around(number);
                    let forwarded = around.zip(parameter).and_then(|(function, parameter)| {
                        let index = function.parameters.iter().position(|p| p.as_ref() == Some(&parameter))?;
                        Some((function, index))
                    });
                    match forwarded {
                        None => {
                            found.push(file.offender(number, format!("{name}({shown})")));
                        }
                        Some((function, index)) => {
                            let forwards = Forwards {
                                name: function.name.clone(),
                                owner: function.owner.clone(),
                                index,
                                parameters: function.parameters.len(),
                                only_in: function.private.then(|| file.source.place.clone()),
                            };
                            if !readers.contains(&forwards) {
                                readers.push(forwards);
                            }
                        }
                    }
                });
            }
            if readers.len() == known {
                return found;
            }
        }
    }

    /// Functions and methods that take more than 60 lines from `fn` to the closing brace.
    pub fn long_functions(&self) -> Vec<Offender> {
        self.functions(|function| {
            let lines = function.lines.clone().count();
            (lines > LONGEST_FUNCTION).then(|| format!("`{}` has {lines} lines", function.name))
        })
    }

    /// Functions and methods with more than 6 parameters, not counting `self`.
    pub fn many_parameters(&self) -> Vec<Offender> {
        self.functions(|function| {
            let parameters = function.parameters.len();
            (parameters > MOST_PARAMETERS).then(|| format!("`{}` has {parameters} parameters", function.name))
        })
    }

    /// Files of more than 800 lines.
    pub fn long_files(&self) -> Vec<Offender> {
        self.files
            .iter()
            .filter_map(|file| {
                let lines = (1..=file.source.text.lines().count()).filter(|n| !file.is_test(*n)).count();
                (lines > LONGEST_FILE).then(|| file.offender(1, format!("{lines} lines")))
            })
            .collect()
    }

    /// Names that more than one struct, enum, union, trait or type alias of the crate has.
    pub fn shared_names(&self) -> Vec<Offender> {
        let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for file in &self.files {
            for (name, line) in &file.types {
                places.entry(name).or_default().push(format!("{}:{line}", file.source.place));
            }
        }
        places
            .into_iter()
            .filter(|(_, places)| places.len() > 1)
            .map(|(name, places)| Offender {
                place: places[0].clone(),
                what: format!("`{name}`, also {}", places[1..].join(", ")),
            })
            .collect()
    }

    /// Rejected phrases in string literals, and in the comments that clap prints as help; one for each.
    pub fn phrases(&self, phrases: Phrases) -> Vec<Offender> {
        let mut found = Vec::new();
        for file in &self.files {
            file.each(&mut |trees, at| {
                let Some(text) = text_of(&trees[at]) else { return };
                let text = text.lines().collect::<Vec<_>>().join(" ");
                for (_, phrase) in phrases.find(&text) {
                    found.push(file.offender(line(&trees[at]), format!("{phrase:?}")));
                }
            });
            for (number, text) in &file.help {
                found.extend(
                    phrases.find(text).into_iter().map(|(_, phrase)| file.offender(*number, format!("{phrase:?}"))),
                );
            }
        }
        found
    }

    fn functions(&self, mut judge: impl FnMut(&Function) -> Option<String>) -> Vec<Offender> {
        let mut found = Vec::new();
        for file in &self.files {
            for function in &file.functions {
                found.extend(judge(function).map(|what| file.offender(*function.lines.start(), what)));
            }
        }
        found
    }
}

/// A function that reads the field that one of its parameters names.
#[derive(PartialEq, Eq)]
struct Forwards {
    name: String,
    owner: Option<String>,
    index: usize,
    parameters: usize,
    only_in: Option<String>,
}

impl File {
    fn offender(&self, line: usize, what: String) -> Offender {
        Offender { place: format!("{}:{line}", self.source.place), what }
    }

    fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// The innermost function around a line.
    fn around(&self, line: usize) -> Option<&Function> {
        let around = self.functions.iter().filter(|f| f.lines.contains(&line));
        around.min_by_key(|f| f.lines.end() - f.lines.start())
    }

    /// Calls `visit` with every token outside tests and documentation: the tokens beside it, and its index among them.
    fn each(&self, visit: &mut impl FnMut(&[TokenTree], usize)) {
        self.each_of(&self.source.tokens().into_iter().collect::<Vec<_>>(), visit);
    }

    fn each_of(&self, trees: &[TokenTree], visit: &mut impl FnMut(&[TokenTree], usize)) {
        let mut at = 0;
        while let Some(tree) = trees.get(at) {
            if is_documentation(&trees[at..]) {
                at += if is_punct(trees.get(at + 1), '!') { 3 } else { 2 };
                continue;
            }
            // A test's line may be that of its module's brace, which belongs to the test too.
            if !self.is_test(line(tree)) {
                visit(trees, at);
                if let TokenTree::Group(group) = tree {
                    self.each_of(&group.stream().into_iter().collect::<Vec<_>>(), visit);
                }
            }
            at += 1;
        }
    }

    /// The call at a token, if it reads a field: the function's name, the parameter that names the field, if the
    /// argument is only a name, and the arguments as they are written.
    fn reads(&self, trees: &[TokenTree], at: usize, readers: &[Forwards]) -> Option<(String, Option<String>, String)> {
        let TokenTree::Ident(ident) = &trees[at] else { return None };
        let name = ident.to_string();
        if name == "fn" || (at > 0 && is_ident(trees.get(at - 1), "fn")) {
            return None;
        }
        if name == "Document" && is_path_separator(trees, at + 1) && is_ident(trees.get(at + 3), "field") {
            return Some(("Document::field".into(), None, "..".into()));
        }
        let arguments = arguments(trees, at + 1)?;
        let method = at > 0 && is_punct(trees.get(at - 1), '.');
        if method && arguments.is_empty() && reads_a_key(trees, at) {
            return Some((name, None, "..".into()));
        }
        let index = if ["field", "field_text"].contains(&name.as_str()) && method && arguments.len() == 1 {
            0
        } else {
            let here = |f: &&Forwards| f.only_in.as_ref().is_none_or(|place| *place == self.source.place);
            let same = |f: &&Forwards| f.name == name && f.parameters == arguments.len();
            let qualified = at >= 3 && is_path_separator(trees, at - 2);
            let qualifier = if qualified { trees.get(at - 3).map(ToString::to_string) } else { None };
            let own = || self.around(line(&trees[at])).and_then(|function| function.owner.clone());
            let qualifier = if qualifier.as_deref() == Some("Self") { own() } else { qualifier };
            let belongs = |f: &&Forwards| match (&f.owner, &qualifier) {
                (Some(owner), Some(qualifier)) => qualifier == owner,
                (Some(_), None) => method,
                (None, Some(qualifier)) => !qualifier.starts_with(char::is_uppercase),
                (None, None) => !method,
            };
            readers.iter().filter(here).filter(belongs).find(same)?.index
        };
        let parameter = match arguments.get(index)?.as_slice() {
            [TokenTree::Ident(parameter)] => Some(parameter.to_string()),
            _ => None,
        };
        let shown: Vec<String> =
            arguments.iter().map(|argument| argument.iter().map(ToString::to_string).collect::<String>()).collect();
        Some((name, parameter, shown.join(", ")))
    }
}

/// Whether the call at an index is `.tree()` followed by a key, or `.field()` compared with a literal or a constant.
fn reads_a_key(trees: &[TokenTree], at: usize) -> bool {
    let after = at + 2;
    if is_ident(trees.get(at), "tree") {
        let indexed = matches!(trees.get(after), Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Bracket);
        return indexed || (is_punct(trees.get(after), '.') && is_ident(trees.get(after + 1), "get"));
    }
    let compares = is_punct(trees.get(after), '=') || is_punct(trees.get(after), '!');
    let fixed = |tree: &TokenTree| match tree {
        TokenTree::Literal(_) => true,
        TokenTree::Ident(ident) => ident.to_string().chars().all(|c| c.is_uppercase() || c == '_'),
        _ => false,
    };
    is_ident(trees.get(at), "field") && compares && trees.get(after + 2).is_some_and(fixed)
}

/// The arguments of the call whose parentheses, or `::<..>` before them, are at an index.
fn arguments(trees: &[TokenTree], mut at: usize) -> Option<Vec<Vec<TokenTree>>> {
    if is_path_separator(trees, at) && is_punct(trees.get(at + 2), '<') {
        let mut depth = 0_usize;
        at += 2;
        loop {
            match trees.get(at)? {
                TokenTree::Punct(p) if p.as_char() == '<' => depth += 1,
                TokenTree::Punct(p) if p.as_char() == '>' => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
    }
    match trees.get(at)? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            let inside: Vec<TokenTree> = group.stream().into_iter().collect();
            let parts = inside.split(|t| is_punct(Some(t), ',')).map(<[TokenTree]>::to_vec);
            Some(parts.filter(|part| !part.is_empty()).collect())
        }
        _ => None,
    }
}

/// Reads a tree: its tests, functions and types.
#[derive(Default)]
struct Reader {
    module: Vec<String>,
    tests: Vec<RangeInclusive<usize>>,
    modules: Vec<Vec<String>>,
    functions: Vec<Function>,
    types: Vec<(String, usize)>,
    help: Vec<(usize, String)>,
    /// The type or trait whose items are being read, and whether its methods are as public as a trait.
    owner: Option<(String, bool)>,
}

fn lines(of: &impl syn::spanned::Spanned) -> RangeInclusive<usize> {
    of.span().start().line..=of.span().end().line
}

/// Whether attributes restrict an item to tests: `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, ..))]`.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    fn demands_tests(trees: &[TokenTree]) -> bool {
        match trees {
            [TokenTree::Ident(test)] => test == "test",
            [TokenTree::Ident(all), TokenTree::Group(group)] if all == "all" => {
                let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                inside.split(|t| is_punct(Some(t), ',')).any(demands_tests)
            }
            _ => false,
        }
    }
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            demands_tests(&list.tokens.clone().into_iter().collect::<Vec<_>>())
        }
        meta => meta.path().segments.last().is_some_and(|name| name.ident == "test"),
    })
}

/// Whether an attribute derives a trait with which clap turns comments into help.
fn derives_help(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let clap =
        |tree: TokenTree| ["Args", "Parser", "Subcommand", "ValueEnum"].iter().any(|name| is_ident(Some(&tree), name));
    list.path.is_ident("derive") && list.tokens.clone().into_iter().any(clap)
}

/// The documentation comments, each with its first line.
#[derive(Default)]
struct Comments(Vec<(usize, String)>);

impl<'ast> Visit<'ast> for Comments {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let syn::Meta::NameValue(value) = &attribute.meta else { return };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &value.value else { return };
        if !value.path.is_ident("doc") {
            return;
        }
        let line = attribute.span().start().line;
        match self.0.last_mut() {
            Some((first, before)) if *first + before.lines().count() == line => {
                before.push('\n');
                before.push_str(&text.value());
            }
            _ => self.0.push((line, text.value())),
        }
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(x) => &x.attrs,
        syn::Item::Enum(x) => &x.attrs,
        syn::Item::ExternCrate(x) => &x.attrs,
        syn::Item::Fn(x) => &x.attrs,
        syn::Item::ForeignMod(x) => &x.attrs,
        syn::Item::Impl(x) => &x.attrs,
        syn::Item::Macro(x) => &x.attrs,
        syn::Item::Mod(x) => &x.attrs,
        syn::Item::Static(x) => &x.attrs,
        syn::Item::Struct(x) => &x.attrs,
        syn::Item::Trait(x) => &x.attrs,
        syn::Item::TraitAlias(x) => &x.attrs,
        syn::Item::Type(x) => &x.attrs,
        syn::Item::Union(x) => &x.attrs,
        syn::Item::Use(x) => &x.attrs,
        _ => &[],
    }
}

impl Reader {
    fn function(&mut self, signature: &syn::Signature, end: usize, visibility: Option<&syn::Visibility>) {
        let parameters = signature.inputs.iter().filter_map(|input| match input {
            syn::FnArg::Receiver(_) => None,
            syn::FnArg::Typed(typed) => Some(match &*typed.pat {
                syn::Pat::Ident(pattern) => Some(pattern.ident.to_string()),
                _ => None,
            }),
        });
        self.functions.push(Function {
            name: signature.ident.to_string(),
            lines: signature.fn_token.span().start().line..=end,
            parameters: parameters.collect(),
            owner: self.owner.as_ref().map(|(owner, _)| owner.clone()),
            private: matches!(visibility, Some(syn::Visibility::Inherited)),
        });
    }

    fn a_type(&mut self, name: &syn::Ident) {
        self.types.push((name.to_string(), name.span().start().line));
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_for_tests(attributes(item)) {
            self.tests.push(lines(item));
            if let syn::Item::Mod(module) = item {
                self.modules.push(self.module.iter().cloned().chain([module.ident.to_string()]).collect());
            }
            return;
        }
        if attributes(item).iter().any(derives_help) {
            let mut comments = Comments::default();
            comments.visit_item(item);
            self.help.append(&mut comments.0);
        }
        match item {
            syn::Item::Enum(x) => self.a_type(&x.ident),
            syn::Item::Struct(x) => self.a_type(&x.ident),
            syn::Item::Trait(x) => self.a_type(&x.ident),
            syn::Item::TraitAlias(x) => self.a_type(&x.ident),
            syn::Item::Type(x) => self.a_type(&x.ident),
            syn::Item::Union(x) => self.a_type(&x.ident),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let owner = self.owner.take();
        self.function(&function.sig, function.block.span().end().line, Some(&function.vis));
        visit::visit_item_fn(self, function);
        self.owner = owner;
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default(),
            _ => String::new(),
        };
        let before = self.owner.replace((name, item.trait_.is_some()));
        visit::visit_item_impl(self, item);
        self.owner = before;
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let before = self.owner.replace((item.ident.to_string(), true));
        visit::visit_item_trait(self, item);
        self.owner = before;
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Const(x) => &x.attrs,
            syn::ImplItem::Fn(x) => &x.attrs,
            syn::ImplItem::Type(x) => &x.attrs,
            syn::ImplItem::Macro(x) => &x.attrs,
            _ => return,
        };
        if is_for_tests(attributes) {
            self.tests.push(lines(item));
        } else {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        let open = self.owner.as_ref().is_some_and(|(_, open)| *open);
        self.function(&function.sig, function.block.span().end().line, (!open).then_some(&function.vis));
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.function(&function.sig, *lines(function).end(), None);
        visit::visit_trait_item_fn(self, function);
    }
}
