//! The stores that the logs of Brokers and channels are kept in.
//!
//! `memory` and `segment` are there from the start. Stores on servers come to be when a Broker names
//! them, one for each set of servers, and then stay. [`Stores::changes`] tells when one of them has
//! found something out.

#[cfg(any(feature = "jetstream", feature = "kafka"))]
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StoreKind;
use super::served::Served;
use crate::clock::Clock;
use crate::log::LogStore;

/// What stores on servers need.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Tells this installation from others on the same servers; letters, digits and `-`.
    pub installation: String,
    /// Gives events their times.
    pub clock: Arc<dyn Clock>,
    /// What all tasks run on.
    pub tracker: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
}

/// All stores.
#[derive(Debug)]
pub struct Stores {
    segment: Arc<dyn LogStore>,
    memory: Arc<dyn LogStore>,
    surroundings: Surroundings,
    #[cfg(feature = "jetstream")]
    jetstream: BTreeMap<String, crate::log::jetstream::JetStreamStore>,
    #[cfg(feature = "kafka")]
    kafka: BTreeMap<crate::log::kafka::Access, crate::log::kafka::KafkaStore>,
    changes: Arc<watch::Sender<u64>>,
}

impl Stores {
    /// The stores of this process, to which those on servers come later.
    #[must_use]
    pub fn new(
        segment: Arc<dyn LogStore>,
        memory: Arc<dyn LogStore>,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            segment,
            memory,
            surroundings,
            #[cfg(feature = "jetstream")]
            jetstream: BTreeMap::new(),
            #[cfg(feature = "kafka")]
            kafka: BTreeMap::new(),
            changes: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Grows when a store on a server has opened a log, or could not, or knows its names.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Logs as they are used, none yet. What they find out makes [`Stores::changes`] grow.
    pub(super) fn served(&self) -> Served {
        let Surroundings { tracker, stop, .. } = &self.surroundings;
        Served::new(tracker.clone(), stop.clone(), Arc::clone(&self.changes))
    }

    /// The store of a kind.
    pub(super) fn of(&mut self, kind: &StoreKind) -> Arc<dyn LogStore> {
        match kind {
            StoreKind::Segment => Arc::clone(&self.segment),
            StoreKind::Memory => Arc::clone(&self.memory),
            #[cfg(feature = "jetstream")]
            StoreKind::JetStream(place) => {
                let store = self
                    .jetstream
                    .entry(place.access.shown())
                    .or_insert_with(|| {
                        let changes = Arc::clone(&self.changes);
                        start(&place.access, &self.surroundings, changes)
                    });
                store.set_access(&place.access);
                Arc::new(store.with(place.template.clone()))
            }
            #[cfg(feature = "kafka")]
            StoreKind::Kafka(place) => {
                let (surroundings, changes) = (&self.surroundings, &self.changes);
                let start = || start_kafka(place, surroundings, Arc::clone(changes));
                let store = self.kafka.entry(place.access.clone()).or_insert_with(start);
                Arc::new(store.with(place.template.clone()))
            }
        }
    }

    /// All stores there are.
    pub(super) fn all(&self) -> Vec<Arc<dyn LogStore>> {
        #[allow(unused_mut)] // Nothing comes to them in a build without stores on servers.
        let mut all = vec![Arc::clone(&self.segment), Arc::clone(&self.memory)];
        #[cfg(feature = "jetstream")]
        for store in self.jetstream.values() {
            all.push(Arc::new(store.clone()));
        }
        #[cfg(feature = "kafka")]
        for store in self.kafka.values() {
            all.push(Arc::new(store.clone()));
        }
        all
    }
}

#[cfg(feature = "jetstream")]
fn start(
    access: &crate::log::jetstream::Access,
    surroundings: &Surroundings,
    changes: Arc<watch::Sender<u64>>,
) -> crate::log::jetstream::JetStreamStore {
    use crate::log::jetstream::{JetStreamStore, Options};
    tracing::info!(servers = access.shown(), "connecting to NATS");
    let options = Options {
        prefix: format!("heddle-{}", surroundings.installation),
        clock: Arc::clone(&surroundings.clock),
        ..Options::new(access.clone())
    };
    let stop = surroundings.stop.clone();
    JetStreamStore::start(options, changes, &surroundings.tracker, stop)
}

#[cfg(feature = "kafka")]
fn start_kafka(
    place: &super::kafka::Place,
    surroundings: &Surroundings,
    changes: Arc<watch::Sender<u64>>,
) -> crate::log::kafka::KafkaStore {
    use crate::log::kafka::{KafkaStore, Options};
    tracing::info!(access = ?place.access, "connecting to Kafka");
    let options = Options {
        clock: Arc::clone(&surroundings.clock),
        ..Options::new(place.access.clone())
    };
    let (tracker, stop) = (&surroundings.tracker, surroundings.stop.clone());
    KafkaStore::start(options, place.template.clone(), changes, tracker, stop)
}
