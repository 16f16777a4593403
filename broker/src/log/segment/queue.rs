//! What waits to be written, and the waiting of the writer for it.
//!
//! The queue is bounded by the bytes of the events in it, those of the group that is being
//! written included. A log may have as many bytes in it as are still free: one that is busy gets
//! half of the queue, two get a third each, and there is always room for one more. The writer sleeps until something is there, and then, with company, a moment
//! longer: it asks to be woken when as many appends wait as were in flight recently, and gives up
//! after [`LINGER`]. A client that is alone never waits for others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
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
    /// [`encoded_len`] of the events.
    pub(crate) size: usize,
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
        let size = append.size;
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
        let pending = &append.stream.pending;
        let free = self.max_pending.saturating_sub(state.pending);
        if pending.load(Ordering::Relaxed) + size > free {
            return Err(AppendError::Busy {
                pending_bytes: state.pending,
            });
        }
        pending.fetch_add(size, Ordering::Relaxed);
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

    /// Says that appends have been dealt with: how many bytes of which log. Returns how many
    /// appends wait now.
    pub(crate) fn finished(&self, done: &[(Arc<Stream>, usize)]) -> usize {
        let mut state = self.state.lock();
        for (stream, bytes) in done {
            stream.pending.fetch_sub(*bytes, Ordering::Relaxed);
            state.pending = state.pending.saturating_sub(*bytes);
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::index::RunList;
    use super::super::table::Entry;
    use super::*;

    fn stream(id: u32) -> Arc<Stream> {
        let entry = Entry::default();
        Arc::new(Stream::new(id, entry, RunList::default(), 0, false))
    }

    /// Appends of that size, until the queue takes no more. Returns how many bytes it took.
    fn flood(queue: &Queue, stream: &Arc<Stream>, size: usize) -> usize {
        let mut taken = 0;
        loop {
            let append = Append {
                stream: Arc::clone(stream),
                events: Vec::new(),
                size,
                accepted: 0,
                reply: oneshot::channel().0,
            };
            match queue.append(append) {
                Ok(()) => taken += size,
                Err(AppendError::Busy { pending_bytes }) => {
                    assert_eq!(pending_bytes, queue.pending());
                    return taken;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_busy_log_leaves_room_for_others() {
        let queue = Queue::new(1200);
        let (a, b, c) = (stream(1), stream(2), stream(3));
        assert_eq!(flood(&queue, &a, 10), 600);
        assert_eq!(flood(&queue, &b, 10), 300);
        assert_eq!(flood(&queue, &c, 10), 150);
        // A log that has more than its share waits until it has less.
        assert_eq!(queue.take(0).len(), 105);
        queue.finished(&[(Arc::clone(&a), 300)]);
        assert_eq!(flood(&queue, &c, 10), 150);
        assert_eq!(flood(&queue, &a, 10), 0);
        queue.finished(&[(a, 300), (b, 300), (Arc::clone(&c), 300)]);
        assert_eq!(queue.pending(), 0);
        // One append may fill the queue, if it is alone.
        assert_eq!(flood(&queue, &c, 1200), 1200);
    }
}
