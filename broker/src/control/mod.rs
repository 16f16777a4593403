//! From Brokers and channels to logs and addresses.
//!
//! For each key, a pure `plan` compares what the [`World`] says with what is there and returns
//! [`Step`]s; [`Control`] carries them out. Plans know nothing of the data path but names.
//!
//! * [`broker`]: Broker -> a log, an address, conditions.
//! * [`channel`]: Channel -> the channel behind it; its address is that channel's.
//! * [`backing`]: channels that keep events -> a log, an address, conditions.
//! * [`nats_jet_stream_channel`]: what is peculiar to NatsJetStreamChannels.
//! * [`event_type`]: EventType -> whether its referent exists; and EventTypes for events that came in.
//! * [`jetstream`]: which NATS servers keep events, and in what kind of stream.
//! * [`kafka`]: which Kafka cluster keeps the events of Brokers of the class `Kafka`.
//! * [`kafka_channel`]: what is peculiar to KafkaChannels.
//! * [`kafka_sink`]: KafkaSink -> a topic that is written to, an address, conditions.
//! * [`moving`]: a Broker's events from one store to another.
//! * [`stores`]: what keeps logs.
//! * [`served`]: logs as they are used, put together of the parts that moves leave.
//! * [`apply`]: the executor.
//! * [`sightings`]: notices which types of events come in.
//! * [`admission`]: refuses Triggers whose filters cannot be built.

pub mod admission;
pub mod apply;
pub mod backing;
pub mod broker;
pub mod channel;
pub mod event_type;
#[cfg(feature = "jetstream")]
pub mod jetstream;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kafka")]
mod kafka_channel;
pub mod kafka_sink;
pub mod moving;
#[cfg(feature = "jetstream")]
pub mod nats_jet_stream_channel;
pub mod report;
mod served;
pub mod sightings;
pub mod stores;

use std::collections::{BTreeMap, BTreeSet};
#[cfg(any(feature = "jetstream", feature = "kafka"))]
use std::sync::Arc;

use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::{Write, status_patch};
use heddle_crds::world::World;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use apply::{Control, OpenLogs};
pub use stores::{Stores, Surroundings};

use crate::directory::EntryKind;
use crate::log::{LogStats, Offset, Retention};

/// Which store keeps a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// The durable log in the data directory.
    Segment,
    /// Memory, until the process ends.
    Memory,
    /// NATS JetStream.
    #[cfg(feature = "jetstream")]
    JetStream(Arc<jetstream::Place>),
    /// Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Arc<kafka::Place>),
}

/// What plans know besides objects.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The URL under which the ingress can be reached, without a slash at the end.
    pub ingress_url: String,
    /// The logs that were opened, or why they could not be.
    pub logs: BTreeMap<String, Result<LogStats, String>>,
    /// The logs that are open and go with what keeps them.
    pub owned: BTreeSet<String>,
    /// What is wrong with the stores of logs that are open; they refuse events, or may soon.
    pub troubles: BTreeMap<String, String>,
    /// Where logs can go on elsewhere, which were closed for that.
    pub switches: BTreeMap<String, Switch>,
    /// The logs that were to be removed before their objects may go, and are.
    pub removed: BTreeSet<String>,
    /// How far nobody needs anything any more in the log of the object that is looked at, for each
    /// partition, where that log has several parts and all of them are open.
    pub released: BTreeMap<String, Vec<Offset>>,
}

/// Where a log ends, and where its events begin in the one that follows; for each partition of either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switch {
    /// The name of the log that follows.
    pub target: String,
    /// The ends among all events.
    pub ends: Vec<Offset>,
    /// What the log that follows holds already; none of it is the Broker's.
    pub begins: Vec<Offset>,
}

/// One of the logs that a log is made of. Offsets that are left out are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRef {
    /// Its name.
    pub log: String,
    /// The offset of its first event among all events, for each partition.
    pub from: Vec<Offset>,
    /// The offset of that event in the log itself, for each partition.
    pub begin: Vec<Offset>,
}

impl PartRef {
    /// The one log that most are made of.
    #[must_use]
    pub fn whole(log: &str) -> Self {
        Self {
            log: log.to_owned(),
            from: Vec::new(),
            begin: Vec::new(),
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Open a log, and set its retention.
    OpenLog {
        /// Which store keeps it.
        store: StoreKind,
        /// Its name.
        name: String,
        /// How long it keeps events.
        retention: Retention,
    },
    /// Remove the logs of an object that is gone, or of another object that had its name.
    RemoveLogs {
        /// What the names begin with.
        prefix: String,
        /// Those that stay.
        keep: Vec<String>,
    },
    /// Remove a log, open or not, and find out when what keeps it is gone.
    RemoveWhole {
        /// Which store keeps it.
        store: StoreKind,
        /// Its name.
        name: String,
    },
    /// Take events at an address.
    Serve {
        /// What takes them.
        kind: EntryKind,
        /// The namespace of the object.
        namespace: String,
        /// The name of the object.
        name: String,
        /// The log that keeps the events.
        log: String,
        /// The logs that it is made of. The last one takes events.
        parts: Vec<PartRef>,
    },
    /// Take no events until the log goes on elsewhere, and find out where it ends; or take them again.
    Close {
        /// The log.
        log: String,
        /// The log that it is to go on in; none where it is to stay.
        target: Option<String>,
    },
    /// Take no events there any more.
    Withdraw {
        /// What took them.
        kind: EntryKind,
        /// The namespace of the object.
        namespace: String,
        /// The name of the object.
        name: String,
    },
    /// Write an object or a status.
    Write(Write),
}

/// Where an object takes events: what the plans for Brokers and channels do about logs and addresses.
struct Place<'a> {
    kind: EntryKind,
    /// What the names of its logs begin with.
    logs: String,
    key: &'a Key,
}

impl<'a> Place<'a> {
    /// The names of its logs begin with `of`.
    fn new(kind: EntryKind, of: &str, key: &'a Key) -> Self {
        Self {
            kind,
            logs: log_prefix(of, &key.namespace, &key.name),
            key,
        }
    }

