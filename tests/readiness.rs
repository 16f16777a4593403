//! When Triggers are ready: not before an event that is accepted then is sure to reach them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use serde_json::{Value, json};
use support::api::{Event, condition, trigger};
use support::disk::{fill, inside, small_disk};
use support::heddle::Start;
use support::{Heddle, Subscriber, data_directory, wait};

/// Makes Triggers for everything, all at once, whose subscriber's paths are their names.
async fn create_triggers(heddle: &Heddle, subscriber: &Subscriber, names: &[String]) {
    let created = names.iter().map(|name| {
        let object = trigger(
            name,
            "default",
            &subscriber.url(&format!("/{name}")),
            json!({}),
        );
        async move { heddle.create("triggers", &object).await }
    });
    join_all(created).await;
}

/// What stands in the way of each Trigger that is not ready, by its name.
async fn unready(heddle: &Heddle) -> BTreeMap<String, Value> {
    let list = heddle.http.get(&heddle.resources("triggers")).await;
    let list = list.expect(200).json();
    let items = list["items"].as_array().unwrap().iter();
    let unready = items.filter(|item| condition(item, "Ready")["status"] != "True");
    unready
        .map(|item| {
            let name = item["metadata"]["name"].as_str().unwrap().to_owned();
            (name, condition(item, "SubscriptionReady").clone())
        })
        .collect()
}

/// Waits until so many of the Triggers are held up by positions that cannot be written, or none.
async fn wait_unwritten(heddle: &Heddle, wanted: usize) {
    wait::until("positions to be written or not", || async {
        let unready = unready(heddle).await;
        let unwritten = unready.values().filter(|condition| {
            condition["status"] == "False" && condition["reason"] == "PositionNotWritten"
        });
        let done = unwritten.count() == wanted && unready.len() == wanted;
        done.then_some(()).ok_or_else(|| format!("{unready:?}"))
    })
    .await;
}

/// The event has reached each of these Triggers.
async fn wait_at_all(subscriber: &Subscriber, id: &str, names: &[String]) {
    wait::until_now(&format!("{id} at all Triggers"), || {
        let taken = subscriber.deliveries();
        let paths: BTreeSet<_> = taken
            .iter()
            .filter(|taken| taken.id() == id)
            .map(|taken| taken.path.trim_start_matches('/').to_owned())
            .collect();
        let missing: Vec<_> = names.iter().filter(|name| !paths.contains(*name)).collect();
        missing
            .is_empty()
            .then_some(())
            .ok_or_else(|| format!("{missing:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_are_ready_only_when_their_positions_are_durable() {
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let subscriber = Subscriber::start().await;
    let names: Vec<String> = (0..20).map(|n| format!("t-{n}")).collect();
    let (file, away) = (data.join("state/db"), data.join("state/away"));
    std::fs::rename(&file, &away).unwrap();
    create_triggers(&heddle, &subscriber, &names).await;
    wait_unwritten(&heddle, names.len()).await;
    // Nothing else is held up, and they take events.
    heddle.create_broker("other").await;
    heddle.accepted("default", &Event::new("early", "t")).await;
    wait_at_all(&subscriber, "early", &names).await;

    std::fs::rename(&away, &file).unwrap();
    wait_unwritten(&heddle, 0).await;
    heddle.accepted("default", &Event::new("late", "t")).await;
    heddle.kill();
    let heddle = Heddle::up(&data).await;
    wait_at_all(&subscriber, "late", &names).await;
    wait_unwritten(&heddle, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_accepted_after_triggers_are_ready_reaches_them_after_a_kill() {
    let subscriber = Subscriber::start().await;
    for round in 0..4 {
        let (_directory, data) = data_directory();
        let heddle = Heddle::up(&data).await;
        let names: Vec<String> = (0..100).map(|n| format!("t-{round}-{n}")).collect();
        create_triggers(&heddle, &subscriber, &names).await;
        // The first that are ready, while others are not yet.
        let ready = wait::until("some to be ready", || async {
            let unready = unready(&heddle).await;
            let ready = names.iter().filter(|name| !unready.contains_key(*name));
            let ready: Vec<String> = ready.cloned().collect();
            (!ready.is_empty()).then_some(ready).ok_or_else(String::new)
        })
        .await;
        let id = format!("kept-{round}");
        heddle.accepted("default", &Event::new(&id, "t")).await;
        heddle.kill();
        let _heddle = Heddle::up(&data).await;
        wait_at_all(&subscriber, &id, &ready).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_wait_for_space_for_their_positions() {
    let (_directory, data) = data_directory();
    let state = data.join("state");
    std::fs::create_dir(&state).unwrap();
    let Some(prefix) = small_disk(&state, 8) else {
        return;
    };
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    let heddle = Start::on(&data).through(&prefix).ready().await;
    let subscriber = Subscriber::start().await;
    let filler = fill(&inside(&heddle, &state));
    // The file has room for some.
    let mut names = Vec::new();
    while unready(&heddle).await.is_empty() {
        assert!(names.len() < 4_000, "the disk is full");
        let more: Vec<String> = (0..50).map(|n| format!("t-{}", names.len() + n)).collect();
        create_triggers(&heddle, &subscriber, &more).await;
        names.extend(more);
        wait::until("all to be looked at", || async {
            let unready = unready(&heddle).await;
            let looked_at = unready
                .values()
                .all(|condition| condition["status"] == "False");
            looked_at
                .then_some(())
                .ok_or_else(|| format!("{unready:?}"))
        })
        .await;
    }
    let told = unready(&heddle).await;
    for condition in told.values() {
        assert_eq!(condition["reason"], "PositionNotWritten", "{told:?}");
        let message = condition["message"].as_str().unwrap();
        assert!(message.contains("No space left on device"), "{message}");
    }
    std::fs::remove_file(filler).unwrap();
    wait_unwritten(&heddle, 0).await;
    heddle.accepted("default", &Event::new("late", "t")).await;
    wait_at_all(&subscriber, "late", &names).await;
}
