//! Brokers whose events Kafka keeps, with the real binary and a real Apache Kafka.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use support::api::{Event, condition, trigger};
use support::kafka::client::Client;
use support::kafka::{Cluster, PASSWORD, Protection, USER, jars};
use support::{Heddle, Subscriber, wait};

const TOPIC: &str = "knative-broker-default-kafka";

fn broker(name: &str, annotations: &Value) -> Value {
    let mut all = json!({"eventing.knative.dev/broker.class": "Kafka"});
    let more = annotations.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": name, "namespace": "default", "annotations": all},
    })
}

/// Says where Kafka is, as Knative's Kafka Broker wants it.
async fn point_at(heddle: &Heddle, data: &Value) {
    configure(heddle, "kafka-broker-config", data).await;
}

async fn configure(heddle: &Heddle, name: &str, data: &Value) {
    let namespace = "knative-eventing";
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    });
    let url = format!("{}/api/v1/namespaces/{namespace}/configmaps", heddle.api);
    heddle.http.post_json(&url, &object).await.expect(201);
}

fn plain(server: &Cluster) -> Value {
    json!({
        "bootstrap.servers": server.servers(),
        "default.topic.partitions": "3",
        "default.topic.replication.factor": "1",
    })
}

/// Waits until a group has so much committed at least, over all partitions of a topic.
async fn committed(server: &Cluster, group: &str, topic: &str, partitions: i32, least: i64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.servers());
    let consumer: BaseConsumer = config.set("group.id", group).create().unwrap();
    let consumer = Arc::new(consumer);
    wait::until("positions to be seen in Kafka", || async {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let consumer = Arc::clone(&consumer);
        let patience = Duration::from_secs(10);
        let asked = move || consumer.committed_offsets(list, patience);
        let found = tokio::task::spawn_blocking(asked).await.unwrap();
        let found = found.map_err(|error| error.to_string())?;
        let offsets = found.elements().into_iter().map(|one| one.offset());
        let offsets: Vec<_> = offsets.filter_map(Offset::to_raw).collect();
        if offsets.iter().filter(|at| **at > 0).sum::<i64>() < least {
            return Err(format!("{offsets:?}"));
        }
        Ok(())
    })
    .await;
}

/// Posts until the answer is 503 with `Retry-After`.
async fn refused(heddle: &Heddle) {
    wait::until("the outage to be seen", || async {
        let answer = heddle.post("kafka", &Event::new("refused", "t")).await;
        match (
            answer.status.as_u16(),
            answer.headers.contains_key("retry-after"),
        ) {
            (503, true) => Ok(()),
            _ => Err(format!("{} {}", answer.status, answer.text())),
        }
    })
    .await;
}

/// Posts until the answer is 202. A server that is slow may have kept what was refused.
async fn accepted(heddle: &Heddle, broker: &str, id: &str) {
    wait::until("events to be taken", || async {
        let answer = heddle.post(broker, &Event::new(id, "t")).await;
        match answer.status.as_u16() {
            202 => Ok(()),
            _ => Err(format!("{} {}", answer.status, answer.text())),
        }
    })
    .await;
}

