//! Where each consumer stands, kept in sled so that a restart continues.
//!
//! A consumer's task changes its [`Position`] in memory, event by event. One task
//! ([`Positions::run`]) writes the changed ones in one batch, at most every [`INTERVAL`], and
//! flushes. What a crash loses is therefore half a second of progress: events are delivered again,
//! none is lost.
//!
//! A new consumer is not to be called ready before its position is durable. So its maker asks for a
//! [`Ticket`] with [`Positions::ask`], on which the writer does not wait for the interval; what
//! comes up during one write goes into the next, so that however many start at once share a sync.
//! [`Positions::durable`] tells which tickets are good, and why none gets good while that is so.
//!
//! ```text
//!   position/<kind>/<namespace>/<name>          -> JSON: uid, log, cursor, ride, grace, redriven
//!   retry/<kind>/<namespace>/<name>/<offset BE> -> JSON: stage, attempts, due, failure
//!   ride/<id BE>                                -> offset BE
//! ```
//!
//! A consumer of a log with partitions has a position in each; those after the first end in `#` and the
//! number of the partition, in names of positions and of logs.
//!
//! Only retries that still wait when they are written are written, so that a short one costs
//! nothing. Consumers that keep up and want nothing of what comes share a [`Ride`], so that however
//! many they are they cost one record of eight bytes.
//!
//! # Laws
//!
//! 1. A log is released up to the lowest *durable* floor of all its positions, also of those whose
//!    consumers have not been started (yet), or are gone but within their grace.
//! 2. What is written and released in one go costs as much as positions have changed, not as there
//!    are.
//! 3. A record that cannot be read means redelivery from the oldest event, never a skipped one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use heddle_broker::clock::Clock;
use heddle_broker::log::partitions::{name_of, whole_of};
use heddle_broker::log::{Log, LogStore, Offset};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::config::ConsumerId;

mod disk;
mod ledger;
mod ride;
mod state;
#[cfg(test)]
mod tests;
mod write;

use disk::Disk;
pub(crate) use disk::{DiskError, Writes};
use ledger::Ledger;
pub(crate) use ride::Ride;
use ride::RideId;
pub(crate) use state::{Position, State};

/// Positions are written at most this often.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);
/// How often positions whose grace has ended are looked for.
const SWEEP: Duration = Duration::from_secs(60);

const POSITION: &str = "position/";
const RETRY: &str = "retry/";
const RIDE: &str = "ride/";

/// The positions could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the positions of consumers cannot be read: {0}")]
pub struct OpenError(#[from] DiskError);

/// Good once everything that was changed before it was asked for is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What has become durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    through: u64,
    failure: Option<Arc<str>>,
}

impl Durable {
    /// Whether everything that was changed before the ticket was asked for is durable.
    #[must_use]
    pub fn covers(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.through
    }

    /// Why the last write failed, if it did. It is tried again until it succeeds.
    #[must_use]
    pub fn failure(&self) -> Option<&Arc<str>> {
        self.failure.as_ref()
    }
}

/// A log that is released.
#[derive(Clone, Debug)]
struct Served {
    log: Arc<dyn Log>,
    /// Whether all of its consumers have a position.
    settled: bool,
}

/// What is to be written.
#[derive(Debug, Default)]
struct Changes {
    wake: Notify,
    /// Each at most once.
    positions: Mutex<Vec<Arc<Position>>>,
}

/// All positions.
#[derive(Debug)]
pub(crate) struct Positions {
    disk: Disk,
    dead_letters: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    changes: Arc<Changes>,
    known: Mutex<HashMap<Arc<str>, Arc<Position>>>,
    forgotten: Mutex<HashSet<String>>,
    /// Those whose resources are gone, for as long as their grace lasts.
    graced: Mutex<HashSet<String>>,
    rides: Mutex<Vec<Weak<Ride>>>,
    next_ride: AtomicU64,
    /// Locked after `known`.
    ledger: Mutex<Ledger>,
    logs: Mutex<BTreeMap<Arc<str>, Served>>,
    wanted: watch::Sender<u64>,
    durable: watch::Sender<Durable>,
}

