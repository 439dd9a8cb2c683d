//! The AWS kinds by service, and their shared code.

#[cfg(feature = "cloud")]
mod account;
#[cfg(feature = "cloud")]
mod batch;
pub(super) mod eks;
#[cfg(feature = "cloud")]
mod errors;
#[cfg(feature = "cloud")]
mod facts;
mod family;
pub(super) mod iam;
pub(super) mod kms;
#[cfg(all(test, feature = "cloud"))]
mod paged;
pub(super) mod s3;
mod shared_document;
mod tags;

#[cfg(feature = "cloud")]
pub(super) use eks::access as cluster_access;
pub(super) use family::S3;
pub use tags::{ADDRESS_TAG, PROJECT_TAG};

#[cfg(feature = "cloud")]
use crate::diagnostic::Diagnostic;
#[cfg(feature = "cloud")]
use crate::live::{Boxed, Provider};
#[cfg(feature = "cloud")]
use crate::session::{Session, SessionError};
#[cfg(feature = "cloud")]
use crate::spec::{Facts, Spec};

/// The kind of buckets, which can hold a state.
pub const STATE_BUCKET: &str = <s3::bucket::Bucket as crate::kind::Kind>::NAME;

/// The provider for AWS accounts.
#[cfg(feature = "cloud")]
pub(super) struct Aws;

#[cfg(feature = "cloud")]
impl Provider for Aws {
    fn identify<'a>(&'a self, cloud: &'a Session) -> Boxed<'a, Vec<SessionError>> {
        Box::pin(account::identify(cloud))
    }

    fn facts<'a>(&'a self, cloud: &'a Session, spec: &'a Spec) -> Boxed<'a, (Facts, Vec<Diagnostic>)> {
        Box::pin(facts::read(cloud, spec))
    }
}
