//! The end of a namespace: its contents go, then what it waits for, then itself.
//!
//! A namespace that is being deleted stays while it has contents, finalizers in its metadata, or
//! finalizers in its spec. `kubernetes` in the spec is the server's own, and is taken off when
//! nothing is left inside; others are taken off by whoever put them there, through the
//! `finalize` subresource. The status says meanwhile what is waited for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::transaction::Transaction;
use crate::api::deletion::{self, Options};
use crate::api::error::{ApiError, qualified};
use crate::api::metadata;
use crate::api::object::{Key, Object};

/// The finalizer of a namespace's spec that is the server's own.
pub(crate) const KUBERNETES: &str = "kubernetes";

/// What is left in a namespace.
#[derive(Debug, Default)]
struct Left {
    /// Objects of each kind.
    kinds: BTreeMap<String, usize>,
    /// Objects that wait for each finalizer.
    finalizers: BTreeMap<String, usize>,
}

/// Deletes at most `limit` objects of a namespace, and the namespace when nothing is left in it.
/// Gives the number of deletions, and whether there are more to be made.
pub(super) fn empty(
    transaction: &mut Transaction<'_>,
    name: &str,
    limit: usize,
) -> Result<(usize, bool), ApiError> {
    let namespaces = transaction.registry().namespaces();
    let Some(namespace) = transaction.get(namespaces, &Key::new("", name)) else {
        return Ok((0, false));
    };
    if !namespace.terminating() {
        return Ok((0, false));
    }
    let (mut taken, mut left) = (0, Left::default());
    let registry = transaction.registry();
    for kind in registry.ids() {
        let Some(what) = registry.kind(kind).filter(|kind| kind.namespaced) else {
            continue;
        };
        for key in transaction.keys(kind, Some(name)) {
            if !transaction.get(kind, &key).is_some_and(|o| o.terminating()) {
                if taken == limit {
                    return Ok((taken, true));
                }
                taken += 1;
                deletion::delete(transaction, kind, &key, &Options::default())?;
            }
            if let Some(object) = transaction.get(kind, &key) {
                left.count(qualified(what), &object);
            }
        }
    }
    let mut value = namespace.value();
    if left.kinds.is_empty() {
        let spec = value["spec"]["finalizers"].as_array_mut();
        if let Some(finalizers) = spec {
            finalizers.retain(|finalizer| finalizer != KUBERNETES);
        }
        if is_free(&value) {
            transaction.remove_as(namespaces, &namespace, value)?;
            return Ok((taken + 1, false));
        }
    }
    report(&mut value, &left, &transaction.time());
    if value != namespace.value() {
        transaction.put(namespaces, value)?;
        taken += 1;
    }
    Ok((taken, false))
}

/// Whether nobody holds a namespace any more.
pub(crate) fn is_free(namespace: &Value) -> bool {
    let held = namespace["spec"]["finalizers"]
        .as_array()
        .is_some_and(|finalizers| !finalizers.is_empty());
    !held && metadata::finalizers(namespace).is_empty()
}

impl Left {
    fn count(&mut self, kind: String, object: &Object) {
        *self.kinds.entry(kind).or_default() += 1;
        for finalizer in metadata::finalizers(&object.value()) {
            *self.finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }
}

/// Writes what is waited for into the status.
fn report(namespace: &mut Value, left: &Left, now: &str) {
    let listed = |entries: &BTreeMap<String, usize>, what: &str| {
        let entries: Vec<String> = entries
            .iter()
            .map(|(name, count)| format!("{name} {what} {count} resource instances"))
            .collect();
        entries.join(", ")
    };
    let remaining = if left.kinds.is_empty() {
        (
            "False",
            "ContentRemoved",
            "All content successfully removed".to_owned(),
        )
    } else {
        let kinds = listed(&left.kinds, "has");
        let text = format!("Some resources are remaining: {kinds}");
        ("True", "SomeResourcesRemain", text)
    };
    let finalizers = if left.finalizers.is_empty() {
        let text = "All content-preserving finalizers finished".to_owned();
        ("False", "ContentHasNoFinalizers", text)
    } else {
        let finalizers = listed(&left.finalizers, "in");
        let text = format!("Some content in the namespace has finalizers remaining: {finalizers}");
        ("True", "SomeFinalizersRemain", text)
    };
    let fine = |reason: &'static str, text: &str| ("False", reason, text.to_owned());
    let conditions = [
        (
            "NamespaceDeletionDiscoveryFailure",
            fine(
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            fine(
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
        ),
        (
            "NamespaceDeletionContentFailure",
            fine(
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ),
        ("NamespaceContentRemaining", remaining),
        ("NamespaceFinalizersRemaining", finalizers),
    ];
    let before = namespace["status"]["conditions"].take();
    let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
    let conditions: Vec<Value> = conditions
        .into_iter()
        .map(|(kind, (status, reason, message))| {
            let old = before.iter().find(|old| old["type"] == kind);
            let since = old
                .filter(|old| old["status"] == status)
                .map_or_else(|| json!(now), |old| old["lastTransitionTime"].clone());
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": since,
            })
        })
        .collect();
    namespace["status"]["conditions"] = Value::Array(conditions);
}
