//! Managers that apply, and entries.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Place, config_map};

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
