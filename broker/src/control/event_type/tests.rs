use std::sync::Arc;

use heddle_crds::conditions::{Condition, find};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::*;

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A world with the Broker `team/b` (uid `u`), and the feature set to `feature`.
fn world(feature: &str) -> World {
    let mut world = World::default();
    world.brokers.put(parse(json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
        "metadata": {"name": "b", "namespace": "team", "uid": "u"}, "spec": {},
    })));
    world.config_maps.put(parse::<ConfigMap>(json!({
        "metadata": {"name": "config-features", "namespace": "knative-eventing"},
        "data": {"eventtype-auto-create": feature},
    })));
    world
}

fn event_type(name: &str, spec: &Value) -> Arc<EventType> {
    parse(json!({
        "apiVersion": "eventing.knative.dev/v1beta2", "kind": "EventType",
        "metadata": {"name": name, "namespace": "team", "generation": 3}, "spec": spec,
    }))
}

fn planned(world: &World, name: &str) -> Option<Value> {
    let key = Key::new("EventType", "team", name);
    match plan(world, &key, Timestamp::UNIX_EPOCH).pop() {
        Some(Step::Write(Write::Status(_, _, status))) => Some(status),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn reference_of(kind: &str, api_version: &str, name: &str) -> Value {
    json!({"type": "t", "reference": {"kind": kind, "apiVersion": api_version, "name": name}})
}

#[test]
fn the_condition_says_whether_the_referent_exists() {
    let broker = "eventing.knative.dev/v1";
    let mut elsewhere = reference_of("Broker", broker, "b");
    elsewhere["reference"]["namespace"] = json!("other");
    let missing = "Resource in spec.reference does not exist";
    let cases = [
        (
            json!({"type": "t"}),
            "True",
            "ReferenceNotSet",
            "spec.reference is not set",
        ),
        (
            json!({"type": "t", "reference": {"namespace": "team"}}),
            "True",
            "ReferenceNotSet",
            "spec.reference is not set",
        ),
        (reference_of("Broker", broker, "b"), "True", "", ""),
        (json!({"type": "t", "broker": "b"}), "True", "", ""),
        (
            json!({"type": "t", "broker": "gone"}),
            "False",
            "ResourceDoesNotExist",
            missing,
        ),
        (elsewhere, "False", "ResourceDoesNotExist", missing),
        (
            reference_of("Broker", broker, "gone"),
            "False",
            "ResourceDoesNotExist",
            missing,
        ),
        (
            reference_of("ConfigMap", "v1", "gone"),
            "False",
            "ResourceDoesNotExist",
            missing,
        ),
        (
            reference_of("Service", "v1", "s"),
            "Unknown",
            "ReferenceGetFailed",
            "Failed to get reference: objects of Service (v1) are not followed here",
        ),
    ];
    for (spec, status, reason, message) in cases {
        let mut world = world("disabled");
        world.event_types.put(event_type("e", &spec));
        let written = planned(&world, "e").unwrap();
        assert_eq!(written["observedGeneration"], 3);
        let conditions: Vec<Condition> =
            serde_json::from_value(written["conditions"].clone()).unwrap();
        assert_eq!(conditions.len(), 2);
        let found = find(&conditions, "ReferenceExists").unwrap();
        let found = (
            found.status.as_str(),
            found.reason.as_str(),
            found.message.as_str(),
        );
        assert_eq!(found, (status, reason, message), "{spec}");
        assert_eq!(find(&conditions, "Ready").unwrap().status.as_str(), status);
        // What has been written is not written again.
        let mut settled = EventType::clone(world.event_types.get("team", "e").unwrap());
        settled.status = Some(serde_json::from_value(written).unwrap());
        world.event_types.put(Arc::new(settled));
        assert_eq!(planned(&world, "e"), None);
    }
}

#[test]
fn one_that_is_gone_or_going_is_left_alone() {
    let mut world = world("disabled");
    assert_eq!(planned(&world, "e"), None);
    let mut going = EventType::clone(&event_type("e", &json!({"type": "t"})));
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
    going.metadata.deletion_timestamp = Some(time);
    world.event_types.put(Arc::new(going));
    assert_eq!(planned(&world, "e"), None);
}

#[test]
fn a_referent_wakes_those_that_refer_to_it() {
    let mut world = world("disabled");
    let broker = "eventing.knative.dev/v1";
    for (name, spec) in [
        ("by-reference", reference_of("Broker", broker, "b")),
        ("by-name", json!({"type": "t", "broker": "b"})),
        ("another-kind", reference_of("Trigger", broker, "b")),
        ("another-name", json!({"type": "t", "broker": "c"})),
    ] {
        world.event_types.put(event_type(name, &spec));
    }
    let woken = dependents(&world, &Key::new("Broker", "team", "b"));
    let names: Vec<_> = woken.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["by-name", "by-reference"]);
    assert_eq!(dependents(&world, &Key::new("Broker", "other", "b")), []);
}

fn sighting(source: &str) -> Sighting {
    Sighting {
        addressable: Addressable {
            kind: "Broker",
            namespace: "team".to_owned(),
            name: "b".to_owned(),
            uid: "u".to_owned(),
        },
        type_: "com.example.order".to_owned(),
        source: source.to_owned(),
        spec_version: "1.0",
        schema: None,
    }
}

fn made(world: &World, sighting: &Sighting) -> EventType {
    let Made::Missing(write) = make(world, sighting) else {
        panic!("an EventType was to be made");
    };
    let Write::Create("EventType", object) = *write else {
        panic!("{write:?}");
    };
    serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap()
}

#[test]
fn what_came_in_gets_the_event_type_that_knative_would_make() {
    let object = made(&world("Enabled"), &sighting("/shop"));
    assert_eq!(
        serde_json::to_value(&object).unwrap(),
        json!({
            "apiVersion": "eventing.knative.dev/v1beta2",
            "kind": "EventType",
            "metadata": {
                // The MD5 of "com.example.order/shopteamb".
                "name": "et-b-20d04993fad61a65fc94f390d118dfe6",
                "namespace": "team",
                "annotations": {"eventing.heddle.dev/attributes": object.metadata.annotations.as_ref().unwrap()["eventing.heddle.dev/attributes"]},
                "ownerReferences": [{
                    "apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b", "uid": "u",
                }],
            },
            "spec": {
                "type": "com.example.order",
                "source": "/shop",
                "description": "Event Type auto-created by controller",
                "reference": {
                    "apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b",
                    "namespace": "team",
                },
            },
        })
    );
    let mut newer = serde_json::to_value(&object).unwrap();
    heddle_crds::eventing::event_type::convert::convert(&mut newer, "v1beta2", "v1beta3").unwrap();
    assert_eq!(
        newer["spec"]["attributes"],
        json!([
            {"name": "type", "required": true, "value": "com.example.order"},
            {"name": "source", "required": true, "value": "/shop"},
            {"name": "schemadata", "required": true},
            {"name": "specversion", "required": true, "value": "1.0"},
            {"name": "id", "required": false},
        ])
    );
}

#[test]
fn none_is_made_where_there_is_one_or_nobody_wants_one() {
    let good = sighting("/shop");
    assert_eq!(make(&world("disabled"), &good), Made::Nothing);
    let mut world = world("enabled");
    let mut former = good.clone();
    former.addressable.uid = "older".to_owned();
    assert_eq!(
        make(&world, &former),
        Made::Nothing,
        "it is another Broker now"
    );
    let object = made(&world, &good);
    world.event_types.put(Arc::new(object));
    assert_eq!(make(&world, &good), Made::Nothing);
    assert!(matches!(
        make(&world, &sighting("/other")),
        Made::Missing(_)
    ));
}

#[test]
fn one_owner_gets_so_many_and_no_more() {
    let mut world = world("enabled");
    for number in 0..MAX_OF_ONE {
        let object = made(&world, &sighting(&format!("/{number}")));
        world.event_types.put(Arc::new(object));
    }
    assert_eq!(make(&world, &sighting("/more")), Made::TooMany);
}

#[test]
fn names_are_names_of_objects() {
    let mut long = sighting("/shop");
    long.addressable.name = format!("{}.{}", "a".repeat(216), "b".repeat(36));
    let name = name_of(&long);
    assert!(name.len() <= 253 && !name.contains(".-"), "{name}");
    long.source = "/other".to_owned();
    assert_ne!(name_of(&long), name);
}
