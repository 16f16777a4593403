//! Events go an hour after their last change.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{Fixture, LIMITS, kind, kinds, until};
use crate::api::{ApiServer, Now};
use crate::resource::ResourceKind;

const EVENTS: &str = "/api/v1/namespaces/default/events";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const HOUR: i64 = 3_600_000;

/// A clock that stands still until it is set, in milliseconds.
#[derive(Clone)]
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_700_000_000_000)))
    }

    fn advance(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }

    fn now(&self) -> Now {
        let at = Arc::clone(&self.0);
        Arc::new(move || Timestamp::from_millisecond(at.load(Ordering::SeqCst)).unwrap())
    }
}

fn open(dir: TempDir, clock: &Clock) -> Fixture {
    let mut all = kinds();
    all.push(ResourceKind {
        group: String::new(),
        ..kind("Event", "events", true)
    });
    let api = ApiServer::open_with(dir.path(), all, clock.now(), LIMITS).unwrap();
    Fixture { api, dir }
}

fn event(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "spec": {}})
}

/// Wakes the committer, as any write does.
async fn write(fixture: &Fixture) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "some-"},
    });
    assert_eq!(fixture.post(MAPS, &map).await.0, 201);
}

async fn names(fixture: &Fixture) -> Vec<String> {
    let (_, list) = fixture.get(EVENTS).await;
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_event_goes_an_hour_after_its_last_change() {
    let clock = Clock::new();
    let fixture = open(tempfile::tempdir().unwrap(), &clock);
    let mut held = event("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    for event in [event("old"), event("changed"), held] {
        let (code, answer) = fixture.post(EVENTS, &event).await;
        assert_eq!(code, 201, "{answer}");
    }
    let (_, list) = fixture.get(EVENTS).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    clock.advance(HOUR / 2);
    let change = json!({"spec": {"size": 2}});
    fixture.merge(&format!("{EVENTS}/changed"), &change).await;
    clock.advance(HOUR / 2 - 1);
    write(&fixture).await;
    assert_eq!(names(&fixture).await, ["changed", "held", "old"]);
    clock.advance(1);
    write(&fixture).await;
    assert_eq!(names(&fixture).await, ["changed"]);
    let uri = format!("{EVENTS}?watch=true&resourceVersion={version}&timeoutSeconds=1");
    let seen = fixture.text(&uri).await;
    let kinds: Vec<(String, String)> = seen
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&event["type"]),
                text(&event["object"]["metadata"]["name"]),
            )
        })
        .collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        kinds,
        [
            pair("MODIFIED", "changed"),
            pair("DELETED", "held"),
            pair("DELETED", "old"),
        ]
    );
    clock.advance(HOUR);
    write(&fixture).await;
    assert!(names(&fixture).await.is_empty());
}

#[tokio::test]
async fn events_go_while_nobody_writes() {
    let clock = Clock::new();
    let fixture = open(tempfile::tempdir().unwrap(), &clock);
    fixture.post(EVENTS, &event("a")).await;
    // The committer looks again in ten milliseconds.
    clock.advance(HOUR - 10);
    write(&fixture).await;
    clock.advance(10);
    until("the event is gone", async || {
        names(&fixture).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn events_go_after_a_restart() {
    let clock = Clock::new();
    let Fixture { api, dir } = open(tempfile::tempdir().unwrap(), &clock);
    let fixture = Fixture { api, dir };
    // More than one group removes.
    for at in 0..300 {
        fixture.post(EVENTS, &event(&format!("e{at}"))).await;
    }
    clock.advance(HOUR / 2);
    let mut ahead = event("ahead");
    ahead["lastTimestamp"] = json!("2090-01-01T00:00:00Z");
    fixture.post(EVENTS, &ahead).await;
    fixture
        .merge(&format!("{EVENTS}/e7"), &json!({"spec": {"size": 2}}))
        .await;
    fixture.api.close();
    let Fixture { api, dir } = fixture;
    drop(api);
    clock.advance(HOUR / 2);
    let fixture = open(dir, &clock);
    until("the old ones are gone", async || {
        names(&fixture).await == ["ahead", "e7"]
    })
    .await;
    // What states a time to come is as old as the restart.
    clock.advance(HOUR / 2);
    write(&fixture).await;
    assert_eq!(names(&fixture).await, ["ahead"]);
    clock.advance(HOUR / 2);
    write(&fixture).await;
    assert!(names(&fixture).await.is_empty());
}
