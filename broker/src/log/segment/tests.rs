//! The store under test: the laws, then what can go wrong with a disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conformance;
