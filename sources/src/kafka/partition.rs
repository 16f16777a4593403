//! One partition of a topic, as a [`Log`] that is read and never written.
//!
//! While this process owns the partition in its consumer group, the dispatcher's machinery delivers
//! from it as it does from any other log; offsets are Kafka's own. [`Log::release`], which says that
//! everything below an offset is done with and that this is durable, is what the group is told.
//!
//! Records are taken from librdkafka's queue of the partition when they are asked for, so that what
//! is read ahead is bounded by that queue. Reading goes on where it was; a read from elsewhere (an
//! event that is tried again after its bytes were given back) seeks, and so does the next one.
//!
//! # Laws
//!
//! 1. A record is taken at most once between two seeks, and in order. A read that is given up half-way
//!    costs a seek, never a record.
//! 2. A hole between records (compaction, the end of a transaction) is a gap of no consequence. Records
//!    that retention removed before they were read are a gap that is counted as expired.
//! 3. After [`Partition::close`] nothing is read or released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use heddle_broker::event::Event;
use heddle_broker::log::{
    AppendError, Commit, Gap, GapReason, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit,
    Record, Retention,
};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::member::Session;
use super::record::Reader;

/// How long a read waits for records where there should be some.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a seek may take.
const SEEK: Duration = Duration::from_secs(10);
/// How long a read waits for records that were read before.
const AGAIN: Duration = Duration::from_secs(10);

/// Who has it reads, until it is dropped.
type Turn = OwnedMutexGuard<()>;

/// Where a partition is not known to be read: no record has this offset.
const NOWHERE: Offset = Offset::MAX;

/// See the module.
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    reader: Arc<RwLock<Reader>>,
    /// `None` when it is closed.
    queue: Mutex<Option<Queue>>,
    /// The offset of the next record in the queue, or [`NOWHERE`]. Changed by who has the turn.
    at: Arc<AtomicU64>,
    /// Held by who reads.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Tells who waits for records that there are some.
    arrived: Arc<Notify>,
    /// Tells who waits for records that somebody else wants to read.
    wanted: Notify,
    first: Offset,
    /// One past the last record that was taken from the queue, ever.
    seen: AtomicU64,
    /// Where there is something to be read: one past a record that is known of.
    tail: Arc<watch::Sender<Offset>>,
    released: AtomicU64,
    trouble: Trouble,
    tracker: TaskTracker,
}

/// Where records come from.
struct Queue {
    records: PartitionQueue<Session>,
    consumer: Arc<BaseConsumer<Session>>,
}

/// Why a session has to begin anew; the first reason counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(super) fn report(&self, reason: String) {
        self.0.lock().get_or_insert(reason);
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().take()
    }
}

/// What a [`Partition`] is opened with.
pub(super) struct Opened {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    pub(super) reader: Arc<RwLock<Reader>>,
    pub(super) records: PartitionQueue<Session>,
    pub(super) consumer: Arc<BaseConsumer<Session>>,
    /// The offset at which its assignment starts.
    pub(super) at: Offset,
    /// The oldest offset that is kept, and the one after the newest.
    pub(super) kept: (Offset, Offset),
    pub(super) trouble: Trouble,
    pub(super) tracker: TaskTracker,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partition({} {})", self.topic, self.number)
    }
}

impl Partition {
    pub(super) fn open(opened: Opened) -> Arc<Self> {
        let Opened {
            topic,
            number,
            reader,
            mut records,
            consumer,
            at,
            kept: (first, end),
            trouble,
            tracker,
        } = opened;
        let arrived = Arc::new(Notify::new());
        let tail = Arc::new(watch::Sender::new(end.max(at)));
        let at = Arc::new(AtomicU64::new(at));
        let tell = {
            let (arrived, tail, at) = (Arc::clone(&arrived), Arc::clone(&tail), Arc::clone(&at));
            // Called by a thread of the library's, which may not read here.
            move || {
                raise(&tail, at.load(Ordering::Acquire).saturating_add(1));
                arrived.notify_waiters();
            }
        };
        records.set_nonempty_callback(tell);
        Arc::new(Self {
            topic,
            number,
            reader,
            queue: Mutex::new(Some(Queue { records, consumer })),
            at,
            turn: Arc::default(),
            arrived,
            wanted: Notify::new(),
            first,
            seen: AtomicU64::new(0),
            tail,
            released: AtomicU64::new(0),
            trouble,
            tracker,
        })
    }

    /// Ends reading. Whoever reads hears that the log is closed.
    pub(super) fn close(&self) {
        let queue = self.queue.lock().take();
        self.arrived.notify_waiters();
        drop(queue);
    }

    /// Below this offset everything is done with, durably.
    pub(super) fn released(&self) -> Offset {
        self.released.load(Ordering::Acquire)
    }

    /// The servers say that the partition ends there.
    pub(super) fn ends_at(&self, end: Offset) {
        raise(&self.tail, end);
    }

