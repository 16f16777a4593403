//! KafkaSinks with the real binary and a real Kafka.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use hyper::Method;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use serde_json::{Value, json};
use support::api::{Event, condition, fast_retries, trigger};
use support::kafka::client::{Client, Record};
use support::kafka::{Cluster, PASSWORD, Protection, USER, jars};
use support::{Answer, Heddle, Subscriber, wait};

const API: &str = "eventing.knative.dev/v1alpha1";

/// A KafkaSink for a topic that has to be there.
fn sink(name: &str, servers: &str, topic: &str) -> Value {
    json!({
        "apiVersion": API,
        "kind": "KafkaSink",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"bootstrapServers": [servers], "topic": topic},
    })
}

/// A KafkaSink whose topic is made.
fn making(name: &str, servers: &str, topic: &str, partitions: i32) -> Value {
    let mut object = sink(name, servers, topic);
    object["spec"]["numPartitions"] = partitions.into();
    object["spec"]["replicationFactor"] = 1.into();
    object
}

fn reference(name: &str) -> Value {
    json!({"ref": {"apiVersion": API, "kind": "KafkaSink", "name": name}})
}

/// Waits until a sink is ready; gives its address, and whose its topic is.
async fn opened(heddle: &Heddle, name: &str) -> (String, String) {
    let object = heddle.ready("kafkasinks", name).await;
    let status = &object["status"];
    let owner = &status["annotations"]["eventing.knative.dev/topic.owner"];
    let url = status["address"]["url"].as_str().unwrap().to_owned();
    (url, owner.as_str().unwrap().to_owned())
}

/// Posts until the answer is 202. A server that is slow may have kept what was refused.
async fn accepted(heddle: &Heddle, url: &str, event: &Event<'_>) {
    wait::until("the event to be taken", || async {
        let answer = heddle.post_to(url, event).await;
        match answer.status.as_u16() {
            202 => Ok(()),
            _ => Err(format!("{} {}", answer.status, answer.text())),
        }
    })
    .await;
}

