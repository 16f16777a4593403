//! One line for every event: when it was due, when it was acknowledged, when it arrived.
//!
//! An event's id is its index here, so that nothing is looked up and nothing is locked. Whatever
//! was acknowledged and did not arrive is lost; whatever arrived twice is a duplicate.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::now_ns;
use super::stats::Latencies;

/// The record of one turn.
#[derive(Debug)]
pub(crate) struct Ledger {
    due: Vec<AtomicU64>,
    acked: Vec<AtomicU64>,
    received: Vec<AtomicU64>,
    next: AtomicUsize,
    ack_count: AtomicU64,
    received_count: AtomicU64,
    duplicates: AtomicU64,
    foreign: AtomicU64,
    refused: AtomicU64,
    refusal: AtomicU64,
    run: u64,
    window: Option<Semaphore>,
}

/// What the record says about losses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    /// Events that got a 2xx.
    pub(crate) acked: u64,
    /// Of those, the ones that never arrived.
    pub(crate) lost: u64,
    /// Arrivals after the first of the same event.
    pub(crate) duplicates: u64,
    /// Arrivals of events that are not of this turn.
    pub(crate) foreign: u64,
    /// Answers other than 2xx.
    pub(crate) refused: u64,
    /// The status of the last of those.
    pub(crate) refusal: u64,
}

fn zeros(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

impl Ledger {
    /// Room for that many events; at most `window` of them are sent and have not arrived yet,
    /// where there is a window. `run` tells the events of one turn from those of another.
    pub(crate) fn new(run: u64, capacity: usize, window: Option<usize>) -> Self {
        Self {
            due: zeros(capacity),
            acked: zeros(capacity),
            received: zeros(capacity),
            next: AtomicUsize::new(0),
            ack_count: AtomicU64::new(0),
            received_count: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refusal: AtomicU64::new(0),
            run,
            window: window.map(Semaphore::new),
        }
    }

    /// Which turn this is.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Waits for room in the window, then takes the next index; `None` when the record is full.
    pub(crate) async fn take(&self) -> Option<usize> {
        if let Some(window) = &self.window {
            window.acquire().await.ok()?.forget();
        }
        let index = self.next.fetch_add(1, Relaxed);
        (index < self.due.len()).then_some(index)
    }

    pub(crate) fn due(&self, index: usize, at: u64) {
        self.due[index].store(at, Relaxed);
    }

    /// Notes the answer to a post.
    pub(crate) fn answered(&self, index: usize, status: u16) {
        if (200..300).contains(&status) {
            self.acked[index].store(now_ns(), Relaxed);
            self.ack_count.fetch_add(1, Relaxed);
            return;
        }
        self.refused.fetch_add(1, Relaxed);
        self.refusal.store(u64::from(status), Relaxed);
        self.release();
    }

    /// Notes an arrival.
    pub(crate) fn arrived(&self, run: u64, index: usize) {
        let Some(cell) = self.received.get(index).filter(|_| run == self.run) else {
            self.foreign.fetch_add(1, Relaxed);
            return;
        };
        if cell.swap(now_ns(), Relaxed) == 0 {
            self.received_count.fetch_add(1, Relaxed);
            self.release();
        } else {
            self.duplicates.fetch_add(1, Relaxed);
        }
    }

    fn release(&self) {
        if let Some(window) = &self.window {
            window.add_permits(1);
        }
    }

    pub(crate) fn acks(&self) -> u64 {
        self.ack_count.load(Relaxed)
    }

    pub(crate) fn arrivals(&self) -> u64 {
        self.received_count.load(Relaxed)
    }

    /// Waits until so many events have arrived, or none has for that long.
    pub(crate) fn await_arrivals(&self, count: u64, patience: Duration) {
        let mut last = (self.arrivals(), Instant::now());
        while self.arrivals() < count && last.1.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
            if self.arrivals() != last.0 {
                last = (self.arrivals(), Instant::now());
            }
        }
    }

    /// How many events have an answer other than 2xx.
    pub(crate) fn refusals(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// The books. `lost` means something once the turn has drained.
    pub(crate) fn account(&self) -> Account {
        let lost = self.acked.iter().zip(&self.received);
        let lost = lost
            .filter(|(a, r)| a.load(Relaxed) > 0 && r.load(Relaxed) == 0)
            .count();
        Account {
            acked: self.acks(),
            lost: lost as u64,
            duplicates: self.duplicates.load(Relaxed),
            foreign: self.foreign.load(Relaxed),
            refused: self.refused.load(Relaxed),
            refusal: self.refusal.load(Relaxed),
        }
    }

    /// From when an event was due to its acknowledgement.
    pub(crate) fn ack_latencies(&self) -> Latencies {
        self.latencies(&self.acked)
    }

    /// From when an event was due to its first arrival.
    pub(crate) fn arrival_latencies(&self) -> Latencies {
        self.latencies(&self.received)
    }

    fn latencies(&self, until: &[AtomicU64]) -> Latencies {
        let pairs = self
            .due
            .iter()
            .zip(until)
            .map(|(a, b)| (a.load(Relaxed), b.load(Relaxed)));
        Latencies::new(
            pairs
                .filter(|(a, b)| *a > 0 && *b > 0)
                .map(|(a, b)| b.saturating_sub(a))
                .collect(),
        )
    }
}
