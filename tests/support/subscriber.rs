//! A subscriber that records every delivery, and answers as its script says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::wait;

/// One request that a subscriber got, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Delivery {
    /// A header's value as text; empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    /// The id of an event in binary mode.
    pub(crate) fn id(&self) -> &str {
        self.header("ce-id")
    }
}

/// What a subscriber says.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    permit: Option<Arc<Semaphore>>,
}

impl Answer {
    /// A status alone.
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            permit: None,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Holds the answer back until one permit of `gate` is free, and uses it up.
    pub(crate) fn after(mut self, gate: &Arc<Semaphore>) -> Self {
        self.permit = Some(Arc::clone(gate));
        self
    }
}

type Script = dyn Fn(&Delivery, usize) -> Answer + Send + Sync;

struct Shared {
    script: Box<Script>,
    deliveries: Mutex<Vec<Delivery>>,
}

/// A subscriber on a port of its own. It is gone when it is dropped.
pub(crate) struct Subscriber {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

impl Subscriber {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        Self::scripted(|_, _| Answer::status(200)).await
    }

    /// One that answers as `script` says. The script sees the delivery and how many came before it.
    pub(crate) async fn scripted(
        script: impl Fn(&Delivery, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            deliveries: Mutex::new(Vec::new()),
        });
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _server: server,
        }
    }

    /// Its address, with a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many deliveries came so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.deliveries.lock().len()
    }

    /// Everything that came so far, in the order of arrival.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().clone()
    }

    /// The ids of what came so far (binary mode).
    pub(crate) fn ids(&self) -> Vec<String> {
        let deliveries = self.shared.deliveries.lock();
        deliveries.iter().map(|d| d.id().to_owned()).collect()
    }

    /// Waits until at least `count` deliveries have come.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Delivery> {
        wait::until_now(&format!("{count} deliveries"), || {
            let deliveries = self.shared.deliveries.lock();
            if deliveries.len() >= count {
                Ok(deliveries.clone())
            } else {
                Err(format!("{} deliveries", deliveries.len()))
            }
        })
        .await
    }

    /// Waits until a delivery with this event id has come.
    pub(crate) async fn wait_for_id(&self, id: &str) -> Delivery {
        wait::until_now(&format!("the event {id:?}"), || {
            let deliveries = self.shared.deliveries.lock();
            let found = deliveries.iter().find(|d| d.id() == id).cloned();
            found.ok_or_else(|| format!("{} others", deliveries.len()))
        })
        .await
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    // A broker that was killed breaks its connections: nothing to report.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<hyper::body::Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        // Half a request was never a delivery.
        return status_only(StatusCode::BAD_REQUEST);
    };
    let delivery = Delivery {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: body.to_bytes(),
    };
    let answer = {
        let mut deliveries = shared.deliveries.lock();
        let answer = (shared.script)(&delivery, deliveries.len());
        deliveries.push(delivery);
        answer
    };
    if let Some(gate) = &answer.permit
        && let Ok(permit) = gate.acquire().await
    {
        permit.forget();
    }
    let mut response = status_only(StatusCode::from_u16(answer.status).unwrap());
    for (name, value) in &answer.headers {
        response.headers_mut().append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    *response.body_mut() = Full::new(answer.body);
    response
}

fn status_only(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}
