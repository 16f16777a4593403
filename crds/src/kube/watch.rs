//! One watch for a kind, which feeds an index.
//!
//! Laws:
//! - The watch lives as long as its token: errors are reported and it starts over, waiting
//!   longer each time.
//! - An object that cannot be decoded is reported and skipped; it neither ends the watch nor
//!   hides other objects. What the index last had of it stays until it can be decoded again or
//!   is deleted; after a start over it is not there.
//! - An index sees whole states only: `reset` with everything, then single changes.
//! - What clients write about their own writing (`metadata.managedFields`, kubectl's copy of what it
//!   applied last) does not get here: it is longer than everything else in an object, and no
//!   controller reads it.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::annotations::LAST_APPLIED;

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

fn decoded<K: Resource>(kind: &str, DeserializeGuard(object): DeserializeGuard<K>) -> Option<K> {
    object
        .map(slim)
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

/// The object without what clients write about their own writing.
fn slim<K: Resource>(mut object: K) -> K {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations
        && annotations.remove(LAST_APPLIED).is_some()
        && annotations.is_empty()
    {
        metadata.annotations = None;
    }
    object
}
