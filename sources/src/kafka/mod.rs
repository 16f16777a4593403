//! Kafka topics as sources of events.
//!
//! A source is one or more members of a consumer group of Kafka's. Each partition that the group gives
//! to one of them is a log that the dispatcher delivers from, by the same window, retries, dead letters
//! and positions as for a Trigger.
//!
//! ```text
//!   group --assigns--> member --opens--> Partition (a Log) --> dispatcher --> sink
//!     ^                                       |
//!     +----- commits <----- release <---------+   what is done with durably, in order
//! ```
//!
//! * [`record`]: a record as an event.
//! * [`partition`]: one partition as a log.
//! * [`member`]: a member of the group: assignments, commits, trouble.
//! * [`source`]: one source: its members, and what is said of it.
//!
//! # Laws
//!
//! 1. At least once: the group's offset passes a record only when its event was acknowledged by the sink
//!    or the dead letter sink, or is kept as a dead letter. See [`member`].
//! 2. A source whose servers are away, or whose topics are not there, tries again for ever, with growing
//!    waits; it costs others nothing.
//! 3. What is read ahead is bounded for each partition: by the library's queue, and by the window of its
//!    consumer.

mod member;
mod partition;
pub mod record;
pub mod source;

use std::sync::Arc;

use heddle_broker::log::kafka::Access;
use heddle_dispatcher::config::{DeliveryPolicy, Order, Target};

pub use record::{KeyType, Reader};
pub use source::{KafkaSources, Report};

/// The kind of the consumers of sources, in [`heddle_dispatcher::config::ConsumerId`].
pub const CONSUMER_KIND: &str = "kafkasource";
/// The most members of one source in one process.
pub const MAX_CONSUMERS: u32 = 32;

/// Where a group without offsets starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// With the oldest record that is kept.
    Earliest,
    /// With the first record after the start.
    #[default]
    Latest,
}

/// Where events go, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Sending {
    /// Who gets them; they wait while this is `None`.
    pub sink: Option<Target>,
    /// Who gets what the sink did not take.
    pub dead_letter: Option<Target>,
    /// Retries and the rest.
    pub policy: DeliveryPolicy,
    /// The order within a partition.
    pub order: Order,
    /// The most deliveries of one partition at the same time.
    pub max_in_flight: u32,
}

/// What one source is told.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// The uid of the resource.
    pub uid: Arc<str>,
    /// How to reach the servers.
    pub access: Access,
    /// The topics, in any order.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// Where the group starts.
    pub initial: Initial,
    /// How many members run here, at most [`MAX_CONSUMERS`].
    pub consumers: u32,
    /// How records become events.
    pub reader: Reader,
    /// Where they go.
    pub sending: Sending,
}

impl SourceConfig {
    /// Whether both are read by the same members.
    fn same_members(&self, other: &Self) -> bool {
        self.access == other.access
            && self.topics == other.topics
            && self.group == other.group
            && self.initial == other.initial
            && self.consumers == other.consumers
            && self.uid == other.uid
    }
}
