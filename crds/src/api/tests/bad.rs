//! Bad input, and the exact answer to each.

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::support::{LIMITS, WIDGETS, fixture, raw, with_limits};
use crate::api::{Limits, http as protocol};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const ALL: &str = "/apis/test.heddle.dev/v1/widgets";
const ONE: &str = "/apis/test.heddle.dev/v1/namespaces/default/widgets/a";

fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut body = raw("b");
    change(&mut body);
    body.to_string()
}

fn nested(levels: usize) -> String {
    let deep = "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
    changed(|b| b["spec"] = json!("HERE")).replace("\"HERE\"", &deep)
}

/// A patch that copies to these places, over and over.
fn doubling(places: &[&str]) -> String {
    let copies = (0..400).map(|n| places[n % places.len()]);
    let copies = copies.map(|to| json!({"op": "copy", "from": "/spec", "path": to}));
    Value::from(copies.collect::<Vec<_>>()).to_string()
}

type Row = (
    &'static str,
    Method,
    String,
    &'static str,
    String,
    u16,
    &'static str,
    &'static str,
);

/// What is wrong, the request, and of the answer the code, the reason and a part of the message.
fn table() -> Vec<Row> {
    let row = |what, method: Method, uri: &str, media, body: String, code, reason, part| {
        (
            what,
            method,
            uri.to_owned(),
            media,
            body,
            code,
            reason,
            part,
        )
    };
    let get = |what, uri: &str, code, reason, part| {
        (
            what,
            Method::GET,
            uri.to_owned(),
            "",
            String::new(),
            code,
            reason,
            part,
        )
    };
    let post = |what, body: String, code, reason, part| {
        (
            what,
            Method::POST,
            WIDGETS.to_owned(),
            JSON,
            body,
            code,
            reason,
            part,
        )
    };
    let gone = "the server could not find the requested resource";
    let method = "the server does not allow this method on the requested resource";
    vec![
        get("unknown path", "/nothing", 404, "NotFound", gone),
        get("unknown group", "/apis/none.dev/v1", 404, "NotFound", gone),
        get(
            "unknown kind",
            "/apis/test.heddle.dev/v1/things",
            404,
            "NotFound",
            gone,
        ),
        get(
            "unknown version",
            "/apis/test.heddle.dev/v9/widgets",
            404,
            "NotFound",
            gone,
        ),
        get(
            "unknown subresource",
            &format!("{ONE}/scale"),
            404,
            "NotFound",
            gone,
        ),
        get(
            "missing object",
            &format!("{WIDGETS}/none"),
            404,
            "NotFound",
            "widgets.test.heddle.dev \"none\" not found",
        ),
        get(
            "bad escape",
            "/apis/test.heddle.dev/v1/namespaces/default/widgets/%zz",
            400,
            "BadRequest",
            "percent-encoded",
        ),
        get(
            "not UTF-8",
            "/apis/test.heddle.dev/v1/namespaces/default/widgets/%ff",
            400,
            "BadRequest",
            "percent-encoded",
        ),
        get(
            "bad limit",
            &format!("{ALL}?limit=-1"),
            400,
            "BadRequest",
            "limit",
        ),
        get(
            "bad continue",
            &format!("{ALL}?continue=x"),
            400,
            "BadRequest",
            "continue key is not valid",
        ),
        get(
            "bad version",
            &format!("{ALL}?resourceVersion=x"),
            400,
            "BadRequest",
            "resourceVersion: Invalid value",
        ),
        get(
            "version of the future",
            &format!("{ALL}?resourceVersion=99999"),
            504,
            "Timeout",
            "Too large resource version: 99999, current: ",
        ),
        get(
            "bad label selector",
            &format!("{ALL}?labelSelector=a%20in%20b"),
            400,
            "BadRequest",
            "unable to parse requirement",
        ),
        get(
            "unknown field",
            &format!("{ALL}?fieldSelector=spec.size%3D1"),
            400,
            "BadRequest",
            "field label not supported: spec.size",
        ),
        get(
            "bad watch flag",
            &format!("{ALL}?watch=perhaps"),
            400,
            "BadRequest",
            "watch",
        ),
        get(
            "bad timeout",
            &format!("{ALL}?watch=1&timeoutSeconds=soon"),
            400,
            "BadRequest",
            "timeoutSeconds",
        ),
        get(
            "initial events alone",
            &format!("{ALL}?watch=1&sendInitialEvents=true"),
            422,
            "Invalid",
            "resourceVersionMatch: Forbidden: sendInitialEvents requires",
        ),
        get(
            "initial events of a list",
            &format!("{ALL}?sendInitialEvents=true"),
            422,
            "Invalid",
            "sendInitialEvents is forbidden for list",
        ),
        row(
            "method of a collection",
            Method::PUT,
            WIDGETS,
            JSON,
            raw("a").to_string(),
            405,
            "MethodNotAllowed",
            method,
        ),
        row(
            "method of an object",
            Method::POST,
            ONE,
            JSON,
            raw("a").to_string(),
            405,
            "MethodNotAllowed",
            method,
        ),
        row(
            "method of discovery",
            Method::POST,
            "/apis",
            JSON,
            "{}".into(),
            405,
            "MethodNotAllowed",
            method,
        ),
        row(
            "create in all namespaces",
            Method::POST,
            ALL,
            JSON,
            raw("a").to_string(),
            405,
            "MethodNotAllowed",
            method,
        ),
        row(
            "delete a status",
            Method::DELETE,
            &format!("{ONE}/status"),
            "",
            String::new(),
            405,
            "MethodNotAllowed",
            method,
        ),
        post("no JSON", "{".into(), 400, "BadRequest", "not valid JSON"),
        post(
            "empty body",
            String::new(),
            400,
            "BadRequest",
            "not valid JSON",
        ),
        post(
            "no object",
            "[]".into(),
            400,
            "BadRequest",
            "send an object",
        ),
        post(
            "hostile nesting",
            "[".repeat(100_000),
            400,
            "BadRequest",
            "not valid JSON",
        ),
        post(
            "deep nesting",
            nested(110),
            400,
            "BadRequest",
            "nests deeper than 100 levels",
        ),
        post(
            "too large",
            changed(|b| b["spec"]["x"] = json!("x".repeat(3 << 20))),
            413,
            "RequestEntityTooLarge",
            "limit is 3145728",
        ),
        post(
            "no kind",
            changed(|b| b["kind"] = json!("")),
            400,
            "BadRequest",
            "Object 'Kind' is missing",
        ),
        post(
            "other kind",
            changed(|b| b["kind"] = json!("Gadget")),
            400,
            "BadRequest",
            "the kind in the data (Gadget) does not match the expected kind (Widget)",
        ),
        post(
            "other version",
            changed(|b| b["apiVersion"] = json!("test.heddle.dev/v2")),
            400,
            "BadRequest",
            "the API version in the data (test.heddle.dev/v2) does not match",
        ),
        post(
            "other namespace",
            changed(|b| b["metadata"]["namespace"] = json!("x")),
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace",
        ),
        post(
            "metadata is text",
            changed(|b| b["metadata"] = json!("x")),
            400,
            "BadRequest",
            "metadata must be an object",
        ),
        post(
            "label is a number",
            changed(|b| b["metadata"]["labels"] = json!({"a": 1})),
            400,
            "BadRequest",
            "metadata.labels must be a map of strings to strings",
        ),
        post(
            "finalizers are text",
            changed(|b| b["metadata"]["finalizers"] = json!("x")),
            400,
            "BadRequest",
            "metadata.finalizers must be a list of strings",
        ),
        post(
            "no name",
            changed(|b| b["metadata"] = json!({})),
            422,
            "Invalid",
            "Widget.test.heddle.dev \"\" is invalid: metadata.name: Required value: name or",
        ),
        post(
            "bad name",
            changed(|b| b["metadata"]["name"] = json!("A_b")),
            422,
            "Invalid",
            "metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must",
        ),
        post(
            "bad label",
            changed(|b| b["metadata"]["labels"] = json!({"a": "b c"})),
            422,
            "Invalid",
            "metadata.labels: Invalid value: \"b c\": a valid label must",
        ),
        post(
            "owner without uid",
            changed(|b| {
                b["metadata"]["ownerReferences"] =
                    json!([{"apiVersion": "v1", "kind": "X", "name": "x"}])
            }),
            422,
            "Invalid",
            "metadata.ownerReferences[0].uid: Required value",
        ),
        post(
            "version at creation",
            changed(|b| b["metadata"]["resourceVersion"] = json!("7")),
            400,
            "BadRequest",
            "resourceVersion should not be set on objects to be created",
        ),
        post(
            "invalid spec",
            changed(|b| b["spec"]["size"] = json!(-1)),
            422,
            "Invalid",
            "Widget.test.heddle.dev \"b\" is invalid: spec.size: Invalid value: -1: must not be",
        ),
        post(
            "spec is text",
            changed(|b| b["spec"] = json!("x")),
            422,
            "Invalid",
            "spec: Invalid value: must be an object",
        ),
        row(
            "unknown field",
            Method::POST,
            &format!("{WIDGETS}?fieldValidation=Strict"),
            JSON,
            changed(|b| b["spec"]["list"] = json!([{"a": 1, "typo": 2}])),
            400,
            "BadRequest",
            "strict decoding error: unknown field \"spec.list[0].typo\"",
        ),
        row(
            "bad field validation",
            Method::POST,
            &format!("{WIDGETS}?fieldValidation=No"),
            JSON,
            raw("b").to_string(),
            422,
            "Invalid",
            "fieldValidation: Unsupported value: \"No\"",
        ),
        post(
            "exists",
            raw("a").to_string(),
            409,
            "AlreadyExists",
            "widgets.test.heddle.dev \"a\" already exists",
        ),
        row(
            "unknown namespace",
            Method::POST,
            "/apis/test.heddle.dev/v1/namespaces/x/widgets",
            JSON,
            raw("b").to_string(),
            404,
            "NotFound",
            "namespaces \"x\" not found",
        ),
        row(
            "not JSON by type",
            Method::POST,
            WIDGETS,
            "application/yaml",
            "a: b".into(),
            415,
            "UnsupportedMediaType",
            "accepted media types include: application/json",
        ),
        row(
            "bad dry run",
            Method::POST,
            &format!("{WIDGETS}?dryRun=Some"),
            JSON,
            raw("b").to_string(),
            422,
            "Invalid",
            "dryRun: Unsupported value: \"Some\"",
        ),
        row(
            "other name",
            Method::PUT,
            ONE,
            JSON,
            raw("b").to_string(),
            400,
            "BadRequest",
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        row(
            "blind update",
            Method::PUT,
            ONE,
            JSON,
            raw("a").to_string(),
            422,
            "Invalid",
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
        ),
        row(
            "update of nothing",
            Method::PUT,
            &format!("{WIDGETS}/b"),
            JSON,
            raw("b").to_string(),
            404,
            "NotFound",
            "widgets.test.heddle.dev \"b\" not found",
        ),
        row(
            "apply patch",
            Method::PATCH,
            ONE,
            "application/apply-patch+yaml",
            "{}".into(),
            415,
            "UnsupportedMediaType",
            "application/json-patch+json, application/merge-patch+json",
        ),
        row(
            "strategic patch",
            Method::PATCH,
            ONE,
            "application/strategic-merge-patch+json",
            "{}".into(),
            415,
            "UnsupportedMediaType",
            "application/merge-patch+json",
        ),
        row(
            "patch to no object",
            Method::PATCH,
            ONE,
            MERGE,
            "[]".into(),
            400,
            "BadRequest",
            "send an object",
        ),
        row(
            "patch of the name",
            Method::PATCH,
            ONE,
            MERGE,
            json!({"metadata": {"name": "b"}}).to_string(),
            422,
            "Invalid",
            "metadata.name: Invalid value: field is immutable",
        ),
        row(
            "patch of the kind",
            Method::PATCH,
            ONE,
            MERGE,
            json!({"kind": "X"}).to_string(),
            400,
            "BadRequest",
            "the kind in the data (X) does not match",
        ),
        row(
            "patch with an old version",
            Method::PATCH,
            ONE,
            MERGE,
            json!({"metadata": {"resourceVersion": "1"}}).to_string(),
            409,
            "Conflict",
            "Operation cannot be fulfilled on widgets.test.heddle.dev \"a\": the object has been",
        ),
        row(
            "patch for another identity",
            Method::PATCH,
            ONE,
            MERGE,
            json!({"metadata": {"uid": "x"}}).to_string(),
            409,
            "Conflict",
            "Precondition failed",
        ),
        row(
            "JSON patch that is an object",
            Method::PATCH,
            ONE,
            PATCH,
            "{}".into(),
            400,
            "BadRequest",
            "error decoding patch",
        ),
        row(
            "JSON patch with a failing test",
            Method::PATCH,
            ONE,
            PATCH,
            json!([{"op": "test", "path": "/spec/size", "value": 2}]).to_string(),
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        ),
        row(
            "JSON patch that grows without end",
            Method::PATCH,
            ONE,
            PATCH,
            doubling(&["/spec/x", "/spec/y", "/spec/z"]),
            413,
            "RequestEntityTooLarge",
            "accumulated size increase of copy",
        ),
        row(
            "status is text",
            Method::PATCH,
            &format!("{ONE}/status"),
            MERGE,
            json!({"status": "x"}).to_string(),
            422,
            "Invalid",
            "status: Invalid value: must be",
        ),
        row(
            "delete for another identity",
            Method::DELETE,
            ONE,
            JSON,
            json!({"preconditions": {"uid": "x"}}).to_string(),
            409,
            "Conflict",
            "Precondition failed: UID in precondition: x",
        ),
        row(
            "delete an old version",
            Method::DELETE,
            ONE,
            JSON,
            json!({"preconditions": {"resourceVersion": "1"}}).to_string(),
            409,
            "Conflict",
            "the ResourceVersion in the precondition (1) does not match",
        ),
        row(
            "orphaning",
            Method::DELETE,
            ONE,
            JSON,
            json!({"propagationPolicy": "Orphan"}).to_string(),
            422,
            "Invalid",
            "propagationPolicy: Unsupported value: \"Orphan\"",
        ),
        row(
            "delete nothing",
            Method::DELETE,
            &format!("{WIDGETS}/b"),
            "",
            String::new(),
            404,
            "NotFound",
            "widgets.test.heddle.dev \"b\" not found",
        ),
        row(
            "delete a kept namespace",
            Method::DELETE,
            "/api/v1/namespaces/default",
            "",
            String::new(),
            403,
            "Forbidden",
            "this namespace may not be deleted",
        ),
        row(
            "namespace with dots",
            Method::POST,
            "/api/v1/namespaces",
            JSON,
            json!({"metadata": {"name": "a.b"}}).to_string(),
            422,
            "Invalid",
            "Namespace \"a.b\" is invalid: metadata.name: Invalid value: \"a.b\": a lowercase \
             RFC 1123 label",
        ),
        row(
            "data that is no text",
            Method::POST,
            "/api/v1/namespaces/default/configmaps",
            JSON,
            json!({"metadata": {"name": "m"}, "data": {"a": 1}}).to_string(),
            422,
            "Invalid",
            "ConfigMap \"m\" is invalid: data: Invalid value",
        ),
    ]
}

#[tokio::test]
async fn each_bad_request_has_its_answer_and_harms_nothing() {
    let fixture = fixture();
    fixture.post(WIDGETS, &raw("a")).await;
    let before = fixture.get(WIDGETS).await;
    for (what, method, uri, media, body, code, reason, part) in table() {
        let (got, status) = fixture.call(method, &uri, media, body).await;
        let message = status["message"].as_str().unwrap_or_default();
        assert_eq!(got.as_u16(), code, "{what}: {status}");
        assert_eq!(status["reason"], reason, "{what}: {status}");
        assert!(message.contains(part), "{what}: {message}");
        assert_eq!(
            (
                &status["kind"],
                &status["apiVersion"],
                &status["status"],
                &status["code"]
            ),
            (
                &json!("Status"),
                &json!("v1"),
                &json!("Failure"),
                &json!(code)
            ),
            "{what}"
        );
    }
    assert_eq!(fixture.get(WIDGETS).await, before);
}

#[tokio::test]
async fn unknown_fields_are_warned_of() {
    let fixture = fixture();
    let mut body = raw("a");
    body["spec"]["typo\n\""] = json!(1);
    let request = Request::post(WIDGETS)
        .body(Full::new(body.to_string().into()))
        .unwrap();
    let response = protocol::handle(Arc::clone(&fixture.api.inner), request).await;
    assert_eq!(response.status(), 201);
    let warning = response.headers()["warning"].to_str().unwrap();
    assert!(
        warning.starts_with("299 - \"unknown field") && warning.contains("typo"),
        "{warning}"
    );
    let (_, document) = fixture.get("/openapi/v3/apis/test.heddle.dev/v1").await;
    let schema = &document["components"]["schemas"]["dev.heddle.test.v1.Widget"];
    assert_eq!(
        schema["x-kubernetes-group-version-kind"][0]["kind"],
        "Widget"
    );
    assert!(fixture.get("/openapi/v3").await.1["paths"]["api/v1"].is_object());
}

#[tokio::test]
async fn every_cause_is_named() {
    let fixture = fixture();
    let mut body = raw("a");
    body["spec"] = json!({"size": 1, "fixed": 1});
    fixture.post(WIDGETS, &body).await;
    let (_, status) = fixture
        .merge(ONE, &json!({"spec": {"size": -1, "fixed": 2}}))
        .await;
    assert_eq!(
        status["message"],
        "Widget.test.heddle.dev \"a\" is invalid: [spec.size: Invalid value: -1: must not be \
         negative, spec.fixed: Forbidden: is immutable]"
    );
    assert_eq!(
        status["details"],
        json!({
            "name": "a", "group": "test.heddle.dev", "kind": "Widget",
            "causes": [
                {"reason": "FieldValueInvalid", "field": "spec.size",
                 "message": "Invalid value: -1: must not be negative"},
                {"reason": "FieldValueForbidden", "field": "spec.fixed",
                 "message": "Forbidden: is immutable"},
            ],
        })
    );
}

#[tokio::test]
async fn too_many_watches_are_refused_and_room_comes_back() {
    let fixture = with_limits(Limits {
        watches: 2,
        ..LIMITS
    });
    let open = async || {
        let uri = format!("{ALL}?watch=true");
        let request = Request::get(uri)
            .body(Full::new(bytes::Bytes::new()))
            .unwrap();
        protocol::handle(Arc::clone(&fixture.api.inner), request).await
    };
    let (first, _second) = (open().await, open().await);
    let third = open().await;
    assert_eq!(third.status(), 429);
    assert_eq!(third.headers()["retry-after"], "1");
    drop(first);
    assert_eq!(open().await.status(), 200);
}

#[tokio::test]
async fn web_pages_are_refused() {
    let fixture = fixture();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tracker, drain) = (TaskTracker::new(), CancellationToken::new());
    fixture.api.serve(listener, &tracker, &drain);
    for (headers, code) in [
        (format!("Host: {address}\r\n"), "200"),
        (format!("Host: localhost:{}\r\n", address.port()), "200"),
        ("Host: evil.example\r\n".to_owned(), "403"),
        (
            format!("Host: {address}\r\nOrigin: http://evil.example\r\n"),
            "403",
        ),
        (
            format!("Host: {address}\r\nX-Flood: {}\r\n", "x".repeat(100_000)),
            "431",
        ),
    ] {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /version HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        // The server may answer and close before it has read a flood to its end.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[9..], *code.as_bytes(), "{:.80}", headers);
    }
    drain.cancel();
    tracker.close();
    tracker.wait().await;
}
