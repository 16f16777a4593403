//! An ingress on a port of its own, a log that does as it is told, and a client that sends bytes.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use heddle_broker::clock::ManualClock;
use heddle_broker::directory::{Directory, Entry, EntryKind};
use heddle_broker::event::Event;
use heddle_broker::ingress::{Ingress, IngressOptions};
use heddle_broker::log::{
    AppendError, Commit, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit, Retention,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing here takes that long; a test that waits longer has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The time at the ingress.
pub const NOW: &str = "2024-05-06T07:08:09Z";

type Outcome = Result<Range<Offset>, AppendError>;

/// What the log does with an append.
#[derive(Debug, Default)]
enum Mood {
    #[default]
    Keep,
    Refuse(AppendError),
    FailCommit(AppendError),
    /// Commits wait for [`TestLog::commit`].
    Wait,
}

/// A log that keeps appends in memory, refuses them or lets them wait.
#[derive(Debug)]
pub struct TestLog {
    mood: Mutex<Mood>,
    appends: Mutex<Vec<Vec<Event>>>,
    waiting: Mutex<Vec<oneshot::Sender<Outcome>>>,
    count: watch::Sender<usize>,
    tail: watch::Sender<Offset>,
}

impl TestLog {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            mood: Mutex::default(),
            appends: Mutex::default(),
            waiting: Mutex::default(),
            count: watch::channel(0).0,
            tail: watch::channel(0).0,
        })
    }

    pub fn refuse(&self, error: AppendError) {
        *self.mood.lock() = Mood::Refuse(error);
    }

    pub fn fail_commit(&self, error: AppendError) {
        *self.mood.lock() = Mood::FailCommit(error);
    }

    pub fn keep(&self) {
        *self.mood.lock() = Mood::Keep;
    }

    pub fn wait(&self) {
        *self.mood.lock() = Mood::Wait;
    }

    /// Commits all appends that wait.
    pub fn commit(&self) {
        for sender in self.waiting.lock().drain(..) {
            let _ = sender.send(Ok(0..1));
        }
    }

    pub fn appends(&self) -> Vec<Vec<Event>> {
        self.appends.lock().clone()
    }

    /// The one event of the one append.
    pub fn only(&self) -> Event {
        let appends = self.appends();
        assert_eq!(appends.len(), 1);
        assert_eq!(appends[0].len(), 1);
        appends[0][0].clone()
    }

    /// Waits until there are `count` appends.
    pub async fn appended(&self, count: usize) {
        let mut seen = self.count.subscribe();
        let wait = seen.wait_for(|now| *now >= count);
        tokio::time::timeout(DEADLINE, wait).await.unwrap().unwrap();
    }
}

#[async_trait]
impl Log for TestLog {
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        let commit = match &*self.mood.lock() {
            Mood::Refuse(error) => return Err(error.clone()),
            Mood::FailCommit(error) => return Ok(Commit::ready(Err(error.clone()))),
            Mood::Keep => Commit::ready(Ok(0..events.len() as u64)),
            Mood::Wait => {
                let (sender, receiver) = oneshot::channel();
                self.waiting.lock().push(sender);
                Commit::waiting(receiver)
            }
        };
        self.appends.lock().push(events);
        self.count.send_modify(|count| *count += 1);
        Ok(commit)
    }

    async fn read(&self, _from: Offset, _limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        Ok(ReadBatch::default())
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.tail.subscribe()
    }

    async fn offset_at(&self, _time: Timestamp) -> Result<Offset, ReadError> {
        Ok(0)
    }

    fn release(&self, _up_to: Offset) {}

    fn set_retention(&self, _retention: Retention) {}

    fn stats(&self) -> LogStats {
        LogStats::default()
    }
}

/// An ingress with the broker `ns/b` and the channel `ns/ch`, whose host is `ch.ns.example`.
pub struct Server {
    pub address: SocketAddr,
    pub ingress: Arc<Ingress>,
    pub broker: Arc<TestLog>,
    pub channel: Arc<TestLog>,
    pub registry: Registry,
    pub tracker: TaskTracker,
    pub drain: CancellationToken,
    pub force: CancellationToken,
}

