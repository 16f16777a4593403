//! One watch for a kind, which feeds an index.
//!
//! Laws:
//! - The watch lives as long as its token: errors are reported and it starts over, waiting
//!   longer each time.
//! - An object that cannot be decoded is reported and skipped; it neither ends the watch nor
//!   hides other objects. What the index last had of it stays until it can be decoded again or
//!   is deleted; after a start over it is not there.
//! - An index sees whole states only: `reset` with everything, then single changes.
//! - What no controller reads of an object's metadata does not get here: what clients write about
//!   their own writing (`managedFields`, kubectl's copy of what it applied last), and all labels but
//!   those in [`LABELS`]. It is longer than everything else in most objects.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::Guarded;
use crate::annotations::LAST_APPLIED;
use crate::sources::kafka_source::KEY_TYPE;

/// The labels that controllers read.
const LABELS: [&str; 1] = [KEY_TYPE];

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
    let api: Api<Guarded<K>> = Api::all_with(client, kind);
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
    api: Api<Guarded<K>>,
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

fn decoded<K: Resource>(kind: &str, Guarded(object): Guarded<K>) -> Option<K> {
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

/// The object without what no controller reads.
fn slim<K: Resource>(mut object: K) -> K {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(labels) = &mut metadata.labels {
        labels.retain(|name, _| LABELS.contains(&name.as_str()));
        if labels.is_empty() {
            metadata.labels = None;
        }
    }
    if let Some(annotations) = &mut metadata.annotations
        && annotations.remove(LAST_APPLIED).is_some()
        && annotations.is_empty()
    {
        metadata.annotations = None;
    }
    object
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::{Value, json};

    use super::slim;
    use crate::eventing::Trigger;

    /// What controllers may know of one more ready Trigger, in bytes.
    const BOUND: i64 = 1_280;

    fn trigger() -> Value {
        let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": "2026-11-20T12:00:00Z"});
        let owned: Vec<Value> = (0..3)
            .map(|number| {
                let fields = json!({"f:spec": {"f:broker": {}, "f:filter": {"f:attributes": {}}}});
                json!({"manager": format!("m{number}"), "operation": "Update", "fieldsV1": fields})
            })
            .collect();
        json!({
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {
                "name": "t", "namespace": "default", "uid": "0b2f1c1e-8a53-4ac2-a6a6-5f6d2f0d2c11",
                "resourceVersion": "12345", "generation": 1,
                "creationTimestamp": "2026-11-20T12:00:00Z",
                "labels": {"eventing.knative.dev/broker": "default"},
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "{}".repeat(500),
                },
                "managedFields": owned,
            },
            "spec": {
                "broker": "default",
                "filter": {"attributes": {"type": "dev.heddle.test"}},
                "subscriber": {"uri": "http://127.0.0.1:9/"},
            },
            "status": {
                "observedGeneration": 1,
                "subscriberUri": "http://127.0.0.1:9/",
                "conditions": [
                    condition("BrokerReady"), condition("DeadLetterSinkResolved"),
                    condition("DependencyReady"), condition("OIDCIdentityCreated"),
                    condition("Ready"), condition("SubscriberResolved"),
                    condition("SubscriptionReady"),
                ],
            },
        })
    }

    #[test]
    fn what_controllers_know_of_a_trigger_is_small() {
        let text = trigger().to_string();
        // Another one like it, with which it has words in common.
        let other: Trigger = serde_json::from_str(&text).unwrap();
        let mut known = None;
        let kept = allocation_counter::measure(|| {
            known = Some(Box::new(slim(
                serde_json::from_str::<Trigger>(&text).unwrap(),
            )));
        });
        let known = known.unwrap();
        assert_eq!(known.metadata.annotations, None);
        assert_eq!(known.spec.broker, other.spec.broker);
        assert!(kept.bytes_current < BOUND, "{} bytes", kept.bytes_current);
    }
}
