//! The log: what keeps events between the producer's 2xx and the subscriber's.
//!
//! A [`Log`] belongs to one broker or channel. It numbers the events that it keeps with offsets
//! that grow by one, and answers reads from any offset that it still has. A [`LogStore`] opens
//! logs by name and decides how they are kept.
//!
//! ```text
//!            first                          next
//!              |                              |
//!   ...gone    v   kept, durable, readable    v   enqueued, not yet durable
//!  ------------+------------------------------+-----------------
//! ```
//!
//! # Laws
//!
//! Every backend passes `suite.rs`, which checks these:
//!
//! 1. *Durable.* A resolved [`Commit`] means that its events are kept as the backend promises
//!    (`memory`: until the process ends; `segment`: fdatasync has returned for their bytes).
//! 2. *Whole.* The events of one append are kept all or none, at consecutive offsets.
//! 3. *Ordered.* Appends of one caller, each made after the one before it returned, have growing
//!    offsets, whether or not their commits were awaited.
//! 4. *Visible after commit.* A read never returns an event whose commit has not resolved
//!    successfully; `tail` moves only over committed events, in steps of whole appends.
//! 5. *Exact.* A read returns the bytes that were appended.
//! 6. *Continuous.* A batch that was read covers `[from, next)` without silence: every offset in it is
//!    either a record or inside a [`Gap`] that says why it is missing. Reading at `next`
//!    returns an empty batch; reading past it is an error.
//! 7. *Released, then trimmed.* What [`Log::release`] has not covered is never removed, unless
//!    the log's [`Retention::protect`] is false; each removal moves `first`.
//! 8. *Bounded.* Enqueued bytes have a limit; past it an append is refused with
//!    [`AppendError::Busy`] and nothing of it is kept. Logs that share the limit leave room for
//!    each other. Reads return at most what was asked for,
//!    but always at least one record where there is one.
//! 9. *Resuming.* After a reopen, `next` is one past the last committed event at least, and no
//!    offset is ever given to a second event, also not after a removal of all events.

pub mod absent;
pub mod chain;
pub mod gate;
#[cfg(feature = "jetstream")]
pub mod jetstream;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub mod partitions;
pub mod segment;
#[cfg(any(test, feature = "test-util"))]
pub mod suite;

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio_util::task::task_tracker::TaskTrackerToken;

pub use partitions::Partitions;

use crate::event::Event;

/// The position of an event in its log. The first event of a log has offset 0.
pub type Offset = u64;

/// One kept event.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it stands.
    pub offset: Offset,
    /// When the log accepted it.
    pub accepted: Timestamp,
    /// The event, as it was appended.
    pub event: Event,
}

/// How much one read may return.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// At most so many records.
    pub records: usize,
    /// About so many bytes of events: reading stops after the record that reaches it.
    pub bytes: usize,
}

/// What one read returned: everything in `[from, next)`.
#[derive(Clone, Debug, Default)]
pub struct ReadBatch {
    /// The records, by ascending offset.
    pub records: Vec<Record>,
    /// Ranges in which there are no records any more, by ascending offset.
    pub gaps: Vec<Gap>,
    /// Where to read on.
    pub next: Offset,
}

impl ReadBatch {
    /// Leaves out everything from an offset on.
    pub(crate) fn cut(&mut self, end: Offset) {
        self.records.retain(|record| record.offset < end);
        self.gaps.retain(|gap| gap.offsets.start < end);
        for gap in &mut self.gaps {
            gap.offsets.end = gap.offsets.end.min(end);
        }
        self.next = self.next.min(end);
    }
}

/// A range of offsets that holds no records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The offsets without records.
    pub offsets: Range<Offset>,
    /// Why.
    pub reason: GapReason,
}

/// Why offsets hold no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// Retention removed them.
    Expired,
    /// Their bytes were damaged; what is left of them is in quarantine.
    Damaged,
    /// There was nothing for a reader to miss: a server uses offsets for itself, or has compacted
    /// them away.
    Absent,
}

/// How long a log keeps events that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Remove the oldest events when the log holds more than this many bytes.
    pub max_bytes: Option<u64>,
    /// Remove events that were accepted longer ago than this.
    pub max_age: Option<Duration>,
    /// Keep what has not been released (see [`Log::release`]), whatever the two limits say.
    pub protect: bool,
}