impl Server {
    pub async fn start(options: IngressOptions) -> Self {
        let (broker, channel) = (TestLog::new(), TestLog::new());
        let entry = |kind, name: &str, log: &Arc<TestLog>| {
            let log = Arc::clone(log) as Arc<dyn Log>;
            Arc::new(Entry::new(kind, "ns", name, log))
        };
        let ch = entry(EntryKind::Channel, "ch", &channel);
        let directory = Directory {
            brokers: HashMap::from([("ns/b".into(), entry(EntryKind::Broker, "b", &broker))]),
            channels: HashMap::from([("ns/ch".into(), Arc::clone(&ch))]),
            hosts: HashMap::from([("ch.ns.example".into(), ch)]),
            kafka_sinks: HashMap::from([(
                "ns/ks".into(),
                entry(EntryKind::KafkaSink, "ks", &channel),
            )]),
        };
        let mut registry = Registry::default();
        let clock = ManualClock::new(NOW.parse().unwrap());
        let directory = Arc::new(ArcSwap::from_pointee(directory));
        let ingress = Ingress::new(directory, clock, options, &mut registry);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tracker = TaskTracker::new();
        let (drain, force) = (CancellationToken::new(), CancellationToken::new());
        tracker.spawn(Arc::clone(&ingress).serve(
            listener,
            tracker.clone(),
            drain.clone(),
            force.clone(),
        ));
        Self {
            address,
            ingress,
            broker,
            channel,
            registry,
            tracker,
            drain,
            force,
        }
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Sends bytes on a new connection and reads one answer.
    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        self.connect().await.ask(request).await
    }

    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until all tasks have ended.
    pub async fn ended(&self) {
        self.tracker.close();
        tokio::time::timeout(DEADLINE, self.tracker.wait())
            .await
            .unwrap();
    }
}

/// One answer, as it stood on the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn problem(&self) -> serde_json::Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        assert!(
            problem["type"]
                .as_str()
                .unwrap()
                .starts_with("urn:heddle:problem:")
        );
        assert!(problem["title"].is_string());
        problem
    }

    pub fn detail(&self) -> String {
        self.problem()["detail"].as_str().unwrap().to_owned()
    }
}

/// A connection that sends what it is told.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    head_only: bool,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            head_only: false,
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have closed already; the answer tells.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let request = request.as_ref();
        self.head_only = request.starts_with(b"HEAD ");
        self.send(request).await;
        self.answer().await
    }

    /// Reads one answer; panics where the connection ends before it does.
    pub async fn answer(&mut self) -> Answer {
        let answer = tokio::time::timeout(DEADLINE, self.read_answer()).await;
        answer.expect("an answer in time").expect("an answer")
    }

    /// Waits for the server to close the connection, with nothing more said.
    pub async fn closed(&mut self) {
        let read = tokio::time::timeout(DEADLINE, self.fill())
            .await
            .expect("closed in time");
        assert!(
            !read,
            "unexpected: {}",
            String::from_utf8_lossy(&self.buffer)
        );
    }

    /// Whether the server has said nothing so far.
    pub fn silent(&self) -> bool {
        let mut byte = [0];
        self.stream.try_read(&mut byte).is_err() && self.buffer.is_empty()
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk).await {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
        }
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        let length = answer
            .header("content-length")
            .map_or(0, |n| n.parse().unwrap());
        let length = if self.head_only || status == 100 {
            0
        } else {
            length
        };
        while self.buffer.len() < length {
            if !self.fill().await {
                return None;
            }
        }
        answer.body = self.buffer.drain(..length).collect();
        Some(answer)
    }
}

/// A valid binary-mode request to the broker, with more headers and a body.
pub fn binary(path: &str, more: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\n\
         ce-type: t\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request in JSON with the given subtype of `application/`.
pub fn json(path: &str, subtype: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/{subtype}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
