//! A consumer's queue, and its place in the feed.
//!
//! ```text
//!   Away --join--> Member, queue empty --wanted--> Member, queue not empty --full--> Away
//!                  (its position rides) <--taken--
//! ```
//!
//! A member whose queue is empty is wherever the feed is. Nothing is done for it until an event
//! comes that it wants; its progress and its counts follow from the feed's.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use heddle_broker::filter::{Filter, JudgeError, Outcome};
use heddle_broker::log::{Offset, ReadBatch, Record};
use parking_lot::Mutex;

use super::Counts;
use super::line::Line;
use crate::positions::Position;
use crate::window::Budget;

/// Whose queue it is.
pub(crate) trait Called: std::fmt::Debug + Send + Sync {
    /// Says that there may be something to take. Without a lock of the queue, but with that of the feed.
    fn call(self: Arc<Self>);
}

/// A member's queue. Locked after the feed, and before the position.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    owner: Weak<dyn Called>,
    budget: Arc<Budget>,
    position: Arc<Position>,
    line: Arc<Line>,
}

#[derive(Debug)]
struct State {
    /// What is wanted; `None` while nothing is taken.
    filter: Option<Filter>,
    events: VecDeque<Record>,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
    place: Place,
    /// What was counted so far, but for what a member has passed.
    counts: Counts,
    last_error: Option<Box<FilterTrouble>>,
}

/// An event on which a filter met an error.
pub(crate) type FilterTrouble = (Offset, JudgeError);

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Is offered nothing.
    Away {
        /// Everything below has been offered.
        next: Offset,
    },
    Member {
        /// It is offered what comes from here on.
        from: Offset,
        /// The totals of the feed at `from`.
        base: Counts,
        /// Its position rides.
        rides: bool,
    },
}

/// What was in a queue.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) events: Vec<Record>,
    /// Everything below has been taken or is not wanted.
    pub(crate) next: Offset,
    /// Whether more will come. A member that was left behind reads on its own from `next`.
    pub(crate) member: bool,
}

