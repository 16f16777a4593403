//! What the tests share: a dispatcher over a memory log, and subscribers that do as they are told.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use heddle_broker::clock::{Clock, SystemClock};
use heddle_broker::event::{Event, EventBuilder};
use heddle_broker::filter::Filter;
use heddle_broker::log::memory::{MemoryOptions, MemoryStore};
use heddle_broker::log::{Log, LogStore, ReadLimit, Record, Retention};
use heddle_dispatcher::config::{
    Backoff, ConsumerConfig, ConsumerId, DeliveryPolicy, Order, Protocol, Source, Start, Target,
};
use heddle_dispatcher::dispatcher::{TOTAL_BYTES, WINDOW_BYTES};
use heddle_dispatcher::subscriber::LocalSubscribers;
use heddle_dispatcher::{ConsumerStats, Dispatcher, DispatcherOptions};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub mod http;
pub mod local;

/// A clock that goes with tokio's, also when that is paused.
#[derive(Debug)]
pub struct TokioClock {
    start: Timestamp,
    since: tokio::time::Instant,
}

impl TokioClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: "2026-11-20T12:00:00Z".parse().unwrap(),
            since: tokio::time::Instant::now(),
        })
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.start + self.since.elapsed()
    }
}

/// A dispatcher with what it needs. Logs outlive its restarts.
pub struct World {
    pub dir: TempDir,
    pub store: Arc<dyn LogStore>,
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    pub locals: LocalSubscribers,
    pub dispatcher: Arc<Dispatcher>,
    pub registry: Registry,
    pub window_bytes: usize,
    tracker: TaskTracker,
    stop: CancellationToken,
    force: CancellationToken,
}

struct Parts {
    dispatcher: Arc<Dispatcher>,
    registry: Registry,
    tracker: TaskTracker,
    stop: CancellationToken,
    force: CancellationToken,
}

