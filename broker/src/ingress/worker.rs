//! The threads that connections run on.
//!
//! Each thread has a runtime of its own, and a connection stays on the thread that it was given to:
//! nothing of a request moves from core to core, and an idle thread does not wake to look for work
//! of another. A new connection goes to the thread that has the fewest.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::wake::Mailbox;

/// How many connections may wait for a thread to take them. More wait in the kernel.
const ARRIVALS: usize = 64;

/// What all tasks of one thread share.
#[derive(Debug, Default)]
pub(super) struct Home {
    /// The tasks of this thread.
    pub(super) tracker: TaskTracker,
    /// Wakes from other threads.
    pub(super) wakes: Arc<Mailbox>,
    /// How many connections are here, or on their way.
    connections: AtomicUsize,
}

type Arrival = (std::net::TcpStream, Connection, Guest);

/// A connection of a thread, which counts for as long as this lives.
#[derive(Debug)]
struct Guest(Arc<Home>);

impl Guest {
    fn new(home: &Arc<Home>) -> Self {
        home.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(home))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Worker {
    home: Arc<Home>,
    arrivals: mpsc::Sender<Arrival>,
}

/// All threads of an ingress. Each ends after this was dropped, with its last connection.
#[derive(Debug)]
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    /// Starts the threads. `tracker` counts each of them as a task.
    pub(super) fn start(count: usize, tracker: &TaskTracker) -> io::Result<Self> {
        let start = |index| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let home = Arc::new(Home::default());
            let (arrivals, queue) = mpsc::channel(ARRIVALS);
            let (token, work) = (tracker.token(), work(Arc::clone(&home), queue));
            std::thread::Builder::new()
                .name(format!("ingress-{index}"))
                .spawn(move || {
                    let _counted = token;
                    runtime.block_on(work);
                })?;
            Ok(Worker { home, arrivals })
        };
        (0..count.max(1))
            .map(start)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Gives a connection to a thread. Waits while that has as many to take as it may.
    pub(super) async fn take(&self, stream: TcpStream, connection: Connection) -> io::Result<()> {
        let load = |worker: &&Worker| worker.home.connections.load(Ordering::Relaxed);
        let Some(worker) = self.0.iter().min_by_key(load) else {
            return Ok(());
        };
        let guest = Guest::new(&worker.home);
        let arrival = (stream.into_std()?, connection, guest);
        worker
            .arrivals
            .send(arrival)
            .await
            .map_err(|_| io::Error::other("its thread has ended"))
    }
}

/// What a thread does.
async fn work(home: Arc<Home>, mut queue: mpsc::Receiver<Arrival>) {
    let serve = async {
        while let Some((stream, connection, guest)) = queue.recv().await {
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    continue;
                }
            };
            let talk = connection.run(stream, Arc::clone(&home));
            home.tracker.spawn(async move {
                let _counted = guest;
                talk.await;
            });
        }
        home.tracker.close();
        home.tracker.wait().await;
    };
    tokio::select! {
        () = serve => {}
        never = home.wakes.deliver() => match never {}
    }
}
