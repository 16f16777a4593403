//! The rows of the table of bad requests.

use http::Method;
use serde_json::{Value, json};

use super::support::{WIDGETS, raw};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
pub(super) const ALL: &str = "/apis/test.heddle.dev/v1/widgets";
pub(super) const ONE: &str = "/apis/test.heddle.dev/v1/namespaces/default/widgets/a";

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

/// What is wrong, the request, and of the answer the code, the reason and a part of the message.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) method: Method,
    pub(super) uri: String,
    pub(super) media: &'static str,
    pub(super) body: String,
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) part: &'static str,
}

#[allow(clippy::too_many_arguments)] // A row of a table.
fn row(
    what: &'static str,
    method: Method,
    uri: &str,
    media: &'static str,
    body: String,
    code: u16,
    reason: &'static str,
    part: &'static str,
) -> Row {
    Row {
        what,
        method,
        uri: uri.to_owned(),
        media,
        body,
        code,
        reason,
        part,
    }
}

fn get(what: &'static str, uri: &str, code: u16, reason: &'static str, part: &'static str) -> Row {
    row(
        what,
        Method::GET,
        uri,
        "",
        String::new(),
        code,
        reason,
        part,
    )
}

fn post(
    what: &'static str,
    body: String,
    code: u16,
    reason: &'static str,
    part: &'static str,
) -> Row {
    row(what, Method::POST, WIDGETS, JSON, body, code, reason, part)
}

