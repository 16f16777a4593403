//! Connections: HTTP/1.1 and HTTP/2 without TLS (prior knowledge) on one listener.
//!
//! Up to `max_connections` are served. A few more are taken and answered with 503 and a closed
//! connection, because an answer is better than a silent queue; past those, connections wait in the
//! kernel, whose queue is bounded too.
//!
//! A connection on which no request begins for `idle_timeout` is closed: an idle one, one that sends
//! its head too slowly, or one that says nothing at all. A look at each connection a few times
//! within that time finds them, and costs a request nothing; so it may be closed when a third of
//! the time is still left.
//!
//! Shutdown has two stages. On `drain` the listener is no longer asked, idle connections close and
//! the others finish the requests that they work on. On `force` everything is dropped where it
//! stands. The threads of the connections count on the tracker that the caller gives, which is also
//! how the caller waits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ingress;
use super::connection::{Connection, Place};
use super::worker::Workers;

/// How many connections over the limit are answered with 503 at the same time.
const TURNED_AWAY_AT_ONCE: usize = 64;
/// How long to wait after `accept` failed, which mostly means that no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Ingress {
    /// Serves connections until `drain` or `force` is cancelled. Connections go on after that; they
    /// have ended when `tracker` is empty.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started; nothing is served then.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tracker: TaskTracker,
        drain: CancellationToken,
        force: CancellationToken,
    ) -> io::Result<()> {
        let workers = Workers::start(self.options.workers, &tracker)?;
        let seats = Arc::new(Semaphore::new(self.options.max_connections));
        let corridor = Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE));
        let accept = async {
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _peer)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let (place, permit) = match Arc::clone(&seats).try_acquire_owned() {
                    Ok(permit) => (Place::Seated, permit),
                    Err(_) => match Arc::clone(&corridor).acquire_owned().await {
                        Ok(permit) => (Place::TurnedAway, permit),
                        Err(_closed) => return,
                    },
                };
                let connection = Connection {
                    ingress: Arc::clone(&self),
                    place,
                    drain: drain.clone(),
                    force: force.clone(),
                    _permit: permit,
                };
                if let Err(error) = workers.take(stream, connection).await {
                    tracing::warn!(%error, "a connection could not be taken");
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = drain.cancelled() => {}
            () = force.cancelled() => {}
        }
        Ok(())
    }
}
