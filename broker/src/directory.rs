//! What the front door knows: which addresses exist, and which log stands behind each.
//!
//! The control plane builds a [`Directory`] from resources and publishes it as a whole; the ingress
//! reads the newest one for each request, without a lock. There is no Kubernetes here.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;

use crate::log::Partitions;

/// What kind of thing an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A Broker: events get an arrival time and are guarded by the TTL extension.
    Broker,
    /// A channel: events pass as they are.
    Channel,
    /// A KafkaSink: events pass as they are, and leave by a topic.
    KafkaSink,
}

impl EntryKind {
    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Channel => "channel",
            Self::KafkaSink => "kafkasink",
        }
    }
}

/// Something that takes events.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// The namespace of the resource.
    pub namespace: Arc<str>,
    /// The name of the resource.
    pub name: Arc<str>,
    /// Where its events are kept.
    pub logs: Partitions,
    /// Counts the events that were kept; found once, so that no request has to look for it.
    pub(crate) kept: OnceLock<Counter>,
}

impl Entry {
    /// An entry for a log, or for the partitions of one.
    #[must_use]
    pub fn new(
        kind: EntryKind,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
        logs: impl Into<Partitions>,
    ) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            logs: logs.into(),
            kept: OnceLock::new(),
        }
    }
}

/// All addresses at one moment.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Brokers by "namespace/name", as in the path of their URL.
    pub brokers: HashMap<String, Arc<Entry>>,
    /// Channels by "namespace/name".
    pub channels: HashMap<String, Arc<Entry>>,
    /// KafkaSinks by "namespace/name".
    pub kafka_sinks: HashMap<String, Arc<Entry>>,
    /// Channels by host name, lower case, without a port.
    pub hosts: HashMap<String, Arc<Entry>>,
}

impl Directory {
    /// The addresses of a kind.
    #[must_use]
    pub fn of(&self, kind: EntryKind) -> &HashMap<String, Arc<Entry>> {
        match kind {
            EntryKind::Broker => &self.brokers,
            EntryKind::Channel => &self.channels,
            EntryKind::KafkaSink => &self.kafka_sinks,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, kind: EntryKind) -> &mut HashMap<String, Arc<Entry>> {
        match kind {
            EntryKind::Broker => &mut self.brokers,
            EntryKind::Channel => &mut self.channels,
            EntryKind::KafkaSink => &mut self.kafka_sinks,
        }
    }
}

/// The newest directory, shared between the control plane and the ingress.
pub type SharedDirectory = Arc<ArcSwap<Directory>>;
