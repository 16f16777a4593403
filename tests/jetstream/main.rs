//! What NATS JetStream keeps, with the real binary and real nats-servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod brokers;
mod channels;
mod cluster;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::Heddle;

/// A Broker of the class.
fn broker(name: &str) -> Value {
    json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {"eventing.knative.dev/broker.class": "NatsJetStreamBroker"},
        },
    })
}

/// Says where NATS is, as eventing-natss wants it.
async fn point_at(heddle: &Heddle, url: &str) {
    configure(heddle, &format!("url: {url}")).await;
}

/// Says how NATS is reached.
async fn configure(heddle: &Heddle, connection: &str) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-nats", "namespace": "knative-eventing"},
        "data": {"eventing-nats": connection},
    });
    let url = format!(
        "{}/api/v1/namespaces/knative-eventing/configmaps",
        heddle.api
    );
    heddle.http.post_json(&url, &object).await.expect(201);
}
