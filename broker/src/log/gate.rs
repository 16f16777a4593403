//! A log that can be closed to appends, for good or for a while, and then knows its end.
//!
//! Whoever has a log may append to it at any moment, also long after its directory entry was replaced.
//! A [`Gate`] in front of it makes sure: once [`Door::end`] has returned an end,
//!
//! 1. no append that succeeds can come any more, and all that succeeded lie below the end;
//! 2. nobody reads what lies at the end or after it, or ever did. (An append whose caller has gone away
//!    is not waited for, since nobody was told of it; it may still come to lie there.)
//!
//! What all gates of one partition share is a [`Door`]: a log may be put together anew around the same
//! end, and then whoever still has the gate of before is to be held up too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::{
    AppendError, Commit, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit, Retention,
};
use crate::event::Event;

/// What a door lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Everything.
    Open,
    /// No appends; those under way are waited for, by whoever has closed it for this time.
    Closing(u64),
    /// No appends, and no reads from this offset on.
    Shut(Offset),
    /// The same for good: the log goes on elsewhere. Without an offset all that is there may be read.
    Gone(Option<Offset>),
}

impl State {
    fn end(self) -> Option<Offset> {
        match self {
            Self::Shut(end) | Self::Gone(Some(end)) => Some(end),
            Self::Open | Self::Closing(_) | Self::Gone(None) => None,
        }
    }
}

/// What the gates of one partition share.
#[derive(Debug)]
pub struct Door {
    /// Counts the appends that are under way; closed as the door is.
    under_way: TaskTracker,
    state: watch::Sender<State>,
    times: AtomicU64,
}

impl Default for Door {
    /// An open door.
    fn default() -> Self {
        Self {
            under_way: TaskTracker::new(),
            state: watch::Sender::new(State::Open),
            times: AtomicU64::new(0),
        }
    }
}

impl Door {
    /// Refuses appends from now on. What is returned is for [`Door::end`].
    pub fn close(&self) -> u64 {
        let time = self.times.fetch_add(1, Ordering::Relaxed);
        self.under_way.close();
        self.state.send_if_modified(|state| {
            let may = !matches!(state, State::Gone(_));
            if may {
                *state = State::Closing(time);
            }
            may
        });
        time
    }

    /// Waits until all appends under way are decided, and returns the end of the log behind the door;
    /// `None` when it was opened again meanwhile.
    pub async fn end(&self, time: u64, log: &dyn Log) -> Option<Offset> {
        let mut state = self.state.subscribe();
        tokio::select! {
            () = self.under_way.wait() => {}
            _ = state.wait_for(|state| *state != State::Closing(time)) => return None,
        }
        let mut found = None;
        // Whoever has read before this is done has read below it. The tail of a log may lag a little.
        self.state.send_if_modified(|state| {
            if *state == State::Closing(time) {
                let end = log.stats().next;
                *state = State::Shut(end);
                found = Some(end);
            }
            found.is_some()
        });
        found
    }

    /// Takes appends again.
    pub fn open(&self) {
        self.state.send_if_modified(|state| {
            let may = !matches!(state, State::Gone(_));
            if may {
                *state = State::Open;
                self.under_way.reopen();
            }
            may
        });
    }

    /// Never takes appends again, nor lets anybody read past its end, if it has one.
    pub fn wall_up(&self) {
        self.under_way.close();
        self.state
            .send_modify(|state| *state = State::Gone(state.end()));
    }
}

/// A log behind a door. See the module.
#[derive(Debug)]
pub struct Gate {
    log: Arc<dyn Log>,
    door: Arc<Door>,
}

