//! Kinds in several versions: one object, whatever version a request speaks.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::support::{Fixture, WidgetAdmission, fixture_of, kind, kinds, raw, version};
use crate::resource::{Admission, AdmissionContext, FieldError, KindSchema, ResourceKind};

const OLD: &str = "/apis/test.heddle.dev/v1beta1/namespaces/default/widgets";
const NEW: &str = "/apis/test.heddle.dev/v1/namespaces/default/widgets";

/// `spec.size` of v1 is `spec.count` of v1beta1.
fn convert(object: &mut Value, from: &str, to: &str) -> Result<(), String> {
    let name = |version: &str| if version == "v1" { "size" } else { "count" };
    if object["spec"]["text"] == "inconvertible" {
        return Err("there is no such thing in the other version".to_owned());
    }
    if let Some(spec) = object["spec"].as_object_mut()
        && let Some(size) = spec.remove(name(from))
    {
        spec.insert(name(to).to_owned(), size);
    }
    Ok(())
}

/// The old version's own admission, so that nothing but conversion fills in.
struct Anything;

impl Admission for Anything {
    fn default(
        &self,
        _: &mut Value,
        _: Option<&Value>,
        _: &dyn AdmissionContext,
    ) -> Result<(), Vec<FieldError>> {
        Ok(())
    }

    fn validate(&self, _: &Value, _: Option<&Value>, _: &dyn AdmissionContext) -> Vec<FieldError> {
        Vec::new()
    }
}

fn versions() -> Vec<ResourceKind> {
    let mut all: Vec<_> = kinds().into_iter().filter(|k| k.kind != "Widget").collect();
    for (version, storage) in [("v1", true), ("v1beta1", false), ("v1alpha1", false)] {
        let admission: Arc<dyn Admission> = if storage {
            Arc::new(WidgetAdmission)
        } else {
            Arc::new(Anything)
        };
        let mut base = kind("Widget", "widgets", true);
        if !storage {
            let mut schema = base.schema.document();
            schema["properties"]["spec"]["properties"]["count"] = json!({"type": "integer"});
            base.schema = KindSchema::from(&schema);
        }
        all.push(ResourceKind {
            version: version.to_owned(),
            storage,
            served: version != "v1alpha1",
            conversion: Some(convert),
            admission,
            ..base
        });
    }
    all
}

fn old(name: &str) -> Value {
    json!({
        "apiVersion": "test.heddle.dev/v1beta1", "kind": "Widget",
        "metadata": {"name": name}, "spec": {"count": 7},
    })
}

async fn get(fixture: &Fixture, uri: &str) -> Value {
    let (code, object) = fixture.get(uri).await;
    assert_eq!(code, StatusCode::OK, "{object}");
    object
}

#[tokio::test]
async fn an_object_is_written_and_read_in_every_served_version() {
    let fixture = fixture_of(versions());
    let (code, made) = fixture.post(OLD, &old("a")).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(made["apiVersion"], "test.heddle.dev/v1beta1");
    assert_eq!(made["spec"], json!({"count": 7}));

    let new = get(&fixture, &format!("{NEW}/a")).await;
    assert_eq!(new["apiVersion"], "test.heddle.dev/v1");
    assert_eq!(new["spec"], json!({"size": 7}));
    assert_eq!(new["metadata"], made["metadata"]);

    let list = get(&fixture, OLD).await;
    assert_eq!(list["apiVersion"], "test.heddle.dev/v1beta1");
    assert_eq!(list["items"], json!([made]));
    let (code, _) = fixture.get("/apis/test.heddle.dev/v1alpha1/widgets").await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_patch_speaks_the_version_of_its_request_and_no_change_is_no_write() {
    let fixture = fixture_of(versions());
    let (_, made) = fixture.post(NEW, &raw("a")).await;
    let (code, same) = fixture
        .merge(&format!("{OLD}/a"), &json!({"spec": {"count": 1}}))
        .await;
    assert_eq!(code, StatusCode::OK, "{same}");
    assert_eq!(version(&same), version(&made));
    let (_, changed) = fixture
        .merge(&format!("{OLD}/a"), &json!({"spec": {"count": 2}}))
        .await;
    assert_eq!(changed["spec"], json!({"count": 2}));
    assert_eq!(changed["metadata"]["generation"], 2);
    let stored = get(&fixture, &format!("{NEW}/a")).await;
    assert_eq!(stored["spec"]["size"], 2);
    assert_eq!(version(&stored), version(&changed));
}

#[tokio::test]
async fn a_body_of_another_version_than_the_url_is_refused() {
    let fixture = fixture_of(versions());
    let (code, status) = fixture.post(NEW, &old("a")).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert_eq!(
        status["message"],
        "the API version in the data (test.heddle.dev/v1beta1) does not match the expected API \
         version (test.heddle.dev/v1)"
    );
}

#[tokio::test]
async fn what_cannot_be_converted_is_refused_and_harms_nothing() {
    let fixture = fixture_of(versions());
    let mut body = old("a");
    body["spec"]["text"] = json!("inconvertible");
    let (code, status) = fixture.post(OLD, &body).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{status}");
    let (code, _) = fixture.post(OLD, &old("b")).await;
    assert_eq!(code, StatusCode::CREATED);
}

#[tokio::test]
async fn a_watch_speaks_its_version_and_sees_writes_of_all() {
    let fixture = fixture_of(versions());
    fixture.post(NEW, &raw("a")).await;
    fixture.post(OLD, &old("b")).await;
    let uri = format!("{OLD}?watch=true&timeoutSeconds=1");
    let text = fixture.text(&uri).await;
    let seen: Vec<(Value, Value)> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| (event["type"].clone(), event["object"]["spec"].clone()))
        .collect();
    assert_eq!(
        seen,
        [
            (json!("ADDED"), json!({"count": 1})),
            (json!("ADDED"), json!({"count": 7})),
        ]
    );
}

#[tokio::test]
async fn owners_are_kept_over_versions() {
    let fixture = fixture_of(versions());
    let apply = async |base: &str, by: &str, body: &Value| {
        let uri = format!("{base}/a?fieldManager={by}");
        let media = "application/apply-patch+yaml";
        fixture
            .call(http::Method::PATCH, &uri, media, body.to_string())
            .await
    };
    let mut config = old("a");
    let (code, made) = apply(OLD, "me", &config).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let fields = |object: &Value| object["metadata"]["managedFields"][0]["fieldsV1"].clone();
    assert_eq!(fields(&made), json!({"f:spec": {"f:count": {}}}));

    let mut other = raw("a");
    other["spec"]["size"] = json!(8);
    let (code, status) = apply(NEW, "other", &other).await;
    assert_eq!(code, StatusCode::CONFLICT, "{status}");
    assert_eq!(
        status["message"], "Apply failed with 1 conflict: conflict with \"me\": .spec.count",
        "in the version of the owner"
    );

    config["spec"] = json!({"text": "t"});
    config["apiVersion"] = json!("test.heddle.dev/v1");
    let (code, changed) = apply(NEW, "me", &config).await;
    assert_eq!(code, StatusCode::OK, "{changed}");
    assert_eq!(
        changed["spec"],
        json!({"text": "t", "size": 1}),
        "7 went, the default came"
    );
    assert_eq!(fields(&changed), json!({"f:spec": {"f:text": {}}}));
    assert_eq!(
        changed["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
