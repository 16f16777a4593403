//! Batches, by a few readers a partition that remember where they are.
//!
//! Each of the cluster's [`LANES`] is a client that can read every partition at one place. A read goes to
//! the lane that stands where it begins, or else takes the lane that was used least recently there. So
//! all who have caught up share one fetch of each record, and those who are behind do not disturb them.
//!
//! The library delivers the records of a partition in the order of their offsets, so that a hole between
//! two of them is one: of compaction, or of a transaction. What retention has removed is no hole, as
//! the library refuses to begin below the oldest record. At the end it says so; whether that end is the tail's is asked of the servers,
//! as the library's word may be older than the newest record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::Offset as Place;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;

use super::access::Access;
use super::cluster::Consumer;
use super::context::Context;
use super::log::Shared;
use super::record;
use crate::log::{Gap, GapReason, Offset, ReadBatch, ReadError, ReadLimit, Record};

/// Readers of each partition.
pub(super) const LANES: usize = 3;
/// Records of one read at the most.
const MAX_RECORDS: usize = 1_024;
/// The longest that a read waits for its first record.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing comes after an end before the servers are asked about it.
const DOUBT: Duration = Duration::from_millis(300);
/// How often the servers have to confirm a hole at the end.
const PROOFS: usize = 2;

/// One of the clients that read.
pub(super) type Lane = Arc<Consumer>;

/// What readers are told.
pub(super) fn config(access: &Access) -> ClientConfig {
    let mut config = access.config();
    config
        // The library wants a group even where it is given its partitions. Nothing is ever committed.
        .set("group.id", "heddle-readers")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        // Never to be elsewhere than where it was told to be.
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "250")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.queue.backoff.ms", "5")
        // What is read ahead, for each partition that is read.
        .set("queued.min.messages", "2000")
        .set("queued.max.messages.kbytes", "512")
        .set("fetch.message.max.bytes", "524288")
        .set("fetch.max.bytes", "8388608");
    config
}

/// Lets a lane tell its news. Records do not come this way.
pub(super) fn serve(lane: &Lane) {
    for _ in 0..16 {
        match lane.poll(Duration::ZERO) {
            None => return,
            Some(Err(error)) => tracing::debug!(%error, "a Kafka reader"),
            Some(Ok(message)) => tracing::error!(
                topic = message.topic(),
                partition = message.partition(),
                offset = message.offset(),
                "a record came where none should come"
            ),
        }
    }
}

/// The readers of one partition.
#[derive(Debug, Default)]
pub(super) struct Readers {
    readers: [Mutex<Option<Reader>>; LANES],
    /// When each was used last, by count.
    used: [AtomicU64; LANES],
    uses: AtomicU64,
}

/// A lane at a place in a partition.
struct Reader {
    lane: Lane,
    queue: PartitionQueue<Context>,
    wake: Arc<Notify>,
    /// Where it stands, if it does.
    next: Option<Offset>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Readers {
    /// The reader to be used for a read from `from` on.
    async fn take(&self, from: Offset) -> (usize, MutexGuard<'_, Option<Reader>>) {
        let used = |lane: &usize| self.used[*lane].load(Ordering::Relaxed);
        let mut lanes: [usize; LANES] = std::array::from_fn(|lane| lane);
        lanes.sort_by_key(used);
        let stands =
            |reader: &Option<Reader>| reader.as_ref().is_some_and(|one| one.next == Some(from));
        let free = || {
            lanes
                .iter()
                .filter_map(|&lane| Some((lane, self.readers[lane].try_lock().ok()?)))
        };
        let mut found = free().find(|(_, reader)| stands(reader));
        if found.is_none() {
            found = free().next();
        }
        let (lane, reader) = match found {
            Some(found) => found,
            None => (lanes[0], self.readers[lanes[0]].lock().await),
        };
        let now = self.uses.fetch_add(1, Ordering::Relaxed) + 1;
        self.used[lane].store(now, Ordering::Relaxed);
        (lane, reader)
    }

    /// Ends all of them.
    pub(super) async fn close(&self, log: &Shared) {
        for reader in &self.readers {
            let reader = reader.lock().await.take();
            if let Some(reader) = reader {
                leave(&reader, log).await;
            }
        }
    }
}

fn place(log: &Shared, at: Option<Offset>) -> Result<TopicPartitionList, ReadError> {
    let mut list = TopicPartitionList::with_capacity(1);
    let at = at.map_or(Place::Invalid, |at| {
        Place::Offset(i64::try_from(at).unwrap_or(i64::MAX))
    });
    let added = list.add_partition_offset(&log.topic.name, log.partition, at);
    added.map_err(|error| io(&error))?;
    Ok(list)
}

/// Makes a reader stand nowhere.
async fn leave(reader: &Reader, log: &Shared) {
    let Ok(list) = place(log, None) else { return };
    let lane = Arc::clone(&reader.lane);
    let left = log
        .cluster
        .tracker
        .spawn_blocking(move || lane.incremental_unassign(&list));
    if let Ok(Err(error)) = left.await {
        tracing::debug!(%error, "a Kafka reader could not leave its partition");
    }
}

impl Reader {
    fn new(lane: Lane, log: &Shared) -> Result<Self, ReadError> {
        let queue = lane.split_partition_queue(&log.topic.name, log.partition);
        let mut queue = queue.ok_or_else(|| io("the partition cannot be read"))?;
        let wake = Arc::<Notify>::default();
        let waker = Arc::clone(&wake);
        queue.set_nonempty_callback(move || waker.notify_one());
        Ok(Self {
            lane,
            queue,
            wake,
            next: None,
        })
    }

