//! Kinds that come and go while the API serves.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{Fixture, fixture, fixture_of, until, version};
use crate::api::{ApiServer, tests::support};

pub(crate) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CABINETS: &str = "/apis/shop.example.com/v1/namespaces/default/cabinets";

/// The definition of a kind with a default, a bound and a rule.
pub(crate) fn cabinet() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "cabinets.shop.example.com"},
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced",
            "names": {"plural": "cabinets", "kind": "Cabinet", "shortNames": ["cab"],
                "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Drawers", "type": "integer", "jsonPath": ".spec.drawers"},
                ],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["wood"], "properties": {
                        "wood": {"type": "string", "enum": ["oak", "pine"]},
                        "drawers": {"type": "integer", "minimum": 1, "default": 3},
                        "labels": {"type": "array", "items": {"type": "string"},
                            "x-kubernetes-list-type": "set"},
                    }, "x-kubernetes-validations": [
                        {"rule": "self.drawers >= oldSelf.drawers",
                         "message": "drawers cannot be taken out"},
                    ]},
                    "status": {"type": "object", "properties": {"state": {"type": "string"}}},
                }}},
            }],
        },
    })
}

pub(crate) fn oak(name: &str) -> Value {
    json!({
        "apiVersion": "shop.example.com/v1", "kind": "Cabinet",
        "metadata": {"name": name}, "spec": {"wood": "oak"},
    })
}

fn condition<'a>(crd: &'a Value, name: &str) -> &'a Value {
    let conditions = crd["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == name).unwrap()
}

async fn ok(fixture: &Fixture, uri: &str) -> Value {
    let (code, value) = fixture.get(uri).await;
    assert_eq!(code, StatusCode::OK, "{value}");
    value
}

async fn with_cabinets() -> Fixture {
    let fixture = fixture();
    let (code, made) = fixture.post(CRDS, &cabinet()).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    fixture
}

#[tokio::test]
async fn a_definition_is_established_and_served_at_once() {
    let fixture = with_cabinets().await;
    let crd = ok(&fixture, &format!("{CRDS}/cabinets.shop.example.com")).await;
    assert_eq!(condition(&crd, "NamesAccepted")["reason"], "NoConflicts");
    let established = condition(&crd, "Established");
    assert_eq!(established["status"], "True");
    assert_eq!(established["reason"], "InitialNamesAccepted");
    assert_eq!(
        crd["status"]["acceptedNames"],
        json!({
            "plural": "cabinets", "singular": "cabinet", "kind": "Cabinet",
            "listKind": "CabinetList", "shortNames": ["cab"], "categories": ["all"],
        })
    );
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(
        crd["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );

    let resources = ok(&fixture, "/apis/shop.example.com/v1").await;
    let names: Vec<_> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["cabinets", "cabinets/status"]);
    let document = ok(&fixture, "/openapi/v3/apis/shop.example.com/v1").await;
    let schema = &document["components"]["schemas"]["com.example.shop.v1.Cabinet"];
    assert_eq!(
        schema["properties"]["spec"]["properties"]["wood"]["enum"][0],
        "oak"
    );

    let (code, made) = fixture.post(CABINETS, &oak("a")).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(made["spec"], json!({"wood": "oak", "drawers": 3}));
    assert_eq!(made["metadata"]["generation"], 1);
}

#[tokio::test]
async fn objects_are_pruned_validated_and_held_against_rules() {
    let fixture = with_cabinets().await;
    let mut bad = oak("a");
    bad["spec"] = json!({"wood": "glass", "drawers": 0, "labels": ["x", "x"], "unknown": 1});
    let (code, status) = fixture.post(CABINETS, &bad).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        status["message"],
        "Cabinet.shop.example.com \"a\" is invalid: [spec.drawers: Invalid value: 0: spec.drawers \
         in body should be greater than or equal to 1, spec.wood: Unsupported value: \"glass\": \
         supported values: \"oak\", \"pine\", spec.labels[1]: Duplicate value: \"x\", <nil>: \
         Invalid value: null: some validation rules were not checked because the object was \
         invalid; correct the existing errors to complete validation]"
    );
    bad["spec"] = json!({"wood": "oak", "drawers": 5, "unknown": 1});
    let (_, made) = fixture.post(CABINETS, &bad).await;
    assert_eq!(made["spec"], json!({"wood": "oak", "drawers": 5}));
    let one = format!("{CABINETS}/a");
    let (code, status) = fixture.merge(&one, &json!({"spec": {"drawers": 4}})).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        status["message"],
        "Cabinet.shop.example.com \"a\" is invalid: spec: Invalid value: drawers cannot be \
         taken out"
    );
    assert_eq!(status["details"]["causes"][0]["field"], "spec");
    let (code, _) = fixture.merge(&one, &json!({"spec": {"drawers": 6}})).await;
    assert_eq!(code, StatusCode::OK);
}

