//! Appends that wait for those before them to be acknowledged.
//!
//! To keep the order, the library has one request of a partition under way at a time. What it is given meanwhile it
//! holds; and as soon as that has lingered and still may not go, its thread asks for the time again and
//! again until the answer comes, which costs a core. So it is given nothing meanwhile: what comes in
//! while a group is under way is the next group, as in the segment log, and what comes in while a group
//! lingers joins it ([`JOINING`]).
//!
//! Laws: appends are handed over in the order in which they came, one after the other; whoever adds the last
//! or settles the last sees to it that nothing waits while nothing is under way. What waits is bounded with
//! what is under way (see [`MAX_LOG_BYTES`](super::MAX_LOG_BYTES)).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::log::Shared;
use super::produce::{self, LINGER, Unit};
use crate::event::Event;

/// How long after the first of a group others may join it: less than the library lets it linger, since
/// what comes too late to join holds the library's thread up.
const JOINING: Duration = LINGER.saturating_sub(Duration::from_micros(300));

/// An append that is to be handed over.
type Waiting = (Arc<Unit>, Vec<Event>);

/// The appends of one partition that have no outcome.
#[derive(Debug, Default)]
pub(super) struct Line(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Appends that were handed over.
    under_way: usize,
    /// Until when others may join them.
    joining: Option<Instant>,
    /// Whether somebody is handing over.
    busy: bool,
}

impl State {
    /// The appends to be handed over now, by the caller, who asks again when that is done.
    fn group(&mut self, now: Instant) -> Option<Vec<Waiting>> {
        let joins = self.joining.is_some_and(|until| now < until);
        if self.busy || self.waiting.is_empty() || (self.under_way > 0 && !joins) {
            return None;
        }
        if self.under_way == 0 {
            self.joining = Some(now + JOINING);
        }
        self.busy = true;
        self.under_way += self.waiting.len();
        Some(std::mem::take(&mut self.waiting))
    }
}

/// Adds an append at the end.
pub(super) fn add(log: &Arc<Shared>, unit: Arc<Unit>, events: Vec<Event>) {
    let group = {
        let mut state = log.line.0.lock();
        state.waiting.push((unit, events));
        state.group(Instant::now())
    };
    hand_over(log, group);
}

/// An append that was handed over has an outcome.
pub(super) fn settled(log: &Arc<Shared>) {
    let group = {
        let mut state = log.line.0.lock();
        state.under_way -= 1;
        match state.under_way {
            0 => state.group(Instant::now()),
            _ => None,
        }
    };
    hand_over(log, group);
}

/// Hands a group over, and what has come meanwhile and may join it.
fn hand_over(log: &Arc<Shared>, mut group: Option<Vec<Waiting>>) {
    while let Some(appends) = group {
        let accepted = log.now();
        log.cluster.with_producer(|producer| {
            for (unit, events) in appends {
                match &producer {
                    Ok(producer) => produce::send(producer, &unit, &events, accepted),
                    Err(reason) => unit.refuse(Arc::clone(reason)),
                }
            }
        });
        let mut state = log.line.0.lock();
        state.busy = false;
        group = state.group(Instant::now());
    }
}
