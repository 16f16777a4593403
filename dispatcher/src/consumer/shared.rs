//! What is known of a consumer by those who look at it, and by its task while there is one.

use std::sync::{Arc, OnceLock, Weak};

use heddle_broker::log::Log;
use parking_lot::Mutex;

use super::Tools;
use super::life::Living;
use crate::config::{ConsumerId, Source};
use crate::feed::{Called, Seat};
use crate::metrics::Meters;
use crate::positions::Position;
use crate::redrive::Turnstile;
use crate::route::Routes;
use crate::stats::Board;
use crate::turns::Turns;

/// What all parts of a consumer have in common.
#[derive(Debug)]
pub(crate) struct Whole {
    /// The log with all of its partitions.
    pub(crate) source: Source,
    pub(crate) meters: Arc<Meters>,
    /// Where there is more than one part: how many deliveries they have under way together.
    pub(crate) turns: Option<Arc<Turns>>,
    /// About the most bytes that the window of one part holds.
    pub(crate) window_bytes: usize,
    /// The consumer's own dead letter log, once it is open.
    pub(crate) dead_letters: OnceLock<Arc<dyn Log>>,
    /// Made for the first redrive.
    pub(crate) redrives: OnceLock<Box<Turnstile>>,
}

/// What a consumer does about one partition of its log.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) whole: Arc<Whole>,
    pub(crate) tools: Arc<Tools>,
    pub(crate) routes: Mutex<Arc<Routes>>,
    pub(crate) position: Arc<Position>,
    pub(crate) seat: Seat,
    pub(crate) board: Board,
    pub(super) living: Living,
}

impl Shared {
    /// One that rests. It has to be called once, to find out where it stands.
    pub(crate) fn new(
        whole: &Arc<Whole>,
        tools: &Arc<Tools>,
        routes: Routes,
        position: &Arc<Position>,
        seed: u64,
        seat: impl FnOnce(Weak<dyn Called>) -> Seat,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            whole: Arc::clone(whole),
            tools: Arc::clone(tools),
            routes: Mutex::new(Arc::new(routes)),
            position: Arc::clone(position),
            seat: seat(this.clone()),
            board: Board::default(),
            living: Living::new(seed),
        })
    }

    /// Whose it is.
    pub(crate) fn id(&self) -> &ConsumerId {
        &self.whole.meters.id
    }

    /// Where its events come from.
    pub(crate) fn log(&self) -> &Arc<dyn Log> {
        self.seat.feed().log()
    }
}
