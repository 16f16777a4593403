//! The JetStream backend against a real nats-server: the laws of the log, and outages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod conformance;
mod outages;
mod server;

use std::sync::Arc;
use std::time::Duration;

use heddle_broker::clock::Clock;
use heddle_broker::log::jetstream::{JetStreamStore, Options, Template};
use heddle_broker::log::{Log, LogStore, OpenError, Retention};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store, and how to end it.
struct Connected {
    store: JetStreamStore,
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

async fn connect(url: &str, clock: Arc<dyn Clock>) -> Connected {
    let stop = CancellationToken::new();
    let options = Options {
        servers: url.to_owned(),
        connect: async_nats::ConnectOptions::new()
            .reconnect_delay_callback(|_| Duration::from_millis(20)),
        prefix: "test".to_owned(),
        clock,
        upkeep: (Duration::from_millis(10), Duration::from_millis(50)),
    };
    let tracker = TaskTracker::new();
    let store = JetStreamStore::connect(options, tracker.clone(), stop.clone())
        .await
        .unwrap();
    // Tests of the same log twice give the same events again.
    let template = Template {
        duplicate_window: Duration::ZERO,
        ..Template::default()
    };
    let store = store.with(template);
    Connected {
        store,
        tracker,
        stop,
    }
}

/// Opens a log when it can be opened. Blocks, as callers of [`LogStore`] may.
fn open(
    store: &JetStreamStore,
    name: &str,
    retention: Retention,
) -> Result<Arc<dyn Log>, OpenError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.open(name, retention) {
            Err(error) if Instant::now() < deadline && !name.is_empty() && name.len() <= 512 => {
                let mut changes = store.changes();
                let wait = async {
                    if store.open(name, retention).is_err() {
                        drop(tokio::time::timeout(Duration::from_secs(1), changes.changed()).await);
                    }
                };
                drop(error);
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(wait));
            }
            outcome => return outcome,
        }
    }
}
