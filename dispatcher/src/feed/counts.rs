//! What a consumer was offered, for its statistics.

use std::ops::Range;

use heddle_broker::log::{GapReason, Offset, ReadBatch};

/// Counts of one consumer, or of a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Events looked at.
    pub(crate) seen: u64,
    /// Events wanted.
    pub(crate) matched: u64,
    /// Events on which the filter met an error.
    pub(crate) errors: u64,
    /// Events that retention had removed.
    pub(crate) expired: u64,
    /// Events lost to damage.
    pub(crate) damaged: u64,
}

impl Counts {
    /// The records and gaps of a batch that are in `range`.
    pub(crate) fn of(batch: &ReadBatch, range: Range<Offset>) -> Self {
        let below = |offset| {
            batch
                .records
                .partition_point(|record| record.offset < offset)
        };
        let mut counts = Self {
            seen: below(range.end).saturating_sub(below(range.start)) as u64,
            ..Self::default()
        };
        for gap in &batch.gaps {
            let (start, end) = (gap.offsets.start, gap.offsets.end);
            let missing = end.min(range.end).saturating_sub(start.max(range.start));
            match gap.reason {
                GapReason::Expired => counts.expired += missing,
                GapReason::Damaged => counts.damaged += missing,
                GapReason::Absent => {}
            }
        }
        counts
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.matched += other.matched;
        self.errors += other.errors;
        self.expired += other.expired;
        self.damaged += other.damaged;
    }

    /// What has come since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            seen: self.seen.saturating_sub(before.seen),
            matched: self.matched.saturating_sub(before.matched),
            errors: self.errors.saturating_sub(before.errors),
            expired: self.expired.saturating_sub(before.expired),
            damaged: self.damaged.saturating_sub(before.damaged),
        }
    }

    /// Whether events are missing.
    pub(crate) fn has_gaps(&self) -> bool {
        self.expired + self.damaged > 0
    }
}
