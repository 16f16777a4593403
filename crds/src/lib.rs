//! Heddle's resource types, their admission, and the Kubernetes-style API that keeps them.
//!
//! This crate knows nothing of events. [`resource`] is the seam between the types and whatever
//! serves them.

pub mod api;
pub mod kube;
pub mod resource;
