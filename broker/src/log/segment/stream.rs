//! One log of the store: what the writer, the readers and retention share of it.
//!
//! Invariants of [`State`]: `trimmed <= next`; no run ends past `next` or starts below `trimmed`;
//! the cache holds the newest records without a hole, up to `next`. The state changes under one
//! lock that is held for no input or output.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::index::{Indexed, Run, RunLimit, RunList};
use super::table::Entry;
use crate::log::{LogStats, Offset, Record, Retention};

/// One log.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) state: Mutex<State>,
    pub(crate) tail: watch::Sender<Offset>,
    /// Whether its stream frame is durable. Written by the writer alone.
    pub(crate) registered: AtomicBool,
    /// Bytes of its events in the queue. Changed under the queue's lock.
    pub(crate) pending: AtomicUsize,
    /// Removal was asked for: the log takes and gives nothing more.
    closed: AtomicBool,
}

/// What changes about a log.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) runs: RunList,
    /// One past the last committed record.
    pub(crate) next: Offset,
    /// Everything below was removed by retention.
    pub(crate) trimmed: Offset,
    /// The highest trim point that is known to be durable.
    pub(crate) trimmed_durably: Offset,
    pub(crate) released: Offset,
    /// None until the log is opened: nothing is removed before it is known what may be.
    pub(crate) retention: Option<Retention>,
    pub(crate) limit: RunLimit,
    pub(crate) cache: VecDeque<Record>,
    /// Removal is durable, and was written into this segment.
    pub(crate) removed_in: Option<u64>,
    pub(crate) damaged: u64,
    pub(crate) expired_unread: u64,
}

/// The times at which retention looks at a log, in microseconds since 1970.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

impl Stream {
    pub(crate) fn new(id: u32, entry: Entry, runs: RunList, damaged: u64, known: bool) -> Self {
        let closed = AtomicBool::new(entry.removed_in.is_some());
        let state = State {
            runs,
            next: entry.next,
            trimmed: entry.trimmed,
            trimmed_durably: entry.trimmed,
            removed_in: entry.removed_in,
            damaged,
            ..State::default()
        };
        Self {
            id,
            name: entry.name,
            tail: watch::Sender::new(entry.next),
            state: Mutex::new(state),
            registered: AtomicBool::new(known),
            pending: AtomicUsize::new(0),
            closed,
        }
    }

    /// Whether removal was asked for.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Asks for removal, or takes that back.
    pub(crate) fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Release);
    }

    /// What the stream's frame says.
    pub(crate) fn entry(&self) -> Entry {
        let state = self.state.lock();
        Entry {
            name: self.name.clone(),
            next: state.next,
            trimmed: state.trimmed,
            removed_in: state.removed_in,
        }
    }
}

impl State {
    /// Adds a committed record.
    pub(crate) fn commit(&mut self, segment: u64, record: &Indexed) {
        let limit = self.limit;
        self.runs.push(segment, record, &limit);
        self.next = record.offset + 1;
    }

    /// Puts in the new place of records that were moved, unless they have gone meanwhile.
    pub(crate) fn moved(&mut self, run: Run) {
        let (from, to) = (run.first, run.end());
        if to <= self.trimmed {
            return;
        }
        self.runs.overlay(run);
        if from < self.trimmed {
            let trimmed = self.trimmed;
            self.runs.cut(0, trimmed);
        }
    }

    /// Takes out offsets whose bytes turned out to be damaged.
    pub(crate) fn damage(&mut self, offset: Offset) {
        self.runs.cut(offset, offset + 1);
        self.damaged += 1;
    }

    pub(crate) fn set_retention(&mut self, retention: Retention) {
        self.retention = Some(retention);
        // Age is judged by whole runs: an eighth of it is how precise that is.
        let longest = RunLimit::default().span;
        let span = retention
            .max_age
            .map_or(longest, |age| duration_micros(age) / 8);
        self.limit.span = span.clamp(1_000_000, longest);
    }

    pub(crate) fn release(&mut self, up_to: Offset) -> bool {
        let up_to = up_to.min(self.next);
        let moved = up_to > self.released;
        self.released = self.released.max(up_to);
        moved
    }

    /// Removes what retention neither keeps nor must keep. True when something was.
    pub(crate) fn apply_retention(&mut self, now: i64) -> bool {
        let Some(retention) = self.retention else {
            return false;
        };
        let wanted = self.wanted_trim(&retention, now);
        let to = if retention.protect {
            wanted.min(self.released)
        } else {
            wanted
        };
        if to <= self.trimmed {
            return false;
        }
        let unread = count_within(&self.runs, self.released.max(self.trimmed)..to);
        self.expired_unread += unread;
        self.runs.cut(0, to);
        self.trimmed = to;
        while self.cache.front().is_some_and(|record| record.offset < to) {
            self.cache.pop_front();
        }
        true
    }

    /// Up to where the limits would remove, if nothing were needed any more.
    fn wanted_trim(&self, retention: &Retention, now: i64) -> Offset {
        let oldest = retention
            .max_age
            .map(|age| now.saturating_sub(duration_micros(age)));
        let mut left = self.runs.bytes();
        let mut trim = self.trimmed;
        for run in self.runs.iter() {
            let over = retention
                .max_bytes
                .map_or(0, |max| left.saturating_sub(max));
            if over >= run.bytes && over > 0 || oldest.is_some_and(|oldest| run.newest < oldest) {
                left = left.saturating_sub(run.bytes);
                trim = run.end();
                continue;
            }
            if over > 0 {
                // The first records of the run, as many as it takes of average ones.
                let records = u64::from(run.count);
                let needed = (over * records).div_ceil(run.bytes.max(1));
                trim = run.first + needed.min(records);
            }
            break;
        }
        trim
    }

    pub(crate) fn stats(&self, now: i64) -> LogStats {
        let held = self
            .retention
            .filter(|retention| retention.protect)
            .map_or(0, |retention| {
                let wanted = self.wanted_trim(&retention, now);
                let from = |offset| -> u64 {
                    self.runs
                        .from(offset)
                        .map(|run| share_from(run, offset))
                        .sum()
                };
                from(self.released).saturating_sub(from(wanted.max(self.released)))
            });
        LogStats {
            first: self.trimmed,
            next: self.next,
            bytes: self.runs.bytes(),
            held_bytes: held,
            damaged: self.damaged,
            expired_unread: self.expired_unread,
        }
    }
}

/// Bytes of a run's records from `from` on.
fn share_from(run: &Run, from: Offset) -> u64 {
    let count = run.end() - from.max(run.first);
    run.bytes * count / u64::from(run.count.max(1))
}

fn count_within(runs: &RunList, range: Range<Offset>) -> u64 {
    runs.from(range.start)
        .take_while(|run| run.first < range.end)
        .map(|run| {
            run.end()
                .min(range.end)
                .saturating_sub(run.first.max(range.start))
        })
        .sum()
}

fn duration_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
