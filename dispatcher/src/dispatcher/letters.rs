//! The dead letters that consumers keep: looking at them, and having them delivered again.

use std::sync::Arc;

use heddle_broker::log::{Log, LogStats, Offset};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch;

use super::{Dispatcher, Running, fnv1a};
use crate::config::ConsumerId;
use crate::consumer::Shared;
use crate::positions::Position;
use crate::redrive::{Driver, Parts, Progress, RedriveError, Redriving, State, Turnstile};

/// The kept dead letters of one consumer.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    log: Arc<dyn Log>,
    position: Arc<Position>,
}

impl DeadLetters {
    /// What keeps them, together with those that have been redriven.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// Whether the one at this offset has not been redriven.
    #[must_use]
    pub fn is_left(&self, offset: Offset) -> bool {
        self.position
            .look(|state| !state.redriven().is_done(offset))
    }

    /// All below this offset have been redriven.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.position.look(|state| state.redriven().floor())
    }
}

/// What the dead letter log of a consumer holds, and how many of those were not redriven.
pub(super) fn count(shared: &Shared) -> (LogStats, u64) {
    let Some(log) = shared.whole.dead_letters.get() else {
        return (LogStats::default(), 0);
    };
    let stats = log.stats();
    let kept = |range| shared.position.look(|state| state.redriven().left(range));
    (stats, kept(stats.first..stats.next))
}

impl Dispatcher {
    /// The events of a consumer that neither its subscriber nor its dead letter sink took; `None`
    /// when there never were any.
    #[must_use]
    pub fn dead_letters(&self, id: &ConsumerId) -> Option<DeadLetters> {
        let consumers = self.consumers.lock();
        let shared = consumers.get(id)?.first()?;
        Some(DeadLetters {
            log: Arc::clone(shared.whole.dead_letters.get()?),
            position: Arc::clone(&shared.position),
        })
    }

    /// Starts to deliver the dead letters that a consumer keeps once more, at most `limit` of them,
    /// the oldest first. It goes on until it is through, or what is returned is dropped.
    ///
    /// # Errors
    ///
    /// See [`RedriveError`]. Nothing has been started then.
    pub fn redrive(&self, id: &ConsumerId, limit: u64) -> Result<Redriving, RedriveError> {
        if self.tools.ends.stop.is_cancelled() {
            return Err(RedriveError::Stopped);
        }
        let consumers = self.consumers.lock();
        let running = consumers.get(id).and_then(Running::first);
        let shared = running.ok_or_else(|| RedriveError::Unknown(id.clone()))?;
        if shared.routes.lock().is_held() {
            return Err(RedriveError::Held(id.clone()));
        }
        let redrives = &shared.whole.redrives;
        let turnstile = redrives.get_or_init(|| Turnstile::new(&self.tools.ends));
        let one = Arc::clone(&turnstile.one)
            .try_lock_owned()
            .map_err(|_| RedriveError::Busy(id.clone()))?;
        let stop = turnstile.ends.stop.child_token();
        let Some(log) = shared.whole.dead_letters.get() else {
            let nothing = Progress {
                state: State::Finished,
                ..Progress::default()
            };
            return Ok(Redriving::new(watch::channel(nothing).1, stop));
        };
        let seed = self.seed ^ fnv1a(&format!("redrive {id}"));
        let (driver, progress) = Driver::new(
            Parts {
                shared: Arc::clone(shared),
                positions: Arc::clone(&self.positions),
                log: Arc::clone(log),
                stop: stop.clone(),
                force: turnstile.ends.force.clone(),
                random: SmallRng::seed_from_u64(seed),
            },
            (self.window_bytes, Arc::clone(&self.tools.budget)),
            limit,
        );
        let task = self.tools.running.track_future(driver.run(one));
        self.tools.tracker.spawn(task);
        Ok(Redriving::new(progress, stop))
    }
}
