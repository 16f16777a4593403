//! The connection to the servers: made in the background, made again when it is lost, and made anew
//! when the way to reach them has changed.
//!
//! A change takes effect once the new connection stands, so that a slip in new credentials does not
//! end a connection that works; what is wrong with them is said meanwhile. What is under way on the
//! old connection has [`super::PATIENCE`] to be answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use async_nats::connection::State as Connection;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{ConnectOptions, Event};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::PATIENCE;
use super::access::Access;

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    access: watch::Sender<Access>,
    /// What every connection is made with.
    connect: ConnectOptions,
    /// Set with the first connection that stands.
    current: OnceLock<Arc<ArcSwap<Context>>>,
    /// What went wrong last, since a connection stood.
    trouble: Mutex<Option<String>>,
    /// Counts clients: what an old one tells is of no interest.
    dials: AtomicU64,
    changes: Arc<watch::Sender<u64>>,
}

impl Link {
    /// A connection that [`Link::run`] is to make; `changes` grows with everything that it finds out.
    pub(super) fn new(
        access: Access,
        connect: ConnectOptions,
        changes: Arc<watch::Sender<u64>>,
    ) -> Self {
        Self {
            access: watch::Sender::new(access),
            connect,
            current: OnceLock::new(),
            trouble: Mutex::new(None),
            dials: AtomicU64::new(0),
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
        let current = self.current.get();
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

    /// Keeps the connection.
    pub(super) async fn run(self: &Arc<Self>) {
        let mut wanted = self.access.subscribe();
        loop {
            let access = wanted.borrow_and_update().clone();
            let (client, mut stands) = match self.dial(&access).await {
                Ok(dialled) => dialled,
                Err(trouble) => {
                    self.report(Some(trouble));
                    // It does not mend itself.
                    if wanted.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            tokio::select! {
                Ok(_) = stands.wait_for(|stands| *stands) => {}
                Ok(()) = wanted.changed() => continue,
                else => return,
            }
            let context = Arc::new(
                ContextBuilder::new()
                    .timeout(PATIENCE)
                    .ack_timeout(PATIENCE)
                    .build(client),
            );
            let first = || Arc::new(ArcSwap::new(Arc::clone(&context)));
            let before = self.current.get_or_init(first).swap(context);
            self.changes.send_modify(|count| *count += 1);
            tokio::time::sleep(PATIENCE).await;
            drop(before);
            if wanted.has_changed().is_ok_and(|changed| changed) {
                continue;
            }
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes a client, which connects by itself, and tells when it has.
    async fn dial(
        self: &Arc<Self>,
        access: &Access,
    ) -> Result<(async_nats::Client, watch::Receiver<bool>), String> {
        let (reached, stands) = watch::channel(false);
        let (link, reached) = (Arc::downgrade(self), Arc::new(reached));
        let dial = self.dials.fetch_add(1, Ordering::Relaxed) + 1;
        let options = access.apply(self.connect.clone())?;
        let options = options
            .name("heddle")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .event_callback(move |event| {
                let (link, reached) = (link.upgrade(), Arc::clone(&reached));
                async move {
                    let Some(link) = link else { return };
                    if link.dials.load(Ordering::Relaxed) != dial {
                        return;
                    }
                    match event {
                        Event::Connected => {
                            link.report(None);
                            reached.send_replace(true);
                        }
                        Event::Disconnected => link.changes.send_modify(|count| *count += 1),
                        Event::ServerError(error) => link.report(Some(error.to_string())),
                        Event::ClientError(error) => link.report(Some(error.to_string())),
                        Event::LameDuckMode
                        | Event::Draining
                        | Event::Closed
                        | Event::SlowConsumer(_) => {}
                    }
                }
            });
        let client = options.connect(access.servers.as_str()).await;
        let client = client.map_err(|error| error.to_string())?;
        Ok((client, stands))
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
            None => tracing::info!(servers, "the NATS servers can be used again"),
        }
        *known = trouble;
        drop(known);
        self.changes.send_modify(|count| *count += 1);
    }
}
