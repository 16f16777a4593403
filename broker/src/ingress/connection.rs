//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::Builder;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

use super::Ingress;
use super::refusal::Explained;
use super::wake::Gate;
use super::worker::Home;

/// How long a connection over the limit may take.
const TURNED_AWAY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection is looked at within the idle timeout. The last look but one asks it to
/// end, the last one ends it.
const IDLE_LOOKS: u32 = 3;
/// How many requests one HTTP/2 connection may have at a time.
const MAX_STREAMS: u32 = 250;
/// A head in HTTP/2 that is longer than the limit by up to this factor is read, so that it can be
/// answered with a problem document; a longer one gets a bare 431.
const HTTP2_LEEWAY: usize = 2;
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
pub(super) enum Place {
    Seated,
    TurnedAway,
}

/// What a connection is served with.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ingress: Arc<Ingress>,
    pub(super) place: Place,
    pub(super) drain: CancellationToken,
    pub(super) force: CancellationToken,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Serves the connection. `home` is where it runs.
    pub(super) async fn run(self, stream: TcpStream, home: Arc<Home>) {
        let _open = Open::new(&self.ingress.metrics.connections);
        // Answers are small and wanted at once. Without this they would only be later.
        let _delayed = stream.set_nodelay(true);
        let place = self.place;
        let talk = self.converse(stream, &home);
        match place {
            Place::Seated => talk.await,
            Place::TurnedAway => {
                let _in_time = tokio::time::timeout(TURNED_AWAY_TIMEOUT, talk).await;
            }
        }
    }

    async fn converse(self, stream: TcpStream, home: &Arc<Home>) {
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request: http::Request<Incoming>| {
            let active = Active::begin(&activity);
            let (ingress, home) = (Arc::clone(&self.ingress), Arc::clone(home));
            let place = self.place;
            async move {
                let _active = active;
                Ok::<_, Infallible>(match place {
                    Place::Seated => ingress.serve_one(request, Some(&home.wakes)).await,
                    Place::TurnedAway => ingress.turn_away(request),
                })
            }
        });
        let builder = self.builder(home);
        let socket = Explained::new(TokioIo::new(stream), Arc::clone(&self.ingress));
        let mut talk = pin!(builder.serve_connection(socket, service));
        let mut orders = Orders::new(&self, Arc::clone(&activity));
        let gate = Gate::default();
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(outcome) = talk.as_mut().poll(cx) {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return Poll::Ready(());
                }
                match gate.poll(cx, |cx| orders.poll_next(cx)) {
                    Poll::Ready(Order::Finish) => talk.as_mut().graceful_shutdown(),
                    Poll::Ready(Order::Stop) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }

    fn builder(&self, home: &Home) -> Builder<Tasks> {
        let options = &self.ingress.options;
        let mut builder = Builder::new(Tasks {
            tracker: home.tracker.clone(),
            force: self.force.clone(),
        });
        let head = options.head_limit();
        let mut http1 = builder.http1();
        // The library's own timer would cost an allocation a request.
        http1.header_read_timeout(None).max_buf_size(head);
        if options.max_headers != FREE_HEADERS {
            http1.max_headers(options.max_headers);
        }
        builder
            .http2()
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(
                u32::try_from(head.saturating_mul(HTTP2_LEEWAY)).unwrap_or(u32::MAX),
            );
        builder
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

/// What a connection is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Finish what has begun, and end.
    Finish,
    /// End where it stands.
    Stop,
}

/// The orders that a connection gets: when the process stops, and when nothing happens on it.
struct Orders {
    drain: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    force: Pin<Box<WaitForCancellationFutureOwned>>,
    looks: Interval,
    activity: Arc<Activity>,
    /// How many looks in a row found nothing.
    idle: u32,
    /// What the last look saw.
    begun: u64,
}

impl Orders {
    fn new(connection: &Connection, activity: Arc<Activity>) -> Self {
        let period = connection.ingress.options.idle_timeout / IDLE_LOOKS;
        Self {
            drain: Some(Box::pin(connection.drain.clone().cancelled_owned())),
            force: Box::pin(connection.force.clone().cancelled_owned()),
            looks: tokio::time::interval_at(Instant::now() + period, period),
            activity,
            idle: 0,
            begun: 0,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Order> {
        if self.force.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Order::Stop);
        }
        if let Some(drain) = &mut self.drain
            && drain.as_mut().poll(cx).is_ready()
        {
            self.drain = None;
            return Poll::Ready(Order::Finish);
        }
        while self.looks.poll_tick(cx).is_ready() {
            let is_idle = self.activity.is_idle_since(&mut self.begun);
            self.idle = if is_idle { self.idle + 1 } else { 0 };
            if self.idle >= IDLE_LOOKS {
                return Poll::Ready(Order::Stop);
            }
            if self.idle == IDLE_LOOKS - 1 {
                return Poll::Ready(Order::Finish);
            }
        }
        Poll::Pending
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
