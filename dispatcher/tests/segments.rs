//! Many producers, several consumers and a restart, over durable logs, HTTP and all threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use heddle_broker::clock::SystemClock;
use heddle_broker::log::segment::{SegmentOptions, SegmentStore};
use heddle_broker::log::{LogStore, Retention};
use heddle_dispatcher::config::{ConsumerConfig, Order};
use heddle_dispatcher::dispatcher::WINDOW_BYTES;
use heddle_dispatcher::subscriber::LocalSubscribers;
use support::http::{Answer, HttpSubscriber};
use support::{World, keyed, policy, until};
use tokio::task::JoinSet;

const PRODUCERS: usize = 8;
const EACH: usize = 100;

fn open(dir: &Path) -> Arc<SegmentStore> {
    let options = SegmentOptions {
        segment_bytes: 1 << 20,
        ..SegmentOptions::default()
    };
    SegmentStore::open(dir, options).unwrap()
}

/// Publishes from many tasks; within each of them, in the order of the ids.
async fn publish(world: &World, round: usize) {
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        let log = Arc::clone(&world.log);
        producers.spawn(async move {
            for n in 0..EACH {
                let id = (round * PRODUCERS + producer) * EACH + n;
                let event = keyed(id, producer);
                log.append(vec![event]).unwrap().await.unwrap();
            }
        });
    }
    producers.join_all().await;
}

fn config(world: &World, name: &str, url: &str, order: Order) -> ConsumerConfig {
    ConsumerConfig {
        order,
        policy: policy(20),
        ..world.consumer(name, url)
    }
}

/// Each event was taken once, and where there is an order it was kept.
fn check(subscriber: &HttpSubscriber, order: Order, rounds: usize) {
    let received = subscriber.received();
    let mut taken: Vec<usize> = received.iter().map(support::http::Received::id).collect();
    // An event is taken by its last attempt.
    let last: HashMap<usize, usize> = taken.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let mut at = 0;
    taken.retain(|id| {
        at += 1;
        last[id] == at - 1
    });
    assert_eq!(taken.len(), rounds * PRODUCERS * EACH, "{order:?}");
    let attempts = received.len() - taken.len();
    let failures = taken.iter().filter(|id| **id % 10 == 0).count();
    assert_eq!(
        attempts, failures,
        "{order:?}: each tenth fails once, nothing else is repeated"
    );
    if order != Order::Unordered {
        for producer in 0..PRODUCERS {
            let of = |id: &&usize| (**id / EACH) % PRODUCERS == producer;
            assert!(taken.iter().filter(of).is_sorted(), "{order:?}, {producer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_event_reaches_each_consumer() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let log = store.open("broker", Retention::default()).unwrap();
    let memory = heddle_broker::log::memory::MemoryStore::new(Default::default());
    let mut world = World::over(
        LocalSubscribers::default(),
        Arc::new(SystemClock),
        WINDOW_BYTES,
        memory,
        log,
    );
    let orders = [Order::Unordered, Order::Ordered, Order::Key];
    let names = ["unordered", "ordered", "key"];
    let mut subscribers = Vec::new();
    for _ in orders {
        let flaky = |received: &support::http::Received, n: usize| {
            let fails = received.id().is_multiple_of(10) && n == 0;
            Answer::Status(if fails { 503 } else { 200 })
        };
        subscribers.push(HttpSubscriber::start(flaky).await);
    }
    for round in 0..2 {
        for ((name, order), subscriber) in names.iter().zip(orders).zip(&subscribers) {
            let config = config(&world, name, &subscriber.url, order);
            world.dispatcher.apply(config).await.unwrap();
        }
        publish(&world, round).await;
        // The first round is cut short, at once.
        until("some are delivered", || {
            subscribers.iter().all(|s| s.count() > 50)
        })
        .await;
        if round == 1 {
            for name in names {
                world.idle(name).await;
            }
        }
        world.shut_down(true).await;
        store.close();
        store = open(dir.path());
        world.log = store.open("broker", Retention::default()).unwrap();
        world.start_again();
    }
    for (subscriber, order) in subscribers.iter().zip(orders) {
        check(subscriber, order, 2);
    }
    world.shut_down(true).await;
    store.close();
}
