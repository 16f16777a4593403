//! One consumer: the task that takes events, delivers them and moves the position.
//!
//! Each turn it fills its window from what was read, starts what may start, and then waits for
//! whatever comes first: an answer, a read, new events, the end of a wait, a change, or the end.
//! All deliveries of a consumer run inside its task, so that an event costs no task of its own. Once it
//! keeps up and everything is delivered, it rests: little is kept of it until something comes.
//!
//! # Laws
//!
//! 1. An offset is open in the position from before its first attempt until it is done.
//! 2. A position passes an event only if it was not wanted, is done, or is gone from the log; the
//!    last is counted.
//! 3. What is held is bounded: the window, one batch read ahead, and the queue of the feed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use heddle_broker::log::{Log, Offset, ReadBatch, ReadError};
use jiff::Timestamp;
use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::trace;

use crate::config::{ConsumerId, Order};
use crate::delivery::{Action, Delivery, End};
use crate::feed::Seat;
use crate::metrics::Meters;
use crate::positions::Position;
use crate::route::Routes;
use crate::stats::{Board, count};
use crate::window::{Limits, Window};

mod attempt;
mod reading;
mod report;
mod resting;

pub(crate) use attempt::{Done, Job, Next, Step, Task, Tools, Turn};
pub(crate) use attempt::{open_dead_letters, perform};
use reading::Read;
pub(crate) use reading::Reading;
pub(crate) use resting::Resting;

/// The most events of one consumer that wait for a retry or behind another of their key. A
/// consumer with more of them takes no new events until some are done.
pub(crate) const PARKED: usize = 10_000;

/// How long to wait after the log could not be read.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// A wait is looked at again after this time: the wall clock may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What a consumer's task shares with those who look at it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: ConsumerId,
    pub(crate) routes: Mutex<Arc<Routes>>,
    pub(crate) changed: Notify,
    pub(crate) position: Arc<Position>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) board: Board,
    pub(crate) meters: Arc<Meters>,
    /// The consumer's own dead letter log, once it is open: one for all partitions.
    pub(crate) dead_letters: Arc<OnceLock<Arc<dyn Log>>>,
}

/// When a consumer ends.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// Nothing new is started.
    pub(crate) stop: CancellationToken,
    /// What is under way is given up.
    pub(crate) force: CancellationToken,
}

/// A consumer at work.
pub(crate) struct Consumer {
    kept: Box<Resting>,
    window: Window,
    read: Option<Read>,
    /// No read before this long.
    paused: bool,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    /// The order has changed: what is in flight ends before anything else starts.
    reordering: bool,
}

enum Wake {
    Done(Done),
    Read((Offset, Result<ReadBatch, ReadError>)),
    Changed,
    /// There may be a turn to be had.
    Turn,
    Stop,
    Force,
    Look,
}

impl Consumer {
    /// Goes to work.
    fn new(kept: Box<Resting>) -> Self {
        let limits = limits(&kept.routes, kept.window_bytes);
        Self {
            window: Window::new(limits, Arc::clone(&kept.budget)),
            kept,
            read: None,
            paused: false,
            jobs: FuturesUnordered::new(),
            reordering: false,
        }
    }

    /// Works until there is nothing to do, or it is stopped: then nothing is left of it.
    async fn work(mut self: Box<Self>) -> Option<Box<Resting>> {
        loop {
            if self.reordering && self.jobs.is_empty() {
                self.reorder();
            }
            self.kept.turns.keep(self.window.in_flight());
            // Without a subscriber nothing is taken either: what is wanted may change with it.
            if !self.reordering && !self.kept.routes.is_held() {
                self.fill();
                self.start();
                self.kept.turns.keep(self.window.in_flight());
            }
            self.publish();
            if self.is_idle() {
                return Some(self.kept);
            }
            match self.wait().await {
                Wake::Done(done) => {
                    self.finish(done);
                    while let Some(Some(done)) = self.jobs.next().now_or_never() {
                        self.finish(done);
                    }
                }
                Wake::Read((from, result)) => self.take_read(from, result),
                Wake::Changed => self.change(),
                Wake::Look => self.paused = false,
                Wake::Turn => self.kept.turns.rest(),
                Wake::Stop => break,
                Wake::Force => return None,
            }
        }
        self.drain().await;
        self.publish();
        None
    }

