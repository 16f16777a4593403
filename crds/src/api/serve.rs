//! The API on a socket.
//!
//! Without a guard there is no authentication: the address must be one that only trusted programs
//! reach. On a loopback address the browser of the same machine is the stranger, so requests with
//! an `Origin`, and requests for a `Host` that is neither an address nor `localhost`, are refused
//! (the latter is how a web site reaches 127.0.0.1 under its own name). With a guard
//! ([`super::access`]) everything goes over TLS, and only to callers who say who they are.
//!
//! Connections, handshakes, headers and calls under way are bounded, in number and in time. A
//! connection that has not brought a request in that time is closed, whatever it has brought
//! instead: hyper begins to count at the first byte of HTTP/1, and not at all before it knows which
//! HTTP is spoken or while HTTP/2 begins. Of later requests hyper sees to itself: in HTTP/1 by the
//! same time, in HTTP/2 by asking whether the other end is still there.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::{Access, User, bearer_token};
use super::error::ApiError;
use super::http::ResponseBody;
use super::{Inner, http as protocol, review};

/// Connections at a time. Others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4_096;
/// TLS handshakes under way at a time; each costs more than most calls.
const MAX_HANDSHAKES: usize = 256;
/// How often a silent HTTP/2 connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How long to wait after a failed accept, such as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often refused callers are logged: whoever floods the door is not to flood the log.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_secs(1);
/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    connection: close\r\ncontent-length: 45\r\n\r\nan HTTP request was sent to an HTTPS address\n";

/// What all connections of a socket share.
pub(crate) struct Door {
    api: Arc<Inner>,
    access: Option<Arc<Access>>,
    loopback: bool,
    handshakes: Semaphore,
    calls: Arc<Semaphore>,
    /// How long a handshake, and how long the head of a request may take.
    head_time: Duration,
    /// When a refused caller was last logged, and how many have been refused since.
    refused: Mutex<(Option<Instant>, u64)>,
}

/// One connection's other end.
#[derive(Clone, Debug)]
struct Peer {
    address: SocketAddr,
    /// Whom its certificate names.
    certified: Option<User>,
}

impl Door {
    /// A door that `access` guards, or none.
    pub(crate) fn new(
        api: Arc<Inner>,
        access: Option<Arc<Access>>,
        calls: Arc<Semaphore>,
        head_time: Duration,
        listener: &TcpListener,
    ) -> Arc<Self> {
        let loopback = listener
            .local_addr()
            .is_ok_and(|address| address.ip().is_loopback());
        Arc::new(Self {
            api,
            access,
            loopback,
            handshakes: Semaphore::new(MAX_HANDSHAKES),
            calls,
            head_time,
            refused: Mutex::default(),
        })
    }

