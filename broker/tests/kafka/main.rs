//! The Kafka backend against real servers: the laws of the log, outages, and what others do to a topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod laws;
mod outages;
#[path = "../../../tests/support/kafka/mod.rs"]
#[allow(dead_code, unused_imports)] // The tests of the binary use the rest.
mod server;
mod topics;
#[path = "../../../tests/support/wait.rs"]
#[allow(dead_code)]
mod wait;

use std::sync::Arc;
use std::time::Duration;

use heddle_broker::clock::Clock;
use heddle_broker::log::kafka::{Access, KafkaStore, Options, Template};
use heddle_broker::log::suite::opened;
use heddle_broker::log::{LogStore as _, Partitions, Retention};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// A store, and how to end it.
struct Connected {
    store: KafkaStore,
    changes: watch::Receiver<u64>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Connected {
    /// Ends the store, and waits for its tasks.
    async fn end(&self) {
        self.stop.cancel();
        self.tracker.close();
        let ended = tokio::time::timeout(PATIENCE, self.tracker.wait()).await;
        ended.expect("the tasks of the store do not end");
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A store whose appends may take so long. On a busy machine a server may be slow without being away.
fn connect(access: Access, clock: Arc<dyn Clock>, timeout: Duration) -> Connected {
    let stop = CancellationToken::new();
    let options = Options {
        access,
        clock,
        upkeep: (Duration::from_millis(10), Duration::from_millis(50)),
        timeout,
    };
    let tracker = TaskTracker::new();
    let counter = Arc::new(watch::Sender::new(0));
    let changes = counter.subscribe();
    let template = Template::new("unnamed");
    let store = KafkaStore::start(options, template, counter, &tracker, &stop);
    Connected {
        store,
        changes,
        tracker,
        stop,
    }
}

/// A topic's name for any name of a log.
fn topic(log: &str) -> String {
    let sum = log
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    format!("heddle-{sum:x}")
}

impl Connected {
    /// Opens a log of one partition when it can be opened. Blocks, as callers of stores may.
    fn open(&self, name: &str, retention: Retention) -> Partitions {
        let store = self.store.with(Template::new(&topic(name)));
        opened(self.changes.clone(), PATIENCE, || {
            store.open_all(name, retention)
        })
    }
}
