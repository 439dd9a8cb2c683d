//! Formats the desired resources of a kind as text, for the pure tests of kinds.

use std::fmt::Write as _;

use crate::access::lower;
use crate::kind::{AnyKind, Desires, Erased, Kind};
use crate::spec::{Facts, SourceFile, Spec, load};

/// Loads a spec with two accounts, `a` (111111111111) and `b` (222222222222). The text must have no problems.
pub(super) fn spec(text: &str) -> Spec {
    let text = format!(
        "version: 1\nproject: p\naccounts:\n  a: {{ id: \"111111111111\", region: us-east-1 }}\n  \
         b: {{ id: \"222222222222\", region: us-east-1 }}\n{text}"
    );
    let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
    assert_eq!(problems, []);
    spec.unwrap()
}

/// Returns a spec text with a service account `loader`, a derived role, and grants of `count` prefixes. From about 100
/// on, they do not fit into an inline policy.
pub(super) fn grants(count: usize) -> String {
    let mut text = "clusters:\n  c: { account: a, name: c }\n\
                    service_accounts:\n  loader: { cluster: c, namespace: n, name: loader }\n\
                    buckets:\n  b: { account: a, name: acme-models }\ngrants:\n"
        .to_owned();
    for n in 0..count {
        writeln!(text, "  - {{ to: loader, bucket: b, prefix: models/model-{n:04}/, access: read }}").unwrap();
    }
    text
}

/// Formats the desired resources and problems of one kind: name, account and physical id; the body; references.
pub(super) fn desired<K: Kind>(spec: &Spec, facts: &Facts) -> String {
    let Desires { resources, problems, .. } = Erased::<K>::NEW.desire(spec, facts, &lower(spec));
    let mut text = String::new();
    for resource in resources {
        let account = &resource.scope.key;
        writeln!(text, "{} in {account}: {}", resource.address.name(), resource.physical_id).unwrap();
        writeln!(text, "  {}", resource.body).unwrap();
        for reference in &resource.references {
            writeln!(text, "  {} {}", if reference.part { "part of" } else { "after" }, reference.to).unwrap();
        }
    }
    for problem in problems {
        let place = problem.source.map(|s| format!(" at {s}")).unwrap_or_default();
        writeln!(text, "{} {}{place}: {}", problem.severity, problem.code, problem.message).unwrap();
    }
    text
}
