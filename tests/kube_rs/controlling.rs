//! A Controller with children, a finalizer and a status, for a kind of a user's.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event as Finalizer, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::Config as Watch;
use kube::{Api, Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use super::support::wait;
use super::{Place, config_map, in_time};

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
