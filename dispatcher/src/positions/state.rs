//! What is known of one position, and its stored form.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use heddle_broker::log::Offset;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Changes;
use super::ledger::Stand;
use super::ride::RideId;
use crate::cursor::Cursor;
use crate::delivery::Delivery;

/// One consumer's place in one log.
#[derive(Debug)]
pub(crate) struct Position {
    pub(super) name: Arc<str>,
    pub(super) state: Mutex<State>,
    /// Whether it is among the changed ones.
    pub(super) dirty: AtomicBool,
    changes: Arc<Changes>,
}

/// What is known of a position. Changed only through [`Position::update`].
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) uid: Arc<str>,
    pub(crate) log: Arc<str>,
    /// While the position rides, the ride may have gone further.
    pub(crate) cursor: Cursor,
    /// The ride that it shares with others.
    pub(crate) rides: Option<RideId>,
    /// How long it outlives its resource.
    pub(crate) keep: Option<Duration>,
    /// When the grace of a resource that is gone ends.
    pub(super) expires: Option<Timestamp>,
    /// None before the first redrive, as for most.
    pub(super) redriven: Option<Box<Cursor>>,
    /// The record could not be read.
    pub(crate) damaged: bool,
    /// None before the first retry, as for most.
    pub(super) retries: Option<Box<Retries>>,
    /// What is on disk, once it is.
    pub(super) durable: Option<Stand>,
}

/// How far deliveries of open offsets have come.
#[derive(Debug, Default)]
pub(super) struct Retries {
    pub(super) waiting: BTreeMap<Offset, Delivery>,
    /// Those that are not on disk as they are here.
    pub(super) changed: BTreeSet<Offset>,
}

/// Where redriving begins.
static NOTHING: Cursor = Cursor::at(0);

#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    uid: String,
    log: String,
    cursor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rides: Option<RideId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redriven: Option<String>,
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
            cursor,
            rides: None,
            keep,
            expires: None,
            redriven: None,
            damaged: false,
            retries: None,
            durable: None,
        }
    }

    /// Whether it is the position of a resource that is there and keeps it for so long.
    pub(super) fn belongs_to(&self, uid: &str, keep: Option<Duration>) -> bool {
        *self.uid == *uid && self.keep == keep && self.expires.is_none()
    }

    /// Which of its kept dead letters have been redriven, by their offset in the log of those.
    pub(crate) fn redriven(&self) -> &Cursor {
        self.redriven.as_deref().unwrap_or(&NOTHING)
    }

    /// The same, to be changed.
    pub(crate) fn redriven_mut(&mut self) -> &mut Cursor {
        self.redriven.get_or_insert_default()
    }

    /// Remembers how far the delivery of an open offset has come.
    pub(crate) fn retry(&mut self, offset: Offset, delivery: Delivery) {
        let retries = self.retries.get_or_insert_default();
        retries.waiting.insert(offset, delivery);
        retries.changed.insert(offset);
    }

    /// Finishes an open offset.
    pub(crate) fn complete(&mut self, offset: Offset) {
        self.cursor.complete(offset);
        if let Some(retries) = &mut self.retries
            && retries.waiting.remove(&offset).is_some()
        {
            retries.changed.insert(offset);
        }
    }

    /// How far the delivery of an offset had come.
    pub(crate) fn delivery(&self, offset: Offset) -> Delivery {
        let retries = self.retries.as_ref();
        let found = retries.and_then(|retries| retries.waiting.get(&offset));
        found.cloned().unwrap_or_default()
    }

    pub(super) fn record(&self) -> Record {
        let redriven = self.redriven.as_deref();
        let redriven = redriven.filter(|redriven| **redriven != NOTHING).map(write);
        Record {
            uid: self.uid.to_string(),
            log: self.log.to_string(),
            cursor: write(&self.cursor),
            redriven,
            rides: self.rides,
            keep: self.keep,
            expires: self.expires,
        }
    }

    /// What its record, once it is on disk, says that it needs.
    pub(super) fn stand(&self) -> Stand {
        Stand {
            floor: match self.rides {
                Some(_) => self.cursor.open().next(),
                None => Some(self.cursor.floor()),
            },
            ride: self.rides,
            damaged: self.damaged,
        }
    }

    /// Reads a record. `rides` are those on disk: what the record leaves to one of them is taken
    /// over, as its reader is gone.
    pub(super) fn restore(bytes: &[u8], rides: &HashMap<RideId, Offset>) -> Result<Self, String> {
        let record: Record = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let cursor = read(&record.cursor)?;
        let mut state = Self::new(record.uid.into(), record.log.into(), cursor, record.keep);
        if let Some(text) = record.redriven {
            *state.redriven_mut() = read(&text)?;
        }
        state.expires = record.expires;
        let ride = record
            .rides
            .and_then(|ride| Some((ride, *rides.get(&ride)?)));
        if let Some((ride, at)) = ride {
            state.rides = Some(ride);
            state.durable = Some(state.stand());
            state.rides = None;
            state.cursor.pass(at);
        } else {
            state.durable = Some(state.stand());
        }
        Ok(state)
    }

    pub(super) fn damaged() -> Self {
        let mut state = Self::new("".into(), "".into(), Cursor::at(0), None);
        state.damaged = true;
        state.durable = Some(state.stand());
        state
    }
}

impl Position {
    pub(super) fn new(name: Arc<str>, state: State, changes: Arc<Changes>) -> Arc<Self> {
        Arc::new(Self {
            name,
            state: Mutex::new(state),
            dirty: AtomicBool::new(false),
            changes,
        })
    }

    /// Whose it is.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Looks at the position.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock())
    }

    /// Changes the position; it is written within [`INTERVAL`](super::INTERVAL).
    pub(crate) fn update<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.changes.positions.lock().push(Arc::clone(self));
            self.changes.wake.notify_one();
        }
        result
    }
}

fn write(cursor: &Cursor) -> String {
    STANDARD_NO_PAD.encode(cursor.encode())
}

fn read(text: &str) -> Result<Cursor, String> {
    let bytes = STANDARD_NO_PAD
        .decode(text)
        .map_err(|error| error.to_string())?;
    Cursor::decode(&bytes).map_err(|error| error.to_string())
}
