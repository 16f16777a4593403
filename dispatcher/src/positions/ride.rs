//! One offset for all consumers of a log that keep up.
//!
//! Most consumers want few of a log's events, and yet each of them gets further with every event.
//! To write that down for each would cost as much as there are consumers. Those that share a
//! reader, and have nothing left to take from it, therefore *ride*: they are wherever the reader
//! is, and only its offset is written.
//!
//! # Laws
//!
//! 1. A position that rides wants nothing below the ride's offset but its open offsets. So one
//!    stops riding, and says so with [`Position::update`](super::Position::update), before the
//!    ride passes an event that it wants.
//! 2. A ride's offset is read before the changed positions are collected that are written with it.
//!    With the first law, what is on disk is therefore always true together.
//! 3. A ride has an identity of its own, that no other reader ever has: what is written of it ends
//!    with it, however the next reader of the same log moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use heddle_broker::log::Offset;

use super::Changes;

/// Names a ride.
pub(crate) type RideId = u64;

/// The place of one shared reader.
#[derive(Debug)]
pub(crate) struct Ride {
    id: RideId,
    at: AtomicU64,
    moved: AtomicBool,
    changes: Arc<Changes>,
}

impl Ride {
    pub(super) fn new(id: RideId, changes: Arc<Changes>) -> Arc<Self> {
        Arc::new(Self {
            id,
            at: AtomicU64::new(0),
            moved: AtomicBool::new(false),
            changes,
        })
    }

    pub(crate) fn id(&self) -> RideId {
        self.id
    }

    /// Everything below has been offered to those that ride.
    pub(crate) fn at(&self) -> Offset {
        self.at.load(Ordering::Acquire)
    }

    /// Moves the ride; it is written like a changed position.
    pub(crate) fn move_to(&self, at: Offset) {
        self.at.store(at, Ordering::Release);
        if !self.moved.swap(true, Ordering::AcqRel) {
            self.changes.wake.notify_one();
        }
    }

    /// The offset to write.
    pub(super) fn collect(&self) -> Offset {
        self.moved.store(false, Ordering::Release);
        self.at()
    }
}
