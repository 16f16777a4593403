#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use heddle_broker::clock::ManualClock;
use heddle_broker::log::memory::{MemoryOptions, MemoryStore};
use heddle_broker::log::{LogStore, Retention};
use proptest::prelude::*;

use super::*;
use crate::cursor::Cursor;
use crate::delivery::{Delivery, Stage};

fn id(name: &str) -> ConsumerId {
    ConsumerId {
        kind: "trigger",
        namespace: "ns".into(),
        name: name.into(),
    }
}

fn start() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn open(dir: &tempfile::TempDir) -> Arc<Positions> {
    open_at(dir, &ManualClock::new(start()))
}

fn open_at(dir: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Arc<Positions> {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let dead_letters = MemoryStore::new(MemoryOptions {
        clock: Arc::clone(&clock),
        ..MemoryOptions::default()
    });
    let config = sled::Config::new().path(dir.path()).flush_every_ms(None);
    let (dir, writes) = (dir.path().to_owned(), Writes::default());
    Positions::open(config, dir, dead_letters, clock, writes).unwrap()
}

/// What a process finds that starts after this one was killed now.
fn crashed(dir: &tempfile::TempDir) -> (tempfile::TempDir, Arc<Positions>) {
    let copy = copied(dir);
    let positions = open(&copy);
    (copy, positions)
}

fn copied(dir: &tempfile::TempDir) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

/// How many records there are of a sort.
fn count(positions: &Positions, prefix: &str) -> usize {
    let mut count = 0;
    positions.disk.scan(prefix, |_, _| count += 1).unwrap();
    count
}

fn state(next: Offset) -> State {
    State::new("uid".into(), "log".into(), Cursor::at(next), None)
}

fn waiting(attempts: u32) -> Delivery {
    Delivery {
        stage: Stage::Subscriber,
        attempts,
        due: Some(start()),
        failure: None,
    }
}

/// How far deliveries have come that are not done.
fn waiting_in(state: &State) -> BTreeMap<Offset, Delivery> {
    let retries = state.retries.as_ref();
    retries.map_or_else(BTreeMap::new, |retries| retries.waiting.clone())
}

#[test]
fn what_was_written_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let positions = open(&dir);
    let position = positions.create(&id("a"), state(10));
    position.update(|state| {
        for offset in 10..20 {
            state.cursor.begin(offset);
        }
        state.retry(12, waiting(2));
        state.retry(15, waiting(3));
        state.complete(15);
        state.complete(11);
    });
    positions.write().unwrap();
    position.update(|state| {
        state.retry(13, waiting(4));
        state.complete(12);
    });
    positions.write().unwrap();
    position.update(|state| state.complete(13));

    let (_copy, again) = crashed(&dir);
    let found = again.find(&id("a")).unwrap();
    found.look(|state| {
        assert_eq!((&*state.uid, &*state.log), ("uid", "log"));
        let open: Vec<Offset> = state.cursor.open().collect();
        assert_eq!(open, [10, 13, 14, 16, 17, 18, 19]);
        assert_eq!(state.delivery(13), waiting(4));
        assert_eq!(state.delivery(12), Delivery::default(), "it was done");
        assert_eq!(waiting_in(state).len(), 1);
    });
    assert!(again.find(&id("b")).is_none());
}

#[test]
fn a_new_position_inherits_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let positions = open(&dir);
    let old = positions.create(&id("a"), state(0));
    old.update(|state| {
        state.cursor.begin(0);
        state.retry(0, waiting(2));
    });
    positions.create(&id("ab"), state(7));
    positions.write().unwrap();
    positions.create(&id("a"), state(5));
    positions.write().unwrap();
    assert_eq!(count(&positions, RETRY), 0);
    let (copy, again) = crashed(&dir);
    let next = |name| {
        again
            .find(&id(name))
            .unwrap()
            .look(|state| state.cursor.next())
    };
    assert_eq!((next("a"), next("ab")), (5, 7));
    again.forget(&id("a"));
    again.write().unwrap();
    let (_last, last) = crashed(&copy);
    assert!(last.find(&id("a")).is_none() && last.find(&id("ab")).is_some());
}

#[test]
fn a_damaged_record_means_the_oldest_event() {
    let dir = tempfile::tempdir().unwrap();
    let positions = open(&dir);
    positions.create(&id("a"), state(100));
    positions.write().unwrap();
    let mut damage = sled::Batch::default();
    damage.insert("position/trigger/ns/a", b"{".to_vec());
    positions.disk.write(damage).unwrap();
    let (_copy, again) = crashed(&dir);
    let found = again.find(&id("a")).unwrap();
    assert!(found.look(|state| state.damaged && state.cursor.next() == 0));
}

