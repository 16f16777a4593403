//! What is filled in, kind by kind, and what is left as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{Config, admit, complete, kind};

const BR_DEFAULTS: &str = "
clusterDefault:
  brokerClass: MTChannelBasedBroker
  apiVersion: v1
  kind: ConfigMap
  name: config-br-default-channel
  namespace: knative-eventing
  delivery: {retry: 5, backoffPolicy: linear, backoffDelay: PT1S, timeout: PT9S, format: json}
  brokerClasses:
    Kafka: {apiVersion: v1, kind: ConfigMap, name: cluster-kafka, namespace: knative-eventing}
namespaceDefaults:
  team-a:
    brokerClass: Heddle
    delivery: {retry: 7}
  team-b:
    apiVersion: v1
    kind: ConfigMap
    name: of-team-b
    brokerClasses:
      Kafka: {apiVersion: v1, kind: ConfigMap, name: kafka-of-team-b}
";

fn defaults() -> Config {
    Config::of("config-br-defaults", "default-br-config", BR_DEFAULTS)
}

fn admitted(mut object: Value, config: &Config) -> Value {
    complete(&mut object);
    admit(object, None, config).unwrap()
}

fn broker(namespace: &str, class: Option<&str>) -> Value {
    let mut metadata = json!({"namespace": namespace});
    if let Some(class) = class {
        metadata["annotations"] = json!({"eventing.knative.dev/broker.class": class});
    }
    admitted(json!({"kind": "Broker", "metadata": metadata}), &defaults())
}

fn class(broker: &Value) -> &str {
    broker["metadata"]["annotations"]["eventing.knative.dev/broker.class"]
        .as_str()
        .unwrap()
}

#[test]
fn a_broker_of_a_fresh_installation_gets_the_built_in_class_and_delivery() {
    let broker = admitted(json!({"kind": "Broker"}), &Config::default());
    assert_eq!(
        broker,
        json!({
            "kind": "Broker",
            "metadata": {
                "name": "it",
                "namespace": "team",
                "annotations": {"eventing.knative.dev/broker.class": "MTChannelBasedBroker"},
            },
            "spec": {"delivery": {
                "retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S",
            }},
        })
    );
}

#[test]
fn what_the_cluster_sets_is_taken_over_but_for_what_knative_leaves_out() {
    let broker = broker("other", None);
    assert_eq!(class(&broker), "MTChannelBasedBroker");
    assert_eq!(
        broker["spec"]["config"]["name"],
        "config-br-default-channel"
    );
    assert_eq!(
        broker["spec"]["delivery"],
        json!({"retry": 5, "backoffPolicy": "linear", "backoffDelay": "PT1S"})
    );
}

#[test]
fn defaults_are_looked_up_by_namespace_and_class() {
    let of_a = broker("team-a", None);
    assert_eq!(
        (class(&of_a), &of_a["spec"]),
        ("Heddle", &json!({"delivery": {"retry": 7}}))
    );
    let of_b = broker("team-b", Some("Kafka"));
    assert_eq!(of_b["spec"]["config"]["name"], "kafka-of-team-b");
    assert_eq!(of_b["spec"]["config"]["namespace"], "team-b");
    assert_eq!(
        broker("team-a", Some("Kafka"))["spec"]["config"]["name"],
        "cluster-kafka"
    );
    assert_eq!(
        broker("team-b", Some("Foreign"))["spec"]["config"]["name"],
        "of-team-b"
    );
    let elsewhere = broker("other", Some("Foreign"));
    assert_eq!(
        elsewhere["spec"]["config"]["name"],
        "config-br-default-channel"
    );
    // The cluster's class counts where the namespace names none.
    assert_eq!(class(&broker("team-b", None)), "MTChannelBasedBroker");
}

#[test]
fn what_the_user_wrote_stays() {
    let sent = json!({
        "kind": "Broker",
        "metadata": {"annotations": {"eventing.knative.dev/broker.class": "Heddle"}},
        "spec": {
            "config": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "namespace": "n"},
            "delivery": {"retry": 0},
        },
    });
    let broker = admitted(sent.clone(), &defaults());
    assert_eq!(broker["spec"], sent["spec"]);
    assert_eq!(class(&broker), "Heddle");
}

