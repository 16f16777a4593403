//! What holds namespaces, and who may say so.

use http::StatusCode;
use serde_json::{Value, json};

use super::support::{WIDGETS, fixture, raw, until};

const NAMESPACES: &str = "/api/v1/namespaces";

#[tokio::test]
async fn a_namespace_is_held_by_its_spec_until_it_is_finalized() {
    let fixture = fixture();
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "space"}});
    fixture.post(NAMESPACES, &space).await;
    let uri = format!("{NAMESPACES}/space");
    let mut held = space.clone();
    held["spec"] = json!({"finalizers": ["example.com/hold", "kubernetes"]});
    let (code, answer) = fixture.put(&format!("{uri}/finalize"), &held).await;
    assert_eq!((code.as_u16(), &answer["spec"]), (200, &held["spec"]));
    fixture.delete(&uri).await;
    until("the namespace is empty", async || {
        let (_, found) = fixture.get(&uri).await;
        let conditions = found["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["reason"] == "ContentRemoved"))
    })
    .await;
    let (code, answer) = fixture.put(&format!("{uri}/finalize"), &space).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(fixture.get(&uri).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_finalizers_of_a_namespace_are_written_by_finalize_alone() {
    let fixture = fixture();
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "space"}});
    fixture.post(NAMESPACES, &space).await;
    let uri = format!("{NAMESPACES}/space");
    let kept = json!({"finalizers": ["kubernetes"]});
    let mut labelled = space.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    for spec in [
        Value::Null,
        json!({}),
        json!({"finalizers": ["example.com/x"]}),
    ] {
        labelled["spec"] = spec.clone();
        let (code, answer) = fixture.put(&uri, &labelled).await;
        assert_eq!((code.as_u16(), &answer["spec"]), (200, &kept), "{answer}");
        let (code, answer) = fixture.merge(&uri, &json!({"spec": spec})).await;
        assert_eq!((code.as_u16(), &answer["spec"]), (200, &kept), "{answer}");
    }
    let (_, answer) = fixture.put(&format!("{uri}/finalize"), &space).await;
    assert!(answer["spec"].get("finalizers").is_none(), "{answer}");
    let (_, answer) = fixture.merge(&uri, &json!({"spec": kept})).await;
    assert!(answer["spec"].get("finalizers").is_none(), "{answer}");
}

#[tokio::test]
async fn finalizers_of_built_in_kinds_are_qualified() {
    let fixture = fixture();
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |finalizer: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"generateName": "a-", "finalizers": ["orphan", finalizer]},
        })
    };
    for good in ["foregroundDeletion", "kubernetes", "example.com/x"] {
        assert_eq!(fixture.post(maps, &map(good)).await.0, 201, "{good}");
    }
    let (code, answer) = fixture.post(maps, &map("nonsense")).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        answer["details"]["causes"],
        json!([{
            "reason": "FieldValueInvalid", "field": "metadata.finalizers[1]",
            "message": "Invalid value: \"nonsense\": name is neither a standard finalizer name nor \
                        is it fully qualified",
        }])
    );
    let mut widget = raw("free");
    widget["metadata"]["finalizers"] = json!(["nonsense"]);
    assert_eq!(fixture.post(WIDGETS, &widget).await.0, 201);
}

#[tokio::test]
async fn a_namespace_says_what_it_waits_for() {
    let fixture = fixture();
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "space"}});
    assert_eq!(fixture.post(NAMESPACES, &space).await.0, 201);
    let inside = WIDGETS.replace("default", "space");
    let mut held = raw("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(fixture.post(&inside, &held).await.0, 201);
    assert_eq!(fixture.post(&inside, &raw("free")).await.0, 201);
    let uri = format!("{NAMESPACES}/space");
    let (code, gone) = fixture.delete(&uri).await;
    assert_eq!(
        (code.as_u16(), &gone["status"]["phase"]),
        (200, &json!("Terminating"))
    );
    let message = async |kind: &str| {
        let (_, found) = fixture.get(&uri).await;
        let conditions = found["status"]["conditions"].as_array().cloned();
        let mut all = conditions.into_iter().flatten();
        all.find(|c| c["type"] == kind && c["status"] == "True")
            .map(|c| c["message"].as_str().unwrap().to_owned())
    };
    until("the namespace says what is left", async || {
        message("NamespaceContentRemaining").await.as_deref()
            == Some(
                "Some resources are remaining: widgets.test.heddle.dev has 1 resource instances",
            )
    })
    .await;
    assert_eq!(
        message("NamespaceFinalizersRemaining").await.unwrap(),
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource \
         instances"
    );
    let (code, _) = fixture.post(&inside, &raw("late")).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    let body = json!({"metadata": {"finalizers": null}});
    fixture.merge(&format!("{inside}/held"), &body).await;
    until("the namespace is gone", async || {
        fixture.get(&uri).await.0 == StatusCode::NOT_FOUND
    })
    .await;
}
