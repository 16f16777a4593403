//! A consumer that has nothing to do: what it is made of once its window is empty.
//!
//! There may be ten thousand of them, nearly all idle. What works is made when there is work, and let
//! go afterwards; what lasts is here.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Consumer, Ends, Reading, Shared, Tools};
use crate::feed::Counts;
use crate::quiet::Quiet;
use crate::route::Routes;
use crate::turns::Hold;
use crate::window::Budget;

/// See the module.
pub(crate) struct Resting {
    pub(super) shared: Arc<Shared>,
    pub(super) tools: Arc<Tools>,
    pub(super) ends: Ends,
    pub(super) routes: Arc<Routes>,
    pub(super) window_bytes: usize,
    pub(super) budget: Arc<Budget>,
    /// What it may have under way, of what all parts of the consumer may.
    pub(super) turns: Hold,
    pub(super) reading: Reading,
    pub(super) random: SmallRng,
    pub(super) counted: Counts,
    /// Events that were gone when they were to be read again.
    pub(super) lost: u64,
    pub(super) failures: Quiet,
    pub(super) troubles: Quiet,
}

/// What ends a rest.
enum Call {
    Changed,
    Ready,
    End,
}

impl Resting {
    pub(crate) fn new(
        shared: Arc<Shared>,
        tools: Arc<Tools>,
        ends: Ends,
        reading: Reading,
        (window_bytes, budget): (usize, Arc<Budget>),
        turns: Hold,
        seed: u64,
    ) -> Box<Self> {
        let routes = Arc::clone(&shared.routes.lock());
        Box::new(Self {
            shared,
            tools,
            ends,
            routes,
            window_bytes,
            budget,
            turns,
            reading,
            random: SmallRng::seed_from_u64(seed),
            counted: Counts::default(),
            lost: 0,
            failures: Quiet::default(),
            troubles: Quiet::default(),
        })
    }

    /// Works whenever there is something to do, until it is stopped.
    pub(crate) async fn run(self: Box<Self>) {
        let mut consumer = Box::new(Consumer::new(self));
        loop {
            // Boxed, so that it takes no room in the task of a consumer that rests.
            let Some(resting) = Box::pin(consumer.work()).await else {
                return;
            };
            let call = resting.rest().await;
            if matches!(call, Call::End) {
                return;
            }
            consumer = Box::new(Consumer::new(resting));
            if matches!(call, Call::Changed) {
                consumer.change();
            }
        }
    }

    async fn rest(&self) -> Call {
        tokio::select! {
            biased;
            () = self.ends.force.cancelled() => Call::End,
            () = self.ends.stop.cancelled() => Call::End,
            () = self.shared.changed.notified() => Call::Changed,
            () = self.reading.inbox().ready() => Call::Ready,
        }
    }
}
