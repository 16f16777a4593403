//! The laws of the log.

use std::sync::Arc;

use heddle_broker::clock::ManualClock;
use heddle_broker::log::jetstream::JetStreamStore;
use heddle_broker::log::suite::{Subject, opened};
use heddle_broker::log::{Health, Log, LogStore, OpenError, Retention, check_name};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::server::{Server, program};
use super::{Connected, PATIENCE, connect};

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
        check_name(name)?;
        Ok(opened(self.1.clone(), PATIENCE, || {
            self.0.open(name, retention)
        }))
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
    fn is_there() -> bool {
        program().is_some()
    }

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

heddle_broker::log_conformance!(JetStream);
