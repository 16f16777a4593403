//! What clients are warned of in the header `Warning`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use super::definitions::{CRDS, cabinet, oak};
use super::support::{Fixture, fixture, fixture_of};
use crate::api::http as protocol;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Makes a request; gives its status, its warnings, and its body.
async fn call(
    fixture: &Fixture,
    (method, media): (Method, &str),
    uri: &str,
    body: impl Into<Bytes>,
) -> (StatusCode, Vec<String>, Value) {
    let request = Request::builder().method(method).uri(uri);
    let request = request.header(header::CONTENT_TYPE, media);
    let request = request.body(Full::new(body.into())).unwrap();
    let response = protocol::handle(Arc::clone(&fixture.api.inner), request).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    (head.status, warnings(&head.headers), body)
}

fn warnings(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(header::WARNING).iter();
    all.map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap())
        .collect()
}

#[tokio::test]
async fn every_request_for_a_deprecated_version_is_warned() {
    let fixture = fixture();
    let mut crd = cabinet();
    let mut old = crd["spec"]["versions"][0].clone();
    old["name"] = json!("v1beta1");
    old["storage"] = json!(false);
    old["deprecated"] = json!(true);
    let mut older = old.clone();
    older["name"] = json!("v1alpha1");
    older["deprecationWarning"] = json!("ask the \"carpenter\" für v1");
    let versions = crd["spec"]["versions"].as_array_mut().unwrap();
    versions.extend([old, older]);
    let (code, made) = fixture.post(CRDS, &crd).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    for (version, warning) in [
        ("v1", None),
        (
            "v1beta1",
            Some(
                r#"299 - "shop.example.com/v1beta1 Cabinet is deprecated; use shop.example.com/v1 Cabinet""#,
            ),
        ),
        ("v1alpha1", Some(r#"299 - "ask the \"carpenter\" für v1""#)),
    ] {
        let want: Vec<&str> = warning.into_iter().collect();
        let all = format!("/apis/shop.example.com/{version}/namespaces/default/cabinets");
        let one = format!("{all}/a");
        let mut object = oak("a");
        object["apiVersion"] = json!(format!("shop.example.com/{version}"));
        let patch = json!({"spec": {"drawers": 9}}).to_string();
        for (method, uri, body) in [
            ((Method::POST, JSON), &all, object.to_string()),
            ((Method::GET, JSON), &all, String::new()),
            ((Method::GET, JSON), &one, String::new()),
            ((Method::PATCH, MERGE), &one, patch),
            ((Method::DELETE, JSON), &one, String::new()),
        ] {
            let what = format!("{} {uri}", method.0);
            let (code, found, answer) = call(&fixture, method, uri, body).await;
            assert!(code.is_success(), "{what}: {answer}");
            assert_eq!(found, want, "{what}");
        }
    }
}

#[tokio::test]
async fn a_strict_reader_says_what_it_could_not_read() {
    let fixture = fixture_of(crate::kinds());
    let brokers = "/apis/eventing.knative.dev/v1/namespaces/default/brokers";
    let broker = json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
        "metadata": {"name": "a"}, "spec": {"confg": {}},
    });
    let strict = format!("{brokers}?fieldValidation=Strict");
    let (code, status) = fixture.post(&strict, &broker).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert_eq!(
        status["message"],
        "Broker in version \"v1\" cannot be handled as a Broker: strict decoding error: unknown \
         field \"spec.confg\""
    );
    let post = (Method::POST, JSON);
    let (code, found, _) = call(&fixture, post, brokers, broker.to_string()).await;
    assert_eq!(code, StatusCode::CREATED);
    assert_eq!(found, [r#"299 - "unknown field \"spec.confg\"""#]);

    // Knative's definition keeps what it does not know of a Trigger, so nothing is unknown there.
    let triggers = "/apis/eventing.knative.dev/v1/namespaces/default/triggers";
    let trigger = json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": "a"},
        "spec": {"broker": "a", "brokr": "b", "subscriber": {"uri": "http://localhost/"}},
    });
    let strict = format!("{triggers}?fieldValidation=Strict");
    let (code, made) = fixture.post(&strict, &trigger).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(made["spec"]["brokr"], "b");
}

#[tokio::test]
async fn knatives_own_definition_is_taken_with_a_warning_and_replaces_nothing() {
    let Some(data) = std::env::var_os("HEDDLE_CONFORMANCE_DATA") else {
        eprintln!("skipped: HEDDLE_CONFORMANCE_DATA does not name a directory");
        assert!(
            std::env::var_os("HEDDLE_REQUIRE_CONFORMANCE").is_none(),
            "HEDDLE_REQUIRE_CONFORMANCE is set"
        );
        return;
    };
    let path = std::path::Path::new(&data).join("knative_crds/broker.yaml");
    let yaml = std::fs::read_to_string(path).unwrap();
    let mut theirs: Value = serde_saphyr::from_str(&yaml).unwrap();
    let fixture = fixture_of(crate::kinds());
    let uri = format!("{CRDS}/brokers.eventing.knative.dev");
    let (_, before) = fixture.get(&uri).await;
    assert_ne!(theirs["spec"], before["spec"], "it would change something");
    let warning = format!("299 - \"{}\"", crate::api::definitions::WARNING);

    let apply = format!("{uri}?fieldManager=kubectl&force=true");
    theirs["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    let body = theirs.to_string();
    for (method, uri, body) in [
        ((Method::PATCH, APPLY), &apply, yaml),
        ((Method::PATCH, MERGE), &uri, body.clone()),
        ((Method::PUT, JSON), &uri, body),
    ] {
        let what = format!("{method:?}");
        let (code, found, answer) = call(&fixture, method, uri, body).await;
        assert_eq!(code, StatusCode::OK, "{what}: {answer}");
        assert!(found.contains(&warning), "{what}: {found:?}");
        assert_eq!(answer, before, "{what}");
    }
    assert_eq!(fixture.get(&uri).await.1, before);
}

#[tokio::test]
async fn unknown_fields_of_the_metadata_are_dropped_and_told() {
    let fixture = fixture();
    fixture.post(CRDS, &cabinet()).await;
    for (uri, mut body) in [
        (
            "/apis/shop.example.com/v1/namespaces/default/cabinets",
            oak("a"),
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": "a"}}),
        ),
    ] {
        body["metadata"]["lables"] = json!({"a": "b"});
        let owner = json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x", "size": 1});
        body["metadata"]["ownerReferences"] = json!([owner]);
        let (code, found, made) = call(&fixture, (Method::POST, JSON), uri, body.to_string()).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
        let told = |field: &str| format!("299 - \"unknown field \\\"metadata.{field}\\\"\"");
        assert_eq!(found, [told("lables"), told("ownerReferences[0].size")]);
        assert!(made["metadata"]["lables"].is_null(), "{made}");
        assert!(made["metadata"]["ownerReferences"][0]["size"].is_null());
        assert!(!made.to_string().contains("f:lables"), "{made}");

        let patch = json!({"metadata": {"size": 1}}).to_string();
        let one = format!("{uri}/a");
        let (_, found, same) = call(&fixture, (Method::PATCH, MERGE), &one, patch).await;
        assert_eq!(found, [told("size")]);
        assert_eq!(same, made, "nothing was changed");
    }
}
