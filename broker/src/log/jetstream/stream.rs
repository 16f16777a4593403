//! What a stream is made like.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use super::names;

/// Where the server keeps a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// On its disk.
    #[default]
    File,
    /// In its memory: gone with the server.
    Memory,
}

/// What a stream is made like; the rest is the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Where the server keeps it.
    pub storage: Storage,
    /// On how many servers of a cluster, 1 to 5.
    pub replicas: usize,
    /// How long the server remembers `source` and `id` of events, to drop what comes twice. Zero for
    /// not at all.
    pub duplicate_window: Duration,
    /// The server's own limit in bytes, beyond which it drops the oldest events, delivered or not.
    pub max_bytes: Option<u64>,
    /// The server's own limit of age, beyond which it drops events, delivered or not.
    pub max_age: Option<Duration>,
}

impl Default for Template {
    /// On disk, on one server, with the server's usual two minutes for duplicates and no limits.
    fn default() -> Self {
        Self {
            storage: Storage::File,
            replicas: 1,
            duplicate_window: Duration::from_secs(120),
            max_bytes: None,
            max_age: None,
        }
    }
}

impl Template {
    /// The configuration of the stream of a log.
    pub(super) fn config(&self, stream: &str, log: &str) -> Config {
        // The server takes a zero for its default of two minutes, and a tenth of a second at least.
        let window = self.duplicate_window.max(Duration::from_millis(100));
        let window = self.max_age.map_or(window, |age| window.min(age));
        Config {
            name: stream.to_owned(),
            subjects: vec![names::subject(stream)],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            storage: match self.storage {
                Storage::File => StorageType::File,
                Storage::Memory => StorageType::Memory,
            },
            num_replicas: self.replicas.clamp(1, 5),
            max_bytes: self
                .max_bytes
                .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_message_size: -1,
            max_age: self.max_age.unwrap_or_default(),
            duplicate_window: window,
            allow_direct: true,
            allow_atomic_publish: true,
            metadata: [(names::LOG.to_owned(), log.to_owned())].into(),
            ..Config::default()
        }
    }
}
