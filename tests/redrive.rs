//! `heddle redrive`, against the binary: kept dead letters are delivered once more, also when the
//! process is killed while it does so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use hyper::Method;
use serde_json::{Value, json};
use support::api::{Event, fast_retries, trigger};
use support::{Answer, Heddle, Subscriber, heddle, wait};
use tokio::sync::Semaphore;

const EVENTS: u64 = 12;

/// A subscriber that answers with a status that the test chooses, and a Trigger for it whose dead
/// letters are kept.
async fn kept(heddle: &Heddle) -> (Arc<AtomicU16>, Arc<Semaphore>, Subscriber) {
    let status = Arc::new(AtomicU16::new(400));
    let gate = Arc::new(Semaphore::new(0));
    let (answer, held) = (Arc::clone(&status), Arc::clone(&gate));
    let subscriber = Subscriber::scripted(move |_, _| match answer.load(Ordering::Relaxed) {
        // "Accepted, but only when the test says so."
        202 => Answer::status(202).after(&held),
        204 => Answer::status(204),
        status => Answer::status(status).body("not now"),
    })
    .await;
    let spec = json!({"delivery": fast_retries(1)});
    heddle
        .create_trigger(&trigger("t", "default", &subscriber.url("/"), spec))
        .await;
    for n in 0..EVENTS {
        let name = n.to_string();
        let event = Event::new(&name, "order").data(format!("{{\"n\": {n}.0}}"));
        heddle.accepted("default", &event).await;
    }
    heddle.wait_stat("t", "dead_letters_kept", EVENTS).await;
    (status, gate, subscriber)
}

async fn redrive(heddle: &Heddle, more: &[&str]) -> Output {
    let mut arguments = vec!["redrive", "--admin", &heddle.admin, "trigger", "t"];
    arguments.extend(more);
    heddle::run(&arguments).await
}

async fn listed(heddle: &Heddle) -> Vec<Value> {
    let path = "api/v1/namespaces/default/triggers/t/dead-letters";
    let answer = heddle.http.get(&format!("{}/{path}", heddle.admin)).await;
    let text = answer.expect(200).text();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_redriven() {
    let dir = tempfile::tempdir().unwrap();
    let heddle = Heddle::up(&dir.path().join("data")).await;
    let (status, _, subscriber) = kept(&heddle).await;
    // The subscriber has another reason now.
    status.store(403, Ordering::Relaxed);
    let output = redrive(&heddle, &["--limit", "2"]).await;
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(err.contains("2 dead letters are left"), "{err}");
    assert!(err.contains("heddle redrive trigger t"), "{err}");
    let letters = listed(&heddle).await;
    assert_eq!(letters.len() as u64, EVENTS);
    let codes = letters.iter().map(|l| &l["event"]["knativeerrorcode"]);
    assert_eq!(codes.filter(|code| **code == json!(403)).count(), 2);

    status.store(204, Ordering::Relaxed);
    let before = subscriber.deliveries();
    let output = redrive(&heddle, &["--output", "json"]).await;
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["delivered"], json!(EVENTS));
    assert_eq!(report["kept"], json!(0));
    assert_eq!(report["state"], "finished");
    let redriven = subscriber.deliveries().split_off(before.len());
    let ids: BTreeSet<&str> = redriven.iter().map(|d| d.id()).collect();
    assert_eq!((redriven.len(), ids.len()), (12, 12));
    for delivery in &redriven {
        let id = delivery.id();
        assert_eq!(
            delivery.body,
            format!("{{\"n\": {id}.0}}"),
            "bytes are kept"
        );
        let added = |name: &&str| name.contains("knativeerror") || name.contains("heddledelivery");
        assert!(!delivery.headers.keys().any(|name| added(&name.as_str())));
        let first = before.iter().find(|first| first.id() == id).unwrap();
        let key = delivery.header("idempotency-key");
        assert_eq!(key, first.header("idempotency-key"));
    }
    assert_eq!(heddle.stats("t").await["dead_letters_kept"], json!(0));
    assert!(listed(&heddle).await.is_empty());
    let metrics = heddle.metrics().await;
    let taken = metrics.lines().find(|line| {
        line.starts_with("heddle_redrive_events_total") && line.contains("\"delivered\"")
    });
    assert!(taken.is_some_and(|line| line.ends_with(" 12")), "{taken:?}");
    let (out, _) = texts(&redrive(&heddle, &[]).await);
    assert_eq!(out, "trigger default/t keeps no dead letters\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_a_redrive_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let heddle = Heddle::up(&data).await;
    let (status, gate, subscriber) = kept(&heddle).await;
    status.store(202, Ordering::Relaxed);
    gate.add_permits(5);
    let before = subscriber.count();
    let url = format!(
        "{}/api/v1/namespaces/default/triggers/t/redrive",
        heddle.admin
    );
    let http = heddle.http.clone();
    let request = async { http.try_send(Method::POST, &url, &[], "").await };
    let crash = async {
        heddle.wait_stat("t", "dead_letters_kept", EVENTS - 5).await;
        heddle.kill();
    };
    let (broken, ()) = tokio::join!(request, crash);
    assert!(broken.is_err(), "the answer ended before the redrive did");
    gate.add_permits(1000);

    let heddle = Heddle::up(&data).await;
    heddle.ready("triggers", "t").await;
    let left = heddle.stats("t").await["dead_letters_kept"]
        .as_u64()
        .unwrap();
    assert!((EVENTS - 5..=EVENTS).contains(&left), "{left} are left");
    let output = wait::until("the subscriber to be known", || async {
        let output = redrive(&heddle, &[]).await;
        let (out, err) = texts(&output);
        output.status.success().then_some(output).ok_or(out + &err)
    })
    .await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(heddle.stats("t").await["dead_letters_kept"], json!(0));
    let taken: BTreeSet<String> = subscriber.ids().split_off(before).into_iter().collect();
    assert_eq!(taken.len() as u64, EVENTS, "{taken:?}");
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
