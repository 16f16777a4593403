//! Which schemas are in memory.

use http::StatusCode;
use serde_json::json;

use super::support::{Fixture, fixture_of};

/// The kinds whose schemas were read.
fn read(fixture: &Fixture) -> Vec<String> {
    let registry = fixture.api.inner.store.registry();
    let kinds = registry.kinds().iter();
    let read = kinds.filter(|kind| kind.schema.is_read());
    read.map(|kind| kind.kind.clone()).collect()
}

#[tokio::test]
async fn a_schema_is_read_when_an_object_of_its_kind_comes() {
    let fixture = fixture_of(crate::kinds());
    // The objects that the API makes itself are of these.
    let first = ["Namespace", "CustomResourceDefinition"];
    assert_eq!(read(&fixture), first);

    let (code, document) = fixture.get("/openapi/v2").await;
    assert_eq!(code, StatusCode::OK);
    let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"];
    assert!(pod["spec"]["properties"]["containers"].is_object());
    assert_eq!(read(&fixture), first, "documents are kept by nobody");

    let secret = json!({"metadata": {"name": "a"}});
    let made = fixture.post("/api/v1/namespaces/default/secrets", &secret);
    assert_eq!(made.await.0, StatusCode::CREATED);
    assert_eq!(
        read(&fixture),
        ["Namespace", "Secret", "CustomResourceDefinition"]
    );
}
