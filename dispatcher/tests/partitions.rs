//! Consumers of a log with partitions: once each, one limit for all, and a position in each. With paused
//! time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use heddle_broker::log::{Partitions, Retention};
use heddle_dispatcher::config::{ConsumerConfig, Order, Source};
use support::local::{LocalScript, flaky, is_each_once, world};
use support::{World, event, id, keyed, policy, until};

/// Three partitions in the store of a world.
fn partitions(world: &World) -> Partitions {
    let open = |name: &str| world.store.open(name, Retention::default()).unwrap();
    Partitions::new(["p0", "p1", "p2"].map(open).into()).unwrap()
}

fn consumer(world: &World, logs: &Partitions) -> ConsumerConfig {
    ConsumerConfig {
        source: Source {
            name: "parts".into(),
            logs: logs.clone(),
        },
        ..world.consumer("t", "local://h/")
    }
}

async fn publish(logs: &Partitions, numbers: impl IntoIterator<Item = usize>) {
    for n in numbers {
        let event = event(n);
        logs.of(&event).append(vec![event]).unwrap().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn all_partitions_share_one_limit_and_no_key_of_a_delivery() {
    let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (running, highest) = (Arc::clone(&now), Arc::clone(&most));
    let handler = LocalScript::later(move |_, n| {
        let (running, highest) = (Arc::clone(&running), Arc::clone(&highest));
        Box::pin(async move {
            highest.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            if n == 0 { 503 } else { 200 }
        })
    });
    let world = world(&[("h", &handler)]);
    let logs = partitions(&world);
    let config = ConsumerConfig {
        max_in_flight: 4,
        ..consumer(&world, &logs)
    };
    world.dispatcher.apply(config).await.unwrap();
    publish(&logs, 0..300).await;
    assert!(logs.all().iter().all(|log| log.stats().next == 100));
    world.idle("t").await;
    assert!(is_each_once(&handler.taken(), 300));
    assert_eq!(
        most.load(Ordering::SeqCst),
        4,
        "the limit is used up, and kept"
    );
    let calls = handler.calls();
    let keys: HashSet<_> = calls.iter().map(|call| &call.idempotency_key).collect();
    assert_eq!(keys.len(), 300, "a key stands for one delivery");
    let stats = world.stats("t");
    assert_eq!(
        (stats.delivered, stats.position, stats.seen),
        (300, 300, 300)
    );
}

#[tokio::test(start_paused = true)]
async fn each_partition_is_in_order() {
    for seed in 0..3 {
        let handler = flaky(seed);
        let world = world(&[("h", &handler)]);
        let logs = partitions(&world);
        let config = ConsumerConfig {
            order: Order::Ordered,
            policy: policy(10),
            ..consumer(&world, &logs)
        };
        world.dispatcher.apply(config).await.unwrap();
        let events: Vec<_> = (0..200).map(|n| keyed(n, n % 7)).collect();
        // What comes in together is spread by its keys, and each of those stays together.
        for (log, part) in logs.spread(events) {
            log.append(part).unwrap().await.unwrap();
        }
        world.idle("t").await;
        let taken = handler.taken();
        assert!(is_each_once(&taken, 200));
        for key in 0..7 {
            let of_key: Vec<_> = taken.iter().filter(|n| **n % 7 == key).collect();
            assert!(of_key.is_sorted(), "key {key}, seed {seed}: {of_key:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_partition_has_a_position_that_outlives_a_restart_and_ends_with_the_consumer() {
    let handler = LocalScript::new(|_, _| 200);
    let mut world = world(&[("h", &handler)]);
    let logs = partitions(&world);
    let config = consumer(&world, &logs);
    world.dispatcher.apply(config.clone()).await.unwrap();
    publish(&logs, 0..30).await;
    world.idle("t").await;
    world.shut_down(true).await;
    publish(&logs, 30..60).await;
    world.start_again();
    world.dispatcher.apply(config.clone()).await.unwrap();
    world.idle("t").await;
    assert!(is_each_once(&handler.taken(), 60), "a position was lost");

    // A consumer that is made anew after it was removed knows nothing of the old positions.
    world.dispatcher.remove(&id("t")).await;
    world.dispatcher.apply(config).await.unwrap();
    until("all is delivered once more", || {
        handler.taken().len() == 120
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_comes_later_is_read_from_its_beginning() {
    let handler = LocalScript::new(|_, _| 200);
    let world = world(&[("h", &handler)]);
    let logs = partitions(&world);
    let fewer = Partitions::new(logs.all()[..2].to_vec()).unwrap();
    let start = heddle_dispatcher::config::Start::Latest;
    let config = |logs| ConsumerConfig {
        start,
        ..consumer(&world, logs)
    };
    world.dispatcher.apply(config(&fewer)).await.unwrap();
    publish(&logs, 0..30).await;
    until("two partitions are delivered", || {
        handler.taken().len() == 20
    })
    .await;
    world.dispatcher.apply(config(&logs)).await.unwrap();
    world.idle("t").await;
    assert!(is_each_once(&handler.taken(), 30));
}
