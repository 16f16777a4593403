//! Ends and beginnings of the process: restarts, signals, a full disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use support::api::{Event, fast_retries, trigger};
use support::disk::{fill, inside, small_disk};
use support::heddle::Start;
use support::{Answer, Heddle, Subscriber, data_directory, report, wait};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[tokio::test]
async fn the_first_start_makes_a_default_broker() {
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let broker = heddle.ready("brokers", "default").await;
    assert_eq!(
        broker["status"]["address"]["url"],
        heddle.broker("default"),
        "{broker}"
    );
    let class = &broker["metadata"]["annotations"]["eventing.knative.dev/broker.class"];
    assert_eq!(*class, "MTChannelBasedBroker");
    assert_eq!(heddle.readyz().await.0, 200);
    let live = heddle.http.get(&format!("{}/livez", heddle.admin)).await;
    assert_eq!(live.status, 200);
    for place in [&heddle.ingress, &heddle.api, &heddle.admin] {
        assert!(heddle.output().contains(place.as_str()), "{place}");
    }
}

#[tokio::test]
async fn ready_means_that_events_are_taken() {
    for _ in 0..8 {
        let (_directory, data) = data_directory();
        let heddle = Heddle::up(&data).await;
        heddle.accepted("default", &Event::new("first", "t")).await;
        heddle.kill();
        // And of every other start.
        let heddle = Heddle::up(&data).await;
        heddle.accepted("default", &Event::new("second", "t")).await;
    }
}

#[tokio::test]
async fn a_deleted_default_broker_stays_deleted() {
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    heddle.ready("brokers", "default").await;
    let url = format!("{}/default", heddle.resources("brokers"));
    let delete = hyper::Method::DELETE;
    heddle.http.send(delete, &url, &[], "").await.expect(200);
    heddle.signal("TERM");
    assert!(heddle.ended().await.success());
    let heddle = Heddle::up(&data).await;
    let url = format!("{}/default", heddle.resources("brokers"));
    heddle.http.get(&url).await.expect(404);
}

/// What lies in a directory, at any depth, with its mode.
fn modes(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        // What was only there for a moment has no mode.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        found.push((entry.path(), metadata.permissions().mode() & 0o777));
        if metadata.is_dir() {
            found.extend(modes(&entry.path()));
        }
    }
    found
}

