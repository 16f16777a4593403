//! The API, by force: the process is killed with SIGKILL in a storm of writes, again and again, on
//! one data directory, while watches are open. Whatever was acknowledged is there afterwards, at
//! that version or a later one; versions only grow; and what a watch told is true: it missed and
//! repeated nothing up to where it ended, and told nothing that a crash could take back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::{Heddle, wait};
use tokio::task::JoinSet;

const WRITERS: usize = 64;
const WATCHES: usize = 4;
const ROUNDS: u64 = 10;
/// Acknowledgements of one life before it is killed: these and up to twice as many.
const ACKS: usize = 200;

/// A write that somebody was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    version: u64,
    step: u64,
}

/// What is known outside of the process, by name of the object.
#[derive(Debug, Default)]
struct Ledger {
    newest: BTreeMap<String, Told>,
    /// The versions that were acknowledged in this life.
    acked: BTreeSet<u64>,
}

impl Ledger {
    fn tell(&mut self, name: &str, told: Told) {
        let newest = self.newest.entry(name.to_owned()).or_insert(told);
        *newest = told.max(*newest);
    }
}

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap();
    text.parse().unwrap()
}

fn told(object: &Value) -> Told {
    Told {
        version: version(object),
        step: object["data"]["step"].as_str().unwrap().parse().unwrap(),
    }
}

/// Writes objects of its own until the process is gone.
async fn writer(client: reqwest::Client, url: String, me: String, ledger: Arc<Mutex<Ledger>>) {
    for number in 0_u64.. {
        let name = format!("{me}-{number}");
        for step in 0..3_u64 {
            let body = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                "data": {"step": step.to_string()},
            });
            let request = if step == 0 {
                client.post(&url)
            } else {
                client.put(format!("{url}/{name}"))
            };
            let Ok(answer) = request.json(&body).send().await else {
                return;
            };
            let good = answer.status().is_success();
            let Ok(object) = answer.json::<Value>().await else {
                return;
            };
            assert!(good, "{object}");
            let told = told(&object);
            let mut ledger = ledger.lock();
            ledger.tell(&name, told);
            assert!(ledger.acked.insert(told.version), "two writes, one version");
        }
    }
}

/// Reads a watch to its end; gives what it told.
async fn watcher(client: reqwest::Client, url: String) -> Vec<(String, Told)> {
    let mut events = Vec::new();
    let mut rest = Vec::new();
    let Ok(mut answer) = client.get(url).send().await else {
        return events;
    };
    while let Ok(Some(chunk)) = answer.chunk().await {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap();
            let object = &event["object"];
            assert!(object["data"].is_object(), "{event}");
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            events.push((name, told(object)));
        }
    }
    events
}

/// Everything that was told is there, at that version or a later one.
async fn check(client: &reqwest::Client, url: &str, ledger: &Ledger) -> u64 {
    let list: Value = client.get(url).send().await.unwrap().json().await.unwrap();
    let found: BTreeMap<&str, &Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| (object["metadata"]["name"].as_str().unwrap(), object))
        .collect();
    for (name, newest) in &ledger.newest {
        let object = found
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} is lost, which was told at {newest:?}"));
        let now = told(object);
        assert!(
            now >= *newest,
            "{name} went back from {newest:?} to {now:?}"
        );
    }
    let current = version(&list);
    let last = ledger.newest.values().map(|told| told.version).max();
    assert!(last.is_none_or(|last| last <= current));
    current
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_writes_survives_being_killed() {
    // The client cannot be built without it, though it speaks no TLS here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut moments = StdRng::seed_from_u64(7);
    let mut ledger = Ledger::default();
    for round in 0..ROUNDS {
        let heddle = Heddle::up(&data).await;
        let client = client();
        let url = heddle.resources("configmaps");
        let start = check(&client, &url, &ledger).await;
        ledger.acked.clear();
        let shared = Arc::new(Mutex::new(std::mem::take(&mut ledger)));
        let watch = format!("{url}?watch=1&resourceVersion={start}");
        let mut watches = JoinSet::new();
        for _ in 0..WATCHES {
            watches.spawn(watcher(client.clone(), watch.clone()));
        }
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let me = format!("w{number}-{round}");
            let ledger = Arc::clone(&shared);
            writers.spawn(writer(client.clone(), url.clone(), me, ledger));
        }
        let enough = moments.random_range(ACKS..3 * ACKS);
        wait::until_now("enough writes", || {
            let acks = shared.lock().acked.len();
            (acks >= enough)
                .then_some(())
                .ok_or_else(|| format!("{acks} writes"))
        })
        .await;
        heddle.kill();
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
        ledger = std::mem::take(&mut *shared.lock());
        let acked = std::mem::take(&mut ledger.acked);
        while let Some(events) = watches.join_next().await {
            let events = events.unwrap();
            let versions: Vec<u64> = events.iter().map(|(_, told)| told.version).collect();
            assert!(
                versions.is_sorted_by(|a, b| a < b),
                "repeated or out of order"
            );
            assert!(versions.first().is_none_or(|first| *first > start));
            let last = versions.last().copied().unwrap_or(start);
            let seen: BTreeSet<u64> = versions.into_iter().collect();
            let missed: Vec<_> = acked.range(..=last).filter(|v| !seen.contains(v)).collect();
            assert!(missed.is_empty(), "a watch up to {last} missed {missed:?}");
            for (name, told) in events {
                ledger.tell(&name, told);
            }
        }
    }
    let heddle = Heddle::up(&data).await;
    let url = heddle.resources("configmaps");
    check(&client(), &url, &ledger).await;
}

fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().timeout(std::time::Duration::from_secs(30));
    builder.build().unwrap()
}
