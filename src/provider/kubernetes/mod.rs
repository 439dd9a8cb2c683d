//! Kinds of Kubernetes.
