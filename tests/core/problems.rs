//! What users read about problems: docs/findings.md, and what `validate` prints. `BLESS=1` writes the page.

use std::fs;
use std::path::Path;

use bailiwick::render;

#[test]
fn docs_findings_is_what_the_registry_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md");
    let page = render::codes_page();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == page, "docs/findings.md is stale: run `BLESS=1 cargo test --test core problems`");
}
