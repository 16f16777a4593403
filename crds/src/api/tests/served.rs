//! What is served beside objects: discovery, OpenAPI v2, scales, reviews, tokens.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::support::{Fixture, LIMITS, WIDGETS, kind, kinds, now, raw};
use crate::api::access::{MASTERS, User};
use crate::api::{ApiServer, http as protocol, review};
use crate::resource::{ResourceKind, Scale};

/// An API with service accounts, and with widgets that scale.
fn fixture() -> Fixture {
    let mut all = kinds();
    for kind in &mut all {
        if kind.plural == "widgets" {
            kind.scale = Some(Scale {
                spec_replicas: ".spec.size".to_owned(),
                status_replicas: ".status.there".to_owned(),
                label_selector: Some(".status.selector".to_owned()),
            });
        }
    }
    all.push(ResourceKind {
        group: String::new(),
        ..kind("ServiceAccount", "serviceaccounts", true)
    });
    let dir = tempfile::tempdir().unwrap();
    let api = ApiServer::open_with(dir.path(), all, now(), LIMITS).unwrap();
    Fixture { api, dir }
}

impl Fixture {
    /// Gets something with these headers.
    async fn fetch(&self, uri: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(bytes::Bytes::new())).unwrap();
        let response = protocol::handle(Arc::clone(&self.api.inner), request).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, body.to_vec())
    }

    async fn ask(&self, group: &str, plural: &str, spec: Value) -> (StatusCode, Value) {
        let uri = format!("/apis/{group}/v1/{plural}");
        self.post(&uri, &json!({"spec": spec})).await
    }
}

#[tokio::test]
async fn discovery_is_aggregated_for_those_who_ask() {
    let fixture = fixture();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                  application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
                  application/json";
    let (code, headers, body) = fixture.fetch("/apis", &[("accept", accept)]).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(
        headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["apiVersion"], "apidiscovery.k8s.io/v2");
    let groups = list["items"].as_array().unwrap();
    let group = groups
        .iter()
        .find(|g| g["metadata"]["name"] == "test.heddle.dev")
        .unwrap();
    let resources = group["versions"][0]["resources"].as_array().unwrap();
    let widgets = resources
        .iter()
        .find(|r| r["resource"] == "widgets")
        .unwrap();
    assert_eq!(
        widgets,
        &json!({
            "resource": "widgets", "scope": "Namespaced", "singularResource": "widget",
            "responseKind": {"group": "test.heddle.dev", "version": "v1", "kind": "Widget"},
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "categories": ["all"],
            "subresources": [
                {
                    "subresource": "scale", "verbs": ["get", "patch", "update"],
                    "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
                },
                {
                    "subresource": "status", "verbs": ["get", "patch", "update"],
                    "responseKind": {"group": "test.heddle.dev", "version": "v1", "kind": "Widget"},
                },
            ],
        })
    );
    let tag = headers["etag"].to_str().unwrap();
    let again = [("accept", accept), ("if-none-match", tag)];
    let (code, _, body) = fixture.fetch("/apis", &again).await;
    assert_eq!((code, body.len()), (StatusCode::NOT_MODIFIED, 0));
    let (_, headers, body) = fixture.fetch("/api", &[("accept", accept)]).await;
    assert_eq!(headers["vary"], "Accept");
    let core: Value = serde_json::from_slice(&body).unwrap();
    assert!(core["items"][0]["metadata"].get("name").is_none());
    // Plain JSON first, or nothing else: the old form.
    for accept in [
        "application/json",
        "*/*",
        "application/json;as=Other,application/json",
    ] {
        let (_, _, body) = fixture.fetch("/apis", &[("accept", accept)]).await;
        let list: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(list["kind"], "APIGroupList", "{accept}");
    }
    let only = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    let (_, _, body) = fixture.fetch("/apis", &[("accept", only)]).await;
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["apiVersion"], "apidiscovery.k8s.io/v2beta1");
}