fn open(
    dir: &Path,
    store: &Arc<dyn LogStore>,
    locals: &LocalSubscribers,
    clock: &Arc<dyn Clock>,
    window_bytes: usize,
) -> Parts {
    let (tracker, stop, force) = (
        TaskTracker::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let mut registry = Registry::default();
    let options = DispatcherOptions {
        state: sled::Config::new().path(dir),
        state_dir: dir.to_owned(),
        dead_letters: Arc::clone(store),
        locals: locals.clone(),
        clock: Arc::clone(clock),
        seed: 7,
        tracker: tracker.clone(),
        stop: stop.clone(),
        force: force.clone(),
        window_bytes,
        total_bytes: TOTAL_BYTES,
    };
    let dispatcher = Dispatcher::open(options, &mut registry).unwrap();
    Parts {
        dispatcher,
        registry,
        tracker,
        stop,
        force,
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(
            LocalSubscribers::default(),
            Arc::new(SystemClock),
            WINDOW_BYTES,
        )
    }

    pub fn with(locals: LocalSubscribers, clock: Arc<dyn Clock>, window_bytes: usize) -> Self {
        let store = MemoryStore::new(MemoryOptions {
            capacity: 1 << 30,
            clock: Arc::clone(&clock),
        });
        let log = store.open("broker", Retention::default()).unwrap();
        Self::over(locals, clock, window_bytes, store, log)
    }

    /// A world with logs of its own choice; the store is the one for dead letters.
    pub fn over(
        locals: LocalSubscribers,
        clock: Arc<dyn Clock>,
        window_bytes: usize,
        store: Arc<dyn LogStore>,
        log: Arc<dyn Log>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let parts = open(dir.path(), &store, &locals, &clock, window_bytes);
        Self {
            dir,
            store,
            log,
            clock,
            locals,
            dispatcher: parts.dispatcher,
            registry: parts.registry,
            window_bytes,
            tracker: parts.tracker,
            stop: parts.stop,
            force: parts.force,
        }
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.tracker.len()
    }

    /// What a metric without labels is at.
    pub fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    }

    /// Ends the dispatcher, gracefully or not, and waits for the end of all its tasks.
    pub async fn shut_down(&mut self, graceful: bool) {
        if graceful {
            self.stop.cancel();
        } else {
            self.force.cancel();
            self.stop.cancel();
        }
        self.tracker.close();
        tokio::time::timeout(Duration::from_secs(30), self.tracker.wait())
            .await
            .expect("all tasks end");
    }

    /// Starts a new dispatcher where the last one, which has been shut down, left off.
    pub fn start_again(&mut self) {
        let dir = tempfile::tempdir().unwrap();
        copy(self.dir.path(), dir.path());
        self.dir = dir;
        self.open_again();
    }

    /// Starts a new dispatcher from what is on disk now, as after a crash. The old one is ended.
    pub async fn crash(&mut self) {
        let dir = tempfile::tempdir().unwrap();
        copy(self.dir.path(), dir.path());
        self.shut_down(false).await;
        self.dir = dir;
        self.open_again();
    }

    fn open_again(&mut self) {
        let parts = open(
            self.dir.path(),
            &self.store,
            &self.locals,
            &self.clock,
            self.window_bytes,
        );
        self.dispatcher = parts.dispatcher;
        self.registry = parts.registry;
        self.tracker = parts.tracker;
        self.stop = parts.stop;
        self.force = parts.force;
    }

    /// A consumer of the world's log that starts at its first event and retries quickly.
    pub fn consumer(&self, name: &str, url: &str) -> ConsumerConfig {
        ConsumerConfig {
            id: id(name),
            uid: format!("uid-{name}").into(),
            source: Source {
                name: "broker".into(),
                logs: Arc::clone(&self.log).into(),
            },
            filter: Filter::All,
            subscriber: Some(target(url).into()),
            reply: None,
            dead_letter: None,
            policy: policy(3),
            order: Order::Unordered,
            max_in_flight: 16,
            start: Start::Earliest,
            keep_position: None,
        }
    }

    pub async fn publish(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.log.append(vec![event]).unwrap().await.unwrap();
        }
    }

    pub fn stats(&self, name: &str) -> ConsumerStats {
        self.dispatcher.stats(&id(name)).expect("the consumer runs")
    }

    /// Waits until the consumer has nothing left to do.
    pub async fn idle(&self, name: &str) {
        until(&format!("{name} has no backlog"), || {
            let stats = self.stats(name);
            stats.backlog == 0 && stats.held == 0
        })
        .await;
    }

    /// The events in the dead letter log of a consumer.
    pub async fn dead_letters(&self, name: &str) -> Vec<Record> {
        match self.dispatcher.dead_letters(&id(name)) {
            None => Vec::new(),
            Some(letters) => {
                let mut all = read_all(&**letters.log()).await;
                all.retain(|letter| letters.is_left(letter.offset));
                all
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub async fn read_all(log: &dyn Log) -> Vec<Record> {
    let first = log.stats().first;
    let limit = ReadLimit {
        records: usize::MAX,
        bytes: usize::MAX,
    };
    log.read(first, limit).await.unwrap().records
}

pub fn id(name: &str) -> ConsumerId {
    ConsumerId {
        kind: "trigger",
        namespace: "default".into(),
        name: name.into(),
    }
}

pub fn target(url: &str) -> Target {
    Target {
        uri: url.parse().unwrap(),
        ca_certs: None,
        protocol: Protocol::Http1,
    }
}

pub fn policy(retry: u32) -> DeliveryPolicy {
    DeliveryPolicy {
        retry,
        backoff: Backoff::Exponential,
        backoff_delay: Duration::from_millis(2),
        timeout: Duration::from_secs(20),
        ..DeliveryPolicy::default()
    }
}

pub fn event(n: usize) -> Event {
    EventBuilder::new(n.to_string(), "/test", "test.event")
        .data("text/plain", format!("data {n}").into_bytes())
        .build()
        .unwrap()
}

pub fn keyed(n: usize, key: usize) -> Event {
    event(n)
        .with(&[("partitionkey", format!("key-{key}").into())])
        .unwrap()
}

/// Waits until something is so, with a deadline for a test that would otherwise hang. The deadline
/// is in real time: paused time goes as fast as it is waited for.
#[allow(clippy::disallowed_methods)]
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let mut looks = 0;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "timed out: {what}");
        looks += 1;
        let pause = if looks < 200 { 1 } else { 20 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
