//! What becomes of events whose log lets them go, or cannot keep them. With paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use heddle_broker::clock::Clock;
use heddle_broker::event::Event;
use heddle_broker::log::memory::{MemoryOptions, MemoryStore};
use heddle_broker::log::{
    AppendError, Commit, Health, Log, LogStats, LogStore, Offset, OpenError, ReadBatch, ReadError,
    ReadLimit, Retention,
};
use heddle_dispatcher::config::{ConsumerConfig, DeliveryPolicy};
use heddle_dispatcher::dispatcher::WINDOW_BYTES;
use jiff::Timestamp;
use support::local::{LocalScript, locals, takes_all, world};
use support::{TokioClock, World, event, id, policy, target, until};
use tokio::sync::{Notify, watch};

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
        subscriber: Some(target("local://nobody/").into()),
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
