//! How a consumer lives: with a task while there is something to do, and without one otherwise.
//!
//! ```text
//!   Resting --called--> Working --nothing to do, and not called meanwhile--> Resting
//!      |                   |
//!      +--- told to end ---+--> Ended
//! ```
//!
//! There may be ten thousand consumers, nearly all idle. What works is made when there is work, and let go
//! afterwards; what lasts is a few words.
//!
//! # Laws
//!
//! 1. A consumer has at most one task.
//! 2. A call is never lost: it starts a task, or the task takes it before it rests.
//! 3. A consumer that has ended has left its feed, and has no task any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::report::{Gaps, Quiets};
use super::{Consumer, Shared};
use crate::feed::Called;

/// When all consumers end.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// Nothing new is started.
    pub(crate) stop: CancellationToken,
    /// What is under way is given up.
    pub(crate) force: CancellationToken,
}

/// How a consumer is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing new is started.
    Stop = 1,
    /// What is under way is given up.
    Force = 2,
}

/// What outlasts a rest.
#[derive(Debug, Default)]
pub(super) struct Resting {
    /// Whether it shares the reading. Otherwise it reads on from its position.
    pub(super) following: bool,
    /// What waits are spread by.
    pub(super) seed: u64,
    pub(super) counted: Gaps,
    pub(super) quiets: Option<Box<Quiets>>,
}

#[derive(Debug)]
enum Life {
    Resting(Resting),
    /// Each is told, by the end of its channel, that the task has ended.
    Working(Vec<oneshot::Sender<()>>),
    Ended,
}

/// The life of one consumer.
#[derive(Debug)]
pub(super) struct Living {
    life: Mutex<Life>,
    called: Notify,
    ending: AtomicU8,
}

impl Living {
    pub(super) fn new(seed: u64) -> Self {
        let resting = Resting {
            seed,
            ..Resting::default()
        };
        Self {
            life: Mutex::new(Life::Resting(resting)),
            called: Notify::new(),
            ending: AtomicU8::new(0),
        }
    }
}

impl Shared {
    /// Waits for a call.
    pub(super) async fn called(&self) {
        self.living.called.notified().await;
    }

    /// How it is to end, once it is.
    pub(super) fn ending(&self) -> Option<Ending> {
        match self.living.ending.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Ending::Stop),
            _ => Some(Ending::Force),
        }
    }

    /// Tells its task, where there is one, to end. One that rests starts nothing as it is.
    pub(crate) fn tell(&self, how: Ending) {
        self.living.ending.fetch_max(how as u8, Ordering::AcqRel);
        self.living.called.notify_one();
    }

    /// Ends it. What is returned waits for the end of its task.
    pub(crate) fn end(&self, how: Ending) -> impl Future<Output = ()> + Send + use<> {
        self.tell(how);
        let mut ended = None;
        let mut life = self.living.life.lock();
        match &mut *life {
            Life::Resting(_) => *life = Life::Ended,
            Life::Working(told) => {
                let (tell, waits) = oneshot::channel();
                told.push(tell);
                ended = Some(waits);
            }
            Life::Ended => {}
        }
        drop(life);
        if ended.is_none() {
            self.seat.inbox().leave();
        }
        async move {
            if let Some(ended) = ended {
                // Its end is the news.
                let _ = ended.await;
            }
        }
    }

    /// Whether it has ended, and has to be started anew.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.living.life.lock(), Life::Ended)
    }

    /// Rests, unless somebody has called meanwhile.
    pub(super) fn rest(&self, resting: Resting) -> Result<(), Resting> {
        let mut life = self.living.life.lock();
        if self.called().now_or_never().is_some() {
            return Err(resting);
        }
        *life = Life::Resting(resting);
        Ok(())
    }
}

impl Called for Shared {
    fn call(self: Arc<Self>) {
        let mut life = self.living.life.lock();
        let Life::Resting(resting) = &mut *life else {
            return self.living.called.notify_one();
        };
        // Counted before the look at whether all end: who waits for the last task sees this one, or it
        // is not started.
        let running = self.tools.running.token();
        let ends = &self.tools.ends;
        if ends.stop.is_cancelled() || ends.force.is_cancelled() {
            return;
        }
        let resting = std::mem::take(resting);
        *life = Life::Working(Vec::new());
        drop(life);
        let tracker = self.tools.tracker.clone();
        tracker.spawn(async move {
            let _running = running;
            let mut last = Last(Some(Arc::clone(&self)));
            if Consumer::wake(self, resting).work().await {
                last.0 = None;
            }
        });
    }
}

/// Ends the life of a consumer with its task, whatever ends that.
struct Last(Option<Arc<Shared>>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.seat.inbox().leave();
            *shared.living.life.lock() = Life::Ended;
        }
    }
}
