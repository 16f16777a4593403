//! The consumers whose first positions are not durable yet.
//!
//! There are many when many objects are made at once; each leaves as soon as the write that has its
//! position is done, so that this holds what came up during a write or two. While writes fail it grows
//! up to the number of consumers.

use std::collections::BTreeMap;
use std::sync::Arc;

use heddle_crds::kube::queue::Key;
use tokio::sync::watch;

use crate::config::ConsumerId;
use crate::{Durable, Ticket};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginning {
    waiting: BTreeMap<ConsumerId, Waiting>,
    failure: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Waiting {
    ticket: Ticket,
    /// What is to be looked at again.
    key: Key,
}

impl Beginning {
    /// A consumer that `key` asks for has begun, and waits for its ticket.
    pub(super) fn insert(&mut self, id: &ConsumerId, ticket: Ticket, key: &Key) {
        let key = key.clone();
        self.waiting.insert(id.clone(), Waiting { ticket, key });
    }

    /// It does not run any more.
    pub(super) fn remove(&mut self, id: &ConsumerId) {
        self.waiting.remove(id);
    }

    pub(super) fn contains(&self, id: &ConsumerId) -> bool {
        self.waiting.contains_key(id)
    }

    /// Whether one waits that nothing is known to be in the way of.
    pub(super) fn goes_on(&self) -> bool {
        !self.waiting.is_empty() && self.failure.is_none()
    }

    /// Why positions cannot be written, while that is so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Waits for news of what is durable, and returns the keys that it is news for.
    pub(super) async fn next(&mut self, durable: &mut watch::Receiver<Durable>) -> Vec<Key> {
        if durable.changed().await.is_err() {
            // Nothing is written any more.
            return std::future::pending().await;
        }
        let durable = durable.borrow_and_update();
        let mut keys = Vec::new();
        self.waiting.retain(|_, waiting| {
            let waits = !durable.covers(waiting.ticket);
            if !waits {
                keys.push(waiting.key.clone());
            }
            waits
        });
        if durable.failure() != self.failure.as_ref() {
            self.failure = durable.failure().cloned();
            keys.extend(self.waiting.values().map(|waiting| waiting.key.clone()));
        }
        keys
    }
}
