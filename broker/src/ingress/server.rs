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
//! stands. All tasks run on the tracker that the caller gives, which is also how the caller waits.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::Builder;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Ingress;

/// How many connections over the limit are answered with 503 at the same time.
const TURNED_AWAY_AT_ONCE: usize = 64;
/// How long a connection over the limit may take.
const TURNED_AWAY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after `accept` failed, which mostly means that no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a connection is looked at within the idle timeout. The last look but one asks it to
/// end, the last one ends it.
const IDLE_LOOKS: u32 = 3;
/// How many requests one HTTP/2 connection may have at a time.
const MAX_STREAMS: u32 = 250;
/// The smallest buffer that the HTTP library takes, in bytes.
const MIN_BUFFER: usize = 8 << 10;
/// The number of headers that the HTTP library keeps without an allocation.
const FREE_HEADERS: usize = 100;

/// Runs the streams of HTTP/2 connections.
#[derive(Clone, Debug)]
struct Tasks {
    tracker: TaskTracker,
    force: CancellationToken,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let force = self.force.clone();
        self.tracker
            .spawn(async move { force.run_until_cancelled(future).await.map(drop) });
    }
}

/// Whether a connection has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Seated,
    TurnedAway,
}

impl Ingress {
    /// Serves connections until `drain` or `force` is cancelled. Connections go on after that; they
    /// have ended when `tracker` is empty.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tracker: TaskTracker,
        drain: CancellationToken,
        force: CancellationToken,
    ) {
        let seats = Arc::new(Semaphore::new(self.options.max_connections));
        let corridor = Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE));
        let tasks = Tasks { tracker, force };
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
                    tasks: tasks.clone(),
                    drain: drain.clone(),
                    _permit: permit,
                };
                tasks.tracker.spawn(connection.run(stream));
            }
        };
        tokio::select! {
            () = accept => {}
            () = drain.cancelled() => {}
            () = tasks.force.cancelled() => {}
        }
    }
}

/// Counts one open connection.
struct Open(Gauge);

impl Open {
    fn new(connections: &Gauge) -> Self {
        connections.inc();
        Self(connections.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Connection {
    ingress: Arc<Ingress>,
    place: Place,
    tasks: Tasks,
    drain: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        let _open = Open::new(&self.ingress.metrics.connections);
        let force = self.tasks.force.clone();
        let place = self.place;
        let talk = self.converse(stream);
        let _outcome = match place {
            Place::Seated => force.run_until_cancelled(talk).await.map(Ok),
            Place::TurnedAway => {
                force
                    .run_until_cancelled(tokio::time::timeout(TURNED_AWAY_TIMEOUT, talk))
                    .await
            }
        };
    }

    async fn converse(self, stream: TcpStream) {
        // Answers are small and wanted at once. Without this they would only be later.
        let _delayed = stream.set_nodelay(true);
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request: http::Request<Incoming>| {
            let active = Active::begin(&activity);
            let ingress = Arc::clone(&self.ingress);
            let place = self.place;
            async move {
                let _active = active;
                Ok::<_, Infallible>(match place {
                    Place::Seated => ingress.handle(request).await,
                    Place::TurnedAway => ingress.turn_away(request),
                })
            }
        });
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let period = self.ingress.options.idle_timeout / IDLE_LOOKS;
        let mut looks = tokio::time::interval_at(Instant::now() + period, period);
        let mut drain = pin!(self.drain.cancelled());
        let (mut draining, mut idle, mut begun) = (false, 0, 0);
        loop {
            tokio::select! {
                biased;
                outcome = connection.as_mut() => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = drain.as_mut(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = looks.tick() => {
                    idle = if activity.is_idle_since(&mut begun) { idle + 1 } else { 0 };
                    if idle >= IDLE_LOOKS {
                        return;
                    }
                    if idle == IDLE_LOOKS - 1 {
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }

    fn builder(&self) -> Builder<Tasks> {
        let options = &self.ingress.options;
        let mut builder = Builder::new(self.tasks.clone());
        let head = options.max_header_bytes.max(MIN_BUFFER);
        let mut http1 = builder.http1();
        // The library's own timer would cost an allocation a request.
        http1.header_read_timeout(None).max_buf_size(head);
        if options.max_headers != FREE_HEADERS {
            http1.max_headers(options.max_headers);
        }
        builder
            .http2()
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX));
        builder
    }
}

/// What a connection is doing, so that one that does nothing can be closed.
#[derive(Debug, Default)]
struct Activity {
    begun: AtomicU64,
    active: AtomicUsize,
}

impl Activity {
    /// Whether no request is being answered, and none has begun since the last look. `begun` is
    /// what the last look saw.
    fn is_idle_since(&self, begun: &mut u64) -> bool {
        let now = self.begun.load(Ordering::Relaxed);
        let before = std::mem::replace(begun, now);
        now == before && self.active.load(Ordering::Relaxed) == 0
    }
}

/// A request that is being answered.
struct Active(Arc<Activity>);

impl Active {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
