//! Consumers over time: order, neighbours, changes under load, restarts. With paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use heddle_broker::filter::{AttributesFilter, Filter};
use heddle_dispatcher::config::{Backoff, ConsumerConfig, DeliveryPolicy, Order};
use support::local::{LocalScript, flaky, is_each_once, locals, takes_all, world};
use support::{TokioClock, World, event, id, keyed, policy, until};
use tokio::sync::Notify;

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
