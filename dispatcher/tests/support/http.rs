//! A subscriber over HTTP that answers by a script.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One request that came in.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn id(&self) -> usize {
        self.header("ce-id").parse().unwrap()
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    With(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The connection is closed without an answer.
    Reset,
    /// Half of the body, then the connection is closed.
    Truncated(u16, Vec<(&'static str, String)>),
    /// A head, and a body that does not come.
    Stalled(u16),
    /// No answer for a long time.
    Hang,
}

impl Answer {
    /// 200 with an event in binary mode.
    pub fn reply(id: &str) -> Self {
        let headers = vec![
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", id.to_owned()),
            ("ce-source", "/reply".to_owned()),
            ("ce-type", "test.reply".to_owned()),
            ("content-type", "text/plain".to_owned()),
        ];
        Self::With(200, headers, b"reply data".to_vec())
    }
}

type Script = dyn Fn(&Received, usize) -> Answer + Send + Sync;

/// A running subscriber. The script is given each request and how many came with this event's id
/// before.
pub struct HttpSubscriber {
    pub url: String,
    all: Arc<Mutex<All>>,
    _server: JoinSet<()>,
}

/// What came in, and how often each event did.
#[derive(Debug, Default)]
struct All {
    received: Vec<Received>,
    attempts: HashMap<String, usize>,
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

impl HttpSubscriber {
    pub async fn start(
        script: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let all: Arc<Mutex<All>> = Arc::default();
        let for_server = Arc::clone(&all);
        let script: Arc<Script> = Arc::new(script);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (all, script) = (Arc::clone(&for_server), Arc::clone(&script));
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        answer(request, Arc::clone(&all), Arc::clone(&script))
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            url,
            all,
            _server: server,
        }
    }

    /// One that takes everything.
    pub async fn takes_all() -> Self {
        Self::start(|_, _| Answer::Status(200)).await
    }

    /// Answers each event with these, one after the other; the last one counts for ever.
    pub async fn answers(answers: Vec<Answer>) -> Self {
        Self::start(move |_, n| answers.get(n).or_else(|| answers.last()).unwrap().clone()).await
    }

    pub fn received(&self) -> Vec<Received> {
        self.all.lock().received.clone()
    }

    pub fn count(&self) -> usize {
        self.all.lock().received.len()
    }
}

async fn answer(
    request: Request<Incoming>,
    all: Arc<Mutex<All>>,
    script: Arc<Script>,
) -> Result<Response<Body>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let received = Received {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        version: head.version,
        headers: head.headers,
        body,
    };
    let before = {
        let mut all = all.lock();
        let id = received.header("ce-id").to_owned();
        let before = all.attempts.entry(id).or_default();
        *before += 1;
        let before = *before - 1;
        all.received.push(received.clone());
        before
    };
    let (status, headers, body) = match script(&received, before) {
        Answer::Status(status) => (status, Vec::new(), whole(Vec::new())),
        Answer::With(status, headers, body) => (status, headers, whole(body)),
        Answer::Reset => return Err(std::io::Error::other("as the script says")),
        Answer::Truncated(status, mut headers) => {
            headers.push(("content-length", "100".to_owned()));
            // The server sends what it has when the body makes it wait.
            let half = stream::iter([Ok(Frame::data(Bytes::from_static(b"half")))]);
            let end = stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("as the script says"))
            });
            let body = StreamBody::new(half.chain(end)).boxed_unsync();
            (status, headers, body)
        }
        Answer::Stalled(status) => (
            status,
            Vec::new(),
            StreamBody::new(stream::pending()).boxed_unsync(),
        ),
        Answer::Hang => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            (500, Vec::new(), whole(Vec::new()))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    Ok(response)
}

fn whole(body: Vec<u8>) -> Body {
    http_body_util::Full::new(Bytes::from(body))
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
