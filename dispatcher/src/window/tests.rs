#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use heddle_broker::event::EventBuilder;
use proptest::prelude::*;

use super::*;

fn at(second: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(second)
}

fn event(key: Option<u8>, size: usize) -> Event {
    let key = key.map(|key| format!("k{key}"));
    let mut builder = EventBuilder::new("1", "/s", "t");
    if let Some(key) = &key {
        builder = builder.attribute("partitionkey", key.as_str());
    }
    builder
        .data("text/plain", vec![b'x'; size])
        .build()
        .unwrap()
}

fn window(order: Order, in_flight: usize, parked: usize, bytes: usize) -> Window {
    let limits = Limits {
        order,
        in_flight,
        parked,
        bytes,
    };
    Window::new(limits, Budget::new(usize::MAX))
}

fn add(window: &mut Window, offset: Offset, key: Option<u8>, size: usize) {
    window.add(offset, at(0), event(key, size), Delivery::default());
}

#[test]
fn waits_take_no_slot_but_many_of_them_stall() {
    let mut window = window(Order::Unordered, 2, 100, 1 << 20);
    let mut offset = 0;
    while let Some(room) = window.room() {
        assert!(room.records > 0 && offset < 1000);
        add(&mut window, offset, None, 10);
        while let Some(started) = window.start(at(0)) {
            window.wait(started, at(60));
        }
        offset += 1;
    }
    assert_eq!(window.len(), 102);
    assert_eq!((window.in_flight(), window.waiting()), (0, 102));
    assert_eq!(window.start(at(59)), None);
    let first = window.start(at(60)).unwrap();
    assert_eq!(first, 0, "the oldest goes first");
    window.finish(first);
    while let Some(offset) = window.start(at(60)) {
        window.finish(offset);
    }
    assert!(window.len() == 0 && window.room().is_some());
}

#[test]
fn bytes_of_waiting_events_are_given_back() {
    let mut window = window(Order::Unordered, 1, 10_000, 10_000);
    for offset in 0..500 {
        assert!(window.room().is_some(), "stalled at {offset}");
        add(&mut window, offset, None, 900);
        assert!(window.bytes() <= 10_000);
        let started = window.start(at(0)).unwrap();
        window.wait(started, at(60));
        assert!(window.bytes() <= 5_000, "{} bytes wait", window.bytes());
    }
    let offset = (0..500)
        .find(|offset| window.item(*offset).unwrap().event.is_none())
        .unwrap();
    while window.start(at(60)).unwrap() != offset {
        window.in_flight = 0;
    }
    let before = window.bytes();
    window.refill(offset, event(None, 900));
    assert!(window.bytes() > before);
    let budget = Arc::clone(&window.budget);
    assert_eq!(budget.used(), window.bytes());
    drop(window);
    assert_eq!(budget.used(), 0);
}

#[test]
fn an_event_of_any_size_passes() {
    let mut window = window(Order::Unordered, 4, 10, 100);
    assert!(window.room().is_some());
    add(&mut window, 0, None, 5_000);
    assert_eq!(window.room(), None);
    let started = window.start(at(0)).unwrap();
    window.finish(started);
    assert!(window.room().is_some());
}

#[test]
fn a_spent_budget_leaves_each_window_one_event() {
    let limits = Limits {
        order: Order::Unordered,
        in_flight: 8,
        parked: 8,
        bytes: 1 << 20,
    };
    let budget = Budget::new(1000);
    let mut greedy = Window::new(limits, Arc::clone(&budget));
    add(&mut greedy, 0, None, 2000);
    assert_eq!(greedy.room(), None);
    let modest = Window::new(limits, budget);
    assert_eq!(modest.room().map(|room| room.records), Some(1));
}

#[test]
fn a_change_of_the_limit_counts_at_once() {
    let mut window = window(Order::Unordered, 1, 10, 1 << 20);
    add(&mut window, 0, None, 1);
    add(&mut window, 1, None, 1);
    assert_eq!(window.start(at(0)), Some(0));
    assert_eq!(window.start(at(0)), None);
    window.set_in_flight(2);
    assert_eq!(window.start(at(0)), Some(1));
}

