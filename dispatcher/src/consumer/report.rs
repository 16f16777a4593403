//! What a consumer tells of itself: counters, gauges, and lines in the log.
//!
//! One line for the first of many failures, then one now and then; each attempt at DEBUG.

use std::time::Duration;

use heddle_broker::log::Offset;
use tracing::{debug, error, warn};

use super::attempt::Step;
use super::{Consumer, Shared};
use crate::delivery::Outcome;
use crate::feed::Counts;
use crate::quiet::Quiet;
use crate::stats::{Moment, count, count_by};

/// What keeps repeated lines back. Most consumers never need it.
#[derive(Debug, Default)]
pub(super) struct Quiets {
    failures: Quiet,
    troubles: Quiet,
}

/// The missing events that were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    expired: u64,
    damaged: u64,
}

impl From<Counts> for Gaps {
    fn from(counts: Counts) -> Self {
        let Counts {
            expired, damaged, ..
        } = counts;
        Self { expired, damaged }
    }
}

impl Shared {
    /// Counts what came of a step. Returns why it failed, where it did.
    pub(crate) fn count_step(
        &self,
        step: Step,
        outcome: &Outcome,
        took: Duration,
        dropped_reply: bool,
    ) -> Option<String> {
        let (board, meters) = (&self.board, &self.whole.meters);
        if step == Step::Send {
            meters.observe(took);
        }
        if dropped_reply {
            count(&meters.dropped_replies);
        } else if step == Step::Reply && *outcome == Outcome::Taken {
            count(&board.replies);
        }
        let Outcome::Failed(failure) = outcome else {
            if step == Step::Send {
                count(&meters.delivered);
            }
            return None;
        };
        count(&board.failed_attempts);
        match step {
            Step::Send => count(&meters.failed),
            Step::Reply => count(&meters.reply_failed),
            Step::DeadLetter => count(&meters.dead_letter_failed),
            Step::Keep => count(&meters.keep_failed),
        };
        let reason = if failure.destination.is_empty() {
            failure.reason.clone()
        } else {
            format!("{}: {}", failure.destination, failure.reason)
        };
        board.fail(&reason);
        Some(reason)
    }
}

impl Consumer {
    /// Counts and reports what came of a step.
    pub(super) fn record(
        &mut self,
        offset: Offset,
        step: Step,
        outcome: &Outcome,
        took: Duration,
        dropped_reply: bool,
    ) {
        let shared = &self.shared;
        let Some(reason) = shared.count_step(step, outcome, took, dropped_reply) else {
            return;
        };
        debug!(consumer = %shared.id(), offset, ?step, error = reason, "an attempt failed");
        let quiets = self.quiets.get_or_insert_default();
        if let Some(held_back) = quiets.failures.pass() {
            let id = shared.id();
            if step == Step::Keep {
                error!(consumer = %id, offset, error = reason, held_back,
                    "a dead letter cannot be kept; the event stays in the backlog");
            } else {
                warn!(consumer = %id, offset, error = reason, held_back, "a delivery failed");
            }
        }
    }

    /// An event that was still to be delivered is gone from the log.
    pub(super) fn lost(&mut self, offset: Offset) {
        self.complete(offset);
        count(&self.shared.whole.meters.expired);
        count(&self.shared.board.lost);
        let quiets = self.quiets.get_or_insert_default();
        if let Some(held_back) = quiets.troubles.pass() {
            error!(consumer = %self.shared.id(), offset, held_back,
                "an event was removed from the log before it was delivered");
        }
    }

    pub(super) fn trouble(&mut self, reason: &str) {
        self.shared.board.fail(reason);
        let quiets = self.quiets.get_or_insert_default();
        if let Some(held_back) = quiets.troubles.pass() {
            warn!(consumer = %self.shared.id(), error = reason, held_back, "the log cannot be read");
        }
    }

    /// Tells others how things stand.
    pub(super) fn publish(&mut self) {
        let (counts, _) = self.shared.seat.inbox().counts();
        let gaps = Gaps::from(counts);
        if gaps != self.counted {
            let (meters, counted) = (&self.shared.whole.meters, self.counted);
            count_by(
                &meters.expired,
                gaps.expired.saturating_sub(counted.expired),
            );
            count_by(
                &meters.damaged,
                gaps.damaged.saturating_sub(counted.damaged),
            );
            self.counted = gaps;
        }
        let held = self.window.len();
        let moment = (held > 0).then(|| Moment {
            oldest: self.window.oldest(),
            in_flight: self.window.in_flight(),
            waiting: self.window.waiting(),
            held,
            bytes: self.window.bytes(),
        });
        self.shared.board.show(moment);
    }
}
