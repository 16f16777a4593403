//! From resources to sources.
//!
//! As in `heddle_broker::control`, a pure `plan` turns the [`World`] into [`Step`]s for one key, and
//! [`Control`] carries them out.
//!
//! * [`kafka_source`]: KafkaSource -> members of a consumer group, and deliveries to its sink.
//! * [`kafka_access`]: Secrets -> how Kafka's servers are spoken to.

pub mod kafka_access;
pub mod kafka_source;

use std::collections::BTreeSet;

use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use heddle_crds::world::World;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::Tools;
use crate::kafka::{KafkaSources, Report, SourceConfig};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Start or change a source.
    Run(Box<SourceConfig>),
    /// Stop a source, because it is gone or cannot be.
    Stop,
    /// Write a status.
    Write(Write),
}

/// Turns KafkaSources into sources.
#[derive(Debug)]
pub struct Control {
    sources: KafkaSources,
    handlers: BTreeSet<String>,
}

impl Control {
    /// A controller without sources. `handlers` are the names that `local://` addresses may have.
    #[must_use]
    pub fn new(tools: Tools, handlers: BTreeSet<String>) -> Self {
        Self {
            sources: KafkaSources::new(tools),
            handlers,
        }
    }

    /// Grows when sources are to be looked at again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.sources.changes()
    }

    /// Does what is to be done about one key, and returns what is to be written.
    pub fn reconcile(&self, world: &World, key: &Key, now: Timestamp) -> Vec<Write> {
        if key.kind != "KafkaSource" {
            return Vec::new();
        }
        let (namespace, name) = (&key.namespace, &key.name);
        let report: Option<Report> = self.sources.report(namespace, name);
        let steps = kafka_source::plan(world, &self.handlers, report.as_ref(), key, now);
        let mut writes = Vec::new();
        for step in steps {
            match step {
                Step::Run(config) => self.sources.apply(namespace, name, *config),
                Step::Stop => self.sources.remove(namespace, name),
                Step::Write(write) => writes.push(write),
            }
        }
        writes
    }
}

/// The keys that have to be looked at again when the object `key` has changed.
#[must_use]
pub fn dependents(world: &World, key: &Key) -> Vec<Key> {
    let sources = world.kafka_sources.iter();
    let waiting = sources.filter(|source| kafka_source::depends_on(source, key));
    waiting
        .map(|source| Key::of("KafkaSource", &**source))
        .collect()
}
