#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use heddle_broker::clock::SystemClock;
use heddle_broker::event::EventBuilder;
use heddle_broker::filter::{AttributesFilter, Filter};
use heddle_broker::log::memory::{MemoryOptions, MemoryStore};
use heddle_broker::log::{Gap, GapReason, LogStore, Record, Retention};
use jiff::Timestamp;

use super::*;
use crate::config::ConsumerId;
use crate::cursor::Cursor;
use crate::positions::{Position, State as Place, Writes};
use crate::window::Budget;

/// A feed that reads nothing by itself.
struct World {
    _dir: tempfile::TempDir,
    positions: Arc<Positions>,
    budget: Arc<Budget>,
    feed: FeedHandle,
    matching: Matching,
    calls: Arc<Calls>,
}

/// Counts the calls of all consumers.
#[derive(Debug, Default)]
struct Calls(AtomicUsize);

impl Called for Calls {
    fn call(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = MemoryStore::new(MemoryOptions::default());
        let log = store.open("log", Retention::default()).unwrap();
        let positions = Positions::open(
            sled::Config::new().path(dir.path()),
            dir.path().to_owned(),
            store,
            Arc::new(SystemClock),
            Writes::default(),
        )
        .unwrap();
        let feed = Feed {
            log,
            seats: Seats::default(),
            line: Line::new(positions.ride()),
            state: Mutex::default(),
            joined: Notify::new(),
            stop: CancellationToken::new(),
        };
        Self {
            _dir: dir,
            positions,
            budget: Budget::new(1 << 20),
            feed: FeedHandle(Arc::new(FeedUser(Arc::new(feed)))),
            matching: Matching::default(),
            calls: Arc::default(),
        }
    }

    /// How often somebody was called since the last look.
    fn calls(&self) -> usize {
        self.calls.0.swap(0, Ordering::Relaxed)
    }

    fn position(&self, name: &str) -> Arc<Position> {
        let id = ConsumerId {
            kind: "trigger",
            namespace: "ns".into(),
            name: name.into(),
        };
        self.positions.find(&id).unwrap_or_else(|| {
            let state = Place::new("uid".into(), "log".into(), Cursor::at(0), None);
            self.positions.create(&id, state)
        })
    }

    /// A member from the beginning.
    fn seat(&self, name: &str, filter: &Filter, max_events: usize) -> Seat {
        let position = self.position(name);
        let budget = Arc::clone(&self.budget);
        let calls = Arc::downgrade(&self.calls);
        let owner: Weak<dyn Called> = calls;
        let seat = Seat::take(self.feed.clone(), owner, 1 << 20, budget, position);
        seat.set_filter(Some(filter));
        seat.inbox().set_max_events(max_events);
        seat
    }

    fn member(&self, name: &str, filter: &Filter, max_events: usize) -> Seat {
        let seat = self.seat(name, filter, max_events);
        assert_eq!(self.feed.join(seat.inbox(), 0), Some(0));
        seat
    }

    fn offer(&mut self, batch: &ReadBatch) {
        let from = self.feed.line.at();
        let distributed = self.feed.distribute(from, batch, &mut self.matching);
        distributed
            .now_or_never()
            .expect("small batches take one part");
    }
}

fn record(offset: Offset, ty: &str) -> Record {
    Record {
        offset,
        accepted: Timestamp::UNIX_EPOCH,
        event: EventBuilder::new("1", "/", ty).build().unwrap(),
    }
}

fn batch(offsets: Range<Offset>) -> ReadBatch {
    ReadBatch {
        next: offsets.end,
        records: offsets.map(|offset| record(offset, "t")).collect(),
        gaps: Vec::new(),
    }
}

fn of_type(ty: &str) -> Filter {
    Filter::Attributes(AttributesFilter::new([("type", ty)]))
}

fn take(seat: &Seat, records: usize) -> (Vec<Offset>, Offset, bool) {
    let taken = seat.inbox().take(records, usize::MAX);
    let offsets = taken.events.iter().map(|record| record.offset);
    (offsets.collect(), taken.next, taken.member)
}

fn counts(seat: &Seat) -> Counts {
    seat.inbox().counts().0
}