#[tokio::test]
async fn names_that_are_taken_are_granted_once_they_are_free() {
    let fixture = with_cabinets().await;
    let mut other = cabinet();
    other["metadata"]["name"] = json!("chests.shop.example.com");
    other["spec"]["names"] = json!({"plural": "chests", "kind": "Cabinet", "shortNames": ["cab"]});
    let (code, _) = fixture.post(CRDS, &other).await;
    assert_eq!(code, StatusCode::CREATED);
    let uri = format!("{CRDS}/chests.shop.example.com");
    let crd = ok(&fixture, &uri).await;
    let accepted = condition(&crd, "NamesAccepted");
    assert_eq!(accepted["status"], "False");
    assert_eq!(accepted["reason"], "ListKindConflict");
    assert_eq!(accepted["message"], "\"CabinetList\" is already in use");
    assert_eq!(condition(&crd, "Established")["reason"], "NotAccepted");
    let (code, _) = fixture.get("/apis/shop.example.com/v1/chests").await;
    assert_eq!(code, StatusCode::NOT_FOUND);

    fixture
        .delete(&format!("{CRDS}/cabinets.shop.example.com"))
        .await;
    until("the names are free", async || {
        let (_, crd) = fixture.get(&uri).await;
        condition(&crd, "Established")["status"] == "True"
    })
    .await;
    ok(&fixture, "/apis/shop.example.com/v1/chests").await;
}

#[tokio::test]
async fn a_new_storage_version_keeps_objects_readable_in_both() {
    let fixture = with_cabinets().await;
    fixture.post(CABINETS, &oak("a")).await;
    let uri = format!("{CRDS}/cabinets.shop.example.com");
    let mut crd = ok(&fixture, &uri).await;
    let mut next = crd["spec"]["versions"][0].clone();
    next["name"] = json!("v2");
    next["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["paint"] =
        json!({"type": "string", "default": "none"});
    crd["spec"]["versions"][0]["storage"] = json!(false);
    crd["spec"]["versions"][0]["deprecated"] = json!(true);
    crd["spec"]["versions"].as_array_mut().unwrap().push(next);
    let (code, crd) = fixture.put(&uri, &crd).await;
    assert_eq!(code, StatusCode::OK, "{crd}");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1", "v2"]));

    let new = ok(
        &fixture,
        "/apis/shop.example.com/v2/namespaces/default/cabinets/a",
    )
    .await;
    assert_eq!(
        new["spec"],
        json!({"wood": "oak", "drawers": 3, "paint": "none"})
    );
    let old = ok(&fixture, &format!("{CABINETS}/a")).await;
    assert_eq!(old["apiVersion"], "shop.example.com/v1");
    assert_eq!(old["spec"], json!({"wood": "oak", "drawers": 3}));
    assert_eq!(version(&old), version(&new));

    let mut crd = ok(&fixture, &uri).await;
    crd["spec"]["versions"].as_array_mut().unwrap().remove(0);
    let (code, status) = fixture.put(&uri, &crd).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("status.storedVersions[0]: Invalid value: \"v1\": missing from"),
        "{message}"
    );
}

