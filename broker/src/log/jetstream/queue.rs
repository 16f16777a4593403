//! What waits to be sent, and the waiting for it.
//!
//! Whoever sends is woken only while it waits: a busy log wakes it once for many appends.

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::publish::Outcome;
use crate::event::Event;

/// Appends that wait to be sent.
const QUEUE: usize = 4_096;

/// An append on its way.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) events: Vec<Event>,
    pub(super) bytes: usize,
    pub(super) done: oneshot::Sender<Outcome>,
}

/// An append cannot wait here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too many do.
    Full,
    /// Nothing is sent any more.
    Closed,
}

/// The queue between appenders and the publisher.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    units: Vec<Unit>,
    /// Whether the publisher waits for the first of them.
    awaited: bool,
    closed: bool,
}

impl Queue {
    /// Enqueues an append. Never waits.
    pub(super) fn push(&self, unit: Unit) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.units.len() >= QUEUE {
            return Err(Refused::Full);
        }
        state.units.push(unit);
        if std::mem::take(&mut state.awaited) {
            drop(state);
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Returns when something waits. May be dropped and called again.
    pub(super) async fn filled(&self) {
        loop {
            {
                let mut state = self.state.lock();
                state.awaited = state.units.is_empty();
                if !state.awaited {
                    return;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Takes the oldest: so many at the most, and no more after those that have so many bytes.
    pub(super) fn take(&self, most: usize, bytes: usize) -> Vec<Unit> {
        let mut state = self.state.lock();
        let mut taken = 0;
        let fitting = state.units.iter().take(most).take_while(|unit| {
            let fits = taken < bytes;
            taken += unit.bytes;
            fits
        });
        let count = fitting.count();
        if count == state.units.len() {
            return std::mem::take(&mut state.units);
        }
        state.units.drain(..count).collect()
    }

    /// Takes nothing more, and lets go of what waits.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let units = std::mem::take(&mut state.units);
        drop(state);
        drop(units);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn unit(bytes: usize) -> Unit {
        Unit {
            events: Vec::new(),
            bytes,
            done: oneshot::channel().0,
        }
    }

    fn taken(queue: &Queue, most: usize) -> Vec<usize> {
        queue.take(most, 9).iter().map(|unit| unit.bytes).collect()
    }

    #[test]
    fn the_oldest_are_taken_first_and_no_more_than_wanted() {
        let queue = Queue::default();
        for bytes in 1..=5 {
            assert_eq!(queue.push(unit(bytes)), Ok(()));
        }
        assert_eq!(taken(&queue, 2), [1, 2]);
        assert_eq!(taken(&queue, 9), [3, 4, 5], "with the one that is too much");
        assert_eq!(taken(&queue, 9), [0; 0]);
        for bytes in [20, 1, 8, 1, 1] {
            assert_eq!(queue.push(unit(bytes)), Ok(()));
        }
        assert_eq!(taken(&queue, 9), [20], "never nothing");
        assert_eq!(taken(&queue, 9), [1, 8]);
        assert_eq!(taken(&queue, 9), [1, 1]);
    }

    #[test]
    fn there_is_a_bound_and_an_end() {
        let queue = Queue::default();
        for bytes in 0..QUEUE {
            assert_eq!(queue.push(unit(bytes)), Ok(()));
        }
        assert_eq!(queue.push(unit(0)), Err(Refused::Full));
        queue.take(1, 1);
        assert_eq!(queue.push(unit(0)), Ok(()));
        queue.close();
        assert_eq!(queue.push(unit(0)), Err(Refused::Closed));
        assert_eq!(taken(&queue, 9), [0; 0]);
    }

    #[test]
    fn who_waits_is_woken_by_the_first() {
        let queue = Queue::default();
        let mut cx = Context::from_waker(Waker::noop());
        {
            let mut filled = pin!(queue.filled());
            assert!(filled.as_mut().poll(&mut cx).is_pending());
            queue.push(unit(1)).unwrap();
            queue.push(unit(2)).unwrap();
            assert!(filled.as_mut().poll(&mut cx).is_ready());
        }
        assert_eq!(taken(&queue, 9), [1, 2]);
        // A wait that was given up leaves nothing behind that would wake the next for nothing.
        assert!(pin!(queue.filled()).poll(&mut cx).is_pending());
        queue.push(unit(3)).unwrap();
        assert_eq!(taken(&queue, 9), [3]);
        let mut filled = pin!(queue.filled());
        assert!(filled.as_mut().poll(&mut cx).is_pending());
        queue.push(unit(4)).unwrap();
        assert!(filled.as_mut().poll(&mut cx).is_ready());
    }
}
