//! The laws of the log. One server serves all of them: each test has topics of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use heddle_broker::clock::ManualClock;
use heddle_broker::log::kafka::{Access, KafkaStore, Template};
use heddle_broker::log::suite::{Subject, event, fill, opened, read_all};
use heddle_broker::log::{
    AppendError, Health, Log, LogStore, OpenError, ReadError, Retention, check_name,
};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};

use super::server::{Cluster, jars};
use super::{Connected, PATIENCE, connect, topic};

/// The server of all tests in this process. It ends with the process.
static SERVER: OnceCell<Cluster> = OnceCell::const_new();

async fn server(jars: PathBuf) -> &'static Cluster {
    SERVER.get_or_init(|| Cluster::single_owned(jars)).await
}

impl Cluster {
    async fn single_owned(jars: PathBuf) -> Self {
        Self::single(&jars).await
    }
}

/// A store with topics of its own.
struct Kafka {
    prefix: String,
    clock: Arc<ManualClock>,
    connected: Connected,
}

/// A store that waits where the real one says that it is not ready yet.
#[derive(Debug)]
struct Patient {
    store: KafkaStore,
    changes: watch::Receiver<u64>,
    prefix: String,
}

impl Patient {
    fn of(&self, name: &str) -> KafkaStore {
        let topic = format!("{}-{}", self.prefix, topic(name));
        self.store.with(Template::new(&topic))
    }
}

impl LogStore for Patient {
    fn open(&self, name: &str, retention: Retention) -> Result<Arc<dyn Log>, OpenError> {
        check_name(name)?;
        let store = self.of(name);
        Ok(opened(self.changes.clone(), PATIENCE, || {
            store.open(name, retention)
        }))
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        self.store.remove(name)
    }

    fn names(&self) -> Vec<String> {
        self.store.names()
    }

    fn health(&self) -> Health {
        self.store.health()
    }
}

fn blocking<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| Handle::current().block_on(future))
}

fn connected(clock: &Arc<ManualClock>) -> Connected {
    let server = blocking(server(jars().unwrap()));
    connect(
        Access::plain(&server.servers()),
        Arc::clone(clock) as _,
        PATIENCE,
    )
}

impl Subject for Kafka {
    fn is_there() -> bool {
        jars().is_some()
    }

    fn create() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let connected = connected(&clock);
        Self {
            prefix: format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            clock,
            connected,
        }
    }

    fn store(&self) -> Arc<dyn LogStore> {
        Arc::new(Patient {
            store: self.connected.store.clone(),
            changes: self.connected.changes.clone(),
            prefix: self.prefix.clone(),
        })
    }

    /// The server goes on: that it survives a kill is seen among the outages.
    fn reopen(&mut self) -> Option<Arc<dyn LogStore>> {
        blocking(self.connected.end());
        self.connected = connected(&self.clock);
        Some(self.store())
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

heddle_broker::log_conformance!(Kafka, without[named]);

/// In the place of `named`: a store knows the names that it was told of in this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_are_removed_are_gone_and_the_others_are_left_alone() {
    if jars().is_none() {
        return;
    }
    let mut subject = Kafka::create();
    let store = subject.store();
    let keep = Retention::default();
    assert!(store.open("", keep).is_err());
    assert!(store.open(&"x".repeat(513), keep).is_err());
    let names = ["default/default", "with space, \u{e4} and \u{1f9f5}"];
    for name in names {
        let log = store.open(name, keep).unwrap();
        fill(&*log, 0..3, 10).await;
        assert_eq!(store.open(name, keep).unwrap().stats().next, 3);
    }
    let removed = store.open(names[0], keep).unwrap();
    store.remove(names[0]).unwrap();
    store.remove("never there").unwrap();
    assert!(matches!(
        removed.append(vec![event(9, 9)]),
        Err(AppendError::Closed { .. })
    ));
    let read = removed.read(0, heddle_broker::log::suite::ALL).await;
    assert_eq!(read.unwrap_err(), ReadError::Closed);
    assert_eq!(store.names(), [names[1]]);
    // One of the same name begins anew, as soon as the topic is deleted.
    let again = store.open(names[0], keep).unwrap();
    assert!(read_all(&*again, 0).await.0.is_empty());
    drop((store, again, removed));
    let store = subject.reopen().unwrap();
    let kept = store.open(names[1], keep).unwrap();
    assert_eq!(read_all(&*kept, 0).await.0.len(), 3);
}
