//! KafkaSources that share a group between processes, are scaled, and whose position is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use hyper::Method;
use serde_json::{Value, json};
use support::kafka::client::Client;
use support::kafka::{Cluster, jars};
use support::{Heddle, Subscriber, wait};

const TOPIC: &str = "shared";
const PARTITIONS: i32 = 4;

/// A KafkaSource that reads all of the topic.
fn source(servers: &str, sink: &str) -> Value {
    json!({
        "apiVersion": "sources.knative.dev/v1beta1",
        "kind": "KafkaSource",
        "metadata": {"name": "shared", "namespace": "default"},
        "spec": {
            "bootstrapServers": [servers],
            "topics": [TOPIC],
            "consumerGroup": "the-group",
            "initialOffset": "earliest",
            "sink": {"uri": sink},
        },
    })
}

/// The partitions in `status.claims`.
fn claimed(object: &Value) -> BTreeSet<i32> {
    let claims = object["status"]["claims"].as_str().unwrap_or_default();
    let numbers = claims.split(['[', ']', ',']).skip(1);
    numbers.filter_map(|number| number.parse().ok()).collect()
}

async fn read(heddle: &Heddle) -> Value {
    let url = format!("{}/shared", heddle.resources("kafkasources"));
    heddle.http.get(&url).await.expect(200).json()
}

/// Waits until these processes have all partitions among them, each so many.
async fn shared_out(processes: &[(&Heddle, usize)]) {
    wait::until("the partitions to be shared out", || async {
        let mut all = Vec::new();
        for (heddle, _) in processes {
            all.push(claimed(&read(heddle).await));
        }
        let union: BTreeSet<i32> = all.iter().flatten().copied().collect();
        let mut each = all.iter().zip(processes);
        let fair = each.all(|(claims, (_, wanted))| claims.len() == *wanted);
        if fair && union.len() == PARTITIONS as usize {
            return Ok(());
        }
        Err(format!("{all:?}"))
    })
    .await;
}

/// Scales as `kubectl scale` does, and waits until so many members run.
async fn scale(heddle: &Heddle, members: u32) {
    let url = format!("{}/shared/scale", heddle.resources("kafkasources"));
    let patch = json!({"spec": {"replicas": members}}).to_string();
    let kind = [("content-type", "application/merge-patch+json")];
    let sent = heddle.http.send(Method::PATCH, &url, &kind, patch);
    sent.await.expect(200);
    wait::until("the members to run", || async {
        let scale = heddle.http.get(&url).await.expect(200).json();
        if scale["status"]["replicas"] == members {
            return Ok(());
        }
        Err(scale.to_string())
    })
    .await;
}

/// Waits until these numbers have come.
async fn come(subscriber: &Subscriber, wanted: std::ops::Range<u32>) {
    wait::until_now("all records to come", || {
        let seen = bodies(subscriber);
        let missing = wanted.clone().filter(|number| !seen.contains(number));
        let missing: Vec<u32> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("{missing:?}"))
    })
    .await;
}

fn bodies(subscriber: &Subscriber) -> BTreeSet<u32> {
    let all = subscriber.deliveries().into_iter();
    let text = all.filter_map(|one| std::str::from_utf8(&one.body).ok()?.parse().ok());
    text.collect()
}

fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| number.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_a_group_and_take_over_from_each_other() {
    let Some(jars) = jars() else { return };
    let cluster = Cluster::single(&jars).await;
    let servers = cluster.servers();
    let client = Client::new(&servers);
    client.make(TOPIC, PARTITIONS).await;
    let subscriber = Subscriber::start().await;
    let object = source(&servers, &subscriber.url("/"));
    let (_first, first) = support::data_directory();
    let (_second, second) = support::data_directory();
    let (first, second) = (Heddle::up(&first).await, Heddle::up(&second).await);
    first.create("kafkasources", &object).await;
    shared_out(&[(&first, 4)]).await;
    client.write_values(TOPIC, numbers(0..100)).await;
    second.create("kafkasources", &object).await;
    shared_out(&[(&first, 2), (&second, 2)]).await;
    client.write_values(TOPIC, numbers(100..200)).await;
    come(&subscriber, 0..200).await;

    // More members in one process share what the group gives it.
    scale(&first, 3).await;
    shared_out(&[(&first, 3), (&second, 1)]).await;
    client.write_values(TOPIC, numbers(200..300)).await;
    come(&subscriber, 200..300).await;

    // The other goes on where a process was killed, once the group has noticed.
    client.write_values(TOPIC, numbers(300..400)).await;
    first.kill();
    shared_out(&[(&second, 4)]).await;
    client.write_values(TOPIC, numbers(400..500)).await;
    come(&subscriber, 300..500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_gone_are_counted_and_the_rest_comes() {
    let Some(jars) = jars() else { return };
    let cluster = Cluster::single(&jars).await;
    let servers = cluster.servers();
    let client = Client::new(&servers);
    client.make(TOPIC, 1).await;
    let subscriber = Subscriber::start().await;
    let (_directory, data) = support::data_directory();
    let heddle = Heddle::up(&data).await;
    let object = source(&servers, &subscriber.url("/"));
    heddle.create("kafkasources", &object).await;
    for number in numbers(0..50) {
        client.write_values(TOPIC, [number].into_iter()).await;
    }
    come(&subscriber, 0..50).await;
    wait::until_now("the group to be told", || {
        let (committed, _) = client.progress("the-group", TOPIC, 1);
        if committed == [Some(50)] {
            return Ok(());
        }
        Err(format!("{committed:?}"))
    })
    .await;
    scale(&heddle, 0).await;
    // One after the other, so that their offsets are their numbers.
    for number in numbers(50..100) {
        client.write_values(TOPIC, [number].into_iter()).await;
    }
    client.forget(TOPIC, 0, 70).await;
    scale(&heddle, 1).await;
    client.write_values(TOPIC, numbers(100..110)).await;
    come(&subscriber, 70..110).await;
    let seen = bodies(&subscriber);
    assert!((50..70).all(|gone| !seen.contains(&gone)), "{seen:?}");
    wait::until("what is gone to be counted", || async {
        let metrics = heddle.metrics().await;
        let mut lines = metrics.lines();
        let found = lines.any(|line| {
            let counted = line.starts_with("heddle_delivery_missing_events_total{");
            counted && line.contains("reason=\"expired\"") && line.ends_with(" 20")
        });
        let found = found.then_some(());
        found.ok_or_else(|| "no such line".to_owned())
    })
    .await;
}
