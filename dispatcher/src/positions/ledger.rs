//! What is durable of all positions: how far each log is needed, and which rides are.
//!
//! Kept up to date with each write, so that releasing logs costs nothing for the positions that
//! have not changed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use heddle_broker::log::Offset;

use super::ride::RideId;

/// What one position needs of its log, as it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    /// From which offset on; `None` for one that needs nothing below its ride.
    pub(super) floor: Option<Offset>,
    /// The ride that its record refers to.
    pub(super) ride: Option<RideId>,
    /// What it needs is not known.
    pub(super) damaged: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    logs: HashMap<Arc<str>, Needs>,
    rides: BTreeMap<RideId, Row>,
    damaged: usize,
}

#[derive(Debug, Default)]
struct Needs {
    floors: BTreeMap<Offset, usize>,
    /// Rides with the number of those that need nothing below them.
    rides: BTreeMap<RideId, usize>,
}

#[derive(Debug, Default)]
struct Row {
    at: Offset,
    /// Records that refer to it.
    riders: usize,
}

impl Ledger {
    /// Notes a position in a log that is on disk.
    pub(super) fn add(&mut self, log: &Arc<str>, stand: Stand) {
        self.damaged += usize::from(stand.damaged);
        let needs = self.logs.entry(Arc::clone(log)).or_default();
        match (stand.floor, stand.ride) {
            (Some(floor), _) => *needs.floors.entry(floor).or_default() += 1,
            (None, Some(ride)) => *needs.rides.entry(ride).or_default() += 1,
            (None, None) => {}
        }
        if let Some(ride) = stand.ride {
            self.rides.entry(ride).or_default().riders += 1;
        }
    }

    /// Forgets what [`Ledger::add`] noted.
    pub(super) fn remove(&mut self, log: &Arc<str>, stand: Stand) {
        self.damaged -= usize::from(stand.damaged);
        if let Entry::Occupied(mut needs) = self.logs.entry(Arc::clone(log)) {
            match (stand.floor, stand.ride) {
                (Some(floor), _) => take_one(&mut needs.get_mut().floors, floor),
                (None, Some(ride)) => take_one(&mut needs.get_mut().rides, ride),
                (None, None) => {}
            }
            if needs.get().floors.is_empty() && needs.get().rides.is_empty() {
                needs.remove();
            }
        }
        if let Some(row) = stand.ride.and_then(|ride| self.rides.get_mut(&ride)) {
            row.riders -= 1;
        }
    }

    /// Notes where a ride is on disk.
    pub(super) fn set_ride(&mut self, ride: RideId, at: Offset) {
        self.rides.entry(ride).or_default().at = at;
    }

    /// Forgets a ride.
    pub(super) fn remove_ride(&mut self, ride: RideId) {
        self.rides.remove(&ride);
    }

    /// Where a ride is on disk, and whether a record refers to it.
    pub(super) fn ride(&self, ride: RideId) -> Option<(Offset, bool)> {
        self.rides.get(&ride).map(|row| (row.at, row.riders > 0))
    }

    /// Rides that no record refers to.
    pub(super) fn unused_rides(&self) -> Vec<RideId> {
        let unused = self.rides.iter().filter(|(_, row)| row.riders == 0);
        unused.map(|(ride, _)| *ride).collect()
    }

    /// The lowest offset of a log that some position needs; `None` where there is no position.
    pub(super) fn lowest(&self, log: &str) -> Option<Offset> {
        let needs = self.logs.get(log)?;
        let floor = needs.floors.first_key_value().map(|(floor, _)| *floor);
        let rides = needs.rides.keys();
        rides
            .filter_map(|ride| self.rides.get(ride).map(|row| row.at))
            .chain(floor)
            .min()
    }

    /// Whether what some position needs is not known.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged > 0
    }
}

fn take_one(counts: &mut BTreeMap<u64, usize>, key: u64) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
