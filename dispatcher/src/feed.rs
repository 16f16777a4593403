//! One reader for all consumers of a log that keep up.
//!
//! A [`Feed`] reads each event once and offers it to its members. A member is an [`Inbox`]: a
//! filter and a bounded queue. Offering never waits: a member whose queue is full is left behind
//! at the first event that it had no room for, is told so, and reads on its own until it has
//! caught up and joins again. So a slow consumer costs the others nothing, and the log is read
//! once for all that are not slow.
//!
//! # Laws
//!
//! 1. A member is offered every event from the offset at which it joined, once, in order, up to
//!    the one at which it was left behind.
//! 2. A queue holds at most its count and about its bytes, and counts towards the budget of all.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use heddle_broker::filter::Filter;
use heddle_broker::log::{GapReason, Log, Offset, ReadBatch, ReadError, ReadLimit, Record};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::window::Budget;

#[cfg(test)]
mod tests;

/// How much the shared reader takes at once. Small enough that an event that is kept from a batch
/// does not keep much memory with it.
pub(crate) const BATCH: ReadLimit = ReadLimit {
    records: 512,
    bytes: 256 << 10,
};
/// How long to wait after a read that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// A member's queue.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    ready: Notify,
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct InboxState {
    filter: Filter,
    events: VecDeque<Record>,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
    /// Everything below has been offered.
    next: Offset,
    member: bool,
    counts: Counts,
}

/// What a consumer was offered, for its statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Events looked at.
    pub(crate) seen: u64,
    /// Events wanted.
    pub(crate) matched: u64,
    /// Events that retention had removed.
    pub(crate) expired: u64,
    /// Events lost to damage.
    pub(crate) damaged: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.matched += other.matched;
        self.expired += other.expired;
        self.damaged += other.damaged;
    }

    /// Counts the gaps of a batch that are in `range`.
    pub(crate) fn gaps(&mut self, batch: &ReadBatch, range: Range<Offset>) {
        for gap in &batch.gaps {
            let (start, end) = (gap.offsets.start, gap.offsets.end);
            let missing = end.min(range.end).saturating_sub(start.max(range.start));
            match gap.reason {
                GapReason::Expired => self.expired += missing,
                GapReason::Damaged => self.damaged += missing,
            }
        }
    }
}

/// What was in a queue.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) events: Vec<Record>,
    /// Everything below has been taken or is not wanted.
    pub(crate) next: Offset,
    pub(crate) counts: Counts,
    /// Whether more will come. A member that was left behind reads on its own from `next`.
    pub(crate) member: bool,
}

