//! Checks what the schema cannot express: names are valid, references resolve, and no object has two entries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{AcceptSpec, Spec, TrustSpec};
use crate::diagnostic::{Code, Diagnostic, NamedCode, did_you_mean};

/// An entry of a section with keys.
pub(super) trait SectionEntry {
    /// The section.
    const SECTION: &'static str;
    /// The noun for one entry in messages.
    const NOUN: &'static str;
    /// The path to the field that identifies the entry, relative to the entry; empty if several fields do.
    const IDENTIFIED_AT: &'static [&'static str];
    /// The help text for two entries with one identity.
    const ONE_ENTRY: &'static str;
    /// The type that distinguishes real objects, independent of their keys in the spec.
    type Identity: Ord;

    /// The identity of the object that this entry declares.
    fn identity(&self, spec: &Spec) -> Self::Identity;

    /// Reports every problem in the entry itself.
    fn check(&self, key: &str, spec: &Spec, problems: &mut SpecProblems<'_>);
}

/// The sections with entries that `accept` can name by path.
pub(super) const SECTIONS: [&str; 8] =
    ["accounts", "clusters", "buckets", "keys", "policies", "roles", "service_accounts", "grants"];

/// Finds every problem in a spec that fits the schema.
pub(super) fn check(spec: &Spec) -> Vec<Diagnostic> {
    let mut problems = SpecProblems { spec, problems: Vec::new() };
    let Spec {
        version: _,
        project,
        backend,
        accounts,
        clusters,
        buckets,
        keys,
        policies,
        roles,
        service_accounts,
        grants,
        accept,
        places: _,
    } = spec;
    check_project(project, &mut problems);
    if let Some(backend) = backend {
        backend.check(spec, &mut problems);
    }
    section(accounts, &mut problems);
    section(clusters, &mut problems);
    section(buckets, &mut problems);
    section(keys, &mut problems);
    section(policies, &mut problems);
    section(roles, &mut problems);
    role_cycles(spec, &mut problems);
    section(service_accounts, &mut problems);
    for (index, grant) in grants.iter().enumerate() {
        grant.check(index, spec, &mut problems);
    }
    for (index, accept) in accept.iter().enumerate() {
        check_accept(accept, index, &mut problems);
    }
    problems.problems
}

/// Collects problems with their places while the spec is checked.
pub(super) struct SpecProblems<'a> {
    spec: &'a Spec,
    problems: Vec<Diagnostic>,
}

impl SpecProblems<'_> {
    pub(super) fn error(&mut self, code: Code, path: &[&str], message: String, help: &str) {
        if self.spec.places.is_stand_in(path) {
            return;
        }
        let place = self.spec.places.find(path, true);
        self.problems.push(Diagnostic::new(code, message).at(place).help(help));
    }

    /// Reports a reference to a key that does not exist.
    pub(super) fn reference<E: SectionEntry>(&mut self, path: &[&str], name: &str, entries: &BTreeMap<String, E>) {
        if entries.contains_key(name) || self.spec.places.is_stand_in(path) {
            return;
        }
        let section = E::SECTION;
        let help = match did_you_mean(name, entries.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it under `{section}`"),
        };
        let place = self.spec.places.find(path, true);
        self.problems.push(
            Diagnostic::new(Code::DanglingReference, format!("there is no {} called `{name}`", E::NOUN))
                .at(place)
                .label(format!("not under `{section}`"))
                .help(help),
        );
    }

    /// Checks the tags that a spec sets.
    ///
    /// Source: IAM User Guide, "Tag naming limits"; S3 and EKS allow the same characters.
    pub(super) fn tags(&mut self, path: &[&str], tags: &BTreeMap<String, String>) {
        let is_valid = |text: &str, most: usize| {
            text.chars().count() <= most
                && text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c))
        };
        for (key, value) in tags {
            let path = [path, &[key.as_str()]].concat();
            let reserved = key.starts_with("aws:") || key.starts_with("bailiwick:");
            if reserved || key.is_empty() || !is_valid(key, 128) {
                self.error(
                    Code::InvalidTag,
                    &path,
                    format!("invalid tag key `{key}`"),
                    "use 1 to 128 letters, digits, spaces and _.:/=+-@; the prefixes aws: and bailiwick: are reserved",
                );
            } else if !is_valid(value, 256) {
                self.error(
                    Code::InvalidTag,
                    &path,
                    format!("invalid value of tag `{key}`"),
                    "use at most 256 letters, digits, spaces and _.:/=+-@",
                );
            }
        }
    }
}

/// Checks the keys of a section, each entry, and that no two entries describe one object.
fn section<E: SectionEntry>(entries: &BTreeMap<String, E>, problems: &mut SpecProblems<'_>) {
    let (section, spec) = (E::SECTION, problems.spec);
    let mut described: BTreeMap<E::Identity, &str> = BTreeMap::new();
    for (key, entry) in entries {
        if !is_key(key, 64) {
            problems.error(
                Code::InvalidName,
                &[section, key],
                format!("invalid key `{key}` under `{section}`"),
                "use 1 to 64 letters, digits, hyphens and underscores, starting with a letter or digit",
            );
        }
        entry.check(key, spec, problems);
        if let Some(other) = described.insert(entry.identity(spec), key) {
            problems.error(
                Code::SameObject,
                &[&[section, key], E::IDENTIFIED_AT].concat(),
                format!("`{section}.{other}` and `{section}.{key}` are the same {}", E::NOUN),
                E::ONE_ENTRY,
            );
        }
    }
}

