//! A log that is a partition of a topic.
//!
//! What the log knows of the partition is a copy: it grows with acknowledgements, and a task asks the
//! servers now and then (see [`upkeep`](super::upkeep)).

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::Offset as Place;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, PATIENCE};
use super::line::{self, Line};
use super::produce::{MAX_BYTES, MAX_LOG_BYTES, OVERHEAD, Unit};
use super::read::{self, Readers, io};
use super::topic::Topic;
use crate::event::Event;
use crate::log::{
    AppendError, Commit, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit, Retention,
};

/// Events of one append at the most.
const MAX_BATCH: usize = 10_000;

/// What a log, its readers and its appends share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cluster: Arc<Cluster>,
    pub(super) topic: Arc<Topic>,
    pub(super) partition: i32,
    pub(super) readers: Readers,
    tail: watch::Sender<Offset>,
    pending: AtomicUsize,
    pub(super) line: Line,
    state: Mutex<State>,
    closed: CancellationToken,
}

#[derive(Debug)]
struct State {
    first: Offset,
    /// When the oldest event was accepted.
    oldest: Option<Timestamp>,
    released: Offset,
    retention: Retention,
    expired_unread: u64,
    /// Events that passed through here, and their bytes.
    passed: (u64, u64),
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        self.cluster.clock.now()
    }

    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    fn give_back(&self, bytes: usize) {
        self.pending.fetch_sub(bytes, Ordering::AcqRel);
        self.cluster.pending.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// An append has an outcome.
    pub(super) fn settle(&self, outcome: &Result<Range<Offset>, AppendError>, bytes: usize) {
        if let Ok(offsets) = outcome {
            let now = self.now();
            let mut state = self.state.lock();
            state.passed.0 += offsets.end - offsets.start;
            state.passed.1 += bytes as u64;
            if state.first == *self.tail.borrow() {
                state.oldest = Some(now);
            }
            drop(state);
            self.advance(offsets.end);
            self.topic.changed.notify_one();
        }
        self.give_back(bytes);
    }

    fn advance(&self, to: Offset) {
        self.tail.send_if_modified(|tail| {
            let moves = to > *tail;
            *tail = to.max(*tail);
            moves
        });
    }

    /// Takes over where the partition begins and ends. `quiet` when no append was under way meanwhile, so
    /// that all that is there was acknowledged or is somebody else's.
    pub(super) fn observe(&self, first: Offset, end: Offset, quiet: bool) {
        let mut state = self.state.lock();
        if first > state.first {
            let needed = state.first.max(state.released);
            state.expired_unread += first.saturating_sub(needed);
            state.first = first;
            state.oldest = None;
        }
        drop(state);
        if quiet {
            self.advance(end);
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0
    }

    /// Asks the servers where the partition begins and ends.
    pub(super) async fn ends(&self) -> Result<(Offset, Offset), String> {
        let clients = self
            .cluster
            .clients()
            .map_err(|reason| reason.to_string())?;
        let quiet = self.is_quiet();
        let (first, end) = clients.ends(&self.topic.name, self.partition).await?;
        self.observe(first, end, quiet && self.is_quiet());
        Ok((first, end))
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

    /// About the bytes of one event.
    pub(super) fn mean(&self) -> u64 {
        self.state.lock().mean()
    }

    /// The first offset whose event was accepted at `time` or later.
    pub(super) async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let (kept, _) = self.kept();
        if kept.is_empty() {
            return Ok(kept.end);
        }
        let clients = self
            .cluster
            .clients()
            .map_err(|reason| ReadError::Io { reason })?;
        let (topic, partition) = (Arc::clone(&self.topic), self.partition);
        let asked = clients.ask(move |consumer| {
            let mut times = TopicPartitionList::with_capacity(1);
            let time = Place::Offset(time.as_millisecond().max(0));
            times.add_partition_offset(&topic.name, partition, time)?;
            let found = consumer.offsets_for_times(times, PATIENCE)?;
            let found = found.find_partition(&topic.name, partition);
            Ok(found.map(|found| found.offset()))
        });
        let found = asked.await.map_err(|reason| io(&reason))?;
        let mut at = match found {
            Some(Place::Offset(at)) => u64::try_from(at).unwrap_or_default(),
            _ => kept.end,
        };
        at = at.clamp(kept.start, kept.end);
        // Kafka knows milliseconds; within one, events that are too old are passed over.
        let limit = ReadLimit {
            records: 64,
            bytes: 64 << 10,
        };
        while at < kept.end {
            let batch = read::batch(self, at, kept.end, limit).await?;
            let found = batch.records.iter().find(|record| record.accepted >= time);
            match found {
                Some(record) => return Ok(record.offset),
                None => at = batch.next,
            }
        }
        Ok(kept.end)
    }
}

impl State {
    fn mean(&self) -> u64 {
        let (events, bytes) = self.passed;
        bytes.checked_div(events).unwrap_or(OVERHEAD as u64).max(1)
    }

    /// About how many bytes are past the retention, but still needed.
    fn held(&self, tail: Offset, now: Timestamp) -> u64 {
        if !self.retention.protect || self.released > self.first || self.first >= tail {
            return 0;
        }
        let bytes = (tail - self.first) * self.mean();
        let limit = self.retention.max_bytes;
        let too_much = limit.map_or(0, |max| bytes.saturating_sub(max));
        let too_old = self.retention.max_age.is_some_and(|max| {
            let age = self.oldest.map(|oldest| now.duration_since(oldest));
            let max = SignedDuration::try_from(max).unwrap_or(SignedDuration::MAX);
            age.is_some_and(|age| age > max)
        });
        // How many are too old is not known here; one is, at least.
        too_much.max(if too_old { self.mean() } else { 0 })
    }
}

/// A log in a partition.
#[derive(Debug)]
pub(super) struct KafkaLog(Arc<Shared>);

impl KafkaLog {
    /// The log of a partition that begins and ends there, until `closed` is cancelled.
    pub(super) fn new(
        cluster: &Arc<Cluster>,
        topic: &Arc<Topic>,
        partition: i32,
        (first, end): (Offset, Offset),
        retention: Retention,
        closed: CancellationToken,
    ) -> Self {
        let state = State {
            first,
            oldest: None,
            released: 0,
            retention,
            expired_unread: 0,
            passed: (0, 0),
        };
        Self(Arc::new(Shared {
            cluster: Arc::clone(cluster),
            topic: Arc::clone(topic),
            partition,
            readers: Readers::default(),
            tail: watch::Sender::new(end),
            pending: AtomicUsize::new(0),
            line: Line::default(),
            state: Mutex::new(state),
            closed,
        }))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Makes room for an append among those under way.
    fn reserve(&self, bytes: usize) -> Result<(), AppendError> {
        let (log, cluster) = (&self.0.pending, &self.0.cluster.pending);
        let in_log = log.fetch_add(bytes, Ordering::AcqRel);
        let in_cluster = cluster.fetch_add(bytes, Ordering::AcqRel);
        // One append always fits, so that none is refused for ever.
        let crowded = in_log > 0 && in_log + bytes > MAX_LOG_BYTES;
        if crowded || (in_log > 0 && in_cluster + bytes > MAX_BYTES) {
            self.0.give_back(bytes);
            return Err(AppendError::Busy {
                pending_bytes: in_cluster,
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        let shared = &self.0;
        if shared.closed.is_cancelled() {
            return Err(AppendError::Closed {
                reason: "it was removed, or the process is ending".into(),
            });
        }
        if events.is_empty() {
            let tail = *shared.tail.borrow();
            return Ok(Commit::ready(Ok(tail..tail)));
        }
        if events.len() > MAX_BATCH {
            return Err(AppendError::TooMany {
                events: events.len(),
                limit: MAX_BATCH,
            });
        }
        let limit = shared.topic.max_record;
        let sizes = events.iter().map(Event::size);
        if let Some(bytes) = sizes.clone().max().filter(|bytes| *bytes > limit) {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        let unavailable = |reason| AppendError::Unavailable { reason };
        shared.cluster.reach.check().map_err(unavailable)?;
        let bytes = sizes.sum::<usize>() + events.len() * OVERHEAD;
        self.reserve(bytes)?;
        let (unit, outcome) = Unit::new(shared, events.len(), bytes);
        line::add(shared, unit, events);
        Ok(Commit::waiting(outcome))
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        let shared = &self.0;
        if shared.closed.is_cancelled() {
            return Err(ReadError::Closed);
        }
        let (kept, _) = shared.kept();
        let tail = kept.end;
        if from > tail {
            return Err(ReadError::PastEnd { from, next: tail });
        }
        let mut batch = ReadBatch {
            next: from,
            ..ReadBatch::default()
        };
        if from < kept.start {
            batch.next = kept.start.min(tail);
            batch.gaps.push(crate::log::Gap {
                offsets: from..batch.next,
                reason: crate::log::GapReason::Expired,
            });
            return Ok(batch);
        }
        if from == tail {
            return Ok(batch);
        }
        let reading = read::batch(shared, from, tail, limit);
        let reading = shared.closed.run_until_cancelled(reading).await;
        reading.unwrap_or(Err(ReadError::Closed))
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.0.tail.subscribe()
    }

    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        self.0.offset_at(time).await
    }

    fn release(&self, up_to: Offset) {
        let end = *self.0.tail.borrow();
        let mut state = self.0.state.lock();
        // What comes later is not released by what was said before it came.
        state.released = state.released.max(up_to.min(end));
        drop(state);
        self.0.topic.changed.notify_one();
    }

    fn show(&self, consumer: &str, position: Offset) {
        self.0.cluster.shown.note(consumer, &self.0, position);
    }

    fn set_retention(&self, retention: Retention) {
        self.0.state.lock().retention = retention;
        self.0.topic.changed.notify_one();
    }

    fn stats(&self) -> LogStats {
        let next = *self.0.tail.borrow();
        let now = self.0.now();
        let state = self.0.state.lock();
        LogStats {
            first: state.first,
            next,
            bytes: next.saturating_sub(state.first) * state.mean(),
            held_bytes: state.held(next, now),
            damaged: 0,
            expired_unread: state.expired_unread,
        }
    }
}