#[test]
fn a_queue_is_taken_in_parts() {
    let mut world = World::new();
    let seat = world.member("a", &Filter::All, 100);
    world.offer(&batch(0..10));
    assert_eq!(take(&seat, 4), (vec![0, 1, 2, 3], 4, true));
    let taken = seat.inbox().take(usize::MAX, 1);
    assert_eq!((taken.events.len(), taken.next), (1, 5), "always one");
    assert_eq!(take(&seat, 100), ((5..10).collect(), 10, true));
    assert_eq!(world.budget.used(), 0);
}

#[test]
fn one_that_is_full_is_left_behind_where_it_was_full() {
    let mut world = World::new();
    let full = world.member("a", &Filter::All, 3);
    let other = world.member("b", &Filter::All, 100);
    world.offer(&batch(0..10));
    world.offer(&batch(10..20));
    assert_eq!(take(&full, 2), (vec![0, 1], 2, true));
    assert_eq!(
        take(&full, 2),
        (vec![2], 3, false),
        "nothing more is offered"
    );
    assert_eq!((counts(&full).seen, counts(&full).matched), (3, 3));
    assert_eq!(full.inbox().progress(), None);
    assert_eq!(take(&other, 100).0.len(), 20);
}

#[test]
fn one_that_wants_nothing_is_not_touched() {
    let mut world = World::new();
    let seat = world.member("a", &of_type("other"), 1);
    assert_eq!(take(&seat, 1), (vec![], 0, true), "it rides from here on");
    world.offer(&batch(0..400));
    world.offer(&batch(400..1_000));
    assert_eq!(world.calls(), 0);
    assert_eq!(world.position("a").look(|state| state.cursor.next()), 0);
    assert_eq!(seat.inbox().progress(), Some((1_000, 0)));
    assert_eq!((counts(&seat).seen, counts(&seat).matched), (1_000, 0));

    let mut mixed = batch(1_000..1_010);
    mixed.records[4] = record(1_004, "other");
    world.offer(&mixed);
    assert_eq!(world.calls(), 1);
    let before = world
        .position("a")
        .look(|state| (state.rides, state.cursor.next()));
    assert_eq!(before, (None, 1_004), "the event is not passed by");
    assert_eq!(take(&seat, 10), (vec![1_004], 1_010, true));
    assert_eq!((counts(&seat).seen, counts(&seat).matched), (1_010, 1));
}

#[test]
fn a_position_rides_only_when_everything_was_taken() {
    let mut world = World::new();
    let seat = world.member("a", &of_type("t"), 100);
    let rides = |world: &World| world.position("a").look(|state| state.rides.is_some());
    world.offer(&batch(0..3));
    take(&seat, 2);
    assert!(!rides(&world), "one is left");
    take(&seat, 2);
    assert!(!rides(&world), "what was taken may not have begun yet");
    take(&seat, 2);
    assert!(rides(&world));
    world.offer(&batch(3..4));
    assert!(!rides(&world));
    seat.inbox().leave();
    assert_eq!(world.position("a").look(|state| state.cursor.next()), 3);
    world.feed.join(seat.inbox(), 3).unwrap();
    take(&seat, 2);
    assert!(rides(&world));
    world.offer(&batch(4..9));
    seat.inbox().leave();
    take(&seat, 1);
    assert!(!rides(&world), "one that has left does not ride");
}

#[test]
fn who_joins_while_a_batch_is_matched_gets_what_follows_it() {
    let mut world = World::new();
    let first = world.member("a", &Filter::All, 100);
    let read = batch(0..10);
    let old = world.feed.begin(0, &read).unwrap();
    let second = world.seat("b", &Filter::All, 100);
    assert_eq!(world.feed.join(second.inbox(), 2), Some(10));
    assert_eq!(world.matching.look(&old, &read, 0), 10);
    assert!(world.feed.offer(0..10, &read, &mut world.matching));
    world.offer(&batch(10..15));
    assert_eq!(take(&first, 100).0.len(), 15);
    assert_eq!(take(&second, 100).0, [10, 11, 12, 13, 14]);
    assert_eq!((counts(&first).seen, counts(&second).seen), (15, 5));
}

