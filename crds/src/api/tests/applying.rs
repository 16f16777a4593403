//! Server-side apply, strategic merge patch and `managedFields` as clients see them.

use http::Method;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::support::{Fixture, WIDGETS, fixture, raw, version, widgets};

const APPLY: &str = "application/apply-patch+yaml";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn apply(fixture: &Fixture, query: &str, body: &Value) -> (u16, Value) {
    let uri = format!("{WIDGETS}/a?{query}");
    let (code, answer) = fixture
        .call(Method::PATCH, &uri, APPLY, body.to_string())
        .await;
    (code.as_u16(), answer)
}

/// The entries of `managedFields` without their times.
fn entries(object: &Value) -> Vec<Value> {
    let mut entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for entry in &mut entries {
        entry.as_object_mut().unwrap().remove("time");
        assert_eq!(
            entry.as_object_mut().unwrap().remove("fieldsType"),
            Some(json!("FieldsV1"))
        );
    }
    entries
}

#[tokio::test]
async fn an_apply_creates_changes_and_removes() {
    let fixture = fixture();
    let mut config = raw("a");
    config["metadata"]["labels"] = json!({"l": "1"});
    let (code, made) = apply(&fixture, "fieldManager=me", &config).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(
        entries(&made),
        [json!({
            "manager": "me", "operation": "Apply", "apiVersion": "test.heddle.dev/v1",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:l": {}}}, "f:spec": {"f:size": {}}},
        })]
    );
    let (code, same) = apply(&fixture, "fieldManager=me", &config).await;
    assert_eq!((code, &same), (200, &made), "nothing changed");
    config["spec"] = json!({"text": "x"});
    config["metadata"]["labels"] = json!({});
    let (_, changed) = apply(&fixture, "fieldManager=me", &config).await;
    assert_eq!(
        changed["spec"],
        json!({"text": "x", "size": 1}),
        "its default came back"
    );
    assert!(changed["metadata"].get("labels").is_none());
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(
        entries(&changed)[0]["fieldsV1"]["f:spec"],
        json!({"f:text": {}})
    );
}

#[tokio::test]
async fn every_writer_is_written_down() {
    let fixture = fixture();
    let uri = format!("{WIDGETS}/a");
    let mut request = http::Request::post(WIDGETS).header("user-agent", "tool/v1 (linux)");
    request = request.header("content-type", "application/json");
    let request = request.body(raw("a").to_string().into_bytes()).unwrap();
    let made: Value = fixture.api.client().request(request).await.unwrap();
    assert_eq!(
        entries(&made),
        [json!({
            "manager": "tool", "operation": "Update", "apiVersion": "test.heddle.dev/v1",
            "fieldsV1": {"f:spec": {".": {}, "f:size": {}}},
        })]
    );
    let status = json!({"status": {"conditions": [{"type": "Ready"}], "n": {"x": 1}}});
    let (_, object) = fixture
        .merge(&format!("{uri}/status?fieldManager=ctl"), &status)
        .await;
    let by_status = json!({
        "manager": "ctl", "operation": "Update", "apiVersion": "test.heddle.dev/v1",
        "subresource": "status",
        "fieldsV1": {"f:status": {".": {}, "f:conditions": {}, "f:n": {".": {}, "f:x": {}}}},
    });
    assert!(entries(&object).contains(&by_status), "{object}");
    let (_, object) = fixture
        .merge(
            &format!("{uri}?fieldManager=ed"),
            &json!({"spec": {"size": 5}}),
        )
        .await;
    assert_eq!(entries(&object).len(), 3, "{object}");
    let mut sent = object.clone();
    sent["spec"]["text"] = json!("t");
    sent["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    let (code, object) = fixture.put(&format!("{uri}?fieldManager=ed"), &sent).await;
    assert_eq!(code, 200, "{object}");
    assert_eq!(
        entries(&object).len(),
        3,
        "who leaves them out does not remove them: {object}"
    );
    for forgotten in [json!([]), json!([{}])] {
        let patch = json!({"metadata": {"managedFields": forgotten}});
        let (_, object) = fixture.merge(&uri, &patch).await;
        assert_eq!(entries(&object), Vec::<Value>::new());
    }
    let (_, object) = fixture.merge(&uri, &json!({"spec": {"size": 6}})).await;
    assert_eq!(
        entries(&object),
        Vec::<Value>::new(),
        "unknown owners stay unknown"
    );
    let mut config = raw("a");
    config["spec"]["size"] = json!(6);
    let (_, object) = apply(&fixture, "fieldManager=me", &config).await;
    let managers: Vec<Value> = entries(&object)
        .iter()
        .map(|e| e["manager"].clone())
        .collect();
    assert_eq!(managers, [json!("me"), json!("before-first-apply")]);
}

#[tokio::test]
async fn conflicts_name_owners_and_fields() {
    let fixture = fixture();
    fixture
        .post(&format!("{WIDGETS}?fieldManager=first"), &raw("a"))
        .await;
    let mut config = raw("a");
    config["spec"] = json!({"size": 2});
    let (code, status) = apply(&fixture, "fieldManager=me", &config).await;
    assert_eq!(code, 409, "{status}");
    assert_eq!(
        status,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 409,
            "reason": "Conflict",
            "message": "Apply failed with 1 conflict: conflict with \"first\" using \
                        test.heddle.dev/v1: .spec.size",
            "details": {"causes": [{
                "reason": "FieldManagerConflict", "field": ".spec.size",
                "message": "conflict with \"first\" using test.heddle.dev/v1",
            }]},
        })
    );
    config["spec"]["text"] = json!("t");
    config["metadata"]["labels"] = json!({"l": "1"});
    apply(&fixture, "fieldManager=other&force=true", &config).await;
    config["spec"] = json!({"size": 3, "text": "u"});
    let (_, status) = apply(&fixture, "fieldManager=me", &config).await;
    assert_eq!(
        status["message"],
        "Apply failed with 2 conflicts: conflicts with \"other\":\n- .spec.size\n- .spec.text"
    );
    let (code, object) = apply(&fixture, "fieldManager=me&force=true", &config).await;
    assert_eq!(
        (code, &object["spec"]),
        (200, &json!({"size": 3, "text": "u"}))
    );
}

