//! Renders the registry of codes as Markdown: docs/findings.md.

use std::fmt::Write as _;

use crate::diagnostic::{Code, CodeGroup};

const HEAD: &str = "\
# Findings

Every problem that Bailiwick reports has a stable code, which the messages show in brackets. This page lists all of them. It is
generated from the registry in `src/diagnostic/codes.rs`; do not edit it.

- An **error** stops `plan` and `apply`. A **warning** or **info** does not.
- A **finding** can be accepted in the spec, with a reason and a last day. An error of the spec cannot be accepted: fix it.
- `plan`, `apply` and `destroy` continue despite a finding with `--allow CODE`.
- A **refusal** stops one plan. It can be neither accepted nor allowed by its code: its fix names the flag, if there is one.
- `validate`, `plan` and `policy check` print problems as SARIF with `--format sarif`. File names are relative to the current folder,
  so run them in the root of the repository: a forge does not find files outside it (`../base.yaml`). Stdin is named `stdin`.
- `validate` and `policy check` print problems as JSON with `--format json` (`bailiwick schema problems`). Every other command that
  takes `--format json` prints the same document, with exit code 1, if problems of the spec stop it. If something else stops it before
  it has a result, stdout is empty and stderr has the reason. The findings in the JSON of plans and drift have the same fields.

```yaml
accept:
  - code: trust-cross-account-root
    at: roles.loader            # an entry of the spec, or an address such as aws.iam.role.loader
    reason: the partner rotates its roles every week
    until: 2027-01-31
```

The text of `policy check` has a finer scale than error, warning and info; the page shows the severity in plans, JSON and SARIF. A
finding in statements that Bailiwick does not own is at most a warning.
";

/// The whole page.
#[must_use]
pub fn codes_page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## Contents\n\n");
    for group in CodeGroup::ALL {
        let _ = writeln!(page, "- [{}](#{})", group.title(), anchor(group.title()));
        for code in codes(group) {
            let _ = writeln!(page, "  - [`{code}`](#{code}): {}", code.title());
        }
    }
    page.push_str("- [Retired codes](#retired-codes)\n");
    for group in CodeGroup::ALL {
        let _ = writeln!(page, "\n## {}", group.title());
        for code in codes(group) {
            let class = match (code.is_finding(), code.is_refusal()) {
                (true, _) => "finding",
                (false, true) => "refusal",
                (false, false) => "must be fixed",
            };
            let _ = writeln!(
                page,
                "\n### {code}\n\n**{}** ({}, {class}). {}\n\nFix: {}",
                code.title(),
                code.severity(),
                sentence(code.meaning()),
                sentence(code.fix())
            );
        }
    }
    page.push_str("\n## Retired codes\n\n`accept` and `--allow` still take these codes, with a warning.\n\n");
    page.push_str("| retired | write |\n|---|---|\n");
    for (retired, code) in Code::retired() {
        let _ = writeln!(page, "| `{retired}` | [`{code}`](#{code}) |");
    }
    page
}

fn codes(group: CodeGroup) -> impl Iterator<Item = Code> {
    Code::all().filter(move |code| code.group() == group)
}

/// The anchor that code forges generate for a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Turns a clause into a sentence: capitalized, unless it starts with code, and with a full stop.
pub(super) fn sentence(clause: &str) -> String {
    let mut rest = clause.chars();
    let first = rest.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    // The name of a condition key is not capitalized.
    let named = clause.split(' ').next().is_some_and(|word| word.contains(':'));
    let text = if named { clause.to_owned() } else { format!("{first}{}", rest.as_str()) };
    if text.ends_with('.') { text } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_section_and_every_link_a_target() {
        let page = codes_page();
        for code in Code::all() {
            assert!(page.contains(&format!("\n### {code}\n")), "{code}");
        }
        let headings: Vec<String> =
            page.lines().filter_map(|l| l.strip_prefix("## ").or(l.strip_prefix("### "))).map(anchor).collect();
        for link in page.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(headings.iter().any(|h| h == link), "{link}");
        }
    }

    #[test]
    fn clauses_become_sentences() {
        assert_eq!(sentence("everyone has access"), "Everyone has access.");
        assert_eq!(sentence("aws:SourceIp is a public address"), "aws:SourceIp is a public address.");
        assert_eq!(sentence("Add the key."), "Add the key.");
    }
}
