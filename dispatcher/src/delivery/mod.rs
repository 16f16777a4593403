//! The way of one event to one consumer, as a pure state machine.
//!
//! A [`Delivery`] is told what came of the last thing that was done, and says what to do next. It
//! neither waits nor sends, and takes time and randomness as arguments, so that each rule of the
//! delivery specification is a table test.
//!
//! ```text
//!   Send --2xx--------------------------------------------------> Done
//!     |  --2xx with a reply--> Reply --taken--------------------> Done
//!     |                          | not taken: a failed attempt
//!     |  --failed, retries left--> WaitUntil --> Send
//!     v  final failure, or no retries left
//!   DeadLetter (where there is a sink) --2xx--------------------> Done
//!     |  --failed, retries left--> WaitUntil --> DeadLetter
//!     v  final failure, no retries left, or no sink
//!   Keep (the consumer's own dead letter log) --durable---------> Done
//!        --failed--> WaitUntil --> Keep, as long as it takes
//! ```
//!
//! # Laws
//!
//! 1. `Done` is only reached by a 2xx of the subscriber (with its reply, if any, taken), by a 2xx of
//!    the dead letter sink, or by a durable copy in the dead letter log: no event is lost silently.
//! 2. Each target is tried exactly `1 + retry` times, unless an answer is final.
//! 3. What [`Delivery`] serialises to is enough to go on after a restart, with the attempts made
//!    so far counted.

use std::time::Duration;

use heddle_broker::event::Event;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::DeliveryPolicy;

pub mod dead_letter;
pub mod retry;
#[cfg(test)]
mod tests;

/// The first wait after a dead letter log did not take an event; doubled with each more.
pub const KEEP_DELAY: Duration = Duration::from_secs(1);
/// The longest wait between two tries of a dead letter log.
pub const KEEP_DELAY_MAX: Duration = Duration::from_secs(60);

/// How much of an answer's body a dead letter tells, in bytes before base64.
pub const ERROR_DATA: usize = 1024;

/// Who is to take the event next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The subscriber.
    #[default]
    Subscriber,
    /// The dead letter sink.
    DeadLetter,
    /// The consumer's own dead letter log.
    Keep,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The URL that did not take the event, or its reply (`knativeerrordest`).
    pub destination: String,
    /// The status of the answer; 500 without a connection, 504 after a time-out, 502 for an answer
    /// that makes no sense (`knativeerrorcode`).
    pub code: u16,
    /// The start of the answer's body, or of the reason where there was none, at most
    /// [`ERROR_DATA`] bytes (`knativeerrordata`).
    pub data: Vec<u8>,
    /// What happened, for people.
    pub reason: String,
    /// Whether another attempt may help.
    pub retriable: bool,
    /// How long the answer asked to wait.
    pub retry_after: Option<Duration>,
}

/// What came of the last action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The event was taken, or the reply, or the dead letter is durable.
    Taken,
    /// The subscriber took the event and answered with this one.
    Replied(Box<Event>),
    /// It was not taken.
    Failed(Failure),
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The subscriber took the event.
    Delivered,
    /// The dead letter sink took it.
    DeadLettered,
    /// It is in the consumer's dead letter log.
    Kept,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the event to the subscriber.
    Send,
    /// Do nothing until then, then ask [`Delivery::resume`].
    WaitUntil(Timestamp),
    /// Send the event with the failure to the dead letter sink.
    DeadLetter,
    /// Send the reply to where replies go, and report what came of it.
    Reply(Box<Event>),
    /// Append the event with the failure to the dead letter log, and wait until it is durable.
    Keep,
    /// The event may leave the backlog.
    Done(End),
}

/// Where one event stands on its way to one consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Who is to take it.
    pub stage: Stage,
    /// Attempts that failed in this stage.
    pub attempts: u32,
    /// When to go on; `None` for at once.
    pub due: Option<Timestamp>,
    /// Why the subscriber did not take it. Only set in the stages after the subscriber's.
    pub failure: Option<Failure>,
}

impl Delivery {
    /// What to do now, at the start, after a restart or after a wait. `sink` says whether there
    /// is a dead letter sink, which may have come or gone since.
    pub fn resume(&mut self, sink: bool) -> Action {
        self.due = None;
        match (self.stage, sink) {
            (Stage::Subscriber, _) => Action::Send,
            (Stage::DeadLetter, false) | (Stage::Keep, false) => self.enter(Stage::Keep),
            (Stage::DeadLetter, true) => Action::DeadLetter,
            (Stage::Keep, true) => Action::Keep,
        }
    }

    /// Why the subscriber did not take the event, for its dead letter.
    #[must_use]
    pub fn reason(&self) -> Failure {
        let unknown = || Failure {
            destination: String::new(),
            code: 500,
            data: Vec::new(),
            reason: "unknown".to_owned(),
            retriable: false,
            retry_after: None,
        };
        self.failure.clone().unwrap_or_else(unknown)
    }

    /// What to do after the last action had this outcome. `random` is from `0.0..1.0`.
    pub fn on(
        &mut self,
        outcome: Outcome,
        policy: &DeliveryPolicy,
        sink: bool,
        now: Timestamp,
        random: f64,
    ) -> Action {
        match (self.stage, outcome) {
            (Stage::Subscriber, Outcome::Replied(reply)) => Action::Reply(reply),
            (Stage::Subscriber, Outcome::Taken) => Action::Done(End::Delivered),
            (Stage::DeadLetter, Outcome::Taken | Outcome::Replied(_)) => {
                Action::Done(End::DeadLettered)
            }
            (Stage::Keep, Outcome::Taken | Outcome::Replied(_)) => Action::Done(End::Kept),
            (Stage::Keep, Outcome::Failed(_)) => self.wait(keep_delay(self.attempts), now),
            (Stage::Subscriber, Outcome::Failed(failure)) => {
                if let Some(wait) = self.retry(&failure, policy, random) {
                    return self.wait(wait, now);
                }
                self.failure = Some(failure);
                self.enter(if sink { Stage::DeadLetter } else { Stage::Keep })
            }
            (Stage::DeadLetter, Outcome::Failed(failure)) => {
                match self.retry(&failure, policy, random) {
                    Some(wait) => self.wait(wait, now),
                    None => self.enter(Stage::Keep),
                }
            }
        }
    }

    /// The wait before the next attempt in this stage, where there may be one.
    fn retry(&self, failure: &Failure, policy: &DeliveryPolicy, random: f64) -> Option<Duration> {
        let allowed = failure.retriable && self.attempts < policy.retry;
        let retry = self.attempts.saturating_add(1);
        allowed.then(|| retry::wait(policy, retry, failure.retry_after, random))
    }

    fn wait(&mut self, wait: Duration, now: Timestamp) -> Action {
        self.attempts = self.attempts.saturating_add(1);
        let until = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        self.due = Some(until);
        Action::WaitUntil(until)
    }

    fn enter(&mut self, stage: Stage) -> Action {
        if self.stage != stage {
            self.stage = stage;
            self.attempts = 0;
        }
        self.due = None;
        match stage {
            Stage::Subscriber => Action::Send,
            Stage::DeadLetter => Action::DeadLetter,
            Stage::Keep => Action::Keep,
        }
    }
}

fn keep_delay(tries: u32) -> Duration {
    KEEP_DELAY
        .saturating_mul(2u32.saturating_pow(tries))
        .min(KEEP_DELAY_MAX)
}
