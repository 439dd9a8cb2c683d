//! The Kubernetes kinds, and their shared code.

#[cfg(feature = "cloud")]
mod api;
#[cfg(feature = "cloud")]
mod client;
mod family;
pub(super) mod namespace;
#[cfg(all(test, feature = "cloud"))]
mod paged;
pub(super) mod service_account;

#[cfg(all(test, feature = "cloud"))]
pub(super) use client::with_cluster;

#[cfg(test)]
mod tests {
    use crate::access;
    use crate::diagnostic::Diagnostic;
    use crate::kind::{AnyKind, Erased, Kind, Resource};
    use crate::spec::{Facts, SourceFile, Spec, load};

    /// Loads a spec with these service accounts in one cluster, and one bucket that they read.
    pub(super) fn spec(accounts: &str) -> Spec {
        let names = accounts.lines().filter_map(|line| line.trim().split_once(':').map(|(name, _)| name));
        let grants: Vec<String> = names
            .filter(|name| *name != "idle")
            .map(|name| format!("  - {{ to: {name}, bucket: weights, prefix: \"m/\", access: read }}\n"))
            .collect();
        let grants = grants.concat();
        let text = format!(
            "version: 1\nproject: p\naccounts:\n  a: {{ id: \"111111111111\", region: us-west-2 }}\n\
             clusters:\n  prod: {{ account: a, name: prod-eks, context: prod }}\n\
             buckets:\n  weights: {{ account: a, name: weights }}\n\
             service_accounts:\n{accounts}grants:\n{grants}"
        );
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        spec.unwrap()
    }

    /// Returns the desired resources and problems of a kind for such a spec.
    pub(super) fn desired<K: Kind>(accounts: &str) -> (Vec<Resource>, Vec<Diagnostic>) {
        let spec = spec(accounts);
        let facts = Facts::placeholders(&spec);
        let asked = Erased::<K>::NEW.desire(&spec, &facts, &access::lower(&spec));
        (asked.resources, asked.problems)
    }
}
