//! Which objects have to be looked at again: a queue of keys, each in it once.
//!
//! A key is a wake-up and carries no data: whoever takes it reads everything anew, so that a key
//! that is pushed twice, late or for nothing does no harm. The queue is as long as there are
//! objects at most.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use kube::Resource;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The kind, like `Broker`.
    pub kind: &'static str,
    /// The namespace; empty for objects of the cluster.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of an object of this kind.
    #[must_use]
    pub fn of<K: Resource>(kind: &'static str, object: &K) -> Self {
        let meta = object.meta();
        Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }

    /// A key from its parts.
    #[must_use]
    pub fn new(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A queue of keys. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    waiting: Arc<Mutex<Waiting>>,
    arrived: Arc<Notify>,
}

/// The keys for which there is room even when none waits.
const KEPT: usize = 1_024;

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Key>,
    known: HashSet<Key>,
}

impl Queue {
    /// Puts a key at the end, unless it waits already.
    pub fn push(&self, key: Key) {
        let mut waiting = self.waiting.lock();
        if waiting.known.insert(key.clone()) {
            waiting.order.push_back(key);
            self.arrived.notify_one();
        }
    }

    /// Takes the first key; waits for one where there is none. For one taker at a time.
    pub async fn next(&self) -> Key {
        loop {
            if let Some(key) = self.take() {
                return key;
            }
            self.arrived.notified().await;
        }
    }

    /// How many keys wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.lock().order.len()
    }

    /// Whether no key waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self) -> Option<Key> {
        let mut waiting = self.waiting.lock();
        let key = waiting.order.pop_front()?;
        waiting.known.remove(&key);
        if waiting.order.is_empty() && waiting.order.capacity() > KEPT {
            // After thousands at once, the room that they took is given back.
            *waiting = Waiting::default();
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Queue};

    #[tokio::test]
    async fn a_key_that_waits_is_not_queued_again_but_one_that_was_taken_is() {
        let queue = Queue::default();
        let (a, b) = (Key::new("Broker", "n", "a"), Key::new("Broker", "n", "b"));
        for key in [&a, &b, &a] {
            queue.push(key.clone());
        }
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.next().await, a);
        queue.push(a.clone());
        assert_eq!(queue.next().await, b);
        assert_eq!(queue.next().await, a);
        assert!(queue.is_empty());
    }
}
