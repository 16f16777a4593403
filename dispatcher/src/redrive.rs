//! Dead letters that were kept are delivered once more: to the subscriber, under the consumer's
//! delivery specification, with the idempotency key of the delivery that failed.
//!
//! A driver reads the consumer's dead letter log up to where it ended when the driver started. What
//! is taken, by the subscriber or by a dead letter sink that there may be by now, is done in
//! `State::redriven`, a [cursor](crate::cursor) in the record of the consumer's position. What is not
//! taken is kept anew, at the end of the log and with the newest reason, before the old letter is
//! done: whatever happens, there is always one of them.
//!
//! # Laws
//!
//! 1. A dead letter is done by a 2xx of the subscriber (with its reply taken) or of the dead letter
//!    sink, or by a durable copy with a newer reason. A crash may have it delivered again, and
//!    loses none.
//! 2. A redrive ends: each letter is tried as often as the delivery specification says, and what is
//!    kept anew is left to the next redrive.
//! 3. There is at most one redrive of a consumer. It goes on beside the consumer, whose window it
//!    does not share: what is held is bounded by a window of its own.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use heddle_broker::log::{Log, Offset, ReadBatch, ReadError, ReadLimit};
use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use crate::config::ConsumerId;
use crate::consumer::{
    Done, Ends, Job, Next, PAUSE, Shared, Step, Task, Turn, limits, perform, until,
};
use crate::delivery::{Action, Delivery, End, Outcome, dead_letter};
use crate::positions::Positions;
use crate::stats::{count, count_by};
use crate::window::{Budget, Window};

/// How long the end of a redrive waits for what it did to be durable.
const SETTLE: Duration = Duration::from_secs(10);

/// Why dead letters are not redriven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedriveError {
    /// There is no such consumer.
    #[error("{0} is not being delivered to")]
    Unknown(ConsumerId),
    /// There is a redrive already.
    #[error("the dead letters of {0} are being redriven already")]
    Busy(ConsumerId),
    /// Nobody is known to deliver to.
    #[error("the address of the subscriber of {0} is not known")]
    Held(ConsumerId),
    /// The dispatcher is being shut down.
    #[error("the dispatcher is shutting down")]
    Stopped,
}

/// Where a redrive stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It goes on.
    #[default]
    Running,
    /// It has come to all the dead letters that it was to redrive.
    Finished,
    /// It ended before that.
    Stopped,
}

/// How far a redrive has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where it stands.
    pub state: State,
    /// Dead letters that are to be redriven.
    pub total: u64,
    /// Those that the subscriber took.
    pub delivered: u64,
    /// Those that a dead letter sink took.
    pub dead_lettered: u64,
    /// Those that nobody took; they stay kept.
    pub failed: u64,
    /// Those that retention removed before their turn.
    pub expired: u64,
    /// Those that wait for their next attempt.
    pub waiting: u64,
    /// All dead letters that the consumer keeps now.
    pub kept: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
}

impl Progress {
    /// Dead letters that were to be redriven and are still kept.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.total
            .saturating_sub(self.delivered + self.dead_lettered + self.expired)
    }
}

/// A redrive that goes on until it is through, or this is dropped.
#[derive(Debug)]
pub struct Redriving {
    progress: watch::Receiver<Progress>,
    _stop: DropGuard,
}

impl Redriving {
    pub(crate) fn new(progress: watch::Receiver<Progress>, stop: CancellationToken) -> Self {
        Self {
            progress,
            _stop: stop.drop_guard(),
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits for news of it. `None` when it has ended and the last news are known.
    pub async fn next(&mut self) -> Option<Progress> {
        self.progress.changed().await.ok()?;
        Some(self.progress.borrow_and_update().clone())
    }
}

/// Lets one redrive of a consumer through at a time, until the consumer ends.
#[derive(Debug)]
pub(crate) struct Turnstile {
    pub(crate) ends: Ends,
    /// Locked by whoever redrives.
    pub(crate) one: Arc<tokio::sync::Mutex<()>>,
}

impl Turnstile {
    /// One that ends with all consumers, if not before.
    pub(crate) fn new(all: &Ends) -> Box<Self> {
        Box::new(Self {
            ends: Ends {
                stop: all.stop.child_token(),
                force: all.force.child_token(),
            },
            one: Arc::default(),
        })
    }
}

/// What a driver works with.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) positions: Arc<Positions>,
    /// Keeps the dead letters.
    pub(crate) log: Arc<dyn Log>,
    /// Nothing new is started.
    pub(crate) stop: CancellationToken,
    /// What is under way is given up.
    pub(crate) force: CancellationToken,
    pub(crate) random: SmallRng,
}

/// One redrive.
pub(crate) struct Driver {
    parts: Parts,
    window: Window,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Where to read on.
    at: Offset,
    /// Where the log ended when this began.
    end: Offset,
    /// How many more to take.
    more: u64,
    progress: Progress,
    news: watch::Sender<Progress>,
}

impl Driver {
    /// A driver for at most `limit` dead letters, with the bound of its window.
    pub(crate) fn new(
        parts: Parts,
        (bytes, budget): (usize, Arc<Budget>),
        limit: u64,
    ) -> (Self, watch::Receiver<Progress>) {
        let stats = parts.log.stats();
        let (floor, kept) = parts.shared.position.look(|state| {
            let cursor = state.redriven();
            (cursor.floor(), cursor.left(stats.first..stats.next))
        });
        let progress = Progress {
            total: kept.min(limit),
            kept,
            ..Progress::default()
        };
        let (news, receiver) = watch::channel(progress.clone());
        let limits = limits(&parts.shared.routes.lock(), bytes);
        let this = Self {
            window: Window::new(limits, budget),
            jobs: FuturesUnordered::new(),
            at: floor,
            end: stats.next,
            more: progress.total,
            parts,
            progress,
            news,
        };
        (this, receiver)
    }

