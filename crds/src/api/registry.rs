//! The kinds that are served, found by path or by name.
//!
//! A registry is a snapshot: a request takes one and sees the same kinds from its beginning to its
//! end, while the committer puts the next one in place. It is a fold of the kinds that are compiled
//! in and of the definitions that are stored, so it needs no storage of its own.
//!
//! A kind is stored once, in its storage version, and served in one or more versions. A [`KindId`]
//! names a kind and the version in which a request speaks of it. Slots are never used again, so an
//! id of a kind that is gone finds nothing rather than another kind.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::OpenError;
use crate::core;
use crate::definitions;
use crate::resource::ResourceKind;

/// A kind, in one of its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KindId {
    slot: u32,
    /// 0 for the storage version, so that kinds of one version have one id.
    version: u16,
}

impl KindId {
    /// The kind in the version in which it is stored: the id that store and history use.
    pub(crate) fn stored(self) -> Self {
        Self { version: 0, ..self }
    }
}

/// One kind with its versions.
#[derive(Clone, Debug)]
struct Entry {
    /// The versions, those that are not served as well; the numbers of versions stay with their
    /// names while the kind lives.
    versions: BTreeMap<u16, Arc<ResourceKind>>,
    /// The number of the storage version.
    storage: u16,
    /// Whether the kind came from a stored definition.
    defined: bool,
    /// Why no objects can be created, if none can.
    closed: Option<&'static str>,
}

impl Entry {
    fn stored(&self) -> Option<&Arc<ResourceKind>> {
        self.versions.get(&self.storage)
    }

    fn id(&self, slot: u32, version: u16) -> KindId {
        let version = if version == self.storage { 0 } else { version };
        KindId { slot, version }
    }
}

/// A kind that a stored definition defines.
#[derive(Clone, Debug)]
pub(crate) struct Defined {
    /// Its versions; exactly one is the storage version.
    pub(crate) versions: Vec<ResourceKind>,
    /// Why no objects can be created, if none can.
    pub(crate) closed: Option<&'static str>,
}

/// The kinds that are served.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    entries: BTreeMap<u32, Entry>,
    next: u32,
    served: Vec<Arc<ResourceKind>>,
    namespaces: KindId,
    config_maps: KindId,
    definitions: KindId,
}

impl Registry {
    /// The given kinds, and Namespace, ConfigMap and CustomResourceDefinition where they are not
    /// among them: the API itself cannot work without these. Kinds that differ in their version alone are one
    /// kind in several versions.
    pub(crate) fn new(mut kinds: Vec<ResourceKind>) -> Result<Self, OpenError> {
        let needed = [
            core::namespace_kind(),
            core::config_map_kind(),
            definitions::definition_kind(),
        ];
        for needed in needed {
            let same = |k: &ResourceKind| k.group == needed.group && k.plural == needed.plural;
            if !kinds.iter().any(same) {
                kinds.push(needed);
            }
        }
        let nothing = KindId {
            slot: u32::MAX,
            version: 0,
        };
        let mut registry = Self {
            entries: BTreeMap::new(),
            next: 0,
            served: Vec::new(),
            namespaces: nothing,
            config_maps: nothing,
            definitions: nothing,
        };
        for versions in group(kinds) {
            let mut names = HashSet::new();
            let storage = versions.iter().filter(|k| k.storage).count();
            if storage != 1 || !versions.iter().all(|k| names.insert(api_version(k))) {
                let (group, plural) = versions
                    .first()
                    .map(|k| (k.group.clone(), k.plural.clone()))
                    .unwrap_or_default();
                return Err(OpenError::DuplicateKind { group, plural });
            }
            registry.add(versions, false, None);
        }
        registry.publish();
        let core = |plural| registry.by_path("", "v1", plural).unwrap_or(nothing);
        (registry.namespaces, registry.config_maps) = (core("namespaces"), core("configmaps"));
        let found = registry.by_path(definitions::GROUP, "v1", definitions::PLURAL);
        registry.definitions = found.unwrap_or(nothing);
        Ok(registry)
    }

    /// Serves a kind that a stored definition defines. One that is there keeps its slot; one that
    /// is compiled in is not replaced.
    pub(crate) fn define(&mut self, defined: Defined) {
        let Defined { versions, closed } = defined;
        let Some(first) = versions.first() else {
            return;
        };
        match self.slot_of(&first.group, &first.plural) {
            Some(slot) if self.entries.get(&slot).is_some_and(|e| e.defined) => {
                self.renew(slot, versions, closed);
            }
            Some(_) => {}
            None => self.add(versions, true, closed),
        }
        self.publish();
    }

    /// Serves a defined kind no more.
    pub(crate) fn undefine(&mut self, group: &str, plural: &str) {
        if let Some(slot) = self.slot_of(group, plural)
            && self.entries.get(&slot).is_some_and(|entry| entry.defined)
        {
            self.entries.remove(&slot);
            self.publish();
        }
    }

    /// The kinds whose stored version differs from that of `before`, so that what memory holds of
    /// them is to be made anew.
    pub(crate) fn renewed_since(&self, before: &Self) -> Vec<KindId> {
        let stored = |registry: &Self, slot: &u32| {
            let entry = registry.entries.get(slot)?;
            entry.stored().map(Arc::clone)
        };
        self.entries
            .keys()
            .filter(|slot| match (stored(before, slot), stored(self, slot)) {
                (Some(old), Some(new)) => {
                    !Arc::ptr_eq(&old, &new)
                        && (old.schema != new.schema || old.version != new.version)
                }
                _ => false,
            })
            .map(|slot| KindId {
                slot: *slot,
                version: 0,
            })
            .collect()
    }