    /// Takes no events any more.
    fn withdraw(&self) -> Step {
        Step::Withdraw {
            kind: self.kind,
            namespace: self.key.namespace.clone(),
            name: self.key.name.clone(),
        }
    }

    /// Keeps no events any more, and takes none, where the address is nobody else's.
    fn remove(self, withdraw: bool) -> Vec<Step> {
        let mut steps = Vec::from_iter(withdraw.then(|| self.withdraw()));
        steps.push(Step::RemoveLogs {
            prefix: self.logs,
            keep: Vec::new(),
        });
        steps
    }

    /// Keeps events in this log and no other, and takes them as soon as it was tried to open it: where
    /// that failed, producers are told to come again.
    fn serve(self, facts: &Facts, store: StoreKind, log: &str, retention: Retention) -> Vec<Step> {
        let mut steps = vec![
            Step::RemoveLogs {
                prefix: self.logs.clone(),
                keep: vec![log.to_owned()],
            },
            Step::OpenLog {
                store,
                name: log.to_owned(),
                retention,
            },
        ];
        if facts.logs.contains_key(log) {
            steps.push(self.step(log, vec![PartRef::whole(log)]));
        }
        steps
    }

    /// Takes events into a log of several parts.
    fn step(&self, log: &str, parts: Vec<PartRef>) -> Step {
        Step::Serve {
            kind: self.kind,
            namespace: self.key.namespace.clone(),
            name: self.key.name.clone(),
            log: log.to_owned(),
            parts,
        }
    }
}

/// The write that turns an object's status into `desired`, where something differs. The fields in
/// `leave` are somebody else's.
#[must_use]
pub fn status_write<S: serde::Serialize + PartialEq>(
    key: &Key,
    object: &ObjectMeta,
    current: Option<&S>,
    desired: &S,
    leave: &[&str],
) -> Option<Write> {
    // Most statuses say nothing new, and two values are compared sooner than written as JSON.
    if current == Some(desired) {
        return None;
    }
    let patch = status_patch(current, desired, leave)?;
    Some(Write::Status(
        key.clone(),
        object.resource_version.clone(),
        patch,
    ))
}

/// What to do about one key.
#[must_use]
pub fn plan(world: &World, facts: &Facts, key: &Key, now: Timestamp) -> Vec<Step> {
    match key.kind {
        "Broker" => broker::plan(world, facts, key, now),
        "Channel" => channel::plan(world, key, now),
        "EventType" => event_type::plan(world, key, now),
        "KafkaSink" => kafka_sink::plan(world, facts, key, now),
        kind => match backing::implementation(kind) {
            Some(known) => backing::plan(known, world, facts, key, now),
            None => Vec::new(),
        },
    }
}

/// Whether objects of a kind have logs.
#[must_use]
pub fn keeps_events(kind: &str) -> bool {
    matches!(kind, "Broker" | "KafkaSink") || backing::implementation(kind).is_some()
}

/// The keys that have to be looked at again when the object `key` has changed, because of what
/// these plans look at besides the object itself.
#[must_use]
pub fn dependents(world: &World, key: &Key) -> Vec<Key> {
    let mut keys = event_type::dependents(world, key);
    keys.extend(kafka_sink::dependents(world, key));
    #[cfg(feature = "jetstream")]
    if jetstream::depends_on(key) {
        let brokers = world.brokers.iter();
        keys.extend(brokers.map(|broker| Key::of("Broker", &**broker)));
        let channels = world.backings();
        keys.extend(channels.map(|one| Key::new(one.kind, one.namespace(), one.name())));
    }
    let kinds = world.backing_kinds();
    if kinds.contains(&key.kind) {
        let (namespace, name) = (&key.namespace, &key.name);
        if world.channels.get(namespace, name).is_some() {
            keys.push(Key::new("Channel", namespace, name));
        }
        // Namesakes of other kinds may have got the address, or lost it.
        let others = kinds.into_iter().filter(|kind| *kind != key.kind);
        let others = others.filter(|kind| world.backing(kind, namespace, name).is_some());
        keys.extend(others.map(|kind| Key::new(kind, namespace, name)));
    }
    keys
}

/// The name of a log: it belongs to one object, not to whoever has its name next.
#[must_use]
pub fn log_name(kind: &str, namespace: &str, name: &str, uid: &str) -> String {
    format!("{}{uid}", log_prefix(kind, namespace, name))
}

/// What the names of an object's logs begin with. Slashes cannot occur in names of objects.
#[must_use]
pub fn log_prefix(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}/")
}
