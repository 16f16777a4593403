//! One consumer at work: the task that takes events, delivers them and moves the position.
//!
//! Each turn it fills its window from what was read, starts what may start, and then waits for
//! whatever comes first: an answer, a read, new events, the end of a wait, a change, or the end.
//! All deliveries of a consumer run inside its task, so that an event costs no task of its own. Once it
//! keeps up and everything is delivered, it rests: it has no task until somebody calls (`life`).
//!
//! # Laws
//!
//! 1. An offset is open in the position from before its first attempt until it is done.
//! 2. A position passes an event only if it was not wanted, is done, or is gone from the log; the
//!    last is counted.
//! 3. What is held is bounded: the window, one batch read ahead, and the queue of the feed.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use heddle_broker::log::{Offset, ReadBatch, ReadError};
use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tracing::trace;

use crate::config::Order;
use crate::delivery::{Action, Delivery, End};
use crate::route::Routes;
use crate::stats::count;
use crate::turns::Hold;
use crate::window::{Limits, Window};

mod attempt;
mod life;
mod reading;
mod report;
mod shared;

pub(crate) use attempt::{Done, Job, Next, Step, Task, Tools, Turn};
pub(crate) use attempt::{open_dead_letters, perform};
use life::Resting;
pub(crate) use life::{Ending, Ends};
use reading::{Read, Reading};
use report::{Gaps, Quiets};
pub(crate) use shared::{Shared, Whole};

/// The most events of one consumer that wait for a retry or behind another of their key. A
/// consumer with more of them takes no new events until some are done.
pub(crate) const PARKED: usize = 10_000;

/// How long to wait after the log could not be read.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// A wait is looked at again after this time: the wall clock may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// A consumer at work.
pub(crate) struct Consumer {
    shared: Arc<Shared>,
    routes: Arc<Routes>,
    reading: Reading,
    window: Window,
    /// What it may have under way, of what all parts of the consumer may.
    turns: Hold,
    read: Option<Read>,
    /// No read before this long.
    paused: bool,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    /// The order has changed: what is in flight ends before anything else starts.
    reordering: bool,
    random: SmallRng,
    counted: Gaps,
    quiets: Option<Box<Quiets>>,
}

enum Wake {
    Done(Done),
    Read((Offset, Result<ReadBatch, ReadError>)),
    /// There may be events, another configuration, or the end has come.
    Called,
    /// There may be a turn to be had.
    Turn,
    Look,
}

impl Consumer {
    /// Goes to work after a rest.
    fn wake(shared: Arc<Shared>, resting: Resting) -> Self {
        let routes = Arc::clone(&shared.routes.lock());
        let limits = limits(&routes, shared.whole.window_bytes);
        let mut this = Self {
            reading: Reading::new(Arc::clone(&shared), resting.following),
            window: Window::new(limits, Arc::clone(&shared.tools.budget)),
            turns: Hold::new(shared.whole.turns.clone()),
            routes,
            shared,
            read: None,
            paused: false,
            jobs: FuturesUnordered::new(),
            reordering: false,
            random: SmallRng::seed_from_u64(resting.seed),
            counted: resting.counted,
            quiets: resting.quiets,
        };
        this.hold();
        this
    }

    /// Works until there is nothing to do and nobody has called: then the consumer rests, and this is
    /// true. False when it is to end.
    async fn work(mut self) -> bool {
        loop {
            if self.reordering && self.jobs.is_empty() {
                self.reorder();
            }
            self.turns.keep(self.window.in_flight());
            // Without a subscriber nothing is taken either: what is wanted may change with it.
            if !self.reordering && !self.routes.is_held() {
                self.fill();
                self.start();
                self.turns.keep(self.window.in_flight());
            }
            self.publish();
            let wake = if !self.is_idle() {
                self.wait().await
            } else if self.rest() {
                return true;
            } else {
                Wake::Called
            };
            match wake {
                Wake::Done(done) => {
                    self.finish(done);
                    while let Some(Some(done)) = self.jobs.next().now_or_never() {
                        self.finish(done);
                    }
                }
                Wake::Read((from, result)) => self.take_read(from, result),
                Wake::Called => match self.shared.ending() {
                    None => self.change(),
                    Some(Ending::Stop) => break,
                    Some(Ending::Force) => return false,
                },
                Wake::Look => self.paused = false,
                Wake::Turn => self.turns.rest(),
            }
        }
        self.drain().await;
        self.publish();
        false
    }

    /// Whether nothing is to be done before somebody calls.
    fn is_idle(&self) -> bool {
        self.window.len() == 0
            && self.jobs.is_empty()
            && self.read.is_none()
            && !self.paused
            && !self.reordering
            && !self.turns.is_starved()
            && (self.reading.is_following() || self.routes.is_held())
    }

