//! One watch for a kind, which feeds an index.
//!
//! Laws:
//! - The watch lives as long as its token: errors are reported and it starts over, waiting
//!   longer each time.
//! - An object that cannot be decoded is reported and skipped; it neither ends the watch nor
//!   hides other objects. What the index last had of it stays until it can be decoded again or
//!   is deleted; after a start over it is not there.
//! - An index sees whole states only: `reset` with everything, then single changes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    #[must_use]
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }
}

/// What a watch feeds.
pub trait Index<K>: Send {
    /// An object came to be or changed.
    fn apply(&mut self, object: K);
    /// An object is gone.
    fn delete(&mut self, key: &ObjectKey);
    /// These are all objects there are.
    fn reset(&mut self, objects: Vec<K>);
}

/// Says whether the index has had everything once.
#[derive(Clone, Debug)]
pub struct Readiness(watch::Receiver<bool>);

impl Readiness {
    /// Whether the index has had everything once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it. False when the watch ended before.
    pub async fn ready(&mut self) -> bool {
        self.0.wait_for(|ready| *ready).await.is_ok()
    }
}

/// Watches all objects of a kind that `config` selects, and feeds them to `index` until `token`
/// is cancelled. The task runs on `tracker`.
pub fn watch<K, I>(
    client: Client,
    kind: &K::DynamicType,
    config: watcher::Config,
    index: I,
    tracker: &TaskTracker,
    token: CancellationToken,
) -> Readiness
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Clone + Send + Sync + 'static,
    I: Index<K> + 'static,
{
    let name = K::kind(kind).into_owned();
    let api: Api<DeserializeGuard<K>> = Api::all_with(client, kind);
    let (ready, readiness) = watch::channel(false);
    tracker.spawn(async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = feed(api, config, index, &name, &ready) => {}
        }
    });
    Readiness(readiness)
}

async fn feed<K, I>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    mut index: I,
    kind: &str,
    ready: &watch::Sender<bool>,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Clone + Send + Sync + 'static,
    I: Index<K>,
{
    let mut initial = Vec::new();
    let mut events = pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => initial.clear(),
            Ok(Event::InitApply(object)) => initial.extend(decoded(kind, object)),
            Ok(Event::InitDone) => {
                index.reset(std::mem::take(&mut initial));
                ready.send_replace(true);
            }
            Ok(Event::Apply(object)) => {
                if let Some(object) = decoded(kind, object) {
                    index.apply(object);
                }
            }
            Ok(Event::Delete(object)) => index.delete(&ObjectKey::of(&object)),
            Err(error) => {
                tracing::warn!(kind, %error, "a watch was interrupted and starts over");
            }
        }
    }
}

fn decoded<K>(kind: &str, DeserializeGuard(object): DeserializeGuard<K>) -> Option<K> {
    object
        .inspect_err(|invalid| {
            tracing::warn!(
                kind,
                namespace = invalid.metadata.namespace.as_deref().unwrap_or_default(),
                name = invalid.metadata.name.as_deref().unwrap_or_default(),
                error = %invalid.error,
                "an object cannot be decoded and is skipped; correct it or delete it"
            );
        })
        .ok()
}

/// All objects of a kind, as the watch last told.
#[derive(Debug)]
pub struct Cache<K> {
    shared: Arc<Shared<K>>,
    readiness: Readiness,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            readiness: self.readiness.clone(),
        }
    }
}

#[derive(Debug)]
struct Shared<K> {
    objects: RwLock<BTreeMap<ObjectKey, Arc<K>>>,
    changes: watch::Sender<u64>,
}

struct Filler<K>(Arc<Shared<K>>);

impl<K: Resource + Send + Sync> Index<K> for Filler<K> {
    fn apply(&mut self, object: K) {
        self.0
            .objects
            .write()
            .insert(ObjectKey::of(&object), Arc::new(object));
        self.0.changes.send_modify(|n| *n += 1);
    }

    fn delete(&mut self, key: &ObjectKey) {
        self.0.objects.write().remove(key);
        self.0.changes.send_modify(|n| *n += 1);
    }

    fn reset(&mut self, objects: Vec<K>) {
        let all = objects
            .into_iter()
            .map(|o| (ObjectKey::of(&o), Arc::new(o)))
            .collect();
        *self.0.objects.write() = all;
        self.0.changes.send_modify(|n| *n += 1);
    }
}

impl<K> Cache<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Clone + Send + Sync + 'static,
{
    /// Starts a watch that fills a cache.
    pub fn start(
        client: Client,
        kind: &K::DynamicType,
        config: watcher::Config,
        tracker: &TaskTracker,
        token: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            objects: RwLock::new(BTreeMap::new()),
            changes: watch::Sender::new(0),
        });
        let filler = Filler(Arc::clone(&shared));
        let readiness = watch(client, kind, config, filler, tracker, token);
        Self { shared, readiness }
    }
}

impl<K> Cache<K> {
    /// One object. The namespace is empty for cluster-scoped kinds.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shared
            .objects
            .read()
            .get(&ObjectKey::new(namespace, name))
            .cloned()
    }

    /// All objects, in the order of their keys.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.objects.read().values().cloned().collect()
    }

    /// Tells that something changed. The number only counts; changes in a row may be told once.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Says whether the cache has had everything once.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }
}
