#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::*;
use crate::clock::ManualClock;
use crate::log::absent::AbsentLog;
use crate::log::gate::Gate;
use crate::log::memory::{MemoryOptions, MemoryStore};
use crate::log::suite::{ALL, Subject, event};
use crate::log::{Health, LogStore, OpenError};

/// Memory logs that were moved once and are as good as new, each behind a gate.
struct Moved {
    store: Arc<MovedStore>,
    clock: Arc<ManualClock>,
}

#[derive(Debug)]
struct MovedStore {
    inner: Arc<MemoryStore>,
    open: Mutex<BTreeMap<String, Arc<dyn Log>>>,
    tracker: TaskTracker,
}

impl LogStore for MovedStore {
    fn open(&self, name: &str, retention: Retention) -> Result<Arc<dyn Log>, OpenError> {
        let new = self.inner.open(name, retention)?;
        let mut open = self.open.lock();
        let gate = match open.get(name) {
            Some(open) => Arc::clone(open),
            None => {
                let old: Arc<dyn Log> = Arc::new(AbsentLog::ended());
                let (older, newer) = (part(0, 0, &old), part(0, 0, &new));
                let chain = Chain::new(vec![older], newer, Arc::default(), &self.tracker);
                let gate: Arc<dyn Log> = Arc::new(Gate::new(chain, Arc::default()));
                open.insert(name.to_owned(), Arc::clone(&gate));
                gate
            }
        };
        gate.set_retention(retention);
        Ok(gate)
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        self.open.lock().remove(name);
        self.inner.remove(name)
    }

    fn names(&self) -> Vec<String> {
        self.inner.names()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}

impl Subject for Moved {
    fn create() -> Self {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let options = MemoryOptions {
            capacity: 256 << 10,
            clock: Arc::clone(&clock) as _,
        };
        let store = MovedStore {
            inner: MemoryStore::new(options),
            open: Mutex::default(),
            tracker: TaskTracker::new(),
        };
        let store = Arc::new(store);
        Self { store, clock }
    }

    fn store(&self) -> Arc<dyn LogStore> {
        Arc::clone(&self.store) as _
    }