    /// Rests, unless somebody has called meanwhile.
    fn rest(&mut self) -> bool {
        let resting = Resting {
            following: self.reading.is_following(),
            seed: self.random.next_u64(),
            counted: self.counted,
            quiets: self.quiets.take(),
        };
        match self.shared.rest(resting) {
            Ok(()) => true,
            Err(resting) => {
                self.quiets = resting.quiets;
                false
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let now = self.shared.tools.clock.now();
        // Nothing is started while the order changes, without a subscriber, or without a turn: no wait
        // matters then.
        let starved = self.turns.is_starved();
        let due = if self.reordering || self.routes.is_held() || starved {
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
        let read = &mut self.read;
        tokio::select! {
            biased;
            () = self.shared.called() => Wake::Called,
            Some(done) = self.jobs.next(), if !self.jobs.is_empty() => Wake::Done(done),
            result = async {
                match read {
                    Some(read) => read.await,
                    None => std::future::pending().await,
                }
            } => Wake::Read(result),
            () = self.turns.freed(), if starved => Wake::Turn,
            () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => Wake::Look,
        }
    }

    /// Moves what was read into the window, and sees to the next read.
    fn fill(&mut self) {
        while let Some(room) = self.window.room() {
            let (records, next) = self.reading.take(room.records, room.bytes);
            let position = &self.shared.position;
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
                trace!(consumer = %self.shared.id(), offset = record.offset, "taken");
                self.window
                    .add(record.offset, record.accepted, record.event, delivery);
            }
        }
        if self.read.is_none() && !self.paused && self.window.room().is_some() {
            self.read = self.reading.next_read();
        }
    }

    fn start(&mut self) {
        if self.window.is_idle() {
            return;
        }
        let now = self.shared.tools.clock.now();
        while self.turns.take()
            && let Some(offset) = self.window.start(now)
        {
            self.resume(offset);
        }
    }

    fn resume(&mut self, offset: Offset) {
        let sink = self.routes.dead_letter.is_some();
        match Turn::of(offset, &mut self.window, self.shared.log(), sink) {
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
                self.shared
                    .position
                    .update(|state| state.retry(offset, delivery));
                return self.window.wait(offset, due);
            }
            Next::End(end) => return self.end(offset, end),
        };
        if matches!(task, Task::DeadLetter(_) | Task::Keep(_)) {
            let delivery = item.delivery.clone();
            self.shared
                .position
                .update(|state| state.retry(offset, delivery));
            if self.shared.ending().is_some() && matches!(task, Task::DeadLetter(_)) {
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
            routes: Arc::clone(&self.routes),
            shared: Arc::clone(&self.shared),
            repeats: None,
        })));
    }

    fn end(&mut self, offset: Offset, end: End) {
        let (board, meters) = (&self.shared.board, &self.shared.whole.meters);
        match end {
            End::Delivered => count(&board.delivered),
            End::DeadLettered => {
                count(&meters.dead_lettered);
            }
            End::Kept => {
                count(&meters.kept);
            }
        }
        self.complete(offset);
    }

    fn complete(&mut self, offset: Offset) {
        self.window.finish(offset);
        self.shared.position.update(|state| state.complete(offset));
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
                let now = self.shared.tools.clock.now();
                let sink = self.routes.dead_letter.is_some();
                let random = self.random.random::<f64>();
                let Some(item) = self.window.item(offset) else {
                    return;
                };
                let policy = &self.routes.config.policy;
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
                let now = self.shared.tools.clock.now();
                self.window
                    .wait(offset, now.checked_add(PAUSE).unwrap_or(now));
            }
        }
    }

    fn take_read(&mut self, from: Offset, result: Result<ReadBatch, ReadError>) {
        self.read = None;
        match result {
            Ok(batch) => {
                let gone = self.reading.on_read(from, batch);
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

    /// Takes over the configuration, where it has changed.
    fn change(&mut self) {
        let routes = Arc::clone(&self.shared.routes.lock());
        if Arc::ptr_eq(&routes, &self.routes) {
            return;
        }
        let before = std::mem::replace(&mut self.routes, routes);
        let limits = limits(&self.routes, self.shared.whole.window_bytes);
        self.window.set_in_flight(limits.in_flight);
        self.reordering |= before.config.order != limits.order;
        self.hold();
    }

    /// Without a subscriber, what was not begun is given back. It is read again once there is one.
    fn hold(&mut self) {
        if self.routes.is_held() {
            self.reading.step_back();
        }
    }

    /// Starts afresh in another order: everything that is open is read again.
    fn reorder(&mut self) {
        self.reordering = false;
        self.read = None;
        let limits = limits(&self.routes, self.shared.whole.window_bytes);
        self.window = Window::new(limits, Arc::clone(&self.shared.tools.budget));
        self.reading.restart();
    }

    /// Lets what is under way end; nothing is started but replies and dead letters to be kept.
    async fn drain(&mut self) {
        while !self.jobs.is_empty() {
            tokio::select! {
                biased;
                () = self.shared.called() => if self.shared.ending() == Some(Ending::Force) {
                    return;
                },
                Some(done) = self.jobs.next() => self.finish_last(done),
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
