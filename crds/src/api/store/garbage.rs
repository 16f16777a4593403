//! What is deleted because something else was: dependents of deleted owners, and the contents of
//! deleted namespaces.
//!
//! The committer does this itself, a bounded number of steps in each group, so it needs neither
//! a task nor a queue that could overflow: what is to be looked at is a set of places, and it is
//! found again from the objects when the store is opened.
//!
//! An object goes when none of its owners is left. References to owners that are gone are taken
//! out of objects that keep another owner. An owner that goes after its dependents (foreground)
//! takes those with it that have no other owner, and waits for those that block it; one whose
//! dependents stay (orphan) is taken out of them first.
//!
//! Where Kubernetes leaves the outcome to a race of its workers, it depends here on the order of
//! writes alone. What follows from one group is looked at before anything of the next is staged, as
//! far as the bound of steps allows. Dependents come before owners, as in Kubernetes' own queue: all
//! dependents of an owner that goes in the foreground go, also those that do not block it, though it
//! may have nothing to wait for.
//!
//! Nothing is known of owners whose kind is not served, so they are taken to exist; so is a
//! namespaced owner of a cluster-scoped object, since the reference does not say in which
//! namespace it would be.

use std::collections::BTreeSet;

use serde_json::Value;

use super::memory::{Change, Happened, Memory};
use super::namespace;
use super::transaction::Transaction;
use crate::api::deletion::{self, Options, Propagation};
use crate::api::error::ApiError;
use crate::api::object::{Ending, FOREGROUND, Key, ORPHAN, Object, Owner};
use crate::api::registry::{KindId, Registry};

/// Objects that one group looks at.
const MAX_STEPS: usize = 128;

/// What is still to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    /// Objects that may have lost their owners, or be about to.
    dependents: BTreeSet<(KindId, Key)>,
    /// Objects that may be waiting for their dependents, and for none any more.
    owners: BTreeSet<(KindId, Key)>,
    namespaces: BTreeSet<String>,
}

/// How far one owner got.
#[derive(Clone, Copy, Debug)]
struct Settled {
    /// Objects that were written for it.
    steps: usize,
    /// Whether it is to be looked at again.
    again: bool,
}

const NOTHING: Settled = Settled {
    steps: 0,
    again: false,
};
const DONE: Settled = Settled {
    steps: 1,
    again: false,
};

impl Garbage {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.dependents.is_empty() && self.owners.is_empty() && self.namespaces.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Notes what follows from an object that is there.
    pub(crate) fn look_at(&mut self, registry: &Registry, kind: KindId, object: &Object) {
        let place = || (kind, object.key().clone());
        if matches!(object.ending(), Ending::Foreground | Ending::Orphan) {
            self.owners.insert(place());
        } else if !object.owners().is_empty() {
            self.dependents.insert(place());
        }
        if kind == registry.namespaces() && object.terminating() {
            self.namespaces.insert(object.name().to_owned());
        }
    }

    /// Notes what follows from a change; `memory` has it already.
    pub(crate) fn after(&mut self, registry: &Registry, change: &Change, memory: &Memory) {
        let object = &change.event.object;
        let before = change.event.previous.as_ref();
        let owners_changed = before.is_none_or(|p| p.owners() != object.owners());
        let gone = change.event.happened == Happened::Deleted;
        // An owner may wait for just this dependent.
        if (gone || owners_changed)
            && let Some(before) = before
        {
            let owners = before.owners().iter();
            self.owners
                .extend(owners.filter_map(|owner| memory.find_uid(&owner.uid)));
        }
        if gone {
            self.dependents.extend(memory.dependents(object.uid()));
            let namespace = memory.get(registry.namespaces(), &Key::new("", object.namespace()));
            if namespace.is_some_and(|ns| ns.terminating()) {
                self.namespaces.insert(object.namespace().to_owned());
            }
            return;
        }
        if owners_changed || object.terminating() {
            self.look_at(registry, change.kind, object);
        }
        let was = before.map_or(Ending::No, |before| before.ending());
        if object.ending() == Ending::Foreground && was != Ending::Foreground {
            self.dependents.extend(memory.dependents(object.uid()));
        }
    }

    /// Stages the next steps.
    pub(crate) fn collect(&mut self, transaction: &mut Transaction<'_>) {
        let mut steps = 0;
        while steps < MAX_STEPS
            && let Some((kind, key)) = self.dependents.pop_first()
        {
            steps += 1;
            if let Err(error) = follow(transaction, kind, &key) {
                report(&key, &error);
            }
        }
        while steps < MAX_STEPS
            && let Some((kind, key)) = self.owners.pop_first()
        {
            steps += 1;
            match settle(transaction, kind, &key, MAX_STEPS - steps) {
                Ok(settled) => {
                    steps += settled.steps;
                    if settled.again {
                        self.owners.insert((kind, key));
                        return;
                    }
                }
                Err(error) => report(&key, &error),
            }
        }
        while steps < MAX_STEPS
            && let Some(name) = self.namespaces.pop_first()
        {
            match namespace::empty(transaction, &name, MAX_STEPS - steps) {
                Ok((taken, more)) => {
                    steps += taken.max(1);
                    if more {
                        self.namespaces.insert(name);
                        return;
                    }
                }
                Err(error) => {
                    steps += 1;
                    report(&Key::new("", &name), &error);
                }
            }
        }
    }
}

fn report(key: &Key, error: &ApiError) {
    tracing::warn!(
        namespace = %key.namespace, name = %key.name, %error,
        "an object whose owner or namespace is gone could not be deleted"
    );
}

