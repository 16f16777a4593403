//! The load: closed loop, where each connection sends its next event when the last was answered,
//! and open loop, where events are due at a rate and wait for nobody.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::http::EventRequest;
use super::ledger::Ledger;
use super::{Result, WARM_UP, http, now_ns, turn};

/// How many connections a load has, where nothing else is said.
pub(crate) const CONNECTIONS: usize = 64;
/// How many bytes of data an event has, where nothing else is said.
pub(crate) const DATA: usize = 1024;

/// What to send where.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// The listener.
    pub(crate) addr: SocketAddr,
    /// The path of the broker.
    pub(crate) path: String,
    /// `ce-type` of the events.
    pub(crate) kind: String,
    /// Bytes of data in each.
    pub(crate) data: usize,
    /// How many connections share the work.
    pub(crate) connections: usize,
}

impl Load {
    /// Events of that type with 1 KiB of data, over 64 connections.
    pub(crate) fn new(addr: SocketAddr, path: &str, kind: &str) -> Self {
        Self {
            addr,
            path: path.to_owned(),
            kind: kind.to_owned(),
            data: DATA,
            connections: CONNECTIONS,
        }
    }
}

/// What a measured stretch of a closed loop held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Events acknowledged a second.
    pub(crate) acks: f64,
    /// Events that arrived at the subscriber a second.
    pub(crate) arrivals: f64,
}

/// A closed loop that runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
    handle: Handle,
}

/// Starts one task a connection on that runtime.
pub(crate) fn start(on: &Handle, load: &Load, ledger: &Arc<Ledger>) -> Running {
    let stop = Arc::new(AtomicBool::new(false));
    let tasks = (0..load.connections)
        .map(|_| {
            on.spawn(connection(
                load.clone(),
                Arc::clone(ledger),
                Arc::clone(&stop),
            ))
        })
        .collect();
    Running {
        stop,
        tasks,
        handle: on.clone(),
    }
}

impl Running {
    /// Whether all connections have ended by themselves (the record is full).
    pub(crate) fn finished(&self) -> bool {
        self.tasks.iter().all(tokio::task::JoinHandle::is_finished)
    }

    /// Ends the load and passes on what went wrong. A connection that waits for room in the
    /// window never comes back and is cut off after `patience`.
    pub(crate) fn stop(self, patience: Duration) -> Result<()> {
        self.stop.store(true, Relaxed);
        let deadline = Instant::now() + patience;
        while !self.finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        for task in self.tasks {
            if !task.is_finished() {
                task.abort();
                continue;
            }
            let (send, receive) = std::sync::mpsc::channel();
            self.handle.spawn(async move {
                let _ = send.send(task.await);
            });
            receive
                .recv()?
                .context("a connection of the generator panicked")??;
        }
        Ok(())
    }
}

/// One turn: warm up, measure, stop.
pub(crate) fn measure(on: &Handle, load: &Load, ledger: &Arc<Ledger>) -> Result<Rate> {
    let running = start(on, load, ledger);
    std::thread::sleep(WARM_UP);
    let (from, acks, arrivals) = (Instant::now(), ledger.acks(), ledger.arrivals());
    std::thread::sleep(turn());
    let seconds = from.elapsed().as_secs_f64();
    let rate = Rate {
        acks: (ledger.acks() - acks) as f64 / seconds,
        arrivals: (ledger.arrivals() - arrivals) as f64 / seconds,
    };
    running.stop(Duration::from_secs(5))?;
    Ok(rate)
}

async fn connection(load: Load, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) -> Result<()> {
    let mut request = EventRequest::new(load.addr, &load.path, &load.kind, load.data);
    let mut stream = TcpStream::connect(load.addr).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    while !stop.load(Relaxed) {
        let Some(index) = ledger.take().await else {
            return Ok(());
        };
        ledger.due(index, now_ns());
        stream
            .write_all(request.with_id(ledger.run(), index))
            .await?;
        buffer.clear();
        let status = loop {
            let read = stream.read_buf(&mut buffer).await?;
            anyhow::ensure!(read > 0, "the server closed a connection before its answer");
            if let Some(message) = http::message(&buffer)? {
                break http::status(&buffer[..message.head])?;
            }
        };
        ledger.answered(index, status);
    }
    Ok(())
}

/// Sends `count` events that are due at `rate` a second, from blocking threads: their timers are
/// accurate to some 60 us, where those of an asynchronous runtime are to 1 ms.
pub(crate) fn open_loop(load: &Load, ledger: &Arc<Ledger>, rate: f64, count: usize) -> Result<()> {
    let start = Instant::now() + Duration::from_millis(50);
    let start_ns = now_ns() + 50_000_000;
    let threads: Vec<_> = (0..load.connections)
        .map(|first| {
            let (load, ledger) = (load.clone(), Arc::clone(ledger));
            std::thread::spawn(move || {
                let every = load.connections;
                let schedule = (first..count).step_by(every);
                paced(&load, &ledger, schedule, |index| {
                    let after = Duration::from_secs_f64(index as f64 / rate);
                    (start + after, start_ns + after.as_nanos() as u64)
                })
            })
        })
        .collect();
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a thread of the generator panicked"))??;
    }
    Ok(())
}

fn paced(
    load: &Load,
    ledger: &Ledger,
    schedule: impl Iterator<Item = usize>,
    due: impl Fn(usize) -> (Instant, u64),
) -> Result<()> {
    let mut request = EventRequest::new(load.addr, &load.path, &load.kind, load.data);
    let mut stream = std::net::TcpStream::connect(load.addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut buffer = [0_u8; 4096];
    for index in schedule {
        let (at, at_ns) = due(index);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        ledger.due(index, at_ns);
        stream.write_all(request.with_id(ledger.run(), index))?;
        let mut filled = 0;
        let status = loop {
            let read = stream.read(&mut buffer[filled..])?;
            anyhow::ensure!(read > 0, "the server closed a connection before its answer");
            filled += read;
            if let Some(message) = http::message(&buffer[..filled])? {
                break http::status(&buffer[..message.head])?;
            }
        };
        ledger.answered(index, status);
    }
    Ok(())
}
