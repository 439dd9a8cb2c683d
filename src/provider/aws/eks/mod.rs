//! EKS: its kinds, its client, and reads of clusters.

pub(in crate::provider) mod access_entry;
pub(in crate::provider) mod addon;
mod bound_account;
#[cfg(feature = "cloud")]
mod client;
#[cfg(feature = "cloud")]
mod cluster;
pub(in crate::provider) mod pod_identity_association;
#[cfg(feature = "cloud")]
mod tags;
#[cfg(feature = "cloud")]
mod token;

#[cfg(feature = "cloud")]
pub(in crate::provider) use cluster::access;
#[cfg(feature = "cloud")]
pub(super) use cluster::issuer;