    fn add(&mut self, versions: Vec<ResourceKind>, defined: bool, closed: Option<&'static str>) {
        let slot = self.next;
        self.next += 1;
        let empty = Entry {
            versions: BTreeMap::new(),
            storage: 0,
            defined,
            closed,
        };
        self.entries.insert(slot, empty);
        self.renew(slot, versions, closed);
    }

    fn renew(&mut self, slot: u32, versions: Vec<ResourceKind>, closed: Option<&'static str>) {
        let Some(entry) = self.entries.get_mut(&slot) else {
            return;
        };
        let before = std::mem::take(&mut entry.versions);
        let mut free = before.keys().next_back().map_or(1, |last| last + 1);
        for kind in versions {
            let known = before
                .iter()
                .find(|(_, old)| api_version(old) == api_version(&kind));
            let number = known.map_or(free, |(number, _)| *number);
            if known.is_none() {
                free += 1;
            }
            if kind.storage {
                entry.storage = number;
            }
            entry.versions.insert(number, Arc::new(kind));
        }
        entry.closed = closed;
    }

    fn publish(&mut self) {
        self.served = self
            .entries
            .values()
            .flat_map(|entry| entry.versions.values())
            .filter(|kind| kind.served)
            .map(Arc::clone)
            .collect();
    }

    fn slot_of(&self, group: &str, plural: &str) -> Option<u32> {
        self.entries
            .iter()
            .find(|(_, entry)| {
                entry
                    .stored()
                    .is_some_and(|k| k.group == group && k.plural == plural)
            })
            .map(|(slot, _)| *slot)
    }

    /// The kind that an id names, in the version that it names. None once the kind is gone.
    pub(crate) fn kind(&self, id: KindId) -> Option<&Arc<ResourceKind>> {
        let entry = self.entries.get(&id.slot)?;
        match id.version {
            0 => entry.stored(),
            version => entry.versions.get(&version),
        }
    }

    /// All kinds, in every version that is served.
    pub(crate) fn kinds(&self) -> &[Arc<ResourceKind>] {
        &self.served
    }

    /// The ids of all kinds, as stored.
    pub(crate) fn ids(&self) -> impl Iterator<Item = KindId> + use<> {
        let slots: Vec<u32> = self.entries.keys().copied().collect();
        slots.into_iter().map(|slot| KindId { slot, version: 0 })
    }

    /// The kinds that are compiled in, as stored.
    pub(crate) fn compiled(&self) -> impl Iterator<Item = &Arc<ResourceKind>> {
        self.entries
            .values()
            .filter(|entry| !entry.defined)
            .filter_map(Entry::stored)
    }

    /// Why no objects of a kind can be created, if none can.
    pub(crate) fn closed(&self, id: KindId) -> Option<&'static str> {
        self.entries.get(&id.slot)?.closed
    }

    fn find(&self, found: impl Fn(&ResourceKind) -> bool) -> Option<KindId> {
        self.entries.iter().find_map(|(slot, entry)| {
            let (version, _) = entry.versions.iter().find(|(_, k)| k.served && found(k))?;
            Some(entry.id(*slot, *version))
        })
    }

    /// The kind that is served under a path.
    pub(crate) fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<KindId> {
        self.find(|k| k.plural == plural && k.version == version && k.group == group)
    }

    /// The kind that is stored under a group and a plural name.
    pub(crate) fn by_name(&self, group: &str, plural: &str) -> Option<KindId> {
        let slot = self.slot_of(group, plural)?;
        Some(KindId { slot, version: 0 })
    }

    /// The kind that an object reference names, in whatever version, as stored.
    pub(crate) fn by_reference(&self, api_version: &str, kind: &str) -> Option<KindId> {
        self.find(|k| k.kind == kind && self::api_version(k) == api_version)
            .map(KindId::stored)
    }

    /// The Namespace kind.
    pub(crate) fn namespaces(&self) -> KindId {
        self.namespaces
    }

    /// The ConfigMap kind.
    pub(crate) fn config_maps(&self) -> KindId {
        self.config_maps
    }

    /// The CustomResourceDefinition kind.
    pub(crate) fn definitions(&self) -> KindId {
        self.definitions
    }
}

/// Puts the versions of one kind together, in the order of their first.
fn group(kinds: Vec<ResourceKind>) -> Vec<Vec<ResourceKind>> {
    let mut grouped: Vec<Vec<ResourceKind>> = Vec::new();
    for kind in kinds {
        let place = |k: &ResourceKind| k.stored_in.clone().unwrap_or_else(|| k.group.clone());
        let same = |versions: &&mut Vec<ResourceKind>| {
            let first = versions.first();
            first.is_some_and(|k| place(k) == place(&kind) && k.plural == kind.plural)
        };
        match grouped.iter_mut().find(same) {
            Some(versions) => versions.push(kind),
            None => grouped.push(vec![kind]),
        }
    }
    grouped
}

/// The `apiVersion` of a kind's objects.
pub(crate) fn api_version(kind: &ResourceKind) -> String {
    if kind.group.is_empty() {
        kind.version.clone()
    } else {
        format!("{}/{}", kind.group, kind.version)
    }
}
