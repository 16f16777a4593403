//! What makes events.
//!
//! `kafka`: Kafka topics. [`control`] turns resources into sources.

#[cfg(feature = "kafka")]
pub mod control;
#[cfg(not(feature = "kafka"))]
#[path = "control/absent.rs"]
pub mod control;
#[cfg(feature = "kafka")]
pub mod kafka;

use std::sync::Arc;

use heddle_dispatcher::Dispatcher;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What sources need.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Delivers.
    pub dispatcher: Arc<Dispatcher>,
    /// Tells this installation from others; letters, digits and `-`.
    pub installation: String,
    /// What all tasks run on.
    pub tracker: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
}