impl Inbox {
    pub(super) fn new(
        owner: Weak<dyn Called>,
        max_bytes: usize,
        budget: Arc<Budget>,
        position: Arc<Position>,
        line: Arc<Line>,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                filter: None,
                events: VecDeque::new(),
                bytes: 0,
                max_events: 0,
                max_bytes,
                place: Place::Away { next: 0 },
                counts: Counts::default(),
                last_error: None,
            }),
            owner,
            budget,
            position,
            line,
        })
    }

    /// Replaces the filter for events that its consumer reads on its own, and lets it join. The
    /// index has the filter already, where it is the first. Whether it is another.
    pub(super) fn set_filter(&self, filter: &Filter) -> bool {
        let mut state = self.state.lock();
        let changed = state.filter.as_ref() != Some(filter);
        if changed {
            state.filter = Some(filter.clone());
        }
        changed
    }

    /// Ends a membership, after which nothing passes by, and lets there be no other until there is
    /// a filter. What was offered can be taken.
    pub(super) fn withdraw(&self) {
        let mut state = self.state.lock();
        state.filter = None;
        self.step_out(&mut state);
        drop(state);
        self.call();
    }

    /// The filter, for events that its consumer reads on its own. `None` where it must take none.
    pub(crate) fn filter(&self) -> Option<Filter> {
        self.state.lock().filter.clone()
    }

    /// Changes the most events that the queue holds.
    pub(crate) fn set_max_events(&self, max_events: usize) {
        self.state.lock().max_events = max_events;
    }

    /// Says that there may be something to take. Never with the lock of the queue: who is called may
    /// leave at once.
    pub(super) fn call(&self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.call();
        }
    }

    /// Takes what is there, up to a number of events and about so many bytes. The caller has begun
    /// everything that it took before: a member that has nothing to take rides from now on.
    pub(crate) fn take(&self, records: usize, bytes: usize) -> Taken {
        let mut state = self.state.lock();
        let at = self.line.at();
        let mut events = Vec::with_capacity(records.min(state.events.len()));
        let mut size = 0;
        while events.len() < records && (size < bytes || events.is_empty()) {
            let Some(record) = state.events.pop_front() else {
                break;
            };
            size += record.event.size();
            events.push(record);
        }
        state.bytes -= size;
        self.budget.give_back(size);
        let first = state.events.front().map(|record| record.offset);
        match &mut state.place {
            Place::Away { next } => Taken {
                events,
                next: first.unwrap_or(*next),
                // Those that were left behind are told when they have taken everything.
                member: first.is_some(),
            },
            Place::Member { from, rides, .. } => {
                let next = first.unwrap_or_else(|| at.max(*from));
                if events.is_empty() && first.is_none() && !*rides {
                    *rides = true;
                    let ride = self.line.ride().id();
                    self.position.update(|position| {
                        position.cursor.pass(next);
                        position.rides = Some(ride);
                    });
                }
                Taken {
                    events,
                    next,
                    member: true,
                }
            }
        }
    }

    /// Begins a membership at `position` or where the feed is, whichever is later. `None` without a
    /// filter.
    pub(super) fn enter(&self, position: Offset) -> Option<Offset> {
        let mut state = self.state.lock();
        state.filter.as_ref()?;
        let (at, totals) = self.line.now();
        let from = at.max(position);
        if matches!(state.place, Place::Away { .. }) {
            self.line.enter();
        }
        state.place = Place::Member {
            from,
            base: totals,
            rides: false,
        };
        Some(from)
    }

    /// Leaves out of the counts what the feed passes before it comes to where this member joined.
    /// False when that is over.
    pub(super) fn skip(&self, batch: &ReadBatch, start: Offset, end: Offset) -> bool {
        let mut state = self.state.lock();
        let Place::Member { from, base, .. } = &mut state.place else {
            return false;
        };
        base.add(Counts::of(batch, start..end.min(*from)));
        *from > end
    }

    /// Offers records of a batch on which the filter had something to say. Below `start` everything
    /// has been offered.
    pub(super) fn offer<'a>(
        &self,
        batch: &ReadBatch,
        start: Offset,
        found: impl Iterator<Item = (&'a Record, Outcome)>,
    ) {
        if self.put(batch, start, found) {
            self.call();
        }
    }

    /// True when the owner has to be told.
    fn put<'a>(
        &self,
        batch: &ReadBatch,
        start: Offset,
        found: impl Iterator<Item = (&'a Record, Outcome)>,
    ) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let was_empty = state.events.is_empty();
        for (record, outcome) in found {
            let Place::Member { from, base, rides } = &mut state.place else {
                return false;
            };
            if record.offset < *from {
                continue;
            }
            let full = state.events.len() >= state.max_events
                || state.bytes >= state.max_bytes
                || self.budget.is_spent();
            if outcome.matched && full && !state.events.is_empty() {
                let (_, totals) = self.line.now();
                let mut passed = totals.since(*base);
                passed.add(Counts::of(batch, start.max(*from)..record.offset));
                state.counts.add(passed);
                state.place = Place::Away {
                    next: record.offset,
                };
                self.line.leave();
                return true;
            }
            if let Some(error) = outcome.error {
                state.counts.errors += 1;
                state.last_error = Some(Box::new((record.offset, error)));
            }
            if !outcome.matched {
                continue;
            }
            if std::mem::take(rides) {
                // Before the feed passes the event: see the laws of rides.
                self.position.update(|position| {
                    position.rides = None;
                    position.cursor.pass(record.offset);
                });
            }
            let size = record.event.size();
            state.bytes += size;
            self.budget.hold(size);
            state.counts.matched += 1;
            state.events.push_back(record.clone());
        }
        was_empty && !state.events.is_empty()
    }

    /// The feed has ended.
    pub(super) fn part(&self) {
        let mut state = self.state.lock();
        self.step_out(&mut state);
        drop(state);
        self.call();
    }

    /// Ends a membership, and forgets what was offered.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        self.step_out(&mut state);
        state.events.clear();
        let bytes = std::mem::take(&mut state.bytes);
        self.budget.give_back(bytes);
    }

    fn step_out(&self, state: &mut State) {
        let Place::Member { from, base, rides } = state.place else {
            return;
        };
        let (at, totals) = self.line.now();
        let next = at.max(from);
        if rides {
            self.position.update(|position| {
                position.rides = None;
                position.cursor.pass(next);
            });
        }
        state.counts.add(totals.since(base));
        state.place = Place::Away { next };
        self.line.leave();
    }

    /// For a member: below which offset everything has been offered, and how many events wait to
    /// be taken.
    pub(crate) fn progress(&self) -> Option<(Offset, usize)> {
        let state = self.state.lock();
        match state.place {
            Place::Member { from, .. } => Some((self.line.at().max(from), state.events.len())),
            Place::Away { .. } => None,
        }
    }

    /// What was offered, and the last error of the filter.
    pub(crate) fn counts(&self) -> (Counts, Option<FilterTrouble>) {
        let state = self.state.lock();
        let mut counts = state.counts;
        if let Place::Member { base, .. } = state.place {
            let (_, totals) = self.line.now();
            counts.add(totals.since(base));
        }
        (counts, state.last_error.as_deref().copied())
    }

    /// Notes an event that the consumer read on its own.
    pub(crate) fn looked_at(&self, counts: Counts, last_error: Option<FilterTrouble>) {
        let mut state = self.state.lock();
        state.counts.add(counts);
        if let Some(last_error) = last_error {
            state.last_error = Some(Box::new(last_error));
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.leave();
    }
}
