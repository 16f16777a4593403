//! An API and an admin listener in one, which keep objects in a map.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderMap, Method, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Harness;
use crate::cli::Failure;

/// An API that keeps what it is given.
#[derive(Clone, Default)]
pub(super) struct Fake {
    pub(super) objects: Arc<Mutex<BTreeMap<String, Value>>>,
    log_level: Arc<Mutex<String>>,
    /// The requests that changed something, in their order.
    pub(super) changes: Arc<Mutex<Vec<String>>>,
}

pub(super) struct Running {
    pub(super) fake: Fake,
    pub(super) address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    pub(super) async fn start() -> Self {
        let fake = Fake::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new()
            .fallback(any(handle))
            .with_state(fake.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        TaskTracker::new().spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        });
        Self {
            fake,
            address,
            stop,
        }
    }

    pub(super) async fn run(
        &self,
        arguments: &[&str],
        stdin: &str,
    ) -> (Result<(), Failure>, String, String) {
        let url = format!("http://{}", self.address);
        let mut line = vec!["--api", &url, "--admin", &url];
        line.extend(arguments);
        let (result, harness) = Harness::run(&line, stdin).await;
        (result, harness.out.text(), harness.err.text())
    }
}

/// RFC 7396, for the fake and for the tests of merges.
pub(super) fn apply_merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            apply_merge(&mut target[key], value);
        }
    }
}

fn status(code: u16, reason: &str, message: &str, causes: &Value) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message, "details": {"causes": causes}});
    (StatusCode::from_u16(code).unwrap(), body.to_string()).into_response()
}

fn resource(kind: &str, plural: &str, namespaced: bool, verbs: &[&str]) -> Value {
    json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced,
        "kind": kind, "verbs": verbs})
}

async fn handle(
    State(fake): State<Fake>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path();
    let verbs = &["get", "list", "watch"];
    let list = |resources: &[Value]| {
        json!({"kind": "APIResourceList", "groupVersion": "", "resources": resources}).to_string()
    };
    match (method.as_str(), path) {
        ("GET", "/apis") => {
            let version = json!({"groupVersion": "eventing.knative.dev/v1", "version": "v1"});
            return json!({"kind": "APIGroupList", "groups": [{"name": "eventing.knative.dev",
                "versions": [version], "preferredVersion": version}]})
            .to_string()
            .into_response();
        }
        ("GET", "/api/v1") => {
            return list(&[
                resource("Namespace", "namespaces", false, verbs),
                resource("ConfigMap", "configmaps", true, verbs),
            ])
            .into_response();
        }
        ("GET", "/apis/eventing.knative.dev/v1") => {
            return list(&[
                resource("Broker", "brokers", true, verbs),
                resource("Broker", "brokers/status", true, &["get"]),
                resource("Trigger", "triggers", true, verbs),
            ])
            .into_response();
        }
        ("GET", "/log-level") => return format!("{}\n", fake.log_level.lock()).into_response(),
        ("PUT", "/log-level") => {
            *fake.log_level.lock() = String::from_utf8(body.to_vec()).unwrap();
            return "ok".into_response();
        }
        ("GET", _) if path.starts_with("/api/v1/namespaces/default/brokers/b/events") => {
            return events(uri.query().unwrap_or_default());
        }
        ("GET", "/api/v1/namespaces/default/triggers/t/stats") => {
            return json!({"position": 7, "backlog": 2, "oldest_undelivered": "2026-01-31T11:59:00Z",
                "last_error": null, "delivered": 5, "dead_letters_kept": 7, "held_bytes": 1})
            .to_string()
            .into_response();
        }
        ("GET", "/api/v1/namespaces/default/triggers/t/dead-letters") => {
            return dead_letters(uri.query().unwrap_or_default());
        }
        _ => {}
    }
    if method != Method::GET {
        fake.changes.lock().push(format!("{method} {path}"));
    }
    if uri
        .query()
        .is_some_and(|query| query.contains("watch=true"))
    {
        return watch(&fake, path);
    }
    objects(&fake, &method, path, &headers, &body)
}