    /// Redrives until it is through or stopped. `_one` is what only one redrive of a consumer has.
    pub(crate) async fn run(mut self, _one: OwnedMutexGuard<()>) {
        let (stop, force) = (self.parts.stop.clone(), self.parts.force.clone());
        let id = self.parts.shared.id().clone();
        info!(consumer = %id, dead_letters = self.progress.total, "redriving");
        let driven = force.run_until_cancelled(self.drive(&stop)).await;
        let through = driven.unwrap_or(false);
        let settled = tokio::time::timeout(SETTLE, self.parts.positions.settle());
        if let Some(Err(_)) = force.run_until_cancelled(settled).await {
            warn!(consumer = %id, "what was redriven is not durable yet; a crash would repeat it");
        }
        self.progress.state = if through {
            State::Finished
        } else {
            State::Stopped
        };
        self.publish();
        let Progress {
            delivered, failed, ..
        } = self.progress;
        info!(consumer = %id, delivered, failed, through, "redriven");
    }

    /// True when it came to all that it was to redrive.
    async fn drive(&mut self, stop: &CancellationToken) -> bool {
        loop {
            let stopping = stop.is_cancelled();
            if !stopping {
                if let Err(error) = self.fill().await {
                    self.progress.last_error = Some(error.to_string());
                    stop.cancel();
                    continue;
                }
                self.start();
            }
            self.publish();
            if self.jobs.is_empty() && (stopping || self.window.len() == 0) {
                return self.window.len() == 0 && self.is_read();
            }
            let now = self.parts.shared.tools.clock.now();
            let due = self.window.next_due().filter(|_| !stopping);
            let sleep = due.map(|due| until(due, now));
            tokio::select! {
                () = stop.cancelled(), if !stopping => {}
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => self.finish(done),
                () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => {}
            }
        }
    }

    fn is_read(&self) -> bool {
        self.more == 0 || self.at >= self.end
    }

    /// Takes as many dead letters as there is room for.
    async fn fill(&mut self) -> Result<(), ReadError> {
        while !self.is_read()
            && let Some(room) = self.window.room()
        {
            let more = usize::try_from(self.more).unwrap_or(usize::MAX);
            let limit = ReadLimit {
                records: room.records.min(more),
                bytes: room.bytes,
            };
            let batch = self.parts.log.read(self.at, limit).await?;
            self.take(batch);
        }
        Ok(())
    }

    fn take(&mut self, batch: ReadBatch) {
        // A log that has less than it said has no more of what was to be redriven.
        let to = match batch.next.min(self.end) {
            to if to > self.at => to,
            _ => self.end,
        };
        let offsets = self.at..to;
        self.at = to;
        let mut letters = batch.records;
        let gone = self.parts.shared.position.update(|state| {
            let cursor = state.redriven_mut();
            let expected = cursor.left(offsets.clone());
            letters.retain(|letter| {
                let offset = letter.offset;
                offset < to && (cursor.is_open(offset) || cursor.begin(offset))
            });
            cursor.pass(to);
            let mut from = offsets.start;
            while let Some(open) = cursor.open_from(from).filter(|open| *open < to) {
                let found = letters.binary_search_by_key(&open, |letter| letter.offset);
                if found.is_err() {
                    cursor.complete(open);
                }
                from = open + 1;
            }
            expected.saturating_sub(letters.len() as u64)
        });
        // Those that were gone before this began were not counted in.
        let counted = gone.min(self.more.saturating_sub(letters.len() as u64));
        self.more = self.more.saturating_sub(counted + letters.len() as u64);
        self.expired(counted);
        for letter in letters {
            let (offset, accepted) = (letter.offset, letter.accepted);
            self.window
                .add(offset, accepted, letter.event, Delivery::default());
        }
    }

