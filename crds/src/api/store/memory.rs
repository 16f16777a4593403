//! What is served: every object in memory, and the recent past of every kind.
//!
//! Laws: only durable changes get in here, in the order of their versions, by the one committer;
//! readers see all changes up to [`Memory::version`] and none after. The past of a kind is
//! bounded by count and by bytes; whoever continues from before its floor is told to start over.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use crate::api::object::{Key, Object};
use crate::api::registry::KindId;

/// Kinds that are gone whose past is still kept.
const MAX_GONE: usize = 16;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// It came to be.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change, as watches see it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The version of the change.
    pub(crate) version: u64,
    /// What happened.
    pub(crate) happened: Happened,
    /// The object after the change; for a deletion its last state with the deletion's version.
    pub(crate) object: Arc<Object>,
    /// The object before the change.
    pub(crate) previous: Option<Arc<Object>>,
}

/// One change with its place.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The kind, as stored.
    pub(crate) kind: KindId,
    /// What happened.
    pub(crate) event: Event,
}

/// Bounds of the past that is kept for each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryLimits {
    /// Events.
    pub(crate) events: usize,
    /// Bytes of JSON that those events refer to.
    pub(crate) bytes: usize,
}

/// The version that a reader continues from is before what is remembered, or not yet reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    /// The oldest version that one can continue from.
    pub(crate) floor: u64,
}

/// The objects of one kind and their past. Its end ends the watches of the kind.
#[derive(Debug)]
struct Shelf {
    objects: BTreeMap<Arc<Key>, Arc<Object>>,
    past: VecDeque<Event>,
    past_bytes: usize,
    /// All changes after this version are in `past`.
    floor: u64,
    /// The newest version of the kind; what watches wait for. None once the kind is gone: only
    /// its past is kept then, for watches that have not read it to its end.
    news: Option<watch::Sender<u64>>,
}

/// Everything that is served.
#[derive(Debug)]
pub(crate) struct Memory {
    version: u64,
    /// By the stored id of the kind.
    shelves: BTreeMap<KindId, Shelf>,
    /// Kinds that are gone, oldest first.
    gone: VecDeque<KindId>,
    uids: HashMap<Arc<str>, (KindId, Arc<Key>)>,
    dependents: HashMap<String, BTreeSet<(KindId, Arc<Key>)>>,
    limits: HistoryLimits,
}

impl Memory {
    /// An empty memory without kinds, which continues after `version`.
    pub(crate) fn new(version: u64, limits: HistoryLimits) -> Self {
        Self {
            version,
            shelves: BTreeMap::new(),
            gone: VecDeque::new(),
            uids: HashMap::new(),
            dependents: HashMap::new(),
            limits,
        }
    }

    /// Makes room for exactly these kinds. What was held of others is forgotten, and their
    /// watches end.
    pub(crate) fn hold(&mut self, kinds: &BTreeSet<KindId>) {
        let held: Vec<KindId> = self.shelves.keys().copied().collect();
        for kind in held.into_iter().filter(|kind| !kinds.contains(kind)) {
            for object in self.objects(kind) {
                self.unindex(kind, &object);
            }
            if let Some(shelf) = self.shelves.get_mut(&kind)
                && shelf.news.take().is_some()
            {
                shelf.objects.clear();
                self.gone.push_back(kind);
            }
        }
        while self.gone.len() > MAX_GONE {
            if let Some(oldest) = self.gone.pop_front() {
                self.shelves.remove(&oldest);
            }
        }
        let floor = self.version;
        for kind in kinds {
            self.shelves.entry(*kind).or_insert_with(|| Shelf {
                objects: BTreeMap::new(),
                past: VecDeque::new(),
                past_bytes: 0,
                floor,
                news: Some(watch::Sender::new(floor)),
            });
        }
    }

    /// Puts a stored object in place, without an event: one that was read from disk, or one that
    /// is to be held in another form than before.
    pub(crate) fn restore(&mut self, kind: KindId, object: &Arc<Object>) {
        if let Some(shelf) = self.shelves.get_mut(&kind.stored()) {
            let key = Arc::clone(object.shared_key());
            shelf.objects.insert(key, Arc::clone(object));
            self.index(kind.stored(), object);
        }
    }

    /// Continues after a version, where it is newer. Before that there is no past.
    pub(crate) fn continue_after(&mut self, version: u64) {
        if version <= self.version {
            return;
        }
        self.version = version;
        for shelf in self.shelves.values_mut() {
            shelf.floor = version;
        }
    }

    /// Whether there is room for a kind.
    pub(crate) fn holds(&self, kind: KindId) -> bool {
        self.shelf(kind).is_some_and(|shelf| shelf.news.is_some())
    }

    fn shelf(&self, kind: KindId) -> Option<&Shelf> {
        self.shelves.get(&kind.stored())
    }

    /// Tells when a kind changes, as the version of the change; closes when the kind is gone.
    pub(crate) fn news(&self, kind: KindId) -> Option<watch::Receiver<u64>> {
        Some(self.shelf(kind)?.news.as_ref()?.subscribe())
    }

    /// Wakes the watches of a kind.
    pub(crate) fn tell(&self, kind: KindId, version: u64) {
        if let Some(news) = self.shelf(kind).and_then(|shelf| shelf.news.as_ref()) {
            news.send_replace(version);
        }
    }

    /// The newest version.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// One object.
    pub(crate) fn get(&self, kind: KindId, key: &Key) -> Option<Arc<Object>> {
        self.shelf(kind)?.objects.get(key).cloned()
    }