fn objects(fake: &Fake, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    let mut objects = fake.objects.lock();
    let version = objects.len() + fake.changes.lock().len();
    let sent: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(retry) = sent.pointer("/spec/delivery/retry")
        && !(retry.is_number() || retry.is_null())
    {
        let message = format!("expected an integer, found {retry}");
        let causes = json!([{"field": "spec.delivery.retry", "message": message, "reason": "FieldValueTypeInvalid"}]);
        return status(422, "Invalid", "Broker \"b\" is invalid", &causes);
    }
    match method.as_str() {
        "POST" => {
            let path = format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap());
            let mut object = sent;
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            objects.insert(path, object.clone());
            (StatusCode::CREATED, object.to_string()).into_response()
        }
        "PATCH" => {
            assert_eq!(headers["content-type"], "application/merge-patch+json");
            let object = objects.get_mut(path).unwrap();
            apply_merge(object, &sent);
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            object.to_string().into_response()
        }
        "DELETE" if objects.remove(path).is_some() => {
            json!({"kind": "Status", "status": "Success"})
                .to_string()
                .into_response()
        }
        "GET" if objects.contains_key(path) => objects[path].to_string().into_response(),
        "GET" if path.ends_with('s') => {
            let prefix = format!("{path}/");
            let items: Vec<&Value> = objects
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .map(|(_, object)| object)
                .collect();
            if headers["accept"].to_str().unwrap().contains("as=Table") {
                return table(&items).to_string().into_response();
            }
            json!({"kind": "BrokerList", "metadata": {"resourceVersion": "9"}, "items": items})
                .to_string()
                .into_response()
        }
        _ => status(404, "NotFound", &format!("{path:?} not found"), &json!([])),
    }
}

fn table(items: &[&Value]) -> Value {
    let rows = items.iter().map(|item| {
        json!({"cells": [item["metadata"]["name"], "True"], "object": {"metadata": item["metadata"]}})
    });
    json!({"kind": "Table", "metadata": {"resourceVersion": "9"},
        "columnDefinitions": [{"name": "Name"}, {"name": "Ready"}],
        "rows": rows.collect::<Vec<_>>()})
}

/// Two changes, and then nothing more is said.
fn watch(fake: &Fake, _path: &str) -> Response {
    let objects = fake.objects.lock();
    let first: Vec<&Value> = objects.values().take(1).collect();
    let line =
        |kind: &str, object: &Value| format!("{}\n", json!({"type": kind, "object": object}));
    let told = table(&first);
    let mut untold = told.clone();
    untold["columnDefinitions"] = Value::Null;
    let text = format!("{}{}", line("MODIFIED", &told), line("DELETED", &untold));
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(text)]);
    let forever = futures::StreamExt::chain(chunks, futures::stream::pending());
    Body::from_stream(forever).into_response()
}

fn events(query: &str) -> Response {
    let event = |n: u32| {
        json!({"offset": n, "accepted": "2026-01-31T12:00:00Z",
            "event": {"specversion": "1.0", "id": n.to_string(), "source": "/s", "type": query}})
    };
    format!("{}\n{}\n{}\n", event(0), event(1), event(2)).into_response()
}

/// A log of dead letters from offset 3 to 9, as the admin listener reads it.
fn dead_letters(query: &str) -> Response {
    let part = |name: &str| {
        let parts = query.split('&').filter_map(|part| part.split_once('='));
        let mut found = parts.filter(|(own, _)| *own == name);
        found
            .next()
            .and_then(|(_, value)| value.parse::<usize>().ok())
    };
    let line = |offset: usize| {
        let event = json!({"specversion": "1.0", "id": offset.to_string(), "source": "/s",
            "type": "t", "knativeerrorcode": "500"});
        format!(
            "{}\n",
            json!({"offset": offset, "accepted": "x", "event": event})
        )
    };
    let from = part("from").unwrap_or(3);
    let lines = (from..10)
        .take(part("limit").unwrap_or(usize::MAX))
        .map(line);
    lines.collect::<String>().into_response()
}
