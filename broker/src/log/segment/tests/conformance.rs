//! The segment store keeps the laws of the log, with and without events in memory.

use std::sync::Arc;

use jiff::Timestamp;
use tempfile::TempDir;

use crate::clock::ManualClock;
use crate::log::LogStore;
use crate::log::segment::{SegmentOptions, SegmentStore};
use crate::log::suite::Subject;

struct OnDisk<const TAIL: usize> {
    dir: TempDir,
    store: Option<Arc<SegmentStore>>,
    clock: Arc<ManualClock>,
}

impl<const TAIL: usize> OnDisk<TAIL> {
    fn start(&mut self) -> Arc<dyn LogStore> {
        let options = SegmentOptions {
            segment_bytes: 128 << 10,
            max_pending_bytes: 1 << 20,
            tail_bytes: TAIL,
            clock: self.clock.clone(),
            fs: None,
        };
        let store = SegmentStore::open(self.dir.path(), options).unwrap();
        self.store = Some(store.clone());
        store
    }
}

impl<const TAIL: usize> Subject for OnDisk<TAIL> {
    fn create() -> Self {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let mut subject = Self {
            dir: TempDir::new().unwrap(),
            store: None,
            clock,
        };
        subject.start();
        subject
    }

    fn store(&self) -> Arc<dyn LogStore> {
        self.store.clone().unwrap()
    }

    fn reopen(&mut self) -> Option<Arc<dyn LogStore>> {
        self.store.take().unwrap().close();
        Some(self.start())
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

mod with_tail {
    use super::*;
    crate::log_conformance!(OnDisk<{ 8 << 20 }>);
}

mod without_tail {
    use super::*;
    crate::log_conformance!(OnDisk<0>);
}
