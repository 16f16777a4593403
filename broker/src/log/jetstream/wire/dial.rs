//! From an address to a connection that may publish.

use std::time::Duration;

use async_nats::{ServerAddr, ServerInfo};
use bytes::{Buf as _, BytesMut};
use futures::future::select_ok;
use rand::seq::SliceRandom as _;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::PATIENCE;
use super::super::access::Access;
use super::frames::{Heard, hear};

/// How long one server has to greet us before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(300);

/// The largest message of a server that does not say: what servers take by default.
const MAX_PAYLOAD: usize = 1 << 20;

/// Bytes to and from a server, in the clear or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A server that has let us in.
pub(super) struct Dialed {
    pub(super) stream: Box<dyn Stream>,
    /// What it said after that.
    pub(super) input: BytesMut,
    pub(super) max_payload: usize,
}

/// Reaches the first server that lets us in.
pub(super) async fn dial(access: &Access) -> Result<Dialed, String> {
    let mut addresses = access.addresses()?;
    addresses.shuffle(&mut rand::rng());
    let attempts = (0..).zip(addresses).map(|(place, address)| {
        Box::pin(async move {
            tokio::time::sleep(place * STAGGER).await;
            let reached = timeout(PATIENCE, reach(access, &address)).await;
            let reached = reached.map_err(|_| "it did not greet us in time".to_owned());
            reached?.map_err(|error| format!("{}:{}: {error}", address.host(), address.port()))
        })
    });
    let (dialed, _others) = select_ok(attempts).await?;
    Ok(dialed)
}

async fn reach(access: &Access, address: &ServerAddr) -> Result<Dialed, String> {
    let tcp = TcpStream::connect((address.host(), address.port())).await;
    let tcp = tcp.map_err(said)?;
    tcp.set_nodelay(true).map_err(said)?;
    let mut greeting = Talk::with(Box::new(tcp));
    let info = greeting.info().await?;
    let secured = access.is_secured() || info.tls_required || address.tls_required();
    let mut talk = if secured {
        let name = ServerName::try_from(address.host().to_owned()).map_err(said)?;
        let connector = TlsConnector::from(std::sync::Arc::new(access.trust()?));
        let tls = connector.connect(name, greeting.stream).await;
        Talk::with(Box::new(tls.map_err(said)?))
    } else {
        greeting
    };
    let hello = access.hello(&info, secured)?;
    let hello = serde_json::to_string(&hello).map_err(said)?;
    let hello = format!("CONNECT {hello}\r\nPING\r\n");
    talk.stream
        .write_all(hello.as_bytes())
        .await
        .map_err(said)?;
    talk.stream.flush().await.map_err(said)?;
    talk.welcome().await?;
    Ok(Dialed {
        stream: talk.stream,
        input: talk.input,
        max_payload: Some(info.max_payload)
            .filter(|max| *max > 0)
            .unwrap_or(MAX_PAYLOAD),
    })
}

/// A conversation that has just begun.
struct Talk {
    stream: Box<dyn Stream>,
    input: BytesMut,
}

impl Talk {
    fn with(stream: Box<dyn Stream>) -> Self {
        let input = BytesMut::new();
        Self { stream, input }
    }

    /// The server's greeting.
    async fn info(&mut self) -> Result<ServerInfo, String> {
        self.first(|heard| match heard {
            Heard::Info(info) => Some(serde_json::from_slice(info).map_err(said)),
            other => Some(Err(format!("it greets with {other:?}"))),
        })
        .await
    }

    /// Its answer to who we are.
    async fn welcome(&mut self) -> Result<(), String> {
        self.first(|heard| match heard {
            Heard::Pong => Some(Ok(())),
            Heard::Error(error) => Some(Err(error.to_ascii_lowercase())),
            _ => None,
        })
        .await
    }

    /// What `take` makes of the first thing that it wants.
    async fn first<T>(
        &mut self,
        take: impl Fn(Heard<'_>) -> Option<Result<T, String>>,
    ) -> Result<T, String> {
        loop {
            while let Some((heard, length)) = hear(&self.input).map_err(said)? {
                let taken = take(heard);
                self.input.advance(length);
                if let Some(taken) = taken {
                    return taken;
                }
            }
            let read = self.stream.read_buf(&mut self.input).await;
            if read.map_err(said)? == 0 {
                return Err("it closed the connection".to_owned());
            }
        }
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
