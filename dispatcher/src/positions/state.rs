//! What is known of one position, and its stored form.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use heddle_broker::log::Offset;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::cursor::Cursor;
use crate::delivery::Delivery;

/// One consumer's place in one log.
#[derive(Debug)]
pub(crate) struct Position {
    pub(super) state: Mutex<State>,
    pub(super) dirty: AtomicBool,
    wake: Arc<Notify>,
}

/// What is known of a position. Changed only through [`Position::update`].
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) uid: Arc<str>,
    pub(crate) log: Arc<str>,
    pub(crate) cursor: Cursor,
    /// How long it outlives its resource.
    pub(crate) keep: Option<Duration>,
    /// When the grace of a resource that is gone ends.
    pub(super) expires: Option<Timestamp>,
    /// The record could not be read.
    pub(crate) damaged: bool,
    pub(super) retries: HashMap<Offset, Delivery>,
    pub(super) changed: HashSet<Offset>,
    pub(super) durable_floor: Offset,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    uid: String,
    log: String,
    cursor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

impl State {
    pub(crate) fn new(
        uid: Arc<str>,
        log: Arc<str>,
        cursor: Cursor,
        keep: Option<Duration>,
    ) -> Self {
        Self {
            uid,
            log,
            durable_floor: cursor.floor(),
            cursor,
            keep,
            expires: None,
            damaged: false,
            retries: HashMap::new(),
            changed: HashSet::new(),
        }
    }

    /// Remembers how far the delivery of an open offset has come.
    pub(crate) fn retry(&mut self, offset: Offset, delivery: Delivery) {
        self.retries.insert(offset, delivery);
        self.changed.insert(offset);
    }

    /// Finishes an open offset.
    pub(crate) fn complete(&mut self, offset: Offset) {
        self.cursor.complete(offset);
        if self.retries.remove(&offset).is_some() {
            self.changed.insert(offset);
        }
    }

    /// How far the delivery of an offset had come.
    pub(crate) fn delivery(&self, offset: Offset) -> Delivery {
        self.retries.get(&offset).cloned().unwrap_or_default()
    }

    pub(super) fn record(&self) -> Record {
        Record {
            uid: self.uid.to_string(),
            log: self.log.to_string(),
            cursor: STANDARD_NO_PAD.encode(self.cursor.encode()),
            keep: self.keep,
            expires: self.expires,
        }
    }

    pub(super) fn restore(bytes: &[u8]) -> Result<Self, String> {
        let record: Record = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let cursor = STANDARD_NO_PAD
            .decode(&record.cursor)
            .map_err(|error| error.to_string())?;
        let cursor = Cursor::decode(&cursor).map_err(|error| error.to_string())?;
        let mut state = Self::new(record.uid.into(), record.log.into(), cursor, record.keep);
        state.expires = record.expires;
        Ok(state)
    }

    pub(super) fn damaged() -> Self {
        let mut state = Self::new("".into(), "".into(), Cursor::at(0), None);
        state.damaged = true;
        state
    }
}

impl Position {
    pub(super) fn new(state: State, wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(state),
            dirty: AtomicBool::new(false),
            wake,
        })
    }

    /// Looks at the position.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock())
    }

    /// Changes the position; it is written within [`INTERVAL`](super::INTERVAL).
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
        result
    }
}
