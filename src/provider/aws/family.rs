//! The AWS APIs with kinds, and the scopes of their objects.

use std::collections::BTreeSet;

use crate::access::{Instance, RoleRef};
use crate::address::Scope;
use crate::kind::Api;
use crate::spec::Spec;

pub(super) const EKS: Api = Api("eks");
pub(super) const IAM: Api = Api("iam");
pub(super) const KMS: Api = Api("kms");
pub(in crate::provider) const S3: Api = Api("s3");
#[cfg(any(feature = "cloud", test))]
pub(super) const STS: Api = Api("sts");

/// Returns every account in its default region, for objects whose names are unique in an account.
pub(super) fn account_scopes(spec: &Spec) -> BTreeSet<Scope> {
    spec.accounts.keys().map(|account| spec.account_scope(account)).collect()
}

/// Returns every region of every account that the spec names.
pub(super) fn regional_scopes(spec: &Spec) -> BTreeSet<Scope> {
    let buckets = spec.buckets.values().map(|b| spec.regional_scope(&b.account, b.region(spec)));
    let keys = spec.keys.values().map(|k| spec.regional_scope(&k.account, k.region(spec)));
    let clusters = spec.clusters.values().map(|c| spec.regional_scope(&c.account, spec.cluster_region(c)));
    account_scopes(spec).into_iter().chain(buckets).chain(keys).chain(clusters).collect()
}

/// Returns the id of the account of a scope, and the partition in its ARNs.
pub(super) fn owner(scope: &Scope) -> (&str, &'static str) {
    scope.as_aws().map_or(("", "aws"), |aws| (aws.id, aws.partition()))
}

/// Returns a reference to the role of this name in the account of an object.
pub(super) fn role_named(object: Instance<'_>, name: Option<String>) -> RoleRef {
    RoleRef { account: owner(object.scope).0.to_owned(), name: name.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Environment, Rates, Session};
    use crate::spec::{PaceSpec, SourceFile, load};

    #[test]
    fn the_spec_sets_the_rates_of_every_api() {
        let apis = [IAM, S3, KMS, EKS, STS];
        let pace: Vec<String> = apis.iter().map(|api| format!("{}: {{ reads: 7 }}", api.0)).collect();
        let text = format!(
            "version: 1\nproject: p\naccounts: {{ a: {{ id: \"111111111111\", region: us-east-1, pace: {{ {} }} }} }}\n",
            pace.join(", ")
        );
        let (spec, problems) = load(&[SourceFile { name: "t.yaml".into(), text: text.into() }]);
        assert_eq!(problems, []);
        let session = Session::new(&spec.unwrap(), Environment::default());
        for api in apis {
            let rates = session.rates("111111111111", api, Rates { reads: 1.0, writes: 2.0 });
            assert_eq!(rates, Rates { reads: 7.0, writes: 2.0 }, "{api:?}");
        }
        assert_eq!(PaceSpec::default().rates().map(|(name, _)| name), apis.map(|api| api.0));
    }
}
