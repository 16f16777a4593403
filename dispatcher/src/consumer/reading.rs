//! How a consumer gets its events: with the others, or on its own.
//!
//! ```text
//!   Own --has caught up: join, read up to where the feed is--> Following
//!    ^                                                             |
//!    +------------- left behind: the queue was full --------------+
//! ```
//!
//! On its own, a consumer reads one batch ahead. After a restart it first reads again what was
//! open: below the cursor's `next` it takes only the open offsets, and jumps over everything else.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::BoxFuture;
use heddle_broker::log::{Offset, ReadBatch, ReadError, ReadLimit, Record};

use super::Shared;
use crate::feed::{BATCH, Counts};

pub(crate) type Read = BoxFuture<'static, (Offset, Result<ReadBatch, ReadError>)>;

/// Where events come from at the moment.
#[derive(Debug)]
enum Mode {
    Own {
        /// Wanted events that were read and not taken.
        buffer: VecDeque<Record>,
        /// Where to read on.
        at: Offset,
        /// From here on the queue has everything.
        until: Option<Offset>,
    },
    Following,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reading {
    mode: Mode,
    shared: Arc<Shared>,
}

impl Reading {
    /// Goes on with the others, or from the position.
    pub(crate) fn new(shared: Arc<Shared>, following: bool) -> Self {
        let mode = if following {
            Mode::Following
        } else {
            own(shared.position.look(|state| state.cursor.floor()))
        };
        Self { mode, shared }
    }

    pub(crate) fn is_following(&self) -> bool {
        matches!(self.mode, Mode::Following)
    }

    /// Starts afresh at the first offset that is open, when nothing more is offered.
    pub(crate) fn restart(&mut self) {
        self.shared.seat.inbox().leave();
        self.clear();
        self.mode = own(self.shared.position.look(|state| state.cursor.floor()));
    }

    /// Gives back what was offered or read and not taken, to read it again; nothing more is offered.
    pub(crate) fn step_back(&mut self) {
        self.shared.seat.inbox().leave();
        let first = match &self.mode {
            Mode::Own { buffer, at, .. } => buffer.front().map_or(*at, |record| record.offset),
            Mode::Following => self.shared.position.look(|state| state.cursor.next()),
        };
        self.clear();
        self.mode = own(first);
    }

    fn clear(&mut self) {
        if let Mode::Own { buffer, .. } = &mut self.mode {
            let bytes = buffer.drain(..).map(|record| record.event.size()).sum();
            self.shared.tools.budget.give_back(bytes);
        }
    }

    /// Takes what has come, up to a number of events and about so many bytes; and the offset below
    /// which nothing else is wanted.
    pub(crate) fn take(&mut self, records: usize, bytes: usize) -> (Vec<Record>, Offset) {
        match &mut self.mode {
            Mode::Following => {
                let taken = self.shared.seat.inbox().take(records, bytes);
                if !taken.member {
                    self.mode = own(taken.next);
                }
                (taken.events, taken.next)
            }
            Mode::Own { buffer, at, until } => {
                let mut events = Vec::new();
                let mut size = 0;
                while events.len() < records
                    && (size < bytes || events.is_empty())
                    && let Some(record) = buffer.pop_front()
                {
                    size += record.event.size();
                    events.push(record);
                }
                self.shared.tools.budget.give_back(size);
                let next = buffer.front().map_or(*at, |record| record.offset);
                if buffer.is_empty() && until.is_some_and(|until| *at >= until) {
                    self.mode = Mode::Following;
                }
                (events, next)
            }
        }
    }

    /// The next read, when it is time for one. Joins the feed when it has been caught up with.
    pub(crate) fn next_read(&mut self) -> Option<Read> {
        let Mode::Own { buffer, at, until } = &mut self.mode else {
            return None;
        };
        if !buffer.is_empty() {
            return None;
        }
        let position = &self.shared.position;
        let next = position.look(|state| {
            let next = state.cursor.next();
            (*at < next).then(|| state.cursor.open_from(*at).unwrap_or(next))
        });
        let recovering = next.is_some_and(|next| {
            *at = next;
            position.look(|state| next < state.cursor.next())
        });
        if !recovering
            && until.is_none()
            && *at + BATCH.records as u64 >= self.shared.seat.feed().position()
        {
            *until = self.shared.seat.feed().join(self.shared.seat.inbox(), *at);
        }
        if until.is_some_and(|until| *at >= until) {
            self.mode = Mode::Following;
            return None;
        }
        let limit = if self.shared.tools.budget.is_spent() {
            ReadLimit {
                records: 1,
                bytes: 1,
            }
        } else {
            BATCH
        };
        let (log, at) = (Arc::clone(self.shared.log()), *at);
        Some(Box::pin(async move { (at, log.read(at, limit).await) }))
    }

    /// Takes what a read brought: events that are wanted, into the buffer; the open offsets that
    /// turned out to be gone, back to the caller.
    pub(crate) fn on_read(&mut self, from: Offset, batch: ReadBatch) -> Vec<Offset> {
        let Mode::Own { buffer, at, until } = &mut self.mode else {
            return Vec::new();
        };
        if from != *at {
            return Vec::new();
        }
        let inbox = self.shared.seat.inbox();
        // Without a filter nothing is looked at.
        let Some(filter) = inbox.filter() else {
            return Vec::new();
        };
        let end = until.map_or(batch.next, |until| until.min(batch.next));
        let mut gone = Vec::new();
        self.shared.position.look(|state| {
            let next = state.cursor.next();
            for gap in &batch.gaps {
                let range = gap.offsets.start.max(from)..gap.offsets.end;
                gone.extend(state.cursor.open().filter(|open| range.contains(open)));
            }
            let mut counts = Counts::of(&batch, from.max(next)..end);
            let mut trouble = None;
            for record in batch.records {
                let wanted = if record.offset < next {
                    state.cursor.is_open(record.offset)
                } else if record.offset < end {
                    let outcome = filter.outcome(&record.event);
                    if let Some(error) = outcome.error {
                        counts.errors += 1;
                        trouble = Some((record.offset, error));
                    }
                    counts.matched += u64::from(outcome.matched);
                    outcome.matched
                } else {
                    false
                };
                if wanted {
                    self.shared.tools.budget.hold(record.event.size());
                    buffer.push_back(record);
                }
            }
            inbox.looked_at(counts, trouble);
        });
        *at = end.max(from);
        gone
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.clear();
    }
}

fn own(at: Offset) -> Mode {
    Mode::Own {
        buffer: VecDeque::new(),
        at,
        until: None,
    }
}
