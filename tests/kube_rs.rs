//! kube-rs over HTTP, as people's controllers use it: its watcher, reflector, Controller,
//! finalizer, waits, server-side apply, entries, events and discovery, against `heddle up`.
//!
//! The client is made from the kubeconfig that `heddle up` writes. With `HEDDLE_KUBECONFIG`, the
//! kubeconfig of a scratch cluster, the same tests run against that cluster instead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event as Note, EventType, Recorder};
use kube::runtime::finalizer::{Event as Finalizer, finalizer};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{Config as Watch, Event, watcher};
use kube::runtime::{Controller, WatchStreamExt};
use kube::{
    Api, Client, Config, CustomResource, CustomResourceExt, Discovery, Resource, ResourceExt,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use support::{Heddle, wait};
use tokio::task::JoinSet;

/// A kind of a user's: a loom that wants as many ConfigMaps as it has threads.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, JsonSchema)]
#[kube(
    group = "kube-rs.example.com",
    version = "v1",
    kind = "Loom",
    status = "LoomStatus",
    namespaced,
    shortname = "krl"
)]
struct LoomSpec {
    threads: u32,
}

/// What the controller has done.
#[derive(Serialize, Deserialize, Clone, Debug, Default, JsonSchema)]
struct LoomStatus {
    woven: u32,
}

