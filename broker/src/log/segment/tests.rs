//! The store under test: the laws, then what can go wrong with a disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conformance;
mod damage;
mod faults;
mod model;
mod power;
mod sharing;

use std::sync::Arc;

use jiff::Timestamp;

use super::sim::SimFs;
use super::{SegmentOptions, SegmentStore};
use crate::clock::{Clock, ManualClock};
use crate::log::{Log, OpenError, Retention};

/// Keeps all.
const KEEP: Retention = Retention {
    max_bytes: None,
    max_age: None,
    protect: true,
};

/// Opens a store on a simulated disk, with segments of that size and no events in memory.
fn open_at(disk: &SimFs, segment_bytes: u64) -> Result<Arc<SegmentStore>, OpenError> {
    let clock: Arc<dyn Clock> = ManualClock::new(Timestamp::UNIX_EPOCH);
    let fs: Option<Arc<dyn super::fs::FileSystem>> = Some(Arc::new(disk.clone()));
    let max_pending_bytes = 1 << 20;
    let options = SegmentOptions {
        segment_bytes,
        max_pending_bytes,
        tail_bytes: 0,
        clock,
        fs,
    };
    SegmentStore::open(std::path::Path::new("simulated"), options)
}

fn open(disk: &SimFs) -> Arc<SegmentStore> {
    open_at(disk, 16 << 10).unwrap()
}

/// Opens a log of the store.
fn log(store: &Arc<SegmentStore>, name: &str) -> Arc<dyn Log> {
    crate::log::LogStore::open(&**store, name, KEEP).unwrap()
}
