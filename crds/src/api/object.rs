//! A stored object: its JSON once, and beside it the few facts that every read needs.
//!
//! Objects are immutable and shared. Lists, watches and history copy the same text, so a thousand
//! watchers cost no serialisation and little memory.

use std::sync::Arc;

use serde_json::Value;

use super::json::Json;
use crate::word::Word;

/// The finalizer of an object whose dependents go first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object whose dependents stay.
pub(crate) const ORPHAN: &str = "orphan";

/// Where an object is within its kind. The namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The namespace.
    pub(crate) namespace: String,
    /// The name.
    pub(crate) name: String,
}

impl Key {
    /// The key of an object.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// The labels of an object, by their names. One or two as a rule: a map would be larger than the
/// object itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(Box<[(Word, Word)]>);

impl Labels {
    /// The value of a label.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let at = self
            .0
            .binary_search_by(|(own, _)| own.as_str().cmp(name))
            .ok()?;
        self.0.get(at).map(|(_, value)| value.as_str())
    }

    fn of(metadata: &Value) -> Self {
        let Some(map) = metadata["labels"].as_object() else {
            return Self::default();
        };
        let texts = map.iter().filter_map(|(name, value)| {
            let value = value.as_str()?;
            Some((Word::from(name.as_str()), Word::from(value)))
        });
        let mut labels: Box<[_]> = texts.collect();
        labels.sort_unstable();
        Self(labels)
    }
}

/// An owner, as in `metadata.ownerReferences`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Group and version of the owner.
    pub(crate) api_version: String,
    /// The kind of the owner.
    pub(crate) kind: String,
    /// The identity of the owner.
    pub(crate) uid: String,
    /// Whether an owner that goes after its dependents waits for this one.
    pub(crate) blocks: bool,
}

/// Whether and how an object is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is not.
    No,
    /// It waits for finalizers of others.
    Waits,
    /// It waits until no dependent is left that blocks it.
    Foreground,
    /// It waits until no dependent names it any more.
    Orphan,
}

/// An object as it was at one version.
#[derive(Debug)]
pub(crate) struct Object {
    key: Arc<Key>,
    json: Json,
    api_version: Word,
    version: u64,
    uid: Arc<str>,
    labels: Labels,
    owners: Box<[Owner]>,
    ending: Ending,
}

/// Why bytes are not an object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAnObject {
    /// The bytes are not JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The metadata lacks what the server itself writes.
    #[error("metadata.{0} is missing")]
    Missing(&'static str),
}

impl Object {
    /// Takes the facts from the value and serialises it. An object that is only tried may have no
    /// version, which counts as 0.
    pub(crate) fn from_value(value: &Value) -> Result<Self, NotAnObject> {
        let metadata = &value["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let name = text("name");
        if name.is_empty() {
            return Err(NotAnObject::Missing("name"));
        }
        let version = metadata["resourceVersion"]
            .as_str()
            .and_then(|v| v.parse().ok())
            .unwrap_or_default();
        let owners = metadata["ownerReferences"]
            .as_array()
            .map(|refs| refs.iter().map(owner).collect())
            .unwrap_or_default();
        Ok(Self {
            key: Arc::new(Key {
                namespace: text("namespace"),
                name,
            }),
            json: Json::of(value)?,
            api_version: value["apiVersion"].as_str().unwrap_or_default().into(),
            version,
            uid: text("uid").into(),
            labels: Labels::of(metadata),
            owners,
            ending: ending(metadata),
        })
    }

    /// Where the object is.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The same, for those who keep it as long as the object.
    pub(crate) fn shared_key(&self) -> &Arc<Key> {
        &self.key
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.key.name
    }

    /// Its namespace, or nothing.
    pub(crate) fn namespace(&self) -> &str {
        &self.key.namespace
    }

    /// Its JSON, on one line.
    pub(crate) fn json(&self) -> &Json {
        &self.json
    }

    /// Its JSON, to be changed.
    pub(crate) fn value(&self) -> Value {
        self.json.value()
    }

    /// The group and version of the kind in which it is stored.
    pub(crate) fn api_version(&self) -> &str {
        &self.api_version
    }

    /// The version at which it came to be as it is.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Its identity.
    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    /// The same, for those who keep it as long as the object.
    pub(crate) fn shared_uid(&self) -> &Arc<str> {
        &self.uid
    }

    /// Its labels.
    pub(crate) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Its owners.
    pub(crate) fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// Whether it is being deleted and waits for its finalizers.
    pub(crate) fn terminating(&self) -> bool {
        self.ending != Ending::No
    }

    /// Whether and how it is being deleted.
    pub(crate) fn ending(&self) -> Ending {
        self.ending
    }
}

fn ending(metadata: &Value) -> Ending {
    if !metadata["deletionTimestamp"].is_string() {
        return Ending::No;
    }
    let has = |name: &str| {
        metadata["finalizers"]
            .as_array()
            .is_some_and(|all| all.iter().any(|finalizer| finalizer == name))
    };
    if has(ORPHAN) {
        Ending::Orphan
    } else if has(FOREGROUND) {
        Ending::Foreground
    } else {
        Ending::Waits
    }
}

fn owner(reference: &Value) -> Owner {
    let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
    Owner {
        api_version: text("apiVersion"),
        kind: text("kind"),
        uid: text("uid"),
        blocks: reference["blockOwnerDeletion"] == true,
    }
}
