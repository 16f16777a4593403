//! The logs of one broker or channel: one, or as many as its events are spread over.
//!
//! Most stores keep one log for each name. Kafka keeps a log for each partition of a topic. Within a
//! partition there is an order, between two of them there is none; so events with the same
//! `partitionkey` go to the same one, chosen as Kafka's own producers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Log, LogStats, Retention};
use crate::event::Event;

/// The attribute that decides where an event goes.
pub const PARTITION_KEY: &str = "partitionkey";

/// One log or several, in the order of their numbers. Clones share them.
#[derive(Clone, Debug)]
pub struct Partitions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    first: Arc<dyn Log>,
    all: Vec<Arc<dyn Log>>,
    /// How many of them take events, the first ones.
    taking: usize,
    /// Counts the appends without a key.
    turn: AtomicUsize,
}

impl From<Arc<dyn Log>> for Partitions {
    /// The one log of a name.
    fn from(log: Arc<dyn Log>) -> Self {
        Self(Arc::new(Inner {
            first: Arc::clone(&log),
            all: vec![log],
            taking: 1,
            turn: AtomicUsize::new(0),
        }))
    }
}

impl PartialEq for Partitions {
    /// Whether these are the same logs. One that was closed and opened again is another.
    fn eq(&self, other: &Self) -> bool {
        let (mine, others) = (self.all(), other.all());
        mine.len() == others.len()
            && mine
                .iter()
                .zip(others)
                .all(|(mine, other)| Arc::ptr_eq(mine, other))
    }
}

impl Partitions {
    /// Several logs; `None` where there is not even one.
    #[must_use]
    pub fn new(all: Vec<Arc<dyn Log>>) -> Option<Self> {
        let taking = all.len();
        Self::taking(all, taking)
    }

    /// Several logs, of which only so many of the first take events: the others are read to their end.
    #[must_use]
    pub fn taking(all: Vec<Arc<dyn Log>>, taking: usize) -> Option<Self> {
        let inner = Inner {
            first: Arc::clone(all.first()?),
            taking: taking.clamp(1, all.len()),
            all,
            turn: AtomicUsize::new(0),
        };
        Some(Self(Arc::new(inner)))
    }

    /// The first, which is the only one of most.
    #[must_use]
    pub fn first(&self) -> &Arc<dyn Log> {
        &self.0.first
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<dyn Log>] {
        &self.0.all
    }

    /// Changes how long events are kept: each partition keeps its part of the bytes.
    pub fn set_retention(&self, retention: Retention) {
        let parts = self.all().len() as u64;
        let each = Retention {
            max_bytes: retention.max_bytes.map(|bytes| bytes / parts.max(1)),
            ..retention
        };
        for log in self.all() {
            log.set_retention(each);
        }
    }

    /// What they hold together. The offsets are those of the first.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let mut sum = self.first().stats();
        for log in self.all().iter().skip(1) {
            let stats = log.stats();
            sum.bytes += stats.bytes;
            sum.held_bytes += stats.held_bytes;
            sum.damaged += stats.damaged;
            sum.expired_unread += stats.expired_unread;
        }
        sum
    }

    /// Where an event goes that comes in alone.
    #[must_use]
    pub fn of(&self, event: &Event) -> &Arc<dyn Log> {
        let logs = self.takers();
        if logs.len() == 1 {
            return self.first();
        }
        match event.attribute(PARTITION_KEY) {
            Some(key) => &logs[place(key.text.as_bytes(), logs.len())],
            None => &logs[self.next()],
        }
    }

    /// The partition whose turn it is.
    fn next(&self) -> usize {
        self.0.turn.fetch_add(1, Ordering::Relaxed) % self.0.taking
    }

    /// Those that take events.
    fn takers(&self) -> &[Arc<dyn Log>] {
        self.all().get(..self.0.taking).unwrap_or_default()
    }

    /// Says where events go that come in together: those with a key by their key, the others all to one
    /// partition, which is another one each time. Events of one partition keep their order.
    #[must_use]
    pub fn spread(&self, events: Vec<Event>) -> Vec<(&Arc<dyn Log>, Vec<Event>)> {
        let logs = self.takers();
        if logs.len() == 1 {
            return vec![(self.first(), events)];
        }
        let mut parts: Vec<(usize, Vec<Event>)> = Vec::new();
        let mut turn = None;
        for event in events {
            let place = match event.attribute(PARTITION_KEY) {
                Some(key) => place(key.text.as_bytes(), logs.len()),
                None => *turn.get_or_insert_with(|| self.next()),
            };
            match parts.iter_mut().find(|(part, _)| *part == place) {
                Some((_, part)) => part.push(event),
                None => parts.push((place, vec![event])),
            }
        }
        let part = |(place, events): (usize, Vec<Event>)| (&logs[place], events);
        parts.into_iter().map(part).collect()
    }
}

/// The name of a partition in what is kept about it. The first has the name of the whole, so that what
/// was kept about a log that has no others stays valid. No name of an object or a topic has a `#`.
#[must_use]
pub fn name_of(name: &str, partition: usize) -> String {
    match partition {
        0 => name.to_owned(),
        other => format!("{name}#{other}"),
    }
}

/// The name of the whole in the name of a partition.
#[must_use]
pub fn whole_of(name: &str) -> &str {
    match name.rsplit_once('#') {
        Some((whole, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => whole,
        _ => name,
    }
}

/// The partition of a key among so many, as Kafka's Java producer has it.
fn place(key: &[u8], partitions: usize) -> usize {
    let positive = (murmur2(key) & 0x7fff_ffff) as usize;
    positive % partitions.max(1)
}

/// Murmur2 with 32 bits, by Austin Appleby, with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const FACTOR: u32 = 0x5bd1_e995;
    let mix = |word: u32| {
        let word = word.wrapping_mul(FACTOR);
        (word ^ (word >> 24)).wrapping_mul(FACTOR)
    };
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_mul(FACTOR) ^ mix(u32::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(FACTOR);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// The values of Kafka's own test of its hash.
    #[test]
    fn hashes_are_those_of_kafkas_producers() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash.cast_unsigned(), "{key}");
        }
    }

    #[test]
    fn names_of_partitions_lead_back() {
        assert_eq!(name_of("broker/a/b/c", 0), "broker/a/b/c");
        assert_eq!(name_of("broker/a/b/c", 12), "broker/a/b/c#12");
        for name in ["broker/a/b/c", "broker/a/b/c#12"] {
            assert_eq!(whole_of(name), "broker/a/b/c");
        }
    }
}