#[tokio::test]
async fn what_is_kept_is_its_owners_alone() {
    let (_directory, data) = data_directory();
    let folders = ["log", "state", "api"].map(|folder| data.join(folder));
    for _ in 0..2 {
        let heddle = Heddle::up(&data).await;
        heddle.accepted("default", &Event::new("1", "t")).await;
        let mut files = 0;
        for (path, mode) in folders.iter().flat_map(|folder| modes(folder)) {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, wanted, "{}", path.display());
            files += usize::from(path.is_file());
        }
        assert!(files >= 3, "there is something in each");
        heddle.signal("TERM");
        assert!(heddle.ended().await.success());
        // As an earlier version left it.
        for (path, _) in folders.iter().flat_map(|folder| modes(folder)) {
            let mode = if path.is_dir() { 0o755 } else { 0o644 };
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_graceful_restart_continues_without_repeating() {
    let (_directory, data) = data_directory();
    let open = Arc::new(AtomicBool::new(false));
    let taken = Subscriber::start().await;
    let later = {
        let open = Arc::clone(&open);
        Subscriber::scripted(move |_, _| {
            Answer::status(if open.load(Ordering::Relaxed) {
                200
            } else {
                503
            })
        })
        .await
    };
    let heddle = Heddle::up(&data).await;
    let object = trigger("taken", "default", &taken.url("/"), json!({}));
    heddle.create_trigger(&object).await;
    let spec = json!({"delivery": fast_retries(100_000)});
    let object = trigger("later", "default", &later.url("/"), spec);
    heddle.create_trigger(&object).await;
    for n in 0..50 {
        heddle
            .accepted("default", &Event::new(&n.to_string(), "t"))
            .await;
    }
    heddle.wait_stat("taken", "backlog", 0).await;
    later.wait_for(1).await;
    heddle.signal("TERM");
    assert!(heddle.ended().await.success());

    open.store(true, Ordering::Relaxed);
    let before = later.count();
    let heddle = Heddle::up(&data).await;
    heddle.ready("triggers", "later").await;
    heddle.wait_stat("later", "backlog", 0).await;
    let after: BTreeSet<String> = later.ids()[before..].iter().cloned().collect();
    assert_eq!(after.len(), 50, "what was refused comes again");
    // The position was written down on the way out.
    heddle.wait_stat("taken", "backlog", 0).await;
    assert_eq!(taken.count(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_nothing_and_ends_well() {
    let (_directory, data) = data_directory();
    let subscriber = Subscriber::start().await;
    let heddle = Heddle::up(&data).await;
    let object = trigger("all", "default", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&object).await;

    let mut producers = JoinSet::new();
    for producer in 0..4 {
        let http = support::Http::new();
        let url = heddle.broker("default");
        producers.spawn(async move {
            let mut acked = Vec::new();
            for n in 0.. {
                let id = format!("{producer}-{n}");
                let headers = [
                    ("ce-specversion", "1.0"),
                    ("ce-id", &id),
                    ("ce-type", "t"),
                    ("ce-source", "/tests"),
                ];
                let post = http.try_send(hyper::Method::POST, &url, &headers, "");
                match post.await {
                    Ok(answer) if answer.status == 202 => acked.push(id),
                    Ok(answer) => {
                        // What stops may say so, and must not take the event.
                        assert_eq!(answer.status, 503, "{}", answer.text());
                        return acked;
                    }
                    Err(_) => return acked,
                }
            }
            acked
        });
    }
    subscriber.wait_for(100).await;
    heddle.signal("TERM");
    let status = heddle.ended().await;
    assert!(status.success(), "{status}");
    let mut acked = BTreeSet::new();
    while let Some(producer) = producers.join_next().await {
        acked.extend(producer.unwrap());
    }

    let heddle = Heddle::up(&data).await;
    heddle.wait_stat("all", "backlog", 0).await;
    let arrived: BTreeSet<String> = subscriber.ids().into_iter().collect();
    let missing: Vec<&String> = acked.difference(&arrived).collect();
    assert!(missing.is_empty(), "{} missing: {missing:?}", missing.len());
    report::line(&format!(
        "SIGTERM: {} acknowledged, {} repeated deliveries",
        acked.len(),
        subscriber.count() - arrived.len()
    ));
}

#[tokio::test]
async fn a_second_sigterm_does_not_wait() {
    let (_directory, data) = data_directory();
    let gate = Arc::new(Semaphore::new(0));
    let held = {
        let gate = Arc::clone(&gate);
        Subscriber::scripted(move |_, _| Answer::status(200).after(&gate)).await
    };
    let mut heddle = Heddle::up(&data).await;
    let object = trigger("held", "default", &held.url("/"), json!({}));
    heddle.create_trigger(&object).await;
    heddle.accepted("default", &Event::new("1", "t")).await;
    held.wait_for(1).await;

    heddle.signal("TERM");
    // It has heard the first signal when it takes no more events, and waits for the delivery.
    wait::until("the ingress to close", || async {
        // Not an event: where it is read at all, it is refused.
        let url = heddle.broker("default");
        let post = heddle.http.try_send(hyper::Method::POST, &url, &[], "");
        match post.await {
            Err(_) => Ok(()),
            Ok(answer) if answer.status == 503 => Ok(()),
            Ok(answer) => Err(answer.status.to_string()),
        }
    })
    .await;
    assert!(heddle.is_running(), "a delivery is under way");
    heddle.signal("TERM");
    heddle.ended().await;

    // What was cut off is delivered by the next life.
    gate.add_permits(100);
    let heddle = Heddle::up(&data).await;
    heddle.wait_stat("held", "backlog", 0).await;
    assert_eq!(held.ids()[1..], ["1"]);
}

#[tokio::test]
async fn a_second_process_does_not_take_the_data_directory() {
    let (_directory, data) = data_directory();
    let heddle = Heddle::up(&data).await;
    let output = support::heddle::run(&[
        "up",
        "--data",
        &data.display().to_string(),
        "--listen",
        "127.0.0.1:0",
        "--api",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ])
    .await;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&data.display().to_string()), "{text}");
    // The first one is none the worse for it.
    heddle.accepted("default", &Event::new("1", "t")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let (_directory, data) = data_directory();
    let Some(prefix) = small_disk(&data, 256) else {
        return;
    };
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    let heddle = Start::on(&data).through(&prefix).ready().await;
    let subscriber = Subscriber::start().await;
    let object = trigger("all", "default", &subscriber.url("/"), json!({}));
    heddle.create_trigger(&object).await;

    let filler = fill(&inside(&heddle, &data));
    let large = "x".repeat(512 << 10);
    let mut acked = Vec::new();
    let mut refusal = None;
    for n in 0..4000 {
        let id = n.to_string();
        let answer = heddle
            .post("default", &Event::new(&id, "t").data(large.clone()))
            .await;
        if answer.status != 202 {
            refusal = Some(answer);
            break;
        }
        acked.push(id);
    }
    let refusal = refusal.expect("a full disk refuses");
    assert_eq!(refusal.status, 507, "{}", refusal.text());
    assert_eq!(
        refusal.headers["content-type"],
        "application/problem+json",
        "{}",
        refusal.text()
    );

    std::fs::remove_file(filler).unwrap();
    wait::until("events to be taken again", || async {
        let answer = heddle.post("default", &Event::new("again", "t")).await;
        if answer.status == 202 {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.text()))
        }
    })
    .await;
    subscriber.wait_for_id("again").await;
    heddle.wait_stat("all", "backlog", 0).await;
    let arrived: BTreeSet<String> = subscriber.ids().into_iter().collect();
    for id in &acked {
        assert!(arrived.contains(id), "{id} was acknowledged");
    }
    assert_eq!(heddle.readyz().await.0, 200);
}
