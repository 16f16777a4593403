//! The view in which writes are evaluated: what is stored, and over it what the group has staged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::memory::{Change, Event, Happened, Memory};
use crate::api::error::ApiError;
use crate::api::object::{Key, Object};
use crate::api::registry::{KindId, Registry};
use crate::api::{definitions, version};
use crate::resource::{AdmissionContext, ResourceKind};

/// A group of writes under evaluation. Each change takes the next version.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    memory: &'a Memory,
    registry: &'a Registry,
    now: Timestamp,
    version: u64,
    /// Whether what is staged next is only tried.
    rehearses: bool,
    changes: Vec<Change>,
    /// The place in `changes` of the newest change of each object.
    staged: BTreeMap<(KindId, Key), Vec<usize>>,
}

/// A point to roll back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(usize, u64);

impl<'a> Transaction<'a> {
    /// An empty group.
    pub(crate) fn new(memory: &'a Memory, registry: &'a Registry, now: Timestamp) -> Self {
        Self {
            memory,
            registry,
            now,
            version: memory.version(),
            rehearses: false,
            changes: Vec::new(),
            staged: BTreeMap::new(),
        }
    }

    /// The kinds.
    pub(crate) fn registry(&self) -> &'a Registry {
        self.registry
    }

    /// A kind, in the version that the id names. A request may have found it in a registry that
    /// was replaced since.
    pub(crate) fn kind(&self, id: KindId) -> Result<Arc<ResourceKind>, ApiError> {
        self.registry
            .kind(id)
            .cloned()
            .ok_or_else(ApiError::no_such_resource)
    }

    /// What is stored, without what is staged.
    pub(crate) fn stored(&self) -> &'a Memory {
        self.memory
    }

    /// When the group is evaluated.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// The time as metadata writes it: in whole seconds.
    pub(crate) fn time(&self) -> String {
        Timestamp::from_second(self.now.as_second())
            .unwrap_or(self.now)
            .to_string()
    }

    /// From here on nothing is to be kept: objects are staged as they would be, but for their
    /// versions, which they keep or do not get, since the next write of somebody else takes the
    /// next one. Lasts until the rehearsal is rolled back.
    pub(crate) fn rehearse(&mut self) {
        self.rehearses = true;
    }

    /// Remembers this point.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.changes.len(), self.version)
    }

    /// Forgets what was staged since.
    pub(crate) fn roll_back(&mut self, Mark(length, version): Mark) {
        while self.changes.len() > length {
            let Some(change) = self.changes.pop() else {
                break;
            };
            let place = (change.kind, change.event.object.key().clone());
            if let Some(stack) = self.staged.get_mut(&place) {
                stack.pop();
                if stack.is_empty() {
                    self.staged.remove(&place);
                }
            }
        }
        self.version = version;
        self.rehearses = false;
    }

    /// Whether an object of a kind was staged.
    pub(crate) fn touches(&self, kind: KindId) -> bool {
        self.changes
            .iter()
            .any(|change| change.kind == kind.stored())
    }

    /// Whether this group changes an object.
    pub(crate) fn is_staged(&self, kind: KindId, key: &Key) -> bool {
        self.staged.contains_key(&(kind.stored(), key.clone()))
    }

    /// The changes, in the order of their versions.
    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// One object, as it is in this group.
    pub(crate) fn get(&self, kind: KindId, key: &Key) -> Option<Arc<Object>> {
        match self
            .staged
            .get(&(kind.stored(), key.clone()))
            .and_then(|stack| stack.last())
        {
            Some(at) => {
                let event = &self.changes[*at].event;
                (event.happened != Happened::Deleted).then(|| Arc::clone(&event.object))
            }
            None => self.memory.get(kind, key),
        }
    }

    /// The keys of a kind, of one namespace or of all, as they are in this group.
    pub(crate) fn keys(&self, kind: KindId, namespace: Option<&str>) -> BTreeSet<Key> {
        let mut keys: BTreeSet<Key> = self
            .memory
            .list(kind, namespace, None)
            .map(|o| o.key().clone())
            .collect();
        for (of, key) in self.staged.keys() {
            if *of == kind.stored() && namespace.is_none_or(|ns| ns == key.namespace) {
                if self.get(kind, key).is_some() {
                    keys.insert(key.clone());
                } else {
                    keys.remove(key);
                }
            }
        }
        keys
    }

    /// The objects that name this identity as an owner, as they are in this group.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(KindId, Arc<Object>)> {
        let mut places: BTreeSet<(KindId, Key)> = self.memory.dependents(uid).into_iter().collect();
        places.extend(self.staged.keys().cloned());
        places
            .into_iter()
            .filter_map(|(kind, key)| Some((kind, self.get(kind, &key)?)))
            .filter(|(_, object)| object.owners().iter().any(|owner| owner.uid == uid))
            .collect()
    }

    /// Stages an object, in the version in which its kind is stored. Its `resourceVersion` is
    /// written here. A definition that is compiled in stays as it is, whoever writes it.
    pub(crate) fn put(&mut self, kind: KindId, value: Value) -> Result<Arc<Object>, ApiError> {
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        if definitions::is_own(self.registry, kind, name)
            && let Some(stored) = self.get(kind, &Key::new("", name))
        {
            return Ok(stored);
        }
        self.put_own(kind, value)
    }

    /// Stages an object that the server itself writes.
    pub(crate) fn put_own(
        &mut self,
        kind: KindId,
        mut value: Value,
    ) -> Result<Arc<Object>, ApiError> {
        version::convert(&*self.kind(kind.stored())?, &mut value)?;
        let object = self.next(&mut value)?;
        let previous = self.get(kind, object.key());
        let happened = if previous.is_some() {
            Happened::Modified
        } else {
            Happened::Added
        };
        self.stage(kind, happened, Arc::clone(&object), previous);
        Ok(object)
    }

    /// Stages the removal of an object and gives its last state.
    pub(crate) fn remove(&mut self, kind: KindId, key: &Key) -> Result<Arc<Object>, ApiError> {
        let previous = self.get(kind, key).ok_or_else(|| match self.kind(kind) {
            Ok(kind) => ApiError::not_found(&kind, &key.name),
            Err(error) => error,
        })?;
        self.remove_as(kind, &previous, previous.value())
    }

    /// Stages the removal of an object whose last state is `value`.
    pub(crate) fn remove_as(
        &mut self,
        kind: KindId,
        previous: &Arc<Object>,
        mut value: Value,
    ) -> Result<Arc<Object>, ApiError> {
        version::convert(&*self.kind(kind.stored())?, &mut value)?;
        let object = self.next(&mut value)?;
        self.stage(
            kind,
            Happened::Deleted,
            Arc::clone(&object),
            Some(Arc::clone(previous)),
        );
        Ok(object)
    }

    fn next(&mut self, value: &mut Value) -> Result<Arc<Object>, ApiError> {
        let version = self.version + 1;
        if !self.rehearses {
            value["metadata"]["resourceVersion"] = Value::String(version.to_string());
        }
        let object = Object::from_value(value).map_err(|e| ApiError::internal(e.to_string()))?;
        self.version = version;
        Ok(Arc::new(object))
    }

    fn stage(
        &mut self,
        kind: KindId,
        happened: Happened,
        object: Arc<Object>,
        previous: Option<Arc<Object>>,
    ) {
        let kind = kind.stored();
        self.staged
            .entry((kind, object.key().clone()))
            .or_default()
            .push(self.changes.len());
        let event = Event {
            version: object.version(),
            happened,
            object,
            previous,
        };
        self.changes.push(Change { kind, event });
    }
}

impl AdmissionContext for Transaction<'_> {
    fn config_map(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        let object = self.get(self.registry.config_maps(), &Key::new(namespace, name))?;
        let value = object.value();
        let data = value["data"].as_object()?;
        Some(
            data.iter()
                .filter_map(|(k, v)| v.as_str().map(|v| (k.clone(), v.to_owned())))
                .collect(),
        )
    }
}
