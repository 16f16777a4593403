//! One reader for all consumers of a log that keep up, and one match for each event.
//!
//! A [`Feed`] reads each event once, asks one index over the filters of all consumers who wants it,
//! and puts it into the queues ([`Inbox`]) of those. Offering never waits: a member whose queue is
//! full is left behind at the first event that it had no room for, is told so, and reads on its own
//! until it has caught up and joins again. So a slow consumer costs the others nothing, the log is
//! read once for all that are not slow, and an event costs as much as it has takers.
//!
//! ```text
//!   log --read--> batch --match (snapshot of the index)--> hits --> queues of members
//!                                                            `----> not members: nothing
//!                 then the line moves: everything below has been offered to all members
//! ```
//!
//! # Which filter judges an event
//!
//! A filter is changed for the events that are looked at from then on. Precisely: each event is
//! judged once, by one version of a consumer's filter, and that is a version which was in force at
//! some moment between the event's acceptance and its judgement. So an event that was accepted
//! after [`Seat::set_filter`] returned is judged by that filter or a later one, and one that was
//! judged before it was called, by an earlier one. A restart may judge again the events that the
//! stored position does not cover, which is half a second's.
//!
//! # Laws
//!
//! 1. A member is offered every event from the offset at which it joined, once, in order, up to
//!    the one at which it was left behind.
//! 2. A queue holds at most its count and about its bytes, and counts towards the budget of all.
//! 3. A member that wants none of the events costs nothing for them: no wake-up, no lock, no write.
//! 4. Changing a filter waits for no batch, and no batch waits for it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use heddle_broker::filter::index::Snapshot;
use heddle_broker::log::{Log, Offset, ReadBatch, ReadError, ReadLimit};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::positions::Positions;
use crate::quiet::Quiet;

mod counts;
mod inbox;
mod line;
mod matching;
mod seat;
#[cfg(test)]
mod tests;

pub(crate) use counts::Counts;
pub(crate) use inbox::{Called, FilterTrouble, Inbox};
use line::Line;
use matching::Matching;
pub(crate) use seat::Seat;
use seat::Seats;

/// How much the shared reader takes at once. Small enough that an event that is kept from a batch
/// does not keep much memory with it.
pub(crate) const BATCH: ReadLimit = ReadLimit {
    records: 512,
    bytes: 256 << 10,
};
/// How long to wait after a read that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// The shared reader of one log.
#[derive(Debug)]
pub(crate) struct Feed {
    log: Arc<dyn Log>,
    seats: Seats,
    line: Arc<Line>,
    state: Mutex<State>,
    joined: Notify,
    stop: CancellationToken,
}

/// Locked before everything else that belongs to a feed, and while events are put into queues.
#[derive(Debug, Default)]
struct State {
    /// Members that joined ahead of the line, until it has come to where they are.
    ahead: Vec<Arc<Inbox>>,
    /// Everything below has been, or is being, matched with filters that were taken before. Who
    /// joins is offered nothing below it: the filter may be newer than those.
    matched: Offset,
    closed: bool,
}

