#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use parking_lot::RwLock;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::diff::merge_patch;
use super::watch::{Index, ObjectKey, Readiness, watch};
use crate::api::tests::support::{Fixture, fixture, resource, until, widget, widgets};

/// Keeps what a watch told.
#[derive(Debug)]
struct Cache<K> {
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
    changes: channel::Sender<u64>,
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
    fn start(
        client: Client,
        kind: &K::DynamicType,
        config: watcher::Config,
        tracker: &TaskTracker,
        token: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            objects: RwLock::new(BTreeMap::new()),
            changes: channel::Sender::new(0),
        });
        let filler = Filler(Arc::clone(&shared));
        let readiness = watch(client, kind, config, filler, tracker, token);
        Self { shared, readiness }
    }
}

impl<K> Cache<K> {
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shared
            .objects
            .read()
            .get(&ObjectKey::new(namespace, name))
            .cloned()
    }

    fn list(&self) -> Vec<Arc<K>> {
        self.shared.objects.read().values().cloned().collect()
    }

    fn changes(&self) -> channel::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }
}

/// A strict view of widgets: `size` must be a number of one byte.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Strict {
    size: u8,
}

type StrictWidget = kube::core::Object<Strict, Value>;

struct Bench {
    _fixture: Fixture,
    client: kube::Client,
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let fixture = fixture();
        let client = fixture.api.client();
        Self {
            _fixture: fixture,
            client,
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
        }
    }

    async fn end(self) {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(Duration::from_secs(10), self.tracker.wait())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_cache_follows_and_survives_what_it_cannot_decode() {
    let bench = Bench::new();
    let api = widgets(&bench.client);
    for (name, size) in [("a", 1), ("huge", 1_000)] {
        api.create(&PostParams::default(), &widget(name, json!({"size": size})))
            .await
            .unwrap();
    }
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let cache: Cache<StrictWidget> = Cache::start(
            bench.client.clone(),
            &resource("Widget", "widgets"),
            config,
            &bench.tracker,
            bench.token.clone(),
        );
        assert!(cache.readiness().ready().await);
        let names = || {
            cache
                .list()
                .iter()
                .map(|o| o.name_any())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(), ["a"]);
        let mut changes = cache.changes();
        api.create(&PostParams::default(), &widget("b", json!({"size": 2})))
            .await
            .unwrap();
        changes.changed().await.unwrap();
        until("b is there", async || names() == ["a", "b"]).await;
        let size = |size: i64| Patch::Merge(json!({"spec": {"size": size}}));
        api.patch("b", &PatchParams::default(), &size(5_000))
            .await
            .unwrap();
        api.patch("huge", &PatchParams::default(), &size(3))
            .await
            .unwrap();
        until("the corrected one is there", async || {
            names() == ["a", "b", "huge"]
        })
        .await;
        assert_eq!(
            cache.get("default", "b").unwrap().spec.size,
            2,
            "as last decoded"
        );
        api.delete("b", &Default::default()).await.unwrap();
        until("b is gone", async || names() == ["a", "huge"]).await;
        api.patch("huge", &PatchParams::default(), &size(1_000))
            .await
            .unwrap();
    }
    bench.end().await;
}

#[tokio::test]
async fn typed_kinds_of_kubernetes_are_watched_alike() {
    let bench = Bench::new();
    let cache: Cache<ConfigMap> = Cache::start(
        bench.client.clone(),
        &(),
        watcher::Config::default(),
        &bench.tracker,
        bench.token.clone(),
    );
    assert!(cache.readiness().ready().await);
    let api: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some("m".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some([("k".to_owned(), "v".to_owned())].into()),
        ..ConfigMap::default()
    };
    api.create(&PostParams::default(), &map).await.unwrap();
    until("the map is there", async || {
        cache.get("default", "m").is_some()
    })
    .await;
    bench.end().await;
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0..9_i64).prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_patch_makes_one_value_of_another(a in json_value(), b in json_value()) {
        let mut patched = a.clone();
        match merge_patch(&a, &b) {
            Some(patch) => crate::api::merge(&mut patched, patch),
            None => prop_assert_eq!(&a, &b),
        }
        prop_assert_eq!(patched, b);
    }
}
