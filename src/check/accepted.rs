//! `unknown-place`: an `accept` entry for an address that does not exist.

use crate::desired::Desired;
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::spec::Spec;

/// Reports `accept` entries with an `at` that names nothing. Paths into the spec were checked when it was loaded.
#[must_use]
pub fn unknown_places(spec: &Spec, desired: &Desired) -> Vec<Diagnostic> {
    let addresses: Vec<String> = desired.resources.keys().map(ToString::to_string).collect();
    let mut problems = Vec::new();
    for (index, accept) in spec.accept.iter().enumerate() {
        let at = accept.at.as_str();
        if Spec::is_path(at) || addresses.iter().any(|address| address == at) {
            continue;
        }
        let help = match did_you_mean(at, addresses.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write the path of an entry, such as `roles.loader`, or an address, such as `aws.iam.role.loader`"
                .to_owned(),
        };
        problems.push(
            Diagnostic::new(Code::UnknownPlace, format!("no entry and no resource of the spec is called `{at}`"))
                .at(spec.value_source(&["accept", &index.to_string(), "at"]))
                .help(help),
        );
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::document::Document;
    use crate::kind::Resource;
    use crate::spec::{SourceFile, load};

    /// The finding on one `accept` entry: place, code, message and help.
    fn reported(code: &str, at: &str) -> String {
        let text = format!(
            "version: 1
project: p
accounts:
  a: {{ id: \"111111111111\", region: us-west-2 }}
roles:
  loader: {{ account: a, name: loader, trust: [{{ account: \"222222222222\" }}] }}
accept:
  - {{ code: {code}, at: {at}, reason: known, until: 2030-01-01 }}
"
        );
        let (spec, mut problems) = load(&[SourceFile { name: "s.yaml".into(), text: text.into() }]);
        let spec = spec.unwrap();
        let address: Address = "aws.iam.role.loader".parse().unwrap();
        let role =
            Resource::new(address.clone(), spec.account_scope("a"), "loader", Document::from(serde_json::json!({})));
        let desired = Desired { resources: [(address, role.into())].into(), ..Desired::default() };
        problems.extend(unknown_places(&spec, &desired));
        let lines = problems.iter().map(|p| {
            let (source, help) = (p.source.as_ref().unwrap(), p.help.as_deref().unwrap());
            format!("{} {source} {}: {}; {help}\n", p.severity, p.code, p.message)
        });
        lines.collect()
    }

    #[test]
    fn acceptance_needs_a_place_that_the_spec_has() {
        for at in ["roles.loader", "roles.loader.trust.0", "aws.iam.role.loader"] {
            assert_eq!(reported("trust-cross-account-root", at), "", "{at}");
        }
        for (at, expected) in [
            ("roles.laoder", "the spec has no entry `roles.laoder`; did you mean `roles.loader`?"),
            ("roles.loader.trsut", "the spec has no entry `roles.loader.trsut`; did you mean `roles.loader.trust`?"),
            (
                "buckets.nowhere",
                "the spec has no entry `buckets.nowhere`; write the path of an entry, such as `roles.loader`, or an \
                 address, such as `aws.iam.role.loader`",
            ),
            (
                "aws.iam.role.laoder",
                "no entry and no resource of the spec is called `aws.iam.role.laoder`; did you mean \
                 `aws.iam.role.loader`?",
            ),
            (
                "roles",
                "`roles` is a whole section; write the path of an entry, such as `roles.loader`, or an address, such as \
                 `aws.iam.role.loader`",
            ),
        ] {
            assert_eq!(
                reported("trust-cross-account-root", at),
                format!("error s.yaml:8:43 unknown-place: {expected}\n")
            );
        }
    }

    #[test]
    fn an_acceptance_of_a_code_that_no_finding_has_is_an_error() {
        for (code, expected) in [
            (
                "trust-cross-acount-root",
                "error s.yaml:8:13 unknown-code: no finding has the code `trust-cross-acount-root`; \
                did you mean `trust-cross-account-root`?",
            ),
            (
                "no-such-code",
                "error s.yaml:8:13 unknown-code: no finding has the code `no-such-code`; docs/findings.md lists \
                the codes of all findings",
            ),
            (
                "yaml-syntax",
                "error s.yaml:8:13 unacceptable-code: `yaml-syntax` is an error of the spec and cannot be \
                accepted; remove this entry, and fix the error",
            ),
            (
                "policy-too-large",
                "warning s.yaml:8:13 retired-code: the code `policy-too-large` is retired; write \
                `policy-over-quota`",
            ),
        ] {
            assert_eq!(reported(code, "roles.loader"), format!("{expected}\n"));
        }
    }
}
