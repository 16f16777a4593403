//! What the machine adds to every latency: a thread that does nothing but sleep for a millisecond at a
//! time, and how late it was woken. No program on the machine can be more punctual than it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Result;
use super::stats::Latencies;

const SLEEP: Duration = Duration::from_millis(1);

/// A thread that sleeps, until it is asked how it went.
#[derive(Debug)]
pub(crate) struct Pauses {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Pauses {
    /// Starts the thread.
    pub(crate) fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut late = Vec::new();
            while !asked.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(SLEEP);
                let more = before.elapsed().saturating_sub(SLEEP);
                late.push(u64::try_from(more.as_nanos()).unwrap_or(u64::MAX));
            }
            late
        });
        Self { stop, thread }
    }

    /// Ends it: by how much each sleep was too long.
    pub(crate) fn finish(self) -> Result<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        let late = self.thread.join();
        let late = late.map_err(|_| anyhow::anyhow!("the thread that sleeps panicked"))?;
        Ok(Latencies::new(late))
    }
}
