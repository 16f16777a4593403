//! Admission holds its laws for whatever JSON it is given.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use heddle_crds::resource::ResourceKind;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::Config;

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z]{0,6}",
        ".{0,8}",
        Just("PT5S".to_owned()),
        Just("http://s:1/".to_owned()),
        Just("2026-01-02T03:04:05Z".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-z]{1,6}",
        prop::sample::select(vec![
            "apiVersion",
            "kind",
            "name",
            "namespace",
            "group",
            "ref",
            "uri",
            "CACerts",
            "retry",
            "delivery",
            "deadLetterSink",
            "config",
            "filter",
            "filters",
            "attributes",
            "all",
            "any",
            "not",
            "exact",
            "cesql",
            "subscriber",
            "reply",
            "channel",
            "channelTemplate",
            "spec",
            "status",
            "data",
            "labels",
            "annotations",
            "conditions",
            "subscribers",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A manifest that is good and says a lot, by its kind; that of another kind is hardly more than
/// its name.
fn good(kind: &ResourceKind) -> Value {
    let reference = json!({"apiVersion": "v1", "kind": "Service", "name": "s"});
    let delivery = json!({
        "retry": 3, "timeout": "PT5S", "backoffPolicy": "linear", "backoffDelay": "PT1S",
        "format": "json", "retryAfterMax": "PT0S", "deadLetterSink": {"ref": reference, "uri": "/d"},
    });
    let channel = json!({"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": "c"});
    let spec = match kind.kind.as_str() {
        "Broker" => json!({"config": reference, "delivery": delivery}),
        "Trigger" => json!({
            "broker": "default", "subscriber": {"ref": reference}, "delivery": delivery,
            "filter": {"attributes": {"type": "a"}},
            "filters": [{"all": [{"exact": {"type": "a"}}]}, {"not": {"cesql": "TRUE"}}],
        }),
        "EventType" if kind.version == "v1beta3" => json!({
            "reference": reference, "description": "d", "attributes": [
                {"name": "id", "required": true}, {"name": "type", "value": "t"},
                {"name": "source", "value": "/{any}"}, {"name": "specversion", "required": true},
                {"name": "schemadata", "value": "http://schemas/t"}, {"name": "colour"},
            ],
        }),
        "EventType" => json!({
            "type": "t", "source": "/s", "schema": "http://schemas/t", "schemaData": "{}",
            "broker": "default", "reference": reference, "description": "d",
        }),
        "Channel" => json!({"delivery": delivery}),
        "InMemoryChannel" => json!({
            "delivery": delivery, "subscribers": [{"uid": "u", "subscriberUri": "http://s"}],
        }),
        "KafkaChannel" => json!({
            "delivery": delivery, "numPartitions": 3, "replicationFactor": 2,
            "retentionDuration": "PT1H",
        }),
        "NatsJetStreamChannel" => json!({
            "delivery": delivery,
            "stream": {"overrideName": "s", "config": {
                "retention": "Limits", "storage": "File", "replicas": 3, "maxAge": "168h",
                "placement": {"cluster": "c", "tags": ["a"]}, "additionalSubjects": ["a.>"],
                "sources": [{"name": "other", "optStartSeq": 7}],
            }},
            "consumerConfigTemplate": {"deliverPolicy": "ByStartSequence", "optStartSeq": 3},
        }),
        "Subscription" => json!({
            "channel": channel, "subscriber": {"uri": "http://s"}, "reply": {"ref": reference},
        }),
        "KafkaSource" => json!({
            "bootstrapServers": ["kafka:9092"], "topics": ["t"], "consumerGroup": "g",
            "consumers": 2, "initialOffset": "earliest", "ordering": "unordered",
            "sink": {"ref": reference}, "delivery": delivery,
        }),
        "KafkaSink" => json!({
            "topic": "t", "bootstrapServers": ["kafka:9092"], "numPartitions": 3,
            "replicationFactor": 1, "contentMode": "structured",
            "auth": {"secret": {"ref": {"name": "s"}}},
        }),
        _ => Value::Null,
    };
    let mut object = json!({"metadata": {"name": "it", "labels": {"a": "b"}}, "spec": spec});
    if kind.kind == "ConfigMap" {
        object["data"] = json!({"a": "b"});
    }
    if kind.namespaced {
        object["metadata"]["namespace"] = json!("team");
    }
    object
}

/// Paths to every value of an object.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                pointers(value, &format!("{at}/{}", name.replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn laws(kind: &ResourceKind, object: &Value) -> Result<(), TestCaseError> {
    let config = Config::default();
    let admission = &kind.admission;
    // Whatever it is, validation has an answer.
    let _ = admission.validate(object, None, &config);
    let _ = admission.validate(object, Some(object), &config);
    let mut once = object.clone();
    match admission.default(&mut once, None, &config) {
        Err(errors) => prop_assert!(!errors.is_empty() && errors.len() <= 100),
        Ok(()) => {
            let mut twice = once.clone();
            prop_assert_eq!(admission.default(&mut twice, None, &config), Ok(()));
            prop_assert_eq!(&twice, &once);
            prop_assert_eq!(admission.default(&mut twice, Some(&once), &config), Ok(()));
            prop_assert_eq!(&twice, &once);
            // What does not change is not refused for having changed.
            let errors = admission.validate(&once, Some(&once), &config);
            prop_assert!(errors.iter().all(|e| !e.message.starts_with("Immutable")));
            prop_assert_eq!(admission.validate(&once, None, &config), errors);
        }
    }
    Ok(())
}

#[test]
fn the_good_manifests_are_good() {
    let typed = |kind: &&ResourceKind| {
        kind.definition.is_some() || ["Namespace", "ConfigMap"].contains(&kind.kind.as_str())
    };
    for kind in support::kinds().iter().filter(typed) {
        let mut object = good(kind);
        assert_eq!(
            kind.admission
                .default(&mut object, None, &Config::default()),
            Ok(())
        );
        assert_eq!(
            kind.admission.validate(&object, None, &Config::default()),
            []
        );
    }
}

proptest! {
    #[test]
    fn any_json_has_an_answer(object in any_json()) {
        for kind in support::kinds() {
            laws(kind, &object)?;
        }
    }

    #[test]
    fn a_good_manifest_with_anything_anywhere_has_an_answer(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        value in any_json(),
    ) {
        let kind = which.get(support::kinds());
        let mut object = good(kind);
        let mut found = Vec::new();
        pointers(&object, "", &mut found);
        *object.pointer_mut(&found[place.index(found.len())]).unwrap() = value;
        laws(kind, &object)?;
    }
}
