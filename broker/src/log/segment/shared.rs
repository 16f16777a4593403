//! What the threads of a store share, and the signs that they give each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};

use super::fs::FileSystem;
use super::pool::Pool;
use super::queue::Queue;
use super::stream::Stream;
use super::table::{Manifest, Table};
use crate::clock::Clock;

/// The sizes that a store works with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Bytes of a segment.
    pub(crate) segment: u64,
    /// Bytes of recent events kept in memory.
    pub(crate) tail: usize,
    /// The largest append, encoded.
    pub(crate) append: usize,
}

/// A segment file that holds frames.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Where its frames end; `u64::MAX` while it is written.
    pub(crate) end: AtomicU64,
}

impl Segment {
    pub(crate) fn new(number: u64, end: u64) -> Self {
        Self {
            number,
            end: AtomicU64::new(end),
        }
    }

    /// Whether it is being written.
    pub(crate) fn is_active(&self) -> bool {
        self.end.load(Ordering::Acquire) == u64::MAX
    }

    pub(crate) fn file_name(&self) -> String {
        segment_name(self.number)
    }

    pub(crate) fn index_name(&self) -> String {
        index_name(self.number)
    }
}

pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}.seg")
}

pub(crate) fn index_name(number: u64) -> String {
    format!("{number:016x}.idx")
}

/// The logs of a store.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) by_id: BTreeMap<u32, Arc<Stream>>,
    pub(crate) by_name: BTreeMap<String, Arc<Stream>>,
    pub(crate) next_id: u32,
    /// What the names and states of all stream frames take in a segment, about.
    pub(crate) encoded: usize,
}

/// What the store counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fsyncs: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) group_appends: AtomicU64,
    pub(crate) group_events: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) moved_events: AtomicU64,
    pub(crate) recycled: AtomicU64,
    pub(crate) quarantined_bytes: AtomicU64,
    pub(crate) disk_reads: AtomicU64,
    pub(crate) tail_bytes: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// What maintenance is to do.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    /// A trim, a release or a new limit: retention should look.
    pub(crate) retain: bool,
    /// The table changed, or a segment was started.
    pub(crate) manifest: bool,
    /// Segments that are no longer written, and have no index yet.
    pub(crate) seal: Vec<u64>,
    pub(crate) stop: bool,
    /// Passes that were finished.
    pub(crate) passes: u64,
}

/// Everything that the threads of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sizes: Sizes,
    pub(crate) queue: Queue,
    pub(crate) pool: Pool,
    pub(crate) streams: RwLock<Streams>,
    /// The segments that hold frames, by number.
    pub(crate) segments: Mutex<BTreeMap<u64, Arc<Segment>>>,
    /// The highest segment number ever used.
    pub(crate) newest: AtomicU64,
    pub(crate) counters: Counters,
    pub(crate) chores: Mutex<Chores>,
    pub(crate) chores_changed: Condvar,
    /// Appends are refused until there is room.
    pub(crate) refusing: AtomicBool,
    pub(crate) closed: AtomicBool,
    failure: Mutex<Option<Arc<str>>>,
}

impl Shared {
    #[allow(clippy::too_many_arguments)] // Put together in one place only.
    pub(crate) fn new(
        fs: Arc<dyn FileSystem>,
        clock: Arc<dyn Clock>,
        sizes: Sizes,
        queue: Queue,
        pool: Pool,
        streams: Streams,
        segments: BTreeMap<u64, Arc<Segment>>,
        newest: u64,
    ) -> Self {
        Self {
            fs,
            clock,
            sizes,
            queue,
            pool,
            streams: RwLock::new(streams),
            segments: Mutex::new(segments),
            newest: AtomicU64::new(newest),
            counters: Counters::default(),
            chores: Mutex::default(),
            chores_changed: Condvar::new(),
            refusing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Why the store has failed, if it has.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.failure.lock().clone()
    }

    /// Poisons the store: nothing is acknowledged from now on. The first reason stays.
    pub(crate) fn fail(&self, reason: &str) -> Arc<str> {
        let reason = Arc::clone(self.failure.lock().get_or_insert_with(|| reason.into()));
        tracing::error!(%reason, "the event log has failed and takes no more events");
        // What waited is dropped: its callers learn that the log is closed.
        for item in self.queue.fail(&reason) {
            super::writer::refuse(
                item,
                &crate::log::AppendError::Closed {
                    reason: Arc::clone(&reason),
                },
            );
        }
        self.pool.stop();
        reason
    }

    /// Asks maintenance for something.
    pub(crate) fn chore(&self, ask: impl FnOnce(&mut Chores)) {
        ask(&mut self.chores.lock());
        self.chores_changed.notify_all();
    }

    /// The table as it is now, and the newest segment.
    pub(crate) fn manifest(&self) -> Manifest {
        let newest = self.newest.load(Ordering::Acquire);
        let streams = self.streams.read();
        let mut table = Table {
            next_stream: streams.next_id,
            ..Table::default()
        };
        for (id, stream) in &streams.by_id {
            table.streams.insert(*id, stream.entry());
        }
        Manifest { table, newest }
    }
}
