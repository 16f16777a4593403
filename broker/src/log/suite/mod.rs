//! The laws of the log as tests that every backend runs.
//!
//! A backend implements [`Subject`] in its tests and names it in [`log_conformance!`], which makes
//! one test of each law. A law that a backend cannot keep is documented in its own module.
//!
//! [`log_conformance!`]: crate::log_conformance

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod laws;
mod outages;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use laws::*;
pub use outages::{Mortal, opened, survives_kills};

use super::{Gap, Log, LogStore, Offset, ReadBatch, ReadLimit, Record, Retention};
use crate::clock::{Clock as _, ManualClock};
use crate::event::{DataForm, Event, Packer, SpecVersion};

/// A store under test, with what the laws need around it. Its logs should keep 256 KiB at least,
/// and little more where a limit of theirs is to be seen.
pub trait Subject: Send + Sized {
    /// Whether what it needs is there. Where it is not, that has been said aloud, and nothing is tested.
    fn is_there() -> bool {
        true
    }

    /// A new store without logs, whose clock stands at the Unix epoch.
    fn create() -> Self;

    /// The store.
    fn store(&self) -> Arc<dyn LogStore>;

    /// Closes the store, and opens again what it kept. None when nothing outlives a store.
    fn reopen(&mut self) -> Option<Arc<dyn LogStore>>;

    /// The store's clock.
    fn clock(&self) -> &ManualClock;

    /// Moves the clock on.
    fn advance(&self, by: Duration) {
        let clock = self.clock();
        clock.set(clock.now() + by);
    }
}

/// Makes a test of each law for a [`Subject`], but for those that it cannot keep.
#[macro_export]
macro_rules! log_conformance {
    ($subject:ty) => {
        $crate::log_conformance!($subject, without []);
    };
    ($subject:ty, without $without:tt) => {
        mod conformance {
            use super::*;
            $crate::log_conformance!(@each $subject, $without:
                durable whole ordered visible_after_commit exact continuous
                released_then_trimmed unprotected_is_trimmed trimmed_by_age bounded_reads
                bounded_appends resuming resuming_after_removal_of_all found_by_time named
                empty_appends);
        }
    };
    (@each $subject:ty, $without:tt: $($law:ident)+) => {
        $($crate::log_conformance!(@law $subject, $without, $law);)+
    };
    // A law that some backend leaves out has a line here.
    (@law $subject:ty, [named], named) => {};
    (@law $subject:ty, $without:tt, $law:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $law() {
            if <$subject as $crate::log::suite::Subject>::is_there() {
                $crate::log::suite::$law::<$subject>().await;
            }
        }
    };
}

/// The longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps all.
const KEEP: Retention = Retention {
    max_bytes: None,
    max_age: None,
    protect: true,
};

/// As much as there is.
pub const ALL: ReadLimit = ReadLimit {
    records: usize::MAX,
    bytes: usize::MAX,
};

/// The `n`th event, with `size` bytes of data that are its own.
#[must_use]
pub fn event(n: u64, size: usize) -> Event {
    let id = n.to_string();
    let mut packer = Packer::new(SpecVersion::V1, size + 64);
    for (name, text) in [
        ("id", id.as_str()),
        ("source", "/suite"),
        ("type", "suite.made"),
    ] {
        let kind = crate::event::AttributeKind::String;
        assert!(packer.push(&crate::event::Attribute {
            name,
            kind,
            text,
            header: None
        }));
    }
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let data: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(size)
    .collect();
    packer.finish(DataForm::Bytes, &data).unwrap()
}

/// Waits until `condition` holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while !condition().await {
            ticks.tick().await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, wait).await.is_ok(),
        "waited in vain until {what}"
    );
}

/// Reads everything from `from` on, and checks that nothing was passed over in silence.
pub async fn read_all(log: &dyn Log, from: Offset) -> (Vec<Record>, Vec<Gap>) {
    let (mut records, mut gaps, mut at) = (Vec::new(), Vec::new(), from);
    loop {
        let batch = log
            .read(
                at,
                ReadLimit {
                    records: 7,
                    bytes: 64 << 10,
                },
            )
            .await
            .unwrap();
        check_batch(&batch, at);
        if batch.next == at {
            return (records, gaps);
        }
        at = batch.next;
        records.extend(batch.records);
        gaps.extend(batch.gaps);
    }
}

/// Law 6 for one batch.
pub fn check_batch(batch: &ReadBatch, from: Offset) {
    let mut covered: Vec<std::ops::Range<Offset>> = batch
        .records
        .iter()
        .map(|record| record.offset..record.offset + 1)
        .collect();
    covered.extend(batch.gaps.iter().map(|gap| gap.offsets.clone()));
    covered.sort_by_key(|range| range.start);
    let mut at = from;
    for range in covered {
        assert_eq!(
            range.start, at,
            "a batch from {from} has a silent gap or an overlap"
        );
        assert!(range.end > range.start, "an empty gap at {at}");
        at = range.end;
    }
    assert_eq!(
        at, batch.next,
        "a batch from {from} ends where it does not say"
    );
}

/// Appends the events of that range, one by one.
pub async fn fill(log: &dyn Log, events: std::ops::Range<u64>, size: usize) {
    for n in events {
        log.append(vec![event(n, size)]).unwrap().await.unwrap();
    }
}