#[tokio::test]
async fn open_api_v2_is_told_in_json_and_in_protobuf() {
    let fixture = fixture();
    let (_, headers, body) = fixture.fetch("/openapi/v2", &[]).await;
    assert_eq!(headers["content-type"], "application/json");
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["swagger"], "2.0");
    let widget = &document["definitions"]["dev.heddle.test.v1.Widget"];
    assert_eq!(
        widget["x-kubernetes-group-version-kind"],
        json!([{"group": "test.heddle.dev", "version": "v1", "kind": "Widget"}])
    );
    assert_eq!(
        widget["properties"]["spec"]["properties"]["size"]["type"],
        "integer"
    );
    assert_eq!(widget["properties"]["apiVersion"]["type"], "string");
    // A field that is only called an object is a map to kubectl 1.20, and no patch can be made of it.
    let metadata = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    assert_eq!(widget["properties"]["metadata"], json!({"$ref": metadata}));
    let fields = &document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"];
    let owners = &fields["properties"]["ownerReferences"];
    assert_eq!(owners["x-kubernetes-patch-merge-key"], "uid");
    // What preserves unknown fields must not look as if it had none.
    assert!(widget["properties"]["status"].get("type").is_none());
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let (_, headers, body) = fixture.fetch("/openapi/v2", &[("accept", accept)]).await;
    assert_eq!(
        headers["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    // Field 1, three bytes long: swagger.
    assert_eq!(&body[..5], b"\x0a\x032.0");
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("dev.heddle.test.v1.Widget") && text.contains("How large it is."));
    assert!(text.contains(metadata));
}

#[tokio::test]
async fn open_api_v3_tells_of_the_metadata_of_every_kind() {
    let fixture = fixture();
    for (path, name) in [
        ("apis/test.heddle.dev/v1", "dev.heddle.test.v1.Widget"),
        ("api/v1", "io.k8s.api.core.v1.ConfigMap"),
    ] {
        let (_, _, body) = fixture.fetch(&format!("/openapi/v3/{path}"), &[]).await;
        let document: Value = serde_json::from_slice(&body).unwrap();
        let schemas = &document["components"]["schemas"];
        let fields = &schemas[name]["properties"];
        assert_eq!(fields["kind"]["type"], "string", "{name}");
        let reference = fields["metadata"]["allOf"][0]["$ref"].as_str().unwrap();
        let metadata = &schemas[reference.strip_prefix("#/components/schemas/").unwrap()];
        let labels = &metadata["properties"]["labels"];
        assert_eq!(labels["additionalProperties"]["type"], "string");
    }
}

#[tokio::test]
async fn an_object_may_be_written_in_yaml() {
    let fixture = fixture();
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: written}\ndata:\n  a: |\n    two\n    lines\n";
    let all = "/api/v1/namespaces/default/configmaps";
    let post = fixture.call(Method::POST, all, "application/yaml", yaml.to_owned());
    let (code, made) = post.await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(made["data"]["a"], "two\nlines\n");
}

#[tokio::test]
async fn a_table_is_refused_whose_rows_cannot_hold_what_is_asked() {
    let fixture = fixture();
    let table = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let (code, _, body) = fixture
        .fetch(&format!("{WIDGETS}?includeObject=Some"), &table)
        .await;
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(code, StatusCode::BAD_REQUEST);
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("includeObject: Invalid value: \"Some\""),
        "{message}"
    );
}

#[tokio::test]
async fn a_scale_is_read_and_written_on_its_own() {
    let fixture = fixture();
    fixture.post(WIDGETS, &raw("a")).await;
    let uri = format!("{WIDGETS}/a/scale");
    let status = json!({"status": {"there": 2, "selector": "app=a"}});
    fixture.merge(&format!("{WIDGETS}/a/status"), &status).await;
    let (code, scale) = fixture.get(&uri).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"]),
        (&json!("Scale"), &json!("autoscaling/v1"))
    );
    assert_eq!(scale["spec"], json!({"replicas": 1}));
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=a"}));
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = json!(5);
    let (code, answer) = fixture.put(&uri, &wanted).await;
    assert_eq!(
        (code.as_u16(), &answer["spec"]["replicas"]),
        (200, &json!(5))
    );
    // The version that was read is no longer the newest.
    let (code, answer) = fixture.put(&uri, &wanted).await;
    assert_eq!(
        (code.as_u16(), &answer["reason"]),
        (409, &json!("Conflict"))
    );
    let (code, answer) = fixture.merge(&uri, &json!({"spec": {"replicas": 7}})).await;
    assert_eq!(
        (code.as_u16(), &answer["spec"]["replicas"]),
        (200, &json!(7))
    );
    let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 8}]).to_string();
    let json_patch = "application/json-patch+json";
    let (code, _) = fixture.call(Method::PATCH, &uri, json_patch, patch).await;
    assert_eq!(code, StatusCode::OK);
    let (_, widget) = fixture.get(&format!("{WIDGETS}/a")).await;
    assert_eq!(
        (&widget["spec"]["size"], &widget["status"]["there"]),
        (&json!(8), &json!(2))
    );
    let (code, answer) = fixture
        .merge(&uri, &json!({"spec": {"replicas": -1}}))
        .await;
    assert_eq!(
        (code.as_u16(), answer["message"].as_str().unwrap()),
        (
            422,
            "Scale.autoscaling \"a\" is invalid: spec.replicas: Invalid value: -1: must be greater \
             than or equal to 0"
        )
    );
    assert_eq!(fixture.delete(&uri).await.0, 405);
    let none = WIDGETS.replace("widgets", "gadgets");
    assert_eq!(fixture.get(&format!("{none}/a/scale")).await.0, 404);
}

