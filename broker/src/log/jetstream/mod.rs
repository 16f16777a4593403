//! Logs that NATS JetStream keeps: one stream a log.
//!
//! An event is one message in the binary mode of the CloudEvents NATS binding (see
//! [`crate::event::message`]), so that every NATS client can read the stream. Offset `n` is the stream's
//! sequence `n + 1`. Events are read with batched direct gets, which need neither a consumer nor state
//! on the server: positions are ours to keep.
//!
//! * [`names`]: the name of a log as the name of a stream.
//! * [`stream`]: what a stream is made like.
//! * [`message`]: an event as a message.
//! * [`publish`]: the one task that sends a log's appends, in groups and in order, and counts their
//!   acknowledgements.
//! * [`queue`]: what waits for it.
//! * [`encode`]: appends as messages, in the bytes of the protocol.
//! * [`ack`]: what the server says to them.
//! * [`read`]: batches and single messages.
//! * [`log`]: the log.
//! * [`upkeep`]: what keeps a stream small.
//! * [`access`]: how the servers are reached, who we are, and whom we trust.
//! * [`link`]: the connections: one for what is asked, and one for what is published.
//! * [`wire`]: the one for what is published.
//! * [`store`]: the logs behind it.
//!
//! # The laws, and what the server's nature makes of them
//!
//! 1. *Durable* means: the server has acknowledged. A server with its default `sync_interval` syncs to
//!    its disk every two minutes, and relies on replicas until then; one replica, or memory storage,
//!    promises less than the segment log does. [`store::JetStreamStore::doubts`] says so.
//! 2. *Whole*: an append of several events is an atomic batch (nats-server 2.12 or later), of at most
//!    [`publish::MAX_BATCH`] events. Older servers are refused.
//! 4. *Visible after commit*: an append whose acknowledgement is lost fails, though the server may have
//!    kept it; later appends make it visible. The producer was told to send again, and the server drops
//!    what it gets twice within its duplicate window, by `source` and `id`.
//! 6. *Continuous*: messages that the server removed by limits of its own, or that somebody deleted, are
//!    gaps. So are messages that hold no event, which others may have written.
//! 7. *Released, then trimmed*: the server enforces no limit unless the stream's template sets one; we
//!    purge what retention asks for, in steps that overshoot by less than a message.
//!
//! Everything that waits is bounded: [`publish::MAX_PENDING_BYTES`] a log, then appends are refused;
//! while the server cannot be reached, appends are refused at once.

use std::time::Duration;

use super::AppendError;

mod access;
mod ack;
mod encode;
mod link;
mod log;
mod message;
mod names;
mod publish;
mod queue;
mod read;
mod store;
mod stream;
mod upkeep;
mod wire;

pub use self::access::{Access, Identity};
pub use self::publish::{MAX_BATCH, MAX_PENDING_BYTES};
pub use self::store::{JetStreamStore, Options};
pub use self::stream::{Discard, Source, Storage, Template};

/// How long the server is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a silent server is asked whether it is there; it may miss two of these.
const PING: Duration = Duration::from_secs(3);

/// An append failed, or nobody knows what became of it.
fn unavailable(reason: &(impl ToString + ?Sized)) -> AppendError {
    AppendError::Unavailable {
        reason: reason.to_string().into(),
    }
}
