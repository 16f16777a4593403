//! The server of `heddle listen`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::send::message;
use crate::cli::show_event::Shown;

/// The largest body that is taken, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long connections may finish what they do when the command ends.
const GRACE: Duration = Duration::from_secs(2);
/// How long the headers of a request may take.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// How requests are answered.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) status: StatusCode,
    pub(super) delay: Duration,
    pub(super) reply: Option<Shown>,
    pub(super) fail_first: u64,
    /// Requests after so many are turned away, because the command is about to end.
    pub(super) limit: Option<u64>,
}

/// One request.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Which, from 1.
    pub(super) number: u64,
    pub(super) events: Vec<Shown>,
    /// What is wrong with it.
    pub(super) problem: Option<String>,
    /// What it is answered.
    pub(super) status: StatusCode,
}

/// What the server needs.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) answers: Arc<Answers>,
    pub(super) arrivals: mpsc::Sender<Arrival>,
    pub(super) stop: CancellationToken,
    pub(super) tracker: TaskTracker,
}

/// Accepts connections until it is stopped.
pub(super) async fn serve(listener: TcpListener, served: Served) {
    let requests = Arc::new(AtomicU64::new(0));
    loop {
        let stream = tokio::select! {
            () = served.stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors, or the peer went away: the next one may come.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        // Answers are small; a lost option costs time and nothing else.
        let _ = stream.set_nodelay(true);
        let connection = served.clone();
        let requests = Arc::clone(&requests);
        served.tracker.spawn(async move {
            let stop = connection.stop.clone();
            let service = service_fn(move |request| {
                let served = connection.clone();
                let requests = Arc::clone(&requests);
                async move { Ok::<_, Infallible>(handle(request, &served, &requests).await) }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_TIMEOUT);
            let serving = builder.serve_connection(TokioIo::new(stream), service);
            let mut serving = std::pin::pin!(serving);
            // A connection that breaks is the sender's affair; what arrived has been printed.
            tokio::select! {
                _ = serving.as_mut() => return,
                () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
            }
            let _ = tokio::time::timeout(GRACE, serving).await;
        });
    }
}

async fn handle(
    request: Request<Incoming>,
    served: &Served,
    requests: &AtomicU64,
) -> Response<Full<Bytes>> {
    match *request.method() {
        Method::POST => {}
        // Someone who looks whether it is there.
        Method::GET | Method::HEAD => return answer(StatusCode::OK, "heddle listen\n"),
        Method::OPTIONS => return allow(&request),
        _ => return answer(StatusCode::METHOD_NOT_ALLOWED, "POST an event\n"),
    }
    let answers = &served.answers;
    let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
    if answers.limit.is_some_and(|limit| number > limit) {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "it has ended\n");
    }
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let (events, problem, mut status) = match body {
        Err(error) => {
            let problem = format!("the body could not be read: {error}");
            (Vec::new(), Some(problem), StatusCode::BAD_REQUEST)
        }
        Ok(body) => match Shown::from_http(&parts.headers, &body.to_bytes()) {
            Some(events) => (events, None, answers.status),
            None => {
                let problem = "not a CloudEvent: no ce-specversion header and no \
                               application/cloudevents+json body";
                (
                    Vec::new(),
                    Some(problem.to_owned()),
                    StatusCode::BAD_REQUEST,
                )
            }
        },
    };
    if problem.is_none() && number <= answers.fail_first {
        status = StatusCode::SERVICE_UNAVAILABLE;
    }
    if !answers.delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(answers.delay) => {}
            () = served.stop.cancelled() => {}
        }
    }
    let response = match (&answers.reply, &problem) {
        (_, Some(problem)) => answer(status, problem.clone()),
        (Some(reply), None) if status.is_success() => reply_with(reply, status),
        _ => answer(status, Bytes::new()),
    };
    let arrival = Arrival {
        number,
        events,
        problem,
        status,
    };
    // The printer is gone only when the command ends.
    let _ = served.arrivals.send(arrival).await;
    response
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

/// The handshake of webhooks (CloudEvents HTTP webhook 1.0, section 4.2).
fn allow(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = answer(StatusCode::OK, Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    if let Some(origin) = request.headers().get("webhook-request-origin") {
        headers.insert("webhook-allowed-origin", origin.clone());
        headers.insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    }
    response
}

fn reply_with(reply: &Shown, status: StatusCode) -> Response<Full<Bytes>> {
    let (headers, body) = message::binary(reply);
    let mut response = answer(status, body);
    *response.headers_mut() = headers;
    response
}
