//! Writing positions down, and releasing logs.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use heddle_broker::log::Offset;
use tracing::warn;

use super::ledger::Stand;
use super::ride::RideId;
use super::{DiskError, POSITION, Position, Positions, RETRY, RIDE, Served};
use crate::delivery::dead_letter;

/// What one batch says.
#[derive(Debug, Default)]
struct Written {
    /// What each changed position will need.
    stands: Vec<Stand>,
    rides: Vec<(RideId, Offset)>,
    unused: Vec<RideId>,
}

impl Positions {
    /// Writes what has changed, flushes, and releases logs. Blocks.
    pub(super) fn write(&self) -> Result<(), DiskError> {
        self.sweep();
        let forgotten = std::mem::take(&mut *self.forgotten.lock());
        // The order matters: see the second law of rides.
        let rides = self.collect_rides();
        let changed = self.collect_positions();
        let written = self.batch(&forgotten, &rides, &changed);
        let written = written.and_then(|(batch, written)| {
            let nothing = forgotten.is_empty()
                && changed.is_empty()
                && written.rides.is_empty()
                && written.unused.is_empty();
            if !nothing {
                self.disk.write(batch)?;
            }
            Ok(written)
        });
        match written {
            Ok(written) => self.note(&changed, written),
            Err(error) => {
                for position in &changed {
                    position.update(|state| {
                        if let Some(retries) = &mut state.retries {
                            retries.changed.extend(retries.waiting.keys());
                        }
                    });
                }
                self.forgotten.lock().extend(forgotten);
                return Err(error);
            }
        }
        self.remove_dead_letters(&forgotten);
        self.release();
        Ok(())
    }

    fn collect_rides(&self) -> Vec<(RideId, Offset)> {
        let rides = self.rides.lock();
        let rides = rides.iter().filter_map(Weak::upgrade);
        rides.map(|ride| (ride.id(), ride.collect())).collect()
    }

    /// The changed positions, but for those that are not known any more.
    fn collect_positions(&self) -> Vec<Arc<Position>> {
        let mut changed = std::mem::take(&mut *self.changes.positions.lock());
        for position in &changed {
            position.dirty.store(false, Ordering::Release);
        }
        let known = self.known.lock();
        changed.retain(|position| {
            known
                .get(&*position.name)
                .is_some_and(|known| Arc::ptr_eq(known, position))
        });
        changed
    }

    fn batch(
        &self,
        forgotten: &HashSet<String>,
        rides: &[(RideId, Offset)],
        changed: &[Arc<Position>],
    ) -> Result<(sled::Batch, Written), DiskError> {
        let mut batch = sled::Batch::default();
        let mut written = Written::default();
        for name in forgotten {
            batch.remove(format!("{POSITION}{name}").into_bytes());
            self.disk
                .scan(&format!("{RETRY}{name}/"), |key, _| batch.remove(key))?;
        }
        for position in changed {
            written.stands.push(put(&mut batch, position));
        }
        let used: HashSet<_> = written.stands.iter().filter_map(|s| s.ride).collect();
        let ledger = self.ledger.lock();
        for &(ride, at) in rides {
            let (stale, ridden) = match ledger.ride(ride) {
                Some((before, ridden)) => (before != at, ridden),
                None => (true, false),
            };
            if stale && (ridden || used.contains(&ride)) {
                batch.insert(ride_key(ride), &at.to_be_bytes());
                written.rides.push((ride, at));
            }
        }
        written.unused = ledger.unused_rides();
        written.unused.retain(|ride| !used.contains(ride));
        for &ride in &written.unused {
            batch.remove(ride_key(ride));
        }
        Ok((batch, written))
    }

    /// Notes what is on disk now.
    fn note(&self, changed: &[Arc<Position>], written: Written) {
        let known = self.known.lock();
        let mut ledger = self.ledger.lock();
        for (ride, at) in written.rides {
            ledger.set_ride(ride, at);
        }
        for (position, stand) in changed.iter().zip(written.stands) {
            // One that was dropped meanwhile needs nothing.
            if !known
                .get(&*position.name)
                .is_some_and(|known| Arc::ptr_eq(known, position))
            {
                continue;
            }
            let mut state = position.state.lock();
            ledger.add(&state.log, stand);
            if let Some(before) = state.durable.replace(stand) {
                ledger.remove(&state.log, before);
            }
        }
        for ride in written.unused {
            ledger.remove_ride(ride);
        }
    }

    /// Removes the dead letters of consumers whose positions were forgotten, unless they are there
    /// again already.
    fn remove_dead_letters(&self, forgotten: &HashSet<String>) {
        for name in forgotten {
            if self.known.lock().contains_key(name.as_str()) {
                continue;
            }
            let log = dead_letter::log_name(name);
            if let Err(error) = self.dead_letters.remove(&log) {
                warn!(consumer = name, %error, "dead letters could not be removed");
            }
        }
    }

    /// Drops the positions whose grace has ended.
    fn sweep(&self) {
        let now = self.clock.now();
        let mut expired = Vec::new();
        self.graced.lock().retain(|name| {
            let known = self.known.lock().get(name.as_str()).cloned();
            let expires = known.and_then(|position| position.look(|state| state.expires));
            if expires.is_some_and(|end| end <= now) {
                expired.push(name.clone());
            }
            expires.is_some_and(|end| end > now)
        });
        for name in expired {
            self.drop_named(&name);
        }
    }

    /// Tells each log how far nobody needs it any more.
    pub(super) fn release(&self) {
        let logs: Vec<(Arc<str>, Served)> = {
            let logs = self.logs.lock();
            logs.iter()
                .map(|(name, served)| (Arc::clone(name), served.clone()))
                .collect()
        };
        for (name, served) in logs {
            let tail = served.settled.then(|| *served.log.tail().borrow());
            let ledger = self.ledger.lock();
            if ledger.is_damaged() {
                return;
            }
            let floor = ledger.lowest(&name).or(tail);
            drop(ledger);
            if let Some(floor) = floor {
                served.log.release(floor);
            }
        }
    }
}

/// Adds what has changed of a position, and says what it needs with that.
fn put(batch: &mut sled::Batch, position: &Position) -> Stand {
    let name = &position.name;
    let mut state = position.state.lock();
    if let Some(retries) = &mut state.retries {
        for offset in std::mem::take(&mut retries.changed) {
            let key = retry_key(name, offset);
            match retries.waiting.get(&offset).map(serde_json::to_vec) {
                Some(Ok(value)) => batch.insert(key, value),
                Some(Err(_)) | None => batch.remove(key),
            }
        }
        if retries.waiting.is_empty() {
            state.retries = None;
        }
    }
    if let Ok(value) = serde_json::to_vec(&state.record()) {
        batch.insert(format!("{POSITION}{name}").into_bytes(), value);
    }
    state.stand()
}

fn ride_key(ride: RideId) -> Vec<u8> {
    [RIDE.as_bytes(), &ride.to_be_bytes()].concat()
}

fn retry_key(name: &str, offset: Offset) -> Vec<u8> {
    let mut key = format!("{RETRY}{name}/").into_bytes();
    key.extend_from_slice(&offset.to_be_bytes());
    key
}
