//! KafkaSources with the real binary and a real Kafka.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::api::{Event, condition, fast_retries};
use support::kafka::client::{Client, Record};
use support::kafka::{Cluster, PASSWORD, Protection, USER, jars};
use support::{Answer, Delivery, Heddle, Subscriber, report, wait};
use tempfile::TempDir;

fn data_directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    (directory, data)
}

/// A KafkaSource that reads all of a topic.
fn source(name: &str, servers: &str, topic: &str, sink: &str) -> Value {
    json!({
        "apiVersion": "sources.knative.dev/v1beta1",
        "kind": "KafkaSource",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "bootstrapServers": [servers],
            "topics": [topic],
            "consumerGroup": format!("group-of-{name}"),
            "initialOffset": "earliest",
            "sink": {"uri": sink},
        },
    })
}

async fn create(heddle: &Heddle, object: &Value) {
    heddle.create("kafkasources", object).await;
}

/// Waits until a condition of a source has this status, and gives its message.
async fn told(heddle: &Heddle, name: &str, kind: &str, status: &str) -> String {
    let url = format!("{}/{name}", heddle.resources("kafkasources"));
    wait::until(&format!("{kind} of {name} to be {status}"), || async {
        let object = heddle.http.get(&url).await.expect(200).json();
        let found = condition(&object, kind);
        if found["status"] == status {
            Ok(found["message"].as_str().unwrap_or_default().to_owned())
        } else {
            Err(object["status"].to_string())
        }
    })
    .await
}

fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.body).into_owned()
}

