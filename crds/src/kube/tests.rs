#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::runtime::watcher;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apply::{Applied, ApplyError, apply, controller_of, delete};
use super::diff::merge_patch;
use super::status::{Outcome, StatusWriter, Update};
use super::watch::{Cache, ObjectKey};
use crate::api::tests::support::{Fixture, fixture, raw, resource, until, widget, widgets};

/// A strict view of widgets: `size` must be a number of one byte.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Strict {
    size: u8,
}

type StrictWidget = kube::core::Object<Strict, Value>;

struct Bench {
    fixture: Fixture,
    client: kube::Client,
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let fixture = fixture();
        let client = fixture.api.client();
        Self {
            fixture,
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

fn update(object: &DynamicObject, status: Value) -> Update {
    Update {
        resource: resource("Widget", "widgets"),
        key: ObjectKey::of(object),
        uid: object.uid().unwrap(),
        status,
    }
}

#[tokio::test]
async fn statuses_are_compared_before_they_are_written() {
    let bench = Bench::new();
    let api = widgets(&bench.client);
    let object = api
        .create(&PostParams::default(), &widget("a", json!({"size": 1})))
        .await
        .unwrap();
    let (lead, leader) = tokio::sync::watch::channel(true);
    let mut registry = prometheus_client::registry::Registry::default();
    let writer = StatusWriter::start(
        bench.client.clone(),
        leader,
        &mut registry,
        &bench.tracker,
        bench.token.clone(),
    );
    let reach = async |outcome: Outcome, update: Update| {
        let before = writer.count("Widget", outcome);
        writer.write(update).await.unwrap();
        until("the outcome is counted", async || {
            writer.count("Widget", outcome) == before + 1
        })
        .await;
    };
    let first = json!({"observedGeneration": 1, "old": true, "list": [1]});
    reach(Outcome::Written, update(&object, first.clone())).await;
    let written = api.get("a").await.unwrap();
    assert_eq!(written.data["status"], first);
    reach(Outcome::Unchanged, update(&object, first)).await;
    assert_eq!(api.get("a").await.unwrap(), written);
    let second = json!({"observedGeneration": 2, "list": [1, 2]});
    reach(Outcome::Written, update(&object, second.clone())).await;
    assert_eq!(
        api.get("a").await.unwrap().data["status"],
        second,
        "what is not wanted goes"
    );
    reach(
        Outcome::Stale,
        update(&object, json!({"observedGeneration": 1})),
    )
    .await;
    let mut other = update(&object, json!({}));
    other.uid = "another".to_owned();
    reach(Outcome::Gone, other).await;
    let mut missing = update(&object, json!({}));
    missing.key.name = "missing".to_owned();
    reach(Outcome::Gone, missing).await;
    lead.send_replace(false);
    reach(Outcome::NotLeader, update(&object, json!({}))).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("controller_status_writes_total{kind=\"Widget\",outcome=\"Written\"} 2"),
        "{text}"
    );
    bench.end().await;
    assert!(writer.write(update(&object, json!({}))).await.is_err());
}

#[tokio::test]
async fn children_are_created_changed_and_deleted_by_their_owner() {
    let bench = Bench::new();
    let (client, kind) = (&bench.client, resource("Widget", "widgets"));
    let api = widgets(client);
    let parent = api
        .create(&PostParams::default(), &widget("p", json!({})))
        .await
        .unwrap();
    let owner = controller_of(&parent, &kind).unwrap();
    let child = |spec: Value| {
        let mut child = widget("c", spec);
        child.metadata.namespace = Some("default".to_owned());
        child
    };
    let made = apply(client, &kind, &owner, child(json!({"extra": 1})))
        .await
        .unwrap();
    assert!(matches!(&made, Applied::Created(o) if o.data["spec"]["size"] == 1));
    let same = apply(client, &kind, &owner, child(json!({"extra": 1})))
        .await
        .unwrap();
    assert!(
        matches!(&same, Applied::Unchanged(_)),
        "a default is no difference"
    );
    // Somebody changes what we want: it is put right; what they add stays.
    let patch = Patch::Merge(json!({"spec": {"extra": 2, "theirs": true}}));
    api.patch("c", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let fixed = apply(client, &kind, &owner, child(json!({"extra": 1})))
        .await
        .unwrap();
    assert!(matches!(&fixed, Applied::Updated(_)));
    assert_eq!(
        fixed.object().data["spec"],
        json!({"extra": 1, "size": 1, "theirs": true})
    );
    let less = apply(client, &kind, &owner, child(json!({})))
        .await
        .unwrap();
    assert_eq!(
        less.object().data["spec"],
        json!({"size": 1, "theirs": true})
    );

    bench
        .fixture
        .post(crate::api::tests::support::WIDGETS, &raw("foreign"))
        .await;
    let mut foreign = child(json!({}));
    foreign.metadata.name = Some("foreign".to_owned());
    let refused = apply(client, &kind, &owner, foreign).await.unwrap_err();
    assert!(matches!(refused, ApplyError::NotOurs { .. }), "{refused}");
    let key = ObjectKey::new("default", "foreign");
    assert!(delete(client, &kind, &owner, &key).await.is_err());
    let key = ObjectKey::new("default", "c");
    assert!(delete(client, &kind, &owner, &key).await.unwrap());
    assert!(!delete(client, &kind, &owner, &key).await.unwrap());
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
