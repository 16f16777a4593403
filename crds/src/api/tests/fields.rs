//! Field selectors: which fields each kind has, and what they select.

use http::StatusCode;
use serde_json::{Value, json};

use super::support::{Fixture, fixture_of};
use crate::builtin;

const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const NEWER: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

async fn create(fixture: &Fixture, uri: &str, object: &Value) {
    let (code, answer) = fixture.post(uri, object).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
}

async fn selects(fixture: &Fixture, uri: &str, selector: &str, expected: &[&str]) {
    let (code, list) = fixture
        .get(&format!("{uri}?fieldSelector={selector}"))
        .await;
    assert_eq!(code, StatusCode::OK, "{selector}: {list}");
    assert_eq!(names(&list), expected, "{selector}");
}

async fn refuses(fixture: &Fixture, uri: &str, selector: &str, message: &str) {
    for watch in ["", "&watch=true"] {
        let (code, status) = fixture
            .get(&format!("{uri}?fieldSelector={selector}{watch}"))
            .await;
        assert_eq!(code, StatusCode::BAD_REQUEST, "{selector}");
        assert_eq!(status["reason"], "BadRequest");
        assert_eq!(status["message"], message);
    }
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]},
    })
}

#[tokio::test]
async fn events_are_selected_by_what_they_are_of() {
    let fixture = fixture_of(builtin::kinds());
    let event = |name: &str, of: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name},
            "involvedObject": {
                "kind": "Broker", "namespace": "default", "name": of, "uid": format!("u-{of}"),
                "apiVersion": "eventing.knative.dev/v1", "resourceVersion": "7",
                "fieldPath": "spec.config",
            },
            "reason": "Woven", "type": "Normal", "reportingComponent": "weaver",
        })
    };
    create(&fixture, EVENTS, &event("a", "one")).await;
    let mut other = event("b", "two");
    other["source"] = json!({"component": "loom"});
    create(&fixture, EVENTS, &other).await;
    for (selector, expected) in [
        ("involvedObject.name=one", &["a"][..]),
        ("involvedObject.name!=one", &["b"]),
        (
            "involvedObject.uid=u-two,involvedObject.kind=Broker",
            &["b"],
        ),
        ("involvedObject.namespace=default,reason=Woven", &["a", "b"]),
        (
            "involvedObject.apiVersion=eventing.knative.dev/v1",
            &["a", "b"],
        ),
        ("involvedObject.resourceVersion=7", &["a", "b"]),
        ("involvedObject.fieldPath=", &[]),
        ("reportingComponent=weaver", &["a", "b"]),
        ("source=weaver", &["a"]),
        ("source=loom", &["b"]),
        ("type=Warning", &[]),
        (
            "type=Normal,metadata.name=b,metadata.namespace=default",
            &["b"],
        ),
    ] {
        selects(&fixture, EVENTS, selector, expected).await;
    }
    for (selector, expected) in [
        ("regarding.name=one", &["a"][..]),
        ("regarding.kind=Broker,regarding.uid=u-two", &["b"]),
        ("reportingController=weaver,type=Normal", &["a", "b"]),
    ] {
        selects(&fixture, NEWER, selector, expected).await;
    }
    refuses(
        &fixture,
        EVENTS,
        "message=x",
        "field label not supported: message",
    )
    .await;
    let older = "field label not supported: involvedObject.name";
    refuses(&fixture, NEWER, "involvedObject.name=one", older).await;
    refuses(
        &fixture,
        NEWER,
        "source=one",
        "field label not supported: source",
    )
    .await;
}

#[tokio::test]
async fn pods_are_selected_by_their_fields() {
    let fixture = fixture_of(builtin::kinds());
    create(&fixture, PODS, &pod("idle")).await;
    let mut placed = pod("placed");
    placed["spec"]["nodeName"] = json!("n1");
    placed["spec"]["hostNetwork"] = json!(true);
    placed["spec"]["restartPolicy"] = json!("Never");
    create(&fixture, PODS, &placed).await;
    let status = json!({"status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.7"}]}});
    let (code, answer) = fixture
        .merge(&format!("{PODS}/placed/status"), &status)
        .await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    for (selector, expected) in [
        ("spec.nodeName=n1", &["placed"][..]),
        ("spec.host=n1", &["placed"]),
        ("spec.nodeName=", &["idle"]),
        ("spec.hostNetwork=false", &["idle"]),
        ("spec.hostNetwork=true", &["placed"]),
        ("spec.restartPolicy=Never", &["placed"]),
        ("status.phase=Running", &["placed"]),
        ("status.podIP=10.0.0.7", &["placed"]),
        ("status.nominatedNodeName=", &["idle", "placed"]),
    ] {
        selects(&fixture, PODS, selector, expected).await;
    }
    refuses(
        &fixture,
        PODS,
        "spec.x=1",
        "field label not supported: spec.x",
    )
    .await;
}