/// Who owns the size of widget `a`, and through which part.
async fn owners_of_size(fixture: &Fixture) -> Vec<String> {
    let (_, widget) = fixture.get(&format!("{WIDGETS}/a")).await;
    let entries = widget["metadata"]["managedFields"].as_array().unwrap();
    let owns = |entry: &&Value| entry["fieldsV1"]["f:spec"].get("f:size").is_some();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let owners = entries.iter().filter(owns).map(|entry| {
        assert_eq!(entry["apiVersion"], "test.heddle.dev/v1");
        let part = text(&entry["subresource"]);
        format!(
            "{} {} {part}",
            text(&entry["manager"]),
            text(&entry["operation"])
        )
    });
    owners.collect()
}

#[tokio::test]
async fn who_scales_owns_the_number_through_the_scale() {
    let fixture = fixture();
    let by = |part: &str, name: &str| format!("{WIDGETS}{part}?fieldManager={name}");
    let mut widget = raw("a");
    widget["spec"]["text"] = json!("kept");
    fixture.post(&by("", "maker"), &widget).await;
    assert_eq!(owners_of_size(&fixture).await, ["maker Update "]);
    let scale = json!({"spec": {"replicas": 5}});
    fixture.merge(&by("/a/scale", "scaler"), &scale).await;
    assert_eq!(owners_of_size(&fixture).await, ["scaler Update scale"]);
    // Who sets it to what it is takes nothing.
    fixture.merge(&by("/a/scale", "other"), &scale).await;
    assert_eq!(owners_of_size(&fixture).await, ["scaler Update scale"]);
    let apply = async |replicas: i64, query: &str| {
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"},
            "spec": {"replicas": replicas},
        });
        let uri = format!("{}{query}", by("/a/scale", "applier"));
        let media = "application/apply-patch+yaml";
        fixture
            .call(Method::PATCH, &uri, media, scale.to_string())
            .await
    };
    let (code, status) = apply(7, "").await;
    assert_eq!(
        (code.as_u16(), &status["details"]["causes"][0]["message"]),
        (
            409,
            &json!("conflict with \"scaler\" with subresource \"scale\" using test.heddle.dev/v1")
        )
    );
    let (code, answer) = apply(7, "&force=true").await;
    assert_eq!(
        (code.as_u16(), &answer["spec"]["replicas"]),
        (200, &json!(7))
    );
    assert_eq!(owners_of_size(&fixture).await, ["applier Apply scale"]);
    let (_, whole) = fixture.get(&format!("{WIDGETS}/a")).await;
    assert_eq!(whole["spec"], json!({"size": 7, "text": "kept"}));
    // A write of the object takes the number back.
    fixture
        .merge(&by("/a", "maker"), &json!({"spec": {"size": 2}}))
        .await;
    assert_eq!(owners_of_size(&fixture).await, ["maker Update "]);
}

