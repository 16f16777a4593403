//! Several logs, one after the other, as one: what a move between stores leaves.
//!
//! ```text
//!   offsets of the chain    0 ............ 1200 ............ next
//!   parts                   [ segment log ][ JetStream ......
//!   their own offsets       0 ............ begin ........... next - 1200 + begin
//! ```
//!
//! Appends go to the last part; the others take none any more, and end where the next one begins.
//! Positions of consumers are offsets of the chain, so that a move changes none of them: what waits for
//! a retry in the first part waits there, while delivery goes on in the second. What a part held before it
//! became one (a topic that was there already) is not of the chain.
//!
//! What a part does not have any more below its end (a memory log after a restart) is a gap. A part is
//! done with when everything in it was released ([`Chain::released`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    AppendError, Commit, Gap, GapReason, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit,
    Retention,
};
use crate::event::Event;

/// A log in a chain.
#[derive(Clone, Debug)]
pub struct Part {
    /// The offset in the chain of its first event.
    pub from: Offset,
    /// The offset of that event in its own log.
    pub begin: Offset,
    /// The log.
    pub log: Arc<dyn Log>,
}

/// The end of a chain, which follows that of its last part.
#[derive(Debug)]
pub(super) struct Tail {
    from: Offset,
    begin: Offset,
    own: watch::Receiver<Offset>,
    whole: watch::Sender<Offset>,
}

impl Tail {
    fn of(last: &Part) -> Self {
        let own = last.log.tail();
        let whole = watch::Sender::new(last.whole(*own.borrow()));
        Self {
            from: last.from,
            begin: last.begin,
            own,
            whole,
        }
    }

    /// Makes up for what the last part is ahead.
    pub(super) fn advance(&self) {
        let next = self.count(*self.own.borrow());
        self.whole.send_if_modified(|tail| {
            let moves = next > *tail;
            *tail = next.max(*tail);
            moves
        });
    }

    /// An offset of the last part as one of the chain.
    pub(super) fn count(&self, own: Offset) -> Offset {
        count(own, self.begin, self.from)
    }
}

/// An offset of a part as one of the chain.
fn count(own: Offset, begin: Offset, from: Offset) -> Offset {
    from.saturating_add(own.saturating_sub(begin))
}

/// See the module.
#[derive(Debug)]
pub struct Chain {
    before: Vec<Part>,
    last: Part,
    tail: Arc<Tail>,
    released: AtomicU64,
    /// Grows when nobody needs anything in the older parts any more.
    drained: Arc<watch::Sender<u64>>,
    /// Ends the task that follows the last part.
    ended: CancellationToken,
}

impl Chain {
    /// A chain of `before`, in order, and `last`. A task on `tracker` follows the end of `last` as long
    /// as there is the chain. `drained` grows when nobody needs anything in `before` any more.
    #[must_use]
    pub fn new(
        before: Vec<Part>,
        last: Part,
        drained: Arc<watch::Sender<u64>>,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        let tail = Arc::new(Tail::of(&last));
        let chain = Arc::new(Self {
            before,
            last,
            tail: Arc::clone(&tail),
            released: AtomicU64::new(0),
            drained,
            ended: CancellationToken::new(),
        });
        let ended = chain.ended.clone();
        tracker.spawn(async move {
            let mut own = tail.own.clone();
            let follow = async {
                while own.changed().await.is_ok() {
                    tail.advance();
                }
            };
            ended.run_until_cancelled(follow).await;
        });
        chain
    }

    /// Below which offset nobody needs anything any more.
    #[must_use]
    pub fn released(&self) -> Offset {
        self.released.load(Ordering::Relaxed)
    }