#[tokio::test]
async fn a_status_is_applied_through_its_subresource() {
    let fixture = fixture();
    let uri = format!("{WIDGETS}/a/status?fieldManager=ctl");
    let mut config = raw("a");
    config["status"] = json!({"n": 1});
    let (code, _) = fixture
        .call(Method::PATCH, &uri, APPLY, config.to_string())
        .await;
    assert_eq!(code, 404, "a status makes no object");
    fixture.post(WIDGETS, &raw("a")).await;
    config["spec"]["size"] = json!(9);
    let (code, object) = fixture
        .call(Method::PATCH, &uri, APPLY, config.to_string())
        .await;
    assert_eq!(code, 200, "{object}");
    assert_eq!(
        (&object["status"], &object["spec"]["size"]),
        (&json!({"n": 1}), &json!(1))
    );
    let entry = json!({
        "manager": "ctl", "operation": "Apply", "apiVersion": "test.heddle.dev/v1",
        "subresource": "status", "fieldsV1": {"f:status": {"f:n": {}}},
    });
    assert!(entries(&object).contains(&entry), "{object}");
    config["spec"]["size"] = json!(1);
    let (_, object) = apply(&fixture, "fieldManager=ctl", &config).await;
    let own = entries(&object)
        .into_iter()
        .find(|e| e["operation"] == "Apply" && e.get("subresource").is_none());
    assert_eq!(
        own.unwrap()["fieldsV1"],
        json!({"f:spec": {"f:size": {}}}),
        "the status is not its"
    );
}

#[tokio::test]
async fn bad_applies_are_refused() {
    let fixture = fixture();
    fixture.post(WIDGETS, &raw("a")).await;
    let with = |pointer: &str, value: Value| {
        let mut config = raw("a");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[name] = value;
        config.to_string()
    };
    let long = format!("fieldManager={}", "x".repeat(129));
    let me = "fieldManager=me";
    let rows: [(&str, String, u16, &str, &str); 15] = [
        (
            "",
            raw("a").to_string(),
            422,
            "Invalid",
            "fieldManager: Required value: is required for apply patch",
        ),
        (
            &long,
            raw("a").to_string(),
            422,
            "Invalid",
            "fieldManager: Too long: may not be more than 128 bytes",
        ),
        (
            "fieldManager=%07",
            raw("a").to_string(),
            422,
            "Invalid",
            "fieldManager: Invalid value: \"\\u{7}\": invalid character U+0007 (at position 0)",
        ),
        (
            "fieldManager=me&force=x",
            raw("a").to_string(),
            400,
            "BadRequest",
            "the query parameter force",
        ),
        (
            me,
            "a: [".to_owned(),
            400,
            "BadRequest",
            "error decoding YAML: ",
        ),
        (me, "[]".to_owned(), 400, "BadRequest", "send an object"),
        (
            me,
            "{}".to_owned(),
            400,
            "BadRequest",
            "what is applied has no apiVersion",
        ),
        (
            me,
            with("/metadata/managedFields", json!([])),
            400,
            "BadRequest",
            "metadata.managedFields must be nil",
        ),
        (
            me,
            with("/metadata/name", json!("b")),
            400,
            "BadRequest",
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            me,
            with("/metadata/resourceVersion", json!("1")),
            409,
            "Conflict",
            "the object has been modified",
        ),
        (
            me,
            with("/metadata/uid", json!("x")),
            422,
            "Invalid",
            "metadata.uid: Invalid value: \"x\": field is immutable",
        ),
        (
            me,
            with("/metadata/lables", json!({})),
            400,
            "BadRequest",
            ".metadata.lables: field not declared in schema",
        ),
        (
            me,
            with("/spec/nope", json!(1)),
            400,
            "BadRequest",
            "failed to create typed patch object (default/a; test.heddle.dev/v1, Kind=Widget): .spec.nope: field not declared in schema",
        ),
        (
            me,
            with("/apiVersion", json!("test.heddle.dev/v2")),
            400,
            "BadRequest",
            "the API version in the data (test.heddle.dev/v2) does not match",
        ),
        (
            "fieldManager=me&fieldValidation=Strict",
            "apiVersion: test.heddle.dev/v1\nkind: Widget\nkind: Widget\nmetadata: {name: a}\n"
                .to_owned(),
            400,
            "BadRequest",
            "strict decoding error: ",
        ),
    ];
    for (query, body, code, reason, part) in rows {
        let (got, status) = fixture
            .call(
                Method::PATCH,
                &format!("{WIDGETS}/a?{query}"),
                APPLY,
                body.clone(),
            )
            .await;
        assert_eq!(
            (got.as_u16(), status["reason"].as_str().unwrap()),
            (code, reason),
            "{body}: {status}"
        );
        let message = status["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
    }
    let (code, status) = fixture
        .merge(&format!("{WIDGETS}/a?force=true"), &json!({}))
        .await;
    assert_eq!(code, 422);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("force: Forbidden: may not be specified for non-apply patch")
    );
    let mut absent = raw("new");
    absent["metadata"]["uid"] = json!("x");
    let uri = format!("{WIDGETS}/new?{me}");
    let (code, status) = fixture
        .call(Method::PATCH, &uri, APPLY, absent.to_string())
        .await;
    assert_eq!(
        (code.as_u16(), status["reason"].as_str().unwrap()),
        (409, "Conflict"),
        "{status}"
    );
}