#[tokio::test]
async fn whoever_is_let_in_may_do_everything() {
    let fixture = fixture();
    let group = "authorization.k8s.io";
    let attributes = json!({"resourceAttributes": {"verb": "create", "resource": "widgets"}});
    let (code, answer) = fixture
        .ask(group, "selfsubjectaccessreviews", attributes.clone())
        .await;
    assert_eq!(
        (code.as_u16(), &answer["status"]["allowed"]),
        (201, &json!(true))
    );
    assert_eq!(answer["kind"], "SelfSubjectAccessReview");
    let mut other = attributes.clone();
    other["user"] = json!("system:anonymous");
    let (_, answer) = fixture.ask(group, "subjectaccessreviews", other).await;
    assert_eq!(answer["status"]["allowed"], false);
    let (code, answer) = fixture.ask(group, "subjectaccessreviews", attributes).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let (code, _) = fixture
        .ask(group, "selfsubjectaccessreviews", json!({}))
        .await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, answer) = fixture
        .ask(
            group,
            "selfsubjectrulesreviews",
            json!({"namespace": "default"}),
        )
        .await;
    assert_eq!(answer["status"]["resourceRules"][0]["verbs"], json!(["*"]));
    let (_, answer) = fixture
        .ask("authentication.k8s.io", "selfsubjectreviews", Value::Null)
        .await;
    let groups = answer["status"]["userInfo"]["groups"].as_array().unwrap();
    assert!(groups.contains(&json!(MASTERS)), "{answer}");
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(fixture.get(uri).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn tokens_are_good_for_their_account_time_and_audience() {
    let fixture = fixture();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let robot =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    assert_eq!(fixture.post(accounts, &robot).await.0, 201);
    let uri = format!("{accounts}/robot/token");
    let (code, request) = fixture.post(&uri, &json!({"spec": {}})).await;
    assert_eq!(code, StatusCode::CREATED, "{request}");
    assert_eq!(request["spec"]["expirationSeconds"], 3600);
    let token = request["status"]["token"].as_str().unwrap().to_owned();
    let check = async |spec: Value| {
        let (_, review) = fixture
            .ask("authentication.k8s.io", "tokenreviews", spec)
            .await;
        review["status"].clone()
    };
    let status = check(json!({"token": token})).await;
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(
        status["user"]["username"],
        "system:serviceaccount:default:robot"
    );
    let caller = review::caller(&fixture.api.inner, &token).unwrap();
    assert_eq!(caller.name, "system:serviceaccount:default:robot");
    assert_ne!(caller, User::admin());
    let status = check(json!({"token": token, "audiences": ["vault"]})).await;
    assert!(status.get("authenticated").is_none(), "{status}");
    let mut forged = token.clone();
    forged.replace_range(token.len() - 4.., "AAAA");
    for wrong in [forged.as_str(), "", "a.b.c", &token[..token.len() / 2]] {
        let status = check(json!({"token": wrong})).await;
        assert!(status.get("authenticated").is_none(), "{wrong}");
    }
    // One for another audience does not open the API.
    let spec = json!({"spec": {"audiences": ["vault"], "expirationSeconds": 600}});
    let (_, request) = fixture.post(&uri, &spec).await;
    let other = request["status"]["token"].as_str().unwrap();
    assert!(review::caller(&fixture.api.inner, other).is_none());
    let status = check(json!({"token": other, "audiences": ["vault", "x"]})).await;
    assert_eq!(status["audiences"], json!(["vault"]));
    let (code, answer) = fixture
        .post(&uri, &json!({"spec": {"expirationSeconds": 1}}))
        .await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    assert_eq!(
        fixture
            .post(&format!("{accounts}/none/token"), &json!({}))
            .await
            .0,
        404
    );
    // An account of the same name that is made later is another one.
    fixture.delete(&format!("{accounts}/robot")).await;
    assert!(review::caller(&fixture.api.inner, &token).is_none());
    fixture.post(accounts, &robot).await;
    assert!(review::caller(&fixture.api.inner, &token).is_none());
}

#[test]
fn tokens_end() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = crate::api::access::tokens::Tokens::open(dir.path()).unwrap();
    let token = tokens.sign(&json!({"nbf": 100, "exp": 200}));
    for (now, good) in [(99, false), (100, true), (199, true), (200, false)] {
        assert_eq!(tokens.check(&token, now).is_some(), good, "{now}");
    }
    let again = crate::api::access::tokens::Tokens::open(dir.path()).unwrap();
    assert!(again.check(&token, 150).is_some());
    let other = tempfile::tempdir().unwrap();
    let other = crate::api::access::tokens::Tokens::open(other.path()).unwrap();
    assert!(other.check(&token, 150).is_none());
}