/// The headers of a record, in alphabetical order.
fn headers(record: &OwnedMessage) -> Vec<(String, String)> {
    let headers = record.headers().into_iter().flat_map(|all| all.iter());
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    let pairs = headers.map(|header| (header.key.to_owned(), text(header.value)));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = expected.iter();
    let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    pairs.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_become_records_and_nothing_else() {
    let Some(jars) = jars() else { return };
    let cluster = Cluster::single(&jars).await;
    let servers = cluster.servers();
    let client = Client::new(&servers);
    let (_directory, data) = support::data_directory();
    let heddle = Heddle::up(&data).await;
    let object = making("out", &servers, "out", 2);
    let made = heddle.create("kafkasinks", &object).await;
    assert_eq!(made["spec"]["contentMode"], "binary");
    let (url, owner) = opened(&heddle, "out").await;
    assert_eq!(owner, "kafkasink-controller");
    assert!(url.ends_with("/kafkasinks/default/out"), "{url}");
    assert_eq!(client.topics().get("out"), Some(&2));

    let body = b"{\"b\" : 1.0,\n \"a\":\"\\u00fc\"}\x20";
    let event = Event::new("1", "made")
        .with("ce-region", "Z%C3%BCrich")
        .with("ce-partitionkey", "key-1")
        .with("content-type", "application/json; charset=utf-8")
        .data(&body[..]);
    accepted(&heddle, &url, &event).await;
    let record = client.read("out", 1).await.remove(0);
    let binary = [
        ("ce_id", "1"),
        ("ce_partitionkey", "key-1"),
        ("ce_region", "Zürich"),
        ("ce_source", "/tests"),
        ("ce_specversion", "1.0"),
        ("ce_type", "made"),
        ("content-type", "application/json; charset=utf-8"),
    ];
    assert_eq!(headers(&record), pairs(&binary));
    assert_eq!(record.key(), Some(&b"key-1"[..]));
    assert_eq!(record.payload(), Some(&body[..]));

    structured(&heddle, &client, &url).await;
    // The same key leads other producers to the same partition.
    let same = Record {
        key: Some(b"key-1"),
        ..Record::default()
    };
    client.write("out", &same).await;
    let mut records = client.read("out", 4).await;
    records.retain(|record| record.key() == Some(b"key-1"));
    let partitions: BTreeSet<i32> = records.iter().map(|record| record.partition()).collect();
    assert_eq!((records.len(), partitions.len()), (2, 1));

    topics_of_others_stay(&heddle, &client, &servers).await;
    heddle.delete("kafkasinks", "out").await;
    client.deleted("out").await;
    let answer = heddle.post_to(&url, &event).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
}

/// Changes the mode of `out`, and sends both kinds of data.
async fn structured(heddle: &Heddle, client: &Client, url: &str) {
    let object = format!("{}/out", heddle.resources("kafkasinks"));
    let patch = r#"{"spec":{"contentMode":"structured"}}"#;
    let kind = [("content-type", "application/merge-patch+json")];
    let patched = heddle.http.send(Method::PATCH, &object, &kind, patch);
    patched.await.expect(200);
    opened(heddle, "out").await;
    let bytes = Event::new("2", "made")
        .with("content-type", "application/octet-stream")
        .data(&[0, 255][..]);
    accepted(heddle, url, &bytes).await;
    let text = Event::new("3", "made").data("{\"n\": 1.0}");
    accepted(heddle, url, &text).await;
    let records = client.read("out", 3).await;
    for (id, expected) in [("2", json!("AP8=")), ("3", json!({"n": 1.0}))] {
        let values = records.iter().filter_map(|record| record.payload());
        let mut values = values.filter_map(|value| serde_json::from_slice::<Value>(value).ok());
        let found = values.find(|value| value["id"] == id).unwrap();
        let member = if id == "2" { "data_base64" } else { "data" };
        assert_eq!(found[member], expected);
        assert_eq!(found["specversion"], "1.0");
    }
    let record = records.iter().find(|record| {
        let value = record.payload().unwrap_or_default();
        value.windows(10).any(|window| window == b"{\"n\": 1.0}")
    });
    let mode = pairs(&[("content-type", "application/cloudevents+json")]);
    assert_eq!(headers(record.expect("the data as it came")), mode);
}

async fn topics_of_others_stay(heddle: &Heddle, client: &Client, servers: &str) {
    client.make("theirs", 1).await;
    // Whoever says how a topic is made does not own one that is there.
    let there = making("there", servers, "theirs", 7);
    heddle.create("kafkasinks", &there).await;
    heddle
        .create("kafkasinks", &sink("waits", servers, "late"))
        .await;
    let (url, owner) = opened(heddle, "there").await;
    assert_eq!(owner, "external");
    accepted(heddle, &url, &Event::new("t", "t")).await;
    let waits = format!("{}/waits", heddle.resources("kafkasinks"));
    wait::until("the missing topic to be named", || async {
        let object = heddle.http.get(&waits).await.expect(200).json();
        let found = condition(&object, "TopicReady");
        let message = found["message"].as_str().unwrap_or_default();
        if found["status"] == "False" && message.contains("late does not exist") {
            return Ok(());
        }
        Err(object["status"].to_string())
    })
    .await;
    client.make("late", 1).await;
    let (url, _) = opened(heddle, "waits").await;
    accepted(heddle, &url, &Event::new("t", "t")).await;
    for (name, topic) in [("there", "theirs"), ("waits", "late")] {
        heddle.delete("kafkasinks", name).await;
        // Its log is gone when its address is; then it would be too late for the topic.
        let url = format!("{}/kafkasinks/default/{name}", heddle.ingress);
        wait::until("the address to be gone", || async {
            let answer = heddle.post_to(&url, &Event::new("t", "t")).await;
            match answer.status.as_u16() {
                404 => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
        assert!(client.topics().contains_key(topic));
        client.read(topic, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_in_the_topic_after_an_outage() {
    let Some(jars) = jars() else { return };
    let mut cluster = Cluster::single(&jars).await;
    let servers = cluster.servers();
    let client = Client::new(&servers);
    let (_directory, data) = support::data_directory();
    let heddle = Heddle::up(&data).await;
    let object = making("out", &servers, "out", 3);
    heddle.create("kafkasinks", &object).await;
    let (url, _) = opened(&heddle, "out").await;
    let ids = |range: std::ops::Range<u32>| range.map(|n| n.to_string());
    for id in ids(0..40) {
        accepted(&heddle, &url, &Event::new(&id, "t")).await;
    }
    cluster.kill(0);
    wait::until("the outage to be seen", || async {
        let answer = heddle.post_to(&url, &Event::new("refused", "t")).await;
        let again = answer.headers.contains_key("retry-after");
        match (answer.status.as_u16(), again) {
            (503, true) => Ok(()),
            _ => Err(format!("{} {}", answer.status, answer.text())),
        }
    })
    .await;
    heddle.accepted("default", &Event::new("other", "t")).await;
    // A start without the server knows the sink, and that its topic is its own.
    heddle.kill();
    let heddle = Heddle::up(&data).await;
    let url = format!("{}/kafkasinks/default/out", heddle.ingress);
    cluster.restart(0).await;
    for id in ids(40..80) {
        accepted(&heddle, &url, &Event::new(&id, "t")).await;
    }
    let (_, owner) = opened(&heddle, "out").await;
    assert_eq!(owner, "kafkasink-controller");
    let wanted: BTreeSet<String> = ids(0..80).collect();
    let records = client.read("out", wanted.len()).await;
    let ids = records.iter().flat_map(headers);
    let mut found: BTreeSet<String> = ids
        .filter(|(name, _)| name == "ce_id")
        .map(|(_, id)| id)
        .collect();
    // What was refused may have been kept.
    found.remove("refused");
    let lost: Vec<_> = wanted.difference(&found).collect();
    assert!(lost.is_empty(), "{lost:?}");
    goes_with_its_topic(cluster, heddle, &client, &data).await;
}

/// Deletes `out` while the server is away, and ends the process before it is back.
async fn goes_with_its_topic(mut cluster: Cluster, heddle: Heddle, client: &Client, data: &Path) {
    cluster.kill(0);
    heddle.delete("kafkasinks", "out").await;
    heddle.kill();
    let heddle = Heddle::up(data).await;
    let object = format!("{}/out", heddle.resources("kafkasinks"));
    let waits = heddle.http.get(&object).await.expect(200).json();
    let finalizers = json!(["kafkasinks.eventing.knative.dev"]);
    assert_eq!(waits["metadata"]["finalizers"], finalizers);
    cluster.restart(0).await;
    client.deleted("out").await;
    wait::until("the sink to go", || async {
        let answer = heddle.http.get(&object).await;
        match answer.status.as_u16() {
            404 => Ok(()),
            _ => Err(answer.text()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_out_by_a_sink_and_come_back_by_a_source() {
    let Some(jars) = jars() else { return };
    let cluster = Cluster::start(&jars, 1, Protection::SaslTls).await;
    let client = Client::new(&cluster.servers());
    let servers = cluster.protected();
    let (_directory, data) = support::data_directory();
    let heddle = Heddle::up(&data).await;
    let mut object = making("loop", &servers, "loop", 1);
    object["spec"]["auth"] = json!({"secret": {"ref": {"name": "entry"}}});
    heddle.create("kafkasinks", &object).await;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "entry", "namespace": "default"},
        "stringData": {
            "protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "user": USER,
            "password": PASSWORD,
            "ca.crt": cluster.authority().certificate,
        },
    });
    heddle.create("secrets", &secret).await;
    opened(&heddle, "loop").await;

    heddle.create_broker("back").await;
    let value = |key: &str| json!({"secretKeyRef": {"name": "entry", "key": key}});
    let source = json!({
        "apiVersion": "sources.knative.dev/v1beta1",
        "kind": "KafkaSource",
        "metadata": {"name": "loop", "namespace": "default"},
        "spec": {
            "bootstrapServers": [servers],
            "topics": ["loop"],
            "initialOffset": "earliest",
            "sink": {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "back"}},
            "net": {
                "sasl": {
                    "enable": true,
                    "user": value("user"),
                    "password": value("password"),
                    "type": value("sasl.mechanism"),
                },
                "tls": {"enable": true, "caCert": value("ca.crt")},
            },
        },
    });
    heddle.create("kafkasources", &source).await;
    heddle.ready("kafkasources", "loop").await;
    let subscriber = Subscriber::start().await;
    let back = trigger("back", "back", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&back).await;
    let mut out = trigger("out", "default", "http://unused", json!({}));
    out["spec"]["subscriber"] = reference("loop");
    out["spec"]["filter"] = json!({"attributes": {"type": "out"}});
    heddle.create_trigger(&out).await;
    // What another subscriber does not take leaves by the sink too.
    let failing = Subscriber::scripted(|_, _| Answer::status(500)).await;
    let mut dead = trigger("dead", "default", &failing.url("/"), json!({}));
    dead["spec"]["filter"] = json!({"attributes": {"type": "dead"}});
    dead["spec"]["delivery"] = fast_retries(1);
    dead["spec"]["delivery"]["deadLetterSink"] = reference("loop");
    heddle.create_trigger(&dead).await;

    let body = "{\"n\" : 1.0}";
    for kind in ["out", "dead"] {
        let event = Event::new(kind, kind).with("ce-team", "blue").data(body);
        heddle.accepted("default", &event).await;
    }
    subscriber.wait_for_id("out").await;
    subscriber.wait_for_id("dead").await;
    let found = subscriber.deliveries();
    for delivery in &found {
        assert_eq!(delivery.header("ce-team"), "blue");
        assert_eq!(delivery.body, body.as_bytes());
        let code = delivery.header("ce-knativeerrorcode");
        let expected = if delivery.id() == "dead" { "500" } else { "" };
        assert_eq!(code, expected, "{delivery:?}");
    }
    let ids: BTreeSet<&str> = found.iter().map(|delivery| delivery.id()).collect();
    assert_eq!(ids, ["dead", "out"].into());
    assert!(client.topics().contains_key("loop"));
}
