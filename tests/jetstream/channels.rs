//! NatsJetStreamChannels, alone and behind Channels and Brokers.

use serde_json::{Value, json};

use super::support::api::{Event, condition};
use super::support::nats::{Server, program};
use super::support::{Heddle, Subscriber, data_directory, wait};
use super::{broker, point_at};

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