    /// The objects of a kind, of one namespace or of all, after `after`, in the order of keys.
    pub(crate) fn list<'a>(
        &'a self,
        kind: KindId,
        namespace: Option<&'a str>,
        after: Option<&Key>,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let first = Key::new(namespace.unwrap_or_default(), "");
        let from = match after {
            Some(key) if *key >= first => Bound::Excluded(Arc::new(key.clone())),
            _ => Bound::Included(Arc::new(first)),
        };
        self.shelf(kind)
            .into_iter()
            .flat_map(move |shelf| shelf.objects.range((from.clone(), Bound::Unbounded)))
            .take_while(move |(key, _)| namespace.is_none_or(|ns| key.namespace == ns))
            .map(|(_, object)| object)
    }

    /// What [`Memory::list`] gave at a version. What happened since is undone: the first change of an
    /// object after the version tells what it was.
    pub(crate) fn list_at<'a>(
        &'a self,
        kind: KindId,
        namespace: Option<&'a str>,
        after: Option<&Key>,
        version: u64,
    ) -> Result<Vec<&'a Arc<Object>>, Expired> {
        self.reaches(kind, version)?;
        let mut undone: BTreeMap<&Key, Option<&Arc<Object>>> = BTreeMap::new();
        for event in self.later(kind, version) {
            let key = event.object.key();
            undone.entry(key).or_insert(event.previous.as_ref());
        }
        let unchanged = self
            .list(kind, namespace, after)
            .filter(|object| !undone.contains_key(object.key()));
        let previous = undone.values().copied().flatten().filter(|object| {
            namespace.is_none_or(|namespace| object.namespace() == namespace)
                && after.is_none_or(|after| object.key() > after)
        });
        let mut objects: Vec<_> = unchanged.chain(previous).collect();
        // Where nothing is undone, as in a list of what is now, they are in order.
        if !undone.is_empty() {
            objects.sort_by(|one, other| one.key().cmp(other.key()));
        }
        Ok(objects)
    }

    /// All objects of a kind.
    pub(crate) fn objects(&self, kind: KindId) -> Vec<Arc<Object>> {
        self.list(kind, None, None).cloned().collect()
    }

    /// The number of objects of a kind.
    pub(crate) fn count(&self, kind: KindId) -> usize {
        self.shelf(kind).map_or(0, |shelf| shelf.objects.len())
    }

    /// Where the object with an identity is.
    pub(crate) fn find_uid(&self, uid: &str) -> Option<(KindId, Key)> {
        let (kind, key) = self.uids.get(uid)?;
        Some((*kind, Key::clone(key)))
    }

    /// The objects that name this identity as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(KindId, Key)> {
        self.dependents
            .get(uid)
            .map(|set| {
                let places = set.iter().map(|(kind, key)| (*kind, Key::clone(key)));
                places.collect()
            })
            .unwrap_or_default()
    }

    /// Whether one can continue from a version without missing a change of the kind.
    pub(crate) fn reaches(&self, kind: KindId, version: u64) -> Result<(), Expired> {
        let floor = self.shelf(kind).map_or(self.version, |shelf| shelf.floor);
        if version < floor || version > self.version {
            Err(Expired { floor })
        } else {
            Ok(())
        }
    }

    /// At most `limit` events after `version`, oldest first.
    pub(crate) fn since(
        &self,
        kind: KindId,
        version: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Expired> {
        self.reaches(kind, version)?;
        Ok(self.later(kind, version).take(limit).cloned().collect())
    }

    /// The remembered events after `version`, oldest first.
    fn later(&self, kind: KindId, version: u64) -> impl Iterator<Item = &Event> {
        self.shelf(kind).into_iter().flat_map(move |shelf| {
            let past = &shelf.past;
            let start = past.partition_point(|event| event.version <= version);
            past.range(start..)
        })
    }

    /// Takes in changes that are durable now.
    pub(crate) fn apply(&mut self, changes: &[Change]) {
        for Change { kind, event } in changes {
            if let Some(previous) = &event.previous {
                self.unindex(*kind, previous);
            }
            let Some(shelf) = self.shelves.get_mut(kind) else {
                continue;
            };
            if event.happened == Happened::Deleted {
                shelf.objects.remove(event.object.key());
            } else {
                shelf.objects.insert(
                    Arc::clone(event.object.shared_key()),
                    Arc::clone(&event.object),
                );
            }
            shelf.past_bytes += weight(event);
            shelf.past.push_back(event.clone());
            while shelf.past.len() > self.limits.events || shelf.past_bytes > self.limits.bytes {
                let Some(oldest) = shelf.past.pop_front() else {
                    break;
                };
                shelf.past_bytes -= weight(&oldest);
                shelf.floor = oldest.version;
            }
            if event.happened != Happened::Deleted {
                self.index(*kind, &event.object);
            }
            self.version = event.version;
        }
    }

    fn index(&mut self, kind: KindId, object: &Object) {
        self.uids.insert(
            Arc::clone(object.shared_uid()),
            (kind, Arc::clone(object.shared_key())),
        );
        for owner in object.owners() {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert((kind, Arc::clone(object.shared_key())));
        }
    }

    fn unindex(&mut self, kind: KindId, object: &Object) {
        self.uids.remove(object.uid());
        for owner in object.owners() {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(&(kind, Arc::clone(object.shared_key())));
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}

fn weight(event: &Event) -> usize {
    event.object.json().len()
}
