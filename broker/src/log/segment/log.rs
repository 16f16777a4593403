//! The handle of one log: [`Log`] on top of the shared store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use super::queue::{Append, encoded_len};
use super::reader;
use super::shared::Shared;
use super::stream::{State, Stream, micros};
use crate::event::Event;
use crate::log::{
    AppendError, Commit, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit, Retention,
};

/// One log of a segment store.
#[derive(Debug)]
pub(crate) struct SegmentLog {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stream: Arc<Stream>,
}

impl SegmentLog {
    /// Runs something that waits for the disk where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &Stream) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (shared, stream) = (Arc::clone(&self.shared), Arc::clone(&self.stream));
        tokio::task::spawn_blocking(move || work(&shared, &stream))
            .await
            .unwrap_or_else(|error| {
                Err(ReadError::Io {
                    reason: error.to_string().into(),
                })
            })
    }

    fn check_open(&self) -> Result<(), ReadError> {
        if self.stream.is_closed() || self.shared.closed.load(Ordering::Acquire) {
            return Err(ReadError::Closed);
        }
        Ok(())
    }

    fn now(&self) -> i64 {
        micros(self.shared.clock.now())
    }
}

/// Answers from the newest records, if `from` is among them.
fn read_cached(state: &State, from: Offset, limit: ReadLimit) -> Option<ReadBatch> {
    let mut batch = ReadBatch {
        next: from,
        ..ReadBatch::default()
    };
    if from == state.next {
        return Some(batch);
    }
    let oldest = state.cache.front()?.offset;
    if from < oldest {
        return None;
    }
    let skip = usize::try_from(from - oldest).unwrap_or(usize::MAX);
    let mut bytes = 0;
    for record in state.cache.iter().skip(skip).take(limit.records.max(1)) {
        bytes += record.event.size();
        batch.next = record.offset + 1;
        batch.records.push(record.clone());
        if bytes >= limit.bytes {
            break;
        }
    }
    (!batch.records.is_empty()).then_some(batch)
}

#[async_trait]
impl Log for SegmentLog {
    fn append(&self, events: Vec<Event>) -> Result<Commit, AppendError> {
        let limit = self.shared.sizes.append;
        let size = encoded_len(&events);
        if size > limit {
            return Err(AppendError::TooLarge { bytes: size, limit });
        }
        if let Some(reason) = self.shared.failure() {
            return Err(AppendError::Closed { reason });
        }
        if self.shared.refusing.load(Ordering::Acquire) {
            return Err(AppendError::DiskFull);
        }
        let (reply, outcome) = oneshot::channel();
        let accepted = self.now();
        let stream = Arc::clone(&self.stream);
        self.shared.queue.append(Append {
            stream,
            events,
            size,
            accepted,
            reply,
        })?;
        Ok(Commit::waiting(outcome))
    }

    async fn read(&self, from: Offset, limit: ReadLimit) -> Result<ReadBatch, ReadError> {
        {
            let state = self.stream.state.lock();
            self.check_open()?;
            if from > state.next {
                return Err(ReadError::PastEnd {
                    from,
                    next: state.next,
                });
            }
            if from >= state.trimmed
                && let Some(batch) = read_cached(&state, from, limit)
            {
                return Ok(batch);
            }
        }
        self.blocking(move |shared, stream| reader::read(shared, stream, from, limit))
            .await
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.stream.tail.subscribe()
    }

    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        self.check_open()?;
        // Times are kept in microseconds: a time between two of them is the later one.
        let mut at = micros(time);
        if super::encode::accepted_time(at) < time {
            at += 1;
        }
        self.blocking(move |shared, stream| reader::offset_at(shared, stream, at))
            .await
    }

    fn release(&self, up_to: Offset) {
        if self.stream.state.lock().release(up_to) {
            self.shared.chore(|chores| chores.retain = true);
        }
    }

    fn set_retention(&self, retention: Retention) {
        self.stream.state.lock().set_retention(retention);
        self.shared.chore(|chores| chores.retain = true);
    }

    fn stats(&self) -> LogStats {
        self.stream.state.lock().stats(self.now())
    }
}
