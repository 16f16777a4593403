//! The JetStream backend against a real nats-server: the laws of the log, and outages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod laws;
mod outages;
#[allow(dead_code)] // What the tests of the binary share with these.
#[path = "../../../tests/support/nats.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use heddle_broker::clock::Clock;
use heddle_broker::log::jetstream::{Access, JetStreamStore, Options, Template};
use heddle_broker::log::suite::opened;
use heddle_broker::log::{Log, LogStore, Retention};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store, and how to end it.
struct Connected {
    store: JetStreamStore,
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

fn connect(url: &str, clock: Arc<dyn Clock>) -> Connected {
    let stop = CancellationToken::new();
    let options = Options {
        access: Access::new(url),
        prefix: "test".to_owned(),
        clock,
        upkeep: (Duration::from_millis(10), Duration::from_millis(50)),
    };
    let tracker = TaskTracker::new();
    let counter = Arc::new(watch::Sender::new(0));
    let changes = counter.subscribe();
    let store = JetStreamStore::start(options, counter, &tracker, stop.clone());
    // Tests of the same log twice give the same events again.
    let template = Template {
        duplicate_window: Duration::ZERO,
        ..Template::default()
    };
    let store = store.with(template);
    Connected {
        store,
        changes,
        tracker,
        stop,
    }
}

impl Connected {
    /// Opens a log when it can be opened. Blocks, as callers of [`LogStore`] may.
    fn open(&self, name: &str, retention: Retention) -> Arc<dyn Log> {
        opened(self.changes.clone(), PATIENCE, || {
            self.store.open(name, retention)
        })
    }
}