impl Default for Retention {
    /// A gibibyte or seven days, whichever is reached first, and nothing that is still needed.
    fn default() -> Self {
        Self {
            max_bytes: Some(1 << 30),
            max_age: Some(Duration::from_secs(7 * 24 * 3600)),
            protect: true,
        }
    }
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// The oldest offset that can still be read.
    pub first: Offset,
    /// The offset that the next event to be committed gets at least.
    pub next: Offset,
    /// Bytes of the events kept.
    pub bytes: u64,
    /// Bytes that retention would remove but may not, because they are still needed.
    pub held_bytes: u64,
    /// Events lost to damage since the log was opened.
    pub damaged: u64,
    /// Events that retention removed although they were still needed (`protect: false`).
    pub expired_unread: u64,
}

/// An append was not taken. Nothing of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too many bytes wait to become durable. Try again soon.
    #[error("the log is busy: {pending_bytes} bytes wait to be written")]
    Busy {
        /// Bytes that wait.
        pending_bytes: usize,
    },
    /// The log may keep no more: a bounded memory log whose events are still needed.
    #[error("the log is full: it holds {bytes} bytes that are still to be delivered")]
    Full {
        /// Bytes kept.
        bytes: u64,
    },
    /// The disk (or the quota for logs) has no room. Recovers by itself when there is room again.
    #[error("the disk that keeps the log is full")]
    DiskFull,
    /// One append is larger than the log can keep.
    #[error("{bytes} bytes are more than the log takes at once ({limit})")]
    TooLarge {
        /// Bytes of the append.
        bytes: usize,
        /// The largest append that is taken.
        limit: usize,
    },
    /// One append has more events than the log can keep as a unit.
    #[error("{events} events are more than the log takes at once ({limit})")]
    TooMany {
        /// Events of the append.
        events: usize,
        /// The most that are taken.
        limit: usize,
    },
    /// Where the log is kept cannot be reached for now. Whether the events were kept is not
    /// known where the append was under way already.
    #[error("the log cannot be reached: {reason}")]
    Unavailable {
        /// Why, for people.
        reason: Arc<str>,
    },
    /// The log no longer takes appends; `reason` says why. Only a restart helps.
    #[error("the log does not accept events: {reason}")]
    Closed {
        /// Why, for people.
        reason: Arc<str>,
    },
}

/// A read could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The offset has not been reached yet.
    #[error("offset {from} is past the end of the log ({next})")]
    PastEnd {
        /// The offset asked for.
        from: Offset,
        /// The end.
        next: Offset,
    },
    /// The device failed. May be tried again.
    #[error("the log could not be read: {reason}")]
    Io {
        /// What the system said.
        reason: Arc<str>,
    },
    /// The log was removed or its store closed.
    #[error("the log is closed")]
    Closed,
}

/// A promise that an append becomes durable. Awaiting it is how a caller learns that it has.
///
/// Dropping it does not take the append back.
#[derive(Debug)]
pub struct Commit {
    state: CommitState,
    /// The end of the chain that it belongs to, if any.
    chain: Option<Arc<chain::Tail>>,
    /// Dropped with it, or as soon as it is resolved.
    held: Option<TaskTrackerToken>,
}

#[derive(Debug)]
enum CommitState {
    Ready(Option<Result<Range<Offset>, AppendError>>),
    Waiting(oneshot::Receiver<Result<Range<Offset>, AppendError>>),
}

impl Commit {
    /// A commit whose outcome is known.
    #[must_use]
    pub fn ready(outcome: Result<Range<Offset>, AppendError>) -> Self {
        CommitState::Ready(Some(outcome)).into()
    }

    /// A commit that resolves when `outcome` is sent. A dropped sender means a closed log.
    #[must_use]
    pub fn waiting(outcome: oneshot::Receiver<Result<Range<Offset>, AppendError>>) -> Self {
        CommitState::Waiting(outcome).into()
    }

    /// The same as one of a chain, whose offsets it gives, and whose end covers it when it is resolved.
    #[must_use]
    fn of_chain(self, tail: Arc<chain::Tail>) -> Self {
        let chain = Some(tail);
        Self { chain, ..self }
    }

    /// The same, holding something until it is resolved.
    #[must_use]
    pub(crate) fn holding(self, held: TaskTrackerToken) -> Self {
        let held = Some(held);
        Self { held, ..self }
    }
}