/// Whether a text has 1 to `longest` letters, digits, hyphens and underscores and starts with a letter or digit.
pub(super) fn is_key(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

fn check_project(project: &str, problems: &mut SpecProblems<'_>) {
    if !is_key(project, 40) {
        problems.error(
            Code::InvalidName,
            &["project"],
            format!("invalid project name `{project}`"),
            "use 1 to 40 letters, digits, hyphens and underscores, starting with a letter or digit",
        );
    }
}

fn check_accept(accept: &AcceptSpec, index: usize, problems: &mut SpecProblems<'_>) {
    let AcceptSpec { code, at, reason, until, statement } = accept;
    let n = index.to_string();
    check_accepted_code(code, &["accept", &n, "code"], problems);
    check_accepted_place(at, &["accept", &n, "at"], problems);
    if until.parse::<jiff::civil::Date>().is_err() {
        problems.error(
            Code::WrongValue,
            &["accept", &n, "until"],
            format!("invalid date `{until}`"),
            "write YYYY-MM-DD",
        );
    }
    if let Some(digest) = statement
        && !(digest.len() == 12 && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
    {
        problems.error(
            Code::WrongValue,
            &["accept", &n, "statement"],
            format!("invalid digest `{digest}` of a statement"),
            "copy the 12 characters from the help of the finding, in quotes",
        );
    }
    if reason.trim().is_empty() {
        problems.error(
            Code::WrongValue,
            &["accept", &n, "reason"],
            "an accepted finding needs a reason".into(),
            "write why it is acceptable",
        );
    }
}

fn check_accepted_code(code: &str, path: &[&str], problems: &mut SpecProblems<'_>) {
    match Code::named(code) {
        NamedCode::Finding(_) => {}
        NamedCode::Retired(new) => {
            problems.error(Code::RetiredCode, path, format!("the code `{code}` is retired"), &format!("write `{new}`"));
        }
        NamedCode::Problem(_) => problems.error(
            Code::UnacceptableCode,
            path,
            format!("`{code}` is an error of the spec and cannot be accepted"),
            "remove this entry, and fix the error",
        ),
        NamedCode::Refusal(code) => problems.error(
            Code::UnacceptableCode,
            path,
            format!("`{code}` is a refusal of one plan and cannot be accepted"),
            "remove this entry: docs/findings.md says what to do about the refusal",
        ),
        NamedCode::Unknown(near) => {
            let help = near.map_or_else(
                || "docs/findings.md lists the codes of all findings".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            problems.error(Code::UnknownCode, path, format!("no finding has the code `{code}`"), &help);
        }
    }
}

/// Checks a path into a section. Addresses can be checked only once the spec is compiled.
fn check_accepted_place(at: &str, path: &[&str], problems: &mut SpecProblems<'_>) {
    if !Spec::is_path(at) {
        return;
    }
    let steps: Vec<&str> = at.split('.').collect();
    let places = &problems.spec.places;
    let known = places.depth(&steps);
    if known == steps.len() && steps.len() > 1 {
        return;
    }
    let entry = steps.get(..known).unwrap_or_default();
    let keys = places.keys(entry).unwrap_or_default();
    let near = steps.get(known).and_then(|step| did_you_mean(step, keys.iter().copied()));
    let help = match near {
        Some(near) => format!("did you mean `{}`?", [entry, &[near]].concat().join(".")),
        None => "write the path of an entry, such as `roles.loader`, or an address, such as `aws.iam.role.loader`"
            .to_owned(),
    };
    let message =
        if steps.len() > 1 { format!("the spec has no entry `{at}`") } else { format!("`{at}` is a whole section") };
    problems.error(Code::UnknownPlace, path, message, &help);
}

/// Reports roles that trust each other in a cycle, because none of them could be created first.
fn role_cycles(spec: &Spec, problems: &mut SpecProblems<'_>) {
    let trusts = |key: &str| -> Vec<&str> {
        let entries = spec.roles.get(key).map(|r| r.trust.as_slice()).unwrap_or_default();
        entries
            .iter()
            .filter_map(|t| match t {
                TrustSpec::Role(name) => spec.roles.get_key_value(name).map(|(k, _)| k.as_str()),
                _ => None,
            })
            .collect()
    };
    for start in spec.roles.keys() {
        let mut paths: VecDeque<Vec<&str>> = [vec![start.as_str()]].into();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        while let Some(path) = paths.pop_front() {
            let next = path.last().map(|last| trusts(last)).unwrap_or_default();
            if next.contains(&start.as_str()) {
                // Report each cycle once, at its first member.
                if path.iter().min() == path.first() {
                    let cycle: Vec<String> =
                        path.iter().chain([&start.as_str()]).map(|k| format!("roles.{k}")).collect();
                    problems.error(
                        Code::Cycle,
                        &["roles", start, "trust"],
                        format!("these roles trust each other in a cycle: {}", cycle.join(" -> ")),
                        "remove one of the `trust` entries: none of the roles could be created first",
                    );
                }
                break;
            }
            paths.extend(next.into_iter().filter(|n| seen.insert(n)).map(|n| [path.as_slice(), &[n]].concat()));
        }
    }
}
