//! The one task that sends a log's appends, in order, and counts their acknowledgements.
//!
//! Appends wait in a bounded queue. What waits is sent as one group, and while that is under way the next
//! one gathers. So an append that is alone goes at once, and a busy log has the server, the network and
//! whoever waits for the outcome woken once for many events. (Measured with 64 producers on two CPUs: with
//! two or three smaller groups under way, all of them take more CPU and less gets through.)
//!
//! Acknowledgements are passed on as they come, in the order of the appends. An append is never sent again: one
//! whose fate is not known fails, and the producer decides. So appends that succeed have growing offsets,
//! and an outage costs no memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;
use super::ack::Kept;
use super::encode::Writer;
use super::log::{Shared, UNREACHABLE};
use super::queue::{Queue, Unit};
use super::unavailable;
use super::wire::{Answer, Lane, Wire};
use crate::log::{AppendError, Offset};

/// Appends of one group at the most.
const GROUP: usize = 512;
/// Bytes of the events of one group; the last of them may be beyond.
const GROUP_BYTES: usize = 1 << 20;
/// Bytes of events that wait, sent or not; more are refused.
pub const MAX_PENDING_BYTES: usize = 32 << 20;
/// Events of one append: what the server takes as one atomic batch.
pub const MAX_BATCH: usize = 1_000;

// Every message that is under way may be answered by itself.
const _: () = assert!(GROUP <= Lane::ROOM);

pub(super) type Outcome = Result<Range<Offset>, AppendError>;

/// The connection that there is, if any.
pub(super) type Wires = watch::Receiver<Option<Arc<Wire>>>;

/// An append that was sent.
#[derive(Debug)]
struct Sent {
    events: u64,
    bytes: usize,
    at: Instant,
    done: oneshot::Sender<Outcome>,
    fate: Option<Result<Kept, AppendError>>,
}

/// Sends a log's appends.
#[derive(Debug)]
pub(super) struct Publisher {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    wires: Wires,
    bound: Option<Bound>,
    /// What is under way, oldest first. Their tokens are consecutive.
    under_way: VecDeque<Sent>,
    /// The token of the first of them, or of the next to be sent.
    first: u64,
    /// The last group, until it is handed to the connection.
    parcel: Option<Vec<u8>>,
    /// Room for the headers of a message.
    headers: Vec<u8>,
}

/// A place on a connection.
#[derive(Debug)]
struct Bound {
    lane: Lane,
    /// Another connection has come: nothing more is to be sent here.
    leaving: bool,
}

/// What the task is to do next.
#[derive(Debug)]
enum Next {
    /// Answers came, or none will come any more.
    Heard(Option<Vec<Answer>>),
    /// Appends are there to be sent.
    Gathered,
    /// A group was handed over.
    Handed,
    /// The oldest answer is overdue.
    Late,
    /// There is another connection.
    Wired,
    Stop,
}

impl Publisher {
    /// The publisher of a log, on the connection that there is.
    pub(super) fn new(shared: Arc<Shared>, queue: Arc<Queue>, wires: Wires) -> Self {
        let mut publisher = Self {
            shared,
            queue,
            wires,
            bound: None,
            under_way: VecDeque::new(),
            first: 0,
            parcel: None,
            headers: Vec::new(),
        };
        publisher.bind();
        publisher
    }