impl Positions {
    /// Opens the positions in the store of `config`, which keeps its files in `dir`.
    pub(crate) fn open(
        config: sled::Config,
        dir: PathBuf,
        dead_letters: Arc<dyn LogStore>,
        clock: Arc<dyn Clock>,
        writes: Writes,
    ) -> Result<Arc<Self>, OpenError> {
        let disk = Disk::open(config, dir, writes).map_err(DiskError::from)?;
        let changes = Arc::<Changes>::default();
        let mut ledger = Ledger::default();
        let mut rides = HashMap::new();
        disk.scan(RIDE, |key, value| {
            if let Some((id, at)) = restore_ride(key, value) {
                ledger.set_ride(id, at);
                rides.insert(id, at);
            }
        })?;
        let mut known: HashMap<Arc<str>, Arc<Position>> = HashMap::new();
        let mut graced = HashSet::new();
        disk.scan(POSITION, |key, value| {
            let Some(name) = text_after(key, POSITION) else {
                return;
            };
            let state = State::restore(value, &rides).unwrap_or_else(|reason| {
                error!(
                    consumer = name,
                    error = reason,
                    "a position cannot be read; its consumer starts at the oldest event"
                );
                State::damaged()
            });
            if let Some(stand) = state.durable {
                ledger.add(&state.log, stand);
            }
            if state.expires.is_some() {
                graced.insert(name.to_owned());
            }
            let position = Position::new(name.into(), state, Arc::clone(&changes));
            known.insert(Arc::clone(&position.name), position);
        })?;
        disk.scan(RETRY, |key, value| restore_retry(&known, key, value))?;
        let last_ride = rides.keys().max().copied().unwrap_or_default();
        Ok(Arc::new(Self {
            disk,
            dead_letters,
            clock,
            changes,
            known: Mutex::new(known),
            forgotten: Mutex::default(),
            graced: Mutex::new(graced),
            rides: Mutex::default(),
            next_ride: AtomicU64::new(last_ride + 1),
            ledger: Mutex::new(ledger),
            logs: Mutex::default(),
            wanted: watch::Sender::new(0),
            durable: watch::Sender::default(),
        }))
    }

