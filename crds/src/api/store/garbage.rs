//! What is deleted because something else was: dependents of deleted owners, and the contents of
//! deleted namespaces.
//!
//! The committer does this itself, a bounded number of steps in each group, so it needs neither
//! a task nor a queue that could overflow: what is to be looked at is a set of places, and it is
//! found again from the objects when the store is opened.
//!
//! An object goes when none of its owners is left. Owners of kinds that are not served are taken
//! to exist, since nothing is known of them; references to owners that are gone are taken out of
//! objects that keep another owner.

use std::collections::BTreeSet;

use serde_json::json;

use super::memory::{Change, Happened, Memory};
use super::transaction::Transaction;
use crate::api::error::ApiError;
use crate::api::object::{Key, Object, Owner};
use crate::api::registry::{KindId, Registry};
use crate::api::write;

/// Objects that one group looks at.
const MAX_STEPS: usize = 128;

/// What is still to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    objects: BTreeSet<(KindId, Key)>,
    namespaces: BTreeSet<String>,
}

impl Garbage {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.namespaces.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Notes what follows from an object that is there.
    pub(crate) fn look_at(&mut self, registry: &Registry, kind: KindId, object: &Object) {
        if !object.owners().is_empty() {
            self.objects.insert((kind, object.key().clone()));
        }
        if kind == registry.namespaces() && object.terminating() {
            self.namespaces.insert(object.name().to_owned());
        }
    }

    /// Notes what follows from a change; `memory` has it already.
    pub(crate) fn after(&mut self, registry: &Registry, change: &Change, memory: &Memory) {
        let object = &change.event.object;
        if change.event.happened != Happened::Deleted {
            let before = change.event.previous.as_ref();
            let owners_changed = before.is_none_or(|p| p.owners() != object.owners());
            if owners_changed || object.terminating() {
                self.look_at(registry, change.kind, object);
            }
            return;
        }
        self.objects.extend(memory.dependents(object.uid()));
        let namespace = memory.get(registry.namespaces(), &Key::new("", object.namespace()));
        if namespace.is_some_and(|ns| ns.terminating()) {
            self.namespaces.insert(object.namespace().to_owned());
        }
    }

    /// Stages the next steps.
    pub(crate) fn collect(&mut self, transaction: &mut Transaction<'_>) {
        let mut steps = 0;
        while steps < MAX_STEPS
            && let Some((kind, key)) = self.objects.pop_first()
        {
            steps += 1;
            report(&key, settle(transaction, kind, &key));
        }
        while steps < MAX_STEPS
            && let Some(name) = self.namespaces.pop_first()
        {
            match empty(transaction, &name, MAX_STEPS - steps) {
                Ok((taken, more)) => {
                    steps += taken.max(1);
                    if more {
                        self.namespaces.insert(name);
                        return;
                    }
                }
                Err(error) => {
                    steps += 1;
                    report(&Key::new("", &name), Err(error));
                }
            }
        }
    }
}

fn report(key: &Key, outcome: Result<(), ApiError>) {
    if let Err(error) = outcome {
        tracing::warn!(
            namespace = %key.namespace, name = %key.name, %error,
            "an object whose owner or namespace is gone could not be deleted"
        );
    }
}

/// Deletes an object whose owners are all gone, or takes out the references to those that are.
fn settle(transaction: &mut Transaction<'_>, kind: KindId, key: &Key) -> Result<(), ApiError> {
    let Some(object) = transaction.get(kind, key) else {
        return Ok(());
    };
    if object.owners().is_empty() || object.terminating() {
        return Ok(());
    }
    let gone: Vec<&Owner> = object
        .owners()
        .iter()
        .filter(|o| !exists(transaction, key, o))
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    if gone.len() == object.owners().len() {
        return write::delete(transaction, kind, key, &write::Preconditions::default()).map(drop);
    }
    let mut value = object.value();
    if let Some(owners) = value["metadata"]["ownerReferences"].as_array_mut() {
        owners.retain(|o| {
            o["uid"]
                .as_str()
                .is_some_and(|uid| gone.iter().all(|owner| owner.uid != uid))
        });
    }
    transaction.put(kind, value).map(drop)
}

fn exists(transaction: &Transaction<'_>, dependent: &Key, owner: &Owner) -> bool {
    let registry = transaction.registry();
    let Some(kind) = registry.by_reference(&owner.api_version, &owner.kind) else {
        return true;
    };
    let Some((found, key)) = transaction.stored().find_uid(&owner.uid) else {
        return false;
    };
    // An owner is of the kind that the reference says, and in the same namespace or in none.
    found == kind
        && (key.namespace.is_empty() || key.namespace == dependent.namespace)
        && transaction
            .get(found, &key)
            .is_some_and(|o| o.uid() == owner.uid)
}

/// Deletes at most `limit` objects of a namespace, and the namespace when nothing is left in it.
/// Gives the number of deletions, and whether there are more to be made.
fn empty(
    transaction: &mut Transaction<'_>,
    name: &str,
    limit: usize,
) -> Result<(usize, bool), ApiError> {
    let namespaces = transaction.registry().namespaces();
    let place = Key::new("", name);
    let Some(namespace) = transaction.get(namespaces, &place) else {
        return Ok((0, false));
    };
    if !namespace.terminating() {
        return Ok((0, false));
    }
    let (mut taken, mut waiting) = (0, false);
    for kind in transaction.registry().ids() {
        if !transaction.kind(kind)?.namespaced {
            continue;
        }
        for key in transaction.keys(kind, Some(name)) {
            if transaction.get(kind, &key).is_some_and(|o| o.terminating()) {
                waiting = true;
                continue;
            }
            if taken == limit {
                return Ok((taken, true));
            }
            taken += 1;
            write::delete(transaction, kind, &key, &write::Preconditions::default())?;
            waiting |= transaction.get(kind, &key).is_some();
        }
    }
    let mut value = namespace.value();
    let finalizers = value["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|f| !f.is_empty());
    if !waiting && !finalizers {
        value["spec"] = json!({});
        transaction.remove_as(namespaces, &namespace, value)?;
        taken += 1;
    }
    Ok((taken, false))
}