#[tokio::test]
async fn the_objects_of_a_kind_go_before_it_and_its_watches_end() {
    let fixture = with_cabinets().await;
    let mut held = oak("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    fixture.post(CABINETS, &held).await;
    for n in 0..300 {
        fixture.post(CABINETS, &oak(&format!("c{n}"))).await;
    }
    let uri = format!("{CRDS}/cabinets.shop.example.com");
    let watching = format!("{CABINETS}?watch=true&timeoutSeconds=60");
    let release = async {
        let (code, crd) = fixture.delete(&uri).await;
        assert_eq!(code, StatusCode::OK);
        assert!(crd["metadata"]["deletionTimestamp"].is_string(), "{crd}");
        until("only the one that is held is left", async || {
            let list = ok(&fixture, CABINETS).await;
            list["items"].as_array().unwrap().len() == 1
        })
        .await;
        let crd = ok(&fixture, &uri).await;
        assert_eq!(
            condition(&crd, "Terminating")["reason"],
            "InstanceDeletionInProgress"
        );
        let (code, status) = fixture.post(CABINETS, &oak("late")).await;
        assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED, "{status}");
        fixture
            .merge(
                &format!("{CABINETS}/held"),
                &json!({"metadata": {"finalizers": null}}),
            )
            .await;
        until("the definition is gone", async || {
            fixture.get(&uri).await.0 == StatusCode::NOT_FOUND
        })
        .await;
    };
    let (events, ()) = tokio::join!(fixture.text(&watching), release);
    let deleted = events.lines().filter(|l| l.contains("\"DELETED\"")).count();
    assert_eq!(deleted, 301);
    until("the kind is gone", async || {
        fixture.get(CABINETS).await.0 == StatusCode::NOT_FOUND
    })
    .await;
    let (code, _) = fixture.post(CRDS, &cabinet()).await;
    assert_eq!(code, StatusCode::CREATED);
    let list = ok(&fixture, CABINETS).await;
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn definitions_and_their_objects_survive_reopening() {
    let fixture = with_cabinets().await;
    fixture.post(CABINETS, &oak("a")).await;
    let before = ok(&fixture, CABINETS).await;
    let fixture = support::reopen(fixture);
    let after = ok(&fixture, CABINETS).await;
    assert_eq!(after["items"], before["items"]);
    let (code, made) = fixture.post(CABINETS, &oak("b")).await;
    assert_eq!(code, StatusCode::CREATED);
    assert!(version(&made) > version(&before["items"][0]));
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_goes_on() {
    let fixture = with_cabinets().await;
    let mut held = oak("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    fixture.post(CABINETS, &held).await;
    let uri = format!("{CRDS}/cabinets.shop.example.com");
    fixture.delete(&uri).await;
    let fixture = support::reopen(fixture);
    fixture
        .merge(
            &format!("{CABINETS}/held"),
            &json!({"metadata": {"finalizers": null}}),
        )
        .await;
    until("the definition is gone", async || {
        fixture.get(&uri).await.0 == StatusCode::NOT_FOUND
    })
    .await;
}

#[tokio::test]
async fn kinds_that_are_compiled_in_have_definitions_that_nobody_changes() {
    let fixture = fixture_of(crate::kinds());
    let list = ok(&fixture, CRDS).await;
    let names: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|crd| crd["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.contains(&"brokers.eventing.knative.dev".to_owned()));
    assert_eq!(names.len(), crate::crds().len());
    for crd in list["items"].as_array().unwrap() {
        assert_eq!(condition(crd, "Established")["status"], "True", "{crd}");
    }
    let uri = format!("{CRDS}/brokers.eventing.knative.dev");
    let before = ok(&fixture, &uri).await;
    let (code, after) = fixture
        .merge(&uri, &json!({"spec": {"names": {"shortNames": ["b"]}}}))
        .await;
    assert_eq!(code, StatusCode::OK, "{after}");
    assert_eq!(after, before);
    let (code, status) = fixture.delete(&uri).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{status}");
    let (code, _) = fixture.call(Method::DELETE, CRDS, "", "").await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert_eq!(ok(&fixture, CRDS).await["items"], list["items"]);
}

#[tokio::test]
async fn a_kind_that_is_no_longer_compiled_in_is_no_longer_served() {
    let fixture = fixture_of(crate::kinds());
    let Fixture { api, dir } = fixture;
    api.close();
    drop(api);
    let rest = crate::kinds().into_iter().filter(|k| k.kind != "Trigger");
    let api =
        ApiServer::open_with(dir.path(), rest.collect(), support::now(), support::LIMITS).unwrap();
    let fixture = Fixture { api, dir };
    let (code, _) = fixture
        .get(&format!("{CRDS}/triggers.eventing.knative.dev"))
        .await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    let (code, _) = fixture.get("/apis/eventing.knative.dev/v1/triggers").await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    ok(&fixture, "/apis/eventing.knative.dev/v1/brokers").await;
}