    /// A ride for a new reader.
    pub(crate) fn ride(&self) -> Arc<Ride> {
        let id = self.next_ride.fetch_add(1, Ordering::Relaxed);
        let ride = Ride::new(id, Arc::clone(&self.changes));
        let mut rides = self.rides.lock();
        rides.retain(|ride| ride.strong_count() > 0);
        rides.push(Arc::downgrade(&ride));
        ride
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

    /// The log is gone, with all of its partitions.
    pub(crate) fn unserve(&self, name: &str) {
        self.logs.lock().retain(|known, _| whole_of(known) != name);
    }

    /// The position of a consumer, where there is one that has not expired.
    pub(crate) fn find(&self, id: &impl Display) -> Option<Arc<Position>> {
        let position = self.known.lock().get(id.to_string().as_str()).cloned()?;
        let now = self.clock.now();
        let expired = position.look(|state| state.expires.is_some_and(|end| end <= now));
        (!expired).then_some(position)
    }

    /// Puts a consumer at a new position, in the place of one that it may have.
    pub(crate) fn create(&self, id: &impl Display, mut state: State) -> Arc<Position> {
        let name = id.to_string();
        // The log is kept for it from now on, not only when it has been written.
        let stand = state.stand();
        state.durable = Some(stand);
        let log = Arc::clone(&state.log);
        if let Some(before) = self.known.lock().get(name.as_str()) {
            // The dead letters of the older one are still there, and may have been redriven.
            state.redriven = before.look(|before| before.redriven.clone());
        }
        let position = Position::new(name.as_str().into(), state, Arc::clone(&self.changes));
        // What an older resource of this name left behind goes first.
        self.forgotten.lock().insert(name);
        {
            let mut known = self.known.lock();
            let before = known.insert(Arc::clone(&position.name), Arc::clone(&position));
            let mut ledger = self.ledger.lock();
            ledger.add(&log, stand);
            if let Some(before) = before {
                Self::strike(&mut ledger, &before);
            }
        }
        position.update(|_| {});
        position
    }

    /// Nobody needs anything for a position any more.
    fn strike(ledger: &mut Ledger, position: &Position) {
        let mut state = position.state.lock();
        if let Some(stand) = state.durable.take() {
            ledger.remove(&state.log, stand);
        }
    }

    /// Takes a found position over for a resource.
    pub(crate) fn resume(position: &Arc<Position>, uid: Arc<str>, keep: Option<Duration>) {
        if position.look(|state| state.belongs_to(&uid, keep)) {
            return;
        }
        position.update(|state| {
            state.uid = uid;
            state.keep = keep;
            state.expires = None;
        });
    }

    /// The resource is gone: its positions go too, at once or after its grace.
    pub(crate) fn forget(&self, id: &ConsumerId) {
        let whole = id.to_string();
        for partition in 0.. {
            let name = name_of(&whole, partition);
            if !self.known.lock().contains_key(name.as_str()) {
                return;
            }
            self.forget_named(&name);
        }
    }

    fn forget_named(&self, name: &str) {
        let Some(position) = self.known.lock().get(name).cloned() else {
            return;
        };
        if let Some(keep) = position.look(|state| state.keep) {
            let end = self.clock.now().checked_add(keep).unwrap_or(Timestamp::MAX);
            position.update(|state| state.expires = Some(state.expires.unwrap_or(end)));
            self.graced.lock().insert(name.to_owned());
        } else {
            self.drop_named(name);
        }
    }

    fn drop_named(&self, name: &str) {
        {
            let mut known = self.known.lock();
            if let Some(position) = known.remove(name) {
                Self::strike(&mut self.ledger.lock(), &position);
            }
        }
        self.forgotten.lock().insert(name.to_owned());
        self.changes.wake.notify_one();
    }

    /// Only these consumers exist: the positions of all others go as in [`Positions::forget`].
    pub(crate) fn retain(&self, exists: impl Fn(&str) -> bool) {
        let gone: Vec<Arc<str>> = {
            let known = self.known.lock();
            known
                .keys()
                .filter(|name| !exists(whole_of(name)))
                .cloned()
                .collect()
        };
        for name in gone {
            self.forget_named(&name);
        }
    }

    /// Has everything that has been changed so far written, without waiting for the interval.
    pub(crate) fn ask(&self) -> Ticket {
        let mut ticket = Ticket(0);
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            ticket = Ticket(*wanted);
        });
        self.changes.wake.notify_one();
        ticket
    }

    /// What has become durable so far, and more as it does.
    pub(crate) fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    /// Waits until everything that has been changed so far is durable.
    pub(crate) async fn settle(&self) {
        self.wait(self.ask()).await;
    }

    /// Waits until a ticket is good.
    pub(crate) async fn wait(&self, ticket: Ticket) {
        let mut durable = self.durable();
        // The sender lives as long as `self`.
        let _ = durable.wait_for(|durable| durable.covers(ticket)).await;
    }

    /// Writes changed positions until `end`, and once more then.
    pub(crate) async fn run(self: Arc<Self>, tracker: TaskTracker, end: CancellationToken) {
        loop {
            tokio::select! {
                () = self.changes.wake.notified() => self.gather(&end).await,
                () = tokio::time::sleep(SWEEP) => {}
                () = end.cancelled() => {}
            }
            let last = end.is_cancelled();
            let wanted = *self.wanted.borrow();
            let this = Arc::clone(&self);
            let failure = match tracker.spawn_blocking(move || this.write()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            let failed = failure.is_some();
            self.tell(wanted, failure);
            if last {
                return;
            }
            if failed {
                end.run_until_cancelled(tokio::time::sleep(INTERVAL)).await;
                self.changes.wake.notify_one();
            }
        }
    }

    /// Tells how a write went that covers the tickets up to `wanted`. That it fails, and no more, is
    /// said once.
    fn tell(&self, wanted: u64, failure: Option<String>) {
        let failure: Option<Arc<str>> = failure.map(Into::into);
        self.durable.send_if_modified(|durable| {
            match &failure {
                Some(error) if durable.failure != failure => warn!(
                    error = &**error,
                    "positions cannot be written; a restart would deliver events again"
                ),
                None if durable.failure.is_some() => info!("positions are written again"),
                _ => {}
            }
            let through = match failure {
                None => wanted,
                Some(_) => durable.through,
            };
            let next = Durable { through, failure };
            let news = next != *durable;
            *durable = next;
            news
        });
    }

    /// Waits for more changes to write together, unless somebody waits for them.
    async fn gather(&self, end: &CancellationToken) {
        let mut wanted = self.wanted.subscribe();
        let written = self.durable.borrow().through;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = wanted.wait_for(|wanted| *wanted > written) => {}
            () = end.cancelled() => {}
        }
    }
}

fn restore_ride(key: &[u8], value: &[u8]) -> Option<(RideId, Offset)> {
    let id = key.strip_prefix(RIDE.as_bytes())?.try_into().ok()?;
    let at = value.try_into().ok()?;
    Some((RideId::from_be_bytes(id), Offset::from_be_bytes(at)))
}

fn restore_retry(known: &HashMap<Arc<str>, Arc<Position>>, key: &[u8], value: &[u8]) {
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
    let is_open = state.cursor.is_open(offset);
    let retries = state.retries.get_or_insert_default();
    if is_open {
        retries.waiting.insert(offset, delivery);
    } else {
        retries.changed.insert(offset);
    }
}

fn text_after<'a>(key: &'a [u8], prefix: &str) -> Option<&'a str> {
    std::str::from_utf8(key).ok()?.strip_prefix(prefix)
}
