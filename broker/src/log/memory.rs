//! A log in memory: bounded, volatile, and the reference implementation of the laws.
//!
//! Every log is a ring of records under one lock. An append is committed when it returns. A log
//! that has reached its capacity drops its oldest events that nobody needs; when the oldest one
//! is still needed, it refuses ([`AppendError::Full`]).
//!
//! Invariants: the records stand at consecutive offsets from `first` to `next`; `bytes` is the
//! sum of their sizes and never exceeds the capacity. Removal takes from the front only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{
    AppendError, Commit, Gap, GapReason, Health, Log, LogStats, LogStore, Offset, OpenError,
    ReadBatch, ReadError, ReadLimit, Record, Retention, check_name,
};
use crate::clock::{Clock, SystemClock};
use crate::event::Event;

/// How a [`MemoryStore`] keeps its logs.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// The most bytes of events that one log keeps.
    pub capacity: usize,
    /// Gives events their times.
    pub clock: Arc<dyn Clock>,
}

impl Default for MemoryOptions {
    /// 64 MiB a log, by the machine's clock.
    fn default() -> Self {
        Self {
            capacity: 64 << 20,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Keeps logs until the process ends.
#[derive(Debug)]
pub struct MemoryStore {
    options: MemoryOptions,
    logs: RwLock<BTreeMap<String, Arc<MemoryLog>>>,
}

impl MemoryStore {
    /// A store without logs.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            logs: RwLock::default(),
        })
    }
}

