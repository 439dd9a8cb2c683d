//! S3: its client.

mod client;

pub use client::client;
