//! How far a shared reader has come, for all who have a part in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use heddle_broker::log::Offset;
use parking_lot::Mutex;

use super::Counts;
use crate::positions::Ride;

/// The offset below which everything has been offered to the members, and what was there.
#[derive(Debug)]
pub(super) struct Line {
    ride: Arc<Ride>,
    /// What the reader has passed since it was started. Locked while the ride moves.
    totals: Mutex<Counts>,
    members: AtomicUsize,
}

impl Line {
    pub(super) fn new(ride: Arc<Ride>) -> Arc<Self> {
        Arc::new(Self {
            ride,
            totals: Mutex::default(),
            members: AtomicUsize::new(0),
        })
    }

    pub(super) fn ride(&self) -> &Ride {
        &self.ride
    }

    pub(super) fn at(&self) -> Offset {
        self.ride.at()
    }

    /// The offset, and the totals up to it.
    pub(super) fn now(&self) -> (Offset, Counts) {
        let totals = self.totals.lock();
        (self.ride.at(), *totals)
    }

    /// Everything up to `to` has been offered.
    pub(super) fn advance(&self, to: Offset, passed: Counts) {
        let mut totals = self.totals.lock();
        totals.add(passed);
        self.ride.move_to(to);
    }

    /// Goes on elsewhere. Only while there is no member.
    pub(super) fn jump(&self, to: Offset) {
        let _totals = self.totals.lock();
        self.ride.move_to(to);
    }

    pub(super) fn has_members(&self) -> bool {
        self.members.load(Ordering::Acquire) > 0
    }

    pub(super) fn enter(&self) {
        self.members.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn leave(&self) {
        self.members.fetch_sub(1, Ordering::AcqRel);
    }
}
