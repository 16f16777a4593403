//! Notices which types of events come in, so that EventTypes can be made for them.
//!
//! A task for each log follows it beside its consumers and passes on each type and source once. It
//! reads what is durable already, so that only accepted events count, whether they were posted or
//! replied, and nothing is added to the way of an event. While the feature is off there is no task.
//!
//! # Laws
//!
//! 1. Ingress never waits for any of this: what there is no room for is dropped and counted, and
//!    seen again with the next event of its kind.
//! 2. Everything is bounded: what was seen of one log ([`SEEN`]), what waits ([`QUEUE`]), how far
//!    a task may lag ([`LAG`]), and how fast EventTypes are made ([`PACE`]).
//! 3. What is passed on may have been passed on before: who makes EventTypes looks first.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::world::World;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::event_type::{Addressable, Made, Sighting, addressables, make};
use super::{OpenLogs, keeps_events};
use crate::event::Event;
use crate::log::partitions::{name_of, whole_of};
use crate::log::{Log, Offset, ReadError, ReadLimit};

/// The most types and sources that are remembered of one log; with one more all are forgotten.
pub const SEEN: usize = 8_192;
/// The most sightings that wait.
pub const QUEUE: usize = 1_024;
/// How many events a task may lag before it goes on with the newest.
pub const LAG: Offset = 100_000;
/// The least time between two EventTypes that are made.
pub const PACE: Duration = Duration::from_millis(20);
/// The least time between two looks at a log.
const PAUSE: Duration = Duration::from_millis(20);
/// How long to wait after a log could not be read.
const TROUBLE: Duration = Duration::from_secs(1);
/// The most bytes of a type, a source or a schema's address that an EventType is made for.
const MAX_TEXT: usize = 4_096;
const BATCH: ReadLimit = ReadLimit {
    records: 256,
    bytes: 1 << 20,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// | metric | labels | meaning |
/// |---|---|---|
/// | `heddle_event_types_made_total` | | EventTypes made for events that came in |
/// | `heddle_event_types_dropped_total` | `reason` | sightings for which none was made: `busy`, `lagging` (events not looked at), `too_long`, `too_many` |
#[derive(Clone, Debug, Default)]
struct Metrics {
    made: Counter,
    dropped: Family<Reason, Counter>,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("heddle_event_types");
        let made = metrics.made.clone();
        registry.register("made", "EventTypes made for events that came in", made);
        let dropped = metrics.dropped.clone();
        registry.register("dropped", "Sightings without an EventType", dropped);
        metrics
    }

    fn drop(&self, reason: &'static str, count: u64) {
        self.dropped.get_or_create(&Reason { reason }).inc_by(count);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Sightings {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// By the names of partitions.
    followed: HashMap<String, Followed>,
    /// Whether what is followed may not be what should be.
    stale: bool,
    sender: mpsc::Sender<Sighting>,
    waiting: mpsc::Receiver<Sighting>,
    /// Counts how often what was seen had to be forgotten.
    forgotten: watch::Sender<u64>,
    /// When the next EventType may be made.
    not_before: Instant,
    /// The owners with too many EventTypes, which are reported once.
    full: HashSet<Addressable>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Followed {
    log: Arc<dyn Log>,
    stop: CancellationToken,
}

impl Sightings {
    /// Follows nothing yet. Tasks run on `tracker` and end when `stop` is cancelled.
    #[must_use]
    pub fn new(tracker: TaskTracker, stop: CancellationToken, registry: &mut Registry) -> Self {
        let (sender, waiting) = mpsc::channel(QUEUE);
        Self {
            tracker,
            stop,
            followed: HashMap::new(),
            stale: true,
            sender,
            waiting,
            forgotten: watch::Sender::new(0),
            not_before: Instant::now(),
            full: HashSet::new(),
            metrics: Metrics::register(registry),
        }
    }

    /// Takes notice of an object that has changed.
    pub fn heed(&mut self, world: &World, key: &Key) {
        match key.kind {
            "ConfigMap" => self.stale = true,
            kind if keeps_events(kind) => self.stale = true,
            "EventType" if world.event_types.get(&key.namespace, &key.name).is_none() => {
                // The next event of its kind makes it anew, as long as the feature is on.
                self.forgotten.send_modify(|times| *times += 1);
                self.full.clear();
            }
            _ => {}
        }
    }

    /// Follows the logs that should be followed and no others. To be called when no key waits.
    pub fn settle(&mut self, world: &World, open: &OpenLogs) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let wanted: HashMap<String, Addressable> = addressables(world).into_iter().collect();
        self.followed.retain(|name, followed| {
            let whole = whole_of(name);
            let logs = open.get(whole).filter(|_| wanted.contains_key(whole));
            let mine = |log: &Arc<dyn Log>| Arc::ptr_eq(log, &followed.log);
            let stays = logs.is_some_and(|logs| logs.all().iter().any(mine));
            if !stays {
                followed.stop.cancel();
            }
            stays
        });
        for (name, addressable) in wanted {
            let Some(logs) = open.get(&name) else {
                continue;
            };
            for (partition, log) in logs.all().iter().enumerate() {
                let name = name_of(&name, partition);
                if !self.followed.contains_key(&name) {
                    let followed = self.follow(Arc::clone(log), addressable.clone());
                    self.followed.insert(name, followed);
                }
            }
        }
    }

    fn follow(&self, log: Arc<dyn Log>, addressable: Addressable) -> Followed {
        let stop = self.stop.child_token();
        let mut follower = Follower {
            addressable,
            sender: self.sender.clone(),
            forgotten: self.forgotten.subscribe(),
            seen: HashSet::new(),
            hasher: RandomState::new(),
            metrics: self.metrics.clone(),
        };
        let (followed, ends) = (Arc::clone(&log), stop.clone());
        let tail = log.tail();
        let at = *tail.borrow();
        self.tracker.spawn(async move {
            ends.run_until_cancelled(follower.run(&*followed, tail, at))
                .await;
        });
        Followed { log, stop }
    }

    /// The next sighting, when there is one and an EventType may be made. Cancelling this loses
    /// nothing.
    pub async fn next(&mut self) -> Sighting {
        tokio::time::sleep_until(self.not_before).await;
        match self.waiting.recv().await {
            Some(sighting) => sighting,
            // There is always a sender: this object's own.
            None => std::future::pending().await,
        }
    }

    /// The EventType to be made for a sighting, if any.
    pub fn make(&mut self, world: &World, sighting: &Sighting) -> Option<Write> {
        match make(world, sighting) {
            Made::Missing(write) => {
                self.not_before = Instant::now() + PACE;
                self.metrics.made.inc();
                Some(*write)
            }
            Made::TooMany => {
                self.metrics.drop("too_many", 1);
                let owner = &sighting.addressable;
                if self.full.len() < QUEUE && self.full.insert(owner.clone()) {
                    tracing::warn!(
                        kind = owner.kind,
                        namespace = owner.namespace,
                        name = owner.name,
                        "no more EventTypes are made for what it takes: it has as many as one may have"
                    );
                }
                None
            }
            Made::Nothing => None,
        }
    }
}

/// Follows one log.
struct Follower {
    addressable: Addressable,
    sender: mpsc::Sender<Sighting>,
    forgotten: watch::Receiver<u64>,
    /// Hashes of types and sources.
    seen: HashSet<u64>,
    hasher: RandomState,
    metrics: Metrics,
}

impl Follower {
    /// Looks at everything from `at` on, as it comes in, until the log is closed.
    async fn run(&mut self, log: &dyn Log, mut tail: watch::Receiver<Offset>, mut at: Offset) {
        while tail.wait_for(|end| *end > at).await.is_ok() {
            let end = *tail.borrow_and_update();
            if end.saturating_sub(at) > LAG {
                self.metrics.drop("lagging", end - at);
                at = end;
            }
            while at < end {
                match self.look(log, at).await {
                    Ok(next) => at = next,
                    Err(ReadError::Closed) => return,
                    Err(error) => {
                        tracing::debug!(%error, "a log cannot be read for the types of its events");
                        tokio::time::sleep(TROUBLE).await;
                        break;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn look(&mut self, log: &dyn Log, at: Offset) -> Result<Offset, ReadError> {
        let batch = log.read(at, BATCH).await?;
        if self.forgotten.has_changed().unwrap_or(false) {
            self.forgotten.mark_unchanged();
            self.seen.clear();
        }
        for record in &batch.records {
            self.note(&record.event);
        }
        Ok(batch.next)
    }

    fn note(&mut self, event: &Event) {
        let hash = self.hasher.hash_one((event.ty(), event.source()));
        if self.seen.contains(&hash) {
            return;
        }
        let schema = event
            .attribute("dataschema")
            .or_else(|| event.attribute("schemaurl"));
        let schema = schema.map(|attribute| attribute.text);
        let texts = [event.ty(), event.source(), schema.unwrap_or_default()];
        if texts.iter().any(|text| text.len() > MAX_TEXT) {
            self.metrics.drop("too_long", 1);
        } else {
            let sighting = Sighting {
                addressable: self.addressable.clone(),
                type_: event.ty().to_owned(),
                source: event.source().to_owned(),
                spec_version: event.spec_version().as_str(),
                schema: schema.map(str::to_owned),
            };
            if self.sender.try_send(sighting).is_err() {
                // Not remembered, so that the next event of its kind is another chance.
                return self.metrics.drop("busy", 1);
            }
        }
        if self.seen.len() >= SEEN {
            self.seen.clear();
        }
        self.seen.insert(hash);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
