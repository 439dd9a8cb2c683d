//! All kinds, one file each, and their register.

mod aws;
#[cfg(test)]
mod desired;
mod kubernetes;
#[cfg(all(test, feature = "cloud"))]
mod recorded;
#[cfg(test)]
mod tests;

#[cfg(feature = "cloud")]
pub use aws::s3::client as s3_client;
pub use aws::{ADDRESS_TAG, PROJECT_TAG, STATE_BUCKET};

use crate::kind::{AnyKind, Api, Erased, Kinds};
#[cfg(feature = "cloud")]
use crate::live::{AnyLive, Provider};

/// The S3 API, for which the environment may set an endpoint.
pub const S3: Api = aws::S3;

/// The register: one line for each kind.
macro_rules! register {
    ($($kind:ty),* $(,)?) => {
        /// Returns the pure halves of all kinds.
        #[must_use]
        pub fn kinds() -> Kinds<'static> {
            let kinds: Vec<&'static dyn AnyKind> = vec![$(&Erased::<$kind>::NEW),*];
            kinds.into_iter().collect()
        }

        /// Returns both halves of all kinds.
        #[cfg(feature = "cloud")]
        #[must_use]
        pub fn live() -> Vec<Box<dyn AnyLive>> {
            vec![$(Box::new(Erased::<$kind>::NEW)),*]
        }
    };
}

/// Returns the providers, which identify callers and read facts.
#[cfg(feature = "cloud")]
#[must_use]
pub fn providers() -> Vec<Box<dyn Provider>> {
    vec![Box::new(aws::Aws)]
}

register![
    aws::eks::access_entry::AccessEntry,
    aws::eks::addon::Addon,
    aws::s3::bucket::Bucket,
    aws::s3::bucket_policy::BucketPolicy,
    aws::kms::key::Key,
    aws::kms::key_policy::KeyPolicy,
    aws::iam::oidc_provider::OidcProvider,
    aws::eks::pod_identity_association::PodIdentityAssociation,
    aws::iam::policy::ManagedPolicy,
    aws::iam::role::Role,
    aws::iam::role_policy::RolePolicy,
    aws::iam::role_policy_attachment::RolePolicyAttachment,
    kubernetes::namespace::Namespace,
    kubernetes::service_account::ServiceAccount,
];
