//! Who takes events: the seam between delivering and what it is delivered to.
//!
//! A [`Subscriber`] makes one attempt and says what came of it. It knows nothing of retries,
//! positions or replies, and never waits longer than it was told to. [`http`] posts to a URL,
//! [`local`] calls a handler in this process; a simulation brings its own.

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use heddle_broker::event::Event;

use crate::config::Format;

pub mod http;
pub mod local;
mod tls;

pub use local::LocalSubscribers;

/// One attempt to deliver one event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event, as it is to be sent.
    pub event: Event,
    /// Its content mode.
    pub format: Format,
    /// Attributes that are not sent.
    pub skip: &'static [&'static str],
    /// `Kn-Namespace`: where the Trigger or Subscription lives.
    pub namespace: HeaderValue,
    /// `Idempotency-Key`: the same for each attempt to deliver this event to this subscriber.
    pub idempotency_key: HeaderValue,
    /// Whether an event in the answer can be used (`Prefer: reply`). Where it cannot, the answer's
    /// body is not looked at.
    pub wants_reply: bool,
    /// The time that the attempt may take, the answer's body included.
    pub timeout: Duration,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// There was an answer.
    Answer(Answer),
    /// There was none.
    Problem(Problem),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or the start of it.
    pub body: Bytes,
    /// Whether `body` is all of it.
    pub completeness: Completeness,
}

/// How much of an answer's body there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All of it.
    Whole,
    /// The start of it: the rest was of no interest.
    Start,
    /// It was longer than this many bytes, which is the limit for replies.
    TooLong(usize),
    /// The connection broke before the end; the text says how.
    Broken(String),
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The subscriber was not reached, or the connection broke.
    #[error("no answer: {0}")]
    Connection(String),
    /// The time was over.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The event cannot be sent at all. Trying again does not help.
    #[error("cannot be sent: {0}")]
    Unsendable(String),
}

/// Makes delivery attempts.
#[async_trait]
pub trait Subscriber: Send + Sync + std::fmt::Debug + 'static {
    /// Makes one attempt, within [`Delivery::timeout`].
    async fn deliver(&self, delivery: Delivery) -> Outcome;
}
