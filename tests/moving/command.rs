//! `heddle migrate`, in all directions, under load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::support::api::{Event, trigger};
use super::support::heddle::run;
use super::support::load::Load;
use super::support::{Answer, Delivery, Heddle, Subscriber, data_directory, report};
use super::{MOVES, Stage, accepted, broker, configure, kafka, stores};

/// Runs the command: whether it succeeded, and what it wrote to either stream.
async fn migrate(heddle: &Heddle, arguments: &[&str]) -> (bool, String, String) {
    let mut line = vec!["--api", &heddle.api, "--admin", &heddle.admin, "migrate"];
    line.extend(arguments);
    let output = run(&line).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output.status.success(), out, err)
}

/// Moves the Broker `b`, and waits until it is. What is told last.
async fn moved(heddle: &Heddle, arguments: &[&str]) -> Value {
    let mut line = vec!["broker", "default/b", "--wait", "-o", "json"];
    line.extend(arguments);
    let (done, out, err) = migrate(heddle, &line).await;
    assert!(done, "{out}{err}");
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(last["state"], "Moved", "{out}");
    last
}

/// That each producer's events came in the order in which they were accepted, repetitions aside.
fn in_order(subscriber: &Subscriber, producers: usize) {
    let mut last = vec![None; producers];
    for id in subscriber.ids() {
        let (producer, n) = id.split_once('-').unwrap();
        let last = &mut last[producer.parse::<usize>().unwrap()];
        let n: u64 = n.parse().unwrap();
        let newest = last.is_none_or(|last| n >= last);
        // What was under way at a move comes again, before anything that is later.
        assert!(newest, "{id} came after {last:?}");
        *last = Some(n);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_moves_in_all_directions_while_events_come_in() {
    let Some(stage) = Stage::set(1).await else {
        return;
    };
    let heddle = &stage.heddle;
    configure(heddle, "default", "theirs", kafka(&stage.cluster, 3)).await;
    let (quick, ordered) = (Subscriber::start().await, Subscriber::start().await);
    let all = trigger("quick", "b", &quick.url("/"), json!({}));
    heddle.create_trigger(&all).await;
    let annotations = json!({"kafka.eventing.knative.dev/delivery.order": "ordered"});
    let spec = json!({"annotations": annotations});
    let in_turn = trigger("ordered", "b", &ordered.url("/"), spec);
    heddle.create_trigger(&in_turn).await;
    let load = Load::on(heddle, "b", 3);
    for store in MOVES {
        load.acknowledged(30).await;
        let last = moved(heddle, &["--to", store]).await;
        assert_eq!(last["stores"], json!([store]));
        assert_eq!(last["triggers"].as_array().unwrap().len(), 2, "{last}");
    }
    // To where it is, it need not go.
    moved(heddle, &["--to", "segment"]).await;
    load.acknowledged(30).await;
    let outcome = load.end().await;
    let (quick_again, _) = outcome.reaches(&quick).await;
    let (ordered_again, _) = outcome.reaches(&ordered).await;
    in_order(&ordered, 3);
    report::line(&format!(
        "{} acknowledged over 6 moves, 0 lost, {quick_again} and {ordered_again} delivered again, {} refused",
        outcome.acknowledged.len(),
        outcome.refused,
    ));
    // Twice in a move its readers change over; one delivery at a time may be under way then.
    assert!(ordered_again <= 12, "{ordered_again}");
    // The same to a cluster that a ConfigMap of one's own names.
    let last = moved(heddle, &["--to", "kafka", "--config", "theirs"]).await;
    let parts = &broker(heddle, "b").await["status"]["annotations"]["log.heddle.dev/parts"];
    let parts: Value = serde_json::from_str(parts.as_str().unwrap()).unwrap();
    assert_eq!(parts[0]["config"], "default/theirs", "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_and_its_retries_come_along_over_several_stores() {
    let Some(stage) = Stage::set(3).await else {
        return;
    };
    let heddle = &stage.heddle;
    let (willing, taken) = (
        Arc::<AtomicBool>::default(),
        Arc::<Mutex<BTreeSet<_>>>::default(),
    );
    let (will, takes) = (Arc::clone(&willing), Arc::clone(&taken));
    let answer = move |delivery: &Delivery, _| {
        if !will.load(Ordering::Relaxed) {
            return Answer::status(503);
        }
        takes.lock().insert(delivery.id().to_owned());
        Answer::status(200)
    };
    let waiting = Subscriber::scripted(answer).await;
    let patient = json!({"retry": 300, "backoffPolicy": "linear", "backoffDelay": "PT0.2S"});
    let spec = json!({"delivery": patient});
    let waits = trigger("waits", "b", &waiting.url("/"), spec);
    heddle.create_trigger(&waits).await;
    let post = async |ids: std::ops::Range<u32>| {
        for id in ids {
            accepted(heddle, "b", &id.to_string()).await;
        }
    };
    post(0..10).await;
    let goes_on_in = async |store: &str, all: &[&str]| {
        let (done, out, err) = migrate(heddle, &["broker/b", "--to", store]).await;
        assert!(done, "{out}{err}");
        assert_eq!(out, format!("broker default/b is to be moved to {store}\n"));
        super::until(heddle, "b", "events to go there", |object| {
            stores(object) == all
        })
        .await;
    };
    goes_on_in("kafka", &["segment", "kafka"]).await;
    post(10..20).await;
    goes_on_in("jetstream", &["segment", "kafka", "jetstream"]).await;
    post(20..30).await;
    // The topic is still needed.
    let back = ["broker", "b", "--to", "kafka", "--wait"];
    let (done, out, err) = migrate(heddle, &back).await;
    assert!(!done && err.contains("still holds"), "{out}{err}");
    post(30..35).await;
    let late = [
        "broker",
        "b",
        "--to",
        "jetstream",
        "--wait",
        "--timeout",
        "1s",
    ];
    let (done, out, err) = migrate(heddle, &late).await;
    assert!(
        !done && err.contains("not moved yet (Draining)"),
        "{out}{err}"
    );
    willing.store(true, Ordering::Relaxed);
    let last = moved(heddle, &["--to", "jetstream"]).await;
    assert_eq!(last["stores"], json!(["jetstream"]));
    heddle.wait_stat("waits", "backlog", 0).await;
    assert_eq!(taken.lock().len(), 35);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_said_and_changes_nothing() {
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    heddle.create_broker("b").await;
    for (arguments, said) in [
        (
            &["broker", "b", "--to", "kafka", "--wait"][..],
            "kafka-broker-config does not exist",
        ),
        (
            &["broker", "x", "--to", "kafka"],
            "there is no broker default/x",
        ),
        (
            &["trigger", "b", "--to", "kafka"],
            "a trigger cannot be moved",
        ),
        (
            &["broker", "b", "--to", "tape"],
            "possible values: segment, jetstream, kafka",
        ),
        (
            &["broker", "b", "--to", "segment", "--config", "c"],
            "--config is of no use",
        ),
        (
            &["broker", "b", "--to", "kafka", "--config", "a/b/c"],
            "no NAME or NAMESPACE/NAME",
        ),
    ] {
        let (done, out, err) = migrate(&heddle, arguments).await;
        assert!(!done && err.contains(said), "{arguments:?}: {out}{err}");
    }
    heddle.accepted("b", &Event::new("1", "t")).await;
    assert_eq!(stores(&broker(&heddle, "b").await), ["segment"]);
    let last = moved(&heddle, &["--to", "segment"]).await;
    assert_eq!(last["message"], "All events are kept in segment.");
}
