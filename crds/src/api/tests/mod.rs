#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod access;
mod applying;
mod bad;
mod bad_rows;
mod bounds;
mod calls;
mod definitions;
mod deleting;
mod durable;
mod expiry;
mod fields;
mod judged;
mod memory;
mod model;
mod namespaces;
mod past;
mod propagation;
mod schemas;
mod served;
mod speed;
pub(crate) mod support;
mod updates;
mod versions;
mod warnings;
mod watching;