    /// Goes to an offset. What it has read ahead elsewhere is dropped by the library.
    async fn go(&mut self, log: &Shared, to: Offset) -> Result<(), ReadError> {
        if self.next == Some(to) {
            return Ok(());
        }
        if self.next.is_some() {
            return self.seek(log, to);
        }
        let list = place(log, Some(to))?;
        let lane = Arc::clone(&self.lane);
        let tracker = &log.cluster.tracker;
        let assigned = tracker.spawn_blocking(move || lane.incremental_assign(&list));
        let assigned = assigned.await.map_err(|error| io(&error))?;
        assigned.map_err(|error| io(&error))?;
        self.next = Some(to);
        Ok(())
    }

    /// Asks for an offset, and does not wait for an answer.
    fn seek(&mut self, log: &Shared, to: Offset) -> Result<(), ReadError> {
        let place = Place::Offset(i64::try_from(to).unwrap_or(i64::MAX));
        let (topic, partition) = (&log.topic.name, log.partition);
        let sought = self.lane.seek(topic, partition, place, Duration::ZERO);
        sought.map_err(|error| io(&error))?;
        self.next = Some(to);
        Ok(())
    }

    /// Waits until something may have come, or until `deadline`.
    async fn wait(&self, deadline: Instant) {
        // Woken when the queue stops being empty; now and then anyway.
        let wake = tokio::time::timeout(DOUBT, self.wake.notified());
        let _either = tokio::time::timeout_at(deadline, wake).await;
    }
}

/// Reads from `from` on, never past `tail`.
pub(super) async fn batch(
    log: &Shared,
    from: Offset,
    tail: Offset,
    limit: ReadLimit,
) -> Result<ReadBatch, ReadError> {
    let clients = log
        .cluster
        .clients()
        .map_err(|reason| ReadError::Io { reason })?;
    let (lane, mut place) = log.readers.take(from).await;
    let reader = match &mut *place {
        Some(reader) => reader,
        empty => empty.insert(Reader::new(Arc::clone(&clients.lanes[lane]), log)?),
    };
    let mut reading = Reading::new(from, tail, limit);
    let outcome = reading.run(reader, log).await;
    if (outcome.is_err() || reading.broken)
        && let Some(reader) = place.take()
    {
        // Where it stands is not known: the next read begins anew.
        leave(&reader, log).await;
    }
    outcome.map(|()| reading.batch)
}

/// One read under way.
struct Reading {
    batch: ReadBatch,
    tail: Offset,
    records: usize,
    bytes: usize,
    size: usize,
    proofs: usize,
    /// The reader cannot go on.
    broken: bool,
}

impl Reading {
    fn new(from: Offset, tail: Offset, limit: ReadLimit) -> Self {
        Self {
            batch: ReadBatch {
                next: from,
                ..ReadBatch::default()
            },
            tail,
            records: limit.records.clamp(1, MAX_RECORDS),
            bytes: limit.bytes,
            size: 0,
            proofs: 0,
            broken: false,
        }
    }

    fn is_full(&self) -> bool {
        let records = self.batch.records.len();
        let enough = records >= self.records || (records > 0 && self.size >= self.bytes);
        enough || self.batch.next >= self.tail
    }

