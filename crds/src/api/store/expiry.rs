//! Events go some time after their last change, as Kubernetes has it: they tell what happened lately,
//! and whoever writes them never deletes them.
//!
//! The committer does this itself, as with garbage: a bounded number in each group, by the API's
//! clock. The store does not keep when an object last changed. After a restart that is the newest
//! time that the event states of itself, and no later than the restart.
//!
//! An event goes even with finalizers, as one whose lease has ended does in Kubernetes.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::memory::{Change, Happened, Memory};
use super::transaction::Transaction;
use crate::api::object::{Key, Object};
use crate::api::registry::{KindId, Registry};

/// Events that go in one group.
const MAX_STEPS: usize = 128;
/// The clock is looked at this often at least: it may be set while the committer waits.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When each event goes. As large as the events are many.
#[derive(Debug)]
pub(crate) struct Expiry {
    /// How long an event stays after its last change.
    life: SignedDuration,
    due: BTreeSet<(Timestamp, Key)>,
    at: HashMap<Key, Timestamp>,
}

impl Expiry {
    /// Nothing to expire yet; events stay for `life` after their last change.
    pub(crate) fn new(life: SignedDuration) -> Self {
        Self {
            life,
            due: BTreeSet::new(),
            at: HashMap::new(),
        }
    }

    /// Notes the events that are there when the store is opened.
    pub(crate) fn look_at(&mut self, registry: &Registry, memory: &Memory, now: Timestamp) {
        let Some(events) = kind(registry) else {
            return;
        };
        for object in memory.objects(events) {
            self.changed(object.key(), stated(&object).map_or(now, |at| at.min(now)));
        }
    }

    /// Notes what follows from a change.
    pub(crate) fn after(&mut self, registry: &Registry, change: &Change, now: Timestamp) {
        if kind(registry) != Some(change.kind) {
            return;
        }
        let key = change.event.object.key();
        if change.event.happened == Happened::Deleted {
            self.forget(key);
        } else {
            self.changed(key, now);
        }
    }

    /// Whether an event is to go.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due.first().is_some_and(|(at, _)| *at <= now)
    }

    /// How long to wait before looking again; nothing when there is no event to wait for.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        let (at, _) = self.due.first()?;
        let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
        Some(left.min(LONGEST_WAIT))
    }

    /// Stages the removal of events whose time has come.
    pub(crate) fn collect(&mut self, transaction: &mut Transaction<'_>) {
        let now = transaction.now();
        let Some(events) = kind(transaction.registry()) else {
            return self.clear();
        };
        for _ in 0..MAX_STEPS {
            if !self.is_due(now) {
                return;
            }
            let Some((_, key)) = self.due.pop_first() else {
                return;
            };
            self.at.remove(&key);
            // Somebody may be deleting or changing it in this very group.
            if transaction.is_staged(events, &key) {
                continue;
            }
            if let Err(error) = transaction.remove(events, &key) {
                tracing::warn!(
                    namespace = %key.namespace, name = %key.name, %error,
                    "an event that is too old could not be removed"
                );
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.life);
    }

    fn changed(&mut self, key: &Key, at: Timestamp) {
        self.forget(key);
        // A clock that far from ours keeps its events.
        if let Ok(at) = at.checked_add(self.life) {
            self.due.insert((at, key.clone()));
            self.at.insert(key.clone(), at);
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(at) = self.at.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }
}

/// The kind of events, as stored.
fn kind(registry: &Registry) -> Option<KindId> {
    registry.by_name("", "events")
}

/// The newest time that an event states: when it was made, seen or written.
fn stated(event: &Object) -> Option<Timestamp> {
    let event = event.value();
    let metadata = &event["metadata"];
    let writes = metadata["managedFields"].as_array().into_iter().flatten();
    [
        &metadata["creationTimestamp"],
        &event["eventTime"],
        &event["lastTimestamp"],
        &event["series"]["lastObservedTime"],
    ]
    .into_iter()
    .chain(writes.map(|entry| &entry["time"]))
    .filter_map(Value::as_str)
    .filter_map(|text| text.parse().ok())
    .max()
}