#[test]
fn a_log_is_released_to_the_lowest_durable_floor() {
    let dir = tempfile::tempdir().unwrap();
    let positions = open(&dir);
    let store = MemoryStore::new(MemoryOptions::default());
    let retention = Retention {
        max_bytes: Some(0),
        max_age: None,
        protect: true,
    };
    let log = store.open("log", retention).unwrap();
    let name: Arc<str> = "log".into();
    positions.serve(&name, &log);
    let event = heddle_broker::event::EventBuilder::new("1", "/", "t")
        .build()
        .unwrap();
    for _ in 0..20 {
        drop(log.append(vec![event.clone()]).unwrap());
    }
    let first = || {
        // Retention runs when something is appended or released.
        log.stats().first
    };
    let a = positions.create(&id("a"), state(0));
    let b = positions.create(&id("b"), state(0));
    positions.write().unwrap();
    a.update(|state| state.cursor.pass(10));
    b.update(|state| state.cursor.pass(5));
    assert_eq!(first(), 0, "nothing is durable yet");
    positions.write().unwrap();
    assert_eq!(first(), 5);
    positions.settled(&name, &log);
    assert_eq!(first(), 5, "there are consumers");
    positions.forget(&id("b"));
    positions.write().unwrap();
    assert_eq!(first(), 10);
    positions.forget(&id("a"));
    positions.write().unwrap();
    assert_eq!(first(), 20, "nobody needs anything");
}