    /// Goes to `from`, where reading is not there already.
    async fn go_to(&self, from: Offset, turn: Turn) -> Result<Turn, ReadError> {
        let consumer = match &*self.queue.lock() {
            None => return Err(ReadError::Closed),
            Some(_) if self.at.load(Ordering::Acquire) == from => return Ok(turn),
            Some(queue) => Arc::clone(&queue.consumer),
        };
        let offset = i64::try_from(from).map_err(|_| ReadError::PastEnd {
            from,
            next: *self.tail.borrow(),
        })?;
        let (topic, number, at) = (Arc::clone(&self.topic), self.number, Arc::clone(&self.at));
        // It ends even where nobody waits for it any more, and keeps the turn until then: two seeks at
        // once would leave it open where the queue stands.
        let seek = self.tracker.spawn_blocking(move || {
            at.store(NOWHERE, Ordering::Release);
            consumer.seek(&topic, number, rdkafka::Offset::Offset(offset), SEEK)?;
            at.store(from, Ordering::Release);
            Ok::<_, KafkaError>(turn)
        });
        match seek.await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(error)) => Err(io(&error)),
            Err(error) => Err(io(&error)),
        }
    }

    /// Takes what the queue has, from `from` on, where reading is.
    fn take(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        let queue = self.queue.lock();
        let queue = queue.as_ref().ok_or(ReadError::Closed)?;
        let reader = self.reader.read();
        let mut batch = empty(from);
        let mut bytes = 0;
        while batch.records.len() < limit.records.max(1)
            && (bytes < limit.bytes || batch.records.is_empty())
        {
            let record = match queue.records.poll(Duration::ZERO) {
                Some(Ok(record)) => record,
                Some(Err(error)) => {
                    self.note(&error);
                    break;
                }
                None => {
                    self.seen(batch.next);
                    return Ok(batch);
                }
            };
            let offset = u64::try_from(record.offset()).unwrap_or_default();
            if offset < batch.next {
                continue;
            }
            missing(&mut batch, offset, GapReason::Absent);
            match reader.event(&record) {
                Ok((event, accepted)) => {
                    bytes += event.size();
                    batch.records.push(Record {
                        offset,
                        accepted,
                        event,
                    });
                    batch.next = offset + 1;
                }
                Err(error) => {
                    tracing::warn!(topic = &*self.topic, partition = self.number, offset, %error,
                        "a record cannot be an event");
                    missing(&mut batch, offset + 1, GapReason::Damaged);
                }
            }
            self.at.store(batch.next, Ordering::Release);
        }
        self.seen(batch.next);
        // There may be more, of which nothing will be told.
        raise(&self.tail, batch.next + 1);
        Ok(batch)
    }

    fn seen(&self, next: Offset) {
        self.seen.fetch_max(next, Ordering::AcqRel);
        raise(&self.tail, next);
    }

    fn note(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset) => {
                let (topic, number) = (&self.topic, self.number);
                self.trouble.report(format!(
                    "records of {topic} partition {number} were removed before they were read"
                ));
            }
            _ => tracing::debug!(topic = &*self.topic, partition = self.number, %error, "reading"),
        }
    }
}

#[async_trait]
impl Log for Partition {
    fn append(&self, _: Vec<Event>) -> Result<Commit, AppendError> {
        let reason = Arc::from("events are not written to the topic of a KafkaSource");
        Err(AppendError::Closed { reason })
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        if from < self.first {
            let mut batch = empty(from);
            missing(&mut batch, self.first, GapReason::Expired);
            return Ok(batch);
        }
        // Whoever waits at the end makes room.
        self.wanted.notify_waiters();
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        // What has been read before is there, and is waited for: an answer without it would mean that
        // it is gone.
        let again = from < self.seen.load(Ordering::Acquire);
        let deadline = Instant::now() + if again { AGAIN } else { PATIENCE };
        loop {
            let (arrived, wanted) = (self.arrived.notified(), self.wanted.notified());
            tokio::pin!(arrived, wanted);
            arrived.as_mut().enable();
            wanted.as_mut().enable();
            turn = self.go_to(from, turn).await?;
            let batch = self.take(from, limit)?;
            if batch.next > from {
                return Ok(batch);
            }
            tokio::select! {
                () = arrived => {}
                () = wanted, if !again => return Ok(batch),
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        if again {
            return Err(io("the servers did not answer in time"));
        }
        Ok(empty(from))
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.tail.subscribe()
    }

    async fn offset_at(&self, _: Timestamp) -> Result<Offset, ReadError> {
        Err(io("a KafkaSource starts at the position of its group"))
    }

    fn release(&self, up_to: Offset) {
        self.released.fetch_max(up_to, Ordering::AcqRel);
    }

    fn set_retention(&self, _: Retention) {}

    fn stats(&self) -> LogStats {
        LogStats {
            first: self.first,
            next: *self.tail.borrow(),
            ..LogStats::default()
        }
    }
}

fn empty(at: Offset) -> ReadBatch {
    ReadBatch {
        next: at,
        ..ReadBatch::default()
    }
}

fn raise(tail: &watch::Sender<Offset>, to: Offset) {
    // Nobody is told of an offset that means nothing.
    tail.send_if_modified(|tail| {
        let higher = to > *tail && to != NOWHERE;
        if higher {
            *tail = to;
        }
        higher
    });
}

/// Ends the batch at `up_to`, where there are no records before it.
fn missing(batch: &mut ReadBatch, up_to: Offset, reason: GapReason) {
    if up_to > batch.next {
        let offsets = batch.next..up_to;
        batch.gaps.push(Gap { offsets, reason });
        batch.next = up_to;
    }
}

fn io(reason: &(impl ToString + ?Sized)) -> ReadError {
    ReadError::Io {
        reason: reason.to_string().into(),
    }
}
