//! kube-rs over HTTP, as people's controllers use it: its watcher, reflector, Controller,
//! finalizer, waits, server-side apply, entries, events and discovery, against `heddle up`.
//!
//! The client is made from the kubeconfig that `heddle up` writes. With `HEDDLE_KUBECONFIG`, the
//! kubeconfig of a scratch cluster, the same tests run against that cluster instead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "kube_rs/applying.rs"]
mod applying;
#[path = "kube_rs/controlling.rs"]
mod controlling;
mod support;
#[path = "kube_rs/watching.rs"]
mod watching;

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::runtime::events::{Event as Note, EventType, Recorder};
use kube::{Api, Client, Config, Discovery, Resource};
use support::{Heddle, wait};

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
    let of_subject = ListParams::default().fields("regarding.name=subject,type=Normal");
    let list = events.list(&of_subject).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].series.as_ref().unwrap().count, 3);
    // The same object in the core group.
    let core: Api<k8s_openapi::api::core::v1::Event> = place.api();
    let uid = map.metadata.uid.unwrap();
    let of_subject = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let list = core.list(&of_subject).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].message.as_deref(), Some("it was woven"));
    let of_another = ListParams::default().fields("involvedObject.name=another");
    assert!(core.list(&of_another).await.unwrap().items.is_empty());
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
