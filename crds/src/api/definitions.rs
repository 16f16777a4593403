//! Definitions of kinds, held against what is stored: names are granted, kinds come and go, and the
//! objects of a kind that goes are deleted before it.
//!
//! All of this happens in the committer, in the same group as the write that causes it. So a
//! definition that was acknowledged is served, and there is never a kind without its definition.
//!
//! Kinds that are compiled in have definitions as well, for clients to see. They are the program's:
//! they are written when the store is opened, and nobody else changes or deletes them. Applying
//! another definition of the same name, such as Knative's own, succeeds with a warning and
//! changes nothing, since people install those files before everything else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::deletion::{self, Options};
use super::error::ApiError;
use super::object::{Key, Object};
use super::registry::{Defined, KindId, Registry};
use super::store::{Change, Happened, Memory, Transaction};
use super::{SERVER, metadata, write};
use crate::definitions::{self, FINALIZER, OWN};
use crate::resource::{Definition, ResourceKind};

/// Objects that one group deletes because their kind goes.
const MAX_STEPS: usize = 128;
/// The answer to whoever creates an object of a kind that goes.
const CLOSED: &str = "create not allowed while custom resource definition is terminating";
/// The warning to whoever writes a definition that is compiled in.
pub(crate) const WARNING: &str = "this kind is part of heddle: its definition is built in and was \
    left unchanged";

fn name_of(kind: &ResourceKind) -> String {
    format!("{}.{}", kind.plural, kind.group)
}

/// Whether an object is the definition of a kind that is compiled in.
pub(crate) fn is_own(registry: &Registry, kind: KindId, name: &str) -> bool {
    kind.stored() == registry.definitions()
        && registry
            .compiled()
            .any(|kind| kind.definition.is_some() && name_of(kind) == name)
}

/// Writes the definitions of the kinds that are compiled in, and forgets those of kinds that were
/// compiled in once and are not any more. Their objects stay on the disk.
pub(crate) fn found(transaction: &mut Transaction<'_>) -> Result<(), ApiError> {
    let kind = transaction.registry().definitions();
    let own: Vec<(String, Definition)> = transaction
        .registry()
        .compiled()
        .filter_map(|kind| Some((name_of(kind), kind.definition.clone()?)))
        .collect();
    for key in transaction.keys(kind, None) {
        let stale = transaction.get(kind, &key).filter(|object| {
            object.value()["metadata"]["annotations"][OWN].is_string()
                && own.iter().all(|(name, _)| *name != key.name)
        });
        if let Some(object) = stale {
            transaction.remove_as(kind, &object, object.value())?;
        }
    }
    for (name, definition) in own {
        let definition = definition.take();
        let key = Key::new("", &name);
        let labels = &definition["metadata"]["labels"];
        let mut body = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name, "labels": labels, "annotations": {OWN: "true"}},
            "spec": definition["spec"],
        });
        let Some(stored) = transaction.get(kind, &key) else {
            write::create(transaction, kind, "", SERVER, body)?;
            continue;
        };
        let mut next = stored.value();
        let admission = &transaction.kind(kind)?.admission;
        admission
            .default(&mut body, Some(&next), transaction)
            .map_err(|errors| ApiError::invalid_of("CustomResourceDefinition", &name, &errors))?;
        next["spec"] = body["spec"].take();
        for field in ["labels", "annotations"] {
            next["metadata"][field] = body["metadata"][field].take();
        }
        if let Some(fields) = next["metadata"].as_object_mut() {
            fields.remove("deletionTimestamp");
            fields.remove("finalizers");
        }
        if next != stored.value() {
            let generation = next["metadata"]["generation"].as_i64().unwrap_or_default();
            next["metadata"]["generation"] = json!(generation + 1);
            transaction.put_own(kind, next)?;
        }
    }
    settle(transaction)
}

