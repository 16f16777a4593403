//! A log that is a stream, and what keeps it small.
//!
//! What the log knows of the stream is a copy: it grows with acknowledgements, and a task asks the
//! server now and then, purges what retention asks for, and notices what others did.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, State as StreamState};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::names;
use super::publish::{MAX_BATCH, MAX_PENDING_BYTES};
use super::queue::{Queue, Refused, Unit};
use super::read;
use super::stream::Template;
use super::unavailable;
use crate::clock::Clock;
use crate::event::Event;
use crate::log::{
    AppendError, Commit, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit, Retention,
};

/// Why appends fail while there is no connection.
pub(super) const UNREACHABLE: &str = "the NATS server cannot be reached";

/// What the log and its tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    made: Made,
    /// What the stream is to be made like, where that is not done yet.
    wanted: Mutex<Option<Template>>,
    clock: Arc<dyn Clock>,
    tail: watch::Sender<Offset>,
    pending: AtomicUsize,
    /// Whether there is a connection to publish on.
    reachable: AtomicBool,
    state: Mutex<State>,
    /// The retention, or what was released, or the tail has changed.
    changed: Notify,
    closed: CancellationToken,
}

/// Where a log is kept, and what it is called there.
#[derive(Clone, Debug)]
pub(super) struct Place {
    context: Arc<ArcSwap<Context>>,
    pub(super) prefix: String,
    pub(super) stream: String,
    pub(super) subject: String,
}

/// A stream that was made or found.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) place: Place,
    /// What it was made like.
    pub(super) template: Template,
    /// The installation that it belongs to.
    pub(super) owner: String,
}

impl Place {
    pub(super) fn new(context: &Arc<ArcSwap<Context>>, prefix: &str, stream: String) -> Self {
        Self {
            context: Arc::clone(context),
            prefix: prefix.to_owned(),
            subject: names::subject(&stream),
            stream,
        }
    }

    /// The way to the servers, which may be another one the next time.
    pub(super) fn context(&self) -> Arc<Context> {
        self.context.load_full()
    }
}

#[derive(Debug)]
struct State {
    first: Offset,
    messages: u64,
    bytes: u64,
    /// When the oldest event was accepted.
    oldest: Option<Timestamp>,
    released: Offset,
    retention: Retention,
    expired_unread: u64,
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The empty range at the end.
    pub(super) fn end(&self) -> Range<Offset> {
        let tail = *self.tail.borrow();
        tail..tail
    }

    /// Appends were acknowledged, with so many events and bytes that were not there before, the last of
    /// them before `end`.
    pub(super) fn committed(&self, end: Offset, events: u64, bytes: u64) {
        if events > 0 {
            let mut state = self.state.lock();
            state.messages += events;
            state.bytes += bytes;
            state.oldest.get_or_insert_with(|| self.clock.now());
        }
        self.advance(end);
    }

