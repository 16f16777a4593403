//! As much of the NATS protocol as a publisher to JetStream needs: CONNECT, SUB, PUB with a
//! reply, and the acknowledgements.
//!
//! Messages carry 1 KiB and no headers, which is less than a CloudEvent needs: to the benefit of
//! the other side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use anyhow::{Context, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::load::DATA;
use super::{Result, http, turns};

const STREAM: &str = "BENCHMARK";
const SUBJECT: &str = "benchmark.events";

/// A client with its unread input.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    inbox: String,
}

impl Client {
    async fn connect(addr: SocketAddr, number: usize) -> Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let inbox = format!("_INBOX.bench{number}");
        let mut client = Self {
            stream,
            input: Vec::with_capacity(64 * 1024),
            inbox,
        };
        let hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\
                     \"version\":\"0\",\"protocol\":1}\r\n";
        client.stream.write_all(hello.as_bytes()).await?;
        let subscribe = format!("SUB {} 1\r\n", client.inbox);
        client.stream.write_all(subscribe.as_bytes()).await?;
        Ok(client)
    }

    fn publish(&self, subject: &str, payload: &[u8]) -> Vec<u8> {
        let mut bytes = format!("PUB {subject} {} {}\r\n", self.inbox, payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// Reads until at least one message is there; returns the payloads of all that are.
    async fn messages(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        loop {
            while let Some(used) = self.take(&mut found).await? {
                self.input.drain(..used);
            }
            if !found.is_empty() {
                return Ok(found);
            }
            let read = self.stream.read_buf(&mut self.input).await?;
            anyhow::ensure!(read > 0, "nats-server closed the connection");
        }
    }

    /// Handles the first protocol line that is complete, and says how long it was.
    async fn take(&mut self, found: &mut Vec<Vec<u8>>) -> Result<Option<usize>> {
        let Some(end) = memmem::find(&self.input, b"\r\n") else {
            return Ok(None);
        };
        let line = &self.input[..end];
        if line.starts_with(b"MSG ") {
            let text = std::str::from_utf8(line)?;
            let size: usize = text
                .rsplit(' ')
                .next()
                .context("MSG without a size")?
                .parse()?;
            let total = end + 2 + size + 2;
            if self.input.len() < total {
                return Ok(None);
            }
            found.push(self.input[end + 2..end + 2 + size].to_vec());
            return Ok(Some(total));
        }
        if line.starts_with(b"-ERR") {
            bail!("nats-server said {}", String::from_utf8_lossy(line));
        }
        if line == b"PING" {
            self.stream.write_all(b"PONG\r\n").await?;
        }
        Ok(Some(end + 2))
    }
}

/// Makes the stream: files, no replicas, at most 8 GiB.
pub(crate) fn create_stream(on: &Handle, addr: SocketAddr) -> Result<()> {
    on.block_on(async {
        let mut client = Client::connect(addr, 9_999).await?;
        let config = format!(
            "{{\"name\":\"{STREAM}\",\"subjects\":[\"{SUBJECT}\"],\"storage\":\"file\",\
             \"retention\":\"limits\",\"discard\":\"old\",\"num_replicas\":1,\
             \"max_bytes\":8589934592}}"
        );
        let request = client.publish(
            &format!("$JS.API.STREAM.CREATE.{STREAM}"),
            config.as_bytes(),
        );
        client.stream.write_all(&request).await?;
        let answers = client.messages().await?;
        let answer = String::from_utf8_lossy(&answers[0]).into_owned();
        anyhow::ensure!(
            !answer.contains("\"error\""),
            "the stream was refused: {answer}"
        );
        Ok(())
    })
}

/// Acknowledged messages a second with `connections` clients, each with `in_flight` outstanding.
pub(crate) fn measure(
    on: &Handle,
    addr: SocketAddr,
    (connections, in_flight): (usize, usize),
) -> Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let acks = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let (stop, acks) = (Arc::clone(&stop), Arc::clone(&acks));
            on.spawn(async move { publisher(addr, number, in_flight, &stop, &acks).await })
        })
        .collect();
    let rate = turns::rate_of(&acks);
    stop.store(true, Relaxed);
    on.block_on(async {
        for task in tasks {
            task.await.context("a publisher panicked")??;
        }
        Ok(rate)
    })
}

async fn publisher(
    addr: SocketAddr,
    number: usize,
    in_flight: usize,
    stop: &AtomicBool,
    acks: &AtomicU64,
) -> Result<()> {
    let mut client = Client::connect(addr, number).await?;
    let payload: Vec<u8> = http::noise(DATA).collect();
    let message = client.publish(SUBJECT, &payload);
    client.stream.write_all(&message.repeat(in_flight)).await?;
    let mut outstanding = in_flight;
    while outstanding > 0 {
        let answers = client.messages().await?;
        for answer in &answers {
            let stored = memmem::find(answer, b"\"seq\"").is_some();
            anyhow::ensure!(stored, "not stored: {}", String::from_utf8_lossy(answer));
        }
        acks.fetch_add(answers.len() as u64, Relaxed);
        outstanding -= answers.len();
        if !stop.load(Relaxed) {
            client
                .stream
                .write_all(&message.repeat(answers.len()))
                .await?;
            outstanding += answers.len();
        }
    }
    Ok(())
}
