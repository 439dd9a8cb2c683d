//! IAM: its client, and what several of its kinds read at once.

mod client;
mod index;

pub(super) use client::client;
pub(super) use index::{Described, IamWants, Known, index, want};
