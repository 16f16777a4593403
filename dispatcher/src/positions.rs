//! Where each consumer stands, kept in sled so that a restart continues.
//!
//! A consumer's task changes its [`Position`] in memory, event by event. One task
//! ([`Positions::run`]) writes the changed ones in one batch, at most every [`INTERVAL`], and
//! flushes. What a crash loses is therefore half a second of progress: events are delivered again,
//! none is lost. There is never more than one flush at a time; concurrent ones can lock up sled.
//!
//! ```text
//!   position/<kind>/<namespace>/<name>          -> JSON: uid, log, cursor, grace
//!   retry/<kind>/<namespace>/<name>/<offset BE> -> JSON: stage, attempts, due, failure
//! ```
//!
//! Only retries that still wait when they are written are written, so that a short one costs
//! nothing.
//!
//! # Laws
//!
//! 1. A log is released up to the lowest *durable* floor of all its positions, also of those whose
//!    consumers have not been started (yet), or are gone but within their grace.
//! 2. A record that cannot be read means redelivery from the oldest event, never a skipped one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heddle_broker::clock::Clock;
use heddle_broker::log::{Log, LogStore, Offset};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::config::ConsumerId;
use crate::delivery::dead_letter;

mod state;
#[cfg(test)]
mod tests;

pub(crate) use state::{Position, State};

/// Positions are written at most this often.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);
/// How often positions whose grace has ended are looked for.
const SWEEP: Duration = Duration::from_secs(60);

const TREE: &str = "dispatcher/positions";
const POSITION: &str = "position/";
const RETRY: &str = "retry/";

