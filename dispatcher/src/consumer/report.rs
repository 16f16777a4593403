//! What a consumer tells of itself: counters, gauges, and lines in the log.
//!
//! One line for the first of many failures, then one now and then; each attempt at DEBUG.

use std::time::Duration;

use heddle_broker::log::Offset;
use tracing::{debug, error, warn};

use super::attempt::Step;
use super::{Consumer, Shared};
use crate::delivery::Outcome;
use crate::stats::{Moment, count, count_by};

impl Shared {
    /// Counts what came of a step. Returns why it failed, where it did.
    pub(crate) fn count_step(
        &self,
        step: Step,
        outcome: &Outcome,
        took: Duration,
        dropped_reply: bool,
    ) -> Option<String> {
        let (board, meters) = (&self.board, &self.meters);
        if step == Step::Send {
            meters.observe(took);
        }
        if dropped_reply {
            count(&board.dropped_replies);
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
        *board.last_error.lock() = Some(reason.clone());
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
        let Some(reason) = self
            .kept
            .shared
            .count_step(step, outcome, took, dropped_reply)
        else {
            return;
        };
        debug!(consumer = %self.kept.shared.id, offset, ?step, error = reason, "an attempt failed");
        if let Some(held_back) = self.kept.failures.pass() {
            let id = &self.kept.shared.id;
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
        count(&self.kept.shared.meters.expired);
        self.kept.lost += 1;
        if let Some(held_back) = self.kept.troubles.pass() {
            error!(consumer = %self.kept.shared.id, offset, held_back,
                "an event was removed from the log before it was delivered");
        }
    }

    pub(super) fn trouble(&mut self, reason: &str) {
        *self.kept.shared.board.last_error.lock() = Some(reason.to_owned());
        if let Some(held_back) = self.kept.troubles.pass() {
            warn!(consumer = %self.kept.shared.id, error = reason, held_back, "the log cannot be read");
        }
    }

    /// Tells others how things stand.
    pub(super) fn publish(&mut self) {
        let (counts, _) = self.kept.shared.seat.inbox().counts();
        let new = counts.since(self.kept.counted);
        if new.has_gaps() {
            count_by(&self.kept.shared.meters.expired, new.expired);
            count_by(&self.kept.shared.meters.damaged, new.damaged);
        }
        self.kept.counted = counts;
        *self.kept.shared.board.moment.lock() = Moment {
            oldest: self.window.oldest(),
            in_flight: self.window.in_flight(),
            waiting: self.window.waiting(),
            held: self.window.len(),
            bytes: self.window.bytes(),
            lost: self.kept.lost,
        };
    }
}
