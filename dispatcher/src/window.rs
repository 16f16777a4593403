//! What a consumer has taken from its log and is not done with: which event may be sent next.
//!
//! ```text
//!   add --> ready --start--> in flight --finish--> gone
//!             ^                  |
//!             |                 wait
//!             +---- due ---- waiting for a retry       (key order: behind another of its key)
//! ```
//!
//! The window is pure: it neither reads, sends nor waits, and time is an argument.
//!
//! # Laws
//!
//! 1. At most `in_flight` events are in flight; with [`Order::Ordered`] at most one, and always the
//!    oldest of the window; with [`Order::Key`] at most one of each key, and always its oldest.
//! 2. Events that wait (for a retry, or behind another of their key) take no slot. At most `parked`
//!    events wait; a window with more takes no new ones, so that only its consumer stalls.
//! 3. Bytes are bounded: a window that holds `bytes` takes no more events. Events that wait give
//!    their bytes back when they would hold more than half of that; they are read from the log
//!    again by their offset when it is their turn. An empty window always takes one event, so that
//!    no event is too large to be delivered.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use heddle_broker::event::Event;
use heddle_broker::log::Offset;
use jiff::Timestamp;

use crate::config::Order;
use crate::delivery::Delivery;

#[cfg(test)]
mod tests;

/// At least this many events are taken ahead of those in flight, so that reads are worth it.
const PREFETCH: usize = 64;

/// The bounds of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) order: Order,
    /// The most deliveries at the same time; 1 where `order` says so.
    pub(crate) in_flight: usize,
    /// The most events that wait.
    pub(crate) parked: usize,
    /// About the most bytes of events held.
    pub(crate) bytes: usize,
}

/// Bytes of events held by all consumers together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
        })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.used() >= self.limit
    }

    pub(crate) fn hold(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// How much a window takes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    InFlight,
    Waiting(Timestamp),
    Behind,
}

/// One event of the window.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) accepted: Timestamp,
    /// The event, unless its bytes were given back.
    pub(crate) event: Option<Event>,
    pub(crate) delivery: Delivery,
    key: Option<Arc<str>>,
    state: State,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    limits: Limits,
    budget: Arc<Budget>,
    items: BTreeMap<Offset, Item>,
    ready: BTreeSet<Offset>,
    waiting: BTreeSet<(Timestamp, Offset)>,
    /// The keys in the window, each with the offsets that wait for the one in front.
    keys: HashMap<Arc<str>, VecDeque<Offset>>,
    in_flight: usize,
    bytes: usize,
}

impl Window {
    pub(crate) fn new(limits: Limits, budget: Arc<Budget>) -> Self {
        Self {
            limits,
            budget,
            items: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            keys: HashMap::new(),
            in_flight: 0,
            bytes: 0,
        }
    }

    /// Changes the bounds. The order is not changed this way: it takes a new window.
    pub(crate) fn set_in_flight(&mut self, in_flight: usize) {
        self.limits.in_flight = in_flight;
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is nothing that could be started, now or later.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.waiting.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// When the log accepted the oldest event of the window.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.items.first_key_value().map(|(_, item)| item.accepted)
    }

    fn slots(&self) -> usize {
        match self.limits.order {
            Order::Ordered => 1,
            Order::Unordered | Order::Key => self.limits.in_flight.max(1),
        }
    }

    /// How much to take, or `None` when the window is full.
    pub(crate) fn room(&self) -> Option<Room> {
        let ahead = (2 * self.slots()).max(PREFETCH);
        let active = self.ready.len() + self.in_flight;
        let records = ahead
            .saturating_sub(active)
            .min((self.slots() + self.limits.parked).saturating_sub(self.items.len()));
        let bytes = self.limits.bytes.saturating_sub(self.bytes);
        if self.items.is_empty() {
            let spent = self.budget.is_spent();
            return Some(Room {
                records: if spent { 1 } else { records.max(1) },
                bytes: if spent { 1 } else { bytes.max(1) },
            });
        }
        (records > 0 && bytes > 0 && !self.budget.is_spent()).then_some(Room { records, bytes })
    }

    /// Takes an event, with what is known of its delivery. The caller keeps to [`Window::room`]
    /// and adds each offset once, in ascending order.
    pub(crate) fn add(
        &mut self,
        offset: Offset,
        accepted: Timestamp,
        event: Event,
        delivery: Delivery,
    ) {
        let key = match self.limits.order {
            Order::Key => key(&event),
            Order::Unordered | Order::Ordered => None,
        };
        let due = delivery.due;
        let behind = key.as_ref().is_some_and(|key| {
            if let Some(behind) = self.keys.get_mut(key) {
                behind.push_back(offset);
                true
            } else {
                self.keys.insert(Arc::clone(key), VecDeque::new());
                false
            }
        });
        self.bytes += event.size();
        self.budget.hold(event.size());
        let item = Item {
            accepted,
            event: Some(event),
            delivery,
            key,
            state: State::Behind,
        };
        self.items.insert(offset, item);
        match (behind, due) {
            (true, _) => self.give_back_parked(offset),
            (false, Some(due)) => self.park(offset, due),
            (false, None) => self.make_ready(offset),
        }
    }

