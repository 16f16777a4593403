//! The small runtime of Heddle's controllers, over a `kube::Client`.
//!
//! A controller reads from indexes that [`watch`](mod@watch) feeds, decides in a pure function,
//! and acts through [`apply`] (children) and [`status`] (status). Nothing here knows whether the
//! client leads to a cluster or to the embedded API.

pub mod apply;
mod diff;
pub mod status;
pub mod watch;

#[cfg(test)]
mod tests;