#[tokio::test]
async fn yaml_is_applied_and_a_dry_run_changes_nothing() {
    let fixture = fixture();
    let yaml =
        "apiVersion: test.heddle.dev/v1\nkind: Widget\nmetadata:\n  name: a\nspec:\n  size: 4\n";
    let uri = format!("{WIDGETS}/a?fieldManager=me");
    let (code, object) = fixture
        .call(Method::PATCH, &format!("{uri}&dryRun=All"), APPLY, yaml)
        .await;
    assert_eq!((code.as_u16(), &object["spec"]["size"]), (201, &json!(4)));
    assert_eq!(fixture.get(&uri).await.0, 404);
    let (_, object) = fixture.call(Method::PATCH, &uri, APPLY, yaml).await;
    let (_, again) = fixture.get(&uri).await;
    assert_eq!(object, again);
}

#[tokio::test]
async fn owners_outlast_a_restart_and_a_deletion_does_not_keep_them() {
    let fixture = fixture();
    let (_, made) = apply(&fixture, "fieldManager=me", &raw("a")).await;
    let fixture = super::support::reopen(fixture);
    assert_eq!(fixture.get(&format!("{WIDGETS}/a")).await.1, made);
    let (_, same) = apply(&fixture, "fieldManager=me", &raw("a")).await;
    assert_eq!(version(&same), version(&made));
}

#[tokio::test]
async fn kube_rs_applies_and_patches_strategically() {
    let fixture = fixture();
    let api = widgets(&fixture.api.client());
    let params = PatchParams::apply("kube-rs");
    let made = api
        .patch("a", &params, &Patch::Apply(raw("a")))
        .await
        .unwrap();
    assert_eq!(
        made.metadata.managed_fields.unwrap()[0].manager.as_deref(),
        Some("kube-rs")
    );
    let mut config = raw("a");
    config["spec"]["size"] = json!(2);
    let conflict = api
        .patch("a", &PatchParams::apply("other"), &Patch::Apply(&config))
        .await;
    assert!(matches!(conflict, Err(kube::Error::Api(s)) if s.is_conflict()));
    let forced = api
        .patch(
            "a",
            &PatchParams::apply("other").force(),
            &Patch::Apply(&config),
        )
        .await;
    assert_eq!(forced.unwrap().data["spec"]["size"], 2);
    let refused = api
        .patch("a", &PatchParams::default(), &Patch::Strategic(&config))
        .await;
    assert!(matches!(refused, Err(kube::Error::Api(s)) if s.code == 415));

    let resource = kube::api::ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let maps: Api<DynamicObject> = Api::default_namespaced_with(fixture.api.client(), &resource);
    let map =
        json!({"metadata": {"name": "m", "finalizers": ["x.dev/a"]}, "data": {"a": "1", "b": "2"}});
    fixture.post(CONFIG_MAPS, &map).await;
    let patch = json!({
        "metadata": {"finalizers": ["x.dev/b"]}, "data": {"a": null, "c": "3"},
    });
    let patched = maps
        .patch("m", &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .unwrap();
    assert_eq!(patched.data["data"], json!({"b": "2", "c": "3"}));
    assert_eq!(patched.metadata.finalizers.unwrap(), ["x.dev/b", "x.dev/a"]);
}
