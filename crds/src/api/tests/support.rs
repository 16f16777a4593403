//! A small kind, an API over a temporary directory, and raw requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use jiff::SignedDuration;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::store::HistoryLimits;
use crate::api::{ApiServer, Limits, http as protocol};
use crate::resource::{Admission, AdmissionContext, Column, FieldError, KindSchema, ResourceKind};

pub(crate) struct WidgetAdmission;

impl Admission for WidgetAdmission {
    fn default(
        &self,
        object: &mut Value,
        _: Option<&Value>,
        context: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        if object.get("spec").is_some_and(|spec| !spec.is_object()) {
            return Err(vec![FieldError {
                field: "spec".to_owned(),
                message: "must be an object".to_owned(),
                reason: "FieldValueTypeInvalid",
            }]);
        }
        if object["spec"]["panic"] == true {
            panic!("an admission with a defect");
        }
        if object["spec"]["size"].is_null() {
            let default = context
                .config_map("knative-eventing", "widgets")
                .and_then(|data| data.get("size").and_then(|s| s.parse::<i64>().ok()));
            object["spec"]["size"] = json!(default.unwrap_or(1));
        }
        Ok(())
    }

    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if object["spec"]["size"].as_i64().is_none_or(|s| s < 0) {
            errors.push(FieldError {
                field: "spec.size".to_owned(),
                message: format!("{}: must not be negative", object["spec"]["size"]),
                reason: "FieldValueInvalid",
            });
        }
        if old.is_some_and(|old| old["spec"]["fixed"] != object["spec"]["fixed"]) {
            errors.push(FieldError {
                field: "spec.fixed".to_owned(),
                message: "is immutable".to_owned(),
                reason: "FieldValueForbidden",
            });
        }
        errors
    }
}

fn column(name: &str, kind: &str, json_path: &str) -> Column {
    Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        json_path: json_path.to_owned(),
        priority: 0,
    }
}

pub(crate) fn kind(kind: &str, plural: &str, namespaced: bool) -> ResourceKind {
    ResourceKind {
        group: "test.heddle.dev".to_owned(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        short_names: vec![],
        categories: vec!["all".to_owned()],
        namespaced,
        status_subresource: true,
        scale: None,
        selectable: None,
        columns: vec![
            column("Size", "integer", ".spec.size"),
            column(
                "Ready",
                "string",
                ".status.conditions[?(@.type==\"Ready\")].status",
            ),
            column("Age", "date", ".metadata.creationTimestamp"),
        ],
        schema: KindSchema::from(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer", "description": "How large it is."},
                "fixed": {"type": "integer"},
                "panic": {"type": "boolean"},
                "text": {"type": "string"},
                "list": {"type": "array", "items": {
                    "type": "object", "properties": {"a": {"type": "integer"}},
                }},
            }},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }})),
        admission: Arc::new(WidgetAdmission),
        served: true,
        storage: true,
        stored_in: None,
        cells: None,
        deprecation: None,
        conversion: None,
        definition: None,
    }
}

pub(crate) fn kinds() -> Vec<ResourceKind> {
    vec![
        kind("Widget", "widgets", true),
        kind("Gadget", "gadgets", true),
        kind("Globe", "globes", false),
    ]
}

#[allow(clippy::disallowed_methods)] // Tests of the API need no clock of their own.
pub(crate) fn now() -> crate::api::Now {
    Arc::new(jiff::Timestamp::now)
}

pub(crate) const LIMITS: Limits = Limits {
    watches: 50,
    calls: 50,
    bodies: 64 << 20,
    head_time: Duration::from_secs(30),
    body_time: Duration::from_secs(30),
    event_life: SignedDuration::from_hours(1),
    history: HistoryLimits {
        events: 4_096,
        bytes: 8 << 20,
    },
};

pub(crate) struct Fixture {
    pub(crate) api: Arc<ApiServer>,
    pub(crate) dir: TempDir,
}

pub(crate) fn fixture() -> Fixture {
    with_limits(LIMITS)
}

pub(crate) fn with_limits(limits: Limits) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let api = ApiServer::open_with(dir.path(), kinds(), now(), limits).unwrap();
    Fixture { api, dir }
}

/// An API that serves these kinds.
pub(crate) fn fixture_of(kinds: Vec<ResourceKind>) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let api = ApiServer::open_with(dir.path(), kinds, now(), LIMITS).unwrap();
    Fixture { api, dir }
}

/// Closes the API and opens it again.
pub(crate) fn reopen(fixture: Fixture) -> Fixture {
    let Fixture { api, dir } = fixture;
    api.close();
    drop(api);
    let api = ApiServer::open_with(dir.path(), kinds(), now(), LIMITS).unwrap();
    Fixture { api, dir }
}

pub(crate) fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("test.heddle.dev", "v1", kind),
        plural,
    )
}

pub(crate) fn widgets(client: &kube::Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client.clone(), &resource("Widget", "widgets"))
}

#[allow(clippy::needless_pass_by_value)] // Reads better with `json!`.
pub(crate) fn widget(name: &str, spec: Value) -> DynamicObject {
    DynamicObject::new(name, &resource("Widget", "widgets")).data(json!({"spec": spec}))
}

pub(crate) const WIDGETS: &str = "/apis/test.heddle.dev/v1/namespaces/default/widgets";

/// A widget as raw JSON.
pub(crate) fn raw(name: &str) -> Value {
    json!({
        "apiVersion": "test.heddle.dev/v1", "kind": "Widget",
        "metadata": {"name": name}, "spec": {"size": 1},
    })
}

impl Fixture {
    /// A raw request with a content type; gives the status and the JSON of the answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        uri: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(uri);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = protocol::handle(Arc::clone(&self.api.inner), request).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    /// The whole answer to a GET as text.
    pub(crate) async fn text(&self, uri: &str) -> String {
        let request = Request::builder()
            .uri(uri)
            .body(Full::new(Bytes::new()))
            .unwrap();
        let response = protocol::handle(Arc::clone(&self.api.inner), request).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    pub(crate) async fn get(&self, uri: &str) -> (StatusCode, Value) {
        self.call(Method::GET, uri, "", "").await
    }

    pub(crate) async fn post(&self, uri: &str, body: &Value) -> (StatusCode, Value) {
        self.call(Method::POST, uri, "application/json", body.to_string())
            .await
    }

    pub(crate) async fn put(&self, uri: &str, body: &Value) -> (StatusCode, Value) {
        self.call(Method::PUT, uri, "application/json", body.to_string())
            .await
    }

    pub(crate) async fn merge(&self, uri: &str, body: &Value) -> (StatusCode, Value) {
        self.call(
            Method::PATCH,
            uri,
            "application/merge-patch+json",
            body.to_string(),
        )
        .await
    }

    pub(crate) async fn delete(&self, uri: &str) -> (StatusCode, Value) {
        self.call(Method::DELETE, uri, "", "").await
    }
}

pub(crate) fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// Waits until the condition holds; panics with `what` after ten seconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited too long until {what}"
        );
        tokio::task::yield_now().await;
    }
}
