#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::latency::Latencies;
use super::message::percent_encode;
use crate::cli::Failure;
use crate::cli::show_event::Shown;
use crate::cli::tests::Harness;

type Answer = dyn Fn(usize) -> Response + Send + Sync;

/// A broker that answers as told, and remembers what it got.
#[derive(Clone)]
struct Broker {
    answer: Arc<Answer>,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

struct Running {
    broker: Broker,
    url: String,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn handle(State(broker): State<Broker>, headers: HeaderMap, body: Bytes) -> Response {
    let number = {
        let mut got = broker.got.lock();
        got.push((headers, body));
        got.len()
    };
    (broker.answer)(number)
}

impl Running {
    async fn start(answer: impl Fn(usize) -> Response + Send + Sync + 'static) -> Self {
        let broker = Broker {
            answer: Arc::new(answer),
            got: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/default/default", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .route("/default/default", post(handle))
            .with_state(broker.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        TaskTracker::new().spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        });
        Self { broker, url, stop }
    }

    async fn send(&self, arguments: &[&str], stdin: &str) -> (Result<(), Failure>, String) {
        let mut line = vec!["send", "--url", &self.url];
        line.extend(arguments);
        let (result, harness) = Harness::run(&line, stdin).await;
        (result, harness.err.text() + &harness.out.text())
    }

    fn events(&self) -> Vec<Shown> {
        let got = self.broker.got.lock();
        got.iter()
            .flat_map(|(headers, body)| Shown::from_http(headers, body).unwrap())
            .collect()
    }
}

fn accepted(_: usize) -> Response {
    StatusCode::ACCEPTED.into_response()
}

#[tokio::test]
async fn an_event_is_made_from_flags() {
    let running = Running::start(accepted).await;
    let flags = [
        "--type",
        "t",
        "--source",
        "/s",
        "--id",
        "a",
        "--subject",
        "caf\u{e9} 100%",
        "--ext",
        "region=eu",
        "--data",
        "{\"b\":1.10,\"a\":2}",
    ];
    let (result, text) = running.send(&flags, "ignored").await;
    assert_eq!(result, Ok(()), "{text}");
    assert!(text.starts_with("accepted 1 of 1 in "), "{text}");
    let (headers, body) = running.broker.got.lock()[0].clone();
    assert_eq!(headers["ce-subject"], "caf%C3%A9%20100%25");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body, "{\"b\":1.10,\"a\":2}");
    let event = running.events().remove(0);
    for (name, text) in [
        ("id", "a"),
        ("type", "t"),
        ("source", "/s"),
        ("region", "eu"),
        ("specversion", "1.0"),
        ("time", "2026-01-31T12:00:00Z"),
    ] {
        assert_eq!(event.attribute(name), Some(text), "{name}");
    }
}

#[tokio::test]
async fn data_comes_from_the_standard_input_and_from_files() {
    let running = Running::start(accepted).await;
    running.send(&[], "just text").await.0.unwrap();
    running
        .send(&["--format", "structured"], "[1]")
        .await
        .0
        .unwrap();
    running.send(&[], "").await.0.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.xml");
    std::fs::write(&file, "<a/>").unwrap();
    running
        .send(&["--data-file", file.to_str().unwrap()], "")
        .await
        .0
        .unwrap();
    let got = running.broker.got.lock().clone();
    assert_eq!(got[0].0["content-type"], "text/plain; charset=utf-8");
    assert_eq!(got[0].1, "just text");
    assert_eq!(
        got[1].0["content-type"],
        "application/cloudevents+json; charset=utf-8"
    );
    assert!(
        std::str::from_utf8(&got[1].1)
            .unwrap()
            .ends_with("\"data\":[1]}")
    );
    assert!(!got[2].0.contains_key("content-type"));
    assert_eq!(got[3].0["content-type"], "application/xml");
}

#[tokio::test]
async fn whole_events_come_from_files() {
    let running = Running::start(accepted).await;
    let events = "specversion: \"1.0\"\nid: a\nsource: /s\ntype: t\ndata: {x: 1.0}\n---\n\
                  specversion: \"0.3\"\nid: b\nsource: /s\ntype: t\n";
    running
        .send(&["-f", "-", "--type", "other"], events)
        .await
        .0
        .unwrap();
    let sent = running.events();
    let ids: Vec<_> = sent
        .iter()
        .map(|event| event.attribute("id").unwrap())
        .collect();
    assert_eq!(ids, ["a", "b"]);
    assert!(
        sent.iter()
            .all(|event| event.attribute("type") == Some("other"))
    );
    assert_eq!(running.broker.got.lock()[0].1, "{\"x\":1.0}");
    let broker = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let (result, _) = running.send(&["-f", "-"], broker).await;
    assert_eq!(result.unwrap_err().exit_code(), 64);
}

#[tokio::test]
async fn many_events_have_ids_of_their_own() {
    let running = Running::start(accepted).await;
    let flags = [
        "--count",
        "50",
        "--connections",
        "4",
        "--id",
        "run",
        "-o",
        "json",
    ];
    let (result, text) = running.send(&flags, "").await;
    assert_eq!(result, Ok(()));
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["accepted"], 50);
    let ids: std::collections::BTreeSet<String> = running
        .events()
        .iter()
        .map(|event| event.attribute("id").unwrap().to_owned())
        .collect();
    let expected = (1..=50).map(|n| format!("run-{n}")).collect();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let running = Running::start(accepted).await;
    let begun = tokio::time::Instant::now();
    running
        .send(&["--count", "5", "--rate", "50"], "")
        .await
        .0
        .unwrap();
    // Four intervals of 20 ms lie between five events.
    assert!(begun.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_broker_that_asks_to_wait_gets_the_same_event_again() {
    let running = Running::start(|number| match number {
        1 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
        2 => (
            StatusCode::SERVICE_UNAVAILABLE,
            [("retry-after", "Fri, 30 Jan 2026 12:00:00 GMT")],
        )
            .into_response(),
        _ => accepted(number),
    })
    .await;
    let (result, text) = running.send(&["--count", "2"], "").await;
    assert_eq!(result, Ok(()), "{text}");
    assert!(text.contains("accepted 2 of 2"), "{text}");
    assert!(text.contains("waited 2 times"), "{text}");
    let events = running.events();
    let ids: Vec<_> = events.iter().map(|event| event.attribute("id")).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3]);
}