    async fn run(&mut self, reader: &mut Reader, log: &Shared) -> Result<(), ReadError> {
        let from = self.batch.next;
        reader.go(log, from).await?;
        let mut deadline = Instant::now() + PATIENCE;
        let mut ended: Option<Instant> = None;
        while !self.is_full() {
            let read = match reader.queue.poll(Duration::ZERO) {
                Some(Ok(message)) => self.take(&message, log)?,
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    ended = Some(Instant::now());
                    continue;
                }
                Some(Err(error)) => return self.failed(log, &error).await,
                None if self.batch.next > from => return Ok(()),
                None if ended.is_some_and(|at| at.elapsed() >= DOUBT) => {
                    ended = None;
                    self.doubt(reader, log).await?;
                    deadline = Instant::now() + PATIENCE;
                    continue;
                }
                None if Instant::now() >= deadline => {
                    return Err(io("the servers sent nothing in time"));
                }
                None => {
                    reader.wait(deadline).await;
                    continue;
                }
            };
            ended = None;
            match read {
                Some(next) => reader.next = Some(next),
                None => reader.seek(log, self.tail)?,
            }
        }
        Ok(())
    }

    /// Takes a record, and returns where to read on. `None` where the record is past the tail, below which
    /// there is nothing more then.
    fn take(
        &mut self,
        message: &BorrowedMessage<'_>,
        log: &Shared,
    ) -> Result<Option<Offset>, ReadError> {
        let offset = u64::try_from(message.offset()).map_err(|_| io("a record has no offset"))?;
        if offset < self.batch.next {
            return Err(io("a record came twice"));
        }
        if offset >= self.tail {
            self.missing(self.tail, GapReason::Absent);
            return Ok(None);
        }
        self.missing(offset, GapReason::Absent);
        match record::read(message) {
            Ok((event, accepted)) => {
                self.size += event.size();
                self.batch.next = offset + 1;
                self.batch.records.push(Record {
                    offset,
                    accepted,
                    event,
                });
            }
            Err(error) => {
                let (topic, partition) = (&log.topic.name, log.partition);
                tracing::debug!(topic, partition, offset, %error, "a record holds no event");
                self.missing(offset + 1, GapReason::Damaged);
            }
        }
        Ok(Some(offset + 1))
    }

    fn missing(&mut self, up_to: Offset, reason: GapReason) {
        let batch = &mut self.batch;
        if up_to <= batch.next {
            return;
        }
        let offsets = batch.next..up_to;
        batch.next = up_to;
        match batch.gaps.last_mut() {
            Some(last) if last.reason == reason && last.offsets.end == offsets.start => {
                last.offsets.end = offsets.end;
            }
            _ => batch.gaps.push(Gap { offsets, reason }),
        }
    }

    /// The reader is at an end, but the tail is further. Asks the servers where the end is, and then the
    /// reader once more, which forgets what it knew: when it is at an end again and again, all the while
    /// the servers say that the tail is below it, then there is nothing up to the tail.
    async fn doubt(&mut self, reader: &mut Reader, log: &Shared) -> Result<(), ReadError> {
        if self.proofs == PROOFS {
            let first = log.kept().0.start;
            self.missing(first.min(self.tail), GapReason::Expired);
            self.missing(self.tail, GapReason::Absent);
            return reader.seek(log, self.tail);
        }
        let (_, end) = log.ends().await.map_err(|reason| io(&reason))?;
        if end < self.tail {
            return Err(io(
                "the partition ends before its tail; a server may be behind",
            ));
        }
        self.proofs += 1;
        reader.seek(log, self.batch.next)
    }

    /// The library could not go on. What was read is good; where nothing was because the records are
    /// gone, that is a gap.
    async fn failed(&mut self, log: &Shared, error: &KafkaError) -> Result<(), ReadError> {
        self.broken = true;
        if !self.batch.records.is_empty() || !self.batch.gaps.is_empty() {
            return Ok(());
        }
        let (first, _) = log.ends().await.map_err(|reason| io(&reason))?;
        if first <= self.batch.next {
            return Err(io(error));
        }
        self.missing(first.min(self.tail), GapReason::Expired);
        Ok(())
    }
}

/// Something went wrong that may go well later.
pub(super) fn io(reason: &(impl ToString + ?Sized)) -> ReadError {
    ReadError::Io {
        reason: reason.to_string().into(),
    }
}