impl LogStore for MemoryStore {
    fn open(&self, name: &str, retention: Retention) -> Result<Arc<dyn Log>, OpenError> {
        check_name(name)?;
        let mut logs = self.logs.write();
        if let Some(log) = logs.get(name) {
            log.set_retention(retention);
            return Ok(Arc::clone(log) as Arc<dyn Log>);
        }
        let log = Arc::new(MemoryLog::new(&self.options, retention));
        logs.insert(name.to_owned(), Arc::clone(&log));
        Ok(log)
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        if let Some(log) = self.logs.write().remove(name) {
            log.ring.lock().remove();
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.logs.read().keys().cloned().collect()
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

/// One log of a [`MemoryStore`].
#[derive(Debug)]
struct MemoryLog {
    ring: Mutex<Ring>,
    capacity: usize,
    clock: Arc<dyn Clock>,
    tail: watch::Sender<Offset>,
}

#[derive(Debug)]
struct Ring {
    records: VecDeque<Record>,
    first: Offset,
    bytes: u64,
    released: Offset,
    retention: Retention,
    expired_unread: u64,
    removed: bool,
}

impl Ring {
    fn next(&self) -> Offset {
        self.first + self.records.len() as u64
    }

    fn remove(&mut self) {
        self.removed = true;
        self.first = self.next();
        self.records.clear();
        self.bytes = 0;
    }

    /// Whether the record may go although nothing asks for more room than retention does.
    fn is_free(&self, offset: Offset) -> bool {
        !self.retention.protect || offset < self.released
    }

    fn drop_front(&mut self) {
        let Some(record) = self.records.pop_front() else {
            return;
        };
        self.bytes -= record.event.size() as u64;
        self.first = record.offset + 1;
        if record.offset >= self.released {
            self.expired_unread += 1;
        }
    }

    /// Whether retention has no place for `record` in a log that holds `bytes`.
    fn is_over(&self, record: &Record, bytes: u64, now: Timestamp) -> bool {
        self.retention.max_bytes.is_some_and(|max| bytes > max)
            || self
                .retention
                .max_age
                .is_some_and(|max| is_older(record.accepted, max, now))
    }

    fn apply_retention(&mut self, now: Timestamp) {
        while let Some(front) = self.records.front() {
            if !self.is_free(front.offset) || !self.is_over(front, self.bytes, now) {
                break;
            }
            self.drop_front();
        }
    }

    /// Bytes that retention would remove, if it were allowed to.
    fn held(&self, now: Timestamp) -> u64 {
        let mut left = self.bytes;
        for record in &self.records {
            if !self.is_over(record, left, now) {
                break;
            }
            left -= record.event.size() as u64;
        }
        self.bytes - left
    }

    /// Makes room for `bytes` more, by what nobody needs. Drops nothing when that is not enough.
    fn make_room(&mut self, bytes: u64, capacity: u64) -> Result<(), AppendError> {
        let mut missing = (self.bytes + bytes).saturating_sub(capacity);
        let mut drops = 0;
        for record in &self.records {
            if missing == 0 {
                break;
            }
            if !self.is_free(record.offset) {
                return Err(AppendError::Full { bytes: self.bytes });
            }
            missing = missing.saturating_sub(record.event.size() as u64);
            drops += 1;
        }
        for _ in 0..drops {
            self.drop_front();
        }
        Ok(())
    }
}

/// Whether `accepted` lies more than `age` before `now`.
fn is_older(accepted: Timestamp, age: std::time::Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(age).is_ok_and(|age| now.duration_since(accepted) > age)
}

impl MemoryLog {
    fn new(options: &MemoryOptions, retention: Retention) -> Self {
        let ring = Ring {
            records: VecDeque::new(),
            first: 0,
            bytes: 0,
            released: 0,
            retention,
            expired_unread: 0,
            removed: false,
        };
        Self {
            ring: Mutex::new(ring),
            capacity: options.capacity,
            clock: Arc::clone(&options.clock),
            tail: watch::Sender::new(0),
        }
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        let size: usize = events.iter().map(Event::size).sum();
        if size > self.capacity {
            return Err(AppendError::TooLarge {
                bytes: size,
                limit: self.capacity,
            });
        }
        let accepted = self.clock.now();
        let mut ring = self.ring.lock();
        if ring.removed {
            return Err(AppendError::Closed {
                reason: "it was removed".into(),
            });
        }
        ring.apply_retention(accepted);
        ring.make_room(size as u64, self.capacity as u64)?;
        let first = ring.next();
        for event in events {
            let offset = ring.next();
            ring.bytes += event.size() as u64;
            ring.records.push_back(Record {
                offset,
                accepted,
                event,
            });
        }
        let next = ring.next();
        ring.apply_retention(accepted);
        // Under the lock, so that the tail cannot be seen to move backwards.
        self.tail.send_replace(next);
        Ok(Commit::ready(Ok(first..next)))
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        let now = self.clock.now();
        let mut ring = self.ring.lock();
        if ring.removed {
            return Err(ReadError::Closed);
        }
        if from > ring.next() {
            return Err(ReadError::PastEnd {
                from,
                next: ring.next(),
            });
        }
        ring.apply_retention(now);
        let mut batch = ReadBatch {
            next: from.max(ring.first),
            ..ReadBatch::default()
        };
        if from < ring.first {
            batch.gaps.push(Gap {
                offsets: from..ring.first,
                reason: GapReason::Expired,
            });
        }
        let skip = usize::try_from(batch.next - ring.first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        for record in ring.records.iter().skip(skip).take(limit.records.max(1)) {
            bytes += record.event.size();
            batch.next = record.offset + 1;
            batch.records.push(record.clone());
            if bytes >= limit.bytes {
                break;
            }
        }
        Ok(batch)
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.tail.subscribe()
    }

    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let ring = self.ring.lock();
        if ring.removed {
            return Err(ReadError::Closed);
        }
        let found = ring.records.iter().find(|record| record.accepted >= time);
        Ok(found.map_or_else(|| ring.next(), |record| record.offset))
    }

    fn release(&self, up_to: Offset) {
        let now = self.clock.now();
        let mut ring = self.ring.lock();
        ring.released = ring.released.max(up_to.min(ring.next()));
        ring.apply_retention(now);
    }

    fn set_retention(&self, retention: Retention) {
        let now = self.clock.now();
        let mut ring = self.ring.lock();
        ring.retention = retention;
        ring.apply_retention(now);
    }

    fn stats(&self) -> LogStats {
        let now = self.clock.now();
        let mut ring = self.ring.lock();
        ring.apply_retention(now);
        LogStats {
            first: ring.first,
            next: ring.next(),
            bytes: ring.bytes,
            held_bytes: ring.held(now),
            damaged: 0,
            expired_unread: ring.expired_unread,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::log::suite::{Subject, event};

    struct Memory {
        store: Arc<MemoryStore>,
        clock: Arc<ManualClock>,
    }

    impl Subject for Memory {
        fn create() -> Self {
            let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
            let options = MemoryOptions {
                capacity: 256 << 10,
                clock: clock.clone(),
            };
            Self {
                store: MemoryStore::new(options),
                clock,
            }
        }

        fn store(&self) -> Arc<dyn LogStore> {
            self.store.clone()
        }

        fn reopen(&mut self) -> Option<Arc<dyn LogStore>> {
            None
        }

        fn clock(&self) -> &ManualClock {
            &self.clock
        }
    }

    crate::log_conformance!(Memory);

    fn full_at(capacity: usize) -> Arc<dyn Log> {
        let options = MemoryOptions {
            capacity,
            ..MemoryOptions::default()
        };
        MemoryStore::new(options)
            .open("log", Retention::default())
            .unwrap()
    }

    #[tokio::test]
    async fn a_full_log_refuses_until_something_is_released() {
        let size = event(0, 100).size();
        let log = full_at(size * 3);
        for n in 0..3 {
            log.append(vec![event(n, 100)]).unwrap().await.unwrap();
        }
        let refused = log.append(vec![event(3, 100)]).unwrap_err();
        assert_eq!(
            refused,
            AppendError::Full {
                bytes: 3 * size as u64
            }
        );
        assert_eq!(log.stats().next, 3);
        log.release(1);
        // Two events need more than the one that was released: nothing is dropped for them.
        assert!(log.append(vec![event(3, 100), event(4, 100)]).is_err());
        assert_eq!(log.stats().first, 0);
        let offsets = log.append(vec![event(3, 100)]).unwrap().await.unwrap();
        assert_eq!(offsets, 3..4);
        assert_eq!(log.stats().first, 1);
        assert_eq!(log.stats().expired_unread, 0);
    }

    #[tokio::test]
    async fn an_append_beyond_the_capacity_is_too_large() {
        let log = full_at(1000);
        let refused = log.append(vec![event(0, 2000)]).unwrap_err();
        assert!(
            matches!(refused, AppendError::TooLarge { limit: 1000, .. }),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn an_unprotected_log_drops_its_oldest() {
        let size = event(0, 100).size();
        let log = full_at(size * 3);
        let retention = Retention {
            protect: false,
            ..Retention::default()
        };
        log.set_retention(retention);
        for n in 0..5 {
            log.append(vec![event(n, 100)]).unwrap().await.unwrap();
        }
        let stats = log.stats();
        assert_eq!((stats.first, stats.next, stats.expired_unread), (2, 5, 2));
    }

    #[tokio::test]
    async fn age_counts_from_acceptance() {
        let subject = Memory::create();
        let retention = Retention {
            max_age: Some(Duration::from_secs(60)),
            protect: false,
            max_bytes: None,
        };
        let log = subject.store().open("log", retention).unwrap();
        log.append(vec![event(0, 10)]).unwrap().await.unwrap();
        subject.advance(Duration::from_secs(60));
        assert_eq!(
            log.stats().first,
            0,
            "sixty seconds are not more than sixty"
        );
        subject.advance(Duration::from_secs(1));
        assert_eq!(log.stats().first, 1);
    }
}