/// The owners of an object by what is known of them.
#[derive(Debug, Default)]
struct Owners {
    /// There, and not to go.
    solid: usize,
    /// Gone, or never there.
    gone: Vec<String>,
    /// About to go, after this object.
    waiting: Vec<String>,
}

/// Does what is to be done about an owner that may wait for its dependents, with at most `limit`
/// writes for those.
fn settle(
    transaction: &mut Transaction<'_>,
    kind: KindId,
    key: &Key,
    limit: usize,
) -> Result<Settled, ApiError> {
    let Some(object) = transaction.get(kind, key) else {
        return Ok(NOTHING);
    };
    match object.ending() {
        Ending::Orphan => orphan(transaction, kind, &object, limit),
        Ending::Foreground => {
            let blocked = transaction
                .dependents(object.uid())
                .iter()
                .any(|(_, dependent)| blocks(dependent, object.uid()));
            if blocked {
                return Ok(NOTHING);
            }
            deletion::release(transaction, kind, &object, FOREGROUND)?;
            Ok(DONE)
        }
        Ending::Waits | Ending::No => Ok(NOTHING),
    }
}

/// Does what is to be done about an object because of its owners.
fn follow(transaction: &mut Transaction<'_>, kind: KindId, key: &Key) -> Result<(), ApiError> {
    let Some(object) = transaction.get(kind, key) else {
        return Ok(());
    };
    if object.terminating() {
        return Ok(());
    }
    let Some(owners) = owners_of(transaction, key, &object) else {
        return Ok(());
    };
    if owners.gone.is_empty() && owners.waiting.is_empty() {
        return Ok(());
    }
    if owners.solid > 0 {
        let mut value = object.value();
        for uid in owners.gone.iter().chain(&owners.waiting) {
            disown(&mut value, uid);
        }
        return transaction.put(kind, value).map(drop);
    }
    let mut options = Options::default();
    if !owners.waiting.is_empty() {
        let dependents = transaction.dependents(object.uid());
        if !dependents.is_empty() {
            options.propagation = Some(Propagation::Foreground);
            // Whoever waits for itself in the end would wait for ever.
            let circle = |(_, other): &(KindId, std::sync::Arc<Object>)| {
                other.ending() == Ending::Foreground
            };
            if dependents.iter().any(circle) {
                unblock(transaction, kind, &object)?;
            }
        }
    }
    deletion::delete(transaction, kind, key, &options).map(drop)
}

/// Sorts the owners. Nothing when a reference cannot be followed.
fn owners_of(transaction: &Transaction<'_>, key: &Key, object: &Object) -> Option<Owners> {
    let registry = transaction.registry();
    let mut owners = Owners::default();
    for owner in object.owners() {
        let Some(kind) = registry.by_reference(&owner.api_version, &owner.kind) else {
            owners.solid += 1;
            continue;
        };
        let namespaced = registry.kind(kind).is_some_and(|kind| kind.namespaced);
        if key.namespace.is_empty() && namespaced {
            return None;
        }
        match find(transaction, key, kind, owner) {
            None => owners.gone.push(owner.uid.clone()),
            Some(Ending::Foreground) => owners.waiting.push(owner.uid.clone()),
            Some(_) => owners.solid += 1,
        }
    }
    Some(owners)
}

/// How an owner does: it is of the kind that the reference says, and in the same namespace or in
/// none.
fn find(
    transaction: &Transaction<'_>,
    dependent: &Key,
    kind: KindId,
    owner: &Owner,
) -> Option<Ending> {
    let (found, key) = transaction.stored().find_uid(&owner.uid)?;
    if found != kind || !(key.namespace.is_empty() || key.namespace == dependent.namespace) {
        return None;
    }
    transaction
        .get(found, &key)
        .filter(|object| object.uid() == owner.uid)
        .map(|object| object.ending())
}

fn blocks(dependent: &Object, uid: &str) -> bool {
    let mut owners = dependent.owners().iter();
    owners.any(|owner| owner.uid == uid && owner.blocks)
}

/// Takes an owner that is being deleted out of its dependents, then lets it go.
fn orphan(
    transaction: &mut Transaction<'_>,
    kind: KindId,
    owner: &std::sync::Arc<Object>,
    limit: usize,
) -> Result<Settled, ApiError> {
    let dependents = transaction.dependents(owner.uid());
    let again = dependents.len() > limit;
    let mut steps = 0;
    for (of, dependent) in dependents.into_iter().take(limit) {
        let mut value = dependent.value();
        disown(&mut value, owner.uid());
        transaction.put(of, value)?;
        steps += 1;
    }
    if !again {
        deletion::release(transaction, kind, owner, ORPHAN)?;
        steps += 1;
    }
    Ok(Settled { steps, again })
}

/// Takes the reference to an owner out of an object.
fn disown(value: &mut Value, uid: &str) {
    let Some(metadata) = value["metadata"].as_object_mut() else {
        return;
    };
    if let Some(owners) = metadata
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut)
    {
        owners.retain(|owner| owner["uid"] != uid);
        if owners.is_empty() {
            metadata.remove("ownerReferences");
        }
    }
}

/// Lets the owners of an object go without waiting for it.
fn unblock(
    transaction: &mut Transaction<'_>,
    kind: KindId,
    object: &Object,
) -> Result<(), ApiError> {
    let mut value = object.value();
    let owners = value["metadata"]["ownerReferences"].as_array_mut();
    for owner in owners.into_iter().flatten() {
        if owner["blockOwnerDeletion"] == true {
            owner["blockOwnerDeletion"] = Value::Bool(false);
        }
    }
    transaction.put(kind, value).map(drop)
}
