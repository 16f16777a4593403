//! A Broker's events go from one store to another while it goes on, with the real binary, a real Apache Kafka
//! and real nats-servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;
mod killed;
mod steps;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::api::{Event, condition};
use support::kafka::{Cluster, jars};
use support::nats::{Server, program};
use support::{Heddle, data_directory, wait};
use tempfile::TempDir;

/// From each store to each other one.
const MOVES: [&str; 6] = [
    "kafka",
    "jetstream",
    "kafka",
    "segment",
    "jetstream",
    "segment",
];

/// A process that keeps the events of the Broker `b` on its disk, and both servers that they may go to.
struct Stage {
    heddle: Heddle,
    cluster: Cluster,
    data: PathBuf,
    _server: Server,
    _directory: TempDir,
}

impl Stage {
    /// Starts all of it, where the environment names the servers' programs. A topic gets so many
    /// partitions.
    async fn set(partitions: usize) -> Option<Self> {
        let (jars, program) = (jars()?, program()?);
        let cluster = Cluster::single(&jars).await;
        let server = Server::start(&program);
        let (directory, data) = data_directory();
        let heddle = Heddle::up(&data).await;
        point_at_nats(&heddle, &server).await;
        point_at_kafka(&heddle, &cluster, partitions).await;
        heddle.create_broker("b").await;
        Some(Self {
            heddle,
            cluster,
            data,
            _server: server,
            _directory: directory,
        })
    }
}

/// Makes a ConfigMap.
async fn configure(heddle: &Heddle, namespace: &str, name: &str, data: Value) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    });
    let url = format!("{}/api/v1/namespaces/{namespace}/configmaps", heddle.api);
    heddle.http.post_json(&url, &object).await.expect(201);
}

/// Says where NATS is.
async fn point_at_nats(heddle: &Heddle, server: &Server) {
    let data = json!({"eventing-nats": format!("url: {}", server.url())});
    configure(heddle, "knative-eventing", "config-nats", data).await;
}

/// Says where Kafka is.
async fn point_at_kafka(heddle: &Heddle, cluster: &Cluster, partitions: usize) {
    let data = kafka(cluster, partitions);
    configure(heddle, "knative-eventing", "kafka-broker-config", data).await;
}

fn kafka(cluster: &Cluster, partitions: usize) -> Value {
    json!({
        "bootstrap.servers": cluster.servers(),
        "default.topic.partitions": partitions.to_string(),
        "default.topic.replication.factor": "1",
    })
}

/// Posts an event until it is accepted: a log that is being moved says 503 for a moment.
async fn accepted(heddle: &Heddle, name: &str, id: &str) {
    wait::until("an event to be accepted", || async {
        let answer = heddle.post(name, &Event::new(id, "t")).await;
        match answer.status.as_u16() {
            202 => Ok(()),
            503 => Err(answer.text()),
            other => panic!("{other}: {}", answer.text()),
        }
    })
    .await;
}

/// The Broker, as the API has it.
async fn broker(heddle: &Heddle, name: &str) -> Value {
    let url = format!("{}/{name}", heddle.resources("brokers"));
    heddle.http.get(&url).await.expect(200).json()
}

/// The stores of the Broker's parts; one of which nobody asked anything names none.
fn stores(object: &Value) -> Vec<String> {
    let parts = &object["status"]["annotations"]["log.heddle.dev/parts"];
    let parts: Vec<Value> = parts
        .as_str()
        .map_or_else(Vec::new, |text| serde_json::from_str(text).unwrap());
    let store = |part: &Value| part["store"].as_str().unwrap().to_owned();
    parts.iter().map(store).collect()
}

/// Says where the Broker's events are to be kept.
async fn keep_in(heddle: &Heddle, name: &str, store: &str) {
    let url = format!("{}/{name}", heddle.resources("brokers"));
    let patch = json!({"metadata": {"annotations": {"log.heddle.dev/store": store}}});
    let merge = [("content-type", "application/merge-patch+json")];
    let method = hyper::Method::PATCH;
    let answer = heddle.http.send(method, &url, &merge, patch.to_string());
    answer.await.expect(200);
}

/// Waits until the Broker is as it should be.
async fn until(heddle: &Heddle, name: &str, what: &str, is: impl Fn(&Value) -> bool) {
    wait::until(what, || async {
        let object = broker(heddle, name).await;
        if is(&object) {
            Ok(())
        } else {
            Err(object.to_string())
        }
    })
    .await;
}

/// All events are in one store, and the older one is gone.
async fn until_moved(heddle: &Heddle, name: &str, store: &str) {
    let moved = |object: &Value| {
        condition(object, "LogMoved")["status"] == "True" && stores(object) == [store]
    };
    let what = format!("{name} to be moved to {store}");
    until(heddle, name, &what, moved).await;
}
