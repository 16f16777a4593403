//! The way to the servers: made in the background, made again when it is lost, and made anew when the
//! way to reach them has changed.
//!
//! A way is two connections, a client for what is asked, and a [`Wire`] for what is published: both are
//! there, or neither counts. Every way is new, so that each is made in the manner that is wanted then. A
//! change takes effect once the new way stands: a slip in new credentials does not end one that works,
//! and what is wrong with them is said meanwhile. What is under way on an older one has
//! [`super::PATIENCE`] to be answered.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_nats::connection::State as Connection;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectOptions};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::access::{Access, CLIENT};
use super::publish::Wires;
use super::wire::Wire;
use super::{PATIENCE, PING};

/// How long to wait after an attempt that failed, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often to look whether a connection stands.
const LOOK: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    access: watch::Sender<Access>,
    /// Set with the first connection that stands.
    current: OnceLock<Arc<ArcSwap<Context>>>,
    /// What publishes, with the same servers.
    wires: watch::Sender<Option<Arc<Wire>>>,
    /// What went wrong with the last attempt.
    trouble: Mutex<Option<String>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Link {
    /// A connection that [`Link::run`] is to make; `changes` grows with everything that it finds out.
    pub(super) fn new(access: Access, changes: Arc<watch::Sender<u64>>) -> Self {
        Self {
            access: watch::Sender::new(access),
            current: OnceLock::new(),
            wires: watch::Sender::new(None),
            trouble: Mutex::new(None),
            changes,
        }
    }

    /// Changes how the servers are reached.
    pub(super) fn set_access(&self, access: &Access) {
        self.access.send_if_modified(|current| {
            let differs = current != access;
            if differs {
                current.clone_from(access);
            }
            differs
        });
    }

    /// The addresses, for people.
    pub(super) fn shown(&self) -> String {
        self.access.borrow().shown()
    }

    /// The way to the servers, while there is a connection; or what to tell people.
    pub(super) fn connected(&self) -> Result<&Arc<ArcSwap<Context>>, String> {
        let published = (self.wires.borrow().as_ref()).is_some_and(|wire| wire.stands());
        let current = self.current.get().filter(|_| published);
        let stands = current
            .filter(|current| current.load().client().connection_state() == Connection::Connected);
        stands.ok_or_else(|| {
            let servers = self.shown();
            match &*self.trouble.lock() {
                Some(trouble) => format!("the NATS servers {servers} cannot be used: {trouble}"),
                None => format!("the NATS servers {servers} cannot be reached"),
            }
        })
    }

    /// The connection that publishes, now and later.
    pub(super) fn wires(&self) -> Wires {
        self.wires.subscribe()
    }

    /// No more connections are made, and this one ends when the last log has what it waits for.
    pub(super) fn close(&self) {
        self.wires.send_replace(None);
    }

    /// What is wrong with the way to the servers, if anything; also while an older way is in use.
    pub(super) fn trouble(&self) -> Option<String> {
        match self.connected() {
            Err(reason) => Some(reason),
            Ok(_) => {
                let trouble = self.trouble.lock().clone();
                let servers = self.shown();
                trouble.map(|trouble| {
                    format!("{servers} cannot be used in the new way, and is in the old: {trouble}")
                })
            }
        }
    }

    /// Keeps the connections, whose tasks run on `tracker`.
    pub(super) async fn run(&self, tracker: &TaskTracker) {
        let mut wanted = self.access.subscribe();
        let mut pause = PAUSES.0;
        loop {
            let access = wanted.borrow_and_update().clone();
            let dialed = async {
                let client = dial(&access).await?;
                Ok::<_, String>((client, Wire::dial(&access, tracker).await?))
            };
            match dialed.await {
                Ok((client, wire)) => {
                    pause = PAUSES.0;
                    self.use_until_lost(client, wire, &mut wanted).await;
                }
                Err(trouble) => {
                    self.report(Some(trouble));
                    let changed = tokio::time::timeout(pause, wanted.changed()).await;
                    pause = match changed {
                        Ok(_) => PAUSES.0,
                        Err(_) => (2 * pause).min(PAUSES.1),
                    };
                }
            }
        }
    }

    /// Has everything go this way until either connection is lost, or another way is wanted.
    async fn use_until_lost(
        &self,
        client: Client,
        wire: Wire,
        wanted: &mut watch::Receiver<Access>,
    ) {
        let asks = client.clone();
        let context = ContextBuilder::new()
            .timeout(PATIENCE)
            .ack_timeout(PATIENCE)
            .build(client);
        let context = Arc::new(context);
        let first = || Arc::new(ArcSwap::new(Arc::clone(&context)));
        let mut before = Some(self.current.get_or_init(first).swap(Arc::clone(&context)));
        let wire = Arc::new(wire);
        // Last: who waits for this finds the rest.
        self.wires.send_replace(Some(Arc::clone(&wire)));
        self.report(None);
        let retired = tokio::time::sleep(PATIENCE);
        tokio::pin!(retired);
        let mut look = tokio::time::interval(LOOK);
        while wire.stands() && asks.connection_state() == Connection::Connected {
            tokio::select! {
                _ = look.tick() => {}
                () = &mut retired, if before.is_some() => before = None,
                _ = wanted.changed() => return,
            }
        }
        self.report(Some("the connection was lost".to_owned()));
    }

    /// Notes what went wrong, or that all is well. The same trouble is told once.
    fn report(&self, trouble: Option<String>) {
        let mut known = self.trouble.lock();
        if *known == trouble {
            return;
        }
        let servers = self.access.borrow().shown();
        match &trouble {
            Some(reason) => tracing::warn!(servers, reason, "the NATS servers cannot be used"),
            None => tracing::info!(servers, "the NATS servers can be used"),
        }
        *known = trouble;
        drop(known);
        self.changes.send_modify(|count| *count += 1);
    }
}

/// One attempt at each of the servers.
async fn dial(access: &Access) -> Result<Client, String> {
    let servers = access.addresses()?;
    let options = access.apply(ConnectOptions::new())?;
    let options = options
        .name(CLIENT)
        .ping_interval(PING)
        // Other connections are made here, and not by a client that has lost its own.
        .max_reconnects(servers.len());
    options
        .connect(servers)
        .await
        .map_err(|error| error.to_string())
}
