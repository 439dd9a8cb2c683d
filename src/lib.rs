//! Bailiwick: a plan/apply engine for access to data on AWS and Kubernetes.
//!
//! See ARCHITECTURE.md: layers that import downward only, a pure core, and I/O at the edge.

pub mod access;
pub mod address;
pub mod backend;
pub mod check;
pub mod cli;
pub mod desired;
pub mod diagnostic;
pub mod diff;
pub mod document;
pub mod engine;
pub mod event;
pub mod graph;
#[expect(missing_docs, reason = "variants such as `StringEquals` and fields such as `region` carry AWS's own names")]
pub mod iam;
pub mod kind;
pub mod live;
pub mod plan;
pub mod provider;
pub mod render;
pub mod report;
pub mod session;
pub mod snapshot;
pub mod spec;
pub mod state;
