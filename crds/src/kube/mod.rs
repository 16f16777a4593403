//! The small runtime of Heddle's controllers, over a `kube::Client`.
//!
//! Watches ([`watch`](mod@watch)) feed what controllers know and push [`queue`] keys; a pure plan decides
//! what to do about a key; a [`writer`] carries out what is to be written. Nothing here knows whether
//! the client leads to a cluster or to the embedded API.

mod diff;
mod guard;
pub mod queue;
pub mod watch;
pub mod writer;

#[cfg(test)]
mod tests;
