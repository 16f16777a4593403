use heddle_crds::kube::writer::Write;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::*;
use crate::control::kafka;
use crate::log::LogStats;
use crate::log::kafka::{Form, Owner};

fn sink(spec: &Value) -> KafkaSink {
    let mut whole = json!({"topic": "t", "bootstrapServers": ["a:9092", "b:9092"]});
    let more = spec.as_object().unwrap().clone();
    whole.as_object_mut().unwrap().extend(more);
    serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "ns", "uid": "u", "finalizers": ["other", FINALIZER]},
        "spec": whole,
    }))
    .unwrap()
}

fn world(sink: KafkaSink) -> World {
    let mut world = World::default();
    world.kafka_sinks.put(sink.into());
    world
}

fn place(world: &World, sink: &KafkaSink) -> Result<kafka::Place, String> {
    let StoreKind::Kafka(place) = store(world, sink)? else {
        panic!("not Kafka");
    };
    Ok(kafka::Place::clone(&place))
}

/// The patch of the status that a plan writes.
fn patch(world: &World, facts: &Facts) -> Value {
    let key = Key::new("KafkaSink", "ns", "s");
    let steps = plan(world, facts, &key, Timestamp::UNIX_EPOCH);
    let patch = steps.into_iter().find_map(|step| match step {
        Step::Write(Write::Status(_, _, patch)) => Some(patch),
        _ => None,
    });
    patch.unwrap()
}

fn open(owned: bool) -> Facts {
    let log = log_of(&sink(&json!({})));
    Facts {
        ingress_url: "http://h".to_owned(),
        logs: [(log.clone(), Ok(LogStats::default()))].into(),
        owned: owned.then_some(log).into_iter().collect(),
        ..Facts::default()
    }
}

#[test]
fn a_topic_is_made_only_where_both_numbers_are_given() {
    for (spec, owner, form) in [
        (json!({}), Owner::Others, Form::Binary),
        (
            json!({"numPartitions": 3, "contentMode": "structured"}),
            Owner::Others,
            Form::Structured,
        ),
        (
            json!({"numPartitions": 3, "replicationFactor": 2, "contentMode": "binary"}),
            Owner::Readers { made: false },
            Form::Binary,
        ),
    ] {
        let found = place(&World::default(), &sink(&spec)).unwrap();
        assert_eq!(found.access.servers, "a:9092,b:9092");
        assert_eq!((found.template.owner, found.template.form), (owner, form));
        if sink(&spec).makes().is_some() {
            let numbers = (found.template.partitions, found.template.replication);
            assert_eq!(numbers, (3, 2));
        }
    }
}

#[test]
fn what_was_made_is_remembered_in_the_status() {
    let made = json!({"numPartitions": 1, "replicationFactor": 1});
    for owned in [true, false] {
        let patch = patch(&world(sink(&made)), &open(owned));
        let mut known = sink(&made);
        known.status = Some(serde_json::from_value(patch).unwrap());
        let again = place(&World::default(), &known).unwrap();
        assert_eq!(again.template.owner, Owner::Readers { made: owned });
    }
}

fn steps(sink: &KafkaSink, facts: &Facts) -> Vec<Step> {
    let key = Key::new("KafkaSink", "ns", "s");
    plan(&world(sink.clone()), facts, &key, Timestamp::UNIX_EPOCH)
}

/// The finalizers that are written, if any are.
fn held(steps: &[Step]) -> Option<&[String]> {
    steps.iter().find_map(|step| match step {
        Step::Write(Write::Finalizers(_, _, finalizers)) => Some(&**finalizers),
        _ => None,
    })
}

#[test]
fn a_sink_is_held_before_its_topic_is_made_and_until_it_is_gone() {
    let mut sink = sink(&json!({"numPartitions": 1, "replicationFactor": 1}));
    sink.metadata.finalizers = Some(vec!["other".to_owned()]);
    let first = steps(&sink, &Facts::default());
    assert_eq!(held(&first).unwrap(), ["other", FINALIZER]);
    assert_eq!(first.len(), 1, "{first:?}");

    sink.metadata.finalizers = Some(vec!["other".to_owned(), FINALIZER.to_owned()]);
    assert_eq!(held(&steps(&sink, &Facts::default())), None);
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
    sink.metadata.deletion_timestamp = Some(time);
    let waits = steps(&sink, &open(true));
    let removes =
        |step: &Step| matches!(step, Step::RemoveWhole { name, .. } if *name == log_of(&sink));
    assert!(waits.iter().any(removes), "{waits:?}");
    assert_eq!(held(&waits), None);

    let removed = Facts {
        removed: [log_of(&sink)].into(),
        ..Facts::default()
    };
    let last = steps(&sink, &removed);
    assert!(!last.iter().any(removes), "{last:?}");
    assert_eq!(held(&last).unwrap(), ["other"]);
}

#[test]
fn a_sink_that_nothing_was_made_for_is_not_held() {
    let mut sink = sink(&json!({}));
    sink.metadata.finalizers = None;
    assert_eq!(held(&steps(&sink, &open(false))), None);
}

#[test]
fn a_sink_without_a_way_to_its_topic_is_let_go() {
    let guarded = json!({"auth": {"secret": {"ref": {"name": "entry"}}}});
    let mut sink = sink(&guarded);
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
    sink.metadata.deletion_timestamp = Some(time);
    assert_eq!(held(&steps(&sink, &Facts::default())).unwrap(), ["other"]);
}

#[test]
fn a_sink_has_its_address_as_soon_as_its_topic_is_open() {
    let closed = Facts {
        logs: [(log_of(&sink(&json!({}))), Err("no such topic".to_owned()))].into(),
        ..Facts::default()
    };
    for (facts, address, ready) in [
        (Facts::default(), Value::Null, "False"),
        (closed, Value::Null, "False"),
        (open(false), json!("http://h/kafkasinks/ns/s"), "True"),
    ] {
        let patch = patch(&world(sink(&json!({}))), &facts);
        let url = patch.pointer("/address/url").cloned().unwrap_or_default();
        assert_eq!(url, address);
        let mut conditions = patch["conditions"].as_array().unwrap().iter();
        let found = conditions.find(|one| one["type"] == "Ready").unwrap();
        assert_eq!(found["status"], ready, "{patch}");
    }
}

#[test]
fn the_secret_of_its_namespace_lets_it_in() {
    let guarded = sink(&json!({"auth": {"secret": {"ref": {"name": "entry"}}}}));
    let mut world = world(guarded.clone());
    let error = place(&world, &guarded).unwrap_err();
    let expected = "Secret ns/entry does not exist; spec.auth.secret.ref.name names it";
    assert_eq!(error, expected);
    let key = Key::new("Secret", "ns", "entry");
    assert_eq!(dependents(&world, &key), [Key::new("KafkaSink", "ns", "s")]);
    assert_eq!(
        dependents(&world, &Key::new("Secret", "other", "entry")),
        []
    );
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "entry", "namespace": "ns"}, "data": {"protocol": "U1NM"},
    }))
    .unwrap();
    world.secrets.put(secret.into());
    let access = place(&world, &guarded).unwrap().access;
    assert!(access.tls.is_some() && access.sasl.is_none());
}