impl Inbox {
    pub(crate) fn new(filter: Filter, max_bytes: usize, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(InboxState {
                filter,
                events: VecDeque::new(),
                bytes: 0,
                max_events: 0,
                max_bytes,
                next: 0,
                member: false,
                counts: Counts::default(),
            }),
            ready: Notify::new(),
            budget,
        })
    }

    /// Replaces the filter for events that have not been offered yet.
    pub(crate) fn set_filter(&self, filter: Filter) {
        self.state.lock().filter = filter;
    }

    /// Changes the most events that the queue holds.
    pub(crate) fn set_max_events(&self, max_events: usize) {
        self.state.lock().max_events = max_events;
    }

    /// Whether an event is wanted, for those that a member reads on its own.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        self.state.lock().filter.matches(&record.event)
    }

    /// Waits until there may be something to take.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes what is there, up to a number of events and about so many bytes.
    pub(crate) fn take(&self, records: usize, bytes: usize) -> Taken {
        let mut state = self.state.lock();
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
        Taken {
            events,
            next: first.unwrap_or(state.next),
            counts: std::mem::take(&mut state.counts),
            // Those that were left behind are told when they have taken everything.
            member: state.member || first.is_some(),
        }
    }

    /// Offers everything of `batch` that this member has not been offered. False when it is left
    /// behind.
    fn offer(&self, batch: &ReadBatch) -> bool {
        let mut state = self.state.lock();
        if !state.member {
            return false;
        }
        let from = state.next;
        let before = state.events.len();
        for record in &batch.records {
            if record.offset < from {
                continue;
            }
            if state.filter.matches(&record.event) {
                let full = state.events.len() >= state.max_events
                    || state.bytes >= state.max_bytes
                    || self.budget.is_spent();
                if full && !state.events.is_empty() {
                    state.member = false;
                    state.next = record.offset;
                    break;
                }
                let size = record.event.size();
                state.bytes += size;
                self.budget.hold(size);
                state.counts.matched += 1;
                state.events.push_back(record.clone());
            }
            state.counts.seen += 1;
        }
        let stays = state.member;
        if stays {
            state.next = state.next.max(batch.next);
        }
        let looked_at = from..state.next;
        state.counts.gaps(batch, looked_at);
        // A consumer with nothing to do still has to learn now and then how far it has come.
        if state.events.len() > before || !stays || state.counts.seen >= 4096 {
            self.ready.notify_one();
        }
        stays
    }

    /// Ends a membership, and forgets what was offered.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        state.member = false;
        state.events.clear();
        let bytes = std::mem::take(&mut state.bytes);
        self.budget.give_back(bytes);
    }

    /// For a member: below which offset everything has been offered, and how many events wait to
    /// be taken.
    pub(crate) fn progress(&self) -> Option<(Offset, usize)> {
        let state = self.state.lock();
        state.member.then(|| (state.next, state.events.len()))
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The shared reader of one log.
#[derive(Debug)]
pub(crate) struct Feed {
    log: Arc<dyn Log>,
    state: Mutex<FeedState>,
    joined: Notify,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct FeedState {
    position: Offset,
    members: Vec<Arc<Inbox>>,
    closed: bool,
}

impl Feed {
    /// Makes `inbox` a member, and returns the offset from which it is offered events. The caller
    /// reads what is between its own position and that offset. `None` when the log is closed.
    pub(crate) fn join(&self, inbox: &Arc<Inbox>, position: Offset) -> Option<Offset> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        state.members.retain(|member| member.state.lock().member);
        if state.members.is_empty() {
            state.position = position;
        }
        let from = state.position.max(position);
        {
            let mut member = inbox.state.lock();
            member.member = true;
            member.next = from;
        }
        if !state
            .members
            .iter()
            .any(|member| Arc::ptr_eq(member, inbox))
        {
            state.members.push(Arc::clone(inbox));
        }
        drop(state);
        self.joined.notify_one();
        Some(from)
    }

    /// Where the members are, to join them or to see how far they are.
    pub(crate) fn position(&self) -> Offset {
        let state = self.state.lock();
        if state.members.is_empty() {
            return *self.log.tail().borrow();
        }
        state.position
    }

    async fn run(self: Arc<Self>) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut tail = self.log.tail();
            loop {
                let position = {
                    let state = self.state.lock();
                    (!state.members.is_empty()).then_some(state.position)
                };
                let Some(position) = position else {
                    self.joined.notified().await;
                    continue;
                };
                tokio::select! {
                    changed = tail.wait_for(|tail| *tail > position) => if changed.is_err() {
                        return self.part();
                    },
                    () = self.joined.notified() => continue,
                }
                match self.log.read(position, BATCH).await {
                    Ok(batch) => self.distribute(position, &batch),
                    Err(ReadError::Closed) => return self.part(),
                    Err(error) => {
                        warn!(%error, offset = position, "the log could not be read");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        })
        .await;
    }

    fn distribute(&self, from: Offset, batch: &ReadBatch) {
        let mut state = self.state.lock();
        if state.position != from {
            // The members that this batch was read for have gone, and others have come.
            return;
        }
        state.members.retain(|member| member.offer(batch));
        state.position = batch.next;
    }

    /// Leaves all members behind: the log is closed.
    fn part(&self) {
        debug!("a log was closed under its readers");
        let mut state = self.state.lock();
        state.closed = true;
        for member in state.members.drain(..) {
            member.state.lock().member = false;
            member.ready.notify_one();
        }
    }
}

/// A use of a feed, which runs as long as it has users.
#[derive(Debug)]
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
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Feeds {
    pub(crate) fn new(tracker: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            users: Mutex::default(),
            tracker,
            stop,
        }
    }

    /// The feed of a log, started if there is none.
    pub(crate) fn get(&self, name: &Arc<str>, log: &Arc<dyn Log>) -> FeedHandle {
        let mut users = self.users.lock();
        users.retain(|_, user| user.strong_count() > 0);
        if let Some(user) = users.get(name).and_then(Weak::upgrade)
            && Arc::ptr_eq(&user.0.log, log)
        {
            return FeedHandle(user);
        }
        let feed = Arc::new(Feed {
            log: Arc::clone(log),
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
