//! How consumers begin, go on after restarts, and end. With paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use heddle_broker::filter::{AttributesFilter, Filter};
use heddle_dispatcher::config::{Backoff, ConsumerConfig, DeliveryPolicy, Order, Start};
use support::local::{LocalScript, flaky, noise, takes_all, world};
use support::{World, event, id, keyed, policy, until};

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
async fn consumers_that_begin_together_share_a_sync() {
    let handler = takes_all();
    let mut world = world(&[("h", &handler)]);
    let configs = |world: &World| -> Vec<ConsumerConfig> {
        let latest = |n| ConsumerConfig {
            start: Start::Latest,
            ..world.consumer(&format!("t{n}"), "local://h/")
        };
        (0..200).map(latest).collect()
    };
    let mut durable = world.dispatcher.durable();
    // Nothing is written meanwhile.
    let all = tokio::task::unconstrained(async {
        let mut tickets = Vec::new();
        for config in configs(&world) {
            let begun = world.dispatcher.begin(config.clone()).await.unwrap();
            tickets.push(begun.expect("its position is new"));
            assert_eq!(world.dispatcher.begin(config).await.unwrap(), None);
        }
        assert!(tickets.iter().all(|one| !durable.borrow().covers(*one)));
        tickets.into_iter().max().unwrap()
    })
    .await;
    durable
        .wait_for(|durable| durable.covers(all))
        .await
        .unwrap();
    assert_eq!(world.metric("heddle_position_groups_total"), 1);

    world.crash().await;
    world.publish([event(1)]).await;
    for config in configs(&world) {
        assert_eq!(world.dispatcher.begin(config).await.unwrap(), None);
    }
    until("all have it", || handler.taken().len() == 200).await;
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
async fn events_wait_for_a_subscriber_that_is_not_known() {
    let handler = takes_all();
    let world = world(&[("h", &handler)]);
    let known = world.consumer("t", "local://h/");
    let unknown = ConsumerConfig {
        subscriber: None,
        ..known.clone()
    };
    world.dispatcher.apply(unknown).await.unwrap();
    world.publish((0..2_000).map(event)).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let stats = world.stats("t");
    assert_eq!((stats.failed_attempts, stats.backlog), (0, 2_000));
    assert!(stats.held < 200, "{} events held", stats.held);
    world.dispatcher.apply(known).await.unwrap();
    world.idle("t").await;
    assert_eq!(handler.taken().len(), 2_000);
}

/// A Trigger whose subscriber is not known yet, or whose filter is not understood, has no
/// subscriber. What comes in waits in the log, and is chosen by the filter that it gets in the end.
#[tokio::test(start_paused = true)]
async fn without_a_subscriber_events_wait_for_one() {
    let handler = takes_all();
    let world = world(&[("h", &handler)]);
    let config = world.consumer("t", "local://h/");
    let held = || ConsumerConfig {
        subscriber: None,
        ..config.clone()
    };
    let wants = |key: &str| ConsumerConfig {
        filter: Filter::Attributes(AttributesFilter::new([("partitionkey", key)])),
        ..config.clone()
    };
    world.dispatcher.apply(held()).await.unwrap();
    world.publish([keyed(1, 1), keyed(2, 2)]).await;
    until("the backlog is seen", || world.stats("t").backlog == 2).await;
    world.dispatcher.apply(wants("key-2")).await.unwrap();
    world.idle("t").await;
    assert_eq!(handler.calls().len(), 1);
    // And again from a consumer that keeps up with the log.
    world.dispatcher.apply(held()).await.unwrap();
    world.publish([keyed(3, 1), keyed(4, 2)]).await;
    until("the backlog is seen", || world.stats("t").backlog == 2).await;
    world.dispatcher.apply(wants("key-1")).await.unwrap();
    world.idle("t").await;
    let ids: Vec<usize> = handler.calls().iter().map(|call| call.id).collect();
    assert_eq!(ids, [2, 3]);
}
