//! Who belongs to a feed, and the index over what they want.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use heddle_broker::filter::Filter;
use heddle_broker::filter::index::{Index, Slot, Snapshot};
use parking_lot::Mutex;

use super::{Called, FeedHandle, Inbox};
use crate::positions::Position;
use crate::window::Budget;

/// The consumers of a feed, members or not.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Mutex<Taken>,
    /// What is matched with. Locked for as long as it takes to clone it, so that matching does not
    /// wait for changes.
    current: Mutex<Snapshot<Arc<Inbox>>>,
}

#[derive(Debug, Default)]
struct Taken {
    index: Index<Arc<Inbox>>,
    inboxes: HashMap<u64, Arc<Inbox>>,
    next: u64,
}

impl Seats {
    pub(super) fn snapshot(&self) -> Snapshot<Arc<Inbox>> {
        self.current.lock().clone()
    }

    /// Calls `visit` with each consumer.
    pub(super) fn each(&self, visit: impl FnMut(&Arc<Inbox>)) {
        let inboxes: Vec<_> = self.taken.lock().inboxes.values().cloned().collect();
        inboxes.iter().for_each(visit);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Index<Arc<Inbox>>) -> T) -> T {
        let mut taken = self.taken.lock();
        let result = change(&mut taken.index);
        *self.current.lock() = taken.index.snapshot();
        result
    }
}

/// A consumer's part in a feed, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    feed: FeedHandle,
    inbox: Arc<Inbox>,
    id: u64,
    /// Where its filter is. None while it wants nothing.
    slot: Mutex<Option<Slot>>,
}

impl Seat {
    /// Takes a seat for `owner`, without a filter.
    pub(crate) fn take(
        feed: FeedHandle,
        owner: Weak<dyn Called>,
        max_bytes: usize,
        budget: Arc<Budget>,
        position: Arc<Position>,
    ) -> Self {
        let line = Arc::clone(&feed.line);
        let inbox = Inbox::new(owner, max_bytes, budget, position, line);
        let mut taken = feed.seats.taken.lock();
        let id = taken.next;
        taken.next += 1;
        taken.inboxes.insert(id, Arc::clone(&inbox));
        drop(taken);
        Self {
            feed,
            inbox,
            id,
            slot: Mutex::new(None),
        }
    }

    pub(crate) fn feed(&self) -> &FeedHandle {
        &self.feed
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Says which events are wanted of those that are looked at from now on; see the module about
    /// feeds. `None` is for a consumer that takes none, and therefore judges none.
    pub(crate) fn set_filter(&self, filter: Option<&Filter>) {
        let mut slot = self.slot.lock();
        match (*slot, filter) {
            (Some(slot), Some(filter)) => {
                if self.inbox.set_filter(filter) {
                    let filter = filter.clone();
                    self.feed.seats.change(|index| index.replace(slot, filter));
                }
            }
            (None, Some(filter)) => {
                let (new, inbox) = (filter.clone(), Arc::clone(&self.inbox));
                *slot = Some(self.feed.seats.change(|index| index.insert(new, inbox)));
                self.inbox.set_filter(filter);
            }
            (Some(found), None) => {
                self.inbox.withdraw();
                self.feed.seats.change(|index| index.remove(found));
                *slot = None;
            }
            (None, None) => {}
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.inbox.leave();
        self.set_filter(None);
        self.feed.seats.taken.lock().inboxes.remove(&self.id);
    }
}
