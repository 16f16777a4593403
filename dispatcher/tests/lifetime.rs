//! How consumers begin, go on after restarts, and end. With paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use heddle_broker::clock::Clock;
use heddle_broker::event::Event;
use heddle_broker::filter::{AttributesFilter, Filter};
use heddle_broker::log::memory::{MemoryOptions, MemoryStore};
use heddle_broker::log::{
    AppendError, Commit, Health, Log, LogStats, LogStore, Offset, OpenError, ReadBatch, ReadError,
    ReadLimit, Retention,
};
use heddle_dispatcher::config::{Backoff, ConsumerConfig, DeliveryPolicy, Order, Start};
use heddle_dispatcher::dispatcher::WINDOW_BYTES;
use jiff::Timestamp;
use support::local::{LocalScript, flaky, locals, noise, takes_all, world};
use support::{TokioClock, World, event, id, keyed, policy, target, until};
use tokio::sync::{Notify, watch};

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
    world
        .dispatcher
        .retain(|name| name == id("fine").to_string());
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
    let store = MemoryStore::new(MemoryOptions {
        clock: Arc::clone(&clock),
        ..MemoryOptions::default()
    });
    let log = store.open("broker", Retention::default()).unwrap();
    let shut = Shut::over(store);
    let full = Arc::clone(&shut.full);
    let small = World::over(
        locals(&[("h", &handler)]),
        Arc::clone(&clock),
        WINDOW_BYTES,
        Arc::new(shut),
        log,
    );
    small
        .dispatcher
        .apply(small.consumer("t", "local://h/"))
        .await
        .unwrap();
    let count = 10;
    small.publish((0..count).map(event)).await;
    until("none can be kept", || {
        small.stats("t").failed_attempts > count as u64 + 20
    })
    .await;
    let stats = small.stats("t");
    assert_eq!((stats.kept, stats.backlog), (0, count as u64));
    let last = stats.last_error.unwrap();
    assert!(last.contains("full"), "{last}");
    full.store(false, Ordering::Relaxed);
    until("all are kept", || small.stats("t").kept == count as u64).await;
    assert_eq!(small.dead_letters("t").await.len(), count);
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

/// A store whose logs take nothing while `full` is set.
#[derive(Debug)]
struct Shut {
    inner: Arc<MemoryStore>,
    full: Arc<AtomicBool>,
}

impl Shut {
    fn over(inner: Arc<MemoryStore>) -> Self {
        Self {
            inner,
            full: Arc::new(AtomicBool::new(true)),
        }
    }
}

impl LogStore for Shut {
    fn open(&self, name: &str, retention: Retention) -> Result<Arc<dyn Log>, OpenError> {
        Ok(Arc::new(ShutLog {
            inner: self.inner.open(name, retention)?,
            full: Arc::clone(&self.full),
        }))
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        self.inner.remove(name)
    }

    fn names(&self) -> Vec<String> {
        self.inner.names()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}

#[derive(Debug)]
struct ShutLog {
    inner: Arc<dyn Log>,
    full: Arc<AtomicBool>,
}

#[async_trait]
impl Log for ShutLog {
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(AppendError::DiskFull);
        }
        self.inner.append(events)
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        self.inner.read(from, limit).await
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.inner.tail()
    }

    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        self.inner.offset_at(time).await
    }

    fn release(&self, up_to: Offset) {
        self.inner.release(up_to);
    }

    fn set_retention(&self, retention: Retention) {
        self.inner.set_retention(retention);
    }

    fn stats(&self) -> LogStats {
        self.inner.stats()
    }
}
