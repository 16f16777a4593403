//! Consumers over time: order, neighbours, changes under load, restarts. With paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use heddle_broker::clock::Clock;
use heddle_broker::filter::{AttributesFilter, Filter};
use heddle_broker::log::memory::{MemoryOptions, MemoryStore};
use heddle_broker::log::{LogStore, Retention};
use heddle_dispatcher::config::{Backoff, ConsumerConfig, DeliveryPolicy, Order, Start};
use heddle_dispatcher::dispatcher::WINDOW_BYTES;
use support::local::{LocalScript, locals};
use support::{TokioClock, World, event, id, keyed, policy, target, until};
use tokio::sync::Notify;

fn world(handlers: &[(&str, &Arc<LocalScript>)]) -> World {
    World::with(locals(handlers), TokioClock::new(), WINDOW_BYTES)
}

fn takes_all() -> Arc<LocalScript> {
    LocalScript::new(|_, _| 200)
}

/// A number that looks random and is always the same: from splitmix64.
fn noise(a: usize, b: usize) -> u64 {
    let mut x = (a as u64) << 32 | b as u64;
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Fails about one attempt in three, and takes some time for each.
fn flaky(seed: usize) -> Arc<LocalScript> {
    LocalScript::later(move |id, n| {
        Box::pin(async move {
            let noise = noise(id * 31 + seed, n);
            tokio::time::sleep(Duration::from_micros(noise % 5_000)).await;
            if noise.is_multiple_of(3) && n < 6 {
                503
            } else {
                200
            }
        })
    })
}

fn is_each_once(taken: &[usize], count: usize) -> bool {
    taken.len() == count && taken.iter().collect::<BTreeSet<_>>().len() == count
}

#[tokio::test(start_paused = true)]
async fn strict_order_under_failures() {
    for seed in 0..5 {
        let handler = flaky(seed);
        let world = world(&[("h", &handler)]);
        let config = ConsumerConfig {
            order: Order::Ordered,
            policy: policy(10),
            ..world.consumer("t", "local://h/")
        };
        world.dispatcher.apply(config).await.unwrap();
        world.publish((0..200).map(event)).await;
        world.idle("t").await;
        assert_eq!(handler.taken(), (0..200).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn order_of_each_key_under_failures() {
    for seed in 0..5 {
        let handler = flaky(seed);
        let world = world(&[("h", &handler)]);
        let config = ConsumerConfig {
            order: Order::Key,
            policy: policy(10),
            ..world.consumer("t", "local://h/")
        };
        world.dispatcher.apply(config).await.unwrap();
        world.publish((0..300).map(|n| keyed(n, n % 7))).await;
        world.idle("t").await;
        let taken = handler.taken();
        assert!(is_each_once(&taken, 300));
        for key in 0..7 {
            let of_key: Vec<_> = taken.iter().filter(|n| **n % 7 == key).collect();
            assert!(of_key.is_sorted(), "key {key}, seed {seed}: {of_key:?}");
        }
        assert!(!taken.is_sorted(), "keys do not wait for each other");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_holds_up_no_other() {
    let handler = LocalScript::new(|id, _| if id % 10 == 3 { 503 } else { 200 });
    let world = world(&[("h", &handler)]);
    let config = ConsumerConfig {
        order: Order::Key,
        max_in_flight: 2,
        policy: DeliveryPolicy {
            backoff_delay: Duration::from_secs(100),
            ..policy(10)
        },
        ..world.consumer("t", "local://h/")
    };
    world.dispatcher.apply(config).await.unwrap();
    world.publish((0..1000).map(|n| keyed(n, n % 10))).await;
    let start = tokio::time::Instant::now();
    until("the others are done", || handler.taken().len() == 900).await;
    assert!(
        start.elapsed() < Duration::from_secs(70),
        "before the retry is due"
    );
    let failed: HashSet<_> = handler
        .calls()
        .into_iter()
        .filter(|c| c.status > 300)
        .map(|c| c.id)
        .collect();
    assert_eq!(failed, HashSet::from([3]), "those behind it were not tried");
}

#[tokio::test(start_paused = true)]
async fn waits_between_attempts_are_those_of_the_policy() {
    for (backoff, expected) in [
        (Backoff::Linear, [10.0, 20.0, 30.0, 40.0]),
        (Backoff::Exponential, [10.0, 20.0, 40.0, 80.0]),
    ] {
        let handler = LocalScript::new(|_, _| 500);
        let world = world(&[("h", &handler)]);
        let config = ConsumerConfig {
            policy: DeliveryPolicy {
                backoff,
                backoff_delay: Duration::from_secs(10),
                ..policy(4)
            },
            ..world.consumer("t", "local://h/")
        };
        world.dispatcher.apply(config).await.unwrap();
        world.publish([event(1)]).await;
        until("all attempts are made", || handler.calls().len() == 5).await;
        let calls = handler.calls();
        let waits = calls
            .windows(2)
            .map(|pair| (pair[1].at - pair[0].at).as_secs_f64());
        for (wait, expected) in waits.zip(expected) {
            assert!(
                (wait / expected - 1.0).abs() < 0.21,
                "{backoff:?}: {wait} s, not {expected}"
            );
        }
        world.idle("t").await;
        assert_eq!(world.dead_letters("t").await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn retries_do_not_hold_up_the_window() {
    let handler = LocalScript::new(|id, _| if id < 500 { 503 } else { 200 });
    let world = world(&[("h", &handler)]);
    let config = ConsumerConfig {
        max_in_flight: 4,
        policy: DeliveryPolicy {
            backoff_delay: Duration::from_secs(100),
            ..policy(5)
        },
        ..world.consumer("t", "local://h/")
    };
    world.dispatcher.apply(config).await.unwrap();
    world.publish((0..1000).map(event)).await;
    let start = tokio::time::Instant::now();
    until("the good ones are done", || handler.taken().len() == 500).await;
    assert!(start.elapsed() < Duration::from_secs(70));
    until("the bad ones wait", || {
        world.stats("t").waiting_retry == 500
    })
    .await;
    let stats = world.stats("t");
    assert_eq!(
        (stats.position, stats.backlog, stats.delivered),
        (0, 500, 500)
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_costs_a_fast_one_nothing() {
    let gate = Arc::new(Notify::new());
    let (slow, fast) = (LocalScript::held(Arc::clone(&gate)), takes_all());
    let world = world(&[("slow", &slow), ("fast", &fast)]);
    let count = 5_000;
    for name in ["slow", "fast"] {
        let config = ConsumerConfig {
            policy: DeliveryPolicy {
                timeout: Duration::from_secs(100_000),
                ..policy(3)
            },
            ..world.consumer(name, &format!("local://{name}/"))
        };
        world.dispatcher.apply(config).await.unwrap();
    }
    world.publish((0..count).map(event)).await;
    world.idle("fast").await;
    assert!(
        is_each_once(&fast.taken(), count),
        "the fast one has everything"
    );
    assert_eq!(slow.taken().len(), 0, "while the slow one has nothing");
    let stats = world.stats("slow");
    assert_eq!(stats.in_flight, 16);
    assert!(!stats.following, "it was left behind");
    assert!(stats.held <= 128, "{} events held", stats.held);
    gate.notify_one();
    world.idle("slow").await;
    assert!(is_each_once(&slow.taken(), count));
    until("it has caught up", || world.stats("slow").following).await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_read_with_bounded_memory() {
    let gate = Arc::new(Notify::new());
    let handler = LocalScript::held(Arc::clone(&gate));
    let window = 64 << 10;
    let world = World::with(locals(&[("h", &handler)]), TokioClock::new(), window);
    let big = |n| {
        event(n)
            .with(&[("padding", "x".repeat(4000).into())])
            .unwrap()
    };
    world.publish((0..5_000).map(big)).await;
    let config = ConsumerConfig {
        max_in_flight: 64,
        ..world.consumer("t", "local://h/")
    };
    world.dispatcher.apply(config).await.unwrap();
    until("the window is full", || {
        world.stats("t").held_bytes > window / 2
    })
    .await;
    gate.notify_one();
    let mut most = 0;
    until("all is delivered", || {
        most = most.max(world.dispatcher.held_bytes());
        world.stats("t").delivered == 5_000
    })
    .await;
    // The window, the queue of half its size, one batch read ahead, and an event more for each.
    let bound = window + window / 2 + (256 << 10) + 3 * 5_000;
    assert!(most <= bound, "{most} bytes held, {bound} allowed");
    world.idle("t").await;
    until("nothing is held", || world.dispatcher.held_bytes() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn waiting_events_give_back_their_bytes_and_are_read_again() {
    let handler = LocalScript::new(|_, n| if n == 0 { 503 } else { 200 });
    let window = 32 << 10;
    let world = World::with(locals(&[("h", &handler)]), TokioClock::new(), window);
    let big = |n| {
        event(n)
            .with(&[("padding", "x".repeat(1000).into())])
            .unwrap()
    };
    let config = ConsumerConfig {
        policy: DeliveryPolicy {
            backoff_delay: Duration::from_secs(50),
            ..policy(3)
        },
        ..world.consumer("t", "local://h/")
    };
    world.dispatcher.apply(config).await.unwrap();
    world.publish((0..300).map(big)).await;
    until("all wait", || world.stats("t").waiting_retry == 300).await;
    assert!(world.stats("t").held_bytes <= window);
    world.idle("t").await;
    assert!(is_each_once(&handler.taken(), 300));
}

#[tokio::test(start_paused = true)]
async fn consumers_come_go_and_change_under_load() {
    let names = ["a", "b", "c", "d"];
    let handlers: Vec<_> = (0..names.len()).map(flaky).collect();
    let named: Vec<_> = names.iter().copied().zip(&handlers).collect();
    let world = Arc::new(world(&named));
    let count = 3_000;
    let config = |name: &str, in_flight| ConsumerConfig {
        max_in_flight: in_flight,
        policy: policy(10),
        ..world.consumer(name, &format!("local://{name}/"))
    };
    for name in names {
        world.dispatcher.apply(config(name, 3)).await.unwrap();
    }
    let producer = {
        let log = Arc::clone(&world.log);
        async move {
            for n in 0..count {
                log.append(vec![event(n)]).unwrap().await.unwrap();
                if n % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    };
    let changes = async {
        for round in 0..60u32 {
            tokio::time::sleep(Duration::from_millis(u64::from(round % 7))).await;
            // `a` changes its width, `b` its order, `d` is restarted and keeps its position.
            let a = config("a", 1 + round % 20);
            world.dispatcher.apply(a).await.unwrap();
            let b = ConsumerConfig {
                order: [Order::Unordered, Order::Ordered, Order::Key][round as usize % 3],
                ..config("b", 5)
            };
            world.dispatcher.apply(b).await.unwrap();
            if round % 10 == 5 {
                let d = ConsumerConfig {
                    keep_position: Some(Duration::from_secs(3600)),
                    ..config("d", 5)
                };
                world.dispatcher.apply(d.clone()).await.unwrap();
                world.dispatcher.remove(&id("d")).await;
                world.dispatcher.apply(d).await.unwrap();
            }
        }
    };
    tokio::join!(producer, changes);
    for (name, handler) in &named {
        world.idle(name).await;
        let taken = handler.taken();
        let distinct = taken.iter().collect::<BTreeSet<_>>().len();
        assert_eq!(distinct, count, "{name} missed events");
        if *name != "d" {
            assert_eq!(taken.len(), count, "{name} got events twice");
        }
        assert_eq!(world.stats(name).dead_letters_kept, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn filters_choose_and_can_change() {
    let handler = takes_all();
    let world = world(&[("h", &handler)]);
    let with = |n, value: i32| event(n).with(&[("number", value.into())]).unwrap();
    let wants = |text: &str| Filter::Attributes(AttributesFilter::new([("number", text)]));
    let config = |filter| ConsumerConfig {
        filter,
        ..world.consumer("t", "local://h/")
    };
    world.dispatcher.apply(config(wants("7"))).await.unwrap();
    world.publish([with(0, 7), with(1, 8), event(2)]).await;
    world.idle("t").await;
    assert_eq!(handler.taken(), [0], "an integer matches its text");
    world.dispatcher.apply(config(wants(""))).await.unwrap();
    world.publish([with(3, 8), event(4), with(5, 7)]).await;
    world.idle("t").await;
    let taken: BTreeSet<_> = handler.taken().into_iter().collect();
    assert_eq!(
        taken,
        BTreeSet::from([0, 3, 5]),
        "an empty value means presence"
    );
    let stats = world.stats("t");
    assert_eq!((stats.seen, stats.matched), (6, 3));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_on_after_a_restart() {
    for graceful in [true, false] {
        let handler = LocalScript::new(|_, _| 500);
        let mut world = world(&[("h", &handler)]);
        let config = |world: &World| ConsumerConfig {
            policy: DeliveryPolicy {
                backoff: Backoff::Linear,
                backoff_delay: Duration::from_secs(100),
                ..policy(4)
            },
            ..world.consumer("t", "local://h/")
        };
        world.dispatcher.apply(config(&world)).await.unwrap();
        world.publish([event(1)]).await;
        until("two attempts are made", || handler.calls().len() == 2).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        if graceful {
            world.shut_down(true).await;
            world.start_again();
        } else {
            world.crash().await;
        }
        world.dispatcher.apply(config(&world)).await.unwrap();
        until("it has given up", || world.stats("t").kept == 1).await;
        let calls = handler.calls();
        assert_eq!(calls.len(), 5, "graceful: {graceful}");
        let wait = (calls[2].at - calls[1].at).as_secs_f64();
        assert!(
            (160.0..=241.0).contains(&wait),
            "the wait went on: {wait} s"
        );
        assert!(
            calls
                .iter()
                .all(|call| call.idempotency_key == calls[0].idempotency_key)
        );
        assert_eq!(world.dead_letters("t").await.len(), 1);
        // A dead letter log is found again.
        world.shut_down(true).await;
        world.start_again();
        world.dispatcher.apply(config(&world)).await.unwrap();
        assert_eq!(world.dead_letters("t").await.len(), 1);
        assert_eq!(world.stats("t").backlog, 0);
        world.shut_down(true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn crashes_lose_nothing() {
    for (seed, order) in [Order::Unordered, Order::Ordered, Order::Key]
        .into_iter()
        .enumerate()
    {
        let handler = flaky(seed);
        let mut world = world(&[("h", &handler)]);
        let config = |world: &World| ConsumerConfig {
            order,
            policy: policy(10),
            ..world.consumer("t", "local://h/")
        };
        let count = 2_000;
        for round in 0..10 {
            world.dispatcher.apply(config(&world)).await.unwrap();
            world
                .publish((round * 200..(round + 1) * 200).map(|n| keyed(n, n % 5)))
                .await;
            tokio::time::sleep(Duration::from_millis(noise(seed, round) % 900)).await;
            world.crash().await;
        }
        world.dispatcher.apply(config(&world)).await.unwrap();
        world.idle("t").await;
        let taken = handler.taken();
        let distinct: BTreeSet<_> = taken.iter().copied().collect();
        assert_eq!(distinct.len(), count, "{order:?}");
        // Duplicates are allowed; the first deliveries keep their order.
        let mut seen = HashSet::new();
        let firsts: Vec<_> = taken.into_iter().filter(|n| seen.insert(*n)).collect();
        match order {
            Order::Ordered => assert!(firsts.is_sorted()),
            Order::Key => {
                for key in 0..5 {
                    assert!(firsts.iter().filter(|n| **n % 5 == key).is_sorted());
                }
            }
            Order::Unordered => {}
        }
        world.shut_down(false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_consumer_is_durable_when_it_is_applied() {
    let handler = takes_all();
    let mut world = world(&[("h", &handler)]);
    let config = |world: &World| ConsumerConfig {
        start: Start::Latest,
        ..world.consumer("t", "local://h/")
    };
    world.publish((0..5).map(event)).await;
    world.dispatcher.apply(config(&world)).await.unwrap();
    world.crash().await;
    world.publish((5..10).map(event)).await;
    world.dispatcher.apply(config(&world)).await.unwrap();
    world.idle("t").await;
    let taken: BTreeSet<_> = handler.taken().into_iter().collect();
    assert_eq!(taken, (5..10).collect(), "it existed when these came");
}

#[tokio::test(start_paused = true)]
async fn where_consumers_start() {
    let handlers: Vec<_> = (0..5).map(|_| takes_all()).collect();
    let names = ["earliest", "latest", "offset", "far", "time"];
    let named: Vec<_> = names.iter().copied().zip(&handlers).collect();
    let world = world(&named);
    world.publish((0..5).map(event)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let then = world.clock.now();
    world.publish((5..10).map(event)).await;
    let starts = [
        Start::Earliest,
        Start::Latest,
        Start::Offset(7),
        Start::Offset(1000),
        Start::Time(then),
    ];
    for (name, start) in names.into_iter().zip(starts) {
        let config = ConsumerConfig {
            start,
            ..world.consumer(name, &format!("local://{name}/"))
        };
        world.dispatcher.apply(config).await.unwrap();
    }
    world.publish([event(10)]).await;
    for ((name, handler), first) in named.iter().zip([0, 10, 7, 10, 5]) {
        world.idle(name).await;
        let taken: BTreeSet<_> = handler.taken().into_iter().collect();
        assert_eq!(taken, (first..=10).collect(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn positions_outlive_their_resource_only_where_asked() {
    let handler = takes_all();
    let world = world(&[("h", &handler)]);
    let config = |uid: &str, keep: Option<u64>| ConsumerConfig {
        uid: uid.into(),
        start: Start::Latest,
        keep_position: keep.map(Duration::from_secs),
        ..world.consumer("t", "local://h/")
    };
    // Applies, removes, publishes one while it is gone, waits, applies again: was it delivered?
    let rounds = [
        (config("1", None), config("2", None), 0, false),
        (config("3", Some(600)), config("4", Some(600)), 60, true),
        (config("5", Some(600)), config("6", Some(600)), 6000, false),
        (config("7", Some(600)), config("8", None), 60, false),
    ];
    for (next, (first, second, away, resumes)) in rounds.into_iter().enumerate() {
        world.dispatcher.apply(first).await.unwrap();
        world.idle("t").await;
        world.dispatcher.remove(&id("t")).await;
        world.publish([event(next)]).await;
        tokio::time::sleep(Duration::from_secs(away)).await;
        world.dispatcher.apply(second).await.unwrap();
        world.idle("t").await;
        assert_eq!(handler.taken().contains(&next), resumes, "event {next}");
        world.dispatcher.remove(&id("t")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_is_released_up_to_the_slowest_consumer() {
    let (stuck, fine) = (
        LocalScript::new(|id, _| if id == 30 { 503 } else { 200 }),
        takes_all(),
    );
    let mut world = world(&[("stuck", &stuck), ("fine", &fine)]);
    let log = world
        .store
        .open(
            "small",
            Retention {
                max_bytes: Some(0),
                max_age: None,
                protect: true,
            },
        )
        .unwrap();
    world.log = Arc::clone(&log);
    let config = |world: &World, name: &str| {
        let mut config = ConsumerConfig {
            policy: DeliveryPolicy {
                backoff_delay: Duration::from_secs(1_000),
                ..policy(1)
            },
            ..world.consumer(name, &format!("local://{name}/"))
        };
        config.source.name = "small".into();
        config
    };
    world
        .dispatcher
        .apply(config(&world, "stuck"))
        .await
        .unwrap();
    world
        .dispatcher
        .apply(config(&world, "fine"))
        .await
        .unwrap();
    world.publish((0..100).map(event)).await;
    until("what both have is gone", || log.stats().first == 30).await;
    // A consumer that has not been started again still counts.
    world.shut_down(true).await;
    world.start_again();
    world
        .dispatcher
        .apply(config(&world, "fine"))
        .await
        .unwrap();
    world.publish((100..110).map(event)).await;
    until("one has everything", || fine.taken().len() == 110).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(log.stats().first, 30);
    // It does not, once it is known to be gone.
    world.dispatcher.retain(&HashSet::from([id("fine")]));
    until("the rest is gone", || log.stats().first == 110).await;
    // A log without any consumer is not kept from retention.
    world.dispatcher.remove(&id("fine")).await;
    world.dispatcher.settled(&config(&world, "fine").source);
    world.publish((110..120).map(event)).await;
    until("all is gone", || log.stats().first == 120).await;
    world.shut_down(true).await;
}

#[tokio::test(start_paused = true)]
async fn gaps_are_passed_over_and_counted() {
    let gate = Arc::new(Notify::new());
    let handler = LocalScript::held(Arc::clone(&gate));
    let mut world = world(&[("h", &handler)]);
    let unprotected = Retention {
        max_bytes: Some(2_000),
        max_age: None,
        protect: false,
    };
    world.log = world.store.open("leaky", unprotected).unwrap();
    let mut config = ConsumerConfig {
        max_in_flight: 1,
        policy: DeliveryPolicy {
            timeout: Duration::from_secs(100_000),
            ..policy(1)
        },
        ..world.consumer("t", "local://h/")
    };
    config.source.name = "leaky".into();
    world.dispatcher.apply(config).await.unwrap();
    world.publish([event(0)]).await;
    until("one is in flight", || world.stats("t").in_flight == 1).await;
    // Too many for its queue, and for the log.
    world.publish((1..3_000).map(event)).await;
    gate.notify_one();
    world.idle("t").await;
    let stats = world.stats("t");
    let taken = handler.taken();
    assert!(taken.is_sorted() && taken.contains(&0) && taken.contains(&2_999));
    assert!(stats.missing > 0, "some were lost");
    assert_eq!(stats.missing as usize + taken.len(), 3_000);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_leaves_the_backlog_only_when_it_is_kept() {
    let handler = LocalScript::new(|_, _| 400);
    let clock: Arc<dyn Clock> = TokioClock::new();
    let store = |capacity| {
        let clock = Arc::clone(&clock);
        MemoryStore::new(MemoryOptions { capacity, clock })
    };
    let log = store(1 << 20).open("broker", Retention::default()).unwrap();
    // A few dead letters fit, and nothing releases them.
    let small = World::over(
        locals(&[("h", &handler)]),
        Arc::clone(&clock),
        WINDOW_BYTES,
        store(600),
        log,
    );
    small
        .dispatcher
        .apply(small.consumer("t", "local://h/"))
        .await
        .unwrap();
    let count = 10;
    small.publish((0..count).map(event)).await;
    until("no more can be kept", || {
        small.stats("t").failed_attempts > count as u64 + 20
    })
    .await;
    let stats = small.stats("t");
    assert!((1..count as u64).contains(&stats.kept), "{stats:?}");
    assert_eq!(stats.backlog, count as u64 - stats.kept);
    let last = stats.last_error.unwrap();
    assert!(last.contains("full"), "{last}");
    // Somebody takes care of the first ones, and there is room for the others.
    let dead = small.dispatcher.dead_letters(&id("t")).unwrap();
    until("all are kept", || {
        dead.release(dead.stats().next);
        small.stats("t").kept == count as u64
    })
    .await;
    small.idle("t").await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_gone_is_no_disaster() {
    let handler = takes_all();
    let mut world = world(&[("h", &handler)]);
    world
        .dispatcher
        .apply(world.consumer("t", "local://h/"))
        .await
        .unwrap();
    world.publish((0..10).map(event)).await;
    world.idle("t").await;
    world.store.remove("broker").unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    // A new log of the same name: the old position means nothing.
    world.log = world.store.open("broker", Retention::default()).unwrap();
    world.publish((20..25).map(event)).await;
    world
        .dispatcher
        .apply(world.consumer("t", "local://h/"))
        .await
        .unwrap();
    world.idle("t").await;
    let taken: BTreeSet<_> = handler.taken().into_iter().collect();
    assert_eq!(taken, (0..10).chain(20..25).collect());
    let other = ConsumerConfig {
        subscriber: Some(target("local://nobody/")),
        ..world.consumer("u", "local://h/")
    };
    world.dispatcher.apply(other).await.unwrap();
    world.idle("u").await;
    assert_eq!(
        world.dead_letters("u").await.len(),
        5,
        "a handler that is not there"
    );
    world.shut_down(true).await;
}
