//! A subscriber that costs little: it answers 202 and notes which event came when.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::ledger::Ledger;
use super::{Result, http};

const ANSWER: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

/// The subscriber, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    open: watch::Sender<bool>,
    handle: Handle,
}

#[derive(Debug)]
struct Shared {
    ledger: RwLock<Arc<Ledger>>,
    open: watch::Receiver<bool>,
}

impl Sink {
    /// Listens on a free port. A sink that is not open reads requests and keeps its answers back.
    pub(crate) fn start(open: bool) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let addr = listener.local_addr()?;
        let (open, gate) = watch::channel(open);
        let ledger = RwLock::new(Arc::new(Ledger::new(0, 0, None)));
        let shared = Arc::new(Shared { ledger, open: gate });
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(connection(stream, Arc::clone(&accepting)));
                    }
                });
            })?;
        Ok(Self {
            addr,
            shared,
            open,
            handle,
        })
    }

    /// The sink's thread, for a generator that shall share it.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where arrivals are noted from now on.
    pub(crate) fn record(&self, ledger: &Arc<Ledger>) {
        *self.shared.ledger.write() = Arc::clone(ledger);
    }

    /// Lets the answers go.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    if let Err(error) = serve(stream, &shared).await {
        eprintln!("the subscriber gave up a connection: {error:#}");
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut open = shared.open.clone();
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut answers = Vec::new();
    loop {
        // A broker that is killed resets its connections: that is no fault of the subscriber.
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
        let mut used = 0;
        answers.clear();
        while let Some(message) = http::message(&buffer[used..])? {
            let head = &buffer[used..used + message.head];
            used += message.total;
            open.wait_for(|open| *open).await?;
            let id = http::header(head, b"ce-id").and_then(http::parse_id);
            let (run, index) = id.unwrap_or((u64::MAX, 0));
            shared.ledger.read().arrived(run, index);
            answers.extend_from_slice(ANSWER);
        }
        if used > 0 {
            buffer.drain(..used);
            if stream.write_all(&answers).await.is_err() {
                return Ok(());
            }
        }
    }
}