#[test]
fn grace_begins_when_the_resource_goes() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(start());
    let positions = open_at(&dir, &clock);
    let keep = Some(Duration::from_secs(60));
    let kept = State::new("uid".into(), "log".into(), Cursor::at(3), keep);
    positions.create(&id("a"), kept);
    positions.create(&id("b"), state(4));
    positions.retain(|name| name == id("c").to_string());
    positions.write().unwrap();
    drop(positions);
    let positions = open_at(&dir, &clock);
    assert!(positions.find(&id("b")).is_none(), "there was no grace");
    clock.set(start() + Duration::from_secs(59));
    assert!(positions.find(&id("a")).is_some());
    // Being missing again does not start the grace anew.
    positions.retain(|_| false);
    clock.set(start() + Duration::from_secs(61));
    assert!(positions.find(&id("a")).is_none());
    positions.write().unwrap();
    assert_eq!(count(&positions, ""), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_told_when_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let positions = open(&dir);
    let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(Arc::clone(&positions).run(tracker.clone(), end.clone()));
    let waiters = (0..50).map(|n| {
        positions.create(&id(&format!("c{n}")), state(n));
        positions.settle()
    });
    futures::future::join_all(waiters).await;
    assert_eq!(count(&positions, POSITION), 50);
    assert_eq!(positions.disk.groups(), 1, "they share a sync");
    let position = positions.find(&id("c1")).unwrap();
    position.update(|state| state.cursor.pass(1_000));
    end.cancel();
    tracker.close();
    tracker.wait().await;
    assert_eq!(
        next(&dir, "c1"),
        1_000,
        "the last change is written at the end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_told_of_and_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let positions = open(&dir);
    let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(Arc::clone(&positions).run(tracker.clone(), end.clone()));
    positions.create(&id("before"), state(1));
    positions.settle().await;

    let (file, away) = (dir.path().join("db"), dir.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    let mut durable = positions.durable();
    positions.create(&id("meanwhile"), state(2));
    positions.forget(&id("before"));
    let ticket = positions.ask();
    let told = durable.wait_for(|durable| durable.failure().is_some());
    assert!(!told.await.unwrap().covers(ticket));
    positions.create(&id("later"), state(3));
    // It fails again and again, also when the store is to be opened anew.
    let failures = positions.disk.failures();
    tokio::time::sleep(4 * INTERVAL).await;
    assert!(positions.disk.failures() > failures);

    std::fs::rename(&away, &file).unwrap();
    positions.wait(ticket).await;
    assert_eq!(positions.durable().borrow().failure(), None);
    let (_copy, crashed) = crashed(&dir);
    let found = |name: &str| crashed.find(&id(name)).is_some();
    assert!(found("meanwhile") && found("later") && !found("before"));
    end.cancel();
    tracker.close();
    tracker.wait().await;
}

/// What is found on disk of a consumer: where it goes on, and which ride it was on.
fn next(dir: &tempfile::TempDir, name: &str) -> Offset {
    let (_copy, crashed) = crashed(dir);
    let found = crashed.find(&id(name)).unwrap();
    found.look(|state| state.cursor.next())
}

#[test]
fn those_that_ride_are_written_together() {
    let dir = tempfile::tempdir().unwrap();
    let positions = open(&dir);
    let ride = positions.ride();
    let riders: Vec<_> = (0..100)
        .map(|n| positions.create(&id(&format!("r{n}")), state(5)))
        .collect();
    for rider in &riders {
        rider.update(|state| state.rides = Some(ride.id()));
    }
    ride.move_to(5);
    positions.write().unwrap();
    ride.move_to(700);
    assert_eq!(next(&dir, "r7"), 5, "it is not written yet");
    assert!(positions.changes.positions.lock().is_empty());
    positions.write().unwrap();
    assert_eq!(next(&dir, "r7"), 700);

    // One of them is offered an event at 800, and does not take it before all is lost.
    riders[3].update(|state| {
        state.rides = None;
        state.cursor.pass(800);
    });
    ride.move_to(900);
    positions.write().unwrap();
    assert_eq!(next(&dir, "r3"), 800);
    assert_eq!(next(&dir, "r7"), 900);

    // One of them has an event open while it rides.
    riders[4].update(|state| {
        state.cursor.begin(950);
    });
    ride.move_to(1_000);
    positions.write().unwrap();
    let (copy, again) = crashed(&dir);
    let found = again.find(&id("r4")).unwrap();
    found.look(|state| {
        assert_eq!((state.cursor.floor(), state.cursor.next()), (950, 1_000));
        assert!(state.rides.is_none(), "its reader is gone");
    });
    // The next run's reader is another, however it moves.
    let other = again.ride();
    assert_ne!(other.id(), ride.id());
    let rider = again.find(&id("r5")).unwrap();
    rider.update(|state| state.rides = Some(other.id()));
    other.move_to(2_000);
    again.write().unwrap();
    assert_eq!(next(&copy, "r5"), 2_000);
    assert_eq!(next(&copy, "r6"), 1_000);
    for n in 0..100 {
        let found = again.find(&id(&format!("r{n}"))).unwrap();
        found.update(|state| state.rides = None);
    }
    again.write().unwrap();
    again.write().unwrap();
    assert_eq!(count(&again, RIDE), 0, "nobody refers to one");
}

#[test]
fn a_log_is_released_as_far_as_a_ride_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let positions = open(&dir);
    let store = MemoryStore::new(MemoryOptions::default());
    let retention = Retention {
        max_bytes: Some(0),
        max_age: None,
        protect: true,
    };
    let log = store.open("log", retention).unwrap();
    positions.serve(&"log".into(), &log);
    let event = heddle_broker::event::EventBuilder::new("1", "/", "t")
        .build()
        .unwrap();
    for _ in 0..20 {
        drop(log.append(vec![event.clone()]).unwrap());
    }
    let ride = positions.ride();
    let a = positions.create(&id("a"), state(0));
    let b = positions.create(&id("b"), state(0));
    for position in [&a, &b] {
        position.update(|state| state.rides = Some(ride.id()));
    }
    ride.move_to(8);
    positions.write().unwrap();
    assert_eq!(log.stats().first, 8);
    ride.move_to(12);
    positions.release();
    assert_eq!(log.stats().first, 8, "not durable");
    a.update(|state| {
        state.cursor.begin(9);
    });
    positions.write().unwrap();
    assert_eq!(log.stats().first, 9, "one is open");
    a.update(|state| state.complete(9));
    positions.write().unwrap();
    assert_eq!(log.stats().first, 12);
    // After a restart they stand where the ride was.
    let (_copy, again) = crashed(&dir);
    again.serve(&"log".into(), &log);
    again
        .find(&id("a"))
        .unwrap()
        .update(|state| state.cursor.pass(15));
    again.write().unwrap();
    assert_eq!(log.stats().first, 12);
    again.forget(&id("b"));
    again.write().unwrap();
    assert_eq!(log.stats().first, 15);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_history_is_found_again(
        steps in prop::collection::vec((0..3u8, 0..40u64, any::<bool>()), 1..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let positions = open(&dir);
        let position = positions.create(&id("a"), state(0));
        for (what, offset, write) in steps {
            position.update(|state| match what {
                0 => {
                    state.cursor.begin(offset);
                }
                1 if state.cursor.is_open(offset) => {
                    let attempts = state.delivery(offset).attempts + 1;
                    state.retry(offset, waiting(attempts));
                }
                _ => state.complete(offset),
            });
            if write {
                positions.write().unwrap();
            }
        }
        positions.write().unwrap();
        let (_copy, again) = crashed(&dir);
        let again = again.find(&id("a")).unwrap();
        let here = position.look(|state| (state.cursor.clone(), waiting_in(state)));
        let there = again.look(|state| (state.cursor.clone(), waiting_in(state)));
        prop_assert_eq!(here, there);
        prop_assert_eq!(count(&positions, RETRY), position.look(|state| waiting_in(state).len()));
    }
}
