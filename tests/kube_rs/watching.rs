//! Watchers and reflectors.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{Config as Watch, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinSet;

use super::support::wait;
use super::{Place, config_map, in_time};

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
