//! What a build without Kafka says of the resources that need it.

use std::collections::BTreeSet;

use heddle_broker::control::status_write;
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::sources::kafka_source as types;
use heddle_crds::world::World;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::Tools;

const REASON: &str = "NotBuilt";
const MESSAGE: &str = "This build of Heddle has no Kafka: build it with the feature `kafka`.";

/// Runs nothing, and says so.
#[derive(Debug)]
pub struct Control {
    changes: watch::Sender<u64>,
}

impl Control {
    /// A controller that runs nothing.
    #[must_use]
    pub fn new(_: Tools, _: BTreeSet<String>) -> Self {
        Self {
            changes: watch::Sender::new(0),
        }
    }

    /// Never grows.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What is to be written about one key.
    pub fn reconcile(&self, world: &World, key: &Key, now: Timestamp) -> Vec<Write> {
        if key.kind != "KafkaSource" {
            return Vec::new();
        }
        let Some(source) = world.kafka_sources.get(&key.namespace, &key.name) else {
            return Vec::new();
        };
        let mut status = source.status.clone().unwrap_or_default();
        status.observed_generation = source.metadata.generation;
        let mut manage = types::CONDITIONS.manage(&mut status.conditions, now);
        manage.initialize();
        manage.mark_false(types::DEPLOYED, REASON, MESSAGE);
        let write = status_write(key, &source.metadata, source.status.as_ref(), &status, &[]);
        write.into_iter().collect()
    }
}

/// Nothing depends on anything.
#[must_use]
pub fn dependents(_: &World, _: &Key) -> Vec<Key> {
    Vec::new()
}