#[test]
fn who_joins_ahead_is_offered_nothing_twice() {
    let mut world = World::new();
    let first = world.member("a", &Filter::All, 100);
    let second = world.seat("b", &Filter::All, 100);
    assert_eq!(world.feed.join(second.inbox(), 7), Some(7));
    assert_eq!(second.inbox().progress(), Some((7, 0)));
    world.offer(&batch(0..5));
    world.offer(&batch(5..10));
    assert_eq!(take(&second, 100).0, [7, 8, 9]);
    assert_eq!((counts(&first).seen, counts(&second).seen), (10, 3));
    assert!(world.feed.state.lock().ahead.is_empty());
}

#[test]
fn a_batch_for_members_that_have_gone_is_dropped() {
    let mut world = World::new();
    let first = world.member("a", &Filter::All, 100);
    let read = batch(0..10);
    let old = world.feed.begin(0, &read).unwrap();
    first.inbox().leave();
    let second = world.seat("b", &Filter::All, 100);
    let from = world.feed.join(second.inbox(), 0).unwrap();
    assert_eq!(from, 10, "the old batch may still be offered");
    world.matching.look(&old, &read, 0);
    assert!(!world.feed.offer(0..10, &read, &mut world.matching));
    assert_eq!(take(&second, 100), (vec![], 10, true));
}

#[test]
fn without_a_filter_nothing_passes_by() {
    let mut world = World::new();
    let seat = world.member("a", &Filter::All, 100);
    let other = world.member("b", &Filter::All, 100);
    world.offer(&batch(0..3));
    seat.set_filter(None);
    assert_eq!(seat.inbox().progress(), None);
    assert_eq!(world.feed.join(seat.inbox(), 3), None);
    assert!(seat.inbox().filter().is_none());
    world.offer(&batch(3..6));
    assert_eq!(take(&seat, 100), (vec![0, 1, 2], 3, false));
    seat.set_filter(Some(&of_type("t")));
    assert_eq!(world.feed.join(seat.inbox(), 3), Some(6));
    world.offer(&batch(6..8));
    assert_eq!(take(&seat, 100).0, [6, 7]);
    assert_eq!(take(&other, 100).0.len(), 8);
}

#[test]
fn a_changed_filter_judges_the_next_batch() {
    let mut world = World::new();
    let seat = world.member("a", &of_type("other"), 100);
    world.offer(&batch(0..3));
    seat.set_filter(Some(&of_type("t")));
    world.offer(&batch(3..6));
    seat.set_filter(Some(&of_type("other")));
    world.offer(&batch(6..9));
    assert_eq!(take(&seat, 100).0, [3, 4, 5]);
    drop(seat);
    assert_eq!(
        world
            .matching
            .look(&world.feed.seats.snapshot(), &batch(0..1), 0),
        1
    );
    assert!(world.matching.is_empty());
    assert!(!world.feed.line.has_members());
}

#[test]
fn gaps_are_counted_once_and_wake_everybody() {
    let mut world = World::new();
    let full = world.seat("a", &Filter::All, 2);
    let idle = world.seat("b", &of_type("other"), 2);
    assert_eq!(world.feed.join(idle.inbox(), 5), Some(5));
    assert_eq!(world.feed.join(full.inbox(), 5), Some(5));
    let mut gappy = batch(10..14);
    gappy.gaps = vec![
        Gap {
            offsets: 0..8,
            reason: GapReason::Expired,
        },
        Gap {
            offsets: 8..10,
            reason: GapReason::Damaged,
        },
    ];
    world.offer(&gappy);
    let read = |seat| {
        let counts = counts(seat);
        (counts.expired, counts.damaged, counts.seen)
    };
    assert_eq!(read(&full), (3, 2, 2), "there is no room for the third");
    assert_eq!(read(&idle), (3, 2, 4));
    // The one that was left behind, and both for the gaps.
    assert_eq!(world.calls(), 3);
}

#[test]
fn errors_of_filters_are_counted() {
    let mut world = World::new();
    let specs = [heddle_broker::filter::Spec {
        cesql: Some("INT(type) = 1".to_owned()),
        ..Default::default()
    }];
    let filter = Filter::compile(&[], &specs).unwrap();
    let seat = world.member("a", &filter, 2);
    world.offer(&batch(0..3));
    let (counts, last) = seat.inbox().counts();
    assert_eq!((counts.seen, counts.matched, counts.errors), (3, 0, 3));
    assert_eq!(last.map(|(offset, _)| offset), Some(2));
}