    fn reopen(&mut self) -> Option<Arc<dyn LogStore>> {
        None
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

crate::log_conformance!(Moved);

const KEEP: Retention = Retention {
    max_bytes: None,
    max_age: None,
    protect: true,
};

fn log(store: &MemoryStore, name: &str) -> Arc<dyn Log> {
    store.open(name, KEEP).unwrap()
}

fn part(from: Offset, begin: Offset, log: &Arc<dyn Log>) -> Part {
    let log = Arc::clone(log);
    Part { from, begin, log }
}

async fn fill(log: &dyn Log, ids: std::ops::Range<u64>) {
    for id in ids {
        log.append(vec![event(id, 10)]).unwrap().await.unwrap();
    }
}

/// Everything from an offset on, as (offset, id), in reads of a few records.
async fn read(log: &dyn Log, mut from: Offset) -> Vec<(Offset, String)> {
    let mut all = Vec::new();
    let limit = ReadLimit {
        records: 3,
        bytes: usize::MAX,
    };
    loop {
        let batch = log.read(from, limit).await.unwrap();
        let records = batch.records.iter();
        all.extend(records.map(|record| (record.offset, record.event.id().to_owned())));
        if batch.next == from {
            return all;
        }
        from = batch.next;
    }
}

fn numbered(offsets: std::ops::Range<u64>) -> Vec<(Offset, String)> {
    offsets.map(|n| (n, n.to_string())).collect()
}

/// A chain of a log with seven events and one with none, the first of which holds more than
/// belongs to the chain.
async fn moved(store: &MemoryStore, tracker: &TaskTracker) -> (Arc<Chain>, [Arc<dyn Log>; 2]) {
    let (old, new) = (log(store, "old"), log(store, "new"));
    fill(&*old, 0..9).await;
    let (older, newer) = (part(0, 0, &old), part(7, 0, &new));
    let chain = Chain::new(vec![older], newer, Arc::default(), tracker);
    (chain, [old, new])
}

#[tokio::test]
async fn offsets_go_on_from_one_part_to_the_next() {
    let (store, tracker) = (
        MemoryStore::new(MemoryOptions::default()),
        TaskTracker::new(),
    );
    let (chain, [old, new]) = moved(&store, &tracker).await;
    assert_eq!(chain.stats().next, 7);
    let mut tail = chain.tail();
    let commit = chain.append(vec![event(7, 10), event(8, 10)]).unwrap();
    assert_eq!(commit.await.unwrap(), 7..9);
    tail.wait_for(|tail| *tail == 9).await.unwrap();
    assert_eq!(read(&*chain, 0).await, numbered(0..9));
    assert_eq!(read(&*chain, 5).await, numbered(5..9));
    let past = chain.read(11, ALL).await.unwrap_err();
    assert_eq!(past, ReadError::PastEnd { from: 11, next: 9 });
    // Each part is released by its own numbers.
    chain.release(8);
    assert_eq!(chain.released(), 8);
    for log in [&old, &new] {
        log.set_retention(Retention {
            max_bytes: Some(1),
            ..KEEP
        });
    }
    assert!(old.stats().first >= 7, "{:?}", old.stats());
    assert_eq!(new.stats().first, 1);
    assert_eq!(chain.stats().first, 8);
}

#[tokio::test]
async fn what_a_part_has_lost_is_a_gap() {
    let (store, tracker) = (
        MemoryStore::new(MemoryOptions::default()),
        TaskTracker::new(),
    );
    let (old, new) = (log(&store, "old"), log(&store, "new"));
    fill(&*old, 0..2).await;
    fill(&*new, 7..9).await;
    let (older, newer) = (part(2, 0, &old), part(7, 0, &new));
    let chain = Chain::new(vec![older], newer, Arc::default(), &tracker);
    let batch = chain.read(0, ALL).await.unwrap();
    assert_eq!((batch.gaps[0].offsets.clone(), batch.next), (0..2, 2));
    let offsets: Vec<u64> = read(&*chain, 2).await.iter().map(|(at, _)| *at).collect();
    assert_eq!(offsets, [2, 3, 7, 8]);
    let batch = chain.read(4, ALL).await.unwrap();
    assert_eq!((batch.gaps[0].offsets.clone(), batch.next), (4..7, 7));
}

#[tokio::test]
async fn what_a_part_held_before_is_not_of_the_chain() {
    let store = MemoryStore::new(MemoryOptions::default());
    let tracker = TaskTracker::new();
    let (old, new) = (log(&store, "old"), log(&store, "new"));
    fill(&*old, 0..4).await;
    fill(&*new, 90..95).await;
    let parts = [part(0, 0, &old), part(4, 5, &new)];
    let told = Arc::new(watch::Sender::new(0));
    let [older, newer] = parts;
    let chain = Chain::new(vec![older], newer, Arc::clone(&told), &tracker);
    assert_eq!((chain.stats().first, chain.stats().next), (0, 4));
    assert_eq!(*chain.tail().borrow(), 4);
    let commit = chain.append(vec![event(4, 10)]).unwrap();
    assert_eq!(commit.await.unwrap(), 4..5);
    assert_eq!(read(&*chain, 0).await, numbered(0..5));
    let from_the_start = chain.offset_at(Timestamp::UNIX_EPOCH).await;
    assert_eq!(from_the_start.unwrap(), 0);
    // It is told once that the older part is done with.
    for (up_to, times) in [(3, 0), (4, 1), (5, 1)] {
        chain.release(up_to);
        assert_eq!(*told.borrow(), times, "{up_to}");
    }
    new.set_retention(Retention {
        max_bytes: Some(1),
        ..KEEP
    });
    assert_eq!(new.stats().first, 6);
    assert_eq!(chain.stats().first, 0, "the older part is still there");
}
