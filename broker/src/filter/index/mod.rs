//! One match for all Triggers of a broker, at a cost that grows with the matches and not with the
//! Triggers.
//!
//! An [`Index`] holds filters, each with a value of the caller's. Whoever matches takes a
//! [`Snapshot`], which is the index as it was at that moment and stays so, and asks it for the
//! values whose filters want an event. Laws, each with a test:
//!
//! - A snapshot finds exactly the filters that a [`Scan`] over the same filters finds, each once.
//! - Changing the index changes no snapshot, and waits for none.
//! - An error that a filter's evaluation meets is handed over with the filter. A filter that the
//!   index knows not to want the event is not evaluated, and so has no error to report.
//!
//! How: [`condition`] and [`analysis`] find, for each filter, predicates on single attributes that
//! are necessary for it, and [`width`] keeps them few; [`node`] files the filter under the rarest of them; [`facts`] makes the
//! keys by which predicates and an event's attributes meet; [`table`] is the map that copies share.
//! What is found is a candidate, and its filter is evaluated: the index alone never decides that an
//! event is wanted, only that it is not.

mod analysis;
mod condition;
mod facts;
mod node;
#[cfg(any(test, feature = "test-util"))]
pub mod oracle;
mod pruning;
mod scan;
mod table;
mod width;

use std::sync::Arc;

use super::{Filter, Outcome, Subject};
use crate::event::Event;
use condition::Condition;
use facts::{Fact, Keys};
use node::{Node, Posting};
pub use pruning::Pruning;
pub use scan::Scan;

/// Names a filter of one index, until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(usize);

/// What one match did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Filters that were evaluated.
    pub evaluations: usize,
    /// Filters that want the event.
    pub matched: usize,
    /// Filters whose evaluation met an error.
    pub errors: usize,
}

/// Memory that one match leaves to the next. One for each thread that matches; any snapshot may use
/// it. Four bytes for each slot.
#[derive(Debug, Default)]
pub struct Scratch {
    facts: Vec<Fact<'static>>,
    /// For each slot, the round in which it was last looked at.
    visited: Vec<u32>,
    round: u32,
}

/// A filter, and whose it is.
#[derive(Debug)]
struct Entry<T> {
    slot: Slot,
    filter: Filter,
    value: T,
}

/// Filters that change. Belongs to whoever changes them; matching is done on a [`Snapshot`].
#[derive(Debug)]
pub struct Index<T> {
    root: Arc<Node<T>>,
    keys: Keys,
    slots: Vec<Option<Arc<Entry<T>>>>,
    /// Slots that may be given again.
    free: Vec<Slot>,
}

/// The filters that an index had at one moment. Cheap to clone, and to be shared by threads.
#[derive(Debug)]
pub struct Snapshot<T> {
    root: Arc<Node<T>>,
    keys: Keys,
    /// All slots are below.
    slots: usize,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self {
            root: Arc::clone(&self.root),
            keys: self.keys.clone(),
            slots: self.slots,
        }
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            root: Arc::default(),
            keys: Keys::default(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Index::default().snapshot()
    }
}

impl<T> Index<T> {
    /// The filters as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<T> {
        Snapshot {
            root: Arc::clone(&self.root),
            keys: self.keys.clone(),
            slots: self.slots.len(),
        }
    }

    /// How many filters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn entry(&self, slot: Slot) -> Option<&Arc<Entry<T>>> {
        self.slots.get(slot.0)?.as_ref()
    }

    /// The filter in a slot. None where it has been removed.
    #[must_use]
    pub fn filter(&self, slot: Slot) -> Option<&Filter> {
        self.entry(slot).map(|entry| &entry.filter)
    }

    /// Adds a filter. Snapshots taken from now on find it.
    pub fn insert(&mut self, filter: Filter, value: T) -> Slot {
        let slot = self.free.pop().unwrap_or(Slot(self.slots.len()));
        if slot.0 == self.slots.len() {
            self.slots.push(None);
        }
        self.place(slot, filter, value);
        slot
    }

    /// Gives a slot another filter, and its value again. False where the slot has been removed.
    pub fn replace(&mut self, slot: Slot, filter: Filter) -> bool
    where
        T: Clone,
    {
        let Some(old) = self.take(slot) else {
            return false;
        };
        self.place(slot, filter, old.value.clone());
        true
    }

    /// Removes a filter. False where it has been removed before. The slot may be given to another
    /// filter.
    pub fn remove(&mut self, slot: Slot) -> bool {
        if self.take(slot).is_none() {
            return false;
        }
        self.free.push(slot);
        true
    }

    fn place(&mut self, slot: Slot, filter: Filter, value: T) {
        let entry = Arc::new(Entry {
            slot,
            filter,
            value,
        });
        let root = Arc::make_mut(&mut self.root);
        let condition = Condition::of(&entry.filter);
        for (posting, branch) in Posting::all(&entry, &condition) {
            root.insert(posting, branch, &self.keys);
        }
        drop(condition);
        if let Some(place) = self.slots.get_mut(slot.0) {
            *place = Some(entry);
        }
    }

    fn take(&mut self, slot: Slot) -> Option<Arc<Entry<T>>> {
        let entry = self.slots.get_mut(slot.0)?.take()?;
        let root = Arc::make_mut(&mut self.root);
        let condition = Condition::of(&entry.filter);
        for (posting, branch) in Posting::all(&entry, &condition) {
            root.remove(&posting, branch, &self.keys);
        }
        drop(condition);
        Some(entry)
    }
}

impl<T> Snapshot<T> {
    /// Hands each value whose filter wants the event, or met an error, to `found`; each once, in no
    /// particular order.
    pub fn matches(
        &self,
        event: &Event,
        scratch: &mut Scratch,
        mut found: impl FnMut(&T, Outcome),
    ) -> Stats {
        let mut stats = Stats::default();
        let subject = Subject::new(event);
        let mut facts = recycle(std::mem::take(&mut scratch.facts));
        self.keys.facts(event, &mut facts);
        let mut round = scratch.round(self.slots);
        self.root.candidates(&facts, &self.keys, &mut |entry| {
            if !round.is_first(entry.slot) {
                return;
            }
            let outcome = entry.filter.judge(&subject);
            stats.evaluations += 1;
            stats.matched += usize::from(outcome.matched);
            stats.errors += usize::from(outcome.error.is_some());
            if outcome.matched || outcome.error.is_some() {
                found(&entry.value, outcome);
            }
        });
        scratch.facts = recycle(facts);
        stats
    }
}

/// One match's view of which slots it has looked at.
struct Round<'s> {
    visited: &'s mut [u32],
    number: u32,
}

impl Scratch {
    fn round(&mut self, slots: usize) -> Round<'_> {
        if self.visited.len() < slots {
            self.visited.resize(slots, 0);
        }
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            // Marks of rounds of long ago would look like marks of this one.
            self.visited.fill(0);
            self.round = 1;
        }
        Round {
            visited: &mut self.visited,
            number: self.round,
        }
    }
}

impl Round<'_> {
    fn is_first(&mut self, slot: Slot) -> bool {
        let last = self.visited.get_mut(slot.0);
        last.is_some_and(|last| std::mem::replace(last, self.number) != self.number)
    }
}

/// An empty vector in the memory of another one, whose facts were about another event.
fn recycle<'to>(facts: Vec<Fact<'_>>) -> Vec<Fact<'to>> {
    facts.into_iter().map_while(|_| None).collect()
}

#[cfg(test)]
mod tests;
