//! The table makes kinds whose schemas are whole, and whose cells fit their columns.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{kinds, types};
use crate::resource::{AdmissionContext, FieldError, ResourceKind};

struct Nothing;

impl AdmissionContext for Nothing {
    fn config_map(&self, _: &str, _: &str) -> Option<BTreeMap<String, String>> {
        None
    }
}

pub(super) fn kind(group: &str, name: &str) -> ResourceKind {
    let mut all = kinds().into_iter();
    all.find(|k| k.kind == name && k.group == group).unwrap()
}

pub(super) fn admit(
    kind: &ResourceKind,
    mut object: Value,
    old: Option<&Value>,
) -> Result<Value, Vec<String>> {
    let words = |errors: Vec<FieldError>| {
        let all = errors.into_iter();
        all.map(|e| format!("{} {} {}", e.field, e.reason, e.message))
            .collect::<Vec<_>>()
    };
    kind.admission
        .default(&mut object, old, &Nothing)
        .map_err(words)?;
    let errors = kind.admission.validate(&object, old, &Nothing);
    if errors.is_empty() {
        Ok(object)
    } else {
        Err(words(errors))
    }
}

fn references(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.contains_key("$ref") || fields.values().any(references),
        Value::Array(items) => items.iter().any(references),
        _ => false,
    }
}

#[test]
fn every_type_is_there_and_no_reference_is_left() {
    assert!(types().len() > 200);
    for kind in crate::kinds() {
        let schema = kind.schema.document();
        let fields = schema["properties"].as_object().unwrap();
        assert!(!fields.is_empty(), "{kind:?}");
        assert!(!references(&schema), "{kind:?}");
        let status = fields.contains_key("status");
        assert_eq!(kind.status_subresource, status, "{kind:?}");
    }
}

#[test]
fn schemas_say_how_lists_are_merged() {
    let pod = kind("", "Pod");
    let containers = &pod.schema.document()["properties"]["spec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert!(containers["items"]["properties"]["image"].is_object());
}

#[test]
fn cells_fit_the_columns_even_of_an_empty_object() {
    for kind in kinds() {
        for object in [
            json!({}),
            json!({"spec": 1, "status": [], "subsets": {}, "metadata": "x"}),
        ] {
            let cells = kind.cells.unwrap()(&object, Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), kind.columns.len(), "{kind:?}");
        }
    }
}

#[test]
fn a_secret_takes_texts_and_keeps_what_is_immutable() {
    let secret = kind("", "Secret");
    let made = admit(
        &secret,
        json!({"stringData": {"a": "hi"}, "data": {"a": "eA==", "b": "eA=="}, "immutable": true}),
        None,
    )
    .unwrap();
    assert_eq!(
        made,
        json!({"type": "Opaque", "data": {"a": "aGk=", "b": "eA=="}, "immutable": true})
    );
    let mut next = made.clone();
    next["data"]["a"] = json!("eA==");
    assert_eq!(
        admit(&secret, next, Some(&made)).unwrap_err(),
        ["data FieldValueForbidden field is immutable when `immutable` is set"]
    );
    assert_eq!(
        admit(&secret, json!({"data": {"a": "no base64!"}}), None).unwrap_err(),
        [
            "data.a FieldValueTypeInvalid \"no base64!\": data.a in body must be of type byte: \
             \"no base64!\""
        ]
    );
}

#[test]
fn secrets_of_known_types_have_what_those_need() {
    let secret = kind("", "Secret");
    let docker = |text: &str| json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": text}});
    for (body, wrong) in [
        (
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            &["data[tls.key] FieldValueRequired "][..],
        ),
        (
            json!({"type": "kubernetes.io/basic-auth"}),
            &[
                "data[username] FieldValueRequired ",
                "data[password] FieldValueRequired ",
            ],
        ),
        (
            json!({"type": "kubernetes.io/basic-auth", "data": {"password": "eA=="}}),
            &[],
        ),
        (docker(r#"{"auths": {}}"#), &[]),
        (
            docker("{"),
            &[
                "data[.dockerconfigjson] FieldValueInvalid \"<secret contents redacted>\": EOF \
               while parsing an object at line 1 column 1",
            ],
        ),
        (
            json!({"type": "kubernetes.io/service-account-token"}),
            &["metadata.annotations[kubernetes.io/service-account.name] FieldValueRequired "],
        ),
        (
            json!({"data": {"..": ""}}),
            &["data[..] FieldValueInvalid \"..\": must not be '..'"],
        ),
    ] {
        let errors = admit(&secret, body.clone(), None).err().unwrap_or_default();
        assert_eq!(errors, wrong, "{body}");
    }
}

#[test]
fn a_service_that_becomes_a_name_has_no_address() {
    let service = kind("", "Service");
    let made = admit(&service, json!({"spec": {"ports": [{"port": 1}]}}), None).unwrap();
    let mut next = made.clone();
    next["spec"]["type"] = json!("ExternalName");
    next["spec"]["externalName"] = json!("example.com");
    let named = admit(&service, next, Some(&made)).unwrap();
    assert!(named["spec"].get("clusterIP").is_none(), "{named}");
}

#[test]
fn pods_have_containers_with_names_and_images() {
    let pod = kind("", "Pod");
    for (spec, wrong) in [
        (
            json!({"containers": []}),
            &["spec.containers FieldValueRequired "][..],
        ),
        (
            json!({"containers": [{"name": "a.b", "image": "x"}]}),
            &["spec.containers[0].name FieldValueInvalid \"a.b\": must not contain dots"],
        ),
        (
            json!({"containers": [{"name": "a"}]}),
            &["spec.containers[0].image FieldValueRequired "],
        ),
    ] {
        let errors = admit(&pod, json!({ "spec": spec }), None).unwrap_err();
        assert_eq!(errors, wrong, "{spec}");
    }
}

#[test]
fn workloads_get_their_defaults_and_selectors_must_fit() {
    let deployment = kind("apps", "Deployment");
    let template = json!({
        "metadata": {"labels": {"app": "a"}, "creationTimestamp": null},
        "spec": {"containers": [{"name": "c", "image": "x:1", "resources": {"limits": {"cpu": 0.5}},
            "ports": [{"containerPort": 80}]}]},
    });
    let body = json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}});
    let made = admit(&deployment, body, None).unwrap();
    assert_eq!(made["spec"]["replicas"], 1);
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(container["resources"]["limits"]["cpu"], 0.5);
    let mut wrong = made.clone();
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"app": "b"});
    let errors = admit(&deployment, wrong, Some(&made)).unwrap_err();
    assert!(
        errors[0].contains("`selector` does not match template `labels`"),
        "{errors:?}"
    );
}

#[test]
fn events_are_the_same_in_both_forms() {
    let core = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "involvedObject": {"kind": "Broker", "name": "b"}, "message": "m", "count": 2,
        "reason": "r", "type": "Normal", "lastTimestamp": "1970-01-01T00:00:00Z",
    });
    let mut other = core.clone();
    super::events::convert(&mut other, "v1", "v1").unwrap();
    assert_eq!(other["note"], "m");
    assert_eq!(other["regarding"]["name"], "b");
    let cells = kind("", "Event").cells.unwrap();
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(cells(&core, now), cells(&other, now));
    assert_eq!(cells(&core, now)[3], "broker/b");
    other["apiVersion"] = json!("events.k8s.io/v1");
    super::events::convert(&mut other, "v1", "v1").unwrap();
    other["apiVersion"] = json!("v1");
    assert_eq!(other, core);
}
