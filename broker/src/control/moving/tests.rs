use std::collections::BTreeMap;
use std::sync::Arc;

use heddle_crds::eventing::BrokerSpec;
use heddle_crds::kube::queue::Key;
use heddle_crds::kube::writer::Write;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::control::{Switch, plan};
use crate::log::LogStats;

const WHOLE: &str = "broker/ns/b/uid";

fn broker(store: Option<&str>) -> Broker {
    let mut broker = Broker::new("b", BrokerSpec::default());
    broker.metadata.namespace = Some("ns".to_owned());
    broker.metadata.uid = Some("uid".to_owned());
    let store = store.map(|store| (annotations::STORE.to_owned(), store.to_owned()));
    broker.annotations_mut().extend(store);
    broker
}

fn with_parts(mut broker: Broker, parts: &Value) -> Broker {
    let parts = BTreeMap::from([(PARTS.to_owned(), parts.to_string())]);
    broker.status = Some(BrokerStatus {
        annotations: parts,
        ..BrokerStatus::default()
    });
    broker
}

fn open(names: &[&str]) -> Facts {
    let open = |name: &&str| ((*name).to_owned(), Ok(LogStats::default()));
    Facts {
        logs: names.iter().map(open).collect(),
        ..Facts::default()
    }
}

/// What is planned for a Broker: where it is to go on, what is served, and the status.
fn planned(broker: Broker, facts: &Facts) -> (Option<String>, Vec<PartRef>, Value) {
    let mut world = World::default();
    world.brokers.put(Arc::new(broker));
    let key = Key::new("Broker", "ns", "b");
    let (mut target, mut served, mut status) = (None, Vec::new(), Value::Null);
    for step in plan(&world, facts, &key, Timestamp::UNIX_EPOCH) {
        match step {
            Step::Close { target: to, .. } => target = to,
            Step::Serve { parts, .. } => served = parts,
            Step::Write(Write::Status(_, _, patch)) => status = patch,
            _ => {}
        }
    }
    (target, served, status)
}

/// The parts that a status names.
fn written(status: &Value) -> Value {
    let text = status["annotations"][PARTS].as_str();
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

/// The reason and the message of the condition.
fn condition(status: &Value) -> (String, String) {
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|one| one["type"] == LOG_MOVED);
    let text = |field: &str| found.map_or("", |found| found[field].as_str().unwrap());
    (text("reason").to_owned(), text("message").to_owned())
}

#[test]
fn a_broker_that_nobody_moves_says_nothing_of_it() {
    let (target, served, status) = planned(broker(None), &open(&[WHOLE]));
    assert_eq!((target, written(&status)), (None, Value::Null));
    assert_eq!(served, [PartRef::whole(WHOLE)]);
    assert_eq!(condition(&status).0, "");
    // Where it is asked for is where it is.
    let (target, _, status) = planned(broker(Some("segment")), &open(&[WHOLE]));
    assert_eq!(target, None);
    assert_eq!(written(&status), json!([{"store": "segment", "move": 0}]));
    assert_eq!(condition(&status).0, "Moved");
}

#[test]
fn a_broker_that_was_moved_to_the_disk_says_nothing_of_its_stream() {
    let mut moved = with_parts(
        broker(Some("segment")),
        &json!([{"store": "segment", "move": 1}]),
    );
    let doubt = json!({"type": "LogDurability", "status": "False", "reason": "NotReplicated"});
    let doubt = serde_json::from_value(doubt).unwrap();
    moved.status.as_mut().unwrap().conditions.push(doubt);
    let (_, _, status) = planned(moved, &open(&[&format!("{WHOLE}~1-segment")]));
    let conditions = status["conditions"].as_array().unwrap();
    let stale = |one: &&Value| one["type"] == "LogDurability";
    assert_eq!(conditions.iter().find(stale), None);
}

