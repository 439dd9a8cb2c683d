//! The APIs of AWS that have kinds, and where their objects may live.

use std::collections::BTreeSet;

use crate::access::{Instance, RoleRef};
use crate::address::Scope;
use crate::kind::Api;
use crate::spec::Spec;

pub(super) const EKS: Api = Api("eks");
pub(super) const IAM: Api = Api("iam");
pub(super) const KMS: Api = Api("kms");
pub(super) const S3: Api = Api("s3");

/// Every account, in its default region: where objects live whose names reach through a whole account.
pub(super) fn account_scopes(spec: &Spec) -> BTreeSet<Scope> {
    spec.accounts.keys().map(|account| spec.account_scope(account)).collect()
}

/// Every region of every account that the spec names.
pub(super) fn regional_scopes(spec: &Spec) -> BTreeSet<Scope> {
    let buckets = spec.buckets.values().map(|b| spec.regional_scope(&b.account, b.region(spec)));
    let keys = spec.keys.values().map(|k| spec.regional_scope(&k.account, k.region(spec)));
    let clusters = spec.clusters.values().map(|c| spec.regional_scope(&c.account, spec.cluster_region(c)));
    account_scopes(spec).into_iter().chain(buckets).chain(keys).chain(clusters).collect()
}

/// The id of the account that owns what is in a scope, and the partition that its ARNs begin with.
pub(super) fn owner(scope: &Scope) -> (&str, &'static str) {
    scope.as_aws().map_or(("", "aws"), |aws| (aws.id, aws.partition()))
}

/// The role in this account that a field of a body names.
pub(super) fn role_in(object: Instance<'_>, field: &str) -> RoleRef {
    RoleRef { account: owner(object.scope).0.to_owned(), name: object.body.field(field).unwrap_or_default() }
}
