//! Brokers of the class NatsJetStreamBroker.

use std::collections::BTreeSet;

use super::support::api::{Event, condition, trigger};
use super::support::nats::{Server, program};
use super::support::{Heddle, Subscriber, data_directory, wait};
use super::{broker, point_at};
use serde_json::json;

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