#[test]
fn the_steps_of_a_move_follow_what_is_known() {
    let to = format!("{WHOLE}~1-memory");
    let wanted = || broker(Some("memory"));
    let (target, _, status) = planned(wanted(), &open(&[WHOLE]));
    assert_eq!(target, None, "the new log is not open");
    assert_eq!(condition(&status).0, "Opening");
    let (target, _, status) = planned(wanted(), &open(&[&to]));
    assert_eq!(condition(&status).0, "Waiting");
    assert_eq!(target.as_ref(), Some(&to));
    let mut facts = open(&[WHOLE, &to]);
    let (target, served, status) = planned(wanted(), &facts);
    assert_eq!(target.as_ref(), Some(&to));
    assert_eq!(served, [PartRef::whole(WHOLE)]);
    assert_eq!(condition(&status).0, "Closing");
    let switch = |target: &str| Switch {
        target: target.to_owned(),
        ends: vec![7],
        begins: vec![3],
    };
    // What was found for another target says nothing of this one.
    facts.switches.insert(WHOLE.to_owned(), switch("other"));
    let (_, _, status) = planned(wanted(), &facts);
    assert_eq!(condition(&status).0, "Closing");
    facts.switches.insert(WHOLE.to_owned(), switch(&to));
    let (target, served, status) = planned(wanted(), &facts);
    let second = json!({"store": "memory", "move": 1, "from": [7], "begin": [3]});
    let both = json!([{"store": "segment", "move": 0}, second]);
    assert_eq!(written(&status), both);
    assert_eq!(condition(&status).0, "Draining");
    assert_eq!(target, Some(to.clone()), "closed until that is written");
    assert_eq!(served.len(), 1);
    // Now it is.
    let (target, served, _) = planned(with_parts(wanted(), &both), &facts);
    assert_eq!((target, served.len()), (None, 2));
    assert_eq!((&served[1].log, &served[1].from[..]), (&to, &[7][..]));
    for (released, left) in [(6, both.clone()), (7, json!([second]))] {
        facts.released.insert(WHOLE.to_owned(), vec![released]);
        facts.switches.clear();
        let moved = with_parts(wanted(), &both);
        let (_, _, status) = planned(moved, &facts);
        // What does not change is not in the patch.
        let written = written(&status);
        assert!(written == left || (released < 7 && written.is_null()));
    }
    let moved = with_parts(wanted(), &json!([second]));
    let (_, served, status) = planned(moved, &facts);
    assert_eq!((served.len(), condition(&status).0.as_str()), (1, "Moved"));
}

#[test]
fn partitions_that_go_keep_their_ends() {
    let parts = json!([{"store": "memory", "move": 4, "from": [5, 6, 7]}]);
    let to = format!("{WHOLE}~5-segment");
    let mut facts = open(&[&format!("{WHOLE}~4-memory"), &to]);
    let switch = Switch {
        target: to,
        ends: vec![9],
        begins: vec![0],
    };
    facts.switches.insert(WHOLE.to_owned(), switch);
    let wanted = with_parts(broker(Some("segment")), &parts);
    let (_, _, status) = planned(wanted, &facts);
    assert_eq!(written(&status)[1]["from"], json!([9, 6, 7]));
    // As long as not all of an older log is released, it stays.
    let parts =
        json!([{"store": "memory", "move": 1}, {"store": "segment", "move": 2, "from": [5, 6]}]);
    let names = [format!("{WHOLE}~1-memory"), format!("{WHOLE}~2-segment")];
    let mut facts = open(&[&names[0], &names[1]]);
    for (released, left) in [(vec![5, 5], 2), (vec![9, 6], 1)] {
        facts.released.insert(WHOLE.to_owned(), released);
        let (_, _, status) = planned(with_parts(broker(None), &parts), &facts);
        let left_now = written(&status).as_array().map_or(2, Vec::len);
        assert_eq!(left_now, left);
    }
}

#[test]
fn a_target_that_cannot_be_used_is_named_and_changes_nothing() {
    for (store, said) in [("kafka", "ConfigMap"), ("jetstream", "ConfigMap")] {
        let (target, served, status) = planned(broker(Some(store)), &open(&[WHOLE]));
        assert_eq!((target, served.len()), (None, 1));
        let (reason, message) = condition(&status);
        assert_eq!(reason, "CannotMove");
        let expected = [said, "this build has no store"];
        assert!(
            expected.iter().any(|said| message.contains(said)),
            "{message}"
        );
    }
    // What is written cannot be guessed when it cannot be read.
    let broken = with_parts(broker(None), &json!("no list"));
    let (_, served, status) = planned(broken, &open(&[WHOLE]));
    assert!(
        served.is_empty() && status.to_string().contains(PARTS),
        "{status}"
    );
}

#[cfg(feature = "kafka")]
#[test]
fn a_topic_cannot_be_two_parts() {
    use k8s_openapi::api::core::v1::ConfigMap;

    let mut world = World::default();
    for (namespace, name) in [("knative-eventing", "kafka-broker-config"), ("ns", "other")] {
        let servers = format!("{name}:9092");
        let mut config = ConfigMap::default();
        config.metadata.namespace = Some(namespace.to_owned());
        config.metadata.name = Some(name.to_owned());
        config.data = Some(BTreeMap::from([("bootstrap.servers".to_owned(), servers)]));
        world.config_maps.put(Arc::new(config));
    }
    let parts =
        json!([{"store": "kafka", "move": 1}, {"store": "segment", "move": 2, "from": [5]}]);
    let mut back = with_parts(broker(Some("kafka")), &parts);
    let refused = Logs::of(&world, &back).unwrap().refused;
    assert!(refused.unwrap().contains("still holds"));
    // Another cluster is another place.
    let (name, value) = (annotations::STORE_CONFIG, "other");
    back.annotations_mut()
        .insert(name.to_owned(), value.to_owned());
    let logs = Logs::of(&world, &back).unwrap();
    let target = logs.target.unwrap().part;
    assert_eq!(
        (target.config.as_deref(), target.number),
        (Some("ns/other"), 3)
    );
    let parts = json!([{"store": "kafka", "config": "ns/other", "move": 1}]);
    let there = Logs::of(&world, &with_parts(back, &parts)).unwrap();
    assert!(there.target.is_none() && there.refused.is_none());
}
