//! From Brokers and channels to logs and addresses.
//!
//! For each key, a pure `plan` compares what the [`World`] says with what is there and returns
//! [`Step`]s; [`Control`] carries them out. Plans know nothing of the data path but names.
//!
//! * [`broker`]: Broker -> a log, an address, conditions.
//! * [`channel`]: Channel -> the channel behind it; its address is that channel's.
//! * [`in_memory_channel`]: InMemoryChannel -> a memory log, an address, conditions.
//! * [`apply`]: the executor.

pub mod broker;
pub mod channel;
pub mod in_memory_channel;

use std::collections::BTreeMap;

use heddle_crds::queue::Key;
use heddle_crds::world::World;
use jiff::Timestamp;
use serde_json::Value;

use crate::directory::EntryKind;
use crate::log::{LogStats, Retention};

/// Which store keeps a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreKind {
    /// The durable log in the data directory.
    Segment,
    /// Memory, until the process ends.
    Memory,
}

/// What plans know besides objects.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The URL under which the ingress can be reached, without a slash at the end.
    pub ingress_url: String,
    /// The logs that were opened, or why they could not be.
    pub logs: BTreeMap<String, Result<LogStats, String>>,
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
        /// The one that stays.
        keep: Option<String>,
    },
    /// Take events at an address.
    Serve {
        /// Broker or channel.
        kind: EntryKind,
        /// The namespace of the object.
        namespace: String,
        /// The name of the object.
        name: String,
        /// The log that keeps the events.
        log: String,
        /// Which store has the log.
        store: StoreKind,
    },
    /// Take no events there any more.
    Withdraw {
        /// Broker or channel.
        kind: EntryKind,
        /// The namespace of the object.
        namespace: String,
        /// The name of the object.
        name: String,
    },
    /// Create an object, or bring its spec to this.
    Apply(Box<kube::api::DynamicObject>),
    /// Say what was found out.
    Status {
        /// About which object.
        key: Key,
        /// The whole status.
        status: Value,
    },
}

/// What to do about one key.
#[must_use]
pub fn plan(world: &World, facts: &Facts, key: &Key, now: Timestamp) -> Vec<Step> {
    match key.kind {
        "Broker" => broker::plan(world, facts, key, now),
        "Channel" => channel::plan(world, key, now),
        "InMemoryChannel" => in_memory_channel::plan(world, facts, key, now),
        _ => Vec::new(),
    }
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

/// A status as JSON; plain types do not fail to serialise.
pub(crate) fn to_value<T: serde::Serialize>(status: &T) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}
