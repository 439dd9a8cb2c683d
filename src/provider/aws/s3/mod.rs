//! S3: its kinds and its client.

pub(in crate::provider) mod bucket;
pub(in crate::provider) mod bucket_policy;
#[cfg(feature = "cloud")]
mod client;

#[cfg(feature = "cloud")]
pub use client::client;