/// Grants names to all definitions, and holds those that are established until their objects are
/// gone.
pub(crate) fn settle(transaction: &mut Transaction<'_>) -> Result<(), ApiError> {
    let kind = transaction.registry().definitions();
    let keys = transaction.keys(kind, None);
    let mut all: Vec<Value> = keys
        .iter()
        .filter_map(|key| transaction.get(kind, key))
        .map(|object| object.value())
        .collect();
    all.sort_by_cached_key(|value| {
        // Kinds that are compiled in have their names before all others.
        let own = value["metadata"]["annotations"][OWN].is_string();
        let text = |field: &str| {
            value["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        (!own, text("creationTimestamp"), text("name"))
    });
    let now = transaction.time();
    let views: Vec<&Value> = all.iter().collect();
    let mut changed = definitions::names::settle(&views, &now);
    for (at, mut value) in all.into_iter().enumerate() {
        let status = changed.remove(&at);
        let mut differs = status.is_some();
        if let Some(status) = status {
            value["status"] = status;
        }
        let metadata = &mut value["metadata"];
        let held = metadata["finalizers"]
            .as_array()
            .is_some_and(|all| all.iter().any(|name| name == FINALIZER));
        let own = metadata["annotations"][OWN].is_string();
        if !held && !own && metadata["deletionTimestamp"].is_null() {
            if !metadata["finalizers"].is_array() {
                metadata["finalizers"] = json!([]);
            }
            if let Some(finalizers) = metadata["finalizers"].as_array_mut() {
                finalizers.push(json!(FINALIZER));
            }
            differs = true;
        }
        if differs {
            transaction.put_own(kind, value)?;
        }
    }
    Ok(())
}

/// The registry after these changes, if they change it.
pub(crate) fn renewed(registry: &Registry, changes: &[Change]) -> Option<Registry> {
    let kind = registry.definitions();
    let last: BTreeMap<&str, &Change> = changes
        .iter()
        .filter(|change| change.kind == kind)
        .map(|change| (change.event.object.name(), change))
        .filter(|(name, _)| !is_own(registry, kind, name))
        .collect();
    if last.is_empty() {
        return None;
    }
    let mut next = registry.clone();
    for (name, change) in last {
        let there = change.event.happened != Happened::Deleted;
        let object = there.then_some(&*change.event.object);
        redefine(&mut next, name, object);
    }
    Some(next)
}

/// The registry with every kind that a stored definition defines.
pub(crate) fn with_stored(registry: &Registry, memory: &Memory) -> Registry {
    let kind = registry.definitions();
    let mut next = registry.clone();
    for object in memory.objects(kind) {
        if !is_own(registry, kind, object.name()) {
            redefine(&mut next, object.name(), Some(&object));
        }
    }
    next
}

fn redefine(registry: &mut Registry, name: &str, stored: Option<&Object>) {
    let Some((plural, group)) = name.split_once('.') else {
        return;
    };
    let value = stored.map(Object::value);
    match value.filter(|value| definitions::condition(value, "Established")) {
        Some(value) => registry.define(Defined {
            closed: stored.is_some_and(Object::terminating).then_some(CLOSED),
            versions: definitions::defined(&value),
        }),
        None => registry.undefine(group, plural),
    }
}

/// Definitions that are being deleted, and whose objects go first.
#[derive(Debug, Default)]
pub(crate) struct Cleanup(BTreeSet<String>);

impl Cleanup {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Notes the definitions that were being deleted when the store was closed.
    pub(crate) fn look_at(&mut self, registry: &Registry, memory: &Memory) {
        let terminating = memory.objects(registry.definitions()).into_iter();
        self.0.extend(
            terminating
                .filter(|object| object.terminating())
                .map(|object| object.name().to_owned()),
        );
    }

    /// Notes what follows from a change.
    pub(crate) fn after(&mut self, registry: &Registry, change: &Change) {
        let object = &change.event.object;
        let deleted = change.event.happened == Happened::Deleted;
        if change.kind == registry.definitions() && object.terminating() && !deleted {
            self.0.insert(object.name().to_owned());
        }
        if deleted
            && registry.closed(change.kind).is_some()
            && let Some(kind) = registry.kind(change.kind)
        {
            self.0.insert(name_of(kind));
        }
    }

    /// Stages the next steps.
    pub(crate) fn collect(&mut self, transaction: &mut Transaction<'_>) {
        let mut room = MAX_STEPS;
        while room > 0
            && let Some(name) = self.0.pop_first()
        {
            match empty(transaction, &name, room) {
                Ok(None) => {
                    self.0.insert(name);
                    return;
                }
                Ok(Some(taken)) => room = room.saturating_sub(taken.max(1)),
                Err(error) => {
                    tracing::warn!(
                        name, %error,
                        "the objects of a kind whose definition is deleted could not be deleted"
                    );
                    room -= 1;
                }
            }
        }
    }
}

/// Deletes at most `limit` objects of a kind whose definition goes, and the definition when none is
/// left. Gives the number of deletions, or nothing when there are more to be made.
fn empty(
    transaction: &mut Transaction<'_>,
    name: &str,
    limit: usize,
) -> Result<Option<usize>, ApiError> {
    let definitions = transaction.registry().definitions();
    let Some(object) = transaction.get(definitions, &Key::new("", name)) else {
        return Ok(Some(0));
    };
    if !object.terminating() {
        return Ok(Some(0));
    }
    let (plural, group) = name.split_once('.').unwrap_or_default();
    let (mut taken, mut waiting) = (0, false);
    if let Some(kind) = transaction.registry().by_name(group, plural) {
        for key in transaction.keys(kind, None) {
            if transaction.get(kind, &key).is_some_and(|o| o.terminating()) {
                waiting = true;
                continue;
            }
            if taken == limit {
                return Ok(None);
            }
            taken += 1;
            deletion::delete(transaction, kind, &key, &Options::default())?;
            waiting |= transaction.get(kind, &key).is_some();
        }
    }
    let mut value = object.value();
    let now = transaction.time();
    let set = definitions::names::set;
    if waiting {
        let (reason, message) = (
            "InstanceDeletionInProgress",
            "CustomResource deletion is in progress",
        );
        set(
            &mut value["status"],
            "Terminating",
            "True",
            reason,
            message,
            &now,
        );
        if value != object.value() {
            transaction.put_own(definitions, value)?;
        }
        return Ok(Some(taken));
    }
    let (reason, message) = ("InstanceDeletionCompleted", "removed all instances");
    set(
        &mut value["status"],
        "Terminating",
        "False",
        reason,
        message,
        &now,
    );
    if let Some(finalizers) = value["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    if metadata::finalizers(&value).is_empty() {
        transaction.remove_as(definitions, &object, value)?;
    } else if value != object.value() {
        transaction.put_own(definitions, value)?;
    }
    Ok(Some(taken + 1))
}
