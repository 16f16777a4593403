//! What waits to be written, and the waiting of the writer for it.
//!
//! The queue is bounded by the bytes of the events in it, those of the group that is being
//! written included. The writer sleeps until something is there, and then, with company, a moment
//! longer: it asks to be woken when as many appends wait as were in flight recently, and gives up
//! after [`LINGER`]. A client that is alone never waits for others.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::format::frame_len;
use super::stream::Stream;
use crate::event::Event;
use crate::log::{AppendError, Offset, Record};

/// The longest wait for more appends, in company. Measured: longer gains nothing.
const LINGER: Duration = Duration::from_micros(60);

/// Tells the caller of an append how it ended.
pub(crate) type Reply = oneshot::Sender<Result<std::ops::Range<Offset>, AppendError>>;
/// Tells a thread that an item is durable.
pub(crate) type Done = SyncSender<Result<(), AppendError>>;

/// Events to be kept as one unit.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) stream: Arc<Stream>,
    pub(crate) events: Vec<Event>,
    /// Microseconds since 1970.
    pub(crate) accepted: i64,
    pub(crate) reply: Reply,
}

/// One thing for the writer to do.
#[derive(Debug)]
pub(crate) enum Item {
    /// Keep events.
    Append(Append),
    /// Write what is known of streams.
    Streams {
        streams: Vec<Arc<Stream>>,
        remove: bool,
        done: Option<Done>,
    },
    /// Write records of an old segment anew.
    Move {
        stream: Arc<Stream>,
        records: Vec<Record>,
        done: Done,
    },
}

/// How many bytes events take in a segment.
pub(crate) fn encoded_len(events: &[Event]) -> usize {
    events.iter().map(|event| frame_len(event.size())).sum()
}

#[derive(Debug, Default)]
struct State {
    items: Vec<Item>,
    appends: usize,
    /// Bytes that wait or are being written.
    pending: usize,
    /// Wake the writer when this many appends wait. Zero: it does not sleep.
    wake_at: usize,
    closed: Option<Arc<str>>,
    stopping: bool,
}

/// The queue between appenders and the writer.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    max_pending: usize,
}

impl Queue {
    pub(crate) fn new(max_pending: usize) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            max_pending,
        }
    }

    /// Enqueues an append, unless too much waits already. Never waits.
    pub(crate) fn append(&self, append: Append) -> Result<(), AppendError> {
        let size = encoded_len(&append.events);
        let mut state = self.state.lock();
        if let Some(reason) = &state.closed {
            return Err(AppendError::Closed {
                reason: Arc::clone(reason),
            });
        }
        // A removal closes the log before it takes its place in the queue: nothing of the log
        // comes behind it.
        if append.stream.is_closed() {
            return Err(AppendError::Closed {
                reason: "it was removed".into(),
            });
        }
        if state.pending + size > self.max_pending {
            return Err(AppendError::Busy {
                pending_bytes: state.pending,
            });
        }
        state.pending += size;
        state.appends += 1;
        state.items.push(Item::Append(append));
        if state.wake_at > 0 && state.appends >= state.wake_at {
            state.wake_at = 0;
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Enqueues something else.
    pub(crate) fn push(&self, item: Item) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        if let Some(reason) = &state.closed {
            return Err(AppendError::Closed {
                reason: Arc::clone(reason),
            });
        }
        state.items.push(item);
        state.wake_at = 0;
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for items and takes all of them. Takes none only when the queue is stopped and empty.
    /// `company` is how many appends were in flight recently.
    pub(crate) fn take(&self, company: usize) -> Vec<Item> {
        let mut state = self.state.lock();
        while state.items.is_empty() {
            if state.stopping {
                return Vec::new();
            }
            state.wake_at = 1;
            self.filled.wait(&mut state);
        }
        if company > 1 && state.appends < company && !state.stopping {
            state.wake_at = company;
            self.filled.wait_for(&mut state, LINGER);
        }
        state.wake_at = 0;
        state.appends = 0;
        std::mem::take(&mut state.items)
    }

    /// Says that a group has been dealt with. Returns how many appends wait now.
    pub(crate) fn finished(&self, bytes: usize) -> usize {
        let mut state = self.state.lock();
        state.pending = state.pending.saturating_sub(bytes);
        state.appends
    }

    /// Bytes that wait or are being written.
    pub(crate) fn pending(&self) -> usize {
        self.state.lock().pending
    }

    /// Takes nothing more; what waits is still written.
    pub(crate) fn stop(&self, reason: &str) {
        let mut state = self.state.lock();
        state.closed.get_or_insert_with(|| reason.into());
        state.stopping = true;
        self.filled.notify_all();
    }

    /// Takes nothing more, and gives back what waits, which is not to be written.
    pub(crate) fn fail(&self, reason: &Arc<str>) -> Vec<Item> {
        let mut state = self.state.lock();
        state.closed = Some(Arc::clone(reason));
        state.stopping = true;
        state.pending = 0;
        state.appends = 0;
        std::mem::take(&mut state.items)
    }
}