#[derive(Clone, Debug)]
enum Step {
    Add(Option<u8>),
    Start,
    Wait(usize),
    Finish(usize),
    Tick,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::option::weighted(0.8, 0..4u8).prop_map(Step::Add),
        4 => Just(Step::Start),
        2 => (0..8usize).prop_map(Step::Wait),
        3 => (0..8usize).prop_map(Step::Finish),
        2 => Just(Step::Tick),
    ];
    prop::collection::vec(step, 0..300)
}

/// Runs the steps, then everything that is left, and returns for each event its key, in the order
/// in which they were finished. Checks the laws on the way.
fn run(order: Order, slots: usize, steps: &[Step]) -> Vec<(Offset, Option<u8>)> {
    let mut window = window(order, slots, 20, 4_000);
    let mut keys = Vec::new();
    let mut flying: Vec<Offset> = Vec::new();
    let mut finished = Vec::new();
    let mut now = 0;
    let mut step = |window: &mut Window, step: &Step| match *step {
        Step::Add(key) if window.room().is_some() => {
            add(window, keys.len() as u64, key, 50);
            keys.push(key);
        }
        Step::Start => {
            if let Some(offset) = window.start(at(now)) {
                let key = keys[offset as usize];
                let same_key = flying.iter().any(|other| keys[*other as usize] == key);
                assert!(order != Order::Key || key.is_none() || !same_key);
                flying.push(offset);
                assert!(flying.len() <= if order == Order::Ordered { 1 } else { slots });
            }
        }
        Step::Wait(nth) if !flying.is_empty() => {
            let offset = flying.remove(nth % flying.len());
            window.wait(offset, at(now + 2 + nth as u64 % 3));
        }
        Step::Finish(nth) if !flying.is_empty() => {
            let offset = flying.remove(nth % flying.len());
            assert!(window.finish(offset));
            finished.push((offset, keys[offset as usize]));
        }
        Step::Tick => now += 1,
        Step::Add(_) | Step::Wait(_) | Step::Finish(_) => {}
    };
    for one in steps {
        step(&mut window, one);
    }
    let mut rounds = 0;
    while window.len() > 0 {
        for one in [Step::Start, Step::Finish(0), Step::Tick] {
            step(&mut window, &one);
        }
        rounds += 1;
        assert!(rounds < 10_000, "the window is stuck: {window:?}");
    }
    assert_eq!(window.bytes(), 0);
    assert_eq!((window.in_flight(), window.waiting()), (0, 0));
    assert!(window.keys.is_empty() && window.ready.is_empty());
    assert_eq!(finished.len(), keys.len(), "each event is finished once");
    finished
}

proptest! {
    #[test]
    fn strict_order_is_log_order(steps in steps(), slots in 1..5usize) {
        let finished: Vec<Offset> =
            run(Order::Ordered, slots, &steps).into_iter().map(|(offset, _)| offset).collect();
        prop_assert!(finished.is_sorted());
    }

    #[test]
    fn each_key_is_in_log_order(steps in steps(), slots in 1..5usize) {
        let finished = run(Order::Key, slots, &steps);
        for key in 0..4u8 {
            let of_key: Vec<Offset> = finished
                .iter()
                .filter(|(_, k)| *k == Some(key))
                .map(|(offset, _)| *offset)
                .collect();
            prop_assert!(of_key.is_sorted(), "key {}: {:?}", key, of_key);
        }
    }

    #[test]
    fn without_order_everything_is_finished_once(steps in steps(), slots in 1..5usize) {
        let mut finished = run(Order::Unordered, slots, &steps);
        finished.sort_unstable();
        finished.dedup();
        let all = finished.iter().enumerate().all(|(at, (offset, _))| at as u64 == *offset);
        prop_assert!(all);
    }
}

#[test]
fn keys_are_partition_keys_before_subjects() {
    let base = EventBuilder::new("1", "/s", "t");
    let plain = base.clone().build().unwrap();
    assert_eq!(key(&plain), None);
    let subject = base.clone().attribute("subject", "s").build().unwrap();
    assert_eq!(key(&subject).as_deref(), Some("s"));
    let both = base
        .attribute("subject", "s")
        .attribute("partitionkey", "p");
    assert_eq!(key(&both.build().unwrap()).as_deref(), Some("p"));
}