#[tokio::test]
async fn refusals_are_counted_by_what_was_said() {
    let running = Running::start(|number| match number {
        1 => accepted(number),
        2 => (
            StatusCode::BAD_REQUEST,
            "{\"title\":\"Bad event\",\"detail\":\"no id\"}",
        )
            .into_response(),
        3 => (StatusCode::SERVICE_UNAVAILABLE, "full").into_response(),
        4 => (
            StatusCode::TOO_MANY_REQUESTS,
            [("retry-after", "86400")],
            "later",
        )
            .into_response(),
        _ => (
            StatusCode::BAD_REQUEST,
            "{\"title\":\"Bad event\",\"detail\":\"no id\"}",
        )
            .into_response(),
    })
    .await;
    let (result, text) = running.send(&["--count", "5"], "").await;
    assert_eq!(result, Err(Failure::Reported { code: 1 }));
    assert!(text.contains("accepted 1 of 5, refused 4"), "{text}");
    assert!(
        text.contains("2 times: 400 Bad Request: Bad event: no id"),
        "{text}"
    );
    assert!(
        text.contains("1 times: 503 Service Unavailable: full"),
        "{text}"
    );
    assert!(
        text.contains("1 times: 429 Too Many Requests: later"),
        "{text}"
    );
}

#[tokio::test]
async fn a_broker_that_never_has_room_is_given_up() {
    let running = Running::start(|_| {
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response()
    })
    .await;
    let (result, text) = running.send(&[], "").await;
    assert_eq!(result, Err(Failure::Reported { code: 1 }));
    assert!(
        text.contains("still asked to wait after 10 attempts"),
        "{text}"
    );
    assert_eq!(running.broker.got.lock().len(), 10);
}

#[tokio::test]
async fn nobody_there_ends_at_once() {
    let line = [
        "send",
        "--url",
        "http://127.0.0.1:1/x/y",
        "--count",
        "1000",
        "--data",
        "x",
    ];
    let (result, _) = Harness::run(&line, "").await;
    assert_eq!(result.unwrap_err().exit_code(), 69);
}

#[test]
fn quantiles_are_right_within_a_few_per_cent() {
    let mut latencies = Latencies::default();
    assert_eq!(latencies.quantile(0.5), None);
    for micros in 1..=100_000 {
        latencies.record(Duration::from_micros(micros));
    }
    for (share, exact) in [
        (0.5, 50_000.0),
        (0.99, 99_000.0),
        (0.0, 1.0),
        (1.0, 100_000.0),
    ] {
        let got = latencies.quantile(share).unwrap().as_secs_f64() * 1e6;
        assert!((got - exact).abs() / exact < 0.04, "{share}: {got}");
    }
    let mut other = Latencies::default();
    other.record(Duration::MAX);
    other.merge(&latencies);
    assert!(other.quantile(1.0).unwrap() > Duration::from_secs(86400));
}

#[test]
fn header_values_are_encoded_as_the_binding_says() {
    assert_eq!(
        percent_encode("a b\"c%d\u{20ac}\n~!"),
        "a%20b%22c%25d%E2%82%AC%0A~!"
    );
}
