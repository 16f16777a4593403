//! Time as a parameter.
//!
//! Everything in the data path that needs to know what time it is asks a [`Clock`], so that tests
//! and simulations decide it. This is the one module that reads the system's clocks. Waiting is
//! done with `tokio::time`, which tests pause.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the wall-clock time.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The current time, as the machine believes it. May jump.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // The one place that reads the clock.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is told otherwise; for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(parking_lot::Mutex<Timestamp>);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Arc<Self> {
        Arc::new(Self(parking_lot::Mutex::new(start)))
    }

    /// Moves the clock to `to`, forwards or backwards.
    pub fn set(&self, to: Timestamp) {
        *self.0.lock() = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}
