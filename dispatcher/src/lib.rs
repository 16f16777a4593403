//! From the log to the subscriber and back: cursors, retries, dead letters and replies.
//!
//! Read in this order: [`config`] (what a consumer is told), `consumer` (an event's way through
//! it), `feed` (who reads the log), `window` (what may be sent next), [`delivery`] (what happens to
//! one event), [`subscriber`] (who takes it), [`reply`] (what an answer means), [`cursor`] and
//! `positions` (how far it has come), [`redrive`] (what was given up, once more), [`dispatcher`] (all of them). Nothing here knows Kubernetes.

pub mod config;
mod consumer;
pub mod control;
pub mod cursor;
pub mod delivery;
pub mod dispatcher;
mod feed;
mod metrics;
mod positions;
mod quiet;
pub mod redrive;
pub mod reply;
mod route;
pub mod stats;
pub mod subscriber;
mod turns;
mod window;
mod wire;

pub use dispatcher::{ApplyError, DeadLetters, Dispatcher, DispatcherOptions};
pub use positions::{Durable, OpenError, Ticket};
pub use stats::ConsumerStats;