    /// Whether nothing is to be done before an event or a change comes.
    fn is_idle(&self) -> bool {
        self.window.len() == 0
            && self.jobs.is_empty()
            && self.read.is_none()
            && !self.paused
            && !self.reordering
            && !self.kept.turns.is_starved()
            && self.kept.reading.is_following()
    }

    async fn wait(&mut self) -> Wake {
        let now = self.kept.tools.clock.now();
        // Nothing is started while the order changes, without a subscriber, or without a turn: no wait
        // matters then.
        let starved = self.kept.turns.is_starved();
        let due = if self.reordering || self.kept.routes.is_held() || starved {
            None
        } else {
            self.window.next_due()
        };
        let due = due.map(|due| until(due, now));
        let sleep = match (due, self.paused) {
            (Some(due), true) => Some(due.min(PAUSE)),
            (None, true) => Some(PAUSE),
            (due, false) => due,
        };
        let follows = self.kept.reading.is_following() && self.window.room().is_some();
        let read = &mut self.read;
        tokio::select! {
            biased;
            () = self.kept.ends.force.cancelled() => Wake::Force,
            () = self.kept.ends.stop.cancelled() => Wake::Stop,
            () = self.kept.shared.changed.notified() => Wake::Changed,
            Some(done) = self.jobs.next(), if !self.jobs.is_empty() => Wake::Done(done),
            result = async {
                match read {
                    Some(read) => read.await,
                    None => std::future::pending().await,
                }
            } => Wake::Read(result),
            () = self.kept.reading.inbox().ready(), if follows => Wake::Look,
            () = self.kept.turns.freed(), if starved => Wake::Turn,
            () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => Wake::Look,
        }
    }

    /// Moves what was read into the window, and sees to the next read.
    fn fill(&mut self) {
        while let Some(room) = self.window.room() {
            let (records, next) = self.kept.reading.take(room.records, room.bytes);
            let position = &self.kept.shared.position;
            if records.is_empty() {
                // One that rides is wherever the feed is.
                if position.look(|state| state.rides.is_none() && state.cursor.next() < next) {
                    position.update(|state| state.cursor.pass(next));
                }
                break;
            }
            let mut fresh = Vec::with_capacity(records.len());
            position.update(|state| {
                for record in &records {
                    let new = state.cursor.begin(record.offset);
                    fresh.push(if new {
                        Delivery::default()
                    } else {
                        state.delivery(record.offset)
                    });
                }
                state.cursor.pass(next);
            });
            for (record, delivery) in records.into_iter().zip(fresh) {
                trace!(consumer = %self.kept.shared.id, offset = record.offset, "taken");
                self.window
                    .add(record.offset, record.accepted, record.event, delivery);
            }
        }
        if self.read.is_none() && !self.paused && self.window.room().is_some() {
            self.read = self.kept.reading.next_read(&self.kept.shared.position);
        }
    }

    fn start(&mut self) {
        if self.window.is_idle() {
            return;
        }
        let now = self.kept.tools.clock.now();
        while self.kept.turns.take()
            && let Some(offset) = self.window.start(now)
        {
            self.resume(offset);
        }
    }

    fn resume(&mut self, offset: Offset) {
        let sink = self.kept.routes.dead_letter.is_some();
        match Turn::of(offset, &mut self.window, self.kept.reading.log(), sink) {
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
            Next::Wait(due) => {
                let delivery = item.delivery.clone();
                self.kept
                    .shared
                    .position
                    .update(|state| state.retry(offset, delivery));
                return self.window.wait(offset, due);
            }
            Next::End(end) => return self.end(offset, end),
        };
        if matches!(task, Task::DeadLetter(_) | Task::Keep(_)) {
            let delivery = item.delivery.clone();
            self.kept
                .shared
                .position
                .update(|state| state.retry(offset, delivery));
            if self.kept.ends.stop.is_cancelled() && matches!(task, Task::DeadLetter(_)) {
                return;
            }
        }
        let Some(event) = item.event.clone() else {
            return;
        };
        self.jobs.push(Box::pin(perform(Job {
            offset,
            event,
            task,
            routes: Arc::clone(&self.kept.routes),
            tools: Arc::clone(&self.kept.tools),
            shared: Arc::clone(&self.kept.shared),
            repeats: None,
        })));
    }

