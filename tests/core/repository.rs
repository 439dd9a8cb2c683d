//! The scripts and pages of a checkout, in any folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::source::{Source, sources};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A checkout may be in a folder whose name contains spaces.
#[test]
fn recipes_quote_paths() {
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    let paths = ["$(VENV)", "$(EMULATORS)", "$(CARGO_TARGET_DIR)", "$(CURDIR)"];
    for line in makefile.lines().filter(|line| line.starts_with('\t')) {
        for (at, path) in paths.iter().flat_map(|path| line.match_indices(path)) {
            let quotes = line.get(..at).unwrap().matches('"').count();
            assert!(quotes % 2 == 1, "`{path}` stands outside quotes in `{}`", line.trim());
        }
    }
}

#[test]
fn emulator_setup_clears_no_foreign_folder() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    fs::write(&theirs, "").unwrap();
    let script = repository().join("tests/emulators/setup.sh");
    let ran = Command::new("sh").arg(script).arg(folder.path()).output().unwrap();
    assert!(!ran.status.success());
    assert!(String::from_utf8_lossy(&ran.stderr).contains("is not one of ours"), "{ran:?}");
    assert!(theirs.exists());
}

/// Every page: those at the top, under `docs/`, and the README of each example.
fn pages() -> Vec<PathBuf> {
    let root = repository();
    let mut folders = vec![root.to_owned(), root.join("docs"), root.join("docs/decisions")];
    folders.extend(fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path()));
    let files = folders.iter().filter(|path| path.is_dir()).flat_map(|folder| fs::read_dir(folder).unwrap());
    files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md")).collect()
}

/// The anchors of a page's headings, as GitHub derives them.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let anchor =
        |line: &str| line.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect::<String>();
    headings.map(|line| anchor(line).replace(' ', "-")).collect()
}

/// The targets of a page's links to other pages and to its own headings.
fn links(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

#[test]
fn links_between_pages_resolve() {
    let mut broken = Vec::new();
    let mut count = 0;
    for page in pages() {
        for target in links(&page) {
            count += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            if !file.exists() || (!anchor.is_empty() && !anchors(&file).contains(&anchor.to_owned())) {
                broken.push(format!("{}: {target}", page.strip_prefix(repository()).unwrap().display()));
            }
        }
    }
    assert!(count > 50, "found {count} links");
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn indexes_list_every_page() {
    for folder in ["docs", "docs/decisions"] {
        let folder = repository().join(folder);
        let index = fs::read_to_string(folder.join("README.md")).unwrap();
        for page in pages().iter().filter(|page| page.parent() == Some(&folder) && !page.ends_with("README.md")) {
            let name = page.file_name().unwrap().to_str().unwrap();
            assert!(
                index.contains(&format!("]({name}")),
                "{} does not list {name}",
                folder.join("README.md").display()
            );
        }
    }
}

/// The files that the main files of the test programs declare as modules, and those main files themselves.
fn modules(mains: &[&Source]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for main in mains {
        let folder = main.place.trim_end_matches("main.rs");
        files.insert(main.place.clone());
        for item in main.tree().items {
            let syn::Item::Mod(module) = item else { continue };
            let path = module.attrs.iter().find_map(|attribute| match &attribute.meta {
                syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                    syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
                    _ => None,
                },
                _ => None,
            });
            files.insert(match path.as_deref().map(|path| path.strip_prefix("../").ok_or(path)) {
                None => format!("{folder}{}.rs", module.ident),
                Some(Ok(path)) => format!("tests/{path}"),
                Some(Err(path)) => format!("{folder}{path}"),
            });
        }
    }
    files
}

#[test]
fn every_test_file_is_a_module() {
    let all = sources("tests");
    let mains: Vec<&Source> = all.iter().filter(|source| source.place.ends_with("/main.rs")).collect();
    let places: Vec<&str> = mains.iter().map(|main| main.place.as_str()).collect();
    assert_eq!(places, ["tests/cloud/main.rs", "tests/core/main.rs"]);
    let files: BTreeSet<String> = all.iter().map(|source| source.place.clone()).collect();
    assert_eq!(files, modules(&mains), "each file below tests/ is a module of a main.rs there, and no other program");
}

#[test]
fn modules_are_found_in_a_main_file() {
    let main = Source::new("tests/core/main.rs", "mod a;\n#[path = \"../support/b.rs\"]\n#[expect(x)]\nmod c;\nuse d;");
    let expected = ["tests/core/a.rs", "tests/core/main.rs", "tests/support/b.rs"];
    assert_eq!(modules(&[&main]).into_iter().collect::<Vec<_>>(), expected);
}

/// The README shows a part of an example, whose own README `tests/cloud/examples.rs` runs.
#[test]
fn readme_shows_the_example_unchanged() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let (readme, example) = (read("README.md"), "examples/skypilot-pod-identity");
    let shown = readme.split_once("<!-- spec: skypilot-pod-identity -->").unwrap().1;
    let block = |language: &str| {
        let rest = shown.split_once(&format!("```{language}\n")).unwrap().1;
        rest.split_once("```").unwrap().0
    };

    let spec = read(&format!("{example}/bailiwick.yaml"));
    assert_eq!(block("yaml"), spec.split_once('\n').unwrap().1, "the spec without the line for editors");

    let transcript = read(&format!("{example}/README.md"));
    for part in block("console").split("      ...\n") {
        assert!(transcript.contains(part), "{example}/README.md does not contain\n{part}");
    }
}