#[test]
fn the_original_manifest_can_be_applied_again_after_the_defaults_changed() {
    let old = admitted(json!({"kind": "Broker"}), &Config::default());
    let mut again = json!({"kind": "Broker"});
    complete(&mut again);
    let new = admit(again, Some(&old), &defaults()).unwrap();
    assert_eq!(class(&new), "MTChannelBasedBroker");
    assert_eq!(new["spec"].get("config"), None);

    let old = admitted(json!({"kind": "Channel"}), &Config::default());
    let text = "clusterDefault: {apiVersion: messaging.knative.dev/v1beta1, kind: KafkaChannel}";
    let config = Config::of("default-ch-webhook", "default-ch-config", text);
    let mut again = json!({"kind": "Channel"});
    complete(&mut again);
    assert_eq!(admit(again, Some(&old), &config).unwrap(), old);
}

#[test]
fn a_trigger_gets_a_filter_a_label_and_namespaces() {
    let trigger = admitted(
        json!({"kind": "Trigger", "metadata": {"labels": {"mine": "1"}}, "spec": {
            "broker": "default",
            "subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "s"}},
            "delivery": {"deadLetterSink": {
                "ref": {"apiVersion": "v1", "kind": "Service", "name": "dead"}, "uri": "/letters",
            }},
        }}),
        &Config::default(),
    );
    assert_eq!(
        trigger["metadata"]["labels"],
        json!({"mine": "1", "eventing.knative.dev/broker": "default"})
    );
    assert_eq!(trigger["spec"]["filter"], json!({}));
    assert_eq!(trigger["spec"]["subscriber"]["ref"]["namespace"], "team");
    assert_eq!(
        trigger["spec"]["delivery"]["deadLetterSink"]["ref"]["namespace"],
        "team"
    );
}

#[test]
fn every_kind_of_address_and_filter_is_admitted() {
    for uri in [
        "http://example.com",
        "https://user@example.com:8443/a?b=c#d",
        "http://[::1]:8080/",
        "http://127.0.0.1:8080/x",
        "local://autoscaler",
        "local://flows/step/1",
    ] {
        let trigger = json!({"kind": "Trigger", "spec": {
            "broker": "default", "subscriber": {"uri": uri},
            "filters": [
                {"exact": {"type": "a"}}, {"prefix": {"source": "/"}}, {"suffix": {"subject": "z"}},
                {"all": [{"any": [{"exact": {"a": "b"}}]}, {"not": {"cesql": "TRUE"}}]},
            ],
        }});
        let admitted = admitted(trigger.clone(), &Config::default());
        assert_eq!(
            admitted["spec"]["filters"], trigger["spec"]["filters"],
            "{uri}"
        );
    }
}

#[test]
fn a_broker_of_another_namespace_needs_the_feature() {
    let trigger = json!({"kind": "Trigger", "spec": {
        "brokerRef": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"},
        "subscriber": {"uri": "http://s"},
    }});
    let config = Config::of("config-features", "cross-namespace-event-links", "enabled");
    let trigger = admitted(trigger, &config);
    assert_eq!(trigger["spec"]["brokerRef"]["namespace"], "team");
    assert_eq!(trigger["metadata"].get("labels"), None);
    let typed: heddle_crds::eventing::Trigger = serde_json::from_value(trigger).unwrap();
    assert_eq!(typed.broker(), ("team", "b"));
}

#[test]
fn a_channel_gets_the_installations_template() {
    let channel = admitted(json!({"kind": "Channel"}), &Config::default());
    assert_eq!(
        channel["spec"]["channelTemplate"],
        json!({"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"})
    );
    assert_eq!(
        channel["metadata"]["annotations"]["messaging.knative.dev/subscribable"],
        "v1"
    );
    let text = "
        clusterDefault: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel}
        namespaceDefaults:
          team:
            apiVersion: messaging.knative.dev/v1beta1
            kind: KafkaChannel
            spec: {numPartitions: 3, nested: {kept: [1, null]}}
    ";
    let config = Config::of("default-ch-webhook", "default-ch-config", text);
    let channel = admitted(json!({"kind": "Channel"}), &config);
    assert_eq!(
        channel["spec"]["channelTemplate"],
        json!({
            "apiVersion": "messaging.knative.dev/v1beta1", "kind": "KafkaChannel",
            "spec": {"numPartitions": 3, "nested": {"kept": [1, null]}},
        })
    );
}