    /// Accepts connections until `drain` is cancelled; those that are open end gracefully.
    pub(crate) async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        tracker: TaskTracker,
        drain: CancellationToken,
    ) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let permit = tokio::select! {
                biased;
                () = drain.cancelled() => return,
                permit = Arc::clone(&room).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let accepted = tokio::select! {
                biased;
                () = drain.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let door = Arc::clone(&self);
                    tracker.spawn(door.connection(stream, address, drain.clone(), permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the API could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        drain: CancellationToken,
        permit: OwnedSemaphorePermit,
    ) {
        // Small answers are not to wait for more.
        let _ = stream.set_nodelay(true);
        match self.access.as_ref().map(|access| access.tls()) {
            None => {
                let peer = Peer {
                    address,
                    certified: None,
                };
                self.converse(stream, peer, drain).await;
            }
            Some(tls) => {
                let shaken = tokio::select! {
                    biased;
                    () = drain.cancelled() => None,
                    shaken = self.shake(TlsAcceptor::from(tls), stream) => shaken,
                };
                if let Some(stream) = shaken {
                    let certified = Access::certified(stream.get_ref().1.peer_certificates());
                    self.converse(stream, Peer { address, certified }, drain)
                        .await;
                }
            }
        }
        drop(permit);
    }

    /// Begins TLS, in bounded time.
    async fn shake(
        &self,
        acceptor: TlsAcceptor,
        mut stream: TcpStream,
    ) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
        let handshake = async {
            let _place = self.handshakes.acquire().await.ok()?;
            let mut first = [0];
            if stream.peek(&mut first).await.ok()? == 1 && first != [TLS_HANDSHAKE] {
                let _ = stream.write_all(PLAIN_ANSWER).await;
                return None;
            }
            match acceptor.accept(stream).await {
                Ok(stream) => Some(stream),
                Err(error) => {
                    tracing::debug!(%error, "a TLS handshake with the API failed");
                    None
                }
            }
        };
        tokio::time::timeout(self.head_time, handshake)
            .await
            .ok()
            .flatten()
    }

    async fn converse(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: Peer,
        drain: CancellationToken,
    ) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_time)
            .max_buf_size(MAX_HEADER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .max_header_list_size(MAX_HEADER_BYTES as u32)
            .max_concurrent_streams(256);
        let overdue = tokio::time::sleep(self.head_time);
        let begun = Arc::new(AtomicBool::new(false));
        let service = {
            let begun = Arc::clone(&begun);
            service_fn(move |request: Request<Incoming>| {
                begun.store(true, Ordering::Relaxed);
                let (door, peer) = (Arc::clone(&self), peer.clone());
                async move { Ok::<_, Infallible>(door.answer(request, &peer).await) }
            })
        };
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection, overdue);
        let mut draining = false;
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = connection.as_mut() => break outcome,
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = overdue.as_mut(), if !overdue.is_elapsed() => {
                    if !begun.load(Ordering::Relaxed) {
                        tracing::debug!("a connection to the API brought no request in time");
                        return;
                    }
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection to the API ended early");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, peer: &Peer) -> Response<ResponseBody> {
        if let Some(error) = stranger(&request, self.loopback && self.access.is_none()) {
            return protocol::refusal(&error);
        }
        let Ok(_place) = self.calls.try_acquire() else {
            return protocol::refusal(&ApiError::too_many_requests(
                "too many requests are under way; try again later",
            ));
        };
        let Some(access) = &self.access else {
            return protocol::handle(Arc::clone(&self.api), request).await;
        };
        let known = peer
            .certified
            .clone()
            .or_else(|| access.bearer(request.headers()))
            .or_else(|| review::caller(&self.api, bearer_token(request.headers())?));
        // Who looks after a process need not be let into it.
        let health = matches!(request.uri().path(), "/livez" | "/readyz" | "/healthz");
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let user = match known {
            Some(user) => user,
            None if health => User::anonymous(),
            None => {
                self.log_refusal(peer, &method, &path);
                return protocol::refusal(&ApiError::unauthorized());
            }
        };
        let name = user.name.clone();
        request.extensions_mut().insert(user);
        let response = protocol::handle(Arc::clone(&self.api), request).await;
        if !matches!(method, Method::GET | Method::HEAD) {
            let code = response.status().as_u16();
            tracing::info!(user = %name, peer = %peer.address, %method, %path, code, "API call");
        }
        response
    }

    /// Logs that somebody was refused, at most once a second.
    fn log_refusal(&self, peer: &Peer, method: &Method, path: &str) {
        let mut refused = self.refused.lock();
        let now = Instant::now();
        if refused
            .0
            .is_some_and(|last| now < last + REFUSALS_LOGGED_EVERY)
        {
            refused.1 += 1;
            return;
        }
        let others = std::mem::take(&mut refused.1);
        refused.0 = Some(now);
        drop(refused);
        let code = StatusCode::UNAUTHORIZED.as_u16();
        tracing::warn!(
            peer = %peer.address, %method, path, code, others,
            "a caller of the API without valid credentials was refused"
        );
    }
}

/// Why a request looks like one that a web site makes, if it does.
fn stranger<B>(request: &Request<B>, open: bool) -> Option<ApiError> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return Some(ApiError::refused(
            "requests that a web page makes (with an Origin header) are not served",
        ));
    }
    let host = request.uri().host().or_else(|| host_of(headers))?;
    let name = host.trim_matches(['[', ']']).trim_end_matches('.');
    let local =
        name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok();
    (open && !local).then(|| {
        ApiError::refused(format!(
            "the API on a loopback address is not served under the name {host:?}; use 127.0.0.1 \
             or localhost"
        ))
    })
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::HOST)?.to_str().ok()?;
    match value.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => value.split(':').next(),
    }
}
