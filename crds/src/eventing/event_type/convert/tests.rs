use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::eventing::event_type::v1beta3::REQUIRED;

fn converted(mut object: Value, from: &str, to: &str) -> Value {
    convert(&mut object, from, to).unwrap();
    object
}

fn older(spec: &Value) -> Value {
    json!({"metadata": {"name": "it", "namespace": "team"}, "spec": spec})
}

#[test]
fn fields_become_attributes() {
    let object = older(&json!({
        "type": "com.example.order", "source": "/shop", "schema": "http://schemas/order",
        "description": "An order.",
        "reference": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"},
    }));
    let newer = converted(object.clone(), "v1beta2", "v1beta3");
    assert_eq!(
        newer,
        json!({
            "metadata": {"name": "it", "namespace": "team"},
            "spec": {
                "reference": {
                    "apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b",
                },
                "description": "An order.",
                "attributes": [
                    {"name": "type", "required": true, "value": "com.example.order"},
                    {"name": "schemadata", "required": false, "value": "http://schemas/order"},
                    {"name": "source", "required": true, "value": "/shop"},
                    {"name": "specversion", "required": true},
                    {"name": "id", "required": true},
                ],
            },
        })
    );
    assert_eq!(converted(newer, "v1beta3", "v1beta2"), object);
    assert_eq!(converted(object.clone(), "v1beta2", "v1beta1"), object);
}

#[test]
fn a_broker_becomes_a_reference_and_comes_back() {
    let object = older(&json!({"type": "t", "broker": "b", "schemaData": "{}"}));
    let mut newer = converted(object.clone(), "v1beta1", "v1beta3");
    let reference = json!({"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"});
    assert_eq!(newer["spec"]["reference"], reference);
    // Defaulting gives the reference a namespace.
    newer["spec"]["reference"]["namespace"] = json!("team");
    assert_eq!(converted(newer.clone(), "v1beta3", "v1beta2"), object);
    // Another reference is what counts from then on.
    newer["spec"]["reference"]["name"] = json!("other");
    let changed = converted(newer, "v1beta3", "v1beta2");
    assert_eq!(
        changed["spec"],
        json!({
            "type": "t",
            "schemaData": "{}",
            "reference": {
                "apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "other",
                "namespace": "team",
            },
        })
    );
}

#[test]
fn a_field_that_was_changed_meanwhile_counts() {
    let mut object = older(&json!({"attributes": [
        {"name": "id", "required": false},
        {"name": "type", "required": true, "value": "a"},
        {"name": "source", "required": true, "value": "/{any}"},
        {"name": "specversion", "required": true, "value": "1.0"},
        {"name": "schemadata", "required": true, "value": "http://s"},
        {"name": "colour", "required": true, "value": "red"},
    ]}));
    convert(&mut object, "v1beta3", "v1beta2").unwrap();
    assert_eq!(
        object["spec"],
        json!({"type": "a", "source": "/{any}", "schema": "http://s"})
    );
    object["spec"] = json!({"type": "b"});
    let newer = converted(object, "v1beta2", "v1beta3");
    assert_eq!(
        newer,
        older(&json!({"attributes": [
            {"name": "id", "required": false},
            {"name": "type", "required": true, "value": "b"},
            {"name": "source", "required": true},
            {"name": "specversion", "required": true, "value": "1.0"},
            {"name": "colour", "required": true, "value": "red"},
        ]}))
    );
}

#[test]
fn annotations_that_are_nonsense_are_dropped() {
    let mut object = older(&json!({"type": "t"}));
    object["metadata"]["annotations"] = json!({ATTRIBUTES: "[", OLDER: "7", "mine": "x"});
    let newer = converted(object, "v1beta2", "v1beta3");
    assert_eq!(newer["metadata"]["annotations"], json!({"mine": "x"}));
    assert_eq!(newer["spec"]["attributes"][0]["value"], "t");
}

#[test]
fn what_is_no_spec_is_refused() {
    for spec in [json!(7), json!({"type": 7}), json!({"reference": "b"})] {
        let mut object = older(&spec);
        let error = convert(&mut object, "v1beta2", "v1beta3").unwrap_err();
        assert!(error.starts_with("spec: "), "{error}");
    }
}

fn text() -> impl Strategy<Value = String> {
    "[a-z/{}]{1,5}"
}

fn reference() -> impl Strategy<Value = Option<KReference>> {
    let some = ("[a-z]{1,3}", prop::option::of("[a-z]{1,3}")).prop_map(|(name, namespace)| {
        let mut reference = broker_named(&name);
        reference.namespace = namespace;
        reference
    });
    prop::option::of(some)
}

prop_compose! {
    fn older_spec()(
        type_ in text(),
        source in prop::option::of(text()),
        schema in prop::option::of(text()),
        schema_data in prop::option::of(text()),
        broker in prop::option::of("[a-z]{1,3}"),
        reference in reference(),
        description in prop::option::of(text()),
    ) -> EventTypeSpec {
        EventTypeSpec { type_, source, schema, schema_data, broker, reference, description }
    }
}

prop_compose! {
    fn newer_spec()(
        named in prop::collection::btree_map(
            prop::sample::select(vec!["type", "source", "schemadata", "colour", "size"]),
            (any::<bool>(), prop::option::of("[a-z/]{0,3}")),
            0..5,
        ),
        order in any::<prop::sample::Index>(),
        reference in reference(),
        description in prop::option::of(text()),
    ) -> v1beta3::EventTypeSpec {
        let mut attributes: Vec<_> = named
            .into_iter()
            .map(|(name, (required, value))| EventAttribute::new(name, required, value.as_deref()))
            .chain(REQUIRED[2..].iter().map(|name| EventAttribute::new(name, true, None)))
            .collect();
        let start = order.index(attributes.len());
        attributes.rotate_left(start);
        v1beta3::EventTypeSpec { reference, description, attributes }
    }
}

proptest! {
    #[test]
    fn the_older_form_comes_back_as_it_was(spec in older_spec()) {
        let mut annotations = Annotations::new();
        let newer = to_v1beta3(spec.clone(), &mut annotations);
        for name in REQUIRED {
            prop_assert!(newer.attributes.iter().any(|one| one.name == name));
        }
        prop_assert_eq!(to_v1beta2(newer, &mut annotations), spec);
        prop_assert!(annotations.is_empty(), "{annotations:?}");
    }

    #[test]
    fn the_newer_form_comes_back_as_it_was(spec in newer_spec()) {
        let mut annotations = Annotations::new();
        let older = to_v1beta2(spec.clone(), &mut annotations);
        prop_assert_eq!(to_v1beta3(older, &mut annotations), spec);
        prop_assert!(annotations.is_empty(), "{annotations:?}");
    }
}
