//! Brokers whose events NATS JetStream keeps, with the real binary and a real nats-server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::api::{Event, condition, trigger};
use support::nats::{Server, program};
use support::{Heddle, Subscriber, data_directory, wait};

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
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-nats", "namespace": "knative-eventing"},
        "data": {"eventing-nats": format!("url: {url}")},
    });
    let url = format!(
        "{}/api/v1/namespaces/knative-eventing/configmaps",
        heddle.api
    );
    heddle.http.post_json(&url, &object).await.expect(201);
}

#[tokio::test]
async fn a_broker_without_servers_says_what_is_missing() {
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    heddle.create("brokers", &broker("lost")).await;
    let url = format!("{}/lost", heddle.resources("brokers"));
    wait::until("the Broker to say what it needs", || async {
        let object = heddle.http.get(&url).await.expect(200).json();
        let message = condition(&object, "Ready")["message"].to_string();
        let named = message.contains("knative-eventing/config-nats");
        if named {
            Ok(())
        } else {
            Err(object.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_outages_of_the_server_and_of_the_broker() {
    let Some(program) = program() else { return };
    let mut server = Server::start(&program);
    let (_directory, data) = data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    point_at(&heddle, &server.url()).await;
    heddle.create("brokers", &broker("nats")).await;
    let object = heddle.ready("brokers", "nats").await;
    assert_eq!(
        condition(&object, "LogDurability")["reason"],
        "NotReplicated"
    );
    let wanted = trigger("all", "nats", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&wanted).await;
    heddle.accepted("nats", &Event::new("before", "t")).await;
    subscriber.wait_for(1).await;

    server.kill();
    wait::until("the outage to be seen", || async {
        let answer = heddle.post("nats", &Event::new("refused", "t")).await;
        match (
            answer.status.as_u16(),
            answer.headers.contains_key("retry-after"),
        ) {
            (503, true) => Ok(()),
            _ => Err(format!("{} {}", answer.status, answer.text())),
        }
    })
    .await;
    // Other brokers do not notice.
    heddle.accepted("default", &Event::new("other", "t")).await;
    // A start without the server: producers hear 503, not that there is no such Broker.
    heddle.kill();
    let heddle = Heddle::up(&data).await;
    wait::until("the Broker to be known", || async {
        let answer = heddle.post("nats", &Event::new("refused", "t")).await;
        if answer.status == 503 {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;

    server.restart();
    heddle.ready("brokers", "nats").await;
    for n in 0..20 {
        let id = format!("after-{n}");
        heddle.accepted("nats", &Event::new(&id, "t")).await;
    }
    heddle.wait_stat("all", "backlog", 0).await;
    let seen: BTreeSet<String> = subscriber.ids().into_iter().collect();
    for n in 0..20 {
        assert!(seen.contains(&format!("after-{n}")), "{seen:?}");
    }
    assert!(seen.contains("before"));
}

fn channel(kind: &str, api: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("messaging.knative.dev/{api}"),
        "kind": kind,
        "metadata": {"name": "orders", "namespace": "default"},
        "spec": spec,
    })
}

fn subscription(name: &str, kind: &str, api: &str, to: &str) -> Value {
    json!({
        "apiVersion": "messaging.knative.dev/v1",
        "kind": "Subscription",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "channel": {
                "apiVersion": format!("messaging.knative.dev/{api}"),
                "kind": kind,
                "name": "orders",
            },
            "subscriber": {"uri": to},
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_in_a_stream_keeps_its_events_for_subscriptions_to_come() {
    let Some(program) = program() else { return };
    let server = Server::start(&program);
    let (_directory, data) = data_directory();
    let (first, late) = (Subscriber::start().await, Subscriber::start().await);
    let heddle = Heddle::up(&data).await;
    point_at(&heddle, &server.url()).await;
    let spec = json!({
        "stream": {
            "overrideName": "ORDERS",
            "config": {"retention": "Interest", "maxMsgs": 1000, "additionalSubjects": ["orders.>"]},
        },
        "consumerConfigTemplate": {"deliverPolicy": "All", "rateLimitBPS": 1},
    });
    let (kind, api) = ("NatsJetStreamChannel", "v1alpha1");
    let plural = "natsjetstreamchannels";
    heddle.create(plural, &channel(kind, api, &spec)).await;
    let object = heddle.ready(plural, "orders").await;
    let said = condition(&object, "SettingsHonoured")["message"].to_string();
    assert!(
        said.contains("retention Interest") && said.contains("rateLimitBPS"),
        "{said}"
    );
    assert_eq!(
        condition(&object, "LogDurability")["reason"],
        "NotReplicated"
    );
    assert_eq!(server.streams().await, ["ORDERS"]);

    let wanted = subscription("first", kind, api, &first.url("/"));
    heddle.create("subscriptions", &wanted).await;
    heddle.ready("subscriptions", "first").await;
    let address = object["status"]["address"]["url"].as_str().unwrap();
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-type", "t"),
        ("ce-source", "/s"),
    ];
    for id in ["1", "2"] {
        let headers = [&headers[..], &[("ce-id", id)]].concat();
        let post = hyper::Method::POST;
        heddle
            .http
            .send(post, address, &headers, "data")
            .await
            .expect(202);
    }
    // Somebody else's message, on a subject that the channel takes too.
    let client = async_nats::connect(server.url()).await.unwrap();
    let event = json!({"specversion": "1.0", "id": "3", "type": "t", "source": "/other"});
    let mut structured = async_nats::HeaderMap::new();
    structured.insert("content-type", "application/cloudevents+json");
    let body = event.to_string().into();
    client
        .publish_with_headers("orders.eu", structured, body)
        .await
        .unwrap();
    client.flush().await.unwrap();
    first.wait_for(3).await;
    // By the channel's template, a new Subscription gets everything that is kept.
    let wanted = subscription("late", kind, api, &late.url("/"));
    heddle.create("subscriptions", &wanted).await;
    late.wait_for(3).await;

    // What the stream is made like can be changed.
    let url = format!("{}/orders", heddle.resources(plural));
    let patch = json!({"spec": {"stream": {"config": {"maxMsgs": 500}}}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    let patching = hyper::Method::PATCH;
    heddle
        .http
        .send(patching, &url, &merge, patch)
        .await
        .expect(200);
    let context = async_nats::jetstream::new(client);
    wait::until("the stream to be changed", || async {
        let stream = context.get_stream("ORDERS").await.unwrap();
        match stream.cached_info().config.max_messages {
            500 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let delete = hyper::Method::DELETE;
    heddle.http.send(delete, &url, &[], "").await.expect(200);
    wait::until("the stream to be deleted", || async {
        let streams = server.streams().await;
        if streams.is_empty() {
            Ok(())
        } else {
            Err(format!("{streams:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_stands_behind_channels_and_brokers_by_their_templates() {
    let Some(program) = program() else { return };
    let server = Server::start(&program);
    let (_directory, data) = data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    point_at(&heddle, &server.url()).await;
    let template = json!({"channelTemplate": {
        "apiVersion": "messaging.knative.dev/v1alpha1",
        "kind": "NatsJetStreamChannel",
        "spec": {"stream": {"config": {"storage": "Memory"}}},
    }});
    heddle
        .create("channels", &channel("Channel", "v1", &template))
        .await;
    let object = heddle.ready("channels", "orders").await;
    assert_eq!(object["status"]["channel"]["kind"], "NatsJetStreamChannel");
    let wanted = subscription("all", "Channel", "v1", &subscriber.url("/"));
    heddle.create("subscriptions", &wanted).await;
    heddle.ready("subscriptions", "all").await;
    heddle.accepted("orders", &Event::new("1", "t")).await;
    subscriber.wait_for_id("1").await;

    let text = "apiVersion: messaging.knative.dev/v1alpha1\nkind: NatsJetStreamChannel\n\
        spec: {stream: {config: {storage: Memory}}}\n";
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "streams", "namespace": "default"},
        "data": {"channel-template-spec": text},
    });
    heddle.create("configmaps", &config).await;
    let mut wanted = broker("templated");
    wanted["metadata"]["annotations"] = json!({});
    wanted["spec"] = json!({"config": {
        "apiVersion": "v1", "kind": "ConfigMap", "name": "streams", "namespace": "default",
    }});
    heddle.create("brokers", &wanted).await;
    let object = heddle.ready("brokers", "templated").await;
    let doubt = condition(&object, "LogDurability")["message"].to_string();
    assert!(doubt.contains("memory"), "{doubt}");
    assert_eq!(server.streams().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_broker_leaves_no_stream() {
    let Some(program) = program() else { return };
    let server = Server::start(&program);
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    point_at(&heddle, &server.url()).await;
    heddle.create("brokers", &broker("nats")).await;
    heddle.ready("brokers", "nats").await;
    heddle.accepted("nats", &Event::new("1", "t")).await;
    assert_eq!(server.streams().await.len(), 1);
    let url = format!("{}/nats", heddle.resources("brokers"));
    let delete = hyper::Method::DELETE;
    heddle.http.send(delete, &url, &[], "").await.expect(200);
    wait::until("the stream to be deleted", || async {
        let streams = server.streams().await;
        if streams.is_empty() {
            Ok(())
        } else {
            Err(format!("{streams:?}"))
        }
    })
    .await;
}
