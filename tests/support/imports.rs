//! Which file imports which, inside each module of the floor table, and where such imports form a cycle.

use std::collections::{BTreeMap, BTreeSet};

use crate::census::Census;
use crate::mentions::mentions;
use crate::source::Source;

type Path = Vec<String>;

/// The files of the crate, each with the names that it uses of the others.
pub struct Imports {
    files: BTreeMap<Path, String>,
    /// A name that a file re-exports. It is like a sign on a door: an import of it counts as an import of the file
    /// behind it.
    re_exports: BTreeMap<Path, BTreeMap<String, Path>>,
    edges: BTreeMap<Path, BTreeSet<Path>>,
}

impl Imports {
    /// Reads sources without their tests.
    pub fn of(sources: Vec<Source>) -> Self {
        let sources: Vec<Source> = Census::of(sources).into_sources_without_tests();
        let files: BTreeMap<Path, String> =
            sources.iter().map(|source| (source.module.clone(), source.place.clone())).collect();
        let mut imports = Self { files, re_exports: BTreeMap::new(), edges: BTreeMap::new() };
        let trees: Vec<(Path, syn::File)> = sources.iter().map(|s| (s.module.clone(), s.tree())).collect();
        for (module, tree) in &trees {
            let handed_on = tree.items.iter().filter_map(|item| match item {
                syn::Item::Use(item) if !matches!(item.vis, syn::Visibility::Inherited) => Some(&item.tree),
                _ => None,
            });
            let mut names = BTreeMap::new();
            handed_on.for_each(|tree| leaves(tree, &[], &mut names));
            let names = names.into_iter().filter_map(|(name, path)| Some((name, imports.absolute(module, &path)?)));
            let names = names.collect();
            imports.re_exports.insert(module.clone(), names);
        }
        for source in &sources {
            let found = imports.named_by(source);
            imports.edges.insert(source.module.clone(), found);
        }
        imports
    }

    /// The cycles inside the modules of the floor table: the files of each, sorted.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let reached = |from: &Path| {
            let mut reached: BTreeSet<&Path> = BTreeSet::new();
            let mut next: Vec<&Path> = self.edges.get(from).into_iter().flatten().collect();
            while let Some(path) = next.pop() {
                if reached.insert(path) {
                    next.extend(self.edges.get(path).into_iter().flatten());
                }
            }
            reached
        };
        let reached: BTreeMap<&Path, BTreeSet<&Path>> = self.files.keys().map(|path| (path, reached(path))).collect();
        let mut circles: BTreeSet<Vec<&str>> = BTreeSet::new();
        for (path, there) in &reached {
            let circle: BTreeSet<&Path> =
                there.iter().filter(|other| reached[*other].contains(path)).copied().collect();
            if circle.len() > 1 {
                circles.insert(circle.into_iter().map(|path| self.files[path].as_str()).collect());
            }
        }
        circles.into_iter().collect()
    }

    /// The files of its module of the floor table that a source names.
    fn named_by(&self, source: &Source) -> BTreeSet<Path> {
        let mut aliases: BTreeMap<String, Path> = BTreeMap::new();
        let mut found = BTreeSet::new();
        // A visibility names a module, but imports nothing.
        let text = source.text.split("pub(in ").enumerate().map(|(n, part)| match (n, part.split_once(')')) {
            (0, _) | (_, None) => part.to_owned(),
            (_, Some((_, rest))) => format!("pub {rest}"),
        });
        let source = Source { place: source.place.clone(), module: source.module.clone(), text: text.collect() };
        let handed_on: BTreeSet<&Path> = self.re_exports[&source.module].values().collect();
        for mention in mentions(&source) {
            let path = aliases.get(&mention.path[0]).map_or_else(
                || self.absolute(&source.module, &mention.path),
                |module| Some([module, &mention.path[1..]].concat()),
            );
            let Some(path) = path else { continue };
            if handed_on.contains(&path) {
                continue;
            }
            if self.files.contains_key(&path) {
                aliases.extend(path.last().map(|name| (name.clone(), path.clone())));
            }
            found.extend(self.home(path));
        }
        found.retain(|file| *file != source.module && file.first() == source.module.first());
        found
    }

    /// A path from the root of the crate, if it is in the crate.
    fn absolute(&self, module: &Path, path: &[String]) -> Option<Path> {
        if path[0] == "crate" {
            return Some(path[1..].to_vec());
        }
        let up = path.iter().take_while(|name| *name == "super").count();
        if up > 0 || path[0] == "self" {
            let below = path[up.max(1)..].iter().cloned();
            return Some(module[..module.len() - up].iter().cloned().chain(below).collect());
        }
        let below = [module, path].concat();
        let is_child = self.files.contains_key(&below[..=module.len()]);
        let is_inside = self.re_exports.get(module).is_some_and(|names| names.contains_key(&path[0]));
        (is_child || is_inside).then_some(below)
    }

    /// The file that defines a path's target; none for a folder's own module, which only leads to others.
    fn home(&self, mut path: Path) -> Option<Path> {
        for _ in 0..self.files.len() {
            let length = (0..=path.len()).rev().find(|n| self.files.contains_key(&path[..*n]))?;
            let (file, rest) = path.split_at(length);
            let Some(name) = rest.first() else {
                let is_folder = self.files.keys().any(|other| other.len() > length && other.starts_with(file));
                return (!is_folder).then(|| file.to_vec());
            };
            match self.re_exports.get(file).and_then(|names| names.get(name)) {
                Some(target) if target != &path[..=length] => path = [target, &rest[1..]].concat(),
                _ => return Some(file.to_vec()),
            }
        }
        None
    }
}

/// The names that a `use` introduces, with the path behind each.
fn leaves(tree: &syn::UseTree, before: &[String], found: &mut BTreeMap<String, Path>) {
    match tree {
        syn::UseTree::Path(path) => leaves(&path.tree, &[before, &[path.ident.to_string()]].concat(), found),
        syn::UseTree::Name(name) if name.ident == "self" => {
            found.extend(before.last().map(|name| (name.clone(), before.to_vec())));
        }
        syn::UseTree::Name(name) => {
            found.insert(name.ident.to_string(), [before, &[name.ident.to_string()]].concat());
        }
        syn::UseTree::Rename(rename) => {
            found.insert(rename.rename.to_string(), [before, &[rename.ident.to_string()]].concat());
        }
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
        syn::UseTree::Glob(_) => {}
    }
}
