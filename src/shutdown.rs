//! Stopping in two stages.
//!
//! The first signal asks politely: nothing new is accepted, what is under way may finish. The second
//! signal, or a grace period that runs out, drops what is left; what was acknowledged is in the
//! log by then, so nothing is lost either way.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long work under way may take to finish after the first signal.
pub const GRACE: Duration = Duration::from_secs(25);

/// What every part of the process is told about stopping.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled at the first signal: accept nothing new.
    pub graceful: CancellationToken,
    /// Cancelled at the second signal, or when the grace period is over: drop everything.
    pub force: CancellationToken,
    /// Knows every task of the process.
    pub tracker: TaskTracker,
}

impl Shutdown {
    /// Waits for SIGINT or SIGTERM, or for a part of the process to give up on its own (which
    /// cancels `graceful`), and carries out both stages. Returns when all tasks have ended or
    /// were dropped; the answer is whether they all ended by themselves.
    pub async fn run(&self) -> std::io::Result<bool> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("interrupted, finishing what is under way"),
            _ = terminate.recv() => tracing::info!("asked to stop, finishing what is under way"),
            () = self.graceful.cancelled() => {}
        }
        self.graceful.cancel();
        self.tracker.close();
        let finished = tokio::select! {
            () = self.tracker.wait() => true,
            _ = interrupt.recv() => false,
            _ = terminate.recv() => false,
            () = tokio::time::sleep(GRACE) => false,
        };
        self.force.cancel();
        if !finished {
            tracing::warn!("stopping now; deliveries under way will be repeated after the restart");
            // Tasks see the token at their next wait; one that never waits must not keep us.
            let _ended = tokio::time::timeout(Duration::from_secs(2), self.tracker.wait()).await;
        }
        Ok(finished)
    }
}
