//! The laws of the log.

use std::sync::Arc;

use heddle_broker::clock::ManualClock;
use heddle_broker::log::jetstream::JetStreamStore;
use heddle_broker::log::suite::Subject;
use heddle_broker::log::{Health, Log, LogStore, OpenError, Retention};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::server::{Server, program};
use super::{Connected, connect, wait_to_open};

/// A store on a server of its own.
struct JetStream {
    server: Server,
    clock: Arc<ManualClock>,
    connected: Connected,
}

/// A store that waits where the real one says that it is not ready yet.
#[derive(Debug)]
struct Patient(JetStreamStore, watch::Receiver<u64>);

impl LogStore for Patient {
    fn open(&self, name: &str, retention: Retention) -> Result<Arc<dyn Log>, OpenError> {
        wait_to_open(&self.0, self.1.clone(), name, retention)
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        self.0.remove(name)
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn health(&self) -> Health {
        self.0.health()
    }
}

fn connected(server: &Server, clock: &Arc<ManualClock>) -> Connected {
    tokio::task::block_in_place(|| {
        Handle::current().block_on(async {
            let connected = connect(&server.url(), Arc::clone(clock) as _);
            // The names are known once the first change is told.
            let mut changes = connected.changes.clone();
            changes.wait_for(|count| *count > 0).await.unwrap();
            connected
        })
    })
}

impl Subject for JetStream {
    fn create() -> Self {
        let server = Server::start(&program().unwrap());
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let connected = connected(&server, &clock);
        Self {
            server,
            clock,
            connected,
        }
    }

    fn store(&self) -> Arc<dyn LogStore> {
        Arc::new(Patient(
            self.connected.store.clone(),
            self.connected.changes.clone(),
        ))
    }

    /// The server restarts too, with what it has on its disk.
    fn reopen(&mut self) -> Option<Arc<dyn LogStore>> {
        tokio::task::block_in_place(|| Handle::current().block_on(self.connected.end()));
        self.server.restart();
        self.connected = connected(&self.server, &self.clock);
        Some(self.store())
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

/// Where there is no server, there is nothing to be tested.
macro_rules! laws {
    ($($law:ident),+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $law() {
            if program().is_some() {
                heddle_broker::log::suite::$law::<JetStream>().await;
            }
        })+
    };
}

laws!(
    durable,
    whole,
    ordered,
    visible_after_commit,
    exact,
    continuous,
    released_then_trimmed,
    unprotected_is_trimmed,
    trimmed_by_age,
    bounded_reads,
    bounded_appends,
    resuming,
    resuming_after_removal_of_all,
    found_by_time,
    named,
    empty_appends
);