/// Waits until each of these bodies has come, and tells how many came more than once.
async fn all_come(subscriber: &Subscriber, wanted: usize) -> usize {
    wait::until_now("all records to come", || {
        let mut seen = BTreeMap::<String, usize>::new();
        for delivery in subscriber.deliveries() {
            *seen.entry(body(&delivery)).or_default() += 1;
        }
        if seen.len() == wanted {
            Ok(seen.values().sum::<usize>() - wanted)
        } else {
            Err(format!("{} of {wanted}", seen.len()))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_every_form_become_events() {
    let Some(jars) = jars() else { return };
    let cluster = Cluster::single(&jars).await;
    let servers = cluster.servers();
    let client = Client::new(&servers);
    client.make("orders", 1).await;
    let (_directory, data) = data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    let mut object = source("plain", &servers, "orders", &subscriber.url("/"));
    object["spec"]["ceOverrides"] = json!({"extensions": {"team": "blue"}});
    create(&heddle, &object).await;
    let ready = heddle.ready("kafkasources", "plain").await;
    assert_eq!(ready["status"]["claims"], "orders[0]");
    assert_eq!(ready["status"]["consumers"], 1);
    assert_eq!(ready["status"]["sinkUri"], subscriber.url("/"));
    assert_eq!(
        ready["status"]["ceAttributes"],
        json!([{
            "type": "dev.knative.kafka.event",
            "source": "/apis/v1/namespaces/default/kafkasources/plain#orders",
        }])
    );
    let plain = Record {
        key: Some(b"k1"),
        headers: vec![("content-type", "Text/Plain"), ("X-Tenant_Id", "acme")],
        value: Some(b"hello"),
        ..Record::default()
    };
    client.write("orders", &plain).await;
    let binary = Record {
        headers: vec![
            ("ce_specversion", "1.0"),
            ("ce_id", "b1"),
            ("ce_source", "/shop"),
            ("ce_type", "order.made"),
            ("ce_region", "Zürich"),
            ("content-type", "application/json"),
        ],
        value: Some(b"{\"n\": 1.0}"),
        ..Record::default()
    };
    client.write("orders", &binary).await;
    let structured = Record {
        headers: vec![("content-type", "application/cloudevents+json")],
        value: Some(br#"{"specversion":"1.0","id":"s1","source":"/s","type":"t","data":{"a":1}}"#),
        ..Record::default()
    };
    client.write("orders", &structured).await;
    client.write("orders", &Record::default()).await;
    let found = subscriber.wait_for(4).await;
    let [plain, binary, structured, empty] = &found[..] else {
        panic!("{found:?}");
    };
    for (name, value) in [
        ("ce-type", "dev.knative.kafka.event"),
        ("ce-id", "partition:0/offset:0"),
        ("ce-subject", "partition:0#0"),
        (
            "ce-source",
            "/apis/v1/namespaces/default/kafkasources/plain#orders",
        ),
        ("ce-key", "k1"),
        ("ce-partitionkey", "k1"),
        ("ce-kafkaheaderxtenantid", "acme"),
        ("ce-team", "blue"),
        ("content-type", "text/plain"),
    ] {
        assert_eq!(plain.header(name), value, "{name}");
    }
    assert!(!plain.header("ce-time").is_empty());
    assert_eq!(body(plain), "hello");
    assert_eq!((binary.id(), body(binary).as_str()), ("b1", "{\"n\": 1.0}"));
    assert_eq!(binary.header("ce-region"), "Z%C3%BCrich");
    assert_eq!(binary.header("ce-team"), "blue");
    assert_eq!(
        (structured.id(), body(structured).as_str()),
        ("s1", "{\"a\":1}")
    );
    assert_eq!(empty.id(), "partition:0/offset:3");
    assert!(empty.body.is_empty());
    keys_are_read_as_the_label_says(&heddle, &client, &servers).await;
    what_is_not_taken_is_buried(&heddle, &client, &servers).await;
}

async fn keys_are_read_as_the_label_says(heddle: &Heddle, client: &Client, servers: &str) {
    client.make("keys", 1).await;
    let subscriber = Subscriber::start().await;
    let keys: [&[u8]; 4] = [&[0, 0, 1, 0], &2.5f64.to_be_bytes(), b"text", &[0xff, 0]];
    for key in keys {
        let record = Record {
            key: Some(key),
            value: Some(b"v"),
            ..Record::default()
        };
        client.write("keys", &record).await;
    }
    for (name, label, wanted) in [
        (
            "as-text",
            "string",
            [None, None, Some("text"), Some("/wA=")],
        ),
        ("as-int", "int", [Some("256"), None, None, Some("/wA=")]),
        ("as-float", "float", [None, Some("2.5"), None, Some("/wA=")]),
        (
            "as-bytes",
            "byte-array",
            [Some("AAABAA=="), None, Some("dGV4dA=="), Some("/wA=")],
        ),
    ] {
        let sink = subscriber.url(&format!("/{name}"));
        let mut object = source(name, servers, "keys", &sink);
        object["metadata"]["labels"] = json!({"kafkasources.sources.knative.dev/key-type": label});
        create(heddle, &object).await;
        let path = format!("/{name}");
        let found = wait::until_now("the keys", || {
            let found = subscriber.deliveries().into_iter();
            let found: Vec<Delivery> = found.filter(|found| found.path == path).collect();
            if found.len() == 4 {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
        for (delivery, wanted) in found.iter().zip(wanted) {
            if let Some(wanted) = wanted {
                assert_eq!(delivery.header("ce-key"), wanted, "{name}");
            }
        }
    }
}

async fn what_is_not_taken_is_buried(heddle: &Heddle, client: &Client, servers: &str) {
    client.make("bad", 1).await;
    let subscriber = Subscriber::scripted(|delivery, _| {
        let bad = delivery.body == "bad".as_bytes();
        Answer::status(if bad { 500 } else { 202 })
    })
    .await;
    let letters = Subscriber::start().await;
    // One that cannot be read stands in nobody's way.
    create(
        heddle,
        &source("broken", servers, "not-there", &subscriber.url("/")),
    )
    .await;
    let mut object = source("burying", servers, "bad", &subscriber.url("/"));
    object["spec"]["delivery"] = fast_retries(2);
    object["spec"]["delivery"]["deadLetterSink"] = json!({"uri": letters.url("/")});
    create(heddle, &object).await;
    client
        .write_values(
            "bad",
            ["good", "bad", "fine"].into_iter().map(str::to_owned),
        )
        .await;
    let letter = letters.wait_for(1).await.remove(0);
    assert_eq!(
        (body(&letter).as_str(), letter.header("ce-knativeerrorcode")),
        ("bad", "500")
    );
    assert_eq!(all_come(&subscriber, 3).await, 2, "retries");
    wait::until_now("the group to be told", || {
        let (committed, ends) = client.progress("group-of-burying", "bad", 1);
        if committed == [Some(ends[0])] {
            Ok(())
        } else {
            Err(format!("{committed:?}"))
        }
    })
    .await;
    let message = told(heddle, "broken", "InitialOffsetsCommitted", "False").await;
    assert!(
        message.contains("the topic not-there does not exist"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_kills_of_heddle_or_of_the_server() {
    let Some(jars) = jars() else { return };
    let mut cluster = Cluster::single(&jars).await;
    let servers = cluster.servers();
    let client = Client::new(&servers);
    client.make("stream", 3).await;
    let (_directory, data) = data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    let mut object = source("stream", &servers, "stream", &subscriber.url("/"));
    object["spec"]["ordering"] = json!("unordered");
    object["spec"]["consumers"] = json!(2);
    create(&heddle, &object).await;
    heddle.ready("kafkasources", "stream").await;
    let numbers = |range: std::ops::Range<u32>| range.map(|n| n.to_string());

    client.write_values("stream", numbers(0..500)).await;
    subscriber.wait_for(100).await;
    heddle.kill();
    client.write_values("stream", numbers(500..600)).await;
    let heddle = Heddle::up(&data).await;
    let again = all_come(&subscriber, 600).await;

    cluster.kill(0);
    told(&heddle, "stream", "ConnectionEstablished", "False").await;
    // Nobody else notices.
    heddle.accepted("default", &Event::new("other", "t")).await;
    cluster.restart(0).await;
    client.write_values("stream", numbers(600..700)).await;
    let more = all_come(&subscriber, 700).await;
    told(&heddle, "stream", "ConnectionEstablished", "True").await;
    report::line(&format!(
        "kafka source: {again} of 600 twice after kill -9, {} of 100 after an outage",
        more - again
    ));
    wait::until_now("the group to be told", || {
        let (committed, ends) = client.progress("group-of-stream", "stream", 3);
        let ends: Vec<Option<i64>> = ends.into_iter().map(Some).collect();
        if committed == ends {
            Ok(())
        } else {
            Err(format!("{committed:?} of {ends:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_enters_with_what_its_secret_says() {
    let Some(jars) = jars() else { return };
    let cluster = Cluster::start(&jars, 1, Protection::SaslTls).await;
    let client = Client::new(&cluster.servers());
    client.make("guarded", 1).await;
    let (_directory, data) = data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    let sink = subscriber.url("/");
    let mut object = source("guarded", &cluster.protected(), "guarded", &sink);
    let value = |key: &str| json!({"secretKeyRef": {"name": "entry", "key": key}});
    object["spec"]["net"] = json!({
        "sasl": {
            "enable": true,
            "user": value("user"),
            "password": value("password"),
            "type": value("mechanism"),
        },
        "tls": {"enable": true, "caCert": value("ca")},
    });
    create(&heddle, &object).await;
    let message = told(&heddle, "guarded", "Deployed", "False").await;
    assert!(message.contains("entry"), "{message}");
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "entry", "namespace": "default"},
        "stringData": {
            "user": USER,
            "password": PASSWORD,
            "mechanism": "SCRAM-SHA-256",
            "ca": cluster.authority().certificate,
        },
    });
    heddle.create("secrets", &secret).await;
    heddle.ready("kafkasources", "guarded").await;
    client
        .write_values("guarded", ["in".to_owned()].into_iter())
        .await;
    assert_eq!(body(&subscriber.wait_for(1).await[0]), "in");
}
