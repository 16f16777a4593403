//! Logs that Kafka keeps: one topic a broker or channel, one log a partition.
//!
//! An event is one record in the binary mode of the CloudEvents Kafka binding (see
//! [`crate::event::message`]), so that every Kafka client can read the topic. Offsets are Kafka's own.
//! Records are read by assignment, without a consumer group: positions are ours to keep.
//!
//! * [`access`]: how to reach a cluster, and who we are there.
//! * [`context`]: what the clients tell us: errors, logs, deliveries; whether the cluster can be reached.
//! * [`cluster`]: the clients of one cluster, and what watches over them.
//! * [`topic`]: what a topic is made like, and finding or making it.
//! * [`record`]: an event as a record.
//! * [`mod@line`]: appends that wait for those before them.
//! * [`produce`]: appends on their way, and their acknowledgements.
//! * [`read`]: batches, by a few readers a partition that remember where they are.
//! * [`log`]: the log.
//! * [`shown`]: positions, committed for people to see.
//! * [`upkeep`]: what keeps a topic small, and notices what others did to it.
//! * [`store`]: the logs behind one cluster.
//!
//! # The laws, and what the server's nature makes of them
//!
//! 1. *Durable* means: all replicas that are in sync have acknowledged (`acks=all`, idempotent). Kafka
//!    writes to its disk in its own time, and relies on replicas until then; a topic with one replica
//!    promises less than the segment log does. [`Template::doubts`] says so.
//! 2. *Whole*: an append of several events is not a transaction. When the cluster goes away in the middle
//!    of one, its first events may be kept; the producer hears 503 and sends all of them again. Where
//!    others write to the topic too, their records may stand between ours.
//! 4. *Visible after commit*: an append whose acknowledgement is lost fails, though the cluster may have
//!    kept it; later appends make it visible. The producer was told to send again.
//! 6. *Continuous*: offsets without a record are gaps: those of compaction and of transactions, where
//!    there was nothing to miss, and those of what the topic's own retention or somebody else removed. So
//!    are records that hold no event. A hole at the very end is believed only after the cluster has confirmed it twice.
//! 7. *Released, then trimmed*: a topic of ours is made without a retention of the server's, unless its
//!    template sets one, and we delete what retention asks for. The bytes kept are reckoned from the
//!    mean size of what passed through here. Of a topic that is not ours we delete nothing: its own
//!    retention may remove what is not delivered yet, which is counted as `expired_unread`.
//! 9. *Resuming*: as long as the topic is not deleted behind our back.
//!
//! [`LogStore::names`](super::LogStore::names) knows the logs that this process was told of: a topic has
//! no place for the name of its log.
//!
//! A topic may also be one that others read, whose log is only written to ([`Owner::Readers`]): its records
//! are those of the binding and nothing else ([`Form`]).
//!
//! Everything that waits is bounded: [`MAX_LOG_BYTES`] a partition and [`MAX_BYTES`] a cluster, then
//! appends are refused; while the cluster cannot be reached, appends are refused at once. What is read
//! ahead is bounded for each partition and reader.

mod access;
mod cluster;
mod context;
mod line;
mod log;
mod produce;
mod read;
mod record;
mod shown;
mod store;
mod topic;
mod upkeep;

pub use self::access::{Access, Mechanism, Sasl, Tls};
pub use self::produce::{MAX_BYTES, MAX_LOG_BYTES};
pub use self::record::{Form, Unreadable, read as read_record};
pub use self::store::{KafkaStore, Options};
pub use self::topic::{Owner, Template};
