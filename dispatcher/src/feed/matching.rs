//! Which members want which events of a batch.

use std::sync::Arc;

use heddle_broker::filter::Outcome;
use heddle_broker::filter::index::{Scratch, Snapshot};
use heddle_broker::log::{Offset, ReadBatch};

use super::Inbox;

/// About the most hits that are put into queues in one go.
const HITS: usize = 4096;
/// About the most filters that are evaluated in one go.
const EVALUATIONS: usize = 16_384;

/// What was found in a part of a batch. Its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Matching {
    scratch: Scratch,
    hits: Vec<Hit>,
}

#[derive(Debug)]
struct Hit {
    inbox: Arc<Inbox>,
    /// The record's place in the batch.
    record: usize,
    outcome: Outcome,
}

impl Matching {
    /// Matches the records from `first` on, until that is enough for one go. Returns the place of
    /// the record to go on with.
    pub(super) fn look(
        &mut self,
        snapshot: &Snapshot<Arc<Inbox>>,
        batch: &ReadBatch,
        first: usize,
    ) -> usize {
        self.hits.clear();
        let mut evaluations = 0;
        for (place, record) in batch.records.iter().enumerate().skip(first) {
            let hits = &mut self.hits;
            let found = |inbox: &Arc<Inbox>, outcome| {
                hits.push(Hit {
                    inbox: Arc::clone(inbox),
                    record: place,
                    outcome,
                });
            };
            let stats = snapshot.matches(&record.event, &mut self.scratch, found);
            evaluations += stats.evaluations;
            if self.hits.len() >= HITS || evaluations >= EVALUATIONS {
                return place + 1;
            }
        }
        batch.records.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// Offers what was found, to each member at once.
    pub(super) fn deliver(&mut self, batch: &ReadBatch, start: Offset) {
        // Stable, so that each gets its events in order.
        self.hits.sort_by_key(|hit| Arc::as_ptr(&hit.inbox).addr());
        for hits in self.hits.chunk_by(|a, b| Arc::ptr_eq(&a.inbox, &b.inbox)) {
            let Some(Hit { inbox, .. }) = hits.first() else {
                continue;
            };
            let found = hits.iter().filter_map(|hit| {
                let record = batch.records.get(hit.record)?;
                Some((record, hit.outcome))
            });
            inbox.offer(batch, start, found);
        }
        self.hits.clear();
    }
}
