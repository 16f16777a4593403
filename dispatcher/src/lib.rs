//! From the log to the subscriber and back: cursors, retries, dead letters and replies.
//!
//! [`config`] says what a consumer is told.

pub mod config;
pub mod control;
