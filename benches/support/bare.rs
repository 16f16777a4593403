//! What the broker is compared with: servers that do nothing but HTTP, run as child processes of
//! the benchmark (the same executable again, told its role by the environment).
//!
//! `accept` answers 202 to every POST whose body it has read. `sync` gives each body to a thread that
//! writes what waits into a file made of zeros, syncs it, and only then lets it be answered: the
//! least that a broker can do which promises durability, without events, logs or recovery. `relay`
//! answers as `accept` does, and posts each event to a subscriber over 32 connections, from memory:
//! a broker that would forget everything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::Result;

const ROLE: &str = "HEDDLE_BENCH_ROLE";
const TARGET: &str = "HEDDLE_BENCH_TARGET";
/// Deliveries at the same time; also what the relay holds in memory, times 64.
const DELIVERIES: usize = 32;

/// The child's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Accept,
    Sync,
    Relay,
}

impl Role {
    const ALL: [Self; 3] = [Self::Accept, Self::Sync, Self::Relay];

    fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Sync => "sync",
            Self::Relay => "relay",
        }
    }
}

/// The role that the environment names.
pub(crate) fn role() -> Option<Role> {
    let name = std::env::var(ROLE).ok()?;
    Role::ALL.into_iter().find(|role| role.name() == name)
}

/// The command that starts a child in that role. It prints its address on a line.
pub(crate) fn command(role: Role, target: Option<SocketAddr>) -> Result<std::process::Command> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.env(ROLE, role.name());
    if let Some(target) = target {
        command.env(TARGET, target.to_string());
    }
    Ok(command)
}

/// Plays the role until it is killed.
pub(crate) fn run(role: Role) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let then = match role {
            Role::Accept => Then::Answer,
            Role::Sync => Then::Sync(syncer()?),
            Role::Relay => {
                let target = std::env::var(TARGET).context("a relay without a target")?;
                Then::Relay(deliverers(target.parse()?))
            }
        };
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(stream, then.clone()));
        }
    })
}

type Queue = mpsc::Sender<(HeaderMap, Bytes)>;
type Durable = (Bytes, oneshot::Sender<()>);

/// What is done with a body before it is answered.
#[derive(Clone)]
enum Then {
    Answer,
    Sync(mpsc::Sender<Durable>),
    Relay(Queue),
}

impl Then {
    async fn take(self, headers: HeaderMap, body: Bytes) -> bool {
        match self {
            Self::Answer => true,
            Self::Relay(queue) => queue.send((headers, body)).await.is_ok(),
            Self::Sync(queue) => {
                let (done, durable) = oneshot::channel();
                queue.send((body, done)).await.is_ok() && durable.await.is_ok()
            }
        }
    }
}

/// Starts the thread that makes bodies durable, in a file that is written already and has no name.
fn syncer() -> Result<mpsc::Sender<Durable>> {
    const GROUP: usize = 1024;
    let file = tempfile::tempfile()?;
    let (size, piece) = (256_u64 << 20, vec![0; 1 << 20]);
    for at in (0..size).step_by(piece.len()) {
        file.write_all_at(&piece, at)?;
    }
    file.sync_all()?;
    let (queue, mut bodies) = mpsc::channel::<Durable>(GROUP);
    std::thread::spawn(move || {
        let (mut group, mut bytes, mut at) = (Vec::new(), Vec::new(), 0);
        while bodies.blocking_recv_many(&mut group, GROUP) > 0 {
            bytes.clear();
            for (body, _) in &group {
                bytes.extend_from_slice(body);
            }
            if at + bytes.len() as u64 > size {
                at = 0;
            }
            let written = file
                .write_all_at(&bytes, at)
                .and_then(|()| file.sync_data());
            if let Err(error) = written {
                eprintln!("the comparison server could not write: {error}");
                return;
            }
            at += bytes.len() as u64;
            for (_, done) in group.drain(..) {
                // The generator ends its connections as it likes.
                let _ = done.send(());
            }
        }
    });
    Ok(queue)
}

async fn connection(stream: TcpStream, then: Then) {
    let service = service_fn(move |request: Request<Incoming>| {
        let then = then.clone();
        async move {
            let (head, body) = request.into_parts();
            let status = match body.collect().await {
                Err(_) => 400,
                Ok(body) => match then.take(head.headers, body.to_bytes()).await {
                    true => 202,
                    false => 503,
                },
            };
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
            Ok::<_, Infallible>(response)
        }
    });
    // The generator ends its connections as it likes.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn deliverers(target: SocketAddr) -> Queue {
    let (queue, events) = mpsc::channel(DELIVERIES * 64);
    let events = Arc::new(Mutex::new(events));
    for _ in 0..DELIVERIES {
        let events = Arc::clone(&events);
        tokio::spawn(async move {
            if let Err(error) = deliver(target, &events).await {
                eprintln!("the relay gave up a connection: {error:#}");
            }
        });
    }
    queue
}

async fn deliver(
    target: SocketAddr,
    events: &Mutex<mpsc::Receiver<(HeaderMap, Bytes)>>,
) -> Result<()> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let host = target.to_string().parse::<hyper::header::HeaderValue>()?;
    loop {
        let next = events.lock().await.recv().await;
        let Some((mut headers, body)) = next else {
            return Ok(());
        };
        headers.insert(HOST, host.clone());
        headers.remove(CONTENT_LENGTH);
        let mut request = Request::post("/").body(Full::new(body))?;
        *request.headers_mut() = headers;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        answer.into_body().collect().await?;
    }
}
