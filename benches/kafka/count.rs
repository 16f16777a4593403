//! Passes connections on to a server, and counts the bytes that come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::support::Result;

/// See the module.
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Listens on that port for as long as the runtime lives.
    pub(crate) fn start(on: &Handle, port: u16, server: SocketAddr) -> Result<Self> {
        let listener = on.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?;
        let (bytes, none) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let counted = Arc::clone(&bytes);
        on.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else {
                    continue;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, Arc::clone(&none)));
                tokio::spawn(pass(from_server, to_client, Arc::clone(&counted)));
            }
        });
        Ok(Self(bytes))
    }

    /// What has come back so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, bytes: Arc<AtomicU64>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        bytes.fetch_add(read as u64, Relaxed);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
