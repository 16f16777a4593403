//! How many deliveries the consumers of one Trigger have under way together, over all partitions.
//!
//! Each partition has a consumer of its own, but `max_in_flight` is the Trigger's: it protects a subscriber
//! that does not know of partitions. A consumer takes a turn for each delivery that it starts. One that
//! gets none waits until another gives one back; those that wait are woken one by one, the first first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The turns of one Trigger.
#[derive(Debug)]
pub(crate) struct Turns {
    limit: AtomicUsize,
    used: AtomicUsize,
    starving: AtomicUsize,
    freed: Notify,
}

impl Turns {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
            starving: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Changes how many there are. Those that are out stay out.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::SeqCst);
        self.call();
    }

    fn has_free(&self) -> bool {
        self.used.load(Ordering::SeqCst) < self.limit.load(Ordering::SeqCst)
    }

    /// Wakes one that waits, where there is something for it.
    fn call(&self) {
        if self.starving.load(Ordering::SeqCst) > 0 && self.has_free() {
            self.freed.notify_one();
        }
    }

    fn take(&self) -> bool {
        let limit = self.limit.load(Ordering::SeqCst);
        let more = |used| (used < limit).then_some(used + 1);
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
    }
}

/// What one consumer has of them. Without turns to share there is no limit here.
#[derive(Debug)]
pub(crate) struct Hold {
    turns: Option<Arc<Turns>>,
    held: usize,
    starved: bool,
}

impl Hold {
    pub(crate) fn new(turns: Option<Arc<Turns>>) -> Self {
        Self {
            turns,
            held: 0,
            starved: false,
        }
    }

    /// Takes a turn; false when there is none left, which is remembered.
    pub(crate) fn take(&mut self) -> bool {
        let Some(turns) = &self.turns else {
            return true;
        };
        // Counted before the look, so that whoever gives one back after it sees that somebody waits.
        turns.starving.fetch_add(1, Ordering::SeqCst);
        if !turns.take() {
            if std::mem::replace(&mut self.starved, true) {
                turns.starving.fetch_sub(1, Ordering::SeqCst);
            }
            return false;
        }
        turns.starving.fetch_sub(1, Ordering::SeqCst);
        self.held += 1;
        self.rest();
        true
    }

    /// Gives back all but so many.
    pub(crate) fn keep(&mut self, count: usize) {
        let Some(turns) = &self.turns else { return };
        let back = self.held.saturating_sub(count);
        self.held -= back;
        turns.used.fetch_sub(back, Ordering::SeqCst);
        for _ in 0..back {
            turns.call();
        }
    }

    /// Whether the last turn that was wanted was not there.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved
    }

    /// Stops waiting for one: the next that waits may have it, unless this one wants it after all.
    pub(crate) fn rest(&mut self) {
        if let Some(turns) = &self.turns
            && std::mem::take(&mut self.starved)
        {
            turns.starving.fetch_sub(1, Ordering::SeqCst);
            turns.call();
        }
    }

    /// Waits until there may be one. [`Hold::rest`] is to be called then.
    pub(crate) async fn freed(&self) {
        match &self.turns {
            Some(turns) => turns.freed.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.keep(0);
        self.rest();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn there_are_never_more_than_the_limit() {
        let turns = Turns::new(2);
        let (mut a, mut b) = (Hold::new(Some(Arc::clone(&turns))), Hold::new(Some(turns)));
        assert!(a.take() && b.take() && !a.take() && !b.take());
        a.keep(0);
        assert!(b.take() && !a.take());
        drop(b);
        assert!(a.take() && a.take() && !a.take());
        assert!(Hold::new(None).take());
    }

    /// Many consumers that never have enough: each gets what it needs in the end.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_waits_for_ever() {
        let turns = Turns::new(3);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let mut hold = Hold::new(Some(Arc::clone(&turns)));
            tasks.spawn(async move {
                for _ in 0..200 {
                    while !hold.take() {
                        hold.freed().await;
                        hold.rest();
                    }
                    tokio::task::yield_now().await;
                    hold.keep(0);
                }
            });
        }
        let all = async { while tasks.join_next().await.is_some() {} };
        let ended = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert!(ended.is_ok(), "somebody waits in vain");
        assert_eq!(turns.used.load(Ordering::SeqCst), 0);
        assert_eq!(turns.starving.load(Ordering::SeqCst), 0);
    }
}
