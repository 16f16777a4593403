//! A log that cannot be opened yet, so that producers hear 503 and not 404.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{
    AppendError, Commit, Log, LogStats, Offset, ReadBatch, ReadError, ReadLimit, Retention,
};
use crate::event::Event;

/// A log that is there, but out of reach: takes nothing and gives nothing.
#[derive(Debug)]
pub struct AbsentLog {
    tail: watch::Sender<Offset>,
}

impl Default for AbsentLog {
    fn default() -> Self {
        Self {
            tail: watch::Sender::new(0),
        }
    }
}

const REASON: &str = "it is not open yet; the conditions of its Broker or channel say why";

#[async_trait]
impl Log for AbsentLog {
    fn append(&self, _: Vec<Event>) -> Result<Commit, AppendError> {
        let reason = Arc::from(REASON);
        Err(AppendError::Unavailable { reason })
    }

    async fn read(&self, _: Offset, _: ReadLimit) -> Result<ReadBatch, ReadError> {
        let reason = Arc::from(REASON);
        Err(ReadError::Io { reason })
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.tail.subscribe()
    }

    async fn offset_at(&self, _: Timestamp) -> Result<Offset, ReadError> {
        let reason = Arc::from(REASON);
        Err(ReadError::Io { reason })
    }

    fn release(&self, _: Offset) {}

    fn set_retention(&self, _: Retention) {}

    fn stats(&self) -> LogStats {
        LogStats::default()
    }
}
