//! What the broker is compared with: servers that do nothing but HTTP, run as child processes of
//! the benchmark (the same executable again, told its role by the environment).
//!
//! `accept` answers 202 to every POST whose body it has read. `relay` does that too and posts each
//! event to a subscriber over 32 connections, from memory: a broker that would forget everything.

use std::convert::Infallible;
use std::net::SocketAddr;
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
use tokio::sync::{Mutex, mpsc};

use super::Result;

const ROLE: &str = "HEDDLE_BENCH_ROLE";
const TARGET: &str = "HEDDLE_BENCH_TARGET";
/// Deliveries at the same time; also what the relay holds in memory, times 64.
const DELIVERIES: usize = 32;

/// The child's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Accept,
    Relay,
}

/// The role that the environment names.
pub(crate) fn role() -> Option<Role> {
    match std::env::var(ROLE).ok()?.as_str() {
        "accept" => Some(Role::Accept),
        "relay" => Some(Role::Relay),
        _ => None,
    }
}

/// The command that starts a child in that role. It prints its address on a line.
pub(crate) fn command(role: Role, target: Option<SocketAddr>) -> Result<std::process::Command> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.env(
        ROLE,
        if role == Role::Accept {
            "accept"
        } else {
            "relay"
        },
    );
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
        let queue = match role {
            Role::Accept => None,
            Role::Relay => {
                let target = std::env::var(TARGET).context("a relay without a target")?;
                Some(deliverers(target.parse()?))
            }
        };
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(stream, queue.clone()));
        }
    })
}

type Queue = mpsc::Sender<(HeaderMap, Bytes)>;

async fn connection(stream: TcpStream, queue: Option<Queue>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let queue = queue.clone();
        async move {
            let (head, body) = request.into_parts();
            let status = match (body.collect().await, queue) {
                (Err(_), _) => 400,
                (Ok(_), None) => 202,
                (Ok(body), Some(queue)) => {
                    match queue.send((head.headers, body.to_bytes())).await {
                        Ok(()) => 202,
                        Err(_) => 503,
                    }
                }
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
