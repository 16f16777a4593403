//! Changes of consumers as the controllers ask for them: none holds up another. With paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use heddle_broker::control::{OpenLogs, broker};
use heddle_broker::event::Event;
use heddle_broker::log::{
    AppendError, Commit, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit, Retention,
};
use heddle_crds::eventing::Broker;
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::world::World as Objects;
use heddle_dispatcher::control::Control;
use jiff::Timestamp;
use serde_json::{Value, json};
use support::local::world;
use support::{World, id};
use tokio::sync::{Semaphore, watch};

/// A log on a server that answers when it is let: with an offset, or that it has none.
#[derive(Debug)]
struct SlowLog {
    inner: Arc<dyn Log>,
    answers: Arc<Semaphore>,
    fails: bool,
    asked: AtomicUsize,
}

#[async_trait]
impl Log for SlowLog {
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        self.inner.append(events)
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        self.inner.read(from, limit).await
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.inner.tail()
    }

    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answers.acquire().await.unwrap().forget();
        if self.fails {
            let reason = "no server answers".into();
            return Err(ReadError::Io { reason });
        }
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

/// Controllers with a Broker on a slow log.
struct Fixture {
    world: World,
    objects: Objects,
    log: Arc<SlowLog>,
    control: Control,
}

impl Fixture {
    fn new(fails: bool) -> Self {
        let world = world(&[]);
        let log = Arc::new(SlowLog {
            inner: Arc::clone(&world.log),
            answers: Arc::new(Semaphore::new(0)),
            fails,
            asked: AtomicUsize::new(0),
        });
        let object = json!({
            "apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
            "metadata": {"name": "b", "namespace": "default", "uid": "u"}, "spec": {},
        });
        let object: Arc<Broker> = Arc::new(serde_json::from_value(object).unwrap());
        let logs = OpenLogs::default();
        logs.insert(&broker::log_of(&object), Arc::clone(&log) as Arc<dyn Log>);
        let mut objects = Objects::default();
        objects.brokers.put(object);
        let control = Control::new(Arc::clone(&world.dispatcher), logs, BTreeSet::new());
        Self {
            world,
            objects,
            log,
            control,
        }
    }

    /// A Trigger; one with a time begins there, which the log has to be asked for.
    fn put(&mut self, name: &str, start: &str, uri: &str) {
        let object = json!({
            "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
            "metadata": {
                "name": name, "namespace": "default", "uid": name, "generation": 1,
                "annotations": {"delivery.heddle.dev/start": start},
            },
            "spec": {"broker": "b", "subscriber": {"uri": uri}},
        });
        let object = serde_json::from_value(object).unwrap();
        self.objects.triggers.put(Arc::new(object));
    }

    /// What is to be written about the consumer of a Trigger: the status of its condition.
    fn look(&mut self, name: &str) -> Option<String> {
        let key = Key::new("Trigger", "default", name);
        let now = Timestamp::UNIX_EPOCH;
        let writes = self.control.reconcile(&self.objects, &key, now);
        writes.into_iter().find_map(|write| {
            let Write::Status(_, _, status) = write else {
                return None;
            };
            let conditions = status["conditions"].as_array()?;
            let found = |one: &&Value| one["type"] == "SubscriptionReady";
            let condition = conditions.iter().find(found)?;
            Some(condition["status"].as_str()?.to_owned())
        })
    }

    /// The names that are to be looked at again.
    async fn next(&mut self) -> Vec<String> {
        let keys = tokio::time::timeout(Duration::from_secs(60), self.control.next());
        let keys = keys.await.expect("news").into_iter();
        keys.map(|key| key.name).collect()
    }

    fn asked(&self) -> usize {
        self.log.asked.load(Ordering::Relaxed)
    }
}

const THEN: &str = "2026-11-20T11:00:00Z";

#[tokio::test(start_paused = true)]
async fn a_change_that_takes_its_time_holds_up_no_other() {
    let mut fixture = Fixture::new(false);
    fixture.put("slow", THEN, "http://s/");
    fixture.put("fast", "latest", "http://s/");
    assert_eq!(fixture.look("slow"), None);
    assert_eq!(fixture.look("fast"), None, "its position is not durable");
    assert_eq!(fixture.next().await, ["fast"]);
    assert_eq!(fixture.look("fast").as_deref(), Some("True"));

    // What comes meanwhile is not lost, and not done at the same time.
    fixture.put("slow", THEN, "http://other/");
    assert_eq!(fixture.look("slow"), None);
    assert_eq!(fixture.asked(), 1);
    assert!(fixture.control.is_busy());
    fixture.log.answers.add_permits(1);
    assert_eq!(fixture.next().await, ["slow"]);
    assert_eq!(fixture.look("slow"), None, "its position is not durable");
    assert_eq!(fixture.next().await, ["slow"]);
    assert_eq!(fixture.look("slow").as_deref(), Some("True"));
    assert_eq!(fixture.asked(), 1);
    assert!(!fixture.control.is_busy());

    // One that goes while it is being made is gone in the end.
    fixture.put("gone", THEN, "http://s/");
    assert_eq!(fixture.look("gone"), None);
    fixture.objects.triggers.remove("default", "gone");
    assert_eq!(fixture.look("gone"), None);
    fixture.log.answers.add_permits(1);
    assert_eq!(fixture.next().await, ["gone"]);
    assert_eq!(fixture.look("gone"), None);
    assert!(!fixture.world.dispatcher.consumers().contains(&id("gone")));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_does_not_work_is_told_of_and_not_tried_at_once_again() {
    let mut fixture = Fixture::new(true);
    fixture.put("slow", THEN, "http://s/");
    assert_eq!(fixture.look("slow"), None);
    fixture.log.answers.add_permits(1);
    assert_eq!(fixture.next().await, ["slow"]);
    assert_eq!(fixture.look("slow").as_deref(), Some("Unknown"));
    assert_eq!(fixture.asked(), 1);
    // With the next occasion it is.
    assert_eq!(fixture.look("slow"), None);
    assert_eq!(fixture.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn changes_under_way_are_bounded() {
    let mut fixture = Fixture::new(false);
    let mut started = 0;
    while fixture.control.has_room() {
        let name = format!("slow-{started}");
        fixture.put(&name, THEN, "http://s/");
        assert_eq!(fixture.look(&name), None);
        started += 1;
        assert!(started <= 1_000);
    }
    fixture.log.answers.add_permits(1);
    fixture.next().await;
    assert!(fixture.control.has_room());
}
