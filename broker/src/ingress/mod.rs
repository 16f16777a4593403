//! The front door: takes events over HTTP, and answers 202 when the log has kept them.
//!
//! A request passes these steps, from the outside in; read the files in this order:
//!
//! 1. `server.rs`, `worker.rs`, `connection.rs`: connections. How many there may be, which thread
//!    they run on, how long a head may take, HTTP/1.1 and HTTP/2 without TLS on one port, draining.
//! 2. `handler.rs`: one request, told as the specification tells it.
//! 3. `route.rs`: which broker or channel the request is for.
//! 4. `body.rs`: the body, within its limits of size, time and memory.
//! 5. [`crate::event::http`]: the events in it.
//! 6. `admit.rs`: what the broker adds to an event, and what it refuses.
//! 7. [`crate::log::Log::append`], and its commit.
//! 8. `error.rs`: the answer to every refusal: a status, perhaps Retry-After, and a problem
//!    document (RFC 9457).
//!
//! # Addresses
//!
//! `POST /<namespace>/<name>` reaches the broker of that name, or else the channel. A channel also
//! has a host of its own, and there the path is `/`. One slash at the end of the path is ignored,
//! and so is a query.
//!
//! # Answers
//!
//! | status | when |
//! |---|---|
//! | 202 | all events of the request are kept, as the log promises; an empty batch keeps nothing |
//! | 200 | OPTIONS: the webhook handshake, `WebHook-Allowed-Origin: *` |
//! | 400 | no valid event; bad path; bad Host; the TTL is used up |
//! | 404 | no such broker or channel; the path `/` |
//! | 405 | neither POST nor OPTIONS |
//! | 408 | the body did not arrive in time |
//! | 413 | the body, or the batch in it, is too large |
//! | 414 | an address of more than 64 KiB |
//! | 415 | an event format other than JSON; a body in a content coding |
//! | 429 | the ingress holds as many bytes of unfinished requests as it may |
//! | 431 | too many or too long headers |
//! | 503 | the log is busy, full, closed or slow; or there are too many connections |
//! | 507 | the disk is full |
//!
//! A full log in memory is 503 and not 429: it is not this producer's rate that fills it. All of
//! 429, 503 and 507 carry Retry-After. What the HTTP library answers by itself (`refusal.rs`: not
//! HTTP, or a head over the limits) carries a problem document too, and ends the connection. In
//! HTTP/2, a head of more than twice the limit gets a bare 431, and one without end costs the
//! producer the connection (`ENHANCE_YOUR_CALM`).
//!
//! Where a request is refused before its body was read, a body of moderate size is read and
//! thrown away, so that the connection can be used again and the answer is not lost in a reset;
//! but never with `Expect: 100-continue`, where the producer waits for the answer.
//!
//! # Laws
//!
//! * 202 is sent after the commit, never before.
//! * A batch is kept as a whole or refused as a whole.
//! * Whatever has a size has a limit: connections, headers, bodies, and the bytes of all requests
//!   that are not answered yet.

mod admit;
mod body;
mod connection;
mod error;
mod handler;
mod metrics;
mod refusal;
mod route;
mod server;
mod wake;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::clock::Clock;
use crate::directory::SharedDirectory;
pub use error::IngressError;
use metrics::Metrics;

/// The limits of an ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressOptions {
    /// The longest body of one request, in bytes.
    pub max_body_bytes: usize,
    /// The most headers of one request. Other values than 100 cost an allocation a request.
    pub max_headers: usize,
    /// The longest head of one request, in bytes; at least 8 KiB.
    pub max_header_bytes: usize,
    /// How long a connection may go without beginning a request, at the most: because it is idle,
    /// or because the head of a request comes too slowly. At least three milliseconds.
    pub idle_timeout: Duration,
    /// How long a producer may take to send the body of a request.
    pub body_timeout: Duration,
    /// How long to wait for the log to keep an event.
    pub commit_timeout: Duration,
    /// The most bytes of bodies whose requests are not answered yet. At least one body fits.
    pub max_in_flight_bytes: usize,
    /// How many threads connections run on; at least one. Half of the cores by default: the log and
    /// the deliveries need the others.
    pub workers: usize,
    /// The most connections that are served. A few more are answered with 503.
    pub max_connections: usize,
    /// How many brokers an event may pass in a row, by replies, before it is refused: the TTL that
    /// an event without one gets.
    pub broker_ttl: i32,
}

/// The smallest buffer that the HTTP library takes, in bytes.
const MIN_BUFFER: usize = 8 << 10;

impl IngressOptions {
    /// The longest head, in bytes.
    fn head_limit(&self) -> usize {
        self.max_header_bytes.max(MIN_BUFFER)
    }
}

impl Default for IngressOptions {
    /// What Knative's brokers do where they have a limit, and room for ordinary use elsewhere.
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            max_headers: 100,
            max_header_bytes: 64 << 10,
            idle_timeout: Duration::from_secs(90),
            body_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(30),
            max_in_flight_bytes: 256 << 20,
            workers: std::thread::available_parallelism()
                .map_or(1, |cores| cores.get().div_ceil(2)),
            max_connections: 10_000,
            broker_ttl: 255,
        }
    }
}

/// The front door of brokers and channels.
#[derive(Debug)]
pub struct Ingress {
    directory: SharedDirectory,
    clock: Arc<dyn Clock>,
    options: IngressOptions,
    metrics: Metrics,
    budget: body::Budget,
}

impl Ingress {
    /// An ingress for the addresses in `directory`. Its metrics are registered in `registry`.
    #[must_use]
    pub fn new(
        directory: SharedDirectory,
        clock: Arc<dyn Clock>,
        mut options: IngressOptions,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let metrics = Metrics::register(registry);
        options.idle_timeout = options.idle_timeout.max(Duration::from_millis(3));
        let limit = options.max_in_flight_bytes.max(options.max_body_bytes);
        let budget = body::Budget::new(limit, metrics.in_flight_bytes.clone());
        Arc::new(Self {
            directory,
            clock,
            options,
            metrics,
            budget,
        })
    }
}
