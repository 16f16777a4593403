//! A log that holds nothing: one that cannot be opened yet, or that has ended.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    AppendError, Commit, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit, Retention,
};
use crate::event::Event;

/// A log that takes nothing and gives nothing.
#[derive(Debug)]
pub struct AbsentLog {
    tail: watch::Sender<Offset>,
    reason: &'static str,
    /// Whether it is known that there is nothing to be read.
    empty: bool,
}

impl Default for AbsentLog {
    /// One that is there, but out of reach, so that producers hear 503 and not 404.
    fn default() -> Self {
        Self {
            tail: watch::Sender::new(0),
            reason: "it is not open yet; the conditions of its Broker or channel say why",
            empty: false,
        }
    }
}

impl AbsentLog {
    /// One that stays empty: what follows a partition that takes no events any more.
    #[must_use]
    pub fn ended() -> Self {
        Self {
            reason: "its partition has ended; its events go to another one",
            empty: true,
            ..Self::default()
        }
    }

    fn nothing(&self) -> Result<(), ReadError> {
        if self.empty {
            return Ok(());
        }
        let reason = Arc::from(self.reason);
        Err(ReadError::Io { reason })
    }
}

#[async_trait]
impl Log for AbsentLog {
    fn append(&self, _: Vec<Event>) -> Result<Commit, AppendError> {
        let reason = Arc::from(self.reason);
        Err(AppendError::Unavailable { reason })
    }

    async fn read(&self, from: Offset, _: ReadLimit) -> Result<ReadBatch, ReadError> {
        self.nothing()?;
        if from > 0 {
            return Err(ReadError::PastEnd { from, next: 0 });
        }
        Ok(ReadBatch::default())
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.tail.subscribe()
    }

    async fn offset_at(&self, _: Timestamp) -> Result<Offset, ReadError> {
        self.nothing().map(|()| 0)
    }

    fn release(&self, _: Offset) {}

    fn set_retention(&self, _: Retention) {}

    fn stats(&self) -> LogStats {
        LogStats::default()
    }
}