    fn expired(&mut self, count: u64) {
        self.progress.expired += count;
        count_by(&self.parts.shared.whole.meters.redriven.expired, count);
    }

    fn start(&mut self) {
        let now = self.parts.shared.tools.clock.now();
        while let Some(offset) = self.window.start(now) {
            self.resume(offset);
        }
    }

    fn resume(&mut self, offset: Offset) {
        let sink = self.parts.shared.routes.lock().dead_letter.is_some();
        match Turn::of(offset, &mut self.window, &self.parts.log, sink) {
            Some(Turn::Act(action)) => self.act(offset, action),
            Some(Turn::Read(job)) => self.jobs.push(job),
            None => {}
        }
    }

    /// Does what a delivery's machine says.
    fn act(&mut self, offset: Offset, action: Action) {
        let Some(item) = self.window.item(offset) else {
            return;
        };
        let task = match Next::of(action, &item.delivery) {
            Next::Do(task) => task,
            Next::Wait(due) => return self.window.wait(offset, due),
            Next::End(end) => return self.end(offset, end),
        };
        // What an attempt has led to is brought to its end; the rest begins anew another time.
        if self.parts.stop.is_cancelled() && matches!(task, Task::Send | Task::DeadLetter(_)) {
            return;
        }
        let Some(letter) = &item.event else {
            return;
        };
        let shared = &self.parts.shared;
        let routes = Arc::clone(&shared.routes.lock());
        let (event, key) = dead_letter::original(letter);
        let key = key.unwrap_or_else(|| {
            let log = dead_letter::log_name(shared.id());
            routes.dead_letter_key(&log, offset)
        });
        self.jobs.push(Box::pin(perform(Job {
            offset,
            event,
            task,
            routes,
            shared: Arc::clone(shared),
            repeats: Some(key.into()),
        })));
    }

    /// Goes on with a dead letter after a step.
    fn finish(&mut self, done: Done) {
        match done {
            Done::Step {
                offset,
                step,
                outcome,
                took,
                dropped_reply,
            } => {
                let shared = &self.parts.shared;
                if let Some(reason) = shared.count_step(step, &outcome, took, dropped_reply) {
                    debug!(consumer = %shared.id(), offset, ?step, error = reason, "not redriven");
                    self.progress.last_error = Some(reason);
                }
                self.step(offset, step, outcome);
            }
            Done::Read { offset, event } => {
                self.window.refill(offset, event);
                self.resume(offset);
            }
            Done::Gone { offset } => {
                self.done(offset);
                self.expired(1);
            }
            Done::Unreadable { offset, reason } => {
                self.progress.last_error = Some(reason);
                let now = self.parts.shared.tools.clock.now();
                self.window
                    .wait(offset, now.checked_add(PAUSE).unwrap_or(now));
            }
        }
    }

    fn step(&mut self, offset: Offset, step: Step, outcome: Outcome) {
        if step == Step::Keep && matches!(outcome, Outcome::Failed(_)) {
            // For want of a newer copy it is kept as it is, and not done.
            self.window.finish(offset);
            return self.failed();
        }
        let now = self.parts.shared.tools.clock.now();
        let random = self.parts.random.random::<f64>();
        let routes = Arc::clone(&self.parts.shared.routes.lock());
        let Some(item) = self.window.item(offset) else {
            return;
        };
        let sink = routes.dead_letter.is_some();
        let policy = &routes.config.policy;
        let action = item.delivery.on(outcome, policy, sink, now, random);
        self.act(offset, action);
    }

    fn end(&mut self, offset: Offset, end: End) {
        let (board, meters) = (&self.parts.shared.board, &self.parts.shared.whole.meters);
        match end {
            End::Delivered => {
                count(&board.delivered);
                count(&meters.redriven.delivered);
                self.progress.delivered += 1;
            }
            End::DeadLettered => {
                count(&meters.dead_lettered);
                count(&meters.redriven.dead_lettered);
                self.progress.dead_lettered += 1;
            }
            End::Kept => self.failed(),
        }
        self.done(offset);
    }

    fn failed(&mut self) {
        count(&self.parts.shared.whole.meters.redriven.kept);
        self.progress.failed += 1;
    }

    fn done(&mut self, offset: Offset) {
        self.window.finish(offset);
        let position = &self.parts.shared.position;
        let floor = position.update(|state| {
            state.redriven_mut().complete(offset);
            state.redriven().floor()
        });
        // What is done may go: a crash before that is durable has nothing to lose by it.
        self.parts.log.release(floor);
    }

    /// Tells others how things stand.
    fn publish(&mut self) {
        let stats = self.parts.log.stats();
        let position = &self.parts.shared.position;
        self.progress.kept = position.look(|state| state.redriven().left(stats.first..stats.next));
        self.progress.waiting = self.window.waiting() as u64;
        self.news.send_replace(self.progress.clone());
    }
}
