//! What a stream is made like.

use std::time::Duration;

use async_nats::datetime::from_nanos;
use async_nats::jetstream::stream::{
    self, Config, DiscardPolicy, Placement, RetentionPolicy, StorageType,
};
use jiff::Timestamp;

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

/// What the server does with an event that is too many for one of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discard {
    /// Takes it, and drops the oldest ones, delivered or not.
    #[default]
    Old,
    /// Refuses it.
    New,
}

/// A stream whose messages another one takes too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub stream: String,
    /// The sequence to start at.
    pub from_sequence: Option<u64>,
    /// The time to start at.
    pub from_time: Option<Timestamp>,
    /// The subject that messages are to have.
    pub subject: Option<String>,
}

/// What a stream is made like; the rest is the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name; one that is made of the log's where this is none.
    pub name: Option<String>,
    /// Where the server keeps it.
    pub storage: Storage,
    /// On how many servers of a cluster, 1 to 5.
    pub replicas: usize,
    /// How long the server remembers `source` and `id` of events, to drop what comes twice. Zero for
    /// not at all.
    pub duplicate_window: Duration,
    /// What happens at the server's own limits of bytes and messages.
    pub discard: Discard,
    /// The server's own limit in bytes.
    pub max_bytes: Option<u64>,
    /// The server's own limit of messages.
    pub max_messages: Option<u64>,
    /// The most bytes of one message, headers included.
    pub max_message_bytes: Option<u64>,
    /// The most consumers that others may make on it.
    pub max_consumers: Option<i32>,
    /// The server's own limit of age, beyond which it drops events, delivered or not.
    pub max_age: Option<Duration>,
    /// Subjects of others that it takes messages from too.
    pub additional_subjects: Vec<String>,
    /// The cluster that keeps it.
    pub cluster: Option<String>,
    /// Tags of the servers that keep it.
    pub tags: Vec<String>,
    /// Streams whose messages it takes too.
    pub sources: Vec<Source>,
}

impl Default for Template {
    /// On disk, on one server, with the server's usual two minutes for duplicates and no limits.
    fn default() -> Self {
        Self {
            storage: Storage::File,
            replicas: 1,
            duplicate_window: Duration::from_secs(120),
            name: None,
            discard: Discard::Old,
            max_bytes: None,
            max_messages: None,
            max_message_bytes: None,
            max_consumers: None,
            max_age: None,
            additional_subjects: Vec::new(),
            cluster: None,
            tags: Vec::new(),
            sources: Vec::new(),
        }
    }
}

impl Template {
    /// The configuration of the stream of a log of the installation `owner`.
    pub(super) fn config(&self, stream: &str, log: &str, owner: &str) -> Config {
        // The server takes a zero for its default of two minutes, and a tenth of a second at least.
        let window = self.duplicate_window.max(Duration::from_millis(100));
        let window = self.max_age.map_or(window, |age| window.min(age));
        let mut subjects = vec![names::subject(stream)];
        subjects.extend(self.additional_subjects.iter().cloned());
        let placed = self.cluster.is_some() || !self.tags.is_empty();
        let sources: Vec<_> = self.sources.iter().map(Source::config).collect();
        Config {
            name: stream.to_owned(),
            subjects,
            retention: RetentionPolicy::Limits,
            discard: match self.discard {
                Discard::Old => DiscardPolicy::Old,
                Discard::New => DiscardPolicy::New,
            },
            storage: match self.storage {
                Storage::File => StorageType::File,
                Storage::Memory => StorageType::Memory,
            },
            num_replicas: self.replicas.clamp(1, 5),
            max_bytes: limit(self.max_bytes),
            max_messages: limit(self.max_messages),
            max_messages_per_subject: -1,
            max_consumers: self.max_consumers.unwrap_or(-1),
            max_message_size: i32::try_from(limit(self.max_message_bytes)).unwrap_or(-1),
            max_age: self.max_age.unwrap_or_default(),
            duplicate_window: window,
            allow_direct: true,
            allow_atomic_publish: true,
            placement: placed.then(|| Placement {
                cluster: self.cluster.clone(),
                tags: self.tags.clone(),
            }),
            sources: Some(sources).filter(|sources| !sources.is_empty()),
            metadata: [(names::LOG, log), (names::OWNER, owner)]
                .map(|(key, text)| (key.to_owned(), text.to_owned()))
                .into(),
            ..Config::default()
        }
    }

    /// The name of the stream of a log.
    pub(super) fn stream(&self, prefix: &str, log: &str) -> String {
        let own = self.name.clone();
        own.unwrap_or_else(|| names::stream(prefix, log))
    }
}

/// A limit as the server has it: less than nothing for none.
fn limit(most: Option<u64>) -> i64 {
    most.map_or(-1, |most| i64::try_from(most).unwrap_or(i64::MAX))
}

impl Source {
    fn config(&self) -> stream::Source {
        stream::Source {
            name: self.stream.clone(),
            start_sequence: self.from_sequence,
            start_time: self
                .from_time
                .and_then(|time| from_nanos(time.as_nanosecond()).ok()),
            filter_subject: self.subject.clone(),
            ..stream::Source::default()
        }
    }
}
