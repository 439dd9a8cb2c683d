//! The register of the doubles of kinds, each in `double.rs` beside its kind. The library does not contain them.

use crate::double::Double;

#[path = "../../src/provider/aws/eks/access_entry/double.rs"]
pub mod access_entry;
#[path = "../../src/provider/aws/eks/addon/double.rs"]
pub mod addon;
#[path = "../../src/provider/aws/s3/bucket/double.rs"]
pub mod bucket;
#[path = "../../src/provider/aws/s3/bucket_policy/double.rs"]
pub mod bucket_policy;
#[path = "../../src/provider/aws/kms/key/double.rs"]
pub mod key;
#[path = "../../src/provider/aws/kms/key_policy/double.rs"]
pub mod key_policy;
#[path = "../../src/provider/kubernetes/namespace/double.rs"]
pub mod namespace;
#[path = "../../src/provider/aws/iam/oidc_provider/double.rs"]
pub mod oidc_provider;
#[path = "../../src/provider/aws/eks/pod_identity_association/double.rs"]
pub mod pod_identity_association;
#[path = "../../src/provider/aws/iam/policy/double.rs"]
pub mod policy;
#[path = "../../src/provider/aws/iam/role/double.rs"]
pub mod role;
#[path = "../../src/provider/aws/iam/role_policy/double.rs"]
pub mod role_policy;
#[path = "../../src/provider/aws/iam/role_policy_attachment/double.rs"]
pub mod role_policy_attachment;
#[path = "../../src/provider/kubernetes/service_account/double.rs"]
pub mod service_account;
#[path = "../../src/provider/aws/shared_document/double.rs"]
pub mod shared_document;

/// The doubles of all registered kinds.
pub const ALL: &[&dyn Double] = &[
    &access_entry::AccessEntry,
    &addon::Addon,
    &bucket::Bucket,
    &bucket_policy::BucketPolicy,
    &key::Key,
    &key_policy::KeyPolicy,
    &oidc_provider::OidcProvider,
    &pod_identity_association::PodIdentityAssociation,
    &policy::ManagedPolicy,
    &role::Role,
    &role_policy::RolePolicy,
    &role_policy_attachment::RolePolicyAttachment,
    &namespace::Namespace,
    &service_account::ServiceAccount,
];
