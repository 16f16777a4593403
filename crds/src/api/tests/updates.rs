//! What the bodies of writes are held to, and what updates may leave open.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use super::support::{WIDGETS, fixture, kind, raw};
use crate::api::http as protocol;
use crate::api::rules::{created_by_update, is_built_in, updated_unconditionally};
use crate::resource::ResourceKind;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn duplicates_in_bodies_are_warned_of_or_refused() {
    let fixture = fixture();
    let body = r#"{"apiVersion": "test.heddle.dev/v1", "kind": "Widget", "metadata": {"name": "a"},
        "spec": {"size": 1, "size": 2}}"#;
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let (code, status) = fixture
        .call(Method::POST, &strict, "application/json", body)
        .await;
    assert_eq!(code, 400, "{status}");
    assert_eq!(
        status["message"],
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: duplicate \
         field \"spec.size\""
    );
    let (code, made) = fixture
        .call(Method::POST, WIDGETS, "application/json", body)
        .await;
    assert_eq!((code.as_u16(), &made["spec"]["size"]), (201, &json!(2)));
    let request = Request::put(format!("{WIDGETS}/a"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(made.to_string().replacen(
            "\"size\":2",
            "\"size\":2,\"nope\":1",
            1,
        ))))
        .unwrap();
    let inner = Arc::clone(&fixture.api.inner);
    let response = protocol::handle(inner, request).await;
    let warning = response.headers()["warning"].to_str().unwrap().to_owned();
    assert!(warning.contains("unknown field"), "{warning}");
}

#[tokio::test]
async fn what_a_patch_makes_is_read_strictly_where_that_is_asked_for() {
    let fixture = fixture();
    fixture.post(WIDGETS, &raw("a")).await;
    let uri = format!("{WIDGETS}/a?fieldValidation=Strict");
    let json_patch = r#"[{"op": "add", "path": "/spec/nope", "value": 1}]"#;
    for (media, body) in [
        ("application/json-patch+json", json_patch),
        ("application/merge-patch+json", r#"{"spec": {"nope": 1}}"#),
    ] {
        let (code, status) = fixture.call(Method::PATCH, &uri, media, body).await;
        assert_eq!(code, 422, "{status}");
        let cause = &status["details"]["causes"][0];
        assert_eq!(
            (&cause["field"], &cause["reason"]),
            (&json!("patch"), &json!("FieldValueInvalid"))
        );
        let message = cause["message"].as_str().unwrap();
        assert!(
            message.ends_with("strict decoding error: unknown field \"spec.nope\""),
            "{message}"
        );
    }
    let (code, _) = fixture
        .merge(
            &uri,
            &json!({"spec": {"text": "x".repeat(9_000), "nope": 1}}),
        )
        .await;
    assert_eq!(code, 422);
    let (code, object) = fixture.merge(&uri, &json!({"spec": {"size": 2}})).await;
    assert_eq!((code.as_u16(), &object["spec"]["size"]), (200, &json!(2)));
}

#[tokio::test]
async fn updates_may_do_what_their_kind_allows() {
    let fixture = fixture();
    let (code, status) = fixture.put(&format!("{WIDGETS}/a"), &raw("a")).await;
    assert_eq!(
        (code.as_u16(), &status["reason"]),
        (404, &json!("NotFound"))
    );
    fixture.post(WIDGETS, &raw("a")).await;
    let (code, status) = fixture.put(&format!("{WIDGETS}/a"), &raw("a")).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["details"]["causes"][0]["message"],
        "Invalid value: 0: must be specified for an update"
    );
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "1"}});
    assert_eq!(fixture.put(&format!("{CONFIG_MAPS}/m"), &map).await.0, 404);
    fixture.post(CONFIG_MAPS, &map).await;
    assert_eq!(fixture.put(&format!("{CONFIG_MAPS}/m"), &map).await.0, 200);
    let named = |group: &str, plural: &str| ResourceKind {
        group: group.to_owned(),
        plural: plural.to_owned(),
        ..kind("X", "x", true)
    };
    let lease = named("coordination.k8s.io", "leases");
    assert!(is_built_in(&lease) && created_by_update(&lease) && !updated_unconditionally(&lease));
    let service = named("", "services");
    assert!(created_by_update(&service) && updated_unconditionally(&service));
    // The definition of a user may be of a group of Kubernetes.
    let mut gateway = named("gateway.networking.k8s.io", "gateways");
    gateway.selectable = Some(Vec::new());
    assert!(!is_built_in(&gateway) && !updated_unconditionally(&gateway));
}