/// An API, and a namespace of the test's own in it.
struct Place {
    client: Client,
    namespace: String,
    _heddle: Option<Heddle>,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn new(namespace: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (heddle, kubeconfig) = match std::env::var_os("HEDDLE_KUBECONFIG") {
            Some(file) => (None, file.into()),
            None => {
                let data = folder.path().join("data");
                std::fs::create_dir(&data).unwrap();
                (Some(Heddle::up(&data).await), data.join("kubeconfig"))
            }
        };
        let client = client(&kubeconfig).await;
        let place = Self {
            client,
            namespace: namespace.to_owned(),
            _heddle: heddle,
            _folder: folder,
        };
        let object = Namespace {
            metadata: named(namespace),
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(place.client.clone());
        namespaces
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        place
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

fn named(name: &str) -> kube::api::ObjectMeta {
    kube::api::ObjectMeta {
        name: Some(name.to_owned()),
        ..Default::default()
    }
}

fn config_map(name: &str, number: usize) -> ConfigMap {
    ConfigMap {
        metadata: named(name),
        data: Some(BTreeMap::from([("n".to_owned(), number.to_string())])),
        ..ConfigMap::default()
    }
}

/// No test waits longer than this.
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(wait::DEADLINE, work).await;
    done.unwrap_or_else(|_| panic!("waited {:?} for {what}", wait::DEADLINE))
}

/// Watches with that configuration while objects are there already, come, change and go.
async fn watches_all(namespace: &str, watch: Watch) {
    let place = Place::new(namespace).await;
    let maps: Api<ConfigMap> = place.api();
    for n in 0..7 {
        let map = config_map(&format!("m{n}"), n);
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let mut events = std::pin::pin!(watcher(maps.clone(), watch));
    let mut first = Vec::new();
    in_time("the first list", async {
        loop {
            match events.try_next().await.unwrap().unwrap() {
                Event::Init => first.clear(),
                // What a cluster puts into every namespace is not looked at.
                Event::InitApply(map) if map.name_any() == "kube-root-ca.crt" => {}
                Event::InitApply(map) => first.push(map.name_any()),
                Event::InitDone => return,
                other => panic!("{other:?} before the list was whole"),
            }
        }
    })
    .await;
    first.sort();
    assert_eq!(first, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);

    let mut changes = Vec::new();
    for n in 0..5 {
        let patch = Patch::Merge(json!({"data": {"n": (100 + n).to_string()}}));
        maps.patch("m3", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    maps.delete("m4", &DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &config_map("m9", 9))
        .await
        .unwrap();
    in_time("the changes", async {
        while changes.len() < 7 {
            match events.try_next().await.unwrap().unwrap() {
                Event::Apply(map) => {
                    changes.push(format!("{} {}", map.name_any(), map.data.unwrap()["n"]));
                }
                Event::Delete(map) => changes.push(format!("{} gone", map.name_any())),
                other => panic!("{other:?} among the changes"),
            }
        }
    })
    .await;
    assert_eq!(
        changes,
        [
            "m3 100", "m3 101", "m3 102", "m3 103", "m3 104", "m4 gone", "m9 9"
        ]
    );
}

#[tokio::test]
async fn a_watcher_lists_in_pages_and_then_watches() {
    watches_all("rs-pages", Watch::default().page_size(3)).await;
}

#[tokio::test]
async fn a_watcher_takes_the_list_from_the_watch() {
    watches_all("rs-streaming", Watch::default().streaming_lists()).await;
}

#[tokio::test]
async fn a_reflector_holds_what_the_api_has() {
    let place = Place::new("rs-reflector").await;
    let maps: Api<ConfigMap> = place.api();
    let (store, writer) = reflector::store();
    let watch = Watch::default().labels("kept=yes");
    let stream = reflector::reflector(writer, watcher(maps.clone(), watch)).touched_objects();
    let mut tasks = JoinSet::new();
    tasks.spawn(stream.for_each(|seen| {
        seen.unwrap();
        std::future::ready(())
    }));
    in_time("the store", store.wait_until_ready())
        .await
        .unwrap();
    assert_eq!(store.len(), 0);
    for n in 0..20 {
        let mut map = config_map(&format!("m{n}"), n);
        let kept = if n % 2 == 0 { "yes" } else { "no" };
        map.labels_mut().insert("kept".to_owned(), kept.to_owned());
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    // What leaves the selection leaves the store.
    let patch = Patch::Merge(json!({"metadata": {"labels": {"kept": "no"}}}));
    maps.patch("m2", &PatchParams::default(), &patch)
        .await
        .unwrap();
    maps.delete("m4", &DeleteParams::default()).await.unwrap();
    let list = maps
        .list(&ListParams::default().labels("kept=yes"))
        .await
        .unwrap();
    let mut expected: Vec<(String, Option<String>)> = list
        .iter()
        .map(|map| (map.name_any(), map.resource_version()))
        .collect();
    expected.sort();
    assert_eq!(expected.len(), 8);
    wait::until_now("the store to hold the same", || {
        let state = store.state();
        let mut held: Vec<_> = state
            .iter()
            .map(|map| (map.name_any(), map.resource_version()))
            .collect();
        held.sort();
        if held == expected {
            Ok(())
        } else {
            Err(format!("{held:?}"))
        }
    })
    .await;
    assert!(
        store
            .get(&ObjectRef::new("m6").within(&place.namespace))
            .is_some()
    );
}

/// The definition of `Loom`, served.
async fn define(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = Loom::crd();
    let name = definition.name_any();
    let apply = PatchParams::apply("kube-rs-test").force();
    definitions
        .patch(&name, &apply, &Patch::Apply(&definition))
        .await
        .unwrap();
    let established = await_condition(definitions, &name, conditions::is_crd_established());
    in_time("the definition", established).await.unwrap();
    // A cluster serves it a moment after it says so.
    let looms: Api<Loom> = Api::all(client.clone());
    wait::until("the kind to be served", || async {
        looms
            .list(&ListParams::default())
            .await
            .map_err(|e| e.to_string())
    })
    .await;
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error(transparent)]
    Finalizer(#[from] Box<kube::runtime::finalizer::Error<kube::Error>>),
}

/// Makes the ConfigMaps that a Loom wants, and says in its status how many there are.
async fn weave(loom: Arc<Loom>, client: &Client) -> Result<Action, kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &loom.namespace().unwrap());
    for n in 0..loom.spec.threads {
        let name = format!("{}-{n}", loom.name_any());
        let owner = loom.controller_owner_ref(&()).unwrap();
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "ownerReferences": [owner]},
            "data": {"thread": n.to_string()},
        });
        let apply = PatchParams::apply("weaver").force();
        maps.patch(&name, &apply, &Patch::Apply(&map)).await?;
    }
    let looms: Api<Loom> = Api::namespaced(client.clone(), &loom.namespace().unwrap());
    let status = json!({
        "apiVersion": "kube-rs.example.com/v1", "kind": "Loom",
        "status": {"woven": loom.spec.threads},
    });
    let apply = PatchParams::apply("weaver").force();
    looms
        .patch_status(&loom.name_any(), &apply, &Patch::Apply(&status))
        .await?;
    Ok(Action::await_change())
}

async fn reconcile(loom: Arc<Loom>, client: Arc<Client>) -> Result<Action, Failure> {
    let looms: Api<Loom> = Api::namespaced((*client).clone(), &loom.namespace().unwrap());
    let step = |event| async {
        match event {
            Finalizer::Apply(loom) => weave(loom, &client).await,
            Finalizer::Cleanup(loom) => {
                // A mark that it ran, which outlives the Loom.
                let maps: Api<ConfigMap> =
                    Api::namespaced((*client).clone(), &loom.namespace().unwrap());
                maps.create(&PostParams::default(), &config_map("cleaned", 1))
                    .await?;
                Ok(Action::await_change())
            }
        }
    };
    let done = finalizer(&looms, "kube-rs.example.com/cleanup", loom, step).await;
    done.map_err(|error| Failure::Finalizer(Box::new(error)))
}

#[tokio::test]
async fn a_controller_keeps_children_and_cleans_up() {
    let place = Place::new("rs-controller").await;
    define(&place.client).await;
    let (looms, maps): (Api<Loom>, Api<ConfigMap>) = (place.api(), place.api());
    let controller = Controller::new(looms.clone(), Watch::default())
        .owns(maps.clone(), Watch::default())
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_millis(20)),
            Arc::new(place.client.clone()),
        );
    let mut tasks = JoinSet::new();
    tasks.spawn(controller.for_each(|_| std::future::ready(())));

    let loom = Loom::new("wide", LoomSpec { threads: 3 });
    let loom = looms.create(&PostParams::default(), &loom).await.unwrap();
    let is_woven = |count: u32| {
        move |loom: Option<&Loom>| {
            loom.and_then(|loom| loom.status.as_ref())
                .is_some_and(|status| status.woven == count)
        }
    };
    let woven = await_condition(looms.clone(), "wide", is_woven(3));
    let woven = in_time("the status", woven).await.unwrap().unwrap();
    assert_eq!(woven.finalizers(), ["kube-rs.example.com/cleanup"]);
    assert_eq!(
        woven.meta().generation,
        Some(1),
        "neither status nor finalizers count"
    );

    // A child that goes comes again.
    let gone = maps.get("wide-1").await.unwrap();
    maps.delete("wide-1", &DeleteParams::default())
        .await
        .unwrap();
    wait::until("the child to come again", || async {
        match maps.get_opt("wide-1").await.unwrap() {
            Some(map) if map.uid() != gone.uid() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    let patch = Patch::Merge(json!({"spec": {"threads": 5}}));
    looms
        .patch("wide", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let woven = await_condition(looms.clone(), "wide", is_woven(5));
    in_time("the second status", woven).await.unwrap();
    assert!(maps.get_opt("wide-4").await.unwrap().is_some());

    looms
        .delete("wide", &DeleteParams::default())
        .await
        .unwrap();
    let uid = loom.uid().unwrap();
    let deleted = await_condition(looms.clone(), "wide", conditions::is_deleted(&uid));
    in_time("the deletion", deleted).await.unwrap();
    assert!(maps.get_opt("cleaned").await.unwrap().is_some());
    wait::until("the children to go", || async {
        let list = maps.list(&ListParams::default()).await.unwrap();
        let names: Vec<String> = list.iter().map(ResourceExt::name_any).collect();
        let left = names
            .iter()
            .filter(|name| name.starts_with("wide-"))
            .count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{names:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn managers_that_apply_share_and_conflict() {
    let place = Place::new("rs-apply").await;
    let maps: Api<ConfigMap> = place.api();
    let map = |n: &str| {
        Patch::Apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"},
            "data": {"n": n},
        }))
    };
    let (one, two) = (PatchParams::apply("one"), PatchParams::apply("two"));
    let made = maps.patch("shared", &one, &map("1")).await.unwrap();
    assert_eq!(made.managed_fields().len(), 1);
    let shared = maps.patch("shared", &two, &map("1")).await.unwrap();
    assert_eq!(shared.managed_fields().len(), 2);
    let refused = maps.patch("shared", &two, &map("2")).await.unwrap_err();
    let kube::Error::Api(status) = refused else {
        panic!("{refused}");
    };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    let details = status.details.unwrap();
    assert_eq!(details.causes.len(), 1);
    assert_eq!(details.causes[0].reason, "FieldManagerConflict");
    assert_eq!(details.causes[0].field, ".data.n");
    let forced = maps.patch("shared", &two.force(), &map("2")).await.unwrap();
    assert_eq!(forced.data.unwrap()["n"], "2");
    let again = maps
        .patch("shared", &PatchParams::apply("two"), &map("2"))
        .await
        .unwrap();
    assert_eq!(
        again.metadata.resource_version,
        forced.metadata.resource_version
    );
}

#[tokio::test]
async fn an_entry_is_made_and_changed() {
    let place = Place::new("rs-entry").await;
    let maps: Api<ConfigMap> = place.api();
    let count = |n: usize| {
        let maps = maps.clone();
        async move {
            let entry = maps.entry("counter").await.unwrap();
            let mut entry = entry
                .or_insert(|| config_map("counter", 0))
                .and_modify(|map| {
                    *map = ConfigMap {
                        data: config_map("counter", n).data,
                        ..map.clone()
                    }
                });
            entry
                .commit(&PostParams::default())
                .await
                .map(|()| entry.into_object())
        }
    };
    let first = count(1).await.unwrap();
    let second = count(2).await.unwrap();
    assert_eq!(first.uid(), second.uid());
    assert_ne!(first.resource_version(), second.resource_version());
    assert_eq!(second.data.unwrap()["n"], "2");
    // Another one was faster.
    let mut stale = maps.get("counter").await.unwrap();
    count(3).await.unwrap();
    stale
        .labels_mut()
        .insert("late".to_owned(), "yes".to_owned());
    let refused = maps
        .replace("counter", &PostParams::default(), &stale)
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(s) if s.code == 409),
        "{refused}"
    );
}

#[tokio::test]
async fn a_recorder_counts_what_happens_again() {
    let place = Place::new("rs-events").await;
    let maps: Api<ConfigMap> = place.api();
    let map = maps
        .create(&PostParams::default(), &config_map("subject", 1))
        .await
        .unwrap();
    let recorder = Recorder::new(place.client.clone(), "weaver".into());
    let note = Note {
        type_: EventType::Normal,
        reason: "Woven".to_owned(),
        note: Some("it was woven".to_owned()),
        action: "Weaving".to_owned(),
        secondary: None,
    };
    for _ in 0..3 {
        recorder.publish(&note, &map.object_ref(&())).await.unwrap();
    }
    let events: Api<k8s_openapi::api::events::v1::Event> = place.api();
    let list = events.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].series.as_ref().unwrap().count, 3);
    // The same object in the core group.
    let core: Api<k8s_openapi::api::core::v1::Event> = place.api();
    let list = core.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].message.as_deref(), Some("it was woven"));
}

#[tokio::test]
async fn discovery_finds_kinds_both_ways() {
    let place = Place::new("rs-discovery").await;
    let plain = Discovery::new(place.client.clone()).run().await.unwrap();
    let whole = Discovery::new(place.client.clone())
        .run_aggregated()
        .await
        .unwrap();
    let kinds = |discovery: &Discovery| -> Vec<String> {
        let mut all: Vec<String> = discovery
            .groups()
            .flat_map(|group| group.recommended_resources())
            .map(|(kind, can)| format!("{}/{} {:?}", kind.api_version, kind.plural, can.scope))
            .collect();
        all.sort();
        all
    };
    assert_eq!(kinds(&plain), kinds(&whole));
    let map = kube::core::GroupVersionKind::gvk("", "v1", "ConfigMap");
    let (kind, _) = plain.resolve_gvk(&map).unwrap();
    assert_eq!(kind, ApiResource::erase::<ConfigMap>(&()));
}
