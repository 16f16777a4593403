//! The definitions that are kept as files are those of the types.
//!
//! `UPDATE=1 cargo test -p heddle-crds --test generated` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use heddle_crds::resource::ResourceKind;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

#[test]
fn the_files_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
    let want: BTreeMap<_, _> = heddle_crds::crds()
        .iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.spec.names.singular.as_deref().unwrap());
            (name, serde_saphyr::to_string(crd).unwrap())
        })
        .collect();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in &want {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let found: BTreeMap<_, _> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    let names: Vec<_> = want.keys().collect();
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        names,
        "run with UPDATE=1 to write them anew"
    );
    for (name, text) in want {
        assert!(
            found[&name] == text,
            "{name} is old: run with UPDATE=1 to write it anew"
        );
    }
}

#[test]
fn the_yaml_reads_back_as_the_same_definitions() {
    let yaml = heddle_crds::crds_yaml().unwrap();
    let read: Vec<CustomResourceDefinition> = yaml
        .split("---\n")
        .filter(|text| !text.is_empty())
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect();
    assert_eq!(read, heddle_crds::crds());
}

#[test]
fn kinds_come_in_the_order_of_installation() {
    let (ours, built_in): (Vec<_>, Vec<_>) = heddle_crds::kinds()
        .into_iter()
        .filter(|kind| kind.storage)
        .partition(|kind| kind.definition.is_some());
    let names = |kinds: &[ResourceKind]| -> Vec<String> {
        kinds.iter().map(|kind| kind.kind.clone()).collect()
    };
    assert_eq!(names(&built_in)[..2], ["Namespace", "ConfigMap"]);
    let crds = heddle_crds::crds().into_iter();
    let want: Vec<_> = crds.map(|crd| crd.spec.names.kind).collect();
    assert_eq!(names(&ours), want);
    let known = [
        "Broker",
        "Trigger",
        "EventType",
        "Channel",
        "InMemoryChannel",
        "KafkaChannel",
        "NatsJetStreamChannel",
        "Subscription",
        "KafkaSource",
        "KafkaSink",
    ];
    assert_eq!(want, known);
}

#[test]
fn a_version_of_another_form_is_served_here_and_not_yet_on_a_cluster() {
    let versions: Vec<_> = heddle_crds::kinds()
        .into_iter()
        .filter(|kind| kind.kind == "EventType")
        .map(|kind| {
            (
                kind.version,
                kind.served,
                kind.storage,
                kind.deprecation.is_some(),
            )
        })
        .collect();
    let of = |name: &str, storage, deprecated| (name.to_owned(), true, storage, deprecated);
    let want = [
        of("v1beta2", true, false),
        of("v1beta3", false, false),
        of("v1beta1", false, true),
    ];
    assert_eq!(versions, want);
    let crds = heddle_crds::crds();
    let crd = crds
        .iter()
        .find(|crd| crd.spec.names.kind == "EventType")
        .unwrap();
    let served = crd.spec.versions.iter().filter(|version| version.served);
    let served: Vec<_> = served.map(|version| version.name.as_str()).collect();
    assert_eq!(served, ["v1beta2", "v1beta1"]);
}

#[test]
fn a_kind_tells_what_the_api_needs() {
    for kind in heddle_crds::kinds() {
        assert!(!kind.plural.is_empty() && !kind.singular.is_empty() && !kind.version.is_empty());
        assert_eq!(kind.schema.document()["type"], "object", "{kind:?}");
        if kind.definition.is_none() {
            continue;
        }
        // Knative's EventType is the one kind that does not tell its age.
        let age = kind.columns.iter().any(|column| column.name == "Age");
        assert_eq!(age, kind.kind != "EventType", "{kind:?}");
        assert!(kind.namespaced && kind.status_subresource, "{kind:?}");
    }
}
