//! The laws of the index, on scripts drawn at random and on cases that once were hard.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod facts;
mod laws;
mod pairs;
mod properties;
