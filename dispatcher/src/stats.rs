//! How a consumer is doing, for people and for gauges.

use std::sync::atomic::{AtomicU64, Ordering};

use heddle_broker::log::Offset;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::feed::{Counts, FilterTrouble};

/// The state of one consumer at one moment. Counts are since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConsumerStats {
    /// Everything below this offset is done; with several partitions, the sum of theirs.
    pub position: Offset,
    /// Everything below this offset has been looked at; with several partitions, the sum of theirs.
    pub next: Offset,
    /// Events not delivered or not looked at.
    pub backlog: u64,
    /// When the log accepted the oldest event that was taken and is not delivered.
    pub oldest_undelivered: Option<Timestamp>,
    /// Attempts under way.
    pub in_flight: usize,
    /// Events that wait for their next attempt.
    pub waiting_retry: usize,
    /// Events in memory that are not done with, in flight and waiting ones included.
    pub held: usize,
    /// Bytes of events in memory.
    pub held_bytes: usize,
    /// Whether it keeps up and shares the reading with others.
    pub following: bool,
    /// Events looked at.
    pub seen: u64,
    /// Events wanted.
    pub matched: u64,
    /// Events on which the filter met an error. Those that the index rules out are not evaluated.
    pub filter_errors: u64,
    /// The last of them, for people.
    pub last_filter_error: Option<String>,
    /// Events that the subscriber took.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Events that the dead letter sink took.
    pub dead_lettered: u64,
    /// Events put into the consumer's own dead letter log.
    pub kept: u64,
    /// Events in that log that were not redriven, those of earlier runs included.
    pub dead_letters_kept: u64,
    /// Dead letters that were removed since the start, because they were too old or too many.
    pub dead_letters_expired: u64,
    /// Replies that were taken.
    pub replies: u64,
    /// Replies that were dropped because their TTL was used up.
    pub dropped_replies: u64,
    /// Events that were gone from the log before they were looked at or delivered.
    pub missing: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
}

impl ConsumerStats {
    /// Adds what another partition's part of the same consumer does, but for what they have in common.
    /// Positions are added up too: what they say together is how much has been done.
    pub(crate) fn add(&mut self, part: Self) {
        self.position += part.position;
        self.next += part.next;
        self.backlog += part.backlog;
        let oldest = [self.oldest_undelivered, part.oldest_undelivered];
        self.oldest_undelivered = oldest.into_iter().flatten().min();
        self.in_flight += part.in_flight;
        self.waiting_retry += part.waiting_retry;
        self.held += part.held;
        self.held_bytes += part.held_bytes;
        self.following &= part.following;
        self.seen += part.seen;
        self.matched += part.matched;
        self.filter_errors += part.filter_errors;
        self.last_filter_error = self.last_filter_error.take().or(part.last_filter_error);
        self.delivered += part.delivered;
        self.failed_attempts += part.failed_attempts;
        self.replies += part.replies;
        self.missing += part.missing;
        self.last_error = self.last_error.take().or(part.last_error);
    }
}

/// What a consumer's task tells others, besides what is counted as a metric.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) delivered: AtomicU64,
    pub(crate) failed_attempts: AtomicU64,
    pub(crate) replies: AtomicU64,
    /// Events that were gone when they were to be read again.
    pub(crate) lost: AtomicU64,
    now: Mutex<Now>,
}

/// In boxes, as most consumers hold nothing, and have no trouble, for long.
#[derive(Debug, Default)]
struct Now {
    /// None while nothing is held.
    moment: Option<Box<Moment>>,
    last_error: Option<Box<str>>,
}

/// What changes all the time, as of the last turn of the consumer's task.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) held: usize,
    pub(crate) bytes: usize,
}

impl Board {
    /// Takes over what is held now, if anything.
    pub(crate) fn show(&self, moment: Option<Moment>) {
        let mut now = self.now.lock();
        match (now.moment.as_deref_mut(), moment) {
            (Some(shown), Some(moment)) => *shown = moment,
            (_, moment) => now.moment = moment.map(Box::new),
        }
    }

    /// Remembers a failure, for people.
    pub(crate) fn fail(&self, reason: &str) {
        self.now.lock().last_error = Some(reason.into());
    }

    /// The statistics, but for what the position, the logs and the metrics know, from what was looked
    /// at.
    pub(crate) fn stats(
        &self,
        (counts, trouble): (Counts, Option<FilterTrouble>),
    ) -> ConsumerStats {
        let (moment, last_error) = {
            let now = self.now.lock();
            (now.moment.as_deref().copied(), now.last_error.clone())
        };
        let moment = moment.unwrap_or_default();
        ConsumerStats {
            oldest_undelivered: moment.oldest,
            in_flight: moment.in_flight,
            waiting_retry: moment.waiting,
            held: moment.held,
            held_bytes: moment.bytes,
            seen: counts.seen,
            matched: counts.matched,
            filter_errors: counts.errors,
            last_filter_error: trouble
                .map(|(offset, error)| format!("on the event at offset {offset}: {error}")),
            missing: counts.expired + counts.damaged + read(&self.lost),
            delivered: read(&self.delivered),
            failed_attempts: read(&self.failed_attempts),
            replies: read(&self.replies),
            last_error: last_error.map(String::from),
            ..ConsumerStats::default()
        }
    }
}

/// What was counted so far.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    count_by(counter, 1);
}

/// Adds some.
pub(crate) fn count_by(counter: &AtomicU64, some: u64) {
    counter.fetch_add(some, Ordering::Relaxed);
}