#[tokio::test]
async fn a_broker_without_servers_says_what_is_missing() {
    let (_directory, data) = support::data_directory();
    let heddle = Heddle::up(&data).await;
    heddle.create("brokers", &broker("lost", &json!({}))).await;
    let url = format!("{}/lost", heddle.resources("brokers"));
    wait::until("the Broker to say what it needs", || async {
        let object = heddle.http.get(&url).await.expect(200).json();
        let message = condition(&object, "ConfigParsed")["message"].to_string();
        let ready = condition(&object, "Ready")["status"] == "False";
        if ready && message.contains("knative-eventing/kafka-broker-config") {
            Ok(())
        } else {
            Err(object.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_outages_of_kafka_and_of_the_broker() {
    let Some(jars) = jars() else { return };
    let mut server = Cluster::single(&jars).await;
    let (_directory, data) = support::data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    point_at(&heddle, &plain(&server)).await;
    heddle.create("brokers", &broker("kafka", &json!({}))).await;
    let object = heddle.ready("brokers", "kafka").await;
    for kind in [
        "TopicReady",
        "ConfigParsed",
        "DataPlaneAvailable",
        "Addressable",
    ] {
        assert_eq!(condition(&object, kind)["status"], "True", "{object}");
    }
    let durability = &condition(&object, "LogDurability")["reason"];
    assert_eq!(durability, "NotReplicated");
    let client = Client::new(&server.servers());
    assert_eq!(client.topics().get(TOPIC), Some(&3));

    let wanted = trigger("all", "kafka", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&wanted).await;
    let mut acknowledged = BTreeSet::new();
    for n in 0..30 {
        let id = format!("before-{n}");
        accepted(&heddle, "kafka", &id).await;
        acknowledged.insert(id);
    }
    subscriber.wait_for(30).await;

    server.kill(0);
    refused(&heddle).await;
    // Other brokers do not notice, and the outage is not told again and again.
    heddle.accepted("default", &Event::new("other", "t")).await;
    for _ in 0..50 {
        let answer = heddle.post("kafka", &Event::new("refused", "t")).await;
        assert_eq!(answer.status, 503);
    }
    let told = heddle
        .output()
        .lines()
        .filter(|line| line.contains("afka"))
        .count();
    assert!(told < 20, "{}", heddle.output());
    // A start without the server: producers hear 503, not that there is no such Broker.
    heddle.kill();
    let heddle = Heddle::up(&data).await;
    refused(&heddle).await;

    server.restart(0).await;
    heddle.ready("brokers", "kafka").await;
    for n in 0..30 {
        let id = format!("after-{n}");
        accepted(&heddle, "kafka", &id).await;
        acknowledged.insert(id);
    }
    heddle.wait_stat("all", "backlog", 0).await;
    let ids = subscriber.ids();
    let seen: BTreeSet<String> = ids.iter().cloned().collect();
    let lost: Vec<_> = acknowledged.difference(&seen).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // What was delivered last before the kill may come once more, as positions are written twice a second;
    // and so may what a slow server had kept when it was refused.
    let twice = ids.len() - seen.len();
    assert!(twice <= 60, "{twice} events came more than once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_an_outage_and_topics_of_others_stay() {
    let Some(jars) = jars() else { return };
    let server = Cluster::single(&jars).await;
    let (_directory, data) = support::data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    point_at(&heddle, &plain(&server)).await;
    let client = Client::new(&server.servers());
    client.make("theirs", 2).await;
    let external = json!({"kafka.eventing.knative.dev/external.topic": "theirs"});
    heddle.create("brokers", &broker("theirs", &external)).await;
    heddle.create("brokers", &broker("kafka", &json!({}))).await;
    let object = heddle.ready("brokers", "theirs").await;
    let durability = &condition(&object, "LogDurability")["reason"];
    assert_eq!(durability, "RetentionOfTopic");
    heddle.ready("brokers", "kafka").await;
    for name in ["kafka", "theirs"] {
        let wanted = trigger(name, name, &subscriber.url("/"), json!({}));
        heddle.create_trigger(&wanted).await;
    }
    let url = format!("{}/kafka", heddle.resources("triggers"));
    let object = heddle.http.get(&url).await.expect(200).json();
    assert_eq!(
        object["status"]["annotations"]["group.id"],
        "knative-trigger-default-kafka"
    );

    accepted(&heddle, "kafka", "before").await;
    accepted(&heddle, "theirs", "theirs").await;
    subscriber.wait_for_id("before").await;
    subscriber.wait_for_id("theirs").await;
    committed(&server, "knative-trigger-default-kafka", TOPIC, 3, 1).await;
    committed(&server, "knative-trigger-default-theirs", "theirs", 2, 1).await;
    server.pause(0);
    refused(&heddle).await;
    heddle.accepted("default", &Event::new("other", "t")).await;
    server.resume(0);
    accepted(&heddle, "kafka", "after").await;
    subscriber.wait_for_id("after").await;

    heddle.delete("brokers", "theirs").await;
    heddle.delete("brokers", "kafka").await;
    client.deleted(TOPIC).await;
    assert!(client.topics().contains_key("theirs"));
}

/// Ready, and an event there and back, with what the Secret says.
async fn works_with(server: &Cluster, secret: &[(&str, &str)]) {
    let (_directory, data) = support::data_directory();
    let heddle = Heddle::up(&data).await;
    let encoded = secret.iter().map(|(key, value)| {
        let value = Value::from(STANDARD.encode(value));
        ((*key).to_owned(), value)
    });
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "kafka", "namespace": "knative-eventing"},
        "data": Value::Object(encoded.collect()),
    });
    let url = format!("{}/api/v1/namespaces/knative-eventing/secrets", heddle.api);
    heddle.http.post_json(&url, &object).await.expect(201);
    let mut config = plain(server);
    config["bootstrap.servers"] = server.protected().into();
    config["auth.secret.ref.name"] = "kafka".into();
    point_at(&heddle, &config).await;
    heddle.create("brokers", &broker("kafka", &json!({}))).await;
    heddle.ready("brokers", "kafka").await;
    let subscriber = Subscriber::start().await;
    let wanted = trigger("all", "kafka", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&wanted).await;
    accepted(&heddle, "kafka", "secret").await;
    subscriber.wait_for_id("secret").await;
    committed(server, "knative-trigger-default-all", TOPIC, 3, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_and_encryption_are_those_of_the_secret() {
    let Some(jars) = jars() else { return };
    let server = Cluster::start(&jars, 1, Protection::SaslTls).await;
    let ca = server.authority().certificate.clone();
    let token = token();
    for (mechanism, password) in [
        ("PLAIN", PASSWORD),
        ("SCRAM-SHA-512", PASSWORD),
        ("OAUTHBEARER", &token),
    ] {
        let secret = [
            ("protocol", "SASL_SSL"),
            ("sasl.mechanism", mechanism),
            ("user", USER),
            ("password", password),
            ("ca.crt", &ca),
        ];
        works_with(&server, &secret).await;
    }
}

/// A token that nobody has signed (RFC 7515, appendix A.5), for [`USER`], as Kafka takes it where it
/// is not told how to check signatures.
fn token() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"sub": USER, "iat": 1_600_000_000, "exp": 4_102_444_800_u64});
    format!("{}.{}.", part(json!({"alg": "none"})), part(claims))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_have_the_certificate_of_the_secret() {
    let Some(jars) = jars() else { return };
    let server = Cluster::start(&jars, 1, Protection::MutualTls).await;
    let ca = server.authority().certificate.clone();
    let (certificate, key) = server.authority().sign("heddle");
    let secret = [
        ("protocol", "SSL"),
        ("ca.crt", ca.as_str()),
        ("user.crt", &certificate),
        ("user.key", &key),
    ];
    works_with(&server, &secret).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_keeps_its_events_in_a_topic_and_delivers_them_in_order() {
    let Some(jars) = jars() else { return };
    let server = Cluster::single(&jars).await;
    let (_directory, data) = support::data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    let config = json!({"bootstrap.servers": server.servers()});
    configure(&heddle, "kafka-channel-config", &config).await;
    let (api, kind) = ("messaging.knative.dev/v1beta1", "KafkaChannel");
    let channel = json!({
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "orders", "namespace": "default"},
        "spec": {"numPartitions": 2},
    });
    heddle.create("kafkachannels", &channel).await;
    let object = heddle.ready("kafkachannels", "orders").await;
    assert_eq!(object["spec"]["retentionDuration"], "PT168H");
    assert_eq!(condition(&object, "TopicReady")["status"], "True");
    let topic = "knative-messaging-kafka.default.orders";
    let client = Client::new(&server.servers());
    assert_eq!(client.topics().get(topic), Some(&2));
    let subscription = json!({
        "apiVersion": "messaging.knative.dev/v1",
        "kind": "Subscription",
        "metadata": {"name": "all", "namespace": "default"},
        "spec": {
            "channel": {"apiVersion": api, "kind": kind, "name": "orders"},
            "subscriber": {"uri": subscriber.url("/")},
        },
    });
    heddle.create("subscriptions", &subscription).await;
    heddle.ready("subscriptions", "all").await;
    let address = object["status"]["address"]["url"].as_str().unwrap();
    for n in 0..20 {
        let id = n.to_string();
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-type", "t"),
            ("ce-source", "/s"),
            ("ce-id", &id),
            ("ce-partitionkey", "one"),
        ];
        wait::until("the event to be taken", || async {
            let post = hyper::Method::POST;
            let sent = heddle.http.send(post, address, &headers, "data").await;
            match sent.status.as_u16() {
                202 => Ok(()),
                _ => Err(sent.text()),
            }
        })
        .await;
    }
    subscriber.wait_for_id("19").await;
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let mut ids = subscriber.ids();
    ids.dedup();
    assert_eq!(ids, expected);
    heddle.delete("kafkachannels", "orders").await;
    client.deleted(topic).await;
}
