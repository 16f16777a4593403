//! The stores that the logs of Brokers and channels are kept in.
//!
//! `memory` and `segment` are there from the start. Stores on servers come to be when a Broker names
//! them, one for each set of servers. Those of Kafka go, with their connections, when nothing is kept there any
//! more ([`Stores::tidy`]). [`Stores::changes`] tells when one of them has found something out.

#[cfg(any(feature = "jetstream", feature = "kafka"))]
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StoreKind;
use super::served::Served;
use crate::clock::Clock;
use crate::log::{LogStore, OpenError};

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
            StoreKind::Kafka(place) => Arc::new(self.kafka(place)),
        }
    }

    /// Removes a log, open or not. Whether what keeps it is gone, too; if not, it is worth asking again when
    /// [`Stores::changes`] grows.
    pub(super) fn remove_whole(&mut self, kind: &StoreKind, log: &str) -> Result<bool, OpenError> {
        match kind {
            #[cfg(feature = "kafka")]
            StoreKind::Kafka(place) => Ok(self.kafka(place).remove_whole(log)),
            other => self.of(other).remove(log).map(|()| true),
        }
    }

    #[cfg(feature = "kafka")]
    fn kafka(&mut self, place: &super::kafka::Place) -> crate::log::kafka::KafkaStore {
        let (surroundings, changes) = (&self.surroundings, &self.changes);
        let start = || start_kafka(place, surroundings, Arc::clone(changes));
        let store = self.kafka.entry(place.access.clone()).or_insert_with(start);
        store.with(place.template.clone())
    }

    /// Lets go of a log where it is not kept any more: in all stores of Kafka but these. Its topic stays.
    #[cfg_attr(not(feature = "kafka"), allow(unused_variables, clippy::unused_self))]
    pub(super) fn leave(&self, log: &str, but: &[&StoreKind]) {
        #[cfg(feature = "kafka")]
        for (access, store) in &self.kafka {
            let stays = |kind: &&StoreKind| matches!(kind, StoreKind::Kafka(place) if place.access == *access);
            if !but.iter().any(stays) {
                store.close(log);
            }
        }
    }

    /// Ends the stores of Kafka that have nothing to do.
    #[cfg_attr(
        not(feature = "kafka"),
        allow(clippy::unused_self, clippy::needless_pass_by_ref_mut)
    )]
    pub(super) fn tidy(&mut self) {
        #[cfg(feature = "kafka")]
        self.kafka.retain(|access, store| {
            let idle = store.is_idle();
            if idle {
                tracing::info!(?access, "nothing is kept in these Kafka servers any more");
                store.end();
            }
            !idle
        });
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
    let Surroundings { tracker, stop, .. } = surroundings;
    KafkaStore::start(options, place.template.clone(), changes, tracker, stop)
}

#[cfg(all(test, feature = "kafka"))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::control::kafka::Place;
    use crate::log::Retention;
    use crate::log::kafka::{Access, Owner, Template};
    use crate::log::memory::{MemoryOptions, MemoryStore};

    /// Servers that nobody runs, with a topic that is not ours to delete.
    fn place(servers: &str) -> StoreKind {
        let mut template = Template::new("t");
        template.owner = Owner::Others;
        let access = Access::plain(servers);
        StoreKind::Kafka(Place { access, template }.into())
    }

    #[tokio::test]
    async fn a_cluster_is_left_when_nothing_is_kept_there_any_more() {
        let tracker = TaskTracker::new();
        let surroundings = Surroundings {
            installation: "i".to_owned(),
            clock: Arc::new(SystemClock),
            tracker: tracker.clone(),
            stop: CancellationToken::new(),
        };
        let memory = MemoryStore::new(MemoryOptions::default());
        let mut stores = Stores::new(memory.clone(), memory, surroundings);
        let [first, second] = ["127.0.0.1:1", "127.0.0.1:2"].map(place);
        let open = |stores: &mut Stores, kind| {
            let opened = stores.of(kind).open_all("log", Retention::default());
            opened.unwrap_err();
        };
        open(&mut stores, &first);
        stores.tidy();
        assert_eq!(stores.kafka.len(), 1);
        open(&mut stores, &second);
        // Until the second is open, the first serves.
        stores.leave("log", &[&first, &second]);
        stores.tidy();
        assert_eq!(stores.kafka.len(), 2);
        stores.leave("log", &[&second]);
        stores.tidy();
        let servers = stores.kafka.keys().map(|access| access.servers.as_str());
        assert_eq!(servers.collect::<Vec<_>>(), ["127.0.0.1:2"]);
        stores.of(&second).remove("log").unwrap();
        stores.tidy();
        assert!(stores.kafka.is_empty());
        // Nothing of them goes on.
        tracker.close();
        let ended = tokio::time::timeout(Duration::from_secs(60), tracker.wait());
        ended.await.expect("the tasks of both end");
    }
}