    /// Sends what waits in the queue until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut stopped = false;
        while !(stopped && self.under_way.is_empty()) {
            match self.next(&stop, stopped).await {
                Next::Heard(Some(answers)) => self.hear(answers),
                Next::Heard(None) => self.lose(),
                Next::Handed => {}
                Next::Gathered => {
                    let units = self.queue.take(GROUP, GROUP_BYTES);
                    self.send(units);
                }
                Next::Late => self.give_up(),
                Next::Wired => self.rewire(),
                // What was sent is still answered; what was not is refused as its sender is dropped.
                Next::Stop => {
                    stopped = true;
                    self.queue.close();
                }
            }
            let leaving = self.bound.as_ref().is_some_and(|bound| bound.leaving);
            if leaving && self.under_way.is_empty() && self.parcel.is_none() {
                self.bind();
            }
        }
    }

    /// Waits for the next thing to do.
    async fn next(&mut self, stop: &CancellationToken, stopped: bool) -> Next {
        let late = self.under_way.front().map(|sent| sent.at + PATIENCE);
        let (free, waiting) = (self.is_free() && !stopped, self.parcel.is_some());
        let (mut outlet, mut answers) = (None, None);
        if let Some(bound) = &mut self.bound {
            let (out, heard) = bound.lane.halves();
            (outlet, answers) = (Some(out), Some(heard));
        }
        let bound = outlet.is_some();
        let (queue, parcel, wires) = (&self.queue, &mut self.parcel, &mut self.wires);
        tokio::select! {
            biased;
            heard = heard(answers), if bound => Next::Heard(heard),
            () = hand(outlet, parcel), if bound && waiting => Next::Handed,
            () = until(late), if late.is_some() => Next::Late,
            () = changed(wires) => Next::Wired,
            () = stop.cancelled(), if !stopped => Next::Stop,
            () = queue.filled(), if free => Next::Gathered,
        }
    }

    /// Whether what waits may be sent.
    fn is_free(&self) -> bool {
        match &self.bound {
            Some(bound) => !bound.leaving && self.under_way.is_empty() && self.parcel.is_none(),
            // What waits is refused.
            None => true,
        }
    }

    /// Takes a place on the connection that there is.
    fn bind(&mut self) {
        let wire = self.wires.borrow_and_update().clone();
        let lane = wire.and_then(|wire| wire.lane(&self.shared.place().stream));
        self.shared.set_reachable(lane.is_some());
        self.bound = lane.map(|lane| Bound {
            lane,
            leaving: false,
        });
    }

    /// Goes over to another connection: at once where there was none, else when what is under way on
    /// this one is answered, so that appends stay in order.
    fn rewire(&mut self) {
        match &mut self.bound {
            None => self.bind(),
            Some(bound) => {
                let wires = self.wires.borrow_and_update();
                bound.leaving |= wires.as_ref().is_some_and(|wire| !bound.lane.is_of(wire));
            }
        }
    }

    /// The connection is lost, and with it what became of all that is under way.
    fn lose(&mut self) {
        self.parcel = None;
        for sent in &mut self.under_way {
            let lost = || Err(unavailable("the connection to the NATS server was lost"));
            sent.fate.get_or_insert_with(lost);
        }
        self.bind();
        self.settle();
    }

    /// What should have been answered by now counts as failed.
    fn give_up(&mut self) {
        let now = Instant::now();
        for sent in &mut self.under_way {
            if sent.at + PATIENCE > now {
                break;
            }
            let late = || Err(unavailable("the NATS server did not answer in time"));
            sent.fate.get_or_insert_with(late);
        }
        self.settle();
    }

    /// Takes answers.
    fn hear(&mut self, answers: Vec<Answer>) {
        let max_payload = self.max_payload();
        for Answer { token, said } in answers {
            // An answer that comes too late is for none of these.
            let place = token.checked_sub(self.first);
            let place = place.and_then(|place| usize::try_from(place).ok());
            if let Some(sent) = place.and_then(|place| self.under_way.get_mut(place))
                && sent.fate.is_none()
            {
                sent.fate = Some(said.fate(sent.events, sent.bytes, max_payload));
            }
        }
        self.settle();
    }

    /// Tells the outcome of the oldest appends, up to the first of which it is not known.
    fn settle(&mut self) {
        let known = self.under_way.iter().take_while(|sent| sent.fate.is_some());
        let (mut count, mut given) = (0, 0);
        let (mut end, mut events, mut bytes) = (0, 0, 0);
        for sent in known {
            count += 1;
            given += sent.bytes;
            if let Some(Ok(kept)) = &sent.fate {
                end = end.max(kept.offsets.end);
                if !kept.duplicate {
                    events += sent.events;
                    bytes += sent.bytes as u64;
                }
            }
        }
        if count == 0 {
            return;
        }
        // Readers may see them before anybody is told.
        self.shared.committed(end, events, bytes);
        self.shared.give_back(given);
        self.first += count as u64;
        for sent in self.under_way.drain(..count) {
            if let Some(fate) = sent.fate {
                // A caller that has gone away does not want to know.
                let _gone = sent.done.send(fate.map(|kept| kept.offsets));
            }
        }
    }

    /// Sends appends as one group, or refuses them where there is no connection.
    fn send(&mut self, units: Vec<Unit>) {
        let (at, accepted) = (Instant::now(), self.shared.now());
        let accepted = accepted.as_nanosecond().to_string();
        let max_payload = self.max_payload();
        let inbox = self.bound.as_ref().map(|bound| bound.lane.inbox());
        let mut parcel = Vec::new();
        for unit in units {
            let token = self.first + self.under_way.len() as u64;
            let written = match &inbox {
                Some(inbox) => Writer {
                    subject: &self.shared.place().subject,
                    inbox,
                    accepted: &accepted,
                    max_payload,
                    headers: &mut self.headers,
                    out: &mut parcel,
                }
                .append(&unit.events, unit.bytes, token),
                None => Err(unavailable(UNREACHABLE)),
            };
            self.under_way.push_back(Sent {
                events: unit.events.len() as u64,
                bytes: unit.bytes,
                at,
                done: unit.done,
                fate: written.err().map(Err),
            });
        }
        self.parcel = Some(parcel).filter(|parcel| !parcel.is_empty());
        self.settle();
    }

    fn max_payload(&self) -> usize {
        let bound = self.bound.as_ref();
        bound.map_or(0, |bound| bound.lane.max_payload())
    }
}

async fn heard(answers: Option<&mut mpsc::Receiver<Vec<Answer>>>) -> Option<Vec<Answer>> {
    answers?.recv().await
}

/// Hands over a group when there is room. A connection that is lost says so by its silence.
async fn hand(outlet: Option<&mpsc::Sender<Vec<u8>>>, parcel: &mut Option<Vec<u8>>) {
    let Some(outlet) = outlet else { return };
    let room = outlet.reserve().await.ok();
    if let (Some(room), Some(parcel)) = (room, parcel.take()) {
        room.send(parcel);
    }
}

async fn until(late: Option<Instant>) {
    if let Some(late) = late {
        tokio::time::sleep_until(late).await;
    }
}

async fn changed(wires: &mut Wires) {
    if wires.changed().await.is_err() {
        // Nobody makes connections any more.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