/// The positions could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the positions of consumers cannot be read: {0}")]
pub struct OpenError(#[from] sled::Error);

/// A log that is released.
#[derive(Clone, Debug)]
struct Served {
    log: Arc<dyn Log>,
    /// Whether all of its consumers have a position.
    settled: bool,
}

/// All positions.
#[derive(Debug)]
pub(crate) struct Positions {
    db: sled::Db,
    /// Where `db` keeps its files.
    dir: PathBuf,
    dead_letters: Arc<dyn LogStore>,
    tree: sled::Tree,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
    known: Mutex<HashMap<String, Arc<Position>>>,
    forgotten: Mutex<HashSet<String>>,
    logs: Mutex<BTreeMap<Arc<str>, Served>>,
    wanted: watch::Sender<u64>,
    written: watch::Sender<u64>,
}

impl Positions {
    /// Opens the positions in `db`.
    pub(crate) fn open(
        db: sled::Db,
        dir: PathBuf,
        dead_letters: Arc<dyn LogStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, OpenError> {
        let tree = db.open_tree(TREE)?;
        let wake = Arc::new(Notify::new());
        let mut known: HashMap<String, Arc<Position>> = HashMap::new();
        for entry in tree.scan_prefix(POSITION) {
            let (key, value) = entry?;
            let Some(name) = text_after(&key, POSITION) else {
                continue;
            };
            let state = State::restore(&value).unwrap_or_else(|reason| {
                error!(
                    consumer = name,
                    error = reason,
                    "a position cannot be read; its consumer starts at the oldest event"
                );
                State::damaged()
            });
            known.insert(name.to_owned(), Position::new(state, Arc::clone(&wake)));
        }
        for entry in tree.scan_prefix(RETRY) {
            let (key, value) = entry?;
            restore_retry(&known, &key, &value);
        }
        Ok(Arc::new(Self {
            db,
            dir,
            dead_letters,
            tree,
            clock,
            wake,
            known: Mutex::new(known),
            forgotten: Mutex::default(),
            logs: Mutex::default(),
            wanted: watch::Sender::new(0),
            written: watch::Sender::new(0),
        }))
    }

    /// Says which log has this name, so that it can be released.
    pub(crate) fn serve(&self, name: &Arc<str>, log: &Arc<dyn Log>) {
        let mut logs = self.logs.lock();
        let settled = logs.get(name).is_some_and(|served| served.settled);
        let served = Served {
            log: Arc::clone(log),
            settled,
        };
        logs.insert(Arc::clone(name), served);
    }

    /// All consumers of this log are known: while it has none, nobody needs what is in it.
    pub(crate) fn settled(&self, name: &Arc<str>, log: &Arc<dyn Log>) {
        let served = Served {
            log: Arc::clone(log),
            settled: true,
        };
        self.logs.lock().insert(Arc::clone(name), served);
        self.release();
    }

    /// The log is gone.
    pub(crate) fn unserve(&self, name: &str) {
        self.logs.lock().remove(name);
    }

    /// The position of a consumer, where there is one that has not expired.
    pub(crate) fn find(&self, id: &ConsumerId) -> Option<Arc<Position>> {
        let position = self.known.lock().get(&id.to_string()).cloned()?;
        let now = self.clock.now();
        let expired = position.look(|state| state.expires.is_some_and(|end| end <= now));
        (!expired).then_some(position)
    }

    /// Puts a consumer at a new position, in the place of one that it may have.
    pub(crate) fn create(&self, id: &ConsumerId, state: State) -> Arc<Position> {
        let position = Position::new(state, Arc::clone(&self.wake));
        let name = id.to_string();
        // What an older resource of this name left behind goes first.
        self.forgotten.lock().insert(name.clone());
        self.known.lock().insert(name, Arc::clone(&position));
        position.update(|_| {});
        position
    }

    /// Takes a found position over for a resource.
    pub(crate) fn resume(position: &Position, uid: Arc<str>, keep: Option<Duration>) {
        position.update(|state| {
            state.uid = uid;
            state.keep = keep;
            state.expires = None;
        });
    }

    /// The resource is gone: its position goes too, at once or after its grace.
    pub(crate) fn forget(&self, id: &ConsumerId) {
        self.forget_named(&id.to_string());
    }

    fn forget_named(&self, name: &str) {
        let Some(position) = self.known.lock().get(name).cloned() else {
            return;
        };
        if let Some(keep) = position.look(|state| state.keep) {
            let end = self.clock.now().checked_add(keep).unwrap_or(Timestamp::MAX);
            position.update(|state| state.expires = Some(state.expires.unwrap_or(end)));
        } else {
            self.drop_named(name);
        }
    }

    fn drop_named(&self, name: &str) {
        self.known.lock().remove(name);
        self.forgotten.lock().insert(name.to_owned());
        self.wake.notify_one();
    }

    /// Only these resources exist: the positions of all others go as in [`Positions::forget`].
    pub(crate) fn retain(&self, existing: &HashSet<ConsumerId>) {
        let existing: HashSet<String> = existing.iter().map(ToString::to_string).collect();
        let gone: Vec<String> = {
            let known = self.known.lock();
            known
                .keys()
                .filter(|name| !existing.contains(*name))
                .cloned()
                .collect()
        };
        for name in gone {
            self.forget_named(&name);
        }
    }

    /// Waits until everything that has been changed so far is durable.
    pub(crate) async fn settle(&self) {
        let mut target = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            target = *wanted;
        });
        self.wake.notify_one();
        let mut written = self.written.subscribe();
        // The sender lives as long as `self`.
        let _ = written.wait_for(|written| *written >= target).await;
    }

    /// Writes changed positions until `end`, and once more then.
    pub(crate) async fn run(self: Arc<Self>, tracker: TaskTracker, end: CancellationToken) {
        loop {
            tokio::select! {
                () = self.wake.notified() => self.gather(&end).await,
                () = tokio::time::sleep(SWEEP) => {}
                () = end.cancelled() => {}
            }
            let last = end.is_cancelled();
            let wanted = *self.wanted.borrow();
            let this = Arc::clone(&self);
            let error = match tracker.spawn_blocking(move || this.write()).await {
                Ok(Ok(())) => {
                    self.written.send_replace(wanted);
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = &error {
                warn!(
                    error,
                    "positions could not be written; a restart would deliver events again"
                );
            }
            if last {
                return;
            }
            if error.is_some() {
                end.run_until_cancelled(tokio::time::sleep(INTERVAL)).await;
                self.wake.notify_one();
            }
        }
    }

    /// Waits for more changes to write together, unless somebody waits for them.
    async fn gather(&self, end: &CancellationToken) {
        let mut wanted = self.wanted.subscribe();
        let written = *self.written.borrow();
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = wanted.wait_for(|wanted| *wanted > written) => {}
            () = end.cancelled() => {}
        }
    }

    /// Makes what was written survive a power cut. sled's flush alone does not on Linux: it leaves
    /// the bytes to the device's cache, which only an fdatasync empties.
    fn sync(&self) -> Result<(), sled::Error> {
        self.db.flush()?;
        File::open(self.dir.join("db")).and_then(|file| file.sync_data())?;
        Ok(())
    }

    /// Removes the dead letters of consumers whose positions were forgotten, unless they are there
    /// again already.
    fn remove_dead_letters(&self, forgotten: &HashSet<String>) {
        for name in forgotten {
            if self.known.lock().contains_key(name) {
                continue;
            }
            let log = dead_letter::log_name(name);
            if let Err(error) = self.dead_letters.remove(&log) {
                warn!(consumer = name, %error, "dead letters could not be removed");
            }
        }
    }

    /// Writes what has changed, flushes, and releases logs. Blocks.
    fn write(&self) -> Result<(), sled::Error> {
        self.sweep();
        let forgotten = std::mem::take(&mut *self.forgotten.lock());
        let changed: Vec<(String, Arc<Position>)> = {
            let known = self.known.lock();
            let changed = known
                .iter()
                .filter(|(_, position)| position.dirty.swap(false, Ordering::AcqRel));
            changed
                .map(|(name, position)| (name.clone(), Arc::clone(position)))
                .collect()
        };
        if forgotten.is_empty() && changed.is_empty() {
            self.release();
            return Ok(());
        }
        let mut floors = Vec::with_capacity(changed.len());
        let written = self
            .batch(&forgotten, &changed, &mut floors)
            .and_then(|batch| self.tree.apply_batch(batch))
            .and_then(|()| self.sync());
        if let Err(error) = written {
            for (_, position) in &changed {
                position.update(|state| state.changed.extend(state.retries.keys()));
            }
            self.forgotten.lock().extend(forgotten);
            return Err(error);
        }
        self.remove_dead_letters(&forgotten);
        for ((_, position), floor) in changed.iter().zip(floors) {
            position.state.lock().durable_floor = floor;
        }
        self.release();
        Ok(())
    }

    fn batch(
        &self,
        forgotten: &HashSet<String>,
        changed: &[(String, Arc<Position>)],
        floors: &mut Vec<Offset>,
    ) -> Result<sled::Batch, sled::Error> {
        let mut batch = sled::Batch::default();
        for name in forgotten {
            batch.remove(format!("{POSITION}{name}").into_bytes());
            for key in self.tree.scan_prefix(format!("{RETRY}{name}/")).keys() {
                batch.remove(key?);
            }
        }
        for (name, position) in changed {
            let mut state = position.state.lock();
            floors.push(state.cursor.floor());
            for offset in std::mem::take(&mut state.changed) {
                let key = retry_key(name, offset);
                match state.retries.get(&offset).map(serde_json::to_vec) {
                    Some(Ok(value)) => batch.insert(key, value),
                    Some(Err(_)) | None => batch.remove(key),
                }
            }
            if let Ok(value) = serde_json::to_vec(&state.record()) {
                batch.insert(format!("{POSITION}{name}").into_bytes(), value);
            }
        }
        Ok(batch)
    }

    fn sweep(&self) {
        let now = self.clock.now();
        let expired: Vec<String> = {
            let known = self.known.lock();
            let expired = known
                .iter()
                .filter(|(_, position)| position.look(|s| s.expires.is_some_and(|end| end <= now)));
            expired.map(|(name, _)| name.clone()).collect()
        };
        for name in expired {
            self.drop_named(&name);
        }
    }

    /// Tells each log how far nobody needs it any more.
    fn release(&self) {
        let logs: Vec<(Arc<str>, Served)> = {
            let logs = self.logs.lock();
            logs.iter()
                .map(|(name, served)| (Arc::clone(name), served.clone()))
                .collect()
        };
        let mut floors: HashMap<Arc<str>, Offset> = logs
            .iter()
            .filter(|(_, served)| served.settled)
            .map(|(name, served)| (Arc::clone(name), *served.log.tail().borrow()))
            .collect();
        {
            let known = self.known.lock();
            let mut seen: HashSet<Arc<str>> = HashSet::new();
            for position in known.values() {
                let state = position.state.lock();
                if state.damaged {
                    return;
                }
                let floor = state.durable_floor;
                if seen.insert(Arc::clone(&state.log)) {
                    floors.insert(Arc::clone(&state.log), floor);
                } else if let Some(lowest) = floors.get_mut(&state.log) {
                    *lowest = floor.min(*lowest);
                }
            }
        }
        for (name, served) in logs {
            if let Some(&floor) = floors.get(&name) {
                served.log.release(floor);
            }
        }
    }
}

fn restore_retry(known: &HashMap<String, Arc<Position>>, key: &[u8], value: &[u8]) {
    let Some((name, &offset)) = key.split_last_chunk::<8>() else {
        return;
    };
    let offset = Offset::from_be_bytes(offset);
    let position = text_after(name, RETRY)
        .and_then(|name| name.strip_suffix('/'))
        .and_then(|name| known.get(name));
    let (Some(position), Ok(delivery)) = (position, serde_json::from_slice(value)) else {
        return;
    };
    let mut state = position.state.lock();
    if state.cursor.is_open(offset) {
        state.retries.insert(offset, delivery);
    } else {
        state.changed.insert(offset);
    }
}

fn retry_key(name: &str, offset: Offset) -> Vec<u8> {
    let mut key = format!("{RETRY}{name}/").into_bytes();
    key.extend_from_slice(&offset.to_be_bytes());
    key
}

fn text_after<'a>(key: &'a [u8], prefix: &str) -> Option<&'a str> {
    std::str::from_utf8(key).ok()?.strip_prefix(prefix)
}
