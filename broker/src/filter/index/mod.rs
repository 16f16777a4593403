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

mod scan;
mod table;

use std::sync::Arc;

use super::{Filter, Outcome};
use crate::event::Event;
pub use scan::Scan;
use table::Table;

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

/// Memory that one match leaves to the next. One for each thread that matches; any index may use it.
#[derive(Debug, Default)]
pub struct Scratch {}

/// A filter, and whose it is.
#[derive(Debug)]
struct Entry<T> {
    filter: Filter,
    value: T,
}

/// Filters that change. Belongs to whoever changes them; matching is done on a [`Snapshot`].
#[derive(Debug)]
pub struct Index<T> {
    filters: Arc<Table<Arc<Entry<T>>>>,
    slots: Vec<Option<Arc<Entry<T>>>>,
    /// Slots that may be given again.
    free: Vec<Slot>,
}

/// The filters that an index had at one moment. Cheap to clone, and to be shared by threads.
#[derive(Debug)]
pub struct Snapshot<T> {
    filters: Arc<Table<Arc<Entry<T>>>>,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self {
            filters: Arc::clone(&self.filters),
        }
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            filters: Arc::default(),
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
            filters: Arc::clone(&self.filters),
        }
    }

    /// How many filters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    fn entry(&self, slot: Slot) -> Option<&Arc<Entry<T>>> {
        self.slots.get(slot.0)?.as_ref()
    }

    /// The filter in a slot. None where it has been removed.
    #[must_use]
    pub fn filter(&self, slot: Slot) -> Option<&Filter> {
        self.entry(slot).map(|entry| &entry.filter)
    }
}

impl<T: Clone> Index<T> {
    /// Adds a filter. Snapshots taken from now on find it.
    pub fn insert(&mut self, filter: Filter, value: T) -> Slot {
        let slot = self.free.pop().unwrap_or(Slot(self.slots.len()));
        if slot.0 == self.slots.len() {
            self.slots.push(None);
        }
        self.place(slot, filter, value);
        slot
    }

    /// Gives a slot another filter. False where the slot has been removed.
    pub fn replace(&mut self, slot: Slot, filter: Filter) -> bool {
        let Some(old) = self.entry(slot) else {
            return false;
        };
        let entry = Arc::new(Entry {
            filter,
            value: old.value.clone(),
        });
        if let Some(filter) = Arc::make_mut(&mut self.filters).get_mut(scatter(slot)) {
            *filter = Arc::clone(&entry);
        }
        if let Some(place) = self.slots.get_mut(slot.0) {
            *place = Some(entry);
        }
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
        let entry = Arc::new(Entry { filter, value });
        let filters = Arc::make_mut(&mut self.filters);
        filters.entry(scatter(slot), || Arc::clone(&entry));
        if let Some(place) = self.slots.get_mut(slot.0) {
            *place = Some(entry);
        }
    }

    fn take(&mut self, slot: Slot) -> Option<Arc<Entry<T>>> {
        let entry = self.slots.get_mut(slot.0)?.take()?;
        Arc::make_mut(&mut self.filters).remove(scatter(slot));
        Some(entry)
    }
}

impl<T> Snapshot<T> {
    /// Hands each value whose filter wants the event, or met an error, to `found`; each once, in no
    /// particular order.
    pub fn matches(
        &self,
        event: &Event,
        _scratch: &mut Scratch,
        mut found: impl FnMut(&T, Outcome),
    ) -> Stats {
        let mut stats = Stats::default();
        self.filters.each(|_, entry| {
            let outcome = entry.filter.outcome(event);
            stats.evaluations += 1;
            stats.matched += usize::from(outcome.matched);
            stats.errors += usize::from(outcome.error.is_some());
            if outcome.matched || outcome.error.is_some() {
                found(&entry.value, outcome);
            }
        });
        stats
    }
}

/// Spreads slots, which are small numbers, over all keys; no two on one.
fn scatter(slot: Slot) -> u64 {
    (slot.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::{Index, Scratch, Snapshot};
    use crate::event::{Event, EventBuilder};
    use crate::filter::{AttributesFilter, Filter};

    fn event(ty: &str) -> Event {
        EventBuilder::new("1", "/s", ty).build().unwrap()
    }

    fn of_type(ty: &str) -> Filter {
        Filter::Attributes(AttributesFilter::new([("type", ty)]))
    }

    fn found(snapshot: &Snapshot<u32>, event: &Event) -> Vec<u32> {
        let mut all = Vec::new();
        snapshot.matches(event, &mut Scratch::default(), |value, outcome| {
            assert!(outcome.matched);
            all.push(*value);
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn snapshots_keep_what_was_there() {
        let mut index = Index::default();
        let empty = index.snapshot();
        let a = index.insert(of_type("a"), 1);
        let all = index.insert(Filter::All, 2);
        let both = index.snapshot();
        assert!(index.replace(a, of_type("b")));
        let changed = index.snapshot();
        assert!(index.remove(all) && !index.remove(all));
        assert!(!index.replace(all, Filter::All));
        let removed = index.snapshot();
        assert_eq!((index.len(), index.filter(all)), (1, None));
        assert_eq!(index.insert(of_type("a"), 3), all, "slots are given again");

        let seen = |snapshot: &Snapshot<u32>| ["a", "b"].map(|ty| found(snapshot, &event(ty)));
        assert_eq!(seen(&empty), [Vec::<u32>::new(), Vec::new()]);
        assert_eq!(seen(&both), [vec![1, 2], vec![2]]);
        assert_eq!(seen(&changed), [vec![2], vec![1, 2]]);
        assert_eq!(seen(&removed), [Vec::new(), vec![1]]);
        assert_eq!(seen(&index.snapshot()), [vec![3], vec![1]]);
    }
}
