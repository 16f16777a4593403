//! Deliveries over HTTP: one POST an attempt, over pooled connections.
//!
//! HTTP/1.1, or HTTP/2 by prior knowledge; with TLS, what ALPN finds. Each target has its own
//! bounded pool, so that one that hangs takes no connection from others. The time-out covers
//! everything from connecting to the end of the answer. Redirects are not followed: they are
//! answers like any other. Of an answer's body, at most [`REPLY_LIMIT`] bytes are read where a
//! reply is wanted, and the first few where it is not.
//!
//! Headers besides those of the event: `Kn-Namespace`, `Idempotency-Key`, `Prefer: reply` where a
//! reply can be used, and `traceparent` and `tracestate` from the event's attributes of that name.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Answer, Completeness, Delivery, Outcome, Problem, Subscriber, tls};
use crate::config::{Protocol, Target};
use crate::wire;

/// The longest reply that is read, in bytes: what the front door takes by default.
pub const REPLY_LIMIT: usize = 1 << 20;
/// How much of an answer without a reply is read, so that its connection can be used again.
const DRAIN_LIMIT: usize = 16 << 10;
/// How long to wait for the body of such an answer.
const DRAIN: Duration = Duration::from_secs(1);
/// How long an idle connection is kept: less than common servers keep theirs.
const IDLE: Duration = Duration::from_secs(30);
/// The longest time to wait for a connection, within the attempt's own time-out.
const CONNECT: Duration = Duration::from_secs(10);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const KN_NAMESPACE: HeaderName = HeaderName::from_static("kn-namespace");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// Runs the tasks of connections where the owner sees them, until it says stop.
#[derive(Clone, Debug)]
pub struct Executor {
    /// Counts the tasks.
    pub tracker: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }
}

#[derive(Debug)]
enum Transport {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// What a transport is made of.
#[derive(Debug)]
struct Plan {
    executor: Executor,
    idle: usize,
    h2c: bool,
    /// Set for `https`.
    tls: Option<Box<ClientConfig>>,
}

/// A URL that takes events.
#[derive(Debug)]
pub struct HttpSubscriber {
    target: Arc<Target>,
    plan: Plan,
    /// Made at the first delivery: most of many subscribers are idle for long.
    transport: OnceLock<Box<Transport>>,
}

impl Plan {
    fn version(&self) -> Version {
        if self.h2c {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        }
    }

    fn transport(&self) -> Box<Transport> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        let mut builder = Client::builder(self.executor.clone());
        builder
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(self.idle)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_only(self.h2c);
        Box::new(match &self.tls {
            None => Transport::Plain(builder.build(connector)),
            Some(config) => {
                let connector = HttpsConnectorBuilder::new()
                    .with_tls_config(ClientConfig::clone(config))
                    .https_only()
                    .enable_http1()
                    .enable_http2()
                    .wrap_connector(connector);
                Transport::Tls(builder.build(connector))
            }
        })
    }
}

impl HttpSubscriber {
    /// A subscriber at `target`, with at most `idle` idle connections. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// A text for people, when the target is no `http` or `https` URL with a host, or its
    /// certificates are not usable.
    pub fn new(target: &Arc<Target>, idle: usize, executor: Executor) -> Result<Self, String> {
        let uri = &target.uri;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("{uri} is not an http or https URL")),
        };
        if uri.host().is_none_or(str::is_empty) {
            return Err(format!("{uri} names no host"));
        }
        let tls = https
            .then(|| tls::client_config(target.ca_certs.as_deref()).map(Box::new))
            .transpose()?;
        Ok(Self {
            target: Arc::clone(target),
            plan: Plan {
                executor,
                idle: idle.max(1),
                h2c: !https && target.protocol == Protocol::H2c,
                tls,
            },
            transport: OnceLock::new(),
        })
    }

    async fn attempt(&self, request: Request<Full<Bytes>>, wants_reply: bool) -> Outcome {
        let transport = self.transport.get_or_init(|| self.plan.transport());
        let answer = match &**transport {
            Transport::Plain(client) => client.request(request).await,
            Transport::Tls(client) => client.request(request).await,
        };
        match answer {
            Ok(answer) => Outcome::Answer(read(answer, wants_reply).await),
            Err(error) => Outcome::Problem(Problem::Connection(causes(&error))),
        }
    }
}

#[async_trait]
impl Subscriber for HttpSubscriber {
    async fn deliver(&self, delivery: Delivery) -> Outcome {
        let (timeout, wants_reply) = (delivery.timeout, delivery.wants_reply);
        let request = request(with_path(&self.target.uri), self.plan.version(), delivery);
        tokio::time::timeout(timeout, self.attempt(request, wants_reply))
            .await
            .unwrap_or(Outcome::Problem(Problem::Timeout(timeout)))
    }
}

fn request(uri: Uri, version: Version, delivery: Delivery) -> Request<Full<Bytes>> {
    let (mut headers, body) = wire::encode(&delivery.event, delivery.format, delivery.skip);
    trace_context(&delivery, &mut headers);
    headers.insert(KN_NAMESPACE, delivery.namespace);
    headers.insert(IDEMPOTENCY_KEY, delivery.idempotency_key);
    if delivery.wants_reply {
        headers.insert(PREFER, HeaderValue::from_static("reply"));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    request
}

fn trace_context(delivery: &Delivery, headers: &mut HeaderMap) {
    for attribute in delivery.event.attributes() {
        if let Some(name) = TRACE.into_iter().find(|name| *name == attribute.name)
            && let Ok(value) = HeaderValue::from_str(attribute.text)
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Reads as much of an answer as is of use. Where no reply is wanted the status has said all that
/// matters, and a body that does not come is not waited for.
async fn read(answer: Response<Incoming>, wants_reply: bool) -> Answer {
    let (head, incoming) = answer.into_parts();
    let reply = wants_reply && head.status.is_success() && head.status != 202;
    let mut body = BytesMut::new();
    let completeness = if reply {
        match read_body(incoming, REPLY_LIMIT, &mut body).await {
            Completeness::Start => Completeness::TooLong(REPLY_LIMIT),
            completeness => completeness,
        }
    } else {
        tokio::time::timeout(DRAIN, read_body(incoming, DRAIN_LIMIT, &mut body))
            .await
            .unwrap_or(Completeness::Start)
    };
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.freeze(),
        completeness,
    }
}

async fn read_body(mut incoming: Incoming, limit: usize, body: &mut BytesMut) -> Completeness {
    loop {
        match incoming.frame().await {
            None => return Completeness::Whole,
            Some(Err(error)) => return Completeness::Broken(causes(&error)),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                let room = limit - body.len();
                if data.len() > room {
                    body.extend_from_slice(&data[..room]);
                    return Completeness::Start;
                }
                body.extend_from_slice(&data);
            }
        }
    }
}

/// The URL with a path, which an origin-form request needs.
fn with_path(uri: &Uri) -> Uri {
    if uri.path().is_empty() {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(::http::uri::PathAndQuery::from_static("/"));
        return Uri::from_parts(parts).unwrap_or_else(|_| uri.clone());
    }
    uri.clone()
}

/// An error with all its causes: the outermost alone rarely says what happened.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