#[test]
fn an_in_memory_channel_says_that_it_can_be_subscribed_to() {
    let channel = admitted(json!({"kind": "InMemoryChannel"}), &Config::default());
    assert_eq!(
        channel["metadata"]["annotations"],
        json!({"messaging.knative.dev/subscribable": "v1"})
    );
}

#[test]
fn a_subscription_gets_namespaces_and_that_of_its_channel_only_with_the_feature() {
    let reference = |name: &str| json!({"apiVersion": "v1", "kind": "Service", "name": name});
    let sent = json!({"kind": "Subscription", "spec": {
        "channel": {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": "c"},
        "subscriber": {"ref": reference("s")}, "reply": {"ref": reference("r")},
        "delivery": {"deadLetterSink": {"ref": reference("d")}},
    }});
    let plain = admitted(sent.clone(), &Config::default());
    let spec = &plain["spec"];
    for reference in [
        &spec["subscriber"]["ref"],
        &spec["reply"]["ref"],
        &spec["delivery"]["deadLetterSink"]["ref"],
    ] {
        assert_eq!(reference["namespace"], "team");
    }
    assert_eq!(spec["channel"].get("namespace"), None);
    let config = Config::of("config-features", "cross-namespace-event-links", "enabled");
    let crossing = admitted(sent.clone(), &config);
    assert_eq!(crossing["spec"]["channel"]["namespace"], "team");
    // Turning the feature on is no change of the channel.
    let mut again = sent;
    complete(&mut again);
    admit(again, Some(&plain), &config).unwrap();
}

#[test]
fn a_namespace_is_active_and_can_be_selected_by_name() {
    let namespace = admitted(json!({"kind": "Namespace"}), &Config::default());
    assert_eq!(
        namespace["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "it"})
    );
    assert_eq!(namespace["status"], json!({"phase": "Active"}));
}

#[test]
fn a_config_map_may_be_of_a_mebibyte_and_no_more() {
    let of = |bytes: usize| {
        let mut object = json!({"kind": "ConfigMap", "data": {"k": "x".repeat(bytes)}});
        complete(&mut object);
        admit(object, None, &Config::default())
    };
    of(1024 * 1024).unwrap();
    let errors = of(1024 * 1024 + 1).unwrap_err();
    assert_eq!(errors[0].message, "may not be more than 1048576 bytes");
}

#[test]
fn unknown_fields_go_and_open_spots_keep_theirs() {
    let broker = admitted(
        json!({
            "kind": "Broker", "extra": 1,
            "spec": {"extra": 1, "delivery": {"future": {"a": null}, "retry": 1}, "config": null},
            "status": {"extra": 1, "annotations": {"a": "b"}},
            "metadata": {"creationTimestamp": null, "managedFields": [{"manager": "me"}]},
        }),
        &Config::default(),
    );
    assert_eq!(
        broker["spec"],
        json!({"delivery": {"future": {"a": null}, "retry": 1}})
    );
    assert_eq!(broker["status"], json!({"annotations": {"a": "b"}}));
    assert_eq!(broker.get("extra"), None);
    assert_eq!(
        broker["metadata"]["managedFields"],
        json!([{"manager": "me"}])
    );
}

#[test]
fn an_object_that_is_being_deleted_is_not_refused() {
    let mut object = json!({"kind": "Trigger", "metadata": {
        "deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["heddle.dev/position"],
    }});
    complete(&mut object);
    let before = object.clone();
    let after = admit(object, None, &Config::default()).unwrap();
    assert_eq!(after["metadata"], before["metadata"]);
}

#[test]
fn at_most_a_hundred_errors_are_told() {
    let filters = vec![json!({}); 1000];
    let mut object = json!({"kind": "Trigger", "spec": {"broker": "default", "filters": filters}});
    complete(&mut object);
    let errors = kind("Trigger")
        .admission
        .validate(&object, None, &Config::default());
    assert_eq!(errors.len(), 100);
}