    pub(super) fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::Relaxed);
    }

    fn advance(&self, to: Offset) {
        self.tail.send_if_modified(|tail| {
            let moves = to > *tail;
            *tail = to.max(*tail);
            moves
        });
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.pending.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes over what the server says. `quiet` when no append was under way meanwhile, so that
    /// all that is there was acknowledged or is somebody else's.
    pub(super) fn observe(&self, seen: &StreamState, quiet: bool) {
        {
            let mut state = self.state.lock();
            state.first = match seen.messages {
                0 => seen.last_sequence,
                _ => seen.first_sequence.saturating_sub(1),
            };
            state.messages = seen.messages;
            state.bytes = seen.bytes;
            if seen.messages == 0 {
                state.oldest = None;
            }
        }
        if quiet {
            self.advance(seen.last_sequence);
        }
    }

    /// The offsets from the oldest event to the end, and when the oldest was accepted, if known.
    pub(super) fn kept(&self) -> (Range<Offset>, Option<Timestamp>) {
        let state = self.state.lock();
        (state.first..*self.tail.borrow(), state.oldest)
    }

    /// Remembers when the oldest event was accepted.
    pub(super) fn set_oldest(&self, oldest: Option<Timestamp>) {
        self.state.lock().oldest = oldest;
    }

    /// The retention, and below which offset it may remove.
    pub(super) fn retention(&self) -> (Retention, Offset) {
        let state = self.state.lock();
        let free = if state.retention.protect {
            state.released
        } else {
            Offset::MAX
        };
        (state.retention, free)
    }

    /// Everything below `up_to` was removed.
    pub(super) fn removed(&self, up_to: Offset) {
        let mut state = self.state.lock();
        let needed = state.first.max(state.released);
        state.expired_unread += up_to.saturating_sub(needed);
        state.first = state.first.max(up_to);
        state.oldest = None;
        if state.first >= *self.tail.borrow() {
            // The next look would say so too.
            (state.messages, state.bytes) = (0, 0);
        }
    }

    /// How many events and bytes are kept.
    pub(super) fn size(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.messages, state.bytes)
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.pending.load(Ordering::Relaxed) == 0
    }

    pub(super) fn tail(&self) -> watch::Receiver<Offset> {
        self.tail.subscribe()
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    pub(super) fn place(&self) -> &Place {
        &self.made.place
    }

    /// What the stream was made like, or is being made like.
    fn template(&self) -> Template {
        let wanted = self.wanted.lock().clone();
        wanted.unwrap_or_else(|| self.made.template.clone())
    }

    /// Asks for the stream to be made like something else. Its name stays.
    pub(super) fn set_template(&self, template: &Template) {
        if self.template() != *template {
            *self.wanted.lock() = Some(template.clone());
            self.changed.notify_one();
        }
    }

    /// The configuration that the stream of `log` should have.
    pub(super) fn config(&self, log: &str) -> Config {
        self.template()
            .config(&self.made.place.stream, log, &self.made.owner)
    }

    /// The first offset whose event was accepted at `time` or later, by bisection: a log's events
    /// are accepted in the order of their offsets.
    pub(super) async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let (kept, _) = self.kept();
        let (mut low, mut high) = (kept.start, kept.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match read::one(self.place(), middle, kept.end).await? {
                Some((offset, accepted)) if accepted < time => low = offset + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

/// A log in a stream.
#[derive(Debug)]
pub(super) struct JetStreamLog {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
}

impl JetStreamLog {
    /// The log of a stream that the server described, until `closed` is cancelled.
    pub(super) fn new(
        made: Made,
        seen: &StreamState,
        retention: Retention,
        clock: Arc<dyn Clock>,
        closed: CancellationToken,
    ) -> Arc<Self> {
        let state = State {
            first: 0,
            messages: 0,
            bytes: 0,
            oldest: None,
            released: 0,
            retention,
            expired_unread: 0,
        };
        let shared = Arc::new(Shared {
            made,
            wanted: Mutex::new(None),
            clock,
            tail: watch::Sender::new(0),
            pending: AtomicUsize::new(0),
            reachable: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Notify::new(),
            closed,
        });
        shared.observe(seen, true);
        let queue = Arc::default();
        Arc::new(Self { shared, queue })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What its publisher is to send.
    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    fn take(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        let bytes = events.iter().map(Event::size).sum();
        let shared = &self.shared;
        let before = shared.pending.fetch_add(bytes, Ordering::Relaxed);
        let refuse = |error| {
            shared.give_back(bytes);
            Err(error)
        };
        // One append always fits, so that none is refused for ever.
        if before > 0 && before + bytes > MAX_PENDING_BYTES {
            return refuse(AppendError::Busy {
                pending_bytes: before,
            });
        }
        let (done, outcome) = oneshot::channel();
        let unit = Unit {
            events,
            bytes,
            done,
        };
        match self.queue.push(unit) {
            Ok(()) => Ok(Commit::waiting(outcome)),
            Err(Refused::Full) => refuse(AppendError::Busy {
                pending_bytes: before,
            }),
            Err(Refused::Closed) => refuse(closed()),
        }
    }
}

fn closed() -> AppendError {
    AppendError::Closed {
        reason: "it was removed, or the process is ending".into(),
    }
}

#[async_trait]
impl Log for JetStreamLog {
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        let shared = &self.shared;
        if shared.closed.is_cancelled() {
            return Err(closed());
        }
        if events.is_empty() {
            return Ok(Commit::ready(Ok(shared.end())));
        }
        if events.len() > MAX_BATCH {
            return Err(AppendError::TooMany {
                events: events.len(),
                limit: MAX_BATCH,
            });
        }
        if !shared.reachable.load(Ordering::Relaxed) {
            return Err(unavailable(UNREACHABLE));
        }
        self.take(events)
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        let shared = &self.shared;
        if shared.closed.is_cancelled() {
            return Err(ReadError::Closed);
        }
        let tail = *shared.tail.borrow();
        if from > tail {
            return Err(ReadError::PastEnd { from, next: tail });
        }
        if from == tail {
            let next = from;
            return Ok(ReadBatch {
                next,
                ..ReadBatch::default()
            });
        }
        read::batch(shared.place(), from, tail, limit).await
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.shared.tail.subscribe()
    }

    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        self.shared.offset_at(time).await
    }

    fn release(&self, up_to: Offset) {
        let end = *self.shared.tail.borrow();
        let mut state = self.shared.state.lock();
        // What comes later is not released by what was said before it came.
        state.released = state.released.max(up_to.min(end));
        drop(state);
        self.shared.changed.notify_one();
    }

    fn set_retention(&self, retention: Retention) {
        self.shared.state.lock().retention = retention;
        self.shared.changed.notify_one();
    }

    fn stats(&self) -> LogStats {
        let next = *self.shared.tail.borrow();
        let state = self.shared.state.lock();
        LogStats {
            first: state.first,
            next,
            bytes: state.bytes,
            held_bytes: state.held(self.shared.clock.now()),
            damaged: 0,
            expired_unread: state.expired_unread,
        }
    }
}

impl State {
    /// About how many bytes are past the retention, but still needed.
    fn held(&self, now: Timestamp) -> u64 {
        if !self.retention.protect || self.released > self.first || self.messages == 0 {
            return 0;
        }
        let too_much = self
            .retention
            .max_bytes
            .map_or(0, |max| self.bytes.saturating_sub(max));
        let too_old = self.retention.max_age.is_some_and(|max| {
            let age = self.oldest.map(|oldest| now.duration_since(oldest));
            let max = SignedDuration::try_from(max).unwrap_or(SignedDuration::MAX);
            age.is_some_and(|age| age > max)
        });
        // How many are too old is not known here; one is, at least.
        too_much.max(if too_old {
            self.bytes / self.messages
        } else {
            0
        })
    }
}