    /// The event to send next, now in flight. `None` when there is none, or no slot.
    pub(crate) fn start(&mut self, now: Timestamp) -> Option<Offset> {
        while let Some(&(due, offset)) = self.waiting.first()
            && due <= now
        {
            self.waiting.pop_first();
            self.make_ready(offset);
        }
        if self.in_flight >= self.slots() {
            return None;
        }
        let offset = *self.ready.first()?;
        if self.limits.order == Order::Ordered
            && self.items.first_key_value().map(|(first, _)| *first) != Some(offset)
        {
            return None;
        }
        self.ready.remove(&offset);
        self.items.get_mut(&offset)?.state = State::InFlight;
        self.in_flight += 1;
        Some(offset)
    }

    /// An event of the window.
    pub(crate) fn item(&mut self, offset: Offset) -> Option<&mut Item> {
        self.items.get_mut(&offset)
    }

    /// Gives an event in flight its bytes, which had been given back.
    pub(crate) fn refill(&mut self, offset: Offset, event: Event) {
        if let Some(item) = self.items.get_mut(&offset)
            && item.event.is_none()
        {
            self.bytes += event.size();
            self.budget.hold(event.size());
            item.event = Some(event);
        }
    }

    /// An event in flight waits for a retry.
    pub(crate) fn wait(&mut self, offset: Offset, due: Timestamp) {
        if self.leave_flight(offset) {
            self.park(offset, due);
        }
    }

    /// An event in flight is done with.
    pub(crate) fn finish(&mut self, offset: Offset) -> bool {
        if !self.leave_flight(offset) {
            return false;
        }
        let Some(item) = self.items.remove(&offset) else {
            return false;
        };
        self.give_back(item.event.as_ref());
        if let Some(key) = item.key {
            let following = self.keys.get_mut(&key).and_then(VecDeque::pop_front);
            match following {
                None => {
                    self.keys.remove(&key);
                }
                Some(following) => {
                    let due = self
                        .items
                        .get(&following)
                        .and_then(|item| item.delivery.due);
                    match due {
                        Some(due) => self.park(following, due),
                        None => self.make_ready(following),
                    }
                }
            }
        }
        true
    }

    /// When the next wait ends that matters: with strict order only the oldest event's does.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        if self.in_flight >= self.slots() {
            return None;
        }
        match self.limits.order {
            Order::Unordered | Order::Key => self.waiting.first().map(|(due, _)| *due),
            Order::Ordered => match self.items.first_key_value()?.1.state {
                State::Waiting(due) => Some(due),
                State::Ready | State::InFlight | State::Behind => None,
            },
        }
    }

    fn leave_flight(&mut self, offset: Offset) -> bool {
        let in_flight = self
            .items
            .get(&offset)
            .is_some_and(|item| item.state == State::InFlight);
        if in_flight {
            self.in_flight -= 1;
        }
        in_flight
    }

    fn make_ready(&mut self, offset: Offset) {
        if let Some(item) = self.items.get_mut(&offset) {
            item.state = State::Ready;
            self.ready.insert(offset);
        }
    }

    fn park(&mut self, offset: Offset, due: Timestamp) {
        if let Some(item) = self.items.get_mut(&offset) {
            item.state = State::Waiting(due);
            self.waiting.insert((due, offset));
            self.give_back_parked(offset);
        }
    }

    fn give_back_parked(&mut self, offset: Offset) {
        if (self.bytes > self.limits.bytes / 2 || self.budget.is_spent())
            && let Some(item) = self.items.get_mut(&offset)
        {
            let event = item.event.take();
            self.give_back(event.as_ref());
        }
    }

    fn give_back(&mut self, event: Option<&Event>) {
        let bytes = event.map_or(0, Event::size);
        self.bytes -= bytes;
        self.budget.give_back(bytes);
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// What orders an event among others: its `partitionkey`, else its `subject`.
fn key(event: &Event) -> Option<Arc<str>> {
    let mut subject = None;
    for attribute in event.attributes() {
        match attribute.name {
            "partitionkey" => return Some(attribute.text.into()),
            "subject" => subject = Some(attribute.text),
            _ => {}
        }
    }
    subject.map(Arc::from)
}
