//! KMS: its kinds, its client, and the lookup of key ARNs.

#[cfg(feature = "cloud")]
mod alias;
#[cfg(feature = "cloud")]
mod client;
pub(in crate::provider) mod key;
pub(in crate::provider) mod key_policy;

#[cfg(feature = "cloud")]
pub(super) use alias::{describe, key_arn};
#[cfg(feature = "cloud")]
pub(super) use client::client;