    /// The part that an offset lies in, and where it ends in the chain; the last one has no end.
    fn part(&self, at: Offset) -> (&Part, Option<Offset>) {
        let ends = self.before.iter().skip(1).chain([&self.last]);
        let mut parts = self.before.iter().zip(ends.map(|next| next.from));
        match parts.find(|(_, end)| at < *end) {
            Some((part, end)) => (part, Some(end)),
            None => (&self.last, None),
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Part {
    /// An offset of its own as one of the chain.
    fn whole(&self, own: Offset) -> Offset {
        count(own, self.begin, self.from)
    }

    /// An offset of the chain as one of its own; `None` for one before it.
    fn own(&self, whole: Offset) -> Option<Offset> {
        let passed = whole.checked_sub(self.from)?;
        Some(self.begin.saturating_add(passed))
    }

    /// Reads from an offset of the chain on, up to the end of this part.
    async fn read(
        &self,
        from: Offset,
        end: Option<Offset>,
        limit: ReadLimit,
    ) -> Result<ReadBatch, ReadError> {
        let whole = |at: Offset| self.whole(at);
        let own = self.own(from).unwrap_or(self.begin);
        let read = self.log.read(own, limit).await;
        let mut batch = match (read, end) {
            (Ok(batch), _) => batch,
            // The part has lost what is left of it.
            (Err(ReadError::PastEnd { .. }), Some(_)) => ReadBatch::default(),
            (Err(ReadError::PastEnd { from, next }), None) => {
                return Err(ReadError::PastEnd {
                    from: whole(from),
                    next: whole(next),
                });
            }
            // An older part that is closed is about to be left out of the chain, or opened again.
            (Err(ReadError::Closed), Some(_)) => {
                return Err(ReadError::Io {
                    reason: "an older part of the log is closed".into(),
                });
            }
            (Err(error), _) => return Err(error),
        };
        batch.next = whole(batch.next).max(from);
        for record in &mut batch.records {
            record.offset = whole(record.offset);
        }
        for gap in &mut batch.gaps {
            gap.offsets = whole(gap.offsets.start)..whole(gap.offsets.end);
        }
        if let Some(end) = end {
            cut(&mut batch, from, end);
        }
        Ok(batch)
    }
}

/// Ends a batch with the part that it was read from.
fn cut(batch: &mut ReadBatch, from: Offset, end: Offset) {
    if batch.next == from {
        // There is nothing at `from`, though the part goes on: what was there is lost.
        batch.gaps = vec![Gap {
            offsets: from..end,
            reason: GapReason::Expired,
        }];
        batch.next = end;
    }
    batch.cut(end);
}

#[async_trait]
impl Log for Chain {
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        let commit = self.last.log.append(events)?;
        Ok(commit.of_chain(Arc::clone(&self.tail)))
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        let first = self.before.first().unwrap_or(&self.last).from;
        if from < first {
            // Parts that were done with are gone.
            return Ok(ReadBatch {
                records: Vec::new(),
                gaps: vec![Gap {
                    offsets: from..first,
                    reason: GapReason::Expired,
                }],
                next: first,
            });
        }
        let (part, end) = self.part(from);
        let read = part.read(from, end, limit).await;
        // Nothing is read that the tail does not cover.
        self.tail.advance();
        read
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.tail.whole.subscribe()
    }

    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let ends = self.before.iter().skip(1).chain([&self.last]);
        for (part, next) in self.before.iter().zip(ends) {
            let found = part.whole(part.log.offset_at(time).await?);
            if found < next.from {
                return Ok(found);
            }
        }
        Ok(self.last.whole(self.last.log.offset_at(time).await?))
    }

    fn release(&self, up_to: Offset) {
        let before = self.released.fetch_max(up_to, Ordering::Relaxed);
        for part in self.before.iter().chain([&self.last]) {
            if let Some(own) = part.own(up_to) {
                part.log.release(own);
            }
        }
        if !self.before.is_empty() && before < self.last.from && up_to >= self.last.from {
            self.drained.send_modify(|count| *count += 1);
        }
    }

    fn show(&self, consumer: &str, position: Offset) {
        for part in self.before.iter().chain([&self.last]) {
            if let Some(own) = part.own(position) {
                part.log.show(consumer, own);
            }
        }
    }

    fn set_retention(&self, retention: Retention) {
        for part in self.before.iter().chain([&self.last]) {
            part.log.set_retention(retention);
        }
    }

    fn stats(&self) -> LogStats {
        let mut sum = self.last.log.stats();
        sum.first = self.last.whole(sum.first);
        sum.next = self.last.whole(sum.next);
        let mut end = self.last.from;
        for part in self.before.iter().rev() {
            let stats = part.log.stats();
            let first = part.whole(stats.first);
            // One of which nothing is left does not count.
            if first < end {
                sum.first = first;
            }
            end = part.from;
            sum.bytes += stats.bytes;
            sum.held_bytes += stats.held_bytes;
            sum.damaged += stats.damaged;
            sum.expired_unread += stats.expired_unread;
        }
        sum
    }
}

#[cfg(test)]
mod tests;
