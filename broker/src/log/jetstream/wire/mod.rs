//! A connection to the servers that only publishes, and hears what becomes of it.
//!
//! Every event passes here, so that what each one costs is what the log's speed is: a general client
//! builds a map of headers, a subject and a channel for every message. Here a log hands over a *parcel*
//! of messages that are encoded already, which is written as it is, and gets the answers of everything
//! that one read brought, as numbers. All else (streams, reads, purges) goes through async-nats.
//!
//! * [`frames`]: the protocol's lines.
//! * [`dial`]: greeting, TLS, and who we are.
//! * [`run`]: the task of a connection.
//!
//! A log has a [`Lane`] on the connection. Answers come to the inbox of the connection, whose subject
//! says which lane and which message they are for. A connection never comes back: when it is lost, its
//! lanes hear nothing more, and say so. Everything is bounded: [`PARCELS`] wait to be written, and a lane
//! may await [`Lane::ROOM`] answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::ack::Said;

mod dial;
mod frames;
mod run;

pub(super) use frames::publish;

/// What the subjects of inboxes begin with.
pub(super) const INBOX: &str = "_INBOX.";
/// Parcels of all lanes that wait to be written.
const PARCELS: usize = 16;

/// An answer to a message.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    /// Which message of the lane.
    pub(super) token: u64,
    /// What it says.
    pub(super) said: Said,
}

/// A connection. It ends when nobody holds it any more, and no lane of it.
#[derive(Debug)]
pub(super) struct Wire {
    parcels: mpsc::Sender<Vec<u8>>,
    state: Arc<State>,
}

/// What a connection and its task share.
#[derive(Debug)]
struct State {
    inbox: String,
    max_payload: AtomicUsize,
    next: AtomicU64,
    /// The lanes that hear answers; none once the connection has ended.
    lanes: Mutex<Option<HashMap<u64, Arc<Ears>>>>,
    /// The last thing that the server complained about.
    complaint: Mutex<String>,
}

/// Where the answers of a lane go.
#[derive(Debug)]
struct Ears {
    /// The stream that answers are to come from.
    stream: String,
    answers: mpsc::Sender<Vec<Answer>>,
}

impl Wire {
    /// Connects to one of the servers. The connection's task runs on `tracker`.
    ///
    /// # Errors
    ///
    /// Why none lets us in, for people.
    pub(super) async fn dial(access: &Access, tracker: &TaskTracker) -> Result<Self, String> {
        let dialed = dial::dial(access).await?;
        // Nobody else may guess where answers go.
        let (one, other) = rand::random::<(u64, u32)>();
        let inbox = format!("{INBOX}{one:016x}{other:08x}");
        let state = State {
            inbox,
            max_payload: AtomicUsize::new(dialed.max_payload),
            next: AtomicU64::new(0),
            lanes: Mutex::new(Some(HashMap::new())),
            complaint: Mutex::default(),
        };
        let state = Arc::new(state);
        let (parcels, queue) = mpsc::channel(PARCELS);
        tracker.spawn(run::run(dialed, Arc::clone(&state), queue));
        Ok(Self { parcels, state })
    }

    /// Whether the connection stands.
    pub(super) fn stands(&self) -> bool {
        !self.parcels.is_closed()
    }

    /// A lane for the messages of a stream, unless the connection is lost.
    pub(super) fn lane(self: &Arc<Self>, stream: &str) -> Option<Lane> {
        let (sender, answers) = mpsc::channel(Lane::ROOM);
        let id = self.state.next.fetch_add(1, Ordering::Relaxed);
        let ears = Ears {
            stream: stream.to_owned(),
            answers: sender,
        };
        let mut lanes = self.state.lanes.lock();
        lanes.as_mut()?.insert(id, Arc::new(ears));
        drop(lanes);
        Some(Lane {
            id,
            wire: Arc::clone(self),
            answers,
        })
    }
}

impl State {
    /// The lane and the message that an answer is for.
    fn addressee(&self, subject: &str) -> Option<(u64, u64)> {
        let rest = subject.strip_prefix(self.inbox.as_str())?;
        let (lane, token) = rest.strip_prefix('.')?.split_once('.')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some((number(lane)?, number(token)?))
    }

    fn ears(&self, lane: u64) -> Option<Arc<Ears>> {
        let lanes = self.lanes.lock();
        lanes.as_ref()?.get(&lane).cloned()
    }

    /// The server has said something about itself anew.
    fn informed(&self, info: &[u8]) {
        if let Ok(info) = serde_json::from_slice::<async_nats::ServerInfo>(info)
            && info.max_payload > 0
        {
            self.max_payload.store(info.max_payload, Ordering::Relaxed);
        }
    }

    /// The server complains. If that ends the connection, it closes it; otherwise messages go without an
    /// answer, and somebody should know why.
    fn complained(&self, error: &str) {
        let mut known = self.complaint.lock();
        if *known != error {
            tracing::warn!(error, "a NATS server complains");
            error.clone_into(&mut known);
        }
    }

    /// The connection has ended.
    fn end(&self) {
        *self.lanes.lock() = None;
    }
}

/// A log's part of a connection.
#[derive(Debug)]
pub(super) struct Lane {
    id: u64,
    wire: Arc<Wire>,
    answers: mpsc::Receiver<Vec<Answer>>,
}

impl Lane {
    /// Answers that may be awaited at a time.
    pub(super) const ROOM: usize = 1_024;

    /// The subject for the answer to a message, which is its number written after it in hexadecimal.
    pub(super) fn inbox(&self) -> String {
        format!("{}.{:x}", self.wire.state.inbox, self.id)
    }

    /// Where parcels go, and where answers come from. When either is closed, the connection is lost.
    pub(super) fn halves(&mut self) -> (&mpsc::Sender<Vec<u8>>, &mut mpsc::Receiver<Vec<Answer>>) {
        (&self.wire.parcels, &mut self.answers)
    }

    /// Whether it is one of this connection.
    pub(super) fn is_of(&self, wire: &Arc<Wire>) -> bool {
        Arc::ptr_eq(&self.wire, wire)
    }

    /// The largest message that the server takes, with its headers.
    pub(super) fn max_payload(&self) -> usize {
        self.wire.state.max_payload.load(Ordering::Relaxed)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(lanes) = self.wire.state.lanes.lock().as_mut() {
            lanes.remove(&self.id);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(super) mod tests;