impl From<CommitState> for Commit {
    fn from(state: CommitState) -> Self {
        Self {
            state,
            chain: None,
            held: None,
        }
    }
}

impl Future for Commit {
    type Output = Result<Range<Offset>, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match &mut self.state {
            CommitState::Ready(outcome) => Poll::Ready(outcome.take().unwrap_or_else(closed)),
            CommitState::Waiting(receiver) => Pin::new(receiver)
                .poll(cx)
                .map(|outcome| outcome.unwrap_or_else(|_| closed())),
        };
        let polled = match &self.chain {
            Some(chain) => polled.map_ok(|offsets| {
                chain.advance();
                chain.count(offsets.start)..chain.count(offsets.end)
            }),
            None => polled,
        };
        if polled.is_ready() {
            self.held = None;
        }
        polled
    }
}

fn closed() -> Result<Range<Offset>, AppendError> {
    Err(AppendError::Closed {
        reason: "its writer has stopped".into(),
    })
}

/// An append-only sequence of events. See the module's laws.
#[async_trait]
pub trait Log: Send + Sync + std::fmt::Debug + 'static {
    /// Enqueues `events` as one unit. Never waits: a log that cannot take them says so.
    /// The unit is durable when the returned [`Commit`] resolves to its offsets.
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError>;

    /// Reads from `from` on. An offset below `first` is answered with a gap up to `first`.
    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError>;

    /// Follows `next`, the offset after the last committed event.
    fn tail(&self) -> watch::Receiver<Offset>;

    /// The first kept offset whose event was accepted at `time` or later; `next` if none was.
    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError>;

    /// Says that no reader needs anything below `up_to` any more. Never moves backwards.
    fn release(&self, up_to: Offset);

    /// Shows where a consumer stands, as `<kind>/<namespace>/<name>`, to people who look for it where the
    /// log is kept. Most have no place for that.
    fn show(&self, _consumer: &str, _position: Offset) {}

    /// Changes how long events are kept.
    fn set_retention(&self, retention: Retention);

    /// What the log holds now.
    fn stats(&self) -> LogStats;
}

/// A log could not be opened or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log {name}: {reason}")]
pub struct OpenError {
    /// The log's name.
    pub name: String,
    /// What went wrong, for people.
    pub reason: String,
    /// What is to be done about it.
    pub outlook: Outlook,
}

/// What is to be done about a log that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing: it is being looked up, or its servers cannot be reached, which their store reports.
    Opening,
    /// What stands in the way is somebody's to remove. The store tries again by itself.
    Waiting,
    /// What stands in the way is somebody's to remove, and whoever asked has to ask again.
    Failed,
}

impl OpenError {
    /// A log that is not opened before somebody asks again.
    #[must_use]
    pub fn failed(name: &str, reason: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            reason: reason.into(),
            outlook: Outlook::Failed,
        }
    }
}

/// Whether a store can keep its promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ready,
    /// It refuses appends for now, and recovers by itself.
    Degraded(String),
    /// It will not take appends again before a restart.
    Failed(String),
}

/// Opens logs by name.
pub trait LogStore: Send + Sync + std::fmt::Debug + 'static {
    /// Opens the log `name`, and creates it where there is none. Opening an open log returns the
    /// same one. A name is 1 to 512 bytes of any text.
    fn open(&self, name: &str, retention: Retention) -> Result<Arc<dyn Log>, OpenError>;

    /// Opens the log `name` with all of its partitions, where the store keeps several.
    fn open_all(&self, name: &str, retention: Retention) -> Result<Partitions, OpenError> {
        self.open(name, retention).map(Partitions::from)
    }

    /// Removes the log and all of its events. Removing what is not there is no error.
    fn remove(&self, name: &str) -> Result<(), OpenError>;

    /// Whether what keeps an open log goes with it when it is removed.
    fn owns(&self, _name: &str) -> bool {
        true
    }

    /// The names of all logs that are kept, open or not.
    fn names(&self) -> Vec<String>;

    /// Whether appends can succeed.
    fn health(&self) -> Health;
}

/// Checks the length of a log's name.
///
/// # Errors
///
/// It has less than 1 or more than 512 bytes.
pub fn check_name(name: &str) -> Result<(), OpenError> {
    if (1..=512).contains(&name.len()) {
        return Ok(());
    }
    let reason = format!("a name has 1 to 512 bytes, this one has {}", name.len());
    Err(OpenError::failed(name, reason))
}