    fn end(&mut self, offset: Offset, end: End) {
        let (board, meters) = (&self.kept.shared.board, &self.kept.shared.meters);
        match end {
            End::Delivered => count(&board.delivered),
            End::DeadLettered => {
                count(&board.dead_lettered);
                count(&meters.dead_lettered);
            }
            End::Kept => {
                count(&board.kept);
                count(&meters.kept);
            }
        }
        self.complete(offset);
    }

    fn complete(&mut self, offset: Offset) {
        self.window.finish(offset);
        self.kept
            .shared
            .position
            .update(|state| state.complete(offset));
    }

    /// Goes on with an event after a step.
    fn finish(&mut self, done: Done) {
        match done {
            Done::Step {
                offset,
                step,
                outcome,
                took,
                dropped_reply,
            } => {
                self.record(offset, step, &outcome, took, dropped_reply);
                let now = self.kept.tools.clock.now();
                let sink = self.kept.routes.dead_letter.is_some();
                let random = self.kept.random.random::<f64>();
                let Some(item) = self.window.item(offset) else {
                    return;
                };
                let policy = &self.kept.routes.config.policy;
                let action = item.delivery.on(outcome, policy, sink, now, random);
                self.act(offset, action);
            }
            Done::Read { offset, event } => {
                self.window.refill(offset, event);
                self.resume(offset);
            }
            Done::Gone { offset } => self.lost(offset),
            Done::Unreadable { offset, reason } => {
                self.trouble(&reason);
                let now = self.kept.tools.clock.now();
                self.window
                    .wait(offset, now.checked_add(PAUSE).unwrap_or(now));
            }
        }
    }

    fn take_read(&mut self, from: Offset, result: Result<ReadBatch, ReadError>) {
        self.read = None;
        match result {
            Ok(batch) => {
                let gone = self
                    .kept
                    .reading
                    .on_read(from, batch, &self.kept.shared.position);
                for offset in gone {
                    self.lost(offset);
                }
            }
            Err(error) => {
                self.paused = true;
                self.trouble(&error.to_string());
            }
        }
    }

    /// Takes over a changed configuration.
    fn change(&mut self) {
        let routes = Arc::clone(&self.kept.shared.routes.lock());
        let before = std::mem::replace(&mut self.kept.routes, routes);
        let limits = limits(&self.kept.routes, self.kept.window_bytes);
        self.window.set_in_flight(limits.in_flight);
        self.reordering |= before.config.order != limits.order;
        if self.kept.routes.is_held() && self.kept.reading.is_following() {
            let position = &self.kept.shared.position;
            self.kept
                .reading
                .restart(position, |state| state.cursor.next());
        }
    }

    /// Starts afresh in another order: everything that is open is read again.
    fn reorder(&mut self) {
        self.reordering = false;
        self.read = None;
        let limits = limits(&self.kept.routes, self.kept.window_bytes);
        self.window = Window::new(limits, Arc::clone(&self.kept.budget));
        let position = &self.kept.shared.position;
        self.kept
            .reading
            .restart(position, |state| state.cursor.floor());
    }

    /// Lets what is under way end; nothing is started but replies and dead letters to be kept.
    async fn drain(&mut self) {
        let force = self.kept.ends.force.clone();
        while !self.jobs.is_empty() {
            match force.run_until_cancelled(self.jobs.next()).await {
                Some(Some(done)) => self.finish_last(done),
                Some(None) | None => return,
            }
        }
    }

    fn finish_last(&mut self, done: Done) {
        match done {
            Done::Step { .. } => self.finish(done),
            Done::Read { .. } | Done::Gone { .. } | Done::Unreadable { .. } => {}
        }
    }
}

pub(crate) fn limits(routes: &Routes, bytes: usize) -> Limits {
    let config = &routes.config;
    Limits {
        order: config.order,
        in_flight: match config.order {
            Order::Ordered => 1,
            Order::Unordered | Order::Key => config.max_in_flight.max(1) as usize,
        },
        parked: PARKED,
        bytes,
    }
}

/// How long to sleep until then, for once.
pub(crate) fn until(due: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now))
        .unwrap_or(Duration::ZERO)
        .min(LONGEST_SLEEP)
}
