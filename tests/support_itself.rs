//! The support of the black-box tests does what the tests believe: a subscriber that loses a
//! delivery, or a wait that ends early, would hide what they look for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use support::kafka::{Cluster, Protection};
use support::{Answer, Http, Subscriber, wait};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_subscriber_records_bytes_and_follows_its_script() {
    let subscriber = Subscriber::scripted(|delivery, count| {
        let status = if count == 0 { 503 } else { 200 };
        Answer::status(status)
            .header("x-echo", delivery.header("x-said"))
            .body(delivery.body.clone())
    })
    .await;
    let http = Http::new();
    let url = subscriber.url("/a/b");
    let body: Vec<u8> = (0..=255).collect();
    let said = [("x-said", "hello"), ("ce-id", "7")];
    let first = http
        .send(Method::POST, &url, &[("ce-id", "6")], body.clone())
        .await;
    let second = http.send(Method::PUT, &url, &said, body.clone()).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (503, 200));
    assert_eq!(second.body, body);
    assert_eq!(second.headers["x-echo"], "hello");
    assert_eq!(subscriber.ids(), ["6", "7"]);
    let deliveries = subscriber.wait_for(2).await;
    assert_eq!(deliveries[1].method, "PUT");
    assert_eq!(deliveries[1].path, "/a/b");
    assert_eq!(deliveries[0].body, body);
    assert_eq!(subscriber.wait_for_id("7").await.method, "PUT");
}

#[tokio::test]
async fn an_answer_waits_for_its_permit() {
    let gate = Arc::new(Semaphore::new(0));
    let subscriber = {
        let gate = Arc::clone(&gate);
        Subscriber::scripted(move |_, _| Answer::status(202).after(&gate)).await
    };
    let http = Http::new();
    let url = subscriber.url("/");
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (http, url) = (http.clone(), url.clone());
        waiting.spawn(async move { http.get(&url).await.status });
    }
    // All three were recorded, and none was answered.
    subscriber.wait_for(3).await;
    assert!(waiting.try_join_next().is_none());
    gate.add_permits(2);
    for _ in 0..2 {
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), 202);
    }
    assert!(waiting.try_join_next().is_none());
    gate.add_permits(1);
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), 202);
}

#[tokio::test]
async fn a_dropped_subscriber_refuses_connections() {
    let subscriber = Subscriber::start().await;
    let url = subscriber.url("/");
    let http = Http::new();
    assert_eq!(http.get(&url).await.status, 200);
    drop(subscriber);
    wait::until("the port to close", || async {
        match Http::new().try_send(Method::GET, &url, &[], "").await {
            Ok(answer) => Err(answer.status.to_string()),
            Err(_) => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn waiting_ends_with_what_was_found() {
    let mut looks = 0;
    let found = wait::until_now("the third look", || {
        looks += 1;
        if looks == 3 {
            Ok(looks)
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
    assert_eq!(found, 3);
}

#[tokio::test]
#[should_panic(expected = "waited 20ms for a miracle; last seen: nothing")]
async fn waiting_ends_with_its_deadline() {
    let probe = || std::future::ready(Err::<(), _>("nothing".to_owned()));
    wait::until_within(Duration::from_millis(20), "a miracle", probe).await;
}

#[tokio::test]
async fn a_server_of_kafka_comes_back_on_its_ports() {
    let Some(jars) = support::kafka::jars() else {
        return;
    };
    let mut cluster = Cluster::start(&jars, 1, Protection::SaslTls).await;
    let (plain, protected) = (cluster.servers(), cluster.protected());
    for address in [&plain, &protected] {
        TcpStream::connect(address).await.unwrap();
    }
    cluster.kill(0);
    TcpStream::connect(&plain).await.unwrap_err();
    cluster.restart(0).await;
    assert_eq!(
        (cluster.servers(), cluster.protected()),
        (plain, protected.clone())
    );
    TcpStream::connect(&protected).await.unwrap();
}
