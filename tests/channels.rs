//! Channels and Subscriptions, and Brokers in memory, over the real binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::PathBuf;

use hyper::Method;
use serde_json::{Value, json};
use support::api::{Event, condition, trigger};
use support::{Answer, Heddle, Subscriber, data_directory, wait};
use tempfile::TempDir;

async fn up() -> (TempDir, PathBuf, Heddle) {
    let (directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    (directory, data, heddle)
}

fn channel(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": "messaging.knative.dev/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
    })
}

fn subscription(name: &str, kind: &str, of: &str, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "messaging.knative.dev/v1",
        "kind": "Subscription",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"channel": {"apiVersion": "messaging.knative.dev/v1", "kind": kind, "name": of}},
    });
    if let Value::Object(fields) = spec {
        for (field, value) in fields {
            object["spec"][field] = value;
        }
    }
    object
}

const EVENT: [(&str, &str); 5] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "1"),
    ("ce-type", "order.placed"),
    ("ce-source", "/shop"),
    ("content-type", "application/json"),
];

#[tokio::test]
async fn a_channel_hands_every_subscription_every_event() {
    let (_directory, _data, heddle) = up().await;
    let plural = "inmemorychannels";
    heddle
        .create(plural, &channel("InMemoryChannel", "orders"))
        .await;
    let object = heddle.ready(plural, "orders").await;

    let answering = Subscriber::scripted(|_, _| {
        Answer::status(200)
            .header("ce-specversion", "1.0")
            .header("ce-id", "answer")
            .header("ce-type", "order.checked")
            .header("ce-source", "/checker")
            .body("checked")
    })
    .await;
    let replied = Subscriber::start().await;
    let other = Subscriber::start().await;
    let with_reply = json!({
        "subscriber": {"uri": answering.url("/")},
        "reply": {"uri": replied.url("/replies")},
    });
    let without = json!({"subscriber": {"uri": other.url("/")}});
    for (name, spec) in [("with-reply", with_reply), ("without", without)] {
        let object = subscription(name, "InMemoryChannel", "orders", spec);
        heddle.create("subscriptions", &object).await;
        heddle.ready("subscriptions", name).await;
    }

    // By its address, and by its host at the ingress.
    let address = object["status"]["address"]["url"].as_str().unwrap();
    let host = "orders-kn-channel.default.svc.cluster.local";
    let by_host = [&EVENT[..], &[("host", host)]].concat();
    let http = &heddle.http;
    let root = format!("{}/", heddle.ingress);
    http.send(Method::POST, address, &EVENT, "{}")
        .await
        .expect(202);
    http.send(Method::POST, &root, &by_host, "{}")
        .await
        .expect(202);

    assert_eq!(answering.wait_for(2).await.len(), 2);
    assert_eq!(other.wait_for(2).await.len(), 2);
    let reply = &replied.wait_for(2).await[0];
    assert_eq!(reply.path, "/replies");
    assert_eq!(reply.body, "checked");
    assert_eq!(reply.header("ce-type"), "order.checked");
    // A channel adds nothing of a broker's.
    let delivery = &other.deliveries()[0];
    assert_eq!(delivery.header("ce-knativearrivaltime"), "");
    assert_eq!(delivery.header("kn-namespace"), "default");
}

#[tokio::test]
async fn a_channel_is_backed_by_another() {
    let (_directory, _data, heddle) = up().await;
    heddle
        .create("channels", &channel("Channel", "parcels"))
        .await;
    let object = heddle.ready("channels", "parcels").await;
    assert_eq!(
        object["status"]["channel"]["kind"], "InMemoryChannel",
        "{object}"
    );
    heddle.ready("inmemorychannels", "parcels").await;

    let subscriber = Subscriber::start().await;
    let spec = json!({"subscriber": {"uri": subscriber.url("/")}});
    let object = subscription("all", "Channel", "parcels", spec);
    heddle.create("subscriptions", &object).await;
    heddle.ready("subscriptions", "all").await;
    let address = format!("{}/default/parcels", heddle.ingress);
    heddle
        .http
        .send(Method::POST, &address, &EVENT, "{}")
        .await
        .expect(202);
    subscriber.wait_for_id("1").await;
}

#[tokio::test]
async fn of_two_channels_with_one_name_the_newer_says_why_it_has_no_address() {
    let (_directory, _data, heddle) = up().await;
    let (first, second) = ("inmemorychannels", "natsjetstreamchannels");
    heddle
        .create(first, &channel("InMemoryChannel", "one"))
        .await;
    heddle.ready(first, "one").await;
    let newer = json!({
        "apiVersion": "messaging.knative.dev/v1alpha1", "kind": "NatsJetStreamChannel",
        "metadata": {"name": "one", "namespace": "default"},
    });
    heddle.create(second, &newer).await;
    let url = format!("{}/one", heddle.resources(second));
    let reasons = |taken: bool| {
        let (heddle, url) = (&heddle, &url);
        wait::until("the reasons of the newer channel", move || async move {
            let object = heddle.http.get(url).await.json();
            let all = ["DispatcherReady", "Addressable"]
                .map(|kind| condition(&object, kind)["reason"].clone());
            let some = all
                .iter()
                .all(|reason| reason.is_string() && (reason == "AddressTaken") == taken);
            if some {
                Ok(())
            } else {
                Err(object.to_string())
            }
        })
    };
    reasons(true).await;
    heddle.ready(first, "one").await;
    // With the name it gets a reason of its own: there is no server.
    heddle.delete(first, "one").await;
    reasons(false).await;
}

#[tokio::test]
async fn a_broker_in_memory_delivers_and_forgets() {
    let (_directory, data, heddle) = up().await;
    let template = "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\n";
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "in-memory", "namespace": "default"},
        "data": {"channel-template-spec": template},
    });
    heddle.create("configmaps", &config).await;
    let broker = json!({
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "fleeting", "namespace": "default"},
        "spec": {"config": {
            "apiVersion": "v1", "kind": "ConfigMap", "name": "in-memory", "namespace": "default",
        }},
    });
    heddle.create("brokers", &broker).await;
    heddle.ready("brokers", "fleeting").await;
    let subscriber = Subscriber::start().await;
    let object = trigger("all", "fleeting", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&object).await;
    for id in ["1", "2"] {
        heddle.accepted("fleeting", &Event::new(id, "t")).await;
    }
    subscriber.wait_for(2).await;
    assert_eq!(heddle.events("fleeting", 10).await.len(), 2);
    heddle.kill();

    // The events are gone; the Broker and its Trigger are not, and go on.
    let heddle = Heddle::up(&data).await;
    heddle.ready("triggers", "all").await;
    heddle.accepted("fleeting", &Event::new("3", "t")).await;
    subscriber.wait_for_id("3").await;
}