impl Gate {
    /// A log behind a door.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, door: Arc<Door>) -> Self {
        Self { log, door }
    }

    /// Waits until it is worth reading from an offset on.
    async fn readable(&self, from: Offset) -> Result<(), ReadError> {
        let state = *self.door.state.borrow();
        if state.end().is_none_or(|end| from < end) {
            return Ok(());
        }
        let mut state = self.door.state.subscribe();
        let decided = state.wait_for(|state| !matches!(state, State::Shut(_)));
        match decided.await.as_deref() {
            Ok(State::Gone(_)) | Err(_) => Err(ReadError::Closed),
            Ok(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Log for Gate {
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        // Counted before it looks: a door that is closed after that waits for this append.
        let held = self.door.under_way.token();
        if self.door.under_way.is_closed() {
            return Err(AppendError::Unavailable {
                reason: "its events are being moved to another store".into(),
            });
        }
        self.log.append(events).map(|commit| commit.holding(held))
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        loop {
            self.readable(from).await?;
            let mut batch = self.log.read(from, limit).await?;
            let end = self.door.state.borrow().end();
            match end {
                Some(end) if from >= end => {}
                Some(end) => {
                    batch.cut(end);
                    return Ok(batch);
                }
                None => return Ok(batch),
            }
        }
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.log.tail()
    }

    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        self.log.offset_at(time).await
    }

    fn release(&self, up_to: Offset) {
        self.log.release(up_to);
    }

    fn show(&self, consumer: &str, position: Offset) {
        self.log.show(consumer, position);
    }

    fn set_retention(&self, retention: Retention) {
        self.log.set_retention(retention);
    }

    fn stats(&self) -> LogStats {
        self.log.stats()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use futures::poll;

    use super::*;
    use crate::log::LogStore as _;
    use crate::log::memory::{MemoryOptions, MemoryStore};
    use crate::log::suite::{ALL, event};

    /// A gate, what is behind it, and its door.
    fn gate() -> (Gate, Arc<dyn Log>, Arc<Door>) {
        let store = MemoryStore::new(MemoryOptions::default());
        let log = store.open("log", Retention::default()).unwrap();
        let door = Arc::<Door>::default();
        (Gate::new(Arc::clone(&log), Arc::clone(&door)), log, door)
    }

    async fn append(log: &dyn Log, id: u64) -> Result<Offset, AppendError> {
        let offsets = log.append(vec![event(id, 10)])?.await?;
        Ok(offsets.start)
    }

    #[tokio::test]
    async fn a_door_that_is_closed_knows_the_end() {
        let (gate, log, door) = gate();
        for id in 0..3 {
            append(&gate, id).await.unwrap();
        }
        let under_way = gate.append(vec![event(3, 10)]).unwrap();
        let time = door.close();
        let end = door.end(time, &*log);
        tokio::pin!(end);
        // It waits for the append that came before it, and takes none meanwhile.
        assert!(poll!(&mut end).is_pending());
        let refused = append(&gate, 4).await.unwrap_err();
        let unavailable = matches!(refused, AppendError::Unavailable { .. });
        assert!(unavailable, "{refused}");
        assert_eq!(under_way.await.unwrap(), 3..4);
        assert_eq!(end.await, Some(4));
        door.open();
        assert_eq!(append(&gate, 4).await.unwrap(), 4);
        // One that nobody waits for holds nothing up.
        drop(gate.append(vec![event(5, 10)]).unwrap());
        let time = door.close();
        assert!(door.end(time, &*log).await.unwrap() >= 5);
    }

    #[tokio::test]
    async fn nobody_reads_past_an_end_that_is_known() {
        let (gate, log, door) = gate();
        append(&gate, 0).await.unwrap();
        let time = door.close();
        assert_eq!(door.end(time, &*log).await, Some(1));
        // As one that was under way, and was given up by who sent it.
        append(&*log, 1).await.unwrap();
        assert_eq!(gate.read(0, ALL).await.unwrap().next, 1);
        {
            let past = gate.read(1, ALL);
            tokio::pin!(past);
            assert!(poll!(&mut past).is_pending());
            door.open();
            assert_eq!(past.await.unwrap().next, 2);
        }
        let time = door.close();
        assert_eq!(door.end(time, &*log).await, Some(2));
        append(&*log, 2).await.unwrap();
        let past = gate.read(2, ALL);
        tokio::pin!(past);
        assert!(poll!(&mut past).is_pending());
        door.wall_up();
        assert_eq!(past.await.unwrap_err(), ReadError::Closed);
        assert_eq!(gate.read(0, ALL).await.unwrap().next, 2);
        door.open();
        append(&gate, 3).await.unwrap_err();
    }

    #[tokio::test]
    async fn one_who_closed_a_door_that_was_opened_again_finds_no_end() {
        let (gate, log, door) = gate();
        let under_way = gate.append(vec![event(0, 10)]).unwrap();
        let first = door.close();
        let end = door.end(first, &*log);
        tokio::pin!(end);
        assert!(poll!(&mut end).is_pending());
        door.open();
        let second = door.close();
        assert_eq!(end.await, None);
        under_way.await.unwrap();
        assert_eq!(door.end(first, &*log).await, None);
        assert_eq!(door.end(second, &*log).await, Some(1));
    }
}