impl Feed {
    /// Makes `inbox` a member, and returns the offset from which it is offered events. The caller
    /// reads what is between its own position and that offset. `None` when the log is closed, or
    /// the inbox has no filter.
    pub(crate) fn join(&self, inbox: &Arc<Inbox>, position: Offset) -> Option<Offset> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let position = position.max(state.matched);
        if !self.line.has_members() {
            self.line.jump(position);
        }
        let from = inbox.enter(position)?;
        let waits = |ahead: &Arc<Inbox>| Arc::ptr_eq(ahead, inbox);
        if from > self.line.at() && !state.ahead.iter().any(waits) {
            state.ahead.push(Arc::clone(inbox));
        }
        drop(state);
        self.joined.notify_one();
        Some(from)
    }

    /// What is read.
    pub(crate) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// Where the members are, to join them or to see how far they are.
    pub(crate) fn position(&self) -> Offset {
        if self.line.has_members() {
            self.line.at()
        } else {
            *self.log.tail().borrow()
        }
    }

    async fn run(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut tail = self.log.tail();
            let mut matching = Matching::default();
            let mut troubles = Quiet::default();
            loop {
                if !self.line.has_members() {
                    self.joined.notified().await;
                    continue;
                }
                let position = self.line.at();
                tokio::select! {
                    changed = tail.wait_for(|tail| *tail > position) => if changed.is_err() {
                        return self.part();
                    },
                    () = self.joined.notified() => continue,
                }
                match self.log.read(position, BATCH).await {
                    Ok(batch) => self.distribute(position, &batch, &mut matching).await,
                    Err(ReadError::Closed) => return self.part(),
                    Err(error) => {
                        if let Some(held_back) = troubles.pass() {
                            warn!(%error, offset = position, held_back, "the log could not be read");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        })
        .await;
    }

    /// Offers what was read from `position` on, in parts that take little time each.
    async fn distribute(&self, mut position: Offset, batch: &ReadBatch, matching: &mut Matching) {
        let mut first = 0;
        let Some(snapshot) = self.begin(position, batch) else {
            return;
        };
        loop {
            let end = matching.look(&snapshot, batch, first);
            let next = batch
                .records
                .get(end)
                .map_or(batch.next, |next| next.offset);
            if !self.offer(position..next, batch, matching) || end == batch.records.len() {
                return;
            }
            (first, position) = (end, next);
            tokio::task::yield_now().await;
        }
    }

    /// The filters to match a batch with: those after it was read, so that a filter that was set
    /// before an event was accepted judges it. `None` when the members are elsewhere.
    fn begin(&self, position: Offset, batch: &ReadBatch) -> Option<Snapshot<Arc<Inbox>>> {
        let mut state = self.state.lock();
        if self.line.at() != position {
            return None;
        }
        state.matched = batch.next;
        Some(self.seats.snapshot())
    }

    /// Puts what was found in a part of a batch into queues. False when the part is not what the
    /// members are to be offered next: those that it was read for have gone, and others have come.
    fn offer(&self, part: Range<Offset>, batch: &ReadBatch, matching: &mut Matching) -> bool {
        let mut state = self.state.lock();
        if self.line.at() != part.start {
            return false;
        }
        let passed = Counts::of(batch, part.clone());
        state
            .ahead
            .retain(|inbox| inbox.skip(batch, part.start, part.end));
        matching.deliver(batch, part.start);
        self.line.advance(part.end, passed);
        if passed.has_gaps() {
            // Rare, and to be reported by each of them.
            self.seats.each(|inbox| inbox.call());
        }
        true
    }

    /// Leaves all members behind: the log is closed.
    fn part(&self) {
        debug!("a log was closed under its readers");
        self.state.lock().closed = true;
        self.seats.each(|inbox| inbox.part());
    }
}

/// A use of a feed, which runs as long as it has users.
#[derive(Clone, Debug)]
pub(crate) struct FeedHandle(Arc<FeedUser>);

#[derive(Debug)]
struct FeedUser(Arc<Feed>);

impl std::ops::Deref for FeedHandle {
    type Target = Feed;

    fn deref(&self) -> &Feed {
        &self.0.0
    }
}

impl Drop for FeedUser {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

/// The feeds in use, by the names of their logs.
#[derive(Debug)]
pub(crate) struct Feeds {
    users: Mutex<HashMap<Arc<str>, Weak<FeedUser>>>,
    positions: Arc<Positions>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Feeds {
    pub(crate) fn new(
        positions: Arc<Positions>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            users: Mutex::default(),
            positions,
            tracker,
            stop,
        }
    }

    /// The feed of a log, started if there is none.
    pub(crate) fn get(&self, name: &Arc<str>, log: &Arc<dyn Log>) -> FeedHandle {
        let mut users = self.users.lock();
        if let Some(user) = users.get(name).and_then(Weak::upgrade)
            && Arc::ptr_eq(&user.0.log, log)
        {
            return FeedHandle(user);
        }
        users.retain(|_, user| user.strong_count() > 0);
        let feed = Arc::new(Feed {
            log: Arc::clone(log),
            seats: Seats::default(),
            line: Line::new(self.positions.ride()),
            state: Mutex::default(),
            joined: Notify::new(),
            stop: self.stop.child_token(),
        });
        self.tracker.spawn(Arc::clone(&feed).run());
        let user = Arc::new(FeedUser(feed));
        users.insert(Arc::clone(name), Arc::downgrade(&user));
        FeedHandle(user)
    }
}