#[tokio::test]
async fn a_watch_follows_what_leaves_its_fields() {
    let fixture = fixture_of(builtin::kinds());
    let (_, list) = fixture.get(PODS).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    create(&fixture, PODS, &pod("a")).await;
    for phase in ["Pending", "Running", "Pending"] {
        let status = json!({"status": {"phase": phase, "message": phase}});
        fixture.merge(&format!("{PODS}/a/status"), &status).await;
    }
    let seen = fixture
        .text(&format!(
            "{PODS}?watch=true&resourceVersion={version}&timeoutSeconds=1\
             &fieldSelector=status.phase!=Running"
        ))
        .await;
    let types: Vec<Value> = seen
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].take())
        .collect();
    assert_eq!(types, ["ADDED", "MODIFIED", "DELETED", "ADDED"]);
}

#[tokio::test]
async fn other_kinds_of_kubernetes_have_few_fields_or_none() {
    let fixture = fixture_of(builtin::kinds());
    let default = "/api/v1/namespaces/default";
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "type": "Opaque",
    });
    create(&fixture, &format!("{default}/secrets"), &secret).await;
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "example.com/c:1"}],
        }}},
    });
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    create(&fixture, jobs, &job).await;
    let secrets = format!("{default}/secrets");
    selects(&fixture, &secrets, "type=Opaque", &["key"]).await;
    selects(&fixture, jobs, "status.successful=0", &["once"]).await;
    let namespaces = "/api/v1/namespaces";
    let active = ["default", "knative-eventing", "kube-system"];
    selects(&fixture, namespaces, "status.phase=Active", &active).await;
    let namespace = "field label not supported: metadata.namespace";
    refuses(&fixture, namespaces, "metadata.namespace=x", namespace).await;
    let job = "field label \"spec.x\" not supported for Job";
    refuses(&fixture, jobs, "spec.x=1", job).await;
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    refuses(
        &fixture,
        sets,
        "status.replicas=0",
        "\"status.replicas\" is not a known field selector: only \"metadata.name\", \
         \"metadata.namespace\"",
    )
    .await;
}

#[tokio::test]
async fn kinds_of_users_are_selected_by_the_fields_of_their_definition() {
    let fixture = fixture_of(builtin::kinds());
    let properties = json!({
        "size": {"type": "integer"}, "color": {"type": "string"}, "flat": {"type": "boolean"},
    });
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": properties},
    }}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "shirts.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "shirts", "singular": "shirt", "kind": "Shirt"},
            "versions": [
                {
                    "name": "v1", "served": true, "storage": true, "schema": schema,
                    "selectableFields": [
                        {"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"},
                        {"jsonPath": ".spec.flat"},
                    ],
                },
                {"name": "v2", "served": true, "storage": false, "schema": schema},
            ],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    create(&fixture, definitions, &definition).await;
    let shirts = "/apis/example.com/v1/namespaces/default/shirts";
    for (name, spec) in [
        ("a", json!({"color": "blue", "size": 3})),
        ("b", json!({"color": "green", "flat": true})),
    ] {
        let shirt = json!({
            "apiVersion": "example.com/v1", "kind": "Shirt", "metadata": {"name": name},
            "spec": spec,
        });
        create(&fixture, shirts, &shirt).await;
    }
    selects(&fixture, shirts, "spec.color=blue", &["a"]).await;
    selects(&fixture, shirts, "spec.color!=blue", &["b"]).await;
    selects(&fixture, shirts, "spec.size=3", &["a"]).await;
    selects(&fixture, shirts, "spec.size=", &["b"]).await;
    selects(&fixture, shirts, "spec.flat=true,metadata.name=b", &["b"]).await;
    let unknown = "field label not supported: spec.x";
    refuses(&fixture, shirts, "spec.x=1", unknown).await;
    // The other version names none.
    let second = "/apis/example.com/v2/namespaces/default/shirts";
    let unknown = "field label not supported: spec.color";
    refuses(&fixture, second, "spec.color=blue", unknown).await;
}
