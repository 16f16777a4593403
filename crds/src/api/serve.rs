//! The API on a socket.
//!
//! There is no authentication here: the address must be one that only trusted programs reach.
//! On a loopback address the browser of the same machine is the stranger, so requests with an
//! `Origin`, and requests for a `Host` that is neither an address nor `localhost`, are refused
//! (the latter is how a web site reaches 127.0.0.1 under its own name).

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::ApiError;
use super::{Inner, http as protocol};

/// Connections at a time. Others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4_096;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How long to wait after a failed accept, such as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `drain` is cancelled; those that are open end gracefully.
pub(crate) async fn accept(
    api: Arc<Inner>,
    listener: TcpListener,
    tracker: TaskTracker,
    drain: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let loopback = listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_loopback());
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
            Ok((stream, _)) => {
                let connection =
                    connection(Arc::clone(&api), stream, loopback, drain.clone(), permit);
                tracker.spawn(connection);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the API could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    api: Arc<Inner>,
    stream: TcpStream,
    loopback: bool,
    drain: CancellationToken,
    permit: OwnedSemaphorePermit,
) {
    // Small answers are not to wait for more.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256);
    let service = service_fn(move |request: Request<Incoming>| {
        let api = Arc::clone(&api);
        async move {
            let response = match stranger(&request, loopback) {
                Some(error) => protocol::refusal(&error),
                None => protocol::handle(api, request).await,
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection to the API ended early");
    }
    drop(permit);
}

/// Why a request looks like one that a web site makes, if it does.
fn stranger<B>(request: &Request<B>, loopback: bool) -> Option<ApiError> {
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
    (loopback && !local).then(|| {
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
