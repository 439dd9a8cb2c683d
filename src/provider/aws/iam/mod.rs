//! IAM: its kinds, its client, and the index that several kinds share.

#[cfg(all(test, feature = "cloud"))]
mod at_once;
#[cfg(feature = "cloud")]
mod client;
#[cfg(feature = "cloud")]
mod document;
#[cfg(feature = "cloud")]
mod held;
#[cfg(feature = "cloud")]
mod index;
pub(in crate::provider) mod oidc_provider;
mod overflow;
pub(in crate::provider) mod policy;
pub(in crate::provider) mod role;
pub(in crate::provider) mod role_policy;
pub(in crate::provider) mod role_policy_attachment;
#[cfg(feature = "cloud")]
mod tags;