/// Paths, selectors and options of reads.
#[rustfmt::skip]
pub(super) fn reads() -> Vec<Row> {
    let gone = "the server could not find the requested resource";
    vec![
        get("unknown path", "/nothing", 404, "NotFound", gone),
        get("unknown group", "/apis/none.dev/v1", 404, "NotFound", gone),
        get("unknown kind", "/apis/test.heddle.dev/v1/things", 404, "NotFound", gone),
        get("unknown version", "/apis/test.heddle.dev/v9/widgets", 404, "NotFound", gone),
        get("unknown subresource", &format!("{ONE}/scale"), 404, "NotFound", gone),
        get("missing object", &format!("{WIDGETS}/none"), 404, "NotFound", "widgets.test.heddle.dev \"none\" not found"),
        get("bad escape", "/apis/test.heddle.dev/v1/namespaces/default/widgets/%zz", 400, "BadRequest", "percent-encoded"),
        get("not UTF-8", "/apis/test.heddle.dev/v1/namespaces/default/widgets/%ff", 400, "BadRequest", "percent-encoded"),
        get("bad limit", &format!("{ALL}?limit=ten"), 400, "BadRequest", "limit"),
        get("bad continue", &format!("{ALL}?continue=x"), 400, "BadRequest", "continue key is not valid"),
        get("bad version", &format!("{ALL}?resourceVersion=x"), 400, "BadRequest", "resourceVersion: Invalid value"),
        get("version of the future", &format!("{ALL}?resourceVersion=99999"), 504, "Timeout", "Timeout: Too large resource version: 99999, current: "),
        get("bad label selector", &format!("{ALL}?labelSelector=a%20in%20b"), 400, "BadRequest", "unable to parse requirement"),
        get("unknown field", &format!("{ALL}?fieldSelector=spec.size%3D1"), 400, "BadRequest", "\"spec.size\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
        get("bad watch flag", &format!("{ALL}?watch=perhaps"), 400, "BadRequest", "watch"),
        get("bad timeout", &format!("{ALL}?watch=1&timeoutSeconds=soon"), 400, "BadRequest", "timeoutSeconds"),
        get("initial events alone", &format!("{ALL}?watch=1&sendInitialEvents=true"), 422, "Invalid", "resourceVersionMatch: Forbidden: sendInitialEvents requires"),
        get("initial events of a list", &format!("{ALL}?sendInitialEvents=true"), 422, "Invalid", "sendInitialEvents is forbidden for list"),
    ]
}

/// Methods that a path does not have.
#[rustfmt::skip]
pub(super) fn methods() -> Vec<Row> {
    let method = "the server does not allow this method on the requested resource";
    vec![
        row("method of a collection", Method::PUT, WIDGETS, JSON, raw("a").to_string(), 405, "MethodNotAllowed", method),
        row("method of an object", Method::POST, ONE, JSON, raw("a").to_string(), 405, "MethodNotAllowed", method),
        row("method of discovery", Method::POST, "/apis", JSON, "{}".into(), 405, "MethodNotAllowed", method),
        row("create in all namespaces", Method::POST, ALL, JSON, raw("a").to_string(), 405, "MethodNotAllowed", method),
        row("delete a status", Method::DELETE, &format!("{ONE}/status"), "", String::new(), 405, "MethodNotAllowed", method),
    ]
}

/// Metadata of new objects.
#[rustfmt::skip]
pub(super) fn metadata() -> Vec<Row> {
    vec![
        post("other namespace", changed(|b| b["metadata"]["namespace"] = json!("x")), 400, "BadRequest", "the namespace of the provided object does not match the namespace"),
        post("metadata is text", changed(|b| b["metadata"] = json!("x")), 400, "BadRequest", "metadata must be an object"),
        post("label is a number", changed(|b| b["metadata"]["labels"] = json!({"a": 1})), 400, "BadRequest", "metadata.labels must be a map of strings to strings"),
        post("finalizers are text", changed(|b| b["metadata"]["finalizers"] = json!("x")), 400, "BadRequest", "metadata.finalizers must be a list of strings"),
        post("no name", changed(|b| b["metadata"] = json!({})), 422, "Invalid", "Widget.test.heddle.dev \"\" is invalid: metadata.name: Required value: name or"),
        post("bad name", changed(|b| b["metadata"]["name"] = json!("A_b")), 422, "Invalid", "metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must"),
        post("bad label", changed(|b| b["metadata"]["labels"] = json!({"a": "b c"})), 422, "Invalid", "metadata.labels: Invalid value: \"b c\": a valid label must"),
        post("no time", changed(|b| b["metadata"]["creationTimestamp"] = json!("yesterday")), 400, "BadRequest", "metadata.creationTimestamp must be a time like 2026-01-31T12:00:00Z"),
        post("owned by an Event", changed(|b| { b["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Event", "name": "x", "uid": "x"}]) }), 422, "Invalid", "/v1, Kind=Event is disallowed from being an owner"),
        post("owner without uid", changed(|b| { b["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "X", "name": "x"}]) }), 422, "Invalid", "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"),
        post("version at creation", changed(|b| b["metadata"]["resourceVersion"] = json!("7")), 400, "BadRequest", "resourceVersion should not be set on objects to be created"),
    ]
}

/// Bodies of new objects.
#[rustfmt::skip]
pub(super) fn bodies() -> Vec<Row> {
    vec![
        post("no JSON", "{".into(), 400, "BadRequest", "not valid JSON"),
        post("empty body", String::new(), 400, "BadRequest", "not valid JSON"),
        post("no object", "[]".into(), 400, "BadRequest", "send an object"),
        post("hostile nesting", "[".repeat(100_000), 400, "BadRequest", "not valid JSON"),
        post("deep nesting", nested(110), 400, "BadRequest", "nests deeper than 100 levels"),
        post("too large", changed(|b| b["spec"]["x"] = json!("x".repeat(3 << 20))), 413, "RequestEntityTooLarge", "limit is 3145728"),
        post("no kind", changed(|b| b["kind"] = json!("")), 400, "BadRequest", "Object 'Kind' is missing"),
        post("other kind", changed(|b| b["kind"] = json!("Gadget")), 400, "BadRequest", "the kind in the data (Gadget) does not match the expected kind (Widget)"),
        post("other version", changed(|b| b["apiVersion"] = json!("test.heddle.dev/v2")), 400, "BadRequest", "the API version in the data (test.heddle.dev/v2) does not match"),
        post("invalid spec", changed(|b| b["spec"]["size"] = json!(-1)), 422, "Invalid", "Widget.test.heddle.dev \"b\" is invalid: spec.size: Invalid value: -1: must not be"),
        post("spec is text", changed(|b| b["spec"] = json!("x")), 422, "Invalid", "spec: Invalid value: must be an object"),
        post("exists", raw("a").to_string(), 409, "AlreadyExists", "widgets.test.heddle.dev \"a\" already exists"),
    ]
}

/// Updates, and creations with options.
#[rustfmt::skip]
pub(super) fn updates() -> Vec<Row> {
    vec![
        row("unknown field", Method::POST, &format!("{WIDGETS}?fieldValidation=Strict"), JSON, changed(|b| b["spec"]["list"] = json!([{"a": 1, "typo": 2}])), 400, "BadRequest", "strict decoding error: unknown field \"spec.list[0].typo\""),
        row("unknown field of the metadata", Method::POST, &format!("{WIDGETS}?fieldValidation=Strict"), JSON, changed(|b| { b["metadata"]["lables"] = json!({}); b["spec"]["typo"] = json!(1) }), 400, "BadRequest", "strict decoding error: unknown field \"metadata.lables\", unknown field \"spec.typo\""),
        row("bad field validation", Method::POST, &format!("{WIDGETS}?fieldValidation=No"), JSON, raw("b").to_string(), 422, "Invalid", "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"No\""),
        row("unknown namespace", Method::POST, "/apis/test.heddle.dev/v1/namespaces/x/widgets", JSON, raw("b").to_string(), 404, "NotFound", "namespaces \"x\" not found"),
        row("neither JSON nor YAML by type", Method::POST, WIDGETS, "text/plain", raw("b").to_string(), 415, "UnsupportedMediaType", "accepted media types include: application/json, application/yaml"),
        row("YAML that is none", Method::POST, WIDGETS, "application/yaml", "a: [".into(), 400, "BadRequest", "error decoding YAML: "),
        row("bad dry run", Method::POST, &format!("{WIDGETS}?dryRun=Some"), JSON, raw("b").to_string(), 422, "Invalid", "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]"),
        row("other name", Method::PUT, ONE, JSON, raw("b").to_string(), 400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)"),
        row("blind update", Method::PUT, ONE, JSON, raw("a").to_string(), 422, "Invalid", "metadata.resourceVersion: Invalid value: 0: must be specified for an update"),
        row("update of nothing", Method::PUT, &format!("{WIDGETS}/b"), JSON, raw("b").to_string(), 404, "NotFound", "widgets.test.heddle.dev \"b\" not found"),
        row("namespace with dots", Method::POST, "/api/v1/namespaces", JSON, json!({"metadata": {"name": "a.b"}}).to_string(), 422, "Invalid", "Namespace \"a.b\" is invalid: metadata.name: Invalid value: \"a.b\": must not contain dots"),
        row("data that is no text", Method::POST, "/api/v1/namespaces/default/configmaps", JSON, json!({"metadata": {"name": "m"}, "data": {"a": 1}}).to_string(), 400, "BadRequest", "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: data.a in body must be of type string"),
    ]
}

/// Patches.
#[rustfmt::skip]
pub(super) fn patches() -> Vec<Row> {
    vec![
        row("strategic patch", Method::PATCH, ONE, "application/strategic-merge-patch+json", "{}".into(), 415, "UnsupportedMediaType", "include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"),
        row("patch to no object", Method::PATCH, ONE, MERGE, "[]".into(), 400, "BadRequest", "send an object"),
        row("patch of the name", Method::PATCH, ONE, MERGE, json!({"metadata": {"name": "b"}}).to_string(), 400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)"),
        row("patch of the kind", Method::PATCH, ONE, MERGE, json!({"kind": "X"}).to_string(), 422, "Invalid", "Widget.test.heddle.dev \"a\" is invalid: kind: Invalid value: \"X\": must be Widget"),
        row("patch of the version", Method::PATCH, ONE, PATCH, json!([{"op": "replace", "path": "/apiVersion", "value": "v9"}]).to_string(), 422, "Invalid", "apiVersion: Invalid value: \"v9\": must be test.heddle.dev/v1"),
        row("patch that takes the kind away", Method::PATCH, ONE, MERGE, json!({"kind": null}).to_string(), 422, "Invalid", "Object 'Kind' is missing"),
        row("patch of labels to a text", Method::PATCH, ONE, MERGE, json!({"metadata": {"labels": "x"}}).to_string(), 422, "Invalid", "metadata.labels must be a map of strings to strings"),
        row("JSON patch to a text", Method::PATCH, ONE, PATCH, json!([{"op": "replace", "path": "", "value": "x"}]).to_string(), 422, "Invalid", "is not a Widget but another kind of JSON value"),
        row("patch with an old version", Method::PATCH, ONE, MERGE, json!({"metadata": {"resourceVersion": "1"}}).to_string(), 409, "Conflict", "Operation cannot be fulfilled on widgets.test.heddle.dev \"a\": the object has been"),
        row("patch without a name", Method::PATCH, ONE, MERGE, json!({"metadata": {"name": null}}).to_string(), 400, "BadRequest", "the name of the object (a based on URL) was undeterminable: name must be provided"),
        row("patch for another identity", Method::PATCH, ONE, MERGE, json!({"metadata": {"uid": "x"}}).to_string(), 422, "Invalid", "metadata.uid: Invalid value: \"x\": field is immutable"),
        row("JSON patch that is an object", Method::PATCH, ONE, PATCH, "{}".into(), 400, "BadRequest", "error decoding patch"),
        row("JSON patch with an unknown operation", Method::PATCH, ONE, PATCH, json!([{"op": "burn", "path": "/spec/size"}]).to_string(), 422, "Invalid", "the server rejected our request due to an error in our request: unknown operation \"burn\""),
        row("JSON patch without a path", Method::PATCH, ONE, PATCH, json!([{"op": "add", "value": 1}]).to_string(), 422, "Invalid", "an operation lacks the string \"path\""),
        row("JSON patch whose path is a number", Method::PATCH, ONE, PATCH, json!([{"op": "add", "path": 1, "value": 1}]).to_string(), 400, "BadRequest", "error decoding patch: \"path\" of an operation is a string"),
        row("JSON patch with a malformed path", Method::PATCH, ONE, PATCH, json!([{"op": "remove", "path": "spec/size"}]).to_string(), 422, "Invalid", "does not start with '/'"),
        row("JSON patch with a failing test", Method::PATCH, ONE, PATCH, json!([{"op": "test", "path": "/spec/size", "value": 2}]).to_string(), 422, "Invalid", "the server rejected our request due to an error in our request"),
        row("JSON patch that grows without end", Method::PATCH, ONE, PATCH, doubling(&["/spec/x", "/spec/y", "/spec/z"]), 413, "RequestEntityTooLarge", "accumulated size increase of copy"),
        row("status is text", Method::PATCH, &format!("{ONE}/status"), MERGE, json!({"status": "x"}).to_string(), 422, "Invalid", "status: Invalid value: must be"),
    ]
}

/// Deletions.
#[rustfmt::skip]
pub(super) fn deletes() -> Vec<Row> {
    vec![
        row("delete for another identity", Method::DELETE, ONE, JSON, json!({"preconditions": {"uid": "x"}}).to_string(), 409, "Conflict", "the UID in the precondition (x) does not match the UID in record"),
        row("delete an old version", Method::DELETE, ONE, JSON, json!({"preconditions": {"resourceVersion": "1"}}).to_string(), 409, "Conflict", "the ResourceVersion in the precondition (1) does not match"),
        row("unheard-of propagation", Method::DELETE, ONE, JSON, json!({"propagationPolicy": "Sometimes"}).to_string(), 422, "Invalid", "propagationPolicy: Unsupported value: \"Sometimes\""),
        row("delete nothing", Method::DELETE, &format!("{WIDGETS}/b"), "", String::new(), 404, "NotFound", "widgets.test.heddle.dev \"b\" not found"),
        row("delete a kept namespace", Method::DELETE, "/api/v1/namespaces/default", "", String::new(), 403, "Forbidden", "this namespace may not be deleted"),
    ]
}
